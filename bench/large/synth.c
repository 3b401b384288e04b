/* SPDX-License-Identifier: Apache-2.0
 * Synthetic traces. The tables follow bench/loadgen/main.go. */
#include "synth.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"

#define PODS       8u
#define DEPTH_MAX  6u
#define CALLS_MAX  6u
#define SPAN_BYTES 430u /* as an OTLP message, on average */
#define N_SCOPES   6u
#define US(x)      ((uint64_t)(x)*1000)
#define MS(x)      ((uint64_t)(x)*1000000)

enum { /* services in the order of the table; the last three are called, but have no spans */
    FRONTEND_PROXY,
    FRONTEND,
    CART,
    CATALOG,
    CHECKOUT,
    PAYMENT,
    SHIPPING,
    QUOTE,
    CURRENCY,
    EMAIL,
    RECOMMEND,
    ADS,
    ASSISTANT,
    LLAMA_STACK,
    EPP_GATEWAY,
    VLLM_PREFILL,
    VLLM_DECODE,
    NOVA_API,
    NEUTRON_SERVER,
    ROS2_CONTROLLER,
    LOCALAI,
    SERVICES,
    POSTGRES = SERVICES,
    REDIS,
    KAFKA,
};

static const struct service {
    const char *name, *namespace, *language;
    bool http;
    uint8_t n_calls, calls[CALLS_MAX];
} services[SERVICES] = {
    {"frontend-proxy", "shop", "cpp", true, 1, {FRONTEND}},
    {"frontend", "shop", "nodejs", true, 6, {CART, CATALOG, CHECKOUT, RECOMMEND, ADS, ASSISTANT}},
    {"cart", "shop", "dotnet", false, 1, {REDIS}},
    {"catalog", "shop", "go", false, 1, {POSTGRES}},
    {"checkout", "shop", "go", false, 5, {PAYMENT, SHIPPING, CURRENCY, EMAIL, KAFKA}},
    {"payment", "pay", "nodejs", false, 0, {0}},
    {"shipping", "shop", "rust", true, 1, {QUOTE}},
    {"quote", "shop", "php", true, 0, {0}},
    {"currency", "shop", "cpp", false, 0, {0}},
    {"email", "shop", "ruby", true, 0, {0}},
    {"recommend", "shop", "python", false, 1, {CATALOG}},
    {"ads", "shop", "java", false, 1, {POSTGRES}},
    {"assistant", "llm-d", "python", true, 1, {LLAMA_STACK}},
    {"llama-stack", "llm-d", "python", true, 2, {EPP_GATEWAY, POSTGRES}},
    {"epp-gateway", "llm-d", "go", false, 2, {VLLM_PREFILL, VLLM_DECODE}},
    {"vllm-prefill", "llm-d", "python", true, 0, {0}},
    {"vllm-decode", "llm-d", "python", true, 0, {0}},
    {"nova-api", "openstack", "python", true, 3, {NEUTRON_SERVER, POSTGRES, KAFKA}},
    {"neutron-server", "openstack", "python", true, 1, {POSTGRES}},
    {"ros2-controller", "robots", "cpp", true, 1, {LOCALAI}},
    {"localai", "robots", "go", true, 0, {0}},
};
static const uint8_t roots[] = {FRONTEND_PROXY, FRONTEND_PROXY, FRONTEND_PROXY, FRONTEND_PROXY,
    FRONTEND_PROXY, NOVA_API, ROS2_CONTROLLER, ASSISTANT};
static const char *const routes[] = {"/", "/api/cart", "/api/products/{id}", "/api/checkout",
    "/api/recommendations", "/api/ads", "/v1/chat/completions", "/v1/models", "/healthz",
    "/servers/{id}/action", "/v2.1/ports", "/api/currency", "/quote", "/ship-order", "/send_email",
    "/cmd_vel"};
static const char *const methods[] = {"GET", "GET", "GET", "POST", "POST", "PUT", "DELETE"};
static const char *const models[] = {
    "meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen2.5-72B", "mistral-7b", "gpt-oss-120b"};
static const char *const statements[] = {"SELECT * FROM products WHERE id = $1",
    "SELECT id, name FROM ads WHERE category = ANY($1)",
    "UPDATE instances SET vm_state = $1 WHERE uuid = $2",
    "INSERT INTO orders (id, user_id, total) VALUES ($1, $2, $3)",
    "SELECT p.id FROM ports p JOIN networks n ON n.id = p.network_id WHERE n.tenant_id = $1"};
static const char *const scope_names[N_SCOPES] = {
    "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp",
    "google.golang.org/grpc/otelgrpc", "vllm.engine", "opentelemetry.instrumentation.sqlalchemy",
    "OpenTelemetry.Instrumentation.StackExchangeRedis", "kafka-client"};
enum { SCOPE_HTTP, SCOPE_GRPC, SCOPE_VLLM, SCOPE_SQL, SCOPE_REDIS, SCOPE_KAFKA };
enum { KIND_INTERNAL = 1, KIND_SERVER, KIND_CLIENT, KIND_PRODUCER, KIND_CONSUMER };
enum { STATUS_OK = 1, STATUS_ERROR = 2 };

const char *synth_service(uint32_t i)
{
    return i < SERVICES ? services[i].name : NULL;
}
_Static_assert(SERVICES <= SYNTH_SERVICES, "counts have a place for each");

/* ---- chance ---- */

static uint64_t rnd(struct synth *s)
{
    s->rng += 0x9e3779b97f4a7c15ULL;
    return hash_mix(s->rng);
}

static uint32_t below(struct synth *s, uint32_t n)
{
    return (uint32_t)((rnd(s) >> 32) * n >> 32);
}

/* Exponential with mean `scale`. */
static uint64_t expo(struct synth *s, double scale)
{
    double u = (double)(rnd(s) >> 11) * 0x1p-53;
    return (uint64_t)(-log1p(-u) * scale);
}

#define PICK(s, list) ((list)[below((s), ARRAY_LEN(list))])

/* ---- pieces of a batch ---- */

static struct str text(struct synth *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
static struct str text(struct synth *s, const char *fmt, ...)
{
    char line[128];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    ASSERT(n >= 0 && (size_t)n < sizeof(line));
    return arena_str(&s->arena, str_n(line, (size_t)n));
}

/* `pre`, then v in hex or decimal, `digits` long. printf takes too long for one a span. */
static struct str numbered(
    struct synth *s, struct str pre, uint64_t v, unsigned digits, unsigned base)
{
    char *p = arena_alloc(&s->arena, pre.n + digits);
    memcpy(p, pre.p, pre.n);
    for (unsigned i = digits; i-- > 0; v /= base)
        p[pre.n + i] = "0123456789abcdef"[v % base];
    return str_n(p, pre.n + digits);
}

static struct str ip(struct synth *s)
{
    uint64_t r = rnd(s);
    return text(
        s, "10.%u.%u.%u", (unsigned)(r & 3), (unsigned)(r >> 8 & 0xff), (unsigned)(r >> 16 & 0xff));
}

static void put(struct synth *s, struct str key, struct value v)
{
    VEC_PUSH(&s->attrs, ((struct attr){key, v}));
}

static void put_s(struct synth *s, struct str key, struct str v)
{
    put(s, key, (struct value){.type = VALUE_STR, .s = v});
}

static void put_z(struct synth *s, struct str key, const char *v)
{
    put_s(s, key, str_from(v));
}

static void put_i(struct synth *s, struct str key, int64_t v)
{
    put(s, key, (struct value){.type = VALUE_INT, .i = v});
}

static void put_d(struct synth *s, struct str key, double v)
{
    put(s, key, (struct value){.type = VALUE_DOUBLE, .d = v});
}

static uint32_t attrs_from(const struct synth *s)
{
    return (uint32_t)s->attrs.n;
}

static uint32_t resource(struct synth *s, uint32_t service, uint32_t pod)
{
    uint32_t *known = &s->resource_of[service * PODS + pod];
    if (*known != 0)
        return *known - 1;
    const struct service *v = &services[service];
    uint32_t from = attrs_from(s);
    put_z(s, STR("service.name"), v->name);
    put_z(s, STR("service.namespace"), v->namespace);
    put_s(s, STR("service.version"), text(s, "1.%u.0", pod % 3));
    put_s(s, STR("service.instance.id"), text(s, "%s-%08x", v->name, pod * 2654435761u));
    put_z(s, STR("k8s.namespace.name"), v->namespace);
    put_s(s, STR("k8s.pod.name"), text(s, "%s-7d9f8b6c5-%05x", v->name, pod * 7919));
    put_s(s, STR("k8s.node.name"), text(s, "node-%u", pod % 12));
    put_z(s, STR("k8s.container.name"), v->name);
    put_z(s, STR("deployment.environment"), pod % 2 == 0 ? "production" : "staging");
    put_z(s, STR("telemetry.sdk.language"), v->language);
    put_z(s, STR("telemetry.sdk.name"), "opentelemetry");
    put_z(s, STR("telemetry.sdk.version"), "1.30.0");
    put_s(s, STR("host.name"), text(s, "host-%u.example.internal", pod % 12));
    put_i(s, STR("process.pid"), 1000 + pod);
    VEC_PUSH(&s->resources, ((struct batch_resource){.raw = text(s, "%s/%u", v->name, pod),
                                .attr_first = from,
                                .attr_n = attrs_from(s) - from,
                                .has_resource = true}));
    *known = (uint32_t)s->resources.n;
    return *known - 1;
}

static void scopes_put(struct synth *s)
{
    for (uint32_t i = 0; i < N_SCOPES; i++) {
        struct str name = str_from(scope_names[i]);
        VEC_PUSH(&s->scopes,
            ((struct batch_scope){.raw = name, .name = name, .version = STR("0.55.0")}));
    }
}

/* Appended when its attributes are; the end is set by the caller. */
static uint32_t span_put(struct synth *s, uint32_t service, uint32_t pod, uint32_t scope,
    struct str name, int kind, uint64_t parent, uint64_t start_ns, uint32_t attr_first)
{
    uint32_t res = resource(s, service, pod);
    VEC_PUSH(&s->spans, ((struct batch_span){.trace_id = s->id,
                            .span_id = rnd(s) | 1,
                            .parent_id = parent,
                            .start_ns = start_ns,
                            .name = name,
                            .kind = kind,
                            .resource = res,
                            .scope = scope,
                            .attr_first = attr_first,
                            .attr_n = attrs_from(s) - attr_first,
                            .raw_bytes = SPAN_BYTES,
                            .canonical_bytes = SPAN_BYTES}));
    s->counts.spans[service]++;
    return (uint32_t)s->spans.n - 1;
}

/* ---- a trace ---- */

static uint64_t call(
    struct synth *s, uint64_t parent, uint32_t service, uint64_t start_ns, uint32_t depth);

static uint64_t leaf_sql(
    struct synth *s, uint32_t service, uint32_t pod, uint64_t parent, uint64_t start_ns)
{
    const char *q = PICK(s, statements);
    uint32_t from = attrs_from(s);
    put_z(s, STR("db.system"), "postgresql");
    put_z(s, STR("db.name"), "shopdb");
    put_z(s, STR("db.statement"), q);
    put_z(s, STR("peer.service"), "postgres");
    put_z(s, STR("net.peer.name"), "postgres.db.svc");
    put_i(s, STR("net.peer.port"), 5432);
    uint32_t i = span_put(
        s, service, pod, SCOPE_SQL, text(s, "%.6s shopdb", q), KIND_CLIENT, parent, start_ns, from);
    uint64_t d = US(200) + expo(s, 2e6);
    s->spans.p[i].end_ns = start_ns + d;
    return d;
}

static uint64_t leaf_redis(
    struct synth *s, uint32_t service, uint32_t pod, uint64_t parent, uint64_t start_ns)
{
    static const char *const verbs[] = {"HGET", "HSET", "EXPIRE"};
    const char *verb = PICK(s, verbs);
    uint32_t from = attrs_from(s);
    put_z(s, STR("db.system"), "redis");
    put_s(s, STR("db.statement"), text(s, "%s cart:%06u", verb, below(s, 100000)));
    put_z(s, STR("net.peer.name"), "redis.db.svc");
    put_i(s, STR("net.peer.port"), 6379);
    uint32_t i =
        span_put(s, service, pod, SCOPE_REDIS, str_from(verb), KIND_CLIENT, parent, start_ns, from);
    uint64_t d = US(50) + expo(s, 4e5);
    s->spans.p[i].end_ns = start_ns + d;
    return d;
}

static uint64_t leaf_kafka(
    struct synth *s, uint32_t service, uint32_t pod, uint64_t parent, uint64_t start_ns)
{
    uint32_t from = attrs_from(s);
    put_z(s, STR("messaging.system"), "kafka");
    put_z(s, STR("messaging.destination.name"), "orders");
    put_i(s, STR("messaging.kafka.partition"), below(s, 12));
    put_i(s, STR("messaging.message.payload_size_bytes"), below(s, 4000));
    uint32_t i = span_put(
        s, service, pod, SCOPE_KAFKA, STR("orders publish"), KIND_PRODUCER, parent, start_ns, from);
    uint64_t d = US(100) + expo(s, 1e6);
    s->spans.p[i].end_ns = start_ns + d;
    if (below(s, 2) == 0) {
        uint64_t publisher = s->spans.p[i].span_id;
        struct batch_link link = {.span_id = rnd(s) | 1, .attr_first = attrs_from(s), .attr_n = 1};
        put_u64le(link.trace_id.b, rnd(s) | 1);
        put_u64le(link.trace_id.b + 8, rnd(s));
        put_z(s, STR("link.reason"), "batch");
        from = attrs_from(s);
        put_z(s, STR("messaging.system"), "kafka");
        put_z(s, STR("messaging.operation"), "process");
        uint32_t k = span_put(s, EMAIL, below(s, PODS), SCOPE_KAFKA, STR("orders process"),
            KIND_CONSUMER, publisher, start_ns + d, from);
        s->spans.p[k].end_ns = start_ns + d + MS(3);
        s->spans.p[k].link_first = (uint32_t)s->links.n;
        s->spans.p[k].link_n = 1;
        VEC_PUSH(&s->links, link);
    }
    return d;
}

static uint64_t leaf_model(
    struct synth *s, uint32_t service, uint32_t pod, uint64_t parent, uint64_t start_ns)
{
    uint64_t d = MS(50) + expo(s, 4e8);
    struct batch_event e = {.time_ns = start_ns + d / 4,
        .name = STR("first_token"),
        .attr_first = attrs_from(s),
        .attr_n = 1};
    put_i(s, STR("token.index"), 0);
    uint32_t from = attrs_from(s);
    put_z(s, STR("gen_ai.request.model"), PICK(s, models));
    put_s(s, STR("gen_ai.request.id"),
        numbered(s, numbered(s, STR(""), rnd(s), 16, 16), rnd(s), 8, 16));
    put_i(s, STR("gen_ai.usage.prompt_tokens"), below(s, 4000));
    put_i(s, STR("gen_ai.usage.completion_tokens"), below(s, 1500));
    put_d(s, STR("gen_ai.latency.time_to_first_token"), (double)expo(s, 3e8) / 1e9);
    put_d(s, STR("gen_ai.latency.e2e"), (double)d / 1e9);
    put_d(s, STR("gen_ai.request.temperature"), 0.7);
    put_i(s, STR("gen_ai.request.max_tokens"), 1024);
    uint32_t i = span_put(
        s, service, pod, SCOPE_VLLM, STR("llm_request"), KIND_INTERNAL, parent, start_ns, from);
    s->spans.p[i].end_ns = start_ns + d;
    s->spans.p[i].event_first = (uint32_t)s->events.n;
    s->spans.p[i].event_n = 1;
    VEC_PUSH(&s->events, e);
    return d;
}

static uint64_t call_out(struct synth *s, uint32_t service, uint32_t pod, uint32_t scope,
    uint64_t parent, uint32_t to, uint64_t start_ns, uint32_t depth)
{
    switch (to) {
    case POSTGRES:
        return leaf_sql(s, service, pod, parent, start_ns);
    case REDIS:
        return leaf_redis(s, service, pod, parent, start_ns);
    case KAFKA:
        return leaf_kafka(s, service, pod, parent, start_ns);
    default:
        break;
    }
    const struct service *v = &services[to];
    uint32_t from = attrs_from(s);
    put_z(s, STR("peer.service"), v->name);
    put_s(s, STR("net.peer.name"), text(s, "%s.%s.svc.cluster.local", v->name, v->namespace));
    put_i(s, STR("net.peer.port"), 8080);
    put_z(s, STR("rpc.system"), v->http ? "http" : "grpc");
    uint32_t i = span_put(s, service, pod, scope,
        text(s, "%s.%s", v->http ? "http" : "grpc", v->name), KIND_CLIENT, parent, start_ns, from);
    uint64_t d = call(s, s->spans.p[i].span_id, to, start_ns + US(200), depth + 1) + US(400);
    s->spans.p[i].end_ns = start_ns + d;
    return d;
}

static struct str server_attrs(struct synth *s, uint32_t service, int64_t code)
{
    const struct service *v = &services[service];
    struct str name;
    if (v->http) {
        const char *route = PICK(s, routes), *method = PICK(s, methods);
        name = text(s, "%s %s", method, route);
        put_z(s, STR("http.method"), method);
        put_z(s, STR("http.request.method"), method);
        put_z(s, STR("http.route"), route);
        put_s(s, STR("http.target"),
            numbered(s, text(s, "%s?session=", route), rnd(s) & 0xffffffff, 8, 16));
        put_i(s, STR("http.status_code"), code);
        put_i(s, STR("http.response.status_code"), code);
        put_s(s, STR("net.peer.ip"), ip(s));
        put_z(s, STR("user_agent.original"), "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36");
        put_z(s, STR("server.address"), v->name);
        put_i(s, STR("http.response_content_length"), below(s, 100000));
        put(s, STR("http.tls"), (struct value){.type = VALUE_BOOL, .b = below(s, 2) == 0});
    } else {
        static const char *const rpcs[] = {"Get", "List", "Place", "Convert"};
        const char *rpc = PICK(s, rpcs);
        name = text(s, "shop.%s/%s", v->name, rpc);
        put_z(s, STR("rpc.system"), "grpc");
        put_s(s, STR("rpc.service"), text(s, "shop.%s", v->name));
        put_z(s, STR("rpc.method"), rpc);
        put_i(s, STR("rpc.grpc.status_code"), code == 200 ? 0 : 13);
        put_s(s, STR("net.peer.ip"), ip(s));
    }
    if (below(s, 3) == 0) {
        put_s(s, STR("user.id"), numbered(s, STR("user-"), below(s, 100000), 6, 10));
        put_s(s, STR("session.id"), numbered(s, STR(""), rnd(s), 16, 16));
    }
    if (below(s, 10) == 0) { /* ["new-ui", "exp-N"], as an ArrayValue message */
        static const char flags[] = "\x0a\x08\x0a\x06new-ui\x0a\x07\x0a\x05"
                                    "exp-";
        struct str array = numbered(s, str_n(flags, sizeof(flags) - 1), below(s, 5), 1, 10);
        put(s, STR("feature.flags"), (struct value){.type = VALUE_ARRAY, .s = array});
    }
    return name;
}

static void fail(struct synth *s, uint32_t span, int64_t code)
{
    static const char *const types[] = {"TimeoutError", "ConnectionReset", "ValueError"};
    struct batch_span *p = &s->spans.p[span];
    struct batch_event e = {.time_ns = p->end_ns - 1000,
        .name = STR("exception"),
        .attr_first = attrs_from(s),
        .attr_n = 3};
    put_z(s, STR("exception.type"), PICK(s, types));
    put_z(s, STR("exception.message"), "call failed after 3 attempts");
    put_z(s, STR("exception.stacktrace"),
        "Traceback (most recent call last):\n  File \"app.py\", line 42, in handle\n"
        "    raise TimeoutError()\n");
    p->status_code = STATUS_ERROR;
    p->status_message = text(s, "upstream %d", (int)code);
    p->event_first = (uint32_t)s->events.n;
    p->event_n = 1;
    VEC_PUSH(&s->events, e);
}

/* The spans of one service's handling of a request; returns how long that took. */
static uint64_t call(
    struct synth *s, uint64_t parent, uint32_t service, uint64_t start_ns, uint32_t depth)
{
    static const int64_t codes[] = {500, 502, 503, 404, 429};
    const struct service *v = &services[service];
    uint32_t pod = below(s, PODS), scope = v->http ? SCOPE_HTTP : SCOPE_GRPC;
    bool error = below(s, 60) == 0;
    int64_t code = error ? PICK(s, codes) : 200;
    uint64_t own = US(50) + expo(s, 4e6);
    if (below(s, 200) == 0)
        own *= 40;
    uint32_t from = attrs_from(s);
    struct str name = server_attrs(s, service, code);
    uint32_t span = span_put(s, service, pod, scope, name, KIND_SERVER, parent, start_ns, from);
    uint64_t id = s->spans.p[span].span_id, at = start_ns + own / 3;
    if (service == VLLM_PREFILL || service == VLLM_DECODE || service == LOCALAI ||
        service == LLAMA_STACK)
        at += leaf_model(s, service, pod, id, at);
    for (uint32_t i = 0; i < v->n_calls; i++)
        if (depth <= DEPTH_MAX && below(s, 10) >= 3)
            at += call_out(s, service, pod, scope, id, v->calls[i], at, depth);
    uint64_t end = at + own / 3;
    s->spans.p[span].end_ns = end;
    if (error) {
        fail(s, span, code);
        s->counts.errors[service]++;
    } else if (below(s, 4) == 0) {
        s->spans.p[span].status_code = STATUS_OK;
    }
    return end - start_ns;
}

static void trace_begin(struct synth *s, uint64_t seed)
{
    s->rng = hash_mix(seed ^ 0x7472616365ULL);
    put_u64le(s->id.b, rnd(s) | 1);
    put_u64le(s->id.b + 8, rnd(s));
    if (s->scopes.n == 0)
        scopes_put(s);
}

static uint32_t service_of(const struct synth *s, const struct batch_span *p)
{
    for (uint32_t i = 0; i < SERVICES * PODS; i++)
        if (s->resource_of[i] == p->resource + 1)
            return i / PODS;
    ASSERT(false && "a resource of this batch");
}

/* Takes spans [from, to) out of the batch again; they are the last or followed by kept ones. */
static void spans_drop(struct synth *s, uint32_t from, uint32_t to)
{
    for (uint32_t i = from; i < to; i++) {
        uint32_t service = service_of(s, &s->spans.p[i]);
        s->counts.spans[service]--;
        s->counts.errors[service] -= s->spans.p[i].status_code == STATUS_ERROR;
    }
    memmove(&s->spans.p[from], &s->spans.p[to], (s->spans.n - to) * sizeof(*s->spans.p));
    s->spans.n -= to - from;
}

uint32_t synth_trace(
    struct synth *s, uint64_t seed, uint64_t start_ns, enum synth_piece piece, struct trace_id *ret)
{
    uint32_t from = (uint32_t)s->spans.n;
    trace_begin(s, seed);
    (void)call(s, 0, PICK(s, roots), start_ns, 0);
    uint32_t end = (uint32_t)s->spans.n, half = from + (end - from + 1) / 2;
    if (piece == SYNTH_FIRST_HALF)
        spans_drop(s, half, end);
    else if (piece == SYNTH_SECOND_HALF)
        spans_drop(s, from, half);
    *ret = s->id;
    return (uint32_t)s->spans.n - from;
}

void synth_planted(struct synth *s, uint64_t seed, uint64_t start_ns, const char *service,
    const char *name, const char *key, const char *value, struct trace_id *ret)
{
    trace_begin(s, seed);
    uint32_t from = attrs_from(s);
    put_z(s, STR("service.name"), service);
    VEC_PUSH(&s->resources,
        ((struct batch_resource){
            .raw = str_from(service), .attr_first = from, .attr_n = 1, .has_resource = true}));
    from = attrs_from(s);
    put_z(s, str_from(key), value);
    VEC_PUSH(&s->spans, ((struct batch_span){.trace_id = s->id,
                            .span_id = rnd(s) | 1,
                            .start_ns = start_ns,
                            .end_ns = start_ns + MS(1),
                            .name = str_from(name),
                            .kind = KIND_SERVER,
                            .resource = (uint32_t)s->resources.n - 1,
                            .attr_first = from,
                            .attr_n = 1,
                            .raw_bytes = SPAN_BYTES,
                            .canonical_bytes = SPAN_BYTES}));
    *ret = s->id;
}

void synth_init(struct synth *s)
{
    *s = (struct synth){0};
    arena_init(&s->arena, NULL, 1 << 20);
    s->resource_of = xcalloc(SERVICES * PODS, sizeof(*s->resource_of));
}

void synth_deinit(struct synth *s)
{
    arena_deinit(&s->arena);
    VEC_FREE(&s->resources);
    VEC_FREE(&s->scopes);
    VEC_FREE(&s->spans);
    VEC_FREE(&s->attrs);
    VEC_FREE(&s->events);
    VEC_FREE(&s->links);
    free(s->resource_of);
}

void synth_reset(struct synth *s)
{
    arena_rewind(&s->arena);
    s->resources.n = s->scopes.n = s->spans.n = s->attrs.n = s->events.n = s->links.n = 0;
    memset(s->resource_of, 0, SERVICES * PODS * sizeof(*s->resource_of));
}

struct batch synth_batch(const struct synth *s)
{
    return (struct batch){.resources = s->resources.p,
        .scopes = s->scopes.p,
        .spans = s->spans.p,
        .attrs = s->attrs.p,
        .events = s->events.p,
        .links = s->links.p,
        .n_resources = (uint32_t)s->resources.n,
        .n_scopes = (uint32_t)s->scopes.n,
        .n_spans = (uint32_t)s->spans.n,
        .n_attrs = (uint32_t)s->attrs.n,
        .n_events = (uint32_t)s->events.n,
        .n_links = (uint32_t)s->links.n};
}
