/* SPDX-License-Identifier: Apache-2.0
 * host-info: one gauge a host, named by the first identifying resource attribute. */
#include <stdlib.h>

#include "processors.h"

struct host_info {
    struct processor_env *env;
    struct arena arena;
    struct generator_strs identifiers;
};

enum ec host_info_new(const struct generator_settings *s, struct processor_env *env,
    struct host_info **ret, struct err *err)
{
    const struct generator_host_info *in = &s->host_info;
    if (in->identifiers.n == 0)
        return ERR(err, EC_INVALID, "host_info: host_identifiers must not be empty");
    if (in->metric_name.n == 0 || !str_utf8_valid(in->metric_name))
        return ERR(err, EC_INVALID, "host_info: metric_name is not a valid name");
    struct host_info *p = xcalloc(1, sizeof(*p));
    arena_init(&p->arena, NULL, 0);
    struct str *copy = ARENA_ARRAY(&p->arena, in->identifiers.n, struct str);
    for (size_t i = 0; i < in->identifiers.n; i++)
        copy[i] = arena_str(&p->arena, in->identifiers.p[i]);
    p->identifiers = (struct generator_strs){copy, in->identifiers.n};
    p->env = env;
    registry_metric_on(
        env->registry, METRIC_HOST_INFO, in->metric_name, (struct generator_bounds){0}, 0);
    *ret = p;
    return EC_OK;
}

void host_info_free(struct host_info *p)
{
    if (p == NULL)
        return;
    registry_metric_off(p->env->registry, METRIC_HOST_INFO);
    arena_deinit(&p->arena);
    free(p);
}

void host_info_resource(struct host_info *p, struct attr_list resource, int64_t now_ms)
{
    for (size_t i = 0; i < p->identifiers.n; i++) {
        const struct value *v = attr_find(resource, p->identifiers.p[i]);
        if (v == NULL || v->type != VALUE_STR || v->s.n == 0)
            continue;
        struct labels *l = &p->env->labels;
        labels_begin(l, p->env->label_name_max, p->env->label_value_max);
        labels_add(l, STR("grafana_host_id"), v->s);
        labels_add(l, STR("host_source"), p->identifiers.p[i]);
        labels_close(l);
        if (!labels_valid(l)) {
            metric_inc(p->env->counters->host_info_utf8);
            return;
        }
        struct entity *e = registry_find(p->env->registry, l);
        registry_gauge(p->env->registry, METRIC_HOST_INFO, l, &e, 1, now_ms);
        return;
    }
}
