/* SPDX-License-Identifier: Apache-2.0
 * A good block in memory for fuzz targets: its pages can be edited, its checksums repaired, its
 * footers replaced, and it is read through an io table that serves the bytes, without files. */
#pragma once

#include "storage/block/format.h"

struct fuzz_block {
    uint8_t *bytes;
    size_t n;
    uint64_t salt;
    uint8_t *root, *schema; /* raw footers */
    size_t root_n, schema_n;
    struct page_ref *pages; /* of columns, traces, ids and filters */
    uint32_t n_pages;
    struct part *part; /* open while it is read */
};

void fuzz_block_load(struct fuzz_block *f); /* once; later calls do nothing */
void fuzz_block_copy(struct fuzz_block *to, const struct fuzz_block *from);
/* After edits of page bytes: new checksums, new footers. */
void fuzz_block_repair(struct fuzz_block *f);
/* Other raw bytes for the root or the schema, under right checksums. */
void fuzz_block_replace(struct fuzz_block *f, bool root, const uint8_t *p, size_t n);
void fuzz_block_read_all(struct fuzz_block *f);
void fuzz_block_drop(struct fuzz_block *f);
