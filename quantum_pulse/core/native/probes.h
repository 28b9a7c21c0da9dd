/* The objects that a program holds: probes and timed functions. */
#ifndef QP_PROBES_H
#define QP_PROBES_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>

#include "attributes.h"
#include "spans.h"

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    uint32_t id;
    uint32_t traits;
    uint32_t every;   /* one of so many calls is recorded, and represents them; 0 and 1: each */
    char is_detail;   /* not recorded in production */
    char is_cpu_timed;
    Spec *spec; /* of its attributes; NULL: it has none */
    PyObject *enter; /* bound once, because binding anew for each block costs as much as the clock */
    PyObject *exit;
} Probe;

extern PyTypeObject ProbeType;

/* A probe with attributes: what calling it with keyword arguments gives. A context manager, and a decorator. */
typedef struct {
    PyObject_VAR_HEAD
    vectorcallfunc vectorcall;
    Probe *probe;
    Value values[];
} Attributed;

extern PyTypeObject AttributedType;

/* A probe or one with attributes: the probe, and the values of its attributes or NULL. -1 with an exception for anything
 * else. */
int unpack_probe(PyObject *object, Probe **probe, const Value **values);

/* How many calls the next sample of `probe` represents; 0: it is not recorded. See `weight_of_next`. */
int32_t weight_of_call(const Probe *probe);

/* Switch off what MUTED_... says. */
PyObject *mute(PyObject *module, PyObject *what);

/* The slow halves of begin and end; `values` may be NULL. */
void begin_some(const Probe *probe, const Value *values);
void end_some(const Probe *probe, PyObject *error_type);

/* A block of `probe` begins and ends, while something is recorded. */
static inline void
begin(const Probe *probe)
{
    if (!(probe->traits & seen(ring.minded)))
        enter(probe->id, 1);
    else
        begin_some(probe, NULL);
}

static inline void
end(const Probe *probe, PyObject *error_type)
{
    if (!(probe->traits & seen(ring.minded)))
        leave(probe->id, error_type);
    else
        end_some(probe, error_type);
}

int prepare_probes(void);

/* A sample that was measured elsewhere; args: probe, start and duration in ns, type of the error, a text or None, and the
 * CPU time in ns or None. */
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
