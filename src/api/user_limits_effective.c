/* SPDX-License-Identifier: Apache-2.0
 * scope=merged of /api/overrides: what holds for a tenant in the end, in the form in which a tenant
 * sets it. */
#include <stdlib.h>

#include "json_out.h"
#include "query/format.h"
#include "user_limits_json.h"

static void put_texts(struct buf *b, bool *first, const char *key, const char *const *list)
{
    json_key(b, first, key);
    buf_putc(b, '[');
    for (size_t i = 0; list != NULL && list[i] != NULL; i++) {
        buf_putz(b, i == 0 ? "" : ",");
        json_str(b, str_from(list[i]));
    }
    buf_putc(b, ']');
}

static void put_numbers(struct buf *b, bool *first, const char *key, struct config_floats f)
{
    json_key(b, first, key);
    buf_putc(b, '[');
    for (size_t i = 0; i < f.n; i++) {
        buf_putz(b, i == 0 ? "" : ",");
        json_double(b, f.p[i]);
    }
    buf_putc(b, ']');
}

static void put_bool(struct buf *b, bool *first, const char *key, bool v)
{
    json_key(b, first, key);
    buf_putz(b, v ? "true" : "false");
}

static void put_duration(struct buf *b, bool *first, const char *key, int64_t ns)
{
    char text[FORMAT_DURATION_MAX];
    json_key(b, first, key);
    json_str(b, str_n(text, format_duration(text, ns)));
}

static void put_text(struct buf *b, bool *first, const char *key, const char *text)
{
    json_key(b, first, key);
    json_str(b, str_from(text == NULL ? "" : text));
}

static void put_value(struct buf *b, const struct config_match *m)
{
    switch (m->type) {
    case CONFIG_MATCH_INT:
        buf_printf(b, "%lld", (long long)m->i);
        break;
    case CONFIG_MATCH_DOUBLE:
        json_double(b, m->d);
        break;
    case CONFIG_MATCH_BOOL:
        buf_putz(b, m->b ? "true" : "false");
        break;
    default:
        json_str(b, m->text);
    }
}

static void put_policies(struct buf *b, bool *first, struct config_policies list)
{
    static const char *const kinds[CONFIG_POLICY_KINDS] = {[CONFIG_INCLUDE] = "include",
        [CONFIG_INCLUDE_ANY] = "include_any",
        [CONFIG_EXCLUDE] = "exclude"};
    json_key(b, first, "filter_policies");
    buf_putc(b, '[');
    for (size_t i = 0; i < list.n; i++) { /* one of each kind was one policy: the same in effect */
        const struct config_policy *p = &list.p[i];
        bool inner = true;
        buf_printf(b, "%s{\"%s\":{", i == 0 ? "" : ",", kinds[p->kind]);
        put_text(b, &inner, "match_type", p->regex ? "regex" : "strict");
        json_key(b, &inner, "attributes");
        buf_putc(b, '[');
        for (size_t k = 0; k < p->n; k++) {
            buf_putz(b, k == 0 ? "{\"key\":" : ",{\"key\":");
            json_str(b, p->p[k].key);
            buf_putz(b, ",\"value\":");
            put_value(b, &p->p[k]);
            buf_putc(b, '}');
        }
        buf_putz(b, "]}}");
    }
    buf_putc(b, ']');
}

static void put_mappings(struct buf *b, bool *first, const struct config_span_metrics *m)
{
    json_key(b, first, "dimension_mappings");
    buf_putc(b, '[');
    for (size_t i = 0; i < m->n_mappings; i++) {
        bool inner = true;
        buf_putz(b, i == 0 ? "{" : ",{");
        put_text(b, &inner, "name", m->mappings[i].name);
        put_texts(b, &inner, "source_labels", m->mappings[i].sources);
        put_text(b, &inner, "join", m->mappings[i].join);
        buf_putc(b, '}');
    }
    buf_putc(b, ']');
}

/* Attributes as they were given: with their scope, and the label that was asked for. */
static void put_attribution(struct buf *b, const struct limit_lists *l)
{
    static const char *const scopes[] = {
        [LIMIT_ANY] = "", [LIMIT_RESOURCE] = "resource.", [LIMIT_SPAN] = "span."};
    bool first = true;
    buf_putz(b, "\"cost_attribution\":{");
    if (l->n_dimensions != 0)
        buf_putz(b, "\"dimensions\":{");
    for (size_t i = 0; i < l->n_dimensions; i++) {
        const struct limit_dimension *d = &l->dimensions[i];
        struct buf key = BUF_INIT;
        buf_putz(&key, scopes[d->scope]);
        buf_puts(&key, d->attribute);
        buf_putz(b, first ? "" : ",");
        json_str(b, buf_str(&key));
        buf_putc(b, ':');
        json_str(b, d->label);
        buf_deinit(&key);
        first = false;
    }
    buf_putz(b, l->n_dimensions != 0 ? "}}" : "}");
}

static void put_processors(struct buf *b, const struct config_processors *p)
{
    const struct config_service_graphs *s = &p->service_graphs;
    const struct config_span_metrics *m = &p->span_metrics;
    bool first = true;
    buf_putz(b, ",\"processor\":{\"service_graphs\":{");
    put_texts(b, &first, "dimensions", s->dimensions);
    put_bool(b, &first, "enable_client_server_prefix", s->prefix);
    put_bool(b, &first, "enable_messaging_system_latency_histogram", s->messaging_latency);
    put_bool(b, &first, "enable_virtual_node_label", s->virtual_node_label);
    put_texts(b, &first, "peer_attributes", s->peer_attributes);
    put_policies(b, &first, s->policies);
    put_numbers(b, &first, "histogram_buckets", s->buckets);
    put_text(b, &first, "span_multiplier_key", s->multiplier_key);
    put_bool(b, &first, "enable_tracestate_span_multiplier", s->tracestate_multiplier);
    buf_putz(b, "},\"span_metrics\":{");
    first = true;
    put_texts(b, &first, "dimensions", m->dimensions);
    json_key(b, &first, "intrinsic_dimensions");
    buf_putc(b, '{');
    bool inner = true;
    put_bool(b, &inner, "service", m->service);
    put_bool(b, &inner, "span_kind", m->span_kind);
    put_bool(b, &inner, "span_name", m->span_name);
    put_bool(b, &inner, "status_code", m->status_code);
    put_bool(b, &inner, "status_message", m->status_message);
    buf_putc(b, '}');
    put_mappings(b, &first, m);
    put_bool(b, &first, "enable_target_info", m->target_info);
    put_policies(b, &first, m->policies);
    put_numbers(b, &first, "histogram_buckets", m->buckets);
    put_texts(b, &first, "target_info_excluded_dimensions", m->target_info_excluded);
    put_bool(b, &first, "enable_instance_label", m->instance_label);
    put_text(b, &first, "span_multiplier_key", m->multiplier_key);
    put_bool(b, &first, "enable_tracestate_span_multiplier", m->tracestate_multiplier);
    buf_putz(b, "},\"host_info\":{");
    first = true;
    put_texts(b, &first, "host_identifiers", p->host_identifiers);
    put_text(b, &first, "metric_name", p->host_metric);
    buf_putz(b, "}}");
}

void user_limits_json_effective(
    const struct config_tenant_generator *g, const struct limit_lists *l, struct buf *b)
{
    bool first = true;
    buf_putz(b, "{\"forwarders\":[");
    for (size_t i = 0; i < l->n_forwarders; i++) {
        buf_putz(b, i == 0 ? "" : ",");
        json_str(b, l->forwarders[i]);
    }
    buf_putz(b, "],");
    put_attribution(b, l);
    buf_putz(b, ",\"metrics_generator\":{");
    put_texts(b, &first, "processors", g->processor_names);
    put_bool(b, &first, "disable_collection", g->disable_collection);
    put_duration(b, &first, "collection_interval", g->collection_interval);
    put_text(b, &first, "trace_id_label_name", g->trace_id_label);
    put_duration(b, &first, "ingestion_time_range_slack", g->slack);
    put_text(b, &first, "generate_native_histograms", g->native_histograms);
    json_key(b, &first, "native_histogram_max_bucket_number");
    json_u64(b, g->native_buckets_max);
    json_key(b, &first, "native_histogram_bucket_factor");
    json_double(b, g->native_bucket_factor);
    put_duration(b, &first, "native_histogram_min_reset_duration", g->native_min_reset);
    if (g->span_name_sanitization != NULL && g->span_name_sanitization[0] != 0)
        put_text(b, &first, "span_name_sanitization", g->span_name_sanitization);
    put_processors(b, &g->processors);
    buf_putz(b, "}}");
}
