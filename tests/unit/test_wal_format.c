/* SPDX-License-Identifier: Apache-2.0
 * The format on disk does not drift: files of versions 1 and 2, also one that had a life before,
 * open for ever, and the worked example of FORMAT.md (of version 1) is a segment that this code
 * reads, and writes byte for byte but for the salt.
 *
 * UPDATE=1 writes the golden files anew; only for a new version, beside the old ones. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "model/otlp_write.h"
#include "storage/wal.h"
#include "storage/wal/format.h"
#include "tmpdir.h"
#include "unit.h"
#include "wal_util.h"

#define GOLDEN        TESTS_DIR "/golden/wal/v1"
#define GOLDEN_AGAIN  TESTS_DIR "/golden/wal/v1-again"
#define GOLDEN_PACKED TESTS_DIR "/golden/wal/v2"
#define FORMAT        TESTS_DIR "/../storage/wal/FORMAT.md"
#define EXAMPLE_AT    "<!-- example -->"

static const uint32_t golden_skip[] = {2, 3, 300};

static struct wal *golden_open(
    const char *dir, struct wal_seen *seen, struct wal_recovery *rec, const char *tenant)
{
    struct wal_options opt = {
        .dir = dir, .tenant = str_from(tenant), .segment_bytes_min = 16 << 10};
    struct wal *w;
    struct err err = {0};
    assert_ok(wal_open(&opt, seen == NULL ? NULL : wal_seen_add, seen, rec, &w, &err), err);
    return w;
}

/* Four records in two segments: raw, compressed, with a skip list, empty; then a mark. */
static void golden_write(const char *dir)
{
    struct wal_recovery rec;
    struct buf enc = BUF_INIT;
    struct err err = {0};
    uint64_t lsn;
    struct wal_record skip = {.arrival_s = 1700000000,
        .attr_bytes_max = 2048,
        .skip = golden_skip,
        .n_skip = ARRAY_LEN(golden_skip),
        .otlp = bytes_of_str(STR("a request of three skipped spans"))};

    struct wal *w = golden_open(dir, NULL, &rec, "golden");
    wal_util_append(w, 1, 77, 0);
    wal_util_append(w, 2, 4000, -1);
    wal_util_sync(w, 2);
    assert_ok(wal_rotate(w, &err), err);
    assert_ok(wal_record_encode(&enc, &skip, 0, &err), err);
    assert_ok(wal_append(w, &enc, &lsn, &err), err);
    wal_util_append(w, 4, 0, 0);
    assert_ok(wal_close(w, &err), err);
    buf_deinit(&enc);
}

static void copy_file(const char *from, const char *to)
{
    uint8_t p[64 << 10];
    int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(in >= 0 && out >= 0);
    for (ssize_t n; (n = read(in, p, sizeof(p))) > 0;)
        assert_int_equal(write(out, p, (size_t)n), n);
    close(in);
    close(out);
}

static void test_format__version_1_opens_for_ever(void **state)
{
    static const char *const names[] = {"0000000000000001.wal", "0000000000000002.wal"};
    struct wal_seen seen = {0};
    struct wal_recovery rec;
    char *dir = tmpdir_new();

    (void)state;
    if (getenv("UPDATE") != NULL) {
        golden_write(dir);
        for (size_t i = 0; i < ARRAY_LEN(names); i++)
            copy_file(tmpdir_path(dir, names[i]), tmpdir_path(GOLDEN, names[i]));
    }
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        copy_file(tmpdir_path(GOLDEN, names[i]), tmpdir_path(dir, names[i]));
    struct wal *w = golden_open(dir, &seen, &rec, "golden");
    assert_int_equal(rec.records, 4);
    assert_int_equal(rec.segments, 2);
    assert_int_equal(rec.torn_tails + rec.damaged_records + rec.set_aside, 0);
    wal_seen_check(&seen, 1, 77);
    wal_seen_check(&seen, 2, 4000);
    wal_seen_check(&seen, 4, 0);
    const struct wal_seen_record *r = wal_seen_find(&seen, 3);
    assert_non_null(r);
    assert_int_equal(r->arrival_s, 1700000000);
    assert_int_equal(r->attr_bytes_max, 2048);
    assert_int_equal(r->n_skip, ARRAY_LEN(golden_skip));
    assert_memory_equal(r->skip, golden_skip, sizeof(golden_skip));
    wal_abandon(w);
    wal_seen_deinit(&seen);
    tmpdir_free(dir);
}

/* Segment 1 with five records serves again as segment 3, with two. */
static void again_write(const char *dir)
{
    struct wal_spares spares = {.bytes_max = 1 << 20};
    struct wal_options opt = {
        .dir = dir, .tenant = STR("golden"), .segment_bytes_min = 16 << 10, .spares = &spares};
    struct wal_recovery rec;
    struct err err = {0};
    struct wal *w;
    uint64_t lsn = 0;

    assert_ok(wal_open(&opt, NULL, NULL, &rec, &w, &err), err);
    for (unsigned segment = 0; segment < 3; segment++) {
        uint64_t released = lsn;
        for (unsigned i = 0; i < (segment == 0 ? 5 : 2); i++)
            wal_util_append(w, ++lsn, 1400, 0);
        wal_util_sync(w, lsn);
        assert_ok(wal_release(w, released, &err), err);
        wal_rotate_soon(w);
        if (segment < 2)
            assert_ok(wal_prepare_next(w, &err), err);
    }
    assert_ok(wal_close(w, &err), err);
}

static void test_format__a_recycled_segment_opens_for_ever(void **state)
{
    static const char name[] = "0000000000000003.wal";
    struct wal_seen seen = {0};
    struct wal_recovery rec;
    char *dir = tmpdir_new();

    (void)state;
    if (getenv("UPDATE") != NULL) {
        again_write(dir);
        copy_file(tmpdir_path(dir, name), tmpdir_path(GOLDEN_AGAIN, name));
    }
    copy_file(tmpdir_path(GOLDEN_AGAIN, name), tmpdir_path(dir, name));
    struct wal *w = golden_open(dir, &seen, &rec, "golden");
    assert_int_equal(rec.records, 2);
    assert_int_equal(rec.segments, 1);
    assert_int_equal(rec.torn_tails + rec.damaged_records + rec.set_aside, 0);
    wal_seen_check(&seen, 8, 1400);
    wal_seen_check(&seen, 9, 1400);
    wal_abandon(w);
    wal_seen_deinit(&seen);
    tmpdir_free(dir);
}

/* A request that is packed, of which nothing is random: 60 spans in six traces. */
static void packed_request(struct buf *b)
{
    char id[16] = "trace of sixteen";
    size_t rs = pb_begin(b, 1), resource = pb_begin(b, 1);
    const struct value service = {.type = VALUE_STR, .s = STR("golden")};
    pb_put_attr(b, 1, STR("service.name"), &service);
    pb_end(b, resource);
    size_t ss = pb_begin(b, 2);
    for (uint32_t i = 0; i < 60; i++) {
        char user[16];
        uint64_t start = 1700000000000000000u + 1000 * i;
        const struct value code = {.type = VALUE_INT, .i = i % 7 == 0 ? 500 : 200};
        const struct value name = {.type = VALUE_STR,
            .s = str_n(user, (size_t)snprintf(user, sizeof(user), "user-%u", i))};
        size_t span = pb_begin(b, 2);
        id[15] = (char)('a' + i / 10);
        pb_put_bytes(b, 1, str_n(id, 16));
        id[7] = (char)i;
        pb_put_bytes(b, 2, str_n(id, 8));
        id[7] = (char)(i - i % 10);
        if (i % 10 != 0)
            pb_put_bytes(b, 4, str_n(id, 8));
        pb_put_bytes(b, 5, STR("GET /cart"));
        pb_put_fixed64(b, 7, start);
        pb_put_fixed64(b, 8, start + 77 * i);
        pb_put_attr(b, 9, STR("http.status_code"), &code);
        pb_put_attr(b, 9, STR("user.id"), &name);
        if (i % 9 == 0) {
            size_t event = pb_begin(b, 11);
            pb_put_fixed64(b, 1, start + 5);
            pb_put_bytes(b, 2, STR("exception"));
            pb_put_attr(b, 3, STR("exception.type"), &service);
            pb_end(b, event);
        }
        pb_end(b, span);
    }
    pb_end(b, ss);
    pb_end(b, rs);
    assert_false(buf_failed(b));
}

static void packed_write(const char *dir, const struct buf *request)
{
    struct wal_recovery rec;
    struct buf enc = BUF_INIT;
    struct err err = {0};
    uint64_t lsn;
    const struct wal_record r = {.arrival_s = 1700000000, .otlp = buf_bytes(request)};

    struct wal *w = golden_open(dir, NULL, &rec, "golden");
    wal_util_append(w, 1, 77, 0);
    assert_ok(wal_record_encode(&enc, &r, -1, &err), err);
    assert_true(enc.p[5] == WAL_FLAG_PACKED);
    assert_ok(wal_append(w, &enc, &lsn, &err), err);
    assert_ok(wal_close(w, &err), err);
    buf_deinit(&enc);
}

static void test_format__version_2_opens_for_ever(void **state)
{
    static const char name[] = "0000000000000001.wal";
    struct buf request = BUF_INIT;
    struct wal_seen seen = {0};
    struct wal_recovery rec;
    char *dir = tmpdir_new();

    (void)state;
    packed_request(&request);
    if (getenv("UPDATE") != NULL) {
        packed_write(dir, &request);
        copy_file(tmpdir_path(dir, name), tmpdir_path(GOLDEN_PACKED, name));
    }
    copy_file(tmpdir_path(GOLDEN_PACKED, name), tmpdir_path(dir, name));
    struct wal *w = golden_open(dir, &seen, &rec, "golden");
    assert_int_equal(rec.records, 2);
    assert_int_equal(rec.torn_tails + rec.damaged_records + rec.set_aside, 0);
    wal_seen_check(&seen, 1, 77);
    const struct wal_seen_record *r = wal_seen_find(&seen, 2);
    assert_non_null(r);
    assert_int_equal(r->n, request.n);
    assert_int_equal(r->sum, hash64(request.p, request.n));
    wal_abandon(w);
    wal_seen_deinit(&seen);
    buf_deinit(&request);
    tmpdir_free(dir);
}

/* Reads the lines "hex offset: hex bytes" behind the marker into img. */
static void example_read(uint8_t *img, size_t size)
{
    char line[256];
    bool on = false;
    unsigned n_lines = 0;
    FILE *f = fopen(FORMAT, "r");

    assert_non_null(f);
    while (fgets(line, sizeof(line), f) != NULL) {
        on = on || strstr(line, EXAMPLE_AT) != NULL;
        char *rest;
        unsigned long off = strtoul(line, &rest, 16);
        if (!on || *rest != ':')
            continue;
        n_lines++;
        rest++;
        for (unsigned i = 0; i < 16; i++) {
            char *end;
            unsigned long byte = strtoul(rest, &end, 16);
            if (end != rest + 3)
                break;
            assert_true(off + i < size && byte < 256);
            img[off + i] = (uint8_t)byte;
            rest = end;
        }
    }
    fclose(f);
    assert_true(n_lines > 10);
}

static void test_format__the_worked_example_is_a_segment(void **state)
{
    static uint8_t img[12 << 10];
    struct wal_seen seen = {0};
    struct wal_recovery rec;
    struct wal_file_header h;
    struct wal_record_header rh;
    char *dir = tmpdir_new();

    (void)state;
    example_read(img, sizeof(img));
    int fd = open(tmpdir_path(dir, "0000000000000001.wal"), O_WRONLY | O_CREAT, 0600);
    assert_int_equal(write(fd, img, sizeof(img)), sizeof(img));
    close(fd);
    struct wal *w = golden_open(dir, &seen, &rec, "acme");
    assert_int_equal(rec.records, 1);
    assert_int_equal(rec.torn_tails + rec.damaged_records + rec.set_aside, 0);
    assert_int_equal(seen.p[0].lsn, 1);
    assert_int_equal(seen.p[0].n, 5);
    assert_int_equal(seen.p[0].arrival_s, 1700000000);
    assert_int_equal(seen.p[0].attr_bytes_max, 2048);
    assert_int_equal(seen.p[0].n_skip, 2);
    assert_int_equal(seen.p[0].skip[0], 2);
    assert_int_equal(seen.p[0].skip[1], 5);
    wal_abandon(w);

    /* And this code would write the same. */
    uint8_t head[WAL_FILE_HEADER_BYTES];
    assert_int_equal(wal_file_header_get(img, &h), WAL_HEADER_OK);
    wal_file_header_put(head, &h);
    assert_memory_equal(head, img, sizeof(head));
    assert_memory_equal(head, img + WAL_FILE_HEADER_COPY, sizeof(head));
    struct buf enc = BUF_INIT;
    struct err err;
    static const uint32_t skip[] = {2, 5};
    struct wal_record in = {.arrival_s = 1700000000,
        .attr_bytes_max = 2048,
        .skip = skip,
        .n_skip = 2,
        .otlp = bytes_of_str(STR("hello"))};
    assert_ok(wal_record_encode(&enc, &in, -1, &err), err);
    wal_record_header_seal(enc.p, h.salt, 1, 0);
    size_t at = WAL_DATA_OFFSET + wal_record_bytes(WAL_START_BODY_BYTES);
    assert_memory_equal(enc.p, img + at, enc.n);
    assert_true(wal_record_header_get(img + at + enc.n, h.salt, &rh));
    assert_int_equal(rh.type, WAL_RECORD_MARK);
    assert_int_equal(rh.durable_lsn, 1);
    buf_deinit(&enc);
    wal_seen_deinit(&seen);
    tmpdir_free(dir);
}

static void test_format__headers_with_wrong_fields_are_refused(void **state)
{
    uint8_t p[WAL_RECORD_HEADER_BYTES];
    struct wal_record_header h = {.type = WAL_RECORD_DATA, .body_bytes = 9, .raw_bytes = 1}, got;

    (void)state;
    wal_record_header_put(p, &h);
    wal_record_header_seal(p, 7, 10, 9);
    assert_true(wal_record_header_get(p, 7, &got));
    assert_int_equal(got.lsn, 10);
    assert_int_equal(got.durable_lsn, 9);
    assert_false(wal_record_header_get(p, 8, &got)); /* the salt of another segment */
    wal_record_header_seal(p, 7, 10, 10);            /* knows itself to be durable */
    assert_false(wal_record_header_get(p, 7, &got));
    wal_record_header_seal(p, 7, 10, 9);
    p[6] = 1; /* reserved */
    wal_record_header_seal(p, 7, 10, 9);
    assert_false(wal_record_header_get(p, 7, &got));
    p[6] = 0;
    for (unsigned type = 0; type < 256; type++) {
        p[4] = (uint8_t)type;
        wal_record_header_seal(p, 7, 10, 9);
        assert_int_equal(wal_record_header_get(p, 7, &got), type == WAL_RECORD_DATA);
    }
    p[4] = WAL_RECORD_DATA;
    put_u32le(p, WAL_RECORD_BYTES_MAX);
    wal_record_header_seal(p, 7, 10, 9);
    assert_true(wal_record_header_get(p, 7, &got));
    put_u32le(p, WAL_RECORD_BYTES_MAX + 1);
    wal_record_header_seal(p, 7, 10, 9);
    assert_false(wal_record_header_get(p, 7, &got));
    assert_false(wal_record_header_plausible(0)); /* zeros end the log */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_format__version_1_opens_for_ever),
        cmocka_unit_test(test_format__a_recycled_segment_opens_for_ever),
        cmocka_unit_test(test_format__version_2_opens_for_ever),
        cmocka_unit_test(test_format__the_worked_example_is_a_segment),
        cmocka_unit_test(test_format__headers_with_wrong_fields_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
