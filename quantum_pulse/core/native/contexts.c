#include "contexts.h"

#include <string.h>

Stack stacks = {.next = &stacks, .previous = &stacks};
Latch stacks_latch;

static int64_t last_task;
static PyObject *variable;
static int32_t variable_hash;
static PyObject *task_numbers;
/* Of asyncio, once it is loaded. `current_tasks` (loop -> task) is NULL where asyncio keeps it elsewhere. */
static PyObject *current_task, *running_loop, *current_tasks;

static PyTypeObject StackType, MarkType;

static void
stack_dealloc(Stack *self)
{
    take_latch(&stacks_latch);
    self->previous->next = self->next;
    self->next->previous = self->previous;
    release_latch(&stacks_latch);
    free(self->open);
    Py_XDECREF(self->context_ref);
    Py_XDECREF(self->task_ref);
    Py_XDECREF(self->loop_ref);
    PyObject_Free(self);
}

static void
mark_dealloc(Mark *self)
{
    Py_DECREF(self->stack);
    PyObject_Free(self);
}

/* What a weak reference (or NULL) refers to, as a new reference, or NULL. */
static PyObject *
referent(PyObject *reference)
{
    PyObject *object = NULL;
    if (reference == NULL)
        return NULL;
#if PY_VERSION_HEX >= 0x030D0000
    if (PyWeakref_GetRef(reference, &object) < 0)
        PyErr_Clear();
#else
    object = PyWeakref_GET_OBJECT(reference);
    object = object == Py_None ? NULL : Py_NewRef(object);
#endif
    return object;
}

static int
refers_to(PyObject *reference, PyObject *object)
{
    PyObject *found = referent(reference);
    Py_XDECREF(found); /* it is only compared with something alive */
    return found == object;
}

/* ---- tasks ------------------------------------------------------------------------------------------------------ */

/* Look asyncio up, once; without it there are no tasks. 1: it is there, 0: not loaded yet, -1: error. */
static int
find_asyncio(void)
{
    if (seen(current_task) != NULL)
        return 1;
    PyObject *modules = PyImport_GetModuleDict();
    PyObject *tasks = PyDict_GetItemString(modules, "asyncio.tasks");
    PyObject *events = PyDict_GetItemString(modules, "asyncio.events");
    if (tasks == NULL || events == NULL || !PyObject_HasAttrString(tasks, "current_task"))
        return 0;
    PyObject *loop_function = PyObject_GetAttrString(events, "_get_running_loop");
    PyObject *task_function = PyObject_GetAttrString(tasks, "current_task");
    PyObject *known_tasks = PyObject_GetAttrString(tasks, "_current_tasks");
    if (known_tasks == NULL || !PyDict_CheckExact(known_tasks)) {
        PyErr_Clear();
        Py_CLEAR(known_tasks);
    }
    int result = loop_function == NULL || task_function == NULL ? -1 : 1;
    lock_rings();
    if (result > 0 && current_task == NULL) { /* else another thread has found it as well */
        running_loop = Py_NewRef(loop_function);
        current_tasks = Py_XNewRef(known_tasks);
        tell(current_task, Py_NewRef(task_function)); /* last: then the others are there */
    }
    unlock_rings();
    Py_XDECREF(loop_function);
    Py_XDECREF(task_function);
    Py_XDECREF(known_tasks);
    return result;
}

/* Whether asyncio's own dictionary still has the task of `stack`. */
static int
goes_on(const Stack *stack)
{
    PyObject *loop = referent(stack->loop_ref), *known = loop == NULL ? NULL : referent(stack->task_ref);
    PyObject *current = NULL;
    if (known != NULL) {
#if PY_VERSION_HEX >= 0x030D0000
        if (PyDict_GetItemRef(current_tasks, loop, &current) < 0)
            PyErr_Clear();
#else
        current = Py_XNewRef(PyDict_GetItem(current_tasks, loop));
#endif
    }
    int result = known != NULL && current == known;
    Py_XDECREF(current);
    Py_XDECREF(known);
    Py_XDECREF(loop);
    return result;
}

static int64_t
number_of(PyObject *task)
{
    PyObject *number = PyObject_GetItem(task_numbers, task);
    if (number == NULL && PyErr_ExceptionMatches(PyExc_KeyError)) {
        PyErr_Clear();
        number = PyLong_FromLongLong(add_together(last_task, 1));
        if (number != NULL && PyObject_SetItem(task_numbers, task, number) < 0)
            Py_CLEAR(number);
    }
    if (number == NULL)
        return -1;
    int64_t result = PyLong_AsLongLong(number);
    Py_DECREF(number);
    return result;
}

/* Whether the task that was seen last in the context of `stack` has ended, also where nothing refers to it any more. */
static int
last_task_is_done(const Stack *stack)
{
    PyObject *task = referent(stack->task_ref);
    PyObject *answer = task == NULL ? NULL : PyObject_CallMethod(task, "done", NULL);
    int done = task == NULL ? 1 : answer == NULL ? -1 : PyObject_IsTrue(answer);
    if (done < 0)
        PyErr_Clear();
    Py_XDECREF(answer);
    Py_XDECREF(task);
    return done != 0;
}

/* Another task, or code outside of tasks, runs in the context now. What the one before has open encloses the other only
 * if it is done: it left the span open on purpose, as a test's setUp does. Else it is suspended and both take turns. */
static void
change_task(Stack *stack, int64_t number, PyObject *task_ref, PyObject *loop_ref)
{
    int64_t before = stack->task;
    int is_done = before != 0 && stack->depth > 0 && last_task_is_done(stack);
    take_latch(&stack->latch);
    for (Py_ssize_t i = 0; is_done && i < stack->depth; i++)
        if (stack->open[i].task == before)
            stack->open[i].outlives = 1;
    stack->is_shared = stack->depth > 0;
    stack->task = number;
    release_latch(&stack->latch);
    Py_XSETREF(stack->task_ref, Py_XNewRef(task_ref));
    Py_XSETREF(stack->loop_ref, Py_XNewRef(loop_ref));
}

/* `task` runs in the context of `stack`. */
static int
take_task(Stack *stack, PyObject *task, PyObject *loop)
{
    int64_t number = number_of(task);
    if (number < 0)
        return -1;
    if (number == stack->task)
        return 0;
    /* Made before anything is replaced: whatever a collection runs may come by here as well. */
    PyObject *task_ref = PyWeakref_NewRef(task, NULL), *loop_ref = NULL;
    if (task_ref == NULL)
        return -1;
    loop_ref = PyWeakref_NewRef(loop, NULL);
    if (loop_ref == NULL)
        PyErr_Clear(); /* a loop without weak references takes the long way each time */
    change_task(stack, number, task_ref, loop_ref);
    Py_DECREF(task_ref);
    Py_XDECREF(loop_ref);
    return 0;
}

int
note_task(Stack *stack)
{
    int found = find_asyncio();
    if (found <= 0)
        return found; /* without it no task was ever seen */
    if (stack->task != 0 && current_tasks != NULL && goes_on(stack))
        return 0; /* mostly, and then that one look is enough */
    PyObject *loop = PyObject_CallNoArgs(running_loop);
    if (loop == NULL)
        return -1;
    PyObject *task = loop == Py_None ? Py_NewRef(Py_None) : PyObject_CallOneArg(current_task, loop);
    int result = task == NULL ? -1 : 0;
    if (task != NULL && task != Py_None)
        result = take_task(stack, task, loop);
    else if (task != NULL && stack->task != 0)
        change_task(stack, 0, NULL, NULL);
    Py_XDECREF(task);
    Py_DECREF(loop);
    return result;
}

/* ---- marks ------------------------------------------------------------------------------------------------------ */

PyTypeObject *bitmap_type;
static PyTypeObject *array_type;

typedef struct {
    PyObject_HEAD
    PyObject *children[32];
} ArrayNode;

/* Without the processor's own instruction, which not every x86-64 has, __builtin_popcount is a call. */
static inline int
bits_in(uint32_t word)
{
    int bits = 0;
    for (; word != 0; word &= word - 1) /* a context rarely has more than a few variables */
        bits++;
    return bits;
}

/* Find the mark in the hash tree of `context`; *is_own says whether no other context can see it.
 *
 * Setting a context variable copies a path of that tree, which costs more than the rest of a sample. It is only needed
 * when the context was copied since the last time, as it is for each new task: then both share the tree, or the part of
 * it that neither has changed, and something on the way to the mark is referenced twice. Otherwise the mark is ours. */
static Mark *
find_mark(PyObject *context, int *is_own)
{
    PyHamtObject *variables = ((PyContext *)context)->ctx_vars;
    *is_own = 0;
    if (bitmap_type == NULL) {
        PyObject *value = NULL;
        if (PyContextVar_Get(variable, NULL, &value) < 0)
            PyErr_Clear();
        Py_XDECREF(value); /* the context keeps it */
        return (Mark *)value;
    }
    int own = Py_REFCNT(variables) == 1;
    PyObject *node = (PyObject *)variables->h_root;
    for (uint32_t shift = 0; shift < 35 && node != NULL; shift += 5) {
        own = own && Py_REFCNT(node) == 1;
        uint32_t place = ((uint32_t)variable_hash >> shift) & 31;
        if (Py_TYPE(node) == bitmap_type) {
            BitmapNode *bitmap = (BitmapNode *)node;
            if (!(bitmap->bitmap >> place & 1))
                return NULL;
            int index = 2 * bits_in(bitmap->bitmap & ((1u << place) - 1));
            PyObject *key = bitmap->items[index], *value = bitmap->items[index + 1];
            if (key != NULL) {
                if (key != variable)
                    return NULL;
                *is_own = own && Py_REFCNT(value) == 1;
                if (shift == 0)
                    ((Mark *)value)->stack->place = index + 1;
                return (Mark *)value;
            }
            node = value;
        }
        else if (Py_TYPE(node) == array_type)
            node = ((ArrayNode *)node)->children[place];
        else
            break; /* keys of one hash share a node of another kind; look the plain way */
    }
    PyObject *value = NULL;
    if (PyContextVar_Get(variable, NULL, &value) < 0)
        PyErr_Clear();
    Py_XDECREF(value);
    return (Mark *)value;
}

#if PY_VERSION_HEX < 0x030C0000
/* Here a collection may begin in the middle of somebody's change of a context, and what it runs may record. CPython then
 * goes on with the tree that it had looked up, which our change has replaced, so that one is kept; and after it has set
 * its own tree our mark is gone from the context, and with it what kept the stack. */
typedef struct {
    PyObject *variables;
    Stack *stack;
} Kept;

static Kept *kept;
static size_t kept_length;

static int
keep(PyThreadState *tstate, Stack *stack)
{
    if (!tstate->interp->gc.collecting || tstate->context == NULL)
        return 0;
    Kept *larger = PyMem_Realloc(kept, (kept_length + 1) * sizeof(Kept));
    if (larger == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    kept = larger;
    PyObject *variables = (PyObject *)((PyContext *)tstate->context)->ctx_vars;
    kept[kept_length++] = (Kept){Py_NewRef(variables), (Stack *)Py_NewRef(stack)};
    return 0;
}

static void
release_kept(PyThreadState *tstate)
{
    if (kept_length == 0 || tstate->interp->gc.collecting)
        return;
    Kept *released = kept;
    size_t length = kept_length;
    kept = NULL;
    kept_length = 0;
    for (size_t i = 0; i < length; i++) {
        for (Thread *thread = threads; thread != NULL; thread = thread->next)
            if (thread->stack == released[i].stack)
                thread->context_version = 0; /* to be looked up again */
        Py_DECREF(released[i].variables);
        Py_DECREF(released[i].stack);
    }
    PyMem_Free(released);
}

#define no_collection_begin() int was_enabled = PyGC_Disable()
#define no_collection_end() (void)(was_enabled && PyGC_Enable())
#else /* collections begin between two instructions of Python */
#define no_collection_begin() (void)0
#define no_collection_end() (void)0
#define keep(tstate, stack) 0
#define release_kept(tstate) (void)0
#endif

/* No collection may begin in here: what it runs may come by, and would find the context and `stack` half changed. */
static int
new_mark(PyThreadState *tstate, Stack *stack)
{
    Mark *mark = PyObject_New(Mark, &MarkType);
    if (mark == NULL)
        return -1;
    mark->stack = (Stack *)Py_NewRef(stack);
    mark->span = top_of(stack);
    PyObject *token = NULL;
    if (keep(tstate, stack) == 0) {
        no_collection_begin();
        token = PyContextVar_Set(variable, (PyObject *)mark);
        no_collection_end();
    }
    Py_DECREF(mark);
    if (token == NULL)
        return -1;
    Py_DECREF(token);
    stack->mark = mark;
    return 0;
}

int
set_mark_slowly(PyThreadState *tstate, Stack *stack)
{
    int is_own;
    Mark *mark = find_mark(tstate->context, &is_own);
    if (!is_own || mark->stack != stack)
        return new_mark(tstate, stack);
    tell(mark->span, top_of(stack));
    return 0;
}

/* ---- stacks ----------------------------------------------------------------------------------------------------- */

/* Whether a generator holds the span open and is not running. */
static int
is_suspended(const Open *open)
{
    if (open->generator == NULL || open->encloses)
        return 0;
    /* What `ag_running` and `gi_running` say; no Python may run here. */
    if (PyAsyncGen_CheckExact(open->generator))
        return !((PyAsyncGenObject *)open->generator)->ag_running_async;
    return ((PyGenObject *)open->generator)->gi_frame_state != FRAME_EXECUTING;
}

/* Whether a generator that is running does so elsewhere: it may be closed by another thread at this moment. */
static int
runs_elsewhere(const Open *open)
{
    if (open->generator == NULL || open->encloses || !PyGen_CheckExact(open->generator))
        return 0;
    PyThreadState *tstate = PyThreadState_Get();
#if PY_VERSION_HEX >= 0x030D0000
    const struct _PyInterpreterFrame *frame = tstate->current_frame;
#else
    const struct _PyInterpreterFrame *frame = tstate->cframe->current_frame;
#endif
    const void *own = ((PyGenObject *)open->generator)->gi_iframe;
    while (frame != NULL && (const void *)frame != own)
        frame = frame->previous;
    return frame == NULL;
}

/* Whether another task that takes turns with the present one in this context holds the span open. A generator that is
 * running works for whoever resumed it. */
static int
is_of_another_task(const Stack *stack, const Open *open)
{
    if (is_of_present_task(stack, open))
        return 0;
    int is_running = open->generator != NULL && PyGen_CheckExact(open->generator) &&
                     ((PyGenObject *)open->generator)->gi_frame_state == FRAME_EXECUTING;
    return !is_running;
}

int64_t
innermost_at_work(const Stack *stack)
{
    for (Py_ssize_t i = stack->depth - 1; i >= 0; i--)
        if (!is_of_another_task(stack, &stack->open[i]) && !is_suspended(&stack->open[i]) &&
            !runs_elsewhere(&stack->open[i]))
            return stack->open[i].span;
    return stack->root_parent;
}

int64_t
top_of_task(const Stack *stack)
{
    for (Py_ssize_t i = stack->depth - 1; i >= 0; i--)
        if (!is_of_another_task(stack, &stack->open[i]))
            return stack->open[i].span;
    return stack->root_parent;
}

/* See inherited_span; with the latch of the stack. */
static int64_t
span_at_copy(const Stack *stack, int64_t span)
{
    Py_ssize_t i = stack->depth - 1;
    while (i >= 0 && stack->open[i].span != span)
        i--;
    if (i < 0)
        return span != stack->abandoned ? span : stack->replacement >= 0 ? stack->replacement : innermost(stack);
    int64_t task = stack->open[i].task;
    while (i >= 0 && (is_suspended(&stack->open[i]) ||
                      (stack->open[i].task != task && stack->open[i].task != 0 && !stack->open[i].outlives)))
        i--;
    return i < 0 ? stack->root_parent : stack->open[i].span;
}

/* The span that a context inherits with `mark`: what was on top when it was copied, unless a generator holds that open
 * and is suspended by now. Then the generator's caller made the copy, as far as can be known. */
static int64_t
inherited_span(const Mark *mark)
{
    int64_t span = seen(mark->span);
    if (span == 0)
        return 0;
    take_latch(&mark->stack->latch);
    mark->stack->has_heirs = 1;
    span = span_at_copy(mark->stack, span);
    release_latch(&mark->stack->latch);
    return span;
}

void
disinherit(Stack *stack, int64_t span, int64_t parent)
{
    take_latch(&stack->latch);
    stack->abandoned = span; /* for contexts that are copied already and have recorded nothing yet */
    stack->replacement = parent;
    int has_heirs = stack->has_heirs;
    release_latch(&stack->latch);
    if (!has_heirs)
        return;
    take_latch(&stacks_latch);
    for (Stack *other = stacks.next; other != &stacks; other = other->next) {
        take_latch(&other->latch);
        if (other->root_parent == span && other->session == stack->session)
            other->root_parent = parent;
        release_latch(&other->latch);
    }
    release_latch(&stacks_latch);
}

/* Nothing is open in `stack` any more. Returns how many references to it their holders had, which are the caller's now. */
static Py_ssize_t
drop_open_spans(Stack *stack)
{
    Py_ssize_t references = 0;
    take_latch(&stack->latch);
    for (Py_ssize_t i = 0; i < stack->depth; i++)
        references += stack->open[i].generator != NULL;
    stack->depth = 0;
    stack->is_shared = 0;
    release_latch(&stack->latch);
    return references;
}

static void
give_up(Stack *stack, Py_ssize_t references)
{
    while (references-- > 0)
        Py_DECREF(stack);
}

void
forget_open_spans(void)
{
    /* First all are found, because those that nothing else keeps leave the list as they are given up. */
    struct {
        Stack *stack;
        Py_ssize_t references;
    } *found = NULL, *larger;
    size_t length = 0, capacity = 0;
    take_latch(&stacks_latch);
    for (Stack *stack = stacks.next; stack != &stacks; stack = stack->next) {
        Py_ssize_t references = drop_open_spans(stack);
        if (references == 0)
            continue;
        if (length == capacity && (larger = realloc(found, (2 * capacity + 64) * sizeof(*found))) != NULL) {
            found = larger;
            capacity = 2 * capacity + 64;
        }
        if (length < capacity) { /* else it stays for ever */
            found[length].stack = stack;
            found[length++].references = references;
        }
    }
    release_latch(&stacks_latch);
    for (size_t i = 0; i < length; i++)
        give_up(found[i].stack, found[i].references);
    free(found);
}

/* No collection may begin in here either. */
static Stack *
new_stack(PyThreadState *tstate, const Mark *inherited)
{
    Stack *stack = PyObject_New(Stack, &StackType);
    if (stack == NULL)
        return NULL;
    memset((char *)stack + sizeof(PyObject), 0, sizeof(Stack) - sizeof(PyObject));
    stack->session = ring.session;
    take_latch(&stacks_latch);
    stack->next = stacks.next;
    stack->previous = &stacks;
    stacks.next->previous = stack;
    stacks.next = stack;
    release_latch(&stacks_latch);
    if (inherited != NULL && inherited->stack->session == ring.session)
        stack->root_parent = inherited_span(inherited);
    if (new_mark(tstate, stack) < 0)
        goto fail;
    stack->context_ref = PyWeakref_NewRef(tstate->context, NULL);
    if (stack->context_ref == NULL)
        goto fail;
    Py_DECREF(stack); /* the context keeps it */
    return stack;
fail:
    Py_DECREF(stack);
    return NULL;
}

Stack *
find_stack(Thread *thread, PyThreadState *tstate, int create)
{
    int is_own;
    release_kept(tstate);
    Mark *mark = tstate->context == NULL ? NULL : find_mark(tstate->context, &is_own);
    Stack *stack = NULL;
    if (mark != NULL && refers_to(mark->stack->context_ref, tstate->context))
        stack = mark->stack;
    else if (create) {
        no_collection_begin();
        stack = new_stack(tstate, mark);
        no_collection_end();
    }
    if (stack == NULL)
        return NULL;
    if (stack->session != seen(ring.session)) {
        Py_INCREF(stack);
        give_up(stack, drop_open_spans(stack) + 1);
        tell(stack->session, seen(ring.session));
        stack->root_parent = 0;
        stack->has_heirs = 0;
        if (new_mark(tstate, stack) < 0)
            return NULL;
    }
    thread->stack = stack;
    thread->tstate_id = tstate->id;
    thread->context_version = tstate->context_ver;
    return stack;
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

/* Learn the types of the tree's nodes, and make sure that find_mark finds its way: in a context with few variables and
 * in one with many, alone and beside a copy. Where it does not, every change sets the variable. */
static int
learn_nodes(PyObject *context, Stack *stack, PyObject *others)
{
#if PY_VERSION_HEX >= 0x030F0000
    return 0; /* not yet known */
#endif
    int is_own;
    if (new_mark(PyThreadState_Get(), stack) < 0)
        return -1;
    PyHamtObject *const *variables = &((PyContext *)context)->ctx_vars;
    bitmap_type = Py_TYPE((*variables)->h_root);
    if (strcmp(bitmap_type->tp_name, "hamt_bitmap_node") != 0 || find_mark(context, &is_own) != stack->mark || !is_own)
        return 0;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(others); i++) {
        PyObject *token = PyContextVar_Set(PyList_GET_ITEM(others, i), Py_None);
        if (token == NULL)
            return -1;
        Py_DECREF(token);
    }
    array_type = Py_TYPE((*variables)->h_root);
    if (strcmp(array_type->tp_name, "hamt_array_node") != 0 || find_mark(context, &is_own) != stack->mark || !is_own)
        return 0;
    PyObject *copy = PyContext_Copy(context);
    if (copy == NULL)
        return -1;
    int works = find_mark(context, &is_own) == stack->mark && !is_own;
    /* Once the copy has changed another variable the root is ours again, but the mark is not. */
    if (PyContext_Enter(copy) == 0) {
        PyObject *token = PyContextVar_Set(PyList_GET_ITEM(others, 0), Py_True);
        works = works && token != NULL && find_mark(context, &is_own) == stack->mark && !is_own;
        Py_XDECREF(token);
        PyContext_Exit(copy);
    }
    Py_DECREF(copy);
    return works && find_mark(context, &is_own) == stack->mark && is_own;
}

static int
try_nodes(void)
{
    PyObject *context = PyContext_New(), *others = PyList_New(0);
    Stack *stack = PyObject_New(Stack, &StackType);
    int works = -1;
    if (context == NULL || others == NULL || stack == NULL)
        goto done;
    memset((char *)stack + sizeof(PyObject), 0, sizeof(Stack) - sizeof(PyObject));
    stack->next = stack->previous = stack;
    for (int i = 0; i < 64; i++) {
        /* Each under a name of its own: of a variable's hash the rest is its address, which may not spread them. */
        char name[16];
        snprintf(name, sizeof(name), "other %d", i);
        PyObject *other = PyContextVar_New(name, NULL);
        if (other == NULL || PyList_Append(others, other) < 0) {
            Py_XDECREF(other);
            goto done;
        }
        Py_DECREF(other);
    }
    if (PyContext_Enter(context) == 0) {
        works = learn_nodes(context, stack, others);
        PyContext_Exit(context);
    }
done:
    if (works <= 0)
        bitmap_type = array_type = NULL;
    Py_XDECREF(context);
    Py_XDECREF(others);
    Py_XDECREF(stack);
    return works < 0 ? -1 : 0;
}

int
prepare_contexts(void)
{
    if (PyType_Ready(&StackType) < 0 || PyType_Ready(&MarkType) < 0)
        return -1;
    variable = PyContextVar_New("quantum_pulse_innermost", NULL);
    PyObject *weakref = PyImport_ImportModule("weakref");
    task_numbers = weakref == NULL ? NULL : PyObject_CallMethod(weakref, "WeakKeyDictionary", NULL);
    Py_XDECREF(weakref);
    if (variable == NULL || task_numbers == NULL)
        return -1;
    Py_hash_t hash = PyObject_Hash(variable);
    if (hash == -1)
        return -1;
    /* Folded as CPython's hamt_hash does. */
    variable_hash = (int32_t)((uint64_t)hash & 0xffffffff) ^ (int32_t)((uint64_t)hash >> 32);
    if (variable_hash == -1)
        variable_hash = -2;
    return try_nodes();
}
