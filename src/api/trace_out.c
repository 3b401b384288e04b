/* SPDX-License-Identifier: Apache-2.0
 * OTLP JSON and protobuf of a trace. Member order and omission rules are those of gogo jsonpb over
 * the OTLP messages: zero scalars omitted, `resource`, `scope` and `status` always present, ids in
 * base64. */
#include "trace_out.h"

#include "json_out.h"
#include "model/otlp_write.h"

static void put_id(struct buf *out, bool *first, const char *key, span_id id)
{
    if (id == 0)
        return;
    uint8_t b[8];
    put_u64be(b, id);
    json_key(out, first, key);
    json_base64(out, b, 8);
}

static void put_str(struct buf *out, bool *first, const char *key, struct str s)
{
    if (s.n == 0)
        return;
    json_key(out, first, key);
    json_str(out, s);
}

static void put_u32(struct buf *out, bool *first, const char *key, uint32_t v)
{
    if (v == 0)
        return;
    json_key(out, first, key);
    buf_printf(out, "%u", v);
}

static void put_time(struct buf *out, bool *first, const char *key, uint64_t ns)
{
    if (ns == 0)
        return;
    json_key(out, first, key);
    json_u64_str(out, ns);
}

const struct attr attrs_emptied[1];
const struct read_event events_emptied[1];

static void put_empty(struct buf *out, bool *first, const char *key)
{
    json_key(out, first, key);
    buf_putz(out, "[]");
}

static void put_attrs(struct buf *out, bool *first, const struct attr *attrs, uint32_t n)
{
    if (n == 0) {
        if (attrs == attrs_emptied)
            put_empty(out, first, "attributes");
        return;
    }
    json_key(out, first, "attributes");
    for (uint32_t i = 0; i < n; i++) {
        buf_putc(out, i == 0 ? '[' : ',');
        json_key_value(out, attrs[i].key, &attrs[i].value);
    }
    buf_putc(out, ']');
}

static void put_enum(
    struct buf *out, bool *first, const char *key, uint32_t v, const char *const *names, uint32_t n)
{
    if (v == 0)
        return;
    json_key(out, first, key);
    if (v < n)
        buf_printf(out, "\"%s\"", names[v]);
    else
        buf_printf(out, "%d", (int32_t)v);
}

static const char *const kind_names[] = {"SPAN_KIND_UNSPECIFIED", "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER", "SPAN_KIND_CLIENT", "SPAN_KIND_PRODUCER", "SPAN_KIND_CONSUMER"};
static const char *const status_names[] = {
    "STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"};

static void put_events(struct buf *out, bool *first, const struct read_span *s)
{
    if (s->n_events == 0) {
        if (s->events == events_emptied)
            put_empty(out, first, "events");
        return;
    }
    json_key(out, first, "events");
    for (uint32_t i = 0; i < s->n_events; i++) {
        const struct read_event *e = &s->events[i];
        bool f = true;
        buf_putz(out, i == 0 ? "[{" : ",{");
        put_time(out, &f, "timeUnixNano", e->time_ns);
        put_str(out, &f, "name", e->name);
        put_attrs(out, &f, e->attrs, e->n_attrs);
        put_u32(out, &f, "droppedAttributesCount", e->dropped_attrs);
        buf_putc(out, '}');
    }
    buf_putc(out, ']');
}

static void put_links(struct buf *out, bool *first, const struct read_span *s)
{
    if (s->n_links == 0)
        return;
    json_key(out, first, "links");
    for (uint32_t i = 0; i < s->n_links; i++) {
        const struct read_link *l = &s->links[i];
        bool f = true;
        buf_putz(out, i == 0 ? "[{" : ",{");
        if (!trace_id_zero(&l->trace_id)) {
            json_key(out, &f, "traceId");
            json_base64(out, l->trace_id.b, 16);
        }
        put_id(out, &f, "spanId", l->span_id);
        put_str(out, &f, "traceState", l->trace_state);
        put_attrs(out, &f, l->attrs, l->n_attrs);
        put_u32(out, &f, "droppedAttributesCount", l->dropped_attrs);
        put_u32(out, &f, "flags", l->flags);
        buf_putc(out, '}');
    }
    buf_putc(out, ']');
}

static void put_span(struct buf *out, const struct read_span *s)
{
    bool f = true;
    buf_putc(out, '{');
    json_key(out, &f, "traceId");
    json_base64(out, s->trace_id.b, 16);
    put_id(out, &f, "spanId", s->span_id);
    put_str(out, &f, "traceState", s->trace_state);
    put_id(out, &f, "parentSpanId", s->parent_id);
    put_u32(out, &f, "flags", s->flags);
    put_str(out, &f, "name", s->name);
    put_enum(out, &f, "kind", s->kind, kind_names, ARRAY_LEN(kind_names));
    put_time(out, &f, "startTimeUnixNano", s->start_ns);
    put_time(out, &f, "endTimeUnixNano", s->end_ns);
    put_attrs(out, &f, s->attrs, s->n_attrs);
    put_u32(out, &f, "droppedAttributesCount", s->dropped_attrs);
    put_events(out, &f, s);
    put_u32(out, &f, "droppedEventsCount", s->dropped_events);
    put_links(out, &f, s);
    put_u32(out, &f, "droppedLinksCount", s->dropped_links);
    json_key(out, &f, "status");
    buf_putc(out, '{');
    bool sf = true;
    put_str(out, &sf, "message", s->status_message);
    put_enum(out, &sf, "code", s->status, status_names, ARRAY_LEN(status_names));
    buf_putz(out, "}}");
}

/* An empty service.name is no service.name: Tempo leaves it out of the trace. */
static bool shown(const struct attr *a)
{
    return a->value.type != VALUE_STR || a->value.s.n != 0 || !str_eq(a->key, STR("service.name"));
}

static void put_resource(struct buf *out, const struct read_resource *r)
{
    bool f = true, any = false;
    buf_putz(out, "\"resource\":{");
    for (uint32_t i = 0; i < r->n_attrs; i++) {
        if (!shown(&r->attrs[i]))
            continue;
        if (!any)
            json_key(out, &f, "attributes");
        buf_putc(out, any ? ',' : '[');
        any = true;
        json_key_value(out, r->attrs[i].key, &r->attrs[i].value);
    }
    if (any)
        buf_putc(out, ']');
    else if (r->attrs == attrs_emptied)
        put_empty(out, &f, "attributes");
    put_u32(out, &f, "droppedAttributesCount", r->dropped_attrs);
    buf_putc(out, '}');
}

static void put_scope(struct buf *out, const struct read_scope *s)
{
    bool f = true;
    buf_putz(out, "\"scope\":{");
    put_str(out, &f, "name", s->name);
    put_str(out, &f, "version", s->version);
    put_attrs(out, &f, s->attrs, s->n_attrs);
    put_u32(out, &f, "droppedAttributesCount", s->dropped_attrs);
    buf_putc(out, '}');
}

void trace_out_json(
    const struct trace_result *t, const struct trace_groups *g, const char *key, struct buf *out)
{
    uint32_t scope = 0, at = 0;
    buf_putc(out, '{');
    for (uint32_t r = 0; r < g->n_resources; r++) {
        const struct read_resource *res = t->spans[g->order[at]].resource;
        if (r == 0)
            buf_printf(out, "\"%s\":[{", key);
        else
            buf_putz(out, ",{");
        put_resource(out, res);
        buf_putz(out, ",\"scopeSpans\":");
        for (bool first = true; scope < g->resource_end[r]; scope++, first = false) {
            const struct read_scope *sc = t->spans[g->order[at]].scope;
            buf_putz(out, first ? "[{" : ",{");
            put_scope(out, sc);
            buf_putz(out, ",\"spans\":");
            for (bool fs = true; at < g->scope_end[scope]; at++, fs = false) {
                buf_putc(out, fs ? '[' : ',');
                put_span(out, &t->spans[g->order[at]].span);
            }
            buf_putc(out, ']');
            bool f = false;
            put_str(out, &f, "schemaUrl", sc->schema_url);
            buf_putc(out, '}');
        }
        buf_putc(out, ']');
        bool f = false;
        put_str(out, &f, "schemaUrl", res->schema_url);
        buf_putc(out, '}');
    }
    if (g->n_resources != 0)
        buf_putc(out, ']');
    buf_putc(out, '}');
}

/* ---- protobuf ---- */

static void pb_id(struct buf *out, uint32_t field, span_id id)
{
    uint8_t b[8];
    put_u64be(b, id);
    if (id != 0)
        pb_put_bytes(out, field, str_n((const char *)b, 8));
}

static void pb_str(struct buf *out, uint32_t field, struct str s)
{
    if (s.n != 0)
        pb_put_bytes(out, field, s);
}

static void pb_u32(struct buf *out, uint32_t field, uint32_t v)
{
    if (v != 0)
        pb_put_varint(out, field, v);
}

static void pb_attrs(struct buf *out, uint32_t field, const struct attr *attrs, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        pb_put_attr(out, field, attrs[i].key, &attrs[i].value);
}

static void pb_span(struct buf *out, const struct read_span *s)
{
    size_t mark = pb_begin(out, 2);
    pb_put_bytes(out, 1, str_n((const char *)s->trace_id.b, 16));
    pb_id(out, 2, s->span_id);
    pb_str(out, 3, s->trace_state);
    pb_id(out, 4, s->parent_id);
    pb_str(out, 5, s->name);
    if (s->kind != 0)
        pb_put_varint(out, 6, (uint64_t)(int64_t)(int32_t)s->kind);
    pb_put_fixed64(out, 7, s->start_ns);
    pb_put_fixed64(out, 8, s->end_ns);
    pb_attrs(out, 9, s->attrs, s->n_attrs);
    pb_u32(out, 10, s->dropped_attrs);
    for (uint32_t i = 0; i < s->n_events; i++) {
        const struct read_event *e = &s->events[i];
        size_t m = pb_begin(out, 11);
        pb_put_fixed64(out, 1, e->time_ns);
        pb_str(out, 2, e->name);
        pb_attrs(out, 3, e->attrs, e->n_attrs);
        pb_u32(out, 4, e->dropped_attrs);
        pb_end(out, m);
    }
    pb_u32(out, 12, s->dropped_events);
    for (uint32_t i = 0; i < s->n_links; i++) {
        const struct read_link *l = &s->links[i];
        size_t m = pb_begin(out, 13);
        if (!trace_id_zero(&l->trace_id))
            pb_put_bytes(out, 1, str_n((const char *)l->trace_id.b, 16));
        pb_id(out, 2, l->span_id);
        pb_str(out, 3, l->trace_state);
        pb_attrs(out, 4, l->attrs, l->n_attrs);
        pb_u32(out, 5, l->dropped_attrs);
        if (l->flags != 0)
            pb_put_fixed32(out, 6, l->flags);
        pb_end(out, m);
    }
    pb_u32(out, 14, s->dropped_links);
    size_t st = pb_begin(out, 15);
    pb_str(out, 2, s->status_message);
    if (s->status != 0)
        pb_put_varint(out, 3, (uint64_t)(int64_t)(int32_t)s->status);
    pb_end(out, st);
    if (s->flags != 0)
        pb_put_fixed32(out, 16, s->flags);
    pb_end(out, mark);
}

/* The name that OpenTelemetry gives to a service that has none. */
static void pb_unnamed_service(struct buf *out)
{
    struct value v = {.type = VALUE_STR, .s = STR("unknown_service")};
    pb_put_attr(out, 1, STR("service.name"), &v);
}

void trace_out_proto(
    const struct trace_result *t, const struct trace_groups *g, bool name_services, struct buf *out)
{
    uint32_t scope = 0, at = 0;
    for (uint32_t r = 0; r < g->n_resources; r++) {
        const struct read_resource *res = t->spans[g->order[at]].resource;
        size_t rs = pb_begin(out, 1), m = pb_begin(out, 1);
        bool any = false;
        for (uint32_t i = 0; i < res->n_attrs; i++) {
            if (!shown(&res->attrs[i]))
                continue;
            pb_put_attr(out, 1, res->attrs[i].key, &res->attrs[i].value);
            any = true;
        }
        if (!any && name_services)
            pb_unnamed_service(out);
        pb_u32(out, 2, res->dropped_attrs);
        pb_end(out, m);
        for (; scope < g->resource_end[r]; scope++) {
            const struct read_scope *sc = t->spans[g->order[at]].scope;
            size_t ss = pb_begin(out, 2);
            m = pb_begin(out, 1);
            pb_str(out, 1, sc->name);
            pb_str(out, 2, sc->version);
            pb_attrs(out, 3, sc->attrs, sc->n_attrs);
            pb_u32(out, 4, sc->dropped_attrs);
            pb_end(out, m);
            for (; at < g->scope_end[scope]; at++)
                pb_span(out, &t->spans[g->order[at]].span);
            pb_str(out, 3, sc->schema_url);
            pb_end(out, ss);
        }
        pb_str(out, 3, res->schema_url);
        pb_end(out, rs);
    }
}
