/* SPDX-License-Identifier: Apache-2.0
 * `distributor.receivers`: type[/name] -> settings. opencensus is accepted with a warning, as
 * files in the wild carry it along. */
#include <stdio.h>
#include <string.h>

#include "doc.h"

#define MODULE \
    "failed to init module services: error initialising module: distributor: failed to create distributor: "
#define MIB_MAX    1024
#define ID_MAX     64    /* bytes of type/name */
#define PACKET_MAX 65535 /* no datagram is longer */
#define SOCKET_MAX (1u << 30)

static const struct protocol {
    const char *type, *name; /* of the receiver, of the protocol; zipkin has none */
    enum receiver_kind kind;
    const struct block *block;
} protocols[] = {
    {"otlp", "grpc", RECEIVER_OTLP_GRPC, &schema_otlp_grpc},
    {"otlp", "http", RECEIVER_OTLP_HTTP, &schema_otlp_http},
    {"jaeger", "grpc", RECEIVER_JAEGER_GRPC, &schema_jaeger_grpc},
    {"jaeger", "thrift_http", RECEIVER_JAEGER_HTTP, &schema_jaeger_http},
    {"jaeger", "thrift_compact", RECEIVER_JAEGER_COMPACT, &schema_jaeger_compact},
    {"jaeger", "thrift_binary", RECEIVER_JAEGER_BINARY, &schema_jaeger_binary},
    {"zipkin", NULL, RECEIVER_ZIPKIN, &schema_zipkin},
};

/* Joins a list with commas, the form in which cipher suites are kept. */
static const char *join(struct config *c, const struct node *list)
{
    const char *all = NULL;
    for (uint32_t i = 0; list != NULL && i < list->n; i++) {
        all = arena_printf(&c->arena, "%s%s%.*s", all == NULL ? "" : all, all == NULL ? "" : ",",
            STR_ARG(list->items[i]->s));
        ASSERT(all != NULL);
    }
    return all;
}

static void finish_tls(struct config *c, struct config_tls *t, const struct node *n)
{
    const char **fields[] = {&t->cert_file, &t->key_file, &t->cert_pem, &t->key_pem,
        &t->client_ca_file, &t->min_version, &t->max_version};
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        if (*fields[i] != NULL && (*fields[i])[0] == 0)
            *fields[i] = NULL;
    t->cipher_suites = join(c, node_get(n, STR("cipher_suites")));
    t->set = n != NULL;
}

static enum ec check_tls(const char *id, const struct config_tls *t, struct err *err)
{
    if (!t->set)
        return EC_OK;
    if (t->cert_file == NULL && t->cert_pem == NULL)
        return ERR(err, EC_INVALID,
            MODULE
            "%s: failed to load TLS config: for auth via TLS, provide both certificate and key, or neither",
            id);
    if (t->key_file == NULL && t->key_pem == NULL)
        return ERR(err, EC_INVALID,
            MODULE
            "%s: failed to load TLS config: for auth via TLS, provide both certificate and key, or neither",
            id);
    return EC_OK;
}

static enum ec refuse_set(
    const char *id, const struct block *b, const struct node *n, struct err *err)
{
    for (size_t i = 0; i < b->n; i++)
        if (b->keys[i].decision == KEY_R && !node_is_null(node_get(n, str_from(b->keys[i].name))))
            return ERR(err, EC_INVALID, MODULE "%s: failed to resolve %s: %s", id, b->keys[i].name,
                b->keys[i].note);
    return EC_OK;
}

static enum ec finish_grpc(
    const char *id, struct config_receiver *r, const struct node *n, struct err *err)
{
    struct value mib = {0};
    char problem[PROBLEM_MAX];
    const struct node *size = node_get(n, STR("max_recv_msg_size_mib"));
    if (!node_is_null(size) && !value_parse(KT_INT, size, &mib, problem))
        return ERR(err, EC_INVALID, MODULE "%s: %s", id, problem);
    if (mib.i < 0 || mib.i > MIB_MAX)
        return ERR(err, EC_INVALID,
            MODULE "%s: invalid max_recv_msg_size_mib value, must be between 1 and %d: %lld", id,
            MIB_MAX, (long long)mib.i);
    r->max_recv_msg_bytes = (mib.i == 0 ? 4ULL : (uint64_t)mib.i) << 20;
    return EC_OK;
}

static void finish_http(struct config *c, struct config_receiver *r)
{
    if (r->traces_url_path != NULL && r->traces_url_path[0] != '/') {
        r->traces_url_path = arena_printf(&c->arena, "/%s", r->traces_url_path);
        ASSERT(r->traces_url_path != NULL);
    }
    if (r->max_request_body_size == 0)
        r->max_request_body_size = 20u << 20;
}

static enum ec finish_udp(struct config_receiver *r, struct err *err)
{
    if (r->max_packet_size == 0 || r->max_packet_size > PACKET_MAX)
        return ERR(err, EC_INVALID,
            MODULE "%s: invalid max_packet_size value, must be between 1 and %d: %llu", r->id,
            PACKET_MAX, (unsigned long long)r->max_packet_size);
    if (r->socket_buffer_size > SOCKET_MAX)
        return ERR(err, EC_INVALID,
            MODULE "%s: invalid socket_buffer_size value, must be between 0 and %u: %llu", r->id,
            SOCKET_MAX, (unsigned long long)r->socket_buffer_size);
    return EC_OK;
}

static enum ec check_endpoint(const struct config_receiver *r, struct err *err)
{
    const char *colon = strrchr(r->endpoint, ':');
    uint64_t port;
    if (colon == NULL || !str_to_u64(str_from(colon + 1), &port) || port > 65535)
        return ERR(err, EC_INVALID, MODULE "%s: invalid endpoint \"%.200s\": host:port expected",
            r->id, r->endpoint);
    return EC_OK;
}

/* n may be NULL: all defaults. */
static enum ec add_server(struct config *c, const struct protocol *p, const char *id,
    const struct node *n, struct err *err)
{
    struct config_receivers *all = &c->receivers[p->kind];
    if (all->n == CONFIG_RECEIVERS_MAX)
        return ERR(
            err, EC_LIMIT, MODULE "%s: over %d receivers of a kind", id, CONFIG_RECEIVERS_MAX);
    struct config_receiver *r = &all->p[all->n];
    TRY(refuse_set(id, p->block, n, err));
    TRY(bind_block(&c->arena, p->block, id, n, r, true, err));
    r->id = id;
    switch (p->kind) {
    case RECEIVER_OTLP_GRPC:
    case RECEIVER_JAEGER_GRPC:
        TRY(finish_grpc(id, r, n, err));
        break;
    case RECEIVER_JAEGER_COMPACT:
    case RECEIVER_JAEGER_BINARY:
        TRY(finish_udp(r, err));
        if (c->multitenancy)
            warn_add(c, false,
                arena_printf(&c->arena, "distributor.receivers.%s.protocols.%s", id, p->name),
                "packets name no tenant", "with multitenancy all of them are dropped and counted");
        break;
    default:
        finish_http(c, r);
    }
    finish_tls(c, &r->tls, node_get(n, STR("tls")));
    TRY(check_tls(id, &r->tls, err));
    TRY(check_endpoint(r, err));
    all->n++;
    return EC_OK;
}

/* Every mistake of a receiver's block at once, as Tempo's decoder reports them. */
static enum ec check_shape(struct config *c, const char *id, const struct block *block,
    const struct node *n, struct err *err)
{
    struct problems p = {.arena = &c->arena, .map_text = id};
    if (n != NULL)
        decode_block(block, n, &p);
    if (p.n == 0)
        return EC_OK;
    struct str lines = str_n((const char *)p.lines.p, MIN(p.lines.n, 500));
    enum ec ec = ERR(err, EC_INVALID,
        MODULE
        "cannot unmarshal the configuration: decoding failed due to the following error(s):\n\n%.*s",
        (int)(lines.n - (lines.p[lines.n - 1] == '\n')), lines.p);
    buf_deinit(&p.lines);
    return ec;
}

/* A protocol that is named is served, with defaults when it has no settings. */
static enum ec add_protocols(
    struct config *c, const char *type, const char *id, const struct node *list, struct err *err)
{
    bool any = false;
    for (uint32_t i = 0; list != NULL && list->kind == NODE_MAP && i < list->n; i++) {
        const struct node *settings = list->pairs[i].value;
        for (size_t k = 0; k < ARRAY_LEN(protocols); k++) {
            if (strcmp(protocols[k].type, type) != 0 ||
                !str_eqz(list->pairs[i].key, protocols[k].name))
                continue;
            TRY(add_server(c, &protocols[k], id, node_is_null(settings) ? NULL : settings, err));
            any = true;
        }
    }
    if (!any)
        return ERR(err, EC_INVALID,
            MODULE "%s: must specify at least one protocol when using the %s receiver", id,
            strcmp(type, "otlp") == 0 ? "OTLP" : "Jaeger");
    return EC_OK;
}

static enum ec add_receiver(struct config *c, const struct node_pair *pair, struct err *err)
{
    static const struct {
        const char *type;
        const struct block *block;
    } types[] = {{"otlp", &schema_otlp}, {"jaeger", &schema_jaeger}, {"zipkin", &schema_zipkin}};
    struct str name, type = str_cut(pair->key, '/', &name);
    const struct node *n = node_is_null(pair->value) ? NULL : pair->value;
    if (pair->key.n > ID_MAX)
        return ERR(err, EC_INVALID, MODULE "'receivers' id is longer than %d bytes: \"%.*s...\"",
            ID_MAX, ID_MAX, pair->key.p);
    char *id = arena_strz(&c->arena, pair->key);
    ASSERT(id != NULL);
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        if (!str_eqz(type, types[i].type))
            continue;
        TRY(check_shape(c, id, types[i].block, n, err));
        if (types[i].block == &schema_zipkin)
            return add_server(c, &protocols[ARRAY_LEN(protocols) - 1], id, n, err);
        return add_protocols(c, types[i].type, id, node_get(n, STR("protocols")), err);
    }
    if (str_eqz(type, "opencensus")) {
        const char *key = arena_printf(&c->arena, "distributor.receivers.%s", id);
        warn_add(c, false, key, "config key has no effect", "the protocol is no longer in use");
        return EC_OK;
    }
    if (str_eqz(type, "kafka"))
        return ERR(err, EC_UNSUPPORTED, MODULE "the kafka receiver is " LATER);
    return ERR(err, EC_INVALID,
        MODULE
        "'receivers' unknown type: \"%.*s\" for id: \"%.*s\" (valid values: [jaeger zipkin otlp kafka])",
        (int)MIN(type.n, 100), type.p, (int)MIN(pair->key.n, 100), pair->key.p);
}

enum ec resolve_receivers(struct config *c, struct err *err)
{
    const struct node *n = doc_get(c->doc, "distributor.receivers");
    if (n != NULL && n->kind != NODE_MAP)
        return ERR(err, EC_INVALID, MODULE "'receivers' expected a map");
    if (n == NULL || n->n == 0) { /* as Tempo, on loopback; people expect OTLP/HTTP beside it */
        static const enum receiver_kind unnamed[] = {
            RECEIVER_OTLP_GRPC, RECEIVER_OTLP_HTTP, RECEIVER_JAEGER_GRPC, RECEIVER_JAEGER_HTTP};
        for (size_t k = 0; k < ARRAY_LEN(unnamed); k++)
            for (size_t i = 0; i < ARRAY_LEN(protocols); i++)
                if (protocols[i].kind == unnamed[k])
                    TRY(add_server(c, &protocols[i], protocols[i].type, NULL, err));
        return EC_OK;
    }
    for (uint32_t i = 0; i < n->n; i++)
        TRY(add_receiver(c, &n->pairs[i], err));
    return EC_OK;
}
