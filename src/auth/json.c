/* SPDX-License-Identifier: Apache-2.0
 * See json.h. The scan before parsing counts brackets and commas outside strings: that bounds depth
 * and values without knowing the grammar, so nothing small can become a tree that is large. */
#include "json.h"

#include <math.h>

#include "client/http_client.h"

void json_start(void)
{
    json_object_seed(0);
}

static enum ec scan(struct str text, size_t values_max, struct err *err)
{
    size_t depth = 0, values = 1;
    bool in_string = false;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
            continue;
        }
        switch (c) {
        case '"':
            in_string = true;
            break;
        case '[':
        case '{':
            if (++depth > JSON_DEPTH_MAX)
                return ERR(err, EC_INVALID, "JSON deeper than %d", JSON_DEPTH_MAX);
            values++;
            break;
        case ']':
        case '}':
            depth -= depth > 0;
            break;
        case ',':
            values++;
            break;
        default:
            break;
        }
        if (values > values_max)
            return ERR(err, EC_INVALID, "JSON of more than %zu values", values_max);
    }
    return EC_OK;
}

enum ec json_parse(struct str text, size_t values_max, json_t **ret, struct err *err)
{
    json_error_t at;
    TRY(scan(text, values_max, err));
    json_t *v = text.n == 0 ? NULL : json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, &at);
    if (v == NULL) /* jansson's own words may quote the text */
        return ERR(err, EC_INVALID, "not JSON (at byte %d)", text.n == 0 ? 0 : at.position);
    if (!json_is_object(v)) {
        json_wipe(v);
        return ERR(err, EC_INVALID, "JSON is not an object");
    }
    *ret = v;
    return EC_OK;
}

bool json_text(const json_t *object, const char *key, struct str *ret)
{
    const json_t *v = json_object_get(object, key);
    if (!json_is_string(v))
        return false;
    *ret = str_n(json_string_value(v), json_string_length(v));
    return true;
}

bool json_seconds(const json_t *object, const char *key, int64_t *ret)
{
    const json_t *v = json_object_get(object, key);
    if (json_is_integer(v)) {
        *ret = json_integer_value(v);
        return true;
    }
    if (!json_is_real(v) || !(fabs(json_real_value(v)) < 9e15))
        return false;
    *ret = (int64_t)floor(json_real_value(v));
    return true;
}

char *json_url(const json_t *object, const char *key)
{
    struct str s, scheme, host, path, query;
    if (!json_text(object, key, &s) || !http_url_split(s, &scheme, &host, &path, &query))
        return NULL;
    return xstrndup(s.p, s.n);
}

static void wipe_strings(json_t *v)
{
    const char *key;
    json_t *item;
    size_t i;
    if (json_is_string(v)) {
        explicit_bzero((void *)(uintptr_t)json_string_value(v), json_string_length(v));
    } else if (json_is_array(v)) {
        json_array_foreach(v, i, item) wipe_strings(item);
    } else if (json_is_object(v)) {
        json_object_foreach(v, key, item) wipe_strings(item);
    }
}

void json_wipe(json_t *v)
{
    if (v == NULL)
        return;
    wipe_strings(v); /* depth is bounded by json_parse */
    json_decref(v);
}
