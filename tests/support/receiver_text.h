/* SPDX-License-Identifier: Apache-2.0
 * What a receiver made of its bytes, as text: one line for a resource, scope, span, event, link.
 * Only what is set is shown, so that a test can name all of it. */
#pragma once

#include "model/batch.h"
#include "receivers/receivers.h"
#include "unit.h"

static inline void text_value(struct buf *b, const struct value *v)
{
    switch (v->type) {
    case VALUE_STR:
        buf_printf(b, "\"" STR_FMT "\"", STR_ARG(v->s));
        break;
    case VALUE_INT:
        buf_printf(b, "%lld", (long long)v->i);
        break;
    case VALUE_DOUBLE:
        buf_printf(b, "%.17g%s", v->d, v->d == (double)(int64_t)v->d ? ".0" : "");
        break;
    case VALUE_BOOL:
        buf_putz(b, v->b ? "true" : "false");
        break;
    case VALUE_BYTES:
        buf_putz(b, "0x");
        for (size_t i = 0; i < v->s.n; i++)
            buf_printf(b, "%02x", (uint8_t)v->s.p[i]);
        break;
    default:
        buf_printf(b, "type %d", (int)v->type);
    }
}

static inline void text_attrs(struct buf *b, const struct batch *batch, uint32_t first, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        const struct attr *a = &batch->attrs[first + i];
        buf_printf(b, " " STR_FMT "=", STR_ARG(a->key));
        text_value(b, &a->value);
    }
    buf_putc(b, '\n');
}

static inline void text_id(struct buf *b, const struct trace_id *t, span_id s)
{
    char hex[32], id[16];
    uint8_t be[8];
    hex_encode(hex, t->b, 16);
    put_u64be(be, s);
    hex_encode(id, be, 8);
    buf_printf(b, " %.32s/%.16s", hex, id);
}

static inline void text_span(struct buf *b, const struct batch *batch, const struct batch_span *s)
{
    static const char *const kinds[] = {
        "unspecified", "internal", "server", "client", "producer", "consumer"};
    static const char *const statuses[] = {"", " ok", " error"};
    buf_printf(b, "  span \"" STR_FMT "\" %s", STR_ARG(s->name), kinds[s->kind]);
    text_id(b, &s->trace_id, s->span_id);
    if (s->parent_id != 0)
        buf_printf(b, " parent %016llx", (unsigned long long)s->parent_id);
    buf_printf(b, " at %llu+%llu", (unsigned long long)s->start_ns,
        (unsigned long long)(s->end_ns - s->start_ns));
    if (s->status_code < 0 || s->status_code > 2)
        buf_printf(b, " status %d", s->status_code);
    else
        buf_putz(b, statuses[s->status_code]);
    if (s->status_message.n != 0)
        buf_printf(b, " (" STR_FMT ")", STR_ARG(s->status_message));
    if (s->trace_state.n != 0)
        buf_printf(b, " state " STR_FMT, STR_ARG(s->trace_state));
    if (s->reject != SPAN_ACCEPTED)
        buf_printf(b, " REJECTED %d", s->reject);
    text_attrs(b, batch, s->attr_first, s->attr_n);
    for (uint32_t i = 0; i < s->event_n; i++) {
        const struct batch_event *e = &batch->events[s->event_first + i];
        buf_printf(b, "   event \"" STR_FMT "\" at %llu", STR_ARG(e->name),
            (unsigned long long)e->time_ns);
        if (e->dropped_attrs != 0)
            buf_printf(b, " dropped %u", e->dropped_attrs);
        text_attrs(b, batch, e->attr_first, e->attr_n);
    }
    for (uint32_t i = 0; i < s->link_n; i++) {
        const struct batch_link *l = &batch->links[s->link_first + i];
        buf_putz(b, "   link");
        text_id(b, &l->trace_id, l->span_id);
        if (l->trace_state.n != 0)
            buf_printf(b, " state " STR_FMT, STR_ARG(l->trace_state));
        if (l->dropped_attrs != 0)
            buf_printf(b, " dropped %u", l->dropped_attrs);
        text_attrs(b, batch, l->attr_first, l->attr_n);
    }
}

/* Appends the text of an OTLP request, which the decoder must accept. */
static inline void text_request(struct buf *b, struct bytes pb)
{
    struct arena arena;
    struct batch batch;
    struct err err = {0};
    arena_init(&arena, NULL, 0);
    if (batch_decode(&batch, pb, NULL, &arena, &err) != EC_OK)
        fail_msg("not an OTLP request: %s", err.msg);
    for (uint32_t i = 0; i < batch.n_spans; i++) {
        const struct batch_span *s = &batch.spans[i], *before = i == 0 ? NULL : s - 1;
        if (before == NULL || before->resource != s->resource) {
            const struct batch_resource *r = &batch.resources[s->resource];
            buf_putz(b, "resource");
            text_attrs(b, &batch, r->attr_first, r->attr_n);
        }
        const struct batch_scope *scope = &batch.scopes[s->scope];
        if ((before == NULL || before->scope != s->scope) && scope->name.n != 0)
            buf_printf(b, " scope " STR_FMT " " STR_FMT "\n", STR_ARG(scope->name),
                STR_ARG(scope->version));
        text_span(b, &batch, s);
    }
    arena_deinit(&arena);
}

/* What a receiver answered, and the text of what it made. */
static inline void expect_spans(
    const char *what, enum ec ec, const struct err *err, const struct buf *pb, const char *want)
{
    struct buf text = BUF_INIT;
    if (ec != EC_OK)
        fail_msg("%s: %s", what, err->msg);
    text_request(&text, buf_bytes(pb));
    buf_putc(&text, 0);
    if (strcmp((char *)text.p, want) != 0)
        fail_msg("%s:\n%sis not\n%s", what, (char *)text.p, want);
    buf_deinit(&text);
}
