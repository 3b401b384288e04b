/* SPDX-License-Identifier: Apache-2.0
 * All time goes through here so that tests can shift it. Nanoseconds everywhere. Thread-safe. */
#pragma once

#include "base/defs.h"

#define NS_PER_US 1000LL
#define NS_PER_MS 1000000LL
#define NS_PER_S  1000000000LL

int64_t clock_wall_ns(void); /* CLOCK_REALTIME + test offset */
int64_t clock_mono_ns(void); /* CLOCK_MONOTONIC: durations and deadlines */
int64_t clock_cpu_ns(void);  /* CPU time of the calling thread: a system call */
int64_t clock_boot_ns(void); /* CLOCK_BOOTTIME: to judge leaps of the wall clock */
/* Test hook: added to the wall clock only. Also read once from VIVACE_TEST_WALL_OFFSET_S. */
void clock_wall_shift_ns(int64_t delta_ns);
