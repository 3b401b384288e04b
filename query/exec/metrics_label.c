/* SPDX-License-Identifier: Apache-2.0
 * Label ids of whole groups.
 *
 * Of several values of a row the one counts that eval_attr would return: the lowest value type, in
 * it the first value. Columns are therefore written from the last type to the first, backwards. */
#include "metrics_label.h"

#include "bind.h"

static enum ec over_budget(struct err *err)
{
    return ERR(err, EC_LIMIT, "query is over its memory budget");
}

/* What is shown alike must be one series: arrays are the text "nil", numbers that name no status or
 * kind are the zero one, and when there is no value at all the first label says "nil". */
struct qval collect_label(struct qval v)
{
    if (v.kind == QV_OPAQUE)
        return QVAL_NIL;
    if (v.kind == QV_ARRAY)
        return qval_str(STR("nil"));
    if ((v.kind == QV_STATUS && (v.i < 0 || v.i > 2)) ||
        (v.kind == QV_KIND && (v.i < 0 || v.i > 5)))
        v.i = 0;
    if (v.kind == QV_FLOAT && v.f == 0)
        v.f = 0; /* of minus zero too */
    return v;
}

/* ---- sets ---- */

static enum ec set_grow(struct label_set *s, struct err *err)
{
    uint32_t cap = s->cap == 0 ? 16 : s->cap * 2, n_slots = cap * 2;
    struct qval *values = arena_alloc(s->arena, cap * sizeof(*values));
    uint32_t *slots = ARENA_ARRAY(s->arena, n_slots, uint32_t);
    if (values == NULL || slots == NULL)
        return over_budget(err);
    if (s->n != 0)
        memcpy(values, s->values, s->n * sizeof(*values));
    for (uint32_t i = 0; i < s->n; i++) {
        uint32_t at = (uint32_t)qval_hash(&values[i]) & (n_slots - 1);
        while (slots[at] != 0)
            at = (at + 1) & (n_slots - 1);
        slots[at] = i + 1;
    }
    s->values = values;
    s->cap = cap;
    s->slots = slots;
    s->n_slots = n_slots;
    return EC_OK;
}

/* Where v is, or the free slot for it. */
static uint32_t set_slot(const struct label_set *s, const struct qval *v)
{
    uint32_t at = (uint32_t)qval_hash(v) & (s->n_slots - 1);
    while (s->slots[at] != 0 && qval_order(&s->values[s->slots[at] - 1], v) != 0)
        at = (at + 1) & (s->n_slots - 1);
    return at;
}

bool label_find(const struct label_set *s, const struct qval *v, uint32_t *ret)
{
    uint32_t at = set_slot(s, v);
    if (s->slots[at] == 0)
        return false;
    *ret = s->slots[at] - 1;
    return true;
}

enum ec label_intern(struct label_set *s, const struct qval *v, uint32_t *ret, struct err *err)
{
    if (s->n == s->cap)
        TRY(set_grow(s, err));
    uint32_t at = set_slot(s, v);
    if (s->slots[at] != 0) {
        *ret = s->slots[at] - 1;
        return EC_OK;
    }
    struct qval own = *v;
    if (v->kind == QV_STRING || v->kind == QV_ARRAY) {
        own.s = arena_str(s->arena, v->s);
        if (own.s.p == NULL)
            return over_budget(err);
    }
    s->values[s->n] = own;
    *ret = s->n;
    s->slots[at] = ++s->n;
    return EC_OK;
}

enum ec label_set_init(struct label_set *s, struct arena *a, struct err *err)
{
    uint32_t nil;
    *s = (struct label_set){.arena = a};
    return label_intern(s, &QVAL_NIL, &nil, err);
}

static enum ec intern_label(struct label_set *s, struct qval v, uint32_t *ret, struct err *err)
{
    v = collect_label(v);
    return label_intern(s, &v, ret, err);
}

/* ---- binding ---- */

static enum ec bind_wide(struct label_col *l, struct eval *ev, struct err *err)
{
    const struct tql_attr *attr = l->attr;
    const struct bind *b = NULL;
    TRY(eval_bind(ev, attr, 0, &b, err));
    memcpy(l->slots, b->slots, sizeof(l->slots));
    l->any_slot = b->any_slot;
    if (b->wide == NULL)
        return EC_OK;
    bool scope = attr->scope == TQL_SCOPE_INSTRUMENTATION || attr->intrinsic != TQL_I_NONE;
    const struct part_info *info = &ev->sources[0].info;
    l->col = scope ? COL_SPAN_SCOPE : COL_SPAN_RESOURCE;
    l->n_wide = scope ? info->n_scopes : info->n_resources;
    l->wide = ARENA_ARRAY(l->set.arena, l->n_wide, uint32_t);
    if (l->wide == NULL)
        return over_budget(err);
    for (uint32_t i = 0; i < l->n_wide; i++)
        TRY(intern_label(&l->set, b->wide[i], &l->wide[i], err));
    return EC_OK;
}

static enum ec bind_text(struct label_col *l, struct eval *ev, col_id col, struct err *err)
{
    l->any_slot = true;
    TRY(intern_label(&l->set, qval_str(str_n("", 0)), &l->default_id, err));
    return source_slot(&ev->sources[0], col, &l->slots[VALUE_STR], err);
}

static enum ec bind_number(struct label_col *l, enum qval_kind kind, col_id col, struct err *err)
{
    l->kind = LABEL_NUMBER;
    l->col = col;
    for (uint32_t i = 0; i < ARRAY_LEN(l->numbers); i++)
        TRY(intern_label(&l->set, (struct qval){.kind = kind, .i = i}, &l->numbers[i], err));
    return EC_OK;
}

static enum ec bind_label(struct label_col *l, struct eval *ev, struct err *err)
{
    const struct tql_attr *attr = l->attr;
    l->kind = LABEL_COLUMNS;
    switch (attr->intrinsic) {
    case TQL_I_NAME:
        l->name = true;
        return EC_OK;
    case TQL_I_STATUS_MESSAGE:
        return bind_text(l, ev, COL_SPAN_STATUS_MESSAGE, err);
    case TQL_I_STATUS:
        return bind_number(l, QV_STATUS, COL_SPAN_STATUS, err);
    case TQL_I_KIND:
        return bind_number(l, QV_KIND, COL_SPAN_KIND, err);
    case TQL_I_INSTRUMENTATION_NAME:
    case TQL_I_INSTRUMENTATION_VERSION:
        return bind_wide(l, ev, err);
    case TQL_I_NONE:
        if (attr->scope != TQL_SCOPE_EVENT && attr->scope != TQL_SCOPE_LINK)
            return bind_wide(l, ev, err);
        break;
    default:
        break;
    }
    l->kind = LABEL_ROWS;
    return EC_OK;
}

enum ec label_col_init(struct label_col *l, struct eval *ev, const struct tql_attr *attr,
    uint32_t n_rows, struct arena *a, struct err *err)
{
    *l = (struct label_col){.attr = attr};
    for (unsigned t = 0; t < VALUE_TYPES; t++) {
        l->slots[t] = SOURCE_NO_SLOT;
        buf_init(&l->memo[t].ids, a->budget);
    }
    TRY(label_set_init(&l->set, a, err));
    l->ids = arena_alloc(a, (n_rows + 1) * sizeof(uint32_t));
    if (l->ids == NULL)
        return over_budget(err);
    return attr->parent ? ERR(err, EC_INTERNAL, "a label of the parent") : bind_label(l, ev, err);
}

void label_col_deinit(struct label_col *l)
{
    for (unsigned t = 0; t < VALUE_TYPES; t++)
        buf_deinit(&l->memo[t].ids);
}

/* ---- filling ---- */

static enum ec memo_for(struct label_memo *m, const struct dict *dict, struct err *err)
{
    if (m->dict == dict)
        return EC_OK;
    size_t bytes = (size_t)dict_count(dict) * sizeof(uint32_t);
    m->dict = NULL;
    buf_reset(&m->ids);
    if (!buf_reserve(&m->ids, bytes + 1))
        return over_budget(err);
    memset(m->ids.p, 0, bytes);
    m->ids.n = bytes;
    m->dict = dict;
    return EC_OK;
}

static enum ec memo_miss(
    struct label_col *l, enum value_type type, uint32_t code, uint32_t *ret, struct err *err)
{
    struct label_memo *m = &l->memo[type];
    if (code >= m->ids.n / sizeof(uint32_t))
        return ERR(err, EC_CORRUPT, "string code %u of %zu", code, m->ids.n / sizeof(uint32_t));
    struct value value = {.type = type, .s = dict_get(m->dict, code)};
    TRY(intern_label(&l->set, qval_of_value(&value), ret, err));
    ((uint32_t *)(void *)m->ids.p)[code] = *ret + 1;
    return EC_OK;
}

/* A string for every row of the group: only those of the observed rows are looked at. */
static enum ec fill_dense(
    struct label_col *l, const struct col_view *v, const struct frame *f, struct err *err)
{
    TRY(memo_for(&l->memo[VALUE_STR], v->dict, err));
    const uint32_t *memo = (const uint32_t *)(const void *)l->memo[VALUE_STR].ids.p;
    const uint32_t n_memo = (uint32_t)(l->memo[VALUE_STR].ids.n / sizeof(uint32_t));
    const uint32_t *codes = v->u32;
    uint32_t *ids = l->ids;
    FRAME_ROWS(f, row)
    {
        uint32_t id = LIKELY(codes[row] < n_memo) ? memo[codes[row]] : 0;
        if (UNLIKELY(id == 0)) {
            TRY(memo_miss(l, VALUE_STR, codes[row], &id, err));
            id++;
        }
        ids[row] = id - 1;
    }
    return EC_OK;
}

/* Strings and arrays. */
static enum ec fill_codes(struct label_col *l, enum value_type type, const struct col_view *v,
    const struct scan_bits *want, uint32_t n_rows, struct err *err)
{
    TRY(memo_for(&l->memo[type], v->dict, err));
    const uint32_t *memo = (const uint32_t *)(const void *)l->memo[type].ids.p;
    const uint32_t n_memo = (uint32_t)(l->memo[type].ids.n / sizeof(uint32_t));
    const uint32_t *rows = v->rows, *codes = v->u32;
    uint32_t *ids = l->ids;
    for (uint32_t i = v->n; i-- > 0;) {
        uint32_t row = rows == NULL ? i : rows[i], code = codes[i];
        if (UNLIKELY(row >= n_rows) || (want != NULL && !scan_bits_get(want, row)))
            continue;
        uint32_t id = code < n_memo ? memo[code] : 0;
        if (UNLIKELY(id == 0)) {
            TRY(memo_miss(l, type, code, &id, err));
            id++;
        }
        ids[row] = id - 1;
    }
    return EC_OK;
}

/* Numbers, booleans, and what has no value. */
static enum ec fill_values(struct label_col *l, enum value_type type, const struct col_view *v,
    const struct scan_bits *want, uint32_t n_rows, struct err *err)
{
    uint32_t last_id = 0;
    struct qval last = QVAL_NIL;
    for (uint32_t i = v->n; i-- > 0;) {
        uint32_t row = v->rows == NULL ? i : v->rows[i];
        if (UNLIKELY(row >= n_rows) || (want != NULL && !scan_bits_get(want, row)))
            continue;
        struct qval value = collect_label(view_qval(v, i, type));
        if (qval_order(&value, &last) != 0) {
            TRY(label_intern(&l->set, &value, &last_id, err));
            last = value;
        }
        l->ids[row] = last_id;
    }
    return EC_OK;
}

static enum ec fill_wide(
    struct label_col *l, struct source *s, const struct frame *f, struct err *err)
{
    const struct col_view *v;
    TRY(frame_view(f, s, l->col, &v, err));
    const uint32_t *objects = v->u32, *wide = l->wide, n_wide = l->n_wide;
    uint32_t *ids = l->ids;
    FRAME_ROWS(f, row)
    {
        if (UNLIKELY(objects[row] >= n_wide))
            return ERR(
                err, EC_CORRUPT, "column %u names row %u of %u", l->col, objects[row], n_wide);
        ids[row] = wide[objects[row]];
    }
    return EC_OK;
}

static enum ec fill_columns(
    struct label_col *l, struct source *s, const struct frame *f, struct err *err)
{
    struct scan_bits bits;
    bool ready = false;
    if (l->name) {
        const struct col_view *v;
        TRY(frame_view(f, s, COL_SPAN_NAME, &v, err));
        return fill_dense(l, v, f, err);
    }
    if (l->wide != NULL)
        TRY(fill_wide(l, s, f, err));
    else
        FRAME_ROWS(f, row)
    l->ids[row] = l->default_id;
    for (unsigned t = VALUE_TYPES; t-- > 0 && l->any_slot;) {
        const struct col_view *v;
        if (l->slots[t] == SOURCE_NO_SLOT)
            continue;
        TRY(source_view(s, l->slots[t], f->g, &v, err));
        if (v->n == 0)
            continue;
        if (f->rows != NULL && !ready)
            frame_bits(f, &bits);
        ready = true;
        const struct scan_bits *want = f->rows == NULL ? NULL : &bits;
        if (v->phys == PHYS_CODE && (t == VALUE_STR || t == VALUE_ARRAY))
            TRY(fill_codes(l, (enum value_type)t, v, want, f->n_rows, err));
        else
            TRY(fill_values(l, (enum value_type)t, v, want, f->n_rows, err));
    }
    return EC_OK;
}

static enum ec fill_numbers(
    struct label_col *l, struct source *s, const struct frame *f, struct err *err)
{
    const struct col_view *v;
    TRY(frame_view(f, s, l->col, &v, err));
    const uint32_t *numbers = v->u32;
    uint32_t *ids = l->ids;
    FRAME_ROWS(f, row)
    ids[row] = l->numbers[MIN(numbers[row], ARRAY_LEN(l->numbers) - 1)];
    return EC_OK;
}

enum ec label_col_fill(struct label_col *l, struct eval *ev, const struct frame *f, struct err *err)
{
    switch (l->kind) {
    case LABEL_COLUMNS:
        return fill_columns(l, &ev->sources[0], f, err);
    case LABEL_NUMBER:
        return fill_numbers(l, &ev->sources[0], f, err);
    case LABEL_ROWS:
        break;
    }
    for (uint32_t i = 0; i < f->n; i++) {
        struct qval v;
        TRY(eval_attr(ev, l->attr, i, &v, err));
        TRY(intern_label(&l->set, v, &l->ids[frame_row(f, i)], err));
    }
    return EC_OK;
}

enum ec frame_trace(const struct frame *f, struct eval *ev, struct qtrace *t, struct arena *scratch,
    struct err *err)
{
    *t = (struct qtrace){.sources = ev->sources,
        .scratch = scratch,
        .root = PART_NONE,
        .n_parts = 1,
        .n = f->n,
        .rows = arena_alloc(scratch, (f->n + 1) * sizeof(struct qrow))};
    if (t->rows == NULL)
        return over_budget(err);
    for (uint32_t i = 0; i < f->n; i++)
        t->rows[i] = (struct qrow){.g = f->g, .off = frame_row(f, i)};
    eval_trace(ev, t);
    return EC_OK;
}
