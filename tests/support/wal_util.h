/* SPDX-License-Identifier: Apache-2.0
 * For tests of the WAL: records whose contents are a formula of their LSN, and a place that
 * collects what a replay delivers. Included by programs that link cmocka. */
#pragma once

#include "storage/wal.h"

struct wal_seen_record {
    uint64_t lsn, sum; /* sum: hash of the request */
    size_t n;
    uint32_t arrival_s, attr_bytes_max, n_skip;
    uint32_t skip[8];
};
struct wal_seen {
    struct wal_seen_record *p;
    size_t n, cap;
};
void wal_seen_reset(struct wal_seen *s);
void wal_seen_deinit(struct wal_seen *s);
enum ec wal_seen_add(
    void *seen, const struct wal_record *rec, struct err *err); /* a wal_replay_fn */
const struct wal_seen_record *wal_seen_find(const struct wal_seen *s, uint64_t lsn);
/* Fails the test unless the record is there, with the formula's contents of that size. */
void wal_seen_check(const struct wal_seen *s, uint64_t lsn, size_t n);

/* The formula: n bytes, half of them repetitive. */
void wal_util_fill(uint8_t *p, size_t n, uint64_t key);
/* Appends the formula's record; fails the test unless it gets this LSN. */
void wal_util_append(struct wal *w, uint64_t lsn, size_t n, int level);
/* The same with the outcome. `key` goes into arrival_s, and decides the contents. */
enum ec wal_util_try_append(
    struct wal *w, uint64_t key, size_t n, int level, uint64_t *ret_lsn, struct err *err);
void wal_util_sync(
    struct wal *w, uint64_t durable); /* fails the test unless it reaches `durable` */
/* Files in dir whose name ends so. */
unsigned wal_util_files(const char *dir, const char *suffix);
/* Valid record headers of every type in all segments. */
uint64_t wal_util_records(const char *dir);
