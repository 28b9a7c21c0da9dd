#include "probes.h"

#include <stddef.h>

static PyTypeObject BoundType, MethodType;

static PyObject *call_probe(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames);

static inline int
is_cpu_timed(const Probe *probe)
{
    return probe->is_cpu_timed || ring.cpu_time;
}

int32_t
weight_of_call(const Probe *probe)
{
    int muted = seen(ring.muted);
    return muted == MUTED_ALL || (muted == MUTED_DETAILS && probe->is_detail) ? 0 : weight_of_next(probe->id, probe->every);
}

PyObject *
mute(PyObject *module, PyObject *what)
{
    long muted = PyLong_AsLong(what);
    if (PyErr_Occurred())
        return NULL;
    if (muted < MUTED_NOTHING || muted > MUTED_ALL)
        return PyErr_Format(PyExc_ValueError, "mute() takes 0, 1 or 2, not %ld", muted);
    if (seen(ring.recording)) {
        tell(ring.muted, (int)muted);
        tell(ring.production, 0); /* whoever is switched off from now on is entered all the same */
        uint32_t usual = SAMPLED | DETAIL | DETAILED | (ring.cpu_time ? ANY_PROBE : 0);
        tell(ring.minded, muted == MUTED_ALL ? usual | ANY_PROBE : usual);
    }
    Py_RETURN_NONE;
}

void
begin_some(const Probe *probe, const Value *values)
{
    if (probe->is_detail && seen(ring.production))
        return;
    int32_t weight = weight_of_call(probe);
    int cpu_time = is_cpu_timed(probe) && weight > 0;
    int has_details = weight > 0 && (probe->spec != NULL || cpu_time);
    Details *details = has_details ? new_details(probe->spec, values) : NULL;
    if (seen(ring.recording)) /* texts may have taken a while */
        enter_with(probe->id, weight, details, cpu_time);
    else
        free(details);
}

void
end_some(const Probe *probe, PyObject *error_type)
{
    if (probe->is_detail && seen(ring.production))
        return;
    if ((probe->every <= 1 && seen(ring.muted) == MUTED_NOTHING) || !leave_unrecorded(probe->id))
        leave_with(probe->id, error_type, is_cpu_timed(probe));
}

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    Probe *probe;
} Bound;

static PyObject *
call_enter(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    Probe *probe = ((Bound *)self)->probe;
    if (PyVectorcall_NARGS(nargsf) != 0 || kwnames != NULL)
        return PyErr_Format(PyExc_TypeError, "__enter__() takes no arguments");
    if (seen(ring.recording))
        begin(probe);
    return Py_NewRef(probe);
}

static PyObject *
call_exit(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    if (PyVectorcall_NARGS(nargsf) != 3 || kwnames != NULL)
        return PyErr_Format(PyExc_TypeError, "__exit__() takes three arguments");
    if (seen(ring.recording))
        end(((Bound *)self)->probe, args[0]);
    Py_RETURN_NONE;
}

static int
bound_traverse(Bound *self, visitproc visit, void *arg)
{
    Py_VISIT(self->probe);
    return 0;
}

static int
bound_clear(Bound *self)
{
    Py_CLEAR(self->probe);
    return 0;
}

static void
bound_dealloc(Bound *self)
{
    PyObject_GC_UnTrack(self);
    bound_clear(self);
    PyObject_GC_Del(self);
}

static PyObject *
bind(Probe *probe, vectorcallfunc function)
{
    Bound *bound = PyObject_GC_New(Bound, &BoundType);
    if (bound == NULL)
        return NULL;
    bound->vectorcall = function;
    bound->probe = (Probe *)Py_NewRef(probe);
    PyObject_GC_Track(bound);
    make_immortal((PyObject *)bound);
    return (PyObject *)bound;
}

/* `__enter__` and `__exit__` of the type: descriptors that hand out what was bound once. */
typedef struct {
    PyObject_HEAD
    int is_exit;
} Method;

/* The slow half of method_get: what `slot` hands out from now on. */
static __attribute__((noinline)) PyObject *
bind_once(Probe *probe, PyObject **slot, vectorcallfunc function)
{
    PyObject *bound = bind(probe, function);
    if (bound == NULL)
        return NULL;
    lock_rings();
    PyObject *known = *slot;
    if (known == NULL) /* else another thread has bound it meanwhile */
        tell(*slot, Py_NewRef(bound));
    unlock_rings();
    if (known == NULL)
        return bound;
    Py_DECREF(bound);
    return Py_NewRef(known);
}

static PyObject *
method_get(Method *self, PyObject *object, PyObject *type)
{
    if (object == NULL || object == Py_None)
        return Py_NewRef(self);
    if (!PyObject_TypeCheck(object, &ProbeType))
        return PyErr_Format(PyExc_TypeError, "a Probe is required");
    Probe *probe = (Probe *)object;
    PyObject **slot = self->is_exit ? &probe->exit : &probe->enter, *known = seen(*slot);
    return known != NULL ? Py_NewRef(known) : bind_once(probe, slot, self->is_exit ? call_exit : call_enter);
}

static PyObject *
method_call(Method *self, PyObject *args, PyObject *kwargs)
{
    PyObject *object;
    if (PyTuple_GET_SIZE(args) == 0)
        return PyErr_Format(PyExc_TypeError, "a Probe is required");
    object = PyTuple_GET_ITEM(args, 0);
    PyObject *bound = method_get(self, object, NULL);
    PyObject *rest = PyTuple_GetSlice(args, 1, PyTuple_GET_SIZE(args));
    PyObject *result = bound == NULL || rest == NULL ? NULL : PyObject_Call(bound, rest, kwargs);
    Py_XDECREF(bound);
    Py_XDECREF(rest);
    return result;
}

static int
probe_traverse(Probe *self, visitproc visit, void *arg)
{
    Py_VISIT(self->enter);
    Py_VISIT(self->exit);
    return 0;
}

static int
probe_clear(Probe *self)
{
    Py_CLEAR(self->enter);
    Py_CLEAR(self->exit);
    return 0;
}

static void
probe_dealloc(Probe *self)
{
    PyObject_GC_UnTrack(self);
    probe_clear(self);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyObject *
get_id(Probe *self, void *unused)
{
    return PyLong_FromUnsignedLong(self->id);
}

static int
set_id(Probe *self, PyObject *value, void *unused)
{
    unsigned long id = value == NULL ? ULONG_MAX : PyLong_AsUnsignedLong(value);
    if (value == NULL)
        PyErr_SetString(PyExc_TypeError, "a probe always has a number");
    else if (!PyErr_Occurred() && id > UINT32_MAX)
        PyErr_SetString(PyExc_OverflowError, "the number of a probe has 32 bits");
    if (PyErr_Occurred())
        return -1;
    self->id = (uint32_t)id;
    self->traits |= ANY_PROBE;
    self->vectorcall = call_probe;
#if PY_VERSION_HEX < 0x030C0000
    /* Later Pythons hand this down to classes by themselves. */
    PyTypeObject *type = Py_TYPE(self);
    if (type->tp_call == PyVectorcall_Call && type->tp_vectorcall_offset == offsetof(Probe, vectorcall))
        type->tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL;
#endif
    make_immortal((PyObject *)self); /* whoever numbers it has just made it */
    return 0;
}

static void
set_trait(Probe *self, uint32_t trait, int has_it)
{
    self->traits = has_it ? self->traits | trait : self->traits & ~trait;
}

static PyObject *
get_every(Probe *self, void *unused)
{
    return PyLong_FromUnsignedLong(self->every);
}

static int
set_every(Probe *self, PyObject *value, void *unused)
{
    unsigned long every = value == NULL ? 1 : PyLong_AsUnsignedLong(value);
    if (PyErr_Occurred())
        return -1;
    self->every = (uint32_t)every;
    set_trait(self, SAMPLED, every > 1);
    return 0;
}

static PyObject *
get_detail(Probe *self, void *unused)
{
    return PyBool_FromLong(self->is_detail);
}

static int
set_detail(Probe *self, PyObject *value, void *unused)
{
    int is_detail = value == NULL ? 0 : PyObject_IsTrue(value);
    if (is_detail < 0)
        return -1;
    self->is_detail = (char)is_detail;
    set_trait(self, DETAIL, is_detail);
    return 0;
}

static PyObject *
get_cpu_time(Probe *self, void *unused)
{
    return PyBool_FromLong(self->is_cpu_timed);
}

static int
set_cpu_time(Probe *self, PyObject *value, void *unused)
{
    int is_timed = value == NULL ? 0 : PyObject_IsTrue(value);
    if (is_timed < 0)
        return -1;
    self->is_cpu_timed = (char)is_timed;
    set_trait(self, DETAILED, is_timed || self->spec != NULL);
    return 0;
}

static PyObject *
get_attributes(Probe *self, void *unused)
{
    uint32_t count = self->spec == NULL ? 0 : self->spec->count;
    PyObject *names = PyTuple_New(count);
    for (uint32_t i = 0; names != NULL && i < count; i++)
        PyTuple_SET_ITEM(names, i, Py_NewRef(self->spec->attributes[i].name));
    return names;
}

static int
set_attributes(Probe *self, PyObject *value, void *unused)
{
    if (value == NULL || !PyTuple_Check(value) || PyTuple_GET_SIZE(value) > MOST_ATTRIBUTES) {
        PyErr_Format(PyExc_TypeError, "the attributes of a probe are a tuple of at most %d", MOST_ATTRIBUTES);
        return -1;
    }
    Spec *spec = PyTuple_GET_SIZE(value) == 0 ? NULL : new_spec(self->id, value);
    if (PyErr_Occurred())
        return -1;
    self->spec = spec;
    set_trait(self, DETAILED, self->is_cpu_timed || spec != NULL);
    return 0;
}

static PyGetSetDef probe_getset[] = {
    {"probe_id", (getter)get_id, (setter)set_id, "number that samples carry", NULL},
    {"probe_every", (getter)get_every, (setter)set_every, "one of so many calls is recorded", NULL},
    {"probe_detail", (getter)get_detail, (setter)set_detail, "whether it is left out in production", NULL},
    {"probe_cpu_time", (getter)get_cpu_time, (setter)set_cpu_time, "whether its CPU time is recorded", NULL},
    {"probe_attributes", (getter)get_attributes, (setter)set_attributes, "names; set to what is declared", NULL},
    {NULL},
};

PyTypeObject ProbeType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "quantum_pulse.core._native.Probe",
    .tp_basicsize = sizeof(Probe),
    .tp_dealloc = (destructor)probe_dealloc,
    .tp_traverse = (traverseproc)probe_traverse,
    .tp_clear = (inquiry)probe_clear,
    .tp_getset = probe_getset,
    .tp_call = PyVectorcall_Call,
    .tp_vectorcall_offset = offsetof(Probe, vectorcall),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL,
    .tp_doc = "A place in a program that is timed: a context manager that can be entered many times at once.",
};

static PyTypeObject BoundType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "quantum_pulse.core._native.Bound",
    .tp_basicsize = sizeof(Bound),
    .tp_dealloc = (destructor)bound_dealloc,
    .tp_traverse = (traverseproc)bound_traverse,
    .tp_clear = (inquiry)bound_clear,
    .tp_call = PyVectorcall_Call,
    .tp_vectorcall_offset = offsetof(Bound, vectorcall),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL,
};

static PyTypeObject MethodType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "quantum_pulse.core._native.Method",
    .tp_basicsize = sizeof(Method),
    .tp_descr_get = (descrgetfunc)method_get,
    .tp_call = (ternaryfunc)method_call,
    .tp_flags = Py_TPFLAGS_DEFAULT,
};

static int
add_method(const char *name, int is_exit)
{
    Method *method = PyObject_New(Method, &MethodType);
    if (method == NULL)
        return -1;
    method->is_exit = is_exit;
    make_immortal((PyObject *)method);
    int result = PyDict_SetItemString(ProbeType.tp_dict, name, (PyObject *)method);
    Py_DECREF(method);
    return result;
}

/* ---- attributes -------------------------------------------------------------------------------------------------- */

int
unpack_probe(PyObject *object, Probe **probe, const Value **values)
{
    int has_values = Py_TYPE(object) == &AttributedType;
    if (!has_values && !PyObject_TypeCheck(object, &ProbeType)) {
        PyErr_Format(PyExc_TypeError, "a Probe is required, not %R", object);
        return -1;
    }
    *probe = has_values ? ((Attributed *)object)->probe : (Probe *)object;
    *values = has_values && (*probe)->spec != NULL ? ((Attributed *)object)->values : NULL;
    return 0;
}

/* Calling either with a function decorates it. */
static PyObject *
decorate(Probe *probe, PyObject *function, PyObject *timing)
{
    return PyObject_CallMethod((PyObject *)probe, "_decorated", "OO", function, timing);
}

/* As `__enter__`, `__exit__` and decorator in one: CPython looks the first two up for each block, and to bind them each
 * time would cost as much as the clock. So both give the object itself, and the number of arguments says what
 * it is called as. */
static PyObject *
call_attributed(PyObject *object, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    Attributed *self = (Attributed *)object;
    Probe *probe = self->probe;
    if (kwnames != NULL && PyTuple_GET_SIZE(kwnames) > 0)
        return PyErr_Format(PyExc_TypeError, "%S has its attributes already", probe);
    switch (PyVectorcall_NARGS(nargsf)) {
    case 0:
        if (seen(ring.recording))
            begin_some(probe, probe->spec == NULL ? NULL : self->values);
        return Py_NewRef(probe);
    case 1:
        return decorate(probe, args[0], object);
    case 3:
        if (seen(ring.recording))
            end(probe, args[0]);
        Py_RETURN_NONE;
    }
    return PyErr_Format(PyExc_TypeError, "%S with attributes is a context manager and a decorator of one function", probe);
}

static PyObject *
call_probe(PyObject *object, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    Probe *probe = (Probe *)object;
    Py_ssize_t count = PyVectorcall_NARGS(nargsf);
    int has_names = kwnames != NULL && PyTuple_GET_SIZE(kwnames) > 0;
    if (count == 1 && !has_names)
        return decorate(probe, args[0], object);
    if (count > 0)
        return PyErr_Format(PyExc_TypeError,
                            "%S takes attributes by keyword, or one function to decorate; to decorate one with attributes, call "
                            "%S(...) first and then the result",
                            probe, probe);
    uint32_t length = probe->spec == NULL ? 0 : probe->spec->count;
    Attributed *self = PyObject_NewVar(Attributed, &AttributedType, length);
    if (self == NULL)
        return NULL;
    self->vectorcall = call_attributed;
    self->probe = NULL;
    if (read_values(probe->id, probe->spec, args, kwnames, self->values) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    self->probe = (Probe *)Py_NewRef(probe);
    return (PyObject *)self;
}

static void
attributed_dealloc(Attributed *self)
{
    if (self->probe != NULL)
        free_values(self->probe->spec, self->values);
    Py_XDECREF(self->probe);
    PyObject_Free(self);
}

static PyObject *
attributed_repr(Attributed *self)
{
    return PyUnicode_FromFormat("<%S with attributes>", self->probe);
}

PyTypeObject AttributedType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "quantum_pulse.core._native.Attributed",
    .tp_basicsize = offsetof(Attributed, values),
    .tp_itemsize = sizeof(Value),
    .tp_dealloc = (destructor)attributed_dealloc,
    .tp_repr = (reprfunc)attributed_repr,
    .tp_call = PyVectorcall_Call,
    .tp_vectorcall_offset = offsetof(Attributed, vectorcall),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL,
    .tp_doc = "An operation with attributes: a context manager and a decorator.",
};

/* A descriptor that gives the object itself. */
static PyTypeObject SelfType;

static PyObject *
self_get(PyObject *self, PyObject *object, PyObject *type)
{
    if (object == NULL || object == Py_None)
        return Py_NewRef(self);
    if (Py_TYPE(object) != &AttributedType)
        return PyErr_Format(PyExc_TypeError, "an operation with attributes is required");
    return Py_NewRef(object);
}

/* As ExitStack does, which looks them up in the class. */
static PyObject *
self_call(PyObject *self, PyObject *args, PyObject *kwargs)
{
    if (PyTuple_GET_SIZE(args) == 0 || Py_TYPE(PyTuple_GET_ITEM(args, 0)) != &AttributedType)
        return PyErr_Format(PyExc_TypeError, "an operation with attributes is required");
    PyObject *rest = PyTuple_GetSlice(args, 1, PyTuple_GET_SIZE(args));
    PyObject *result = rest == NULL ? NULL : PyObject_Call(PyTuple_GET_ITEM(args, 0), rest, kwargs);
    Py_XDECREF(rest);
    return result;
}

static PyTypeObject SelfType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "quantum_pulse.core._native.Self",
    .tp_basicsize = sizeof(PyObject),
    .tp_descr_get = self_get,
    .tp_call = self_call,
    .tp_flags = Py_TPFLAGS_DEFAULT,
};

static int
prepare_attributed(void)
{
    if (PyType_Ready(&AttributedType) < 0 || PyType_Ready(&SelfType) < 0)
        return -1;
    PyObject *itself = PyObject_New(PyObject, &SelfType);
    if (itself == NULL)
        return -1;
    make_immortal(itself);
    int result = PyDict_SetItemString(AttributedType.tp_dict, "__enter__", itself);
    if (result == 0)
        result = PyDict_SetItemString(AttributedType.tp_dict, "__exit__", itself);
    Py_DECREF(itself);
    PyType_Modified(&AttributedType);
    return result;
}

/* ---- what else records ------------------------------------------------------------------------------------------- */

PyObject *
add_sample(PyObject *module, PyObject *args)
{
    PyObject *object, *error, *cpu_time = Py_None;
    long long start, duration;
    Probe *probe;
    const Value *values;
    if (!PyArg_ParseTuple(args, "OLLO|O", &object, &start, &duration, &error, &cpu_time) ||
        unpack_probe(object, &probe, &values) < 0)
        return NULL;
    int64_t cpu = cpu_time == Py_None ? NO_VALUE : PyLong_AsLongLong(cpu_time);
    if (PyErr_Occurred())
        return NULL;
    if (!seen(ring.recording) || (probe->is_detail && seen(ring.production)))
        Py_RETURN_NONE;
    int32_t weight = weight_of_call(probe);
    if (weight == 0)
        Py_RETURN_NONE;
    uint32_t failure = error == Py_None ? 0 : PyUnicode_Check(error) ? number_of_failure(error) : error_number(error);
    Details *details = values != NULL || cpu != NO_VALUE ? new_details(probe->spec, values) : NULL;
    if (details != NULL)
        details->cpu = cpu;
    if (seen(ring.recording))
        add(probe->id, weight, start, duration, failure, details);
    free(details);
    Py_RETURN_NONE;
}

PyObject *
plain_attributes(PyObject *module, PyObject *metaclass)
{
    if (!PyType_Check(metaclass) || !PyType_IsSubtype((PyTypeObject *)metaclass, &PyType_Type))
        return PyErr_Format(PyExc_TypeError, "a metaclass is required");
    ((PyTypeObject *)metaclass)->tp_getattro = PyType_Type.tp_getattro;
    PyType_Modified((PyTypeObject *)metaclass);
    Py_RETURN_NONE;
}

int
prepare_probes(void)
{
    ProbeType.tp_new = PyBaseObject_Type.tp_new;
    if (PyType_Ready(&ProbeType) < 0 || PyType_Ready(&BoundType) < 0 || PyType_Ready(&MethodType) < 0)
        return -1;
    /* An enum takes a base with a __new__ of its own for the type of its values. */
    if (PyDict_DelItemString(ProbeType.tp_dict, "__new__") < 0)
        PyErr_Clear();
    if (prepare_attributed() < 0 || add_method("__enter__", 0) < 0 || add_method("__exit__", 1) < 0)
        return -1;
    PyType_Modified(&ProbeType);
    return 0;
}
