/* SPDX-License-Identifier: Apache-2.0
 * Budgets, arenas, buffers and error texts: limits at cap - 1, cap, cap + 1, and what is given
 * back.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/memory.h"
#include "unit.h"

static void test_budget__admits_up_to_the_cap(void **state)
{
    (void)state;
    struct budget b;
    budget_init(&b, NULL, "b", 100);
    assert_true(budget_take(&b, 99));
    assert_false(budget_take(&b, 2));
    assert_true(budget_take(&b, 1));
    assert_false(budget_take(&b, 1));
    assert_true(budget_take(&b, 0));
    assert_false(budget_take(&b, UINT64_MAX));
    assert_int_equal(atomic_load(&b.refused), 3);
    assert_int_equal(atomic_load(&b.peak), 100);
    budget_give(&b, 100);
    assert_int_equal(budget_used(&b), 0);
    assert_true(budget_take(&b, 100));
    budget_give(&b, 100);
    budget_deinit(&b);
}

static void test_budget__takes_from_all_parents_or_none(void **state)
{
    (void)state;
    struct budget root, mid, leaf;
    budget_init(&root, NULL, "root", 50);
    budget_init(&mid, &root, "mid", 0);
    budget_init(&leaf, &mid, "leaf", 100);
    assert_true(budget_take(&leaf, 50));
    assert_false(budget_take(&leaf, 1));
    assert_int_equal(budget_used(&leaf), 50);
    assert_int_equal(budget_used(&mid), 50);
    assert_int_equal(budget_used(&root), 50);
    assert_int_equal(atomic_load(&root.refused), 1);
    assert_int_equal(atomic_load(&leaf.refused), 0);
    budget_give(&leaf, 20);
    assert_true(budget_fits(&leaf, 20));
    assert_false(budget_fits(&leaf, 21));
    assert_false(budget_fits(&leaf, UINT64_MAX));
    assert_true(budget_fits(NULL, UINT64_MAX));
    assert_int_equal(budget_used(&leaf), 30);
    assert_int_equal(atomic_load(&root.refused), 2);
    assert_int_equal(atomic_load(&leaf.refused), 1);
    budget_take_force(&leaf, 30);
    assert_int_equal(budget_used(&root), 60);
    budget_give(&leaf, 60);
    budget_deinit(&leaf);
    budget_deinit(&mid);
    budget_deinit(&root);
}

static void test_budget__without_a_cap_never_wraps(void **state)
{
    (void)state;
    struct budget b;
    budget_init(&b, NULL, "b", 0);
    assert_true(budget_take(&b, 10));
    assert_false(budget_take(&b, UINT64_MAX));
    budget_give(&b, 10);
    budget_deinit(&b);
    assert_true(budget_take(NULL, UINT64_MAX));
    budget_give(NULL, 1);
}

struct seen {
    char text[200];
    uint64_t children; /* sum of what budgets right below "root" use */
};

static void see(void *ctx, const struct budget_facts *f)
{
    struct seen *s = ctx;
    size_t n = strlen(s->text);
    snprintf(s->text + n, sizeof(s->text) - n, "%u %s<%s %d %d %d %d\n", f->depth, f->name,
        f->parent == NULL ? "" : f->parent, (int)f->cap, (int)f->used, (int)f->peak,
        (int)f->refused);
    if (f->parent != NULL && strcmp(f->parent, "root") == 0)
        s->children += f->used;
}

static void test_budget__the_listed_ones_are_a_tree(void **state)
{
    (void)state;
    struct budget root, a, b, leaf, hidden;
    struct seen s = {0};
    budget_init(&root, NULL, "root", 0);
    budget_init(&a, &root, "a", 20);
    budget_init(&b, &root, "b", 0);
    budget_init(&leaf, &a, "leaf", 0);
    budget_init(&hidden, &b, "hidden", 0);
    struct budget *all[] = {&root, &a, &b, &leaf};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        budget_list(all[i]);
    assert_true(budget_take(&leaf, 7));
    assert_true(budget_take(&a, 5));
    assert_false(budget_take(&leaf, 9));
    budget_give(&a, 5);
    assert_true(budget_take(&hidden, 3));
    budget_each(see, &s);
    assert_string_equal(
        s.text, "0 root< 0 10 12 0\n1 a<root 20 7 12 1\n2 leaf<a 0 7 16 0\n1 b<root 0 3 3 0\n");
    assert_int_equal(s.children, budget_used(&root));
    budget_unlist(&b);
    budget_unlist(&hidden); /* never was */
    budget_unlist(NULL);
    s = (struct seen){0};
    budget_each(see, &s);
    assert_null(strstr(s.text, "b<"));
    budget_give(&leaf, 7);
    budget_give(&hidden, 3);
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        budget_unlist(all[i]);
    s = (struct seen){0};
    budget_each(see, &s);
    assert_string_equal(s.text, "");
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
enum { N = 4096, EACH = 16 << 10 }; /* 64 MiB */

static void fill(void **p)
{
    for (int i = 0; i < N; i++)
        memset(p[i] = xmalloc(EACH), 1, EACH);
}

/* Frees all but one of 64, which keeps the heap from shrinking by itself. */
static void thin(void **p)
{
    for (int i = 0; i < N; i++)
        if (i % 64 != 63)
            free(p[i]);
}

static void rest(void **p)
{
    for (int i = 63; i < N; i += 64)
        free(p[i]);
    free(p);
}
#endif

/* What large work leaves behind goes back to the kernel, though small things live among it. */
static void test_memory__freed_pages_go_back(void **state)
{
    (void)state;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    struct memory_stats before, after;
    void **p = xcalloc(N, sizeof(*p));
    memory_settle(false);
    fill(p);
    thin(p);
    memory_stats(&before);
    assert_true(before.resident > 64u << 20);
    assert_true(before.kept > 60u << 20);
    memory_settle(false);
    memory_stats(&after);
    assert_true(after.resident < before.resident - (56u << 20));
    assert_true(after.allocated < 8u << 20);
    /* Too little to be worth it while there is work, not so at rest. */
    for (int i = 0; i < 512; i++)
        memset(p[i + i / 63] = xmalloc(EACH), 1, EACH);
    for (int i = 0; i < 512; i++)
        free(p[i + i / 63]);
    memory_settle(false);
    memory_stats(&before);
    memory_settle(true);
    memory_stats(&after);
    assert_true(after.resident < before.resident - (6u << 20));
    rest(p);
#endif
}

/* A process that had grown before is no larger when that memory is freed: it goes back all the
 * same. */
static void test_memory__what_was_in_use_goes_back_when_freed(void **state)
{
    (void)state;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    struct memory_stats before, after;
    void **p = xcalloc(N, sizeof(*p));
    fill(p);
    memory_settle(false);
    memory_settle(true); /* nothing can go back now */
    memory_stats(&before);
    thin(p);
    memory_settle(false);
    memory_stats(&after);
    assert_true(after.resident < before.resident - (56u << 20));
    rest(p);
#endif
}

/* What work frees and takes again stays, up to a bound; at rest it goes back. */
static void test_memory__some_is_kept_while_there_is_work(void **state)
{
    (void)state;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    struct memory_stats before, after;
    void **p = xcalloc(N, sizeof(*p));
    memory_settle(false);
    memory_settle(true);
    memory_keep(96 << 20);
    fill(p);
    thin(p);
    memory_stats(&before);
    memory_settle(false);
    memory_stats(&after);
    assert_true(after.resident > before.resident - (8u << 20));
    memory_keep(32 << 20);
    memory_settle(false);
    memory_stats(&after);
    assert_true(after.resident < before.resident - (56u << 20));
    memory_keep(0);
    rest(p);
#endif
}

static void *budget_hammer(void *arg)
{
    struct budget *leaf = arg;
    for (int i = 0; i < 20000; i++)
        if (budget_take(leaf, 7)) {
            ASSERT(budget_used(leaf) <= 14);
            budget_give(leaf, 7);
        }
    return NULL;
}

static void test_budget__holds_under_threads(void **state)
{
    (void)state;
    struct budget root, leaf[2];
    pthread_t t[4];
    budget_init(&root, NULL, "root", 20);
    for (int i = 0; i < 2; i++)
        budget_init(&leaf[i], &root, "leaf", 14);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&t[i], NULL, budget_hammer, &leaf[i % 2]), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    assert_true(atomic_load(&root.peak) <= 20);
    budget_deinit(&leaf[0]);
    budget_deinit(&leaf[1]);
    budget_deinit(&root);
}

static void test_arena__returns_aligned_disjoint_memory(void **state)
{
    (void)state;
    struct arena a;
    uint8_t *last = NULL;
    size_t last_n = 0;
    arena_init(&a, NULL, 64);
    for (size_t n = 0; n < 300; n++) {
        uint8_t *p = arena_alloc(&a, n);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 8, 0);
        memset(p, 0xee, n);
        if (last != NULL && last_n != 0)
            assert_int_equal(last[last_n - 1], 0xee);
        last = p, last_n = n;
    }
    arena_deinit(&a);
}

static void test_arena__empty_allocation_is_not_a_refusal(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, NULL, 0);
    void *p = arena_alloc(&a, 0), *q = arena_calloc(&a, 0, 8);
    assert_non_null(p);
    assert_non_null(q);
    assert_ptr_not_equal(p, q);
    assert_non_null(arena_str(&a, str_n(NULL, 0)).p);
    assert_string_equal(arena_strz(&a, str_n(NULL, 0)), "");
    arena_deinit(&a);
}

static void test_arena__charges_and_gives_back(void **state)
{
    (void)state;
    struct budget b;
    struct arena a;
    budget_init(&b, NULL, "b", 1 << 20);
    arena_init(&a, &b, 0);
    assert_non_null(arena_alloc(&a, 100));
    assert_true(budget_used(&b) >= 100);
    assert_null(arena_alloc(&a, 2 << 20));
    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_null(arena_alloc(&a, SIZE_MAX - 7));
    assert_null(arena_calloc(&a, SIZE_MAX / 2, 3));
    assert_non_null(arena_alloc(&a, 100)); /* a refusal spoils nothing */
    arena_reset(&a);
    assert_int_equal(budget_used(&b), 0);
    assert_non_null(arena_alloc(&a, 100));
    arena_deinit(&a);
    budget_deinit(&b);
}

static void test_arena__fills_the_budget_and_then_refuses(void **state)
{
    (void)state;
    struct budget b;
    struct arena a;
    size_t n = 0;
    budget_init(&b, NULL, "b", 64 << 10);
    arena_init(&a, &b, 1024);
    while (arena_alloc(&a, 128) != NULL)
        ASSERT(++n < 1000);
    assert_true(n > 64); /* at least a quarter of the budget was usable */
    assert_true(budget_used(&b) <= 64 << 10);
    arena_deinit(&a);
    budget_deinit(&b);
}

static void note(void *ctx)
{
    char **at = ctx;
    *(*at)++ = 'x';
}

static char trace[8], *trace_at;

static void note_a(void *ctx)
{
    (void)ctx;
    *trace_at++ = 'a';
}

static void note_b(void *ctx)
{
    (void)ctx;
    *trace_at++ = 'b';
}

static void test_arena__runs_hooks_last_first_once(void **state)
{
    (void)state;
    struct arena a;
    char marks[4] = "", *at = marks;
    trace_at = trace;
    arena_init(&a, NULL, 0);
    assert_true(arena_hook(&a, note_a, NULL));
    assert_true(arena_hook(&a, note_b, NULL));
    assert_true(arena_hook(&a, note, &at));
    arena_reset(&a);
    assert_string_equal(marks, "x");
    assert_memory_equal(trace, "ba", 2);
    arena_deinit(&a);
    assert_int_equal(trace_at - trace, 2);
}

static void test_arena__formats_text(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, NULL, 0);
    assert_string_equal(arena_printf(&a, "%d-%s", 7, "x"), "7-x");
    assert_str(arena_str(&a, STR("abc")), "abc");
    assert_string_equal(arena_strz(&a, STR("abc")), "abc");
    arena_deinit(&a);
}

static void test_buf__appends_and_moves(void **state)
{
    (void)state;
    struct buf b = BUF_INIT, taken;
    buf_put(&b, NULL, 0);
    buf_putz(&b, "ab");
    buf_putc(&b, 'c');
    buf_puts(&b, STR("de"));
    buf_printf(&b, "%04d", 42);
    assert_str(buf_str(&b), "abcde0042");
    for (int i = 0; i < 1000; i++)
        buf_putc(&b, 'x');
    assert_int_equal(b.n, 1009);
    buf_move(&b, &taken);
    assert_int_equal(b.n, 0);
    assert_null(b.p);
    assert_int_equal(taken.n, 1009);
    buf_deinit(&taken);
    buf_put_u32le(&b, 0x04030201);
    buf_put_u64le(&b, 0x0807060504030201ULL);
    buf_put_varint(&b, 300);
    assert_memory_equal(b.p, "\1\2\3\4\1\2\3\4\5\6\7\x8\xac\x02", 14);
    buf_deinit(&b);
    buf_deinit(&b);
}

static void test_buf__failure_sticks_until_reset(void **state)
{
    (void)state;
    struct budget budget;
    struct buf b;
    char block[100] = "";
    budget_init(&budget, NULL, "b", 100);
    buf_init(&b, &budget);
    buf_put(&b, block, 60);
    assert_false(buf_failed(&b));
    buf_put(&b, block, 41);
    assert_true(buf_failed(&b));
    assert_int_equal(b.n, 60);
    buf_putc(&b, 'x'); /* there is room, but what was refused before it is missing */
    buf_printf(&b, "x");
    buf_put_varint(&b, 1);
    assert_int_equal(b.n, 60);
    buf_reset(&b);
    assert_false(buf_failed(&b));
    buf_put(&b, block, 100); /* exactly the cap */
    assert_false(buf_failed(&b));
    assert_false(buf_reserve(&b, SIZE_MAX));
    assert_true(buf_failed(&b));
    buf_deinit(&b);
    budget_deinit(&budget);
}

static void test_buf__announcements_are_believed_as_they_come_true(void **state)
{
    (void)state;
    static const uint8_t data[3000];
    struct buf b;
    struct budget budget;
    budget_init(&budget, NULL, "b", 1u << 20);
    for (size_t piece = 1; piece <= sizeof(data); piece *= 3) {
        buf_init(&b, &budget);
        for (size_t n = 0; n < 100000; n += MIN(piece, 100000 - n)) {
            size_t now = MIN(piece, 100000 - n);
            assert_true(buf_reserve_announced(&b, now, 100000));
            buf_put(&b, data, now);
            assert_true(b.cap <= MAX(4 * b.n, 4096));
            assert_int_equal(budget_used(&budget), b.cap);
        }
        assert_int_equal(b.cap, 100000);                   /* and no more than was announced */
        assert_true(buf_reserve_announced(&b, 1, 100000)); /* more came than that */
        assert_int_equal(b.cap, 100001);
        assert_false(buf_reserve_announced(&b, 1u << 20, SIZE_MAX));
        assert_true(buf_failed(&b));
        buf_deinit(&b);
    }
    buf_init(&b, &budget);
    assert_false(buf_reserve_announced(&b, SIZE_MAX / 2, SIZE_MAX));
    buf_deinit(&b);
    budget_deinit(&budget);
}

static void test_vec__grows(void **state)
{
    (void)state;
    VEC(int) v = {0};
    for (int i = 0; i < 100; i++)
        VEC_PUSH(&v, i);
    assert_int_equal(v.n, 100);
    assert_int_equal(v.p[99], 99);
    VEC_FREE(&v);
    assert_int_equal(v.n, 0);
}

static void test_err__keeps_place_and_prefixes(void **state)
{
    (void)state;
    struct err err = {0};
    assert_string_equal(err_msg(NULL), "no detail");
    assert_string_equal(err_msg(&err), "no detail");
    assert_int_equal(ERR(&err, EC_CORRUPT, "record %d", 12), EC_CORRUPT);
    assert_int_equal(err_prefix(&err, "segment %d", 7), EC_CORRUPT);
    assert_string_equal(err_msg(&err), "segment 7: record 12");
    assert_int_equal(err.errnum, 0);
    assert_int_equal(ERR_ERRNO(&err, EC_IO, 5, "read"), EC_IO);
    assert_string_equal(err_msg(&err), "read: Input/output error");
    assert_int_equal(err.errnum, 5);
    assert_int_equal(ERR(NULL, EC_LIMIT, "x"), EC_LIMIT);
    assert_int_equal(err_prefix(NULL, "x"), EC_INTERNAL);
}

static void test_err__cuts_long_messages(void **state)
{
    (void)state;
    struct err err = {0};
    char text[2 * ERR_MSG_MAX];
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = 0;
    ERR_ERRNO(&err, EC_IO, 5, "%s", text);
    assert_int_equal(strlen(err.msg), ERR_MSG_MAX - 1);
    err_prefix(&err, "prefix");
    assert_memory_equal(err.msg, "prefix: xxx", 11);
    assert_true(strlen(err.msg) < ERR_MSG_MAX);
    err_prefix(&err, "%s", text);
    assert_true(strlen(err.msg) < ERR_MSG_MAX);
}

static void test_ec__table_is_complete(void **state)
{
    (void)state;
    for (unsigned i = 0; i < EC_COUNT; i++) {
        assert_non_null(ec_text((enum ec)i));
        assert_true(ec_http_status((enum ec)i) >= 200 && ec_http_status((enum ec)i) < 600);
        assert_true(ec_grpc_status((enum ec)i) <= 16);
        assert_true((ec_grpc_status((enum ec)i) == 0) == (i == EC_OK));
    }
    assert_true(ec_retryable(EC_RATE));
    assert_false(ec_retryable(EC_INVALID));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_budget__admits_up_to_the_cap),
        cmocka_unit_test(test_budget__takes_from_all_parents_or_none),
        cmocka_unit_test(test_budget__without_a_cap_never_wraps),
        cmocka_unit_test(test_budget__holds_under_threads),
        cmocka_unit_test(test_budget__the_listed_ones_are_a_tree),
        cmocka_unit_test(test_memory__freed_pages_go_back),
        cmocka_unit_test(test_memory__what_was_in_use_goes_back_when_freed),
        cmocka_unit_test(test_memory__some_is_kept_while_there_is_work),
        cmocka_unit_test(test_arena__returns_aligned_disjoint_memory),
        cmocka_unit_test(test_arena__empty_allocation_is_not_a_refusal),
        cmocka_unit_test(test_arena__charges_and_gives_back),
        cmocka_unit_test(test_arena__fills_the_budget_and_then_refuses),
        cmocka_unit_test(test_arena__runs_hooks_last_first_once),
        cmocka_unit_test(test_arena__formats_text),
        cmocka_unit_test(test_buf__appends_and_moves),
        cmocka_unit_test(test_buf__failure_sticks_until_reset),
        cmocka_unit_test(test_buf__announcements_are_believed_as_they_come_true),
        cmocka_unit_test(test_vec__grows),
        cmocka_unit_test(test_err__keeps_place_and_prefixes),
        cmocka_unit_test(test_err__cuts_long_messages),
        cmocka_unit_test(test_ec__table_is_complete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
