/* SPDX-License-Identifier: Apache-2.0
 * The key tables themselves: unique names, defaults that parse; config/reference.md is what they
 * say (UPDATE=1 rewrites it), the examples start without a warning that matters. */
#include "config_util.h"
#include "src/config/doc.h"

static void check_block(const struct block *b, const char *path)
{
    assert_non_null(b->go_type);
    for (size_t i = 0; i < b->n; i++) {
        const struct key *k = &b->keys[i];
        char inner[SCHEMA_PATH_MAX], problem[PROBLEM_MAX];
        struct value v;
        struct node n = {.kind = NODE_SCALAR, .plain = true, .s = str_from(k->dflt)};
        snprintf(inner, sizeof(inner), "%s.%s", path, k->name);
        if (schema_key(b, str_from(k->name)) != k)
            fail_msg("%s is there twice", inner);
        if (k->block != NULL) {
            check_block(k->block, inner);
            continue;
        }
        if (k->note == NULL || k->note[0] == 0)
            fail_msg("%s has no note", inner);
        if (k->dflt != NULL && !value_parse((enum key_type)k->type, &n, &v, problem))
            fail_msg("%s: default: %s", inner, problem);
        if (k->type >= KT_STRINGS && k->dflt != NULL)
            fail_msg("%s: a list has no default", inner);
        if (k->target != TARGET_NONE && (k->decision == KEY_N || k->decision == KEY_R))
            if (strncmp(path, ".internal_server", 16) != 0)
                fail_msg("%s: without effect, yet it sets something", inner);
    }
}

static void test_schema__tables_are_sound(void **state)
{
    (void)state;
    check_block(&schema_root, "");
    check_block(&schema_limits_flat, "flat");
    check_block(&schema_otlp, "otlp");
    check_block(&schema_jaeger, "jaeger");
    check_block(&schema_zipkin, "zipkin");
}

static void test_reference__is_current(void **state)
{
    struct buf made = BUF_INIT, stored = BUF_INIT;
    const char *path = TESTS_DIR "/../config/reference.md";
    (void)state;
    config_reference(&made);
    if (getenv("UPDATE") != NULL)
        write_text(path, (const char *)made.p, made.n);
    assert_int_equal(file_read(path, &stored, NULL), EC_OK);
    assert_true(str_eq(buf_str(&made), buf_str(&stored)));
    buf_deinit(&made);
    buf_deinit(&stored);
}

static void test_examples__start_unchanged(void **state)
{
    static const char *const files[] = {"single-binary", "tempo-2.9", "tempo-3.0"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        struct loaded l;
        char arg[400];
        snprintf(arg, sizeof(arg), "-config.file=%s/../config/%s.yaml", TESTS_DIR, files[i]);
        LOAD(&l, NULL, arg);
        assert_loads(&l);
        assert_false(fails_verify(l.c));
        assert_int_equal(l.c->retention, 168 * 3600 * 1000000000LL);
        assert_string_equal(l.c->receivers[RECEIVER_OTLP_HTTP].p[0].endpoint, "0.0.0.0:4318");
        if (i == 0)
            assert_int_equal(l.c->n_warnings, 0);
        loaded_free(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_schema__tables_are_sound),
        cmocka_unit_test(test_reference__is_current),
        cmocka_unit_test(test_examples__start_unchanged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
