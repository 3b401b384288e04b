/* SPDX-License-Identifier: Apache-2.0
 * Which traces lie in more than one source.
 *
 * A query that looks at few traces asks every other source for each. A query that looks at many
 * would pay traces times sources for that: past the point where it costs less, all ids are read
 * once, and a bitmap of ids that some two sources may both have answers instead. So the cost of a
 * full scan does not depend on how many parts the data is in. */
#pragma once

#include "source.h"

struct sharing {
    const struct query_ctx *ctx;
    struct source *sources;
    size_t n_sources, n_asked;
    bool *left_out; /* by source, or NULL */
    /* Of the sources that are asked, from the first question on. */
    struct part **parts;
    uint32_t *source_of;
    size_t n_parts;
    struct arena *arena;
    uint64_t n_traces; /* over all sources that are asked */
    uint64_t asked;
    uint64_t *twice; /* bits by hash of the id, NULL until built */
    uint64_t mask;
    bool refused; /* no memory, or damage: other sources are asked each time */
};

void sharing_init(struct sharing *s, const struct query_ctx *ctx, struct source *sources,
    size_t n_sources, struct arena *arena);
/* The caller knows by himself what this source shares with any other. Before the first question;
 * without memory for it nothing changes. */
void sharing_leave_out(struct sharing *s, size_t source);
/* Does a source other than `src`, which has the trace, hold some of it too? True: perhaps. */
enum ec sharing_ask(struct sharing *s, uint32_t src, const struct trace_id *id, bool *ret,
    struct err *err) MUST_USE;
