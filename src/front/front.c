/* SPDX-License-Identifier: Apache-2.0
 * The front object. */
#include <stdlib.h>

#include "front_int.h"

enum ec front_new(const struct front_options *opt, struct front **ret, struct err *err)
{
    struct front *f = xcalloc(1, sizeof(*f));
    f->opt = *opt;
    f->gateway = &opt->config->gateway;
    f->otlp = (struct api_otlp_http){.api = opt->api, .path = "/v1/traces"};
    front_metrics_register();
    enum ec ec = limits_new(f, err);
    if (ec != EC_OK) {
        front_free(f);
        return ec;
    }
    *ret = f;
    return EC_OK;
}

void front_free(struct front *f)
{
    if (f == NULL)
        return;
    limits_free(f);
    free(f);
}

void front_watch(struct front *f, struct server *server, struct listener *public_http)
{
    f->server = server;
    f->public_http = public_http;
}
