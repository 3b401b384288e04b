/* SPDX-License-Identifier: Apache-2.0
 * The parser's state, shared by parse_expr.c (field expressions, attributes) and parse_query.c (the
 * rest).
 *
 * Recursive descent with one token of lookahead. INVARIANT: every function is entered with p->tok
 * at its first token and leaves with p->tok at the first token that it did not take. Nesting is
 * counted by parser_enter/parser_leave and refused past TQL_HEIGHT_MAX, nodes past TQL_NODES_MAX.
 */
#pragma once

#include "lex.h"

/* A run of one logical operator longer than this becomes a balanced tree: both are associative, and
 * a query of a thousand alternatives must not be a thousand levels high. */
#define RUN_LEFT_DEEP_MAX 32u

struct tql_parser {
    struct tql_lexer lx;
    struct tql_token tok;
    struct arena *arena;
    uint32_t depth;
    uint32_t n_nodes;
    uint32_t n_attr_refs;
    bool strict_names; /* `a.b` without scope is refused (tag identifiers) */
};

/* A list that grows in the arena; at most as long as the text. */
struct tql_list {
    void **p;
    uint32_t n, cap;
};

enum ec parser_advance(struct tql_parser *p) MUST_USE;
/* `syntax error: unexpected TOK`, with `, expecting A or B` when the list (space-separated) is
 * given. */
enum ec parser_unexpected(struct tql_parser *p, const char *expecting);
/* Takes `kind` or fails with `expecting`. */
enum ec parser_expect(struct tql_parser *p, enum tql_token_kind kind, const char *expecting)
    MUST_USE;
enum ec parser_limit(struct tql_parser *p);
enum ec parser_enter(struct tql_parser *p) MUST_USE;
static inline void parser_leave(struct tql_parser *p)
{
    p->depth--;
}
/* Zeroed memory for one node of the tree, counted. */
enum ec parser_node(struct tql_parser *p, size_t size, void *ret_node) MUST_USE;
/* A node one higher than the higher of two. */
enum ec parser_height(struct tql_parser *p, uint32_t a, uint32_t b, uint32_t *ret) MUST_USE;
enum ec parser_push(struct tql_parser *p, struct tql_list *list, void *item) MUST_USE;

/* parse_expr.c */
bool parser_at_attr(const struct tql_parser *p);
enum ec parser_attr(struct tql_parser *p, const struct tql_attr **ret) MUST_USE;
enum ec parser_static(struct tql_parser *p, bool *ret_found, struct tql_static *ret) MUST_USE;
enum ec parser_field(struct tql_parser *p, struct tql_expr **ret) MUST_USE;
/* `{ field }` or `{ }`. */
enum ec parser_filter(struct tql_parser *p, struct tql_expr **ret) MUST_USE;
/* `( attr { , attr } )`. */
enum ec parser_attr_list(struct tql_parser *p, const struct tql_attr ***ret, uint32_t *ret_n)
    MUST_USE;

/* parse_metric.c: `| metric ...` behind its pipe, and hints. */
bool parser_at_metric(const struct tql_parser *p);
enum ec parser_metric(struct tql_parser *p, struct tql_query *q) MUST_USE;
enum ec parser_hints(struct tql_parser *p, struct tql_query *q) MUST_USE;
/* [ "-" ] ( INTEGER | FLOAT | DURATION ) */
enum ec parser_number(struct tql_parser *p, const char *expecting, struct tql_static *ret) MUST_USE;
enum tql_op parser_compare_op(enum tql_token_kind kind); /* = != < <= > >=, else NONE */
