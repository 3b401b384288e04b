/* SPDX-License-Identifier: Apache-2.0
 * Traces by id out of block files, with next to nothing in memory: CPU of a trace by the process's
 * own clock.
 *
 *     bench_trace [--cache MIB] [--traces N] BLOCK...
 *
 * A trace is read by a reader of its own, as the query engine reads it: found by its id, its spans
 * with all that belongs to them. The cache of pages is small (1 MiB unless told otherwise), so what
 * one trace unpacks is of little use to the next. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/hash.h"
#include "storage/block.h"
#include "storage/span_read.h"

static void must(enum ec ec, const struct err *err)
{
    if (ec == EC_OK)
        return;
    fprintf(stderr, "bench_trace: %s: %s\n", ec_text(ec), err_msg(err));
    exit(1);
}

static double cpu_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static struct part *open_block(struct block_cache *cache, const char *path, struct arena *arena)
{
    struct err err = {0};
    struct block_facts facts;
    struct block_open_options o = {.io = &io_real, .path = path, .facts = &facts, .cache = cache};
    struct part *p;
    must(block_facts_read(&io_real, path, &o.tenant, arena, &facts, &err), &err);
    must(block_open(&o, &p, &err), &err);
    block_facts_deinit(&facts);
    return p;
}

/* A trace of the part, by a number that is not its place; returns its spans. */
static uint32_t read_one(struct part *p, uint64_t number, struct arena *arena, uint64_t *bytes)
{
    struct err err = {0};
    struct part_reader *r;
    struct part_info info;
    struct part_trace t;
    uint32_t trace, n, *rows;
    must(part_reader_open(p, NULL, &r, &err), &err);
    part_info(r, &info);
    must(part_trace(r, (uint32_t)(number % info.n_traces), &t, &err), &err);
    must(part_trace_find(r, &t.id, &trace, &err), &err);
    must(part_trace_rows(r, trace, arena, &rows, &n, &err), &err);
    struct read_span *spans = ARENA_ARRAY(arena, n, struct read_span);
    must(span_read(r, rows, n, arena, spans, &err), &err);
    for (uint32_t i = 0; i < n; i++) {
        struct read_resource resource;
        struct read_scope scope;
        must(resource_read(r, spans[i].resource, arena, &resource, &err), &err);
        must(scope_read(r, spans[i].scope, arena, &scope, &err), &err);
    }
    *bytes += part_reader_bytes(r);
    part_reader_close(r);
    return n;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"cache", required_argument, NULL, 'c'}, {"traces", required_argument, NULL, 'n'}, {0}};
    uint64_t cache_mib = 1, n = 2000, spans = 0, bytes = 0;
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (o == '?')
            return 2;
        *(o == 'c' ? &cache_mib : &n) = strtoull(optarg, NULL, 10);
    }
    int n_blocks = argc - optind;
    if (n_blocks < 1 || n < 1)
        return 2;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct block_cache *cache = block_cache_new(NULL, cache_mib << 20);
    struct part **parts = xcalloc((size_t)n_blocks, sizeof(struct part *));
    for (int i = 0; i < n_blocks; i++)
        parts[i] = open_block(cache, argv[optind + i], &arena);
    for (int round = 0; round < 2; round++) {
        double began = cpu_us();
        spans = bytes = 0;
        for (uint64_t i = 0; i < n; i++) {
            arena_reset(&arena);
            spans += read_one(parts[i % (uint64_t)n_blocks], hash_mix(i), &arena, &bytes);
        }
        printf("{\"result\": \"trace by id, %s\", \"cpu_us\": %.1f, \"spans\": %.1f, "
               "\"bytes_read\": %.0f}\n",
            round == 0 ? "first time" : "again", (cpu_us() - began) / (double)n,
            (double)spans / (double)n, (double)bytes / (double)n);
    }
    for (int i = 0; i < n_blocks; i++)
        part_unref(parts[i]);
    free(parts);
    block_cache_free(cache);
    arena_deinit(&arena);
    return 0;
}
