/* The objects that a program holds: probes and timed functions. */
#ifndef QP_PROBES_H
#define QP_PROBES_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>

#include "spans.h"

typedef struct {
    PyObject_HEAD
    uint32_t id;
    uint32_t every; /* one of so many calls is recorded, and represents them; 0 and 1: each */
    char is_detail; /* not recorded in production */
    PyObject *enter; /* bound once, because binding anew for each block costs as much as the clock */
    PyObject *exit;
} Probe;

extern PyTypeObject ProbeType;

/* The slow halves of begin and end. */
void begin_some(const Probe *probe);
void end_some(const Probe *probe, PyObject *error_type);

/* A block of `probe` begins and ends, while something is recorded. */
static inline void
begin(const Probe *probe)
{
    if (probe->every <= 1 && !probe->is_detail)
        enter(probe->id, 1);
    else
        begin_some(probe);
}

static inline void
end(const Probe *probe, PyObject *error_type)
{
    if (probe->every <= 1 && !probe->is_detail)
        leave(probe->id, error_type);
    else
        end_some(probe, error_type);
}

int prepare_probes(void);

/* A sample that was measured elsewhere; args: probe, start and duration in ns, type of the error or None. */
PyObject *add_sample(PyObject *module, PyObject *args);

/* Give the classes of a metaclass the plain attribute look-up, though it inherits a __getattr__. */
PyObject *plain_attributes(PyObject *module, PyObject *metaclass);

/* A callable that runs a function inside a probe; args: probe, function. */
PyObject *timed(PyObject *module, PyObject *args);
int prepare_timed(void);

/* A block as an object. */
extern PyTypeObject BlockType;
int prepare_blocks(void);

#endif
