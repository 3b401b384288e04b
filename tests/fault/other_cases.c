/* SPDX-License-Identifier: Apache-2.0
 * Files outside the store: users' overrides, the remote-write queue, certificates, secrets. */
#include <errno.h>
#include <sys/stat.h>

#include "fault.h"
#include "gateway/user_limits.h"
#include "pki.h"
#include "remote_write/remote_write.h"
#include "src/auth/file.h"
#include "src/remote_write/queue.h"
#include "src/server/tls.h"

/* Code that asks the environment for its files gets the current world's. */
static struct world *current;
struct io *__wrap_io_from_environment(void);
struct io *__wrap_io_from_environment(void)
{
    return current == NULL ? &io_real : fault_io_io(current->faults);
}

/* ---- users' overrides: the file is the old one or the new one ---- */

struct overrides {
    struct user_limits *u;
    uint64_t version;
    unsigned acked, tried; /* the value is one of these */
};

static enum ec overrides_set(struct world *w, struct err *err)
{
    struct overrides *o = w->own;
    char text[32];
    int n = snprintf(text, sizeof(text), "{\"n\":%u}", ++o->tried);
    enum ec ec = user_limits_set(
        o->u, world_tenants[0], o->version, str_n(text, (size_t)n), &o->version, err);
    if (ec == EC_OK)
        o->acked = o->tried;
    return ec;
}

static enum ec overrides_open(struct world *w, struct err *err)
{
    struct overrides *o = w->own;
    CLEANUP(freep) char *dir = path_printf("%s/limits", w->t.dir);
    enum ec ec = user_limits_open(w->t.opt.io, dir, &o->u, err);
    if (ec != EC_OK)
        o->u = NULL;
    return ec;
}

static void overrides_close(struct world *w)
{
    struct overrides *o = w->own;
    user_limits_free(TAKE_PTR(o->u));
}

/* The value that is there; 0: none. */
static unsigned overrides_value(struct world *w)
{
    struct overrides *o = w->own;
    struct user_limits_entry e = {0};
    struct arena arena;
    struct err err = {0};
    unsigned n = 0;
    arena_init(&arena, NULL, 0);
    enum ec ec = user_limits_get(o->u, world_tenants[0], &arena, &e, &err);
    if (ec == EC_OK && (sscanf(e.json.p, "{\"n\":%u}", &n) != 1 || n == 0))
        problem(w, "overrides: a value that nobody set");
    o->version = ec == EC_OK ? e.version : 0;
    arena_deinit(&arena);
    return n;
}

static void prepare_overrides(struct world *w)
{
    struct err err = {0};
    w->own = xcalloc(1, sizeof(struct overrides));
    world_must(w, "open", overrides_open(w, &err), &err);
    world_must(w, "set", overrides_set(w, &err), &err);
    overrides_close(w);
}

static void act_overrides(struct world *w)
{
    struct overrides *o = w->own;
    struct err err = {0};
    enum ec ec = overrides_open(w, &err);
    world_outcome(w, "open", ec, &err);
    if (ec != EC_OK)
        return;
    unsigned n = overrides_value(w);
    if (n != o->acked && !world_lossy(w))
        problem(w, "overrides: %u, set was %u", n, o->acked);
    for (int i = 0; i < 2; i++)
        world_outcome(w, "set", overrides_set(w, &err), &err);
}

static void verify_overrides(struct world *w)
{
    struct overrides *o = w->own;
    struct err err = {0};
    overrides_close(w);
    world_must(w, "open", overrides_open(w, &err), &err);
    if (o->u != NULL) {
        unsigned n = overrides_value(w);
        bool told = world_lossy(w) && world_files(w, ".damaged") > 0;
        if ((n < o->acked || n > o->tried) && !told)
            problem(w, "overrides: %u, acked %u, tried %u", n, o->acked, o->tried);
        if (!world_lossy(w) && world_files(w, ".damaged") > 0)
            problem(w, "overrides: a sound file was set aside");
        world_must(w, "set", overrides_set(w, &err), &err);
        overrides_close(w);
        world_must(w, "open", overrides_open(w, &err), &err);
        if (o->u != NULL && overrides_value(w) != o->acked)
            problem(w, "overrides: what was set last is not there");
    }
    overrides_close(w);
    free(w->own);
}

static void prepare_overrides_damaged(struct world *w)
{
    CLEANUP(freep) char *path = path_printf("%s/limits/user-limits", w->t.dir);
    prepare_overrides(w);
    write_file(path, "vivace-user-limits, but not as they were written");
    ((struct overrides *)w->own)->acked = 0;
    w->damaged = true;
}

/* ---- the remote-write queue: order, no gap that is not told ---- */

#define RECORDS 24

struct rw_queue {
    struct queue *q;
    unsigned reader, sent, done;
    struct queue_pos pos;
    bool stored[RECORDS + 1];
    uint64_t dropped[QUEUE_READERS_MAX], damaged, bytes_max;
};

static enum ec rw_open(struct world *w, struct err *err)
{
    struct rw_queue *x = w->own;
    CLEANUP(freep) char *dir = path_printf("%s/rw", w->t.dir);
    const struct queue_options opt = {.io = w->t.opt.io,
        .dir = dir,
        .bytes_max = x->bytes_max,
        .segment_bytes = 120,
        .min_free_bytes = 1};
    enum ec ec = queue_open(&opt, &x->q, err);
    if (ec == EC_OK)
        ec = queue_reader(x->q, "a", &x->reader, &x->pos, err);
    if (ec == EC_OK)
        return EC_OK;
    queue_close(TAKE_PTR(x->q));
    return ec;
}

static enum ec rw_append(struct world *w, struct err *err)
{
    struct rw_queue *x = w->own;
    char text[16];
    ASSERT(x->sent < RECORDS);
    int n = snprintf(text, sizeof(text), "%u", ++x->sent);
    enum ec ec = queue_append(x->q, bytes_n(text, (size_t)n), 1, x->dropped, err);
    x->stored[x->sent] = ec == EC_OK;
    return ec;
}

/* The next record's number; 0: there is none. */
static unsigned rw_read(struct rw_queue *x)
{
    struct buf raw = BUF_INIT;
    uint32_t n;
    unsigned number = 0;
    if (queue_read(x->q, &x->pos, &raw, &n, &x->damaged)) {
        for (size_t i = 0; i < raw.n; i++)
            number = number * 10 + (unsigned)(raw.p[i] - '0');
        x->pos.entry = n;
        x->pos.seen += n;
    }
    buf_deinit(&raw);
    return number;
}

static void prepare_queue_of(struct world *w, uint64_t bytes_max)
{
    struct err err = {0};
    CLEANUP(freep) char *other = path_printf("%s/rw/other.pos", w->t.dir);
    struct rw_queue *x = w->own = xcalloc(1, sizeof(struct rw_queue));
    x->bytes_max = bytes_max;
    world_must(w, "open", rw_open(w, &err), &err);
    for (int i = 0; i < 4; i++)
        world_must(w, "append", rw_append(w, &err), &err);
    queue_close(TAKE_PTR(x->q));
    write_file(other, "of an endpoint that is gone");
}

static void prepare_queue(struct world *w)
{
    prepare_queue_of(w, 1 << 20);
}

static void prepare_queue_full(struct world *w)
{
    prepare_queue_of(w, 400);
}

static void prepare_queue_tiny(struct world *w)
{
    prepare_queue_of(w, 110); /* less than a segment: the one that is written goes */
}

static void act_queue(struct world *w)
{
    struct rw_queue *x = w->own;
    struct err err = {0};
    enum ec ec = rw_open(w, &err);
    world_outcome(w, "open", ec, &err);
    if (ec != EC_OK)
        return;
    queue_forget_others(x->q);
    for (int i = 0; i < 10; i++) {
        if (i % 3 == 0) {
            unsigned n = rw_read(x);
            x->done = n > 0 ? n : x->done;
            queue_done(x->q, x->reader, &x->pos);
        }
        world_outcome(w, "append", rw_append(w, &err), &err);
    }
}

/* Everything that was stored and is not done comes, in order; what does not come was counted. */
static void verify_queue(struct world *w)
{
    struct rw_queue *x = w->own;
    struct err err = {0};
    unsigned last = 0, missing = 0;
    bool bad_reads = w->plan.op != NULL && strcmp(w->plan.op, "pread") == 0 && w->plan.ever;
    bool seen[RECORDS + 2] = {false};
    queue_close(TAKE_PTR(x->q));
    world_must(w, "open", rw_open(w, &err), &err);
    if (x->q == NULL) {
        free(x);
        return;
    }
    world_must(w, "append", rw_append(w, &err), &err);
    for (unsigned n; (n = rw_read(x)) != 0; last = n) {
        if (n > x->sent || n <= last)
            problem(w, "queue: record %u after %u", n, last);
        else
            seen[n] = true;
    }
    for (unsigned n = x->done + 1; n <= x->sent; n++)
        missing += x->stored[n] && !seen[n];
    uint64_t dropped = x->dropped[x->reader];
    if (missing > dropped + x->damaged && !bad_reads)
        problem(w, "queue: %u records are missing, %llu dropped, %llu damaged", missing,
            (unsigned long long)dropped, (unsigned long long)x->damaged);
    if (x->damaged > 0 && world_harmless(w))
        problem(w, "queue: %llu records called damaged", (unsigned long long)x->damaged);
    queue_close(x->q);
    free(x);
}

/* ---- remote write: its folder, and the secret that it reads for each request ---- */

static void act_remote_write(struct world *w)
{
    CLEANUP(freep) char *secret = path_printf("%s/secret", w->t.dir);
    CLEANUP(freep) char *dir = path_printf("%s/generator", w->t.dir);
    const struct remote_write_endpoint endpoint = {.url = "http://127.0.0.1:1/write",
        .name = "a",
        .samples_per_send_max = 100,
        .timeout_ns = NS_PER_S,
        .backoff_min_ns = 5 * NS_PER_MS,
        .backoff_max_ns = 5 * NS_PER_MS,
        .user = "user",
        .password_file = secret};
    const struct remote_write_options opt = {.io = w->t.opt.io,
        .path = dir,
        .endpoints = &endpoint,
        .n_endpoints = 1,
        .budget = &w->t.budget};
    struct remote_write *rw = NULL;
    struct err err = {0};
    write_file(secret, "password");
    enum ec ec = remote_write_new(&opt, &rw, &err);
    world_outcome(w, "new", ec, &err);
    if (ec != EC_OK)
        return;
    remote_write_put(rw, world_tenants[0], bytes_of_str(STR("series")), 1, REMOTE_WRITE_SAMPLE);
    remote_write_flush(rw, world_tenants[0]);
    for (int i = 0; i < 100 && fault_io_calls(w->faults, "rw.secret", "close") == 0; i++)
        test_sleep_ms(1);
    remote_write_free(rw, 0);
}

static void prepare_nothing(struct world *w)
{
    (void)w;
}

static void verify_remote_write(struct world *w)
{
    act_remote_write(w);
}

/* ---- certificates: a bad read keeps the old ones ---- */

struct certificates {
    struct tls_context *tls;
    struct pki_id id;
    char *cert, *key;
};

static enum ec tls_open(struct world *w, struct err *err)
{
    struct certificates *c = w->own;
    const struct tls_options opt = {.cert_file = c->cert, .key_file = c->key};
    return tls_context_new(&opt, "fault", &c->tls, err);
}

static void prepare_tls(struct world *w)
{
    struct certificates *c = w->own = xcalloc(1, sizeof(*c));
    c->id = pki_make(&(struct pki_request){.name = "localhost", .dns = "localhost"});
    c->cert = path_printf("%s/cert.pem", w->t.dir);
    c->key = path_printf("%s/key.pem", w->t.dir);
    write_file(c->cert, c->id.cert_pem);
    write_file(c->key, c->id.key_pem);
    ASSERT(chmod(c->key, 0600) == 0);
}

/* What is wrong with a certificate is EC_INVALID; what is wrong with the disk is not. */
static void act_tls(struct world *w)
{
    struct certificates *c = w->own;
    struct err err = {0};
    bool flipped = world_flipped(w);
    current = w;
    enum ec ec = tls_open(w, &err);
    if (!flipped)
        world_outcome_once(w, "tls", ec, &err);
    if (ec == EC_OK && (ec = tls_context_reload(c->tls, true, &err)) != EC_OK && !flipped)
        world_outcome_once(w, "reload", ec, &err);
}

static void verify_tls(struct world *w)
{
    struct certificates *c = w->own;
    struct err err = {0};
    if (c->tls == NULL)
        world_must(w, "tls", tls_open(w, &err), &err);
    if (c->tls != NULL)
        world_must(w, "reload", tls_context_reload(c->tls, true, &err), &err);
    tls_context_free(c->tls);
    pki_free(&c->id);
    free(c->cert);
    free(c->key);
    free(c);
    current = NULL;
}

/* ---- tokens and certificates of others ---- */

static void act_auth(struct world *w)
{
    static const char *const sites[] = {
        "auth.client_ca", "auth.issuer_ca", "auth.namespace", "auth.token"};
    CLEANUP(freep) char *path = path_printf("%s/token", w->t.dir);
    write_file(path, "token");
    current = w;
    for (size_t i = 0; i < ARRAY_LEN(sites); i++) {
        struct buf text = BUF_INIT;
        struct err err = {0};
        enum ec ec = auth_file_read(sites[i], path, &text, &err);
        world_outcome_once(w, "read", ec, &err);
        if (text.n != (ec == EC_OK ? 5 : 0))
            problem(w, "%s: %zu bytes after %s", sites[i], text.n, ec_text(ec));
        buf_deinit(&text);
    }
    current = NULL;
}

const struct fault_case other_cases[] = {
    {"overrides", prepare_overrides, act_overrides, verify_overrides},
    {"overrides-damaged", prepare_overrides_damaged, act_overrides, verify_overrides},
    {"queue", prepare_queue, act_queue, verify_queue},
    {"queue-full", prepare_queue_full, act_queue, verify_queue},
    {"queue-tiny", prepare_queue_tiny, act_queue, verify_queue},
    {"remote-write", prepare_nothing, act_remote_write, verify_remote_write},
    {"tls", prepare_tls, act_tls, verify_tls},
    {"auth-files", prepare_nothing, act_auth, act_auth},
    {0},
};
