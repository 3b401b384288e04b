/* SPDX-License-Identifier: Apache-2.0
 * The simplified trace JSON that Tempo 3 offers for Accept: application/vnd.grafana.llm. */
#include "json_out.h"
#include "trace_out.h"

static void put_span_hex(struct buf *out, span_id id)
{
    uint8_t b[8];
    put_u64be(b, id);
    json_hex(out, b, 8);
}

/* A flat map; `skip` (may be empty) is left out. Nothing is written for an empty map. */
static void put_map(struct buf *out, bool *first, const char *key, const struct attr *attrs,
    uint32_t n, struct str skip)
{
    bool open = false;
    for (uint32_t i = 0; i < n; i++) {
        if (skip.n != 0 && str_eq(attrs[i].key, skip))
            continue;
        if (!open)
            json_key(out, first, key);
        buf_putc(out, open ? ',' : '{');
        open = true;
        json_str(out, attrs[i].key);
        buf_putc(out, ':');
        json_native(out, &attrs[i].value);
    }
    if (open)
        buf_putc(out, '}');
}

static const char *kind_name(uint32_t kind)
{
    static const char *const names[] = {"SPAN_KIND_UNSPECIFIED", "SPAN_KIND_INTERNAL",
        "SPAN_KIND_SERVER", "SPAN_KIND_CLIENT", "SPAN_KIND_PRODUCER", "SPAN_KIND_CONSUMER"};
    return kind < ARRAY_LEN(names) ? names[kind] : "SPAN_KIND_UNSPECIFIED";
}

static void put_events_links(struct buf *out, bool *first, const struct read_span *s)
{
    for (uint32_t i = 0; i < s->n_events; i++) {
        if (i == 0)
            json_key(out, first, "events");
        bool f = true;
        buf_putz(out, i == 0 ? "[{" : ",{");
        json_key(out, &f, "name");
        json_str(out, s->events[i].name);
        json_key(out, &f, "timeUnixNano");
        json_u64_str(out, s->events[i].time_ns);
        put_map(out, &f, "attributes", s->events[i].attrs, s->events[i].n_attrs, str_n(NULL, 0));
        buf_putz(out, i + 1 == s->n_events ? "}]" : "}");
    }
    for (uint32_t i = 0; i < s->n_links; i++) {
        if (i == 0)
            json_key(out, first, "links");
        bool f = true;
        buf_putz(out, i == 0 ? "[{" : ",{");
        json_key(out, &f, "traceId");
        json_hex(out, s->links[i].trace_id.b, 16);
        json_key(out, &f, "spanId");
        put_span_hex(out, s->links[i].span_id);
        put_map(out, &f, "attributes", s->links[i].attrs, s->links[i].n_attrs, str_n(NULL, 0));
        buf_putz(out, i + 1 == s->n_links ? "}]" : "}");
    }
}

static void put_span(struct buf *out, const struct read_span *s)
{
    static const char *const codes[] = {"STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"};
    bool f = true;
    buf_putc(out, '{');
    json_key(out, &f, "spanId");
    put_span_hex(out, s->span_id);
    json_key(out, &f, "name");
    json_str(out, s->name);
    if (s->parent_id != 0) {
        json_key(out, &f, "parentSpanId");
        put_span_hex(out, s->parent_id);
    }
    if (s->kind != 0) {
        json_key(out, &f, "kind");
        buf_printf(out, "\"%s\"", kind_name(s->kind));
    }
    json_key(out, &f, "startTimeUnixNano");
    json_u64_str(out, s->start_ns);
    json_key(out, &f, "endTimeUnixNano");
    json_u64_str(out, s->end_ns);
    json_key(out, &f, "durationMs");
    json_double(out, (double)(s->end_ns - s->start_ns) / 1e6);
    put_map(out, &f, "attributes", s->attrs, s->n_attrs, str_n(NULL, 0));
    put_events_links(out, &f, s);
    json_key(out, &f, "status");
    buf_printf(out, "{\"code\":\"%s\"", codes[s->status < 3 ? s->status : 0]);
    if (s->status_message.n != 0) {
        buf_putz(out, ",\"message\":");
        json_str(out, s->status_message);
    }
    buf_putz(out, "}}");
}

static struct str service_name(const struct read_resource *r)
{
    for (uint32_t i = 0; i < r->n_attrs; i++)
        if (str_eq(r->attrs[i].key, STR("service.name")) && r->attrs[i].value.type == VALUE_STR)
            return r->attrs[i].value.s;
    return str_n(NULL, 0);
}

void trace_out_llm(const struct trace_result *t, const struct trace_groups *g, struct buf *out)
{
    uint32_t scope = 0, at = 0;
    buf_putz(out, "{\"traceId\":");
    json_hex(out, t->spans[0].span.trace_id.b, 16);
    buf_putz(out, ",\"services\":[");
    for (uint32_t r = 0; r < g->n_resources; r++) {
        const struct read_resource *res = t->spans[g->order[at]].resource;
        bool f = true;
        buf_putz(out, r == 0 ? "{" : ",{");
        struct str service = service_name(res);
        if (service.n != 0) {
            json_key(out, &f, "serviceName");
            json_str(out, service);
        }
        put_map(out, &f, "resource", res->attrs, res->n_attrs, STR("service.name"));
        json_key(out, &f, "scopes");
        for (bool first = true; scope < g->resource_end[r]; scope++, first = false) {
            const struct read_scope *sc = t->spans[g->order[at]].scope;
            bool sf = true;
            buf_putz(out, first ? "[{" : ",{");
            if (sc->name.n != 0) {
                json_key(out, &sf, "name");
                json_str(out, sc->name);
            }
            if (sc->version.n != 0) {
                json_key(out, &sf, "version");
                json_str(out, sc->version);
            }
            json_key(out, &sf, "spans");
            for (bool fs = true; at < g->scope_end[scope]; at++, fs = false) {
                buf_putc(out, fs ? '[' : ',');
                put_span(out, &t->spans[g->order[at]].span);
            }
            buf_putz(out, "]}");
        }
        buf_putz(out, "]}");
    }
    buf_putz(out, "]}");
}
