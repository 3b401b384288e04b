/* SPDX-License-Identifier: Apache-2.0
 * tenants.yaml: names of fields in any case, every scalar as text ("id: 0123" is no number here),
 * unknown fields ignored, as the original gateway reads it.
 *
 * What is wrong with one tenant's block breaks that tenant: it is kept with the reason, so that its
 * requests are refused and the others served. What makes tenants ambiguous or unsafe (no name, no
 * id, an id that storage refuses, a name twice, nothing to authenticate with) fails the start. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "doc.h"

#define ID_MAX         150
#define NAME_MAX_BYTES 200
#define TENANTS_MAX    5000

struct tenant_reader {
    struct config *c;
    struct gateway_tenant *t;
    const struct node *at; /* the tenant's entry */
};

static const char *copy(struct config *c, struct str s)
{
    const char *z = arena_strz(&c->arena, s);
    ASSERT(z != NULL); /* no budget */
    return z;
}

static void broken(struct tenant_reader *r, const char *what, const char *why)
{
    if (r->t->broken != NULL)
        return; /* the first reason */
    r->t->broken = arena_printf(&r->c->arena, "%s %s", what != NULL ? what : "", why);
    ASSERT(r->t->broken != NULL);
}

/* The value of a field; a field that is there twice (in two spellings) decides nothing. */
static const struct node *field(struct tenant_reader *r, const struct node *map, const char *name)
{
    const struct node *found = NULL;
    for (uint32_t i = 0; map != NULL && map->kind == NODE_MAP && i < map->n; i++) {
        if (!str_ieq(map->pairs[i].key, str_from(name)))
            continue;
        if (found != NULL)
            broken(r, name, "is given twice");
        found = map->pairs[i].value;
    }
    return node_is_null(found) ? NULL : found;
}

static const char *text(struct tenant_reader *r, const struct node *map, const char *name)
{
    const struct node *n = field(r, map, name);
    if (n == NULL)
        return "";
    if (n->kind != NODE_SCALAR || (n->s.n != 0 && memchr(n->s.p, 0, n->s.n) != NULL)) {
        broken(r, name, "is no text");
        return "";
    }
    return copy(r->c, n->s);
}

static const struct node *block(struct tenant_reader *r, const struct node *map, const char *name)
{
    const struct node *n = field(r, map, name);
    if (n != NULL && n->kind != NODE_MAP) {
        broken(r, name, "is no block");
        static const struct node empty = {.kind = NODE_MAP};
        return &empty; /* it is there, and says what the tenant is */
    }
    return n;
}

static bool flag(struct tenant_reader *r, const struct node *map, const char *name)
{
    const struct node *n = field(r, map, name);
    struct value v;
    char problem[PROBLEM_MAX];
    if (n == NULL)
        return false;
    if (!value_parse(KT_BOOL, n, &v, problem)) {
        broken(r, name, "is no boolean");
        return false;
    }
    return v.b;
}

static int64_t duration(struct tenant_reader *r, const struct node *map, const char *name)
{
    const struct node *n = field(r, map, name);
    int64_t ns;
    if (n == NULL)
        return 0;
    if (n->kind != NODE_SCALAR || !duration_parse_go(n->s, &ns) || ns < 0) {
        broken(r, name, "is no duration");
        return 0;
    }
    return ns;
}

/* Certificates as base64 of PEM, or empty. */
static const char *pem(struct tenant_reader *r, const struct node *map, const char *name)
{
    const char *given = text(r, map, name);
    size_t n = strlen(given), len = 0;
    struct buf packed = BUF_INIT;
    if (n == 0)
        return "";
    for (size_t i = 0; i < n; i++)
        if (strchr(" \t\r\n", given[i]) == NULL)
            buf_putc(&packed, given[i]);
    uint8_t *out = arena_alloc(&r->c->arena, packed.n / 4 * 3 + 4);
    ASSERT(out != NULL);
    bool ok = base64_decode(out, &len, buf_str(&packed)) &&
              str_has(str_n((char *)out, len), STR("-----BEGIN CERTIFICATE-----")) &&
              memchr(out, 0, len) == NULL;
    buf_deinit(&packed);
    if (!ok) {
        broken(r, name, "is no base64 of PEM certificates");
        return "";
    }
    out[len] = 0;
    return (const char *)out;
}

/* ---- the kinds of login ---- */

static bool is_url(const char *s)
{
    return strncmp(s, "https://", 8) == 0 || strncmp(s, "http://", 7) == 0;
}

static void read_oidc(struct tenant_reader *r, const struct node *n)
{
    struct gateway_tenant *t = r->t;
    t->authn = GATEWAY_AUTHN_OIDC;
    t->oidc.client_id = text(r, n, "clientID");
    t->oidc.client_secret = text(r, n, "clientSecret");
    t->oidc.issuer_url = text(r, n, "issuerURL");
    t->oidc.redirect_url = text(r, n, "redirectURL");
    t->oidc.issuer_ca_pem = pem(r, n, "issuerCA");
    t->oidc.issuer_ca_path = text(r, n, "issuerCAPath");
    t->oidc.username_claim = text(r, n, "usernameClaim");
    t->oidc.group_claim = text(r, n, "groupClaim");
    if (!is_url(t->oidc.issuer_url))
        broken(r, "oidc.issuerURL", "is no URL");
    if (t->oidc.client_id[0] == 0)
        broken(r, "oidc.clientID", "is missing");
}

static void read_openshift(struct tenant_reader *r, const struct node *n)
{
    struct gateway_tenant *t = r->t;
    t->authn = GATEWAY_AUTHN_OPENSHIFT;
    t->openshift.service_account = text(r, n, "serviceAccount");
    t->openshift.redirect_url = text(r, n, "redirectURL");
    t->openshift.cookie_secret = text(r, n, "cookieSecret");
    t->openshift.kubeconfig = text(r, n, "kubeconfig");
    size_t len = strlen(t->openshift.cookie_secret);
    if (len != 0 && len != 16 && len != 24 && len != 32)
        broken(r, "openshift.cookieSecret", "has not 16, 24 or 32 characters");
    /* To overlook it would mean to accept the tokens of another cluster than the one meant. */
    if (t->openshift.kubeconfig[0] != 0)
        broken(
            r, "openshift.kubeconfig", "is not supported: gateway.kubernetes names the API server");
}

static void read_mtls(struct tenant_reader *r, const struct node *n)
{
    struct gateway_tenant *t = r->t;
    t->authn = GATEWAY_AUTHN_MTLS;
    t->mtls.ca_pem = pem(r, n, "ca");
    t->mtls.ca_path = text(r, n, "caPath");
    if (t->mtls.ca_pem[0] == 0 && t->mtls.ca_path[0] == 0)
        broken(r, "mTLS.caPath", "is missing");
}

/* Which block counts: oidc, openshift, mTLS, then the generic form. */
static enum ec read_login(struct tenant_reader *r, struct err *err)
{
    static const struct {
        const char *name;
        void (*read)(struct tenant_reader *r, const struct node *n);
    } kinds[] = {{"oidc", read_oidc}, {"openshift", read_openshift}, {"mTLS", read_mtls}};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        const struct node *n = block(r, r->at, kinds[i].name);
        if (n != NULL) {
            kinds[i].read(r, n);
            return EC_OK;
        }
    }
    const struct node *generic = block(r, r->at, "authenticator");
    const char *type = text(r, generic, "type");
    const struct node *settings = block(r, generic, "config");
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (str_ieq(str_from(type), str_from(kinds[i].name))) {
            kinds[i].read(r, settings);
            return EC_OK;
        }
    return ERR(err, EC_INVALID,
        "gateway: tenant %.*s has nothing to authenticate with: oidc, openshift or mTLS",
        NAME_MAX_BYTES, r->t->name);
}

/* ---- authorisation ---- */

static bool is_local_url(const char *url)
{
    static const char *const hosts[] = {"localhost", "127.0.0.1", "[::1]"};
    struct str rest, scheme = str_cut(str_from(url), ':', &rest);
    (void)scheme;
    if (rest.n < 2 || memcmp(rest.p, "//", 2) != 0)
        return false;
    rest = str_n(rest.p + 2, rest.n - 2);
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        size_t n = strlen(hosts[i]);
        if (str_starts(rest, str_from(hosts[i])) &&
            (rest.n == n || rest.p[n] == ':' || rest.p[n] == '/'))
            return true;
    }
    return false;
}

/* The operator's opa block names its sidecar on localhost, which is built in here. */
static enum ec read_opa(struct tenant_reader *r, struct err *err)
{
    struct gateway_tenant *t = r->t;
    const struct node *n = block(r, r->at, "opa");
    bool openshift = t->authn == GATEWAY_AUTHN_OPENSHIFT;
    t->opa_url = text(r, n, "url");
    t->opa_with_access_token = flag(r, n, "withAccessToken");
    if (text(r, n, "query")[0] != 0 || field(r, n, "paths") != NULL)
        return ERR(err, EC_UNSUPPORTED,
            "gateway: tenant %.*s: opa.query and opa.paths (Rego in the process) are not supported, use opa.url",
            NAME_MAX_BYTES, t->name);
    if (n == NULL) {
        bool reviewed = openshift && strcmp(r->c->gateway.mode, "openshift") == 0;
        t->authz = reviewed ? GATEWAY_AUTHZ_REVIEW : GATEWAY_AUTHZ_ROLES;
    } else if (openshift && is_local_url(t->opa_url)) {
        t->authz = GATEWAY_AUTHZ_REVIEW;
    } else {
        t->authz = GATEWAY_AUTHZ_OPA;
        if (!is_url(t->opa_url))
            broken(r, "opa.url", "is no URL");
    }
    return EC_OK;
}

static void read_rate_limits(struct tenant_reader *r)
{
    const struct node *list = field(r, r->at, "rateLimits");
    if (list == NULL)
        return;
    if (list->kind != NODE_SEQ) {
        broken(r, "rateLimits", "is no list");
        return;
    }
    struct gateway_rate_limit *limits =
        ARENA_ARRAY(&r->c->arena, list->n, struct gateway_rate_limit);
    ASSERT(limits != NULL);
    for (uint32_t i = 0; i < list->n; i++) {
        const struct node *n = list->items[i];
        int64_t limit;
        const char *given = text(r, n, "limit");
        limits[i] = (struct gateway_rate_limit){.endpoint = text(r, n, "endpoint"),
            .window = duration(r, n, "window"),
            .fail_open = flag(r, n, "failOpen"),
            .retry_after_min = duration(r, n, "retryAfterMin"),
            .retry_after_max = duration(r, n, "retryAfterMax")};
        if (!int_parse_go(str_from(given), false, 32, &limit))
            broken(r, "rateLimits.limit", "is no number");
        else
            limits[i].limit = (uint32_t)limit;
        if (limits[i].window == 0)
            broken(r, "rateLimits.window", "is missing");
    }
    r->t->rate_limits = limits;
    r->t->n_rate_limits = list->n;
}

/* ---- the list ---- */

/* What storage takes: the same rule as for X-Scope-OrgID. */
static bool id_ok(const char *id)
{
    size_t n = strlen(id);
    if (n == 0 || n > ID_MAX || strcmp(id, ".") == 0 || strcmp(id, "..") == 0)
        return false;
    for (size_t i = 0; i < n; i++) {
        char ch = id[i];
        bool alnum =
            (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9');
        if (!alnum && strchr("!-_.*'()", ch) == NULL)
            return false;
    }
    return true;
}

static bool name_ok(const char *name)
{
    size_t n = strlen(name);
    if (n == 0 || n > NAME_MAX_BYTES || !str_utf8_valid(str_from(name)))
        return false;
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return false;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)name[i] <= 0x20 || name[i] == 0x7f ||
            strchr("/;,\"\\=", name[i]) != NULL)
            return false;
    return true;
}

static enum ec read_tenant(
    struct config *c, const struct node *n, uint32_t i, struct gateway_tenant *t, struct err *err)
{
    struct tenant_reader r = {.c = c, .t = t, .at = n};
    *t = (struct gateway_tenant){.opa_url = ""};
    if (n->kind != NODE_MAP)
        return ERR(err, EC_INVALID, "gateway: tenants[%u]: line %u: no block", i, n->line);
    t->name = text(&r, n, "name");
    t->id = text(&r, n, "id");
    if (!name_ok(t->name))
        return ERR(err, EC_INVALID, "gateway: tenants[%u]: line %u: name \"%.*s\" is not usable", i,
            n->line, NAME_MAX_BYTES, t->name);
    if (!id_ok(t->id))
        return ERR(err, EC_INVALID,
            "gateway: tenant %s: id \"%.*s\" is not usable: 1 to %d of A-Z a-z 0-9 ! - _ . * ' ( )",
            t->name, ID_MAX, t->id, ID_MAX);
    TRY(read_login(&r, err));
    TRY(read_opa(&r, err));
    read_rate_limits(&r);
    return EC_OK;
}

enum ec tenants_read(struct config *c, const struct node *list, struct err *err)
{
    if (node_is_null(list) || list->kind != NODE_SEQ || list->n == 0)
        return ERR(err, EC_INVALID, "gateway: the list of tenants is empty");
    if (list->n > TENANTS_MAX)
        return ERR(err, EC_LIMIT, "gateway: over %d tenants", TENANTS_MAX);
    struct gateway_tenant *tenants = ARENA_ARRAY(&c->arena, list->n, struct gateway_tenant);
    if (tenants == NULL)
        return ERR(err, EC_LIMIT, "gateway: tenants are over their memory budget");
    for (uint32_t i = 0; i < list->n; i++) {
        TRY(read_tenant(c, list->items[i], i, &tenants[i], err));
        for (uint32_t k = 0; k < i; k++) {
            if (strcmp(tenants[k].name, tenants[i].name) == 0)
                return ERR(err, EC_INVALID, "gateway: tenant %s is there twice", tenants[i].name);
            if (strcmp(tenants[k].id, tenants[i].id) == 0)
                warn_add(c, true, "gateway.tenants", "tenants share their data",
                    "%s and %s have one id", tenants[k].name, tenants[i].name);
        }
    }
    c->gateway.tenants = tenants;
    c->gateway.n_tenants = list->n;
    return EC_OK;
}
