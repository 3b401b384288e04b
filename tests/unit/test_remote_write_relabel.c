/* SPDX-License-Identifier: Apache-2.0
 * write_relabel_configs: every action, with Prometheus' results. */
#include "model/otlp_write.h"
#include "src/remote_write/relabel.h"
#include "unit.h"

/* "a=1,b=2" as a TimeSeries with one sample. */
static void encode(const char *text, struct buf *out)
{
    struct str rest = str_from(text);
    while (rest.n > 0) {
        struct str value, name = str_cut(str_cut(rest, ',', &rest), '=', &value);
        size_t mark = pb_begin(out, 1);
        pb_put_bytes(out, 1, name);
        pb_put_bytes(out, 2, value);
        pb_end(out, mark);
    }
    size_t mark = pb_begin(out, 2);
    pb_put_double(out, 1, 1.5);
    pb_put_varint(out, 2, 42);
    pb_end(out, mark);
}

static struct remote_write_relabel rule(
    const char *action, const char *regex, const char *target, const char *replacement)
{
    static const struct str sources[] = {{"a", 1}, {"b", 1}};
    return (struct remote_write_relabel){.source_labels = sources,
        .n_source_labels = 2,
        .separator = STR(";"),
        .regex = str_from(regex),
        .target_label = str_from(target),
        .replacement = str_from(replacement),
        .action = action,
        .modulus = 8};
}

/* want NULL: dropped. */
static void check(
    const struct remote_write_relabel *rules, size_t n, const char *in, const char *want)
{
    struct relabel *r;
    struct buf from = BUF_INIT, to = BUF_INIT, expected = BUF_INIT;
    assert_int_equal(relabel_new(rules, n, &r, NULL), EC_OK);
    encode(in, &from);
    for (int again = 0; again < 2; again++) { /* nothing is kept from series to series */
        buf_reset(&to);
        bool kept = relabel_series(r, buf_bytes(&from), &to);
        assert_int_equal(kept, want != NULL);
        assert_true(kept || to.n == 0);
    }
    if (want != NULL) {
        encode(want, &expected);
        if (!bytes_eq(buf_bytes(&to), buf_bytes(&expected)))
            fail_msg("%s: not %s", in, want);
    }
    relabel_free(r);
    buf_deinit(&from);
    buf_deinit(&to);
    buf_deinit(&expected);
}

static void test_relabel__actions(void **state)
{
    static const struct {
        const char *action, *regex, *target, *replacement, *in, *want;
    } t[] = {
        {"replace", "(.*);(.*)", "c", "$2-${1}x", "a=1,b=2", "a=1,b=2,c=2-1x"},
        {"replace", "(?P<x>.*);(?P<y>.*)", "c", "$y${x}$$$none$", "a=1,b=2", "a=1,b=2,c=21$$"},
        {"replace", "1", "c", "never", "a=1,b=2", "a=1,b=2"}, /* anchored */
        {"replace", "(.*);.*", "_$1", "v", "a=x,b=2", "_x=v,a=x,b=2"},
        {"replace", "(.*);.*", "$1", "v", "a=1,b=2", "a=1,b=2"}, /* no label name */
        {"replace", ".*", "a", "", "a=1,b=2", "b=2"},
        {"Keep", "1;2", "", "", "a=1,b=2", "a=1,b=2"},
        {"keep", "1;3", "", "", "a=1,b=2", NULL},
        {"drop", "1;2", "", "", "a=1,b=2", NULL},
        {"drop", "1", "", "", "a=1,b=2", "a=1,b=2"},
        {"keepequal", "", "c", "", "a=1,b=2,c=1;2", "a=1,b=2,c=1;2"},
        {"keepequal", "", "c", "", "a=1,b=2,c=x", NULL},
        {"dropequal", "", "c", "", "a=1,b=2,c=1;2", NULL},
        {"dropequal", "", "c", "", "a=1,b=2,c=x", "a=1,b=2,c=x"},
        {"labelmap", "x_(.*)", "", "y_$1", "a=1,x_k=v", "a=1,x_k=v,y_k=v"},
        {"labeldrop", "a|b.*", "", "", "a=1,bb=2,c=3", "c=3"},
        {"labelkeep", "a|b.*", "", "", "a=1,bb=2,c=3", "a=1,bb=2"},
        {"labeldrop", ".*", "", "", "a=1", NULL}, /* nothing is left */
        {"lowercase", "", "c", "", "a=AbÄ,b=X", "a=AbÄ,b=X,c=abÄ;x"},
        {"uppercase", "", "c", "", "a=ab,b=x", "a=ab,b=x,c=AB;X"},
        {"hashmod", "", "c", "", "a=foo,b=bar", "a=foo,b=bar,c=6"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        struct remote_write_relabel r =
            rule(t[i].action, t[i].regex, t[i].target, t[i].replacement);
        check(&r, 1, t[i].in, t[i].want);
    }
}

static void test_relabel__rules_follow_each_other(void **state)
{
    const struct remote_write_relabel r[] = {rule("replace", ".*", "zone", "eu"),
        rule("labeldrop", "b", "", ""), rule("replace", "(.*);", "name", "$1")};
    (void)state;
    check(r, ARRAY_LEN(r), "a=1,b=2", "a=1,name=1,zone=eu");
}

static void test_relabel__refusals(void **state)
{
    struct relabel *r;
    struct remote_write_relabel bad[] = {rule("explode", ".*", "a", ""),
        rule("replace", "(", "a", ""), rule("hashmod", "", "a", "")};
    (void)state;
    bad[2].modulus = 0;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(relabel_new(&bad[i], 1, &r, NULL), EC_INVALID);
}

static void test_relabel__no_series(void **state)
{
    struct relabel *r;
    struct buf out = BUF_INIT;
    struct remote_write_relabel one = rule("replace", ".*", "c", "x");
    static const uint8_t cut[] = {0x0a, 0x20, 0x0a, 0x01, 'a'};
    static const uint8_t odd[] = {0x0a, 0x04, 0x0a, 0x01, 'a', 0x30};
    (void)state;
    assert_int_equal(relabel_new(&one, 1, &r, NULL), EC_OK);
    assert_false(relabel_series(r, bytes_n(odd, sizeof(odd)), &out));
    (void)relabel_series(r, bytes_n(cut, sizeof(cut)), &out); /* does not read past its end */
    relabel_free(r);
    buf_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_relabel__actions),
        cmocka_unit_test(test_relabel__rules_follow_each_other),
        cmocka_unit_test(test_relabel__refusals),
        cmocka_unit_test(test_relabel__no_series),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
