/* SPDX-License-Identifier: Apache-2.0
 * The tree, its patterns, and which of them go; see drain.h.
 *
 * Nodes are found in one hash table by their parent and their token, so a node with one child costs
 * no table of its own. A node goes with the last pattern behind it. */
#include "drain.h"

#include <stdlib.h>

#include "base/hash.h"

#define PATH_MAX_TOKENS 27 /* tokens that choose a branch; Tempo's depth of 30, less its levels */
#define WILD            "<_>"
#define WILD_N          3
#define BUCKETS_MIN     64
#define RECENT          256
#define RECENT_NAME     120

struct pattern;

struct node {
    struct node *parent; /* NULL: the root */
    struct node *wild;   /* the child for any token; the others are in the table */
    struct node *next;   /* of its bucket */
    struct pattern *patterns;
    uint64_t hash;
    uint32_t n_children, n_patterns;
    uint16_t n; /* bytes of the token; 0: any token */
    char token[];
};

struct pattern {
    struct pattern *newer, *older; /* by use */
    struct pattern *next;          /* of the leaf, oldest first */
    struct node *leaf;
    int64_t used_ms;
    uint64_t wild[(DRAIN_TOKENS_MAX + 63) / 64]; /* tokens that are any token */
    uint32_t bytes;                              /* charged */
    uint16_t n, n_wild, text_n, joined_n;
    uint16_t end[]; /* n of them; then the text, then the text with the wild tokens in place */
};

/* Names of late and what came of them, as long as nothing has changed since. */
struct recent {
    uint64_t generation; /* of the tree; 0: empty */
    struct pattern *pattern;
    uint32_t tokens;
    uint16_t n;
    char name[RECENT_NAME];
};

struct drain {
    struct budget budget;
    uint64_t bytes_max;
    struct node *root;
    struct node **buckets;
    uint32_t n_buckets, n_nodes, n_patterns;
    struct pattern *newest, *oldest;
    uint64_t generation;
    uint64_t events[DRAIN_EVENTS];
    struct recent recent[RECENT];
};

/* ---- patterns ---- */

static bool is_wild(const struct pattern *p, uint32_t i)
{
    return p->wild[i / 64] >> (i % 64) & 1;
}

static char *text_of(const struct pattern *p)
{
    return (char *)(uintptr_t)(p->end + p->n);
}

static struct str token_of(const char *text, const uint16_t *end, uint32_t i)
{
    uint16_t at = i == 0 ? 0 : end[i - 1];
    return str_n(text + at, (size_t)(end[i] - at));
}

static void join(struct pattern *p)
{
    const char *text = text_of(p);
    char *out = text_of(p) + p->text_n, *start = out;
    for (uint32_t i = 0; i < p->n; i++) {
        struct str t = is_wild(p, i) ? str_n(WILD, WILD_N) : token_of(text, p->end, i);
        memcpy(out, t.p, t.n);
        out += t.n;
    }
    p->joined_n = (uint16_t)(out - start);
}

static size_t pattern_bytes(struct str name, uint32_t n)
{
    return sizeof(struct pattern) + n * sizeof(uint16_t) + 2 * name.n + (size_t)n * WILD_N;
}

/* How many tokens are the same; wild ones are not. */
static uint32_t same_tokens(const struct pattern *p, const char *name, const struct drain_tokens *t)
{
    uint32_t same = 0;
    for (uint32_t i = 0; i < p->n; i++)
        same +=
            !is_wild(p, i) && str_eq(token_of(text_of(p), p->end, i), token_of(name, t->end, i));
    return same;
}

/* True: the pattern became wider. */
static bool widen(struct pattern *p, const char *name, const struct drain_tokens *t)
{
    bool changed = false;
    for (uint32_t i = 0; i < p->n; i++) {
        if (is_wild(p, i) || str_eq(token_of(text_of(p), p->end, i), token_of(name, t->end, i)))
            continue;
        p->wild[i / 64] |= 1ULL << (i % 64);
        p->n_wild++;
        changed = true;
    }
    if (changed)
        join(p);
    return changed;
}

static void use(struct drain *d, struct pattern *p, int64_t now_ms)
{
    p->used_ms = now_ms;
    if (d->newest == p)
        return;
    if (p->newer != NULL) { /* linked: it is not the newest, so there is a newer one */
        p->newer->older = p->older;
        if (p->older != NULL)
            p->older->newer = p->newer;
        else
            d->oldest = p->newer;
    }
    p->newer = NULL;
    p->older = d->newest;
    if (d->newest != NULL)
        d->newest->newer = p;
    else
        d->oldest = p;
    d->newest = p;
}

/* ---- nodes ---- */

static uint64_t node_hash(const struct node *parent, struct str token)
{
    return hash64_seed(token.p, token.n, (uint64_t)(uintptr_t)parent);
}

static struct node *child_of(const struct drain *d, const struct node *parent, struct str token)
{
    if (token.n == 0)
        return parent->wild;
    uint64_t h = node_hash(parent, token);
    struct node *x = d->buckets[h & (d->n_buckets - 1)];
    while (
        x != NULL && !(x->hash == h && x->parent == parent && str_eq(str_n(x->token, x->n), token)))
        x = x->next;
    return x;
}

static void grow(struct drain *d)
{
    uint32_t n = d->n_buckets * 2;
    if (d->n_nodes < d->n_buckets || !budget_take(&d->budget, n * sizeof(*d->buckets)))
        return;
    struct node **buckets = xcalloc(n, sizeof(*buckets));
    for (uint32_t i = 0; i < d->n_buckets; i++)
        while (d->buckets[i] != NULL) {
            struct node *x = d->buckets[i];
            d->buckets[i] = x->next;
            x->next = buckets[x->hash & (n - 1)];
            buckets[x->hash & (n - 1)] = x;
        }
    free(d->buckets);
    budget_give(&d->budget, d->n_buckets * sizeof(*buckets));
    d->buckets = buckets;
    d->n_buckets = n;
}

/* Its bytes were charged with the pattern's; they are given back one by one. */
static struct node *child_make(struct drain *d, struct node *parent, struct str token)
{
    struct node *x = xcalloc(1, sizeof(*x) + token.n);
    x->parent = parent;
    x->hash = node_hash(parent, token);
    x->n = (uint16_t)token.n;
    memcpy(x->token, token.p, token.n);
    struct node **at = token.n == 0 ? &parent->wild : &d->buckets[x->hash & (d->n_buckets - 1)];
    x->next = *at; /* of a wild one: nothing */
    *at = x;
    parent->n_children++;
    d->n_nodes++;
    return x;
}

static void drop_if_empty(struct drain *d, struct node *x)
{
    while (x->parent != NULL && x->n_children == 0 && x->n_patterns == 0) {
        struct node *parent = x->parent;
        struct node **at = x->n == 0 ? &parent->wild : &d->buckets[x->hash & (d->n_buckets - 1)];
        while (*at != x)
            at = &(*at)->next;
        *at = x->next;
        budget_give(&d->budget, sizeof(*x) + x->n);
        free(x);
        d->n_nodes--;
        parent->n_children--;
        x = parent;
    }
}

static void forget(struct drain *d, struct pattern *p, enum drain_event why)
{
    struct node *leaf = p->leaf;
    struct pattern **at = &leaf->patterns;
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    leaf->n_patterns--;
    *(p->newer != NULL ? &p->newer->older : &d->newest) = p->older;
    *(p->older != NULL ? &p->older->newer : &d->oldest) = p->newer;
    budget_give(&d->budget, p->bytes);
    free(p);
    d->n_patterns--;
    d->generation++; /* nothing recent points to it any more */
    d->events[why]++;
    drop_if_empty(d, leaf);
}

/* ---- look-up ---- */

/* The most similar one, of equals the widest. *ret_similar: similar enough to be told the same. */
static struct pattern *best_of(
    const struct node *leaf, const char *name, const struct drain_tokens *t, bool *ret_similar)
{
    struct pattern *best = NULL;
    uint32_t best_same = 0;
    for (struct pattern *p = leaf->patterns; p != NULL; p = p->next) {
        uint32_t same = same_tokens(p, name, t) + 1; /* the end is always the same */
        if (best != NULL && (same < best_same || (same == best_same && p->n_wild <= best->n_wild)))
            continue;
        best = p;
        best_same = same;
    }
    *ret_similar = best_same * 10 >= (t->n + 1) * 3;
    return best;
}

/* Where a node has both branches, either may lead to a match. */
static struct pattern *descend(const struct drain *d, const struct node *at, const char *name,
    const struct drain_tokens *t, uint32_t depth, unsigned *steps)
{
    if (at == NULL || *steps < 1 + at->n_patterns)
        return NULL;
    *steps -= 1 + at->n_patterns;
    if (depth == MIN(t->n, PATH_MAX_TOKENS)) {
        bool similar;
        struct pattern *p = best_of(at, name, t, &similar);
        return similar ? p : NULL;
    }
    struct pattern *p = descend(d, at->wild, name, t, depth + 1, steps);
    if (p != NULL)
        return p;
    struct str token = token_of(name, t->end, depth);
    return descend(d, child_of(d, at, token), name, t, depth + 1, steps);
}

/* Trees of names with as many tokens hang on the root. */
static struct str count_token(uint32_t n, char out[1])
{
    out[0] = (char)n;
    return str_n(out, 1);
}

/* ---- new patterns ---- */

/* The key of the branch below `at` that a new pattern takes; level 0 is the number of tokens. */
static struct str branch_of(const struct node *at, const char *name, const struct drain_tokens *t,
    uint32_t level, char count[1])
{
    if (level == 0)
        return count_token(t->n, count);
    struct str token = token_of(name, t->end, level - 1);
    bool any = drain_is_data(token) || at->n_children + 1 >= DRAIN_CHILDREN_MAX;
    return any ? STR("") : token;
}

/* Where a new pattern would lie; NULL: nothing lies there yet. */
static const struct node *leaf_of(
    const struct drain *d, const char *name, const struct drain_tokens *t)
{
    const struct node *at = d->root;
    char count[1];
    for (uint32_t i = 0; at != NULL && i <= MIN(t->n, PATH_MAX_TOKENS); i++)
        at = child_of(d, at, branch_of(at, name, t, i, count));
    return at;
}

static struct node *leaf_make(
    struct drain *d, const char *name, const struct drain_tokens *t, size_t *ret_taken)
{
    struct node *at = d->root;
    char count[1];
    for (uint32_t i = 0; i <= MIN(t->n, PATH_MAX_TOKENS); i++) {
        struct str token = branch_of(at, name, t, i, count);
        struct node *next = child_of(d, at, token);
        if (next == NULL) {
            next = child_make(d, at, token);
            *ret_taken += sizeof(*next) + token.n;
        }
        at = next;
    }
    return at;
}

/* Charges what a new pattern may need at most; those least used go for it. */
static bool make_room(struct drain *d, size_t need)
{
    while (d->oldest != NULL &&
           (d->n_patterns >= DRAIN_PATTERNS_MAX || budget_used(&d->budget) + need > d->bytes_max))
        forget(d, d->oldest, DRAIN_EVICTED);
    if (budget_take(&d->budget, need))
        return true;
    if (d->oldest != NULL) /* the tenants' common budget is short: give, if little */
        forget(d, d->oldest, DRAIN_EVICTED);
    return false;
}

static struct pattern *pattern_new(struct drain *d, struct str name, const struct drain_tokens *t)
{
    uint32_t depth = MIN(t->n, PATH_MAX_TOKENS);
    size_t own = pattern_bytes(name, t->n), taken = own;
    size_t need = own + (depth + 1) * sizeof(struct node) + 1 + name.n;
    if (!make_room(d, need))
        return NULL;
    struct node *leaf = leaf_make(d, name.p, t, &taken);
    budget_give(&d->budget, need - taken);
    struct pattern *p = xcalloc(1, own);
    *p = (struct pattern){
        .leaf = leaf, .bytes = (uint32_t)own, .n = (uint16_t)t->n, .text_n = (uint16_t)name.n};
    memcpy(p->end, t->end, t->n * sizeof(*p->end));
    memcpy(text_of(p), name.p, name.n);
    join(p);
    struct pattern **end = &leaf->patterns;
    while (*end != NULL)
        end = &(*end)->next;
    *end = p;
    leaf->n_patterns++;
    d->n_patterns++;
    d->generation++;
    d->events[DRAIN_DETECTED]++;
    grow(d);
    return p;
}

/* A leaf that cannot tell its names apart takes new ones into the best it has: it must not cost
 * more with each. What a look-up gave up on may lie in the leaf as well. */
static struct pattern *train(struct drain *d, struct str name, const struct drain_tokens *t)
{
    char count[1];
    unsigned steps = DRAIN_STEPS_MAX;
    const struct node *tree = child_of(d, d->root, count_token(t->n, count));
    struct pattern *p = descend(d, tree, name.p, t, 0, &steps);
    const struct node *leaf = p != NULL ? NULL : leaf_of(d, name.p, t);
    if (leaf != NULL) {
        bool similar;
        p = best_of(leaf, name.p, t, &similar);
        if (!similar && leaf->n_patterns < DRAIN_LEAF_MAX)
            p = NULL;
    }
    if (p == NULL)
        return pattern_new(d, name, t);
    if (widen(p, name.p, t))
        d->generation++;
    return p;
}

/* ---- calls from outside ---- */

struct drain *drain_new(struct budget *parent, uint64_t bytes_max)
{
    struct drain *d = xcalloc(1, sizeof(*d));
    budget_init(&d->budget, parent, "span names", bytes_max);
    d->bytes_max = bytes_max;
    d->root = xcalloc(1, sizeof(*d->root));
    d->generation = 1;
    d->n_buckets = BUCKETS_MIN;
    d->buckets = xcalloc(BUCKETS_MIN, sizeof(*d->buckets));
    budget_take_force(&d->budget, sizeof(*d) + BUCKETS_MIN * sizeof(*d->buckets));
    return d;
}

void drain_free(struct drain *d)
{
    if (d == NULL)
        return;
    while (d->oldest != NULL)
        forget(d, d->oldest, DRAIN_EVICTED);
    ASSERT(d->n_nodes == 0 && d->root->n_children == 0);
    budget_give(&d->budget, sizeof(*d) + d->n_buckets * sizeof(*d->buckets));
    free(d->buckets);
    free(d->root);
    budget_deinit(&d->budget);
    free(d);
}

static struct recent *recent_of(struct drain *d, struct str name)
{
    return name.n > RECENT_NAME ? NULL : &d->recent[hash64(name.p, name.n) % RECENT];
}

struct str drain_train(struct drain *d, struct str name, int64_t now_ms, uint32_t *ret_tokens)
{
    struct drain_tokens t;
    struct recent *r = recent_of(d, name);
    struct pattern *p;
    if (r != NULL && r->generation == d->generation && str_eq(str_n(r->name, r->n), name)) {
        p = r->pattern;
        *ret_tokens = r->tokens;
    } else {
        enum drain_cut cut = drain_cut(name, &t);
        *ret_tokens = 0;
        if (cut != DRAIN_CUT) {
            d->events[cut == DRAIN_TOO_FEW ? DRAIN_SKIPPED_FEW : DRAIN_SKIPPED_MANY]++;
            return name;
        }
        *ret_tokens = t.n + 1;
        p = train(d, name, &t);
        if (p != NULL && r != NULL) {
            *r = (struct recent){d->generation, p, t.n + 1, (uint16_t)name.n, ""};
            memcpy(r->name, name.p, name.n);
        }
    }
    if (p == NULL)
        return name;
    use(d, p, now_ms);
    return str_n(text_of(p) + p->text_n, p->joined_n);
}

void drain_expire(struct drain *d, int64_t before_ms)
{
    while (d->oldest != NULL && d->oldest->used_ms < before_ms)
        forget(d, d->oldest, DRAIN_EXPIRED);
}

uint64_t drain_events(const struct drain *d, enum drain_event e)
{
    return d->events[e];
}

uint32_t drain_patterns(const struct drain *d)
{
    return d->n_patterns;
}
