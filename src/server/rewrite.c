/* SPDX-License-Identifier: Apache-2.0
 * What a layer in front of the endpoints may change about an exchange before it hands it on: the
 * target, request headers, an attachment for the endpoints to read, and a look at the answer.
 *
 * All of it happens between the call of the handler and the answer, by whoever holds the exchange:
 * there is no lock. */
#include <stdlib.h>

#include "server_int.h"

bool exchange_rewrite(struct exchange *ex, struct str raw_path)
{
    struct str path;
    bool bad = false;
    ASSERT(ex->state == EX_HANDLING);
    raw_path = arena_str(&ex->arena, raw_path);
    if (raw_path.p == NULL || !http_unescape(&ex->arena, raw_path, false, &path, &bad) || bad)
        return false;
    ex->req.raw_path = raw_path;
    ex->req.path = path;
    return true;
}

bool exchange_set_request_header(struct exchange *ex, const char *name, struct str value)
{
    struct str want = str_from(name);
    size_t kept = 0;
    for (size_t i = 0; i < ex->n_headers; i++)
        if (!str_ieq(ex->headers[i].name, want))
            ex->headers[kept++] = ex->headers[i];
    ex->n_headers = kept;
    return value.n == 0 || exchange_add_header(ex, want, value, true);
}

void exchange_attach(struct exchange *ex, const void *attachment)
{
    ex->attachment = attachment;
}

const void *exchange_attachment(struct exchange *ex)
{
    return ex->attachment;
}

void exchange_on_answer(struct exchange *ex, exchange_answer_fn fn, void *arg)
{
    ASSERT(ex->on_answer == NULL);
    ex->on_answer = fn;
    ex->on_answer_arg = arg;
}

void exchange_answer_seen(struct exchange *ex, struct exchange_answer *a)
{
    if (ex->on_answer != NULL)
        ex->on_answer(ex->on_answer_arg, ex, a);
}

/* ---- the probe ---- */

struct probe {
    atomic_uint left;
    atomic_bool ok;
    struct listener *listener;
    void (*done)(void *arg, bool ok);
    void *arg;
    struct probe_step {
        struct message m;
        struct probe *probe;
    } steps[];
};

static void probe_step(struct loop *loop, struct message *m)
{
    struct probe *p = CONTAINER_OF(m, struct probe_step, m)->probe;
    if (loop->index == 0 && !p->listener->accepting)
        atomic_store_explicit(&p->ok, false, memory_order_relaxed);
    /* Release and acquire: the last one sees what the others stored. */
    if (atomic_fetch_sub_explicit(&p->left, 1, memory_order_acq_rel) != 1)
        return;
    const struct server *s = p->listener->server;
    unsigned open = atomic_load_explicit(&p->listener->connections, memory_order_relaxed);
    p->done(p->arg, atomic_load_explicit(&p->ok, memory_order_relaxed) &&
                        open < p->listener->opt.connections_max &&
                        server_connections(s) < s->connections_max);
    free(p);
}

void server_probe(struct server *s, struct listener *l, void (*done)(void *arg, bool ok), void *arg)
{
    struct probe *p = xcalloc(1, sizeof(*p) + s->n_loops * sizeof(p->steps[0]));
    unsigned n = s->n_loops;
    atomic_init(&p->left, n);
    atomic_init(&p->ok, true);
    p->listener = l;
    p->done = done;
    p->arg = arg;
    for (unsigned i = 0; i < n; i++) {
        p->steps[i] = (struct probe_step){.m.fn = probe_step, .probe = p};
        loop_post(&s->loops[i], &p->steps[i].m);
    }
}
