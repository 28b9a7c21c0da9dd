/* What the core does so that threads may record at the same time, on a CPython without the interpreter lock.
 *
 * Where there is a lock, all of this compiles to nothing: a thread has the core to itself until it calls into Python or
 * waits. Without one, three things take its place.
 *
 * A thread that records is attached to the interpreter, and no step in here detaches it. So what has to have the core
 * to itself, the end of a recording above all, runs while CPython has stopped all other threads (`alone`): each is
 * then outside of the core, or where it would have given the lock away, and looks anew at what may have changed.
 *
 * Segments, accounts and the list of threads change hands rarely and are behind one lock (`lock_rings`). A stack of
 * open spans is mostly used by one thread, and has a lock of its own that then costs one atomic instruction. No Python
 * runs while one of them is held, and whoever waits for one stays attached. The order is: list of stacks, stack, rings.
 *
 * What each sample needs is the thread's own: its segment, its counts, numbers for spans and free slots in advance.
 * Others only read it: by `seen`, of what was stored by `tell`.
 */
#ifndef QP_PARALLEL_H
#define QP_PARALLEL_H

#if defined(__has_include)
#if __has_include(<pyconfig.h>)
#include <pyconfig.h> /* says whether there is a lock */
#endif
#endif

#ifdef Py_GIL_DISABLED

#include <pthread.h>
#include <sched.h>
#include <stdint.h>

#define PARALLEL 1

/* A word that one thread writes and others read. */
#define seen(word) __atomic_load_n(&(word), __ATOMIC_ACQUIRE)
#define tell(word, value) __atomic_store_n(&(word), (value), __ATOMIC_RELEASE)
#define count_up(word, more) tell(word, (word) + (more))
/* A word that several write; what it has become. */
#define add_together(word, more) __atomic_add_fetch(&(word), (more), __ATOMIC_ACQ_REL)

extern pthread_mutex_t rings_lock; /* recursive */
extern pthread_mutex_t clock_lock;

#define lock_rings() pthread_mutex_lock(&rings_lock)
#define unlock_rings() pthread_mutex_unlock(&rings_lock)
#define lock_clock() pthread_mutex_lock(&clock_lock)
#define unlock_clock() pthread_mutex_unlock(&clock_lock)
/* In a forked child: whoever held the locks is not there. */
void renew_locks(void);

/* For a few instructions, mostly of the same thread. */
typedef struct {
    char is_taken;
} Latch;

static inline void
take_latch(Latch *latch)
{
    for (int tries = 0; __atomic_exchange_n(&latch->is_taken, 1, __ATOMIC_ACQUIRE); tries++)
        if (tries > 100)
            sched_yield(); /* it may be held by a thread that does not run */
}

static inline void
release_latch(Latch *latch)
{
    __atomic_store_n(&latch->is_taken, 0, __ATOMIC_RELEASE);
}

/* Call `function` while no other thread is in the core, but where it has called into Python or waits. */
void alone(void (*function)(void *), void *argument);

/* `object` was just made, many threads will use it at once, and it stays: nobody counts references to it any more. They
 * would all write one word otherwise. */
struct _object;
void make_immortal(struct _object *object);

#else

#define PARALLEL 0

#define seen(word) (word)
#define tell(word, value) ((void)((word) = (value)))
#define count_up(word, more) ((void)((word) += (more)))
#define add_together(word, more) ((word) += (more))

#define lock_rings() ((void)0)
#define unlock_rings() ((void)0)
#define lock_clock() ((void)0)
#define unlock_clock() ((void)0)
#define renew_locks() ((void)0)

typedef struct {
    char is_taken[0];
} Latch;

#define make_immortal(object) ((void)(object))

#define take_latch(latch) ((void)(latch))
#define release_latch(latch) ((void)(latch))

static inline void
alone(void (*function)(void *), void *argument)
{
    function(argument);
}

#endif

#endif
