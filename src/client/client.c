/* SPDX-License-Identifier: Apache-2.0
 * The client's thread: takes calls and jobs from other threads, drives the transfers, runs timers.
 *
 * Callbacks run between steps of the library, never inside one, so they may send, cancel and
 * schedule freely. Lists are therefore walked from their head again after every callback.
 */
#include <signal.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/metric.h"
#include "client_int.h"

#define STACK_BYTES (1u << 20)
#define IDLE_MS     60000

struct http_job {
    struct http_job *next;
    void (*fn)(void *arg);
    void *arg;
};

static struct metric_family requests_total = {.name = "vivace_http_client_requests_total",
    .help = "Requests to other services, by class of their answer.",
    .type = METRIC_COUNTER,
    .labels = {"client", "result"}};

/* ---- lists ---- */

static void call_link(struct http_call **at, struct http_call *call)
{
    call->next = *at;
    call->link = at;
    if (*at != NULL)
        (*at)->link = &call->next;
    *at = call;
}

static void call_unlink(struct http_call *call)
{
    *call->link = call->next;
    if (call->next != NULL)
        call->next->link = call->link;
    call->next = NULL;
    call->link = NULL;
}

static void waiting_put(struct http_client *c, struct http_call *call)
{
    call->state = HTTP_CALL_WAITING;
    call_link(c->waiting_end, call);
    c->waiting_end = &call->next;
}

static void waiting_take(struct http_client *c, struct http_call *call)
{
    if (c->waiting_end == &call->next)
        c->waiting_end = call->link;
    call_unlink(call);
    pthread_mutex_lock(&c->lock);
    c->n_waiting--;
    pthread_mutex_unlock(&c->lock);
}

/* ---- the end of a call ---- */

static void count_answer(struct http_client *c, const struct http_client_response *rs)
{
    unsigned class = rs->status / 100;
    if (rs->ec == EC_OK && class >= 1 && class <= 5)
        metric_inc(c->by_class[class]);
    else
        metric_inc(rs->ec == EC_DEADLINE ? c->timed_out : c->no_answer);
}

static void call_finish(struct http_call *call, CURLcode code)
{
    struct http_client *c = call->client;
    struct http_client_response rs;
    if (call->state == HTTP_CALL_ACTIVE) {
        curl_multi_remove_handle(c->multi, call->easy);
        call_unlink(call);
        c->n_active--;
    } else {
        waiting_take(c, call);
    }
    http_call_answer(call, code, &rs);
    count_answer(c, &rs);
    call->done(call->arg, &rs);
    http_call_free(call);
}

/* ---- steps of the loop ---- */

static void take_incoming(struct http_client *c)
{
    pthread_mutex_lock(&c->lock);
    struct http_call *list = c->incoming;
    c->incoming = NULL;
    c->incoming_end = &c->incoming;
    pthread_mutex_unlock(&c->lock);
    while (list != NULL) {
        struct http_call *call = list;
        list = call->next;
        waiting_put(c, call);
    }
}

static void run_jobs(struct http_client *c)
{
    pthread_mutex_lock(&c->lock);
    struct http_job *list = c->jobs;
    c->jobs = NULL;
    c->jobs_end = &c->jobs;
    pthread_mutex_unlock(&c->lock);
    while (list != NULL) {
        struct http_job *j = list;
        list = j->next;
        j->fn(j->arg);
        free(j);
    }
}

static void start_calls(struct http_client *c, int64_t now)
{
    while (c->waiting != NULL && c->n_active < c->opt.concurrent_max) {
        struct http_call *call = c->waiting;
        if (call->deadline_ns <= now) {
            call_finish(call, CURLE_OPERATION_TIMEDOUT);
            continue;
        }
        if (!http_call_prepare(call, call->deadline_ns - now) ||
            curl_multi_add_handle(c->multi, call->easy) != CURLM_OK) {
            call_finish(call, CURLE_OUT_OF_MEMORY);
            continue;
        }
        waiting_take(c, call);
        call->state = HTTP_CALL_ACTIVE;
        call_link(&c->active, call);
        c->n_active++;
    }
}

/* Waiting calls are in order of arrival, not of deadline: all are looked at, each time one is
 * due. */
static int64_t expire_waiting(struct http_client *c, int64_t now)
{
    int64_t first = INT64_MAX;
    struct http_call *call = c->waiting;
    while (call != NULL) {
        if (call->deadline_ns > now) {
            first = MIN(first, call->deadline_ns);
            call = call->next;
            continue;
        }
        call_finish(call, CURLE_OPERATION_TIMEDOUT);
        call = c->waiting;
        first = INT64_MAX;
    }
    return first;
}

static void finish_done(struct http_client *c)
{
    CURLMsg *m;
    int left;
    while ((m = curl_multi_info_read(c->multi, &left)) != NULL) {
        struct http_call *call = NULL;
        if (m->msg != CURLMSG_DONE)
            continue;
        CURLcode code = m->data.result;
        (void)curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&call); /* set by us */
        ASSERT(call != NULL);
        call_finish(call, code);
    }
}

static int64_t run_timers(struct http_client *c)
{
    while (c->timers != NULL) {
        struct http_timer *t = c->timers;
        if (t->at_ns > clock_mono_ns())
            return t->at_ns;
        http_timer_stop(t);
        t->fn(t->arg);
    }
    return INT64_MAX;
}

static bool has_work(struct http_client *c)
{
    pthread_mutex_lock(&c->lock);
    bool work = c->incoming != NULL || c->jobs != NULL || c->stopping;
    pthread_mutex_unlock(&c->lock);
    return work;
}

static bool is_stopping(struct http_client *c)
{
    pthread_mutex_lock(&c->lock);
    bool stopping = c->stopping;
    pthread_mutex_unlock(&c->lock);
    return stopping;
}

/* Everything that was accepted gets its callback; callbacks can send and schedule no more. */
static void end_all(struct http_client *c)
{
    run_jobs(c);
    take_incoming(c);
    while (c->waiting != NULL)
        call_finish(c->waiting, CURLE_ABORTED_BY_CALLBACK);
    while (c->active != NULL)
        call_finish(c->active, CURLE_ABORTED_BY_CALLBACK);
    while (c->timers != NULL)
        http_timer_stop(c->timers);
}

static void *client_main(void *arg)
{
    struct http_client *c = arg;
    while (!is_stopping(c)) {
        int running;
        run_jobs(c);
        take_incoming(c);
        int64_t wake = expire_waiting(c, clock_mono_ns());
        start_calls(c, clock_mono_ns());
        (void)curl_multi_perform(c->multi, &running); /* faults are those of single transfers */
        finish_done(c);
        wake = MIN(wake, run_timers(c));
        if (has_work(c) || (c->waiting != NULL && c->n_active < c->opt.concurrent_max))
            continue;
        int64_t left = wake == INT64_MAX ? IDLE_MS : (wake - clock_mono_ns()) / NS_PER_MS + 1;
        (void)curl_multi_poll(c->multi, NULL, 0, (int)MIN(MAX(left, 0), IDLE_MS), NULL);
    }
    end_all(c);
    return NULL;
}

/* ---- calls from outside ---- */

static void global_init(void)
{
    ASSERT(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
    metric_register(&requests_total);
}

static void client_metrics(struct http_client *c)
{
    static const char *const classes[] = {"", "1xx", "2xx", "3xx", "4xx", "5xx"};
    struct str name = str_from(c->opt.name);
    for (unsigned i = 1; i < ARRAY_LEN(classes); i++)
        c->by_class[i] = metric_series2(&requests_total, name, str_from(classes[i]));
    c->timed_out = metric_series2(&requests_total, name, STR("timeout"));
    c->no_answer = metric_series2(&requests_total, name, STR("failed"));
}

static int start_thread(struct http_client *c)
{
    sigset_t all, before;
    pthread_attr_t attr;
    sigfillset(&all); /* signals belong to the main thread */
    pthread_sigmask(SIG_BLOCK, &all, &before);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    int rc = pthread_create(&c->thread, &attr, client_main, c);
    pthread_attr_destroy(&attr);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc == 0)
        pthread_setname_np(c->thread, c->opt.name);
    return rc;
}

enum ec http_client_new(
    const struct http_client_options *opt, struct http_client **ret, struct err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, global_init);
    struct http_client *c = xcalloc(1, sizeof(*c));
    c->opt = *opt;
    if (c->opt.name == NULL)
        c->opt.name = "http";
    if (c->opt.concurrent_max == 0)
        c->opt.concurrent_max = HTTP_CONCURRENT_MAX;
    if (c->opt.waiting_max == 0)
        c->opt.waiting_max = HTTP_WAITING_MAX;
    if (c->opt.idle_connections_max == 0)
        c->opt.idle_connections_max = HTTP_IDLE_CONNECTIONS;
    c->incoming_end = &c->incoming;
    c->jobs_end = &c->jobs;
    c->waiting_end = &c->waiting;
    client_metrics(c);
    pthread_mutex_init(&c->lock, NULL);
    c->multi = curl_multi_init();
    ASSERT(c->multi != NULL);
    curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, (long)c->opt.idle_connections_max);
    curl_multi_setopt(c->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)c->opt.concurrent_max);
    int rc = start_thread(c);
    if (rc != 0) {
        curl_multi_cleanup(c->multi);
        pthread_mutex_destroy(&c->lock);
        free(c);
        return ERR_ERRNO(err, EC_UNAVAILABLE, rc, "thread of the HTTP client");
    }
    *ret = c;
    return EC_OK;
}

void http_client_free(struct http_client *c)
{
    if (c == NULL)
        return;
    ASSERT(!http_client_on_thread(c));
    pthread_mutex_lock(&c->lock);
    c->stopping = true;
    pthread_mutex_unlock(&c->lock);
    curl_multi_wakeup(c->multi);
    pthread_join(c->thread, NULL);
    ASSERT(c->incoming == NULL && c->jobs == NULL && c->n_waiting == 0);
    curl_multi_cleanup(c->multi);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

enum ec http_client_send(struct http_client *c, const struct http_client_request *rq,
    http_client_done_fn done, void *arg, struct http_call **ret_call, struct err *err)
{
    struct http_call *call;
    TRY(http_call_new(c, rq, &call, err));
    call->done = done;
    call->arg = arg;
    pthread_mutex_lock(&c->lock);
    bool accepted = !c->stopping && c->n_waiting < c->opt.waiting_max;
    if (accepted) {
        if (ret_call != NULL)
            *ret_call = call; /* before the other thread can finish it */
        c->n_waiting++;
        *c->incoming_end = call;
        c->incoming_end = &call->next;
    }
    pthread_mutex_unlock(&c->lock);
    if (!accepted) {
        http_call_free(call);
        return ERR(err, EC_LIMIT, "too many requests wait");
    }
    if (!http_client_on_thread(c))
        curl_multi_wakeup(c->multi);
    return EC_OK;
}

void http_client_cancel(struct http_client *c, struct http_call *call)
{
    ASSERT(http_client_on_thread(c));
    take_incoming(c); /* it may still lie there */
    call_finish(call, CURLE_ABORTED_BY_CALLBACK);
}

bool http_client_run(struct http_client *c, void (*fn)(void *arg), void *arg)
{
    struct http_job *j = xcalloc(1, sizeof(*j));
    j->fn = fn;
    j->arg = arg;
    pthread_mutex_lock(&c->lock);
    bool accepted = !c->stopping;
    if (accepted) {
        *c->jobs_end = j;
        c->jobs_end = &j->next;
    }
    pthread_mutex_unlock(&c->lock);
    if (!accepted) {
        free(j);
        return false;
    }
    curl_multi_wakeup(c->multi);
    return true;
}

bool http_client_on_thread(const struct http_client *c)
{
    return pthread_equal(pthread_self(), c->thread) != 0;
}

void http_timer_start(struct http_client *c, struct http_timer *t, int64_t delay_ns)
{
    ASSERT(http_client_on_thread(c));
    http_timer_stop(t);
    t->at_ns = clock_mono_ns() + MAX(delay_ns, 0);
    struct http_timer **at = &c->timers;
    while (*at != NULL && (*at)->at_ns <= t->at_ns)
        at = &(*at)->next;
    t->next = *at;
    t->link = at;
    if (t->next != NULL)
        t->next->link = &t->next;
    *at = t;
}

void http_timer_stop(struct http_timer *t)
{
    if (t->link == NULL)
        return;
    *t->link = t->next;
    if (t->next != NULL)
        t->next->link = t->link;
    t->next = NULL;
    t->link = NULL;
}
