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
    uint64_t end = (at + 1) * w->width;
    if (end > UINT32_MAX || !extend(&k->cells, end * sizeof(uint32_t)))
        return over_budget(err);
    *ret = (uint32_t)(at * w->width);
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

enum ec column_base(
    struct counting *w, struct column *k, uint64_t key, uint32_t *ret, struct err *err)
{
    uint32_t base = key < k->n_direct || k->n_slots == 0 ? 0 : slot_of(k, key)->base;
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

/* First pass: hands the counts of all ids to the key. */
static void flush_values(struct counting *w, struct column *k)
{
    struct batch_out b = {.x = w->x, .key = k->key};
    pthread_mutex_lock(&k->key->lock);
    for (uint32_t code = 0; k->all_codes && code < k->n_direct && key_active(k->key); code++) {
        const uint32_t *cells = u32s(&k->cells) + (size_t)code * 2;
        if ((cells[0] | cells[1]) == 0)
            continue;
        struct qval v = column_value(k, code);
        batch_put(&b, &v, cells);
    }
    for (uint32_t i = 0; i < k->n && key_active(k->key); i++) {
        struct qval v = column_value(k, u64s(&k->keys)[i]);
        batch_put(&b, &v, u32s(&k->cells) + u32s(&k->bases)[i]);
    }
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

static void flush_cells(const struct counting *w, struct column *k)
{
    size_t n = MIN(k->cells.n / sizeof(uint32_t) / w->width, k->key->top.n);
    pthread_mutex_lock(&k->key->lock);
    for (uint32_t id = 0; id < n; id++)
        key_add_cells(w, k->key, id, u32s(&k->cells) + (size_t)id * w->width);
    pthread_mutex_unlock(&k->key->lock);
}

/* A dictionary that is not too large is gone through at once. First pass: code c has the cells at
 * 2 * c. Second: those of the chosen strings, or of all others. */
static enum ec all_codes(struct counting *w, struct column *k, struct err *err)
{
    uint32_t *direct = u32s(&k->direct), n = k->n_direct;
    uint64_t end = w->x->second ? (uint64_t)k->key->top.n * w->width : (uint64_t)n * 2;
    if (end > UINT32_MAX / 2 || !extend(&k->cells, end * sizeof(uint32_t)))
        return over_budget(err);
    for (uint32_t code = 0; code < n; code++) {
        if (!w->x->second) {
            direct[code] = code * 2 + 1;
            continue;
        }
        struct str s = dict_get(k->dict, code);
        struct qval v = qval_str(s);
        direct[code] = key_may_top(k->key, s) ? key_top(k->key, &v) * w->width + 1 : 1;
    }
    k->all_codes = true;
    return EC_OK;
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
    uint32_t n = dict_count(dict);
    if (w->c->sources[0].part->is_head) /* it has the strings of all columns */
        return column_direct(k, n > HEAD_DIRECT_MAX ? 0 : n, err);
    TRY(column_direct(k, n, err));
    return k->n_direct != 0 && k->value_type == VALUE_STR ? all_codes(w, k, err) : EC_OK;
}

/* ---- one group ---- */

/* WHY the copies: see FRAME_ROWS. The tables move when a key is met for the first time. */
#define COUNT_VIEW(key_of)                                                            \
    for (uint32_t i = 0; i < n; i++) {                                                \
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

enum ec column_count(
    struct counting *w, struct column *k, const struct col_view *v, struct err *err)
{
    if (v->n != 0 && v->phys == PHYS_CODE)
        TRY(column_dict(w, k, v->dict, err));
    const uint32_t *offsets = w->offsets, *rows = v->rows, *direct = u32s(&k->direct);
    const uint32_t n_rows = w->f.n_rows, n = v->n, n_direct = k->n_direct;
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

void column_flush(struct counting *w, struct column *k)
{
    if (w->x->second)
        flush_cells(w, k);
    else
        flush_values(w, k);
}
