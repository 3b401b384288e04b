/* SPDX-License-Identifier: Apache-2.0
 * The catalog in LMDB: one environment, three tables.
 *
 *     tenants  id -> version       blocks  (tenant, uuid) -> facts       facts  key -> value
 *
 * Synchronous (no NOSYNC, no WRITEMAP: a stray pointer must not reach the pages). Every change is
 * one transaction, run by catalog_write, the only place that knows about growing and reopening:
 *   MAP_FULL      the map is doubled and the transaction runs again;
 *   MAP_RESIZED   another process grew it: adopted, again;
 *   PANIC, CORRUPTED, PAGE_NOTFOUND and their like: the environment is closed and opened anew once;
 *   if
 *                 that does not help, EC_CORRUPT, and the owner rebuilds from block footers.
 *
 * Locks: `lock` is held for reading by every transaction, for writing while the map is resized or
 * the environment replaced (LMDB wants no transaction alive then). LMDB orders writers itself.
 * Readers use NOTLS, so a slot belongs to the transaction, not to the thread.
 */
#include "storage/catalog.h"

#include <errno.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/io.h"
#include "base/log.h"
#include "seal.h"
#include "value.h"

#define CATALOG_OBJECT_MAGIC  0x63617431u
#define CATALOG_MAP_BYTES     (16u << 20)
#define CATALOG_MAP_BYTES_MAX ((uint64_t)64 << 30)
#define CATALOG_READERS_MAX   512
#define CATALOG_TRIES_MAX     16 /* doublings from first to largest map, and a reopen */

enum catalog_table { TABLE_TENANTS, TABLE_BLOCKS, TABLE_FACTS, TABLES };
static const char *const catalog_table_names[TABLES] = {"tenants", "blocks", "facts"};

struct catalog {
    unsigned magic;
    struct io *io;
    char *dir;
    uint64_t map_bytes; /* guarded by lock */
    pthread_rwlock_t lock;
    MDB_env *env;         /* guarded by lock; NULL after a reopen that failed */
    _Atomic bool touched; /* pages were looked at since catalog_rest; relaxed: a hint */
    MDB_dbi dbi[TABLES];
};

static void catalog_check(const struct catalog *c)
{
    ASSERT(c != NULL);
    ASSERT(c->magic == CATALOG_OBJECT_MAGIC);
}

/* Codes of LMDB. */

static bool catalog_is_fatal(int rc)
{
    switch (rc) {
    case MDB_PANIC:
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
    case MDB_VERSION_MISMATCH:
    case MDB_INCOMPATIBLE:
    case MDB_CURSOR_FULL:
    case MDB_BAD_TXN:
    case MDB_BAD_DBI:
        return true;
    default:
        return false;
    }
}

static enum ec catalog_code(int rc)
{
    if (catalog_is_fatal(rc))
        return EC_CORRUPT;
    switch (rc) {
    case 0:
        return EC_OK;
    case MDB_MAP_FULL:
    case ENOSPC:
    case EDQUOT:
        return EC_NOSPACE;
    case MDB_READERS_FULL:
    case ENOMEM:
        return EC_LIMIT;
    default:
        return EC_IO;
    }
}

static enum ec catalog_err(const struct catalog *c, int rc, const char *what, struct err *err)
{
    if (rc == 0)
        return EC_OK;
    return ERR(err, catalog_code(rc), "catalog %s: %s: %s", c->dir, what, mdb_strerror(rc));
}

static MDB_val catalog_val(const void *p, size_t n)
{
    /* LMDB never writes through the values that it is given. */
    return (MDB_val){n, (void *)(uintptr_t)p};
}

/* Opening. */

static int catalog_tables_open(struct catalog *c, MDB_env *env)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(env, NULL, 0, &txn);
    for (int i = 0; rc == 0 && i < TABLES; i++) {
        rc = mdb_dbi_open(txn, catalog_table_names[i], MDB_CREATE, &c->dbi[i]);
        if (rc != 0)
            mdb_txn_abort(txn);
    }
    return rc == 0 ? mdb_txn_commit(txn) : rc;
}

/* Pages past the end of the file would be a SIGBUS at the first look. */
static int catalog_size_check(const struct catalog *c, MDB_env *env, const MDB_envinfo *info)
{
    CLEANUP(freep) char *path = xmalloc(strlen(c->dir) + sizeof("/data.mdb"));
    struct io_stat st;
    MDB_stat ms;

    strcat(strcpy(path, c->dir), "/data.mdb");
    if (io_stat(c->io, "catalog.stat", path, &st, NULL) != EC_OK)
        return EIO;
    int rc = mdb_env_stat(env, &ms);
    if (rc != 0)
        return rc;
    return st.size / ms.ms_psize > info->me_last_pgno ? 0 : MDB_CORRUPTED;
}

static int catalog_env_init(struct catalog *c, MDB_env *env)
{
    MDB_envinfo info;
    int dead, rc;

    if ((rc = mdb_env_set_maxdbs(env, TABLES)) != 0 ||
        (rc = mdb_env_set_maxreaders(env, CATALOG_READERS_MAX)) != 0 ||
        (rc = mdb_env_set_mapsize(env, c->map_bytes)) != 0 ||
        (rc = mdb_env_open(env, c->dir, MDB_NOTLS, 0600)) != 0 ||
        (rc = mdb_env_info(env, &info)) != 0 || (rc = catalog_size_check(c, env, &info)) != 0 ||
        /* Slots of a killed process would keep old pages for ever. */
        (rc = mdb_reader_check(env, &dead)) != 0)
        return rc;
    c->map_bytes = info.me_mapsize; /* an existing file may be larger than asked for */
    return catalog_tables_open(c, env);
}

/* lock held for writing, or the catalog not shared yet. */
static int catalog_env_open(struct catalog *c)
{
    MDB_env *env;

    for (;;) {
        int rc = mdb_env_create(&env);
        if (rc != 0)
            return rc;
        rc = catalog_env_init(c, env);
        if (rc == 0)
            break;
        mdb_env_close(env);
        if (rc != MDB_MAP_FULL || c->map_bytes >= CATALOG_MAP_BYTES_MAX)
            return rc;
        c->map_bytes *= 2;
    }
    c->env = env;
    return 0;
}

/* lock held for writing. */
static int catalog_env_reopen(struct catalog *c)
{
    if (c->env != NULL)
        mdb_env_close(c->env);
    c->env = NULL;
    return catalog_env_open(c);
}

/* Maps the file anew: bytes 0 is as large as another process made it. lock held for writing. An
 * environment whose mapping failed has none, and LMDB would not notice. */
static int catalog_remap(struct catalog *c, uint64_t bytes)
{
    MDB_envinfo info;
    int rc = mdb_env_set_mapsize(c->env, bytes);
    if (rc != 0)
        return catalog_env_reopen(c);
    if (mdb_env_info(c->env, &info) == 0)
        c->map_bytes = info.me_mapsize;
    return 0;
}

/* A seal for what the file is now. lock held, or the catalog not shared yet. */
static void catalog_seal(const struct catalog *c, MDB_env *env)
{
    MDB_envinfo info;
    MDB_stat st;
    if (mdb_env_info(env, &info) == 0 && mdb_env_stat(env, &st) == 0)
        catalog_seal_write(
            c->io, c->dir, info.me_last_txnid, ((uint64_t)info.me_last_pgno + 1) * st.ms_psize);
}

static enum ec catalog_vouch(struct io *io, const struct catalog_options *opt, struct err *err)
{
    if (catalog_seal_holds(io, opt->dir))
        return EC_OK;
    if (opt->keep)
        return ERR(err, EC_NOT_FOUND, "catalog %s: not what its last commit left", opt->dir);
    log_event(LOG_WARN, "the catalog is not what its last commit left: made again from the blocks",
        LZ("path", opt->dir));
    return catalog_seal_break(io, opt->dir, err);
}

enum ec catalog_open(const struct catalog_options *opt, struct catalog **ret, struct err *err)
{
    struct io *io = opt->io == NULL ? &io_real : opt->io;
    TRY(io_mkdir_all(io, "catalog.mkdir", opt->dir, err));
    TRY(catalog_vouch(io, opt, err));
    struct catalog *c = xcalloc(1, sizeof(*c));
    c->magic = CATALOG_OBJECT_MAGIC;
    c->io = io;
    c->dir = xstrdup(opt->dir);
    c->map_bytes = opt->map_bytes == 0 ? CATALOG_MAP_BYTES : opt->map_bytes;
    pthread_rwlock_init(&c->lock, NULL);
    int rc = catalog_env_open(c);
    if (rc != 0) {
        enum ec ec = catalog_err(c, rc, "open", err);
        catalog_close(c);
        return ec;
    }
    catalog_seal(c, c->env); /* opening may have made the tables */
    *ret = c;
    return EC_OK;
}

void catalog_close(struct catalog *c)
{
    if (c == NULL)
        return;
    catalog_check(c);
    if (c->env != NULL)
        mdb_env_close(c->env);
    pthread_rwlock_destroy(&c->lock);
    free(c->dir);
    c->magic = 0;
    free(c);
}

void catalog_rest(struct catalog *c)
{
    catalog_check(c);
    if (!atomic_exchange_explicit(&c->touched, false, memory_order_relaxed) ||
        pthread_rwlock_trywrlock(&c->lock) != 0)
        return;
    if (c->env != NULL)
        (void)catalog_remap(c, c->map_bytes); /* without one, whoever wants it next is told */
    pthread_rwlock_unlock(&c->lock);
}

/* Writing. */

typedef int (*catalog_write_fn)(struct catalog *c, MDB_txn *txn, void *arg);

static int catalog_write_once(struct catalog *c, catalog_write_fn fn, void *arg, MDB_env **ret_env)
{
    MDB_txn *txn;

    pthread_rwlock_rdlock(&c->lock);
    atomic_store_explicit(&c->touched, true, memory_order_relaxed);
    *ret_env = c->env;
    int rc = c->env == NULL ? MDB_PANIC : mdb_txn_begin(c->env, NULL, 0, &txn);
    if (rc == 0) {
        rc = fn(c, txn, arg);
        if (rc == 0)
            rc = mdb_txn_commit(txn);
        else
            mdb_txn_abort(txn);
        if (rc == 0)
            catalog_seal(c, c->env);
    }
    pthread_rwlock_unlock(&c->lock);
    return rc;
}

/* Does what makes a new attempt worth while; 0: try again. `env` is the one that failed. */
static int catalog_mend(struct catalog *c, int rc, MDB_env *env, bool *reopened)
{
    pthread_rwlock_wrlock(&c->lock);
    if (c->env != env) {
        rc = 0; /* another thread has replaced it already */
    } else if (rc == MDB_MAP_FULL && c->map_bytes < CATALOG_MAP_BYTES_MAX) {
        rc = catalog_remap(c, c->map_bytes * 2);
    } else if (rc == MDB_MAP_RESIZED) {
        rc = catalog_remap(c, 0);
    } else if (catalog_is_fatal(rc) && !*reopened) {
        *reopened = true;
        rc = catalog_env_reopen(c);
    }
    pthread_rwlock_unlock(&c->lock);
    return rc;
}

static enum ec catalog_write(
    struct catalog *c, catalog_write_fn fn, void *arg, const char *what, struct err *err)
{
    MDB_env *env;
    bool reopened = false;
    int rc = 0;

    catalog_check(c);
    for (int i = 0; i < CATALOG_TRIES_MAX; i++) {
        rc = catalog_write_once(c, fn, arg, &env);
        if (rc == 0)
            return EC_OK;
        rc = catalog_mend(c, rc, env, &reopened);
        if (rc != 0)
            break;
    }
    return catalog_err(c, rc == 0 ? MDB_MAP_FULL : rc, what, err);
}

struct catalog_change {
    struct str tenant;
    const struct block_facts *adds;
    size_t n_adds;
    const uint8_t (*removes)[16];
    size_t n_removes;
    struct buf value;
};

static int catalog_change_apply(struct catalog *c, MDB_txn *txn, void *arg)
{
    struct catalog_change *ch = arg;
    uint8_t key[CATALOG_KEY_BYTES_MAX], version[4];

    put_u32le(version, CATALOG_FORMAT);
    MDB_val k = catalog_val(ch->tenant.p, ch->tenant.n);
    MDB_val v = catalog_val(version, sizeof(version));
    int rc = mdb_put(txn, c->dbi[TABLE_TENANTS], &k, &v, MDB_NOOVERWRITE);
    if (rc != 0 && rc != MDB_KEYEXIST)
        return rc;
    for (size_t i = 0; i < ch->n_removes; i++) {
        k = catalog_val(key, catalog_block_key_put(key, ch->tenant, ch->removes[i]));
        rc = mdb_del(txn, c->dbi[TABLE_BLOCKS], &k, NULL);
        if (rc != 0 && rc != MDB_NOTFOUND) /* already gone is as asked for */
            return rc;
    }
    for (size_t i = 0; i < ch->n_adds; i++) {
        buf_reset(&ch->value);
        catalog_block_value_put(&ch->value, &ch->adds[i]);
        if (buf_failed(&ch->value))
            return ENOMEM;
        k = catalog_val(key, catalog_block_key_put(key, ch->tenant, ch->adds[i].uuid));
        v = catalog_val(ch->value.p, ch->value.n);
        rc = mdb_put(txn, c->dbi[TABLE_BLOCKS], &k, &v, 0);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static enum ec catalog_tenant_check(struct str tenant, struct err *err)
{
    if (tenant.n == 0 || tenant.n > CATALOG_TENANT_BYTES_MAX)
        return ERR(err, EC_INVALID, "catalog: tenant id of %zu bytes, allowed are 1 to %u",
            tenant.n, CATALOG_TENANT_BYTES_MAX);
    return EC_OK;
}

enum ec catalog_commit(struct catalog *c, struct str tenant, const struct block_facts *adds,
    size_t n_adds, const uint8_t (*removes)[16], size_t n_removes, struct err *err)
{
    struct catalog_change ch = {
        .tenant = tenant,
        .adds = adds,
        .n_adds = n_adds,
        .removes = removes,
        .n_removes = n_removes,
    };
    TRY(catalog_tenant_check(tenant, err));
    enum ec ec = catalog_write(c, catalog_change_apply, &ch, "commit", err);
    buf_deinit(&ch.value);
    return ec;
}

static int catalog_tenant_apply(struct catalog *c, MDB_txn *txn, void *arg)
{
    static const uint8_t first[CATALOG_UUID_BYTES];
    const struct str *tenant = arg;
    uint8_t key[CATALOG_KEY_BYTES_MAX];
    size_t key_n = catalog_block_key_put(key, *tenant, first);
    MDB_cursor *cursor;
    MDB_val k, v;

    int rc = mdb_cursor_open(txn, c->dbi[TABLE_BLOCKS], &cursor);
    if (rc != 0)
        return rc;
    while (rc == 0) {
        k = catalog_val(key, key_n);
        rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
        if (rc == 0 && (k.mv_size != key_n || memcmp(k.mv_data, key, 1 + tenant->n) != 0))
            break; /* the next tenant */
        if (rc == 0)
            rc = mdb_cursor_del(cursor, 0);
    }
    mdb_cursor_close(cursor);
    if (rc != 0 && rc != MDB_NOTFOUND)
        return rc;
    k = catalog_val(tenant->p, tenant->n);
    rc = mdb_del(txn, c->dbi[TABLE_TENANTS], &k, NULL);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

enum ec catalog_tenant_remove(struct catalog *c, struct str tenant, struct err *err)
{
    TRY(catalog_tenant_check(tenant, err));
    return catalog_write(c, catalog_tenant_apply, &tenant, "remove tenant", err);
}

/* Reading. */

static enum ec catalog_read_begin(struct catalog *c, MDB_txn **ret, struct err *err)
{
    catalog_check(c);
    for (int i = 0; i < 2; i++) {
        bool reopened = true; /* a reader does not reopen: the next writer, or the owner, does */
        pthread_rwlock_rdlock(&c->lock);
        atomic_store_explicit(&c->touched, true, memory_order_relaxed);
        MDB_env *env = c->env;
        int rc = env == NULL ? MDB_PANIC : mdb_txn_begin(env, NULL, MDB_RDONLY, ret);
        if (rc == 0)
            return EC_OK;
        pthread_rwlock_unlock(&c->lock);
        if (rc == MDB_MAP_RESIZED)
            rc = catalog_mend(c, rc, env, &reopened);
        if (rc != 0)
            return catalog_err(c, rc, "read", err);
    }
    return ERR(err, EC_UNAVAILABLE, "catalog %s: map size changes too often", c->dir);
}

static void catalog_read_end(struct catalog *c, MDB_txn *txn)
{
    mdb_txn_abort(txn);
    pthread_rwlock_unlock(&c->lock);
}

typedef enum ec (*catalog_each_fn)(
    void *ctx, struct str tenant, const struct block_facts *f, struct err *err);

static enum ec catalog_each_entry(
    const MDB_val *k, const MDB_val *v, catalog_each_fn each, void *ctx, struct err *err)
{
    struct block_facts f;
    struct str tenant;
    const uint8_t *uuid;

    if (!catalog_block_key_get(bytes_n(k->mv_data, k->mv_size), &tenant, &uuid))
        return ERR(err, EC_CORRUPT, "catalog: block key of %zu bytes", k->mv_size);
    TRY(catalog_block_value_get(bytes_n(v->mv_data, v->mv_size), uuid, &f, err));
    enum ec ec = each(ctx, tenant, &f, err);
    block_facts_deinit(&f);
    return ec;
}

enum ec catalog_each(struct catalog *c,
    enum ec (*each)(void *ctx, struct str tenant, const struct block_facts *f, struct err *err),
    void *ctx, struct err *err)
{
    MDB_txn *txn;
    MDB_cursor *cursor;
    MDB_val k, v;
    enum ec ec = EC_OK;

    TRY(catalog_read_begin(c, &txn, err));
    int rc = mdb_cursor_open(txn, c->dbi[TABLE_BLOCKS], &cursor);
    if (rc == 0) {
        while (ec == EC_OK && (rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) == 0)
            ec = catalog_each_entry(&k, &v, each, ctx, err);
        mdb_cursor_close(cursor);
    }
    if (ec == EC_OK && rc != MDB_NOTFOUND)
        ec = catalog_err(c, rc, "read blocks", err);
    catalog_read_end(c, txn);
    return ec;
}

struct catalog_fact {
    struct str key, value;
};

static int catalog_fact_apply(struct catalog *c, MDB_txn *txn, void *arg)
{
    const struct catalog_fact *f = arg;
    MDB_val k = catalog_val(f->key.p, f->key.n), v = catalog_val(f->value.p, f->value.n);
    return mdb_put(txn, c->dbi[TABLE_FACTS], &k, &v, 0);
}

enum ec catalog_fact_put(struct catalog *c, struct str key, struct str value, struct err *err)
{
    struct catalog_fact f = {key, value};
    if (key.n == 0 || key.n > CATALOG_KEY_BYTES_MAX)
        return ERR(err, EC_INVALID, "catalog: fact key of %zu bytes", key.n);
    return catalog_write(c, catalog_fact_apply, &f, "put fact", err);
}

enum ec catalog_fact_get(
    struct catalog *c, struct str key, char *ret, size_t cap, size_t *ret_n, struct err *err)
{
    MDB_txn *txn;
    MDB_val v, k = catalog_val(key.p, key.n);
    enum ec ec = EC_OK;

    if (key.n == 0 || key.n > CATALOG_KEY_BYTES_MAX)
        return ERR(err, EC_INVALID, "catalog: fact key of %zu bytes", key.n);
    TRY(catalog_read_begin(c, &txn, err));
    int rc = mdb_get(txn, c->dbi[TABLE_FACTS], &k, &v);
    if (rc == MDB_NOTFOUND) {
        *ret_n = 0;
    } else if (rc != 0) {
        ec = catalog_err(c, rc, "get fact", err);
    } else if (v.mv_size > cap) {
        ec = ERR(err, EC_TOO_LARGE, "catalog: fact of %zu bytes, room for %zu", v.mv_size, cap);
    } else {
        memcpy(ret, v.mv_data, v.mv_size);
        *ret_n = v.mv_size;
    }
    catalog_read_end(c, txn);
    return ec;
}
