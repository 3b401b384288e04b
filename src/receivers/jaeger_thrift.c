/* SPDX-License-Identifier: Apache-2.0
 * Jaeger's Thrift batch (HTTP body, UDP message) to OTLP protobuf.
 *
 * One span is in memory at a time: it is read, mapped and written, then its scratch memory goes.
 * The process may come before or after the spans and is written last; protobuf does not mind. */
#include "jaeger.h"
#include "model/otlp_write.h"
#include "receivers/receivers.h"
#include "thrift_read.h"

/* A field by number and type: one of another type is skipped, as generated code does. */
#define KEY(id, type) ((uint32_t)(uint16_t)(id) << 8 | (type))
#define BIT(id)       (1u << (id))

struct jaeger_thrift {
    struct thrift_reader r;
    struct rx span; /* of one span */
    struct rx process;
    struct buf *out;
};

static bool tag_read(struct thrift_reader *r, struct rx *rx, struct attr *ret)
{
    enum { STRING, DOUBLE, BOOL, LONG, BINARY };
    struct thrift_field f = {0};
    struct str text = {0}, binary = {0};
    double d = 0;
    bool b = false;
    int64_t i = 0;
    int32_t type = 0;
    unsigned seen = 0;

    while (thrift_next(r, &f)) {
        bool ok;
        switch (KEY(f.id, f.type)) {
        case KEY(1, THRIFT_STRING):
            ok = thrift_string(r, &ret->key);
            seen |= BIT(1);
            break;
        case KEY(2, THRIFT_I32):
            ok = thrift_i32(r, &type);
            seen |= BIT(2);
            break;
        case KEY(3, THRIFT_STRING):
            ok = thrift_string(r, &text);
            break;
        case KEY(4, THRIFT_DOUBLE):
            ok = thrift_double(r, &d);
            break;
        case KEY(5, THRIFT_BOOL):
            ok = thrift_bool(r, &b);
            break;
        case KEY(6, THRIFT_I64):
            ok = thrift_i64(r, &i);
            break;
        case KEY(7, THRIFT_STRING):
            ok = thrift_string(r, &binary);
            break;
        default:
            ok = thrift_skip(r, &f);
        }
        if (!ok)
            return false;
    }
    if (seen != (BIT(1) | BIT(2)))
        return thrift_fail(r, "tag without a required field");
    switch (type) {
    case STRING:
        ret->value = rx_str(text);
        return true;
    case DOUBLE:
        ret->value = (struct value){.type = VALUE_DOUBLE, .d = d};
        return true;
    case BOOL:
        ret->value = (struct value){.type = VALUE_BOOL, .b = b};
        return true;
    case LONG:
        ret->value = rx_int(i);
        return true;
    case BINARY:
        ret->value = (struct value){.type = VALUE_BYTES, .s = binary};
        return true;
    default:
        return jaeger_tag_unknown(rx, type, &ret->value);
    }
}

static bool tags_read(struct thrift_reader *r, struct rx *rx, struct rx_attrs *a)
{
    uint32_t n;
    if (!thrift_structs(r, &n))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        struct attr *at = RX_PUSH(rx, a);
        if (at == NULL || !tag_read(r, rx, at))
            return false;
    }
    return true;
}

static bool process_read(struct thrift_reader *r, struct rx *rx, struct jaeger_process *p)
{
    struct thrift_field f = {0};
    unsigned seen = 0;
    while (thrift_next(r, &f)) {
        bool ok;
        switch (KEY(f.id, f.type)) {
        case KEY(1, THRIFT_STRING):
            ok = thrift_string(r, &p->service);
            seen |= BIT(1);
            break;
        case KEY(2, THRIFT_LIST):
            ok = tags_read(r, rx, &p->tags);
            break;
        default:
            ok = thrift_skip(r, &f);
        }
        if (!ok)
            return false;
    }
    return seen == BIT(1) || thrift_fail(r, "process without a service name");
}

static bool ref_read(struct thrift_reader *r, struct jaeger_ref *ref)
{
    struct thrift_field f = {0};
    int64_t low = 0, high = 0, span = 0;
    unsigned seen = 0;
    while (thrift_next(r, &f)) {
        bool ok;
        switch (KEY(f.id, f.type)) {
        case KEY(1, THRIFT_I32):
            ok = thrift_i32(r, &ref->type);
            break;
        case KEY(2, THRIFT_I64):
            ok = thrift_i64(r, &low);
            break;
        case KEY(3, THRIFT_I64):
            ok = thrift_i64(r, &high);
            break;
        case KEY(4, THRIFT_I64):
            ok = thrift_i64(r, &span);
            break;
        default:
            if (!thrift_skip(r, &f))
                return false;
            continue;
        }
        if (!ok)
            return false;
        seen |= BIT(f.id);
    }
    if (seen != (BIT(1) | BIT(2) | BIT(3) | BIT(4)))
        return thrift_fail(r, "reference without a required field");
    ref->trace_id = rx_trace_id((uint64_t)high, (uint64_t)low);
    ref->span_id = (uint64_t)span;
    return true;
}

static bool refs_read(struct thrift_reader *r, struct rx *rx, struct jaeger_span *j)
{
    uint32_t n;
    if (!thrift_structs(r, &n))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        struct jaeger_ref *ref = RX_PUSH(rx, &j->refs);
        if (ref == NULL || !ref_read(r, ref))
            return false;
    }
    return true;
}

static bool log_read(struct thrift_reader *r, struct rx *rx, struct rx_event *e)
{
    struct thrift_field f = {0};
    int64_t us;
    unsigned seen = 0;
    while (thrift_next(r, &f)) {
        bool ok;
        switch (KEY(f.id, f.type)) {
        case KEY(1, THRIFT_I64):
            ok = thrift_i64(r, &us);
            if (ok)
                e->time_ns = (uint64_t)us * 1000;
            seen |= BIT(1);
            break;
        case KEY(2, THRIFT_LIST):
            ok = tags_read(r, rx, &e->attrs);
            seen |= BIT(2);
            break;
        default:
            ok = thrift_skip(r, &f);
        }
        if (!ok)
            return false;
    }
    return seen == (BIT(1) | BIT(2)) || thrift_fail(r, "log without a required field");
}

static bool logs_read(struct thrift_reader *r, struct rx *rx, struct rx_span *s)
{
    uint32_t n;
    if (!thrift_structs(r, &n))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        struct rx_event *e = RX_PUSH(rx, &s->events);
        if (e == NULL || !log_read(r, rx, e))
            return false;
    }
    return true;
}

static bool span_read(struct thrift_reader *r, struct rx *rx, struct jaeger_span *j)
{
    enum { LOW = 1, HIGH, ID, PARENT, FLAGS = 7, START, DURATION };
    static const unsigned required = 0x1f << 1 | 7u << 7; /* 1 to 5, 7 to 9 */
    struct thrift_field f = {0};
    int64_t word[10] = {0};
    int32_t flags;
    unsigned seen = 0;

    while (thrift_next(r, &f)) {
        bool ok;
        switch (KEY(f.id, f.type)) {
        case KEY(LOW, THRIFT_I64):
        case KEY(HIGH, THRIFT_I64):
        case KEY(ID, THRIFT_I64):
        case KEY(PARENT, THRIFT_I64):
        case KEY(START, THRIFT_I64):
        case KEY(DURATION, THRIFT_I64):
            ok = thrift_i64(r, &word[f.id]);
            break;
        case KEY(5, THRIFT_STRING):
            ok = thrift_string(r, &j->s.name);
            break;
        case KEY(6, THRIFT_LIST):
            ok = refs_read(r, rx, j);
            break;
        case KEY(FLAGS, THRIFT_I32):
            ok = thrift_i32(r, &flags);
            break;
        case KEY(10, THRIFT_LIST):
            ok = tags_read(r, rx, &j->s.attrs);
            break;
        case KEY(11, THRIFT_LIST):
            ok = logs_read(r, rx, &j->s);
            break;
        default:
            if (!thrift_skip(r, &f))
                return false;
            continue;
        }
        if (!ok)
            return false;
        seen |= BIT(f.id);
    }
    if ((seen & required) != required)
        return thrift_fail(r, "span without a required field");
    j->s.trace_id = rx_trace_id((uint64_t)word[HIGH], (uint64_t)word[LOW]);
    j->s.span_id = (uint64_t)word[ID];
    j->s.parent_id = (uint64_t)word[PARENT];
    j->s.start_ns = (uint64_t)word[START] * 1000;
    j->s.end_ns = j->s.start_ns + (uint64_t)word[DURATION] * 1000;
    return true;
}

static bool spans_read(struct jaeger_thrift *t)
{
    uint32_t n;
    if (!thrift_structs(&t->r, &n))
        return false;
    size_t scope = pb_begin(t->out, 2);
    for (uint32_t i = 0; i < n; i++) {
        struct jaeger_span j = {0};
        if (!span_read(&t->r, &t->span, &j))
            return false;
        if (!jaeger_span_blank(&j)) {
            if (!jaeger_map_span(&t->span, &j, false))
                return false;
            rx_put_span(t->out, &j.s);
        }
        arena_rewind(&t->span.arena);
    }
    pb_end(t->out, scope);
    return true;
}

static bool batch_read(struct jaeger_thrift *t)
{
    struct thrift_field f = {0};
    struct jaeger_process process = {0};
    unsigned seen = 0;
    size_t mark = pb_begin(t->out, 1);
    while (thrift_next(&t->r, &f)) {
        bool ok;
        switch (KEY(f.id, f.type)) {
        case KEY(1, THRIFT_STRUCT):
            process = (struct jaeger_process){0};
            ok = process_read(&t->r, &t->process, &process);
            seen |= BIT(1);
            break;
        case KEY(2, THRIFT_LIST):
            ok = spans_read(t);
            seen |= BIT(2);
            break;
        default:
            ok = thrift_skip(&t->r, &f);
        }
        if (!ok)
            return false;
    }
    if (t->r.what != NULL)
        return false;
    if (seen != (BIT(1) | BIT(2)))
        return thrift_fail(&t->r, "batch without a process or spans");
    if (!jaeger_map_process(&t->process, &process, false))
        return false;
    rx_put_resource(t->out, &process.tags);
    pb_end(t->out, mark);
    return true;
}

static bool args_read(struct jaeger_thrift *t)
{
    struct thrift_field f = {0};
    while (thrift_next(&t->r, &f))
        if (KEY(f.id, f.type) == KEY(1, THRIFT_STRUCT) ? !batch_read(t) : !thrift_skip(&t->r, &f))
            return false;
    return t->r.what == NULL;
}

static enum ec jaeger_thrift_run(struct bytes in, bool compact,
    bool (*read)(struct jaeger_thrift *), size_t skip, struct buf *out, struct err *err)
{
    size_t start = out->n;
    struct jaeger_thrift t = {.out = out};
    thrift_init(&t.r, in, compact);
    t.r.p += skip;
    rx_init(&t.span, out->budget);
    rx_init(&t.process, out->budget);
    bool ok = read(&t);
    bool over = buf_failed(out) || t.span.over || t.process.over;
    rx_deinit(&t.span);
    rx_deinit(&t.process);
    if (ok && !over)
        return EC_OK;
    out->n = start;
    if (over)
        return ERR(err, EC_LIMIT, "jaeger thrift: %zu bytes over the memory budget", in.n);
    return ERR(
        err, EC_INVALID, "jaeger thrift: %s at byte %zu", t.r.what, (size_t)(t.r.at - t.r.base));
}

enum ec jaeger_thrift_to_pb(struct bytes batch, struct buf *out, struct err *err)
{
    return jaeger_thrift_run(batch, false, batch_read, 0, out, err);
}

enum ec jaeger_agent_to_pb(struct bytes message, bool compact, struct buf *out, struct err *err)
{
    struct thrift_reader r;
    struct str name;
    unsigned type;
    thrift_init(&r, message, compact);
    if (!thrift_message(&r, &name, &type))
        return ERR(
            err, EC_INVALID, "jaeger thrift: %s at byte %zu", r.what, (size_t)(r.at - r.base));
    if (str_eqz(name, "emitZipkinBatch"))
        return ERR(err, EC_UNSUPPORTED, "jaeger thrift: emitZipkinBatch is not supported");
    if (!str_eqz(name, "emitBatch") || (type != THRIFT_CALL && type != THRIFT_ONEWAY))
        return ERR(err, EC_NOT_FOUND, "jaeger thrift: no method %.*s of type %u",
            (int)MIN(name.n, 100), name.p, type);
    return jaeger_thrift_run(message, compact, args_read, (size_t)(r.p - r.base), out, err);
}
