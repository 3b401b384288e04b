/* SPDX-License-Identifier: Apache-2.0
 * Opening, facts, lookups, and the page cache that all blocks share. */
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "base/slab.h"
#include "block_fixture.h"
#include "part_text.h"
#include "storage/block/cache.h"
#include "test_util.h"

static void test_open__facts_come_back(void **state)
{
    (void)state;
    struct block_fixture *f = block_fixture_new();
    struct head *h = fixture_head(1, 50);
    struct part_reader *r;
    struct block_facts facts, again;
    struct arena arena;
    struct str tenant;
    struct err err = {0};
    uint64_t dups;
    static const uint8_t inputs[3][16] = {{1}, {2}, {3, 3}};
    struct block_write_options opt = {.io = &io_real,
        .path = f->path,
        .tenant = STR("a/tenant"),
        .uuid = {9, 8, 7},
        .level = 4,
        .lsn_first = 17,
        .lsn_last = 1ULL << 40,
        .inputs = inputs,
        .n_inputs = 3};
    snprintf(f->path, sizeof(f->path), "%s/x", f->dir);
    assert_int_equal(part_reader_open(head_part(h), NULL, &r, NULL), EC_OK);
    assert_int_equal(block_write(&opt, &r, 1, &facts, &dups, NULL), EC_OK);
    /* The path must be free: nothing is ever overwritten. */
    struct block_facts untouched = facts;
    assert_int_equal(block_write(&opt, &r, 1, &untouched, &dups, &err), EC_IO);
    part_reader_close(r);
    arena_init(&arena, NULL, 0);
    assert_int_equal(block_facts_read(&io_real, f->path, &tenant, &arena, &again, NULL), EC_OK);
    assert_true(str_eqz(tenant, "a/tenant"));
    assert_memory_equal(again.uuid, opt.uuid, 16);
    assert_int_equal(again.level, 4);
    assert_true(again.lsn_first == 17 && again.lsn_last == 1ULL << 40);
    assert_int_equal(again.n_inputs, 3);
    assert_memory_equal(again.inputs, inputs, sizeof(inputs));
    assert_memory_equal(facts.inputs, inputs, sizeof(inputs));
    assert_true(again.n_spans == facts.n_spans && again.n_traces == facts.n_traces);
    assert_true(again.min_start_ns == facts.min_start_ns && again.max_end_ns == facts.max_end_ns);
    assert_int_equal(again.min_arrival_s, 1700000001);
    assert_int_equal(again.max_arrival_s, 1700000001);
    struct io_stat st;
    assert_int_equal(io_stat(&io_real, "test", f->path, &st, NULL), EC_OK);
    assert_true(again.file_bytes == st.size && facts.file_bytes == st.size);
    /* Another tenant's block, or another block, is not served. */
    f->facts = facts;
    struct part *p = fixture_open(f, f->path); /* expects "tenant" */
    assert_int_equal(part_reader_open(p, NULL, &r, NULL), EC_CORRUPT);
    assert_int_equal(f->corrupt, 1);
    part_unref(p);
    f->facts.uuid[0] ^= 1;
    p = fixture_open(f, f->path);
    assert_int_equal(part_reader_open(p, NULL, &r, NULL), EC_CORRUPT);
    part_unref(p);
    p = fixture_open(f, "/nonexistent/block"); /* opening is lazy: the first reader notices */
    assert_int_equal(part_reader_open(p, NULL, &r, NULL), EC_NOT_FOUND);
    part_unref(p);
    block_facts_deinit(&again);
    block_facts_deinit(&facts);
    arena_deinit(&arena);
    head_free(h);
    block_fixture_free(f);
}

/* The root does not lie in what is read of the file's end at first. */
static void test_open__a_large_root_is_read_apart(void **state)
{
    enum { INPUTS = 1000 };
    (void)state;
    struct block_fixture *f = block_fixture_new();
    struct head *h = fixture_head(1, 50);
    uint8_t(*inputs)[16] = xcalloc(INPUTS, sizeof(*inputs));
    struct rng rng = {7};
    struct part_reader *r;
    struct part_info info;
    uint64_t dups;
    for (int i = 0; i < INPUTS; i++) {
        put_u64le(inputs[i], rng_next(&rng)); /* nothing that zstd could shrink */
        put_u64le(inputs[i] + 8, rng_next(&rng));
    }
    const struct block_write_options opt = {.io = &io_real,
        .path = f->path,
        .tenant = STR("tenant"),
        .uuid = {1},
        .inputs = (const uint8_t(*)[16])inputs,
        .n_inputs = INPUTS};
    snprintf(f->path, sizeof(f->path), "%s/x", f->dir);
    assert_int_equal(part_reader_open(head_part(h), NULL, &r, NULL), EC_OK);
    assert_int_equal(block_write(&opt, &r, 1, &f->facts, &dups, NULL), EC_OK);
    part_reader_close(r);
    struct part *p = fixture_open(f, f->path);
    assert_int_equal(part_reader_open(p, NULL, &r, NULL), EC_OK);
    part_info(r, &info);
    assert_int_equal(info.n_rows, f->facts.n_spans);
    part_reader_close(r);
    part_unref(p);
    fixture_verify(f->path);
    block_facts_deinit(&f->facts);
    free(inputs);
    head_free(h);
    block_fixture_free(f);
}

/* A reader that knows the block has no use for its header; whoever looks for damage has. */
static void test_open__a_header_is_for_those_who_know_nothing(void **state)
{
    (void)state;
    struct block_fixture *f = block_fixture_new();
    struct head *h = fixture_head(1, 50);
    struct part *head = head_part(h);
    struct part_reader *r;
    struct block_facts facts;
    struct str tenant;
    struct arena arena;
    uint8_t b;
    part_unref(fixture_write(f, &head, 1));
    int fd = open(f->path, O_RDWR);
    assert_int_equal(pread(fd, &b, 1, 40), 1);
    b ^= 1;
    assert_int_equal(pwrite(fd, &b, 1, 40), 1);
    close(fd);
    struct part *p = fixture_open(f, f->path);
    assert_int_equal(part_reader_open(p, NULL, &r, NULL), EC_OK);
    part_reader_close(r);
    part_unref(p);
    assert_int_equal(f->corrupt, 0);
    arena_init(&arena, NULL, 0);
    assert_int_equal(
        block_facts_read(&io_real, f->path, &tenant, &arena, &facts, NULL), EC_CORRUPT);
    arena_deinit(&arena);
    f->facts.n_spans = 0; /* nothing is known of it */
    p = fixture_open(f, f->path);
    assert_int_equal(part_reader_open(p, NULL, &r, NULL), EC_CORRUPT);
    part_unref(p);
    head_free(h);
    block_fixture_free(f);
}

static unsigned n_preads;

static ssize_t count_pread(void *ctx, const char *site, int fd, void *p, size_t n, uint64_t off)
{
    n_preads++;
    return io_real.ops->pread(ctx, site, fd, p, n, off);
}

static void test_open__small_pages_come_together(void **state)
{
    (void)state;
    struct block_fixture *f = block_fixture_new();
    struct head *h = fixture_head(1, 2000);
    struct part *head = head_part(h);
    struct io_ops ops = *io_real.ops;
    struct io io = {&ops, io_real.ctx};
    struct part_reader *r;
    const struct part_attr *attrs;
    size_t n, asked = 0;
    ops.pread = count_pread;
    f->io = &io;
    struct part *p = fixture_write(f, &head, 1);
    assert_int_equal(part_reader_open(p, NULL, &r, NULL), EC_OK);
    assert_int_equal(part_attrs(r, &attrs, &n, NULL), EC_OK);
    n_preads = 0;
    for (size_t i = 0; i < n; i++) {
        struct col_view v;
        if (attrs[i].table > TABLE_SCOPES)
            continue;
        assert_int_equal(part_view(r, 0, attrs[i].col, &v, NULL), EC_OK);
        asked++;
    }
    assert_true(asked > 10 && n_preads < asked / 2);
    part_reader_close(r);
    part_unref(p);
    head_free(h);
    block_fixture_free(f);
}

static enum ec stop_at(void *ctx, uint64_t written, struct err *err)
{
    uint64_t *limit = ctx;
    return written >= *limit ? ERR(err, EC_CANCELED, "enough") : EC_OK;
}

static void test_open__pace_can_cancel(void **state)
{
    (void)state;
    struct block_fixture *f = block_fixture_new();
    struct head *h = fixture_head(1, 50);
    struct part_reader *r;
    struct block_facts facts;
    uint64_t dups, limit = 1;
    struct io_stat st;
    snprintf(f->path, sizeof(f->path), "%s/x", f->dir);
    struct block_write_options opt = {
        .io = &io_real, .path = f->path, .tenant = STR("t"), .pace = stop_at, .pace_ctx = &limit};
    assert_int_equal(part_reader_open(head_part(h), NULL, &r, NULL), EC_OK);
    assert_int_equal(block_write(&opt, &r, 1, &facts, &dups, NULL), EC_CANCELED);
    assert_int_equal(io_stat(&io_real, "test", f->path, &st, NULL), EC_NOT_FOUND);
    part_reader_close(r);
    head_free(h);
    block_fixture_free(f);
}

static void test_open__traces_are_found_by_id_and_ordered(void **state)
{
    (void)state;
    struct block_fixture *f = block_fixture_new();
    struct head *h = fixture_head(2, 9000); /* over a thousand traces: several pages */
    struct part *head = head_part(h), *b = fixture_write(f, &head, 1);
    struct part_reader *r;
    struct part_info info;
    struct part_trace t, prev = {0};
    uint32_t found, rows = 0;
    assert_int_equal(part_reader_open(b, NULL, &r, NULL), EC_OK);
    part_info(r, &info);
    assert_true(info.n_traces > 1024);
    for (uint32_t i = 0; i < info.n_traces; i++) {
        assert_int_equal(part_trace(r, i, &t, NULL), EC_OK);
        assert_int_equal(part_trace_find(r, &t.id, &found, NULL), EC_OK);
        assert_int_equal(found, i);
        assert_true(i == 0 || t.start_ns >= prev.start_ns);
        assert_int_equal(t.row_first, rows);
        rows += t.n_rows;
        struct trace_id near = t.id;
        near.b[15] ^= 0x80; /* not an id of the fixture */
        near.b[8] ^= 0x40;
        assert_int_equal(part_trace_find(r, &near, &found, NULL), EC_OK);
        assert_int_equal(found, PART_NONE);
        prev = t;
    }
    assert_int_equal(rows, info.n_rows);
    static const struct trace_id low = {{0}},
                                 high = {{255, 255, 255, 255, 255, 255, 255, 255, 255}};
    assert_int_equal(part_trace_find(r, &low, &found, NULL), EC_OK);
    assert_int_equal(found, PART_NONE);
    assert_int_equal(part_trace_find(r, &high, &found, NULL), EC_OK);
    assert_int_equal(found, PART_NONE);
    /* Lookups alone read ids and traces, not columns. */
    assert_true(part_reader_bytes(r) < f->facts.file_bytes / 4);
    part_reader_close(r);
    part_unref(b);
    head_free(h);
    block_fixture_free(f);
}

static void test_open__absent_columns_and_values(void **state)
{
    (void)state;
    struct block_fixture *f = block_fixture_new();
    struct head *h = fixture_head(3, 200);
    struct part *head = head_part(h), *b = fixture_write(f, &head, 1);
    struct part_reader *r;
    struct col_view v;
    const struct part_attr *attrs[VALUE_TYPES];
    assert_int_equal(part_reader_open(b, NULL, &r, NULL), EC_OK);
    assert_int_equal(part_view(r, 0, 20, &v, NULL), EC_OK); /* no such number */
    assert_int_equal(v.n, 0);
    assert_int_equal(part_view(r, 0, 1000000, &v, NULL), EC_OK);
    assert_int_equal(v.n, 0);
    assert_int_equal(part_attr_find(r, TABLE_SPANS, STR("no.such.key"), attrs, NULL), EC_OK);
    for (int i = 0; i < VALUE_TYPES; i++)
        assert_null(attrs[i]);
    assert_true(part_may_have(r, COL_SPAN_NAME, STR("checkout")));
    assert_false(part_may_have(r, COL_SPAN_NAME, STR("check")));
    assert_false(part_may_have(r, 1000000, STR("x")));
    assert_true(part_may_have(r, COL_SPAN_ID, STR("x"))); /* no strings: perhaps */
    part_reader_close(r);
    part_unref(b);
    head_free(h);
    block_fixture_free(f);
}

/* The cache. */

static struct cached *put(struct block_cache *c, uint64_t key, uint64_t bytes)
{
    struct cached *o = block_cache_alloc(c, bytes, NULL);
    assert_non_null(o);
    return block_cache_add(c, o, 1, key);
}

static void test_cache__keeps_to_its_cap_and_to_pins(void **state)
{
    (void)state;
    struct budget budget;
    budget_init(&budget, NULL, "t", 0);
    struct block_cache *c = block_cache_new(&budget, 100000);
    struct cached *pinned = put(c, 1, 1000);
    for (uint64_t i = 2; i < 1000; i++)
        block_cache_unpin(put(c, i, 1000));
    uint64_t bytes, hits, misses;
    block_cache_stats(c, &bytes, &hits, &misses);
    assert_true(bytes <= 100000 && bytes > 50000);
    assert_true(block_cache_find(c, 1, 1) == pinned); /* not evicted */
    block_cache_unpin(pinned);
    block_cache_unpin(pinned);
    assert_null(block_cache_find(c, 1, 2)); /* long gone */
    struct cached *newest = block_cache_find(c, 1, 999);
    assert_non_null(newest);
    block_cache_unpin(newest);
    /* The same key twice: the first stays. */
    struct cached *a = put(c, 5000, 100), *b = put(c, 5000, 100);
    assert_true(a == b);
    block_cache_unpin(a);
    block_cache_unpin(b);
    block_cache_stats(c, &bytes, &hits, &misses);
    assert_int_equal(hits, 2);
    assert_int_equal(misses, 1);
    block_cache_purge(c, 1);
    assert_int_equal(budget_used(&budget), 0);
    block_cache_free(c);
    budget_deinit(&budget);
}

static void test_cache__what_is_held_stays_and_comes_back(void **state)
{
    enum { N = 700 };
    struct budget budget;
    uint64_t before, used, kept, bytes[N], sum = 0;
    uint8_t *p[N];
    (void)state;
    slab_stats(&before, &kept);
    budget_init(&budget, NULL, "cache", 0);
    struct block_cache *c = block_cache_new(&budget, 64 << 20);
    for (unsigned i = 0; i < N; i++) {
        bytes[i] = 1000 + i * 40;
        p[i] = block_cache_hold(c, bytes[i]);
        assert_non_null(p[i]);
        memset(p[i], (int)i, bytes[i]);
        sum += bytes[i];
    }
    assert_int_equal(budget_used(&budget), sum);
    assert_null(block_cache_hold(c, 8 << 20)); /* more than a quarter in all */
    slab_stats(&used, &kept);
    assert_true(used - before <= sum + (2 << 20));
    for (unsigned round = 0; round < 3; round++) { /* in no order */
        for (unsigned i = round; i < N; i += 3) {
            for (uint64_t k = 0; k < bytes[i]; k++)
                if (p[i][k] != (uint8_t)i)
                    fail_msg("piece %u is another one's, too", i);
            block_cache_let_go(c, p[i], bytes[i]);
        }
    }
    block_cache_let_go(c, NULL, 1);
    assert_int_equal(budget_used(&budget), 0);
    slab_stats(&used, &kept);
    assert_int_equal(used, before);
    block_cache_free(c);
    budget_deinit(&budget);
}

static void test_cache__what_does_not_fit_is_private(void **state)
{
    (void)state;
    struct budget cache_budget, reader;
    budget_init(&cache_budget, NULL, "cache", 0);
    budget_init(&reader, NULL, "reader", 5000);
    struct block_cache *c = block_cache_new(&cache_budget, 1000);
    struct cached *all = put(c, 1, 1000); /* pinned: nothing can be evicted */
    struct cached *o = block_cache_alloc(c, 4000, &reader);
    assert_non_null(o);
    assert_true(block_cache_add(c, o, 1, 2) == o);
    assert_null(block_cache_find(c, 1, 2));
    assert_int_equal(budget_used(&reader), 4000);
    assert_null(block_cache_alloc(c, 1001, &reader)); /* neither can pay */
    block_cache_unpin(o);
    assert_int_equal(budget_used(&reader), 0);
    o = block_cache_alloc(c, 4000, &reader);
    block_cache_discard(o);
    assert_int_equal(budget_used(&reader), 0);
    o = block_cache_alloc(c, 200, &reader);
    assert_int_equal(budget_used(&reader), 200);
    block_cache_discard(o);
    block_cache_unpin(all);
    o = block_cache_alloc(c, 200, &reader); /* there is room again, though there was none */
    assert_int_equal(budget_used(&reader), 0);
    block_cache_discard(o);
    block_cache_free(c);
    budget_deinit(&reader);
    budget_deinit(&cache_budget);
}

/* Rather than that a query fails, all that nobody uses goes, for an object of any size. */
static void test_cache__gives_way_before_a_query_fails(void **state)
{
    (void)state;
    struct budget cache_budget, others, reader;
    budget_init(&cache_budget, NULL, "cache", 0);
    budget_init(&others, NULL, "queries", 6000);
    budget_init(&reader, &others, "reader", 0);
    struct block_cache *c = block_cache_new(&cache_budget, 10000);
    struct cached *pinned = put(c, 1, 1000);
    for (uint64_t i = 2; i <= 10; i++)
        block_cache_unpin(put(c, i, 1000));
    struct cached *o = block_cache_alloc(c, 6000, &reader); /* too large for the cache */
    assert_int_equal(budget_used(&reader), 6000);
    assert_true(budget_crowded(&reader)); /* that may be others' doing */
    struct cached *large = block_cache_alloc(c, 8000, &reader);
    assert_non_null(large);
    assert_true(large->payer != &reader);
    assert_null(block_cache_alloc(c, 9001, &reader)); /* what is pinned stays */
    block_cache_discard(large);
    struct cached *again = block_cache_alloc(c, 9000, &reader); /* though there was no room */
    assert_non_null(again);
    assert_true(block_cache_find(c, 1, 1) == pinned);
    block_cache_unpin(pinned);
    block_cache_discard(again);
    block_cache_discard(o);
    block_cache_unpin(pinned);
    block_cache_free(c);
    budget_deinit(&reader);
    budget_deinit(&others);
    budget_deinit(&cache_budget);
}

struct reader_thread {
    struct part *part;
    const struct part_texts *want;
    bool same;
};

static void *reader_run(void *arg)
{
    struct reader_thread *t = arg;
    t->same = true;
    for (int i = 0; i < 5 && t->same; i++) {
        struct part_texts got = part_texts_read(t->part);
        t->same = part_texts_same_set(t->want, &got);
        part_texts_free(&got);
    }
    return NULL;
}

/* Many threads, one block, a cache that must evict all the time: answers never change. */
static void test_cache__threads_share_and_evict(void **state)
{
    (void)state;
    struct block_fixture *f = block_fixture_new();
    struct head *h = fixture_head(4, 400);
    struct part *head = head_part(h);
    block_cache_free(f->cache);
    f->cache = block_cache_new(&f->budget, 40000);
    struct part *b = fixture_write(f, &head, 1);
    struct part_texts want = part_texts_read(head);
    pthread_t threads[4];
    struct reader_thread t[4];
    for (int i = 0; i < 4; i++) {
        t[i] = (struct reader_thread){b, &want, false};
        assert_int_equal(pthread_create(&threads[i], NULL, reader_run, &t[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_true(t[i].same);
    }
    part_texts_free(&want);
    part_unref(b);
    head_free(h);
    block_fixture_free(f);
}

static void test_dump__names_every_column(void **state)
{
    (void)state;
    struct block_fixture *f = block_fixture_new();
    struct head *h = fixture_head(5, 100);
    struct part *head = head_part(h), *b = fixture_write(f, &head, 1);
    struct buf out = BUF_INIT;
    assert_int_equal(block_dump(&io_real, f->path, &out, NULL), EC_OK);
    assert_true(str_has(buf_str(&out), STR("COL_SPAN_NAME")));
    assert_true(str_has(buf_str(&out), STR("span.k1")));
    assert_true(str_has(buf_str(&out), STR("tenant \"tenant\"")));
    buf_deinit(&out);
    part_unref(b);
    head_free(h);
    block_fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open__facts_come_back),
        cmocka_unit_test(test_open__a_large_root_is_read_apart),
        cmocka_unit_test(test_open__a_header_is_for_those_who_know_nothing),
        cmocka_unit_test(test_open__small_pages_come_together),
        cmocka_unit_test(test_open__pace_can_cancel),
        cmocka_unit_test(test_open__traces_are_found_by_id_and_ordered),
        cmocka_unit_test(test_open__absent_columns_and_values),
        cmocka_unit_test(test_cache__keeps_to_its_cap_and_to_pins),
        cmocka_unit_test(test_cache__what_is_held_stays_and_comes_back),
        cmocka_unit_test(test_cache__what_does_not_fit_is_private),
        cmocka_unit_test(test_cache__gives_way_before_a_query_fails),
        cmocka_unit_test(test_cache__threads_share_and_evict),
        cmocka_unit_test(test_dump__names_every_column),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
