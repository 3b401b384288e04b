/* SPDX-License-Identifier: Apache-2.0
 * Scans against a second, naive implementation: random spans, random conditions, every row
 * compared. The oracle works on whole spans (span_read) and compares numbers as 80-bit floats,
 * which hold every int64 and every double exactly. */
#include <math.h>

#include "head_request.h"
#include "otlp_random.h"
#include "storage/scan.h"

static int order(long double a, long double b)
{
    return a < b ? -1 : a > b ? 1 : 0;
}

/* -1, 0, 1: order; 2: cannot be compared; 3: unordered (NaN). */
static int compare(const struct value *v, const struct scan_lit *l)
{
    bool number = l->type == SCAN_LIT_INT || l->type == SCAN_LIT_DOUBLE;
    if (v->type == VALUE_STR && l->type == SCAN_LIT_STR) {
        int c = str_cmp(v->s, l->s);
        return c < 0 ? -1 : c > 0;
    }
    if (v->type == VALUE_BOOL && l->type == SCAN_LIT_BOOL)
        return v->b == l->b ? 0 : 3;
    if ((v->type != VALUE_INT && v->type != VALUE_DOUBLE) || !number)
        return 2;
    long double a = v->type == VALUE_INT ? (long double)v->i : (long double)v->d;
    long double b = l->type == SCAN_LIT_INT ? (long double)l->i : (long double)l->d;
    return isnan(a) || isnan(b) ? 3 : order(a, b);
}

static bool scalar_holds(const struct scan_leaf *w, const struct value *v)
{
    bool usable = v->type >= VALUE_STR && v->type <= VALUE_BOOL;
    bool hit = false, comparable = false;
    if (!usable)
        return false;
    switch (w->op) {
    case SCAN_MATCH:
        return v->type == VALUE_STR && w->match(w->ctx, v->s);
    case SCAN_NOT_MATCH:
        return v->type == VALUE_STR && !w->match(w->ctx, v->s);
    case SCAN_EXISTS:
        return true;
    case SCAN_TRUE:
        return v->type == VALUE_BOOL && v->b;
    default:
        break;
    }
    for (uint32_t i = 0; i < w->n_lits; i++) {
        int c = compare(v, &w->lits[i]);
        hit |= c == 0;
        comparable |= c != 2;
    }
    int c = w->n_lits == 1 ? compare(v, &w->lits[0]) : 2;
    if (v->type == VALUE_BOOL && w->op >= SCAN_LT && w->op <= SCAN_GE)
        return false; /* bools have no order */
    switch (w->op) {
    case SCAN_EQ:
    case SCAN_IN:
        return hit;
    case SCAN_NE:
    case SCAN_NOT_IN:
        return comparable && !hit;
    case SCAN_LT:
        return c == -1;
    case SCAN_LE:
        return c == -1 || c == 0;
    case SCAN_GT:
        return c == 1;
    case SCAN_GE:
        return c == 1 || c == 0;
    default:
        return false;
    }
}

static bool value_holds(const struct scan_leaf *w, const struct value *v)
{
    if (v->type != VALUE_ARRAY)
        return scalar_holds(w, v);
    const char *cursor = NULL;
    struct value e;
    uint32_t n = 0, types = 0;
    bool any = false;
    while (value_array_next(v->s, &cursor, &e)) {
        n++;
        types |= 1u << e.type;
        any |= scalar_holds(w, &e);
    }
    return n > 0 && (types & (types - 1)) == 0 && any;
}

static bool attrs_hold(const struct scan_leaf *w, const struct attr *attrs, uint32_t n)
{
    bool key = false, holds = false;
    for (uint32_t i = 0; i < n; i++) {
        if (!str_eq(attrs[i].key, w->key))
            continue;
        key = true;
        holds |= value_holds(w, &attrs[i].value);
    }
    return w->op == SCAN_KEY ? key : w->op == SCAN_ABSENT ? !key : holds;
}

static bool int_holds(const struct scan_leaf *w, uint64_t v)
{
    struct scan_lit lits[4];
    struct scan_leaf own = *w;
    for (uint32_t i = 0; i < w->n_lits; i++) {
        lits[i] = w->lits[i];
        if (lits[i].type == SCAN_LIT_DURATION)
            lits[i].type = SCAN_LIT_INT;
    }
    own.lits = lits;
    if (w->op == SCAN_EXISTS || w->op == SCAN_KEY)
        return true;
    if (v <= INT64_MAX)
        return scalar_holds(&own, &(struct value){.type = VALUE_INT, .i = (int64_t)v});
    /* Above every int64: as the double next to it, for the literals in use. */
    return scalar_holds(&own, &(struct value){.type = VALUE_DOUBLE, .d = 0x1.8p63});
}

static bool str_holds(const struct scan_leaf *w, struct str s)
{
    return w->op == SCAN_KEY ||
           (w->op != SCAN_ABSENT && scalar_holds(w, &(struct value){.type = VALUE_STR, .s = s}));
}

static bool span_holds(struct part_reader *r, const struct scan_leaf *w, const struct read_span *s,
    struct arena *arena)
{
    struct read_resource res;
    struct read_scope scope;
    bool any = false;
    if (w->key.p == NULL)
        switch (w->col) {
        case COL_SPAN_NAME:
            return str_holds(w, s->name);
        case COL_SPAN_STATUS_MESSAGE:
            return str_holds(w, s->status_message);
        case COL_SPAN_KIND:
            return int_holds(w, s->kind);
        case COL_SPAN_DURATION:
            return int_holds(w, s->end_ns - s->start_ns);
        case COL_SPAN_DROPPED_ATTRS:
            return int_holds(w, s->dropped_attrs);
        case COL_EVENT_NAME:
            for (uint32_t i = 0; i < s->n_events; i++)
                any |= str_holds(w, s->events[i].name);
            return any;
        case COL_LINK_TRACE_STATE:
            for (uint32_t i = 0; i < s->n_links; i++)
                any |= str_holds(w, s->links[i].trace_state);
            return any;
        case COL_SCOPE_NAME:
            assert_ok(scope_read(r, s->scope, arena, &scope, err));
            return str_holds(w, scope.name);
        default:
            fail();
        }
    switch (w->table) {
    case TABLE_RESOURCES:
        assert_ok(resource_read(r, s->resource, arena, &res, err));
        return attrs_hold(w, res.attrs, res.n_attrs);
    case TABLE_SCOPES:
        assert_ok(scope_read(r, s->scope, arena, &scope, err));
        return attrs_hold(w, scope.attrs, scope.n_attrs);
    case TABLE_EVENTS:
        for (uint32_t i = 0; i < s->n_events; i++)
            any |= attrs_hold(w, s->events[i].attrs, s->events[i].n_attrs);
        return any;
    case TABLE_LINKS:
        for (uint32_t i = 0; i < s->n_links; i++)
            any |= attrs_hold(w, s->links[i].attrs, s->links[i].n_attrs);
        return any;
    default:
        return attrs_hold(w, s->attrs, s->n_attrs);
    }
}

static bool match_short(void *ctx, struct str s)
{
    return s.n <= *(size_t *)ctx;
}

static struct scan_lit random_lit(struct rng *r)
{
    switch (rng_below(r, 9)) {
    case 0:
    case 1:
    case 2:
        return (struct scan_lit){.type = SCAN_LIT_STR, .s = str_from(rnd_strings[rng_below(r, 8)])};
    case 3:
    case 4:
        return (struct scan_lit){.type = SCAN_LIT_INT, .i = rnd_ints[rng_below(r, 10)]};
    case 5:
    case 6:
        return (struct scan_lit){.type = SCAN_LIT_DOUBLE, .d = rnd_doubles[rng_below(r, 12)]};
    case 7:
        return (struct scan_lit){.type = SCAN_LIT_DURATION, .i = rng_below(r, 1000)};
    default:
        return (struct scan_lit){.type = SCAN_LIT_BOOL, .b = rng_below(r, 2) != 0};
    }
}

static const col_id fixed_cols[] = {COL_SPAN_NAME, COL_SPAN_STATUS_MESSAGE, COL_SPAN_KIND,
    COL_SPAN_DURATION, COL_SPAN_DROPPED_ATTRS, COL_EVENT_NAME, COL_LINK_TRACE_STATE,
    COL_SCOPE_NAME};

static size_t match_len = 3;

static void random_leaf(struct rng *r, struct scan_lit lits[4], struct scan_leaf *ret)
{
    *ret = (struct scan_leaf){.op = rng_below(r, SCAN_ABSENT + 1), .lits = lits};
    ret->n_lits = ret->op <= SCAN_GE                             ? 1
                  : ret->op == SCAN_IN || ret->op == SCAN_NOT_IN ? rng_below(r, 4)
                                                                 : 0;
    for (uint32_t i = 0; i < ret->n_lits; i++)
        lits[i] = random_lit(r);
    ret->match = match_short;
    ret->ctx = &match_len;
    if (rng_below(r, 3) == 0) {
        ret->col = fixed_cols[rng_below(r, ARRAY_LEN(fixed_cols))];
        return;
    }
    ret->table = rng_below(r, TABLE_COUNT);
    ret->key = str_from(rng_below(r, 12) == 0 ? "missing" : rnd_keys[rng_below(r, 6)]);
}

struct fixture {
    struct budget budget;
    struct head *h;
    struct part_reader *r;
    struct part_info info;
    struct arena arena;
    struct read_span *spans;
};

static void oracle_open(struct fixture *f, uint64_t seed, uint32_t n_spans)
{
    struct rng rng = {seed};
    struct request q;
    budget_init(&f->budget, NULL, "t", 0);
    assert_ok(head_new(&f->budget, &f->h, err));
    request_begin(&q);
    rnd_request(&q.raw, &rng,
        &(struct rnd_options){
            .n_resources = 7, .n_spans = n_spans / 7 + 1, .n_traces = 50, .first_span_id = 1});
    request_decode(&q);
    assert_int_equal(request_insert(f->h, &q, 5), 0);
    assert_ok(part_reader_open(head_part(f->h), &f->budget, &f->r, err));
    part_info(f->r, &f->info);
    arena_init(&f->arena, NULL, 0);
    uint32_t *rows = ARENA_ARRAY(&f->arena, f->info.n_rows, uint32_t);
    for (uint32_t i = 0; i < f->info.n_rows; i++)
        rows[i] = i;
    f->spans = ARENA_ARRAY(&f->arena, f->info.n_rows, struct read_span);
    assert_ok(span_read(f->r, rows, f->info.n_rows, &f->arena, f->spans, err));
    request_end(&q);
}

static void oracle_close(struct fixture *f)
{
    arena_deinit(&f->arena);
    part_reader_close(f->r);
    head_free(f->h);
    budget_deinit(&f->budget);
}

static void check_leaf(struct fixture *f, const struct scan_leaf *leaf, uint32_t *hits)
{
    struct scan_expr e = {.node = SCAN_LEAF, .leaf = *leaf};
    struct scan *s;
    struct scan_bits bits;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    assert_ok(scan_new(f->r, &e, &s, err));
    for (uint32_t g = 0; g < f->info.n_groups; g++) {
        assert_ok(scan_group(s, g, &bits, err));
        for (uint32_t i = 0; i < bits.n; i++) {
            const struct read_span *span = &f->spans[g * PART_GROUP_ROWS + i];
            bool want = span_holds(f->r, leaf, span, &arena);
            if (scan_bits_get(&bits, i) != want)
                fail_msg("row %u: op %d table %d key %.*s col %u lits %u: got %d", i, leaf->op,
                    leaf->table, STR_ARG(leaf->key), leaf->col, leaf->n_lits,
                    scan_bits_get(&bits, i));
            *hits += want;
            if (want)
                assert_false(scan_none(s));
        }
    }
    scan_free(s);
    arena_deinit(&arena);
}

static void test_leaf__equals_oracle(void **state)
{
    (void)state;
    struct fixture f;
    struct rng rng = {77};
    uint32_t hits = 0;
    oracle_open(&f, 1, 700);
    for (int i = 0; i < 3000; i++) {
        struct scan_lit lits[4];
        struct scan_leaf leaf;
        random_leaf(&rng, lits, &leaf);
        check_leaf(&f, &leaf, &hits);
    }
    assert_true(hits > 100000); /* the conditions do find something */
    oracle_close(&f);
}

/* Several groups, the last one partly full; the memo of a dictionary lives across groups. */
static void test_leaf__equals_oracle_over_groups(void **state)
{
    (void)state;
    struct fixture f;
    struct rng rng = {78};
    uint32_t hits = 0;
    oracle_open(&f, 2, 2 * PART_GROUP_ROWS + 77);
    assert_int_equal(f.info.n_groups, 3);
    for (int i = 0; i < 30; i++) {
        struct scan_lit lits[4];
        struct scan_leaf leaf;
        do
            random_leaf(&rng, lits, &leaf);
        while (leaf.key.p != NULL && leaf.table <= TABLE_SCOPES); /* slow in the oracle */
        check_leaf(&f, &leaf, &hits);
    }
    oracle_close(&f);
}

static bool expr_holds(
    struct fixture *f, const struct scan_expr *e, const struct read_span *s, struct arena *arena)
{
    bool all = true, any = false;
    if (e->node == SCAN_LEAF)
        return span_holds(f->r, &e->leaf, s, arena);
    for (uint32_t i = 0; i < e->n_kids; i++) {
        bool kid = expr_holds(f, e->kids[i], s, arena);
        all &= kid;
        any |= kid;
    }
    return e->node == SCAN_OR ? any : e->node == SCAN_NOT ? !any : all;
}

static struct scan_expr *random_expr(struct rng *r, struct arena *arena, uint32_t depth)
{
    struct scan_expr *e = ARENA_NEW(arena, struct scan_expr);
    e->node = depth == 0 ? SCAN_LEAF : rng_below(r, 5);
    if (e->node == SCAN_LEAF) {
        struct scan_lit *lits = ARENA_ARRAY(arena, 4, struct scan_lit);
        random_leaf(r, lits, &e->leaf);
    } else if (e->node != SCAN_ALL) {
        e->n_kids = e->node == SCAN_NOT ? 1 : rng_below(r, 4);
        const struct scan_expr **kids =
            (const struct scan_expr **)arena_alloc(arena, 4 * sizeof(*kids));
        for (uint32_t i = 0; i < e->n_kids; i++)
            kids[i] = random_expr(r, arena, depth - 1);
        e->kids = kids;
    }
    return e;
}

static void test_tree__equals_oracle(void **state)
{
    (void)state;
    struct fixture f;
    struct rng rng = {79};
    oracle_open(&f, 3, 300);
    for (int i = 0; i < 500; i++) {
        struct arena arena;
        struct scan *s;
        struct scan_bits bits;
        arena_init(&arena, NULL, 0);
        const struct scan_expr *e = random_expr(&rng, &arena, 3);
        assert_ok(scan_new(f.r, e, &s, err));
        assert_ok(scan_group(s, 0, &bits, err));
        uint32_t n = 0, at = 0;
        for (uint32_t row = 0; row < bits.n; row++) {
            bool want = expr_holds(&f, e, &f.spans[row], &arena);
            assert_int_equal(scan_bits_get(&bits, row), want);
            n += want;
            if (want) {
                assert_int_equal(scan_bits_next(&bits, at), row);
                at = row + 1;
            }
        }
        assert_int_equal(scan_bits_count(&bits), n);
        assert_int_equal(scan_bits_next(&bits, at), bits.n);
        assert_true(n == 0 || !scan_none(s));
        scan_free(s);
        arena_deinit(&arena);
    }
    oracle_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_leaf__equals_oracle),
        cmocka_unit_test(test_leaf__equals_oracle_over_groups),
        cmocka_unit_test(test_tree__equals_oracle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
