/* SPDX-License-Identifier: Apache-2.0
 * Tag names and tag values, v1 and v2 (spec tempo-api 10 and 11). */
#include <stdio.h>

#include "grpc_query.h"
#include "json_out.h"
#include "model/otlp_write.h"
#include "params.h"

/* What Tempo 3 lists in scope `intrinsic`, sorted. */
static const char *const intrinsics[] = {"duration", "event:name", "event:timeSinceStart",
    "instrumentation:name", "instrumentation:version", "kind", "link:spanID", "link:traceID",
    "name", "rootName", "rootServiceName", "span:duration", "span:id", "span:kind", "span:name",
    "span:parentID", "span:status", "span:statusMessage", "status", "statusMessage",
    "trace:duration", "trace:id", "trace:rootName", "trace:rootService", "traceDuration"};

static const char *const scope_names[TAG_SCOPES] = {
    [TAG_RESOURCE] = "resource",
    [TAG_SPAN] = "span",
    [TAG_EVENT] = "event",
    [TAG_LINK] = "link",
    [TAG_INSTRUMENTATION] = "instrumentation",
};

struct tags_params {
    struct tags_request req;
    bool intrinsic; /* list the intrinsics */
    struct query_job *job;
    bool intrinsic_told;
};

/* limit: absent or unparseable means none. */
static uint32_t limit_param(struct query_job *job)
{
    struct str v;
    uint64_t n;
    struct err ignored;
    if (!job_param(job, "limit", &v) || param_uint(v, "", 32, &n, &ignored) != EC_OK)
        return 0;
    return (uint32_t)n;
}

static enum ec parse_filter(struct query_job *job, const struct tql_attr *tag,
    const struct tql_filter_groups **ret, struct err *err)
{
    struct str q;
    *ret = NULL;
    if (!job_param(job, "q", &q))
        return EC_OK;
    TRY(job_check_query_text(job, q, err));
    return tql_filter_groups_parse(
        q, tag, job->limits.max_condition_groups_per_tag_query, &job->arena, ret, err);
}

static enum ec parse_scope(struct query_job *job, bool v1, struct tags_params *p, struct err *err)
{
    struct str scope;
    if (!job_param(job, "scope", &scope) || str_eq(scope, STR("none"))) {
        p->req.scopes = (1u << TAG_SCOPES) - 1;
        p->intrinsic = !v1;
        return EC_OK;
    }
    if (str_eq(scope, STR("intrinsic"))) {
        p->intrinsic = true;
        return EC_OK;
    }
    if (str_eq(scope, STR("trace")))
        return EC_OK;
    for (unsigned i = 0; i < TAG_SCOPES; i++) {
        if (str_eqz(scope, scope_names[i])) {
            p->req.scopes = 1u << i;
            return EC_OK;
        }
    }
    return ERR(err, EC_INVALID, "invalid scope: " STR_FMT, (int)MIN(scope.n, 200), scope.p);
}

static enum ec parse_tags_request(
    struct query_job *job, bool v1, struct tags_params *p, struct err *err)
{
    struct time_range range;
    *p = (struct tags_params){0};
    if (!v1)
        TRY(parse_filter(job, NULL, &p->req.filter, err));
    TRY(job_clamped_range(job, &range, err));
    TRY(parse_scope(job, v1, p, err));
    TRY(job_check_range_length(job, &range, err));
    p->req.start_ns = range.start_ns;
    p->req.end_ns = range.end_ns;
    p->req.limit = limit_param(job);
    p->req.bytes_max = job->limits.max_bytes_per_tag_values_query;
    return EC_OK;
}

void put_tag_metrics(struct buf *out, const struct query_stats *s)
{
    buf_putz(out, "\"metrics\":{");
    if (s->inspected_bytes != 0)
        buf_printf(out, "\"inspectedBytes\":\"%llu\"", (unsigned long long)s->inspected_bytes);
    buf_putc(out, '}');
}

/* Jobs are told to streams only: they drive a progress bar. */
static void pb_tag_metrics(
    const struct query_job *job, struct buf *out, const struct query_stats *s)
{
    size_t m = pb_begin(out, 2);
    if (s->inspected_bytes != 0)
        pb_put_varint(out, 1, s->inspected_bytes);
    if (job->grpc != NULL) {
        pb_put_varint(out, 2, s->total_jobs);
        pb_put_varint(out, 3, s->completed_jobs);
    }
    pb_end(out, m);
}

/* Names of all scopes merged, sorted, distinct, cut to the limit (v1). */
static enum ec merge_names(struct query_job *job, const struct tags_params *p,
    const struct tags_result *r, struct str **ret, size_t *ret_n, struct err *err)
{
    size_t at[TAG_SCOPES + 1] = {0}, total = p->intrinsic ? ARRAY_LEN(intrinsics) : 0, n = 0;
    for (unsigned s = 0; s < TAG_SCOPES; s++)
        total += r->n[s];
    struct str *names = ARENA_ARRAY(&job->arena, total, struct str);
    if (names == NULL)
        return ERR(err, EC_LIMIT, "tag names are over the query's memory budget");
    for (;;) {
        struct str least = {0};
        bool any = false;
        for (unsigned s = 0; s <= TAG_SCOPES; s++) {
            bool own = s == TAG_SCOPES;
            size_t len = own ? (p->intrinsic ? ARRAY_LEN(intrinsics) : 0) : r->n[s];
            if (at[s] == len)
                continue;
            struct str c = own ? str_from(intrinsics[at[s]]) : r->names[s][at[s]];
            if (!any || str_cmp(c, least) < 0)
                least = c;
            any = true;
        }
        if (!any || (p->req.limit != 0 && n == p->req.limit))
            break;
        names[n++] = least;
        for (unsigned s = 0; s < TAG_SCOPES; s++)
            if (at[s] < r->n[s] && str_eq(r->names[s][at[s]], least))
                at[s]++;
        if (p->intrinsic && at[TAG_SCOPES] < ARRAY_LEN(intrinsics) &&
            str_eqz(least, intrinsics[at[TAG_SCOPES]]))
            at[TAG_SCOPES]++;
    }
    *ret = names;
    *ret_n = n;
    return EC_OK;
}

static enum ec run_tags(
    struct query_job *job, bool v1, struct tags_params *p, struct tags_result *r, struct err *err)
{
    TRY(parse_tags_request(job, v1, p, err));
    p->job = job;
    job->stream.arg = p;
    TRY(job_open(job, err));
    TRY(query_tags(&job->ctx, &p->req, r, err));
    job_count_bytes(job, &r->stats);
    return EC_OK;
}

static void put_names_pb(const struct query_job *job, struct buf *out, const struct str *names,
    size_t n, const struct query_stats *stats)
{
    for (size_t i = 0; i < n; i++)
        pb_put_bytes(out, 1, names[i]);
    pb_tag_metrics(job, out, stats);
}

static void tell_tags_v1(void *arg, const struct tags_result *part)
{
    struct tags_params *p = arg, now = *p;
    struct str *names;
    struct buf out;
    size_t n;
    now.intrinsic = p->intrinsic && !p->intrinsic_told;
    if (!grpc_job_wants(p->job) || merge_names(p->job, &now, part, &names, &n, NULL) != EC_OK)
        return;
    buf_init(&out, &p->job->budget);
    put_names_pb(p->job, &out, names, n, &part->stats);
    grpc_job_tell(p->job, &out);
    p->intrinsic_told = true;
}

void api_tags_v1(struct query_job *job)
{
    struct tags_params p;
    struct tags_result r;
    struct err err = {0};
    struct str *names = NULL;
    size_t n = 0;
    job->stream.tags = tell_tags_v1;
    enum ec ec = run_tags(job, true, &p, &r, &err);
    if (ec == EC_OK)
        ec = merge_names(job, &p, &r, &names, &n, &err);
    if (ec != EC_OK) {
        job_fail(job, ec, &err);
        return;
    }
    struct buf out;
    buf_init(&out, &job->budget);
    if (job_accept(job) == ACCEPT_PROTOBUF) {
        put_names_pb(job, &out, names, n, &r.stats);
        job_respond_ok(job, "application/protobuf", &out);
        return;
    }
    buf_putz(&out, "{\"tagNames\":[");
    for (size_t i = 0; i < n; i++) {
        if (i != 0)
            buf_putc(&out, ',');
        json_str(&out, names[i]);
    }
    buf_putz(&out, "],");
    put_tag_metrics(&out, &r.stats);
    buf_putc(&out, '}');
    job_respond_ok(job, "application/json", &out);
}

/* One scope of the v2 answer, in either form; nothing for an empty one. */
static void put_scope(
    struct buf *out, bool proto, bool *first, const char *name, const struct str *tags, size_t n)
{
    if (n == 0)
        return;
    if (proto) {
        size_t m = pb_begin(out, 1);
        pb_put_bytes(out, 1, str_from(name));
        for (size_t i = 0; i < n; i++)
            pb_put_bytes(out, 2, tags[i]);
        pb_end(out, m);
        return;
    }
    buf_printf(out, "%s{\"name\":\"%s\",\"tags\":", *first ? "" : ",", name);
    *first = false;
    for (size_t i = 0; i < n; i++) {
        buf_putc(out, i == 0 ? '[' : ',');
        json_str(out, tags[i]);
    }
    buf_putz(out, "]}");
}

/* All scopes of the answer. */
static void put_scopes(struct buf *out, bool proto, bool intrinsic, const struct tags_result *r)
{
    bool first = true;
    for (unsigned s = 0; s < TAG_SCOPES; s++)
        put_scope(out, proto, &first, scope_names[s], r->names[s], r->n[s]);
    struct str own[ARRAY_LEN(intrinsics)];
    for (size_t i = 0; i < ARRAY_LEN(intrinsics); i++)
        own[i] = str_from(intrinsics[i]);
    if (intrinsic)
        put_scope(out, proto, &first, "intrinsic", own, ARRAY_LEN(own));
}

static void tell_tags_v2(void *arg, const struct tags_result *part)
{
    struct tags_params *p = arg;
    struct buf out;
    if (!grpc_job_wants(p->job))
        return;
    buf_init(&out, &p->job->budget);
    put_scopes(&out, true, p->intrinsic && !p->intrinsic_told, part);
    pb_tag_metrics(p->job, &out, &part->stats);
    grpc_job_tell(p->job, &out);
    p->intrinsic_told = true;
}

void api_tags_v2(struct query_job *job)
{
    struct tags_params p;
    struct tags_result r;
    struct err err = {0};
    job->stream.tags = tell_tags_v2;
    enum ec ec = run_tags(job, false, &p, &r, &err);
    if (ec != EC_OK) {
        job_fail(job, ec, &err);
        return;
    }
    struct buf out;
    buf_init(&out, &job->budget);
    bool proto = job_accept(job) == ACCEPT_PROTOBUF;
    if (!proto)
        buf_putz(&out, "{\"scopes\":[");
    put_scopes(&out, proto, p.intrinsic, &r);
    if (proto) {
        pb_tag_metrics(job, &out, &r.stats);
        job_respond_ok(job, "application/protobuf", &out);
        return;
    }
    buf_putz(&out, "],");
    put_tag_metrics(&out, &r.stats);
    buf_putc(&out, '}');
    job_respond_ok(job, "application/json", &out);
}

/* ---- values ---- */

static void put_values_pb(
    const struct query_job *job, struct buf *out, bool v1, const struct values_result *r)
{
    for (size_t i = 0; i < r->n; i++) {
        if (v1) {
            pb_put_bytes(out, 1, r->values[i].value);
            continue;
        }
        size_t m = pb_begin(out, 1);
        pb_put_bytes(out, 1, str_from(r->values[i].type));
        pb_put_bytes(out, 2, r->values[i].value);
        pb_end(out, m);
    }
    pb_tag_metrics(job, out, &r->stats);
}

static void tell_values(struct query_job *job, bool v1, const struct values_result *part)
{
    struct buf out;
    if (!grpc_job_wants(job))
        return;
    buf_init(&out, &job->budget);
    put_values_pb(job, &out, v1, part);
    grpc_job_tell(job, &out);
}

static void tell_values_v1(void *arg, const struct values_result *part)
{
    tell_values(arg, true, part);
}

static void tell_values_v2(void *arg, const struct values_result *part)
{
    tell_values(arg, false, part);
}

static enum ec run_values(struct query_job *job, bool v1, struct values_result *r, struct err *err)
{
    struct values_request req = {0};
    struct time_range range;
    struct err bad_name = {0};
    enum ec name_ec = EC_OK;
    if (!v1) {
        /* The name is needed to count the filter's groups, its error comes later in Tempo's
         * order. */
        name_ec = job->path_arg.n == 0
                      ? EC_OK
                      : tql_attr_parse(job->path_arg, &job->arena, &req.attr, &bad_name);
        TRY(parse_filter(job, req.attr, &req.filter, err));
    }
    TRY(job_clamped_range(job, &range, err));
    if (job->path_arg.n == 0)
        return ERR(err, EC_INVALID, "please provide a non-empty tagName");
    if (name_ec != EC_OK) {
        *err = bad_name;
        if (name_ec == EC_INVALID)
            err_prefix(err, "please provide a valid tagName");
        return name_ec;
    }
    TRY(job_check_range_length(job, &range, err));
    req.v1_name = job->path_arg;
    req.start_ns = range.start_ns;
    req.end_ns = range.end_ns;
    req.limit = limit_param(job);
    req.bytes_max = job->limits.max_bytes_per_tag_values_query;
    job->stream.values = v1 ? tell_values_v1 : tell_values_v2;
    job->stream.arg = job;
    TRY(job_open(job, err));
    TRY(query_values(&job->ctx, &req, r, err));
    job_count_bytes(job, &r->stats);
    return EC_OK;
}

void api_values_v1(struct query_job *job)
{
    struct values_result r;
    struct err err = {0};
    enum ec ec = run_values(job, true, &r, &err);
    if (ec != EC_OK) {
        job_fail(job, ec, &err);
        return;
    }
    struct buf out;
    buf_init(&out, &job->budget);
    if (job_accept(job) == ACCEPT_PROTOBUF) {
        put_values_pb(job, &out, true, &r);
        job_respond_ok(job, "application/protobuf", &out);
        return;
    }
    buf_putz(&out, "{\"tagValues\":[");
    for (size_t i = 0; i < r.n; i++) {
        if (i != 0)
            buf_putc(&out, ',');
        json_str(&out, r.values[i].value);
    }
    buf_putz(&out, "],");
    put_tag_metrics(&out, &r.stats);
    buf_putc(&out, '}');
    job_respond_ok(job, "application/json", &out);
}

static void put_values_llm(struct buf *out, const struct values_result *r)
{
    buf_putz(out, "{\"tagValues\":{");
    for (size_t i = 0; i < r->n; i++) { /* sorted by type: each type is one run */
        bool new_type = i == 0 || strcmp(r->values[i].type, r->values[i - 1].type) != 0;
        if (new_type)
            buf_printf(out, "%s\"%s\":[", i == 0 ? "" : "],", r->values[i].type);
        else
            buf_putc(out, ',');
        json_str(out, r->values[i].value);
    }
    buf_putz(out, r->n == 0 ? "},\"metrics\":{" : "]},\"metrics\":{");
    if (r->stats.inspected_bytes != 0)
        buf_printf(out, "\"inspectedBytes\":%llu", (unsigned long long)r->stats.inspected_bytes);
    buf_putz(out, "}}");
}

/* The values from *i on that are of one type and need no escaping, in one go: there may be very
 * many. */
static void put_plain_values(struct buf *out, const struct values_result *r, size_t *i)
{
    static const char end[] = "\"}";
    const char *type = r->values[*i].type;
    char begin[64];
    size_t n = (size_t)snprintf(begin, sizeof(begin), ",{\"type\":\"%s\",\"value\":\"", type);
    ASSERT(n < sizeof(begin));
    for (; *i < r->n; ++*i) {
        struct str s = r->values[*i].value;
        if (r->values[*i].type != type || s.n == 0 || !json_plain(s) ||
            !buf_reserve(out, n + s.n + sizeof(end)))
            return;
        size_t comma = *i == 0 ? 1 : 0;
        uint8_t *p = out->p + out->n;
        memcpy(p, begin + comma, n - comma);
        p += n - comma;
        memcpy(p, s.p, s.n);
        p += s.n;
        memcpy(p, end, sizeof(end) - 1);
        out->n = (size_t)(p + sizeof(end) - 1 - out->p);
    }
}

static void put_values_json(struct buf *out, const struct values_result *r)
{
    buf_putz(out, "{\"tagValues\":[");
    for (size_t i = 0; i < r->n; i++) {
        put_plain_values(out, r, &i);
        if (i == r->n)
            break;
        buf_putz(out, i == 0 ? "{\"type\":\"" : ",{\"type\":\"");
        buf_putz(out, r->values[i].type);
        buf_putc(out, '"');
        if (r->values[i].value.n != 0) {
            buf_putz(out, ",\"value\":");
            json_str(out, r->values[i].value);
        }
        buf_putc(out, '}');
    }
    buf_putz(out, "],");
    put_tag_metrics(out, &r->stats);
    buf_putc(out, '}');
}

void api_values_v2(struct query_job *job)
{
    struct values_result r;
    struct err err = {0};
    enum ec ec = run_values(job, false, &r, &err);
    if (ec != EC_OK) {
        job_fail(job, ec, &err);
        return;
    }
    struct buf out;
    buf_init(&out, &job->budget);
    enum accept accept = job_accept(job);
    if (accept == ACCEPT_PROTOBUF) {
        put_values_pb(job, &out, false, &r);
        job_respond_ok(job, "application/protobuf", &out);
    } else if (accept == ACCEPT_LLM) {
        put_values_llm(&out, &r);
        job_respond_ok(job, "application/vnd.grafana.llm+json", &out);
    } else {
        put_values_json(&out, &r);
        job_respond_ok(job, "application/json", &out);
    }
}
