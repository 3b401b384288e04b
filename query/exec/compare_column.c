/* SPDX-License-Identifier: Apache-2.0
 * Columns of compare(): values to cells. */
#include "base/hash.h"
#include "bind.h"
#include "compare_count.h"

static enum ec over_budget(struct err *err)
{
    return ERR(err, EC_LIMIT, "query is over its memory budget");
}

static uint32_t *u32s(const struct buf *b)
{
    return (uint32_t *)(void *)b->p;
}

static uint64_t *u64s(const struct buf *b)
{
    return (uint64_t *)(void *)b->p;
}

static bool extend(struct buf *b, size_t n)
{
    if (n <= b->n)
        return true;
    if (!buf_reserve(b, n - b->n))
        return false;
    memset(b->p + b->n, 0, n - b->n);
    b->n = n;
    return true;
}

void column_init(struct column *k, struct budget *budget)
{
    buf_init(&k->direct, budget);
    buf_init(&k->slots, budget);
    buf_init(&k->keys, budget);
    buf_init(&k->bases, budget);
    buf_init(&k->cells, budget);
}

void column_deinit(struct column *k)
{
    buf_deinit(&k->direct);
    buf_deinit(&k->slots);
    buf_deinit(&k->keys);
    buf_deinit(&k->bases);
    buf_deinit(&k->cells);
}

/* The value behind a key of the column. */
static struct qval column_value(const struct column *k, uint64_t key)
{
    switch (k->type) {
    case COLUMN_STATUS:
        return (struct qval){.kind = QV_STATUS, .i = (int64_t)key};
    case COLUMN_KIND:
        return (struct qval){.kind = QV_KIND, .i = (int64_t)key};
    case COLUMN_NUMBER:
        return qval_int((int64_t)key);
    case COLUMN_TEXT:
        return k->texts->values[key];
    case COLUMN_VALUES:
        break;
    }
    if (k->key->intrinsic == TQL_I_STATUS_MESSAGE && key == NO_MESSAGE)
        return qval_str(str_n("", 0));
    uint8_t flag = key != 0;
    uint32_t code = (uint32_t)key;
    struct col_view one = {.phys = value_type_phys(k->value_type), .n = 1, .dict = k->dict};
    one.data = one.phys == PHYS_CODE ? (const void *)&code
               : one.phys == PHYS_U8 ? (const void *)&flag
                                     : (const void *)&key;
    return view_qval(&one, 0, k->value_type);
}

static void column_forget(struct column *k)
{
    if (k->n_direct != 0)
        memset(k->direct.p, 0, k->direct.n);
    if (k->n_slots != 0)
        memset(k->slots.p, 0, k->slots.n);
    k->keys.n = k->bases.n = 0;
    k->n = 0;
    k->all_codes = false;
}

enum ec column_direct(struct column *k, uint32_t n, struct err *err)
{
    k->n_direct = 0;
    k->direct.n = 0;
    if (n > DIRECT_MAX)
        return EC_OK;
    if (!extend(&k->direct, n * sizeof(uint32_t) + 1))
        return over_budget(err);
    k->n_direct = n;
    return EC_OK;
}

/* Where the key is, or the free slot for it. */
static struct slot *slot_of(const struct column *k, uint64_t key)
{
    struct slot *slots = (struct slot *)(void *)k->slots.p;
    uint32_t at = (uint32_t)(key * 0x9e3779b97f4a7c15ULL >> 32) & (k->n_slots - 1);
    while (slots[at].base != 0 && slots[at].key != key)
        at = (at + 1) & (k->n_slots - 1);
    return &slots[at];
}

static enum ec slots_grow(struct column *k, struct err *err)
{
    uint32_t n = k->n_slots == 0 ? 64 : k->n_slots * 2;
    k->slots.n = 0;
    if (!extend(&k->slots, n * sizeof(struct slot)))
        return over_budget(err);
    k->n_slots = n;
    for (uint32_t i = 0; i < k->n; i++)
        if (u64s(&k->keys)[i] >= k->n_direct)
            *slot_of(k, u64s(&k->keys)[i]) =
                (struct slot){u64s(&k->keys)[i], u32s(&k->bases)[i] + 1};
    return EC_OK;
}

/* Where a new id's cells begin. */
static enum ec new_base(
    struct counting *w, struct column *k, uint64_t key, uint32_t *ret, struct err *err)
{
    uint64_t at = (uint64_t)k->n + (k->all_codes ? k->n_direct : 0);
    if (w->x->second) {
        struct qval v = column_value(k, key);
        at = key_top(k->key, &v);
        if (at == PART_NONE) /* not a value: its cells are those behind all others */
            at = k->key->top.n;
    }
    uint64_t end = (at + 1) * k->width;
    if (end > UINT32_MAX || !extend(&k->cells, end * sizeof(uint32_t)))
        return over_budget(err);
    *ret = (uint32_t)(at * k->width);
    return EC_OK;
}

static enum ec new_id(
    struct counting *w, struct column *k, uint64_t key, uint32_t *ret_base, struct err *err)
{
    uint32_t base = 0;
    if (key >= k->n_direct && (k->n + 1) * 2ULL > k->n_slots)
        TRY(slots_grow(k, err));
    TRY(new_base(w, k, key, &base, err));
    if (!buf_reserve(&k->keys, sizeof(key)) || !buf_reserve(&k->bases, sizeof(base)))
        return over_budget(err);
    if (key < k->n_direct)
        u32s(&k->direct)[key] = base + 1;
    else
        *slot_of(k, key) = (struct slot){key, base + 1};
    buf_put(&k->keys, &key, sizeof(key));
    buf_put(&k->bases, &base, sizeof(base));
    k->n++;
    *ret_base = base;
    return EC_OK;
}

#define MINUS_ZERO ((uint64_t)1 << 63) /* its label is zero */

/* The key of the column is the value's bits, and its label the same number. */
static bool is_number(const struct column *k)
{
    return k->type == COLUMN_NUMBER ||
           (k->type == COLUMN_VALUES &&
               (k->value_type == VALUE_INT || k->value_type == VALUE_DOUBLE));
}

enum ec column_base(
    struct counting *w, struct column *k, uint64_t key, uint32_t *ret, struct err *err)
{
    uint32_t base = key < k->n_direct || k->n_slots == 0 ? 0 : slot_of(k, key)->base;
    if (base == 0 && w->x->second && is_number(k) && key != MINUS_ZERO &&
        !key_may_be(k->key, key)) {
        if (!extend(&k->cells, w->width * sizeof(uint32_t)))
            return over_budget(err);
        *ret = 0;
        return EC_OK;
    }
    if (base == 0)
        return new_id(w, k, key, ret, err);
    *ret = base - 1;
    return EC_OK;
}

void batch_flush(struct batch_out *b)
{
    key_count(b->x, b->key, b->o, b->n);
    b->n = 0;
}

void batch_put(struct batch_out *b, const struct qval *v, const uint32_t n[2])
{
    b->o[b->n++] = (struct observed){*v, {n[0], n[1]}};
    if (b->n == KEY_COUNT_MAX)
        batch_flush(b);
}

/* First pass: strings of a narrow column. */
struct hashed_out {
    struct key *key;
    uint32_t place, n;
    struct str texts[HASHED_MANY];
    struct hashed_slot of[HASHED_MANY];
};

static void hashed_flush(struct hashed_out *o)
{
    key_count_hashed(o->key, o->place, o->texts, o->of, o->n);
    o->n = 0;
}

static void hashed_put(
    struct hashed_out *o, const struct column *k, uint64_t key, const uint32_t *cells)
{
    struct hashed_slot *of = &o->of[o->n];
    if ((cells[0] | cells[1]) == 0)
        return;
    *of = (struct hashed_slot){.n = {cells[0], cells[1]}, .code = (uint32_t)key};
    if (key == NO_MESSAGE || k->value_type == VALUE_ARRAY) { /* arrays are labelled "nil" */
        struct str text = key == NO_MESSAGE ? str_n("", 0) : STR("nil");
        of->code = key == NO_MESSAGE ? FIXED_EMPTY : FIXED_NIL;
        key_count_hashed(o->key, PLACE_FIXED, &text, of, 1);
        return;
    }
    o->texts[o->n++] = dict_get(k->dict, of->code);
    if (o->n == HASHED_MANY)
        hashed_flush(o);
}

static void flush_hashed(struct counting *w, struct column *k)
{
    struct hashed_out o = {.key = k->key};
    struct place p = {w->c->slice.part, k->place_group, k->col, k->dict != NULL && k->dict->sorted};
    if ((k->n == 0 && !k->all_codes) || !key_place(k->key, &p, &o.place))
        return;
    for (uint32_t code = 0; k->all_codes && code < k->n_direct && key_active(k->key); code++)
        hashed_put(&o, k, code, u32s(&k->cells) + (size_t)code * 2);
    for (uint32_t i = 0; i < k->n && key_active(k->key); i++)
        hashed_put(&o, k, u64s(&k->keys)[i], u32s(&k->cells) + u32s(&k->bases)[i]);
    hashed_flush(&o);
}

static void add_total(const struct counting *w, const struct column *k, const uint32_t *cells)
{
    for (uint32_t i = 0; k->totals != NULL && i < w->width; i++)
        k->totals[i] += cells[i];
}

static void flush_value(const struct counting *w, const struct column *k, struct batch_out *b,
    uint64_t key, const uint32_t *cells)
{
    if (k->narrow && (cells[0] | cells[1]) == 0)
        return;
    struct qval v = column_value(k, key);
    if (k->narrow)
        batch_put(b, &v, cells);
    else {
        add_total(w, k, cells);
        key_count_cells(w, k->key, &v, cells);
    }
}

/* First pass: hands the counts of all ids to the key. */
static void flush_values(struct counting *w, struct column *k)
{
    struct batch_out b = {.x = w->x, .key = k->key};
    pthread_mutex_lock(&k->key->lock);
    if (k->narrow && k->by_hash) {
        flush_hashed(w, k);
        pthread_mutex_unlock(&k->key->lock);
        k->cells.n = 0;
        return;
    }
    for (uint32_t code = 0; k->all_codes && code < k->n_direct && key_active(k->key); code++)
        flush_value(w, k, &b, code, u32s(&k->cells) + (size_t)code * k->width);
    for (uint32_t i = 0; i < k->n && key_active(k->key); i++)
        flush_value(w, k, &b, u64s(&k->keys)[i], u32s(&k->cells) + u32s(&k->bases)[i]);
    batch_flush(&b);
    pthread_mutex_unlock(&k->key->lock);
    k->cells.n = 0;
}

void key_add_cells(const struct counting *w, struct key *k, uint32_t id, const uint32_t *cells)
{
    const uint32_t n = w->c->grid.n;
    uint64_t *into = u64s(&k->cells) + (size_t)id * 2 * n + w->base;
    for (uint32_t side = 0; side < 2; side++)
        for (uint32_t i = 0; i < w->stride; i++)
            into[side * n + i] += cells[side * w->stride + i];
}

/* The others are all strings but the chosen ones. */
static void key_take_cells(const struct counting *w, struct key *k, const uint32_t *cells)
{
    const uint32_t n = w->c->grid.n;
    uint64_t *from = u64s(&k->cells) + w->base;
    for (uint32_t side = 0; side < 2; side++)
        for (uint32_t i = 0; i < w->stride; i++)
            from[side * n + i] -= cells[side * w->stride + i];
}

static void flush_cells(const struct counting *w, struct column *k)
{
    size_t n = MIN(k->cells.n / sizeof(uint32_t) / w->width, k->key->top.n);
    pthread_mutex_lock(&k->key->lock);
    for (uint32_t id = k->totals != NULL; id < n; id++) {
        key_add_cells(w, k->key, id, u32s(&k->cells) + (size_t)id * w->width);
        if (k->totals != NULL)
            key_take_cells(w, k->key, u32s(&k->cells) + (size_t)id * w->width);
    }
    pthread_mutex_unlock(&k->key->lock);
}

/* A dictionary that is not too large is gone through at once. First pass: code c has the cells at
 * width * c. Second: those of the chosen strings, or of all others. */
static enum ec all_codes(struct counting *w, struct column *k, struct err *err)
{
    uint32_t *direct = u32s(&k->direct), n = k->n_direct;
    k->all_codes = true;
    uint32_t chosen = 0;
    uint64_t end = (uint64_t)(w->x->second ? k->key->top.n : n) * k->width;
    if (end > UINT32_MAX / 2 || !extend(&k->cells, end * sizeof(uint32_t)))
        return over_budget(err);
    for (uint32_t code = 0; code < n; code++) {
        if (!w->x->second) {
            direct[code] = code * k->width + 1;
            continue;
        }
        struct str s = dict_get(k->dict, code);
        struct qval v = qval_str(s);
        uint32_t id = key_may_be(k->key, key_tail(s)) ? key_top(k->key, &v) : 0;
        chosen |= id;
        direct[code] = id * w->width + 1;
    }
    k->skip = w->x->second && k->totals != NULL && chosen == 0;
    return EC_OK;
}

void column_widen(const struct counting *w, struct column *k)
{
    k->width = w->width;
    k->narrow = !w->x->second && (atomic_load_explicit(&k->key->large, memory_order_relaxed) ||
                                     w->width > COLUMN_BYTES / sizeof(uint32_t) / 32);
    if (k->narrow)
        k->width = 2;
}

/* First pass: the counts of the values met so far stay, without their buckets. */
static void make_narrow(const struct counting *w, struct column *k)
{
    uint32_t *cells = u32s(&k->cells), width = k->width;
    if (k->narrow)
        return;
    for (uint32_t i = 0; i < k->n; i++) { /* ids have their cells in the order of their bases */
        uint32_t sums[2] = {0, 0}, *base = &u32s(&k->bases)[i];
        add_total(w, k, cells + *base);
        for (uint32_t c = 0; c < width; c++)
            sums[c >= width / 2] += cells[*base + c];
        *base = i * 2;
        memcpy(cells + *base, sums, sizeof(sums));
        uint64_t key = u64s(&k->keys)[i];
        if (key < k->n_direct)
            u32s(&k->direct)[key] = *base + 1;
        else
            slot_of(k, key)->base = *base + 1;
    }
    k->cells.n = (size_t)k->n * 2 * sizeof(*cells);
    k->narrow = true;
    k->width = 2;
}

/* Turns to the dictionary of a view. */
static enum ec column_dict(
    struct counting *w, struct column *k, const struct dict *dict, struct err *err)
{
    if (dict == k->dict)
        return EC_OK;
    if (!w->x->second && (k->dict != NULL || k->n != 0))
        flush_values(w, k);
    column_forget(k);
    k->dict = dict;
    k->place_group = w->f.g;
    k->skip = false;
    uint32_t n = dict_count(dict);
    column_widen(w, k);
    if (w->c->sources[0].part->is_head) /* it has the strings of all columns */
        return column_direct(k, n > HEAD_DIRECT_MAX ? 0 : n, err);
    TRY(column_direct(k, n, err));
    if (!w->x->second && (uint64_t)n * k->width * sizeof(uint32_t) > COLUMN_BYTES)
        make_narrow(w, k);
    return k->n_direct != 0 && k->value_type == VALUE_STR ? all_codes(w, k, err) : EC_OK;
}

/* ---- one group ---- */

/* WHY the copies: see FRAME_ROWS. The tables move when a key is met for the first time. */
#define COUNT_VIEW(key_of)                                                            \
    for (uint32_t i = at; i < n; i++) {                                               \
        uint32_t row = rows == NULL ? i : rows[i], base = 0;                          \
        if (UNLIKELY(row >= n_rows) || (rows != NULL && i > 0 && row == rows[i - 1])) \
            continue; /* of a key that was sent twice the first value counts */       \
        if (offsets[row] == UNOBSERVED)                                               \
            continue;                                                                 \
        uint64_t key = (key_of);                                                      \
        if (LIKELY(key < n_direct))                                                   \
            base = direct[key];                                                       \
        if (LIKELY(base != 0)) {                                                      \
            base--;                                                                   \
        } else {                                                                      \
            TRY(column_base(w, k, key, &base, err));                                  \
            cells = u32s(&k->cells);                                                  \
        }                                                                             \
        cells[base + offsets[row]]++;                                                 \
    }

static enum ec count_values(struct counting *w, struct column *k, const struct col_view *v,
    uint32_t at, uint32_t n, struct err *err)
{
    const uint32_t *offsets = k->narrow ? w->sides : w->offsets, *rows = v->rows,
                   *direct = u32s(&k->direct);
    const uint32_t n_rows = w->f.n_rows, n_direct = k->n_direct;
    uint32_t *cells = u32s(&k->cells);
    if (v->phys == PHYS_CODE || v->phys == PHYS_U32) {
        const uint32_t *values = v->u32;
        COUNT_VIEW(values[i])
    } else if (v->phys == PHYS_U8) {
        const uint8_t *values = v->u8;
        COUNT_VIEW(values[i] != 0)
    } else { /* numbers by their 64 bits */
        const uint64_t *values = v->u64;
        COUNT_VIEW(values[i])
    }
    return EC_OK;
}

static void count_totals(
    const struct counting *w, const struct column *k, const struct col_view *v, uint32_t at)
{
    const uint32_t *offsets = w->offsets, *rows = v->rows, n_rows = w->f.n_rows, n = v->n;
    uint32_t *totals = k->totals;
    for (uint32_t i = at; i < n; i++) {
        uint32_t row = rows == NULL ? i : rows[i];
        if (UNLIKELY(row >= n_rows) || (rows != NULL && i > 0 && row == rows[i - 1]))
            continue;
        if (offsets[row] != UNOBSERVED)
            totals[offsets[row]]++;
    }
}

enum ec column_count(
    struct counting *w, struct column *k, const struct col_view *v, struct err *err)
{
    if (v->n != 0 && v->phys == PHYS_CODE)
        TRY(column_dict(w, k, v->dict, err));
    if (k->skip)
        return EC_OK;
    if (k->narrow && k->totals != NULL)
        count_totals(w, k, v, 0);
    for (uint32_t at = 0, to; at < v->n; at = to) {
        /* A column that may still turn narrow is looked after before it has grown much. */
        bool settled = w->x->second || k->narrow || k->all_codes;
        to = settled ? v->n : at + MIN(v->n - at, MAX(16u, COLUMN_BYTES / 4 / k->width));
        TRY(count_values(w, k, v, at, to, err));
        if (!settled && k->cells.n > COLUMN_BYTES) {
            make_narrow(w, k);
            if (k->totals != NULL)
                count_totals(w, k, v, to);
        }
    }
    return EC_OK;
}

void column_flush(struct counting *w, struct column *k)
{
    if (w->x->second)
        flush_cells(w, k);
    else
        flush_values(w, k);
    if (!w->x->second && k->totals != NULL) {
        pthread_mutex_lock(&k->key->lock);
        key_add_totals(w, k->key, k->totals);
        pthread_mutex_unlock(&k->key->lock);
    }
}
