#include "probes.h"

#include <structmember.h>

static PyTypeObject BoundType, MethodType;

void
begin_some(const Probe *probe)
{
    if (probe->is_detail && ring.production)
        return;
    enter(probe->id, weight_of_next(probe->id, probe->every));
}

void
end_some(const Probe *probe, PyObject *error_type)
{
    if (probe->is_detail && ring.production)
        return;
    if (probe->every <= 1 || !leave_unrecorded(probe->id))
        leave(probe->id, error_type);
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
    make_immortal((PyObject *)self); /* whoever numbers it has just made it */
    return 0;
}

static PyGetSetDef probe_getset[] = {
    {"probe_id", (getter)get_id, (setter)set_id, "number that samples carry", NULL},
    {NULL},
};

static PyMemberDef probe_members[] = {
    {"probe_every", T_UINT, offsetof(Probe, every), 0, "one of so many calls is recorded"},
    {"probe_detail", T_BOOL, offsetof(Probe, is_detail), 0, "whether it is left out in production"},
    {NULL},
};


PyTypeObject ProbeType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "quantum_pulse.core._native.Probe",
    .tp_basicsize = sizeof(Probe),
    .tp_dealloc = (destructor)probe_dealloc,
    .tp_traverse = (traverseproc)probe_traverse,
    .tp_clear = (inquiry)probe_clear,
    .tp_members = probe_members,
    .tp_getset = probe_getset,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
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

PyObject *
add_sample(PyObject *module, PyObject *args)
{
    PyObject *probe, *error_type;
    long long start, duration;
    if (!PyArg_ParseTuple(args, "O!LLO", &ProbeType, &probe, &start, &duration, &error_type))
        return NULL;
    const Probe *own = (Probe *)probe;
    if (seen(ring.recording) && !(own->is_detail && ring.production)) {
        int32_t weight = weight_of_next(own->id, own->every);
        if (weight > 0)
            add(own->id, weight, start, duration, error_type);
    }
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
    if (add_method("__enter__", 0) < 0 || add_method("__exit__", 1) < 0)
        return -1;
    PyType_Modified(&ProbeType);
    return 0;
}
