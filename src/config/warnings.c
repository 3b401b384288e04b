/* SPDX-License-Identifier: Apache-2.0
 * Findings that are logged at start. Those about a key without effect never fail -config.verify. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "doc.h"

void warn_add(struct config *c, bool fails_verify, const char *key, const char *msg,
    const char *explain_fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, explain_fmt);
    vsnprintf(text, sizeof(text), explain_fmt, ap);
    va_end(ap);
    char *explain = arena_strz(&c->arena, str_from(text));
    char *path = key == NULL ? NULL : arena_strz(&c->arena, str_from(key));
    ASSERT(explain != NULL);
    c->warnings = xrealloc(c->warnings, (c->n_warnings + 1) * sizeof(*c->warnings));
    c->warnings[c->n_warnings++] = (struct config_warning){
        .msg = msg, .explain = explain, .key = path, .fails_verify = fails_verify};
}

static bool differs_from_default(
    const struct config_doc *d, const struct key *k, const char *path, const struct node *n)
{
    struct value set, dflt;
    char problem[PROBLEM_MAX];
    struct node text = {.kind = NODE_SCALAR, .plain = true, .s = str_from(k->dflt)};
    if (k->type >= KT_STRINGS)
        return n->kind == NODE_SCALAR ? n->s.n > 0 : n->n > 0;
    if (k->dflt == NULL)
        return true;
    (void)doc_value(d, path, &set);
    return value_parse((enum key_type)k->type, &text, &dflt, problem) &&
           !values_equal((enum key_type)k->type, &set, &dflt);
}

static void warn_key(void *ctx, const struct key *k, const char *path, size_t base)
{
    struct config *c = ctx;
    const struct node *n = doc_get(c->doc, path);
    (void)base;
    if (n == NULL)
        return;
    if (k->decision == KEY_N && differs_from_default(c->doc, k, path, n))
        warn_add(c, false, path, "config key has no effect", "%s", k->note);
    struct value v;
    if (k->type != KT_DURATION || k->decision == KEY_N)
        return;
    (void)doc_value(c->doc, path, &v);
    if (v.bare)
        warn_add(c, true, path, "duration without a unit is taken as nanoseconds",
            "%lld ns: write a unit, such as 30s", (long long)v.i);
}

static void warn_spans(
    struct config *c, const struct config_log_spans *l, const char *key, const char *msg)
{
    if (l->enabled)
        warn_add(c, true, key, msg, "span logging can be very expensive and verbose");
}

static void warn_storage(struct config *c)
{
    const struct node *user =
        doc_get(c->doc, "overrides.user_configurable_overrides.client.local.path");
    if (user != NULL && user->kind == NODE_SCALAR && str_eqz(user->s, c->local_path))
        warn_add(c, true, "overrides.user_configurable_overrides.client.local.path",
            "trace storage conflicts with overrides storage", "they must have different places");
}

void warn_config(struct config *c)
{
    schema_each(&schema_root, "", 0, warn_key, c);
    warn_spans(
        c, &c->log_received_spans, "distributor.log_received_spans", "span logging is enabled");
    warn_spans(c, &c->log_discarded_spans, "distributor.log_discarded_spans",
        "discarded span logging is enabled");
    warn_storage(c);
    if (c->trace_idle > c->trace_live)
        warn_add(c, false, "live_store.max_trace_idle", "max_trace_idle is over max_trace_live",
            "traces are cut at max_trace_live");
    if (strcmp(c->server.log_format, "logfmt") != 0 && strcmp(c->server.log_format, "json") != 0)
        warn_add(c, false, "server.log_format", "unknown log format", "logfmt is used");
    if (c->limits.compaction_disabled)
        warn_add(c, false, "overrides.defaults.compaction.compaction_disabled",
            "retention goes on while compaction is disabled", "Tempo stops both");
    if (c->limits.rate_limit_bytes == 0 || c->limits.burst_size_bytes == 0)
        warn_add(c, true, "overrides.defaults.ingestion", "default limits let no tenant ingest",
            "rate_limit_bytes or burst_size_bytes is 0");
}
