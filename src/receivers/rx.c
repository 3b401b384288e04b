/* SPDX-License-Identifier: Apache-2.0
 * Scratch memory, attribute lists and the OTLP writer of the transcoders. */
#include "rx.h"

#include "model/otlp_write.h"

#define QUADRATIC_MAX 16 /* attributes; longer lists are sorted to find what is there twice */

void rx_init(struct rx *rx, struct budget *budget)
{
    *rx = (struct rx){0};
    arena_init(&rx->arena, budget, 16u << 10);
}

void rx_deinit(struct rx *rx)
{
    arena_deinit(&rx->arena);
}

void *rx_array(struct rx *rx, size_t n, size_t size)
{
    void *p = rx->over ? NULL : arena_calloc(&rx->arena, n, size);
    rx->over |= p == NULL;
    return p;
}

bool rx_copy(struct rx *rx, struct str *s)
{
    struct str copy = arena_str(&rx->arena, *s);
    if (rx->over || copy.p == NULL) {
        rx->over = true;
        return false;
    }
    *s = copy;
    return true;
}

bool rx_grow(struct rx *rx, void **items, uint32_t *cap, size_t size)
{
    uint64_t more = *cap == 0 ? 4 : (uint64_t)*cap * 2;
    if (rx->over || more > UINT32_MAX) {
        rx->over = true;
        return false;
    }
    void *p = arena_alloc(&rx->arena, (size_t)more * size);
    if (p == NULL) {
        rx->over = true;
        return false;
    }
    if (*cap != 0)
        memcpy(p, *items, *cap * size);
    *items = p;
    *cap = (uint32_t)more;
    return true;
}

/* ---- sorting ---- */

/* Heapsort of pointers. WHY: qsort allocates as much again behind the budget's back. */
static void rx_sort_down(void **p, size_t i, size_t n, int (*order)(const void *, const void *))
{
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && order(p[child], p[child + 1]) < 0)
            child++;
        if (order(p[i], p[child]) >= 0)
            return;
        void *swap = p[i];
        p[i] = p[child];
        p[child] = swap;
    }
}

static void rx_sort(void **p, size_t n, int (*order)(const void *, const void *))
{
    for (size_t i = n / 2; i-- > 0;)
        rx_sort_down(p, i, n, order);
    for (size_t end = n; end-- > 1;) {
        void *top = p[0];
        p[0] = p[end];
        p[end] = top;
        rx_sort_down(p, 0, end, order);
    }
}

/* ---- attributes ---- */

/* By key, then by place. */
static int rx_attr_order(const void *a, const void *b)
{
    const struct attr *x = a, *y = b;
    int order = str_cmp(x->key, y->key);
    return order != 0 ? order : (x > y) - (x < y);
}

/* Marks what a later value replaces; a mark is a value of no type. */
static bool rx_attrs_mark_sorted(struct rx *rx, struct rx_attrs *a, uint32_t *ret_marked)
{
    void **order = rx_array(rx, a->n, sizeof(*order));
    struct attr *first = NULL;
    if (order == NULL)
        return false;
    for (uint32_t i = 0; i < a->n; i++)
        order[i] = &a->p[i];
    rx_sort(order, a->n, rx_attr_order);
    for (uint32_t i = 0; i < a->n; i++) {
        struct attr *at = order[i];
        if (first == NULL || !str_eq(at->key, first->key)) {
            first = at;
            continue;
        }
        first->value = at->value;
        at->value.type = VALUE_TYPES;
        ++*ret_marked;
    }
    return true;
}

static void rx_attrs_mark_few(struct rx_attrs *a, uint32_t *ret_marked)
{
    for (uint32_t i = 1; i < a->n; i++)
        for (uint32_t k = 0; k < i; k++)
            if (a->p[k].value.type != VALUE_TYPES && str_eq(a->p[i].key, a->p[k].key)) {
                a->p[k].value = a->p[i].value;
                a->p[i].value.type = VALUE_TYPES;
                ++*ret_marked;
                break;
            }
}

bool rx_attrs_unique(struct rx *rx, struct rx_attrs *a)
{
    uint32_t marked = 0, n = 0;
    if (a->n <= QUADRATIC_MAX)
        rx_attrs_mark_few(a, &marked);
    else if (!rx_attrs_mark_sorted(rx, a, &marked))
        return false;
    if (marked == 0)
        return true;
    for (uint32_t i = 0; i < a->n; i++)
        if (a->p[i].value.type != VALUE_TYPES)
            a->p[n++] = a->p[i];
    a->n = n;
    return true;
}

struct attr *rx_attrs_find(const struct rx_attrs *a, const char *key)
{
    struct str k = str_from(key);
    for (uint32_t i = 0; i < a->n; i++)
        if (str_eq(a->p[i].key, k))
            return &a->p[i];
    return NULL;
}

void rx_attrs_remove(struct rx_attrs *a, struct attr *at)
{
    size_t i = (size_t)(at - a->p);
    ASSERT(i < a->n);
    memmove(at, at + 1, (a->n - i - 1) * sizeof(*at));
    a->n--;
}

bool rx_attrs_put(struct rx *rx, struct rx_attrs *a, struct str key, struct value v)
{
    for (uint32_t i = 0; i < a->n; i++)
        if (str_eq(a->p[i].key, key)) {
            a->p[i].value = v;
            return true;
        }
    struct attr *at = RX_PUSH(rx, a);
    if (at == NULL)
        return false;
    *at = (struct attr){key, v};
    return true;
}

bool rx_attrs_put_str(struct rx *rx, struct rx_attrs *a, const char *key, struct str v)
{
    return rx_attrs_put(rx, a, str_from(key), rx_str(v));
}

/* ---- spans ---- */

struct trace_id rx_trace_id(uint64_t high, uint64_t low)
{
    struct trace_id id;
    put_u64be(id.b, high);
    put_u64be(id.b + 8, low);
    return id;
}

void rx_put_attrs(struct buf *out, uint32_t field, const struct rx_attrs *a)
{
    for (uint32_t i = 0; i < a->n; i++)
        pb_put_attr(out, field, a->p[i].key, &a->p[i].value);
}

static void rx_put_text(struct buf *out, uint32_t field, struct str s)
{
    if (s.n != 0)
        pb_put_bytes(out, field, s);
}

static void rx_put_id(struct buf *out, uint32_t field, span_id id)
{
    char b[8];
    put_u64be(b, id);
    if (id != 0)
        pb_put_bytes(out, field, str_n(b, sizeof(b)));
}

static void rx_put_trace_id(struct buf *out, const struct trace_id *id)
{
    pb_put_bytes(out, 1, str_n((const char *)id->b, sizeof(id->b)));
}

static void rx_put_event(struct buf *out, const struct rx_event *e)
{
    size_t mark = pb_begin(out, 11);
    if (e->time_ns != 0)
        pb_put_fixed64(out, 1, e->time_ns);
    rx_put_text(out, 2, e->name);
    rx_put_attrs(out, 3, &e->attrs);
    if (e->dropped_attrs != 0)
        pb_put_varint(out, 4, e->dropped_attrs);
    pb_end(out, mark);
}

static void rx_put_link(struct buf *out, const struct rx_link *l)
{
    size_t mark = pb_begin(out, 13);
    rx_put_trace_id(out, &l->trace_id);
    rx_put_id(out, 2, l->span_id);
    rx_put_text(out, 3, l->trace_state);
    rx_put_attrs(out, 4, &l->attrs);
    if (l->dropped_attrs != 0)
        pb_put_varint(out, 5, l->dropped_attrs);
    pb_end(out, mark);
}

void rx_put_span(struct buf *out, const struct rx_span *s)
{
    size_t mark = pb_begin(out, 2);
    rx_put_trace_id(out, &s->trace_id);
    rx_put_id(out, 2, s->span_id);
    rx_put_text(out, 3, s->trace_state);
    rx_put_id(out, 4, s->parent_id);
    rx_put_text(out, 5, s->name);
    if (s->kind != RX_UNSPECIFIED)
        pb_put_varint(out, 6, s->kind);
    pb_put_fixed64(out, 7, s->start_ns);
    pb_put_fixed64(out, 8, s->end_ns);
    rx_put_attrs(out, 9, &s->attrs);
    for (uint32_t i = 0; i < s->events.n; i++)
        rx_put_event(out, &s->events.p[i]);
    for (uint32_t i = 0; i < s->links.n; i++)
        rx_put_link(out, &s->links.p[i]);
    if (s->status_code != RX_STATUS_UNSET || s->status_message.n != 0) {
        size_t status = pb_begin(out, 15);
        rx_put_text(out, 2, s->status_message);
        if (s->status_code != RX_STATUS_UNSET)
            pb_put_varint(out, 3, (uint64_t)(int64_t)s->status_code);
        pb_end(out, status);
    }
    pb_end(out, mark);
}

void rx_put_resource(struct buf *out, const struct rx_attrs *a)
{
    size_t mark = pb_begin(out, 1);
    rx_put_attrs(out, 1, a);
    pb_end(out, mark);
}

bool rx_resource(struct rx *rx, const struct rx_attrs *a, struct str *ret)
{
    struct buf b;
    buf_init(&b, rx->arena.budget);
    rx_put_attrs(&b, 1, a);
    *ret = buf_str(&b);
    bool ok = !buf_failed(&b) && rx_copy(rx, ret);
    rx->over |= !ok;
    buf_deinit(&b);
    return ok;
}

/* ---- requests ---- */

static int rx_item_order(const void *a, const void *b)
{
    const struct rx_item *x = a, *y = b;
    int order =
        x->group.p == y->group.p && x->group.n == y->group.n ? 0 : str_cmp(x->group, y->group);
    if (order == 0)
        order = str_cmp(x->scope_name, y->scope_name);
    if (order == 0)
        order = str_cmp(x->scope_version, y->scope_version);
    return order != 0 ? order : (x > y) - (x < y);
}

struct rx_item **rx_items_order(struct rx *rx, struct rx_item *items, uint32_t n)
{
    struct rx_item **order = rx_array(rx, n, sizeof(struct rx_item *));
    if (order == NULL)
        return NULL;
    for (uint32_t i = 0; i < n; i++)
        order[i] = &items[i];
    rx_sort((void **)order, n, rx_item_order);
    return order;
}

static void rx_put_scope(struct buf *out, struct str name, struct str version)
{
    if (name.n == 0 && version.n == 0)
        return;
    size_t mark = pb_begin(out, 1);
    rx_put_text(out, 1, name);
    rx_put_text(out, 2, version);
    pb_end(out, mark);
}

static bool rx_same_scope(const struct rx_item *a, const struct rx_item *b)
{
    return str_eq(a->scope_name, b->scope_name) && str_eq(a->scope_version, b->scope_version);
}

void rx_put_items(struct buf *out, struct rx_item *const *order, uint32_t n)
{
    for (uint32_t i = 0; i < n;) {
        const struct rx_item *first = order[i];
        size_t resource = pb_begin(out, 1);
        pb_put_bytes(out, 1, first->resource);
        while (i < n && str_eq(order[i]->group, first->group)) {
            const struct rx_item *scope_first = order[i];
            size_t scope = pb_begin(out, 2);
            rx_put_scope(out, scope_first->scope_name, scope_first->scope_version);
            for (; i < n && str_eq(order[i]->group, first->group) &&
                   rx_same_scope(order[i], scope_first);
                 i++)
                rx_put_span(out, order[i]->span);
            pb_end(out, scope);
        }
        pb_end(out, resource);
    }
}
