/* SPDX-License-Identifier: Apache-2.0
 * The model's spans, and the comparisons. */
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "model.h"
#include "model/otlp_write.h"
#include "storage/span_read.h"

const char *const model_tenants[MODEL_TENANTS] = {"one", "two", "three"};

static struct trace_id trace_of(uint32_t trace)
{
    struct trace_id id;
    put_u64be(id.b, hash_mix(trace + 1) | 1);
    put_u64be(id.b + 8, trace + 1);
    return id;
}

static void name_of(char ret[16], unsigned name)
{
    snprintf(ret, 16, "name-%u", name);
}

static void tag_of(char ret[16], unsigned tag)
{
    snprintf(ret, 16, "tag-%u", tag);
}

static void text_of(char *ret, uint64_t id, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        ret[i] = (char)('a' + hash_mix(id + i / 8) % 26);
}

void model_encode(unsigned tenant, const struct model_span *spans, uint32_t n, struct buf *out)
{
    char raw[16], name[16], text[512];
    size_t rs = pb_begin(out, 1), resource = pb_begin(out, 1);
    pb_put_attr(out, 1, STR("service.name"),
        &(struct value){.type = VALUE_STR, .s = str_from(model_tenants[tenant])});
    pb_end(out, resource);
    size_t ss = pb_begin(out, 2);
    for (uint32_t i = 0; i < n; i++) {
        const struct model_span *s = &spans[i];
        struct trace_id trace = trace_of(s->trace);
        size_t span = pb_begin(out, 2);
        pb_put_bytes(out, 1, str_n((const char *)trace.b, 16));
        put_u64be(raw, s->id);
        pb_put_bytes(out, 2, str_n(raw, 8));
        name_of(name, s->name);
        pb_put_bytes(out, 5, str_from(name));
        pb_put_varint(out, 6, 2);
        pb_put_fixed64(out, 7, s->start_ns);
        pb_put_fixed64(out, 8, s->start_ns + s->duration_ns);
        if (s->has_v)
            pb_put_attr(out, 9, STR("v"), &(struct value){.type = VALUE_INT, .i = s->v});
        if (s->tag > 0) {
            tag_of(name, s->tag);
            pb_put_attr(
                out, 9, STR("tag"), &(struct value){.type = VALUE_STR, .s = str_from(name)});
        }
        if (s->text > 0) {
            text_of(text, s->id, s->text);
            pb_put_attr(
                out, 9, STR("text"), &(struct value){.type = VALUE_STR, .s = str_n(text, s->text)});
        }
        pb_end(out, span);
    }
    pb_end(out, ss);
    pb_end(out, rs);
}

/* Index of the first span whose id is not less. */
static size_t find(const struct model_tenant *t, uint64_t id)
{
    size_t lo = 0;
    for (size_t hi = t->n; lo < hi;) {
        size_t mid = (lo + hi) / 2;
        if (t->p[mid].id < id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static bool is_at(const struct model_tenant *t, size_t at, uint64_t id)
{
    return at < t->n && t->p[at].id == id;
}

static void insert(struct model_tenant *t, size_t at, const struct model_span *s)
{
    if (t->n == t->cap) {
        t->cap = t->cap == 0 ? 256 : 2 * t->cap;
        t->p = xrealloc(t->p, t->cap * sizeof(*t->p));
    }
    memmove(&t->p[at + 1], &t->p[at], (t->n - at) * sizeof(*t->p));
    t->p[at] = *s;
    t->n++;
}

void model_add(struct model *m, unsigned tenant, const struct model_span *s, int64_t arrival_ns)
{
    struct model_tenant *t = &m->tenants[tenant];
    size_t at = find(t, s->id);
    if (!is_at(t, at, s->id)) {
        insert(t, at, s);
        t->p[at].first_arrival_ns = arrival_ns;
        m->n++;
    }
    t->p[at].last_arrival_ns = arrival_ns;
}

static void bury(struct model *m, unsigned tenant, const struct model_span *s)
{
    struct model_tenant *g = &m->graves[tenant];
    size_t at = find(g, s->id);
    if (is_at(g, at, s->id))
        g->p[at] = *s;
    else
        insert(g, at, s);
}

void model_deinit(struct model *m)
{
    for (unsigned i = 0; i < MODEL_TENANTS; i++) {
        free(m->tenants[i].p);
        free(m->graves[i].p);
    }
}

/* ---- rows ---- */

static const struct attr *attr_of(const struct read_span *s, const char *key)
{
    for (uint32_t i = 0; i < s->n_attrs; i++)
        if (str_eqz(s->attrs[i].key, key))
            return &s->attrs[i];
    return NULL;
}

static bool equal(const struct model *m, const struct model_span *want, const struct read_span *s)
{
    char name[16], text[512];
    struct trace_id trace = trace_of(want->trace);
    const struct attr *v = attr_of(s, "v"), *tag = attr_of(s, "tag"), *t = attr_of(s, "text");
    uint32_t text_n = want->text;
    if (m->attr_bytes_max != 0)
        text_n = MIN(text_n, m->attr_bytes_max);
    name_of(name, want->name);
    if (!trace_id_eq(&s->trace_id, &trace) || !str_eqz(s->name, name) ||
        s->start_ns != want->start_ns || s->end_ns - s->start_ns != want->duration_ns ||
        s->n_attrs != (uint32_t)want->has_v + (want->tag > 0) + (want->text > 0))
        return false;
    if (want->has_v && (v == NULL || v->value.type != VALUE_INT || v->value.i != want->v))
        return false;
    tag_of(name, want->tag);
    if (want->tag > 0 && (tag == NULL || !str_eqz(tag->value.s, name)))
        return false;
    text_of(text, want->id, text_n);
    return want->text == 0 || (t != NULL && str_eq(t->value.s, str_n(text, text_n)));
}

/* The span of this row, which must be one of the model's. */
static struct model_span *row_check(struct model *m, unsigned tenant, const struct read_span *s)
{
    struct model_tenant *t = &m->tenants[tenant];
    size_t at = find(t, s->span_id);
    const struct model_tenant *g = &m->graves[tenant];
    size_t grave = find(g, s->span_id);
    if (!is_at(t, at, s->span_id) && m->reviving && is_at(g, grave, s->span_id)) {
        insert(t, at, &g->p[grave]);
        m->n++;
    }
    if (!is_at(t, at, s->span_id))
        model_fail("tenant %u: span %llu is there, and should not be (%s)", tenant,
            (unsigned long long)s->span_id,
            is_at(g, grave, s->span_id) ? "expired" : "never accepted");
    if (!equal(m, &t->p[at], s))
        model_fail(
            "tenant %u: span %llu is not what was sent", tenant, (unsigned long long)s->span_id);
    t->p[at].seen = true;
    return &t->p[at];
}

static void rows_check(struct model *m, unsigned tenant, struct part_reader *r,
    const uint32_t *rows, uint32_t n, struct arena *arena, int64_t *ret_newest_ns,
    int64_t *ret_arrival_ns)
{
    struct err err = {0};
    struct read_span *spans = ARENA_ARRAY(arena, n + 1ULL, struct read_span);
    if (span_read(r, rows, n, arena, spans, &err) != EC_OK)
        model_fail("tenant %u: a part cannot be read: %s", tenant, err_msg(&err));
    for (uint32_t i = 0; i < n; i++) {
        const struct model_span *s = row_check(m, tenant, &spans[i]);
        int64_t end = (int64_t)(s->start_ns + s->duration_ns);
        *ret_newest_ns = MAX(*ret_newest_ns, MAX(end, s->last_arrival_ns));
        *ret_arrival_ns = MAX(*ret_arrival_ns, s->first_arrival_ns);
    }
}

static void snapshot_take(struct sim_world *w, unsigned tenant, struct snapshot *ret)
{
    struct err err = {0};
    if (store_snapshot(w->s, str_from(model_tenants[tenant]), ret, &err) != EC_OK)
        model_fail("no snapshot: %s", err_msg(&err));
}

static struct part_reader *reader_open(struct part *p, struct part_info *ret)
{
    struct part_reader *r;
    struct err err = {0};
    if (part_reader_open(p, NULL, &r, &err) != EC_OK)
        model_fail("a part cannot be opened: %s", err_msg(&err));
    part_info(r, ret);
    return r;
}

static void unsee(struct model_tenant *t)
{
    for (size_t i = 0; i < t->n; i++)
        t->p[i].seen = false;
}

size_t model_check(
    struct model *m, struct sim_world *w, unsigned tenant, int64_t before_ns, bool strictly)
{
    struct model_tenant *t = &m->tenants[tenant];
    struct snapshot snap;
    struct arena arena;
    unsee(t);
    snapshot_take(w, tenant, &snap);
    for (size_t i = 0; i < snap.n; i++) {
        struct part_info info;
        struct part_reader *r = reader_open(snap.parts[i], &info);
        int64_t newest_ns = 0;
        arena_init(&arena, NULL, 0);
        uint32_t *rows = ARENA_ARRAY(&arena, info.n_rows + 1ULL, uint32_t);
        for (uint32_t k = 0; k < info.n_rows; k++)
            rows[k] = k;
        int64_t arrival_ns = 0;
        rows_check(m, tenant, r, rows, info.n_rows, &arena, &newest_ns, &arrival_ns);
        if (!snap.facts[i].is_head)
            m->newest_block_ns = MAX(m->newest_block_ns, arrival_ns);
        /* Arrivals are kept in whole seconds: up to one later, never earlier. */
        if (!snap.facts[i].is_head && strictly && newest_ns + NS_PER_S < before_ns)
            model_fail("tenant %u: a block is %lld s past its time, and served", tenant,
                (long long)((before_ns - newest_ns) / NS_PER_S));
        arena_deinit(&arena);
        part_reader_close(r);
    }
    snapshot_release(&snap);
    size_t kept = 0, gone = 0;
    for (size_t i = 0; i < t->n; i++) {
        const struct model_span *s = &t->p[i];
        int64_t newest = MAX((int64_t)(s->start_ns + s->duration_ns), s->first_arrival_ns);
        if (!s->seen && (before_ns == 0 || newest >= before_ns))
            model_fail("tenant %u: span %llu is missing, %lld ms before its time", tenant,
                (unsigned long long)s->id, (long long)((newest - before_ns) / NS_PER_MS));
        gone += !s->seen;
        if (!s->seen)
            bury(m, tenant, s);
        if (s->seen)
            t->p[kept++] = *s;
    }
    t->n = kept;
    m->n -= gone;
    return gone;
}

void model_check_trace(struct model *m, struct sim_world *w, unsigned tenant, uint32_t trace)
{
    struct model_tenant *t = &m->tenants[tenant];
    struct trace_id id = trace_of(trace);
    struct snapshot snap;
    struct err err = {0};
    unsee(t);
    snapshot_take(w, tenant, &snap);
    for (size_t i = 0; i < snap.n; i++) {
        struct part_info info;
        struct part_reader *r = reader_open(snap.parts[i], &info);
        struct arena arena;
        uint32_t at, *rows, n;
        int64_t newest_ns = 0, arrival_ns = 0;
        arena_init(&arena, NULL, 0);
        enum ec ec = part_trace_find(r, &id, &at, &err);
        if (ec == EC_OK && at != PART_NONE) {
            ec = part_trace_rows(r, at, &arena, &rows, &n, &err);
            if (ec == EC_OK)
                rows_check(m, tenant, r, rows, n, &arena, &newest_ns, &arrival_ns);
        }
        if (ec != EC_OK)
            model_fail("tenant %u: trace %u cannot be read: %s", tenant, trace, err_msg(&err));
        arena_deinit(&arena);
        part_reader_close(r);
    }
    snapshot_release(&snap);
    for (size_t i = 0; i < t->n; i++)
        if (t->p[i].seen != (t->p[i].trace == trace))
            model_fail("tenant %u: span %llu %s trace %u", tenant, (unsigned long long)t->p[i].id,
                t->p[i].seen ? "was found in" : "is missing from", trace);
}

/* ---- predicates ---- */

static bool compare(enum scan_op op, int64_t a, int64_t b)
{
    switch (op) {
    case SCAN_EQ:
        return a == b;
    case SCAN_NE:
        return a != b;
    case SCAN_LT:
        return a < b;
    case SCAN_LE:
        return a <= b;
    case SCAN_GT:
        return a > b;
    default:
        return a >= b;
    }
}

static bool leaf_matches(const struct model_leaf *f, unsigned tenant, const struct model_span *s)
{
    switch (f->field) {
    case MODEL_FIELD_V:
        return s->has_v && compare(f->op, s->v, f->number);
    case MODEL_FIELD_TAG:
        return s->tag > 0 && (f->op == SCAN_EXISTS || compare(f->op, s->tag, f->text));
    case MODEL_FIELD_NAME:
        return compare(f->op, s->name, f->text);
    case MODEL_FIELD_START:
        return compare(f->op, (int64_t)s->start_ns, f->number);
    case MODEL_FIELD_DURATION:
        return compare(f->op, (int64_t)s->duration_ns, f->number);
    default:
        return compare(f->op, tenant, f->text % MODEL_TENANTS);
    }
}

static bool query_matches(const struct model_query *q, unsigned tenant, const struct model_span *s)
{
    bool all = true, any = false;
    for (unsigned i = 0; i < q->n; i++) {
        bool yes = leaf_matches(&q->leaves[i], tenant, s) != q->leaves[i].negate;
        all = all && yes;
        any = any || yes;
    }
    return q->any ? any : all;
}

struct lowered {
    struct scan_expr leaf[3], not [3], top;
    struct scan_lit lit[3];
    const struct scan_expr *kids[3], *inner[3];
    char text[3][16];
};

static void lower(struct lowered *x, const struct model_query *q)
{
    for (unsigned i = 0; i < q->n; i++) {
        const struct model_leaf *f = &q->leaves[i];
        struct scan_leaf *leaf = &x->leaf[i].leaf;
        x->leaf[i].node = SCAN_LEAF;
        *leaf = (struct scan_leaf){.table = TABLE_SPANS,
            .op = f->op,
            .lits = &x->lit[i],
            .n_lits = f->op == SCAN_EXISTS ? 0 : 1};
        x->lit[i] = (struct scan_lit){.type = SCAN_LIT_INT, .i = f->number};
        if (f->field == MODEL_FIELD_V) {
            leaf->key = STR("v");
        } else if (f->field == MODEL_FIELD_START) {
            leaf->col = COL_SPAN_START;
        } else if (f->field == MODEL_FIELD_DURATION) {
            leaf->col = COL_SPAN_DURATION;
            x->lit[i].type = SCAN_LIT_DURATION;
        } else {
            x->lit[i].type = SCAN_LIT_STR;
            if (f->field == MODEL_FIELD_TAG) {
                leaf->key = STR("tag");
                tag_of(x->text[i], f->text);
            } else if (f->field == MODEL_FIELD_NAME) {
                leaf->col = COL_SPAN_NAME;
                name_of(x->text[i], f->text);
            } else {
                leaf->table = TABLE_RESOURCES;
                leaf->key = STR("service.name");
                snprintf(x->text[i], 16, "%s", model_tenants[f->text % MODEL_TENANTS]);
            }
            x->lit[i].s = str_from(x->text[i]);
        }
        x->inner[i] = &x->leaf[i];
        x->not [i] = (struct scan_expr){.node = SCAN_NOT, .kids = &x->inner[i], .n_kids = 1};
        x->kids[i] = f->negate ? &x->not [i] : &x->leaf[i];
    }
    x->top =
        (struct scan_expr){.node = q->any ? SCAN_OR : SCAN_AND, .kids = x->kids, .n_kids = q->n};
}

static enum ec part_query(
    struct model_tenant *t, struct part_reader *r, const struct scan_expr *expr, struct err *err)
{
    static struct scan_bits bits; /* large; one thread */
    struct part_info info;
    struct scan *scan;
    struct col_view ids;
    enum ec ec = EC_OK;
    part_info(r, &info);
    TRY(scan_new(r, expr, &scan, err));
    for (uint32_t g = 0; g < info.n_groups && ec == EC_OK && !scan_none(scan); g++) {
        ec = scan_group(scan, g, &bits, err);
        if (ec != EC_OK || !scan_bits_any(&bits))
            continue;
        ec = part_view(r, g, COL_SPAN_ID, &ids, err);
        for (uint32_t row = 0; ec == EC_OK && row < bits.n; row++) {
            if (!scan_bits_get(&bits, row))
                continue;
            size_t at = find(t, ids.u64[row]);
            if (!is_at(t, at, ids.u64[row]))
                model_fail("a query found span %llu, which is not there",
                    (unsigned long long)ids.u64[row]);
            t->p[at].seen = true;
        }
    }
    scan_free(scan);
    return ec;
}

void model_check_query(
    struct model *m, struct sim_world *w, unsigned tenant, const struct model_query *q)
{
    struct model_tenant *t = &m->tenants[tenant];
    struct snapshot snap;
    struct err err = {0};
    struct lowered x;
    memset(&x, 0, sizeof(x));
    lower(&x, q);
    unsee(t);
    snapshot_take(w, tenant, &snap);
    for (size_t i = 0; i < snap.n; i++) {
        struct part_info info;
        struct part_reader *r = reader_open(snap.parts[i], &info);
        if (part_query(t, r, &x.top, &err) != EC_OK)
            model_fail("tenant %u: a query failed: %s", tenant, err_msg(&err));
        part_reader_close(r);
    }
    snapshot_release(&snap);
    for (size_t i = 0; i < t->n; i++) {
        if (t->p[i].seen == query_matches(q, tenant, &t->p[i]))
            continue;
        for (unsigned k = 0; k < q->n; k++)
            printf("  leaf: field %u, op %u, number %lld, text %u%s\n", q->leaves[k].field,
                q->leaves[k].op, (long long)q->leaves[k].number, q->leaves[k].text,
                q->leaves[k].negate ? ", negated" : "");
        model_fail("tenant %u: span %llu %s by %s of %u conditions", tenant,
            (unsigned long long)t->p[i].id, t->p[i].seen ? "was found" : "is missed",
            q->any ? "any" : "all", q->n);
    }
}

/* ---- old snapshots ---- */

static uint64_t reader_sum(struct part_reader *r)
{
    struct part_info info;
    struct err err = {0};
    struct col_view ids, starts;
    uint64_t sum = 0;
    part_info(r, &info);
    for (uint32_t g = 0; g < info.n_groups; g++) {
        enum ec ec = part_view(r, g, COL_SPAN_ID, &ids, &err);
        if (ec == EC_OK)
            ec = part_view(r, g, COL_SPAN_START, &starts, &err);
        if (ec != EC_OK)
            model_fail("an old snapshot cannot be read: %s", err_msg(&err));
        for (uint32_t i = 0; i < ids.n; i++)
            sum = hash_mix(sum + ids.u64[i] * 31 + starts.u64[i]);
    }
    return sum + info.n_rows;
}

void model_pin(struct model_pin *p, struct sim_world *w, unsigned tenant)
{
    snapshot_take(w, tenant, &p->snap);
    p->held = true;
    p->readers = xcalloc(p->snap.n + 1, sizeof(struct part_reader *));
    p->sums = xcalloc(p->snap.n + 1, sizeof(*p->sums));
    for (size_t i = 0; i < p->snap.n; i++) {
        struct part_info info;
        p->readers[i] = reader_open(p->snap.parts[i], &info);
        /* Every other one is first read when it is old. */
        p->sums[i] = i % 2 == 0 ? reader_sum(p->readers[i]) : info.n_rows;
    }
}

void model_unpin(struct model_pin *p, struct sim_world *w)
{
    (void)w;
    if (!p->held)
        return;
    for (size_t i = 0; i < p->snap.n; i++) {
        struct part_info info;
        part_info(p->readers[i], &info);
        uint64_t now = reader_sum(p->readers[i]);
        if (i % 2 == 0 ? now != p->sums[i] : info.n_rows != p->sums[i])
            model_fail("an old snapshot has changed");
        part_reader_close(p->readers[i]);
    }
    free(p->readers);
    free(p->sums);
    snapshot_release(&p->snap);
    *p = (struct model_pin){0};
}
