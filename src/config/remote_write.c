/* SPDX-License-Identifier: Apache-2.0
 * metrics_generator.storage.remote_write: Prometheus' rules for an endpoint. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "doc.h"

#define ENDPOINTS_MAX 16

struct endpoint {
    struct config *c;
    const struct node *at;
    struct config_remote_write *e;
};

static const char *copy(struct config *c, struct str s)
{
    const char *z = arena_strz(&c->arena, s);
    ASSERT(z != NULL); /* no budget */
    return z;
}

static enum ec check_headers(const struct config_pairs *h, struct err *err)
{
    static const char *const reserved[] = {"host", "content-encoding", "content-length",
        "content-type", "user-agent", "connection", "keep-alive", "proxy-authenticate",
        "proxy-authorization", "www-authenticate", "accept-encoding",
        "x-prometheus-remote-write-version", "x-prometheus-remote-read-version"};
    for (size_t i = 0; i < h->n; i++) {
        if (strcasecmp(h->p[i].name, "authorization") == 0)
            return ERR(err, EC_INVALID,
                "authorization header must be changed via the basic_auth, authorization, oauth2, sigv4, azuread or google_iam parameter");
        for (size_t k = 0; k < ARRAY_LEN(reserved); k++)
            if (strcasecmp(h->p[i].name, reserved[k]) == 0)
                return ERR(err, EC_INVALID, "%s is a reserved header. It must not be changed",
                    h->p[i].name);
    }
    return EC_OK;
}

/* name: {values: [], secrets: []}, joined to the plain headers. */
static enum ec add_http_headers(struct endpoint *x, struct err *err)
{
    static const char *const lists[] = {"values", "secrets"};
    const struct node *n = x->e->http_headers_node;
    struct config_pairs *h = &x->e->headers;
    if (node_is_null(n))
        return EC_OK;
    size_t more = 0;
    for (uint32_t i = 0; n->kind == NODE_MAP && i < n->n; i++)
        for (size_t k = 0; k < ARRAY_LEN(lists); k++) {
            const struct node *list = node_get(n->pairs[i].value, str_from(lists[k]));
            if (!node_is_null(list) && list->kind != NODE_SEQ)
                return ERR(err, EC_INVALID, "http_headers: %s is no list", lists[k]);
            more += node_is_null(list) ? 0 : list->n;
        }
    if (n->kind != NODE_MAP)
        return ERR(err, EC_INVALID, "http_headers is no map");
    struct config_pair *p = ARENA_ARRAY(&x->c->arena, h->n + more, struct config_pair);
    ASSERT(p != NULL);
    size_t at = h->n;
    if (h->n != 0)
        memcpy(p, h->p, h->n * sizeof(*p));
    for (uint32_t i = 0; i < n->n; i++) {
        if (!node_is_null(node_get(n->pairs[i].value, STR("files"))))
            return ERR(
                err, EC_UNSUPPORTED, "http_headers: files are not supported by this release");
        for (size_t k = 0; k < ARRAY_LEN(lists); k++) {
            const struct node *list = node_get(n->pairs[i].value, str_from(lists[k]));
            for (uint32_t j = 0; !node_is_null(list) && j < list->n; j++)
                p[at++] = (struct config_pair){
                    copy(x->c, n->pairs[i].key), copy(x->c, list->items[j]->s)};
        }
    }
    *h = (struct config_pairs){p, at};
    return EC_OK;
}

static enum ec check_relabel(const struct config_relabel *r, struct err *err)
{
    static const char *const actions[] = {"replace", "keep", "drop", "keepequal", "dropequal",
        "hashmod", "labelmap", "labeldrop", "labelkeep", "lowercase", "uppercase"};
    static const char *const targets[] = {
        "replace", "hashmod", "lowercase", "uppercase", "keepequal", "dropequal"};
    bool known = false, needs_target = false;
    for (size_t i = 0; i < ARRAY_LEN(actions); i++)
        known |= strcasecmp(r->action, actions[i]) == 0;
    for (size_t i = 0; i < ARRAY_LEN(targets); i++)
        needs_target |= strcasecmp(r->action, targets[i]) == 0;
    if (!known)
        return ERR(err, EC_INVALID, "unknown relabel action \"%.40s\"", r->action);
    if (strcasecmp(r->action, "hashmod") == 0 && r->modulus == 0)
        return ERR(err, EC_INVALID, "relabel configuration for hashmod requires non-zero modulus");
    if (needs_target && r->target_label[0] == 0)
        return ERR(err, EC_INVALID,
            "relabel configuration for %s action requires 'target_label' value", r->action);
    return EC_OK;
}

static enum ec read_relabels(struct endpoint *x, struct err *err)
{
    const struct node *list = x->e->relabels_node;
    if (node_is_null(list))
        return EC_OK;
    struct config_relabel *r = ARENA_ARRAY(&x->c->arena, list->n, struct config_relabel);
    ASSERT(r != NULL);
    for (uint32_t i = 0; i < list->n; i++) {
        TRY(bind_block(&x->c->arena, &schema_relabel, "write_relabel_configs", list->items[i],
            &r[i], true, err));
        TRY(check_relabel(&r[i], err));
    }
    x->e->relabels = r;
    x->e->n_relabels = list->n;
    return EC_OK;
}

/* http://user:password@host: the pair moves to where credentials are. */
static enum ec read_url(struct endpoint *x, struct err *err)
{
    struct config_remote_write *e = x->e;
    struct str rest, scheme = str_cut(str_from(e->url), ':', &rest), path;
    if (e->url[0] == 0)
        return ERR(err, EC_INVALID, "url for remote_write is empty");
    if ((!str_eqz(scheme, "http") && !str_eqz(scheme, "https")) || !str_starts(rest, STR("//")))
        return ERR(err, EC_INVALID, "url for remote_write is no http or https URL");
    rest = str_n(rest.p + 2, rest.n - 2);
    struct str host = str_cut(rest, '/', &path);
    const char *at = memrchr(host.p, '@', host.n);
    if (at == NULL)
        return EC_OK;
    struct str password, user = str_cut(str_n(host.p, (size_t)(at - host.p)), ':', &password);
    const char *tail = at + 1;
    e->user = copy(x->c, user);
    e->password = copy(x->c, password);
    e->url = arena_printf(&x->c->arena, STR_FMT "://%s", STR_ARG(scheme), tail);
    ASSERT(e->url != NULL);
    return EC_OK;
}

static enum ec read_credentials(struct endpoint *x, struct err *err)
{
    struct config_remote_write *e = x->e;
    const struct node *token = node_get(x->at, STR("bearer_token"));
    const struct node *file = node_get(x->at, STR("bearer_token_file"));
    bool has_token = !node_is_null(token) || !node_is_null(file);
    bool basic = !node_is_null(node_get(x->at, STR("basic_auth")));
    bool authorization = !node_is_null(node_get(x->at, STR("authorization")));
    if (!node_is_null(token) && !node_is_null(file))
        return ERR(
            err, EC_INVALID, "at most one of bearer_token & bearer_token_file must be configured");
    e->has_oauth2 = !node_is_null(node_get(x->at, STR("oauth2")));
    e->has_sigv4 = !node_is_null(node_get(x->at, STR("sigv4")));
    if (basic + authorization + has_token + e->has_oauth2 + e->has_sigv4 > 1)
        return ERR(err, EC_INVALID,
            "at most one of basic_auth, authorization, oauth2, sigv4, azuread or google_iam must be configured");
    if (e->password[0] != 0 && e->password_file[0] != 0)
        return ERR(err, EC_INVALID,
            "at most one of basic_auth password, password_file & password_ref must be configured");
    if (e->credentials[0] != 0 && e->credentials_file[0] != 0)
        return ERR(err, EC_INVALID,
            "at most one of authorization credentials & credentials_file must be configured");
    if (strcasecmp(e->auth_type, "basic") == 0)
        return ERR(err, EC_INVALID,
            "authorization type cannot be set to \"basic\", use \"basic_auth\" instead");
    if (has_token) {
        e->credentials = node_is_null(token) ? "" : copy(x->c, token->s);
        e->credentials_file = node_is_null(file) ? "" : copy(x->c, file->s);
    }
    return EC_OK;
}

static enum ec check_reach(
    const struct config_client_tls *t, const struct config_client_proxy *p, struct err *err)
{
    struct str rest, scheme = str_cut(str_from(p->url), ':', &rest);
    if (t->ca_pem[0] != 0 && t->ca_file[0] != 0)
        return ERR(err, EC_INVALID, "at most one of ca & ca_file must be configured");
    if ((t->cert_file[0] == 0) != (t->key_file[0] == 0))
        return ERR(err, EC_INVALID, "exactly one of cert_file and key_file is configured");
    if (p->from_environment && (p->url[0] != 0 || p->no_proxy[0] != 0))
        return ERR(err, EC_INVALID,
            "if proxy_from_environment is configured, %s must not be configured",
            p->url[0] != 0 ? "proxy_url" : "no_proxy");
    if (p->no_proxy[0] != 0 && p->url[0] == 0)
        return ERR(err, EC_INVALID, "if no_proxy is configured, proxy_url must also be configured");
    if (p->url[0] != 0 && (!str_starts(rest, STR("//")) || rest.n == 2 ||
                              (!str_eqz(scheme, "http") && !str_eqz(scheme, "https") &&
                                  !str_eqz(scheme, "socks5") && !str_eqz(scheme, "socks5h"))))
        return ERR(err, EC_INVALID, "proxy_url is no http, https or socks5 URL");
    return EC_OK;
}

static enum ec read_oauth2(struct endpoint *x, struct err *err)
{
    struct config_oauth2 *o = &x->e->oauth2;
    if (!x->e->has_oauth2)
        return EC_OK;
    if (o->client_id[0] == 0)
        return ERR(err, EC_INVALID, "oauth2 client_id must be configured");
    if (o->token_url[0] == 0)
        return ERR(err, EC_INVALID, "oauth2 token_url must be configured");
    if (o->client_secret[0] != 0 && o->client_secret_file[0] != 0)
        return ERR(err, EC_INVALID,
            "at most one of oauth2 client_secret, client_secret_file & client_secret_ref must be configured using oauth2");
    TRY(check_reach(&o->tls, &o->proxy, err));
    return resolve_pairs(&x->c->arena, o->params_node, &o->params, err);
}

static const char *from_environment(struct config *c, const char *name)
{
    const char *v = getenv(name);
    return copy(c, str_from(v == NULL ? "" : v));
}

/* AWS's own tools look in more places; who relies on those is told. */
static enum ec read_sigv4(struct endpoint *x, struct err *err)
{
    struct config_sigv4 *s = &x->e->sigv4;
    if (!x->e->has_sigv4)
        return EC_OK;
    if ((s->access_key[0] == 0) != (s->secret_key[0] == 0))
        return ERR(err, EC_INVALID,
            "must provide a AWS SigV4 Access key and Secret Key if credentials are specified in the SigV4 config");
    s->token = "";
    if (s->access_key[0] == 0) {
        s->access_key = from_environment(x->c, "AWS_ACCESS_KEY_ID");
        s->secret_key = from_environment(x->c, "AWS_SECRET_ACCESS_KEY");
        s->token = from_environment(x->c, "AWS_SESSION_TOKEN");
    }
    if (s->region[0] == 0)
        s->region = from_environment(x->c, "AWS_REGION");
    if (s->region[0] == 0)
        s->region = from_environment(x->c, "AWS_DEFAULT_REGION");
    if (s->access_key[0] == 0 || s->secret_key[0] == 0)
        return ERR(err, EC_UNSUPPORTED,
            "sigv4: no keys: set access_key and secret_key, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY");
    for (const char *p = s->region; *p != 0; p++)
        if (!(*p == '-' || (*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9')))
            return ERR(err, EC_INVALID, "sigv4: \"%.40s\" is no region", s->region);
    if (s->region[0] == 0)
        return ERR(err, EC_INVALID,
            "sigv4: region not configured in sigv4 or in default credentials chain");
    return EC_OK;
}

/* Keys that cannot be honoured are refused, those without effect named. */
static enum ec check_keys(struct config *c, const struct block *b, const struct node *n,
    const char *prefix, struct err *err)
{
    for (size_t i = 0; i < b->n; i++) {
        const struct key *k = &b->keys[i];
        const struct node *v = node_get(n, str_from(k->name));
        char path[SCHEMA_PATH_MAX];
        if (node_is_null(v))
            continue;
        snprintf(path, sizeof(path), "%s.%s", prefix, k->name);
        if (k->type == KT_BLOCK)
            TRY(check_keys(c, k->block, v, path, err));
        if (k->decision == KEY_R && (v->kind != NODE_SCALAR || v->s.n > 0))
            return ERR(err, EC_UNSUPPORTED, "%s: %s", path, k->note);
    }
    return EC_OK;
}

static enum ec read_endpoint(struct endpoint *x, struct err *err)
{
    struct config_remote_write *e = x->e;
    TRY(bind_block(&x->c->arena, &schema_remote_write, "remote_write", x->at, e, true, err));
    TRY(check_keys(x->c, &schema_remote_write, x->at, "remote_write", err));
    TRY(read_url(x, err));
    TRY(resolve_pairs(&x->c->arena, e->headers_node, &e->headers, err));
    TRY(check_headers(&e->headers, err));
    TRY(add_http_headers(x, err));
    TRY(check_headers(&e->headers, err));
    TRY(read_credentials(x, err));
    TRY(check_reach(&e->tls, &e->proxy, err));
    TRY(read_oauth2(x, err));
    TRY(read_sigv4(x, err));
    if (e->samples_per_send_max == 0)
        e->samples_per_send_max = 2000;
    if (e->backoff_min <= 0)
        e->backoff_min = 30000000;
    if (e->timeout <= 0 || e->backoff_max < e->backoff_min || e->sample_age_max < 0)
        return ERR(err, EC_INVALID, "remote_timeout, max_backoff or sample_age_limit is too small");
    return read_relabels(x, err);
}

static bool same_node(const struct node *a, const struct node *b)
{
    if (a->kind != b->kind || a->n != b->n)
        return false;
    if (a->kind == NODE_SCALAR)
        return str_eq(a->s, b->s);
    for (uint32_t i = 0; i < a->n; i++) {
        if (a->kind == NODE_SEQ ? !same_node(a->items[i], b->items[i])
                                : !str_eq(a->pairs[i].key, b->pairs[i].key) ||
                                      !same_node(a->pairs[i].value, b->pairs[i].value))
            return false;
    }
    return true;
}

enum ec resolve_remote_write(struct config *c, struct err *err)
{
    struct config_generator *g = &c->generator;
    const struct node *list = g->remote_write_node;
    if (node_is_null(list) || list->n == 0)
        return EC_OK;
    if (list->n > ENDPOINTS_MAX)
        return ERR(err, EC_LIMIT, "over %d remote_write endpoints", ENDPOINTS_MAX);
    struct config_remote_write *e = ARENA_ARRAY(&c->arena, list->n, struct config_remote_write);
    ASSERT(e != NULL);
    for (uint32_t i = 0; i < list->n; i++) {
        struct endpoint x = {c, list->items[i], &e[i]};
        if (node_is_null(x.at))
            return ERR(err, EC_INVALID, "empty or null remote write config section");
        enum ec ec = read_endpoint(&x, err);
        if (ec != EC_OK)
            return err_prefix(
                err, "invalid remote write config \"%s\"", e[i].name == NULL ? "" : e[i].name);
        for (uint32_t k = 0; k < i; k++) {
            if (same_node(list->items[k], list->items[i]))
                return ERR(err, EC_INVALID,
                    "duplicate remote write configs are not allowed, found duplicate for URL: %s",
                    e[i].url);
            if (e[i].name[0] != 0 && strcmp(e[i].name, e[k].name) == 0)
                return ERR(err, EC_INVALID,
                    "found multiple remote write configs with job name \"%s\"", e[i].name);
        }
    }
    g->remote_write = e;
    g->n_remote_write = list->n;
    return EC_OK;
}
