/* SPDX-License-Identifier: Apache-2.0
 * The ledger: requests by formula, and the comparison. */
#include "ledger.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "model/otlp_write.h"
#include "storage/span_read.h"

/* A name in hex, one that needs escaping, and one that is too long for hex. */
const char *const ledger_tenants[LEDGER_TENANTS] = {"a", "b/../a",
    "long-long-long-long-long-long-long-long-long-long-long-long-long-long-long-long-long-long-"
    "long-long-long-long-long-long-long-long-long"};

static struct str tenant_of(const struct ledger *l, uint32_t r)
{
    return str_from(ledger_tenants[l->r[r].tenant]);
}

static uint64_t span_id_of(uint32_t tenant, uint32_t r, uint32_t i)
{
    return (uint64_t)(tenant + 1) << 48 | (uint64_t)r << 16 | (i + 1);
}

/* Traces have parts in two requests. */
static struct trace_id trace_of(uint32_t tenant, uint32_t r)
{
    struct trace_id id;
    uint64_t h = hash_mix((uint64_t)tenant << 32 | (r / 2 + 1));
    put_u64be(id.b, h | 1);
    put_u64be(id.b + 8, hash_mix(h) | 1);
    return id;
}

static void payload_fill(char *p, uint32_t n, uint32_t r)
{
    uint64_t h = r;
    for (uint32_t i = 0; i < n; i++) {
        if (i % 8 == 0)
            h = hash_mix(h + 0x9e3779b97f4a7c15ULL);
        p[i] = (char)('!' + (h >> (i % 8 * 8) & 63));
    }
}

void ledger_encode(const struct ledger *l, uint32_t r, struct buf *out)
{
    const struct request *q = &l->r[r];
    struct trace_id trace = trace_of(q->tenant, r);
    struct str tenant = tenant_of(l, r);
    char raw[16], name[32];
    size_t rs = pb_begin(out, 1), resource = pb_begin(out, 1);
    pb_put_attr(out, 1, STR("service.name"), &(struct value){.type = VALUE_STR, .s = tenant});
    pb_end(out, resource);
    size_t ss = pb_begin(out, 2);
    for (uint32_t i = 0; i < q->n_spans; i++) {
        uint64_t id = span_id_of(q->tenant, r, i);
        size_t span = pb_begin(out, 2);
        pb_put_bytes(out, 1, str_n((const char *)trace.b, 16));
        put_u64be(raw, id);
        pb_put_bytes(out, 2, str_n(raw, 8));
        int n = snprintf(name, sizeof(name), "op-%u", (unsigned)(id % 17));
        pb_put_bytes(out, 5, str_n(name, (size_t)n));
        pb_put_varint(out, 6, 2);
        pb_put_fixed64(out, 7, q->start_ns + i * 1000);
        pb_put_fixed64(out, 8, q->start_ns + i * 1000 + 500);
        pb_put_attr(out, 9, STR("who"), &(struct value){.type = VALUE_STR, .s = tenant});
        if (i == 0 && q->payload > 0) {
            CLEANUP(freep) char *p = xmalloc(q->payload);
            payload_fill(p, q->payload, r);
            pb_put_attr(out, 9, STR("noise"),
                &(struct value){.type = VALUE_STR, .s = str_n(p, q->payload)});
        }
        pb_end(out, span);
    }
    pb_end(out, ss);
    pb_end(out, rs);
}

static void ledger_done(void *arg, enum ec ec, const struct err *err)
{
    struct ledger_ack *a = arg;
    (void)err;
    ASSERT(!a->answered);
    a->answered = true;
    if (ec == EC_OK)
        a->ledger->r[a->r].fate = FATE_ACKED;
}

enum ec ledger_append(
    struct ledger *l, struct sim_world *w, uint32_t r, struct ledger_ack *ack, struct err *err)
{
    struct buf b = BUF_INIT;
    struct arena arena;
    struct batch batch;
    struct request *q = &l->r[r];
    ASSERT(r < l->n);
    if (q->fate == FATE_GONE)
        q->fate = FATE_SENT;
    q->sends++;
    q->expired = false;
    q->arrival_ns = w->wall_ns;
    *ack = (struct ledger_ack){.ledger = l, .r = r};
    ledger_encode(l, r, &b);
    arena_init(&arena, NULL, 0);
    enum ec ec = batch_decode(&batch, buf_bytes(&b), &(struct batch_limits){0}, &arena, err);
    ASSERT(ec == EC_OK);
    struct sim_world *before = sim_world_enter(w);
    ec = store_append(w->s, tenant_of(l, r), &batch, ledger_done, ack, err);
    sim_world_enter(before);
    arena_deinit(&arena);
    buf_deinit(&b);
    return ec;
}

void ledger_expire(struct ledger *l, int64_t before_ns)
{
    for (uint32_t r = 0; r < l->n; r++) {
        struct request *q = &l->r[r];
        int64_t end = (int64_t)q->start_ns + LEDGER_SPANS * 1000;
        if (MAX(end, q->arrival_ns) < before_ns)
            q->expired = true;
    }
}

/* Comparison. */

struct seen {
    uint8_t count[LEDGER_REQUESTS][LEDGER_SPANS];
    struct ledger_damage *damage; /* NULL: none is excused */
    char *why;
    size_t cap;
};

static bool wrong(const struct seen *s, const char *what, uint64_t id)
{
    snprintf(s->why, s->cap, "%s: tenant %u, request %u, span %u", what, (unsigned)(id >> 48) - 1,
        (unsigned)(id >> 16 & 0xffffffff), (unsigned)(id & 0xffff) - 1);
    return false;
}

static bool payload_equal(const struct request *q, uint32_t r, const struct read_span *s)
{
    if (s->n_attrs != 2 || s->attrs[1].value.type != VALUE_STR ||
        s->attrs[1].value.s.n != q->payload)
        return false;
    CLEANUP(freep) char *p = xmalloc(q->payload);
    payload_fill(p, q->payload, r);
    return memcmp(p, s->attrs[1].value.s.p, q->payload) == 0;
}

static bool span_check(
    const struct ledger *l, uint32_t tenant, const struct read_span *s, struct seen *seen)
{
    uint64_t id = s->span_id;
    uint32_t r = (uint32_t)(id >> 16), i = (uint32_t)(id & 0xffff) - 1;
    char name[32];
    if (r >= l->n || i >= l->r[r].n_spans)
        return wrong(seen, "a span that was never sent", id);
    const struct request *q = &l->r[r];
    if (id >> 48 != tenant + 1u || q->tenant != tenant)
        return wrong(seen, "a span of another tenant", id);
    struct trace_id trace = trace_of(tenant, r);
    snprintf(name, sizeof(name), "op-%u", (unsigned)(id % 17));
    bool payload = i == 0 && q->payload > 0;
    if (!trace_id_eq(&s->trace_id, &trace) || !str_eqz(s->name, name) ||
        s->start_ns != q->start_ns + i * 1000 || s->end_ns - s->start_ns != 500 || s->kind != 2 ||
        s->n_attrs != (payload ? 2u : 1u) || s->attrs[0].value.type != VALUE_STR ||
        !str_eqz(s->attrs[0].value.s, ledger_tenants[tenant]) ||
        (payload && !payload_equal(q, r, s)))
        return wrong(seen, "a span is not what was sent", id);
    if (++seen->count[r][i] > q->sends)
        return wrong(seen, "a span is there more often than it was sent", id);
    return true;
}

static bool part_check(
    const struct ledger *l, uint32_t tenant, struct part *part, struct seen *seen)
{
    struct part_reader *reader;
    struct part_info info;
    struct arena arena;
    struct err err = {0};
    enum ec ec = part_reader_open(part, NULL, &reader, &err);
    if (ec != EC_OK && seen->damage != NULL) {
        seen->damage->unreadable++;
        return true;
    }
    if (ec != EC_OK) {
        snprintf(seen->why, seen->cap, "a part cannot be opened: %s", err_msg(&err));
        return false;
    }
    part_info(reader, &info);
    arena_init(&arena, NULL, 0);
    bool good = true;
    if (info.n_rows > 0) {
        uint32_t *rows = ARENA_ARRAY(&arena, info.n_rows, uint32_t);
        struct read_span *spans = ARENA_ARRAY(&arena, info.n_rows, struct read_span);
        for (uint32_t i = 0; i < info.n_rows; i++)
            rows[i] = i;
        ec = span_read(reader, rows, info.n_rows, &arena, spans, &err);
        if (ec != EC_OK && seen->damage != NULL) {
            seen->damage->unreadable++;
            info.n_rows = 0;
        } else if (ec != EC_OK) {
            snprintf(seen->why, seen->cap, "a part cannot be read: %s", err_msg(&err));
            good = false;
        }
        for (uint32_t i = 0; i < info.n_rows && good; i++)
            good = span_check(l, tenant, &spans[i], seen);
    }
    arena_deinit(&arena);
    part_reader_close(reader);
    return good;
}

static bool request_check(struct ledger *l, uint32_t r, bool decide, struct seen *seen)
{
    struct request *q = &l->r[r];
    uint64_t id = span_id_of(q->tenant, r, 0);
    uint32_t there = 0;
    for (uint32_t i = 0; i < q->n_spans; i++)
        there += seen->count[r][i] > 0;
    if (there != 0 && there != q->n_spans)
        return wrong(seen, "a request is there in part", id);
    if (seen->damage != NULL) {
        seen->damage->lost += there == 0 && q->fate == FATE_ACKED && !q->expired;
        return true;
    }
    if (there == 0 && q->fate == FATE_ACKED && !q->expired)
        return wrong(seen, "an acknowledged request is lost", id);
    if (there != 0 && q->fate == FATE_GONE)
        return wrong(seen, "a request came back from the dead", id);
    /* Missing because it is too old says nothing: a catalog made again may show it once more, until
     * retention runs, as it may show what was acknowledged. */
    if (decide && q->fate == FATE_SENT && (there != 0 || !q->expired))
        q->fate = there != 0 ? FATE_ACKED : FATE_GONE;
    return true;
}

bool ledger_check(struct ledger *l, struct sim_world *w, bool decide, struct ledger_damage *damage,
    char *ret_why, size_t cap)
{
    static struct seen seen; /* large; one thread */
    struct err err = {0};
    memset(seen.count, 0, sizeof(seen.count[0]) * l->n);
    seen.damage = damage;
    seen.why = ret_why;
    seen.cap = cap;
    struct sim_world *before = sim_world_enter(w);
    bool good = true;
    for (uint32_t t = 0; t < LEDGER_TENANTS && good; t++) {
        struct snapshot snap;
        if (store_snapshot(w->s, str_from(ledger_tenants[t]), &snap, &err) != EC_OK) {
            snprintf(ret_why, cap, "no snapshot: %s", err_msg(&err));
            good = false;
            break;
        }
        for (size_t i = 0; i < snap.n && good; i++)
            good = part_check(l, t, snap.parts[i], &seen);
        snapshot_release(&snap);
    }
    sim_world_enter(before);
    for (uint32_t r = 0; r < l->n && good; r++)
        good = request_check(l, r, decide, &seen);
    return good;
}
