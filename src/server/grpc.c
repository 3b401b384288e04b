/* SPDX-License-Identifier: Apache-2.0
 * gRPC framing: five-byte prefix, message encodings, status texts; the queue of a streaming answer.
 *
 * A request is read up to its first message; what follows is read away. The message stays where it
 * was received (after the prefix), so an uncompressed one is never copied. Texts are grpc-go's,
 * because clients and people search for them.
 *
 * The answer's queue (ex->out) is filled by the answering thread and drained by the loop under
 * out_lock. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "server_int.h"

#define PREFIX 5u

bool grpc_is(struct str ct)
{
    static const char base[] = "application/grpc";
    size_t n = sizeof(base) - 1;
    if (ct.n < n || !str_ieq(str_n(ct.p, n), STR("application/grpc")))
        return false;
    return ct.n == n || ct.p[n] == ';' || ct.p[n] == '+';
}

struct str grpc_message_escape(struct arena *a, struct str s)
{
    static const char digits[] = "0123456789ABCDEF";
    char *out = arena_alloc(a, s.n * 3 + 1);
    size_t n = 0;
    if (out == NULL)
        return (struct str){NULL, 0};
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = (uint8_t)s.p[i];
        if (c >= 0x20 && c <= 0x7e && c != '%') {
            out[n++] = (char)c;
        } else {
            out[n++] = '%';
            out[n++] = digits[c >> 4];
            out[n++] = digits[c & 15];
        }
    }
    return str_n(out, n);
}

void grpc_refuse(struct exchange *ex, unsigned http_status, unsigned status, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    ASSERT(ex->state == EX_READING);
    ex->state = EX_ANSWERED;
    ex->req.is_grpc = true;
    ex->discard = true;
    buf_deinit(&ex->wire);
    ex->status = http_status;
    ex->grpc_status = status;
    ex->grpc_message = arena_str(&ex->arena, str_from(text));
    ex->finished = true;
    if (status == 14) {
        /* google.rpc.Status{code: 14, details: [RetryInfo{retry_delay: 5 s}]} */
        static const uint8_t unavailable[] =
            "\x08\x0e\x1a\x30\x0a\x28type.googleapis.com/google.rpc."
            "RetryInfo\x12\x04\x0a\x02\x08\x05";
        ex->grpc_details = bytes_n(unavailable, sizeof(unavailable) - 1);
    }
    request_metrics_observe(ex);
    atomic_store_explicit(&ex->answered, true, memory_order_release);
}

/* Nanoseconds of a timeout unit; 0: none. */
static int64_t timeout_unit(char c)
{
    static const struct {
        char name;
        int64_t ns;
    } units[] = {{'H', 3600 * NS_PER_S}, {'M', 60 * NS_PER_S}, {'S', NS_PER_S}, {'m', NS_PER_MS},
        {'u', 1000}, {'n', 1}};
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (units[i].name == c)
            return units[i].ns;
    return 0;
}

bool grpc_timeout(struct exchange *ex)
{
    struct str v;
    uint64_t n = 0;
    const char *what = NULL;
    if (!exchange_header(ex, "grpc-timeout", &v))
        return true;
    int64_t unit = v.n == 0 ? 0 : timeout_unit(v.p[v.n - 1]);
    if (v.n < 2)
        what = "too short";
    else if (v.n > 9) /* eight digits and the unit */
        what = "too long";
    if (what != NULL) {
        grpc_refuse(ex, 400, 13,
            "malformed grpc-timeout: transport: timeout string is %s: \"" STR_FMT "\"", what,
            (int)MIN(v.n, 64), v.p);
        return false;
    }
    if (unit == 0) {
        grpc_refuse(ex, 400, 13,
            "malformed grpc-timeout: transport: timeout unit is not recognized: \"" STR_FMT "\"",
            STR_ARG(v));
        return false;
    }
    if (!str_to_u64(str_n(v.p, v.n - 1), &n)) {
        grpc_refuse(ex, 400, 13,
            "malformed grpc-timeout: strconv.ParseUint: parsing \"" STR_FMT "\": invalid syntax",
            (int)v.n - 1, v.p);
        return false;
    }
    int64_t left = INT64_MAX - ex->start_ns; /* 99999999 H is longer than a clock */
    ex->grpc_deadline_ns = ex->start_ns + ((int64_t)n > left / unit ? left : (int64_t)n * unit);
    return true;
}

int64_t grpc_deadline(const struct exchange *ex)
{
    return ex->grpc_deadline_ns;
}

static bool grpc_prefix(struct exchange *ex)
{
    uint64_t max = ex->listener->opt.grpc_message_bytes_max;
    uint32_t n = get_u32be(ex->wire.p + 1);
    if (ex->wire.p[0] > 1) {
        grpc_refuse(ex, 200, 13, "grpc: received unexpected payload format %u", ex->wire.p[0]);
        return false;
    }
    if (n > max) {
        grpc_refuse(ex, 200, 8, "grpc: received message larger than max (%u vs. %llu)", n,
            (unsigned long long)max);
        return false;
    }
    ex->grpc_need = PREFIX + (uint64_t)n;
    return true;
}

static bool grpc_keep(struct exchange *ex, const uint8_t *p, size_t n)
{
    if (ex->grpc_need != 0)
        (void)buf_reserve_announced(&ex->wire, n, ex->grpc_need); /* buf_failed says it */
    buf_put(&ex->wire, p, n);
    if (!buf_failed(&ex->wire))
        return true;
    grpc_refuse(ex, 200, 14, "server is out of memory for request bodies");
    return false;
}

/* Without RetryInfo 8 means never. */
static void grpc_body_no_room(struct exchange *ex, uint64_t bytes)
{
    uint64_t most = budget_most(ex->wire.budget);
    if (bytes > most)
        grpc_refuse(ex, 200, 8, "grpc: received message larger than max (%llu vs. %llu)",
            (unsigned long long)bytes, (unsigned long long)most);
    else
        grpc_refuse(ex, 200, 14, "server is out of memory for request bodies");
}

bool grpc_body_add(struct exchange *ex, const uint8_t *p, size_t n)
{
    ex->req.wire_bytes += n;
    if (ex->grpc_need == 0) {
        size_t take = MIN(n, PREFIX - ex->wire.n);
        if (!grpc_keep(ex, p, take))
            return false;
        p += take;
        n -= take;
        if (ex->wire.n < PREFIX)
            return true;
        if (!grpc_prefix(ex))
            return false;
        if (!budget_fits(ex->wire.budget, ex->grpc_need)) {
            grpc_body_no_room(ex, ex->grpc_need);
            return false;
        }
    }
    return grpc_keep(ex, p, (size_t)MIN((uint64_t)n, ex->grpc_need - ex->wire.n));
}

static bool grpc_encoding_of(struct exchange *ex, struct str name, enum body_encoding *ret)
{
    unsigned accepted = ex->listener->opt.encodings;
    if (str_eqz(name, "gzip") && (accepted & ENC_GZIP) != 0)
        *ret = ENC_GZIP;
    else if (str_eqz(name, "zstd") && (accepted & ENC_ZSTD) != 0)
        *ret = ENC_ZSTD;
    else if (str_eqz(name, "snappy") && (accepted & (ENC_SNAPPY | ENC_SNAPPY_FRAMED)) != 0)
        *ret = ENC_SNAPPY_FRAMED;
    else
        return false;
    return true;
}

static bool grpc_inflate(struct exchange *ex)
{
    struct str name = {0};
    enum body_encoding enc;
    struct err err = {0};
    uint64_t max = ex->listener->opt.grpc_message_bytes_max;
    if (!exchange_header(ex, "grpc-encoding", &name) || name.n == 0 || str_eqz(name, "identity")) {
        grpc_refuse(ex, 200, 13, "grpc: compressed flag set with identity or empty encoding");
        return false;
    }
    if (!grpc_encoding_of(ex, name, &enc)) {
        grpc_refuse(ex, 200, 12,
            "grpc: Decompressor is not installed for grpc-encoding \"" STR_FMT "\"", STR_ARG(name));
        return false;
    }
    struct buf plain;
    buf_init(&plain, ex->listener->opt.body_budget);
    struct bytes packed = bytes_n(ex->wire.p + PREFIX, ex->wire.n - PREFIX);
    enum ec ec = inflate_bytes(enc, packed, max, &plain, &err);
    if (ec != EC_OK) {
        buf_deinit(&plain);
        if (ec == EC_TOO_LARGE)
            grpc_refuse(ex, 200, 8,
                "grpc: received message after decompression larger than max (%llu vs. %llu)",
                (unsigned long long)max + 1, (unsigned long long)max);
        else if (ec == EC_LIMIT)
            grpc_refuse(ex, 200, 14, "%s", err_msg(&err));
        else
            grpc_refuse(
                ex, 200, 13, "grpc: failed to decompress the received message: %s", err_msg(&err));
        return false;
    }
    buf_deinit(&ex->wire);
    ex->wire = plain;
    ex->req.body = buf_bytes(&ex->wire);
    return true;
}

bool grpc_body_done(struct exchange *ex)
{
    if (ex->grpc_need == 0 || ex->wire.n < ex->grpc_need) {
        grpc_refuse(ex, 200, 13, "unexpected EOF");
        return false;
    }
    if (ex->wire.p[0] == 1)
        return grpc_inflate(ex);
    ex->req.body = bytes_n(ex->wire.p + PREFIX, ex->wire.n - PREFIX);
    return true;
}

/* ---- the answer ---- */

enum coding grpc_coding_of(struct exchange *ex)
{
    struct str name;
    enum body_encoding enc;
    if (!exchange_header(ex, "grpc-encoding", &name) || !grpc_encoding_of(ex, name, &enc))
        return CODING_IDENTITY;
    return enc == ENC_GZIP ? CODING_GZIP : enc == ENC_ZSTD ? CODING_ZSTD : CODING_IDENTITY;
}

static bool grpc_put(struct exchange *ex, struct bytes message, bool wait)
{
    uint8_t prefix[PREFIX] = {0};
    struct buf small;
    ASSERT(ex->req.is_grpc && ex->sync_ready);
    buf_init(&small, ex->out.budget);
    if (ex->grpc_coding != CODING_IDENTITY && message.n >= COMPRESS_MIN &&
        deflate_body(ex->grpc_coding, message, &small)) {
        prefix[0] = 1;
        message = buf_bytes(&small);
    }
    ASSERT(message.n <= UINT32_MAX);
    put_u32be(prefix + 1, (uint32_t)message.n);
    pthread_mutex_lock(&ex->out_lock);
    ASSERT(!ex->finished);
    /* A loop never waits: it is the one that would drain the queue. */
    while (wait && loop_current == NULL && ex->out.n - ex->out_pos > GRPC_SEND_QUEUE &&
           !atomic_load_explicit(&ex->canceled, memory_order_relaxed))
        pthread_cond_wait(&ex->out_cond, &ex->out_lock);
    bool ok = !atomic_load_explicit(&ex->canceled, memory_order_relaxed);
    if (ok) {
        if (ex->out_pos == ex->out.n) {
            ex->out.n = ex->out_pos = 0;
        } else if (ex->out_pos > ex->out.n / 2) {
            memmove(ex->out.p, ex->out.p + ex->out_pos, ex->out.n - ex->out_pos);
            ex->out.n -= ex->out_pos;
            ex->out_pos = 0;
        }
        buf_reserve(&ex->out, PREFIX + message.n);
        buf_put(&ex->out, prefix, PREFIX);
        buf_put(&ex->out, message.p, message.n);
        ok = !buf_failed(&ex->out);
        ex->grpc_streaming = true;
    }
    pthread_mutex_unlock(&ex->out_lock);
    buf_deinit(&small);
    if (ok)
        exchange_post(ex);
    return ok;
}

bool grpc_send(struct exchange *ex, struct bytes message)
{
    return grpc_put(ex, message, true);
}

bool grpc_queue(struct exchange *ex, struct bytes message)
{
    return grpc_put(ex, message, false);
}

size_t grpc_unsent(struct exchange *ex)
{
    pthread_mutex_lock(&ex->out_lock);
    size_t n = ex->out.n - ex->out_pos;
    pthread_mutex_unlock(&ex->out_lock);
    return n;
}

void grpc_finish(struct exchange *ex, unsigned status, struct str message, struct bytes details)
{
    ASSERT(ex->req.is_grpc && ex->sync_ready);
    ASSERT(status <= 16);
    pthread_mutex_lock(&ex->out_lock);
    ASSERT(!ex->finished);
    if (buf_failed(&ex->out) &&
        status == 0) { /* an answer that lost a message must not look whole */
        status = 8;
        message = STR("answer is over the memory budget");
    }
    ex->status = 200;
    ex->grpc_status = status;
    ex->grpc_message = arena_str(&ex->arena, message);
    if (details.n != 0) {
        const char *copy = exchange_answer_text(ex, str_of_bytes(details));
        if (copy != NULL)
            ex->grpc_details = bytes_n(copy, details.n);
    }
    ex->finished = true;
    pthread_mutex_unlock(&ex->out_lock);
    struct exchange_answer a = {.status = 200, .grpc_status = status};
    exchange_answer_seen(ex, &a);
    exchange_publish(ex);
}

size_t grpc_take_out(struct exchange *ex, uint8_t *p, size_t n, bool *ret_end)
{
    pthread_mutex_lock(&ex->out_lock);
    n = MIN(n, ex->out.n - ex->out_pos);
    if (n != 0)
        memcpy(p, ex->out.p + ex->out_pos, n);
    ex->out_pos += n;
    *ret_end = ex->finished && ex->out_pos == ex->out.n;
    if (ex->out.n - ex->out_pos <= GRPC_SEND_QUEUE / 2)
        pthread_cond_signal(&ex->out_cond);
    pthread_mutex_unlock(&ex->out_lock);
    return n;
}

bool grpc_cancel(struct exchange *ex)
{
    if (!ex->sync_ready)
        return false;
    pthread_mutex_lock(&ex->out_lock);
    pthread_cond_broadcast(&ex->out_cond);
    pthread_mutex_unlock(&ex->out_lock);
    return true;
}
