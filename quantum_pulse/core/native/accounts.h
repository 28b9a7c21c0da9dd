/* What became of the samples: counted by operation and thread, so that started = committed + open + lost holds for each.
 */
#ifndef QP_ACCOUNTS_H
#define QP_ACCOUNTS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>

/* Causes of losses. */
enum { NO_ROOM = 0, OVERWRITTEN = 1 };

struct Slot;

/* What a thread did with a probe. */
typedef struct {
    uint64_t started, committed, lost;
    int64_t first_loss, last_loss;
    struct Slot *lost_slot; /* where readers of the file find what was lost; NULL: nowhere yet */
    uint32_t left;   /* calls in the present round of sampling that are still to come */
    uint32_t chosen; /* the one of them that is recorded, counted from the end */
    uint32_t round;  /* length of that round */
    int is_watched;
} Count;

struct Thread;

/* Make room for the counts of `probe_id`. NULL without memory. */
Count *grow_counts(struct Thread *thread, uint32_t probe_id);

/* A block that another thread had entered was left in this one, and belongs to it from now on. */
void move_start(struct Thread *thread, uint32_t probe_id, int64_t entered_by);

/* A thread has ended: keep what it counted. */
void keep_counts(const struct Thread *thread);

/* Samples that had been committed were given up to make room. */
void count_overwritten(uint32_t probe_id, int64_t thread_id, uint64_t samples, int64_t first_ns, int64_t last_ns);

void forget_accounts(void);

/* Lists of contract.Loss and contract.Account, of the whole recording. */
PyObject *list_losses(void);
PyObject *list_accounts(void);

/* Watch a probe for long durations or errors; args: probe id, limit in ns (0: none), whether errors count. */
PyObject *watch(PyObject *module, PyObject *args);

/* A watched sample was committed. */
void look_at(uint32_t probe_id, int64_t duration, uint32_t error, int64_t span);

/* It is worth saving: tell the agent. */
void note_trip(uint32_t probe_id, int64_t duration, uint32_t error, int64_t span);

#endif
