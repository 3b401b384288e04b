/* SPDX-License-Identifier: Apache-2.0
 * Subcommands on a data directory: fsck, wal-dump, block-dump, snapshot. They read; only fsck
 * -repair writes there. All but snapshot want the server stopped. */
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "cmd.h"
#include "storage/backup.h"
#include "storage/block.h"
#include "storage/fsck.h"
#include "storage/wal.h"

static void print_line(void *ctx, const char *line)
{
    (void)ctx;
    puts(line);
}

/* The exit code. */
static int check(struct fsck_options opt)
{
    struct fsck_result r = {0};
    struct err err = {0};
    opt.io = io_from_environment();
    opt.report = print_line;
    if (fsck_run(&opt, &r, &err) != EC_OK) {
        fprintf(stderr, "fsck: %s\n", err_msg(&err));
        return 2;
    }
    printf("%llu tenants, %llu segments, %llu records, %llu blocks, %llu spans, %llu problems\n",
        (unsigned long long)r.tenants, (unsigned long long)r.segments,
        (unsigned long long)r.records, (unsigned long long)r.blocks, (unsigned long long)r.spans,
        (unsigned long long)r.problems);
    return r.problems == 0 ? 0 : 1;
}

/* As the server's own flags: one dash or two. */
static bool flag_is(const char *arg, const char *name)
{
    return arg[0] == '-' && strcmp(arg + (arg[1] == '-' ? 2 : 1), name) == 0;
}

/* -name VALUE or -name=VALUE; *i moves over the value. */
static bool flag_value(int argc, char **argv, int *i, const char *name, const char **ret)
{
    const char *arg = argv[*i];
    size_t n = strlen(name), dashes = arg[0] != '-' ? 0 : arg[1] == '-' ? 2 : 1;
    if (flag_is(arg, name) && *i + 1 < argc) {
        *ret = argv[++*i];
        return true;
    }
    if (dashes == 0 || strncmp(arg + dashes, name, n) != 0 || arg[dashes + n] != '=')
        return false;
    *ret = arg + dashes + n + 1;
    return true;
}

int cmd_fsck(int argc, char **argv)
{
    const char *data = NULL, *wal = NULL;
    bool repair = false;
    for (int i = 1; i < argc; i++) {
        if (flag_is(argv[i], "repair")) {
            repair = true;
        } else if (!flag_value(argc, argv, &i, "data", &data) &&
                   !flag_value(argc, argv, &i, "wal", &wal)) {
            data = NULL;
            break;
        }
    }
    if (data == NULL) {
        fputs(
            "usage: vivace fsck [-repair] -data DIR [-wal DIR]\n"
            "  DIR: storage.trace.local.path and storage.trace.wal.path; the server must not run\n",
            stderr);
        return 2;
    }
    return check((struct fsck_options){
        .data_dir = data, .wal_dir = wal == NULL ? data : wal, .repair = repair});
}

static void print_record(void *ctx, const struct wal_dump_record *r)
{
    (void)ctx;
    printf("%s segment=%llu offset=%llu lsn=%llu arrival=%u bytes=%zu skipped=%u acked=%s%s%s\n",
        r->path, (unsigned long long)r->segment, (unsigned long long)r->offset,
        (unsigned long long)r->rec.lsn, r->rec.arrival_s, r->rec.otlp.n, r->rec.n_skip,
        r->acked ? "yes" : "no",
        r->problem == NULL ? "" : " problem=", r->problem == NULL ? "" : r->problem);
}

int cmd_wal_dump(int argc, char **argv)
{
    if (argc != 2 || argv[1][0] == '-') {
        fputs("usage: vivace wal-dump DIR\n  DIR: one tenant's folder below @wal\n", stderr);
        return 2;
    }
    struct wal_recovery r = {0};
    struct err err = {0};
    if (wal_scan(io_from_environment(), argv[1], print_record, NULL, &r, &err) != EC_OK) {
        fprintf(stderr, "wal-dump: %s\n", err_msg(&err));
        return 2;
    }
    printf("%llu segments, %llu records, %llu torn tails, %llu damaged records, last lsn %llu\n",
        (unsigned long long)r.segments, (unsigned long long)r.records,
        (unsigned long long)r.torn_tails, (unsigned long long)r.damaged_records,
        (unsigned long long)r.last_lsn);
    return r.damaged_records == 0 ? 0 : 1;
}

int cmd_block_dump(int argc, char **argv)
{
    if (argc < 2 || argv[1][0] == '-') {
        fputs("usage: vivace block-dump FILE...\n", stderr);
        return 2;
    }
    for (int i = 1; i < argc; i++) {
        struct buf out = BUF_INIT;
        struct err err = {0};
        if (block_dump(io_from_environment(), argv[i], &out, &err) != EC_OK) {
            fprintf(stderr, "block-dump: %s\n", err_msg(&err));
            buf_deinit(&out);
            return 2;
        }
        fwrite(out.p, 1, out.n, stdout);
        buf_deinit(&out);
    }
    return 0;
}

int cmd_snapshot(int argc, char **argv)
{
    struct backup_options opt = {.io = io_from_environment()};
    bool bad = false, verify = false;
    for (int i = 1; i < argc && !bad; i++) {
        if (flag_is(argv[i], "copy"))
            opt.copy_blocks = true;
        else if (flag_is(argv[i], "verify"))
            verify = true;
        else if (flag_value(argc, argv, &i, "data", &opt.data_dir) ||
                 flag_value(argc, argv, &i, "wal", &opt.wal_dir))
            continue;
        else if (argv[i][0] != '-' && opt.to == NULL)
            opt.to = argv[i];
        else
            bad = true;
    }
    if (bad || opt.data_dir == NULL || opt.to == NULL) {
        fputs("usage: vivace snapshot [-copy] [-verify] -data DIR [-wal DIR] TO\n"
              "  DIR: storage.trace.local.path and storage.trace.wal.path; the server may run\n"
              "  TO:  made new; start from it with both paths set to it\n"
              "  -copy: share no file with DIR\n"
              "  The log, the footers and all copied blocks are read back; -verify: linked ones "
              "too\n"
              "exit 1: something in the copy is damaged; 2: no copy could be made, or read back\n",
            stderr);
        return 2;
    }
    opt.wal_dir = opt.wal_dir == NULL ? opt.data_dir : opt.wal_dir;
    struct backup_result r;
    struct err err = {0};
    if (backup_run(&opt, &r, &err) != EC_OK) {
        fprintf(stderr, "snapshot: %s\n", err_msg(&err));
        return 2;
    }
    printf("%llu tenants, %llu segments, %llu blocks, %llu bytes, %llu of them linked\n",
        (unsigned long long)r.tenants, (unsigned long long)r.segments, (unsigned long long)r.blocks,
        (unsigned long long)r.bytes, (unsigned long long)r.linked_bytes);
    /* What was written is read back. WHY not the pages of linked blocks: they are the server's own
     * files, nothing of them was copied, and reading them all takes minutes where the links took
     * none. */
    return check((struct fsck_options){
        .data_dir = opt.to, .wal_dir = opt.to, .footers_only = !verify && r.linked_bytes > 0});
}
