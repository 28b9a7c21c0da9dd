/* The native core. `contract.py` says what each function promises; `pure/` is the same in Python, and the oracle. */

#include "clock.h"
#include "contexts.h"
#include "probes.h"
#include "rings.h"
#include "slots.h"
#include "spans.h"

static PyMethodDef probe_functions[] = {
    {"add", add_sample, METH_VARARGS, "A sample that was measured elsewhere."},
    {"plain_attributes", plain_attributes, METH_O, "Make attributes of a metaclass's classes cheap."},
    {"timed", timed, METH_VARARGS, "A callable that runs a function inside a probe."},
    {NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "quantum_pulse.core._native",
    .m_size = -1,
    .m_doc = "The native core. See contract.py.",
};

PyMODINIT_FUNC
PyInit__native(void)
{
    prepare_clock();
    if (prepare_rings() < 0 || prepare_contexts() < 0 || prepare_spans() < 0 || prepare_probes() < 0 || prepare_timed() < 0)
        return NULL;
    PyObject *module = PyModule_Create(&definition);
    if (module == NULL)
        return NULL;
    if (PyModule_AddFunctions(module, ring_functions) < 0 || PyModule_AddFunctions(module, probe_functions) < 0 ||
        PyModule_AddStringConstant(module, "NAME", "native") < 0 ||
        PyModule_AddIntMacro(module, RING_HEADER_BYTES) < 0 || PyModule_AddIntMacro(module, SEGMENT_BYTES) < 0 ||
        PyModule_AddIntMacro(module, SEGMENT_ROWS) < 0 || PyModule_AddIntMacro(module, WAKE_SEGMENTS) < 0 ||
        PyModule_AddIntMacro(module, SLOT_BYTES) < 0 || PyModule_AddIntMacro(module, SLOTS_OFFSET) < 0 ||
        PyModule_AddObjectRef(module, "Probe", (PyObject *)&ProbeType) < 0) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
