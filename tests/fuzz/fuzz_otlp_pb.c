/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as an export request: decode, walk all that was found, encode, decode again. What comes
 * back must be the same batch, and must encode to the same bytes. */
#include "model/batch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static uint64_t sum; /* what was read, so that the compiler cannot leave the reading out */

static void touch(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        sum += (uint8_t)s.p[i];
}

static void walk_value(const struct value *v, unsigned depth)
{
    const char *c = NULL;
    struct value e;
    struct attr kv;

    ASSERT(depth <= VALUE_DEPTH_MAX);
    switch (v->type) {
    case VALUE_STR:
    case VALUE_BYTES:
        touch(v->s);
        break;
    case VALUE_ARRAY:
        while (value_array_next(v->s, &c, &e))
            walk_value(&e, depth + 1);
        break;
    case VALUE_KVLIST:
        while (value_kvlist_next(v->s, &c, &kv)) {
            touch(kv.key);
            walk_value(&kv.value, depth + 1);
        }
        break;
    default:
        sum += (uint64_t)v->i;
    }
}

static void walk_attrs(const struct batch *b, uint32_t first, uint32_t n)
{
    ASSERT((uint64_t)first + n <= b->n_attrs);
    for (uint32_t i = first; i < first + n; i++) {
        touch(b->attrs[i].key);
        walk_value(&b->attrs[i].value, 1);
    }
}

static void walk_span(const struct batch *b, const struct batch_span *s)
{
    ASSERT(s->resource < b->n_resources);
    ASSERT(s->scope < b->n_scopes);
    ASSERT((uint64_t)s->event_first + s->event_n <= b->n_events);
    ASSERT((uint64_t)s->link_first + s->link_n <= b->n_links);
    touch(s->name);
    touch(s->trace_state);
    touch(s->status_message);
    walk_attrs(b, s->attr_first, s->attr_n);
    for (uint32_t i = s->event_first; i < s->event_first + s->event_n; i++) {
        touch(b->events[i].name);
        walk_attrs(b, b->events[i].attr_first, b->events[i].attr_n);
    }
    for (uint32_t i = s->link_first; i < s->link_first + s->link_n; i++) {
        touch(b->links[i].trace_state);
        walk_attrs(b, b->links[i].attr_first, b->links[i].attr_n);
    }
}

static void walk(const struct batch *b)
{
    uint32_t n_rejected = 0;

    for (uint32_t i = 0; i < b->n_resources; i++) {
        touch(b->resources[i].raw);
        touch(b->resources[i].schema_url);
        walk_attrs(b, b->resources[i].attr_first, b->resources[i].attr_n);
    }
    for (uint32_t i = 0; i < b->n_scopes; i++) {
        touch(b->scopes[i].raw);
        touch(b->scopes[i].name);
        touch(b->scopes[i].version);
        walk_attrs(b, b->scopes[i].attr_first, b->scopes[i].attr_n);
    }
    for (uint32_t i = 0; i < b->n_spans; i++) {
        walk_span(b, &b->spans[i]);
        n_rejected += b->spans[i].reject != SPAN_ACCEPTED;
    }
    ASSERT(n_rejected == b->n_rejected);
}

static bool has_lists(const struct batch *b)
{
    for (uint32_t i = 0; i < b->n_attrs; i++)
        if (b->attrs[i].value.type == VALUE_ARRAY || b->attrs[i].value.type == VALUE_KVLIST)
            return true;
    return false;
}

static void check(struct bytes raw, const struct batch_limits *limits)
{
    struct budget budget;
    struct arena arena, again_arena;
    struct batch b, again;
    struct buf out = BUF_INIT, out2 = BUF_INIT;
    struct err err = {0};

    budget_init(&budget, NULL, "fuzz", 64 << 20);
    arena_init(&arena, &budget, 0);
    arena_init(&again_arena, &budget, 0);
    enum ec ec = batch_decode(&b, raw, limits, &arena, &err);
    if (ec == EC_OK) {
        walk(&b);
        batch_encode(&b, &out);
        ec = batch_decode(&again, buf_bytes(&out), NULL, &again_arena, &err);
        ASSERT(ec == EC_OK);
        walk(&again);
        ASSERT(again.n_rejected == 0);
        ASSERT(again.n_spans == b.n_spans - b.n_rejected);
        ASSERT(has_lists(&again) || again.canonical_bytes == out.n); /* lists stay as sent */
        batch_encode(&again, &out2);
        ASSERT(bytes_eq(buf_bytes(&out), buf_bytes(&out2)));
    } else {
        ASSERT(ec == EC_INVALID || ec == EC_LIMIT || ec == EC_TOO_LARGE);
        ASSERT(err.msg[0] != 0);
    }
    buf_deinit(&out);
    buf_deinit(&out2);
    arena_deinit(&arena);
    arena_deinit(&again_arena);
    budget_deinit(&budget);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const struct batch_limits tight = {
        .attr_bytes_max = 3, .spans_max = 4, .span_bytes_max = 100};

    check(bytes_n(data, n), NULL);
    check(bytes_n(data, n), &tight);
    return 0;
}
