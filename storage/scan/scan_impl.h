/* SPDX-License-Identifier: Apache-2.0
 * Inside a scan: a leaf bound to its columns (scan_leaf.c), and the tree (scan.c). */
#pragma once

#include "base/buf.h"
#include "scan_test.h"

/* One column of a leaf. What is known of strings belongs to `dict` and is forgotten when a view
 * comes with another one. */
struct leaf_col {
    col_id col;
    enum value_type type; /* fixed columns of strings: VALUE_STR; of numbers: not used */
    enum col_phys phys;
    bool by_code; /* string (in)equality: compare codes */
    const struct dict *dict;
    uint32_t n_codes;
    uint32_t *codes; /* by_code: those of the literals that the dictionary has */
    uint32_t n_found;
    uint64_t *known, *yes; /* else: by code, evaluated when first met */
    bool all_known;
    size_t memo_bytes;
};

/* What is known of the values that an attribute of resources or scopes has, all decided once. */
enum leaf_single { SINGLE_UNKNOWN, SINGLE_YES, SINGLE_NO };

struct leaf {
    const struct scan_leaf *want;
    enum part_table table;
    bool fixed;
    bool by_default; /* a sparse fixed column whose left-out value matches */
    struct leaf_col cols[VALUE_TYPES];
    uint32_t n_cols;
    col_id key_cols[VALUE_TYPES]; /* every column of an attribute's key, asked for or not */
    uint32_t n_key_cols;
    col_id array_col; /* the one of them that holds arrays; 0: none */
    enum leaf_single objects_single;
    struct ranges_i64 i64;
    struct ranges_u64 u64;
    struct ranges_f64 f64;
    /* Resource and scope leaves: decided when the scan is made. */
    uint64_t *object_bits;
    uint32_t n_objects, n_objects_true;
};

struct scan_tree {
    enum scan_node node;
    bool none; /* cannot match in this part */
    uint32_t cost;
    uint32_t n_kids;
    struct scan_tree **kids; /* AND: cheapest first */
    struct leaf *leaf;
};

struct scan {
    struct part_reader *r;
    struct part_info info;
    struct arena arena;
    struct buf values, rows; /* bitmaps over the values of a view, over event or link rows */
    struct scan_tree *root;
    struct leaf **leaves; /* all, for scan_free */
    uint32_t n_leaves;
};

/* Binds the leaf; *ret_none: nothing in the part can match. */
enum ec leaf_init(struct scan *s, struct leaf *l, const struct scan_leaf *want, bool *ret_none,
    struct err *err) MUST_USE;
void leaf_deinit(struct scan *s, struct leaf *l);
uint32_t leaf_cost(const struct leaf *l);
/* Spans of group g that match; ret has pg->n_rows rows and is cleared first. */
enum ec leaf_group(struct scan *s, struct leaf *l, uint32_t g, const struct part_group *pg,
    struct scan_bits *ret, struct err *err) MUST_USE;
/* See scan_single. */
enum ec leaf_single(struct scan *s, struct leaf *l, uint32_t g, const struct part_group *pg,
    bool *ret, struct err *err) MUST_USE;
enum ec scan_scratch_words(struct buf *b, uint32_t n, uint64_t **ret, struct err *err) MUST_USE;
