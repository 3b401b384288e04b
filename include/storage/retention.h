/* SPDX-License-Identifier: Apache-2.0
 * Which blocks retention takes: pure functions, so that the promise "nothing younger than the
 * period is deleted" can be tested without a disk or a clock. */
#pragma once

#include "storage/block.h"

/* The newest moment that a block answers for, unix ns: the later of its true end, never taken for
 * later than now + slack (a sender's clock must not keep data for ever), and the arrival of its
 * last span (back-dated spans stay for the whole period too). */
int64_t retention_newest_ns(const struct block_facts *f, int64_t now_ns, int64_t slack_ns);
bool retention_expired(
    const struct block_facts *f, int64_t now_ns, int64_t slack_ns, int64_t retention_ns);

struct retention_item {
    int64_t newest_ns;
    uint64_t end_ns; /* decides between blocks whose last spans came in the same second */
    uint64_t bytes;
    uint32_t index; /* the caller's */
};
/* Sorts the items oldest first and returns how many of them a size limit takes (0: none). The
 * newest 10 % of the bytes, and the newest block, stay whatever the limit says. bytes_max 0: no
 * limit. */
size_t retention_by_size(struct retention_item *items, size_t n, uint64_t bytes_max);
