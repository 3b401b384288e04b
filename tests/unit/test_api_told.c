/* SPDX-License-Identifier: Apache-2.0
 * A query over gRPC that is run again for memory: what was told of its progress is not told again,
 * as the second run would tell of the same results anew. The endpoint here stands for all: it tells
 * when it may, then needs memory that the test holds. Transport, job and waiting room are real. */
#include "../../src/api/grpc_query.h"
#include "gateway/overrides.h"
#include "net_client.h"
#include "server_fixture.h"
#include "store_util.h"

#define ALL  (8u << 20) /* of all queries */
#define ONE  (6u << 20)
#define HELD (6u << 20) /* by somebody else, so that the first run does not get NEED */
#define NEED (4u << 20)

static struct {
    struct test_store store;
    struct config config;
    struct api api;
    struct budget all;
    struct fixture server;
    bool tells;              /* the endpoint, when somebody listens */
    atomic_uint runs, heard; /* runs in which progress could be told */
} t;

static enum ec decode(struct query_job *job, struct bytes message, struct err *err)
{
    (void)job, (void)message, (void)err;
    return EC_OK;
}

static void run(struct query_job *job)
{
    struct err err = {0};
    struct buf message = BUF_INIT;
    enum ec ec = job_open(job, &err);
    atomic_fetch_add(&t.runs, 1);
    if (ec == EC_OK && job->ctx.stream != NULL) {
        atomic_fetch_add(&t.heard, 1);
        buf_putz(&message, "progress");
        if (t.tells)
            grpc_job_tell(job, &message);
        buf_deinit(&message);
    }
    if (ec == EC_OK && !budget_take(&job->budget, NEED))
        ec = ERR(&err, EC_LIMIT, "no memory");
    if (ec != EC_OK) {
        job_fail(job, ec, &err);
        return;
    }
    budget_give(&job->budget, NEED);
    buf_putz(&message, "final");
    job_respond_ok(job, NULL, &message);
}

static const struct grpc_method method = {
    .name = "Told", .path = "/told", .endpoint = {.run = run, .op = "search"}, .decode = decode};

static void handle(void *ctx, struct exchange *ex)
{
    (void)ctx; /* the fixture */
    query_job_start_grpc(&t.api, ex, &method);
}

static int setup(void **state)
{
    struct err err = {0};
    (void)state;
    memset(&t, 0, sizeof(t));
    query_jobs_register();
    test_store_init(&t.store, &io_real);
    test_store_open(&t.store);
    t.config.http_api_prefix = "";
    t.api.opt = (struct api_options){
        .config = &t.config, .store = t.store.s, .pool = t.store.pool, .query_budget = &t.all};
    assert_ok(overrides_new(&(struct overrides_options){0}, &t.api.opt.overrides, &err), err);
    budget_init(&t.all, NULL, "queries", ALL);
    assert_ok(query_room_new(&t.all, ONE, &t.api.room, &err), err);
    struct listener_options o = fixture_options();
    o.grpc_handler = handle;
    fixture_start(&t.server, &o);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fixture_stop(&t.server);
    query_room_free(t.api.room);
    overrides_free(t.api.opt.overrides);
    test_store_close(&t.store, false);
    test_store_deinit(&t.store);
    budget_deinit(&t.all);
    return 0;
}

/* Asks while memory is held, gives it back once the query waits. Appends what was received. */
static void ask(struct buf *ret_frames)
{
    struct buf request = BUF_INIT;
    assert_true(budget_take(&t.all, HELD));
    grpc_frame(&request, 0, "", 0);
    struct h2_client *c = h2_open(net_connect(t.server.port, 0), 0, true);
    struct h2_stream *s = h2_grpc(c, "/t.S/Told", NULL, buf_bytes(&request));
    for (int i = 0; i < 2000 && query_room_waiting(t.api.room) == 0; i++)
        (void)h2_step(c, 5);
    unsigned waiting = query_room_waiting(t.api.room);
    budget_give(&t.all, HELD);
    assert_true(h2_finish(c, s));
    assert_int_equal(waiting, 1);
    assert_string_equal(h2_trailer(s, "grpc-status"), "0");
    buf_put(ret_frames, s->body.p, s->body.n);
    h2_stream_free(s);
    h2_free(c);
    buf_deinit(&request);
    assert_int_equal(atomic_load(&t.runs), 2);
}

static void expect(const struct buf *frames, const char *const *messages)
{
    struct buf wanted = BUF_INIT;
    for (; *messages != NULL; messages++)
        grpc_frame(&wanted, 0, *messages, strlen(*messages));
    assert_int_equal(frames->n, wanted.n);
    assert_memory_equal(frames->p, wanted.p, wanted.n);
    buf_deinit(&wanted);
}

static void test_told__what_was_told_is_not_told_again(void **state)
{
    struct buf frames = BUF_INIT;
    (void)state;
    t.tells = true;
    ask(&frames);
    assert_int_equal(atomic_load(&t.heard), 1);
    expect(&frames, (const char *const[]){"progress", "final", NULL});
    buf_deinit(&frames);
}

static void test_told__who_has_told_nothing_may_tell_in_the_second_run(void **state)
{
    struct buf frames = BUF_INIT;
    (void)state;
    ask(&frames);
    assert_int_equal(atomic_load(&t.heard), 2);
    expect(&frames, (const char *const[]){"final", NULL});
    buf_deinit(&frames);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_told__what_was_told_is_not_told_again, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_told__who_has_told_nothing_may_tell_in_the_second_run, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
