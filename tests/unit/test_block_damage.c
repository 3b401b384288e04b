/* SPDX-License-Identifier: Apache-2.0
 * Damaged and failing files: every flipped bit is noticed or harmless, no cut file opens, no
 * failing call leaves a file behind, no budget is exceeded. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "block_fixture.h"
#include "fault_io.h"
#include "part_text.h"
#include "test_util.h"

static struct bytes file_load(const char *path)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    size_t n = (size_t)ftell(f);
    rewind(f);
    uint8_t *p = xmalloc(n + 1);
    assert_int_equal(fread(p, 1, n, f), n);
    fclose(f);
    return bytes_n(p, n);
}

static void file_store(const char *path, const uint8_t *p, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    fclose(f);
}

/* Turns one bit of a file around. */
static void file_flip(int fd, uint64_t bit)
{
    uint8_t byte;
    assert_int_equal(pread(fd, &byte, 1, (off_t)(bit / 8)), 1);
    byte ^= (uint8_t)(1 << bit % 8);
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)(bit / 8)), 1);
}

/* Everything that a reader can ask for: the first failure, or EC_OK. */
static enum ec read_all(struct part *p, struct budget *budget)
{
    struct part_reader *r;
    struct part_info info;
    const struct part_attr *attrs;
    size_t n_attrs;
    TRY(part_reader_open(p, budget, &r, NULL));
    part_info(r, &info);
    enum ec ec = part_attrs(r, &attrs, &n_attrs, NULL);
    for (uint32_t t = 0; ec == EC_OK && t < info.n_traces; t++) {
        struct part_trace trace;
        uint32_t found;
        ec = part_trace(r, t, &trace, NULL);
        if (ec == EC_OK)
            ec = part_trace_find(r, &trace.id, &found, NULL);
    }
    for (uint32_t g = 0; ec == EC_OK && g < info.n_groups; g++) {
        for (col_id col = 0; ec == EC_OK && col < COL_FIXED_MAX + n_attrs; col++) {
            struct col_view v;
            ec = part_view(r, g, col, &v, NULL);
        }
    }
    part_reader_close(r);
    return ec;
}

static void test_damage__every_flipped_bit_is_noticed_or_harmless(void **state)
{
    (void)state;
    struct block_fixture *f = block_fixture_new();
    struct head *h = fixture_head(3, 12);
    struct part *head = head_part(h), *b = fixture_write(f, &head, 1);
    struct part_texts good = part_texts_read(b);
    part_unref(b);
    int fd = open(f->path, O_RDWR);
    assert_true(fd >= 0);
    uint64_t noticed = 0, tried = 0;
    for (uint64_t bit = 0; bit < f->facts.file_bytes * 8; bit += 1 + bit % 7) {
        file_flip(fd, bit);
        tried++;
        f->corrupt = 0;
        b = fixture_open(f, f->path);
        enum ec ec = read_all(b, NULL);
        if (ec == EC_OK) { /* a byte that this reader needs not: nothing may differ */
            struct part_texts now = part_texts_read(b);
            assert_true(part_texts_same_set(&good, &now));
            part_texts_free(&now);
        } else {
            assert_true(ec == EC_CORRUPT || ec == EC_UNSUPPORTED);
            assert_true(ec == EC_UNSUPPORTED || f->corrupt == 1);
            noticed++;
        }
        part_unref(b);
        uint64_t problems = 0;
        assert_int_equal(block_verify(&io_real, f->path, NULL, NULL, &problems, NULL), EC_OK);
        assert_true(problems > 0);
        file_flip(fd, bit);
    }
    assert_true(noticed * 100 > tried * 90);
    part_texts_free(&good);
    close(fd);
    head_free(h);
    block_fixture_free(f);
}

static void test_damage__no_cut_file_opens(void **state)
{
    (void)state;
    struct block_fixture *f = block_fixture_new();
    struct head *h = fixture_head(4, 40);
    struct part *head = head_part(h), *b = fixture_write(f, &head, 1);
    part_unref(b);
    struct bytes file = file_load(f->path);
    for (size_t n = 0; n < file.n; n += 1 + n / 50) {
        file_store(f->path, file.p, n);
        b = fixture_open(f, f->path);
        assert_int_equal(read_all(b, NULL), EC_CORRUPT);
        part_unref(b);
    }
    free((void *)(uintptr_t)file.p);
    head_free(h);
    block_fixture_free(f);
}

/* Each call of the writer fails once: the code is the caller's, and no file stays. */
static void test_damage__a_failing_write_leaves_no_file(void **state)
{
    (void)state;
    static const struct {
        const char *op;
        int errnum;
        enum ec want;
    } cases[] = {{"open", EACCES, EC_IO}, {"pwrite", ENOSPC, EC_NOSPACE}, {"pwrite", EIO, EC_IO},
        {"fsync", EIO, EC_IO}, {"close", EIO, EC_IO}};
    struct head *h = fixture_head(5, 200);
    struct part *head = head_part(h);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (uint64_t n = 1;; n++) {
            struct block_fixture *f = block_fixture_new();
            struct fault_io *fault = fault_io_new(NULL);
            f->io = fault_io_io(fault);
            fault_io_fail(fault, NULL, cases[i].op, n, cases[i].errnum, false);
            enum ec ec = fixture_try_write(f, &head, 1, NULL, NULL);
            uint64_t fired = fault_io_fired(fault);
            assert_int_equal(ec, fired > 0 ? cases[i].want : EC_OK);
            assert_int_equal(access(f->path, F_OK), fired > 0 ? -1 : 0);
            f->io = &io_real;
            fault_io_free(fault);
            block_fixture_free(f);
            if (fired == 0)
                break;
        }
    }
    head_free(h);
}

/* A read that fails or flips once is repeated; one that goes on failing is told once. */
static void test_damage__reads_are_tried_twice(void **state)
{
    (void)state;
    struct block_fixture *f = block_fixture_new();
    struct head *h = fixture_head(6, 100);
    struct part *head = head_part(h), *b = fixture_write(f, &head, 1);
    part_unref(b);
    struct fault_io *fault = fault_io_new(NULL);
    f->io = fault_io_io(fault);
    for (uint64_t n = 1;; n++) {
        fault_io_clear(fault);
        fault_io_fail(fault, "block.read", "pread", n, FAULT_IO_FLIP, false);
        b = fixture_open(f, f->path);
        assert_int_equal(read_all(b, NULL), EC_OK);
        part_unref(b);
        if (fault_io_fired(fault) == 0)
            break;
        assert_int_equal(f->corrupt, 0);
    }
    for (uint64_t n = 1;; n++) {
        fault_io_clear(fault);
        fault_io_fail(fault, "block.read", "pread", n, EIO, true);
        f->corrupt = 0;
        b = fixture_open(f, f->path);
        enum ec ec = read_all(b, NULL);
        if (fault_io_fired(fault) == 0) {
            part_unref(b);
            break;
        }
        assert_int_equal(ec, EC_IO);
        assert_int_equal(read_all(b, NULL), EC_IO);
        assert_int_equal(f->corrupt, 1);
        /* The disk is well again: so is the block. */
        fault_io_clear(fault);
        assert_int_equal(read_all(b, NULL), EC_OK);
        part_unref(b);
    }
    f->io = &io_real;
    fault_io_free(fault);
    head_free(h);
    block_fixture_free(f);
}

/* A damaged page costs its column; the others are read. */
static void test_damage__other_pages_stay_readable(void **state)
{
    (void)state;
    struct block_fixture *f = block_fixture_new();
    struct head *h = fixture_head(7, 300);
    struct part *head = head_part(h), *b = fixture_write(f, &head, 1);
    part_unref(b);
    struct bytes file = file_load(f->path);
    ((uint8_t *)(uintptr_t)file.p)[64 + 100] ^= 1; /* the first page written: events or span ids */
    file_store(f->path, file.p, file.n);
    b = fixture_open(f, f->path);
    struct part_reader *r;
    assert_int_equal(part_reader_open(b, NULL, &r, NULL), EC_OK);
    unsigned bad = 0, well = 0;
    for (col_id col = 0; col < COL_FIXED_MAX; col++) {
        struct col_view v;
        enum ec ec = part_view(r, 0, col, &v, NULL);
        bad += ec == EC_CORRUPT;
        well += ec == EC_OK;
    }
    assert_true(bad >= 1 && bad <= 2); /* ids, and parents that are told by them */
    assert_int_equal(bad + well, COL_FIXED_MAX);
    assert_int_equal(f->corrupt, 1);
    part_reader_close(r);
    part_unref(b);
    free((void *)(uintptr_t)file.p);
    head_free(h);
    block_fixture_free(f);
}

/* With any budget the writer either finishes or says EC_LIMIT, and gives everything back. */
static void test_damage__budgets_are_kept(void **state)
{
    (void)state;
    struct block_fixture *f = block_fixture_new();
    struct head *h = fixture_head(8, 400);
    struct part *head = head_part(h), *b = NULL;
    unsigned refused = 0;
    for (uint64_t cap = 1 << 10;; cap += cap / 4) {
        struct budget budget;
        budget_init(&budget, NULL, "small", cap);
        enum ec ec = fixture_try_write(f, &head, 1, &budget, NULL);
        assert_int_equal(budget_used(&budget), 0);
        assert_true(atomic_load(&budget.peak) <= cap);
        budget_deinit(&budget);
        if (ec == EC_OK)
            break;
        assert_int_equal(ec, EC_LIMIT);
        assert_int_equal(access(f->path, F_OK), -1);
        refused++;
    }
    assert_true(refused > 5);
    /* Readers: a cache without room, so that every page is the reader's own. */
    struct block_cache *roomy = f->cache;
    refused = 0;
    for (uint64_t cap = 1 << 10;; cap += cap / 8) {
        struct budget budget, tiny;
        budget_init(&budget, NULL, "reader", cap);
        budget_init(&tiny, NULL, "cache", 20000); /* a root fits */
        f->cache = block_cache_new(&tiny, 0);
        b = fixture_open(f, f->path);
        enum ec ec = read_all(b, &budget);
        assert_int_equal(budget_used(&budget), 0);
        part_unref(b);
        block_cache_free(f->cache);
        budget_deinit(&budget);
        budget_deinit(&tiny);
        if (ec == EC_OK)
            break;
        assert_int_equal(ec, EC_LIMIT);
        refused++;
    }
    assert_true(refused > 5);
    f->cache = roomy;
    assert_int_equal(f->corrupt, 0); /* a refusal is no damage */
    head_free(h);
    block_fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_damage__every_flipped_bit_is_noticed_or_harmless),
        cmocka_unit_test(test_damage__no_cut_file_opens),
        cmocka_unit_test(test_damage__a_failing_write_leaves_no_file),
        cmocka_unit_test(test_damage__reads_are_tried_twice),
        cmocka_unit_test(test_damage__other_pages_stay_readable),
        cmocka_unit_test(test_damage__budgets_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
