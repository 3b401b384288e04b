/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as jaeger.api_v2.PostSpansRequest. */
#include "receiver_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    RECEIVER_FUZZ(data, n, jaeger_proto_to_pb(in, &pb, &err));
    return 0;
}
