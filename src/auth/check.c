/* SPDX-License-Identifier: Apache-2.0
 * The decision about one request; see auth_int.h for the two threads of it. */
#include <stdio.h>
#include <stdlib.h>

#include "auth_int.h"
#include "base/metric.h"

#define BAD_TOKEN_NS (5 * NS_PER_S) /* how long a token that did not verify is remembered */
#define CERTS_MAX    10

/* One request on its way: what was found out, and what is missing. */
struct step {
    struct auth *a;
    struct tenant *t;
    const struct auth_request *rq;
    int64_t now_ns;
    /* brought by flights, at most once each */
    bool reviewed, keys_fetched, decided;
    struct flight_result review, keys, decision; /* with references */
    /* found */
    bool login;            /* there is a login that could help */
    struct identity *who;  /* reference */
    struct decision *may;  /* reference; NULL: by roles or without */
    struct str token;      /* to ask others in the caller's name; may be empty */
    struct cache_key cred; /* of the credential */
    /* missing, when R_WAIT is returned */
    enum flight_kind need;
    struct cache_key need_key;
};

static void result_keep(struct flight_result *to, const struct flight_result *from)
{
    *to = *from;
    if (to->identity != NULL)
        identity_ref(to->identity);
    if (to->decision != NULL)
        decision_ref(to->decision);
}

static void step_deinit(struct step *s)
{
    identity_unref(s->who);
    decision_unref(s->may);
    identity_unref(s->review.identity);
    decision_unref(s->decision.decision);
}

/* ---- credentials of the request ---- */

enum bearer { BEARER_NONE, BEARER_TOKEN, BEARER_MALFORMED };

static bool has_authorization(const struct auth_request *rq)
{
    return rq->n_authorization > 1 || (rq->n_authorization == 1 && rq->authorization[0].n != 0);
}

static enum bearer bearer_of(const struct auth_request *rq, bool any_scheme, struct str *ret)
{
    struct str scheme;
    if (rq->n_authorization > 1)
        return BEARER_MALFORMED;
    if (!has_authorization(rq)) {
        *ret = rq->forwarded_token;
        return ret->n != 0 ? BEARER_TOKEN : BEARER_NONE;
    }
    if (!two_words(str_trim(rq->authorization[0]), &scheme, ret))
        return any_scheme ? BEARER_MALFORMED : BEARER_NONE;
    return any_scheme || str_ieq(scheme, STR("bearer")) ? BEARER_TOKEN : BEARER_NONE;
}

static struct identity *known(struct step *s)
{
    struct auth_metrics *m = s->a->metrics;
    struct cache_value *v = cache_get(s->a->identities, &s->cred, s->now_ns);
    if (v == NULL)
        v = cache_get(s->a->refused, &s->cred, s->now_ns);
    metric_inc(v != NULL ? m->hit[CACHE_TOKEN] : m->miss[CACHE_TOKEN]);
    return v == NULL ? NULL : CONTAINER_OF(v, struct identity, base);
}

/* Remembers for the usual time, but not past the credential's own end. */
static void remember(struct step *s, struct identity *who)
{
    int64_t keep = s->a->token_ttl_ns;
    if (who->expires_s != 0) {
        int64_t left_s = who->expires_s - clock_wall_ns() / NS_PER_S;
        if (left_s < keep / NS_PER_S)
            keep = MAX(left_s, 0) * NS_PER_S;
    }
    cache_put(s->a->identities, &s->cred, &who->base, s->now_ns + keep, s->now_ns);
}

static void remember_refusal(struct step *s, enum refusal r)
{
    struct identity *i = identity_refused(r);
    cache_put(s->a->refused, &s->cred, &i->base, s->now_ns + MIN(BAD_TOKEN_NS, s->a->token_ttl_ns),
        s->now_ns);
    identity_unref(i);
}

/* ---- OpenShift ---- */

/* As long as it is not known whether the cluster has an OAuth server, browsers are sent to the
 * login all the same: it tells them to come again. */
static enum refusal openshift_nobody(struct step *s)
{
    if (s->rq->is_grpc)
        return has_authorization(s->rq) ? R_TOKEN_REFUSED : R_NO_TOKEN;
    struct oauth *o = oauth_of(s->t);
    bool available = s->t->has_login && (o == NULL || o->available), unknown = o == NULL;
    cache_value_unref(o == NULL ? NULL : &o->base);
    s->login = available;
    return available || unknown ? R_NO_TOKEN : R_NO_OAUTH;
}

static enum refusal openshift_cookie(struct step *s)
{
    struct str cookie;
    if (s->rq->is_grpc || !s->t->has_login ||
        !cookie_find(s->rq->cookie, s->t->cookie_name, &cookie))
        return openshift_nobody(s);
    token_key(s->t, "cookie", cookie, &s->cred);
    s->who = known(s);
    if (s->who == NULL) {
        s->who = session_open(s->t, cookie, clock_wall_ns() / NS_PER_S);
        if (s->who == NULL)
            return openshift_nobody(s); /* a broken or old cookie is none */
        remember(s, s->who);
    }
    s->token = s->who->token;
    return R_OK;
}

static enum refusal openshift_who(struct step *s)
{
    struct str token = STR("");
    enum bearer b = bearer_of(s->rq, false, &token);
    if (b == BEARER_MALFORMED)
        return R_BAD_HEADER;
    if (b == BEARER_NONE || !token_plausible(token))
        return openshift_cookie(s);
    token_key(s->t, "bearer", token, &s->cred);
    if (s->reviewed && s->review.identity == NULL)
        return s->review.refusal;
    s->who = s->reviewed ? identity_ref(s->review.identity) : known(s);
    if (s->who == NULL) {
        s->need = FLIGHT_TOKEN;
        s->need_key = s->cred;
        s->token = token;
        return R_WAIT;
    }
    if (s->who->refusal == R_OK) {
        s->token = token;
        return R_OK;
    }
    identity_unref(s->who);
    s->who = NULL;
    return openshift_cookie(s);
}

/* ---- OIDC ---- */

static enum refusal oidc_nobody(struct step *s)
{
    s->login = s->t->has_login;
    return R_NO_TOKEN;
}

static enum refusal oidc_verify(struct step *s, struct str token)
{
    struct err err = {0};
    if (s->keys_fetched && s->keys.refusal != R_OK)
        return s->keys.refusal;
    enum refusal r = oidc_check(s->t, token, s->keys_fetched, &s->who, &err);
    if (r == R_OK) {
        remember(s, s->who);
    } else if (r == R_WAIT) {
        s->need = FLIGHT_KEYS;
        memset(&s->need_key, 0, sizeof(s->need_key));
        put_u32le(s->need_key.b, s->t->index);
    } else if (r == R_BAD_ID_TOKEN) {
        remember_refusal(s, r);
    }
    return r;
}

static enum refusal oidc_who(struct step *s)
{
    struct str token = STR("");
    enum bearer b = bearer_of(s->rq, true, &token);
    if (b == BEARER_MALFORMED)
        return R_BAD_HEADER;
    if (b == BEARER_NONE &&
        (s->rq->is_grpc || !cookie_find(s->rq->cookie, s->t->cookie_name, &token)))
        return oidc_nobody(s);
    token_key(s->t, "id", token, &s->cred);
    s->who = known(s);
    enum refusal r = s->who != NULL ? s->who->refusal : oidc_verify(s, token);
    if (r != R_OK && s->who != NULL) {
        identity_unref(s->who);
        s->who = NULL;
    }
    if (r == R_BAD_ID_TOKEN && b == BEARER_NONE)
        return oidc_nobody(s); /* a broken or old cookie is none */
    s->token = token;
    return r;
}

/* ---- client certificates ---- */

static enum refusal mtls_who(struct step *s)
{
    struct err err = {0};
    struct bytes parts[CERTS_MAX + 2];
    struct digest d;
    const struct auth_request *rq = s->rq;
    if (rq->is_grpc || rq->n_client_certs == 0)
        return R_NO_CERT;
    if (rq->n_client_certs > CERTS_MAX)
        return R_BAD_CERT;
    parts[0] = bytes_n(&s->t->index, sizeof(s->t->index));
    parts[1] = bytes_of_str(STR("certificate"));
    memcpy(&parts[2], rq->client_certs, rq->n_client_certs * sizeof(parts[0]));
    keyed_hash(parts, rq->n_client_certs + 2, &d);
    memset(&s->cred, 0, sizeof(s->cred));
    memcpy(s->cred.b, d.b, sizeof(d.b));
    s->who = known(s);
    if (s->who == NULL) {
        enum refusal r = mtls_check(s->t, rq->client_certs, rq->n_client_certs, &s->who, &err);
        if (r != R_OK)
            return r;
        remember(s, s->who);
    }
    return R_OK;
}

/* ---- may they ---- */

static enum refusal may_by_others(struct step *s)
{
    struct auth_metrics *m = s->a->metrics;
    bool want = s->rq->want_namespaces && s->rq->permission == AUTH_READ;
    decision_key(s->t, s->rq->permission, want, &s->cred, s->who, &s->need_key);
    if (s->decided) {
        if (s->decision.decision == NULL)
            return s->decision.refusal;
        s->may = decision_ref(s->decision.decision);
        return s->may->refusal;
    }
    if (s->t->rule == AUTH_BY_REVIEW) {
        struct cache_value *v = cache_get(s->a->decisions, &s->need_key, s->now_ns);
        metric_inc(v != NULL ? m->hit[CACHE_REVIEW] : m->miss[CACHE_REVIEW]);
        if (v != NULL) {
            s->may = CONTAINER_OF(v, struct decision, base);
            return s->may->refusal;
        }
    }
    s->need = FLIGHT_DECISION;
    return R_WAIT;
}

static enum refusal authorize(struct step *s)
{
    if (s->rq->permission == AUTH_NONE)
        return R_OK;
    if (s->t->rule != AUTH_BY_ROLES)
        return may_by_others(s);
    /* Roles know no namespaces: a read that needs them shows nothing. */
    bool allowed = (s->who->may >> s->rq->permission & 1) != 0 &&
                   !(s->rq->want_namespaces && s->rq->permission == AUTH_READ);
    return allowed ? R_OK : R_DENIED;
}

static enum refusal decide(struct step *s)
{
    enum refusal r = R_OK;
    identity_unref(s->who);
    decision_unref(s->may);
    s->who = NULL;
    s->may = NULL;
    s->login = false;
    switch (s->t->method) {
    case AUTH_OPENSHIFT:
        r = openshift_who(s);
        break;
    case AUTH_OIDC:
        r = oidc_who(s);
        break;
    case AUTH_MTLS:
        r = mtls_who(s);
        break;
    }
    return r != R_OK ? r : authorize(s);
}

/* ---- answers ---- */

static void answer_login(const struct step *s, struct auth_answer *ret)
{
    struct buf b = BUF_INIT;
    buf_putz(&b, s->t->login_path);
    if (s->t->method == AUTH_OPENSHIFT) {
        buf_putz(&b, "?route=");
        http_url_escape(&b, path_is_local(s->rq->path) ? s->rq->path : STR("/"), "/");
    }
    ret->outcome = AUTH_LOGIN;
    ret->http_status = 302;
    ret->www_authenticate = false;
    ret->location = str_n((const char *)b.p, b.n);
    ret->hold[2] = b.p; /* freed with the answer */
}

static void answer_opa_status(const struct step *s, struct auth_answer *ret)
{
    char text[64];
    unsigned status = s->may->http_status;
    snprintf(text, sizeof(text), "%u %s", status, http_reason(status));
    ret->http_status = status;
    ret->www_authenticate = status == 401;
    if (status >= 500)
        ret->grpc_status = 14;
    if (!s->rq->is_grpc) {
        ret->hold[2] = xstrdup(text);
        ret->message = str_from(ret->hold[2]);
    }
}

static void answer(struct step *s, enum refusal r, struct auth_answer *ret)
{
    answer_refusal(r, s->rq->is_grpc, ret);
    if (r == R_NO_TOKEN && s->login && s->rq->is_browser && !s->rq->is_grpc)
        answer_login(s, ret);
    else if (r == R_OPA_STATUS && s->may != NULL)
        answer_opa_status(s, ret);
    if (r != R_OK)
        return;
    ret->tenant_id = str_from(s->t->id);
    ret->subject = s->who->subject;
    ret->groups = s->who->groups;
    ret->n_groups = s->who->n_groups;
    ret->hold[0] = s->who;
    s->who = NULL;
    if (s->may != NULL) {
        ret->has_namespaces = s->may->has_namespaces;
        ret->namespaces = s->may->namespaces;
        ret->n_namespaces = s->may->n_namespaces;
        ret->hold[1] = s->may;
        s->may = NULL;
    }
}

void auth_answer_release(struct auth_answer *ans)
{
    identity_unref(ans->hold[0]);
    decision_unref(ans->hold[1]);
    free(ans->hold[2]);
    *ans = (struct auth_answer){0};
}

void auth_answer_move(struct auth_answer *ans, struct auth_answer *ret)
{
    *ret = *ans;
    *ans = (struct auth_answer){0};
}

bool auth_answer_sees(const struct auth_answer *ans, struct str ns)
{
    size_t lo = 0, hi = ans->n_namespaces;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = str_cmp(ans->namespaces[mid], ns);
        if (c == 0)
            return true;
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return false;
}

/* ---- requests that wait: client's thread, but for call_new ---- */

struct call {
    struct waiter waiter;
    struct auth_request rq;
    struct step step;
    auth_done_fn done;
    void *arg;
    struct str *lines;
    struct bytes *certs;
    struct buf text; /* what the request's views live in: secret */
};

static struct str keep(struct call *c, struct str s)
{
    struct str copy = {(const char *)c->text.p + c->text.n, s.n};
    buf_puts(&c->text, s); /* reserved before: does not move */
    return copy;
}

static struct call *call_new(const struct step *s, auth_done_fn done, void *arg)
{
    const struct auth_request *rq = s->rq;
    struct call *c = xcalloc(1, sizeof(*c));
    size_t n = rq->tenant.n + rq->path.n + rq->forwarded_token.n + rq->cookie.n;
    for (size_t i = 0; i < rq->n_authorization; i++)
        n += rq->authorization[i].n;
    for (size_t i = 0; i < rq->n_client_certs; i++)
        n += rq->client_certs[i].n;
    buf_reserve(&c->text, n + 1);
    c->rq = *rq;
    c->rq.tenant = keep(c, rq->tenant);
    c->rq.path = keep(c, rq->path);
    c->rq.forwarded_token = keep(c, rq->forwarded_token);
    c->rq.cookie = keep(c, rq->cookie);
    c->lines = xcalloc(rq->n_authorization + 1, sizeof(*c->lines));
    for (size_t i = 0; i < rq->n_authorization; i++)
        c->lines[i] = keep(c, rq->authorization[i]);
    c->rq.authorization = c->lines;
    c->certs = xcalloc(rq->n_client_certs + 1, sizeof(*c->certs));
    for (size_t i = 0; i < rq->n_client_certs; i++)
        c->certs[i] = bytes_of_str(keep(c, str_of_bytes(rq->client_certs[i])));
    c->rq.client_certs = c->certs;
    c->done = done;
    c->arg = arg;
    c->step = (struct step){.a = s->a, .t = s->t, .rq = &c->rq};
    return c;
}

static void call_free(struct call *c)
{
    step_deinit(&c->step);
    http_wipe_buf(&c->text);
    free(c->lines);
    free(c->certs);
    free(c);
}

static void call_finish(struct call *c, enum refusal r)
{
    struct auth_answer ans;
    answer(&c->step, r, &ans);
    atomic_fetch_sub_explicit(&c->step.a->n_waiting, 1, memory_order_relaxed);
    c->done(c->arg, &ans);
    auth_answer_release(&ans);
    call_free(c);
}

static void call_go(struct call *c);

static void call_landed(struct waiter *w, const struct flight_result *r)
{
    struct call *c = CONTAINER_OF(w, struct call, waiter);
    struct step *s = &c->step;
    switch (s->need) {
    case FLIGHT_TOKEN:
        s->reviewed = true;
        result_keep(&s->review, r);
        break;
    case FLIGHT_KEYS:
        s->keys_fetched = true;
        result_keep(&s->keys, r);
        break;
    case FLIGHT_DECISION:
        s->decided = true;
        result_keep(&s->decision, r);
        break;
    }
    call_go(c);
}

static void flight_fill(struct flight *f, const struct step *s)
{
    buf_puts(&f->token, s->token);
    if (f->kind == FLIGHT_DECISION) {
        f->identity = identity_ref(s->who);
        f->permission = s->rq->permission;
        f->want_namespaces = s->rq->want_namespaces && f->permission == AUTH_READ;
    }
}

static void flight_start(struct flight *f)
{
    if (f->kind == FLIGHT_TOKEN)
        token_review_start(f);
    else if (f->kind == FLIGHT_KEYS)
        oidc_keys_start(f);
    else if (f->t->rule == AUTH_BY_OPA)
        opa_start(f);
    else
        access_review_start(f);
}

/* May free the call. */
static void call_go(struct call *c)
{
    struct step *s = &c->step;
    bool is_new;
    s->now_ns = clock_mono_ns();
    enum refusal r = decide(s);
    if (r == R_WAIT && s->a->stopping)
        r = R_AUTHN_DOWN;
    if (r != R_WAIT) {
        call_finish(c, r);
        return;
    }
    struct flight *f = flight_join(s->a, s->t, s->need, &s->need_key, &c->waiter, &is_new);
    c->waiter.fn = call_landed;
    if (is_new) {
        flight_fill(f, s);
        flight_start(f);
    }
}

static void call_begin(void *arg)
{
    call_go(arg);
}

/* ---- the door ---- */

static bool wait_for(struct step *s, auth_done_fn done, void *arg, enum refusal *ret)
{
    struct auth *a = s->a;
    unsigned n = atomic_fetch_add_explicit(&a->n_waiting, 1, memory_order_relaxed);
    *ret = R_BUSY;
    if (n < a->waiting_max) {
        struct call *c = call_new(s, done, arg);
        if (http_client_run(a->client, call_begin, c))
            return true;
        call_free(c);
        *ret = R_AUTHN_DOWN;
    } else {
        metric_inc(a->metrics->busy);
    }
    atomic_fetch_sub_explicit(&a->n_waiting, 1, memory_order_relaxed);
    return false;
}

bool auth_check(struct auth *a, const struct auth_request *rq, struct auth_answer *ret,
    auth_done_fn done, void *arg)
{
    struct step s = {.a = a, .rq = rq, .t = auth_tenant_find(a, rq->tenant)};
    enum refusal r;
    if (s.t == NULL) {
        r = R_TENANT_UNKNOWN;
    } else if (rq->is_grpc && rq->n_authorization != 1) {
        r = rq->n_authorization == 0 ? R_NO_TOKEN : R_BAD_HEADER;
    } else if (s.t->broken != NULL) {
        r = R_TENANT_BROKEN;
    } else {
        s.now_ns = clock_mono_ns();
        r = decide(&s);
        if (r == R_WAIT && wait_for(&s, done, arg, &r)) {
            step_deinit(&s);
            return false;
        }
    }
    answer(&s, r, ret);
    step_deinit(&s);
    return true;
}
