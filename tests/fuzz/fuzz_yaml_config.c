/* SPDX-License-Identifier: Apache-2.0
 * A configuration file: expansion, YAML, decoding against the key tables, binding, printing. First
 * byte: bit 0 expansion, bit 1 an overrides file instead. What is printed must load again. */
#include <stdlib.h>

#include "base/hash.h"
#include "src/config/doc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void free_problems(struct problems *p)
{
    buf_deinit(&p->lines);
}

static bool is_sound(struct arena *arena, const struct block *b, const struct node *n)
{
    struct problems p = {.arena = arena};
    decode_block(b, n, &p);
    bool sound = p.n == 0;
    ASSERT(sound == (p.lines.n == 0));
    free_problems(&p);
    return sound;
}

static void fuzz_main_file(struct arena *arena, struct node *root)
{
    struct config c = {0};
    struct config_doc doc = {.root = root};
    struct buf text = BUF_INIT;
    struct err err;
    struct node *again;

    if (!is_sound(arena, &schema_root, root))
        return;
    c.doc = &doc;
    arena_init(&c.arena, NULL, 0);
    if (bind_config(&c, &err) == EC_OK && resolve_config(&c, &err) == EC_OK &&
        validate_config(&c, &err) == EC_OK)
        warn_config(&c);
    config_print(&c, CONFIG_PRINT_DIFF, &text);
    ASSERT(node_parse(buf_str(&text), arena, &again, &err) == EC_OK);
    if (again != NULL)
        ASSERT(is_sound(arena, &schema_root, again));
    buf_deinit(&text);
    VEC_FREE(&doc.flags);
    VEC_FREE(&doc.effective);
    free(c.warnings);
    arena_deinit(&c.arena);
}

static void fuzz_overrides_file(struct arena *arena, struct node *root)
{
    const struct block *shapes[] = {&schema_limits, &schema_limits_flat};
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
        struct config_limits limits = {0};
        struct err err;
        if (!is_sound(arena, shapes[i], root))
            continue;
        enum ec ec = bind_block(arena, shapes[i], "t", root, &limits, i == 0, &err);
        ASSERT(ec == EC_OK || ec == EC_INVALID); /* a negative limit */
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct buf expanded = BUF_INIT;
    struct arena arena;
    struct node *root;
    struct err err;

    if (n == 0)
        return 0;
    struct str text = str_n((const char *)data + 1, n - 1);
    arena_init(&arena, NULL, 0);
    if ((data[0] & 1) != 0 && env_expand(text, &expanded, &err) == EC_OK)
        text = buf_str(&expanded);
    if (node_parse(text, &arena, &root, &err) == EC_OK && root != NULL) {
        ASSERT(root->weight <= NODE_WEIGHT_MAX);
        if ((data[0] & 2) != 0)
            fuzz_overrides_file(&arena, root);
        else
            fuzz_main_file(&arena, root);
    }
    arena_deinit(&arena);
    buf_deinit(&expanded);
    return 0;
}
