/* SPDX-License-Identifier: Apache-2.0
 * Operational endpoints: /ready, /metrics, /status/..., build information (spec tempo-api 7). */
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "api_internal.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/metric.h"
#include "gateway/user_limits.h"
#include "json_out.h"

/* The version that clients gate features on: the API level that we implement, not our own
 * release. */
#define TEMPO_API_VERSION "3.0.3"

void respond_http_error(struct exchange *ex, unsigned status, const char *text)
{
    struct buf body = BUF_INIT;
    buf_printf(&body, "%s\n", text);
    exchange_set_header(ex, "X-Content-Type-Options", STR("nosniff"));
    exchange_respond(ex, status, "text/plain; charset=utf-8", &body, false);
}

void api_ready(struct api *a, struct exchange *ex)
{
    struct store_health h;
    switch (atomic_load(&a->state)) {
    case API_STOPPING:
        respond_http_error(ex, 503, "Application is stopping");
        return;
    case API_STARTING:
        respond_http_error(ex, 503, "Some services are not Running:\nStarting: 1\n");
        return;
    default:
        break;
    }
    store_health(a->opt.store, &h);
    if (!h.ready)
        respond_http_error(ex, 503, "Store not ready: replaying WAL");
    else if (h.ingest_off)
        respond_http_error(ex, 503, "Store not ready: write-ahead log failed");
    else
        respond_http_error(ex, 200, "ready");
}

void api_echo(struct api *a, struct exchange *ex)
{
    (void)a;
    respond_http_error(ex, 200, "echo");
}

void api_buildinfo(struct api *a, struct exchange *ex)
{
    struct buf b = BUF_INIT;
    bool first = true;
    const struct {
        const char *key, *value;
    } members[] = {
        {"version", TEMPO_API_VERSION},
        {"revision", a->opt.revision},
        {"branch", a->opt.branch},
        {"buildUser", a->opt.build_user},
        {"buildDate", a->opt.build_date},
        {"goVersion", "vivace " VIVACE_VERSION},
    };
    buf_putc(&b, '{');
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        json_key(&b, &first, members[i].key);
        json_str(&b, str_from(members[i].value));
    }
    buf_putz(&b, "}\n");
    exchange_respond(ex, 200, "application/json", &b, false);
}

void api_metrics_text(struct api *a, struct exchange *ex)
{
    struct buf b = BUF_INIT;
    (void)a;
    metric_render(&b);
    exchange_respond(ex, 200, "text/plain; version=0.0.4; charset=utf-8", &b, true);
}

/* ---- /status ---- */

static void page_version(struct api *a, struct buf *b)
{
    buf_printf(b, "tempo, version %s (branch: %s, revision: %s)\n", TEMPO_API_VERSION,
        a->opt.branch, a->opt.revision);
    buf_printf(b, "  build user:       %s\n", a->opt.build_user);
    buf_printf(b, "  build date:       %s\n", a->opt.build_date);
    buf_printf(b, "  server:           vivace %s\n", VIVACE_VERSION);
}

static void page_services(struct api *a, struct buf *b)
{
    static const char *const names[] = {"compactor", "distributor", "live-store", "overrides",
        "querier", "query-frontend", "server", "store"};
    static const char *const states[] = {"Starting", "Running", "Stopping"};
    const char *state = states[atomic_load(&a->state)];
    buf_putz(b, "+----------------+----------+--------------+\n"
                "| SERVICE NAME   | STATUS   | FAILURE CASE |\n"
                "+----------------+----------+--------------+\n");
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        buf_printf(b, "| %-14s | %-8s | %-12s |\n", names[i], state, "");
    buf_putz(b, "+----------------+----------+--------------+\n");
}

/* Bytes in words that an operator reads at a glance. */
static void put_bytes(struct buf *b, const char *name, uint64_t n)
{
    buf_printf(b, "%-28s %llu (%.1f MiB)\n", name, (unsigned long long)n, (double)n / (1 << 20));
}

static void page_storage(struct api *a, struct buf *b)
{
    static const char *const durability[] = {"commit", "interval", "none"};
    struct store_health h;
    struct store_tenant *tenants;
    size_t n;
    struct err err = {0};
    struct arena arena;
    store_health(a->opt.store, &h);
    buf_printf(b, "durability                   %s\n", durability[h.durability]);
    put_bytes(b, "disk free", h.disk_free);
    buf_printf(b, "disk low                     %s\n", h.disk_low ? "yes" : "no");
    buf_printf(b, "replayed records             %llu\n", (unsigned long long)h.recovery.records);
    buf_printf(b, "torn tails cut               %llu\n", (unsigned long long)h.recovery.torn_tails);
    buf_printf(
        b, "damaged records              %llu\n", (unsigned long long)h.recovery.damaged_records);
    buf_printf(b, "files set aside              %llu\n", (unsigned long long)h.recovery.set_aside);
    arena_init(&arena, a->opt.query_budget, 0);
    if (store_tenants(a->opt.store, &arena, &tenants, &n, &err) == EC_OK) {
        buf_printf(b, "tenants                      %zu\n", n);
        for (size_t i = 0; i < MIN(n, 1000); i++)
            buf_printf(b,
                "  " STR_FMT ": blocks=%llu block_bytes=%llu block_spans=%llu wal_bytes=%llu "
                "head_spans=%u head_bytes=%llu live_traces=%u\n",
                STR_ARG(tenants[i].id), (unsigned long long)tenants[i].n_blocks,
                (unsigned long long)tenants[i].block_bytes,
                (unsigned long long)tenants[i].n_spans_blocks,
                (unsigned long long)tenants[i].wal_bytes, tenants[i].head.n_spans,
                (unsigned long long)tenants[i].head.memory_bytes, tenants[i].head.n_traces_live);
    } else {
        buf_printf(b, "tenants                      unknown: %s\n", err_msg(&err));
    }
    arena_deinit(&arena);
}

static void put_budget(void *ctx, const struct budget_facts *f)
{
    struct buf *b = ctx;
    char cap[32] = "-";
    if (f->cap != 0)
        snprintf(cap, sizeof(cap), "%llu", (unsigned long long)f->cap);
    buf_printf(b, "%*s%-*s %14llu %14llu %14s %8llu\n", (int)f->depth * 2, "",
        24 - (int)f->depth * 2, f->name, (unsigned long long)f->used, (unsigned long long)f->peak,
        cap, (unsigned long long)f->refused);
}

/* Budgets bound what comes from outside; the rest of the process is what they leave of it. */
static void page_memory(struct api *a, struct buf *b)
{
    struct memory_stats s;
    (void)a;
    memory_stats(&s);
    put_bytes(b, "resident", s.resident);
    put_bytes(b, "allocated", s.allocated);
    put_bytes(b, "freed, kept", s.kept);
    buf_printf(b, "\n%-24s %14s %14s %14s %8s\n", "budget", "used bytes", "peak", "cap", "refused");
    budget_each(put_budget, b);
}

static void put_limits(struct buf *b, const char *indent, const struct limits *l)
{
    buf_printf(b, "%singestion:\n", indent);
    buf_printf(
        b, "%s    rate_limit_bytes: %llu\n", indent, (unsigned long long)l->rate_limit_bytes);
    buf_printf(
        b, "%s    burst_size_bytes: %llu\n", indent, (unsigned long long)l->burst_size_bytes);
    buf_printf(b, "%s    max_traces_per_user: %u\n", indent, l->max_traces_per_user);
    buf_printf(b, "%s    max_attribute_bytes: %u\n", indent, l->max_attribute_bytes);
    buf_printf(
        b, "%s    retry_info_enabled: %s\n", indent, l->retry_info_enabled ? "true" : "false");
    buf_printf(b, "%sread:\n", indent);
    buf_printf(b, "%s    max_bytes_per_tag_values_query: %llu\n", indent,
        (unsigned long long)l->max_bytes_per_tag_values_query);
    buf_printf(
        b, "%s    left_pad_trace_ids: %s\n", indent, l->left_pad_trace_ids ? "true" : "false");
    buf_printf(b, "%scompaction:\n", indent);
    buf_printf(
        b, "%s    block_retention: %llds\n", indent, (long long)(l->block_retention_ns / NS_PER_S));
    buf_printf(
        b, "%s    compaction_disabled: %s\n", indent, l->compaction_disabled ? "true" : "false");
    buf_printf(b, "%sglobal:\n", indent);
    buf_printf(
        b, "%s    max_bytes_per_trace: %llu\n", indent, (unsigned long long)l->max_bytes_per_trace);
}

static void put_entry(void *ctx, const struct tenant_entry *e)
{
    struct buf *b = ctx;
    buf_printf(b, "    " STR_FMT ":\n", STR_ARG(e->tenant)); /* legal ids need no quoting but "*" */
    put_limits(b, "        ", &e->limits);
}

static void page_runtime_config(struct api *a, struct buf *b)
{
    struct limits l;
    overrides_defaults(a->opt.overrides, &l);
    buf_putz(b, "---\ndefaults:\n");
    put_limits(b, "    ", &l);
    buf_putz(b, "overrides:\n");
    overrides_each(a->opt.overrides, put_entry, b);
}

static void page_config(struct api *a, struct buf *b)
{
    buf_putz(b, "---\n");
    config_print(a->opt.config, CONFIG_PRINT_ALL, b);
}

static const struct {
    const char *name;
    void (*put)(struct api *a, struct buf *b);
    bool in_status; /* part of /status */
} pages[] = {
    {"version", page_version, true},
    {"services", page_services, true},
    {"endpoints", api_put_endpoints, true},
    {"runtime_config", page_runtime_config, true},
    {"config", page_config, true},
    {"storage", page_storage, true},
    {"memory", page_memory, true},
};

/* /status/config?mode=... and /config. */
static bool config_mode(struct exchange *ex, struct buf *b, struct api *a)
{
    struct str mode;
    if (!exchange_param(ex, "mode", &mode))
        return false;
    buf_putz(b, "GET /status/config\n---\n");
    if (str_eq(mode, STR("diff"))) {
        config_print(a->opt.config, CONFIG_PRINT_DIFF, b);
    } else if (str_eq(mode, STR("defaults"))) {
        config_print(a->opt.config, CONFIG_PRINT_DEFAULTS, b);
    } else {
        buf_reset(b);
        buf_printf(b, "unknown value for mode query parameter: " STR_FMT "\n",
            (int)MIN(mode.n, 200), mode.p);
        exchange_set_header(ex, "X-Content-Type-Options", STR("nosniff"));
        exchange_respond(ex, 500, "text/plain; charset=utf-8", b, false);
        return true;
    }
    exchange_respond(ex, 200, "text/plain", b, true);
    return true;
}

static void put_time_now(struct buf *b)
{
    time_t now = (time_t)(clock_wall_ns() / NS_PER_S);
    struct tm tm;
    char text[32];
    gmtime_r(&now, &tm);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
    buf_printf(b, "{\"now\":\"%s\"", text);
}

static void put_tenant_json(void *ctx, const struct tenant_entry *e)
{
    struct buf *b = ctx;
    bool first = b->p[b->n - 1] == '"';
    buf_putz(b, first ? ",\"tenants\":[{\"name\":" : ",{\"name\":");
    json_str(b, e->tenant);
    buf_printf(b, ",\"has_runtime_overrides\":%s,\"has_user_configurable_overrides\":%s}",
        e->from_file ? "true" : "false", e->from_user ? "true" : "false");
}

static void put_user_limits(struct api *a, struct str tenant, struct buf *b)
{
    struct user_limits_entry e = {.json = STR("No user-configurable overrides set")};
    struct arena arena;
    struct err err = {0};
    arena_init(&arena, NULL, 0);
    if (a->user_limits == NULL)
        e.json = STR("User-configurable overrides are not enabled");
    else if (user_limits_get(a->user_limits, tenant, &arena, &e, &err) == EC_LIMIT)
        e.json = STR("no memory");
    buf_putz(b, ",\"user_configurable_overrides\":");
    json_str(b, e.json);
    arena_deinit(&arena);
}

/* /status/overrides and /status/overrides/{tenant}, as JSON whatever Accept says: nothing reads the
 * HTML. */
static void overrides_page(struct api *a, struct exchange *ex, struct str tenant)
{
    struct buf b = BUF_INIT;
    put_time_now(&b);
    if (tenant.n == 0) {
        size_t before = b.n;
        overrides_each(a->opt.overrides, put_tenant_json, &b);
        if (b.n != before)
            buf_putc(&b, ']');
    } else {
        struct limits l;
        struct buf yaml = BUF_INIT;
        overrides_get(a->opt.overrides, tenant, &l);
        put_limits(&yaml, "", &l);
        buf_putz(&b, ",\"tenant\":");
        json_str(&b, tenant);
        buf_putz(&b, ",\"runtime_overrides\":");
        json_str(&b, buf_str(&yaml));
        buf_putz(&b, ",\"using_default_or_wildcard_runtime_overrides\":");
        json_str(&b, overrides_has_own(a->opt.overrides, tenant)     ? tenant
                     : overrides_has_own(a->opt.overrides, STR("*")) ? STR("*")
                                                                     : STR("default overrides"));
        put_user_limits(a, tenant, &b);
        buf_deinit(&yaml);
    }
    buf_putc(&b, '}');
    exchange_respond(ex, 200, "application/json", &b, true);
}

void api_status_page(struct api *a, struct exchange *ex, struct str name)
{
    struct buf b = BUF_INIT;
    if (str_eq(name, STR("usage-stats"))) {
        respond_http_error(ex, 200, "usage-stats is not enabled");
        return;
    }
    if (str_eq(name, STR("overrides")) || str_starts(name, STR("overrides/"))) {
        overrides_page(a, ex, name.n <= 10 ? str_n(NULL, 0) : str_n(name.p + 10, name.n - 10));
        return;
    }
    if (str_eq(name, STR("config")) && config_mode(ex, &b, a))
        return;
    for (size_t i = 0; i < ARRAY_LEN(pages); i++) {
        if (name.n == 0 ? !pages[i].in_status : !str_eqz(name, pages[i].name))
            continue;
        buf_printf(&b, "GET /status/%s\n", pages[i].name);
        pages[i].put(a, &b);
        if (name.n == 0)
            buf_putc(&b, '\n');
    }
    if (b.n == 0) {
        respond_http_error(ex, 404, "404 page not found");
        return;
    }
    exchange_respond(ex, 200, "text/plain", &b, true);
}
