/* SPDX-License-Identifier: Apache-2.0
 * Packed requests: they come back byte for byte, those that are none are left alone, and damaged
 * ones are refused. */
#include <stdlib.h>

#include "model/otlp_write.h"
#include "storage/wal/format.h"
#include "storage/wal/pack_model.h"
#include "unit.h"

static uint64_t random_state;
static uint32_t below(uint32_t n)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((random_state >> 33) % n);
}

static void put_id(struct buf *b, uint32_t field, uint64_t key, size_t n)
{
    uint8_t id[16];
    put_u64le(id, (key + 1) * 0x9e3779b97f4a7c15u);
    put_u64le(id + 8, (key + 1) * 0xd6e8feb86659fd93u);
    pb_put_bytes(b, field, str_n((const char *)id, n));
}

static void put_text(struct buf *b, uint32_t field, const char *key, const char *prefix, uint32_t n)
{
    char text[64];
    const struct value v = {.type = VALUE_STR,
        .s = str_n(text, (size_t)snprintf(text, sizeof(text), "%s%u", prefix, n))};
    pb_put_attr(b, field, str_from(key), &v);
}

/* A span with each field that packing knows, now and then one that it does not. */
static void put_span(struct buf *b, uint32_t i)
{
    uint64_t start = 1700000000000000000u + i * 1000;
    const struct value code = {.type = VALUE_INT, .i = below(4) == 0 ? 500 : 200};
    size_t span = pb_begin(b, 2);
    put_id(b, 1, i / 7, below(50) == 0 ? 9 : 16);
    put_id(b, 2, 1000 + i, 8);
    if (i % 7 != 0)
        put_id(b, 4, 1000 + i - below(i % 7 + 1), 8);
    pb_put_bytes(b, 5, STR("GET /cart"));
    pb_put_varint(b, 6, 1 + i % 5);
    pb_put_fixed64(b, 7, start);
    pb_put_fixed64(b, 8, start - 500 + below(1000000));
    put_text(b, 9, "user.id", "user-", below(1u << 30));
    put_text(b, 9, "url.path", "/api/", below(20));
    pb_put_attr(b, 9, STR("code"), &code);
    if (below(10) == 0)
        pb_put_fixed32(b, 16, i);
    if (below(5) == 0) {
        size_t event = pb_begin(b, 11);
        pb_put_fixed64(b, 1, start + i);
        pb_put_bytes(b, 2, STR("exception"));
        put_text(b, 3, "exception.message", "it broke ", i);
        pb_end(b, event);
    }
    if (below(9) == 0)
        pb_put_bytes(b, 15, STR("\x18\x02"));
    pb_end(b, span);
}

static void put_request(struct buf *b, uint32_t n_spans)
{
    random_state = n_spans;
    for (uint32_t i = 0; i < n_spans; i += 20) {
        size_t rs = pb_begin(b, 1), resource = pb_begin(b, 1);
        put_text(b, 1, "service.name", "service-", i / 60);
        put_text(b, 1, "k8s.pod.name", "pod-", i);
        pb_end(b, resource);
        size_t ss = pb_begin(b, 2);
        for (uint32_t k = i; k < n_spans && k < i + 20; k++)
            put_span(b, k);
        pb_end(b, ss);
        pb_end(b, rs);
    }
    assert_false(buf_failed(b));
}

/* False: it was not packed. */
static bool there_and_back(struct bytes request, size_t *ret_packed_n)
{
    struct buf packed = BUF_INIT, work = BUF_INIT;
    struct err err = {0};
    uint8_t *out = xmalloc(request.n + PACK_SLACK);
    bool ok = pack_put(&packed, request);
    if (ok) {
        assert_ok(pack_get(out, request.n, buf_bytes(&packed), &work, &err), err);
        assert_memory_equal(out, request.p, request.n);
        *ret_packed_n = packed.n;
    }
    buf_deinit(&packed);
    buf_deinit(&work);
    free(out);
    return ok;
}

static void test_pack__requests_come_back(void **state)
{
    struct buf b = BUF_INIT;
    (void)state;
    for (uint32_t n = 6; n <= 2000; n += n / 3 + 1) {
        size_t packed_n = 0;
        buf_reset(&b);
        put_request(&b, n);
        if (b.n < PACK_BYTES_MIN)
            continue;
        assert_true(there_and_back(buf_bytes(&b), &packed_n));
        assert_true(packed_n < b.n / 2);
        if (n > 200)
            assert_true(packed_n < b.n / 4);
    }
    buf_deinit(&b);
}

/* Whatever stands in a request: it comes back, or is left alone. */
static void test_pack__changed_requests_come_back(void **state)
{
    struct buf b = BUF_INIT;
    unsigned n_packed = 0;
    size_t packed_n;
    (void)state;
    put_request(&b, 60);
    for (uint32_t round = 0; round < 4000; round++) {
        uint8_t before[8];
        size_t at = below((uint32_t)b.n - 8), n = 1 + below(8);
        memcpy(before, b.p + at, 8);
        for (size_t i = 0; i < n; i++)
            b.p[at + i] = below(3) == 0 ? (uint8_t)below(256) : (uint8_t)(b.p[at + i] + 1);
        n_packed += there_and_back(bytes_n(b.p, b.n - below(3)), &packed_n);
        memcpy(b.p + at, before, 8);
    }
    assert_in_range(n_packed, 500, 3500);
    buf_deinit(&b);
}

static void test_pack__what_is_no_request_is_left_alone(void **state)
{
    struct buf b = BUF_INIT;
    size_t packed_n;
    (void)state;
    buf_reserve(&b, PACK_BYTES_MAX + 1);
    b.n = PACK_BYTES_MAX + 1;
    memset(b.p, 0x0b, b.n); /* groups */
    assert_false(there_and_back(bytes_n(b.p, 5000), &packed_n));
    for (size_t i = 0; i < b.n; i++)
        b.p[i] = (uint8_t)(i % 2 == 0 ? 0x18 : 1); /* fields that nobody knows, of two bytes */
    assert_true(there_and_back(bytes_n(b.p, PACK_BYTES_MAX), &packed_n));
    assert_false(there_and_back(bytes_n(b.p, PACK_BYTES_MAX + 1), &packed_n));
    assert_false(there_and_back(bytes_n(b.p, PACK_BYTES_MIN - 1), &packed_n));
    b.p[4000] = 0x98; /* a tag longer than it has to be */
    b.p[4001] = 0x00;
    assert_false(there_and_back(bytes_n(b.p, 5000), &packed_n));
    buf_deinit(&b);
}

/* More classes, values and ids than have numbers. */
static void test_pack__numbers_run_out(void **state)
{
    struct buf b = BUF_INIT;
    size_t packed_n;
    (void)state;
    size_t rs = pb_begin(&b, 1), ss = pb_begin(&b, 2);
    for (uint32_t i = 0; b.n < PACK_BYTES_MAX - 200; i++) {
        char key[16];
        size_t span = pb_begin(&b, 2);
        put_id(&b, 2, i, 8);
        snprintf(key, sizeof(key), "key-%u", i % 3000);
        put_text(&b, 9, key, "", i);
        pb_put_varint(&b, 6, i);
        pb_end(&b, span);
    }
    pb_end(&b, ss);
    pb_end(&b, rs);
    assert_in_range(b.n, PACK_BYTES_MAX - 300, PACK_BYTES_MAX);
    assert_true(there_and_back(buf_bytes(&b), &packed_n));
    buf_reset(&b);
    for (uint32_t i = 0; b.n < PACK_BYTES_MAX - 10; i++)
        pb_put_varint(&b, 6, i % 80000);
    assert_true(there_and_back(buf_bytes(&b), &packed_n));
    buf_deinit(&b);
}

/* Of each field a class of its own takes more than the field: the worst for what tells lengths. */
static void test_pack__each_field_has_a_class_of_its_own(void **state)
{
    static const uint32_t first[] = {16, 2048, 1u << 18, 1u << 25}; /* tags of 2 to 5 bytes */
    struct buf b = BUF_INIT;
    size_t packed_n;
    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(first); k++) {
        for (uint32_t n = 300; n <= 1023; n++) {
            buf_reset(&b);
            for (uint32_t i = 0; i < n; i++)
                pb_put_varint(&b, first[k] + i, i % 128);
            assert_true(b.n < PACK_BYTES_MIN || there_and_back(buf_bytes(&b), &packed_n));
        }
    }
    buf_deinit(&b);
}

/* A body's checksum says that it is what was written; this is for whoever gets past it. */
static void test_pack__damaged_ones_are_refused(void **state)
{
    struct buf b = BUF_INIT, packed = BUF_INIT, work = BUF_INIT;
    struct err err = {0};
    (void)state;
    put_request(&b, 40);
    assert_true(pack_put(&packed, buf_bytes(&b)));
    uint8_t *out = xmalloc(b.n + 1 + PACK_SLACK);
    for (size_t n = 0; n < packed.n; n++)
        assert_ec(pack_get(out, b.n, bytes_n(packed.p, n), &work, &err), EC_CORRUPT);
    assert_ec(pack_get(out, b.n - 1, buf_bytes(&packed), &work, &err), EC_CORRUPT);
    assert_ec(pack_get(out, b.n + 1, buf_bytes(&packed), &work, &err), EC_CORRUPT);
    for (size_t at = 0; at < packed.n; at++) {
        packed.p[at] ^= (uint8_t)(1u << below(8));
        enum ec ec = pack_get(out, b.n, buf_bytes(&packed), &work, &err);
        assert_true(ec == EC_OK || ec == EC_CORRUPT); /* a changed text is a text */
        packed.p[at] ^= packed.p[at];
        ec = pack_get(out, b.n, buf_bytes(&packed), &work, &err);
        assert_true(ec == EC_OK || ec == EC_CORRUPT);
    }
    free(out);
    buf_deinit(&b);
    buf_deinit(&packed);
    buf_deinit(&work);
}

/* What a record says of its request. */
static void test_pack__records_say_how(void **state)
{
    struct buf b = BUF_INIT, enc = BUF_INIT;
    struct wal_scratch scratch = {0};
    struct wal_record rec = {.arrival_s = 7}, got;
    struct wal_record_header h;
    struct err err = {0};
    (void)state;
    put_request(&b, 100);
    rec.otlp = buf_bytes(&b);
    for (int level = -1; level <= 0; level++) {
        assert_ok(wal_record_encode(&enc, &rec, level, &err), err);
        wal_record_header_seal(enc.p, 1, 1, 0);
        assert_true(wal_record_header_get(enc.p, 1, &h));
        assert_int_equal(h.flags, level == 0 ? 0 : WAL_FLAG_PACKED);
        assert_int_equal(h.raw_bytes, b.n);
        struct bytes body = bytes_n(enc.p + WAL_RECORD_HEADER_BYTES, h.body_bytes);
        assert_ok(wal_record_decode(&h, body, &scratch, &got, &err), err);
        assert_true(bytes_eq(got.otlp, rec.otlp));
        assert_int_equal(got.arrival_s, 7);
    }
    h.flags = WAL_FLAG_PACKED | WAL_FLAG_ZSTD; /* no record says both */
    wal_record_header_put(enc.p, &h);
    wal_record_header_seal(enc.p, 1, 1, 0);
    assert_false(wal_record_header_get(enc.p, 1, &h));
    wal_scratch_deinit(&scratch);
    buf_deinit(&b);
    buf_deinit(&enc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pack__requests_come_back),
        cmocka_unit_test(test_pack__changed_requests_come_back),
        cmocka_unit_test(test_pack__what_is_no_request_is_left_alone),
        cmocka_unit_test(test_pack__numbers_run_out),
        cmocka_unit_test(test_pack__each_field_has_a_class_of_its_own),
        cmocka_unit_test(test_pack__damaged_ones_are_refused),
        cmocka_unit_test(test_pack__records_say_how),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
