/* SPDX-License-Identifier: Apache-2.0
 * One table says which fields there are; reading, checking and writing follow it. */
#include "user_limits_json.h"

#include <string.h>

#include "base/clock.h"
#include "json_out.h"
#include "params.h"
#include "query/format.h"

enum field_type {
    F_STRINGS,
    F_FLOATS,
    F_BOOL,
    F_TEXT,
    F_COUNT,
    F_NUMBER,
    F_DURATION,
    F_TEXTS_MAP,
    F_BOOLS_MAP,
    F_LIST,
    F_OBJECT
};

struct field {
    const char *name;
    enum field_type type;
    const struct field *members; /* F_OBJECT; of an element of F_LIST: unchecked here */
};

static const struct field service_graphs[] = {
    {"dimensions", F_STRINGS, NULL},
    {"enable_client_server_prefix", F_BOOL, NULL},
    {"enable_messaging_system_latency_histogram", F_BOOL, NULL},
    {"enable_virtual_node_label", F_BOOL, NULL},
    {"peer_attributes", F_STRINGS, NULL},
    {"filter_policies", F_LIST, NULL},
    {"histogram_buckets", F_FLOATS, NULL},
    {"span_multiplier_key", F_TEXT, NULL},
    {"enable_tracestate_span_multiplier", F_BOOL, NULL},
    {NULL, F_BOOL, NULL},
};
static const struct field span_metrics[] = {
    {"dimensions", F_STRINGS, NULL},
    {"intrinsic_dimensions", F_BOOLS_MAP, NULL},
    {"dimension_mappings", F_LIST, NULL},
    {"enable_target_info", F_BOOL, NULL},
    {"filter_policies", F_LIST, NULL},
    {"histogram_buckets", F_FLOATS, NULL},
    {"target_info_excluded_dimensions", F_STRINGS, NULL},
    {"enable_instance_label", F_BOOL, NULL},
    {"span_multiplier_key", F_TEXT, NULL},
    {"enable_tracestate_span_multiplier", F_BOOL, NULL},
    {NULL, F_BOOL, NULL},
};
static const struct field host_info[] = {
    {"host_identifiers", F_STRINGS, NULL},
    {"metric_name", F_TEXT, NULL},
    {NULL, F_BOOL, NULL},
};
static const struct field processor[] = {
    {"service_graphs", F_OBJECT, service_graphs},
    {"span_metrics", F_OBJECT, span_metrics},
    {"host_info", F_OBJECT, host_info},
    {NULL, F_BOOL, NULL},
};
static const struct field generator[] = {
    {"processors", F_STRINGS, NULL},
    {"disable_collection", F_BOOL, NULL},
    {"collection_interval", F_DURATION, NULL},
    {"trace_id_label_name", F_TEXT, NULL},
    {"ingestion_time_range_slack", F_DURATION, NULL},
    {"generate_native_histograms", F_TEXT, NULL},
    {"native_histogram_max_bucket_number", F_COUNT, NULL},
    {"native_histogram_bucket_factor", F_NUMBER, NULL},
    {"native_histogram_min_reset_duration", F_DURATION, NULL},
    {"span_name_sanitization", F_TEXT, NULL},
    {"processor", F_OBJECT, processor},
    {NULL, F_BOOL, NULL},
};
static const struct field attribution[] = {
    {"dimensions", F_TEXTS_MAP, NULL},
    {NULL, F_BOOL, NULL},
};
static const struct field limits[] = {
    {"forwarders", F_STRINGS, NULL},
    {"cost_attribution", F_OBJECT, attribution},
    {"metrics_generator", F_OBJECT, generator},
    {NULL, F_BOOL, NULL},
};

/* ---- reading and writing ---- */

#define NESTING_MAX 8

static void put_any(const json_t *v, unsigned depth, struct buf *out)
{
    const char *key;
    json_t *member;
    size_t i;
    bool first = true;
    if (depth > NESTING_MAX) {
        buf_putz(out, "null");
        return;
    }
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        buf_putc(out, '{');
        json_object_foreach((json_t *)(uintptr_t)v, key, member)
        {
            buf_putz(out, first ? "" : ",");
            first = false;
            json_str(out, str_from(key));
            buf_putc(out, ':');
            put_any(member, depth + 1, out);
        }
        buf_putc(out, '}');
        break;
    case JSON_ARRAY:
        buf_putc(out, '[');
        json_array_foreach(v, i, member)
        {
            buf_putz(out, i == 0 ? "" : ",");
            put_any(member, depth + 1, out);
        }
        buf_putc(out, ']');
        break;
    case JSON_STRING:
        json_str(out, str_n(json_string_value(v), json_string_length(v)));
        break;
    case JSON_INTEGER:
        buf_printf(out, "%lld", (long long)json_integer_value(v));
        break;
    case JSON_REAL:
        json_double(out, json_real_value(v));
        break;
    default:
        buf_putz(out, json_is_null(v) ? "null" : json_is_true(v) ? "true" : "false");
        break;
    }
}

static bool all_of(const json_t *v, bool (*is)(const json_t *v))
{
    const char *key;
    json_t *member;
    size_t i;
    if (json_is_array(v)) {
        json_array_foreach(v, i, member)
        {
            if (!is(member))
                return false;
        }
        return true;
    }
    if (!json_is_object(v))
        return false;
    json_object_foreach((json_t *)(uintptr_t)v, key, member)
    {
        if (!is(member))
            return false;
    }
    return true;
}

static bool is_text(const json_t *v)
{
    return json_is_string(v) && strlen(json_string_value(v)) == json_string_length(v);
}

static bool is_number(const json_t *v)
{
    return json_is_number(v);
}

static bool is_bool(const json_t *v)
{
    return json_is_boolean(v);
}

static bool is_object(const json_t *v)
{
    return json_is_object(v);
}

static bool fits(enum field_type type, const json_t *v)
{
    switch (type) {
    case F_STRINGS:
        return json_is_array(v) && all_of(v, is_text);
    case F_FLOATS:
        return json_is_array(v) && all_of(v, is_number);
    case F_LIST:
        return json_is_array(v) && all_of(v, is_object);
    case F_TEXTS_MAP:
        return json_is_object(v) && all_of(v, is_text);
    case F_BOOLS_MAP:
        return json_is_object(v) && all_of(v, is_bool);
    case F_BOOL:
        return json_is_boolean(v);
    case F_TEXT:
        return is_text(v);
    case F_COUNT:
        return json_is_integer(v) && json_integer_value(v) >= 0 &&
               json_integer_value(v) <= UINT32_MAX;
    case F_NUMBER:
        return json_is_number(v);
    case F_DURATION:
        return json_is_number(v) || is_text(v);
    case F_OBJECT:
        return json_is_object(v);
    }
    return false;
}

static const char *kind_of(const json_t *v)
{
    static const char *const kinds[] = {[JSON_OBJECT] = "object",
        [JSON_ARRAY] = "array",
        [JSON_STRING] = "string",
        [JSON_INTEGER] = "number",
        [JSON_REAL] = "number",
        [JSON_TRUE] = "bool",
        [JSON_FALSE] = "bool",
        [JSON_NULL] = "null"};
    return kinds[json_typeof(v)];
}

static enum ec duration_of(const json_t *v, int64_t *ret, struct err *err)
{
    if (json_is_string(v))
        return param_go_duration(str_from(json_string_value(v)), ret, err);
    double d = json_number_value(v);
    if (!(d > -9e18 && d < 9e18))
        return ERR(err, EC_INVALID, "time: invalid duration");
    *ret = json_is_integer(v) ? (int64_t)json_integer_value(v) : (int64_t)d;
    return EC_OK;
}

static enum ec put_object(
    const struct field *fields, const json_t *object, struct buf *out, struct err *err);

static enum ec put_value(const struct field *f, const json_t *v, struct buf *out, struct err *err)
{
    char text[FORMAT_DURATION_MAX];
    int64_t ns;
    switch (f->type) {
    case F_OBJECT:
        return put_object(f->members, v, out, err);
    case F_DURATION:
        TRY(duration_of(v, &ns, err));
        json_str(out, str_n(text, format_duration(text, ns)));
        return EC_OK;
    default:
        put_any(v, 0, out);
        return EC_OK;
    }
}

static enum ec put_object(
    const struct field *fields, const json_t *object, struct buf *out, struct err *err)
{
    const char *key;
    json_t *v;
    bool first = true;
    json_object_foreach((json_t *)(uintptr_t)object, key, v)
    {
        const struct field *f = fields;
        while (f->name != NULL && strcmp(f->name, key) != 0)
            f++;
        if (f->name == NULL)
            return ERR(err, EC_INVALID, "json: unknown field \"%.100s\"", key);
        if (!json_is_null(v) && !fits(f->type, v))
            return ERR(err, EC_INVALID,
                "json: cannot unmarshal %s into Go struct field of type Limits: %s", kind_of(v),
                key);
    }
    buf_putc(out, '{');
    for (const struct field *f = fields; f->name != NULL; f++) {
        v = json_object_get(object, f->name);
        if (f->type != F_OBJECT && (v == NULL || json_is_null(v)))
            continue;
        json_key(out, &first, f->name);
        TRY(put_value(f, json_is_null(v) ? NULL : v, out, err));
    }
    buf_putc(out, '}');
    return EC_OK;
}

json_t *user_limits_json_patch(const json_t *target, const json_t *patch)
{
    const char *key;
    json_t *v;
    if (!json_is_object(patch))
        return json_deep_copy(patch);
    json_t *out = json_is_object(target) ? json_deep_copy(target) : json_object();
    json_object_foreach((json_t *)(uintptr_t)patch, key, v)
    {
        if (json_is_null(v))
            (void)json_object_del(out, key); /* -1: was not there */
        else
            (void)json_object_set_new(
                out, key, user_limits_json_patch(json_object_get(out, key), v));
    }
    return out;
}

/* ---- checks that only this API makes ---- */

static enum ec check_forwarders(const struct config *c, const json_t *list, struct err *err)
{
    json_t *v;
    size_t i;
    json_array_foreach(list, i, v)
    {
        size_t k = 0;
        while (k < c->n_forwarders && strcmp(c->forwarders[k].name, json_string_value(v)) != 0)
            k++;
        if (k == c->n_forwarders)
            return ERR(err, EC_INVALID,
                "forwarder \"%.100s\" is not a known forwarder, contact your system administrator",
                json_string_value(v));
    }
    return EC_OK;
}

static enum ec check_processors(const json_t *list, struct err *err)
{
    static const char *const known[] = {"service-graphs", "span-metrics", "span-metrics-count",
        "span-metrics-latency", "span-metrics-size", "host-info"};
    json_t *v;
    size_t i;
    json_array_foreach(list, i, v)
    {
        size_t k = 0;
        while (k < ARRAY_LEN(known) && strcmp(known[k], json_string_value(v)) != 0)
            k++;
        if (k == ARRAY_LEN(known))
            return ERR(err, EC_INVALID,
                "metrics_generator.processor \"%.100s\" is not a known processor, valid values: "
                "[service-graphs span-metrics span-metrics-count span-metrics-latency "
                "span-metrics-size host-info]",
                json_string_value(v));
    }
    return EC_OK;
}

static enum ec check_duration(const json_t *generator_limits, const char *name, int64_t min,
    int64_t max, const char *range, struct err *err)
{
    const json_t *v = json_object_get(generator_limits, name);
    char text[FORMAT_DURATION_MAX];
    int64_t ns;
    if (v == NULL || json_is_null(v))
        return EC_OK;
    TRY(duration_of(v, &ns, err));
    if (ns >= min && ns <= max)
        return EC_OK;
    size_t n = format_duration(text, ns);
    return ERR(err, EC_INVALID, "metrics_generator.%s \"%.*s\" is outside acceptable range of %s",
        name, (int)n, text, range);
}

static enum ec check_texts(const json_t *g, struct err *err)
{
    static const char *const modes[] = {"classic", "native", "both"};
    const char *mode = json_string_value(json_object_get(g, "generate_native_histograms"));
    const char *label = json_string_value(json_object_get(g, "trace_id_label_name"));
    size_t k = 0;
    while (mode != NULL && k < ARRAY_LEN(modes) && strcmp(modes[k], mode) != 0)
        k++;
    if (k == ARRAY_LEN(modes))
        return ERR(err, EC_INVALID,
            "metrics_generator.generate_native_histograms \"%.100s\" is not a valid value, valid "
            "values: classic, native, both",
            mode);
    for (const char *p = label; p != NULL && *p != 0; p++)
        if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || *p == '_' ||
                (*p >= '0' && *p <= '9' && p != label)))
            return ERR(err, EC_INVALID,
                "trace_id_label_name \"%.100s\" is not a valid Prometheus label name", label);
    const json_t *factor = json_object_get(g, "native_histogram_bucket_factor");
    if (json_is_number(factor) && !(json_number_value(factor) > 1))
        return ERR(err, EC_INVALID,
            "metrics_generator.native_histogram_bucket_factor must be greater than 1");
    return EC_OK;
}

enum ec user_limits_json_put(
    const struct config *c, const json_t *given, struct buf *out, struct err *err)
{
    const json_t *g = json_object_get(given, "metrics_generator");
    size_t start = out->n;
    if (!json_is_object(given))
        return ERR(err, EC_INVALID, "json: cannot unmarshal %s into Go value of type client.Limits",
            kind_of(given));
    TRY(put_object(limits, given, out, err));
    TRY(check_forwarders(c, json_object_get(given, "forwarders"), err));
    TRY(check_processors(json_object_get(g, "processors"), err));
    TRY(check_duration(g, "collection_interval", 15 * NS_PER_S, 300 * NS_PER_S, "15s to 5m", err));
    TRY(check_texts(g, err));
    TRY(check_duration(g, "ingestion_time_range_slack", 0, 12 * 3600 * NS_PER_S, "0s to 12h", err));
    return config_user_limits_check(c, str_n((char *)out->p + start, out->n - start), err);
}
