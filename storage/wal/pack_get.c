/* SPDX-License-Identifier: Apache-2.0
 * Unpacking: does what pack_put was told, element by element.
 *
 * INVARIANT: nothing that is read is believed: every length is held against what is left of its
 * stream and of the output, so that bytes that pack_put did not write cost no more than those that
 * it did. Each element makes the output longer, or ends a message that did. */
#include "base/compress.h"
#include "pack_model.h"

struct element {
    const uint8_t *p; /* of a value: the field; else NULL */
    uint32_t n;
    uint16_t follow, class;
};

struct class
{
    uint32_t tag;
    bool attr;
    struct bytes key, last;
};

struct cursor {
    const uint8_t *p, *end;
};

struct unpacker {
    struct element *elements;
    uint32_t n_elements, elements_max, n_classes;
    struct class *classes;
    uint32_t prev;
    bool ended; /* the request */
    uint64_t *span_ids;
    uint8_t (*trace_ids)[16];
    uint32_t n_spans, n_traces, ids_max;
    uint64_t start;
    uint8_t trace[16];
    struct cursor in[PACK_STREAMS];
    uint8_t *fields, *fields_end; /* where the fields of new values are put together */
    uint8_t *out, *out_end;
    enum pack_level level;
    uint8_t *body[PACK_LEVELS]; /* of each open message */
};

static bool get_number(struct unpacker *u, enum pack_stream i, uint64_t *ret)
{
    const uint8_t *p = varint_get(u->in[i].p, u->in[i].end, ret);
    if (p == NULL)
        return false;
    u->in[i].p = p;
    return true;
}

static const uint8_t *get_bytes(struct unpacker *u, enum pack_stream i, uint64_t n)
{
    const uint8_t *p = u->in[i].p;
    if (n > (uint64_t)(u->in[i].end - p))
        return NULL;
    u->in[i].p = p + n;
    return p;
}

static bool out_bytes(struct unpacker *u, const void *p, size_t n)
{
    if (n > (size_t)(u->out_end - u->out))
        return false;
    memcpy(u->out, p, n);
    u->out += n;
    return true;
}

static bool out_fixed(struct unpacker *u, uint8_t tag, uint64_t v)
{
    uint8_t field[9] = {tag};
    put_u64le(field + 1, v);
    return out_bytes(u, field, sizeof(field));
}

static bool out_id(struct unpacker *u, uint8_t tag, const void *id, uint8_t n)
{
    uint8_t field[18] = {tag, n};
    memcpy(field + 2, id, n);
    return out_bytes(u, field, 2 + (size_t)n);
}

/* A message begins: two bytes are left for its length. */
static bool message_open(struct unpacker *u, enum pack_level level)
{
    if (pack_outer[level] != u->level || level == PACK_REQUEST || u->out_end - u->out < 3)
        return false;
    *u->out = pack_tag[level];
    u->out += 3;
    u->level = level;
    u->body[level] = u->out;
    return true;
}

static bool message_end(struct unpacker *u, enum pack_level level)
{
    if (level != u->level)
        return false;
    if (level == PACK_REQUEST) {
        u->ended = true;
        return true;
    }
    uint8_t *body = u->body[level];
    size_t n = (size_t)(u->out - body), size = varint_size(n);
    if (size > 2 && size - 2 > (size_t)(u->out_end - u->out))
        return false;
    if (size != 2)
        memmove(body - 2 + size, body, n);
    u->out += size;
    u->out -= 2;
    varint_put(body - 2, n);
    u->level = pack_outer[level];
    return true;
}

/* Puts together the field of a value, behind those before. NULL: there is no room. */
static uint8_t *field_put(uint8_t *p, const struct class *c, uint64_t n, bool framed)
{
    p += varint_put(p, c->tag);
    if (c->attr) {
        uint64_t value_n = framed ? 1 + varint_size(n) + n : n;
        uint64_t attr_n = 2 + varint_size(c->key.n) + c->key.n + varint_size(value_n) + value_n;
        p += varint_put(p, attr_n);
        *p++ = 0x0a;
        p += varint_put(p, c->key.n);
        if (c->key.n > 0)
            memcpy(p, c->key.p, c->key.n);
        p += c->key.n;
        *p++ = 0x12;
        p += varint_put(p, value_n);
        if (framed) {
            *p++ = 0x0a;
            p += varint_put(p, n);
        }
    } else if ((c->tag & 7) == 2) {
        p += varint_put(p, n);
    }
    return p;
}

#define FRAME_BYTES 64u /* tags and lengths of a field, at most */

/* A new value of a class that was told. */
static bool get_value(struct unpacker *u, uint32_t e)
{
    struct class *c = &u->classes[u->elements[e].n];
    uint64_t length, as_before;
    if (!get_number(u, PACK_LENGTHS, &length) || !get_number(u, PACK_LENGTHS, &as_before))
        return false;
    const uint8_t *text = get_bytes(u, PACK_TEXT, length >> 1);
    uint64_t n = (length >> 1) + as_before;
    if (text == NULL || as_before > c->last.n ||
        n + c->key.n + FRAME_BYTES > (uint64_t)(u->fields_end - u->fields))
        return false;
    uint8_t *field = u->fields, *p = field_put(field, c, n, length & 1);
    if (as_before > 0)
        memcpy(p, c->last.p, as_before);
    if (length >> 1 > 0)
        memcpy(p + as_before, text, length >> 1);
    c->last = bytes_n(p, n);
    u->fields = p + n;
    size_t field_n = (size_t)(u->fields - field);
    if (u->n_elements < PACK_ELEMENTS_MAX) {
        if (u->n_elements == u->elements_max)
            return false;
        u->elements[u->n_elements++] =
            (struct element){.p = field, .n = (uint32_t)field_n, .class = (uint16_t)e};
    }
    return out_bytes(u, field, field_n);
}

static bool get_span_id(struct unpacker *u, bool known, uint8_t tag)
{
    uint64_t back, id;
    if (known) {
        if (!get_number(u, PACK_NUMBERS, &back) || back >= u->n_spans)
            return false;
        id = u->span_ids[u->n_spans - 1 - back];
    } else {
        const uint8_t *p = get_bytes(u, PACK_RAW, 8);
        if (p == NULL)
            return false;
        id = get_u64le(p);
        if (u->n_spans < UINT16_MAX) {
            if (u->n_spans == u->ids_max)
                return false;
            u->span_ids[u->n_spans++] = id;
        }
    }
    return out_id(u, tag, &id, 8);
}

static bool get_trace_id(struct unpacker *u, bool known)
{
    uint64_t back;
    if (known) {
        if (!get_number(u, PACK_NUMBERS, &back) || back >= u->n_traces)
            return false;
        memcpy(u->trace, u->trace_ids[u->n_traces - 1 - back], 16);
    } else {
        const uint8_t *p = get_bytes(u, PACK_RAW, 16);
        if (p == NULL)
            return false;
        memcpy(u->trace, p, 16);
        if (u->n_traces < UINT16_MAX) {
            if (u->n_traces == u->ids_max)
                return false;
            memcpy(u->trace_ids[u->n_traces++], p, 16);
        }
    }
    return out_id(u, PACK_TAG_TRACE, u->trace, 16);
}

static bool get_time(struct unpacker *u, uint32_t e)
{
    uint64_t v;
    if (!get_number(u, PACK_RAW, &v))
        return false;
    if (e == PACK_START) {
        u->start += (uint64_t)zigzag_decode(v);
        return out_fixed(u, PACK_TAG_START, u->start);
    }
    return out_fixed(u, e == PACK_STOP ? PACK_TAG_STOP : PACK_TAG_EVENT_TIME, u->start + v);
}

/* Writes what the element stands for. */
static bool get_element(struct unpacker *u, uint32_t e)
{
    const struct element *x = &u->elements[e];
    if (x->p != NULL)
        return out_bytes(u, x->p, x->n);
    if (e >= PACK_FIXED)
        return get_value(u, e);
    if (e < PACK_OPEN)
        return message_end(u, (enum pack_level)(e - PACK_END));
    if (e < PACK_TRACE_SAME)
        return message_open(u, (enum pack_level)(e - PACK_OPEN));
    switch (e) {
    case PACK_TRACE_SAME:
        return out_id(u, PACK_TAG_TRACE, u->trace, 16);
    case PACK_TRACE_REF:
    case PACK_TRACE_NEW:
        return get_trace_id(u, e == PACK_TRACE_REF);
    case PACK_SPAN_REF:
    case PACK_SPAN_NEW:
        return get_span_id(u, e == PACK_SPAN_REF, PACK_TAG_SPAN);
    case PACK_PARENT_REF:
    case PACK_PARENT_NEW:
        return get_span_id(u, e == PACK_PARENT_REF, PACK_TAG_PARENT);
    default:
        return get_time(u, e);
    }
}

static bool get_class(struct unpacker *u, uint32_t *ret)
{
    uint64_t tag, key_n;
    if (u->n_classes == PACK_CLASSES_MAX || u->n_elements == u->elements_max)
        return false;
    if (!get_number(u, PACK_LENGTHS, &tag) || !get_number(u, PACK_LENGTHS, &key_n) ||
        tag > UINT32_MAX)
        return false;
    struct class *c = &u->classes[u->n_classes];
    *c = (struct class){.tag = (uint32_t)tag, .attr = key_n != 0};
    c->key.n = key_n == 0 ? 0 : key_n - 1;
    if ((c->key.p = get_bytes(u, PACK_TEXT, c->key.n)) == NULL)
        return false;
    *ret = u->n_elements++;
    u->elements[*ret] = (struct element){.n = u->n_classes++, .class = (uint16_t)*ret};
    return true;
}

static bool get_learnt(struct unpacker *u, enum pack_op op)
{
    struct element *prev = &u->elements[u->prev];
    uint64_t e = 0;
    uint32_t class;
    switch (op) {
    case PACK_OP_CLASS:
        e = u->elements[prev->class].follow;
        break;
    case PACK_OP_KNOWN:
        if (!get_number(u, PACK_NUMBERS, &e) || e >= u->n_elements)
            return false;
        break;
    case PACK_OP_NEW:
        if (!get_class(u, &class))
            return false;
        e = class;
        break;
    case PACK_OP_RUN:
        return true;
    }
    prev->follow = (uint16_t)e;
    u->elements[prev->class].follow = (uint16_t)e;
    u->prev = (uint32_t)e;
    return get_element(u, u->prev);
}

static bool unpack(struct unpacker *u)
{
    struct cursor *ops = &u->in[PACK_OPS];
    while (ops->p < ops->end) {
        uint8_t op = *ops->p++;
        for (unsigned run = op & PACK_RUN_MAX; run > 0; run--) {
            u->prev = u->elements[u->prev].follow;
            if (u->ended || !get_element(u, u->prev))
                return false;
        }
        if (op >> PACK_OP_SHIFT != PACK_OP_RUN && u->ended)
            return false;
        if (!get_learnt(u, (enum pack_op)(op >> PACK_OP_SHIFT)))
            return false;
    }
    for (enum pack_stream i = 0; i < PACK_STREAMS; i++) {
        if (u->in[i].p != u->in[i].end)
            return false;
    }
    return u->ended;
}

static size_t get_u24le(const uint8_t *p)
{
    return (size_t)(p[0] | p[1] << 8 | p[2] << 16);
}

/* Inflates what is a frame to `at`, which has room for all that a request of n bytes can need. */
static enum ec streams_open(
    struct unpacker *u, struct bytes packed, size_t n, uint8_t *at, struct err *err)
{
    const uint8_t *p = packed.p + PACK_HEAD_BYTES, *end = packed.p + packed.n;
    size_t whole[PACK_STREAMS], together = 0; /* together: with those before that hold nothing */
    enum pack_stream first = 0;
    for (enum pack_stream i = 0; i < PACK_STREAMS; i++) {
        size_t held = get_u24le(packed.p + 6 * (size_t)i + 3);
        whole[i] = get_u24le(packed.p + 6 * (size_t)i);
        together += whole[i];
        if (held > (size_t)(end - p) || held > together || whole[i] > pack_stream_room(n, i))
            return ERR(err, EC_CORRUPT, "packed request: stream %d of %zu in %zu bytes", (int)i,
                whole[i], held);
        if (held == 0 && together > 0)
            continue;
        const uint8_t *from = p;
        p += held;
        if (held < together) {
            TRY(zstd_decompress(at, together, bytes_n(from, held), err));
            from = at;
            at += together;
        }
        for (; first <= i; from += whole[first++])
            u->in[first] = (struct cursor){from, from + whole[first]};
        together = 0;
    }
    if (first != PACK_STREAMS || p != end)
        return ERR(err, EC_CORRUPT, "packed request: its streams do not end with it");
    return EC_OK;
}

/* Lays out the working memory; *ret_rest: room for the streams. */
static bool unpacker_begin(struct unpacker *u, size_t n, struct buf *work, uint8_t **ret_rest)
{
    size_t elements = MIN(n / 2 + PACK_FIXED + PACK_CLASSES_MAX, (size_t)PACK_ELEMENTS_MAX);
    size_t ids = n / 10 + 2, fields = n + FRAME_BYTES;
    size_t need = PACK_CLASSES_MAX * sizeof(*u->classes) + elements * sizeof(*u->elements) +
                  ids * (8 + 16) + fields;
    for (enum pack_stream i = 0; i < PACK_STREAMS; i++)
        need += pack_stream_room(n, i);
    buf_reset(work);
    if (!buf_reserve(work, need))
        return false;
    u->classes = (struct class *)(void *)work->p;
    u->elements = (struct element *)(void *)(u->classes + PACK_CLASSES_MAX);
    u->span_ids = (uint64_t *)(void *)(u->elements + elements);
    u->trace_ids = (uint8_t(*)[16])(void *)(u->span_ids + ids);
    u->fields = (uint8_t *)(u->trace_ids + ids);
    u->fields_end = *ret_rest = u->fields + fields;
    u->elements_max = (uint32_t)elements;
    u->ids_max = (uint32_t)ids;
    u->n_elements = PACK_FIXED;
    u->n_classes = 1;
    for (uint32_t i = 0; i < PACK_FIXED; i++)
        u->elements[i] = (struct element){.class = (uint16_t)i};
    return true;
}

enum ec pack_get(uint8_t *out, size_t n, struct bytes packed, struct buf *work, struct err *err)
{
    struct unpacker u = {.out = out, .out_end = out + n + PACK_SLACK};
    uint8_t *rest;
    if (packed.n < PACK_HEAD_BYTES || n > PACK_BYTES_MAX)
        return ERR(err, EC_CORRUPT, "packed request: %zu bytes for %zu", packed.n, n);
    if (!unpacker_begin(&u, n, work, &rest))
        return ERR(err, EC_LIMIT, "packed request: no memory to make %zu bytes", n);
    TRY(streams_open(&u, packed, n, rest, err));
    if (!unpack(&u) || (size_t)(u.out - out) != n)
        return ERR(err, EC_CORRUPT, "packed request: it does not make %zu bytes", n);
    return EC_OK;
}
