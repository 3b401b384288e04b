/* SPDX-License-Identifier: Apache-2.0
 * From the configuration's structs to the generator's. Everything is copied: a tenant's entry lives
 * only as long as its snapshot of the overrides. */
#include <string.h>

#include "base/log.h"
#include "generator.h"

struct copier {
    struct arena *arena; /* no budget: files are bounded */
};

static struct str copy_z(struct copier *c, const char *s)
{
    struct str out = arena_str(c->arena, str_from(s == NULL ? "" : s));
    ASSERT(out.p != NULL);
    return out;
}

static struct generator_strs copy_list(struct copier *c, const char *const *list)
{
    size_t n = 0;
    while (list != NULL && list[n] != NULL)
        n++;
    struct str *p = ARENA_ARRAY(c->arena, n, struct str);
    ASSERT(p != NULL);
    for (size_t i = 0; i < n; i++)
        p[i] = copy_z(c, list[i]);
    return (struct generator_strs){p, n};
}

static struct generator_bounds copy_bounds(struct copier *c, struct config_floats b)
{
    double *p = ARENA_ARRAY(c->arena, b.n, double);
    ASSERT(p != NULL);
    if (b.n != 0)
        memcpy(p, b.p, b.n * sizeof(double));
    return (struct generator_bounds){p, b.n};
}

static struct value match_value(struct copier *c, const struct config_match *m)
{
    switch (m->type) {
    case CONFIG_MATCH_INT:
        return (struct value){.type = VALUE_INT, .i = m->i};
    case CONFIG_MATCH_DOUBLE:
        return (struct value){.type = VALUE_DOUBLE, .d = m->d};
    case CONFIG_MATCH_BOOL:
        return (struct value){.type = VALUE_BOOL, .b = m->b};
    default:
        return (struct value){.type = VALUE_STR, .s = arena_str(c->arena, m->text)};
    }
}

static void copy_filter(struct copier *c, struct config_policies in, struct generator_filter *out)
{
    static const enum generator_policy_kind kinds[CONFIG_POLICY_KINDS] = {
        [CONFIG_INCLUDE] = POLICY_INCLUDE,
        [CONFIG_INCLUDE_ANY] = POLICY_INCLUDE_ANY,
        [CONFIG_EXCLUDE] = POLICY_EXCLUDE};
    struct generator_policy *p[POLICY_KINDS];
    for (unsigned k = 0; k < POLICY_KINDS; k++) {
        p[k] = ARENA_ARRAY(c->arena, in.n, struct generator_policy);
        ASSERT(p[k] != NULL);
        out->p[k] = p[k];
    }
    for (size_t i = 0; i < in.n; i++) {
        const struct config_policy *from = &in.p[i];
        enum generator_policy_kind k = kinds[from->kind];
        struct generator_match *m = ARENA_ARRAY(c->arena, from->n, struct generator_match);
        ASSERT(m != NULL);
        for (size_t j = 0; j < from->n; j++) {
            m[j].key = arena_str(c->arena, from->p[j].key);
            m[j].value = match_value(c, &from->p[j]);
        }
        p[k][out->n[k]++] =
            (struct generator_policy){.regex = from->regex, .matches = m, .n = from->n};
    }
}

static void copy_span_metrics(
    struct copier *c, const struct config_span_metrics *in, struct generator_span_metrics *out)
{
    struct generator_mapping *m = ARENA_ARRAY(c->arena, in->n_mappings, struct generator_mapping);
    ASSERT(m != NULL);
    for (size_t i = 0; i < in->n_mappings; i++)
        m[i] = (struct generator_mapping){copy_z(c, in->mappings[i].name),
            copy_z(c, in->mappings[i].join), copy_list(c, in->mappings[i].sources)};
    *out = (struct generator_span_metrics){
        .bounds = copy_bounds(c, in->buckets),
        .service = in->service,
        .span_name = in->span_name,
        .span_kind = in->span_kind,
        .status_code = in->status_code,
        .status_message = in->status_message,
        .dimensions = copy_list(c, in->dimensions),
        .mappings = m,
        .n_mappings = in->n_mappings,
        .target_info = in->target_info,
        .instance_label = in->instance_label,
        .target_info_excluded = copy_list(c, in->target_info_excluded),
        .multiplier_key = copy_z(c, in->multiplier_key),
        .tracestate_multiplier = in->tracestate_multiplier,
    };
    copy_filter(c, in->policies, &out->filter);
}

static void copy_service_graphs(
    struct copier *c, const struct config_service_graphs *in, struct generator_service_graphs *out)
{
    *out = (struct generator_service_graphs){
        .wait_ns = in->wait,
        .max_items = in->max_items,
        .bounds = copy_bounds(c, in->buckets),
        .dimensions = copy_list(c, in->dimensions),
        .peer_attributes = copy_list(c, in->peer_attributes),
        .database_attributes = copy_list(c, in->database_attributes),
        .client_server_prefix = in->prefix,
        .messaging_latency = in->messaging_latency,
        .virtual_node_label = in->virtual_node_label,
        .multiplier_key = copy_z(c, in->multiplier_key),
        .tracestate_multiplier = in->tracestate_multiplier,
    };
    copy_filter(c, in->policies, &out->filter);
}

/* Names that are not known are ignored, and named each time. */
static uint32_t processor_bits(const char *const *names, struct str tenant, bool *ret_whole)
{
    static const struct {
        const char *name;
        uint32_t bits;
    } known[] = {{"span-metrics", GENERATOR_SPAN_METRICS},
        {"span-metrics-count", GENERATOR_SPAN_METRICS_COUNT},
        {"span-metrics-latency", GENERATOR_SPAN_METRICS_LATENCY},
        {"span-metrics-size", GENERATOR_SPAN_METRICS_SIZE},
        {"service-graphs", GENERATOR_SERVICE_GRAPHS}, {"host-info", GENERATOR_HOST_INFO}};
    uint32_t bits = 0;
    for (size_t i = 0; names != NULL && names[i] != NULL; i++) {
        size_t k = 0;
        while (k < ARRAY_LEN(known) && strcmp(names[i], known[k].name) != 0)
            k++;
        if (k == ARRAY_LEN(known))
            log_event(LOG_WARN, "ignoring unknown metrics-generator processor",
                LS("tenant", tenant), LZ("processor", names[i]));
        else
            bits |= known[k].bits;
        *ret_whole |= k == 0;
    }
    return bits;
}

static enum generator_histograms histograms_of(const char *mode)
{
    return strcmp(mode, "native") == 0 ? GENERATOR_NATIVE
           : strcmp(mode, "both") == 0 ? GENERATOR_BOTH
                                       : GENERATOR_CLASSIC;
}

static void copy_external(struct copier *c, const struct config_generator *g, struct str tenant,
    struct generator_settings *out)
{
    struct generator_label *l =
        ARENA_ARRAY(c->arena, g->external_labels.n + 1, struct generator_label);
    size_t n = 0;
    ASSERT(l != NULL);
    for (; n < g->external_labels.n; n++)
        l[n] = (struct generator_label){
            copy_z(c, g->external_labels.p[n].name), copy_z(c, g->external_labels.p[n].value)};
    if (g->inject_tenant_id_as[0] != 0)
        l[n++] = (struct generator_label){
            copy_z(c, g->inject_tenant_id_as), arena_str(c->arena, tenant)};
    out->external_labels = l;
    out->n_external_labels = n;
}

static enum generator_span_names span_names_from(const char *mode) /* checked by the config */
{
    return strcmp(mode, "enabled") == 0   ? SPAN_NAMES_PATTERNS
           : strcmp(mode, "dry_run") == 0 ? SPAN_NAMES_DRY_RUN
                                          : SPAN_NAMES_AS_THEY_ARE;
}

void settings_from(const struct config *config, const struct config_tenant_generator *t,
    struct str tenant, struct arena *arena, struct generator_settings *ret)
{
    const struct config_generator *g = &config->generator;
    struct copier c = {arena};
    bool whole = false;
    *ret = (struct generator_settings){
        .processors = processor_bits(t->processor_names, tenant, &whole),
        .histograms = histograms_of(t->native_histograms),
        .native_factor = t->native_bucket_factor,
        .native_buckets_max = t->native_buckets_max,
        .native_min_reset_ns = t->native_min_reset,
        .label_name_max = g->label_name_max,
        .label_value_max = g->label_value_max,
        .slack_ns = t->slack != 0 ? t->slack : g->slack,
        .collection_interval_ns =
            t->collection_interval != 0 ? t->collection_interval : g->collection_interval,
        .stale_ns = g->stale,
        .collection_disabled = t->disable_collection,
        .limiter = g->limit_entities ? GENERATOR_LIMIT_ENTITIES : GENERATOR_LIMIT_SERIES,
        .series_max = t->max_active_series,
        .entities_max = t->max_active_entities,
        .label_values_max = (uint32_t)MIN(t->max_cardinality_per_label, UINT32_MAX),
        .trace_id_label = copy_z(&c, t->trace_id_label),
        .span_names = span_names_from(t->span_name_sanitization),
    };
    copy_span_metrics(&c, &t->processors.span_metrics, &ret->span_metrics);
    if (!whole) /* as Tempo: the parts by themselves do not know of other bounds */
        ret->span_metrics.bounds = copy_bounds(&c, config_span_bounds);
    copy_service_graphs(&c, &t->processors.service_graphs, &ret->service_graphs);
    ret->host_info = (struct generator_host_info){
        copy_list(&c, t->processors.host_identifiers), copy_z(&c, t->processors.host_metric)};
    copy_external(&c, g, tenant, ret);
}
