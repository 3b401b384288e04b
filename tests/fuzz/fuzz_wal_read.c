/* SPDX-License-Identifier: Apache-2.0
 * WAL recovery on any bytes: no crash, order kept, scan and open agree, and the log goes on after
 * it.
 *
 * Byte 0 of the input chooses what the harness repairs, so that mutation gets past the checksums:
 * 1 file headers are made by the harness, else the input brings one; 2 record headers; 4 bodies;
 * 8 the files had a life before: what is no record counts for nothing, the records are the same.
 * Byte 1: where the rest is split into two segments, in 1/256 of its length. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>

#include "io_sim.h"
#include "storage/wal.h"
#include "storage/wal/format.h"

#define REPAIR_FILE   1
#define REPAIR_HEADER 2
#define REPAIR_BODY   4
#define HAS_PAST      8
#define INPUT_MAX     (64u << 10)
#define SALT          0x5a17

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* Walks as a reader would and puts right what `mode` says. */
static void repair(uint8_t *p, size_t n, unsigned mode)
{
    for (size_t at = 0; at + WAL_RECORD_HEADER_BYTES <= n;) {
        uint8_t *h = p + at;
        size_t room = n - at - WAL_RECORD_HEADER_BYTES, body_n = get_u32le(h);
        if (get_u64le(h) == 0) {
            at += WAL_RECORD_ALIGN;
            continue;
        }
        if (body_n > room)
            body_n = room;
        if ((mode & REPAIR_BODY) != 0)
            put_u64le(h + 32, wal_body_sum(bytes_n(h + WAL_RECORD_HEADER_BYTES, body_n)));
        if ((mode & REPAIR_HEADER) != 0) {
            uint64_t lsn = get_u64le(h + 8), durable = get_u64le(h + 16);
            put_u32le(h, (uint32_t)body_n);
            wal_record_header_seal(h, SALT, lsn, durable <= lsn ? durable : lsn);
        }
        at += (size_t)wal_record_bytes(body_n);
    }
}

static void write_segment(struct io *io, uint64_t number, const uint8_t *p, size_t n, unsigned mode)
{
    char path[] = "/w/0000000000000000.wal";
    static uint8_t img[WAL_DATA_OFFSET + INPUT_MAX];
    struct wal_file_header h = {.number = number,
        .salt = SALT,
        .file_bytes = WAL_DATA_OFFSET + n,
        .version = WAL_VERSION,
        .stale_end = (mode & HAS_PAST) != 0 ? WAL_DATA_OFFSET + n : 0,
        .tenant_n = 1,
        .tenant = "t"};
    int fd;

    path[18] = (char)('0' + number);
    memset(img, 0, sizeof(img));
    if ((mode & REPAIR_FILE) != 0)
        wal_file_header_put(img, &h);
    else
        memcpy(img, p, n < WAL_FILE_HEADER_BYTES ? n : WAL_FILE_HEADER_BYTES);
    memcpy(img + WAL_DATA_OFFSET, p, n);
    repair(img + WAL_DATA_OFFSET, n, mode);
    if (io_open(io, "fuzz", path, O_RDWR | O_CREAT, 0600, &fd, NULL) != EC_OK ||
        io_pwrite(io, "fuzz", fd, img, WAL_DATA_OFFSET + n, 0, NULL) != EC_OK)
        abort();
    io_close(io, "fuzz", fd, NULL);
}

struct seen {
    uint64_t n, last_lsn, sum;
};

static enum ec replay(void *ctx, const struct wal_record *rec, struct err *err)
{
    struct seen *s = ctx;
    (void)err;
    ASSERT(s->n == 0 || rec->lsn > s->last_lsn);
    for (uint32_t i = 1; i < rec->n_skip; i++)
        ASSERT(rec->skip[i] > rec->skip[i - 1]);
    for (size_t i = 0; i < rec->otlp.n; i += 64)
        s->sum += rec->otlp.p[i];
    s->last_lsn = rec->lsn;
    s->n++;
    return EC_OK;
}

static void scan_each(void *ctx, const struct wal_dump_record *r)
{
    uint64_t *n = ctx;
    *n += r->problem == NULL;
}

/* Acknowledged records that could not be read are missed, or come back, at the next start. */
static void go_on(
    const struct wal_options *opt, struct wal *w, const struct seen *before, bool damaged)
{
    struct wal_record rec = {.otlp = bytes_of_str(STR("next"))};
    struct buf enc = BUF_INIT;
    struct wal_recovery r;
    struct seen after = {0};
    struct err err;
    uint64_t lsn, durable, from, to;

    ASSERT(wal_record_encode(&enc, &rec, 0, &err) == EC_OK);
    ASSERT(wal_append(w, &enc, &lsn, &err) == EC_OK);
    ASSERT(lsn > before->last_lsn);
    ASSERT(wal_sync(w, &durable, &from, &to, &err) == EC_OK);
    ASSERT(durable == lsn);
    wal_abandon(w);
    ASSERT(wal_open(opt, replay, &after, &r, &w, &err) == EC_OK);
    ASSERT(damaged ? after.n > before->n : after.n == before->n + 1);
    ASSERT(after.last_lsn == lsn);
    wal_abandon(w);
    buf_deinit(&enc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct wal_recovery scanned = {0}, plain = {0}, opened;
    struct seen seen = {0};
    struct wal *w;
    struct err err;
    uint64_t n_valid = 0, n_plain = 0;

    if (n < 2 || n > INPUT_MAX)
        return 0;
    struct io_sim *sim = io_sim_new(1);
    struct io *io = io_sim_io(sim);
    struct wal_options opt = {
        .io = io, .dir = "/w", .tenant = STR("t"), .segment_bytes_min = 16 << 10};
    if (io_mkdir(io, "fuzz", "/w", NULL) != EC_OK)
        abort();
    size_t first = (n - 2) * data[1] / 256 & ~(size_t)7;
    if ((data[0] & (REPAIR_FILE | HAS_PAST)) == (REPAIR_FILE | HAS_PAST)) {
        write_segment(io, 1, data + 2, first, data[0] & ~HAS_PAST);
        write_segment(io, 2, data + 2 + first, n - 2 - first, data[0] & ~HAS_PAST);
        ASSERT(wal_scan(io, "/w", scan_each, &n_plain, &plain, &err) == EC_OK);
    }
    write_segment(io, 1, data + 2, first, data[0]);
    write_segment(io, 2, data + 2 + first, n - 2 - first, data[0]);

    enum ec scan = wal_scan(io, "/w", scan_each, &n_valid, &scanned, &err);
    enum ec ec = wal_open(&opt, replay, &seen, &opened, &w, &err);
    if (ec == EC_OK) {
        ASSERT(opened.records == seen.n);
        if ((data[0] & REPAIR_FILE) !=
            0) { /* else open may find another tenant where scan asks none */
            ASSERT(scan == EC_OK);
            ASSERT(n_valid == seen.n);
            ASSERT(scanned.damaged_records == opened.damaged_records);
        }
        if ((data[0] & (REPAIR_FILE | HAS_PAST)) == (REPAIR_FILE | HAS_PAST)) {
            ASSERT(n_plain == seen.n);
            ASSERT(plain.damaged_records == opened.damaged_records);
            ASSERT(plain.set_aside == opened.set_aside);
            ASSERT(plain.torn_tails >= opened.torn_tails);
        }
        if (wal_last_lsn(w) < UINT64_MAX - 16)
            go_on(&opt, w, &seen, opened.damaged_records > 0);
        else
            wal_abandon(w);
    } else {
        ASSERT(ec == EC_UNSUPPORTED);
    }
    io_sim_free(sim);
    return 0;
}
