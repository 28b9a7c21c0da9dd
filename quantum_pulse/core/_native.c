/* The native core: clock, open spans, rings. `contract.py` says what each function promises; `pure.py` is the same in
 * Python and the oracle for this file.
 *
 * All of it runs under the interpreter lock, so nothing here locks. The one exception is the end of an operating
 * system thread, which only raises a flag (thread_ended).
 */

#define PY_SSIZE_T_CLEAN
#define Py_BUILD_CORE_MODULE 1 /* the frame's owner, to know a generator's frame without making a frame object */
#include <Python.h>
#include <structmember.h>
#if PY_VERSION_HEX >= 0x030E0000
#include "internal/pycore_interpframe.h"
#include "internal/pycore_genobject.h"
#else
#include "internal/pycore_frame.h"
#endif

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* The layout of a ring file; schema.py documents it and a test compares the two. */
#define RING_HEADER_BYTES 4096
#define SEGMENT_BYTES 65536
#define SEGMENT_HEADER_BYTES 128
#define ROW_BYTES 52
#define SEGMENT_ROWS ((SEGMENT_BYTES - SEGMENT_HEADER_BYTES) / ROW_BYTES / 8 * 8)
/* Disk blocks are reserved for this many segments at a time: a system call every 80,000 samples. */
#define RESERVE_SEGMENTS 64

typedef struct {
    uint32_t state; /* 0 free, 1 being filled, 2 full */
    uint32_t pad0;
    uint64_t sequence;
    int64_t thread;
    char pad1[40];
    uint32_t written;
    uint32_t consumed;
    char pad2[56];
    int64_t start[SEGMENT_ROWS];
    int64_t duration[SEGMENT_ROWS];
    int64_t span[SEGMENT_ROWS];
    int64_t parent[SEGMENT_ROWS];
    int64_t task[SEGMENT_ROWS];
    uint32_t operation[SEGMENT_ROWS];
    uint32_t error[SEGMENT_ROWS];
    int32_t weight[SEGMENT_ROWS];
} Segment;

_Static_assert(offsetof(Segment, written) == 64, "segment header as schema.py has it");
_Static_assert(offsetof(Segment, start) == SEGMENT_HEADER_BYTES, "segment header as schema.py has it");
_Static_assert(sizeof(Segment) <= SEGMENT_BYTES, "a segment holds its rows");

/* A span that has been entered and not left. */
typedef struct {
    int64_t start;
    int64_t span;
    int64_t parent;
    uint32_t probe_id;
    int encloses;        /* also while its generator is suspended: it stands behind a @contextmanager */
    PyObject *generator; /* that holds it open, or NULL. Borrowed: a generator closes its blocks before it dies */
} Open;

/* The open spans of one execution context. */
typedef struct Stack {
    PyObject_HEAD
    Open *open;
    Py_ssize_t depth;
    Py_ssize_t capacity;
    int64_t root_parent; /* span that was open where this context was copied from */
    int64_t task;
    uint64_t session;
    int precise; /* others may copy this context at any time, so it carries its innermost span by value */
    PyObject *context_ref;
    PyObject *task_ref;
    struct Stack *next, *previous;
} Stack;

/* What the context variable holds. A copied context finds the mark of the context that it was copied from. */
typedef struct {
    PyObject_HEAD
    Stack *stack;
    int64_t span; /* innermost span; -1: whatever is innermost on `stack` when somebody looks */
} Mark;

typedef struct {
    uint64_t started, committed, lost, new_lost;
    int64_t first_loss, last_loss;
} Count;

/* An operating system thread that has recorded. */
typedef struct Thread {
    uint64_t session;
    uint64_t tstate_id;
    uint64_t context_version;
    Stack *stack; /* of the current context; borrowed, valid while the context's version stands */
    Segment *segment;
    int64_t id;
    Count *counts; /* by probe id */
    uint32_t counts_length;
    int ended;
    struct Thread *next;
} Thread;

typedef struct {
    Segment *segment;
    uint32_t drained;
} Busy;

typedef struct {
    Segment *segment;
    uint32_t end;
} Drained;

static struct {
    int recording;
    int in_use;
    uint64_t session; /* number of the recording, so that what is left of an earlier one is known */
    int fd;
    char *memory;
    size_t bytes;
    uint32_t limit, reserved, used; /* segments */
    Segment **free_segments;
    uint32_t free_length;
    Busy *busy; /* in the order taken */
    uint32_t busy_length;
    Drained *drained;
    uint32_t drained_length;
    uint64_t sequence;
    PyObject *error_numbers;
    PyObject *on_error_name;
    PyObject *retired; /* account rows of threads that ended */
    PyObject *retired_losses;
} ring = {.fd = -1};

static int64_t last_span;
static int64_t last_task;
static Thread *threads;
static Stack stacks = {.next = &stacks, .previous = &stacks};
static __thread Thread *this_thread;
static pthread_key_t thread_key;
static PyObject *top_variable;
static PyObject *task_numbers;
static PyObject *current_task, *running_loop; /* once asyncio is loaded */
static PyObject *manager_codes[2];

static PyTypeObject StackType, MarkType, ProbeType, BoundType, MethodType, TimedType;

static inline int64_t
now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* ---- generators ------------------------------------------------------------------------------------------------ */

/* The generator or async generator whose frame is running, borrowed, or NULL in any other frame. */
static inline PyObject *
running_generator(PyThreadState *tstate)
{
#if PY_VERSION_HEX >= 0x030D0000
    struct _PyInterpreterFrame *frame = tstate->current_frame;
#else
    struct _PyInterpreterFrame *frame = tstate->cframe->current_frame;
#endif
    if (frame == NULL || frame->owner != FRAME_OWNED_BY_GENERATOR)
        return NULL;
#if PY_VERSION_HEX >= 0x030E0000
    PyObject *generator = (PyObject *)_PyGen_GetGeneratorFromFrame(frame);
#else
    PyObject *generator = (PyObject *)_PyFrame_GetGenerator(frame);
#endif
    return PyCoro_CheckExact(generator) ? NULL : generator;
}

static int
is_suspended(const Open *open)
{
    if (open->generator == NULL || open->encloses)
        return 0;
    const char *name = PyAsyncGen_CheckExact(open->generator) ? "ag_running" : "gi_running";
    PyObject *running = PyObject_GetAttrString(open->generator, name);
    if (running == NULL) {
        PyErr_Clear();
        return 0;
    }
    int result = running == Py_False;
    Py_DECREF(running);
    return result;
}

/* A generator behind @contextmanager encloses the block of its `with`, so what runs there is inside its spans. */
static int
is_context_manager(void)
{
    PyFrameObject *frame = PyEval_GetFrame();
    PyFrameObject *caller = frame == NULL ? NULL : PyFrame_GetBack(frame);
    if (caller == NULL)
        return 0;
    PyObject *code = (PyObject *)PyFrame_GetCode(caller);
    int result = code == manager_codes[0] || code == manager_codes[1];
    Py_DECREF(code);
    Py_DECREF(caller);
    return result;
}

/* ---- stacks: one per execution context ------------------------------------------------------------------------- */

static void
stack_dealloc(Stack *self)
{
    self->previous->next = self->next;
    self->next->previous = self->previous;
    PyMem_Free(self->open);
    Py_XDECREF(self->context_ref);
    Py_XDECREF(self->task_ref);
    PyObject_Free(self);
}

static void
mark_dealloc(Mark *self)
{
    Py_DECREF(self->stack);
    PyObject_Free(self);
}

static int64_t
innermost(const Stack *stack)
{
    for (Py_ssize_t i = stack->depth - 1; i >= 0; i--)
        if (!is_suspended(&stack->open[i]))
            return stack->open[i].span;
    return stack->root_parent;
}

static int
set_mark(Stack *stack, int64_t span)
{
    Mark *mark = PyObject_New(Mark, &MarkType);
    if (mark == NULL)
        return -1;
    mark->stack = (Stack *)Py_NewRef(stack);
    mark->span = span;
    PyObject *token = PyContextVar_Set(top_variable, (PyObject *)mark);
    Py_DECREF(mark);
    if (token == NULL)
        return -1;
    Py_DECREF(token);
    return 0;
}

static PyObject *
referent(PyObject *reference)
{
    if (reference == NULL)
        return NULL;
#if PY_VERSION_HEX >= 0x030D0000
    PyObject *object = NULL;
    if (PyWeakref_GetRef(reference, &object) <= 0)
        return NULL;
    Py_DECREF(object); /* the caller only compares it with something alive */
    return object;
#else
    return PyWeakref_GET_OBJECT(reference);
#endif
}

/* Give `stack` the number of the asyncio task that runs now. */
static int
note_task(Stack *stack)
{
    if (current_task == NULL) {
        PyObject *modules = PyImport_GetModuleDict();
        PyObject *tasks = PyDict_GetItemString(modules, "asyncio.tasks");
        PyObject *events = PyDict_GetItemString(modules, "asyncio.events");
        if (tasks == NULL || events == NULL || !PyObject_HasAttrString(tasks, "current_task")) {
            stack->task = 0;
            return 0;
        }
        running_loop = PyObject_GetAttrString(events, "_get_running_loop");
        current_task = PyObject_GetAttrString(tasks, "current_task");
        if (current_task == NULL || running_loop == NULL)
            return -1;
    }
    PyObject *loop = PyObject_CallNoArgs(running_loop);
    if (loop == NULL)
        return -1;
    if (loop == Py_None) {
        Py_DECREF(loop);
        stack->task = 0;
        return 0;
    }
    PyObject *task = PyObject_CallOneArg(current_task, loop);
    Py_DECREF(loop);
    if (task == NULL)
        return -1;
    if (task == Py_None) {
        Py_DECREF(task);
        stack->task = 0;
        return 0;
    }
    if (stack->task != 0 && referent(stack->task_ref) == task) {
        Py_DECREF(task);
        return 0;
    }
    int result = -1;
    PyObject *number = PyObject_GetItem(task_numbers, task);
    if (number == NULL && PyErr_ExceptionMatches(PyExc_KeyError)) {
        PyErr_Clear();
        number = PyLong_FromLongLong(++last_task);
        if (number != NULL && PyObject_SetItem(task_numbers, task, number) < 0)
            Py_CLEAR(number);
    }
    if (number != NULL) {
        stack->task = PyLong_AsLongLong(number);
        Py_DECREF(number);
        Py_XSETREF(stack->task_ref, PyWeakref_NewRef(task, NULL));
        result = stack->task_ref == NULL ? -1 : 0;
    }
    Py_DECREF(task);
    return result;
}

/* Whether `context` was entered with Context.run, as a task's is; a thread's own context never is. */
static int
is_entered(PyObject *context)
{
    if (PyContext_Enter(context) < 0) {
        PyErr_Clear();
        return 1;
    }
    if (PyContext_Exit(context) < 0)
        PyErr_Clear();
    return 0;
}

static Stack *
new_stack(PyThreadState *tstate, const Mark *inherited)
{
    Stack *stack = PyObject_New(Stack, &StackType);
    if (stack == NULL)
        return NULL;
    memset((char *)stack + sizeof(PyObject), 0, sizeof(Stack) - sizeof(PyObject));
    stack->session = ring.session;
    stack->next = stacks.next;
    stack->previous = &stacks;
    stacks.next->previous = stack;
    stacks.next = stack;
    if (inherited != NULL && inherited->stack->session == ring.session)
        stack->root_parent = inherited->span >= 0 ? inherited->span : innermost(inherited->stack);
    stack->precise = tstate->context != NULL && is_entered(tstate->context);
    if (set_mark(stack, stack->precise ? stack->root_parent : -1) < 0)
        goto fail;
    stack->context_ref = PyWeakref_NewRef(tstate->context, NULL);
    if (stack->context_ref == NULL)
        goto fail;
    return stack; /* the context keeps it; the caller's reference is given up below */
fail:
    Py_DECREF(stack);
    return NULL;
}

/* The stack of the current context, borrowed from the context; made when `create`, else NULL when there is none. */
static Stack *
find_stack(Thread *thread, PyThreadState *tstate, int create)
{
    PyObject *value = NULL;
    if (PyContextVar_Get(top_variable, NULL, &value) < 0)
        return NULL;
    Mark *mark = (Mark *)value;
    Stack *stack = NULL;
    if (mark != NULL && tstate->context != NULL && referent(mark->stack->context_ref) == tstate->context)
        stack = mark->stack;
    else if (create) {
        stack = new_stack(tstate, mark);
        Py_XDECREF(stack);
    }
    Py_XDECREF(value);
    if (stack == NULL)
        return NULL;
    if (stack->session != ring.session) {
        stack->session = ring.session;
        stack->depth = 0;
        stack->root_parent = 0;
        if (stack->precise && set_mark(stack, 0) < 0)
            return NULL;
    }
    thread->stack = stack;
    thread->tstate_id = tstate->id;
    thread->context_version = tstate->context_ver;
    return stack;
}

static inline Stack *
current_stack(Thread *thread, PyThreadState *tstate, int create)
{
    if (thread->context_version == tstate->context_ver && thread->tstate_id == tstate->id)
        return thread->stack;
    return find_stack(thread, tstate, create);
}

/* ---- rings ------------------------------------------------------------------------------------------------------ */

static void
thread_ended(void *value)
{
    __atomic_store_n(&((Thread *)value)->ended, 1, __ATOMIC_RELEASE);
}

/* This thread's record, attached to the current recording. */
static Thread *
attach(void)
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
    thread->segment = NULL;
    free(thread->counts);
    thread->counts = NULL;
    thread->counts_length = 0;
    return thread;
}

static Count *
grow_counts(Thread *thread, uint32_t probe_id)
{
    uint32_t length = (probe_id + 16) / 16 * 16;
    Count *counts = realloc(thread->counts, length * sizeof(Count));
    if (counts == NULL)
        return NULL;
    memset(counts + thread->counts_length, 0, (length - thread->counts_length) * sizeof(Count));
    thread->counts = counts;
    thread->counts_length = length;
    return &counts[probe_id];
}

static Segment *
take_segment(Thread *thread)
{
    if (thread->segment != NULL)
        thread->segment->state = 2;
    thread->segment = NULL;
    if (ring.free_length == 0) {
        if (ring.used == ring.reserved) {
            /* Without blocks of its own on the disk, a page of the mapping could raise SIGBUS in the host. */
            uint32_t count = ring.limit - ring.reserved;
            if (count > RESERVE_SEGMENTS)
                count = RESERVE_SEGMENTS;
            if (count == 0)
                return NULL;
            off_t offset = RING_HEADER_BYTES + (off_t)ring.reserved * SEGMENT_BYTES;
            if (posix_fallocate(ring.fd, offset, (off_t)count * SEGMENT_BYTES) != 0)
                return NULL;
            ring.reserved += count;
        }
        ring.free_segments[ring.free_length++] =
            (Segment *)(ring.memory + RING_HEADER_BYTES + (size_t)ring.used++ * SEGMENT_BYTES);
    }
    Segment *segment = ring.free_segments[--ring.free_length]; /* the last one used: its pages are warm */
    segment->written = 0;
    segment->consumed = 0;
    segment->thread = thread->id;
    segment->sequence = ++ring.sequence;
    segment->state = 1;
    ring.busy[ring.busy_length++] = (Busy){segment, 0};
    thread->segment = segment;
    return segment;
}

static inline void
commit(Thread *thread, const Open *open, int64_t task, int64_t end, uint32_t error)
{
    Count *count = open->probe_id < thread->counts_length ? &thread->counts[open->probe_id]
                                                          : grow_counts(thread, open->probe_id);
    if (count == NULL)
        return;
    Segment *segment = thread->segment;
    if (segment == NULL || segment->written == SEGMENT_ROWS) {
        segment = take_segment(thread);
        if (segment == NULL) {
            count->lost++;
            if (count->new_lost++ == 0)
                count->first_loss = open->start;
            count->last_loss = end;
            return;
        }
    }
    uint32_t row = segment->written;
    segment->start[row] = open->start;
    segment->duration[row] = end - open->start;
    segment->span[row] = open->span;
    segment->parent[row] = open->parent;
    segment->task[row] = task;
    segment->operation[row] = open->probe_id;
    segment->error[row] = error;
    segment->weight[row] = 1;
    count->committed++;
    /* Last, so that whoever reads the file of a killed process finds whole rows only. */
    __atomic_store_n(&segment->written, row + 1, __ATOMIC_RELEASE);
}

/* ---- enter and exit --------------------------------------------------------------------------------------------- */

static void
enter(uint32_t probe_id)
{
    Thread *thread = this_thread;
    if (thread == NULL || thread->session != ring.session) {
        thread = attach();
        if (thread == NULL)
            return;
    }
    PyThreadState *tstate = PyThreadState_Get();
    Stack *stack = current_stack(thread, tstate, 1);
    if (stack == NULL)
        goto fail;
    if (stack->precise && stack->depth == 0 && note_task(stack) < 0)
        goto fail;
    if (stack->depth == stack->capacity) {
        Py_ssize_t capacity = stack->capacity == 0 ? 8 : stack->capacity * 2;
        Open *grown = PyMem_Realloc(stack->open, capacity * sizeof(Open));
        if (grown == NULL)
            return;
        stack->open = grown;
        stack->capacity = capacity;
    }
    Count *count =
        probe_id < thread->counts_length ? &thread->counts[probe_id] : grow_counts(thread, probe_id);
    if (count == NULL)
        return;
    PyObject *generator = running_generator(tstate);
    Open *open = &stack->open[stack->depth];
    open->probe_id = probe_id;
    if (stack->depth == 0)
        open->parent = stack->root_parent;
    else if (open[-1].generator == NULL)
        open->parent = open[-1].span;
    else
        open->parent = innermost(stack);
    open->span = ++last_span;
    open->generator = generator;
    open->encloses = generator != NULL && is_context_manager();
    stack->depth++;
    count->started++;
    if (stack->precise) {
        if (set_mark(stack, open->span) < 0)
            PyErr_Clear();
        thread->context_version = tstate->context_ver;
    }
    open->start = now_ns();
    return;
fail:
    PyErr_Clear(); /* never the host's trouble */
}

/* The innermost open span of `probe_id` that belongs to `generator` (NULL: to none), or -1. */
static inline Py_ssize_t
find_open(const Stack *stack, uint32_t probe_id, const PyObject *generator)
{
    for (Py_ssize_t i = stack->depth - 1; i >= 0; i--)
        if (stack->open[i].probe_id == probe_id && stack->open[i].generator == generator)
            return i;
    return -1;
}

static uint32_t
error_number(PyObject *kind)
{
    PyObject *known = PyDict_GetItemWithError(ring.error_numbers, kind);
    if (known != NULL)
        return (uint32_t)PyLong_AsUnsignedLong(known);
    uint32_t number = (uint32_t)PyDict_GET_SIZE(ring.error_numbers) + 1;
    PyObject *name = PyObject_GetAttrString(kind, "__name__");
    PyObject *value = PyLong_FromUnsignedLong(number);
    PyObject *result = NULL;
    if (name != NULL && value != NULL && PyDict_SetItem(ring.error_numbers, kind, value) == 0)
        result = PyObject_CallFunction(ring.on_error_name, "IO", number, name);
    if (result == NULL)
        PyErr_Clear();
    Py_XDECREF(name);
    Py_XDECREF(value);
    Py_XDECREF(result);
    return number;
}

static void
leave(uint32_t probe_id, PyObject *error_type)
{
    int64_t end = now_ns();
    Thread *thread = this_thread;
    if (thread == NULL || thread->session != ring.session) {
        thread = attach(); /* a generator may be closed by a thread that has recorded nothing yet */
        if (thread == NULL)
            return;
    }
    PyThreadState *tstate = PyThreadState_Get();
    Stack *stack = current_stack(thread, tstate, 0);
    PyObject *generator = running_generator(tstate);
    Py_ssize_t index = stack == NULL ? -1 : find_open(stack, probe_id, generator);
    if (index < 0 && generator != NULL)
        /* Closed from another context than the one that started it. */
        for (stack = stacks.next; stack != &stacks; stack = stack->next)
            if (stack->session == ring.session && (index = find_open(stack, probe_id, generator)) >= 0)
                break;
    if (index < 0) {
        PyErr_Clear();
        return; /* entered before the recording began */
    }
    Open open = stack->open[index];
    stack->depth--;
    if (index < stack->depth)
        memmove(&stack->open[index], &stack->open[index + 1], (stack->depth - index) * sizeof(Open));
    uint32_t error = error_type == Py_None ? 0 : error_number(error_type);
    if (stack->precise && stack == thread->stack && thread->context_version == tstate->context_ver) {
        if (set_mark(stack, innermost(stack)) < 0)
            PyErr_Clear();
        thread->context_version = tstate->context_ver;
    }
    if (ring.recording)
        commit(thread, &open, stack->task, end, error);
}

/* ---- probes ----------------------------------------------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    uint32_t id;
    PyObject *enter; /* bound once, because binding anew for each block costs as much as the clock */
    PyObject *exit;
} Probe;

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    Probe *probe;
} Bound;

static PyObject *
call_enter(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    Probe *probe = ((Bound *)self)->probe;
    if (PyVectorcall_NARGS(nargsf) != 0 || kwnames != NULL)
        return PyErr_Format(PyExc_TypeError, "__enter__() takes no arguments");
    if (ring.recording)
        enter(probe->id);
    return Py_NewRef(probe);
}

static PyObject *
call_exit(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    if (PyVectorcall_NARGS(nargsf) != 3 || kwnames != NULL)
        return PyErr_Format(PyExc_TypeError, "__exit__() takes three arguments");
    if (ring.recording)
        leave(((Bound *)self)->probe->id, args[0]);
    Py_RETURN_NONE;
}

static int
bound_traverse(Bound *self, visitproc visit, void *arg)
{
    Py_VISIT(self->probe);
    return 0;
}

static int
bound_clear(Bound *self)
{
    Py_CLEAR(self->probe);
    return 0;
}

static void
bound_dealloc(Bound *self)
{
    PyObject_GC_UnTrack(self);
    bound_clear(self);
    PyObject_GC_Del(self);
}

static PyObject *
bind(Probe *probe, vectorcallfunc function)
{
    Bound *bound = PyObject_GC_New(Bound, &BoundType);
    if (bound == NULL)
        return NULL;
    bound->vectorcall = function;
    bound->probe = (Probe *)Py_NewRef(probe);
    PyObject_GC_Track(bound);
    return (PyObject *)bound;
}

/* `__enter__` and `__exit__` of the type: descriptors that hand out what was bound once. */
typedef struct {
    PyObject_HEAD
    int is_exit;
} Method;

static PyObject *
method_get(Method *self, PyObject *object, PyObject *type)
{
    if (object == NULL || object == Py_None)
        return Py_NewRef(self);
    if (!PyObject_TypeCheck(object, &ProbeType))
        return PyErr_Format(PyExc_TypeError, "a Probe is required");
    Probe *probe = (Probe *)object;
    PyObject **slot = self->is_exit ? &probe->exit : &probe->enter;
    if (*slot == NULL) {
        *slot = bind(probe, self->is_exit ? call_exit : call_enter);
        if (*slot == NULL)
            return NULL;
    }
    return Py_NewRef(*slot);
}

static PyObject *
method_call(Method *self, PyObject *args, PyObject *kwargs)
{
    PyObject *object;
    if (PyTuple_GET_SIZE(args) == 0)
        return PyErr_Format(PyExc_TypeError, "a Probe is required");
    object = PyTuple_GET_ITEM(args, 0);
    PyObject *bound = method_get(self, object, NULL);
    PyObject *rest = PyTuple_GetSlice(args, 1, PyTuple_GET_SIZE(args));
    PyObject *result = bound == NULL || rest == NULL ? NULL : PyObject_Call(bound, rest, kwargs);
    Py_XDECREF(bound);
    Py_XDECREF(rest);
    return result;
}

static int
probe_traverse(Probe *self, visitproc visit, void *arg)
{
    Py_VISIT(self->enter);
    Py_VISIT(self->exit);
    return 0;
}

static int
probe_clear(Probe *self)
{
    Py_CLEAR(self->enter);
    Py_CLEAR(self->exit);
    return 0;
}

static void
probe_dealloc(Probe *self)
{
    PyObject_GC_UnTrack(self);
    probe_clear(self);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyMemberDef probe_members[] = {
    {"probe_id", T_UINT, offsetof(Probe, id), 0, "number that samples carry"},
    {NULL},
};

/* ---- timed functions -------------------------------------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    Probe *probe;
    PyObject *function;
    PyObject *dict;
    PyObject *weakrefs;
} Timed;

static PyObject *
timed_call(PyObject *callable, PyObject *const *args, size_t nargsf, PyObject *kwnames)
{
    Timed *self = (Timed *)callable;
    if (!ring.recording)
        return PyObject_Vectorcall(self->function, args, nargsf, kwnames);
    enter(self->probe->id);
    PyObject *result = PyObject_Vectorcall(self->function, args, nargsf, kwnames);
    if (!ring.recording)
        return result;
    if (result != NULL) {
        leave(self->probe->id, Py_None);
        return result;
    }
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    leave(self->probe->id, type);
    PyErr_Restore(type, value, trace);
    return NULL;
}

static PyObject *
timed_get(PyObject *self, PyObject *object, PyObject *type)
{
    if (object == NULL || object == Py_None)
        return Py_NewRef(self);
    return PyMethod_New(self, object);
}

static PyObject *
timed_repr(Timed *self)
{
    return PyUnicode_FromFormat("<%R timed as %S>", self->function, self->probe);
}

static PyObject *
timed_reduce(PyObject *self, PyObject *unused)
{
    return PyObject_GetAttrString(self, "__qualname__"); /* by name, as functions are */
}

static int
timed_traverse(Timed *self, visitproc visit, void *arg)
{
    Py_VISIT(self->probe);
    Py_VISIT(self->function);
    Py_VISIT(self->dict);
    return 0;
}

static int
timed_clear(Timed *self)
{
    Py_CLEAR(self->probe);
    Py_CLEAR(self->function);
    Py_CLEAR(self->dict);
    return 0;
}

static void
timed_dealloc(Timed *self)
{
    PyObject_GC_UnTrack(self);
    if (self->weakrefs != NULL)
        PyObject_ClearWeakRefs((PyObject *)self);
    timed_clear(self);
    PyObject_GC_Del(self);
}

static PyMethodDef timed_methods[] = {
    {"__reduce__", timed_reduce, METH_NOARGS, NULL},
    {NULL},
};

static PyGetSetDef timed_getset[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {NULL},
};

static PyObject *
core_timed(PyObject *module, PyObject *args)
{
    PyObject *probe, *function;
    if (!PyArg_ParseTuple(args, "O!O", &ProbeType, &probe, &function))
        return NULL;
    Timed *self = PyObject_GC_New(Timed, &TimedType);
    if (self == NULL)
        return NULL;
    self->vectorcall = timed_call;
    self->probe = (Probe *)Py_NewRef(probe);
    self->function = Py_NewRef(function);
    self->dict = NULL;
    self->weakrefs = NULL;
    PyObject_GC_Track(self);
    PyObject *functools = PyImport_ImportModule("functools");
    PyObject *done = functools == NULL ? NULL
                                       : PyObject_CallMethod(functools, "update_wrapper", "OO", self, function);
    Py_XDECREF(functools);
    if (done == NULL) {
        Py_DECREF(self);
        return NULL;
    }
    Py_DECREF(done);
    return (PyObject *)self;
}

/* ---- types ------------------------------------------------------------------------------------------------------ */

static PyTypeObject StackType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "quantum_pulse.core._native.Stack",
    .tp_basicsize = sizeof(Stack),
    .tp_dealloc = (destructor)stack_dealloc,
    .tp_flags = Py_TPFLAGS_DEFAULT,
};

static PyTypeObject MarkType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "quantum_pulse.core._native.Mark",
    .tp_basicsize = sizeof(Mark),
    .tp_dealloc = (destructor)mark_dealloc,
    .tp_flags = Py_TPFLAGS_DEFAULT,
};

static PyTypeObject ProbeType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "quantum_pulse.core._native.Probe",
    .tp_basicsize = sizeof(Probe),
    .tp_dealloc = (destructor)probe_dealloc,
    .tp_traverse = (traverseproc)probe_traverse,
    .tp_clear = (inquiry)probe_clear,
    .tp_members = probe_members,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "A place in a program that is timed: a context manager that can be entered many times at once.",
};

static PyTypeObject BoundType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "quantum_pulse.core._native.Bound",
    .tp_basicsize = sizeof(Bound),
    .tp_dealloc = (destructor)bound_dealloc,
    .tp_traverse = (traverseproc)bound_traverse,
    .tp_clear = (inquiry)bound_clear,
    .tp_call = PyVectorcall_Call,
    .tp_vectorcall_offset = offsetof(Bound, vectorcall),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL,
};

static PyTypeObject MethodType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "quantum_pulse.core._native.Method",
    .tp_basicsize = sizeof(Method),
    .tp_descr_get = (descrgetfunc)method_get,
    .tp_call = (ternaryfunc)method_call,
    .tp_flags = Py_TPFLAGS_DEFAULT,
};

static PyTypeObject TimedType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "quantum_pulse.core._native.Timed",
    .tp_basicsize = sizeof(Timed),
    .tp_dealloc = (destructor)timed_dealloc,
    .tp_traverse = (traverseproc)timed_traverse,
    .tp_clear = (inquiry)timed_clear,
    .tp_repr = (reprfunc)timed_repr,
    .tp_call = PyVectorcall_Call,
    .tp_vectorcall_offset = offsetof(Timed, vectorcall),
    .tp_descr_get = timed_get,
    .tp_methods = timed_methods,
    .tp_getset = timed_getset,
    .tp_dictoffset = offsetof(Timed, dict),
    .tp_weaklistoffset = offsetof(Timed, weakrefs),
    .tp_getattro = PyObject_GenericGetAttr,
    .tp_setattro = PyObject_GenericSetAttr,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR,
    .tp_doc = "A function that is timed at each call.",
};

/* ---- what the recorder calls ------------------------------------------------------------------------------------ */

static PyObject *
core_now(PyObject *module, PyObject *unused)
{
    return PyLong_FromLongLong(now_ns());
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
    ring.fd = -1;
    ring.free_segments = NULL;
    ring.busy = NULL;
    ring.drained = NULL;
    ring.free_length = ring.busy_length = ring.drained_length = 0;
    ring.limit = ring.reserved = ring.used = 0;
    Py_CLEAR(ring.error_numbers);
    Py_CLEAR(ring.on_error_name);
    Py_CLEAR(ring.retired);
    Py_CLEAR(ring.retired_losses);
}

/* Append the account and the losses of `thread` to two lists, either of which may be NULL. */
static int
report(Thread *thread, PyObject *accounts, PyObject *losses)
{
    for (uint32_t id = 0; id < thread->counts_length; id++) {
        Count *count = &thread->counts[id];
        if (accounts != NULL && (count->started || count->committed)) {
            PyObject *row = Py_BuildValue("(ILKKK)", id, (long)thread->id, (unsigned long long)count->started,
                                          (unsigned long long)count->committed, (unsigned long long)count->lost);
            if (row == NULL || PyList_Append(accounts, row) < 0) {
                Py_XDECREF(row);
                return -1;
            }
            Py_DECREF(row);
        }
        if (losses != NULL && count->new_lost) {
            PyObject *row = Py_BuildValue("(ILKLL)", id, (long)thread->id, (unsigned long long)count->new_lost,
                                          (long long)count->first_loss, (long long)count->last_loss);
            if (row == NULL || PyList_Append(losses, row) < 0) {
                Py_XDECREF(row);
                return -1;
            }
            Py_DECREF(row);
            count->new_lost = 0;
        }
    }
    return 0;
}

/* Free the records of threads that ended, keeping their account. */
static int
reap(void)
{
    for (Thread **link = &threads; *link != NULL;) {
        Thread *thread = *link;
        if (!__atomic_load_n(&thread->ended, __ATOMIC_ACQUIRE)) {
            link = &thread->next;
            continue;
        }
        if (thread->session == ring.session && ring.in_use) {
            if (report(thread, ring.retired, ring.retired_losses) < 0)
                return -1;
            if (thread->segment != NULL)
                thread->segment->state = 2;
        }
        *link = thread->next;
        free(thread->counts);
        free(thread);
    }
    return 0;
}

static PyObject *
core_start(PyObject *module, PyObject *args)
{
    const char *path;
    unsigned long long budget;
    PyObject *on_error_name;
    if (!PyArg_ParseTuple(args, "sKO", &path, &budget, &on_error_name))
        return NULL;
    if (ring.in_use)
        return PyErr_Format(PyExc_RuntimeError, "the core is in use");
    if (reap() < 0)
        return NULL;
    ring.limit = budget > RING_HEADER_BYTES + SEGMENT_BYTES ? (uint32_t)((budget - RING_HEADER_BYTES) / SEGMENT_BYTES) : 1;
    ring.bytes = RING_HEADER_BYTES + (size_t)ring.limit * SEGMENT_BYTES;
    ring.fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (ring.fd < 0)
        return PyErr_SetFromErrnoWithFilename(PyExc_OSError, path);
    uint32_t first = ring.limit < RESERVE_SEGMENTS ? ring.limit : RESERVE_SEGMENTS;
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
    memcpy(ring.memory, "QPRING01", 8);
    ring.reserved = first;
    ring.free_segments = malloc(ring.limit * sizeof(Segment *));
    ring.busy = malloc(ring.limit * sizeof(Busy));
    ring.drained = malloc(ring.limit * sizeof(Drained));
    ring.error_numbers = PyDict_New();
    ring.on_error_name = Py_NewRef(on_error_name);
    ring.retired = PyList_New(0);
    ring.retired_losses = PyList_New(0);
    if (ring.free_segments == NULL || ring.busy == NULL || ring.drained == NULL || ring.error_numbers == NULL ||
        ring.retired == NULL || ring.retired_losses == NULL) {
        free_rings();
        unlink(path);
        return PyErr_NoMemory();
    }
    ring.sequence = 0;
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
    free_rings();
    if (reap() < 0)
        return NULL;
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
core_pending(PyObject *module, PyObject *unused)
{
    if (!require_use())
        return NULL;
    unsigned long long rows = 0;
    for (uint32_t i = 0; i < ring.busy_length; i++)
        rows += ring.busy[i].segment->written - ring.busy[i].drained;
    return PyLong_FromUnsignedLongLong(rows);
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
core_drain(PyObject *module, PyObject *unused)
{
    if (!require_use() || reap() < 0)
        return NULL;
    size_t rows = 0;
    uint32_t length = ring.busy_length, drained = 0;
    Busy *snapshot = malloc((length + 1) * sizeof(Busy)); /* where each segment's new rows begin */
    if (snapshot == NULL)
        return PyErr_NoMemory();
    for (uint32_t i = 0; i < length; i++) {
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
    Py_RETURN_NONE;
}

/* A list of plain tuples as named ones. */
static PyObject *
named(const char *type_name, PyObject *rows)
{
    PyObject *contract = PyImport_ImportModule("quantum_pulse.core.contract");
    PyObject *type = contract == NULL ? NULL : PyObject_GetAttrString(contract, type_name);
    PyObject *result = type == NULL ? NULL : PyList_New(0);
    for (Py_ssize_t i = 0; result != NULL && i < PyList_GET_SIZE(rows); i++) {
        PyObject *row = PyObject_Call(type, PyList_GET_ITEM(rows, i), NULL);
        if (row == NULL || PyList_Append(result, row) < 0)
            Py_CLEAR(result);
        Py_XDECREF(row);
    }
    Py_XDECREF(contract);
    Py_XDECREF(type);
    return result;
}

static PyObject *
core_losses(PyObject *module, PyObject *unused)
{
    if (!require_use() || reap() < 0)
        return NULL;
    PyObject *rows = ring.retired_losses;
    ring.retired_losses = PyList_New(0);
    for (Thread *thread = threads; thread != NULL; thread = thread->next)
        if (thread->session == ring.session && report(thread, NULL, rows) < 0) {
            Py_DECREF(rows);
            return NULL;
        }
    PyObject *result = named("Loss", rows);
    Py_DECREF(rows);
    return result;
}

static PyObject *
core_account(PyObject *module, PyObject *unused)
{
    if (!require_use() || reap() < 0)
        return NULL;
    PyObject *rows = PyList_GetSlice(ring.retired, 0, PyList_GET_SIZE(ring.retired));
    if (rows == NULL)
        return NULL;
    for (Thread *thread = threads; thread != NULL; thread = thread->next)
        if (thread->session == ring.session && report(thread, rows, NULL) < 0) {
            Py_DECREF(rows);
            return NULL;
        }
    PyObject *result = named("Account", rows);
    Py_DECREF(rows);
    return result;
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

static PyMethodDef functions[] = {
    {"now", core_now, METH_NOARGS, "Nanoseconds on the monotonic clock that samples are taken with."},
    {"start", core_start, METH_VARARGS, "Create the ring file and begin to record."},
    {"stop", core_stop, METH_NOARGS, "Record no more."},
    {"close", core_close, METH_NOARGS, "Give up the rings."},
    {"forget", core_forget, METH_NOARGS, "In a forked child: let go of the parent's rings."},
    {"pending", core_pending, METH_NOARGS, "Rows that are finished and not drained."},
    {"drain", core_drain, METH_NOARGS, "Copy all finished rows not yet drained."},
    {"release", core_release, METH_NOARGS, "The drained rows are durable."},
    {"losses", core_losses, METH_NOARGS, "Losses since the last call."},
    {"account", core_account, METH_NOARGS, "Totals since start."},
    {"timed", core_timed, METH_VARARGS, "A callable that runs a function inside a probe."},
    {NULL},
};

static int
find_manager_code(PyObject *contextlib, const char *type_name, const char *method, PyObject **code)
{
    PyObject *type = PyObject_GetAttrString(contextlib, type_name);
    PyObject *function = type == NULL ? NULL : PyObject_GetAttrString(type, method);
    *code = function == NULL ? NULL : PyObject_GetAttrString(function, "__code__");
    Py_XDECREF(type);
    Py_XDECREF(function);
    return *code == NULL ? -1 : 0;
}

static int
add_method(const char *name, int is_exit)
{
    Method *method = PyObject_New(Method, &MethodType);
    if (method == NULL)
        return -1;
    method->is_exit = is_exit;
    int result = PyDict_SetItemString(ProbeType.tp_dict, name, (PyObject *)method);
    Py_DECREF(method);
    return result;
}

static struct PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT, .m_name = "quantum_pulse.core._native", .m_size = -1, .m_methods = functions,
    .m_doc = "The native core. See contract.py.",
};

PyMODINIT_FUNC
PyInit__native(void)
{
    ProbeType.tp_new = PyBaseObject_Type.tp_new;
    PyTypeObject *types[] = {&StackType, &MarkType, &ProbeType, &BoundType, &MethodType, &TimedType};
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (PyType_Ready(types[i]) < 0)
            return NULL;
    /* An enum takes a base with a __new__ of its own for the type of its values. */
    if (PyDict_DelItemString(ProbeType.tp_dict, "__new__") < 0)
        PyErr_Clear();
    if (add_method("__enter__", 0) < 0 || add_method("__exit__", 1) < 0)
        return NULL;
    PyType_Modified(&ProbeType);
    if (pthread_key_create(&thread_key, thread_ended) != 0)
        return PyErr_NoMemory();
    PyObject *contextlib = PyImport_ImportModule("contextlib");
    if (contextlib == NULL ||
        find_manager_code(contextlib, "_GeneratorContextManager", "__enter__", &manager_codes[0]) < 0 ||
        find_manager_code(contextlib, "_AsyncGeneratorContextManager", "__aenter__", &manager_codes[1]) < 0)
        return NULL;
    Py_DECREF(contextlib);
    top_variable = PyContextVar_New("quantum_pulse_top", NULL);
    PyObject *weakref = PyImport_ImportModule("weakref");
    task_numbers = weakref == NULL ? NULL : PyObject_CallMethod(weakref, "WeakKeyDictionary", NULL);
    Py_XDECREF(weakref);
    PyObject *module = PyModule_Create(&module_definition);
    if (module == NULL || top_variable == NULL || task_numbers == NULL)
        return NULL;
    if (PyModule_AddStringConstant(module, "NAME", "native") < 0 ||
        PyModule_AddIntMacro(module, RING_HEADER_BYTES) < 0 || PyModule_AddIntMacro(module, SEGMENT_BYTES) < 0 ||
        PyModule_AddIntMacro(module, SEGMENT_ROWS) < 0 ||
        PyModule_AddObjectRef(module, "Probe", (PyObject *)&ProbeType) < 0)
        return NULL;
    return module;
}
