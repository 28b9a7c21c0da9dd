#include "errors.h"

#include <string.h>

/* Add a name to the header. Its number, or OTHER_ERROR when there is no room. */
static uint32_t
add_name(PyObject *name)
{
    uint64_t session = seen(ring.session);
    PyObject *text = PyUnicode_AsEncodedString(name, "utf-8", "backslashreplace"); /* also what is no Unicode text */
    if (text == NULL)
        return OTHER_ERROR;
    if (seen(ring.session) != session) { /* that may have run anything */
        Py_DECREF(text);
        return 0;
    }
    lock_rings();
    uint32_t length = (uint32_t)PyBytes_GET_SIZE(text), used = ring.header->names_bytes, number = OTHER_ERROR;
    if (PyBytes_GET_SIZE(text) < ERROR_NAMES_BYTES && used + sizeof(length) + length <= ERROR_NAMES_BYTES) {
        char *target = ring.memory + ERROR_NAMES_OFFSET + used;
        memcpy(target, &length, sizeof(length));
        memcpy(target + sizeof(length), PyBytes_AS_STRING(text), length);
        /* Before the first sample that carries the number. */
        __atomic_store_n(&ring.header->names_bytes, used + sizeof(length) + length, __ATOMIC_RELEASE);
        number = ++ring.last_error;
    }
    unlock_rings();
    Py_DECREF(text);
    return number;
}

/* By name, and asked of `type`: a metaclass may have ideas of its own about hashes and names. */
uint32_t
error_number(PyObject *kind)
{
    uint32_t number = 0;
    PyObject *name = PyType_Check(kind) ? PyType_GetName((PyTypeObject *)kind) : NULL;
    PyObject *numbers = name == NULL || !seen(ring.in_use) ? NULL : Py_NewRef(ring.error_numbers);
    PyObject *known = numbers == NULL ? NULL : PyDict_GetItemWithError(numbers, name); /* numbers stay in there */
    if (known != NULL)
        number = (uint32_t)PyLong_AsUnsignedLong(known);
    else if (numbers != NULL && seen(ring.in_use)) {
        number = add_name(name); /* two threads may number a name twice: no harm */
        PyObject *value = PyLong_FromUnsignedLong(number);
        if (value != NULL)
            PyDict_SetItem(numbers, name, value);
        Py_XDECREF(value);
    }
    PyErr_Clear();
    Py_XDECREF(numbers);
    Py_XDECREF(name);
    return number;
}
