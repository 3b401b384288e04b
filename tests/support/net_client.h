/* SPDX-License-Identifier: Apache-2.0
 * Network clients for tests: a raw byte connection (plain or TLS), an HTTP/1.1 answer reader, and
 * an HTTP/2 client session that is driven step by step. Blocking with a timeout of ten seconds;
 * failures are cmocka failures, except where a function returns bool. */
#pragma once

#include <gnutls/gnutls.h>
#include <nghttp2/nghttp2.h>

#include "base/buf.h"

struct net_tls {
    const char *alpn;               /* NULL: none is offered */
    const char *cert_pem, *key_pem; /* client identity, or NULL */
    const char *priority;           /* NULL: normal */
};

struct net {
    int fd;
    gnutls_session_t tls;
    gnutls_certificate_credentials_t cred;
    struct buf in; /* received, not yet taken */
};
struct net net_connect(unsigned port, int receive_buffer /* 0: default */);
/* Handshake; false when the server refuses (possibly only at the first read, with TLS 1.3). */
bool net_tls_start(struct net *c, const struct net_tls *opt);
void net_close(struct net *c);
bool net_send(struct net *c, const void *p, size_t n); /* false: the server has closed */
bool net_sendz(struct net *c, const char *z);
ssize_t net_recv(struct net *c, void *p, size_t n);  /* 0: closed, -1: reset */
bool net_wait_closed(struct net *c, int timeout_ms); /* reads and drops until closed */

struct http_answer {
    unsigned status;
    struct buf head; /* with the status line, CRLFs */
    struct buf body;
};
/* Reads one answer; no_body for HEAD. False: closed before a whole answer. */
bool net_answer(struct net *c, struct http_answer *a, bool no_body);
bool answer_header(const struct http_answer *a, const char *name, struct str *ret);
void answer_free(struct http_answer *a);
/* Connects, sends, reads one answer, closes. */
void net_once(unsigned port, const char *request, struct http_answer *a);

struct h2_header {
    char *name, *value;
};
struct h2_stream {
    int32_t id;
    unsigned status;
    VEC(struct h2_header) headers, trailers;
    struct buf body;
    bool closed;
    uint32_t error_code;
    struct bytes upload;
    size_t uploaded;
    size_t chunk;  /* upload bytes per DATA frame, 0: any */
    bool hold_end; /* keep the upload open */
};
struct h2_client {
    struct net net;
    nghttp2_session *session;
    bool dead; /* socket closed or protocol error */
    bool goaway;
    uint32_t goaway_code;
    int32_t goaway_last;
};
/* Over a connection that has been made (and TLS started). window: initial stream window, 0:
 * default. */
struct h2_client *h2_open(struct net net, uint32_t window, bool auto_window);
void h2_free(struct h2_client *c);
/* pairs: name, value, ..., NULL. The upload must live until the stream is done. */
struct h2_stream *h2_request(
    struct h2_client *c, const char *const *pairs, struct bytes upload, bool has_body);
/* The stream 1 of a connection that was upgraded with these SETTINGS. */
struct h2_stream *h2_upgraded(struct h2_client *c, const char *settings, size_t n);
struct h2_stream *h2_grpc(
    struct h2_client *c, const char *path, const char *encoding, struct bytes framed);
bool h2_step(
    struct h2_client *c, int timeout_ms); /* one send and one receive; false: nothing came */
bool h2_finish(struct h2_client *c, struct h2_stream *s);           /* until the stream is closed */
const char *h2_header(const struct h2_stream *s, const char *name); /* NULL: absent */
const char *h2_trailer(
    const struct h2_stream *s, const char *name); /* trailers-only: from the headers */
void h2_stream_free(struct h2_stream *s);
