/* SPDX-License-Identifier: Apache-2.0
 * Structured logs: one line a record to stderr, logfmt (default) or JSON, Tempo's levels and keys
 * (level, ts RFC 3339 with ns, caller file:line, msg, then the fields in order).
 *
 *     log_event(LOG_INFO, "block flushed", LS("tenant", name), LU("spans", n));
 *
 * Library layers log at debug only; the layer that decides what happens logs once. Never a secret.
 * Thread-safe; a line is one write(2) of at most 8 KiB: a record that does not fit is cut at a
 * field and ends with truncated=true. Values are quoted and escaped as logfmt asks.
 */
#pragma once

#include <stdatomic.h>

#include "base/bytes.h"
#include "base/err.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_field_type { LOG_F_STR, LOG_F_INT, LOG_F_UINT, LOG_F_FLOAT, LOG_F_BOOL, LOG_F_DURATION };

struct log_field {
    const char *key;
    enum log_field_type type;
    struct str s;
    int64_t i;
    double f;
};

#define LS(k, v) ((struct log_field){.key = (k), .type = LOG_F_STR, .s = (v)})
#define LZ(k, v) ((struct log_field){.key = (k), .type = LOG_F_STR, .s = str_from(v)})
#define LI(k, v) ((struct log_field){.key = (k), .type = LOG_F_INT, .i = (int64_t)(v)})
#define LU(k, v) ((struct log_field){.key = (k), .type = LOG_F_UINT, .i = (int64_t)(v)})
#define LF(k, v) ((struct log_field){.key = (k), .type = LOG_F_FLOAT, .f = (v)})
#define LB(k, v) ((struct log_field){.key = (k), .type = LOG_F_BOOL, .i = (v)})
#define LD(k, v) \
    ((struct log_field){.key = (k), .type = LOG_F_DURATION, .i = (int64_t)(v)}) /* ns */
#define LE(e) ((struct log_field){.key = "err", .type = LOG_F_STR, .s = str_from(err_msg(e))})

extern enum log_level log_level_min; /* set at start, before threads */
void log_set_json(bool on);
bool log_level_parse(struct str s, enum log_level *ret); /* debug info warn error */
void log_emit(enum log_level level, const char *file, int line, const char *msg,
    const struct log_field *fields, size_t n);

#define log_event(level, msg, ...)                                                                \
    do {                                                                                          \
        if ((level) >= log_level_min) {                                                           \
            const struct log_field log_fields_[] = {{.key = NULL}, ##__VA_ARGS__};                \
            log_emit(                                                                             \
                (level), __FILE__, __LINE__, (msg), log_fields_ + 1, ARRAY_LEN(log_fields_) - 1); \
        }                                                                                         \
    } while (0)

/* At most one pass per period; thread-safe. Zero-initialised. */
struct log_limiter {
    _Atomic int64_t next_ns;
};
bool log_limiter_pass(struct log_limiter *l, int64_t period_ns);
