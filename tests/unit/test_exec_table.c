/* SPDX-License-Identifier: Apache-2.0
 * The table of search queries and their answers (tests/golden/exec/search.txt), asked of the sample
 * data however it lies in parts: the answers must not depend on that. */
#include "block_fixture.h"
#include "exec_sample.h"
#include "query/exec.h"

#define TEXT_MAX 1024
#define SETS_MAX 16

/* Span sets in a comparable form: "A 1 2 3 [attrs]", sorted. */
struct answer {
    char sets[SETS_MAX][160];
    size_t n;
    bool failed;
    char why[256];
};

static int cmp_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void answer_sort(struct answer *a)
{
    qsort(a->sets, a->n, sizeof(a->sets[0]), cmp_text);
}

static void answer_put(struct answer *a, char trace, uint32_t spans, const char *attrs)
{
    assert_true(a->n < SETS_MAX);
    char *out = a->sets[a->n++];
    int at = snprintf(out, sizeof(a->sets[0]), "%c", trace);
    for (unsigned i = 1; i < 16; i++)
        if ((spans >> i & 1) != 0)
            at += snprintf(out + at, sizeof(a->sets[0]) - (size_t)at, " %u", i);
    at += snprintf(out + at, sizeof(a->sets[0]) - (size_t)at, " [%s]", attrs);
    assert_true((size_t)at < sizeof(a->sets[0]));
}

/* ---- the expectation ---- */

static const struct {
    char trace;
    uint32_t all;
} traces[] = {{'A', 0x3e}, {'B', 6}, {'C', 6}};

static void expect_flush(struct answer *a, uint32_t spans[3], const char *attrs)
{
    for (unsigned t = 0; t < 3; t++)
        if (spans[t] != 0)
            answer_put(a, traces[t].trace, spans[t], attrs);
    memset(spans, 0, 3 * sizeof(*spans));
}

static void expect_parse(const char *text, struct answer *a)
{
    uint32_t spans[3] = {0};
    memset(a, 0, sizeof(*a));
    if (text[0] == 'X') {
        a->failed = true;
        snprintf(a->why, sizeof(a->why), "%s", text[1] == ' ' ? text + 2 : "");
        return;
    }
    if (strcmp(text, "NONE") == 0)
        return;
    while (*text != '\0') {
        if (*text == '[') {
            char attrs[TEXT_MAX];
            const char *end = strchr(text, ']');
            assert_non_null(end);
            snprintf(attrs, sizeof(attrs), "%.*s", (int)(end - text - 1), text + 1);
            expect_flush(a, spans, attrs);
            text = end + 1;
        } else if (strncmp(text, "ALL", 3) == 0) {
            for (unsigned t = 0; t < 3; t++)
                spans[t] = traces[t].all;
            text += 3;
        } else if (*text == ' ') {
            text++;
        } else {
            unsigned t = (unsigned)(*text - 'A');
            assert_true(t < 3 && text[1] != '\0');
            spans[t] |= text[1] == '*' ? traces[t].all : 1u << (text[1] - '0');
            text += 2;
        }
    }
    expect_flush(a, spans, "");
    answer_sort(a);
}

/* ---- the answer ---- */

static void value_print(const struct value *v, char *out, size_t cap)
{
    switch (v->type) {
    case VALUE_STR:
        snprintf(out, cap, STR_FMT, STR_ARG(v->s));
        break;
    case VALUE_INT:
        snprintf(out, cap, "%lld", (long long)v->i);
        break;
    case VALUE_BOOL:
        snprintf(out, cap, "%s", v->b ? "true" : "false");
        break;
    case VALUE_DOUBLE:
        snprintf(out, cap, "%.16g", v->d);
        break;
    default:
        snprintf(out, cap, "type %d", (int)v->type);
    }
}

static void answer_of(const struct search_result *r, struct answer *a)
{
    for (size_t i = 0; i < r->n; i++) {
        const struct result_trace *t = &r->traces[i];
        assert_true(t->n_sets > 0);
        for (uint32_t k = 0; k < t->n_sets; k++) {
            const struct result_spanset *s = &t->sets[k];
            char attrs[TEXT_MAX] = "", value[256];
            uint32_t spans = 0;
            size_t at = 0;
            assert_int_equal(s->matched, s->n_spans);
            for (uint32_t j = 0; j < s->n_spans; j++) {
                uint32_t bit = 1u << (s->spans[j].id >> 56 & 15);
                assert_true((spans & bit) == 0); /* no span twice */
                assert_true(s->spans[j].id >> 60 == t->id.b[0] >> 4);
                spans |= bit;
            }
            for (uint32_t j = 0; j < s->n_attrs; j++) {
                value_print(&s->attrs[j].value, value, sizeof(value));
                at += (size_t)snprintf(attrs + at, sizeof(attrs) - at, "%s" STR_FMT "=%s",
                    j == 0 ? "" : ",", STR_ARG(s->attrs[j].key), value);
                assert_true(at < sizeof(attrs));
            }
            answer_put(a, (char)('A' + (t->id.b[0] >> 4) - 10), spans, attrs);
        }
    }
    answer_sort(a);
}

static void ask(struct part *const *parts, size_t n, const char *query, struct answer *a)
{
    struct budget budget;
    struct arena arena;
    struct err e = {0};
    struct tql_query *q;
    struct search_result r;
    budget_init(&budget, NULL, "query", 64u << 20);
    arena_init(&arena, &budget, 0);
    memset(a, 0, sizeof(*a));
    if (tql_compile(str_from(query), &arena, &q, NULL, &e) != EC_OK)
        fail_msg("%s: %s", query, err_msg(&e));
    struct query_ctx ctx = {.parts = parts, .n_parts = n, .arena = &arena, .budget = &budget};
    struct search_request req = {.q = q, .limit = 20, .spss = 100};
    enum ec ec = query_search(&ctx, &req, &r, &e);
    if (ec == EC_OK) {
        assert_false(r.stats.partial);
        answer_of(&r, a);
    } else {
        a->failed = true;
        snprintf(a->why, sizeof(a->why), "%.*s", (int)sizeof(a->why) - 1, err_msg(&e));
        if (ec != EC_INTERNAL) /* no row expects such a text */
            fail_msg("%s: %s: %s", query, ec_text(ec), err_msg(&e));
    }
    arena_deinit(&arena);
    budget_deinit(&budget); /* asserts that nothing is charged any more */
}

static bool answer_eq(const struct answer *got, const struct answer *want)
{
    if (got->failed || want->failed)
        return got->failed && want->failed && strstr(got->why, want->why) != NULL;
    if (got->n != want->n)
        return false;
    for (size_t i = 0; i < got->n; i++)
        if (strcmp(got->sets[i], want->sets[i]) != 0)
            return false;
    return true;
}

/* `want`: answers separated by " or ". */
static bool accepted(const struct answer *got, char *want)
{
    for (;;) {
        char *next = strstr(want, " or ");
        struct answer one;
        if (next != NULL)
            *next = '\0';
        expect_parse(want, &one);
        if (answer_eq(got, &one))
            return true;
        if (next == NULL)
            return false;
        want = next + 4;
    }
}

static void table_run(struct part *const *parts, size_t n)
{
    FILE *f = fopen(TESTS_DIR "/golden/exec/search.txt", "re");
    char line[TEXT_MAX], want[TEXT_MAX];
    unsigned lines = 0, wrong = 0;
    assert_non_null(f);
    while (fgets(line, sizeof(line), f) != NULL) {
        struct answer got;
        line[strcspn(line, "\n")] = '\0';
        char *arrow = strstr(line, "  => ");
        if (line[0] == '#')
            continue;
        assert_non_null(arrow);
        *arrow = '\0';
        snprintf(want, sizeof(want), "%s", arrow + 5);
        ask(parts, n, line, &got);
        lines++;
        if (accepted(&got, want))
            continue;
        wrong++;
        print_error("%s\n  want %s\n", line, arrow + 5);
        print_error("  got  %s\n", got.failed ? got.why : got.n == 0 ? "NONE" : "");
        for (size_t i = 0; i < got.n; i++)
            print_error("    %s\n", got.sets[i]);
    }
    fclose(f);
    assert_true(lines >= 190);
    assert_int_equal(wrong, 0);
}

static void test_head(void **state)
{
    (void)state;
    struct head *h = sample_head(SAMPLE_ALL);
    table_run((struct part *const[]){head_part(h)}, 1);
    head_free(h);
}

static struct part *sample_block(struct block_fixture *f, uint32_t mask)
{
    struct head *h = sample_head(mask);
    struct part *p = fixture_write(f, (struct part *const[]){head_part(h)}, 1);
    head_free(h);
    return p;
}

static void test_block(void **state)
{
    (void)state;
    struct block_fixture *f = block_fixture_new();
    struct part *p = sample_block(f, SAMPLE_ALL);
    table_run(&p, 1);
    part_unref(p);
    block_fixture_free(f);
}

/* Every trace has spans in both. */
static void test_head_and_block(void **state)
{
    (void)state;
    const uint32_t odd = 1u << S_A1 | 1u << S_A3 | 1u << S_A5 | 1u << S_B2 | 1u << S_C1;
    struct block_fixture *f = block_fixture_new();
    struct head *h = sample_head(odd);
    struct part *p = sample_block(f, SAMPLE_ALL & ~odd);
    table_run((struct part *const[]){head_part(h), p}, 2);
    table_run((struct part *const[]){p, head_part(h)}, 2);
    head_free(h);
    part_unref(p);
    block_fixture_free(f);
}

/* As between a compaction and the removal of its inputs: most spans are there twice. */
static void test_blocks_with_duplicates(void **state)
{
    (void)state;
    const uint32_t first =
        1u << S_A1 | 1u << S_A2 | 1u << S_A3 | 1u << S_B1 | 1u << S_C1 | 1u << S_C2;
    const uint32_t second = SAMPLE_ALL & ~(1u << S_A1 | 1u << S_C1);
    struct block_fixture *f = block_fixture_new();
    struct part *p[] = {sample_block(f, first), sample_block(f, second)};
    table_run(p, 2);
    part_unref(p[0]);
    part_unref(p[1]);
    block_fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_head),
        cmocka_unit_test(test_block),
        cmocka_unit_test(test_head_and_block),
        cmocka_unit_test(test_blocks_with_duplicates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
