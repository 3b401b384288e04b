/* SPDX-License-Identifier: Apache-2.0
 * Offline check of a data directory: every log record, every page, and the catalog against both.
 *
 * The store's locks are taken, so a running server makes it refuse (exit code 2) instead of
 * reporting what is merely in motion. Without `repair` nothing is written but the lock files.
 * Repair sets damaged blocks aside (*.damaged) and removes the catalog, which the next start
 * rebuilds from the footers; damaged log segments are set aside by that start itself, which knows
 * what else they hold.
 *
 * A torn tail is no problem: it is what a crash leaves of requests that were never acknowledged.
 */
#include "storage/fsck.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>

#include "store_private.h"

#define FSCK_LINE_MAX 2048

struct fsck_block {
    struct block_facts facts; /* owned; only the uuid when the footer is unreadable */
    bool readable, cataloged;
};

struct fsck {
    const struct fsck_options *opt;
    struct fsck_result result;
    char *wal_root, *data_root;
    struct str tenant;             /* being checked */
    const char *path;              /* being checked */
    VEC(struct fsck_block) blocks; /* of the tenant being checked */
    VEC(struct block_facts) known; /* the catalog; owned */
    VEC(char *) known_tenants;     /* of known[i]; owned */
    bool catalog_bad;
};

static void fsck_line(struct fsck *f, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void fsck_line(struct fsck *f, const char *fmt, ...)
{
    char line[FSCK_LINE_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    if (f->opt->report != NULL)
        f->opt->report(f->opt->ctx, line);
}

#define fsck_problem(f, ...)         \
    do {                             \
        (f)->result.problems++;      \
        fsck_line((f), __VA_ARGS__); \
    } while (0)

/* Damage is a finding. What keeps us from looking is not: a sound file must not be called bad, and
 * set aside by a repair, because descriptors or memory are short or the disk answers with an error.
 */
static bool fsck_is_damage(enum ec ec)
{
    return ec == EC_CORRUPT || ec == EC_INVALID || ec == EC_UNSUPPORTED;
}

/* ---- log ---- */

static void fsck_record(void *ctx, const struct wal_dump_record *r)
{
    struct fsck *f = ctx;
    if (r->problem == NULL) {
        f->result.records++;
        return;
    }
    if (r->acked)
        fsck_problem(f, "tenant " STR_FMT ": %s: offset %llu: acknowledged records damaged: %s",
            STR_ARG(f->tenant), r->path, (unsigned long long)r->offset, r->problem);
    else
        fsck_line(f, "tenant " STR_FMT ": %s: offset %llu: torn tail, nothing acknowledged: %s",
            STR_ARG(f->tenant), r->path, (unsigned long long)r->offset, r->problem);
}

static enum ec fsck_wal_tenant(struct fsck *f, const char *dir, struct err *err)
{
    struct wal_recovery found = {0};
    struct err e = {0};
    enum ec ec = wal_scan(f->opt->io, dir, fsck_record, f, &found, &e);
    f->result.segments += found.segments;
    if (ec == EC_OK)
        return EC_OK;
    if (!fsck_is_damage(ec)) {
        if (err != NULL)
            *err = e;
        return ec;
    }
    fsck_problem(f, "tenant " STR_FMT ": log %s: %s", STR_ARG(f->tenant), dir, err_msg(&e));
    return EC_OK;
}

/* ---- blocks ---- */

static void fsck_block_problem(void *ctx, const char *text)
{
    struct fsck *f = ctx;
    fsck_problem(f, "tenant " STR_FMT ": %s: %s", STR_ARG(f->tenant), f->path, text);
}

static enum ec fsck_set_aside(struct fsck *f, const char *path, struct err *err)
{
    CLEANUP(freep) char *to = path_printf("%s.damaged", path);
    fsck_line(f, "tenant " STR_FMT ": %s: set aside", STR_ARG(f->tenant), path);
    return io_rename(f->opt->io, "fsck.set_aside", path, to, err);
}

/* The footer's word against the file's name and directory. */
static enum ec fsck_footer(struct fsck *f, const char *path, const uint8_t uuid[16],
    struct fsck_block *b, bool *ret_good, struct err *err)
{
    struct arena arena;
    struct str id;
    struct err e = {0};
    arena_init(&arena, NULL, 0);
    enum ec ec = block_facts_read(f->opt->io, path, &id, &arena, &b->facts, &e);
    b->readable = ec == EC_OK;
    bool good = b->readable;
    if (ec != EC_OK && !fsck_is_damage(ec)) {
        arena_deinit(&arena);
        if (err != NULL)
            *err = e;
        return ec;
    }
    if (!b->readable) {
        fsck_problem(
            f, "tenant " STR_FMT ": %s: footer: %s", STR_ARG(f->tenant), path, err_msg(&e));
        memcpy(b->facts.uuid, uuid, 16);
    } else if (!str_eq(id, f->tenant)) {
        good = false;
        fsck_problem(f, "tenant " STR_FMT ": %s: the footer is of tenant " STR_FMT,
            STR_ARG(f->tenant), path, STR_ARG(id));
    } else if (memcmp(b->facts.uuid, uuid, 16) != 0) {
        good = false;
        fsck_problem(
            f, "tenant " STR_FMT ": %s: the footer is of another block", STR_ARG(f->tenant), path);
    }
    arena_deinit(&arena);
    *ret_good = good;
    return EC_OK;
}

static enum ec fsck_block(
    struct fsck *f, const char *dir, const char *name, const uint8_t uuid[16], struct err *err)
{
    CLEANUP(freep) char *path = path_printf("%s/%s", dir, name);
    struct fsck_block b = {.readable = false};
    struct err e = {0};
    uint64_t problems = 0;
    bool good = false;
    TRY(fsck_footer(f, path, uuid, &b, &good, err));
    if (good) {
        f->path = path;
        enum ec ec = EC_OK;
        if (!f->opt->footers_only)
            ec = block_verify(f->opt->io, path, fsck_block_problem, f, &problems, &e);
        if (ec != EC_OK)
            fsck_problem(f, "tenant " STR_FMT ": %s: %s", STR_ARG(f->tenant), path, err_msg(&e));
        f->path = NULL;
        f->result.blocks++;
        f->result.spans += b.facts.n_spans;
    }
    VEC_PUSH(&f->blocks, b);
    if (!good && f->opt->repair)
        return fsck_set_aside(f, path, err);
    return EC_OK;
}

static enum ec fsck_blocks_tenant(struct fsck *f, const char *dir, struct err *err)
{
    struct io_names names;
    enum ec ec = io_list(f->opt->io, "fsck.list", dir, &names, err);
    if (ec == EC_NOT_FOUND)
        return EC_OK;
    TRY(ec);
    for (size_t i = 0; i < names.n && ec == EC_OK; i++) {
        struct str name = str_from(names.p[i]);
        uint8_t uuid[16];
        if (str_starts(name, STR(".tmp-")) || str_starts(name, STR(".del-")))
            fsck_line(f, "tenant " STR_FMT ": %s/%s: left over, removed at the next start",
                STR_ARG(f->tenant), dir, names.p[i]);
        else if (str_ends(name, STR(".damaged")))
            fsck_line(
                f, "tenant " STR_FMT ": %s/%s: was set aside", STR_ARG(f->tenant), dir, names.p[i]);
        else if (str_ends(name, STR(".block")) && uuid_parse(uuid, str_n(name.p, name.n - 6)))
            ec = fsck_block(f, dir, names.p[i], uuid, err);
        else
            fsck_line(
                f, "tenant " STR_FMT ": %s/%s: not ours", STR_ARG(f->tenant), dir, names.p[i]);
    }
    io_names_free(&names);
    return ec;
}

/* ---- catalog ---- */

static enum ec fsck_catalog_take(
    void *ctx, struct str tenant, const struct block_facts *facts, struct err *err)
{
    struct fsck *f = ctx;
    struct block_facts copy;
    (void)err; /* nothing here can fail */
    block_facts_copy(&copy, facts);
    char *name = xstrndup(tenant.p, tenant.n);
    VEC_PUSH(&f->known, copy);
    VEC_PUSH(&f->known_tenants, name);
    return EC_OK;
}

static enum ec fsck_catalog_load(struct fsck *f, struct err *err)
{
    CLEANUP(freep) char *dir = path_printf("%s/catalog", f->data_root);
    struct catalog *c = NULL;
    struct io_stat st;
    struct err e = {0};
    enum ec ec = io_stat(f->opt->io, "fsck.catalog_stat", dir, &st, err);
    if (ec == EC_NOT_FOUND) {
        fsck_line(f, "no catalog: the next start makes it from the blocks");
        f->catalog_bad = true;
        return EC_OK;
    }
    TRY(ec);
    ec =
        catalog_open(&(struct catalog_options){.io = f->opt->io, .dir = dir, .keep = true}, &c, &e);
    if (ec == EC_OK)
        ec = catalog_each(c, fsck_catalog_take, f, &e);
    catalog_close(c);
    if (ec == EC_NOT_FOUND) { /* damaged, or a crash came between a commit and its seal */
        fsck_line(f, "%s: the next start makes it from the blocks", err_msg(&e));
        f->catalog_bad = true;
        return EC_OK;
    }
    if (ec == EC_OK)
        return EC_OK;
    if (!fsck_is_damage(ec)) {
        if (err != NULL)
            *err = e;
        return ec;
    }
    f->catalog_bad = true;
    fsck_problem(f, "catalog %s: %s", dir, err_msg(&e));
    return EC_OK;
}

/* a: the catalog's, which may be from before it had names and lists. */
static bool facts_equal(const struct block_facts *a, const struct block_facts *b)
{
    return a->level == b->level && a->n_spans == b->n_spans && a->n_traces == b->n_traces &&
           a->min_start_ns == b->min_start_ns && a->max_end_ns == b->max_end_ns &&
           a->min_arrival_s == b->min_arrival_s && a->max_arrival_s == b->max_arrival_s &&
           a->file_bytes == b->file_bytes && a->lsn_first == b->lsn_first &&
           a->lsn_last == b->lsn_last && a->n_inputs == b->n_inputs &&
           (a->known == NULL || block_known_equal(a->known, b->known));
}

/* Is it an input of another block here? Then a crash left it between the commit and its removal. */
static bool fsck_superseded(const struct fsck *f, const uint8_t uuid[16])
{
    for (size_t i = 0; i < f->blocks.n; i++) {
        const struct block_facts *facts = &f->blocks.p[i].facts;
        for (uint32_t k = 0; f->blocks.p[i].readable && k < facts->n_inputs; k++)
            if (memcmp(facts->inputs[k], uuid, 16) == 0)
                return true;
    }
    return false;
}

static void fsck_catalog_tenant(struct fsck *f)
{
    char text[UUID_TEXT + 1];
    for (size_t i = 0; i < f->known.n; i++) {
        const struct block_facts *k = &f->known.p[i];
        struct fsck_block *b = NULL;
        if (!str_eqz(f->tenant, f->known_tenants.p[i]))
            continue;
        for (size_t j = 0; j < f->blocks.n && b == NULL; j++)
            if (memcmp(f->blocks.p[j].facts.uuid, k->uuid, 16) == 0)
                b = &f->blocks.p[j];
        uuid_text(text, k->uuid);
        if (b == NULL) {
            fsck_problem(f, "tenant " STR_FMT ": block %s of the catalog has no file",
                STR_ARG(f->tenant), text);
            f->catalog_bad = true;
            continue;
        }
        b->cataloged = true;
        if (b->readable && !facts_equal(k, &b->facts)) {
            fsck_problem(f, "tenant " STR_FMT ": block %s: catalog and footer differ",
                STR_ARG(f->tenant), text);
            f->catalog_bad = true;
        }
    }
    for (size_t j = 0; j < f->blocks.n; j++) {
        const struct fsck_block *b = &f->blocks.p[j];
        if (b->cataloged || !b->readable || f->known.n == 0)
            continue;
        uuid_text(text, b->facts.uuid);
        fsck_line(f, "tenant " STR_FMT ": block %s is not in the catalog: %s at the next start",
            STR_ARG(f->tenant), text,
            fsck_superseded(f, b->facts.uuid) ? "superseded, removed" : "adopted");
    }
}

/* ---- all of it ---- */

static enum ec fsck_tenant(struct fsck *f, const char *name, struct err *err)
{
    char id[TENANT_ID_MAX + 1];
    size_t n;
    CLEANUP(freep) char *wal_dir = path_printf("%s/%s", f->wal_root, name);
    CLEANUP(freep) char *data_dir = path_printf("%s/%s", f->data_root, name);
    struct io_stat st;
    if (!tenant_name_decode(id, &n, str_from(name)))
        return EC_OK;
    f->tenant = str_n(id, n);
    f->result.tenants++;
    if (io_stat(f->opt->io, "fsck.stat", wal_dir, &st, NULL) == EC_OK)
        TRY(fsck_wal_tenant(f, wal_dir, err));
    enum ec ec = fsck_blocks_tenant(f, data_dir, err);
    if (ec == EC_OK)
        fsck_catalog_tenant(f);
    for (size_t i = 0; i < f->blocks.n; i++)
        block_facts_deinit(&f->blocks.p[i].facts);
    VEC_FREE(&f->blocks);
    f->tenant = (struct str){0};
    return ec;
}

/* The tenants of both trees, each once: names are sorted, so this is a merge. */
static enum ec fsck_tenants(struct fsck *f, struct err *err)
{
    struct io_names a = {0}, b = {0};
    enum ec ec = io_list(f->opt->io, "fsck.list_data", f->data_root, &a, err);
    if (ec == EC_OK)
        ec = io_list(f->opt->io, "fsck.list_wal", f->wal_root, &b, err);
    size_t i = 0, k = 0;
    while (ec == EC_OK && (i < a.n || k < b.n)) {
        int cmp = i == a.n ? 1 : k == b.n ? -1 : strcmp(a.p[i], b.p[k]);
        const char *name = cmp <= 0 ? a.p[i] : b.p[k];
        i += cmp <= 0;
        k += cmp >= 0;
        ec = fsck_tenant(f, name, err);
    }
    io_names_free(&a);
    io_names_free(&b);
    return ec;
}

static enum ec fsck_lock(struct fsck *f, const char *root, int *ret_fd, struct err *err)
{
    CLEANUP(freep) char *path = path_printf("%s/lock", root);
    TRY(io_open(f->opt->io, "fsck.lock", path, O_RDWR | O_CREAT, 0600, ret_fd, err));
    if (flock(*ret_fd, LOCK_EX | LOCK_NB) != 0)
        return ERR(err, EC_CONFLICT, "%s is in use by a running server", root);
    return EC_OK;
}

static enum ec fsck_all(struct fsck *f, struct err *err)
{
    TRY(fsck_catalog_load(f, err));
    TRY(fsck_tenants(f, err));
    if (f->opt->repair && f->catalog_bad) {
        CLEANUP(freep) char *dir = path_printf("%s/catalog", f->data_root);
        enum ec ec = io_remove_tree(f->opt->io, "fsck.catalog_remove", dir, err);
        if (ec != EC_OK && ec != EC_NOT_FOUND)
            return ec;
        fsck_line(f, "catalog removed: the next start makes it from the blocks");
    }
    return EC_OK;
}

enum ec fsck_run(const struct fsck_options *opt, struct fsck_result *ret, struct err *err)
{
    struct fsck_options o = *opt;
    if (o.io == NULL)
        o.io = &io_real;
    struct fsck f = {.opt = &o,
        .wal_root = path_printf("%s/@wal", opt->wal_dir),
        .data_root = path_printf("%s/@store", opt->data_dir)};
    int data_fd = -1, wal_fd = -1;
    enum ec ec = fsck_lock(&f, f.data_root, &data_fd, err);
    if (ec == EC_OK)
        ec = fsck_lock(&f, f.wal_root, &wal_fd, err);
    if (ec == EC_OK)
        ec = fsck_all(&f, err);
    if (data_fd >= 0)
        (void)io_close(o.io, "fsck.unlock_data", data_fd, NULL); /* nothing was written */
    if (wal_fd >= 0)
        (void)io_close(o.io, "fsck.unlock_wal", wal_fd, NULL); /* nothing was written */
    for (size_t i = 0; i < f.known.n; i++) {
        block_facts_deinit(&f.known.p[i]);
        free(f.known_tenants.p[i]);
    }
    VEC_FREE(&f.known);
    VEC_FREE(&f.known_tenants);
    free(f.wal_root);
    free(f.data_root);
    if (ec == EC_OK)
        *ret = f.result;
    return ec;
}
