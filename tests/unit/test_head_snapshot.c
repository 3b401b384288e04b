/* SPDX-License-Identifier: Apache-2.0
 * Head: readers beside a writer. What a span holds follows from its id, and ids follow from rows,
 * so a reader can tell whether its snapshot is whole, whatever the writer does meanwhile. */
#include <pthread.h>

#include "head_request.h"
#include "otlp_fixture.h"
#include "storage/scan.h"

enum { BATCH = 100, BATCHES = 400, TRACES = 37, NAMES = 100, READERS = 2 };

struct shared {
    struct budget budget;
    struct head *h;
    _Atomic bool done;
    _Atomic uint32_t n_checked;
};

static void put_span(struct buf *b, uint32_t id)
{
    char text[32];
    size_t span = pb_begin(b, 2);
    fx_ids(b, (uint8_t)(1 + id % TRACES), id);
    snprintf(text, sizeof(text), "name-%u", id % NAMES);
    pb_put_bytes(b, 5, str_from(text));
    pb_put_fixed64(b, 7, 1000000 - id);
    pb_put_fixed64(b, 8, 2000000 + id);
    fx_attr_int(b, 9, "n", id);
    snprintf(text, sizeof(text), "unique-%u", id);
    fx_attr_str(b, 9, "u", text);
    if (id % 1000 == 0) { /* new columns now and then */
        snprintf(text, sizeof(text), "key-%u", id);
        fx_attr_int(b, 9, text, id);
    }
    for (uint32_t i = 0; i < id % 3; i++) {
        size_t event = pb_begin(b, 11);
        pb_put_fixed64(b, 1, id);
        fx_attr_int(b, 3, "e", id);
        pb_end(b, event);
    }
    pb_end(b, span);
}

static void *writer(void *arg)
{
    struct shared *s = arg;
    for (uint32_t k = 0; k < BATCHES; k++) {
        struct request q;
        request_begin(&q);
        size_t rs = pb_begin(&q.raw, 1), resource = pb_begin(&q.raw, 1);
        fx_attr_int(&q.raw, 1, "batch", k);
        pb_end(&q.raw, resource);
        size_t ss = pb_begin(&q.raw, 2);
        for (uint32_t i = 0; i < BATCH; i++)
            put_span(&q.raw, 1 + k * BATCH + i);
        pb_end(&q.raw, ss);
        pb_end(&q.raw, rs);
        request_decode(&q);
        assert_int_equal(request_insert(s->h, &q, 100 + k), 0);
        request_end(&q);
    }
    atomic_store(&s->done, true);
    return NULL;
}

static void check_row(struct part_reader *r, const struct read_span *span, uint32_t row)
{
    char name[32];
    uint32_t id = row + 1;
    assert_true(span->span_id == id);
    assert_int_equal(span->trace_id.b[0], 1 + id % TRACES);
    assert_true(span->start_ns == 1000000 - id && span->end_ns == 2000000 + id);
    snprintf(name, sizeof(name), "name-%u", id % NAMES);
    assert_str(span->name, str_from(name));
    assert_int_equal(span->n_attrs, id % 1000 == 0 ? 3 : 2);
    assert_true(span->attrs[0].value.i == id);
    snprintf(name, sizeof(name), "unique-%u", id);
    assert_str(span->attrs[1].value.s, str_from(name));
    assert_int_equal(span->n_events, id % 3);
    for (uint32_t i = 0; i < span->n_events; i++)
        assert_true(span->events[i].attrs[0].value.i == id);
    struct part_info info;
    part_info(r, &info);
    assert_true(span->resource < info.n_resources);
}

static void check_trace(
    struct part_reader *r, uint32_t n_rows, uint32_t number, struct arena *arena)
{
    struct part_trace t;
    uint32_t *rows, n, found;
    assert_ok(part_trace(r, number, &t, err));
    assert_ok(part_trace_find(r, &t.id, &found, err));
    assert_int_equal(found, number);
    assert_ok(part_trace_rows(r, number, arena, &rows, &n, err));
    assert_int_equal(t.n_rows, n);
    assert_int_equal(t.row_first, rows[0]);
    assert_int_equal(t.root_row, rows[n - 1]); /* all are roots */
    assert_true(t.start_ns == 1000000 - (rows[n - 1] + 1));
    assert_true(t.end_ns == 2000000 + rows[n - 1] + 1);
    uint32_t want = 0;
    for (uint32_t i = 0; i < n; i++) {
        assert_true(rows[i] < n_rows);
        assert_int_equal(1 + (rows[i] + 1) % TRACES, t.id.b[0]);
        assert_true(i == 0 || rows[i] == rows[i - 1] + TRACES);
    }
    for (uint32_t row = rows[0]; row < n_rows; row += TRACES)
        want++;
    assert_int_equal(n, want);
}

/* Values of "n" between two ids, by scan: as many as there are rows between them. */
static void check_scan(struct part_reader *r, const struct part_info *info)
{
    const struct scan_lit lit = {.type = SCAN_LIT_INT, .i = info->n_rows / 2};
    const struct scan_expr e = {.node = SCAN_LEAF,
        .leaf = {.table = TABLE_SPANS, .key = STR("n"), .op = SCAN_GT, .lits = &lit, .n_lits = 1}};
    struct scan *s;
    struct scan_bits bits;
    uint32_t n = 0;
    assert_ok(scan_new(r, &e, &s, err));
    for (uint32_t g = 0; g < info->n_groups; g++) {
        assert_ok(scan_group(s, g, &bits, err));
        n += scan_bits_count(&bits);
    }
    assert_int_equal(n, info->n_rows - info->n_rows / 2);
    scan_free(s);
}

static void check_snapshot(struct shared *s, uint32_t round)
{
    struct part_reader *r;
    struct part_info info;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    assert_ok(part_reader_open(head_part(s->h), &s->budget, &r, err));
    part_info(r, &info);
    assert_int_equal(info.n_rows % BATCH, 0);
    assert_int_equal(info.n_traces, MIN(info.n_rows, (uint32_t)TRACES));
    if (info.n_rows > 0) {
        uint32_t n = MIN(info.n_rows, 300u), first = (round * 7919) % (info.n_rows - n + 1);
        uint32_t *rows = ARENA_ARRAY(&arena, n, uint32_t);
        struct read_span *spans = ARENA_ARRAY(&arena, n, struct read_span);
        for (uint32_t i = 0; i < n; i++)
            rows[i] = round % 2 == 0 ? first + i : info.n_rows - n + i;
        assert_ok(span_read(r, rows, n, &arena, spans, err));
        for (uint32_t i = 0; i < n; i++)
            check_row(r, &spans[i], rows[i]);
        check_trace(r, info.n_rows, round % info.n_traces, &arena);
        check_scan(r, &info);
        assert_true(part_may_have(r, COL_SPAN_NAME, STR("name-1")));
        atomic_fetch_add(&s->n_checked, 1);
    }
    part_reader_close(r);
    arena_deinit(&arena);
}

static void *reader(void *arg)
{
    struct shared *s = arg;
    for (uint32_t round = 0; !atomic_load(&s->done); round++)
        check_snapshot(s, round);
    return NULL;
}

static void test_snapshot__is_whole_beside_a_writer(void **state)
{
    (void)state;
    struct shared s = {0};
    pthread_t threads[1 + READERS];
    budget_init(&s.budget, NULL, "t", 0);
    assert_ok(head_new(&s.budget, &s.h, err));
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&threads[1 + i], NULL, reader, &s), 0);
    assert_int_equal(pthread_create(&threads[0], NULL, writer, &s), 0);
    for (int i = 0; i < 1 + READERS; i++)
        pthread_join(threads[i], NULL);
    for (uint32_t round = 0; round < 50; round++)
        check_snapshot(&s, round);
    assert_true(atomic_load(&s.n_checked) > 50);
    head_free(s.h);
    budget_deinit(&s.budget);
}

/* A reader keeps the head, and its own view of it, past the owner. */
static void test_snapshot__outlives_growth_and_owner(void **state)
{
    (void)state;
    struct shared s = {0};
    struct part_reader *r;
    struct part_info info;
    struct col_view name, n, later;
    budget_init(&s.budget, NULL, "t", 0);
    assert_ok(head_new(&s.budget, &s.h, err));
    struct request q;
    request_begin(&q);
    size_t rs = pb_begin(&q.raw, 1), ss = pb_begin(&q.raw, 2);
    for (uint32_t i = 0; i < 10; i++)
        put_span(&q.raw, 5000000 + i);
    pb_end(&q.raw, ss);
    pb_end(&q.raw, rs);
    request_decode(&q);
    assert_int_equal(request_insert(s.h, &q, 1), 0);
    request_end(&q);
    assert_ok(part_reader_open(head_part(s.h), &s.budget, &r, err));
    assert_ok(part_view(r, 0, COL_SPAN_NAME, &name, err));
    assert_ok(part_view(r, 0, COL_FIXED_MAX, &n, err));
    writer(&s); /* every block is replaced, some many times */
    assert_int_equal(name.n, 10);
    assert_int_equal(n.n, 10);
    for (uint32_t i = 0; i < 10; i++) {
        char text[32];
        snprintf(text, sizeof(text), "name-%u", (5000000 + i) % NAMES);
        assert_str(dict_get(name.dict, name.u32[i]), str_from(text));
        assert_int_equal(n.rows[i], i);
        assert_true(n.i64[i] == 5000000 + i);
    }
    assert_ok(part_view(r, 0, COL_FIXED_MAX, &later, err));
    assert_int_equal(later.n, 10);
    part_info(r, &info);
    assert_int_equal(info.n_rows, 10);
    uint64_t held = budget_used(&s.budget);
    head_free(s.h);
    assert_true(budget_used(&s.budget) == held);
    part_reader_close(r);
    budget_deinit(&s.budget);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_snapshot__is_whole_beside_a_writer),
        cmocka_unit_test(test_snapshot__outlives_growth_and_owner),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
