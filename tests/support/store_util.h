/* SPDX-License-Identifier: Apache-2.0
 * A store in a fresh directory for tests, and requests whose contents are a formula of
 * (tenant, request number), so that a checker needs no copy of what was sent.
 *
 * A request has n spans; request r of a tenant puts them into trace r / 2, so traces have parts in
 * two requests. Everything a span holds follows from its id, and the id from (tenant, r, i). */
#pragma once

#include <stdatomic.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "fault_io.h"
#include "model/otlp_write.h"
#include "storage/span_read.h"
#include "storage/store/store_private.h"
#include "tmpdir.h"
#include "unit.h"

struct test_store {
    char *dir, *wal_dir, *data_dir;
    struct budget budget;
    struct pool *pool;
    struct store_options opt;
    struct store *s;
    uint64_t base_ns; /* start of the spans */
};

/* In a directory that exists; it is removed by test_store_deinit. */
static inline void test_store_init_at(struct test_store *t, const char *dir, struct io *io)
{
    struct err err;
    log_level_min = getenv("TEST_LOG") != NULL ? LOG_DEBUG : LOG_ERROR + 1;
    *t = (struct test_store){.dir = xstrdup(dir)};
    t->wal_dir = path_printf("%s/wal", t->dir);
    t->data_dir = path_printf("%s/data", t->dir);
    budget_init(&t->budget, NULL, "test", 0);
    assert_ok(pool_new(&(struct pool_options){.n_normal = 2, .n_low = 1}, &t->pool, &err), err);
    t->base_ns = (uint64_t)clock_wall_ns() - 60ull * NS_PER_S;
    t->opt = (struct store_options){.io = io,
        .wal_dir = t->wal_dir,
        .data_dir = t->data_dir,
        .budget = &t->budget,
        .pool = t->pool,
        .min_free_bytes = 1,
        .wal_compress_level = -1,
        /* Tests say when: nothing happens by itself. */
        .check_period_ns = 3600 * NS_PER_S,
        .compaction_period_ns = 3600 * NS_PER_S,
        .retention_period_ns = 3600 * NS_PER_S};
}

static inline void test_store_init(struct test_store *t, struct io *io)
{
    char *dir = tmpdir_new();
    test_store_init_at(t, dir, io);
    free(dir);
}

static inline void test_store_open(struct test_store *t)
{
    struct err err;
    assert_ok(store_open(&t->opt, &t->s, &err), err);
}

static inline void test_store_close(struct test_store *t, bool flush)
{
    struct err err;
    assert_ok(store_close(TAKE_PTR(t->s), flush, &err), err);
}

/* What a crash would leave. */
static inline void test_store_crash(struct test_store *t)
{
    store_abandon(TAKE_PTR(t->s));
}

static inline void test_store_deinit(struct test_store *t)
{
    if (t->s != NULL)
        store_abandon(t->s);
    pool_free(t->pool);
    budget_deinit(&t->budget);
    free(t->wal_dir);
    free(t->data_dir);
    tmpdir_free(t->dir);
}

/* ---- requests ---- */

static inline uint64_t test_span_id(struct str tenant, uint32_t r, uint32_t i)
{
    return (hash64(tenant.p, tenant.n) << 48) | ((uint64_t)r << 16) | (i + 1);
}

static inline struct trace_id test_trace_id(struct str tenant, uint32_t r)
{
    struct trace_id id;
    uint64_t h = hash64_seed(tenant.p, tenant.n, r / 2);
    put_u64be(id.b, h | 1);
    put_u64be(id.b + 8, hash_mix(h) | 1);
    return id;
}

static inline uint64_t test_span_start(const struct test_store *t, uint64_t id)
{
    return t->base_ns + (id >> 16 & 0xffffffff) * 1000000u + (id & 0xffff) * 1000u;
}

static inline void test_request(
    const struct test_store *t, struct str tenant, uint32_t r, uint32_t n, struct buf *b)
{
    char raw[16], name[32];
    struct trace_id trace = test_trace_id(tenant, r);
    size_t rs = pb_begin(b, 1);
    size_t resource = pb_begin(b, 1);
    pb_put_attr(b, 1, STR("service.name"), &(struct value){.type = VALUE_STR, .s = tenant});
    pb_end(b, resource);
    size_t ss = pb_begin(b, 2);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t id = test_span_id(tenant, r, i);
        size_t span = pb_begin(b, 2);
        pb_put_bytes(b, 1, str_n((const char *)trace.b, 16));
        put_u64be(raw, id);
        pb_put_bytes(b, 2, str_n(raw, 8));
        int len = snprintf(name, sizeof(name), "op-%u", (unsigned)(id % 17));
        pb_put_bytes(b, 5, str_n(name, (size_t)len));
        pb_put_varint(b, 6, 2);
        pb_put_fixed64(b, 7, test_span_start(t, id));
        pb_put_fixed64(b, 8, test_span_start(t, id) + 500);
        pb_put_attr(b, 9, STR("id"), &(struct value){.type = VALUE_INT, .i = (int64_t)id});
        pb_put_attr(b, 9, STR("who"), &(struct value){.type = VALUE_STR, .s = tenant});
        pb_end(b, span);
    }
    pb_end(b, ss);
    pb_end(b, rs);
}

struct test_ack {
    _Atomic int calls;
    enum ec ec;
};

static inline void test_ack_done(void *arg, enum ec ec, const struct err *err)
{
    struct test_ack *a = arg;
    (void)err;
    a->ec = ec;
    atomic_fetch_add(&a->calls, 1);
}

static inline void test_sleep_ms(long ms)
{
    usleep((useconds_t)ms * 1000);
}

static inline enum ec test_ack_wait(struct test_ack *a)
{
    for (int i = 0; i < 400000 && atomic_load(&a->calls) == 0; i++)
        usleep(50);
    assert_int_equal(atomic_load(&a->calls), 1);
    return a->ec;
}

/* Hands the request in and returns; `a` tells the outcome if EC_OK. */
static inline enum ec test_append_async(struct test_store *t, struct str tenant, uint32_t r,
    uint32_t n, struct test_ack *a, struct err *err)
{
    struct buf b = BUF_INIT;
    struct arena arena;
    struct batch batch;
    arena_init(&arena, NULL, 0);
    test_request(t, tenant, r, n, &b);
    enum ec ec = batch_decode(&batch, buf_bytes(&b), &(struct batch_limits){0}, &arena, err);
    assert_int_equal(ec, EC_OK);
    ec = store_append(t->s, tenant, &batch, test_ack_done, a, err);
    arena_deinit(&arena);
    buf_deinit(&b);
    return ec;
}

/* EC_OK: acked. */
static inline enum ec test_append(struct test_store *t, struct str tenant, uint32_t r, uint32_t n)
{
    struct test_ack a = {0};
    struct err err;
    enum ec ec = test_append_async(t, tenant, r, n, &a, &err);
    return ec == EC_OK ? test_ack_wait(&a) : ec;
}

/* ---- what the store answers ---- */

struct test_seen {
    VEC(uint64_t) ids; /* every row of every part, sorted */
    size_t n_parts, n_heads;
};

static inline int test_u64_cmp(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Each span must be what the formula says, of this tenant. */
static inline void test_spans_check(
    const struct test_store *t, struct str tenant, const struct read_span *spans, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        const struct read_span *s = &spans[i];
        char name[32];
        snprintf(name, sizeof(name), "op-%u", (unsigned)(s->span_id % 17));
        assert_true(str_eqz(s->name, name));
        struct trace_id id = test_trace_id(tenant, (uint32_t)(s->span_id >> 16));
        assert_true(trace_id_eq(&s->trace_id, &id));
        assert_int_equal(s->start_ns, test_span_start(t, s->span_id));
        assert_int_equal(s->end_ns - s->start_ns, 500);
        assert_int_equal(s->n_attrs, 2);
        assert_int_equal(s->attrs[0].value.i, (int64_t)s->span_id);
        assert_true(str_eq(s->attrs[1].value.s, tenant));
    }
}

static inline void test_part_see(
    const struct test_store *t, struct str tenant, struct part *part, struct test_seen *seen)
{
    struct part_reader *r;
    struct part_info info;
    struct arena arena;
    struct err err;
    assert_ok(part_reader_open(part, NULL, &r, &err), err);
    part_info(r, &info);
    arena_init(&arena, NULL, 0);
    if (info.n_rows > 0) {
        uint32_t *rows = ARENA_ARRAY(&arena, info.n_rows, uint32_t);
        struct read_span *spans = ARENA_ARRAY(&arena, info.n_rows, struct read_span);
        for (uint32_t i = 0; i < info.n_rows; i++)
            rows[i] = i;
        assert_ok(span_read(r, rows, info.n_rows, &arena, spans, &err), err);
        test_spans_check(t, tenant, spans, info.n_rows);
        for (uint32_t i = 0; i < info.n_rows; i++)
            VEC_PUSH(&seen->ids, spans[i].span_id);
    }
    arena_deinit(&arena);
    part_reader_close(r);
}

static inline void test_see(const struct test_store *t, struct str tenant, struct test_seen *seen)
{
    struct snapshot snap;
    struct err err;
    *seen = (struct test_seen){0};
    assert_ok(store_snapshot(t->s, tenant, &snap, &err), err);
    for (size_t i = 0; i < snap.n; i++) {
        assert_int_equal(snap.facts[i].is_head, snap.parts[i]->is_head);
        seen->n_heads += snap.facts[i].is_head;
        test_part_see(t, tenant, snap.parts[i], seen);
    }
    seen->n_parts = snap.n;
    snapshot_release(&snap);
    if (seen->ids.n > 1)
        qsort(seen->ids.p, seen->ids.n, sizeof(*seen->ids.p), test_u64_cmp);
}

static inline void test_seen_free(struct test_seen *seen)
{
    VEC_FREE(&seen->ids);
}

static inline uint32_t test_seen_count(const struct test_seen *seen, uint64_t id)
{
    uint32_t n = 0;
    for (size_t lo = 0, hi = seen->ids.n; lo < hi;) {
        size_t mid = (lo + hi) / 2;
        if (seen->ids.p[mid] < id)
            lo = mid + 1;
        else if (seen->ids.p[mid] > id)
            hi = mid;
        else {
            for (n = 1, lo = mid; lo > 0 && seen->ids.p[lo - 1] == id; lo--)
                n++;
            for (; mid + 1 < seen->ids.n && seen->ids.p[mid + 1] == id; mid++)
                n++;
            break;
        }
    }
    return n;
}

/* Requests first..first+n_requests-1 of the tenant are there, each span exactly once, and nothing
 * else. */
static inline void test_expect(
    const struct test_store *t, struct str tenant, uint32_t first, uint32_t n_requests, uint32_t n)
{
    struct test_seen seen;
    test_see(t, tenant, &seen);
    for (uint32_t r = first; r < first + n_requests; r++)
        for (uint32_t i = 0; i < n; i++)
            if (test_seen_count(&seen, test_span_id(tenant, r, i)) != 1)
                fail_msg("request %u span %u is there %u times", r, i,
                    test_seen_count(&seen, test_span_id(tenant, r, i)));
    assert_int_equal(seen.ids.n, (size_t)n_requests * n);
    test_seen_free(&seen);
}

/* By id, through every part of a snapshot; the number of its spans. */
static inline uint32_t test_trace_spans(
    const struct test_store *t, struct str tenant, const struct trace_id *id)
{
    struct snapshot snap;
    struct err err;
    uint32_t n = 0;
    assert_ok(store_snapshot(t->s, tenant, &snap, &err), err);
    for (size_t i = 0; i < snap.n; i++) {
        struct part_reader *r;
        struct part_trace trace;
        uint32_t at;
        assert_ok(part_reader_open(snap.parts[i], NULL, &r, &err), err);
        assert_ok(part_trace_find(r, id, &at, &err), err);
        if (at != PART_NONE) {
            assert_ok(part_trace(r, at, &trace, &err), err);
            n += trace.n_rows;
        }
        part_reader_close(r);
    }
    snapshot_release(&snap);
    return n;
}

/* Counts files of a directory below the store whose name ends like this. */
static inline size_t test_files(const struct test_store *t, struct str tenant, const char *suffix)
{
    char name[TENANT_NAME_MAX];
    struct io_names names;
    size_t n = 0;
    (void)t;
    tenant_name_encode(name, tenant);
    CLEANUP(freep) char *dir = path_printf("%s/@store/%s", t->data_dir, name);
    if (io_list(&io_real, "test", dir, &names, NULL) != EC_OK)
        return 0;
    for (size_t i = 0; i < names.n; i++)
        n += str_ends(str_from(names.p[i]), str_from(suffix));
    io_names_free(&names);
    return n;
}
