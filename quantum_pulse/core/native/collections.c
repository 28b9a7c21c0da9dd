#include "collections.h"

/* CPython runs one collection at a time, also without the interpreter lock. */
static int64_t began; /* the collection that is going on; 0: none that began in this recording */
static uint64_t began_in;

static int64_t
number_in(PyObject *info, const char *key)
{
    PyObject *value = PyDict_CheckExact(info) ? PyDict_GetItemString(info, key) : NULL;
    int64_t number = value == NULL ? 0 : PyLong_AsLongLong(value);
    PyErr_Clear();
    return number;
}

PyObject *
note_collection(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    if (count != 2 || !PyUnicode_Check(args[0]))
        return PyErr_Format(PyExc_TypeError, "note_collection() takes a phase and a dictionary");
    if (!seen(ring.recording))
        Py_RETURN_NONE;
    if (PyUnicode_CompareWithASCIIString(args[0], "start") == 0) {
        began = now_at_last_ns();
        began_in = seen(ring.session);
        Py_RETURN_NONE;
    }
    int64_t end = now_ns(), start = began;
    began = 0;
    Thread *thread = start == 0 || began_in != seen(ring.session) ? NULL : current_thread();
    if (thread == NULL)
        Py_RETURN_NONE;
    if (end < start)
        end = start;
    Sample row = {
        .start = start,
        .end = end,
        .parent = number_in(args[1], "collected"),
        .probe_id = COLLECTION,
        .error = (uint32_t)number_in(args[1], "generation"),
        .weight = 1,
    };
    uint64_t session = seen(ring.session);
    Segment *segment = ready_segment(thread, 1);
    if (segment == NULL || seen(ring.session) != session || !seen(ring.recording))
        Py_RETURN_NONE;
    /* First the row: an agent that counts by these must find it. */
    put_row(segment, segment->written, &row);
    publish_rows(segment, segment->written + 1);
    count_up(ring.header->gc_pause_ns, (uint64_t)(end - start)); /* one collection runs at a time */
    count_up(ring.header->gc_collections, 1);
    Py_RETURN_NONE;
}
