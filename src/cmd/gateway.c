/* SPDX-License-Identifier: Apache-2.0
 * From the gateway section to auth, front and their listeners. */
#include "gateway.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "front/front.h"

#define CONNECTIONS_MAX        4096
#define CONNECTIONS_PER_IP_MAX 1024         /* a router brings all of its clients on one address */
#define URL_MAX_BYTES          (160u << 10) /* as the API's own port */
#define HTTP_BODY_MAX          (20u << 20)
#define GRPC_MESSAGE_MAX       (4u << 20)

#define READY_WAIT             (2 * NS_PER_S) /* for issuers, before new tenants count */
#define GRACE                  (5 * NS_PER_S) /* a call of auth ends long before */

struct gate { /* tenants and roles as they were read once */
    struct auth *auth;
    struct front_gate *front;
    struct gate *next;  /* of the old ones */
    int64_t retired_ns; /* when it was replaced, or last seen in use */
};

struct gateway {
    const struct config *config;
    struct http_client *client;
    struct gate *gate, *old;
    struct front *front;
    bool asks_for_certs;
};

static struct metric_family reload_ok = {
    .name = "vivace_gateway_last_reload_successful",
    .help = "Whether tenants and roles could be read when they were last to be.",
    .type = METRIC_GAUGE,
};

/* ---- configuration to auth ---- */

static void tenant_from(const struct gateway_tenant *t, struct auth_tenant *ret)
{
    static const enum auth_method methods[] = {[GATEWAY_AUTHN_OIDC] = AUTH_OIDC,
        [GATEWAY_AUTHN_OPENSHIFT] = AUTH_OPENSHIFT,
        [GATEWAY_AUTHN_MTLS] = AUTH_MTLS};
    static const enum auth_rule rules[] = {[GATEWAY_AUTHZ_ROLES] = AUTH_BY_ROLES,
        [GATEWAY_AUTHZ_REVIEW] = AUTH_BY_REVIEW,
        [GATEWAY_AUTHZ_OPA] = AUTH_BY_OPA};
    *ret = (struct auth_tenant){
        .name = t->name,
        .id = t->id,
        .broken = t->broken,
        .method = methods[t->authn],
        .rule = rules[t->authz],
        .oidc = {.client_id = t->oidc.client_id,
            .client_secret = t->oidc.client_secret,
            .issuer_url = t->oidc.issuer_url,
            .redirect_url = t->oidc.redirect_url,
            .issuer_ca_pem = str_from(t->oidc.issuer_ca_pem),
            .issuer_ca_path = t->oidc.issuer_ca_path,
            .username_claim = t->oidc.username_claim,
            .group_claim = t->oidc.group_claim},
        .openshift = {.service_account = t->openshift.service_account,
            .redirect_url = t->openshift.redirect_url,
            .cookie_secret = t->openshift.cookie_secret},
        .mtls = {.ca_pem = str_from(t->mtls.ca_pem), .ca_path = t->mtls.ca_path},
        .opa_url = t->opa_url,
        .opa_with_access_token = t->opa_with_access_token,
    };
}

static struct auth_role *roles_from(const struct config_gateway *g)
{
    struct auth_role *roles = xcalloc(g->n_roles, sizeof(*roles));
    for (size_t i = 0; i < g->n_roles; i++) {
        const struct gateway_role *r = &g->roles[i];
        roles[i] =
            (struct auth_role){r->name, r->traces, r->read, r->write, r->tenants, r->n_tenants};
    }
    return roles;
}

static struct auth_binding *bindings_from(
    const struct config_gateway *g, struct auth_subject **ret_subjects)
{
    struct auth_binding *bindings = xcalloc(g->n_bindings, sizeof(*bindings));
    size_t n = 0;
    for (size_t i = 0; i < g->n_bindings; i++)
        n += g->bindings[i].n_subjects;
    struct auth_subject *subjects = *ret_subjects = xcalloc(n, sizeof(*subjects));
    for (size_t i = 0; i < g->n_bindings; i++) {
        const struct gateway_binding *b = &g->bindings[i];
        bindings[i] = (struct auth_binding){b->name, b->roles, b->n_roles, subjects, b->n_subjects};
        for (size_t k = 0; k < b->n_subjects; k++)
            *subjects++ = (struct auth_subject){b->subjects[k].is_group, b->subjects[k].name};
    }
    return bindings;
}

static enum ec auth_from(
    const struct config_gateway *g, struct http_client *client, struct auth **ret, struct err *err)
{
    struct auth_tenant *tenants = xcalloc(g->n_tenants, sizeof(*tenants));
    struct auth_subject *subjects;
    struct auth_role *roles = roles_from(g);
    struct auth_binding *bindings = bindings_from(g, &subjects);
    for (size_t i = 0; i < g->n_tenants; i++)
        tenant_from(&g->tenants[i], &tenants[i]);
    struct auth_options opt = {
        .tenants = tenants,
        .n_tenants = g->n_tenants,
        .roles = roles,
        .n_roles = g->n_roles,
        .bindings = bindings,
        .n_bindings = g->n_bindings,
        .kubernetes = {.api_url = g->kubernetes.api_url,
            .ca_file = g->kubernetes.ca_file,
            .token_file = g->kubernetes.token_file,
            .namespace_file = g->kubernetes.namespace_file,
            .subject_review = strcmp(g->kubernetes.review, "sar") == 0,
            .api_group = g->kubernetes.api_group},
        .token_ttl_ns = g->token_ttl,
        .review_ttl_ns = g->review_ttl,
        .client = client,
    };
    enum ec ec = auth_new(&opt, ret, err);
    free(tenants);
    free(roles);
    free(bindings);
    free(subjects);
    return ec;
}

static void gate_free(struct gate *x)
{
    if (x == NULL)
        return;
    auth_free(x->auth);
    free(x);
}

static enum ec gate_new(
    struct gateway *g, const struct config_gateway *c, struct gate **ret, struct err *err)
{
    struct gate *x = xcalloc(1, sizeof(*x));
    enum ec ec = auth_from(c, g->client, &x->auth, err);
    if (ec == EC_OK)
        ec = front_gate_new(c, x->auth, &x->front, err);
    if (ec != EC_OK) {
        gate_free(x);
        return ec;
    }
    *ret = x;
    return EC_OK;
}

static bool wants_client_certs(const struct config_gateway *g)
{
    for (size_t i = 0; i < g->n_tenants; i++)
        if (g->tenants[i].authn == GATEWAY_AUTHN_MTLS)
            return true;
    return false;
}

enum ec gateway_new(const struct config *c, struct api *api, struct pool *pool,
    struct gateway **ret, struct err *err)
{
    *ret = NULL;
    if (!c->gateway.enabled)
        return EC_OK;
    struct gateway *g = xcalloc(1, sizeof(*g));
    struct http_client_options co = {.name = "gateway"};
    *ret = g; /* half built: gateway_free takes it */
    g->config = c;
    TRY(http_client_new(&co, &g->client, err));
    TRY(gate_new(g, &c->gateway, &g->gate, err));
    g->asks_for_certs = wants_client_certs(&c->gateway);
    struct front_options fo = {.config = c, .api = api, .gate = g->gate->front, .pool = pool};
    metric_register(&reload_ok);
    metric_set(metric_series0(&reload_ok), 1);
    return front_new(&fo, &g->front, err);
}

/* ---- tenants that change ---- */

/* Old ones go when no request holds them; a grace later, for calls that are about to return. */
static void sweep(struct gateway *g)
{
    int64_t now = clock_mono_ns();
    for (struct gate **at = &g->old; *at != NULL;) {
        struct gate *x = *at;
        if (!front_gate_idle(x->front))
            x->retired_ns = now;
        if (now - x->retired_ns < GRACE) {
            at = &x->next;
            continue;
        }
        *at = x->next;
        front_gate_free(x->front);
        gate_free(x);
    }
}

void gateway_poll(struct gateway *g)
{
    if (g != NULL)
        sweep(g);
}

static void tell(const struct gateway *g, const struct config *c)
{
    for (size_t i = 0; i < c->n_warnings; i++)
        log_event(LOG_WARN, c->warnings[i].msg, LZ("key", c->warnings[i].key),
            LZ("explain", c->warnings[i].explain));
    if (wants_client_certs(&c->gateway) && !g->asks_for_certs &&
        g->config->gateway.tls.client_auth_type == NULL)
        log_event(LOG_WARN,
            "a tenant logs in by client certificate now, but the ports do not ask for one: restart");
    log_event(LOG_INFO, "reloaded tenants and roles", LU("tenants", c->gateway.n_tenants),
        LU("roles", c->gateway.n_roles));
}

void gateway_reload(struct gateway *g)
{
    struct config *c = NULL;
    struct gate *fresh = NULL;
    struct err err = {0};
    if (g == NULL)
        return;
    enum ec ec = config_gateway_read(g->config, &c, &err);
    if (ec == EC_OK)
        ec = gate_new(g, &c->gateway, &fresh, &err);
    metric_set(metric_series0(&reload_ok), ec == EC_OK);
    if (ec != EC_OK) {
        log_event(LOG_ERROR, "tenants and roles were not reloaded, the old ones hold", LE(&err));
    } else {
        int64_t until = clock_mono_ns() + READY_WAIT;
        while (!auth_ready(fresh->auth) && clock_mono_ns() < until) {
            const struct timespec t = {.tv_nsec = 10 * NS_PER_MS};
            nanosleep(&t, NULL);
        }
        struct gate *old = g->gate;
        old->front = front_swap(g->front, fresh->front);
        old->retired_ns = clock_mono_ns();
        old->next = g->old;
        g->old = old;
        g->gate = fresh;
        tell(g, c);
    }
    config_gateway_free(c);
    sweep(g);
}

/* ---- listeners ---- */

static struct tls_options tls_from(const struct gateway_tls *t, bool ask)
{
    const char *type = t->client_auth_type != NULL ? t->client_auth_type
                       : ask                       ? "RequestClientCert"
                                                   : "NoClientCert";
    bool verify = strstr(type, "Verify") != NULL;
    return (struct tls_options){
        .cert_file = t->cert_file,
        .key_file = t->key_file,
        .client_ca_file = verify ? t->client_ca_file : NULL,
        .client_cert_required = strncmp(type, "Require", 7) == 0,
        .client_cert_asked = strcmp(type, "NoClientCert") != 0,
        .min_version = t->min_version,
        .max_version = t->max_version,
        .cipher_suites = t->cipher_suites,
        .reload_interval_ns = t->reload_interval,
    };
}

static enum ec listen_one(struct gateway *g, struct server *s, struct listener_options *o,
    struct listener **ret, struct err *err)
{
    unsigned port;
    o->connections_max = CONNECTIONS_MAX;
    o->connections_per_ip_max = CONNECTIONS_PER_IP_MAX;
    o->read_timeout_ms = (unsigned)(g->config->gateway.read_timeout / NS_PER_MS);
    o->header_timeout_ms = (unsigned)(g->config->gateway.read_header_timeout / NS_PER_MS);
    enum ec ec = server_listen(s, o, ret, &port, err);
    if (ec != EC_OK)
        return err_prefix(err, "listener %s", o->name);
    log_event(LOG_INFO, "listening", LZ("listener", o->name), LZ("address", o->address),
        LU("port", port), LB("tls", o->tls.cert_file != NULL));
    if (o->tls.cert_file == NULL && strcmp(o->name, "gateway-internal") != 0)
        log_event(LOG_WARN, "credentials travel in plain text here: set gateway.tls",
            LZ("listener", o->name));
    return EC_OK;
}

enum ec gateway_listen(struct gateway *g, struct server *s, struct budget *bodies, struct err *err)
{
    if (g == NULL)
        return EC_OK;
    const struct config *c = g->config;
    const struct config_gateway *cg = &c->gateway;
    struct listener *l;
    const struct config_receivers *by_http = &c->receivers[RECEIVER_OTLP_HTTP];
    const struct config_receivers *by_grpc = &c->receivers[RECEIVER_OTLP_GRPC];
    uint64_t body = by_http->n != 0 ? by_http->p[0].max_request_body_size : HTTP_BODY_MAX;
    uint64_t message = by_grpc->n != 0 ? by_grpc->p[0].max_recv_msg_bytes : GRPC_MESSAGE_MAX;
    unsigned encodings =
        ENC_GZIP | ENC_ZSTD | ENC_DEFLATE | ENC_SNAPPY | ENC_SNAPPY_FRAMED | ENC_LZ4;
    struct listener_options http = {.name = "gateway-http",
        .address = cg->http_listen_address,
        .tls = tls_from(&cg->tls, wants_client_certs(cg)),
        .http1 = true,
        .http2 = true,
        .request_metrics = true, /* queries come this way: they are timed as on the API's port */
        .url_bytes_max = URL_MAX_BYTES,
        .body_bytes_max = body,
        .inflated_bytes_max = body,
        .encodings = encodings,
        .body_budget = bodies,
        .handler = front_handle_http,
        .ctx = g->front};
    TRY(listen_one(g, s, &http, &l, err));
    front_watch(g->front, s, l);
    if (cg->otlp_grpc) {
        struct listener_options grpc = {.name = "gateway-grpc",
            .address = cg->grpc_listen_address,
            .tls = http.tls,
            .http2 = true,
            .grpc = true,
            .body_bytes_max = message + 5,
            .grpc_message_bytes_max = message,
            .encodings = ENC_GZIP | ENC_ZSTD | ENC_SNAPPY_FRAMED,
            .body_budget = bodies,
            .grpc_handler = front_handle_grpc,
            .ctx = g->front};
        TRY(listen_one(g, s, &grpc, &l, err));
    }
    if (cg->internal_listen_address[0] == 0)
        return EC_OK;
    struct listener_options internal = {.name = "gateway-internal",
        .address = cg->internal_listen_address,
        .tls = tls_from(&cg->internal_tls, false),
        .http1 = true,
        .http2 = true,
        .body_budget = bodies,
        .handler = front_handle_internal,
        .ctx = g->front};
    return listen_one(g, s, &internal, &l, err);
}

void gateway_stop(struct gateway *g)
{
    if (g == NULL)
        return;
    for (struct gate *x = g->old; x != NULL; x = x->next)
        auth_free(TAKE_PTR(x->auth)); /* answers, with the gates that the requests hold */
    if (g->gate != NULL)
        auth_free(TAKE_PTR(g->gate->auth));
}

void gateway_free(struct gateway *g)
{
    if (g == NULL)
        return;
    gateway_stop(g);
    while (g->old != NULL) {
        struct gate *x = g->old;
        g->old = x->next;
        front_gate_free(x->front);
        gate_free(x);
    }
    if (g->gate != NULL && g->front == NULL) /* which would have taken it */
        front_gate_free(g->gate->front);
    gate_free(g->gate);
    front_free(g->front);
    http_client_free(g->client);
    free(g);
}

/* ---- the other listeners ---- */

static bool is_loopback(struct str address)
{
    static const char *const hosts[] = {"localhost:", "127.0.0.1:", "[::1]:", "unix:"};
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++)
        if (str_starts(address, str_from(hosts[i])))
            return true;
    return false;
}

const char *gateway_private(
    const struct config *c, const char *listener, const char *address, char *text)
{
    if (!c->gateway.enabled || strcmp(listener, "internal") == 0 || is_loopback(str_from(address)))
        return address;
    const char *port = strrchr(address, ':');
    snprintf(text, GATEWAY_ADDRESS_MAX, "127.0.0.1%.32s", port == NULL ? ":0" : port);
    log_event(LOG_WARN,
        "the gateway is on: a listener without verified client certificates is for this machine only",
        LZ("listener", listener), LZ("configured", address), LZ("address", text));
    return text;
}
