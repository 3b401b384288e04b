/* SPDX-License-Identifier: Apache-2.0
 * Which blocks to merge: a pure function, so that its bounds can be tested without a disk. */
#pragma once

#include "base/defs.h"

struct compact_candidate {
    uint64_t max_end_ns, n_spans, file_bytes;
    bool eligible;           /* not damaged, and what it replaced itself is gone */
    uint64_t max_arrival_ns; /* when the last of its spans came, wall clock */
};

struct compact_rules {
    int64_t window_ns;
    int64_t now_ns;       /* wall clock */
    int64_t retention_ns; /* of this tenant */
    int64_t quiet_ns;     /* a window that spans came to within this time is open */
    uint32_t inputs_max;
    uint64_t spans_max, bytes_max; /* of the output */
};

struct compact_plan {
    uint32_t *inputs;     /* indexes of candidates, smallest first; owned by the caller's free() */
    uint32_t n_inputs;    /* 0: nothing to do */
    uint32_t outstanding; /* blocks in windows that are due */
};

void compact_plan(const struct compact_candidate *c, uint32_t n, const struct compact_rules *r,
    struct compact_plan *ret);
