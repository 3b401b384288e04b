/* SPDX-License-Identifier: Apache-2.0
 * Configuration becomes tenants; start and end. */
#include <gnutls/gnutls.h>
#include <stdlib.h>

#include "auth_int.h"
#include "base/hash.h"
#include "base/log.h"
#include "file.h"
#include "json.h"
#include "login.h"

#define TOKEN_TTL_NS      (120 * NS_PER_S)
#define REVIEW_TTL_NS     (60 * NS_PER_S)
#define CACHE_MAX         4096
#define CACHE_BYTES_MAX   (32u << 20)
#define REFUSED_MAX       1024
#define REFUSED_BYTES_MAX (1u << 20)
#define WAITING_MAX       10000

static const char *const method_names[] = {"oidc", "openshift", "mtls"};

static bool given(const char *s)
{
    return s != NULL && *s != 0;
}

static char *text_or_null(const char *s)
{
    return given(s) ? xstrdup(s) : NULL;
}

/* ---- one tenant ---- */

static void tenant_names(struct tenant *t)
{
    struct buf b = BUF_INIT;
    buf_putz(&b, "observatorium_");
    cookie_name_put(&b, str_from(t->name));
    t->cookie_name = str_n(xstrndup((const char *)b.p, b.n), b.n);
    buf_putz(&b, "_login");
    t->state_cookie_name = str_n(xstrndup((const char *)b.p, b.n), b.n);
    buf_reset(&b);
    buf_printf(&b, "/%s/", method_names[t->method]);
    http_url_escape(&b, str_from(t->name), "");
    t->login_path = xmalloc(b.n + sizeof("/login"));
    t->callback_path = xmalloc(b.n + sizeof("/callback"));
    snprintf(t->login_path, b.n + sizeof("/login"), "%.*s/login", (int)b.n, (const char *)b.p);
    snprintf(
        t->callback_path, b.n + sizeof("/callback"), "%.*s/callback", (int)b.n, (const char *)b.p);
    buf_deinit(&b);
}

static bool is_url(const char *s)
{
    struct str scheme, host, path, query;
    return given(s) && http_url_split(str_from(s), &scheme, &host, &path, &query);
}

static enum ec tenant_oidc(struct tenant *t, const struct auth_tenant *o, struct err *err)
{
    struct buf pem = BUF_INIT;
    if (!is_url(o->oidc.issuer_url))
        return ERR(err, EC_INVALID, "issuerURL is required");
    if (!given(o->oidc.client_id))
        return ERR(err, EC_INVALID, "clientID is required");
    t->issuer_url = xstrdup(o->oidc.issuer_url);
    t->client_id = xstrdup(o->oidc.client_id);
    t->client_secret = text_or_null(o->oidc.client_secret);
    t->redirect_url = text_or_null(o->oidc.redirect_url);
    t->username_claim = text_or_null(o->oidc.username_claim);
    t->group_claim = text_or_null(o->oidc.group_claim);
    t->has_login = t->redirect_url != NULL;
    secrets_derive(t, STR(""));
    /* The path is read now: what it lacks shall be said at start, as for the inline text. */
    if (given(o->oidc.issuer_ca_path))
        TRY(auth_file_read("auth.issuer_ca", o->oidc.issuer_ca_path, &pem, err));
    else
        buf_puts(&pem, o->oidc.issuer_ca_pem);
    const struct http_profile_options profile = {
        .ca_file = given(o->oidc.issuer_ca_path) ? o->oidc.issuer_ca_path : NULL,
        .ca_pem = given(o->oidc.issuer_ca_path) ? STR("") : o->oidc.issuer_ca_pem};
    enum ec ec = EC_OK;
    if (pem.n != 0 && !str_has(buf_str(&pem), STR("-----BEGIN CERTIFICATE-----")))
        ec = ERR(err, EC_INVALID, "failed to parse issuer CA certificate PEM");
    if (ec == EC_OK)
        ec = http_profile_new(&profile, &t->profile, err);
    buf_deinit(&pem);
    return ec;
}

static enum ec tenant_openshift(struct tenant *t, const struct auth_tenant *o, struct err *err)
{
    struct str secret = str_from(o->openshift.cookie_secret);
    if (secret.n != 0 && secret.n != 16 && secret.n != 24 && secret.n != 32)
        return ERR(err, EC_INVALID, "cookieSecret is of %zu bytes, not 16, 24 or 32", secret.n);
    t->service_account =
        xstrdup(given(o->openshift.service_account) ? o->openshift.service_account : "");
    t->redirect_url = text_or_null(o->openshift.redirect_url);
    t->has_login = t->redirect_url != NULL && *t->service_account != 0 && secret.n != 0;
    secrets_derive(t, secret);
    const struct http_profile_options profile = {
        .ca_file = kube_ca_file(t->a->kube), .system_cas = true};
    return http_profile_new(&profile, &t->profile, err);
}

static enum ec tenant_settings(struct tenant *t, const struct auth_tenant *o, struct err *err)
{
    if (given(o->broken))
        return ERR(err, EC_INVALID, "%s", o->broken);
    if (o->rule == AUTH_BY_OPA && !is_url(o->opa_url))
        return ERR(err, EC_INVALID, "opa.url is not an absolute URL");
    t->opa_url = text_or_null(o->opa_url);
    t->opa_with_token = o->opa_with_access_token;
    switch (o->method) {
    case AUTH_OIDC:
        return tenant_oidc(t, o, err);
    case AUTH_OPENSHIFT:
        return tenant_openshift(t, o, err);
    case AUTH_MTLS:
        return mtls_trust_new(o->mtls.ca_pem, o->mtls.ca_path, &t->trust, err);
    }
    return ERR(err, EC_INVALID, "no authenticator");
}

static struct tenant *tenant_new(struct auth *a, uint32_t index, const struct auth_tenant *o)
{
    struct tenant *t = xcalloc(1, sizeof(*t));
    struct err err = {0};
    t->a = a;
    t->index = index;
    t->name = xstrdup(o->name);
    t->id = xstrdup(o->id != NULL ? o->id : "");
    t->method = o->method;
    t->rule = o->rule;
    pthread_mutex_init(&t->lock, NULL);
    tenant_names(t);
    t->failed_registrations =
        metric_failed_registration(str_from(t->name), method_names[t->method]);
    if (tenant_settings(t, o, &err) != EC_OK) {
        t->broken = xstrdup(err_msg(&err));
        metric_skipped_tenant(str_from(t->name));
        log_event(LOG_ERROR, "tenant is not served: its configuration is broken",
            LZ("tenant", t->name), LE(&err));
    }
    return t;
}

static void secret_free(char *s)
{
    if (s != NULL)
        explicit_bzero(s, strlen(s));
    free(s);
}

static void tenant_free(struct tenant *t)
{
    if (t->issuer != NULL)
        cache_value_unref(&t->issuer->base);
    if (t->oauth != NULL)
        cache_value_unref(&t->oauth->base);
    mtls_trust_free(t->trust);
    http_profile_free(t->profile);
    secret_free(t->client_secret);
    free((void *)(uintptr_t)t->cookie_name.p);
    free((void *)(uintptr_t)t->state_cookie_name.p);
    free(t->name);
    free(t->id);
    free(t->broken);
    free(t->login_path);
    free(t->callback_path);
    free(t->client_id);
    free(t->issuer_url);
    free(t->redirect_url);
    free(t->username_claim);
    free(t->group_claim);
    free(t->service_account);
    free(t->opa_url);
    pthread_mutex_destroy(&t->lock);
    explicit_bzero(t, sizeof(*t));
    free(t);
}

/* ---- the table of names ---- */

static uint32_t *slot_of(const struct auth *a, struct str name)
{
    uint32_t at = (uint32_t)hash64(name.p, name.n) & (a->n_slots - 1);
    while (a->slots[at] != UINT32_MAX && !str_eqz(name, a->tenants[a->slots[at]]->name))
        at = (at + 1) & (a->n_slots - 1);
    return &a->slots[at];
}

struct tenant *auth_tenant_find(const struct auth *a, struct str name)
{
    uint32_t i = *slot_of(a, name);
    return i == UINT32_MAX ? NULL : a->tenants[i];
}

bool auth_tenant_id(const struct auth *a, struct str name, struct str *ret_id)
{
    const struct tenant *t = auth_tenant_find(a, name);
    if (t == NULL)
        return false;
    *ret_id = str_from(t->id);
    return true;
}

static enum ec tenants_add(struct auth *a, const struct auth_options *opt, struct err *err)
{
    a->n_slots = 8;
    while (a->n_slots < opt->n_tenants * 2)
        a->n_slots *= 2;
    a->slots = xmalloc(a->n_slots * sizeof(*a->slots));
    memset(a->slots, 0xff, a->n_slots * sizeof(*a->slots));
    a->tenants = xcalloc(opt->n_tenants + 1, sizeof(struct tenant *));
    for (size_t i = 0; i < opt->n_tenants; i++) {
        const struct auth_tenant *o = &opt->tenants[i];
        if (!given(o->name))
            return ERR(err, EC_INVALID, "tenant %zu has no name", i + 1);
        uint32_t *slot = slot_of(a, str_from(o->name));
        if (*slot != UINT32_MAX)
            return ERR(err, EC_INVALID, "tenant %s is given twice", o->name);
        a->tenants[a->n_tenants] = tenant_new(a, (uint32_t)i, o);
        *slot = (uint32_t)a->n_tenants++;
    }
    return EC_OK;
}

/* ---- start and end ---- */

static void begin(void *arg)
{
    struct auth *a = arg;
    for (size_t i = 0; i < a->n_tenants; i++) {
        struct tenant *t = a->tenants[i];
        if (t->broken != NULL)
            continue;
        if (t->method == AUTH_OIDC)
            oidc_start(t);
        else if (t->method == AUTH_OPENSHIFT)
            oauth_start(t);
    }
}

bool auth_ready(struct auth *a)
{
    bool ready = true;
    for (size_t i = 0; i < a->n_tenants && ready; i++) {
        struct tenant *t = a->tenants[i];
        pthread_mutex_lock(&t->lock);
        ready = t->method != AUTH_OIDC || t->broken != NULL || t->issuer != NULL;
        pthread_mutex_unlock(&t->lock);
    }
    return ready;
}

struct ending {
    struct auth *a;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool done;
};

static void end(void *arg)
{
    struct ending *e = arg;
    struct auth *a = e->a;
    a->stopping = true;
    for (size_t i = 0; i < a->n_tenants; i++) {
        struct tenant *t = a->tenants[i];
        http_timer_stop(&t->timer);
        if (t->call != NULL)
            http_client_cancel(a->client, t->call);
        http_timer_stop(&t->timer); /* what the cancellation may have set */
    }
    flights_end(a);
    exchanges_end(a);
    pthread_mutex_lock(&e->lock);
    e->done = true;
    pthread_cond_signal(&e->cond);
    pthread_mutex_unlock(&e->lock);
}

static void stop(struct auth *a)
{
    struct ending e = {.a = a};
    pthread_mutex_init(&e.lock, NULL);
    pthread_cond_init(&e.cond, NULL);
    ASSERT(http_client_run(a->client, end, &e)); /* the client outlives us */
    pthread_mutex_lock(&e.lock);
    while (!e.done)
        pthread_cond_wait(&e.cond, &e.lock);
    pthread_mutex_unlock(&e.lock);
    pthread_cond_destroy(&e.cond);
    pthread_mutex_destroy(&e.lock);
}

static void parts_free(struct auth *a)
{
    auth_metrics_free(a);
    for (size_t i = 0; i < a->n_tenants; i++)
        tenant_free(a->tenants[i]);
    cache_free(a->identities);
    cache_free(a->refused);
    cache_free(a->decisions);
    http_profile_free(a->opa_profile);
    kube_free(a->kube);
    roles_free(a->roles);
    free(a->tenants);
    free(a->slots);
    free(a);
}

enum ec auth_new(const struct auth_options *opt, struct auth **ret, struct err *err)
{
    struct auth *a = xcalloc(1, sizeof(*a));
    unsigned entries = opt->cache_max != 0 ? opt->cache_max : CACHE_MAX;
    json_start();
    a->client = opt->client;
    a->token_ttl_ns = opt->token_ttl_ns != 0 ? opt->token_ttl_ns : TOKEN_TTL_NS;
    a->review_ttl_ns = opt->review_ttl_ns != 0 ? opt->review_ttl_ns : REVIEW_TTL_NS;
    a->waiting_max = opt->waiting_max != 0 ? opt->waiting_max : WAITING_MAX;
    a->identities = cache_new(entries, CACHE_BYTES_MAX);
    a->refused = cache_new(MIN(entries, REFUSED_MAX), REFUSED_BYTES_MAX);
    a->decisions = cache_new(entries, CACHE_BYTES_MAX);
    a->roles = roles_new(opt);
    auth_metrics_new(a);
    enum ec ec = kube_new(&opt->kubernetes, &a->kube, err);
    if (ec == EC_OK)
        ec = http_profile_new(&(struct http_profile_options){0}, &a->opa_profile, err);
    if (ec == EC_OK)
        ec = tenants_add(a, opt, err);
    if (ec == EC_OK && !http_client_run(a->client, begin, a))
        ec = ERR(err, EC_CANCELED, "the HTTP client is being stopped");
    if (ec != EC_OK) {
        parts_free(a);
        return ec;
    }
    *ret = a;
    return EC_OK;
}

void auth_free(struct auth *a)
{
    if (a == NULL)
        return;
    stop(a);
    parts_free(a);
}
