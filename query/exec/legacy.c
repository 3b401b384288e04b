/* SPDX-License-Identifier: Apache-2.0
 * Legacy tag search. */
#include "legacy.h"

/* Names whose values match as substring. */
static bool by_substring(struct str key)
{
    static const char *const names[] = {"service.name", "cluster", "namespace", "pod", "container",
        "k8s.cluster.name", "k8s.namespace.name", "k8s.pod.name", "k8s.container.name",
        "http.method", "http.url"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_eqz(key, names[i]))
            return true;
    return false;
}

static bool has_substring(void *ctx, struct str s)
{
    const struct search_tag *tag = ctx;
    return str_has(s, tag->value);
}

static bool is_equal(void *ctx, struct str s)
{
    const struct search_tag *tag = ctx;
    return str_eq(s, tag->value);
}

/* Code of a status.code value, -1: none. */
static int status_of(struct str s)
{
    return str_eq(s, STR("unset"))   ? 0
           : str_eq(s, STR("ok"))    ? 1
           : str_eq(s, STR("error")) ? 2
                                     : -1;
}

static struct scan_expr *leaf(struct arena *a, struct scan_leaf l)
{
    struct scan_expr *e = ARENA_NEW(a, struct scan_expr);
    if (e != NULL)
        *e = (struct scan_expr){.node = SCAN_LEAF, .leaf = l};
    return e;
}

static struct scan_expr *number_leaf(struct arena *a, struct scan_leaf l, int64_t n)
{
    struct scan_lit *lit = ARENA_NEW(a, struct scan_lit);
    if (lit == NULL)
        return NULL;
    *lit = (struct scan_lit){.type = SCAN_LIT_INT, .i = n};
    l.op = SCAN_EQ;
    l.lits = lit;
    l.n_lits = 1;
    return leaf(a, l);
}

/* The pair on span attributes, on resource attributes, or on the field it names. NULL: the arena
 * refused, or (*trace_wide) the pair is about the trace. */
static const struct scan_expr *tag_expr(
    struct arena *a, const struct search_tag *tag, bool *trace_wide)
{
    int64_t n;
    void *ctx = (void *)(uintptr_t)tag;
    *trace_wide = str_eq(tag->key, STR("root.name")) || str_eq(tag->key, STR("root.service.name"));
    if (*trace_wide)
        return NULL;
    if (str_eq(tag->key, STR("name")))
        return leaf(a, (struct scan_leaf){.table = TABLE_SPANS,
                           .col = COL_SPAN_NAME,
                           .op = SCAN_MATCH,
                           .match = has_substring,
                           .ctx = ctx});
    bool error_tag = str_eq(tag->key, STR("error")) && str_eq(tag->value, STR("true"));
    int status = error_tag ? 2 : str_eq(tag->key, STR("status.code")) ? status_of(tag->value) : -1;
    if (status >= 0)
        return number_leaf(
            a, (struct scan_leaf){.table = TABLE_SPANS, .col = COL_SPAN_STATUS}, status);
    const struct scan_expr **kids = ARENA_ARRAY(a, 4, const struct scan_expr *);
    struct scan_expr *any = ARENA_NEW(a, struct scan_expr);
    if (kids == NULL || any == NULL)
        return NULL;
    struct scan_leaf l = {.table = TABLE_SPANS,
        .key = tag->key,
        .op = SCAN_MATCH,
        .match = by_substring(tag->key) ? has_substring : is_equal,
        .ctx = ctx};
    kids[0] = leaf(a, l);
    l.table = TABLE_RESOURCES;
    kids[1] = leaf(a, l);
    uint32_t n_kids = 2;
    if (str_eq(tag->key, STR("http.status_code")) && str_to_i64(tag->value, &n)) {
        kids[n_kids++] = number_leaf(a, l, n);
        l.table = TABLE_SPANS;
        kids[n_kids++] = number_leaf(a, l, n);
    }
    for (uint32_t i = 0; i < n_kids; i++)
        if (kids[i] == NULL)
            return NULL;
    *any = (struct scan_expr){.node = SCAN_OR, .kids = kids, .n_kids = n_kids};
    return any;
}

enum ec legacy_need(const struct search_request *r, struct filters *f, struct source *sources,
    size_t n_sources, struct arena *arena, const struct need **ret, struct err *err)
{
    static const struct need all = {.kind = NEED_ALL};
    const struct need *need = &all;
    TRY(filters_open(f, sources, n_sources, (uint32_t)r->n_tags, 0, arena, err));
    for (size_t i = 0; i < r->n_tags; i++) {
        static const struct scan_expr any = {.node = SCAN_ALL};
        bool trace_wide;
        const struct scan_expr *e = tag_expr(arena, &r->tags[i], &trace_wide);
        struct need *one = ARENA_NEW(arena, struct need);
        if ((e == NULL && !trace_wide) || one == NULL)
            return ERR(err, EC_LIMIT, "query is over its memory budget");
        /* Filter i is of pair i. */
        uint32_t n = filters_add(f, NULL, trace_wide ? &any : e, false);
        if (trace_wide)
            continue;
        *one = (struct need){.kind = NEED_SPAN, .first = n, .n = 1};
        need = need_join(NEED_AND, need, one, arena);
        if (need == NULL)
            return ERR(err, EC_LIMIT, "query is over its memory budget");
    }
    *ret = need;
    return EC_OK;
}

/* ---- exact match on an assembled trace ---- */

static bool value_matches(const struct search_tag *tag, const struct qval *v)
{
    int64_t n;
    if (v->kind == QV_STRING)
        return by_substring(tag->key) ? str_has(v->s, tag->value) : str_eq(v->s, tag->value);
    return v->kind == QV_INT && str_eq(tag->key, STR("http.status_code")) &&
           str_to_i64(tag->value, &n) && n == v->i;
}

/* String and int columns of one key in one source: enough for legacy tags. */
static enum ec column_value(struct source *s, enum part_table table, struct str key, uint32_t g,
    uint32_t off, struct qval *ret, struct err *err)
{
    const struct part_attr *cols[VALUE_TYPES];
    const struct col_view *v;
    uint32_t slot;
    *ret = QVAL_NIL;
    TRY(part_attr_find(s->r, table, key, cols, err));
    for (unsigned t = VALUE_STR; t <= VALUE_INT; t++) {
        if (cols[t] == NULL)
            continue;
        TRY(source_slot(s, cols[t]->col, &slot, err));
        TRY(source_view(s, slot, g, &v, err));
        uint32_t i = v->n == 0 ? PART_NONE : view_index(v, off);
        if (i == PART_NONE)
            continue;
        *ret = t == VALUE_STR ? qval_str(dict_get(v->dict, v->u32[i])) : qval_int(v->i64[i]);
        return EC_OK;
    }
    return EC_OK;
}

static enum ec row_matches(
    struct eval *ev, const struct search_tag *tag, uint32_t row, bool *ret, struct err *err)
{
    struct qtrace *t = ev->trace;
    const struct qrow *r = &t->rows[row];
    struct source *s = &ev->sources[r->src];
    struct str name;
    struct qval v;
    uint64_t n;
    bool error_tag = str_eq(tag->key, STR("error")) && str_eq(tag->value, STR("true"));
    int status = error_tag ? 2 : str_eq(tag->key, STR("status.code")) ? status_of(tag->value) : -1;
    if (status >= 0) {
        TRY(qrow_u64(t, r, COL_SPAN_STATUS, &n, err));
        *ret = n == (uint64_t)status;
        return EC_OK;
    }
    if (str_eq(tag->key, STR("name"))) {
        TRY(qrow_str(t, r, COL_SPAN_NAME, &name, err));
        *ret = str_has(name, tag->value);
        return EC_OK;
    }
    TRY(column_value(s, TABLE_SPANS, tag->key, r->g, r->off, &v, err));
    *ret = value_matches(tag, &v);
    if (*ret)
        return EC_OK;
    TRY(qrow_u64(t, r, COL_SPAN_RESOURCE, &n, err));
    TRY(column_value(s, TABLE_RESOURCES, tag->key, 0, (uint32_t)n, &v, err));
    *ret = value_matches(tag, &v);
    return EC_OK;
}

static enum ec tag_matches(
    struct eval *ev, const struct search_tag *tag, uint32_t filter, bool *ret, struct err *err)
{
    if (str_eq(tag->key, STR("root.name")) || str_eq(tag->key, STR("root.service.name"))) {
        TRY(eval_root_text(ev, err));
        *ret = str_has(
            str_eq(tag->key, STR("root.name")) ? ev->root_name : ev->root_service, tag->value);
        return EC_OK;
    }
    *ret = false;
    for (uint32_t i = 0; i < ev->trace->n && !*ret; i++) {
        const struct qrow *r = &ev->trace->rows[i];
        const struct filter_bits *b;
        TRY(filters_group(ev->filters, r->src, filter, r->g, &b, err));
        if (scan_bits_get(&b->bits, r->off))
            TRY(row_matches(ev, tag, i, ret, err));
    }
    return EC_OK;
}

enum ec legacy_match(struct eval *ev, const struct search_request *r, bool *ret, struct err *err)
{
    uint64_t duration = ev->trace->end_ns - ev->trace->start_ns;
    *ret = (r->min_duration_ns == 0 || duration >= r->min_duration_ns) &&
           (r->max_duration_ns == 0 || duration <= r->max_duration_ns);
    for (size_t i = 0; i < r->n_tags && *ret; i++)
        TRY(tag_matches(ev, &r->tags[i], (uint32_t)i, ret, err));
    return EC_OK;
}
