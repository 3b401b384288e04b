/* SPDX-License-Identifier: Apache-2.0
 * Trace by id, tag names and tag values over the sample data, in one part and in several. */
#include "block_fixture.h"
#include "exec_sample.h"
#include "query/exec.h"

struct run { /* parts and surroundings of a query */
    struct block_fixture *f;
    struct head *heads[2];
    struct part *parts[2]; /* a head and a block */
    struct budget budget;
    struct arena arena;
    struct query_ctx ctx;
};

/* `in_head` and `in_block`: the spans of each; 0: no such part. */
static void run_begin(struct run *r, uint32_t in_head, uint32_t in_block)
{
    memset(r, 0, sizeof(*r));
    r->f = block_fixture_new();
    budget_init(&r->budget, NULL, "query", 0);
    arena_init(&r->arena, &r->budget, 0);
    r->ctx = (struct query_ctx){.parts = r->parts, .arena = &r->arena, .budget = &r->budget};
    if (in_head != 0) {
        r->heads[0] = sample_head(in_head);
        r->parts[r->ctx.n_parts++] = part_ref(head_part(r->heads[0]));
    }
    if (in_block != 0) {
        r->heads[1] = sample_head(in_block);
        r->parts[r->ctx.n_parts++] =
            fixture_write(r->f, (struct part *[]){head_part(r->heads[1])}, 1);
    }
}

static void run_end(struct run *r)
{
    for (size_t i = 0; i < r->ctx.n_parts; i++)
        part_unref(r->parts[i]);
    for (size_t i = 0; i < 2; i++)
        if (r->heads[i] != NULL)
            head_free(r->heads[i]);
    arena_deinit(&r->arena);
    budget_deinit(&r->budget); /* asserts that nothing is charged any more */
    block_fixture_free(r->f);
}

#define ODD 0x155u /* every other span: all traces are in both parts */

static const uint32_t layouts[][2] = {
    {SAMPLE_ALL, 0},
    {0, SAMPLE_ALL},
    {ODD, SAMPLE_ALL & ~ODD},
    {SAMPLE_ALL & ~ODD, ODD},
    {SAMPLE_ALL, SAMPLE_ALL},
    {0x7f, 0x1fc},
};

/* ---- trace by id ---- */

static struct trace_id id_of(uint8_t byte)
{
    struct trace_id id;
    memset(id.b, byte, sizeof(id.b));
    return id;
}

static void check_a(struct run *r)
{
    struct trace_result got;
    struct trace_id id = id_of(0xa1);
    assert_ok(query_trace(&r->ctx, &id, 0, &got, err));
    assert_int_equal(got.n, 5);
    assert_int_equal(got.n_parts, r->ctx.n_parts);
    assert_false(got.truncated);
    assert_false(got.stats.partial);
    for (unsigned i = 0; i < 5; i++) { /* the sample is in order of start */
        const struct result_trace_span *s = &got.spans[i];
        assert_true(s->span.span_id == sample_spans[i].id);
        assert_true(s->span.parent_id == sample_spans[i].parent);
        assert_true(str_eqz(s->span.name, sample_spans[i].name));
        assert_int_equal(s->span.kind, sample_spans[i].kind);
        assert_int_equal(s->span.status, sample_spans[i].status);
        assert_true(s->span.start_ns == SAMPLE_T0 + sample_spans[i].start_us * 1000);
        assert_true(str_eqz(s->scope->name, i < 2 ? "otel-go" : "otel-c"));
        assert_true(str_eqz(s->resource->attrs[0].key, "service.name"));
        assert_true(str_eqz(s->resource->attrs[0].value.s, i < 2 ? "web" : "db"));
    }
    assert_int_equal(got.spans[0].span.n_attrs, 7);
    assert_int_equal(got.spans[0].span.n_events, 2);
    assert_true(str_eqz(got.spans[0].span.events[0].name, "cache.miss"));
    assert_int_equal(got.spans[0].span.n_links, 1);
    assert_true(got.spans[0].span.links[0].span_id == 0xb100000000000001);
    assert_true(str_eqz(got.spans[2].span.status_message, "timeout"));
    if (r->ctx.n_parts == 1) { /* equal objects are one object */
        assert_ptr_equal(got.spans[0].resource, got.spans[1].resource);
        assert_ptr_equal(got.spans[2].scope, got.spans[4].scope);
    }
}

static void test_trace(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(layouts); i++) {
        struct run r;
        struct trace_result got;
        struct trace_id none = id_of(0xee);
        run_begin(&r, layouts[i][0], layouts[i][1]);
        check_a(&r);
        assert_ok(query_trace(&r.ctx, &none, 0, &got, err));
        assert_int_equal(got.n, 0);
        assert_int_equal(got.n_parts, 0);
        run_end(&r);
    }
}

/* The bound cuts at whole spans, and one is always shown. */
static void test_trace_max_bytes(void **state)
{
    (void)state;
    struct trace_id id = id_of(0xa1);
    for (size_t i = 0; i < ARRAY_LEN(layouts); i++) {
        struct run r;
        struct trace_result all, got;
        size_t last = 0;
        run_begin(&r, layouts[i][0], layouts[i][1]);
        assert_ok(query_trace(&r.ctx, &id, 0, &all, err));
        for (uint64_t max = 1; max <= all.proto_bytes; max++) {
            assert_ok(query_trace(&r.ctx, &id, max, &got, err));
            assert_int_equal(got.truncated, max < all.proto_bytes);
            assert_true(got.n >= 1 && got.n >= last);
            assert_true(got.n == 1 || got.proto_bytes <= max);
            last = got.n;
        }
        assert_int_equal(last, 5);
        run_end(&r);
    }
}

/* ---- tags ---- */

static const struct tql_filter_groups *filter_of(
    struct run *r, const char *text, const struct tql_attr *tag)
{
    const struct tql_filter_groups *g = NULL;
    if (text != NULL)
        assert_ok(tql_filter_groups_parse(str_from(text), tag, 0, &r->arena, &g, err));
    return g;
}

static void check_names(struct run *r, const char *q, enum tag_scope scope, const char *want)
{
    struct tags_request req = {.scopes = 31, .filter = filter_of(r, q, NULL)};
    struct tags_result got;
    char text[512] = "";
    assert_ok(query_tags(&r->ctx, &req, &got, err));
    for (size_t i = 0; i < got.n[scope]; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s" STR_FMT, i == 0 ? "" : ",",
            STR_ARG(got.names[scope][i]));
    if (strcmp(text, want) != 0)
        fail_msg("%s, scope %d: got %s, not %s", q == NULL ? "all" : q, (int)scope, text, want);
}

static void test_names(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(layouts); i++) {
        struct run r;
        run_begin(&r, layouts[i][0], layouts[i][1]);
        check_names(&r, NULL, TAG_RESOURCE, "env,service.name,user");
        check_names(&r, NULL, TAG_SPAN, "beta,db.rows,http.code,job,odd key,ratio,sizes,tags,user");
        check_names(&r, NULL, TAG_EVENT, "attempt,key");
        check_names(&r, NULL, TAG_LINK, "rel");
        check_names(&r, NULL, TAG_INSTRUMENTATION, "lang");
        check_names(&r, "{ name = \"auth\" }", TAG_SPAN, "http.code,user");
        check_names(&r, "{ name = \"auth\" }", TAG_RESOURCE, "env,service.name,user");
        check_names(&r, "{ name = \"auth\" }", TAG_EVENT, "");
        check_names(&r, "{ name = \"auth\" }", TAG_INSTRUMENTATION, "lang");
        check_names(&r, "{ name = \"GET /cart\" }", TAG_EVENT, "attempt,key");
        check_names(&r, "{ name = \"GET /cart\" }", TAG_LINK, "rel");
        check_names(
            &r, "{ name = \"leaf\" || status = ok }", TAG_SPAN, "db.rows,http.code,job,user");
        check_names(&r, "{ resource.service.name = \"cron\" }", TAG_RESOURCE, "service.name");
        check_names(&r, "{ name = \"none\" }", TAG_RESOURCE, "");
        check_names(&r, "{ .user = \"bob\" }", TAG_LINK, "rel"); /* unscoped: no filter */
        run_end(&r);
    }
}

static void test_names_limits(void **state)
{
    (void)state;
    struct run r;
    struct tags_result got;
    run_begin(&r, SAMPLE_ALL, 0);
    struct tags_request req = {.scopes = 1u << TAG_SPAN | 1u << TAG_LINK, .limit = 3};
    assert_ok(query_tags(&r.ctx, &req, &got, err));
    assert_int_equal(got.n[TAG_SPAN], 3);
    assert_int_equal(got.n[TAG_LINK], 1);
    assert_int_equal(got.n[TAG_RESOURCE], 0);
    req = (struct tags_request){.scopes = 1u << TAG_SPAN, .bytes_max = 10};
    assert_ok(query_tags(&r.ctx, &req, &got, err));
    uint64_t sum = 0;
    for (size_t i = 0; i < got.n[TAG_SPAN]; i++)
        sum += got.names[TAG_SPAN][i].n;
    assert_true(got.n[TAG_SPAN] > 0);
    assert_true(sum <= 10);
    req = (struct tags_request){.scopes = 31, .start_ns = 1, .end_ns = SAMPLE_T0 - 1};
    assert_ok(query_tags(&r.ctx, &req, &got, err));
    assert_int_equal(got.n[TAG_SPAN], 0);
    req.end_ns = SAMPLE_T0;
    assert_ok(query_tags(&r.ctx, &req, &got, err));
    assert_int_equal(got.n[TAG_SPAN], 9);
    run_end(&r);
}

/* ---- values ---- */

static void print_values(const struct values_result *v, char *text, size_t cap)
{
    text[0] = '\0';
    for (size_t i = 0; i < v->n; i++)
        snprintf(text + strlen(text), cap - strlen(text), "%s%s:" STR_FMT, i == 0 ? "" : ",",
            v->values[i].type, STR_ARG(v->values[i].value));
}

/* The attribute as a query writes it; NULL: the v1 name `name`. */
static void check_values(
    struct run *r, const char *name, const char *tag, const char *q, const char *want)
{
    struct values_request req = {.v1_name = name == NULL ? STR("") : str_from(name)};
    struct values_result got;
    struct tql_query *query;
    char text[512];
    if (tag != NULL) {
        snprintf(text, sizeof(text), "{} | select(%s)", tag);
        assert_ok(tql_parse(str_from(text), &r->arena, &query, err));
        assert_ok(tql_check(query, &r->arena, err));
        assert_int_equal(query->n_attrs, 1);
        req.attr = query->attrs[0];
    }
    req.filter = filter_of(r, q, req.attr);
    assert_ok(query_values(&r->ctx, &req, &got, err));
    print_values(&got, text, sizeof(text));
    if (strcmp(text, want) != 0)
        fail_msg("%s, filter %s: got %s, not %s", tag != NULL ? tag : name, q == NULL ? "none" : q,
            text, want);
}

static const struct {
    const char *tag, *q, *want;
} values_table[] = {
    {"span.user", NULL, "string:ann,string:bob"},
    {"resource.user", NULL, "string:svcacct"},
    {".user", NULL, "string:ann,string:bob,string:svcacct"},
    {"span.http.code", NULL, "int:200,int:402,int:500,int:504,string:none"},
    {"span.db.rows", NULL, "float:12.5,int:1500,int:7"},
    {"span.ratio", NULL, "float:0.5,float:1.0"},
    {"span.beta", NULL, "bool:true"},
    {"span.tags", NULL, "string:blue,string:red"},
    {"span.sizes", NULL, "int:10,int:20,int:30"},
    {"span.nope", NULL, ""},
    {"name", NULL,
        "string:GET /cart,string:POST /pay,string:SELECT,string:auth,string:charge,string:fetch,"
        "string:flush,string:leaf,string:orphan"},
    {"statusMessage", NULL, "string:timeout"},
    {"status", NULL, "keyword:error,keyword:ok,keyword:unset"},
    {"kind", "{ name = \"auth\" }",
        "keyword:client,keyword:consumer,keyword:internal,keyword:producer,keyword:server,"
        "keyword:unspecified"},
    {"duration", NULL, ""},
    {"trace:id", NULL, ""},
    {"event:name", NULL, "string:cache.miss,string:retry"},
    {"event.key", NULL, "string:cart:1"},
    {"link.rel", NULL, "string:caused_by"},
    {"instrumentation.lang", NULL, "string:go"},
    {"instrumentation:name", NULL, "string:otel-c,string:otel-go,string:otel-sh"},
    {"rootName", NULL, "string:GET /cart,string:POST /pay"},
    {"rootServiceName", NULL, "string:web"},
    {"span.user", "{ name = \"auth\" }", "string:ann"},
    {"span.user", "{ status = error }", "string:bob"},
    {"span.user", "{ name = \"auth\" || name = \"charge\" }", "string:ann,string:bob"},
    {"span.user", "{ name = \"nope\" }", ""},
    {"span.user", "{ span.user = \"carl\" }", "string:carl"},
    {"span.user", "{ span.user = \"carl\" || status = error }", "string:bob,string:carl"},
    {"span.user", "{ .http.code = 500 }", "string:ann,string:bob"},
    {"span.user", "{ name = \"auth\" && span.user = }", "string:ann"},
    {"resource.service.name", "{ span.user = \"bob\" }", "string:web"},
    {"resource.service.name", "{ kind = client }", "string:db"},
    {"resource.env", "{ resource.service.name = \"web\" }", "string:dev,string:prod"},
    {"event:name", "{ name = \"GET /cart\" }", "string:cache.miss,string:retry"},
    {"event:name", "{ name = \"auth\" }", ""},
    {"instrumentation:name", "{ status = error }", "string:otel-c,string:otel-go"},
    {"name", "{ resource.service.name = \"cron\" }", "string:leaf,string:orphan"},
    {"span.db.rows", "{ span.db.rows > 10 && kind = client }", "int:1500"},
};

static void test_values(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(layouts); i++) {
        struct run r;
        run_begin(&r, layouts[i][0], layouts[i][1]);
        for (size_t k = 0; k < ARRAY_LEN(values_table); k++)
            check_values(&r, NULL, values_table[k].tag, values_table[k].q, values_table[k].want);
        if (r.ctx.n_parts == 1) /* children are numbered in storage order */
            check_values(&r, NULL, "nestedSetParent", NULL, "int:-1,int:0,int:1,int:4");
        check_values(&r, "user", NULL, NULL, "string:ann,string:bob,string:svcacct");
        check_values(&r, "lang", NULL, NULL, "string:go");
        check_values(
            &r, "http.code", NULL, NULL, "string:200,string:402,string:500,string:504,string:none");
        check_values(&r, "status.code", NULL, NULL, "string:error,string:ok,string:unset");
        check_values(&r, "error", NULL, NULL, "string:true");
        run_end(&r);
    }
}

static void test_values_limits(void **state)
{
    (void)state;
    struct run r;
    struct values_result got;
    struct tql_attr name = {.intrinsic = TQL_I_NAME};
    run_begin(&r, 0, SAMPLE_ALL);
    struct values_request req = {.attr = &name};
    for (uint32_t limit = 1; limit < 12; limit++) {
        req.limit = limit;
        assert_ok(query_values(&r.ctx, &req, &got, err));
        assert_int_equal(got.n, MIN(limit, 9));
    }
    /* types count with values where the answer has them (v2) */
    for (unsigned v1 = 0; v1 < 2; v1++) {
        req = v1 ? (struct values_request){.v1_name = STR("user"), .bytes_max = 24}
                 : (struct values_request){.attr = &name, .bytes_max = 24};
        assert_ok(query_values(&r.ctx, &req, &got, err));
        uint64_t sum = 0;
        for (size_t i = 0; i < got.n; i++)
            sum += got.values[i].value.n + (v1 ? 0 : strlen(got.values[i].type));
        assert_true(got.n > 0);
        assert_true(sum <= 24);
    }
    req = (struct values_request){
        .attr = &name, .start_ns = SAMPLE_T0 + 3600000000000u, .end_ns = UINT64_MAX};
    assert_ok(query_values(&r.ctx, &req, &got, err));
    assert_int_equal(got.n, 0);
    run_end(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trace),
        cmocka_unit_test(test_trace_max_bytes),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_names_limits),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_values_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
