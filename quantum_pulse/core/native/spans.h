/* The hot path: a span begins, a span ends. */
#ifndef QP_SPANS_H
#define QP_SPANS_H

#include "rings.h"

/* Begin and end a span in the current context. They never raise: what goes wrong here is not the host's trouble.
 * `error_type` is the type of the exception that leaves the block, or None. Only while ring.recording. */
void enter(uint32_t probe_id);
void leave(uint32_t probe_id, PyObject *error_type);

int prepare_spans(void);

#endif
