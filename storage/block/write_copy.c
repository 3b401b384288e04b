/* SPDX-License-Identifier: Apache-2.0
 * Merging without unpacking: chunks of a source that go into the new block as they are.
 *
 * Blocks of one tenant follow each other in time, so a merge mostly puts their groups one behind
 * the other. A group of a source whose rows stay together and in order becomes a group of the new
 * block (writer_copy_candidates cuts there, writer_copy_groups sees what came of it). Everything in
 * a value page is relative to its chunk's first group and to rows of a group (FORMAT.md section 5),
 * so the pages of a chunk that covers only such groups, one after the other, are right in the new
 * block too: they are read, checked, summed for their new place and written. What lies between is
 * collected and encoded as ever.
 *
 * Not copied: small groups and small chunks (merging is there to make them large), groups that cut
 * a trace (the trace table needs its last root), and the columns whose numbers are the block's own:
 * resources, scopes, shapes, owners of events and links. Strings are copied when all sources that
 * have the column agree: each chunk has its dictionary, or the column's dictionaries are equal.
 *
 * INVARIANT: a chunk is copied only if each of its groups lies in the new block whole, in order,
 * without a span or event dropped. */
#include <stdlib.h>

#include "filter.h"
#include "reader.h"
#include "write.h"

#define COPY_ROWS_MIN   (BLOCK_GROUP_ROWS / 2)   /* smaller groups are joined instead */
#define COPY_VALUES_MIN (BLOCK_CHUNK_VALUES / 2) /* as are smaller chunks */

/* NULL: a head. */
static struct block_reader *source_block(const struct wsource *s)
{
    return s->r->part->ops == &block_part_ops ? CONTAINER_OF(s->r, struct block_reader, base)
                                              : NULL;
}

/* Of a block. */
static const struct block_schema *source_schema(const struct wsource *s)
{
    ASSERT(s->r->part->ops == &block_part_ops);
    return CONTAINER_OF(s->r, struct block_reader, base)->schema;
}

/* Groups. */

static bool group_stays(
    const struct writer *w, const struct wsource *s, uint32_t g, const uint32_t *trace)
{
    uint32_t a = s->base[TABLE_SPANS][g], z = s->base[TABLE_SPANS][g + 1];
    uint32_t end = s->base[TABLE_SPANS][s->info.n_groups];
    if (z - a < COPY_ROWS_MIN || z - a > BLOCK_GROUP_ROWS)
        return false;
    if ((g > 0 && trace[a - 1] == trace[a]) || (z < end && trace[z - 1] == trace[z]))
        return false;
    const uint32_t *pos = w->pos[TABLE_SPANS];
    for (uint32_t i = a; i < z; i++)
        if (pos[i] == PART_NONE || pos[i] != pos[a] + (i - a))
            return false;
    return true;
}

enum ec writer_copy_candidates(
    struct writer *w, const uint32_t *trace, uint8_t **ret_cut, struct err *err)
{
    uint8_t *cut = NULL;
    for (size_t k = 0; k < w->n_src; k++) {
        struct wsource *s = &w->src[k];
        if (source_block(s) == NULL)
            continue;
        s->copy_to = ARENA_ARRAY(&w->arena, s->info.n_groups + 1ULL, uint32_t);
        if (cut == NULL)
            cut = ARENA_ARRAY(&w->tmp, w->n_out[TABLE_SPANS] + 1ULL, uint8_t);
        if (s->copy_to == NULL || cut == NULL)
            return writer_limit(err);
        for (uint32_t g = 0; g < s->info.n_groups; g++) {
            s->copy_to[g] = PART_NONE;
            if (!group_stays(w, s, g, trace))
                continue;
            uint32_t first = w->pos[TABLE_SPANS][s->base[TABLE_SPANS][g]];
            s->copy_to[g] = first; /* a place; becomes the group below */
            cut[first] = cut[first + s->groups[g].n_rows] = 1;
        }
    }
    *ret_cut = cut;
    return EC_OK;
}

void writer_copy_groups(struct writer *w)
{
    const uint32_t *first = w->first[TABLE_SPANS];
    for (size_t k = 0; k < w->n_src; k++) {
        struct wsource *s = &w->src[k];
        for (uint32_t g = 0; s->copy_to != NULL && g < s->info.n_groups; g++) {
            uint32_t place = s->copy_to[g], lo = 0, hi = w->n_groups;
            if (place == PART_NONE)
                continue;
            while (lo + 1 < hi) {
                uint32_t mid = lo + (hi - lo) / 2;
                *(first[mid] <= place ? &lo : &hi) = mid;
            }
            bool same = first[lo] == place && first[lo + 1] - place == s->groups[g].n_rows;
            s->copy_to[g] = same ? lo : PART_NONE;
            w->n_copy_groups += same;
        }
    }
}

/* Chunks of a column. */

static int copy_order(const void *a, const void *b)
{
    const struct copy *x = a, *y = b;
    return x->to < y->to ? -1 : x->to > y->to;
}

static bool chunk_stays(const struct wsource *s, const struct block_chunk *h)
{
    uint32_t to = s->copy_to[h->group_first];
    if (h->n_values < COPY_VALUES_MIN || to == PART_NONE)
        return false;
    for (uint32_t g = h->group_first + 1; g <= h->group_last; g++)
        if (s->copy_to[g] == PART_NONE || s->copy_to[g] != to + (g - h->group_first))
            return false;
    return true;
}

static const struct block_column *source_column(const struct wsource *s, col_id col)
{
    col_id from = writer_source_col(s, col);
    const struct block_reader *r = source_block(s);
    return r == NULL || from == WRITER_NO_COLUMN ? NULL : block_schema_column(r->schema, from);
}

enum ec copies_find(struct writer *w, col_id col, struct copies *ret, struct err *err)
{
    uint64_t n = 0;
    *ret = (struct copies){0};
    if (w->n_copy_groups == 0)
        return EC_OK;
    for (size_t k = 0; k < w->n_src; k++) {
        const struct block_column *c = source_column(&w->src[k], col);
        n += c == NULL ? 0 : c->n_chunks;
    }
    struct copy *p = ARENA_ARRAY(&w->tmp, n + 1, struct copy);
    uint8_t *covered = ARENA_ARRAY(&w->tmp, w->n_groups + 1ULL, uint8_t);
    if (p == NULL || covered == NULL)
        return writer_limit(err);
    for (size_t k = 0; k < w->n_src; k++) {
        struct wsource *s = &w->src[k];
        const struct block_column *c = source_column(s, col);
        for (uint32_t i = 0; c != NULL && i < c->n_chunks; i++) {
            const struct block_chunk *h = &source_schema(s)->chunks[c->chunk_first + i];
            if (!chunk_stays(s, h))
                continue;
            uint32_t to = s->copy_to[h->group_first];
            p[ret->n++] = (struct copy){s, h, to};
            ret->n_values += h->n_values;
            memset(covered + to, 1, h->group_last - h->group_first + 1);
        }
    }
    if (ret->n == 0)
        return EC_OK;
    qsort(p, ret->n, sizeof(*p), copy_order);
    ret->p = p;
    ret->covered = covered;
    return EC_OK;
}

/* Strings. */

/* The strings of a source's dictionary go into the interner when it is empty, else are compared
 * with it. */
static enum ec dict_compare(struct writer *w, struct wsource *s, const struct block_column *c,
    struct interner *strings, bool *ret_same, struct err *err)
{
    struct part_reader *own;
    const struct dict_object *d = NULL;
    TRY(part_reader_open(s->r->part, w->opt->budget, &own, err));
    own->once = true;
    struct block_reader *r = CONTAINER_OF(own, struct block_reader, base);
    enum ec ec = block_load_schema(r, err);
    if (ec == EC_OK)
        ec = block_load_dict(r, block_schema_column(r->schema, c->col), &d, err);
    bool fill = strings->n == 0;
    *ret_same = ec == EC_OK && (fill || d->dict.n == strings->n);
    for (uint32_t i = 0; ec == EC_OK && *ret_same && i < d->dict.n; i++) {
        struct str x = dict_get(&d->dict.dict, i);
        uint32_t number = i;
        if (fill)
            ec = interner_add(strings, x, &number, err);
        else
            *ret_same = str_eq(x, interner_get(strings, i));
        if (number != i) /* ascending strings are all different */
            ec = ERR(err, EC_CORRUPT, "dictionary of column %u is out of order", c->col);
    }
    part_reader_close(own);
    return ec;
}

/* How many sources have the column, how many of them with a dictionary for each chunk. False: the
 * dictionaries differ, which mostly shows in their sizes, without reading them. */
static bool dicts_may_be_equal(
    struct writer *w, col_id col, unsigned *ret_have, unsigned *ret_local)
{
    const struct block_column *one = NULL;
    bool equal = true;
    for (size_t k = 0; k < w->n_src; k++) {
        if (writer_source_col(&w->src[k], col) == WRITER_NO_COLUMN)
            continue;
        const struct block_column *c = source_column(&w->src[k], col);
        if (c == NULL && source_block(&w->src[k]) != NULL)
            continue; /* a fixed column without a value */
        ++*ret_have;
        *ret_local += c != NULL && (c->flags & COLUMN_LOCAL);
        if (one == NULL)
            one = c;
        equal = equal && c != NULL && c->dict_n == one->dict_n && c->dict_bytes == one->dict_bytes;
    }
    return equal;
}

enum ec copies_find_strings(struct writer *w, struct wanted *k, struct err *err)
{
    unsigned have = 0, local = 0;
    if (w->n_copy_groups == 0)
        return EC_OK;
    bool same = dicts_may_be_equal(w, k->col, &have, &local);
    if (have > 0 && local == have) {
        k->strings_as = STRINGS_LOCAL;
        return copies_find(w, k->col, &k->copies, err);
    }
    if (local > 0 || !same)
        return EC_OK;
    for (size_t i = 0; same && i < w->n_src; i++) {
        const struct block_column *c = source_column(&w->src[i], k->col);
        if (c != NULL)
            TRY(dict_compare(w, &w->src[i], c, &k->strings, &same, err));
    }
    if (!same) {
        wanted_reset(w, k);
        return EC_OK;
    }
    k->strings_as = STRINGS_SAME_DICT;
    return copies_find(w, k->col, &k->copies, err);
}

/* Writing. */

/* The hashes of a dictionary page's strings. */
static enum ec dict_page_hashes(struct writer *w, struct bytes stored, uint64_t raw,
    struct buf *scratch, struct buf *hashes, struct err *err)
{
    struct page_in in;
    struct buf lens;
    const uint8_t *p = NULL;
    uint64_t sum = 0;
    page_in_init(&in, stored, raw, scratch);
    uint32_t n = cur_u32(&in.c);
    if (in.c.bad || n > PAGE_VALUES_MAX)
        return ERR(err, EC_CORRUPT, "a dictionary page holds %u strings", n);
    buf_init(&lens, w->opt->budget);
    enum ec ec = buf_reserve(&lens, n * 4ULL + 4) ? EC_OK : writer_limit(err);
    uint32_t *len = (uint32_t *)(void *)lens.p;
    if (ec == EC_OK)
        ec = ints_get(&in, n, 4, len, err);
    for (uint32_t i = 0; ec == EC_OK && i < n; i++)
        sum += len[i];
    if (ec == EC_OK)
        ec = section_get(&in, (size_t)sum, &p, err);
    for (uint32_t i = 0; ec == EC_OK && i < n; i++) {
        buf_put_u64le(hashes, filter_hash(str_n((const char *)p, len[i])));
        p += len[i];
    }
    buf_deinit(&lens);
    TRY(ec);
    return buf_failed(hashes) ? writer_limit(err) : page_in_end(&in, err);
}

enum ec copy_put(struct writer *w, const struct copy *c, struct buf *hashes, struct err *err)
{
    struct block_reader *r = CONTAINER_OF(c->s->r, struct block_reader, base);
    struct block_chunk h = *c->h;
    for (uint32_t i = 0; i < h.n_value_pages + h.n_dict_pages; i++) {
        const struct page_ref *ref = &r->schema->pages[h.page_first + i];
        struct bytes stored;
        TRY(block_page_read(r, ref, &stored, err));
        TRY(writer_page_copy(w, stored, ref->raw, err));
        if (i >= h.n_value_pages && hashes != NULL)
            TRY(dict_page_hashes(w, stored, ref->raw, &r->scratch, hashes, err));
    }
    h.group_last = c->to + (h.group_last - h.group_first);
    h.group_first = c->to;
    VEC_PUSH(&w->chunks, h);
    w->copied += h.n_values;
    return EC_OK;
}

/* The traces of a copied chunk's groups, through a reader of their block. */
static enum ec copy_roots(
    struct writer *w, const struct copy *c, struct part_reader *r, struct err *err)
{
    const struct wsource *s = c->s;
    const struct block_group *groups = source_schema(s)->groups;
    for (uint32_t g = c->h->group_first; g <= c->h->group_last; g++) {
        uint32_t t = groups[g].trace_first, row = groups[g].part.row_first;
        uint32_t end = row + groups[g].part.n_rows, ours = w->groups[s->copy_to[g]].trace_first;
        for (; row < end; ours++) {
            struct part_trace trace;
            TRY(part_trace(r, t++, &trace, err));
            row += trace.n_rows;
            if (trace.root_row == PART_NONE)
                continue;
            uint32_t place = w->pos[TABLE_SPANS][s->base[TABLE_SPANS][0] + trace.root_row];
            uint32_t root = place - w->trace_first[ours] + 1;
            w->trace_root[ours] = MAX(w->trace_root[ours], root);
        }
    }
    return EC_OK;
}

enum ec copies_roots(struct writer *w, const struct copies *copies, struct err *err)
{
    struct part_reader *own = NULL;
    enum ec ec = EC_OK;
    for (size_t i = 0; ec == EC_OK && i < copies->n; i++) {
        const struct copy *c = &copies->p[i];
        if (own == NULL || c->s != copies->p[i - 1].s) {
            part_reader_close(own);
            own = NULL;
            ec = part_reader_open(c->s->r->part, w->opt->budget, &own, err);
        }
        if (ec == EC_OK)
            ec = copy_roots(w, c, own, err);
    }
    part_reader_close(own);
    return ec;
}

/* The strings of these groups are those that they had. */
void copies_weights(struct writer *w)
{
    for (size_t k = 0; k < w->n_src; k++) {
        const struct wsource *s = &w->src[k];
        for (uint32_t g = 0; s->copy_to != NULL && g < s->info.n_groups; g++)
            if (s->copy_to[g] != PART_NONE)
                w->groups[s->copy_to[g]].weight = source_schema(s)->groups[g].weight;
    }
}
