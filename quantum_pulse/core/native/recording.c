/* What the recorder calls: a recording begins, ends, and says how far it is. */
#include "contexts.h" /* first: it asks for the internals of CPython */
#include "collections.h"
#include "slots.h"
#include "texts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

Rings ring = {.fd = -1, .wake_fd = -1};
int64_t last_span;

static PyObject *
core_now(PyObject *module, PyObject *unused)
{
    return PyLong_FromLongLong(now_ns());
}

static PyObject *
core_clock(PyObject *module, PyObject *unused)
{
    return PyUnicode_FromString(clock_source());
}

static void
free_rings(void)
{
    if (ring.memory != NULL)
        munmap(ring.memory, ring.bytes);
    if (ring.fd >= 0)
        close(ring.fd);
    free(ring.free_segments);
    free(ring.full_segments);
    ring.memory = NULL;
    ring.header = NULL;
    ring.drained = ring.claimed = NULL;
    ring.fd = ring.wake_fd = -1;
    ring.free_segments = ring.full_segments = NULL;
    ring.free_slots = NULL;
    ring.free_length = ring.full_length = 0;
    ring.limit = ring.reserved = ring.used = 0;
    forget_texts();
    Py_CLEAR(ring.on_stall);
    forget_accounts();
}

/* Make the file, with memory for `first` segments, and map it. Returns 0 or an errno. */
static int
make_file(const char *path, uint32_t first)
{
    ring.fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (ring.fd < 0)
        return errno;
    struct statfs found;
    if (fstatfs(ring.fd, &found) < 0)
        return errno;
    ring.is_on_disk = found.f_type != TMPFS_MAGIC;
    if (!ring.is_on_disk && ftruncate(ring.fd, (off_t)ring.bytes) < 0)
        return errno;
    int failure = take_space(0, (off_t)segments_at(ring.limit));
    if (failure == 0)
        failure = reserve(first < ring.limit ? first : ring.limit);
    if (failure != 0)
        return failure;
    ring.memory = mmap(NULL, ring.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, 0);
    if (ring.memory != MAP_FAILED)
        return 0;
    ring.memory = NULL;
    return errno;
}

typedef struct {
    unsigned long long budget; /* bytes */
    int wake_fd, on_full, production, cpu_time;
    unsigned int most_values; /* different ones of an attribute */
    unsigned int first; /* segments that have memory from the beginning */
} Options;

/* Make the file and what the threads share, for a recording that `publish` begins. Returns 0 or an errno. */
static int
prepare(const char *path, const Options *options)
{
    reap();
    unsigned long long budget = options->budget, fixed = RING_HEADER_BYTES;
    unsigned long long limit = budget > fixed + SEGMENT_BYTES ? (budget - fixed) / SEGMENT_BYTES : 1;
    if (limit > UINT32_MAX / 2)
        return EFBIG;
    ring.limit = (uint32_t)limit;
    ring.bytes = segments_at(ring.limit) + (size_t)ring.limit * SEGMENT_BYTES;
    int failure = make_file(path, options->first > 0 ? options->first : 1), is_made = ring.fd >= 0;
    if (failure == 0) {
        ring.free_segments = malloc(ring.limit * sizeof(uint32_t));
        ring.full_segments = malloc(ring.limit * sizeof(uint32_t));
        if (ring.free_segments == NULL || ring.full_segments == NULL)
            failure = ENOMEM;
    }
    if (failure != 0) {
        free_rings();
        if (is_made)
            unlink(path);
        return failure;
    }
    int64_t now = now_ns();
    ring.header = (RingHeader *)ring.memory;
    *ring.header = (RingHeader){
        .process = (int64_t)getpid(),
        .first_span = last_span,
        .last_span = last_span,
        .limit = ring.limit,
        .on_full = (uint32_t)options->on_full,
        .seen_ns = now,
        .released_ns = now,
        .reserved = ring.reserved,
        .counters = PARALLEL ? COUNTERS : 0,
    };
    ring.drained = (const uint64_t *)(ring.memory + RING_HEADER_BYTES);
    ring.claimed = ring.drained + ring.limit;
    begin_slots();
    ring.sequence = 0;
    ring.swept_at = ring.waked_at = 0;
    ring.no_room_until_ns = ring.stalled_ns = 0;
    ring.wake_fd = options->wake_fd;
    ring.wake_at = ring.limit / 2 < WAKE_SEGMENTS ? ring.limit / 2 : WAKE_SEGMENTS;
    if (ring.wake_at == 0)
        ring.wake_at = 1;
    if (options->on_full == OVERWRITE)
        ring.wake_at = UINT32_MAX; /* they are to be full */
    ring.on_full = options->on_full;
    ring.is_hopeless = 0;
    ring.production = options->production;
    tell(ring.muted, MUTED_NOTHING);
    begin_texts();
    ring.most_values = options->most_values;
    ring.cpu_time = options->cpu_time;
    tell(ring.minded, SAMPLED | DETAIL | DETAILED | (options->cpu_time ? ANY_PROBE : 0));
#if PARALLEL
    ring.left_number = ring.end_of_left = 0;
    ring.counters_taken = 0;
#endif
    if (options->on_full == OVERWRITE)
        reserve_slots(); /* all segments will be full of samples, and none given back */
    return 0;
}

static void
publish(void)
{
    ring.in_use = 1;
    count_up(ring.session, 1);
    tell(ring.recording, 1);
    /* Whoever looks at the file takes it for a ring from here on. */
    __atomic_thread_fence(__ATOMIC_RELEASE);
    memcpy(ring.header->magic, RING_MAGIC, 8);
}

static PyObject *
core_start(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"ring_path", "budget_bytes", "wake_fd", "on_full", "production", "reserve", "on_stall",
                             "cpu_time", "most_values", NULL};
    PyObject *path, *on_stall = Py_None;
    Options options = {.wake_fd = -1, .on_full = DROP, .first = 1, .most_values = 1000};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&K|iipIOpI", names, PyUnicode_FSConverter, &path, &options.budget,
                                     &options.wake_fd, &options.on_full, &options.production, &options.first, &on_stall,
                                     &options.cpu_time, &options.most_values))
        return NULL;
    if (ring.in_use) {
        Py_DECREF(path);
        return PyErr_Format(PyExc_RuntimeError, "the core is in use");
    }
    int failure = prepare(PyBytes_AS_STRING(path), &options);
    if (failure != 0) {
        errno = failure;
        PyErr_Clear();
        PyErr_SetFromErrnoWithFilename(PyExc_OSError, PyBytes_AS_STRING(path));
        Py_DECREF(path);
        return NULL;
    }
    Py_DECREF(path);
    ring.on_stall = on_stall == Py_None ? NULL : Py_NewRef(on_stall);
    publish();
    Py_RETURN_NONE;
}

static void
stop(void *unused)
{
    tell(ring.recording, 0);
}

static PyObject *
core_stop(PyObject *module, PyObject *unused)
{
    alone(stop, NULL); /* no row follows: nobody is about to write one */
    Py_RETURN_NONE;
}

/* Nobody uses what is mapped any more, and whoever was using it looks at the session first. */
static void
end_session(void *unused)
{
    stop(unused);
    if (!ring.in_use)
        return;
    ring.in_use = 0;
    count_up(ring.session, 1); /* threads and stacks of this recording are stale from here on */
    for (Thread *thread = threads; thread != NULL; thread = thread->next)
        thread->segment = NULL;
    last_span = ring.header->last_span;
}

static PyObject *
core_close(PyObject *module, PyObject *unused)
{
    int was_in_use = ring.in_use;
    alone(end_session, NULL);
    if (!was_in_use)
        Py_RETURN_NONE;
    forget_open_spans();
    free_rings();
    reap();
    Py_RETURN_NONE;
}

static int
require_use(void)
{
    if (!ring.in_use)
        PyErr_SetString(PyExc_RuntimeError, "the core is not in use");
    return ring.in_use;
}

static PyObject *
core_ask(PyObject *module, PyObject *args)
{
    int stopped = 0;
    if (!PyArg_ParseTuple(args, "|p", &stopped) || !require_use())
        return NULL;
    reap(); /* so that the segments of threads that have ended become free again */
    if (stopped)
        __atomic_store_n(&ring.header->stopped, 1, __ATOMIC_RELEASE);
    uint64_t number = ring.header->asked + 1;
    __atomic_store_n(&ring.header->asked, number, __ATOMIC_RELEASE);
    if (ring.wake_fd >= 0) {
        ssize_t written = write(ring.wake_fd, "", 1); /* a full pipe wakes as well */
        (void)written;
    }
    return PyLong_FromUnsignedLongLong(number);
}

static PyObject *
core_progress(PyObject *module, PyObject *unused)
{
    if (!require_use())
        return NULL;
    /* Read at once: calls into Python let others close the rings. */
    const RingHeader *header = ring.header;
    char text[sizeof(header->failure)];
    uint32_t length = __atomic_load_n(&header->failure_bytes, __ATOMIC_ACQUIRE);
    if (length > sizeof(text))
        length = 0;
    memcpy(text, header->failure, length);
    uint64_t answered = __atomic_load_n(&header->answered, __ATOMIC_ACQUIRE);
    int is_finished = __atomic_load_n(&header->finished, __ATOMIC_ACQUIRE) != 0;
    uint64_t drained = __atomic_load_n(&header->drained_rows, __ATOMIC_ACQUIRE), lost = seen(header->lost);
    int64_t looked = __atomic_load_n(&header->seen_ns, __ATOMIC_RELAXED);
    PyObject *failure = PyUnicode_DecodeUTF8(text, length, "replace");
    PyObject *contract = PyImport_ImportModule("quantum_pulse.core.contract");
    PyObject *result = failure == NULL || contract == NULL
                           ? NULL
                           : PyObject_CallMethod(contract, "Progress", "KOKLKO", (unsigned long long)answered,
                                                 is_finished ? Py_True : Py_False, (unsigned long long)drained,
                                                 (long long)looked, (unsigned long long)lost, failure);
    Py_XDECREF(failure);
    Py_XDECREF(contract);
    return result;
}

static PyObject *
core_losses(PyObject *module, PyObject *unused)
{
    if (!require_use())
        return NULL;
    reap();
    return list_losses();
}

static PyObject *
core_account(PyObject *module, PyObject *unused)
{
    if (!require_use())
        return NULL;
    reap();
    return list_accounts();
}

static PyObject *
core_forget(PyObject *module, PyObject *unused)
{
    /* The other threads' records are copies of threads that this process does not have. */
    for (Thread *thread = threads, *next; thread != NULL; thread = next) {
        next = thread->next;
        if (thread != this_thread) {
            free(thread->counts);
            free(thread);
        }
    }
    threads = this_thread;
    if (this_thread != NULL) {
        this_thread->next = NULL;
        this_thread->id = (int64_t)syscall(SYS_gettid);
    }
    return core_close(module, unused);
}

static PyObject *
core_fence(PyObject *module, PyObject *unused)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    Py_RETURN_NONE;
}

PyMethodDef ring_functions[] = {
    {"now", core_now, METH_NOARGS, "Nanoseconds on the monotonic clock that samples are taken with."},
    {"clock", core_clock, METH_NOARGS, "Where they come from: \"counter\" or \"monotonic\"."},
    {"start", (PyCFunction)(void (*)(void))core_start, METH_VARARGS | METH_KEYWORDS, "Create the ring file and begin to record."},
    {"stop", core_stop, METH_NOARGS, "Record no more."},
    {"close", core_close, METH_NOARGS, "Give up the rings."},
    {"forget", core_forget, METH_NOARGS, "In a forked child: let go of the parent's rings."},
    {"ask", core_ask, METH_VARARGS, "Ask the agent for a flush."},
    {"progress", core_progress, METH_NOARGS, "How far the agent is."},
    {"losses", core_losses, METH_NOARGS, "Losses since start."},
    {"account", core_account, METH_NOARGS, "Totals since start."},
    {"watch", watch, METH_VARARGS, "Look out for long or failing samples of a probe."},
    {"note_collection", (PyCFunction)(void (*)(void))note_collection, METH_FASTCALL, "For gc.callbacks: record a collection."},
    {"fence", core_fence, METH_NOARGS, "Order what was read and written before and after."},
    {NULL},
};
