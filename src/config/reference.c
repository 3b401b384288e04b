/* SPDX-License-Identifier: Apache-2.0
 * config/reference.md from the key tables. A block whose keys all have no effect is one row. */
#include <stdio.h>
#include <string.h>

#include "doc.h"

static const char head[] =
    "# Configuration reference\n"
    "\n"
    "Made from the key tables in `src/config/schema_*.c`; a test keeps it current\n"
    "(`UPDATE=1 meson test -C build test_config_reference` rewrites it).\n"
    "\n"
    "One file serves Tempo 2.9, Tempo 3.0 and this server. A key in none of the tables is an error, as in Tempo.\n"
    "Durations are `1h30m`; those of overrides also take `d`, `w`, `y`. Sizes are bytes.\n"
    "Without `-config.file` the server keeps a week of data below `./data` and receives OTLP on 0.0.0.0:4317 and 0.0.0.0:4318.\n"
    "\n"
    "Marks: **2.9** key of Tempo up to 2.9; **own** key of this server, refused with `-config.portable`;\n"
    "*no effect* accepted and type-checked, one warning when it differs from Tempo's default; *refused* an error when set.\n"
    "\n"
    "When several keys mean one setting, a flag wins, then the first that is set:\n"
    "\n"
    "| Setting | Keys in order |\n"
    "|---|---|\n"
    "| retention, compaction window, cycle and sizes | `backend_worker.compaction.*`, `backend_scheduler.provider.compaction.compaction.*`, `compactor.compaction.*` |\n"
    "| trace idle and live time, block age and size, check period | `live_store.*`, `ingester.*` |\n"
    "| write-ahead log | `live_store.wal.path` when set, `storage.trace.wal.path` |\n"
    "| memory | `memory.budget_bytes`, `memory.automemlimit_*`, `GOMEMLIMIT`, 75 % of the cgroup's limit up to 1 GiB |\n";

/* The reason that all keys below share, when none of them has an effect. */
static const char *common_reason(const struct block *b)
{
    const char *reason = NULL;
    for (size_t i = 0; i < b->n; i++) {
        const struct key *k = &b->keys[i];
        const char *one = k->type == KT_BLOCK    ? common_reason(k->block)
                          : k->decision == KEY_N ? k->note
                                                 : NULL;
        if (one == NULL || (reason != NULL && strcmp(one, reason) != 0))
            return NULL;
        reason = one;
    }
    return reason;
}

static void put_cell(struct buf *out, const char *text)
{
    for (; *text != 0; text++) {
        if (*text == '|')
            buf_putc(out, '\\');
        buf_putc(out, *text);
    }
}

static const char *type_name(const struct key *k)
{
    static const char *const names[] = {
        [KT_STRING] = "text",
        [KT_BOOL] = "bool",
        [KT_INT] = "int",
        [KT_UINT32] = "int",
        [KT_UINT64] = "int",
        [KT_FLOAT] = "number",
        [KT_DURATION] = "duration",
        [KT_PROM] = "duration (d, w, y)",
        [KT_SIZE] = "size",
        [KT_STRINGS] = "list",
        [KT_FLOATS] = "list of numbers",
        [KT_STRING_MAP] = "map",
        [KT_BLOCK] = "block",
        [KT_BLOCKS] = "list of blocks",
        [KT_ANY] = "any",
    };
    return names[k->type];
}

static void put_default(struct buf *out, const struct key *k)
{
    if (k->dflt == NULL)
        buf_putz(out, "–");
    else if (k->dflt[0] == 0)
        buf_putz(out, "\"\"");
    else
        buf_printf(out, "`%s`", k->dflt);
}

static void put_row(struct buf *out, const struct key *k, const char *path, bool old)
{
    buf_printf(out, "| `%s` | %s | ", path, type_name(k));
    put_default(out, k);
    buf_putz(out, " | ");
    if (old || (k->flags & KEY_OLD) != 0)
        buf_putz(out, "**2.9** ");
    if ((k->flags & KEY_OWN) != 0)
        buf_putz(out, "**own** ");
    if (k->decision == KEY_N)
        buf_putz(out, "*no effect*: ");
    if (k->decision == KEY_R)
        buf_putz(out, "*refused*: ");
    put_cell(out, k->note == NULL ? "" : k->note);
    buf_putz(out, " |\n");
}

static void put_rows(struct buf *out, const struct block *b, const char *prefix, bool old)
{
    for (size_t i = 0; i < b->n; i++) {
        const struct key *k = &b->keys[i];
        char path[SCHEMA_PATH_MAX];
        int n = snprintf(path, sizeof(path), "%s%s%s", prefix, prefix[0] == 0 ? "" : ".", k->name);
        ASSERT(n > 0 && (size_t)n < sizeof(path));
        bool is_old = old || (k->flags & KEY_OLD) != 0;
        const char *reason = k->type == KT_BLOCK ? common_reason(k->block) : NULL;
        if (reason != NULL)
            buf_printf(out, "| `%s.*` | block | – | %s*no effect*: %s |\n", path,
                is_old ? "**2.9** " : "", reason);
        else if (k->type == KT_BLOCK)
            put_rows(out, k->block, path, is_old);
        else
            put_row(out, k, path, old);
    }
}

static void put_table(
    struct buf *out, const char *title, const struct block *b, const char *prefix, bool old)
{
    buf_printf(out, "\n## %s\n\n| Key | Type | Default | Effect |\n|---|---|---|---|\n", title);
    put_rows(out, b, prefix, old);
}

/* The usage text has tabs, as Go's; documents have none. */
static void put_usage(struct buf *out)
{
    struct buf usage = BUF_INIT;
    config_usage(&usage);
    for (size_t i = 0; i < usage.n; i++)
        if (usage.p[i] == '\t')
            buf_putz(out, "    ");
        else
            buf_putc(out, (char)usage.p[i]);
    buf_deinit(&usage);
}

void config_reference(struct buf *out)
{
    buf_putz(out, head);
    buf_putz(out, "\n## Top level\n\n| Key | Type | Default | Effect |\n|---|---|---|---|\n");
    for (size_t i = 0; i < schema_root.n; i++) {
        const struct key *k = &schema_root.keys[i];
        struct block one = {.go_type = "", .keys = k, .n = 1};
        if (k->type != KT_BLOCK || common_reason(k->block) != NULL)
            put_rows(out, &one, "", false);
    }
    for (size_t i = 0; i < schema_root.n; i++) {
        const struct key *k = &schema_root.keys[i];
        if (k->type == KT_BLOCK && common_reason(k->block) == NULL)
            put_table(out, k->name, k->block, k->name, (k->flags & KEY_OLD) != 0);
    }
    put_table(out, "distributor.receivers", &schema_otlp, "otlp", false);
    put_rows(out, &schema_jaeger, "jaeger", false);
    put_rows(out, &schema_zipkin, "zipkin", false);
    buf_putz(out,
        "\nA protocol that is named is served, on its default endpoint when it has no settings. `opencensus` is accepted\n"
        "without effect. A receiver may be named: `otlp/2`.\n");
    put_table(out, "metrics_generator.storage.remote_write[]", &schema_remote_write, "", false);
    put_rows(out, &schema_relabel, "write_relabel_configs[]", false);
    buf_putz(out,
        "\n## The per-tenant file\n"
        "\n`overrides.per_tenant_override_config` names a file with the top key `overrides`, below it one entry per tenant,\n"
        "`\"*\"` for all tenants without one, with the keys of `overrides.defaults` or the flat ones. An entry replaces the\n"
        "defaults as a whole, as in Tempo 3.0.3: what it does not set is 0, and a tenant with rate 0 can ingest nothing. `rate_strategy` and\n"
        "`max_condition_groups_per_tag_query` always come from the defaults. `overrides.inherit_defaults: true` fills\n"
        "what is not set from the defaults.\n"
        "\n## Environment expansion\n"
        "\nWith `-config.expand-env=true`, in both files: `${VAR}`, `${VAR:-default}`, `${#VAR}`, `${VAR:offset:length}`,\n"
        "`${VAR^^}`, `${VAR,,}`, `${VAR#glob}`, `${VAR%glob}`, `${VAR/a/b}`; `$$` is `$`, `\\\\` is `\\`, `\\/` is `/`.\n"
        "\n## Command line\n\n```\n");
    put_usage(out);
    buf_putz(out, "```\n");
}
