/* SPDX-License-Identifier: Apache-2.0
 * Any bytes in Thrift's binary protocol: as a datagram, and as the body of POST /api/traces. */
#include "receiver_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    RECEIVER_FUZZ(data, n, jaeger_agent_to_pb(in, false, &pb, &err));
    RECEIVER_FUZZ(data, n, jaeger_thrift_to_pb(in, &pb, &err));
    return 0;
}
