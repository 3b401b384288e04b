/* SPDX-License-Identifier: Apache-2.0
 * Queues of gRPC requests in front of one HTTP client.
 *
 * A request's bytes are copied once, as a gRPC frame, and shared by the tenant's queues. Sending is
 * the client's work: its thread calls back, and the next request starts. Locks: the tenant's list
 * of queues, then a queue's; the client is called without either. */
#include "forward.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/budget.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "client/http_client.h"

#define EXPORT_PATH "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

struct target { /* a forwarder */
    const struct ingest_forwarder *opt;
    struct http_profile *profile;
    char **urls;
    size_t n_urls;
    struct log_limiter failed_log, full_log;
};

struct forward {
    struct http_client *client;
    struct target *targets;
    size_t n_targets;
    struct budget *budget;
    _Atomic unsigned pending; /* requests in queues and under way */
    _Atomic bool stopping;
};

struct payload { /* a gRPC message with its frame; shared */
    _Atomic unsigned refs;
    struct budget *budget;
    size_t n;
    uint8_t frame[];
};

struct queue {
    struct forward *forward;
    struct target *target;
    struct forward_tenant *tenant;
    struct metric *pushes, *failures, *length;
    pthread_mutex_t lock;
    struct payload *ring[FORWARD_QUEUE_MAX]; /* guarded by lock, as the rest */
    unsigned first, n, under_way;
};

struct forward_tenant {
    struct forward *forward;
    char *id;
    size_t id_n;
    struct metric *pushes, *failures;
    pthread_mutex_t lock;
    struct queue **queues; /* one a forwarder, made when first wanted; guarded by lock */
    bool *wanted;          /* guarded by lock */
};

struct sending { /* one request at all endpoints of its forwarder */
    struct queue *queue;
    struct payload *payload;
    _Atomic unsigned left;
};

static struct metric_family queue_pushes = {
    .name = "tempo_distributor_queue_pushes_total",
    .help = "Total number of successful requests queued up for a tenant to the generatorForwarder",
    .type = METRIC_COUNTER,
    .labels = {"name", "tenant", NULL},
};
static struct metric_family queue_failures = {
    .name = "tempo_distributor_queue_pushes_failures_total",
    .help = "Total number of failed pushes to the queue for a tenant to the generatorForwarder",
    .type = METRIC_COUNTER,
    .labels = {"name", "tenant", NULL},
};
static struct metric_family queue_length = {
    .name = "tempo_distributor_queue_length",
    .help = "Number of queued requests for a tenant",
    .type = METRIC_GAUGE,
    .labels = {"name", "tenant", NULL},
};
static struct metric_family forwarder_pushes = {
    .name = "tempo_distributor_forwarder_pushes_total",
    .help = "Total number of successful requests queued up for a tenant to the generatorForwarder",
    .type = METRIC_COUNTER,
    .labels = {"tenant", NULL},
};
static struct metric_family forwarder_failures = {
    .name = "tempo_distributor_forwarder_pushes_failures_total",
    .help = "Total number of failed pushes to the queue for a tenant to the generatorForwarder",
    .type = METRIC_COUNTER,
    .labels = {"tenant", NULL},
};
static struct metric_family send_failures = {
    .name = "vivace_forwarder_send_failures_total",
    .help = "Requests that an endpoint of a forwarder did not take.",
    .type = METRIC_COUNTER,
    .labels = {"name", NULL},
};

/* ---- payloads ---- */

static void payload_unref(struct payload *p)
{
    if (p != NULL && atomic_fetch_sub(&p->refs, 1) == 1) {
        budget_give(p->budget, sizeof(*p) + p->n);
        free(p);
    }
}

/* NULL: the budget refuses. */
static struct payload *payload_new(struct budget *budget, struct bytes message)
{
    size_t n = message.n + 5;
    if (message.n > UINT32_MAX || !budget_take(budget, sizeof(struct payload) + n))
        return NULL;
    struct payload *p = xcalloc(1, sizeof(*p) + n);
    atomic_init(&p->refs, 1);
    p->budget = budget;
    p->n = n;
    put_u32be(p->frame + 1, (uint32_t)message.n); /* byte 0: not compressed */
    memcpy(p->frame + 5, message.p, message.n);
    return p;
}

/* What goes out: as received, unless some spans are left out. */
static struct payload *payload_of(struct budget *budget, const struct batch *b, uint32_t n_bad_ids)
{
    if (n_bad_ids == 0)
        return payload_new(budget, b->raw);
    struct buf out;
    buf_init(&out, budget);
    batch_encode(b, &out);
    struct payload *p = buf_failed(&out) ? NULL : payload_new(budget, buf_bytes(&out));
    buf_deinit(&out);
    return p;
}

/* ---- sending ---- */

static void queue_run(struct queue *q);

static void sending_unref(struct sending *s)
{
    if (atomic_fetch_sub(&s->left, 1) != 1)
        return;
    struct queue *q = s->queue;
    payload_unref(s->payload);
    free(s);
    pthread_mutex_lock(&q->lock);
    q->under_way--;
    pthread_mutex_unlock(&q->lock);
    struct forward *f = q->forward;
    queue_run(q);
    (void)atomic_fetch_sub(&f->pending, 1); /* last: from then on it may be stopped */
}

static void note_failure(struct queue *q, const char *why, struct str text)
{
    struct target *t = q->target;
    metric_inc(metric_series1(&send_failures, str_from(t->opt->name)));
    if (log_limiter_pass(&t->failed_log, NS_PER_S))
        log_event(LOG_WARN, "failed to forward batches", LZ("forwarderName", t->opt->name),
            LS("tenantID", str_n(q->tenant->id, q->tenant->id_n)), LZ("err", why),
            LS("answer", text));
}

static void sent(void *arg, const struct http_client_response *rs)
{
    struct sending *s = arg;
    struct str status = {0}, message = {0};
    if (rs->ec != EC_OK) {
        note_failure(s->queue, rs->error, STR(""));
    } else if (rs->status != 200 || !http_response_header(rs, "grpc-status", &status) ||
               !str_eqz(status, "0")) {
        (void)http_response_header(rs, "grpc-message", &message); /* empty when absent */
        note_failure(s->queue, "refused", str_n(message.p, MIN(message.n, (size_t)200)));
    }
    sending_unref(s);
}

static void send_all(struct queue *q, struct payload *p)
{
    const struct target *t = q->target;
    const struct http_header headers[] = {
        {STR("Content-Type"), STR("application/grpc")},
        {STR("TE"), STR("trailers")},
        {STR("X-Scope-OrgID"), str_n(q->tenant->id, q->tenant->id_n)},
    };
    struct sending *s = xcalloc(1, sizeof(*s));
    *s = (struct sending){.queue = q, .payload = p};
    atomic_init(&s->left, (unsigned)t->n_urls + 1); /* one is this function's */
    for (size_t i = 0; i < t->n_urls; i++) {
        struct err err = {0};
        struct http_client_request rq = {
            .profile = t->profile,
            .method = STR("POST"),
            .url = str_from(t->urls[i]),
            .headers = headers,
            .n_headers = ARRAY_LEN(headers),
            .body = bytes_n(p->frame, p->n),
        };
        if (http_client_send(q->forward->client, &rq, sent, s, NULL, &err) != EC_OK) {
            note_failure(q, err_msg(&err), STR(""));
            (void)atomic_fetch_sub(&s->left, 1); /* not the last: ours is left */
        }
    }
    sending_unref(s);
}

/* Starts what may start. INVARIANT: recursion (send_all -> queue_run when nothing could be sent)
 * ends, because each level takes a request off the queue. */
static void queue_run(struct queue *q)
{
    for (;;) {
        struct payload *p = NULL;
        pthread_mutex_lock(&q->lock);
        bool stop = atomic_load(&q->forward->stopping);
        if (q->n != 0 && q->under_way < FORWARD_WORKERS && !stop) {
            p = q->ring[q->first];
            q->first = (q->first + 1) % FORWARD_QUEUE_MAX;
            q->n--;
            q->under_way++;
            metric_set(q->length, q->n);
        }
        pthread_mutex_unlock(&q->lock);
        if (p == NULL)
            return;
        send_all(q, p);
    }
}

static bool queue_put(struct queue *q, struct payload *p)
{
    bool put = false;
    metric_inc(q->pushes);
    pthread_mutex_lock(&q->lock);
    if (p != NULL && q->n < FORWARD_QUEUE_MAX && !atomic_load(&q->forward->stopping)) {
        (void)atomic_fetch_add(&p->refs, 1);
        (void)atomic_fetch_add(&q->forward->pending, 1);
        q->ring[(q->first + q->n++) % FORWARD_QUEUE_MAX] = p;
        metric_set(q->length, q->n);
        put = true;
    }
    pthread_mutex_unlock(&q->lock);
    if (put) {
        queue_run(q);
        return true;
    }
    metric_inc(q->failures);
    if (log_limiter_pass(&q->target->full_log, NS_PER_S))
        log_event(LOG_WARN, "failed to push data to queue: queue is full",
            LZ("queue_name", q->target->opt->name),
            LS("tenant", str_n(q->tenant->id, q->tenant->id_n)));
    return false;
}

/* ---- tenants ---- */

struct forward_tenant *forward_tenant_new(struct forward *f, struct str tenant)
{
    struct forward_tenant *t = xcalloc(1, sizeof(*t));
    t->forward = f;
    t->id = xstrndup(tenant.p, tenant.n);
    t->id_n = tenant.n;
    t->pushes = metric_series1(&forwarder_pushes, tenant);
    t->failures = metric_series1(&forwarder_failures, tenant);
    t->queues = xcalloc(f->n_targets, sizeof(struct queue *));
    t->wanted = xcalloc(f->n_targets, sizeof(bool));
    pthread_mutex_init(&t->lock, NULL);
    return t;
}

void forward_tenant_free(struct forward_tenant *t)
{
    if (t == NULL)
        return;
    for (size_t i = 0; i < t->forward->n_targets; i++) {
        struct queue *q = t->queues[i];
        if (q == NULL)
            continue;
        ASSERT(q->under_way == 0);
        for (unsigned k = 0; k < q->n; k++)
            payload_unref(q->ring[(q->first + k) % FORWARD_QUEUE_MAX]);
        pthread_mutex_destroy(&q->lock);
        free(q);
    }
    pthread_mutex_destroy(&t->lock);
    free(t->queues);
    free(t->wanted);
    free(t->id);
    free(t);
}

static struct queue *queue_new(struct forward_tenant *t, struct target *target)
{
    struct queue *q = xcalloc(1, sizeof(*q));
    struct str name = str_from(target->opt->name), id = str_n(t->id, t->id_n);
    q->forward = t->forward;
    q->target = target;
    q->tenant = t;
    q->pushes = metric_series2(&queue_pushes, name, id);
    q->failures = metric_series2(&queue_failures, name, id);
    q->length = metric_series2(&queue_length, name, id);
    pthread_mutex_init(&q->lock, NULL);
    return q;
}

static size_t target_named(const struct forward *f, struct str name)
{
    size_t i = 0;
    while (i < f->n_targets && !str_eqz(name, f->targets[i].opt->name))
        i++;
    return i;
}

void forward_tenant_configure(struct forward_tenant *t, const struct limit_lists *lists)
{
    struct forward *f = t->forward;
    size_t n = lists->n_forwarders;
    for (size_t i = 0; i < n; i++)
        if (target_named(f, lists->forwarders[i]) == f->n_targets) {
            log_event(LOG_WARN, "failed to find forwarder by name: nothing is forwarded",
                LS("forwarderName", lists->forwarders[i]), LS("tenantID", str_n(t->id, t->id_n)));
            n = 0;
        }
    pthread_mutex_lock(&t->lock);
    memset(t->wanted, 0, f->n_targets * sizeof(*t->wanted));
    for (size_t i = 0; i < n; i++) {
        size_t at = target_named(f, lists->forwarders[i]);
        if (t->queues[at] == NULL)
            t->queues[at] = queue_new(t, &f->targets[at]);
        t->wanted[at] = true;
    }
    pthread_mutex_unlock(&t->lock);
}

void forward_push(struct forward_tenant *t, const struct batch *b, uint32_t n_bad_ids)
{
    struct forward *f = t->forward;
    struct payload *p = NULL;
    bool made = false, failed = false;
    pthread_mutex_lock(&t->lock);
    for (size_t i = 0; i < f->n_targets; i++) {
        if (!t->wanted[i])
            continue;
        struct queue *q = t->queues[i]; /* lives as long as the tenant */
        pthread_mutex_unlock(&t->lock);
        if (!made)
            p = payload_of(f->budget, b, n_bad_ids);
        made = true;
        failed |= !queue_put(q, p);
        pthread_mutex_lock(&t->lock);
    }
    pthread_mutex_unlock(&t->lock);
    if (made)
        metric_inc(t->pushes);
    if (failed)
        metric_inc(t->failures);
    payload_unref(p);
}

/* ---- all of it ---- */

static enum ec target_init(struct target *t, const struct ingest_forwarder *opt, struct err *err)
{
    t->opt = opt;
    struct http_profile_options po = {
        .ca_file = opt->insecure ? NULL : opt->cert_file,
        .http2 = true,
        .http2_plain = opt->insecure,
        .timeout_ns = FORWARD_TIMEOUT_NS,
        .body_bytes_max = 64u << 10,
    };
    TRY(http_profile_new(&po, &t->profile, err));
    while (opt->endpoints != NULL && opt->endpoints[t->n_urls] != NULL)
        t->n_urls++;
    t->urls = xcalloc(t->n_urls, sizeof(char *));
    for (size_t i = 0; i < t->n_urls; i++) {
        char url[400];
        int n = snprintf(url, sizeof(url), "%s://%s" EXPORT_PATH, opt->insecure ? "http" : "https",
            opt->endpoints[i]);
        if (n < 0 || (size_t)n >= sizeof(url))
            return ERR(err, EC_INVALID, "forwarder %.80s: endpoint is too long", opt->name);
        t->urls[i] = xstrdup(url);
    }
    return EC_OK;
}

enum ec forward_new(const struct ingest_forwarder *list, size_t n, struct budget *budget,
    struct forward **ret, struct err *err)
{
    struct metric_family *all[] = {&queue_pushes, &queue_failures, &queue_length, &forwarder_pushes,
        &forwarder_failures, &send_failures};
    struct forward *f = xcalloc(1, sizeof(*f));
    f->budget = budget;
    f->targets = xcalloc(n, sizeof(*f->targets));
    enum ec ec = EC_OK;
    for (; ec == EC_OK && f->n_targets < n; f->n_targets++)
        ec = target_init(&f->targets[f->n_targets], &list[f->n_targets], err);
    struct http_client_options co = {.name = "forward", .budget = budget};
    if (ec == EC_OK)
        ec = http_client_new(&co, &f->client, err);
    if (ec != EC_OK) {
        forward_free(f);
        return ec;
    }
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        metric_register(all[i]);
    *ret = f;
    return EC_OK;
}

unsigned forward_drain(struct forward *f, int64_t deadline_ns)
{
    int64_t until = clock_mono_ns() + deadline_ns;
    unsigned left = 0;
    while (f != NULL && (left = atomic_load(&f->pending)) != 0 && clock_mono_ns() < until) {
        const struct timespec t = {.tv_nsec = 2 * NS_PER_MS};
        nanosleep(&t, NULL);
    }
    return left;
}

void forward_stop(struct forward *f)
{
    if (f == NULL)
        return;
    atomic_store(&f->stopping, true);
    http_client_free(f->client);
    f->client = NULL;
}

void forward_free(struct forward *f)
{
    if (f == NULL)
        return;
    http_client_free(f->client);
    for (size_t i = 0; i < f->n_targets; i++) {
        for (size_t k = 0; k < f->targets[i].n_urls; k++)
            free(f->targets[i].urls[k]);
        free(f->targets[i].urls);
        http_profile_free(f->targets[i].profile);
    }
    free(f->targets);
    free(f);
}
