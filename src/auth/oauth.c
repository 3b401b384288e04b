/* SPDX-License-Identifier: Apache-2.0
 * OpenShift's OAuth server: where it is, asked until it answers. Bearer tokens do not need it; a
 * 404 means that the cluster has none, and then only bearer tokens work. */
#include <stdlib.h>

#include "auth_int.h"
#include "base/log.h"
#include "base/metric.h"
#include "json.h"

#define BACKOFF_MIN_NS   (500 * NS_PER_MS)
#define BACKOFF_MAX_NS   (5 * NS_PER_S)
#define CALL_NS          (5 * NS_PER_S)
#define DISCOVERY_VALUES 4096

static void oauth_destroy(struct cache_value *v)
{
    struct oauth *o = CONTAINER_OF(v, struct oauth, base);
    free(o->authorization_url);
    free(o->token_url);
    free(o);
}

struct oauth *oauth_of(struct tenant *t)
{
    pthread_mutex_lock(&t->lock);
    struct oauth *o = t->oauth;
    if (o != NULL)
        cache_value_ref(&o->base);
    pthread_mutex_unlock(&t->lock);
    return o;
}

static void publish(struct tenant *t, struct oauth *take)
{
    pthread_mutex_lock(&t->lock);
    t->oauth = take;
    pthread_mutex_unlock(&t->lock);
}

static enum ec discovery_read(struct str text, struct oauth *o, struct err *err)
{
    CLEANUP(json_wipep) json_t *root = NULL;
    TRY(json_parse(text, DISCOVERY_VALUES, &root, err));
    o->authorization_url = json_url(root, "authorization_endpoint");
    o->token_url = json_url(root, "token_endpoint");
    if (o->authorization_url == NULL || o->token_url == NULL)
        return ERR(err, EC_INVALID, "the document names no endpoints");
    o->available = true;
    return EC_OK;
}

static void step(void *arg);

static void discovery_failed(struct tenant *t, const char *why)
{
    if (t->a->stopping)
        return;
    log_event(LOG_ERROR, "OAuth server cannot be asked", LZ("tenant", t->name), LZ("err", why));
    metric_inc(t->failed_registrations);
    t->backoff_ns = t->backoff_ns == 0 ? BACKOFF_MIN_NS : MIN(t->backoff_ns * 2, BACKOFF_MAX_NS);
    t->timer = (struct http_timer){.fn = step, .arg = t};
    http_timer_start(t->a->client, &t->timer, t->backoff_ns);
}

static void discovery_done(void *arg, const struct http_client_response *rs)
{
    struct tenant *t = arg;
    struct err err = {0};
    t->call = NULL;
    struct oauth *o = xcalloc(1, sizeof(*o));
    cache_value_init(&o->base, sizeof(*o), oauth_destroy);
    enum ec ec = EC_OK;
    if (rs->ec != EC_OK)
        ec = ERR(&err, rs->ec, "%s", rs->error);
    else if (rs->status == 200)
        ec = discovery_read(buf_str(rs->body), o, &err);
    else if (rs->status != 404)
        ec = ERR(&err, EC_UNAVAILABLE, "the API server answers %u", rs->status);
    if (ec == EC_OK) {
        log_event(LOG_INFO, o->available ? "OAuth server found" : "cluster has no OAuth server",
            LZ("tenant", t->name));
        publish(t, o);
        return;
    }
    cache_value_unref(&o->base);
    discovery_failed(t, err_msg(&err));
}

/* Port 443 is implied where the address came from the pod's environment; the API server has the
 * same document on its own port, which is what an address of the operator's means. */
static void step(void *arg)
{
    struct tenant *t = arg;
    struct buf url = BUF_INIT;
    struct err err = {0};
    buf_printf(&url, "%s/.well-known/oauth-authorization-server", kube_api_url(t->a->kube));
    const struct http_header accept = {STR("Accept"), STR("application/json")};
    const struct http_client_request rq = {.profile = kube_profile(t->a->kube),
        .url = buf_str(&url),
        .headers = &accept,
        .n_headers = 1,
        .timeout_ns = CALL_NS};
    if (http_client_send(t->a->client, &rq, discovery_done, t, &t->call, &err) != EC_OK) {
        t->call = NULL;
        discovery_failed(t, err_msg(&err));
    }
    buf_deinit(&url);
}

void oauth_start(struct tenant *t)
{
    step(t);
}
