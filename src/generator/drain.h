/* SPDX-License-Identifier: Apache-2.0
 * Patterns of span names: "GET /users/17" and "GET /users/18" become "GET /users/<_>". The
 * algorithm is Drain (He et al., "Drain: An Online Log Parsing Approach with Fixed Depth Tree",
 * 2017) with Tempo's tokens, and its guess which tokens are data.
 *
 * A name is cut to tokens; names of as many tokens whose first ones lead through the same branches
 * of a tree end in the same leaf. There the most similar pattern takes the name, and loses the
 * tokens in which they differ; where none is similar enough, the name is a pattern of its own.
 *
 * Bounds: tokens of a name, branches of a node, patterns of a leaf, nodes that one look-up visits,
 * and bytes. Over the bytes, the pattern that was not used for longest goes. Equal calls in equal
 * order give equal answers. Not thread-safe. */
#pragma once

#include "base/budget.h"
#include "base/bytes.h"

#define DRAIN_TOKENS_MAX   80 /* the end counts as one */
#define DRAIN_TOKENS_MIN   3
#define DRAIN_NAME_MAX     4096 /* bytes; longer names are left as they are */
#define DRAIN_CHILDREN_MAX 1000
#define DRAIN_PATTERNS_MAX 100000
#define DRAIN_LEAF_MAX     32
#define DRAIN_STEPS_MAX    256 /* nodes and patterns */

struct drain_tokens {
    uint32_t n;                         /* without the end */
    uint16_t end[DRAIN_TOKENS_MAX - 1]; /* offsets in the name */
};
enum drain_cut { DRAIN_CUT, DRAIN_TOO_FEW, DRAIN_TOO_MANY };

enum drain_event { /* for the metrics of its owner */
    DRAIN_DETECTED,
    DRAIN_EVICTED,
    DRAIN_EXPIRED,
    DRAIN_SKIPPED_FEW,
    DRAIN_SKIPPED_MANY,
    DRAIN_EVENTS
};
struct drain;

/* Patterns are charged to a budget of bytes_max under parent, which may be NULL. */
struct drain *drain_new(struct budget *parent, uint64_t bytes_max);
void drain_free(struct drain *d);
/* What the name is called: its pattern, a view that lives until the next call, or the name itself.
 * *ret_tokens: of the name, with its end; 0 when it is left alone. */
struct str drain_train(struct drain *d, struct str name, int64_t now_ms, uint32_t *ret_tokens);
/* Patterns that no name took since before_ms are forgotten. */
void drain_expire(struct drain *d, int64_t before_ms);
uint64_t drain_events(const struct drain *d, enum drain_event e); /* since drain_new */
uint32_t drain_patterns(const struct drain *d);

/* tokens.c: runs of blanks, of hexadecimal digits (with '-' behind them: an id), of letters and
 * digits; %XX; anything else alone. A name that is no UTF-8 has too few. */
enum drain_cut drain_cut(struct str name, struct drain_tokens *ret);
/* Hexadecimal digits and punctuation with a digit among them, or more than a quarter digits. */
bool drain_is_data(struct str token);
