/* SPDX-License-Identifier: Apache-2.0
 * When a processor has to start anew: a digest over the settings that it was made with. */
#include "base/hash.h"
#include "instance.h"

static void put_str(struct buf *b, struct str s)
{
    buf_put_u64le(b, s.n);
    buf_puts(b, s);
}

static void put_strs(struct buf *b, struct generator_strs s)
{
    buf_put_u64le(b, s.n);
    for (size_t i = 0; i < s.n; i++)
        put_str(b, s.p[i]);
}

static void put_filter(struct buf *b, const struct generator_filter *f)
{
    for (unsigned k = 0; k < POLICY_KINDS; k++) {
        buf_put_u64le(b, f->n[k]);
        for (size_t i = 0; i < f->n[k]; i++) {
            const struct generator_policy *p = &f->p[k][i];
            buf_putc(b, (char)p->regex);
            buf_put_u64le(b, p->n);
            for (size_t m = 0; m < p->n; m++) {
                const struct value *v = &p->matches[m].value;
                put_str(b, p->matches[m].key);
                buf_putc(b, (char)v->type);
                if (v->type == VALUE_STR)
                    put_str(b, v->s);
                else
                    buf_put(b, &v->i, v->type == VALUE_BOOL ? 1 : 8);
            }
        }
    }
}

static void put_bounds(struct buf *b, struct generator_bounds x)
{
    buf_put_u64le(b, x.n);
    buf_put(b, x.p, x.n * sizeof(double));
}

static void put_histograms(struct buf *b, const struct generator_settings *s)
{
    buf_putc(b, (char)s->histograms);
    if (!(s->histograms & GENERATOR_NATIVE))
        return;
    buf_put(b, &s->native_factor, sizeof(s->native_factor));
    buf_put_u32le(b, s->native_buckets_max);
    buf_put_u64le(b, (uint64_t)s->native_min_reset_ns);
}

static void put_span_metrics(struct buf *b, const struct generator_settings *s)
{
    const struct generator_span_metrics *m = &s->span_metrics;
    const bool flags[] = {m->service, m->span_name, m->span_kind, m->status_code, m->status_message,
        m->target_info, m->instance_label, m->tracestate_multiplier};
    buf_put_u32le(b, s->processors & GENERATOR_SPAN_METRICS);
    buf_put(b, flags, sizeof(flags));
    put_bounds(b, m->bounds);
    put_strs(b, m->dimensions);
    put_strs(b, m->target_info_excluded);
    put_str(b, m->multiplier_key);
    buf_put_u64le(b, m->n_mappings);
    for (size_t i = 0; i < m->n_mappings; i++) {
        put_str(b, m->mappings[i].name);
        put_str(b, m->mappings[i].join);
        put_strs(b, m->mappings[i].sources);
    }
    put_filter(b, &m->filter);
    put_histograms(b, s);
}

static void put_service_graphs(struct buf *b, const struct generator_settings *s)
{
    const struct generator_service_graphs *g = &s->service_graphs;
    const bool flags[] = {g->client_server_prefix, g->messaging_latency, g->virtual_node_label,
        g->tracestate_multiplier};
    buf_put(b, flags, sizeof(flags));
    buf_put_u64le(b, (uint64_t)g->wait_ns);
    buf_put_u32le(b, g->max_items);
    put_bounds(b, g->bounds);
    put_strs(b, g->dimensions);
    put_strs(b, g->peer_attributes);
    put_strs(b, g->database_attributes);
    put_str(b, g->multiplier_key);
    put_filter(b, &g->filter);
    put_histograms(b, s);
}

uint64_t settings_digest(const struct generator_settings *s, enum active_processor p)
{
    static const uint32_t bits[ACTIVES] = {
        GENERATOR_SPAN_METRICS, GENERATOR_SERVICE_GRAPHS, GENERATOR_HOST_INFO};
    struct buf b = BUF_INIT;
    if (!(s->processors & bits[p]))
        return 0;
    switch (p) {
    case ACTIVE_SPAN_METRICS:
        put_span_metrics(&b, s);
        break;
    case ACTIVE_SERVICE_GRAPHS:
        put_service_graphs(&b, s);
        break;
    default:
        put_strs(&b, s->host_info.identifiers);
        put_str(&b, s->host_info.metric_name);
    }
    uint64_t h = hash64(b.p, b.n) | 1; /* never 0 */
    buf_deinit(&b);
    return h;
}
