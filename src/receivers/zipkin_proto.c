/* SPDX-License-Identifier: Apache-2.0
 * zipkin.proto3.ListOfSpans to OTLP protobuf. */
#include "pbc_rx.h"
#include "receivers/receivers.h"
#include "zipkin.h"
#include "zipkin.pb-c.h"

struct zipkin_proto {
    struct rx rx;
    const char *what; /* what was wrong, when it was not the budget */
};

static bool bad(struct zipkin_proto *p, const char *what)
{
    p->what = what;
    return false;
}

static bool endpoint_from(
    struct zipkin_proto *p, const ZipkinPb__Endpoint *from, struct zipkin_endpoint *e)
{
    if (from == NULL)
        return true;
    e->service = rx_pbc_str(from->service_name);
    e->port = from->port & 0xffff;
    return zipkin_ip_text(&p->rx, from->ipv4.data, from->ipv4.len, &e->ipv4) &&
           zipkin_ip_text(&p->rx, from->ipv6.data, from->ipv6.len, &e->ipv6);
}

static bool ids_from(struct zipkin_proto *p, const ZipkinPb__Span *from, struct rx_span *s)
{
    if (from->trace_id.len != 16)
        return bad(p, "invalid TraceID: wanted length 16");
    memcpy(s->trace_id.b, from->trace_id.data, 16);
    if (from->parent_id.len != 0 && from->parent_id.len != 8)
        return bad(p, "invalid ParentID: wanted length 8");
    if (from->parent_id.len != 0)
        s->parent_id = get_u64be(from->parent_id.data);
    if (from->id.len == 0)
        return bad(p, "expected a non-nil SpanID");
    if (from->id.len != 8)
        return bad(p, "invalid SpanID: wanted length 8");
    s->span_id = get_u64be(from->id.data);
    return true;
}

static bool span_from(struct zipkin_proto *p, const ZipkinPb__Span *from, struct zipkin_span *z)
{
    static const enum rx_kind kinds[] = {
        RX_UNSPECIFIED, RX_CLIENT, RX_SERVER, RX_PRODUCER, RX_CONSUMER};
    struct rx_span *s = &z->s;
    if (!ids_from(p, from, s) || !endpoint_from(p, from->local_endpoint, &z->local) ||
        !endpoint_from(p, from->remote_endpoint, &z->remote))
        return false;
    s->name = rx_pbc_str(from->name);
    s->kind = (uint32_t)from->kind < ARRAY_LEN(kinds) ? kinds[from->kind] : RX_UNSPECIFIED;
    s->start_ns = from->timestamp * 1000;
    s->end_ns = s->start_ns + from->duration * 1000;
    for (size_t i = 0; i < from->n_annotations; i++) {
        struct rx_event *e = RX_PUSH(&p->rx, &s->events);
        if (e == NULL)
            return false;
        e->time_ns = from->annotations[i]->timestamp * 1000;
        e->name = rx_pbc_str(from->annotations[i]->value);
    }
    for (size_t i = 0; i < from->n_tags; i++) {
        struct attr *a = RX_PUSH(&p->rx, &s->attrs);
        if (a == NULL)
            return false;
        *a =
            (struct attr){rx_pbc_str(from->tags[i]->key), rx_str(rx_pbc_str(from->tags[i]->value))};
    }
    return true;
}

enum ec zipkin_v2_proto_to_pb(struct bytes list, bool parse_tags, struct buf *out, struct err *err)
{
    size_t start = out->n;
    struct zipkin_proto p = {0};
    struct zipkin_spans spans = {0};
    rx_init(&p.rx, out->budget);
    const ZipkinPb__ListOfSpans *from =
        (const void *)rx_unpack(&p.rx, &zipkin_pb__list_of_spans__descriptor, list);
    bool ok = from != NULL;
    for (size_t i = 0; ok && i < from->n_spans; i++) {
        struct zipkin_span *z = RX_PUSH(&p.rx, &spans.l);
        ok = z != NULL && span_from(&p, from->spans[i], z);
    }
    ok = ok && zipkin_v2_put(&p.rx, &spans, parse_tags, out);
    bool over = p.rx.over || buf_failed(out);
    rx_deinit(&p.rx);
    if (ok && !over)
        return EC_OK;
    out->n = start;
    if (over)
        return ERR(err, EC_LIMIT, "zipkin proto: %zu bytes over the memory budget", list.n);
    return ERR(err, EC_INVALID, "zipkin proto: %s", p.what == NULL ? "malformed message" : p.what);
}
