#include "contexts.h" /* first: see spans.c */
#include "probes.h"

/* An open block that is an object: it may be ended in another context, and learn late what it is a block of. */
typedef struct {
    PyObject_HEAD
    Probe *probe;
    Stack *stack; /* NULL: it is not open */
} Block;

/* Room for the attributes of a block, which `annotate` sets; NULL: it has none. */
static Details *
details_of(const Probe *probe, int32_t weight)
{
    return probe->spec != NULL && weight > 0 ? new_details(probe->spec, NULL) : NULL;
}

static void
end_block(Block *self, PyObject *error_type)
{
    Stack *stack = self->stack;
    self->stack = NULL; /* first: whoever is called in between finds it ended */
    if (stack == NULL)
        return;
    if (seen(ring.recording))
        leave_held(self->probe->id, error_type, (PyObject *)self, stack);
    Py_DECREF(stack);
}

static PyObject *
block_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *object;
    if (!PyArg_ParseTuple(args, "O!:Block", &ProbeType, &object))
        return NULL;
    Block *self = (Block *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    Probe *probe = (Probe *)Py_NewRef(object);
    self->probe = probe;
    if (seen(ring.recording) && !(probe->is_detail && ring.production)) {
        int32_t weight = weight_of_next(probe->id, probe->every);
        self->stack = (Stack *)Py_XNewRef((PyObject *)enter_held(probe->id, weight, details_of(probe, weight), (PyObject *)self));
    }
    return (PyObject *)self;
}

static PyObject *
block_become(Block *self, PyObject *object)
{
    if (!PyObject_TypeCheck(object, &ProbeType))
        return PyErr_Format(PyExc_TypeError, "a Probe is required, not %R", object);
    Probe *probe = (Probe *)object;
    if (self->stack != NULL && seen(ring.recording) && probe->id != self->probe->id) {
        Details *details = details_of(probe, 1); /* of attributes that the other probe need not have */
        if (rename_held(self->probe->id, probe->id, &details, (PyObject *)self, self->stack))
            Py_SETREF(self->probe, (Probe *)Py_NewRef(probe));
        free(details);
    }
    Py_RETURN_NONE;
}

static PyObject *
block_annotate(Block *self, PyObject *const *args, Py_ssize_t count, PyObject *kwnames)
{
    return annotate_held((PyObject *)self, self->stack, args, count, kwnames);
}

static PyObject *
block_end(Block *self, PyObject *const *args, Py_ssize_t count)
{
    if (count > 1)
        return PyErr_Format(PyExc_TypeError, "end() takes the type of an error or nothing");
    end_block(self, count == 0 ? Py_None : args[0]);
    Py_RETURN_NONE;
}

/* As with a generator: what nobody ends any more ends with it. */
static void
block_dealloc(Block *self)
{
    if (self->stack != NULL) {
        PyObject *type, *value, *trace;
        PyErr_Fetch(&type, &value, &trace);
        end_block(self, PyExc_GeneratorExit);
        PyErr_Restore(type, value, trace);
    }
    Py_XDECREF(self->probe);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyMethodDef block_methods[] = {
    {"annotate", (PyCFunction)(void (*)(void))block_annotate, METH_FASTCALL | METH_KEYWORDS,
     "Say what is known of it: attributes, and what failed."},
    {"become", (PyCFunction)block_become, METH_O, "It is a block of another probe."},
    {"end", (PyCFunction)(void (*)(void))block_end, METH_FASTCALL, "It ends now, if it has not ended; with an error type."},
    {NULL},
};

PyTypeObject BlockType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "quantum_pulse.core._native.Block",
    .tp_basicsize = sizeof(Block),
    .tp_new = block_new,
    .tp_dealloc = (destructor)block_dealloc,
    .tp_methods = block_methods,
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "An open block that may be ended anywhere.",
};

int
prepare_blocks(void)
{
    return PyType_Ready(&BlockType);
}
