/* The hot path: a span begins, a span ends. */
#ifndef QP_SPANS_H
#define QP_SPANS_H

#include "rings.h"

/* Begin and end a span in the current context. They never raise: what goes wrong here is not the host's trouble.
 * `error_type` is the type of the exception that leaves the block, or None. Only while ring.recording.
 * A weight of 0 is a span that is not recorded and represents the end of its block only. */
void enter(uint32_t probe_id, int32_t weight);
void leave(uint32_t probe_id, PyObject *error_type);

/* The same for a span that `holder` holds open, which may be ended in any context. `enter_held` returns the stack that
 * the span is in, borrowed, or NULL where none was begun; the holder keeps it alive and names it from then on. Once the
 * span is left, nothing that begins later is inside of it, whatever inherited it while it was open. */
struct Stack;
struct Stack *enter_held(uint32_t probe_id, int32_t weight, PyObject *holder);
void leave_held(uint32_t probe_id, PyObject *error_type, PyObject *holder, struct Stack *stack);
/* It is a span of another probe, and always was. Returns whether it was open. */
int rename_held(uint32_t probe_id, uint32_t new_id, const PyObject *holder, struct Stack *stack);

/* How many calls the next sample of `probe_id` represents, if it is recorded; 0 if it is not. One of `every` is, at
 * random: if each hundredth were, a program that does something every fifty calls would be seen half. */
int32_t weight_of_next(uint32_t probe_id, uint32_t every);

/* End the innermost span if it is of `probe_id` and not recorded: cheaper than leave. Whether it was. */
int leave_unrecorded(uint32_t probe_id);

/* A span that was measured elsewhere, as a sample in the current context. */
void add(uint32_t probe_id, int32_t weight, int64_t start, int64_t duration, PyObject *error_type);

int prepare_spans(void);

#endif
