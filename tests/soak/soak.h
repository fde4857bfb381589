/* soak.h - the parts that the processes of a soak play, and what they share.
 *
 * Each publisher speaks in every room, and what message number N of publisher P in room R
 * is, is known to all (soak_body): whoever reads can tell whether anything is missing,
 * doubled, out of order or changed.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/chat.h"
#include "protocol/base.h"
#include "protocol/limits.h"

#define N_ROOMS      4
#define N_PUBLISHERS 3
#define N_VERIFIERS  2
#define N_TOURISTS   2

/* Said by a publisher and not received by every verifier yet, bytes. All publishers
 * together stay within what a room keeps (ROOM_BYTES), so that a verifier never meets a
 * GAP, be it as slow as it may. */
#define WINDOW     ((uint64_t)1 << 20)
#define ROOM_BYTES "8M"

/* Bytes that a message takes beside its body, at most. */
#define MESSAGE_OVERHEAD 128

#define UNKNOWN UINT64_MAX

/* Victims that may speak at the same time: what one had sent before it was killed is read
 * in turns with what those that came after it say. */
#define VICTIMS_MAX 4

/* What a reader of a room has had. */
struct track {
	uint64_t seq;                /* comes next; 0: any */
	uint64_t next[N_PUBLISHERS]; /* comes next of each publisher, or UNKNOWN */
	uint64_t victim;             /* the first that was heard; 0: none was */
	struct {
		uint64_t number, next; /* of it */
	} victims[VICTIMS_MAX];
};

/* Where a tourist stands; it may be killed between any two instructions. */
struct tour {
	struct track tracks[2];
	_Atomic unsigned now; /* which of them is whole */
};

/* Lies in memory that all processes map. Each member has one writer. */
struct shared {
	_Atomic bool is_over; /* everything was said: read it all, and end */
	_Atomic uint64_t sent[N_PUBLISHERS][N_ROOMS];
	_Atomic uint64_t sent_bytes[N_PUBLISHERS];
	_Atomic uint64_t got_bytes[N_VERIFIERS][N_PUBLISHERS];
	_Atomic uint64_t n_verified[N_VERIFIERS];
	_Atomic uint64_t last_seq[N_ROOMS]; /* of the last message, once it is over */

	struct tour tours[N_TOURISTS][N_ROOMS];
	_Atomic uint64_t n_toured[N_TOURISTS], n_rejoined[N_TOURISTS], n_missed[N_TOURISTS];

	_Atomic uint64_t n_victims;
	_Atomic uint64_t n_echoes, worst_echo_us, n_requests, n_plain;
	_Atomic uint64_t n_slept, n_slept_over; /* of the sleeper: received, and told by GAP */
};

extern struct shared *shared;
extern const char *soak_socket;

/* Say what is wrong and exit with 1, in whatever process. */
_Noreturn _printf_(1, 2) void die(const char *format, ...);

uint64_t clock_us(void);

/* The room's name. */
const char *room_name(unsigned room);

/* ---- body.c ---- */

/* Compose message N; returns its length. BODY holds BODY_LEN_MAX bytes. */
size_t body_make(char *body, unsigned publisher, unsigned room, uint64_t n);

/* EVENT is the next message of ROOM for a reader with this track; dies if it is not.
 * Returns the publisher, -1 when it is somebody else's. */
int track_take(struct track *track, unsigned room, const struct chat_event *event);

/* Of a reader that has had nothing yet. */
void track_forget(struct track *track);

/* FROM to TO were taken away by retention. */
void track_skip(struct track *track, uint64_t from, uint64_t to);

/* ---- the parts; each returns when it is over ---- */

/* Tell who waits at STOOD that this part is ready. */
void soak_stand(int stood);

/* Says N_MESSAGES in bursts and alone, as fast as the verifiers read. */
void play_publisher(unsigned publisher, uint64_t n_messages);
/* Reads all rooms from the start to the end. */
void play_verifier(unsigned verifier, int stood);
/* Joins, leaves and comes back to where it was; may be killed at any time. Waits on
 * NEVER, which is readable at the end. */
void play_tourist(unsigned tourist, int never);
/* Speaks and reads until it is killed. */
void play_victim(uint64_t victim);
/* Does not read while more is said than is kept; then counts. */
void play_sleeper(void);
/* Conversations, requests, presence, plain sessions. */
void play_talker(int stood);
