/* What is known of a block beside its sample: attributes, and the CPU time of its thread. */
#ifndef QP_ATTRIBUTES_H
#define QP_ATTRIBUTES_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "texts.h"

/* Types of attributes. */
enum { TEXT = 0, INTEGER = 1, REAL = 2, FLAG = 3 };

/* An attribute that an operation declares. */
typedef struct {
    PyObject *name; /* interned */
    int type;
    int may_be_none;
    PyObject *choices; /* by value: the text; NULL: any value of the type */
    Kind texts;
} Attribute;

/* All that an operation declares. It is never freed: blocks and programs refer to it, and operations are few. */
typedef struct Spec {
    uint32_t probe_id;
    uint32_t count;
    const struct Spec *next; /* declared earlier, by any operation */
    Attribute attributes[];
} Spec;

/* A value that was given to an attribute, checked. */
typedef union {
    int64_t number; /* NO_VALUE: not set */
    PyObject *text; /* where the type is TEXT: an exact str, or NULL: not set */
} Value;

/* What an operation declares, from a sequence of (name, type, choices or None, may be None); NULL with an exception. */
Spec *new_spec(uint32_t probe_id, PyObject *declared);

/* Values for the attributes of `spec` (NULL: there are none) from keyword arguments, into as many `values` as it has. -1
 * with an exception, where one is refused. */
int read_values(uint32_t probe_id, const Spec *spec, PyObject *const *given, PyObject *kwnames, Value *values);
void free_values(const Spec *spec, Value *values);

/* Details of a block that is entered; `values` may be NULL. NULL without memory. */
Details *new_details(const Spec *spec, const Value *values);

/* CPU time of this thread, in ns. */
int64_t thread_cpu_ns(void);

/* For the innermost open block of this execution context; keyword arguments. */
PyObject *annotate(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *kwnames);

/* For the block that `holder` holds open in `stack` (NULL: it is not open); see `enter_held`. */
struct Stack;
PyObject *annotate_held(const PyObject *holder, struct Stack *stack, PyObject *const *args, Py_ssize_t count, PyObject *kwnames);

/* What is called with (probe id, name, value), and raises, where an attribute is refused. */
PyObject *set_refusal(PyObject *module, PyObject *function);

#endif
