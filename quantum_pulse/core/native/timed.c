#include <stddef.h>

#include "probes.h"
#include "rings.h"

static PyTypeObject TimedType, CallType;

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    Probe *probe;
    PyObject *function;
    PyObject *dict;
    PyObject *weakrefs;
} Timed;

static PyObject *
timed_call(PyObject *callable, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    Timed *self = (Timed *)callable;
    if (!seen(ring.recording))
        return PyObject_Vectorcall(self->function, args, nargsf, kwnames);
    begin(self->probe);
    PyObject *result = PyObject_Vectorcall(self->function, args, nargsf, kwnames);
    if (!seen(ring.recording))
        return result;
    if (result != NULL) {
        end(self->probe, Py_None);
        return result;
    }
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    end(self->probe, type);
    PyErr_Restore(type, value, trace);
    return NULL;
}

static PyObject *
timed_get(PyObject *self, PyObject *object, PyObject *type)
{
    if (object == NULL || object == Py_None)
        return Py_NewRef(self);
    return PyMethod_New(self, object);
}

/* What it has not itself it has from the function: its code and defaults, by which `inspect` takes it for a function. */
static PyObject *
timed_getattro(PyObject *self, PyObject *name)
{
    PyObject *found = PyObject_GenericGetAttr(self, name);
    if (found != NULL || !PyErr_ExceptionMatches(PyExc_AttributeError))
        return found;
    PyErr_Clear();
    return PyObject_GetAttr(((Timed *)self)->function, name);
}

/* `__call__` of the type: a descriptor that hands out the object itself, which has a name, a module and a signature. The
 * bound method that CPython would make of it has none, and frameworks ask for them where they do not know the type. */
static PyObject *
call_get(PyObject *self, PyObject *object, PyObject *type)
{
    return Py_NewRef(object == NULL || object == Py_None ? self : object);
}

static PyObject *
call_call(PyObject *self, PyObject *args, PyObject *kwargs)
{
    if (PyTuple_GET_SIZE(args) == 0 || !Py_IS_TYPE(PyTuple_GET_ITEM(args, 0), &TimedType))
        return PyErr_Format(PyExc_TypeError, "__call__() needs a timed function");
    PyObject *rest = PyTuple_GetSlice(args, 1, PyTuple_GET_SIZE(args));
    PyObject *result = rest == NULL ? NULL : PyObject_Call(PyTuple_GET_ITEM(args, 0), rest, kwargs);
    Py_XDECREF(rest);
    return result;
}

static PyObject *
timed_repr(Timed *self)
{
    return PyUnicode_FromFormat("<%R timed as %S>", self->function, self->probe);
}

static PyObject *
timed_reduce(PyObject *self, PyObject *unused)
{
    return PyObject_GetAttrString(self, "__qualname__"); /* by name, as functions are */
}

static int
timed_traverse(Timed *self, visitproc visit, void *arg)
{
    Py_VISIT(self->probe);
    Py_VISIT(self->function);
    Py_VISIT(self->dict);
    return 0;
}

static int
timed_clear(Timed *self)
{
    Py_CLEAR(self->probe);
    Py_CLEAR(self->function);
    Py_CLEAR(self->dict);
    return 0;
}

static void
timed_dealloc(Timed *self)
{
    PyObject_GC_UnTrack(self);
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs((PyObject *)self);
    timed_clear(self);
    PyObject_GC_Del(self);
}

static PyMethodDef timed_methods[] = {
    {"__reduce__", timed_reduce, METH_NOARGS, NULL},
    {NULL},
};

static PyGetSetDef timed_getset[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {NULL},
};

PyObject *
timed(PyObject *module, PyObject *args)
{
    PyObject *probe, *function;
    if (!PyArg_ParseTuple(args, "O!O", &ProbeType, &probe, &function))
        return NULL;
    Timed *self = PyObject_GC_New(Timed, &TimedType);
    if (self == NULL)
        return NULL;
    self->vectorcall = timed_call;
    self->probe = (Probe *)Py_NewRef(probe);
    self->function = Py_NewRef(function);
    self->dict = NULL;
    self->weakrefs = NULL;
    PyObject_GC_Track(self);
    PyObject *functools = PyImport_ImportModule("functools");
    PyObject *done = functools == NULL ? NULL
                                       : PyObject_CallMethod(functools, "update_wrapper", "OO", self, function);
    Py_XDECREF(functools);
    if (done == NULL) {
        Py_DECREF(self);
        return NULL;
    }
    Py_DECREF(done);
    /* As CPython does with functions that are defined once; one that is inside of another may be made any number of times. */
    if (PyFunction_Check(function) && !(((PyCodeObject *)PyFunction_GET_CODE(function))->co_flags & CO_NESTED))
        make_immortal((PyObject *)self);
    return (PyObject *)self;
}

static PyTypeObject TimedType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "quantum_pulse.core._native.Timed",
    .tp_basicsize = sizeof(Timed),
    .tp_dealloc = (destructor)timed_dealloc,
    .tp_traverse = (traverseproc)timed_traverse,
    .tp_clear = (inquiry)timed_clear,
    .tp_repr = (reprfunc)timed_repr,
    .tp_call = PyVectorcall_Call,
    .tp_vectorcall_offset = offsetof(Timed, vectorcall),
    .tp_descr_get = timed_get,
    .tp_methods = timed_methods,
    .tp_getset = timed_getset,
    .tp_dictoffset = offsetof(Timed, dict),
    .tp_weaklistoffset = offsetof(Timed, weakrefs),
    .tp_getattro = timed_getattro,
    .tp_setattro = PyObject_GenericSetAttr,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR,
    .tp_doc = "A function that is timed at each call.",
};

static PyTypeObject CallType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "quantum_pulse.core._native.TimedCall",
    .tp_basicsize = sizeof(PyObject),
    .tp_descr_get = call_get,
    .tp_call = call_call,
    .tp_flags = Py_TPFLAGS_DEFAULT,
};

int
prepare_timed(void)
{
    if (PyType_Ready(&TimedType) < 0 || PyType_Ready(&CallType) < 0)
        return -1;
    PyObject *call = PyObject_New(PyObject, &CallType);
    if (call == NULL)
        return -1;
    make_immortal(call);
    int result = PyDict_SetItemString(TimedType.tp_dict, "__call__", call);
    Py_DECREF(call);
    PyType_Modified(&TimedType);
    return result;
}
