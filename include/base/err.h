/* SPDX-License-Identifier: Apache-2.0
 * Error codes and the error message that travels with them.
 *
 * Codes drive the program, messages are for people. A fallible function returns `enum ec`, is
 * MUST_USE, and takes `struct err *err` (may be NULL) as its last parameter. Outputs (`ret_`) are
 * written only on success. The table below is the only place where a code is tied to HTTP (RFC
 * 9110), gRPC (grpc status codes 0-16) and to whether a client should retry.
 */
#pragma once

#include "base/defs.h"

/*     name           text                  HTTP gRPC retry */
#define EC_TABLE(X)                                      \
    X(EC_OK, "ok", 200, 0, 0)                            \
    X(EC_INVALID, "invalid argument", 400, 3, 0)         \
    X(EC_UNAUTHENTICATED, "unauthenticated", 401, 16, 0) \
    X(EC_DENIED, "permission denied", 403, 7, 0)         \
    X(EC_NOT_FOUND, "not found", 404, 5, 0)              \
    X(EC_CONFLICT, "conflict", 412, 9, 0)                \
    X(EC_TOO_LARGE, "too large", 413, 8, 0)              \
    X(EC_UNPROCESSABLE, "unprocessable", 422, 2, 0)      \
    X(EC_RATE, "rate limited", 429, 8, 1)                \
    X(EC_LIMIT, "over budget", 503, 14, 1)               \
    X(EC_UNAVAILABLE, "unavailable", 503, 14, 1)         \
    X(EC_DEADLINE, "deadline exceeded", 504, 4, 1)       \
    X(EC_CANCELED, "canceled", 499, 1, 0)                \
    X(EC_UNSUPPORTED, "not supported", 501, 12, 0)       \
    X(EC_IO, "i/o error", 500, 13, 1)                    \
    X(EC_NOSPACE, "no space left", 503, 14, 1)           \
    X(EC_CORRUPT, "corrupt data", 500, 15, 0)            \
    X(EC_INTERNAL, "internal error", 500, 13, 0)

enum ec {
#define X(name, text, http, grpc, retry) name,
    EC_TABLE(X)
#undef X
        EC_COUNT
};

#define ERR_MSG_MAX 1024

/* One error: filled once at the place that knows, prefixed at the layer that knows the name. */
struct err {
    enum ec code;
    int errnum; /* errno at the place, or 0 */
    int line;
    const char *file; /* static string */
    char msg[ERR_MSG_MAX];
};

const char *ec_text(enum ec code);
unsigned ec_http_status(enum ec code);
unsigned ec_grpc_status(enum ec code);
bool ec_retryable(enum ec code);

/* Sets message and place, returns `code` so that callers write `return ERR(err, EC_X, "...")`.
 * Messages: lower case, no newline, name the object and the number. `err` may be NULL. */
enum ec err_set(struct err *err, enum ec code, int errnum, const char *file, int line,
    const char *fmt, ...) PRINTF_LIKE(6, 7);
#define ERR(err, code, ...) err_set((err), (code), 0, __FILE__, __LINE__, __VA_ARGS__)
/* As ERR, and appends ": strerror(errnum)". */
#define ERR_ERRNO(err, code, errnum, ...) \
    err_set((err), (code), (errnum), __FILE__, __LINE__, __VA_ARGS__)
/* Puts "prefix: " before the message. Returns err->code, or EC_INTERNAL when err is NULL. */
enum ec err_prefix(struct err *err, const char *fmt, ...) PRINTF_LIKE(2, 3);
static inline const char *err_msg(const struct err *err)
{
    return err != NULL && err->msg[0] != 0 ? err->msg : "no detail";
}

/* Returns early with the code of a failed call. Pairs with CLEANUP. */
#define TRY(expr)                       \
    do {                                \
        enum ec try_ec_ = (expr);       \
        if (UNLIKELY(try_ec_ != EC_OK)) \
            return try_ec_;             \
    } while (0)
