/* SPDX-License-Identifier: Apache-2.0
 * Another service, in this process: a listener whose answers a test decides, one function per fake.
 *
 * The function runs on a transport thread and answers with fake_answer (or any exchange call). */
#pragma once

#include <stdatomic.h>

#include "server/server.h"
#include "unit.h"

struct fake_service {
    struct server *server;
    unsigned port;
    char url[64]; /* "http://127.0.0.1:<port>" */
    void (*answer)(struct fake_service *f, struct exchange *ex, const struct http_request *rq);
    void *ctx;
    atomic_uint calls;
    pthread_mutex_t lock; /* for the test's own records */
};

/* cert_pem NULL: plain text. */
void fake_start(struct fake_service *f, const char *cert_pem, const char *key_pem);
void fake_stop(struct fake_service *f);
/* Responds with a JSON text, `delay_ms` later. */
void fake_answer(struct exchange *ex, unsigned status, const char *json, int delay_ms);
