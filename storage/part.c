/* SPDX-License-Identifier: Apache-2.0
 * Reference counting and dispatch of parts, and the table of fixed columns. */
#include "storage/part.h"

#include <pthread.h>

static struct {
    pthread_rwlock_t lock; /* ranks below all but those that gone() takes */
    struct part_watcher *first;
} watchers = {.lock = PTHREAD_RWLOCK_INITIALIZER};

void part_watch(struct part_watcher *w)
{
    pthread_rwlock_wrlock(&watchers.lock);
    w->next = watchers.first;
    watchers.first = w;
    pthread_rwlock_unlock(&watchers.lock);
}

void part_unwatch(struct part_watcher *w)
{
    pthread_rwlock_wrlock(&watchers.lock);
    struct part_watcher **at = &watchers.first;
    while (*at != NULL && *at != w)
        at = &(*at)->next;
    ASSERT(*at == w);
    *at = w->next;
    pthread_rwlock_unlock(&watchers.lock);
}

static void tell_gone(const struct part *p)
{
    pthread_rwlock_rdlock(&watchers.lock);
    for (struct part_watcher *w = watchers.first; w != NULL; w = w->next)
        w->gone(w, p);
    pthread_rwlock_unlock(&watchers.lock);
}

uint64_t part_serial(struct part *p)
{
    static _Atomic uint64_t last;
    uint64_t none = 0, serial = atomic_load_explicit(&p->serial, memory_order_relaxed);
    if (LIKELY(serial != 0))
        return serial;
    serial = atomic_fetch_add_explicit(&last, 1, memory_order_relaxed) + 1;
    if (atomic_compare_exchange_strong_explicit(
            &p->serial, &none, serial, memory_order_relaxed, memory_order_relaxed))
        return serial;
    return none; /* another thread was faster */
}

struct part *part_ref(struct part *p)
{
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

void part_unref(struct part *p)
{
    if (p == NULL)
        return;
    uint32_t before = atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel);
    ASSERT(before > 0);
    if (before > 1)
        return;
    tell_gone(p);
    p->ops->destroy(p);
}

enum ec part_reader_open(
    struct part *p, struct budget *budget, struct part_reader **ret, struct err *err)
{
    struct part_reader *r = NULL;
    TRY(p->ops->reader_open(p, budget, &r, err));
    ASSERT(r->part == p && r->budget == budget);
    part_ref(p);
    *ret = r;
    return EC_OK;
}

void part_reader_close(struct part_reader *r)
{
    if (r == NULL)
        return;
    struct part *p = r->part;
    p->ops->reader_close(r);
    part_unref(p);
}

struct part *part_reader_part(const struct part_reader *r)
{
    return r->part;
}

void part_info(struct part_reader *r, struct part_info *ret)
{
    r->part->ops->info(r, ret);
}

enum ec part_group(struct part_reader *r, uint32_t g, struct part_group *ret, struct err *err)
{
    return r->part->ops->group(r, g, ret, err);
}

enum ec part_view(
    struct part_reader *r, uint32_t g, col_id col, struct col_view *ret, struct err *err)
{
    return r->part->ops->view(r, g, col, ret, err);
}

void col_view_from(struct col_view *v, uint32_t first, uint32_t n)
{
    static const uint8_t width[] = {[PHYS_U8] = 1,
        [PHYS_U32] = 4,
        [PHYS_U64] = 8,
        [PHYS_I64] = 8,
        [PHYS_F64] = 8,
        [PHYS_CODE] = 4,
        [PHYS_ID16] = 16};
    if (v->rows != NULL)
        return;
    uint32_t skip = MIN(first, v->n);
    if (skip > 0)
        v->data = (const uint8_t *)v->data + (uint64_t)skip * width[v->phys];
    v->n = MIN(v->n - skip, n);
}

enum ec part_view_rows(struct part_reader *r, uint32_t g, col_id col, uint32_t first, uint32_t n,
    struct col_view *ret, struct err *err)
{
    if (r->part->ops->view_rows != NULL)
        return r->part->ops->view_rows(r, g, col, first, n, ret, err);
    struct col_view v;
    TRY(r->part->ops->view(r, g, col, &v, err));
    col_view_from(&v, first, n);
    *ret = v;
    return EC_OK;
}

enum ec part_attrs(
    struct part_reader *r, const struct part_attr **ret, size_t *ret_n, struct err *err)
{
    return r->part->ops->attrs(r, ret, ret_n, err);
}

enum ec part_attr_find(struct part_reader *r, enum part_table t, struct str key,
    const struct part_attr *ret[VALUE_TYPES], struct err *err)
{
    return r->part->ops->attr_find(r, t, key, ret, err);
}

enum ec part_shape(
    struct part_reader *r, uint32_t shape, const col_id **ret, size_t *ret_n, struct err *err)
{
    return r->part->ops->shape(r, shape, ret, ret_n, err);
}

enum ec part_trace(struct part_reader *r, uint32_t trace, struct part_trace *ret, struct err *err)
{
    return r->part->ops->trace(r, trace, ret, err);
}

enum ec part_trace_find(
    struct part_reader *r, const struct trace_id *id, uint32_t *ret_trace, struct err *err)
{
    return r->part->ops->trace_find(r, id, ret_trace, err);
}

enum ec part_trace_rows(struct part_reader *r, uint32_t trace, struct arena *arena,
    uint32_t **ret_rows, uint32_t *ret_n, struct err *err)
{
    return r->part->ops->trace_rows(r, trace, arena, ret_rows, ret_n, err);
}

enum ec part_trace_ids(struct part_reader *r, uint32_t at, struct trace_id ret[PART_IDS_MAX],
    uint32_t *ret_n, struct err *err)
{
    return r->part->ops->trace_ids(r, at, ret, ret_n, err);
}

enum ec part_group_traces(
    struct part_reader *r, uint32_t g, struct part_group_traces *ret, struct err *err)
{
    ASSERT(r->part->ops->group_traces != NULL);
    return r->part->ops->group_traces(r, g, ret, err);
}

bool part_may_have(struct part_reader *r, col_id col, struct str value)
{
    return r->part->ops->may_have(r, col, value);
}

uint64_t part_reader_bytes(const struct part_reader *r)
{
    return r->part->ops->bytes_read == NULL ? 0 : r->part->ops->bytes_read(r);
}

bool part_peek(struct part *p, struct part_info *ret)
{
    return p->ops->peek != NULL && p->ops->peek(p, ret);
}

bool part_may_hold(struct part *p, const struct trace_id *id)
{
    return p->ops->may_hold == NULL || p->ops->may_hold(p, id);
}

#define HOLDERS_AHEAD 8u

bool part_holders_next(struct part_holders *h, size_t *ret)
{
    while (h->at < h->n) {
        size_t i = h->at++, soon = i + HOLDERS_AHEAD, later = soon + HOLDERS_AHEAD;
        if (later < h->n)
            __builtin_prefetch(h->parts[later]);
        if (soon < h->n)
            part_hold_soon(h->parts[soon], h->id);
        if (!part_may_hold(h->parts[i], h->id))
            continue;
        *ret = i;
        return true;
    }
    return false;
}

bool part_may_equal(struct part *p, enum part_table t, struct str key, col_id col, struct str value)
{
    return p->ops->may_equal == NULL || p->ops->may_equal(p, t, key, col, value);
}

bool part_may_key(struct part *p, enum part_table t, struct str key, bool array)
{
    return p->ops->may_key == NULL || p->ops->may_key(p, t, key, array);
}

bool part_known(struct part *p)
{
    return p->ops->known == NULL || p->ops->known(p);
}

bool part_strings(struct part *p, enum part_table t, struct str key, col_id col, uint64_t *ret_list)
{
    return p->ops->strings != NULL && p->ops->strings(p, t, key, col, ret_list);
}

bool part_names(struct part *p, uint64_t ret[TABLE_COUNT])
{
    return p->ops->names != NULL && p->ops->names(p, ret);
}

bool part_cold(struct part *p, bool ahead)
{
    return p->ops->cold != NULL && p->ops->cold(p, ahead);
}

bool part_col_fixed(
    col_id col, enum part_table *ret_table, enum col_phys *ret_phys, const char **ret_name)
{
    switch (col) {
#define X(name, number, table, phys, text) \
    case name:                             \
        *ret_table = table;                \
        *ret_phys = phys;                  \
        *ret_name = #name;                 \
        return true;
        PART_COLUMNS(X)
#undef X
    default:
        return false;
    }
}

bool part_col_sparse(col_id col)
{
    switch (col) {
    case COL_SPAN_STATUS_MESSAGE:
    case COL_SPAN_TRACE_STATE:
    case COL_SPAN_DROPPED_ATTRS:
    case COL_SPAN_DROPPED_EVENTS:
    case COL_SPAN_DROPPED_LINKS:
    case COL_EVENT_DROPPED_ATTRS:
    case COL_LINK_TRACE_STATE:
    case COL_LINK_DROPPED_ATTRS:
    case COL_RESOURCE_DROPPED_ATTRS:
    case COL_RESOURCE_SCHEMA_URL:
    case COL_SCOPE_DROPPED_ATTRS:
    case COL_SCOPE_SCHEMA_URL:
        return true;
    default:
        return false;
    }
}

enum col_phys value_type_phys(enum value_type t)
{
    switch (t) {
    case VALUE_INT:
        return PHYS_I64;
    case VALUE_DOUBLE:
        return PHYS_F64;
    case VALUE_BOOL:
    case VALUE_EMPTY:
        return PHYS_U8;
    default:
        return PHYS_CODE;
    }
}
