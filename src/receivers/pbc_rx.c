/* SPDX-License-Identifier: Apache-2.0
 * The allocator that gives protobuf-c an arena. */
#include "pbc_rx.h"

static void *rx_pbc_alloc(void *ctx, size_t n)
{
    struct rx *rx = ctx;
    void *p = rx->over ? NULL : arena_alloc(&rx->arena, n);
    rx->over |= p == NULL;
    return p;
}

static void rx_pbc_free(void *ctx, void *p)
{
    (void)ctx;
    (void)p; /* the arena goes as a whole */
}

ProtobufCMessage *rx_unpack(
    struct rx *rx, const ProtobufCMessageDescriptor *type, struct bytes message)
{
    static const uint8_t none[1];
    ProtobufCAllocator allocator = {rx_pbc_alloc, rx_pbc_free, rx};
    return protobuf_c_message_unpack(
        type, &allocator, message.n, message.n == 0 ? none : message.p);
}
