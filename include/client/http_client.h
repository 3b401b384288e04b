/* SPDX-License-Identifier: Apache-2.0
 * HTTP client: requests to other services (Kubernetes, OIDC issuers, policy engines, object stores,
 * remote write), all on one thread of its own, by libcurl.
 *
 * http_client_send copies what it is given, queues the request and returns; `done` is called
 * exactly once, on the client's thread, with the answer or with why there is none. Callbacks must
 * not block: everything that is under way waits for them. There are no retries here: only a caller
 * knows what may be repeated.
 *
 * Bounds: requests under way and waiting, time, size of the answer's head and body; body bytes are
 * charged to a budget when there is one. Connections are kept and reused. Redirects are not
 * followed unless asked for, and then never from https to http. HTTP_PROXY, HTTPS_PROXY and
 * NO_PROXY (either case) are honoured; loopback addresses never go through a proxy.
 *
 * Secrets: header values, bodies and passwords are wiped when a request is freed, and never appear
 * in logs or error texts; an error text may hold the host, not the path or query.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

struct http_client;
struct http_profile;
struct http_call;

struct http_client_options {       /* zero: the default in brackets */
    const char *name;              /* thread name and metric label, static ["http"] */
    unsigned concurrent_max;       /* requests under way [64]; more wait */
    unsigned waiting_max;          /* requests waiting [4096]; more are refused with EC_LIMIT */
    unsigned idle_connections_max; /* kept open [32] */
    struct budget *budget;         /* answers in memory are charged here; may be NULL */
};

enum ec http_client_new(
    const struct http_client_options *opt, struct http_client **ret, struct err *err) MUST_USE;
/* Ends what is under way with EC_CANCELED (done is still called), runs nothing that was only
 * scheduled by timers, joins the thread. NULL allowed. Not from the client's thread. */
void http_client_free(struct http_client *c);

/* ---- how to reach a kind of service: made once, shared by many requests ---- */

enum http_proxy_mode { HTTP_PROXY_ENVIRONMENT, HTTP_PROXY_NONE, HTTP_PROXY_URL };

struct http_profile_options {
    /* Trust: the certificates of ca_file, or of ca_pem (not both). With neither, or with
     * system_cas, the system's. Files are read anew for each connection, so a replaced one needs no
     * restart. */
    const char *ca_file;
    struct str ca_pem;
    bool system_cas;
    bool insecure_skip_verify;        /* neither chain nor name are checked */
    const char *cert_file, *key_file; /* client certificate, PEM */
    const char *server_name; /* that the server's certificate must have and that TLS asks for; NULL
                                or "": the URL's */
    enum http_proxy_mode proxy;
    const char *proxy_url, *no_proxy; /* HTTP_PROXY_URL: http, https or socks5; may hold a password.
                                         Without no_proxy it is used for all hosts */
    bool http2;                       /* offer h2 by ALPN; default is HTTP/1.1 only */
    bool http2_plain;           /* with http2: h2 also without TLS, unasked, as gRPC speaks it */
    int64_t connect_timeout_ns; /* 0: 10 s; name look-up and handshakes included */
    int64_t timeout_ns;         /* whole request, waiting included; 0: 30 s */
    uint64_t body_bytes_max;    /* largest answer body, inflated; 0: 1 MiB */
};

/* Strings are copied. */
enum ec http_profile_new(
    const struct http_profile_options *opt, struct http_profile **ret, struct err *err) MUST_USE;
/* A profile must outlive the requests that use it. NULL allowed. */
void http_profile_free(struct http_profile *p);

/* ---- requests ---- */

struct http_header {
    struct str name, value;
};

struct http_client_request { /* all views are copied by http_client_send */
    const struct http_profile *profile;
    struct str method; /* empty: GET, or POST when there is a body */
    struct str url;    /* absolute, http or https, already escaped, without user and password */
    const struct http_header *headers;
    size_t n_headers;
    struct bytes body;         /* sent with Content-Length */
    struct str bearer;         /* set: "Authorization: Bearer ..." */
    struct str user, password; /* set: basic authentication */
    const char *aws_sigv4;   /* "aws:amz:<region>:<service>": signed, user and password are keys */
    bool follow_redirects;   /* at most 5, GET and HEAD only */
    bool accept_compressed;  /* offer gzip and zstd; the body comes inflated */
    int64_t timeout_ns;      /* 0: the profile's */
    uint64_t body_bytes_max; /* 0: the profile's */
};

struct http_client_response { /* views live until done returns */
    /* EC_OK: there is an answer, whatever its status. Otherwise EC_DEADLINE, EC_CANCELED,
     * EC_TOO_LARGE, EC_LIMIT (budget) or EC_UNAVAILABLE (name, connection, TLS, broken answer). */
    enum ec ec;
    const char *error;                 /* one line for people when ec is not EC_OK, else "" */
    unsigned status;                   /* of the last answer; 0 when there is none */
    const struct http_header *headers; /* of the last answer, in order of arrival; trailers too */
    size_t n_headers;
    struct buf *body; /* may be moved out with buf_move; empty on failure */
    int64_t elapsed_ns;
};

typedef void (*http_client_done_fn)(void *arg, const struct http_client_response *rs);

/* Any thread. On success done(arg, ...) is called once, later, on the client's thread; otherwise
 * never: EC_LIMIT (too many waiting, or shutting down) or EC_INVALID (URL, method, header).
 * *ret_call (may be NULL) stays valid until done has returned. */
enum ec http_client_send(struct http_client *c, const struct http_client_request *rq,
    http_client_done_fn done, void *arg, struct http_call **ret_call, struct err *err) MUST_USE;
/* Client's thread only, before done was called: done runs with EC_CANCELED before this returns. */
void http_client_cancel(struct http_client *c, struct http_call *call);
/* First header with that name (case-insensitive); false when absent. */
bool http_response_header(const struct http_client_response *rs, const char *name, struct str *ret);

/* ---- the client's thread as an event loop ---- */

/* Any thread: fn(arg) runs once on the client's thread. False when the client is being freed; fn is
 * then not called. Jobs that were accepted run even if the client is freed meanwhile. */
bool http_client_run(struct http_client *c, void (*fn)(void *arg), void *arg) MUST_USE;
bool http_client_on_thread(const struct http_client *c);

/* Timers: client's thread only. Embedded in the owner, zero before first use, stopped before the
 * owner is freed. fn runs once; starting again moves it. */
struct http_timer {
    void (*fn)(void *arg);
    void *arg;
    int64_t at_ns;                   /* clock_mono_ns */
    struct http_timer *next, **link; /* list by time; link NULL: not started */
};
void http_timer_start(struct http_client *c, struct http_timer *t, int64_t delay_ns);
void http_timer_stop(struct http_timer *t);

/* ---- text helpers ---- */

/* Name and value can be sent as a header line. */
bool http_header_ok(const struct http_header *h);

/* Appends with %XX for all but A-Z a-z 0-9 - . _ ~ and the characters of `keep` (may be ""). */
void http_url_escape(struct buf *out, struct str s, const char *keep);
/* "https://host:8443/p?q": views. False unless it is an absolute http or https URL with a host,
 * without user information, blanks or control characters. */
bool http_url_split(struct str url, struct str *ret_scheme, struct str *ret_host_port,
    struct str *ret_path, struct str *ret_query);
/* Zeroes memory in a way that the compiler keeps, then frees it. */
void http_wipe_buf(struct buf *b);
