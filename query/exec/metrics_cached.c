/* SPDX-License-Identifier: Apache-2.0
 * Partials as bytes.
 *
 *     partial  = spans base stride { 1 label* cell* } 0 n_picks { pick }
 *     cell     = 0 n                             n buckets without an observation
 *              | count [ value [ compensation ] ]
 *     pick     = id start value { label } n { attribute value }
 *     compared = length-of-key key { 1 n { key value } sample* } 0 spans     sample: 0 n | count
 *
 * Whole numbers are varints, doubles their 8 bytes. What is read back was written by this process:
 * it is not judged. */
#include "metrics_cached.h"

#include <math.h>

#include "base/hash.h"
#include "metrics_cells.h"
#include "metrics_finish.h"
#include "query/tql.h"

#define QUESTION_MAX 4096u /* bytes of a query's text that is worth a key */

static enum ec over_budget(struct err *err)
{
    return ERR(err, EC_LIMIT, "query is over its memory budget");
}

/* ---- keys ---- */

void partials_init(struct partials *p, const struct query_ctx *ctx,
    const struct metrics_request *req, const struct grid *g, const struct shared_set *shared)
{
    *p = (struct partials){.ctx = ctx, .req = req, .grid = *g, .shared = shared};
    buf_init(&p->question, ctx->budget);
    buf_init(&p->asked, ctx->budget);
    if (ctx->cache == NULL)
        return;
    uint64_t step = g->instant ? 0 : g->step_ns;
    uint32_t exemplars = req->exemplars;
    /* Exemplars are spread over the range. */
    uint64_t range = exemplars == 0 ? 0 : g->end_ns - g->start_ns;
    tql_print_query(&p->question, req->q);
    buf_put(&p->question, &step, sizeof(step));
    buf_put(&p->question, &range, sizeof(range));
    buf_put(&p->question, &exemplars, sizeof(exemplars));
    if (!buf_failed(&p->question) && p->question.n <= QUESTION_MAX)
        p->cache = ctx->cache;
}

void partials_deinit(struct partials *p)
{
    buf_deinit(&p->question);
    buf_deinit(&p->asked);
}

static void put_shared(const struct partials *p, struct buf *key, size_t part)
{
    const struct shared_set *s = p->shared;
    uint64_t of[2] = {0, 0};
    if (s != NULL && s->traces[part] != NULL) {
        size_t n = s->n_traces[part] / 64 + 1;
        while (n > 0 && s->traces[part][n - 1] == 0) /* a head gets new ones all the time */
            n--;
        of[0] = hash64_seed(s->traces[part], n * sizeof(uint64_t), 1);
        of[1] = hash64_seed(s->traces[part], n * sizeof(uint64_t), 2);
    }
    buf_put(key, of, sizeof(of));
}

/* False: there is no memory for a key. */
static bool put_slice(const struct partials *p, struct buf *key, const struct slice *s)
{
    const struct grid *g = &p->grid;
    uint64_t lo = g->instant ? g->start_ns : g->start_ns + 1;
    const uint64_t cut[] = {s->min_start_ns >= lo ? 0 : lo,
        s->max_start_ns <= g->end_ns ? UINT64_MAX : g->end_ns, s->group_from, s->group_to};
    query_cache_key_part(key, p->ctx->parts[s->part], s->row_to);
    buf_put(key, cut, sizeof(cut));
    put_shared(p, key, s->part);
    return !buf_failed(key);
}

/* The key of a partial; to be freed. */
static bool partial_key(const struct partials *p, const struct slice *s, struct buf *ret)
{
    buf_init(ret, p->ctx->budget);
    if (p->cache == NULL)
        return false;
    buf_put(ret, p->question.p, p->question.n);
    return put_slice(p, ret, s);
}

struct cached *partial_find(const struct partials *p, const struct slice *s)
{
    struct cached *e = NULL;
    struct buf key;
    if (partial_key(p, s, &key))
        e = query_cache_get(p->cache, buf_bytes(&key));
    buf_deinit(&key);
    return e;
}

/* ---- writing ---- */

static void put_f64(struct buf *out, double v)
{
    buf_put(out, &v, sizeof(v));
}

static void put_text(struct buf *out, struct str s)
{
    buf_put_varint(out, s.n);
    buf_puts(out, s);
}

static void put_label(struct buf *out, const struct qval *v)
{
    buf_putc(out, (char)v->kind);
    switch (v->kind) {
    case QV_NIL:
    case QV_OPAQUE:
        break;
    case QV_FLOAT:
        put_f64(out, v->f);
        break;
    case QV_BOOL:
        buf_putc(out, (char)v->b);
        break;
    case QV_STRING:
    case QV_ARRAY:
        put_text(out, v->s);
        break;
    default:
        buf_put_varint(out, zigzag_encode(v->i));
    }
}

static void put_value(struct buf *out, const struct value *v)
{
    buf_putc(out, (char)v->type);
    switch (v->type) {
    case VALUE_EMPTY:
        break;
    case VALUE_DOUBLE:
        put_f64(out, v->d);
        break;
    case VALUE_BOOL:
        buf_putc(out, (char)v->b);
        break;
    case VALUE_INT:
        buf_put_varint(out, zigzag_encode(v->i));
        break;
    default:
        put_text(out, v->s);
    }
}

/* n buckets without anything. */
static void put_gap(struct buf *out, uint32_t *n)
{
    if (*n == 0)
        return;
    buf_put_varint(out, 0);
    buf_put_varint(out, *n);
    *n = 0;
}

static void put_cells(struct buf *out, const struct cells *c, uint32_t series)
{
    size_t first = (size_t)series * c->stride;
    const uint32_t *n = (const uint32_t *)(const void *)c->n.p + first;
    const double *v = (const double *)(const void *)c->v.p;
    const double *comp = (const double *)(const void *)c->comp.p;
    bool sums = c->kind == ACC_SUM || c->kind == ACC_AVG;
    uint32_t gap = 0;
    for (uint32_t i = 0; i < c->stride; i++) {
        if (n[i] == 0) {
            gap++;
            continue;
        }
        put_gap(out, &gap);
        buf_put_varint(out, n[i]);
        if (c->kind != ACC_COUNT)
            put_f64(out, v[first + i]);
        if (sums)
            put_f64(out, comp[first + i]);
    }
    put_gap(out, &gap);
}

/* Labels of an exemplar are attributes of the query, and its trace's id, which pick->id has. */
static void put_pick(struct buf *out, const struct tql_query *q, const struct pick *p)
{
    buf_put(out, p->id.b, sizeof(p->id.b));
    buf_put_u64le(out, p->start_ns);
    put_f64(out, p->value);
    for (uint32_t i = 0; i < p->n_key; i++)
        put_label(out, &p->key[i]);
    ASSERT(p->n_labels > 0);
    buf_put_varint(out, p->n_labels - 1);
    for (uint32_t i = 0, a = 0; i + 1 < p->n_labels; i++, a++) {
        while (a < q->n_attrs && q->attrs[a]->text.p != p->labels[i].key.p)
            a++;
        ASSERT(a < q->n_attrs);
        buf_put_varint(out, a);
        put_value(out, &p->labels[i].value);
    }
}

static bool put_partial(const struct partials *p, const struct collector *c, struct buf *out)
{
    const struct grid *g = &p->grid;
    struct qval labels[ACC_LABELS_MAX];
    uint32_t base = 0, series;
    const struct cells *cells = collect_slice_cells(c, &base);
    size_t max = query_cache_value_max(p->cache);
    buf_put_varint(out, c->stats.inspected_spans);
    buf_put_varint(out, (g->instant ? 0 : g->start_ns / g->step_ns) + base);
    buf_put_varint(out, cells == NULL ? 0 : cells->stride);
    for (uint32_t at = 0; out->n <= max && collect_slice_next(c, &at, &series, labels);) {
        buf_putc(out, 1);
        for (uint32_t i = 0; i < c->acc.n_labels; i++)
            put_label(out, &labels[i]);
        put_cells(out, cells, series);
    }
    buf_putc(out, 0);
    buf_put_varint(out, c->picks.n);
    for (uint32_t i = 0; i < c->picks.n; i++)
        put_pick(out, p->req->q, &c->picks.p[i]);
    return !buf_failed(out) && out->n <= max;
}

void partial_keep(const struct partials *p, const struct collector *c)
{
    struct buf key, out;
    if (p->cache == NULL || c->ec != EC_OK || c->n_damaged != 0)
        return;
    buf_init(&out, p->ctx->budget);
    if (partial_key(p, &c->slice, &key) && put_partial(p, c, &out)) {
        const struct part *part = p->ctx->parts[c->slice.part];
        query_cache_put(p->cache, &part, 1, buf_bytes(&key), buf_bytes(&out));
    }
    buf_deinit(&key);
    buf_deinit(&out);
}

/* ---- reading ---- */

struct in {
    const uint8_t *p, *end;
};

static uint64_t get_number(struct in *in)
{
    uint64_t v;
    ASSERT(in->p < in->end);
    if (LIKELY(*in->p < 0x80)) /* most are small */
        return *in->p++;
    in->p = varint_get(in->p, in->end, &v);
    ASSERT(in->p != NULL);
    return v;
}

static void get_raw(struct in *in, void *to, size_t n)
{
    ASSERT((size_t)(in->end - in->p) >= n);
    memcpy(to, in->p, n);
    in->p += n;
}

static double get_f64(struct in *in)
{
    double v;
    get_raw(in, &v, sizeof(v));
    return v;
}

/* A view of the entry. */
static struct str get_text(struct in *in)
{
    uint64_t n = get_number(in);
    ASSERT((size_t)(in->end - in->p) >= n);
    struct str s = str_n((const char *)in->p, n);
    in->p += n;
    return s;
}

static struct qval get_label(struct in *in)
{
    struct qval v = {.kind = (enum qval_kind)get_number(in)};
    switch (v.kind) {
    case QV_NIL:
    case QV_OPAQUE:
        break;
    case QV_FLOAT:
        v.f = get_f64(in);
        break;
    case QV_BOOL:
        v.b = get_number(in) != 0;
        break;
    case QV_STRING:
    case QV_ARRAY:
        v.s = get_text(in);
        break;
    default:
        v.i = zigzag_decode(get_number(in));
    }
    return v;
}

static struct value get_value(struct in *in)
{
    struct value v = {.type = (enum value_type)get_number(in)};
    switch (v.type) {
    case VALUE_EMPTY:
        break;
    case VALUE_DOUBLE:
        v.d = get_f64(in);
        break;
    case VALUE_BOOL:
        v.b = get_number(in) != 0;
        break;
    case VALUE_INT:
        v.i = zigzag_decode(get_number(in));
        break;
    default:
        v.s = get_text(in);
    }
    return v;
}

static void get_cells(
    struct in *in, const struct acc *a, struct acc_series *s, uint32_t base, uint32_t stride)
{
    bool sums = a->kind == ACC_SUM || a->kind == ACC_AVG;
    for (uint32_t i = 0; i < stride;) {
        struct acc_cell cell = {.n = get_number(in)};
        if (cell.n == 0) {
            i += (uint32_t)get_number(in);
            continue;
        }
        if (a->kind != ACC_COUNT)
            cell.v = get_f64(in);
        if (sums)
            cell.comp = get_f64(in);
        acc_add_cell(a, s, base + i++, &cell);
    }
}

static enum ec get_pick(
    struct in *in, const struct tql_query *q, struct arena *a, struct pick *ret, struct err *err)
{
    char hex[32];
    get_raw(in, ret->id.b, sizeof(ret->id.b));
    get_raw(in, &ret->start_ns, sizeof(ret->start_ns));
    ret->value = get_f64(in);
    struct qval *key = ARENA_ARRAY(a, ret->n_key, struct qval);
    if (key == NULL)
        return over_budget(err);
    for (uint32_t i = 0; i < ret->n_key; i++)
        key[i] = get_label(in);
    ret->key = key;
    ret->n_labels = (uint32_t)get_number(in) + 1;
    ret->labels = ARENA_ARRAY(a, ret->n_labels, struct result_attr);
    struct str id = arena_str(a, str_n(hex, trace_id_short_hex(hex, &ret->id)));
    if (ret->labels == NULL || id.p == NULL)
        return over_budget(err);
    for (uint32_t i = 0; i + 1 < ret->n_labels; i++) {
        uint64_t at = get_number(in);
        ASSERT(at < q->n_attrs);
        ret->labels[i] = (struct result_attr){q->attrs[at]->text, get_value(in)};
    }
    ret->labels[ret->n_labels - 1] =
        (struct result_attr){STR("trace:id"), {.type = VALUE_STR, .s = id}};
    return EC_OK;
}

static enum ec merge_picks(
    const struct partials *p, struct in *in, struct collector *into, struct err *err)
{
    struct picks from = {.n = (uint32_t)get_number(in)};
    from.p = ARENA_ARRAY(&into->scratch, from.n, struct pick);
    if (from.p == NULL)
        return over_budget(err);
    for (uint32_t i = 0; i < from.n; i++) {
        from.p[i].n_key = into->acc.n_labels;
        TRY(get_pick(in, p->req->q, &into->scratch, &from.p[i], err));
    }
    return picks_merge(&into->picks, &from, err);
}

enum ec partial_merge(
    const struct partials *p, const struct cached *e, struct collector *into, struct err *err)
{
    const struct grid *g = &p->grid;
    struct in in = {e->value.p, e->value.p + e->value.n};
    struct qval labels[ACC_LABELS_MAX];
    struct acc_series *s = NULL;
    TRY(query_check_alive(p->ctx, err));
    into->stats.inspected_spans += get_number(&in);
    uint64_t base = get_number(&in) - (g->instant ? 0 : g->start_ns / g->step_ns);
    uint32_t stride = (uint32_t)get_number(&in);
    ASSERT(stride == 0 || (base < g->n && stride <= g->n - base));
    while (get_number(&in) != 0) {
        for (uint32_t i = 0; i < into->acc.n_labels; i++)
            labels[i] = get_label(&in);
        TRY(acc_series(&into->acc, labels, &s, err));
        get_cells(&in, &into->acc, s, (uint32_t)base, stride);
    }
    enum ec ec = merge_picks(p, &in, into, err);
    arena_reset(&into->scratch);
    ASSERT(ec != EC_OK || in.p == in.end);
    return ec;
}

/* ---- compare() ---- */

static enum ec rows_of_head(
    const struct query_ctx *ctx, struct part *head, uint32_t *ret, struct err *err)
{
    struct part_reader *r;
    struct part_info info;
    TRY(part_reader_open(head, ctx->budget, &r, err));
    part_info(r, &info);
    part_reader_close(r);
    *ret = info.n_rows;
    return EC_OK;
}

/* Of every part of the snapshot, in range or not: roots and children of a span may be anywhere.
 * Heads without spans are left out: they come and go. */
static bool compared_key(const struct partials *p, struct buf *ret)
{
    const struct query_ctx *ctx = p->ctx;
    buf_init(ret, ctx->budget);
    if (p->cache == NULL)
        return false;
    buf_put(ret, p->question.p, p->question.n);
    buf_put(ret, &p->grid.start_ns, sizeof(p->grid.start_ns));
    buf_put(ret, &p->grid.end_ns, sizeof(p->grid.end_ns));
    for (size_t i = 0; i < ctx->n_parts; i++) {
        uint32_t n_rows = 0;
        bool head = ctx->parts[i]->is_head;
        if (head && rows_of_head(ctx, ctx->parts[i], &n_rows, NULL) != EC_OK)
            return false;
        if (!head || n_rows != 0)
            query_cache_key_part(ret, ctx->parts[i], n_rows);
    }
    return !buf_failed(ret);
}

static void put_samples(struct buf *out, const double *v, uint32_t n)
{
    uint32_t gap = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (v[i] == 0) {
            gap++;
            continue;
        }
        put_gap(out, &gap);
        buf_put_varint(out, (uint64_t)v[i]);
    }
    put_gap(out, &gap);
}

/* WHY not the key itself: while spans come no answer is met again, and each of a megabyte would
 * take the place of what other questions have found. So the last one of each question is kept. */
static bool compared_name(const struct partials *p, struct buf *ret)
{
    buf_init(ret, p->ctx->budget);
    buf_put(ret, p->question.p, p->question.n);
    buf_put(ret, &p->ctx->key, sizeof(p->ctx->key));
    buf_putz(ret, "answer");
    return !buf_failed(ret);
}

void compared_keep(const struct partials *p, const struct collector *c)
{
    struct buf key, name, out;
    size_t n_parts = p->ctx->n_parts;
    /* A head without spans is among the parts, too: that costs an entry with it, no more. */
    const struct part *const *parts = (const struct part *const *)p->ctx->parts;
    if (p->asked.n == 0 || c->n_damaged != 0 || c->unsure || n_parts == 0)
        return;
    buf_init(&out, p->ctx->budget);
    /* Asked again: spans that a head got meanwhile may have been counted, or not. */
    bool kept = compared_key(p, &key) && bytes_eq(buf_bytes(&key), buf_bytes(&p->asked));
    kept = compared_name(p, &name) && kept;
    buf_put_varint(&out, key.n);
    buf_put(&out, key.p, key.n);
    for (size_t i = 0; i < c->compared.n && kept; i++) {
        const struct metrics_series *s = &c->compared.p[i];
        buf_putc(&out, 1);
        buf_put_varint(&out, s->n_labels);
        for (uint32_t k = 0; k < s->n_labels; k++) {
            put_text(&out, s->labels[k].key);
            put_value(&out, &s->labels[k].value);
        }
        put_samples(&out, s->values, p->grid.n);
    }
    buf_putc(&out, 0);
    buf_put_varint(&out, c->stats.inspected_spans);
    if (kept && !buf_failed(&out)) {
        query_cache_drop(p->cache, buf_bytes(&name));
        query_cache_put(p->cache, parts, n_parts, buf_bytes(&name), buf_bytes(&out));
    }
    buf_deinit(&key);
    buf_deinit(&name);
    buf_deinit(&out);
}

static enum ec get_series(
    struct in *in, struct collector *c, struct metrics_series *ret, struct err *err)
{
    struct arena *a = c->ctx->arena;
    ret->n_labels = (uint32_t)get_number(in);
    struct result_attr *labels = ARENA_ARRAY(a, ret->n_labels, struct result_attr);
    if (labels == NULL)
        return over_budget(err);
    for (uint32_t i = 0; i < ret->n_labels; i++) {
        struct value *v = &labels[i].value;
        labels[i].key = arena_str(a, get_text(in));
        *v = get_value(in);
        bool text = v->type == VALUE_STR || v->type == VALUE_ARRAY;
        if (text)
            v->s = arena_str(a, v->s);
        if (labels[i].key.p == NULL || (text && v->s.p == NULL))
            return over_budget(err);
    }
    ret->labels = labels;
    for (uint32_t i = 0; i < c->grid.n;) {
        uint64_t v = get_number(in);
        if (v == 0)
            i += (uint32_t)get_number(in);
        else
            ret->values[i++] = (double)v;
    }
    return EC_OK;
}

/* *ret_found: it is the answer to what is asked. */
static enum ec get_compared(const struct partials *p, const struct cached *e, struct collector *c,
    bool *ret_found, struct err *err)
{
    struct in in = {e->value.p, e->value.p + e->value.n};
    struct str key = get_text(&in);
    *ret_found = bytes_eq(bytes_n(key.p, key.n), buf_bytes(&p->asked));
    if (!*ret_found)
        return EC_OK;
    while (get_number(&in) != 0) {
        struct metrics_series *s;
        TRY(finish_push(c, &c->compared, &s, err));
        TRY(get_series(&in, c, s, err));
    }
    c->stats.inspected_spans += get_number(&in);
    ASSERT(in.p == in.end);
    c->fast_compare = true;
    return EC_OK;
}

enum ec compared_find(struct partials *p, struct collector *c, bool *ret_found, struct err *err)
{
    struct cached *e = NULL;
    struct buf name;
    enum ec ec = EC_OK;
    *ret_found = false;
    if (!compared_key(p, &p->asked))
        buf_deinit(&p->asked);
    else if (compared_name(p, &name))
        e = query_cache_get(p->cache, buf_bytes(&name));
    if (p->asked.n != 0)
        buf_deinit(&name);
    if (e != NULL)
        ec = get_compared(p, e, c, ret_found, err);
    query_cache_release(p->cache, e);
    return ec;
}
