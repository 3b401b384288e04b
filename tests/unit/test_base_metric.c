/* SPDX-License-Identifier: Apache-2.0
 * Metrics: counting, the series cap, and the text, read back by a strict parser of exposition
 * format 0.0.4 (grouping, escapes, numbers, duplicates, histogram arithmetic). */
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/metric.h"
#include "unit.h"

/* The strict reader. */

struct sample {
    char name[128];   /* with suffix */
    char labels[512]; /* as written, without le */
    char le[64];
    double value;
};

struct exposition {
    char *text;
    VEC(struct sample) samples;
    VEC(char *) families; /* names in order of TYPE */
};

static size_t name_len(const char *p)
{
    size_t n = 0;
    while (p[n] == '_' || p[n] == ':' || (p[n] >= 'a' && p[n] <= 'z') ||
           (p[n] >= 'A' && p[n] <= 'Z') || (n > 0 && p[n] >= '0' && p[n] <= '9'))
        n++;
    return n;
}

/* {name="value",...}: copies the labels but le; returns the position behind the brace. */
static const char *labels_read(const char *p, struct sample *s)
{
    size_t out = 0;
    ASSERT(*p++ == '{');
    for (;;) {
        const char *start = p;
        size_t n = name_len(p);
        bool le = n == 2 && memcmp(p, "le", 2) == 0;
        if (n == 0 || p[n] != '=' || p[n + 1] != '"')
            fail_msg("bad label at %.40s", p);
        for (p += n + 2; *p != '"'; p++) {
            if (*p == '\n' || *p == 0)
                fail_msg("open label value");
            if (*p == '\\' && *++p != '\\' && *p != '"' && *p != 'n')
                fail_msg("bad escape \\%c", *p);
        }
        p++;
        if (le) {
            snprintf(s->le, sizeof(s->le), "%.*s", (int)(p - start - 5), start + 4);
        } else {
            ASSERT(out + (size_t)(p - start) + 2 < sizeof(s->labels));
            memcpy(s->labels + out, start, (size_t)(p - start));
            out += (size_t)(p - start);
            s->labels[out++] = ',';
        }
        if (*p == '}')
            return p + 1;
        if (*p++ != ',')
            fail_msg("bad separator in labels");
    }
}

static double number_read(const char *p, size_t n)
{
    char text[64], *end;
    ASSERT(n > 0 && n < sizeof(text));
    memcpy(text, p, n);
    text[n] = 0;
    if (strcmp(text, "+Inf") == 0)
        return (double)INFINITY;
    if (strcmp(text, "-Inf") == 0)
        return (double)-INFINITY;
    if (strcmp(text, "NaN") == 0)
        return (double)NAN;
    if (strspn(text, "0123456789+-.e") != n)
        fail_msg("number \"%s\"", text);
    double v = strtod(text, &end);
    if (*end != 0)
        fail_msg("number \"%s\"", text);
    return v;
}

static void sample_read(struct exposition *e, const char *line, const char *family, bool histogram)
{
    struct sample s = {0};
    size_t n = name_len(line), base = strlen(family);
    ASSERT(n > 0 && n < sizeof(s.name));
    memcpy(s.name, line, n);
    if (strncmp(s.name, family, base) != 0)
        fail_msg("%s outside of its family (in %s)", s.name, family);
    const char *suffix = s.name + base;
    if (histogram ? strcmp(suffix, "_bucket") != 0 && strcmp(suffix, "_sum") != 0 &&
                        strcmp(suffix, "_count") != 0
                  : *suffix != 0)
        fail_msg("%s in family %s", s.name, family);
    const char *p = line[n] == '{' ? labels_read(line + n, &s) : line + n;
    if (*p++ != ' ')
        fail_msg("no blank before the value: %s", line);
    s.value = number_read(p, strlen(p));
    for (size_t i = 0; i < e->samples.n; i++)
        if (strcmp(e->samples.p[i].name, s.name) == 0 &&
            strcmp(e->samples.p[i].labels, s.labels) == 0 && strcmp(e->samples.p[i].le, s.le) == 0)
            fail_msg("twice: %s", line);
    VEC_PUSH(&e->samples, s);
}

static void exposition_read(struct exposition *e)
{
    struct buf out = BUF_INIT;
    char *line, *rest, family[128] = "", helped[128] = "";
    bool histogram = false;
    *e = (struct exposition){0};
    metric_render(&out);
    assert_true(out.n > 0 && out.p[out.n - 1] == '\n');
    assert_true(str_utf8_valid(buf_str(&out)));
    rest = e->text = xstrndup((char *)out.p, out.n - 1);
    assert_int_equal(strlen(e->text), out.n - 1);
    buf_deinit(&out);
    while ((line = strsep(&rest, "\n")) != NULL) {
        char type[16];
        if (strncmp(line, "# HELP ", 7) == 0) {
            assert_int_equal(sscanf(line, "# HELP %127s", helped), 1);
        } else if (strncmp(line, "# TYPE ", 7) == 0) {
            assert_int_equal(sscanf(line, "# TYPE %127s %15s", family, type), 2);
            assert_string_equal(family, helped);
            if (e->families.n > 0)
                assert_true(strcmp(e->families.p[e->families.n - 1], family) < 0);
            histogram = strcmp(type, "histogram") == 0;
            assert_true(histogram || strcmp(type, "counter") == 0 || strcmp(type, "gauge") == 0);
            VEC_PUSH(&e->families, xstrdup(family));
        } else {
            sample_read(e, line, family, histogram);
        }
    }
}

static void exposition_free(struct exposition *e)
{
    for (size_t i = 0; i < e->families.n; i++)
        free(e->families.p[i]);
    VEC_FREE(&e->families);
    VEC_FREE(&e->samples);
    free(e->text);
}

/* The value of a sample as written, NaN when it is not there. */
static double sample_value(
    const struct exposition *e, const char *name, const char *labels, const char *le)
{
    for (size_t i = 0; i < e->samples.n; i++)
        if (strcmp(e->samples.p[i].name, name) == 0 &&
            strcmp(e->samples.p[i].labels, labels) == 0 && strcmp(e->samples.p[i].le, le) == 0)
            return e->samples.p[i].value;
    return (double)NAN;
}

static double rendered(const char *name, const char *labels, const char *le)
{
    struct exposition e;
    exposition_read(&e);
    double v = sample_value(&e, name, labels, le);
    exposition_free(&e);
    return v;
}

#define assert_value(actual, expected)                                     \
    do {                                                                   \
        double actual_ = (actual), expected_ = (expected);                 \
        if (actual_ != expected_ && !(isnan(actual_) && isnan(expected_))) \
            fail_msg("%.17g is not %.17g", actual_, expected_);            \
    } while (0)

static void test_metric__without_labels_starts_at_zero(void **state)
{
    (void)state;
    static struct metric_family f = {.name = "t_zero_total", .help = "z", .type = METRIC_COUNTER};
    metric_register(&f);
    metric_register(&f);
    assert_value(rendered("t_zero_total", "", ""), 0);
    metric_inc(metric_series0(&f));
    metric_add(metric_series0(&f), 2.5);
    metric_add(metric_series0(&f), 1e18);
    assert_value(metric_value(metric_series0(&f)), 1e18 + 3.5);
}

static void test_metric__with_labels_shows_only_used_series(void **state)
{
    (void)state;
    static struct metric_family f = {
        .name = "t_labels", .help = "z", .type = METRIC_GAUGE, .labels = {"a", "b"}};
    metric_register(&f);
    struct exposition e;
    exposition_read(&e);
    assert_null(strstr(e.text, "t_labels"));
    exposition_free(&e);
    struct metric *m = metric_series2(&f, STR("x"), STR("y"));
    assert_ptr_equal(m, metric_series(&f, (struct str[]){STR("x"), STR("y")}));
    assert_ptr_not_equal(m, metric_series2(&f, STR("xy"), STR("")));
    metric_set(m, -1.5);
    metric_add(m, 0.25);
    metric_inc(m);
    assert_value(rendered("t_labels", "a=\"x\",b=\"y\",", ""), -0.25);
    metric_remove(&f, (struct str[]){STR("x"), STR("y")});
    metric_remove(&f, (struct str[]){STR("never"), STR("y")});
    assert_value(rendered("t_labels", "a=\"x\",b=\"y\",", ""), (double)NAN);
    assert_ptr_equal(m, metric_series2(&f, STR("x"), STR("y")));
    assert_value(rendered("t_labels", "a=\"x\",b=\"y\",", ""), -0.25);
}

static void test_metric__escapes_labels_and_help(void **state)
{
    (void)state;
    static struct metric_family f = {
        .name = "t_escape", .help = "a\\b\nc \"d\"", .type = METRIC_GAUGE, .labels = {"v"}};
    metric_set(metric_series1(&f, STR("q\"b\\n\nx")), 1);
    metric_set(metric_series1(&f, STR("bad\xff utf\xc3")), 2);
    metric_set(metric_series1(&f, STR("\xc3\xa4")), 3);
    static char big[2000];
    memset(big, 'x', sizeof(big));
    metric_set(metric_series1(&f, str_n(big, sizeof(big))), 4);
    struct buf out = BUF_INIT;
    metric_render(&out);
    buf_putc(&out, 0);
    const char *text = (const char *)out.p;
    assert_non_null(strstr(text, "# HELP t_escape a\\\\b\\nc \"d\"\n"));
    assert_non_null(strstr(text, "t_escape{v=\"q\\\"b\\\\n\\nx\"} 1\n"));
    assert_non_null(strstr(text, "t_escape{v=\"bad\xef\xbf\xbd utf\xef\xbf\xbd\"} 2\n"));
    assert_non_null(strstr(text, "t_escape{v=\"\xc3\xa4\"} 3\n"));
    buf_deinit(&out);
    metric_remove(&f, (struct str[]){str_n(big, sizeof(big))});
}

static void test_metric__numbers_read_back_exactly(void **state)
{
    (void)state;
    static struct metric_family f = {.name = "t_number", .help = "z", .type = METRIC_GAUGE};
    static const double all[] = {0, -1, 0.1, 1.0 / 3, 1e-300, 1.7976931348623157e308, 123456789.125,
        9007199254740993.0, 1e15, -0.5, 5e-324};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        metric_set(metric_series0(&f), all[i]);
        assert_value(rendered("t_number", "", ""), all[i]);
    }
    metric_set(metric_series0(&f), (double)INFINITY);
    assert_value(rendered("t_number", "", ""), (double)INFINITY);
    metric_set(metric_series0(&f), (double)-INFINITY);
    assert_value(rendered("t_number", "", ""), (double)-INFINITY);
    metric_set(metric_series0(&f), (double)NAN);
    struct buf out = BUF_INIT;
    metric_render(&out);
    assert_true(str_has(buf_str(&out), STR("\nt_number NaN\n")));
    buf_deinit(&out);
}

static const double bounds[] = {0.005, 1, 2.5};
static struct metric_family histogram = {.name = "t_seconds",
    .help = "h",
    .type = METRIC_HISTOGRAM,
    .labels = {"route"},
    .bounds = bounds,
    .n_bounds = ARRAY_LEN(bounds)};

static void test_metric__histogram_adds_up(void **state)
{
    (void)state;
    struct metric *m = metric_series1(&histogram, STR("r"));
    static const double all[] = {0, 0.005, 0.0051, 1, 2.5, 2.6, 100};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        metric_observe(m, all[i]);
    struct exposition e;
    exposition_read(&e);
    assert_value(sample_value(&e, "t_seconds_bucket", "route=\"r\",", "0.005"), 2);
    assert_value(sample_value(&e, "t_seconds_bucket", "route=\"r\",", "1"), 4);
    assert_value(sample_value(&e, "t_seconds_bucket", "route=\"r\",", "2.5"), 5);
    assert_value(sample_value(&e, "t_seconds_bucket", "route=\"r\",", "+Inf"), 7);
    assert_value(sample_value(&e, "t_seconds_count", "route=\"r\",", ""), 7);
    double sum = sample_value(&e, "t_seconds_sum", "route=\"r\",", "");
    assert_true(fabs(sum - 106.1101) < 1e-9);
    exposition_free(&e);
    metric_observe(m, (double)NAN);
    assert_value(rendered("t_seconds_bucket", "route=\"r\",", "+Inf"), 8);
}

static void test_metric__order_is_deterministic(void **state)
{
    (void)state;
    static struct metric_family f = {
        .name = "t_order", .help = "z", .type = METRIC_GAUGE, .labels = {"a"}};
    static const struct str values[] = {STR("b"), STR("a"), STR("aa"), STR(""), STR("B")};
    for (size_t i = 0; i < ARRAY_LEN(values); i++)
        metric_set(metric_series1(&f, values[i]), (double)i);
    struct buf out = BUF_INIT;
    metric_render(&out);
    assert_true(str_has(buf_str(&out),
        STR("t_order{a=\"\"} 3\nt_order{a=\"B\"} 4\nt_order{a=\"a\"} 1\nt_order{a=\"aa\"} 2\n"
            "t_order{a=\"b\"} 0\n")));
    buf_deinit(&out);
}

static unsigned n_scrapes;

static void collect(void *ctx)
{
    metric_set(ctx, ++n_scrapes);
}

static void test_metric__collectors_run_before_the_text(void **state)
{
    (void)state;
    static struct metric_family f = {.name = "t_collected", .help = "z", .type = METRIC_GAUGE};
    struct metric *m = metric_series0(&f);
    metric_collector_add(collect, m);
    assert_value(rendered("t_collected", "", ""), 1);
    assert_value(rendered("t_collected", "", ""), 2);
    metric_collector_remove(collect, NULL); /* not that one */
    assert_value(rendered("t_collected", "", ""), 3);
    metric_collector_remove(collect, m);
    assert_value(rendered("t_collected", "", ""), 3);
}

static struct metric_family shared = {
    .name = "t_shared_total", .help = "z", .type = METRIC_COUNTER, .labels = {"k"}};

static void *count_many(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < 3000; i++) {
        char key[8];
        struct str k = str_n(key, (size_t)snprintf(key, sizeof(key), "%u", i % 50));
        metric_inc(metric_series1(&shared, k));
        metric_add(metric_series1(&shared, STR("half")), 0.5);
        metric_observe(metric_series1(&histogram, STR("threads")), 1);
        if (i % 1000 == 0) {
            struct buf out = BUF_INIT;
            metric_render(&out);
            buf_deinit(&out);
        }
    }
    return NULL;
}

static void test_metric__counts_under_threads(void **state)
{
    (void)state;
    pthread_t t[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&t[i], NULL, count_many, NULL), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    assert_value(metric_value(metric_series1(&shared, STR("7"))), 4 * 60);
    assert_value(metric_value(metric_series1(&shared, STR("half"))), 6000);
    assert_value(rendered("t_seconds_count", "route=\"threads\",", ""), 12000);
}

/* Last: it fills the registry, and the strict reader is quadratic. */
static void test_metric__series_are_capped(void **state)
{
    (void)state;
    static struct metric_family f = {
        .name = "t_capped_total", .help = "z", .type = METRIC_COUNTER, .labels = {"a", "b"}};
    char key[16];
    struct metric *overflow = NULL;
    for (unsigned i = 0; i < METRIC_SERIES_MAX + 10; i++) {
        struct str k = str_n(key, (size_t)snprintf(key, sizeof(key), "%u", i));
        struct metric *m = metric_series2(&f, k, STR("x"));
        metric_inc(m);
        if (i == METRIC_SERIES_MAX - 1)
            overflow = m;
        if (i >= METRIC_SERIES_MAX - 1)
            assert_ptr_equal(m, overflow);
        if (i == METRIC_SERIES_MAX - 2)
            assert_value(metric_value(m), 1);
    }
    assert_value(metric_value(overflow), 11);
    assert_ptr_equal(metric_series2(&f, STR("overflow"), STR("overflow")), overflow);
    assert_value(metric_value(metric_series2(&f, STR("17"), STR("x"))), 1);
    struct buf out = BUF_INIT;
    metric_render(&out);
    size_t n = 0;
    struct str rest = buf_str(&out);
    while (rest.n != 0)
        n += str_starts(str_cut(rest, '\n', &rest), STR("t_capped_total{"));
    assert_int_equal(n, METRIC_SERIES_MAX);
    buf_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_metric__without_labels_starts_at_zero),
        cmocka_unit_test(test_metric__with_labels_shows_only_used_series),
        cmocka_unit_test(test_metric__escapes_labels_and_help),
        cmocka_unit_test(test_metric__numbers_read_back_exactly),
        cmocka_unit_test(test_metric__histogram_adds_up),
        cmocka_unit_test(test_metric__order_is_deterministic),
        cmocka_unit_test(test_metric__collectors_run_before_the_text),
        cmocka_unit_test(test_metric__counts_under_threads),
        cmocka_unit_test(test_metric__series_are_capped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
