/* SPDX-License-Identifier: Apache-2.0
 * Zipkin v1 in Thrift's binary protocol (a bare list<Span>) to OTLP protobuf. */
#include "receivers/receivers.h"
#include "thrift_read.h"
#include "zipkin.h"

#define KEY(id, type) ((uint32_t)(uint16_t)(id) << 8 | (type))

struct zipkin_thrift {
    struct thrift_reader r;
    struct rx rx;
};

static bool host_read(struct zipkin_thrift *t, struct zipkin_endpoint *e)
{
    struct thrift_field f = {0};
    struct str ipv6 = {0};
    int32_t ipv4 = 0;
    int16_t port = 0;
    uint8_t b[4];
    while (thrift_next(&t->r, &f)) {
        bool ok;
        switch (KEY(f.id, f.type)) {
        case KEY(1, THRIFT_I32):
            ok = thrift_i32(&t->r, &ipv4);
            break;
        case KEY(2, THRIFT_I16):
            ok = thrift_i16(&t->r, &port);
            break;
        case KEY(3, THRIFT_STRING):
            ok = thrift_string(&t->r, &e->service);
            break;
        case KEY(4, THRIFT_STRING):
            ok = thrift_string(&t->r, &ipv6);
            break;
        default:
            ok = thrift_skip(&t->r, &f);
        }
        if (!ok)
            return false;
    }
    e->port = port;
    put_u32be(b, (uint32_t)ipv4);
    if (ipv4 != 0 && !zipkin_ip_text(&t->rx, b, 4, &e->ipv4))
        return false;
    return zipkin_ip_text(&t->rx, (const uint8_t *)ipv6.p, ipv6.n, &e->ipv6);
}

static bool note_read(struct zipkin_thrift *t, struct zipkin_v1_span *span)
{
    struct zipkin_note *note = RX_PUSH(&t->rx, &span->notes);
    struct thrift_field f = {0};
    if (note == NULL)
        return false;
    while (thrift_next(&t->r, &f)) {
        bool ok;
        switch (KEY(f.id, f.type)) {
        case KEY(1, THRIFT_I64):
            ok = thrift_i64(&t->r, &note->us);
            break;
        case KEY(2, THRIFT_STRING):
            ok = thrift_string(&t->r, &note->value);
            break;
        case KEY(3, THRIFT_STRUCT):
            ok = host_read(t, &note->host);
            break;
        default:
            ok = thrift_skip(&t->r, &f);
        }
        if (!ok)
            return false;
    }
    return t->r.what == NULL;
}

/* n bytes big-endian, as an unsigned number below 8 bytes: the reference has it so. */
static struct value number_from(struct str bytes, size_t n)
{
    uint64_t v = 0;
    if (bytes.n < n)
        return rx_str(STR("<not enough bytes representing the number>"));
    for (size_t i = 0; i < n; i++)
        v = v << 8 | (uint8_t)bytes.p[i];
    return rx_int((int64_t)v);
}

static bool value_from(struct zipkin_thrift *t, int32_t type, struct str bytes, struct value *ret)
{
    enum { BOOL, BYTES, I16, I32, I64, DOUBLE, STRING };
    char *text;
    switch (type) {
    case BOOL:
        *ret = (struct value){.type = VALUE_BOOL, .b = bytes.n == 1 && bytes.p[0] == 1};
        return true;
    case BYTES:
        text = rx_array(&t->rx, base64_size(bytes.n) + 1, 1);
        if (text == NULL)
            return false;
        *ret = rx_str(str_n(text, base64_encode(text, bytes_of_str(bytes))));
        return true;
    case I16:
        *ret = number_from(bytes, 2);
        return true;
    case I32:
        *ret = number_from(bytes, 4);
        return true;
    case I64:
        *ret = number_from(bytes, 8);
        return true;
    case DOUBLE:
        *ret = number_from(bytes, 8);
        if (ret->type == VALUE_INT) {
            uint64_t bits = (uint64_t)ret->i;
            ret->type = VALUE_DOUBLE;
            memcpy(&ret->d, &bits, 8);
        }
        return true;
    case STRING:
        *ret = rx_str(bytes);
        return true;
    default:
        text = arena_printf(&t->rx.arena, "<unknown zipkin v1 binary annotation type (%d)>", type);
        t->rx.over |= text == NULL;
        *ret = rx_str(str_from(text));
        return text != NULL;
    }
}

static bool tag_read(struct zipkin_thrift *t, struct zipkin_v1_span *span)
{
    struct zipkin_tag *tag = RX_PUSH(&t->rx, &span->tags);
    struct thrift_field f = {0};
    struct zipkin_endpoint host = {0};
    struct str bytes = {0};
    int32_t type = 0;
    if (tag == NULL)
        return false;
    while (thrift_next(&t->r, &f)) {
        bool ok;
        switch (KEY(f.id, f.type)) {
        case KEY(1, THRIFT_STRING):
            ok = thrift_string(&t->r, &tag->key);
            break;
        case KEY(2, THRIFT_STRING):
            ok = thrift_string(&t->r, &bytes);
            break;
        case KEY(3, THRIFT_I32):
            ok = thrift_i32(&t->r, &type);
            break;
        case KEY(4, THRIFT_STRUCT):
            ok = host_read(t, &host);
            break;
        default:
            ok = thrift_skip(&t->r, &f);
        }
        if (!ok)
            return false;
    }
    tag->service = host.service;
    return t->r.what == NULL && value_from(t, type, bytes, &tag->value);
}

static bool each_read(struct zipkin_thrift *t, struct zipkin_v1_span *span,
    bool (*read)(struct zipkin_thrift *, struct zipkin_v1_span *))
{
    uint32_t n;
    if (!thrift_structs(&t->r, &n))
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (!read(t, span))
            return false;
    return true;
}

static bool span_read(struct zipkin_thrift *t, struct zipkin_v1_span *span)
{
    struct thrift_field f = {0};
    int64_t low = 0, high = 0, id = 0, parent = 0;
    while (thrift_next(&t->r, &f)) {
        bool ok;
        switch (KEY(f.id, f.type)) {
        case KEY(1, THRIFT_I64):
            ok = thrift_i64(&t->r, &low);
            break;
        case KEY(3, THRIFT_STRING):
            ok = thrift_string(&t->r, &span->s.name);
            break;
        case KEY(4, THRIFT_I64):
            ok = thrift_i64(&t->r, &id);
            break;
        case KEY(5, THRIFT_I64):
            ok = thrift_i64(&t->r, &parent);
            break;
        case KEY(6, THRIFT_LIST):
            ok = each_read(t, span, note_read);
            break;
        case KEY(8, THRIFT_LIST):
            ok = each_read(t, span, tag_read);
            break;
        case KEY(10, THRIFT_I64):
            ok = thrift_i64(&t->r, &span->start_us);
            span->has_start = true;
            break;
        case KEY(11, THRIFT_I64):
            ok = thrift_i64(&t->r, &span->duration_us);
            break;
        case KEY(12, THRIFT_I64):
            ok = thrift_i64(&t->r, &high);
            break;
        default:
            ok = thrift_skip(&t->r, &f);
        }
        if (!ok)
            return false;
    }
    span->s.trace_id = rx_trace_id((uint64_t)high, (uint64_t)low);
    span->s.span_id = (uint64_t)id;
    span->s.parent_id = (uint64_t)parent;
    return t->r.what == NULL;
}

static bool spans_read(struct zipkin_thrift *t, struct zipkin_v1_spans *spans)
{
    uint32_t n;
    if (!thrift_structs(&t->r, &n))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        struct zipkin_v1_span *span = RX_PUSH(&t->rx, &spans->l);
        if (span == NULL || !span_read(t, span))
            return false;
    }
    return true;
}

enum ec zipkin_v1_thrift_to_pb(struct bytes list, struct buf *out, struct err *err)
{
    size_t start = out->n;
    struct zipkin_thrift t;
    struct zipkin_v1_spans spans = {0};
    thrift_init(&t.r, list, false);
    rx_init(&t.rx, out->budget);
    bool ok = spans_read(&t, &spans) && zipkin_v1_put(&t.rx, &spans, out);
    bool over = t.rx.over || buf_failed(out);
    rx_deinit(&t.rx);
    if (ok && !over)
        return EC_OK;
    out->n = start;
    if (over)
        return ERR(err, EC_LIMIT, "zipkin thrift: %zu bytes over the memory budget", list.n);
    return ERR(
        err, EC_INVALID, "zipkin thrift: %s at byte %zu", t.r.what, (size_t)(t.r.at - t.r.base));
}
