/* SPDX-License-Identifier: Apache-2.0
 * From argv to struct config: flags, file, expansion, strict decoding, resolution, validation. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "doc.h"

/* What the server does without -config.file: a complete single binary that keeps a week. */
static const char built_in[] = "stream_over_http_enabled: true\n"
                               "server:\n"
                               "  http_listen_port: 3200\n"
                               "  grpc_listen_address: localhost\n"
                               "  grpc_listen_port: 9095\n"
                               "distributor:\n"
                               "  receivers:\n"
                               "    otlp:\n"
                               "      protocols:\n"
                               "        grpc:\n"
                               "          endpoint: 0.0.0.0:4317\n"
                               "        http:\n"
                               "          endpoint: 0.0.0.0:4318\n"
                               "backend_worker:\n"
                               "  compaction:\n"
                               "    block_retention: 168h\n"
                               "storage:\n"
                               "  trace:\n"
                               "    backend: local\n"
                               "    local:\n"
                               "      path: ./data/blocks\n"
                               "    wal:\n"
                               "      path: ./data/wal\n";

static void free_buf(struct buf *b)
{
    buf_deinit(b);
}

static enum ec read_text(struct config *c, struct buf *text, struct err *err)
{
    if (c->file == NULL || c->file[0] == 0) {
        c->doc->built_in = true;
        c->file = NULL;
        buf_putz(text, built_in);
        return EC_OK;
    }
    enum ec ec = file_read(c->file, text, err);
    if (ec != EC_OK) {
        err_prefix(err, "failed parsing config: failed to read configFile %s", c->file);
        return ec;
    }
    if (!c->expand_env)
        return EC_OK;
    CLEANUP(free_buf) struct buf raw = BUF_INIT;
    buf_move(text, &raw);
    ec = env_expand(buf_str(&raw), text, err);
    if (ec != EC_OK)
        err_prefix(
            err, "failed parsing config: failed to expand env vars from configFile %s", c->file);
    return ec;
}

/* The report of a file: whole lines, as many as an error message has room for. */
static enum ec report(const struct config *c, const struct problems *p, struct err *err)
{
    struct str all = buf_str(&p->lines);
    size_t room = ERR_MSG_MAX - 200 - strnlen(c->file, 400);
    size_t n = MIN(all.n, room);
    while (n > 0 && all.p[n - 1] != '\n')
        n--;
    return ERR(err, EC_INVALID,
        "failed parsing config: failed to parse configFile %.400s: yaml: unmarshal errors:\n%.*s%s",
        c->file, n > 0 ? (int)n - 1 : 0, all.p, n < all.n ? "\n  and more" : "");
}

static enum ec load_document(struct config *c, struct err *err)
{
    CLEANUP(free_buf) struct buf text = BUF_INIT;
    struct problems p = {.arena = &c->arena};

    TRY(read_text(c, &text, err));
    enum ec ec = node_parse(buf_str(&text), &c->arena, &c->doc->root, err);
    if (ec != EC_OK) {
        err_prefix(err, "failed parsing config: failed to parse configFile %s: yaml", c->file);
        return ec;
    }
    if (c->doc->root != NULL)
        decode_block(&schema_root, c->doc->root, &p);
    if (p.n > 0)
        ec = report(c, &p, err);
    buf_deinit(&p.lines);
    return ec;
}

/* A start would read the per-tenant file too, and the server would warn about its entries. */
static enum ec verify_overrides(struct config *c, struct err *err)
{
    struct config_tenant *tenants;
    struct arena arena;
    size_t n;
    uint64_t hash;

    arena_init(&arena, NULL, 0);
    enum ec ec = config_overrides_load(c, 0, &arena, &tenants, &n, &hash, err);
    for (size_t i = 0; ec == EC_OK && i < n; i++)
        if (tenants[i].warning != NULL)
            warn_add(c, true, "overrides.per_tenant_override_config",
                "overrides entry is suspicious", "tenant %.*s: %s", STR_ARG(tenants[i].tenant),
                tenants[i].warning);
    arena_deinit(&arena);
    if (ec != EC_OK)
        err_prefix(err, "failed to init module services: error initialising module: overrides");
    return ec;
}

static enum ec load(struct config *c, int argc, char **argv, int *ret_exit, struct err *err)
{
    *ret_exit = 2;
    TRY(flags_parse(c, argc, argv, err));
    if (c->print_help || c->print_version || c->health)
        return EC_OK;
    *ret_exit = 1;
    TRY(load_document(c, err));
    TRY(bind_config(c, err));
    TRY(resolve_config(c, err));
    TRY(validate_config(c, err));
    TRY(load_gateway(c, err));
    warn_config(c);
    return c->verify && c->overrides_file != NULL ? verify_overrides(c, err) : EC_OK;
}

enum ec config_load(int argc, char **argv, struct config **ret, int *ret_exit, struct err *err)
{
    struct config *c = xcalloc(1, sizeof(*c));
    struct err local = {0};

    arena_init(&c->arena, NULL, 0);
    c->doc = xcalloc(1, sizeof(*c->doc));
    c->health_url = "http://localhost:3200/ready";
    enum ec ec = load(c, argc, argv, ret_exit, err == NULL ? &local : err);
    if (ec != EC_OK) {
        config_free(c);
        return ec;
    }
    *ret = c;
    return EC_OK;
}

void config_free(struct config *c)
{
    if (c == NULL)
        return;
    VEC_FREE(&c->doc->flags);
    VEC_FREE(&c->doc->effective);
    free(c->doc);
    free(c->warnings);
    arena_deinit(&c->arena);
    free(c);
}
