/* SPDX-License-Identifier: Apache-2.0
 * Query jobs: what every query endpoint has in common, from the pool queue to the answer. */
#include "query_job.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/metric.h"
#include "gateway/tenant.h"
#include "params.h"
#include "query/format.h"

static struct metric_family queries_total = {
    .name = "tempo_query_frontend_queries_total",
    .help = "Total queries received per tenant.",
    .type = METRIC_COUNTER,
    .labels = {"tenant", "op", "result", NULL},
};
static struct metric_family bytes_inspected = {
    .name = "tempo_query_frontend_bytes_inspected_total",
    .help = "Total bytes read from blocks to answer queries.",
    .type = METRIC_COUNTER,
    .labels = {"tenant", "op", NULL},
};
static struct metric_family queue_length = {
    .name = "tempo_query_frontend_queue_length",
    .help = "Number of queries waiting or running.",
    .type = METRIC_GAUGE,
    .labels = {"user", NULL},
};
static struct metric_family discarded_requests = {
    .name = "tempo_query_frontend_discarded_requests_total",
    .help = "Total number of query requests discarded.",
    .type = METRIC_COUNTER,
    .labels = {"user", NULL},
};

void query_jobs_register(void)
{
    metric_register(&queries_total);
    metric_register(&bytes_inspected);
    metric_register(&queue_length);
    metric_register(&discarded_requests);
}

/* The tenant label: of a multi-tenant query the joined ids would be unbounded, so they are counted
 * as one. */
static struct str tenant_label(const struct query_job *job)
{
    return job->n_tenants == 1 ? job->tenants[0] : STR("multiple");
}

static void job_free(struct query_job *job)
{
    for (size_t i = 0; i < job->n_snapshots; i++)
        snapshot_release(&job->snapshots[i]);
    atomic_fetch_sub(&job->api->outstanding[job->slot], 1);
    arena_deinit(&job->arena);
    budget_deinit(&job->budget);
    free(job);
}

static void count_result(struct query_job *job, const char *result)
{
    struct str labels[] = {tenant_label(job), str_from(job->op), str_from(result)};
    metric_inc(metric_series(&queries_total, labels));
}

void job_count_bytes(struct query_job *job, const struct query_stats *s)
{
    metric_add(metric_series2(&bytes_inspected, tenant_label(job), str_from(job->op)),
        (double)s->inspected_bytes);
}

void job_respond(
    struct query_job *job, unsigned status, const char *content_type, struct buf *take_body)
{
    struct exchange *ex = job->ex;
    /* The body may be charged to the job's budget, which ends here: from now on it is the
     * exchange's. */
    budget_give(take_body->budget, take_body->cap);
    take_body->budget = NULL;
    count_result(job, status == 499 ? "canceled" : "completed");
    job_free(job);
    exchange_respond(ex, status, content_type, take_body, true);
}

void job_respond_ok(struct query_job *job, const char *content_type, struct buf *take_body)
{
    struct err err = {0};
    if (buf_failed(take_body)) {
        buf_deinit(take_body);
        job_fail(job, ERR(&err, EC_LIMIT, "the answer is over the query's memory budget"), &err);
        return;
    }
    job_respond(job, 200, content_type, take_body);
}

void job_fail_status(struct query_job *job, unsigned status, const char *text)
{
    struct buf body = BUF_INIT;
    buf_putz(&body, text);
    job_respond(job, status, body.n == 0 ? NULL : "text/plain; charset=utf-8", &body);
}

void job_fail(struct query_job *job, enum ec ec, const struct err *err)
{
    unsigned status = ec_http_status(ec);
    if (ec == EC_LIMIT)
        status = 422; /* a query over its own memory is not a busy server */
    if (ec == EC_DEADLINE && job->api_timeout) {
        job_fail_status(job, 503, "unable to process request in the configured timeout");
        return;
    }
    if (ec == EC_DEADLINE) {
        job_fail_status(job, status, "context deadline exceeded");
        return;
    }
    job_fail_status(job, status, ec == EC_CANCELED ? "context canceled" : err_msg(err));
}

static bool exchange_gone(void *arg)
{
    return exchange_canceled(arg);
}

enum ec job_open(struct query_job *job, struct err *err)
{
    size_t n_parts = 0;
    job->snapshots = ARENA_ARRAY(&job->arena, job->n_tenants, struct snapshot);
    if (job->snapshots == NULL)
        return ERR(err, EC_LIMIT, "query is over its memory budget");
    for (size_t i = 0; i < job->n_tenants; i++) {
        TRY(store_snapshot(job->api->opt.store, job->tenants[i], &job->snapshots[i], err));
        job->n_snapshots = i + 1;
        n_parts += job->snapshots[i].n;
    }
    struct part **parts = ARENA_ARRAY(&job->arena, n_parts, struct part *);
    if (parts == NULL)
        return ERR(err, EC_LIMIT, "query is over its memory budget");
    size_t at = 0;
    for (size_t i = 0; i < job->n_tenants; i++)
        for (size_t k = 0; k < job->snapshots[i].n; k++)
            parts[at++] = job->snapshots[i].parts[k];
    job->ctx = (struct query_ctx){
        .parts = parts,
        .n_parts = n_parts,
        .pool = job->api->opt.pool,
        .key = hash64(job->tenants[0].p, job->tenants[0].n),
        .arena = &job->arena,
        .budget = &job->budget,
        .deadline_mono_ns = job->timeout_ns > 0 ? job->started_ns + job->timeout_ns : 0,
        .canceled = exchange_gone,
        .canceled_arg = job->ex,
    };
    return EC_OK;
}

static void job_run(void *arg)
{
    struct query_job *job = arg;
    if (exchange_canceled(job->ex)) {
        job_fail_status(job, 499, "context canceled");
        return;
    }
    job->run(job);
}

static bool denied(struct api *a, struct exchange *ex)
{
    const struct http_request *req = exchange_request(ex);
    struct buf url = BUF_INIT;
    buf_puts(&url, req->raw_path);
    if (req->query.n != 0) {
        buf_putc(&url, '?');
        buf_puts(&url, req->query);
    }
    bool hit = false;
    for (size_t i = 0; i < a->n_deny && !hit; i++)
        hit = regex_match(a->deny[i], buf_str(&url));
    if (hit) {
        struct buf body = BUF_INIT;
        buf_printf(&body,
            "Invalid request " STR_FMT
            ". This query has been identified as one that destabilizes our system. Contact your system "
            "administrator for more information",
            STR_ARG(buf_str(&url)));
        exchange_respond(ex, 400, "text/plain; charset=utf-8", &body, true);
    }
    buf_deinit(&url);
    return hit;
}

/* Tenant header -> ids. Answers itself and returns false when the request is not acceptable. */
static bool tenants_of(struct query_job *job, struct str *ret_header)
{
    struct exchange *ex = job->ex;
    const struct config *c = job->api->opt.config;
    struct err err = {0};
    struct str header = STR(TENANT_SINGLE);
    if (c->multitenancy && (!exchange_header(ex, "X-Scope-OrgID", &header) || header.n == 0)) {
        respond_http_error(ex, 401, "no org id");
        return false;
    }
    enum ec ec = tenant_many(
        header, c->multi_tenant_queries, &job->arena, &job->tenants, &job->n_tenants, &err);
    if (ec != EC_OK) {
        struct buf body = BUF_INIT;
        buf_putz(&body, err_msg(&err));
        exchange_respond(ex, ec_http_status(ec), "text/plain; charset=utf-8", &body, true);
        return false;
    }
    *ret_header = header;
    return true;
}

void query_job_start(
    struct api *a, struct exchange *ex, const struct query_endpoint *e, struct str arg)
{
    struct query_job *job = xcalloc(1, sizeof(*job));
    job->api = a;
    job->ex = ex;
    job->run = e->run;
    job->op = e->op;
    job->path_arg = arg;
    job->started_ns = clock_mono_ns();
    job->timeout_ns = e->trace                        ? a->opt.config->trace_timeout
                      : strcmp(e->op, "metrics") == 0 ? a->opt.config->metrics_timeout
                                                      : a->opt.config->search_timeout;
    int64_t of_api = a->opt.config->api_timeout;
    job->api_timeout = of_api > 0 && (job->timeout_ns == 0 || of_api < job->timeout_ns);
    if (job->api_timeout)
        job->timeout_ns = of_api;
    budget_init(&job->budget, a->opt.query_budget, "query", a->opt.query_bytes_max);
    arena_init(&job->arena, &job->budget, 0);
    struct str header;
    if (!tenants_of(job, &header) || denied(a, ex)) {
        arena_deinit(&job->arena);
        budget_deinit(&job->budget);
        free(job);
        return;
    }
    overrides_get(a->opt.overrides, header, &job->limits);
    job->slot = (uint32_t)hash64(header.p, header.n) & (OUTSTANDING_SLOTS - 1);
    uint32_t waiting = atomic_fetch_add(&a->outstanding[job->slot], 1);
    uint32_t max = a->opt.config->max_outstanding_per_tenant;
    if ((max != 0 && waiting >= max) ||
        !pool_submit(a->opt.pool, POOL_NORMAL, hash64(header.p, header.n), job_run, job)) {
        metric_inc(metric_series1(&discarded_requests, tenant_label(job)));
        job_fail_status(job, 429, "job queue full");
    }
}

enum accept job_accept(struct query_job *job)
{
    struct str accept;
    if (!exchange_header(job->ex, "Accept", &accept))
        return ACCEPT_JSON;
    if (str_has(accept, STR("application/protobuf")))
        return ACCEPT_PROTOBUF;
    if (str_has(accept, STR("application/json")))
        return ACCEPT_JSON;
    return str_has(accept, STR("application/vnd.grafana.llm")) ? ACCEPT_LLM : ACCEPT_JSON;
}

static enum ec range_time(
    struct query_job *job, const char *key, bool *ret_has, int64_t *ret, struct err *err)
{
    struct str v;
    *ret_has = exchange_param(job->ex, key, &v);
    if (!*ret_has)
        return EC_OK;
    if (param_time(v, ret, err) != EC_OK) {
        err_prefix(err, "could not parse '%s' parameter", key);
        return err_prefix(err, "error parsing date range");
    }
    return EC_OK;
}

/* Tempo clamps to [now - 15 min, now - 30 s] when nothing is given; here fresh data is never hidden
 * (the cut-off defaults to 0), and data of any age is found, so an absent range means all data. */
enum ec job_clamped_range(struct query_job *job, struct time_range *ret, struct err *err)
{
    struct str since;
    bool has_start, has_end;
    int64_t start = 0, end = 0, now = clock_wall_ns(),
            cutoff = job->api->opt.config->query_end_cutoff;
    if (exchange_param(job->ex, "since", &since)) {
        int64_t back;
        if (param_prom_duration(since, &back, err) != EC_OK) {
            err_prefix(err, "could not parse 'since' parameter");
            return err_prefix(err, "error parsing date range");
        }
        end = now - cutoff;
        *ret = (struct time_range){(uint64_t)MAX(end - back, 1), (uint64_t)end};
        return EC_OK;
    }
    TRY(range_time(job, "start", &has_start, &start, err));
    TRY(range_time(job, "end", &has_end, &end, err));
    if (has_start != has_end)
        return ERR(err, EC_INVALID,
            "error parsing date range: only one of start and end provided: must "
            "provide both or neither");
    if (cutoff > 0 && (end == 0 || end > now - cutoff)) {
        end = now - cutoff;
        if (start > end)
            start = end;
        if (start == 0)
            start = 1; /* "from the beginning", which is not "no range" */
    }
    *ret = (struct time_range){(uint64_t)start, (uint64_t)end};
    return EC_OK;
}

enum ec job_check_range_length(struct query_job *job, const struct time_range *r, struct err *err)
{
    int64_t max = job->limits.max_search_duration_ns != 0
                      ? job->limits.max_search_duration_ns
                      : job->api->opt.config->search_max_duration;
    if (max <= 0 || (r->start_ns == 0 && r->end_ns == 0))
        return EC_OK;
    uint64_t start_s = r->start_ns / (uint64_t)NS_PER_S, end_s = r->end_ns / (uint64_t)NS_PER_S;
    if (end_s >= start_s && end_s - start_s <= (uint64_t)(max / NS_PER_S))
        return EC_OK;
    char text[FORMAT_DURATION_MAX];
    format_duration(text, max);
    return ERR(err, EC_INVALID,
        "range specified by start and end exceeds %s. received start=%llu end=%llu", text,
        (unsigned long long)start_s, (unsigned long long)end_s);
}

enum ec job_check_query_text(struct query_job *job, struct str q, struct err *err)
{
    uint32_t max = job->api->opt.config->max_query_bytes;
    if (max == 0 || q.n <= max)
        return EC_OK;
    return ERR(err, EC_INVALID,
        "TraceQL expression exceeds the configured maximum size of %u bytes, reduce the query expression "
        "size or contact your system administrator",
        max);
}
