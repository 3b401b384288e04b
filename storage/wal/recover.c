/* SPDX-License-Identifier: Apache-2.0
 * Recovery in two passes. The first reads headers: which LSNs are known to be durable, and what
 * each START says of the segments before it. With that the second checks every body in LSN order
 * and decides at each gap: never acknowledged and excused, damaged, or torn.
 *
 * The rule has one place, wal_gap_judge. Missing LSNs are
 *   excused   when a START says that nobody was told of them (failed sync, earlier crash);
 *   damaged   when at or below the durable LSN: counted, and reading goes on behind them;
 *   torn      otherwise: the log ends here, as all that follows was written after it and is not
 *             durable either.
 */
#include "recover.h"

#include <stdlib.h>

#include "segment.h"

void wal_recover_init(struct wal_recover *r, struct io *io, const char *dir, struct str tenant)
{
    *r = (struct wal_recover){.io = io, .dir = dir, .tenant = tenant, .reader = {.fd = -1}};
}

void wal_recover_deinit(struct wal_recover *r)
{
    for (size_t i = 0; i < r->files.n; i++)
        free(r->files.p[i].path);
    for (size_t i = 0; i < r->leftovers.n; i++)
        free(r->leftovers.p[i]);
    VEC_FREE(&r->files);
    VEC_FREE(&r->leftovers);
    wal_reader_deinit(&r->reader);
    wal_scratch_deinit(&r->scratch);
}

static void names_freep(struct io_names *names)
{
    io_names_free(names);
}

/* Names come sorted, and so the files by number. */
static enum ec wal_recover_list(struct wal_recover *r, struct err *err)
{
    CLEANUP(names_freep) struct io_names names = {0};
    uint64_t number;

    TRY(io_list(r->io, "wal.list", r->dir, &names, err));
    for (size_t i = 0; i < names.n; i++) {
        const char *name = names.p[i];
        if (wal_segment_name_parse(name, WAL_SUFFIX, &number)) {
            struct wal_found f = {
                .number = number, .path = wal_segment_path(r->dir, number, WAL_SUFFIX)};
            VEC_PUSH(&r->files, f);
        } else if (wal_segment_name_parse(name, WAL_SUFFIX_TMP, &number)) {
            VEC_PUSH(&r->leftovers, wal_segment_path(r->dir, number, WAL_SUFFIX_TMP));
        } else if (!wal_segment_name_parse(name, WAL_SUFFIX_BAD, &number)) {
            continue;
        }
        r->number_max = MAX(r->number_max, number);
    }
    return EC_OK;
}

/* A header that is valid but of another file or tenant is as bad as none: its records are not ours.
 * */
static bool wal_header_is_ours(const struct wal_recover *r, const struct wal_found *f)
{
    const struct wal_file_header *h = &r->reader.head;
    struct str tenant = {(const char *)h->tenant, h->tenant_n};

    return h->number == f->number && (r->tenant.p == NULL || str_eq(tenant, r->tenant));
}

static void wal_found_note(struct wal_recover *r, struct wal_found *f, const struct wal_item *item)
{
    const struct wal_record_header *h = &item->h;

    r->durable_lsn = MAX(r->durable_lsn, h->durable_lsn);
    r->lsn_max = MAX(r->lsn_max, h->lsn);
    if (h->type == WAL_RECORD_DATA) {
        f->first_lsn = f->first_lsn == 0 ? h->lsn : MIN(f->first_lsn, h->lsn);
        f->last_lsn = MAX(f->last_lsn, h->lsn);
    } else if (h->type == WAL_RECORD_START && item->body_ok && !f->started) {
        f->started = wal_start_get(item->body, h->lsn, &f->start);
    }
}

/* First pass over one file: headers only, but for the few bytes of a START. */
static enum ec wal_recover_index(struct wal_recover *r, struct wal_found *f, struct err *err)
{
    struct wal_reader *rd = &r->reader;
    struct wal_item item;
    bool any = false, first = true;

    for (;; first = false) {
        TRY(wal_reader_next(rd, first, &item, err));
        if (item.kind == WAL_ITEM_END)
            break;
        any = true;
        wal_found_note(r, f, &item);
        f->end_off = rd->pos;
    }
    f->torn = item.skipped_dirty;
    f->empty = !any && !item.skipped_dirty;
    /* The size was durable before the first record: a shorter file was cut by something else, and
     * unless the zeros that end the log are still there, nobody knows what was lost. */
    if (rd->file_bytes < rd->head.file_bytes) {
        f->damaged = true;
        f->empty = false;
        uint64_t end = MAX(f->end_off, (uint64_t)WAL_DATA_OFFSET);
        if (item.skipped_any || end + WAL_RECORD_HEADER_BYTES > rd->file_bytes)
            r->unknown_loss = true;
    }
    if (rd->unreadable > 0) {
        f->damaged = true;
        f->empty = false;
        r->unknown_loss = true;
    }
    return EC_OK;
}

static enum ec wal_recover_first(struct wal_recover *r, struct wal_found *f, struct err *err)
{
    struct wal_reader *rd = &r->reader;

    TRY(wal_reader_open(rd, r->io, f->path, err));
    f->file_bytes = rd->file_bytes;
    r->sum.segments++;
    r->sum.bytes += f->file_bytes;
    f->end_off = MIN((uint64_t)WAL_DATA_OFFSET, f->file_bytes);
    if (rd->state == WAL_HEADER_OTHER_VERSION) {
        enum ec ec =
            ERR(err, EC_UNSUPPORTED, "%s: wal format version %u, this program knows %u to %u",
                f->path, rd->head.version, WAL_VERSION_MIN, WAL_VERSION);
        wal_reader_close(rd);
        return ec;
    }
    enum ec ec = EC_OK;
    if (rd->state == WAL_HEADER_BAD || !wal_header_is_ours(r, f)) {
        f->bad = f->damaged = true;
        r->unknown_loss = true;
    } else {
        ec = wal_recover_index(r, f, err);
    }
    wal_reader_close(rd);
    return ec;
}

/* A START voids what lies above its end in every file before it. */
static void wal_recover_cuts(struct wal_recover *r)
{
    uint64_t cut = UINT64_MAX;

    for (size_t i = r->files.n; i-- > 0;) {
        struct wal_found *f = &r->files.p[i];
        f->cut_lsn = cut;
        if (f->started)
            cut = MIN(cut, f->start.end_lsn);
    }
}

/* LSNs of [from, to] that no START excuses. O(files^2), and only where something is missing. */
static uint64_t wal_count_unexcused(const struct wal_recover *r, uint64_t from, uint64_t to)
{
    uint64_t n = 0;

    while (from <= to) {
        uint64_t stop = to, excused_to = 0; /* next excuse begins after `stop` */
        for (size_t i = 0; i < r->files.n; i++) {
            const struct wal_start *s = &r->files.p[i].start;
            if (!r->files.p[i].started || s->first_lsn - 1 < from || s->sealed_lsn >= to)
                continue;
            if (s->sealed_lsn < from)
                excused_to = MAX(excused_to, s->first_lsn - 1);
            else
                stop = MIN(stop, s->sealed_lsn);
        }
        if (excused_to >= to)
            break;
        if (excused_to != 0) {
            from = excused_to + 1;
            continue;
        }
        n += stop - from + 1;
        from = stop + 1;
    }
    return n;
}

/* Marks the files in which [from, to] should have been. */
static void wal_gap_blame(struct wal_recover *r, uint64_t from, uint64_t to, bool damaged)
{
    for (size_t i = 0; i < r->files.n; i++) {
        struct wal_found *f = &r->files.p[i];
        uint64_t first = f->started ? f->start.first_lsn : f->first_lsn;
        uint64_t last = UINT64_MAX;
        if (i + 1 < r->files.n && r->files.p[i + 1].started)
            last = r->files.p[i + 1].start.first_lsn - 1;
        if (first > to || last < from)
            continue;
        if (damaged)
            f->damaged = true;
        else
            f->torn = true;
    }
}

/* The LSNs [from, to] are not there. See the head comment. */
static void wal_gap_judge(struct wal_recover *r, uint64_t from, uint64_t to)
{
    if (from > to)
        return;
    uint64_t acked_to = MIN(to, r->durable_lsn);
    uint64_t n = from <= acked_to ? wal_count_unexcused(r, from, acked_to) : 0;
    if (n > 0) {
        r->sum.damaged_records += n;
        wal_gap_blame(r, from, acked_to, true);
        r->next_lsn = acked_to + 1; /* counted once, also when the log ends here */
    }
    uint64_t unacked_from = MAX(from, r->durable_lsn + 1);
    if (unacked_from <= to && wal_count_unexcused(r, unacked_from, to) > 0) {
        r->stopped = true;
        wal_gap_blame(r, unacked_from, unacked_from, false);
    }
}

/* Decides on one DATA record; *ret_problem NULL: it is part of the log. */
static void wal_record_judge(struct wal_recover *r, struct wal_found *f,
    const struct wal_item *item, bool decoded, const char **ret_problem)
{
    uint64_t lsn = item->h.lsn;

    *ret_problem = NULL;
    if (lsn > f->cut_lsn)
        *ret_problem = "void: the log was sealed below it";
    else if (r->stopped)
        *ret_problem = "void: behind a torn record";
    else if (lsn < r->next_lsn)
        *ret_problem = "lsn seen before";
    else if (!item->body_ok)
        *ret_problem = "body checksum";
    else if (!decoded)
        *ret_problem = "body encoding";
    if (*ret_problem != NULL)
        return;
    if (r->next_lsn != 0)
        wal_gap_judge(r, r->next_lsn, lsn - 1);
    if (r->stopped)
        *ret_problem = "void: behind a torn record";
}

static enum ec wal_recover_record(struct wal_recover *r, struct wal_found *f,
    const struct wal_item *item, wal_visit_fn visit, void *ctx, struct err *err)
{
    struct wal_record rec = {.lsn = item->h.lsn};
    struct wal_visit v = {.file = f, .offset = item->off, .rec = &rec};
    bool decoded = false;

    if (item->body_ok) {
        enum ec ec = wal_record_decode(&item->h, item->body, &r->scratch, &rec, err);
        if (ec != EC_OK && ec != EC_CORRUPT)
            return ec;
        decoded = ec == EC_OK;
    }
    wal_record_judge(r, f, item, decoded, &v.problem);
    v.acked = rec.lsn <= r->durable_lsn && wal_count_unexcused(r, rec.lsn, rec.lsn) > 0;
    if (v.problem == NULL) {
        r->next_lsn = rec.lsn + 1;
        r->replayed_lsn = rec.lsn;
        r->sum.records++;
    } else if (!item->body_ok && rec.lsn <= f->cut_lsn && !v.acked) {
        f->torn = true;
    }
    return visit(ctx, &v, err);
}

/* Second pass over one file. */
static enum ec wal_recover_second(
    struct wal_recover *r, struct wal_found *f, wal_visit_fn visit, void *ctx, struct err *err)
{
    struct wal_reader *rd = &r->reader;
    struct wal_item item;
    enum ec ec;

    TRY(wal_reader_open(rd, r->io, f->path, err));
    if (rd->state != WAL_HEADER_OK) { /* it was, a moment ago: the disk no longer reads it */
        f->damaged = true;
        r->unknown_loss = true;
        wal_reader_close(rd);
        return EC_OK;
    }
    rd->limit = MIN(f->end_off, rd->file_bytes);
    if (f->started && r->next_lsn == 0)
        r->next_lsn = f->start.first_lsn;
    while ((ec = wal_reader_next(rd, true, &item, err)) == EC_OK && item.kind != WAL_ITEM_END) {
        /* Bytes skipped before it say nothing by themselves: a torn mark that a record outlived, or
         * a void record. Lost records show as a gap. */
        if (item.h.type != WAL_RECORD_DATA)
            continue;
        ec = wal_recover_record(r, f, &item, visit, ctx, err);
        if (ec != EC_OK)
            break;
    }
    if (rd->unreadable > 0) {
        f->damaged = true;
        r->unknown_loss = true;
    }
    wal_reader_close(rd);
    return ec;
}

static void wal_recover_totals(struct wal_recover *r)
{
    struct wal_recovery *sum = &r->sum;

    if (r->next_lsn != 0) {
        bool stopped = r->stopped;
        wal_gap_judge(r, r->next_lsn, r->durable_lsn);
        ASSERT(r->stopped == stopped); /* durable LSNs are never torn */
    }
    if (r->unknown_loss && sum->damaged_records == 0)
        sum->damaged_records = 1;
    for (size_t i = 0; i < r->files.n; i++) {
        const struct wal_found *f = &r->files.p[i];
        sum->torn_tails += f->torn && !f->damaged;
        sum->set_aside += f->damaged;
        if (f->last_lsn > r->replayed_lsn && f->cut_lsn > r->replayed_lsn)
            r->void_unsealed = true;
    }
    sum->last_lsn = r->replayed_lsn;
}

enum ec wal_recover_run(struct wal_recover *r, wal_visit_fn visit, void *ctx, struct err *err)
{
    TRY(wal_recover_list(r, err));
    for (size_t i = 0; i < r->files.n; i++)
        TRY(wal_recover_first(r, &r->files.p[i], err));
    wal_recover_cuts(r);
    for (size_t i = 0; i < r->files.n; i++) {
        if (!r->files.p[i].bad && !r->files.p[i].empty)
            TRY(wal_recover_second(r, &r->files.p[i], visit, ctx, err));
    }
    wal_recover_totals(r);
    return EC_OK;
}

/* wal_scan: the same judgement, told record by record. */

struct wal_scan_ctx {
    void (*each)(void *ctx, const struct wal_dump_record *r);
    void *ctx;
};

static enum ec wal_scan_visit(void *ctx, const struct wal_visit *v, struct err *err)
{
    struct wal_scan_ctx *scan = ctx;
    struct wal_dump_record d = {
        .path = v->file->path,
        .segment = v->file->number,
        .offset = v->offset,
        .rec = *v->rec,
        .problem = v->problem,
        .acked = v->acked,
    };
    (void)err;
    scan->each(scan->ctx, &d);
    return EC_OK;
}

static void wal_scan_files(const struct wal_recover *r, struct wal_scan_ctx *scan)
{
    for (size_t i = 0; i < r->files.n; i++) {
        const struct wal_found *f = &r->files.p[i];
        struct wal_dump_record d = {.path = f->path,
            .segment = f->number,
            .offset = f->end_off,
            .acked = f->damaged}; /* what is missing was durable */
        if (f->bad)
            d.problem = "no valid file header";
        else if (f->damaged)
            d.problem = "damaged segment";
        else if (f->torn)
            d.problem = "torn tail";
        if (d.problem != NULL)
            scan->each(scan->ctx, &d);
    }
}

enum ec wal_scan(struct io *io, const char *dir,
    void (*each)(void *ctx, const struct wal_dump_record *r), void *ctx, struct wal_recovery *ret,
    struct err *err)
{
    struct wal_scan_ctx scan = {each, ctx};
    struct wal_recover r;

    wal_recover_init(&r, io == NULL ? &io_real : io, dir, (struct str){0});
    enum ec ec = wal_recover_run(&r, wal_scan_visit, &scan, err);
    if (ec == EC_OK) {
        wal_scan_files(&r, &scan);
        *ret = r.sum;
    }
    wal_recover_deinit(&r);
    return ec;
}
