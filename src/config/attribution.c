/* SPDX-License-Identifier: Apache-2.0
 * cost_attribution.dimensions: attributes to labels, with Tempo's checks. */
#include <string.h>

#include "doc.h"

#define DIMENSIONS_MAX 64 /* labels of one series */

/* Prometheus's full label name: letters, digits past the first place, '_'. */
static struct str label_name(struct arena *arena, struct str from)
{
    char *p = arena_alloc(arena, from.n + 1);
    if (p == NULL)
        return (struct str){0};
    for (size_t i = 0; i < from.n; i++) {
        char ch = from.p[i];
        bool letter = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || ch == '_';
        p[i] = letter || (i > 0 && ch >= '0' && ch <= '9') ? ch : '_';
    }
    if (from.n == 0)
        *p = '_';
    return str_n(p, MAX(from.n, (size_t)1));
}

static enum config_dimension_scope cut_scope(struct str *attribute)
{
    static const struct {
        struct str prefix;
        enum config_dimension_scope scope;
    } scopes[] = {{STR("resource."), DIMENSION_RESOURCE}, {STR("span."), DIMENSION_SPAN}};
    for (size_t i = 0; i < ARRAY_LEN(scopes); i++)
        if (str_starts(*attribute, scopes[i].prefix)) {
            *attribute =
                str_n(attribute->p + scopes[i].prefix.n, attribute->n - scopes[i].prefix.n);
            return scopes[i].scope;
        }
    return DIMENSION_ANY;
}

#define SHOWN(s) (int)MIN((s).n, (size_t)100), (s).p

enum ec resolve_dimensions(
    struct arena *arena, const struct node *n, struct config_limits *l, struct err *err)
{
    if (node_is_null(n) || n->kind != NODE_MAP) {
        l->dimensions = NULL;
        l->n_dimensions = 0;
        return EC_OK;
    }
    if (n->n > DIMENSIONS_MAX)
        return ERR(
            err, EC_LIMIT, "cost_attribution.dimensions has over %d entries", DIMENSIONS_MAX);
    struct config_dimension *list = ARENA_ARRAY(arena, n->n, struct config_dimension);
    if (list == NULL)
        return ERR(err, EC_LIMIT, "overrides over their memory budget");
    for (uint32_t i = 0; i < n->n; i++) {
        struct str attribute = n->pairs[i].key;
        struct str label = node_is_null(n->pairs[i].value) ? STR("") : n->pairs[i].value->s;
        list[i].scope = cut_scope(&attribute);
        list[i].attribute = arena_str(arena, attribute);
        list[i].label = label_name(arena, label.n != 0 ? label : attribute);
        if (list[i].label.p == NULL || (attribute.n != 0 && list[i].attribute.p == NULL))
            return ERR(err, EC_LIMIT, "overrides over their memory budget");
        for (uint32_t k = 0; k < i; k++)
            if (str_eq(list[k].label, list[i].label))
                return ERR(err, EC_INVALID,
                    "cost_attribution.dimensions has duplicate label name: '%.*s', both '%.*s' and "
                    "'%.*s' map to it",
                    SHOWN(list[i].label), SHOWN(n->pairs[k].key), SHOWN(n->pairs[i].key));
        if (str_starts(list[i].label, STR("__")) || str_eqz(list[i].label, "tenant") ||
            str_eqz(list[i].label, "tracker"))
            return ERR(err, EC_INVALID,
                "cost_attribution.dimensions config has invalid label name: '%.*s'",
                SHOWN(list[i].label));
    }
    l->dimensions = list;
    l->n_dimensions = n->n;
    return EC_OK;
}
