/* SPDX-License-Identifier: Apache-2.0
 * Jaeger spans and processes by OpenTelemetry's rules: kind and status out of tags, logs as events,
 * references as parent and links, the process as resource. */
#include <stdlib.h>

#include "jaeger.h"

#define HTTP_STATUS_CODE    "http.status_code"
#define HTTP_STATUS_MESSAGE "http.status_message"

bool jaeger_tag_unknown(struct rx *rx, int32_t type, struct value *ret)
{
    char *text = arena_printf(&rx->arena, "<Unknown Jaeger TagType \"%d\">", type);
    rx->over |= text == NULL;
    *ret = rx_str(str_from(text));
    return text != NULL;
}

bool jaeger_span_blank(const struct jaeger_span *j)
{
    const struct rx_span *s = &j->s;
    return trace_id_zero(&s->trace_id) && s->span_id == 0 && s->parent_id == 0 && s->name.n == 0 &&
           s->start_ns == 0 && s->end_ns == 0 && j->refs.n == 0 && s->attrs.n == 0 &&
           s->events.n == 0;
}

/* ---- kind and status ---- */

static enum rx_kind jaeger_kind(struct str text)
{
    static const struct {
        const char *name;
        enum rx_kind kind;
    } kinds[] = {{"client", RX_CLIENT}, {"server", RX_SERVER}, {"producer", RX_PRODUCER},
        {"consumer", RX_CONSUMER}, {"internal", RX_INTERNAL}};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (str_eqz(text, kinds[i].name))
            return kinds[i].kind;
    return RX_UNSPECIFIED;
}

/* Takes an attribute away and gives its text. */
static bool jaeger_take(struct rx_span *s, const char *key, struct str *ret)
{
    struct attr *a = rx_attrs_find(&s->attrs, key);
    if (a == NULL)
        return false;
    *ret = rx_attr_text(a);
    rx_attrs_remove(&s->attrs, a);
    return true;
}

static struct str jaeger_http_message(const struct rx_span *s)
{
    const struct attr *a = rx_attrs_find(&s->attrs, HTTP_STATUS_MESSAGE);
    return a == NULL ? (struct str){0} : rx_attr_text(a);
}

static int32_t jaeger_status_named(struct str name)
{
    return str_ieq(name, STR("ok"))      ? RX_STATUS_OK
           : str_ieq(name, STR("error")) ? RX_STATUS_ERROR
                                         : RX_STATUS_UNSET;
}

static bool jaeger_http_failed(const struct rx_span *s, const struct attr *a)
{
    int64_t code = 0;
    if (a->value.type == VALUE_INT)
        code = a->value.i;
    else if (a->value.type != VALUE_STR || !str_to_i64(a->value.s, &code))
        return false;
    if (code >= 400 && code < 500 && s->kind == RX_SERVER)
        return false;
    return code < 100 || code > 398; /* 399 too: the reference's quirk */
}

/* Three sources, in order: the tag `error`, a status in OpenTelemetry's words, the HTTP code. */
static void jaeger_status(struct rx_span *s)
{
    struct attr *error = rx_attrs_find(&s->attrs, "error");
    bool failed = error != NULL && error->value.type == VALUE_BOOL && error->value.b;
    struct str code;
    if (failed) {
        rx_attrs_remove(&s->attrs, error);
        s->status_code = RX_STATUS_ERROR;
        if (!jaeger_take(s, "otel.status_description", &s->status_message))
            s->status_message = jaeger_http_message(s);
    }
    if (jaeger_take(s, "otel.status_code", &code)) {
        if (!failed) {
            s->status_code = jaeger_status_named(code);
            (void)jaeger_take(s, "otel.status_description", &s->status_message); /* may be absent */
        }
        return;
    }
    const struct attr *http = failed ? NULL : rx_attrs_find(&s->attrs, HTTP_STATUS_CODE);
    if (http != NULL && jaeger_http_failed(s, http)) {
        s->status_code = RX_STATUS_ERROR;
        s->status_message = jaeger_http_message(s);
    }
}

/* ---- references ---- */

static span_id jaeger_parent(const struct jaeger_span *j)
{
    const struct jaeger_ref *follows = NULL;
    if (j->s.parent_id != 0)
        return j->s.parent_id;
    for (uint32_t i = 0; i < j->refs.n; i++) {
        const struct jaeger_ref *ref = &j->refs.p[i];
        if (!trace_id_eq(&ref->trace_id, &j->s.trace_id))
            continue;
        if (ref->type == JAEGER_CHILD_OF)
            return ref->span_id;
        if (follows == NULL && ref->type == JAEGER_FOLLOWS_FROM)
            follows = ref;
    }
    return follows == NULL ? 0 : follows->span_id;
}

static bool jaeger_links(struct rx *rx, struct jaeger_span *j)
{
    for (uint32_t i = 0; i < j->refs.n; i++) {
        const struct jaeger_ref *ref = &j->refs.p[i];
        if (ref->type == JAEGER_CHILD_OF && ref->span_id == j->s.parent_id)
            continue;
        struct rx_link *link = RX_PUSH(rx, &j->s.links);
        if (link == NULL)
            return false;
        link->trace_id = ref->trace_id;
        link->span_id = ref->span_id;
        if (!rx_attrs_put_str(rx, &link->attrs, "opentracing.ref_type",
                ref->type == JAEGER_CHILD_OF ? STR("child_of") : STR("follows_from")))
            return false;
    }
    return true;
}

/* ---- spans and processes ---- */

static bool jaeger_events(struct rx *rx, struct rx_span *s)
{
    for (uint32_t i = 0; i < s->events.n; i++) {
        struct rx_event *e = &s->events.p[i];
        if (!rx_attrs_unique(rx, &e->attrs))
            return false;
        struct attr *name = rx_attrs_find(&e->attrs, "event");
        if (name != NULL) {
            e->name = rx_attr_text(name);
            rx_attrs_remove(&e->attrs, name);
        }
    }
    return true;
}

bool jaeger_map_span(struct rx *rx, struct jaeger_span *j, bool proto)
{
    struct rx_span *s = &j->s;
    struct str kind;
    if (!rx_attrs_unique(rx, &s->attrs))
        return false;
    if (proto && jaeger_take(s, "otel.scope.name", &j->scope_name))
        (void)jaeger_take(s, "otel.scope.version", &j->scope_version); /* may be absent */
    if (jaeger_take(s, "span.kind", &kind))
        s->kind = jaeger_kind(kind);
    jaeger_status(s);
    if (proto)
        (void)jaeger_take(s, "w3c.tracestate", &s->trace_state); /* may be absent */
    s->parent_id = jaeger_parent(j);
    return jaeger_events(rx, s) && jaeger_links(rx, j);
}

static bool jaeger_exporter_version(struct rx *rx, struct rx_attrs *a)
{
    struct attr *version = rx_attrs_find(a, "jaeger.version");
    if (version == NULL || rx_attrs_find(a, "opencensus.exporterversion") != NULL)
        return true;
    struct str text = rx_attr_text(version);
    struct buf b;
    buf_init(&b, rx->arena.budget);
    buf_putz(&b, "Jaeger-");
    buf_puts(&b, text);
    struct str joined = buf_str(&b);
    bool ok = !buf_failed(&b) && rx_copy(rx, &joined);
    rx->over |= !ok;
    buf_deinit(&b);
    version->key = STR("opencensus.exporterversion");
    version->value = rx_str(joined);
    return ok;
}

bool jaeger_map_process(struct rx *rx, struct jaeger_process *process, bool proto)
{
    struct rx_attrs *a = &process->tags;
    /* What OpenTelemetry's exporters write where a resource had no service. */
    if (proto && str_eq(process->service, STR("OTLPResourceNoServiceName"))) {
        a->n = 0;
        return true;
    }
    if (process->service.n != 0) { /* first, so that a tag of that name wins, as the last value */
        struct attr *last = RX_PUSH(rx, a);
        if (last == NULL)
            return false;
        memmove(a->p + 1, a->p, (a->n - 1) * sizeof(*a->p));
        a->p[0] = (struct attr){STR("service.name"), rx_str(process->service)};
    }
    if (!rx_attrs_unique(rx, a))
        return false;
    struct attr *host = rx_attrs_find(a, "hostname");
    if (host != NULL && rx_attrs_find(a, "host.name") == NULL)
        host->key = STR("host.name");
    return jaeger_exporter_version(rx, a);
}
