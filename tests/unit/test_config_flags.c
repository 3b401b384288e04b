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

/* Some of them are worth their effect, all must be known: a unit file brings them. */
static void test_flags__all_of_tempo_are_known(void **state)
{
    char line[256], name[160], kind[16], arg[200];
    unsigned n = 0;
    FILE *f = fopen(TESTS_DIR "/golden/config/tempo-3.0.3-flags.list", "re");
    (void)state;
    assert_non_null(f);
    while (fgets(line, sizeof(line), f) != NULL) {
        if (line[0] == '#' || sscanf(line, "%159s %15s", name, kind) != 2)
            continue;
        bool alone = strcmp(kind, "bool") == 0;
        const char *value = strcmp(kind, "duration") == 0 ? "72h"
                            : strcmp(kind, "float") == 0  ? "1.5"
                                                          : "1";
        struct loaded l;
        snprintf(arg, sizeof(arg), "-%s", name);
        /* What follows is parsed as a flag again: a wrong idea of who takes a word shows. */
        if (alone)
            LOAD(&l, LOCAL, arg, "-nope");
        else
            LOAD(&l, LOCAL, arg, value, "-nope");
        if (strcmp(name, "version") != 0 && strstr(err_msg(&l.err), "defined: -nope") == NULL)
            fail_msg("-%s %s: %s", name, kind, err_msg(&l.err));
        loaded_free(&l);
        n++;
    }
    fclose(f);
    assert_in_range(n, 200, 300);
}

static void test_flags__compaction_of_3_0(void **state)
{
    struct loaded l;
    (void)state;
    LOAD(&l, LOCAL, "-backend-worker.compaction.block-retention=72h",
        "-live-store.partition-ring.consul.consistent-reads", "-generatorstore", "memberlist",
        "-compactor.compaction.compaction.compaction-window=30m");
    assert_loads(&l);
    assert_int_equal(l.c->retention, 72 * 3600 * 1000000000LL);
    assert_int_equal(l.c->compaction_window, 1800 * 1000000000LL);
    loaded_free(&l);
    ASSERT_FAILS(2, "flag provided but not defined: -generatorfoo", NULL, "-generatorfoo=1");
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
        cmocka_unit_test(test_flags__all_of_tempo_are_known),
        cmocka_unit_test(test_flags__compaction_of_3_0),
        cmocka_unit_test(test_flags__verify_may_be_bare),
        cmocka_unit_test(test_flags__help_version_and_health_load_nothing),
        cmocka_unit_test(test_flags__tempo_2_retention_beats_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
