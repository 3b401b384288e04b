/* SPDX-License-Identifier: Apache-2.0
 * The lexer. Positions count runes as Go's text/scanner does, since clients see them in error
 * texts: the position is the start of the newest token, and its line is printed as 0 when more
 * runes were read to complete that token (operators of two runes, scopes, names, durations). */
#include "lex.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "query/format.h"

#define DURATION_TEXT_MAX 256u

static const char *const token_texts[T_COUNT_] = {
#define X(name, text) [name] = text,
    TQL_KEYWORD_TABLE(X) TQL_PUNCT_TABLE(X) TQL_SCOPE_TOKEN_TABLE(X) TQL_CLASS_TOKEN_TABLE(X)
#undef X
        [T_DOTTED] = "IDENTIFIER",
};

const char *tql_token_text(enum tql_token_kind kind)
{
    ASSERT(kind < T_COUNT_);
    return token_texts[kind];
}

void tql_lexer_init(struct tql_lexer *lx, struct str text, struct arena *arena)
{
    *lx = (struct tql_lexer){.text = text, .arena = arena, .line = 1};
    if (str_starts(text, STR("\xef\xbb\xbf"))) {
        lx->at = 3;
        lx->col = 1; /* a byte order mark is skipped, yet takes a column */
    }
}

enum ec tql_lex_error(struct tql_lexer *lx, const char *fmt, ...)
{
    char msg[ERR_MSG_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof(msg), fmt, ap);
    va_end(ap);
    if (lx->failed)
        return lx->err.code;
    lx->failed = true;
    if (lx->tok_line == 0 && lx->tok_col == 0)
        return ERR(&lx->err, EC_INVALID, "parse error : %s", msg);
    return ERR(
        &lx->err, EC_INVALID, "parse error at line %u, col %u: %s", lx->tok_line, lx->tok_col, msg);
}

static enum ec tql_lex_limit(struct tql_lexer *lx)
{
    lx->failed = true;
    return ERR(&lx->err, EC_LIMIT, "query of %zu bytes: over the memory budget", lx->text.n);
}

/* ---- runes ---- */
size_t tql_rune(struct str s, size_t at, uint32_t *ret)
{
    if (at >= s.n) {
        *ret = 0;
        return 0;
    }
    uint8_t c = (uint8_t)s.p[at];
    if (c < 0x80) {
        *ret = c;
        return 1;
    }
    size_t n = c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
    if (n == 0 || at + n > s.n || !str_utf8_valid(str_n(s.p + at, n))) {
        *ret = 0xfffd;
        return 1;
    }
    uint32_t r = c & (0xffu >> (n + 1));
    for (size_t i = 1; i < n; i++)
        r = r << 6 | ((uint8_t)s.p[at + i] & 0x3f);
    *ret = r;
    return n;
}

static bool rune_space(uint32_t r) /* Unicode's White_Space */
{
    if (r < 0x80)
        return r == ' ' || (r >= '\t' && r <= '\r');
    return r == 0x85 || r == 0xa0 || r == 0x1680 || (r >= 0x2000 && r <= 0x200a) || r == 0x2028 ||
           r == 0x2029 || r == 0x202f || r == 0x205f || r == 0x3000;
}

bool tql_name_end(uint32_t r)
{
    if (rune_space(r))
        return true;
    return r < 0x80 && r != 0 && strchr("{}()=~!<>&|^,", (int)r) != NULL;
}

static bool rune_digit(uint32_t r)
{
    return r >= '0' && r <= '9';
}

/* Whether a rune outside ASCII is a letter or not only decides where an invalid word ends. */
static bool rune_word(uint32_t r)
{
    if (r >= 0x80)
        return !rune_space(r);
    return r == '_' || (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z');
}

static uint32_t peek(const struct tql_lexer *lx)
{
    uint32_t r;
    tql_rune(lx->text, lx->at, &r);
    return r;
}

/* Reads one rune and counts it. Fails on what no query may hold anywhere. */
static enum ec next(struct tql_lexer *lx, uint32_t *ret)
{
    uint32_t r;
    size_t n = tql_rune(lx->text, lx->at, &r);
    if (n == 0) {
        if (!lx->at_end && lx->text.n != 0)
            lx->col++;
        lx->at_end = true;
        *ret = 0;
        return EC_OK;
    }
    lx->at += n;
    lx->col++;
    if (r == '\n') {
        lx->line++;
        lx->last_line_len = lx->col;
        lx->col = 0;
    }
    if (r == 0)
        return tql_lex_error(lx, "invalid character NUL");
    if (r == 0xfffd && n == 1)
        return tql_lex_error(lx, "invalid UTF-8 encoding");
    *ret = r;
    return EC_OK;
}

static bool at_end(const struct tql_lexer *lx)
{
    return lx->at >= lx->text.n;
}

/* The position of the rune that next() returned last. */
static void mark(struct tql_lexer *lx)
{
    lx->tok_line = lx->col > 0 ? lx->line : lx->line - 1;
    lx->tok_col = lx->col > 0 ? lx->col : lx->last_line_len;
}

/* As next, for runes that complete a token which began earlier. */
static enum ec next_more(struct tql_lexer *lx)
{
    uint32_t r;
    lx->tok_line = 0;
    return next(lx, &r);
}

static enum ec skip(struct tql_lexer *lx, size_t runes)
{
    for (uint32_t r; runes > 0; runes--)
        TRY(next(lx, &r));
    return EC_OK;
}

/* ---- blanks and comments ---- */
static enum ec skip_comment(struct tql_lexer *lx, bool *ret_found)
{
    *ret_found = false;
    struct str rest = str_n(lx->text.p + lx->at, lx->text.n - lx->at);
    bool block = str_starts(rest, STR("/*"));
    if (!block && !str_starts(rest, STR("//")))
        return EC_OK;
    uint32_t r, before = 0;
    TRY(next(lx, &r));
    mark(lx);
    TRY(next(lx, &r));
    while (!at_end(lx)) {
        if (!block && peek(lx) == '\n')
            break;
        TRY(next(lx, &r));
        if (block && before == '*' && r == '/')
            break;
        before = r;
    }
    if (block && !(before == '*' && r == '/'))
        return tql_lex_error(lx, "comment not terminated");
    *ret_found = true;
    return EC_OK;
}

static enum ec skip_blanks(struct tql_lexer *lx)
{
    for (bool comment = true; comment;) {
        for (uint32_t r = peek(lx); r == ' ' || r == '\t' || r == '\n' || r == '\r'; r = peek(lx))
            TRY(next(lx, &r));
        TRY(skip_comment(lx, &comment));
    }
    return EC_OK;
}

/* ---- numbers ---- */
static int digit_value(uint32_t r)
{
    uint32_t low = r | 0x20;
    return rune_digit(r) ? (int)(r - '0') : low >= 'a' && low <= 'f' ? (int)(low - 'a' + 10) : 99;
}

struct number {
    bool is_float, digits;
    unsigned base;
    uint32_t bad_digit; /* first digit that the base does not have */
};

static enum ec scan_digits(struct tql_lexer *lx, struct number *num, unsigned base)
{
    for (;;) {
        uint32_t r = peek(lx), low = r | 0x20;
        bool digit = rune_digit(r) || (base == 16 && low >= 'a' && low <= 'f');
        if (!digit && r != '_')
            return EC_OK;
        if (digit && base < 10 && r >= '0' + base && num->bad_digit == 0)
            num->bad_digit = r;
        num->digits |= digit;
        TRY(next(lx, &r));
    }
}

/* Each '_' stands between digits, or between the base prefix and a digit. */
static bool separators_ok(struct str text, bool prefixed, bool hex)
{
    int base = hex ? 16 : 10;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] != '_')
            continue;
        bool before = i > 0 && (digit_value((uint8_t)text.p[i - 1]) < base || (prefixed && i == 2));
        bool after = i + 1 < text.n && digit_value((uint8_t)text.p[i + 1]) < base;
        if (!before || !after)
            return false;
    }
    return true;
}

static const char *base_name(unsigned base)
{
    return base == 16  ? "hexadecimal literal"
           : base == 8 ? "octal literal"
           : base == 2 ? "binary literal"
                       : "decimal literal";
}

static enum ec scan_exponent(struct tql_lexer *lx, struct number *num, bool prefixed)
{
    uint32_t r = peek(lx), low = r | 0x20;
    if (low == 'e' || low == 'p') {
        if (low == 'e' && prefixed)
            return tql_lex_error(lx, "'%c' exponent requires decimal mantissa", (char)r);
        if (low == 'p' && num->base != 16)
            return tql_lex_error(lx, "'%c' exponent requires hexadecimal mantissa", (char)r);
        TRY(next(lx, &r));
        num->is_float = true;
        if (peek(lx) == '+' || peek(lx) == '-')
            TRY(next(lx, &r));
        struct number exp = {.base = 10};
        TRY(scan_digits(lx, &exp, 10));
        if (!exp.digits)
            return tql_lex_error(lx, "exponent has no digits");
    } else if (num->base == 16 && num->is_float) {
        return tql_lex_error(lx, "hexadecimal mantissa requires a 'p' exponent");
    }
    return EC_OK;
}

/* The number's text as Go's scanner cuts it out: [token start, lx->at). */
static enum ec scan_number(struct tql_lexer *lx, bool *ret_float)
{
    struct number num = {.base = 10};
    bool prefixed = false;
    size_t start = lx->at;
    uint32_t r = peek(lx);
    TRY(next(lx, &r));
    mark(lx);
    if (r == '.') {
        num.is_float = true;
    } else {
        num.digits = true;
        if (r == '0') {
            uint32_t low = peek(lx) | 0x20;
            num.base = low == 'x' ? 16 : low == 'b' ? 2 : 8;
            prefixed = low == 'x' || low == 'b' || low == 'o';
            if (prefixed) {
                TRY(next(lx, &r));
                num.digits = false;
            }
        }
        TRY(scan_digits(lx, &num, num.base));
    }
    if (!num.is_float && peek(lx) == '.') {
        TRY(next(lx, &r));
        num.is_float = true;
    }
    if (num.is_float) {
        if (prefixed && num.base != 16)
            return tql_lex_error(lx, "invalid radix point in %s", base_name(num.base));
        TRY(scan_digits(lx, &num, num.base == 16 ? 16 : 10));
    }
    if (!num.digits)
        return tql_lex_error(lx, "%s has no digits", base_name(num.base));
    TRY(scan_exponent(lx, &num, prefixed));
    if (!num.is_float && num.bad_digit != 0)
        return tql_lex_error(
            lx, "invalid digit '%c' in %s", (char)num.bad_digit, base_name(num.base));
    if (!separators_ok(str_n(lx->text.p + start, lx->at - start), prefixed, num.base == 16))
        return tql_lex_error(lx, "'_' must separate successive digits");
    *ret_float = num.is_float;
    return EC_OK;
}

/* The value of a number token that is no duration. */
static enum ec number_value(struct tql_lexer *lx, bool is_float, struct tql_token *t)
{
    if (!is_float) {
        for (size_t i = 0; i < t->text.n; i++)
            if (!rune_digit((uint8_t)t->text.p[i]))
                return tql_lex_error(
                    lx, "strconv.Atoi: parsing \"" STR_FMT "\": invalid syntax", STR_ARG(t->text));
        t->kind = T_INTEGER;
        if (!str_to_i64(t->text, &t->integer))
            return tql_lex_error(
                lx, "strconv.Atoi: parsing \"" STR_FMT "\": value out of range", STR_ARG(t->text));
        return EC_OK;
    }
    char *z = arena_strz(lx->arena, t->text);
    if (z == NULL)
        return tql_lex_limit(lx);
    char *to = z;
    for (const char *from = z; *from != 0; from++)
        if (*from != '_')
            *to++ = *from;
    *to = 0;
    t->kind = T_FLOAT;
    t->number = strtod(z, NULL);
    if (isinf(t->number))
        return tql_lex_error(lx, "strconv.ParseFloat: parsing \"" STR_FMT "\": value out of range",
            STR_ARG(t->text));
    return EC_OK;
}

static enum ec lex_number(struct tql_lexer *lx, struct tql_token *t)
{
    bool is_float = false;
    TRY(scan_number(lx, &is_float));
    /* The run is bounded: `1.1.1...` must not be scanned again from each of its numbers. */
    size_t end = lx->at, runes = 0;
    for (; end - t->start < DURATION_TEXT_MAX; runes++) {
        uint32_t r;
        size_t n = tql_rune(lx->text, end, &r);
        bool unit = r == 0xb5 || r == 0x3bc ||
                    (r < 0x80 && r != 0 && strchr("0123456789.nsumhdwy", (int)r) != NULL);
        if (n == 0 || !unit)
            break;
        end += n;
    }
    t->text = str_n(lx->text.p + t->start, lx->at - t->start);
    struct str all = str_n(lx->text.p + t->start, end - t->start);
    if (runes > 0 && parse_duration(all, &t->integer)) {
        t->kind = T_DURATION;
        t->text = all;
        lx->tok_line = 0;
        return skip(lx, runes);
    }
    return number_value(lx, is_float, t);
}

/* ---- strings ---- */
static unsigned escape_digits(uint32_t r)
{
    return r == 'x' ? 2 : r == 'u' ? 4 : r == 'U' ? 8 : r >= '0' && r <= '7' ? 3 : 0;
}

static size_t put_rune(char *out, uint32_t r)
{
    if (r < 0x80) {
        out[0] = (char)r;
        return 1;
    }
    size_t n = r < 0x800 ? 2 : r < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; r >>= 6)
        out[i] = (char)(0x80 | (r & 0x3f));
    out[0] = (char)(r | (0xf00u >> n & 0xff));
    return n;
}

/* One escape after its backslash: syntax first, then whether the value can be. */
static enum ec lex_escape(struct tql_lexer *lx, uint32_t quote, char *out, size_t *n)
{
    static const char names[] = "abfnrtv\\", values[] = "\a\b\f\n\r\t\v\\";
    uint32_t r = peek(lx);
    if (at_end(lx))
        return tql_lex_error(lx, "invalid char escape");
    const char *simple = r < 0x80 && r != 0 ? strchr(names, (int)r) : NULL;
    if (simple != NULL || r == quote) {
        out[(*n)++] = simple != NULL ? values[simple - names] : (char)quote;
        return next(lx, &r);
    }
    unsigned digits = escape_digits(r);
    if (digits == 0)
        return tql_lex_error(lx, "invalid char escape");
    bool octal = digits == 3, bytes = digits <= 3;
    if (!octal)
        TRY(next(lx, &r));
    uint64_t v = 0;
    for (unsigned i = 0; i < digits; i++) {
        int d = digit_value(peek(lx));
        if (at_end(lx) || d >= (octal ? 8 : 16))
            return tql_lex_error(lx, "invalid char escape");
        v = v * (octal ? 8 : 16) + (uint64_t)d;
        TRY(next(lx, &r));
    }
    if (bytes ? v > 255 : v > 0x10ffff || (v >= 0xd800 && v < 0xe000))
        return tql_lex_error(lx, "invalid syntax");
    if (bytes)
        out[(*n)++] = (char)v;
    else
        *n += put_rune(out + *n, (uint32_t)v);
    return EC_OK;
}

static enum ec lex_string(struct tql_lexer *lx, struct tql_token *t)
{
    uint32_t quote, r;
    TRY(next(lx, &quote));
    mark(lx);
    /* A value is never longer than its text: the end is found first, so that memory is exact. */
    size_t close = lx->at;
    while (close < lx->text.n && (uint8_t)lx->text.p[close] != quote)
        close += quote == '"' && lx->text.p[close] == '\\' ? 2 : 1;
    char *out = arena_alloc(lx->arena, MIN(close, lx->text.n) - lx->at + 1);
    if (out == NULL)
        return tql_lex_limit(lx);
    size_t n = 0;
    for (;;) {
        r = peek(lx);
        if (at_end(lx) || (quote == '"' && r == '\n'))
            return tql_lex_error(lx, "literal not terminated");
        size_t from = lx->at;
        TRY(next(lx, &r));
        if (r == quote)
            break;
        if (quote == '"' && r == '\\') {
            TRY(lex_escape(lx, quote, out, &n));
        } else if (quote == '"' || r != '\r') { /* Go drops CR from raw strings */
            memcpy(out + n, lx->text.p + from, lx->at - from);
            n += lx->at - from;
        }
    }
    t->kind = T_STRING;
    t->string = str_n(out, n);
    return EC_OK;
}

/* '...' is never a value: one rune is an unknown identifier, else an error of its own. */
static enum ec lex_char(struct tql_lexer *lx, struct tql_token *t)
{
    uint32_t r;
    unsigned runes = 0;
    TRY(next(lx, &r));
    mark(lx);
    for (;; runes++) {
        r = peek(lx);
        if (at_end(lx) || r == '\n')
            return tql_lex_error(lx, "literal not terminated");
        TRY(next(lx, &r));
        if (r == '\'')
            break;
        char scratch[8];
        size_t n = 0;
        if (r == '\\')
            TRY(lex_escape(lx, '\'', scratch, &n));
    }
    if (runes != 1)
        return tql_lex_error(lx, "invalid char literal");
    t->kind = T_IDENTIFIER;
    return EC_OK;
}

/* ---- words ---- */
static enum tql_token_kind keyword(struct str word)
{
    for (unsigned k = T_TRUE; k <= T_WITH; k++)
        if (str_eqz(word, token_texts[k]))
            return (enum tql_token_kind)k;
    return T_IDENTIFIER;
}

/* The scope token `word` + sep, or T_END. */
static enum tql_token_kind scope_token(struct str word, char sep)
{
    for (unsigned k = T_SPAN_DOT; k <= T_INSTRUMENTATION_COLON; k++) {
        struct str text = str_from(token_texts[k]);
        if (text.n == word.n + 1 && text.p[word.n] == sep && str_starts(text, word))
            return (enum tql_token_kind)k;
    }
    return T_END;
}

static enum ec lex_word(struct tql_lexer *lx, struct tql_token *t)
{
    uint32_t r;
    TRY(next(lx, &r));
    mark(lx);
    while (rune_word(peek(lx)) || rune_digit(peek(lx)))
        TRY(next(lx, &r));
    struct str word = str_n(lx->text.p + t->start, lx->at - t->start);
    t->kind = keyword(word);
    uint32_t sep = peek(lx), after;
    if (sep != '.' && sep != ':')
        return EC_OK;
    enum tql_token_kind scope = scope_token(word, (char)sep);
    if (scope != T_END) {
        t->kind = scope;
        return next_more(lx);
    }
    /* Q20: `trace` is a scope too, though only with a colon. */
    if (sep == '.' && !str_eqz(word, "trace") && tql_rune(lx->text, lx->at + 1, &after) != 0 &&
        !tql_name_end(after))
        t->kind = T_DOTTED;
    return EC_OK;
}

/* ---- operators ---- */
static enum tql_token_kind punct(struct str op)
{
    for (unsigned k = T_OPEN_BRACE; k <= T_UNION_SIBL; k++)
        if (str_eqz(op, token_texts[k]))
            return (enum tql_token_kind)k;
    return T_END;
}

static enum ec lex_operator(struct tql_lexer *lx, struct tql_token *t)
{
    uint32_t r;
    TRY(next(lx, &r));
    mark(lx);
    size_t n = lx->at - t->start;
    enum tql_token_kind kind = punct(str_n(lx->text.p + t->start, n));
    while (r < 0x80 && lx->at < lx->text.n) {
        enum tql_token_kind longer = punct(str_n(lx->text.p + t->start, n + 1));
        if (longer == T_END)
            break;
        kind = longer;
        n++;
        TRY(next_more(lx));
    }
    t->kind = r == '.' ? T_DOT : kind == T_END ? T_IDENTIFIER : kind;
    return EC_OK;
}

enum ec tql_lex(struct tql_lexer *lx, struct tql_token *ret)
{
    if (lx->failed)
        return lx->err.code;
    TRY(skip_blanks(lx));
    struct tql_token t = {.start = (uint32_t)lx->at};
    uint32_t r = peek(lx);
    if (at_end(lx)) {
        TRY(next(lx, &r));
        mark(lx);
        t.kind = T_END;
    } else if (rune_word(r) && r != 0xfffd) {
        TRY(lex_word(lx, &t));
    } else if (rune_digit(r) || (r == '.' && lx->at + 1 < lx->text.n &&
                                    rune_digit((uint8_t)lx->text.p[lx->at + 1]))) {
        TRY(lex_number(lx, &t));
    } else if (r == '"' || r == '`') {
        TRY(lex_string(lx, &t));
    } else if (r == '\'') {
        TRY(lex_char(lx, &t));
    } else {
        TRY(lex_operator(lx, &t));
    }
    t.end = (uint32_t)lx->at;
    t.text = str_n(lx->text.p + t.start, lx->at - t.start);
    *ret = t;
    return EC_OK;
}

/* ---- attribute names ---- */
bool tql_lex_second_scope(struct tql_lexer *lx, enum tql_token_kind *ret)
{
    struct str rest = str_n(lx->text.p + lx->at, lx->text.n - lx->at);
    bool span = str_starts(rest, STR("span.")), resource = str_starts(rest, STR("resource."));
    if (!span && !resource)
        return false;
    size_t n = span ? 5 : 9;
    lx->at += n;
    lx->col += (uint32_t)n;
    lx->tok_line = 0;
    *ret = span ? T_SPAN_DOT : T_RESOURCE_DOT;
    return true;
}

static enum ec scan_quoted_part(struct tql_lexer *lx)
{
    TRY(next_more(lx));
    for (;;) {
        uint32_t r = peek(lx);
        if (at_end(lx))
            return tql_lex_error(lx, "unexpected EOF, expecting \"");
        TRY(next_more(lx));
        if (r == '"')
            return EC_OK;
        if (r != '\\')
            continue;
        r = peek(lx);
        if (at_end(lx))
            return tql_lex_error(lx, "unexpected EOF, expecting \"");
        if (r != '"' && r != '\\')
            return tql_lex_error(lx, "invalid escape sequence");
        TRY(next_more(lx));
    }
}

/* Takes quotes and their escapes away, in place: the result is shorter. */
static size_t unquote_name(char *p, size_t n)
{
    size_t to = 0;
    bool quoted = false;
    for (size_t i = 0; i < n; i++) {
        if (p[i] == '"') {
            quoted = !quoted;
            continue;
        }
        if (quoted && p[i] == '\\')
            i++;
        p[to++] = p[i];
    }
    return to;
}

enum ec tql_lex_name(struct tql_lexer *lx, const struct tql_token *scope, struct str *ret)
{
    size_t start = scope->kind == T_DOTTED ? scope->start : lx->at;
    bool quoted = false;
    while (!at_end(lx) && !tql_name_end(peek(lx))) {
        if (peek(lx) == '"') {
            quoted = true;
            TRY(scan_quoted_part(lx));
        } else {
            TRY(next_more(lx));
        }
    }
    if (lx->at == start)
        return tql_lex_error(lx, "syntax error: unexpected END_ATTRIBUTE, expecting IDENTIFIER");
    char *p = arena_strz(lx->arena, str_n(lx->text.p + start, lx->at - start));
    if (p == NULL)
        return tql_lex_limit(lx);
    size_t n = lx->at - start;
    *ret = str_n(p, quoted ? unquote_name(p, n) : n);
    return EC_OK;
}
