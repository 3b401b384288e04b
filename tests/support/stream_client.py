# SPDX-License-Identifier: Apache-2.0
"""A client of tempopb.StreamingQuerier, and the merging that Grafana does.

Needs the packages of tests/integration/requirements.txt.
"""
import grpc

from tempopb import CLASS, proto_strict

SERVICE = "tempopb.StreamingQuerier"
METHODS = {  # method: (request, response)
    "Search": ("SearchRequest", "SearchResponse"),
    "SearchTags": ("SearchTagsRequest", "SearchTagsResponse"),
    "SearchTagsV2": ("SearchTagsRequest", "SearchTagsV2Response"),
    "SearchTagValues": ("SearchTagValuesRequest", "SearchTagValuesResponse"),
    "SearchTagValuesV2": ("SearchTagValuesRequest", "SearchTagValuesV2Response"),
    "MetricsQueryRange": ("QueryRangeRequest", "QueryRangeResponse"),
    "MetricsQueryInstant": ("QueryInstantRequest", "QueryInstantResponse"),
}


class Failure(Exception):
    """A status other than OK; what came before it is in messages."""

    def __init__(self, code, text, messages):
        super().__init__(f"{code}: {text}")
        self.code, self.text, self.messages = code, text, messages


class StreamClient:
    def __init__(self, target, tenant=None, credentials=None, compression=None):
        # Each client a connection of its own: gRPC shares them between channels otherwise.
        options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        self.channel = (grpc.secure_channel(target, credentials, options, compression) if credentials
                        else grpc.insecure_channel(target, options, compression))
        self.metadata = [("x-scope-orgid", tenant)] if tenant is not None else []

    def open(self, method, timeout=20, raw=None, service=SERVICE, metadata=None, **members):
        """The call, from which encoded messages are read."""
        body = raw if raw is not None else CLASS[METHODS[method][0]](**members).SerializeToString()
        call = self.channel.unary_stream(f"/{service}/{method}")
        return call(body, timeout=timeout, metadata=self.metadata if metadata is None else metadata)

    def raw(self, method, **options):
        """All encoded messages; Failure on any status but OK."""
        messages = []
        try:
            for m in self.open(method, **options):
                messages.append(m)
        except grpc.RpcError as e:
            raise Failure(e.code().name, e.details(), messages) from None
        return messages

    def call(self, method, **options):
        """All messages, decoded, none with a field that Tempo does not declare."""
        return [proto_strict(METHODS[method][1], m) for m in self.raw(method, **options)]

    def close(self):
        self.channel.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def merge(method, messages):
    """What a client has at the end: one message as the HTTP endpoint answers it, order aside."""
    out = CLASS[METHODS[method][1]]()
    out.metrics.CopyFrom(messages[-1].metrics)
    if method == "Search":  # by id, the first stays
        seen = {}
        for m in messages:
            for t in m.traces:
                seen.setdefault(t.traceID, t)
        out.traces.extend(sorted(seen.values(), key=lambda t: (-t.startTimeUnixNano,
                                                               t.traceID.zfill(32))))
    elif method == "SearchTags":
        out.tagNames.extend(sorted({n for m in messages for n in m.tagNames}))
    elif method == "SearchTagValues":
        out.tagValues.extend(sorted({n for m in messages for n in m.tagValues}))
    elif method == "SearchTagValuesV2":
        seen = {(v.type, v.value) for m in messages for v in m.tagValues}
        for kind, value in sorted(seen):
            out.tagValues.add(type=kind, value=value)
    elif method == "SearchTagsV2":
        scopes = {}
        for m in messages:
            for s in m.scopes:
                scopes.setdefault(s.name, set()).update(s.tags)
        for name in sorted(scopes):
            out.scopes.add(name=name, tags=sorted(scopes[name]))
    elif method == "MetricsQueryInstant":
        out = messages[-1]
    else:  # points by series and time, the newest received wins
        series, points, exemplars = {}, {}, {}
        for m in messages:
            for s in m.series:
                key = tuple(label.SerializeToString(deterministic=True) for label in s.labels)
                series[key] = s
                points.setdefault(key, {}).update({p.timestamp_ms: p.value for p in s.samples})
                exemplars.setdefault(key, {}).update(
                    {e.SerializeToString(deterministic=True): e for e in s.exemplars})
        for key, s in series.items():
            one = out.series.add(labels=s.labels)
            for at, value in sorted(points[key].items()):
                one.samples.add(timestamp_ms=at, value=value)
            one.exemplars.extend(sorted(exemplars[key].values(), key=lambda e: e.timestamp_ms))
        out.status, out.message = messages[-1].status, messages[-1].message
    return out
