/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as a datagram of Jaeger's agent port in Thrift's compact protocol. */
#include "receiver_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    RECEIVER_FUZZ(data, n, jaeger_agent_to_pb(in, true, &pb, &err));
    return 0;
}
