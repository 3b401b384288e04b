/* SPDX-License-Identifier: Apache-2.0
 * metrics_generator and its overrides: lists with a default, filters, mappings, and how a tenant's
 * settings lie over the block's. */
#include <stdio.h>
#include <string.h>

#include "doc.h"

#define INIT "failed to init module services: error initialising module: metrics-generator: "

static enum ec no_memory(struct err *err)
{
    return ERR(err, EC_LIMIT, "configuration over its memory budget");
}

enum ec resolve_pairs(
    struct arena *arena, const struct node *n, struct config_pairs *ret, struct err *err)
{
    *ret = (struct config_pairs){0};
    if (node_is_null(n) || n->kind != NODE_MAP)
        return EC_OK;
    struct config_pair *p = ARENA_ARRAY(arena, n->n, struct config_pair);
    for (uint32_t i = 0; p != NULL && i < n->n; i++) {
        p[i].name = arena_strz(arena, n->pairs[i].key);
        p[i].value = arena_strz(arena, n->pairs[i].value->s);
        if (p[i].name == NULL || p[i].value == NULL)
            p = NULL;
    }
    if (p == NULL)
        return no_memory(err);
    *ret = (struct config_pairs){p, n->n};
    return EC_OK;
}

/* ---- filter policies ---- */

static enum ec read_key(struct str key, struct err *err)
{
    static const char *const intrinsics[] = {"kind", "name", "status"};
    for (size_t i = 0; i < ARRAY_LEN(intrinsics); i++)
        if (str_eqz(key, intrinsics[i]))
            return EC_OK;
    if ((str_starts(key, STR("resource.")) && key.n > 9) ||
        (str_starts(key, STR("span.")) && key.n > 5))
        return EC_OK;
    return ERR(err, EC_INVALID,
        "unsupported intrinsic: " STR_FMT "; supported intrinsics: [\"kind\" \"name\" \"status\"]",
        (int)MIN(key.n, 80), key.p);
}

/* What YAML makes of a value without a type: a bool, a number, or text. */
static void read_value(const struct node *n, struct config_match *m)
{
    struct value v;
    char problem[PROBLEM_MAX];
    m->text = n == NULL ? STR("") : n->s;
    if (n == NULL || !n->plain || n->s.n == 0)
        return;
    if (str_eqz(n->s, "true") || str_eqz(n->s, "false")) {
        m->type = CONFIG_MATCH_BOOL;
        m->b = n->s.p[0] == 't';
    } else if (memchr(n->s.p, '.', n->s.n) == NULL && value_parse(KT_INT, n, &v, problem)) {
        m->type = CONFIG_MATCH_INT;
        m->i = v.i;
    } else if (value_parse(KT_FLOAT, n, &v, problem)) {
        m->type = CONFIG_MATCH_DOUBLE;
        m->d = v.f;
    }
}

static enum ec read_match(
    struct arena *arena, const struct node *n, struct config_policy *ret, struct err *err)
{
    const struct node *type = node_get(n, STR("match_type"));
    const struct node *list = node_get(n, STR("attributes"));
    struct str text = node_is_null(type) ? STR("") : type->s;
    ret->regex = str_eqz(text, "regex");
    if (!ret->regex && !str_eqz(text, "strict"))
        return ERR(err, EC_INVALID, "invalid match type: " STR_FMT, (int)MIN(text.n, 40), text.p);
    if (node_is_null(list))
        return EC_OK;
    struct config_match *m = ARENA_ARRAY(arena, list->n, struct config_match);
    if (m == NULL)
        return no_memory(err);
    for (uint32_t i = 0; i < list->n; i++) {
        const struct node *key = node_get(list->items[i], STR("key"));
        const struct node *value = node_get(list->items[i], STR("value"));
        m[i].key = node_is_null(key) ? STR("") : key->s;
        TRY(read_key(m[i].key, err));
        if (value != NULL && value->kind != NODE_SCALAR)
            return ERR(err, EC_INVALID, "filter policy: the value of " STR_FMT " is no scalar",
                (int)MIN(m[i].key.n, 80), m[i].key.p);
        read_value(value, &m[i]);
    }
    ret->p = m;
    ret->n = list->n;
    return EC_OK;
}

static enum ec read_policies(
    struct arena *arena, const struct node *list, struct config_policies *ret, struct err *err)
{
    static const char *const names[CONFIG_POLICY_KINDS] = {"include", "include_any", "exclude"};
    *ret = (struct config_policies){0};
    if (node_is_null(list))
        return EC_OK;
    struct config_policy *p =
        ARENA_ARRAY(arena, (size_t)list->n * CONFIG_POLICY_KINDS, struct config_policy);
    size_t n = 0;
    if (p == NULL)
        return no_memory(err);
    for (uint32_t i = 0; i < list->n; i++) {
        size_t before = n;
        for (unsigned k = 0; k < CONFIG_POLICY_KINDS; k++) {
            const struct node *one = node_get(list->items[i], str_from(names[k]));
            if (node_is_null(one))
                continue;
            p[n].kind = (enum config_policy_kind)k;
            enum ec ec = read_match(arena, one, &p[n++], err);
            if (ec != EC_OK)
                return err_prefix(err, "invalid %s policy", names[k]);
        }
        if (n == before)
            return ERR(err, EC_INVALID,
                "invalid filter policy; policies must have at least an `include`, `includeAny` or `exclude`");
    }
    *ret = (struct config_policies){p, n};
    return EC_OK;
}

/* ---- processors ---- */

static enum ec read_mappings(
    struct arena *arena, struct config_span_metrics *m, const struct node *list, struct err *err)
{
    m->mappings = NULL;
    m->n_mappings = 0;
    if (node_is_null(list))
        return EC_OK;
    struct config_mapping *p = ARENA_ARRAY(arena, list->n, struct config_mapping);
    if (p == NULL)
        return no_memory(err);
    for (uint32_t i = 0; i < list->n; i++) {
        const struct node *item = list->items[i], *sources = node_get(item, STR("source_labels"));
        const struct node *name = node_get(item, STR("name")), *join = node_get(item, STR("join"));
        size_t n = node_is_null(sources) ? 0 : sources->n;
        const char **s = ARENA_ARRAY(arena, n + 1, const char *);
        p[i].name = arena_strz(arena, node_is_null(name) ? STR("") : name->s);
        p[i].join = arena_strz(arena, node_is_null(join) ? STR("") : join->s);
        if (s == NULL || p[i].name == NULL || p[i].join == NULL)
            return no_memory(err);
        for (size_t k = 0; k < n; k++)
            if ((s[k] = arena_strz(arena, sources->items[k]->s)) == NULL)
                return no_memory(err);
        p[i].sources = s;
    }
    m->mappings = p;
    m->n_mappings = list->n;
    return EC_OK;
}

static enum ec check_buckets(const struct config_floats *b, const char *of, struct err *err)
{
    for (size_t i = 1; i < b->n; i++)
        if (!(b->p[i] > b->p[i - 1]))
            return ERR(err, EC_INVALID,
                "metrics_generator.processor.%s.histogram_buckets must be strictly increasing: bucket[%zu]=%g is <= bucket[%zu]=%g",
                of, i, b->p[i], i - 1, b->p[i - 1]);
    return EC_OK;
}

static enum ec resolve_processors(struct arena *arena, struct config_processors *p, struct err *err)
{
    struct config_service_graphs *g = &p->service_graphs;
    struct config_span_metrics *m = &p->span_metrics;
    TRY(check_buckets(&g->buckets, "service_graphs", err));
    TRY(check_buckets(&m->buckets, "span_metrics", err));
    TRY(read_policies(arena, g->policies_node, &g->policies, err));
    TRY(read_policies(arena, m->policies_node, &m->policies, err));
    return read_mappings(arena, m, m->mappings_node, err);
}

/* ---- tenants ---- */

static bool one_of(const char *s, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(s, list[i]) == 0)
            return true;
    return false;
}

void inherit_generator(const struct config *c, bool all, struct config_tenant_generator *t)
{
    if (all) {
        *t = c->limits.generator;
        return;
    }
    *t = (struct config_tenant_generator){.processors = c->generator.processors};
}

enum ec resolve_tenant_generator(
    const struct config *c, struct arena *arena, struct config_tenant_generator *t, struct err *err)
{
    static const char *const methods[] = {"", "classic", "native", "both"};
    static const char *const modes[] = {"", "dry_run", "enabled"};
    const struct config_tenant_generator *d = &c->limits.generator;

    if (t->native_histograms == NULL) /* an entry without one is classic, whatever defaults say */
        t->native_histograms = "classic";
    if (!one_of(t->native_histograms, methods, ARRAY_LEN(methods)))
        return ERR(err, EC_INVALID,
            "metrics_generator.generate_native_histograms \"%.40s\" is not a valid value, valid values: classic, native, both",
            t->native_histograms);
    if (t->span_name_sanitization == NULL)
        t->span_name_sanitization = d->span_name_sanitization;
    if (!one_of(t->span_name_sanitization, modes, ARRAY_LEN(modes)))
        return ERR(err, EC_INVALID,
            "metrics_generator.span_name_sanitization \"%.40s\" is not a valid value, valid values: dry_run, enabled",
            t->span_name_sanitization);
    if (!(t->native_bucket_factor > 0) && !(t->native_bucket_factor < 0))
        t->native_bucket_factor = d->native_bucket_factor;
    if (!(t->native_bucket_factor > 1))
        return ERR(err, EC_INVALID,
            "metrics_generator.native_histogram_bucket_factor must be greater than 1");
    if (t->native_buckets_max == 0)
        t->native_buckets_max = d->native_buckets_max;
    if (t->native_min_reset == 0)
        t->native_min_reset = d->native_min_reset;
    if (t->trace_id_label == NULL)
        t->trace_id_label = "";
    if (t->collection_interval < 0 || t->slack < 0)
        return ERR(err, EC_INVALID, "metrics_generator: a duration is negative");
    t->processors.service_graphs.prefix |= c->generator.processors.service_graphs.prefix;
    if (!node_is_null(t->flat_intrinsic)) {
        struct problems p = {.arena = arena};
        decode_block(&schema_intrinsic, t->flat_intrinsic, &p);
        size_t n = p.n;
        buf_deinit(&p.lines);
        if (n > 0)
            return ERR(err, EC_INVALID, "span_metrics.intrinsic_dimensions has unknown names");
        TRY(bind_block(arena, &schema_intrinsic, "intrinsic_dimensions", t->flat_intrinsic,
            &t->processors.span_metrics, false, err));
    }
    TRY(resolve_pairs(arena, t->headers_node, &t->headers, err));
    return resolve_processors(arena, &t->processors, err);
}

/* ---- the block ---- */

static const double span_bounds[] = {0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512,
    1.024, 2.048, 4.096, 8.192, 16.384};
const struct config_floats config_span_bounds = {span_bounds, ARRAY_LEN(span_bounds)};
static const double edge_bounds[] = {0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8};
static const char *const peers[] = {"peer.service", "db.name", "db.system", NULL};
static const char *const databases[] = {"db.namespace", "db.name", "db.system", NULL};
static const char *const hosts[] = {"k8s.node.name", "host.id", NULL};

#define PROCESSOR "metrics_generator.processor."
static void default_lists(const struct config_doc *d, struct config_processors *p)
{
    if (doc_get(d, PROCESSOR "span_metrics.histogram_buckets") == NULL)
        p->span_metrics.buckets = config_span_bounds;
    if (doc_get(d, PROCESSOR "service_graphs.histogram_buckets") == NULL)
        p->service_graphs.buckets = (struct config_floats){edge_bounds, ARRAY_LEN(edge_bounds)};
    if (doc_get(d, PROCESSOR "service_graphs.peer_attributes") == NULL)
        p->service_graphs.peer_attributes = peers;
    if (doc_get(d, PROCESSOR "service_graphs.database_name_attributes") == NULL)
        p->service_graphs.database_attributes = databases;
    if (doc_get(d, PROCESSOR "host_info.host_identifiers") == NULL)
        p->host_identifiers = hosts;
}

static enum ec resolve_block(struct config *c, struct err *err)
{
    struct config_generator *g = &c->generator;
    const char *limiter = doc_string(c, "metrics_generator.limiter_type");
    default_lists(c->doc, &g->processors);
    if (strcmp(limiter, "series") != 0 && strcmp(limiter, "entity") != 0)
        return ERR(err, EC_INVALID,
            "invalid limiter type: %.40s, valid values are series and entity", limiter);
    g->limit_entities = strcmp(limiter, "entity") == 0;
    if (g->processors.host_identifiers == NULL)
        return ERR(err, EC_INVALID, "at least one value must be provided in host_identifiers");
    if (g->processors.host_metric[0] == 0)
        return ERR(err, EC_INVALID, "metric_name must not be empty");
    if (g->collection_interval <= 0)
        return ERR(err, EC_INVALID, "registry.collection_interval must be greater than 0");
    TRY(resolve_pairs(&c->arena, g->external_node, &g->external_labels, err));
    TRY(resolve_processors(&c->arena, &g->processors, err));
    return resolve_remote_write(c, err);
}

enum ec resolve_generator(struct config *c, struct err *err)
{
    enum ec ec = resolve_block(c, err);
    if (ec != EC_OK)
        return err_prefix(err, INIT "invalid metrics-generator config");
    struct config_tenant_generator *t = &c->limits.generator;
    const struct node *overrides = doc_get(c->doc, "overrides");
    const struct node *scoped = doc_get(c->doc, "overrides.defaults.metrics_generator.processor");
    const struct block *shape = schema_tenant_generator.keys[schema_tenant_generator.n - 1].block;
    /* The tables put their defaults here; what counts is the block's, under what is set. */
    t->processors = c->generator.processors;
    ASSERT(
        strcmp(schema_tenant_generator.keys[schema_tenant_generator.n - 1].name, "processor") == 0);
    ec = bind_block(&c->arena, shape, "overrides.defaults.metrics_generator.processor", scoped,
        &t->processors, false, err);
    if (ec == EC_OK)
        ec = bind_block(
            &c->arena, &schema_limits_flat, "overrides", overrides, &c->limits, false, err);
    if (ec == EC_OK)
        ec = resolve_tenant_generator(c, &c->arena, t, err);
    if (ec != EC_OK)
        return err_prefix(
            err, "failed to init module services: error initialising module: overrides: defaults");
    return EC_OK;
}
