/* SPDX-License-Identifier: Apache-2.0
 * The catalog: commits are seen and survive, maps grow, damage is EC_CORRUPT, threads do not meet.
 * */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "storage/catalog.h"
#include "tmpdir.h"
#include "unit.h"

static int setup(void **state)
{
    *state = tmpdir_new();
    return 0;
}

static int teardown(void **state)
{
    tmpdir_free(*state);
    return 0;
}

static struct catalog *open_catalog(const char *dir, uint64_t map_bytes)
{
    struct catalog_options opt = {.dir = dir, .map_bytes = map_bytes};
    struct catalog *c = NULL;
    struct err err = {0};
    assert_ok(catalog_open(&opt, &c, &err), err);
    return c;
}

static struct block_facts facts_of(uint64_t k)
{
    struct block_facts f = {
        .level = (uint32_t)k % 5,
        .n_spans = k * 100,
        .n_traces = k * 10,
        .min_start_ns = k * 1000,
        .max_end_ns = k * 1000 + 999,
        .min_arrival_s = (uint32_t)k,
        .max_arrival_s = (uint32_t)k + 5,
        .file_bytes = k * 3200,
        .lsn_first = k,
        .lsn_last = k + 9,
    };
    put_u64be(f.uuid, k);
    put_u64be(f.uuid + 8, ~k);
    return f;
}

struct found {
    size_t n, n_inputs;
    char tenant[200]; /* of the last */
    uint64_t sum_spans;
    const char *only; /* count this tenant's alone */
};

static enum ec each_found(
    void *ctx, struct str tenant, const struct block_facts *f, struct err *err)
{
    struct found *found = ctx;
    (void)err;
    if (found->only != NULL && !str_eqz(tenant, found->only))
        return EC_OK;
    snprintf(found->tenant, sizeof(found->tenant), STR_FMT, STR_ARG(tenant));
    found->n++;
    found->sum_spans += f->n_spans;
    found->n_inputs += f->n_inputs;
    for (uint32_t i = 0; i < f->n_inputs; i++)
        assert_int_equal(f->inputs[i][15], i);
    struct block_facts want = facts_of(f->lsn_first);
    assert_memory_equal(f->uuid, want.uuid, 16);
    assert_int_equal(f->level, want.level);
    assert_int_equal(f->n_traces, want.n_traces);
    assert_int_equal(f->min_start_ns, want.min_start_ns);
    assert_int_equal(f->max_end_ns, want.max_end_ns);
    assert_int_equal(f->min_arrival_s, want.min_arrival_s);
    assert_int_equal(f->max_arrival_s, want.max_arrival_s);
    assert_int_equal(f->file_bytes, want.file_bytes);
    assert_int_equal(f->lsn_last, want.lsn_last);
    return EC_OK;
}

static size_t count_blocks(struct catalog *c, const char *only)
{
    struct found found = {.only = only};
    struct err err = {0};
    assert_ok(catalog_each(c, each_found, &found, &err), err);
    return found.n;
}

static void test_catalog__a_commit_survives_reopening(void **state)
{
    struct err err = {0};
    struct found found = {0};
    struct block_facts f[2] = {facts_of(1), facts_of(2)};

    struct catalog *c = open_catalog(*state, 0);
    assert_int_equal(count_blocks(c, NULL), 0);
    assert_ok(catalog_commit(c, STR("team-a"), f, 2, NULL, 0, &err), err);
    catalog_close(c);
    c = open_catalog(*state, 0);
    assert_ok(catalog_each(c, each_found, &found, &err), err);
    assert_int_equal(found.n, 2);
    assert_int_equal(found.sum_spans, 300);
    assert_string_equal(found.tenant, "team-a");
    catalog_close(c);
    catalog_close(NULL);
}

static void test_catalog__adds_and_removes_are_one(void **state)
{
    struct err err = {0};
    struct block_facts in[3] = {facts_of(1), facts_of(2), facts_of(3)}, out = facts_of(4);
    uint8_t gone[3][16], inputs[3][16] = {{[15] = 0}, {[15] = 1}, {[15] = 2}};
    struct found found = {0};

    struct catalog *c = open_catalog(*state, 0);
    assert_ok(catalog_commit(c, STR("t"), in, 3, NULL, 0, &err), err);
    for (int i = 0; i < 3; i++)
        memcpy(gone[i], in[i].uuid, 16);
    out.n_inputs = 3;
    out.inputs = inputs;
    assert_ok(catalog_commit(c, STR("t"), &out, 1, gone, 3, &err), err);
    assert_ok(catalog_each(c, each_found, &found, &err), err);
    assert_int_equal(found.n, 1);
    assert_int_equal(found.n_inputs, 3);
    /* Removing what is gone is no error: a restart may repeat it. */
    assert_ok(catalog_commit(c, STR("t"), NULL, 0, gone, 3, &err), err);
    catalog_close(c);
}

static enum ec each_known(
    void *ctx, struct str tenant, const struct block_facts *f, struct err *err)
{
    const struct block_facts *want = ctx;
    (void)tenant;
    (void)err;
    want += f->lsn_first - 1;
    assert_true(block_known_equal(f->known, want->known));
    assert_int_equal(f->n_inputs, want->n_inputs);
    return EC_OK;
}

static void test_catalog__what_is_known_of_attributes_is_kept(void **state)
{
    struct err err = {0};
    uint8_t inputs[2][16] = {{[15] = 0}, {[15] = 1}};
    struct block_facts f[3] = {facts_of(1), facts_of(2), facts_of(3)}; /* of the first nothing */
    for (uint32_t i = 1; i < 3; i++) {
        f[i].known = block_known_new(i == 1 ? 0 : BLOCK_LISTS_MAX);
        f[i].known->names[2] = i;
        for (uint32_t k = 0; k < f[i].known->n_lists; k++)
            f[i].known->lists[k] = (struct block_list){k * 10 + 1, k * k};
    }
    f[2].n_inputs = 2;
    f[2].inputs = inputs;
    struct catalog *c = open_catalog(*state, 0);
    assert_ok(catalog_commit(c, STR("t"), f, 3, NULL, 0, &err), err);
    catalog_close(c);
    c = open_catalog(*state, 0);
    assert_ok(catalog_each(c, each_known, f, &err), err);
    assert_int_equal(count_blocks(c, "t"), 3);
    catalog_close(c);
    for (uint32_t i = 1; i < 3; i++)
        block_known_unref(f[i].known);
}

static void test_catalog__tenants_do_not_mix(void **state)
{
    struct err err = {0};
    struct catalog *c = open_catalog(*state, 0);
    static const char *const ids[] = {"a", "aa", "ab", "b", "a\x01"};

    for (uint64_t i = 0; i < ARRAY_LEN(ids); i++) {
        struct block_facts f[2] = {facts_of(10 + i), facts_of(20 + i)};
        assert_ok(catalog_commit(c, str_from(ids[i]), f, 2, NULL, 0, &err), err);
    }
    assert_int_equal(count_blocks(c, NULL), 10);
    assert_ok(catalog_tenant_remove(c, STR("a"), &err), err);
    assert_int_equal(count_blocks(c, NULL), 8);
    assert_int_equal(count_blocks(c, "a"), 0);
    assert_int_equal(count_blocks(c, "aa"), 2);
    assert_ok(catalog_tenant_remove(c, STR("nobody"), &err), err);
    assert_ok(catalog_tenant_remove(c, STR("b"), &err), err);
    assert_int_equal(count_blocks(c, NULL), 6);
    catalog_close(c);
}

static void test_catalog__tenant_ids_are_checked(void **state)
{
    struct err err = {0};
    struct catalog *c = open_catalog(*state, 0);
    struct block_facts f = facts_of(1);
    char id[193];

    memset(id, 'x', sizeof(id));
    assert_ec(catalog_commit(c, STR(""), &f, 1, NULL, 0, &err), EC_INVALID);
    assert_ec(catalog_commit(c, str_n(id, 193), &f, 1, NULL, 0, &err), EC_INVALID);
    assert_ec(catalog_tenant_remove(c, str_n(id, 193), &err), EC_INVALID);
    assert_ok(catalog_commit(c, str_n(id, 192), &f, 1, NULL, 0, &err), err);
    assert_int_equal(count_blocks(c, NULL), 1);
    catalog_close(c);
}

static void test_catalog__a_full_map_grows(void **state)
{
    struct err err = {0};
    struct catalog *c = open_catalog(*state, 64 << 10);
    struct block_facts *f = calloc(5000, sizeof(*f));

    for (uint64_t i = 0; i < 5000; i++)
        f[i] = facts_of(i + 1);
    assert_ok(catalog_commit(c, STR("big"), f, 5000, NULL, 0, &err), err);
    assert_int_equal(count_blocks(c, NULL), 5000);
    catalog_close(c);
    c = open_catalog(*state, 64 << 10); /* smaller than the file: the file wins */
    assert_int_equal(count_blocks(c, NULL), 5000);
    for (uint64_t i = 0; i < 5000; i++)
        f[i] = facts_of(i + 6000);
    assert_ok(catalog_commit(c, STR("big2"), f, 5000, NULL, 0, &err), err);
    assert_int_equal(count_blocks(c, NULL), 10000);
    catalog_close(c);
    free(f);
}

static void test_catalog__facts_are_kept(void **state)
{
    struct err err = {0};
    char out[16];
    size_t n = 99;
    struct catalog *c = open_catalog(*state, 0);

    assert_ok(catalog_fact_get(c, STR("clean_shutdown"), out, sizeof(out), &n, &err), err);
    assert_int_equal(n, 0);
    assert_ok(catalog_fact_put(c, STR("clean_shutdown"), STR("1"), &err), err);
    assert_ok(catalog_fact_put(c, STR("clean_shutdown"), STR("yes"), &err), err);
    catalog_close(c);
    c = open_catalog(*state, 0);
    assert_ok(catalog_fact_get(c, STR("clean_shutdown"), out, 3, &n, &err), err);
    assert_str(str_n(out, n), "yes");
    n = 99;
    assert_ec(catalog_fact_get(c, STR("clean_shutdown"), out, 2, &n, &err), EC_TOO_LARGE);
    assert_int_equal(n, 99);
    assert_ec(catalog_fact_put(c, STR(""), STR("x"), &err), EC_INVALID);
    catalog_close(c);
}

static void write_file(const char *path, const void *p, size_t n, int flags)
{
    int fd = open(path, O_WRONLY | O_CREAT | flags, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, p, n), n);
    close(fd);
}

static void test_catalog__a_destroyed_file_is_corrupt(void **state)
{
    struct catalog_options opt = {.dir = *state};
    struct block_facts f = facts_of(1);
    struct err err = {0};
    static uint8_t junk[8192];

    struct catalog *c = open_catalog(*state, 0);
    assert_ok(catalog_commit(c, STR("t"), &f, 1, NULL, 0, &err), err);
    catalog_close(c);
    memset(junk, 0x5a, sizeof(junk));
    write_file(tmpdir_path(*state, "data.mdb"), junk, sizeof(junk), 0);
    assert_ec(catalog_open(&opt, &c, &err), EC_CORRUPT);
    assert_non_null(strstr(err.msg, *state));
}

static void test_catalog__a_cut_file_is_corrupt(void **state)
{
    struct catalog_options opt = {.dir = *state};
    struct err err = {0};
    struct catalog *c = open_catalog(*state, 0);

    for (uint64_t i = 0; i < 200; i++) {
        struct block_facts f = facts_of(i + 1);
        assert_ok(catalog_commit(c, STR("t"), &f, 1, NULL, 0, &err), err);
    }
    catalog_close(c);
    assert_int_equal(truncate(tmpdir_path(*state, "data.mdb"), 3 * 4096), 0);
    assert_ec(catalog_open(&opt, &c, &err), EC_CORRUPT);
}

static enum ec each_tally(
    void *ctx, struct str tenant, const struct block_facts *f, struct err *err)
{
    (void)tenant, (void)f, (void)err;
    ++*(unsigned *)ctx;
    return EC_OK;
}

/* LMDB itself would fail an assertion, or follow a wild pointer. */
static void test_catalog__a_flipped_bit_is_not_believed(void **state)
{
    const char *path = tmpdir_path(*state, "data.mdb");
    struct catalog_options opt = {.dir = *state}, look = {.dir = *state, .keep = true};
    struct err err = {0};
    for (size_t at = 2 * 4096; at < 6 * 4096; at += 509) {
        struct block_facts f = facts_of(1);
        unsigned n = 0;
        uint8_t b;
        struct catalog *c = open_catalog(*state, 0);
        assert_ok(catalog_commit(c, STR("t"), &f, 1, NULL, 0, &err), err);
        catalog_close(c);
        int fd = open(path, O_RDWR);
        if (pread(fd, &b, 1, (off_t)at) == 1) {
            b ^= 1;
            assert_int_equal(pwrite(fd, &b, 1, (off_t)at), 1);
            assert_ec(catalog_open(&look, &c, &err), EC_NOT_FOUND);
            assert_ok(catalog_open(&opt, &c, &err), err);
            assert_ok(catalog_each(c, each_tally, &n, &err), err);
            assert_int_equal(n, 0); /* the store finds the blocks by their footers */
            catalog_close(c);
        }
        close(fd);
    }
}

/* KiB of this process's memory that are pages of the file. */
static unsigned resident_kib(const char *path)
{
    FILE *f = fopen("/proc/self/smaps", "r");
    char line[1024];
    unsigned sum = 0, kib;
    bool ours = false;
    assert_non_null(f);
    while (fgets(line, sizeof(line), f) != NULL) {
        if (strchr(line, '-') != NULL && strstr(line, "kB") == NULL)
            ours = strstr(line, path) != NULL;
        else if (ours && sscanf(line, "Rss: %u kB", &kib) == 1)
            sum += kib;
    }
    fclose(f);
    return sum;
}

static void test_catalog__at_rest_it_holds_no_pages(void **state)
{
    enum { BLOCKS = 20000 };
    struct block_facts *f = xcalloc(BLOCKS, sizeof(*f));
    struct err err = {0};
    unsigned n = 0;
    for (unsigned i = 0; i < BLOCKS; i++)
        f[i] = facts_of(i);
    struct catalog *c = open_catalog(*state, 0);
    assert_ok(catalog_commit(c, STR("t"), f, BLOCKS, NULL, 0, &err), err);
    for (int round = 0; round < 2; round++) {
        const char *path = tmpdir_path(*state, "data.mdb");
        assert_ok(catalog_each(c, each_tally, &n, &err), err);
        assert_true(resident_kib(path) > 1024);
        catalog_rest(c);
        assert_true(resident_kib(path) < 256);
    }
    assert_int_equal(n, 2 * BLOCKS);
    f[0] = facts_of(BLOCKS);
    assert_ok(catalog_commit(c, STR("t"), f, 1, NULL, 0, &err), err);
    assert_int_equal(count_blocks(c, NULL), BLOCKS + 1);
    catalog_close(c);
    free(f);
}

static enum ec each_stop(void *ctx, struct str tenant, const struct block_facts *f, struct err *err)
{
    (void)tenant, (void)f;
    ++*(unsigned *)ctx;
    return ERR(err, EC_CANCELED, "stop");
}

static void test_catalog__each_can_be_stopped(void **state)
{
    struct block_facts f[2] = {facts_of(1), facts_of(2)};
    struct err err = {0};
    unsigned n = 0;
    struct catalog *c = open_catalog(*state, 0);

    assert_ok(catalog_commit(c, STR("t"), f, 2, NULL, 0, &err), err);
    assert_ec(catalog_each(c, each_stop, &n, &err), EC_CANCELED);
    assert_int_equal(n, 1);
    catalog_close(c);
}

static enum ec each_die(void *ctx, struct str tenant, const struct block_facts *f, struct err *err)
{
    (void)ctx, (void)tenant, (void)f, (void)err;
    _exit(0);
}

static void test_catalog__a_killed_reader_does_not_stay(void **state)
{
    struct err err = {0};
    pid_t pid = fork();
    if (pid == 0) { /* dies with a read transaction open */
        unsigned n = 0;
        struct block_facts f = facts_of(1);
        struct catalog *c = open_catalog(*state, 0);
        if (catalog_commit(c, STR("t"), &f, 1, NULL, 0, &err) == EC_OK)
            n += catalog_each(c, each_die, &n, &err) == EC_OK;
        _exit(1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    struct catalog *c = open_catalog(*state, 0);
    for (uint64_t i = 1; i < 300; i++) { /* pages are reused: the file does not grow for ever */
        struct block_facts f = facts_of(1);
        assert_ok(catalog_commit(c, STR("t"), &f, 1, NULL, 0, &err), err);
    }
    catalog_close(c);
    int fd = open(tmpdir_path(*state, "data.mdb"), O_RDONLY);
    assert_true(lseek(fd, 0, SEEK_END) < 40 * 4096);
    close(fd);
}

struct worker {
    struct catalog *c;
    uint64_t id;
    unsigned bad;
};

static void *writer_main(void *arg)
{
    struct worker *w = arg;
    struct err err;
    char tenant[32];
    int n = snprintf(tenant, sizeof(tenant), "t%llu", (unsigned long long)w->id);
    for (uint64_t i = 0; i < 40; i++) {
        struct block_facts f[8];
        for (uint64_t k = 0; k < 8; k++)
            f[k] = facts_of(w->id * 10000 + i * 8 + k + 1);
        w->bad += catalog_commit(w->c, str_n(tenant, (size_t)n), f, 8, NULL, 0, &err) != EC_OK;
    }
    return NULL;
}

static enum ec each_count(
    void *ctx, struct str tenant, const struct block_facts *f, struct err *err)
{
    (void)tenant, (void)f, (void)err;
    ++*(size_t *)ctx;
    return EC_OK;
}

static void *reader_main(void *arg)
{
    struct worker *w = arg;
    struct err err;
    size_t before = 0;
    for (int i = 0; i < 200; i++) {
        size_t n = 0;
        w->bad += catalog_each(w->c, each_count, &n, &err) != EC_OK;
        w->bad += n < before || n % 8 != 0; /* whole commits only */
        before = n;
        if (i % 16 == 0)
            catalog_rest(w->c);
    }
    return NULL;
}

static void test_catalog__threads_share_it(void **state)
{
    struct catalog *c = open_catalog(*state, 64 << 10); /* grows under way */
    struct worker w[6];
    pthread_t t[6];

    for (uint64_t i = 0; i < 6; i++) {
        w[i] = (struct worker){.c = c, .id = i};
        pthread_create(&t[i], NULL, i < 3 ? writer_main : reader_main, &w[i]);
    }
    for (int i = 0; i < 6; i++) {
        pthread_join(t[i], NULL);
        assert_int_equal(w[i].bad, 0);
    }
    assert_int_equal(count_blocks(c, NULL), 3 * 40 * 8);
    catalog_close(c);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_catalog__a_commit_survives_reopening),
        T(test_catalog__adds_and_removes_are_one),
        T(test_catalog__what_is_known_of_attributes_is_kept),
        T(test_catalog__tenants_do_not_mix),
        T(test_catalog__tenant_ids_are_checked),
        T(test_catalog__a_full_map_grows),
        T(test_catalog__facts_are_kept),
        T(test_catalog__a_destroyed_file_is_corrupt),
        T(test_catalog__a_cut_file_is_corrupt),
        T(test_catalog__a_flipped_bit_is_not_believed),
        T(test_catalog__at_rest_it_holds_no_pages),
        T(test_catalog__each_can_be_stopped),
        T(test_catalog__a_killed_reader_does_not_stay),
        T(test_catalog__threads_share_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
