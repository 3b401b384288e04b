/* SPDX-License-Identifier: Apache-2.0
 * Transport: HTTP/1.1 (libmicrohttpd) and HTTP/2 with gRPC (nghttp2) behind one exchange type.
 * Knows no spans.
 *
 * A listener accepts both protocols on one port: HTTP/2 by its preface (prior knowledge, h2c
 * Upgrade) or, under TLS, by ALPN. When a request is complete (headers, whole body inflated, under
 * its caps) the handler is called on a transport thread with an exchange. The handler answers with
 * exactly one exchange_respond (or the gRPC calls), at once or later and from any thread; until
 * then the connection is suspended and no thread is held. Heavy handlers hand the exchange to a
 * pool.
 *
 * Protection that lives here: header block 16 KiB, URL 8 KiB (or url_bytes_max), body caps (wire
 * and inflated, inflation ratio <= 100 beyond 1 MiB), body bytes charged to a budget before they
 * are read, connection caps (all and per address), streams per connection, header/body/idle
 * timeouts, rapid reset and CONTINUATION floods.
 */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

struct server;
struct listener;
struct exchange;

enum body_encoding { /* bits */
    ENC_GZIP = 1,
    ENC_ZSTD = 2,
    ENC_DEFLATE = 4 /* zlib */,
    ENC_SNAPPY = 8,
    ENC_SNAPPY_FRAMED = 16,
    ENC_LZ4 = 32,
};

struct tls_options {                  /* all empty: plain text */
    const char *cert_file, *key_file; /* PEM paths */
    const char *cert_pem, *key_pem;   /* or inline */
    const char *client_ca_file;       /* set: client certificates verified */
    bool client_cert_required;
    /* Asks for a client certificate that nobody verifies in the handshake: the application judges
     * http_request.client_certs. Without effect when client_ca_file is set. */
    bool client_cert_asked;
    const char *min_version, *max_version; /* "1.0".."1.3"; NULL: min 1.2 */
    const char *cipher_suites;             /* Go or IANA names, comma separated; NULL: default */
    int64_t reload_interval_ns;            /* 0: by mtime every 10 s */
};

typedef void (*exchange_fn)(void *ctx, struct exchange *ex);

struct listener_options {
    const char *name;    /* for logs and metrics: "otlp-grpc" */
    const char *address; /* "host:port", "[::1]:0", ":3200", or "unix:/path"; port 0: any */
    struct tls_options tls;
    bool http1, http2,
        grpc; /* what it speaks; a gRPC request (content-type) goes to grpc_handler */
    /* Longest path with query, 0: 8 KiB. What it is longer comes on top of the header block. Over
     * HTTP/1.1 it also is memory of each connection (struct server_options), and where that is
     * scarce only who begins with a long URL has it; others have the default, and close after an
     * answer. HTTP/2 takes at most 64 KiB. */
    uint32_t url_bytes_max;
    uint64_t body_bytes_max;         /* on the wire; 0: 16 MiB */
    uint64_t inflated_bytes_max;     /* 0: 64 MiB */
    uint64_t grpc_message_bytes_max; /* after inflation; 0: 16 MiB */
    unsigned encodings;              /* accepted request Content-Encodings / grpc-encodings */
    bool cors;                       /* OTLP/HTTP only; see struct cors_options */
    const struct cors_options *cors_options;   /* kept: lives as long as the listener */
    unsigned connections_max;                  /* 0: 1024 */
    unsigned connections_per_ip_max;           /* 0: 256 */
    unsigned streams_max;                      /* per h2 connection; 0: 100 */
    unsigned read_timeout_ms, idle_timeout_ms; /* 0: 30 s, 120 s */
    unsigned header_timeout_ms; /* HTTP/1.1 head after its first line; 0: read_timeout_ms */
    unsigned keepalive_time_ms, keepalive_timeout_ms; /* h2 PING by us; 0: 2 h, 20 s */
    struct budget *body_budget;                       /* bodies in flight are charged here */
    struct budget *answer_budget;                     /* queued gRPC messages; NULL: body_budget */
    bool
        /* feed tempo_request_duration_seconds, tempo_inflight_requests; not receivers */
        request_metrics;
    /* Its requests are short work here (what is long goes to a pool): they have a transport thread
     * of their own, and never wait behind the bodies of others. */
    bool prompt;
    exchange_fn handler;      /* HTTP requests */
    exchange_fn grpc_handler; /* gRPC requests (unary request, streaming answer allowed) */
    void *ctx;
};
struct cors_options {
    const char *const *allowed_origins; /* NULL-terminated; entries may hold one '*' */
    const char *const *allowed_headers;
    unsigned max_age_s;
};

struct server_options {
    unsigned threads; /* transport threads, beside that of prompt listeners; 0: min(CPUs, 4) */
    /* Of all listeners; 0: half of the descriptors that the process may have now, so that clients
     * never take those that files need. One beyond it is closed at once. */
    unsigned connections_max;
    /* What connections hold while they are open is charged here; NULL: nowhere. Half of it may go
     * to those that may send a long URL later, all of it to those that begin with one (known of
     * plain text only); one that does not fit is closed. */
    struct budget *connection_budget;
};

enum ec server_new(const struct server_options *opt, struct server **ret, struct err *err) MUST_USE;
/* Binds and starts to accept. *ret_port: the bound port. */
enum ec server_listen(struct server *s, const struct listener_options *opt, struct listener **ret,
    unsigned *ret_port, struct err *err) MUST_USE;
/* Re-reads certificates of all TLS listeners; a bad file keeps the old one and is reported. */
enum ec server_reload_tls(struct server *s, struct err *err);
/* Stop accepting, GOAWAY, refuse new requests with 503; waits up to timeout for exchanges in
 * flight. */
bool server_drain(struct server *s, int64_t timeout_ns);
/* Drains, refuses what comes until the connections have closed or half a second after the drain
 * began has passed, and closes the rest. Waits without a limit for exchanges that handlers own. */
void server_free(struct server *s);
unsigned server_connections(const struct server *s);
/* Asks every transport thread for a sign of life; done runs on one of them when all have given it.
 * ok: the listener accepts, and is not at its cap. */
void server_probe(
    struct server *s, struct listener *l, void (*done)(void *arg, bool ok), void *arg);

/* ---- the request; all views live until the answer is given ---- */
struct http_param {
    struct str key, value;
};
struct http_request {
    struct str method;
    struct str path; /* percent-decoded, no query; as received otherwise */
    struct str raw_path;
    struct str query;                /* raw, without '?' */
    const struct http_param *params; /* decoded query; pairs with broken escapes or ';' dropped */
    size_t n_params;
    struct bytes
        body; /* inflated; for gRPC the first message, deframed; empty when body_ec is set */
    /* Why there is no body: EC_OK; EC_UNSUPPORTED unknown Content-Encoding; EC_INVALID corrupt
     * stream; EC_TOO_LARGE over a cap (wire or inflated); EC_LIMIT the body budget refused. The
     * handler words the answer; for gRPC the transport has answered already and the handler is not
     * called. */
    enum ec body_ec;
    struct str body_error; /* one line for people: "unsupported Content-Encoding: br" */
    uint64_t wire_bytes;   /* body bytes on the wire */
    struct str content_type;
    struct str peer; /* address of the client, for logs */
    bool is_h2, is_grpc, is_tls;
    struct str grpc_path;             /* "/package.Service/Method" */
    struct str client_cert_subject;   /* common name of a verified client certificate, or empty */
    const struct bytes *client_certs; /* DER, the client's own first; verified only with a CA */
    unsigned n_client_certs;
};
const struct http_request *exchange_request(struct exchange *ex);
/* Request-scoped memory, freed after the answer; charged to the listener's body budget. */
struct arena *exchange_arena(struct exchange *ex);
/* First header line with that name (case-insensitive), or gRPC metadata; false when absent. */
bool exchange_header(struct exchange *ex, const char *name, struct str *ret);
unsigned exchange_header_count(struct exchange *ex, const char *name); /* lines with that name */
/* The i-th line with that name, from 0. */
bool exchange_header_at(struct exchange *ex, const char *name, unsigned i, struct str *ret);
bool exchange_param(
    struct exchange *ex, const char *key, struct str *ret); /* first; empty counts as absent */
bool exchange_canceled(struct exchange *ex); /* the client has gone; poll from long work */

/* ---- for a layer in front of the endpoints, before it hands the exchange on ---- */
/* Another path, percent-encoded; parameters stay. False: a broken escape, or the arena refuses. */
bool exchange_rewrite(struct exchange *ex, struct str raw_path) MUST_USE;
/* This one line in place of all lines of that name; an empty value only removes them. False: the
 * arena refuses, and the lines are gone. name must live as long as the exchange or be static. */
bool exchange_set_request_header(struct exchange *ex, const char *name, struct str value) MUST_USE;
/* A pointer for the endpoints; what it points to must live until the answer. */
void exchange_attach(struct exchange *ex, const void *attachment);
const void *exchange_attachment(struct exchange *ex); /* NULL when there is none */
/* fn sees the answer once, on the answering thread, before it is compressed and sent. Of an HTTP
 * answer it may change status, content type (static string) and body, and set headers. */
struct exchange_answer {
    unsigned status;
    const char *content_type;
    struct buf *body; /* NULL for gRPC */
    unsigned grpc_status;
};
typedef void (*exchange_answer_fn)(void *arg, struct exchange *ex, struct exchange_answer *a);
void exchange_on_answer(struct exchange *ex, exchange_answer_fn fn, void *arg);

/* ---- the answer ---- */
/* Before respond; before grpc_finish, behind the messages. */
void exchange_set_header(struct exchange *ex, const char *name, struct str value);
/* Takes the body (moved out of *take_body). compress: offer zstd/gzip by Accept-Encoding when the
 * body is >= 1024 bytes, and send Vary: Accept-Encoding. The exchange must not be used
 * afterwards. */
void exchange_respond(struct exchange *ex, unsigned status, const char *content_type,
    struct buf *take_body, bool compress);
void exchange_respond_text(
    struct exchange *ex, unsigned status, const char *text); /* text/plain; charset=utf-8 */
/* Request metric label: the handler names the route as soon as it knows it ("api_search"; for gRPC
 * the full method name); default "other". A static string, so that clients cannot invent labels. */
void exchange_set_route(struct exchange *ex, const char *route);

/* gRPC: zero or more messages, then one finish. details (may be empty) is the encoded
 * google.rpc.Status for grpc-status-details-bin. grpc_send returns false when the client has gone;
 * it blocks while more than 4 MiB wait for the client's window (so it must not be called on a
 * transport thread more than once). */
bool grpc_send(struct exchange *ex, struct bytes message);
/* As grpc_send, but never waits: what the client does not take stays queued, charged to
 * answer_budget, until it does, goes away, or takes nothing for the read timeout and is cut off.
 * False also when the budget refuses; the finish then says RESOURCE_EXHAUSTED. */
bool grpc_queue(struct exchange *ex, struct bytes message);
size_t grpc_unsent(struct exchange *ex); /* bytes that the client has not taken yet */
/* The end that the client set by grpc-timeout, monotonic; 0: none. */
int64_t grpc_deadline(const struct exchange *ex);
void grpc_finish(struct exchange *ex, unsigned status, struct str message, struct bytes details);

/* When the path has "//", "." or ".." segments: answers 301 with the cleaned path (query kept) and
 * returns true; the exchange must then not be used any more. */
bool exchange_redirect_clean(struct exchange *ex) MUST_USE;

/* ---- text helpers, also used by tests and fuzzing ---- */
/* "a=1&b=%20+": decoded into a. False when the arena refuses (EC_LIMIT). Pairs with a broken escape
 * or a ';' are dropped; at most HTTP_PARAMS_MAX are kept. */
#define HTTP_PARAMS_MAX 1024
bool http_params_parse(struct arena *a, struct str query, struct http_param **ret, size_t *ret_n)
    MUST_USE;
/* %XX decoding; plus: '+' is a space. *ret_bad: a broken escape. False only when the arena
 * refuses. */
bool http_unescape(struct arena *a, struct str in, bool plus, struct str *ret, bool *ret_bad)
    MUST_USE;
/* Lexical cleaning of a path; keeps a trailing slash; always begins with '/'. False: arena
 * refuses. */
bool http_path_clean(struct arena *a, struct str path, struct str *ret) MUST_USE;
/* Escapes what a path segment may not hold raw ('/' is kept). */
bool http_path_escape(struct arena *a, struct str path, struct str *ret) MUST_USE;

/* gzip / zstd / zlib / snappy / framed snappy / lz4 frame, by stream, against a cap: EC_TOO_LARGE
 * past it, EC_INVALID on corrupt data. Appends to out. Also used by tests. */
enum ec inflate_bytes(enum body_encoding enc, struct bytes in, uint64_t cap, struct buf *out,
    struct err *err) MUST_USE;
