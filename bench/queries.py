# SPDX-License-Identifier: Apache-2.0
"""The queries of the benchmark over a corpus of bench/loadgen whose end is now: name -> (path, parameters)."""


def queries(now):
    w = {"start": now - 3600, "end": now + 1}

    def search(q, limit=20):
        return "/api/search", {"q": q, "limit": limit, **w}

    def metrics(q):
        return "/api/metrics/query_range", {"q": q, "step": "60s", **w}
    return {
        "search {}": search("{}"), "search status=error": search("{ status = error }"),
        "search service+error": search('{ resource.service.name = "cart" && status = error }'),
        "search rare user": search('{ span.user.id = "user-000042" }', 1000), "search absent value": search('{ span.user.id = "nobody" }'),
        "search duration>2s": search("{ duration > 2s }", 1000), "search int range": search("{ span.http.status_code >= 500 }", 1000),
        "search regex": search('{ name =~ ".*checkout.*" && duration > 5ms }', 1000),
        "search namespace": search('{ resource.k8s.namespace.name = "llm-d" }'),
        "search absent regex": search('{ span.db.statement =~ ".*nothing-like-this.*" }'),
        "structural >>": search('{ resource.service.name = "frontend" } >> { resource.service.name = "postgres" || span.db.system = "postgresql" '
                                '&& duration > 10ms }', 1000),
        "structural absent": search('{ span.db.system = "redis" } >> { resource.service.name = "cart" }'),
        "aggregate count": search("{ status = error } | count() > 3", 1000),
        "by avg": search("{ } | by(resource.service.name) | avg(duration) > 2s", 1000), "event": search('{ event.exception.type = "ValueError" }', 1000),
        "rate": metrics("{ } | rate()"), "rate by service": metrics("{ } | rate() by (resource.service.name)"),
        "error rate by name": metrics("{ status = error } | rate() by (name)"),
        "quantiles": metrics("{ } | quantile_over_time(duration, .5, .95, .99) by (resource.service.name)"),
        "histogram": metrics("{ } | histogram_over_time(duration)"),
        "avg tokens": metrics("{ } | avg_over_time(span.gen_ai.usage.completion_tokens) by (span.gen_ai.request.model)"),
        "compare": metrics("{ } | compare({ status = error })"),
        "tags": ("/api/v2/search/tags", w), "values service": ("/api/v2/search/tag/resource.service.name/values", w),
        "values high-cardinality": ("/api/v2/search/tag/span.user.id/values", w),
        "values filtered": ("/api/v2/search/tag/name/values", {"q": '{ resource.service.name = "cart" }', **w}),
    }
