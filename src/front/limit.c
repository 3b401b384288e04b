/* SPDX-License-Identifier: Apache-2.0
 * Requests per window and endpoint pattern, for tenants whose entry has rateLimits. The count is in
 * this process, so failOpen has nothing to fail. */
#include <stdlib.h>

#include "base/clock.h"
#include "front_int.h"

static enum ec limit_init(struct rate_limit *l, const struct gateway_rate_limit *from,
    const char *tenant, struct err *err)
{
    struct buf pattern = BUF_INIT; /* a match anywhere; ours are anchored */
    buf_printf(&pattern, ".*(?:%s).*", from->endpoint);
    enum ec ec = regex_new(buf_str(&pattern), &l->endpoint, err);
    buf_deinit(&pattern);
    if (ec != EC_OK)
        return err_prefix(err, "gateway: tenant %s: rateLimits.endpoint", tenant);
    l->limit = from->limit;
    l->window_ns = from->window;
    l->retry_min_ns = from->retry_after_min;
    l->retry_max_ns = from->retry_after_max;
    pthread_mutex_init(&l->lock, NULL);
    return EC_OK;
}

enum ec limits_new(struct front_gate *gate, const struct config_gateway *g, struct err *err)
{
    gate->limited = xcalloc(g->n_tenants, sizeof(*gate->limited));
    for (size_t i = 0; i < g->n_tenants; i++) {
        const struct gateway_tenant *t = &g->tenants[i];
        if (t->n_rate_limits == 0 || t->broken != NULL)
            continue;
        struct limited_tenant *to = &gate->limited[gate->n_limited++];
        to->name = xstrdup(t->name);
        to->limits = xcalloc(t->n_rate_limits, sizeof(*to->limits));
        for (; to->n < t->n_rate_limits; to->n++)
            TRY(limit_init(&to->limits[to->n], &t->rate_limits[to->n], t->name, err));
    }
    return EC_OK;
}

void limits_free(struct front_gate *gate)
{
    for (size_t i = 0; i < gate->n_limited; i++) {
        for (size_t k = 0; k < gate->limited[i].n; k++) {
            regex_free(gate->limited[i].limits[k].endpoint);
            pthread_mutex_destroy(&gate->limited[i].limits[k].lock);
        }
        free(gate->limited[i].limits);
        free(gate->limited[i].name);
    }
    free(gate->limited);
}

static bool take(struct rate_limit *l, int64_t now, unsigned *ret_retry_s)
{
    pthread_mutex_lock(&l->lock);
    if (l->began_ns == 0 || now - l->began_ns >= l->window_ns) {
        l->began_ns = now;
        l->taken = 0;
    }
    bool ok = l->taken < l->limit;
    l->taken += ok;
    int64_t left = l->began_ns + l->window_ns - now;
    pthread_mutex_unlock(&l->lock);
    left = MAX(left, l->retry_min_ns);
    if (l->retry_max_ns > 0)
        left = MIN(left, l->retry_max_ns);
    *ret_retry_s = (unsigned)MIN((left + NS_PER_S - 1) / NS_PER_S, 86400);
    return ok;
}

bool limits_take(struct front_gate *gate, struct str tenant, struct str path, unsigned *ret_retry_s)
{
    for (size_t i = 0; i < gate->n_limited; i++) {
        struct limited_tenant *t = &gate->limited[i];
        for (size_t k = 0; str_eqz(tenant, t->name) && k < t->n; k++)
            if (regex_match(t->limits[k].endpoint, path) &&
                !take(&t->limits[k], clock_mono_ns(), ret_retry_s))
                return false;
    }
    return true;
}
