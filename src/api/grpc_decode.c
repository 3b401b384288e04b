/* SPDX-License-Identifier: Apache-2.0
 * gRPC requests into the parameters of the HTTP endpoints.
 *
 * The rules of what is left out are those of Tempo's frontend, which builds URLs from these
 * messages: zero numbers and empty texts are absent parameters. */
#include "api/api.h"
#include "grpc_query.h"
#include "tempo_query.pb-c.h"

#define PARAMS_MAX 8
/* Tags travel in a URL over HTTP, which has this limit; they are compared pair by pair. */
#define TAGS_BYTES_MAX (8u << 10)

struct params {
    struct arena *arena;
    struct http_param p[PARAMS_MAX];
    size_t n;
    bool failed;
};

static void add(struct params *ps, const char *key, struct str value)
{
    ASSERT(ps->n < PARAMS_MAX);
    if (value.n != 0)
        ps->p[ps->n++] = (struct http_param){str_from(key), value};
}

static void add_bytes(struct params *ps, const char *key, ProtobufCBinaryData b)
{
    add(ps, key, str_n((const char *)b.data, b.len));
}

static void add_number(struct params *ps, const char *key, uint64_t v, const char *unit)
{
    char *text = arena_printf(ps->arena, "%llu%s", (unsigned long long)v, unit);
    ps->failed |= text == NULL;
    add(ps, key, str_from(text));
}

static void add_nonzero(struct params *ps, const char *key, uint64_t v, const char *unit)
{
    if (v != 0)
        add_number(ps, key, v, unit);
}

/* A time: more than ten digits are nanoseconds to the parser, fewer would be seconds. */
static void add_time(struct params *ps, const char *key, uint64_t ns)
{
    unsigned long long v = MIN(ns, (uint64_t)INT64_MAX);
    char *text = arena_printf(ps->arena, "%020llu", v);
    ps->failed |= text == NULL;
    add(ps, key, str_from(text));
}

static enum ec done(struct query_job *job, const struct params *ps, struct err *err)
{
    struct http_param *p = ARENA_ARRAY(&job->arena, ps->n, struct http_param);
    if (ps->failed || p == NULL)
        return ERR(err, EC_LIMIT, "request is over the query's memory budget");
    if (ps->n != 0)
        memcpy(p, ps->p, ps->n * sizeof(*p));
    job->params = p;
    job->n_params = ps->n;
    return EC_OK;
}

/* ---- messages ---- */

struct allocator {
    struct arena *arena;
    bool refused;
};

static void *pb_alloc(void *ctx, size_t n)
{
    struct allocator *a = ctx;
    void *p = arena_alloc(a->arena, n);
    a->refused |= p == NULL;
    return p;
}

static void pb_free(void *ctx, void *p)
{
    (void)ctx; /* goes with the arena */
    (void)p;
}

static enum ec unpack(struct query_job *job, const ProtobufCMessageDescriptor *type,
    struct bytes message, ProtobufCMessage **ret, struct err *err)
{
    struct allocator a = {.arena = &job->arena};
    ProtobufCAllocator pa = {.alloc = pb_alloc, .free = pb_free, .allocator_data = &a};
    *ret = protobuf_c_message_unpack(type, &pa, message.n, message.p);
    if (*ret != NULL)
        return EC_OK;
    if (a.refused)
        return ERR(err, EC_LIMIT, "request is over the query's memory budget");
    return ERR(err, EC_CORRUPT,
        "grpc: failed to unmarshal the received message: proto: cannot parse %s", type->short_name);
}

#define UNPACK(job, type, field, message, ret, err)                              \
    do {                                                                         \
        ProtobufCMessage *base_;                                                 \
        TRY(unpack(job, &tempopb__##field##__descriptor, message, &base_, err)); \
        *(ret) = (const type *)base_;                                            \
    } while (0)

/* key="value" with quotes and backslashes escaped: logfmt, as the URL has it. */
static bool put_tag(struct buf *out, struct str key, struct str value)
{
    if (key.n == 0)
        return false;
    for (size_t i = 0; i < key.n; i++)
        if ((unsigned char)key.p[i] <= ' ' || key.p[i] == '=' || key.p[i] == '"')
            return false;
    if (out->n != 0)
        buf_putc(out, ' ');
    buf_puts(out, key);
    buf_putz(out, "=\"");
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] == '"' || value.p[i] == '\\')
            buf_putc(out, '\\');
        buf_putc(out, value.p[i]);
    }
    buf_putc(out, '"');
    return true;
}

static enum ec add_tags(
    struct query_job *job, struct params *ps, const Tempopb__SearchRequest *m, struct err *err)
{
    struct buf text = BUF_INIT;
    bool ok = true;
    for (size_t i = 0; i < m->n_tags && ok && text.n <= TAGS_BYTES_MAX; i++) {
        const Tempopb__SearchRequest__Tag *t = m->tags[i];
        if (t->value.len > TAGS_BYTES_MAX || t->key.len > TAGS_BYTES_MAX)
            ok = false;
        else
            ok = put_tag(&text, str_n((const char *)t->key.data, t->key.len),
                str_n((const char *)t->value.data, t->value.len));
    }
    bool fits = ok && text.n <= TAGS_BYTES_MAX;
    struct str copy = fits ? arena_str(&job->arena, buf_str(&text)) : str_n(NULL, 0);
    buf_deinit(&text);
    if (!ok)
        return ERR(err, EC_INVALID, "build search request failed: invalid key");
    if (!fits)
        return ERR(err, EC_INVALID, "invalid tags: over %u bytes", TAGS_BYTES_MAX);
    ps->failed |= copy.p == NULL && m->n_tags != 0;
    add(ps, "tags", copy);
    return EC_OK;
}

static enum ec decode_search(struct query_job *job, struct bytes message, struct err *err)
{
    const Tempopb__SearchRequest *m;
    struct params ps = {.arena = &job->arena};
    UNPACK(job, Tempopb__SearchRequest, search_request, message, &m, err);
    add_nonzero(&ps, "start", m->start, "");
    add_nonzero(&ps, "end", m->end, "");
    add_nonzero(&ps, "limit", m->limit, "");
    add_nonzero(&ps, "maxDuration", m->max_duration_ms, "ms");
    add_nonzero(&ps, "minDuration", m->min_duration_ms, "ms");
    add_number(&ps, "spss", m->spans_per_span_set, ""); /* zero too */
    add_bytes(&ps, "q", m->query);
    if (m->n_tags != 0)
        TRY(add_tags(job, &ps, m, err));
    return done(job, &ps, err);
}

static enum ec decode_tags(struct query_job *job, struct bytes message, struct err *err)
{
    const Tempopb__SearchTagsRequest *m;
    struct params ps = {.arena = &job->arena};
    UNPACK(job, Tempopb__SearchTagsRequest, search_tags_request, message, &m, err);
    add_nonzero(&ps, "start", m->start, "");
    add_nonzero(&ps, "end", m->end, "");
    add_bytes(&ps, "scope", m->scope);
    add_bytes(&ps, "q", m->query);
    add_nonzero(&ps, "limit", m->max_tags_per_scope, "");
    return done(job, &ps, err);
}

static enum ec decode_values(struct query_job *job, struct bytes message, struct err *err)
{
    const Tempopb__SearchTagValuesRequest *m;
    struct params ps = {.arena = &job->arena};
    UNPACK(job, Tempopb__SearchTagValuesRequest, search_tag_values_request, message, &m, err);
    add_nonzero(&ps, "start", m->start, "");
    add_nonzero(&ps, "end", m->end, "");
    add_bytes(&ps, "q", m->query);
    add_nonzero(&ps, "limit", m->max_tag_values, "");
    job->path_arg = str_n((const char *)m->tag_name.data, m->tag_name.len);
    return done(job, &ps, err);
}

static enum ec decode_range(struct query_job *job, struct bytes message, struct err *err)
{
    const Tempopb__QueryRangeRequest *m;
    struct params ps = {.arena = &job->arena};
    UNPACK(job, Tempopb__QueryRangeRequest, query_range_request, message, &m, err);
    add_time(&ps, "start", m->start);
    add_time(&ps, "end", m->end);
    add_nonzero(&ps, "step", MIN(m->step, (uint64_t)INT64_MAX), "ns");
    add_bytes(&ps, "q", m->query);
    add_nonzero(&ps, "exemplars", m->exemplars, "");
    add_nonzero(&ps, "maxSeries", m->max_series, "");
    if (m->instant)
        add(&ps, "instant", STR("true"));
    return done(job, &ps, err);
}

static enum ec decode_instant(struct query_job *job, struct bytes message, struct err *err)
{
    const Tempopb__QueryInstantRequest *m;
    struct params ps = {.arena = &job->arena};
    UNPACK(job, Tempopb__QueryInstantRequest, query_instant_request, message, &m, err);
    add_time(&ps, "start", m->start);
    add_time(&ps, "end", m->end);
    add_bytes(&ps, "q", m->query);
    return done(job, &ps, err);
}

/* ---- methods ---- */

#define ROUTE(name) #name, "/tempopb.StreamingQuerier/" #name
#define ENDPOINT(fn, group)      \
    {                            \
        .run = fn, .op = (group) \
    }
static const struct grpc_method methods[] = {
    {ROUTE(Search), "/api/search", NULL, ENDPOINT(api_search, "search"), decode_search, false},
    {ROUTE(SearchTags), "/api/search/tags", NULL, ENDPOINT(api_tags_v1, "metadata"), decode_tags,
        false},
    {ROUTE(SearchTagsV2), "/api/v2/search/tags", NULL, ENDPOINT(api_tags_v2, "metadata"),
        decode_tags, true},
    {ROUTE(SearchTagValues), "/api/search/tag/", "/values", ENDPOINT(api_values_v1, "metadata"),
        decode_values, false},
    {ROUTE(SearchTagValuesV2), "/api/v2/search/tag/", "/values",
        ENDPOINT(api_values_v2, "metadata"), decode_values, false},
    {ROUTE(MetricsQueryRange), "/api/metrics/query_range", NULL,
        ENDPOINT(api_metrics_range, "metrics"), decode_range, false},
    {ROUTE(MetricsQueryInstant), "/api/metrics/query_range", NULL,
        ENDPOINT(api_metrics_instant, "metrics"), decode_instant, false},
};

const struct grpc_method *grpc_method_find(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(methods); i++)
        if (str_eqz(name, methods[i].name))
            return &methods[i];
    return NULL;
}
