/* SPDX-License-Identifier: Apache-2.0
 * Blocks of every format version open for ever: tests/golden/block/vN.block holds the spans that
 * vN.txt lists (sorted). BLOCK_GOLDEN_WRITE=1 writes the pair of the current version where none is;
 * an existing pair is never written again. */
#include <unistd.h>

#include "block_fixture.h"
#include "part_text.h"
#include "test_util.h"

static int text_cmp(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void texts_join(struct part_texts *t, struct buf *out)
{
    qsort(t->p, t->n, sizeof(*t->p), text_cmp);
    for (uint32_t i = 0; i < t->n; i++)
        buf_printf(out, "%s\n", t->p[i]);
}

static void file_copy(const char *path, struct bytes b)
{
    FILE *f = fopen(path, "wbx");
    assert_non_null(f);
    assert_int_equal(fwrite(b.p, 1, b.n, f), b.n);
    fclose(f);
}

static void file_append(const char *path, struct buf *out)
{
    char chunk[4096];
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    for (size_t n; (n = fread(chunk, 1, sizeof(chunk), f)) > 0;)
        buf_put(out, chunk, n);
    fclose(f);
}

static void golden_write(const char *block, const char *txt)
{
    struct block_fixture *f = block_fixture_new();
    struct head *a = fixture_head(101, 60), *b = fixture_head(102, 60);
    struct part *heads[2] = {head_part(a), head_part(b)}, *p = fixture_write(f, heads, 2);
    struct part_texts t = part_texts_read(p);
    struct buf out = BUF_INIT;
    texts_join(&t, &out);
    file_copy(txt, buf_bytes(&out));
    buf_reset(&out);
    file_append(f->path, &out);
    file_copy(block, buf_bytes(&out));
    buf_deinit(&out);
    part_texts_free(&t);
    part_unref(p);
    head_free(a);
    head_free(b);
    block_fixture_free(f);
}

static void golden_check(unsigned version)
{
    char block[512], txt[512];
    snprintf(block, sizeof(block), "%s/golden/block/v%u.block", TESTS_DIR, version);
    snprintf(txt, sizeof(txt), "%s/golden/block/v%u.txt", TESTS_DIR, version);
    if (getenv("BLOCK_GOLDEN_WRITE") != NULL && access(block, F_OK) != 0)
        golden_write(block, txt);

    struct block_fixture *f = block_fixture_new();
    struct arena arena;
    struct str tenant;
    struct err err = {0};
    struct buf want = BUF_INIT, got = BUF_INIT;
    arena_init(&arena, NULL, 0);
    if (block_facts_read(&io_real, block, &tenant, &arena, &f->facts, &err) != EC_OK)
        fail_msg("%s", err_msg(&err));
    assert_true(str_eqz(tenant, "tenant"));
    assert_int_equal(f->facts.n_inputs, 0);
    fixture_verify(block);
    struct part *p = fixture_open(f, block);
    struct part_texts t = part_texts_read(p);
    texts_join(&t, &got);
    file_append(txt, &want);
    assert_int_equal(got.n, want.n);
    assert_memory_equal(got.p, want.p, want.n);
    buf_deinit(&want);
    buf_deinit(&got);
    part_texts_free(&t);
    part_unref(p);
    arena_deinit(&arena);
    block_facts_deinit(&f->facts);
    block_fixture_free(f);
}

static void test_golden__version_1_opens(void **state)
{
    (void)state;
    golden_check(1);
}

static void test_golden__version_2_opens(void **state)
{
    (void)state;
    golden_check(2);
}

static void test_golden__version_3_opens(void **state)
{
    (void)state;
    golden_check(3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden__version_1_opens),
        cmocka_unit_test(test_golden__version_2_opens),
        cmocka_unit_test(test_golden__version_3_opens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
