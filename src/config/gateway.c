/* SPDX-License-Identifier: Apache-2.0
 * The gateway section: what several settings say together, its two files, and what it refuses.
 *
 * INVARIANT: when load_gateway succeeds with the gateway on, there is at least one tenant, each has
 * a distinct name, a usable id and one way to log in, and multitenancy is on: nobody's data is
 * reached without a tenant. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "doc.h"

#define IN "failed to init module services: error initialising module: gateway: "

/* The original is a program of its own: its flags mean that there is a gateway. */
static bool flags_enable(const struct config *c)
{
    static const char *const keys[] = {"gateway.http_listen_address", "gateway.grpc_listen_address",
        "gateway.internal_listen_address", "gateway.tenants_file", "gateway.rbac_file"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (doc_flag(c->doc, keys[i]) != NULL)
            return true;
    return false;
}

static enum ec resolve_tls(
    struct config *c, const char *prefix, struct gateway_tls *t, struct err *err)
{
    const char **texts[] = {
        &t->cert_file, &t->key_file, &t->client_ca_file, &t->cipher_suites, &t->client_auth_type};
    TRY(resolve_tls_version(c, prefix, &t->min_version, err));
    TRY(resolve_tls_version(c, prefix, &t->max_version, err));
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if ((*texts[i])[0] == 0)
            *texts[i] = NULL;
    if ((t->cert_file == NULL) != (t->key_file == NULL))
        return ERR(
            err, EC_INVALID, IN "%s: a certificate needs a key, and a key a certificate", prefix);
    if (t->min_version != NULL && t->max_version != NULL &&
        strcmp(t->min_version, t->max_version) > 0)
        return ERR(err, EC_INVALID, IN "%s: min_version is above max_version", prefix);
    TRY(validate_tls_names(t->cipher_suites, t->client_auth_type, err));
    bool verifies = t->client_auth_type != NULL && strstr(t->client_auth_type, "Verify") != NULL;
    if (verifies && t->client_ca_file == NULL)
        return ERR(err, EC_INVALID, IN "%s: %s needs client_ca_file", prefix, t->client_auth_type);
    return EC_OK;
}

/* A way in exists when its receiver or the original's flag does; without any receiver both do. */
static void resolve_ways(struct config *c)
{
    struct config_gateway *g = &c->gateway;
    bool any = c->receivers[RECEIVER_OTLP_GRPC].n != 0 || c->receivers[RECEIVER_OTLP_HTTP].n != 0;
    g->otlp_grpc =
        g->grpc_listen_address[0] != 0 &&
        (!any || c->receivers[RECEIVER_OTLP_GRPC].n != 0 || g->otlp_grpc_endpoint != NULL);
    g->otlp_http = !any || c->receivers[RECEIVER_OTLP_HTTP].n != 0 || g->otlp_http_endpoint != NULL;
}

static bool is_one_of(const char *s, const char *a, const char *b)
{
    return strcmp(s, a) == 0 || strcmp(s, b) == 0;
}

enum ec resolve_gateway(struct config *c, struct err *err)
{
    struct config_gateway *g = &c->gateway;
    if (doc_get(c->doc, "gateway.enabled") == NULL && flags_enable(c))
        g->enabled = true;
    resolve_ways(c);
    if (!g->enabled)
        return EC_OK;
    TRY(resolve_tls(c, "gateway.tls", &g->tls, err));
    TRY(resolve_tls(c, "gateway.internal_tls", &g->internal_tls, err));
    if (!c->multitenancy)
        return ERR(err, EC_INVALID, IN "it needs multitenancy_enabled: true");
    if (g->mode[0] != 0 && !is_one_of(g->mode, "openshift", "static"))
        return ERR(err, EC_INVALID, IN "mode \"%.40s\": want openshift or static", g->mode);
    if (!is_one_of(g->kubernetes.review, "ssar", "sar"))
        return ERR(err, EC_INVALID, IN "kubernetes.review \"%.40s\": want ssar or sar",
            g->kubernetes.review);
    if (strcmp(g->kubernetes.namespaces, "projects") != 0)
        return ERR(err, EC_INVALID, IN "kubernetes.namespaces \"%.40s\": want projects",
            g->kubernetes.namespaces);
    if (g->tenant_header[0] == 0)
        return ERR(err, EC_INVALID, IN "tenant_header is empty");
    if (g->timeout <= 0 || g->read_timeout <= 0 || g->read_header_timeout <= 0)
        return ERR(err, EC_INVALID, IN "timeouts must be greater than 0");
    if (g->concurrent_request_limit == 0)
        return ERR(err, EC_INVALID, IN "concurrent_request_limit must be greater than 0");
    return EC_OK;
}

/* ---- files ---- */

static void free_buf(struct buf *b)
{
    buf_deinit(b);
}

/* The tree of a file, or what the section holds inline. Both: nobody knows which counts. */
static enum ec tree_of(struct config *c, const char *file, const char *inline_key,
    const char *file_key, const struct node **ret, struct err *err)
{
    CLEANUP(free_buf) struct buf text = BUF_INIT;
    struct node *root;
    *ret = doc_get(c->doc, inline_key);
    if (file[0] == 0)
        return EC_OK;
    if (*ret != NULL)
        return ERR(err, EC_INVALID, IN "%s and %s are both set", file_key, inline_key);
    enum ec ec = file_read(file, &text, err);
    /* never expanded: secrets may hold a '$', and the original takes it as it is */
    if (ec == EC_OK)
        ec = node_parse(buf_str(&text), &c->arena, &root, err);
    if (ec != EC_OK) {
        err_prefix(err, IN "%s: %.300s", file_key, file);
        return ec;
    }
    *ret = root;
    return EC_OK;
}

/* Below `tenants`, in any case, as all names of this file. */
static const struct node *list_of(const struct node *root)
{
    for (uint32_t i = 0; root != NULL && root->kind == NODE_MAP && i < root->n; i++)
        if (str_ieq(root->pairs[i].key, STR("tenants")))
            return root->pairs[i].value;
    return NULL;
}

static enum ec load_tenants(struct config *c, struct err *err)
{
    const struct config_gateway *g = &c->gateway;
    const struct node *n;
    TRY(tree_of(c, g->tenants_file, "gateway.tenants", "gateway.tenants_file", &n, err));
    if (g->tenants_file[0] == 0 && n == NULL)
        return ERR(err, EC_INVALID, IN "it needs tenants_file or tenants");
    enum ec ec = tenants_read(c, g->tenants_file[0] != 0 ? list_of(n) : n, err);
    if (ec != EC_OK)
        err_prefix(err, "failed to init module services: error initialising module");
    return ec;
}

/* ---- what does not go together ---- */

static enum ec check_openshift(const struct config_gateway *g, struct err *err)
{
    if (g->n_roles != 0 || g->n_bindings != 0)
        return ERR(err, EC_INVALID,
            IN "mode openshift: roles and roleBindings have no effect, Kubernetes decides");
    for (size_t i = 0; i < g->n_tenants; i++)
        if (g->tenants[i].authn != GATEWAY_AUTHN_OPENSHIFT)
            return ERR(err, EC_INVALID, IN "mode openshift: tenant %s has no openshift block",
                g->tenants[i].name);
    return EC_OK;
}

static enum ec check_static(const struct config_gateway *g, struct err *err)
{
    if (g->n_roles == 0 || g->n_bindings == 0)
        return ERR(err, EC_INVALID, IN "mode static: it needs roles and roleBindings");
    for (size_t i = 0; i < g->n_tenants; i++)
        if (g->tenants[i].authn == GATEWAY_AUTHN_OPENSHIFT)
            return ERR(err, EC_INVALID, IN "mode static: tenant %s has an openshift block",
                g->tenants[i].name);
    return EC_OK;
}

static enum ec check_query_rbac(const struct config_gateway *g, struct err *err)
{
    if (!g->query_rbac)
        return EC_OK;
    if (g->jaeger_endpoint != NULL)
        return ERR(err, EC_INVALID, IN "query_rbac does not go together with the Jaeger UI");
    if (strcmp(g->mode, "static") == 0)
        return ERR(err, EC_INVALID,
            IN
            "query_rbac with mode static: there are no namespaces, every attribute would be hidden");
    for (size_t i = 0; i < g->n_tenants; i++)
        if (g->tenants[i].authz == GATEWAY_AUTHZ_ROLES)
            return ERR(err, EC_INVALID,
                IN "query_rbac: tenant %s is authorised by roles, which name no namespaces",
                g->tenants[i].name);
    return EC_OK;
}

enum ec load_gateway(struct config *c, struct err *err)
{
    struct config_gateway *g = &c->gateway;
    const struct node *rbac;
    if (!g->enabled)
        return EC_OK;
    TRY(load_tenants(c, err));
    TRY(tree_of(c, g->rbac_file, "gateway.rbac", "gateway.rbac_file", &rbac, err));
    TRY(rbac_read(c, rbac, err));
    if (strcmp(g->mode, "openshift") == 0)
        TRY(check_openshift(g, err));
    if (strcmp(g->mode, "static") == 0)
        TRY(check_static(g, err));
    for (size_t i = 0; i < g->n_tenants; i++)
        if (g->tenants[i].broken != NULL)
            warn_add(c, true, "gateway.tenants", "tenant is not served", "tenant %s: %s",
                g->tenants[i].name, g->tenants[i].broken);
    return check_query_rbac(g, err);
}

enum ec config_gateway_read(const struct config *c, struct config **ret, struct err *err)
{
    struct config *n = xmalloc(sizeof(*n));
    *n = *c; /* the document and texts of c are only read */
    arena_init(&n->arena, NULL, 0);
    n->warnings = NULL;
    n->n_warnings = 0;
    n->gateway.tenants = NULL;
    n->gateway.roles = NULL;
    n->gateway.bindings = NULL;
    n->gateway.n_tenants = n->gateway.n_roles = n->gateway.n_bindings = 0;
    enum ec ec = load_gateway(n, err);
    if (ec != EC_OK) {
        config_gateway_free(n);
        return ec;
    }
    *ret = n;
    return EC_OK;
}

void config_gateway_free(struct config *c)
{
    if (c == NULL)
        return;
    arena_deinit(&c->arena);
    free(c->warnings);
    free(c);
}
