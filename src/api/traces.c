/* SPDX-License-Identifier: Apache-2.0
 * Trace by id, v1 and v2. Validation order and texts are Tempo's. */
#include <stdio.h>

#include "api_internal.h"
#include "caller.h"
#include "json_out.h"
#include "model/otlp_write.h"
#include "params.h"
#include "trace_out.h"

static enum ec parse_id(struct str hex, struct trace_id *ret, struct err *err)
{
    for (size_t i = 0; i < hex.n; i++) {
        char c = hex.p[i];
        if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))
            continue;
        size_t n = 1;
        while (i + n < hex.n && ((uint8_t)hex.p[i + n] & 0xc0) == 0x80)
            n++;
        return ERR(err, EC_INVALID,
            "trace IDs can only contain hex characters: invalid character '" STR_FMT
            "' at position %zu",
            (int)n, hex.p + i, i + 1);
    }
    if (hex.n > 32)
        return ERR(err, EC_INVALID, "trace IDs can't be larger than 128 bits");
    if (!trace_id_parse(ret, hex))
        return ERR(err, EC_INVALID, "trace IDs can't be empty");
    return EC_OK;
}

static bool uuid_ok(struct str s)
{
    if (s.n != 36)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        char c = s.p[i];
        bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
        if (dash ? c != '-' : !hex)
            return false;
    }
    return true;
}

static enum ec check_uuid(struct query_job *job, const char *key, const char *text, struct err *err)
{
    struct str v;
    if (!job_param(job, key, &v) || uuid_ok(v))
        return EC_OK;
    if (v.n != 36)
        return ERR(err, EC_INVALID, "invalid value for %s: invalid UUID length: %zu", text, v.n);
    return ERR(err, EC_INVALID, "invalid value for %s: invalid UUID format", text);
}

static enum ec check_time(struct query_job *job, const char *key, int64_t *ret, struct err *err)
{
    struct str v;
    char what[32];
    *ret = 0;
    snprintf(what, sizeof(what), "invalid %s", key);
    return job_param(job, key, &v) ? param_int(v, what, ret, err) : EC_OK;
}

/* The checks of spec tempo-api 8.1 in their order. start, end and block bounds are only hints in
 * Tempo, which prunes by them; here a trace is found whatever they say. */
static enum ec parse_request(struct query_job *job, struct trace_id *ret, struct err *err)
{
    struct str mode;
    int64_t start, end;
    TRY(parse_id(job->path_arg, ret, err));
    if (job_param(job, "mode", &mode)) {
        if (str_eq(mode, STR("external")))
            return ERR(err, EC_INTERNAL, "external mode is not enabled");
        if (str_eq(mode, STR("ingesters")))
            return EC_OK;
        if (!str_eq(mode, STR("all")) && !str_eq(mode, STR("blocks")))
            return ERR(
                err, EC_INVALID, "invalid value for mode " STR_FMT, (int)MIN(mode.n, 200), mode.p);
    }
    TRY(check_uuid(job, "blockStart", "blockstart", err));
    TRY(check_uuid(job, "blockEnd", "blockEnd", err));
    TRY(check_time(job, "start", &start, err));
    TRY(check_time(job, "end", &end, err));
    if (start != 0 && end != 0 && end <= start)
        return ERR(err, EC_INVALID,
            "http parameter start must be before end. received start=%lld end=%lld",
            (long long)start, (long long)end);
    return EC_OK;
}

static enum ec find(struct query_job *job, bool show_emptied, struct trace_result *ret,
    struct trace_groups *ret_groups, struct err *err)
{
    struct trace_id id;
    TRY(parse_request(job, &id, err));
    TRY(job_open(job, err));
    TRY(query_trace(&job->ctx, &id, job->limits.max_bytes_per_trace, ret, err));
    job_count_bytes(job, &ret->stats);
    TRY(trace_split_shared_ids(ret, &job->arena, err));
    TRY(trace_group(ret, &job->arena, ret_groups, err));
    return caller_hide_trace(job->caller, ret, ret_groups, show_emptied, &job->arena, err);
}

void api_trace_v1(struct query_job *job)
{
    struct trace_result t;
    struct trace_groups g;
    struct err err = {0};
    enum ec ec = find(job, true, &t, &g, &err);
    if (ec != EC_OK) {
        job_fail(job, ec, &err);
        return;
    }
    if (t.n == 0) {
        job_fail_status(job, 404, "");
        return;
    }
    if (t.truncated) {
        char text[128];
        snprintf(text, sizeof(text), "trace exceeds max size (max bytes: %llu)",
            (unsigned long long)t.max_bytes);
        job_fail_status(job, 422, text);
        return;
    }
    struct buf out;
    buf_init(&out, &job->budget);
    enum accept accept = job_accept(job);
    if (accept == ACCEPT_PROTOBUF)
        trace_out_proto(&t, &g, false, &out);
    else
        trace_out_json(&t, &g, "batches", &out);
    static const char *const types[] = {
        "application/json", "application/protobuf", "application/vnd.grafana.llm"};
    job_respond_ok(job, types[accept], &out);
}

static void put_v2_json(const struct trace_result *t, const struct trace_groups *g,
    const char *partial, struct buf *out)
{
    buf_putz(out, "{\"trace\":");
    trace_out_json(t, g, "resourceSpans", out);
    buf_putz(out, ",\"metrics\":{");
    if (t->stats.inspected_bytes != 0)
        buf_printf(
            out, "\"inspectedBytes\":\"%llu\"", (unsigned long long)t->stats.inspected_bytes);
    buf_putc(out, '}');
    if (partial != NULL) {
        buf_putz(out, ",\"status\":\"PARTIAL\",\"message\":");
        json_str(out, str_from(partial));
    }
    buf_putc(out, '}');
}

static void put_v2_llm(const struct trace_result *t, const struct trace_groups *g, struct buf *out)
{
    buf_putc(out, '{');
    if (t->n != 0) {
        buf_putz(out, "\"trace\":");
        trace_out_llm(t, g, out);
        if (t->stats.inspected_bytes != 0)
            buf_printf(out, ",\"metrics\":{\"inspectedBytes\":%llu}",
                (unsigned long long)t->stats.inspected_bytes);
    }
    buf_putc(out, '}');
}

static void put_v2_proto(const struct trace_result *t, const struct trace_groups *g,
    bool for_grafana, const char *partial, struct buf *out)
{
    size_t m = pb_begin(out, 1);
    trace_out_proto(t, g, for_grafana, out);
    pb_end(out, m);
    m = pb_begin(out, 2);
    if (t->stats.inspected_bytes != 0)
        pb_put_varint(out, 1, t->stats.inspected_bytes);
    pb_end(out, m);
    if (partial != NULL) {
        pb_put_varint(out, 3, 1);
        pb_put_bytes(out, 4, str_from(partial));
    }
}

void api_trace_v2(struct query_job *job)
{
    struct trace_result t;
    struct trace_groups g;
    struct err err = {0};
    enum ec ec = find(job, false, &t, &g, &err);
    if (ec != EC_OK) {
        job_fail(job, ec, &err);
        return;
    }
    char text[128];
    const char *partial = t.stats.partial ? t.stats.partial_text : NULL;
    if (t.truncated) {
        snprintf(text, sizeof(text),
            "Trace exceeds maximum size of %llu bytes, a partial trace is returned",
            (unsigned long long)t.max_bytes);
        partial = text;
    }
    struct buf out;
    buf_init(&out, &job->budget);
    enum accept accept = job_accept(job);
    if (accept == ACCEPT_PROTOBUF)
        put_v2_proto(&t, &g, job_for_grafana(job), partial, &out);
    else if (accept == ACCEPT_LLM)
        put_v2_llm(&t, &g, &out);
    else
        put_v2_json(&t, &g, partial, &out);
    static const char *const types[] = {
        "application/json", "application/protobuf", "application/vnd.grafana.llm+json"};
    job_respond_ok(job, types[accept], &out);
}
