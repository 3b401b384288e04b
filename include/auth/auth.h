/* SPDX-License-Identifier: Apache-2.0
 * Who is asking, and may they: authentication and authorisation of the gateway's tenants
 * (spec: Kubernetes TokenReview and access reviews, OIDC, client certificates, roles, OPA).
 *
 * Knows tenants by name, permissions and credentials; no routes, spans or storage. One `struct
 * auth` serves all listeners, from any thread.
 *
 * auth_check answers from caches at once, without allocation, system calls or waiting, or it copies
 * the request, asks other services on the HTTP client's thread, and answers later. It never blocks;
 * what it computes itself before it answers is bounded (one signature or one certificate chain).
 *
 * Secrets (tokens, cookies, keys) live in memory only as long as needed, are wiped, are keys of no
 * table (a keyed hash is), and appear in no log, error text or metric.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "client/http_client.h"

struct auth;

/* ---- configuration: copied by auth_new; absent texts are NULL or "" ---- */

enum auth_method { AUTH_OIDC, AUTH_OPENSHIFT, AUTH_MTLS };
enum auth_rule {
    AUTH_BY_ROLES,  /* roles and bindings below */
    AUTH_BY_REVIEW, /* Kubernetes access reviews */
    AUTH_BY_OPA,    /* POST to opa_url */
};

struct auth_tenant {
    const char *name;   /* in URLs, headers and roles */
    const char *id;     /* in storage */
    const char *broken; /* not NULL: never served, answers 401; the text is logged once */
    enum auth_method method;
    enum auth_rule rule;
    struct {
        const char *client_id, *client_secret, *issuer_url, *redirect_url;
        struct str issuer_ca_pem;   /* or */
        const char *issuer_ca_path; /* either replaces the system's CAs */
        const char *username_claim, *group_claim;
    } oidc;
    struct {
        const char *service_account; /* name, in our namespace */
        const char *redirect_url;    /* .../openshift/<tenant>/callback */
        const char *cookie_secret;   /* 16, 24 or 32 bytes; empty: no browser login */
    } openshift;
    struct {
        struct str ca_pem;
        const char *ca_path;
    } mtls;
    const char *opa_url;
    bool opa_with_access_token; /* forward the caller's token in X-Forwarded-Access-Token */
};

struct auth_role {
    const char *name;
    bool traces, read, write;   /* traces: the role's resources include traces */
    const char *const *tenants; /* names */
    size_t n_tenants;
};
struct auth_subject {
    bool is_group; /* else a user */
    const char *name;
};
struct auth_binding {
    const char *name;
    const char *const *roles; /* names; unknown ones are logged and skipped */
    size_t n_roles;
    const struct auth_subject *subjects;
    size_t n_subjects;
};

struct auth_kubernetes {        /* zero: in-cluster defaults */
    const char *api_url;        /* https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT */
    const char *ca_file;        /* /var/run/secrets/kubernetes.io/serviceaccount/ca.crt */
    const char *token_file;     /* .../token; read anew when it changes (it rotates) */
    const char *namespace_file; /* .../namespace: part of the OAuth client's name */
    bool subject_review;        /* SubjectAccessReview with our token instead of the caller's own */
    const char *api_group;      /* tempo.grafana.com */
};

struct auth_options {
    const struct auth_tenant *tenants;
    size_t n_tenants;
    const struct auth_role *roles; /* a later role of the same name replaces the earlier */
    size_t n_roles;
    const struct auth_binding *bindings;
    size_t n_bindings;
    struct auth_kubernetes kubernetes;
    int64_t token_ttl_ns;       /* accepted credentials; 0: 2 min */
    int64_t review_ttl_ns;      /* access decisions; 0: 60 s */
    unsigned cache_max;         /* entries of each cache; 0: 4096 */
    unsigned waiting_max;       /* checks waiting for other services; 0: 10000; more: 503 */
    struct http_client *client; /* borrowed; freed after auth_free */
};

/* EC_INVALID: a tenant without a name, a name twice, no usable API server URL. What is wrong within
 * one tenant (its CA does not load, a secret of wrong length) makes that tenant broken instead.
 * Issuers are contacted in the background, again and again until they answer; until then their
 * tenants answer 503 and the others work. */
enum ec auth_new(const struct auth_options *opt, struct auth **ret, struct err *err) MUST_USE;
/* What waits is answered with 503. No other call may be running or follow. Not from the client's
 * thread. NULL allowed. */
void auth_free(struct auth *a);

/* Every issuer has answered once: no tenant gives 503 for want of its keys. */
bool auth_ready(struct auth *a);

/* The id of a tenant; false when unknown. Broken ones are known. *ret_id lives as long as `a`. */
bool auth_tenant_id(const struct auth *a, struct str name, struct str *ret_id);

/* ---- one request ---- */

enum auth_permission { AUTH_NONE /* authentication only */, AUTH_READ, AUTH_WRITE };

struct auth_request { /* views are copied when the answer comes later */
    struct str tenant;
    enum auth_permission permission;
    bool is_grpc;                    /* words of the gRPC front, and its statuses */
    bool is_browser;                 /* GET whose Accept holds text/html: may be sent to a login */
    bool want_namespaces;            /* a read is allowed only together with a list of namespaces */
    struct str path;                 /* raw path of the request: where a login comes back to */
    const struct str *authorization; /* every Authorization line or metadata value */
    size_t n_authorization;
    struct str forwarded_token; /* X-Forwarded-Access-Token; used when there is no Authorization */
    struct str cookie;          /* Cookie header; several joined by "; " */
    /* DER, leaf first, as the peer sent them; unverified is fine */
    const struct bytes *client_certs;
    size_t n_client_certs;
};

enum auth_outcome {
    AUTH_OK,
    AUTH_LOGIN,           /* 302 to `location` */
    AUTH_UNAUTHENTICATED, /* 401 / 16 */
    AUTH_FORBIDDEN,       /* 403 / 7 */
    AUTH_BAD_REQUEST,     /* 400 / 3, 7 */
    AUTH_UNAVAILABLE,     /* 503 / 14: try again */
    AUTH_ERROR,           /* 5xx / 2, 12, 13 */
};

/* All views live until auth_answer_release. `message` is what goes into the JSON body of 5.1
 * (HTTP) or grpc-message. Fields below the line are set for AUTH_OK only. */
struct auth_answer {
    enum auth_outcome outcome;
    unsigned http_status; /* 200 for AUTH_OK */
    unsigned grpc_status; /* 0 for AUTH_OK */
    struct str message;
    struct str location;    /* AUTH_LOGIN */
    unsigned retry_after_s; /* not 0: send Retry-After */
    bool www_authenticate;  /* send WWW-Authenticate: Bearer */

    struct str tenant_id;
    struct str subject;
    const struct str *groups;
    size_t n_groups;
    bool has_namespaces;          /* want_namespaces and a read: show details of these only */
    const struct str *namespaces; /* sorted bytewise; never empty when has_namespaces */
    size_t n_namespaces;

    void *hold[3]; /* private: what the views live in */
};

/* The answer is lent: to keep it past the return, take it with auth_answer_move. */
typedef void (*auth_done_fn)(void *arg, struct auth_answer *answer);

/* Any thread. True: *ret is the answer, done is not called. False: done(arg, answer) is called
 * exactly once, on the client's thread (it must not block), maybe before this returns. */
bool auth_check(struct auth *a, const struct auth_request *rq, struct auth_answer *ret,
    auth_done_fn done, void *arg) MUST_USE;
/* Any thread; safe on a zeroed answer, and twice. Answers given by auth_check's *ret must be
 * released; those given to done are released after it, unless moved out. */
void auth_answer_release(struct auth_answer *answer);
/* Moves: *ret owns, *answer is empty. */
void auth_answer_move(struct auth_answer *answer, struct auth_answer *ret);
/* bsearch in the namespaces of an answer. */
bool auth_answer_sees(const struct auth_answer *answer, struct str ns);

/* ---- browser logins: /openshift/T/login, /oidc/T/login and .../callback ---- */

struct auth_flow_request { /* query parameters decoded; empty: absent. Views are copied. */
    struct str tenant;
    enum auth_method method; /* AUTH_OPENSHIFT or AUTH_OIDC, by the path */
    struct str route;        /* login (openshift) and callback: path to return to */
    struct str code, state, error, error_description; /* callback */
    struct str cookie;                                /* Cookie header; several joined by "; " */
};

#define AUTH_SET_COOKIES_MAX 2
struct auth_flow_answer { /* views live until auth_flow_release */
    unsigned http_status; /* 302 or 303 with location; otherwise 4xx, 5xx with message */
    struct str message;   /* for the JSON body of 5.1 */
    struct str location;
    struct str set_cookies[AUTH_SET_COOKIES_MAX]; /* values of Set-Cookie headers */
    size_t n_set_cookies;
    unsigned retry_after_s;

    struct buf text; /* private: what the views live in */
};
typedef void (*auth_flow_fn)(void *arg, struct auth_flow_answer *answer);

/* Answers at once: 303 to the provider, or an error. */
void auth_login(struct auth *a, const struct auth_flow_request *rq, struct auth_flow_answer *ret);
/* As auth_check: true and *ret, or false and done(arg, answer) later on the client's thread; that
 * answer is released after done returns. */
bool auth_callback(struct auth *a, const struct auth_flow_request *rq, struct auth_flow_answer *ret,
    auth_flow_fn done, void *arg) MUST_USE;
void auth_flow_release(struct auth_flow_answer *answer);
