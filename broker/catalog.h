/* catalog.h - what a checkpoint leaves: rooms, their segments, values, read marks and
 * publishers, in one SQLite file.
 *
 * It is written as a whole, in one transaction, and says from which file on the journal is to be
 * read; see journal.h. These functions block.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "broker/log.h"
#include "protocol/text.h"

struct sqlite3;
struct sqlite3_stmt;

#define CATALOG_NAME "state.db"

/* What can be changed. */
enum catalog_statement {
	CATALOG_PUT_ROOM,
	CATALOG_PUT_SEGMENT,
	CATALOG_DROP_SEGMENTS,
	CATALOG_PUT_PUBLISHER,
	CATALOG_DROP_PUBLISHERS,
	CATALOG_PUT_MARK,
	CATALOG_DROP_ROOM,
	CATALOG_DROP_NAMES,
	CATALOG_PUT_NAME,
	CATALOG_DROP_VALUES,
	CATALOG_PUT_VALUE,
	CATALOG_SET_JOURNAL,
	CATALOG_STATEMENTS,
};

struct catalog {
	struct sqlite3 *db; /* NULL: closed */
	int64_t format;
	struct sqlite3_stmt *statements[CATALOG_STATEMENTS];
};

#define CATALOG_WHY_MAX 256

enum {
	CATALOG_E_FORMAT = 1, /* of a later version, or not ours */
	CATALOG_E_SQLITE,     /* SQLite refused; WHY says it */
	CATALOG_E_FULL,       /* there is no space */
};

/* Open DIRECTORY/state.db, which is made; if IS_INSPECTED, one of the format before stays so.
 * Returns 0 or an outcome with WHY filled in. */
int catalog_open(struct catalog *catalog, const char *directory, bool is_inspected,
	char why[static CATALOG_WHY_MAX]);
void catalog_close(struct catalog *catalog);

struct catalog_room {
	uint64_t id;
	struct text key;
	uint64_t target_len;
	uid_t owner;
	uid_t party[2];
	uint64_t next;
	uint64_t last_time;
	uint32_t number; /* of its newest segment */
};

struct catalog_publisher {
	uint64_t label;
	uid_t uid;
	uint64_t id, seq;
};

struct catalog_value {
	struct text key, author, text;
	uid_t uid;
	uint64_t version;
};

/* Of all rooms, in this order; each returns 0 or what the reading is to end with. */
struct catalog_reader {
	int (*room)(void *userdata, const struct catalog_room *room);
	int (*segment)(void *userdata, uint64_t room, const struct segment_image *image);
	int (*publisher)(void *userdata, uint64_t room, const struct catalog_publisher *publisher);
	int (*mark)(void *userdata, uint64_t room, uid_t uid, uint64_t seq);
	int (*value)(void *userdata, uint64_t room, const struct catalog_value *value);
	int (*name)(void *userdata, struct text name, uid_t uid, uint64_t used_at);
};

/* Read everything. Returns 0, an outcome with WHY filled in, or what READER returned. */
int catalog_read(struct catalog *catalog, const struct catalog_reader *reader, void *userdata,
	uint64_t *ret_generation, char why[static CATALOG_WHY_MAX]);

/* Change it: nothing is there before catalog_commit() returned 0. Each returns 0 or an
 * outcome; after one the transaction is to be given up. */
int catalog_begin(struct catalog *catalog);
int catalog_put_room(struct catalog *catalog, const struct catalog_room *room);
int catalog_put_segment(struct catalog *catalog, uint64_t room, const struct segment_image *image);
int catalog_drop_segments(struct catalog *catalog, uint64_t room, uint32_t before);
int catalog_put_publisher(
	struct catalog *catalog, uint64_t room, const struct catalog_publisher *publisher);
/* Of a room, those whose last message is before SEQ. */
int catalog_drop_publishers(struct catalog *catalog, uint64_t room, uint64_t seq);
int catalog_put_mark(struct catalog *catalog, uint64_t room, uid_t uid, uint64_t seq);
/* The values of a room, all of them anew. */
int catalog_drop_values(struct catalog *catalog, uint64_t room);
int catalog_put_value(struct catalog *catalog, uint64_t room, const struct catalog_value *value);
/* With all that is its own. */
int catalog_drop_room(struct catalog *catalog, uint64_t room);
/* Names that users have taken, all of them anew; USED_AT is in s since the epoch. */
int catalog_drop_names(struct catalog *catalog);
int catalog_put_name(struct catalog *catalog, struct text name, uid_t uid, uint64_t used_at);
int catalog_set_journal(struct catalog *catalog, uint64_t generation);
int catalog_commit(struct catalog *catalog);
void catalog_give_up(struct catalog *catalog);

/* What SQLite said last. */
const char *catalog_error(const struct catalog *catalog);
