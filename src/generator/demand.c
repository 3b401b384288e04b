/* SPDX-License-Identifier: Apache-2.0 */
#include "demand.h"

#include <math.h>
#include <string.h>

void demand_advance(struct demand *d)
{
    d->current = (d->current + 1) % DEMAND_SLICES;
    memset(d->regs[d->current], 0, sizeof(d->regs[0]));
}

double demand_estimate(const struct demand *d)
{
    const double m = 1u << DEMAND_BITS;
    double sum = 0;
    unsigned zeros = 0;
    for (unsigned i = 0; i < 1u << DEMAND_BITS; i++) {
        uint8_t r = 0;
        for (unsigned s = 0; s < DEMAND_SLICES; s++)
            r = MAX(r, d->regs[s][i]);
        sum += ldexp(1, -r);
        zeros += r == 0;
    }
    double e = 0.7213 / (1 + 1.079 / m) * m * m / sum;
    if (e <= 2.5 * m && zeros != 0) /* linear counting where the sketch is sparse */
        e = m * log(m / zeros);
    return floor(e + 0.5);
}
