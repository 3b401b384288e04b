/* SPDX-License-Identifier: Apache-2.0
 * Records of a queue to one WriteRequest. Nothing is kept between attempts: a retry reads again,
 * so that waiting endpoints cost no memory. */
#include <snappy-c.h>

#include "base/clock.h"
#include "model/otlp_write.h"
#include "rw_int.h"

#define BODY_BYTES_MAX (4u << 20) /* receivers have limits; entries are some 200 bytes */
#define SEEN_MAX       100000u    /* entries of one go, when all are dropped */

void batch_reset(struct batch *b)
{
    buf_deinit(&b->body); /* memory is for those who send */
    buf_deinit(&b->packed);
    b->n = 0;
    b->n_seen = 0;
    memset(b->kinds, 0, sizeof(b->kinds));
    memset(b->dropped, 0, sizeof(b->dropped));
}

void batch_deinit(struct batch *b)
{
    batch_reset(b);
}

static bool too_old(const struct sender *s, int64_t time_ms)
{
    int64_t limit = s->endpoint->opt.sample_age_max_ns;
    return limit != 0 && clock_wall_ns() - time_ms * NS_PER_MS > limit;
}

static void take_entry(
    struct sender *s, struct bytes series, int64_t time_ms, enum remote_write_kind kind)
{
    struct batch *b = &s->batch;
    enum dropped why = DROPPED_OLD;
    bool keep = !too_old(s, time_ms);
    if (keep && s->endpoint->relabel == NULL) {
        pb_put_bytes(&b->body, 1, str_of_bytes(series));
    } else if (keep) {
        size_t before = b->body.n, mark = pb_begin(&b->body, 1);
        why = DROPPED_SERIES;
        keep = relabel_series(s->endpoint->relabel, series, &b->body);
        if (keep)
            pb_end(&b->body, mark);
        else
            b->body.n = before;
    }
    if (!keep) {
        b->dropped[kind][why]++;
        return;
    }
    b->n++;
    b->kinds[kind]++;
    b->highest_ms = MAX(b->highest_ms, time_ms);
}

/* Entries of one record from b->end.entry on. False: the batch is full. */
static bool take_record(struct sender *s, struct bytes raw, uint32_t n_entries)
{
    struct batch *b = &s->batch;
    const uint8_t *p = raw.p, *end = raw.p + raw.n;
    for (uint32_t i = 0; i < n_entries; i++) {
        if ((size_t)(end - p) < ENTRY_HEAD || get_u32le(p) > (size_t)(end - p) - ENTRY_HEAD ||
            p[4] >= REMOTE_WRITE_KINDS)
            break; /* not ours: the checksum held, so a record of another version */
        struct bytes series = {p + ENTRY_HEAD, get_u32le(p)};
        if (i >= b->end.entry) {
            if (b->n >= s->endpoint->opt.samples_per_send_max || b->body.n >= BODY_BYTES_MAX ||
                b->n_seen++ == SEEN_MAX)
                return false;
            take_entry(s, series, (int64_t)get_u64le(p + 5), (enum remote_write_kind)p[4]);
            b->end.entry = i + 1;
            b->end.seen++;
        }
        p = series.p + series.n;
    }
    b->end.entry = n_entries; /* queue_read goes on behind it */
    return true;
}

static bool pack(struct batch *b)
{
    size_t n = snappy_max_compressed_length(b->body.n);
    if (!buf_reserve(&b->packed, n) ||
        snappy_compress((const char *)b->body.p, b->body.n, (char *)b->packed.p, &n) != SNAPPY_OK)
        return false;
    b->packed.n = n;
    return true;
}

bool batch_fill(struct sender *s, struct queue_pos from)
{
    struct batch *b = &s->batch;
    struct remote_write *w = s->tenant->w;
    struct buf raw;
    uint32_t n = 0;
    uint64_t damaged = 0;
    batch_reset(b);
    b->body.budget = b->packed.budget = w->opt.budget;
    b->end = from;
    buf_init(&raw, w->opt.budget);
    bool room = true;
    while (room && queue_read(s->tenant->queue, &b->end, &raw, &n, &damaged))
        room = take_record(s, buf_bytes(&raw), n);
    bool ok = !raw.failed && !b->body.failed;
    buf_deinit(&raw);
    b->dropped[REMOTE_WRITE_SAMPLE][DROPPED_DAMAGED] = (uint32_t)damaged; /* records, in truth */
    ok = ok && (b->n == 0 || pack(b));
    buf_deinit(&b->body);
    if (!ok)
        batch_reset(b);
    return ok;
}
