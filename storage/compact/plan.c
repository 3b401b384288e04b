/* SPDX-License-Identifier: Apache-2.0
 * Size-tiered compaction within time windows.
 *
 * A block belongs to the window of its end (compaction_window, 1 h). In a window, blocks are taken
 * smallest first as long as the next is at most twice the sum of those taken: so the largest input
 * grows by half at least, and a span is rewritten O(log n) times, whatever the sizes. An open
 * window waits for four such blocks; a closed one (nothing on time comes any more, and nothing late
 * came just now) is satisfied with two and converges to one block, or as few as the output bounds
 * allow. WHY just now: spans of the past come by the thousand or not at all (a queue that was held
 * up, an import); merged in pairs while they come they would be written twice as often.
 *
 * A slow tenant makes small blocks for ever, one an hour. Blocks that stayed small are therefore
 * merged once more by day (24 windows), when the day is over and when that does not make data
 * outlive its retention by much: the wide window is at most an eighth of the retention period.
 *
 * INVARIANT: an output is within spans_max and bytes_max, and has at most inputs_max inputs.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "storage/compact.h"

#define OPEN_INPUTS_MIN   4
#define CLOSED_INPUTS_MIN 2
#define EQUAL_BYTES       (1u << 20)  /* blocks up to here count as equally small */
#define SMALL_BYTES       (16u << 20) /* of these a day's worth is merged */
#define WIDE_WINDOWS      24
#define LATE_NS           (600 * NS_PER_S) /* a window is closed this long after its end */

struct item {
    uint64_t window, bytes;
    uint32_t index;
};

static int item_order(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    if (x->window != y->window)
        return x->window > y->window ? -1 : 1; /* young windows first */
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? -1 : 1;
    return x->index < y->index ? -1 : 1;
}

static bool window_closed(const struct compact_rules *r, uint64_t window, uint64_t window_ns)
{
    uint64_t end, now = r->now_ns > LATE_NS ? (uint64_t)(r->now_ns - LATE_NS) : 0;
    if (__builtin_mul_overflow(window + 1, window_ns, &end))
        return false;
    return end < now;
}

/* A clock that was set back makes no window wait. */
static bool is_fresh(const struct compact_candidate *c, const struct compact_rules *r)
{
    uint64_t now = (uint64_t)r->now_ns;
    return c->max_arrival_ns <= now && now - c->max_arrival_ns < (uint64_t)r->quiet_ns;
}

/* The longest run of one window, smallest first, that satisfies the rules; its length or 0. */
static uint32_t run_length(const struct compact_candidate *c, const struct item *items, uint32_t n,
    const struct compact_rules *r, uint32_t inputs_min)
{
    uint64_t bytes = 0, spans = 0;
    uint32_t taken = 0;
    for (; taken < n && taken < r->inputs_max; taken++) {
        const struct compact_candidate *x = &c[items[taken].index];
        if (x->file_bytes > r->bytes_max - MIN(bytes, r->bytes_max) ||
            x->n_spans > r->spans_max - MIN(spans, r->spans_max))
            break;
        if (taken > 0 && x->file_bytes > EQUAL_BYTES && x->file_bytes / 2 > bytes)
            break;
        bytes += x->file_bytes;
        spans += x->n_spans;
    }
    return taken >= inputs_min ? taken : 0;
}

static void plan_take(struct compact_plan *ret, const struct item *items, uint32_t n)
{
    if (ret->n_inputs > 0)
        return; /* an earlier window goes first */
    ret->inputs = xmalloc(n * sizeof(*ret->inputs));
    ret->n_inputs = n;
    for (uint32_t i = 0; i < n; i++)
        ret->inputs[i] = items[i].index;
}

/* Goes over the windows of sorted items. Starting a run at each block lets one that does not
 * combine with the smallest combine with its like. */
static void windows_plan(const struct compact_candidate *c, const struct item *items, uint32_t n,
    const struct compact_rules *r, uint64_t window_ns, bool closed_only, struct compact_plan *ret)
{
    uint32_t end;
    for (uint32_t at = 0; at < n; at = end) {
        bool fresh = false;
        for (end = at; end < n && items[end].window == items[at].window; end++)
            fresh = fresh || is_fresh(&c[items[end].index], r);
        bool closed = !fresh && window_closed(r, items[at].window, window_ns);
        if (closed_only && !closed)
            continue;
        for (uint32_t from = at; from < end; from++) {
            uint32_t run = run_length(
                c, items + from, end - from, r, closed ? CLOSED_INPUTS_MIN : OPEN_INPUTS_MIN);
            if (run == 0)
                continue;
            plan_take(ret, items + from, run);
            ret->outstanding += end - from;
            break;
        }
    }
}

static uint32_t items_make(const struct compact_candidate *c, uint32_t n, uint64_t window_ns,
    uint64_t bytes_max, struct item *items)
{
    uint32_t k = 0;
    for (uint32_t i = 0; i < n; i++)
        if (c[i].eligible && c[i].file_bytes <= bytes_max)
            items[k++] = (struct item){c[i].max_end_ns / window_ns, c[i].file_bytes, i};
    if (k > 1)
        qsort(items, k, sizeof(*items), item_order);
    return k;
}

void compact_plan(const struct compact_candidate *c, uint32_t n, const struct compact_rules *r,
    struct compact_plan *ret)
{
    ASSERT(r->window_ns > 0);
    ASSERT(r->inputs_max >= CLOSED_INPUTS_MIN);
    *ret = (struct compact_plan){0};
    if (n < CLOSED_INPUTS_MIN)
        return;
    CLEANUP(freep) struct item *items = xmalloc(n * sizeof(*items));
    uint64_t window_ns = (uint64_t)r->window_ns;
    uint32_t k = items_make(c, n, window_ns, UINT64_MAX, items);
    windows_plan(c, items, k, r, window_ns, false, ret);

    uint64_t wide = MIN((uint64_t)WIDE_WINDOWS, (uint64_t)MAX(r->retention_ns, 0) / 8 / window_ns);
    if (wide < 2)
        return;
    k = items_make(c, n, window_ns * wide, SMALL_BYTES, items);
    windows_plan(c, items, k, r, window_ns * wide, true, ret);
}
