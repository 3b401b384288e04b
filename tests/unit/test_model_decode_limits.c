/* SPDX-License-Identifier: Apache-2.0
 * The OTLP decoder against malformed input and at its limits. */
#include "otlp_fixture.h"
#include "test_util.h"

/* Decodes from memory of exactly the input's size, so that the sanitizer sees one byte too many. */
static enum ec try_n(const void *p, size_t n, const struct batch_limits *limits, struct err *err)
{
    struct arena arena;
    struct batch b = {.n_spans = 4242};
    uint8_t *exact = malloc(n == 0 ? 1 : n);
    if (n != 0)
        memcpy(exact, p, n);
    arena_init(&arena, NULL, 0);
    enum ec ec = batch_decode(&b, bytes_n(exact, n), limits, &arena, err);
    if (ec != EC_OK)
        assert_int_equal(b.n_spans, 4242); /* written only on success */
    arena_deinit(&arena);
    free(exact);
    return ec;
}

static enum ec try_buf(const struct buf *b)
{
    struct err err = {0};
    enum ec ec = try_n(b->p, b->n, NULL, &err);
    if (ec == EC_INVALID)
        assert_non_null(strstr(err.msg, " at byte "));
    return ec;
}

/* Where a message is: the field numbers from the request down to it. */
struct place {
    const char *name;
    uint32_t path[8];
    struct {
        uint32_t field;
        enum pb_wire wire;
    } fields[20];
};

static const struct place places[] = {
    {"request", {0}, {{1, PB_LEN}}},
    {"resource_spans", {1}, {{1, PB_LEN}, {2, PB_LEN}, {3, PB_LEN}}},
    {"resource", {1, 1}, {{1, PB_LEN}, {2, PB_VARINT}, {3, PB_LEN}}},
    {"entity_ref", {1, 1, 3}, {{1, PB_LEN}, {2, PB_LEN}, {3, PB_LEN}, {4, PB_LEN}}},
    {"resource attribute", {1, 1, 1}, {{1, PB_LEN}, {2, PB_LEN}}},
    {"scope_spans", {1, 2}, {{1, PB_LEN}, {2, PB_LEN}, {3, PB_LEN}}},
    {"old scope_spans", {1, 1000}, {{1, PB_LEN}, {2, PB_LEN}, {3, PB_LEN}}},
    {"scope", {1, 2, 1}, {{1, PB_LEN}, {2, PB_LEN}, {3, PB_LEN}, {4, PB_VARINT}}},
    {"span", {1, 2, 2},
        {{1, PB_LEN}, {2, PB_LEN}, {3, PB_LEN}, {4, PB_LEN}, {5, PB_LEN}, {6, PB_VARINT},
            {7, PB_FIXED64}, {8, PB_FIXED64}, {9, PB_LEN}, {10, PB_VARINT}, {11, PB_LEN},
            {12, PB_VARINT}, {13, PB_LEN}, {14, PB_VARINT}, {15, PB_LEN}, {16, PB_FIXED32}}},
    {"event", {1, 2, 2, 11}, {{1, PB_FIXED64}, {2, PB_LEN}, {3, PB_LEN}, {4, PB_VARINT}}},
    {"link", {1, 2, 2, 13},
        {{1, PB_LEN}, {2, PB_LEN}, {3, PB_LEN}, {4, PB_LEN}, {5, PB_VARINT}, {6, PB_FIXED32}}},
    {"status", {1, 2, 2, 15}, {{2, PB_LEN}, {3, PB_VARINT}}},
    {"attribute", {1, 2, 2, 9}, {{1, PB_LEN}, {2, PB_LEN}}},
    {"value", {1, 2, 2, 9, 2},
        {{1, PB_LEN}, {2, PB_VARINT}, {3, PB_VARINT}, {4, PB_FIXED64}, {5, PB_LEN}, {6, PB_LEN},
            {7, PB_LEN}}},
    {"array", {1, 2, 2, 9, 2, 5}, {{1, PB_LEN}}},
    {"kvlist", {1, 2, 2, 9, 2, 6}, {{1, PB_LEN}}},
    {"kvlist member", {1, 2, 2, 9, 2, 6, 1}, {{1, PB_LEN}, {2, PB_LEN}}},
};

/* `content` as the message at that place. */
static void put_at(struct buf *b, const struct place *place, struct str content)
{
    size_t marks[8];
    unsigned n = 0;
    while (place->path[n] != 0) {
        marks[n] = pb_begin(b, place->path[n]);
        n++;
    }
    buf_puts(b, content);
    while (n > 0)
        pb_end(b, marks[--n]);
}

static enum ec try_at(const struct place *place, struct str content)
{
    struct buf b = BUF_INIT;
    put_at(&b, place, content);
    enum ec ec = try_buf(&b);
    buf_deinit(&b);
    return ec;
}

static void put_field(struct buf *b, uint32_t field, enum pb_wire wire)
{
    switch (wire) {
    case PB_VARINT:
        pb_put_varint(b, field, 1);
        break;
    case PB_FIXED64:
        pb_put_fixed64(b, field, 0);
        break;
    case PB_FIXED32:
        pb_put_fixed32(b, field, 0);
        break;
    case PB_LEN:
        pb_put_bytes(b, field, STR(""));
        break;
    }
}

static void test_decode__wrong_wire_types_are_refused(void **state)
{
    (void)state;
    static const enum pb_wire wires[] = {PB_VARINT, PB_FIXED64, PB_LEN, PB_FIXED32};
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        for (size_t f = 0; places[i].fields[f].field != 0; f++) {
            uint32_t field = places[i].fields[f].field;
            for (size_t w = 0; w < ARRAY_LEN(wires); w++) {
                struct buf content = BUF_INIT;
                put_field(&content, field, wires[w]);
                enum ec want = wires[w] == places[i].fields[f].wire ? EC_OK : EC_INVALID;
                enum ec ec = try_at(&places[i], buf_str(&content));
                if (ec != want)
                    fail_msg("%s field %u wire %d", places[i].name, field, (int)wires[w]);
                buf_deinit(&content);
            }
            /* A group with a known number is a wrong wire type, too. */
            struct buf group = BUF_INIT;
            buf_put_varint(&group, field << 3 | 3);
            buf_put_varint(&group, field << 3 | 4);
            assert_int_equal(try_at(&places[i], buf_str(&group)), EC_INVALID);
            buf_deinit(&group);
        }
    }
}

static void test_decode__unknown_fields_are_skipped(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        struct str bytes;
        bool good;
    } cases[] = {
        {"varint", {"\xf8\x07\xff\x01", 4}, true},
        {"varint of ten bytes", {"\xf8\x07\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12}, true},
        {"varint over 64 bits", {"\xf8\x07\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 12}, false},
        {"varint without an end", {"\xf8\x07\xff", 3}, false},
        {"fixed64",
            {"\xf9\x07"
             "12345678",
                10},
            true},
        {"fixed64 cut",
            {"\xf9\x07"
             "1234567",
                9},
            false},
        {"bytes",
            {"\xfa\x07\x03"
             "abc",
                6},
            true},
        {"bytes cut",
            {"\xfa\x07\x04"
             "abc",
                6},
            false},
        {"bytes of 2^63", {"\xfa\x07\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 12}, false},
        {"group", {"\xfb\x07\x08\x01\xfc\x07", 6}, true},
        {"group in a group", {"\xfb\x07\x0b\x0a\x01x\x0c\xfc\x07", 9}, true},
        {"group without an end", {"\xfb\x07\x08\x01", 4}, false},
        {"group with another's end", {"\xfb\x07\x0c", 3}, false},
        {"groups crossed", {"\xfb\x07\x0b\xfc\x07\x0c", 6}, false},
        {"end without a group", {"\xfc\x07", 2}, false},
        {"fixed32",
            {"\xfd\x07"
             "1234",
                6},
            true},
        {"fixed32 cut",
            {"\xfd\x07"
             "123",
                5},
            false},
        {"wire type 6", {"\xfe\x07", 2}, false},
        {"wire type 7", {"\xff\x07", 2}, false},
        {"field 0", {"\x00\x01", 2}, false},
        {"field 0 as bytes", {"\x02\x00", 2}, false},
        {"the largest number", {"\xf8\xff\xff\xff\x0f\x01", 6}, true},
        {"a number too large", {"\x80\x80\x80\x80\x10\x01", 6}, false},
        {"tag cut", {"\xf8", 1}, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        for (size_t k = 0; k < ARRAY_LEN(cases); k++) {
            enum ec want = cases[k].good ? EC_OK : EC_INVALID;
            if (try_at(&places[i], cases[k].bytes) != want)
                fail_msg("%s: %s", places[i].name, cases[k].what);
        }
    }
}

static void test_decode__groups_nest_to_64(void **state)
{
    (void)state;
    for (unsigned depth = 63; depth <= 65; depth++) {
        struct buf b = BUF_INIT;
        for (unsigned i = 0; i < depth; i++)
            buf_put_varint(&b, 100 << 3 | 3);
        for (unsigned i = 0; i < depth; i++)
            buf_put_varint(&b, 100 << 3 | 4);
        assert_int_equal(try_buf(&b), depth <= 64 ? EC_OK : EC_INVALID);
        buf_deinit(&b);
    }
}

static void test_decode__values_nest_to_64(void **state)
{
    (void)state;
    for (int kvlist = 0; kvlist < 2; kvlist++) {
        for (unsigned depth = VALUE_DEPTH_MAX - 1; depth <= VALUE_DEPTH_MAX + 1; depth++) {
            struct buf b = BUF_INIT, content = BUF_INIT;
            size_t marks[3 * VALUE_DEPTH_MAX + 3];
            unsigned n = 0;
            for (unsigned i = 1; i < depth; i++) {
                marks[n++] = pb_begin(&content, kvlist ? 6 : 5);
                marks[n++] = pb_begin(&content, 1);
                if (kvlist)
                    marks[n++] = pb_begin(&content, 2);
            }
            pb_put_varint(&content, 3, 1);
            while (n > 0)
                pb_end(&content, marks[--n]);
            put_at(&b, &places[13], buf_str(&content));
            assert_int_equal(try_buf(&b), depth <= VALUE_DEPTH_MAX ? EC_OK : EC_INVALID);
            buf_deinit(&b);
            buf_deinit(&content);
        }
    }
}

/* The 29 KB body that overflows the stack of a recursive unpacker. */
static void test_decode__deep_bomb_is_refused(void **state)
{
    (void)state;
    struct buf b = BUF_INIT, content = BUF_INIT;
    size_t *marks = malloc(2 * 4400 * sizeof(*marks));
    unsigned n = 0;
    for (unsigned i = 0; i < 4400; i++) {
        marks[n++] = pb_begin(&content, 5);
        marks[n++] = pb_begin(&content, 1);
    }
    while (n > 0)
        pb_end(&content, marks[--n]);
    put_at(&b, &places[13], buf_str(&content));
    assert_int_equal(try_buf(&b), EC_INVALID);
    free(marks);
    buf_deinit(&b);
    buf_deinit(&content);
}

static void test_decode__every_prefix(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    fx_request_full(&b, 2);
    fx_request_full(&b, 1);
    size_t first = 0;
    unsigned accepted = 0;
    for (size_t n = 0; n <= b.n; n++) {
        enum ec ec = try_n(b.p, n, NULL, NULL);
        assert_true(ec == EC_OK || ec == EC_INVALID);
        if (ec == EC_OK && n != 0 && n != b.n)
            first = n;
        accepted += ec == EC_OK;
    }
    /* Nothing, the first ResourceSpans alone, and all. */
    assert_int_equal(accepted, 3);
    assert_true(first > 0 && first < b.n);
    buf_deinit(&b);
}

/* Every bit of a request flipped: accepted or refused, and what is accepted encodes. */
static void test_decode__every_bit_flipped(void **state)
{
    (void)state;
    struct buf b = BUF_INIT, out = BUF_INIT;
    fx_request_full(&b, 1);
    for (size_t bit = 0; bit < b.n * 8; bit++) {
        struct arena arena;
        struct batch batch;
        b.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
        arena_init(&arena, NULL, 0);
        if (batch_decode(&batch, buf_bytes(&b), NULL, &arena, NULL) == EC_OK) {
            buf_reset(&out);
            batch_encode(&batch, &out);
            assert_int_equal(try_buf(&out), EC_OK);
        }
        arena_deinit(&arena);
        b.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    buf_deinit(&b);
    buf_deinit(&out);
}

static void test_decode__error_names_the_byte(void **state)
{
    (void)state;
    struct err err = {0};
    assert_int_equal(try_n("\x0a\x04\x12\x02\x12\x05", 6, NULL, &err), EC_INVALID);
    assert_string_equal(err.msg, "otlp: length past the end at byte 5");
}

struct id_case {
    int trace_n, span_n, parent_n, link_trace_n, link_span_n; /* -1: not sent; 0: empty */
    uint8_t fill;
    enum span_reject want;
    unsigned bad_len;
};

static void test_decode__ids(void **state)
{
    (void)state;
    static const struct id_case cases[] = {
        {16, 8, -1, -1, -1, 1, SPAN_ACCEPTED, 0},
        {16, 8, 8, 16, 8, 1, SPAN_ACCEPTED, 0},
        {16, 8, 0, 0, 0, 1, SPAN_ACCEPTED, 0},
        {15, 8, -1, -1, -1, 1, SPAN_BAD_TRACE_ID, 15},
        {17, 8, -1, -1, -1, 1, SPAN_BAD_TRACE_ID, 17},
        {8, 8, -1, -1, -1, 1, SPAN_BAD_TRACE_ID, 8},
        {255, 8, -1, -1, -1, 1, SPAN_BAD_TRACE_ID, 255},
        {256, 8, -1, -1, -1, 1, SPAN_BAD_TRACE_ID, 255},
        {0, 8, -1, -1, -1, 1, SPAN_BAD_TRACE_ID, 0},
        {-1, 8, -1, -1, -1, 1, SPAN_BAD_TRACE_ID, 0},
        {16, 8, -1, -1, -1, 0, SPAN_BAD_TRACE_ID, 0}, /* all zero */
        {16, 7, -1, -1, -1, 1, SPAN_BAD_SPAN_ID, 7},
        {16, 9, -1, -1, -1, 1, SPAN_BAD_SPAN_ID, 9},
        {16, 16, -1, -1, -1, 1, SPAN_BAD_SPAN_ID, 16},
        {16, -1, -1, -1, -1, 1, SPAN_BAD_SPAN_ID, 0},
        {7, 7, -1, -1, -1, 1, SPAN_BAD_TRACE_ID, 7}, /* the trace id is judged first */
        {16, 8, 7, -1, -1, 1, SPAN_BAD_SPAN_ID, 7},
        {16, 8, 16, -1, -1, 1, SPAN_BAD_SPAN_ID, 16},
        {16, 8, -1, 15, 8, 1, SPAN_BAD_TRACE_ID, 15},
        {16, 8, -1, 16, 7, 1, SPAN_BAD_SPAN_ID, 7},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct id_case *c = &cases[i];
        char id[256];
        memset(id, c->fill, sizeof(id));
        struct buf content = BUF_INIT, b = BUF_INIT;
        struct arena arena;
        struct batch batch;
        const int n[] = {c->trace_n, c->span_n, c->parent_n};
        static const uint32_t field[] = {1, 2, 4};
        for (int k = 0; k < 3; k++)
            if (n[k] >= 0)
                pb_put_bytes(&content, field[k], str_n(id, (size_t)n[k]));
        size_t link = pb_begin(&content, 13);
        if (c->link_trace_n >= 0)
            pb_put_bytes(&content, 1, str_n(id, (size_t)c->link_trace_n));
        if (c->link_span_n >= 0)
            pb_put_bytes(&content, 2, str_n(id, (size_t)c->link_span_n));
        pb_end(&content, link);
        put_at(&b, &places[8], buf_str(&content));
        put_at(&b, &places[8], (struct str){0}); /* a neighbour: has no ids at all */
        arena_init(&arena, NULL, 0);
        assert_int_equal(batch_decode(&batch, buf_bytes(&b), NULL, &arena, NULL), EC_OK);
        assert_int_equal(batch.spans[0].reject, c->want);
        assert_int_equal(batch.spans[0].bad_id_len, c->bad_len);
        assert_int_equal(batch.n_rejected, 1 + (c->want != SPAN_ACCEPTED));
        arena_deinit(&arena);
        buf_deinit(&b);
        buf_deinit(&content);
    }
}

static void test_decode__span_bytes_max(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    fx_request_full(&b, 1);
    struct arena arena;
    struct batch batch;
    arena_init(&arena, NULL, 0);
    assert_int_equal(batch_decode(&batch, buf_bytes(&b), NULL, &arena, NULL), EC_OK);
    uint32_t size = batch.spans[0].raw_bytes;
    arena_deinit(&arena);
    for (uint32_t max = size - 1; max <= size + 1; max++) {
        struct batch_limits limits = {.span_bytes_max = max};
        arena_init(&arena, NULL, 0);
        assert_int_equal(batch_decode(&batch, buf_bytes(&b), &limits, &arena, NULL), EC_OK);
        bool over = size > max;
        assert_int_equal(batch.n_rejected, over ? 2 : 0);
        assert_int_equal(batch.spans[0].reject, over ? SPAN_TOO_LARGE : SPAN_ACCEPTED);
        assert_int_equal(batch.spans[0].attr_n, over ? 0 : 7);
        assert_int_equal(batch.spans[0].event_n + batch.spans[0].link_n, over ? 0 : 2);
        assert_int_equal(batch.spans[0].span_id, 1);
        assert_true(str_eqz(batch.spans[0].name, "GET /cart"));
        assert_int_equal(batch.canonical_bytes, b.n);
        arena_deinit(&arena);
    }
    buf_deinit(&b);
}

static void test_decode__span_of_the_default_size(void **state)
{
    (void)state;
    char *fill = calloc(1, 8 << 20);
    for (size_t total = (8 << 20) - 1; total <= (8 << 20) + 1; total++) {
        struct buf content = BUF_INIT, b = BUF_INIT;
        struct arena arena;
        struct batch batch;
        fx_ids(&content, 1, 2);
        pb_put_bytes(&content, 5, str_n(fill, total - content.n - 5));
        assert_int_equal(content.n, total);
        put_at(&b, &places[8], buf_str(&content));
        arena_init(&arena, NULL, 0);
        assert_int_equal(batch_decode(&batch, buf_bytes(&b), NULL, &arena, NULL), EC_OK);
        assert_int_equal(batch.spans[0].reject, total > 8 << 20 ? SPAN_TOO_LARGE : SPAN_ACCEPTED);
        arena_deinit(&arena);
        buf_deinit(&content);
        buf_deinit(&b);
    }
    free(fill);
}

static void test_decode__spans_max(void **state)
{
    (void)state;
    struct batch_limits limits = {.spans_max = 10};
    for (unsigned n = 9; n <= 11; n++) {
        struct buf one = BUF_INIT, many = BUF_INIT, content = BUF_INIT;
        for (unsigned i = 0; i < n; i++) {
            pb_put_bytes(&content, 2, STR(""));
            put_at(&many, &places[8], (struct str){0});
        }
        put_at(&one, &places[5], buf_str(&content));
        enum ec want = n <= 10 ? EC_OK : EC_TOO_LARGE;
        assert_int_equal(try_n(one.p, one.n, &limits, NULL), want);   /* in one ScopeSpans */
        assert_int_equal(try_n(many.p, many.n, &limits, NULL), want); /* in as many as spans */
        buf_deinit(&one);
        buf_deinit(&many);
        buf_deinit(&content);
    }
}

/* One attribute with this key and value in each of the five places. */
static void put_five(struct buf *b, const char *key, const struct value *v)
{
    size_t rs = pb_begin(b, 1);
    size_t resource = pb_begin(b, 1);
    pb_put_attr(b, 1, str_from(key), v);
    pb_end(b, resource);
    size_t ss = pb_begin(b, 2);
    size_t scope = pb_begin(b, 1);
    pb_put_attr(b, 3, str_from(key), v);
    pb_end(b, scope);
    size_t span = pb_begin(b, 2);
    fx_ids(b, 1, 2);
    pb_put_attr(b, 9, str_from(key), v);
    size_t event = pb_begin(b, 11);
    pb_put_attr(b, 3, str_from(key), v);
    pb_end(b, event);
    size_t link = pb_begin(b, 13);
    pb_put_attr(b, 4, str_from(key), v);
    pb_end(b, link);
    pb_end(b, span);
    pb_end(b, ss);
    pb_end(b, rs);
}

static void check_cut(
    const char *key, struct value v, uint32_t max, unsigned cuts, size_t key_n, size_t value_n)
{
    struct buf b = BUF_INIT;
    struct arena arena;
    struct batch batch;
    struct batch_limits limits = {.attr_bytes_max = max};
    put_five(&b, key, &v);
    arena_init(&arena, NULL, 0);
    assert_int_equal(batch_decode(&batch, buf_bytes(&b), &limits, &arena, NULL), EC_OK);
    assert_int_equal(batch.n_attrs, 5);
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(batch.n_truncated[i], cuts);
        assert_int_equal(batch.attrs[i].key.n, key_n);
        assert_memory_equal(batch.attrs[i].key.p, key, key_n);
        assert_int_equal(batch.attrs[i].value.type, v.type);
        if (v.type == VALUE_STR || v.type == VALUE_BYTES)
            assert_int_equal(batch.attrs[i].value.s.n, value_n);
    }
    assert_int_equal(batch.truncated.bytes, cuts == 0             ? 0
                                            : key_n < strlen(key) ? strlen(key)
                                                                  : v.s.n);
    assert_int_equal(batch.truncated.is_key, key_n < strlen(key));
    if (cuts != 0)
        assert_true(str_eqz(batch.truncated.key, key));
    uint64_t canonical = batch.canonical_bytes; /* as sent, whatever was cut */
    assert_int_equal(batch_decode(&batch, buf_bytes(&b), NULL, &arena, NULL), EC_OK);
    assert_int_equal(batch.canonical_bytes, canonical);
    arena_deinit(&arena);
    buf_deinit(&b);
}

static void test_decode__attributes_are_cut(void **state)
{
    (void)state;
    struct value s = {.type = VALUE_STR, .s = STR("12345678")};
    check_cut("abcdefgh", s, 9, 0, 8, 8);
    check_cut("abcdefgh", s, 8, 0, 8, 8);
    check_cut("abcdefgh", s, 7, 2, 7, 7);
    check_cut("abcdefgh", s, 5, 2, 5, 5);
    check_cut("abc", s, 5, 1, 3, 5);
    check_cut("abcdefgh", (struct value){.type = VALUE_STR, .s = STR("1")}, 5, 1, 5, 1);
    check_cut("abcdefgh", s, 0, 0, 8, 8); /* off */
    check_cut("abc", (struct value){.type = VALUE_BYTES, .s = STR("12345678")}, 5, 0, 3, 8);
    check_cut("abcdefgh", (struct value){.type = VALUE_INT, .i = INT64_MAX}, 5, 1, 5, 0);
    check_cut(
        "abc", (struct value){.type = VALUE_ARRAY, .s = STR("\x0a\x04\x0a\x02xy")}, 1, 1, 1, 0);
}

static void test_decode__budget(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    fx_request_full(&b, 20);
    bool fitted = false;
    for (uint64_t cap = 64; !fitted; cap += 512) {
        struct budget budget;
        struct arena arena;
        struct batch batch;
        struct err err = {0};
        budget_init(&budget, NULL, "test", cap);
        arena_init(&arena, &budget, 64);
        enum ec ec = batch_decode(&batch, buf_bytes(&b), NULL, &arena, &err);
        assert_true(ec == EC_OK || ec == EC_TOO_LARGE); /* that alone it has: never */
        fitted = ec == EC_OK;
        assert_true(cap < 1 << 20);
        arena_deinit(&arena);
        budget_deinit(&budget); /* asserts that all was given back */
    }
    /* Joining the pieces of a resource is charged, too. */
    struct buf pieces = BUF_INIT, content = BUF_INIT;
    for (int i = 0; i < 500; i++)
        pb_put_bytes(&content, 1, STR("\x10\x01"));
    put_at(&pieces, &places[1], buf_str(&content));
    struct budget budget;
    struct arena arena;
    struct batch batch;
    budget_init(&budget, NULL, "test", 900);
    arena_init(&arena, &budget, 64);
    assert_int_equal(batch_decode(&batch, buf_bytes(&pieces), NULL, &arena, NULL), EC_TOO_LARGE);
    arena_deinit(&arena);
    atomic_store(&budget.cap, 100000); /* others have it for now */
    assert_true(budget_take(&budget, 99100));
    arena_init(&arena, &budget, 64);
    assert_int_equal(batch_decode(&batch, buf_bytes(&pieces), NULL, &arena, NULL), EC_LIMIT);
    budget_give(&budget, 99100);
    arena_deinit(&arena);
    budget_deinit(&budget);
    buf_deinit(&b);
    buf_deinit(&pieces);
    buf_deinit(&content);
}

/* 2 MiB of the smallest message there is, at each place. None may take memory beyond the ratio, and
 * none may take long (the suite's time limit). */
static void test_decode__bodies_of_empty_messages(void **state)
{
    (void)state;
    struct buf content = BUF_INIT;
    for (size_t i = 0; i < (2u << 20) / 2; i++) {
        buf_putc(&content, 0);
        buf_putc(&content, 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        for (size_t f = 0; places[i].fields[f].field != 0; f++) {
            if (places[i].fields[f].wire != PB_LEN || places[i].fields[f].field > 15)
                continue;
            for (size_t k = 0; k < content.n; k += 2)
                content.p[k] = (uint8_t)(places[i].fields[f].field << 3 | PB_LEN);
            struct buf b = BUF_INIT;
            put_at(&b, &places[i], buf_str(&content));
            struct budget budget;
            struct arena arena;
            struct batch batch;
            budget_init(&budget, NULL, "test", 0);
            arena_init(&arena, &budget, 0);
            enum ec ec = batch_decode(&batch, buf_bytes(&b), NULL, &arena, NULL);
            assert_true(ec == EC_OK || ec == EC_TOO_LARGE);
            assert_true(atomic_load(&budget.peak) < 3 * 17 * (uint64_t)b.n);
            arena_deinit(&arena);
            budget_deinit(&budget);
            buf_deinit(&b);
        }
    }
    buf_deinit(&content);
    /* The usual suspects by name, in a body of 15 MiB. */
    for (int spans = 0; spans < 2; spans++) {
        struct buf b = BUF_INIT, many = BUF_INIT;
        for (size_t i = 0; i < (15u << 20) / 2; i++)
            pb_put_bytes(&many, spans ? 2 : 9, (struct str){0});
        put_at(&b, spans ? &places[5] : &places[8], buf_str(&many));
        struct batch_limits large = {.span_bytes_max = 16 << 20};
        assert_int_equal(try_n(b.p, b.n, &large, NULL), EC_TOO_LARGE);
        buf_deinit(&b);
        buf_deinit(&many);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decode__wrong_wire_types_are_refused),
        cmocka_unit_test(test_decode__unknown_fields_are_skipped),
        cmocka_unit_test(test_decode__groups_nest_to_64),
        cmocka_unit_test(test_decode__values_nest_to_64),
        cmocka_unit_test(test_decode__deep_bomb_is_refused),
        cmocka_unit_test(test_decode__every_prefix),
        cmocka_unit_test(test_decode__every_bit_flipped),
        cmocka_unit_test(test_decode__error_names_the_byte),
        cmocka_unit_test(test_decode__ids),
        cmocka_unit_test(test_decode__span_bytes_max),
        cmocka_unit_test(test_decode__span_of_the_default_size),
        cmocka_unit_test(test_decode__spans_max),
        cmocka_unit_test(test_decode__attributes_are_cut),
        cmocka_unit_test(test_decode__budget),
        cmocka_unit_test(test_decode__bodies_of_empty_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
