/* SPDX-License-Identifier: Apache-2.0
 * A reader that goes from group to group has the same row lists as one that keeps them all. */
#include "block_fixture.h"
#include "unit.h"

static struct err err;

static void same_view(struct part_reader *a, struct part_reader *b, uint32_t g, col_id col)
{
    struct col_view x, y;
    assert_ok(part_view(a, g, col, &x, &err), err);
    assert_ok(part_view(b, g, col, &y, &err), err);
    assert_int_equal(x.n, y.n);
    assert_int_equal(x.rows == NULL, y.rows == NULL);
    if (x.rows != NULL)
        assert_memory_equal(x.rows, y.rows, x.n * sizeof(*x.rows));
}

static void test_passing__has_the_same_rows(void **state)
{
    struct block_fixture *f = block_fixture_new();
    struct head *h = fixture_head(91, 3 * PART_GROUP_ROWS);
    struct part *p = fixture_write(f, (struct part *[]){head_part(h)}, 1);
    struct part_reader *keeps, *passes;
    struct part_info info;
    const struct part_attr *attrs;
    size_t n, n_spans = 0;
    (void)state;
    assert_ok(part_reader_open(p, NULL, &keeps, &err), err);
    assert_ok(part_reader_open(p, NULL, &passes, &err), err);
    passes->group_by_group = true;
    part_info(keeps, &info);
    assert_true(info.n_groups >= 3);
    assert_ok(part_attrs(keeps, &attrs, &n, &err), err);
    for (unsigned round = 0; round < 2; round++) { /* the second time back to front */
        for (uint32_t i = 0; i < info.n_groups; i++) {
            uint32_t g = round == 0 ? i : info.n_groups - 1 - i;
            for (size_t k = 0; k < n; k++) {
                n_spans += attrs[k].table == TABLE_SPANS;
                same_view(keeps, passes, attrs[k].table <= TABLE_SCOPES ? 0 : g, attrs[k].col);
            }
        }
    }
    assert_true(n_spans > 6 * 10);
    part_reader_close(keeps);
    part_reader_close(passes);
    part_unref(p);
    part_unref(head_part(h));
    block_fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_passing__has_the_same_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
