/* SPDX-License-Identifier: Apache-2.0
 * Series to remote-write entries: prometheus.TimeSeries, each with exactly one sample, exemplar or
 * native histogram, labels sorted with __name__ in its place. A series that is collected for the
 * first time sends a zero first, stamped with the last second of the minute before, so that a rate
 * sees its first value. */
#include <math.h>

#include "base/hash.h"
#include "model/otlp_write.h"
#include "native.h"
#include "query/format.h"
#include "registry.h"

enum { TS_LABELS = 1, TS_SAMPLES = 2, TS_EXEMPLARS = 3, TS_HISTOGRAMS = 4 };

#define ALL_LABELS (LABELS_MAX + 64) /* with the external ones, __name__, le */

struct collector {
    struct registry *r;
    bool (*emit)(void *ctx, const struct generator_entry *e);
    void *ctx;
    bool enough; /* emit said so */
    int64_t now_ms, zero_ms;
    struct buf out, name, le;
    const struct generator_label *common[ALL_LABELS]; /* entity's and external, sorted */
    uint32_t n_common;
    size_t labels_end; /* in out: where the labels of the entry end */
    uint64_t hash;
};

/* External labels win over those of the entity. */
static void merge_labels(struct collector *c, const struct entity *e)
{
    const struct registry *r = c->r;
    uint32_t i = 0, k = 0, n = 0;
    while ((i < e->n || k < r->n_external) && n < ALL_LABELS) {
        int cmp = i == e->n            ? 1
                  : k == r->n_external ? -1
                                       : str_cmp(e->labels[i].name, r->external[k].name);
        if (cmp < 0) {
            c->common[n++] = &e->labels[i++];
        } else {
            c->common[n++] = &r->external[k++];
            i += cmp == 0;
        }
    }
    c->n_common = n;
}

static void put_label(struct buf *out, struct str name, struct str value)
{
    size_t mark = pb_begin(out, TS_LABELS);
    pb_put_bytes(out, 1, name);
    pb_put_bytes(out, 2, value);
    pb_end(out, mark);
}

/* The labels of one exported series: the common ones, __name__, and le when it is not empty. */
static void put_labels(struct collector *c, struct str name, const char *suffix, struct str le)
{
    static const struct str le_name = {"le", 2}, name_name = {"__name__", 8};
    bool has_name = false, has_le = le.n == 0;
    buf_reset(&c->out);
    buf_reset(&c->name);
    buf_puts(&c->name, name);
    buf_putz(&c->name, suffix);
    for (uint32_t i = 0; i <= c->n_common; i++) {
        const struct generator_label *l = i < c->n_common ? c->common[i] : NULL;
        if (!has_name && (l == NULL || str_cmp(l->name, name_name) >= 0)) {
            put_label(&c->out, name_name, buf_str(&c->name));
            has_name = true;
            if (l != NULL && str_eq(l->name, name_name))
                continue;
        }
        if (!has_le && (l == NULL || str_cmp(l->name, le_name) >= 0)) {
            put_label(&c->out, le_name, le);
            has_le = true;
            if (l != NULL && str_eq(l->name, le_name))
                continue;
        }
        if (l != NULL)
            put_label(&c->out, l->name, l->value);
    }
    c->labels_end = c->out.n;
    c->hash = hash64(c->out.p, c->out.n);
}

/* What follows the labels in out, as an entry of its own. */
static void send(struct collector *c, int64_t time_ms, enum generator_entry_kind kind)
{
    const struct generator_entry e = {buf_bytes(&c->out), c->hash, time_ms, kind};
    if (!buf_failed(&c->out))
        c->enough |= !c->emit(c->ctx, &e);
    c->out.n = c->labels_end;
}

static void put_sample(struct collector *c, double v, int64_t time_ms)
{
    size_t mark = pb_begin(&c->out, TS_SAMPLES);
    if (v != 0)
        pb_put_double(&c->out, 1, v);
    pb_put_varint(&c->out, 2, (uint64_t)time_ms);
    pb_end(&c->out, mark);
    send(c, time_ms, ENTRY_SAMPLE);
}

static void put_exemplar(
    struct collector *c, const struct trace_id *trace, double value, int64_t time_ms)
{
    char hex[32];
    size_t mark = pb_begin(&c->out, TS_EXEMPLARS);
    put_label(&c->out, c->r->trace_id_label, str_n(hex, trace_id_short_hex(hex, trace)));
    if (value != 0)
        pb_put_double(&c->out, 2, value);
    pb_put_varint(&c->out, 3, (uint64_t)time_ms);
    pb_end(&c->out, mark);
    send(c, time_ms, ENTRY_EXEMPLAR);
}

static void collect_classic(struct collector *c, const struct gen_metric_state *m, struct series *s)
{
    struct histogram *h = s->histogram;
    put_labels(c, m->name, "_count", STR(""));
    if (s->fresh)
        put_sample(c, 0, c->zero_ms);
    put_sample(c, h->count, c->now_ms);
    put_labels(c, m->name, "_sum", STR(""));
    put_sample(c, h->sum, c->now_ms);
    double total = 0;
    for (uint32_t i = 0; i <= m->n_bounds; i++) {
        total += h->buckets[i];
        buf_reset(&c->le);
        format_float_f(&c->le, i < m->n_bounds ? m->bounds[i] : (double)INFINITY);
        put_labels(c, m->name, "_bucket", buf_str(&c->le));
        if (s->fresh)
            put_sample(c, 0, c->zero_ms);
        put_sample(c, total, c->now_ms);
        if (h->exemplars[i].set)
            put_exemplar(c, &h->exemplars[i].trace, h->exemplars[i].value, c->now_ms);
        h->exemplars[i].set = false;
    }
}

static void collect_native(struct collector *c, const struct gen_metric_state *m, struct series *s)
{
    static const struct native empty;
    struct native *n = s->histogram->native;
    put_labels(c, m->name, "", STR(""));
    if (s->fresh) {
        struct native zero = empty;
        zero.schema = n->schema;
        size_t mark = pb_begin(&c->out, TS_HISTOGRAMS);
        native_encode(&zero, c->zero_ms, &c->out);
        pb_end(&c->out, mark);
        send(c, c->zero_ms, ENTRY_HISTOGRAM);
    }
    size_t mark = pb_begin(&c->out, TS_HISTOGRAMS);
    native_encode(n, c->now_ms, &c->out);
    pb_end(&c->out, mark);
    send(c, c->now_ms, ENTRY_HISTOGRAM);
    if (m->histograms != GENERATOR_NATIVE) /* the classic buckets carry them */
        return;
    for (uint32_t i = 0; i < n->n_exemplars; i++)
        put_exemplar(c, &n->exemplars[i].trace, n->exemplars[i].value, c->now_ms);
    n->n_exemplars = 0;
}

static void collect_series(struct collector *c, struct series *s)
{
    const struct gen_metric_state *m = &c->r->metrics[s->metric];
    if (m->type == TYPE_HISTOGRAM) {
        if (m->histograms & GENERATOR_CLASSIC)
            collect_classic(c, m, s);
        if (m->histograms & GENERATOR_NATIVE)
            collect_native(c, m, s);
    } else {
        put_labels(c, m->name, "", STR(""));
        if (s->fresh && m->type == TYPE_COUNTER)
            put_sample(c, 0, c->zero_ms);
        put_sample(c, s->value, c->now_ms);
    }
    s->fresh = false;
}

static void collect_entity(struct collector *c, struct entity *e)
{
    merge_labels(c, e);
    for (struct series *s = e->series; s != NULL; s = s->next)
        collect_series(c, s);
}

bool registry_collect(struct registry *r, struct registry_collection *x,
    bool (*emit)(void *ctx, const struct generator_entry *e), void *ctx)
{
    if (!x->begun) {
        x->begun = true;
        x->next = r->first;
        x->last = r->last;
        x->rest = x->next == NULL;
        x->n_sweeps = r->n_sweeps;
    }
    ASSERT(x->n_sweeps == r->n_sweeps); /* x->next is still there */
    struct collector c = {.r = r,
        .emit = emit,
        .ctx = ctx,
        .now_ms = x->now_ms,
        .zero_ms = x->now_ms - x->now_ms % 60000 - 1000};
    while (!x->rest && !c.enough) {
        struct entity *e = x->next;
        collect_entity(&c, e);
        x->next = e->next;
        x->rest = e == x->last;
    }
    bool all = x->rest && !c.enough;
    if (all && r->overflow != NULL)
        collect_entity(&c, r->overflow);
    buf_deinit(&c.out);
    buf_deinit(&c.name);
    buf_deinit(&c.le);
    return !all;
}
