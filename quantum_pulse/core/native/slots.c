#include "slots.h"

#include <string.h>

/* At most one segment in so many is used for slots: 500,000 of them in the default rings. */
#define SEGMENTS_PER_SLOT_SEGMENT 8

/* Make all slots from `offset` to `end` of the mapping free. */
static void
add_slots(char *base, size_t end)
{
    memset(base + SLOTS_OFFSET, 0, end - SLOTS_OFFSET);
    for (Slot *slot = (Slot *)(base + end) - 1; (char *)slot >= base + SLOTS_OFFSET; slot--) {
        slot->next = ring.free_slots;
        ring.free_slots = slot;
    }
}

void
begin_slots(void)
{
    ring.free_slots = NULL;
    ring.slot_segments = 0;
    add_slots(ring.memory, RING_HEADER_BYTES);
}

int
reserve_slots(void)
{
    if ((ring.slot_segments + 1) * SEGMENTS_PER_SLOT_SEGMENT > ring.limit || !make_room())
        return 0;
    Segment *segment = ring.free_segments[--ring.free_length];
    segment->sequence = ++ring.sequence;
    segment->written = segment->consumed = 0;
    segment->inverse = ~(uint32_t)0;
    segment->thread = 0;
    add_slots((char *)segment, SEGMENT_BYTES);
    __atomic_store_n(&segment->state, 3, __ATOMIC_RELEASE);
    ring.slot_segments++;
    return 1;
}

Slot *
more_slots(void)
{
    return reserve_slots() ? take_slot() : NULL;
}

void
note_lost(Slot **slot, uint32_t probe_id, int64_t thread, int cause, uint64_t samples, int64_t first_ns, int64_t last_ns)
{
    if (*slot == NULL) {
        *slot = take_slot();
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
