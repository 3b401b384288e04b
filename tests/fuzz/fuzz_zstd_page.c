/* SPDX-License-Identifier: Apache-2.0
 * A compressed section of a page that lies about itself: never more memory than the page's index
 * declares, never a byte past what was asked for, and only what was compressed comes out.
 *
 * Input: flags (1: the rest is compressed first, so that the frame is a good one; 2: then a byte of
 * it is changed), declared size of the section and of the page (two bytes each, times 16), the
 * rest. */
#include <stdlib.h>

#include "storage/block/codec.h"

#define COMPRESS 1
#define CHANGE   2

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* The section's bytes, in memory of exactly their size. */
static uint8_t *section_make(unsigned flags, const uint8_t *p, size_t n, size_t *ret_n)
{
    struct page_out out;
    page_out_init(&out, NULL, 1);
    if ((flags & COMPRESS) != 0) {
        ASSERT(section_put(&out, p, n, true, NULL) == EC_OK);
        if ((flags & CHANGE) != 0 && n > 1)
            out.b.p[p[0] % out.b.n] ^= p[1];
    } else {
        buf_putc(&out.b, SECTION_ZSTD);
        buf_put_varint(&out.b, n);
        buf_put(&out.b, p, n);
    }
    uint8_t *section = xmalloc(out.b.n);
    memcpy(section, out.b.p, out.b.n);
    *ret_n = out.b.n;
    page_out_deinit(&out);
    return section;
}

static void check(
    const uint8_t *section, size_t section_n, size_t size, uint64_t declared, struct bytes right)
{
    struct budget budget;
    struct page_in in;
    const uint8_t *got;
    budget_init(&budget, NULL, "fuzz", declared + 1024);
    struct buf scratch;
    buf_init(&scratch, &budget);
    uint8_t *into = xmalloc(size + 1);
    page_in_init(&in, bytes_n(section, section_n), declared, &scratch);
    enum ec a = section_get(&in, size, &got, NULL);
    ASSERT(a != EC_OK || size <= declared);
    ASSERT(scratch.cap <= declared + 1024);
    struct page_in other;
    page_in_init(&other, bytes_n(section, section_n), declared, &scratch);
    struct buf copy = BUF_INIT;
    if (a == EC_OK)
        buf_put(&copy, got, size);
    enum ec b = section_get_into(&other, size, into, NULL);
    ASSERT((a == EC_OK) == (b == EC_OK));
    ASSERT(a != EC_OK || memcmp(copy.p, into, size) == 0 || size == 0);
    if (right.p != NULL && size <= declared) /* what was compressed, and nothing else */
        ASSERT((a == EC_OK) == (size == right.n) &&
               (a != EC_OK || size == 0 || memcmp(into, right.p, size) == 0));
    buf_deinit(&copy);
    buf_deinit(&scratch);
    free(into);
    ASSERT(budget_used(&budget) == 0);
    budget_deinit(&budget);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 6)
        return 0;
    unsigned flags = data[0];
    size_t size = get_u16le(data + 1) * 16u, declared = get_u16le(data + 3) * 16u, section_n;
    uint8_t *section = section_make(flags, data + 5, n - 5, &section_n);
    struct bytes right =
        (flags & (COMPRESS | CHANGE)) == COMPRESS ? bytes_n(data + 5, n - 5) : (struct bytes){0};
    check(section, section_n, size, declared, right);
    if (right.p != NULL)
        check(section, section_n, right.n, right.n, right);
    free(section);
    return 0;
}
