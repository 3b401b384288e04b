/* SPDX-License-Identifier: Apache-2.0
 * Answers that are held back for a while: Tempo's artificial delay. One thread, started by the
 * first delay, so that a server without any has none. */
#pragma once

#include "base/defs.h"

struct delay;

struct delay_waiter { /* embedded in what waits */
    int64_t due_ns;
    void (*fn)(void *arg);
    void *arg;
    struct delay_waiter *next;
};

struct delay *delay_new(void);
/* Runs what waits, then ends the thread. NULL allowed. */
void delay_free(struct delay *d);
/* What waits runs at once, and so does all that comes later. */
void delay_stop(struct delay *d);
/* fn(arg) runs once: after ns on the thread, or at once on the caller's after delay_stop. Any
 * thread. */
void delay_run(
    struct delay *d, int64_t ns, struct delay_waiter *w, void (*fn)(void *arg), void *arg);
/* Between -max and max. Not for secrets. */
int64_t delay_jitter(int64_t max);
