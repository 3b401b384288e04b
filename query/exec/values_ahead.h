/* SPDX-License-Identifier: Apache-2.0
 * Values of an attribute over many blocks: which of them need not be opened. */
#pragma once

#include "source.h"

/* Has the part none of the attributes that are asked for? From its filter, without a reader. */
bool values_none(const struct values_request *r, struct part *p);
/* Blocks whose values are those of another one, as far as is known without opening them: most of a
 * thousand have the same services. */
#define VALUES_NAMES_MAX 64u
struct values_lists {
    const struct values_request *req;
    /* hashes of lists whose values were found, 0: free; NULL: not of this request */
    uint64_t *seen;
    uint32_t mask;
    struct {
        uint64_t names; /* hash of the keys of a table: has it the key that is asked for? */
        enum part_table table;
        bool has;
    } names[VALUES_NAMES_MAX];
    uint32_t n_names;
};
/* n: as many parts will be asked about. Without memory nothing is known. */
void values_lists_init(
    struct values_lists *l, const struct values_request *req, size_t n, struct arena *arena);
/* True: its values were found, or it has none. Else *ret_slot is where to put *ret_hash once they
 * are; NULL: nothing is known of this part. */
bool values_list_seen(
    struct values_lists *l, struct part *p, uint64_t **ret_slot, uint64_t *ret_hash);
/* Has blocks that were not read yet answer that and, where they may have one, read their list of
 * attributes: several at once (ahead.h). */
void values_ask_ahead(
    const struct query_ctx *ctx, const struct values_request *req, const struct source *sources);
