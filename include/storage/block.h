/* SPDX-License-Identifier: Apache-2.0
 * Blocks: immutable columnar files. Format byte by byte: storage/block/FORMAT.md.
 *
 * block_write merges any number of parts (one head: a flush; several blocks: a compaction) into one
 * file: traces by start time, spans of a trace adjacent, duplicate spans (same trace, span id,
 * kind) dropped, first wins. Column at a time, so memory is bounded by one column plus the row
 * order. An opened block is a part. Pages are read with pread, checked, decoded, and kept in a
 * cache that is bounded and shared by all blocks; the cache is keyed by block and never changes an
 * answer.
 */
#pragma once

#include "base/buf.h"
#include "base/io.h"
#include "storage/part.h"

/* What is known of attributes without the file, so that a question over a thousand blocks opens
 * those only that differ. */
struct block_list { /* an attribute, or a fixed column, whose values are all strings */
    uint64_t key;   /* hash of table and key, or of the column (storage/block/FORMAT.md) */
    uint64_t hash;  /* of all its values in the block: equal ones have the same; 0: not known */
};
#define BLOCK_LISTS_MAX 96u
struct block_known { /* immutable once shared */
    _Atomic uint32_t refs;
    uint32_t n_lists;
    uint64_t names[TABLE_COUNT]; /* by table a hash of its attribute keys */
    struct block_list lists[];   /* ascending by key */
};
struct block_known *block_known_new(uint32_t n_lists); /* with one reference; to be filled in */
struct block_known *block_known_ref(struct block_known *k); /* NULL allowed, as below */
void block_known_unref(struct block_known *k);
bool block_known_equal(const struct block_known *a, const struct block_known *b);
void block_known_sort(struct block_known *k);
/* Of the attribute when key.p != NULL, else of the fixed column; NULL: not known. */
const struct block_list *block_known_find(
    const struct block_known *k, enum part_table t, struct str key, col_id col);
uint64_t block_list_add(uint64_t hash, struct str s); /* from 0, string after string */

struct block_facts { /* what the footer says and the catalog repeats */
    uint8_t uuid[16];
    uint32_t level; /* 0: from a head; compaction: max(inputs) + 1 */
    uint64_t n_spans, n_traces;
    uint64_t min_start_ns, max_end_ns;     /* true span range */
    uint32_t min_arrival_s, max_arrival_s; /* when the spans came */
    uint64_t file_bytes;
    uint64_t lsn_first, lsn_last; /* WAL records it covers (level 0); 0,0 otherwise */
    uint32_t n_inputs;            /* blocks that this one replaces */
    uint8_t (*inputs)[16];        /* owned: block_facts_deinit */
    struct block_known *known;    /* a reference; NULL: nothing (before format version 2) */
};
void block_facts_copy(struct block_facts *ret, const struct block_facts *f);
void block_facts_deinit(struct block_facts *f);

struct block_write_options {
    struct io *io;
    const char *path;  /* file to create (a temporary name); fsynced, not renamed */
    struct str tenant; /* stored in the footer and checked at open */
    uint8_t uuid[16];
    uint32_t level;
    uint64_t lsn_first, lsn_last;
    const uint8_t (*inputs)[16];
    uint32_t n_inputs;
    int zstd_level; /* 0: 3 */
    struct budget *budget;
    /* Called now and then with the bytes written so far: the caller throttles or cancels (not
     * EC_OK). */
    enum ec (*pace)(void *ctx, uint64_t bytes_written, struct err *err);
    void *pace_ctx;
    uint64_t *ret_copied; /* NULL allowed: values that went over as they were stored */
};

/* Writes and fsyncs the file. *ret_dups: duplicate spans dropped. On failure the file is
 * removed. */
enum ec block_write(const struct block_write_options *opt, struct part_reader *const *sources,
    size_t n_sources, struct block_facts *ret_facts, uint64_t *ret_dups, struct err *err) MUST_USE;

struct block_cache;
/* Decoded pages and footers, bytes charged to a child of `budget` capped at cap_bytes. */
struct block_cache *block_cache_new(struct budget *budget, uint64_t cap_bytes);
void block_cache_free(struct block_cache *c); /* after the last block is closed */
/* Drops what is not in use. Before all blocks are closed: each looks through the cache for its
 * pages, which is the square of their number otherwise. */
void block_cache_clear(struct block_cache *c);
struct budget *block_cache_budget(struct block_cache *c);
void block_cache_stats(
    struct block_cache *c, uint64_t *ret_bytes, uint64_t *ret_hits, uint64_t *ret_misses);

/* Opens lazily: the file is opened and its footer read on the first reader. `facts` are the
 * catalog's. The path is copied. on_corrupt (may be NULL) is told once about a damaged page or
 * footer. */
struct block_open_options {
    struct io *io;
    const char *path;
    struct str tenant;
    const struct block_facts *facts;
    struct block_cache *cache;
    void (*on_corrupt)(void *ctx, const uint8_t uuid[16], const struct err *err);
    void *on_corrupt_ctx;
};
enum ec block_open(const struct block_open_options *opt, struct part **ret, struct err *err)
    MUST_USE;

/* Footer only: for catalog rebuild and block-dump. */
enum ec block_facts_read(struct io *io, const char *path, struct str *ret_tenant_in_arena,
    struct arena *arena, struct block_facts *ret, struct err *err) MUST_USE;
/* Reads and checks everything: every checksum, code, row and count. Reports each problem. */
enum ec block_verify(struct io *io, const char *path, void (*problem)(void *ctx, const char *text),
    void *ctx, uint64_t *ret_n_problems, struct err *err) MUST_USE;
/* Prints schema, statistics and sizes per column. */
enum ec block_dump(struct io *io, const char *path, struct buf *out, struct err *err) MUST_USE;
