/* SPDX-License-Identifier: Apache-2.0
 * Readers, groups and views of one part. */
#include "source.h"

static enum ec reader_open(struct source *s, struct err *err)
{
    TRY(part_reader_open(s->part, &s->budget, &s->r, err));
    part_info(s->r, &s->info);
    return EC_OK;
}

static enum ec groups_load(struct source *s, struct err *err)
{
    struct part_group *groups = ARENA_ARRAY(s->arena, s->info.n_groups, struct part_group);
    if (groups == NULL)
        return ERR(err, EC_LIMIT, "query is over its memory budget");
    for (uint32_t g = 0; g < s->info.n_groups; g++)
        TRY(part_group(s->r, g, &groups[g], err));
    s->groups = groups;
    return EC_OK;
}

enum ec source_open(struct source *s, struct part *part, struct arena *arena, struct budget *budget,
    struct err *err)
{
    *s = (struct source){.part = part, .arena = arena};
    budget_init(&s->budget, budget, "reader", 0);
    TRY(reader_open(s, err));
    return groups_load(s, err);
}

enum ec source_open_lazy(struct source *s, struct part *part, struct arena *arena,
    struct budget *budget, struct err *err)
{
    struct part_info info;
    if (!part_peek(part, &info))
        return source_open(s, part, arena, budget, err);
    *s = (struct source){.part = part, .arena = arena, .info = info};
    budget_init(&s->budget, budget, "reader", 0);
    return EC_OK;
}

/* The outcome of opening: what cannot be read has no spans. */
static enum ec opened(struct source *s, enum ec ec, bool *ret)
{
    *ret = ec == EC_OK;
    if (!source_unreadable(ec) && ec != EC_NOT_FOUND)
        return ec;
    s->damaged = s->lost = true;
    return EC_OK;
}

enum ec source_reader(struct source *s, bool *ret, struct err *err)
{
    *ret = !s->lost;
    if (LIKELY(s->r != NULL) || s->lost)
        return EC_OK;
    return opened(s, reader_open(s, err), ret);
}

enum ec source_groups(struct source *s, bool *ret, struct err *err)
{
    TRY(source_reader(s, ret, err));
    if (LIKELY(s->groups != NULL) || !*ret)
        return EC_OK;
    return opened(s, groups_load(s, err), ret);
}

void source_close(struct source *s)
{
    if (s->part == NULL)
        return;
    part_reader_close(s->r);
    budget_deinit(&s->budget);
    *s = (struct source){0};
}

enum ec source_note(struct source *s, enum ec ec)
{
    if (source_unreadable(ec))
        s->damaged = true;
    return ec;
}

enum ec source_recycle(struct source *s, uint64_t keep, struct err *err)
{
    if (s->r == NULL || budget_used(&s->budget) <= keep)
        return EC_OK;
    s->bytes_read += part_reader_bytes(s->r);
    part_reader_close(s->r);
    s->r = NULL;
    for (uint32_t i = 0; i < s->n_slots; i++)
        memset(s->slots[i].loaded, 0, s->slots[i].wide ? 1 : MAX(s->info.n_groups, 1));
    /* A head has grown meanwhile: the rows beyond the first snapshot are never asked for. */
    return part_reader_open(s->part, &s->budget, &s->r, err);
}

uint64_t source_bytes_read(const struct source *s)
{
    return s->bytes_read + (s->r == NULL ? 0 : part_reader_bytes(s->r));
}

enum ec source_slot(struct source *s, col_id col, uint32_t *ret_slot, struct err *err)
{
    if (col < COL_FIXED_MAX && s->fixed[col] != 0) {
        *ret_slot = s->fixed[col] - 1;
        return EC_OK;
    }
    for (uint32_t i = 0; i < s->n_slots; i++) {
        if (s->slots[i].col == col) {
            *ret_slot = i;
            return EC_OK;
        }
    }
    if (s->n_slots == s->cap_slots) {
        uint32_t cap = s->cap_slots == 0 ? 16 : s->cap_slots * 2;
        struct source_slot *slots = ARENA_ARRAY(s->arena, cap, struct source_slot);
        if (slots == NULL)
            return ERR(err, EC_LIMIT, "query is over its memory budget");
        if (s->n_slots != 0)
            memcpy(slots, s->slots, s->n_slots * sizeof(*slots));
        s->slots = slots;
        s->cap_slots = cap;
    }
    enum part_table table = TABLE_COUNT;
    enum col_phys phys;
    const char *name;
    if (!part_col_fixed(col, &table, &phys, &name)) {
        const struct part_attr *attrs;
        size_t n;
        TRY(part_attrs(s->r, &attrs, &n, err));
        for (size_t i = 0; i < n && table == TABLE_COUNT; i++)
            if (attrs[i].col == col)
                table = attrs[i].table;
        ASSERT(table != TABLE_COUNT);
    }
    bool wide = table == TABLE_RESOURCES || table == TABLE_SCOPES;
    uint32_t n = wide ? 1 : MAX(s->info.n_groups, 1);
    struct source_slot slot = {
        .col = col,
        .views = ARENA_ARRAY(s->arena, n, struct col_view),
        .loaded = ARENA_ARRAY(s->arena, n, bool),
        .wide = wide,
    };
    if (slot.views == NULL || slot.loaded == NULL)
        return ERR(err, EC_LIMIT, "query is over its memory budget");
    s->slots[s->n_slots] = slot;
    *ret_slot = s->n_slots++;
    if (col < COL_FIXED_MAX)
        s->fixed[col] = s->n_slots;
    return EC_OK;
}

enum ec source_view(
    struct source *s, uint32_t slot, uint32_t g, const struct col_view **ret, struct err *err)
{
    struct source_slot *sl = &s->slots[slot];
    uint32_t at = sl->wide ? 0 : g;
    if (!sl->loaded[at]) {
        TRY(source_note(s, part_view(s->r, at, sl->col, &sl->views[at], err)));
        sl->loaded[at] = true;
    }
    *ret = &sl->views[at];
    return EC_OK;
}

enum ec source_fixed_slow(
    struct source *s, col_id col, uint32_t g, const struct col_view **ret, struct err *err)
{
    uint32_t slot;
    TRY(source_slot(s, col, &slot, err));
    return source_view(s, slot, g, ret, err);
}

uint32_t source_group_of(const struct source *s, uint32_t row)
{
    uint32_t lo = row / PART_GROUP_ROWS, hi = s->info.n_groups; /* no group has more rows */
    ASSERT(row < s->info.n_rows);
    while (hi - lo > 1) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (s->groups[mid].row_first <= row)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

uint32_t view_index_sparse(const struct col_view *v, uint32_t row)
{
    uint32_t lo = 0, hi = v->n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (v->rows[mid] < row)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < v->n && v->rows[lo] == row ? lo : PART_NONE;
}
