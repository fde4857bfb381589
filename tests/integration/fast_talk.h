/* fast_talk.h - what chats of libchat say and hear through rings; as talk.h. */
#pragma once

#include "protocol/ring.h"
#include "tests/integration/talk.h"

#define FREE (CHAT_FAST | CHAT_EPHEMERAL)

/* What fits no ring: a reader that takes none of it is overtaken. */
#define FLOOD_BODY 16000
#define FLOOD      (2 * RING_CAPACITY_DEFAULT / FLOOD_BODY)

void join_fast(struct chat *chat, const char *room, unsigned flags);
void put(struct chat *chat, const char *room, unsigned flags, const char *body);
void flush(struct chat *chat);

/* The next message must say BODY. Returns whether it came through a ring. */
bool expect_body(struct chat *chat, const char *body);

/* Say it until it comes through the ring: the way there is asked for in passing. */
void warm_up(struct chat *chat, struct chat *reader, const char *room, unsigned flags);

void put_numbers(
	struct chat *chat, const char *room, unsigned flags, unsigned first, unsigned last);

/* Say SEQ in a message of FLOOD_BODY bytes. */
void put_large(struct chat *chat, const char *room, unsigned flags, unsigned seq);
