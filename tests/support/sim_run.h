/* SPDX-License-Identifier: Apache-2.0
 * What the harnesses on simulated machines (sim_world.h) share: chance, the trail of a life, jobs,
 * and a last word when the store itself crashes. */
#pragma once

#include "base/defs.h"

/* The next of this sequence, below n. */
uint64_t sim_draw(uint64_t *rng, uint64_t n);

/* The last steps of a life, for the report of its failure. */
struct sim_trail {
    char line[24][96];
    unsigned n;
};
void sim_trail_add(struct sim_trail *t, uint64_t op, const char *mark, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
void sim_trail_print(const struct sim_trail *t);

/* run(first, step) takes the lives first, first + step, ...: in this process, or one process a job.
 * A signal that ends one prints `where` of it, so that it can be seen again. Returns main's
 * status. */
int sim_run(unsigned jobs, uint64_t seed, int (*run)(uint64_t first, uint64_t step),
    void (*where)(char *ret, size_t cap));
