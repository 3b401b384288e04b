/* SPDX-License-Identifier: Apache-2.0
 * How many distinct hashes were seen of late: a HyperLogLog (Flajolet et al. 2007) per slice of
 * time, the estimate over their union. The oldest slice is dropped by demand_advance. */
#pragma once

#include "base/defs.h"

#define DEMAND_BITS   10 /* 1024 registers: 3.3 % error, 1 KiB a slice */
#define DEMAND_SLICES 4  /* the current one and three of five minutes */

struct demand {
    uint8_t regs[DEMAND_SLICES][1u << DEMAND_BITS];
    unsigned current;
};

static inline void demand_add(struct demand *d, uint64_t hash)
{
    uint8_t *r = &d->regs[d->current][hash >> (64 - DEMAND_BITS)];
    uint8_t rank = (uint8_t)(__builtin_clzll((hash << DEMAND_BITS) | 1) + 1);
    if (rank > *r)
        *r = rank;
}
void demand_advance(struct demand *d);
double demand_estimate(const struct demand *d);
