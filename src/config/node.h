/* SPDX-License-Identifier: Apache-2.0
 * A YAML document as a tree that remembers lines.
 *
 * Built from libyaml's events. Aliases share the node that they name, so the tree is a DAG without
 * cycles; `weight` counts nodes as if every alias were written out, and is capped, so that walking
 * the tree is bounded. `<<` merges are done here: merged pairs follow the map's own.
 * Memory belongs to the arena given to node_parse. One thread.
 */
#pragma once

#include "base/arena.h"
#include "base/err.h"

#define NODE_DEPTH_MAX  64
#define NODE_WEIGHT_MAX 250000

enum node_kind { NODE_SCALAR, NODE_SEQ, NODE_MAP };

struct node_pair {
    struct str key;
    uint32_t line;
    bool merged; /* came by <<: not a duplicate of anything */
    struct node *value;
};

struct node {
    enum node_kind kind;
    bool plain; /* scalar without quotes: subject to YAML 1.1 typing */
    uint32_t line;
    uint32_t weight;
    uint32_t n;              /* pairs or items */
    struct str s;            /* NODE_SCALAR */
    struct node_pair *pairs; /* NODE_MAP */
    struct node **items;     /* NODE_SEQ */
};

/* First document of the text; *ret is NULL when there is none. EC_INVALID: "line <n>: <cause>". */
enum ec node_parse(struct str text, struct arena *arena, struct node **ret, struct err *err)
    MUST_USE;
struct node *node_scalar(struct arena *arena, struct str s); /* plain, line 0 */
/* The value of a map's own or merged key; NULL when absent, or when n is no map. */
struct node *node_get(const struct node *n, struct str key);
/* Follows "a.b.c" through maps. */
struct node *node_at(const struct node *n, const char *path);
/* Absent, or a plain null. */
bool node_is_null(const struct node *n);
