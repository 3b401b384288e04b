/* SPDX-License-Identifier: Apache-2.0
 * Comparing values with literals, exactly.
 *
 * Every comparison of a number is turned into an inclusive range in the number's own type. That is
 * exact (an int is never rounded to a double) and it is the form in which columns are tested fast.
 */
#include "scan_test.h"

#include <math.h>

#define F64_2_63 0x1p63
#define F64_2_64 0x1p64

static bool lit_is_number(const struct scan_lit *l, bool duration_too)
{
    return l->type == SCAN_LIT_INT || l->type == SCAN_LIT_DOUBLE ||
           (duration_too && l->type == SCAN_LIT_DURATION);
}

/* The ranges of one comparison: at most one. The caller handles NE as a negated EQ. */
static bool range_i64_int(enum scan_op op, int64_t x, int64_t *lo, int64_t *hi)
{
    *lo = INT64_MIN;
    *hi = INT64_MAX;
    switch (op) {
    case SCAN_LT:
        *hi = x - (x != INT64_MIN);
        return x != INT64_MIN;
    case SCAN_LE:
        *hi = x;
        return true;
    case SCAN_GT:
        *lo = x + (x != INT64_MAX);
        return x != INT64_MAX;
    case SCAN_GE:
        *lo = x;
        return true;
    default:
        *lo = *hi = x;
        return true;
    }
}

static bool range_u64_int(enum scan_op op, uint64_t x, uint64_t *lo, uint64_t *hi)
{
    *lo = 0;
    *hi = UINT64_MAX;
    switch (op) {
    case SCAN_LT:
        *hi = x - (x != 0);
        return x != 0;
    case SCAN_LE:
        *hi = x;
        return true;
    case SCAN_GT:
        *lo = x + (x != UINT64_MAX);
        return x != UINT64_MAX;
    case SCAN_GE:
        *lo = x;
        return true;
    default:
        *lo = *hi = x;
        return true;
    }
}

/* How integers compare with the double x: all below it, all above, or as with an integer under an
 * operator that allows for the fraction. */
enum side { SIDE_NONE, SIDE_ALL, SIDE_INT };

static enum side side_double(enum scan_op *op, double *x, double min, double end)
{
    if (isnan(*x))
        return SIDE_NONE;
    if (*x >= end)
        return *op == SCAN_LT || *op == SCAN_LE ? SIDE_ALL : SIDE_NONE;
    if (*x < min)
        return *op == SCAN_GT || *op == SCAN_GE ? SIDE_ALL : SIDE_NONE;
    double whole = floor(*x);
    if (whole != *x) { /* n < 2.5 is n <= 2, n >= 2.5 is n > 2 */
        if (*op != SCAN_LT && *op != SCAN_LE && *op != SCAN_GT && *op != SCAN_GE)
            return SIDE_NONE;
        *op = *op == SCAN_LT || *op == SCAN_LE ? SCAN_LE : SCAN_GT;
    }
    *x = whole;
    return SIDE_INT;
}

static bool range_i64(enum scan_op op, const struct scan_lit *l, int64_t *lo, int64_t *hi)
{
    if (l->type != SCAN_LIT_DOUBLE)
        return range_i64_int(op, l->i, lo, hi);
    double x = l->d;
    enum side side = side_double(&op, &x, -F64_2_63, F64_2_63);
    if (side == SIDE_INT)
        return range_i64_int(op, (int64_t)x, lo, hi);
    *lo = INT64_MIN;
    *hi = INT64_MAX;
    return side == SIDE_ALL;
}

static bool range_u64(enum scan_op op, const struct scan_lit *l, uint64_t *lo, uint64_t *hi)
{
    *lo = 0;
    *hi = UINT64_MAX;
    if (l->type != SCAN_LIT_DOUBLE) {
        if (l->i < 0)
            return op == SCAN_GT || op == SCAN_GE;
        return range_u64_int(op, (uint64_t)l->i, lo, hi);
    }
    double x = l->d;
    enum side side = side_double(&op, &x, 0, F64_2_64);
    if (side == SIDE_INT)
        return range_u64_int(op, (uint64_t)x, lo, hi);
    return side == SIDE_ALL;
}

/* x as doubles around it: equal when it is one. */
static void f64_around(const struct scan_lit *l, double *below, double *above)
{
    if (l->type == SCAN_LIT_DOUBLE) {
        *below = *above = l->d;
        return;
    }
    double x = (double)l->i; /* nearest */
    *below = *above = x;
    if (x >= F64_2_63) /* only for ints that were rounded up */
        *below = nextafter(x, 0);
    else if ((int64_t)x < l->i)
        *above = nextafter(x, HUGE_VAL);
    else if ((int64_t)x > l->i)
        *below = nextafter(x, -HUGE_VAL);
}

static bool range_f64(enum scan_op op, const struct scan_lit *l, double *lo, double *hi)
{
    double below, above;
    f64_around(l, &below, &above);
    if (isnan(below))
        return false;
    bool exact = below == above;
    *lo = -HUGE_VAL;
    *hi = HUGE_VAL;
    switch (op) {
    case SCAN_LT:
        *hi = exact ? nextafter(below, -HUGE_VAL) : below;
        return !(exact && below == -HUGE_VAL);
    case SCAN_LE:
        *hi = below;
        return true;
    case SCAN_GT:
        *lo = exact ? nextafter(above, HUGE_VAL) : above;
        return !(exact && above == HUGE_VAL);
    case SCAN_GE:
        *lo = above;
        return true;
    default:
        *lo = *hi = below;
        return exact;
    }
}

#define RANGES_DEFINE(name, one, duration_too)                       \
    void scan_##name(const struct scan_leaf *leaf, struct name *ret) \
    {                                                                \
        enum scan_op op = leaf->op;                                  \
        ret->negate = op == SCAN_NE || op == SCAN_NOT_IN;            \
        ret->n = 0;                                                  \
        if (op == SCAN_NE || op == SCAN_IN || op == SCAN_NOT_IN)     \
            op = SCAN_EQ;                                            \
        for (uint32_t i = 0; i < leaf->n_lits; i++) {                \
            struct name##_one *r = &ret->r[ret->n];                  \
            if (lit_is_number(&leaf->lits[i], duration_too) &&       \
                one(op, &leaf->lits[i], &r->lo, &r->hi))             \
                ret->n++;                                            \
        }                                                            \
    }
RANGES_DEFINE(ranges_i64, range_i64, false)
RANGES_DEFINE(ranges_u64, range_u64, true)
RANGES_DEFINE(ranges_f64, range_f64, false)

static uint32_t lit_types(const struct scan_lit *l)
{
    switch (l->type) {
    case SCAN_LIT_STR:
        return 1u << VALUE_STR | 1u << VALUE_ARRAY;
    case SCAN_LIT_INT:
    case SCAN_LIT_DOUBLE:
        return 1u << VALUE_INT | 1u << VALUE_DOUBLE | 1u << VALUE_ARRAY;
    case SCAN_LIT_BOOL:
        return 1u << VALUE_BOOL | 1u << VALUE_ARRAY;
    case SCAN_LIT_DURATION:
        return 0;
    }
    return 0;
}

uint32_t scan_leaf_types(const struct scan_leaf *leaf)
{
    uint32_t types = 0;
    switch (leaf->op) {
    case SCAN_MATCH:
    case SCAN_NOT_MATCH:
        return 1u << VALUE_STR | 1u << VALUE_ARRAY;
    case SCAN_TRUE:
        return 1u << VALUE_BOOL | 1u << VALUE_ARRAY;
    case SCAN_EXISTS:
        return 1u << VALUE_STR | 1u << VALUE_INT | 1u << VALUE_DOUBLE | 1u << VALUE_BOOL |
               1u << VALUE_ARRAY;
    case SCAN_KEY:
    case SCAN_ABSENT:
        return (1u << VALUE_TYPES) - 1;
    default:
        for (uint32_t i = 0; i < leaf->n_lits; i++)
            types |= lit_types(&leaf->lits[i]);
        return types;
    }
}

static bool order_holds(enum scan_op op, int c)
{
    switch (op) {
    case SCAN_EQ:
        return c == 0;
    case SCAN_NE:
        return c != 0;
    case SCAN_LT:
        return c < 0;
    case SCAN_LE:
        return c <= 0;
    case SCAN_GT:
        return c > 0;
    case SCAN_GE:
        return c >= 0;
    default:
        return false;
    }
}

static bool lit_holds(enum scan_op op, const struct scan_lit *l, const struct value *v)
{
    enum scan_op range_op = op == SCAN_NE ? SCAN_EQ : op;
    bool in = false;
    if ((lit_types(l) & 1u << v->type) == 0)
        return false;
    switch (v->type) {
    case VALUE_STR:
        return order_holds(op, str_cmp(v->s, l->s));
    case VALUE_BOOL:
        return op == SCAN_EQ ? v->b == l->b : op == SCAN_NE && v->b != l->b;
    case VALUE_INT: {
        int64_t lo, hi;
        in = range_i64(range_op, l, &lo, &hi) && lo <= v->i && v->i <= hi;
        break;
    }
    case VALUE_DOUBLE: {
        double lo, hi;
        in = range_f64(range_op, l, &lo, &hi) && lo <= v->d && v->d <= hi;
        break;
    }
    default:
        return false;
    }
    return op == SCAN_NE ? !in : in;
}

bool scan_scalar_holds(const struct scan_leaf *leaf, const struct value *v)
{
    bool comparable = false;
    switch (leaf->op) {
    case SCAN_MATCH:
        return v->type == VALUE_STR && leaf->match(leaf->ctx, v->s);
    case SCAN_NOT_MATCH:
        return v->type == VALUE_STR && !leaf->match(leaf->ctx, v->s);
    case SCAN_TRUE:
        return v->type == VALUE_BOOL && v->b;
    case SCAN_EXISTS:
        return v->type == VALUE_STR || v->type == VALUE_INT || v->type == VALUE_DOUBLE ||
               v->type == VALUE_BOOL;
    case SCAN_KEY:
        return true;
    case SCAN_ABSENT:
        return false;
    case SCAN_IN:
    case SCAN_NOT_IN:
        for (uint32_t i = 0; i < leaf->n_lits; i++) {
            if (lit_holds(SCAN_EQ, &leaf->lits[i], v))
                return leaf->op == SCAN_IN;
            comparable |= (lit_types(&leaf->lits[i]) & 1u << v->type) != 0;
        }
        return leaf->op == SCAN_NOT_IN && comparable;
    default:
        ASSERT(leaf->n_lits == 1);
        return lit_holds(leaf->op, &leaf->lits[0], v);
    }
}

bool scan_array_usable(struct str array)
{
    const char *cursor = NULL;
    struct value v;
    enum value_type type = VALUE_EMPTY;
    while (value_array_next(array, &cursor, &v)) {
        if (v.type != VALUE_STR && v.type != VALUE_INT && v.type != VALUE_DOUBLE &&
            v.type != VALUE_BOOL)
            return false;
        if (type != VALUE_EMPTY && v.type != type)
            return false;
        type = v.type;
    }
    return type != VALUE_EMPTY;
}

bool scan_value_holds(const struct scan_leaf *leaf, const struct value *v)
{
    if (v->type != VALUE_ARRAY || leaf->op == SCAN_KEY || leaf->op == SCAN_ABSENT)
        return scan_scalar_holds(leaf, v);
    if (!scan_array_usable(v->s))
        return false;
    const char *cursor = NULL;
    struct value element;
    while (value_array_next(v->s, &cursor, &element))
        if (scan_scalar_holds(leaf, &element))
            return true;
    return false;
}
