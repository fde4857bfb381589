/* cache.h - cold segments that were read back, because somebody reads there.
 *
 * Each is a log of its own, of one segment, so it is read as every log is. The loop asks for one,
 * and a session that needs it waits until a thread has read and checked it. The account for which
 * most was read back loses its least recently used ones first.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "broker/cold.h"
#include "broker/list.h"
#include "broker/log.h"
#include "broker/worker.h"

struct archive_damage;
struct errands;
struct room;
struct session;
struct store;
struct stored;
struct user;

/* Bytes that are kept: those of 64 busy readers of the past. */
#define CACHE_BYTES (64u << 20)

/* What could not be read, for a reason that may go, is tried again so much later, ns. */
#define CACHE_RETRY_NS (UINT64_C(1) * 1000000000)

struct cache {
	struct store *store;
	struct errands *errands;
	struct list entries;
	struct list accounts; /* that have some: their quota_account.cached */
	uint64_t bytes;
	unsigned n_failed; /* entries that could not be read */
};

void cache_init(struct cache *cache, struct store *store, struct errands *errands);
/* Behind errands_deinit(). */
void cache_deinit(struct cache *cache);

enum {
	CACHE_E_WAIT = 1, /* it is on the disk: cache_fetch() it */
	CACHE_E_HOLE,     /* it is nowhere */
};

/* Numbers that are nowhere: from FIRST on, before NEXT. */
struct hole {
	uint64_t first, next;
};

/* The log that has record SEQ of ROOM: its own, or that of a segment which was read back. That
 * one is borrowed until the round is over. What is at or behind the room's end is its own log's.
 * Returns 0, an outcome (with *ret_hole), or why it could not be read: -errno. */
int room_log_at(struct room *room, uint64_t seq, struct log **ret_log, struct hole *ret_hole);

/* Have record SEQ of ROOM read back for USER. SESSION, unless NULL, waits for it, and is woken; as
 * are the cursors of the room that stand there. Returns 0 or -ENOMEM. */
int cache_fetch(struct room *room, uint64_t seq, struct user *user, struct session *session);

/* On a thread: have a segment of room ROOM back, whose records are of TARGET, from the state
 * directory PATH. The function repairs damaged records as far as possible, also in the file.
 * Returns 0, ARCHIVE_E_BROKEN, when the file was put aside, or -errno. */
int segment_read_back(const char *path, uint64_t room, struct text target,
	const struct segment_image *image, struct log *log, struct archive_damage *ret_damage);

/* In the loop: say that N_LOST records of that segment were damaged, which was found for USER. If
 * IS_HOLE all of them were, and it is a hole from now on. */
void stored_note_damage(struct stored *stored, const struct segment_image *image, struct user *user,
	bool is_hole, uint64_t n_lost);

/* The number of the first record of ROOM at or after TIME ns, or of the next one. Returns 0, or
 * CACHE_E_WAIT with a number that is to be fetched, or -errno. */
int room_find_time(struct room *room, uint64_t time, uint64_t *ret_seq);

/* The oldest number that is kept. */
uint64_t room_first(const struct room *room);

/* Place a cursor before record SEQ, at or above room_first(). */
void room_seek(const struct room *room, uint64_t seq, struct log_cursor *ret_cursor);

/* Evict segments until the cache is within its limits. Call cache_trim() before a segment is
 * borrowed. */
void cache_trim(struct cache *cache);

/* What failed is tried again, if somebody wants it, when its time has come. Returns the ns until
 * then, or UINT64_MAX. */
uint64_t cache_expire(struct cache *cache, uint64_t now);
