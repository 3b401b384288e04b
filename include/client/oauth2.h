/* SPDX-License-Identifier: Apache-2.0
 * Tokens for requests to other services: OAuth 2.0 client credentials (RFC 6749, section 4.4).
 *
 * A token is kept and renewed while it is still good, so that requests rarely wait for one. The
 * client's name and secret go by basic authentication, or in the body where the endpoint refuses
 * that. All calls but oauth2_new and oauth2_free on the client's thread. Nothing here logs. */
#pragma once

#include "client/http_client.h"

struct oauth2;

struct oauth2_options { /* texts are copied */
    const char *token_url, *client_id;
    const char *scopes;               /* with blanks between them; "": none */
    const struct http_header *params; /* more of the body */
    size_t n_params;
    struct http_profile_options http;
    /* The client's secret, for every fetch; ctx lives as long as the object. */
    enum ec (*secret)(void *ctx, struct buf *out, struct err *err);
    void *ctx;
};

enum oauth2_state {
    OAUTH2_READY,
    OAUTH2_PENDING, /* a fetch is under way: ask again in some milliseconds */
    OAUTH2_FAILED,  /* the next one begins a second after the last at the soonest */
};

enum ec oauth2_new(struct http_client *c, const struct oauth2_options *opt, struct oauth2 **ret,
    struct err *err) MUST_USE;
void oauth2_free(struct oauth2 *o); /* after the client. NULL allowed */
/* READY: "Bearer <token>", a view until the next call. FAILED: *err says why, without secrets. */
enum oauth2_state oauth2_header(struct oauth2 *o, struct str *ret, struct err *err);
/* A service did not take the token. True: it was not fetched just now, so it is forgotten, and
 * another may do. */
bool oauth2_refused(struct oauth2 *o);
