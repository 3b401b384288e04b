/* SPDX-License-Identifier: Apache-2.0
 * Log segments that serve again, seen from the store: a copy that is made meanwhile, a short disk,
 * what is told of their bytes, what a stop leaves. */
#include "storage/backup.h"
#include "store_util.h"

#define TENANT STR("single-tenant")
#define SPANS  20u

static void append_more(struct test_store *t, uint32_t *r, uint32_t n)
{
    for (; n > 0; n--)
        assert_ec(test_append(t, TENANT, (*r)++, SPANS), EC_OK);
}

/* A head is sealed, its log ended, and written as a block after more has come. */
static void turn(struct test_store *t, uint32_t *r, uint32_t n)
{
    struct tenant *tenant = tenant_find(t->s, TENANT);
    pthread_mutex_lock(&tenant->lock);
    atomic_store(&tenant->hot, true);
    tenant_seal(tenant, "test");
    pthread_mutex_unlock(&tenant->lock);
    atomic_store(&tenant->prepare_want, true);
    tenant_unref(tenant);
    prepare_step(t->s);
    append_more(t, r, n);
    flush_some(t->s);
}

static void open_small(struct test_store *t, struct io *io)
{
    test_store_init(t, io);
    t->opt.wal_segment_bytes_min = 32 << 10;
    t->opt.wal_segment_bytes_max = 128 << 10;
    t->opt.wal_compress_level = 0;
    test_store_open(t);
}

static uint64_t spare_bytes(struct test_store *t)
{
    return atomic_load(&t->s->wal_spares.bytes);
}

/* What the running store does while its log is copied: after the nth read of it. */
static struct {
    struct test_store *t;
    uint32_t *r;
    int at;
} meanwhile;

static ssize_t pread_meanwhile(void *ctx, const char *site, int fd, void *p, size_t n, uint64_t off)
{
    if (strcmp(site, "backup.read_log") == 0 && --meanwhile.at == 0)
        for (int i = 0; i < 3; i++)
            turn(meanwhile.t, meanwhile.r, 14);
    return io_real.ops->pread(ctx, site, fd, p, n, off);
}

static void test_recycle__a_copy_never_holds_half_of_two_lives(void **state)
{
    (void)state;
    static const int moments[] = {1, 2, 5, 8, 9, 12, 16};
    unsigned reached = 0;
    for (size_t k = 0; k < ARRAY_LEN(moments); k++) {
        struct test_store t, c;
        struct err err = {0};
        struct backup_result result;
        struct store_health health;
        uint32_t r = 0;
        open_small(&t, NULL);
        append_more(&t, &r, 14);
        for (int i = 0; i < 3; i++)
            turn(&t, &r, 14);
        uint32_t acked = r;
        struct io_ops ops = *io_real.ops;
        ops.pread = pread_meanwhile;
        struct io io = {&ops, io_real.ctx};
        meanwhile.t = &t;
        meanwhile.r = &r;
        meanwhile.at = moments[k];
        test_store_init(&c, NULL);
        CLEANUP(freep) char *to = path_printf("%s/copy", c.dir);
        const struct backup_options opt = {
            .io = &io, .wal_dir = t.wal_dir, .data_dir = t.data_dir, .to = to, .copy_blocks = true};
        assert_ok(backup_run(&opt, &result, &err), err);
        reached += meanwhile.at <= 0;
        c.opt.wal_dir = c.opt.data_dir = to;
        c.base_ns = t.base_ns;
        test_store_open(&c);
        store_health(c.s, &health);
        assert_int_equal(health.recovery.damaged_records + health.recovery.set_aside, 0);
        struct test_seen seen;
        test_see(&c, TENANT, &seen);
        for (uint32_t q = 0; q < acked; q++)
            for (uint32_t i = 0; i < SPANS; i++)
                assert_int_equal(test_seen_count(&seen, test_span_id(TENANT, q, i)), 1);
        test_seen_free(&seen);
        test_store_close(&c, true);
        test_store_deinit(&c);
        test_expect(&t, TENANT, 0, r, SPANS);
        test_store_close(&t, true);
        test_store_deinit(&t);
    }
    assert_true(reached >= 4);
}

static void test_recycle__bytes_are_told_and_a_short_disk_gets_them(void **state)
{
    (void)state;
    struct test_store t;
    struct store_tenant *list;
    struct arena arena;
    struct err err = {0};
    size_t n;
    uint32_t r = 0;
    open_small(&t, NULL);
    append_more(&t, &r, 14);
    turn(&t, &r, 3);
    assert_true(spare_bytes(&t) >= 32 << 10);
    arena_init(&arena, NULL, 0);
    assert_ok(store_tenants(t.s, &arena, &list, &n, &err), err);
    assert_true(list[0].wal_bytes >= spare_bytes(&t) + (32 << 10));
    arena_deinit(&arena);
    t.s->opt.min_free_bytes = UINT64_MAX / 8; /* under twice the floor, whatever the disk has */
    tick_kick(t.s);
    for (int i = 0; i < 500 && spare_bytes(&t) > 0; i++)
        test_sleep_ms(10);
    assert_int_equal(spare_bytes(&t), 0);
    struct tenant *tenant = tenant_find(t.s, TENANT);
    CLEANUP(freep) char *left = path_printf("%s/0000000000000001.wal.tmp", tenant->wal_dir);
    tenant_unref(tenant);
    assert_int_not_equal(access(left, F_OK), 0);
    t.s->opt.min_free_bytes = 1;
    tick_kick(t.s);
    for (int i = 0; i < 500 && atomic_load(&t.s->wal_spares.off); i++)
        test_sleep_ms(10);
    turn(&t, &r, 14);
    turn(&t, &r, 3);
    assert_true(spare_bytes(&t) > 0);
    /* What a kill leaves of all this is nothing to the next start. */
    test_store_crash(&t);
    test_store_open(&t);
    test_expect(&t, TENANT, 0, r, SPANS);
    assert_int_equal(spare_bytes(&t), 0);
    turn(&t, &r, 14);
    turn(&t, &r, 3);
    test_store_close(&t, true);
    assert_int_equal(access(left, F_OK), -1);
    test_store_open(&t);
    struct store_health health;
    store_health(t.s, &health);
    assert_int_equal(health.recovery.records, 0);
    assert_int_equal(health.recovery.segments, 0);
    test_expect(&t, TENANT, 0, r, SPANS);
    test_store_close(&t, true);
    test_store_deinit(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recycle__a_copy_never_holds_half_of_two_lives),
        cmocka_unit_test(test_recycle__bytes_are_told_and_a_short_disk_gets_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
