/* SPDX-License-Identifier: Apache-2.0
 * The program: Tempo's command line, or one of the offline subcommands. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "cmd.h"

static void print(const struct buf *b, FILE *to)
{
    fwrite(b->p, 1, b->n, to);
}

static int print_version(void)
{
    puts("tempo, version 3.0.3 (branch: vivace, revision: " VIVACE_VERSION ")\n"
         "  build user:       \n"
         "  build date:       \n"
         "  go version:       none (vivace " VIVACE_VERSION ", C)\n"
         "  platform:         linux\n"
         "  tags:             ");
    return 0;
}

static void log_warnings(const struct config *c)
{
    if (c->n_warnings != 0)
        log_event(LOG_WARN, "-- CONFIGURATION WARNINGS --");
    for (size_t i = 0; i < c->n_warnings; i++) {
        const struct config_warning *w = &c->warnings[i];
        if (w->key != NULL)
            log_event(LOG_WARN, w->msg, LZ("key", w->key), LZ("reason", w->explain));
        else
            log_event(LOG_WARN, w->msg, LZ("explain", w->explain));
    }
    log_event(LOG_INFO, "effective retention", LD("block_retention", c->retention),
        LZ("source", c->retention_source));
}

static int verify(const struct config *c)
{
    for (size_t i = 0; i < c->n_warnings; i++)
        if (c->warnings[i].fails_verify)
            return 1;
    return 0;
}

static int run(const struct config *c)
{
    enum log_level level;
    if (log_level_parse(str_from(c->server.log_level), &level))
        log_level_min = level;
    log_set_json(c->server.log_format != NULL && strcmp(c->server.log_format, "json") == 0);
    log_warnings(c);
    return c->verify ? verify(c) : cmd_serve(c);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*fn)(int argc, char **argv);
    } subcommands[] = {{"fsck", cmd_fsck}, {"wal-dump", cmd_wal_dump},
        {"block-dump", cmd_block_dump}, {"snapshot", cmd_snapshot}};
    for (size_t i = 0; argc > 1 && i < ARRAY_LEN(subcommands); i++)
        if (strcmp(argv[1], subcommands[i].name) == 0)
            return subcommands[i].fn(argc - 1, argv + 1);

    struct config *c;
    struct err err = {0};
    int exit_code = 1;
    if (config_load(argc, argv, &c, &exit_code, &err) != EC_OK) {
        fprintf(stderr, "%s\n", err_msg(&err));
        if (exit_code == 2) {
            struct buf b = BUF_INIT;
            config_usage(&b);
            print(&b, stderr);
            buf_deinit(&b);
        }
        return exit_code;
    }
    if (c->print_help) {
        struct buf b = BUF_INIT;
        config_usage(&b);
        print(&b, stdout);
        buf_deinit(&b);
        exit_code = 0;
    } else if (c->print_version) {
        exit_code = print_version();
    } else if (c->health) {
        exit_code = cmd_health(c->health_url);
    } else {
        exit_code = run(c);
    }
    config_free(c);
    return exit_code;
}
