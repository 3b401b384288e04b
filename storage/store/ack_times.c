/* SPDX-License-Identifier: Apache-2.0
 * What appends wait for, as a histogram, and a debug line for each sync that a slow ack waited for.
 *
 * An ack that comes late has waited for one of three: another append or a change of the tenant's
 * parts (its lock), the file system while it wrote the record or made a segment (the log), or the
 * device (the sync, one's own or the one before). Which one it is says where to look.
 */
#include "store_private.h"

#define SLOW_NS (50 * NS_PER_MS)

static const double bounds[] = {
    .0001, .0002, .0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5};

static struct metric_family waits = {.name = "vivace_ingest_wait_seconds",
    .help = "What an append waited for: the tenant's lock, the log's write, the log's sync",
    .type = METRIC_HISTOGRAM,
    .labels = {"step"},
    .bounds = bounds,
    .n_bounds = ARRAY_LEN(bounds)};
static struct metric *wait_lock, *wait_log, *wait_sync;

static void metrics_init(void)
{
    metric_register(&waits);
    wait_lock = metric_series1(&waits, STR("lock"));
    wait_log = metric_series1(&waits, STR("log"));
    wait_sync = metric_series1(&waits, STR("sync"));
}

void ack_times_init(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, metrics_init);
}

void ack_times_stored(const struct ack_times *times)
{
    metric_observe(wait_lock, (double)(times->locked_ns - times->begin_ns) / 1e9);
    metric_observe(wait_log, (double)times->log_ns / 1e9);
}

void ack_times_durable(
    const struct tenant *t, const struct waiter *list, int64_t sync_begin_ns, int64_t now_ns)
{
    const struct ack_times *slowest = NULL;
    for (const struct waiter *w = list; w != NULL; w = w->next) {
        metric_observe(wait_sync, (double)(now_ns - w->times.stored_ns) / 1e9);
        if (slowest == NULL || w->times.begin_ns < slowest->begin_ns)
            slowest = &w->times;
    }
    if (slowest == NULL || now_ns - slowest->begin_ns < SLOW_NS)
        return;
    log_event(LOG_DEBUG, "slow ack", LS("tenant", t->id), LD("took", now_ns - slowest->begin_ns),
        LD("lock", slowest->locked_ns - slowest->begin_ns), LD("log", slowest->log_ns),
        LD("head", slowest->stored_ns - slowest->locked_ns - slowest->log_ns),
        LD("queue", MAX(sync_begin_ns - slowest->stored_ns, (int64_t)0)),
        LD("sync", now_ns - MAX(sync_begin_ns, slowest->stored_ns)));
}
