/* SPDX-License-Identifier: Apache-2.0
 * Views of a few rows have what the whole views have there; groups that are asked again are kept;
 * what a file says wrongly is found. */
#include <fcntl.h>
#include <unistd.h>

#include "base/hash.h"
#include "block_fixture.h"
#include "model/otlp_write.h"
#include "storage/block/reader.h"
#include "unit.h"

static struct err err;

/* Value i of a view; strings by their bytes. */
static void same_value(const struct col_view *a, uint32_t i, const struct col_view *b, uint32_t k)
{
    unsigned width = col_phys_width(a->phys);
    if (a->phys == PHYS_CODE) {
        assert_true(a->u32[i] < dict_count(a->dict) && b->u32[k] < dict_count(b->dict));
        struct str s = dict_get(a->dict, a->u32[i]);
        assert_true(str_eq(s, dict_get(b->dict, b->u32[k])));
        uint32_t code;
        assert_true(dict_find(b->dict, s, &code));
        assert_int_equal(code, b->u32[k]);
        return;
    }
    assert_memory_equal((const char *)a->data + (size_t)i * width,
        (const char *)b->data + (size_t)k * width, width);
}

/* The values of rows [first, first + n) of the whole view are in the other, in order. */
static uint32_t same_rows(
    const struct col_view *whole, const struct col_view *some, uint32_t first, uint32_t n)
{
    uint32_t k = 0, found = 0;
    for (uint32_t i = 0; i < whole->n; i++) {
        uint32_t row = whole->rows == NULL ? i : whole->rows[i];
        if (row < first || row >= first + n)
            continue;
        assert_int_equal(whole->phys, some->phys);
        while (some->rows != NULL && k < some->n && some->rows[k] < row)
            k++;
        assert_true(k < some->n);
        assert_int_equal(some->rows == NULL ? first + k : some->rows[k], row);
        same_value(whole, i, some, k++);
        found++;
    }
    if (some->rows == NULL)
        assert_true(some->n <= n);
    return found;
}

static uint32_t rows_of_table(struct part_reader *r, enum part_table t, uint32_t g)
{
    struct part_group pg;
    struct part_info info;
    part_info(r, &info);
    if (t <= TABLE_SCOPES)
        return t == TABLE_RESOURCES ? info.n_resources : info.n_scopes;
    assert_ok(part_group(r, g, &pg, &err), err);
    return t == TABLE_SPANS ? pg.n_rows : t == TABLE_EVENTS ? pg.n_events : pg.n_links;
}

static uint32_t same_column(struct part_reader *whole, struct part_reader *some, uint32_t g,
    enum part_table t, col_id col, uint64_t seed)
{
    struct col_view a, b;
    uint32_t all = rows_of_table(whole, t, g);
    if (all == 0)
        return 0;
    uint32_t first = (uint32_t)(hash_mix(seed) % all);
    uint32_t n = MIN((uint32_t)(1 + hash_mix(seed + 1) % 40), all - first);
    if (t <= TABLE_SCOPES)
        g = 0;
    assert_ok(part_view(whole, g, col, &a, &err), err);
    assert_ok(part_view_rows(some, g, col, first, n, &b, &err), err);
    return same_rows(&a, &b, first, n);
}

/* Every column of each group, the rows of a table at another place each time. */
static uint32_t same_part(struct part *p, uint64_t seed, uint64_t *ret_bytes)
{
    struct part_reader *whole, *some;
    struct part_info info;
    const struct part_attr *attrs;
    uint32_t found = 0;
    size_t n;
    assert_ok(part_reader_open(p, NULL, &whole, &err), err);
    whole->once = true; /* so that the other finds nothing of it in the cache */
    assert_ok(part_reader_open(p, NULL, &some, &err), err);
    part_info(whole, &info);
    assert_ok(part_attrs(whole, &attrs, &n, &err), err);
    for (uint32_t g = 0; g < info.n_groups; g++) {
        for (col_id col = 0; col < COL_FIXED_MAX; col++) {
            enum part_table t;
            enum col_phys phys;
            const char *name;
            if (part_col_fixed(col, &t, &phys, &name))
                found += same_column(whole, some, g, t, col, hash_mix(seed + g) + t);
        }
        for (size_t i = 0; i < n; i++)
            found += same_column(
                whole, some, g, attrs[i].table, attrs[i].col, hash_mix(seed + g) + attrs[i].table);
    }
    *ret_bytes = part_reader_bytes(some);
    part_reader_close(some);
    part_reader_close(whole);
    return found;
}

static void test_rows__are_those_of_the_whole_view(void **state)
{
    struct block_fixture *f = block_fixture_new();
    uint64_t bytes;
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct head *h = fixture_head(500 + i, i == 0 ? 300 : 2 * BLOCK_GROUP_ROWS);
        struct part *p = fixture_write(f, (struct part *[]){head_part(h)}, 1);
        for (unsigned k = 0; k < 12; k++) {
            struct part *again = fixture_open(f, f->path); /* nobody has asked this one before */
            assert_true(same_part(again, 1000 * i + k, &bytes) > 100);
            part_unref(again);
        }
        assert_true(same_part(p, i, &bytes) > 100 && same_part(p, i, &bytes) > 100);
        assert_true(same_part(head_part(h), i, &bytes) > 100); /* from whole views */
        part_unref(p);
        part_unref(head_part(h));
    }
    block_fixture_free(f);
}

/* The first two times of a few rows nothing is kept but the lists that lead to them, the third time
 * all of the group. */
static void test_rows__asked_again_are_kept(void **state)
{
    struct block_fixture *f = block_fixture_new();
    struct head *h = fixture_head(77, BLOCK_GROUP_ROWS);
    struct part *p = fixture_write(f, (struct part *[]){head_part(h)}, 1);
    (void)state;
    for (unsigned round = 0; round < 3; round++) {
        struct part_reader *r;
        struct col_view v;
        assert_ok(part_reader_open(p, NULL, &r, &err), err);
        struct block_reader *b = CONTAINER_OF(r, struct block_reader, base);
        assert_ok(part_view_rows(r, 0, COL_SPAN_DURATION, 5, 7, &v, &err), err);
        assert_int_equal(v.n, 7);
        const struct block_column *k = block_schema_column(b->schema, COL_SPAN_DURATION);
        assert_int_equal(block_has_chunk(b, k->chunk_first), round > 1);
        part_reader_close(r);
    }
    part_unref(p);
    part_unref(head_part(h));
    block_fixture_free(f);
}

/* A block of 4,000 spans with a string of 120 bytes each, all different. */
static struct part *many_strings(struct block_fixture *f)
{
    struct buf b = BUF_INIT;
    struct rng rng = {11};
    char id[16], text[120];
    size_t rs = pb_begin(&b, 1), ss = pb_begin(&b, 2);
    for (uint64_t i = 1; i <= 4000; i++) {
        for (size_t k = 0; k < sizeof(text); k += 8)
            put_u64le(text + k, (rng_next(&rng) & 0x1f1f1f1f1f1f1f1fULL) | 0x4040404040404040ULL);
        size_t span = pb_begin(&b, 2);
        put_u64be(id, i / 10 + 1);
        put_u64be(id + 8, i);
        pb_put_bytes(&b, 1, str_n(id, 16));
        pb_put_bytes(&b, 2, str_n(id + 8, 8));
        pb_put_fixed64(&b, 7, 1700000000000000000u + i);
        pb_put_attr(
            &b, 9, STR("url"), &(struct value){.type = VALUE_STR, .s = str_n(text, sizeof(text))});
        pb_end(&b, span);
    }
    pb_end(&b, ss);
    pb_end(&b, rs);
    struct head *h = head_of_request(buf_bytes(&b), 1700000000);
    struct part *head = head_part(h), *p = fixture_write(f, &head, 1);
    buf_deinit(&b);
    part_unref(head);
    return p;
}

/* A dictionary of many pages: wherever the rows lie the strings are theirs, and of the pages those
 * are unpacked that have one of them. */
static void test_rows__strings_of_many_pages(void **state)
{
    struct block_fixture *f = block_fixture_new();
    struct part *p = many_strings(f);
    struct part_reader *whole, *some;
    const struct part_attr *a[VALUE_TYPES];
    (void)state;
    assert_ok(part_reader_open(p, NULL, &whole, &err), err);
    whole->once = true;
    assert_ok(part_attr_find(whole, TABLE_SPANS, STR("url"), a, &err), err);
    const struct block_schema *s = CONTAINER_OF(whole, struct block_reader, base)->schema;
    const struct block_column *k = block_schema_column(s, a[VALUE_STR]->col);
    assert_true((k->flags & COLUMN_LOCAL) != 0 && k->n_chunks == 1);
    assert_in_range(s->chunks[k->chunk_first].n_dict_pages, 20, 60);
    for (uint32_t i = 0; i < 100; i++) {
        struct part *again = fixture_open(f, f->path); /* nobody has asked this one before */
        assert_ok(part_reader_open(again, NULL, &some, &err), err);
        struct col_view all, v;
        uint32_t first = i * 40, n = i % 3 == 0 ? 1 : i % 3 == 1 ? 10 : MIN(500, 4000 - first);
        assert_ok(part_view(whole, 0, k->col, &all, &err), err);
        assert_ok(block_view_rows(some, 0, k->col, first, n, &v, &err), err);
        assert_int_equal(same_rows(&all, &v, first, n), n);
        part_reader_close(some);
        part_unref(again);
    }
    part_reader_close(whole);
    part_unref(p);
    block_fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows__strings_of_many_pages),
        cmocka_unit_test(test_rows__are_those_of_the_whole_view),
        cmocka_unit_test(test_rows__asked_again_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
