/* SPDX-License-Identifier: Apache-2.0
 * Tenants and what is put for them. Entries are gathered to records of some 256 KiB, which the
 * queue compresses; the end of a collection writes what is left and wakes the senders. */
#include "remote_write/remote_write.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "rw_int.h"

#define RECORD_BYTES   (256u << 10)
#define ENTRY_MAX      (8u << 20)
#define QUEUE_DEFAULT  (512u << 20)
#define SEGMENT_MAX    (8u << 20)
#define OPEN_AGAIN     (60 * NS_PER_S)
#define TENANT_HEX_MAX 300

/* ---- tenants ---- */

static enum ec open_queue(struct tenant *t, struct err *err)
{
    struct remote_write *w = t->w;
    char hex[2 * TENANT_HEX_MAX + 1] = "", dir[1200];
    if (t->name.n == 0 || t->name.n > TENANT_HEX_MAX / 2)
        return ERR(err, EC_INVALID, "a tenant's name of %zu bytes", t->name.n);
    hex_encode(hex, t->name.p, t->name.n);
    int n = snprintf(dir, sizeof(dir), "%s/queue/%s", w->opt.path, hex);
    if (n < 0 || (size_t)n > 650)
        return ERR(err, EC_INVALID, "metrics_generator.storage.path is too long");
    struct queue_options o = {.io = w->opt.io,
        .dir = dir,
        .bytes_max = w->opt.queue_bytes_max,
        .segment_bytes = w->opt.segment_bytes != 0
                             ? w->opt.segment_bytes
                             : MAX(MIN(w->opt.queue_bytes_max / 8, SEGMENT_MAX), 64u << 10),
        .min_free_bytes = w->opt.min_free_bytes};
    struct queue *q;
    TRY(queue_open(&o, &q, err));
    for (size_t i = 0; i < w->n_endpoints; i++) {
        struct sender *s = &t->senders[i];
        enum ec ec = queue_reader(q, s->endpoint->id, &s->reader, &s->pos, err);
        if (ec != EC_OK) {
            queue_close(q);
            return ec;
        }
    }
    queue_forget_others(q);
    t->queue = q;
    return EC_OK;
}

static struct tenant *tenant_new(struct remote_write *w, struct str name)
{
    struct tenant *t = xcalloc(1, sizeof(*t));
    t->w = w;
    t->name = str_n(xstrndup(name.p, name.n), name.n);
    t->senders = xcalloc(w->n_endpoints, sizeof(*t->senders));
    buf_init(&t->pending, w->opt.budget);
    arena_init(&t->header_arena, NULL, 512);
    rw_tenant_metrics_init(&t->metrics, t->name);
    for (size_t i = 0; i < w->n_endpoints; i++) {
        struct sender *s = &t->senders[i];
        s->tenant = t;
        s->endpoint = &w->endpoints[i];
        s->backoff_ns = s->endpoint->opt.backoff_min_ns;
        s->refused_log = &w->refused_log;
        sender_metrics_init(&s->metrics, t->name, s->endpoint);
    }
    return t;
}

static void tenant_free(struct tenant *t)
{
    for (size_t i = 0; i < t->w->n_endpoints; i++)
        sender_deinit(&t->senders[i]);
    queue_close(t->queue);
    free(t->senders);
    buf_deinit(&t->pending);
    arena_deinit(&t->header_arena);
    free((void *)(uintptr_t)t->name.p);
    free(t);
}

/* Makes it when it is new. */
static struct tenant *tenant_of(struct remote_write *w, struct str name)
{
    struct tenant *t = atomic_load(&w->last);
    if (t != NULL && str_eq(t->name, name))
        return t;
    uint32_t slot = (uint32_t)hash64(name.p, name.n) % SLOTS;
    pthread_mutex_lock(&w->lock);
    for (t = w->slots[slot]; t != NULL && !str_eq(t->name, name);)
        t = t->next;
    if (t == NULL) {
        t = tenant_new(w, name);
        t->next = w->slots[slot];
        w->slots[slot] = t;
    }
    pthread_mutex_unlock(&w->lock);
    atomic_store(&w->last, t);
    return t;
}

static bool has_queue(struct tenant *t)
{
    struct err err = {0};
    if (t->queue != NULL)
        return true;
    int64_t now = clock_mono_ns();
    if (t->retry_ns != 0 && now < t->retry_ns)
        return false;
    if (open_queue(t, &err) == EC_OK)
        return true;
    t->retry_ns = now + OPEN_AGAIN;
    log_event(LOG_ERROR, "remote write: the queue cannot be opened, samples are dropped",
        LS("tenant", t->name), LE(&err));
    return false;
}

static void kick_all(void *arg)
{
    struct tenant *t = arg;
    atomic_fetch_add(&t->w->sending, 1); /* a stop waits for what this begins */
    atomic_store(&t->kicked, false);
    for (size_t i = 0; i < t->w->n_endpoints; i++)
        sender_kick(&t->senders[i]);
    atomic_fetch_sub(&t->w->sending, 1);
}

static void kick(struct tenant *t)
{
    if (!atomic_exchange(&t->kicked, true) && !http_client_run(t->w->client, kick_all, t))
        atomic_store(&t->kicked, false); /* stopping: the next start sends it */
}

/* ---- what is put ---- */

static void write_record(struct tenant *t)
{
    struct remote_write *w = t->w;
    uint64_t dropped[QUEUE_READERS_MAX] = {0};
    struct err err = {0};
    if (t->n_pending == 0)
        return;
    enum ec ec = EC_OK;
    if (!has_queue(t) || t->pending.failed)
        ec = ERR(&err, EC_LIMIT, "no queue, or no memory");
    else
        ec = queue_append(t->queue, buf_bytes(&t->pending), t->n_pending, dropped, &err);
    t->lost |= ec != EC_OK;
    for (unsigned k = 0; k < REMOTE_WRITE_KINDS; k++)
        metric_add(t->metrics.in[k], t->pending_kinds[k]);
    memset(t->pending_kinds, 0, sizeof(t->pending_kinds));
    metric_set(t->metrics.highest, (double)(t->highest_ms / 1000));
    for (size_t i = 0; i < w->n_endpoints; i++)
        metric_set(t->senders[i].metrics.highest, (double)(t->highest_ms / 1000));
    for (size_t i = 0; i < w->n_endpoints; i++) {
        uint64_t lost =
            dropped[t->queue == NULL ? 0 : t->senders[i].reader] + (ec != EC_OK ? t->n_pending : 0);
        if (lost != 0)
            metric_add(
                t->senders[i].metrics.dropped[REMOTE_WRITE_SAMPLE][DROPPED_QUEUE], (double)lost);
        if (lost != 0 && log_limiter_pass(&w->write_log, 60 * NS_PER_S))
            log_event(LOG_ERROR, "remote write: the queue has no room, samples are dropped",
                LS("tenant", t->name), LU("count", lost),
                LZ("err", ec == EC_OK ? "over queue_bytes_max, the oldest went" : err_msg(&err)));
    }
    buf_reset(&t->pending);
    t->n_pending = 0;
    if (t->queue != NULL)
        kick(t);
}

void remote_write_put(struct remote_write *w, struct str tenant, struct bytes series,
    int64_t time_ms, enum remote_write_kind kind)
{
    uint8_t head[ENTRY_HEAD];
    if (w->n_endpoints == 0)
        return;
    struct tenant *t = tenant_of(w, tenant);
    if (series.n > ENTRY_MAX) {
        t->lost = true;
        return;
    }
    atomic_store(&t->collecting, true);
    put_u32le(head, (uint32_t)series.n);
    head[4] = (uint8_t)kind;
    put_u64le(head + 5, (uint64_t)time_ms);
    buf_put(&t->pending, head, sizeof(head));
    buf_put(&t->pending, series.p, series.n);
    t->n_pending++;
    t->pending_kinds[kind]++;
    t->highest_ms = MAX(t->highest_ms, time_ms);
    if (t->pending.n >= RECORD_BYTES || t->pending.failed)
        write_record(t);
}

bool remote_write_flush(struct remote_write *w, struct str tenant)
{
    if (w->n_endpoints == 0)
        return true;
    struct tenant *t = tenant_of(w, tenant);
    write_record(t);
    buf_deinit(&t->pending); /* most of the time there is nothing to gather */
    buf_init(&t->pending, w->opt.budget);
    atomic_store(&t->collecting, false);
    if (t->queue != NULL)
        kick(t);
    bool whole = !t->lost;
    t->lost = false;
    return whole;
}

/* ---- start and stop ---- */

/* Tenants of an earlier run: what they left is sent though they may never push again. */
static enum ec find_tenants(struct remote_write *w, struct err *err)
{
    char dir[1200];
    struct io_names names;
    snprintf(dir, sizeof(dir), "%s/queue", w->opt.path);
    TRY(io_mkdir_all(w->opt.io, "rw.root", dir, err));
    TRY(io_list(w->opt.io, "rw.root", dir, &names, err));
    for (size_t i = 0; i < names.n; i++) {
        uint8_t name[TENANT_HEX_MAX];
        size_t n = strlen(names.p[i]) / 2;
        if (n == 0 || n > TENANT_HEX_MAX / 2 || !hex_decode(name, str_from(names.p[i]), n))
            continue;
        struct tenant *t = tenant_of(w, str_n((const char *)name, n));
        if (has_queue(t))
            kick(t);
    }
    io_names_free(&names);
    return EC_OK;
}

enum ec remote_write_new(
    const struct remote_write_options *opt, struct remote_write **ret, struct err *err)
{
    struct remote_write *w = xcalloc(1, sizeof(*w));
    struct http_client_options co = {
        .name = "remote_write", .budget = opt->budget, .waiting_max = 65536};
    w->opt = *opt;
    w->opt.path = xstrdup(opt->path);
    if (w->opt.queue_bytes_max == 0)
        w->opt.queue_bytes_max = QUEUE_DEFAULT;
    ASSERT(pthread_mutex_init(&w->lock, NULL) == 0);
    w->endpoints = xcalloc(MAX(opt->n_endpoints, 1), sizeof(*w->endpoints));
    enum ec ec = opt->n_endpoints > QUEUE_READERS_MAX
                     ? ERR(err, EC_LIMIT, "over %d endpoints", QUEUE_READERS_MAX)
                     : http_client_new(&co, &w->client, err);
    for (size_t i = 0; i < opt->n_endpoints && ec == EC_OK; i++) {
        w->n_endpoints++;
        ec = endpoint_init(&w->endpoints[i], &opt->endpoints[i], w, err);
    }
    if (ec == EC_OK && w->n_endpoints != 0)
        ec = find_tenants(w, err);
    if (ec != EC_OK) {
        remote_write_free(w, 0);
        return ec;
    }
    *ret = w;
    return EC_OK;
}

void remote_write_free(struct remote_write *w, int64_t deadline_ns)
{
    if (w == NULL)
        return;
    int64_t until = clock_mono_ns() + deadline_ns;
    bool kicked = true;
    while (w->client != NULL && clock_mono_ns() < until && kicked) {
        struct timespec t = {.tv_nsec = 2 * NS_PER_MS};
        kicked = false;
        for (unsigned i = 0; i < SLOTS && !kicked; i++)
            for (struct tenant *x = w->slots[i]; x != NULL; x = x->next)
                kicked |= atomic_load(&x->kicked);
        kicked |= atomic_load(&w->sending) != 0; /* second: what is kicked becomes what is sent */
        if (kicked)
            nanosleep(&t, NULL);
    }
    atomic_store(&w->stopping, true);
    http_client_free(w->client);
    for (unsigned i = 0; i < SLOTS; i++)
        while (w->slots[i] != NULL) {
            struct tenant *t = w->slots[i];
            w->slots[i] = t->next;
            tenant_free(t);
        }
    for (size_t i = 0; i < w->n_endpoints; i++)
        endpoint_deinit(&w->endpoints[i]);
    free(w->endpoints);
    pthread_mutex_destroy(&w->lock);
    free((void *)(uintptr_t)w->opt.path);
    free(w);
}
