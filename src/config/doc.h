/* SPDX-License-Identifier: Apache-2.0
 * The steps of loading, private to this layer:
 *
 *   flags.c    argv -> struct flags                       (one table)
 *   env.c      ${VAR} expansion of a file's text
 *   node.c     text -> tree
 *   decode.c   tree against the key tables: unknown, duplicate, ill-typed
 *   doc.c      file and flags as one document, asked by dotted path; values into struct config
 *   resolve.c  settings with several sources, our departures from Tempo
 *   receivers.c, validate.c, warnings.c
 *   print.c    the document with defaults, as YAML
 *
 * INVARIANT: after decode_block found no problem, every scalar in the document parses as its key's
 * type; later steps assert it.
 */
#pragma once

#include "base/buf.h"
#include "node.h"
#include "scalar.h"
#include "schema.h"

#define CONFIG_FILE_MAX (4u << 20)

/* ---- problems of a file, in its order ---- */

struct problems {
    struct arena *arena;
    struct buf lines; /* "  line 3: ...\n" each */
    size_t n;
    const char
        *map_text; /* NULL: texts of Tempo's YAML decoder; else receiver: "has invalid keys" */
};

void problem_add(struct problems *p, uint32_t line, const char *text, const char *hint);
void decode_block(const struct block *b, const struct node *n, struct problems *p);

/* ---- the document ---- */

struct doc_entry {
    const char *path;
    struct node *value;
};

struct config_doc {
    struct node *root;               /* the file; NULL: empty */
    bool built_in;                   /* there was no file */
    VEC(struct doc_entry) flags;     /* win over the file */
    VEC(struct doc_entry) effective; /* resolved values, for printing only */
};

/* What the user set at a path; NULL when nothing, or null. */
const struct node *doc_get(const struct config_doc *d, const char *path);
const struct node *doc_flag(const struct config_doc *d, const char *path);
void doc_set_flag(struct config_doc *d, const char *path, struct node *value);
/* The value at a path of scalar type: set, or the key's default. True when it was set. */
bool doc_value(const struct config_doc *d, const char *path, struct value *ret);
bool doc_bool(const struct config_doc *d, const char *path);
int64_t doc_int(const struct config_doc *d, const char *path); /* also durations and sizes */
/* NUL-terminated copy in the arena of c. */
const char *doc_string(struct config *c, const char *path);

/* Puts a value, or the key's default when n is NULL, where the key says. */
enum ec bind_key(struct arena *arena, const struct key *k, const char *path, const struct node *n,
    void *base, struct err *err) MUST_USE;
/* All keys that n sets, and (defaults) those that it does not. */
enum ec bind_block(struct arena *arena, const struct block *b, const char *prefix,
    const struct node *n, void *base, bool defaults, struct err *err) MUST_USE;
/* All keys of the root block, from the document. */
enum ec bind_config(struct config *c, struct err *err) MUST_USE;

/* ---- the rest ---- */

enum ec file_read(const char *path, struct buf *ret, struct err *err) MUST_USE;
enum ec env_expand(struct str in, struct buf *out, struct err *err) MUST_USE;

enum ec flags_parse(struct config *c, int argc, char **argv, struct err *err) MUST_USE;

enum ec resolve_config(struct config *c, struct err *err) MUST_USE;
enum ec resolve_receivers(struct config *c, struct err *err) MUST_USE;
enum ec validate_config(struct config *c, struct err *err) MUST_USE;
void warn_config(struct config *c);
PRINTF_LIKE(5, 6)
void warn_add(struct config *c, bool fails_verify, const char *key, const char *msg,
    const char *explain_fmt, ...);

/* Go's name of a TLS version to "1.2" or "1.3"; "" to NULL; lower ones are raised. */
enum ec resolve_tls_version(
    struct config *c, const char *prefix, const char **version, struct err *err) MUST_USE;
/* Suites and client-auth types that Go knows. */
enum ec validate_tls_names(const char *suites, const char *client_auth_type, struct err *err)
    MUST_USE;

/* The gateway section without its files; then the files. */
enum ec resolve_gateway(struct config *c, struct err *err) MUST_USE;
enum ec load_gateway(struct config *c, struct err *err) MUST_USE;
/* tenants.yaml: the list below `tenants`. rbac.yaml: the map itself; root may be NULL. A tenant
 * that is broken is kept and says why; what makes the list useless is an error. */
enum ec tenants_read(struct config *c, const struct node *list, struct err *err) MUST_USE;
enum ec rbac_read(struct config *c, const struct node *root, struct err *err) MUST_USE;

/* generator.c: what the key tables alone cannot say. resolve_generator: the block, and the defaults
 * of overrides. resolve_tenant_generator: what an entry set (a subtree of its shape) lies over the
 * block, or over the defaults when it inherits them. */
enum ec resolve_generator(struct config *c, struct err *err) MUST_USE;
enum ec resolve_tenant_generator(const struct config *c, struct arena *arena,
    struct config_tenant_generator *t, struct err *err) MUST_USE;
void inherit_generator(const struct config *c, bool all, struct config_tenant_generator *t);
/* remote_write.c: the endpoints. */
enum ec resolve_remote_write(struct config *c, struct err *err) MUST_USE;
enum ec resolve_pairs(
    struct arena *arena, const struct node *n, struct config_pairs *ret, struct err *err) MUST_USE;
/* forwarders.c: distributor.forwarders. */
enum ec resolve_forwarders(struct config *c, struct err *err) MUST_USE;
/* attribution.c: dimensions, a map or NULL, into l. */
enum ec resolve_dimensions(
    struct arena *arena, const struct node *n, struct config_limits *l, struct err *err) MUST_USE;

/* The limits of `overrides.defaults`. */
enum ec resolve_limits(struct config *c, struct err *err) MUST_USE;
uint64_t memory_budget_default(void);
uint64_t memory_cgroup_limit(void); /* 0: none */
