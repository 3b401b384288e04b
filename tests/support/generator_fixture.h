/* SPDX-License-Identifier: Apache-2.0
 * A generator with settings that a test changes, batches of spans from a short description, and
 * what a collection emits as sorted lines: name{a="b",...} value. */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "generator/generator.h"
#include "model/otlp_write.h"
#include "unit.h"

#define GF_LINES 4096

struct gen_fixture {
    struct generator *g;
    struct budget budget;
    struct generator_settings settings;
    enum ec refuse; /* what the settings callback answers */
    struct buf text;
    char *lines[GF_LINES];
    size_t n_lines, n_collections;
    bool unsorted_labels;
    bool lose; /* emit says that not all was kept */
};

/* ---- reading entries ---- */
struct gf_field {
    uint32_t number;
    uint64_t v;
    struct str s;
};

static inline bool gf_next(struct str *in, struct gf_field *f)
{
    const uint8_t *p = (const uint8_t *)in->p, *end = p + in->n;
    uint64_t tag, n;
    if (in->n == 0)
        return false;
    p = varint_get(p, end, &tag);
    assert_non_null(p);
    *f = (struct gf_field){.number = (uint32_t)(tag >> 3)};
    switch (tag & 7) {
    case PB_VARINT:
        p = varint_get(p, end, &f->v);
        assert_non_null(p);
        break;
    case PB_FIXED64:
        f->v = get_u64le(p);
        p += 8;
        break;
    default:
        assert_int_equal(tag & 7, PB_LEN);
        p = varint_get(p, end, &n);
        f->s = str_n((const char *)p, n);
        p += n;
    }
    *in = str_n((const char *)p, (size_t)(end - p));
    return true;
}

static inline double gf_double(uint64_t v)
{
    double d;
    memcpy(&d, &v, 8);
    return d;
}

static inline void gf_put_point(struct gen_fixture *x, uint32_t kind, struct str point)
{
    struct gf_field f;
    if (kind == 4) { /* a native histogram: count, sum, schema, zeros, spans and deltas */
        while (gf_next(&point, &f)) {
            if (f.number == 1 || f.number == 6)
                buf_printf(&x->text, " %s=%llu", f.number == 1 ? "count" : "zero",
                    (unsigned long long)f.v);
            if (f.number == 3)
                buf_printf(&x->text, " sum=%g", gf_double(f.v));
            if (f.number == 4)
                buf_printf(&x->text, " schema=%lld", (long long)zigzag_decode(f.v));
            if (f.number == 11) {
                struct gf_field o = {0}, l = {0}, g;
                while (gf_next(&f.s, &g))
                    *(g.number == 1 ? &o : &l) = g;
                buf_printf(&x->text, " span=%lld+%llu", (long long)zigzag_decode(o.v),
                    (unsigned long long)l.v);
            }
            if (f.number == 12) {
                const uint8_t *p = (const uint8_t *)f.s.p, *end = p + f.s.n;
                uint64_t v;
                buf_putz(&x->text, " deltas=");
                while (p < end && (p = varint_get(p, end, &v)) != NULL)
                    buf_printf(&x->text, "%lld,", (long long)zigzag_decode(v));
            }
        }
        return;
    }
    double v = 0;
    while (gf_next(&point, &f)) {
        if (f.number == (kind == 2 ? 1u : 2u))
            v = gf_double(f.v);
        if (kind == 3 && f.number == 1) {
            struct gf_field name, value;
            assert_true(gf_next(&f.s, &name) && gf_next(&f.s, &value));
            buf_printf(&x->text, " #" STR_FMT "=" STR_FMT, STR_ARG(name.s), STR_ARG(value.s));
        }
    }
    buf_printf(&x->text, " %.6g", v);
}

static bool gf_emit(void *ctx, struct str tenant, const struct generator_entry *e)
{
    struct gen_fixture *x = ctx;
    (void)tenant;
    if (e == NULL) {
        x->n_collections++;
        return !x->lose;
    }
    struct str in = str_of_bytes(e->series), name = {0}, last = {0};
    struct gf_field f, k, v;
    buf_reset(&x->text);
    struct buf labels = BUF_INIT;
    while (gf_next(&in, &f)) {
        if (f.number != 1) {
            buf_puts(&x->text, name);
            buf_printf(&x->text, "{" STR_FMT "}", (int)labels.n, (const char *)labels.p);
            gf_put_point(x, f.number, f.s);
            continue;
        }
        assert_true(gf_next(&f.s, &k) && gf_next(&f.s, &v));
        x->unsorted_labels |= last.p != NULL && str_cmp(last, k.s) >= 0;
        last = k.s;
        if (str_eqz(k.s, "__name__"))
            name = v.s;
        else if (!str_eqz(k.s, "__metrics_gen_instance"))
            buf_printf(&labels, "%s" STR_FMT "=\"" STR_FMT "\"", labels.n == 0 ? "" : ",",
                STR_ARG(k.s), STR_ARG(v.s));
    }
    buf_deinit(&labels);
    assert_true(x->n_lines < GF_LINES);
    x->lines[x->n_lines++] = xstrndup((const char *)x->text.p, x->text.n);
    return true;
}

/* ---- the generator ---- */
static const double gf_span_bounds[] = {0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256,
    0.512, 1.024, 2.048, 4.096, 8.192, 16.384};
static const double gf_graph_bounds[] = {0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8};
static const struct str gf_peers[] = {{"peer.service", 12}, {"db.name", 7}, {"db.system", 9}};
static const struct str gf_databases[] = {{"db.namespace", 12}, {"db.name", 7}, {"db.system", 9}};
static const struct str gf_hosts[] = {{"k8s.node.name", 13}, {"host.id", 7}};

static enum ec gf_settings(
    void *ctx, struct str tenant, struct arena *a, struct generator_settings *ret, struct err *err)
{
    struct gen_fixture *x = ctx;
    (void)tenant, (void)a;
    if (x->refuse != EC_OK)
        return ERR(err, x->refuse, "no settings");
    *ret = x->settings;
    return EC_OK;
}

static inline void gf_init(struct gen_fixture *x, uint32_t processors)
{
    struct err err = {0};
    *x = (struct gen_fixture){
        .settings = {.processors = processors,
            .span_metrics = {.bounds = {gf_span_bounds, ARRAY_LEN(gf_span_bounds)},
                .service = true,
                .span_name = true,
                .span_kind = true,
                .status_code = true,
                .instance_label = true},
            .service_graphs = {.wait_ns = 10 * NS_PER_S,
                .max_items = 10000,
                .bounds = {gf_graph_bounds, ARRAY_LEN(gf_graph_bounds)},
                .peer_attributes = {gf_peers, ARRAY_LEN(gf_peers)},
                .database_attributes = {gf_databases, ARRAY_LEN(gf_databases)}},
            .host_info = {.identifiers = {gf_hosts, ARRAY_LEN(gf_hosts)},
                .metric_name = STR("traces_host_info")},
            .histograms = GENERATOR_CLASSIC,
            .native_factor = 1.1,
            .native_buckets_max = 100,
            .native_min_reset_ns = 900 * NS_PER_S,
            .label_name_max = 1024,
            .label_value_max = 2048,
            .slack_ns = 30 * NS_PER_S,
            .collection_interval_ns = 0,
            .stale_ns = 900 * NS_PER_S}};
    budget_init(&x->budget, NULL, "generator", 0);
    const struct generator_options opt = {
        .settings = gf_settings, .emit = gf_emit, .ctx = x, .budget = &x->budget};
    assert_ok(generator_new(&opt, &x->g, &err), err);
}

static inline void gf_clear(struct gen_fixture *x)
{
    while (x->n_lines > 0)
        free(x->lines[--x->n_lines]);
}

static inline void gf_deinit(struct gen_fixture *x)
{
    assert_false(x->unsorted_labels);
    gf_clear(x);
    buf_deinit(&x->text);
    generator_free(x->g);
    assert_int_equal(budget_used(&x->budget), 0); /* every byte was given back */
    budget_deinit(&x->budget);
}

static inline void gf_collect(struct gen_fixture *x)
{
    gf_clear(x);
    generator_tick(x->g);
}

/* The lines that begin so, first to last as emitted; NULL past them. */
static inline const char *gf_line(const struct gen_fixture *x, const char *prefix, size_t nth)
{
    for (size_t i = 0; i < x->n_lines; i++)
        if (strncmp(x->lines[i], prefix, strlen(prefix)) == 0 && nth-- == 0)
            return x->lines[i];
    return NULL;
}

static inline size_t gf_count(const struct gen_fixture *x, const char *prefix)
{
    size_t n = 0;
    while (gf_line(x, prefix, n) != NULL)
        n++;
    return n;
}

/* Exactly this line was emitted. */
static inline void gf_has(const struct gen_fixture *x, const char *line)
{
    for (size_t i = 0; i < x->n_lines; i++)
        if (strcmp(x->lines[i], line) == 0)
            return;
    for (size_t i = 0; i < x->n_lines; i++)
        print_message("  %s\n", x->lines[i]);
    fail_msg("not emitted: %s", line);
}

/* ---- spans ---- */
struct gf_attr {
    const char *key, *text; /* text NULL: the number */
    double number;
};
struct gf_span {
    uint8_t trace;
    uint64_t id, parent;
    const char *name, *tracestate;
    size_t name_n; /* 0: strlen */
    int kind, status;
    double seconds;
    int64_t ended_ago_ns;
    struct gf_attr attrs[6];
};

static inline void gf_put_attrs(struct buf *b, uint32_t field, const struct gf_attr *a, size_t max)
{
    for (size_t i = 0; i < max && a[i].key != NULL; i++) {
        struct value v = {.type = VALUE_DOUBLE, .d = a[i].number};
        if (a[i].text != NULL)
            v = (struct value){.type = VALUE_STR, .s = str_from(a[i].text)};
        pb_put_attr(b, field, str_from(a[i].key), &v);
    }
}

static inline void gf_put_span(struct buf *b, const struct gf_span *s)
{
    uint64_t end = (uint64_t)(clock_wall_ns() - s->ended_ago_ns);
    char id[16];
    size_t span = pb_begin(b, 2);
    memset(id, s->trace, 16);
    pb_put_bytes(b, 1, str_n(id, 16));
    put_u64be(id, s->id);
    pb_put_bytes(b, 2, str_n(id, 8));
    if (s->tracestate != NULL)
        pb_put_bytes(b, 3, str_from(s->tracestate));
    if (s->parent != 0) {
        put_u64be(id, s->parent);
        pb_put_bytes(b, 4, str_n(id, 8));
    }
    pb_put_bytes(b, 5, s->name_n != 0 ? str_n(s->name, s->name_n) : str_from(s->name));
    pb_put_varint(b, 6, (uint64_t)s->kind);
    pb_put_fixed64(b, 7, end - (uint64_t)(int64_t)(s->seconds * 1e9));
    pb_put_fixed64(b, 8, end);
    gf_put_attrs(b, 9, s->attrs, ARRAY_LEN(s->attrs));
    size_t status = pb_begin(b, 15);
    if (s->status != 0)
        pb_put_varint(b, 3, (uint64_t)s->status);
    pb_end(b, status);
    pb_end(b, span);
}

/* One resource with these attributes and spans. */
static inline void gf_push(struct gen_fixture *x, const struct gf_attr *resource, size_t n_resource,
    const struct gf_span *spans, size_t n)
{
    struct buf b = BUF_INIT;
    struct arena a;
    struct batch batch;
    struct err err = {0};
    size_t rs = pb_begin(&b, 1), res = pb_begin(&b, 1);
    gf_put_attrs(&b, 1, resource, n_resource);
    pb_end(&b, res);
    size_t ss = pb_begin(&b, 2);
    for (size_t i = 0; i < n; i++)
        gf_put_span(&b, &spans[i]);
    pb_end(&b, ss);
    pb_end(&b, rs);
    arena_init(&a, NULL, 0);
    assert_ok(batch_decode(&batch, buf_bytes(&b), NULL, &a, &err), err);
    generator_push(x->g, STR("t"), &batch, false);
    arena_deinit(&a);
    buf_deinit(&b);
}

/* The spans of one service. */
#define GF_PUSH(x, service, ...)                                                         \
    do {                                                                                 \
        const struct gf_span spans_[] = {__VA_ARGS__};                                   \
        const struct gf_attr resource_[] = {{.key = "service.name", .text = (service)}}; \
        gf_push((x), resource_, 1, spans_, ARRAY_LEN(spans_));                           \
    } while (0)
