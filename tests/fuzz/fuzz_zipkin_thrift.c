/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as Zipkin's first format, a list of spans in Thrift's binary protocol. */
#include "receiver_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    RECEIVER_FUZZ(data, n, zipkin_v1_thrift_to_pb(in, &pb, &err));
    return 0;
}
