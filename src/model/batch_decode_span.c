/* SPDX-License-Identifier: Apache-2.0
 * The OTLP decoder, lower half: spans, attributes, events, links. This is the hot loop of ingest.
 *
 * WHY two walks of a span that has events or links: their attributes go to the same array as the
 * span's own, and each owner's must lie together, whatever the order on the wire. So the first walk
 * only checks the length of an event or link and notes where the first one is; the second starts
 * there.
 *
 * Ids are judged at the end of the span, trace id first: a bad one rejects the span, not the
 * request. So does a parent or link id of a wrong length, which cannot be kept. A span over the
 * size limit is rejected with its ids alone: what is in it is neither kept nor checked.
 */
#include "batch_decode.h"

/* Lengths of the ids as they were sent. */
struct span_ids {
    size_t trace_n, span_n, parent_n;
    size_t link_trace_n, link_span_n; /* of the first link with a wrong one; 0: none */
};

/* Cuts a key or a string to the limit, and counts it. */
static __attribute__((noinline, cold)) void batch_dec_truncate(
    struct batch_dec *d, struct attr *a, enum batch_part part)
{
    uint32_t max = d->attr_bytes_max;
    struct batch_truncated first = {.key = a->key, .part = (uint8_t)part};

    if (a->key.n > max) {
        first.is_key = true;
        first.bytes = (uint32_t)a->key.n;
        a->key.n = max;
        d->b.n_truncated[part]++;
    }
    if (a->value.type == VALUE_STR && a->value.s.n > max) {
        if (!first.is_key)
            first.bytes = (uint32_t)a->value.s.n;
        a->value.s.n = max;
        d->b.n_truncated[part]++;
    }
    if (d->b.truncated.bytes == 0)
        d->b.truncated = first;
}

/* The encoding that every known client writes: key, then a value with one member, and no more.
 * Returns the canonical size; 0: anything else, for the general decoder. */
static inline size_t batch_dec_attr_usual(const uint8_t *p, const uint8_t *end, struct attr *a)
{
    size_t n = (size_t)(end - p), value_n, s_n;
    uint64_t x;

    if (n < 7 || p[0] != PB_TAG(1, PB_LEN) || p[1] >= 0x80 || p[1] == 0 || p[1] + 6u > n)
        return 0;
    const uint8_t *v = p + 2 + p[1];
    if (v[0] != PB_TAG(2, PB_LEN))
        return 0;
    a->key = str_n((const char *)p + 2, p[1]);
    v = pb_len(v + 1, end, &value_n);
    if (v == NULL || value_n != (size_t)(end - v) || value_n < 2)
        return 0;
    const uint8_t *m = v + 1;
    switch (v[0]) {
    case PB_TAG(1, PB_LEN):
        m = pb_len(m, end, &s_n);
        if (m == NULL || s_n != (size_t)(end - m))
            return 0;
        a->value.type = VALUE_STR;
        a->value.s = str_n((const char *)m, s_n);
        if (LIKELY(value_n < 128 && s_n == value_n - 2))
            return n; /* one-byte lengths: as canonical as it gets */
        return pb_len_size(a->key.n) + pb_len_size(pb_len_size(s_n));
    case PB_TAG(2, PB_VARINT):
        if (value_n != 2 || *m >= 0x80)
            return 0;
        a->value.type = VALUE_BOOL;
        a->value.s = (struct str){0};
        a->value.b = *m != 0;
        break;
    case PB_TAG(3, PB_VARINT):
        m = pb_varint(m, end, &x);
        if (m != end)
            return 0;
        a->value.type = VALUE_INT;
        a->value.s = (struct str){0};
        a->value.i = (int64_t)x;
        return pb_len_size(a->key.n) + pb_len_size(1 + pb_varint_size(x));
    case PB_TAG(4, PB_FIXED64):
        if (value_n != 9)
            return 0;
        a->value.type = VALUE_DOUBLE;
        a->value.s = (struct str){0};
        memcpy(&a->value.d, m, 8);
        break;
    default:
        return 0;
    }
    return pb_len_size(a->key.n) + 2 + value_n;
}

static inline bool batch_dec_attr_inline(
    struct batch_dec *d, const uint8_t *p, const uint8_t *end, enum batch_part part, uint64_t *size)
{
    if (!BATCH_DEC_ROOM(d, attrs, 1, p))
        return false;
    struct attr *a = &d->b.attrs[d->b.n_attrs];
    uint64_t kv_size = batch_dec_attr_usual(p, end, a);
    if (UNLIKELY(kv_size == 0) && !value_decode_attr(p, end, 1, a, &kv_size, &d->fail))
        return false;
    if (UNLIKELY(a->key.n > d->attr_bytes_max ||
                 (a->value.type == VALUE_STR && a->value.s.n > d->attr_bytes_max)))
        batch_dec_truncate(d, a, part);
    d->b.n_attrs++;
    *size += pb_len_size(kv_size);
    return true;
}

bool batch_dec_attr(
    struct batch_dec *d, const uint8_t *p, const uint8_t *end, enum batch_part part, uint64_t *size)
{
    return batch_dec_attr_inline(d, p, end, part, size);
}

static bool batch_dec_event(
    struct batch_dec *d, const uint8_t *p, const uint8_t *end, uint64_t *size)
{
    uint64_t attrs_size = 0;
    size_t n;

    TRY_FIELD(BATCH_DEC_ROOM(d, events, 1, p));
    struct batch_event *e = &d->b.events[d->b.n_events];
    *e = (struct batch_event){.attr_first = d->b.n_attrs};
    while (p < end) {
        uint32_t tag;
        TRY_FIELD(batch_dec_tag(d, &p, end, &tag));
        switch (tag) {
        case PB_TAG(1, PB_FIXED64):
            TRY_FIELD(batch_dec_fixed64(d, &p, end, &e->time_ns));
            break;
        case PB_TAG(2, PB_LEN):
            TRY_FIELD(batch_dec_str(d, &p, end, &e->name));
            break;
        case PB_TAG(3, PB_LEN):
            TRY_FIELD(batch_dec_len(d, &p, end, &n));
            TRY_FIELD(batch_dec_attr(d, p, p + n, BATCH_EVENT, &attrs_size));
            p += n;
            break;
        case PB_TAG(4, PB_VARINT):
            TRY_FIELD(batch_dec_u32(d, &p, end, &e->dropped_attrs));
            break;
        default:
            TRY_FIELD(batch_dec_other(d, &p, end, tag, 4));
        }
    }
    e->attr_n = d->b.n_attrs - e->attr_first;
    d->b.n_events++;
    *size += pb_len_size(attrs_size + (e->time_ns == 0 ? 0 : 9) + batch_dec_size_str(e->name) +
                         batch_dec_size_varint(e->dropped_attrs));
    return true;
}

static bool batch_dec_link(
    struct batch_dec *d, const uint8_t *p, const uint8_t *end, struct span_ids *ids, uint64_t *size)
{
    struct batch_link l = {.attr_first = d->b.n_attrs};
    size_t n, trace_n = 0, span_n = 0;
    uint64_t attrs_size = 0;

    TRY_FIELD(BATCH_DEC_ROOM(d, links, 1, p));
    while (p < end) {
        uint32_t tag;
        TRY_FIELD(batch_dec_tag(d, &p, end, &tag));
        switch (tag) {
        case PB_TAG(1, PB_LEN):
            TRY_FIELD(batch_dec_trace_id(d, &p, end, &l.trace_id, &trace_n));
            break;
        case PB_TAG(2, PB_LEN):
            TRY_FIELD(batch_dec_span_id(d, &p, end, &l.span_id, &span_n));
            break;
        case PB_TAG(3, PB_LEN):
            TRY_FIELD(batch_dec_str(d, &p, end, &l.trace_state));
            break;
        case PB_TAG(4, PB_LEN):
            TRY_FIELD(batch_dec_len(d, &p, end, &n));
            TRY_FIELD(batch_dec_attr(d, p, p + n, BATCH_LINK, &attrs_size));
            p += n;
            break;
        case PB_TAG(5, PB_VARINT):
            TRY_FIELD(batch_dec_u32(d, &p, end, &l.dropped_attrs));
            break;
        case PB_TAG(6, PB_FIXED32):
            TRY_FIELD(batch_dec_fixed32(d, &p, end, &l.flags));
            break;
        default:
            TRY_FIELD(batch_dec_other(d, &p, end, tag, 6));
        }
    }
    if (trace_n != 0 && trace_n != 16 && ids->link_trace_n == 0)
        ids->link_trace_n = trace_n;
    if (span_n != 0 && span_n != 8 && ids->link_span_n == 0)
        ids->link_span_n = span_n;
    l.attr_n = d->b.n_attrs - l.attr_first;
    d->b.links[d->b.n_links++] = l;
    *size += pb_len_size(attrs_size + (trace_id_zero(&l.trace_id) ? 2 : 18) +
                         (l.span_id == 0 ? 2 : 10) + batch_dec_size_str(l.trace_state) +
                         batch_dec_size_varint(l.dropped_attrs) + (l.flags == 0 ? 0 : 5));
    return true;
}

/* Second walk, from the first event or link of a span; the first has checked all tags and
 * lengths. */
static bool batch_dec_events_links(struct batch_dec *d, const uint8_t *p, const uint8_t *end,
    struct batch_span *s, struct span_ids *ids, uint64_t *size)
{
    size_t n;

    s->event_first = d->b.n_events;
    s->link_first = d->b.n_links;
    while (p < end) {
        uint32_t tag;
        TRY_FIELD(batch_dec_tag(d, &p, end, &tag));
        switch (tag) {
        case PB_TAG(11, PB_LEN):
            TRY_FIELD(batch_dec_len(d, &p, end, &n));
            TRY_FIELD(batch_dec_event(d, p, p + n, size));
            p += n;
            break;
        case PB_TAG(13, PB_LEN):
            TRY_FIELD(batch_dec_len(d, &p, end, &n));
            TRY_FIELD(batch_dec_link(d, p, p + n, ids, size));
            p += n;
            break;
        default:
            TRY_FIELD(batch_dec_other(d, &p, end, tag, 0));
        }
    }
    s->event_n = d->b.n_events - s->event_first;
    s->link_n = d->b.n_links - s->link_first;
    return true;
}

/* A piece of a Status: merges into the span. */
static bool batch_dec_status(
    struct batch_dec *d, const uint8_t *p, const uint8_t *end, struct batch_span *s)
{
    uint32_t code;

    while (p < end) {
        uint32_t tag;
        TRY_FIELD(batch_dec_tag(d, &p, end, &tag));
        switch (tag) {
        case PB_TAG(2, PB_LEN):
            TRY_FIELD(batch_dec_str(d, &p, end, &s->status_message));
            break;
        case PB_TAG(3, PB_VARINT):
            TRY_FIELD(batch_dec_u32(d, &p, end, &code));
            s->status_code = (int32_t)code;
            break;
        default: /* field 1 is reserved: skipped like an unknown one */
            TRY_FIELD(batch_dec_other(d, &p, end, tag, tag >> 3 == 1 ? 0 : 3));
        }
    }
    return true;
}

static void batch_dec_reject(
    struct batch_dec *d, struct batch_span *s, enum span_reject why, size_t id_len)
{
    s->reject = (uint8_t)why;
    s->bad_id_len = (uint8_t)MIN(id_len, UINT8_MAX);
    d->b.n_rejected++;
}

/* The verdict on a span: the trace id, its own id, then the ids it refers to, then its size. */
static inline void batch_dec_judge(
    struct batch_dec *d, struct batch_span *s, const struct span_ids *ids)
{
    if (UNLIKELY(trace_id_zero(&s->trace_id)))
        batch_dec_reject(d, s, SPAN_BAD_TRACE_ID, ids->trace_n == 16 ? 0 : ids->trace_n);
    else if (UNLIKELY(s->span_id == 0))
        batch_dec_reject(d, s, SPAN_BAD_SPAN_ID, ids->span_n == 8 ? 0 : ids->span_n);
    else if (UNLIKELY(ids->parent_n != 0 && ids->parent_n != 8))
        batch_dec_reject(d, s, SPAN_BAD_SPAN_ID, ids->parent_n);
    else if (UNLIKELY(ids->link_trace_n != 0))
        batch_dec_reject(d, s, SPAN_BAD_TRACE_ID, ids->link_trace_n);
    else if (UNLIKELY(ids->link_span_n != 0))
        batch_dec_reject(d, s, SPAN_BAD_SPAN_ID, ids->link_span_n);
    else if (UNLIKELY(s->raw_bytes > d->span_bytes_max))
        batch_dec_reject(d, s, SPAN_TOO_LARGE, 0);
}

/* Canonical size of all that is not repeated. */
static inline uint64_t batch_dec_span_size(const struct batch_span *s)
{
    uint64_t status = batch_dec_size_str(s->status_message) +
                      batch_dec_size_varint((uint64_t)(int64_t)s->status_code);

    return (trace_id_zero(&s->trace_id) ? 2 : 18) + (s->span_id == 0 ? 2 : 10) +
           (s->parent_id == 0 ? 2 : 10) + batch_dec_size_str(s->trace_state) +
           batch_dec_size_str(s->name) + batch_dec_size_varint((uint64_t)(int64_t)s->kind) +
           (s->start_ns == 0 ? 0 : 9) + (s->end_ns == 0 ? 0 : 9) +
           batch_dec_size_varint(s->dropped_attrs) + batch_dec_size_varint(s->dropped_events) +
           batch_dec_size_varint(s->dropped_links) + pb_len_size(status) + (s->flags == 0 ? 0 : 6);
}

/* The fields of a span but the events and links; *ret_later is where the first of those starts. */
static inline bool batch_dec_span_fields(struct batch_dec *d, const uint8_t *p, const uint8_t *end,
    struct batch_span *s, struct span_ids *ids, const uint8_t **ret_later, uint64_t *size)
{
    bool keep = s->raw_bytes <= d->span_bytes_max;
    uint32_t v;
    size_t n;

    while (p < end) {
        const uint8_t *at = p;
        uint32_t tag;
        TRY_FIELD(batch_dec_tag(d, &p, end, &tag));
        switch (tag) {
        case PB_TAG(1, PB_LEN):
            TRY_FIELD(batch_dec_trace_id(d, &p, end, &s->trace_id, &ids->trace_n));
            break;
        case PB_TAG(2, PB_LEN):
            TRY_FIELD(batch_dec_span_id(d, &p, end, &s->span_id, &ids->span_n));
            break;
        case PB_TAG(3, PB_LEN):
            TRY_FIELD(batch_dec_str(d, &p, end, &s->trace_state));
            break;
        case PB_TAG(4, PB_LEN):
            TRY_FIELD(batch_dec_span_id(d, &p, end, &s->parent_id, &ids->parent_n));
            break;
        case PB_TAG(5, PB_LEN):
            TRY_FIELD(batch_dec_str(d, &p, end, &s->name));
            break;
        case PB_TAG(6, PB_VARINT):
            TRY_FIELD(batch_dec_u32(d, &p, end, &v));
            s->kind = (int32_t)v;
            break;
        case PB_TAG(7, PB_FIXED64):
            TRY_FIELD(batch_dec_fixed64(d, &p, end, &s->start_ns));
            break;
        case PB_TAG(8, PB_FIXED64):
            TRY_FIELD(batch_dec_fixed64(d, &p, end, &s->end_ns));
            break;
        case PB_TAG(9, PB_LEN):
            TRY_FIELD(batch_dec_len(d, &p, end, &n));
            if (LIKELY(keep))
                TRY_FIELD(batch_dec_attr_inline(d, p, p + n, BATCH_SPAN, size));
            p += n;
            break;
        case PB_TAG(10, PB_VARINT):
            TRY_FIELD(batch_dec_u32(d, &p, end, &s->dropped_attrs));
            break;
        case PB_TAG(11, PB_LEN):
        case PB_TAG(13, PB_LEN):
            TRY_FIELD(batch_dec_len(d, &p, end, &n));
            if (*ret_later == NULL && keep)
                *ret_later = at;
            p += n;
            break;
        case PB_TAG(12, PB_VARINT):
            TRY_FIELD(batch_dec_u32(d, &p, end, &s->dropped_events));
            break;
        case PB_TAG(14, PB_VARINT):
            TRY_FIELD(batch_dec_u32(d, &p, end, &s->dropped_links));
            break;
        case PB_TAG(15, PB_LEN):
            TRY_FIELD(batch_dec_len(d, &p, end, &n));
            TRY_FIELD(batch_dec_status(d, p, p + n, s));
            p += n;
            break;
        case PB_TAG(16, PB_FIXED32):
            TRY_FIELD(batch_dec_fixed32(d, &p, end, &s->flags));
            break;
        default:
            TRY_FIELD(batch_dec_other(d, &p, end, tag, 16));
        }
    }
    return true;
}

bool batch_dec_span(struct batch_dec *d, const uint8_t *p, const uint8_t *end, uint32_t resource,
    uint32_t scope, uint64_t *size)
{
    struct batch_span *s = &d->b.spans[d->b.n_spans];
    const uint8_t *later = NULL;
    struct span_ids ids = {0};
    uint64_t lists = 0;

    *s = (struct batch_span){
        .resource = resource,
        .scope = scope,
        .attr_first = d->b.n_attrs,
        .event_first = d->b.n_events,
        .link_first = d->b.n_links,
        .raw_bytes = (uint32_t)(end - p),
    };
    TRY_FIELD(batch_dec_span_fields(d, p, end, s, &ids, &later, &lists));
    s->attr_n = d->b.n_attrs - s->attr_first;
    if (later != NULL)
        TRY_FIELD(batch_dec_events_links(d, later, end, s, &ids, &lists));
    batch_dec_judge(d, s, &ids);
    d->b.n_spans++;
    uint64_t n = s->raw_bytes <= d->span_bytes_max ? lists + batch_dec_span_size(s) : s->raw_bytes;
    s->canonical_bytes = (uint32_t)n;
    *size += pb_len_size(n);
    return true;
}
