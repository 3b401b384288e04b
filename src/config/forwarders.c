/* SPDX-License-Identifier: Apache-2.0
 * distributor.forwarders: where copies of spans go, checked as Tempo does at start. */
#include <stdio.h>
#include <string.h>

#include "doc.h"

#define FORWARDERS_MAX 100
#define ENDPOINTS_MAX  16
#define INIT                                                                          \
    "failed to init module services: error initialising module: distributor: failed " \
    "to create distributor: failed to create forwarders manager: failed to validate config list: "

static bool has_filter(const struct node *n)
{
    static const char *const paths[] = {"filter.traces.span", "filter.traces.spanevent"};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        const struct node *list = node_at(n, paths[i]);
        if (!node_is_null(list) && list->n > 0)
            return true;
    }
    return false;
}

/* "host:port", as in a URL. */
static bool endpoint_ok(const char *s)
{
    size_t n = strlen(s);
    const char *colon = strrchr(s, ':');
    if (n == 0 || n > 255 || colon == NULL || colon == s || colon[1] == 0)
        return false;
    for (const char *p = colon + 1; *p != 0; p++)
        if (*p < '0' || *p > '9')
            return false;
    for (const char *p = s; *p != 0; p++)
        if ((unsigned char)*p <= ' ' || *p == 0x7f || strchr("/?#@\\\"<>", *p) != NULL)
            return false;
    return true;
}

static enum ec check(
    const struct config_forwarder *f, const struct node *n, uint32_t i, struct err *err)
{
    size_t n_endpoints = 0;
    if (f->name[0] == 0)
        return ERR(err, EC_INVALID, INIT "failed to validate config at index=%u: name is empty", i);
    if (strcmp(f->backend, "otlpgrpc") != 0)
        return ERR(err, EC_INVALID,
            INIT "failed to validate config at index=%u: %.80s backend is not supported", i,
            f->backend);
    if (!f->insecure && f->cert_file[0] == 0)
        return ERR(err, EC_INVALID,
            INIT "failed to validate config at index=%u: failed to validate tls config: cert_file "
                 "is empty",
            i);
    if (has_filter(n))
        return ERR(err, EC_UNSUPPORTED,
            "distributor.forwarders[%u].filter: conditions in OTTL are not supported: let a "
            "Collector filter",
            i);
    for (; f->endpoints != NULL && f->endpoints[n_endpoints] != NULL; n_endpoints++)
        if (n_endpoints == ENDPOINTS_MAX || !endpoint_ok(f->endpoints[n_endpoints]))
            return ERR(err, EC_INVALID,
                "distributor.forwarders[%u].otlpgrpc.endpoints: \"%.80s\" is no host:port, or one "
                "of over %d",
                i, f->endpoints[n_endpoints], ENDPOINTS_MAX);
    return EC_OK;
}

enum ec resolve_forwarders(struct config *c, struct err *err)
{
    const struct node *list = doc_get(c->doc, "distributor.forwarders");
    if (node_is_null(list) || list->n == 0)
        return EC_OK;
    if (list->n > FORWARDERS_MAX)
        return ERR(err, EC_LIMIT, "distributor.forwarders: over %d", FORWARDERS_MAX);
    struct config_forwarder *all = ARENA_ARRAY(&c->arena, list->n, struct config_forwarder);
    ASSERT(all != NULL); /* no budget */
    for (uint32_t i = 0; i < list->n; i++) {
        char path[60];
        all[i] = (struct config_forwarder){0};
        snprintf(path, sizeof(path), "distributor.forwarders[%u]", i);
        TRY(bind_block(&c->arena, &schema_forwarder, path, list->items[i], &all[i], true, err));
        TRY(check(&all[i], list->items[i], i, err));
        for (uint32_t k = 0; k < i; k++)
            if (strcmp(all[k].name, all[i].name) == 0)
                return ERR(err, EC_INVALID, "distributor.forwarders[%u]: name \"%.80s\" is taken",
                    i, all[i].name);
    }
    c->forwarders = all;
    c->n_forwarders = list->n;
    return EC_OK;
}
