/* SPDX-License-Identifier: Apache-2.0
 * Random operations on a whole store, against a model that is a sorted list of spans.
 *
 * A life is a store in a simulated machine (sim_world.h) with three tenants and some thousand
 * operations: appends (new, late, sent again, of the same traces over and over), limits that
 * change, ticks, flush, compaction, retention, restarts, kills and power losses; the clock is the
 * test's. Every append is synced before the next operation, so the model loses nothing but what
 * retention took and admission refused. Asked in between, and always answered as the model does:
 *   a trace by its id, with its contents;
 *   which spans match a predicate (attributes, name, start, duration, resource; and, or, not);
 *   everything, row by row, after each retention and restart;
 *   an old snapshot, again: it has not changed since.
 * Retention (D7): what is younger than the period is there, and no block is served that is older,
 * nor after a start that may believe the clock.
 *
 *     model [--ops N] [--jobs N] [--seed N]
 *
 * --seed N alone is that life; a failure prints it, with the last operations.
 */
#include "model.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/hash.h"
#include "sim_run.h"

#define LIFE_OPS 3000
#define RING     16
/* The store's hour, less or more what its whole seconds may differ. */
#define CLOCK_NEAR_NS (3590 * NS_PER_S)
#define CLOCK_FAR_NS  (3610 * NS_PER_S)

static struct {
    uint64_t ops, seed;
    unsigned jobs;
    bool one;
} option = {.ops = 100000, .jobs = 1};

struct sent { /* a request of late, to be sent again */
    unsigned tenant;
    uint32_t n;
    struct model_span spans[MODEL_REQUEST_SPANS];
};

struct life {
    uint64_t seed, rng, op, next_id;
    uint32_t next_trace;
    struct sim_world *w;
    struct model m;
    struct sent ring[RING];
    size_t n_sent;
    struct model_pin pin; /* an old snapshot */
    struct sim_trail trail;
};

static uint64_t n_ops, n_lives, n_rejected, n_queries, n_expired, n_believed;
static struct life *life_now;

static uint64_t draw(struct life *l, uint64_t n)
{
    return sim_draw(&l->rng, n);
}

static void life_where(char *ret, size_t cap)
{
    snprintf(ret, cap, "life %llu, operation %llu; replay: model --seed %llu",
        (unsigned long long)life_now->seed, (unsigned long long)life_now->op,
        (unsigned long long)life_now->seed);
}

void model_fail(const char *fmt, ...)
{
    char where[160];
    va_list ap;
    va_start(ap, fmt);
    printf("model: FAILED: ");
    vprintf(fmt, ap);
    va_end(ap);
    life_where(where, sizeof(where));
    printf("\n  %s\n", where);
    sim_trail_print(&life_now->trail);
    fflush(stdout);
    _exit(1);
}

#define trail(l, ...) sim_trail_add(&(l)->trail, (l)->op, "", __VA_ARGS__)

static void expect(enum ec ec, const char *what, const struct err *err)
{
    if (ec != EC_OK)
        model_fail("%s: %s", what, err_msg(err));
}

/* ---- appends ---- */

static void acked(void *arg, enum ec ec, const struct err *err)
{
    (void)err;
    *(int *)arg = ec == EC_OK ? 1 : -1;
}

/* Traces that got a span within the idle time, as the model saw it: a head knows no more. */
static size_t live_traces(const struct life *l, unsigned tenant, int64_t since_ns)
{
    size_t n = 0;
    const struct model_tenant *t = &l->m.tenants[tenant];
    for (size_t i = 0; i < t->n; i++)
        n += t->p[i].last_arrival_ns >= since_ns;
    return n; /* spans, and so at least the traces */
}

static void rejects_check(struct life *l, const struct batch *b, const struct sent *s)
{
    const struct tenant_limits *lim = &l->w->limits;
    for (uint32_t i = 0; i < b->n_spans; i++) {
        enum span_reject why = b->spans[i].reject;
        n_rejected += why != SPAN_ACCEPTED;
        if (why == SPAN_ACCEPTED)
            continue;
        if (why == SPAN_TOO_MANY_TRACES &&
            (lim->traces_live_max == 0 ||
                live_traces(l, s->tenant, l->w->wall_ns - 7 * NS_PER_S) + i < lim->traces_live_max))
            model_fail("refused for too many live traces, and there are fewer");
        if (why == SPAN_TRACE_TOO_LARGE && lim->trace_bytes_max == 0)
            model_fail("refused for its size, and there is no limit");
        if (why != SPAN_TOO_MANY_TRACES && why != SPAN_TRACE_TOO_LARGE)
            model_fail("refused for reason %u", why);
    }
}

static void send(struct life *l, struct sent *s)
{
    struct buf b = BUF_INIT;
    struct arena arena;
    struct batch batch;
    struct err err = {0};
    int outcome = 0;
    model_encode(s->tenant, s->spans, s->n, &b);
    arena_init(&arena, NULL, 0);
    const struct batch_limits bl = {.attr_bytes_max = l->w->limits.attr_bytes_max};
    expect(batch_decode(&batch, buf_bytes(&b), &bl, &arena, &err), "decode", &err);
    enum ec ec =
        store_append(l->w->s, str_from(model_tenants[s->tenant]), &batch, acked, &outcome, &err);
    if (ec == EC_LIMIT) { /* logs are short: flushes make room */
        expect(store_flush(l->w->s, (struct str){0}, &err), "flush", &err);
        ec = store_append(
            l->w->s, str_from(model_tenants[s->tenant]), &batch, acked, &outcome, &err);
    }
    expect(ec, "append", &err);
    sim_world_commit(l->w);
    if (outcome != 1)
        model_fail("an append was not acknowledged");
    rejects_check(l, &batch, s);
    for (uint32_t i = 0; i < s->n; i++)
        if (batch.spans[i].reject == SPAN_ACCEPTED)
            model_add(&l->m, s->tenant, &s->spans[i], l->w->wall_ns);
    arena_deinit(&arena);
    buf_deinit(&b);
}

static void op_append(struct life *l)
{
    if (l->n_sent > 0 && draw(l, 12) == 0) {
        struct sent *again = &l->ring[draw(l, MIN(l->n_sent, RING))];
        trail(l, "append %u spans to %u again", again->n, again->tenant);
        send(l, again);
        return;
    }
    struct sent *s = &l->ring[l->n_sent++ % RING];
    *s = (struct sent){.tenant = (unsigned)draw(l, MODEL_TENANTS),
        .n = (uint32_t)(1 + draw(l, MODEL_REQUEST_SPANS))};
    uint64_t late_ns = draw(l, 8) == 0 ? draw(l, 9ull * 3600 * NS_PER_S) : 0;
    for (uint32_t i = 0; i < s->n; i++) {
        bool new_trace = l->next_trace < 8 || draw(l, 3) == 0;
        s->spans[i] = (struct model_span){.id = l->next_id++,
            .trace = new_trace ? l->next_trace++ : l->next_trace - 1 - (uint32_t)draw(l, 7),
            .start_ns = (uint64_t)l->w->wall_ns - late_ns - draw(l, 60 * NS_PER_S),
            .duration_ns = draw(l, 1000),
            .name = (uint8_t)draw(l, MODEL_NAMES),
            .v = (int8_t)(draw(l, 24) - 4),
            .has_v = draw(l, 4) != 0,
            .tag = (uint8_t)draw(l, MODEL_TAGS + 1),
            .text = (uint16_t)(draw(l, 5) == 0 ? draw(l, 400) : 0)};
    }
    trail(l, "append %u spans to %u%s", s->n, s->tenant, late_ns > 0 ? ", late" : "");
    send(l, s);
}

/* ---- the rest ---- */

static void check_all(struct life *l, bool expired, bool strictly)
{
    int64_t before_ns = expired ? l->w->wall_ns - MODEL_RETENTION_NS : 0;
    l->m.newest_block_ns = 0;
    for (unsigned t = 0; t < MODEL_TENANTS; t++)
        n_expired += model_check(&l->m, l->w, t, before_ns, strictly);
    if (l->w->n_errors > 0)
        model_fail("an error was logged: %s", l->w->error);
}

static void op_retain(struct life *l)
{
    struct err err = {0};
    int64_t pass_s = (int64_t)draw(l, draw(l, 4) == 0 ? 8 * 3600 : 3600);
    trail(l, "retain after %lld s", (long long)pass_s);
    sim_world_pass(l->w, pass_s * NS_PER_S);
    expect(store_retain(l->w->s, &err), "retention", &err);
    check_all(l, true, true);
}

/* The newest arrival of all. */
static int64_t newest_arrival(const struct life *l)
{
    int64_t newest_ns = 0;
    for (unsigned t = 0; t < MODEL_TENANTS; t++)
        for (size_t i = 0; i < l->m.tenants[t].n; i++)
            newest_ns = MAX(newest_ns, l->m.tenants[t].p[i].last_arrival_ns);
    return newest_ns;
}

static void op_restart(struct life *l)
{
    struct err err = {0};
    uint64_t how = draw(l, 4);
    static const struct io_sim_loss loss = {SIM_BYTES_MIX, SIM_NAMES_ANY};
    trail(l, how == 0 ? "power loss" : how == 1 ? "kill" : "restart");
    model_unpin(&l->pin, l->w);
    check_all(l, false, false);
    if (draw(l, 3) == 0) /* the machine is off for a while */
        sim_world_pass(l->w, (int64_t)draw(l, 10 * 3600) * NS_PER_S);
    bool believed = l->w->wall_ns - l->m.newest_block_ns < CLOCK_NEAR_NS;
    bool doubted = l->w->wall_ns - newest_arrival(l) > CLOCK_FAR_NS;
    if (how < 2) {
        struct sim_world *c = sim_world_image(
            l->w, how == 0 ? &loss : NULL, l->w->history.n - 1, hash_mix(l->seed + l->op));
        sim_world_enter(NULL);
        sim_world_free(l->w);
        l->w = c;
        sim_world_enter(c);
    } else {
        expect(store_close(TAKE_PTR(l->w->s), how == 2, &err), "close", &err);
    }
    expect(sim_world_open(l->w, &err), "open", &err);
    l->m.reviving = true;
    check_all(l, !doubted, believed); /* in doubt nothing may go */
    l->m.reviving = false;
    n_believed += believed;
}

static void op_limits(struct life *l)
{
    struct tenant_limits *lim = &l->w->limits;
    lim->traces_live_max = draw(l, 2) == 0 ? 0 : (uint32_t)(1 + draw(l, 40));
    lim->trace_bytes_max = draw(l, 2) == 0 ? 0 : 100 + draw(l, 2000);
    trail(l, "limits: %u live traces, %llu bytes", lim->traces_live_max,
        (unsigned long long)lim->trace_bytes_max);
}

static struct model_leaf leaf_draw(struct life *l)
{
    struct model_leaf f = {.field = (enum model_field)draw(l, MODEL_FIELDS),
        .op = (enum scan_op)draw(l, 6),
        .number = (int64_t)draw(l, 26) - 5,
        .text = (unsigned)draw(l, MODEL_NAMES + 1),
        .negate = draw(l, 5) == 0};
    if (f.field == MODEL_FIELD_START)
        f.number = l->w->wall_ns - (int64_t)draw(l, draw(l, 2) == 0 ? 120 : 7200) * NS_PER_S;
    if (f.field == MODEL_FIELD_DURATION)
        f.number = (int64_t)draw(l, 1000);
    if ((f.field == MODEL_FIELD_TAG || f.field == MODEL_FIELD_NAME ||
            f.field == MODEL_FIELD_SERVICE) &&
        f.op > SCAN_NE)
        f.op = f.field == MODEL_FIELD_TAG ? SCAN_EXISTS : SCAN_EQ;
    return f;
}

static void op_query(struct life *l)
{
    unsigned tenant = (unsigned)draw(l, MODEL_TENANTS);
    n_queries++;
    if (draw(l, 3) == 0) {
        uint32_t trace = (uint32_t)draw(l, l->next_trace + 1);
        model_check_trace(&l->m, l->w, tenant, trace);
        return;
    }
    struct model_query q = {.n = (unsigned)(1 + draw(l, 3)), .any = draw(l, 2) == 0};
    for (unsigned i = 0; i < q.n; i++)
        q.leaves[i] = leaf_draw(l);
    model_check_query(&l->m, l->w, tenant, &q);
}

static void op_pin(struct life *l)
{
    model_unpin(&l->pin, l->w); /* compares */
    model_pin(&l->pin, l->w, (unsigned)draw(l, MODEL_TENANTS));
}

static void life_op(struct life *l)
{
    struct err err = {0};
    uint64_t what = draw(l, 1000);
    sim_world_pass(l->w, (int64_t)draw(l, 500) * NS_PER_MS);
    if (what < 560) {
        op_append(l);
    } else if (what < 880) {
        op_query(l);
    } else if (what < 910) {
        trail(l, "tick");
        sim_world_pass(l->w, (int64_t)draw(l, 200) * NS_PER_S);
        tick_step(l->w->s);
        prepare_step(l->w->s);
        sim_world_commit(l->w);
    } else if (what < 940) {
        struct str tenant = str_from(model_tenants[draw(l, MODEL_TENANTS)]);
        trail(l, "flush");
        expect(
            store_flush(l->w->s, draw(l, 3) == 0 ? (struct str){0} : tenant, &err), "flush", &err);
    } else if (what < 960) {
        trail(l, "compact");
        expect(store_compact(l->w->s, &err), "compaction", &err);
    } else if (what < 970 || l->m.n > 1500) {
        op_retain(l);
    } else if (what < 980) {
        op_limits(l);
    } else if (what < 992) {
        op_pin(l);
    } else if (what < 996) {
        op_restart(l);
    } else {
        check_all(l, false, false);
    }
}

static void life_run(uint64_t seed)
{
    struct life *l = xcalloc(1, sizeof(*l));
    struct err err = {0};
    l->seed = seed;
    l->rng = hash_mix(seed);
    l->next_id = 1;
    life_now = l;
    l->w = sim_world_new(seed, false);
    l->w->limits.attr_bytes_max = l->m.attr_bytes_max = draw(l, 2) == 0 ? 0 : 64;
    l->w->opt.retention_ns = MODEL_RETENTION_NS;
    l->w->opt.compaction_inputs_max = (uint32_t)(2 + draw(l, 4));
    l->w->opt.block_raw_bytes_max = draw(l, 2) == 0 ? 0 : 2048 + draw(l, 32768);
    l->w->opt.tenants_open_max = draw(l, 4) == 0 ? 2 : 100;
    sim_world_enter(l->w);
    expect(sim_world_open(l->w, &err), "open", &err);
    for (l->op = 1; l->op <= LIFE_OPS && (option.one || n_ops < option.ops); l->op++, n_ops++)
        life_op(l);
    check_all(l, false, false);
    model_unpin(&l->pin, l->w);
    sim_world_enter(NULL);
    sim_world_free(l->w);
    model_deinit(&l->m);
    free(l);
    n_lives++;
}

static int run(uint64_t first, uint64_t step)
{
    struct timespec t;
    uint64_t told = 0;
    for (uint64_t seed = first; n_ops < option.ops; seed += step) {
        life_run(seed);
        if (option.one)
            break;
        if (n_ops - told >= 1000000) {
            told = n_ops;
            printf("model: %llu operations\n", (unsigned long long)n_ops);
            fflush(stdout);
        }
    }
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    printf("model: seeds from %llu, every %llu: %llu operations of %llu lives (%llu queries, %llu "
           "spans refused, %llu expired, %llu starts that retained), 0 failed; %lld s of CPU\n",
        (unsigned long long)first, (unsigned long long)step, (unsigned long long)n_ops,
        (unsigned long long)n_lives, (unsigned long long)n_queries, (unsigned long long)n_rejected,
        (unsigned long long)n_expired, (unsigned long long)n_believed, (long long)t.tv_sec);
    return 0;
}

static int usage(FILE *out)
{
    fprintf(out,
        "model [--ops N] [--jobs N] [--seed N]\n"
        "Random operations on a simulated store, whose answers are compared with a list of spans.\n"
        "    --ops N    as many operations, of lives one after another (%llu)\n"
        "    --jobs N   processes\n"
        "    --seed N   that life alone; with --ops the first one (the time)\n"
        "A failure prints --seed. SIM_LOG=1: the store's log.\n",
        (unsigned long long)option.ops);
    return out == stdout ? 0 : 2;
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {{"help", 0, NULL, 'h'}, {"ops", 1, NULL, 'o'},
        {"seed", 1, NULL, 'r'}, {"jobs", 1, NULL, 'j'}, {0}};
    bool ops_given = false, seed_given = false;
    option.seed = (uint64_t)time(NULL) * 1000;
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        uint64_t v = optarg == NULL ? 0 : strtoull(optarg, NULL, 10);
        if (c == 'j')
            option.jobs = (unsigned)v;
        else if (c == 'o' || c == 'r')
            *(c == 'o' ? &option.ops : &option.seed) = v;
        else
            return usage(c == 'h' ? stdout : stderr);
        ops_given = ops_given || c == 'o';
        seed_given = seed_given || c == 'r';
    }
    option.one = seed_given && !ops_given;
    option.ops /= MAX(option.jobs, 1u);
    return sim_run(option.jobs, option.seed, run, life_where);
}
