/* SPDX-License-Identifier: Apache-2.0
 * Blocks with few descriptors: each block is read as if it had its own, never are more open than
 * allowed, and where the process has none left others give up theirs. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include "block_fixture.h"
#include "storage/block/reader.h"
#include "unit.h"

#define BLOCKS  12u
#define THREADS 4u

static struct err err;

struct many {
    struct block_fixture *f;
    struct part *parts[BLOCKS];
    uint64_t sums[BLOCKS]; /* of the span ids */
};

static bool sum_ids(struct part *p, uint64_t *ret, struct err *e)
{
    struct part_reader *r;
    struct part_info info;
    *ret = 0;
    if (part_reader_open(p, NULL, &r, e) != EC_OK)
        return false;
    r->once = true; /* each time from the file */
    part_info(r, &info);
    bool ok = true;
    for (uint32_t g = 0; ok && g < info.n_groups; g++) {
        struct col_view v;
        ok = part_view(r, g, COL_SPAN_ID, &v, e) == EC_OK;
        for (uint32_t i = 0; ok && i < v.n; i++)
            *ret += v.u64[i];
    }
    part_reader_close(r);
    return ok;
}

static void many_open(struct many *m, uint32_t n_max)
{
    m->f = block_fixture_new();
    block_cache_files(m->f->cache)->n_max = n_max;
    for (unsigned i = 0; i < BLOCKS; i++) {
        struct head *h = fixture_head(40 + i, 200);
        m->parts[i] = fixture_write(m->f, (struct part *[]){head_part(h)}, 1);
        assert_true(sum_ids(head_part(h), &m->sums[i], &err));
        part_unref(head_part(h));
    }
}

static void many_close(struct many *m)
{
    for (unsigned i = 0; i < BLOCKS; i++)
        part_unref(m->parts[i]);
    assert_int_equal(block_cache_files(m->f->cache)->n_open, 0);
    block_fixture_free(m->f);
}

static uint32_t descriptors(void)
{
    uint32_t n = 0;
    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void *read_all(void *arg)
{
    struct many *m = arg;
    uintptr_t wrong = 0;
    for (unsigned i = 0; i < 40 * BLOCKS; i++) {
        uint64_t sum;
        struct err e = {0};
        wrong += !sum_ids(m->parts[i % BLOCKS], &sum, &e) || sum != m->sums[i % BLOCKS];
    }
    return (void *)wrong; /* a number, not memory */
}

static void test_files__are_bounded(void **state)
{
    struct many m;
    pthread_t t[THREADS];
    uint32_t before = descriptors();
    (void)state;
    many_open(&m, 3);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, read_all, &m), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        void *wrong;
        assert_int_equal(pthread_join(t[i], &wrong), 0);
        assert_null(wrong);
    }
    uint64_t sum;
    assert_true(sum_ids(m.parts[0], &sum, &err) && sum_ids(m.parts[1], &sum, &err));
    assert_true(block_cache_files(m.f->cache)->n_open <= 3);
    assert_true(descriptors() <= before + 3);
    many_close(&m);
    assert_int_equal(descriptors(), before);
}

/* The process is out of descriptors, by other doings than reading blocks. */
static void test_files__give_way_when_none_is_left(void **state)
{
    struct many m;
    struct rlimit was, small;
    uint64_t sum;
    (void)state;
    many_open(&m, 1000);
    assert_true(sum_ids(m.parts[0], &sum, &err) && sum_ids(m.parts[1], &sum, &err));
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    small = (struct rlimit){descriptors() + 4, was.rlim_max};
    int taken[64], n = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &small), 0);
    while (n < 64 && (taken[n] = dup(0)) >= 0)
        n++;
    assert_int_equal(errno, EMFILE);
    for (unsigned i = 0; i < BLOCKS; i++) {
        assert_true(sum_ids(m.parts[i], &sum, &err));
        assert_true(sum == m.sums[i]);
    }
    assert_int_equal(m.f->corrupt, 0);
    /* None of ours is open: that is said, and no block is damaged for it. */
    for (unsigned i = 0; i < BLOCKS; i++)
        block_file_drop(CONTAINER_OF(m.parts[i], struct block, part));
    while (n < 64 && (taken[n] = dup(0)) >= 0)
        n++;
    assert_false(sum_ids(m.parts[3], &sum, &err));
    assert_int_equal(err.code, EC_LIMIT);
    assert_int_equal(m.f->corrupt, 0);
    while (n > 0)
        close(taken[--n]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
    assert_true(sum_ids(m.parts[3], &sum, &err) && sum == m.sums[3]);
    many_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files__are_bounded),
        cmocka_unit_test(test_files__give_way_when_none_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
