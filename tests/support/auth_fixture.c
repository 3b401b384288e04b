/* SPDX-License-Identifier: Apache-2.0
 * See auth_fixture.h. */
#include "auth_fixture.h"

#include <pthread.h>

#include "server/server.h"
#include "server_fixture.h"

void auth_fixture_start(struct auth_fixture *f, const struct auth_options *opt)
{
    struct err err = {0};
    struct auth_options o = *opt;
    assert_ok(
        http_client_new(&(struct http_client_options){.name = "auth"}, &f->client, &err), err);
    o.client = f->client;
    assert_ok(auth_new(&o, &f->auth, &err), err);
}

void auth_fixture_stop(struct auth_fixture *f)
{
    auth_free(f->auth);
    http_client_free(f->client);
    f->auth = NULL;
    f->client = NULL;
}

struct gate {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool open;
    struct asked asked;
    struct flowed flowed;
};

static void copy_text(char *to, size_t size, struct str s)
{
    assert_true(s.n < size);
    if (s.n != 0)
        memcpy(to, s.p, s.n);
    to[s.n] = 0;
}

static void join(char *to, size_t size, const struct str *list, size_t n)
{
    size_t at = 0;
    for (size_t i = 0; i < n; i++)
        at +=
            (size_t)snprintf(to + at, size - at, "%s" STR_FMT, i == 0 ? "" : ",", STR_ARG(list[i]));
    assert_true(at < size);
}

static struct asked record(const struct auth_answer *a)
{
    struct asked r = {.outcome = a->outcome,
        .http_status = a->http_status,
        .grpc_status = a->grpc_status,
        .retry_after_s = a->retry_after_s,
        .www_authenticate = a->www_authenticate,
        .has_namespaces = a->has_namespaces};
    copy_text(r.message, sizeof(r.message), a->message);
    copy_text(r.location, sizeof(r.location), a->location);
    copy_text(r.subject, sizeof(r.subject), a->subject);
    copy_text(r.tenant_id, sizeof(r.tenant_id), a->tenant_id);
    join(r.groups, sizeof(r.groups), a->groups, a->n_groups);
    join(r.namespaces, sizeof(r.namespaces), a->namespaces, a->n_namespaces);
    for (size_t i = 0; i < a->n_namespaces; i++)
        assert_true(auth_answer_sees(a, a->namespaces[i]));
    assert_false(auth_answer_sees(a, STR("no such namespace")));
    return r;
}

static void open_gate(struct gate *g)
{
    pthread_mutex_lock(&g->lock);
    g->open = true;
    pthread_cond_signal(&g->cond);
    pthread_mutex_unlock(&g->lock);
}

static void await(struct gate *g)
{
    pthread_mutex_lock(&g->lock);
    while (!g->open)
        pthread_cond_wait(&g->cond, &g->lock);
    pthread_mutex_unlock(&g->lock);
}

static void on_answer(void *arg, struct auth_answer *a)
{
    struct gate *g = arg;
    struct auth_answer mine;
    auth_answer_move(a, &mine); /* as a caller does that keeps it */
    g->asked = record(&mine);
    auth_answer_release(&mine);
    open_gate(g);
}

struct asked auth_ask(struct auth_fixture *f, const struct auth_request *rq)
{
    struct gate g = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
    struct auth_answer a = {0};
    if (auth_check(f->auth, rq, &a, on_answer, &g)) {
        g.asked = record(&a);
        g.asked.at_once = true;
        auth_answer_release(&a);
        auth_answer_release(&a);
    } else {
        await(&g);
    }
    return g.asked;
}

struct asked auth_ask_line(
    struct auth_fixture *f, const char *tenant, enum auth_permission permission, const char *line)
{
    struct str lines[] = {str_from(line)};
    struct auth_request rq = {.tenant = str_from(tenant),
        .permission = permission,
        .path = STR("/api/traces/v1/dev/search"),
        .authorization = lines,
        .n_authorization = line != NULL};
    return auth_ask(f, &rq);
}

struct asked auth_ask_until_ready(struct auth_fixture *f, const struct auth_request *rq)
{
    struct asked r = auth_ask(f, rq);
    for (int i = 0; i < 500 && r.http_status == 503; i++) {
        fixture_sleep_ms(10);
        r = auth_ask(f, rq);
    }
    return r;
}

static struct flowed flow_record(const struct auth_flow_answer *a)
{
    struct flowed r = {.http_status = a->http_status, .n_cookies = a->n_set_cookies};
    copy_text(r.message, sizeof(r.message), a->message);
    copy_text(r.location, sizeof(r.location), a->location);
    for (size_t i = 0; i < a->n_set_cookies; i++)
        copy_text(r.cookies[i], sizeof(r.cookies[i]), a->set_cookies[i]);
    return r;
}

static void on_flow(void *arg, struct auth_flow_answer *a)
{
    struct gate *g = arg;
    g->flowed = flow_record(a);
    open_gate(g);
}

struct flowed auth_flow(struct auth_fixture *f, const struct auth_flow_request *rq, bool callback)
{
    struct gate g = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
    struct auth_flow_answer a = {0};
    bool at_once = true;
    if (callback)
        at_once = auth_callback(f->auth, rq, &a, on_flow, &g);
    else
        auth_login(f->auth, rq, &a);
    if (at_once) {
        g.flowed = flow_record(&a);
        g.flowed.at_once = true;
        auth_flow_release(&a);
    } else {
        await(&g);
    }
    return g.flowed;
}

void url_param(const char *url, const char *name, char *out, size_t size)
{
    struct arena arena;
    struct http_param *params;
    size_t n;
    const char *query = strchr(url, '?');
    arena_init(&arena, NULL, 0);
    out[0] = 0;
    if (query != NULL) {
        assert_true(http_params_parse(&arena, str_from(query + 1), &params, &n));
        for (size_t i = 0; i < n; i++)
            if (str_eqz(params[i].key, name))
                copy_text(out, size, params[i].value);
    }
    arena_deinit(&arena);
}
