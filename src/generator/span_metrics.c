/* SPDX-License-Identifier: Apache-2.0
 * span-metrics: calls, latency and size by service, name, kind, status and configured dimensions;
 * target_info by resource. What depends on the resource alone is worked out once for its spans. */
#include <stdlib.h>

#include "processors.h"

struct mapping {
    struct str label, join;
    struct str *sources;
    size_t n;
};

struct span_metrics {
    struct processor_env *env;
    struct policies *policies;
    struct arena arena; /* what was copied of the settings */
    struct generator_span_metrics cfg;
    uint32_t parts; /* bits of enum generator_processor */
    struct str *dimensions, *dimension_labels;
    struct mapping *mappings;
    /* of the resource at hand */
    struct attr_list resource;
    struct str service, job, instance;
    struct arena text; /* of service, job, instance, target_info */
    struct labels target_info;
    bool has_target_info;
};

static const struct str intrinsic_names[] = {{"service", 7}, {"span_name", 9}, {"span_kind", 9},
    {"status_code", 11}, {"status_message", 14}};
static const struct str target_names[] = {{"service", 7}, {"span_name", 9}, {"span_kind", 9},
    {"status_code", 11}, {"status_message", 14}, {"job", 3}, {"instance", 8}};

/* A sanitized name that does not collide with one of ours. */
static struct str label_of(struct arena *a, struct str name, const struct str *taken, size_t n)
{
    struct str s = label_name_sanitize(a, name);
    for (size_t i = 0; i < n; i++) {
        if (!str_eq(s, taken[i]))
            continue;
        char *p = arena_alloc(a, s.n + 2);
        if (p == NULL)
            return s;
        memcpy(p, "__", 2);
        memcpy(p + 2, s.p, s.n);
        return str_n(p, s.n + 2);
    }
    return s;
}

/* A mapping's label must differ from the intrinsic dimensions that are on, the dimensions and the
 * other mappings: Tempo refuses the configuration otherwise. */
static enum ec check_mapping(const struct span_metrics *p, size_t m, struct err *err)
{
    const bool on[] = {p->cfg.service, p->cfg.span_name, p->cfg.span_kind, p->cfg.status_code,
        p->cfg.status_message};
    struct str label = p->mappings[m].label;
    const char *with = NULL;
    for (size_t i = 0; i < ARRAY_LEN(intrinsic_names); i++)
        if (on[i] && str_eq(label, intrinsic_names[i]))
            with = "an intrinsic dimension";
    for (size_t i = 0; i < p->cfg.dimensions.n; i++)
        if (str_eq(label, p->dimension_labels[i]))
            with = "a dimension";
    for (size_t i = 0; i < m; i++)
        if (str_eq(label, p->mappings[i].label))
            with = "another dimension mapping";
    if (with == NULL)
        return EC_OK;
    return ERR(err, EC_INVALID,
        "dimension_mapping \"" STR_FMT "\" produces label \"" STR_FMT "\" which collides with %s",
        STR_ARG(p->cfg.mappings[m].name), STR_ARG(label), with);
}

static struct str *copy_strs(struct arena *a, struct generator_strs in)
{
    struct str *out = ARENA_ARRAY(a, in.n, struct str);
    for (size_t i = 0; i < in.n; i++)
        out[i] = arena_str(a, in.p[i]);
    return out;
}

/* The arena has no budget: settings are the operator's and small. */
static enum ec copy_settings(
    struct span_metrics *p, const struct generator_span_metrics *in, struct err *err)
{
    struct arena *a = &p->arena;
    p->cfg.multiplier_key = arena_str(a, in->multiplier_key);
    p->dimensions = copy_strs(a, in->dimensions);
    p->dimension_labels = ARENA_ARRAY(a, in->dimensions.n, struct str);
    for (size_t i = 0; i < in->dimensions.n; i++)
        p->dimension_labels[i] =
            label_of(a, p->dimensions[i], intrinsic_names, ARRAY_LEN(intrinsic_names));
    p->cfg.target_info_excluded.p = copy_strs(a, in->target_info_excluded);
    p->mappings = ARENA_ARRAY(a, in->n_mappings, struct mapping);
    for (size_t i = 0; i < in->n_mappings; i++) {
        p->mappings[i] = (struct mapping){
            .label = label_of(a, in->mappings[i].name, intrinsic_names, ARRAY_LEN(intrinsic_names)),
            .join = arena_str(a, in->mappings[i].join),
            .sources = copy_strs(a, in->mappings[i].sources),
            .n = in->mappings[i].sources.n,
        };
        TRY(check_mapping(p, i, err));
    }
    p->cfg.mappings = NULL; /* the caller's; ours are p->mappings */
    return EC_OK;
}

enum ec span_metrics_new(const struct generator_settings *s, struct processor_env *env,
    struct span_metrics **ret, struct err *err)
{
    struct span_metrics *p = xcalloc(1, sizeof(*p));
    p->cfg = s->span_metrics;
    p->parts = s->processors & GENERATOR_SPAN_METRICS;
    arena_init(&p->arena, NULL, 0);
    arena_init(&p->text, NULL, 0);
    labels_init(&p->target_info);
    enum ec ec = copy_settings(p, &s->span_metrics, err);
    if (ec == EC_OK)
        ec = policies_new(&s->span_metrics.filter, &p->policies, err);
    if (ec != EC_OK) {
        span_metrics_free(p);
        return ec;
    }
    p->env = env;
    struct registry *r = env->registry;
    const struct generator_bounds none = {0};
    if (p->parts & GENERATOR_SPAN_METRICS_COUNT)
        registry_metric_on(r, METRIC_CALLS, STR("traces_spanmetrics_calls_total"), none, 0);
    if (p->parts & GENERATOR_SPAN_METRICS_LATENCY)
        registry_metric_on(r, METRIC_LATENCY, STR("traces_spanmetrics_latency"),
            s->span_metrics.bounds, s->histograms);
    if (p->parts & GENERATOR_SPAN_METRICS_SIZE)
        registry_metric_on(r, METRIC_SIZE, STR("traces_spanmetrics_size_total"), none, 0);
    if (p->cfg.target_info)
        registry_metric_on(r, METRIC_TARGET_INFO, STR("traces_target_info"), none, 0);
    *ret = p;
    return EC_OK;
}

void span_metrics_free(struct span_metrics *p)
{
    if (p == NULL)
        return;
    if (p->env != NULL)
        for (unsigned m = METRIC_CALLS; m <= METRIC_TARGET_INFO; m++)
            registry_metric_off(p->env->registry, m);
    policies_free(p->policies);
    labels_deinit(&p->target_info);
    arena_deinit(&p->text);
    arena_deinit(&p->arena);
    free(p);
}

static struct str resource_text(struct span_metrics *p, const char *key)
{
    const struct value *v = attr_find(p->resource, str_from(key));
    return v == NULL ? STR("") : value_text(v, &p->text);
}

static bool target_info_skips(const struct span_metrics *p, struct str key)
{
    if (key.n == 0 || (key.p[0] >= '0' && key.p[0] <= '9') || str_eqz(key, "service.name") ||
        str_eqz(key, "service.namespace") || str_eqz(key, "service.instance.id"))
        return true;
    for (size_t i = 0; i < p->cfg.target_info_excluded.n; i++)
        if (str_eq(key, p->cfg.target_info_excluded.p[i]))
            return true;
    return false;
}

static void add_target_labels(struct span_metrics *p)
{
    labels_begin(&p->target_info, p->env->label_name_max, p->env->label_value_max);
    for (uint32_t i = 0; i < p->resource.n; i++) {
        const struct attr *a = &p->resource.p[i];
        if (target_info_skips(p, a->key))
            continue;
        labels_add(&p->target_info,
            label_of(&p->text, a->key, target_names, ARRAY_LEN(target_names)),
            value_text(&a->value, &p->text));
    }
    uint32_t others = p->target_info.n, identifying = 0;
    if (p->job.n > 0)
        labels_add(&p->target_info, STR("job"), p->job), identifying++;
    if (p->instance.n > 0 && p->cfg.instance_label)
        labels_add(&p->target_info, STR("instance"), p->instance), identifying++;
    p->has_target_info = identifying > 0 && others > 0;
}

void span_metrics_resource(struct span_metrics *p, struct attr_list resource)
{
    p->resource = resource;
    if (p->text.chunk != NULL)
        arena_reset(&p->text);
    p->has_target_info = false;
    p->job = p->instance = STR("");
    p->service = resource_text(p, "service.name");
    if (!p->cfg.target_info)
        return;
    struct str space = resource_text(p, "service.namespace");
    p->instance = resource_text(p, "service.instance.id");
    p->job = p->service;
    if (p->service.n > 0 && space.n > 0)
        p->job = str_from(
            arena_printf(&p->text, STR_FMT "/" STR_FMT, STR_ARG(space), STR_ARG(p->service)));
    add_target_labels(p);
}

/* Non-empty values joined. */
static struct str mapping_value(const struct mapping *m, const struct span_view *s, struct arena *a)
{
    struct buf joined = BUF_INIT;
    for (size_t i = 0; i < m->n; i++) {
        struct str v = span_attr_text(s, m->sources[i], a);
        if (v.n > 0 && joined.n > 0)
            buf_puts(&joined, m->join);
        buf_puts(&joined, v);
    }
    struct str text = arena_str(a, buf_str(&joined));
    buf_deinit(&joined);
    return text;
}

static void add_labels(struct span_metrics *p, const struct span_view *s, char number[2][12])
{
    struct labels *l = &p->env->labels;
    if (p->cfg.service)
        labels_add(l, intrinsic_names[0], p->service);
    if (p->cfg.span_name)
        labels_add(l, intrinsic_names[1], s->span->name);
    if (p->cfg.span_kind)
        labels_add(l, intrinsic_names[2], span_kind_name(s->span->kind, number[0]));
    if (p->cfg.status_code)
        labels_add(l, intrinsic_names[3], span_status_name(s->span->status_code, number[1]));
    if (p->cfg.status_message)
        labels_add(l, intrinsic_names[4], s->span->status_message);
    for (size_t i = 0; i < p->cfg.dimensions.n; i++)
        labels_add(l, p->dimension_labels[i], span_attr_text(s, p->dimensions[i], &l->text));
    for (size_t i = 0; i < p->cfg.n_mappings; i++)
        labels_add(l, p->mappings[i].label, mapping_value(&p->mappings[i], s, &l->text));
    if (p->cfg.target_info && p->job.n > 0)
        labels_add(l, STR("job"), p->job);
    if (p->cfg.target_info && p->cfg.instance_label && p->instance.n > 0)
        labels_add(l, STR("instance"), p->instance);
}

/* What Tempo measures has gone through a second encoding, in which a missing parent takes no
 * bytes. */
static double span_size(const struct batch_span *s)
{
    return s->canonical_bytes - (s->parent_id == 0 ? 2.0 : 0.0);
}

/* False: not UTF-8. */
static bool observe(struct span_metrics *p, const struct span_view *s, int64_t now_ms)
{
    struct registry *r = p->env->registry;
    const struct labels *l = &p->env->labels;
    struct entity *e = registry_find(r, l);
    if (e == NULL && !labels_valid(l)) {
        metric_inc(p->env->counters->span_metrics_utf8);
        return false;
    }
    double times = span_multiplier(s, p->cfg.multiplier_key, p->cfg.tracestate_multiplier);
    if (p->parts & GENERATOR_SPAN_METRICS_COUNT)
        registry_add(r, METRIC_CALLS, l, &e, times, now_ms);
    if (p->parts & GENERATOR_SPAN_METRICS_LATENCY)
        registry_observe(
            r, METRIC_LATENCY, l, &e, span_seconds(s->span), times, &s->span->trace_id, now_ms);
    if (p->parts & GENERATOR_SPAN_METRICS_SIZE)
        registry_add(r, METRIC_SIZE, l, &e, span_size(s->span), now_ms);
    return true;
}

void span_metrics_span(struct span_metrics *p, const struct span_view *s, int64_t now_ms)
{
    char number[2][12];
    if (!policies_keep(p->policies, s)) {
        metric_inc(p->env->counters->span_metrics_filtered);
        return;
    }
    labels_begin(&p->env->labels, p->env->label_name_max, p->env->label_value_max);
    add_labels(p, s, number);
    processor_labels_close(p->env, now_ms);
    if (!observe(p, s, now_ms) || !p->has_target_info)
        return;
    labels_close(&p->target_info);
    struct entity *e = registry_find(p->env->registry, &p->target_info);
    if (e == NULL && !labels_valid(&p->target_info)) {
        metric_inc(p->env->counters->span_metrics_utf8);
        p->has_target_info = false; /* one count a resource is enough */
        return;
    }
    registry_gauge(p->env->registry, METRIC_TARGET_INFO, &p->target_info, &e, 1, now_ms);
}
