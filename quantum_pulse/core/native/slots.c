#include "slots.h"

#include <string.h>

/* At most one segment in so many is used for slots: 500,000 of them in the default rings. */
#define SEGMENTS_PER_SLOT_SEGMENT 8

/* Make all slots from `at` to `end` free. */
static void
add_slots(char *at, char *end)
{
    memset(at, 0, (size_t)(end - at));
    for (Slot *slot = (Slot *)end - 1; (char *)slot >= at; slot--) {
        slot->next = ring.free_slots;
        ring.free_slots = slot;
    }
}

void
begin_slots(void)
{
    ring.free_slots = NULL;
    ring.slot_segments = 0;
    add_slots(ring.memory + FIRST_SLOTS_OFFSET, ring.memory + TEXTS_OFFSET);
}

/* A free segment has slots from now on. */
static void
reserve_slot_segment(void)
{
    Segment *segment = segment_of(ring.free_segments[--ring.free_length]);
    __atomic_store_n(&segment->state, FREE, __ATOMIC_RELEASE);
    __atomic_store_n(&segment->written, 0, __ATOMIC_RELEASE);
    segment->inverse = ~(uint32_t)0;
    segment->thread = 0;
    __atomic_store_n(&segment->sequence, ++ring.sequence, __ATOMIC_RELEASE);
    add_slots((char *)segment + SLOTS_OFFSET, (char *)segment + SEGMENT_BYTES);
    __atomic_store_n(&segment->state, HAS_SLOTS, __ATOMIC_RELEASE);
    ring.slot_segments++;
}

int
reserve_slots(void)
{
    lock_rings();
    int has_room = (ring.slot_segments + 1) * SEGMENTS_PER_SLOT_SEGMENT <= ring.limit && make_room();
    if (has_room)
        reserve_slot_segment();
    unlock_rings();
    return has_room;
}

#if PARALLEL

Slot *
more_slots(Thread *thread)
{
    lock_rings();
    if (ring.free_slots != NULL || reserve_slots())
        while (ring.free_slots != NULL && thread->free_slots_length < SLOTS_AT_A_TIME) {
            Slot *slot = ring.free_slots;
            ring.free_slots = slot->next;
            slot->next = thread->free_slots;
            thread->free_slots = slot;
            thread->free_slots_length++;
        }
    unlock_rings();
    return thread->free_slots != NULL ? take_slot(thread) : NULL;
}

void
return_slots(Thread *thread, uint32_t most)
{
    lock_rings();
    while (thread->free_slots_length > most) {
        Slot *slot = thread->free_slots;
        thread->free_slots = slot->next;
        thread->free_slots_length--;
        slot->next = ring.free_slots;
        ring.free_slots = slot;
    }
    unlock_rings();
}

#else

Slot *
more_slots(Thread *thread)
{
    return reserve_slots() ? take_slot(thread) : NULL;
}

#endif

void
note_lost(Slot **slot, uint32_t probe_id, int64_t thread, int cause, uint64_t samples, int64_t first_ns, int64_t last_ns)
{
    if (*slot == NULL) {
        *slot = take_slot(this_thread);
        if (*slot == NULL)
            return;
        (*slot)->probe_id = probe_id;
        (*slot)->thread = thread;
        (*slot)->lost.samples = 0;
        (*slot)->lost.first_ns = first_ns;
        (*slot)->lost.last_ns = last_ns;
        (*slot)->lost.cause = cause;
        publish_slot(*slot, SLOT_LOST);
    }
    if (first_ns < (*slot)->lost.first_ns)
        (*slot)->lost.first_ns = first_ns;
    if (last_ns > (*slot)->lost.last_ns)
        (*slot)->lost.last_ns = last_ns;
    (*slot)->lost.samples += samples;
}
