/* SPDX-License-Identifier: Apache-2.0 */
#include "label_limit.h"

#include <stdlib.h>

#include "base/hash.h"
#include "base/metric.h"
#include "demand.h"

#define NAMES_MAX 256 /* label names come from the configuration; more are not limited */

struct limited_label {
    struct str name; /* owned */
    bool over;
    struct demand demand;
};

struct label_limit {
    struct str tenant; /* borrowed */
    struct limited_label *p[NAMES_MAX];
    size_t n;
};

static struct metric_family limited_total = {
    .name = "tempo_metrics_generator_registry_label_values_limited_total",
    .help = "Label values replaced because their label has too many.",
    .type = METRIC_COUNTER,
    .labels = {"tenant", "label_name"},
};
static struct metric_family demand_estimate_gauge = {
    .name = "tempo_metrics_generator_registry_label_cardinality_demand_estimate",
    .help = "Estimated distinct values of a label.",
    .type = METRIC_GAUGE,
    .labels = {"tenant", "label_name"},
};

struct label_limit *label_limit_new(struct str tenant)
{
    struct label_limit *x = xcalloc(1, sizeof(*x));
    metric_register(&limited_total);
    metric_register(&demand_estimate_gauge);
    x->tenant = tenant;
    return x;
}

void label_limit_free(struct label_limit *x)
{
    if (x == NULL)
        return;
    for (size_t i = 0; i < x->n; i++) {
        free((void *)(uintptr_t)x->p[i]->name.p);
        free(x->p[i]);
    }
    free(x);
}

static struct limited_label *label_get(struct label_limit *x, struct str name)
{
    for (size_t i = 0; i < x->n; i++)
        if (str_eq(x->p[i]->name, name))
            return x->p[i];
    if (x->n == NAMES_MAX)
        return NULL;
    struct limited_label *l = xcalloc(1, sizeof(*l));
    l->name = str_n(xstrndup(name.p, name.n), name.n);
    return x->p[x->n++] = l;
}

void label_limit_apply(struct label_limit *x, struct labels *l)
{
    for (uint32_t i = 0; i < l->n; i++) {
        struct limited_label *label = label_get(x, l->p[i].name);
        if (label == NULL)
            continue;
        demand_add(&label->demand, hash64(l->p[i].value.p, l->p[i].value.n));
        if (!label->over)
            continue;
        l->p[i].value = STR("__cardinality_overflow__");
        metric_inc(metric_series2(&limited_total, x->tenant, label->name));
    }
}

void label_limit_judge(struct label_limit *x, uint32_t max)
{
    for (size_t i = 0; i < x->n; i++) {
        double estimate = demand_estimate(&x->p[i]->demand);
        x->p[i]->over = estimate > max;
        metric_set(metric_series2(&demand_estimate_gauge, x->tenant, x->p[i]->name), estimate);
    }
}

void label_limit_advance(struct label_limit *x)
{
    for (size_t i = 0; i < x->n; i++)
        demand_advance(&x->p[i]->demand);
}
