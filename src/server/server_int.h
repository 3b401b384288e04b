/* SPDX-License-Identifier: Apache-2.0
 * What the files of the transport share. Nothing outside src/server includes this.
 *
 * Threads: a server has N loops; each is one thread with one epoll. Loop 0 owns the listening
 * sockets and deals accepted connections round-robin. A connection belongs to one loop for life,
 * and so does all of its state, including the MHD daemon (external polling) or the nghttp2 session
 * that speaks for it. Other threads reach a loop only through its inbox (loop_post) and see of an
 * exchange only what is marked "any thread" below.
 *
 *     accept ─► conn (CONN_SNIFF: peek, never consume) ─► CONN_H1: fd given to the loop's MHD
 *     daemon
 *                                                     └─► CONN_H2: nghttp2 session, TLS by us
 *
 * INVARIANT: a connection is counted from accept to conn_free, whatever it becomes.
 * INVARIANT: an exchange is answered at most once (asserted), and freed when application and
 * transport have both let go.
 */
#pragma once

#include <netinet/in.h>
#include <nghttp2/nghttp2.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "server/server.h"

#define HEADER_BLOCK_MAX (16u << 10)
#define URL_MAX          (8u << 10)  /* unless the listener allows more */
#define CONN_TLS_BYTES   (12u << 10) /* what GnuTLS holds for a connection */
#define READ_CHUNK       (64u << 10)
#define BODY_DRAIN_MAX \
    (64u << 20) /* refused HTTP/1.1 body bytes read away so that the answer arrives */
#define BODY_RATE_MIN     8192 /* bytes a second a slow body must keep up beyond the read timeout */
#define GRPC_SEND_QUEUE   (4u << 20)
#define INFLATE_FREE      (1u << 20) /* the ratio limit starts beyond this many inflated bytes */
#define INFLATE_RATIO_MAX 100u

struct loop;
struct conn;
struct h1_daemon;
struct h2_conn;
struct tls_context;
struct tls_peer;

struct bucket { /* a rate: tokens refill with time */
    double tokens;
    int64_t filled_ns; /* 0: never used, full */
};

/* ---- loop.c ---- */
struct pollable {
    void (*fn)(struct pollable *p, uint32_t events);
};
struct message { /* embedded in what is posted; fn runs on the loop thread */
    struct message *next;
    void (*fn)(struct loop *loop, struct message *m);
};
struct loop {
    struct server *server;
    unsigned index;
    bool prompt;
    pthread_t thread;
    bool started;
    int epfd, wakefd;
    struct pollable wake;
    _Atomic(struct message *) inbox; /* any thread pushes, the loop takes all */
    bool stop, draining;
    struct conn *conns;  /* doubly linked, all kinds */
    struct conn *dead;   /* freed after the event batch, which may still name them */
    struct conn *dirty;  /* h2 connections with something to write */
    struct conn **by_fd; /* how MHD's and GnuTLS's callbacks find the connection */
    size_t n_by_fd;
    struct h1_daemon *daemons;
    uint8_t *scratch; /* READ_CHUNK bytes */
    int64_t now_ns;   /* monotonic, once per wake-up */
    int64_t swept_ns;
    struct listener
        *paused; /* accept stopped for lack of descriptors: tried again at the next sweep */
};
void loop_post(struct loop *loop, struct message *m);
/* Runs fn(ctx) on the loop thread and waits. Not from a loop thread. */
void loop_call(struct loop *loop, void (*fn)(struct loop *loop, void *ctx), void *ctx);
enum ec loop_start(struct loop *loop, struct server *s, unsigned index, struct err *err) MUST_USE;
void loop_stop(struct loop *loop);
bool loop_watch(struct loop *loop, int fd, uint32_t events, struct pollable *p);
void loop_remember(struct conn *c); /* by_fd, until conn_free */
extern _Thread_local struct loop *loop_current;

/* ---- listener.c, conn.c ---- */
struct peer_key {
    uint8_t b[16]; /* IPv4-mapped address, or the /64 of an IPv6 one; zero for unix sockets */
};
struct peer_slot {
    struct peer_key key;
    unsigned n;
};
struct listener {
    struct pollable poll;
    struct server *server;
    struct listener *next, *paused_next;
    struct listener_options opt; /* defaults filled in; strings owned */
    char *name, *address, *unix_path;
    int fd;
    unsigned port;
    bool accepting;
    struct tls_context *tls; /* NULL: plain text */
    atomic_uint connections;
    pthread_mutex_t peer_lock;
    struct peer_slot *peers; /* open addressing, power of two; guarded by peer_lock */
    size_t peer_cap, n_peers;
};
/* From the first word of the end to the last: what was sent before a client could know is still
 * answered, by a refusal. */
#define DRAIN_NOTICE_NS (50 * NS_PER_MS)
/* How long an idle connection then stays: HTTP/1.1 has no word for the end, and a client that was
 * told by HTTP/2 must be able to read it before what it sends meets a closed socket. */
#define DRAIN_LINGER_NS (250 * NS_PER_MS)

enum conn_kind { CONN_SNIFF, CONN_H1, CONN_H2 };
struct conn {
    struct pollable poll;
    uint64_t magic;
    enum conn_kind kind;
    int fd; /* CONN_H1: MHD closes it */
    struct loop *loop;
    struct listener *listener;
    struct conn *prev, *next, *dirty_next;
    bool dirty, dead, counted_peer, handed_over;
    struct peer_key key;
    struct sockaddr_storage addr;
    socklen_t addr_len;
    char peer[72];       /* "192.0.2.1:1234" */
    int64_t deadline_ns; /* closed when passed; 0: none */
    size_t charged;      /* to the budget of connections, until conn_free_now */
    bool long_url;       /* the first request has one */
    struct message arrive;
    union {
        struct {
            struct exchange *ex; /* request in work or NULL */
            bool cert_seen;
            bool half_closed; /* at the sweep before */
            struct tls_peer *cert;
            uint32_t url_max; /* what it has memory for */
        } h1;
        struct h2_conn *h2;
    };
};
enum ec listener_new(struct server *s, const struct listener_options *opt, struct listener **ret,
    struct err *err) MUST_USE;
void listener_accept_start(struct listener *l);
struct loop *listener_loop(const struct listener *l); /* that accepts */
void listener_close(struct listener *l);              /* on that loop */
void listener_free(struct listener *l);
bool peer_count(
    struct listener *l, const struct peer_key *key, unsigned max); /* false: at the cap */
void peer_uncount(struct listener *l, const struct peer_key *key);
void conn_start(struct loop *loop, struct message *m); /* a dealt connection arrives on its loop */
/* A connection on fd that takes the place of c, which no longer counts. Same loop. */
struct conn *conn_hand_over(struct conn *c, int fd);
/* False: n bytes more are not to be had. */
bool conn_charge(struct conn *c, size_t n) MUST_USE;
void conn_free(struct conn *c); /* at the end of the batch; closes fd unless H1 */
void conn_free_now(struct conn *c);

/* ---- bind.c ---- */
/* type: SOCK_STREAM or SOCK_DGRAM. An empty host, 0.0.0.0 and [::] are every address of both
 * families. */
enum ec bind_address(const char *address, int type, int *ret_fd, struct err *err) MUST_USE;

/* ---- sniff.c ---- */
enum sniff { SNIFF_MORE, SNIFF_H1, SNIFF_H2, SNIFF_BAD };
enum sniff sniff_plain(struct bytes b);
enum sniff sniff_client_hello(struct bytes b); /* H2 when ALPN offers h2, BAD when not TLS */

/* ---- exchange.c ---- */
struct header {
    struct str name, value;
};
enum coding { CODING_IDENTITY, CODING_GZIP, CODING_ZSTD };
enum ex_state { EX_READING, EX_HANDLING, EX_ANSWERED };
struct exchange {
    uint64_t magic;
    atomic_uint refs;
    struct message post;
    atomic_bool posted;
    struct loop *loop;
    struct listener *listener;
    struct conn *conn; /* loop thread; NULL once the connection or stream is gone */
    struct arena arena;
    struct http_request req;
    struct str target;      /* as received, with the query */
    struct header *headers; /* request; in the arena */
    size_t n_headers, cap_headers;
    size_t header_bytes;
    struct buf wire; /* body as received, then replaced by the inflated one */
    uint64_t wire_max;
    uint64_t wire_announced; /* Content-Length, or 0 */
    bool discard, must_close, is_head, inside_handler, header_refused, preflight;
    enum ex_state state; /* EX_HANDLING → EX_ANSWERED by exchange_claim, any thread */
    atomic_bool answered, canceled;
    int64_t start_ns;
    const char *route;
    struct metric *inflight; /* counted there, or NULL */
    const void *attachment;
    exchange_answer_fn on_answer;
    void *on_answer_arg;

    /* the answer, written by the answering thread before `answered` is published */
    unsigned status;
    struct header *out_headers;
    size_t n_out_headers, cap_out_headers;
    struct header out_first[8]; /* the first ones: an answer may say that there is no memory */
    char spare[256];            /* their text then, Retry-After's before all */
    size_t spare_n;
    struct buf body;

    /* HTTP/1.1 */
    void *mhd; /* struct MHD_Connection */
    bool suspended, queued, refused_early;
    int poll_fd;
    _Atomic int64_t polled_ns;

    /* HTTP/2 */
    int32_t stream_id;
    int64_t deadline_ns; /* whole request by then, or progress of the answer */
    uint64_t body_sent;
    bool stream_ended; /* the client's side */
    bool submitted;    /* HEADERS of the answer are with nghttp2 */
    bool head_done;    /* pseudo headers checked, body wanted */
    struct exchange *prev, *next;

    /* gRPC */
    uint64_t grpc_need;       /* prefix + message bytes, 0: prefix not complete */
    pthread_mutex_t out_lock; /* guards the next four */
    pthread_cond_t out_cond;
    struct buf out;
    size_t out_pos;
    bool finished;
    bool sync_ready;     /* lock and cond are initialised */
    bool grpc_streaming; /* at least one message went out */
    unsigned grpc_status;
    struct str grpc_message;
    struct bytes grpc_details;
    int64_t grpc_deadline_ns; /* of grpc-timeout; 0: none */
    enum coding grpc_coding;  /* of large answers: what the request came in */
};
struct exchange *exchange_new(struct loop *loop, struct listener *l, struct conn *c);
void exchange_unref(struct exchange *ex);
/* Memory for headers and trailers of the answer: of the arena, or of what is spared. NULL:
 * neither. */
char *exchange_answer_room(struct exchange *ex, size_t n);
char *exchange_answer_text(struct exchange *ex, struct str s); /* a copy there, with NUL */
void exchange_post(struct exchange *ex); /* wakes the loop that writes the answer */
bool exchange_add_header(struct exchange *ex, struct str name, struct str value, bool copy)
    MUST_USE;
/* Splits the target into path, query, parameters. EC_INVALID: broken escape. EC_LIMIT: budget. */
enum ec exchange_set_target(struct exchange *ex, struct str target) MUST_USE;
/* Body bytes as they come: counts, caps, charges. Sets body_ec instead of failing. */
void exchange_body_expect(struct exchange *ex, uint64_t content_length);
void exchange_body_add(struct exchange *ex, const void *p, size_t n);
/* The request is whole (or refused): inflates, then calls the handler. */
void exchange_dispatch(struct exchange *ex);
void exchange_body_refuse(struct exchange *ex, enum ec ec, const char *fmt, ...) PRINTF_LIKE(3, 4);
void exchange_publish(
    struct exchange *ex); /* the answer is complete; gives the application's reference back */
/* The transport's own answer to a request that no handler sees; the caller then writes it. */
void exchange_refuse(struct exchange *ex, unsigned status, const char *text);

/* ---- rewrite.c ---- */
void exchange_answer_seen(struct exchange *ex, struct exchange_answer *a); /* calls on_answer */

/* ---- metrics.c ---- */
void request_metrics_register(void);
void request_metrics_route(struct exchange *ex); /* in flight under its route from now on */
void request_metrics_end(struct exchange *ex);
void request_metrics_observe(const struct exchange *ex);
void connection_metrics_add(const struct listener *l, double by);

/* ---- respond.c ---- */
enum coding accept_encoding_choose(struct str header);
#define COMPRESS_MIN 1024u /* bytes of an answer */
bool deflate_body(enum coding c, struct bytes in, struct buf *out);

/* ---- cors.c ---- */
bool cors_preflight(struct exchange *ex); /* true: answered */
void cors_headers(struct exchange *ex);   /* added to an actual answer */

/* ---- h1.c ---- */
bool h1_adopt(struct conn *c); /* gives the fd to the loop's daemon; on false the conn is gone */
/* Plain text, while memory for long URLs is scarce: SNIFF_MORE until the first request shows
 * whether it has one. */
enum sniff h1_wants(struct conn *c, struct bytes seen);
void h1_answer_ready(struct exchange *ex);
void h1_run(struct loop *loop);
void h1_wake(struct loop *loop); /* the daemons have work that epoll does not show */
bool h1_pending(struct loop *loop);
void h1_sweep(struct conn *c);
void h1_loop_free(struct loop *loop);
void h1_drain(struct conn *c);
/* h1_upgrade.c: the wish of "Upgrade: h2c", and its fulfilment (connection: struct
 * MHD_Connection). */
bool h1_upgrade_wanted(const struct exchange *ex, struct str version);
bool h1_upgrade(struct exchange *ex, void *connection);
bool h1_client_gone(struct exchange *ex); /* any thread */

/* ---- h2.c, h2_io.c, h2_stream.c ---- */
struct h2_conn {
    nghttp2_session *session;
    struct conn *conn;
    void *tls; /* gnutls_session_t or NULL */
    bool handshaking, failed, want_out, closing, drained, lingers;
    struct buf out; /* bytes for the socket */
    size_t out_pos;
    struct exchange *streams; /* doubly linked, open streams */
    unsigned n_streams;
    int64_t active_ns;      /* the last time a stream was open */
    int64_t heard_ns;       /* the last byte from the client */
    int64_t ping_ns;        /* our unanswered PING, or 0 */
    int64_t wrote_ns;       /* the last progress on the socket */
    int64_t drain_ns;       /* when the notice went out, or 0 */
    unsigned continuations; /* in a row */
    struct bucket resets, controls;
    struct tls_peer *cert;
};
bool h2_adopt(struct conn *c, bool tls);
void h2_conn_free(struct conn *c);
void h2_flush(struct conn *c);
void h2_sweep(struct conn *c);
void h2_drain(struct conn *c);
void h2_mark_dirty(struct conn *c);
/* Writes and pulls until the socket is full or nothing is left. False: the connection is broken. */
bool h2_write(struct h2_conn *h);
/* Reads what is there. False: closed or broken. */
bool h2_read(struct h2_conn *h);
bool bucket_take(struct bucket *b, int64_t now_ns, unsigned burst, unsigned per_second);

void h2_stream_begin(struct h2_conn *h, int32_t id);
void h2_stream_header(struct exchange *ex, struct str name, struct str value);
void h2_stream_head_done(struct h2_conn *h, struct exchange *ex, bool end_stream);
void h2_stream_data(struct exchange *ex, const uint8_t *p, size_t n);
void h2_stream_end(struct exchange *ex);
void h2_stream_closed(struct h2_conn *h, struct exchange *ex);
void h2_stream_sweep(struct h2_conn *h, struct exchange *ex);
void h2_answer_ready(struct exchange *ex);

/* ---- grpc.c ---- */
bool grpc_is(struct str content_type); /* "application/grpc", then nothing, ';' or '+' */
/* Message bytes; keeps the first message. False: refused (the answer is filled in). */
bool grpc_body_add(struct exchange *ex, const uint8_t *p, size_t n);
/* The request is whole: deframes and inflates. False: refused. */
bool grpc_body_done(struct exchange *ex);
/* Answers are sent in the encoding of the request, when we write it. */
enum coding grpc_coding_of(struct exchange *ex);
/* Reads grpc-timeout. False: malformed, refused. */
bool grpc_timeout(struct exchange *ex);
void grpc_refuse(struct exchange *ex, unsigned http_status, unsigned status, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
struct str grpc_message_escape(struct arena *a, struct str s); /* p == NULL: refused */
size_t grpc_take_out(
    struct exchange *ex, uint8_t *p, size_t n, bool *ret_end); /* 0 and !end: wait */
bool grpc_cancel(struct exchange *ex);                         /* wakes a blocked grpc_send */

/* ---- tls.c ---- */
struct server {
    struct loop *loops;
    unsigned n_loops, n_usual; /* the others are of prompt listeners */
    unsigned connections_max;
    struct budget *connection_budget; /* or NULL */
    pthread_mutex_t lock;             /* guards listeners */
    struct listener *listeners;
    atomic_bool draining, stopping;
    atomic_uint connections, exchanges, next_loop, next_prompt;
    _Atomic int64_t sweep_ns;  /* how often loops look at deadlines */
    int64_t drain_ns;          /* when the end began; of the thread that drains and frees */
    pthread_mutex_t idle_lock; /* with idle: exchanges reached zero */
    pthread_cond_t idle;
};
