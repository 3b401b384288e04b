/* SPDX-License-Identifier: Apache-2.0
 * YAML text to struct node, by recursive descent over libyaml's events.
 *
 * INVARIANT: depth <= NODE_DEPTH_MAX and weight <= NODE_WEIGHT_MAX hold for every node that is
 * handed out, so nobody who walks the tree needs a limit of his own.
 */
#include "node.h"

#include <string.h>
#include <yaml.h>

#include "base/buf.h"

struct anchor {
    struct str name;
    struct node *node; /* NULL while the node is being built */
};

struct node_parser {
    yaml_parser_t yaml;
    yaml_event_t event;
    bool has_event;
    struct arena *arena;
    VEC(struct anchor) anchors;
    uint32_t weight; /* of all that was built */
    struct err *err;
};

static enum ec parse_node(struct node_parser *p, unsigned depth, struct node **ret);

static uint32_t event_line(const struct node_parser *p)
{
    return (uint32_t)p->event.start_mark.line + 1;
}

/* Fetches the next event into p->event. */
static enum ec next_event(struct node_parser *p)
{
    if (p->has_event)
        yaml_event_delete(&p->event);
    p->has_event = false;
    if (!yaml_parser_parse(&p->yaml, &p->event)) {
        size_t line =
            p->yaml.problem_mark.line != 0 ? p->yaml.problem_mark.line : p->yaml.context_mark.line;
        const char *what = p->yaml.problem != NULL ? p->yaml.problem : "unknown problem";
        return ERR(p->err, EC_INVALID, "line %zu: %s", line + 1, what);
    }
    p->has_event = true;
    return EC_OK;
}

static enum ec count(struct node_parser *p, uint32_t weight, uint32_t line)
{
    if (weight > NODE_WEIGHT_MAX || p->weight + weight > NODE_WEIGHT_MAX)
        return ERR(p->err, EC_LIMIT,
            "line %u: document contains excessive aliasing or over %d nodes", line,
            NODE_WEIGHT_MAX);
    p->weight += weight;
    return EC_OK;
}

static enum ec new_node(struct node_parser *p, enum node_kind kind, struct node **ret)
{
    TRY(count(p, 1, event_line(p)));
    struct node *n = ARENA_NEW(p->arena, struct node);
    if (n == NULL)
        return ERR(p->err, EC_LIMIT, "line %u: document over its memory budget", event_line(p));
    n->kind = kind;
    n->line = event_line(p);
    n->weight = 1;
    *ret = n;
    return EC_OK;
}

/* Registers "&name" before the node is complete: an alias inside it is then found to be a loop. */
static enum ec anchor_open(struct node_parser *p, const yaml_char_t *name, size_t *ret_index)
{
    *ret_index = SIZE_MAX;
    if (name == NULL)
        return EC_OK;
    struct str copy = arena_str(p->arena, str_from((const char *)name));
    if (copy.p == NULL)
        return ERR(p->err, EC_LIMIT, "line %u: document over its memory budget", event_line(p));
    *ret_index = p->anchors.n;
    VEC_PUSH(&p->anchors, ((struct anchor){.name = copy}));
    return EC_OK;
}

static void anchor_close(struct node_parser *p, size_t index, struct node *n)
{
    if (index != SIZE_MAX)
        p->anchors.p[index].node = n;
}

static enum ec parse_alias(struct node_parser *p, struct node **ret)
{
    const char *name = (const char *)p->event.data.alias.anchor;
    for (size_t i = p->anchors.n; i-- > 0;) {
        const struct anchor *a = &p->anchors.p[i];
        if (!str_eqz(a->name, name))
            continue;
        if (a->node == NULL)
            return ERR(p->err, EC_INVALID, "line %u: anchor '%s' value contains itself",
                event_line(p), name);
        TRY(count(p, a->node->weight, event_line(p)));
        *ret = a->node;
        return EC_OK;
    }
    return ERR(p->err, EC_INVALID, "line %u: unknown anchor '%s' referenced", event_line(p), name);
}

static enum ec parse_scalar(struct node_parser *p, struct node **ret)
{
    struct node *n;
    size_t anchor;
    TRY(new_node(p, NODE_SCALAR, &n));
    TRY(anchor_open(p, p->event.data.scalar.anchor, &anchor));
    const char *tag = (const char *)p->event.data.scalar.tag;
    n->plain = p->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (tag != NULL && strcmp(tag, YAML_STR_TAG) == 0)
        n->plain = false;
    n->s = arena_str(
        p->arena, str_n((const char *)p->event.data.scalar.value, p->event.data.scalar.length));
    if (n->s.p == NULL)
        return ERR(p->err, EC_LIMIT, "line %u: document over its memory budget", event_line(p));
    anchor_close(p, anchor, n);
    *ret = n;
    return EC_OK;
}

static enum ec parse_seq(struct node_parser *p, unsigned depth, struct node **ret)
{
    struct node *n;
    size_t anchor;
    VEC(struct node *) items = {0};
    enum ec ec = EC_OK;

    TRY(new_node(p, NODE_SEQ, &n));
    TRY(anchor_open(p, p->event.data.sequence_start.anchor, &anchor));
    for (;;) {
        ec = next_event(p);
        if (ec != EC_OK || p->event.type == YAML_SEQUENCE_END_EVENT)
            break;
        struct node *item;
        ec = parse_node(p, depth + 1, &item);
        if (ec != EC_OK)
            break;
        VEC_PUSH(&items, item);
        n->weight += item->weight;
    }
    if (ec == EC_OK) {
        n->items = ARENA_ARRAY(p->arena, items.n, struct node *);
        if (n->items == NULL)
            ec = ERR(p->err, EC_LIMIT, "document over its memory budget");
        else if (items.n > 0)
            memcpy(n->items, items.p, items.n * sizeof(*items.p));
    }
    n->n = (uint32_t)items.n;
    VEC_FREE(&items);
    TRY(ec);
    anchor_close(p, anchor, n);
    *ret = n;
    return EC_OK;
}

struct pair_list {
    struct node_pair *p;
    size_t n, cap;
};

static bool has_key(const struct pair_list *l, struct str key)
{
    for (size_t i = 0; i < l->n; i++)
        if (str_eq(l->p[i].key, key))
            return true;
    return false;
}

/* Adds the pairs of a `<<` source that the map does not have itself. */
static enum ec merge_map(
    struct node_parser *p, struct pair_list *into, const struct node *from, uint32_t line)
{
    if (from->kind == NODE_SEQ) {
        for (uint32_t i = 0; i < from->n; i++) {
            if (from->items[i]->kind != NODE_MAP)
                return ERR(p->err, EC_INVALID,
                    "line %u: map merge requires map or sequence of maps as the value", line);
            TRY(merge_map(p, into, from->items[i], line));
        }
        return EC_OK;
    }
    if (from->kind != NODE_MAP)
        return ERR(p->err, EC_INVALID,
            "line %u: map merge requires map or sequence of maps as the value", line);
    for (uint32_t i = 0; i < from->n; i++) {
        struct node_pair pair = from->pairs[i];
        if (has_key(into, pair.key))
            continue;
        TRY(count(p, 1 + pair.value->weight, line));
        pair.merged = true;
        VEC_PUSH(into, pair);
    }
    return EC_OK;
}

static enum ec parse_pairs(
    struct node_parser *p, unsigned depth, struct pair_list *pairs, struct pair_list *merges)
{
    for (;;) {
        TRY(next_event(p));
        if (p->event.type == YAML_MAPPING_END_EVENT)
            return EC_OK;
        struct node_pair pair = {.line = event_line(p)};
        struct node *key;
        TRY(parse_node(p, depth + 1, &key));
        if (key->kind != NODE_SCALAR)
            return ERR(p->err, EC_INVALID, "line %u: invalid map key", pair.line);
        TRY(next_event(p));
        TRY(parse_node(p, depth + 1, &pair.value));
        pair.key = key->s;
        if (key->plain && str_eqz(key->s, "<<"))
            VEC_PUSH(merges, pair);
        else
            VEC_PUSH(pairs, pair);
    }
}

static enum ec parse_map(struct node_parser *p, unsigned depth, struct node **ret)
{
    struct node *n;
    size_t anchor;
    struct pair_list pairs = {0}, merges = {0};

    TRY(new_node(p, NODE_MAP, &n));
    TRY(anchor_open(p, p->event.data.mapping_start.anchor, &anchor));
    enum ec ec = parse_pairs(p, depth, &pairs, &merges);
    for (size_t i = 0; ec == EC_OK && i < merges.n; i++)
        ec = merge_map(p, &pairs, merges.p[i].value, merges.p[i].line);
    if (ec == EC_OK) {
        n->pairs = ARENA_ARRAY(p->arena, pairs.n, struct node_pair);
        if (n->pairs == NULL)
            ec = ERR(p->err, EC_LIMIT, "document over its memory budget");
        else if (pairs.n > 0)
            memcpy(n->pairs, pairs.p, pairs.n * sizeof(*pairs.p));
    }
    n->n = (uint32_t)pairs.n;
    for (size_t i = 0; i < pairs.n; i++)
        n->weight += 1 + pairs.p[i].value->weight;
    VEC_FREE(&pairs);
    VEC_FREE(&merges);
    TRY(ec);
    anchor_close(p, anchor, n);
    *ret = n;
    return EC_OK;
}

/* The current event starts a node. */
static enum ec parse_node(struct node_parser *p, unsigned depth, struct node **ret)
{
    if (depth > NODE_DEPTH_MAX)
        return ERR(
            p->err, EC_LIMIT, "line %u: exceeded max depth of %d", event_line(p), NODE_DEPTH_MAX);
    switch (p->event.type) {
    case YAML_ALIAS_EVENT:
        return parse_alias(p, ret);
    case YAML_SCALAR_EVENT:
        return parse_scalar(p, ret);
    case YAML_SEQUENCE_START_EVENT:
        return parse_seq(p, depth, ret);
    case YAML_MAPPING_START_EVENT:
        return parse_map(p, depth, ret);
    default:
        return ERR(p->err, EC_INVALID, "line %u: unexpected end of the document", event_line(p));
    }
}

static enum ec parse_document(struct node_parser *p, struct node **ret)
{
    *ret = NULL;
    TRY(next_event(p)); /* stream start */
    TRY(next_event(p));
    if (p->event.type == YAML_STREAM_END_EVENT)
        return EC_OK;
    TRY(next_event(p)); /* past the document start */
    return parse_node(p, 1, ret);
}

enum ec node_parse(struct str text, struct arena *arena, struct node **ret, struct err *err)
{
    struct node_parser p = {.arena = arena, .err = err};
    struct node *root = NULL;

    if (!yaml_parser_initialize(&p.yaml))
        return ERR(err, EC_LIMIT, "no memory for the YAML parser");
    yaml_parser_set_encoding(&p.yaml, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(
        &p.yaml, (const unsigned char *)(text.n > 0 ? text.p : ""), text.n);
    enum ec ec = parse_document(&p, &root);
    if (p.has_event)
        yaml_event_delete(&p.event);
    yaml_parser_delete(&p.yaml);
    VEC_FREE(&p.anchors);
    TRY(ec);
    *ret = root;
    return EC_OK;
}

struct node *node_scalar(struct arena *arena, struct str s)
{
    struct node *n = ARENA_NEW(arena, struct node);
    ASSERT(n != NULL); /* the configuration's arena has no budget; s is ours or from argv */
    *n = (struct node){.kind = NODE_SCALAR, .plain = true, .weight = 1, .s = s};
    return n;
}

struct node *node_get(const struct node *n, struct str key)
{
    if (n == NULL || n->kind != NODE_MAP)
        return NULL;
    for (uint32_t i = 0; i < n->n; i++)
        if (str_eq(n->pairs[i].key, key))
            return n->pairs[i].value;
    return NULL;
}

struct node *node_at(const struct node *n, const char *path)
{
    struct str rest = str_from(path);
    const struct node *at = n;
    while (rest.n > 0 && at != NULL)
        at = node_get(at, str_cut(rest, '.', &rest));
    return (struct node *)(uintptr_t)at;
}

bool node_is_null(const struct node *n)
{
    return n == NULL || (n->kind == NODE_SCALAR && n->plain &&
                            (n->s.n == 0 || str_eqz(n->s, "~") || str_eqz(n->s, "null") ||
                                str_eqz(n->s, "Null") || str_eqz(n->s, "NULL")));
}
