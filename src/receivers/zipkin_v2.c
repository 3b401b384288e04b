/* SPDX-License-Identifier: Apache-2.0
 * Zipkin v2 spans by OpenTelemetry's rules: tags that are really resource attributes, scope,
 * status, links or trace state go to their place; endpoints become attributes, annotations
 * events. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "json_read.h"
#include "zipkin.h"

#define LINKS_MAX 128

/* Keys that belong to a resource. They are never span attributes: of the first span of a service
 * they describe the resource. Sorted by strcmp. */
static const char *const resource_keys[] = {"aws.ecs.cluster.arn", "aws.ecs.container.arn",
    "aws.ecs.launchtype", "aws.ecs.task.arn", "aws.ecs.task.family", "aws.ecs.task.revision",
    "aws.eks.cluster.arn", "aws.log.group.arns", "aws.log.group.names", "aws.log.stream.arns",
    "aws.log.stream.names", "cloud.account.id", "cloud.availability_zone", "cloud.platform",
    "cloud.provider", "cloud.region", "container.id", "container.image.name", "container.image.tag",
    "container.name", "container.runtime", "deployment.environment", "device.id",
    "device.manufacturer", "device.model.identifier", "device.model.name", "faas.id",
    "faas.instance", "faas.max_memory", "faas.name", "faas.version", "host.arch", "host.id",
    "host.image.id", "host.image.name", "host.image.version", "host.name", "host.type",
    "k8s.cluster.name", "k8s.container.name", "k8s.container.restart_count", "k8s.cronjob.name",
    "k8s.cronjob.uid", "k8s.daemonset.name", "k8s.daemonset.uid", "k8s.deployment.name",
    "k8s.deployment.uid", "k8s.job.name", "k8s.job.uid", "k8s.namespace.name", "k8s.node.name",
    "k8s.node.uid", "k8s.pod.name", "k8s.pod.uid", "k8s.replicaset.name", "k8s.replicaset.uid",
    "k8s.statefulset.name", "k8s.statefulset.uid", "opencensus.exporterversion",
    "opencensus.resourcetype", "opencensus.starttime", "os.description", "os.name", "os.type",
    "os.version", "process.command", "process.command_args", "process.command_line",
    "process.executable.name", "process.executable.path", "process.owner", "process.pid",
    "process.runtime.description", "process.runtime.name", "process.runtime.version",
    "service.instance.id", "service.name", "service.namespace", "service.version",
    "telemetry.auto.version", "telemetry.sdk.language", "telemetry.sdk.name",
    "telemetry.sdk.version", "webengine.description", "webengine.name", "webengine.version"};
#define SERVICE_SOURCE  "otlp.service.name.source"
#define LIBRARY_NAME    "otel.library.name"
#define LIBRARY_VERSION "otel.library.version"

static int key_order(const void *key, const void *name)
{
    return str_cmp(*(const struct str *)key, str_from(*(const char *const *)name));
}

static bool is_resource_key(struct str key)
{
    return bsearch(&key, resource_keys, ARRAY_LEN(resource_keys), sizeof(resource_keys[0]),
               key_order) != NULL;
}

static bool take(struct rx_span *s, const char *key, struct str *ret)
{
    struct attr *a = rx_attrs_find(&s->attrs, key);
    if (a == NULL)
        return false;
    *ret = rx_attr_text(a);
    rx_attrs_remove(&s->attrs, a);
    return true;
}

static struct str tag_text(const struct rx_span *s, const char *key)
{
    const struct attr *a = rx_attrs_find(&s->attrs, key);
    return a == NULL ? (struct str){0} : rx_attr_text(a);
}

/* ---- what OpenTelemetry's Zipkin exporter packs into text ---- */

static bool json_attr(struct json_reader *r, struct rx *rx, struct value *ret)
{
    struct json_number num;
    char z[JSON_NUMBER_BYTES + 1];
    *ret = (struct value){0};
    switch (json_peek(r)) {
    case '"':
        ret->type = VALUE_STR;
        return json_string(r, &ret->s) && rx_copy(rx, &ret->s);
    case 't':
    case 'f':
        ret->type = VALUE_BOOL;
        return json_bool(r, &ret->b);
    case '{':
    case '[':
    case 'n':
        return json_skip(r);
    default:
        break;
    }
    if (!json_number(r, &num))
        return false;
    if (str_to_i64(num.text, &ret->i)) {
        ret->type = VALUE_INT;
        return true;
    }
    memcpy(z, num.text.p, num.text.n);
    z[num.text.n] = 0;
    double d = strtod(z, NULL);
    bool whole = fabs(d) < 0x1p63 && d == trunc(d);
    *ret = whole ? rx_int((int64_t)d) : (struct value){.type = VALUE_DOUBLE, .d = d};
    return true;
}

/* "{...}|dropped": attributes (values that are neither text, number nor bool are left out). */
static bool unpack_attrs(struct rx *rx, struct str text, struct rx_attrs *a, uint32_t *ret_dropped)
{
    size_t bar = text.n;
    uint64_t dropped;
    bool first = true, more = true, ok;
    struct json_reader r;
    struct str key;

    while (bar > 0 && text.p[bar - 1] != '|')
        bar--;
    if (bar == 0 || !str_to_u64(str_n(text.p + bar, text.n - bar), &dropped) ||
        dropped > UINT32_MAX)
        return false;
    json_reader_init(&r, bytes_n(text.p, bar - 1), rx->arena.budget);
    ok = json_open(&r, '{');
    while (ok) {
        struct attr *at;
        struct value v;
        ok = json_object_next(&r, &first, &more, &key);
        if (!ok || !more)
            break;
        ok = rx_copy(rx, &key) && json_attr(&r, rx, &v);
        if (ok && v.type != VALUE_EMPTY) {
            ok = (at = RX_PUSH(rx, a)) != NULL;
            if (ok)
                *at = (struct attr){key, v};
        }
    }
    ok = ok && json_peek(&r) == 0 && r.p == r.end;
    rx->over |= buf_failed(&r.text);
    json_reader_deinit(&r);
    if (!ok || !rx_attrs_unique(rx, a))
        return false;
    *ret_dropped = (uint32_t)dropped;
    return true;
}

static bool hex_or_empty(struct str hex, uint8_t *ret, size_t n)
{
    if (hex.n >= 2 && hex.p[0] == '"' && hex.p[hex.n - 1] == '"')
        hex = str_n(hex.p + 1, hex.n - 2);
    return hex.n == 0 || hex_decode(ret, hex, n);
}

/* "trace id|span id|trace state|{attributes}|dropped" */
static bool unpack_link(struct rx *rx, struct str text, struct rx_link *link)
{
    struct str span, state, rest;
    uint8_t id[8] = {0};
    struct str trace = str_cut(text, '|', &span);
    span = str_cut(span, '|', &state);
    state = str_cut(state, '|', &rest);
    if (!hex_or_empty(trace, link->trace_id.b, 16) || !hex_or_empty(span, id, 8))
        return false;
    link->span_id = get_u64be(id);
    link->trace_state = state;
    return unpack_attrs(rx, rest, &link->attrs, &link->dropped_attrs);
}

/* One that cannot be read stays the tag that it was: nothing is lost. */
static bool links_from(struct rx *rx, struct rx_span *s)
{
    char key[24] = "otlp.link.0";
    for (unsigned i = 0; i < LINKS_MAX; i++) {
        struct rx_link link = {0}, *at;
        if (i != 0) /* most spans have none, and formatting is slow */
            snprintf(key, sizeof(key), "otlp.link.%u", i);
        struct attr *a = rx_attrs_find(&s->attrs, key);
        if (a == NULL)
            return true;
        if (unpack_link(rx, rx_attr_text(a), &link)) {
            if ((at = RX_PUSH(rx, &s->links)) == NULL)
                return false;
            *at = link;
            rx_attrs_remove(&s->attrs, a);
        }
        if (rx->over)
            return false;
    }
    return true;
}

/* "name", "name|ignored" or "name|{attributes}|dropped". WHY: text with more bars that is not of
 * the last form is somebody's own; it is kept whole, where the reference refuses the request. */
static bool event_from(struct rx *rx, struct rx_event *e)
{
    struct str rest, name = str_cut(e->name, '|', &rest);
    struct rx_attrs attrs = {0};
    if (memchr(rest.p == NULL ? "" : rest.p, '|', rest.n) == NULL)
        e->name = name;
    else if (unpack_attrs(rx, rest, &attrs, &e->dropped_attrs)) {
        e->name = name;
        e->attrs = attrs;
    }
    return !rx->over;
}

/* ---- one span ---- */

static void kind_from(struct rx_span *s)
{
    struct str text;
    if (s->kind == RX_UNSPECIFIED && take(s, "span.kind", &text) && str_eqz(text, "internal"))
        s->kind = RX_INTERNAL;
}

static void status_from(struct rx_span *s)
{
    struct str code;
    if (take(s, "otel.status_code", &code)) {
        if (str_eqz(code, "STATUS_CODE_ERROR") || str_eqz(code, "Error"))
            s->status_code = RX_STATUS_ERROR;
        else if (str_eqz(code, "STATUS_CODE_OK") || str_eqz(code, "Ok"))
            s->status_code = RX_STATUS_OK;
        (void)take(s, "otel.status_description", &s->status_message); /* may be absent */
    }
    struct attr *error = rx_attrs_find(&s->attrs, "error");
    if (error == NULL)
        return;
    s->status_code = RX_STATUS_ERROR;
    if (str_eqz(rx_attr_text(error), "true"))
        rx_attrs_remove(&s->attrs, error);
}

static void attrs_of_span(struct rx_attrs *a, bool parse_tags)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < a->n; i++) {
        struct attr *at = &a->p[i];
        if (is_resource_key(at->key) || str_eqz(at->key, SERVICE_SOURCE) ||
            str_eqz(at->key, LIBRARY_NAME) || str_eqz(at->key, LIBRARY_VERSION))
            continue;
        a->p[n] = *at;
        if (parse_tags)
            a->p[n].value = zipkin_parse_text(at->value.s);
        n++;
    }
    a->n = n;
}

static bool put_endpoint(struct rx *rx, struct rx_attrs *a, const struct zipkin_endpoint *e,
    const char *ip, const char *port)
{
    if (e->ipv4.n != 0 && !rx_attrs_put_str(rx, a, ip, e->ipv4))
        return false;
    if (e->ipv6.n != 0 && !rx_attrs_put_str(rx, a, ip, e->ipv6))
        return false;
    return e->port <= 0 || rx_attrs_put(rx, a, str_from(port), rx_int(e->port));
}

static bool map_span(struct rx *rx, struct zipkin_span *z, bool parse_tags)
{
    struct rx_span *s = &z->s;
    if (s->parent_id == s->span_id)
        s->parent_id = 0;
    (void)take(s, "w3c.tracestate", &s->trace_state); /* may be absent */
    kind_from(s);
    status_from(s);
    if (!links_from(rx, s))
        return false;
    attrs_of_span(&s->attrs, parse_tags);
    if (!put_endpoint(rx, &s->attrs, &z->local, "net.host.ip", "net.host.port"))
        return false;
    if (z->remote.service.n != 0 &&
        !rx_attrs_put_str(rx, &s->attrs, "peer.service", z->remote.service))
        return false;
    if (!put_endpoint(rx, &s->attrs, &z->remote, "net.peer.ip", "net.peer.port"))
        return false;
    if (z->no_start && !rx_attrs_put(rx, &s->attrs, STR("otel.zipkin.absentField.startTime"),
                           (struct value){.type = VALUE_BOOL, .b = true}))
        return false;
    for (uint32_t i = 0; i < s->events.n; i++)
        if (!event_from(rx, &s->events.p[i]))
            return false;
    return true;
}

/* ---- the request ---- */

/* The resource of a service, from the first span of it. */
static bool resource_from(struct rx *rx, const struct zipkin_span *z, struct str *ret)
{
    struct rx_attrs a = {0};
    if (z->local.service.n == 0)
        return rx_resource(rx, &a, ret);
    struct str source = tag_text(&z->s, SERVICE_SOURCE);
    if (source.n == 0)
        source = STR("service.name");
    if (!rx_attrs_put(rx, &a, source, rx_str(z->local.service)))
        return false;
    for (uint32_t i = 0; i < z->s.attrs.n; i++) {
        const struct attr *at = &z->s.attrs.p[i];
        if (is_resource_key(at->key) && !rx_attrs_put(rx, &a, at->key, at->value))
            return false;
    }
    return rx_resource(rx, &a, ret);
}

/* Resource and scope come from the first span of their group, before its tags are taken apart. */
static bool name_groups(struct rx *rx, struct rx_item **order, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        struct rx_item *item = order[i], *before = i == 0 ? NULL : order[i - 1];
        const struct zipkin_span *z = CONTAINER_OF(item->span, struct zipkin_span, s);
        bool same = before != NULL && str_eq(before->group, item->group);
        if (!same && !resource_from(rx, z, &item->resource))
            return false;
        if (same && str_eq(before->scope_name, item->scope_name))
            item->scope_version = before->scope_version;
        else if (item->scope_name.n != 0)
            item->scope_version = tag_text(&z->s, LIBRARY_VERSION);
    }
    return true;
}

bool zipkin_v2_put(struct rx *rx, struct zipkin_spans *spans, bool parse_tags, struct buf *out)
{
    uint32_t n = spans->l.n;
    struct rx_item *items = rx_array(rx, n, sizeof(*items));
    if (items == NULL)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        struct zipkin_span *z = &spans->l.p[i];
        if (!rx_attrs_unique(rx, &z->s.attrs))
            return false;
        if (str_eqz(z->local.service, "OTLPResourceNoServiceName"))
            z->local.service = (struct str){0};
        items[i] = (struct rx_item){
            .group = z->local.service, .scope_name = tag_text(&z->s, LIBRARY_NAME), .span = &z->s};
    }
    struct rx_item **order = rx_items_order(rx, items, n);
    if (order == NULL || !name_groups(rx, order, n))
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (!map_span(rx, &spans->l.p[i], parse_tags))
            return false;
    rx_put_items(out, order, n);
    return true;
}
