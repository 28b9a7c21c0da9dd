/* The native core. `contract.py` says what each function promises; `pure/` is the same in Python, and the oracle. */

#include "clock.h"
#include "contexts.h"
#include "probes.h"
#include "rings.h"
#include "slots.h"
#include "spans.h"

static PyObject *
cpu_now(PyObject *module, PyObject *unused)
{
    return PyLong_FromLongLong(thread_cpu_ns());
}

static PyObject *
times_cpu(PyObject *module, PyObject *unused)
{
    return PyBool_FromLong(seen(ring.recording) && ring.cpu_time);
}

static PyMethodDef probe_functions[] = {
    {"annotate", (PyCFunction)(void (*)(void))annotate, METH_FASTCALL | METH_KEYWORDS,
     "annotate(*, error=None, **attributes)\n--\n\n"
     "Describe the innermost open block of this execution context.\n"
     "\n"
     "Where no block is open, and where nothing is recorded, it does nothing.\n"
     "\n"
     "Parameters\n"
     "----------\n"
     "error : str, BaseException or None, optional\n"
     "    What failed, such as ``\"http 502\"``, or an exception, whose type is named. The call then\n"
     "    counts as failed, whether or not an exception leaves the block. None takes it back.\n"
     "**attributes : str, int, float, bool, enum member or None\n"
     "    Values of attributes that the operation of the block declares. They replace earlier ones.\n"
     "\n"
     "Raises\n"
     "------\n"
     "TypeError\n"
     "    For an attribute that the operation does not declare, or a value of another type.\n"
     "\n"
     "See Also\n"
     "--------\n"
     "op : Declare the attributes of an operation.\n"
     "\n"
     "Examples\n"
     "--------\n"
     ">>> class Api(qp.Operation):\n"
     "...     REQUEST = qp.op(\"One request\", attributes={\"status\": int})\n"
     ">>> with qp.record(\"captures/api\"):\n"
     "...     with Api.REQUEST:\n"
     "...         qp.annotate(status=502, error=\"http 502\")\n"
     ">>> qp.open(\"captures/api\").stats()[\"errors\"].item()\n"
     "1"},
    {"set_refusal", set_refusal, METH_O, "What is called where an attribute is refused."},
    {"mute", mute, METH_O, "Record nothing of some operations from now on."},
    {"times_cpu", times_cpu, METH_NOARGS, "Whether the CPU time of all blocks is recorded."},
    {"cpu_now", cpu_now, METH_NOARGS, "CPU time of this thread in nanoseconds."},
    {"add", add_sample, METH_VARARGS, "A sample that was measured elsewhere."},
    {"plain_attributes", plain_attributes, METH_O, "Make attributes of a metaclass's classes cheap."},
    {"timed", timed, METH_VARARGS, "A callable that runs a function inside a probe."},
    {NULL},
};

/* What the core knows is one of a process, so a second interpreter in it cannot have the same: there the Python core
 * records, which knows nothing of the other one. */
static int
execute(PyObject *module)
{
    static int is_prepared;
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
        PyErr_SetString(PyExc_ImportError, "the native core records in the main interpreter only");
        return -1;
    }
    if (!is_prepared) {
        prepare_clock();
        if (prepare_threads() < 0 || prepare_contexts() < 0 || prepare_spans() < 0 || prepare_probes() < 0 ||
            prepare_timed() < 0 || prepare_blocks() < 0)
            return -1;
        is_prepared = 1;
    }
    if (PyModule_AddFunctions(module, ring_functions) < 0 || PyModule_AddFunctions(module, probe_functions) < 0 ||
        PyModule_AddFunctions(module, launch_functions) < 0 || PyModule_AddStringConstant(module, "NAME", "native") < 0 ||
        PyModule_AddIntMacro(module, RING_HEADER_BYTES) < 0 || PyModule_AddIntMacro(module, SEGMENT_BYTES) < 0 ||
        PyModule_AddIntMacro(module, SEGMENT_ROWS) < 0 || PyModule_AddIntMacro(module, WAKE_SEGMENTS) < 0 ||
        PyModule_AddIntMacro(module, SLOT_BYTES) < 0 || PyModule_AddIntMacro(module, SLOTS_OFFSET) < 0 ||
        PyModule_AddIntConstant(module, "MARKS_IN_PLACE", bitmap_type != NULL) < 0 ||
        PyModule_AddIntMacro(module, FIRST_SLOTS_OFFSET) < 0 || PyModule_AddIntMacro(module, TEXTS_OFFSET) < 0 ||
        PyModule_AddObjectRef(module, "Probe", (PyObject *)&ProbeType) < 0 ||
        PyModule_AddObjectRef(module, "Block", (PyObject *)&BlockType) < 0)
        return -1;
    return 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, execute},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "quantum_pulse.core._native",
    .m_size = 0,
    .m_slots = slots,
    .m_doc = "The native core. See contract.py.",
};

PyMODINIT_FUNC
PyInit__native(void)
{
    return PyModuleDef_Init(&definition);
}
