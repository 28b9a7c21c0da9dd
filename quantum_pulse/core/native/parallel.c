#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "parallel.h"

#if PARALLEL

pthread_mutex_t rings_lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
pthread_mutex_t clock_lock = PTHREAD_MUTEX_INITIALIZER;

void
renew_locks(void)
{
    rings_lock = (pthread_mutex_t)PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
    clock_lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
}

typedef struct {
    void (*function)(void *);
    void *argument;
    int is_done;
} Call;

static int
at_first_object(PyObject *object, void *argument)
{
    Call *call = argument;
    (void)object;
    call->function(call->argument);
    call->is_done = 1;
    return 0; /* no further one */
}

void
alone(void (*function)(void *), void *argument)
{
    /* Walking the heaps of all threads is what stops them, for any extension; the function that does nothing else is not
     * exported. */
    Call call = {function, argument, 0};
    PyUnstable_GC_VisitObjects(at_first_object, &call);
    if (!call.is_done)
        Py_FatalError("quantum_pulse: no object is visited");
}

void
make_immortal(PyObject *object)
{
    /* Only while it is this thread's alone. */
    if (object->ob_tid != _Py_ThreadId() || __atomic_load_n(&object->ob_ref_shared, __ATOMIC_RELAXED) != 0)
        return;
    if (PyObject_IS_GC(object) && PyObject_GC_IsTracked(object))
        PyObject_GC_UnTrack(object);
    object->ob_tid = 0;
    object->ob_ref_shared = 0;
    __atomic_store_n(&object->ob_ref_local, _Py_IMMORTAL_REFCNT_LOCAL, __ATOMIC_RELAXED);
}

#endif
