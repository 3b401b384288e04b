/* SPDX-License-Identifier: Apache-2.0
 * The code table and message formatting. */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *text;
    unsigned http, grpc;
    bool retry;
} ec_table[] = {
#define X(name, text, http, grpc, retry) [name] = {text, http, grpc, retry},
    EC_TABLE(X)
#undef X
};

const char *ec_text(enum ec code)
{
    ASSERT(code < EC_COUNT);
    return ec_table[code].text;
}

unsigned ec_http_status(enum ec code)
{
    ASSERT(code < EC_COUNT);
    return ec_table[code].http;
}

unsigned ec_grpc_status(enum ec code)
{
    ASSERT(code < EC_COUNT);
    return ec_table[code].grpc;
}

bool ec_retryable(enum ec code)
{
    ASSERT(code < EC_COUNT);
    return ec_table[code].retry;
}

enum ec err_set(
    struct err *err, enum ec code, int errnum, const char *file, int line, const char *fmt, ...)
{
    if (err == NULL)
        return code;
    err->code = code;
    err->errnum = errnum;
    err->file = file;
    err->line = line;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
    va_end(ap);
    if (errnum != 0 && n >= 0 && (size_t)n < sizeof(err->msg)) {
        char text[128];
        const char *s = strerror_r(errnum, text, sizeof(text));
        snprintf(err->msg + n, sizeof(err->msg) - (size_t)n, ": %s", s);
    }
    return code;
}

enum ec err_prefix(struct err *err, const char *fmt, ...)
{
    if (err == NULL)
        return EC_INTERNAL;
    char old[ERR_MSG_MAX];
    memcpy(old, err->msg, sizeof(old));
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof(err->msg)) {
        size_t left = sizeof(err->msg) - (size_t)n;
        int m = snprintf(err->msg + n, left, ": %.*s", (int)(left > 3 ? left - 3 : 0), old);
        (void)m; /* a message that is cut is still a message */
    }
    return err->code;
}
