/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as zipkin.proto3.ListOfSpans. */
#include "receiver_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    RECEIVER_FUZZ(data, n, zipkin_v2_proto_to_pb(in, false, &pb, &err));
    RECEIVER_FUZZ(data, n, zipkin_v2_proto_to_pb(in, true, &pb, &err));
    return 0;
}
