/* SPDX-License-Identifier: Apache-2.0
 * Zipkin v1 spans by OpenTelemetry's rules: kind, service and times out of the core annotations
 * (client send, server receive, ...), attributes and status out of the binary annotations. */
#include <stdio.h>

#include "base/clock.h"
#include "zipkin.h"

#define UNKNOWN_SERVICE "unknown-service"

/* ---- annotations ---- */

/* cs, cr, sr, ss, ms, mr: what tells the kind and is no event. */
static enum rx_kind core_kind(struct str value)
{
    static const struct {
        char value[3];
        enum rx_kind kind;
    } core[] = {{"cs", RX_CLIENT}, {"cr", RX_CLIENT}, {"ms", RX_PRODUCER}, {"mr", RX_CONSUMER},
        {"ss", RX_SERVER}, {"sr", RX_SERVER}};
    for (size_t i = 0; i < ARRAY_LEN(core); i++)
        if (str_eqz(value, core[i].value))
            return core[i].kind;
    return RX_UNSPECIFIED;
}

static uint64_t ns_of_us(int64_t us)
{
    return us <= 0 ? 0 : (uint64_t)us * 1000;
}

/* Kind, events, and the times from first to last; *ret_host: the endpoint that names the service,
 * or NULL. */
static bool notes_from(
    struct rx *rx, struct zipkin_v1_span *z, const struct zipkin_endpoint **ret_host)
{
    int64_t early = INT64_MAX, late = INT64_MIN;
    *ret_host = NULL;
    for (uint32_t i = 0; i < z->notes.n; i++) {
        const struct zipkin_note *note = &z->notes.p[i];
        if (note->value.n == 0)
            continue;
        enum rx_kind kind = core_kind(note->value);
        early = MIN(early, note->us);
        late = MAX(late, note->us);
        if (kind == RX_UNSPECIFIED) {
            struct rx_event *e = RX_PUSH(rx, &z->s.events);
            if (e == NULL)
                return false;
            e->time_ns = ns_of_us(note->us);
            e->name = note->value;
            continue;
        }
        if (z->s.kind == RX_UNSPECIFIED)
            z->s.kind = kind;
        if (*ret_host == NULL && note->host.service.n != 0)
            *ret_host = &note->host;
    }
    if (early <= late) {
        z->s.start_ns = ns_of_us(early);
        z->s.end_ns = ns_of_us(late);
    }
    return true;
}

/* ---- binary annotations ---- */

struct status {
    bool has;
    int32_t code;
    struct str message;
};

struct statuses { /* sources, the strongest first */
    struct status census, otel, error, http;
};

static bool code_from(const struct value *v, int32_t *ret)
{
    int64_t i = 0;
    if (v->type == VALUE_INT)
        i = v->i;
    else if (v->type != VALUE_STR || !str_to_i64(v->s, &i))
        return false;
    if (i < INT32_MIN || i > INT32_MAX)
        return false;
    *ret = (int32_t)i;
    return true;
}

static struct str text_of(const struct value *v)
{
    return v->type == VALUE_STR ? v->s : (struct str){0};
}

/* True: the tag is used up. */
static bool status_tag(struct statuses *all, struct str key, const struct value *v)
{
    int32_t code;
    if (str_eqz(key, "census.status_code")) {
        if (code_from(v, &code)) {
            all->census.has = true;
            all->census.code = code == 0 ? RX_STATUS_OK : RX_STATUS_ERROR;
        }
        return true;
    }
    if (str_eqz(key, "census.status_description") ||
        str_eqz(key, "opencensus.status_description")) {
        all->census.message = text_of(v);
        return true;
    }
    if (str_eqz(key, "otel.status_code")) {
        if (code_from(v, &code)) {
            all->otel.has = true;
            all->otel.code = code;
        }
        return true;
    }
    if (str_eqz(key, "otel.status_description")) {
        all->otel.message = text_of(v);
        return true;
    }
    if (str_eqz(key, "error")) {
        all->error.has = true;
        all->error.code = RX_STATUS_ERROR;
        return true;
    }
    if (str_eqz(key, "http.status_code") && code_from(v, &code)) {
        all->http.has = true;
        all->http.code = code >= 100 && code < 400 ? RX_STATUS_UNSET : RX_STATUS_ERROR;
    } else if (str_eqz(key, "http.status_message")) {
        all->http.message = text_of(v);
    }
    return false;
}

static void status_from(struct rx_span *s, struct statuses *all)
{
    if (all->error.has)
        all->error.message = all->census.message.n != 0 ? all->census.message : all->otel.message;
    const struct status *best = all->census.has  ? &all->census
                                : all->otel.has  ? &all->otel
                                : all->error.has ? &all->error
                                                 : &all->http;
    if (!best->has)
        return;
    s->status_code = best->code;
    s->status_message = best->message;
}

/* *ret_service: the service by the tags; empty when they name none. */
static bool tags_from(struct rx *rx, struct zipkin_v1_span *z, struct str *ret_service)
{
    struct statuses all = {0};
    struct str component = {0};
    *ret_service = (struct str){0};
    for (uint32_t i = 0; i < z->tags.n; i++) {
        const struct zipkin_tag *tag = &z->tags.p[i];
        struct str key = tag->key;
        if (tag->service.n != 0)
            *ret_service = tag->service;
        if (str_eqz(key, "lc")) {
            key = STR("component");
            component = text_of(&tag->value);
        }
        if (status_tag(&all, key, &tag->value))
            continue;
        struct attr *a = RX_PUSH(rx, &z->s.attrs);
        if (a == NULL)
            return false;
        *a = (struct attr){key, tag->value};
    }
    if (ret_service->n == 0)
        *ret_service = component;
    status_from(&z->s, &all);
    return rx_attrs_unique(rx, &z->s.attrs);
}

/* ---- spans ---- */

static bool times_from(struct rx *rx, struct zipkin_v1_span *z)
{
    struct rx_span *s = &z->s;
    if (z->has_start) {
        s->start_ns = ns_of_us(z->start_us);
        s->end_ns = ns_of_us((int64_t)((uint64_t)z->start_us + (uint64_t)z->duration_us));
    }
    if (s->start_ns != 0 || !z->now_if_no_start)
        return true;
    s->start_ns = s->end_ns = (uint64_t)clock_wall_ns();
    return rx_attrs_put(rx, &s->attrs, STR("otel.zipkin.absentField.startTime"),
        (struct value){.type = VALUE_BOOL, .b = true});
}

static bool resource_from(
    struct rx *rx, const struct zipkin_endpoint *host, struct str service, struct str *ret)
{
    struct rx_attrs a = {0};
    char port[12];
    if (host == NULL)
        return rx_attrs_put_str(
                   rx, &a, "service.name", service.n == 0 ? STR(UNKNOWN_SERVICE) : service) &&
               rx_resource(rx, &a, ret);
    if (!rx_attrs_put_str(rx, &a, "service.name", host->service))
        return false;
    if (host->ipv4.n != 0 && !rx_attrs_put_str(rx, &a, "ipv4", host->ipv4))
        return false;
    if (host->ipv6.n != 0 && !rx_attrs_put_str(rx, &a, "ipv6", host->ipv6))
        return false;
    snprintf(port, sizeof(port), "%d", host->port);
    if (host->port != 0 && !rx_attrs_put_str(rx, &a, "port", str_from(port)))
        return false;
    return rx_resource(rx, &a, ret);
}

bool zipkin_v1_put(struct rx *rx, struct zipkin_v1_spans *spans, struct buf *out)
{
    uint32_t n = spans->l.n;
    struct rx_item *items = rx_array(rx, n, sizeof(*items));
    if (items == NULL)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        struct zipkin_v1_span *z = &spans->l.p[i];
        const struct zipkin_endpoint *host;
        struct str service;
        if (!notes_from(rx, z, &host) || !tags_from(rx, z, &service) || !times_from(rx, z) ||
            !resource_from(rx, host, service, &items[i].resource))
            return false;
        items[i].group = items[i].resource;
        items[i].span = &z->s;
    }
    struct rx_item **order = rx_items_order(rx, items, n);
    if (order == NULL)
        return false;
    rx_put_items(out, order, n);
    return true;
}
