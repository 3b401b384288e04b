/* SPDX-License-Identifier: Apache-2.0
 * The command line in Go's syntax. */
#include "config_util.h"

static void test_flags__syntax(void **state)
{
    static const char *const ways[][3] = {{"-server.http-listen-port=3111", NULL},
        {"--server.http-listen-port=3111", NULL}, {"-server.http-listen-port", "3111", NULL},
        {"--server.http-listen-port", "0xc27", NULL}};
    struct loaded l;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
        load_config(&l, LOCAL "server: {http_listen_port: 1}\n", ways[i]);
        assert_loads(&l);
        assert_int_equal(l.c->server.http_listen_port, 3111);
        loaded_free(&l);
    }
}

static void test_flags__booleans_need_an_equals_sign(void **state)
{
    struct loaded l;
    (void)state;
    LOAD(&l, LOCAL, "-multitenancy.enabled");
    assert_loads(&l);
    assert_true(l.c->multitenancy);
    loaded_free(&l);
    LOAD(&l, LOCAL "multitenancy_enabled: true\n", "-multitenancy.enabled=F");
    assert_loads(&l);
    assert_false(l.c->multitenancy);
    loaded_free(&l);
    /* "false" is the first word that is no flag: parsing stops there. */
    LOAD(&l, LOCAL, "-multitenancy.enabled", "false", "-nope");
    assert_loads(&l);
    assert_true(l.c->multitenancy);
    loaded_free(&l);
    ASSERT_FAILS(2, "invalid boolean value \"yes\" for -multitenancy.enabled: parse error", LOCAL,
        "-multitenancy.enabled=yes");
}

static void test_flags__mistakes_exit_2(void **state)
{
    (void)state;
    ASSERT_FAILS(2, "flag provided but not defined: -nope", NULL, "-nope");
    ASSERT_FAILS(2, "flag provided but not defined: -nope", NULL, "--nope=1");
    ASSERT_FAILS(2, "flag provided but not defined: -server.nope", NULL, "-server.nope=1");
    ASSERT_FAILS(2, "flag needs an argument: -target", NULL, "-target");
    ASSERT_FAILS(2, "invalid value \"x\" for flag -server.http-listen-port: parse error", NULL,
        "-server.http-listen-port=x");
    ASSERT_FAILS(2, "invalid value \"7d\" for flag -shutdown-delay: parse error", NULL,
        "-shutdown-delay=7d");
    ASSERT_FAILS(2, "bad flag syntax: ---target", NULL, "---target=all");
    ASSERT_FAILS(2, "bad flag syntax: -=1", NULL, "-=1");
}

static void test_flags__double_dash_ends_them(void **state)
{
    struct loaded l;
    (void)state;
    LOAD(&l, LOCAL, "--", "-nope");
    assert_loads(&l);
    loaded_free(&l);
}

static void test_flags__the_last_one_wins(void **state)
{
    struct loaded l;
    (void)state;
    LOAD(&l, LOCAL, "-log.level=debug", "-log.level=warn");
    assert_loads(&l);
    assert_string_equal(l.c->server.log_level, "warn");
    loaded_free(&l);
}

static void test_flags__operator_and_chart_arguments(void **state)
{
    struct loaded l;
    (void)state;
    LOAD(&l, LOCAL, "-mem-ballast-size-mbs=1024", "-log.level=info", "-config.expand-env=true",
        "-storage.trace.s3.secret_key=s3cr3t", "-storage.trace.s3.access_key=id",
        "-memberlist.join", "nowhere:7946", "-usage-report.enabled=false",
        "-internal-server.enable=true");
    assert_loads(&l);
    assert_true(l.c->expand_env);
    assert_true(l.c->internal_server_on);
    char *text = printed(l.c, CONFIG_PRINT_ALL);
    assert_has(text, "secret_key: '********'");
    assert_null(strstr(text, "s3cr3t"));
    free(text);
    loaded_free(&l);
}

static void test_flags__verify_may_be_bare(void **state)
{
    struct loaded l;
    (void)state;
    LOAD(&l, LOCAL, "-config.verify");
    assert_loads(&l);
    assert_true(l.c->verify);
    loaded_free(&l);
    LOAD(&l, LOCAL, "-config.verify", "-multitenancy.enabled");
    assert_loads(&l);
    assert_true(l.c->verify && l.c->multitenancy);
    loaded_free(&l);
    LOAD(&l, LOCAL, "-config.verify", "false");
    assert_loads(&l);
    assert_false(l.c->verify);
    loaded_free(&l);
    ASSERT_FAILS(
        1, "unknown backend zzz", "storage: {trace: {backend: zzz}}\n", "-config.verify=true");
}

static void test_flags__help_version_and_health_load_nothing(void **state)
{
    struct loaded l;
    (void)state;
    LOAD(&l, "zz: 1\n", "-version");
    assert_loads(&l);
    assert_true(l.c->print_version);
    loaded_free(&l);
    LOAD(&l, NULL, "-help", "-nope");
    assert_loads(&l);
    assert_true(l.c->print_help);
    loaded_free(&l);
    LOAD(&l, NULL, "-health", "-health.url=http://localhost:1/ready");
    assert_loads(&l);
    assert_true(l.c->health);
    assert_string_equal(l.c->health_url, "http://localhost:1/ready");
    loaded_free(&l);
    struct buf b = BUF_INIT;
    config_usage(&b);
    buf_putc(&b, 0);
    assert_has((char *)b.p, "-config.file value");
    buf_deinit(&b);
}

static void test_flags__tempo_2_retention_beats_the_file(void **state)
{
    struct loaded l;
    (void)state;
    LOAD(&l, LOCAL "compactor: {compaction: {block_retention: 100h}}\n",
        "-compactor.compaction.compaction.block-retention=1h");
    assert_loads(&l);
    assert_int_equal(l.c->retention, 3600 * 1000000000LL);
    loaded_free(&l);
    LOAD(&l, NULL, "-compactor.compaction.block-retention=2h"); /* over the built-in default too */
    assert_loads(&l);
    assert_int_equal(l.c->retention, 7200 * 1000000000LL);
    loaded_free(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flags__syntax),
        cmocka_unit_test(test_flags__booleans_need_an_equals_sign),
        cmocka_unit_test(test_flags__mistakes_exit_2),
        cmocka_unit_test(test_flags__double_dash_ends_them),
        cmocka_unit_test(test_flags__the_last_one_wins),
        cmocka_unit_test(test_flags__operator_and_chart_arguments),
        cmocka_unit_test(test_flags__verify_may_be_bare),
        cmocka_unit_test(test_flags__help_version_and_health_load_nothing),
        cmocka_unit_test(test_flags__tempo_2_retention_beats_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
