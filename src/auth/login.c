/* SPDX-License-Identifier: Apache-2.0
 * Browser logins: off to the provider, and back with a code.
 *
 *     login     random state (and nonce) sealed into a short cookie; 303 to the provider
 *     callback  state of the query == state of the cookie, code -> token (credentials go from here
 *               to the provider, never through the browser), token looked at as if it were a bearer
 *               token, then the session cookie and 302 to where the browser wanted to go
 *
 * OpenShift's session cookie is sealed by us and holds subject, groups and access token. OIDC's is
 * the issuer's ID token as it is: whoever can read it has it anyway, and nobody can make one.
 */
#include "login.h"

#include <stdlib.h>
#include <time.h>

#include "auth_int.h"
#include "json.h"
#include "jwt.h"

#define STATE_BYTES      24
#define STATE_S          600
#define STATE_FIELDS     3
#define SESSION_S        (15 * 60)
#define COOKIE_BYTES_MAX 3900 /* browsers drop what is over 4096 with name and attributes */
#define OPENSHIFT_SCOPE  "user:info user:check-access user:list-projects"
#define OIDC_SCOPE       "openid profile email groups"

/* ---- answers: texts one behind the other in one buffer, views set when it moves no more ---- */

void flow_fail(struct auth_flow_answer *ret, unsigned status, const char *message)
{
    *ret = (struct auth_flow_answer){.http_status = status};
    buf_putz(&ret->text, message);
    ret->message = buf_str(&ret->text);
    if (status == 503)
        ret->retry_after_s = RETRY_AFTER_S;
}

/* Location and cookies; all are copied. */
static void flow_send(struct auth_flow_answer *ret, unsigned status, struct str location,
    const struct str *cookies, size_t n_cookies)
{
    size_t n = location.n;
    for (size_t i = 0; i < n_cookies; i++)
        n += cookies[i].n;
    *ret = (struct auth_flow_answer){.http_status = status, .n_set_cookies = n_cookies};
    buf_reserve(&ret->text, n + 1);
    buf_puts(&ret->text, location);
    ret->location = buf_str(&ret->text);
    for (size_t i = 0; i < n_cookies; i++) {
        ret->set_cookies[i] = str_n((const char *)ret->text.p + ret->text.n, cookies[i].n);
        buf_puts(&ret->text, cookies[i]);
    }
}

void auth_flow_release(struct auth_flow_answer *answer)
{
    http_wipe_buf(&answer->text);
    *answer = (struct auth_flow_answer){0};
}

static void put_cookie(struct buf *b, struct str name, struct str value, const char *path,
    int64_t expires_s, int64_t now_s)
{
    struct tm tm;
    char date[40];
    time_t at = (time_t)expires_s;
    gmtime_r(&at, &tm);
    strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
    buf_puts(b, name);
    buf_putc(b, '=');
    buf_puts(b, value);
    buf_printf(b, "; Path=%s; Expires=%s; Max-Age=%lld; HttpOnly; Secure; SameSite=Lax", path, date,
        (long long)MAX(expires_s - now_s, 0));
}

/* "key=value", behind an ampersand unless it is the first. */
void flow_put_param(struct buf *b, const char *key, struct str value)
{
    if (b->n != 0 && b->p[b->n - 1] != '?' && b->p[b->n - 1] != '&')
        buf_putc(b, '&');
    buf_putz(b, key);
    buf_putc(b, '=');
    http_url_escape(b, value, "");
}

/* redirectURL?route=R, which the provider compares byte by byte in both requests. */
static void put_redirect_uri(struct buf *b, const struct tenant *t, struct str route)
{
    buf_putz(b, t->redirect_url);
    if (t->method == AUTH_OPENSHIFT) {
        buf_putz(b, "?route=");
        http_url_escape(b, route, "/");
    }
}

/* ---- the state cookie: expiry, state, nonce, route ---- */

struct state {
    struct str state, nonce, route;
};

static void state_seal(
    const struct tenant *t, const struct state *s, int64_t now_s, struct buf *out)
{
    struct buf plain = BUF_INIT;
    const struct str fields[STATE_FIELDS] = {s->state, s->nonce, s->route};
    buf_put_u64le(&plain, (uint64_t)(now_s + STATE_S));
    for (size_t i = 0; i < STATE_FIELDS; i++) {
        buf_put_varint(&plain, fields[i].n);
        buf_puts(&plain, fields[i]);
    }
    seal(t->state_key, buf_bytes(&plain), out);
    http_wipe_buf(&plain);
}

/* Views into *plain. False: no cookie, not ours, or too old. */
static bool state_open(
    const struct tenant *t, struct str cookies, int64_t now_s, struct buf *plain, struct state *ret)
{
    struct str cookie, fields[STATE_FIELDS];
    if (!cookie_find(cookies, t->state_cookie_name, &cookie) ||
        !unseal(t->state_key, cookie, plain) || plain->n < 8)
        return false;
    const uint8_t *p = plain->p + 8, *end = plain->p + plain->n;
    for (size_t i = 0; i < STATE_FIELDS; i++) {
        uint64_t n;
        p = varint_get(p, end, &n);
        if (p == NULL || n > (uint64_t)(end - p))
            return false;
        fields[i] = str_n((const char *)p, (size_t)n);
        p += n;
    }
    *ret = (struct state){fields[0], fields[1], fields[2]};
    return p == end && (int64_t)get_u64le(plain->p) > now_s;
}

/* ---- login ---- */

/* What both steps check first. False: answered. */
static bool flow_tenant(struct auth *a, const struct auth_flow_request *rq,
    struct auth_flow_answer *ret, struct tenant **ret_t)
{
    struct tenant *t = auth_tenant_find(a, rq->tenant);
    if (t == NULL || t->broken != NULL) {
        flow_fail(ret, 401, "tenant not found, have you registered it?");
        return false;
    }
    if (t->method != rq->method) {
        flow_fail(ret, 401, "error finding tenant");
        return false;
    }
    if (!t->has_login) {
        flow_fail(ret, 401, "OAuth authentication not available");
        return false;
    }
    *ret_t = t;
    return true;
}

bool flow_endpoints(struct tenant *t, struct endpoints *ret, struct auth_flow_answer *fail)
{
    *ret = (struct endpoints){0};
    if (t->method == AUTH_OPENSHIFT) {
        struct oauth *o = oauth_of(t);
        if (o != NULL) {
            ret->hold = &o->base;
            ret->authorization = o->authorization_url;
            ret->token = o->token_url;
            ret->post_credentials = true;
            if (!o->available) {
                cache_value_unref(ret->hold);
                flow_fail(fail, 401, "OAuth authentication not available");
                return false;
            }
        }
    } else {
        struct issuer *i = oidc_issuer(t);
        if (i != NULL) {
            ret->hold = &i->base;
            ret->authorization = i->authorization_url;
            ret->token = i->token_url;
            ret->post_credentials = i->post_credentials;
        }
    }
    if (ret->authorization == NULL || ret->token == NULL) {
        cache_value_unref(ret->hold);
        flow_fail(fail, 503, "authentication provider is not ready");
        return false;
    }
    return true;
}

/* system:serviceaccount:NS:name, or the client of the configuration. */
bool flow_client_id(const struct tenant *t, struct buf *out)
{
    struct buf ns = BUF_INIT;
    bool ok = true;
    if (t->method == AUTH_OIDC) {
        buf_putz(out, t->client_id);
    } else {
        ok = kube_namespace(t->a->kube, &ns, NULL) == EC_OK;
        if (ok)
            buf_printf(out, "system:serviceaccount:%.*s:%s", (int)ns.n, (const char *)ns.p,
                t->service_account);
    }
    buf_deinit(&ns);
    return ok;
}

static void random_text(struct buf *out)
{
    uint8_t r[STATE_BYTES];
    random_bytes(r, sizeof(r));
    base64url_put(out, bytes_n(r, sizeof(r)));
    explicit_bzero(r, sizeof(r));
}

static void put_authorization(struct buf *b, const struct tenant *t, const char *endpoint,
    struct str client_id, const struct state *s)
{
    struct buf uri = BUF_INIT;
    put_redirect_uri(&uri, t, s->route);
    buf_putz(b, endpoint);
    buf_putc(b, strchr(endpoint, '?') == NULL ? '?' : '&');
    if (t->method == AUTH_OPENSHIFT)
        flow_put_param(b, "approval_prompt", STR("force"));
    flow_put_param(b, "client_id", client_id);
    if (t->method == AUTH_OIDC)
        flow_put_param(b, "nonce", s->nonce);
    flow_put_param(b, "redirect_uri", buf_str(&uri));
    flow_put_param(b, "response_type", STR("code"));
    flow_put_param(b, "scope", t->method == AUTH_OIDC ? STR(OIDC_SCOPE) : STR(OPENSHIFT_SCOPE));
    flow_put_param(b, "state", s->state);
    buf_deinit(&uri);
}

void auth_login(struct auth *a, const struct auth_flow_request *rq, struct auth_flow_answer *ret)
{
    struct tenant *t;
    struct endpoints e;
    struct buf client = BUF_INIT, state = BUF_INIT, nonce = BUF_INIT, sealed = BUF_INIT,
               cookie = BUF_INIT, location = BUF_INIT;
    if (!flow_tenant(a, rq, ret, &t))
        return;
    if (t->method == AUTH_OPENSHIFT && !path_is_local(rq->route)) {
        flow_fail(ret, 400, "incorrect route in request");
        return;
    }
    if (!flow_endpoints(t, &e, ret))
        return;
    if (flow_client_id(t, &client)) {
        int64_t now_s = clock_wall_ns() / NS_PER_S;
        random_text(&state);
        random_text(&nonce);
        const struct state s = {
            buf_str(&state), buf_str(&nonce), t->method == AUTH_OPENSHIFT ? rq->route : STR("")};
        state_seal(t, &s, now_s, &sealed);
        put_cookie(&cookie, t->state_cookie_name, buf_str(&sealed), t->callback_path,
            now_s + STATE_S, now_s);
        put_authorization(&location, t, e.authorization, buf_str(&client), &s);
        const struct str cookies[] = {buf_str(&cookie)};
        flow_send(ret, 303, buf_str(&location), cookies, 1);
    } else {
        flow_fail(ret, 503, "authentication provider is not ready");
    }
    cache_value_unref(e.hold);
    buf_deinit(&client);
    http_wipe_buf(&state);
    http_wipe_buf(&nonce);
    http_wipe_buf(&sealed);
    http_wipe_buf(&cookie);
    http_wipe_buf(&location);
}

/* ---- callback: what can be said at once ---- */

static void provider_error(const struct auth_flow_request *rq, struct auth_flow_answer *ret)
{
    char text[600];
    struct str e = str_n(rq->error.p, MIN(rq->error.n, 200));
    struct str d = str_n(rq->error_description.p, MIN(rq->error_description.n, 300));
    if (!str_utf8_valid(e))
        e = STR("error");
    if (!str_utf8_valid(d))
        d = STR("");
    snprintf(text, sizeof(text), STR_FMT ": " STR_FMT, STR_ARG(e), STR_ARG(d));
    flow_fail(ret, 400, text);
}

static bool callback_checks(struct tenant *t, const struct auth_flow_request *rq, struct buf *nonce,
    struct auth_flow_answer *ret)
{
    struct buf plain = BUF_INIT;
    struct state s;
    const char *fault = NULL;
    if (rq->error.n != 0) {
        provider_error(rq, ret);
        return false;
    }
    if (rq->code.n == 0)
        fault = "no code in request";
    else if (!state_open(t, rq->cookie, clock_wall_ns() / NS_PER_S, &plain, &s) ||
             !secret_eq(rq->state, s.state))
        fault = "incorrect state in request";
    else if (t->method == AUTH_OPENSHIFT &&
             (!path_is_local(rq->route) || !str_eq(rq->route, s.route)))
        fault = "incorrect route in request";
    else
        buf_puts(nonce, s.nonce);
    http_wipe_buf(&plain);
    if (fault != NULL)
        flow_fail(ret, 400, fault);
    return fault == NULL;
}

bool auth_callback(struct auth *a, const struct auth_flow_request *rq, struct auth_flow_answer *ret,
    auth_flow_fn done, void *arg)
{
    struct tenant *t;
    struct buf nonce = BUF_INIT, uri = BUF_INIT;
    if (!flow_tenant(a, rq, ret, &t))
        return true;
    bool at_once = !callback_checks(t, rq, &nonce, ret);
    if (!at_once) {
        put_redirect_uri(&uri, t, rq->route);
        at_once = !exchange_begin(t, rq, buf_str(&nonce), buf_str(&uri), done, arg);
        if (at_once)
            flow_fail(ret, 503, "too many requests wait for authentication");
    }
    http_wipe_buf(&nonce);
    buf_deinit(&uri);
    return at_once;
}

/* ---- the end: cookies ---- */

static void put_state_gone(struct buf *b, const struct tenant *t, int64_t now_s)
{
    put_cookie(b, t->state_cookie_name, STR(""), t->callback_path, 0, now_s);
}

static void send_session(struct tenant *t, struct str value, int64_t expires_s, int64_t now_s,
    struct str location, struct auth_flow_answer *ret)
{
    struct buf cookie = BUF_INIT, gone = BUF_INIT;
    put_cookie(&cookie, t->cookie_name, value, "/", expires_s, now_s);
    put_state_gone(&gone, t, now_s);
    const struct str cookies[] = {buf_str(&cookie), buf_str(&gone)};
    flow_send(ret, 302, location, cookies, 2);
    http_wipe_buf(&cookie);
    buf_deinit(&gone);
}

void flow_openshift_done(struct tenant *t, const struct identity *who, struct str token,
    struct str route, struct auth_flow_answer *ret)
{
    struct buf plain = BUF_INIT, sealed = BUF_INIT;
    int64_t now_s = clock_wall_ns() / NS_PER_S;
    struct session s = {.expires_s = now_s + SESSION_S,
        .subject = who->subject,
        .token = token,
        .groups = who->groups,
        .n_groups = who->n_groups};
    session_put(&s, &plain);
    seal(t->session_key, buf_bytes(&plain), &sealed);
    if (sealed.n > COOKIE_BYTES_MAX) { /* fewer groups mean fewer rights, never more */
        buf_reset(&plain);
        buf_reset(&sealed);
        s.n_groups = 0;
        session_put(&s, &plain);
        seal(t->session_key, buf_bytes(&plain), &sealed);
    }
    if (sealed.n > COOKIE_BYTES_MAX)
        flow_fail(ret, 500, "the access token does not fit into a cookie");
    else
        send_session(t, buf_str(&sealed), s.expires_s, now_s, route, ret);
    http_wipe_buf(&plain);
    http_wipe_buf(&sealed);
}

void flow_oidc_done(
    struct tenant *t, const struct identity *who, struct str id_token, struct auth_flow_answer *ret)
{
    struct buf location = BUF_INIT;
    int64_t now_s = clock_wall_ns() / NS_PER_S;
    buf_putc(&location, '/');
    http_url_escape(&location, str_from(t->name), "");
    if (id_token.n > COOKIE_BYTES_MAX)
        flow_fail(ret, 500, "the ID token does not fit into a cookie");
    else
        send_session(t, id_token, who->expires_s, now_s, buf_str(&location), ret);
    buf_deinit(&location);
}
