/* SPDX-License-Identifier: Apache-2.0
 * The gateway of the server process: made from the configuration, on listeners of its own. */
#pragma once

#include "api/api.h"

struct gateway;

/* *ret is NULL when the gateway is off. */
enum ec gateway_new(const struct config *c, struct api *api, struct pool *pool,
    struct gateway **ret, struct err *err) MUST_USE;
enum ec gateway_listen(struct gateway *g, struct server *s, struct budget *bodies, struct err *err)
    MUST_USE;
/* Reads tenants and roles again; what is wrong keeps the old ones. Takes up to two seconds, while
 * new issuers are asked. Main thread, as gateway_poll, which frees what was replaced; to be called
 * now and then. NULL allowed in both. */
void gateway_reload(struct gateway *g);
void gateway_poll(struct gateway *g);
/* Answers what waits for other services; after the server is drained, before it is freed. */
void gateway_stop(struct gateway *g);
void gateway_free(struct gateway *g); /* after the server */

/* The address of a listener that authenticates nobody: with the gateway on it becomes 127.0.0.1,
 * whose text goes to `text`. "internal" is exempt: it says only whether the server is ready. */
#define GATEWAY_ADDRESS_MAX 64
const char *gateway_private(
    const struct config *c, const char *listener, const char *address, char *text);
