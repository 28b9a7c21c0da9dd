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

/* The slow half of take_slot: from a segment, while that does not take too many from the samples. */
Slot *more_slots(void);

/* A slot, or NULL when there is no room. What has no slot is still counted, but nobody else knows by its name. */
static inline Slot *
take_slot(void)
{
    Slot *slot = ring.free_slots;
    if (slot == NULL)
        return more_slots();
    ring.free_slots = slot->next;
    return slot;
}

/* Whoever reads the file finds all that belongs to a slot, or none of it. */
static inline void
publish_slot(Slot *slot, uint32_t kind)
{
    __atomic_store_n(&slot->kind, kind, __ATOMIC_RELEASE);
}

static inline void
free_slot(Slot *slot)
{
    publish_slot(slot, SLOT_FREE);
    slot->next = ring.free_slots;
    ring.free_slots = slot;
}

/* Add lost samples to `*slot`, which is taken if it is NULL. */
void note_lost(Slot **slot, uint32_t probe_id, int64_t thread, int cause, uint64_t samples, int64_t first_ns, int64_t last_ns);

#endif
