/* SPDX-License-Identifier: Apache-2.0
 * Names of operators, functions, intrinsics and values; canonical attribute texts. */
#include "lex.h"

const char *tql_status_text(int64_t status)
{
    return status == 1 ? "ok" : status == 2 ? "error" : "unset";
}

const char *tql_kind_text(int64_t kind)
{
    static const char *const texts[] = {
        "unspecified", "internal", "server", "client", "producer", "consumer"};
    return kind > 0 && kind < (int64_t)ARRAY_LEN(texts) ? texts[kind] : texts[0];
}

enum tql_type tql_intrinsic_type(enum tql_intrinsic i)
{
    static const enum tql_type types[TQL_I_COUNT] = {[TQL_I_NONE] = TQL_DYNAMIC,
#define X(name, text, type) [name] = type,
        TQL_INTRINSIC_TABLE(X)
#undef X
    };
    ASSERT(i < TQL_I_COUNT);
    return types[i];
}

struct str tql_intrinsic_text(enum tql_intrinsic i)
{
    static const char *const texts[TQL_I_COUNT] = {[TQL_I_NONE] = "",
#define X(name, text, type) [name] = text,
        TQL_INTRINSIC_TABLE(X)
#undef X
    };
    ASSERT(i < TQL_I_COUNT);
    return str_from(texts[i]);
}

const char *tql_op_text(enum tql_op op)
{
    static const char *const texts[TQL_OP_COUNT] = {
        [TQL_OP_NONE] = "",
        [TQL_OP_ADD] = "+",
        [TQL_OP_SUB] = "-",
        [TQL_OP_MUL] = "*",
        [TQL_OP_DIV] = "/",
        [TQL_OP_MOD] = "%",
        [TQL_OP_POW] = "^",
        [TQL_OP_EQ] = "=",
        [TQL_OP_NE] = "!=",
        [TQL_OP_LT] = "<",
        [TQL_OP_LE] = "<=",
        [TQL_OP_GT] = ">",
        [TQL_OP_GE] = ">=",
        [TQL_OP_RE] = "=~",
        [TQL_OP_NRE] = "!~",
        [TQL_OP_AND] = "&&",
        [TQL_OP_OR] = "||",
        [TQL_OP_NOT] = "!",
        [TQL_OP_CHILD] = ">",
        [TQL_OP_DESCENDANT] = ">>",
        [TQL_OP_PARENT] = "<",
        [TQL_OP_ANCESTOR] = "<<",
        [TQL_OP_SIBLING] = "~",
        [TQL_OP_NOT_CHILD] = "!>",
        [TQL_OP_NOT_DESCENDANT] = "!>>",
        [TQL_OP_NOT_PARENT] = "!<",
        [TQL_OP_NOT_ANCESTOR] = "!<<",
        [TQL_OP_NOT_SIBLING] = "!~",
        [TQL_OP_UNION_CHILD] = "&>",
        [TQL_OP_UNION_DESCENDANT] = "&>>",
        [TQL_OP_UNION_PARENT] = "&<",
        [TQL_OP_UNION_ANCESTOR] = "&<<",
        [TQL_OP_UNION_SIBLING] = "&~",
    };
    ASSERT(op < TQL_OP_COUNT);
    return texts[op];
}

const char *tql_agg_text(enum tql_agg agg)
{
    static const char *const texts[] = {"count", "min", "max", "avg", "sum"};
    ASSERT(agg < ARRAY_LEN(texts));
    return texts[agg];
}

const char *tql_metric_text(enum tql_metric_fn fn)
{
    static const char *const texts[TQL_M_COUNT] = {
#define X(name, text) [name] = text,
        TQL_METRIC_TABLE(X)
#undef X
    };
    ASSERT(fn < TQL_M_COUNT);
    return texts[fn];
}

const char *tql_type_name(enum tql_type t)
{
    static const char *const texts[] = {
        [TQL_NIL] = "TypeNil",
        [TQL_INT] = "TypeInt",
        [TQL_FLOAT] = "TypeFloat",
        [TQL_STRING] = "TypeString",
        [TQL_BOOL] = "TypeBoolean",
        [TQL_DURATION] = "TypeDuration",
        [TQL_STATUS] = "TypeStatus",
        [TQL_KIND] = "TypeKind",
        [TQL_DYNAMIC] = "TypeAttribute",
    };
    ASSERT(t < ARRAY_LEN(texts));
    return texts[t];
}

/* ---- attribute texts ---- */
static bool name_needs_quotes(const struct tql_attr *attr)
{
    struct str name = attr->name;
    if (name.n == 0)
        return true;
    if (attr->scope == TQL_SCOPE_NONE && !attr->parent && name.p[0] >= '0' && name.p[0] <= '9')
        return true; /* .5 is a number */
    if (attr->parent && attr->scope == TQL_SCOPE_NONE &&
        (str_starts(name, STR("span.")) || str_starts(name, STR("resource."))))
        return true;
    uint32_t r;
    for (size_t i = 0, n; (n = tql_rune(name, i, &r)) != 0; i += n)
        if (r == '"' || tql_name_end(r))
            return true;
    return false;
}

static const char *scope_text(const struct tql_attr *attr)
{
    static const char *const texts[] = {
        [TQL_SCOPE_NONE] = ".",
        [TQL_SCOPE_SPAN] = "span.",
        [TQL_SCOPE_RESOURCE] = "resource.",
        [TQL_SCOPE_EVENT] = "event.",
        [TQL_SCOPE_LINK] = "link.",
        [TQL_SCOPE_INSTRUMENTATION] = "instrumentation.",
    };
    return attr->parent && attr->scope == TQL_SCOPE_NONE ? "" : texts[attr->scope];
}

bool tql_attr_text(struct tql_attr *attr, struct arena *arena)
{
    const char *parent = attr->parent ? "parent." : "", *scope = scope_text(attr);
    size_t prefix = strlen(parent) + strlen(scope);
    char *p = arena_alloc(arena, prefix + 2 * attr->name.n + 2);
    if (p == NULL)
        return false;
    size_t n = 0;
    for (const char *c = parent; *c != 0; c++)
        p[n++] = *c;
    for (const char *c = scope; *c != 0; c++)
        p[n++] = *c;
    if (!name_needs_quotes(attr)) {
        memcpy(p + n, attr->name.p, attr->name.n);
        attr->text = str_n(p, n + attr->name.n);
        return true;
    }
    p[n++] = '"';
    for (size_t i = 0; i < attr->name.n; i++) {
        if (attr->name.p[i] == '"' || attr->name.p[i] == '\\')
            p[n++] = '\\';
        p[n++] = attr->name.p[i];
    }
    p[n++] = '"';
    attr->text = str_n(p, n);
    return true;
}
