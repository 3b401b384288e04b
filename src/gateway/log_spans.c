/* SPDX-License-Identifier: Apache-2.0
 * Span logging. Off by default; meant for debugging a tenant, so clarity goes before speed. */
#include "log_spans.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"

#define ATTRS_MAX 256 /* fields of one line; what exceeds it is left out */

/* "span_" + key with everything outside [A-Za-z0-9_] as '_'. */
static const char *field_key(struct arena *a, struct str key)
{
    char *p = arena_alloc(a, key.n + sizeof("span_"));
    ASSERT(p != NULL); /* the arena has no budget: a line is bounded by ATTRS_MAX and cut values */
    memcpy(p, "span_", 5);
    for (size_t i = 0; i < key.n; i++) {
        char c = key.p[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        p[5 + i] = ok ? c : '_';
    }
    p[5 + key.n] = 0;
    return p;
}

static size_t put_attrs(
    struct log_field *f, size_t n, struct arena *a, const struct attr *attrs, uint32_t n_attrs)
{
    for (uint32_t i = 0; i < n_attrs && n < ATTRS_MAX; i++) {
        const struct value *v = &attrs[i].value;
        const char *key = field_key(a, attrs[i].key);
        switch (v->type) {
        case VALUE_STR:
            f[n++] = LS(key, v->s);
            break;
        case VALUE_INT:
            f[n++] = LI(key, v->i);
            break;
        case VALUE_DOUBLE:
            f[n++] = LF(key, v->d);
            break;
        case VALUE_BOOL:
            f[n++] = LB(key, v->b);
            break;
        default:
            f[n++] = LZ(key, "");
            break;
        }
    }
    return n;
}

static const char *kind_name(int32_t kind)
{
    static const char *const names[] = {"SPAN_KIND_UNSPECIFIED", "SPAN_KIND_INTERNAL",
        "SPAN_KIND_SERVER", "SPAN_KIND_CLIENT", "SPAN_KIND_PRODUCER", "SPAN_KIND_CONSUMER"};
    return kind >= 0 && kind < (int32_t)ARRAY_LEN(names) ? names[kind] : "SPAN_KIND_UNKNOWN";
}

static const char *status_name(int32_t code)
{
    static const char *const names[] = {"STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"};
    return code >= 0 && code < (int32_t)ARRAY_LEN(names) ? names[code] : "STATUS_CODE_UNKNOWN";
}

static void log_span(const struct ingest_log_spans *opt, const char *msg, struct str tenant,
    const struct batch *b, const struct batch_span *s)
{
    if (opt->filter_by_status_error && s->status_code != 2)
        return;
    struct arena a;
    arena_init(&a, NULL, 0);
    struct log_field f[ATTRS_MAX + 8];
    size_t n = 0;
    if (tenant.n != 0)
        f[n++] = LS("tenant", tenant);
    if (opt->include_all_attributes) {
        const struct batch_resource *r = &b->resources[s->resource];
        n = put_attrs(f, n, &a, b->attrs + r->attr_first, r->attr_n);
        n = put_attrs(f, n, &a, b->attrs + s->attr_first, s->attr_n);
        f[n++] = LS("span_name", s->name);
        f[n++] = LF("span_duration_seconds", (double)(s->end_ns - s->start_ns) / (double)NS_PER_S);
        f[n++] = LZ("span_kind", kind_name(s->kind));
        f[n++] = LZ("span_status", status_name(s->status_code));
    }
    char span_hex[16], trace_hex[32];
    uint8_t id[8];
    put_u64le(id, __builtin_bswap64(s->span_id));
    hex_encode(span_hex, id, 8);
    hex_encode(trace_hex, s->trace_id.b, 16);
    f[n++] = LS("spanid", str_n(span_hex, 16));
    f[n++] = LS("traceid", str_n(trace_hex, 32));
    if (LOG_INFO >= log_level_min)
        log_emit(LOG_INFO, __FILE__, __LINE__, msg, f, n);
    arena_deinit(&a);
}

void log_spans_received(const struct ingest_log_spans *opt, const struct batch *b)
{
    for (uint32_t i = 0; i < b->n_spans; i++)
        log_span(opt, "received", str_n(NULL, 0), b, &b->spans[i]);
}

void log_spans_discarded(
    const struct ingest_log_spans *opt, struct str tenant, const struct batch *b)
{
    for (uint32_t i = 0; i < b->n_spans; i++)
        if (b->spans[i].reject != SPAN_ACCEPTED)
            log_span(opt, "discarded", tenant, b, &b->spans[i]);
}
