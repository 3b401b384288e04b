/* SPDX-License-Identifier: Apache-2.0
 * The OTLP decoder, upper half: request, resources, scopes, and the arrays they fill.
 *
 * A message whose parts may come in any order is walked twice at its own level: first for what its
 * children need (the resource, the scope, how many spans follow), then for the children, each of
 * which is one skip in the first walk. Spans are counted before they are decoded, so their array
 * grows once per ScopeSpans and a body of millions of empty spans is refused before memory is
 * taken.
 *
 * A resource or scope without a span is checked and measured, but not kept.
 *
 * Repeated submessages: Resource and InstrumentationScope given in pieces merge as protobuf says
 * (attributes append, the last scalar wins; `raw` is then their concatenation, in the arena).
 * Status and AnyValue merge too, except that within an AnyValue the last member wins whole.
 */
#include "batch_decode.h"

/* No sender needs more memory decoded than this many times its bytes, and this much anyway: what
 * does is made of empty messages. Refused for good (EC_TOO_LARGE), where a budget that is short
 * only says "later". */
#define DECODED_RATIO_MAX      16
#define DECODED_BYTES_MIN      (1u << 20)

#define SPANS_MAX_DEFAULT      1000000u
#define SPAN_BYTES_MAX_DEFAULT (8u << 20)
/* so that every count fits 32 bits: two bytes an element */
#define RAW_BYTES_MAX   (1u << 30)
#define SCOPE_SPANS_OLD 1000u /* instrumentation_library_spans, before OTLP 0.15 */

/* For good when it would not fit with the budget all to itself. */
static bool batch_dec_no_room(struct batch_dec *d, uint64_t more, const uint8_t *at)
{
    more = MAX(more, d->arena->chunk_bytes) + 64; /* a chunk's header */
    bool never = d->arena->total + more > budget_most(d->arena->budget);
    d->ec = never ? EC_TOO_LARGE : EC_LIMIT;
    return pb_fail(&d->fail, at,
        never ? "more to decode than there is memory for: send less at once"
              : "decoded request over the memory budget");
}

bool batch_dec_grow(struct batch_dec *d, void **array, uint32_t n, uint32_t *cap, uint32_t more,
    size_t size, const uint8_t *at)
{
    uint64_t need = (uint64_t)n + more;
    uint64_t want = need + need / 2 + 16;
    if (need * size > (uint64_t)d->b.raw.n * DECODED_RATIO_MAX + DECODED_BYTES_MIN) {
        d->ec = EC_TOO_LARGE;
        return pb_fail(&d->fail, at, "too many empty messages");
    }
    /* What is left will hold elements as dense as what was read; but a dense beginning must not
     * reserve more than the message itself is large. */
    uint64_t read = (uint64_t)(at - d->b.raw.p), left = (uint64_t)(d->raw_end - at);
    if (n >= 16 && read > 0) {
        uint64_t guess = need + n * (left + left / 16) / read;
        want = MAX(want, MIN(guess, d->b.raw.n / size));
    }
    void *p = arena_alloc(d->arena, want * size);
    if (p == NULL) {
        want = need;
        p = arena_alloc(d->arena, want * size);
    }
    if (p == NULL)
        return batch_dec_no_room(d, want * size, at);
    if (n > 0)
        memcpy(p, *array, n * size);
    *array = p;
    *cap = (uint32_t)want;
    return true;
}

/* The pieces of a submessage that came more than once, joined: those of field 1 in [p, end),
 * `total` bytes together. The caller has walked the range, so tags and lengths hold. */
static bool batch_dec_join(
    struct batch_dec *d, const uint8_t *p, const uint8_t *end, size_t total, struct str *ret)
{
    const uint8_t *first = p;
    size_t n, at = 0;

    char *joined = arena_alloc(d->arena, total);
    if (joined == NULL)
        return batch_dec_no_room(d, total, first);
    while (p < end) {
        uint32_t tag;
        TRY_FIELD(batch_dec_tag(d, &p, end, &tag));
        if (tag != PB_TAG(1, PB_LEN)) {
            TRY_FIELD(batch_dec_other(d, &p, end, tag, 0));
            continue;
        }
        TRY_FIELD(batch_dec_len(d, &p, end, &n));
        memcpy(joined + at, p, n);
        at += n;
        p += n;
    }
    ASSERT(at == total);
    *ret = str_n(joined, total);
    return true;
}

/* Only its canonical size is wanted: entities are not kept. */
static bool batch_dec_entity_ref(
    struct batch_dec *d, const uint8_t *p, const uint8_t *end, uint64_t *size)
{
    struct str schema_url = {0}, type = {0}, s = {0};
    uint64_t keys = 0;

    while (p < end) {
        uint32_t tag;
        TRY_FIELD(batch_dec_tag(d, &p, end, &tag));
        switch (tag) {
        case PB_TAG(1, PB_LEN):
            TRY_FIELD(batch_dec_str(d, &p, end, &schema_url));
            break;
        case PB_TAG(2, PB_LEN):
            TRY_FIELD(batch_dec_str(d, &p, end, &type));
            break;
        case PB_TAG(3, PB_LEN):
        case PB_TAG(4, PB_LEN):
            TRY_FIELD(batch_dec_str(d, &p, end, &s));
            keys += pb_len_size(s.n);
            break;
        default:
            TRY_FIELD(batch_dec_other(d, &p, end, tag, 4));
        }
    }
    *size += pb_len_size(keys + batch_dec_size_str(schema_url) + batch_dec_size_str(type));
    return true;
}

/* Appends a piece of a Resource: attributes to the end of attrs. *size: attributes and entities. */
static bool batch_dec_resource(struct batch_dec *d, const uint8_t *p, const uint8_t *end,
    struct batch_resource *r, uint64_t *size)
{
    size_t n;

    while (p < end) {
        uint32_t tag;
        TRY_FIELD(batch_dec_tag(d, &p, end, &tag));
        switch (tag) {
        case PB_TAG(1, PB_LEN):
            TRY_FIELD(batch_dec_len(d, &p, end, &n));
            TRY_FIELD(batch_dec_attr(d, p, p + n, BATCH_RESOURCE, size));
            p += n;
            break;
        case PB_TAG(2, PB_VARINT):
            TRY_FIELD(batch_dec_u32(d, &p, end, &r->dropped_attrs));
            break;
        case PB_TAG(3, PB_LEN):
            TRY_FIELD(batch_dec_len(d, &p, end, &n));
            TRY_FIELD(batch_dec_entity_ref(d, p, p + n, size));
            p += n;
            break;
        default:
            TRY_FIELD(batch_dec_other(d, &p, end, tag, 3));
        }
    }
    return true;
}

/* The same for an InstrumentationScope. */
static bool batch_dec_scope(struct batch_dec *d, const uint8_t *p, const uint8_t *end,
    struct batch_scope *s, uint64_t *size)
{
    size_t n;

    while (p < end) {
        uint32_t tag;
        TRY_FIELD(batch_dec_tag(d, &p, end, &tag));
        switch (tag) {
        case PB_TAG(1, PB_LEN):
            TRY_FIELD(batch_dec_str(d, &p, end, &s->name));
            break;
        case PB_TAG(2, PB_LEN):
            TRY_FIELD(batch_dec_str(d, &p, end, &s->version));
            break;
        case PB_TAG(3, PB_LEN):
            TRY_FIELD(batch_dec_len(d, &p, end, &n));
            TRY_FIELD(batch_dec_attr(d, p, p + n, BATCH_SCOPE, size));
            p += n;
            break;
        case PB_TAG(4, PB_VARINT):
            TRY_FIELD(batch_dec_u32(d, &p, end, &s->dropped_attrs));
            break;
        default:
            TRY_FIELD(batch_dec_other(d, &p, end, tag, 4));
        }
    }
    return true;
}

/* First walk of a ScopeSpans: the scope itself, and how many spans there are. */
static bool batch_dec_scope_head(struct batch_dec *d, const uint8_t *p, const uint8_t *end,
    struct batch_scope *s, uint32_t *ret_spans, uint64_t *size)
{
    const uint8_t *first = p;
    uint64_t attrs_size = 0;
    uint32_t n_spans = 0;
    size_t n, raw_n = 0;

    s->attr_first = d->b.n_attrs;
    while (p < end) {
        uint32_t tag;
        TRY_FIELD(batch_dec_tag(d, &p, end, &tag));
        switch (tag) {
        case PB_TAG(2, PB_LEN):
            TRY_FIELD(batch_dec_len(d, &p, end, &n));
            p += n;
            n_spans++;
            break;
        case PB_TAG(1, PB_LEN):
            TRY_FIELD(batch_dec_len(d, &p, end, &n));
            raw_n += n;
            s->raw = str_n((const char *)p, n);
            TRY_FIELD(batch_dec_scope(d, p, p + n, s, &attrs_size));
            p += n;
            break;
        case PB_TAG(3, PB_LEN):
            TRY_FIELD(batch_dec_str(d, &p, end, &s->schema_url));
            break;
        default:
            TRY_FIELD(batch_dec_other(d, &p, end, tag, 3));
        }
    }
    if (raw_n != s->raw.n)
        TRY_FIELD(batch_dec_join(d, first, end, raw_n, &s->raw));
    s->attr_n = d->b.n_attrs - s->attr_first;
    *ret_spans = n_spans;
    *size += pb_len_size(attrs_size + batch_dec_size_str(s->name) + batch_dec_size_str(s->version) +
                         batch_dec_size_varint(s->dropped_attrs)) +
             batch_dec_size_str(s->schema_url);
    return true;
}

static bool batch_dec_scope_spans(struct batch_dec *d, const uint8_t *p, const uint8_t *end,
    uint32_t resource, uint64_t *ret_size)
{
    struct batch_scope s = {0};
    uint64_t size = 0;
    uint32_t n_spans;
    size_t n;

    TRY_FIELD(batch_dec_scope_head(d, p, end, &s, &n_spans, &size));
    if (n_spans == 0) {
        d->b.n_attrs = s.attr_first;
        *ret_size += pb_len_size(size);
        return true;
    }
    if (n_spans > d->spans_max - d->b.n_spans) {
        d->ec = EC_TOO_LARGE;
        return pb_fail(&d->fail, p, "too many spans in one request");
    }
    if (!BATCH_DEC_ROOM(d, scopes, 1, p) || !BATCH_DEC_ROOM(d, spans, n_spans, p))
        return false;
    uint32_t scope = d->b.n_scopes++;
    d->b.scopes[scope] = s;
    while (n_spans > 0) {
        uint32_t tag;
        TRY_FIELD(batch_dec_tag(d, &p, end, &tag));
        if (tag != PB_TAG(2, PB_LEN)) {
            TRY_FIELD(batch_dec_other(d, &p, end, tag, 0)); /* was checked by the first walk */
            continue;
        }
        TRY_FIELD(batch_dec_len(d, &p, end, &n));
        TRY_FIELD(batch_dec_span(d, p, p + n, resource, scope, &size));
        p += n;
        n_spans--;
    }
    *ret_size += pb_len_size(size);
    return true;
}

/* First walk of a ResourceSpans: the resource, and under which number its scopes are. */
static bool batch_dec_resource_head(struct batch_dec *d, const uint8_t *p, const uint8_t *end,
    struct batch_resource *r, uint32_t *ret_scopes_field, uint64_t *size)
{
    const uint8_t *first = p;
    uint64_t attrs_size = 0;
    bool scopes = false;
    size_t n, raw_n = 0;

    r->attr_first = d->b.n_attrs;
    while (p < end) {
        uint32_t tag;
        TRY_FIELD(batch_dec_tag(d, &p, end, &tag));
        switch (tag) {
        case PB_TAG(1, PB_LEN):
            TRY_FIELD(batch_dec_len(d, &p, end, &n));
            raw_n += n;
            r->raw = str_n((const char *)p, n);
            TRY_FIELD(batch_dec_resource(d, p, p + n, r, &attrs_size));
            r->has_resource = true;
            p += n;
            break;
        case PB_TAG(2, PB_LEN):
        case PB_TAG(SCOPE_SPANS_OLD, PB_LEN):
            TRY_FIELD(batch_dec_len(d, &p, end, &n));
            scopes |= tag == PB_TAG(2, PB_LEN);
            p += n;
            break;
        case PB_TAG(3, PB_LEN):
            TRY_FIELD(batch_dec_str(d, &p, end, &r->schema_url));
            break;
        default:
            TRY_FIELD(batch_dec_other(d, &p, end, tag, 3));
        }
    }
    if (raw_n != r->raw.n)
        TRY_FIELD(batch_dec_join(d, first, end, raw_n, &r->raw));
    r->attr_n = d->b.n_attrs - r->attr_first;
    *ret_scopes_field = scopes ? 2 : SCOPE_SPANS_OLD;
    *size += pb_len_size(attrs_size + batch_dec_size_varint(r->dropped_attrs)) +
             batch_dec_size_str(r->schema_url);
    return true;
}

static bool batch_dec_resource_spans(struct batch_dec *d, const uint8_t *p, const uint8_t *end)
{
    struct batch_resource r = {0};
    uint32_t scopes_field;
    uint64_t size = 0;
    size_t n;

    TRY_FIELD(batch_dec_resource_head(d, p, end, &r, &scopes_field, &size));
    TRY_FIELD(BATCH_DEC_ROOM(d, resources, 1, p));
    uint32_t resource = d->b.n_resources++, n_spans = d->b.n_spans;
    d->b.resources[resource] = r;
    while (p < end) {
        uint32_t tag;
        TRY_FIELD(batch_dec_tag(d, &p, end, &tag));
        if (tag != PB_TAG(scopes_field, PB_LEN)) {
            TRY_FIELD(batch_dec_other(d, &p, end, tag, 0)); /* was checked by the first walk */
            continue;
        }
        TRY_FIELD(batch_dec_len(d, &p, end, &n));
        TRY_FIELD(batch_dec_scope_spans(d, p, p + n, resource, &size));
        p += n;
    }
    if (d->b.n_spans == n_spans) {
        d->b.n_attrs = r.attr_first;
        d->b.n_resources--;
    }
    d->b.canonical_bytes += pb_len_size(size);
    return true;
}

static bool batch_dec_request(struct batch_dec *d)
{
    const uint8_t *p = d->b.raw.p, *end = d->raw_end;
    size_t n;

    while (p < end) {
        uint32_t tag;
        TRY_FIELD(batch_dec_tag(d, &p, end, &tag));
        if (tag != PB_TAG(1, PB_LEN)) {
            TRY_FIELD(batch_dec_other(d, &p, end, tag, 1));
            continue;
        }
        TRY_FIELD(batch_dec_len(d, &p, end, &n));
        TRY_FIELD(batch_dec_resource_spans(d, p, p + n));
        p += n;
    }
    return true;
}

enum ec batch_decode(struct batch *ret, struct bytes raw, const struct batch_limits *limits,
    struct arena *arena, struct err *err)
{
    static const struct batch_limits none = {0};
    const struct batch_limits *l = limits == NULL ? &none : limits;

    if (raw.n > RAW_BYTES_MAX)
        return ERR(err, EC_TOO_LARGE, "otlp: request of %zu bytes", raw.n);
    if (raw.n == 0)
        raw.p = (const uint8_t *)"";
    struct batch_dec d = {
        .b.raw = raw,
        .arena = arena,
        .raw_end = raw.p + raw.n,
        .attr_bytes_max = l->attr_bytes_max == 0 ? UINT32_MAX : l->attr_bytes_max,
        .spans_max = l->spans_max == 0 ? SPANS_MAX_DEFAULT : l->spans_max,
        .span_bytes_max = l->span_bytes_max == 0 ? SPAN_BYTES_MAX_DEFAULT : l->span_bytes_max,
        .ec = EC_INVALID,
    };
    if (!batch_dec_request(&d))
        return ERR(err, d.ec, "otlp: %s at byte %zu", d.fail.what, (size_t)(d.fail.at - raw.p));
    *ret = d.b;
    return EC_OK;
}
