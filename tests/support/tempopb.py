# SPDX-License-Identifier: Apache-2.0
"""The messages of package tempopb, as Grafana's client and Tempo declare them, and what they make strict.

MESSAGES is the declaration; message classes are made from it at import. json_strict() accepts a JSON answer
only when it is exactly what proto3 JSON prints for the message that it parses to: no unknown or misspelt
key, no null, no zero scalar, 64-bit integers as strings, 32-bit ones as numbers, bytes in base64, enums
by name. Needs the packages of tests/integration/requirements.txt.
"""
import json
import re

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.unknown_fields import UnknownFieldSet
from opentelemetry.proto.common.v1 import common_pb2  # noqa: F401 # registers its descriptors
from opentelemetry.proto.trace.v1 import trace_pb2  # noqa: F401

KV = "opentelemetry.proto.common.v1.KeyValue"
MESSAGES = {
    "SearchRequest": "repeated SearchTag Tags=1, uint32 MinDurationMs=2, uint32 MaxDurationMs=3, uint32 Limit=4, "
                     "uint32 start=5, uint32 end=6, string Query=8, uint32 SpansPerSpanSet=9, "
                     "SearchTime RF1After=10, repeated string skipASTTransformations=11",
    "SearchTag": "string key=1, string value=2",  # an entry of map<string, string>
    "SearchTime": "int64 seconds=1",  # google.protobuf.Timestamp
    "SearchTagsRequest": "string scope=1, string query=2, uint32 start=3, uint32 end=4, "
                         "uint32 maxTagsPerScope=5, uint32 staleValuesThreshold=6",
    "SearchTagValuesRequest": "string tagName=1, string query=2, uint32 start=4, uint32 end=5, "
                              "uint32 maxTagValues=6, uint32 staleValueThreshold=7",
    "QueryRangeRequest": "string query=1, uint64 start=2, uint64 end=3, uint64 step=4, "
                         "string queryMode=7, uint32 exemplars=16, uint32 maxSeries=17",
    "QueryInstantRequest": "string query=1, uint64 start=2, uint64 end=3",
    "Trace": "repeated opentelemetry.proto.trace.v1.ResourceSpans resourceSpans=1",
    "TraceByIDMetrics": "uint64 inspectedBytes=1",
    "TraceByIDResponse": "Trace trace=1, TraceByIDMetrics metrics=2, PartialStatus status=3, "
                         "string message=4",
    "SearchResponse": "repeated TraceSearchMetadata traces=1, SearchMetrics metrics=2",
    "TraceSearchMetadata": "string traceID=1, string rootServiceName=2, string rootTraceName=3, "
                           "uint64 startTimeUnixNano=4, uint32 durationMs=5, SpanSet spanSet=6, "
                           "repeated SpanSet spanSets=7, map ServiceStats serviceStats=8",
    "ServiceStats": "uint32 spanCount=1, uint32 errorCount=2",
    "SpanSet": f"repeated Span spans=1, uint32 matched=2, repeated {KV} attributes=3",
    "Span": "string spanID=1, string name=2, uint64 startTimeUnixNano=3, uint64 durationNanos=4, "
            f"repeated {KV} attributes=5",
    "SearchMetrics": "uint32 inspectedTraces=1, uint64 inspectedBytes=2, uint32 totalBlocks=3, "
                     "uint32 completedJobs=4, uint32 totalJobs=5, uint64 totalBlockBytes=6, "
                     "uint64 inspectedSpans=7",
    "SearchTagsResponse": "repeated string tagNames=1, MetadataMetrics metrics=2",
    "SearchTagsV2Response": "repeated SearchTagsV2Scope scopes=1, MetadataMetrics metrics=2",
    "SearchTagsV2Scope": "string name=1, repeated string tags=2",
    "SearchTagValuesResponse": "repeated string tagValues=1, MetadataMetrics metrics=2",
    "SearchTagValuesV2Response": "repeated TagValue tagValues=1, MetadataMetrics metrics=2",
    "TagValue": "string type=1, string value=2",
    "MetadataMetrics": "uint64 inspectedBytes=1, uint32 totalJobs=2, uint32 completedJobs=3, "
                       "uint32 totalBlocks=4, uint64 totalBlockBytes=5",
    "QueryInstantResponse": "repeated InstantSeries series=1, SearchMetrics metrics=2, "
                            "PartialStatus status=3, string message=4",
    "InstantSeries": f"repeated {KV} labels=1, double value=2",
    "QueryRangeResponse": "repeated TimeSeries series=1, SearchMetrics metrics=2, "
                          "PartialStatus status=3, string message=4",
    "TimeSeries": f"repeated {KV} labels=1, repeated Sample samples=2, repeated Exemplar exemplars=4",
    "Sample": "int64 timestamp_ms=2, double value=1",
    "Exemplar": f"repeated {KV} labels=1, double value=2, int64 timestamp_ms=3",
}
# Members that Tempo prints even when empty.
ALWAYS = {"SearchResponse": "traces", "SearchTagsResponse": "tagNames", "SearchTagsV2Response": "scopes",
          "SearchTagValuesResponse": "tagValues", "SearchTagValuesV2Response": "tagValues",
          "QueryRangeResponse": "series"}

_F = descriptor_pb2.FieldDescriptorProto
_SCALARS = {"string": _F.TYPE_STRING, "uint32": _F.TYPE_UINT32, "uint64": _F.TYPE_UINT64,
            "int64": _F.TYPE_INT64, "double": _F.TYPE_DOUBLE}


def _field(message, text):
    label, kind, name, number = re.fullmatch(
        r"(?:(repeated|map) )?([\w.]+) (\w+)=(\d+)", text.strip()).groups()
    field = message.field.add(name=name, number=int(number), label=_F.LABEL_REPEATED if label else
                              _F.LABEL_OPTIONAL)
    full = kind if "." in kind else f".tempopb.{kind}"
    if label == "map":
        entry = message.nested_type.add(name=name[0].upper() + name[1:] + "Entry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, type=_F.TYPE_STRING, label=_F.LABEL_OPTIONAL)
        entry.field.add(name="value", number=2, type=_F.TYPE_MESSAGE, type_name=full,
                        label=_F.LABEL_OPTIONAL)
        field.type, field.type_name = _F.TYPE_MESSAGE, f".tempopb.{message.name}.{entry.name}"
    elif kind in _SCALARS:
        field.type = _SCALARS[kind]
    elif kind == "PartialStatus":
        field.type, field.type_name = _F.TYPE_ENUM, full
    else:
        field.type, field.type_name = _F.TYPE_MESSAGE, full if full[0] == "." else "." + full


def _classes():
    file = descriptor_pb2.FileDescriptorProto(
        name="tempopb_of_the_tests.proto", package="tempopb", syntax="proto3",
        dependency=["opentelemetry/proto/common/v1/common.proto",
                    "opentelemetry/proto/trace/v1/trace.proto"])
    status = file.enum_type.add(name="PartialStatus")
    status.value.add(name="COMPLETE", number=0)
    status.value.add(name="PARTIAL", number=1)
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for text in fields.split(","):
            _field(message, text)
    pool = descriptor_pool.Default()
    pool.Add(file) if hasattr(pool, "Add") else pool.AddSerializedFile(file.SerializeToString())
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"tempopb.{name}"))
            for name in MESSAGES}


CLASS = _classes()


def _no_twice(pairs):
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError(f"a key twice: {[k for k, _ in pairs]}")
    return out


def json_strict(name, body):
    """The JSON of an answer, or ValueError when it is not exactly the proto3 JSON of message `name`."""
    got = json.loads(body, object_pairs_hook=_no_twice)
    message = CLASS[name]()
    try:
        json_format.ParseDict(got, message)
    except json_format.ParseError as e:
        raise ValueError(f"{name}: {e}") from e
    want = json_format.MessageToDict(message)
    if name in ALWAYS:
        want.setdefault(ALWAYS[name], [])
    if difference := differs(got, want, name):
        raise ValueError(difference)
    return got


def differs(got, want, path):
    """The first difference as text, or None. 1 and 1.0 are equal, 1 and "1" are not."""
    if isinstance(want, dict) and isinstance(got, dict):
        if set(got) != set(want):
            return f"{path}: has {sorted(got)}, proto3 JSON has {sorted(want)}"
        return next((d for k in want if (d := differs(got[k], want[k], f"{path}.{k}"))), None)
    if isinstance(want, list) and isinstance(got, list) and len(got) == len(want):
        return next((d for i, w in enumerate(want) if (d := differs(got[i], w, f"{path}[{i}]"))), None)
    same = isinstance(got, bool) == isinstance(want, bool) and got == want
    return None if same else f"{path}: is {got!r}, proto3 JSON has {want!r}"


def _unknown(message, path):
    if len(UnknownFieldSet(message)):
        yield f"{path}: field {UnknownFieldSet(message)[0].field_number} is not declared"
    for field, value in message.ListFields():
        if field.type != _F.TYPE_MESSAGE:
            continue
        if field.message_type.GetOptions().map_entry:
            value = value.values()
        elif not hasattr(value, "append"):
            value = [value]
        for v in value:
            yield from _unknown(v, f"{path}.{field.name}")


def proto_strict(name, body):
    """The message of a protobuf answer; ValueError when it has a field that is not declared."""
    message = CLASS[name]()
    try:
        message.ParseFromString(body)
    except Exception as e:  # pylint: disable=broad-except # protobuf's own classes
        raise ValueError(f"{name}: {e}") from e
    if problem := next(_unknown(message, name), None):
        raise ValueError(problem)
    return message


def as_json(message):
    return json_format.MessageToDict(message)
