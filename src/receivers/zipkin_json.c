/* SPDX-License-Identifier: Apache-2.0
 * Zipkin JSON, versions 2 and 1, to OTLP protobuf. Keys match in any case, as Go's decoder has
 * it, unknown ones are skipped, and null leaves a member as if it were absent. */
#include <arpa/inet.h>
#include <stdlib.h>

#include "json_read.h"
#include "receivers/receivers.h"
#include "zipkin.h"

struct zipkin_json {
    struct json_reader r;
    struct rx rx;
    bool parse_tags;
};

/* The place of a key in a table of names; the number of names when it is unknown. Clients write
 * keys in one order, so the search starts after the last hit. */
static unsigned key_of(const char *const *names, unsigned n, struct str key, unsigned *next)
{
    for (unsigned i = 0; i < n; i++) {
        unsigned at = *next + i < n ? *next + i : *next + i - n;
        if (str_ieq(key, str_from(names[at]))) {
            *next = at + 1 < n ? at + 1 : 0;
            return at;
        }
    }
    return n;
}

/* Members of an object: `case` for each name; null is passed over. */
struct members {
    const char *const *names;
    unsigned n, next;
    bool first;
};
#define MEMBERS(table)                                         \
    {                                                          \
        .names = (table), .n = ARRAY_LEN(table), .first = true \
    }

/* The next member with a value that is not null: *ret is its number. False at the end, and on
 * errors: see r->what. */
static bool member_next(struct zipkin_json *z, struct members *m, unsigned *ret)
{
    struct str key;
    bool more;
    do {
        if (!json_object_next(&z->r, &m->first, &more, &key) || !more)
            return false;
        *ret = key_of(m->names, m->n, key, &m->next);
    } while (json_null(&z->r));
    return true;
}

/* A string that outlives the next one. */
static bool text_read(struct zipkin_json *z, struct str *ret)
{
    if (!json_string(&z->r, ret))
        return false;
    if (ret->n != 0 && (const uint8_t *)ret->p == z->r.text.p)
        return rx_copy(&z->rx, ret);
    return true;
}

static bool uint_read(struct zipkin_json *z, uint64_t max, uint64_t *ret)
{
    struct json_number num;
    if (!json_number(&z->r, &num))
        return false;
    if (!str_to_u64(num.text, ret) || *ret > max)
        return json_fail(&z->r, "unsigned integer expected, or out of range");
    return true;
}

static bool int_read(struct zipkin_json *z, int64_t *ret)
{
    struct json_number num;
    if (!json_number(&z->r, &num))
        return false;
    return str_to_i64(num.text, ret) || json_fail(&z->r, "integer expected, or out of range");
}

/* Up to 16 hex digits; none is 0. */
static bool id_read(struct zipkin_json *z, span_id *ret)
{
    struct str hex;
    struct trace_id wide = {0};
    if (!json_string(&z->r, &hex))
        return false;
    if (hex.n > 16 || (hex.n != 0 && !trace_id_parse(&wide, hex)))
        return json_fail(&z->r, "id is not 1 to 16 hex digits");
    *ret = get_u64be(wide.b + 8);
    return true;
}

/* ---- shared by the versions ---- */

static bool ip_read(struct zipkin_json *z, struct str *ret)
{
    char zero[INET6_ADDRSTRLEN];
    uint8_t b[16];
    struct str text;
    if (!json_string(&z->r, &text))
        return false;
    *ret = (struct str){0};
    if (text.n == 0)
        return true;
    if (text.n < sizeof(zero)) {
        memcpy(zero, text.p, text.n);
        zero[text.n] = 0;
        if (inet_pton(AF_INET, zero, b) == 1)
            return zipkin_ip_text(&z->rx, b, 4, ret);
        if (inet_pton(AF_INET6, zero, b) == 1)
            return zipkin_ip_text(&z->rx, b, 16, ret);
    }
    return json_fail(&z->r, "invalid IP address");
}

/* Version 1 takes any text as an address and any number as a port. */
static bool port_read(struct zipkin_json *z, bool v1, int32_t *ret)
{
    int64_t port;
    if (!int_read(z, &port))
        return false;
    if (v1 ? port < INT32_MIN || port > INT32_MAX : port < 0 || port > UINT16_MAX)
        return json_fail(&z->r, "port out of range");
    *ret = (int32_t)port;
    return true;
}

static bool endpoint_read(struct zipkin_json *z, bool v1, struct zipkin_endpoint *e)
{
    enum { SERVICE, IPV4, IPV6, PORT };
    static const char *const names[] = {"serviceName", "ipv4", "ipv6", "port"};
    struct members m = MEMBERS(names);
    unsigned member;
    if (!json_open(&z->r, '{'))
        return false;
    while (member_next(z, &m, &member)) {
        struct str *ip = member == IPV4 ? &e->ipv4 : &e->ipv6;
        if (member == SERVICE                  ? !text_read(z, &e->service)
            : member == IPV4 || member == IPV6 ? !(v1 ? text_read : ip_read)(z, ip)
            : member == PORT                   ? !port_read(z, v1, &e->port)
                                               : !json_skip(&z->r))
            return false;
    }
    return z->r.what == NULL;
}

/* Calls read for each element of an array that is not null. */
static bool each_read(struct zipkin_json *z, void *into, bool (*read)(struct zipkin_json *, void *))
{
    bool first = true, more;
    if (!json_open(&z->r, '['))
        return false;
    for (;;) {
        if (!json_array_next(&z->r, &first, &more))
            return false;
        if (!more)
            return true;
        if (!json_null(&z->r) && !read(z, into))
            return false;
    }
}

/* ---- version 2 ---- */

static bool annotation_read(struct zipkin_json *z, void *into)
{
    struct rx_span *s = into;
    struct rx_event *e = RX_PUSH(&z->rx, &s->events);
    enum { TIMESTAMP, VALUE };
    static const char *const names[] = {"timestamp", "value"};
    struct members m = MEMBERS(names);
    unsigned member;
    uint64_t us = 0;
    if (e == NULL || !json_open(&z->r, '{'))
        return false;
    while (member_next(z, &m, &member))
        if (member == TIMESTAMP ? !uint_read(z, UINT64_MAX, &us)
            : member == VALUE   ? !text_read(z, &e->name)
                                : !json_skip(&z->r))
            return false;
    e->time_ns = us * 1000;
    return z->r.what == NULL &&
           (us != 0 || json_fail(&z->r, "valid annotation timestamp required"));
}

static bool tags_read(struct zipkin_json *z, struct rx_attrs *a)
{
    bool first = true, more;
    struct str key, value;
    if (!json_open(&z->r, '{'))
        return false;
    for (;;) {
        if (!json_object_next(&z->r, &first, &more, &key))
            return false;
        if (!more)
            return true;
        if ((const uint8_t *)key.p == z->r.text.p && !rx_copy(&z->rx, &key))
            return false;
        value = (struct str){0};
        if (!json_null(&z->r) && !text_read(z, &value))
            return false;
        struct attr *at = RX_PUSH(&z->rx, a);
        if (at == NULL)
            return false;
        *at = (struct attr){key, rx_str(value)};
    }
}

static bool kind_read(struct zipkin_json *z, enum rx_kind *ret)
{
    static const struct {
        const char *name;
        enum rx_kind kind;
    } kinds[] = {{"CLIENT", RX_CLIENT}, {"SERVER", RX_SERVER}, {"PRODUCER", RX_PRODUCER},
        {"CONSUMER", RX_CONSUMER}};
    struct str name;
    if (!json_string(&z->r, &name))
        return false;
    *ret = RX_UNSPECIFIED;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (str_eqz(name, kinds[i].name))
            *ret = kinds[i].kind;
    return true;
}

static bool v2_trace_id_read(struct zipkin_json *z, struct trace_id *ret)
{
    struct str hex;
    if (!json_string(&z->r, &hex))
        return false;
    return trace_id_parse(ret, hex) || json_fail(&z->r, "valid traceId required");
}

static bool v2_span_read(struct zipkin_json *z, void *into)
{
    enum { TRACE_ID, ID, PARENT_ID, NAME, KIND, START, DURATION, LOCAL, REMOTE, NOTES, TAGS };
    static const char *const names[] = {"traceId", "id", "parentId", "name", "kind", "timestamp",
        "duration", "localEndpoint", "remoteEndpoint", "annotations", "tags"};
    struct members m = MEMBERS(names);
    struct zipkin_spans *spans = into;
    struct zipkin_span *span = RX_PUSH(&z->rx, &spans->l);
    uint64_t start_us = 0, duration_us = 0;
    unsigned member;
    if (span == NULL || !json_open(&z->r, '{'))
        return false;
    struct rx_span *s = &span->s;
    while (member_next(z, &m, &member)) {
        bool ok;
        switch (member) {
        case TRACE_ID:
            ok = v2_trace_id_read(z, &s->trace_id);
            break;
        case ID:
            ok = id_read(z, &s->span_id);
            break;
        case PARENT_ID:
            ok = id_read(z, &s->parent_id);
            break;
        case NAME:
            ok = text_read(z, &s->name);
            break;
        case KIND:
            ok = kind_read(z, &s->kind);
            break;
        case START:
            ok = uint_read(z, UINT64_MAX, &start_us);
            break;
        case DURATION:
            ok = uint_read(z, UINT64_MAX, &duration_us);
            break;
        case LOCAL:
            ok = endpoint_read(z, false, &span->local);
            break;
        case REMOTE:
            ok = endpoint_read(z, false, &span->remote);
            break;
        case NOTES:
            ok = each_read(z, s, annotation_read);
            break;
        case TAGS:
            ok = tags_read(z, &s->attrs);
            break;
        default:
            ok = json_skip(&z->r);
        }
        if (!ok)
            return false;
    }
    if (z->r.what != NULL)
        return false;
    span->no_start = start_us == 0;
    s->start_ns = start_us * 1000;
    s->end_ns = s->start_ns + duration_us * 1000;
    return s->span_id != 0 || json_fail(&z->r, "valid span id required");
}

/* ---- version 1 ---- */

static bool note_read(struct zipkin_json *z, void *into)
{
    enum { TIMESTAMP, VALUE, ENDPOINT };
    static const char *const names[] = {"timestamp", "value", "endpoint"};
    struct members m = MEMBERS(names);
    struct zipkin_v1_span *span = into;
    struct zipkin_note *note = RX_PUSH(&z->rx, &span->notes);
    unsigned member;
    if (note == NULL || !json_open(&z->r, '{'))
        return false;
    while (member_next(z, &m, &member))
        if (member == TIMESTAMP  ? !int_read(z, &note->us)
            : member == VALUE    ? !text_read(z, &note->value)
            : member == ENDPOINT ? !endpoint_read(z, true, &note->host)
                                 : !json_skip(&z->r))
            return false;
    return z->r.what == NULL;
}

/* Text; and, as clients send for addresses ("sa", "ca"), true and numbers. */
static bool tag_value_read(struct zipkin_json *z, struct value *ret)
{
    char c = json_peek(&z->r);
    struct json_number num;
    struct str text;
    if (c == 't' || c == 'f') {
        ret->type = VALUE_BOOL;
        return json_bool(&z->r, &ret->b);
    }
    if (c != '"') {
        if (!json_number(&z->r, &num))
            return false;
        *ret = zipkin_parse_text(num.text);
        return true;
    }
    if (!text_read(z, &text))
        return false;
    *ret = z->parse_tags ? zipkin_parse_text(text) : rx_str(text);
    return true;
}

static bool tag_read(struct zipkin_json *z, void *into)
{
    enum { KEY, VALUE, ENDPOINT };
    static const char *const names[] = {"key", "value", "endpoint"};
    struct members m = MEMBERS(names);
    struct zipkin_endpoint e = {0};
    struct zipkin_v1_span *span = into;
    struct zipkin_tag *tag = RX_PUSH(&z->rx, &span->tags);
    unsigned member;
    if (tag == NULL || !json_open(&z->r, '{'))
        return false;
    tag->value.type = VALUE_STR;
    while (member_next(z, &m, &member))
        if (member == KEY        ? !text_read(z, &tag->key)
            : member == VALUE    ? !tag_value_read(z, &tag->value)
            : member == ENDPOINT ? !endpoint_read(z, true, &e)
                                 : !json_skip(&z->r))
            return false;
    tag->service = e.service;
    return z->r.what == NULL;
}

static bool v1_trace_id_read(struct zipkin_json *z, struct trace_id *ret)
{
    struct str hex;
    if (!json_string(&z->r, &hex))
        return false;
    if (hex.n != 16 && hex.n != 32)
        return json_fail(
            &z->r, "zipkinV1 span traceId: hex traceId span has wrong length (expected 16 or 32)");
    if (!trace_id_parse(ret, hex))
        return json_fail(&z->r, "zipkinV1 span traceId: invalid hex digit");
    return !trace_id_zero(ret) || json_fail(&z->r, "zipkinV1 span traceId: traceId is zero");
}

#define V1_ID(what)                                                                           \
    {                                                                                         \
        "zipkinV1 span " what ": hex Id has wrong length (expected 16)",                      \
            "zipkinV1 span " what ": invalid hex digit", "zipkinV1 span " what ": ID is zero" \
    }
static const char *const v1_id_errors[3] = V1_ID("id");
static const char *const v1_parent_errors[3] = V1_ID("parentId");

static bool v1_id_read(struct zipkin_json *z, const char *const errors[3], span_id *ret)
{
    struct str hex;
    uint8_t b[8];
    if (!json_string(&z->r, &hex))
        return false;
    if (hex.n == 0 && errors == v1_parent_errors)
        return true;
    if (hex.n != 16)
        return json_fail(&z->r, errors[0]);
    if (!hex_decode(b, hex, 8))
        return json_fail(&z->r, errors[1]);
    *ret = get_u64be(b);
    return *ret != 0 || json_fail(&z->r, errors[2]);
}

static bool v1_span_read(struct zipkin_json *z, void *into)
{
    enum { TRACE_ID, NAME, ID, PARENT_ID, START, DURATION, NOTES, TAGS };
    static const char *const names[] = {"traceId", "name", "id", "parentId", "timestamp",
        "duration", "annotations", "binaryAnnotations"};
    struct members m = MEMBERS(names);
    struct zipkin_v1_spans *spans = into;
    struct zipkin_v1_span *span = RX_PUSH(&z->rx, &spans->l);
    unsigned member;
    if (span == NULL || !json_open(&z->r, '{'))
        return false;
    while (member_next(z, &m, &member)) {
        bool ok;
        switch (member) {
        case TRACE_ID:
            ok = v1_trace_id_read(z, &span->s.trace_id);
            break;
        case NAME:
            ok = text_read(z, &span->s.name);
            break;
        case ID:
            ok = v1_id_read(z, v1_id_errors, &span->s.span_id);
            break;
        case PARENT_ID:
            ok = v1_id_read(z, v1_parent_errors, &span->s.parent_id);
            break;
        case START:
            ok = int_read(z, &span->start_us);
            break;
        case DURATION:
            ok = int_read(z, &span->duration_us);
            break;
        case NOTES:
            ok = each_read(z, span, note_read);
            break;
        case TAGS:
            ok = each_read(z, span, tag_read);
            break;
        default:
            ok = json_skip(&z->r);
        }
        if (!ok)
            return false;
    }
    if (z->r.what != NULL)
        return false;
    span->has_start = span->start_us != 0;
    span->now_if_no_start = true;
    if (trace_id_zero(&span->s.trace_id))
        return json_fail(
            &z->r, "zipkinV1 span traceId: hex traceId span has wrong length (expected 16 or 32)");
    return span->s.span_id != 0 || json_fail(&z->r, v1_id_errors[0]);
}

/* ---- requests ---- */

static bool at_end(struct zipkin_json *z)
{
    return (json_peek(&z->r) == 0 && z->r.p == z->r.end) ||
           json_fail(&z->r, "something follows the list of spans");
}

static enum ec zipkin_json_run(
    struct bytes json, bool v1, bool parse_tags, struct buf *out, struct err *err)
{
    size_t start = out->n;
    struct zipkin_json z = {.parse_tags = parse_tags};
    struct zipkin_spans v2_spans = {0};
    struct zipkin_v1_spans v1_spans = {0};
    bool ok, over;

    json_reader_init(&z.r, json, out->budget);
    rx_init(&z.rx, out->budget);
    if (json_null(&z.r))
        ok = at_end(&z);
    else if (v1)
        ok = each_read(&z, &v1_spans, v1_span_read) && at_end(&z) &&
             zipkin_v1_put(&z.rx, &v1_spans, out);
    else
        ok = each_read(&z, &v2_spans, v2_span_read) && at_end(&z) &&
             zipkin_v2_put(&z.rx, &v2_spans, parse_tags, out);
    over = buf_failed(out) || buf_failed(&z.r.text) || z.rx.over;
    json_reader_deinit(&z.r);
    rx_deinit(&z.rx);
    if (ok && !over)
        return EC_OK;
    out->n = start;
    if (over)
        return ERR(err, EC_LIMIT, "zipkin json: %zu bytes over the memory budget", json.n);
    return ERR(
        err, EC_INVALID, "zipkin json: %s at byte %zu", z.r.what, (size_t)(z.r.at - z.r.base));
}

enum ec zipkin_v2_json_to_pb(struct bytes json, bool parse_tags, struct buf *out, struct err *err)
{
    return zipkin_json_run(json, false, parse_tags, out, err);
}

enum ec zipkin_v1_json_to_pb(struct bytes json, bool parse_tags, struct buf *out, struct err *err)
{
    return zipkin_json_run(json, true, parse_tags, out, err);
}
