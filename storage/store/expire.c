/* SPDX-License-Identifier: Apache-2.0
 * Retention: whole blocks go when everything in them is too old, or when a size limit asks for it.
 * The rules are in storage/retention/policy.c; the tenant's own period goes before the store's.
 *
 * Clock: the difference of wall clock and boot clock was noted at open. When it has moved by more
 * than an hour, "now" is not believed and nothing is deleted by age until it is back, or the
 * process is restarted by somebody who believes the new time. INVARIANT (D7): nothing younger than
 * the period is deleted.
 *
 * Start: a block that was taken may have its file still (a reader had it), so that a start adopts
 * it and shows again what was gone; others have expired meanwhile. They go before anything is
 * served, but only while the wall clock is within an hour of the newest arrival in a block: a
 * machine that boots with a wrong clock must get the time to set it right first. Otherwise the
 * first pass decides, as always. Records of the log are replayed whatever their age: each must end
 * in a block that says so, or the log cannot go on behind it.
 *
 * Size limits (of a tenant, then of the store): oldest blocks first, but never into the newest 10
 * %.
 */
#include <stdlib.h>

#include "base/defect.h"
#include "storage/retention.h"
#include "store_private.h"

#define CLOCK_LEAP_NS (3600 * NS_PER_S)

void retention_clock_check(struct store *s)
{
    int64_t moved = clock_wall_ns() - clock_boot_ns() - s->clock_base_ns;
    bool leapt = moved > CLOCK_LEAP_NS || moved < -CLOCK_LEAP_NS;
    if (atomic_exchange(&s->retention_suspended, leapt) == leapt)
        return;
    if (leapt)
        log_event(LOG_ERROR,
            "the wall clock leapt: retention is suspended until it is back or the next start",
            LD("leap", moved));
    else
        log_event(LOG_INFO, "the wall clock is back: retention goes on");
}

void retention_start_clock(struct store *s)
{
    int64_t away = clock_wall_ns() - (int64_t)s->newest_arrival_s * NS_PER_S;
    s->clock_believed = s->newest_arrival_s != 0 && away <= CLOCK_LEAP_NS && away >= -CLOCK_LEAP_NS;
}

static int64_t tenant_retention_ns(struct tenant *t)
{
    struct tenant_limits limits;
    tenant_limits(t, &limits);
    return limits.retention_ns != 0 ? limits.retention_ns : t->store->opt.retention_ns;
}

/* Takes one block from view. EC_CONFLICT: compaction was faster; the next pass sees its output. */
static enum ec block_expire(
    struct tenant *t, struct store_block *b, const char *why, struct err *err)
{
    const struct block_change change = {.gone = &b, .n_gone = 1};
    pthread_mutex_lock(&t->change_lock);
    enum ec ec = tenant_change(t, &change, err);
    pthread_mutex_unlock(&t->change_lock);
    if (ec != EC_OK)
        return ec;
    char text[UUID_TEXT + 1];
    uuid_text(text, b->facts.uuid);
    metric_inc(store_metrics.retain_marked);
    log_event(LOG_DEBUG, "block expired", LS("tenant", t->id), LZ("block", text), LZ("why", why),
        LU("bytes", b->facts.file_bytes));
    return EC_OK;
}

static enum ec tenant_retain_age(struct tenant *t, int64_t now_ns, struct err *err)
{
    struct store_block **blocks;
    enum ec ec = EC_OK;
    int64_t keep = tenant_retention_ns(t);
    size_t n = tenant_blocks(t, &blocks);
    for (size_t i = 0; i < n && ec == EC_OK; i++) {
        if (!retention_expired(&blocks[i]->facts, now_ns, RANGE_SLACK_NS, keep))
            continue;
        ec = block_expire(t, blocks[i], "age", err);
        if (ec == EC_CONFLICT)
            ec = EC_OK;
    }
    store_blocks_free(blocks, n);
    return ec;
}

/* One transaction a tenant, however many blocks: a start does not wait for a thousand syncs. The
 * ticker removes the files. */
static enum ec tenant_retain_at_start(struct tenant *t, int64_t now_ns, struct err *err)
{
    struct store_block **blocks;
    int64_t keep = tenant_retention_ns(t);
    size_t n = tenant_blocks(t, &blocks), n_gone = 0;
    CLEANUP(freep) struct store_block **gone = xcalloc(n + 1, sizeof(struct store_block *));
    for (size_t i = 0; i < n; i++)
        if (retention_expired(&blocks[i]->facts, now_ns, RANGE_SLACK_NS, keep))
            gone[n_gone++] = blocks[i];
    const struct block_change change = {.gone = gone, .n_gone = n_gone};
    pthread_mutex_lock(&t->change_lock);
    enum ec ec = n_gone == 0 ? EC_OK : tenant_change(t, &change, err);
    pthread_mutex_unlock(&t->change_lock);
    if (ec == EC_OK && n_gone > 0) {
        metric_add(store_metrics.retain_marked, (double)n_gone);
        log_event(
            LOG_INFO, "blocks expired before the start", LS("tenant", t->id), LU("blocks", n_gone));
    }
    store_blocks_free(blocks, n);
    return ec;
}

void retention_at_start(struct store *s)
{
    struct tenant_list all;
    struct err err = {0};
    enum ec ec = EC_OK;
    if (!s->clock_believed)
        return;
    tenant_list(s, &all);
    for (size_t i = 0; i < all.n && ec == EC_OK; i++)
        ec = tenant_retain_at_start(all.p[i], clock_wall_ns(), &err);
    tenant_list_free(&all);
    if (ec != EC_OK)
        log_event(LOG_WARN, "retention at the start failed: left to the first pass", LE(&err));
}

/* Blocks of one tenant, or of all: what a size limit is about. */
struct sized_list {
    VEC(struct retention_item) items;
    VEC(struct store_block *) blocks; /* references; items[i].index is an index in here */
    VEC(struct tenant *) tenants;     /* borrowed, of blocks[i] */
};

static void sized_add(struct sized_list *l, struct tenant *t, int64_t now_ns)
{
    struct store_block **blocks;
    size_t n = tenant_blocks(t, &blocks);
    for (size_t i = 0; i < n; i++) {
        const struct block_facts *f = &blocks[i]->facts;
        const struct retention_item item = {
            .newest_ns = retention_newest_ns(f, now_ns, RANGE_SLACK_NS),
            .end_ns = f->max_end_ns,
            .bytes = f->file_bytes,
            .index = (uint32_t)l->blocks.n,
        };
        VEC_PUSH(&l->items, item);
        VEC_PUSH(&l->blocks, blocks[i]); /* with the reference */
        VEC_PUSH(&l->tenants, t);
    }
    free(blocks);
}

static void sized_free(struct sized_list *l)
{
    for (size_t i = 0; i < l->blocks.n; i++)
        store_block_unref(l->blocks.p[i]);
    VEC_FREE(&l->items);
    VEC_FREE(&l->blocks);
    VEC_FREE(&l->tenants);
}

static enum ec retain_size(struct sized_list *l, uint64_t bytes_max, struct err *err)
{
    size_t n = retention_by_size(l->items.p, l->items.n, bytes_max);
    for (size_t i = 0; i < n; i++) {
        uint32_t at = l->items.p[i].index;
        struct tenant *t = l->tenants.p[at];
        enum ec ec = block_expire(t, l->blocks.p[at], "size", err);
        if (ec == EC_CONFLICT)
            continue;
        TRY(ec);
        metric_add(
            metric_series1(&store_families.size_deleted, t->id), (double)l->items.p[i].bytes);
    }
    return EC_OK;
}

static enum ec retain_all(struct store *s, const struct tenant_list *all, struct err *err)
{
    int64_t now_ns = clock_wall_ns();
    if (DEFECT(DEFECT_RETENTION_LOCAL_TIME))
        now_ns += 5 * 3600 * NS_PER_S; /* east of Greenwich */
    enum ec ec = EC_OK;
    retention_clock_check(s);
    for (size_t i = 0; i < all->n && ec == EC_OK; i++) {
        struct tenant_limits limits;
        tenant_limits(all->p[i], &limits);
        if (!atomic_load(&s->retention_suspended))
            ec = tenant_retain_age(all->p[i], now_ns, err);
        if (ec == EC_OK && limits.bytes_max != 0) {
            struct sized_list l = {0};
            sized_add(&l, all->p[i], now_ns);
            ec = retain_size(&l, limits.bytes_max, err);
            sized_free(&l);
        }
    }
    if (ec == EC_OK && s->opt.bytes_max != 0) {
        struct sized_list l = {0};
        for (size_t i = 0; i < all->n; i++)
            sized_add(&l, all->p[i], now_ns);
        ec = retain_size(&l, s->opt.bytes_max, err);
        sized_free(&l);
    }
    return ec;
}

enum ec store_retain(struct store *s, struct err *err)
{
    struct tenant_list all;
    ASSERT(s->magic == STORE_MAGIC);
    int64_t begin = clock_mono_ns();
    pthread_mutex_lock(&s->retain_lock);
    tenant_list(s, &all);
    enum ec ec = retain_all(s, &all, err);
    tenant_list_free(&all);
    pthread_mutex_unlock(&s->retain_lock);
    zombies_reap(s, false);
    if (ec != EC_OK)
        metric_inc(store_metrics.retain_errors);
    metric_observe(store_metrics.retain_seconds, (double)(clock_mono_ns() - begin) / 1e9);
    return ec;
}

void retain_job(void *arg)
{
    struct store *s = arg;
    struct err e = {0};
    atomic_store(&s->retain_queued, false);
    if (store_retain(s, &e) != EC_OK)
        log_event(LOG_ERROR, "retention failed: tried again in the next period", LE(&e));
    store_job_done(s);
}
