/* SPDX-License-Identifier: Apache-2.0
 * The per-tenant overrides file. */
#include "config_util.h"

#define HOUR (3600 * 1000000000LL)

struct tenants {
    struct loaded l;
    struct arena arena;
    struct config_tenant *p;
    size_t n;
    uint64_t hash;
    enum ec ec;
    struct err err;
};

static void load_tenants(
    struct tenants *t, const char *main_yaml, const char *overrides, const char *flag)
{
    char path[300], yaml[600], arg[340];
    char *dir = tmpdir_new();

    memset(t, 0, sizeof(*t));
    snprintf(path, sizeof(path), "%s/o.yaml", dir);
    write_text(path, overrides, strlen(overrides));
    snprintf(yaml, sizeof(yaml), LOCAL "%s", main_yaml);
    snprintf(arg, sizeof(arg), "-config.per-user-override-config=%s", path);
    LOAD(&t->l, yaml, arg, flag);
    assert_loads(&t->l);
    assert_string_equal(t->l.c->overrides_file, path);
    arena_init(&t->arena, NULL, 0);
    t->ec = config_overrides_load(t->l.c, 0, &t->arena, &t->p, &t->n, &t->hash, &t->err);
    if (t->ec == EC_OK) { /* an unchanged file is not parsed again */
        struct config_tenant *p;
        size_t n = 99;
        uint64_t hash;
        assert_int_equal(
            config_overrides_load(t->l.c, t->hash, &t->arena, &p, &n, &hash, NULL), EC_OK);
        assert_int_equal(n, 0);
        assert_int_equal(hash, t->hash);
    }
    tmpdir_free(dir);
}

static void tenants_free(struct tenants *t)
{
    arena_deinit(&t->arena);
    loaded_free(&t->l);
}

static void assert_refused(const char *overrides, const char *part)
{
    struct tenants t;
    load_tenants(&t, "", overrides, NULL);
    assert_int_not_equal(t.ec, EC_OK);
    assert_has(err_msg(&t.err), part);
    assert_has(err_msg(&t.err), "failed to load runtime config");
    tenants_free(&t);
}

static void test_overrides__scoped_entry_replaces_the_defaults(void **state)
{
    struct tenants t;
    (void)state;
    load_tenants(&t,
        "overrides: {defaults: {ingestion: {rate_strategy: global}, read: {max_condition_groups_per_tag_query: 7}}}\n",
        "overrides:\n"
        "  a:\n"
        "    ingestion: {rate_limit_bytes: 5, burst_size_bytes: 6, max_traces_per_user: 8, retry_info_enabled: true}\n"
        "    read: {max_search_duration: 2d, max_condition_groups_per_tag_query: 99}\n"
        "    compaction: {block_retention: 1w2d, compaction_disabled: true, max_bytes: 11}\n"
        "    global: {max_bytes_per_trace: 12}\n"
        "  \"*\": {ingestion: {rate_limit_bytes: 1, burst_size_bytes: 1}}\n",
        NULL);
    assert_int_equal(t.ec, EC_OK);
    assert_int_equal(t.n, 2);
    assert_true(str_eqz(t.p[0].tenant, "a"));
    const struct config_limits *a = &t.p[0].limits;
    assert_int_equal(a->rate_limit_bytes, 5);
    assert_int_equal(a->burst_size_bytes, 6);
    assert_int_equal(a->max_traces_per_user, 8);
    assert_true(a->retry_info_enabled);
    assert_int_equal(a->max_search_duration, 48 * HOUR);
    assert_int_equal(a->block_retention, 9 * 24 * HOUR);
    assert_true(a->compaction_disabled);
    assert_int_equal(a->compaction_max_bytes, 11);
    assert_int_equal(a->max_bytes_per_trace, 12);
    /* always from the defaults */
    assert_true(a->rate_global);
    assert_int_equal(a->max_condition_groups_per_tag_query, 7);
    /* unset: zero, not the default */
    assert_int_equal(a->max_bytes_per_tag_values_query, 0);
    assert_true(str_eqz(t.p[1].tenant, "*"));
    assert_int_equal(t.p[1].limits.max_traces_per_user, 0);
    assert_null(t.p[0].warning);
    assert_false(t.p[1].limits.retry_info_enabled);
    tenants_free(&t);
}

static void test_overrides__flat_entries(void **state)
{
    struct tenants t;
    (void)state;
    load_tenants(&t, "",
        "overrides:\n  a: {ingestion_rate_limit_bytes: 5, ingestion_burst_size_bytes: 6, max_bytes_per_trace: 7,\n"
        "      block_retention: 3d, metrics_generator_processors: [service-graphs], max_search_duration: 1h}\n"
        "  b: {ingestion: {rate_limit_bytes: 9}}\n",
        NULL);
    assert_int_equal(t.ec, EC_OK);
    assert_int_equal(t.n, 2);
    assert_int_equal(t.p[0].limits.rate_limit_bytes, 5);
    assert_int_equal(t.p[0].limits.burst_size_bytes, 6);
    assert_int_equal(t.p[0].limits.max_bytes_per_trace, 7);
    assert_int_equal(t.p[0].limits.block_retention, 72 * HOUR);
    assert_int_equal(t.p[0].limits.max_search_duration, HOUR);
    assert_int_equal(t.p[1].limits.rate_limit_bytes, 9);
    assert_has(t.p[1].warning, "can ingest nothing"); /* no burst */
    tenants_free(&t);
}

static void test_overrides__inherit_defaults(void **state)
{
    struct tenants t;
    (void)state;
    load_tenants(&t,
        "overrides: {inherit_defaults: true, defaults: {global: {max_bytes_per_trace: 77}}}\n",
        "overrides: {a: {ingestion: {burst_size_bytes: 5}}, b: }\n", NULL);
    assert_int_equal(t.ec, EC_OK);
    assert_int_equal(t.p[0].limits.burst_size_bytes, 5);
    assert_int_equal(t.p[0].limits.rate_limit_bytes, 30000000);
    assert_int_equal(t.p[0].limits.max_bytes_per_trace, 77);
    assert_int_equal(t.p[1].limits.burst_size_bytes, 30000000);
    assert_null(t.p[1].warning);
    tenants_free(&t);
}

static void test_overrides__empty_files(void **state)
{
    static const char *const texts[] = {
        "", "overrides: {}\n", "overrides:\n", "# nothing\n", "{}\n"};
    struct tenants t;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        load_tenants(&t, "", texts[i], NULL);
        assert_int_equal(t.ec, EC_OK);
        assert_int_equal(t.n, 0);
        tenants_free(&t);
    }
}

static void test_overrides__mistakes(void **state)
{
    (void)state;
    assert_refused("overrides:\n  a:\n    ingestion: {rate_limt_bytes: 1}\n",
        "line 3: field rate_limt_bytes not found in type overrides.IngestionOverrides hint: did you mean \"rate_limit_bytes\"?");
    assert_refused("overrides: {a: {zz: 1}}\n", "unknown extension key \"zz\"");
    assert_refused("overrides: {a: {max_traces_per_user: 1, max_bytes_per_trace: 1, zz: 1}}\n",
        "field zz not found in type overrides.legacyConfig");
    assert_refused("overrides: {a: {compaction: {block_retention: 5}}}\n",
        "not a valid duration string: \"5\"");
    assert_refused("overrides: {a: {ingestion: {rate_limit_bytes: -5}}}\n", "must not be negative");
    assert_refused("overrides: {a: {}, a: {}}\n", "already set");
    assert_refused("overides: {a: {}}\n", "field overides not found");
    assert_refused("overrides: [a]\n", "cannot unmarshal");
    assert_refused("[a]\n", "cannot unmarshal");
    assert_refused("overrides: {a: 5}\n", "cannot unmarshal !!int `5`");
    assert_refused("overrides: {a: b: c}\n", "line 1");
}

static void test_overrides__all_entries_are_checked(void **state)
{
    struct tenants t;
    (void)state;
    load_tenants(&t, "", "overrides:\n  a: {zz: 1}\n  b: {global: {yy: 1}}\n", NULL);
    assert_int_equal(t.ec, EC_INVALID);
    assert_has(err_msg(&t.err), "zz");
    assert_has(err_msg(&t.err), "field yy not found");
    tenants_free(&t);
}

static void test_overrides__missing_file(void **state)
{
    struct loaded l;
    struct config_tenant *p;
    struct arena a;
    struct err err = {0};
    size_t n;
    uint64_t hash;
    (void)state;
    LOAD(&l, LOCAL "overrides: {per_tenant_override_config: /nonexistent/o.yaml}\n");
    assert_loads(&l);
    arena_init(&a, NULL, 0);
    assert_int_equal(config_overrides_load(l.c, 0, &a, &p, &n, &hash, &err), EC_NOT_FOUND);
    assert_has(err_msg(&err), "open /nonexistent/o.yaml: no such file or directory");
    arena_deinit(&a);
    loaded_free(&l);
}

static void test_overrides__verify_reads_the_file_too(void **state)
{
    struct tenants t;
    (void)state;
    load_tenants(&t, "", "overrides: {a: {ingestion: {rate_limit_bytes: 1}}}\n", "-config.verify");
    assert_true(fails_verify(t.l.c));
    assert_int_equal(count_warnings(t.l.c, "overrides.per_tenant_override_config"), 1);
    tenants_free(&t);
    ASSERT_FAILS(1, "error initialising module: overrides: failed to load runtime config",
        LOCAL "overrides: {per_tenant_override_config: /nonexistent/o.yaml}\n", "-config.verify");
}

static void test_overrides__environment_is_expanded_on_request(void **state)
{
    struct tenants t;
    (void)state;
    setenv("CT_RATE", "123", 1);
    load_tenants(&t, "", "overrides: {a: {ingestion: {rate_limit_bytes: ${CT_RATE}}}}\n",
        "-config.expand-env");
    assert_int_equal(t.ec, EC_OK);
    assert_int_equal(t.p[0].limits.rate_limit_bytes, 123);
    tenants_free(&t);
}

static void test_overrides__memory_is_budgeted(void **state)
{
    struct tenants t;
    struct budget b;
    struct arena a;
    (void)state;
    load_tenants(&t, "", "overrides: {}\n", NULL);
    char *dir = tmpdir_new();
    const char *path = tmpdir_path(dir, "o.yaml");
    write_text(path, "overrides: {a: {}}\n", 19);
    t.l.c->overrides_file = path;
    budget_init(&b, NULL, "test", 16);
    arena_init(&a, &b, 0);
    assert_int_equal(config_overrides_load(t.l.c, 0, &a, &t.p, &t.n, &t.hash, &t.err), EC_LIMIT);
    arena_deinit(&a);
    budget_deinit(&b);
    tmpdir_free(dir);
    tenants_free(&t);
}

static void test_overrides__defaults_of_both_shapes(void **state)
{
    struct loaded l;
    (void)state;
    LOAD(&l, LOCAL
        "overrides: {defaults: {compaction: {block_retention: 7d}, ingestion: {max_attribute_bytes: 5}}}\n");
    assert_loads(&l);
    assert_int_equal(l.c->limits.block_retention, 168 * HOUR);
    assert_int_equal(l.c->limits.max_attribute_bytes, 5);
    assert_int_equal(l.c->limits.rate_limit_bytes, 30000000);
    assert_true(l.c->limits.retry_info_enabled);
    assert_int_equal(l.c->limits.max_condition_groups_per_tag_query, 100);
    assert_int_equal(l.c->overrides_period, 10000000000LL);
    loaded_free(&l);
    LOAD(&l, LOCAL
        "overrides: {ingestion_rate_limit_bytes: 15, ingestion_rate_strategy: global, per_tenant_override_period: 1m}\n");
    assert_loads(&l);
    assert_int_equal(l.c->limits.rate_limit_bytes, 15);
    assert_true(l.c->limits.rate_global);
    assert_int_equal(l.c->limits.burst_size_bytes, 30000000);
    assert_int_equal(l.c->overrides_period, 60000000000LL);
    assert_null(l.c->overrides_file);
    loaded_free(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_overrides__scoped_entry_replaces_the_defaults),
        cmocka_unit_test(test_overrides__flat_entries),
        cmocka_unit_test(test_overrides__inherit_defaults),
        cmocka_unit_test(test_overrides__empty_files),
        cmocka_unit_test(test_overrides__mistakes),
        cmocka_unit_test(test_overrides__all_entries_are_checked),
        cmocka_unit_test(test_overrides__missing_file),
        cmocka_unit_test(test_overrides__verify_reads_the_file_too),
        cmocka_unit_test(test_overrides__environment_is_expanded_on_request),
        cmocka_unit_test(test_overrides__memory_is_budgeted),
        cmocka_unit_test(test_overrides__defaults_of_both_shapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
