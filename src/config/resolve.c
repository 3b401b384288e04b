/* SPDX-License-Identifier: Apache-2.0
 * Settings that come from several keys, and where we depart from Tempo on purpose.
 *
 * A flag wins over the file. Among keys of the file the order of the table counts, the first that
 * is set wins; a loser with another value is named in a warning. The winner's value is kept as the
 * effective value of the first key, which is the one of the current Tempo and the one printed. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "doc.h"

#define SOURCES_MAX      4
#define RETENTION_PASS   (60 * NS_PER_S) /* ours; Tempo's is an hour */
#define BUDGET_BYTES_MIN (64ULL << 20)

struct merged {
    const char *sources[SOURCES_MAX]; /* in order of precedence */
    const char *dflt;                 /* key whose default applies; NULL: the first */
    enum key_target target;
    size_t offset;
};

/* clang-format off */
#define WORKER    "backend_worker.compaction."
#define SCHEDULER "backend_scheduler.provider.compaction.compaction."
#define COMPACTOR "compactor.compaction."
#define GROUP(key) {WORKER key, SCHEDULER key, COMPACTOR key}
static const struct merged merged[] = {
    {GROUP("block_retention"), NULL, TARGET_I64, offsetof(struct config, retention)},
    {GROUP("compaction_window"), NULL, TARGET_I64, offsetof(struct config, compaction_window)},
    {GROUP("max_compaction_objects"), NULL, TARGET_U32, offsetof(struct config, compaction_objects_max)},
    {GROUP("max_block_bytes"), NULL, TARGET_U64, offsetof(struct config, compaction_bytes_max)},
    {GROUP("compaction_cycle"), NULL, TARGET_I64, offsetof(struct config, compaction_cycle)},
    {{"live_store.max_trace_idle", "ingester.trace_idle_period"}, NULL, TARGET_I64, offsetof(struct config, trace_idle)},
    {{"live_store.max_trace_live", "ingester.trace_live_period"}, NULL, TARGET_I64, offsetof(struct config, trace_live)},
    {{"live_store.max_block_duration", "ingester.max_block_duration"}, NULL, TARGET_I64, offsetof(struct config, block_age_max)},
    {{"live_store.max_block_bytes", "ingester.max_block_bytes"}, NULL, TARGET_U64, offsetof(struct config, block_bytes_max)},
    {{"live_store.flush_check_period", "ingester.flush_check_period"}, NULL, TARGET_I64, offsetof(struct config, flush_check_period)},
    {{"live_store.complete_block_concurrency", "ingester.concurrent_flushes"}, NULL, TARGET_U32, offsetof(struct config, block_workers)},
    {{"storage.trace.wal.path"}, NULL, TARGET_STR, offsetof(struct config, wal_path)},
    {{"multitenancy_enabled", "auth_enabled"}, NULL, TARGET_NONE, 0},
};
/* clang-format on */

/* Index of the source that counts; SOURCES_MAX when none is set. */
static size_t pick_source(const struct config_doc *d, const struct merged *m)
{
    for (int flags = 1; flags >= 0; flags--)
        for (size_t i = 0; i < SOURCES_MAX && m->sources[i] != NULL; i++)
            if ((flags ? doc_flag : doc_get)(d, m->sources[i]) != NULL)
                return i;
    return SOURCES_MAX;
}

static void warn_losers(struct config *c, const struct merged *m, size_t winner)
{
    struct value won, lost;
    const struct key *k = schema_at(m->sources[winner]);
    (void)doc_value(c->doc, m->sources[winner], &won);
    for (size_t i = 0; i < SOURCES_MAX && m->sources[i] != NULL; i++)
        if (i != winner && doc_value(c->doc, m->sources[i], &lost) &&
            !values_equal((enum key_type)k->type, &won, &lost))
            warn_add(c, false, m->sources[i], "config key is overruled by another", "%s counts",
                m->sources[winner]);
}

static enum ec resolve_merged(struct config *c, const struct merged *m, struct err *err)
{
    size_t i = pick_source(c->doc, m);
    const char *path = m->sources[i == SOURCES_MAX ? 0 : i];
    struct key k = *schema_at(path);

    if (i != SOURCES_MAX) {
        warn_losers(c, m, i);
        VEC_PUSH(
            &c->doc->effective, ((struct doc_entry){.path = m->sources[0],
                                    .value = (struct node *)(uintptr_t)doc_get(c->doc, path)}));
    }
    if (m->target == TARGET_NONE)
        return EC_OK;
    k.offset = 0;
    k.target = (uint8_t)m->target;
    TRY(bind_key(&c->arena, &k, path, doc_get(c->doc, path), (char *)c + m->offset, err));
    if (m->offset == offsetof(struct config, retention))
        c->retention_source = i == SOURCES_MAX ? "default" : path;
    return EC_OK;
}

static void resolve_wal_path(struct config *c)
{
    /* The 3.0 key counts only when it is set: its default would move the log of every 2.9 user. */
    if (doc_get(c->doc, "live_store.wal.path") != NULL)
        c->wal_path = doc_string(c, "live_store.wal.path");
}

static void resolve_compaction(struct config *c)
{
    c->compaction_disabled =
        doc_bool(c->doc, "compactor.disabled") || c->compaction_inputs_max == 0;
    c->retention_interval =
        MIN(doc_int(c->doc, "backend_scheduler.provider.retention.interval"), RETENTION_PASS);
    if (doc_get(c->doc, "ingester.flush_all_on_shutdown") != NULL)
        c->flush_all_on_shutdown = doc_bool(c->doc, "ingester.flush_all_on_shutdown");
}

/* The shorter of two limits of which 0 means none. */
static int64_t shorter(int64_t a, int64_t b)
{
    return a == 0 ? b : b == 0 ? a : MIN(a, b);
}

static void resolve_timeouts(struct config *c)
{
    const struct config_doc *d = c->doc;
    int64_t query = doc_int(d, "querier.search.query_timeout");
    c->search_timeout = shorter(doc_int(d, "query_frontend.search.timeout"), query);
    c->metrics_timeout = shorter(c->metrics_timeout, query);
    c->trace_timeout = shorter(doc_int(d, "query_frontend.trace_by_id.timeout"),
        doc_int(d, "querier.trace_by_id.query_timeout"));
}

static void resolve_prefix(struct config *c)
{
    const char *given = c->http_api_prefix;
    size_t n = strlen(given);
    while (n > 0 && given[n - 1] == '/')
        n--;
    if (n == 0) {
        c->http_api_prefix = "";
        return;
    }
    c->http_api_prefix =
        arena_printf(&c->arena, "%s%.*s", given[0] == '/' ? "" : "/", (int)n, given);
    ASSERT(c->http_api_prefix != NULL);
    if (given[0] != '/')
        warn_add(c, false, "http_api_prefix", "http_api_prefix has no leading slash", "%s is used",
            c->http_api_prefix);
}

static void resolve_memory(struct config *c)
{
    struct value ratio;
    uint64_t limit = memory_cgroup_limit();
    c->memory_budget = (uint64_t)doc_int(c->doc, "memory.budget_bytes");
    (void)doc_value(c->doc, "memory.automemlimit_ratio", &ratio);
    if (c->memory_budget == 0 && doc_bool(c->doc, "memory.automemlimit_enabled") && limit != 0)
        c->memory_budget = (uint64_t)((double)limit * ratio.f);
    if (c->memory_budget == 0)
        c->memory_budget = memory_budget_default();
    c->memory_budget = MAX(c->memory_budget, BUDGET_BYTES_MIN);
}

/* "commit", "none" or "interval:<duration>". */
static enum ec resolve_durability(struct config *c, struct err *err)
{
    const char *text = doc_string(c, "storage.trace.wal.durability");
    struct str rest, mode = str_cut(str_from(text), ':', &rest);
    c->durability = "commit";
    if (strcmp(text, "commit") == 0)
        return EC_OK;
    c->durability = "none";
    if (strcmp(text, "none") == 0)
        return EC_OK;
    c->durability = "interval";
    if (str_eqz(mode, "interval") && duration_parse_go(rest, &c->durability_interval) &&
        c->durability_interval > 0)
        return EC_OK;
    return ERR(err, EC_INVALID,
        "failed to init module services: error initialising module: store: invalid storage.trace.wal.durability \"%.80s\": commit, none or interval:<duration>",
        text);
}

enum ec resolve_tls_version(
    struct config *c, const char *prefix, const char **version, struct err *err)
{
    static const char *const names[][2] = {{"VersionTLS10", "1.2"}, {"VersionTLS11", "1.2"},
        {"VersionTLS12", "1.2"}, {"VersionTLS13", "1.3"}};
    if ((*version)[0] == 0) {
        *version = NULL;
        return EC_OK;
    }
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(*version, names[i][0]) != 0)
            continue;
        *version = names[i][1];
        if (i < 2)
            warn_add(c, false, prefix, "TLS below 1.2 is not offered", "VersionTLS12 is used");
        return EC_OK;
    }
    return ERR(err, EC_INVALID,
        "failed to init module services: error initialising module: server: TLS version %.40s not recognized",
        *version);
}

static enum ec resolve_tls(
    struct config *c, const char *prefix, struct config_server *s, struct err *err)
{
    struct config_tls *both[] = {&s->http_tls, &s->grpc_tls};

    TRY(resolve_tls_version(c, prefix, &s->http_tls.min_version, err));
    s->grpc_tls.min_version = s->http_tls.min_version;
    s->grpc_tls.cipher_suites = s->http_tls.cipher_suites;
    for (size_t i = 0; i < ARRAY_LEN(both); i++) {
        struct config_tls *t = both[i];
        const char **fields[] = {&t->cert_file, &t->key_file, &t->cert_pem, &t->key_pem,
            &t->client_ca_file, &t->client_auth_type, &t->cipher_suites};
        for (size_t k = 0; k < ARRAY_LEN(fields); k++)
            if (*fields[k] != NULL && (*fields[k])[0] == 0)
                *fields[k] = NULL;
        t->set = t->cert_file != NULL || t->cert_pem != NULL;
        if (t->set && t->client_ca_file != NULL && t->client_auth_type == NULL) {
            /* Tempo refuses this; guides have it, and can only mean one thing. */
            t->client_auth_type = "RequireAndVerifyClientCert";
            warn_add(c, false, prefix, "client_ca_file without client_auth_type",
                "RequireAndVerifyClientCert is used");
        }
    }
    return EC_OK;
}

enum ec resolve_limits(struct config *c, struct err *err)
{
    const struct config_doc *d = c->doc;
    const char *strategy = doc_string(c, "overrides.defaults.ingestion.rate_strategy");
    const struct node *flat = NULL;
    const struct node *overrides = doc_get(d, "overrides");

    for (size_t i = 0; i < schema_limits_flat.n && flat == NULL; i++) {
        const struct node *n = node_get(overrides, str_from(schema_limits_flat.keys[i].name));
        flat = node_is_null(n) ? NULL : n;
    }
    if (flat != NULL && node_get(overrides, STR("defaults")) != NULL)
        return ERR(err, EC_INVALID,
            "failed parsing config: failed to parse configFile %.300s: line %u: overrides has keys of the flat and of the scoped shape",
            c->file, flat->line);
    if (doc_get(d, "overrides.ingestion_rate_strategy") != NULL)
        strategy = doc_string(c, "overrides.ingestion_rate_strategy");
    if (strcmp(strategy, "local") != 0 && strcmp(strategy, "global") != 0)
        return ERR(err, EC_INVALID,
            "failed to init module services: error initialising module: overrides: unknown ingestion rate strategy \"%.80s\"",
            strategy);
    c->limits.rate_global = strcmp(strategy, "global") == 0;
    if (doc_get(d, "overrides.defaults.ingestion.artificial_delay") == NULL &&
        doc_get(d, "overrides.ingestion_artificial_delay") == NULL)
        c->limits.artificial_delay = c->artificial_delay;
    const struct node *dimensions = doc_get(d, "overrides.defaults.cost_attribution.dimensions");
    if (dimensions == NULL)
        dimensions = doc_get(d, "overrides.cost_attribution.dimensions");
    TRY(resolve_dimensions(&c->arena, dimensions, &c->limits, err));
    const char *file = doc_string(c, "overrides.per_tenant_override_config");
    c->overrides_file = file[0] == 0 ? NULL : file;
    c->overrides_period = doc_int(d, "overrides.per_tenant_override_period");
    if (flat != NULL)
        warn_add(c, false, "overrides", "overrides are in the old flat shape",
            "move them below overrides.defaults");
    return EC_OK;
}

static enum ec resolve_user_limits(struct config *c, struct err *err)
{
#define USER "overrides.user_configurable_overrides."
    struct buf dir = BUF_INIT;
    c->user_limits_on = doc_bool(c->doc, USER "enabled");
    c->user_limits_check_conflicts =
        doc_bool(c->doc, USER "api.check_for_conflicting_runtime_overrides");
    const char *backend = doc_string(c, USER "client.backend");
    const char *path = doc_string(c, USER "client.local.path");
    if (c->user_limits_on && backend[0] != 0 && strcmp(backend, "local") != 0)
        return ERR(err, EC_UNSUPPORTED,
            USER "client.backend: %.40s is not supported, only local is", backend);
    buf_printf(&dir, "%s/@overrides", path[0] != 0 ? path : c->local_path);
    c->user_limits_dir = arena_strz(&c->arena, buf_str(&dir));
    buf_deinit(&dir);
    ASSERT(c->user_limits_dir != NULL); /* no budget */
    return EC_OK;
#undef USER
}

enum ec resolve_config(struct config *c, struct err *err)
{
    for (size_t i = 0; i < ARRAY_LEN(merged); i++)
        TRY(resolve_merged(c, &merged[i], err));
    c->multitenancy = doc_bool(c->doc, "multitenancy_enabled") || doc_bool(c->doc, "auth_enabled");
    c->internal_server_on = doc_bool(c->doc, "internal_server.enable");
    if (doc_bool(c->doc, "distributor.log_received_traces"))
        c->log_received_spans.enabled = true;
    resolve_wal_path(c);
    resolve_compaction(c);
    resolve_timeouts(c);
    resolve_prefix(c);
    resolve_memory(c);
    TRY(resolve_tls(c, "server", &c->server, err));
    TRY(resolve_tls(c, "internal_server", &c->internal_server, err));
    TRY(resolve_durability(c, err));
    TRY(resolve_limits(c, err));
    TRY(resolve_generator(c, err));
    TRY(resolve_user_limits(c, err));
    TRY(resolve_forwarders(c, err));
    TRY(resolve_receivers(c, err));
    return resolve_gateway(c, err);
}
