/* SPDX-License-Identifier: Apache-2.0
 * Admission by trace: bytes of one trace, and traces that are live.
 *
 * A trace is live while it got a span within the last idle_s seconds. The ring counts traces by the
 * second of their newest span, so that time passing costs one subtraction a second, not a walk.
 * Nothing here changes the head's traces: a batch that is admitted may still be refused later.
 */
#include <stdlib.h>

#include "base/defect.h"
#include "head_impl.h"

void head_live_init(struct head_live *l)
{
    *l = (struct head_live){.idle_s = HEAD_IDLE_S, .mask = 7};
    l->ring = xcalloc(l->mask + 1, sizeof(l->ring[0]));
}

void head_live_deinit(struct head_live *l)
{
    free(l->ring);
    l->ring = NULL;
}

bool head_live_has(const struct head_live *l, uint32_t seen_s)
{
    return seen_s <= l->now_s && l->now_s - seen_s <= l->idle_s;
}

void head_live_advance(struct head_live *l, uint32_t now_s)
{
    if (now_s <= l->now_s)
        return;
    uint32_t steps = MIN(now_s - l->now_s, l->mask + 1);
    for (uint32_t i = 1; i <= steps; i++) {
        /* After the step to now_s - steps + i, this second lies idle_s + 1 back. */
        uint32_t *gone = &l->ring[(now_s - steps + i - l->idle_s - 1) & l->mask];
        ASSERT(l->n >= *gone);
        l->n -= *gone;
        *gone = 0;
    }
    l->now_s = now_s;
}

void head_live_touch(struct head_live *l, bool had, uint32_t old_s, uint32_t now_s)
{
    if (had && head_live_has(l, old_s)) {
        ASSERT(l->ring[old_s & l->mask] > 0);
        l->ring[old_s & l->mask]--;
        l->n--;
    }
    if (head_live_has(l, now_s)) {
        l->ring[now_s & l->mask]++;
        l->n++;
    }
}

/* Another idle time: the ring is made again from the traces. Rare (a configuration change). */
static void head_live_resize(struct head *h, uint32_t idle_s)
{
    struct head_live *l = &h->live;
    uint32_t size = 8;
    while (size <= idle_s + 1)
        size *= 2;
    free(l->ring);
    *l = (struct head_live){.idle_s = idle_s, .now_s = l->now_s, .mask = size - 1};
    l->ring = xcalloc(size, sizeof(l->ring[0]));
    for (uint32_t i = 0; i < h->n_traces; i++)
        head_live_touch(l, false, 0, head_trace_at(h, i)->seen_s);
}

/* What the batch adds to a trace. */
struct admit_trace {
    struct trace_id id;
    uint64_t raw_bytes;
    bool used;
};
struct admit_table {
    struct admit_trace *slot;
    uint32_t mask;
    size_t bytes;
};

/* Charged past the cap: admission cannot fail, and this is smaller than the batch that is in memory
 * already. */
static void admit_table_init(struct admit_table *t, struct budget *budget, uint32_t n_spans)
{
    uint64_t cap = 16;
    while (cap < (uint64_t)n_spans + n_spans / 2)
        cap *= 2;
    t->mask = (uint32_t)(cap - 1);
    t->bytes = cap * sizeof(t->slot[0]);
    budget_take_force(budget, t->bytes);
    t->slot = xcalloc(cap, sizeof(t->slot[0]));
}

static void admit_table_deinit(struct admit_table *t, struct budget *budget)
{
    free(t->slot);
    budget_give(budget, t->bytes);
}

static struct admit_trace *admit_table_at(
    struct admit_table *t, const struct trace_id *id, uint32_t hash)
{
    for (uint32_t at = hash & t->mask;; at = (at + 1) & t->mask)
        if (!t->slot[at].used || trace_id_eq(&t->slot[at].id, id))
            return &t->slot[at];
}

void head_admit(struct head *h, struct batch *b, const struct head_limits *limits, uint32_t now_s)
{
    ASSERT(h->magic == HEAD_MAGIC);
    uint32_t idle_s = limits->idle_s == 0 ? HEAD_IDLE_S : MIN(limits->idle_s, HEAD_IDLE_S_MAX);
    if (idle_s != h->live.idle_s)
        head_live_resize(h, idle_s);
    head_live_advance(&h->live, now_s);
    if (limits->trace_bytes_max == 0 && limits->traces_live_max == 0)
        return;
    struct admit_table table;
    admit_table_init(&table, h->mem.budget, b->n_spans);
    uint64_t n_live = h->live.n;
    bool too_large = false;
    for (uint32_t i = 0; i < b->n_spans; i++) {
        struct batch_span *s = &b->spans[i];
        if (s->reject != SPAN_ACCEPTED)
            continue;
        uint32_t hash = head_trace_hash(h, &s->trace_id);
        uint32_t trace = head_trace_find(h, &s->trace_id, hash);
        const struct head_trace *t = trace == PROBE_NONE ? NULL : head_trace_at(h, trace);
        struct admit_trace *p = admit_table_at(&table, &s->trace_id, hash);
        uint64_t bytes = p->raw_bytes + (t == NULL ? 0 : t->raw_bytes) + s->raw_bytes;
        bool live = p->used || (t != NULL && head_live_has(&h->live, t->seen_s));
        if (limits->trace_bytes_max != 0 && bytes > limits->trace_bytes_max) {
            s->reject = SPAN_TRACE_TOO_LARGE;
            if (!too_large)
                b->too_large_stored_bytes = t == NULL ? 0 : t->raw_bytes;
            too_large = true;
        } else if (!live && limits->traces_live_max != 0 &&
                   n_live >= limits->traces_live_max + DEFECT(DEFECT_CAP_OFF_BY_ONE)) {
            s->reject = SPAN_TOO_MANY_TRACES;
        }
        if (s->reject != SPAN_ACCEPTED) {
            b->n_rejected++;
            continue;
        }
        n_live += live ? 0 : 1;
        *p = (struct admit_trace){s->trace_id, p->raw_bytes + s->raw_bytes, true};
    }
    admit_table_deinit(&table, h->mem.budget);
}
