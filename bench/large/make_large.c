/* SPDX-License-Identifier: Apache-2.0
 * Makes the data directory of a server that has run for a week: blocks, catalog, no log.
 *
 *     make_large DIR [--blocks 1000] [--spans 100000000] [--seed 1] [--end UNIX] [--hours 168]
 *                    [--tenants 1] [--threads 2]
 *
 * DIR is the server's storage.trace.local.path. Blocks follow each other in time, as heads of one
 * tenant do; of every six one is a merged one as large as the others together, so sizes and levels
 * are those of a store that merges. The first TAIL traces of a block are the second halves of the
 * last TAIL ones of the block before: a trace that went on while its head was sealed.
 *
 * With more than one tenant ("single-tenant", then "tenant-0001", ...) each has so many blocks and
 * spans. The same arguments give the same spans, ids and planted values, whatever the threads;
 * prints a manifest (JSON) of what can be asked for. */
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/hash.h"
#include "storage/catalog.h"
#include "storage/head.h"
#include "synth.h"

#define TAIL        8u
#define BATCH_SPANS 4000u
/* on average, of this generator: what a number of traces comes from */
#define SPANS_OF_TRACE  10.47
#define MERGED_EVERY    6u
#define LSNS_OF_BLOCK   1000u
#define PLANTED_USER    5u /* blocks with a span of user.id = "planted-user" */
#define PLANTED_SERVICE 3u /* blocks with a span of service.name = "planted-service" */
#define SAMPLES         4u
#define NS              1000000000ull

struct options {
    const char *dir;
    uint64_t blocks, spans, seed, end_s, hours, tenants, threads;
};

struct sample { /* a trace, and how many spans of it this block has */
    struct trace_id id;
    uint32_t n_spans;
};

struct made {                       /* one block */
    uint64_t first_trace, n_traces; /* in the order of time, tails not counted */
    struct block_facts facts;
    struct sample samples[SAMPLES]; /* two whole ones, the first tail, the tail going on */
    struct trace_id user, service;  /* planted here, zero: none */
    struct synth_counts counts;
};

struct job {
    struct options o;
    struct made *made; /* by tenant, block */
    uint64_t n_traces; /* of a tenant */
    _Atomic uint64_t next;
};

static void must(enum ec ec, const struct err *err)
{
    if (ec == EC_OK)
        return;
    fprintf(stderr, "make_large: %s: %s\n", ec_text(ec), err_msg(err));
    exit(1);
}

static void tenant_name(char out[32], uint64_t tenant)
{
    if (tenant == 0)
        snprintf(out, 32, "single-tenant");
    else
        snprintf(out, 32, "tenant-%04" PRIu64, tenant);
}

static void block_uuid(uint8_t out[16], const struct options *o, uint64_t tenant, uint64_t block)
{
    put_u64le(out, hash_mix(o->seed ^ tenant << 40 ^ block));
    put_u64le(out + 8, hash_mix(hash_mix(o->seed + 1) ^ tenant << 40 ^ block));
    out[6] = (uint8_t)((out[6] & 0x0f) | 0x40);
    out[8] = (uint8_t)((out[8] & 0x3f) | 0x80);
}

static bool block_merged(uint64_t block)
{
    return block % MERGED_EVERY == 2;
}

/* Shares out the traces: a merged block takes as many as the others of its six together. */
static uint64_t shares_before(uint64_t block)
{
    uint64_t six = block / MERGED_EVERY, rest = block % MERGED_EVERY;
    return six * 2 * (MERGED_EVERY - 1) + rest + (rest > 2 ? MERGED_EVERY - 2 : 0);
}

static uint64_t trace_seed(const struct options *o, uint64_t tenant, uint64_t trace)
{
    return hash_mix(o->seed * 0x9e3779b97f4a7c15ULL + (tenant << 44) + trace);
}

static uint64_t trace_start(const struct job *j, uint64_t trace)
{
    uint64_t first = (j->o.end_s - j->o.hours * 3600) * NS;
    /* Not at equal distances: some nanoseconds of its own. */
    return first + (uint64_t)((double)trace / (double)j->n_traces * (double)j->o.hours * 3600e9) +
           hash_mix(trace) % 1000;
}

/* Is something planted `n` times over all blocks planted in this one? */
static bool planted_here(const struct options *o, uint64_t n, uint64_t block)
{
    return (block * n + n / 2) / o->blocks != ((block + 1) * n + n / 2) / o->blocks;
}

static void insert(struct head *h, struct synth *s, uint64_t start_ns)
{
    struct err err = {0};
    uint32_t dups;
    struct batch b = synth_batch(s);
    must(head_reserve(h, &b, &err), &err);
    head_insert(h, &b, (uint32_t)(start_ns / NS) + 1, &dups);
    if (dups != 0) {
        fprintf(stderr, "make_large: two spans of one id\n");
        exit(1);
    }
    synth_reset(s);
}

static void plant(const struct job *j, struct synth *s, uint64_t tenant, uint64_t block,
    struct made *m, uint64_t start_ns)
{
    uint64_t seed = ~trace_seed(&j->o, tenant, block);
    if (planted_here(&j->o, PLANTED_USER, block))
        synth_planted(s, seed, start_ns, "cart", "planted", "user.id", "planted-user", &m->user);
    if (planted_here(&j->o, PLANTED_SERVICE, block))
        synth_planted(s, seed + 1, start_ns, "planted-service", "planted operation", "planted.key",
            "planted value", &m->service);
}

static struct head *fill(const struct job *j, struct synth *s, uint64_t tenant, uint64_t block,
    struct made *m, struct budget *budget)
{
    struct head *h;
    struct err err = {0};
    struct trace_id id;
    must(head_new(budget, &h, &err), &err);
    uint64_t from = m->first_trace, to = from + m->n_traces, start = 0;
    for (uint64_t t = from - MIN(from, TAIL); t < to; t++) {
        bool goes_on = t + TAIL >= to && to < j->n_traces;
        start = trace_start(j, t);
        uint32_t n = synth_trace(s, trace_seed(&j->o, tenant, t), start,
            t < from  ? SYNTH_SECOND_HALF
            : goes_on ? SYNTH_FIRST_HALF
                      : SYNTH_WHOLE,
            &id);
        uint64_t place = t - from;
        size_t sample = t + TAIL == from                            ? 2
                        : t + TAIL == to                            ? 3
                        : t >= from && place == m->n_traces / 3     ? 0
                        : t >= from && place == m->n_traces / 3 * 2 ? 1
                                                                    : SAMPLES;
        if (sample < SAMPLES)
            m->samples[sample] = (struct sample){id, n};
        if (place == m->n_traces / 2)
            plant(j, s, tenant, block, m, start);
        if (s->spans.n >= BATCH_SPANS)
            insert(h, s, start);
    }
    insert(h, s, start);
    return h;
}

static void make_block(
    const struct job *j, struct synth *s, uint64_t tenant, uint64_t block, struct made *m)
{
    struct err err = {0};
    struct budget budget;
    struct part_reader *r;
    uint64_t dups;
    char name[32], hex[65], path[1024], final[1024], u[33];
    budget_init(&budget, NULL, "large", 0);
    tenant_name(name, tenant);
    hex_encode(hex, name, strlen(name));
    hex[2 * strlen(name)] = 0;
    struct block_write_options opt = {.io = &io_real,
        .path = path,
        .tenant = str_from(name),
        .level = block_merged(block) ? 2 : 0,
        .lsn_first = block * LSNS_OF_BLOCK + 1,
        .lsn_last = (block + 1) * LSNS_OF_BLOCK,
        .budget = &budget};
    block_uuid(opt.uuid, &j->o, tenant, block);
    hex_encode(u, opt.uuid, 16);
    snprintf(final, sizeof(final), "%s/@store/%s/%.8s-%.4s-%.4s-%.4s-%.12s.block", j->o.dir, hex, u,
        u + 8, u + 12, u + 16, u + 20);
    snprintf(path, sizeof(path), "%s/@store/%s/.tmp-%.32s", j->o.dir, hex, u);
    struct head *h = fill(j, s, tenant, block, m, &budget);
    m->counts = s->counts;
    s->counts = (struct synth_counts){0};
    must(part_reader_open(head_part(h), NULL, &r, &err), &err);
    must(block_write(&opt, &r, 1, &m->facts, &dups, &err), &err);
    part_reader_close(r);
    head_free(h);
    budget_deinit(&budget);
    if (rename(path, final) != 0) {
        perror(final);
        exit(1);
    }
}

static void *work(void *arg)
{
    struct job *j = arg;
    struct synth s;
    synth_init(&s);
    for (uint64_t i; (i = atomic_fetch_add(&j->next, 1)) < j->o.blocks * j->o.tenants;)
        make_block(j, &s, i / j->o.blocks, i % j->o.blocks, &j->made[i]);
    synth_deinit(&s);
    return NULL;
}

static void shares(struct job *j)
{
    uint64_t all = shares_before(j->o.blocks);
    for (uint64_t i = 0; i < j->o.blocks * j->o.tenants; i++) {
        struct made *m = &j->made[i];
        uint64_t b = i % j->o.blocks;
        m->first_trace = j->n_traces * shares_before(b) / all;
        m->n_traces = j->n_traces * shares_before(b + 1) / all - m->first_trace;
        if (m->n_traces < 3 * TAIL) {
            fprintf(stderr, "make_large: too few spans for so many blocks\n");
            exit(2);
        }
    }
}

static void dirs(const struct options *o)
{
    struct err err = {0};
    for (uint64_t t = 0; t < o->tenants; t++) {
        char name[32], hex[65], path[1024];
        tenant_name(name, t);
        hex_encode(hex, name, strlen(name));
        snprintf(path, sizeof(path), "%s/@store/%.*s", o->dir, (int)(2 * strlen(name)), hex);
        must(io_mkdir_all(&io_real, "large.mkdir", path, &err), &err);
    }
}

static void commit(const struct job *j)
{
    char path[1024];
    struct err err = {0};
    struct catalog *c;
    snprintf(path, sizeof(path), "%s/@store/catalog", j->o.dir);
    must(catalog_open(&(struct catalog_options){.dir = path}, &c, &err), &err);
    struct block_facts *facts = xcalloc(j->o.blocks, sizeof(*facts));
    for (uint64_t t = 0; t < j->o.tenants; t++) {
        char name[32];
        tenant_name(name, t);
        for (uint64_t b = 0; b < j->o.blocks; b++)
            facts[b] = j->made[t * j->o.blocks + b].facts;
        must(catalog_commit(c, str_from(name), facts, j->o.blocks, NULL, 0, &err), &err);
    }
    free(facts);
    catalog_close(c);
}

/* ---- manifest, of the first tenant ---- */

static void print_id(const char *before, const struct trace_id *id, const char *after)
{
    char hex[33] = {0};
    hex_encode(hex, id->b, 16);
    printf("%s\"%s\"%s", before, hex, after);
}

/* Lists of [id, spans]; of a trace in two blocks the sum. */
static void print_list(const struct job *j, const char *name, bool split)
{
    const char *sep = "";
    printf("  \"%s\": [", name);
    for (uint64_t b = 0; b < j->o.blocks; b++) {
        const struct made *m = &j->made[b];
        if (split && b + 1 == j->o.blocks)
            break;
        for (size_t i = split ? 3 : 0; i < (split ? 4 : 2); i++) {
            uint32_t n = m->samples[i].n_spans + (split ? m[1].samples[2].n_spans : 0);
            printf("%s[", sep);
            print_id("", &m->samples[i].id, "");
            printf(", %u]", n);
            sep = ", ";
        }
    }
    printf("],\n");
}

static void print_planted(const struct job *j, const char *name, bool service)
{
    const char *sep = "";
    printf("  \"%s\": [", name);
    for (uint64_t b = 0; b < j->o.blocks; b++) {
        const struct trace_id *id = service ? &j->made[b].service : &j->made[b].user;
        if (trace_id_zero(id))
            continue;
        print_id(sep, id, "");
        sep = ", ";
    }
    printf("],\n");
}

static void print_manifest(const struct job *j, double cpu_s)
{
    uint64_t spans = 0, bytes = 0, traces = 0;
    struct synth_counts sum = {0};
    for (uint64_t b = 0; b < j->o.blocks; b++) {
        const struct made *m = &j->made[b];
        spans += m->facts.n_spans;
        traces += m->facts.n_traces;
        bytes += m->facts.file_bytes;
        for (uint32_t i = 0; i < SYNTH_SERVICES; i++) {
            sum.spans[i] += m->counts.spans[i];
            sum.errors[i] += m->counts.errors[i];
        }
    }
    printf("{\n  \"blocks\": %" PRIu64 ", \"spans\": %" PRIu64 ", \"traces_in_blocks\": %" PRIu64
           ", \"bytes\": %" PRIu64 ",\n",
        j->o.blocks, spans, traces, bytes);
    printf("  \"start_s\": %" PRIu64 ", \"end_s\": %" PRIu64 ", \"cpu_us_per_span\": %.3f,\n",
        j->o.end_s - j->o.hours * 3600, j->o.end_s,
        cpu_s * 1e6 / (double)spans / (double)j->o.tenants);
    printf("  \"services\": {");
    for (uint32_t i = 0; synth_service(i) != NULL; i++)
        printf("%s\"%s\": {\"spans\": %" PRIu64 ", \"errors\": %" PRIu64 "}", i == 0 ? "" : ", ",
            synth_service(i), sum.spans[i], sum.errors[i]);
    printf("},\n");
    print_planted(j, "planted_user", false);
    print_planted(j, "planted_service", true);
    print_list(j, "whole", false);
    print_list(j, "split", true);
    printf("  \"tenants\": %" PRIu64 "\n}\n", j->o.tenants);
}

static uint64_t number(const char *name, const char *text)
{
    uint64_t v;
    if (!str_to_u64(str_from(text), &v) || v == 0) {
        fprintf(stderr, "make_large: --%s %s: not a number above 0\n", name, text);
        exit(2);
    }
    return v;
}

static struct options options_of(int argc, char **argv)
{
    struct options o = {.blocks = 1000,
        .spans = 100000000,
        .seed = 1,
        .end_s = (uint64_t)time(NULL),
        .hours = 168,
        .tenants = 1,
        .threads = 2};
    const struct {
        const char *name;
        uint64_t *to;
    } known[] = {{"blocks", &o.blocks}, {"spans", &o.spans}, {"seed", &o.seed}, {"end", &o.end_s},
        {"hours", &o.hours}, {"tenants", &o.tenants}, {"threads", &o.threads}};
    struct option list[ARRAY_LEN(known) + 1] = {0};
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        list[i] = (struct option){known[i].name, required_argument, NULL, (int)i + 1};
    for (int c; (c = getopt_long(argc, argv, "", list, NULL)) != -1;) {
        if (c < 1 || c > (int)ARRAY_LEN(known))
            exit(2);
        *known[c - 1].to = number(known[c - 1].name, optarg);
    }
    if (optind + 1 != argc || o.threads > 64) {
        fprintf(stderr, "usage: make_large DIR [--blocks N] [--spans N] [--seed N] [--end UNIX] "
                        "[--hours N] [--tenants N] [--threads N]\n");
        exit(2);
    }
    o.dir = argv[optind];
    return o;
}

int main(int argc, char **argv)
{
    struct job j = {.o = options_of(argc, argv)};
    pthread_t threads[64];
    j.n_traces = (uint64_t)((double)j.o.spans / SPANS_OF_TRACE);
    j.made = xcalloc(j.o.blocks * j.o.tenants, sizeof(*j.made));
    shares(&j);
    dirs(&j.o);
    for (uint64_t i = 0; i < j.o.threads; i++)
        if (pthread_create(&threads[i], NULL, work, &j) != 0)
            return 1;
    for (uint64_t i = 0; i < j.o.threads; i++)
        pthread_join(threads[i], NULL);
    commit(&j);
    print_manifest(&j, (double)clock() / CLOCKS_PER_SEC);
    for (uint64_t i = 0; i < j.o.blocks * j.o.tenants; i++)
        block_facts_deinit(&j.made[i].facts);
    free(j.made);
    return 0;
}
