/* SPDX-License-Identifier: Apache-2.0
 * One record is formatted into a buffer on the stack and written with one write(2) under a lock, so
 * that lines of different threads never mix and logging never allocates. A record that does not fit
 * is cut at a field boundary and ends with `truncated=true`.
 *
 * Logfmt follows go-kit, which Tempo prints with: a value with a blank, '=', '"' or a control
 * character is quoted as JSON text; anything that is not UTF-8 becomes U+FFFD.
 */
#include "base/log.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define LINE_MAX_BYTES 8192
#define TAIL_BYTES     32 /* kept for the mark of a cut record, the brace and the newline */

enum log_level log_level_min = LOG_INFO;
static atomic_bool log_json;

struct line {
    size_t n;
    bool full;
    char p[LINE_MAX_BYTES];
};

void log_set_json(bool on)
{
    atomic_store_explicit(&log_json, on, memory_order_relaxed);
}

static const char *const level_names[] = {
    [LOG_DEBUG] = "debug",
    [LOG_INFO] = "info",
    [LOG_WARN] = "warn",
    [LOG_ERROR] = "error",
};

bool log_level_parse(struct str s, enum log_level *ret)
{
    for (unsigned i = 0; i < ARRAY_LEN(level_names); i++) {
        if (str_eqz(s, level_names[i])) {
            *ret = (enum log_level)i;
            return true;
        }
    }
    return false;
}

static void line_put(struct line *l, const char *p, size_t n)
{
    if (l->full || n > LINE_MAX_BYTES - TAIL_BYTES - l->n) {
        l->full = true;
        return;
    }
    memcpy(l->p + l->n, p, n);
    l->n += n;
}

static void line_putz(struct line *l, const char *z)
{
    line_put(l, z, strlen(z));
}

/* Length of the valid UTF-8 sequence at p, 0 when there is none. */
static size_t utf8_at(const char *p, size_t n)
{
    for (size_t len = 1; len <= 4 && len <= n; len++)
        if (str_utf8_valid(str_n(p, len)))
            return len;
    return 0;
}

/* JSON text between quotes; safe for terminals too: every control character is escaped. */
static void line_put_quoted(struct line *l, struct str s)
{
    line_put(l, "\"", 1);
    for (size_t i = 0; i < s.n && !l->full;) {
        uint8_t c = (uint8_t)s.p[i];
        size_t n = utf8_at(s.p + i, s.n - i);
        char esc[8];
        if (n == 0) {
            line_putz(l, "\\ufffd");
            n = 1;
        } else if (c == '"' || c == '\\') {
            esc[0] = '\\', esc[1] = (char)c;
            line_put(l, esc, 2);
        } else if (c == '\n' || c == '\r' || c == '\t') {
            line_putz(l, c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t");
        } else if (c < 0x20 || c == 0x7f) {
            line_put(l, esc, (size_t)snprintf(esc, sizeof(esc), "\\u%04x", c));
        } else if (n == 2 && c == 0xc2 && (uint8_t)s.p[i + 1] < 0xa0) { /* C1 controls */
            line_put(l, esc, (size_t)snprintf(esc, sizeof(esc), "\\u%04x", (uint8_t)s.p[i + 1]));
        } else {
            line_put(l, s.p + i, n);
        }
        i += n;
    }
    line_put(l, "\"", 1);
}

static void line_put_text(struct line *l, struct str s, bool json)
{
    bool quote = json || s.n == 0;
    for (size_t i = 0; i < s.n && !quote; i++) {
        uint8_t c = (uint8_t)s.p[i];
        quote = c <= ' ' || c == '=' || c == '"' || c == '\\' || c >= 0x7f;
    }
    if (quote)
        line_put_quoted(l, s);
    else
        line_put(l, s.p, s.n);
}

/* As Go prints a time.Duration: 1h2m3.5s, 1.5ms, 12µs, 7ns. */
static size_t duration_format(char *out, size_t cap, int64_t ns)
{
    uint64_t u = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;
    const char *sign = ns < 0 ? "-" : "";
    static const struct {
        uint64_t ns;
        int digits;
        const char *unit;
    } small[] = {{1000000, 6, "ms"}, {1000, 3, "\xc2\xb5s"}, {1, 0, "ns"}};
    char frac[16] = "";
    size_t n = 0;

    if (u == 0)
        return (size_t)snprintf(out, cap, "0s");
    uint64_t unit = 1000000000;
    int digits = 9;
    const char *name = "s";
    for (size_t i = 0; i < ARRAY_LEN(small) && u < unit; i++)
        unit = small[i].ns, digits = small[i].digits, name = small[i].unit;
    uint64_t whole = u / unit, rest = u % unit;
    if (rest != 0) {
        n = (size_t)snprintf(frac, sizeof(frac), ".%0*llu", digits, (unsigned long long)rest);
        while (n > 1 && frac[n - 1] == '0')
            frac[--n] = 0;
    }
    if (unit == 1000000000 && whole >= 3600)
        return (size_t)snprintf(out, cap, "%s%lluh%llum%llu%ss", sign,
            (unsigned long long)(whole / 3600), (unsigned long long)(whole / 60 % 60),
            (unsigned long long)(whole % 60), frac);
    if (unit == 1000000000 && whole >= 60)
        return (size_t)snprintf(out, cap, "%s%llum%llu%ss", sign, (unsigned long long)(whole / 60),
            (unsigned long long)(whole % 60), frac);
    return (size_t)snprintf(out, cap, "%s%llu%s%s", sign, (unsigned long long)whole, frac, name);
}

static void line_put_value(struct line *l, const struct log_field *f, bool json)
{
    char text[64];
    size_t n = 0;
    switch (f->type) {
    case LOG_F_STR:
        line_put_text(l, f->s, json);
        return;
    case LOG_F_INT:
        n = (size_t)snprintf(text, sizeof(text), "%lld", (long long)f->i);
        break;
    case LOG_F_UINT:
        n = (size_t)snprintf(text, sizeof(text), "%llu", (unsigned long long)f->i);
        break;
    case LOG_F_FLOAT:
        n = (size_t)snprintf(text, sizeof(text), "%.10g", f->f);
        if (json && !isfinite(f->f)) { /* JSON has no such numbers */
            line_put_quoted(l, str_n(text, n));
            return;
        }
        break;
    case LOG_F_BOOL:
        line_putz(l, f->i != 0 ? "true" : "false");
        return;
    case LOG_F_DURATION:
        n = duration_format(text, sizeof(text), f->i);
        if (json) {
            line_put_quoted(l, str_n(text, n));
            return;
        }
        break;
    }
    line_put(l, text, n);
}

static void line_put_key(struct line *l, const char *key, bool json)
{
    if (l->n > (json ? 1 : 0))
        line_put(l, json ? "," : " ", 1);
    if (json)
        line_put_quoted(l, str_from(key));
    else
        line_putz(l, key);
    line_put(l, json ? ":" : "=", 1);
}

static void line_put_field(struct line *l, const struct log_field *f, bool json)
{
    size_t before = l->n;
    line_put_key(l, f->key, json);
    line_put_value(l, f, json);
    if (l->full)
        l->n = before; /* whole fields only: half an escape would not parse */
}

static size_t time_format(char *out, size_t cap, int64_t ns)
{
    time_t s = (time_t)(ns / NS_PER_S);
    struct tm tm;
    gmtime_r(&s, &tm);
    size_t n = strftime(out, cap, "%Y-%m-%dT%H:%M:%S", &tm);
    return n + (size_t)snprintf(out + n, cap - n, ".%09lldZ", (long long)(ns % NS_PER_S));
}

/* The lock is for pipes, which keep only writes up to PIPE_BUF (4 KiB) in one piece. A line that
 * cannot be written is lost: that is nobody's error. */
static void line_write(const char *p, size_t n)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&lock);
    while (n > 0) {
        ssize_t r = write(STDERR_FILENO, p, n);
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            break;
        p += r;
        n -= (size_t)r;
    }
    pthread_mutex_unlock(&lock);
}

void log_emit(enum log_level level, const char *file, int line, const char *msg,
    const struct log_field *fields, size_t n)
{
    bool json = atomic_load_explicit(&log_json, memory_order_relaxed);
    struct line l;
    char ts[64], caller[128];
    const char *base = strrchr(file, '/');

    l.n = 0, l.full = false;
    time_format(ts, sizeof(ts), clock_wall_ns());
    snprintf(caller, sizeof(caller), "%s:%d", base == NULL ? file : base + 1, line);
    if (json)
        line_put(&l, "{", 1);
    line_put_field(&l, &LZ("level", level_names[level]), json);
    line_put_field(&l, &LZ("ts", ts), json);
    line_put_field(&l, &LZ("caller", caller), json);
    line_put_field(&l, &LZ("msg", msg), json);
    for (size_t i = 0; i < n && !l.full; i++)
        line_put_field(&l, &fields[i], json);
    if (l.full) { /* room for this is kept aside */
        const char *mark = json ? ",\"truncated\":true" : " truncated=true";
        memcpy(l.p + l.n, mark, strlen(mark));
        l.n += strlen(mark);
    }
    if (json)
        l.p[l.n++] = '}';
    l.p[l.n++] = '\n';
    ASSERT(l.n <= LINE_MAX_BYTES);

    int saved = errno; /* logging leaves the caller's errno alone */
    line_write(l.p, l.n);
    errno = saved;
}

bool log_limiter_pass(struct log_limiter *l, int64_t period_ns)
{
    int64_t now = clock_mono_ns(), next = atomic_load_explicit(&l->next_ns, memory_order_relaxed);
    return now >= next && atomic_compare_exchange_strong_explicit(&l->next_ns, &next,
                              now + period_ns, memory_order_relaxed, memory_order_relaxed);
}
