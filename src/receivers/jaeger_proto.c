/* SPDX-License-Identifier: Apache-2.0
 * jaeger.api_v2.PostSpansRequest to OTLP protobuf. Spans may carry a process of their own and a
 * scope among their tags, so they are regrouped by both. */
#include "jaeger.h"
#include "jaeger.pb-c.h"
#include "pbc_rx.h"
#include "receivers/receivers.h"

struct jaeger_proto {
    struct rx rx;
    const char *what; /* what was wrong, when it was not the budget */
};

static bool bad(struct jaeger_proto *p, const char *what)
{
    p->what = what;
    return false;
}

static bool attr_from(struct rx *rx, const JaegerPb__KeyValue *kv, struct attr *ret)
{
    enum { STRING, BOOL, INT64, FLOAT64, BINARY };
    ret->key = rx_pbc_str(kv->key);
    switch (kv->v_type) {
    case STRING:
        ret->value = rx_str(rx_pbc_str(kv->v_str));
        return true;
    case BOOL:
        ret->value = (struct value){.type = VALUE_BOOL, .b = kv->v_bool};
        return true;
    case INT64:
        ret->value = rx_int(kv->v_int64);
        return true;
    case FLOAT64:
        ret->value = (struct value){.type = VALUE_DOUBLE, .d = kv->v_float64};
        return true;
    case BINARY:
        ret->value = (struct value){.type = VALUE_BYTES, .s = rx_pbc_str(kv->v_binary)};
        return true;
    default:
        return jaeger_tag_unknown(rx, kv->v_type, &ret->value);
    }
}

static bool attrs_from(struct rx *rx, JaegerPb__KeyValue *const *kvs, size_t n, struct rx_attrs *a)
{
    for (size_t i = 0; i < n; i++) {
        struct attr *at = RX_PUSH(rx, a);
        if (at == NULL || !attr_from(rx, kvs[i], at))
            return false;
    }
    return true;
}

/* 16 bytes, or the low 8; absent is zero. */
static bool trace_id_from(struct jaeger_proto *p, ProtobufCBinaryData b, struct trace_id *ret)
{
    *ret = (struct trace_id){0};
    if (b.len != 0 && b.len != 8 && b.len != 16)
        return bad(p, "invalid length for TraceID");
    if (b.len != 0)
        memcpy(ret->b + 16 - b.len, b.data, b.len);
    return true;
}

static bool span_id_from(struct jaeger_proto *p, ProtobufCBinaryData b, span_id *ret)
{
    if (b.len != 0 && b.len != 8)
        return bad(p, "invalid length for SpanID");
    *ret = b.len == 0 ? 0 : get_u64be(b.data);
    return true;
}

static uint64_t ns_from(const JaegerPb__Time *t)
{
    return t == NULL ? 0 : (uint64_t)t->seconds * 1000000000u + (uint64_t)(int64_t)t->nanos;
}

static bool refs_from(struct jaeger_proto *p, const JaegerPb__Span *from, struct jaeger_span *j)
{
    for (size_t i = 0; i < from->n_references; i++) {
        const JaegerPb__SpanRef *r = from->references[i];
        struct jaeger_ref *ref = RX_PUSH(&p->rx, &j->refs);
        if (ref == NULL || !trace_id_from(p, r->trace_id, &ref->trace_id) ||
            !span_id_from(p, r->span_id, &ref->span_id))
            return false;
        ref->type = r->ref_type;
    }
    return true;
}

static bool span_from(struct jaeger_proto *p, const JaegerPb__Span *from, struct jaeger_span *j)
{
    struct rx_span *s = &j->s;
    if (!trace_id_from(p, from->trace_id, &s->trace_id) ||
        !span_id_from(p, from->span_id, &s->span_id) || !refs_from(p, from, j))
        return false;
    s->name = rx_pbc_str(from->operation_name);
    s->start_ns = ns_from(from->start_time);
    s->end_ns = s->start_ns + ns_from(from->duration);
    for (size_t i = 0; i < from->n_logs; i++) {
        const JaegerPb__Log *log = from->logs[i];
        struct rx_event *e = RX_PUSH(&p->rx, &s->events);
        if (e == NULL || !attrs_from(&p->rx, log->fields, log->n_fields, &e->attrs))
            return false;
        e->time_ns = ns_from(log->timestamp);
    }
    return attrs_from(&p->rx, from->tags, from->n_tags, &s->attrs);
}

/* The resource of a process, encoded. */
static bool resource_from(struct jaeger_proto *p, const JaegerPb__Process *from, struct str *ret)
{
    struct jaeger_process process = {0};
    if (from != NULL) {
        process.service = rx_pbc_str(from->service_name);
        if (!attrs_from(&p->rx, from->tags, from->n_tags, &process.tags) ||
            !jaeger_map_process(&p->rx, &process, true))
            return false;
    }
    return rx_resource(&p->rx, &process.tags, ret);
}

static bool batch_from(struct jaeger_proto *p, const JaegerPb__Batch *batch, struct buf *out)
{
    struct rx_item *items = rx_array(&p->rx, batch->n_spans, sizeof(*items));
    struct jaeger_span *spans = rx_array(&p->rx, batch->n_spans, sizeof(*spans));
    struct str resource;
    uint32_t n = 0;
    if (items == NULL || spans == NULL || !resource_from(p, batch->process, &resource))
        return false;
    for (size_t i = 0; i < batch->n_spans; i++) {
        const JaegerPb__Span *from = batch->spans[i];
        struct jaeger_span *j = &spans[n];
        *j = (struct jaeger_span){0};
        if (!span_from(p, from, j))
            return false;
        if (jaeger_span_blank(j))
            continue;
        if (!jaeger_map_span(&p->rx, j, true))
            return false;
        struct rx_item *item = &items[n++];
        *item = (struct rx_item){.resource = resource,
            .scope_name = j->scope_name,
            .scope_version = j->scope_version,
            .span = &j->s};
        if (from->process != NULL && !resource_from(p, from->process, &item->resource))
            return false;
        item->group = item->resource;
    }
    struct rx_item **order = rx_items_order(&p->rx, items, n);
    if (order == NULL)
        return false;
    rx_put_items(out, order, n);
    return true;
}

enum ec jaeger_proto_to_pb(struct bytes request, struct buf *out, struct err *err)
{
    size_t start = out->n;
    struct jaeger_proto p = {0};
    rx_init(&p.rx, out->budget);
    const JaegerPb__PostSpansRequest *r =
        (const void *)rx_unpack(&p.rx, &jaeger_pb__post_spans_request__descriptor, request);
    bool ok = r != NULL && (r->batch == NULL || batch_from(&p, r->batch, out));
    bool over = p.rx.over || buf_failed(out);
    rx_deinit(&p.rx);
    if (ok && !over)
        return EC_OK;
    out->n = start;
    if (over)
        return ERR(err, EC_LIMIT, "jaeger proto: %zu bytes over the memory budget", request.n);
    return ERR(err, EC_INVALID, "jaeger proto: %s", p.what == NULL ? "malformed message" : p.what);
}
