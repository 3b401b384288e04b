/* SPDX-License-Identifier: Apache-2.0
 * span_name_sanitization: tokens, patterns, modes that change, and names made to break it. */
#include "base/hash.h"
#include "base/metric.h"
#include "generator_fixture.h"
#include "src/generator/drain.h"
#include "src/generator/instance.h"
#include "src/generator/span_names.h"

#define CALLS "traces_spanmetrics_calls_total{service=\"a\",span_kind=\"SPAN_KIND_UNSPECIFIED\","

/* ---- tokens ---- */

static void check_cut(const char *name, const char *joined)
{
    struct drain_tokens t;
    struct buf got = BUF_INIT;
    (void)drain_cut(str_from(name), &t);
    for (uint32_t i = 0; i < t.n; i++) {
        size_t at = i == 0 ? 0 : t.end[i - 1];
        buf_printf(&got, "%s" STR_FMT, i == 0 ? "" : "|", (int)(t.end[i] - at), name + at);
    }
    buf_putc(&got, 0);
    assert_string_equal((const char *)got.p, joined);
    buf_deinit(&got);
}

static void test_tokens__runs_ids_and_signs(void **state)
{
    (void)state;
    check_cut("GET /api/users/123", "GET| |/|api|/|users|/|123");
    check_cut("a  \t b", "a|  \t |b");
    check_cut("job_42", "job|_|42");
    check_cut("6cae3d57-f354-4d14-8420-1a2961327100", "6cae3d57-f354-4d14-8420-1a2961327100");
    check_cut("dead-letter", "dead-|letter"); /* looks like an id until it does not */
    check_cut("abcdefg1", "abcdefg1");
    check_cut("q=a%3Db%26c", "q|=|a|%3D|b|%26|c");
    check_cut("50%zz", "50|%|zz");
    check_cut("50%4", "50|%4");
    check_cut("50%", "50|%");
    check_cut("\xe5\x87\xa6\xe7\x90\x86 \xe3\x82\xbf"
              "456",
        "\xe5\x87\xa6\xe7\x90\x86| |\xe3\x82\xbf"
        "456");
    check_cut("a\xe2\x9c\x85"
              "b",
        "a|\xe2\x9c\x85|b");
    check_cut("x\xc2\xa0y", "x|\xc2\xa0|y"); /* a blank */
}

static void test_tokens__bounds(void **state)
{
    struct drain_tokens t;
    char name[DRAIN_NAME_MAX + 2];
    (void)state;
    assert_int_equal(drain_cut(STR(""), &t), DRAIN_TOO_FEW);
    assert_int_equal(drain_cut(STR("GET"), &t), DRAIN_TOO_FEW); /* two with the end */
    assert_int_equal(drain_cut(STR("/a"), &t), DRAIN_CUT);
    assert_int_equal(drain_cut(STR("a/\xff/b"), &t), DRAIN_TOO_FEW);
    memset(name, '/', sizeof(name));
    assert_int_equal(drain_cut(str_n(name, 79), &t), DRAIN_CUT);
    assert_int_equal(drain_cut(str_n(name, 80), &t), DRAIN_TOO_MANY);
    memset(name, 'x', sizeof(name));
    name[1] = '/';
    assert_int_equal(drain_cut(str_n(name, DRAIN_NAME_MAX), &t), DRAIN_CUT);
    assert_int_equal(drain_cut(str_n(name, DRAIN_NAME_MAX + 1), &t), DRAIN_TOO_MANY);
}

static void test_tokens__what_looks_like_data(void **state)
{
    (void)state;
    const char *data[] = {"1", "123", "a1", "6cae3d57-f354", "%3D", "user77", "x123"};
    const char *words[] = {"abc", "users", "v1", "-", "<END>", "face", "api2go", " "};
    for (size_t i = 0; i < ARRAY_LEN(data); i++)
        assert_true(drain_is_data(str_from(data[i])));
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        assert_false(drain_is_data(str_from(words[i])));
}

/* ---- patterns ---- */

static struct str train(struct drain *d, const char *name)
{
    uint32_t tokens;
    return drain_train(d, str_from(name), 0, &tokens);
}

static void check_pattern(struct drain *d, const char *name, const char *pattern)
{
    struct str got = train(d, name);
    if (!str_eqz(got, pattern))
        fail_msg("%s: " STR_FMT ", not %s", name, STR_ARG(got), pattern);
}

static void test_patterns__what_differs_is_cut_out(void **state)
{
    static const char *const names[][4] = {
        {"GET /api/users/123", "GET /api/users/456", "GET /api/users/789", "GET /api/users/<_>"},
        {"POST /api/orders/100/items/1", "POST /api/orders/200/items/2",
            "POST /api/orders/300/items/3", "POST /api/orders/<_>/items/<_>"},
        {"SELECT * FROM users_100", "SELECT * FROM users_200", "SELECT * FROM users_300",
            "SELECT * FROM users_<_>"},
        {"grpc.client/service.Method/123", "grpc.client/service.Method/456",
            "grpc.client/service.Method/789", "grpc.client/service.Method/<_>"},
        {"job 6cae3d57-f354-4d14-8420-1a2961327100", "job b274be36-aa1b-4d14-8420-1a2961327101",
            "job 00000000-0000-4d14-8420-1a2961327102", "job <_>"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct drain *d = drain_new(NULL, SPAN_NAMES_BYTES);
        check_pattern(d, names[i][0], names[i][0]); /* a pattern needs two */
        check_pattern(d, names[i][0], names[i][0]);
        check_pattern(d, names[i][1], names[i][3]);
        check_pattern(d, names[i][2], names[i][3]);
        check_pattern(d, names[i][0], names[i][3]);
        assert_int_equal(drain_patterns(d), 1);
        drain_free(d);
    }
}

static void test_patterns__words_are_kept_apart(void **state)
{
    struct drain *d = drain_new(NULL, SPAN_NAMES_BYTES);
    (void)state;
    check_pattern(d, "GET /api/users", "GET /api/users");
    check_pattern(d, "GET /api/posts", "GET /api/posts");
    check_pattern(d, "PUT /api/posts", "PUT /api/posts");
    check_pattern(d, "GET /users/1/data", "GET /users/1/data");
    check_pattern(d, "GET /users/2/settings", "GET /users/2/settings");
    check_pattern(d, "GET /users/3/data", "GET /users/<_>/data");
    check_pattern(d, "GET /users/4/settings", "GET /users/<_>/settings");
    /* a word where ids were seen joins them, also when the word was there first */
    check_pattern(d, "GET /users/me/data", "GET /users/<_>/data");
    check_pattern(d, "ping", "ping");
    assert_int_equal(drain_events(d, DRAIN_SKIPPED_FEW), 1);
    assert_int_equal(drain_patterns(d), 5);
    drain_free(d);
}

/* A node has a branch for data and one for a word: both are tried. */
static void test_patterns__both_branches_are_tried(void **state)
{
    struct drain *d = drain_new(NULL, SPAN_NAMES_BYTES);
    (void)state;
    check_pattern(d, "op me list", "op me list");
    check_pattern(d, "op 12 drop", "op 12 drop"); /* the branch for data ends elsewhere */
    check_pattern(d, "op me list", "op me list");
    assert_int_equal(drain_patterns(d), 2);
    drain_free(d);
}

/* Past a node's thousand words, words become data. */
static void test_patterns__too_many_words_collapse(void **state)
{
    struct drain *d = drain_new(NULL, SPAN_NAMES_BYTES);
    char name[40];
    (void)state;
    for (int i = 0; i < 3000; i++) {
        snprintf(
            name, sizeof(name), "call %c%c%cx", 'g' + i % 17, 'g' + i / 17 % 17, 'g' + i / 289);
        train(d, name);
    }
    assert_in_range(drain_patterns(d), 900, DRAIN_CHILDREN_MAX);
    check_pattern(d, "call zzzzzz", "call <_>");
    drain_free(d);
}

/* ---- properties ---- */

static uint64_t seed;
static uint32_t draw(uint32_t n)
{
    seed = hash_mix(seed + 0x9e3779b97f4a7c15ULL);
    return (uint32_t)(seed >> 33) % n;
}

static size_t random_name(char *out, unsigned kind)
{
    static const char *const words[] = {"GET", "POST", "api", "users", "orders", "v1", "list"};
    static const char *const signs[] = {"/", " ", ".", "%41", "-", "_", "\xc3\xa9"};
    size_t n = 0;
    unsigned parts = 1 + draw(kind == 0 ? 6 : 40);
    for (unsigned i = 0; i < parts; i++) {
        if (kind == 0 && draw(2) == 0)
            n += (size_t)sprintf(out + n, "%s", words[draw(ARRAY_LEN(words))]);
        else if (kind == 2)
            n += (size_t)sprintf(out + n, "%%%02X", draw(256));
        else
            n += (size_t)sprintf(out + n, "%x%s", draw(1u << (4 * draw(8))), draw(2) ? "g" : "");
        n += (size_t)sprintf(out + n, "%s", signs[draw(ARRAY_LEN(signs))]);
    }
    return n;
}

/* The pattern has the name's tokens, or <_> in their place. */
static void check_covers(struct str pattern, struct str name)
{
    struct drain_tokens t;
    if (drain_cut(name, &t) != DRAIN_CUT) {
        assert_true(str_eq(pattern, name));
        return;
    }
    for (uint32_t i = 0; i < t.n; i++) {
        size_t at = i == 0 ? 0 : t.end[i - 1];
        struct str token = str_n(name.p + at, t.end[i] - at);
        struct str eaten = str_starts(pattern, STR("<_>")) ? STR("<_>") : token;
        assert_true(str_starts(pattern, eaten));
        pattern = str_n(pattern.p + eaten.n, pattern.n - eaten.n);
    }
    assert_int_equal(pattern.n, 0);
}

static void test_property__same_input_same_patterns(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < 3; kind++) {
        /* so small that patterns are evicted all the time: that is part of the answer */
        struct drain *a = drain_new(NULL, 120u << 10), *b = drain_new(NULL, 120u << 10);
        seed = 7 + kind;
        for (int i = 0; i < 20000; i++) {
            char name[600];
            uint32_t na, nb;
            size_t n = random_name(name, kind);
            struct str pa = drain_train(a, str_n(name, n), i, &na);
            struct str pb = drain_train(b, str_n(name, n), i, &nb);
            assert_true(str_eq(pa, pb));
            assert_int_equal(na, nb);
            check_covers(pa, str_n(name, n));
            if (i % 1000 == 999) {
                drain_expire(a, i - 1500);
                drain_expire(b, i - 1500);
            }
        }
        assert_int_equal(drain_patterns(a), drain_patterns(b));
        assert_int_not_equal(drain_events(a, DRAIN_EVICTED) + drain_events(a, DRAIN_EXPIRED), 0);
        drain_free(a);
        drain_free(b);
    }
}

/* Names that fit no pattern, each new: bytes stay below the bound, and what goes was used least. */
static void test_bomb__memory_is_bounded(void **state)
{
    struct budget budget;
    (void)state;
    for (unsigned kind = 0; kind < 3; kind++) {
        const uint64_t max = 1u << 20;
        budget_init(&budget, NULL, "test", 0);
        struct drain *d = drain_new(&budget, max);
        seed = 99;
        for (int i = 0; i < 50000; i++) {
            char name[400];
            size_t n = 0;
            uint32_t tokens;
            for (int k = 0; k < (kind == 0 ? 2 : 26); k++)
                n += (size_t)(kind == 1 ? sprintf(name + n, "%%%02u", draw(100))
                                        : sprintf(name + n, "%c%c%cz.", 'g' + draw(20),
                                              'g' + draw(20), 'g' + draw(20)));
            drain_train(d, str_n(name, n), i, &tokens);
            if (i % 16 == 0)
                drain_train(d, STR("GET /kept/1"), i, &tokens);
            assert_in_range(budget_used(&budget), 1, max);
        }
        if (kind == 1) /* all data, nothing alike: one leaf, its patterns take all */
            assert_in_range(drain_patterns(d), 2, DRAIN_LEAF_MAX + 1);
        else if (kind == 0) /* two places with words: a thousand each, then any word */
            assert_in_range(drain_patterns(d), 1000, 2 * DRAIN_CHILDREN_MAX + 4 * DRAIN_LEAF_MAX);
        else
            assert_int_not_equal(drain_events(d, DRAIN_EVICTED), 0);
        check_pattern(d, "GET /kept/2", "GET /kept/<_>"); /* was in use all the time */
        drain_free(d);
        assert_int_equal(budget_used(&budget), 0);
        budget_deinit(&budget);
    }
}

/* A common budget without room: names stay as they are. */
static void test_bomb__no_memory_leaves_names_alone(void **state)
{
    struct budget budget;
    (void)state;
    budget_init(&budget, NULL, "test", 60u << 10); /* the tree's fixed part, and little more */
    struct drain *d = drain_new(&budget, SPAN_NAMES_BYTES);
    assert_true(budget_take(&budget, (60u << 10) - budget_used(&budget)));
    check_pattern(d, "GET /a/1", "GET /a/1");
    check_pattern(d, "GET /a/2", "GET /a/2");
    assert_int_equal(drain_patterns(d), 0);
    drain_free(d);
    budget_give(&budget, budget_used(&budget));
    budget_deinit(&budget);
}

static void test_patterns__unused_ones_expire(void **state)
{
    struct drain *d = drain_new(NULL, SPAN_NAMES_BYTES);
    uint32_t tokens;
    (void)state;
    drain_train(d, STR("GET /a/1"), 1000, &tokens);
    drain_train(d, STR("GET /b/1"), 2000, &tokens);
    drain_train(d, STR("GET /a/2"), 3000, &tokens);
    assert_int_equal(tokens, 6 + 1);
    drain_expire(d, 2500);
    assert_int_equal(drain_patterns(d), 1);
    assert_int_equal(drain_events(d, DRAIN_EXPIRED), 1);
    check_pattern(d, "GET /b/2", "GET /b/2"); /* anew */
    check_pattern(d, "GET /a/3", "GET /a/<_>");
    drain_free(d);
}

/* ---- as the generator does it ---- */

static void push(struct gen_fixture *x, const char *name)
{
    GF_PUSH(x, "a", {.trace = 1, .id = 1, .name = name, .seconds = 1});
}

static double value_of(const char *series)
{
    struct buf text = BUF_INIT;
    metric_render(&text);
    buf_putc(&text, 0);
    const char *at = strstr((const char *)text.p, series);
    double v = at == NULL ? -1 : atof(at + strlen(series));
    buf_deinit(&text);
    return v;
}

static void has_calls(const struct gen_fixture *x, const char *name, int n)
{
    char line[200];
    snprintf(line, sizeof(line), CALLS "span_name=\"%s\",status_code=\"STATUS_CODE_UNSET\"} %d",
        name, n);
    gf_has(x, line);
}

static void test_modes__enabled_merges_series(void **state)
{
    struct gen_fixture x;
    (void)state;
    gf_init(&x, GENERATOR_SPAN_METRICS_COUNT);
    x.settings.span_names = SPAN_NAMES_PATTERNS;
    double before = MAX(value_of("spans_sanitized_total{tenant=\"t\"} "), 0);
    push(&x, "GET /users/1");
    push(&x, "GET /users/2");
    push(&x, "GET /users/3");
    push(&x, "ping");
    gf_collect(&x);
    has_calls(&x, "GET /users/1", 1);
    has_calls(&x, "GET /users/<_>", 2);
    has_calls(&x, "ping", 1);
    assert_int_equal(x.n_lines, 6); /* and a zero each */
    assert_true(value_of("spans_sanitized_total{tenant=\"t\"} ") == before + 2);
    assert_true(value_of("post_sanitization_demand_estimate{tenant=\"t\"} ") == 3);
    assert_true(value_of("drain_patterns_detected_total{tenant=\"t\"} ") >= 1);
    assert_true(
        value_of("drain_lines_skipped_total{tenant=\"t\",reason=\"too_few_tokens\"} ") >= 1);
    gf_deinit(&x);
}

static void test_modes__dry_run_only_counts(void **state)
{
    struct gen_fixture x;
    (void)state;
    gf_init(&x, GENERATOR_SPAN_METRICS_COUNT);
    x.settings.span_names = SPAN_NAMES_DRY_RUN;
    double before = MAX(value_of("spans_sanitized_total{tenant=\"t\"} "), 0);
    push(&x, "GET /users/1");
    push(&x, "GET /users/2");
    push(&x, "GET /users/3");
    gf_collect(&x);
    for (int i = 1; i <= 3; i++) {
        char name[20];
        snprintf(name, sizeof(name), "GET /users/%d", i);
        has_calls(&x, name, 1);
    }
    assert_true(value_of("spans_sanitized_total{tenant=\"t\"} ") == before + 2);
    assert_true(value_of("post_sanitization_demand_estimate{tenant=\"t\"} ") == 2);
    gf_deinit(&x);
}

/* One span to a tenant's instance; what it is called there. */
static struct str called(struct gen_fixture *x, struct instance *t, const char *name)
{
    struct processor_env *env = &t->env;
    (void)x;
    labels_begin(&env->labels, 0, 0);
    labels_add(&env->labels, STR("span_name"), str_from(name));
    labels_add(&env->labels, STR("service"), STR("a"));
    processor_labels_close(env, 0);
    assert_true(str_eqz(env->labels.p[0].name, "service")); /* sorted */
    assert_true(env->labels.hash == labels_hash(env->labels.p, env->labels.n));
    return env->labels.p[1].value;
}

static void test_modes__what_was_learnt_stays(void **state)
{
    struct gen_fixture x;
    (void)state;
    gf_init(&x, GENERATOR_SPAN_METRICS_COUNT);
    const struct generator_options opt = {
        .settings = gf_settings, .emit = gf_emit, .ctx = &x, .budget = &x.budget};
    struct instance *t = instance_new(&opt, STR("t"));
    instance_refresh(t);
    assert_true(str_eqz(called(&x, t, "GET /users/1"), "GET /users/1"));
    assert_null(t->env.span_names); /* costs nothing where it is off */
    x.settings.span_names = SPAN_NAMES_PATTERNS;
    instance_refresh(t);
    assert_true(str_eqz(called(&x, t, "GET /users/1"), "GET /users/1"));
    assert_true(str_eqz(called(&x, t, "GET /users/2"), "GET /users/<_>"));
    x.settings.span_names = SPAN_NAMES_AS_THEY_ARE;
    instance_refresh(t);
    assert_true(str_eqz(called(&x, t, "GET /users/3"), "GET /users/3"));
    x.settings.span_names = SPAN_NAMES_DRY_RUN;
    instance_refresh(t);
    assert_true(str_eqz(called(&x, t, "GET /users/4"), "GET /users/4"));
    x.settings.span_names = SPAN_NAMES_PATTERNS;
    instance_refresh(t);
    assert_true(str_eqz(called(&x, t, "GET /users/5"), "GET /users/<_>"));
    instance_free(t);
    gf_deinit(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokens__runs_ids_and_signs),
        cmocka_unit_test(test_tokens__bounds),
        cmocka_unit_test(test_tokens__what_looks_like_data),
        cmocka_unit_test(test_patterns__what_differs_is_cut_out),
        cmocka_unit_test(test_patterns__words_are_kept_apart),
        cmocka_unit_test(test_patterns__both_branches_are_tried),
        cmocka_unit_test(test_patterns__too_many_words_collapse),
        cmocka_unit_test(test_patterns__unused_ones_expire),
        cmocka_unit_test(test_property__same_input_same_patterns),
        cmocka_unit_test(test_bomb__memory_is_bounded),
        cmocka_unit_test(test_bomb__no_memory_leaves_names_alone),
        cmocka_unit_test(test_modes__enabled_merges_series),
        cmocka_unit_test(test_modes__dry_run_only_counts),
        cmocka_unit_test(test_modes__what_was_learnt_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
