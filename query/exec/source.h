/* SPDX-License-Identifier: Apache-2.0
 * A source: one part as a query sees it. Opens a reader, keeps the group table, and loads column
 * views on first use. One thread at a time.
 *
 * Views live as long as the source's reader. A long query would pin every page it ever touched, so
 * source_recycle drops the reader and its views when they hold much memory; callers do that only
 * between traces or groups, when they hold no view and no string of this source.
 */
#pragma once

#include "query/exec.h"

struct source_slot { /* one column */
    col_id col;
    struct col_view *views; /* per group (resources and scopes: one) */
    bool *loaded;
    bool wide; /* part-wide table: every group uses views[0] */
};

struct trace_piece { /* what one part has of a trace */
    struct trace_id id;
    uint32_t part, trace; /* of the query's parts; its number there */
};

struct source {
    struct part *part;
    struct part_reader *r;
    struct budget budget; /* of the reader, child of the query's */
    struct part_info info;
    struct part_group *groups;
    struct arena *arena; /* tables here; the query's */
    struct source_slot *slots;
    uint32_t n_slots, cap_slots;
    uint32_t fixed[COL_FIXED_MAX]; /* 1 + slot of a fixed column; 0: none yet */
    uint64_t bytes_read;           /* of readers already closed */
    bool damaged;                  /* something in it could not be read */
    bool lost;                     /* not even a reader could be opened: it has nothing */
};

#define SOURCE_NO_SLOT UINT32_MAX

enum ec source_open(struct source *s, struct part *part, struct arena *arena, struct budget *budget,
    struct err *err) MUST_USE;
/* Opens nothing yet where the part can tell its times without: r and groups are NULL then, and the
 * counts of info guesses, until source_reader or source_groups is called. */
enum ec source_open_lazy(struct source *s, struct part *part, struct arena *arena,
    struct budget *budget, struct err *err) MUST_USE;
/* Opens the reader, and the table of groups, if need be. *ret false: the part cannot be read, which
 * is noted; the source is then treated as one without spans. */
enum ec source_reader(struct source *s, bool *ret, struct err *err) MUST_USE;
enum ec source_groups(struct source *s, bool *ret, struct err *err) MUST_USE;
void source_close(struct source *s); /* safe on zeroed */
/* Damage of data, which makes an answer partial; any other failure ends the query. */
static inline bool source_unreadable(enum ec ec)
{
    return ec == EC_CORRUPT || ec == EC_IO;
}
/* Marks the source as damaged when `ec`, the outcome of reading it, says so. Returns ec. */
enum ec source_note(struct source *s, enum ec ec) MUST_USE;
/* Drops reader and views when they hold more than `keep` bytes. */
enum ec source_recycle(struct source *s, uint64_t keep, struct err *err) MUST_USE;
uint64_t source_bytes_read(const struct source *s);

/* The slot of a column, made when new. EC_LIMIT when the arena refuses. */
enum ec source_slot(struct source *s, col_id col, uint32_t *ret_slot, struct err *err) MUST_USE;
/* The view of a slot in a group; n == 0 when there are no values. */
enum ec source_view(struct source *s, uint32_t slot, uint32_t g, const struct col_view **ret,
    struct err *err) MUST_USE;
enum ec source_fixed_slow(struct source *s, col_id col, uint32_t g, const struct col_view **ret,
    struct err *err) MUST_USE;
/* The view of a fixed column in a group. */
static inline enum ec source_fixed(
    struct source *s, col_id col, uint32_t g, const struct col_view **ret, struct err *err)
{
    uint32_t slot = s->fixed[col];
    if (LIKELY(slot != 0)) {
        const struct source_slot *sl = &s->slots[slot - 1];
        uint32_t at = sl->wide ? 0 : g;
        if (LIKELY(sl->loaded[at])) {
            *ret = &sl->views[at];
            return EC_OK;
        }
    }
    return source_fixed_slow(s, col, g, ret, err);
}
/* Group of a part-level row. */
uint32_t source_group_of(const struct source *s, uint32_t row);

/* First value of group-relative row `row` in the view: index, or PART_NONE when the row has none.
 * Values of a row that was sent twice follow each other. */
uint32_t view_index_sparse(const struct col_view *v, uint32_t row);
static inline uint32_t view_index(const struct col_view *v, uint32_t row)
{
    if (v->rows == NULL)
        return row < v->n ? row : PART_NONE;
    return view_index_sparse(v, row);
}
