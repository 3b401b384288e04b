/* SPDX-License-Identifier: Apache-2.0
 * What a store does with files, one case a deed. */
#include <errno.h>
#include <lmdb.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "fault.h"
#include "query/exec.h"
#include "query/tql.h"
#include "storage/backup.h"
#include "storage/fsck.h"

#define FOREIGN "11111111-2222-4333-8444-555555555555"

static void must_flush(struct world *w)
{
    struct err err = {0};
    world_must(w, "flush", store_flush(w->t.s, (struct str){0}, &err), &err);
}

static void act_flush(struct world *w)
{
    struct err err = {0};
    world_outcome(w, "flush", store_flush(w->t.s, (struct str){0}, &err), &err);
}

/* ---- ingest: a new tenant's folders, its log, records, syncs ---- */

/* What 100 ms without appends do: from now on damage to the last record is told from a torn
 * tail. */
static void logs_mark(struct world *w)
{
    for (unsigned i = 0; i < WORLD_TENANTS; i++) {
        struct tenant *t = tenant_find(w->t.s, world_tenants[i]);
        struct err err = {0};
        if (t != NULL && t->wal != NULL)
            world_outcome(w, "mark", wal_mark_idle(t->wal, INT64_MAX, &err), &err);
        tenant_unref(t);
    }
}

static char *tenant_file(const struct world *w, const char *root, const char *name)
{
    char dir[TENANT_NAME_MAX];
    tenant_name_encode(dir, world_tenants[0]);
    return path_printf("%s/%s/%s/%s", w->t.dir, root, dir, name);
}

static void prepare_empty(struct world *w)
{
    world_open(w);
}

static void act_ingest(struct world *w)
{
    for (unsigned k = 0; k < 3; k++)
        for (unsigned i = 0; i < WORLD_TENANTS; i++)
            world_send(w, i, 1);
    logs_mark(w);
}

/* The log's folder is there already: a crash came after it was made. */
static void prepare_ingest_undo(struct world *w)
{
    CLEANUP(freep) char *dir = tenant_file(w, "wal/@wal", "");
    world_open(w);
    ASSERT(mkdir(dir, 0700) == 0);
}

/* A segment that cannot be made is undone, and so the request. */
static void act_ingest_undo(struct world *w)
{
    world_also(w, "wal.segment_dir_sync", "fsync", ENXIO);
    act_ingest(w);
}

/* ---- rotate: segments that fill, the next one made ready beside ---- */

static void prepare_rotate(struct world *w)
{
    w->spans = 150;
    w->t.opt.wal_compress_level = 0;
    world_open(w);
    world_send(w, 0, 1);
}

static void act_rotate(struct world *w)
{
    world_send(w, 0, 16);
}

/* Heads that are sealed while the log goes on: their segments serve again. */
static void prepare_recycle(struct world *w)
{
    w->spans = 150;
    w->t.opt.wal_compress_level = 0;
    w->t.opt.wal_segment_bytes_min = 64 << 10;
    world_open(w);
    world_send(w, 0, 2);
}

static void act_recycle(struct world *w)
{
    struct tenant *t = tenant_find(w->t.s, world_tenants[0]);
    for (int turn = 0; turn < 3 && t != NULL; turn++) {
        pthread_mutex_lock(&t->lock);
        atomic_store(&t->hot, true);
        tenant_seal(t, "test");
        pthread_mutex_unlock(&t->lock);
        struct err err = {0};
        if (t->wal != NULL) /* a failure costs time: the append makes its segment itself */
            (void)!wal_prepare_next(t->wal, &err);
        world_send(w, 0, 2);
        world_outcome(w, "flush", tenant_flush(t, true, &err), &err);
    }
    tenant_unref(t);
}

/* A record whose segment is written back in pieces. */
static void prepare_large(struct world *w)
{
    w->spans = 12000;
    w->t.opt.wal_compress_level = 0;
    world_open(w);
}

static void act_large(struct world *w)
{
    world_send(w, 0, 1);
}

/* ---- flush ---- */

static void prepare_flush(struct world *w)
{
    world_open(w);
    world_send(w, 0, 3);
    world_send(w, 1, 2);
}

/* The tenant's folder is there, but the store does not know. */
static void prepare_flush_undo(struct world *w)
{
    CLEANUP(freep) char *dir = tenant_file(w, "data/@store", "");
    prepare_flush(w);
    ASSERT(mkdir(dir, 0700) == 0);
}

static void act_flush_undo(struct world *w)
{
    static const char *const steps[][2] = {
        {"block.fsync", "fsync"}, {"block.rename", "rename"}, {"block.rename_sync", "fsync"}};
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        world_also(w, steps[i][0], steps[i][1], ENXIO);
        act_flush(w);
    }
    catalog_fail_code = EIO;
    catalog_fail_n = 1;
    act_flush(w);
    catalog_fail_n = 0;
    act_flush(w);
}

/* The sealed head goes on living, and what comes meanwhile too. */
static void act_flush_twice(struct world *w)
{
    act_flush(w);
    world_send(w, 0, 1);
    act_flush(w);
}

/* ---- compact ---- */

static void blocks_make(struct world *w, unsigned n)
{
    for (unsigned k = 0; k < n; k++) {
        world_send(w, 0, 2);
        world_send(w, 1, 1);
        must_flush(w);
    }
}

static void prepare_compact(struct world *w)
{
    world_open(w);
    blocks_make(w, 4);
}

static void act_compact(struct world *w)
{
    struct err err = {0};
    world_outcome(w, "compact", store_compact(w->t.s, &err), &err);
}

static void act_compact_undo(struct world *w)
{
    world_also(w, "compact.rename_sync", "fsync", ENXIO);
    act_compact(w);
    catalog_fail_code = EIO;
    catalog_fail_n = 1;
    act_compact(w);
    catalog_fail_n = 0;
    act_compact(w);
}

/* ---- retain: one tenant's blocks are too old, the other's are not ---- */

static void limits_short(void *ctx, struct str tenant, struct tenant_limits *ret)
{
    (void)ctx;
    *ret = (struct tenant_limits){.retention_ns = str_eq(tenant, world_tenants[0]) ? 1 : 0};
}

static void prepare_retain(struct world *w)
{
    w->t.opt.limits = limits_short;
    world_open(w);
    blocks_make(w, 2);
    clock_wall_shift_ns(2 * NS_PER_S); /* arrivals are kept in whole seconds */
}

/* Nobody retained before the crash: the start does, for the clock is near to the data. */
static void prepare_start_retain(struct world *w)
{
    prepare_retain(w);
    world_crash(w);
}

static void retain_expire(struct world *w)
{
    for (uint32_t r = 0; r < w->next[0]; r++)
        w->state[0][r] = REQUEST_EXPIRED; /* may be there still, whole */
}

static void act_start_retain(struct world *w)
{
    retain_expire(w);
    world_open(w);
}

static void verify_start_retain(struct world *w)
{
    struct snapshot snap;
    struct err err = {0};
    bool read = w->plan.op != NULL && strcmp(w->plan.op, "pread") == 0;
    if (w->t.s != NULL && !world_harmless(w)) {
        world_crash(w); /* a block that could not be read is left out until the next start */
    } else if (w->t.s != NULL && !read) { /* else there is no catalog that tells of the time */
        world_must(w, "snapshot", store_snapshot(w->t.s, world_tenants[0], &snap, &err), &err);
        if (snap.n > 0)
            problem(w, "%zu blocks that are too old are served", snap.n);
        snapshot_release(&snap);
    }
    w->t.opt.limits = NULL; /* else later starts take what is sent from now on */
    store_verify(w);
}

static void act_retain(struct world *w)
{
    struct err err = {0};
    retain_expire(w);
    world_outcome(w, "retain", store_retain(w->t.s, &err), &err);
}

static void verify_retain(struct world *w)
{
    struct err err = {0};
    if (w->t.s != NULL) {
        world_must(w, "retain", store_retain(w->t.s, &err), &err);
        if (world_files(w, ".block") > 2) /* the other tenant's */
            problem(w, "%zu blocks after retention", world_files(w, ".block"));
        for (uint32_t r = 0; r < w->next[0]; r++)
            w->state[0][r] = REQUEST_UNSENT; /* gone, and not to come back */
    }
    w->t.opt.limits = NULL; /* else later starts take what is sent from now on */
    store_verify(w);
}

/* ---- start ---- */

static void put_file(const struct world *w, const char *root, const char *name)
{
    CLEANUP(freep) char *path = tenant_file(w, root, name);
    write_file(path, "left over");
}

/* Links the tenant's blocks elsewhere and, later, back: what a crash between commit and removal
 * leaves. */
static void blocks_keep(const struct world *w, const char *from, const char *to)
{
    struct io_names names;
    struct err err = {0};
    world_must(w, "list", io_list(&io_real, "test.list", from, &names, &err), &err);
    for (size_t i = 0; i < names.n; i++) {
        CLEANUP(freep) char *a = path_printf("%s/%s", from, names.p[i]);
        CLEANUP(freep) char *b = path_printf("%s/%s", to, names.p[i]);
        if (str_ends(str_from(names.p[i]), STR(".block")) && link(a, b) != 0)
            ASSERT(errno == EEXIST);
    }
    io_names_free(&names);
}

/* Everything that a start may meet: a merge with its inputs, blocks, logs, left-overs of crashes,
 * another server's blocks, tenants of which nothing is left. */
static void prepare_start(struct world *w)
{
    CLEANUP(freep) char *blocks = tenant_file(w, "data/@store", "");
    CLEANUP(freep) char *aside = path_printf("%s/aside", w->t.dir);
    CLEANUP(freep) char *foreign = path_printf("%s/data/somebody", w->t.dir);
    CLEANUP(freep) char *block = path_printf("%s/" FOREIGN, foreign);
    CLEANUP(freep) char *parquet = path_printf("%s/data.parquet", block);
    CLEANUP(freep) char *empty = path_printf("%s/wal/@wal/656d707479", w->t.dir);
    prepare_compact(w);
    ASSERT(mkdir(aside, 0700) == 0);
    blocks_keep(w, blocks, aside);
    act_compact(w);
    world_send(w, 0, 1);
    must_flush(w);
    world_send(w, 0, 2);
    world_send(w, 1, 2);
    if (world_lossy(w))
        logs_mark(w);
    world_crash(w);
    blocks_keep(w, aside, blocks);
    put_file(w, "data/@store", ".tmp-left");
    put_file(w, "data/@store", ".del-left");
    put_file(w, "wal/@wal", "00000000000000ff.wal.tmp");
    ASSERT(mkdir(foreign, 0700) == 0 && mkdir(block, 0700) == 0);
    write_file(parquet, "theirs");
    (void)mkdir(empty, 0700);
}

static void act_open(struct world *w)
{
    if (world_open(w))
        world_send(w, 1, 1);
}

/* The log is read again page by page. */
static void act_open_pages(struct world *w)
{
    w->damaged = true; /* two bad reads of one place are damage */
    world_also(w, "wal.read", "pread", EIO);
    act_open(w);
}

static void act_open_flush(struct world *w)
{
    act_open(w);
    world_send(w, 0, 1);
    if (w->t.s != NULL)
        act_flush(w); /* lets the damaged segment go: aside */
}

static void catalog_drop(const struct world *w)
{
    CLEANUP(freep) char *dir = path_printf("%s/data/@store/catalog", w->t.dir);
    struct err err = {0};
    world_must(w, "drop", io_remove_tree(&io_real, "test.drop", dir, &err), &err);
}

/* A block that could not be read is left out until the next start: not lost, but not there. */
static void verify_start(struct world *w)
{
    if (w->t.s != NULL && !world_harmless(w))
        world_crash(w);
    store_verify(w);
}

static void prepare_no_catalog(struct world *w)
{
    prepare_start(w);
    catalog_drop(w);
}

/* As LMDB would open it, but not what the last commit left. */
static void prepare_no_seal(struct world *w)
{
    CLEANUP(freep) char *seal = path_printf("%s/data/@store/catalog/data.seal", w->t.dir);
    prepare_start(w);
    ASSERT(unlink(seal) == 0);
}

static void prepare_bad_catalog(struct world *w)
{
    CLEANUP(freep) char *data = path_printf("%s/data/@store/catalog/data.mdb", w->t.dir);
    prepare_start(w);
    write_file(data, "this is no catalog, and long enough to look like a page or two of one");
}

/* Damage on the disk: it must be told and set aside, and cost no more. */
static void file_damage(const char *path, long at)
{
    FILE *f = fopen(path, "r+e");
    ASSERT(f != NULL);
    ASSERT(fseek(f, at, at < 0 ? SEEK_END : SEEK_SET) == 0);
    ASSERT(fputs("damage", f) >= 0);
    ASSERT(fclose(f) == 0);
}

static void folder_damage(const struct world *w, const char *root, const char *suffix, long at)
{
    CLEANUP(freep) char *dir = tenant_file(w, root, "");
    struct io_names names;
    struct err err = {0};
    world_must(w, "list", io_list(&io_real, "test.list", dir, &names, &err), &err);
    for (size_t i = 0; i < names.n; i++) {
        CLEANUP(freep) char *path = path_printf("%s/%s", dir, names.p[i]);
        if (str_ends(str_from(names.p[i]), str_from(suffix))) {
            file_damage(path, at);
            break;
        }
    }
    io_names_free(&names);
}

static void prepare_damaged(struct world *w)
{
    prepare_no_catalog(w);
    w->damaged = true;
    folder_damage(w, "data/@store", ".block", -30);
    folder_damage(w, "wal/@wal", ".wal", 8192 + 200);
}

/* ---- the catalog dies under a running store ---- */

static void act_rebuild(struct world *w)
{
    catalog_fail_code = MDB_PANIC;
    catalog_fail_n = 2; /* reopening does not help: it is made anew */
    act_flush(w);
    catalog_fail_n = 0;
}

/* ---- stop ---- */

static void act_close(struct world *w)
{
    struct err err = {0};
    world_outcome(w, "close", store_close(TAKE_PTR(w->t.s), true, &err), &err);
}

static void act_stop(struct world *w)
{
    struct err err = {0};
    world_outcome(w, "close", store_close(TAKE_PTR(w->t.s), false, &err), &err);
}

static void prepare_query(struct world *w)
{
    struct err err = {0};
    world_open(w);
    blocks_make(w, 2);
    world_must(w, "close", store_close(TAKE_PTR(w->t.s), true, &err), &err);
    world_open(w); /* nothing is cached */
    world_send(w, 0, 1);
}

/* ---- backup: of a running store; one that is called good must be good ---- */

struct backups {
    bool good[2]; /* so it says: of links, of copies */
};

static void prepare_backup(struct world *w)
{
    CLEANUP(freep) char *dir = path_printf("%s/data/@overrides", w->t.dir);
    CLEANUP(freep) char *file = path_printf("%s/user-limits", dir);
    prepare_query(w);
    w->own = xcalloc(1, sizeof(struct backups));
    ASSERT(mkdir(dir, 0700) == 0);
    write_file(file, "limits");
}

static void act_backup(struct world *w)
{
    struct backups *b = w->own;
    for (int copy = 0; copy < 2; copy++) {
        CLEANUP(freep) char *to = path_printf("%s/backup%d", w->t.dir, copy);
        const struct backup_options opt = {.io = w->t.opt.io,
            .wal_dir = w->t.wal_dir,
            .data_dir = w->t.data_dir,
            .to = to,
            .copy_blocks = copy == 1};
        struct backup_result r;
        struct err err = {0};
        enum ec ec = backup_run(&opt, &r, &err);
        world_outcome_once(w, "backup", ec, &err); /* the operator tries again */
        b->good[copy] = ec == EC_OK;
    }
}

static void act_backup_undo(struct world *w)
{
    world_also(w, "backup.size", "fstat", ENXIO);
    act_backup(w);
}

/* The store is none the worse, and the copy answers as the store did. */
static void verify_backup(struct world *w)
{
    struct backups *b = w->own;
    world_crash(w);
    for (int copy = 0; copy < 2; copy++) {
        CLEANUP(freep) char *to = path_printf("%s/backup%d", w->t.dir, copy);
        CLEANUP(freep) char *limits = path_printf("%s/@overrides/user-limits", to);
        struct store_options opt = w->t.opt;
        /* fsck of the copy finds wrong bytes, it does not */
        if (!b->good[copy] || world_flipped(w))
            continue;
        if (access(limits, F_OK) != 0)
            problem(w, "the backup has no user limits");
        w->t.opt.wal_dir = w->t.opt.data_dir = to;
        if (world_open(w)) {
            world_see(w);
            world_crash(w);
        }
        w->t.opt = opt;
    }
    free(b);
    store_verify(w);
}

/* ---- query ---- */

struct query {
    struct world *w;
    unsigned tenant;
    struct snapshot snap;
    struct budget budget;
    struct arena arena;
    struct query_ctx ctx;
    struct err err;
};

static bool query_begin(struct query *q, struct world *w, unsigned tenant)
{
    *q = (struct query){.w = w, .tenant = tenant};
    enum ec ec = store_snapshot(w->t.s, world_tenants[tenant], &q->snap, &q->err);
    world_outcome(w, "snapshot", ec, &q->err);
    if (ec != EC_OK)
        return false;
    budget_init(&q->budget, &w->t.budget, "query", 0);
    arena_init(&q->arena, &q->budget, 0);
    q->ctx = (struct query_ctx){
        .parts = q->snap.parts, .n_parts = q->snap.n, .arena = &q->arena, .budget = &q->budget};
    return true;
}

static void query_end(struct query *q)
{
    arena_deinit(&q->arena);
    if (budget_used(&q->budget) != 0)
        problem(q->w, "a query keeps %llu bytes", (unsigned long long)budget_used(&q->budget));
    snapshot_release(&q->snap);
}

/* Fewer than there are is an answer only when it says so. */
static void answer_judge(const struct query *q, const char *what, enum ec ec,
    const struct query_stats *stats, size_t n, size_t expected)
{
    const struct world *w = q->w;
    if (ec != EC_OK && ec_http_status(ec) < 500)
        problem(w, "%s: the client gets %u", what, ec_http_status(ec));
    if (ec != EC_CORRUPT || !world_flipped(w))
        world_outcome(w, what, ec, &q->err);
    if (ec != EC_OK)
        return;
    if (n > expected)
        problem(w, "%s: %zu, sent were %zu", what, n, expected);
    if (n < expected && !stats->partial)
        problem(w, "%s: %zu of %zu, and called complete", what, n, expected);
    if (stats->partial && world_harmless(w))
        problem(w, "%s: partial after one bad read", what);
}

static void query_by_id(struct query *q, uint32_t r)
{
    const struct world *w = q->w;
    struct trace_result got = {0};
    struct trace_id id = test_trace_id(world_tenants[q->tenant], r);
    bool pair = r + 1 < w->next[q->tenant];
    enum ec ec = query_trace(&q->ctx, &id, 0, &got, &q->err);
    for (size_t k = 0; ec == EC_OK && k < got.n; k++)
        if (got.spans[k].span.span_id >> 17 != test_span_id(world_tenants[q->tenant], r, 0) >> 17)
            problem(w, "trace by id: a span of another trace");
    answer_judge(q, "trace by id", ec, &got.stats, got.n, w->spans * (pair ? 2u : 1u));
}

static void query_all(struct query *q, const char *text, size_t expected)
{
    struct tql_query *tql;
    struct search_result got = {0};
    struct arena arena;
    struct err err = {0};
    arena_init(&arena, NULL, 0);
    enum ec ec = tql_compile(str_from(text), &arena, &tql, NULL, &err);
    world_must(q->w, "compile", ec, &err);
    const struct search_request req = {.q = tql, .limit = 100, .spss = 100};
    if (ec == EC_OK) {
        ec = query_search(&q->ctx, &req, &got, &q->err);
        answer_judge(q, text, ec, &got.stats, got.n, expected);
    }
    arena_deinit(&arena);
}

static void queries(struct world *w)
{
    struct query q;
    for (unsigned i = 0; i < WORLD_TENANTS; i++) {
        size_t traces = (w->next[i] + 1) / 2;
        w->t.base_ns = w->base_ns[i];
        for (uint32_t r = 0; r < w->next[i]; r += 2) {
            if (!query_begin(&q, w, i))
                return;
            query_by_id(&q, r);
            query_end(&q);
        }
        static const char *const texts[] = {"{ }", "{ span.who != \"\" }",
            "{ resource.service.name =~ \".+\" && name =~ \"op-.*\" }"};
        for (size_t k = 0; k < ARRAY_LEN(texts); k++) {
            if (!query_begin(&q, w, i))
                return;
            query_all(&q, texts[k], traces);
            query_end(&q);
        }
    }
}

static void verify_query(struct world *w)
{
    struct fault_plan plan = w->plan;
    w->plan.kind = FAULT_NONE; /* the disk is well again, and so are the answers */
    queries(w);
    w->plan = plan;
    store_verify(w);
}

/* ---- fsck ---- */

static void fsck_once(struct world *w, bool repair)
{
    const struct fsck_options opt = {
        .io = w->t.opt.io, .wal_dir = w->t.wal_dir, .data_dir = w->t.data_dir, .repair = repair};
    struct fsck_result r = {0};
    struct err err = {0};
    enum ec ec = fsck_run(&opt, &r, &err);
    if (!w->damaged || ec != EC_OK)
        world_outcome(w, "fsck", ec, &err);
    if (r.problems > 0 && world_harmless(w) && !w->damaged)
        problem(w, "fsck finds %llu problems", (unsigned long long)r.problems);
}

static void act_fsck(struct world *w)
{
    fsck_once(w, false);
    fsck_once(w, true);
}

static void prepare_fsck_bad_catalog(struct world *w)
{
    prepare_bad_catalog(w);
    w->damaged = true; /* that is: fsck has something to find */
}

const struct fault_case store_cases[] = {
    {"ingest", prepare_empty, act_ingest, store_verify},
    {"ingest-undo", prepare_ingest_undo, act_ingest_undo, store_verify},
    {"rotate", prepare_rotate, act_rotate, store_verify},
    {"recycle", prepare_recycle, act_recycle, store_verify},
    {"large", prepare_large, act_large, store_verify},
    {"flush", prepare_flush, act_flush_twice, store_verify},
    {"flush-undo", prepare_flush_undo, act_flush_undo, store_verify},
    {"compact-undo", prepare_compact, act_compact_undo, store_verify},
    {"compact", prepare_compact, act_compact, store_verify},
    {"retain", prepare_retain, act_retain, verify_retain},
    {"start-retain", prepare_start_retain, act_start_retain, verify_start_retain},
    {"start", prepare_start, act_open, verify_start},
    {"start-pages", prepare_start, act_open_pages, verify_start},
    {"start-no-catalog", prepare_no_catalog, act_open, verify_start},
    {"start-no-seal", prepare_no_seal, act_open, verify_start},
    {"start-bad-catalog", prepare_bad_catalog, act_open, verify_start},
    {"start-damaged", prepare_damaged, act_open_flush, verify_start},
    {"rebuild", prepare_flush, act_rebuild, store_verify},
    {"close", prepare_flush, act_close, store_verify},
    {"backup", prepare_backup, act_backup, verify_backup},
    {"backup-undo", prepare_backup, act_backup_undo, verify_backup},
    {"stop", prepare_flush, act_stop, store_verify},
    {"query", prepare_query, queries, verify_query},
    {"fsck", prepare_start, act_fsck, store_verify},
    {"fsck-damaged", prepare_damaged, act_fsck, store_verify},
    {"fsck-bad-catalog", prepare_fsck_bad_catalog, act_fsck, store_verify},
    {0},
};
