/* Types of errors: numbers that samples carry, and their names, which are in the ring's header. */
#ifndef QP_ERRORS_H
#define QP_ERRORS_H

#include "rings.h"

/* The number of a type of exception, which is distinguished by its name. */
uint32_t error_number(PyObject *kind);

#endif
