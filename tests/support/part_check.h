/* SPDX-License-Identifier: Apache-2.0
 * For tests: does a part (head or block) hold exactly what a decoded batch says? Compares every
 * field of every accepted span through part_trace_find, part_trace_rows and span_read. */
#pragma once

#include "model/batch.h"
#include "storage/span_read.h"
#include "test_util.h"

#define assert_str(a, b) assert_true(str_eq((a), (b)))
#define assert_ok(e)                              \
    do {                                          \
        struct err err_ = {0}, *err = &err_;      \
        if ((e) != EC_OK)                         \
            fail_msg("%s: %s", #e, err_msg(err)); \
    } while (0)

static inline void check_attrs(
    const struct attr *got, uint32_t n, const struct attr *want, uint32_t n_want)
{
    assert_int_equal(n, n_want);
    for (uint32_t i = 0; i < n; i++) {
        assert_str(got[i].key, want[i].key);
        assert_int_equal(got[i].value.type, want[i].value.type);
        switch (want[i].value.type) {
        case VALUE_INT:
            assert_true(got[i].value.i == want[i].value.i);
            break;
        case VALUE_DOUBLE: /* bits, so that NaN equals itself */
            assert_memory_equal(&got[i].value.d, &want[i].value.d, 8);
            break;
        case VALUE_BOOL:
            assert_int_equal(got[i].value.b, want[i].value.b);
            break;
        case VALUE_EMPTY:
        case VALUE_TYPES:
            break;
        default:
            assert_str(got[i].value.s, want[i].value.s);
        }
    }
}

static inline void check_span(struct part_reader *r, const struct read_span *got,
    const struct batch *b, const struct batch_span *want, struct arena *arena)
{
    assert_true(trace_id_eq(&got->trace_id, &want->trace_id));
    assert_true(got->span_id == want->span_id);
    assert_true(got->parent_id == want->parent_id);
    assert_true(got->start_ns == want->start_ns);
    assert_true(got->end_ns == want->end_ns);
    assert_str(got->name, want->name);
    assert_str(got->trace_state, want->trace_state);
    assert_str(got->status_message, want->status_message);
    assert_int_equal(got->kind, (uint32_t)want->kind);
    assert_int_equal(got->status, (uint32_t)want->status_code);
    assert_int_equal(got->flags, want->flags);
    assert_int_equal(got->dropped_attrs, want->dropped_attrs);
    assert_int_equal(got->dropped_events, want->dropped_events);
    assert_int_equal(got->dropped_links, want->dropped_links);
    check_attrs(got->attrs, got->n_attrs, b->attrs + want->attr_first, want->attr_n);
    assert_int_equal(got->n_events, want->event_n);
    for (uint32_t i = 0; i < want->event_n; i++) {
        const struct batch_event *e = &b->events[want->event_first + i];
        assert_true(got->events[i].time_ns == e->time_ns);
        assert_str(got->events[i].name, e->name);
        assert_int_equal(got->events[i].dropped_attrs, e->dropped_attrs);
        check_attrs(
            got->events[i].attrs, got->events[i].n_attrs, b->attrs + e->attr_first, e->attr_n);
    }
    assert_int_equal(got->n_links, want->link_n);
    for (uint32_t i = 0; i < want->link_n; i++) {
        const struct batch_link *l = &b->links[want->link_first + i];
        assert_true(trace_id_eq(&got->links[i].trace_id, &l->trace_id));
        assert_true(got->links[i].span_id == l->span_id);
        assert_str(got->links[i].trace_state, l->trace_state);
        assert_int_equal(got->links[i].flags, l->flags);
        assert_int_equal(got->links[i].dropped_attrs, l->dropped_attrs);
        check_attrs(
            got->links[i].attrs, got->links[i].n_attrs, b->attrs + l->attr_first, l->attr_n);
    }
    struct read_resource res;
    struct read_scope scope;
    const struct batch_resource *br = &b->resources[want->resource];
    const struct batch_scope *bs = &b->scopes[want->scope];
    assert_ok(resource_read(r, got->resource, arena, &res, err));
    check_attrs(res.attrs, res.n_attrs, b->attrs + br->attr_first, br->attr_n);
    assert_int_equal(res.dropped_attrs, br->dropped_attrs);
    assert_str(res.schema_url, br->schema_url);
    assert_ok(scope_read(r, got->scope, arena, &scope, err));
    check_attrs(scope.attrs, scope.n_attrs, b->attrs + bs->attr_first, bs->attr_n);
    assert_int_equal(scope.dropped_attrs, bs->dropped_attrs);
    assert_str(scope.schema_url, bs->schema_url);
    assert_str(scope.name, bs->name);
    assert_str(scope.version, bs->version);
}

/* Every accepted span of the batch is in the part, once, with its own content. */
static inline void check_batch(struct part_reader *r, const struct batch *b)
{
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct trace_id id = {{0}};
    struct read_span *spans = NULL;
    uint32_t n = 0, trace;
    for (uint32_t i = 0; i < b->n_spans; i++) {
        const struct batch_span *want = &b->spans[i];
        if (want->reject != SPAN_ACCEPTED)
            continue;
        if (spans == NULL || !trace_id_eq(&id, &want->trace_id)) {
            uint32_t *rows;
            id = want->trace_id;
            assert_ok(part_trace_find(r, &id, &trace, err));
            assert_int_not_equal(trace, PART_NONE);
            assert_ok(part_trace_rows(r, trace, &arena, &rows, &n, err));
            spans = ARENA_ARRAY(&arena, n, struct read_span);
            assert_ok(span_read(r, rows, n, &arena, spans, err));
        }
        uint32_t found = 0;
        for (uint32_t k = 0; k < n; k++) {
            if (spans[k].span_id != want->span_id || spans[k].kind != (uint32_t)want->kind)
                continue;
            found++;
            check_span(r, &spans[k], b, want, &arena);
        }
        assert_int_equal(found, 1);
    }
    arena_deinit(&arena);
}
