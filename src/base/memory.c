/* SPDX-License-Identifier: Apache-2.0
 * The allocator's settings, the return of freed pages, and metrics of memory.
 *
 * WHY trimming by hand: glibc gives back only the top of its main heap. Heads, flushes and merges
 * allocate a hundred megabytes and free it all, in heaps that other requests have something small
 * in; without malloc_trim the process stays as large as it ever was. */
#include "base/memory.h"

#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

#include "base/budget.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/slab.h"

#define SETTLE_BYTES ((uint64_t)16 << 20) /* at least */

/* Freed bytes that are worth a trim while there is work. */
static _Atomic uint64_t settle_bytes = SETTLE_BYTES;

/* Resident bytes that nothing is in, after the last trim, or since then if they became less: pages
 * that something small is in, stacks, libraries. */
static _Atomic uint64_t settled;
static _Atomic bool settling;
static _Atomic bool worked; /* since the last trim at rest */

void memory_setup(void)
{
    /* Each request has an arena of its own. With glibc's defaults its chunks go back to the kernel
     * with the request and come again as page faults: 0.25 us of CPU a span. What is larger belongs
     * to heads and merges: mapped on its own, it is gone when it is freed. */
    mallopt(M_TRIM_THRESHOLD, 16 << 20);
    mallopt(M_MMAP_THRESHOLD, 4 << 20);
    mallopt(M_ARENA_MAX, 4);
}

void memory_keep(uint64_t bytes)
{
    atomic_store_explicit(&settle_bytes, MAX(bytes, SETTLE_BYTES), memory_order_relaxed);
}

static uint64_t resident_bytes(void)
{
    unsigned long long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f == NULL)
        return 0;
    if (fscanf(f, "%*s %llu", &pages) != 1)
        pages = 0;
    fclose(f);
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

void memory_stats(struct memory_stats *ret)
{
    struct mallinfo2 m = mallinfo2();
    uint64_t slabs, free_slabs;
    slab_stats(&slabs, &free_slabs);
    *ret = (struct memory_stats){.resident = resident_bytes(),
        .allocated = (uint64_t)m.uordblks + m.hblkhd + slabs,
        .kept = (uint64_t)m.fordblks + free_slabs};
}

/* WHY not by the growth of what is resident: while queries and heads come and go it is stable at
 * its largest, and nothing that is freed later would ever go back. */
static uint64_t idle_bytes(uint64_t *ret_resident)
{
    struct memory_stats m;
    uint64_t used, free_slabs; /* these wait for the next head, within a bound of their own */
    memory_stats(&m);
    slab_stats(&used, &free_slabs);
    *ret_resident = m.resident;
    return m.resident - MIN(m.resident, m.allocated + free_slabs);
}

void memory_settle(bool resting)
{
    uint64_t resident;
    uint64_t now = idle_bytes(&resident);
    uint64_t low = atomic_load_explicit(&settled, memory_order_relaxed);
    bool at_rest = atomic_exchange(&worked, !resting) && resting;
    uint64_t enough = atomic_load_explicit(&settle_bytes, memory_order_relaxed);
    if (now < low + enough && !at_rest) {
        if (now < low)
            atomic_store_explicit(&settled, now, memory_order_relaxed);
        return;
    }
    if (atomic_exchange(&settling, true))
        return; /* somebody does it already */
    int64_t begin = clock_mono_ns();
    uint64_t before = resident;
    if (resting) /* the next head takes them else */
        slab_trim();
    malloc_trim(0);
    atomic_store_explicit(&settled, idle_bytes(&resident), memory_order_relaxed);
    log_event(LOG_DEBUG, "freed memory returned", LD("took", clock_mono_ns() - begin),
        LU("bytes", before - MIN(before, resident)), LU("resident", resident));
    atomic_store(&settling, false);
}

/* Metrics. */

static struct metric_family used = {.name = "vivace_memory_budget_bytes",
    .help = "Bytes charged to a budget and the budgets below it",
    .type = METRIC_GAUGE,
    .labels = {"budget", "parent"}};
static struct metric_family peak = {.name = "vivace_memory_budget_peak_bytes",
    .help = "Most bytes that were charged to a budget at once",
    .type = METRIC_GAUGE,
    .labels = {"budget", "parent"}};
static struct metric_family cap = {.name = "vivace_memory_budget_cap_bytes",
    .help = "Cap of a budget, 0 when only those above it have one",
    .type = METRIC_GAUGE,
    .labels = {"budget", "parent"}};
static struct metric_family refused = {.name = "vivace_memory_budget_refused",
    .help = "Charges that did not fit into a budget since the start",
    .type = METRIC_GAUGE,
    .labels = {"budget", "parent"}};
static struct metric_family resident = {.name = "vivace_memory_resident_bytes",
    .help = "Memory of the process that is in RAM",
    .type = METRIC_GAUGE};
static struct metric_family allocated = {.name = "vivace_memory_allocated_bytes",
    .help = "Memory that is in use, as the allocator counts it",
    .type = METRIC_GAUGE};
static struct metric_family kept = {.name = "vivace_memory_kept_bytes",
    .help = "Memory that was freed and that the allocator keeps; part of it has no pages any more",
    .type = METRIC_GAUGE};

static void collect_budget(void *ctx, const struct budget_facts *b)
{
    (void)ctx;
    struct str name = str_from(b->name), parent = str_from(b->parent == NULL ? "" : b->parent);
    metric_set(metric_series2(&used, name, parent), (double)b->used);
    metric_set(metric_series2(&peak, name, parent), (double)b->peak);
    metric_set(metric_series2(&cap, name, parent), (double)b->cap);
    metric_set(metric_series2(&refused, name, parent), (double)b->refused);
}

static void collect(void *ctx)
{
    struct memory_stats s;
    (void)ctx;
    memory_stats(&s);
    metric_set(metric_series0(&resident), (double)s.resident);
    metric_set(metric_series0(&allocated), (double)s.allocated);
    metric_set(metric_series0(&kept), (double)s.kept);
    budget_each(collect_budget, NULL);
}

void memory_metrics_attach(void)
{
    metric_collector_add(collect, NULL);
}
