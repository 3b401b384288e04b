/* SPDX-License-Identifier: Apache-2.0
 * Receivers: bytes of a protocol in, OTLP protobuf (ExportTraceServiceRequest) out. They see
 * neither storage nor tenants. OTLP/protobuf needs no receiver: model/batch.h decodes it in place.
 * All are linear in the input, bound their depth, and charge what they allocate to out->budget. */
#pragma once

#include "base/buf.h"
#include "base/err.h"

/* OTLP/JSON (spec ingest.md 5.4): lowerCamelCase and snake_case keys, hex ids, numbers as strings,
 * enum names, unknown keys skipped, trailing bytes ignored. EC_INVALID with what was wrong. */
enum ec otlp_json_to_pb(struct bytes json, struct buf *out, struct err *err) MUST_USE;
