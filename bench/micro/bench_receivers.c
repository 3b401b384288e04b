/* SPDX-License-Identifier: Apache-2.0
 * Transcodes requests of other protocols to OTLP over and over: nanoseconds of CPU per span, one
 * JSON line a file.
 *
 *     bench_receivers FOLDER [ROUNDS]
 *
 * FOLDER is tests/golden/receivers, whose captures hold one or two spans each, so that most of the
 * cost is the request's own; a batch of many spans costs less a span. The best of ten series
 * counts: the others had company. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "model/batch.h"
#include "receivers/receivers.h"

enum kind {
    AGENT_COMPACT,
    AGENT_BINARY,
    JAEGER_HTTP,
    JAEGER_PROTO,
    V1_JSON,
    V2_JSON,
    V1_THRIFT,
    V2_PROTO
};

static const struct {
    const char *file;
    enum kind kind;
} inputs[] = {
    {"sdk_jaeger_udp.bin", AGENT_COMPACT},
    {"jaeger_client_node.bin", AGENT_BINARY},
    {"sdk_jaeger_http.bin", JAEGER_HTTP},
    {"sdk_jaeger_grpc.bin", JAEGER_PROTO},
    {"sdk_zipkin_v2_json.json", V2_JSON},
    {"sdk_zipkin_v2_proto.bin", V2_PROTO},
    {"sdk_zipkin_v1_json.json", V1_JSON},
    {"zipkin_v1_thrift.bin", V1_THRIFT},
};

static int64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static enum ec transcode(enum kind kind, struct bytes in, struct buf *out, struct err *err)
{
    switch (kind) {
    case AGENT_COMPACT:
    case AGENT_BINARY:
        return jaeger_agent_to_pb(in, kind == AGENT_COMPACT, out, err);
    case JAEGER_HTTP:
        return jaeger_thrift_to_pb(in, out, err);
    case JAEGER_PROTO:
        return jaeger_proto_to_pb(in, out, err);
    case V1_JSON:
        return zipkin_v1_json_to_pb(in, false, out, err);
    case V2_JSON:
        return zipkin_v2_json_to_pb(in, false, out, err);
    case V1_THRIFT:
        return zipkin_v1_thrift_to_pb(in, out, err);
    case V2_PROTO:
        return zipkin_v2_proto_to_pb(in, false, out, err);
    }
    return EC_INTERNAL;
}

static void fail(const char *what, const struct err *err)
{
    fprintf(stderr, "bench_receivers: %s: %s\n", what, err_msg(err));
    exit(1);
}

static uint32_t spans_of(struct bytes pb)
{
    struct arena arena;
    struct batch b;
    struct err err = {0};
    arena_init(&arena, NULL, 0);
    if (batch_decode(&b, pb, NULL, &arena, &err) != EC_OK)
        fail("not OTLP", &err);
    uint32_t n = b.n_spans;
    arena_deinit(&arena);
    return n;
}

static void run(const char *name, enum kind kind, struct bytes in, int rounds)
{
    struct buf out = BUF_INIT;
    struct err err = {0};
    int64_t best = INT64_MAX;
    for (int series = 0; series < 10; series++) {
        int64_t start = cpu_ns();
        for (int i = 0; i < rounds; i++) {
            buf_reset(&out);
            if (transcode(kind, in, &out, &err) != EC_OK)
                fail(name, &err);
        }
        best = MIN(best, cpu_ns() - start);
    }
    uint32_t n = spans_of(buf_bytes(&out));
    printf(
        "{\"bench\":\"receivers\",\"input\":\"%s\",\"spans\":%u,\"bytes\":%zu,\"otlp_bytes\":%zu,"
        "\"ns_per_span\":%.0f}\n",
        name, n, in.n, out.n, (double)best / rounds / n);
    buf_deinit(&out);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: bench_receivers FOLDER [ROUNDS]\n");
        return 2;
    }
    for (size_t i = 0; i < ARRAY_LEN(inputs); i++) {
        static uint8_t data[1 << 20];
        char path[4096];
        snprintf(path, sizeof(path), "%s/%s", argv[1], inputs[i].file);
        FILE *f = fopen(path, "rb");
        if (f == NULL) {
            perror(path);
            return 1;
        }
        size_t n = fread(data, 1, sizeof(data), f);
        fclose(f);
        run(inputs[i].file, inputs[i].kind, bytes_n(data, n), argc > 2 ? atoi(argv[2]) : 20000);
    }
    return 0;
}
