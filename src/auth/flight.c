/* SPDX-License-Identifier: Apache-2.0
 * Flights: questions to other services that are under way, so that the same one is asked once and
 * all who need its answer share it. Client's thread only. */
#include <stdlib.h>

#include "auth_int.h"
#include "base/metric.h"

static struct flight **flight_slot(struct auth *a, const struct cache_key *key)
{
    return &a->flights[key->b[3]];
}

struct flight *flight_join(struct auth *a, struct tenant *t, enum flight_kind kind,
    const struct cache_key *key, struct waiter *w, bool *ret_new)
{
    struct flight **slot = flight_slot(a, key), *f = *slot;
    while (f != NULL && (f->kind != kind || memcmp(f->key.b, key->b, sizeof(key->b)) != 0))
        f = f->next;
    *ret_new = f == NULL;
    if (f == NULL) {
        f = xcalloc(1, sizeof(*f));
        f->a = a;
        f->t = t;
        f->kind = kind;
        f->key = *key;
        f->start_ns = clock_mono_ns();
        f->next = *slot;
        *slot = f;
    }
    w->next = f->waiters;
    f->waiters = w;
    return f;
}

static void count_landing(const struct flight *f, const struct flight_result *r)
{
    struct auth_metrics *m = f->a->metrics;
    enum refusal refusal = r->identity != NULL   ? r->identity->refusal
                           : r->decision != NULL ? r->decision->refusal
                                                 : r->refusal;
    if (refusal == R_OK)
        metric_inc(m->upstream_ok[f->kind]);
    else if (refusal == R_AUTHN_DOWN || refusal == R_AUTHZ_DOWN)
        metric_inc(m->upstream_failed[f->kind]);
    else
        metric_inc(m->upstream_refused[f->kind]);
}

void flight_land(struct flight *f, const struct flight_result *r)
{
    struct flight **at = flight_slot(f->a, &f->key);
    while (*at != f)
        at = &(*at)->next;
    *at = f->next; /* first: who is woken may ask anew */
    ASSERT(f->call == NULL);
    http_timer_stop(&f->timer);
    count_landing(f, r);
    for (struct waiter *w = f->waiters, *next; w != NULL; w = next) {
        next = w->next;
        w->fn(w, r);
    }
    http_wipe_buf(&f->token);
    identity_unref(f->identity);
    free(f);
}

void flight_send(struct flight *f, const struct http_client_request *rq, http_client_done_fn done,
    enum refusal down)
{
    static int64_t last;
    struct err err = {0};
    if (http_client_send(f->a->client, rq, done, f, &f->call, &err) == EC_OK)
        return;
    f->call = NULL;
    log_fault(&last, "request cannot be sent", f->t, err_msg(&err));
    flight_land(f, &(struct flight_result){.refusal = down});
}

void flights_end(struct auth *a)
{
    for (size_t i = 0; i < ARRAY_LEN(a->flights); i++) {
        while (a->flights[i] != NULL) {
            struct flight *f = a->flights[i];
            if (f->call != NULL) /* its callback lands the flight */
                http_client_cancel(a->client, f->call);
            else
                flight_land(f, &(struct flight_result){.refusal = R_AUTHN_DOWN});
        }
    }
}
