/* SPDX-License-Identifier: Apache-2.0
 * A few places, taken and given back in the order of asking. Private to base: see pool_turn.
 * Thread-safe. */
#pragma once

#include <pthread.h>

#include "base/err.h"

struct turn_waiter;

struct turns {
    pthread_mutex_t lock;
    unsigned n_free;                   /* guarded by lock, as the list */
    struct turn_waiter *first, **last; /* who came first is first */
    _Atomic unsigned n_waiting;        /* written under lock, read anywhere */
};

void turns_init(struct turns *t, unsigned n);
void turns_deinit(struct turns *t); /* nobody waits, nobody holds */
/* Waits for a place, at most that long. False: it took too long, nothing is held. */
bool turns_take(struct turns *t, int64_t wait_max_ns) MUST_USE;
void turns_give(struct turns *t);
bool turns_wanted(const struct turns *t); /* somebody waits */
