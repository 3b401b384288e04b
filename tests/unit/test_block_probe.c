/* SPDX-License-Identifier: Apache-2.0
 * What a block answers without a reader: never "no" to what it holds, and "no" to most else. */
#include "block_fixture.h"
#include "storage/scan.h"
#include "unit.h"

static bool literal_found(struct part_reader *r, const struct scan_expr *x)
{
    struct scan *s;
    struct part_info info;
    struct scan_bits bits;
    bool any = false;
    part_info(r, &info);
    assert_int_equal(scan_new(r, x, &s, NULL), EC_OK);
    for (uint32_t g = 0; g < info.n_groups && !any; g++) {
        assert_int_equal(scan_group(s, g, &bits, NULL), EC_OK);
        any = scan_bits_any(&bits);
    }
    scan_free(s);
    return any;
}

struct tally {
    uint32_t found, hopeless;
};

static void ask(
    struct part *p, struct part_reader *r, const struct scan_leaf *leaf, struct tally *t)
{
    const struct scan_expr x = {.node = SCAN_LEAF, .leaf = *leaf};
    const struct scan_expr *const twice[] = {&x, &x};
    const struct scan_expr both = {.node = SCAN_AND, .kids = twice, .n_kids = 2};
    const struct scan_expr either = {.node = SCAN_OR, .kids = twice, .n_kids = 2};
    bool found = literal_found(r, &x), hopeless = scan_hopeless(p, &x, 0);
    if (found && hopeless)
        fail_msg("op %d table %d key %.*s col %u: is there, and called hopeless", leaf->op,
            leaf->table, STR_ARG(leaf->key), leaf->col);
    assert_int_equal(scan_hopeless(p, &both, 0), hopeless);
    assert_int_equal(scan_hopeless(p, &either, 0), hopeless);
    t->found += found;
    t->hopeless += hopeless;
}

/* Strings of the column, and elements of its arrays, as literals. */
static void ask_column(
    struct part *p, struct part_reader *r, const struct part_attr *a, col_id col, struct tally *t)
{
    struct part_info info;
    part_info(r, &info);
    for (uint32_t g = 0; g < info.n_groups; g++) {
        struct col_view v;
        assert_int_equal(part_view(r, g, col, &v, NULL), EC_OK);
        for (uint32_t i = 0; i < v.n; i += 1 + v.n / 20) {
            struct str s = dict_get(v.dict, v.u32[i]);
            struct value element = {.type = VALUE_STR, .s = s};
            const char *at = NULL;
            if (a != NULL && a->type == VALUE_ARRAY &&
                (!value_array_next(s, &at, &element) || element.type != VALUE_STR))
                continue;
            const struct scan_lit lits[] = {{.type = SCAN_LIT_STR, .s = STR("nowhere")},
                {.type = SCAN_LIT_STR, .s = element.s}};
            struct scan_leaf leaf = {.op = SCAN_IN, .lits = lits, .n_lits = 2, .col = col};
            if (a != NULL) {
                leaf.table = a->table;
                leaf.key = a->key;
            }
            ask(p, r, &leaf, t);
            leaf.lits = &lits[1];
            leaf.n_lits = 1;
            leaf.op = i % 2 == 0 ? SCAN_EQ : SCAN_GE;
            ask(p, r, &leaf, t);
        }
    }
}

/* A filter may say "perhaps", but seldom. */
static void ask_absent(
    struct part *p, struct part_reader *r, const struct part_attr *a, struct tally *all)
{
    struct tally t = {0};
    const struct scan_lit lit = {.type = SCAN_LIT_STR, .s = STR("nowhere to be found")};
    ask(p, r,
        &(struct scan_leaf){
            .table = a->table, .key = a->key, .op = SCAN_EQ, .lits = &lit, .n_lits = 1},
        &t);
    ask(p, r, &(struct scan_leaf){.table = a->table, .key = STR("no.such.key"), .op = SCAN_EXISTS},
        &t);
    ask(p, r, &(struct scan_leaf){.table = a->table, .key = STR("no.such.key"), .op = SCAN_ABSENT},
        &t);
    all->found += 2;
    all->hopeless += t.hopeless + part_may_key(p, a->table, a->key, true);
}

static void test_probe__what_is_there_is_never_denied(void **state)
{
    (void)state;
    static const col_id fixed[] = {COL_SPAN_NAME, COL_SPAN_STATUS_MESSAGE, COL_EVENT_NAME};
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct block_fixture *f = block_fixture_new();
        struct head *h = fixture_head(seed, 500);
        struct part *head = head_part(h), *p = fixture_write(f, &head, 1);
        struct part_reader *r;
        const struct part_attr *attrs;
        size_t n;
        struct tally t = {0}, absent = {0};
        assert_int_equal(part_reader_open(p, NULL, &r, NULL), EC_OK);
        assert_int_equal(part_attrs(r, &attrs, &n, NULL), EC_OK);
        for (size_t i = 0; i < n; i++) {
            assert_true(part_may_key(p, attrs[i].table, attrs[i].key, false));
            if (attrs[i].table == TABLE_SPANS &&
                (attrs[i].type == VALUE_STR || attrs[i].type == VALUE_ARRAY))
                ask_column(p, r, &attrs[i], attrs[i].col, &t);
            ask_absent(p, r, &attrs[i], &absent);
        }
        for (size_t i = 0; i < ARRAY_LEN(fixed); i++)
            ask_column(p, r, NULL, fixed[i], &t);
        assert_true(t.found > 100);
        assert_true(absent.found > 50 && absent.hopeless * 20 > absent.found * 19);
        part_reader_close(r);
        part_unref(p);
        head_free(h);
        block_fixture_free(f);
    }
}

static void test_probe__ids(void **state)
{
    (void)state;
    struct block_fixture *f = block_fixture_new();
    struct head *h = fixture_head(9, 40000); /* traces for several pages */
    struct part *head = head_part(h), *p = fixture_write(f, &head, 1);
    struct part_reader *r;
    struct part_info info, brief;
    struct rng rng = {5};
    uint32_t wrong = 0;
    assert_true(part_peek(p, &brief));
    assert_false(part_peek(head, &info));
    assert_int_equal(part_reader_open(p, NULL, &r, NULL), EC_OK);
    part_info(r, &info);
    assert_int_equal(brief.n_rows, info.n_rows);
    assert_int_equal(brief.n_traces, info.n_traces);
    assert_int_equal(brief.n_groups, info.n_groups);
    assert_true(brief.min_start_ns == info.min_start_ns && brief.max_end_ns == info.max_end_ns);
    for (uint32_t i = 0; i < info.n_traces; i++) {
        struct part_trace t;
        assert_int_equal(part_trace(r, i, &t, NULL), EC_OK);
        assert_true(part_may_hold(p, &t.id));
    }
    for (uint32_t i = 0; i < 10000; i++) {
        struct trace_id id;
        put_u64le(id.b, rng_next(&rng));
        put_u64le(id.b + 8, rng_next(&rng));
        wrong += part_may_hold(p, &id);
        assert_true(part_may_hold(head, &id)); /* not known */
    }
    assert_in_range(wrong, 0, 30);
    part_reader_close(r);
    part_unref(p);
    head_free(h);
    block_fixture_free(f);
}

static void test_probe__of_many_parts_the_same_are_named(void **state)
{
    enum { PARTS = 40 };
    (void)state;
    struct block_fixture *f = block_fixture_new();
    struct part *parts[PARTS];
    struct head *h[3];
    struct part_reader *r;
    struct part_info info;
    for (size_t i = 0; i < PARTS; i++) { /* three blocks, one of which nobody asked, and a head */
        struct part *head;
        if (i < 3)
            h[i] = fixture_head(20 + i, 300);
        head = head_part(h[i % 3]);
        parts[i] = i < 3 ? fixture_write(f, &head, 1) : part_ref(i == 17 ? head : parts[i % 3]);
    }
    assert_int_equal(part_reader_open(parts[1], NULL, &r, NULL), EC_OK);
    part_info(r, &info);
    for (uint32_t t = 0; t < info.n_traces; t++) {
        struct part_trace pt;
        size_t named = 0, at;
        assert_int_equal(part_trace(r, t, &pt, NULL), EC_OK);
        struct part_holders ph = {.parts = parts, .n = PARTS, .id = &pt.id};
        for (size_t i = 0; i < PARTS; i++) {
            if (!part_may_hold(parts[i], &pt.id))
                continue;
            assert_true(part_holders_next(&ph, &at));
            assert_int_equal(at, i);
            named++;
        }
        assert_true(named >= PARTS / 3);
        assert_false(part_holders_next(&ph, &at));
    }
    part_reader_close(r);
    for (size_t i = 0; i < PARTS; i++)
        part_unref(parts[i]);
    for (size_t i = 0; i < 3; i++)
        head_free(h[i]);
    block_fixture_free(f);
}

static void test_probe__names_are_those_of_the_keys(void **state)
{
    (void)state;
    uint64_t names[3][TABLE_COUNT];
    static const uint64_t seeds[3] = {1, 1, 2};
    struct block_fixture *f = block_fixture_new();
    for (size_t i = 0; i < 3; i++) {
        struct head *h = fixture_head(seeds[i], i == 1 ? 400 : 3);
        struct part *head = head_part(h), *p = fixture_write(f, &head, 1);
        assert_true(part_names(p, names[i]));
        assert_false(part_names(head, names[i]));
        part_unref(p);
        head_free(h);
    }
    assert_true(names[0][TABLE_SPANS] != names[1][TABLE_SPANS]); /* more spans, more keys */
    assert_true(names[0][TABLE_SPANS] != 0);
    block_fixture_free(f);
}

static void test_probe__is_cold_until_asked(void **state)
{
    struct block_fixture *f = block_fixture_new();
    struct head *h = fixture_head(5, 500);
    struct part *p = fixture_write(f, (struct part *[]){head_part(h)}, 1);
    (void)state;
    assert_false(part_cold(head_part(h), true));
    assert_true(part_cold(p, false));
    assert_true(part_cold(p, true)); /* telling the kernel is no question */
    (void)part_may_key(p, TABLE_SPANS, STR("k"), false);
    assert_false(part_cold(p, true));
    part_unref(p);
    part_unref(head_part(h));
    block_fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_probe__what_is_there_is_never_denied),
        cmocka_unit_test(test_probe__ids),
        cmocka_unit_test(test_probe__of_many_parts_the_same_are_named),
        cmocka_unit_test(test_probe__is_cold_until_asked),
        cmocka_unit_test(test_probe__names_are_those_of_the_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
