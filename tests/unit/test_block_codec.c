/* SPDX-License-Identifier: Apache-2.0
 * Integer streams and sections: what is put is got, whatever the layout; cut or changed bytes are
 * refused or give numbers, never a crash. */
#include "block_fixture.h"
#include "storage/block/codec.h"
#include "storage/block/filter.h"
#include "test_util.h"

static const enum ints_hint hints[] = {INTS_CODES, INTS_NUMS, INTS_DELTAS, INTS_RANDOM};

static void check_ints(const uint64_t *v, size_t n, unsigned width, enum ints_hint hint)
{
    struct page_out out;
    struct page_in in;
    struct buf scratch = BUF_INIT;
    uint8_t *got = xmalloc(n * width + 1);
    page_out_init(&out, NULL, 3);
    assert_int_equal(ints_put(&out, v, n, hint, NULL), EC_OK);
    page_in_init(&in, buf_bytes(&out.b), out.raw, &scratch);
    assert_int_equal(ints_get(&in, n, width, got, NULL), EC_OK);
    assert_int_equal(page_in_end(&in, NULL), EC_OK);
    for (size_t i = 0; i < n; i++) {
        uint64_t x = width == 8   ? get_u64le(got + 8 * i)
                     : width == 4 ? get_u32le(got + 4 * i)
                                  : got[i];
        assert_true(x == v[i]);
    }
    /* Every shorter page is refused. */
    for (size_t cut = 0; cut < out.b.n; cut += 1 + cut / 8) {
        page_in_init(&in, bytes_n(out.b.p, cut), out.raw, &scratch);
        assert_true(ints_get(&in, n, width, got, NULL) != EC_OK || page_in_end(&in, NULL) != EC_OK);
    }
    free(got);
    buf_deinit(&scratch);
    page_out_deinit(&out);
}

static void test_codec__integers_come_back(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 2, 3, 63, 64, 1000, 5000};
    struct rng rng = {1};
    uint64_t *v = xcalloc(5000, 8);
    for (size_t s = 0; s < ARRAY_LEN(sizes); s++) {
        for (unsigned bits = 0; bits <= 64; bits += bits < 34 ? 1 : 6) {
            for (int shape = 0; shape < 3; shape++) {
                for (size_t i = 0; i < sizes[s]; i++) {
                    uint64_t x = bits == 0 ? 0 : rng_next(&rng) >> (64 - bits);
                    v[i] = shape == 0 ? x : shape == 1 ? x | 1ULL << 63 : x + i * 1000;
                }
                for (size_t h = 0; h < ARRAY_LEN(hints); h++) {
                    check_ints(v, sizes[s], 8, hints[h]);
                    if (bits <= 30 && shape == 0)
                        check_ints(v, sizes[s], 4, hints[h]);
                    if (bits <= 7 && shape == 0)
                        check_ints(v, sizes[s], 1, hints[h]);
                }
            }
        }
    }
    free(v);
}

/* FORMAT.md, section 4. */
static void test_codec__the_documented_example_is_true(void **state)
{
    (void)state;
    static const uint8_t page[] = {1, 1, 0xe8, 7, 0, 4, 0, 1, 3, 2};
    static const uint64_t want[] = {1000, 1001, 1003, 1002};
    uint64_t got[4];
    struct page_in in;
    struct page_out out;
    struct buf scratch = BUF_INIT;
    page_in_init(&in, bytes_n(page, sizeof(page)), 4, &scratch);
    assert_int_equal(ints_get(&in, 4, 8, got, NULL), EC_OK);
    assert_int_equal(page_in_end(&in, NULL), EC_OK);
    assert_memory_equal(got, want, sizeof(want));
    page_out_init(&out, NULL, 3);
    assert_int_equal(ints_put(&out, want, 4, INTS_CODES, NULL), EC_OK);
    assert_int_equal(out.b.n, sizeof(page));
    assert_memory_equal(out.b.p, page, sizeof(page));
    page_out_deinit(&out);
    buf_deinit(&scratch);
}

static void test_codec__noise_is_not_trusted(void **state)
{
    (void)state;
    struct rng rng = {2};
    struct buf scratch = BUF_INIT;
    uint8_t page[256];
    uint64_t out[300];
    for (int round = 0; round < 20000; round++) {
        for (size_t i = 0; i < sizeof(page); i++)
            page[i] = (uint8_t)(rng_next(&rng) >> (rng_below(&rng, 2) * 60));
        struct page_in in;
        size_t n = rng_below(&rng, 300);
        page_in_init(&in, bytes_n(page, rng_below(&rng, sizeof(page))), 4096, &scratch);
        enum ec ec = ints_get(&in, n, round % 2 ? 8 : 4, out, NULL);
        assert_true(ec == EC_OK || ec == EC_CORRUPT);
    }
    assert_true(scratch.cap <= 16384); /* never beyond the declared raw size */
    buf_deinit(&scratch);
}

static void test_codec__sections_keep_to_the_declared_size(void **state)
{
    (void)state;
    struct page_out out;
    struct page_in in;
    struct buf scratch = BUF_INIT;
    uint8_t zeros[1000] = {0}, got[1000];
    const uint8_t *p;
    page_out_init(&out, NULL, 3);
    assert_int_equal(section_put(&out, zeros, sizeof(zeros), true, NULL), EC_OK);
    assert_true(out.b.n < 100);
    page_in_init(&in, buf_bytes(&out.b), 1000, &scratch);
    assert_int_equal(section_get_into(&in, 1000, got, NULL), EC_OK);
    assert_memory_equal(got, zeros, 1000);
    page_in_init(&in, buf_bytes(&out.b), 999, &scratch); /* the index allows less */
    assert_int_equal(section_get(&in, 1000, &p, NULL), EC_CORRUPT);
    page_in_init(&in, buf_bytes(&out.b), 2000, &scratch); /* the frame holds less */
    assert_int_equal(section_get(&in, 1001, &p, NULL), EC_CORRUPT);
    page_in_init(&in, buf_bytes(&out.b), 2000, &scratch);
    assert_int_equal(section_get(&in, 1000, &p, NULL), EC_OK);
    assert_int_equal(page_in_end(&in, NULL), EC_CORRUPT); /* raw bytes that nobody took */
    page_out_deinit(&out);
    buf_deinit(&scratch);
}

static void test_codec__a_filter_knows_what_was_added(void **state)
{
    (void)state;
    uint8_t page[FILTER_PAGE_BYTES] = {0};
    uint32_t n = FILTER_PAGE_BYTES * 8 / FILTER_BITS_PER_VALUE, wrong = 0;
    for (uint32_t i = 0; i < n; i++)
        filter_add(page, sizeof(page), filter_hash(str_n((char *)&i, 4)));
    for (uint32_t i = 0; i < n; i++)
        assert_true(filter_has(page, sizeof(page), filter_hash(str_n((char *)&i, 4))));
    for (uint32_t i = n; i < n + 100000; i++)
        wrong += filter_has(page, sizeof(page), filter_hash(str_n((char *)&i, 4)));
    assert_true(wrong < 1500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_codec__integers_come_back),
        cmocka_unit_test(test_codec__the_documented_example_is_true),
        cmocka_unit_test(test_codec__noise_is_not_trusted),
        cmocka_unit_test(test_codec__sections_keep_to_the_declared_size),
        cmocka_unit_test(test_codec__a_filter_knows_what_was_added),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
