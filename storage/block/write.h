/* SPDX-License-Identifier: Apache-2.0
 * The block writer's state, shared by its steps. Private to storage/block.
 *
 *     write.c          the driver: steps in order, output file, footers
 *     write_order.c    traces of all sources, row order, duplicates, groups
 *     write_tables.c   attribute columns, shapes, resources and scopes of all sources as one set
 *     write_gather.c   values of a column out of the sources into the new order
 *     write_columns.c  the columns one after the other: fixed ones, then attributes
 *     write_chunks.c   sorted values to pages, dictionaries, filters
 *     write_copy.c     chunks of sources that need not be unpacked
 *
 * Numbers. A source row is numbered through all sources (row_base + row), and so are source events
 * and links; pos[table][source number] is the place in the new block, PART_NONE when dropped.
 * Memory: `arena` lives as long as the write, `tmp` as long as one column.
 */
#pragma once

#include "format.h"

struct wsource {
    struct part_reader *r; /* the caller's: for facts, and for everything when it is a head */
    struct part_info info;
    struct part_group *groups;
    uint32_t *weight;            /* by group: estimated bytes of strings of a row */
    uint32_t *base[TABLE_COUNT]; /* by group: number of its first row, event, link; one more */
    uint32_t *copy_to; /* blocks, by group: the group of the new block that is the same rows */
    uint32_t *out_min[TABLE_COUNT], *out_max[TABLE_COUNT]; /* by group: places that its rows took */
    const struct part_attr *attrs;
    size_t n_attrs;
    col_id *attr_map; /* source column - COL_FIXED_MAX: our column, 0 when unknown */
    uint32_t attr_map_n;
    col_id *attr_from;      /* our column - COL_FIXED_MAX: the source's, 0: it has none */
    struct buf shape_map;   /* u32 by source shape: our shape + 1, 0 when not yet met */
    uint32_t *table_map[2]; /* source resource and scope: ours + 1, 0 when not yet met */
    uint32_t *row_at[2]; /* source resource and scope: where its encoded row starts in row_bytes */
    struct buf row_bytes[2];
};

struct interner {     /* byte strings by number, equal ones once */
    struct buf refs;  /* struct str by number */
    struct buf table; /* u32 number + 1, open addressing */
    uint32_t n, mask;
    uint64_t bytes;      /* sum of lengths */
    struct arena *arena; /* copies live here; NULL: the caller's memory stays */
};

struct gathered {    /* (place, value) pairs of one column */
    struct buf rows; /* u32 */
    struct buf vals; /* u64 */
    size_t n;
};

struct copy { /* a chunk that goes into the new block as it is */
    struct wsource *s;
    const struct block_chunk *h;
    uint32_t to; /* its first group there */
};

struct copies { /* of a column, in order of groups; memory is w->tmp */
    const struct copy *p;
    size_t n;
    uint64_t n_values;
    const uint8_t *covered; /* by group of the new block; NULL: none is */
};

struct column_list { /* of a column of strings: block_list */
    col_id col;
    uint64_t hash;
};

struct writer {
    const struct block_write_options *opt;
    struct arena arena, tmp;
    struct wsource *src;
    size_t n_src;

    uint32_t n_in[TABLE_COUNT], n_out[TABLE_COUNT];
    uint32_t *pos[TABLE_COUNT];
    uint32_t n_groups, n_copy_groups;
    struct block_group *groups;
    uint32_t
        *first[TABLE_COUNT]; /* n_groups + 1: first place of each group; part-wide: 2 entries */

    uint32_t n_traces;
    struct trace_id *trace_ids; /* by new trace number, as all below */
    uint64_t *trace_start, *trace_end;
    uint32_t *trace_first; /* n_traces + 1: rows */
    uint32_t *trace_root;  /* row in the trace + 1, 0: none */

    uint32_t n_attrs;
    struct part_attr *attrs;
    struct interner shapes;   /* a shape's columns as u32 bytes */
    struct interner table[2]; /* encoded rows of resources and scopes */
    struct buf shape_scratch;

    struct buf dict_map;                 /* u64 by source code: epoch << 32 | number */
    const struct dict *dict_map_of;      /* whose codes ... */
    const struct interner *dict_map_for; /* ... and whose numbers are in the map */
    uint32_t dict_map_epoch;
    bool copy_strings; /* a source's strings may go before the column is written */

    VEC(struct column_list) lists;
    uint64_t names[TABLE_COUNT]; /* hashes of the attribute keys */
    VEC(struct block_column) columns;
    VEC(struct block_chunk) chunks;
    VEC(struct page_ref) pages;
    VEC(struct page_ref) column_pages; /* of the column being written */

    size_t odd_at; /* column_data.odd: how many are written */
    struct page_out page;
    struct buf out; /* not yet written */
    int fd;
    uint64_t written, salt;
    uint64_t min_start, max_end;
    uint32_t min_arrival, max_arrival;
    uint64_t dups, copied;
    struct buf values;      /* u64: what the filter over keys and strings will know */
    struct block_root root; /* what the footer will say */
};

enum ec writer_limit(struct err *err); /* EC_LIMIT, "block write is over its memory budget" */

/* write.c */
/* Appends a page as built in w->page; *ret says where it lies. */
enum ec writer_page(struct writer *w, struct page_ref *ret, struct err *err) MUST_USE;
/* The same with a page's stored bytes. */
enum ec writer_page_put(struct writer *w, struct bytes stored, uint64_t raw, struct page_ref *ret,
    struct err *err) MUST_USE;

/* write_filter.c */
/* Notes the strings of a column that was just written, by their filter_hash: for the filter of the
 * block. False: such a column has a filter of its own. */
bool column_in_filter(const struct writer *w, col_id col);
enum ec writer_strings_note(struct writer *w, col_id col, const struct str *dict, uint32_t dict_n,
    const uint64_t *hashes, size_t n, struct err *err) MUST_USE;
/* Pages of a filter over hashes, each built by `put` in w->page. */
enum ec filter_pages(struct writer *w, const uint64_t *hashes, size_t n, unsigned bits,
    enum ec (*put)(struct writer *w, void *ctx, uint32_t page, struct err *err), void *ctx,
    uint32_t *ret_pages, struct err *err) MUST_USE;
/* After traces and columns: the filters of the root. */
enum ec writer_filters(struct writer *w, struct err *err) MUST_USE;

/* write_order.c */
enum ec writer_order(struct writer *w, struct err *err) MUST_USE;
/* After the rows: the same for events and links. */
enum ec writer_order_children(struct writer *w, enum part_table table, struct err *err) MUST_USE;

/* write_tables.c */
enum ec writer_attrs(struct writer *w, struct err *err) MUST_USE;
enum ec writer_tables_read(struct writer *w, struct err *err) MUST_USE;
enum ec writer_shape_map(
    struct writer *w, struct wsource *s, uint32_t shape, uint64_t *ret, struct err *err) MUST_USE;
enum ec writer_table_map(struct writer *w, struct wsource *s, enum part_table t, uint32_t row,
    uint64_t *ret, struct err *err) MUST_USE;
/* Columns of resources and scopes: after the last writer_table_map. */
enum ec writer_tables_write(struct writer *w, struct err *err) MUST_USE;

/* write_gather.c */
void interner_init(struct interner *in, struct budget *budget, struct arena *copies);
void interner_deinit(struct interner *in);
enum ec interner_add(struct interner *in, struct str s, uint32_t *ret, struct err *err) MUST_USE;
static inline struct str interner_get(const struct interner *in, uint32_t i)
{
    return ((const struct str *)(const void *)in->refs.p)[i];
}
void gathered_init(struct gathered *g, struct budget *budget);
void gathered_deinit(struct gathered *g);
void gathered_reset(struct gathered *g);
static inline uint32_t *gathered_rows(const struct gathered *g)
{
    return (uint32_t *)(void *)g->rows.p;
}
static inline uint64_t *gathered_vals(const struct gathered *g)
{
    return (uint64_t *)(void *)g->vals.p;
}
enum ec gathered_reserve(struct gathered *g, size_t more, struct err *err) MUST_USE;
/* By place, stable. n_places: places are below it. */
enum ec gathered_sort(struct writer *w, struct gathered *g, uint32_t n_places, struct err *err)
    MUST_USE;

/* A reader over one source for a scan through its groups: the caller's for a head; for a block a
 * fresh one now and then, so that what it pins stays bounded. */
struct wcursor {
    struct writer *w;
    struct wsource *s;
    struct part_reader *own;
    uint64_t used;
};
enum ec wcursor_view(
    struct wcursor *c, uint32_t g, col_id col, struct col_view *ret, struct err *err) MUST_USE;
/* Between groups: the views so far are done with, and may go. */
void wcursor_next(struct wcursor *c);
void wcursor_close(struct wcursor *c);
/* Values as stored numbers: integers widened, doubles as bits, signed with the sign bit turned. */
uint64_t view_value(const struct col_view *v, uint32_t i);

/* A dense fixed column in the new order, but for the places of groups that copies (may be NULL)
 * cover. */
enum ec writer_gather_dense(struct writer *w, enum part_table t, col_id col,
    const struct copies *copies, uint64_t *out, struct err *err) MUST_USE;

enum strings_as {
    STRINGS_ANYHOW,    /* whichever is smaller */
    STRINGS_LOCAL,     /* a dictionary for each chunk */
    STRINGS_SAME_DICT, /* the interner holds the column's dictionary, in order */
};

struct wanted { /* a column to collect */
    col_id col; /* ours */
    enum part_table table;
    enum col_phys phys;
    struct gathered got; /* PHYS_CODE: numbers in strings */
    struct interner strings;
    uint64_t bytes_max; /* strings beyond it: stop and set too_big; 0: no limit */
    bool too_big;
    struct copies copies; /* groups that are not collected */
    enum strings_as strings_as;
};
#define WRITER_NO_COLUMN UINT32_MAX
/* The source's number for our column. */
col_id writer_source_col(const struct wsource *s, col_id col);
void wanted_init(
    struct writer *w, struct wanted *k, col_id col, enum part_table t, enum col_phys p);
void wanted_reset(struct writer *w, struct wanted *k); /* as after init */
void wanted_deinit(struct wanted *k);
/* Collects the values whose place is in [lo, hi), for all wanted columns (of one table)
 * together. */
enum ec writer_gather(struct writer *w, struct wanted *k, size_t n, uint32_t lo, uint32_t hi,
    struct err *err) MUST_USE;

/* write_columns.c */
enum ec writer_columns(struct writer *w, struct err *err) MUST_USE;
/* write_chunks.c */
struct column_data { /* values of a column, sorted by place */
    col_id col;
    enum part_table table;
    enum col_phys phys;
    const uint32_t *rows; /* NULL: value i is at place row0 + i */
    uint32_t row0;
    const uint64_t *vals;
    size_t n;
    const struct trace_id *ids; /* PHYS_ID16: instead of vals */
    const uint64_t *odd;        /* COL_SPAN_PARENT: ids for the codes 1, in order */
};
/* Begins a column; chunks follow in order of groups. */
void column_begin(struct writer *w, col_id col);
/* All chunks of a column of numbers (or of codes of its own dictionary). */
enum ec column_chunks(struct writer *w, const struct column_data *d, struct err *err) MUST_USE;
/* Chunks with dictionaries of their own; d->vals are numbers in `strings`. hashes (may be NULL): a
 * u64 for each string of each chunk is appended. */
enum ec column_chunks_local(struct writer *w, const struct column_data *d,
    const struct interner *strings, struct buf *hashes, struct err *err) MUST_USE;
/* What is at hand and what is copied, in order. strings: as column_chunks_local, NULL: as
 * column_chunks. */
enum ec column_mixed(struct writer *w, const struct column_data *d, const struct copies *copies,
    const struct interner *strings, struct buf *hashes, struct err *err) MUST_USE;
/* A page of the column as it is stored. */
enum ec writer_page_copy(struct writer *w, struct bytes stored, uint64_t raw, struct err *err)
    MUST_USE;
/* Ends it: the dictionary (sorted strings, may be NULL), the filter over `hashes` (may be NULL). */
enum ec column_end(struct writer *w, const struct str *dict, uint32_t dict_n, struct buf *hashes,
    struct err *err) MUST_USE;
/* Moves the distinct ones of these u64 to the front; *ret_n of them. About pass_max of them are
 * compared at a time: memory is 16 to 32 bytes for each of those. */
enum ec hashes_distinct(struct buf *hashes, size_t pass_max, size_t *ret_n, struct err *err)
    MUST_USE;
/* A whole string column at hand, by whichever way is smaller. */
enum ec column_strings(struct writer *w, struct column_data *d, const struct interner *strings,
    struct err *err) MUST_USE;

/* write_copy.c */
/* Rows are placed: where groups of sources could stay, and so where to cut (by place; NULL:
 * nowhere). `trace`: of each source row. */
enum ec writer_copy_candidates(
    struct writer *w, const uint32_t *trace, uint8_t **ret_cut, struct err *err) MUST_USE;
/* Groups are cut: which did. */
void writer_copy_groups(struct writer *w);
enum ec copies_find(struct writer *w, col_id col, struct copies *ret, struct err *err) MUST_USE;
/* For a column of strings, before it is collected: fills in copies, strings_as and strings. */
enum ec copies_find_strings(struct writer *w, struct wanted *k, struct err *err) MUST_USE;
enum ec copy_put(struct writer *w, const struct copy *c, struct buf *hashes, struct err *err)
    MUST_USE;
/* The last roots of traces whose parents are copied, not seen. */
enum ec copies_roots(struct writer *w, const struct copies *copies, struct err *err) MUST_USE;
void copies_weights(struct writer *w); /* after the last column */
