/* SPDX-License-Identifier: Apache-2.0
 * The by() stage.
 *
 * Each span gets the number of its key, then spans are laid out group by group. Keys that belong to
 * the resource or scope are numbered once per resource (scope) row for the whole query; other keys
 * are numbered trace by trace. */
#include "bind.h"
#include "keyring.h"
#include "spanset.h"

static enum ec over_budget(struct err *err)
{
    return ERR(err, EC_LIMIT, "query is over its memory budget");
}

/* ---- numbers of keys ---- */

/* The column of spans that names the resource (scope) row with the key; false: the key is
 * elsewhere. */
static bool wide_column(const struct tql_expr *e, col_id *ret)
{
    if (e->kind != TQL_E_ATTR || e->attr->parent)
        return false;
    switch (e->attr->intrinsic) {
    case TQL_I_NONE:
        *ret = e->attr->scope == TQL_SCOPE_RESOURCE ? COL_SPAN_RESOURCE : COL_SPAN_SCOPE;
        return e->attr->scope == TQL_SCOPE_RESOURCE || e->attr->scope == TQL_SCOPE_INSTRUMENTATION;
    case TQL_I_INSTRUMENTATION_NAME:
    case TQL_I_INSTRUMENTATION_VERSION:
        *ret = COL_SPAN_SCOPE;
        return true;
    default:
        return false;
    }
}

static struct qval as_key(struct qval v)
{
    return qval_has(&v) ? v : QVAL_NIL;
}

/* Key numbers by resource (scope) row of a source. */
static enum ec wide_numbers(struct eval *ev, const struct tql_attr *attr, uint32_t src,
    col_id owner, const uint32_t **ret, struct err *err)
{
    const struct bind *bound;
    TRY(eval_bind(ev, attr, src, &bound, err));
    struct bind *b = &ev->binds[(size_t)attr->index * ev->n_sources + src];
    if (b->keys == NULL) {
        const struct part_info *info = &ev->sources[src].info;
        uint32_t n = owner == COL_SPAN_RESOURCE ? info->n_resources : info->n_scopes;
        uint32_t *keys = arena_alloc(ev->arena, n * sizeof(*keys));
        if (keys == NULL)
            return over_budget(err);
        for (uint32_t i = 0; i < n; i++) {
            struct qval v = b->wide == NULL ? QVAL_NIL : as_key(b->wide[i]);
            TRY(keyring_number(&ev->keys, &v, ev->arena, &keys[i], err));
        }
        b->keys = keys;
    }
    *ret = b->keys;
    return EC_OK;
}

static enum ec number_wide(struct eval *ev, const struct tql_attr *attr, col_id owner,
    const struct sset *in, uint32_t *out, struct err *err)
{
    struct qtrace *t = ev->trace;
    uint64_t *objects = arena_alloc(t->scratch, in->n * sizeof(*objects));
    const uint32_t *keys = NULL;
    uint32_t src = PART_NONE;
    if (objects == NULL)
        return over_budget(err);
    TRY(qtrace_numbers(t, owner, in->rows, in->n, objects, err));
    for (uint32_t i = 0; i < in->n; i++) {
        if (t->rows[in->rows[i]].src != src) {
            src = t->rows[in->rows[i]].src;
            TRY(wide_numbers(ev, attr, src, owner, &keys, err));
        }
        out[i] = keys[objects[i]];
    }
    return EC_OK;
}

static enum ec number_any(struct eval *ev, const struct tql_expr *e, const struct sset *in,
    struct keyring *ring, uint32_t *out, struct err *err)
{
    for (uint32_t i = 0; i < in->n; i++) {
        struct qval v;
        TRY(eval_expr(ev, e, in->rows[i], &v, err));
        v = as_key(v);
        TRY(keyring_number(ring, &v, ev->trace->scratch, &out[i], err));
    }
    return EC_OK;
}

/* ---- the stage ---- */

/* One set per number, in order of appearance; of_row becomes the set of each span. */
static uint32_t open_sets(
    struct keyring *ring, const struct sset *in, uint32_t *of_row, uint32_t *key_of_set)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < in->n; i++) {
        uint32_t *set = &ring->set_of[of_row[i]];
        if (*set == 0) {
            key_of_set[n] = of_row[i];
            *set = ++n;
        }
        of_row[i] = *set - 1;
    }
    for (uint32_t k = 0; k < n; k++) /* clean for the next call */
        ring->set_of[key_of_set[k]] = 0;
    return n;
}

enum ec group_stage(struct eval *ev, const struct tql_stage *st, const struct sset *in,
    struct sset *out, uint32_t *ret_n, struct err *err)
{
    struct arena *a = ev->trace->scratch;
    struct keyring own = {0}, *ring = &own;
    uint32_t *work = arena_alloc(a, 3 * (size_t)in->n * sizeof(*work));
    col_id owner = 0;
    *ret_n = 0;
    if (in->n == 0)
        return EC_OK;
    if (work == NULL)
        return over_budget(err);
    uint32_t *of_row = work, *rows = work + in->n, *key_of_set = rows + in->n;
    if (wide_column(st->expr, &owner)) {
        ring = &ev->keys;
        TRY(number_wide(ev, st->expr->attr, owner, in, of_row, err));
    } else {
        TRY(number_any(ev, st->expr, in, ring, of_row, err));
    }
    uint32_t n = open_sets(ring, in, of_row, key_of_set), n_attrs = in->n_attrs + 1;
    struct sset_attr *attrs = arena_alloc(a, (size_t)n * n_attrs * sizeof(*attrs));
    if (attrs == NULL)
        return over_budget(err);
    for (uint32_t k = 0; k < n; k++) {
        out[k] = (struct sset){.attrs = attrs + (size_t)k * n_attrs, .n_attrs = n_attrs};
        if (in->n_attrs != 0)
            memcpy(out[k].attrs, in->attrs, in->n_attrs * sizeof(*attrs));
        out[k].attrs[in->n_attrs] =
            (struct sset_attr){.key = st->text, .value = ring->keys[key_of_set[k]]};
    }
    for (uint32_t i = 0; i < in->n; i++)
        out[of_row[i]].n++;
    for (uint32_t k = 0; k < n; k++) {
        out[k].rows = rows;
        rows += out[k].n;
        out[k].n = 0;
    }
    for (uint32_t i = 0; i < in->n; i++)
        out[of_row[i]].rows[out[of_row[i]].n++] = in->rows[i];
    *ret_n = n;
    return EC_OK;
}
