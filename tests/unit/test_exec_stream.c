/* SPDX-License-Identifier: Apache-2.0
 * Progress of queries: whatever is told on the way is new, grows, and is in the final answer
 * too. */
#include <math.h>

#include "block_fixture.h"
#include "otlp_fixture.h"
#include "query/metrics.h"
#include "unit.h"

static struct err err;

#define T0 UINT64_C(1700000000000000000)
#define S  UINT64_C(1000000000)

/* What was told, over all calls. */
struct told {
    struct query_stats last;
    unsigned calls;
    struct trace_id ids[4096];
    uint64_t starts[4096];
    size_t n_ids;
    char names[2048][48]; /* "kind name" */
    size_t n_names;
    double values[64];
    uint64_t from_ns; /* metrics: the oldest sample that was told */
};

struct run {
    struct part *parts[3];
    struct arena arena;
    struct budget budget;
    struct query_stream stream;
    struct query_ctx ctx;
    struct told told;
};

static void progress(struct told *t, const struct query_stats *s)
{
    assert_true(s->total_jobs >= 1 && s->completed_jobs <= s->total_jobs);
    assert_true(t->calls == 0 || s->total_jobs == t->last.total_jobs);
    assert_true(s->completed_jobs >= t->last.completed_jobs);
    assert_true(s->inspected_bytes >= t->last.inspected_bytes);
    assert_true(s->inspected_spans >= t->last.inspected_spans);
    t->last = *s;
    t->calls++;
}

static void on_search(void *arg, const struct search_result *part)
{
    struct told *t = arg;
    progress(t, &part->stats);
    for (size_t i = 0; i < part->n; i++) {
        assert_true(t->n_ids < ARRAY_LEN(t->ids));
        t->starts[t->n_ids] = part->traces[i].start_ns;
        t->ids[t->n_ids++] = part->traces[i].id;
    }
}

static void note_name(struct told *t, const char *kind, struct str s)
{
    char text[48];
    snprintf(text, sizeof(text), "%s " STR_FMT, kind, STR_ARG(s));
    for (size_t i = 0; i < t->n_names; i++)
        if (strcmp(t->names[i], text) == 0)
            fail_msg("%s was told twice", text);
    assert_true(t->n_names < ARRAY_LEN(t->names));
    memcpy(t->names[t->n_names++], text, sizeof(text));
}

static void on_tags(void *arg, const struct tags_result *part)
{
    progress(arg, &part->stats);
    for (unsigned k = 0; k < TAG_SCOPES; k++)
        for (size_t i = 0; i < part->n[k]; i++)
            note_name(arg, (char[]){(char)('0' + k), 0}, part->names[k][i]);
}

static void on_values(void *arg, const struct values_result *part)
{
    progress(arg, &part->stats);
    for (size_t i = 0; i < part->n; i++)
        note_name(arg, part->values[i].type, part->values[i].value);
}

static void on_metrics(void *arg, const struct metrics_result *part)
{
    struct told *t = arg;
    progress(t, &part->stats);
    if (part->n == 0)
        return;
    assert_int_equal(part->n, 1);
    uint64_t end = part->first_ns + part->n_buckets * part->step_ns;
    assert_true(t->from_ns == 0 || end == t->from_ns); /* windows touch and never overlap */
    t->from_ns = part->first_ns;
    for (uint32_t i = 0; i < part->n_buckets; i++)
        t->values[(part->first_ns - T0) / part->step_ns + i] = part->series[0].values[i];
    for (uint32_t i = 0; i < part->series[0].n_exemplars; i++)
        assert_true(part->series[0].exemplars[i].start_ns > part->first_ns - part->step_ns);
}

static void begin(struct run *u)
{
    memset(&u->told, 0, sizeof(u->told));
    budget_init(&u->budget, NULL, "test", 0);
    arena_init(&u->arena, &u->budget, 0);
    u->stream = (struct query_stream){.arg = &u->told,
        .search = on_search,
        .tags = on_tags,
        .values = on_values,
        .metrics = on_metrics};
    u->ctx = (struct query_ctx){.parts = u->parts,
        .n_parts = ARRAY_LEN(u->parts),
        .arena = &u->arena,
        .budget = &u->budget,
        .stream = &u->stream};
}

static void end(struct run *u)
{
    arena_deinit(&u->arena);
    budget_deinit(&u->budget);
}

static void open_random(struct run *u, struct block_fixture *f)
{
    for (unsigned i = 0; i < 3; i++) {
        struct head *h = fixture_head(21 + i, 700);
        u->parts[i] =
            i == 0 ? part_ref(head_part(h)) : fixture_write(f, (struct part *[]){head_part(h)}, 1);
        part_unref(head_part(h));
    }
}

static void close_parts(struct run *u)
{
    for (size_t i = 0; i < ARRAY_LEN(u->parts); i++)
        part_unref(u->parts[i]);
}

static void search(struct run *u, const char *text, uint32_t limit, size_t at_least)
{
    struct search_request req = {.limit = limit, .spss = 3};
    struct search_result r;
    struct tql_query *q;
    begin(u);
    assert_ok(tql_compile(str_from(text), &u->arena, &q, NULL, &err), err);
    req.q = q;
    assert_ok(query_search(&u->ctx, &req, &r, &err), err);
    if (u->told.n_ids < at_least)
        fail_msg("%s: %zu of %zu traces told, %zu wanted", text, u->told.n_ids, r.n, at_least);
    assert_true(u->told.n_ids <= r.n);
    /* Told in the order of the answer, and nothing that the answer lacks. */
    for (size_t i = 0; i < u->told.n_ids; i++) {
        assert_int_equal(u->told.starts[i], r.traces[i].start_ns);
        assert_true(trace_id_eq(&u->told.ids[i], &r.traces[i].id));
    }
    progress(&u->told, &r.stats);
    end(u);
}

static void test_search__tells_what_stays(void **state)
{
    struct block_fixture *f = block_fixture_new();
    struct run *u = xcalloc(1, sizeof(*u));
    (void)state;
    open_random(u, f);
    search(u, "{}", 1000, 40);
    search(u, "{}", 20, 10);
    search(u, "{}", 1, 0);
    search(u, "{ status = error } | count() > 1", 1000, 1);
    search(u, "{ name = \"nowhere\" }", 20, 0);
    close_parts(u);
    free(u);
    block_fixture_free(f);
}

static void tags(struct run *u, const char *filter, uint32_t limit, bool tells)
{
    struct tags_request req = {.scopes = (1u << TAG_SCOPES) - 1, .limit = limit};
    struct tags_result r;
    begin(u);
    if (filter != NULL)
        assert_ok(
            tql_filter_groups_parse(str_from(filter), NULL, 10, &u->arena, &req.filter, &err), err);
    assert_ok(query_tags(&u->ctx, &req, &r, &err), err);
    assert_true(u->told.calls > 1);
    assert_true((u->told.n_names > 0) == tells);
    for (unsigned k = 0; k < TAG_SCOPES; k++)
        for (size_t i = 0; i < r.n[k]; i++) {
            char text[48];
            snprintf(text, sizeof(text), "%u " STR_FMT, k, STR_ARG(r.names[k][i]));
            for (size_t m = 0; m < u->told.n_names; m++)
                if (strcmp(u->told.names[m], text) == 0)
                    u->told.names[m][0] = 0; /* found */
        }
    for (size_t m = 0; m < u->told.n_names; m++)
        assert_int_equal(u->told.names[m][0], 0);
    progress(&u->told, &r.stats);
    end(u);
}

static void values(struct run *u, const char *name, const char *filter, uint32_t limit, bool tells)
{
    struct values_request req = {.limit = limit};
    struct values_result r;
    begin(u);
    assert_ok(tql_attr_parse(str_from(name), &u->arena, &req.attr, &err), err);
    if (filter != NULL)
        assert_ok(
            tql_filter_groups_parse(str_from(filter), req.attr, 10, &u->arena, &req.filter, &err),
            err);
    assert_ok(query_values(&u->ctx, &req, &r, &err), err);
    if ((u->told.n_names > 0) != tells)
        fail_msg("%s: %zu of %zu values told", name, u->told.n_names, r.n);
    size_t found = 0;
    for (size_t i = 0; i < r.n; i++) {
        char text[48];
        snprintf(text, sizeof(text), "%s " STR_FMT, r.values[i].type, STR_ARG(r.values[i].value));
        for (size_t m = 0; m < u->told.n_names; m++)
            found += strcmp(u->told.names[m], text) == 0;
    }
    assert_int_equal(found, u->told.n_names);
    progress(&u->told, &r.stats);
    end(u);
}

static void test_tags_and_values__tell_each_once(void **state)
{
    struct block_fixture *f = block_fixture_new();
    struct run *u = xcalloc(1, sizeof(*u));
    (void)state;
    open_random(u, f);
    tags(u, NULL, 0, true);
    tags(u, "{ status = error }", 0, true);
    tags(u, "{ status = error || kind = server }", 0, true);
    tags(u, NULL, 2, false); /* which two is known at the end */
    values(u, "name", NULL, 0, true);
    values(u, "instrumentation:name", NULL, 0, true);
    values(u, "name", "{ status = error || kind = client }", 0, true);
    values(u, "name", NULL, 1, false);
    close_parts(u);
    free(u);
    block_fixture_free(f);
}

/* One span a second in [from, to) seconds. */
static struct part *seconds(struct block_fixture *f, unsigned from, unsigned to)
{
    struct buf b = BUF_INIT;
    size_t rs = pb_begin(&b, 1), ss = pb_begin(&b, 2);
    for (unsigned i = from; i < to; i++) {
        size_t span = pb_begin(&b, 2);
        fx_ids(&b, (uint8_t)(i + 1), i + 1);
        pb_put_bytes(&b, 5, STR("op"));
        pb_put_fixed64(&b, 7, T0 + i * S + S / 2);
        pb_put_fixed64(&b, 8, T0 + i * S + S / 2 + 1);
        pb_end(&b, span);
    }
    pb_end(&b, ss);
    pb_end(&b, rs);
    struct head *h = head_of_request(buf_bytes(&b), 1);
    buf_deinit(&b);
    struct part *p = fixture_write(f, (struct part *[]){head_part(h)}, 1);
    part_unref(head_part(h));
    return p;
}

static void metrics(struct run *u, const char *text, bool tells)
{
    struct metrics_request req = {
        .start_ns = T0 + S, .end_ns = T0 + 60 * S, .step_ns = S, .exemplars = 50};
    struct metrics_result r;
    struct tql_query *q;
    begin(u);
    assert_ok(tql_compile(str_from(text), &u->arena, &q, NULL, &err), err);
    req.q = q;
    assert_ok(query_metrics(&u->ctx, &req, &r, &err), err);
    assert_true(u->told.calls > 0);
    assert_true((u->told.from_ns != 0) == tells);
    for (uint32_t i = 0; i < r.n_buckets && tells; i++)
        if (r.first_ns + i * S >= u->told.from_ns)
            assert_true(u->told.values[(r.first_ns - T0) / S + i] == r.series[0].values[i]);
    progress(&u->told, &r.stats);
    end(u);
}

static void test_metrics__tells_complete_windows(void **state)
{
    struct block_fixture *f = block_fixture_new();
    struct run *u = xcalloc(1, sizeof(*u));
    (void)state;
    u->parts[0] = seconds(f, 40, 60);
    u->parts[1] = seconds(f, 15, 45);
    u->parts[2] = seconds(f, 0, 20);
    metrics(u, "{} | rate()", true);
    metrics(u, "{} | count_over_time() with(exemplars=10)", true);
    metrics(u, "{} | max_over_time(duration) by (name)", true);
    metrics(u, "{} | {} | rate()", false); /* by trace: progress only */
    close_parts(u);
    free(u);
    block_fixture_free(f);
}

static void test_told__nothing_when_memory_is_short(void **state)
{
    struct block_fixture *f = block_fixture_new();
    struct run *u = xcalloc(1, sizeof(*u));
    struct search_request req = {.limit = 1000, .spss = 3};
    struct search_result r;
    struct tql_query *q;
    (void)state;
    open_random(u, f);
    begin(u);
    assert_ok(tql_compile(STR("{}"), &u->arena, &q, NULL, &err), err);
    req.q = q;
    assert_true(budget_take(&u->budget, 64u << 20));
    atomic_store(&u->budget.cap, 127u << 20);
    assert_ok(query_search(&u->ctx, &req, &r, &err), err);
    assert_int_equal(u->told.calls, 0);
    budget_give(&u->budget, 64u << 20);
    end(u);
    close_parts(u);
    free(u);
    block_fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_search__tells_what_stays),
        cmocka_unit_test(test_tags_and_values__tell_each_once),
        cmocka_unit_test(test_metrics__tells_complete_windows),
        cmocka_unit_test(test_told__nothing_when_memory_is_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
