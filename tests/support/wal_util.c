/* SPDX-License-Identifier: Apache-2.0
 * Helpers of the WAL tests. */
#include "wal_util.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "storage/wal/reader.h"
#include "unit.h"

void wal_seen_reset(struct wal_seen *s)
{
    s->n = 0;
}

void wal_seen_deinit(struct wal_seen *s)
{
    free(s->p);
    *s = (struct wal_seen){0};
}

enum ec wal_seen_add(void *seen, const struct wal_record *rec, struct err *err)
{
    struct wal_seen *s = seen;
    (void)err;
    if (s->n == s->cap) {
        s->cap = s->cap == 0 ? 64 : s->cap * 2;
        s->p = xrealloc(s->p, s->cap * sizeof(*s->p));
    }
    struct wal_seen_record *r = &s->p[s->n++];
    *r = (struct wal_seen_record){
        .lsn = rec->lsn,
        .sum = hash64(rec->otlp.p, rec->otlp.n),
        .n = rec->otlp.n,
        .arrival_s = rec->arrival_s,
        .attr_bytes_max = rec->attr_bytes_max,
        .n_skip = rec->n_skip,
    };
    if (rec->n_skip > 0)
        memcpy(r->skip, rec->skip, 4 * MIN(rec->n_skip, (uint32_t)ARRAY_LEN(r->skip)));
    return EC_OK;
}

const struct wal_seen_record *wal_seen_find(const struct wal_seen *s, uint64_t lsn)
{
    for (size_t i = 0; i < s->n; i++) {
        if (s->p[i].lsn == lsn)
            return &s->p[i];
    }
    return NULL;
}

void wal_seen_check(const struct wal_seen *s, uint64_t lsn, size_t n)
{
    const struct wal_seen_record *r = wal_seen_find(s, lsn);
    if (r == NULL)
        fail_msg("record %llu is missing", (unsigned long long)lsn);
    CLEANUP(freep) uint8_t *want = xmalloc(n + 1);
    wal_util_fill(want, n, r->arrival_s);
    assert_int_equal(r->n, n);
    assert_int_equal(r->sum, hash64(want, n));
}

void wal_util_fill(uint8_t *p, size_t n, uint64_t key)
{
    uint64_t x = hash_mix(key + 1);
    for (size_t i = 0; i < n; i++) {
        if (i % 16 == 0)
            x = hash_mix(x + 1);
        p[i] = (uint8_t)(i % 16 < 8 ? x >> 8 * (i % 8) : 'a' + i % 16);
    }
}

enum ec wal_util_try_append(
    struct wal *w, uint64_t key, size_t n, int level, uint64_t *ret_lsn, struct err *err)
{
    CLEANUP(freep) uint8_t *p = xmalloc(n + 1);
    CLEANUP(buf_deinit) struct buf enc = BUF_INIT;
    struct wal_record rec = {.arrival_s = (uint32_t)key, .otlp = {p, n}};
    wal_util_fill(p, n, key);
    TRY(wal_record_encode(&enc, &rec, level, err));
    return wal_append(w, &enc, ret_lsn, err);
}

void wal_util_append(struct wal *w, uint64_t lsn, size_t n, int level)
{
    struct err err = {0};
    uint64_t got = 0;
    if (wal_util_try_append(w, lsn, n, level, &got, &err) != EC_OK)
        fail_msg("append: %s", err.msg);
    assert_int_equal(got, lsn);
}

void wal_util_sync(struct wal *w, uint64_t durable)
{
    struct err err = {0};
    uint64_t lsn = 0, from, to;
    if (wal_sync(w, &lsn, &from, &to, &err) != EC_OK)
        fail_msg("sync: %s", err.msg);
    assert_int_equal(lsn, durable);
    assert_int_equal(wal_durable_lsn(w), durable);
}

unsigned wal_util_files(const char *dir, const char *suffix)
{
    struct io_names names;
    struct err err;
    unsigned n = 0;
    if (io_list(&io_real, "test", dir, &names, &err) != EC_OK)
        fail_msg("%s", err.msg);
    for (size_t i = 0; i < names.n; i++)
        n += str_ends(str_from(names.p[i]), str_from(suffix));
    io_names_free(&names);
    return n;
}

uint64_t wal_util_records(const char *dir)
{
    struct io_names names;
    struct err err;
    uint64_t n = 0;
    if (io_list(&io_real, "test", dir, &names, &err) != EC_OK)
        fail_msg("%s", err.msg);
    for (size_t i = 0; i < names.n; i++) {
        struct wal_reader r = {.fd = -1};
        struct wal_item item;
        char path[4096];
        snprintf(path, sizeof(path), "%s/%s", dir, names.p[i]);
        if (!str_ends(str_from(path), STR(".wal")))
            continue;
        assert_int_equal(wal_reader_open(&r, &io_real, path, &err), EC_OK);
        assert_int_equal(r.state, WAL_HEADER_OK);
        while (wal_reader_next(&r, true, &item, &err) == EC_OK && item.kind == WAL_ITEM_RECORD)
            n++;
        wal_reader_deinit(&r);
    }
    io_names_free(&names);
    return n;
}
