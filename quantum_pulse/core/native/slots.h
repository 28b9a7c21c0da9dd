/* What is open, and what was lost, by operation and thread: in the mapped file, so that it is known of a process that was
 * killed too. `schema.py` documents the layout, and a test compares the two.
 */
#ifndef QP_SLOTS_H
#define QP_SLOTS_H

#include "rings.h"

enum { SLOT_FREE = 0, SLOT_OPEN = 1, SLOT_LOST = 2 };

typedef struct Slot {
    uint32_t kind;
    uint32_t probe_id;
    int64_t thread;
    union {
        struct {
            int64_t span, start, parent, task; /* `start` is 0 until the clock was read */
            int32_t weight;
        } open;
        struct {
            uint64_t samples;
            int64_t first_ns, last_ns;
            int64_t cause;
        } lost;
    };
    struct Slot *next; /* while it is free */
} Slot;

_Static_assert(sizeof(Slot) == SLOT_BYTES, "slots as schema.py has them");
_Static_assert(offsetof(Slot, open) == 16 && offsetof(Slot, next) == 56, "slots as schema.py has them");

/* Those in the second page of the ring; then ring.free_slots is no longer empty. */
void begin_slots(void);

/* Take a segment for slots, while that does not take too many from the samples. Returns whether it did. */
int reserve_slots(void);

/* The slow half of take_slot: from those of the ring, or from a segment, while that does not take too many from the
 * samples. */
Slot *more_slots(Thread *thread);

/* Where `thread` takes slots from: where others record at the same time, from a few that are its own. */
static inline Slot **
free_slots_of(Thread *thread)
{
#if PARALLEL
    return &thread->free_slots;
#else
    (void)thread;
    return &ring.free_slots;
#endif
}

/* A slot, or NULL when there is no room. What has no slot is still counted, but nobody else knows by its name. */
static inline Slot *
take_slot(Thread *thread)
{
    Slot **free_slots = free_slots_of(thread), *slot = *free_slots;
    if (slot == NULL)
        return more_slots(thread);
    *free_slots = slot->next;
#if PARALLEL
    thread->free_slots_length--;
#endif
    return slot;
}

/* Whoever reads the file finds all that belongs to a slot, or none of it. */
static inline void
publish_slot(Slot *slot, uint32_t kind)
{
    __atomic_store_n(&slot->kind, kind, __ATOMIC_RELEASE);
}

#if PARALLEL
#define SLOTS_AT_A_TIME 8
#define MOST_FREE_SLOTS (4 * SLOTS_AT_A_TIME) /* of a thread */

/* Give free slots of `thread` back to the ring until it has at most `most`. */
void return_slots(Thread *thread, uint32_t most);
#endif

static inline void
free_slot(Thread *thread, Slot *slot)
{
    Slot **free_slots = free_slots_of(thread);
    publish_slot(slot, SLOT_FREE);
    slot->next = *free_slots;
    *free_slots = slot;
#if PARALLEL
    if (++thread->free_slots_length > MOST_FREE_SLOTS)
        return_slots(thread, MOST_FREE_SLOTS / 2);
#endif
}

/* Add lost samples to `*slot`, which is taken if it is NULL. */
void note_lost(Slot **slot, uint32_t probe_id, int64_t thread, int cause, uint64_t samples, int64_t first_ns, int64_t last_ns);

#endif
