/* The hot path: a span begins, a span ends. */
#ifndef QP_SPANS_H
#define QP_SPANS_H

#include "rings.h"

/* Begin and end a span in the current context. They never raise: what goes wrong here is not the host's trouble.
 * `error_type` is the type of the exception that leaves the block, or None. Only while ring.recording. */
void enter(uint32_t probe_id);
void leave(uint32_t probe_id, PyObject *error_type);

/* A span that was measured elsewhere, as a sample in the current context. */
void add(uint32_t probe_id, int64_t start, int64_t duration, PyObject *error_type);

int prepare_spans(void);

#endif
