/* SPDX-License-Identifier: Apache-2.0
 * Values of an attribute over many blocks are those of each of them, whatever is known of them
 * without opening; blocks that have what others have stay closed. */
#include <stdlib.h>

#include "block_fixture.h"
#include "model/otlp_write.h"
#include "query/exec.h"
#include "unit.h"

#define BLOCKS 7u

static struct err err;

struct blocks {
    struct block_fixture *f;
    struct part *parts[BLOCKS];
};

static void put_str(struct buf *b, uint32_t field, const char *key, uint64_t number)
{
    char text[32];
    snprintf(text, sizeof(text), "v%llu", (unsigned long long)number);
    pb_put_attr(b, field, str_from(key), &(struct value){.type = VALUE_STR, .s = str_from(text)});
}

/* Spans with strings alone under some keys, with a few values or many, and under others now and
 * then a number. */
static struct head *plain_head(uint64_t seed)
{
    struct buf b = BUF_INIT;
    size_t rs = pb_begin(&b, 1), resource = pb_begin(&b, 1);
    put_str(&b, 1, "pod", seed % 2);
    if (seed > 2)
        put_str(&b, 1, "service", 7);
    pb_end(&b, resource);
    size_t ss = pb_begin(&b, 2);
    for (uint64_t i = 1; i <= 50; i++) {
        char id[16];
        size_t span = pb_begin(&b, 2);
        put_u64be(id, seed << 32 | i);
        put_u64be(id + 8, seed << 32 | i);
        pb_put_bytes(&b, 1, str_n(id, 16));
        pb_put_bytes(&b, 2, str_n(id + 8, 8));
        pb_put_bytes(&b, 5, i % 2 == 0 ? STR("plain") : STR("other"));
        pb_put_fixed64(&b, 7, 1700000000000000000u + i);
        put_str(&b, 9, "service", i % (seed + 1));
        put_str(&b, 9, "user", seed << 32 | i);
        if (i % 10 == 0 && seed != 2)
            put_str(&b, 9, "seldom", i % 4);
        if (seed == 3 && i == 9)
            pb_put_attr(&b, 9, STR("service"), &(struct value){.type = VALUE_INT, .i = 5});
        pb_end(&b, span);
    }
    pb_end(&b, ss);
    pb_end(&b, rs);
    struct head *h = head_of_request(buf_bytes(&b), 1700000000);
    buf_deinit(&b);
    return h;
}

/* Of random content and plain: some twice, as when traffic stays what it was. `known`: the catalog
 * says of every other one (bit 0) or the rest (bit 1) what the footer would. */
static void blocks_open(struct blocks *b, unsigned known)
{
    static const uint64_t seeds[BLOCKS] = {1, 1, 2, 3, 2, 4, 1};
    static const uint32_t spans[BLOCKS] = {40, 40, 60, 4, 60, 300, 90};
    b->f = block_fixture_new();
    for (unsigned i = 0; i < BLOCKS; i++) {
        struct head *h[2] = {fixture_head(seeds[i], spans[i]), plain_head(seeds[i])};
        struct part *heads[2] = {head_part(h[0]), head_part(h[1])};
        struct arena arena;
        struct str tenant;
        part_unref(fixture_write(b->f, heads, 2));
        arena_init(&arena, NULL, 0);
        struct block_facts facts, plain = b->f->facts;
        assert_ok(block_facts_read(&io_real, b->f->path, &tenant, &arena, &facts, &err), err);
        assert_non_null(facts.known);
        if ((known >> (i % 2) & 1) != 0)
            b->f->facts.known = facts.known;
        b->parts[i] = fixture_open(b->f, b->f->path);
        b->f->facts = plain;
        block_facts_deinit(&facts);
        arena_deinit(&arena);
        head_free(h[0]);
        head_free(h[1]);
    }
}

static void blocks_close(struct blocks *b)
{
    for (unsigned i = 0; i < BLOCKS; i++)
        part_unref(b->parts[i]);
    block_fixture_free(b->f);
}

static int text_cmp(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

struct texts {
    char *p[4096];
    size_t n;
};

static void texts_free(struct texts *t)
{
    for (size_t i = 0; i < t->n; i++)
        free(t->p[i]);
    free(t);
}

static void texts_add(
    struct texts *t, struct part **parts, size_t n, const struct values_request *q)
{
    struct budget budget;
    struct arena arena;
    struct values_result got;
    budget_init(&budget, NULL, "query", 0);
    arena_init(&arena, &budget, 0);
    const struct query_ctx ctx = {.parts = parts, .n_parts = n, .arena = &arena, .budget = &budget};
    assert_ok(query_values(&ctx, q, &got, &err), err);
    for (size_t i = 0; i < got.n; i++) {
        char *text = xmalloc(got.values[i].value.n + 16);
        assert_true(t->n < ARRAY_LEN(t->p));
        sprintf(text, "%.7s " STR_FMT, got.values[i].type, STR_ARG(got.values[i].value));
        t->p[t->n++] = text;
    }
    arena_deinit(&arena);
    budget_deinit(&budget);
}

static void texts_distinct(struct texts *t)
{
    size_t n = 0;
    qsort(t->p, t->n, sizeof(t->p[0]), text_cmp);
    for (size_t i = 0; i < t->n; i++) {
        if (n > 0 && strcmp(t->p[n - 1], t->p[i]) == 0)
            free(t->p[i]);
        else
            t->p[n++] = t->p[i];
    }
    t->n = n;
}

/* Returns how many values there are. */
static size_t same_values(struct blocks *b, const struct values_request *q)
{
    struct texts *all = xcalloc(1, sizeof(*all)), *each = xcalloc(1, sizeof(*each));
    texts_add(all, b->parts, BLOCKS, q);
    for (unsigned i = 0; i < BLOCKS; i++)
        texts_add(each, &b->parts[i], 1, q);
    texts_distinct(each);
    texts_distinct(all);
    assert_int_equal(all->n, each->n);
    for (size_t i = 0; i < all->n; i++)
        assert_string_equal(all->p[i], each->p[i]);
    size_t n = all->n;
    texts_free(all);
    texts_free(each);
    return n;
}

static void test_lists__values_are_those_of_each_block(void **state)
{
    static const enum tql_intrinsic intrinsics[] = {TQL_I_NAME, TQL_I_STATUS_MESSAGE,
        TQL_I_EVENT_NAME, TQL_I_INSTRUMENTATION_NAME, TQL_I_INSTRUMENTATION_VERSION};
    (void)state;
    for (unsigned known = 0; known < 4; known++) {
        size_t n_keys, found = 0;
        struct blocks b;
        struct part_reader *r;
        const struct part_attr *attrs;
        blocks_open(&b, known);
        for (size_t i = 0; i < ARRAY_LEN(intrinsics); i++) {
            struct tql_attr attr = {.intrinsic = intrinsics[i], .text = STR("x")};
            found += same_values(&b, &(struct values_request){.attr = &attr});
        }
        assert_ok(part_reader_open(b.parts[5], NULL, &r, &err), err);
        assert_ok(part_attrs(r, &attrs, &n_keys, &err), err);
        for (size_t i = 0; i < n_keys; i++) {
            for (unsigned scope = TQL_SCOPE_NONE; scope <= TQL_SCOPE_INSTRUMENTATION; scope++) {
                struct tql_attr attr = {
                    .scope = (enum tql_scope)scope, .name = attrs[i].key, .text = attrs[i].key};
                found += same_values(&b, &(struct values_request){.attr = &attr});
            }
            found += same_values(&b, &(struct values_request){.v1_name = attrs[i].key});
        }
        found += same_values(&b, &(struct values_request){.v1_name = STR("name")});
        assert_true(found > 500);
        part_reader_close(r);
        blocks_close(&b);
    }
}

/* What is said of an attribute is true of its columns, and of two blocks with the same spans the
 * same. */
static void test_lists__say_what_columns_hold(void **state)
{
    struct blocks b;
    uint32_t said = 0, listed = 0;
    (void)state;
    blocks_open(&b, 3);
    for (unsigned i = 0; i < BLOCKS; i++) {
        struct part_reader *r;
        const struct part_attr *attrs, *of[VALUE_TYPES];
        size_t n;
        assert_ok(part_reader_open(b.parts[i], NULL, &r, &err), err);
        assert_ok(part_attrs(r, &attrs, &n, &err), err);
        for (size_t k = 0; k < n; k++) {
            uint64_t list = 7, again = 7;
            bool others = false;
            assert_ok(part_attr_find(r, attrs[k].table, attrs[k].key, of, &err), err);
            for (unsigned t = 0; t < VALUE_TYPES; t++)
                others = others || (of[t] != NULL && t != VALUE_STR);
            if (!part_strings(b.parts[i], attrs[k].table, attrs[k].key, 0, &list))
                continue;
            assert_false(others);
            said++;
            listed += list != 0;
            if (i == 1) {
                assert_true(part_strings(b.parts[0], attrs[k].table, attrs[k].key, 0, &again));
                assert_true(list == again);
            }
        }
        assert_false(part_strings(b.parts[i], TABLE_SPANS, STR("no.such.key"), 0, &(uint64_t){0}));
        part_reader_close(r);
    }
    assert_true(said > 30 && listed > 20);
    blocks_close(&b);
}

static void test_lists__the_same_is_read_once(void **state)
{
    struct blocks b;
    struct tql_attr attr = {
        .scope = TQL_SCOPE_RESOURCE, .name = STR("pod"), .text = STR("resource.pod")};
    struct texts *t = xcalloc(1, sizeof(*t));
    (void)state;
    blocks_open(&b, 3);
    texts_add(t, b.parts, BLOCKS, &(struct values_request){.attr = &attr});
    assert_false(part_cold(b.parts[0], false));
    assert_true(part_cold(b.parts[1], false)); /* as 0 */
    assert_false(part_cold(b.parts[2], false));
    assert_true(part_cold(b.parts[3], false)); /* as 0 */
    assert_true(part_cold(b.parts[4], false)); /* as 2 */
    assert_int_equal(t->n, 2);
    texts_free(t);
    blocks_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lists__values_are_those_of_each_block),
        cmocka_unit_test(test_lists__say_what_columns_hold),
        cmocka_unit_test(test_lists__the_same_is_read_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
