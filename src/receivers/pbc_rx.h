/* SPDX-License-Identifier: Apache-2.0
 * protobuf-c on the scratch memory of a request. */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "rx.h"

/* Unpacks into rx's arena: nothing is freed before it, so what a message can cost is the budget,
 * also where protobuf-c would join repeated single messages again and again. NULL: malformed, or
 * rx->over. */
ProtobufCMessage *rx_unpack(
    struct rx *rx, const ProtobufCMessageDescriptor *type, struct bytes message);

static inline struct str rx_pbc_str(ProtobufCBinaryData b)
{
    return str_n((const char *)b.data, b.len);
}
