/* SPDX-License-Identifier: Apache-2.0
 * Tokens of TraceQL with the positions that Tempo reports (spec traceql.md section 1).
 *
 * The lexer runs one token ahead of the parser. Attribute names are lexed on demand (tql_lex_name)
 * after a scope token, because inside a name other rules hold. Lexical errors stop everything: they
 * win over the syntax error that would follow.
 */
#pragma once

#include "query/tql.h"

/* Words first, in the order of the keyword table; then what is spelled with other characters. */
#define TQL_KEYWORD_TABLE(X)                        \
    X(T_TRUE, "true")                               \
    X(T_FALSE, "false")                             \
    X(T_NIL, "nil")                                 \
    X(T_OK, "ok")                                   \
    X(T_ERROR, "error")                             \
    X(T_UNSET, "unset")                             \
    X(T_UNSPECIFIED, "unspecified")                 \
    X(T_INTERNAL, "internal")                       \
    X(T_SERVER, "server")                           \
    X(T_CLIENT, "client")                           \
    X(T_PRODUCER, "producer")                       \
    X(T_CONSUMER, "consumer")                       \
    X(T_DURATION_KW, "duration")                    \
    X(T_CHILD_COUNT, "childCount")                  \
    X(T_NAME, "name")                               \
    X(T_STATUS, "status")                           \
    X(T_STATUS_MESSAGE, "statusMessage")            \
    X(T_KIND, "kind")                               \
    X(T_ROOT_NAME, "rootName")                      \
    X(T_ROOT_SERVICE_NAME, "rootServiceName")       \
    X(T_ROOT_SERVICE, "rootService")                \
    X(T_TRACE_DURATION, "traceDuration")            \
    X(T_NESTED_SET_LEFT, "nestedSetLeft")           \
    X(T_NESTED_SET_RIGHT, "nestedSetRight")         \
    X(T_NESTED_SET_PARENT, "nestedSetParent")       \
    X(T_ID, "id")                                   \
    X(T_TRACE_ID, "traceID")                        \
    X(T_SPAN_ID, "spanID")                          \
    X(T_PARENT_ID, "parentID")                      \
    X(T_TIME_SINCE_START, "timeSinceStart")         \
    X(T_VERSION, "version")                         \
    X(T_PARENT, "parent")                           \
    X(T_COUNT, "count")                             \
    X(T_AVG, "avg")                                 \
    X(T_MAX, "max")                                 \
    X(T_MIN, "min")                                 \
    X(T_SUM, "sum")                                 \
    X(T_BY, "by")                                   \
    X(T_COALESCE, "coalesce")                       \
    X(T_SELECT, "select")                           \
    X(T_RATE, "rate")                               \
    X(T_COUNT_OVER_TIME, "count_over_time")         \
    X(T_MIN_OVER_TIME, "min_over_time")             \
    X(T_MAX_OVER_TIME, "max_over_time")             \
    X(T_AVG_OVER_TIME, "avg_over_time")             \
    X(T_SUM_OVER_TIME, "sum_over_time")             \
    X(T_QUANTILE_OVER_TIME, "quantile_over_time")   \
    X(T_HISTOGRAM_OVER_TIME, "histogram_over_time") \
    X(T_COMPARE, "compare")                         \
    X(T_TOPK, "topk")                               \
    X(T_BOTTOMK, "bottomk")                         \
    X(T_WITH, "with")

#define TQL_PUNCT_TABLE(X)  \
    X(T_OPEN_BRACE, "{")    \
    X(T_CLOSE_BRACE, "}")   \
    X(T_OPEN_PAREN, "(")    \
    X(T_CLOSE_PAREN, ")")   \
    X(T_COMMA, ",")         \
    X(T_PIPE, "|")          \
    X(T_ADD, "+")           \
    X(T_SUB, "-")           \
    X(T_MUL, "*")           \
    X(T_DIV, "/")           \
    X(T_MOD, "%")           \
    X(T_POW, "^")           \
    X(T_EQ, "=")            \
    X(T_NE, "!=")           \
    X(T_LT, "<")            \
    X(T_LE, "<=")           \
    X(T_GT, ">")            \
    X(T_GE, ">=")           \
    X(T_RE, "=~")           \
    X(T_NRE, "!~")          \
    X(T_AND, "&&")          \
    X(T_OR, "||")           \
    X(T_NOT, "!")           \
    X(T_DESC, ">>")         \
    X(T_ANCE, "<<")         \
    X(T_TILDE, "~")         \
    X(T_NOT_CHILD, "!>")    \
    X(T_NOT_DESC, "!>>")    \
    X(T_NOT_PARENT, "!<")   \
    X(T_NOT_ANCE, "!<<")    \
    X(T_UNION_CHILD, "&>")  \
    X(T_UNION_DESC, "&>>")  \
    X(T_UNION_PARENT, "&<") \
    X(T_UNION_ANCE, "&<<")  \
    X(T_UNION_SIBL, "&~")

#define TQL_SCOPE_TOKEN_TABLE(X)                 \
    X(T_DOT, ".")                                \
    X(T_SPAN_DOT, "span.")                       \
    X(T_RESOURCE_DOT, "resource.")               \
    X(T_EVENT_DOT, "event.")                     \
    X(T_LINK_DOT, "link.")                       \
    X(T_INSTRUMENTATION_DOT, "instrumentation.") \
    X(T_PARENT_DOT, "parent.")                   \
    X(T_SPAN_COLON, "span:")                     \
    X(T_TRACE_COLON, "trace:")                   \
    X(T_EVENT_COLON, "event:")                   \
    X(T_LINK_COLON, "link:")                     \
    X(T_INSTRUMENTATION_COLON, "instrumentation:")

#define TQL_CLASS_TOKEN_TABLE(X)        \
    X(T_IDENTIFIER, "IDENTIFIER")       \
    X(T_STRING, "STRING")               \
    X(T_INTEGER, "INTEGER")             \
    X(T_FLOAT, "FLOAT")                 \
    X(T_DURATION, "DURATION")           \
    X(T_END_ATTRIBUTE, "END_ATTRIBUTE") \
    X(T_END, "$end")

enum tql_token_kind {
#define X(name, text) name,
    TQL_KEYWORD_TABLE(X) TQL_PUNCT_TABLE(X) TQL_SCOPE_TOKEN_TABLE(X) TQL_CLASS_TOKEN_TABLE(X)
#undef X
    /* `word.rest` where word is no scope: an unscoped attribute written without its dot. */
    T_DOTTED,
    T_COUNT_
};

struct tql_token {
    enum tql_token_kind kind;
    uint32_t start, end; /* byte offsets of the text; a name after a scope is not included */
    struct str text;     /* the raw text [start, end) */
    struct str string;   /* STRING: the value, in the arena */
    int64_t integer;     /* INTEGER, DURATION */
    double number;       /* FLOAT */
};

struct tql_lexer {
    struct str text;
    struct arena *arena;
    size_t at;                  /* the next byte */
    uint32_t line, col;         /* of the last rune read; col 0 before the first of a line */
    uint32_t last_line_len;     /* runes of the line before */
    bool at_end;                /* the end was read once: it takes a column of its own */
    uint32_t tok_line, tok_col; /* what error texts call the position */
    bool failed;                /* err is set; every further call fails */
    struct err err;
};

void tql_lexer_init(struct tql_lexer *lx, struct str text, struct arena *arena);
const char *tql_token_text(enum tql_token_kind kind);
enum ec tql_lex(struct tql_lexer *lx, struct tql_token *ret) MUST_USE;
/* Right after a dot scope token (or a T_DOTTED, whose word it includes): the attribute name, in the
 * arena. An empty name without quotes is the syntax error about END_ATTRIBUTE. */
enum ec tql_lex_name(struct tql_lexer *lx, const struct tql_token *scope, struct str *ret) MUST_USE;
/* After T_PARENT_DOT: takes `span.` or `resource.` if that is what follows. */
bool tql_lex_second_scope(struct tql_lexer *lx, enum tql_token_kind *ret);
/* Fails with `parse error at line L, col C: MSG`; the first error stays. */
enum ec tql_lex_error(struct tql_lexer *lx, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* A rune that ends an unquoted attribute name (blanks and operators). */
bool tql_name_end(uint32_t rune);
/* Decodes one rune of valid or invalid UTF-8: returns its length, 0 at the end; invalid: *ret =
 * 0xfffd, 1. */
size_t tql_rune(struct str s, size_t at, uint32_t *ret);
