/* SPDX-License-Identifier: Apache-2.0
 * The two halves of a browser login: what is said at once (login.c), and the exchange of the code
 * for a token (exchange.c). */
#pragma once

#include "auth_int.h"

struct endpoints {
    struct cache_value *hold; /* reference behind the texts */
    const char *authorization, *token;
    bool post_credentials; /* client and secret go into the form */
};
/* False: *fail is the answer, nothing is held. */
bool flow_endpoints(struct tenant *t, struct endpoints *ret, struct auth_flow_answer *fail);
/* "key=value", escaped, for queries and forms. */
void flow_put_param(struct buf *b, const char *key, struct str value);
bool flow_client_id(const struct tenant *t, struct buf *out);
void flow_fail(struct auth_flow_answer *ret, unsigned status, const char *message);
void flow_openshift_done(struct tenant *t, const struct identity *who, struct str token,
    struct str route, struct auth_flow_answer *ret);
void flow_oidc_done(struct tenant *t, const struct identity *who, struct str id_token,
    struct auth_flow_answer *ret);

/* False: too many wait; done is not called. */
bool exchange_begin(struct tenant *t, const struct auth_flow_request *rq, struct str nonce,
    struct str redirect_uri, auth_flow_fn done, void *arg);
/* Client's thread, at the end: answers all with 503. */
void exchanges_end(struct auth *a);
