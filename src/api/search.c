/* SPDX-License-Identifier: Apache-2.0
 * /api/search: TraceQL and legacy tag search. Validation order and texts are Tempo's (spec
 * tempo-api 9.2). */
#include <stdio.h>

#include "api_internal.h"
#include "base/clock.h"
#include "caller.h"
#include "columns.h"
#include "grpc_query.h"
#include "json_out.h"
#include "model/otlp_write.h"
#include "params.h"

struct search_params {
    uint64_t start_s, end_s;
    struct str q;
    bool has_q, has_limit, has_spss;
    struct search_request req;
};

static enum ec parse_tags(struct query_job *job, struct search_params *p, struct err *err)
{
    struct str text;
    struct param_pair *pairs;
    size_t n;
    bool has_tags = job_param(job, "tags", &text);
    if (has_tags && p->has_q)
        return ERR(err, EC_INVALID, "invalid request: can't specify tags and q in the same query");
    if (!has_tags)
        return EC_OK;
    TRY(param_logfmt(text, &job->arena, &pairs, &n, err));
    struct search_tag *tags = ARENA_ARRAY(&job->arena, n, struct search_tag);
    if (tags == NULL)
        return ERR(err, EC_LIMIT, "tags are over the query's memory budget");
    for (size_t i = 0; i < n; i++)
        tags[i] = (struct search_tag){pairs[i].key, pairs[i].value};
    p->req.tags = tags;
    p->req.n_tags = n;
    return EC_OK;
}

static enum ec parse_durations(struct query_job *job, struct search_params *p, struct err *err)
{
    struct str v;
    int64_t min = 0, max = 0;
    if (job_param(job, "minDuration", &v) && param_go_duration(v, &min, err) != EC_OK)
        return err_prefix(err, "invalid minDuration");
    if (job_param(job, "maxDuration", &v)) {
        if (param_go_duration(v, &max, err) != EC_OK)
            return err_prefix(err, "invalid maxDuration");
        if (min != 0 && max <= min)
            return ERR(err, EC_INVALID, "invalid maxDuration: must be greater than minDuration");
    }
    p->req.min_duration_ns = min > 0 ? (uint64_t)min : 0;
    p->req.max_duration_ns = max > 0 ? (uint64_t)max : 0;
    return EC_OK;
}

static enum ec parse_limits(struct query_job *job, struct search_params *p, struct err *err)
{
    const struct config *c = job->api->opt.config;
    struct str v;
    uint64_t limit = c->search_default_limit, spss = c->search_default_spss;
    if (job_param(job, "limit", &v)) {
        TRY(param_uint(v, "invalid limit", 32, &limit, err));
        if (limit == 0)
            return ERR(err, EC_INVALID, "invalid limit: must be a positive number");
    }
    if (job_param(job, "spss", &v))
        TRY(param_uint(v, "invalid spss", 32, &spss, err));
    p->req.limit = (uint32_t)limit;
    p->req.spss = (uint32_t)spss;
    return EC_OK;
}

static enum ec parse_query(struct query_job *job, struct search_params *p, struct err *err)
{
    struct tql_query *q;
    struct str text;
    TRY(job_check_query_text(job, p->q, err));
    TRY(caller_query_text(job->caller, p->q, &job->arena, &text, err));
    enum ec ec = tql_compile(text, &job->arena, &q, NULL, err);
    if (ec == EC_INVALID)
        err_prefix(err, "invalid TraceQL query");
    TRY(ec);
    TRY(caller_check_query(job->caller, q, err));
    p->req.q = q;
    return EC_OK;
}

static enum ec parse_request(struct query_job *job, struct search_params *p, struct err *err)
{
    const struct config *c = job->api->opt.config;
    struct str v;
    *p = (struct search_params){0};
    if (job_param(job, "start", &v))
        TRY(param_uint(v, "invalid start", 32, &p->start_s, err));
    if (job_param(job, "end", &v))
        TRY(param_uint(v, "invalid end", 32, &p->end_s, err));
    p->has_q = job_param(job, "q", &p->q);
    TRY(parse_tags(job, p, err));
    if (job->caller != NULL && job->caller->restricted && !p->has_q && p->req.n_tags == 0) {
        p->has_q = true; /* as the query that lists every span */
        p->q = STR("{ }");
    }
    TRY(parse_durations(job, p, err));
    TRY(parse_limits(job, p, err));
    if ((p->start_s != 0 || p->end_s != 0) && p->end_s <= p->start_s)
        return ERR(err, EC_INVALID,
            "http parameter start must be before end. received start=%llu end=%llu",
            (unsigned long long)p->start_s, (unsigned long long)p->end_s);
    if (c->search_max_limit != 0 && p->req.limit > c->search_max_limit)
        return ERR(
            err, EC_INVALID, "limit %u exceeds max limit %u", p->req.limit, c->search_max_limit);
    if (p->has_q)
        TRY(parse_query(job, p, err));
    struct time_range range;
    TRY(job_clamped_range(job, &range, err));
    TRY(job_check_range_length(job, &range, err));
    p->req.start_ns = range.start_ns;
    p->req.end_ns = range.end_ns;
    if (c->search_max_spss != 0 && p->req.spss > c->search_max_spss)
        return ERR(err, EC_INVALID, "spans per span set exceeds %u. received %u",
            c->search_max_spss, p->req.spss);
    if (p->req.spss == 0)
        p->req.spss = 3; /* the engine's default, whatever the configuration says */
    return EC_OK;
}

/* ---- answers ---- */

static void put_attrs(struct buf *out, bool *first, const struct result_attr *attrs, uint32_t n)
{
    if (n == 0) {
        if (attrs == result_attrs_emptied) {
            json_key(out, first, "attributes");
            buf_putz(out, "[]");
        }
        return;
    }
    json_key(out, first, "attributes");
    for (uint32_t i = 0; i < n; i++) {
        buf_putc(out, i == 0 ? '[' : ',');
        json_key_value(out, attrs[i].key, &attrs[i].value);
    }
    buf_putc(out, ']');
}

static size_t span_hex(char out[16], span_id id)
{
    uint8_t b[8];
    put_u64be(b, id);
    hex_encode(out, b, 8);
    return 16;
}

static void put_set(struct buf *out, const struct result_spanset *s)
{
    bool f = true;
    buf_putc(out, '{');
    if (s->n_spans != 0)
        json_key(out, &f, "spans");
    for (uint32_t i = 0; i < s->n_spans; i++) {
        const struct result_span *sp = &s->spans[i];
        char hex[16];
        bool sf = true;
        buf_putz(out, i == 0 ? "[{" : ",{");
        json_key(out, &sf, "spanID");
        json_str(out, str_n(hex, span_hex(hex, sp->id)));
        if (sp->has_name && sp->name.n != 0) {
            json_key(out, &sf, "name");
            json_str(out, sp->name);
        }
        if (sp->start_ns != 0) {
            json_key(out, &sf, "startTimeUnixNano");
            json_u64_str(out, sp->start_ns);
        }
        if (sp->duration_ns != 0) {
            json_key(out, &sf, "durationNanos");
            json_u64_str(out, sp->duration_ns);
        }
        put_attrs(out, &sf, sp->attrs, sp->n_attrs);
        buf_putz(out, i + 1 == s->n_spans ? "}]" : "}");
    }
    if (s->matched != 0) {
        json_key(out, &f, "matched");
        json_u64(out, s->matched);
    }
    put_attrs(out, &f, s->attrs, s->n_attrs);
    buf_putc(out, '}');
}

static size_t trace_hex(struct query_job *job, char out[32], const struct trace_id *id)
{
    if (!job->limits.left_pad_trace_ids)
        return trace_id_short_hex(out, id);
    hex_encode(out, id->b, 16);
    return 32;
}

static struct str root_service(const struct result_trace *t)
{
    return t->root_service.n != 0 ? t->root_service : STR("<root span not yet received>");
}

static void put_trace(struct query_job *job, struct buf *out, const struct result_trace *t)
{
    char hex[32];
    bool f = true;
    buf_putc(out, '{');
    json_key(out, &f, "traceID");
    json_str(out, str_n(hex, trace_hex(job, hex, &t->id)));
    json_key(out, &f, "rootServiceName");
    json_str(out, root_service(t));
    if (t->root_name.n != 0) {
        json_key(out, &f, "rootTraceName");
        json_str(out, t->root_name);
    }
    if (t->start_ns != 0) {
        json_key(out, &f, "startTimeUnixNano");
        json_u64_str(out, t->start_ns);
    }
    if (t->duration_ns >= (uint64_t)NS_PER_MS) {
        json_key(out, &f, "durationMs");
        json_u64(out, MIN(t->duration_ns / (uint64_t)NS_PER_MS, UINT32_MAX));
    }
    if (t->n_sets != 0) {
        json_key(out, &f, "spanSet");
        size_t from = out->n;
        put_set(out, &t->sets[0]);
        size_t n = out->n - from;
        json_key(out, &f, "spanSets");
        buf_putc(out, '[');
        if (buf_reserve(out, n)) /* the same bytes again */
            buf_put(out, out->p + from, n);
        for (uint32_t i = 1; i < t->n_sets; i++) {
            buf_putc(out, ',');
            put_set(out, &t->sets[i]);
        }
        buf_putc(out, ']');
    }
    for (uint32_t i = 0; i < t->n_services; i++) {
        const struct result_service *s = &t->services[i];
        if (i == 0)
            json_key(out, &f, "serviceStats");
        buf_putc(out, i == 0 ? '{' : ',');
        json_str(out, s->name);
        buf_putz(out, ":{");
        bool sf = true;
        if (s->spans != 0) {
            json_key(out, &sf, "spanCount");
            json_u64(out, s->spans);
        }
        if (s->errors != 0) {
            json_key(out, &sf, "errorCount");
            json_u64(out, s->errors);
        }
        buf_putz(out, i + 1 == t->n_services ? "}}" : "}");
    }
    buf_putc(out, '}');
}

static void put_u64_member(struct buf *out, bool *f, const char *key, uint64_t v, bool quoted)
{
    if (v == 0)
        return;
    json_key(out, f, key);
    if (quoted)
        json_u64_str(out, v);
    else
        json_u64(out, v);
}

void put_search_metrics(struct buf *out, const struct query_stats *s)
{
    bool f = true;
    buf_putz(out, "\"metrics\":{");
    put_u64_member(out, &f, "inspectedTraces", s->inspected_traces, false);
    put_u64_member(out, &f, "inspectedBytes", s->inspected_bytes, true);
    put_u64_member(out, &f, "totalBlocks", s->total_blocks, false);
    put_u64_member(out, &f, "completedJobs", s->completed_jobs, false);
    put_u64_member(out, &f, "totalJobs", s->total_jobs, false);
    put_u64_member(out, &f, "totalBlockBytes", s->total_block_bytes, true);
    put_u64_member(out, &f, "inspectedSpans", s->inspected_spans, true);
    buf_putc(out, '}');
}

/* ---- protobuf: SearchResponse ---- */

static void pb_attrs(struct buf *out, uint32_t field, const struct result_attr *attrs, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        pb_put_attr(out, field, attrs[i].key, &attrs[i].value);
}

static void pb_set(struct buf *out, uint32_t field, const struct result_spanset *s)
{
    size_t set = pb_begin(out, field);
    for (uint32_t i = 0; i < s->n_spans; i++) {
        const struct result_span *sp = &s->spans[i];
        char hex[16];
        size_t m = pb_begin(out, 1);
        pb_put_bytes(out, 1, str_n(hex, span_hex(hex, sp->id)));
        if (sp->has_name && sp->name.n != 0)
            pb_put_bytes(out, 2, sp->name);
        pb_put_varint(out, 3, sp->start_ns);
        pb_put_varint(out, 4, sp->duration_ns);
        pb_attrs(out, 5, sp->attrs, sp->n_attrs);
        pb_end(out, m);
    }
    pb_put_varint(out, 2, s->matched);
    pb_attrs(out, 3, s->attrs, s->n_attrs);
    pb_end(out, set);
}

static void pb_trace(struct query_job *job, struct buf *out, const struct result_trace *t)
{
    char hex[32];
    size_t m = pb_begin(out, 1);
    pb_put_bytes(out, 1, str_n(hex, trace_hex(job, hex, &t->id)));
    pb_put_bytes(out, 2, root_service(t));
    if (t->root_name.n != 0)
        pb_put_bytes(out, 3, t->root_name);
    pb_put_varint(out, 4, t->start_ns);
    pb_put_varint(out, 5, MIN(t->duration_ns / (uint64_t)NS_PER_MS, UINT32_MAX));
    if (t->n_sets != 0)
        pb_set(out, 6, &t->sets[0]);
    for (uint32_t i = 0; i < t->n_sets; i++)
        pb_set(out, 7, &t->sets[i]);
    for (uint32_t i = 0; i < t->n_services; i++) {
        size_t e = pb_begin(out, 8);
        pb_put_bytes(out, 1, t->services[i].name);
        size_t v = pb_begin(out, 2);
        pb_put_varint(out, 1, t->services[i].spans);
        pb_put_varint(out, 2, t->services[i].errors);
        pb_end(out, v);
        pb_end(out, e);
    }
    pb_end(out, m);
}

void pb_search_metrics(struct buf *out, const struct query_stats *s)
{
    size_t m = pb_begin(out, 2);
    pb_put_varint(out, 1, s->inspected_traces);
    pb_put_varint(out, 2, s->inspected_bytes);
    pb_put_varint(out, 3, s->total_blocks);
    pb_put_varint(out, 4, s->completed_jobs);
    pb_put_varint(out, 5, s->total_jobs);
    pb_put_varint(out, 6, s->total_block_bytes);
    pb_put_varint(out, 7, s->inspected_spans);
    pb_end(out, m);
}

static void put_answer_pb(struct query_job *job, struct buf *out, const struct search_result *r)
{
    for (size_t i = 0; i < r->n; i++)
        pb_trace(job, out, &r->traces[i]);
    pb_search_metrics(out, &r->stats);
}

static void tell(void *arg, const struct search_result *part)
{
    struct query_job *job = arg;
    struct buf out;
    bool restricted = job->caller != NULL && job->caller->restricted; /* nothing was hidden yet */
    if (restricted || !grpc_job_wants(job))
        return;
    buf_init(&out, &job->budget);
    put_answer_pb(job, &out, part);
    grpc_job_tell(job, &out);
}

void api_search(struct query_job *job)
{
    struct search_params p;
    struct search_result r;
    struct err err = {0};
    job->stream.search = tell;
    job->stream.arg = job;
    enum ec ec = parse_request(job, &p, &err);
    if (ec == EC_OK)
        ec = job_open(job, &err);
    if (ec == EC_OK)
        ec = query_search(&job->ctx, &p.req, &r, &err);
    if (ec == EC_OK)
        ec = caller_hide_search(job->caller, &r, &job->arena, &err);
    bool proto = job_accept(job) == ACCEPT_PROTOBUF;
    bool restricted = job->caller != NULL && job->caller->restricted; /* hidden is not "missing" */
    if (ec == EC_OK && !proto && !restricted && job_for_grafana(job))
        ec = columns_unify(&r, &job->arena, &err);
    if (ec != EC_OK) {
        job_fail(job, ec, &err);
        return;
    }
    job_count_bytes(job, &r.stats);
    struct buf out;
    buf_init(&out, &job->budget);
    if (proto) {
        put_answer_pb(job, &out, &r);
        job_respond_ok(job, "application/protobuf", &out);
        return;
    }
    buf_putz(&out, "{\"traces\":[");
    for (size_t i = 0; i < r.n; i++) {
        if (i != 0)
            buf_putc(&out, ',');
        put_trace(job, &out, &r.traces[i]);
    }
    buf_putz(&out, "],");
    put_search_metrics(&out, &r.stats);
    buf_putc(&out, '}');
    job_respond_ok(job, "application/json", &out);
}
