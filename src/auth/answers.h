/* SPDX-License-Identifier: Apache-2.0
 * Everything that can be said instead of "yes": one table of outcomes, statuses and words. */
#pragma once

#include "auth/auth.h"

/*    name              outcome               HTTP gRPC  words of HTTP, words of gRPC (NULL:
 *    same) */
#define REFUSALS(X)                                                                                \
    X(R_OK, AUTH_OK, 200, 0, "", NULL)                                                             \
    X(R_TENANT_UNKNOWN, AUTH_UNAUTHENTICATED, 401, 3, "tenant not found, have you registered it?", \
        "unknown tenant")                                                                          \
    X(R_TENANT_BROKEN, AUTH_UNAUTHENTICATED, 401, 7, "tenant not found, have you registered it?",  \
        NULL)                                                                                      \
    X(R_NOT_READY, AUTH_UNAVAILABLE, 503, 14, "authentication provider is not ready", NULL)        \
    X(R_NO_TOKEN, AUTH_UNAUTHENTICATED, 401, 16, "failed to find token", "error no access token")  \
    X(R_NO_OAUTH, AUTH_UNAUTHENTICATED, 401, 16, "OAuth authentication not available",             \
        "missing SA token or mTLS")                                                                \
    X(R_TOKEN_REFUSED, AUTH_UNAUTHENTICATED, 401, 16, "failed to find token",                      \
        "missing SA token or mTLS")                                                                \
    X(R_BAD_HEADER, AUTH_UNAUTHENTICATED, 401, 3, "invalid Authorization header", NULL)            \
    X(R_BAD_ID_TOKEN, AUTH_UNAUTHENTICATED, 401, 16, "failed to verify ID token", NULL)            \
    X(R_NO_USERNAME, AUTH_BAD_REQUEST, 400, 7, "username cannot be empty", NULL)                   \
    X(R_BAD_USERNAME, AUTH_BAD_REQUEST, 400, 7, "invalid username claim value", NULL)              \
    X(R_NO_GROUP, AUTH_BAD_REQUEST, 400, 7, "group cannot be empty", NULL)                         \
    X(R_NO_CERT, AUTH_UNAUTHENTICATED, 401, 12, "no client certificate presented",                 \
        "internal error")                                                                          \
    X(R_BAD_CERT, AUTH_UNAUTHENTICATED, 401, 16, "client certificate is not trusted", NULL)        \
    X(R_OLD_CERT, AUTH_UNAUTHENTICATED, 401, 16,                                                   \
        "client certificate has expired or is not yet valid", NULL)                                \
    X(R_NO_SAN, AUTH_BAD_REQUEST, 400, 7, "could not determine subject", NULL)                     \
    X(R_AUTHN_DOWN, AUTH_UNAVAILABLE, 503, 14, "authentication service is unavailable", NULL)      \
    X(R_AUTHZ_DOWN, AUTH_UNAVAILABLE, 503, 14, "authorization service is unavailable", NULL)       \
    X(R_AUTHZ_REFUSED, AUTH_UNAUTHENTICATED, 401, 7, "401 Unauthorized", "forbidden")              \
    X(R_OPA_STATUS, AUTH_ERROR, 500, 7, "500 Internal Server Error", "forbidden")                  \
    X(R_DENIED, AUTH_FORBIDDEN, 403, 7, "You don't have permission to access this tenant",         \
        "forbidden")                                                                               \
    X(R_BUSY, AUTH_UNAVAILABLE, 503, 14, "too many requests wait for authentication", NULL)        \
    X(R_WAIT, AUTH_ERROR, 500, 13, "", NULL) /* never an answer: something must be found out */

enum refusal {
#define X(name, outcome, http, grpc, text, grpc_text) name,
    REFUSALS(X)
#undef X
        REFUSAL_COUNT
};

#define RETRY_AFTER_S 5

/* Fills the fields above the line of struct auth_answer. */
void answer_refusal(enum refusal r, bool is_grpc, struct auth_answer *ret);
/* "Forbidden" of 403; a static text. */
const char *http_reason(unsigned status);
