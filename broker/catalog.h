/* catalog.h - what a checkpoint leaves: rooms, their segments, values, read marks and
 * publishers, in one SQLite file.
 *
 * A checkpoint writes it in one transaction. The catalog says from which file on the journal is
 * to be read (journal.h), and which rooms were dropped: only their files may be removed. These
 * functions block.
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

/* The first format that says which rooms were dropped. */
#define CATALOG_FORMAT_DROPPED 4

/* What can be changed. */
enum catalog_statement {
	CATALOG_PUT_ROOM,
	CATALOG_PUT_SEGMENT,
	CATALOG_DROP_SEGMENTS,
	CATALOG_PUT_PUBLISHER,
	CATALOG_DROP_PUBLISHERS,
	CATALOG_PUT_MARK,
	CATALOG_DROP_ROOM,
	CATALOG_DROP_KEY,
	CATALOG_NOTE_DROPPED,
	CATALOG_CLEAR_DROPPED,
	CATALOG_DROP_NAMES,
	CATALOG_PUT_NAME,
	CATALOG_DROP_VALUES,
	CATALOG_PUT_VALUE,
	CATALOG_SET_JOURNAL,
	CATALOG_SET_CLOCK,
	CATALOG_STATEMENTS,
};

struct catalog {
	struct sqlite3 *db; /* NULL: closed */
	int64_t format;     /* of the tables that it has */
	char copy[64];      /* a directory with a copy of it, to be removed; "": there is none */
	struct sqlite3_stmt *statements[CATALOG_STATEMENTS];
};

#define CATALOG_WHY_MAX 256

enum {
	CATALOG_E_FORMAT = 1, /* of a later version, or not ours */
	CATALOG_E_SQLITE,     /* SQLite refused; WHY says it */
	CATALOG_E_FULL,       /* there is no space */
	CATALOG_E_ABSENT,     /* there is no file, or it is empty */
	CATALOG_E_DAMAGED,    /* something in it is not as it was written */
	CATALOG_E_COPY,       /* a transaction was cut off, and there is no space for a copy */
};

enum catalog_mode {
	CATALOG_CREATE,  /* for writing; an absent one is made */
	CATALOG_WRITE,   /* for writing; one of an earlier format is brought to this one */
	CATALOG_INSPECT, /* for reading; nothing is changed, whatever was cut off */
};

/* Open DIRECTORY/state.db. Returns 0 or an outcome with WHY filled in. */
int catalog_open(struct catalog *catalog, const char *directory, enum catalog_mode mode,
	char why[static CATALOG_WHY_MAX]);
/* The file NAME of DIRECTORY in its place. */
int catalog_open_as(struct catalog *catalog, const char *directory, const char *name,
	enum catalog_mode mode, char why[static CATALOG_WHY_MAX]);
void catalog_close(struct catalog *catalog);

/* Have a copy of DIRECTORY/state.db in TARGET, as it is between two checkpoints; a broker may run.
 * Returns 0 or an outcome with WHY filled in. */
int catalog_copy_to(const char *directory, const char *target, char why[static CATALOG_WHY_MAX]);

/* The state of the journal, as the catalog records it. */
enum catalog_journal_state {
	CATALOG_JOURNAL_CLOSED,  /* the broker stopped and left no file */
	CATALOG_JOURNAL_OPEN,    /* the file of the generation was made */
	CATALOG_JOURNAL_REBUILT, /* files may be missing: --rebuild was told so */
};

struct catalog_journal {
	uint64_t generation; /* of the first file that is to be read */
	enum catalog_journal_state state;
	uint64_t incarnation; /* part of each log's identity: another one makes them others */
};

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

/* The clock of ages, if it was stored; of all rooms; in this order. Each returns 0 or what the
 * reading is to end with. NULL: these rows are not wanted. */
struct catalog_reader {
	int (*clock)(void *userdata, uint64_t age, uint64_t wall);
	int (*room)(void *userdata, const struct catalog_room *room);
	int (*segment)(void *userdata, uint64_t room, const struct segment_image *image);
	int (*publisher)(void *userdata, uint64_t room, const struct catalog_publisher *publisher);
	int (*mark)(void *userdata, uint64_t room, uid_t uid, uint64_t seq);
	int (*value)(void *userdata, uint64_t room, const struct catalog_value *value);
	int (*name)(void *userdata, struct text name, uid_t uid, uint64_t used_at);
	int (*dropped)(void *userdata, uint64_t room);
};

/* Do its pages fit together? Returns 0 or an outcome with WHY filled in. */
int catalog_check(struct catalog *catalog, char why[static CATALOG_WHY_MAX]);

/* Read what the catalog says of the journal. Returns 0 or an outcome with WHY filled in. */
int catalog_read_journal(struct catalog *catalog, struct catalog_journal *ret_journal,
	char why[static CATALOG_WHY_MAX]);

/* Read everything else. Returns 0, an outcome with WHY filled in, or what READER returned. */
int catalog_read(struct catalog *catalog, const struct catalog_reader *reader, void *userdata,
	char why[static CATALOG_WHY_MAX]);

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
/* With all that is its own. The catalog remembers that it was dropped, and whose files may go,
 * until catalog_clear_dropped(). */
int catalog_drop_room(struct catalog *catalog, uint64_t room);
int catalog_clear_dropped(struct catalog *catalog);
/* The room with this key, which has no files: another takes its place. */
int catalog_drop_key(struct catalog *catalog, struct text key);
/* The names that users have taken: drop all of them, then put each again. USED_AT is in s, by the
 * clock of ages. */
int catalog_drop_names(struct catalog *catalog);
int catalog_put_name(struct catalog *catalog, struct text name, uid_t uid, uint64_t used_at);
int catalog_set_journal(struct catalog *catalog, const struct catalog_journal *journal);
/* The clock of ages, see age.h, and the wall clock at the same time. */
int catalog_set_clock(struct catalog *catalog, uint64_t age, uint64_t wall);
int catalog_commit(struct catalog *catalog);

/* What SQLite said last. */
const char *catalog_error(const struct catalog *catalog);
