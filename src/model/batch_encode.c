/* SPDX-License-Identifier: Apache-2.0
 * A batch back to OTLP, in the canonical encoding: fields in order, scalars left out at their
 * default, but resource, scope, status and ids always written (two bytes when empty). Spans are in
 * the order of the request, so runs of equal resource and scope numbers are its ResourceSpans and
 * ScopeSpans. */
#include "model/batch.h"
#include "model/otlp_write.h"

static void batch_put_str(struct buf *out, uint32_t field, struct str s)
{
    if (s.n != 0)
        pb_put_bytes(out, field, s);
}

static void batch_put_varint(struct buf *out, uint32_t field, uint64_t v)
{
    if (v != 0)
        pb_put_varint(out, field, v);
}

static void batch_put_fixed64(struct buf *out, uint32_t field, uint64_t v)
{
    if (v != 0)
        pb_put_fixed64(out, field, v);
}

static void batch_put_fixed32(struct buf *out, uint32_t field, uint32_t v)
{
    if (v != 0)
        pb_put_fixed32(out, field, v);
}

static void batch_put_trace_id(struct buf *out, uint32_t field, const struct trace_id *id)
{
    pb_put_bytes(out, field, str_n((const char *)id->b, trace_id_zero(id) ? 0 : sizeof(id->b)));
}

static void batch_put_span_id(struct buf *out, uint32_t field, span_id id)
{
    char b[8];
    put_u64be(b, id);
    pb_put_bytes(out, field, str_n(b, id == 0 ? 0 : sizeof(b)));
}

static void batch_put_attrs(
    struct buf *out, uint32_t field, const struct batch *b, uint32_t first, uint32_t n)
{
    for (uint32_t i = first; i < first + n; i++)
        pb_put_attr(out, field, b->attrs[i].key, &b->attrs[i].value);
}

static void batch_put_resource(struct buf *out, const struct batch *b, uint32_t i)
{
    const struct batch_resource *r = &b->resources[i];

    size_t mark = pb_begin(out, 1);
    batch_put_attrs(out, 1, b, r->attr_first, r->attr_n);
    batch_put_varint(out, 2, r->dropped_attrs);
    pb_end(out, mark);
}

static void batch_put_scope(struct buf *out, const struct batch *b, uint32_t i)
{
    const struct batch_scope *s = &b->scopes[i];

    size_t mark = pb_begin(out, 1);
    batch_put_str(out, 1, s->name);
    batch_put_str(out, 2, s->version);
    batch_put_attrs(out, 3, b, s->attr_first, s->attr_n);
    batch_put_varint(out, 4, s->dropped_attrs);
    pb_end(out, mark);
}

static void batch_put_event(struct buf *out, const struct batch *b, const struct batch_event *e)
{
    size_t mark = pb_begin(out, 11);
    batch_put_fixed64(out, 1, e->time_ns);
    batch_put_str(out, 2, e->name);
    batch_put_attrs(out, 3, b, e->attr_first, e->attr_n);
    batch_put_varint(out, 4, e->dropped_attrs);
    pb_end(out, mark);
}

static void batch_put_link(struct buf *out, const struct batch *b, const struct batch_link *l)
{
    size_t mark = pb_begin(out, 13);
    batch_put_trace_id(out, 1, &l->trace_id);
    batch_put_span_id(out, 2, l->span_id);
    batch_put_str(out, 3, l->trace_state);
    batch_put_attrs(out, 4, b, l->attr_first, l->attr_n);
    batch_put_varint(out, 5, l->dropped_attrs);
    batch_put_fixed32(out, 6, l->flags);
    pb_end(out, mark);
}

static void batch_put_span(struct buf *out, const struct batch *b, const struct batch_span *s)
{
    size_t mark = pb_begin(out, 2);
    batch_put_trace_id(out, 1, &s->trace_id);
    batch_put_span_id(out, 2, s->span_id);
    batch_put_str(out, 3, s->trace_state);
    batch_put_span_id(out, 4, s->parent_id);
    batch_put_str(out, 5, s->name);
    batch_put_varint(out, 6, (uint64_t)(int64_t)s->kind);
    batch_put_fixed64(out, 7, s->start_ns);
    batch_put_fixed64(out, 8, s->end_ns);
    batch_put_attrs(out, 9, b, s->attr_first, s->attr_n);
    batch_put_varint(out, 10, s->dropped_attrs);
    for (uint32_t i = s->event_first; i < s->event_first + s->event_n; i++)
        batch_put_event(out, b, &b->events[i]);
    batch_put_varint(out, 12, s->dropped_events);
    for (uint32_t i = s->link_first; i < s->link_first + s->link_n; i++)
        batch_put_link(out, b, &b->links[i]);
    batch_put_varint(out, 14, s->dropped_links);
    size_t status = pb_begin(out, 15);
    batch_put_str(out, 2, s->status_message);
    batch_put_varint(out, 3, (uint64_t)(int64_t)s->status_code);
    pb_end(out, status);
    batch_put_fixed32(out, 16, s->flags);
    pb_end(out, mark);
}

/* The end of a run: schema_url comes after the children. */
static void batch_end_scope(struct buf *out, const struct batch *b, uint32_t i, size_t mark)
{
    batch_put_str(out, 3, b->scopes[i].schema_url);
    pb_end(out, mark);
}

static void batch_end_resource(struct buf *out, const struct batch *b, uint32_t i, size_t mark)
{
    batch_put_str(out, 3, b->resources[i].schema_url);
    pb_end(out, mark);
}

void batch_encode(const struct batch *b, struct buf *out)
{
    size_t resource_mark = 0, scope_mark = 0;
    const struct batch_span *open = NULL; /* a span of the run that is being written */

    for (uint32_t i = 0; i < b->n_spans; i++) {
        const struct batch_span *s = &b->spans[i];
        if (s->reject != SPAN_ACCEPTED)
            continue;
        bool new_resource = open == NULL || open->resource != s->resource;
        bool new_scope = new_resource || open->scope != s->scope;
        if (open != NULL && new_scope)
            batch_end_scope(out, b, open->scope, scope_mark);
        if (open != NULL && new_resource)
            batch_end_resource(out, b, open->resource, resource_mark);
        if (new_resource) {
            resource_mark = pb_begin(out, 1);
            batch_put_resource(out, b, s->resource);
        }
        if (new_scope) {
            scope_mark = pb_begin(out, 2);
            batch_put_scope(out, b, s->scope);
        }
        batch_put_span(out, b, s);
        open = s;
    }
    if (open != NULL) {
        batch_end_scope(out, b, open->scope, scope_mark);
        batch_end_resource(out, b, open->resource, resource_mark);
    }
}
