/* SPDX-License-Identifier: Apache-2.0
 * Query jobs: what every query endpoint has in common, from the pool queue to the answer. */
#include "query_job.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/metric.h"
#include "gateway/tenant.h"
#include "grpc_query.h"
#include "params.h"
#include "query/format.h"

#define STREAM_PERIOD (500 * NS_PER_MS) /* Tempo's: between two messages of progress */
#define SLOW_NS       (50 * NS_PER_MS)

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

static const double wait_bounds[] = {
    .0001, .0002, .0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5};
static struct metric_family query_waits = {.name = "vivace_query_wait_seconds",
    .help =
        "What a query waited for: a thread, its turn among long ones, a processor, memory, anything else",
    .type = METRIC_HISTOGRAM,
    .labels = {"step"},
    .bounds = wait_bounds,
    .n_bounds = ARRAY_LEN(wait_bounds)};
static struct metric *wait_thread, *wait_turn, *wait_processor, *wait_memory, *wait_else;

void query_jobs_register(void)
{
    metric_register(&query_waits);
    wait_thread = metric_series1(&query_waits, STR("thread"));
    wait_turn = metric_series1(&query_waits, STR("turn"));
    wait_processor = metric_series1(&query_waits, STR("processor"));
    wait_memory = metric_series1(&query_waits, STR("memory"));
    wait_else = metric_series1(&query_waits, STR("else"));
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

/* Gives back all that a run holds. */
static void job_end_run(struct query_job *job)
{
    for (size_t i = 0; i < job->n_snapshots; i++)
        snapshot_release(&job->snapshots[i]);
    job->n_snapshots = 0;
    buf_deinit(&job->packet);
    arena_deinit(&job->arena);
    query_room_leave(job->api->room, &job->guest);
}

void job_free(struct query_job *job)
{
    job_end_run(job);
    atomic_fetch_sub(&job->api->outstanding[job->slot], 1);
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
    if (!s->partial || job->call != NULL || job->warned)
        return;
    job->warned = true; /* a second run does not say it again */
    /* WHY a header: Tempo's answers to searches and for tags have no member that says so, and
     * clients may refuse one that they do not know. */
    char text[256];
    int n = snprintf(text, sizeof(text), "199 vivace \"%s\"",
        s->partial_text != NULL ? s->partial_text : "a partial answer is returned");
    exchange_set_header(job->ex, "Warning", str_n(text, MIN((size_t)n, sizeof(text) - 1)));
}

/* The body may be charged to the job's budget, which ends before the client has taken it. */
static void hand_over(
    struct query_job *job, unsigned *status, const char **content_type, struct buf *body)
{
    if (body->budget != &job->budget ||
        query_room_hand_over(job->api->room, &job->guest, body->cap, &body->budget))
        return;
    buf_deinit(body);
    *body = BUF_INIT;
    buf_putz(body, "answers that clients have not taken yet fill the memory for them: come again");
    exchange_set_header(job->ex, "Retry-After", STR("5"));
    *status = 503;
    *content_type = "text/plain; charset=utf-8";
}

void job_respond(
    struct query_job *job, unsigned status, const char *content_type, struct buf *take_body)
{
    struct exchange *ex = job->ex;
    count_result(job, status == 499 ? "canceled" : "completed");
    if (job->grpc != NULL) {
        grpc_job_respond(job, status, take_body);
        return;
    }
    if (job->call != NULL)
        job->call->wrap(job->call->wrap_arg, &status, &content_type, take_body);
    hand_over(job, &status, &content_type, take_body);
    job_free(job);
    exchange_respond(ex, status, content_type, take_body, true);
}

void job_respond_ok(struct query_job *job, const char *content_type, struct buf *take_body)
{
    struct err err = {0};
    if (buf_failed(take_body) || !grpc_job_reserve(job, take_body->n)) {
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

static bool exchange_gone(void *arg)
{
    return exchange_canceled(arg);
}

/* The earlier of the server's and the client's; 0: none. */
static int64_t job_deadline(const struct query_job *job)
{
    int64_t own = job->timeout_ns > 0 ? job->started_ns + job->timeout_ns : 0;
    int64_t client = job->client_deadline_ns;
    return own == 0 || (client != 0 && client < own) ? client : own;
}

static void job_run(void *arg);
static void job_discard(struct query_job *job);

/* It was ended because ingest needs the memory of spans that it held. */
static bool job_stale(const struct query_job *job)
{
    return job->ctx.stale_before_ns != NULL && atomic_load_explicit(job->ctx.stale_before_ns,
                                                   memory_order_relaxed) > job->ctx.snapshot_ns;
}

/* Gives back everything and waits for its second run, if there is one. Who was ended for the sake
 * of ingest begins anew at once: it has the memory that it needs, and the spans that it held were
 * of heads that have become blocks. */
static bool job_waits(struct query_job *job)
{
    bool crowded = query_room_crowded(&job->guest);
    if (!job->guest.inside || (!crowded && (job->anew || !job_stale(job))))
        return false;
    job_end_run(job);
    job->began_ns = clock_mono_ns();
    if (crowded) {
        job->guest.until_ns = job_deadline(job);
        query_room_wait(job->api->room, &job->guest);
        return true;
    }
    job->anew = true;
    if (!pool_submit(job->api->opt.pool, POOL_NORMAL, job->key, job_run, job))
        job_discard(job);
    return true;
}

static void job_fail_limit(struct query_job *job, const struct err *err)
{
    struct buf text = BUF_INIT;
    buf_putz(&text, err_msg(err));
    if (atomic_load_explicit(&job->budget.refused, memory_order_relaxed) != 0)
        buf_printf(&text,
            ": even alone it does not fit into the %llu MiB that one query may have; ask for a "
            "shorter time range or for less, or raise memory.budget_bytes",
            (unsigned long long)atomic_load_explicit(&job->budget.cap, memory_order_relaxed) >> 20);
    job_respond(job, 422, "text/plain; charset=utf-8", &text); /* not 503: the server is well */
}

void job_fail(struct query_job *job, enum ec ec, const struct err *err)
{
    unsigned status = ec_http_status(ec);
    if (ec == EC_LIMIT) {
        if (!job_waits(job))
            job_fail_limit(job, err);
        return;
    }
    if (ec == EC_DEADLINE && job->api_timeout && job->grpc == NULL) {
        job_fail_status(job, 503, "unable to process request in the configured timeout");
        return;
    }
    if (ec == EC_DEADLINE) {
        job_fail_status(job, status, "context deadline exceeded");
        return;
    }
    job_fail_status(job, status, ec == EC_CANCELED ? "context canceled" : err_msg(err));
}

bool job_param(const struct query_job *job, const char *key, struct str *ret)
{
    for (size_t i = 0; i < job->n_params; i++) {
        const struct http_param *p = &job->params[i];
        if (!str_eqz(p->key, key))
            continue;
        if (p->value.n == 0)
            return false;
        *ret = p->value;
        return true;
    }
    return false;
}

enum ec job_open(struct query_job *job, struct err *err)
{
    size_t n_parts = 0;
    int64_t snapshot_ns = clock_mono_ns();
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
        .deadline_mono_ns = job_deadline(job),
        .stale_before_ns = store_stale_before(job->api->opt.store),
        .snapshot_ns = snapshot_ns,
        .canceled = exchange_gone,
        .canceled_arg = job->ex,
        .cache = job->api->opt.query_cache,
    };
    if (job->grpc != NULL && !job->told) {
        job->stream.period_ns = STREAM_PERIOD;
        job->stream.due_ns = job->started_ns + STREAM_PERIOD;
        job->ctx.stream = &job->stream;
    }
    return EC_OK;
}

/* As Go's url.QueryEscape. */
static void put_escaped(struct buf *out, struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                     c == '-' || c == '_' || c == '.' || c == '~';
        if (plain)
            buf_putc(out, c);
        else if (c == ' ')
            buf_putc(out, '+');
        else
            buf_printf(out, "%%%02X", (unsigned char)c);
    }
}

void job_put_url(const struct query_job *job, struct buf *out)
{
    const char *path = job->grpc != NULL ? job->grpc->path : job->call->path;
    const char *tail = job->grpc != NULL ? job->grpc->tail : job->call->tail;
    buf_putz(out, job->api->opt.config->http_api_prefix);
    buf_putz(out, path);
    if (tail != NULL) {
        buf_puts(out, job->path_arg);
        buf_putz(out, tail);
    }
    for (size_t i = 0; i < job->n_params; i++) {
        buf_putc(out, i == 0 ? '?' : '&');
        put_escaped(out, job->params[i].key);
        buf_putc(out, '=');
        put_escaped(out, job->params[i].value);
    }
}

/* Appends the refusal when the URL matches url_deny_list. */
static bool denied(const struct query_job *job, struct buf *refusal)
{
    struct api *a = job->api;
    const struct http_request *req = exchange_request(job->ex);
    struct buf url = BUF_INIT;
    bool hit = false;
    if (a->n_deny == 0)
        return false;
    if (job->grpc != NULL || job->call != NULL) {
        job_put_url(job, &url);
    } else {
        buf_puts(&url, req->raw_path);
        if (req->query.n != 0) {
            buf_putc(&url, '?');
            buf_puts(&url, req->query);
        }
    }
    for (size_t i = 0; i < a->n_deny && !hit; i++)
        hit = regex_match(a->deny[i], buf_str(&url));
    if (hit)
        buf_printf(refusal,
            "Invalid request " STR_FMT
            ". This query has been identified as one that destabilizes our system. Contact your system "
            "administrator for more information",
            STR_ARG(buf_str(&url)));
    buf_deinit(&url);
    return hit;
}

/* On the pool, because messages may be large: what HTTP did before it queued the job. */
static bool grpc_begin(struct query_job *job)
{
    struct err err = {0};
    struct buf refusal = BUF_INIT;
    if (job->client_deadline_ns != 0 && clock_mono_ns() > job->client_deadline_ns) {
        job_fail(job, EC_DEADLINE, &err);
        return false;
    }
    enum ec ec = job->grpc->decode(job, exchange_request(job->ex)->body, &err);
    if (ec != EC_OK) {
        job_fail(job, ec, &err);
        return false;
    }
    if (denied(job, &refusal)) {
        job_respond(job, 400, NULL, &refusal);
        return false;
    }
    return true;
}

/* A slow query has waited for one of four: a thread of the pool, its turn, a processor while it
 * could run, or what is left: locks, the disk, its helpers. */
static void tell_waits(const char *op, int64_t took_ns)
{
    struct pool_times t;
    pool_job_times(&t);
    int64_t known = t.queued_ns + t.turns_ns + t.cpu_ns + t.stalled_ns;
    int64_t rest = MAX(took_ns - known, (int64_t)0);
    metric_observe(wait_thread, (double)t.queued_ns / 1e9);
    metric_observe(wait_turn, (double)t.turns_ns / 1e9);
    metric_observe(wait_processor, (double)t.stalled_ns / 1e9);
    metric_observe(wait_else, (double)rest / 1e9);
    if (took_ns >= SLOW_NS)
        log_event(LOG_DEBUG, "slow query", LZ("op", op), LD("took", took_ns),
            LD("thread", t.queued_ns), LD("turn", t.turns_ns), LD("processor", t.stalled_ns),
            LD("cpu", t.cpu_ns), LD("else", rest));
}

static void job_run(void *arg)
{
    struct query_job *job = arg;
    const char *op = job->op;
    int64_t began_ns = job->began_ns;
    query_room_enter(job->api->room, &job->guest);
    arena_init(&job->arena, &job->budget, 0);
    buf_init(&job->packet, &job->budget);
    memset(&job->ctx, 0, sizeof(job->ctx));
    if (exchange_canceled(job->ex))
        job_fail_status(job, 499, "context canceled");
    else if (job->grpc == NULL || grpc_begin(job))
        job->run(job);
    tell_waits(op, clock_mono_ns() - began_ns); /* the job is gone, or waits for its second run */
}

static void job_discard(struct query_job *job)
{
    metric_inc(metric_series1(&discarded_requests, tenant_label(job)));
    job_fail_status(job, 429, "job queue full");
}

static bool job_gone(void *arg)
{
    const struct query_job *job = arg;
    return exchange_canceled(job->ex);
}

/* The room has memory for it, or it need not wait any longer. Its key is not that of its tenant:
 * while memory is set aside for it, it should not stand behind what came later. */
static void job_resume(void *arg, enum ec ec)
{
    struct query_job *job = arg;
    struct err err = {0};
    int64_t now = clock_mono_ns();
    metric_observe(wait_memory, (double)(now - job->began_ns) / 1e9);
    job->began_ns = now;
    if (ec == EC_CANCELED)
        job_fail_status(job, 499, "context canceled");
    else if (ec != EC_OK)
        job_fail(job, ec, &err);
    else if (!pool_submit(job->api->opt.pool, POOL_NORMAL, ~job->key, job_run, job))
        job_discard(job);
}

/* The answer to a request that does not become a job. Takes the text. */
static void refuse(struct query_job *job, unsigned status, struct buf *take_text)
{
    struct exchange *ex = job->ex;
    if (job->grpc != NULL) {
        grpc_finish(ex, grpc_code_of(job, status), buf_str(take_text), (struct bytes){0});
        buf_deinit(take_text);
    } else if (status == 401) {
        buf_putc(take_text, 0);
        respond_http_error(ex, status, (const char *)take_text->p);
        buf_deinit(take_text);
    } else {
        const char *type = "text/plain; charset=utf-8";
        if (job->call != NULL)
            job->call->wrap(job->call->wrap_arg, &status, &type, take_text);
        exchange_respond(ex, status, type, take_text, true);
    }
}

static bool org_id(const struct query_job *job, struct str *ret)
{
    if (!exchange_header(job->ex, "X-Scope-OrgID", ret) || ret->n == 0)
        return false;
    return job->grpc == NULL || exchange_header_count(job->ex, "X-Scope-OrgID") == 1;
}

/* Tenant header -> ids. Answers itself and returns false when the request is not acceptable. */
static bool tenants_of(struct query_job *job, struct str *ret_header)
{
    const struct config *c = job->api->opt.config;
    struct err err = {0};
    struct buf text = BUF_INIT;
    *ret_header = STR(TENANT_SINGLE);
    if (c->multitenancy && !org_id(job, ret_header)) {
        buf_putz(&text, "no org id");
        refuse(job, 401, &text);
        return false;
    }
    enum ec ec = tenant_many(*ret_header, c->multi_tenant_queries, exchange_arena(job->ex),
        &job->tenants, &job->n_tenants, &err);
    if (ec == EC_OK)
        return true;
    buf_putz(&text, err_msg(&err));
    refuse(job, ec_http_status(ec), &text);
    return false;
}

/* The caller's deadline, when it comes first. */
static void caller_deadline(struct query_job *job)
{
    if (job->caller == NULL || job->caller->deadline_ns == 0)
        return;
    int64_t left = MAX(job->caller->deadline_ns - job->started_ns, 1);
    if (job->timeout_ns == 0 || left < job->timeout_ns)
        job->timeout_ns = left;
}

static struct query_job *job_new(struct api *a, struct exchange *ex, const struct query_endpoint *e)
{
    struct query_job *job = xcalloc(1, sizeof(*job));
    const struct config *c = a->opt.config;
    job->api = a;
    job->ex = ex;
    job->run = e->run;
    job->op = e->op;
    job->started_ns = job->began_ns = clock_mono_ns();
    job->timeout_ns = e->trace                        ? c->trace_timeout
                      : strcmp(e->op, "metrics") == 0 ? c->metrics_timeout
                                                      : c->search_timeout;
    int64_t of_api = c->api_timeout;
    job->api_timeout = of_api > 0 && (job->timeout_ns == 0 || of_api < job->timeout_ns);
    if (job->api_timeout)
        job->timeout_ns = of_api;
    job->caller = exchange_attachment(ex);
    caller_deadline(job);
    job->guest = (struct room_guest){.own = &job->budget,
        .asked_ns = job->started_ns,
        .gone = job_gone,
        .resume = job_resume,
        .arg = job};
    return job;
}

/* Queues the job, or answers and drops it. */
static void job_start(struct query_job *job)
{
    struct api *a = job->api;
    struct buf refusal = BUF_INIT;
    struct str header;
    bool refused = !tenants_of(job, &header);
    if (!refused && job->grpc == NULL && denied(job, &refusal)) {
        refuse(job, 400, &refusal);
        refused = true;
    }
    if (refused) {
        free(job);
        return;
    }
    overrides_get(a->opt.overrides, header, &job->limits);
    job->key = hash64(header.p, header.n);
    job->slot = (uint32_t)job->key & (OUTSTANDING_SLOTS - 1);
    uint32_t waiting = atomic_fetch_add(&a->outstanding[job->slot], 1);
    uint32_t max = a->opt.config->max_outstanding_per_tenant;
    if ((max != 0 && waiting >= max) ||
        !pool_submit(a->opt.pool, POOL_NORMAL, job->key, job_run, job))
        job_discard(job);
}

void query_job_start(
    struct api *a, struct exchange *ex, const struct query_endpoint *e, struct str arg)
{
    struct query_job *job = job_new(a, ex, e);
    job->path_arg = arg;
    job->params = exchange_request(ex)->params;
    job->n_params = exchange_request(ex)->n_params;
    job_start(job);
}

void query_job_start_call(struct api *a, struct exchange *ex, const struct query_call *call)
{
    struct query_job *job = job_new(a, ex, call->endpoint);
    job->call = call;
    job->path_arg = call->arg;
    job->params = call->params;
    job->n_params = call->n_params;
    job_start(job);
}

void query_job_start_grpc(struct api *a, struct exchange *ex, const struct grpc_method *m)
{
    struct query_job *job = job_new(a, ex, &m->endpoint);
    job->grpc = m;
    job->client_deadline_ns = grpc_deadline(ex);
    job_start(job);
}

bool job_for_grafana(const struct query_job *job)
{
    struct str agent;
    return job->grpc == NULL && job->call == NULL && job->ex != NULL &&
           exchange_header(job->ex, "user-agent", &agent) && str_starts(agent, STR("Grafana/"));
}

enum accept job_accept(struct query_job *job)
{
    struct str accept;
    if (job->grpc != NULL)
        return ACCEPT_PROTOBUF;
    if (job->call != NULL)
        return ACCEPT_LLM;
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
    *ret_has = job_param(job, key, &v);
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
    if (job_param(job, "since", &since)) {
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
