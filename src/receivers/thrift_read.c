/* SPDX-License-Identifier: Apache-2.0
 * The Thrift pull reader. */
#include "thrift_read.h"

void thrift_init(struct thrift_reader *r, struct bytes b, bool compact)
{
    static const uint8_t none[1];
    const uint8_t *p = b.n == 0 ? none : b.p;
    *r = (struct thrift_reader){.base = p, .p = p, .end = p + b.n, .compact = compact};
}

bool thrift_fail(struct thrift_reader *r, const char *what)
{
    if (r->what == NULL) {
        r->what = what;
        r->at = r->p;
        r->p = r->end; /* nothing can be read any more */
    }
    return false;
}

static size_t thrift_left(const struct thrift_reader *r)
{
    return (size_t)(r->end - r->p);
}

/* n bytes; NULL when there are fewer. */
static const uint8_t *thrift_take(struct thrift_reader *r, size_t n)
{
    if (thrift_left(r) < n) {
        thrift_fail(r, "cut short");
        return NULL;
    }
    const uint8_t *p = r->p;
    r->p += n;
    return p;
}

static bool thrift_varint(struct thrift_reader *r, uint64_t *ret)
{
    const uint8_t *p = varint_get(r->p, r->end, ret);
    if (p == NULL)
        return thrift_fail(r, "cut short, or a number of more than 64 bits");
    r->p = p;
    return true;
}

static bool thrift_zigzag(struct thrift_reader *r, int64_t min, int64_t max, int64_t *ret)
{
    uint64_t v;
    if (!thrift_varint(r, &v))
        return false;
    int64_t i = zigzag_decode(v);
    if (i < min || i > max)
        return thrift_fail(r, "number out of the range of its type");
    *ret = i;
    return true;
}

bool thrift_i16(struct thrift_reader *r, int16_t *ret)
{
    int64_t v = 0;
    if (r->compact) {
        if (!thrift_zigzag(r, INT16_MIN, INT16_MAX, &v))
            return false;
        *ret = (int16_t)v;
        return true;
    }
    const uint8_t *p = thrift_take(r, 2);
    if (p == NULL)
        return false;
    *ret = (int16_t)(uint16_t)(p[0] << 8 | p[1]);
    return true;
}

bool thrift_i32(struct thrift_reader *r, int32_t *ret)
{
    int64_t v = 0;
    if (r->compact) {
        if (!thrift_zigzag(r, INT32_MIN, INT32_MAX, &v))
            return false;
        *ret = (int32_t)v;
        return true;
    }
    const uint8_t *p = thrift_take(r, 4);
    if (p == NULL)
        return false;
    *ret = (int32_t)get_u32be(p);
    return true;
}

bool thrift_i64(struct thrift_reader *r, int64_t *ret)
{
    if (r->compact)
        return thrift_zigzag(r, INT64_MIN, INT64_MAX, ret);
    const uint8_t *p = thrift_take(r, 8);
    if (p == NULL)
        return false;
    *ret = (int64_t)get_u64be(p);
    return true;
}

/* WHY: compact doubles are little-endian: what the clients write, whatever Thrift's text says. */
bool thrift_double(struct thrift_reader *r, double *ret)
{
    const uint8_t *p = thrift_take(r, 8);
    if (p == NULL)
        return false;
    uint64_t bits = r->compact ? get_u64le(p) : get_u64be(p);
    memcpy(ret, &bits, 8);
    return true;
}

bool thrift_bool(struct thrift_reader *r, bool *ret)
{
    if (r->field_bool != 0) {
        *ret = r->field_bool == 1;
        r->field_bool = 0;
        return true;
    }
    const uint8_t *p = thrift_take(r, 1);
    if (p == NULL)
        return false;
    *ret = *p == 1;
    return true;
}

static bool thrift_size(struct thrift_reader *r, uint64_t *ret)
{
    int32_t n;
    if (r->compact)
        return thrift_varint(r, ret);
    if (!thrift_i32(r, &n))
        return false;
    if (n < 0)
        return thrift_fail(r, "negative length");
    *ret = (uint64_t)n;
    return true;
}

bool thrift_string(struct thrift_reader *r, struct str *ret)
{
    uint64_t n;
    if (!thrift_size(r, &n))
        return false;
    if (n > thrift_left(r))
        return thrift_fail(r, "string longer than the message");
    *ret = str_n((const char *)r->p, (size_t)n);
    r->p += n;
    return true;
}

/* A compact type as one of the binary protocol; THRIFT_STOP: there is no such type. */
static uint8_t thrift_of_compact(unsigned type)
{
    static const uint8_t types[16] = {0, THRIFT_BOOL, THRIFT_BOOL, THRIFT_I8, THRIFT_I16,
        THRIFT_I32, THRIFT_I64, THRIFT_DOUBLE, THRIFT_STRING, THRIFT_LIST, THRIFT_SET, THRIFT_MAP,
        THRIFT_STRUCT};
    return types[type & 15];
}

bool thrift_message(struct thrift_reader *r, struct str *ret_name, unsigned *ret_type)
{
    int32_t word, seq;
    uint64_t any;
    const uint8_t *p;
    if (r->compact) {
        if ((p = thrift_take(r, 2)) == NULL)
            return false;
        if (p[0] != 0x82 || (p[1] & 0x1f) != 1)
            return thrift_fail(r, "not a message of the compact protocol");
        *ret_type = p[1] >> 5;
        return thrift_varint(r, &any) && thrift_string(r, ret_name);
    }
    if (!thrift_i32(r, &word))
        return false;
    if (word < 0) { /* strict: version and type, then the name */
        if (((uint32_t)word & 0xffff0000u) != 0x80010000u)
            return thrift_fail(r, "unknown version of the binary protocol");
        *ret_type = (unsigned)word & 0xff;
        return thrift_string(r, ret_name) && thrift_i32(r, &seq);
    }
    if ((size_t)word > thrift_left(r))
        return thrift_fail(r, "string longer than the message");
    *ret_name = str_n((const char *)r->p, (size_t)word);
    r->p += word;
    if ((p = thrift_take(r, 1)) == NULL)
        return false;
    *ret_type = *p;
    return thrift_i32(r, &seq);
}

static bool thrift_next_compact(struct thrift_reader *r, struct thrift_field *f, uint8_t head)
{
    unsigned delta = head >> 4, type = head & 15;
    f->type = thrift_of_compact(type);
    r->field_bool = type == 1 || type == 2 ? (uint8_t)type : 0;
    if (delta == 0)
        return thrift_i16(r, &f->id);
    if (f->id > INT16_MAX - (int)delta)
        return thrift_fail(r, "field number out of range");
    f->id = (int16_t)(f->id + (int)delta);
    return true;
}

bool thrift_next(struct thrift_reader *r, struct thrift_field *f)
{
    const uint8_t *p = thrift_take(r, 1);
    if (p == NULL || *p == THRIFT_STOP)
        return false;
    if (r->compact)
        return thrift_next_compact(r, f, *p);
    f->type = *p;
    return thrift_i16(r, &f->id);
}

/* Element type and count of a list or set. */
static bool thrift_list(struct thrift_reader *r, uint8_t *ret_type, uint32_t *ret_n)
{
    const uint8_t *p = thrift_take(r, 1);
    uint64_t n;
    if (p == NULL)
        return false;
    if (r->compact) {
        *ret_type = thrift_of_compact(*p & 15);
        n = *p >> 4;
        if (n == 15 && !thrift_varint(r, &n))
            return false;
    } else {
        *ret_type = *p;
        if (!thrift_size(r, &n))
            return false;
    }
    if (n > thrift_left(r) || n > UINT32_MAX)
        return thrift_fail(r, "list longer than the message");
    *ret_n = (uint32_t)n;
    return true;
}

bool thrift_structs(struct thrift_reader *r, uint32_t *ret_n)
{
    uint8_t type;
    if (!thrift_list(r, &type, ret_n))
        return false;
    if (*ret_n != 0 && type != THRIFT_STRUCT)
        return thrift_fail(r, "list of structs expected");
    return true;
}

/* ---- skipping ---- */

struct thrift_level {
    struct thrift_field field; /* cursor of a struct */
    uint8_t types[2];          /* of elements; of keys and values */
    uint64_t left;             /* elements, or keys and values; unused by structs */
    bool is_struct, is_map;
};

static bool thrift_open_map(struct thrift_reader *r, struct thrift_level *l)
{
    uint64_t n;
    const uint8_t *p;
    if (r->compact) {
        if (!thrift_varint(r, &n))
            return false;
        if (n != 0) {
            if ((p = thrift_take(r, 1)) == NULL)
                return false;
            l->types[0] = thrift_of_compact(*p >> 4);
            l->types[1] = thrift_of_compact(*p & 15);
        }
    } else {
        if ((p = thrift_take(r, 2)) == NULL || !thrift_size(r, &n))
            return false;
        l->types[0] = p[0];
        l->types[1] = p[1];
    }
    if (n > thrift_left(r))
        return thrift_fail(r, "map longer than the message");
    l->left = 2 * n;
    return true;
}

/* Reads a value that holds no others, or opens a container as *l. */
static bool thrift_skip_one(
    struct thrift_reader *r, uint8_t type, struct thrift_level *l, bool *ret_opened)
{
    struct str s;
    int64_t i64;
    int32_t i32;
    int16_t i16;
    uint32_t n = 0;
    bool b;

    *l = (struct thrift_level){0};
    *ret_opened = false;
    switch (type) {
    case THRIFT_BOOL:
        return thrift_bool(r, &b);
    case THRIFT_I8:
        return thrift_take(r, 1) != NULL;
    case THRIFT_I16:
        return thrift_i16(r, &i16);
    case THRIFT_I32:
        return thrift_i32(r, &i32);
    case THRIFT_I64:
        return thrift_i64(r, &i64);
    case THRIFT_DOUBLE:
        return thrift_take(r, 8) != NULL;
    case THRIFT_STRING:
        return thrift_string(r, &s);
    case THRIFT_STRUCT:
        l->is_struct = *ret_opened = true;
        return true;
    case THRIFT_LIST:
    case THRIFT_SET:
        if (!thrift_list(r, &l->types[0], &n))
            return false;
        l->left = n;
        *ret_opened = true;
        return true;
    case THRIFT_MAP:
        l->is_map = *ret_opened = true;
        return thrift_open_map(r, l);
    default:
        return thrift_fail(r, "unknown type");
    }
}

/* What comes next in the container: false at its end, or on an error. */
static bool thrift_level_next(struct thrift_reader *r, struct thrift_level *l, uint8_t *ret_type)
{
    if (l->is_struct) {
        if (!thrift_next(r, &l->field))
            return false;
        *ret_type = l->field.type;
        return true;
    }
    if (l->left == 0)
        return false;
    *ret_type = l->types[l->is_map && l->left % 2 == 1];
    l->left--;
    return true;
}

bool thrift_skip(struct thrift_reader *r, const struct thrift_field *f)
{
    struct thrift_level levels[THRIFT_DEPTH + 1];
    unsigned depth = 0;
    uint8_t type = f->type;
    bool opened;

    for (;;) {
        if (!thrift_skip_one(r, type, &levels[depth], &opened))
            return false;
        if (opened && ++depth > THRIFT_DEPTH)
            return thrift_fail(r, "nested too deep");
        while (depth > 0 && !thrift_level_next(r, &levels[depth - 1], &type)) {
            if (r->what != NULL)
                return false;
            depth--;
        }
        if (depth == 0)
            return true;
    }
}
