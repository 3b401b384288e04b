/* SPDX-License-Identifier: Apache-2.0
 * See fuzz_block.h. The good block is made once from fixed spans; pages are found through the
 * decoded footers, and footers are encoded anew by the writer's own functions. */
#include "fuzz_block.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/hash.h"
#include "block_fixture.h"

#define FUZZ_FD 1000

/* One file in memory, any path. */
static int mem_open(void *ctx, const char *site, const char *path, int flags, unsigned mode)
{
    (void)ctx, (void)site, (void)path, (void)flags, (void)mode;
    return FUZZ_FD;
}

static int mem_close(void *ctx, const char *site, int fd)
{
    (void)ctx, (void)site, (void)fd;
    return 0;
}

static ssize_t mem_pread(void *ctx, const char *site, int fd, void *p, size_t n, uint64_t off)
{
    const struct fuzz_block *f = ctx;
    (void)site, (void)fd;
    if (off >= f->n)
        return 0;
    n = MIN(n, f->n - off);
    memcpy(p, f->bytes + off, n);
    return (ssize_t)n;
}

static int mem_fstat(void *ctx, const char *site, int fd, struct io_stat *ret)
{
    const struct fuzz_block *f = ctx;
    (void)site, (void)fd;
    *ret = (struct io_stat){.size = f->n};
    return 0;
}

static const struct io_ops mem_ops = {
    .open = mem_open, .close = mem_close, .pread = mem_pread, .fstat = mem_fstat};

static void must(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "fuzz_block: %s\n", what);
        abort();
    }
}

/* The raw bytes of a footer page, which is one section. */
static uint8_t *raw_footer(const struct fuzz_block *f, const struct page_ref *ref)
{
    struct buf scratch = BUF_INIT;
    struct page_in in;
    uint8_t *raw = xmalloc(ref->raw + 1ULL);
    page_in_init(&in, bytes_n(f->bytes + ref->offset, ref->stored), ref->raw, &scratch);
    must(section_get_into(&in, ref->raw, raw, NULL) == EC_OK, "footer");
    buf_deinit(&scratch);
    return raw;
}

static void load_footers(struct fuzz_block *f)
{
    struct page_ref root;
    struct block_root *r;
    struct block_schema *s;
    uint64_t bytes;
    must(block_trailer_get(f->bytes + f->n - 64, f->n, &root, &f->salt, NULL) == EC_OK, "trailer");
    f->root = raw_footer(f, &root);
    f->root_n = root.raw;
    must(block_root_decode(bytes_n(f->root, root.raw), f->n, f->salt, NULL, &r, NULL) == EC_OK,
        "root");
    f->schema = raw_footer(f, &r->schema);
    f->schema_n = r->schema.raw;
    must(block_schema_size(bytes_n(f->schema, f->schema_n), &bytes, NULL) == EC_OK, "schema");
    void *mem = xmalloc(bytes);
    must(block_schema_decode(bytes_n(f->schema, f->schema_n), r, f->n, mem, &s, NULL) == EC_OK,
        "schema");
    uint32_t first = s->n_pages + r->n_trace_pages + r->n_id_pages;
    f->n_pages = first + r->ids.n_pages + r->values.n_pages;
    f->pages = xcalloc(f->n_pages, sizeof(*f->pages));
    must(r->ids.n_pages > 0 && r->values.n_pages > 0, "filters");
    memcpy(f->pages + first, r->ids.pages, r->ids.n_pages * sizeof(*f->pages));
    memcpy(
        f->pages + first + r->ids.n_pages, r->values.pages, r->values.n_pages * sizeof(*f->pages));
    memcpy(f->pages, s->pages, s->n_pages * sizeof(*f->pages));
    memcpy(f->pages + s->n_pages, r->trace_pages, r->n_trace_pages * sizeof(*f->pages));
    for (uint32_t i = 0; i < r->n_id_pages; i++)
        f->pages[s->n_pages + r->n_trace_pages + i] = r->id_pages[i].page;
    free(mem);
    block_root_free(r, NULL);
}

void fuzz_block_load(struct fuzz_block *f)
{
    if (f->bytes != NULL)
        return;
    struct block_fixture *fx = block_fixture_new();
    struct head *h = fixture_head(9, 40);
    struct part *head = head_part(h), *b = fixture_write(fx, &head, 1);
    FILE *file = fopen(fx->path, "rb");
    must(file != NULL, "no file");
    f->n = fx->facts.file_bytes;
    f->bytes = xmalloc(f->n);
    must(fread(f->bytes, 1, f->n, file) == f->n, "short file");
    fclose(file);
    load_footers(f);
    part_unref(b);
    head_free(h);
    block_fixture_free(fx);
}

static void *copy(const void *p, size_t n)
{
    void *c = xmalloc(n + 1);
    memcpy(c, p, n);
    return c;
}

void fuzz_block_copy(struct fuzz_block *to, const struct fuzz_block *from)
{
    *to = *from;
    to->bytes = copy(from->bytes, from->n);
    to->root = copy(from->root, from->root_n);
    to->schema = copy(from->schema, from->schema_n);
    to->pages = copy(from->pages, from->n_pages * sizeof(*from->pages));
}

void fuzz_block_drop(struct fuzz_block *f)
{
    free(f->bytes);
    free(f->root);
    free(f->schema);
    free(f->pages);
    *f = (struct fuzz_block){0};
}

/* Every occurrence of an old checksum in a raw footer becomes the new one. */
static void sum_replace(uint8_t *p, size_t n, uint64_t was, uint64_t now)
{
    for (size_t i = 0; i + 8 <= n; i++)
        if (get_u64le(p + i) == was)
            put_u64le(p + i, now);
}

/* A raw page behind all others, uncompressed; the file grows. */
static struct page_ref append_footer(struct fuzz_block *f, const uint8_t *raw, size_t n)
{
    struct page_out out;
    page_out_init(&out, NULL, 1);
    must(section_put(&out, raw, n, false, NULL) == EC_OK, "footer");
    struct page_ref ref = {.offset = f->n, .stored = (uint32_t)out.b.n, .raw = (uint32_t)out.raw};
    f->bytes = xrealloc(f->bytes, f->n + out.b.n);
    memcpy(f->bytes + f->n, out.b.p, out.b.n);
    f->n += out.b.n;
    ref.sum = block_page_sum(f->salt, ref.offset, f->bytes + ref.offset, ref.stored);
    page_out_deinit(&out);
    return ref;
}

static void append_trailer(struct fuzz_block *f, const struct page_ref *root)
{
    f->bytes = xrealloc(f->bytes, f->n + BLOCK_TRAILER_BYTES);
    block_trailer_put(f->bytes + f->n, root, f->n + BLOCK_TRAILER_BYTES, f->salt);
    f->n += BLOCK_TRAILER_BYTES;
}

/* A root that refers to the given schema: the old one, encoded anew. */
static void append_root_for(struct fuzz_block *f, const struct page_ref *schema)
{
    struct block_root *r;
    struct buf raw = BUF_INIT;
    must(block_root_decode(bytes_n(f->root, f->root_n), f->n, f->salt, NULL, &r, NULL) == EC_OK,
        "root");
    r->schema = *schema;
    block_root_encode(&raw, r);
    struct page_ref root = append_footer(f, raw.p, raw.n);
    append_trailer(f, &root);
    buf_deinit(&raw);
    block_root_free(r, NULL);
}

void fuzz_block_repair(struct fuzz_block *f)
{
    for (uint32_t i = 0; i < f->n_pages; i++) {
        struct page_ref *p = &f->pages[i];
        uint64_t now = block_page_sum(f->salt, p->offset, f->bytes + p->offset, p->stored);
        if (now == p->sum)
            continue;
        sum_replace(f->schema, f->schema_n, p->sum, now);
        sum_replace(f->root, f->root_n, p->sum, now);
        p->sum = now;
    }
    struct page_ref schema = append_footer(f, f->schema, f->schema_n);
    append_root_for(f, &schema);
}

void fuzz_block_replace(struct fuzz_block *f, bool root, const uint8_t *p, size_t n)
{
    struct page_ref ref = append_footer(f, p, n);
    if (root)
        append_trailer(f, &ref);
    else
        append_root_for(f, &ref);
}

/* Views, strings and shapes are touched, so that a sanitizer sees what they point to. */
static uint64_t touch_view(const struct col_view *v)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < v->n; i++) {
        sum += v->rows != NULL ? v->rows[i] : 0;
        if (v->phys == PHYS_CODE) {
            struct str s = dict_get(v->dict, v->u32[i]);
            sum += hash64(s.p, s.n);
        } else if (v->phys != PHYS_ID16) {
            sum += v->phys == PHYS_U8 ? v->u8[i] : v->phys == PHYS_U32 ? v->u32[i] : v->u64[i];
        }
    }
    return sum;
}

static volatile uint64_t touched; /* so that no read is optimised away */

static void read_part(struct part *p, struct budget *budget)
{
    static const struct trace_id any = {{1, 2, 3}};
    struct part_reader *r;
    struct part_info info;
    const struct part_attr *attrs;
    size_t n_attrs = 0;
    uint64_t sum = part_may_hold(p, &any);
    sum += part_may_equal(p, TABLE_SPANS, STR("http.method"), 0, STR("GET"));
    sum += part_may_key(p, TABLE_RESOURCES, STR("service.name"), false);
    if (part_reader_open(p, budget, &r, NULL) != EC_OK)
        return;
    part_info(r, &info);
    for (uint32_t t = 0; t < MIN(info.n_traces, 64u); t++) {
        struct part_trace trace;
        uint32_t found;
        if (part_trace(r, t, &trace, NULL) == EC_OK &&
            part_trace_find(r, &trace.id, &found, NULL) == EC_OK)
            sum += found + part_may_hold(p, &trace.id);
    }
    if (part_attrs(r, &attrs, &n_attrs, NULL) != EC_OK)
        n_attrs = 0;
    for (uint32_t g = 0; g < MIN(info.n_groups, 8u); g++) {
        for (col_id col = 0; col < COL_FIXED_MAX + MIN(n_attrs, (size_t)256); col++) {
            struct col_view v;
            if (part_view(r, g, col, &v, NULL) != EC_OK)
                continue;
            sum += touch_view(&v);
            if (v.n > 0 && v.phys == PHYS_CODE)
                sum += part_may_have(r, col, STR("GET"));
        }
    }
    part_reader_close(r);
    touched += sum;
}

void fuzz_block_read_all(struct fuzz_block *f)
{
    struct io io = {.ops = &mem_ops, .ctx = f};
    struct budget budget;
    struct block_facts facts = {0};
    struct part *p;
    uint64_t problems;
    budget_init(&budget, NULL, "fuzz", 32 << 20);
    struct block_cache *cache = block_cache_new(&budget, 8 << 20);
    memcpy(facts.uuid, f->bytes + 16, 16);
    struct block_open_options opt = {
        .io = &io, .path = "fuzz", .tenant = STR("tenant"), .facts = &facts, .cache = cache};
    must(block_open(&opt, &p, NULL) == EC_OK, "open");
    read_part(p, &budget);
    part_unref(p);
    block_cache_free(cache);
    must(budget_used(&budget) == 0, "memory was not given back");
    budget_deinit(&budget);
    if (block_verify(&io, "fuzz", NULL, NULL, &problems, NULL) == EC_OK && problems == 0)
        return; /* the edits were harmless */
}
