/* SPDX-License-Identifier: Apache-2.0
 * Inside the HTTP client: calls, profiles, and who owns what.
 *
 * A call is made by the sender's thread, handed over under the client's lock, and from then on
 * belongs to the client's thread: waiting (a list), active (an easy handle in the multi), gone. */
#pragma once

#include <curl/curl.h>
#include <pthread.h>

#include "client/http_client.h"

#define HTTP_HEAD_BYTES_MAX   (64u << 10)
#define HTTP_HEAD_LINES_MAX   128
#define HTTP_REDIRECTS_MAX    5
#define HTTP_URL_BYTES_MAX    (16u << 10)
#define HTTP_CONNECT_NS       (10 * NS_PER_S)
#define HTTP_TIMEOUT_NS       (30 * NS_PER_S)
#define HTTP_BODY_BYTES_MAX   (1u << 20)
#define HTTP_CONCURRENT_MAX   64
#define HTTP_WAITING_MAX      4096
#define HTTP_IDLE_CONNECTIONS 32

struct http_profile {
    char *ca_path; /* file for the library, may be a link to a memory file; NULL: the system's */
    int ca_fd;     /* memory file of an inline PEM, or -1 */
    char *cert_file, *key_file, *server_name;  /* NULL: none */
    char *proxy_http, *proxy_https, *no_proxy; /* NULL: no proxy */
    bool system_cas, insecure, http2, http2_plain;
    int64_t connect_timeout_ns, timeout_ns;
    uint64_t body_bytes_max;
};

enum http_call_state { HTTP_CALL_INCOMING, HTTP_CALL_WAITING, HTTP_CALL_ACTIVE };

struct http_call {
    struct http_call *next, **link; /* list of its state */
    enum http_call_state state;
    struct http_client *client;
    const struct http_profile *profile;
    http_client_done_fn done;
    void *arg;
    CURL *easy;
    struct curl_slist *lines; /* request head: secret */
    struct curl_slist *connect_to;
    struct buf sent; /* request body: secret */
    char *url;       /* secret: its query may be */
    int64_t start_ns, deadline_ns;
    uint64_t body_max;
    enum ec failed; /* why our callbacks stopped the transfer; EC_OK: they did not */
    struct buf head, body;
    struct http_header headers[HTTP_HEAD_LINES_MAX];
    size_t line_at[HTTP_HEAD_LINES_MAX], line_n[HTTP_HEAD_LINES_MAX];
    size_t n_lines;
    char error[CURL_ERROR_SIZE];
};

struct http_client {
    struct http_client_options opt;
    CURLM *multi;
    pthread_t thread;
    struct metric *by_class[6], *timed_out, *no_answer;

    pthread_mutex_t lock; /* guards what follows, to the next blank line */
    bool stopping;
    unsigned n_waiting; /* incoming and waiting */
    struct http_call *incoming, **incoming_end;
    struct http_job *jobs, **jobs_end;

    struct http_call *waiting, **waiting_end; /* client's thread only, as the rest */
    struct http_call *active;
    unsigned n_active;
    struct http_timer *timers;
};

/* ---- call.c ---- */
enum ec http_call_new(struct http_client *c, const struct http_client_request *rq,
    struct http_call **ret, struct err *err) MUST_USE;
void http_call_free(struct http_call *call);
/* Sets the handle up for a transfer that may take `left_ns`. False: the library is out of
 * memory. */
bool http_call_prepare(struct http_call *call, int64_t left_ns) MUST_USE;
/* Turns the library's verdict into an answer; views in *ret live in the call. */
void http_call_answer(struct http_call *call, CURLcode code, struct http_client_response *ret);

/* ---- profile.c ---- */
bool http_profile_apply(const struct http_profile *p, CURL *easy, const char *url) MUST_USE;
