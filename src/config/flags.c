/* SPDX-License-Identifier: Apache-2.0
 * The command line in the syntax of Go's flag package: one or two dashes, -name=value or -name
 * value, booleans only with `=`. Most flags stand for a key and are kept in the document, where
 * they win over the file. */
#include <stdio.h>
#include <string.h>

#include "doc.h"
#include "flags_ignored.h"

enum flag_kind {
    FLAG_KEY,   /* stands for the key at `path`, which gives the type */
    FLAG_BOOL,  /* no key: a boolean of struct config at `offset`, or nothing */
    FLAG_VALUE, /* no key: a string of struct config at `offset`, or nothing */
};

#define NOWHERE UINT16_MAX

struct flag {
    const char *name;
    enum flag_kind kind;
    const char *path;
    uint16_t offset;
    const char *usage;
};

/* clang-format off */
#define KEYED(name, path, usage) {name, FLAG_KEY, path, NOWHERE, usage}
#define FIELD(name, kind, field, usage) {name, kind, NULL, (uint16_t)offsetof(struct config, field), usage}
#define IGNORED(name, kind, usage) {name, kind, NULL, NOWHERE, usage}
#define LIMIT "default of a tenant's limit"
static const struct flag flags[] = {
    FIELD("config.file", FLAG_VALUE, file, "configuration file to load"),
    FIELD("config.expand-env", FLAG_BOOL, expand_env, "expand ${VAR} in the configuration files"),
    FIELD("config.verify", FLAG_BOOL, verify, "check the configuration and exit"),
    FIELD("config.portable", FLAG_BOOL, portable, "refuse keys that Tempo does not have"),
    FIELD("version", FLAG_BOOL, print_version, "print the version and exit"),
    FIELD("help", FLAG_BOOL, print_help, "print this text and exit"),
    FIELD("h", FLAG_BOOL, print_help, "print this text and exit"),
    FIELD("health", FLAG_BOOL, health, "ask -health.url and exit: 0 when it answers 200"),
    FIELD("health.url", FLAG_VALUE, health_url, "address to ask (default http://localhost:3200/ready)"),
    KEYED("target", "target", "module to run: all"),
    KEYED("multitenancy.enabled", "multitenancy_enabled", "tenant from X-Scope-OrgID"),
    KEYED("auth.enabled", "auth_enabled", "old name of -multitenancy.enabled"),
    KEYED("http-api-prefix", "http_api_prefix", "prefix of the query API's routes"),
    KEYED("shutdown-delay", "shutdown_delay", "time between unready and closing the listeners"),
    KEYED("log.level", "server.log_level", "debug, info, warn or error"),
    KEYED("log.format", "server.log_format", "logfmt or json"),
    KEYED("server.path-prefix", "server.http_path_prefix", "prefix of every HTTP route"),
    KEYED("server.http-read-timeout", "server.http_server_read_timeout", "time to read a request"),
    KEYED("server.http-write-timeout", "server.http_server_write_timeout", "time to write an answer"),
    KEYED("server.http-idle-timeout", "server.http_server_idle_timeout", "idle connections are closed after this"),
    KEYED("server.http-conn-limit", "server.http_listen_conn_limit", "most HTTP connections"),
    KEYED("server.grpc-conn-limit", "server.grpc_listen_conn_limit", "most gRPC connections"),
    KEYED("server.grpc-max-recv-msg-size-bytes", "server.grpc_server_max_recv_msg_size", "largest gRPC request"),
    KEYED("server.grpc-max-send-msg-size-bytes", "server.grpc_server_max_send_msg_size", "largest gRPC answer"),
    KEYED("server.grpc-max-concurrent-streams", "server.grpc_server_max_concurrent_streams", "streams on a connection"),
    KEYED("server.http-tls-cert-path", "server.http_tls_config.cert_file", "certificate of the HTTP API"),
    KEYED("server.http-tls-key-path", "server.http_tls_config.key_file", "its private key"),
    KEYED("server.http-tls-client-auth", "server.http_tls_config.client_auth_type", "client certificates"),
    KEYED("server.http-tls-ca-path", "server.http_tls_config.client_ca_file", "their authorities"),
    KEYED("server.grpc-tls-cert-path", "server.grpc_tls_config.cert_file", "certificate of the gRPC API"),
    KEYED("server.grpc-tls-key-path", "server.grpc_tls_config.key_file", "its private key"),
    KEYED("server.grpc-tls-client-auth", "server.grpc_tls_config.client_auth_type", "client certificates"),
    KEYED("server.grpc-tls-ca-path", "server.grpc_tls_config.client_ca_file", "their authorities"),
    KEYED("compactor.disabled", "compactor.disabled", "no merging of blocks"),
    KEYED("compactor.compaction.block-retention", "compactor.compaction.block_retention", "blocks older than this are deleted"),
    KEYED("compactor.compaction.compaction.block-retention", "compactor.compaction.block_retention", "the same"),
    KEYED("backend-worker.compaction.block-retention", "backend_worker.compaction.block_retention", "blocks older than this are deleted"),
    KEYED("backend-scheduler.provider.work.compaction.block-retention", "backend_scheduler.provider.compaction.compaction.block_retention", "blocks older than this are deleted"),
    KEYED("compactor.compaction.compaction.compaction-window", "compactor.compaction.compaction_window", "blocks of one window are merged"),
    KEYED("backend-worker.compaction.compaction-window", "backend_worker.compaction.compaction_window", "blocks of one window are merged"),
    KEYED("backend-scheduler.provider.work.compaction.compaction-window", "backend_scheduler.provider.compaction.compaction.compaction_window", "blocks of one window are merged"),
    KEYED("compactor.compaction.compaction.max-block-bytes", "compactor.compaction.max_block_bytes", "most bytes in a merged block"),
    KEYED("backend-worker.compaction.max-block-bytes", "backend_worker.compaction.max_block_bytes", "most bytes in a merged block"),
    KEYED("backend-scheduler.provider.work.compaction.max-block-bytes", "backend_scheduler.provider.compaction.compaction.max_block_bytes", "most bytes in a merged block"),
    KEYED("compactor.compaction.compaction.max-objects-per-block", "compactor.compaction.max_compaction_objects", "most spans in a merged block"),
    KEYED("backend-worker.compaction.max-objects-per-block", "backend_worker.compaction.max_compaction_objects", "most spans in a merged block"),
    KEYED("backend-scheduler.provider.work.compaction.max-objects-per-block", "backend_scheduler.provider.compaction.compaction.max_compaction_objects", "most spans in a merged block"),
    KEYED("backend-scheduler.provider.work.min-input-blocks", "backend_scheduler.provider.compaction.min_input_blocks", "fewest blocks to merge"),
    KEYED("backend-scheduler.provider.work.max-input-blocks", "backend_scheduler.provider.compaction.max_input_blocks", "most blocks to merge at once"),
    KEYED("backend-scheduler.provider.work.max-compaction-level", "backend_scheduler.provider.compaction.max_compaction_level", "no effect"),
    KEYED("backend-scheduler.provider.work.min-cycle-interval", "backend_scheduler.provider.compaction.min_cycle_interval", "no effect"),
    KEYED("backend-scheduler.provider.workbackend-scheduler.retention-interval", "backend_scheduler.provider.retention.interval", "longest time between two passes of retention"),
    KEYED("ingester.trace-idle-period", "ingester.trace_idle_period", "a trace is cut after this time without spans"),
    KEYED("ingester.max-block-duration", "ingester.max_block_duration", "recent data becomes a block at this age"),
    KEYED("ingester.complete-block-timeout", "ingester.complete_block_timeout", "no effect"),
    KEYED("live-store.complete-block-timeout", "live_store.complete_block_timeout", "no effect"),
    KEYED("metrics-generator.native-histogram-bucket-factor", "overrides.defaults.metrics_generator.native_histogram_bucket_factor", LIMIT),
    KEYED("metrics-generator.native-histogram-max-bucket-number", "overrides.defaults.metrics_generator.native_histogram_max_bucket_number", LIMIT),
    KEYED("metrics-generator.native-histogram-min-reset-duration", "overrides.defaults.metrics_generator.native_histogram_min_reset_duration", LIMIT),
    KEYED("querier.max-condition-groups-per-tag-query", "overrides.defaults.read.max_condition_groups_per_tag_query", LIMIT),
    KEYED("reporting.enabled", "usage_report.reporting_enabled", "no effect: nothing is ever reported"),
    KEYED("config.per-user-override-config", "overrides.per_tenant_override_config", "file with limits per tenant"),
    KEYED("config.per-user-override-period", "overrides.per_tenant_override_period", "how often to read it"),
    KEYED("config.enable-legacy-overrides", "overrides.enable_legacy_overrides", "no effect: always on"),
    KEYED("distributor.rate-limit-strategy", "overrides.defaults.ingestion.rate_strategy", LIMIT),
    KEYED("distributor.ingestion-rate-limit-bytes", "overrides.defaults.ingestion.rate_limit_bytes", LIMIT),
    KEYED("distributor.ingestion-burst-size-bytes", "overrides.defaults.ingestion.burst_size_bytes", LIMIT),
    KEYED("ingester.max-traces-per-user", "overrides.defaults.ingestion.max_traces_per_user", LIMIT),
    KEYED("ingester.max-global-traces-per-user", "overrides.defaults.ingestion.max_global_traces_per_user", LIMIT),
    KEYED("ingester.max-bytes-per-trace", "overrides.defaults.global.max_bytes_per_trace", LIMIT),
    KEYED("querier.max-bytes-per-tag-values-query", "overrides.defaults.read.max_bytes_per_tag_values_query", LIMIT),
    KEYED("querier.max-blocks-per-tag-values-query", "overrides.defaults.read.max_blocks_per_tag_values_query", LIMIT),
    KEYED("distributor.log-received-spans.enabled", "distributor.log_received_spans.enabled", "log received spans"),
    KEYED("distributor.log-received-spans.include-attributes", "distributor.log_received_spans.include_all_attributes", "with attributes"),
    KEYED("distributor.log-received-spans.filter-by-status-error", "distributor.log_received_spans.filter_by_status_error", "only errors"),
    KEYED("distributor.log-discarded-spans.enabled", "distributor.log_discarded_spans.enabled", "log refused spans"),
    KEYED("distributor.log-discarded-spans.include-attributes", "distributor.log_discarded_spans.include_all_attributes", "with attributes"),
    KEYED("distributor.log-discarded-spans.filter-by-status-error", "distributor.log_discarded_spans.filter_by_status_error", "only errors"),
    KEYED("query-frontend.mcp-server.enabled", "query_frontend.mcp_server.enabled", "serve /api/mcp"),
    KEYED("enable-go-runtime-metrics", "enable_go_runtime_metrics", "no effect"),
    KEYED("span-profiling", "span_profiling", "no effect"),
    KEYED("web.listen", "gateway.http_listen_address", "gateway: public HTTP"),
    KEYED("web.internal.listen", "gateway.internal_listen_address", "gateway: health and metrics"),
    KEYED("grpc.listen", "gateway.grpc_listen_address", "gateway: public OTLP/gRPC"),
    KEYED("tenants.config", "gateway.tenants_file", "gateway: tenants"),
    KEYED("rbac.config", "gateway.rbac_file", "gateway: roles"),
    KEYED("traces.tenant-header", "gateway.tenant_header", "gateway: gRPC metadata that names the tenant"),
    KEYED("traces.write-timeout", "gateway.timeout", "gateway: longest query"),
    KEYED("traces.query-rbac", "gateway.query_rbac", "gateway: attributes only of the caller's namespaces"),
    KEYED("tls.server.cert-file", "gateway.tls.cert_file", "gateway: public certificate"),
    KEYED("tls.server.key-file", "gateway.tls.key_file", "its private key"),
    KEYED("tls.internal.server.cert-file", "gateway.internal_tls.cert_file", "gateway: certificate of -web.internal.listen"),
    KEYED("tls.internal.server.key-file", "gateway.internal_tls.key_file", "its private key"),
    KEYED("tls.min-version", "gateway.tls.min_version", "gateway: VersionTLS12 or VersionTLS13"),
    KEYED("tls.max-version", "gateway.tls.max_version", "gateway: VersionTLS12 or VersionTLS13"),
    KEYED("tls.cipher-suites", "gateway.tls.cipher_suites", "gateway: IANA names"),
    KEYED("tls.client-auth-type", "gateway.tls.client_auth_type", "gateway: client certificates"),
    KEYED("tls.reload-interval", "gateway.tls.reload_interval", "gateway: how often certificates are read again"),
    KEYED("server.read-header-timeout", "gateway.read_header_timeout", "gateway: time to read a request's head"),
    KEYED("server.read-timeout", "gateway.read_timeout", "gateway: time to read a request"),
    KEYED("server.write-timeout", "gateway.write_timeout", "no effect"),
    KEYED("middleware.concurrent-request-limit", "gateway.concurrent_request_limit", "gateway: requests in work"),
    FIELD("traces.write.otlpgrpc.endpoint", FLAG_VALUE, gateway.otlp_grpc_endpoint, "gateway: OTLP/gRPC is on; the address does not matter"),
    FIELD("traces.write.otlphttp.endpoint", FLAG_VALUE, gateway.otlp_http_endpoint, "gateway: OTLP/HTTP is on; the address does not matter"),
    FIELD("traces.read.endpoint", FLAG_VALUE, gateway.jaeger_endpoint, "gateway: no effect, there is no Jaeger UI"),
    IGNORED("traces.tempo.endpoint", FLAG_VALUE, "gateway: no effect, queries are answered here"),
    IGNORED("traces.tls.ca-file", FLAG_VALUE, "no effect, there is no upstream"),
    IGNORED("traces.tls.cert-file", FLAG_VALUE, "no effect, there is no upstream"),
    IGNORED("traces.tls.key-file", FLAG_VALUE, "no effect, there is no upstream"),
    IGNORED("traces.tls.watch-certs", FLAG_BOOL, "no effect, there is no upstream"),
    IGNORED("tls.healthchecks.server-ca-file", FLAG_VALUE, "no effect, the check is made inside"),
    IGNORED("tls.healthchecks.server-name", FLAG_VALUE, "no effect, the check is made inside"),
    IGNORED("web.healthchecks.url", FLAG_VALUE, "no effect, the check is made inside"),
    IGNORED("mem-ballast-size-mbs", FLAG_VALUE, "no effect"),
    IGNORED("mutex-profile-fraction", FLAG_VALUE, "no effect"),
    IGNORED("block-profile-threshold", FLAG_VALUE, "no effect"),
};
/* clang-format on */

/* Flags named as their key, with dashes for underscores: -storage.trace.s3.secret_key. */
static const struct {
    const char *flag, *path;
} families[] = {{"storage.trace.", "storage.trace."}, {"server.", "server."},
    {"internal-server.", "internal_server."}};
/* Whole families without effect; their types do not matter. */
static const char *const ignored_families[] = {"memberlist.", "usage-report."};
/* Those of the original gateway: what is left out is worth a warning. */
static const char *const warned_families[] = {"logs.", "metrics.", "probes.", "debug.",
    "internal.tracing.", "middleware.rate-limiter.", "internal."};

static const struct flag *flag_find(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(flags); i++)
        if (str_eqz(name, flags[i].name))
            return &flags[i];
    return NULL;
}

/* The key of a flag of a family; NULL when it has none. */
static const char *family_path(struct config *c, struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(families); i++) {
        struct str prefix = str_from(families[i].flag);
        if (!str_starts(name, prefix) || name.n > SCHEMA_PATH_MAX)
            continue;
        char *path = arena_printf(
            &c->arena, "%s%.*s", families[i].path, (int)(name.n - prefix.n), name.p + prefix.n);
        ASSERT(path != NULL);
        for (char *p = path; *p != 0; p++)
            if (*p == '-')
                *p = '_';
        const struct key *k = schema_at(path);
        return k != NULL && k->type < KT_STRINGS ? path : NULL;
    }
    return NULL;
}

static bool in_family(struct str name, const char *const *families_, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (str_starts(name, str_from(families_[i])))
            return true;
    return false;
}

static bool is_ignored_family(struct config *c, struct str name)
{
    if (!in_family(name, warned_families, ARRAY_LEN(warned_families)))
        return in_family(name, ignored_families, ARRAY_LEN(ignored_families));
    char *flag = arena_printf(&c->arena, "-%.*s", (int)MIN(name.n, 200), name.p);
    warn_add(c, false, flag, "flag of the original gateway has no effect",
        "only traces are served here");
    return true;
}

static enum ec bad_value(struct str name, struct str value, const char *why, struct err *err)
{
    return ERR(err, EC_INVALID, "invalid value \"%.*s\" for flag -%.*s: %s", (int)MIN(value.n, 200),
        value.p, STR_ARG(name), why);
}

/* Go's flag syntax, not YAML's: "yes" is no boolean here, and text is taken as it is. */
static enum ec set_key(
    struct config *c, const char *path, struct str name, struct str value, struct err *err)
{
    const struct key *k = schema_at(path);
    struct node *n = node_scalar(&c->arena, value);
    struct value v;
    char problem[PROBLEM_MAX];
    bool ok = true, b;

    ASSERT(k != NULL);
    switch ((enum key_type)k->type) {
    case KT_BOOL:
        if (!bool_parse_go(value, &b))
            return ERR(err, EC_INVALID, "invalid boolean value \"%.*s\" for -%.*s: parse error",
                (int)MIN(value.n, 200), value.p, STR_ARG(name));
        n->s = b ? STR("true") : STR("false");
        break;
    case KT_INT:
        ok = int_parse_go(value, true, 64, &v.i);
        break;
    case KT_UINT32:
        ok = int_parse_go(value, false, 32, &v.i);
        break;
    case KT_UINT64:
        ok = int_parse_go(value, false, 64, &v.i);
        break;
    case KT_DURATION:
        ok = duration_parse_go(value, &v.i);
        break;
    case KT_STRING:
        n->plain = false;
        break;
    default:
        ok = value.n > 0 && value_parse((enum key_type)k->type, n, &v, problem);
        break;
    }
    if (!ok)
        return bad_value(name, value, "parse error", err);
    doc_set_flag(c->doc, path, n);
    return EC_OK;
}

static enum ec set_field(struct config *c, const struct flag *f, struct str value, struct err *err)
{
    void *target = (char *)c + f->offset;
    bool b;
    if (f->kind == FLAG_VALUE) {
        if (f->offset != NOWHERE)
            *(const char **)target = value.p; /* argv, or after its `=`: ends with NUL */
        return EC_OK;
    }
    if (!bool_parse_go(value, &b))
        return ERR(err, EC_INVALID, "invalid boolean value \"%.*s\" for -%s: parse error",
            (int)MIN(value.n, 200), value.p, f->name);
    if (f->offset != NOWHERE)
        *(bool *)target = b;
    return EC_OK;
}

static bool flag_is_bool(const struct flag *f, const char *path)
{
    return path != NULL ? schema_at(path)->type == KT_BOOL : f != NULL && f->kind == FLAG_BOOL;
}

/* One flag; *i moves over a value that is a word of its own. */
static enum ec parse_one(struct config *c, int argc, char **argv, int *i, struct err *err)
{
    const char *text = argv[*i] + (argv[*i][1] == '-' ? 2 : 1);
    struct str value = {0}, name = str_cut(str_from(text), '=', &value);
    bool has_value = strchr(text, '=') != NULL;
    const struct flag *f = flag_find(name);
    const char *path = f != NULL ? f->path : family_path(c, name);
    bool b, alone = false;

    if (name.n == 0 || name.p[0] == '-')
        return ERR(err, EC_INVALID, "bad flag syntax: %s", argv[*i]);
    if (f == NULL && path == NULL && !flag_is_ignored(name, &alone) && !is_ignored_family(c, name))
        return ERR(
            err, EC_INVALID, "flag provided but not defined: -%.*s", (int)MIN(name.n, 200), name.p);
    bool more = *i + 1 < argc;
    if (!has_value && f != NULL && strcmp(f->name, "config.verify") == 0) {
        /* No boolean flag in Tempo, so that "-config.verify true" is common; bare means true. */
        has_value = more && bool_parse_go(str_from(argv[*i + 1]), &b);
        value = has_value ? str_from(argv[++*i]) : STR("true");
    } else if (!has_value && (alone || flag_is_bool(f, path))) {
        value = STR("true");
    } else if (!has_value && f == NULL && path == NULL) {
        *i += more && argv[*i + 1][0] != '-';
    } else if (!has_value) {
        if (!more)
            return ERR(err, EC_INVALID, "flag needs an argument: -%.*s", STR_ARG(name));
        value = str_from(argv[++*i]);
    }
    if (path != NULL)
        return set_key(c, path, name, value, err);
    return f == NULL ? EC_OK : set_field(c, f, value, err);
}

enum ec flags_parse(struct config *c, int argc, char **argv, struct err *err)
{
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] != '-' || argv[i][1] == 0)
            break;
        if (strcmp(argv[i], "--") == 0)
            break;
        TRY(parse_one(c, argc, argv, &i, err));
        if (c->print_help)
            break;
    }
    return EC_OK;
}

void config_usage(struct buf *out)
{
    buf_putz(out, "Usage of tempo:\n");
    for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
        const struct flag *f = &flags[i];
        const struct key *k = f->path == NULL ? NULL : schema_at(f->path);
        buf_printf(
            out, "  -%s%s\n    \t%s", f->name, flag_is_bool(f, f->path) ? "" : " value", f->usage);
        if (k != NULL && k->dflt != NULL && k->dflt[0] != 0 && k->type != KT_BOOL)
            buf_printf(out, " (default %s)", k->dflt);
        buf_putc(out, '\n');
    }
    buf_putz(out,
        "  -server.*, -internal-server.*, -storage.trace.* value\n"
        "    \tas the key of the same name\n"
        "  -memberlist.*, -usage-report.*, and Tempo's flags of rings, Kafka, block builders value\n"
        "    \tno effect\n"
        "  -logs.*, -metrics.*, -probes.*, -debug.*, -internal.*, -middleware.rate-limiter.* value\n"
        "    \tof the original gateway: no effect\n"
        "Instead of flags, a word: fsck, snapshot, wal-dump, block-dump. Each says with -help what it takes.\n");
}
