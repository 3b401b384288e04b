/* SPDX-License-Identifier: Apache-2.0
 * Scans and span_read over parts that lie, budgets that refuse, and dictionaries that change from
 * group to group. */
#include "head_request.h"
#include "otlp_random.h"
#include "part_tamper.h"
#include "storage/scan.h"

struct fixture {
    struct head *h;
    struct request q;
    struct tamper t;
    struct part_reader *r;
    struct part_info info;
    struct budget budget;
};

static void damage_open(struct fixture *f, uint32_t n_spans)
{
    struct rng rng = {31};
    assert_ok(head_new(NULL, &f->h, err));
    request_begin(&f->q);
    rnd_request(&f->q.raw, &rng,
        &(struct rnd_options){
            .n_resources = 3, .n_spans = n_spans, .n_traces = 9, .first_span_id = 1});
    request_decode(&f->q);
    assert_int_equal(request_insert(f->h, &f->q, 1), 0);
    budget_init(&f->budget, NULL, "reader", 0);
    tamper_init(&f->t, head_part(f->h));
    assert_ok(part_reader_open(&f->t.part, &f->budget, &f->r, err));
    part_info(f->r, &f->info);
}

static void damage_close(struct fixture *f)
{
    part_reader_close(f->r);
    head_free(f->h);
    request_end(&f->q);
    budget_deinit(&f->budget);
}

/* The outcome of a leaf over all groups; *ret_hits counts rows. */
static enum ec run(struct fixture *f, const struct scan_leaf *leaf, uint32_t *ret_hits)
{
    const struct scan_expr e = {.node = SCAN_LEAF, .leaf = *leaf};
    struct scan *s;
    struct scan_bits bits;
    *ret_hits = 0;
    TRY(scan_new(f->r, &e, &s, NULL));
    enum ec ec = EC_OK;
    for (uint32_t g = 0; g < f->info.n_groups && ec == EC_OK; g++) {
        ec = scan_group(s, g, &bits, NULL);
        if (ec == EC_OK)
            *ret_hits += scan_bits_count(&bits);
    }
    scan_free(s);
    return ec;
}

static enum ec read_all(struct fixture *f)
{
    struct arena arena;
    arena_init(&arena, NULL, 0);
    uint32_t n = f->info.n_rows;
    uint32_t *rows = ARENA_ARRAY(&arena, n, uint32_t);
    struct read_span *spans = ARENA_ARRAY(&arena, n, struct read_span);
    for (uint32_t i = 0; i < n; i++)
        rows[i] = i;
    enum ec ec = span_read(f->r, rows, n, &arena, spans, NULL);
    arena_deinit(&arena);
    return ec;
}

static bool match_all(void *ctx, struct str s)
{
    (void)ctx, (void)s;
    return true;
}

/* What the next tampered view says; `col` chooses which. */
static struct damage {
    col_id col;
    uint32_t *rows, *values;
    enum { SHORT, BAD_ROW, BAD_VALUE, NO_DICT, OTHER_TYPE, FAIL } kind;
} damage;

static enum ec damage_view(
    struct tamper *t, uint32_t g, col_id col, struct col_view *v, struct err *err)
{
    (void)t, (void)g;
    if (col != damage.col || v->n == 0)
        return EC_OK;
    switch (damage.kind) {
    case SHORT:
        v->n--;
        return EC_OK;
    case BAD_ROW:
        memcpy(damage.rows, v->rows, v->n * 4);
        damage.rows[v->n - 1] = PART_GROUP_ROWS;
        v->rows = damage.rows;
        return EC_OK;
    case BAD_VALUE:
        memset(damage.values, 0x7f, v->n * 4);
        v->u32 = damage.values;
        return EC_OK;
    case NO_DICT:
        v->dict = NULL;
        return EC_OK;
    case OTHER_TYPE:
        v->phys = PHYS_U8;
        return EC_OK;
    case FAIL:
        return ERR(err, EC_IO, "no disk");
    }
    return EC_OK;
}

static col_id col_of(struct fixture *f, enum part_table t, const char *key, enum value_type type)
{
    const struct part_attr *found[VALUE_TYPES];
    assert_ok(part_attr_find(f->r, t, str_from(key), found, err));
    assert_non_null(found[type]);
    return found[type]->col;
}

static void test_scan__damage_is_corrupt(void **state)
{
    (void)state;
    const struct scan_lit one = {.type = SCAN_LIT_INT, .i = 1};
    const struct scan_leaf match_k0 = {
        .table = TABLE_SPANS, .key = STR("k0"), .op = SCAN_MATCH, .match = match_all};
    const struct scan_leaf int_k0 = {
        .table = TABLE_SPANS, .key = STR("k0"), .op = SCAN_GE, .lits = &one, .n_lits = 1};
    const struct scan_leaf event_k0 = {.table = TABLE_EVENTS, .key = STR("k0"), .op = SCAN_KEY};
    const struct scan_leaf resource_k0 = {
        .table = TABLE_RESOURCES, .key = STR("k0"), .op = SCAN_KEY};
    const struct scan_leaf name = {.col = COL_SPAN_NAME, .op = SCAN_MATCH, .match = match_all};
    struct fixture f;
    uint32_t hits;
    damage_open(&f, 100);
    const col_id str_col = col_of(&f, TABLE_SPANS, "k0", VALUE_STR);
    const col_id int_col = col_of(&f, TABLE_SPANS, "k0", VALUE_INT);
    const struct {
        const struct scan_leaf *leaf;
        col_id col;
        int kind;
        enum ec want;
    } cases[] = {
        {&match_k0, str_col, BAD_VALUE, EC_CORRUPT},
        {&match_k0, str_col, BAD_ROW, EC_CORRUPT},
        {&match_k0, str_col, NO_DICT, EC_CORRUPT},
        {&match_k0, str_col, OTHER_TYPE, EC_CORRUPT},
        {&match_k0, str_col, FAIL, EC_IO},
        {&int_k0, int_col, BAD_ROW, EC_CORRUPT},
        {&int_k0, int_col, OTHER_TYPE, EC_CORRUPT},
        {&name, COL_SPAN_NAME, BAD_VALUE, EC_CORRUPT},
        {&event_k0, COL_EVENT_SPAN, BAD_VALUE, EC_CORRUPT},
        {&event_k0, COL_EVENT_SPAN, SHORT, EC_CORRUPT},
        {&event_k0, COL_EVENT_SPAN, OTHER_TYPE, EC_CORRUPT},
        {&resource_k0, COL_SPAN_RESOURCE, BAD_VALUE, EC_CORRUPT},
        {&resource_k0, COL_SPAN_RESOURCE, SHORT, EC_CORRUPT},
        {&resource_k0, COL_SPAN_RESOURCE, FAIL, EC_IO},
    };
    damage.rows = xmalloc(PART_GROUP_ROWS * 4);
    damage.values = xmalloc(PART_GROUP_ROWS * 4);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        f.t.view = NULL;
        assert_int_equal(run(&f, cases[i].leaf, &hits), EC_OK);
        assert_true(hits > 0);
        damage.col = cases[i].col;
        damage.kind = cases[i].kind;
        f.t.view = damage_view;
        if (run(&f, cases[i].leaf, &hits) != cases[i].want)
            fail_msg("case %zu", i);
    }
    free(damage.rows);
    free(damage.values);
    damage_close(&f);
}

static void shape_unknown(struct tamper *t, const col_id **cols, size_t *n)
{
    static const col_id bad[] = {1000000};
    (void)t;
    *cols = bad;
    *n = 1;
}

/* A column of another table. */
static void shape_foreign(struct tamper *t, const col_id **cols, size_t *n)
{
    *cols = t->ctx;
    *n = 1;
}

static void shape_longer(struct tamper *t, const col_id **cols, size_t *n)
{
    static col_id twice[64];
    (void)t;
    if (*n == 0 || *n >= 64)
        return;
    memcpy(twice, *cols, *n * sizeof(col_id));
    twice[*n] = twice[*n - 1];
    *cols = twice;
    *n += 1;
}

static void test_span_read__damage_is_corrupt(void **state)
{
    (void)state;
    static const col_id dense[] = {COL_SPAN_TRACE, COL_SPAN_ID, COL_SPAN_DURATION, COL_SPAN_NAME,
        COL_SPAN_SHAPE, COL_SPAN_SCOPE, COL_EVENT_SPAN, COL_EVENT_NAME, COL_LINK_TRACE_ID};
    static const col_id codes[] = {
        COL_SPAN_NAME, COL_SPAN_STATUS_MESSAGE, COL_EVENT_NAME, COL_LINK_TRACE_STATE};
    struct fixture f;
    damage_open(&f, 100);
    assert_int_equal(read_all(&f), EC_OK);
    damage.rows = xmalloc(PART_GROUP_ROWS * 4);
    damage.values = xmalloc(PART_GROUP_ROWS * 4);
    f.t.view = damage_view;
    for (size_t i = 0; i < ARRAY_LEN(dense); i++) {
        damage.col = dense[i];
        damage.kind = SHORT;
        assert_int_equal(read_all(&f), EC_CORRUPT);
        damage.kind = FAIL;
        assert_int_equal(read_all(&f), EC_IO);
    }
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        damage.col = codes[i];
        damage.kind = BAD_VALUE;
        assert_int_equal(read_all(&f), EC_CORRUPT);
        damage.kind = NO_DICT;
        assert_int_equal(read_all(&f), EC_CORRUPT);
    }
    damage.col = col_of(&f, TABLE_SPANS, "k1", VALUE_INT);
    damage.kind = SHORT;
    assert_int_equal(read_all(&f), EC_CORRUPT);
    f.t.view = NULL;
    const struct part_attr *attrs;
    size_t n;
    assert_ok(part_attrs(f.r, &attrs, &n, err));
    while (n > 0 && attrs[n - 1].table != TABLE_RESOURCES)
        n--;
    assert_true(n > 0);
    col_id foreign = attrs[n - 1].col;
    f.t.ctx = &foreign;
    f.t.shape = shape_foreign;
    assert_int_equal(read_all(&f), EC_CORRUPT);
    f.t.shape = shape_unknown;
    assert_int_equal(read_all(&f), EC_CORRUPT);
    f.t.shape = shape_longer;
    assert_int_equal(read_all(&f), EC_CORRUPT);
    f.t.shape = NULL;
    assert_int_equal(read_all(&f), EC_OK);
    free(damage.rows);
    free(damage.values);
    damage_close(&f);
}

/* The same strings under other codes, in every second group. */
struct mirror {
    struct dict dict; /* first */
    const struct dict *under;
    uint32_t n;
    uint32_t *values;
};
static uint32_t mirror_count(const struct dict *d)
{
    return ((const struct mirror *)d)->n;
}
static struct str mirror_get(const struct dict *d, uint32_t code)
{
    const struct mirror *m = (const struct mirror *)d;
    return dict_get(m->under, m->n - 1 - code);
}
static bool mirror_find(const struct dict *d, struct str s, uint32_t *ret_code)
{
    const struct mirror *m = (const struct mirror *)d;
    uint32_t code;
    if (!dict_find(m->under, s, &code))
        return false;
    *ret_code = m->n - 1 - code;
    return true;
}
static const struct dict_ops mirror_ops = {mirror_count, mirror_get, mirror_find};

static enum ec mirror_view(
    struct tamper *t, uint32_t g, col_id col, struct col_view *v, struct err *err)
{
    struct mirror *m = t->ctx;
    (void)err, (void)col;
    if (g % 2 == 0 || v->phys != PHYS_CODE || v->n == 0)
        return EC_OK;
    m->dict.ops = &mirror_ops;
    m->under = v->dict;
    m->n = dict_count(v->dict);
    for (uint32_t i = 0; i < v->n; i++)
        m->values[i] = m->n - 1 - v->u32[i];
    v->u32 = m->values;
    v->dict = &m->dict;
    return EC_OK;
}

static bool match_odd(void *ctx, struct str s)
{
    (void)ctx;
    return s.n % 2 == 1;
}

static void test_scan__dictionaries_may_change(void **state)
{
    (void)state;
    const struct scan_lit get = {.type = SCAN_LIT_STR, .s = STR("GET")};
    const struct scan_leaf leaves[] = {
        {.col = COL_SPAN_NAME, .op = SCAN_EQ, .lits = &get, .n_lits = 1},
        {.col = COL_SPAN_NAME, .op = SCAN_MATCH, .match = match_odd},
        {.table = TABLE_SPANS, .key = STR("k0"), .op = SCAN_NE, .lits = &get, .n_lits = 1},
        {.table = TABLE_SPANS, .key = STR("list"), .op = SCAN_EXISTS},
    };
    struct fixture f;
    struct mirror m = {.values = xmalloc(PART_GROUP_ROWS * 4)};
    damage_open(&f, PART_GROUP_ROWS); /* three groups */
    f.t.ctx = &m;
    for (size_t i = 0; i < ARRAY_LEN(leaves); i++) {
        uint32_t want, got;
        f.t.view = NULL;
        assert_int_equal(run(&f, &leaves[i], &want), EC_OK);
        f.t.view = mirror_view;
        assert_int_equal(run(&f, &leaves[i], &got), EC_OK);
        assert_int_equal(got, want);
        assert_true(want > 0 && want < f.info.n_rows);
    }
    free(m.values);
    damage_close(&f);
}

static uint32_t n_views;
static enum ec count_view(
    struct tamper *t, uint32_t g, col_id col, struct col_view *v, struct err *err)
{
    (void)t, (void)g, (void)col, (void)v, (void)err;
    n_views++;
    return EC_OK;
}

/* What cannot match is known without a page, and an AND stops early. */
static void test_scan__negative_answers_are_cheap(void **state)
{
    (void)state;
    const struct scan_lit absent = {.type = SCAN_LIT_STR, .s = STR("no such string")};
    const struct scan_expr missing = {.node = SCAN_LEAF,
        .leaf = {.table = TABLE_SPANS, .key = STR("no such key"), .op = SCAN_EXISTS}};
    const struct scan_expr string = {.node = SCAN_LEAF,
        .leaf = {.col = COL_SPAN_NAME, .op = SCAN_EQ, .lits = &absent, .n_lits = 1}};
    const struct scan_expr all = {.node = SCAN_ALL};
    const struct scan_expr *kids[] = {&all, &string};
    const struct scan_expr and = {.node = SCAN_AND, .kids = kids, .n_kids = 2};
    const struct scan_expr *none_kids[] = {&missing, &string};
    const struct scan_expr or = {.node = SCAN_OR, .kids = none_kids, .n_kids = 2};
    const struct scan_expr *not_kids[] = {&missing};
    const struct scan_expr not = {.node = SCAN_NOT, .kids = not_kids, .n_kids = 1};
    const struct scan_expr *none[] = {&missing, &string, &and, & or };
    struct fixture f;
    struct scan *s;
    struct scan_bits bits;
    damage_open(&f, 100);
    f.t.view = count_view;
    n_views = 0;
    for (size_t i = 0; i < ARRAY_LEN(none); i++) {
        assert_ok(scan_new(f.r, none[i], &s, err));
        assert_true(scan_none(s));
        assert_ok(scan_group(s, 0, &bits, err));
        assert_false(scan_bits_any(&bits));
        scan_free(s);
    }
    assert_int_equal(n_views, 0);
    assert_ok(scan_new(f.r, &not, &s, err));
    assert_false(scan_none(s));
    assert_ok(scan_group(s, 0, &bits, err));
    assert_int_equal(scan_bits_count(&bits), f.info.n_rows);
    scan_free(s);
    damage_close(&f);
}

static void test_scan__depth_is_bounded(void **state)
{
    (void)state;
    static struct scan_expr e[SCAN_DEPTH_MAX + 2];
    static const struct scan_expr *kid[SCAN_DEPTH_MAX + 2];
    struct fixture f;
    struct scan *s = NULL;
    damage_open(&f, 10);
    for (uint32_t i = 0; i < ARRAY_LEN(e); i++) {
        kid[i] = i == 0 ? NULL : &e[i - 1];
        e[i] = (struct scan_expr){
            .node = i == 0 ? SCAN_ALL : SCAN_NOT, .kids = &kid[i], .n_kids = i == 0 ? 0 : 1};
    }
    assert_int_equal(scan_new(f.r, &e[SCAN_DEPTH_MAX + 1], &s, NULL), EC_INVALID);
    assert_null(s);
    assert_ok(scan_new(f.r, &e[SCAN_DEPTH_MAX], &s, err));
    struct scan_bits bits;
    assert_ok(scan_group(s, 0, &bits, err));
    assert_int_equal(scan_bits_count(&bits), f.info.n_rows);
    scan_free(s);
    damage_close(&f);
}

/* The budget refuses at every point of a scan and of span_read: EC_LIMIT, and all is given back. */
static void test_budget__refusals_give_all_back(void **state)
{
    (void)state;
    const struct scan_leaf leaf = {
        .table = TABLE_EVENTS, .key = STR("k0"), .op = SCAN_MATCH, .match = match_all};
    struct fixture f;
    uint32_t hits, refused = 0;
    damage_open(&f, 2000);
    uint64_t used = budget_used(&f.budget);
    for (uint64_t room = 1;; room += 64 + room / 8) {
        atomic_store(&f.budget.cap, budget_used(&f.budget) + room);
        enum ec ec = run(&f, &leaf, &hits), read = read_all(&f);
        if (ec == EC_OK && read == EC_OK)
            break;
        assert_true(ec == EC_OK || ec == EC_LIMIT);
        assert_true(read == EC_OK || read == EC_LIMIT);
        refused++;
    }
    assert_true(refused > 3 && hits > 0);
    assert_true(budget_used(&f.budget) >= used); /* the reader keeps what it looked up */
    atomic_store(&f.budget.cap, 0);
    damage_close(&f); /* asserts that nothing is left */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scan__damage_is_corrupt),
        cmocka_unit_test(test_span_read__damage_is_corrupt),
        cmocka_unit_test(test_scan__dictionaries_may_change),
        cmocka_unit_test(test_scan__negative_answers_are_cheap),
        cmocka_unit_test(test_scan__depth_is_bounded),
        cmocka_unit_test(test_budget__refusals_give_all_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
