/* SPDX-License-Identifier: Apache-2.0
 * Queries that wait for memory: who is run again, who is told that he does not fit, in which order,
 * and who need not wait. A query here takes its bytes in ten steps and holds them until it may end.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "../../src/api/query_room.h"
#include "base/clock.h"
#include "base/pool.h"
#include "unit.h"

#define ALL   1000u /* of all queries */
#define ONE   750u  /* of one */
#define BRIEF 62u   /* of one while others wait: a quarter of the rest */

static struct budget all;
static struct query_room *room;
static struct pool *pool;
static atomic_uint n_ended;

struct query {
    struct room_guest guest;
    struct budget own;
    uint64_t need;
    atomic_bool gone, may_end, holds;
    atomic_uint runs, ended; /* ended: the how-many-th */
    enum ec ec;              /* once it has ended */
    uint64_t answer;         /* of what it needs: left to its client */
    struct budget *answered;
};

static void query_end(struct query *q, enum ec ec)
{
    q->ec = ec;
    atomic_store(&q->ended, atomic_fetch_add(&n_ended, 1) + 1);
}

static void sleep_ms(void)
{
    nanosleep(&(struct timespec){.tv_nsec = NS_PER_MS}, NULL);
}

static void query_run(void *arg)
{
    struct query *q = arg;
    uint64_t has = 0, step = MAX(q->need / 10, 1);
    atomic_fetch_add(&q->runs, 1);
    query_room_enter(room, &q->guest);
    while (has < q->need && budget_take(&q->own, step))
        has += step;
    atomic_store(&q->holds, has >= q->need);
    while (has >= q->need && !atomic_load(&q->may_end))
        sleep_ms();
    bool enough = has >= q->need, waits = !enough && query_room_crowded(&q->guest);
    if (enough && q->answer > 0) {
        assert_true(query_room_hand_over(room, &q->guest, q->answer, &q->answered));
        has -= q->answer;
    }
    budget_give(&q->own, has);
    if (!waits) /* before others can */
        query_end(q, enough ? EC_OK : EC_LIMIT);
    query_room_leave(room, &q->guest);
    if (waits)
        query_room_wait(room, &q->guest);
}

static void query_resume(void *arg, enum ec ec)
{
    struct query *q = arg;
    if (ec == EC_OK)
        assert_true(pool_submit(pool, POOL_NORMAL, 0, query_run, q));
    else
        query_end(q, ec);
}

static bool query_gone(void *arg)
{
    struct query *q = arg;
    return atomic_load(&q->gone);
}

static void ask(struct query *q, uint64_t need, int64_t asked_ns)
{
    q->need = need;
    q->guest = (struct room_guest){
        .own = &q->own, .asked_ns = asked_ns, .gone = query_gone, .resume = query_resume, .arg = q};
    assert_true(pool_submit(pool, POOL_NORMAL, 0, query_run, q));
}

/* Not a failure of cmocka's: threads use what lies on the stack of the test. */
#define wait_until(cond)                                                     \
    do {                                                                     \
        int64_t end_ns_ = clock_mono_ns() + 20 * NS_PER_S;                   \
        while (!(cond)) {                                                    \
            if (clock_mono_ns() > end_ns_) {                                 \
                fprintf(stderr, "line %d: never so: %s\n", __LINE__, #cond); \
                abort();                                                     \
            }                                                                \
            sleep_ms();                                                      \
        }                                                                    \
    } while (0)

static void begin(uint64_t of_all, uint64_t of_one)
{
    struct err err = {0};
    atomic_store(&n_ended, 0);
    budget_init(&all, NULL, "queries", of_all);
    assert_ok(pool_new(&(struct pool_options){.n_normal = 4}, &pool, &err), err);
    assert_ok(query_room_new(&all, of_one, &room, &err), err);
}

static int setup(void **state)
{
    (void)state;
    begin(ALL, ONE);
    return 0;
}

/* As the server has it: one may have half of all. */
static int setup_halves(void **state)
{
    (void)state;
    begin(800, 400);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    pool_free(pool);
    query_room_free(room);
    budget_deinit(&all);
    return 0;
}

/* The last thread has left what lies on the stack of the test. */
static void finish(void)
{
    pool_free(pool);
    pool = NULL;
    assert_int_equal(budget_used(&all), 0);
    assert_int_equal(query_room_waiting(room), 0);
}

/* Asks, and lets it hold what it needs. */
static void hold(struct query *q, uint64_t need)
{
    ask(q, need, 1);
    wait_until(atomic_load(&q->holds));
}

static void test_room__what_fits_alone_is_answered(void **state)
{
    struct query a = {0}, b = {.may_end = true};
    (void)state;
    hold(&a, 600);
    ask(&b, 600, 2);
    wait_until(query_room_waiting(room) == 1);
    assert_int_equal(atomic_load(&b.ended), 0);
    assert_int_equal(budget_used(&all), 600); /* who waits holds nothing */
    atomic_store(&a.may_end, true);
    wait_until(atomic_load(&b.ended));
    assert_int_equal(a.ec, EC_OK);
    assert_int_equal(b.ec, EC_OK);
    assert_int_equal(atomic_load(&a.runs), 1);
    assert_int_equal(atomic_load(&b.runs), 2);
    finish();
}

static void test_room__what_does_not_fit_alone_is_told_so(void **state)
{
    struct query a = {0}, b = {0}, c = {0};
    (void)state;
    ask(&b, 1200, 1);
    wait_until(atomic_load(&b.ended));
    assert_int_equal(b.ec, EC_LIMIT);
    assert_int_equal(atomic_load(&b.runs), 1); /* nobody was in its way */
    hold(&a, 600);
    ask(&c, 1200, 2);
    wait_until(query_room_waiting(room) == 1);
    atomic_store(&a.may_end, true);
    wait_until(atomic_load(&c.ended));
    assert_int_equal(c.ec, EC_LIMIT);
    assert_int_equal(atomic_load(&c.runs), 2);
    finish();
}

static void test_room__who_has_gone_or_is_late_waits_no_longer(void **state)
{
    struct query a = {0}, b = {0}, c = {0};
    (void)state;
    hold(&a, 600);
    ask(&b, 600, 2);
    wait_until(query_room_waiting(room) == 1);
    ask(&c, 600, 3);
    wait_until(query_room_waiting(room) == 2);
    atomic_store(&b.gone, true);
    wait_until(atomic_load(&b.ended));
    assert_int_equal(b.ec, EC_CANCELED);
    assert_int_equal(query_room_waiting(room), 1);
    atomic_store(&c.gone, true);
    wait_until(atomic_load(&c.ended));
    assert_int_equal(c.ec, EC_CANCELED);
    struct query d = {.need = 600};
    d.guest = (struct room_guest){.own = &d.own,
        .until_ns = clock_mono_ns() + 10 * NS_PER_MS,
        .gone = query_gone,
        .resume = query_resume,
        .arg = &d};
    query_room_wait(room, &d.guest);
    wait_until(atomic_load(&d.ended));
    assert_int_equal(d.ec, EC_DEADLINE);
    assert_int_equal(atomic_load(&d.runs), 0);
    assert_int_equal(budget_used(&all), 600);
    atomic_store(&a.may_end, true);
    wait_until(atomic_load(&a.ended));
    finish();
}

/* A run that made an answer and leaves it to its client. */
static bool leave_answer(struct room_guest *g, struct budget *own, uint64_t n, struct budget **ret)
{
    *g = (struct room_guest){.own = own};
    query_room_enter(room, g);
    assert_true(budget_take(own, n));
    bool ok = query_room_hand_over(room, g, n, ret);
    if (!ok)
        budget_give(own, n);
    query_room_leave(room, g);
    return ok;
}

static void test_room__answers_that_nobody_takes_are_charged_up_to_a_bound(void **state)
{
    struct room_guest g = {0};
    struct budget own, *of_first, *of_second, *of_third;
    (void)state;
    assert_true(leave_answer(&g, &own, ALL / 2 - 100, &of_first));
    assert_int_equal(budget_used(&all), ALL / 2 - 100);
    assert_false(leave_answer(&g, &own, 101, &of_second));
    assert_true(leave_answer(&g, &own, 100, &of_second)); /* all that answers may have */
    assert_int_equal(budget_used(&all), ALL / 2);
    assert_false(leave_answer(&g, &own, 1, &of_third));
    assert_int_equal(budget_used(&all), ALL / 2);
    budget_give(of_first, ALL / 2 - 100);
    assert_int_equal(budget_used(&all), 100);
    budget_give(of_second, 100);
    assert_true(leave_answer(&g, &own, ONE, &of_third)); /* while there is no other */
    assert_int_equal(budget_used(&all), ONE);
    budget_give(of_third, ONE);
    finish();
}

static void test_room__an_answer_keeps_its_part_of_what_was_set_aside(void **state)
{
    struct query a = {0}, b = {.may_end = true, .answer = 300};
    (void)state;
    hold(&a, 600);
    ask(&b, 600, 2);
    wait_until(query_room_waiting(room) == 1);
    atomic_store(&a.may_end, true);
    wait_until(atomic_load(&b.ended));
    assert_int_equal(b.ec, EC_OK);
    pool_free(pool);
    pool = NULL;
    assert_int_equal(budget_used(&all), 300);
    budget_give(b.answered, 300);
    finish();
}

static void test_room__what_answers_leave_is_enough_or_is_waited_for(void **state)
{
    struct room_guest g = {0};
    struct budget own, *answered;
    struct query a = {0}, b = {.may_end = true}, c = {.may_end = true};
    (void)state;
    assert_true(leave_answer(&g, &own, 300, &answered));
    hold(&a, 400);
    ask(&b, 600, 1);
    wait_until(query_room_waiting(room) == 1);
    ask(&c, 720, 2);
    wait_until(query_room_waiting(room) == 2);
    atomic_store(&a.may_end, true);
    wait_until(atomic_load(&b.ended)); /* 700 were left to it */
    assert_int_equal(b.ec, EC_OK);
    wait_until(atomic_load(&c.runs) == 2 && query_room_waiting(room) == 1);
    assert_int_equal(atomic_load(&c.ended), 0);
    budget_give(answered, 300);
    wait_until(atomic_load(&c.ended));
    assert_int_equal(c.ec, EC_OK);
    assert_int_equal(atomic_load(&c.runs), 3);
    finish();
}

static void test_room__in_the_order_of_asking(void **state)
{
    struct query a = {0}, late = {.may_end = true}, first = {.may_end = true},
                 second = {.may_end = true};
    (void)state;
    hold(&a, 600);
    ask(&late, 600, 30);
    wait_until(query_room_waiting(room) == 1);
    ask(&first, 700, 10);
    wait_until(query_room_waiting(room) == 2);
    ask(&second, 500, 20);
    wait_until(query_room_waiting(room) == 3);
    atomic_store(&a.may_end, true);
    wait_until(atomic_load(&n_ended) == 4);
    assert_true(atomic_load(&first.ended) < atomic_load(&second.ended));
    assert_true(atomic_load(&second.ended) < atomic_load(&late.ended));
    assert_int_equal(first.ec, EC_OK);
    assert_int_equal(second.ec, EC_OK);
    assert_int_equal(late.ec, EC_OK);
    finish();
}

static void test_room__short_ones_go_on(void **state)
{
    struct query a = {0}, b = {.may_end = true}, brief = {.may_end = true}, c = {.may_end = true};
    (void)state;
    hold(&a, 600);
    ask(&b, 600, 2);
    wait_until(query_room_waiting(room) == 1);
    ask(&brief, 60, 3);
    wait_until(atomic_load(&brief.ended));
    assert_int_equal(brief.ec, EC_OK);
    assert_int_equal(atomic_load(&brief.runs), 1);
    assert_int_equal(atomic_load(&b.ended), 0);
    ask(&c, 100, 4); /* would fit, but not before who waits, and not where short ones need it */
    wait_until(query_room_waiting(room) == 2);
    atomic_store(&a.may_end, true);
    wait_until(atomic_load(&c.ended));
    assert_int_equal(b.ec, EC_OK);
    assert_int_equal(c.ec, EC_OK);
    assert_true(atomic_load(&b.ended) < atomic_load(&c.ended));
    finish();
}

/* Short ones without a pause cannot keep out who waits. */
static void test_room__nobody_starves(void **state)
{
    struct query a = {0}, b = {.may_end = true}, shorts[3] = {0};
    (void)state;
    hold(&a, 600);
    ask(&b, 600, 2);
    wait_until(query_room_waiting(room) == 1);
    for (unsigned i = 0; i < ARRAY_LEN(shorts); i++)
        hold(&shorts[i], BRIEF / 10 * 10);
    atomic_store(&a.may_end, true);
    wait_until(atomic_load(&b.ended)); /* beside three that hold theirs for ever */
    assert_int_equal(b.ec, EC_OK);
    for (unsigned i = 0; i < ARRAY_LEN(shorts); i++)
        atomic_store(&shorts[i].may_end, true);
    wait_until(atomic_load(&n_ended) == 5);
    finish();
}

static void test_room__two_that_waited_leave_room_for_short_ones(void **state)
{
    struct query a = {0}, b = {0}, c = {0}, d = {.may_end = true}, brief = {0};
    (void)state;
    hold(&a, 400);
    hold(&b, 400);
    ask(&c, 300, 1);
    wait_until(query_room_waiting(room) == 1);
    ask(&d, 300, 2);
    wait_until(query_room_waiting(room) == 2);
    atomic_store(&a.may_end, true);
    atomic_store(&b.may_end, true);
    wait_until(atomic_load(&a.ended) && atomic_load(&b.ended)); /* and hold nothing any more */
    wait_until(atomic_load(&c.holds));
    hold(&brief, 100);
    assert_int_equal(query_room_waiting(room), 1);
    atomic_store(&brief.may_end, true);
    atomic_store(&c.may_end, true);
    wait_until(atomic_load(&d.ended));
    assert_int_equal(d.ec, EC_OK);
    finish();
}

/* Everything that fits alone, at once. */
static void test_room__all_of_many_are_answered(void **state)
{
    enum { MANY = 300 };
    struct query *q = xcalloc(MANY, sizeof(*q));
    (void)state;
    for (unsigned i = 0; i < MANY; i++) {
        q[i].may_end = true;
        ask(&q[i], 10 + i * 7919u % 730u / 10 * 10, i);
    }
    wait_until(atomic_load(&n_ended) == MANY);
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(q[i].ec, EC_OK);
        assert_true(atomic_load(&q[i].runs) <= 2);
    }
    finish();
    free(q);
}

/* A memory that one query may have whole: the others wait for it. */
static void test_room__nothing_beside(void **state)
{
    struct query a = {.may_end = true}, b = {0}, c = {.may_end = true};
    struct err err = {0};
    (void)state;
    query_room_free(room);
    assert_ok(query_room_new(&all, 5 * ALL, &room, &err), err);
    hold(&b, 900);
    ask(&a, 1000, 2);
    wait_until(query_room_waiting(room) == 1);
    ask(&c, 10, 3);
    wait_until(query_room_waiting(room) == 2);
    atomic_store(&b.may_end, true);
    wait_until(atomic_load(&n_ended) == 3);
    assert_int_equal(a.ec, EC_OK);
    assert_int_equal(c.ec, EC_OK);
    finish();
}

static void test_budget__knows_who_was_in_the_way(void **state)
{
    struct budget root, one, below, other;
    (void)state;
    budget_init(&root, NULL, "root", 100);
    budget_init(&one, &root, "one", 80);
    budget_init(&below, &one, "below", 0);
    budget_init(&other, &root, "other", 0);
    assert_false(budget_take(&below, 81));
    assert_true(budget_crowded(&below)); /* by what one has, or may have */
    assert_false(budget_crowded(&one));
    assert_true(budget_take(&other, 50));
    assert_false(budget_take(&below, 60));
    assert_true(budget_crowded(&one));
    assert_false(budget_crowded(&root));
    assert_false(budget_crowded(&other));
    budget_crowd(&other);
    assert_true(budget_crowded(&root));
    budget_give(&other, 50);
}

#define ROOM(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROOM(test_room__what_fits_alone_is_answered),
        ROOM(test_room__what_does_not_fit_alone_is_told_so),
        ROOM(test_room__who_has_gone_or_is_late_waits_no_longer),
        ROOM(test_room__answers_that_nobody_takes_are_charged_up_to_a_bound),
        ROOM(test_room__an_answer_keeps_its_part_of_what_was_set_aside),
        ROOM(test_room__what_answers_leave_is_enough_or_is_waited_for),
        ROOM(test_room__in_the_order_of_asking),
        ROOM(test_room__short_ones_go_on),
        ROOM(test_room__nobody_starves),
        cmocka_unit_test_setup_teardown(
            test_room__two_that_waited_leave_room_for_short_ones, setup_halves, teardown),
        ROOM(test_room__all_of_many_are_answered),
        ROOM(test_room__nothing_beside),
        cmocka_unit_test(test_budget__knows_who_was_in_the_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
