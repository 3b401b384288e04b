/* SPDX-License-Identifier: Apache-2.0
 * Synthetic traces: the services, names and attributes of bench/loadgen, made straight into
 * batches.
 *
 * What a trace is like depends on its seed alone, so that two blocks can hold a piece each of the
 * same trace without knowing of each other. Strings live in the arena of the batch or are
 * constants.
 */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "model/batch.h"

#define SYNTH_SERVICES 24u

struct synth_counts { /* by service, of what was made */
    uint64_t spans[SYNTH_SERVICES], errors[SYNTH_SERVICES];
};
/* NULL past the last one. */
const char *synth_service(uint32_t i);

struct synth { /* a batch that grows; reset between batches */
    struct arena arena;
    VEC(struct batch_resource) resources;
    VEC(struct batch_scope) scopes;
    VEC(struct batch_span) spans;
    VEC(struct attr) attrs;
    VEC(struct batch_event) events;
    VEC(struct batch_link) links;
    uint32_t *resource_of; /* 1 + index by service and pod; 0: none yet in this batch */
    struct synth_counts counts;
    /* The trace that is being made. */
    uint64_t rng;
    struct trace_id id;
};

enum synth_piece { SYNTH_WHOLE, SYNTH_FIRST_HALF, SYNTH_SECOND_HALF };

void synth_init(struct synth *s);
void synth_deinit(struct synth *s);
void synth_reset(struct synth *s); /* the batch; counts stay */
/* Appends the spans of the trace of this seed that begins at start_ns; returns how many. */
uint32_t synth_trace(struct synth *s, uint64_t seed, uint64_t start_ns, enum synth_piece piece,
    struct trace_id *ret);
/* Appends a trace of one span of `service`, named `name`, with one string attribute. */
void synth_planted(struct synth *s, uint64_t seed, uint64_t start_ns, const char *service,
    const char *name, const char *key, const char *value, struct trace_id *ret);
/* The batch so far: views into s. */
struct batch synth_batch(const struct synth *s);
