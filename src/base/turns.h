/* SPDX-License-Identifier: Apache-2.0
 * A few places for jobs that are long, to be taken in turns. Private to base: see pool_turn.
 * Thread-safe.
 *
 * A place goes to who has used the least of the processors so far; an eighth of the time that a job
 * has waited for places is taken off that. WHY: of a job nobody knows how long it will be, but one
 * that has had little so far is most often soon over, and should not stand behind one that needs
 * seconds; while a long one still gets a ninth of the time from any number of shorter ones. */
#pragma once

#include <pthread.h>

#include "base/err.h"

struct turn_waiter;

struct turns {
    pthread_mutex_t lock;
    unsigned n_free;                   /* guarded by lock, as the list */
    struct turn_waiter *first, **last; /* in the order of asking */
    _Atomic unsigned n_waiting;        /* written under lock, read anywhere */
};

/* What a job has had up to now: CPU, and time that it waited for places. */
struct turn_claim {
    int64_t used_ns, waited_ns;
};

void turns_init(struct turns *t, unsigned n);
void turns_deinit(struct turns *t); /* nobody waits, nobody holds */
/* Waits for a place, at most that long. False: it took too long, nothing is held. */
bool turns_take(struct turns *t, struct turn_claim claim, int64_t wait_max_ns) MUST_USE;
void turns_give(struct turns *t);
bool turns_wanted(const struct turns *t); /* somebody waits */
/* Somebody waits who comes before a holder with this claim. */
bool turns_owed(struct turns *t, struct turn_claim claim);
