/* SPDX-License-Identifier: Apache-2.0
 * Inside the layer: tenants, identities, decisions, and the two threads of every check.
 *
 * decide() (check.c) looks at a request and what is known, and says either the answer or what must
 * be found out first. On the caller's thread it runs once, over the caches. If something is missing
 * the request becomes a `struct call` on the HTTP client's thread, which finds it out ("flight",
 * shared by all calls that need the same), hands the result to the call, and lets decide() run
 * again. Everything under `client's thread` below has no lock for that reason. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "answers.h"
#include "auth/auth.h"
#include "base/clock.h"
#include "cache.h"
#include "jwk.h"
#include "text.h"

#define AUTH_SECRET_BYTES 32

/* ---- who: what a credential proved; immutable, counted ---- */
struct identity {
    struct cache_value base;
    enum refusal refusal; /* not R_OK: the credential was looked at and refused, nothing below */
    int64_t expires_s;    /* wall clock second at which the credential ends; 0: unknown */
    unsigned may;         /* bits 1 << AUTH_READ, 1 << AUTH_WRITE: by roles */
    struct digest print;  /* of subject and sorted groups */
    struct str subject;
    struct str token; /* access token that came out of a cookie: secret */
    struct str *groups;
    size_t n_groups;
    char text[];
};

/* ---- may they: immutable, counted ---- */
struct decision {
    struct cache_value base;
    enum refusal refusal; /* R_OK: allowed */
    unsigned http_status; /* R_OPA_STATUS: what to relay */
    bool has_namespaces;
    struct str *namespaces; /* sorted */
    size_t n_namespaces;
    char text[];
};

/* ---- what is known about an issuer: immutable, counted, replaced as a whole ---- */
struct issuer {
    struct cache_value base;
    char *authorization_url, *token_url, *jwks_url;
    bool post_credentials; /* the token endpoint takes them in the form only */
    unsigned algs;
    struct jwks *keys; /* NULL: not fetched yet */
};

/* ---- OpenShift's OAuth server ---- */
struct oauth {
    struct cache_value base;
    bool available; /* false: discovery said that there is none */
    char *authorization_url, *token_url;
};

struct tenant {
    struct auth *a;
    uint32_t index;
    char *name, *id;
    char *broken; /* NULL: it works */
    enum auth_method method;
    enum auth_rule rule;
    struct str cookie_name, state_cookie_name;
    char *login_path, *callback_path; /* "/openshift/dev/login" */
    uint8_t session_key[AUTH_SECRET_BYTES], state_key[AUTH_SECRET_BYTES]; /* secret */
    struct metric *failed_registrations;

    struct http_profile *profile; /* of the issuer, or of the OAuth server */
    char *client_id, *client_secret, *issuer_url, *redirect_url, *username_claim, *group_claim;
    char *service_account;
    bool has_login;
    void *trust; /* mTLS: gnutls_x509_trust_list_t */
    char *opa_url;
    bool opa_with_token;

    pthread_mutex_t lock; /* guards the two pointers; held for a reference only */
    struct issuer *issuer;
    struct oauth *oauth;

    /* client's thread */
    struct http_timer timer; /* discovery again, or keys again */
    struct http_call *call;
    int64_t backoff_ns;
    struct flight *keys_flight;
    /* Written there, read by all: whether waiting for keys can help (a stale value costs one hop to
     * that thread, which looks again). */
    _Atomic int64_t refetched_ns;
    atomic_bool fetching, fetch_failed;
};

struct auth {
    struct http_client *client;
    struct tenant **tenants;
    size_t n_tenants;
    uint32_t *slots; /* hash of the name -> index; n_slots is a power of two */
    uint32_t n_slots;
    struct roles *roles;
    int64_t token_ttl_ns, review_ttl_ns;
    unsigned waiting_max;
    atomic_uint n_waiting;
    struct cache *identities, *refused, *decisions;
    struct kube *kube;
    struct http_profile *opa_profile;
    struct auth_metrics *metrics;

    /* client's thread */
    struct flight *flights[256];
    struct exchange_flow *exchanges;
    bool stopping;
};

/* ---- flights: one question to another service, shared by all who ask it (client's thread) ---- */
enum flight_kind { FLIGHT_TOKEN, FLIGHT_DECISION, FLIGHT_KEYS };

struct flight_result {    /* lent for the call; take a reference to keep */
    enum refusal refusal; /* when neither an identity nor a decision came out */
    struct identity *identity;
    struct decision *decision;
};
struct waiter {
    struct waiter *next;
    void (*fn)(struct waiter *w, const struct flight_result *r);
};
struct flight {
    struct flight *next;
    struct auth *a;
    enum flight_kind kind;
    struct cache_key key;
    struct waiter *waiters;
    struct tenant *t;
    struct buf token; /* the caller's: secret */
    struct identity *identity;
    enum auth_permission permission;
    bool want_namespaces;
    unsigned attempt;
    int64_t start_ns, delay_ns;
    struct http_call *call;
    struct http_timer timer;
};
/* The flight with that key, or a new one that *ret_new says to start; w waits for it. */
struct flight *flight_join(struct auth *a, struct tenant *t, enum flight_kind kind,
    const struct cache_key *key, struct waiter *w, bool *ret_new);
/* Wakes all who wait, with the result, and frees it. */
void flight_land(struct flight *f, const struct flight_result *r);
void flights_end(struct auth *a); /* all land with R_AUTHN_DOWN */

/* ---- identity.c ---- */
/* groups are copied; `extra_group` is added unless present (NULL: none). token may be empty. */
struct identity *identity_new(const struct tenant *t, struct str subject, const struct str *groups,
    size_t n_groups, const char *extra_group, struct str token);
struct identity *identity_refused(enum refusal refusal);
static inline void identity_unref(struct identity *i)
{
    cache_value_unref(i == NULL ? NULL : &i->base);
}
static inline struct identity *identity_ref(struct identity *i)
{
    cache_value_ref(&i->base);
    return i;
}
/* namespaces are copied and sorted, doubles dropped. */
struct decision *decision_new(
    enum refusal refusal, bool has_namespaces, const struct str *namespaces, size_t n);
static inline void decision_unref(struct decision *d)
{
    cache_value_unref(d == NULL ? NULL : &d->base);
}
static inline struct decision *decision_ref(struct decision *d)
{
    cache_value_ref(&d->base);
    return d;
}

/* ---- keys of the tables ---- */
void token_key(const struct tenant *t, const char *kind, struct str token, struct cache_key *ret);
void decision_key(const struct tenant *t, enum auth_permission permission, bool want_namespaces,
    const struct cache_key *credential, const struct identity *who, struct cache_key *ret);

/* ---- roles.c ---- */
struct roles;
struct roles *roles_new(const struct auth_options *opt);
void roles_free(struct roles *r);
unsigned roles_of(const struct roles *r, struct str tenant, struct str subject,
    const struct str *groups, size_t n_groups);

/* ---- kube.c, review.c, opa.c: start what a flight asks for (client's thread) ---- */
struct kube;
enum ec kube_new(const struct auth_kubernetes *opt, struct kube **ret, struct err *err) MUST_USE;
void kube_free(struct kube *k);
const char *kube_api_url(const struct kube *k);
const char *kube_ca_file(const struct kube *k);
/* Our own token, read now. The buffer is secret: http_wipe_buf. */
enum ec kube_token(const struct kube *k, struct buf *ret, struct err *err) MUST_USE;
enum ec kube_namespace(const struct kube *k, struct buf *ret, struct err *err) MUST_USE;
const struct http_profile *kube_profile(const struct kube *k);
bool kube_subject_review(const struct kube *k);
const char *kube_api_group(const struct kube *k);
void token_review_start(struct flight *f);
void access_review_start(struct flight *f);
void opa_start(struct flight *f);
/* The answers of these services as text; see where they are defined. */
struct identity *token_review_parse(
    const struct tenant *t, struct str body, bool *ret_explained, struct err *err);
struct decision *projects_parse(struct str body);
struct decision *opa_parse(struct str body, bool want_namespaces);
/* Sends on behalf of f; `done` gets the flight. On refusal to send the flight lands with `down`. */
void flight_send(struct flight *f, const struct http_client_request *rq, http_client_done_fn done,
    enum refusal down);

/* ---- oidc.c ---- */
void oidc_start(struct tenant *t);            /* client's thread: discovery, again and again */
struct issuer *oidc_issuer(struct tenant *t); /* a reference; NULL: not discovered yet */
/* Any thread. R_OK and *ret_identity; or a refusal; R_WAIT: keys must be fetched first, and asking
 * again after a flight of FLIGHT_KEYS helps. `fetched`: that has happened for this token. */
enum refusal oidc_check(struct tenant *t, struct str token, bool fetched,
    struct identity **ret_identity, struct err *err);
void oidc_keys_start(struct flight *f);
/* The nonce of a token that was accepted. */
bool oidc_nonce_is(struct str token, struct str nonce);

/* ---- oauth.c ---- */
void oauth_start(struct tenant *t);
struct oauth *oauth_of(struct tenant *t); /* a reference; NULL: not known yet */

/* ---- mtls.c ---- */
enum ec mtls_trust_new(struct str ca_pem, const char *ca_path, void **ret, struct err *err)
    MUST_USE;
void mtls_trust_free(void *trust);
enum refusal mtls_check(struct tenant *t, const struct bytes *certs, size_t n,
    struct identity **ret_identity, struct err *err);

/* ---- seal.c: cookies that only we can read and write ---- */
struct session {
    int64_t expires_s;
    struct str subject, token;
    struct str *groups;
    size_t n_groups;
};
void secrets_derive(struct tenant *t, struct str cookie_secret);
void seal(const uint8_t *key, struct bytes plain, struct buf *out);
bool unseal(const uint8_t *key, struct str text, struct buf *ret_plain) MUST_USE;
void session_put(const struct session *s, struct buf *out);
/* The identity of a session cookie; NULL: not ours, broken or expired. */
struct identity *session_open(const struct tenant *t, struct str cookie, int64_t now_s);

/* ---- metrics.c ---- */
enum auth_cache_metric { CACHE_TOKEN, CACHE_REVIEW, CACHE_METRICS };
struct auth_metrics {
    struct metric *hit[CACHE_METRICS], *miss[CACHE_METRICS];
    struct metric *upstream_ok[3], *upstream_refused[3], *upstream_failed[3]; /* by flight_kind */
    struct metric *busy;
};
struct auth_metrics *auth_metrics_new(struct auth *a);
void auth_metrics_free(struct auth *a);
struct metric *metric_failed_registration(struct str tenant, const char *provider);
void metric_skipped_tenant(struct str tenant);

struct tenant *auth_tenant_find(const struct auth *a, struct str name);
/* Logs a fault of a service at most once in 10 s per place. */
void log_fault(int64_t *last_ns, const char *msg, const struct tenant *t, const char *detail);
