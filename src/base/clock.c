/* SPDX-License-Identifier: Apache-2.0
 * Clocks, and the test offset of the wall clock. */
#include "base/clock.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

static _Atomic int64_t wall_shift;

__attribute__((constructor)) static void clock_init(void)
{
    const char *s = getenv("VIVACE_TEST_WALL_OFFSET_S");
    if (s != NULL)
        atomic_store(&wall_shift, strtoll(s, NULL, 10) * NS_PER_S);
}

static int64_t now(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return t.tv_sec * NS_PER_S + t.tv_nsec;
}

int64_t clock_wall_ns(void)
{
    return now(CLOCK_REALTIME) + atomic_load_explicit(&wall_shift, memory_order_relaxed);
}

int64_t clock_mono_ns(void)
{
    return now(CLOCK_MONOTONIC);
}

int64_t clock_cpu_ns(void)
{
    return now(CLOCK_THREAD_CPUTIME_ID);
}

int64_t clock_boot_ns(void)
{
    return now(CLOCK_BOOTTIME);
}

void clock_wall_shift_ns(int64_t delta_ns)
{
    atomic_fetch_add(&wall_shift, delta_ns);
}
