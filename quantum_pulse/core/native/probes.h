/* The objects that a program holds: probes and timed functions. */
#ifndef QP_PROBES_H
#define QP_PROBES_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>

typedef struct {
    PyObject_HEAD
    uint32_t id;
    PyObject *enter; /* bound once, because binding anew for each block costs as much as the clock */
    PyObject *exit;
} Probe;

extern PyTypeObject ProbeType;

int prepare_probes(void);

/* A sample that was measured elsewhere; args: probe, start and duration in ns, type of the error or None. */
PyObject *add_sample(PyObject *module, PyObject *args);

/* Give the classes of a metaclass the plain attribute look-up, though it inherits a __getattr__. */
PyObject *plain_attributes(PyObject *module, PyObject *metaclass);

/* A callable that runs a function inside a probe; args: probe, function. */
PyObject *timed(PyObject *module, PyObject *args);
int prepare_timed(void);

#endif
