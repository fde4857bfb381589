/* ring.h - the ring of one publisher: a log that readers of other processes map.
 *
 * chat-ring(7) is the norm. One writer; any number of readers, which write nothing and
 * which nobody waits for: one that is overtaken finds out, and repairs itself from the
 * broker's log. No lock, no list and no reader's place is in here. Pure: the memory is
 * the caller's, nothing here calls the kernel, and waking somebody is waker.h.
 *
 *	header, 4 KiB: what it is; the horizon; the mark and the state
 *	data, CAPACITY bytes: records that start on lines of 64 bytes
 *
 * Positions count bytes since the beginning and never wrap; modulo the capacity they are
 * places in the data. What lies CAPACITY bytes below the horizon or deeper may be
 * overwritten at any moment: the writer moves the horizon before it writes up to it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/limits.h"

#define RING_MAGIC      UINT64_C(0x31676e6972746863) /* "chtring1" */
#define RING_ABI        1
#define RING_HEADER_LEN 4096
#define RING_LINE       64 /* records start on one: a cache line */
#define RING_BLOCKS     8  /* the horizon moves by a block, an eighth of the capacity */

/* Bytes of data, a power of two. The least holds every message twice and a block; see
 * ring_put(). */
#define RING_CAPACITY_MIN     (256u << 10)
#define RING_CAPACITY_MAX     (16u << 20)
#define RING_CAPACITY_DEFAULT (4u << 20)

/* The header; chat-ring(7), section LAYOUT. Only the writer stores into it. */
struct ring_header {
	uint64_t magic;
	uint32_t abi;
	uint32_t payload_max; /* bytes of a record's payload, at the most */
	uint64_t capacity;
	uint64_t block;
	uint64_t nonce; /* which ring of this publisher it is */
	char reserved0[88];
	uint64_t horizon; /* no byte at or above this position was written yet */
	char reserved1[120];
	uint64_t mark;  /* where a record began, not more than a block ago */
	uint32_t state; /* enum ring_state */
	char reserved2[RING_HEADER_LEN - 268];
};

enum ring_state {
	RING_OPEN,
	RING_CLOSED, /* the writer puts nothing more */
};

/* Before each payload. */
struct ring_record {
	uint32_t commit; /* kind << 28 | bytes; 0: nothing is here yet. Written last */
	uint16_t type;
	uint16_t flags;
	uint64_t seq;  /* in this ring, from 1, without holes */
	uint64_t time; /* ns since the epoch when it was put; 0: not told */
	uint64_t ref;  /* the publisher's number of the message: N of p=PUB:N */
};

enum ring_kind {
	RING_DATA = 1,
	RING_PAD, /* bytes up to the end of the data, to be passed over */
};

#define RING_KIND_SHIFT 28
#define RING_BYTES_MASK ((1u << RING_KIND_SHIFT) - 1)

/* The bytes that a record takes whose payload has LEN bytes. */
static inline size_t ring_record_size(size_t len)
{
	return (sizeof(struct ring_record) + len + RING_LINE - 1) & ~(size_t)(RING_LINE - 1);
}

enum {
	RING_E_EMPTY = 1, /* nothing more was put */
	RING_E_LAPPED,    /* the writer overtook this reader: what it was at is gone */
	RING_E_BAD,       /* the writer broke the rules: believe nothing of it */
	RING_E_FULL,      /* the gate is closed: what would be overwritten is still needed */
};

/* ---- writing ---- */

/* In gate: nobody needs to be waited for. */
#define RING_UNGATED UINT64_MAX

struct ring_writer {
	struct ring_header *header; /* borrowed, as is the data behind it */
	char *data;
	uint64_t capacity, block, payload_max;
	uint64_t pos;     /* where the next record goes */
	uint64_t seq;     /* its number */
	uint64_t horizon; /* as in the header */
	struct {
		uint64_t pos, seq;
	} marks[RING_BLOCKS + 1]; /* the last of them, in a ring of their own */
	unsigned n_marks;
	/* Borrowed: a word of another's page, up to where what was put may be overwritten.
	 * NULL is a gate that is never closed. */
	const uint64_t *gate;
};

/* Make a ring of RING_HEADER_LEN + CAPACITY bytes of zeros at MEMORY, which is aligned to
 * a page. CAPACITY is a power of two within the bounds. */
void ring_writer_init(
	struct ring_writer *ret_writer, void *memory, uint64_t capacity, uint64_t nonce);

/* Put a message of LEN bytes. TYPE and FLAGS are 0 in this version. It can be read when
 * this returns, but nobody is woken. Returns 0, RING_E_FULL, or -EMSGSIZE above
 * payload_max. */
int ring_put(
	struct ring_writer *writer, uint64_t time, uint64_t ref, const void *payload, size_t len);

/* The lowest position at which a record begins that was not overwritten, and its number. */
uint64_t ring_oldest(const struct ring_writer *writer, uint64_t *ret_seq);

/* Put nothing more. */
void ring_close(struct ring_writer *writer);

/* ---- reading ---- */

struct ring_reader {
	const struct ring_header *header; /* borrowed, as is the data behind it */
	const char *data;
	uint64_t capacity, payload_max;
	uint64_t pos;
	uint64_t seq; /* of the next record; 0: whatever comes first */
};

/* Read the ring of LEN bytes at MEMORY from position POS and number SEQ on. Returns 0 or
 * RING_E_BAD. What the header says is looked at once and must agree with LEN; that a
 * record begins at POS is the caller's word. */
int ring_reader_init(
	struct ring_reader *ret_reader, const void *memory, size_t len, uint64_t pos, uint64_t seq);

/* Go to the mark: a record begins there that was put not long ago. Its number is found
 * out with it. Returns 0 or RING_E_BAD. */
int ring_reader_seek(struct ring_reader *reader);

/* The position that nothing in the ring lies beyond, as its writer has it. */
uint64_t ring_reader_horizon(const struct ring_reader *reader);

/* Bytes of a batch at which no further record is added: they are read while they are still
 * near the processor. */
#define RING_BATCH_LEN (16u << 10)

/* Records that were copied out and proved: nobody else can change them any more. */
struct ring_batch {
	const char *at, *end;
};

struct ring_message {
	uint64_t seq, time, ref;
	const char *payload;
	size_t len;
};

/* The least that the buffer of ring_get() must hold. */
#define RING_BUFFER_MIN                                                                            \
	((sizeof(struct ring_record) + BODY_LEN_MAX + RING_LINE) & ~(RING_LINE - 1u))

/* Copy up to N_MAX records that lie together to BUFFER, of SIZE bytes, at least
 * RING_BUFFER_MIN, aligned to 8, and move behind them. Returns 0 with at least one,
 * RING_E_EMPTY, RING_E_LAPPED (go on with ring_reader_seek()) or RING_E_BAD, after a
 * number of steps that SIZE bounds, whatever the writer does. */
int ring_get(struct ring_reader *reader, char *buffer, size_t size, unsigned n_max,
	struct ring_batch *ret_batch);

/* Is there something, or has the reader been overtaken? A hint: one load. */
bool ring_is_ready(const struct ring_reader *reader);

/* The next record of a batch. False at its end. */
bool ring_batch_next(struct ring_batch *batch, struct ring_message *ret_message);

/* True when the writer said that it puts nothing more, and all was read before that:
 * ask before ring_get(), which is then RING_E_EMPTY for good. */
bool ring_is_closed(const struct ring_reader *reader);
