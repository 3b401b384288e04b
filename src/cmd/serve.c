/* SPDX-License-Identifier: Apache-2.0
 * The server process: builds the parts bottom-up, waits for signals, takes them down in order.
 *
 * Start: budgets, pool, api and its listeners, overrides, store (replay), ingest, receivers. The
 * API listens before the store is open, so that /ready answers 503 during a long replay.
 * Stop (SIGTERM, SIGINT): /ready turns 503, shutdown_delay, drain, store_close, then memory. A
 * second signal exits at once; the WAL makes that safe. SIGHUP re-reads certificates and overrides.
 *
 * INVARIANT: the store is closed before the server is freed: commits in flight still answer
 * exchanges.
 */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "api/api.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/metric.h"
#include "base/slab.h"
#include "base/watch.h"
#include "cmd.h"
#include "gateway.h"
#include "gateway/user_limits.h"
#include "generator.h"
#include "query/cache.h"

#define DRAIN_MAX         (1500 * NS_PER_MS) /* SIGTERM ends the process within 2 s */
#define FORWARD_MAX       (1100 * NS_PER_MS) /* since the signal: forwarders send what they have */
#define METRICS_FLUSH_MAX (400 * NS_PER_MS)  /* what is left stays in the queue on disk */

/* Merges of fewer spans than this allows would not be worth having (storage/store/merge.c). */
#define MERGE_BYTES_MIN (32ULL << 20)

/* Most queries hold less: so many at once are never refused for each other's sake. */
#define QUERY_BYTES_USUAL (8ULL << 20)
#define QUERY_THREADS_MIN 4ULL

struct process {
    const struct config *config;
    struct budget memory, connections, bodies, ingest_budget, queries, answers, storage, metrics,
        samples;
    struct arena lists;              /* of the default limits, and of forwarders */
    struct user_limits *user_limits; /* NULL: off */
    struct budget usage, forwards;
    struct budget *listed[11]; /* those */
    struct pool *pool;
    struct overrides *overrides;
    struct store *store;
    struct ingest *ingest;
    struct query_cache *query_cache;
    struct api *api;
    struct server *server;
    struct gateway *gateway;
    struct receivers *receivers;
    struct metrics_service *metrics_service; /* NULL: off */
};

/* ---- glue between config and gateway types ---- */

static void limits_from(const struct config_limits *c, struct limits *l)
{
    *l = (struct limits){
        .rate_global = c->rate_global,
        .rate_limit_bytes = c->rate_limit_bytes,
        .burst_size_bytes = c->burst_size_bytes,
        .max_traces_per_user = c->max_traces_per_user,
        .max_global_traces_per_user = c->max_global_traces_per_user,
        .max_attribute_bytes = c->max_attribute_bytes,
        .artificial_delay_ns = c->artificial_delay,
        .retry_info_enabled = c->retry_info_enabled,
        .max_bytes_per_tag_values_query = c->max_bytes_per_tag_values_query,
        .max_blocks_per_tag_values_query = c->max_blocks_per_tag_values_query,
        .max_condition_groups_per_tag_query = c->max_condition_groups_per_tag_query,
        .max_search_duration_ns = c->max_search_duration,
        .max_metrics_duration_ns = c->max_metrics_duration,
        .unsafe_query_hints = c->unsafe_query_hints,
        .left_pad_trace_ids = c->left_pad_trace_ids,
        .block_retention_ns = c->block_retention,
        .compaction_window_ns = c->compaction_window,
        .compaction_disabled = c->compaction_disabled,
        .compaction_max_bytes = c->compaction_max_bytes,
        .max_bytes_per_trace = c->max_bytes_per_trace,
        .generator_series_max = c->generator.max_active_series,
        .generator_dry_run = c->generator.disable_collection,
        .attribution_cardinality_max = c->attribution_cardinality_max,
    };
}

/* False: the arena refuses. */
static bool lists_from(const struct config_limits *c, struct arena *arena, struct limit_lists *l)
{
    static const enum limit_scope scopes[] = {[DIMENSION_ANY] = LIMIT_ANY,
        [DIMENSION_RESOURCE] = LIMIT_RESOURCE,
        [DIMENSION_SPAN] = LIMIT_SPAN};
    size_t n = 0;
    while (c->forwarders != NULL && c->forwarders[n] != NULL)
        n++;
    struct str *names = ARENA_ARRAY(arena, n, struct str);
    struct limit_dimension *d = ARENA_ARRAY(arena, c->n_dimensions, struct limit_dimension);
    if (names == NULL || d == NULL)
        return false;
    for (size_t i = 0; i < n; i++)
        names[i] = str_from(c->forwarders[i]);
    for (size_t i = 0; i < c->n_dimensions; i++)
        d[i] = (struct limit_dimension){
            c->dimensions[i].attribute, c->dimensions[i].label, scopes[c->dimensions[i].scope]};
    *l = (struct limit_lists){
        .forwarders = names, .n_forwarders = n, .dimensions = d, .n_dimensions = c->n_dimensions};
    return true;
}

static enum ec load_overrides(void *ctx, uint64_t last_hash, struct arena *arena,
    struct tenant_entry **ret, size_t *ret_n, uint64_t *ret_hash, struct err *err)
{
    struct process *p = ctx;
    struct config_tenant *from;
    struct user_limits_entry *set = NULL;
    size_t n, n_set = 0;
    uint64_t change = 0;
    if (p->user_limits != NULL)
        TRY(user_limits_all(p->user_limits, arena, &set, &n_set, &change, err));
    struct config_user_limits *users = ARENA_ARRAY(arena, n_set, struct config_user_limits);
    ASSERT(users != NULL); /* as below */
    for (size_t i = 0; i < n_set; i++)
        users[i] = (struct config_user_limits){set[i].tenant, set[i].json};
    TRY(config_overrides_merge(
        p->config, users, n_set, change, last_hash, arena, &from, &n, ret_hash, err));
    struct tenant_entry *to = ARENA_ARRAY(arena, n, struct tenant_entry);
    ASSERT(to != NULL); /* the snapshot's arena has no budget; the file's size is bounded */
    for (size_t i = 0; i < n; i++) {
        to[i].tenant = from[i].tenant;
        to[i].from_file = from[i].from_file;
        to[i].from_user = from[i].from_user;
        limits_from(&from[i].limits, &to[i].limits);
        to[i].attached = &from[i].limits.generator;
        ASSERT(lists_from(&from[i].limits, arena, &to[i].lists)); /* no budget either */
        if (from[i].warning != NULL)
            log_event(LOG_WARN, "overrides entry is suspicious", LS("tenant", from[i].tenant),
                LZ("explain", from[i].warning));
    }
    *ret = to;
    *ret_n = n;
    return EC_OK;
}

static void store_limits(void *ctx, struct str tenant, struct tenant_limits *ret)
{
    struct process *p = ctx;
    struct limits l;
    overrides_get(p->overrides, tenant, &l);
    *ret = (struct tenant_limits){
        .trace_bytes_max = l.max_bytes_per_trace,
        .traces_live_max = l.max_traces_per_user,
        /* Replay cuts by this: it must be what admission decodes with. */
        .attr_bytes_max =
            l.max_attribute_bytes != 0 ? l.max_attribute_bytes : p->config->max_attribute_bytes,
        .retention_ns = l.block_retention_ns,
        .compaction_disabled = l.compaction_disabled,
        .bytes_max = l.compaction_max_bytes,
    };
}

/* ---- start ---- */

static void init_budgets(struct process *p)
{
    uint64_t total = p->config->memory_budget;
    budget_init(&p->memory, NULL, "memory", 0);
    budget_init(&p->connections, &p->memory, "connections", MAX(total / 8, 32u << 20));
    budget_init(&p->bodies, &p->memory, "request bodies", total / 8);
    budget_init(&p->ingest_budget, &p->memory, "decoded requests", total / 8);
    budget_init(&p->queries, &p->memory, "queries", total / 4);
    budget_init(&p->answers, &p->memory, "streamed answers", total / 8);
    budget_init(&p->metrics, &p->memory, "metrics generator", total / 8);
    budget_init(&p->samples, &p->memory, "remote write", MAX(total / 32, 16u << 20));
    budget_init(&p->usage, &p->memory, "cost attribution", total / 16);
    budget_init(&p->forwards, &p->memory, "forwarders", total / 16);
    budget_init(
        &p->storage, &p->memory, "storage", 0); /* heads, cache and builders have their own caps */
    struct budget *all[] = {&p->memory, &p->connections, &p->bodies, &p->ingest_budget, &p->queries,
        &p->answers, &p->metrics, &p->samples, &p->usage, &p->forwards, &p->storage};
    static_assert(sizeof(all) == sizeof(p->listed), "all are shown");
    memcpy(p->listed, all, sizeof(all));
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        budget_list(all[i]);
    memory_metrics_attach();
    slab_keep(total / 16);
    memory_keep(total / 16);
}

static const struct ingest_forwarder *forwarders_from(const struct config *c, struct arena *arena)
{
    struct ingest_forwarder *f = ARENA_ARRAY(arena, c->n_forwarders, struct ingest_forwarder);
    ASSERT(f != NULL); /* no budget */
    for (size_t i = 0; i < c->n_forwarders; i++)
        f[i] = (struct ingest_forwarder){c->forwarders[i].name, c->forwarders[i].endpoints,
            c->forwarders[i].insecure, c->forwarders[i].cert_file};
    return f;
}

/* Threads for queries: as many as the configuration says, but what they work with must fit. */
static unsigned query_threads(const struct config *c)
{
    uint64_t fit = MAX(c->memory_budget / 4 / QUERY_BYTES_USUAL, QUERY_THREADS_MIN);
    uint64_t cpus = MAX((uint64_t)pool_cpus() * 8, QUERY_THREADS_MIN);
    return (unsigned)MIN(MIN(fit, cpus), c->query_workers == 0 ? cpus : c->query_workers);
}

/* What one query may hold: in a small memory most of what all may, because a dear one (compare()
 * takes some 25 MiB) should get there; while it runs, long ones wait (pool_turn). */
static uint64_t query_bytes(const struct config *c)
{
    return MAX(MAX(c->memory_budget / 8, MIN(c->memory_budget / 16 * 3, 64ULL << 20)), 16ULL << 20);
}

static enum ec start_storage(struct process *p, struct err *err)
{
    const struct config *c = p->config;
    if (c->user_limits_on)
        TRY(user_limits_open(io_from_environment(), c->user_limits_dir, &p->user_limits, err));
    bool any = c->overrides_file != NULL || p->user_limits != NULL;
    struct overrides_options oo = {.load = any ? load_overrides : NULL, .load_ctx = p};
    limits_from(&c->limits, &oo.defaults);
    ASSERT(lists_from(&c->limits, &p->lists, &oo.default_lists)); /* no budget */
    TRY(overrides_new(&oo, &p->overrides, err));
    /* A block takes part of what heads may have, so that the next one fills while it is written. */
    uint64_t heads = c->max_live_traces_bytes != 0
                         ? MIN(c->max_live_traces_bytes, c->memory_budget / 2)
                         : c->memory_budget / 4;
    struct store_options so = {
        .io = io_from_environment(),
        .wal_dir = c->wal_path,
        .data_dir = c->local_path,
        .budget = &p->storage,
        .head_bytes_max = heads,
        .cache_bytes_max = c->memory_budget / 8,
        .pool = p->pool,
        .durability = strcmp(c->durability, "none") == 0       ? DURABILITY_NONE
                      : strcmp(c->durability, "interval") == 0 ? DURABILITY_INTERVAL
                                                               : DURABILITY_COMMIT,
        .durability_interval_ns = c->durability_interval,
        .block_raw_bytes_max = MIN(c->block_bytes_max, heads / 2),
        .block_age_max_ns = c->block_age_max,
        .check_period_ns = MIN(c->flush_check_period, NS_PER_S),
        .retention_ns = c->retention,
        .retention_period_ns = c->retention_interval,
        .compaction_window_ns = c->compaction_window,
        .compaction_period_ns = c->compaction_cycle,
        .compaction_inputs_max = c->compaction_inputs_max,
        .compaction_spans_max = c->compaction_objects_max,
        .compaction_bytes_max = c->compaction_bytes_max,
        .merge_memory_bytes = MAX(c->memory_budget / 12, MERGE_BYTES_MIN),
        .compaction_disabled = c->compaction_disabled,
        .bytes_max = c->store_bytes_max,
        .min_free_bytes = c->min_free_bytes,
        .min_free_ratio = c->min_free_ratio,
        .wal_compress_level = WAL_COMPRESS_LEVEL_DEFAULT,
        .limits = store_limits,
        .limits_ctx = p,
    };
    TRY(store_open(&so, &p->store, err));
    TRY(metrics_service_new(c, p->overrides, &p->metrics, &p->samples, &p->metrics_service, err));
    struct ingest_options io = {
        .store = p->store,
        .overrides = p->overrides,
        .inflight = &p->ingest_budget,
        .inflight_tenant_bytes_max = MAX(c->memory_budget / 32, 16u << 20),
        .max_attribute_bytes = c->max_attribute_bytes,
        .retry_after_ns = c->retry_after,
        .log_received = {c->log_received_spans.enabled,
            c->log_received_spans.include_all_attributes,
            c->log_received_spans.filter_by_status_error},
        .log_discarded = {c->log_discarded_spans.enabled,
            c->log_discarded_spans.include_all_attributes,
            c->log_discarded_spans.filter_by_status_error},
        .usage = {c->attribution.enabled, c->attribution.cardinality_max, c->attribution.stale,
            &p->usage},
        .forwarders = forwarders_from(c, &p->lists),
        .n_forwarders = c->n_forwarders,
        .forward_budget = &p->forwards,
        .metric_spans = {c->metric_received_spans.enabled, c->metric_received_spans.root_only},
        .accepted = p->metrics_service == NULL ? NULL : metrics_service_push,
        .accepted_ctx = p->metrics_service,
    };
    return ingest_new(&io, &p->ingest, err);
}

static enum ec listen_on(struct process *p, struct listener_options *o, struct err *err)
{
    o->body_budget = &p->bodies;
    return listener_open(p->config, p->server, o, err);
}

static enum ec listen_api(struct process *p, struct err *err)
{
    const struct config_server *s = &p->config->server;
    char address[300];
    snprintf(address, sizeof(address), "%s:%u", s->http_listen_address, s->http_listen_port);
    struct listener_options http = {
        .name = "http",
        .address = address,
        .tls = listener_tls(&s->http_tls),
        .http1 = true,
        .http2 = true,
        .grpc = p->config->stream_over_http,
        .request_metrics = true,
        .prompt = true,
        .url_bytes_max = 160u << 10, /* a TraceQL text of 128 KiB, most of it letters */
        .body_bytes_max = 1u << 20,
        .inflated_bytes_max = 4u << 20,
        .grpc_message_bytes_max = s->grpc_max_recv,
        .answer_budget = &p->answers,
        .encodings = ENC_GZIP | ENC_ZSTD | ENC_SNAPPY_FRAMED,
        .connections_max = s->http_conn_limit,
        .read_timeout_ms = (unsigned)(s->read_timeout / NS_PER_MS),
        .idle_timeout_ms = (unsigned)(s->idle_timeout / NS_PER_MS),
        .handler = api_handle_http,
        .grpc_handler = api_handle_grpc,
        .ctx = p->api,
    };
    TRY(listen_on(p, &http, err));
    snprintf(address, sizeof(address), "%s:%u", s->grpc_listen_address, s->grpc_listen_port);
    struct listener_options grpc = http;
    grpc.name = "grpc";
    grpc.tls = listener_tls(&s->grpc_tls);
    grpc.http1 = false;
    grpc.grpc = true;
    grpc.handler = NULL;
    grpc.streams_max = s->grpc_max_streams;
    grpc.connections_max = s->grpc_conn_limit;
    TRY(listen_on(p, &grpc, err));
    if (!p->config->internal_server_on)
        return EC_OK;
    const struct config_server *in = &p->config->internal_server;
    snprintf(address, sizeof(address), "%s:%u", in->http_listen_address, in->http_listen_port);
    struct listener_options internal = {.name = "internal",
        .address = address,
        .tls = listener_tls(&in->http_tls),
        .http1 = true,
        .prompt = true,
        .handler = api_handle_internal,
        .ctx = p->api};
    return listen_on(p, &internal, err);
}

static enum ec start(struct process *p, struct err *err)
{
    const struct config *c = p->config;
    init_budgets(p);
    TRY(watch_start(err));
    p->query_cache = query_cache_new(&p->memory, MAX(c->memory_budget / 64, 1u << 20));
    struct pool_options po = {.n_normal = query_threads(c), .n_low = c->block_workers};
    TRY(pool_new(&po, &p->pool, err));
    struct api_options ao = {
        .config = c,
        .pool = p->pool,
        .query_budget = &p->queries,
        .query_bytes_max = query_bytes(c),
        .query_cache = p->query_cache,
        .version = VIVACE_VERSION,
        .revision = VIVACE_VERSION,
        .branch = "vivace",
        .build_user = "",
        .build_date = "",
    };
    TRY(api_new(&ao, &p->api, err));
    const struct server_options so = {.connection_budget = &p->connections};
    TRY(server_new(&so, &p->server, err));
    TRY(gateway_new(c, p->api, p->pool, &p->gateway, err));
    TRY(gateway_listen(p->gateway, p->server, &p->bodies, err));
    TRY(listen_api(p, err)); /* before the replay: /ready says what is going on */
    TRY(start_storage(p, err));
    api_attach_user_limits(p->api, p->user_limits);
    api_attach(p->api, p->store, p->overrides, p->ingest);
    struct receivers_options ro = {.config = c,
        .server = p->server,
        .api = p->api,
        .bodies = &p->bodies,
        .packets = &p->ingest_budget};
    p->receivers = receivers_new(&ro);
    TRY(receivers_listen(p->receivers, err));
    api_set_state(p->api, API_RUNNING); /* last: who sees "ready" may send */
    return EC_OK;
}

/* ---- stop ---- */

/* Few heads are flushed, so that nothing is left to replay; very many are left to the WAL, because
 * a stop must take less than two seconds. */
static bool flush_at_stop(struct process *p)
{
    struct store_tenant *tenants;
    size_t n, with_data = 0;
    uint64_t spans = 0;
    struct arena a;
    if (p->config->flush_all_on_shutdown)
        return true;
    arena_init(&a, NULL, 0);
    bool known = store_tenants(p->store, &a, &tenants, &n, NULL) == EC_OK;
    for (size_t i = 0; known && i < n; i++) {
        spans += tenants[i].head.n_spans;
        with_data += tenants[i].head.n_spans != 0;
    }
    arena_deinit(&a);
    return known && spans <= 1000000 && with_data <= 32;
}

static int stop(struct process *p, int exit_code)
{
    struct err err = {0};
    bool drained = true;
    int64_t began = clock_mono_ns();
    if (p->api != NULL)
        api_set_state(p->api, API_STOPPING);
    if (p->server != NULL && p->config->shutdown_delay > 0 && exit_code == 0) {
        struct timespec t = {.tv_sec = p->config->shutdown_delay / NS_PER_S,
            .tv_nsec = p->config->shutdown_delay % NS_PER_S};
        nanosleep(&t, NULL);
        began = clock_mono_ns();
    }
    ingest_stop_delays(p->ingest);
    if (p->server != NULL)
        drained =
            server_drain(p->server, MIN(p->config->server.graceful_shutdown_timeout, DRAIN_MAX));
    receivers_stop(p->receivers); /* the last packets, while the store still takes them */
    if (p->store != NULL && store_close(p->store, flush_at_stop(p), &err) != EC_OK) {
        log_event(
            LOG_ERROR, "store did not close cleanly; the next start replays its log", LE(&err));
        exit_code = 1;
    }
    metrics_service_stop(p->metrics_service, drained ? METRICS_FLUSH_MAX : METRICS_FLUSH_MAX / 4);
    ingest_drain(p->ingest, MAX(began + FORWARD_MAX - clock_mono_ns(), 0));
    if (!drained) { /* a query still runs: everything durable is closed, so leave */
        log_event(LOG_INFO, "stopped with requests in flight");
        _exit(exit_code);
    }
    pool_free(p->pool);
    gateway_stop(p->gateway);
    server_free(p->server);
    gateway_free(p->gateway);
    receivers_free(p->receivers);
    api_free(p->api);
    query_cache_free(p->query_cache);
    ingest_free(p->ingest);
    metrics_service_free(p->metrics_service);
    overrides_free(p->overrides);
    user_limits_free(p->user_limits);
    watch_stop();
    log_event(LOG_INFO, "stopped");
    return exit_code;
}

static void reload(struct process *p)
{
    struct err err = {0};
    enum ec ec = server_reload_tls(p->server, &err);
    overrides_poll(p->overrides); /* says itself when it cannot be read */
    gateway_reload(p->gateway);
    if (ec != EC_OK)
        log_event(LOG_ERROR, "certificates were not reloaded, the old ones stay", LE(&err));
    else
        log_event(LOG_INFO, "reloaded certificates and overrides");
}

static void exit_at_once(int sig)
{
    (void)sig;
    _exit(0); /* what is acked is on disk; the next start replays */
}

/* Waits for a signal that ends the process; meanwhile polls the overrides file. */
static void wait_for_stop(struct process *p, const sigset_t *set)
{
    int64_t period = p->config->overrides_period > 0 ? p->config->overrides_period : 10 * NS_PER_S;
    for (;;) {
        struct timespec t = {.tv_sec = period / NS_PER_S, .tv_nsec = period % NS_PER_S};
        int sig = sigtimedwait(set, NULL, &t);
        if (sig == SIGHUP)
            reload(p);
        else if (sig < 0 && errno == EAGAIN) {
            overrides_poll(p->overrides);
            gateway_poll(p->gateway);
        } else if (sig == SIGTERM || sig == SIGINT) {
            log_event(LOG_INFO, "stopping", LZ("signal", sig == SIGTERM ? "SIGTERM" : "SIGINT"));
            return;
        }
    }
}

/* Clients, and blocks that are read (storage/block/files.c: half of it at most), need descriptors:
 * take what the hard limit allows. */
static void raise_file_limit(void)
{
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l) != 0 || l.rlim_cur == l.rlim_max)
        return;
    l.rlim_cur = l.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &l) != 0)
        log_event(LOG_WARN, "the limit of open files stays as it is");
}

int cmd_serve(const struct config *c)
{
    struct process *p = xcalloc(1, sizeof(*p));
    struct err err = {0};
    sigset_t set;
    int64_t started = clock_mono_ns();
    p->config = c;
    arena_init(&p->lists, NULL, 0);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set, NULL); /* before any thread: all inherit it */
    signal(SIGPIPE, SIG_IGN);
    memory_setup();
    raise_file_limit();
    log_event(LOG_INFO, "Starting Vivace", LZ("version", VIVACE_VERSION));
    int exit_code = 0;
    if (start(p, &err) != EC_OK) {
        log_event(LOG_ERROR, "error running Tempo", LE(&err));
        exit_code = stop(p, 1);
    } else {
        log_event(LOG_INFO, "Vivace is ready", LD("start", clock_mono_ns() - started),
            LZ("data", c->local_path), LD("retention", c->retention));
        wait_for_stop(p, &set);
        signal(SIGTERM, exit_at_once);
        signal(SIGINT, exit_at_once);
        pthread_sigmask(SIG_UNBLOCK, &set, NULL);
        exit_code = stop(p, 0);
    }
    arena_deinit(&p->lists);
    for (size_t i = 0; i < ARRAY_LEN(p->listed); i++)
        budget_unlist(p->listed[i]);
    free(p);
    return exit_code;
}
