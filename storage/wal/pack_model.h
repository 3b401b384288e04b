/* SPDX-License-Identifier: Apache-2.0
 * What both directions of packing know: the messages of a request and the elements that it is told
 * in. On disk: never renumber, never change a rule. See FORMAT.md, *Packed requests*. */
#pragma once

#include <assert.h>

#include "pack.h"

/* Messages whose fields are told one by one; all other fields are told whole. */
enum pack_level {
    PACK_REQUEST,
    PACK_RESOURCE_SPANS,
    PACK_RESOURCE,
    PACK_SCOPE_SPANS,
    PACK_SPAN,
    PACK_EVENT,
    PACK_LEVELS,
};

/* Elements that every request begins with. Behind them come those that it brings along: classes
 * (a field's tag, of an attribute the key too) and values (a field as it was sent). */
enum pack_element {
    PACK_END,                                  /* + level: the message ends */
    PACK_OPEN = PACK_END + PACK_LEVELS,        /* + level: a message begins */
    PACK_TRACE_SAME = PACK_OPEN + PACK_LEVELS, /* the trace id before */
    PACK_TRACE_REF,                            /* one that was met */
    PACK_TRACE_NEW,
    PACK_SPAN_REF, /* an id that was met, mostly as a parent */
    PACK_SPAN_NEW,
    PACK_PARENT_REF,
    PACK_PARENT_NEW,
    PACK_START,
    PACK_STOP,
    PACK_EVENT_TIME,
    PACK_FIXED,
};

#define PACK_ELEMENTS_MAX 65535u
#define PACK_CLASSES_MAX  1024u

/* The upper bits of an op: what came when the guess had been right as often as its lower bits say.
 * The guess: what came behind the element before when it was met last. */
enum pack_op {
    PACK_OP_CLASS, /* what came last behind the class of the element before */
    PACK_OP_KNOWN, /* an element by its number */
    PACK_OP_NEW,   /* a new class */
    PACK_OP_RUN,   /* nothing */
};
#define PACK_OP_SHIFT 6u
#define PACK_RUN_MAX  63u

enum pack_stream {
    PACK_OPS,
    PACK_LENGTHS,
    PACK_TEXT,    /* keys and values */
    PACK_NUMBERS, /* of elements, and distances to ids that were met */
    PACK_RAW,     /* ids and times */
    PACK_STREAMS,
};

/* In front of the streams, three bytes little-endian each: of each its bytes, and how many of them
 * the packed request holds: the same number, as they are; fewer, one zstd frame; none, they are in
 * front of the next stream's, in whatever holds those. */
#define PACK_HEAD_BYTES (PACK_STREAMS * 6u)
static_assert(PACK_BYTES_MAX <= 1u << 22, "three times as much has three bytes");

/* What a stream comes to at most for a request of n bytes. A field has two bytes and more, a
 * message that ends had them when it began. Ops: one of each field, each begin and each end.
 * Lengths: two of each field, and of a class two bytes more than the tag that it has in common with
 * its first field. Text: what the fields hold. Numbers: three bytes of each field. Raw: ten bytes
 * for a time of nine. */
static inline size_t pack_stream_room(size_t n, enum pack_stream i)
{
    size_t classes = i == PACK_LENGTHS ? (size_t)2 * PACK_CLASSES_MAX : 0;
    return (i == PACK_NUMBERS ? 3 * n : n + n / 8) + classes + 64;
}

/* Of each level: the one around it, and the tag that opens it there. */
static const uint8_t pack_outer[PACK_LEVELS] = {PACK_REQUEST, PACK_REQUEST, PACK_RESOURCE_SPANS,
    PACK_RESOURCE_SPANS, PACK_SCOPE_SPANS, PACK_SPAN};
static const uint8_t pack_tag[PACK_LEVELS] = {0, 0x0a, 0x0a, 0x12, 0x12, 0x5a};

/* Fields of a span, and of an event, that are elements of their own. */
#define PACK_TAG_TRACE      0x0au
#define PACK_TAG_SPAN       0x12u
#define PACK_TAG_PARENT     0x22u
#define PACK_TAG_START      0x39u
#define PACK_TAG_STOP       0x41u
#define PACK_TAG_EVENT_TIME 0x09u
