/* SPDX-License-Identifier: Apache-2.0
 * The queue on disk: order, restarts, torn tails, damage, the size limit, failing disks. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "fault_io.h"
#include "src/remote_write/queue.h"
#include "tmpdir.h"
#include "unit.h"

static char *dir;

static struct queue *open_with(struct io *io, uint64_t bytes_max, uint64_t segment)
{
    struct queue_options o = {
        .io = io, .dir = dir, .bytes_max = bytes_max, .segment_bytes = segment};
    struct queue *q;
    struct err err = {0};
    if (queue_open(&o, &q, &err) != EC_OK)
        fail_msg("%s", err_msg(&err));
    return q;
}

static struct queue *opened(void)
{
    return open_with(&io_real, 64u << 20, 1u << 20);
}

static unsigned reader(struct queue *q, const char *name, struct queue_pos *pos)
{
    unsigned r;
    assert_int_equal(queue_reader(q, name, &r, pos, NULL), EC_OK);
    return r;
}

static enum ec append(struct queue *q, const char *text, uint64_t *dropped)
{
    uint64_t none[QUEUE_READERS_MAX] = {0};
    return queue_append(q, bytes_of_str(str_from(text)), 1, dropped == NULL ? none : dropped, NULL);
}

/* Reads the next record, expects the text, and is past it; NULL: there is none. */
static void expect(struct queue *q, struct queue_pos *pos, const char *text)
{
    struct buf raw = BUF_INIT;
    uint32_t n;
    uint64_t damaged = 0;
    bool got = queue_read(q, pos, &raw, &n, &damaged);
    assert_int_equal(got, text != NULL);
    if (got && text != NULL) {
        assert_int_equal(raw.n, strlen(text));
        assert_memory_equal(raw.p, text, raw.n);
        pos->entry = n;
    }
    buf_deinit(&raw);
}

static char *segment_file(unsigned number)
{
    static char path[600];
    snprintf(path, sizeof(path), "%s/%016x.seg", dir, number);
    return path;
}

static int set_up(void **state)
{
    (void)state;
    dir = tmpdir_new();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    tmpdir_free(dir);
    return 0;
}

static void test_queue__keeps_order_over_restarts(void **state)
{
    struct queue_pos pos;
    (void)state;
    struct queue *q = opened();
    unsigned r = reader(q, "a", &pos);
    assert_int_equal(append(q, "one", NULL), EC_OK);
    assert_int_equal(append(q, "two", NULL), EC_OK);
    assert_int_equal(append(q, "three", NULL), EC_OK);
    expect(q, &pos, "one");
    queue_done(q, r, &pos);
    expect(q, &pos, "two"); /* read, but not done */
    queue_close(q);

    q = opened();
    r = reader(q, "a", &pos);
    assert_int_equal(append(q, "four", NULL), EC_OK);
    expect(q, &pos, "two");
    expect(q, &pos, "three");
    expect(q, &pos, "four");
    expect(q, &pos, NULL);
    queue_done(q, r, &pos);
    assert_int_equal(access(segment_file(1), F_OK), -1); /* all are past it */
    assert_int_equal(append(q, "five", NULL), EC_OK);
    expect(q, &pos, "five");
    queue_close(q);
}

static void test_queue__a_position_within_a_record_is_kept(void **state)
{
    struct queue_pos pos;
    struct buf raw = BUF_INIT;
    uint64_t none[QUEUE_READERS_MAX] = {0}, damaged = 0;
    uint32_t n;
    (void)state;
    struct queue *q = opened();
    unsigned r = reader(q, "a", &pos);
    assert_int_equal(queue_append(q, bytes_of_str(STR("abc")), 3, none, NULL), EC_OK);
    assert_true(queue_read(q, &pos, &raw, &n, &damaged));
    pos.entry = 2;
    queue_done(q, r, &pos);
    queue_close(q);
    q = opened();
    reader(q, "a", &pos);
    assert_int_equal(pos.entry, 2);
    assert_true(queue_read(q, &pos, &raw, &n, &damaged));
    assert_int_equal(n, 3);
    buf_deinit(&raw);
    queue_close(q);
}

/* The newest segment went with the power, the position in it did not: the next segment has its
 * number, and is read from its start. */
static void test_queue__a_position_in_a_lost_segment(void **state)
{
    struct queue *q = opened();
    struct queue_pos pos;
    (void)state;
    unsigned r = reader(q, "a", &pos);
    assert_int_equal(append(q, "one", NULL), EC_OK);
    assert_int_equal(append(q, "two", NULL), EC_OK);
    expect(q, &pos, "one");
    queue_done(q, r, &pos);
    queue_close(q);
    char *path = segment_file(1);
    assert_int_equal(unlink(path), 0);
    q = opened();
    r = reader(q, "a", &pos);
    assert_int_equal(append(q, "three", NULL), EC_OK);
    expect(q, &pos, "three");
    queue_close(q);
}

static void test_queue__readers_are_independent_and_new_ones_start_at_the_end(void **state)
{
    struct queue_pos a, b;
    (void)state;
    struct queue *q = opened();
    reader(q, "a", &a);
    assert_int_equal(append(q, "one", NULL), EC_OK);
    queue_close(q);
    q = opened();
    unsigned ra = reader(q, "a", &a), rb = reader(q, "b", &b);
    assert_int_equal(append(q, "two", NULL), EC_OK);
    expect(q, &b, "two");
    queue_done(q, rb, &b);
    assert_int_equal(access(segment_file(1), F_OK), 0); /* a has not read it */
    expect(q, &a, "one");
    expect(q, &a, "two");
    queue_done(q, ra, &a);
    assert_int_equal(access(segment_file(1), F_OK), -1);
    queue_close(q);

    q = opened(); /* b is gone from the configuration: it holds nothing back any more */
    reader(q, "a", &a);
    queue_forget_others(q);
    char path[600];
    snprintf(path, sizeof(path), "%s/b.pos", dir);
    assert_int_equal(access(path, F_OK), -1);
    snprintf(path, sizeof(path), "%s/a.pos", dir);
    assert_int_equal(access(path, F_OK), 0);
    queue_close(q);
}

#define KEPT_MAX 4096

/* A segment with "one" and "two", its bytes, and where the first ends. */
static uint64_t two_records(char kept[KEPT_MAX], uint64_t *ret_first)
{
    struct queue_pos pos;
    struct queue *q = opened();
    reader(q, "a", &pos);
    assert_int_equal(append(q, "one", NULL), EC_OK);
    *ret_first = queue_bytes(q);
    assert_int_equal(append(q, "two", NULL), EC_OK);
    uint64_t whole = queue_bytes(q);
    queue_close(q);
    int fd = open(segment_file(1), O_RDONLY);
    assert_int_equal(read(fd, kept, KEPT_MAX), whole);
    close(fd);
    return whole;
}

static void rewrite(const char *bytes, uint64_t n)
{
    int fd = open(segment_file(1), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_int_equal(write(fd, bytes, n), n);
    close(fd);
}

/* Whatever the length at which a crash cut the segment: what is whole before it comes back. */
static void test_queue__a_torn_tail_is_cut(void **state)
{
    struct queue_pos pos;
    char kept[KEPT_MAX];
    (void)state;
    struct queue *q;
    uint64_t first, whole = two_records(kept, &first);
    for (uint64_t n = 0; n <= whole; n++) {
        rewrite(kept, n);
        q = opened();
        reader(q, "a", &pos);
        assert_int_equal(append(q, "after", NULL), EC_OK);
        if (n >= first)
            expect(q, &pos, "one");
        if (n == whole)
            expect(q, &pos, "two");
        expect(q, &pos, "after");
        expect(q, &pos, NULL);
        queue_close(q);
        unlink(segment_file(2));
    }
}

/* Whatever bit is wrong: no other record changes, and nothing crashes. */
static void test_queue__damage_is_skipped(void **state)
{
    struct queue_pos pos;
    char kept[KEPT_MAX];
    (void)state;
    struct queue *q;
    uint64_t first, whole = two_records(kept, &first);
    for (uint64_t i = 0; i < first; i++) {
        kept[i] ^= 0x10;
        rewrite(kept, whole);
        kept[i] ^= 0x10;
        q = opened();
        reader(q, "a", &pos);
        assert_int_equal(append(q, "after", NULL), EC_OK);
        if (i >= 24) /* the head says where the next one is */
            expect(q, &pos, "two");
        expect(q, &pos, "after");
        expect(q, &pos, NULL);
        queue_close(q);
        unlink(segment_file(2));
    }
}

/* One wrong bit of the file's byte, in the first read that has it. */
static struct {
    bool armed;
    uint64_t at;
} flip;

static ssize_t pread_flipped(void *ctx, const char *site, int fd, void *p, size_t n, uint64_t off)
{
    ssize_t r = io_real.ops->pread(ctx, site, fd, p, n, off);
    if (flip.armed && r > 0 && off <= flip.at && flip.at < off + (uint64_t)r) {
        ((uint8_t *)p)[flip.at - off] ^= 0x10;
        flip.armed = false;
    }
    return r;
}

/* Whichever byte it is, also of the checksums: the record is read again, and comes. */
static void test_queue__a_read_that_is_bad_once_loses_nothing(void **state)
{
    struct queue_pos pos;
    struct io_ops ops = *io_real.ops;
    struct io io = {.ops = &ops, .ctx = io_real.ctx};
    (void)state;
    ops.pread = pread_flipped;
    struct queue *q = open_with(&io, 64u << 20, 1u << 20);
    reader(q, "a", &pos);
    uint64_t before = queue_bytes(q);
    assert_int_equal(append(q, "some record", NULL), EC_OK);
    uint64_t whole = queue_bytes(q) - before;
    assert_true(whole > 40);
    for (flip.at = 0; flip.at < whole; flip.at++) {
        struct queue_pos at = pos;
        flip.armed = true;
        expect(q, &at, "some record");
        assert_false(flip.armed);
    }
    queue_close(q);
}

static void test_queue__over_the_limit_the_oldest_go_and_are_counted(void **state)
{
    struct queue_pos a, b;
    uint64_t dropped[QUEUE_READERS_MAX] = {0};
    (void)state;
    struct queue *q = open_with(&io_real, 400, 100); /* a record takes some 50 bytes */
    unsigned ra = reader(q, "a", &a), rb = reader(q, "b", &b);
    assert_int_equal(append(q, "0", dropped), EC_OK);
    expect(q, &b, "0");
    b.seen = 1;
    queue_done(q, rb, &b);
    unsigned n = 1;
    for (; n < 50; n++) {
        char text[8];
        snprintf(text, sizeof(text), "%u", n);
        assert_int_equal(append(q, text, dropped), EC_OK);
        assert_true(queue_bytes(q) <= 400);
    }
    assert_int_equal(dropped[ra], dropped[rb] + 1); /* which b had seen */
    char next[24];
    snprintf(next, sizeof(next), "%llu", (unsigned long long)dropped[ra]);
    expect(q, &a, next); /* exactly those are missing */
    expect(q, &b, next);
    char huge[2000]; /* does not compress below the limit */
    for (size_t i = 0; i < sizeof(huge); i++)
        huge[i] = (char)((i * i * 2654435761u) >> 13);
    assert_int_equal(queue_append(q, bytes_n(huge, sizeof(huge)), 1, dropped, NULL), EC_TOO_LARGE);
    queue_close(q);
}

/* Each call on a file fails once, at each place: either an error, or nothing is lost. */
static void test_queue__failing_disk(void **state)
{
    (void)state;
    for (uint64_t nth = 1; nth < 200; nth++) {
        struct fault_io *f = fault_io_new(NULL);
        struct queue_options o = {
            .io = fault_io_io(f), .dir = dir, .bytes_max = 1u << 20, .segment_bytes = 80};
        struct queue *q = NULL;
        struct queue_pos pos = {0};
        unsigned r = 0;
        bool ok[6];
        fault_io_fail(f, NULL, NULL, nth, EIO, false);
        if (queue_open(&o, &q, NULL) != EC_OK || queue_reader(q, "a", &r, &pos, NULL) != EC_OK) {
            assert_true(fault_io_fired(f) > 0);
        } else {
            for (unsigned i = 0; i < ARRAY_LEN(ok); i++)
                ok[i] = append(q, (const char *[]){"a", "b", "c", "d", "e", "f"}[i], NULL) == EC_OK;
            uint64_t fired = fault_io_fired(f);
            unsigned failed = 0;
            for (unsigned i = 0; i < ARRAY_LEN(ok); i++)
                failed += !ok[i];
            assert_true(failed <= fired);
            fault_io_clear(f);
            for (unsigned i = 0; i < ARRAY_LEN(ok); i++)
                if (ok[i])
                    expect(q, &pos, (const char *[]){"a", "b", "c", "d", "e", "f"}[i]);
            expect(q, &pos, NULL);
        }
        bool done = q != NULL && fault_io_fired(f) == 0 && nth > 60;
        queue_close(q);
        fault_io_free(f);
        tmpdir_free(dir);
        dir = tmpdir_new();
        if (done)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_queue__keeps_order_over_restarts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_queue__a_position_within_a_record_is_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_queue__readers_are_independent_and_new_ones_start_at_the_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_queue__a_position_in_a_lost_segment, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_queue__a_torn_tail_is_cut, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_queue__damage_is_skipped, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_queue__a_read_that_is_bad_once_loses_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_queue__over_the_limit_the_oldest_go_and_are_counted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_queue__failing_disk, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
