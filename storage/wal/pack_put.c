/* SPDX-License-Identifier: Apache-2.0
 * Packing: one walk over the request, field by field.
 *
 * Most fields are what the guess says and cost one comparison. All tables are direct-mapped and
 * forget: whoever makes hashes collide gets a larger record, nothing else. */
#include <pthread.h>
#include <stdlib.h>

#include "base/compress.h"
#include "pack_model.h"

/* What repeats is mostly gone from the streams: what is left to zstd is to count symbols, in short
 * ones to look for references, as Huffman's tables take longer than they save. WHY so low a level:
 * at -5 zstd looked for references in the long ones half of its time, and found an eighth. */
#define PACK_LEVEL       (-100)
#define PACK_LEVEL_SHORT (-1)
#define PACK_MATCH_MIN   7u

#define CLASS_BITS       11u
static_assert(1u << CLASS_BITS >= 2 * PACK_CLASSES_MAX, "classes are found by probing");
/* Attributes whose key would be a class beyond this are fields without one. */
#define CLASSES_OF_KEYS (PACK_CLASSES_MAX - 256)
/* Streams of so many bytes share a frame: each one costs some thousand instructions. */
#define JOIN_BYTES_MAX  (16u << 10)
#define WORK_KEPT_BYTES (4u << 20)

struct element {
    const uint8_t *p; /* of a value: the field; else NULL */
    uint32_t n;       /* of a value: its bytes; of a class: its place among classes */
    uint16_t follow;  /* the guess */
    uint16_t class;   /* of a value; the element itself for all others */
};

struct class
{
    uint32_t tag, element;
    bool attr;
    struct bytes key, last; /* last: the value that was told before */
};

struct packer {
    struct element *elements;
    uint32_t n_elements, n_classes;
    uint32_t prev, run; /* the element before; right guesses not told yet */
    unsigned bits;
    uint16_t *fields, *spans, *traces; /* by hash: numbers, 0 for none */
    uint64_t *span_ids;                /* from 1 */
    const uint8_t **trace_ids;         /* from 1 */
    uint32_t n_spans, n_traces;
    uint64_t start; /* of the span before, then of this one */
    const uint8_t *trace;
    uint8_t *at[PACK_STREAMS], *begin[PACK_STREAMS];
    uint8_t join[JOIN_BYTES_MAX];
    uint8_t *memory;
    size_t memory_n;
    struct class classes[PACK_CLASSES_MAX]; /* from 1 */
    uint16_t class_of[1u << CLASS_BITS];
};

static pthread_key_t packer_key;
static pthread_once_t packer_once = PTHREAD_ONCE_INIT;
static _Thread_local struct packer *packer_own;

static void packer_free(void *p)
{
    struct packer *k = p;
    packer_own = NULL;
    free(k->memory);
    free(k);
}

/* The main thread runs no key destructors when the process exits. */
static void main_thread_free(void)
{
    if (packer_own != NULL)
        packer_free(packer_own);
}

static void packer_key_init(void)
{
    ASSERT(pthread_key_create(&packer_key, packer_free) == 0);
    (void)atexit(main_thread_free);
}

static struct packer *packer_get(void)
{
    if (LIKELY(packer_own != NULL))
        return packer_own;
    pthread_once(&packer_once, packer_key_init);
    struct packer *k = xcalloc(1, sizeof(*k));
    ASSERT(pthread_setspecific(packer_key, k) == 0);
    packer_own = k;
    return k;
}

/* Lays out the working memory for a request of n bytes; false when there is none. */
static bool packer_begin(struct packer *k, size_t n)
{
    unsigned bits = 8;
    while ((size_t)1 << bits < n / 16 && bits < 15)
        bits++;
    size_t slots = (size_t)1 << bits, ids = n / 10 + 2;
    /* A value has two bytes and more. */
    size_t elements = MIN(n / 2 + PACK_FIXED + PACK_CLASSES_MAX, (size_t)PACK_ELEMENTS_MAX);
    size_t need = elements * sizeof(*k->elements) + 2 * ids * 8 + 2 * slots * 2;
    for (enum pack_stream i = 0; i < PACK_STREAMS; i++)
        need += pack_stream_room(n, i);
    if (need > k->memory_n) {
        free(k->memory);
        k->memory = malloc(need);
        k->memory_n = k->memory == NULL ? 0 : need;
        if (k->memory == NULL)
            return false;
    }
    k->elements = (struct element *)(void *)k->memory;
    k->span_ids = (uint64_t *)(void *)(k->elements + elements);
    k->trace_ids = (const uint8_t **)(void *)(k->span_ids + ids);
    k->bits = bits;
    k->fields = (uint16_t *)(void *)(k->trace_ids + ids);
    k->spans = k->fields + slots;
    k->traces = k->spans + slots / 2;
    uint8_t *at = (uint8_t *)(k->fields + 2 * slots);
    for (enum pack_stream i = 0; i < PACK_STREAMS; at += pack_stream_room(n, i++))
        k->begin[i] = k->at[i] = at;
    ASSERT(at == k->memory + need);
    memset(k->fields, 0, 2 * slots * sizeof(*k->fields));
    memset(k->class_of, 0, sizeof(k->class_of));
    for (uint32_t i = 0; i < PACK_FIXED; i++)
        k->elements[i] = (struct element){.class = (uint16_t)i};
    k->n_elements = PACK_FIXED;
    k->n_classes = 1;
    k->n_spans = k->n_traces = k->prev = k->run = 0;
    k->start = 0;
    k->trace = NULL;
    return true;
}

static inline uint64_t hash_field(const uint8_t *p, size_t n)
{
    uint64_t h = n * 0x9e3779b97f4a7c15u, w = 0;
    if (n >= 8) {
        for (size_t i = 0; i + 8 < n; i += 8) {
            h = (h ^ get_u64le(p + i)) * 0xff51afd7ed558ccdu;
            h ^= h >> 29;
        }
        w = get_u64le(p + n - 8);
    } else {
        memcpy(&w, p, n);
    }
    h = (h ^ w) * 0xc4ceb9fe1a85ec53u;
    return h ^ h >> 32;
}

/* WHY not memcmp: most fields have some 20 bytes, and a call takes longer. */
static inline bool same(const uint8_t *a, const uint8_t *b, size_t n)
{
    if (n < 8)
        return memcmp(a, b, n) == 0;
    for (size_t i = 0; i + 8 < n; i += 8) {
        if (get_u64le(a + i) != get_u64le(b + i))
            return false;
    }
    return get_u64le(a + n - 8) == get_u64le(b + n - 8);
}

static inline size_t same_first(struct bytes a, struct bytes b)
{
    size_t n = MIN(a.n, b.n), i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t d = get_u64le(a.p + i) ^ get_u64le(b.p + i);
        if (d != 0)
            return i + (size_t)__builtin_ctzll(d) / 8;
    }
    while (i < n && a.p[i] == b.p[i])
        i++;
    return i;
}

static inline void put_number(struct packer *k, enum pack_stream i, uint64_t v)
{
    uint8_t *at = k->at[i];
    for (; v >= 0x80; v >>= 7)
        *at++ = (uint8_t)(v | 0x80);
    *at++ = (uint8_t)v;
    k->at[i] = at;
}

static inline void put_bytes(struct packer *k, enum pack_stream i, const void *p, size_t n)
{
    memcpy(k->at[i], p, n);
    k->at[i] += n;
}

static inline void put_op(struct packer *k, enum pack_op op)
{
    *k->at[PACK_OPS]++ = (uint8_t)((unsigned)op << PACK_OP_SHIFT | k->run);
    k->run = 0;
}

/* The guess was right. */
static inline void put_guessed(struct packer *k, uint32_t e)
{
    if (UNLIKELY(k->run == PACK_RUN_MAX))
        put_op(k, PACK_OP_RUN);
    k->run++;
    k->prev = e;
}

static inline void put_learnt(struct packer *k, uint32_t e)
{
    struct element *prev = &k->elements[k->prev];
    prev->follow = (uint16_t)e;
    k->elements[prev->class].follow = (uint16_t)e;
    k->prev = e;
}

static inline void put_element(struct packer *k, uint32_t e)
{
    const struct element *prev = &k->elements[k->prev];
    if (prev->follow == e) {
        put_guessed(k, e);
        return;
    }
    if (k->elements[prev->class].follow == e) {
        put_op(k, PACK_OP_CLASS);
    } else {
        put_op(k, PACK_OP_KNOWN);
        put_number(k, PACK_NUMBERS, e);
    }
    put_learnt(k, e);
}

/* A tag or a length, which has to be as short as it can be: pack_get writes no other. */
static inline const uint8_t *get_exact(const uint8_t *p, const uint8_t *end, uint64_t *ret)
{
    if (LIKELY(p < end && *p < 0x80)) {
        *ret = *p;
        return p + 1;
    }
    if (end - p >= 2 && p[1] < 0x80 && p[1] != 0) {
        *ret = (uint64_t)(p[0] & 0x7f) | (uint64_t)p[1] << 7;
        return p + 2;
    }
    const uint8_t *q = varint_get(p, end, ret);
    return q != NULL && (size_t)(q - p) == varint_size(*ret) ? q : NULL;
}

/* The value of a field whose tag was read; it ends where the field does. False: malformed. */
static inline bool get_value(const uint8_t *p, const uint8_t *end, uint64_t tag, struct bytes *ret)
{
    const uint8_t *q;
    uint64_t n;
    switch (tag & 7) {
    case 0:
        q = varint_get(p, end, &n); /* told as it is, however long */
        n = q == NULL ? 0 : (uint64_t)(q - p);
        break;
    case 1:
        n = 8;
        break;
    case 2:
        p = get_exact(p, end, &n);
        break;
    case 5:
        n = 4;
        break;
    default:
        return false;
    }
    if (p == NULL || n > (uint64_t)(end - p) || ((tag & 7) == 0 && n == 0))
        return false;
    *ret = bytes_n(p, n);
    return true;
}

/* Key and value of an attribute that holds just these, in this order. */
static bool attr_parts(struct bytes v, struct bytes *ret_key, struct bytes *ret_value)
{
    const uint8_t *p = v.p, *end = v.p + v.n;
    uint64_t n;
    if (p == end || *p != 0x0a || (p = get_exact(p + 1, end, &n)) == NULL ||
        n >= (uint64_t)(end - p))
        return false;
    *ret_key = bytes_n(p, n);
    p += n;
    if (*p != 0x12 || (p = get_exact(p + 1, end, &n)) == NULL || n != (uint64_t)(end - p))
        return false;
    *ret_value = bytes_n(p, n);
    return true;
}

static inline bool class_is(const struct class *c, uint32_t tag, bool attr, struct bytes key)
{
    return c->tag == tag && c->attr == attr && c->key.n == key.n &&
           (key.n == 0 || same(c->key.p, key.p, key.n));
}

/* NULL: there is none yet, and *ret_slot is where it goes. */
static struct class *class_find(
    struct packer *k, uint32_t tag, bool attr, struct bytes key, uint16_t **ret_slot)
{
    uint64_t h = (key.n == 0 ? attr : hash_field(key.p, key.n)) + tag * 0x9e3779b97f4a7c15u;
    h = h * 0xff51afd7ed558ccdu >> (64 - CLASS_BITS);
    for (;; h = (h + 1) % ARRAY_LEN(k->class_of)) {
        struct class *c = &k->classes[k->class_of[h]];
        *ret_slot = &k->class_of[h];
        if (k->class_of[h] == 0)
            return NULL;
        if (class_is(c, tag, attr, key))
            return c;
    }
}

/* Tells the class of a field; NULL: there are too many. guess: an element that is its class, often
 * enough. */
static struct class *put_class(
    struct packer *k, uint32_t tag, bool attr, struct bytes key, uint32_t guess)
{
    uint16_t *slot;
    struct class *c = &k->classes[k->elements[guess].n];
    if (guess < PACK_FIXED || !class_is(c, tag, attr, key))
        c = class_find(k, tag, attr, key, &slot);
    if (LIKELY(c != NULL)) {
        put_element(k, c->element);
        return c;
    }
    if (k->n_classes == PACK_CLASSES_MAX || k->n_elements == PACK_ELEMENTS_MAX)
        return NULL;
    uint32_t e = k->n_elements++;
    *slot = (uint16_t)k->n_classes;
    c = &k->classes[k->n_classes];
    *c = (struct class){.tag = tag, .element = e, .attr = attr, .key = key};
    k->elements[e] = (struct element){.n = k->n_classes++, .class = (uint16_t)e};
    put_op(k, PACK_OP_NEW);
    put_number(k, PACK_LENGTHS, tag);
    put_number(k, PACK_LENGTHS, attr ? key.n + 1 : 0);
    if (key.n > 0)
        put_bytes(k, PACK_TEXT, key.p, key.n);
    put_learnt(k, e);
    return c;
}

/* Tells a value that is new: behind what it has in common with the last one of its class, and of a
 * string that is an attribute without the frame. */
static inline void put_value(struct packer *k, struct class *c, struct bytes v)
{
    uint64_t n, framed = 0;
    if (c->attr && v.n >= 2 && v.p[0] == 0x0a) {
        const uint8_t *p = get_exact(v.p + 1, v.p + v.n, &n);
        if (p != NULL && n == (uint64_t)(v.p + v.n - p)) {
            v = bytes_n(p, n);
            framed = 1;
        }
    }
    size_t as_before = same_first(v, c->last);
    put_number(k, PACK_LENGTHS, (uint64_t)(v.n - as_before) << 1 | framed);
    put_number(k, PACK_LENGTHS, as_before);
    put_bytes(k, PACK_TEXT, v.p + as_before, v.n - as_before);
    c->last = v;
}

/* A field that is told whole, at the beginning of `rest`; its value begins at p, *ret is where it
 * ends. */
static bool put_field(struct packer *k, struct bytes rest, const uint8_t *p, uint64_t tag,
    bool attr, uint32_t guess, const uint8_t **ret)
{
    struct bytes v, key = {0}, whole;
    if (!get_value(p, rest.p + rest.n, tag, &v))
        return false;
    *ret = v.p + v.n;
    whole = bytes_n(rest.p, (size_t)(*ret - rest.p));
    uint16_t *slot = &k->fields[hash_field(whole.p, whole.n) >> (64 - k->bits)];
    const struct element *x = &k->elements[*slot];
    if (*slot != 0 && x->n == whole.n && same(x->p, whole.p, whole.n)) {
        put_element(k, *slot);
        return true;
    }
    attr = attr && k->n_classes < CLASSES_OF_KEYS && attr_parts(v, &key, &v);
    struct class *c = put_class(k, (uint32_t)tag, attr, attr ? key : (struct bytes){0}, guess);
    if (c == NULL)
        return false;
    put_value(k, c, v);
    if (k->n_elements < PACK_ELEMENTS_MAX) {
        *slot = (uint16_t)k->n_elements;
        k->elements[k->n_elements++] =
            (struct element){.p = whole.p, .n = (uint32_t)whole.n, .class = (uint16_t)c->element};
    }
    return true;
}

static inline void put_trace(struct packer *k, const uint8_t *id)
{
    if (k->trace != NULL && same(k->trace, id, 16)) {
        put_element(k, PACK_TRACE_SAME);
        return;
    }
    k->trace = id;
    uint64_t h = (get_u64le(id) ^ get_u64le(id + 8)) * 0x9e3779b97f4a7c15u;
    uint16_t *slot = &k->traces[h >> (65 - k->bits)];
    if (*slot != 0 && same(k->trace_ids[*slot], id, 16)) {
        put_element(k, PACK_TRACE_REF);
        put_number(k, PACK_NUMBERS, k->n_traces - *slot);
        return;
    }
    put_element(k, PACK_TRACE_NEW);
    put_bytes(k, PACK_RAW, id, 16);
    if (k->n_traces < UINT16_MAX) {
        k->trace_ids[++k->n_traces] = id;
        *slot = (uint16_t)k->n_traces;
    }
}

static inline void put_span_id(struct packer *k, const uint8_t *p, bool parent)
{
    uint64_t id = get_u64le(p);
    uint16_t *slot = &k->spans[id * 0x9e3779b97f4a7c15u >> (65 - k->bits)];
    if (*slot != 0 && k->span_ids[*slot] == id) {
        put_element(k, parent ? PACK_PARENT_REF : PACK_SPAN_REF);
        put_number(k, PACK_NUMBERS, k->n_spans - *slot);
        return;
    }
    put_element(k, parent ? PACK_PARENT_NEW : PACK_SPAN_NEW);
    put_bytes(k, PACK_RAW, p, 8);
    if (k->n_spans < UINT16_MAX) {
        k->span_ids[++k->n_spans] = id;
        *slot = (uint16_t)k->n_spans;
    }
}

/* What a field is, by the message that it is in and its tag. */
enum field {
    FIELD_WHOLE,
    FIELD_ATTR,
    FIELD_TRACE,
    FIELD_SPAN,
    FIELD_PARENT,
    FIELD_START,
    FIELD_STOP,
    FIELD_EVENT_TIME,
    FIELD_MESSAGE, /* + its level */
};
static const uint8_t fields[PACK_LEVELS][128] = {
    [PACK_REQUEST] = {[0x0a] = FIELD_MESSAGE + PACK_RESOURCE_SPANS},
    [PACK_RESOURCE_SPANS] =
        {[0x0a] = FIELD_MESSAGE + PACK_RESOURCE, [0x12] = FIELD_MESSAGE + PACK_SCOPE_SPANS},
    [PACK_RESOURCE] = {[0x0a] = FIELD_ATTR},
    [PACK_SCOPE_SPANS] = {[0x12] = FIELD_MESSAGE + PACK_SPAN},
    [PACK_SPAN] = {[PACK_TAG_TRACE] = FIELD_TRACE,
        [PACK_TAG_SPAN] = FIELD_SPAN,
        [PACK_TAG_PARENT] = FIELD_PARENT,
        [PACK_TAG_START] = FIELD_START,
        [PACK_TAG_STOP] = FIELD_STOP,
        [0x4a] = FIELD_ATTR,
        [0x5a] = FIELD_MESSAGE + PACK_EVENT},
    [PACK_EVENT] = {[PACK_TAG_EVENT_TIME] = FIELD_EVENT_TIME, [0x1a] = FIELD_ATTR},
};

/* Ids and times: where the field ends. NULL: it is not what it should be, and is told whole. */
static inline const uint8_t *put_special(
    struct packer *k, enum field f, const uint8_t *v, size_t room)
{
    switch (f) {
    case FIELD_TRACE:
        if (room < 17 || *v != 16)
            return NULL;
        put_trace(k, v + 1);
        return v + 17;
    case FIELD_SPAN:
    case FIELD_PARENT:
        if (room < 9 || *v != 8)
            return NULL;
        put_span_id(k, v + 1, f == FIELD_PARENT);
        return v + 9;
    case FIELD_START:
        if (room < 8)
            return NULL;
        put_element(k, PACK_START);
        put_number(k, PACK_RAW, zigzag_encode((int64_t)(get_u64le(v) - k->start)));
        k->start = get_u64le(v);
        return v + 8;
    case FIELD_STOP:
    case FIELD_EVENT_TIME:
        if (room < 8)
            return NULL;
        put_element(k, f == FIELD_STOP ? PACK_STOP : PACK_EVENT_TIME);
        put_number(k, PACK_RAW, get_u64le(v) - k->start);
        return v + 8;
    case FIELD_WHOLE:
    case FIELD_ATTR:
    case FIELD_MESSAGE:
    default:
        return NULL;
    }
}

/* False: not a request that can be packed. */
static bool pack_walk(struct packer *k, struct bytes in)
{
    const uint8_t *p = in.p, *ends[PACK_LEVELS] = {in.p + in.n};
    enum pack_level level = PACK_REQUEST;
    uint64_t tag, n;
    for (;;) {
        const uint8_t *end = ends[level], *field = p, *next;
        uint32_t guess = k->elements[k->prev].follow;
        const struct element *x = &k->elements[guess];
        if (x->p != NULL && (size_t)(end - p) >= x->n && same(p, x->p, x->n)) {
            p += x->n;
            put_guessed(k, guess);
            continue;
        }
        if (p == end) {
            put_element(k, PACK_END + level);
            if (level == PACK_REQUEST)
                break;
            level = pack_outer[level];
            continue;
        }
        if ((p = get_exact(p, end, &tag)) == NULL || tag > UINT32_MAX)
            return false;
        enum field f = tag < ARRAY_LEN(fields[0]) ? fields[level][tag] : FIELD_WHOLE;
        if (f >= FIELD_MESSAGE) {
            if ((p = get_exact(p, end, &n)) == NULL || n > (uint64_t)(end - p))
                return false;
            level = (enum pack_level)(f - FIELD_MESSAGE);
            ends[level] = p + n;
            put_element(k, PACK_OPEN + level);
        } else if (f > FIELD_ATTR && (next = put_special(k, f, p, (size_t)(end - p))) != NULL) {
            p = next;
        } else if (!put_field(k, bytes_n(field, (size_t)(end - field)), p, tag, f == FIELD_ATTR,
                       x->class, &p)) {
            return false;
        }
    }
    if (k->run > 0)
        put_op(k, PACK_OP_RUN);
    return true;
}

static void put_u24le(uint8_t *p, size_t v)
{
    ASSERT(v < 1u << 24);
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
    p[2] = (uint8_t)(v >> 16);
}

/* Appends bytes of a stream, as a frame where that is shorter; *ret_held: what that takes. */
static bool put_held(struct buf *out, struct bytes s, int level, size_t *ret_held)
{
    size_t from = out->n;
    struct err err;
    if (level != 0) {
        enum ec ec = level == PACK_LEVEL_SHORT
                         ? zstd_compress_matches(out, s, level, PACK_MATCH_MIN, &err)
                         : zstd_compress_symbols(out, s, level, &err);
        if (ec != EC_OK)
            return false;
        if (out->n - from >= s.n)
            out->n = from;
    }
    if (out->n == from)
        buf_put(out, s.p, s.n);
    *ret_held = out->n - from;
    return !buf_failed(out);
}

/* WHY although pack_stream_room says so: a stream that ran into the next one would be acknowledged,
 * and could not be read. */
static bool streams_fit(const struct packer *k, size_t n)
{
    for (enum pack_stream i = 0; i < PACK_STREAMS; i++) {
        if (k->at[i] > k->begin[i] + pack_stream_room(n, i))
            return false;
    }
    return true;
}

static int stream_level(enum pack_stream i, bool join)
{
    if (i == PACK_RAW || (join && i == PACK_NUMBERS))
        return 0;
    return join ? PACK_LEVEL_SHORT : PACK_LEVEL;
}

static bool put_streams(struct packer *k, struct buf *out)
{
    static const uint8_t zero[PACK_HEAD_BYTES];
    size_t head = out->n, joined = 0, shrinking = 0;
    for (enum pack_stream i = 0; i <= PACK_TEXT; i++)
        shrinking += (size_t)(k->at[i] - k->begin[i]);
    bool join = shrinking <= sizeof(k->join);
    buf_put(out, zero, sizeof(zero));
    for (enum pack_stream i = 0; i < PACK_STREAMS; i++) {
        struct bytes s = bytes_n(k->begin[i], (size_t)(k->at[i] - k->begin[i]));
        size_t n = s.n, held = 0;
        if (join && i <= PACK_TEXT) {
            memcpy(k->join + joined, s.p, s.n);
            joined += s.n;
            s = bytes_n(k->join, joined);
        }
        if (!join || i >= PACK_TEXT) {
            if (!put_held(out, s, stream_level(i, join), &held))
                return false;
        }
        if (buf_failed(out))
            return false;
        put_u24le(out->p + head + 6 * (size_t)i, n);
        put_u24le(out->p + head + 6 * (size_t)i + 3, held);
    }
    return true;
}

bool pack_put(struct buf *out, struct bytes otlp)
{
    if (otlp.n < PACK_BYTES_MIN || otlp.n > PACK_BYTES_MAX)
        return false;
    struct packer *k = packer_get();
    bool ok = packer_begin(k, otlp.n) && pack_walk(k, otlp) && streams_fit(k, otlp.n) &&
              put_streams(k, out);
    if (k->memory_n > WORK_KEPT_BYTES) {
        free(k->memory);
        k->memory = NULL;
        k->memory_n = 0;
    }
    return ok;
}
