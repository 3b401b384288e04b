/* SPDX-License-Identifier: Apache-2.0
 * The key tables: every key of the union of Tempo 2.9, Tempo 3.0, a few historic keys and our own.
 *
 * A block is a Go struct of Tempo (its type name appears in error texts) with a table of keys. The
 * tables in schema_*.c are the only place where a key is named; parsing, defaults, errors,
 * warnings, printing and config/reference.md derive from them. All is constant data.
 *
 * Decisions: I implemented as in Tempo, M mapped onto another setting, N accepted and checked but
 * without effect (the note is the reason given in the warning), R refused when set.
 */
#pragma once

#include "config/config.h"

enum key_type {
    KT_STRING,
    KT_BOOL,
    KT_INT,    /* Go int */
    KT_UINT32, /* Go uint32 */
    KT_UINT64, /* Go uint64 */
    KT_FLOAT,
    KT_DURATION, /* Go time.Duration */
    KT_PROM,     /* Prometheus duration: also d, w, y */
    KT_SIZE,     /* "63KiB1023B" */
    KT_STRINGS,
    KT_FLOATS,
    KT_STRING_MAP,
    KT_BLOCK,
    KT_BLOCKS, /* list of blocks */
    KT_ANY,    /* a subtree that is accepted as it is */
};

enum key_decision { KEY_I, KEY_M, KEY_N, KEY_R };

enum key_target {
    TARGET_NONE,
    TARGET_BOOL,
    TARGET_U32,
    TARGET_U64,
    TARGET_I64,
    TARGET_F64,
    TARGET_STR,
    TARGET_STRS,
    TARGET_FLOATS,
    TARGET_NODE, /* the subtree, for a later step */
};

#define KEY_SECRET 1 /* masked when printed */
#define KEY_OLD    2 /* no key of Tempo 3.0: printed only when set */
#define KEY_OWN    4 /* no key of Tempo: refused by -config.portable */
#define KEY_SIGNED 8 /* a duration that may be negative */

struct block;

struct key {
    const char *name;
    const char *dflt; /* as YAML text; NULL: absent */
    const char *note; /* I, M: what it does; N, R: why not */
    const struct block *block;
    uint16_t offset; /* of the target; of a block: of the struct that its keys fill */
    uint8_t type, decision, target, flags;
};

struct block {
    const char *go_type;
    const struct key *keys;
    size_t n;
};

/* A row: K("name", TYPE, DECISION, "default", "note", TO(field)), with BASE defined as the struct
 * that the block fills. */
#define K(name_, type_, decision_, dflt_, note_, ...)                                      \
    {                                                                                      \
        .name = (name_), .type = KT_##type_, .decision = KEY_##decision_, .dflt = (dflt_), \
        .note = (note_), __VA_ARGS__                                                       \
    }
/* A block: B("name", block, AT(field)); a list of blocks: K("name", BLOCKS, ..., .block = &x). */
#define B(name_, block_, ...)                                                                 \
    {                                                                                         \
        .name = (name_), .type = KT_BLOCK, .decision = KEY_I, .block = &(block_), __VA_ARGS__ \
    }
#define TO(field) \
    .offset = (uint16_t)offsetof(BASE, field),                                                  \
    .target = _Generic(((BASE *)0)->field,                                                      \
        bool: TARGET_BOOL,                                                                      \
        uint32_t: TARGET_U32,                                                                   \
        uint64_t: TARGET_U64,                                                                   \
        int64_t: TARGET_I64,                                                                    \
        double: TARGET_F64,                                                                     \
        const char *: TARGET_STR,                                                               \
        const char *const *: TARGET_STRS,                                                       \
        struct config_floats: TARGET_FLOATS,                                                    \
        const struct node *: TARGET_NODE)
#define AT(field) .offset = (uint16_t)offsetof(BASE, field)
#define BLOCK(name_, go_type_, keys_) \
    const struct block name_ = {.go_type = (go_type_), .keys = (keys_), .n = ARRAY_LEN(keys_)}

/* Reasons that many rows share. */
#define NO_RING  "one process holds all data, there is no ring"
#define NO_RPC   "queries run in the process, there is no RPC between parts"
#define NO_KAFKA "the write path needs no Kafka"
#define NO_TUNE  "tuning of a part that this server does not have"
#define LATER    "not supported by this release"

extern const struct block schema_root;
extern const struct block schema_gateway;
/* schema_server.c */
extern const struct block schema_server, schema_internal_server;
extern const struct block schema_distributor;                 /* schema_write.c */
extern const struct block schema_ingester, schema_live_store; /* schema_write.c */
extern const struct block schema_forwarder;                   /* schema_write.c */
/* schema_backend.c */
extern const struct block schema_compactor, schema_backend_scheduler;
/* schema_backend.c */
extern const struct block schema_backend_worker;
extern const struct block schema_querier, schema_query_frontend; /* schema_query.c */
/* schema_storage.c */
extern const struct block schema_storage;
/* schema_storage.c */
extern const struct block schema_cache;
/* schema_generator.c */
extern const struct block schema_metrics_generator, schema_tenant_generator;
extern const struct block schema_policy, schema_policy_match, schema_policy_attribute;
extern const struct block schema_mapping, schema_intrinsic;
/* schema_remote_write.c */
extern const struct block schema_remote_write, schema_relabel;
extern const struct block schema_overrides, schema_limits, schema_limits_flat;
/* schema_receivers.c */
extern const struct block schema_otlp, schema_otlp_grpc, schema_otlp_http, schema_jaeger,
    schema_jaeger_grpc, schema_jaeger_http, schema_jaeger_compact, schema_jaeger_binary,
    schema_zipkin;

const struct key *schema_key(const struct block *b, struct str name); /* NULL: unknown */
/* The key at a dotted path, from the root. */
const struct key *schema_at(const char *path);
/* The name in b that is closest to a misspelt one; NULL when none is close. */
const char *schema_hint(const struct block *b, struct str name);

#define SCHEMA_PATH_MAX 160
/* Calls each leaf (a key that is no block) in table order, with its dotted path and the sum of the
 * offsets on the way. Blocks in lists count as leaves. */
void schema_each(const struct block *b, const char *prefix, size_t base,
    void (*each)(void *ctx, const struct key *k, const char *path, size_t base), void *ctx);
