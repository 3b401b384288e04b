/* SPDX-License-Identifier: Apache-2.0
 * See fake_service.h. */
#include "fake_service.h"

#include <pthread.h>

#include "server_fixture.h"

struct late {
    struct exchange *ex;
    unsigned status;
    char *json;
    int delay_ms;
};

static void respond(struct exchange *ex, unsigned status, const char *json)
{
    struct buf body = BUF_INIT;
    buf_putz(&body, json);
    exchange_respond(ex, status, "application/json", &body, false);
}

static void *respond_late(void *arg)
{
    struct late *l = arg;
    fixture_sleep_ms(l->delay_ms);
    respond(l->ex, l->status, l->json);
    free(l->json);
    free(l);
    return NULL;
}

void fake_answer(struct exchange *ex, unsigned status, const char *json, int delay_ms)
{
    pthread_t t;
    if (delay_ms == 0) {
        respond(ex, status, json);
        return;
    }
    struct late *l = xmalloc(sizeof(*l));
    *l = (struct late){ex, status, xstrdup(json), delay_ms};
    assert_int_equal(pthread_create(&t, NULL, respond_late, l), 0);
    pthread_detach(t);
}

static void on_request(void *ctx, struct exchange *ex)
{
    struct fake_service *f = ctx;
    atomic_fetch_add(&f->calls, 1);
    f->answer(f, ex, exchange_request(ex));
}

void fake_start(struct fake_service *f, const char *cert_pem, const char *key_pem)
{
    struct err err = {0};
    struct listener *listener;
    struct listener_options opt = {.name = "fake",
        .address = "127.0.0.1:0",
        .http1 = true,
        .http2 = true,
        .encodings = ENC_GZIP | ENC_SNAPPY,
        .tls = {.cert_pem = cert_pem, .key_pem = key_pem},
        .handler = on_request,
        .ctx = f};
    pthread_mutex_init(&f->lock, NULL);
    assert_ok(server_new(&(struct server_options){.threads = 2}, &f->server, &err), err);
    assert_ok(server_listen(f->server, &opt, &listener, &f->port, &err), err);
    snprintf(
        f->url, sizeof(f->url), "%s://127.0.0.1:%u", cert_pem == NULL ? "http" : "https", f->port);
}

void fake_stop(struct fake_service *f)
{
    server_drain(f->server, 2000000000);
    server_free(f->server);
    pthread_mutex_destroy(&f->lock);
    f->server = NULL;
}
