/* SPDX-License-Identifier: Apache-2.0
 * What makes the server refuse to start, with the texts of a Tempo that fails to start. Runs for
 * -config.verify too. */
#include <regex.h>
#include <stdio.h>
#include <string.h>

#include "doc.h"

#define INIT       "failed to init module services: "
#define IN(module) INIT "error initialising module: " module ": "

static bool is_one_of(const char *s, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(s, list[i]) == 0)
            return true;
    return false;
}
#define ONE_OF(s, list) is_one_of((s), (list), ARRAY_LEN(list))

static enum ec validate_log(const struct config *c, struct err *err)
{
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    if (!ONE_OF(c->server.log_level, levels))
        return ERR(err, EC_INVALID,
            "failed parsing config: failed to parse configFile %.300s: unrecognized log level \"%.80s\"",
            c->file == NULL ? "" : c->file, c->server.log_level);
    return EC_OK;
}

static enum ec validate_target(struct config *c, struct err *err)
{
    static const char *const parts[] = {"distributor", "ingester", "querier", "query-frontend",
        "compactor", "metrics-generator", "block-builder", "backend-scheduler", "backend-worker",
        "live-store"};
    if (c->target[0] == 0)
        c->target = "all";
    if (strcmp(c->target, "all") == 0)
        return EC_OK;
    if (strcmp(c->target, "scalable-single-binary") == 0) {
        warn_add(c, true, "target", "local backend with a target that is not single",
            "target all is used");
        c->target = "all";
        return EC_OK;
    }
    if (ONE_OF(c->target, parts))
        return ERR(err, EC_UNSUPPORTED,
            INIT "target %s: all parts run in one process, only target all is supported",
            c->target);
    return ERR(err, EC_INVALID, INIT "unrecognised module name: %.80s", c->target);
}

static enum ec validate_storage(const struct config *c, struct err *err)
{
    static const char *const remote[] = {"s3", "gcs", "azure"};
    const struct node *n = doc_get(c->doc, "storage.trace.backend");
    struct str backend = n == NULL ? STR("") : n->s;

    for (size_t i = 0; i < ARRAY_LEN(remote); i++)
        if (str_eqz(backend, remote[i]))
            return ERR(err, EC_UNSUPPORTED,
                IN("store") "failed to create store: backend %s is not supported by this release: use local",
                remote[i]);
    if (!str_eqz(backend, "local"))
        return ERR(err, EC_INVALID, IN("store") "failed to create store: unknown backend %.*s",
            (int)MIN(backend.n, 80), backend.p);
    if (c->local_path[0] == 0)
        return ERR(err, EC_INVALID,
            IN("store") "failed to create store: mkdir : no such file or directory");
    if (c->wal_path[0] == 0)
        return ERR(err, EC_INVALID,
            IN("store") "failed to create store: please provide a path for the WAL");
    return EC_OK;
}

static enum ec validate_block(const struct config *c, struct err *err)
{
    static const char *const versions[] = {"", "vParquet2", "vParquet3", "vParquet4", "vParquet5"};
    struct value v;
    if (doc_value(c->doc, "storage.trace.block.version", &v)) {
        char version[32];
        snprintf(version, sizeof(version), "%.*s", (int)MIN(v.s.n, sizeof(version) - 1), v.s.p);
        if (!ONE_OF(version, versions))
            return ERR(err, EC_INVALID,
                IN("store") "failed to create store: %s is not a valid block version", version);
    }
    if (doc_value(c->doc, "storage.trace.block.bloom_filter_false_positive", &v) &&
        !(v.f > 0 && v.f < 1))
        return ERR(err, EC_INVALID,
            IN("store") "failed to create store: invalid bloom filter fp rate %g: must be between 0 and 1",
            v.f);
    if (doc_bool(c->doc, "storage.trace.empty_tenant_deletion_enabled") &&
        doc_int(c->doc, "storage.trace.empty_tenant_deletion_age") == 0)
        return ERR(err, EC_INVALID,
            IN("store") "failed to create store: empty tenant deletion age must be greater than 0");
    return EC_OK;
}

/* Positive and, where Tempo says so, bounded numbers. */
static enum ec validate_numbers(const struct config *c, struct err *err)
{
    static const char *const positive[] = {"live_store.max_trace_idle", "live_store.max_trace_live",
        "live_store.max_block_duration", "live_store.max_block_bytes",
        "live_store.flush_check_period", "live_store.complete_block_concurrency",
        "live_store.max_live_traces_bytes", "ingester.trace_idle_period",
        "ingester.trace_live_period", "ingester.max_block_duration", "ingester.max_block_bytes",
        "ingester.flush_check_period", "ingester.concurrent_flushes"};
    static const char *const retentions[] = {"backend_worker.compaction.block_retention",
        "backend_scheduler.provider.compaction.compaction.block_retention",
        "compactor.compaction.block_retention"};
    static const char *const ports[] = {
        "server.http_listen_port", "server.grpc_listen_port", "internal_server.http_listen_port"};
    struct value v;
    char text[40];

    for (size_t i = 0; i < ARRAY_LEN(positive); i++) {
        int64_t n = doc_int(c->doc, positive[i]);
        bool is_duration = schema_at(positive[i])->type == KT_DURATION;
        if (n > 0)
            continue;
        snprintf(text, sizeof(text), "%lld", (long long)n);
        if (is_duration)
            duration_format_go(n, text);
        return ERR(err, EC_INVALID, IN("live-store") "%s must be greater than 0, got %s",
            positive[i], text);
    }
    for (size_t i = 0; i < ARRAY_LEN(retentions); i++)
        if (doc_value(c->doc, retentions[i], &v) && v.i <= 0)
            return ERR(err, EC_INVALID, IN("store") "%s: block_retention must be greater than 0",
                retentions[i]);
    for (size_t i = 0; i < ARRAY_LEN(ports); i++)
        if (doc_int(c->doc, ports[i]) > 65535)
            return ERR(err, EC_INVALID, IN("server") "%s: invalid port %lld", ports[i],
                (long long)doc_int(c->doc, ports[i]));
    return EC_OK;
}

static enum ec validate_frontend(struct config *c, struct err *err)
{
    char after[40], cutoff[40];
    int64_t shards = doc_int(c->doc, "query_frontend.trace_by_id.query_shards");
    int64_t search_after = doc_int(c->doc, "query_frontend.search.query_backend_after");
    c->query_end_cutoff = MAX(c->query_end_cutoff, 0);
    if (c->query_end_cutoff > 0 && c->query_end_cutoff >= search_after) {
        duration_format_go(search_after, after);
        duration_format_go(c->query_end_cutoff, cutoff);
        return ERR(err, EC_INVALID,
            IN("query-frontend") "QueryBackendAfter (%s) must be greater than query end cutoff (%s)",
            after, cutoff);
    }
    if (shards < 2 || shards > 100000)
        return ERR(err, EC_INVALID,
            IN("query-frontend") "frontend query shards should be between 2 and 100000 (both inclusive)");
    for (size_t i = 0; c->url_deny_list != NULL && c->url_deny_list[i] != NULL; i++) {
        regex_t re;
        if (regcomp(&re, c->url_deny_list[i], REG_EXTENDED | REG_NOSUB) != 0)
            return ERR(err, EC_INVALID,
                IN("query-frontend") "url_deny_list: invalid regular expression %.200s",
                c->url_deny_list[i]);
        regfree(&re);
    }
    return EC_OK;
}

/* The suites of TLS 1.2 that Go knows by name; those of 1.3 cannot be chosen. */
static enum ec validate_suites(const char *suites, struct err *err)
{
    static const char *const known[] = {"TLS_RSA_WITH_AES_128_CBC_SHA",
        "TLS_RSA_WITH_AES_256_CBC_SHA", "TLS_RSA_WITH_AES_128_GCM_SHA256",
        "TLS_RSA_WITH_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
        "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
        "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256", "TLS_RSA_WITH_AES_128_CBC_SHA256"};
    struct str rest = str_from(suites);
    while (rest.n > 0) {
        struct str one = str_trim(str_cut(rest, ',', &rest));
        char name[80];
        snprintf(name, sizeof(name), "%.*s", (int)MIN(one.n, sizeof(name) - 1), one.p);
        if (!ONE_OF(name, known))
            return ERR(err, EC_INVALID, IN("server") "cipher suite not recognized: %s", name);
    }
    return EC_OK;
}

enum ec validate_tls_names(const char *suites, const char *client_auth_type, struct err *err)
{
    static const char *const auths[] = {"NoClientCert", "RequestClientCert", "RequireAnyClientCert",
        "VerifyClientCertIfGiven", "RequireAndVerifyClientCert"};
    if (client_auth_type != NULL && !ONE_OF(client_auth_type, auths))
        return ERR(
            err, EC_INVALID, IN("server") "invalid TLS client auth type: %.80s", client_auth_type);
    return suites != NULL ? validate_suites(suites, err) : EC_OK;
}

static enum ec validate_tls(const struct config_tls *t, struct err *err)
{
    TRY(validate_tls_names(t->cipher_suites, t->client_auth_type, err));
    if (t->client_ca_file != NULL && t->client_auth_type != NULL &&
        strcmp(t->client_auth_type, "NoClientCert") == 0)
        return ERR(err, EC_INVALID,
            IN("server") "Client CA's have been configured without a Client Auth Policy");
    if (t->set && t->key_file == NULL && t->key_pem == NULL)
        return ERR(err, EC_INVALID, IN("server") "TLS certificate without a key");
    return EC_OK;
}

static enum ec validate_columns(const struct config *c, struct err *err)
{
    static const char *const scopes[] = {"resource", "span", "event"};
    static const char *const types[] = {"string", "int"};
    const struct node *list = doc_get(c->doc, "storage.trace.block.parquet_dedicated_columns");
    for (uint32_t i = 0; list != NULL && list->kind == NODE_SEQ && i < list->n; i++) {
        struct str field[3];
        static const char *const names[] = {"scope", "name", "type"};
        for (size_t k = 0; k < 3; k++) {
            const struct node *n = node_get(list->items[i], str_from(names[k]));
            field[k] = n == NULL || n->kind != NODE_SCALAR ? STR("") : n->s;
        }
        char scope[16], type[16];
        snprintf(scope, sizeof(scope), "%.*s", (int)MIN(field[0].n, 15), field[0].p);
        snprintf(type, sizeof(type), "%.*s", (int)MIN(field[2].n, 15), field[2].p);
        if (!ONE_OF(scope, scopes) || (type[0] != 0 && !ONE_OF(type, types)) || field[1].n == 0)
            return ERR(err, EC_INVALID,
                IN("store") "failed to create store: dedicated column %u is invalid: scope '%s', type '%s'",
                i + 1, scope, type);
        for (uint32_t j = 0; j < i; j++) {
            const struct node *other = node_get(list->items[j], STR("name"));
            const struct node *other_scope = node_get(list->items[j], STR("scope"));
            if (other != NULL && other_scope != NULL && str_eq(other->s, field[1]) &&
                str_eq(other_scope->s, field[0]))
                return ERR(err, EC_INVALID,
                    IN("store") "failed to create store: duplicate dedicated column %s.%.*s", scope,
                    (int)MIN(field[1].n, 100), field[1].p);
        }
    }
    return EC_OK;
}

static enum ec validate_caches(const struct config *c, struct err *err)
{
    static const char *const roles[] = {"bloom", "trace-id-index", "parquet-footer",
        "parquet-column-idx", "parquet-offset-idx", "parquet-page", "frontend-search"};
    const struct node *list = doc_get(c->doc, "cache.caches");
    bool claimed[ARRAY_LEN(roles)] = {false};

    for (uint32_t i = 0; list != NULL && i < list->n; i++) {
        const struct node *item = list->items[i];
        const struct node *mine = node_get(item, STR("roles"));
        bool memcached = node_get(item, STR("memcached")) != NULL;
        bool redis = node_get(item, STR("redis")) != NULL;
        if (mine == NULL || mine->kind != NODE_SEQ || mine->n == 0)
            return ERR(
                err, EC_INVALID, IN("cache-provider") "configured caches require a valid role");
        if (memcached == redis)
            return ERR(err, EC_INVALID, IN("cache-provider") "%s",
                memcached ? "cache config can only have one of memcached and redis"
                          : "cache config needs one of memcached and redis");
        for (uint32_t k = 0; k < mine->n; k++) {
            size_t r = 0;
            while (r < ARRAY_LEN(roles) && !str_eqz(mine->items[k]->s, roles[r]))
                r++;
            if (r == ARRAY_LEN(roles))
                return ERR(err, EC_INVALID, IN("cache-provider") "role %.*s is not a valid role",
                    (int)MIN(mine->items[k]->s.n, 80), mine->items[k]->s.p);
            if (claimed[r])
                return ERR(err, EC_INVALID,
                    IN("cache-provider") "role %s is claimed by more than one cache", roles[r]);
            claimed[r] = true;
        }
    }
    return EC_OK;
}

/* Booleans that are refused when true, lists and blocks when not empty. */
struct refusal {
    struct config *c;
    enum ec ec;
    struct err *err;
};

static void refuse_key(void *ctx, const struct key *k, const char *path, size_t base)
{
    struct refusal *r = ctx;
    const struct node *n = doc_get(r->c->doc, path);
    (void)base;
    if (r->ec != EC_OK || n == NULL)
        return;
    if (r->c->portable && (k->flags & KEY_OWN) != 0)
        r->ec = ERR(r->err, EC_INVALID,
            "failed parsing config: failed to parse configFile %.300s: line %u: %s is no key of Tempo",
            r->c->file == NULL ? "" : r->c->file, n->line, path);
    struct value v;
    if (k->type == KT_DURATION && k->decision != KEY_N && (k->flags & KEY_SIGNED) == 0 &&
        doc_value(r->c->doc, path, &v) && v.i < 0)
        r->ec = ERR(r->err, EC_INVALID, INIT "%s must not be negative", path);
    if (k->decision != KEY_R)
        return;
    if (k->type == KT_BOOL       ? doc_bool(r->c->doc, path)
        : n->kind == NODE_SCALAR ? n->s.n > 0
                                 : n->n > 0)
        r->ec = ERR(r->err, EC_UNSUPPORTED, INIT "%s: %s", path, k->note);
}

enum ec validate_config(struct config *c, struct err *err)
{
    struct refusal r = {.c = c, .err = err};
    TRY(validate_log(c, err));
    TRY(validate_target(c, err));
    TRY(validate_numbers(c, err));
    schema_each(&schema_root, "", 0, refuse_key, &r);
    TRY(r.ec);
    TRY(validate_tls(&c->server.http_tls, err));
    TRY(validate_tls(&c->server.grpc_tls, err));
    TRY(validate_tls(&c->internal_server.http_tls, err));
    TRY(validate_storage(c, err));
    TRY(validate_block(c, err));
    TRY(validate_columns(c, err));
    TRY(validate_caches(c, err));
    return validate_frontend(c, err);
}
