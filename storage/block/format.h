/* SPDX-License-Identifier: Apache-2.0
 * The shape of a block file in memory: header, trailer, root, schema (FORMAT.md has the bytes).
 *
 * Two footers. The ROOT is small (facts, trace pages, fences of the id index) and stays with an
 * open block, so that a trace lookup over a thousand blocks touches nothing else. The SCHEMA
 * (groups, attribute columns, shapes, page index) is bigger, lives in the page cache and is loaded
 * when a reader asks for a column.
 *
 * INVARIANT: after *_decode succeeded every offset, count and index in these structs is within
 * bounds of the file and of each other; readers index without further checks.
 */
#pragma once

#include "codec.h"
#include "storage/block.h"

#define BLOCK_MAGIC         "VIVBLOCK"
#define BLOCK_VERSION       3u /* written; 1 and 2 are read, too */
#define BLOCK_HEADER_BYTES  64u
#define BLOCK_TRAILER_BYTES 64u
#define BLOCK_ID_PAGE       256u  /* traces in a page of the id index */
#define BLOCK_TRACE_PAGE    1024u /* traces in a page of the trace table */
#define BLOCK_GROUP_ROWS    4096u /* of at most PART_GROUP_ROWS: what one trace lookup unpacks */
#define BLOCK_CHUNK_VALUES  3072u /* groups are joined until a chunk holds this many values */
/* a column's dictionary; beyond it every chunk has its own */
#define BLOCK_DICT_BYTES  (1u << 20)
#define BLOCK_COLUMNS_MAX (1u << 20)
#define BLOCK_SHAPES_MAX  (1u << 24)
#define BLOCK_INPUTS_MAX  65536u
#define BLOCK_TENANT_MAX  1024u

struct page_ref { /* where a page is and how to know it is whole */
    uint64_t offset;
    uint32_t stored, raw;
    uint64_t sum;
};

struct id_page {
    struct trace_id first; /* fence: lowest id in the page */
    struct page_ref page;
};

struct block_filter { /* split-block Bloom filter (filter.h); 0 pages: not known */
    uint32_t n_pages;
    struct page_ref *pages; /* of one size */
};

struct block_root {
    struct block_facts facts; /* owned inputs */
    struct str tenant;        /* points behind the struct */
    uint32_t n_groups, n_resources, n_scopes;
    uint64_t n_events, n_links;
    uint64_t salt;
    struct page_ref schema;
    uint32_t n_trace_pages, n_id_pages;
    struct page_ref *trace_pages;
    uint32_t *trace_page_rows; /* n_trace_pages + 1: first row of each */
    struct id_page *id_pages;
    /* Since version 2, as facts.known; lists since version 3. Over trace ids; over keys and strings
     * (block_*_hash in filter.h). */
    struct block_filter ids, values;
    uint64_t bytes;        /* memory of all this */
    uint64_t filter_bytes; /* and of the pages of the filters */
};

enum column_flags {
    COLUMN_LOCAL = 1, /* PHYS_CODE: each chunk has its own dictionary */
};

struct block_chunk { /* values of consecutive groups; never a part of a group */
    uint32_t group_first, group_last;
    uint32_t n_values;
    uint32_t page_first; /* in schema.pages: value pages, then pages of a local dictionary */
    uint32_t n_value_pages, n_dict_pages;
    uint32_t dict_n; /* strings of the local dictionary */
    uint32_t dict_bytes;
};

struct block_column {
    col_id col;
    uint8_t flags;
    uint64_t n_values;
    uint32_t chunk_first, n_chunks;
    uint32_t dict_page_first, n_dict_pages; /* the column's own dictionary */
    uint32_t dict_n, dict_bytes;
    uint32_t filter_page_first, n_filter_pages;
};

struct block_group {
    struct part_group part;
    uint32_t trace_first; /* trace of its first row */
    uint64_t weight;      /* bytes of strings that its rows refer to, for the next merge */
};

struct block_schema {
    uint32_t n_groups, n_attrs, n_shapes, n_columns, n_chunks, n_pages;
    struct block_group *groups;
    struct part_attr *attrs; /* ascending by (table, key, type) and so by col */
    uint32_t *shape_first;   /* n_shapes + 1, into shape_cols */
    col_id *shape_cols;
    struct block_column *columns; /* ascending by col */
    struct block_chunk *chunks;
    struct page_ref *pages;
    uint32_t *col_shape_first; /* n_attrs + 1: which shapes have the column, repeated when twice */
    uint32_t *col_shapes;
};

/* Shapes that a table's rows use are checked against the table of their columns on use. */

static inline uint64_t block_page_seed(uint64_t salt, uint64_t offset)
{
    return salt ^ (offset * 0x9e3779b97f4a7c15ULL);
}
uint64_t block_salt(const uint8_t uuid[16]);
uint64_t block_page_sum(uint64_t salt, uint64_t offset, const void *p, size_t n);

void block_header_put(uint8_t out[BLOCK_HEADER_BYTES], const uint8_t uuid[16]);
enum ec block_header_check(
    const uint8_t in[BLOCK_HEADER_BYTES], const uint8_t uuid[16], struct err *err) MUST_USE;
void block_trailer_put(uint8_t out[BLOCK_TRAILER_BYTES], const struct page_ref *root,
    uint64_t file_bytes, uint64_t salt);
enum ec block_trailer_get(const uint8_t in[BLOCK_TRAILER_BYTES], uint64_t file_bytes,
    struct page_ref *ret_root, uint64_t *ret_salt, struct err *err) MUST_USE;

/* Writes the root's raw bytes (not yet compressed). */
void block_root_encode(struct buf *out, const struct block_root *r);
/* One allocation; free with block_root_free. file_bytes bounds the offsets. Memory is charged to
 * `budget` and given back by block_root_free with the same budget. */
enum ec block_root_decode(struct bytes raw, uint64_t file_bytes, uint64_t salt,
    struct budget *budget, struct block_root **ret, struct err *err) MUST_USE;
void block_root_free(struct block_root *r, struct budget *budget);

void block_schema_encode(struct buf *out, const struct block_schema *s);
/* Bytes that the decoded schema takes; refuses counts that the raw bytes cannot hold. */
enum ec block_schema_size(struct bytes raw, uint64_t *ret_bytes, struct err *err) MUST_USE;
/* Into `mem` of that many bytes. */
enum ec block_schema_decode(struct bytes raw, const struct block_root *root, uint64_t file_bytes,
    void *mem, struct block_schema **ret, struct err *err) MUST_USE;
const struct block_column *block_schema_column(const struct block_schema *s, col_id col);
/* Table and type of any column of this block; false when it has none of that number. */
bool block_schema_phys(
    const struct block_schema *s, col_id col, enum part_table *ret_table, enum col_phys *ret_phys);
