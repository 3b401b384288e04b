/* SPDX-License-Identifier: Apache-2.0
 * An open block, its readers, and the decoded objects that they pin. Private to storage/block.
 *
 * A block holds its root from the first reader on, and a descriptor while few others are read
 * (files.h). A reader pins every object it
 * handed out until it is closed (views promise that), remembers its views, and pays for row lists
 * and for objects that the cache could not take.
 */
#pragma once

#include <pthread.h>
#include <stdalign.h>

#include "cache.h"
#include "format.h"

/* Kinds of objects: the high byte of a cache key; the low bits are an index. */
enum object_kind {
    OBJECT_SCHEMA = 1,       /* 0 */
    OBJECT_TRACES = 2,       /* trace page */
    OBJECT_IDS = 3,          /* id page */
    OBJECT_CHUNK = 4,        /* chunk in the schema */
    OBJECT_DICT = 5,         /* column in the schema */
    OBJECT_FILTER = 6,       /* page in the schema */
    OBJECT_ID_FILTER = 7,    /* page of root.ids */
    OBJECT_VALUE_FILTER = 8, /* page of root.values */
    OBJECT_ROWS = 9,         /* group << 32 | attribute column */
};

/* The filter over ids as a whole, once it was asked: a lookup goes over all blocks of a tenant, and
 * finding a page in the cache costs more than asking it. Pages as they are stored, one behind the
 * other. WHY not a struct before them: that is one more cache line of each block. */
struct id_filter {
    _Atomic(const uint8_t *) first; /* bits of the first page; NULL: not asked yet, or no room */
    /* Set before it, never changed after. */
    uint32_t n_pages;
    uint16_t n_bytes, stride; /* of a page's bits; from one page's to the next's */
    uint8_t *stored;
    uint64_t bytes; /* as charged */
};

#define BLOCK_LINE 64u

struct block {
    /* What a lookup over all blocks asks lies in one cache line: part, root and ids. */
    alignas(BLOCK_LINE) struct part part;
    _Atomic(struct block_root *) root; /* release when it is complete; acquire by readers */
    struct id_filter ids;
    struct io *io;
    char *path;
    struct str tenant; /* owned */
    struct block_cache *cache;
    uint64_t serial;
    void (*on_corrupt)(void *ctx, const uint8_t uuid[16], const struct err *err);
    void *on_corrupt_ctx;
    _Atomic bool told;
    pthread_mutex_t lock; /* guards the opening, and the reading of ids */
    /* Guarded by the lock of block_files; -1: not open. */
    int fd;
    uint32_t fd_users;
    struct block *fd_prev, *fd_next;
    uint64_t file_bytes;
    struct part_info brief;    /* from the catalog; n_rows 0: not known */
    struct block_known *known; /* from the catalog, too; NULL: ask the root */
};

struct schema_object {
    struct cached base;
    struct block_schema *schema;
};

struct traces_object { /* BLOCK_TRACE_PAGE traces or the rest */
    struct cached base;
    uint32_t n;
    uint64_t *start, *duration;
    uint32_t *row_first; /* n + 1 */
    uint32_t *root;      /* row in the trace + 1; 0: none */
    uint32_t *id_pos;    /* place in the id index */
};

struct ids_object {
    struct cached base;
    uint32_t n;
    struct trace_id *ids; /* ascending */
    uint32_t *trace;
};

struct block_dict { /* strings by code: off[code] .. off[code + 1] */
    struct dict dict;
    uint32_t n;
    uint32_t *off;
    char *bytes;
};

struct some_dict { /* of a chunk, the strings that a few rows have */
    struct dict dict;
    uint32_t n;
    struct str *strs;
};

struct dict_object {
    struct cached base;
    struct block_dict dict;
};

struct chunk_object {
    struct cached base;
    uint32_t *first; /* by group - group_first, one more than groups: values of that group */
    uint32_t *rows;  /* sparse fixed columns: group-relative rows; NULL otherwise */
    void *values;
    struct block_dict dict; /* COLUMN_LOCAL */
};

struct filter_object {
    struct cached base;
    uint32_t n_bytes;
    const uint8_t *bytes;
};

struct rows_object { /* rows of a group that have an attribute */
    struct cached base;
    uint32_t n;
    bool dense; /* every row exactly once: rows are not kept */
    uint32_t rows[];
};

struct pin_slot {
    uint64_t key; /* 0: free */
    struct cached *object;
};
struct memo_slot {
    uint64_t key; /* 0: free */
    struct col_view view;
};

struct block_rows;     /* a few rows of a group: rows.c */
struct block_presence; /* row lists of all attribute columns of one group and table */

struct block_reader {
    struct part_reader base;
    struct block *b;
    const struct block_root *root;
    const struct block_schema *schema; /* NULL until a column is asked for */
    struct arena arena;                /* row lists and tables */
    struct buf stored, scratch;        /* page bytes as read; section being unpacked */
    struct buf window;                 /* the file from window_at on: small pages (page.c) */
    uint64_t window_at;
    uint64_t bytes_read;
    struct pin_slot *pins;
    uint32_t pins_n, pins_cap;
    /* By page, what is pinned of the trace table and the id index; NULL until the reader pins
     * much. */
    const struct traces_object **trace_pages;
    const struct ids_object **id_pages;
    struct memo_slot *memo;
    uint32_t memo_n, memo_cap;
    struct part_group_traces *group_traces; /* by group; n == 0: not asked yet */
    uint8_t *shape_hits;   /* per shape: occurrences of the wanted column; all 0 between calls */
    uint32_t *shape_times; /* per shape: rows of a group; all 0 between calls */
    struct block_presence *presence;
    uint64_t presence_asked_key;          /* group and table of the last attribute views */
    uint32_t presence_asked;              /* how many in a row */
    struct block_rows *rows[TABLE_COUNT]; /* of the last view of a few rows */
};

static inline uint64_t object_key(enum object_kind kind, uint64_t index)
{
    return (uint64_t)kind << 56 | index;
}

/* page.c */
/* Reads and checks one page: retried once; EC_CORRUPT or EC_IO is told to on_corrupt. *ret is valid
 * until the next read of this reader. */
enum ec block_page_read(struct block_reader *r, const struct page_ref *ref, struct bytes *ret,
    struct err *err) MUST_USE;
/* The same of pages that follow each other in the file, as many of the n as one call can read well;
 * *ret_n of them, one behind the other in *ret. */
enum ec block_pages_read(struct block_reader *r, const struct page_ref *refs, uint32_t n,
    uint32_t *ret_n, struct bytes *ret, struct err *err) MUST_USE;
/* Tells the owner of the block about damage, once. Returns ec. */
enum ec block_damaged(struct block *b, enum ec ec, const struct err *err);
enum ec block_root_load(struct block *b, struct err *err) MUST_USE;
/* The stored bytes of a page into memory of that size; read again when the checksum is wrong. */
enum ec block_page_pread(struct block *b, const struct page_ref *ref, uint64_t salt, uint8_t *p,
    struct err *err) MUST_USE;
/* The same of n pages that follow each other in the file. */
enum ec block_pages_pread(struct block *b, const struct page_ref *refs, uint32_t n, uint64_t salt,
    uint8_t *p, struct err *err) MUST_USE;

/* probe.c: what part.h answers without a reader. */
bool block_peek(struct part *p, struct part_info *ret);
bool block_may_hold(struct part *p, const struct trace_id *id);
void block_hold_soon(const struct part *p, const struct trace_id *id);
bool block_may_equal(
    struct part *p, enum part_table t, struct str key, col_id col, struct str value);
bool block_may_key(struct part *p, enum part_table t, struct str key, bool array);
bool block_names(struct part *p, uint64_t ret[TABLE_COUNT]);
bool block_cold(struct part *p, bool ahead);
bool block_knows(struct part *p);
bool block_strings(
    struct part *p, enum part_table t, struct str key, col_id col, uint64_t *ret_list);

/* load.c: pinned, checked objects. */
enum ec block_load_schema(struct block_reader *r, struct err *err) MUST_USE;
enum ec block_load_traces(struct block_reader *r, uint32_t page, const struct traces_object **ret,
    struct err *err) MUST_USE;
enum ec block_load_ids(
    struct block_reader *r, uint32_t page, const struct ids_object **ret, struct err *err) MUST_USE;
enum ec block_load_dict(struct block_reader *r, const struct block_column *k,
    const struct dict_object **ret, struct err *err) MUST_USE;
enum ec block_load_chunk(struct block_reader *r, const struct block_column *k, uint32_t chunk,
    const struct chunk_object **ret, struct err *err) MUST_USE;
/* Is it at hand, without reading? Pins it. */
bool block_has_chunk(struct block_reader *r, uint32_t chunk);
enum ec block_load_filter(struct block_reader *r, uint32_t page, const struct filter_object **ret,
    struct err *err) MUST_USE;
/* Row lists that earlier readers have made; *ret NULL: none. */
enum ec block_find_rows(struct block_reader *r, uint32_t g, col_id col,
    const struct rows_object **ret, struct err *err) MUST_USE;
/* Keeps a list for later readers where the cache has room to spare, so that it throws out nothing
 * that was read from disk. Asked after block_find_rows said that there is none. */
void block_keep_rows(
    struct block_reader *r, uint32_t g, col_id col, const uint32_t *rows, uint32_t n, bool dense);
extern const struct dict_ops block_dict_ops;

/* chunk.c: the values of a chunk, out of its pages. */
uint64_t block_chunk_bytes(
    const struct block_schema *s, const struct block_column *k, const struct block_chunk *h);
enum ec block_chunk_decode(struct block_reader *r, const struct block_column *k,
    const struct block_chunk *h, struct chunk_object *o, struct err *err) MUST_USE;
enum ec block_dict_decode(struct block_reader *r, const struct page_ref *pages, uint32_t n_pages,
    struct block_dict *d, uint32_t dict_bytes, struct err *err) MUST_USE;
/* Of a dictionary that a chunk has of its own, only the strings of `codes` (each below dict_n),
 * which are numbered anew in ret_codes. */
enum ec block_dict_some(struct block_reader *r, const struct page_ref *pages,
    const struct block_chunk *h, const uint32_t *codes, uint32_t n, uint32_t *ret_codes,
    struct some_dict *d, struct err *err) MUST_USE;
/* How many values the groups of a chunk have, added up: first[group - group_first]. Read from the
 * start of its first page unless the column is dense. */
enum ec block_chunk_runs(struct block_reader *r, struct page_in *in, bool dense,
    enum part_table table, const struct block_chunk *h, uint32_t *first, struct err *err) MUST_USE;
/* The n values of a page. */
enum ec block_chunk_values(
    struct page_in *in, enum col_phys phys, uint32_t n, uint8_t *out, struct err *err) MUST_USE;
/* Rows of a table in a group (resources and scopes: of the block). */
uint32_t block_table_rows(
    const struct block_root *root, const struct block_schema *s, enum part_table t, uint32_t g);
unsigned col_phys_width(enum col_phys phys); /* bytes of a value in a view */

/* presence.c */
/* Rows of group g that have the attribute column, ascending, once per occurrence; NULL: every row
 * exactly once. EC_CORRUPT unless there are n of them. */
enum ec block_presence_rows(struct block_reader *r, uint32_t g, const struct part_attr *a,
    uint32_t n, const uint32_t **ret_rows, struct err *err) MUST_USE;

/* rows.c */
enum ec block_view_rows(struct part_reader *base, uint32_t g, col_id col, uint32_t first,
    uint32_t n, struct col_view *ret, struct err *err) MUST_USE;

/* reader.c */
enum ec block_view(
    struct block_reader *r, uint32_t g, col_id col, struct col_view *ret, struct err *err) MUST_USE;
const struct block_chunk *block_chunk_find(
    const struct block_schema *s, const struct block_column *k, uint32_t g);
extern const struct part_ops block_part_ops;
