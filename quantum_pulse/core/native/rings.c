#include "contexts.h" /* first: it asks for the internals of CPython */
#include "slots.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

Rings ring = {.fd = -1};
int64_t last_span;
Thread *threads;
__thread Thread *this_thread;
static pthread_key_t thread_key;

/* ---- threads and segments --------------------------------------------------------------------------------------- */

static void
thread_ended(void *value)
{
    __atomic_store_n(&((Thread *)value)->ended, 1, __ATOMIC_RELEASE);
}

/* This thread's record, attached to the current recording. */
Thread *
attach_thread(void)
{
    Thread *thread = this_thread;
    if (thread == NULL) {
        thread = calloc(1, sizeof(Thread));
        if (thread == NULL)
            return NULL;
        thread->id = (int64_t)syscall(SYS_gettid);
        thread->next = threads;
        threads = thread;
        this_thread = thread;
        pthread_setspecific(thread_key, thread);
    }
    thread->session = ring.session;
    thread->context_version = 0;
    thread->task_version = 0;
    thread->never_waits = 0;
    thread->segment = NULL;
    free(thread->counts);
    thread->counts = NULL;
    thread->counts_length = 0;
    return thread;
}

/* Tell whoever drains that it is time to. */
static void
wake(void)
{
    if (ring.wake_fd >= 0 && !ring.is_awake && ring.busy_length >= ring.wake_at) {
        ring.is_awake = 1;
        ssize_t written = write(ring.wake_fd, "", 1); /* a full pipe wakes as well */
        (void)written;
    }
}

/* A segment that was never used becomes free. */
static int
extend(void)
{
    if (ring.used == ring.reserved) {
        /* Without blocks of its own on the disk, a page of the mapping could raise SIGBUS in the host. */
        uint32_t count = ring.limit - ring.reserved;
        if (count > RESERVE_SEGMENTS)
            count = RESERVE_SEGMENTS;
        if (count == 0)
            return 0;
        off_t offset = RING_HEADER_BYTES + (off_t)ring.reserved * SEGMENT_BYTES;
        if (posix_fallocate(ring.fd, offset, (off_t)count * SEGMENT_BYTES) != 0)
            return 0;
        ring.reserved += count;
    }
    ring.free_segments[ring.free_length++] =
        (Segment *)(ring.memory + RING_HEADER_BYTES + (size_t)ring.used++ * SEGMENT_BYTES);
    return 1;
}

int
make_room(void)
{
    return ring.free_length > 0 || extend();
}

/* Count the rows of `segment` that nobody has drained as lost, operation by operation. */
static void
count_lost_rows(Segment *segment)
{
    uint32_t begin = segment->consumed, end = segment->written;
    ring.header->lost += end - begin;
    for (uint32_t row = begin; row < end; row++) {
        uint32_t probe_id = segment->operation[row];
        if (probe_id == UINT32_MAX)
            continue; /* counted with an earlier row */
        uint64_t samples = 0;
        int64_t first = INT64_MAX, last = INT64_MIN;
        for (uint32_t other = row; other < end; other++) {
            if (segment->operation[other] != probe_id)
                continue;
            segment->operation[other] = UINT32_MAX;
            samples++;
            if (segment->start[other] < first)
                first = segment->start[other];
            if (segment->start[other] + segment->duration[other] > last)
                last = segment->start[other] + segment->duration[other];
        }
        count_overwritten(probe_id, segment->thread, samples, first, last);
    }
}

static void reap(void);

/* The oldest full segment that is not being written to disk becomes free. */
static int
overwrite(void)
{
    reap(); /* threads that ended have left segments that are not full */
    for (uint32_t i = 0; i < ring.busy_length; i++) {
        Segment *segment = ring.busy[i].segment;
        if (segment->state != 2 || ring.busy[i].drained != segment->consumed)
            continue;
        /* Whoever reads the file, also in this moment, must not find what is lost now. */
        segment->state = 0;
        __atomic_store_n(&segment->sequence, ++ring.sequence, __ATOMIC_RELEASE);
        count_lost_rows(segment);
        memmove(&ring.busy[i], &ring.busy[i + 1], (--ring.busy_length - i) * sizeof(Busy));
        ring.free_segments[ring.free_length++] = segment;
        return 1;
    }
    return 0;
}

/* Until somebody makes room, for a bounded time. Others run meanwhile, and may end the recording. */
static int
wait_for_room(const Thread *thread)
{
    uint64_t session = ring.session;
    int64_t give_up = now_ns() + LONGEST_WAIT_NS;
    if (thread->never_waits || ring.is_hopeless)
        return 0;
    while (ring.recording && ring.session == session && ring.free_length == 0) {
        if (now_ns() > give_up) {
            ring.is_hopeless = 1;
            return 0;
        }
        Py_BEGIN_ALLOW_THREADS
        nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
        Py_END_ALLOW_THREADS
    }
    return ring.session == session && ring.free_length > 0;
}

/* When rings fill faster than they are emptied, slow down a little rather than lose samples: whoever records most pays,
 * at most BRAKE_NS for each segment, and only while they are being emptied. It begins where half is full, with next to
 * nothing but that others may have the interpreter: above all the writer, which otherwise waits 5 ms for it again and
 * again. */
static void
brake(Thread *thread)
{
    uint32_t room = ring.free_length + (ring.limit - ring.used), half = ring.limit / 2;
    if (ring.on_full == OVERWRITE || thread->never_waits || room >= half || ring.limit < BRAKE_SEGMENTS ||
        now_ns() - ring.released_ns > LONGEST_BRAKING_NS)
        return;
    double lack = (double)(half - room) / half;
    Py_BEGIN_ALLOW_THREADS
    nanosleep(&(struct timespec){.tv_nsec = (long)(BRAKE_NS * lack * lack)}, NULL);
    Py_END_ALLOW_THREADS
}

Segment *
take_segment(Thread *thread)
{
    uint64_t session = ring.session;
    if (thread->segment != NULL)
        thread->segment->state = 2;
    if (thread->segment != NULL || ++thread->lost_in_a_row >= SEGMENT_ROWS) {
        thread->segment = NULL;
        thread->lost_in_a_row = 0;
        brake(thread);
        if (ring.session != session)
            return NULL; /* the recording has ended meanwhile */
    }
    if (!make_room() && !(ring.on_full == OVERWRITE && overwrite()) &&
        !(ring.on_full == WAIT && wait_for_room(thread)))
        return NULL;
    Segment *segment = ring.free_segments[--ring.free_length]; /* the last one used: its pages are warm */
    segment->written = 0;
    segment->inverse = ~(uint32_t)0;
    segment->consumed = 0;
    segment->thread = thread->id;
    segment->sequence = ++ring.sequence;
    segment->state = 1;
    ring.busy[ring.busy_length++] = (Busy){segment, 0};
    wake();
    thread->segment = segment;
    return segment;
}

void
lose(const Thread *thread, Count *count, const Sample *sample)
{
    /* First of all it is open no longer: whoever dies in here has one sample that is not told of, and none twice. */
    if (sample->slot != NULL)
        publish_slot(sample->slot, SLOT_FREE);
    count->lost++;
    ring.header->lost++;
    if (count->new_lost++ == 0)
        count->first_loss = sample->start;
    count->last_loss = sample->end;
    note_lost(&count->lost_slot, sample->probe_id, thread->id, NO_ROOM, 1, sample->start, sample->end);
}

/* ---- what the recorder calls ------------------------------------------------------------------------------------ */

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
    free(ring.busy);
    free(ring.drained);
    ring.memory = NULL;
    ring.header = NULL;
    ring.fd = -1;
    ring.free_segments = NULL;
    ring.free_slots = NULL;
    ring.busy = NULL;
    ring.drained = NULL;
    ring.free_length = ring.busy_length = ring.drained_length = 0;
    ring.limit = ring.reserved = ring.used = 0;
    Py_CLEAR(ring.error_numbers);
    Py_CLEAR(ring.on_error_name);
    forget_accounts();
}

/* Free the records of threads that ended, keeping their account. */
static void
reap(void)
{
    for (Thread **link = &threads; *link != NULL;) {
        Thread *thread = *link;
        if (!__atomic_load_n(&thread->ended, __ATOMIC_ACQUIRE)) {
            link = &thread->next;
            continue;
        }
        if (thread->session == ring.session && ring.in_use) {
            keep_counts(thread);
            if (thread->segment != NULL)
                thread->segment->state = 2;
        }
        *link = thread->next;
        free(thread->counts);
        free(thread);
    }
}

static PyObject *
core_start(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"ring_path", "budget_bytes", "on_error_name", "wake_fd", "on_full", "production", NULL};
    const char *path;
    unsigned long long budget;
    PyObject *on_error_name;
    int wake_fd = -1, on_full = DROP, production = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "sKO|iip", names, &path, &budget, &on_error_name, &wake_fd, &on_full,
                                     &production))
        return NULL;
    if (ring.in_use)
        return PyErr_Format(PyExc_RuntimeError, "the core is in use");
    reap();
    ring.limit = budget > RING_HEADER_BYTES + SEGMENT_BYTES ? (uint32_t)((budget - RING_HEADER_BYTES) / SEGMENT_BYTES) : 1;
    ring.bytes = RING_HEADER_BYTES + (size_t)ring.limit * SEGMENT_BYTES;
    ring.fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (ring.fd < 0)
        return PyErr_SetFromErrnoWithFilename(PyExc_OSError, path);
    uint32_t first = 1; /* a process that records little, as a forked one may, takes little of the disk */
    int failure = ftruncate(ring.fd, (off_t)ring.bytes) < 0 ? errno : 0;
    if (failure == 0)
        failure = posix_fallocate(ring.fd, 0, RING_HEADER_BYTES + (off_t)first * SEGMENT_BYTES);
    if (failure == 0) {
        ring.memory = mmap(NULL, ring.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, 0);
        if (ring.memory == MAP_FAILED) {
            ring.memory = NULL;
            failure = errno;
        }
    }
    if (failure != 0) {
        free_rings();
        unlink(path);
        errno = failure;
        return PyErr_SetFromErrnoWithFilename(PyExc_OSError, path);
    }
    ring.header = (RingHeader *)ring.memory;
    *ring.header = (RingHeader){.process = (int64_t)getpid(), .first_span = last_span, .last_span = last_span};
    memcpy(ring.header->magic, "QPRING03", 8);
    begin_slots();
    ring.reserved = first;
    ring.free_segments = malloc(ring.limit * sizeof(Segment *));
    ring.busy = malloc(ring.limit * sizeof(Busy));
    ring.drained = malloc(ring.limit * sizeof(Drained));
    ring.error_numbers = PyDict_New();
    ring.on_error_name = Py_NewRef(on_error_name);
    if (ring.free_segments == NULL || ring.busy == NULL || ring.drained == NULL || ring.error_numbers == NULL) {
        free_rings();
        unlink(path);
        return PyErr_NoMemory();
    }
    ring.sequence = 0;
    ring.wake_fd = wake_fd;
    ring.wake_at = ring.limit / 2 < WAKE_SEGMENTS ? ring.limit / 2 : WAKE_SEGMENTS;
    if (ring.wake_at == 0)
        ring.wake_at = 1;
    if (on_full == OVERWRITE)
        ring.wake_at = UINT32_MAX; /* they are to be full */
    ring.is_awake = 0;
    ring.on_full = on_full;
    ring.is_hopeless = 0;
    ring.production = production;
    ring.released_ns = now_ns();
    ring.last_error = 0;
    if (on_full == OVERWRITE)
        reserve_slots(); /* all segments will be full of samples, and none given back */
    ring.session++;
    ring.in_use = 1;
    ring.recording = 1;
    Py_RETURN_NONE;
}

static PyObject *
core_stop(PyObject *module, PyObject *unused)
{
    ring.recording = 0;
    Py_RETURN_NONE;
}

static PyObject *
core_close(PyObject *module, PyObject *unused)
{
    ring.recording = 0;
    if (!ring.in_use)
        Py_RETURN_NONE;
    ring.in_use = 0;
    ring.session++; /* threads and stacks of this recording are stale from here on */
    for (Thread *thread = threads; thread != NULL; thread = thread->next)
        thread->segment = NULL;
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

typedef struct {
    const char *name;
    size_t offset, size;
} Column;

static const Column columns[] = {
    {"start", offsetof(Segment, start), 8},         {"duration", offsetof(Segment, duration), 8},
    {"span", offsetof(Segment, span), 8},           {"parent", offsetof(Segment, parent), 8},
    {"task", offsetof(Segment, task), 8},           {"operation", offsetof(Segment, operation), 4},
    {"error", offsetof(Segment, error), 4},         {"weight", offsetof(Segment, weight), 4},
};
#define COLUMNS (sizeof(columns) / sizeof(columns[0]))

static PyObject *
core_drain(PyObject *module, PyObject *args)
{
    size_t most = SIZE_MAX;
    if (!PyArg_ParseTuple(args, "|n", &most) || !require_use())
        return NULL;
    reap();
    size_t rows = 0;
    uint32_t length = ring.busy_length, drained = 0;
    Busy *snapshot = malloc((length + 1) * sizeof(Busy)); /* where each segment's new rows begin */
    if (snapshot == NULL)
        return PyErr_NoMemory();
    for (uint32_t i = 0; i < length && rows < most; i++) {
        Busy *busy = &ring.busy[i];
        uint32_t end = busy->segment->written;
        if (end == busy->drained && busy->segment->state != 2)
            continue;
        snapshot[drained] = *busy;
        ring.drained[drained++] = (Drained){busy->segment, end};
        rows += end - busy->drained;
        busy->drained = end;
    }
    ring.drained_length = drained;
    if (rows == 0) {
        free(snapshot);
        Py_RETURN_NONE;
    }
    PyObject *result = NULL, *buffers[COLUMNS + 1] = {NULL};
    for (size_t c = 0; c <= COLUMNS; c++) {
        buffers[c] = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(rows * (c < COLUMNS ? columns[c].size : 8)));
        if (buffers[c] == NULL)
            goto done;
    }
    Py_BEGIN_ALLOW_THREADS /* segments stay as they are until release() */
    for (size_t c = 0; c <= COLUMNS; c++) {
        char *target = PyBytes_AS_STRING(buffers[c]);
        for (uint32_t i = 0; i < drained; i++) {
            const Segment *segment = snapshot[i].segment;
            size_t begin = snapshot[i].drained, count = ring.drained[i].end - begin;
            if (c < COLUMNS) {
                memcpy(target, (const char *)segment + columns[c].offset + begin * columns[c].size,
                       count * columns[c].size);
                target += count * columns[c].size;
            }
            else
                for (size_t row = 0; row < count; row++, target += 8)
                    memcpy(target, &segment->thread, 8);
        }
    }
    Py_END_ALLOW_THREADS
    PyObject *dict = PyDict_New();
    for (size_t c = 0; dict != NULL && c <= COLUMNS; c++)
        if (PyDict_SetItemString(dict, c < COLUMNS ? columns[c].name : "thread", buffers[c]) < 0)
            Py_CLEAR(dict);
    if (dict != NULL) {
        PyObject *contract = PyImport_ImportModule("quantum_pulse.core.contract");
        if (contract != NULL)
            result = PyObject_CallMethod(contract, "Batch", "nO", (Py_ssize_t)rows, dict);
        Py_XDECREF(contract);
        Py_DECREF(dict);
    }
done:
    for (size_t c = 0; c <= COLUMNS; c++)
        Py_XDECREF(buffers[c]);
    free(snapshot);
    return result;
}

static PyObject *
core_release(PyObject *module, PyObject *unused)
{
    if (!require_use())
        return NULL;
    for (uint32_t i = 0; i < ring.drained_length; i++)
        ring.drained[i].segment->consumed = ring.drained[i].end;
    ring.drained_length = 0;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < ring.busy_length; i++) {
        Segment *segment = ring.busy[i].segment;
        if (segment->state == 2 && segment->consumed == segment->written) {
            segment->state = 0;
            ring.free_segments[ring.free_length++] = segment;
        }
        else
            ring.busy[kept++] = ring.busy[i];
    }
    ring.busy_length = kept;
    ring.is_awake = 0;
    ring.is_hopeless = 0;
    ring.released_ns = now_ns();
    wake();
    Py_RETURN_NONE;
}

static PyObject *
core_losses(PyObject *module, PyObject *unused)
{
    if (!require_use())
        return NULL;
    reap();
    return take_losses();
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
core_never_wait(PyObject *module, PyObject *unused)
{
    Thread *thread = current_thread();
    if (thread == NULL)
        return PyErr_NoMemory();
    thread->never_waits = 1;
    Py_RETURN_NONE;
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

PyMethodDef ring_functions[] = {
    {"now", core_now, METH_NOARGS, "Nanoseconds on the monotonic clock that samples are taken with."},
    {"clock", core_clock, METH_NOARGS, "Where they come from: \"counter\" or \"monotonic\"."},
    {"start", (PyCFunction)(void (*)(void))core_start, METH_VARARGS | METH_KEYWORDS, "Create the ring file and begin to record."},
    {"stop", core_stop, METH_NOARGS, "Record no more."},
    {"close", core_close, METH_NOARGS, "Give up the rings."},
    {"forget", core_forget, METH_NOARGS, "In a forked child: let go of the parent's rings."},
    {"drain", core_drain, METH_VARARGS, "Copy finished rows not yet drained."},
    {"release", core_release, METH_NOARGS, "The drained rows are durable."},
    {"losses", core_losses, METH_NOARGS, "Losses since the last call."},
    {"account", core_account, METH_NOARGS, "Totals since start."},
    {"never_wait", core_never_wait, METH_NOARGS, "This thread makes room, so it must not wait for any."},
    {"watch", watch, METH_VARARGS, "Look out for long or failing samples of a probe."},
    {"trips", take_trips, METH_NOARGS, "What watching has found since the last call."},
    {NULL},
};

int
prepare_rings(void)
{
    int failure = pthread_key_create(&thread_key, thread_ended);
    if (failure != 0) {
        errno = failure;
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    return 0;
}
