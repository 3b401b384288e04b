/* SPDX-License-Identifier: Apache-2.0
 * The token bucket and the bytes in flight of a tenant; the table's bound; overrides. */
#include <stdlib.h>
#include <time.h>

#include "../../src/gateway/tenants.h"
#include "base/clock.h"
#include "gateway/overrides.h"
#include "unit.h"

static struct ingest_tenants table;

static int setup(void **state)
{
    struct err err = {0};
    (void)state;
    return ingest_tenants_init(&table, 100, &err) == EC_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    ingest_tenants_deinit(&table);
    return 0;
}

static struct ingest_tenant *get(const char *id)
{
    struct ingest_tenant *t = NULL;
    struct err err = {0};
    assert_ok(ingest_tenants_get(&table, str_from(id), &t, &err), err);
    return t;
}

static void test_rate__burst_then_refill(void **state)
{
    struct ingest_tenant *t = get("a");
    (void)state;
    assert_false(ingest_tenant_take(t, 1001, 1000, 1000)); /* over the burst: never */
    assert_true(ingest_tenant_take(t, 1000, 1000, 1000));  /* the bucket starts full */
    assert_false(ingest_tenant_take(t, 500, 1000, 1000));
    nanosleep(&(struct timespec){.tv_nsec = 550 * NS_PER_MS}, NULL);
    assert_true(ingest_tenant_take(t, 500, 1000, 1000));
    assert_false(ingest_tenant_take(t, 500, 1000, 1000));
}

static void test_rate__zero_refuses_all(void **state)
{
    (void)state;
    assert_false(ingest_tenant_take(get("zero"), 1, 0, 0));
}

static void test_rate__tenants_are_apart(void **state)
{
    (void)state;
    assert_true(ingest_tenant_take(get("x"), 10, 1, 10));
    assert_false(ingest_tenant_take(get("x"), 10, 1, 10));
    assert_true(ingest_tenant_take(get("y"), 10, 1, 10));
}

static void test_inflight__cap(void **state)
{
    struct ingest_tenant *t = get("held");
    (void)state;
    assert_true(ingest_tenant_hold(t, 99, 100));
    assert_true(ingest_tenant_hold(t, 1, 100));
    assert_false(ingest_tenant_hold(t, 1, 100));
    ingest_tenant_release(t, 1);
    assert_true(ingest_tenant_hold(t, 1, 100));
    ingest_tenant_release(t, 100);
    assert_true(ingest_tenant_hold(t, 1000, 100)); /* alone, a large request passes */
    ingest_tenant_release(t, 1000);
}

static void test_table__grows_and_ends(void **state)
{
    struct ingest_tenant *first = get("t0"), *t;
    struct err err = {0};
    char id[16];
    unsigned made = 0;
    (void)state;
    for (unsigned i = 0; i < 200; i++) {
        snprintf(id, sizeof(id), "t%u", i);
        if (ingest_tenants_get(&table, str_from(id), &t, &err) == EC_OK)
            made++;
    }
    assert_int_equal(table.n, 100);
    assert_in_range(made, 90, 100);
    assert_ptr_equal(get("t0"), first); /* entries never move */
    assert_ec(ingest_tenants_get(&table, STR("one-more"), &t, &err), EC_LIMIT);
}

/* ---- overrides ---- */

struct source { /* what the loader answers */
    const char *tenants[4];
    uint64_t rates[4];
    size_t n;
    uint64_t hash;
    bool broken;
    unsigned loads;
};

static enum ec load(void *ctx, uint64_t last_hash, struct arena *arena, struct tenant_entry **ret,
    size_t *ret_n, uint64_t *ret_hash, struct err *err)
{
    struct source *s = ctx;
    s->loads++;
    if (s->broken)
        return ERR(err, EC_INVALID, "line 1: broken");
    *ret_hash = s->hash;
    *ret_n = 0;
    if (s->hash == last_hash)
        return EC_OK;
    struct tenant_entry *e = ARENA_ARRAY(arena, s->n, struct tenant_entry);
    assert_non_null(e);
    for (size_t i = 0; i < s->n; i++)
        e[i] = (struct tenant_entry){.tenant = str_from(s->tenants[i]),
            .from_file = true,
            .limits = {.rate_limit_bytes = s->rates[i], .burst_size_bytes = 1}};
    *ret = e;
    *ret_n = s->n;
    return EC_OK;
}

static uint64_t rate_of(struct overrides *o, const char *tenant)
{
    struct limits l;
    overrides_get(o, str_from(tenant), &l);
    return l.rate_limit_bytes;
}

static void test_overrides__entry_wildcard_defaults_reload(void **state)
{
    struct source s = {.tenants = {"b", "a", "*"}, .rates = {2, 1, 9}, .n = 3, .hash = 1};
    struct overrides_options opt = {
        .defaults = {.rate_limit_bytes = 5}, .load = load, .load_ctx = &s};
    struct overrides *o = NULL;
    struct err err = {0};
    (void)state;
    assert_ok(overrides_new(&opt, &o, &err), err);
    assert_int_equal(rate_of(o, "a"), 1);
    assert_int_equal(rate_of(o, "b"), 2);
    assert_int_equal(rate_of(o, "other"), 9);
    assert_true(overrides_has_own(o, STR("a")));
    assert_false(overrides_has_own(o, STR("other")));

    s.broken = true; /* a broken file keeps the old content */
    overrides_poll(o);
    assert_int_equal(rate_of(o, "a"), 1);

    s = (struct source){.tenants = {"a"}, .rates = {7}, .n = 1, .hash = 2};
    overrides_poll(o);
    assert_int_equal(rate_of(o, "a"), 7);
    assert_int_equal(rate_of(o, "other"), 5); /* no wildcard any more: the defaults */
    overrides_poll(o);                        /* unchanged content changes nothing */
    assert_int_equal(rate_of(o, "a"), 7);
    overrides_free(o);
}

static void test_overrides__broken_at_start_is_fatal(void **state)
{
    struct source s = {.broken = true};
    struct overrides_options opt = {.load = load, .load_ctx = &s};
    struct overrides *o = NULL;
    struct err err = {0};
    (void)state;
    assert_ec(overrides_new(&opt, &o, &err), EC_INVALID);
    assert_null(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_rate__burst_then_refill, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rate__zero_refuses_all, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rate__tenants_are_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(test_inflight__cap, setup, teardown),
        cmocka_unit_test_setup_teardown(test_table__grows_and_ends, setup, teardown),
        cmocka_unit_test(test_overrides__entry_wildcard_defaults_reload),
        cmocka_unit_test(test_overrides__broken_at_start_is_fatal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
