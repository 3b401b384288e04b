/* SPDX-License-Identifier: Apache-2.0
 * One tenant's way to one endpoint. One request is under way at a time, so the order of a series is
 * that of the queue; a batch is done when the endpoint took it, or will never take it.
 *
 *   answer                         then
 *   2xx                            done
 *   no answer, 5xx, 429 if wanted  again after Retry-After, or the back-off, without end
 *   401, with an older token       again with a new one
 *   anything else                  counted as failed, done
 *
 * All on the client's thread. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "rw_int.h"

#define RETRY_AFTER_MAX (3600 * NS_PER_S)
#define NO_MEMORY_WAIT  (NS_PER_S)
#define TOKEN_WAIT      (20 * NS_PER_MS)

static void set_pending(const struct sender *s, const uint32_t kinds[REMOTE_WRITE_KINDS])
{
    for (unsigned k = 0; k < REMOTE_WRITE_KINDS; k++)
        metric_set(s->metrics.pending[k], kinds == NULL ? 0 : kinds[k]);
}

/* The batch is behind us, sent or not. */
static void advance(struct sender *s)
{
    for (unsigned k = 0; k < REMOTE_WRITE_KINDS; k++)
        for (unsigned d = 0; d < DROPS; d++)
            if (s->batch.dropped[k][d] != 0)
                metric_add(s->metrics.dropped[k][d], s->batch.dropped[k][d]);
    s->pos = s->batch.end;
    queue_done(s->tenant->queue, s->reader, &s->pos);
    batch_reset(&s->batch);
    s->attempt = 0;
    s->backoff_ns = s->endpoint->opt.backoff_min_ns;
    set_pending(s, NULL);
}

static void next(void *arg)
{
    struct sender *s = arg;
    s->under_way = false;
    sender_kick(s);
}

static void wait_for(struct sender *s, int64_t ns)
{
    s->under_way = true;
    s->timer.fn = next;
    s->timer.arg = s;
    http_timer_start(s->tenant->w->client, &s->timer, ns);
}

/* "120", or an HTTP date. 0: nothing that can be used. */
static int64_t retry_after(const struct http_client_response *rs)
{
    struct str v;
    uint64_t seconds;
    char text[64];
    struct tm tm = {0};
    if (!http_response_header(rs, "Retry-After", &v))
        return 0;
    if (str_to_u64(v, &seconds))
        return (int64_t)MIN(seconds, (uint64_t)(RETRY_AFTER_MAX / NS_PER_S)) * NS_PER_S;
    snprintf(text, sizeof(text), STR_FMT, (int)MIN(v.n, sizeof(text) - 1), v.p);
    if (strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &tm) == NULL)
        return 0;
    int64_t ns = (int64_t)timegm(&tm) * NS_PER_S - clock_wall_ns();
    return MIN(MAX(ns, 0), RETRY_AFTER_MAX);
}

static void again(struct sender *s, const struct http_client_response *rs, const char *why)
{
    int64_t after = rs == NULL ? 0 : retry_after(rs);
    int64_t wait = after > 0 ? after : s->backoff_ns;
    s->backoff_ns = MIN(2 * wait, s->endpoint->opt.backoff_max_ns);
    s->backoff_ns = MAX(s->backoff_ns, s->endpoint->opt.backoff_min_ns);
    if (s->attempt++ == 0 && s->since_ns == 0) { /* once per outage */
        s->since_ns = clock_mono_ns();
        log_event(LOG_WARN, "remote write fails, samples wait on disk",
            LS("tenant", s->tenant->name), LZ("remote_name", s->endpoint->name),
            LZ("url", s->endpoint->url), LU("status", rs == NULL ? 0 : rs->status), LZ("err", why));
    }
    sender_count(s, COUNTED_RETRIED, s->batch.kinds);
    batch_reset(&s->batch); /* read again by then */
    wait_for(s, wait);
}

static void recovered(struct sender *s)
{
    if (s->since_ns == 0)
        return;
    log_event(LOG_INFO, "remote write works again", LS("tenant", s->tenant->name),
        LZ("remote_name", s->endpoint->name), LD("outage", clock_mono_ns() - s->since_ns));
    s->since_ns = 0;
}

static void refused(struct sender *s, unsigned status, struct str body, const char *why)
{
    sender_count(s, COUNTED_FAILED, s->batch.kinds);
    if (log_limiter_pass(s->refused_log, 10 * NS_PER_S))
        log_event(LOG_ERROR, "remote write: samples refused, they are dropped",
            LS("tenant", s->tenant->name), LZ("remote_name", s->endpoint->name),
            LZ("url", s->endpoint->url), LU("status", status), LU("count", s->batch.n),
            LS("body", str_n(body.p, MIN(body.n, 256))), LZ("err", why));
    advance(s);
}

static void judge(struct sender *s, const struct http_client_response *rs)
{
    const struct remote_write_endpoint *o = &s->endpoint->opt;
    s->under_way = false;
    if (atomic_load(&s->tenant->w->stopping) && rs->ec == EC_CANCELED) {
        batch_reset(&s->batch); /* it stays in the queue */
        return;
    }
    metric_observe(s->metrics.duration, (double)rs->elapsed_ns / (double)NS_PER_S);
    struct oauth2 *tokens = s->endpoint->oauth2;
    bool again_with_token =
        rs->ec == EC_OK && rs->status == 401 && tokens != NULL && oauth2_refused(tokens);
    bool late = again_with_token  ? true
                : rs->ec == EC_OK ? rs->status >= 500 || (rs->status == 429 && o->retry_on_429)
                                  : rs->ec != EC_TOO_LARGE && rs->ec != EC_INVALID;
    if (late) {
        again(s, rs, rs->ec == EC_OK ? "" : rs->error);
        return;
    }
    recovered(s);
    if (rs->ec == EC_OK && rs->status >= 200 && rs->status < 300) {
        sender_count(s, COUNTED_SENT, s->batch.kinds);
        metric_add(s->metrics.bytes, (double)s->batch.packed.n);
        metric_set(s->metrics.highest_sent, (double)(s->batch.highest_ms / 1000));
        advance(s);
    } else {
        refused(s, rs->status, buf_str(rs->body), rs->error);
    }
    sender_kick(s);
}

static void answered(void *arg, const struct http_client_response *rs)
{
    struct sender *s = arg;
    judge(s, rs);
    atomic_fetch_sub(&s->tenant->w->sending, 1); /* after the next request has begun */
}

void sender_kick(struct sender *s)
{
    struct remote_write *w = s->tenant->w;
    const struct remote_write_endpoint *o = &s->endpoint->opt;
    struct err err = {0};
    while (!s->under_way && !atomic_load(&w->stopping)) {
        enum oauth2_state ready = endpoint_ready(s->endpoint, &err);
        if (ready == OAUTH2_PENDING)
            wait_for(s, TOKEN_WAIT);
        if (ready == OAUTH2_FAILED)
            again(s, NULL, err_msg(&err));
        if (ready != OAUTH2_READY)
            return;
        if (!batch_fill(s, s->pos)) {
            wait_for(s, NO_MEMORY_WAIT);
            return;
        }
        bool moved = memcmp(&s->batch.end, &s->pos, sizeof(s->pos)) != 0;
        if (s->batch.n == 0 && !moved)
            return; /* all is sent */
        if (s->batch.n == 0) {
            advance(s);
            continue;
        }
        if (s->batch.n < o->samples_per_send_max && atomic_load(&s->tenant->collecting)) {
            batch_reset(&s->batch); /* the rest comes within milliseconds, and with it a kick */
            return;
        }
        set_pending(s, s->batch.kinds);
        enum ec ec = endpoint_send(s, buf_bytes(&s->batch.packed), answered, &err);
        if (ec == EC_OK) {
            s->under_way = true;
            atomic_fetch_add(&w->sending, 1);
        } else if (ec == EC_INVALID) {
            refused(s, 0, STR(""), err_msg(&err));
        } else {
            again(s, NULL, err_msg(&err));
        }
    }
}

void sender_deinit(struct sender *s)
{
    batch_deinit(&s->batch);
}
