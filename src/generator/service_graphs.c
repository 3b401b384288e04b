/* SPDX-License-Identifier: Apache-2.0
 * service-graphs: client and server spans of one call meet in an edge, which becomes request counts
 * and latencies by client and server. Calls to databases complete by themselves; halves that wait
 * in vain become virtual nodes where something names the other side. */
#include <stdlib.h>

#include "edges.h"
#include "processors.h"

enum { KIND_SERVER = 2, KIND_CLIENT = 3, KIND_PRODUCER = 4, KIND_CONSUMER = 5, STATUS_ERROR = 2 };

struct service_graphs {
    struct processor_env *env;
    struct policies *policies;
    struct arena arena; /* what was copied of the settings */
    struct generator_service_graphs cfg;
    struct str *labels[EDGE_SIDES]; /* of the dimensions; without prefixes both are the same */
    struct edges edges;
    struct log_limiter full_log;
    const char *virtual_side; /* while an expired edge is counted */
};

static const struct str connection_names[] = {
    {"", 0}, {"messaging_system", 16}, {"database", 8}, {"virtual_node", 12}};

static struct generator_strs copy_strs(struct arena *a, struct generator_strs in)
{
    struct str *out = ARENA_ARRAY(a, in.n, struct str);
    for (size_t i = 0; i < in.n; i++)
        out[i] = arena_str(a, in.p[i]);
    return (struct generator_strs){out, in.n};
}

static void copy_settings(struct service_graphs *p, const struct generator_service_graphs *in)
{
    struct arena *a = &p->arena; /* without a budget: settings are the operator's and small */
    static const char *const prefixes[EDGE_SIDES] = {"client_", "server_"};
    p->cfg = *in;
    p->cfg.dimensions = copy_strs(a, in->dimensions);
    p->cfg.peer_attributes = copy_strs(a, in->peer_attributes);
    p->cfg.database_attributes = copy_strs(a, in->database_attributes);
    p->cfg.multiplier_key = arena_str(a, in->multiplier_key);
    for (unsigned side = 0; side < EDGE_SIDES; side++) {
        p->labels[side] = ARENA_ARRAY(a, in->dimensions.n, struct str);
        for (size_t i = 0; i < in->dimensions.n; i++)
            p->labels[side][i] = label_name_sanitize(a,
                str_from(arena_printf(a, "%s" STR_FMT,
                    in->client_server_prefix ? prefixes[side] : "", STR_ARG(in->dimensions.p[i]))));
    }
}

enum ec service_graphs_new(const struct generator_settings *s, struct processor_env *env,
    struct service_graphs **ret, struct err *err)
{
    struct service_graphs *p = xcalloc(1, sizeof(*p));
    arena_init(&p->arena, NULL, 0);
    copy_settings(p, &s->service_graphs);
    enum ec ec = policies_new(&s->service_graphs.filter, &p->policies, err);
    if (ec != EC_OK) {
        arena_deinit(&p->arena);
        free(p);
        return ec;
    }
    p->env = env;
    edges_init(&p->edges, env->registry->budget, p->cfg.max_items, p->cfg.wait_ns / NS_PER_MS,
        (uint32_t)p->cfg.dimensions.n * (p->cfg.client_server_prefix ? 2 : 1));
    struct registry *r = env->registry;
    const struct generator_bounds none = {0}, bounds = s->service_graphs.bounds;
    registry_metric_on(r, METRIC_REQUESTS, STR("traces_service_graph_request_total"), none, 0);
    registry_metric_on(r, METRIC_FAILED, STR("traces_service_graph_request_failed_total"), none, 0);
    registry_metric_on(r, METRIC_SERVER_SECONDS, STR("traces_service_graph_request_server_seconds"),
        bounds, s->histograms);
    registry_metric_on(r, METRIC_CLIENT_SECONDS, STR("traces_service_graph_request_client_seconds"),
        bounds, s->histograms);
    registry_metric_on(r, METRIC_MESSAGING_SECONDS,
        STR("traces_service_graph_request_messaging_system_seconds"), bounds, s->histograms);
    *ret = p;
    return EC_OK;
}

void service_graphs_free(struct service_graphs *p)
{
    if (p == NULL)
        return;
    for (unsigned m = METRIC_REQUESTS; m <= METRIC_MESSAGING_SECONDS; m++)
        registry_metric_off(p->env->registry, m);
    edges_deinit(&p->edges);
    policies_free(p->policies);
    arena_deinit(&p->arena);
    free(p);
}

/* ---- an edge that is whole ---- */
static void add_labels(struct service_graphs *p, const struct edge *x)
{
    struct labels *l = &p->env->labels;
    labels_begin(l, p->env->label_name_max, p->env->label_value_max);
    labels_add(l, STR("client"), x->service[EDGE_CLIENT]);
    labels_add(l, STR("server"), x->service[EDGE_SERVER]);
    labels_add(l, STR("connection_type"), connection_names[x->connection]);
    size_t n = p->cfg.dimensions.n;
    for (size_t i = 0; i < n; i++) {
        labels_add(l, p->labels[EDGE_CLIENT][i], x->dimensions[i]);
        if (p->cfg.client_server_prefix)
            labels_add(l, p->labels[EDGE_SERVER][i], x->dimensions[n + i]);
    }
    if (p->virtual_side != NULL && p->cfg.virtual_node_label)
        labels_add(l, STR("virtual_node"), str_from(p->virtual_side));
}

static void observe_messaging(
    struct service_graphs *p, const struct edge *x, struct entity **e, int64_t now_ms)
{
    if (x->server_start_ns <= x->client_end_ns) {
        if (log_limiter_pass(&p->full_log, NS_PER_S))
            log_event(LOG_WARN, "a consumer starts before its producer ends: clocks differ?",
                LS("tenant", p->env->tenant));
        return;
    }
    registry_observe(p->env->registry, METRIC_MESSAGING_SECONDS, &p->env->labels, e,
        (double)(x->server_start_ns - x->client_end_ns) / 1e9, x->multiplier, &x->key.trace,
        now_ms);
}

static void complete(struct service_graphs *p, const struct edge *x, int64_t now_ms)
{
    struct registry *r = p->env->registry;
    const struct labels *l = &p->env->labels;
    add_labels(p, x);
    processor_labels_close(p->env, now_ms);
    struct entity *e = registry_find(r, l);
    if (e == NULL && !labels_valid(l)) {
        metric_inc(p->env->counters->service_graphs_utf8);
        return;
    }
    registry_add(r, METRIC_REQUESTS, l, &e, x->multiplier, now_ms);
    if (x->failed)
        registry_add(r, METRIC_FAILED, l, &e, x->multiplier, now_ms);
    registry_observe(r, METRIC_SERVER_SECONDS, l, &e, x->seconds[EDGE_SERVER], x->multiplier,
        &x->key.trace, now_ms);
    registry_observe(r, METRIC_CLIENT_SECONDS, l, &e, x->seconds[EDGE_CLIENT], x->multiplier,
        &x->key.trace, now_ms);
    if (p->cfg.messaging_latency && x->connection == EDGE_MESSAGING)
        observe_messaging(p, x, &e, now_ms);
}

/* ---- a span into its edge ---- */
static void set_dimensions(
    struct service_graphs *p, struct edge *x, enum edge_side side, const struct span_view *s)
{
    size_t n = p->cfg.dimensions.n;
    size_t first = p->cfg.client_server_prefix && side == EDGE_SERVER ? n : 0;
    for (size_t i = 0; i < n; i++) {
        const struct value *v = span_attr(s, p->cfg.dimensions.p[i]);
        if (v != NULL)
            edge_set(&p->edges, x, &x->dimensions[first + i], value_text(v, &p->env->labels.text));
    }
}

static void set_peer(struct service_graphs *p, struct edge *x, const struct span_view *s)
{
    for (size_t i = 0; i < p->cfg.peer_attributes.n; i++) {
        const struct value *v = attr_find(s->attrs, p->cfg.peer_attributes.p[i]);
        if (v == NULL)
            continue;
        edge_set(&p->edges, x, &x->peer, value_text(v, &p->env->labels.text));
        return;
    }
}

/* The name of the database that a client span calls. */
static struct str database_server(
    struct service_graphs *p, const struct span_view *s, const struct value *fallback)
{
    struct arena *a = &p->env->labels.text;
    const struct value *v = span_attr(s, STR("peer.service"));
    if (v == NULL)
        v = span_attr(s, STR("server.address"));
    if (v != NULL)
        return value_text(v, a);
    v = span_attr(s, STR("network.peer.address"));
    if (v == NULL)
        return value_text(fallback, a);
    const struct value *port = span_attr(s, STR("network.peer.port"));
    if (port == NULL)
        return value_text(v, a);
    struct str host = value_text(v, a), number = value_text(port, a);
    return str_from(arena_printf(a, STR_FMT ":" STR_FMT, STR_ARG(host), STR_ARG(number)));
}

static void set_database(struct service_graphs *p, struct edge *x, const struct span_view *s)
{
    const struct value *name = NULL;
    for (size_t i = 0; i < p->cfg.database_attributes.n && name == NULL; i++)
        name = span_attr(s, p->cfg.database_attributes.p[i]);
    if (name == NULL)
        return;
    x->connection = EDGE_DATABASE;
    x->seconds[EDGE_SERVER] = span_seconds(s->span);
    edge_set(&p->edges, x, &x->service[EDGE_SERVER], database_server(p, s, name));
}

static void update(struct service_graphs *p, struct edge *x, enum edge_side side,
    const struct span_view *s, struct str service)
{
    const struct batch_span *span = s->span;
    bool messaging = span->kind == KIND_PRODUCER || span->kind == KIND_CONSUMER;
    x->connection = messaging ? EDGE_MESSAGING : EDGE_PLAIN;
    edge_set(&p->edges, x, &x->service[side], service);
    x->seconds[side] = span_seconds(span);
    if (side == EDGE_CLIENT)
        x->client_end_ns = span->end_ns;
    else
        x->server_start_ns = span->start_ns;
    x->failed |= span->status_code == STATUS_ERROR;
    x->multiplier = span_multiplier(s, p->cfg.multiplier_key, p->cfg.tracestate_multiplier);
    set_dimensions(p, x, side, s);
    set_peer(p, x, s);
    if (side == EDGE_CLIENT)
        set_database(p, x, s);
}

/* A span that the filter dropped: its other half must not look like one without a partner. */
static void drop(
    struct service_graphs *p, const struct edge_key *k, enum edge_side side, int64_t now_ms)
{
    if (side == EDGE_SERVER && k->span == 0)
        return;
    struct edge *x = edges_find(&p->edges, k);
    if (x != NULL && (x->service[EDGE_SERVER].n > 0 ? EDGE_SERVER : EDGE_CLIENT) != side) {
        edge_free(&p->edges, x);
        metric_inc(p->env->counters->dropped_edges);
    }
    if (!edges_drop_side(&p->edges, k, side, now_ms))
        metric_inc(p->env->counters->side_overflow);
}

static void dropped_span(struct service_graphs *p)
{
    metric_inc(p->env->counters->dropped_spans);
    if (log_limiter_pass(&p->full_log, NS_PER_S))
        log_event(LOG_WARN, "skipped processing of spans", LS("tenant", p->env->tenant),
            LU("maxItems", p->cfg.max_items));
}

void service_graphs_span(
    struct service_graphs *p, const struct span_view *s, struct str service, int64_t now_ms)
{
    const struct batch_span *span = s->span;
    if (span->kind < KIND_SERVER || span->kind > KIND_CONSUMER)
        return;
    enum edge_side side =
        span->kind == KIND_CLIENT || span->kind == KIND_PRODUCER ? EDGE_CLIENT : EDGE_SERVER;
    const struct edge_key key = {
        span->trace_id, side == EDGE_CLIENT ? span->span_id : span->parent_id};
    if (!policies_keep(p->policies, s)) {
        metric_inc(p->env->counters->service_graphs_filtered);
        drop(p, &key, side, now_ms);
        return;
    }
    labels_begin(&p->env->labels, 0, 0); /* its arena holds the texts made below */
    struct edge *x = edges_find(&p->edges, &key);
    if (x == NULL) {
        if (edges_is_dropped(&p->edges, &key, !side, now_ms)) {
            metric_inc(p->env->counters->dropped_edges);
            return;
        }
        x = edge_new(&p->edges, &key, now_ms);
        if (x == NULL) {
            dropped_span(p);
            return;
        }
    }
    update(p, x, side, s, service);
    bool is_new = !x->stored;
    if (x->service[EDGE_CLIENT].n > 0 && x->service[EDGE_SERVER].n > 0) {
        complete(p, x, now_ms);
        edge_free(&p->edges, x);
    } else if (is_new && !edges_store(&p->edges, x)) {
        edge_free(&p->edges, x);
        dropped_span(p);
        return;
    }
    if (is_new)
        metric_inc(p->env->counters->edges);
}

/* ---- edges that waited in vain ---- */
static void expire(struct service_graphs *p, struct edge *x, int64_t now_ms)
{
    x->connection = EDGE_VIRTUAL;
    if (x->service[EDGE_CLIENT].n == 0 && x->key.span == 0) {
        p->virtual_side = "client";
        edge_set(&p->edges, x, &x->service[EDGE_CLIENT], x->peer.n > 0 ? x->peer : STR("user"));
    } else if (x->service[EDGE_CLIENT].n > 0 && x->peer.n > 0) {
        p->virtual_side = "server";
        edge_set(&p->edges, x, &x->service[EDGE_SERVER], x->peer);
    } else {
        metric_inc(p->env->counters->expired_edges);
        return;
    }
    complete(p, x, now_ms);
    p->virtual_side = NULL;
}

void service_graphs_expire(struct service_graphs *p, int64_t now_ms)
{
    struct edge *x;
    while ((x = edges_expired(&p->edges, now_ms)) != NULL) {
        expire(p, x, now_ms);
        edge_free(&p->edges, x);
    }
    edges_forget(&p->edges, now_ms);
}
