/* SPDX-License-Identifier: Apache-2.0
 * Field expressions by precedence climbing, attributes and literals; the parser's common helpers.
 *
 * Precedence (spec traceql.md 2.1), low to high: && and || (one level), comparisons, + - and unary
 * -, unary !, * / %, ^ (right). `X = nil` is complete as soon as nil is read, whatever follows.
 */
#include <stdio.h>

#include "parse.h"

enum { PREC_LOGIC = 2, PREC_COMPARE, PREC_SUM, PREC_NOT, PREC_PRODUCT, PREC_POWER };

/* Printing writes two nested constructs for some levels of a tree (operator and parenthesis). */
#define DEPTH_MAX (2 * TQL_HEIGHT_MAX + 16)

/* ---- helpers ---- */
enum ec parser_advance(struct tql_parser *p)
{
    return tql_lex(&p->lx, &p->tok);
}

enum ec parser_limit(struct tql_parser *p)
{
    if (!p->lx.failed) {
        p->lx.failed = true;
        ERR(&p->lx.err, EC_LIMIT, "query of %zu bytes: over the memory budget", p->lx.text.n);
    }
    return p->lx.err.code;
}

enum ec parser_unexpected(struct tql_parser *p, const char *expecting)
{
    char list[160] = "";
    size_t n = 0;
    if (expecting != NULL && expecting[0] != 0)
        n = (size_t)snprintf(list, sizeof(list), ", expecting ");
    for (const char *c = expecting; n > 0 && *c != 0 && n + 4 < sizeof(list); c++) {
        if (*c == ' ')
            n += (size_t)snprintf(list + n, sizeof(list) - n, " or ");
        else
            list[n++] = *c;
    }
    list[n] = 0;
    return tql_lex_error(
        &p->lx, "syntax error: unexpected %s%s", tql_token_text(p->tok.kind), list);
}

enum ec parser_expect(struct tql_parser *p, enum tql_token_kind kind, const char *expecting)
{
    if (p->tok.kind != kind)
        return parser_unexpected(p, expecting);
    return parser_advance(p);
}

enum ec parser_enter(struct tql_parser *p)
{
    if (++p->depth > DEPTH_MAX)
        return tql_lex_error(&p->lx, "query is nested deeper than %u levels", DEPTH_MAX);
    return EC_OK;
}

enum ec parser_height(struct tql_parser *p, uint32_t a, uint32_t b, uint32_t *ret)
{
    uint32_t height = 1 + MAX(a, b);
    if (height > TQL_HEIGHT_MAX)
        return tql_lex_error(&p->lx, "query is nested deeper than %u levels", TQL_HEIGHT_MAX);
    *ret = height;
    return EC_OK;
}

enum ec parser_node(struct tql_parser *p, size_t size, void *ret_node)
{
    if (++p->n_nodes > TQL_NODES_MAX)
        return tql_lex_error(&p->lx, "query has more than %u elements", TQL_NODES_MAX);
    void *node = arena_calloc(p->arena, 1, size);
    if (node == NULL)
        return parser_limit(p);
    memcpy(ret_node, &node, sizeof(node));
    return EC_OK;
}

enum ec parser_push(struct tql_parser *p, struct tql_list *list, void *item)
{
    if (list->n == list->cap) {
        uint32_t cap = list->cap == 0 ? 4 : list->cap * 2;
        void **grown = ARENA_ARRAY(p->arena, cap, void *);
        if (grown == NULL)
            return parser_limit(p);
        if (list->n > 0)
            memcpy(grown, list->p, list->n * sizeof(void *));
        list->p = grown;
        list->cap = cap;
    }
    list->p[list->n++] = item;
    return EC_OK;
}

/* ---- attributes ---- */
static enum tql_intrinsic intrinsic_of(enum tql_token_kind kind)
{
    switch (kind) {
    case T_DURATION_KW:
        return TQL_I_DURATION;
    case T_NAME:
        return TQL_I_NAME;
    case T_STATUS:
        return TQL_I_STATUS;
    case T_STATUS_MESSAGE:
        return TQL_I_STATUS_MESSAGE;
    case T_KIND:
        return TQL_I_KIND;
    case T_PARENT:
        return TQL_I_PARENT;
    case T_ROOT_NAME:
        return TQL_I_ROOT_NAME;
    case T_ROOT_SERVICE_NAME:
        return TQL_I_ROOT_SERVICE;
    case T_TRACE_DURATION:
        return TQL_I_TRACE_DURATION;
    case T_NESTED_SET_LEFT:
        return TQL_I_NESTED_SET_LEFT;
    case T_NESTED_SET_RIGHT:
        return TQL_I_NESTED_SET_RIGHT;
    case T_NESTED_SET_PARENT:
        return TQL_I_NESTED_SET_PARENT;
    default:
        return TQL_I_NONE;
    }
}

static const struct {
    enum tql_token_kind scope, word;
    enum tql_intrinsic intrinsic;
} scoped_intrinsics[] = {
    {T_TRACE_COLON, T_DURATION_KW, TQL_I_TRACE_DURATION},
    {T_TRACE_COLON, T_ROOT_NAME, TQL_I_ROOT_NAME},
    {T_TRACE_COLON, T_ROOT_SERVICE, TQL_I_ROOT_SERVICE},
    {T_TRACE_COLON, T_ID, TQL_I_TRACE_ID},
    {T_SPAN_COLON, T_DURATION_KW, TQL_I_DURATION},
    {T_SPAN_COLON, T_NAME, TQL_I_NAME},
    {T_SPAN_COLON, T_KIND, TQL_I_KIND},
    {T_SPAN_COLON, T_STATUS, TQL_I_STATUS},
    {T_SPAN_COLON, T_STATUS_MESSAGE, TQL_I_STATUS_MESSAGE},
    {T_SPAN_COLON, T_ID, TQL_I_SPAN_ID},
    {T_SPAN_COLON, T_PARENT_ID, TQL_I_SPAN_PARENT_ID},
    {T_SPAN_COLON, T_CHILD_COUNT, TQL_I_CHILD_COUNT},
    {T_EVENT_COLON, T_NAME, TQL_I_EVENT_NAME},
    {T_EVENT_COLON, T_TIME_SINCE_START, TQL_I_EVENT_TIME_SINCE_START},
    {T_LINK_COLON, T_TRACE_ID, TQL_I_LINK_TRACE_ID},
    {T_LINK_COLON, T_SPAN_ID, TQL_I_LINK_SPAN_ID},
    {T_INSTRUMENTATION_COLON, T_NAME, TQL_I_INSTRUMENTATION_NAME},
    {T_INSTRUMENTATION_COLON, T_VERSION, TQL_I_INSTRUMENTATION_VERSION},
};

static const char *scoped_expecting(enum tql_token_kind scope)
{
    switch (scope) {
    case T_TRACE_COLON:
        return "duration rootName rootService id";
    case T_EVENT_COLON:
        return "name timeSinceStart";
    case T_LINK_COLON:
        return "traceID spanID";
    case T_INSTRUMENTATION_COLON:
        return "name version";
    default:
        return NULL; /* more than four */
    }
}

static enum tql_scope dot_scope(enum tql_token_kind kind)
{
    switch (kind) {
    case T_SPAN_DOT:
        return TQL_SCOPE_SPAN;
    case T_RESOURCE_DOT:
        return TQL_SCOPE_RESOURCE;
    case T_EVENT_DOT:
        return TQL_SCOPE_EVENT;
    case T_LINK_DOT:
        return TQL_SCOPE_LINK;
    case T_INSTRUMENTATION_DOT:
        return TQL_SCOPE_INSTRUMENTATION;
    default:
        return TQL_SCOPE_NONE;
    }
}

bool parser_at_attr(const struct tql_parser *p)
{
    enum tql_token_kind k = p->tok.kind;
    return (k >= T_DOT && k <= T_INSTRUMENTATION_COLON) || k == T_DOTTED ||
           intrinsic_of(k) != TQL_I_NONE;
}

static enum ec parser_intrinsic(struct tql_parser *p, struct tql_attr *attr)
{
    enum tql_token_kind scope = p->tok.kind;
    attr->intrinsic = intrinsic_of(scope);
    TRY(parser_advance(p));
    if (attr->intrinsic == TQL_I_NONE) {
        for (size_t i = 0; i < ARRAY_LEN(scoped_intrinsics); i++)
            if (scoped_intrinsics[i].scope == scope && scoped_intrinsics[i].word == p->tok.kind)
                attr->intrinsic = scoped_intrinsics[i].intrinsic;
        if (attr->intrinsic == TQL_I_NONE)
            return parser_unexpected(p, scoped_expecting(scope));
        TRY(parser_advance(p));
    }
    attr->name = attr->text = tql_intrinsic_text(attr->intrinsic);
    return EC_OK;
}

enum ec parser_attr(struct tql_parser *p, const struct tql_attr **ret)
{
    struct tql_attr *attr;
    struct tql_token tok = p->tok;
    if (!parser_at_attr(p))
        return parser_unexpected(p, NULL);
    TRY(parser_node(p, sizeof(*attr), &attr));
    *ret = attr;
    p->n_attr_refs++;
    bool dot = tok.kind >= T_DOT && tok.kind <= T_PARENT_DOT;
    if (!dot && tok.kind != T_DOTTED)
        return parser_intrinsic(p, attr);
    if (tok.kind == T_DOTTED && p->strict_names)
        return tql_lex_error(&p->lx, "unknown identifier: " STR_FMT, STR_ARG(tok.text));
    attr->parent = tok.kind == T_PARENT_DOT;
    if (attr->parent)
        (void)tql_lex_second_scope(&p->lx, &tok.kind); /* optional */
    attr->scope = dot_scope(tok.kind);
    TRY(tql_lex_name(&p->lx, &tok, &attr->name));
    if (!tql_attr_text(attr, p->arena))
        return parser_limit(p);
    return parser_advance(p);
}

enum ec parser_attr_list(struct tql_parser *p, const struct tql_attr ***ret, uint32_t *ret_n)
{
    struct tql_list list = {0};
    TRY(parser_expect(p, T_OPEN_PAREN, "("));
    for (;;) {
        const struct tql_attr *attr;
        TRY(parser_attr(p, &attr));
        if (list.n == TQL_LISTS_MAX)
            return tql_lex_error(&p->lx, "list has more than %u elements", TQL_LISTS_MAX);
        TRY(parser_push(p, &list, (struct tql_attr *)(uintptr_t)attr));
        if (p->tok.kind == T_CLOSE_PAREN)
            break;
        TRY(parser_expect(p, T_COMMA, ") ,"));
    }
    *ret = (const struct tql_attr **)(uintptr_t)list.p;
    *ret_n = list.n;
    return parser_advance(p);
}

/* ---- literals ---- */
static bool token_static(const struct tql_token *t, struct tql_static *ret)
{
    static const struct {
        enum tql_token_kind kind;
        enum tql_type type;
        int64_t i;
    } words[] = {
        {T_TRUE, TQL_BOOL, 1},
        {T_FALSE, TQL_BOOL, 0},
        {T_UNSET, TQL_STATUS, 0},
        {T_OK, TQL_STATUS, 1},
        {T_ERROR, TQL_STATUS, 2},
        {T_UNSPECIFIED, TQL_KIND, 0},
        {T_INTERNAL, TQL_KIND, 1},
        {T_SERVER, TQL_KIND, 2},
        {T_CLIENT, TQL_KIND, 3},
        {T_PRODUCER, TQL_KIND, 4},
        {T_CONSUMER, TQL_KIND, 5},
    };
    switch (t->kind) {
    case T_STRING:
        *ret = (struct tql_static){.type = TQL_STRING, .s = t->string};
        return true;
    case T_INTEGER:
        *ret = (struct tql_static){.type = TQL_INT, .i = t->integer};
        return true;
    case T_FLOAT:
        *ret = (struct tql_static){.type = TQL_FLOAT, .f = t->number};
        return true;
    case T_DURATION:
        *ret = (struct tql_static){.type = TQL_DURATION, .i = t->integer};
        return true;
    default:
        break;
    }
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (words[i].kind != t->kind)
            continue;
        *ret = (struct tql_static){.type = words[i].type};
        if (ret->type == TQL_BOOL)
            ret->b = words[i].i != 0;
        else
            ret->i = words[i].i;
        return true;
    }
    return false;
}

enum ec parser_static(struct tql_parser *p, bool *ret_found, struct tql_static *ret)
{
    *ret_found = token_static(&p->tok, ret);
    if (!*ret_found && p->tok.kind == T_IDENTIFIER) {
        bool min = str_eqz(p->tok.text, "minInt");
        if (!min && !str_eqz(p->tok.text, "maxInt"))
            return tql_lex_error(&p->lx, "unknown identifier: " STR_FMT, STR_ARG(p->tok.text));
        *ret = (struct tql_static){.type = TQL_INT, .i = min ? INT64_MIN : INT64_MAX};
        *ret_found = true;
    }
    return *ret_found ? parser_advance(p) : EC_OK;
}

/* ---- field expressions ---- */
static enum ec field_at(struct tql_parser *p, int prec_min, struct tql_expr **ret);

static enum tql_op field_op(enum tql_token_kind kind, int *ret_prec)
{
    static const struct {
        enum tql_token_kind kind;
        enum tql_op op;
        int prec;
    } ops[] = {
        {T_AND, TQL_OP_AND, PREC_LOGIC},
        {T_OR, TQL_OP_OR, PREC_LOGIC},
        {T_EQ, TQL_OP_EQ, PREC_COMPARE},
        {T_NE, TQL_OP_NE, PREC_COMPARE},
        {T_LT, TQL_OP_LT, PREC_COMPARE},
        {T_LE, TQL_OP_LE, PREC_COMPARE},
        {T_GT, TQL_OP_GT, PREC_COMPARE},
        {T_GE, TQL_OP_GE, PREC_COMPARE},
        {T_RE, TQL_OP_RE, PREC_COMPARE},
        {T_NRE, TQL_OP_NRE, PREC_COMPARE},
        {T_ADD, TQL_OP_ADD, PREC_SUM},
        {T_SUB, TQL_OP_SUB, PREC_SUM},
        {T_MUL, TQL_OP_MUL, PREC_PRODUCT},
        {T_DIV, TQL_OP_DIV, PREC_PRODUCT},
        {T_MOD, TQL_OP_MOD, PREC_PRODUCT},
        {T_POW, TQL_OP_POW, PREC_POWER},
    };
    for (size_t i = 0; i < ARRAY_LEN(ops); i++)
        if (ops[i].kind == kind) {
            *ret_prec = ops[i].prec;
            return ops[i].op;
        }
    return TQL_OP_NONE;
}

static enum ec expr_new(struct tql_parser *p, enum tql_expr_kind kind, enum tql_op op,
    struct tql_expr *lhs, struct tql_expr *rhs, struct tql_expr **ret)
{
    struct tql_expr *e;
    uint32_t height;
    TRY(parser_height(p, lhs == NULL ? 0 : lhs->height, rhs == NULL ? 0 : rhs->height, &height));
    TRY(parser_node(p, sizeof(*e), &e));
    e->kind = kind;
    e->op = op;
    e->lhs = lhs;
    e->rhs = rhs;
    e->height = height;
    *ret = e;
    return EC_OK;
}

/* `nil = X`, `nil != X`: p->tok is nil. */
static enum ec field_nil(struct tql_parser *p, struct tql_expr **ret)
{
    struct tql_expr *x;
    TRY(parser_advance(p));
    bool equal = p->tok.kind == T_EQ;
    if (!equal && p->tok.kind != T_NE)
        return parser_unexpected(p, "= !=");
    TRY(parser_advance(p));
    if (p->tok.kind == T_NIL) {
        TRY(expr_new(p, TQL_E_STATIC, TQL_OP_NONE, NULL, NULL, &x)); /* zeroed: nil */
        TRY(parser_advance(p));
    } else {
        TRY(field_at(p, PREC_SUM, &x));
    }
    return expr_new(p, equal ? TQL_E_ABSENT : TQL_E_EXISTS, TQL_OP_NONE, x, NULL, ret);
}

static enum ec field_paren(struct tql_parser *p, struct tql_expr **ret)
{
    TRY(parser_enter(p));
    TRY(parser_advance(p));
    TRY(field_at(p, 0, ret));
    parser_leave(p);
    return parser_expect(p, T_CLOSE_PAREN, NULL);
}

static enum ec field_prefix(struct tql_parser *p, struct tql_expr **ret)
{
    enum tql_token_kind kind = p->tok.kind;
    if (kind == T_SUB || kind == T_NOT) {
        struct tql_expr *operand;
        TRY(parser_enter(p));
        TRY(parser_advance(p));
        TRY(field_at(p, kind == T_SUB ? PREC_NOT : PREC_PRODUCT, &operand));
        parser_leave(p);
        return expr_new(
            p, TQL_E_UNARY, kind == T_SUB ? TQL_OP_SUB : TQL_OP_NOT, operand, NULL, ret);
    }
    if (kind == T_OPEN_PAREN)
        return field_paren(p, ret);
    if (kind == T_NIL)
        return field_nil(p, ret);
    struct tql_expr *e;
    if (parser_at_attr(p)) {
        TRY(expr_new(p, TQL_E_ATTR, TQL_OP_NONE, NULL, NULL, &e));
        TRY(parser_attr(p, &e->attr));
    } else {
        struct tql_static value;
        bool found;
        TRY(parser_static(p, &found, &value));
        if (!found)
            return parser_unexpected(p, NULL);
        TRY(expr_new(p, TQL_E_STATIC, TQL_OP_NONE, NULL, NULL, &e));
        e->value = value;
    }
    *ret = e;
    return EC_OK;
}

/* items[0] op items[1] op ...: left-deep, or balanced when long. */
static enum ec field_join(
    struct tql_parser *p, enum tql_op op, void *const *items, uint32_t n, struct tql_expr **ret)
{
    struct tql_expr *left = items[0], *right;
    if (n > RUN_LEFT_DEEP_MAX) {
        TRY(field_join(p, op, items, n / 2, &left));
        TRY(field_join(p, op, items + n / 2, n - n / 2, &right));
        return expr_new(p, TQL_E_BINARY, op, left, right, ret);
    }
    for (uint32_t i = 1; i < n; i++)
        TRY(expr_new(p, TQL_E_BINARY, op, left, items[i], &left));
    *ret = left;
    return EC_OK;
}

/* A run of && or of ||, as long as the operator stays the same. */
static enum ec field_run(struct tql_parser *p, enum tql_op op, struct tql_expr **left)
{
    struct tql_list items = {0};
    enum tql_token_kind kind = p->tok.kind;
    TRY(parser_push(p, &items, *left));
    while (p->tok.kind == kind) {
        struct tql_expr *right;
        TRY(parser_advance(p));
        TRY(field_at(p, PREC_COMPARE, &right));
        TRY(parser_push(p, &items, right));
    }
    return field_join(p, op, items.p, items.n, left);
}

static enum ec field_power(struct tql_parser *p, struct tql_expr **left)
{
    struct tql_expr *right;
    TRY(parser_enter(p)); /* right-associative: the only operator that recurses into itself */
    TRY(field_at(p, PREC_POWER, &right));
    parser_leave(p);
    return expr_new(p, TQL_E_BINARY, TQL_OP_POW, *left, right, left);
}

/* An expression of operators that bind at least as tight as prec_min. Recursion without a
 * parser_enter is bounded by the number of precedence levels. */
static enum ec field_at(struct tql_parser *p, int prec_min, struct tql_expr **ret)
{
    struct tql_expr *left, *right;
    TRY(field_prefix(p, &left));
    for (;;) {
        int prec = 0;
        enum tql_op op = field_op(p->tok.kind, &prec);
        if (op == TQL_OP_NONE || prec < prec_min)
            break;
        if (prec == PREC_LOGIC) {
            TRY(field_run(p, op, &left));
            continue;
        }
        TRY(parser_advance(p));
        if (op == TQL_OP_POW) {
            TRY(field_power(p, &left));
        } else if (p->tok.kind == T_NIL && (op == TQL_OP_EQ || op == TQL_OP_NE)) {
            TRY(parser_advance(p));
            TRY(expr_new(
                p, op == TQL_OP_EQ ? TQL_E_ABSENT : TQL_E_EXISTS, TQL_OP_NONE, left, NULL, &left));
        } else {
            TRY(field_at(p, prec + 1, &right));
            TRY(expr_new(p, TQL_E_BINARY, op, left, right, &left));
        }
    }
    *ret = left;
    return EC_OK;
}

enum ec parser_field(struct tql_parser *p, struct tql_expr **ret)
{
    return field_at(p, 0, ret);
}

enum ec parser_filter(struct tql_parser *p, struct tql_expr **ret)
{
    struct tql_expr *e;
    TRY(parser_expect(p, T_OPEN_BRACE, "{"));
    if (p->tok.kind == T_CLOSE_BRACE) {
        TRY(expr_new(p, TQL_E_STATIC, TQL_OP_NONE, NULL, NULL, &e));
        e->value = (struct tql_static){.type = TQL_BOOL, .b = true};
    } else {
        TRY(parser_field(p, &e));
    }
    TRY(parser_expect(p, T_CLOSE_BRACE, NULL));
    *ret = e;
    return EC_OK;
}
