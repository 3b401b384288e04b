/* SPDX-License-Identifier: Apache-2.0
 * `distributor.receivers`: type[/name] -> settings. Only otlp is served; jaeger, zipkin and
 * opencensus are accepted with a warning, as files in the wild carry them along. */
#include <stdio.h>
#include <string.h>

#include "doc.h"

#define MODULE \
    "failed to init module services: error initialising module: distributor: failed to create distributor: "
#define MIB_MAX 1024

static const struct {
    const char *type, *reason;
} not_served[] = {{"jaeger", "the jaeger receiver is " LATER},
    {"zipkin", "the zipkin receiver is " LATER},
    {"opencensus", "the protocol is no longer in use"}};

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

static enum ec add_grpc(struct config *c, const char *id, const struct node *n, struct err *err)
{
    struct config_receiver *r = &c->otlp_grpc[c->n_otlp_grpc];
    struct value mib = {0};
    char problem[PROBLEM_MAX];

    TRY(refuse_set(id, &schema_otlp_grpc, n, err));
    TRY(bind_block(&c->arena, &schema_otlp_grpc, id, n, r, true, err));
    const struct node *size = node_get(n, STR("max_recv_msg_size_mib"));
    if (!node_is_null(size) && !value_parse(KT_INT, size, &mib, problem))
        return ERR(err, EC_INVALID, MODULE "%s: %s", id, problem);
    if (mib.i < 0 || mib.i > MIB_MAX)
        return ERR(err, EC_INVALID,
            MODULE "%s: invalid max_recv_msg_size_mib value, must be between 1 and %d: %lld", id,
            MIB_MAX, (long long)mib.i);
    r->id = id;
    r->max_recv_msg_bytes = (mib.i == 0 ? 4ULL : (uint64_t)mib.i) << 20;
    finish_tls(c, &r->tls, node_get(n, STR("tls")));
    TRY(check_tls(id, &r->tls, err));
    c->n_otlp_grpc++;
    return EC_OK;
}

static enum ec add_http(struct config *c, const char *id, const struct node *n, struct err *err)
{
    struct config_receiver *r = &c->otlp_http[c->n_otlp_http];

    TRY(refuse_set(id, &schema_otlp_http, n, err));
    TRY(bind_block(&c->arena, &schema_otlp_http, id, n, r, true, err));
    r->id = id;
    if (r->traces_url_path[0] != '/') {
        r->traces_url_path = arena_printf(&c->arena, "/%s", r->traces_url_path);
        ASSERT(r->traces_url_path != NULL);
    }
    if (r->max_request_body_size == 0)
        r->max_request_body_size = 20u << 20;
    finish_tls(c, &r->tls, node_get(n, STR("tls")));
    TRY(check_tls(id, &r->tls, err));
    c->n_otlp_http++;
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

static enum ec add_otlp(struct config *c, const char *id, const struct node *n, struct err *err)
{
    struct problems p = {.arena = &c->arena, .map_text = id};
    const struct node *protocols = node_get(n, STR("protocols"));

    if (n != NULL && !node_is_null(n))
        decode_block(&schema_otlp, n, &p);
    if (p.n > 0) {
        struct str lines = str_n((const char *)p.lines.p, MIN(p.lines.n, 500));
        enum ec ec = ERR(err, EC_INVALID,
            MODULE
            "cannot unmarshal the configuration: decoding failed due to the following error(s):\n\n%.*s",
            (int)(lines.n - (lines.p[lines.n - 1] == '\n')), lines.p);
        buf_deinit(&p.lines);
        return ec;
    }
    bool any = false;
    for (uint32_t i = 0; protocols != NULL && protocols->kind == NODE_MAP && i < protocols->n;
         i++) {
        const struct node *settings = protocols->pairs[i].value;
        bool grpc = str_eqz(protocols->pairs[i].key, "grpc");
        if ((grpc ? c->n_otlp_grpc : c->n_otlp_http) == CONFIG_RECEIVERS_MAX)
            return ERR(
                err, EC_LIMIT, MODULE "%s: over %d receivers of a kind", id, CONFIG_RECEIVERS_MAX);
        if (node_is_null(settings))
            settings = NULL;
        TRY((grpc ? add_grpc : add_http)(c, id, settings, err));
        TRY(check_endpoint(
            grpc ? &c->otlp_grpc[c->n_otlp_grpc - 1] : &c->otlp_http[c->n_otlp_http - 1], err));
        any = true;
    }
    if (!any)
        return ERR(err, EC_INVALID,
            MODULE "%s: must specify at least one protocol when using the OTLP receiver", id);
    return EC_OK;
}

static enum ec add_receiver(struct config *c, const struct node_pair *pair, struct err *err)
{
    struct str name, type = str_cut(pair->key, '/', &name);
    char *id = arena_strz(&c->arena, pair->key);
    ASSERT(id != NULL);
    if (str_eqz(type, "otlp"))
        return add_otlp(c, id, pair->value, err);
    for (size_t i = 0; i < ARRAY_LEN(not_served); i++)
        if (str_eqz(type, not_served[i].type)) {
            const char *key = arena_printf(&c->arena, "distributor.receivers.%s", id);
            warn_add(c, false, key, "config key has no effect", "%s", not_served[i].reason);
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
    /* as Tempo: loopback; it has no OTLP/HTTP here, people expect it */
    if (n == NULL || n->n == 0) {
        TRY(add_grpc(c, "otlp", NULL, err));
        return add_http(c, "otlp", NULL, err);
    }
    for (uint32_t i = 0; i < n->n; i++)
        TRY(add_receiver(c, &n->pairs[i], err));
    return EC_OK;
}
