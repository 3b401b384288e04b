/* SPDX-License-Identifier: Apache-2.0 */
#include "generator.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/watch.h"
#include "remote_write/remote_write.h"

#define TICK       (500 * NS_PER_MS)
#define TICK_STUCK (30 * NS_PER_S)

struct metrics_service {
    const struct config *config;
    struct overrides *overrides;
    struct generator *generator;
    struct remote_write *remote_write;
    struct metric *pushes;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool running, stop; /* guarded by lock */
};

#define PUSHES "tempo_distributor_metrics_generator_pushes_"
static struct metric_family pushes = {
    .name = PUSHES "total",
    .help = "Requests handed to the metrics generator.",
    .type = METRIC_COUNTER,
    .labels = {"metrics_generator"},
};
static struct metric_family push_failures = {
    .name = PUSHES "failures_total",
    .help = "Always 0: the metrics generator is in this process.",
    .type = METRIC_COUNTER,
    .labels = {"metrics_generator"},
};

/* ---- a tenant's configuration ---- */

struct settings_question {
    struct metrics_service *m;
    struct str tenant;
    struct arena *arena;
    struct generator_settings *settings; /* or */
    const struct http_header **headers;
    size_t n_headers;
};

static const struct config_tenant_generator *entry_of(
    const struct metrics_service *m, const struct tenant_entry *e)
{
    return e == NULL ? &m->config->limits.generator : e->attached;
}

static void answer_settings(void *ctx, const struct tenant_entry *e)
{
    struct settings_question *q = ctx;
    settings_from(q->m->config, entry_of(q->m, e), q->tenant, q->arena, q->settings);
}

static enum ec settings(void *ctx, struct str tenant, struct arena *arena,
    struct generator_settings *ret, struct err *err)
{
    struct metrics_service *m = ctx;
    struct settings_question q = {.m = m, .tenant = tenant, .arena = arena, .settings = ret};
    (void)err;
    overrides_visit(m->overrides, tenant, answer_settings, &q);
    return EC_OK;
}

static void answer_headers(void *ctx, const struct tenant_entry *e)
{
    struct settings_question *q = ctx;
    const struct config_pairs *from = &entry_of(q->m, e)->headers;
    struct http_header *h = ARENA_ARRAY(q->arena, from->n, struct http_header);
    ASSERT(h != NULL); /* no budget; files are bounded */
    for (size_t i = 0; i < from->n; i++) {
        h[i].name = arena_str(q->arena, str_from(from->p[i].name));
        h[i].value = arena_str(q->arena, str_from(from->p[i].value));
    }
    *q->headers = h;
    q->n_headers = from->n;
}

static void headers(void *ctx, struct str tenant, struct arena *arena,
    const struct http_header **ret, size_t *ret_n)
{
    struct metrics_service *m = ctx;
    struct settings_question q = {.m = m, .tenant = tenant, .arena = arena, .headers = ret};
    overrides_visit(m->overrides, tenant, answer_headers, &q);
    *ret_n = q.n_headers;
}

static bool emit(void *ctx, struct str tenant, const struct generator_entry *e)
{
    struct metrics_service *m = ctx;
    if (e == NULL)
        return remote_write_flush(m->remote_write, tenant);
    remote_write_put(
        m->remote_write, tenant, e->series, e->time_ms, (enum remote_write_kind)e->kind);
    return true;
}

/* ---- endpoints ---- */

static struct remote_write_relabel relabel_from(const struct config_relabel *r, struct arena *a)
{
    size_t n = 0;
    while (r->source_labels != NULL && r->source_labels[n] != NULL)
        n++;
    struct str *sources = ARENA_ARRAY(a, n, struct str);
    for (size_t i = 0; i < n; i++)
        sources[i] = str_from(r->source_labels[i]);
    return (struct remote_write_relabel){.source_labels = sources,
        .n_source_labels = n,
        .separator = str_from(r->separator),
        .regex = str_from(r->regex),
        .target_label = str_from(r->target_label),
        .replacement = str_from(r->replacement),
        .action = r->action,
        .modulus = r->modulus};
}

static struct http_profile_options http_from(
    const struct config_client_tls *t, const struct config_client_proxy *p)
{
    return (struct http_profile_options){.ca_file = t->ca_file,
        .ca_pem = str_from(t->ca_pem),
        .insecure_skip_verify = t->insecure_skip_verify,
        .cert_file = t->cert_file,
        .key_file = t->key_file,
        .server_name = t->server_name,
        .proxy = p->from_environment ? HTTP_PROXY_ENVIRONMENT
                 : p->url[0] != 0    ? HTTP_PROXY_URL
                                     : HTTP_PROXY_NONE,
        .proxy_url = p->url,
        .no_proxy = p->no_proxy};
}

static const struct http_header *headers_from(struct config_pairs in, struct arena *a)
{
    struct http_header *h = ARENA_ARRAY(a, in.n, struct http_header);
    ASSERT(h != NULL); /* no budget, as below */
    for (size_t i = 0; i < in.n; i++)
        h[i] = (struct http_header){str_from(in.p[i].name), str_from(in.p[i].value)};
    return h;
}

static const struct remote_write_oauth2 *oauth2_from(const struct config_oauth2 *o, struct arena *a)
{
    struct remote_write_oauth2 *ret = ARENA_ARRAY(a, 1, struct remote_write_oauth2);
    struct buf scopes = BUF_INIT;
    for (size_t i = 0; o->scopes != NULL && o->scopes[i] != NULL; i++)
        buf_printf(&scopes, "%s%s", i == 0 ? "" : " ", o->scopes[i]);
    *ret = (struct remote_write_oauth2){.token_url = o->token_url,
        .client_id = o->client_id,
        .client_secret = o->client_secret,
        .client_secret_file = o->client_secret_file,
        .scopes = arena_strz(a, buf_str(&scopes)),
        .params = headers_from(o->params, a),
        .n_params = o->params.n,
        .http = http_from(&o->tls, &o->proxy)};
    buf_deinit(&scopes);
    return ret;
}

static void endpoint_from(
    const struct config_remote_write *e, struct arena *a, struct remote_write_endpoint *ret)
{
    struct remote_write_relabel *r = ARENA_ARRAY(a, e->n_relabels, struct remote_write_relabel);
    for (size_t i = 0; i < e->n_relabels; i++)
        r[i] = relabel_from(&e->relabels[i], a);
    *ret = (struct remote_write_endpoint){.url = e->url,
        .name = e->name,
        .headers = headers_from(e->headers, a),
        .n_headers = e->headers.n,
        .relabels = r,
        .n_relabels = e->n_relabels,
        .samples_per_send_max = e->samples_per_send_max,
        .capacity = e->capacity,
        .timeout_ns = e->timeout,
        .backoff_min_ns = e->backoff_min,
        .backoff_max_ns = e->backoff_max,
        .sample_age_max_ns = e->sample_age_max,
        .retry_on_429 = e->retry_on_429,
        .user = e->user,
        .user_file = e->user_file,
        .password = e->password,
        .password_file = e->password_file,
        .auth_type = e->auth_type,
        .credentials = e->credentials,
        .credentials_file = e->credentials_file,
        .oauth2 = e->has_oauth2 ? oauth2_from(&e->oauth2, a) : NULL,
        .http = http_from(&e->tls, &e->proxy)};
    ret->http.http2 = e->http2;
    ret->http.body_bytes_max = 256u << 10;
    if (!e->has_sigv4)
        return;
    ret->aws_region = e->sigv4.region;
    ret->aws_token = e->sigv4.token;
    ret->user = e->sigv4.access_key;
    ret->password = e->sigv4.secret_key;
}

static enum ec start_remote_write(struct metrics_service *m, struct budget *budget, struct err *err)
{
    const struct config_generator *g = &m->config->generator;
    struct arena a;
    arena_init(&a, NULL, 1024);
    struct remote_write_endpoint *e =
        ARENA_ARRAY(&a, g->n_remote_write, struct remote_write_endpoint);
    for (size_t i = 0; i < g->n_remote_write; i++)
        endpoint_from(&g->remote_write[i], &a, &e[i]);
    const struct remote_write_options o = {.io = io_from_environment(),
        .path = g->path,
        .endpoints = e,
        .n_endpoints = g->n_remote_write,
        .add_org_id_header = g->add_org_id_header,
        .queue_bytes_max = g->queue_bytes_max,
        .min_free_bytes = m->config->min_free_bytes,
        .budget = budget,
        .headers = headers,
        .ctx = m};
    enum ec ec = remote_write_new(&o, &m->remote_write, err);
    arena_deinit(&a);
    return ec;
}

/* ---- the service ---- */

static void *tick(void *arg)
{
    struct metrics_service *m = arg;
    pthread_mutex_lock(&m->lock);
    while (!m->stop) {
        struct timespec until;
        pthread_mutex_unlock(&m->lock);
        watch_begin("metrics generator", "collection", TICK_STUCK);
        generator_tick(m->generator);
        watch_end();
        int64_t at = clock_mono_ns() + TICK;
        until = (struct timespec){.tv_sec = at / NS_PER_S, .tv_nsec = at % NS_PER_S};
        pthread_mutex_lock(&m->lock);
        while (!m->stop && pthread_cond_timedwait(&m->wake, &m->lock, &until) == 0)
            ;
    }
    pthread_mutex_unlock(&m->lock);
    return NULL;
}

enum ec metrics_service_new(const struct config *c, struct overrides *o, struct budget *series,
    struct budget *samples, struct metrics_service **ret, struct err *err)
{
    *ret = NULL;
    if (c->generator.path[0] == 0) {
        if (c->limits.generator.processor_names != NULL)
            log_event(LOG_WARN, "metrics-generator is not configured.",
                LZ("key", "metrics_generator.storage.path"));
        return EC_OK;
    }
    struct metrics_service *m = xcalloc(1, sizeof(*m));
    pthread_condattr_t attr;
    metric_register(&pushes);
    metric_register(&push_failures);
    m->pushes = metric_series1(&pushes, STR("local"));
    (void)metric_series1(&push_failures, STR("local"));
    m->config = c;
    m->overrides = o;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    ASSERT(pthread_mutex_init(&m->lock, NULL) == 0);
    ASSERT(pthread_cond_init(&m->wake, &attr) == 0);
    pthread_condattr_destroy(&attr);
    const struct generator_options go = {
        .settings = settings, .emit = emit, .ctx = m, .budget = series};
    enum ec ec = start_remote_write(m, samples, err);
    if (ec == EC_OK)
        ec = generator_new(&go, &m->generator, err);
    if (ec == EC_OK && pthread_create(&m->thread, NULL, tick, m) != 0)
        ec = ERR(err, EC_LIMIT, "metrics generator: no thread");
    if (ec != EC_OK) {
        metrics_service_free(m);
        return err_prefix(
            err, "failed to init module services: error initialising module: metrics-generator");
    }
    m->running = true;
    *ret = m;
    return EC_OK;
}

void metrics_service_push(void *ctx, struct str tenant, const struct batch *b, bool no_metrics)
{
    const struct metrics_service *m = ctx;
    if (generator_push(m->generator, tenant, b, no_metrics))
        metric_inc(m->pushes);
}

void metrics_service_stop(struct metrics_service *m, int64_t deadline_ns)
{
    if (m == NULL || !m->running)
        return;
    pthread_mutex_lock(&m->lock);
    m->stop = true;
    pthread_cond_signal(&m->wake);
    pthread_mutex_unlock(&m->lock);
    pthread_join(m->thread, NULL);
    m->running = false;
    generator_collect(m->generator);
    remote_write_free(
        TAKE_PTR(m->remote_write), MIN(deadline_ns, m->config->generator.flush_deadline));
}

void metrics_service_free(struct metrics_service *m)
{
    if (m == NULL)
        return;
    metrics_service_stop(m, 0);
    remote_write_free(m->remote_write, 0);
    generator_free(m->generator);
    pthread_cond_destroy(&m->wake);
    pthread_mutex_destroy(&m->lock);
    free(m);
}
