/* Garbage collections, as rows among the samples. */
#ifndef QP_COLLECTIONS_H
#define QP_COLLECTIONS_H

#include "rings.h"

/* For gc.callbacks; args: "start" or "stop", and a dictionary. */
PyObject *note_collection(PyObject *module, PyObject *const *args, Py_ssize_t count);

#endif
