/* SPDX-License-Identifier: Apache-2.0
 * The catalog of a simulated world: a list of states in memory, or LMDB itself with a copy of its
 * file after each commit.
 *
 * In memory a commit is atomic and durable when it returns. It also looks at what it is told: a
 * block must be on disk, name and bytes, before the catalog names it ("catalog newer than the
 * blocks" cannot happen, and here is where that is shown).
 */
#include "sim_catalog.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"

#define PAGE_BYTES 4096u
#define META_PAGES 2u

struct row {
    uint32_t refs;
    char *tenant;
    size_t tenant_n;
    struct block_facts facts;
};

struct sim_catalog_state {
    uint32_t refs;
    VEC(struct row *) rows;
    struct buf file, seal; /* LMDB: data.mdb, data.seal */
};

/* What the store holds as its catalog, in memory. */
struct catalog {
    struct sim_world *world;
};

static struct sim_catalog_state *state_last(const struct sim_world *w)
{
    return w->history.n == 0 ? NULL : w->history.p[w->history.n - 1];
}

static void row_unref(struct row *r)
{
    if (--r->refs > 0)
        return;
    block_facts_deinit(&r->facts);
    free(r->tenant);
    free(r);
}

static void state_unref(struct sim_catalog_state *st)
{
    if (--st->refs > 0)
        return;
    for (size_t i = 0; i < st->rows.n; i++)
        row_unref(st->rows.p[i]);
    VEC_FREE(&st->rows);
    buf_deinit(&st->file);
    buf_deinit(&st->seal);
    free(st);
}

static struct sim_catalog_state *state_new(void)
{
    struct sim_catalog_state *st = xcalloc(1, sizeof(*st));
    st->refs = 1;
    buf_init(&st->file, NULL);
    buf_init(&st->seal, NULL);
    return st;
}

static void state_row_add(
    struct sim_catalog_state *st, struct str tenant, const struct block_facts *f)
{
    struct row *r = xcalloc(1, sizeof(*r));
    r->refs = 1;
    r->tenant = xstrndup(tenant.p, tenant.n);
    r->tenant_n = tenant.n;
    block_facts_copy(&r->facts, f);
    VEC_PUSH(&st->rows, r);
}

/* LMDB's files. */

char *sim_catalog_dir_new(void)
{
    const char *base = getenv("TMPDIR");
    char *dir = path_printf("%s/vivace-sim-XXXXXX", base == NULL ? "/tmp" : base);
    ASSERT(mkdtemp(dir) != NULL);
    return dir;
}

static char *lmdb_file(const struct sim_world *w, const char *name)
{
    return path_printf("%s/%s", w->lmdb_dir, name);
}

static void lmdb_load(struct sim_world *w, const char *name, struct buf *ret)
{
    CLEANUP(freep) char *path = lmdb_file(w, name);
    FILE *f = fopen(path, "re");
    struct stat st;
    ASSERT(f != NULL && fstat(fileno(f), &st) == 0);
    ASSERT(buf_reserve(ret, (size_t)st.st_size));
    ret->n = fread(ret->p, 1, (size_t)st.st_size, f);
    fclose(f);
}

static void lmdb_save(const struct sim_world *w, const char *name, const struct buf *b)
{
    CLEANUP(freep) char *path = lmdb_file(w, name);
    FILE *f = fopen(path, "we");
    ASSERT(f != NULL && fwrite(b->p, 1, b->n, f) == b->n);
    fclose(f);
}

/* A commit writes new pages, syncs, then writes one of the two meta pages, which is a sector's
 * worth. Here it died before the sync was over: some of the pages, and the old meta. */
static void lmdb_torn(const struct buf *old, const struct buf *new, uint64_t seed, struct buf *ret)
{
    buf_put(ret, old->p, old->n);
    for (size_t at = META_PAGES * PAGE_BYTES; at + PAGE_BYTES <= new->n; at += PAGE_BYTES) {
        seed = hash_mix(seed + at);
        if (seed % 2 == 0)
            continue;
        if (ret->n < at + PAGE_BYTES) {
            ASSERT(buf_reserve(ret, at + PAGE_BYTES - ret->n));
            memset(ret->p + ret->n, 0, at + PAGE_BYTES - ret->n);
            ret->n = at + PAGE_BYTES;
        }
        memcpy(ret->p + at, new->p + at, PAGE_BYTES);
    }
}

static void lmdb_image(struct sim_world *w, struct sim_world *c, size_t i_catalog, uint64_t seed)
{
    struct buf torn = BUF_INIT;
    c->lmdb_dir = sim_catalog_dir_new();
    if (c->history.n > 0 && i_catalog == SIM_CATALOG_TORN && c->history.n > 1) {
        lmdb_torn(&c->history.p[c->history.n - 2]->file, &state_last(c)->file, seed, &torn);
        lmdb_save(c, "data.mdb", &torn);
        lmdb_save(c, "data.seal", &c->history.p[c->history.n - 2]->seal);
    } else if (c->history.n > 0) {
        lmdb_save(c, "data.mdb", &state_last(c)->file);
        /* The seal is not synced: an older one, or the right one. */
        size_t back = seed % 4 == 0 && c->history.n > 1 ? 2 : 1;
        lmdb_save(c, "data.seal", &c->history.p[c->history.n - back]->seal);
    } else if (w->history.n > 0 && i_catalog == SIM_CATALOG_DAMAGED) {
        const struct buf *from = &state_last(w)->file;
        buf_put(&torn, from->p, from->n);
        /* Anywhere, or in the pages behind the metas: there only the seal tells. */
        size_t first = seed % 2 == 0 ? 0 : META_PAGES * PAGE_BYTES;
        for (size_t at = first; at < torn.n; at += 64)
            torn.p[at] ^= (uint8_t)hash_mix(seed + at);
        lmdb_save(c, "data.mdb", &torn);
        lmdb_save(c, "data.seal", &state_last(w)->seal);
    }
    buf_deinit(&torn);
}

static void lmdb_note(struct sim_world *w)
{
    struct sim_catalog_state *st = state_new();
    lmdb_load(w, "data.mdb", &st->file);
    lmdb_load(w, "data.seal", &st->seal);
    VEC_PUSH(&w->history, st);
}

/* Images. */

void sim_catalog_image(struct sim_world *w, struct sim_world *c, size_t i_catalog, uint64_t seed)
{
    struct err err;
    bool torn = i_catalog == SIM_CATALOG_TORN && w->history.n > 1 && w->lmdb_dir != NULL;
    size_t n = i_catalog < w->history.n ? i_catalog + 1 : torn ? w->history.n : 0;
    for (size_t i = 0; i < n; i++) {
        w->history.p[i]->refs++;
        VEC_PUSH(&c->history, w->history.p[i]);
    }
    c->catalog_damaged = i_catalog == SIM_CATALOG_DAMAGED && w->lmdb_dir == NULL;
    if (w->lmdb_dir != NULL)
        lmdb_image(w, c, i_catalog, seed);
    /* fsck asks the file system whether there is a catalog. */
    if (n > 0 || c->catalog_damaged)
        ASSERT(io_mkdir_all(c->opt.io, "catalog.mkdir", "/w/data/@store/catalog", &err) == EC_OK);
}

void sim_catalog_forget(struct sim_world *w)
{
    for (size_t i = 0; i < w->history.n; i++)
        state_unref(w->history.p[i]);
    VEC_FREE(&w->history);
    if (w->lmdb_dir != NULL)
        (void)!io_remove_tree(&io_real, "world.remove", w->lmdb_dir, NULL);
    free(TAKE_PTR(w->lmdb_dir));
}

/* Wrappers. */

enum ec __real_catalog_open(
    const struct catalog_options *opt, struct catalog **ret, struct err *err);
void __real_catalog_close(struct catalog *c);
enum ec __real_catalog_commit(struct catalog *c, struct str tenant, const struct block_facts *adds,
    size_t n_adds, const uint8_t (*removes)[16], size_t n_removes, struct err *err);
enum ec __real_catalog_each(struct catalog *c,
    enum ec (*each)(void *ctx, struct str tenant, const struct block_facts *f, struct err *err),
    void *ctx, struct err *err);
void __real_catalog_rest(struct catalog *c);
enum ec __wrap_catalog_open(
    const struct catalog_options *opt, struct catalog **ret, struct err *err);
void __wrap_catalog_close(struct catalog *c);
enum ec __wrap_catalog_commit(struct catalog *c, struct str tenant, const struct block_facts *adds,
    size_t n_adds, const uint8_t (*removes)[16], size_t n_removes, struct err *err);
enum ec __wrap_catalog_each(struct catalog *c,
    enum ec (*each)(void *ctx, struct str tenant, const struct block_facts *f, struct err *err),
    void *ctx, struct err *err);
void __wrap_catalog_rest(struct catalog *c);

static bool is_real(void)
{
    return sim_world_now == NULL || sim_world_now->lmdb_dir != NULL;
}

static void catalog_hook(struct sim_world *w, const char *site)
{
    if (w->hook != NULL)
        w->hook(w->hook_ctx, "commit", site);
}

enum ec __wrap_catalog_open(
    const struct catalog_options *opt, struct catalog **ret, struct err *err)
{
    struct sim_world *w = sim_world_now;
    struct io_stat st;
    if (w == NULL)
        return __real_catalog_open(opt, ret, err);
    /* The store removes a damaged catalog's directory: that of the simulated file system. */
    bool there = io_stat(w->opt.io, "catalog.stat", opt->dir, &st, NULL) == EC_OK;
    TRY(io_mkdir_all(w->opt.io, "catalog.mkdir", opt->dir, err));
    if (w->lmdb_dir != NULL) {
        CLEANUP(freep) char *file = lmdb_file(w, "data.mdb");
        CLEANUP(freep) char *lock = path_printf("%s/lock.mdb", w->lmdb_dir);
        if (!there) {
            unlink(file);
            unlink(lock);
        }
        TRY(__real_catalog_open(
            &(struct catalog_options){.dir = w->lmdb_dir, .keep = opt->keep}, ret, err));
        lmdb_note(w);
        return EC_OK;
    }
    if (w->catalog_damaged && there) {
        if (opt->keep)
            return ERR(err, EC_CORRUPT, "the simulated catalog is damaged");
        w->catalog_damaged = false;
        return ERR(err, EC_CORRUPT, "the simulated catalog is damaged");
    }
    if (!there || w->history.n == 0)
        VEC_PUSH(&w->history, state_new());
    *ret = xcalloc(1, sizeof(**ret));
    (*ret)->world = w;
    return EC_OK;
}

void __wrap_catalog_close(struct catalog *c)
{
    if (is_real())
        __real_catalog_close(c);
    else
        free(c);
}

void __wrap_catalog_rest(struct catalog *c)
{
    if (is_real())
        __real_catalog_rest(c);
}

static void commit_check(
    struct sim_world *w, struct str tenant, const struct block_facts *adds, size_t n)
{
    char name[TENANT_NAME_MAX], uuid[UUID_TEXT + 1];
    tenant_name_encode(name, tenant);
    for (size_t i = 0; i < n; i++) {
        uuid_text(uuid, adds[i].uuid);
        CLEANUP(freep)
        char *path = path_printf("%s/@store/%s/%s.block", w->opt.data_dir, name, uuid);
        if (!io_sim_is_durable(w->sim, path))
            w->disorder = "the catalog names a block that is not on disk yet";
    }
}

static bool is_removed(const struct row *r, struct str tenant, const struct block_facts *adds,
    size_t n_adds, const uint8_t (*removes)[16], size_t n_removes)
{
    if (!str_eq(str_n(r->tenant, r->tenant_n), tenant))
        return false;
    for (size_t i = 0; i < n_removes; i++)
        if (memcmp(removes[i], r->facts.uuid, 16) == 0)
            return true;
    for (size_t i = 0; i < n_adds; i++)
        if (memcmp(adds[i].uuid, r->facts.uuid, 16) == 0)
            return true;
    return false;
}

enum ec __wrap_catalog_commit(struct catalog *c, struct str tenant, const struct block_facts *adds,
    size_t n_adds, const uint8_t (*removes)[16], size_t n_removes, struct err *err)
{
    struct sim_world *w = sim_world_now;
    if (w == NULL)
        return __real_catalog_commit(c, tenant, adds, n_adds, removes, n_removes, err);
    catalog_hook(w, "catalog.commit");
    commit_check(w, tenant, adds, n_adds);
    if (w->lmdb_dir != NULL) {
        TRY(__real_catalog_commit(c, tenant, adds, n_adds, removes, n_removes, err));
        lmdb_note(w);
    } else {
        const struct sim_catalog_state *old = state_last(w);
        ASSERT(old != NULL);
        struct sim_catalog_state *st = state_new();
        for (size_t i = 0; i < old->rows.n; i++) {
            struct row *r = old->rows.p[i];
            if (is_removed(r, tenant, adds, n_adds, removes, n_removes))
                continue;
            r->refs++;
            VEC_PUSH(&st->rows, r);
        }
        for (size_t i = 0; i < n_adds; i++)
            state_row_add(st, tenant, &adds[i]);
        VEC_PUSH(&w->history, st);
    }
    catalog_hook(w, "catalog.committed");
    return EC_OK;
}

enum ec __wrap_catalog_each(struct catalog *c,
    enum ec (*each)(void *ctx, struct str tenant, const struct block_facts *f, struct err *err),
    void *ctx, struct err *err)
{
    if (is_real())
        return __real_catalog_each(c, each, ctx, err);
    const struct sim_catalog_state *st = state_last(c->world);
    ASSERT(st != NULL);
    for (size_t i = 0; i < st->rows.n; i++) {
        const struct row *r = st->rows.p[i];
        TRY(each(ctx, str_n(r->tenant, r->tenant_n), &r->facts, err));
    }
    return EC_OK;
}
