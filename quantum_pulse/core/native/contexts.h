/* Stacks of open spans, one for each execution context (contextvars), so that tasks that take turns in a thread do not
 * see each other's spans. */
#ifndef QP_CONTEXTS_H
#define QP_CONTEXTS_H

#define Py_BUILD_CORE_MODULE 1 /* contexts from inside; see find_mark */
#include "rings.h"

#include "internal/pycore_context.h"
#if PY_VERSION_HEX < 0x030C0000
#include "internal/pycore_interp.h"
#endif
#if PY_VERSION_HEX >= 0x030E0000
#include "internal/pycore_genobject.h"
#include "internal/pycore_interpframe.h"
#else
#include "internal/pycore_frame.h"
#endif

/* A span that has been entered and not left. */
typedef struct {
    int64_t start;
    int64_t span; /* that of the parent where it is not recorded */
    int64_t parent;
    uint32_t probe_id;
    int32_t weight;      /* 0: it is not recorded */
    int16_t encloses;    /* also while its generator is suspended: it belongs to a @contextmanager */
    int16_t outlives;    /* its task, which is done: whatever runs in the context is inside of it */
    int32_t thread;      /* that entered it */
    int64_t task;        /* that entered it; 0: none */
    struct Slot *slot; /* where readers of the file find it, or NULL */
    /* That holds it open, or NULL: a generator or a `Block`. Borrowed: both close their blocks before they die. The span
     * keeps its stack alive, because they may outlive the context that they were started in. */
    PyObject *generator;
} Open;

/* Mostly the thread that is in the context uses it. Others do where a context is copied and taken elsewhere, or a
 * generator is: `latch` is for what is open and `depth`. */
typedef struct Stack {
    PyObject_HEAD
    Latch latch;
    Open *open;
    Py_ssize_t depth;
    Py_ssize_t capacity;
    int64_t root_parent; /* span that was open where this context was copied from */
    int64_t abandoned;   /* span that was closed from another context last, so that the mark may still name it */
    int64_t replacement; /* what such a mark means: the span around one that was held; -1: what is innermost */
    int64_t task;        /* number of the asyncio task that runs in the context; 0: none */
    int is_shared;       /* several tasks run in the context, and spans are open that another one may have entered */
    uint64_t session;
    int has_heirs;       /* whether another context may have inherited what was open here */
    struct Mark *mark; /* in the current context's variable, borrowed from there: only we set it */
    int place;         /* of the mark in the first node of the context's tree, when it was last seen there */
    PyObject *context_ref;
    PyObject *task_ref, *loop_ref;
    struct Stack *next, *previous;
} Stack;

/* What the context variable holds. A copied context finds the mark of the context that it was copied from. */
typedef struct Mark {
    PyObject_HEAD
    Stack *stack;
    int64_t span; /* that was opened last in `stack` */
} Mark;

/* A node of the hash tree in which a context keeps its variables (CPython, Python/hamt.c). */
typedef struct {
    PyObject_VAR_HEAD
    uint32_t bitmap;
    PyObject *items[1]; /* key, value, key, value ...; a key that is NULL: the value is a node */
} BitmapNode;

/* All stacks, in a ring that begins and ends here. */
extern Stack stacks;
extern Latch stacks_latch;

/* The slow half of current_stack. */
Stack *find_stack(Thread *thread, PyThreadState *tstate, int create);

/* The stack of the current context, borrowed from it; made when `create`, else NULL when there is none. */
static inline Stack *
current_stack(Thread *thread, PyThreadState *tstate, int create)
{
    if (thread->context_version == tstate->context_ver && thread->tstate_id == tstate->id)
        return thread->stack;
    return find_stack(thread, tstate, create);
}

/* Find out which asyncio task runs in the current context, whose stack this is. It may run Python. */
int note_task(Stack *stack);

/* Whether the present task holds the span open, or none does. */
static inline int
is_of_present_task(const Stack *stack, const Open *open)
{
    return open->task == stack->task || open->task == 0 || open->outlives;
}

extern PyTypeObject *bitmap_type; /* NULL: nothing is known of the nodes */

/* The slow half of set_mark. */
int set_mark_slowly(PyThreadState *tstate, Stack *stack);

/* The slow half of top_of. */
int64_t top_of_task(const Stack *stack);

/* The span that the present task opened last in `stack`, or the one that it was started from. */
static inline int64_t
top_of(const Stack *stack)
{
    if (stack->depth == 0)
        return stack->root_parent;
    return stack->is_shared ? top_of_task(stack) : stack->open[stack->depth - 1].span;
}

/* Say which span is on top now in the current context, whose stack this is, for contexts that are copied from it. */
static inline int
set_mark(PyThreadState *tstate, Stack *stack)
{
    /* Mostly the mark is in the first node, and no other context shares that. */
    PyHamtObject *variables = ((PyContext *)tstate->context)->ctx_vars;
    BitmapNode *node = (BitmapNode *)variables->h_root;
    int place = stack->place;
    if (Py_TYPE(node) == bitmap_type && place > 0 && place < Py_SIZE(node) && Py_REFCNT(variables) == 1 && Py_REFCNT(node) == 1 &&
        node->items[place] == (PyObject *)stack->mark && Py_REFCNT(stack->mark) == 1) {
        tell(stack->mark->span, top_of(stack));
        return 0;
    }
    return set_mark_slowly(tstate, stack);
}

/* The slow half of innermost. */
int64_t innermost_at_work(const Stack *stack);

/* The innermost span of `stack` that the present task is at work in, or the span that it was started from. */
static inline int64_t
innermost(const Stack *stack)
{
    if (stack->depth == 0)
        return stack->root_parent;
    const Open *top = &stack->open[stack->depth - 1];
    return top->generator == NULL && !stack->is_shared ? top->span : innermost_at_work(stack);
}

/* `span`, which was open in `stack`, encloses nothing that begins from now on, wherever its context was copied to: that
 * is inside of `parent`. */
void disinherit(Stack *stack, int64_t span, int64_t parent);

/* A recording is over: no generator that is still open keeps its stack any longer. */
void forget_open_spans(void);

int prepare_contexts(void);

#endif
