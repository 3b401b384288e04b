/* SPDX-License-Identifier: Apache-2.0
 * OTLP/JSON to OTLP protobuf, in one walk over the text: a table per message says which key is
 * which field of what kind, and each value is written as it is read.
 *
 * Keys come in any order and more than once. Both are left to protobuf, which has the same rules:
 * the last scalar and the last member of an AnyValue win, lists append, objects merge. That is why
 * `null` for a string is written (as empty) and not left out: it too may be the last.
 *
 * INVARIANT: recursion goes json_message -> json_field -> json_message; the schema bounds it but
 * for AnyValue, which is counted (VALUE_DEPTH_MAX, as in the protobuf decoder).
 */
#include <math.h>
#include <stdlib.h>

#include "json_read.h"
#include "model/otlp_write.h"
#include "receivers/receivers.h"

enum field_kind {
    F_STR,
    F_TRACE_ID,
    F_SPAN_ID,
    F_BYTES, /* base64 */
    F_BOOL,
    F_ENUM,
    F_UINT32,
    F_INT64,
    F_FIXED32,
    F_FIXED64,
    F_DOUBLE,
    F_MESSAGE,
    F_STRS,     /* repeated */
    F_MESSAGES, /* repeated */
};

struct message;

struct field {
    struct str key; /* lowerCamelCase */
    uint16_t number;
    uint8_t kind;                 /* enum field_kind */
    const struct message *of;     /* F_MESSAGE, F_MESSAGES */
    const char *const *enumerals; /* F_ENUM: names of 0, 1, ..., then NULL */
};

struct message {
    const struct field *fields;
    unsigned n_fields;
};

#define FIELD(name, field, as, ...)                                                   \
    {                                                                                 \
        .key = {name, sizeof(name) - 1}, .number = (field), .kind = (as), __VA_ARGS__ \
    }
#define MESSAGE(name) const struct message name = {name##_fields, ARRAY_LEN(name##_fields)}

static const char *const span_kinds[] = {"SPAN_KIND_UNSPECIFIED", "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER", "SPAN_KIND_CLIENT", "SPAN_KIND_PRODUCER", "SPAN_KIND_CONSUMER", NULL};
static const char *const status_codes[] = {
    "STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR", NULL};

static const struct message any_value, key_value;

static const struct field array_value_fields[] = {FIELD("values", 1, F_MESSAGES, .of = &any_value)};
static MESSAGE(array_value);
static const struct field kvlist_value_fields[] = {
    FIELD("values", 1, F_MESSAGES, .of = &key_value)};
static MESSAGE(kvlist_value);

static const struct field any_value_fields[] = {
    FIELD("stringValue", 1, F_STR),
    FIELD("boolValue", 2, F_BOOL),
    FIELD("intValue", 3, F_INT64),
    FIELD("doubleValue", 4, F_DOUBLE),
    FIELD("arrayValue", 5, F_MESSAGE, .of = &array_value),
    FIELD("kvlistValue", 6, F_MESSAGE, .of = &kvlist_value),
    FIELD("bytesValue", 7, F_BYTES),
};
static MESSAGE(any_value);
static const struct field key_value_fields[] = {
    FIELD("key", 1, F_STR),
    FIELD("value", 2, F_MESSAGE, .of = &any_value),
};
static MESSAGE(key_value);

static const struct field event_fields[] = {
    FIELD("timeUnixNano", 1, F_FIXED64),
    FIELD("name", 2, F_STR),
    FIELD("attributes", 3, F_MESSAGES, .of = &key_value),
    FIELD("droppedAttributesCount", 4, F_UINT32),
};
static MESSAGE(event);
static const struct field link_fields[] = {
    FIELD("traceId", 1, F_TRACE_ID),
    FIELD("spanId", 2, F_SPAN_ID),
    FIELD("traceState", 3, F_STR),
    FIELD("attributes", 4, F_MESSAGES, .of = &key_value),
    FIELD("droppedAttributesCount", 5, F_UINT32),
    FIELD("flags", 6, F_FIXED32),
};
static MESSAGE(link);
static const struct field status_fields[] = {
    FIELD("message", 2, F_STR),
    FIELD("code", 3, F_ENUM, .enumerals = status_codes),
};
static MESSAGE(status);
static const struct field span_fields[] = {
    FIELD("traceId", 1, F_TRACE_ID),
    FIELD("spanId", 2, F_SPAN_ID),
    FIELD("traceState", 3, F_STR),
    FIELD("parentSpanId", 4, F_SPAN_ID),
    FIELD("name", 5, F_STR),
    FIELD("kind", 6, F_ENUM, .enumerals = span_kinds),
    FIELD("startTimeUnixNano", 7, F_FIXED64),
    FIELD("endTimeUnixNano", 8, F_FIXED64),
    FIELD("attributes", 9, F_MESSAGES, .of = &key_value),
    FIELD("droppedAttributesCount", 10, F_UINT32),
    FIELD("events", 11, F_MESSAGES, .of = &event),
    FIELD("droppedEventsCount", 12, F_UINT32),
    FIELD("links", 13, F_MESSAGES, .of = &link),
    FIELD("droppedLinksCount", 14, F_UINT32),
    FIELD("status", 15, F_MESSAGE, .of = &status),
    FIELD("flags", 16, F_FIXED32),
};
static MESSAGE(span);

static const struct field scope_fields[] = {
    FIELD("name", 1, F_STR),
    FIELD("version", 2, F_STR),
    FIELD("attributes", 3, F_MESSAGES, .of = &key_value),
    FIELD("droppedAttributesCount", 4, F_UINT32),
};
static MESSAGE(scope);
static const struct field scope_spans_fields[] = {
    FIELD("scope", 1, F_MESSAGE, .of = &scope),
    FIELD("spans", 2, F_MESSAGES, .of = &span),
    FIELD("schemaUrl", 3, F_STR),
};
static MESSAGE(scope_spans);
static const struct field entity_ref_fields[] = {
    FIELD("schemaUrl", 1, F_STR),
    FIELD("type", 2, F_STR),
    FIELD("idKeys", 3, F_STRS),
    FIELD("descriptionKeys", 4, F_STRS),
};
static MESSAGE(entity_ref);
static const struct field resource_fields[] = {
    FIELD("attributes", 1, F_MESSAGES, .of = &key_value),
    FIELD("droppedAttributesCount", 2, F_UINT32),
    FIELD("entityRefs", 3, F_MESSAGES, .of = &entity_ref),
};
static MESSAGE(resource);
static const struct field resource_spans_fields[] = {
    FIELD("resource", 1, F_MESSAGE, .of = &resource),
    FIELD("scopeSpans", 2, F_MESSAGES, .of = &scope_spans),
    FIELD("schemaUrl", 3, F_STR),
};
static MESSAGE(resource_spans);
static const struct field request_fields[] = {
    FIELD("resourceSpans", 1, F_MESSAGES, .of = &resource_spans)};
static MESSAGE(request);

/* The snake_case of a lowerCamelCase name, compared letter by letter. */
static bool key_is_snake_of(struct str key, struct str camel)
{
    size_t k = 0;
    for (size_t i = 0; i < camel.n; i++) {
        char c = camel.p[i];
        if (c >= 'A' && c <= 'Z') {
            if (k == key.n || key.p[k++] != '_')
                return false;
            c = (char)(c - 'A' + 'a');
        }
        if (k == key.n || key.p[k++] != c)
            return false;
    }
    return k == key.n;
}

/* NULL: unknown. Clients write keys in schema order, so the search starts after the last hit. */
static const struct field *message_field(const struct message *m, struct str key, unsigned *next)
{
    for (unsigned i = 0; i < m->n_fields; i++) {
        unsigned at = *next + i < m->n_fields ? *next + i : *next + i - m->n_fields;
        const struct field *f = &m->fields[at];
        if (str_eq(key, f->key) || (key.n > f->key.n && key_is_snake_of(key, f->key))) {
            *next = at + 1 < m->n_fields ? at + 1 : 0;
            return f;
        }
    }
    return NULL;
}

/* The text of a number, given as a number or as a string. *ret_quoted tells which. */
static bool json_number_text(struct json_reader *r, struct str *ret, bool *ret_quoted)
{
    struct json_number num;

    *ret_quoted = json_peek(r) == '"';
    if (*ret_quoted)
        return json_string(r, ret);
    if (!json_number(r, &num))
        return false;
    *ret = num.text;
    return true;
}

static bool json_uint(struct json_reader *r, uint64_t max, uint64_t *ret)
{
    struct str text;
    bool quoted;

    if (!json_number_text(r, &text, &quoted))
        return false;
    if (!str_to_u64(text, ret) || *ret > max)
        return json_fail(r, "unsigned integer expected, or out of range");
    return true;
}

static bool json_int(struct json_reader *r, int64_t *ret)
{
    struct str text;
    bool quoted;

    if (!json_number_text(r, &text, &quoted))
        return false;
    if (!str_to_i64(text, ret))
        return json_fail(r, "integer expected, or out of range");
    return true;
}

/* "NaN", "Infinity" and "Inf" with a sign, in any case: only as strings. */
static bool double_by_name(struct str text, double *ret)
{
    bool negative = text.n > 0 && text.p[0] == '-';

    if (text.n > 0 && (text.p[0] == '-' || text.p[0] == '+'))
        text = str_n(text.p + 1, text.n - 1);
    else if (str_ieq(text, STR("nan"))) {
        *ret = (double)NAN;
        return true;
    }
    if (!str_ieq(text, STR("infinity")) && !str_ieq(text, STR("inf")))
        return false;
    *ret = negative ? -(double)INFINITY : (double)INFINITY;
    return true;
}

static bool json_double(struct json_reader *r, double *ret)
{
    struct str text;
    char z[JSON_NUMBER_BYTES + 1], *end;
    bool quoted;

    if (!json_number_text(r, &text, &quoted))
        return false;
    if (quoted && double_by_name(text, ret))
        return true;
    /* strtod knows more than we want: hexadecimal, names, leading blanks. */
    for (size_t i = 0; i < text.n; i++)
        if (memchr("0123456789+-.eE", text.p[i], 15) == NULL)
            return json_fail(r, "number expected");
    if (text.n == 0 || text.n > JSON_NUMBER_BYTES)
        return json_fail(r, "number expected");
    memcpy(z, text.p, text.n);
    z[text.n] = 0;
    *ret = strtod(z, &end);
    if (end != z + text.n)
        return json_fail(r, "number expected");
    if (isinf(*ret))
        return json_fail(r, "number out of the range of a double");
    return true;
}

static bool json_enum(struct json_reader *r, const char *const *names, int32_t *ret)
{
    struct json_number num;
    struct str name;
    int64_t v;

    if (json_peek(r) != '"') {
        if (!json_number(r, &num))
            return false;
        if (!num.integer || !str_to_i64(num.text, &v) || v < INT32_MIN || v > INT32_MAX)
            return json_fail(r, "enum number out of range");
        *ret = (int32_t)v;
        return true;
    }
    if (!json_string(r, &name))
        return false;
    for (int32_t i = 0; names[i] != NULL; i++) {
        if (str_eqz(name, names[i])) {
            *ret = i;
            return true;
        }
    }
    return json_fail(r, "unknown enum name");
}

/* Null is the empty string. */
static bool json_text(struct json_reader *r, struct str *ret)
{
    *ret = (struct str){0};
    return json_null(r) || json_string(r, ret);
}

static bool json_id(struct json_reader *r, struct buf *out, uint16_t number, size_t n)
{
    struct str hex;
    uint8_t id[16];

    if (!json_text(r, &hex))
        return false;
    if (hex.n != 0 && hex.n != 2 * n)
        return json_fail(r, "id of a wrong length");
    if (!hex_decode(id, hex, hex.n / 2))
        return json_fail(r, "id with a character that is no hex digit");
    pb_put_bytes(out, number, str_n((const char *)id, hex.n / 2));
    return true;
}

static bool json_base64(struct json_reader *r, struct buf *out, uint16_t number)
{
    struct str text;
    size_t n;

    if (!json_text(r, &text))
        return false;
    if (text.n % 4 != 0)
        return json_fail(r, "base64 without its padding");
    size_t mark = pb_begin(out, number);
    if (buf_reserve(out, text.n / 4 * 3 + 3)) {
        if (!base64_decode(out->p + out->n, &n, text))
            return json_fail(r, "bad base64");
        out->n += n;
    }
    pb_end(out, mark);
    return true;
}

static bool json_scalar(struct json_reader *r, struct buf *out, const struct field *f)
{
    struct str s;
    uint64_t u;
    int64_t i;
    int32_t e;
    double d;
    bool b;

    switch ((enum field_kind)f->kind) {
    case F_STR:
        if (!json_text(r, &s))
            return false;
        pb_put_bytes(out, f->number, s);
        return true;
    case F_TRACE_ID:
        return json_id(r, out, f->number, 16);
    case F_SPAN_ID:
        return json_id(r, out, f->number, 8);
    case F_BYTES:
        return json_base64(r, out, f->number);
    case F_BOOL:
        if (!json_bool(r, &b))
            return false;
        pb_put_varint(out, f->number, b);
        return true;
    case F_ENUM:
        if (!json_enum(r, f->enumerals, &e))
            return false;
        pb_put_varint(out, f->number, (uint64_t)(int64_t)e);
        return true;
    case F_UINT32:
    case F_FIXED32:
        if (!json_uint(r, UINT32_MAX, &u))
            return false;
        if (f->kind == F_UINT32)
            pb_put_varint(out, f->number, u);
        else
            pb_put_fixed32(out, f->number, (uint32_t)u);
        return true;
    case F_INT64:
        if (!json_int(r, &i))
            return false;
        pb_put_varint(out, f->number, (uint64_t)i);
        return true;
    case F_FIXED64:
        if (!json_uint(r, UINT64_MAX, &u))
            return false;
        pb_put_fixed64(out, f->number, u);
        return true;
    case F_DOUBLE:
        if (!json_double(r, &d))
            return false;
        pb_put_double(out, f->number, d);
        return true;
    case F_STRS:
    case F_MESSAGE:
    case F_MESSAGES:
        break;
    }
    ASSERT(false); /* json_field has handled these */
    return false;
}

static bool json_message(
    struct json_reader *r, struct buf *out, const struct message *m, unsigned depth);

static bool json_submessage(
    struct json_reader *r, struct buf *out, const struct field *f, unsigned depth)
{
    size_t mark = pb_begin(out, f->number);
    if (!json_null(r) && !json_message(r, out, f->of, depth + (f->of == &any_value)))
        return false;
    pb_end(out, mark);
    return true;
}

static bool json_field(
    struct json_reader *r, struct buf *out, const struct field *f, unsigned depth)
{
    bool first = true, more;
    struct str s;

    if (f->kind == F_MESSAGE)
        return json_submessage(r, out, f, depth);
    if (f->kind != F_MESSAGES && f->kind != F_STRS)
        return json_scalar(r, out, f);
    if (json_null(r))
        return true;
    if (!json_open(r, '['))
        return false;
    for (;;) {
        if (!json_array_next(r, &first, &more))
            return false;
        if (!more)
            return true;
        if (f->kind == F_MESSAGES) {
            if (!json_submessage(r, out, f, depth))
                return false;
        } else {
            if (!json_text(r, &s))
                return false;
            pb_put_bytes(out, f->number, s);
        }
    }
}

static bool json_message(
    struct json_reader *r, struct buf *out, const struct message *m, unsigned depth)
{
    bool first = true, more;
    unsigned next = 0;
    struct str key;

    if (depth > VALUE_DEPTH_MAX)
        return json_fail(r, "attribute value nested too deep");
    if (!json_open(r, '{'))
        return false;
    for (;;) {
        if (!json_object_next(r, &first, &more, &key))
            return false;
        if (!more)
            return true;
        const struct field *f = message_field(m, key, &next);
        if (f == NULL ? !json_skip(r) : !json_field(r, out, f, depth))
            return false;
    }
}

enum ec otlp_json_to_pb(struct bytes json, struct buf *out, struct err *err)
{
    size_t start = out->n;
    struct json_reader r;

    json_reader_init(&r, json, out->budget);
    bool ok = json_null(&r) || json_message(&r, out, &request, 0);
    bool over = buf_failed(out) || buf_failed(&r.text);
    json_reader_deinit(&r);
    if (over || !ok)
        out->n = start;
    if (over)
        return ERR(err, EC_LIMIT, "otlp json: %zu bytes over the memory budget", json.n);
    if (!ok)
        return ERR(err, EC_INVALID, "otlp json: %s at byte %zu", r.what, (size_t)(r.at - r.base));
    return EC_OK;
}
