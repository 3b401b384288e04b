/* SPDX-License-Identifier: Apache-2.0
 * Inflation: every encoding, the cap at its edges, bombs, damage in every byte, cut input. */
#include <stdlib.h>

#include "deflate.h"
#include "unit.h"

static const enum body_encoding all[] = {
    ENC_GZIP, ENC_ZSTD, ENC_DEFLATE, ENC_SNAPPY, ENC_SNAPPY_FRAMED, ENC_LZ4};

/* Text that compresses about two to one. */
static struct buf sample(size_t n)
{
    struct buf b = BUF_INIT;
    uint32_t x = 1;
    buf_reserve(&b, n);
    for (size_t i = 0; i < n; i++) {
        x = x * 1664525 + 1013904223;
        b.p[b.n++] = (uint8_t)('a' + (x >> 28));
    }
    return b;
}

static void test_inflate__gives_back_what_was_sent(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 4095, 65536, 65537, 300000};
    for (size_t e = 0; e < ARRAY_LEN(all); e++) {
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
            struct buf in = sample(sizes[i]), packed = BUF_INIT, out = BUF_INIT;
            struct err err = {0};
            buf_puts(&out, STR("before"));
            deflate_bytes(all[e], buf_bytes(&in), &packed);
            assert_ok(inflate_bytes(all[e], buf_bytes(&packed), 1 << 20, &out, &err), err);
            assert_int_equal(out.n, sizes[i] + 6);
            assert_memory_equal(out.p, "before", 6);
            if (sizes[i] != 0)
                assert_memory_equal(out.p + 6, in.p, in.n);
            buf_deinit(&in);
            buf_deinit(&packed);
            buf_deinit(&out);
        }
    }
}

static void test_inflate__stops_one_byte_past_the_cap(void **state)
{
    (void)state;
    for (size_t e = 0; e < ARRAY_LEN(all); e++) {
        struct buf in = sample(100000), packed = BUF_INIT;
        deflate_bytes(all[e], buf_bytes(&in), &packed);
        for (int d = -1; d <= 1; d++) {
            struct buf out = BUF_INIT;
            enum ec ec =
                inflate_bytes(all[e], buf_bytes(&packed), (uint64_t)(100000 + d), &out, NULL);
            assert_int_equal(ec, d < 0 ? EC_TOO_LARGE : EC_OK);
            assert_true(out.n <= 100001);
            buf_deinit(&out);
        }
        buf_deinit(&in);
        buf_deinit(&packed);
    }
}

static void test_inflate__refuses_bombs_by_ratio(void **state)
{
    (void)state;
    size_t n = 32u << 20;
    uint8_t *zeros = calloc(1, n);
    for (size_t e = 0; e < ARRAY_LEN(all); e++) {
        struct buf packed = BUF_INIT, out = BUF_INIT, small = BUF_INIT;
        deflate_bytes(all[e], bytes_n(zeros, n), &packed);
        enum ec want = packed.n * 100 < n ? EC_TOO_LARGE : EC_OK;
        assert_ec(inflate_bytes(all[e], buf_bytes(&packed), 64u << 20, &out, NULL), want);
        if (want == EC_TOO_LARGE)
            assert_true(out.cap < packed.n * 151 + (2u << 20)); /* it follows what came out */
        /* Up to 1 MiB the ratio does not matter: small repetitive batches are honest. */
        deflate_bytes(all[e], bytes_n(zeros, 1u << 20), &small);
        buf_deinit(&out);
        assert_ec(inflate_bytes(all[e], buf_bytes(&small), 64u << 20, &out, NULL), EC_OK);
        assert_int_equal(out.n, 1u << 20);
        buf_deinit(&out);
        buf_deinit(&packed);
        buf_deinit(&small);
    }
    free(zeros);
}

static void test_inflate__refuses_a_zstd_window_over_8_mib(void **state)
{
    (void)state;
    struct buf in = sample(1 << 20);
    for (int log = 23; log <= 24; log++) {
        struct buf packed = BUF_INIT, out = BUF_INIT;
        deflate_zstd_window(buf_bytes(&in), log, &packed);
        assert_ec(inflate_bytes(ENC_ZSTD, buf_bytes(&packed), 64u << 20, &out, NULL),
            log == 23 ? EC_OK : EC_INVALID);
        buf_deinit(&packed);
        buf_deinit(&out);
    }
    buf_deinit(&in);
}

static void test_inflate__cut_input_is_never_whole(void **state)
{
    (void)state;
    struct buf in = sample(3000);
    for (size_t e = 0; e < ARRAY_LEN(all); e++) {
        struct buf packed = BUF_INIT;
        deflate_bytes(all[e], buf_bytes(&in), &packed);
        for (size_t n = 0; n < packed.n; n++) {
            struct buf out = BUF_INIT;
            uint8_t *exact = malloc(n == 0 ? 1 : n); /* so that ASan sees a read past the end */
            memcpy(exact, packed.p, n);
            enum ec ec = inflate_bytes(all[e], bytes_n(exact, n), 1 << 20, &out, NULL);
            if (ec == EC_OK) /* framed snappy may end at any chunk */
                assert_true(all[e] == ENC_SNAPPY_FRAMED && (out.n == 0 || out.n == in.n));
            else
                assert_int_equal(ec, EC_INVALID);
            free(exact);
            buf_deinit(&out);
        }
        buf_deinit(&packed);
    }
    buf_deinit(&in);
}

static void test_inflate__damage_never_crashes(void **state)
{
    (void)state;
    struct buf in = sample(2000);
    for (size_t e = 0; e < ARRAY_LEN(all); e++) {
        struct buf packed = BUF_INIT;
        deflate_bytes(all[e], buf_bytes(&in), &packed);
        for (size_t i = 0; i < packed.n; i++) {
            struct buf out = BUF_INIT;
            packed.p[i] ^= 0x5a;
            enum ec ec = inflate_bytes(all[e], buf_bytes(&packed), 1 << 20, &out, NULL);
            assert_true(ec == EC_OK || ec == EC_INVALID || ec == EC_TOO_LARGE);
            if (all[e] == ENC_SNAPPY_FRAMED && ec == EC_OK) /* checksummed */
                assert_true(out.n == in.n && memcmp(out.p, in.p, in.n) == 0);
            packed.p[i] ^= 0x5a;
            buf_deinit(&out);
        }
        buf_deinit(&packed);
    }
    buf_deinit(&in);
}

static void test_inflate__says_what_is_wrong(void **state)
{
    (void)state;
    struct buf out = BUF_INIT;
    struct err err = {0};
    assert_ec(inflate_bytes(ENC_GZIP, bytes_n("plain text", 10), 100, &out, &err), EC_INVALID);
    assert_string_equal(err.msg, "gzip: invalid header");
    assert_ec(inflate_bytes(ENC_DEFLATE, bytes_n("plain text", 10), 100, &out, &err), EC_INVALID);
    assert_string_equal(err.msg, "zlib: invalid header");
    buf_deinit(&out);
}

static void test_inflate__memory_is_charged(void **state)
{
    (void)state;
    struct budget budget;
    struct buf in = sample(200000);
    budget_init(&budget, NULL, "test", 0);
    for (size_t e = 0; e < ARRAY_LEN(all); e++) {
        struct buf packed = BUF_INIT, out;
        buf_init(&out, &budget);
        deflate_bytes(all[e], buf_bytes(&in), &packed);
        atomic_store(&budget.cap, 100000); /* never enough */
        assert_ec(inflate_bytes(all[e], buf_bytes(&packed), 1 << 20, &out, NULL), EC_TOO_LARGE);
        buf_deinit(&out);
        atomic_store(&budget.cap, 2000000); /* others have most of it now */
        assert_true(budget_take(&budget, 1900000));
        assert_ec(inflate_bytes(all[e], buf_bytes(&packed), 1 << 20, &out, NULL), EC_LIMIT);
        budget_give(&budget, 1900000);
        buf_deinit(&out);
        assert_ec(inflate_bytes(all[e], buf_bytes(&packed), 1 << 20, &out, NULL), EC_OK);
        buf_deinit(&out);
        buf_deinit(&packed);
        assert_int_equal(budget_used(&budget), 0);
    }
    buf_deinit(&in);
    budget_deinit(&budget);
}

static void test_inflate__reads_joined_gzip_members(void **state)
{
    (void)state;
    struct buf packed = BUF_INIT, out = BUF_INIT;
    struct err err = {0};
    deflate_bytes(ENC_GZIP, bytes_n("one ", 4), &packed);
    deflate_bytes(ENC_GZIP, bytes_n("two", 3), &packed);
    assert_ok(inflate_bytes(ENC_GZIP, buf_bytes(&packed), 100, &out, &err), err);
    assert_str(buf_str(&out), "one two");
    buf_reset(&out);
    buf_putz(&packed, "rubbish");
    assert_ec(inflate_bytes(ENC_GZIP, buf_bytes(&packed), 100, &out, &err), EC_INVALID);
    buf_deinit(&packed);
    buf_deinit(&out);
}

/* The last four bytes of a gzip body say its size, of the last member that is. */
static void test_inflate__a_gzip_size_is_no_more_than_a_hint(void **state)
{
    (void)state;
    struct buf in = sample(100000), packed = BUF_INIT, out = BUF_INIT;
    struct err err = {0};
    deflate_bytes(ENC_GZIP, buf_bytes(&in), &packed);
    const uint32_t lies[] = {0, 1, 99999, 100001, (uint32_t)packed.n * 16, UINT32_MAX};
    for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
        put_u32le(packed.p + packed.n - 4, lies[i]);
        assert_ec(inflate_bytes(ENC_GZIP, buf_bytes(&packed), 1u << 30, &out, &err), EC_INVALID);
        assert_string_equal(err.msg, "gzip: corrupt stream");
        assert_true(out.cap < packed.n * 25);
        buf_deinit(&out);
    }
    buf_reset(&packed);
    deflate_bytes(ENC_GZIP, bytes_n("one", 3), &packed);
    deflate_bytes(ENC_GZIP, bytes_n("two", 3), &packed);
    assert_ok(inflate_bytes(ENC_GZIP, buf_bytes(&packed), 100, &out, &err), err);
    assert_str(buf_str(&out), "onetwo");
    buf_deinit(&in);
    buf_deinit(&packed);
    buf_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inflate__gives_back_what_was_sent),
        cmocka_unit_test(test_inflate__stops_one_byte_past_the_cap),
        cmocka_unit_test(test_inflate__refuses_bombs_by_ratio),
        cmocka_unit_test(test_inflate__refuses_a_zstd_window_over_8_mib),
        cmocka_unit_test(test_inflate__cut_input_is_never_whole),
        cmocka_unit_test(test_inflate__damage_never_crashes),
        cmocka_unit_test(test_inflate__says_what_is_wrong),
        cmocka_unit_test(test_inflate__memory_is_charged),
        cmocka_unit_test(test_inflate__reads_joined_gzip_members),
        cmocka_unit_test(test_inflate__a_gzip_size_is_no_more_than_a_hint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
