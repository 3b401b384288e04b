/* SPDX-License-Identifier: Apache-2.0
 * Start: sweep, catalog against directories, log replay.
 *
 * What is true is on disk as footers and log records; the catalog only repeats it, so that a start
 * need not open a thousand files. Per tenant, with the names in its directory at hand:
 *
 *   in catalog and directory     live
 *   in catalog, file missing     dropped, loudly
 *   file, not in catalog         an orphan: its footer is read. Adopted, unless it is
 *                                  - superseded: a kept block's footer lists it among its inputs;
 *                                  - a merge whose commit failed: every input of it is kept, or was
 *                                    merged by another kept block;
 *                                  - unreadable: renamed to *.damaged, loudly
 *   .tmp-*, .del-*               removed
 *   anything else                not ours: not touched, counted
 *
 * The same table serves for a good catalog, an old one and none at all. Then the log is replayed
 * (replay.c). Tenants go in parallel. At last what is too old goes, as far as the clock is believed
 * (expire.c).
 */
#include <stdlib.h>

#include "store_private.h"

struct tenant_recovery {
    VEC(struct block_facts) known;   /* from the catalog; owned */
    VEC(struct block_facts) orphans; /* from footers; owned */
};

struct recovery {
    struct store *s;
    struct tenant_list tenants;
    pthread_mutex_t lock;
    enum ec ec; /* the first failure; guarded by lock */
    struct err err;
    uint64_t foreign_tenants;
};

static struct tenant_recovery *tenant_recovery_of(struct tenant *t)
{
    if (t->recovery == NULL)
        t->recovery = xcalloc(1, sizeof(*t->recovery));
    return t->recovery;
}

static void tenant_recovery_free(struct tenant *t)
{
    struct tenant_recovery *r = TAKE_PTR(t->recovery);
    if (r == NULL)
        return;
    for (size_t i = 0; i < r->known.n; i++)
        block_facts_deinit(&r->known.p[i]);
    for (size_t i = 0; i < r->orphans.n; i++)
        block_facts_deinit(&r->orphans.p[i]);
    VEC_FREE(&r->known);
    VEC_FREE(&r->orphans);
    free(r);
}

/* ---- catalog ---- */

static enum ec catalog_take(void *ctx, struct str id, const struct block_facts *f, struct err *err)
{
    struct store *s = ctx;
    struct tenant *t;
    struct block_facts copy;
    TRY(tenant_get(s, id, &t, err));
    block_facts_copy(&copy, f);
    VEC_PUSH(&tenant_recovery_of(t)->known, copy);
    s->newest_arrival_s = MAX(s->newest_arrival_s, f->max_arrival_s);
    tenant_unref(t);
    return EC_OK;
}

static void known_forget(struct store *s)
{
    struct tenant_list all;
    tenant_list(s, &all);
    for (size_t i = 0; i < all.n; i++)
        tenant_recovery_free(all.p[i]);
    tenant_list_free(&all);
}

static enum ec catalog_load(struct store *s, struct err *err)
{
    const struct catalog_options opt = {.io = s->opt.io, .dir = s->catalog_dir};
    enum ec ec = catalog_open(&opt, &s->catalog, err);
    if (ec == EC_OK)
        ec = catalog_each(s->catalog, catalog_take, s, err);
    if (ec == EC_OK) {
        catalog_rest(s->catalog);
        return EC_OK;
    }
    if (ec != EC_CORRUPT && ec != EC_INVALID)
        return err_prefix(err, "catalog %s", s->catalog_dir);
    log_event(LOG_ERROR, "catalog is damaged: rebuilding it from the blocks",
        LZ("path", s->catalog_dir), LE(err));
    metric_inc(metric_series1(&store_families.corruptions, STR("catalog")));
    catalog_close(TAKE_PTR(s->catalog));
    known_forget(s);
    ec = io_remove_tree(s->opt.io, "catalog.rebuild_remove", s->catalog_dir, err);
    if (ec != EC_OK && ec != EC_NOT_FOUND)
        return ec;
    return catalog_open(&opt, &s->catalog, err);
}

/* ---- directories ---- */

/* Counts another server's blocks below a directory of data_dir: one directory a block (Tempo). */
static void foreign_count(struct recovery *r, const char *path)
{
    struct store *s = r->s;
    struct io_names names;
    if (io_list(s->opt.io, "store.foreign_list", path, &names, NULL) != EC_OK)
        return; /* a plain file, or not for us to read */
    uint64_t blocks = 0;
    for (size_t i = 0; i < names.n; i++) {
        uint8_t uuid[16];
        struct io_stat st;
        if (!uuid_parse(uuid, str_from(names.p[i])))
            continue;
        blocks++;
        CLEANUP(freep) char *data = path_printf("%s/%s/data.parquet", path, names.p[i]);
        if (io_stat(s->opt.io, "store.foreign_stat", data, &st, NULL) == EC_OK)
            atomic_fetch_add(&s->foreign_bytes, st.size);
    }
    io_names_free(&names);
    atomic_fetch_add(&s->foreign_blocks, blocks);
    r->foreign_tenants += blocks > 0;
}

static enum ec foreign_look(struct recovery *r, struct err *err)
{
    struct store *s = r->s;
    struct io_names names;
    TRY(io_list(s->opt.io, "store.list", s->opt.data_dir, &names, err));
    for (size_t i = 0; i < names.n; i++) {
        if (names.p[i][0] == '@' || str_eqz(STR("lost+found"), names.p[i]))
            continue;
        CLEANUP(freep) char *path = path_printf("%s/%s", s->opt.data_dir, names.p[i]);
        foreign_count(r, path);
    }
    io_names_free(&names);
    if (atomic_load(&s->foreign_blocks) > 0)
        log_event(LOG_WARN, "found blocks of another server", LU("tenants", r->foreign_tenants),
            LU("blocks", atomic_load(&s->foreign_blocks)),
            LU("bytes", atomic_load(&s->foreign_bytes)));
    return EC_OK;
}

/* Every directory with a tenant's name makes the tenant known. */
static enum ec tenants_from(struct store *s, const char *root, struct err *err)
{
    struct io_names names;
    TRY(io_list(s->opt.io, "store.list_tenants", root, &names, err));
    enum ec ec = EC_OK;
    for (size_t i = 0; i < names.n && ec == EC_OK; i++) {
        char id[TENANT_ID_MAX + 1];
        size_t n;
        struct tenant *t;
        if (!tenant_name_decode(id, &n, str_from(names.p[i])))
            continue; /* lock, catalog, or not ours */
        ec = tenant_get(s, str_n(id, n), &t, err);
        if (ec == EC_OK)
            tenant_unref(t);
    }
    io_names_free(&names);
    return ec;
}

/* ---- blocks of one tenant ---- */

static void set_aside(struct tenant *t, const char *path, const struct err *why)
{
    struct store *s = t->store;
    struct err e = {0};
    CLEANUP(freep) char *to = path_printf("%s.damaged", path);
    log_event(LOG_ERROR, "damaged block set aside", LS("tenant", t->id), LZ("path", path), LE(why));
    metric_inc(metric_series1(&store_families.corruptions, STR("block")));
    atomic_fetch_add(&s->set_aside, 1);
    if (io_rename(s->opt.io, "block.set_aside", path, to, &e) != EC_OK)
        log_event(LOG_ERROR, "it could not be renamed", LZ("path", path), LE(&e));
}

static void orphan_read(struct tenant *t, const uint8_t uuid[16], const char *name)
{
    struct store *s = t->store;
    struct arena arena;
    struct str id;
    struct block_facts f;
    struct err e = {0};
    CLEANUP(freep) char *path = path_printf("%s/%s", t->data_dir, name);
    arena_init(&arena, NULL, 0);
    enum ec ec = block_facts_read(s->opt.io, path, &id, &arena, &f, &e);
    if (ec == EC_OK && (!str_eq(id, t->id) || memcmp(f.uuid, uuid, 16) != 0)) {
        ec = ERR(&e, EC_CORRUPT, "its footer names another tenant or block");
        block_facts_deinit(&f);
    }
    if (ec == EC_OK)
        VEC_PUSH(&t->recovery->orphans, f);
    else if (ec == EC_CORRUPT || ec == EC_INVALID)
        set_aside(t, path, &e);
    else
        log_event(LOG_ERROR, "a block cannot be read now: left out until the next start",
            LS("tenant", t->id), LZ("path", path), LE(&e));
    arena_deinit(&arena);
}

static size_t known_index(const struct tenant_recovery *r, const uint8_t uuid[16])
{
    for (size_t i = 0; i < r->known.n; i++)
        if (memcmp(r->known.p[i].uuid, uuid, 16) == 0)
            return i;
    return SIZE_MAX;
}

static int facts_by_uuid(const void *a, const void *b)
{
    return memcmp(((const struct block_facts *)a)->uuid, ((const struct block_facts *)b)->uuid, 16);
}

static const struct block_facts *known_find(const struct tenant_recovery *r, const uint8_t uuid[16])
{
    struct block_facts key;
    memcpy(key.uuid, uuid, 16);
    if (r->known.n == 0)
        return NULL; /* no catalog: bsearch wants an array even then */
    return bsearch(&key, r->known.p, r->known.n, sizeof(key), facts_by_uuid);
}

/* Goes through the directory once. `present[i]`: known.p[i] has its file. */
static enum ec dir_scan(struct tenant *t, bool *present, struct err *err)
{
    struct store *s = t->store;
    struct tenant_recovery *r = t->recovery;
    struct io_names names;
    enum ec ec = io_list(s->opt.io, "store.tenant_list", t->data_dir, &names, err);
    if (ec == EC_NOT_FOUND)
        return EC_OK;
    if (ec != EC_OK)
        return ec;
    t->data_dir_made = true;
    for (size_t i = 0; i < names.n; i++) {
        struct str name = str_from(names.p[i]);
        uint8_t uuid[16];
        if (str_starts(name, STR(".tmp-")) || str_starts(name, STR(".del-"))) {
            CLEANUP(freep) char *path = path_printf("%s/%s", t->data_dir, names.p[i]);
            if (io_unlink(s->opt.io, "store.sweep", path, NULL) != EC_OK)
                log_event(LOG_WARN, "left-over file not removed", LZ("path", path));
        } else if (str_ends(name, STR(".damaged"))) {
            atomic_fetch_add(&s->set_aside, 1);
        } else if (str_ends(name, STR(".block")) && uuid_parse(uuid, str_n(name.p, name.n - 6))) {
            const struct block_facts *f = known_find(r, uuid);
            if (f != NULL)
                present[f - r->known.p] = true;
            else
                orphan_read(t, uuid, names.p[i]);
        }
    }
    io_names_free(&names);
    return EC_OK;
}

struct reconcile {
    VEC(struct block_facts *) kept;  /* borrowed from known and orphans */
    VEC(struct block_facts *) adds;  /* of those, new to the catalog */
    VEC(struct block_facts *) files; /* to be removed */
    VEC(const uint8_t *) removes;    /* from the catalog */
};

static bool is_input(const struct block_facts *of, const uint8_t uuid[16])
{
    for (uint32_t i = 0; i < of->n_inputs; i++)
        if (memcmp(of->inputs[i], uuid, 16) == 0)
            return true;
    return false;
}

/* Is this block, or what it held, in the kept ones without `but`? */
static bool is_accounted(
    const struct reconcile *rc, const struct block_facts *but, const uint8_t uuid[16])
{
    for (size_t i = 0; i < rc->kept.n; i++) {
        const struct block_facts *k = rc->kept.p[i];
        if (k != but && (memcmp(k->uuid, uuid, 16) == 0 || is_input(k, uuid)))
            return true;
    }
    return false;
}

/* A merge that was written but never committed, and then done again by another block (or its inputs
 * are in the catalog still and it lost one of them since): without it nothing is missing. */
static bool is_failed_merge(const struct reconcile *rc, const struct block_facts *orphan)
{
    bool claimed = false;
    for (uint32_t i = 0; i < orphan->n_inputs; i++) {
        if (!is_accounted(rc, orphan, orphan->inputs[i]))
            return false;
        for (size_t k = 0; k < rc->kept.n; k++)
            claimed =
                claimed || (rc->kept.p[k] != orphan && is_input(rc->kept.p[k], orphan->inputs[i]));
    }
    return claimed;
}

static bool is_superseded(const struct reconcile *rc, const struct block_facts *f)
{
    for (size_t i = 0; i < rc->kept.n; i++)
        if (rc->kept.p[i] != f && is_input(rc->kept.p[i], f->uuid))
            return true;
    return false;
}

static void kept_drop(struct reconcile *rc, size_t i, bool is_known)
{
    struct block_facts *f = rc->kept.p[i];
    rc->kept.p[i] = rc->kept.p[--rc->kept.n];
    VEC_PUSH(&rc->files, f);
    if (is_known)
        VEC_PUSH(&rc->removes, f->uuid);
}

/* Decides for every block by the table in the head comment. Merges have inputs; the square loops
 * run only over orphans, of which a sound start has none. */
static void reconcile(struct tenant *t, const bool *present, struct reconcile *rc)
{
    struct tenant_recovery *r = t->recovery;
    for (size_t i = 0; i < r->known.n; i++) {
        if (present[i]) {
            VEC_PUSH(&rc->kept, &r->known.p[i]);
            continue;
        }
        char text[UUID_TEXT + 1];
        uuid_text(text, r->known.p[i].uuid);
        log_event(LOG_ERROR, "a block of the catalog has no file: dropped", LS("tenant", t->id),
            LZ("block", text), LU("spans", r->known.p[i].n_spans));
        metric_inc(metric_series1(&store_families.corruptions, STR("missing_block")));
        VEC_PUSH(&rc->removes, r->known.p[i].uuid);
    }
    if (r->orphans.n == 0 && rc->removes.n == 0)
        return; /* the catalog and the directory agree: nothing to judge */
    for (size_t i = 0; i < r->orphans.n; i++)
        VEC_PUSH(&rc->kept, &r->orphans.p[i]);
    for (size_t i = rc->kept.n; i-- > 0;)
        if (known_index(r, rc->kept.p[i]->uuid) == SIZE_MAX && is_failed_merge(rc, rc->kept.p[i]))
            kept_drop(rc, i, false);
    /* Judged against the full list: an input's input is gone whether its merge is kept or not. */
    for (size_t i = rc->kept.n; i-- > 0;)
        if (is_superseded(rc, rc->kept.p[i]))
            rc->kept.p[i]->level |= 1u << 31; /* marked; the level is restored below */
    for (size_t i = rc->kept.n; i-- > 0;) {
        struct block_facts *f = rc->kept.p[i];
        bool known = known_index(r, f->uuid) != SIZE_MAX, drop = (f->level >> 31) != 0;
        f->level &= ~(1u << 31);
        if (drop)
            kept_drop(rc, i, known);
        else if (!known)
            VEC_PUSH(&rc->adds, f);
    }
}

static void reconcile_log(const struct tenant *t, const struct reconcile *rc)
{
    if (rc->adds.n > 0)
        log_event(LOG_WARN, "blocks without a catalog entry adopted", LS("tenant", t->id),
            LU("blocks", rc->adds.n));
    if (rc->files.n > 0)
        log_event(
            LOG_INFO, "superseded blocks removed", LS("tenant", t->id), LU("blocks", rc->files.n));
}

static enum ec reconcile_apply(struct tenant *t, struct reconcile *rc, struct err *err)
{
    struct store *s = t->store;
    if (rc->adds.n + rc->removes.n > 0) {
        CLEANUP(freep) struct block_facts *adds = xcalloc(rc->adds.n + 1, sizeof(*adds));
        CLEANUP(freep) uint8_t(*removes)[16] = xcalloc(rc->removes.n + 1, sizeof(*removes));
        for (size_t i = 0; i < rc->adds.n; i++)
            adds[i] = *rc->adds.p[i];
        for (size_t i = 0; i < rc->removes.n; i++)
            memcpy(removes[i], rc->removes.p[i], 16);
        /* The names must be as durable as the entries that rely on them. */
        if (rc->adds.n > 0)
            TRY(io_fsync_dir(s->opt.io, "store.adopt_sync", t->data_dir, err));
        TRY(catalog_change(
            s, t->id, adds, rc->adds.n, (const uint8_t(*)[16])removes, rc->removes.n, err));
    }
    for (size_t i = 0; i < rc->files.n; i++) {
        CLEANUP(freep) char *path = block_path(t, "", rc->files.p[i]->uuid, ".block");
        if (io_unlink(s->opt.io, "store.superseded_unlink", path, NULL) != EC_OK)
            log_event(LOG_WARN, "superseded block not removed", LZ("path", path));
        if (rc->files.p[i]->lsn_last > t->lsn_covered)
            t->lsn_covered = rc->files.p[i]->lsn_last;
    }
    for (size_t i = 0; i < rc->kept.n; i++) {
        struct store_block *b;
        TRY(store_block_new(t, rc->kept.p[i], &b, err));
        tenant_block_insert(t, b);
    }
    tenant_blocks_sort(t);
    pthread_mutex_lock(&t->lock);
    tenant_publish(t);
    pthread_mutex_unlock(&t->lock);
    reconcile_log(t, rc);
    return EC_OK;
}

static enum ec tenant_blocks_load(struct tenant *t, struct err *err)
{
    struct tenant_recovery *r = tenant_recovery_of(t);
    struct reconcile rc = {0};
    if (r->known.n > 1)
        qsort(r->known.p, r->known.n, sizeof(*r->known.p), facts_by_uuid);
    CLEANUP(freep) bool *present = xcalloc(r->known.n + 1, sizeof(*present));
    enum ec ec = dir_scan(t, present, err);
    if (ec == EC_OK) {
        reconcile(t, present, &rc);
        ec = reconcile_apply(t, &rc, err);
    }
    VEC_FREE(&rc.kept);
    VEC_FREE(&rc.adds);
    VEC_FREE(&rc.files);
    VEC_FREE(&rc.removes);
    return ec;
}

/* ---- all of it ---- */

/* A tenant of which nothing is left leaves no directory. rmdir refuses where anything is in it. */
static void empty_dirs_remove(struct tenant *t)
{
    struct io *io = t->store->opt.io;
    if (t->blocks.n > 0 || t->head != NULL || t->sealed != NULL || t->wal != NULL)
        return;
    if (io_rmdir(io, "store.tenant_rmdir", t->data_dir, NULL) == EC_OK)
        t->data_dir_made = false;
    if (io_rmdir(io, "wal.tenant_rmdir", t->wal_dir, NULL) == EC_OK)
        log_event(LOG_DEBUG, "empty tenant directory removed", LS("tenant", t->id));
}

static void recover_tenant(void *arg, size_t i)
{
    struct recovery *r = arg;
    struct tenant *t = r->tenants.p[i];
    struct err e = {0};
    pthread_mutex_lock(&r->lock);
    bool give_up = r->ec != EC_OK;
    pthread_mutex_unlock(&r->lock);
    if (give_up)
        return;
    enum ec ec = tenant_blocks_load(t, &e);
    if (ec == EC_OK)
        ec = tenant_replay(t, &e);
    if (ec == EC_OK)
        empty_dirs_remove(t);
    tenant_recovery_free(t);
    if (ec == EC_OK)
        return;
    pthread_mutex_lock(&r->lock);
    if (r->ec == EC_OK) {
        r->ec = ec;
        r->err = e;
    }
    pthread_mutex_unlock(&r->lock);
}

static void recover_all(struct recovery *r)
{
    struct pool *pool = r->s->opt.pool;
    if (pool == NULL) {
        for (size_t i = 0; i < r->tenants.n; i++)
            recover_tenant(r, i);
        return;
    }
    pool_parallel(pool, 0, pool_threads(pool, POOL_NORMAL), r->tenants.n, recover_tenant, r);
}

enum ec store_recover(struct store *s, struct err *err)
{
    struct recovery r = {.s = s, .ec = EC_OK};
    int64_t begin = clock_mono_ns();
    struct err e = {0}; /* the catalog's damage is logged with its reason even if err is NULL */
    enum ec ec = catalog_load(s, &e);
    if (ec == EC_OK)
        ec = foreign_look(&r, &e);
    if (ec == EC_OK)
        ec = tenants_from(s, s->data_root, &e);
    if (ec == EC_OK)
        ec = tenants_from(s, s->wal_root, &e);
    if (ec == EC_OK) {
        retention_start_clock(s);
        pthread_mutex_init(&r.lock, NULL);
        tenant_list(s, &r.tenants);
        recover_all(&r);
        tenant_list_free(&r.tenants);
        pthread_mutex_destroy(&r.lock);
        ec = r.ec;
        e = r.err;
    }
    known_forget(s);
    if (ec != EC_OK) {
        if (err != NULL)
            *err = e;
        return ec;
    }
    retention_at_start(s);
    log_event(LOG_INFO, "store is open", LU("tenants", s->n_tenants),
        LU("block_bytes", atomic_load(&s->blocks_bytes)), LU("wal_records", s->recovery.records),
        LU("wal_bytes", s->recovery.bytes), LD("took", clock_mono_ns() - begin));
    return EC_OK;
}
