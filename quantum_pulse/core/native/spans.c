#include "contexts.h" /* first: it asks for the internals of CPython, of which frames are needed here too */
#include "attributes.h"
#include "numbers.h"
#include "slots.h"
#include "spans.h"

#include <string.h>

static PyObject *manager_codes[2];

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

/* A generator behind @contextmanager encloses the block of its `with`, so what runs there is inside its spans. Other
 * generators may be between, as a decorated one does. */
static int
is_context_manager(void)
{
    PyFrameObject *frame = (PyFrameObject *)Py_XNewRef((PyObject *)PyEval_GetFrame());
    int result = 0, is_resumed = 1;
    while (frame != NULL && !result && is_resumed) {
        PyFrameObject *caller = PyFrame_GetBack(frame);
        Py_DECREF(frame);
        frame = caller;
        if (frame == NULL)
            break;
        PyCodeObject *code = PyFrame_GetCode(frame);
        result = (PyObject *)code == manager_codes[0] || (PyObject *)code == manager_codes[1];
        is_resumed = (code->co_flags & (CO_GENERATOR | CO_ASYNC_GENERATOR)) != 0;
        Py_DECREF(code);
    }
    Py_XDECREF((PyObject *)frame);
    return result;
}

/* The stack of the current context, with its task known; NULL when there is no recording or no memory. */
static inline Stack *
ready_stack(Thread *thread, PyThreadState *tstate)
{
    Stack *stack = current_stack(thread, tstate, 1);
    return stack == NULL || know_task(thread, tstate, stack) < 0 ? NULL : stack;
}

/* Whether the recording that `thread` records into has ended, as others may do while Python runs. */
static inline int
is_stale(const Thread *thread)
{
    return !seen(ring.recording) || (PARALLEL && thread->session != seen(ring.session));
}

static int
grow(Stack *stack)
{
    Py_ssize_t capacity = stack->capacity == 0 ? 8 : stack->capacity * 2;
    Open *grown = realloc(stack->open, (size_t)capacity * sizeof(Open));
    if (grown == NULL)
        return -1;
    stack->open = grown;
    stack->capacity = capacity;
    return 0;
}

/* Nearly every call into Python from here may collect garbage, run a finaliser, and so come back here: to open and close
 * other spans on the same stack, which moves when it grows. So what may do that comes first, or looks at the stack
 * anew afterwards. */
static inline Stack *
begin_span(uint32_t probe_id, int32_t weight, Details *details, int cpu_time, PyObject *holder)
{
    Thread *thread = current_thread();
    if (thread == NULL)
        return NULL;
    PyThreadState *tstate = PyThreadState_Get();
    Stack *stack = ready_stack(thread, tstate);
    if (stack == NULL) {
        PyErr_Clear();
        return NULL;
    }
    PyObject *generator = holder != NULL ? holder : running_generator(tstate);
    int encloses = holder != NULL || (generator != NULL && is_context_manager());
    if (is_stale(thread))
        return NULL; /* the recording was ended meanwhile */
    Count *count = count_of(thread, probe_id);
    take_latch(&stack->latch);
    if (count == NULL || (stack->depth == stack->capacity && grow(stack) < 0)) {
        release_latch(&stack->latch);
        return NULL;
    }
    int64_t parent = innermost(stack), span = parent;
    Slot *slot = NULL;
    if (weight > 0) {
        span = next_number(thread, parent);
        slot = take_slot(thread);
        if (slot != NULL) {
            slot->probe_id = probe_id;
            slot->thread = thread->id;
            slot->open.span = span;
            slot->open.start = 0;
            slot->open.parent = parent;
            slot->open.task = stack->task;
            slot->open.weight = weight;
            if (!PARALLEL)
                publish_slot(slot, SLOT_OPEN); /* before it counts: readers know by the number whether it does */
        }
        count_up(count->started, 1);
        count_entered(thread, span);
        if (PARALLEL && slot != NULL)
            publish_slot(slot, SLOT_OPEN); /* after it counts: numbers are taken in advance, and say nothing */
    }
    Py_ssize_t index = stack->depth++;
    stack->open[index] = (Open){
        .span = span,
        .parent = parent,
        .probe_id = probe_id,
        .weight = weight,
        .encloses = (int16_t)encloses,
        .thread = (int32_t)thread->id,
        .task = stack->task,
        .slot = slot,
        .details = details,
        .generator = generator,
    };
    if (generator != NULL)
        Py_INCREF(stack);
    release_latch(&stack->latch);
    if (weight == 0)
        return stack; /* contexts that are copied from here are children of its parent, which the mark names */
    if (set_mark(tstate, stack) < 0)
        PyErr_Clear();
    if (index < stack->depth && stack->open[index].span == span && !(PARALLEL && is_stale(thread))) {
        if (cpu_time && details != NULL) { /* outside of what is timed: it is a system call */
            details->context_version = tstate->context_ver;
            details->cpu = thread_cpu_ns();
        }
        int64_t start = now_at_last_ns();
        stack->open[index].start = start;
        if (slot != NULL)
            slot->open.start = start;
    }
    return stack;
}

void
enter(uint32_t probe_id, int32_t weight)
{
    begin_span(probe_id, weight, NULL, 0, NULL);
}

void
enter_with(uint32_t probe_id, int32_t weight, Details *details, int cpu_time)
{
    if (begin_span(probe_id, weight, details, cpu_time, NULL) == NULL)
        free(details);
}

Stack *
enter_held(uint32_t probe_id, int32_t weight, Details *details, PyObject *holder)
{
    Stack *stack = begin_span(probe_id, weight, details, 0, holder);
    if (stack == NULL)
        free(details);
    return stack;
}

/* The innermost open span of `probe_id` that belongs to `generator` (NULL: to none), or -1; one that the present task has
 * entered, if there is one. */
static inline Py_ssize_t
find_open(const Stack *stack, uint32_t probe_id, const PyObject *generator)
{
    Py_ssize_t of_another_task = -1;
    for (Py_ssize_t i = stack->depth - 1; i >= 0; i--)
        if (stack->open[i].probe_id == probe_id && stack->open[i].generator == generator) {
            if (!stack->is_shared || generator != NULL || stack->open[i].task == stack->task)
                return i;
            if (of_another_task < 0)
                of_another_task = i;
        }
    return of_another_task;
}

/* The same; where there is one, `stack` is latched. */
static inline Py_ssize_t
find_and_latch(Stack *stack, uint32_t probe_id, const PyObject *generator)
{
    take_latch(&stack->latch);
    Py_ssize_t index = find_open(stack, probe_id, generator);
    if (index < 0)
        release_latch(&stack->latch);
    return index;
}

/* The stack in which it is, latched, where `generator` is closed from another context than the one that started it. */
static Stack *
find_elsewhere(uint32_t probe_id, const PyObject *generator, Py_ssize_t *index)
{
    *index = -1;
    take_latch(&stacks_latch);
    Stack *stack = stacks.next;
    for (; stack != &stacks; stack = stack->next)
        if (stack->session == seen(ring.session) && (*index = find_and_latch(stack, probe_id, generator)) >= 0)
            break; /* what is open keeps it alive */
    release_latch(&stacks_latch);
    return stack;
}

/* CPU time of the thread in a block that is left at `now`. It is that of the block alone unless something else came in
 * between: another task or greenlet, whose context then ran on the thread, or whoever runs a generator. */
static inline int64_t
cpu_time_of(const Details *details, const PyThreadState *tstate, int is_interrupted, int64_t now, const Sample *sample)
{
    if (details->cpu == NO_VALUE || is_interrupted || details->context_version != tstate->context_ver)
        return NO_VALUE;
    int64_t time = now - details->cpu, duration = sample->end - sample->start;
    return time < 0 ? 0 : time < duration ? time : duration; /* reading both clocks takes time on its own */
}

static inline void
end_span(uint32_t probe_id, PyObject *error_type, int may_have_details, int cpu_time, PyObject *holder, Stack *held_in)
{
    int64_t end = now_ns(), cpu_end = cpu_time ? thread_cpu_ns() : 0;
    Thread *thread = current_thread(); /* a generator may be closed by a thread that has recorded nothing yet */
    if (thread == NULL)
        return;
    uint32_t error = error_type == Py_None ? 0 : error_number(error_type);
    if (is_stale(thread))
        return;
    PyThreadState *tstate = PyThreadState_Get();
    Stack *current = current_stack(thread, tstate, 0), *stack = holder != NULL ? held_in : current;
    if (holder == NULL && stack != NULL && stack->is_shared) {
        if (know_task(thread, tstate, stack) < 0)
            PyErr_Clear();
        if (is_stale(thread))
            return;
    }
    PyObject *generator = holder != NULL ? holder : running_generator(tstate);
    Py_ssize_t index = stack == NULL ? -1 : find_and_latch(stack, probe_id, generator);
    if (index < 0 && generator != NULL && holder == NULL)
        stack = find_elsewhere(probe_id, generator, &index);
    if (index < 0) {
        PyErr_Clear();
        return; /* entered before the recording began */
    }
    uint64_t session = seen(ring.session);
    Open *open = &stack->open[index];
    Sample sample = {
        .start = open->start,
        .end = end > open->start ? end : open->start, /* a counter that is set back does not turn time round */
        .span = open->span,
        .parent = open->parent,
        .task = open->task,
        .probe_id = probe_id,
        .error = open->failure != 0 ? open->failure : error, /* what the program says of it tells more than a type */
        .weight = open->weight,
        .slot = open->slot,
    };
    int64_t entered_by = open->thread;
    Details *details = may_have_details ? open->details : NULL;
    int is_interrupted = generator != NULL && !open->encloses;
    stack->depth--;
    if (index < stack->depth)
        memmove(open, open + 1, (stack->depth - index) * sizeof(Open));
    if (stack->depth == 0)
        stack->is_shared = 0;
    release_latch(&stack->latch);
    if (sample.weight > 0) {
        if (entered_by != thread->id)
            move_start(thread, probe_id, entered_by);
        if (holder != NULL) {
            disinherit(stack, sample.span, sample.parent);
        } else if (stack != current) {
            stack->abandoned = sample.span;
            stack->replacement = -1;
        }
        if (stack == current && set_mark(tstate, stack) < 0)
            PyErr_Clear();
        if (may_have_details && details != NULL)
            details->cpu = cpu_time_of(details, tstate, is_interrupted || entered_by != thread->id, cpu_end, &sample);
        if (seen(ring.recording) && seen(ring.session) == session && commit_with(thread, &sample, details) &&
            sample.slot != NULL)
            free_slot(thread, sample.slot); /* last: for a moment it is known twice, rather than not at all */
    }
    if (may_have_details)
        free(details);
    if (generator != NULL)
        Py_DECREF(stack);
}

void
leave(uint32_t probe_id, PyObject *error_type)
{
    end_span(probe_id, error_type, 0, 0, NULL, NULL);
}

void
leave_with(uint32_t probe_id, PyObject *error_type, int cpu_time)
{
    end_span(probe_id, error_type, 1, cpu_time, NULL, NULL);
}

void
leave_held(uint32_t probe_id, PyObject *error_type, PyObject *holder, Stack *stack)
{
    end_span(probe_id, error_type, 1, 0, holder, stack);
}

int
rename_held(uint32_t probe_id, uint32_t new_id, Details **details, const PyObject *holder, Stack *stack)
{
    Thread *thread = current_thread();
    if (thread == NULL || count_of(thread, probe_id) == NULL || count_of(thread, new_id) == NULL || is_stale(thread))
        return 0;
    Py_ssize_t index = find_and_latch(stack, probe_id, holder);
    if (index < 0)
        return 0; /* entered before the recording began */
    Open *open = &stack->open[index];
    int32_t entered_by = open->thread, weight = open->weight;
    open->probe_id = new_id;
    open->thread = (int32_t)thread->id;
    Details *before = open->details;
    open->details = *details;
    *details = before;
    if (open->slot != NULL) {
        open->slot->probe_id = new_id;
        open->slot->thread = thread->id;
    }
    release_latch(&stack->latch);
    if (weight > 0) {
        if (entered_by != thread->id)
            move_start(thread, probe_id, entered_by);
        count_up(count_of(thread, probe_id)->started, -1);
        count_up(count_of(thread, new_id)->started, 1);
    }
    return 1;
}

int32_t
weight_of_next(uint32_t probe_id, uint32_t every)
{
    Thread *thread = every <= 1 ? NULL : current_thread();
    Count *count = thread == NULL ? NULL : count_of(thread, probe_id);
    if (count == NULL)
        return 1;
    if (count->left == 0 || count->round != every) { /* a round may be cut short: chance has not looked at its length */
        /* xorshift64 (Marsaglia 2003) */
        uint64_t random = thread->random != 0 ? thread->random : (uint64_t)now_ns() ^ (uint64_t)thread->id << 32;
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        thread->random = random;
        count->left = count->round = every;
        count->chosen = 1 + (uint32_t)((random >> 32) % every);
    }
    return count->left-- == count->chosen ? (int32_t)every : 0;
}

int
leave_unrecorded(uint32_t probe_id)
{
    Thread *thread = this_thread;
    PyThreadState *tstate = PyThreadState_Get();
    /* Only where nothing has to be looked for: this context was the last that this thread worked in. */
    if (thread == NULL || thread->session != seen(ring.session) || thread->context_version != tstate->context_ver ||
        thread->tstate_id != tstate->id || running_generator(tstate) != NULL)
        return 0;
    Stack *stack = thread->stack;
    take_latch(&stack->latch);
    const Open *top = stack->depth == 0 ? NULL : &stack->open[stack->depth - 1];
    int is_it = top != NULL && top->probe_id == probe_id && top->weight == 0 && top->generator == NULL && !stack->is_shared;
    stack->depth -= is_it;
    release_latch(&stack->latch);
    return is_it;
}

void
add(uint32_t probe_id, int32_t weight, int64_t start, int64_t duration, uint32_t error, const Details *details)
{
    Thread *thread = current_thread();
    if (thread == NULL)
        return;
    Stack *stack = is_stale(thread) ? NULL : ready_stack(thread, PyThreadState_Get());
    Count *count = stack == NULL || is_stale(thread) ? NULL : count_of(thread, probe_id);
    if (count == NULL) {
        PyErr_Clear();
        return;
    }
    take_latch(&stack->latch);
    int64_t parent = innermost(stack), span = next_number(thread, parent);
    release_latch(&stack->latch);
    count_up(count->started, 1);
    count_entered(thread, span);
    Sample sample = {
        .start = start,
        .end = start + duration,
        .span = span,
        .parent = parent,
        .task = stack->task,
        .probe_id = probe_id,
        .error = error,
        .weight = weight,
    };
    commit_with(thread, &sample, details);
}

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

int
prepare_spans(void)
{
    PyObject *contextlib = PyImport_ImportModule("contextlib");
    if (contextlib == NULL ||
        find_manager_code(contextlib, "_GeneratorContextManager", "__enter__", &manager_codes[0]) < 0 ||
        find_manager_code(contextlib, "_AsyncGeneratorContextManager", "__aenter__", &manager_codes[1]) < 0)
        return -1;
    Py_DECREF(contextlib);
    return 0;
}
