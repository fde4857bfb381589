/* simulator.h - what the parts of the simulator share: the world (world.c), who said what
 * and who must have heard it (oracle.c), and the actors (simulator.c).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/broker.h"
#include "client/chat.h"
#include "protocol/base.h"

/* ---- the world: a broker, a clock, chance ---- */

struct world {
	struct broker broker;
	struct broker_config config;
	bool is_up;
	bool is_strange;   /* it is of another user, so nobody has a semaphore */
	bool is_short;     /* of descriptors and memory */
	bool has_cuts;     /* connections are lost one by one, too */
	unsigned epoch;    /* brokers so far */
	unsigned n_rounds; /* that the step in hand took */
	char dir[64], path[80], aside[80];
};

extern struct world world;

/* Print SEED, the words and the last steps, and exit. */
_Noreturn _printf_(1, 2) void fail(const char *format, ...);

/* Put a line into the history. */
_printf_(1, 2) void note(const char *format, ...);

/* A number below N, from the seed. */
uint32_t chance(uint32_t n);

void world_init(uint64_t seed, bool has_cuts);
void world_deinit(void);

/* A broker at the path; how it ends: as after kill -9, or told to stop. */
void world_start(void);
void world_end(bool is_killed);

/* N rounds of the broker, if there is one, up to STEP_US apart. */
void world_rounds(unsigned n, unsigned step_us);

/* Another step begins: it has a number of rounds of its own. */
void world_step(void);

/* Has this very broker that ring, and its publisher the connection? */
bool world_has_ring(uint64_t nonce);

/* Nobody is connected, all rings are gone: count again. */
void world_audit(void);

/* Implemented by simulator.c: somebody waits, so others may act. */
void meanwhile(void);

/* ---- the oracle ---- */

enum {
	ROOM_KEPT, /* archived */
	ROOM_FREE, /* ephemeral */
	ROOMS,
};

extern const char *const room_names[ROOMS];

#define VOICES_MAX    128 /* publishers, from open to close, in one run */
#define BODY_MAX      16000
#define VOICE_UNKNOWN UINT32_MAX

/* What one reader has of one voice in one room. */
struct ear {
	unsigned last;      /* number of the message that was heard last */
	unsigned credit;    /* missed since, as gaps told */
	unsigned free_to;   /* what need not be heard, up to here */
	unsigned forgotten; /* what was had, up to here, but its chat does not know */
};

/* One reader in one room. */
struct seat {
	bool is_joined, is_fast;
	bool was_reset;  /* since it was placed */
	bool had_resets; /* since it sat down */
	bool is_late;    /* it has parted and come again behind what it had */
	unsigned epoch;  /* of the broker when it joined */
	uint64_t seq;    /* of the last message with a number in the log */
	struct ear ears[VOICES_MAX];
};

struct reader {
	struct chat *chat;
	bool is_busy;
	bool is_kicked;
	uint64_t kicked_at;
	char name[24];
	struct seat seats[ROOMS];
	unsigned heard_max[VOICES_MAX][ROOMS]; /* when it was kicked */
};

void oracle_init(void);
void oracle_deinit(void);

/* Somebody begins to speak; VOICE_UNKNOWN when there were too many. */
uint32_t voice_new(const char *name);
void voice_set_chat(uint32_t voice, struct chat *chat);

/* The body of its next message in ROOM, of LEN bytes or a few more; then whether it was
 * said. Returns its length. */
size_t voice_begin(uint32_t voice, unsigned room, size_t len, char *ret_body);
void voice_end(uint32_t voice, unsigned room, bool is_said);

/* A flush of all that was said before returned. */
void voice_flushed(uint32_t voice);
void voice_closed(uint32_t voice);

/* READER sits down. */
enum seating {
	SEAT_NEW,    /* from what is said next */
	SEAT_START,  /* from the beginning of the log */
	SEAT_BEHIND, /* behind what it had, which it did not leave */
	SEAT_LATE,   /* the same, but that it had parted */
};

void reader_seat(struct reader *reader, unsigned room, bool is_fast, enum seating seating);
void reader_leave(struct reader *reader, unsigned room);
void reader_kicked(struct reader *reader);
void reader_heard(struct reader *reader, const struct chat_event *event);

/* It has received all that there is: is anything missing? */
void reader_check(const struct reader *reader);

/* The broker is about to go. */
void oracle_broker_ends(void);

/* Between two steps. */
void oracle_settle(void);
