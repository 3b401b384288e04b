/* SPDX-License-Identifier: Apache-2.0
 * What compare() asks of a span's trace: how many children the span has, and the name and service
 * of the trace's root.
 *
 * A trace that one part holds whole is looked at in that part, group by group, without being
 * assembled. Of those that several parts hold compare_roots.c has told before. */
#include <stdlib.h>

#include "base/hash.h"
#include "compare_roots.h"
#include "result.h"

#define NAMES_KNOWN_MAX (64u << 10) /* codes of a dictionary of names */

static enum ec over_budget(struct err *err)
{
    return ERR(err, EC_LIMIT, "query is over its memory budget");
}

enum ec trace_facts_init(struct trace_facts *t, const struct roots *shared, struct source *s,
    uint32_t n, struct arena *a, struct err *err)
{
    /* Zeroed: whatever is wrong with a part, what is read from these is an id. */
    *t = (struct trace_facts){.children = ARENA_ARRAY(a, n, uint32_t),
        .root_name = ARENA_ARRAY(a, n, uint32_t),
        .root_service = ARENA_ARRAY(a, n, uint32_t),
        .service_of = ARENA_ARRAY(a, s->info.n_resources, uint32_t),
        .shared = shared};
    buf_init(&t->ids, a->budget);
    buf_init(&t->name_of, a->budget);
    if (t->children == NULL || t->root_name == NULL || t->root_service == NULL ||
        t->service_of == NULL)
        return over_budget(err);
    if (s->part->is_head) {
        t->n_seen = s->info.n_traces;
        t->seen = ARENA_ARRAY(a, t->n_seen, uint32_t);
        if (t->seen == NULL)
            return over_budget(err);
    }
    return label_set_init(&t->texts, a, err);
}

void trace_facts_deinit(struct trace_facts *t)
{
    buf_deinit(&t->ids);
    buf_deinit(&t->name_of);
}

struct member { /* a row of the trace at hand */
    uint64_t id, parent;
    uint32_t kind, row; /* group-relative; PART_NONE: of another group */
    uint32_t children;
};

static enum ec number_view(
    struct source *s, uint32_t g, col_id col, struct col_view *v, struct err *err)
{
    TRY(part_view(s->r, g, col, v, err));
    if (v->rows != NULL || v->n < s->groups[g].n_rows)
        return ERR(err, EC_CORRUPT, "column %u: %u values in group %u", col, v->n, g);
    return EC_OK;
}

/* What the traces of a group are read from; next to all of them lie in one. */
static enum ec open_group(struct source *s, uint32_t g, struct trace_columns *ret, struct err *err)
{
    if (ret->n_rows != 0 && ret->row_first == s->groups[g].row_first)
        return EC_OK;
    ret->n_rows = 0;
    TRY(number_view(s, g, COL_SPAN_ID, &ret->ids, err));
    TRY(number_view(s, g, COL_SPAN_PARENT, &ret->parents, err));
    TRY(number_view(s, g, COL_SPAN_KIND, &ret->kinds, err));
    TRY(number_view(s, g, COL_SPAN_NAME, &ret->names, err));
    TRY(number_view(s, g, COL_SPAN_RESOURCE, &ret->resources, err));
    ret->row_first = s->groups[g].row_first;
    ret->n_rows = s->groups[g].n_rows;
    return EC_OK;
}

/* The columns of the group at hand, or of another one. */
static enum ec columns_of(struct trace_facts *t, struct source *s, uint32_t row,
    const struct trace_columns **ret, struct err *err)
{
    *ret = &t->here;
    if (row - t->here.row_first < t->here.n_rows)
        return EC_OK;
    *ret = &t->other;
    if (row - t->other.row_first < t->other.n_rows)
        return EC_OK;
    return open_group(s, source_group_of(s, row), &t->other, err);
}

/* The members of a trace, in storage order. */
static enum ec load_members(struct trace_facts *t, struct collector *c, uint32_t trace,
    const struct part_trace *pt, struct member **ret, uint32_t *ret_n, struct err *err)
{
    struct source *s = &c->sources[0];
    const struct trace_columns *cols = &t->here;
    uint32_t *rows = NULL, n = pt->n_rows;
    if (s->part->is_head) { /* a block has them one after another */
        TRY(part_trace_rows(s->r, trace, &c->scratch, &rows, &n, err));
        while (n > 0 && rows[n - 1] >= s->info.n_rows)
            n--;
    }
    buf_reset(&t->ids);
    if (!buf_reserve(&t->ids, n * sizeof(struct member) + 1))
        return over_budget(err);
    struct member *m = (struct member *)(void *)t->ids.p;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t row = rows == NULL ? pt->row_first + i : rows[i];
        if (UNLIKELY(row - cols->row_first >= cols->n_rows)) {
            if (row >= s->info.n_rows)
                return ERR(err, EC_CORRUPT, "trace %u has row %u", trace, row);
            TRY(columns_of(t, s, row, &cols, err));
        }
        uint32_t off = row - cols->row_first;
        m[i] = (struct member){cols->ids.u64[off], cols->parents.u64[off], cols->kinds.u32[off],
            cols == &t->here ? off : PART_NONE, 0};
    }
    *ret = m;
    *ret_n = n;
    return EC_OK;
}

enum { SPAN_KIND_SERVER = 2, SPAN_KIND_CLIENT = 3 };

/* As qtrace_load_nest attaches them: of two spans with the parent's id, a client and a server, the
 * one that fits the child. */
static void adopt(struct member *m, uint32_t child, uint32_t first, uint32_t second, uint32_t same)
{
    uint32_t want = m[child].kind == SPAN_KIND_SERVER ? SPAN_KIND_CLIENT : SPAN_KIND_SERVER;
    uint32_t parent = same == 2 && m[second].kind == want ? second : first;
    if (same != 0 && parent != child)
        m[parent].children++;
}

static void count_children_small(struct member *m, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t first = 0, second = 0, same = 0;
        if (m[i].parent == 0)
            continue;
        for (uint32_t k = 0; k < n; k++) {
            if (m[k].id != m[i].parent)
                continue;
            first = same == 0 ? k : first;
            second = same == 1 ? k : second;
            same++;
        }
        adopt(m, i, first, second, same);
    }
}

struct id_slot {
    uint64_t id;
    uint32_t n, row[2];
};

static struct id_slot *id_slot(struct id_slot *slots, uint32_t mask, uint64_t id)
{
    uint32_t at = (uint32_t)hash_mix(id) & mask;
    while (slots[at].n != 0 && slots[at].id != id)
        at = (at + 1) & mask;
    return &slots[at];
}

static enum ec count_children(struct member *m, uint32_t n, struct arena *scratch, struct err *err)
{
    if (n <= 24) {
        count_children_small(m, n);
        return EC_OK;
    }
    uint32_t cap = 64;
    while (cap < n * 2ULL && cap < 1u << 31)
        cap *= 2;
    struct id_slot *slots = ARENA_ARRAY(scratch, cap, struct id_slot);
    if (slots == NULL)
        return over_budget(err);
    for (uint32_t i = 0; i < n; i++) {
        struct id_slot *s = id_slot(slots, cap - 1, m[i].id);
        s->id = m[i].id;
        if (s->n < 2)
            s->row[s->n] = i;
        s->n++;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (m[i].parent == 0)
            continue;
        const struct id_slot *s = id_slot(slots, cap - 1, m[i].parent);
        adopt(m, i, s->row[0], s->row[1], s->n);
    }
    return EC_OK;
}

static enum ec service_text(
    struct trace_facts *t, struct source *s, uint32_t resource, uint32_t *ret, struct err *err)
{
    const struct part_attr *cols[VALUE_TYPES];
    struct str service = str_n("", 0);
    if (t->service_of[resource] == 0) {
        TRY(part_attr_find(s->r, TABLE_RESOURCES, STR("service.name"), cols, err));
        if (cols[VALUE_STR] != NULL) {
            struct col_view v;
            TRY(part_view(s->r, 0, cols[VALUE_STR]->col, &v, err));
            uint32_t i = view_index(&v, resource);
            if (i != PART_NONE)
                service = dict_get(v.dict, v.u32[i]);
        }
        TRY(apart_text(&t->texts, service, &t->service_of[resource], err));
        t->service_of[resource]++;
    }
    *ret = t->service_of[resource] - 1;
    return EC_OK;
}

/* Names are few: their text ids by code, as far as they were asked for. */
static enum ec name_text(
    struct trace_facts *t, const struct dict *dict, uint32_t code, uint32_t *ret, struct err *err)
{
    if (t->names != dict) {
        uint32_t n = dict->sorted ? MIN(dict_count(dict), NAMES_KNOWN_MAX) : 0;
        buf_reset(&t->name_of);
        if (!buf_reserve(&t->name_of, n * sizeof(uint32_t) + 1))
            return over_budget(err);
        memset(t->name_of.p, 0, n * sizeof(uint32_t));
        t->names = dict;
        t->n_names = n;
    }
    uint32_t *of = (uint32_t *)(void *)t->name_of.p;
    if (code < t->n_names && of[code] != 0) {
        *ret = of[code] - 1;
        return EC_OK;
    }
    TRY(apart_text(&t->texts, dict_get(dict, code), ret, err));
    if (code < t->n_names)
        of[code] = *ret + 1;
    return EC_OK;
}

static enum ec root_texts(struct trace_facts *t, struct source *s, uint32_t root,
    uint32_t *ret_name, uint32_t *ret_service, struct err *err)
{
    const struct trace_columns *cols;
    if (root == PART_NONE || root >= s->info.n_rows) {
        TRY(apart_text(&t->texts, str_n("", 0), ret_name, err));
        *ret_service = *ret_name;
        return EC_OK;
    }
    TRY(columns_of(t, s, root, &cols, err));
    uint32_t off = root - cols->row_first, resource = cols->resources.u32[off];
    if (resource >= s->info.n_resources)
        return ERR(err, EC_CORRUPT, "a span names resource %u", resource);
    TRY(name_text(t, cols->names.dict, cols->names.u32[off], ret_name, err));
    return service_text(t, s, resource, ret_service, err);
}

static const struct apart_trace *apart_find(const struct apart_part *p, uint32_t trace)
{
    const struct apart_trace *all = (const struct apart_trace *)(const void *)p->traces.p;
    return apart_n_traces(p) == 0
               ? NULL
               : bsearch(&trace, all, apart_n_traces(p), sizeof(*all), apart_cmp);
}

/* Facts of a trace that other parts hold too. */
static enum ec fill_shared(struct trace_facts *t, struct collector *c, uint32_t g,
    const struct apart_trace *st, struct err *err)
{
    struct source *s = &c->sources[0];
    const struct apart_part *p = &t->shared->parts[c->slice.part];
    const struct apart_row *all = (const struct apart_row *)(const void *)p->rows.p;
    uint32_t *rows, n, name, service;
    TRY(part_trace_rows(s->r, st->trace, &c->scratch, &rows, &n, err));
    TRY(apart_text(&t->texts, t->shared->texts.values[st->root_name].s, &name, err));
    TRY(apart_text(&t->texts, t->shared->texts.values[st->root_service].s, &service, err));
    for (uint32_t i = 0; i < n; i++) {
        uint32_t off = rows[i] - s->groups[g].row_first;
        if (rows[i] < s->groups[g].row_first || off >= s->groups[g].n_rows)
            continue;
        const struct apart_row *r =
            apart_n_rows(p) == 0 ? NULL
                                 : bsearch(&rows[i], all, apart_n_rows(p), sizeof(*all), apart_cmp);
        t->root_name[off] = name;
        t->root_service[off] = service;
        /* None: a repeated row, or one that came after the traces were looked at. */
        t->children[off] = r == NULL ? 0 : r->children;
    }
    return EC_OK;
}

static enum ec fill_trace(
    struct trace_facts *t, struct collector *c, uint32_t g, uint32_t trace, struct err *err)
{
    struct source *s = &c->sources[0];
    struct part_trace pt;
    struct member *m = NULL;
    uint32_t n = 0, name = 0, service = 0;
    if (t->shared != NULL) {
        const struct apart_trace *st = apart_find(&t->shared->parts[c->slice.part], trace);
        if (st != NULL)
            return fill_shared(t, c, g, st, err);
    }
    TRY(part_trace(s->r, trace, &pt, err));
    TRY(root_texts(t, s, pt.root_row, &name, &service, err));
    TRY(load_members(t, c, trace, &pt, &m, &n, err));
    TRY(count_children(m, n, &c->scratch, err));
    for (uint32_t i = 0; i < n; i++) {
        if (m[i].row == PART_NONE)
            continue;
        t->children[m[i].row] = m[i].children;
        t->root_name[m[i].row] = name;
        t->root_service[m[i].row] = service;
    }
    return EC_OK;
}

enum ec trace_facts_fill(struct trace_facts *t, struct collector *c, uint32_t g, struct err *err)
{
    struct source *s = &c->sources[0];
    struct col_view traces;
    uint32_t last = PART_NONE;
    TRY(number_view(s, g, COL_SPAN_TRACE, &traces, err));
    TRY(open_group(s, g, &t->here, err));
    for (uint32_t i = 0; i < s->groups[g].n_rows; i++) {
        uint32_t trace = traces.u32[i];
        if (trace == last)
            continue;
        last = trace;
        if (t->seen != NULL) {
            if (trace >= t->n_seen || t->seen[trace] == g + 1)
                continue;
            t->seen[trace] = g + 1;
        }
        TRY(fill_trace(t, c, g, trace, err));
    }
    return EC_OK;
}
