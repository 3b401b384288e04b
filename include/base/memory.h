/* SPDX-License-Identifier: Apache-2.0
 * What the process does with its memory as a whole: how the allocator keeps freed memory, when it
 * goes back to the kernel, and what /metrics and /status tell about it and about the budgets.
 *
 * Thread-safe but for memory_setup, which comes before the first thread.
 */
#pragma once

#include "base/defs.h"

struct memory_stats {
    uint64_t resident;  /* bytes in RAM: heap, stacks, libraries, mapped catalog pages */
    uint64_t allocated; /* bytes that are in use, as the allocator counts them */
    uint64_t kept;      /* bytes freed and not unmapped; some were given back all the same */
};

void memory_setup(void);
void memory_stats(struct memory_stats *ret);
/* How much freed memory may stay while there is work, at least 16 MiB (the default). WHY more where
 * there is more: a trim holds the allocator's locks for 5 - 25 ms, and what it gave back comes
 * again as page faults with the next flush or merge. */
void memory_keep(uint64_t bytes);
/* After something large was freed, and once in a while: gives freed pages back to the kernel, if
 * they have become enough since the last time to be worth a few milliseconds. resting:
 * nothing goes on that will want them again soon; once after work that is done without a look at
 * how much it is. */
void memory_settle(bool resting);
/* Families vivace_memory_*: the above and every listed budget. To be called once. */
void memory_metrics_attach(void);
