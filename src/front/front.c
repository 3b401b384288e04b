/* SPDX-License-Identifier: Apache-2.0
 * The front object. */
#include <stdlib.h>

#include "front_int.h"

enum ec front_gate_new(
    const struct config_gateway *g, struct auth *auth, struct front_gate **ret, struct err *err)
{
    struct front_gate *gate = xcalloc(1, sizeof(*gate));
    gate->auth = auth;
    enum ec ec = limits_new(gate, g, err);
    if (ec != EC_OK) {
        front_gate_free(gate);
        return ec;
    }
    *ret = gate;
    return EC_OK;
}

bool front_gate_idle(const struct front_gate *gate)
{
    return atomic_load_explicit(&gate->refs, memory_order_acquire) == 0;
}

void front_gate_free(struct front_gate *gate)
{
    if (gate == NULL)
        return;
    limits_free(gate);
    free(gate);
}

struct front_gate *front_swap(struct front *f, struct front_gate *take_gate)
{
    pthread_mutex_lock(&f->lock);
    struct front_gate *old = f->gate;
    f->gate = take_gate;
    pthread_mutex_unlock(&f->lock);
    return old;
}

enum ec front_new(const struct front_options *opt, struct front **ret, struct err *err)
{
    struct front *f = xcalloc(1, sizeof(*f));
    f->opt = *opt;
    f->gateway = &opt->config->gateway;
    f->otlp = (struct api_otlp_http){.api = opt->api, .path = "/v1/traces"};
    f->gate = opt->gate;
    pthread_mutex_init(&f->lock, NULL);
    front_metrics_register();
    (void)err;
    *ret = f;
    return EC_OK;
}

void front_free(struct front *f)
{
    if (f == NULL)
        return;
    front_gate_free(f->gate);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

void front_watch(struct front *f, struct server *server, struct listener *public_http)
{
    f->server = server;
    f->public_http = public_http;
}
