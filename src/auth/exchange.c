/* SPDX-License-Identifier: Apache-2.0
 * The code of a login becomes a token, and the token an identity. Client's thread, but for
 * exchange_begin. */
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "json.h"
#include "login.h"

#define ANSWER_VALUES 1024
#define CALL_NS       (10 * NS_PER_S)

struct exchange_flow {
    struct waiter waiter;
    struct exchange_flow *next, **link;
    struct tenant *t;
    auth_flow_fn done;
    void *arg;
    struct str code, route, nonce, redirect_uri;
    struct buf text;  /* what they live in: secret */
    struct buf token; /* what came: secret */
    struct http_call *call;
    bool keys_fetched;
};

static void flow_end(struct exchange_flow *x, struct auth_flow_answer *ans)
{
    atomic_fetch_sub_explicit(&x->t->a->n_waiting, 1, memory_order_relaxed);
    if (x->link != NULL) {
        *x->link = x->next;
        if (x->next != NULL)
            x->next->link = x->link;
    }
    x->done(x->arg, ans);
    auth_flow_release(ans);
    http_wipe_buf(&x->text);
    http_wipe_buf(&x->token);
    free(x);
}

static void flow_end_fail(struct exchange_flow *x, unsigned status, const char *message)
{
    struct auth_flow_answer ans;
    flow_fail(&ans, status, message);
    flow_end(x, &ans);
}

/* ---- the token becomes an identity ---- */

static void review_landed(struct waiter *w, const struct flight_result *r)
{
    struct exchange_flow *x = CONTAINER_OF(w, struct exchange_flow, waiter);
    struct auth_flow_answer ans;
    if (r->identity == NULL) {
        flow_end_fail(x, 503, "authentication service is unavailable");
    } else if (r->identity->refusal != R_OK) {
        flow_end_fail(x, 401, "failed to authenticate redirect request");
    } else {
        flow_openshift_done(x->t, r->identity, buf_str(&x->token), x->route, &ans);
        flow_end(x, &ans);
    }
}

static void openshift_token(struct exchange_flow *x)
{
    struct cache_key key;
    bool is_new;
    token_key(x->t, "bearer", buf_str(&x->token), &key);
    struct flight *f = flight_join(x->t->a, x->t, FLIGHT_TOKEN, &key, &x->waiter, &is_new);
    x->waiter.fn = review_landed;
    if (is_new) {
        buf_puts(&f->token, buf_str(&x->token));
        token_review_start(f);
    }
}

static void oidc_token(struct exchange_flow *x);

static void keys_landed(struct waiter *w, const struct flight_result *r)
{
    struct exchange_flow *x = CONTAINER_OF(w, struct exchange_flow, waiter);
    x->keys_fetched = true;
    if (r->refusal != R_OK)
        flow_end_fail(x, 503, "authentication service is unavailable");
    else
        oidc_token(x);
}

static void oidc_token(struct exchange_flow *x)
{
    struct identity *who = NULL;
    struct cache_key key = {{0}};
    struct err err = {0};
    bool is_new;
    enum refusal r = oidc_check(x->t, buf_str(&x->token), x->keys_fetched, &who, &err);
    if (r == R_WAIT && !x->t->a->stopping) {
        put_u32le(key.b, x->t->index);
        struct flight *f = flight_join(x->t->a, x->t, FLIGHT_KEYS, &key, &x->waiter, &is_new);
        x->waiter.fn = keys_landed;
        if (is_new)
            oidc_keys_start(f);
        return;
    }
    if (r == R_OK && oidc_nonce_is(buf_str(&x->token), x->nonce)) {
        struct auth_flow_answer ans;
        flow_oidc_done(x->t, who, buf_str(&x->token), &ans);
        identity_unref(who);
        flow_end(x, &ans);
        return;
    }
    struct auth_answer words;
    answer_refusal(r == R_OK ? R_BAD_ID_TOKEN : r == R_WAIT ? R_AUTHN_DOWN : r, false, &words);
    identity_unref(who);
    flow_end_fail(x, words.http_status, words.message.p);
}

/* ---- the code becomes a token ---- */

static void token_read(struct exchange_flow *x, struct str body)
{
    CLEANUP(json_wipep) json_t *root = NULL;
    struct str token;
    bool openshift = x->t->method == AUTH_OPENSHIFT;
    if (json_parse(body, ANSWER_VALUES, &root, NULL) != EC_OK) {
        flow_end_fail(x, 500, "failed to get token: the answer is not JSON");
        return;
    }
    if (!json_text(root, openshift ? "access_token" : "id_token", &token)) {
        flow_end_fail(x, openshift ? 401 : 500,
            openshift ? "invalid token provided" : "no id_token in token response");
        return;
    }
    if (!token_plausible(token)) {
        flow_end_fail(x, 401, "invalid token provided");
        return;
    }
    buf_puts(&x->token, token);
    if (openshift)
        openshift_token(x);
    else
        oidc_token(x);
}

static void token_done(void *arg, const struct http_client_response *rs)
{
    struct exchange_flow *x = arg;
    char text[100];
    x->call = NULL;
    if (rs->ec == EC_OK && rs->status == 200 && !x->t->a->stopping) {
        token_read(x, buf_str(rs->body));
        return;
    }
    log_event(LOG_WARN, "login failed at the token endpoint", LZ("tenant", x->t->name),
        LU("status", rs->status), LZ("err", rs->error));
    bool down = rs->ec != EC_OK || rs->status >= 500 || rs->status == 429;
    snprintf(text, sizeof(text), "failed to get token: the provider answers %u", rs->status);
    flow_end_fail(x, down ? 503 : 500, down ? "authentication service is unavailable" : text);
}

static void token_send(
    struct exchange_flow *x, const struct endpoints *e, struct str client, struct str secret)
{
    struct tenant *t = x->t;
    struct buf form = BUF_INIT, user = BUF_INIT, password = BUF_INIT;
    bool in_form = e->post_credentials || secret.n == 0;
    flow_put_param(&form, "grant_type", STR("authorization_code"));
    flow_put_param(&form, "code", x->code);
    flow_put_param(&form, "redirect_uri", x->redirect_uri);
    if (in_form) {
        flow_put_param(&form, "client_id", client);
        if (secret.n != 0)
            flow_put_param(&form, "client_secret", secret);
    } else { /* RFC 6749 2.3.1: each is escaped before it becomes basic authentication */
        http_url_escape(&user, client, "");
        http_url_escape(&password, secret, "");
    }
    const struct http_header headers[] = {
        {STR("Content-Type"), STR("application/x-www-form-urlencoded")},
        {STR("Accept"), STR("application/json")}};
    const struct http_client_request rq = {.profile = t->profile,
        .method = STR("POST"),
        .url = str_from(e->token),
        .headers = headers,
        .n_headers = ARRAY_LEN(headers),
        .body = buf_bytes(&form),
        .user = buf_str(&user),
        .password = buf_str(&password),
        .timeout_ns = CALL_NS};
    bool sent = http_client_send(t->a->client, &rq, token_done, x, &x->call, NULL) == EC_OK;
    http_wipe_buf(&form);
    http_wipe_buf(&user);
    http_wipe_buf(&password);
    if (!sent) {
        x->call = NULL;
        flow_end_fail(x, 503, "authentication service is unavailable");
    }
}

static void exchange_go(void *arg)
{
    struct exchange_flow *x = arg;
    struct tenant *t = x->t;
    struct endpoints e;
    struct auth_flow_answer fail;
    struct buf client = BUF_INIT, secret = BUF_INIT;
    x->next = t->a->exchanges;
    x->link = &t->a->exchanges;
    if (x->next != NULL)
        x->next->link = &x->next;
    t->a->exchanges = x;
    if (t->a->stopping || !flow_endpoints(t, &e, &fail)) {
        if (t->a->stopping)
            flow_fail(&fail, 503, "authentication service is unavailable");
        flow_end(x, &fail);
        return;
    }
    bool ok = flow_client_id(t, &client);
    if (t->method == AUTH_OPENSHIFT)
        ok = ok && kube_token(t->a->kube, &secret, NULL) == EC_OK;
    else if (t->client_secret != NULL)
        buf_putz(&secret, t->client_secret);
    if (ok)
        token_send(x, &e, buf_str(&client), buf_str(&secret));
    else
        flow_end_fail(x, 503, "authentication provider is not ready");
    cache_value_unref(e.hold);
    buf_deinit(&client);
    http_wipe_buf(&secret);
}

static struct str keep(struct buf *text, struct str s)
{
    struct str copy = {(const char *)text->p + text->n, s.n};
    buf_puts(text, s); /* reserved before: does not move */
    return copy;
}

bool exchange_begin(struct tenant *t, const struct auth_flow_request *rq, struct str nonce,
    struct str redirect_uri, auth_flow_fn done, void *arg)
{
    struct auth *a = t->a;
    bool ok = false;
    if (atomic_fetch_add_explicit(&a->n_waiting, 1, memory_order_relaxed) < a->waiting_max) {
        struct exchange_flow *x = xcalloc(1, sizeof(*x));
        *x = (struct exchange_flow){.t = t, .done = done, .arg = arg};
        buf_reserve(&x->text, rq->code.n + rq->route.n + nonce.n + redirect_uri.n + 1);
        x->code = keep(&x->text, rq->code);
        x->route = keep(&x->text, rq->route);
        x->nonce = keep(&x->text, nonce);
        x->redirect_uri = keep(&x->text, redirect_uri);
        ok = http_client_run(a->client, exchange_go, x);
        if (!ok) {
            http_wipe_buf(&x->text);
            free(x);
        }
    }
    if (!ok)
        atomic_fetch_sub_explicit(&a->n_waiting, 1, memory_order_relaxed);
    return ok;
}

void exchanges_end(struct auth *a)
{
    struct exchange_flow *x = a->exchanges;
    while (x != NULL) {
        if (x->call == NULL) { /* waits for a flight */
            x = x->next;
            continue;
        }
        http_client_cancel(a->client, x->call);
        x = a->exchanges;
    }
}
