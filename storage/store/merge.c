/* SPDX-License-Identifier: Apache-2.0
 * Compaction: merges the blocks that compact_plan picks into one.
 *
 *     write .tmp-<uuid> -> fsync -> rename -> fsync directory
 *     -> one catalog transaction (output in, inputs out) -> swap in the set
 *     -> inputs removed when their last reader is gone
 *
 * One merge at a time in the process (store.compact_lock): its memory is bounded, and ingest goes
 * before it. While it writes it looks up now and then: it ends when the store closes, waits while
 * heads are short of memory, and writes sealed heads itself when it sits on the thread that would.
 * It also rests while acks wait for a slow device, for most of its time but never all of it.
 *
 * Retention may take an input away meanwhile; then the commit finds it gone (EC_CONFLICT) and the
 * output is dropped. A failed merge leaves its inputs as they were. The output's footer lists its
 * inputs, so that a crash between rename and commit is repaired at start (recover.c).
 *
 * The output carries the LSN range of its inputs: what is in blocks is known from any set of live
 * blocks.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/defect.h"
#include "storage/compact.h"
#include "store_private.h"

#define SIZE_LIMIT_BLOCKS 8u /* at least, before retention by size takes one */
#define PACE_WAIT_MS      20
#define PACE_WAIT_ROUNDS  500 /* 10 s a call at most: then memory has to be found otherwise */

/* for each piece written: a device that is always slow gets there, too */
#define PACE_SYNC_ROUNDS 10

struct merge {
    struct tenant *tenant;
    struct store_block **inputs; /* borrowed references, oldest arrival first */
    uint32_t n_inputs;
    uint8_t uuid[16];
};

static void pace_wait(void)
{
    const struct timespec ts = {.tv_nsec = PACE_WAIT_MS * 1000000};
    nanosleep(&ts, NULL);
}

static void merge_yield(const struct store *s)
{
    int64_t begin = clock_mono_ns();
    int i = 0;
    while (i < PACE_SYNC_ROUNDS && atomic_load(&s->state) != STORE_CLOSING &&
           clock_mono_ns() < atomic_load_explicit(&s->sync_slow_until_ns, memory_order_relaxed)) {
        pace_wait();
        i++;
    }
    if (i > 0)
        metric_add(store_metrics.merge_paused, (double)(clock_mono_ns() - begin) / 1e9);
}

static enum ec merge_pace(void *ctx, uint64_t bytes_written, struct err *err)
{
    const struct merge *m = ctx;
    struct store *s = m->tenant->store;
    (void)bytes_written;
    merge_yield(s);
    for (int i = 0; i < PACE_WAIT_ROUNDS; i++) {
        if (atomic_load(&s->state) == STORE_CLOSING)
            return ERR(err, EC_CANCELED, "the store is closing");
        if (!heads_over(s, 75))
            return EC_OK;
        flush_some(s);
        if (!heads_over(s, 75))
            return EC_OK;
        pace_wait();
    }
    return EC_OK;
}

static int block_by_arrival(const void *a, const void *b)
{
    const struct store_block *const *x = a;
    const struct store_block *const *y = b;
    if ((*x)->facts.lsn_first != (*y)->facts.lsn_first)
        return (*x)->facts.lsn_first < (*y)->facts.lsn_first ? -1 : 1;
    return memcmp((*x)->facts.uuid, (*y)->facts.uuid, 16);
}

/* A planted defect: nothing holds the spans until the output has its name. */
static void inputs_delete(const struct merge *m)
{
    for (uint32_t i = 0; i < m->n_inputs; i++) {
        CLEANUP(freep) char *path = block_path(m->tenant, "", m->inputs[i]->facts.uuid, ".block");
        file_discard(m->tenant, "defect.unlink", path);
    }
}

static enum ec merge_write(const struct merge *m, struct part_reader *const *readers,
    struct block_facts *ret, uint64_t *ret_dups, struct err *err)
{
    struct tenant *t = m->tenant;
    struct store *s = t->store;
    CLEANUP(freep) char *tmp = block_path(t, ".tmp-", m->uuid, "");
    CLEANUP(freep) char *final = block_path(t, "", m->uuid, ".block");
    CLEANUP(freep) uint8_t(*inputs)[16] = xmalloc(m->n_inputs * sizeof(*inputs));
    struct block_write_options opt = {.io = s->opt.io,
        .path = tmp,
        .tenant = t->id,
        .lsn_first = UINT64_MAX,
        .inputs = (const uint8_t(*)[16])inputs,
        .n_inputs = m->n_inputs,
        .budget = &s->work,
        .pace = merge_pace,
        .pace_ctx = (void *)(uintptr_t)m};
    memcpy(opt.uuid, m->uuid, 16);
    for (uint32_t i = 0; i < m->n_inputs; i++) {
        const struct block_facts *f = &m->inputs[i]->facts;
        memcpy(inputs[i], f->uuid, 16);
        opt.level = MAX(opt.level, f->level + 1);
        opt.lsn_first = MIN(opt.lsn_first, f->lsn_first);
        opt.lsn_last = MAX(opt.lsn_last, f->lsn_last);
    }
    TRY(block_write(&opt, readers, m->n_inputs, ret, ret_dups, err));
    ASSERT(ret->n_inputs == m->n_inputs);
    if (DEFECT(DEFECT_DELETE_BEFORE_COMMIT))
        inputs_delete(m);
    enum ec ec = io_rename(s->opt.io, "compact.rename", tmp, final, err);
    if (ec == EC_OK)
        ec = io_fsync_dir(s->opt.io, "compact.rename_sync", t->data_dir, err);
    if (ec != EC_OK) {
        file_discard(t, "compact.tmp_undo", tmp);
        file_discard(t, "compact.rename_undo", final);
        block_facts_deinit(ret);
    }
    return ec;
}

static void merge_count(const struct merge *m, const struct block_facts *out, uint64_t dups)
{
    char level[16];
    uint64_t traces = 0, spans = 0;
    int n = snprintf(level, sizeof(level), "%u", out->level);
    struct str l = str_n(level, (size_t)n);
    for (uint32_t i = 0; i < m->n_inputs; i++) {
        traces += m->inputs[i]->facts.n_traces;
        spans += m->inputs[i]->facts.n_spans;
    }
    ASSERT(out->n_spans + dups == spans);
    metric_add(metric_series1(&store_families.compact_blocks, l), m->n_inputs);
    metric_add(metric_series1(&store_families.compact_written, l), (double)out->n_traces);
    metric_add(
        metric_series1(&store_families.compact_combined, l), (double)(traces - out->n_traces));
    metric_add(metric_series1(&store_families.compact_bytes, l), (double)out->file_bytes);
    metric_add(store_metrics.written_compact, (double)out->file_bytes);
    metric_add(metric_series1(&store_families.compact_dedup, STR("1")), (double)dups);
    metric_add(store_metrics.compact_spans, (double)dups);
}

static enum ec merge_commit(const struct merge *m, const struct block_facts *facts, struct err *err)
{
    struct tenant *t = m->tenant;
    struct store_block *b = NULL;
    enum ec ec = store_block_new(t, facts, &b, err);
    if (ec == EC_OK) {
        const struct block_change change = {.add = b, .gone = m->inputs, .n_gone = m->n_inputs};
        pthread_mutex_lock(&t->change_lock);
        ec = tenant_change(t, &change, err);
        pthread_mutex_unlock(&t->change_lock);
    }
    store_block_unref(b);
    if (ec == EC_OK)
        return EC_OK;
    CLEANUP(freep) char *path = block_path(t, "", facts->uuid, ".block");
    file_discard(t, "compact.discard", path);
    return ec;
}

/* Which input is it? Each one that does not verify gets a strike; with three it is left alone (and
 * still served: most of it may be sound). */
static void merge_blame(const struct merge *m)
{
    struct store *s = m->tenant->store;
    for (uint32_t i = 0; i < m->n_inputs; i++) {
        struct store_block *b = m->inputs[i];
        uint64_t problems = 0;
        struct err e = {0};
        char text[UUID_TEXT + 1];
        CLEANUP(freep) char *path = block_path(m->tenant, "", b->facts.uuid, ".block");
        enum ec ec = block_verify(s->opt.io, path, NULL, NULL, &problems, &e);
        if (ec == EC_OK && problems == 0)
            continue;
        uint32_t strikes = atomic_fetch_add(&b->strikes, 1) + 1;
        if (strikes < COMPACT_STRIKES_MAX || atomic_exchange(&b->set_aside, true))
            continue;
        uuid_text(text, b->facts.uuid);
        atomic_fetch_add(&s->set_aside, 1);
        log_event(LOG_ERROR, "a damaged block is left out of compaction; its sound part is served",
            LS("tenant", m->tenant->id), LZ("block", text), LU("problems", problems), LE(&e));
    }
}

static enum ec merge_run(const struct merge *m, struct err *err)
{
    struct store *s = m->tenant->store;
    CLEANUP(freep)
    struct part_reader **readers = xcalloc(m->n_inputs, sizeof(struct part_reader *));
    struct block_facts facts;
    uint64_t dups = 0;
    enum ec ec = EC_OK;
    int64_t begin = clock_mono_ns();
    for (uint32_t i = 0; i < m->n_inputs && ec == EC_OK; i++)
        if ((ec = part_reader_open(m->inputs[i]->part, &s->work, &readers[i], err)) == EC_OK)
            readers[i]->once = true;
    if (ec == EC_OK)
        ec = merge_write(m, readers, &facts, &dups, err);
    for (uint32_t i = 0; i < m->n_inputs; i++)
        part_reader_close(readers[i]);
    atomic_store(&s->settle_want, true);
    if (ec != EC_OK)
        return ec;
    ec = merge_commit(m, &facts, err);
    if (ec == EC_OK) {
        merge_count(m, &facts, dups);
        log_event(LOG_DEBUG, "blocks merged", LS("tenant", m->tenant->id),
            LU("inputs", m->n_inputs), LU("spans", facts.n_spans), LU("bytes", facts.file_bytes),
            LU("level", facts.level), LD("took", clock_mono_ns() - begin));
    }
    block_facts_deinit(&facts);
    return ec;
}

/* Spans that a merge may have: the configured bound, or fewer where memory is short. */
static uint64_t merge_spans_max(const struct store_options *o)
{
    uint64_t n = o->compaction_spans_max;
    return o->merge_memory_bytes == 0 ? n : MIN(n, o->merge_memory_bytes / MERGE_SPAN_BYTES);
}

/* Bytes that a merge may make. WHY a part of what the store or the tenant may have: retention by
 * size takes whole blocks, and leaves the last one alone. */
static uint64_t merge_bytes_max(const struct store_options *o, const struct tenant_limits *limits)
{
    uint64_t n = o->compaction_bytes_max;
    if (o->bytes_max != 0)
        n = MIN(n, o->bytes_max / SIZE_LIMIT_BLOCKS);
    return limits->bytes_max == 0 ? n : MIN(n, limits->bytes_max / SIZE_LIMIT_BLOCKS);
}

static void plan_for(struct tenant *t, struct store_block *const *blocks, size_t n,
    int64_t quiet_ns, struct compact_plan *ret)
{
    const struct store_options *o = &t->store->opt;
    struct tenant_limits limits;
    tenant_limits(t, &limits);
    const struct compact_rules rules = {.window_ns = o->compaction_window_ns,
        .now_ns = clock_wall_ns(),
        .retention_ns = limits.retention_ns != 0 ? limits.retention_ns : o->retention_ns,
        .quiet_ns = quiet_ns,
        .inputs_max = o->compaction_inputs_max,
        .spans_max = merge_spans_max(o),
        .bytes_max = merge_bytes_max(o, &limits)};
    CLEANUP(freep) struct compact_candidate *c = xcalloc(n + 1, sizeof(*c));
    for (size_t i = 0; i < n; i++)
        c[i] = (struct compact_candidate){.max_end_ns = blocks[i]->facts.max_end_ns,
            .n_spans = blocks[i]->facts.n_spans,
            .file_bytes = blocks[i]->facts.file_bytes,
            .eligible =
                !atomic_load(&blocks[i]->set_aside) && atomic_load(&blocks[i]->zombies) == 0,
            .max_arrival_ns = (uint64_t)blocks[i]->facts.max_arrival_s * NS_PER_S};
    compact_plan(c, (uint32_t)n, &rules, ret);
}

static void job_count(struct metric_family *f, const struct tenant *t)
{
    metric_inc(metric_series2(f, t->id, STR("compaction")));
}

/* compact_lock. One merge of one tenant, if any is due. */
static enum ec tenant_compact(struct tenant *t, int64_t quiet_ns, bool *ret_did, struct err *err)
{
    struct store *s = t->store;
    struct compact_plan plan;
    struct store_block **blocks;
    size_t n = tenant_blocks(t, &blocks);
    enum ec ec = EC_OK;
    *ret_did = false;
    plan_for(t, blocks, n, quiet_ns, &plan);
    atomic_store(&t->outstanding, plan.outstanding);
    if (plan.n_inputs > 0) {
        struct merge m = {.tenant = t,
            .inputs = xcalloc(plan.n_inputs, sizeof(*m.inputs)),
            .n_inputs = plan.n_inputs};
        uint64_t bytes = 0;
        for (uint32_t i = 0; i < plan.n_inputs; i++) {
            m.inputs[i] = blocks[plan.inputs[i]];
            bytes += m.inputs[i]->facts.file_bytes;
        }
        qsort(m.inputs, m.n_inputs, sizeof(*m.inputs), block_by_arrival);
        uuid_new(m.uuid);
        if (disk_has_room(s, bytes)) {
            job_count(&store_families.jobs_created, t);
            ec = merge_run(&m, err);
            *ret_did = ec == EC_OK;
            job_count(
                ec == EC_OK ? &store_families.jobs_completed : &store_families.jobs_failed, t);
            if (ec == EC_CORRUPT || ec == EC_IO)
                merge_blame(&m);
        }
        free(m.inputs);
    }
    free(plan.inputs);
    store_blocks_free(blocks, n);
    return ec;
}

static bool compaction_off(struct tenant *t)
{
    struct tenant_limits limits;
    tenant_limits(t, &limits);
    if (!limits.compaction_disabled)
        return false;
    if (!atomic_exchange(&t->warned_compaction_off, true))
        log_event(LOG_WARN, "compaction is disabled for this tenant; retention goes on",
            LS("tenant", t->id));
    return true;
}

/* quiet_ns: as compact_rules has it. */
static enum ec compact_pass(struct store *s, int64_t quiet_ns, bool *ret_did, struct err *err)
{
    struct tenant_list all;
    enum ec first = EC_OK;
    *ret_did = false;
    tenant_list(s, &all);
    for (size_t i = 0; i < all.n && atomic_load(&s->state) != STORE_CLOSING; i++) {
        struct tenant *t = all.p[i];
        struct err e = {0};
        bool did = false;
        if (compaction_off(t))
            continue;
        enum ec ec = tenant_compact(t, quiet_ns, &did, &e);
        *ret_did = *ret_did || did;
        if (ec == EC_OK || ec == EC_CANCELED || ec == EC_CONFLICT)
            continue;
        metric_inc(store_metrics.compact_errors);
        log_event(LOG_ERROR, "compaction failed: its inputs stay", LS("tenant", t->id), LE(&e));
        if (first == EC_OK) {
            first = ec;
            if (err != NULL)
                *err = e;
        }
    }
    tenant_list_free(&all);
    zombies_reap(s, false);
    return first;
}

enum ec store_compact(struct store *s, struct err *err)
{
    bool did = true;
    enum ec ec = EC_OK;
    ASSERT(s->magic == STORE_MAGIC);
    pthread_mutex_lock(&s->compact_lock);
    while (did && ec == EC_OK)
        ec = compact_pass(s, 0, &did, err);
    pthread_mutex_unlock(&s->compact_lock);
    return ec;
}

void compact_job(void *arg)
{
    struct store *s = arg;
    bool did = false;
    atomic_store(&s->compact_queued, false);
    struct err e;
    if (!s->opt.compaction_disabled && !atomic_load(&s->disk_low) && !heads_over(s, 75) &&
        pthread_mutex_trylock(&s->compact_lock) == 0) {
        if (compact_pass(s, s->opt.compaction_period_ns, &did, &e) != EC_OK)
            did = false; /* logged and counted; tried in the next period */
        pthread_mutex_unlock(&s->compact_lock);
    }
    if (did && atomic_load(&s->state) == STORE_READY &&
        !atomic_exchange(&s->compact_queued, true) &&
        !store_job(s, 2, compact_job, s)) /* there may be more: let flushes in between */
        atomic_store(&s->compact_queued, false);
    store_job_done(s);
}
