/* SPDX-License-Identifier: Apache-2.0
 * Any text as Zipkin JSON of both versions, tags as text and by what they read as. */
#include "receiver_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    for (int parse_tags = 0; parse_tags < 2; parse_tags++) {
        RECEIVER_FUZZ(data, n, zipkin_v2_json_to_pb(in, parse_tags, &pb, &err));
        RECEIVER_FUZZ(data, n, zipkin_v1_json_to_pb(in, parse_tags, &pb, &err));
    }
    return 0;
}
