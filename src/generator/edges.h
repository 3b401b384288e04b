/* SPDX-License-Identifier: Apache-2.0
 * Edges that wait for their other half: by (trace, span id of the client side), oldest first. Also
 * remembers halves that a filter dropped, so that their counterparts do not end as virtual nodes.
 *
 * At most items_max edges and as many dropped halves; everything lives for wait_ms. */
#pragma once

#include "base/budget.h"
#include "base/bytes.h"
#include "model/ids.h"

enum edge_connection { EDGE_PLAIN, EDGE_MESSAGING, EDGE_DATABASE, EDGE_VIRTUAL };
enum edge_side { EDGE_CLIENT, EDGE_SERVER, EDGE_SIDES };

struct edge_key {
    struct trace_id trace;
    span_id span; /* the client's; 0: a root server span */
};

struct edge {
    struct edge_key key;
    struct edge *older, *newer; /* in the order of arrival */
    struct edge *next;          /* in its slot of the table */
    int64_t expires_ms;
    struct str service[EDGE_SIDES], peer; /* owned; n == 0: not known */
    double seconds[EDGE_SIDES];
    uint64_t client_end_ns, server_start_ns;
    double multiplier;
    enum edge_connection connection;
    bool failed, stored;
    uint32_t bytes;          /* charged */
    struct str dimensions[]; /* owned; one a dimension, two with prefixes: client's, server's */
};

struct dropped_side;

struct edges {
    struct budget *budget;
    uint32_t items_max, n_dimensions;
    int64_t wait_ms;
    struct edge **table, *oldest, *newest;
    uint32_t n_table, n;
    struct dropped_side **dropped, *dropped_oldest, *dropped_newest;
    uint32_t n_dropped;
};

void edges_init(struct edges *e, struct budget *budget, uint32_t items_max, int64_t wait_ms,
    uint32_t n_dimensions);
void edges_deinit(struct edges *e);
struct edge *edges_find(const struct edges *e, const struct edge_key *k);
/* Made, not in the table yet. NULL: the budget refuses. */
struct edge *edge_new(struct edges *e, const struct edge_key *k, int64_t now_ms);
/* False when there is no room: the caller frees the edge. */
bool edges_store(struct edges *e, struct edge *x) MUST_USE;
void edge_free(struct edges *e, struct edge *x); /* out of the table first when it is in it */
/* Replaces the text; a refusal of the budget leaves it empty. */
void edge_set(struct edges *e, struct edge *x, struct str *field, struct str text);
/* The oldest edge when its time is over, else NULL. */
struct edge *edges_expired(const struct edges *e, int64_t now_ms);

/* Remembers a dropped half. False: no room. */
bool edges_drop_side(struct edges *e, const struct edge_key *k, enum edge_side side, int64_t now_ms)
    MUST_USE;
bool edges_is_dropped(
    const struct edges *e, const struct edge_key *k, enum edge_side side, int64_t now_ms);
void edges_forget(struct edges *e, int64_t now_ms); /* dropped halves whose time is over */
