/* SPDX-License-Identifier: Apache-2.0
 * zstd: exact sizes, damage, budgets, threads; and the clocks. */
#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/compress.h"
#include "unit.h"

#define RAW_MAX 70000

static uint8_t raw[RAW_MAX], back[RAW_MAX + 1];

static void raw_fill(void)
{
    uint32_t x = 1;
    for (size_t i = 0; i < RAW_MAX; i++) {
        x = x * 1664525 + 1013904223;
        raw[i] = (uint8_t)(i % 3 == 0 ? x >> 24 : i / 50);
    }
}

static void test_zstd__round_trips_at_every_size_and_level(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 2, 255, 4096, 65536, RAW_MAX};
    static const int levels[] = {-5, 1, 3, 9, 19};
    struct err err = {0};
    raw_fill();
    for (size_t a = 0; a < ARRAY_LEN(sizes); a++)
        for (size_t b = 0; b < ARRAY_LEN(levels); b++) {
            struct buf out = BUF_INIT;
            buf_putz(&out, "head");
            unsigned match_min = (unsigned)(a + b) % 3 * 3; /* what one call sets stays its own */
            assert_ok(
                zstd_compress_matches(&out, bytes_n(raw, sizes[a]), levels[b], match_min, &err),
                err);
            assert_memory_equal(out.p, "head", 4);
            assert_true(out.n - 4 <= zstd_bound(sizes[a]));
            memset(back, 0xaa, sizeof(back));
            assert_ok(zstd_decompress(back, sizes[a], bytes_n(out.p + 4, out.n - 4), &err), err);
            assert_memory_equal(back, raw, sizes[a]);
            assert_int_equal(back[sizes[a]], 0xaa);
            buf_deinit(&out);
        }
}

static void test_zstd__size_must_be_the_declared_one(void **state)
{
    (void)state;
    struct buf out = BUF_INIT;
    struct err err = {0};
    raw_fill();
    assert_ok(zstd_compress(&out, bytes_n(raw, 1000), 1, &err), err);
    assert_ec(zstd_decompress(back, 999, buf_bytes(&out), &err), EC_CORRUPT);
    assert_ec(zstd_decompress(back, 1001, buf_bytes(&out), &err), EC_CORRUPT);
    assert_ec(zstd_decompress(back, 0, buf_bytes(&out), &err), EC_CORRUPT);
    assert_ec(zstd_decompress(back, 1000, bytes_n(NULL, 0), &err), EC_CORRUPT);
    assert_ec(zstd_decompress(back, 1000, bytes_n("garbage!", 8), &err), EC_CORRUPT);
    buf_putz(&out, "tail");
    assert_ec(zstd_decompress(back, 1000, buf_bytes(&out), &err), EC_CORRUPT);
    buf_deinit(&out);
}

static void test_zstd__every_truncation_is_corrupt(void **state)
{
    (void)state;
    struct buf out = BUF_INIT;
    struct err err = {0};
    raw_fill();
    assert_ok(zstd_compress(&out, bytes_n(raw, 3000), 3, &err), err);
    for (size_t n = 0; n < out.n; n++)
        assert_ec(zstd_decompress(back, 3000, bytes_n(out.p, n), &err), EC_CORRUPT);
    buf_deinit(&out);
}

static void test_zstd__flipped_bits_never_overrun(void **state)
{
    (void)state;
    struct buf out = BUF_INIT;
    struct err err = {0};
    raw_fill();
    assert_ok(zstd_compress(&out, bytes_n(raw, 3000), 3, &err), err);
    uint8_t *exact = malloc(3000); /* the sanitizer sees one byte too many */
    for (size_t bit = 0; bit < out.n * 8; bit += 3) {
        out.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
        enum ec ec = zstd_decompress(exact, 3000, buf_bytes(&out), &err);
        assert_true(ec == EC_OK || ec == EC_CORRUPT); /* checksums are the caller's */
        out.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_ok(zstd_decompress(exact, 3000, buf_bytes(&out), &err), err);
    free(exact);
    buf_deinit(&out);
}

static void test_zstd__refused_budget_leaves_the_output_alone(void **state)
{
    (void)state;
    struct budget budget;
    struct buf out;
    struct err err = {0};
    budget_init(&budget, NULL, "b", 100);
    buf_init(&out, &budget);
    buf_putz(&out, "head");
    assert_ec(zstd_compress(&out, bytes_n(raw, 5000), 1, &err), EC_LIMIT);
    assert_int_equal(out.n, 4);
    assert_ec(zstd_compress(&out, bytes_n(raw, SIZE_MAX / 2), 1, &err), EC_LIMIT);
    assert_ec(zstd_compress(&out, bytes_n(raw, SIZE_MAX), 1, &err), EC_TOO_LARGE);
    buf_deinit(&out);
    budget_deinit(&budget);
}

static void *compress_many(void *arg)
{
    uint8_t *mine = malloc(RAW_MAX);
    (void)arg;
    for (int i = 0; i < 20; i++) {
        struct buf out = BUF_INIT;
        ASSERT(zstd_compress(&out, bytes_n(raw, RAW_MAX), 1, NULL) == EC_OK);
        ASSERT(zstd_decompress(mine, RAW_MAX, buf_bytes(&out), NULL) == EC_OK);
        ASSERT(memcmp(mine, raw, RAW_MAX) == 0);
        buf_deinit(&out);
    }
    free(mine);
    return NULL;
}

/* Leak checkers prove that the contexts go with their threads. */
static void test_zstd__threads_have_their_own_contexts(void **state)
{
    (void)state;
    pthread_t t[4];
    raw_fill();
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 4; i++)
            assert_int_equal(pthread_create(&t[i], NULL, compress_many, NULL), 0);
        for (int i = 0; i < 4; i++)
            pthread_join(t[i], NULL);
    }
}

static void test_clock__shift_moves_only_the_wall(void **state)
{
    (void)state;
    int64_t wall = clock_wall_ns(), mono = clock_mono_ns(), boot = clock_boot_ns();
    assert_true(wall > 1700000000LL * NS_PER_S);
    clock_wall_shift_ns(3600 * NS_PER_S);
    assert_true(clock_wall_ns() - wall >= 3600 * NS_PER_S);
    assert_true(clock_mono_ns() - mono < 600 * NS_PER_S);
    assert_true(clock_boot_ns() - boot < 600 * NS_PER_S);
    clock_wall_shift_ns(-3600 * NS_PER_S);
    assert_true(clock_wall_ns() - wall < 600 * NS_PER_S);
    assert_true(clock_mono_ns() >= mono);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zstd__round_trips_at_every_size_and_level),
        cmocka_unit_test(test_zstd__size_must_be_the_declared_one),
        cmocka_unit_test(test_zstd__every_truncation_is_corrupt),
        cmocka_unit_test(test_zstd__flipped_bits_never_overrun),
        cmocka_unit_test(test_zstd__refused_budget_leaves_the_output_alone),
        cmocka_unit_test(test_zstd__threads_have_their_own_contexts),
        cmocka_unit_test(test_clock__shift_moves_only_the_wall),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
