/* SPDX-License-Identifier: Apache-2.0
 * Any request that the decoder takes goes into a head within its reservation (head_insert asserts
 * it), comes back as it was sent, and goes in no second time. */
#include "storage/head.h"
#include "storage/span_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static bool attrs_same(
    const struct attr *a, uint32_t n, const struct batch *b, uint32_t first, uint32_t n_want)
{
    if (n != n_want)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        const struct attr *w = &b->attrs[first + i];
        if (!str_eq(a[i].key, w->key) || a[i].value.type != w->value.type)
            return false;
        switch (w->value.type) {
        case VALUE_INT:
        case VALUE_DOUBLE:
            if (memcmp(&a[i].value.i, &w->value.i, 8) != 0)
                return false;
            break;
        case VALUE_BOOL:
            if (a[i].value.b != w->value.b)
                return false;
            break;
        case VALUE_EMPTY:
            break;
        default:
            if (!str_eq(a[i].value.s, w->value.s))
                return false;
        }
    }
    return true;
}

/* Rows are in the order of the batch; duplicates within it were left out. */
static void check(const struct batch *b, const struct read_span *spans, uint32_t n)
{
    uint32_t at = 0;
    for (uint32_t i = 0; i < b->n_spans && at < n; i++) {
        const struct batch_span *w = &b->spans[i];
        const struct read_span *s = &spans[at];
        if (w->reject != SPAN_ACCEPTED || s->span_id != w->span_id ||
            !trace_id_eq(&s->trace_id, &w->trace_id) || s->kind != (uint32_t)w->kind)
            continue;
        ASSERT(s->parent_id == w->parent_id && s->start_ns == w->start_ns);
        ASSERT(s->end_ns == w->end_ns && s->status == (uint32_t)w->status_code);
        ASSERT(str_eq(s->name, w->name) && str_eq(s->trace_state, w->trace_state));
        ASSERT(str_eq(s->status_message, w->status_message));
        ASSERT(attrs_same(s->attrs, s->n_attrs, b, w->attr_first, w->attr_n));
        ASSERT(s->n_events == w->event_n && s->n_links == w->link_n);
        for (uint32_t k = 0; k < s->n_events; k++) {
            const struct batch_event *e = &b->events[w->event_first + k];
            ASSERT(
                attrs_same(s->events[k].attrs, s->events[k].n_attrs, b, e->attr_first, e->attr_n));
            ASSERT(s->events[k].time_ns == e->time_ns && str_eq(s->events[k].name, e->name));
        }
        for (uint32_t k = 0; k < s->n_links; k++) {
            const struct batch_link *l = &b->links[w->link_first + k];
            ASSERT(attrs_same(s->links[k].attrs, s->links[k].n_attrs, b, l->attr_first, l->attr_n));
            ASSERT(s->links[k].span_id == l->span_id);
        }
        at++;
    }
    ASSERT(at == n);
}

static void insert_and_check(struct head *h, const struct batch *b, struct budget *budget)
{
    struct part_reader *r;
    struct part_info info;
    struct arena arena;
    uint32_t dups, again, accepted = b->n_spans;
    for (uint32_t i = 0; i < b->n_spans; i++)
        accepted -= b->spans[i].reject != SPAN_ACCEPTED;
    /* By the quick bound, or by the one that looks at every span. */
    if (b->raw.n % 2 == 0)
        ASSERT(head_reserve(h, b, NULL) == EC_OK);
    else
        ASSERT(head_reserve_force(h, b, NULL) == EC_OK);
    head_insert(h, b, 1, &dups);
    ASSERT(head_reserve(h, b, NULL) == EC_OK);
    head_insert(h, b, 2, &again);
    ASSERT(again == accepted);
    arena_init(&arena, NULL, 0);
    ASSERT(part_reader_open(head_part(h), budget, &r, NULL) == EC_OK);
    part_info(r, &info);
    ASSERT(info.n_rows == accepted - dups);
    uint32_t *rows = ARENA_ARRAY(&arena, info.n_rows, uint32_t);
    struct read_span *spans = ARENA_ARRAY(&arena, info.n_rows, struct read_span);
    for (uint32_t i = 0; i < info.n_rows; i++)
        rows[i] = i;
    ASSERT(span_read(r, rows, info.n_rows, &arena, spans, NULL) == EC_OK);
    check(b, spans, info.n_rows);
    for (uint32_t t = 0; t < info.n_traces; t++) {
        struct part_trace trace;
        ASSERT(part_trace(r, t, &trace, NULL) == EC_OK);
        ASSERT(trace.start_ns <= trace.end_ns && trace.n_rows <= info.n_rows);
    }
    part_reader_close(r);
    arena_deinit(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct budget budget;
    struct arena arena;
    struct batch b;
    struct head *h;
    budget_init(&budget, NULL, "fuzz", 0);
    arena_init(&arena, &budget, 0);
    if (batch_decode(&b, bytes_n(data, n), &(struct batch_limits){0}, &arena, NULL) == EC_OK) {
        ASSERT(head_new(&budget, &h, NULL) == EC_OK);
        const struct head_limits limits = {.trace_bytes_max = n == 0 ? 0 : data[0] * 16u,
            .traces_live_max = n == 0 ? 0 : data[n - 1]};
        head_admit(h, &b, &limits, 1);
        insert_and_check(h, &b, &budget);
        head_free(h);
    }
    arena_deinit(&arena);
    budget_deinit(&budget);
    return 0;
}
