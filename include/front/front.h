/* SPDX-License-Identifier: Apache-2.0
 * The gateway's front: the public HTTP and OTLP/gRPC ports and the port for probes and metrics.
 *
 * A request's way: tenant from the path or the metadata → credentials and permission (auth) →
 * limits
 * → the exchange gets the tenant's id as X-Scope-OrgID and its path without the tenant, and goes to
 * the API layer in this process, which answers it. Nothing is proxied.
 *
 * INVARIANT: the API layer sees a request of these ports only after auth has said yes to exactly
 * the tenant whose id it carries; whatever the client wrote into X-Scope-OrgID is gone by then.
 * Thread-safe after front_new.
 */
#pragma once

#include "api/api.h"
#include "auth/auth.h"
#include "config/config.h"
#include "server/server.h"

struct front;

/* Whom to let in: auth, and the rate limits of the same tenants. A request keeps the one that it
 * began with. */
struct front_gate;
/* auth is borrowed, g is copied. EC_INVALID: a pattern of a rate limit. */
enum ec front_gate_new(const struct config_gateway *g, struct auth *auth, struct front_gate **ret,
    struct err *err) MUST_USE;
bool front_gate_idle(const struct front_gate *gate); /* no request holds it any more */
void front_gate_free(struct front_gate *gate);       /* NULL allowed */

struct front_options {
    const struct config *config; /* config->gateway.enabled */
    struct api *api;
    struct front_gate *gate; /* the front takes it */
    struct pool *pool;       /* takes what goes on after an answer of other services */
};

enum ec front_new(const struct front_options *opt, struct front **ret, struct err *err) MUST_USE;
void front_free(struct front *f); /* after the server is drained */

/* For requests from now on; the old one, which the caller frees when it is idle. */
struct front_gate *front_swap(struct front *f, struct front_gate *take_gate);

/* Exchange handlers; ctx is the struct front. */
void front_handle_http(void *ctx, struct exchange *ex);
void front_handle_grpc(void *ctx, struct exchange *ex);
void front_handle_internal(void *ctx, struct exchange *ex);
/* What /live and /ready look at. Once, before the internal listener opens. */
void front_watch(struct front *f, struct server *server, struct listener *public_http);
