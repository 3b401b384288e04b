/* SPDX-License-Identifier: Apache-2.0
 * Assembly of a trace and its ids. Everything is linear in the number of spans. */
#include "base/hash.h"
#include "trace.h"

static enum ec over_budget(struct err *err)
{
    return ERR(err, EC_LIMIT, "query is over its memory budget");
}

/* Value i of a number view as u64. */
static uint64_t view_number(const struct col_view *v, uint32_t i)
{
    switch (v->phys) {
    case PHYS_U8:
        return v->u8[i];
    case PHYS_U32:
        return v->u32[i];
    default:
        return v->u64[i];
    }
}

enum ec qrow_u64(struct qtrace *t, const struct qrow *r, col_id col, uint64_t *ret, struct err *err)
{
    const struct col_view *v;
    TRY(source_fixed(&t->sources[r->src], col, r->g, &v, err));
    uint32_t i = view_index(v, r->off);
    *ret = i == PART_NONE ? 0 : view_number(v, i);
    return EC_OK;
}

enum ec qrow_str(
    struct qtrace *t, const struct qrow *r, col_id col, struct str *ret, struct err *err)
{
    const struct col_view *v;
    TRY(source_fixed(&t->sources[r->src], col, r->g, &v, err));
    uint32_t i = view_index(v, r->off);
    *ret = i == PART_NONE ? str_n("", 0) : dict_get(v->dict, v->u32[i]);
    return EC_OK;
}

/* Room for n more rows behind those that are there: doubled, so that a large trace in many parts is
 * not copied for each of them. */
static enum ec more_rows(struct qtrace *t, uint32_t n, struct err *err)
{
    uint64_t want = (uint64_t)t->n + n;
    if (want <= t->cap)
        return EC_OK;
    if (t->cap != 0)
        want = MAX(want, 2 * (uint64_t)t->cap);
    struct qrow *all = want >= PART_NONE ? NULL : arena_alloc(t->scratch, want * sizeof(*all));
    if (all == NULL)
        return over_budget(err);
    if (t->n != 0)
        memcpy(all, t->rows, t->n * sizeof(*all));
    t->rows = all;
    t->cap = (uint32_t)want;
    return EC_OK;
}

/* Appends the rows of trace number `trace` of source `src`. */
static enum ec add_rows(
    struct qtrace *t, uint32_t src, uint32_t trace, const struct part_trace *pt, struct err *err)
{
    struct source *s = &t->sources[src];
    uint32_t *rows = NULL, n = pt->n_rows;
    if (s->part->is_head)
        TRY(part_trace_rows(s->r, trace, t->scratch, &rows, &n, err));
    TRY(more_rows(t, n, err));
    uint32_t at = t->n, g = 0;
    for (uint32_t i = 0; i < n;) {
        uint32_t row = rows == NULL ? pt->row_first + i : rows[i], m = 1;
        if (row >= s->info.n_rows)
            break;
        if (row < s->groups[g].row_first || row - s->groups[g].row_first >= s->groups[g].n_rows)
            g = source_group_of(s, row);
        uint32_t off = row - s->groups[g].row_first;
        if (rows == NULL) /* all that the group has of it */
            m = MIN(n - i, s->groups[g].n_rows - off);
        for (uint32_t k = 0; k < m; k++)
            t->rows[at++] = (struct qrow){.src = src, .g = g, .off = off + k};
        i += m;
    }
    t->n_parts += at != t->n;
    t->n = at;
    return EC_OK;
}

/* Drops rows whose (id, kind) an earlier row has; slots: 1 + row that was kept, 0: free. */
static void drop_with(struct qtrace *t, uint32_t *slots, size_t cap)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < t->n; i++) {
        struct qids id = t->ids[i];
        size_t at = (size_t)hash_mix(id.id + id.kind) & (cap - 1);
        while (slots[at] != 0 &&
               (t->ids[slots[at] - 1].id != id.id || t->ids[slots[at] - 1].kind != id.kind))
            at = (at + 1) & (cap - 1);
        if (slots[at] != 0)
            continue;
        t->rows[kept] = t->rows[i];
        t->ids[kept++] = id;
        slots[at] = kept;
    }
    t->n = kept;
}

/* What only one step needs of a large trace does not stay in its scratch memory. */
#define LARGE 4096u

static enum ec drop_duplicates(struct qtrace *t, struct err *err)
{
    struct arena tmp;
    size_t cap = 16;
    while (cap < (size_t)t->n * 2)
        cap *= 2;
    TRY(qtrace_load_ids(t, err));
    arena_init(&tmp, t->scratch->budget, 0);
    uint32_t *slots = ARENA_ARRAY(t->n < LARGE ? t->scratch : &tmp, cap, uint32_t);
    if (slots != NULL)
        drop_with(t, slots, cap);
    arena_deinit(&tmp);
    return slots == NULL ? over_budget(err) : EC_OK;
}

/* Times of the rows that stayed: a dropped copy may have had others. */
static enum ec find_times(struct qtrace *t, struct err *err)
{
    t->start_ns = UINT64_MAX;
    t->end_ns = 0;
    for (uint32_t i = 0; i < t->n; i++) {
        uint64_t start, duration;
        TRY(qrow_u64(t, &t->rows[i], COL_SPAN_START, &start, err));
        TRY(qrow_u64(t, &t->rows[i], COL_SPAN_DURATION, &duration, err));
        uint64_t end = start + duration;
        t->start_ns = MIN(t->start_ns, start);
        t->end_ns = MAX(t->end_ns, MAX(start, end));
    }
    return EC_OK;
}

/* Last root span over all rows, for traces in several parts (one part knows its own). */
static enum ec find_root(struct qtrace *t, struct err *err)
{
    TRY(qtrace_load_ids(t, err));
    t->root = PART_NONE;
    for (uint32_t i = 0; i < t->n; i++)
        if (t->ids[i].parent == 0)
            t->root = i;
    return EC_OK;
}

/* The root of a trace that one source has, which knows the root's row. */
static void find_root_row(struct qtrace *t, uint32_t row)
{
    for (uint32_t i = t->n; i-- > 0 && row != PART_NONE;) {
        const struct source *s = &t->sources[t->rows[i].src];
        if (s->groups[t->rows[i].g].row_first + t->rows[i].off == row) {
            t->root = i;
            return;
        }
    }
}

/* Adds the trace's piece in source `k`; *ret_part only when it has something. */
static enum ec add_piece(
    struct qtrace *t, size_t k, uint32_t trace, struct part_trace *ret_part, struct err *err)
{
    struct part_trace pt;
    uint32_t before = t->n;
    bool ok;
    TRY(source_groups(&t->sources[k], &ok, err));
    if (!ok)
        return EC_OK;
    TRY(part_trace(t->sources[k].r, trace, &pt, err));
    TRY(add_rows(t, (uint32_t)k, trace, &pt, err));
    if (t->n == before)
        return EC_OK;
    t->start_ns = t->n_parts == 1 ? pt.start_ns : MIN(t->start_ns, pt.start_ns);
    t->end_ns = MAX(t->end_ns, pt.end_ns);
    *ret_part = pt;
    return EC_OK;
}

static enum ec add_source(struct qtrace *t, size_t k, struct part_trace *ret_part, struct err *err)
{
    uint32_t trace;
    bool ok = part_may_hold(t->sources[k].part, &t->id);
    if (ok)
        TRY(source_reader(&t->sources[k], &ok, err));
    if (!ok)
        return EC_OK;
    TRY(part_trace_find(t->sources[k].r, &t->id, &trace, err));
    return trace == PART_NONE ? EC_OK : add_piece(t, k, trace, ret_part, err);
}

static enum ec assembled(struct qtrace *t, const struct part_trace *only, struct err *err)
{
    if (t->n_parts > 1) {
        uint32_t n = t->n;
        TRY(drop_duplicates(t, err));
        if (t->n != n)
            TRY(find_times(t, err));
        return find_root(t, err);
    }
    find_root_row(t, only->root_row);
    return EC_OK;
}

enum ec qtrace_open(struct qtrace *t, struct source *sources, size_t n_sources,
    const struct trace_id *id, struct arena *scratch, struct err *err)
{
    *t = (struct qtrace){.id = *id, .sources = sources, .root = PART_NONE, .scratch = scratch};
    struct part_trace only = {0};
    for (size_t k = n_sources; k-- > 0;) /* parts come newest first */
        if (sources[k].part != NULL)
            TRY(source_note(&sources[k], add_source(t, k, &only, err)));
    return assembled(t, &only, err);
}

enum ec qtrace_open_pieces(struct qtrace *t, struct source *sources,
    const struct trace_piece *pieces, size_t n, struct arena *scratch, struct err *err)
{
    *t = (struct qtrace){
        .id = pieces[0].id, .sources = sources, .root = PART_NONE, .scratch = scratch};
    struct part_trace only = {0};
    for (size_t i = n; i-- > 0;) {
        struct source *s = &sources[pieces[i].part];
        if (s->part != NULL)
            TRY(source_note(s, add_piece(t, pieces[i].part, pieces[i].trace, &only, err)));
    }
    return assembled(t, &only, err);
}

enum ec qtrace_open_in(struct qtrace *t, struct source *sources, uint32_t src, uint32_t trace,
    const struct part_trace *pt, struct arena *scratch, struct err *err)
{
    *t = (struct qtrace){.id = pt->id,
        .sources = sources,
        .root = PART_NONE,
        .start_ns = pt->start_ns,
        .end_ns = pt->end_ns,
        .scratch = scratch};
    TRY(source_note(&sources[src], add_rows(t, src, trace, pt, err)));
    t->adjacent = !sources[src].part->is_head;
    if (t->adjacent && pt->root_row != PART_NONE && pt->root_row - pt->row_first < t->n)
        t->root = pt->root_row - pt->row_first;
    else
        find_root_row(t, pt->root_row);
    return EC_OK;
}

enum ec qtrace_load_ids(struct qtrace *t, struct err *err)
{
    if (t->ids != NULL)
        return EC_OK;
    struct qids *ids = arena_alloc(t->scratch, t->n * sizeof(*ids));
    if (ids == NULL)
        return over_budget(err);
    for (uint32_t i = 0, end; i < t->n; i = end) {
        const struct qrow *r = &t->rows[i];
        const struct col_view *id, *parent, *kind;
        struct source *s = &t->sources[r->src];
        end = qtrace_run(t, i);
        TRY(source_fixed(s, COL_SPAN_ID, r->g, &id, err));
        TRY(source_fixed(s, COL_SPAN_PARENT, r->g, &parent, err));
        TRY(source_fixed(s, COL_SPAN_KIND, r->g, &kind, err));
        for (uint32_t k = i; k < end; k++) {
            uint32_t off = t->rows[k].off;
            ASSERT(off < id->n && off < parent->n && off < kind->n); /* dense columns */
            ids[k] = (struct qids){id->u64[off], parent->u64[off], kind->u32[off]};
        }
    }
    t->ids = ids;
    return EC_OK;
}

/* Of rows[from, to), which lie in one group. */
static void numbers_of(const struct qtrace *t, const struct col_view *v, const uint32_t *rows,
    uint32_t from, uint32_t to, uint64_t *out)
{
    if (v->rows == NULL && v->phys == PHYS_U64) {
        for (uint32_t i = from; i < to; i++)
            out[i] = t->rows[rows[i]].off < v->n ? v->u64[t->rows[rows[i]].off] : 0;
        return;
    }
    if (v->rows == NULL && v->phys == PHYS_U32) {
        for (uint32_t i = from; i < to; i++)
            out[i] = t->rows[rows[i]].off < v->n ? v->u32[t->rows[rows[i]].off] : 0;
        return;
    }
    for (uint32_t i = from; i < to; i++) {
        uint32_t at = view_index(v, t->rows[rows[i]].off);
        out[i] = at == PART_NONE ? 0 : view_number(v, at);
    }
}

enum ec qtrace_numbers(
    struct qtrace *t, col_id col, const uint32_t *rows, uint32_t n, uint64_t *out, struct err *err)
{
    for (uint32_t i = 0, end; i < n; i = end) {
        const struct qrow *r = &t->rows[rows[i]];
        const struct col_view *v;
        for (end = i + 1; end < n; end++)
            if (t->rows[rows[end]].g != r->g || t->rows[rows[end]].src != r->src)
                break;
        TRY(source_fixed(&t->sources[r->src], col, r->g, &v, err));
        numbers_of(t, v, rows, i, end, out);
    }
    return EC_OK;
}
