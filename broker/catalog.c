/* catalog.c - see catalog.h. */
#include "broker/catalog.h"

#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

/* "chat" */
#define APPLICATION_ID 0x63686174
#define FORMAT         3

/* The one before it, which is brought up to this one. */
#define FORMAT_BEFORE 2

#define SCHEMA_VALUE                                                                               \
	"CREATE TABLE value("                                                                      \
	"  room INTEGER NOT NULL REFERENCES room ON DELETE CASCADE, key BLOB NOT NULL,"            \
	"  version INTEGER NOT NULL, uid INTEGER NOT NULL, author BLOB NOT NULL,"                  \
	"  text BLOB NOT NULL, PRIMARY KEY(room, key)) WITHOUT ROWID;"

/* From the format before: it had no values, and did not know how old a segment is. */
static const char *const upgrade =
	SCHEMA_VALUE "ALTER TABLE segment ADD COLUMN last INTEGER NOT NULL DEFAULT 0;";

static const char *const schema =
	"CREATE TABLE room("
	"  id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, target_len INTEGER NOT NULL,"
	"  owner INTEGER NOT NULL, party_a INTEGER NOT NULL, party_b INTEGER NOT NULL,"
	"  next INTEGER NOT NULL, last_time INTEGER NOT NULL, number INTEGER NOT NULL);"
	"CREATE TABLE segment("
	"  room INTEGER NOT NULL REFERENCES room ON DELETE CASCADE, number INTEGER NOT NULL,"
	"  size INTEGER NOT NULL, used INTEGER NOT NULL, first INTEGER NOT NULL,"
	"  next INTEGER NOT NULL, time INTEGER NOT NULL, last INTEGER NOT NULL,"
	"  PRIMARY KEY(room, number)) WITHOUT ROWID;"
	"CREATE TABLE publisher("
	"  room INTEGER NOT NULL REFERENCES room ON DELETE CASCADE, label INTEGER NOT NULL,"
	"  uid INTEGER NOT NULL, id INTEGER NOT NULL, seq INTEGER NOT NULL,"
	"  PRIMARY KEY(room, label, uid)) WITHOUT ROWID;"
	"CREATE TABLE mark("
	"  room INTEGER NOT NULL REFERENCES room ON DELETE CASCADE, uid INTEGER NOT NULL,"
	"  seq INTEGER NOT NULL, PRIMARY KEY(room, uid)) WITHOUT ROWID;" SCHEMA_VALUE
	"CREATE TABLE name("
	"  name BLOB PRIMARY KEY, uid INTEGER NOT NULL, used_at INTEGER NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE journal(one INTEGER PRIMARY KEY CHECK(one = 1), generation INTEGER NOT NULL);"
	"INSERT INTO journal VALUES(1, 1);";

static const char *const statements[] = {
	[CATALOG_PUT_ROOM] = "INSERT INTO room VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9)"
			     " ON CONFLICT(id) DO UPDATE SET owner=?4, next=?7, last_time=?8,"
			     " number=?9",
	[CATALOG_PUT_SEGMENT] = "INSERT INTO segment VALUES(?1,?2,?3,?4,?5,?6,?7,?8)"
				" ON CONFLICT DO UPDATE SET used=?4, next=?6, last=?8",
	[CATALOG_DROP_SEGMENTS] = "DELETE FROM segment WHERE room=?1 AND number<?2",
	[CATALOG_PUT_PUBLISHER] = "INSERT INTO publisher VALUES(?1,?2,?3,?4,?5)"
				  " ON CONFLICT DO UPDATE SET id=?4, seq=?5",
	[CATALOG_DROP_PUBLISHERS] = "DELETE FROM publisher WHERE room=?1 AND seq<?2",
	[CATALOG_PUT_MARK] = "INSERT INTO mark VALUES(?1,?2,?3)"
			     " ON CONFLICT DO UPDATE SET seq=?3",
	[CATALOG_DROP_ROOM] = "DELETE FROM room WHERE id=?1",
	[CATALOG_DROP_NAMES] = "DELETE FROM name",
	[CATALOG_PUT_NAME] = "INSERT INTO name VALUES(?1,?2,?3)",
	[CATALOG_DROP_VALUES] = "DELETE FROM value WHERE room=?1",
	[CATALOG_PUT_VALUE] = "INSERT INTO value VALUES(?1,?2,?3,?4,?5,?6)",
	[CATALOG_SET_JOURNAL] = "UPDATE journal SET generation=?1",
};
_Static_assert(ARRAY_LEN(statements) == CATALOG_STATEMENTS, "every statement is there");

const char *catalog_error(const struct catalog *catalog)
{
	return sqlite3_errmsg(catalog->db);
}

static int catalog_fail(const struct catalog *catalog, char why[static CATALOG_WHY_MAX])
{
	snprintf(why, CATALOG_WHY_MAX, CATALOG_NAME ": %s", catalog_error(catalog));
	return sqlite3_errcode(catalog->db) == SQLITE_FULL ? CATALOG_E_FULL : CATALOG_E_SQLITE;
}

static int pragma_read(struct catalog *catalog, const char *sql, int64_t *ret_value)
{
	sqlite3_stmt *statement;
	int r;

	*ret_value = 0;
	r = sqlite3_prepare_v2(catalog->db, sql, -1, &statement, NULL);
	if (r != SQLITE_OK)
		return r;
	if (sqlite3_step(statement) == SQLITE_ROW)
		*ret_value = sqlite3_column_int64(statement, 0);
	return sqlite3_finalize(statement);
}

/* A new one gets its tables, one of the format before those that are new; another must be ours. */
static int catalog_settle(
	struct catalog *catalog, bool is_inspected, char why[static CATALOG_WHY_MAX])
{
	int64_t application, format, n_tables;
	char sql[128];

	if (pragma_read(catalog, "PRAGMA application_id", &application) ||
		pragma_read(catalog, "PRAGMA user_version", &format) ||
		pragma_read(catalog, "SELECT count(*) FROM sqlite_schema", &n_tables))
		return catalog_fail(catalog, why);
	if (n_tables > 0 &&
		(application != APPLICATION_ID || format < FORMAT_BEFORE || format > FORMAT)) {
		snprintf(why, CATALOG_WHY_MAX, CATALOG_NAME " is %s",
			application == APPLICATION_ID ? "of another version of chat-broker"
						      : "not a file of chat-broker");
		return CATALOG_E_FORMAT;
	}
	catalog->format = n_tables > 0 && is_inspected ? format : FORMAT;
	if (format == catalog->format)
		return 0;
	snprintf(sql, sizeof sql, "PRAGMA application_id=%d; PRAGMA user_version=%d;",
		APPLICATION_ID, FORMAT);
	if (sqlite3_exec(catalog->db, "BEGIN", NULL, NULL, NULL) ||
		sqlite3_exec(catalog->db, sql, NULL, NULL, NULL) ||
		sqlite3_exec(catalog->db, n_tables > 0 ? upgrade : schema, NULL, NULL, NULL) ||
		sqlite3_exec(catalog->db, "COMMIT", NULL, NULL, NULL))
		return catalog_fail(catalog, why);
	return 0;
}

int catalog_open(struct catalog *catalog, const char *directory, bool is_inspected,
	char why[static CATALOG_WHY_MAX])
{
	char path[PATH_MAX];
	int r;

	*catalog = (struct catalog){ .db = NULL };
	snprintf(path, sizeof path, "%s/" CATALOG_NAME, directory);
	r = sqlite3_open_v2(path, &catalog->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);
	if (r != SQLITE_OK || sqlite3_exec(catalog->db,
				      "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=TRUNCATE;"
				      "PRAGMA synchronous=EXTRA; PRAGMA foreign_keys=ON;",
				      NULL, NULL, NULL) != SQLITE_OK)
		r = catalog_fail(catalog, why);
	else
		r = catalog_settle(catalog, is_inspected, why);
	for (unsigned i = 0; r == 0 && !is_inspected && i < CATALOG_STATEMENTS; i++)
		if (sqlite3_prepare_v2(catalog->db, statements[i], -1, &catalog->statements[i],
			    NULL) != SQLITE_OK)
			r = catalog_fail(catalog, why);
	if (r)
		catalog_close(catalog);
	return r;
}

void catalog_close(struct catalog *catalog)
{
	for (unsigned i = 0; i < CATALOG_STATEMENTS; i++)
		sqlite3_finalize(catalog->statements[i]);
	sqlite3_close(catalog->db);
	*catalog = (struct catalog){ .db = NULL };
}

/* ---- reading ---- */

static int64_t column(sqlite3_stmt *row, int i)
{
	return sqlite3_column_int64(row, i);
}

static struct text column_text(sqlite3_stmt *row, int i)
{
	const char *data = sqlite3_column_blob(row, i);

	return (struct text){ data ? data : "", (size_t)sqlite3_column_bytes(row, i) };
}

typedef int row_fn(const struct catalog_reader *reader, void *userdata, sqlite3_stmt *row);

static int room_row(const struct catalog_reader *reader, void *userdata, sqlite3_stmt *row)
{
	struct catalog_room room = {
		.id = (uint64_t)column(row, 0),
		.key = column_text(row, 1),
		.target_len = (uint64_t)column(row, 2),
		.owner = (uid_t)column(row, 3),
		.party = { (uid_t)column(row, 4), (uid_t)column(row, 5) },
		.next = (uint64_t)column(row, 6),
		.last_time = (uint64_t)column(row, 7),
		.number = (uint32_t)column(row, 8),
	};

	return reader->room(userdata, &room);
}

static int segment_row(const struct catalog_reader *reader, void *userdata, sqlite3_stmt *row)
{
	struct segment_image image = {
		.number = (uint32_t)column(row, 1),
		.size = (uint32_t)column(row, 2),
		.used = (uint32_t)column(row, 3),
		.first = (uint64_t)column(row, 4),
		.next = (uint64_t)column(row, 5),
		.time = (uint64_t)column(row, 6),
		.last = sqlite3_column_count(row) > 7 ? (uint64_t)column(row, 7) : 0,
	};

	return reader->segment(userdata, (uint64_t)column(row, 0), &image);
}

static int publisher_row(const struct catalog_reader *reader, void *userdata, sqlite3_stmt *row)
{
	struct catalog_publisher publisher = {
		.label = (uint64_t)column(row, 1),
		.uid = (uid_t)column(row, 2),
		.id = (uint64_t)column(row, 3),
		.seq = (uint64_t)column(row, 4),
	};

	return reader->publisher(userdata, (uint64_t)column(row, 0), &publisher);
}

static int mark_row(const struct catalog_reader *reader, void *userdata, sqlite3_stmt *row)
{
	return reader->mark(userdata, (uint64_t)column(row, 0), (uid_t)column(row, 1),
		(uint64_t)column(row, 2));
}

static int value_row(const struct catalog_reader *reader, void *userdata, sqlite3_stmt *row)
{
	struct catalog_value value = {
		.key = column_text(row, 1),
		.version = (uint64_t)column(row, 2),
		.uid = (uid_t)column(row, 3),
		.author = column_text(row, 4),
		.text = column_text(row, 5),
	};

	return reader->value(userdata, (uint64_t)column(row, 0), &value);
}

static int name_row(const struct catalog_reader *reader, void *userdata, sqlite3_stmt *row)
{
	return reader->name(
		userdata, column_text(row, 0), (uid_t)column(row, 1), (uint64_t)column(row, 2));
}

static int table_read(struct catalog *catalog, const char *sql, row_fn *function,
	const struct catalog_reader *reader, void *userdata, char why[static CATALOG_WHY_MAX])
{
	sqlite3_stmt *statement;
	int step, r = 0;

	if (sqlite3_prepare_v2(catalog->db, sql, -1, &statement, NULL) != SQLITE_OK)
		return catalog_fail(catalog, why);
	while ((step = sqlite3_step(statement)) == SQLITE_ROW && r == 0)
		r = function(reader, userdata, statement);
	if (r == 0 && step != SQLITE_DONE)
		r = catalog_fail(catalog, why);
	sqlite3_finalize(statement);
	return r;
}

int catalog_read(struct catalog *catalog, const struct catalog_reader *reader, void *userdata,
	uint64_t *ret_generation, char why[static CATALOG_WHY_MAX])
{
	static const struct {
		const char *sql;
		row_fn *function;
		int since; /* this format */
	} tables[] = {
		{ "SELECT * FROM room", room_row, 0 },
		{ "SELECT * FROM segment ORDER BY room, number", segment_row, 0 },
		{ "SELECT * FROM publisher ORDER BY room, seq", publisher_row, 0 },
		{ "SELECT * FROM mark", mark_row, 0 },
		{ "SELECT * FROM value ORDER BY room, version", value_row, FORMAT },
		{ "SELECT * FROM name", name_row, 0 },
	};
	int64_t generation;
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(tables) && r == 0; i++)
		if (catalog->format >= tables[i].since)
			r = table_read(
				catalog, tables[i].sql, tables[i].function, reader, userdata, why);
	if (r == 0 && pragma_read(catalog, "SELECT generation FROM journal", &generation))
		r = catalog_fail(catalog, why);
	if (r == 0)
		*ret_generation = (uint64_t)generation;
	return r;
}

/* ---- writing ---- */

static int catalog_exec(struct catalog *catalog, const char *sql)
{
	int r = sqlite3_exec(catalog->db, sql, NULL, NULL, NULL);

	return r == SQLITE_OK ? 0 : (r & 0xff) == SQLITE_FULL ? CATALOG_E_FULL : CATALOG_E_SQLITE;
}

static void bind_all(sqlite3_stmt *statement, const uint64_t *values, size_t n)
{
	for (size_t i = 0; i < n; i++)
		sqlite3_bind_int64(statement, (int)i + 1, (int64_t)values[i]);
}

static void bind_text(sqlite3_stmt *statement, int i, struct text text)
{
	sqlite3_bind_blob(statement, i, text.data, (int)text.len, SQLITE_STATIC);
}

static int catalog_step(sqlite3_stmt *statement)
{
	int r = sqlite3_step(statement);

	sqlite3_reset(statement);
	return r == SQLITE_DONE ? 0 : (r & 0xff) == SQLITE_FULL ? CATALOG_E_FULL : CATALOG_E_SQLITE;
}

/* Run a statement with these numbers. */
static int catalog_run_with(
	struct catalog *catalog, enum catalog_statement which, const uint64_t *values, size_t n)
{
	bind_all(catalog->statements[which], values, n);
	return catalog_step(catalog->statements[which]);
}
#define catalog_run(catalog, which, ...)                                                           \
	catalog_run_with(catalog, which, (const uint64_t[]){ __VA_ARGS__ },                        \
		ARRAY_LEN(((const uint64_t[]){ __VA_ARGS__ })))

int catalog_begin(struct catalog *catalog)
{
	return catalog_exec(catalog, "BEGIN IMMEDIATE");
}

int catalog_put_room(struct catalog *catalog, const struct catalog_room *room)
{
	sqlite3_stmt *statement = catalog->statements[CATALOG_PUT_ROOM];
	const uint64_t values[] = { room->id, 0, room->target_len, room->owner, room->party[0],
		room->party[1], room->next, room->last_time, room->number };
	int r;

	bind_all(statement, values, ARRAY_LEN(values));
	bind_text(statement, 2, room->key);
	r = catalog_step(statement);
	sqlite3_clear_bindings(statement);
	return r;
}

int catalog_put_segment(struct catalog *catalog, uint64_t room, const struct segment_image *image)
{
	return catalog_run(catalog, CATALOG_PUT_SEGMENT, room, image->number, image->size,
		image->used, image->first, image->next, image->time, image->last);
}

int catalog_drop_segments(struct catalog *catalog, uint64_t room, uint32_t before)
{
	return catalog_run(catalog, CATALOG_DROP_SEGMENTS, room, before);
}

int catalog_put_publisher(
	struct catalog *catalog, uint64_t room, const struct catalog_publisher *publisher)
{
	return catalog_run(catalog, CATALOG_PUT_PUBLISHER, room, publisher->label, publisher->uid,
		publisher->id, publisher->seq);
}

int catalog_drop_publishers(struct catalog *catalog, uint64_t room, uint64_t seq)
{
	return catalog_run(catalog, CATALOG_DROP_PUBLISHERS, room, seq);
}

int catalog_put_mark(struct catalog *catalog, uint64_t room, uid_t uid, uint64_t seq)
{
	return catalog_run(catalog, CATALOG_PUT_MARK, room, uid, seq);
}

int catalog_drop_room(struct catalog *catalog, uint64_t room)
{
	return catalog_run(catalog, CATALOG_DROP_ROOM, room);
}

int catalog_drop_names(struct catalog *catalog)
{
	return catalog_step(catalog->statements[CATALOG_DROP_NAMES]);
}

int catalog_drop_values(struct catalog *catalog, uint64_t room)
{
	return catalog_run(catalog, CATALOG_DROP_VALUES, room);
}

int catalog_put_value(struct catalog *catalog, uint64_t room, const struct catalog_value *value)
{
	sqlite3_stmt *statement = catalog->statements[CATALOG_PUT_VALUE];
	const uint64_t values[] = { room, 0, value->version, value->uid };
	int r;

	bind_all(statement, values, ARRAY_LEN(values));
	bind_text(statement, 2, value->key);
	bind_text(statement, 5, value->author);
	bind_text(statement, 6, value->text);
	r = catalog_step(statement);
	sqlite3_clear_bindings(statement);
	return r;
}

int catalog_put_name(struct catalog *catalog, struct text name, uid_t uid, uint64_t used_at)
{
	sqlite3_stmt *statement = catalog->statements[CATALOG_PUT_NAME];
	const uint64_t values[] = { 0, uid, used_at };
	int r;

	bind_all(statement, values, ARRAY_LEN(values));
	bind_text(statement, 1, name);
	r = catalog_step(statement);
	sqlite3_clear_bindings(statement);
	return r;
}

int catalog_set_journal(struct catalog *catalog, uint64_t generation)
{
	return catalog_run(catalog, CATALOG_SET_JOURNAL, generation);
}

int catalog_commit(struct catalog *catalog)
{
	return catalog_exec(catalog, "COMMIT");
}

void catalog_give_up(struct catalog *catalog)
{
	(void)catalog_exec(catalog, "ROLLBACK");
}
