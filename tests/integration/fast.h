/* fast.h - both sides of the fast path, packet by packet: chat-ring(7).
 *
 *	struct publisher publisher;
 *	struct raw *reader;
 *
 *	publisher_open(&publisher, broker, "room");
 *	reader = fast_join(broker, getuid(), "room");
 *	raw_expect(reader, "RING room ~");
 *	publisher_put(&publisher, 1, "hello");
 *	publisher_close(&publisher);
 */
#pragma once

#include "tests/integration/harness.h"

#include "protocol/ring.h"
#include "protocol/sealed.h"

/* The rings made here: the smallest there are. */
#define FAST_RING_LEN (RING_HEADER_LEN + RING_CAPACITY_MIN)

/* A publisher that keeps the rules, but for what a test does to its ring. */
struct publisher {
	struct raw *raw; /* owned by the harness, as all of them */
	struct sealed control, memory;
	struct ring_writer writer;
};

/* FAST, and its page, taken; TOOK, "#t", is not yet answered. Returns the page's
 * descriptor, which RAW owns until its next packet. */
int fast_open(struct raw *raw);

/* A new client of UID, "r3ader", that follows the rings of ROOM. */
struct raw *fast_join(const struct broker *broker, uid_t uid, const char *room);

/* A ring that nobody was offered yet, to be closed with sealed_close(). */
void fast_make_ring(struct sealed *ret_memory, struct ring_writer *ret_writer);

/* A new client, "sp3aker" with pub=abc or said by HELLO's WORDS, that has offered its
 * ring for ROOM. */
void publisher_open(struct publisher *publisher, const struct broker *broker, const char *room);
void publisher_open_as(struct publisher *publisher, const struct broker *broker, const char *room,
	const char *words);
/* Open a publisher as publisher_open_as() does, for another user; the test must run as root. */
void publisher_open_user(struct publisher *publisher, const struct broker *broker, uid_t uid,
	const char *room, const char *words);
void publisher_close(struct publisher *publisher);

/* The same client, "sp3aker" with pub=abc, on a new connection, once the test closed the
 * old one; its ring is not offered yet. */
void publisher_again(struct publisher *publisher, const struct broker *broker);

/* One record, with the publisher's own number. */
void publisher_put(struct publisher *publisher, uint64_t number, const char *body);

/* The row of the first ring, as STATS has it, must come to be like PATTERN; nothing is
 * looked for among what else comes. */
void fast_await_row(struct raw *raw, const char *pattern);
