/* SPDX-License-Identifier: Apache-2.0 */
#include "span_view.h"

#include <stdio.h>

#include "base/buf.h"
#include "query/format.h"

const struct value *attr_find(struct attr_list l, struct str key)
{
    if (key.n == 0)
        return NULL;
    for (uint32_t i = 0; i < l.n; i++) { /* names differ at their ends: no call for most of them */
        struct str k = l.p[i].key;
        if (k.n == key.n && k.p[k.n - 1] == key.p[k.n - 1] && memcmp(k.p, key.p, k.n) == 0)
            return &l.p[i].value;
    }
    return NULL;
}

const struct value *span_attr(const struct span_view *s, struct str key)
{
    const struct value *v = attr_find(s->resource, key);
    return v != NULL ? v : attr_find(s->attrs, key);
}

/* Recursion is bounded by VALUE_DEPTH_MAX: the decoder has checked it. */
static void put_value(struct buf *out, const struct value *v)
{
    const char *cursor = NULL;
    struct value item;
    struct attr member;
    switch (v->type) {
    case VALUE_STR:
        buf_puts(out, v->s);
        break;
    case VALUE_BOOL:
        buf_putz(out, v->b ? "true" : "false");
        break;
    case VALUE_INT:
        buf_printf(out, "%lld", (long long)v->i);
        break;
    case VALUE_DOUBLE:
        format_float_f(out, v->d);
        break;
    case VALUE_ARRAY:
        buf_putc(out, '[');
        while (value_array_next(v->s, &cursor, &item))
            put_value(out, &item);
        buf_putc(out, ']');
        break;
    case VALUE_KVLIST:
        buf_putc(out, '{');
        while (value_kvlist_next(v->s, &cursor, &member)) {
            buf_puts(out, member.key);
            buf_putc(out, ':');
            put_value(out, &member.value);
        }
        buf_putc(out, '}');
        break;
    default:
        break; /* empty, bytes: no text */
    }
}

struct str value_text(const struct value *v, struct arena *a)
{
    if (v->type == VALUE_STR)
        return v->s;
    if (v->type == VALUE_BOOL)
        return v->b ? STR("true") : STR("false");
    struct buf text = BUF_INIT;
    put_value(&text, v);
    struct str s = arena_str(a, buf_str(&text));
    buf_deinit(&text);
    return s.p == NULL ? STR("") : s;
}

struct str span_attr_text(const struct span_view *s, struct str key, struct arena *a)
{
    const struct value *v = span_attr(s, key);
    return v == NULL ? STR("") : value_text(v, a);
}

double span_seconds(const struct batch_span *s)
{
    return s->end_ns > s->start_ns ? (double)(s->end_ns - s->start_ns) / 1e9 : 0;
}

/* ---- multiplier ---- */
static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static struct str trim(struct str s)
{
    while (s.n > 0 && is_blank(s.p[0]))
        s.p++, s.n--;
    while (s.n > 0 && is_blank(s.p[s.n - 1]))
        s.n--;
    return s;
}

/* The value of the list member "ot=", or empty. As in Tempo, blanks before a member go, those
 * behind it belong to it (and make it invalid), but for those at the end of the whole. */
static struct str ot_member(struct str state)
{
    state = trim(state);
    while (state.n > 0) {
        struct str rest, member = str_cut(state, ',', &rest);
        if (str_starts(member, STR("ot=")))
            return str_n(member.p + 3, member.n - 3);
        state = trim(rest);
    }
    return STR("");
}

static bool is_lower_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* One "key:value" of the member: [a-z][a-z0-9]*:[A-Za-z0-9._-]* */
static bool is_ot_field(struct str key, struct str value)
{
    if (key.n == 0 || key.p[0] < 'a' || key.p[0] > 'z')
        return false;
    for (size_t i = 1; i < key.n; i++)
        if (!is_lower_alnum(key.p[i]))
            return false;
    for (size_t i = 0; i < value.n; i++) {
        char c = value.p[i];
        if (!is_lower_alnum(c) && !(c >= 'A' && c <= 'Z') && c != '.' && c != '_' && c != '-')
            return false;
    }
    return true;
}

/* 2^56 / (2^56 - T) of "th:" (OpenTelemetry, tracestate probability sampling); 0: none, or any
 * mistake in the member. */
static double tracestate_count(struct str state)
{
    double count = 0;
    struct str ot = ot_member(state);
    while (ot.n > 0) {
        struct str rest, value, field = str_cut(ot, ';', &rest), key = str_cut(field, ':', &value);
        if (key.n == field.n || !is_ot_field(key, value))
            return 0;
        ot = rest;
        if (!str_eq(key, STR("th")))
            continue;
        uint64_t t = 0;
        if (value.n == 0 || value.n > 14)
            return 0;
        for (size_t i = 0; i < 14; i++) {
            char c = i < value.n ? value.p[i] : '0';
            bool digit = c >= '0' && c <= '9';
            if (!digit && !(c >= 'a' && c <= 'f'))
                return 0;
            t = t << 4 | (uint64_t)(digit ? c - '0' : c - 'a' + 10);
        }
        count = 0x1p56 / (0x1p56 - (double)t);
    }
    return count;
}

static double inverse(struct attr_list l, struct str key)
{
    for (uint32_t i = 0; i < l.n; i++)
        if (l.p[i].value.type == VALUE_DOUBLE && l.p[i].value.d > 0 && str_eq(l.p[i].key, key))
            return 1 / l.p[i].value.d;
    return 0;
}

double span_multiplier(const struct span_view *s, struct str key, bool tracestate)
{
    double m =
        tracestate && s->span->trace_state.n > 0 ? tracestate_count(s->span->trace_state) : 0;
    if (m > 0)
        return m;
    if (key.n > 0) {
        m = inverse(s->attrs, key);
        if (m == 0)
            m = inverse(s->resource, key);
    }
    return m > 0 ? m : 1;
}

/* ---- enums ---- */
static struct str enum_name(const struct str *names, size_t n, int32_t v, char number[12])
{
    if (v >= 0 && (size_t)v < n)
        return names[v];
    return str_n(number, (size_t)snprintf(number, 12, "%d", v));
}

struct str span_kind_name(int32_t kind, char number[12])
{
    static const struct str names[] = {{"SPAN_KIND_UNSPECIFIED", 21}, {"SPAN_KIND_INTERNAL", 18},
        {"SPAN_KIND_SERVER", 16}, {"SPAN_KIND_CLIENT", 16}, {"SPAN_KIND_PRODUCER", 18},
        {"SPAN_KIND_CONSUMER", 18}};
    return enum_name(names, ARRAY_LEN(names), kind, number);
}

struct str span_status_name(int32_t status, char number[12])
{
    static const struct str names[] = {
        {"STATUS_CODE_UNSET", 17}, {"STATUS_CODE_OK", 14}, {"STATUS_CODE_ERROR", 17}};
    return enum_name(names, ARRAY_LEN(names), status, number);
}
