/* SPDX-License-Identifier: Apache-2.0
 * Heads to blocks, blocks to fewer blocks, blocks to nothing; the catalog as a cache; other
 * people's files; and every fault on the way. What the store answers must not change but where it
 * must. */
#include <errno.h>
#include <fcntl.h>

#include "storage/fsck.h"
#include "store_util.h"

#define TENANT STR("single-tenant")

static void append_range(struct test_store *t, uint32_t first, uint32_t n, uint32_t spans)
{
    for (uint32_t r = first; r < first + n; r++)
        assert_ec(test_append(t, TENANT, r, spans), EC_OK);
}

static void flush(struct test_store *t)
{
    struct err err;
    assert_ok(store_flush(t->s, TENANT, &err), err);
}

/* Blocks of one request each. */
static void many_blocks(struct test_store *t, uint32_t n, uint32_t spans)
{
    for (uint32_t r = 0; r < n; r++) {
        append_range(t, r, 1, spans);
        flush(t);
    }
}

static void test_flush__answers_stay_and_the_log_goes(void **state)
{
    (void)state;
    struct test_store t;
    struct test_seen seen;
    uint64_t bytes, segments;
    test_store_init(&t, NULL);
    test_store_open(&t);
    append_range(&t, 0, 10, 7);
    flush(&t);
    assert_int_equal(test_files(&t, TENANT, ".block"), 1);
    test_expect(&t, TENANT, 0, 10, 7);
    test_see(&t, TENANT, &seen);
    assert_int_equal(seen.n_heads, 0);
    assert_int_equal(seen.n_parts, 1);
    test_seen_free(&seen);
    struct tenant *tenant = tenant_find(t.s, TENANT);
    wal_usage(tenant->wal, &bytes, &segments);
    assert_int_equal(segments, 0);
    tenant_unref(tenant);
    flush(&t); /* nothing to do is no error, and makes no block */
    assert_int_equal(test_files(&t, TENANT, ".block"), 1);
    append_range(&t, 10, 5, 7);
    test_expect(&t, TENANT, 0, 15, 7);
    test_store_crash(&t);
    test_store_open(&t);
    test_expect(&t, TENANT, 0, 15, 7);
    test_store_close(&t, true);
    test_store_deinit(&t);
}

static void test_flush__by_size_age_and_memory(void **state)
{
    (void)state;
    for (int why = 0; why < 3; why++) {
        struct test_store t;
        test_store_init(&t, NULL);
        t.opt.check_period_ns = 20 * NS_PER_MS;
        if (why == 0)
            t.opt.block_raw_bytes_max = 20000;
        else if (why == 1)
            t.opt.block_age_max_ns = 50 * NS_PER_MS;
        else
            t.opt.head_bytes_max = 4 << 20;
        test_store_open(&t);
        append_range(&t, 0, why == 2 ? 300 : 10, 50);
        for (int i = 0; i < 500 && test_files(&t, TENANT, ".block") == 0; i++)
            test_sleep_ms(10);
        /* Half of the memory for heads does not press yet, but one head takes a quarter only. */
        assert_true(test_files(&t, TENANT, ".block") > 0);
        test_expect(&t, TENANT, 0, why == 2 ? 300 : 10, 50);
        test_store_close(&t, true);
        test_store_open(&t);
        test_expect(&t, TENANT, 0, why == 2 ? 300 : 10, 50);
        test_store_close(&t, true);
        test_store_deinit(&t);
    }
}

/* Heads that were flushed stay in memory while a snapshot has them, and fill what ingest may
 * have. */
static void test_snapshot__is_stale_when_ingest_needs_its_memory(void **state)
{
    (void)state;
    struct test_store t;
    struct err err;
    test_store_init(&t, NULL);
    t.opt.check_period_ns = 20 * NS_PER_MS;
    t.opt.head_bytes_max = 4 << 20;
    test_store_open(&t);
    const _Atomic int64_t *stale = store_stale_before(t.s);
    uint32_t r = 0;
    enum ec ec = EC_OK;
    /* Nobody holds anything: however much comes, nothing is stale. */
    for (int i = 0; i < 60; i++) {
        for (int k = 0; k < 10; k++)
            (void)test_append(&t, TENANT, r++, 50);
        test_sleep_ms(20);
    }
    assert_int_equal(atomic_load(stale), 0);
    struct snapshot held[200];
    size_t n_held = 0;
    int64_t began = clock_mono_ns();
    for (int i = 0; i < 200 && atomic_load(stale) <= began; i++) {
        for (int k = 0; k < 10 && ec == EC_OK; k++)
            ec = test_append(&t, TENANT, r++, 50);
        ec = EC_OK; /* a refusal is what this is about */
        assert_ok(store_snapshot(t.s, TENANT, &held[n_held++], &err), err);
        test_sleep_ms(20);
    }
    assert_true(atomic_load(stale) > began);
    for (size_t i = 0; i < n_held; i++)
        snapshot_release(&held[i]);
    for (int i = 0; i < 100 && (ec = test_append(&t, TENANT, r++, 50)) != EC_OK; i++)
        test_sleep_ms(20);
    assert_int_equal(ec, EC_OK);
    test_store_close(&t, true);
    test_store_deinit(&t);
}

static void test_append__full_memory_refuses_and_recovers(void **state)
{
    (void)state;
    struct test_store t;
    enum ec ec = EC_OK;
    uint32_t r = 0;
    struct fault_io *f = fault_io_new(NULL);
    test_store_init(&t, fault_io_io(f));
    t.opt.head_bytes_max = 3 << 20;
    test_store_open(&t);
    fault_io_fail(f, "block.rename", "rename", 1, EIO, true); /* no flush succeeds */
    for (; r < 4000 && ec == EC_OK; r++)
        ec = test_append(&t, TENANT, r, 100);
    assert_int_equal(ec, EC_LIMIT);
    assert_true(budget_used(&t.s->heads) <= t.opt.head_bytes_max);
    uint32_t stored = r - 1;
    test_expect(&t, TENANT, 0, stored, 100);
    fault_io_clear(f);
    flush(&t);
    assert_ec(test_append(&t, TENANT, stored, 100), EC_OK);
    test_expect(&t, TENANT, 0, stored + 1, 100);
    test_store_close(&t, true);
    test_store_deinit(&t);
    fault_io_free(f);
}

static void test_snapshot__outlives_flush_compaction_and_retention(void **state)
{
    (void)state;
    struct test_store t;
    struct snapshot head, blocks;
    struct err err;
    struct test_seen seen = {0};
    test_store_init(&t, NULL);
    test_store_open(&t);
    append_range(&t, 0, 1, 9);
    assert_ok(store_snapshot(t.s, TENANT, &head, &err), err);
    flush(&t);
    for (uint32_t r = 1; r < 4; r++) {
        append_range(&t, r, 1, 9);
        flush(&t);
    }
    assert_ok(store_snapshot(t.s, TENANT, &blocks, &err), err);
    assert_int_equal(blocks.n, 4);
    assert_ok(store_compact(t.s, &err), err);
    assert_int_equal(test_files(&t, TENANT, ".block"), 5); /* inputs wait for their reader */
    for (size_t i = 0; i < blocks.n; i++)
        test_part_see(&t, TENANT, blocks.parts[i], &seen);
    assert_int_equal(seen.ids.n, 36);
    test_part_see(&t, TENANT, head.parts[0], &seen);
    assert_int_equal(seen.ids.n, 45);
    test_seen_free(&seen);
    snapshot_release(&head);
    snapshot_release(&blocks);
    zombies_reap(t.s, false);
    assert_int_equal(test_files(&t, TENANT, ".block"), 1);
    test_expect(&t, TENANT, 0, 4, 9);
    test_store_close(&t, true);
    test_store_deinit(&t);
}

static void test_compact__contents_stay_and_files_become_few(void **state)
{
    (void)state;
    struct test_store t;
    struct err err;
    test_store_init(&t, NULL);
    test_store_open(&t);
    many_blocks(&t, 20, 6);
    assert_int_equal(test_files(&t, TENANT, ".block"), 20);
    assert_ok(store_compact(t.s, &err), err);
    assert_true(test_files(&t, TENANT, ".block") < 5);
    test_expect(&t, TENANT, 0, 20, 6);
    size_t files = test_files(&t, TENANT, ".block");
    assert_ok(store_compact(t.s, &err), err); /* nothing left to do */
    assert_int_equal(test_files(&t, TENANT, ".block"), files);
    test_store_crash(&t);
    test_store_open(&t);
    test_expect(&t, TENANT, 0, 20, 6);
    append_range(&t, 20, 3, 6);
    test_expect(&t, TENANT, 0, 23, 6);
    test_store_close(&t, true);
    test_store_deinit(&t);
}

static double written(const char *kind)
{
    return metric_value(metric_series1(&store_families.bytes_written, str_from(kind)));
}

static uint64_t all_blocks_bytes(struct test_store *t)
{
    struct store_tenant *list;
    struct arena arena;
    struct err err;
    size_t n;
    arena_init(&arena, NULL, 0);
    assert_ok(store_tenants(t->s, &arena, &list, &n, &err), err);
    assert_int_equal(n, 1);
    uint64_t bytes = list[0].block_bytes;
    arena_deinit(&arena);
    return bytes;
}

static void test_metrics__bytes_written_are_those_of_the_files(void **state)
{
    (void)state;
    struct test_store t;
    struct buf scrape = BUF_INIT;
    struct err err;
    test_store_init(&t, NULL);
    test_store_open(&t);
    double wal = written("wal"), flushed = written("flush"), merged = written("compact");
    metric_render(&scrape);
    double filled = written("wal_fill");
    append_range(&t, 0, 1, 30);
    assert_true(written("wal") - wal > 500);
    assert_true(written("wal") - wal < 30 * 1000);
    metric_render(&scrape);
    buf_deinit(&scrape);
    assert_true(written("wal_fill") - filled >= 128 << 10); /* the first segment */
    flush(&t);
    many_blocks(&t, 5, 30);
    uint64_t before = all_blocks_bytes(&t);
    assert_true(written("flush") - flushed == (double)before);
    assert_ok(store_compact(t.s, &err), err);
    assert_int_equal(test_files(&t, TENANT, ".block"), 1);
    assert_true(written("flush") - flushed == (double)before);
    assert_true(written("compact") - merged == (double)all_blocks_bytes(&t));
    test_store_close(&t, true);
    test_store_deinit(&t);
}

/* Where memory is short, merges are smaller instead of failing. */
static void test_compact__stays_within_its_memory(void **state)
{
    (void)state;
    struct test_store t;
    struct err err;
    test_store_init(&t, NULL);
    t.opt.merge_memory_bytes = 26ull * MERGE_SPAN_BYTES; /* four blocks of six spans */
    test_store_open(&t);
    many_blocks(&t, 20, 6);
    assert_ok(store_compact(t.s, &err), err);
    assert_int_equal(test_files(&t, TENANT, ".block"), 5);
    test_expect(&t, TENANT, 0, 20, 6);
    test_store_close(&t, true);
    test_store_deinit(&t);
}

static void test_compact__merges_spans_that_came_twice(void **state)
{
    (void)state;
    struct test_store t;
    struct err err;
    test_store_init(&t, NULL);
    test_store_open(&t);
    for (int i = 0; i < 4; i++) {
        append_range(&t, 3, 1, 8); /* the same request, in four blocks */
        flush(&t);
    }
    double before = metric_value(metric_series1(&store_families.compact_dedup, STR("1")));
    assert_ok(store_compact(t.s, &err), err);
    test_expect(&t, TENANT, 3, 1, 8);
    assert_true(
        metric_value(metric_series1(&store_families.compact_dedup, STR("1"))) - before == 24);
    test_store_close(&t, true);
    test_store_deinit(&t);
}

static void limits_no_compaction(void *ctx, struct str tenant, struct tenant_limits *ret)
{
    (void)ctx;
    ret->compaction_disabled = str_eq(tenant, TENANT);
}

static void test_compact__off_for_a_tenant_leaves_retention_on(void **state)
{
    (void)state;
    struct test_store t;
    struct err err;
    test_store_init(&t, NULL);
    t.opt.limits = limits_no_compaction;
    t.opt.retention_ns = 600 * NS_PER_S;
    test_store_open(&t);
    many_blocks(&t, 6, 2);
    assert_ok(store_compact(t.s, &err), err);
    assert_int_equal(test_files(&t, TENANT, ".block"), 6);
    clock_wall_shift_ns(1800 * NS_PER_S);
    assert_ok(store_retain(t.s, &err), err);
    clock_wall_shift_ns(-1800 * NS_PER_S);
    assert_int_equal(test_files(&t, TENANT, ".block"), 0);
    test_store_close(&t, true);
    test_store_deinit(&t);
}

static void catalog_remove(struct test_store *t)
{
    struct err err;
    CLEANUP(freep) char *dir = path_printf("%s/@store/catalog", t->data_dir);
    assert_ok(io_remove_tree(&io_real, "test", dir, &err), err);
}

static void fsck_count(void *ctx, const char *line)
{
    if (getenv("TEST_LOG") != NULL)
        fprintf(stderr, "%s\n", line);
    (*(int *)ctx)++;
}

static struct fsck_result fsck(struct test_store *t, bool repair)
{
    struct fsck_result res;
    struct err err;
    int lines = 0;
    const struct fsck_options opt = {.wal_dir = t->wal_dir,
        .data_dir = t->data_dir,
        .repair = repair,
        .report = fsck_count,
        .ctx = &lines};
    assert_ok(fsck_run(&opt, &res, &err), err);
    assert_true(lines > 0 || res.problems == 0);
    return res;
}

static void test_catalog__deleted_or_broken_gives_the_same_answers(void **state)
{
    (void)state;
    struct test_store t;
    struct err err;
    test_store_init(&t, NULL);
    test_store_open(&t);
    many_blocks(&t, 9, 4);
    assert_ok(store_compact(t.s, &err), err);
    append_range(&t, 9, 2, 4);
    flush(&t);
    append_range(&t, 11, 2, 4);
    for (int round = 0; round < 3; round++) {
        test_store_crash(&t);
        if (round < 2)
            catalog_remove(&t);
        if (round == 1) { /* a file that is no catalog */
            CLEANUP(freep) char *dir = path_printf("%s/@store/catalog", t.data_dir);
            CLEANUP(freep) char *path = path_printf("%s/data.mdb", dir);
            char junk[16384];
            memset(junk, 0xa5, sizeof(junk));
            int fd;
            assert_ok(io_mkdir(&io_real, "test", dir, &err), err);
            assert_ok(io_open(&io_real, "test", path, O_RDWR | O_CREAT, 0600, &fd, &err), err);
            assert_ok(io_pwrite(&io_real, "test", fd, junk, sizeof(junk), 0, &err), err);
            io_close(&io_real, "test", fd, NULL);
        }
        test_store_open(&t);
        test_expect(&t, TENANT, 0, 13, 4);
    }
    test_store_close(&t, true);
    assert_int_equal(fsck(&t, false).problems, 0);
    test_store_deinit(&t);
}

/* An older catalog: merges and retention since then are found in the footers and the directory. */
static void test_catalog__an_older_copy_gives_the_same_answers(void **state)
{
    (void)state;
    struct test_store t;
    struct err err;
    test_store_init(&t, NULL);
    test_store_open(&t);
    many_blocks(&t, 4, 4);
    test_store_close(&t, true);
    CLEANUP(freep) char *from = path_printf("%s/@store/catalog", t.data_dir);
    CLEANUP(freep) char *cmd = path_printf("cp -r '%s' '%s/old'", from, t.dir);
    assert_int_equal(system(cmd), 0);
    test_store_open(&t);
    assert_ok(store_compact(t.s, &err), err);
    append_range(&t, 4, 2, 4);
    flush(&t);
    test_store_close(&t, true);
    catalog_remove(&t);
    CLEANUP(freep) char *back = path_printf("mv '%s/old' '%s'", t.dir, from);
    assert_int_equal(system(back), 0);
    assert_true(fsck(&t, false).problems > 0);
    test_store_open(&t);
    test_expect(&t, TENANT, 0, 6, 4);
    test_store_close(&t, true);
    assert_int_equal(fsck(&t, false).problems, 0);
    test_store_deinit(&t);
}

static char *first_block(struct test_store *t)
{
    char name[TENANT_NAME_MAX];
    struct io_names names;
    struct err err;
    char *path = NULL;
    tenant_name_encode(name, TENANT);
    CLEANUP(freep) char *dir = path_printf("%s/@store/%s", t->data_dir, name);
    assert_ok(io_list(&io_real, "test", dir, &names, &err), err);
    for (size_t i = 0; i < names.n && path == NULL; i++)
        if (str_ends(str_from(names.p[i]), STR(".block")))
            path = path_printf("%s/%s", dir, names.p[i]);
    io_names_free(&names);
    assert_non_null(path);
    return path;
}

/* Damage in one input must not keep its window from being merged for ever. */
static void test_compact__leaves_a_damaged_input_out_after_three_tries(void **state)
{
    (void)state;
    struct test_store t;
    struct err err;
    struct io_stat st;
    uint8_t junk[64];
    int fd, failures = 0;
    test_store_init(&t, NULL);
    test_store_open(&t);
    many_blocks(&t, 5, 40);
    CLEANUP(freep) char *path = first_block(&t);
    assert_ok(io_stat(&io_real, "test", path, &st, &err), err);
    memset(junk, 0x5a, sizeof(junk));
    assert_ok(io_open(&io_real, "test", path, O_RDWR, 0, &fd, &err), err);
    for (uint64_t at = 64; at + 1024 < st.size; at += sizeof(junk)) /* pages, not the footer */
        assert_ok(io_pwrite(&io_real, "test", fd, junk, sizeof(junk), at, &err), err);
    io_close(&io_real, "test", fd, NULL);
    double before = metric_value(store_metrics.compact_errors);
    while (failures < 6 && store_compact(t.s, &err) != EC_OK)
        failures++;
    assert_int_equal(failures, COMPACT_STRIKES_MAX);
    assert_true(metric_value(store_metrics.compact_errors) - before == COMPACT_STRIKES_MAX);
    assert_int_equal(test_files(&t, TENANT, ".block"), 2); /* the damaged one, and the others' */
    struct snapshot snap;
    struct test_seen seen = {0};
    assert_ok(store_snapshot(t.s, TENANT, &snap, &err), err);
    assert_int_equal(snap.n, 2);
    for (size_t i = 0; i < snap.n; i++)
        if (snap.facts[i].bytes != st.size)
            test_part_see(&t, TENANT, snap.parts[i], &seen);
    assert_int_equal(seen.ids.n, 160);
    test_seen_free(&seen);
    snapshot_release(&snap);
    test_store_close(&t, true);
    test_store_deinit(&t);
}

static void test_recover__unreadable_and_missing_blocks_are_told_and_survived(void **state)
{
    (void)state;
    struct test_store t;
    struct err err;
    struct test_seen seen;
    int fd;
    test_store_init(&t, NULL);
    test_store_open(&t);
    many_blocks(&t, 3, 4);
    test_store_close(&t, true);
    /* a truncated file without a catalog to vouch for it */
    CLEANUP(freep) char *path = first_block(&t);
    assert_ok(io_open(&io_real, "test", path, O_RDWR, 0, &fd, &err), err);
    assert_ok(io_ftruncate(&io_real, "test", fd, 10, &err), err);
    io_close(&io_real, "test", fd, NULL);
    assert_true(fsck(&t, false).problems > 0);
    catalog_remove(&t);
    test_store_open(&t);
    assert_int_equal(test_files(&t, TENANT, ".damaged"), 1);
    test_see(&t, TENANT, &seen);
    assert_int_equal(seen.ids.n, 8);
    test_seen_free(&seen);
    test_store_close(&t, true);
    assert_int_equal(fsck(&t, false).problems, 0);
    /* a file that is gone although the catalog has it */
    CLEANUP(freep) char *other = first_block(&t);
    assert_ok(io_unlink(&io_real, "test", other, &err), err);
    assert_int_equal(fsck(&t, false).problems, 1);
    test_store_open(&t);
    test_see(&t, TENANT, &seen);
    assert_int_equal(seen.ids.n, 4);
    test_seen_free(&seen);
    test_store_close(&t, true);
    assert_int_equal(fsck(&t, false).problems, 0);
    test_store_deinit(&t);
}

static void touch(const char *path)
{
    int fd;
    struct err err;
    assert_ok(io_open(&io_real, "test", path, O_RDWR | O_CREAT, 0600, &fd, &err), err);
    assert_ok(io_pwrite(&io_real, "test", fd, "x", 1, 0, &err), err);
    io_close(&io_real, "test", fd, NULL);
}

static void test_recover__foreign_entries_stay_and_own_left_overs_go(void **state)
{
    (void)state;
    struct test_store t;
    struct err err;
    struct io_stat st;
    static const char *const ours[] = {
        ".tmp-00000000-0000-4000-8000-000000000000", ".del-00000000-0000-4000-8000-000000000000"};
    test_store_init(&t, NULL);
    test_store_open(&t);
    many_blocks(&t, 1, 2);
    test_store_close(&t, true);
    CLEANUP(freep)
    char *theirs = path_printf("%s/tenant-x/b0e0bc6e-5a5f-4a3b-9d3a-0123456789ab", t.data_dir);
    CLEANUP(freep) char *parquet = path_printf("%s/data.parquet", theirs);
    assert_ok(io_mkdir_all(&io_real, "test", theirs, &err), err);
    touch(parquet);
    CLEANUP(freep) char *some_block = first_block(&t);
    *strrchr(some_block, '/') = 0;
    CLEANUP(freep) char *strange = path_printf("%s/notes.txt", some_block);
    touch(strange);
    for (size_t i = 0; i < ARRAY_LEN(ours); i++) {
        CLEANUP(freep) char *path = path_printf("%s/%s", some_block, ours[i]);
        touch(path);
    }
    test_store_open(&t);
    assert_int_equal(atomic_load(&t.s->foreign_blocks), 1);
    assert_int_equal(atomic_load(&t.s->foreign_bytes), 1);
    test_expect(&t, TENANT, 0, 1, 2);
    test_store_close(&t, true);
    assert_ok(io_stat(&io_real, "test", parquet, &st, &err), err);
    assert_ok(io_stat(&io_real, "test", strange, &st, &err), err);
    for (size_t i = 0; i < ARRAY_LEN(ours); i++) {
        CLEANUP(freep) char *path = path_printf("%s/%s", some_block, ours[i]);
        assert_ec(io_stat(&io_real, "test", path, &st, &err), EC_NOT_FOUND);
    }
    test_store_deinit(&t);
}

static _Atomic uint64_t disk_free_now;
static int disk_space(
    void *ctx, const char *site, const char *path, uint64_t *ret_free, uint64_t *ret_total)
{
    (void)ctx;
    (void)site;
    (void)path;
    *ret_free = atomic_load(&disk_free_now);
    *ret_total = 100ull << 30;
    return 0;
}

static void test_disk__low_refuses_ingest_and_comes_back(void **state)
{
    (void)state;
    struct test_store t;
    struct store_health h;
    struct test_ack a = {0};
    struct err err;
    struct io_ops ops = *io_real.ops;
    struct io io = {&ops, io_real.ctx};
    ops.space = disk_space;
    atomic_store(&disk_free_now, 2000);
    test_store_init(&t, &io);
    t.opt.min_free_bytes = 1000;
    test_store_open(&t);
    append_range(&t, 0, 2, 3);
    atomic_store(&disk_free_now, 1000); /* at the floor: still good */
    disk_check(t.s);
    append_range(&t, 2, 1, 3);
    atomic_store(&disk_free_now, 999);
    disk_check(t.s);
    assert_ec(test_append_async(&t, TENANT, 3, 3, &a, &err), EC_NOSPACE);
    store_health(t.s, &h);
    assert_true(h.disk_low);
    assert_int_equal(h.disk_free, 999);
    test_expect(&t, TENANT, 0, 3, 3); /* reads go on */
    flush(&t);                        /* and what frees log space */
    test_expect(&t, TENANT, 0, 3, 3);
    atomic_store(&disk_free_now, 1099); /* above the floor, within 10 % of it */
    disk_check(t.s);
    assert_ec(test_append_async(&t, TENANT, 3, 3, &a, &err), EC_NOSPACE);
    atomic_store(&disk_free_now, 1100);
    disk_check(t.s);
    append_range(&t, 3, 1, 3);
    test_expect(&t, TENANT, 0, 4, 3);
    /* A merge needs room for its output above the floor. */
    assert_false(disk_has_room(t.s, 100));
    assert_true(disk_has_room(t.s, 99));
    /* Without a floor of its own: the smaller of 1 GiB and 5 %. */
    test_store_close(&t, true);
    t.opt.min_free_bytes = 0;
    atomic_store(&disk_free_now, (1ull << 30) - 1);
    test_store_open(&t);
    store_health(t.s, &h);
    assert_true(h.disk_low);
    /* With both given the smaller counts: a small volume is not full because of 1 GiB. */
    test_store_close(&t, true);
    t.opt.min_free_bytes = 1ull << 30;
    t.opt.min_free_ratio = 0.001;
    atomic_store(&disk_free_now, 108ull << 20);
    test_store_open(&t);
    store_health(t.s, &h);
    assert_false(h.disk_low);
    atomic_store(&disk_free_now, 100ull << 20);
    disk_check(t.s);
    store_health(t.s, &h);
    assert_true(h.disk_low);
    test_store_close(&t, true);
    test_store_deinit(&t);
}

static void test_fsck__refuses_a_directory_in_use(void **state)
{
    (void)state;
    struct test_store t;
    struct fsck_result res;
    struct err err;
    test_store_init(&t, NULL);
    test_store_open(&t);
    const struct fsck_options opt = {.wal_dir = t.wal_dir, .data_dir = t.data_dir};
    assert_ec(fsck_run(&opt, &res, &err), EC_CONFLICT);
    append_range(&t, 0, 3, 4);
    test_store_crash(&t);
    res = fsck(&t, false);
    assert_int_equal(res.problems, 0);
    assert_int_equal(res.tenants, 1);
    assert_int_equal(res.records, 3);
    test_store_deinit(&t);
}

static void test_start__a_thousand_blocks_read_no_footer(void **state)
{
    (void)state;
    enum { N = 1000 };
    struct test_store t;
    struct err err;
    test_store_init(&t, NULL);
    test_store_open(&t);
    append_range(&t, 0, 1, 2);
    flush(&t);
    test_store_close(&t, true);
    /* The catalog is told of blocks whose files are copies: opening must not look into them. */
    struct catalog *c;
    CLEANUP(freep) char *dir = path_printf("%s/@store/catalog", t.data_dir);
    CLEANUP(freep) char *block = first_block(&t);
    assert_ok(catalog_open(&(struct catalog_options){.dir = dir}, &c, &err), err);
    struct block_facts *facts = xcalloc(N, sizeof(*facts));
    for (uint32_t i = 0; i < N; i++) {
        char text[UUID_TEXT + 1];
        facts[i] = (struct block_facts){.n_spans = 1,
            .n_traces = 1,
            .min_start_ns = i + 1,
            .max_end_ns = i + 2,
            .max_arrival_s = (uint32_t)(clock_wall_ns() / NS_PER_S),
            .file_bytes = 10};
        uuid_new(facts[i].uuid);
        uuid_text(text, facts[i].uuid);
        CLEANUP(freep) char *at = xstrdup(block);
        *strrchr(at, '/') = 0;
        CLEANUP(freep) char *path = path_printf("%s/%s.block", at, text);
        touch(path);
    }
    assert_ok(catalog_commit(c, TENANT, facts, N, NULL, 0, &err), err);
    catalog_close(c);
    free(facts);
    int64_t begin = clock_mono_ns();
    test_store_open(&t);
    int64_t took = clock_mono_ns() - begin;
    print_message("1,001 blocks opened in %lld us\n", (long long)(took / NS_PER_US));
    struct snapshot snap;
    assert_ok(store_snapshot(t.s, TENANT, &snap, &err), err);
    assert_int_equal(snap.n, N + 1);
    snapshot_release(&snap);
    test_store_close(&t, true);
    test_store_deinit(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flush__answers_stay_and_the_log_goes),
        cmocka_unit_test(test_flush__by_size_age_and_memory),
        cmocka_unit_test(test_snapshot__is_stale_when_ingest_needs_its_memory),
        cmocka_unit_test(test_append__full_memory_refuses_and_recovers),
        cmocka_unit_test(test_snapshot__outlives_flush_compaction_and_retention),
        cmocka_unit_test(test_compact__contents_stay_and_files_become_few),
        cmocka_unit_test(test_metrics__bytes_written_are_those_of_the_files),
        cmocka_unit_test(test_compact__stays_within_its_memory),
        cmocka_unit_test(test_compact__merges_spans_that_came_twice),
        cmocka_unit_test(test_compact__leaves_a_damaged_input_out_after_three_tries),
        cmocka_unit_test(test_compact__off_for_a_tenant_leaves_retention_on),
        cmocka_unit_test(test_catalog__deleted_or_broken_gives_the_same_answers),
        cmocka_unit_test(test_catalog__an_older_copy_gives_the_same_answers),
        cmocka_unit_test(test_recover__unreadable_and_missing_blocks_are_told_and_survived),
        cmocka_unit_test(test_recover__foreign_entries_stay_and_own_left_overs_go),
        cmocka_unit_test(test_disk__low_refuses_ingest_and_comes_back),
        cmocka_unit_test(test_fsck__refuses_a_directory_in_use),
        cmocka_unit_test(test_start__a_thousand_blocks_read_no_footer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
