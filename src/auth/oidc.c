/* SPDX-License-Identifier: Apache-2.0
 * OIDC issuers: discovery that never gives up, keys that are fetched again when a token needs it,
 * and the reading of tokens.
 *
 *     discovery (0.5 s .. 5 s apart, until it succeeds) -> keys (the same) -> ready
 *     ready: keys again after an hour, and when a token's key is unknown or its signature does not
 *     fit, the latter at most every 10 s: tokens cost nothing to invent.
 *
 * What is known is published as an immutable `struct issuer`; checks take a reference and verify on
 * their own thread. */
#include <stdlib.h>

#include "auth_int.h"
#include "base/log.h"
#include "base/metric.h"
#include "json.h"
#include "jwt.h"

#define BACKOFF_MIN_NS   (500 * NS_PER_MS)
#define BACKOFF_MAX_NS   (5 * NS_PER_S)
#define KEYS_AGE_NS      (3600 * NS_PER_S)
#define REFETCH_NS       (10 * NS_PER_S)
#define CALL_NS          (5 * NS_PER_S)
#define DISCOVERY_VALUES 4096

/* ---- what is known ---- */

static void issuer_destroy(struct cache_value *v)
{
    struct issuer *i = CONTAINER_OF(v, struct issuer, base);
    if (i->keys != NULL)
        cache_value_unref(&i->keys->base);
    free(i->authorization_url);
    free(i->token_url);
    free(i->jwks_url);
    free(i);
}

struct issuer *oidc_issuer(struct tenant *t)
{
    pthread_mutex_lock(&t->lock);
    struct issuer *i = t->issuer;
    if (i != NULL)
        cache_value_ref(&i->base);
    pthread_mutex_unlock(&t->lock);
    return i;
}

static void publish(struct tenant *t, struct issuer *take)
{
    pthread_mutex_lock(&t->lock);
    struct issuer *old = t->issuer;
    t->issuer = take;
    pthread_mutex_unlock(&t->lock);
    if (old != NULL)
        cache_value_unref(&old->base);
}

static char *copy(const char *s)
{
    return s == NULL ? NULL : xstrdup(s);
}

/* The same issuer with other keys. */
static void publish_keys(struct tenant *t, struct jwks *take)
{
    const struct issuer *old = t->issuer; /* only this thread replaces it */
    struct issuer *i = xcalloc(1, sizeof(*i));
    cache_value_init(&i->base, sizeof(*i), issuer_destroy);
    i->authorization_url = copy(old->authorization_url);
    i->token_url = copy(old->token_url);
    i->jwks_url = copy(old->jwks_url);
    i->post_credentials = old->post_credentials;
    i->algs = old->algs;
    i->keys = take;
    publish(t, i);
}

/* ---- discovery and keys: client's thread ---- */

static void step(void *arg);

static void step_later(struct tenant *t, int64_t delay_ns)
{
    http_timer_stop(&t->timer);
    t->timer = (struct http_timer){.fn = step, .arg = t};
    http_timer_start(t->a->client, &t->timer, delay_ns);
}

static void step_failed(struct tenant *t, const char *what, const char *why)
{
    bool first = t->issuer == NULL || t->issuer->keys == NULL;
    log_event(first ? LOG_ERROR : LOG_WARN, "OIDC issuer cannot be asked", LZ("tenant", t->name),
        LZ("step", what), LZ("err", why));
    if (first)
        metric_inc(t->failed_registrations);
    t->backoff_ns = t->backoff_ns == 0 ? BACKOFF_MIN_NS : MIN(t->backoff_ns * 2, BACKOFF_MAX_NS);
    if (!t->a->stopping)
        step_later(t, first ? t->backoff_ns : REFETCH_NS);
}

/* Wakes those whose tokens need keys; whether there are new ones they see for themselves. */
static void land_keys(struct tenant *t, enum refusal r)
{
    struct flight *f = t->keys_flight;
    t->keys_flight = NULL;
    if (f != NULL)
        flight_land(f, &(struct flight_result){.refusal = r});
}

static void keys_done(void *arg, const struct http_client_response *rs)
{
    struct tenant *t = arg;
    struct jwks *keys = NULL;
    struct err err = {0};
    t->call = NULL;
    if (rs->ec != EC_OK)
        (void)ERR(&err, rs->ec, "%s", rs->error);
    else if (rs->status != 200)
        (void)ERR(&err, EC_UNAVAILABLE, "the issuer answers %u", rs->status);
    else if (jwks_parse(buf_str(rs->body), &keys, &err) != EC_OK)
        keys = NULL;
    if (keys == NULL) {
        atomic_store(&t->fetch_failed, true);
        atomic_store(&t->fetching, false);
        if (!t->a->stopping)
            step_failed(t, "keys", err_msg(&err));
        land_keys(t, R_AUTHN_DOWN);
        return;
    }
    bool first = t->issuer->keys == NULL;
    log_event(
        first ? LOG_INFO : LOG_DEBUG, "OIDC keys read", LZ("tenant", t->name), LU("keys", keys->n));
    publish_keys(t, keys);
    atomic_store(&t->fetch_failed, false);
    /* Only now: who sees neither a fetch under way nor newer keys takes that as the last word. */
    atomic_store(&t->fetching, false);
    t->backoff_ns = 0;
    step_later(t, KEYS_AGE_NS);
    land_keys(t, R_OK);
}

static unsigned algs_of(const json_t *root)
{
    const json_t *list = json_object_get(root, "id_token_signing_alg_values_supported"), *item;
    unsigned algs = 0;
    size_t i;
    json_array_foreach(list, i, item) if (json_is_string(item)) algs |=
        jwa_bit(str_n(json_string_value(item), json_string_length(item)));
    return algs != 0 ? algs : jwa_bit(STR("RS256"));
}

static bool only_posts(const json_t *root)
{
    const json_t *list = json_object_get(root, "token_endpoint_auth_methods_supported"), *item;
    bool basic = false, post = false;
    size_t i;
    json_array_foreach(list, i, item)
    {
        const char *s = json_is_string(item) ? json_string_value(item) : "";
        basic |= strcmp(s, "client_secret_basic") == 0;
        post |= strcmp(s, "client_secret_post") == 0;
    }
    return post && !basic;
}

static enum ec discovery_read(struct tenant *t, struct str text, struct err *err)
{
    CLEANUP(json_wipep) json_t *root = NULL;
    struct str issuer;
    TRY(json_parse(text, DISCOVERY_VALUES, &root, err));
    if (!json_text(root, "issuer", &issuer) || !str_eqz(issuer, t->issuer_url))
        return ERR(err, EC_INVALID, "the document names another issuer");
    struct issuer *i = xcalloc(1, sizeof(*i));
    cache_value_init(&i->base, sizeof(*i), issuer_destroy);
    i->jwks_url = json_url(root, "jwks_uri");
    i->authorization_url = json_url(root, "authorization_endpoint");
    i->token_url = json_url(root, "token_endpoint");
    i->post_credentials = only_posts(root);
    i->algs = algs_of(root);
    if (i->jwks_url == NULL) {
        cache_value_unref(&i->base);
        return ERR(err, EC_INVALID, "the document names no key set");
    }
    publish(t, i);
    return EC_OK;
}

static void discovery_done(void *arg, const struct http_client_response *rs)
{
    struct tenant *t = arg;
    struct err err = {0};
    enum ec ec;
    t->call = NULL;
    if (rs->ec != EC_OK)
        ec = ERR(&err, rs->ec, "%s", rs->error);
    else if (rs->status != 200)
        ec = ERR(&err, EC_UNAVAILABLE, "the issuer answers %u", rs->status);
    else
        ec = discovery_read(t, buf_str(rs->body), &err);
    if (t->a->stopping)
        return;
    if (ec != EC_OK) {
        step_failed(t, "discovery", err_msg(&err));
        return;
    }
    t->backoff_ns = 0;
    step(t);
}

static void step(void *arg)
{
    struct tenant *t = arg;
    struct buf url = BUF_INIT;
    struct err err = {0};
    bool keys = t->issuer != NULL;
    if (t->call != NULL) /* a fetch is under way: it sets the next date itself */
        return;
    http_timer_stop(&t->timer);
    if (keys) {
        buf_putz(&url, t->issuer->jwks_url);
    } else {
        struct str base = str_from(t->issuer_url);
        while (base.n > 0 && base.p[base.n - 1] == '/')
            base.n--;
        buf_puts(&url, base);
        buf_putz(&url, "/.well-known/openid-configuration");
    }
    const struct http_header accept = {STR("Accept"), STR("application/json")};
    const struct http_client_request rq = {.profile = t->profile,
        .url = buf_str(&url),
        .headers = &accept,
        .n_headers = 1,
        .follow_redirects = true,
        .accept_compressed = true,
        .timeout_ns = CALL_NS};
    atomic_store(&t->fetching, keys);
    if (http_client_send(t->a->client, &rq, keys ? keys_done : discovery_done, t, &t->call, &err) !=
        EC_OK) {
        t->call = NULL;
        atomic_store(&t->fetching, false);
        step_failed(t, keys ? "keys" : "discovery", err_msg(&err));
        land_keys(t, R_AUTHN_DOWN);
    }
    buf_deinit(&url);
}

void oidc_start(struct tenant *t)
{
    step(t);
}

static bool refetch_allowed(struct tenant *t)
{
    int64_t last = atomic_load_explicit(&t->refetched_ns, memory_order_relaxed);
    return last == 0 || clock_mono_ns() - last >= REFETCH_NS;
}

/* A token asks for fresh keys: at most one fetch in REFETCH_NS, the first one free, so that a
 * rotation soon after the start is seen at once. */
void oidc_keys_start(struct flight *f)
{
    struct tenant *t = f->t;
    ASSERT(t->keys_flight == NULL);
    if (t->issuer == NULL || (t->call == NULL && !refetch_allowed(t))) {
        bool down = t->issuer == NULL || t->issuer->keys == NULL || atomic_load(&t->fetch_failed);
        flight_land(f, &(struct flight_result){.refusal = down ? R_AUTHN_DOWN : R_OK});
        return;
    }
    t->keys_flight = f;
    if (t->call == NULL) {
        atomic_store(&t->refetched_ns, clock_mono_ns());
        step(t);
    }
}

/* ---- tokens: any thread ---- */

static enum refusal groups_of(
    const struct tenant *t, const json_t *claims, struct str **ret, size_t *ret_n, struct buf *text)
{
    const json_t *claim = json_object_get(claims, t->group_claim), *item;
    size_t i, n = 0;
    if (claim == NULL)
        return R_NO_GROUP;
    size_t n_max = json_is_array(claim) ? json_array_size(claim) : 1;
    struct str *groups = xcalloc(n_max + 1, sizeof(*groups));
    if (json_is_string(claim)) {
        groups[n++] = str_n(json_string_value(claim), json_string_length(claim));
    } else if (json_is_array(claim)) {
        /* Numbers and truth values become text. Lengths first: the buffer moves while it grows. */
        json_array_foreach(claim, i, item)
        {
            size_t before = text->n;
            if (json_is_string(item))
                buf_put(text, json_string_value(item), json_string_length(item));
            else if (json_is_integer(item))
                buf_printf(text, "%lld", (long long)json_integer_value(item));
            else if (json_is_real(item))
                buf_printf(text, "%.17g", json_real_value(item));
            else if (json_is_boolean(item))
                buf_putz(text, json_is_true(item) ? "true" : "false");
            else
                continue;
            groups[n++].n = text->n - before;
        }
        size_t at = 0;
        for (i = 0; i < n; i++) {
            groups[i].p = (const char *)text->p + at;
            at += groups[i].n;
        }
    }
    *ret = groups;
    *ret_n = n;
    return R_OK;
}

static enum refusal identity_of(struct tenant *t, const json_t *claims, struct identity **ret)
{
    struct str subject = STR(""), *groups = NULL;
    struct buf text = BUF_INIT;
    size_t n_groups = 0;
    int64_t exp = 0;
    if (t->username_claim != NULL) {
        if (json_object_get(claims, t->username_claim) == NULL)
            return R_NO_USERNAME;
        if (!json_text(claims, t->username_claim, &subject) || subject.n == 0)
            return R_BAD_USERNAME;
    } else if (!json_text(claims, "sub", &subject)) {
        subject = STR("");
    }
    if (t->group_claim != NULL) {
        enum refusal r = groups_of(t, claims, &groups, &n_groups, &text);
        if (r != R_OK)
            return r;
    }
    if (!json_seconds(claims, "exp", &exp)) /* jwt_check has seen it */
        exp = 0;
    *ret = identity_new(t, subject, groups, n_groups, NULL, STR(""));
    (*ret)->expires_s = exp;
    buf_deinit(&text);
    free(groups);
    return R_OK;
}

/* Whether waiting for keys can change the verdict. Without this, forged signatures would be
 * verified a second time, all by one thread. Keys that have come since `i` was taken count. */
static bool keys_may_come(struct tenant *t, const struct issuer *i)
{
    if (i->keys == NULL || atomic_load(&t->fetching) || refetch_allowed(t))
        return true;
    pthread_mutex_lock(&t->lock);
    bool newer = t->issuer != i;
    pthread_mutex_unlock(&t->lock);
    return newer;
}

enum refusal oidc_check(struct tenant *t, struct str token, bool fetched,
    struct identity **ret_identity, struct err *err)
{
    struct jwt jwt;
    enum refusal r = R_BAD_ID_TOKEN;
    struct issuer *i = oidc_issuer(t);
    if (i == NULL) {
        (void)ERR(err, EC_UNAVAILABLE, "issuer not discovered yet");
        return R_NOT_READY;
    }
    const struct jwt_expect x = {.issuer = str_from(t->issuer_url),
        .audience = str_from(t->client_id),
        .algs = i->algs,
        .now_s = clock_wall_ns() / NS_PER_S};
    if (jwt_parse(token, &jwt, err) == EC_OK) {
        if (jwt_check(&jwt, &x, err) == EC_OK) {
            enum jwt_verdict v = i->keys == NULL ? JWT_NO_KEY : jwt_verify(&jwt, i->keys);
            if (v == JWT_GOOD)
                r = identity_of(t, jwt.claims, ret_identity);
            else if (v != JWT_BAD && !fetched && keys_may_come(t, i))
                r = R_WAIT;
            else if (i->keys == NULL || (v != JWT_BAD && atomic_load(&t->fetch_failed)))
                r = R_AUTHN_DOWN;
            else
                (void)ERR(err, EC_UNAUTHENTICATED,
                    v == JWT_NO_KEY ? "no key of that name" : "signature does not fit");
        }
        jwt_deinit(&jwt);
    }
    cache_value_unref(&i->base);
    return r;
}

bool oidc_nonce_is(struct str token, struct str nonce)
{
    struct jwt jwt;
    struct str found;
    if (jwt_parse(token, &jwt, NULL) != EC_OK)
        return false;
    bool same = json_text(jwt.claims, "nonce", &found) && secret_eq(found, nonce);
    jwt_deinit(&jwt);
    return same;
}
