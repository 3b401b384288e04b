/* SPDX-License-Identifier: Apache-2.0
 * Cutting an encoded answer into packets, and sending them.
 *
 * All answers of the service have one shape: field 1 repeated, then `metrics` as field 2, then
 * perhaps status and message. So the bytes are cut, whatever they mean. Sizes are counted as Tempo
 * counts them: metrics and elements, without status and message. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "grpc_query.h"
#include "model/otlp_write.h"

/* What a packet holds besides what its size is counted by: the name of a scope, status, message. */
#define PACKET_ENDS 4096u

struct packer {
    struct buf *scratch;
    struct bytes metrics, last;
    size_t max, n_elements, size;
    grpc_packet_fn fn;
    void *arg;
};

/* One length-delimited or varint field at p: *ret_end is behind it, *ret_value what it holds. */
static uint32_t field_at(
    const uint8_t *p, const uint8_t *end, const uint8_t **ret_end, struct bytes *ret_value)
{
    uint64_t tag = 0, n = 0;
    p = varint_get(p, end, &tag);
    ASSERT(p != NULL && ((tag & 7) == PB_LEN || (tag & 7) == PB_VARINT)); /* we wrote it */
    p = varint_get(p, end, &n);
    ASSERT(p != NULL);
    if ((tag & 7) == PB_VARINT)
        n = 0;
    ASSERT(n <= (size_t)(end - p));
    *ret_value = bytes_n(p, (size_t)n);
    *ret_end = p + n;
    return (uint32_t)(tag >> 3);
}

static bool pack_flush(struct packer *k, bool end)
{
    buf_put(k->scratch, k->metrics.p, k->metrics.n);
    if (end)
        buf_put(k->scratch, k->last.p, k->last.n);
    if (buf_failed(k->scratch) || !k->fn(k->arg, buf_bytes(k->scratch)))
        return false;
    buf_reset(k->scratch);
    k->n_elements = 0;
    k->size = k->metrics.n;
    return true;
}

static bool full(const struct packer *k, size_t more)
{
    return k->n_elements != 0 && k->size + more > k->max;
}

/* A scope goes tag by tag; its name begins every piece. */
static bool pack_scope(struct packer *k, struct bytes scope)
{
    const uint8_t *end = scope.p + scope.n, *next;
    struct bytes name, tag;
    if (field_at(scope.p, end, &next, &name) != 1)
        return false;
    size_t open = pb_begin(k->scratch, 1);
    pb_put_bytes(k->scratch, 1, str_of_bytes(name));
    for (const uint8_t *p = next; p < end; p = next) {
        (void)field_at(p, end, &next, &tag);
        size_t n = (size_t)(next - p);
        if (full(k, n)) {
            pb_end(k->scratch, open);
            if (!pack_flush(k, false))
                return false;
            open = pb_begin(k->scratch, 1);
            pb_put_bytes(k->scratch, 1, str_of_bytes(name));
        }
        buf_put(k->scratch, p, n);
        k->size += n;
        k->n_elements++;
    }
    pb_end(k->scratch, open);
    return true;
}

bool grpc_packets(
    struct bytes answer, size_t max, bool scopes, struct buf *scratch, grpc_packet_fn fn, void *arg)
{
    struct packer k = {.scratch = scratch, .max = max, .fn = fn, .arg = arg};
    const uint8_t *end = answer.p + answer.n, *elements_end = answer.p, *next;
    struct bytes value;
    if (max == 0 || answer.n <= max)
        return fn(arg, answer);
    for (const uint8_t *p = answer.p; p < end; p = next) {
        uint32_t field = field_at(p, end, &next, &value);
        if (field == 1)
            elements_end = next;
        else if (field == 2)
            k.metrics = bytes_n(p, (size_t)(next - p));
        else if (k.last.p == NULL)
            k.last = bytes_n(p, (size_t)(end - p));
    }
    k.size = k.metrics.n;
    for (const uint8_t *p = answer.p; p < elements_end; p = next) {
        (void)field_at(p, end, &next, &value);
        size_t n = (size_t)(next - p);
        if (scopes) {
            if (!pack_scope(&k, value))
                return false;
            continue;
        }
        if (full(&k, n) && !pack_flush(&k, false))
            return false;
        buf_put(scratch, p, n);
        k.size += n;
        k.n_elements++;
    }
    return pack_flush(&k, true);
}

/* ---- sending ---- */

struct sender {
    struct query_job *job;
    bool too_large;
    size_t size;
};

static bool send_packet(void *arg, struct bytes packet)
{
    struct sender *s = arg;
    uint64_t max = s->job->api->opt.config->server.grpc_max_send;
    s->job->told = true;
    s->size = packet.n;
    s->too_large = max != 0 && packet.n > max;
    return !s->too_large && grpc_queue(s->job->ex, packet);
}

static bool send_all(struct query_job *job, struct bytes message, struct sender *s)
{
    *s = (struct sender){.job = job};
    buf_reset(&job->packet);
    return grpc_packets(message, (size_t)job->api->opt.config->grpc_packet_bytes_max,
        job->grpc->scopes, &job->packet, send_packet, s);
}

bool grpc_job_reserve(struct query_job *job, size_t n)
{
    size_t max = (size_t)job->api->opt.config->grpc_packet_bytes_max;
    return job->grpc == NULL || max == 0 || n <= max ||
           buf_reserve(&job->packet, max + PACKET_ENDS);
}

bool grpc_job_wants(struct query_job *job)
{
    return grpc_unsent(job->ex) == 0;
}

void grpc_job_tell(struct query_job *job, struct buf *message)
{
    struct sender s;
    /* What cannot be sent is in the final answer too. */
    if (!buf_failed(message))
        (void)send_all(job, buf_bytes(message), &s);
    buf_deinit(message);
}

unsigned grpc_code_of(const struct query_job *job, unsigned status)
{
    bool late = job->client_deadline_ns != 0 && clock_mono_ns() >= job->client_deadline_ns;
    switch (status) {
    case 200:
        return 0;
    case 400:
        return job->invalid_unknown ? 2 : 3;
    case 404:
        return 5;
    case 429:
        return 8;
    case 499:
        return 1;
    case 504:
        return late ? 4 : 13;
    default:
        return status >= 500 ? 13 : 2;
    }
}

void grpc_job_respond(struct query_job *job, unsigned status, struct buf *take_body)
{
    struct exchange *ex = job->ex;
    unsigned code = grpc_code_of(job, status);
    struct sender s = {0};
    struct buf text = BUF_INIT;
    if (code != 0)
        buf_puts(&text, buf_str(take_body));
    else if (!send_all(job, buf_bytes(take_body), &s)) {
        code = exchange_canceled(ex) ? 1 : 8;
        if (code == 1)
            buf_putz(&text, "context canceled");
        else if (s.too_large)
            buf_printf(&text, "trying to send message larger than max (%zu vs. %llu)", s.size,
                (unsigned long long)job->api->opt.config->server.grpc_max_send);
        else
            buf_putz(&text, "answer is over the memory budget");
    }
    buf_deinit(take_body);
    job_free(job);
    grpc_finish(ex, code, buf_str(&text), (struct bytes){0});
    buf_deinit(&text);
}
