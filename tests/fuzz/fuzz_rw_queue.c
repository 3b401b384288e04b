/* SPDX-License-Identifier: Apache-2.0
 * A remote-write queue as a crash, a bad disk or another version may have left it: opening and
 * reading end, every batch is a whole request, and the queue goes on behind the damage.
 *
 * The input is a list of chunks: what u8, raw u16, entries u8, bytes u16, then that many bytes. A
 * chunk becomes a record; `what` says of it:
 *   1  its bytes are compressed first, and `raw` is their true number
 *   2  the sum of the payload is wrong     4  the sum of the head is wrong
 *   8  it is no record: the bytes as they are
 *   16 it begins a segment                 32 some bytes of its end are missing
 * The first 6 bytes: segment u8, offset u16, entry u8 of a reader's position, entries of a batch
 * u8, 1: the position's sum is right. */
#include <fcntl.h>
#include <snappy-c.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/compress.h"
#include "base/hash.h"
#include "io_sim.h"
#include "src/remote_write/rw_int.h"

#define INPUT_MAX (64u << 10)
#define MAGIC     0x31715756u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void write_file(struct io *io, const char *path, const struct buf *b)
{
    int fd;
    if (io_open(io, "fuzz", path, O_RDWR | O_CREAT, 0600, &fd, NULL) != EC_OK ||
        io_pwrite(io, "fuzz", fd, b->p, b->n, 0, NULL) != EC_OK)
        abort();
    io_close(io, "fuzz", fd, NULL);
}

static void put_record(struct buf *out, const uint8_t *chunk, struct bytes body)
{
    uint8_t what = chunk[0], head[32];
    struct buf payload = BUF_INIT;
    uint32_t raw = get_u16le(chunk + 1);
    if (what & 1) {
        if (zstd_compress(&payload, body, 1, NULL) != EC_OK)
            abort();
        raw = (uint32_t)body.n;
    } else {
        buf_put(&payload, body.p, body.n);
    }
    put_u32le(head, MAGIC);
    put_u32le(head + 4, (uint32_t)payload.n);
    put_u32le(head + 8, raw);
    put_u32le(head + 12, chunk[3]);
    put_u64le(head + 16, hash64(head, 16) + !!(what & 4));
    put_u64le(head + 24, hash64(payload.p, payload.n) + !!(what & 2));
    buf_put(out, head, sizeof(head));
    buf_put(out, payload.p, payload.n);
    buf_deinit(&payload);
}

static void write_segments(struct io *io, const uint8_t *p, size_t n)
{
    struct buf segment = BUF_INIT;
    unsigned number = 1;
    char path[60];
    while (n >= 6) {
        size_t body = MIN(get_u16le(p + 4), n - 6);
        if ((p[0] & 16) && segment.n != 0) {
            snprintf(path, sizeof(path), "/q/%016x.seg", number++);
            write_file(io, path, &segment);
            buf_reset(&segment);
        }
        if (p[0] & 8)
            buf_put(&segment, p + 6, body);
        else
            put_record(&segment, p, bytes_n(p + 6, body));
        if (p[0] & 32)
            segment.n -= MIN(segment.n, 5);
        p += 6 + body;
        n -= 6 + body;
    }
    snprintf(path, sizeof(path), "/q/%016x.seg", number);
    if (segment.n != 0)
        write_file(io, path, &segment);
    buf_deinit(&segment);
}

static void write_position(struct io *io, const uint8_t *p)
{
    struct buf b = BUF_INIT;
    buf_put_u64le(&b, p[0]);
    buf_put_u32le(&b, get_u16le(p + 1));
    buf_put_u32le(&b, p[3]);
    buf_put_u64le(&b, hash64(b.p, 16) + !(p[5] & 1));
    write_file(io, "/q/known.pos", &b);
    buf_deinit(&b);
}

static void open_queue(struct io *io, struct sender *s)
{
    const struct queue_options o = {
        .io = io, .dir = "/q", .bytes_max = 1u << 20, .segment_bytes = 4096};
    struct err err = {0};
    if (queue_open(&o, &s->tenant->queue, &err) != EC_OK ||
        queue_reader(s->tenant->queue, "known", &s->reader, &s->pos, &err) != EC_OK)
        abort(); /* nothing in the files may keep a queue from opening */
}

/* A batch is a request that fits, with as many entries as it says. */
static void check_batch(const struct batch *b, uint32_t max)
{
    size_t raw_n = 0;
    uint32_t kinds = 0;
    ASSERT(b->n > 0 && b->n <= max);
    for (unsigned k = 0; k < REMOTE_WRITE_KINDS; k++)
        kinds += b->kinds[k];
    ASSERT(kinds == b->n);
    ASSERT(snappy_uncompressed_length((const char *)b->packed.p, b->packed.n, &raw_n) == SNAPPY_OK);
    char *raw = xmalloc(raw_n + 1);
    ASSERT(snappy_uncompress((const char *)b->packed.p, b->packed.n, raw, &raw_n) == SNAPPY_OK);
    uint32_t entries = 0;
    for (const uint8_t *p = (const uint8_t *)raw, *end = p + raw_n; p < end; entries++) {
        uint64_t len = 0;
        ASSERT(*p == (1 << 3 | 2)); /* WriteRequest.timeseries */
        p = varint_get(p + 1, end, &len);
        ASSERT(p != NULL && len <= (uint64_t)(end - p));
        p += len;
    }
    ASSERT(entries == b->n);
    free(raw);
}

/* Reads all there is, as a sender whose endpoint takes everything; the entries. */
static uint64_t read_all(struct sender *s)
{
    uint64_t entries = 0;
    for (unsigned rounds = 0;; rounds++) {
        ASSERT(rounds < 2 * INPUT_MAX); /* it gets somewhere each time */
        ASSERT(batch_fill(s, s->pos));
        if (s->batch.n == 0 && memcmp(&s->batch.end, &s->pos, sizeof(s->pos)) == 0)
            return entries;
        if (s->batch.n != 0)
            check_batch(&s->batch, s->endpoint->opt.samples_per_send_max);
        entries += s->batch.n;
        s->pos = s->batch.end;
        queue_done(s->tenant->queue, s->reader, &s->pos);
    }
}

static void go_on(struct io *io, struct sender *s)
{
    uint64_t dropped[QUEUE_READERS_MAX] = {0};
    struct buf raw = BUF_INIT;
    for (unsigned i = 0; i < 2; i++) { /* two entries in one record */
        buf_put_u32le(&raw, 3);
        buf_putc(&raw, (char)(i + 1));
        buf_put_u64le(&raw, 1);
        buf_putz(&raw, "abc");
    }
    ASSERT(queue_append(s->tenant->queue, buf_bytes(&raw), 2, dropped, NULL) == EC_OK);
    buf_deinit(&raw);
    ASSERT(read_all(s) == 2);
    queue_close(s->tenant->queue);
    open_queue(io, s); /* the position was kept */
    ASSERT(read_all(s) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 6 || n > INPUT_MAX)
        return 0;
    struct io_sim *sim = io_sim_new(1);
    struct io *io = io_sim_io(sim);
    struct budget budget;
    budget_init(&budget, NULL, "fuzz", 64u << 20);
    struct remote_write w = {.opt = {.io = io, .budget = &budget}};
    struct tenant t = {.w = &w};
    struct endpoint e = {.opt = {.samples_per_send_max = 1u + data[4]}};
    struct sender s = {.tenant = &t, .endpoint = &e};
    if (io_mkdir(io, "fuzz", "/q", NULL) != EC_OK)
        abort();
    write_position(io, data);
    write_segments(io, data + 6, n - 6);
    open_queue(io, &s);
    (void)read_all(&s);
    go_on(io, &s);
    sender_deinit(&s);
    queue_close(t.queue);
    budget_deinit(&budget);
    io_sim_free(sim);
    return 0;
}
