/* SPDX-License-Identifier: Apache-2.0
 * What a restricted caller may see: of spans whose resource is in one of his namespaces everything,
 * of others their place in the trace and nothing that an application wrote into them. Applied to
 * results before they are serialised, so JSON, protobuf and the form for language models cannot
 * differ.
 *
 * INVARIANT: fails closed. A namespace that is absent, no text, or given twice with one foreign
 * value is foreign; what is not known to be harmless is hidden. */
#include "caller.h"

#include <stdlib.h>

#define NAMESPACE "k8s.namespace.name"

static const struct str service_name = {"service.name", 12};

static int cmp_str(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

static bool sees(const struct api_caller *c, const struct value *v)
{
    return v->type == VALUE_STR &&
           (c->n_namespaces != 0 && bsearch(&v->s, c->namespaces, c->n_namespaces,
                                        sizeof(*c->namespaces), cmp_str) != NULL);
}

/* ---- traces ---- */

enum visibility { VISIBLE, FOREIGN, UNKNOWN };

static enum visibility resource_visibility(
    const struct api_caller *c, const struct read_resource *r)
{
    enum visibility v = UNKNOWN;
    for (uint32_t i = 0; i < r->n_attrs; i++)
        if (str_eq(r->attrs[i].key, STR(NAMESPACE))) {
            if (!sees(c, &r->attrs[i].value))
                return FOREIGN;
            v = VISIBLE;
        }
    return v;
}

static bool keep_text(
    const struct read_resource *r, struct str key, struct attr *attrs, uint32_t *n)
{
    for (uint32_t i = 0; i < r->n_attrs; i++)
        if (str_eq(r->attrs[i].key, key) && r->attrs[i].value.type == VALUE_STR) {
            attrs[(*n)++] = r->attrs[i];
            return true;
        }
    return false;
}

/* The resource's own name, and its namespace's. NULL: over the budget. */
static const struct read_resource *resource_hidden(
    const struct read_resource *r, enum visibility v, bool show_emptied, struct arena *a)
{
    struct read_resource *out = ARENA_NEW(a, struct read_resource);
    struct attr *attrs = ARENA_ARRAY(a, 2, struct attr);
    if (out == NULL || attrs == NULL)
        return NULL;
    if (v == FOREIGN)
        (void)keep_text(r, STR(NAMESPACE), attrs, &out->n_attrs);
    (void)keep_text(r, service_name, attrs, &out->n_attrs);
    out->attrs = out->n_attrs == 0 && show_emptied ? attrs_emptied : attrs;
    return out;
}

static const struct read_scope *scope_hidden(
    const struct read_scope *s, bool show_emptied, struct arena *a)
{
    struct read_scope *out = ARENA_NEW(a, struct read_scope);
    if (out != NULL)
        *out = (struct read_scope){
            .name = s->name, .version = s->version, .attrs = show_emptied ? attrs_emptied : NULL};
    return out;
}

static bool span_hide(struct read_span *s, bool show_emptied, struct arena *a)
{
    struct read_link *links = ARENA_ARRAY(a, s->n_links, struct read_link);
    if (links == NULL)
        return false;
    for (uint32_t i = 0; i < s->n_links; i++)
        links[i] = (struct read_link){.trace_id = s->links[i].trace_id,
            .span_id = s->links[i].span_id,
            .flags = s->links[i].flags};
    s->links = links;
    s->attrs = show_emptied ? attrs_emptied : NULL;
    s->events = show_emptied ? events_emptied : NULL;
    s->n_attrs = s->n_events = 0;
    s->dropped_attrs = s->dropped_events = s->dropped_links = 0;
    s->trace_state = s->status_message = str_n(NULL, 0);
    return true;
}

enum ec caller_hide_trace(const struct api_caller *c, struct trace_result *t,
    const struct trace_groups *g, bool show_emptied, struct arena *a, struct err *err)
{
    uint32_t at = 0, scope = 0;
    if (c == NULL || !c->restricted)
        return EC_OK;
    for (uint32_t r = 0; r < g->n_resources; r++) {
        const struct read_resource *resource = t->spans[g->order[at]].resource;
        enum visibility v = resource_visibility(c, resource);
        if (v == VISIBLE) {
            scope = g->resource_end[r];
            at = g->scope_end[scope - 1];
            continue;
        }
        const struct read_resource *hidden = resource_hidden(resource, v, show_emptied, a);
        for (; scope < g->resource_end[r]; scope++) {
            const struct read_scope *shown =
                scope_hidden(t->spans[g->order[at]].scope, show_emptied, a);
            for (; at < g->scope_end[scope]; at++) {
                struct result_trace_span *s = &t->spans[g->order[at]];
                s->resource = hidden;
                s->scope = shown;
                if (hidden == NULL || shown == NULL || !span_hide(&s->span, show_emptied, a))
                    return ERR(err, EC_LIMIT, "trace is over the query's memory budget");
            }
        }
    }
    return EC_OK;
}

/* ---- search ---- */

const struct result_attr result_attrs_emptied[1];

enum ec caller_check_query(const struct api_caller *c, const struct tql_query *q, struct err *err)
{
    if (c == NULL || !c->restricted)
        return EC_OK;
    for (uint32_t i = 0; i < q->n_attrs; i++)
        if (q->attrs[i]->parent)
            return ERR(err, EC_INVALID,
                "attributes of the parent span cannot be asked for: it may be in a namespace that you may not see");
    return EC_OK;
}

/* A query may list a span attribute of the same name beside the resource's: all must be visible. */
static enum visibility span_visibility(const struct api_caller *c, const struct result_span *s)
{
    enum visibility v = UNKNOWN;
    for (uint32_t i = 0; i < s->n_attrs; i++)
        if (str_eq(s->attrs[i].key, STR(NAMESPACE))) {
            if (!sees(c, &s->attrs[i].value))
                return FOREIGN;
            v = VISIBLE;
        }
    return v;
}

static uint32_t keep_namespace(const struct result_span *s, struct result_attr *out)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n_attrs; i++)
        if (str_eq(s->attrs[i].key, STR(NAMESPACE))) {
            *out = s->attrs[i];
            n++;
        }
    return n == 1 && out->value.type == VALUE_STR ? 1 : 0; /* two: which is the resource's? */
}

static bool set_hide(const struct api_caller *c, struct result_spanset *set, struct arena *a)
{
    struct result_span *spans = ARENA_ARRAY(a, set->n_spans, struct result_span);
    bool all = set->matched == set->n_spans;
    if (spans == NULL)
        return false;
    for (uint32_t i = 0; i < set->n_spans; i++) {
        spans[i] = set->spans[i];
        if (span_visibility(c, &spans[i]) == VISIBLE)
            continue;
        struct result_attr *kept = ARENA_NEW(a, struct result_attr);
        if (kept == NULL)
            return false;
        all = false;
        spans[i].n_attrs = keep_namespace(&set->spans[i], kept);
        spans[i].attrs = spans[i].n_attrs == 0 ? result_attrs_emptied : kept;
    }
    set->spans = spans;
    if (!all) { /* by() and aggregates speak of every span of the set */
        set->attrs = NULL;
        set->n_attrs = 0;
    }
    return true;
}

enum ec caller_hide_search(
    const struct api_caller *c, struct search_result *r, struct arena *a, struct err *err)
{
    if (c == NULL || !c->restricted)
        return EC_OK;
    for (size_t i = 0; i < r->n; i++) {
        struct result_trace *t = &r->traces[i];
        struct result_spanset *sets = ARENA_ARRAY(a, t->n_sets, struct result_spanset);
        bool ok = sets != NULL;
        for (uint32_t k = 0; ok && k < t->n_sets; k++) {
            sets[k] = t->sets[k];
            ok = set_hide(c, &sets[k], a);
        }
        if (!ok)
            return ERR(err, EC_LIMIT, "search result is over the query's memory budget");
        t->sets = sets;
    }
    return EC_OK;
}

enum ec caller_query_text(
    const struct api_caller *c, struct str q, struct arena *a, struct str *ret, struct err *err)
{
    if (c == NULL || !c->restricted) {
        *ret = q;
        return EC_OK;
    }
    char *text = arena_printf(a, "%.*s | select(resource." NAMESPACE ")", STR_ARG(q));
    if (text == NULL)
        return ERR(err, EC_LIMIT, "query is over its memory budget");
    *ret = str_from(text);
    return EC_OK;
}
