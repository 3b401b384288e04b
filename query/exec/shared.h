/* SPDX-License-Identifier: Apache-2.0
 * Traces of which two parts hold some spans: a client retried a batch, or a trace went on after its
 * head was sealed. What looks at parts one by one must not take a piece for the whole.
 *
 * Of two parts whose times overlap, the traces of the later one that begin before the earlier one
 * ends are looked up in the other; in a store where blocks follow each other in time that is next
 * to nothing. As long as it is cheap, parts are compared whole, whatever their times. What was
 * found of a pair is remembered (pairs.h): blocks never change, and of a head only the traces that
 * came since are looked up.
 *
 * Exact while all pairs of which nothing is remembered have no more than a million traces to ask
 * for (of each pair those of the smaller part, or those that matter): eight blocks of 35,000
 * traces, or twenty of 5,000, and then one block after another. Beyond that, not found
 * are pieces that lie wholly outside the other part's time, such as of a trace that is silent for
 * longer than a block lasts; and what a query's share of lookups does not reach in very many
 * overlapping blocks of which nothing is remembered yet.
 * WHY not always: exact for any store means to read all ids, 16 bytes a trace (170 MB and half a
 * second for 100 million spans), each time that a block is added. Thread-safe. */
#pragma once

#include "source.h"

struct shared_trace { /* pieces in two parts */
    struct trace_id id;
    uint32_t trace[2]; /* numbers in parts i and k of the pair */
    uint64_t start_ns[2], end_ns[2];
};

/* Told of each trace that parts i and k share, i < k. */
typedef enum ec (*shared_fn)(
    void *arg, size_t i, size_t k, const struct shared_trace *t, struct err *err);

struct shared_peer {       /* one part */
    struct part_reader *r; /* NULL: opened by way of the source, or not to be looked at */
    struct source *source; /* or NULL */
    struct part_info info;
    /* A block of which only the traces [from, to) matter, by number: of what others share with two
     * such blocks nothing need be told. */
    bool some;
    uint32_t from, to;
};

/* The peer that a source is when only traces with spans in [start, end] matter: none of a block
 * that is out of range, and of one that goes beyond it those that lie in its groups in range. */
enum ec shared_peer_within(struct shared_peer *ret, struct source *s, uint64_t start_ns,
    uint64_t end_ns, struct err *err) MUST_USE;

/* Which pairs matter, by the kind that each part is of. WHY not a function of two parts: a thousand
 * of them are half a million pairs, of which most questions want next to none. */
#define SHARED_KINDS 4u
struct shared_kinds {
    uint8_t *of;                 /* by part, below SHARED_KINDS */
    uint32_t with[SHARED_KINDS]; /* by kind, symmetric: bits of kinds with which it is a pair */
};
static inline bool shared_kinds_want(const struct shared_kinds *w, size_t i, size_t k)
{
    return (w->with[w->of[i]] >> w->of[k] & 1) != 0;
}

/* All pairs that `wanted` has (NULL: every pair). Unreadable parts share nothing.
 * *ret_all: nothing was left out (see above). */
enum ec shared_find(const struct query_ctx *ctx, const struct shared_peer *peers,
    const struct shared_kinds *wanted, shared_fn tell, void *arg, bool *ret_all, struct err *err)
    MUST_USE;
/* For tests: so many traces may be asked for. */
extern uint64_t shared_whole_max;
/* The same for who has another way: where something would be left out, it does what a query may
 * ask, if some queries together get there, so that the next one has less to do; what it told is not
 * all then. */
enum ec shared_find_all(const struct query_ctx *ctx, const struct shared_peer *peers,
    const struct shared_kinds *wanted, shared_fn tell, void *arg, bool *ret_all, struct err *err)
    MUST_USE;

/* The same as sets: for counting part by part. What no pair told of (see above) is no piece, and
 * counts as a trace of its own. */
struct shared_set {
    struct trace_piece *pieces; /* distinct, by id, then by part; of each id at least two */
    size_t n, cap;
    uint64_t **traces;  /* per part: bits by trace number, NULL: none of its traces is shared */
    uint32_t *n_traces; /* per part: how many bits; traces that came later are not known */
};
/* Among parts with spans in [start, end]. Everything lives in the arena. */
enum ec shared_set_find(const struct query_ctx *ctx, uint64_t start_ns, uint64_t end_ns,
    struct arena *arena, struct shared_set *ret, struct err *err) MUST_USE;
static inline bool shared_set_has(const struct shared_set *s, size_t part, uint32_t trace)
{
    return s->traces[part] != NULL && trace < s->n_traces[part] &&
           (s->traces[part][trace / 64] >> (trace % 64) & 1) != 0;
}
