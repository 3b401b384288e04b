/* SPDX-License-Identifier: Apache-2.0
 * The rules of retention. Who applies them: storage/store/expire.c. */
#include <stdlib.h>

#include "base/clock.h"
#include "storage/retention.h"

int64_t retention_newest_ns(const struct block_facts *f, int64_t now_ns, int64_t slack_ns)
{
    ASSERT(slack_ns >= 0);
    /* Arrivals are kept in whole seconds: what came late in that one must not go before its
     * time. */
    int64_t arrival = ((int64_t)f->max_arrival_s + 1) * NS_PER_S - 1;
    uint64_t limit = (uint64_t)MAX(now_ns, 0) + (uint64_t)slack_ns;
    int64_t end = (int64_t)MIN(MIN(f->max_end_ns, limit), (uint64_t)INT64_MAX);
    return MAX(end, arrival);
}

bool retention_expired(
    const struct block_facts *f, int64_t now_ns, int64_t slack_ns, int64_t retention_ns)
{
    ASSERT(retention_ns > 0);
    return retention_newest_ns(f, now_ns, slack_ns) < now_ns - retention_ns;
}

static int oldest_first(const void *a, const void *b)
{
    const struct retention_item *x = a, *y = b;
    if (x->newest_ns != y->newest_ns)
        return x->newest_ns < y->newest_ns ? -1 : 1;
    if (x->end_ns != y->end_ns)
        return x->end_ns < y->end_ns ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

size_t retention_by_size(struct retention_item *items, size_t n, uint64_t bytes_max)
{
    uint64_t left = 0;
    size_t taken = 0;
    for (size_t i = 0; i < n; i++)
        left += items[i].bytes;
    if (bytes_max == 0 || left <= bytes_max)
        return 0;
    uint64_t newest_kept = left / 10;
    qsort(items, n, sizeof(*items), oldest_first);
    while (taken + 1 < n && left > bytes_max && left - items[taken].bytes >= newest_kept)
        left -= items[taken++].bytes;
    return taken;
}
