/* SPDX-License-Identifier: Apache-2.0
 * Requests of the query service: the first byte chooses the method, the rest is the message. What
 * is accepted comes to a URL that means the same parameters. */
#include <stdlib.h>

#include "../../src/api/grpc_query.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_url(const struct query_job *job)
{
    struct buf url = BUF_INIT;
    struct http_param *params;
    size_t n = 0, query = 0;
    struct arena a;
    arena_init(&a, NULL, 0);
    job_put_url(job, &url);
    for (size_t i = url.n; i > 0 && query == 0; i--) /* a tag's name may hold '?' */
        if (url.p[i - 1] == '?')
            query = i;
    if (job->n_params != 0) {
        ASSERT(
            http_params_parse(&a, str_n((const char *)url.p + query, url.n - query), &params, &n));
        ASSERT(n == job->n_params);
    }
    for (size_t i = 0; i < n; i++) {
        ASSERT(str_eq(params[i].key, job->params[i].key));
        ASSERT(str_eq(params[i].value, job->params[i].value));
    }
    buf_deinit(&url);
    arena_deinit(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"Search", "SearchTags", "SearchTagsV2", "SearchTagValues",
        "SearchTagValuesV2", "MetricsQueryRange", "MetricsQueryInstant"};
    if (size == 0)
        return 0;
    struct config *config = xcalloc(1, sizeof(*config));
    struct api *api = xcalloc(1, sizeof(*api));
    struct query_job *job = xcalloc(1, sizeof(*job));
    struct budget budget;
    struct err err = {0};
    config->http_api_prefix = "";
    api->opt.config = config;
    job->api = api;
    job->grpc = grpc_method_find(str_from(names[data[0] % ARRAY_LEN(names)]));
    budget_init(&budget, NULL, "fuzz", 4u << 20);
    arena_init(&job->arena, &budget, 0);
    if (job->grpc->decode(job, bytes_n(data + 1, size - 1), &err) == EC_OK)
        check_url(job);
    arena_deinit(&job->arena);
    budget_deinit(&budget);
    free(job);
    free(api);
    free(config);
    return 0;
}
