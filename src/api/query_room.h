/* SPDX-License-Identifier: Apache-2.0
 * Memory for queries that others leave no room for.
 *
 * A query begins on the budget that all share (`all`), with a cap of its own. When it fails because
 * a grant did not fit beside what others hold, it gives back everything, waits here without a
 * thread, in the order in which clients asked, and is run once more with `bytes_max` set aside for
 * it: as much as it could have if it were alone, so that only what does not fit alone fails.
 *
 * While somebody waits or has memory set aside, who begins shares the rest (all less bytes_max) and
 * has a quarter of that: plenty for a short query, which runs at once; a long one finds out early
 * that it must wait behind. So the rest is all that newcomers ever hold, those that began before
 * end by their deadlines or wait as well, and the first who waits gets its memory. A second one
 * gets it beside the first only if half of the rest stays for newcomers.
 *
 * Answers that clients have not taken yet stay charged to `all`, up to half of it together, or one
 * that is larger: who reads slowly, or not at all, takes room from queries, not from the process,
 * and not all of it. Who waited may have what they leave, and waits once more if that was too
 * little.
 *
 * INVARIANT: who waits holds nothing: no memory, no snapshot, no thread, no turn. Hence no
 * deadlock.
 *
 * What pages others have pinned in the page cache is not given back for a query: those are small
 * (query/exec lets go of them), and what does not fit there is charged to the query.
 *
 * Thread-safe. Guests are called back on a thread of the room.
 */
#pragma once

#include "base/budget.h"

struct query_room;

struct room_guest {
    struct budget limit;  /* what this run may hold of others' and its own account */
    struct budget *own;   /* of this run, below limit: cap bytes_max */
    int64_t asked_ns;     /* when its client asked, monotonic */
    int64_t until_ns;     /* waits no longer; 0: no end */
    uint64_t aside;       /* bytes that are set aside for this run */
    uint64_t handed;      /* of these: an answer's by now */
    bool alone;           /* memory is set aside for this run */
    bool whole;           /* had too little of it: waits for all that one may have */
    bool inside;          /* between enter and leave */
    bool (*gone)(void *); /* the client has: asked now and then while it waits */
    /* The wait is over: EC_OK, it is to enter again; EC_DEADLINE, EC_CANCELED: it is to be
     * answered. Must not block. */
    void (*resume)(void *arg, enum ec ec);
    void *arg;
    struct room_guest *next; /* in the list of those who wait */
};

/* all: NULL, or what all queries share; its cap must not change. bytes_max: of one query, > 0. */
enum ec query_room_new(
    struct budget *all, uint64_t bytes_max, struct query_room **ret, struct err *err) MUST_USE;
void query_room_free(struct query_room *r); /* nobody is inside or waits; NULL allowed */
/* A run begins: g->own is made. */
void query_room_enter(struct query_room *r, struct room_guest *g);
/* An answer of n bytes, charged to g->own, is its client's from now on. *ret: where it is charged
 * instead, until it is taken. False: clients have too much of that already; nothing is changed. */
bool query_room_hand_over(
    struct query_room *r, struct room_guest *g, uint64_t n, struct budget **ret) MUST_USE;
/* A run ends, or a guest whose wait was over does not enter; everything charged to g->own was given
 * back. Not needed by who never entered, but allowed. */
void query_room_leave(struct query_room *r, struct room_guest *g);
/* The run has failed for want of memory, and would not have, or might not, without others. */
bool query_room_crowded(const struct room_guest *g);
/* After leave: g waits, and belongs to the room until resume is called, perhaps before this
 * returns. */
void query_room_wait(struct query_room *r, struct room_guest *g);
unsigned query_room_waiting(const struct query_room *r);
