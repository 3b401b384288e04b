/* SPDX-License-Identifier: Apache-2.0
 * Predicates over the columns of a part: a tree of conditions in, a bitmap of span rows out, one
 * group at a time. The query engine lowers what it can to this and evaluates the rest on
 * part_view's columns.
 *
 * A scan is a tree bound to one reader: columns are looked up once, a string condition runs once
 * per distinct string (not per value), resource and scope conditions once per resource and scope
 * row.
 *
 * What a leaf means. It names one field: an attribute (table, key; its value may have any type), or
 * a fixed column. A span matches when any of the field's values does:
 * - resource and scope fields: the values of its resource or scope;
 * - event and link fields: the values of any of its events or links (none: no match, whatever the
 *   op);
 * - an array is its elements, when all of them are strings, or ints, or doubles, or bools; an empty
 *   or mixed array, bytes, kvlists and empty values have no value at all;
 * - a key that was sent twice has both values.
 * A span without a value matches no comparison, not even `!=`. SCAN_NOT turns bits around without
 * such care: NOT (x = 1) is true where x is missing.
 *
 * Comparisons by type: strings with string literals (bytewise order), bools with bools (= and !=
 * only), and numbers with numbers by value, exactly: the int 3 equals the double 3.0; 2^53 + 1 does
 * not equal 2^53 as double; NaN is unequal to all. All else never matches. Fixed numeric columns
 * compare as unsigned integers. SCAN_LIT_DURATION matches fixed columns only, as an integer. Ids of
 * 16 bytes compare (= and !=) with a string literal of those bytes. A sparse fixed column has its
 * default, 0 or the empty string, in the rows that it leaves out.
 *
 * Threads: a scan belongs to the thread of its reader.
 */
#pragma once

#include "storage/part.h"

enum scan_op {
    SCAN_EQ,
    SCAN_NE,
    SCAN_LT,
    SCAN_LE,
    SCAN_GT,
    SCAN_GE,
    SCAN_IN, /* equal to one of the literals */
    /* a value of a type that some literal can be compared with, equal to none of them */
    SCAN_NOT_IN,
    SCAN_MATCH,     /* match(ctx, s) for a string value; called once per distinct string */
    SCAN_NOT_MATCH, /* a string value for which match() is false */
    SCAN_EXISTS,    /* has a value (of any type that is one) */
    SCAN_TRUE,      /* has the bool value true */
    SCAN_KEY,       /* the key was sent, whatever it holds; fixed columns: always */
    SCAN_ABSENT,    /* the key was not sent. Events, links: some event (link) lacks it */
};

enum scan_lit_type {
    SCAN_LIT_STR,
    SCAN_LIT_INT,
    SCAN_LIT_DOUBLE,
    SCAN_LIT_BOOL,
    SCAN_LIT_DURATION
};

struct scan_lit {
    enum scan_lit_type type;
    union {
        struct str s;
        int64_t i; /* INT, DURATION (ns) */
        double d;
        bool b;
    };
};

struct scan_leaf {
    /* An attribute when key.p != NULL; else the fixed column `col`. */
    enum part_table table;
    struct str key;
    col_id col;
    enum scan_op op;
    const struct scan_lit *lits; /* one for comparisons; any number for SCAN_IN, SCAN_NOT_IN */
    uint32_t n_lits;
    bool (*match)(void *ctx, struct str s); /* SCAN_MATCH, SCAN_NOT_MATCH; cannot fail */
    void *ctx;
};

enum scan_node { SCAN_LEAF, SCAN_AND, SCAN_OR, SCAN_NOT, SCAN_ALL };

struct scan_expr {
    enum scan_node node;
    const struct scan_expr *const *kids; /* AND, OR: any number (none: all, none); NOT: one */
    uint32_t n_kids;
    struct scan_leaf leaf;
};
#define SCAN_DEPTH_MAX 64

/* One bit per span of a group. Bits at n and above are 0. */
#define SCAN_WORDS (PART_GROUP_ROWS / 64)
struct scan_bits {
    uint32_t n;
    uint64_t w[SCAN_WORDS];
};
static inline bool scan_bits_get(const struct scan_bits *b, uint32_t row)
{
    return (b->w[row / 64] >> (row % 64) & 1) != 0;
}
static inline void scan_bits_set(struct scan_bits *b, uint32_t row)
{
    b->w[row / 64] |= (uint64_t)1 << (row % 64);
}
void scan_bits_clear(struct scan_bits *b, uint32_t n); /* n rows, no bit set */
void scan_bits_fill(struct scan_bits *b, uint32_t n);  /* n rows, all set */
void scan_bits_and(struct scan_bits *b, const struct scan_bits *with);
void scan_bits_or(struct scan_bits *b, const struct scan_bits *with);
void scan_bits_not(struct scan_bits *b);
uint32_t scan_bits_count(const struct scan_bits *b);
bool scan_bits_any(const struct scan_bits *b);
/* The first row >= from whose bit is set, or b->n. */
uint32_t scan_bits_next(const struct scan_bits *b, uint32_t from);

/* True: no span of the part can match, as far as its filters say without a reader (part.h). `depth`
 * is 0. */
bool scan_hopeless(struct part *p, const struct scan_expr *x, uint32_t depth);

struct scan;

/* Binds a tree to a reader. The tree, its keys and literals must outlive the scan. Memory (of the
 * scan and what it remembers) is charged to the reader's budget: EC_LIMIT. EC_INVALID: deeper than
 * SCAN_DEPTH_MAX. Decides resource and scope conditions; reads no pages of spans, events or
 * links. */
enum ec scan_new(struct part_reader *r, const struct scan_expr *expr, struct scan **ret,
    struct err *err) MUST_USE;
void scan_free(struct scan *s); /* NULL allowed; before part_reader_close */

/* True: no span of the part can match (a column or a string is missing, say). Costs nothing. */
bool scan_none(const struct scan *s);
/* The spans of group g that match. Pages are read only as far as they can still matter: an AND
 * stops at the first side without a match. */
enum ec scan_group(struct scan *s, uint32_t g, struct scan_bits *ret, struct err *err) MUST_USE;
/* Whether in group g every attribute that the tree names has at most one value a row, and none is
 * an array: then it makes no difference that a leaf asks for any value where a caller means the
 * first. */
enum ec scan_single(struct scan *s, uint32_t g, bool *ret, struct err *err) MUST_USE;
