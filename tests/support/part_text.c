/* SPDX-License-Identifier: Apache-2.0
 * Spans as text, out of any part: see part_text.h. Slow and plain on purpose: row by row, with a
 * cursor per column, so that it shares no trick with the code under test. */
#include "part_text.h"

#include <stdio.h>
#include <stdlib.h>

struct cursor {
    struct col_view v;
    bool loaded;
    uint32_t at;
};

struct table_reader {
    struct part_reader *r;
    uint32_t g;
    size_t n_cols;
    struct cursor *c; /* by column */
};

static void must(enum ec ec, const struct err *err)
{
    if (ec != EC_OK) {
        fprintf(stderr, "part_text: %s\n", err_msg(err));
        abort();
    }
}

static size_t columns_max(struct part_reader *r)
{
    const struct part_attr *attrs;
    size_t n, max = COL_FIXED_MAX;
    struct err err = {0};
    must(part_attrs(r, &attrs, &n, &err), &err);
    for (size_t i = 0; i < n; i++)
        max = MAX(max, (size_t)attrs[i].col + 1);
    return max;
}

static void table_begin(struct table_reader *t, struct part_reader *r, uint32_t g)
{
    *t = (struct table_reader){.r = r, .g = g, .n_cols = columns_max(r)};
    t->c = xcalloc(t->n_cols, sizeof(*t->c));
}

static struct cursor *cursor_of(struct table_reader *t, col_id col)
{
    struct cursor *c = &t->c[col];
    struct err err = {0};
    if (!c->loaded) {
        must(part_view(t->r, t->g, col, &c->v, &err), &err);
        c->loaded = true;
    }
    return c;
}

/* Rows are asked for in ascending order. */
static bool cursor_take(struct table_reader *t, col_id col, uint32_t row, uint32_t *ret_i)
{
    struct cursor *c = cursor_of(t, col);
    while (c->at < c->v.n && (c->v.rows == NULL ? c->at : c->v.rows[c->at]) < row)
        c->at++;
    if (c->at >= c->v.n || (c->v.rows == NULL ? c->at : c->v.rows[c->at]) != row)
        return false;
    *ret_i = c->at++;
    return true;
}

static void put_bytes(struct buf *out, struct str s)
{
    buf_printf(out, "%zu:", s.n);
    for (size_t i = 0; i < s.n; i++) {
        unsigned char ch = (unsigned char)s.p[i];
        if (ch >= 32 && ch < 127)
            buf_putc(out, (char)ch);
        else
            buf_printf(out, "\\%02x", ch);
    }
}

static void put_value(struct buf *out, const struct col_view *v, uint32_t i)
{
    switch (v->phys) {
    case PHYS_U8:
        buf_printf(out, "%u", v->u8[i]);
        break;
    case PHYS_U32:
        buf_printf(out, "%u", v->u32[i]);
        break;
    case PHYS_U64:
    case PHYS_F64:
        buf_printf(out, "%016llx", (unsigned long long)v->u64[i]);
        break;
    case PHYS_I64:
        buf_printf(out, "%lld", (long long)v->i64[i]);
        break;
    case PHYS_CODE:
        put_bytes(out, dict_get(v->dict, v->u32[i]));
        break;
    case PHYS_ID16:
        for (int k = 0; k < 16; k++)
            buf_printf(out, "%02x", v->id16[i].b[k]);
        break;
    }
}

static void put_fixed(
    struct buf *out, struct table_reader *t, const char *name, col_id col, uint32_t row)
{
    uint32_t i;
    if (!cursor_take(t, col, row, &i))
        return;
    buf_printf(out, " %s=", name);
    put_value(out, &t->c[col].v, i);
}

static uint32_t get_u32(struct table_reader *t, col_id col, uint32_t row)
{
    uint32_t i;
    if (!cursor_take(t, col, row, &i)) {
        fprintf(stderr, "part_text: column %u has no row %u\n", col, row);
        abort();
    }
    return t->c[col].v.u32[i];
}

static void put_attrs(struct buf *out, struct table_reader *t, col_id shape_col, uint32_t row)
{
    const struct part_attr *attrs;
    const col_id *cols;
    size_t n_attrs, n;
    struct err err = {0};
    must(part_attrs(t->r, &attrs, &n_attrs, &err), &err);
    must(part_shape(t->r, get_u32(t, shape_col, row), &cols, &n, &err), &err);
    buf_putz(out, " {");
    for (size_t k = 0; k < n; k++) {
        size_t a = 0, hi = n_attrs; /* ascending by column */
        uint32_t i;
        while (a < hi) {
            size_t mid = a + (hi - a) / 2;
            if (attrs[mid].col < cols[k])
                a = mid + 1;
            else
                hi = mid;
        }
        if (a == n_attrs || attrs[a].col != cols[k] || !cursor_take(t, cols[k], row, &i)) {
            fprintf(stderr, "part_text: row %u lacks column %u of its shape\n", row, cols[k]);
            abort();
        }
        put_bytes(out, attrs[a].key);
        buf_printf(out, "(%d)=", attrs[a].type);
        put_value(out, &t->c[cols[k]].v, i);
        buf_putz(out, ", ");
    }
    buf_putz(out, "}");
}

static char **table_texts(struct part_reader *r, enum part_table t, uint32_t n)
{
    char **texts = xcalloc(n + 1ULL, sizeof(*texts));
    struct table_reader tr;
    table_begin(&tr, r, 0);
    for (uint32_t row = 0; row < n; row++) {
        struct buf out = BUF_INIT;
        if (t == TABLE_RESOURCES) {
            put_attrs(&out, &tr, COL_RESOURCE_SHAPE, row);
            put_fixed(&out, &tr, "dropped", COL_RESOURCE_DROPPED_ATTRS, row);
            put_fixed(&out, &tr, "url", COL_RESOURCE_SCHEMA_URL, row);
        } else {
            put_fixed(&out, &tr, "name", COL_SCOPE_NAME, row);
            put_fixed(&out, &tr, "version", COL_SCOPE_VERSION, row);
            put_attrs(&out, &tr, COL_SCOPE_SHAPE, row);
            put_fixed(&out, &tr, "dropped", COL_SCOPE_DROPPED_ATTRS, row);
            put_fixed(&out, &tr, "url", COL_SCOPE_SCHEMA_URL, row);
        }
        texts[row] = xstrndup((const char *)out.p, out.n);
        buf_deinit(&out);
    }
    free(tr.c);
    return texts;
}

static void put_span(
    struct buf *out, struct table_reader *t, uint32_t row, char **resources, char **scopes)
{
    struct part_trace trace;
    struct err err = {0};
    must(part_trace(t->r, get_u32(t, COL_SPAN_TRACE, row), &trace, &err), &err);
    for (int i = 0; i < 16; i++)
        buf_printf(out, "%02x", trace.id.b[i]);
    put_fixed(out, t, "id", COL_SPAN_ID, row);
    put_fixed(out, t, "parent", COL_SPAN_PARENT, row);
    put_fixed(out, t, "start", COL_SPAN_START, row);
    put_fixed(out, t, "duration", COL_SPAN_DURATION, row);
    put_fixed(out, t, "name", COL_SPAN_NAME, row);
    put_fixed(out, t, "kind", COL_SPAN_KIND, row);
    put_fixed(out, t, "status", COL_SPAN_STATUS, row);
    put_fixed(out, t, "message", COL_SPAN_STATUS_MESSAGE, row);
    put_fixed(out, t, "state", COL_SPAN_TRACE_STATE, row);
    put_fixed(out, t, "flags", COL_SPAN_FLAGS, row);
    put_fixed(out, t, "dattrs", COL_SPAN_DROPPED_ATTRS, row);
    put_fixed(out, t, "devents", COL_SPAN_DROPPED_EVENTS, row);
    put_fixed(out, t, "dlinks", COL_SPAN_DROPPED_LINKS, row);
    put_fixed(out, t, "arrival", COL_SPAN_ARRIVAL, row);
    put_attrs(out, t, COL_SPAN_SHAPE, row);
    buf_printf(out, " R%s S%s", resources[get_u32(t, COL_SPAN_RESOURCE, row)],
        scopes[get_u32(t, COL_SPAN_SCOPE, row)]);
}

static void put_event(struct buf *out, struct table_reader *t, uint32_t row)
{
    buf_putz(out, "\n E");
    put_fixed(out, t, "time", COL_EVENT_TIME, row);
    put_fixed(out, t, "name", COL_EVENT_NAME, row);
    put_fixed(out, t, "dropped", COL_EVENT_DROPPED_ATTRS, row);
    put_attrs(out, t, COL_EVENT_SHAPE, row);
}

static void put_link(struct buf *out, struct table_reader *t, uint32_t row)
{
    buf_putz(out, "\n L");
    put_fixed(out, t, "trace", COL_LINK_TRACE_ID, row);
    put_fixed(out, t, "span", COL_LINK_SPAN_ID, row);
    put_fixed(out, t, "state", COL_LINK_TRACE_STATE, row);
    put_fixed(out, t, "flags", COL_LINK_FLAGS, row);
    put_fixed(out, t, "dropped", COL_LINK_DROPPED_ATTRS, row);
    put_attrs(out, t, COL_LINK_SHAPE, row);
}

struct part_texts part_texts_read(struct part *p)
{
    struct part_reader *r;
    struct part_info info;
    struct err err = {0};
    must(part_reader_open(p, NULL, &r, &err), &err);
    part_info(r, &info);
    struct part_texts texts = {xcalloc(info.n_rows + 1ULL, sizeof(char *)), info.n_rows};
    char **resources = table_texts(r, TABLE_RESOURCES, info.n_resources);
    char **scopes = table_texts(r, TABLE_SCOPES, info.n_scopes);
    uint32_t at = 0;
    for (uint32_t g = 0; g < info.n_groups; g++) {
        struct part_group group;
        struct table_reader t;
        uint32_t event = 0, link = 0;
        must(part_group(r, g, &group, &err), &err);
        table_begin(&t, r, g);
        for (uint32_t row = 0; row < group.n_rows; row++) {
            struct buf out = BUF_INIT;
            put_span(&out, &t, row, resources, scopes);
            for (; event < group.n_events && cursor_of(&t, COL_EVENT_SPAN)->v.u32[event] == row;)
                put_event(&out, &t, event++);
            for (; link < group.n_links && cursor_of(&t, COL_LINK_SPAN)->v.u32[link] == row;)
                put_link(&out, &t, link++);
            texts.p[at++] = xstrndup((const char *)out.p, out.n);
            buf_deinit(&out);
        }
        free(t.c);
    }
    for (uint32_t i = 0; i < info.n_resources; i++)
        free(resources[i]);
    for (uint32_t i = 0; i < info.n_scopes; i++)
        free(scopes[i]);
    free(resources);
    free(scopes);
    part_reader_close(r);
    return texts;
}

void part_texts_free(struct part_texts *t)
{
    for (uint32_t i = 0; i < t->n; i++)
        free(t->p[i]);
    free(t->p);
    *t = (struct part_texts){0};
}

static int text_cmp(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

bool part_texts_same_set(const struct part_texts *a, const struct part_texts *b)
{
    if (a->n != b->n) {
        fprintf(stderr, "%u spans, %u spans\n", a->n, b->n);
        return false;
    }
    char **x = xcalloc(a->n + 1ULL, sizeof(*x)), **y = xcalloc(a->n + 1ULL, sizeof(*y));
    bool same = true;
    memcpy(x, a->p, a->n * sizeof(*x));
    memcpy(y, b->p, a->n * sizeof(*y));
    qsort(x, a->n, sizeof(*x), text_cmp);
    qsort(y, a->n, sizeof(*y), text_cmp);
    for (uint32_t i = 0; i < a->n && same; i++) {
        same = strcmp(x[i], y[i]) == 0;
        if (!same)
            fprintf(stderr, "first difference:\n%s\n%s\n", x[i], y[i]);
    }
    free(x);
    free(y);
    return same;
}
