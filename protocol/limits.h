/* limits.h - the limits that are part of the protocol: value, unit, reason.
 *
 * Limits that an administrator sets are in broker/settings.c.
 */
#pragma once

/* Bytes in one packet, either way. A page-multiple that leaves three of the
 * largest packets in a default send buffer (212992 bytes); a packet above the
 * buffer would be EMSGSIZE for ever. */
#define PACKET_LEN_MAX 65536

/* Bytes in one body: with its MSG header, its record and "BATCH\n" it must fit
 * PACKET_LEN_MAX. The longest MSG line is under 400 bytes. */
#define BODY_LEN_MAX 64000

/* Bytes of a frame before its body. Fits the longest reason or command anyone
 * types, and bounds what is parsed before anything is known of the sender. */
#define LINE_LEN_MAX 1024

/* Words in a line, the verb included. HELLO, the longest, has 6; the rest is
 * room for key=value words of later versions. */
#define FRAME_WORDS_MAX 32

#define TAG_LEN_MAX  16
#define NAME_LEN_MAX 32 /* as Linux login names, see useradd(8) */
#define ROOM_LEN_MAX 64

/* "@a+b", two names: the longest target there is. */
#define TARGET_LEN_MAX (2 * NAME_LEN_MAX + 2)

/* An answer to a plain session: what a program with a ten-byte buffer can read. */
#define PLAIN_ANSWER_MAX 10

/* Publishers of a room whose last id= is remembered: see "Once and only once". */
#define PUBLISHERS_MAX 1024

/* Readers of a room up to which presence is told: beyond it, it is noise. */
#define PRESENCE_READERS_MAX 256

/* Values that a room keeps, and bytes of one: settings, topics, cards; all of them fit one
 * answer. */
#define VALUES_MAX    24
#define VALUE_LEN_MAX 2048

/* Rows and bytes of one page of PAST, WHO, ROOMS or STATS: it fits the answer buffer. */
#define ANSWER_ROWS_MAX 256
#define ANSWER_LEN_MAX  65536

/* Answers kept for a session that does not read them; then it is not read. */
#define ANSWERS_HELD_MAX 65536
