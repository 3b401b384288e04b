/* SPDX-License-Identifier: Apache-2.0
 * /api/metrics/query_range and /api/metrics/query: TraceQL metrics. Order of checks and texts are
 * Tempo's (spec tempo-api 12). Answers are always JSON. */
#include "query/metrics.h"

#include <math.h>
#include <stdio.h>

#include "base/clock.h"
#include "grpc_query.h"
#include "json_out.h"
#include "model/otlp_write.h"
#include "params.h"
#include "query/format.h"

static enum ec parse_time(struct query_job *job, const char *key, int64_t *ret, struct err *err)
{
    struct err cause = {0};
    struct str v;
    if (!job_param(job, key, &v) || v.n == 0)
        return EC_OK;
    if (param_time(v, ret, &cause) == EC_OK)
        return EC_OK;
    return ERR(err, EC_INVALID,
        "rpc error: code = Code(400) desc = could not parse '%s' parameter: %s", key,
        err_msg(&cause));
}

static enum ec parse_range(
    struct query_job *job, struct metrics_request *req, int64_t now, struct err *err)
{
    struct err cause = {0};
    struct str v;
    int64_t since = 3600 * NS_PER_S, start, end = now;
    if (job_param(job, "since", &v) && v.n != 0 && param_prom_duration(v, &since, &cause) != EC_OK)
        return ERR(err, EC_INVALID,
            "rpc error: code = Code(400) desc = could not parse 'since' parameter: %s",
            err_msg(&cause));
    TRY(parse_time(job, "end", &end, err));
    start = MIN(end, now) - since;
    TRY(parse_time(job, "start", &start, err));
    req->start_ns = (uint64_t)MAX(start, 0);
    req->end_ns = (uint64_t)MAX(end, 0);
    return EC_OK;
}

static enum ec parse_step(struct query_job *job, struct metrics_request *req, struct err *err)
{
    struct str v;
    int64_t ns;
    double s;
    req->step_ns = req->end_ns < req->start_ns ? (uint64_t)NS_PER_S
                                               : metrics_default_step(req->end_ns - req->start_ns);
    if (!job_param(job, "step", &v) || v.n == 0)
        return EC_OK;
    if (parse_float(v, &s)) {
        if (!(fabs(s) * (double)NS_PER_S < 9.2e18))
            return ERR(err, EC_INVALID,
                "rpc error: code = Code(400) desc = cannot parse \"" STR_FMT
                "\" to a valid duration. It overflows int64",
                (int)MIN(v.n, 100), v.p);
        ns = (int64_t)(s * (double)NS_PER_S);
    } else if (!parse_duration_go(v, &ns)) {
        return ERR(err, EC_INVALID,
            "rpc error: code = Code(400) desc = cannot parse \"" STR_FMT "\" to a valid duration",
            (int)MIN(v.n, 100), v.p);
    }
    req->step_ns = (uint64_t)MAX(ns, 0);
    return EC_OK;
}

static enum ec check_intervals(
    struct query_job *job, const struct metrics_request *req, struct err *err)
{
    const struct config *c = job->api->opt.config;
    uint64_t range = req->end_ns - req->start_ns;
    uint32_t max = c->metrics_max_intervals == 0 ? 10000 : c->metrics_max_intervals;
    if (req->step_ns != 0 && range / req->step_ns <= max)
        return EC_OK;
    char step[FORMAT_DURATION_MAX], min[FORMAT_DURATION_MAX];
    format_duration(step, (int64_t)req->step_ns);
    format_duration(min, (int64_t)(range / max));
    return ERR(
        err, EC_INVALID, "step of %s is too small, minimum step for given range is %s", step, min);
}

/* gRPC has no defaults of time. */
static enum ec require_range(
    struct query_job *job, bool instant, const struct metrics_request *req, struct err *err)
{
    if (job->grpc == NULL)
        return EC_OK;
    if (req->start_ns == 0)
        return ERR(err, EC_INVALID, "start required");
    if (req->end_ns == 0)
        return ERR(err, EC_INVALID, "end required");
    if (instant && req->end_ns == req->start_ns)
        return ERR(err, EC_INVALID, "end must be greater than start");
    return EC_OK;
}

static enum ec compile(
    struct query_job *job, bool instant, struct metrics_request *req, struct err *err)
{
    enum tql_error_class class = TQL_ERROR_NONE;
    struct tql_query *q;
    struct str text = {0};
    if (!job_param(job, "q", &text))
        (void)job_param(job, "query", &text); /* absent: the parser words the error */
    TRY(job_check_query_text(job, text, err));
    job->invalid_unknown = job->grpc != NULL;
    TRY(require_range(job, instant, req, err));
    enum ec ec = tql_compile(text, &job->arena, &q, &class, err);
    if (ec == EC_INVALID && (instant || class == TQL_ERROR_CHECK))
        return err_prefix(err, "compiling query");
    TRY(ec);
    if (q->metric == NULL)
        return ERR(err, EC_INVALID, "not a metrics query");
    req->q = q;
    job->invalid_unknown = false;
    return EC_OK;
}

static enum ec check_duration(
    struct query_job *job, const struct metrics_request *req, struct err *err)
{
    int64_t max = job->limits.max_metrics_duration_ns != 0
                      ? job->limits.max_metrics_duration_ns
                      : job->api->opt.config->metrics_max_duration;
    if (max <= 0 || req->end_ns - req->start_ns <= (uint64_t)max)
        return EC_OK;
    char text[FORMAT_DURATION_MAX];
    format_duration(text, max);
    return ERR(err, EC_INVALID,
        "metrics query time range exceeds the maximum allowed duration of %s", text);
}

static uint32_t number_param(struct query_job *job, const char *key)
{
    struct err ignored = {0};
    struct str v;
    uint64_t n;
    if (!job_param(job, key, &v) || param_uint(v, key, 32, &n, &ignored) != EC_OK)
        return 0; /* as absent */
    return (uint32_t)n;
}

static void limits(struct query_job *job, struct metrics_request *req)
{
    const struct config *c = job->api->opt.config;
    uint32_t asked = number_param(job, "exemplars"), series = number_param(job, "maxSeries");
    uint32_t max = MIN(c->metrics_max_exemplars, METRICS_EXEMPLARS_MAX);
    req->exemplars = asked == 0 ? max : MIN(asked, max);
    if (req->q->has_exemplars)
        req->exemplars = MIN(req->q->exemplars, max);
    req->max_series = c->metrics_max_series;
    if (!req->instant && series != 0 && (req->max_series == 0 || series < req->max_series))
        req->max_series = series;
}

static enum ec parse(
    struct query_job *job, bool instant, struct metrics_request *req, struct err *err)
{
    int64_t now = clock_wall_ns(), cutoff = job->api->opt.config->query_end_cutoff;
    struct str v;
    *req = (struct metrics_request){.instant = instant};
    TRY(parse_range(job, req, now, err));
    if (!instant)
        TRY(parse_step(job, req, err));
    /* Over gRPC what is wrong up to the compiled query is an error without a code. */
    job->invalid_unknown = job->grpc != NULL;
    if (req->start_ns > req->end_ns)
        return ERR(err, EC_INVALID, "end must be greater than start");
    if (!instant)
        TRY(check_intervals(job, req, err));
    job->invalid_unknown = false;
    TRY(compile(job, instant, req, err));
    TRY(check_duration(job, req, err));
    limits(job, req);
    if (instant)
        req->exemplars = 0;
    else if (job_param(job, "instant", &v) && str_eq(v, STR("true")))
        req->instant = true;
    if (cutoff > 0)
        req->cutoff_ns = (uint64_t)(now - cutoff);
    return EC_OK;
}

/* Why the answer is partial; false: it is not. */
#define PARTIAL_TEXT_MAX 256
static bool partial_text(
    const struct metrics_request *req, const struct metrics_result *r, char text[PARTIAL_TEXT_MAX])
{
    const char *why = r->stats.partial_text != NULL ? r->stats.partial_text : "";
    if (r->truncated)
        snprintf(text, PARTIAL_TEXT_MAX,
            "Response exceeds maximum series limit of %u, a partial response is returned. Warning: "
            "the accuracy of each individual value is not guaranteed.",
            req->max_series);
    else
        snprintf(text, PARTIAL_TEXT_MAX, "%s", why);
    return r->truncated || r->stats.partial;
}

/* ---- JSON ---- */

static void put_labels(struct buf *out, bool *first, const struct result_attr *labels, uint32_t n)
{
    if (n == 0)
        return;
    json_key(out, first, "labels");
    for (uint32_t i = 0; i < n; i++) {
        buf_putc(out, i == 0 ? '[' : ',');
        json_key_value(out, labels[i].key, &labels[i].value);
    }
    buf_putc(out, ']');
}

static void put_point(struct buf *out, bool *first, uint64_t ns, double value, bool value_first)
{
    for (int k = 0; k < 2; k++) {
        if ((k == 0) == value_first) {
            if (value != 0) {
                json_key(out, first, "value");
                json_double(out, value);
            }
        } else if (ns / (uint64_t)NS_PER_MS != 0) {
            json_key(out, first, "timestampMs");
            json_u64_str(out, ns / (uint64_t)NS_PER_MS);
        }
    }
}

/* What every series says of a bucket, made once: `,{"timestampMs":"..."`. */
struct stamps {
    struct buf text;
    struct buf ends; /* u32 by bucket */
};

static void stamps_make(struct stamps *t, struct budget *budget, const struct metrics_result *r)
{
    buf_init(&t->text, budget);
    buf_init(&t->ends, budget);
    for (uint32_t i = 0; r->n != 0 && i < r->n_buckets; i++) {
        bool first = true;
        buf_putz(&t->text, ",{");
        put_point(&t->text, &first, r->first_ns + i * r->step_ns, 0, false);
        uint32_t end = (uint32_t)t->text.n;
        buf_put(&t->ends, &end, sizeof(end));
    }
}

static void stamps_free(struct stamps *t)
{
    buf_deinit(&t->text);
    buf_deinit(&t->ends);
}

static void put_samples(
    struct buf *out, bool *first, const struct stamps *t, const double *values, uint32_t n)
{
    const uint32_t *ends = (const uint32_t *)(const void *)t->ends.p;
    bool any = false;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t from = i == 0 ? 0 : ends[i - 1];
        if (isnan(values[i]))
            continue;
        if (!any) {
            json_key(out, first, "samples");
            buf_putc(out, '[');
        }
        from += any ? 0 : 1; /* the comma */
        buf_put(out, t->text.p + from, ends[i] - from);
        if (values[i] != 0) {
            buf_putz(out, t->text.p[ends[i] - 1] == '{' ? "\"value\":" : ",\"value\":");
            json_double(out, values[i]);
        }
        buf_putc(out, '}');
        any = true;
    }
    if (any)
        buf_putc(out, ']');
}

static void put_range_series(struct buf *out, const struct stamps *stamps,
    const struct metrics_result *r, const struct metrics_series *s)
{
    bool f = true;
    buf_putc(out, '{');
    put_labels(out, &f, s->labels, s->n_labels);
    put_samples(out, &f, stamps, s->values, r->n_buckets);
    for (uint32_t i = 0; i < s->n_exemplars; i++) {
        const struct metrics_exemplar *e = &s->exemplars[i];
        bool ef = true;
        if (i == 0)
            json_key(out, &f, "exemplars");
        buf_putz(out, i == 0 ? "[{" : ",{");
        put_labels(out, &ef, e->labels, e->n_labels);
        put_point(out, &ef, e->start_ns, e->value, true);
        buf_putz(out, i + 1 == s->n_exemplars ? "}]" : "}");
    }
    buf_putc(out, '}');
}

static void put_instant_series(struct buf *out, const struct metrics_series *s)
{
    bool f = true;
    buf_putc(out, '{');
    put_labels(out, &f, s->labels, s->n_labels);
    if (s->values[0] != 0) {
        json_key(out, &f, "value");
        json_double(out, s->values[0]);
    }
    buf_putc(out, '}');
}

static void put_answer(struct buf *out, bool instant, const struct metrics_request *req,
    const struct metrics_result *r)
{
    struct stamps stamps;
    stamps_make(&stamps, out->budget, r);
    if (buf_failed(&stamps.text) || buf_failed(&stamps.ends))
        out->failed = true;
    buf_putc(out, '{');
    for (size_t i = 0; i < r->n && !buf_failed(out); i++) {
        buf_putz(out, i == 0 ? "\"series\":[" : ",");
        if (instant)
            put_instant_series(out, &r->series[i]);
        else
            put_range_series(out, &stamps, r, &r->series[i]);
    }
    stamps_free(&stamps);
    if (r->n != 0)
        buf_putz(out, "],");
    else if (!instant) /* an instant answer omits it when empty */
        buf_putz(out, "\"series\":[],");
    put_search_metrics(out, &r->stats);
    char text[PARTIAL_TEXT_MAX];
    if (partial_text(req, r, text)) {
        buf_putz(out, ",\"status\":\"PARTIAL\",\"message\":");
        json_str(out, str_from(text));
    }
    buf_putc(out, '}');
}

/* ---- protobuf: QueryRangeResponse and QueryInstantResponse ---- */

static void pb_labels(struct buf *out, const struct result_attr *labels, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        pb_put_attr(out, 1, labels[i].key, &labels[i].value);
}

static void pb_nonzero(struct buf *out, uint32_t field, double v)
{
    if (v != 0)
        pb_put_double(out, field, v);
}

static void pb_range_series(
    struct buf *out, const struct metrics_result *r, const struct metrics_series *s)
{
    pb_labels(out, s->labels, s->n_labels);
    for (uint32_t i = 0; i < r->n_buckets; i++) {
        if (isnan(s->values[i]))
            continue;
        size_t sample = pb_begin(out, 2);
        pb_nonzero(out, 1, s->values[i]);
        pb_put_varint(out, 2, (r->first_ns + i * r->step_ns) / (uint64_t)NS_PER_MS);
        pb_end(out, sample);
    }
    for (uint32_t i = 0; i < s->n_exemplars; i++) {
        const struct metrics_exemplar *e = &s->exemplars[i];
        size_t exemplar = pb_begin(out, 4);
        pb_labels(out, e->labels, e->n_labels);
        pb_nonzero(out, 2, e->value);
        pb_put_varint(out, 3, e->start_ns / (uint64_t)NS_PER_MS);
        pb_end(out, exemplar);
    }
}

static void put_answer_pb(struct buf *out, bool instant, const struct metrics_request *req,
    const struct metrics_result *r)
{
    for (size_t i = 0; i < r->n; i++) {
        size_t series = pb_begin(out, 1);
        if (instant) {
            pb_labels(out, r->series[i].labels, r->series[i].n_labels);
            pb_nonzero(out, 2, r->series[i].values[0]);
        } else {
            pb_range_series(out, r, &r->series[i]);
        }
        pb_end(out, series);
    }
    pb_search_metrics(out, &r->stats);
    char text[PARTIAL_TEXT_MAX];
    if (partial_text(req, r, text)) {
        pb_put_varint(out, 3, 1); /* PARTIAL */
        pb_put_bytes(out, 4, str_from(text));
    }
}

static void tell(struct query_job *job, bool instant, const struct metrics_result *part)
{
    struct buf out;
    if (!grpc_job_wants(job))
        return;
    buf_init(&out, &job->budget);
    put_answer_pb(&out, instant, NULL, part);
    grpc_job_tell(job, &out);
}

static void tell_range(void *arg, const struct metrics_result *part)
{
    tell(arg, false, part);
}

static void tell_instant(void *arg, const struct metrics_result *part)
{
    tell(arg, true, part);
}

static void run(struct query_job *job, bool instant)
{
    struct metrics_request req;
    struct metrics_result r;
    struct err err = {0};
    job->stream.metrics = instant ? tell_instant : tell_range;
    job->stream.arg = job;
    enum ec ec = parse(job, instant, &req, &err);
    if (ec == EC_OK)
        ec = job_open(job, &err);
    if (ec == EC_OK)
        ec = query_metrics(&job->ctx, &req, &r, &err);
    if (ec != EC_OK) {
        job_fail(job, ec, &err);
        return;
    }
    job_count_bytes(job, &r.stats);
    struct buf out;
    buf_init(&out, &job->budget);
    if (job->grpc != NULL)
        put_answer_pb(&out, instant, &req, &r);
    else /* whatever the client would accept */
        put_answer(&out, instant, &req, &r);
    job_respond_ok(job, "application/json", &out);
}

void api_metrics_range(struct query_job *job)
{
    run(job, false);
}

void api_metrics_instant(struct query_job *job)
{
    run(job, true);
}
