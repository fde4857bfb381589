/* catalog.c - see catalog.h. */
#include "broker/catalog.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/record.h"

/* How long somebody who reads it, as a backup does, may keep the broker from writing, ms. */
#define CATALOG_BUSY_MS 10000

/* "chat" */
#define APPLICATION_ID 0x63686174
#define FORMAT         5

/* The formats that introduced values and the age of segments, and the list of dropped rooms. The
 * broker upgrades a catalog of FORMAT_OLDEST or later to FORMAT. */
#define FORMAT_OLDEST  2
#define FORMAT_VALUE   3
#define FORMAT_DROPPED CATALOG_FORMAT_DROPPED
#define FORMAT_CLOCK   5 /* since which the clock of ages is there */

/* The last column of each table is the CRC-32C of the others of its row: SQLite does not notice
 * when a byte of a row changes on the disk. NULL, in a row of an earlier format, is not checked. */
#define SCHEMA_VALUE                                                                               \
	"CREATE TABLE value("                                                                      \
	"  room INTEGER NOT NULL REFERENCES room ON DELETE CASCADE, key BLOB NOT NULL,"            \
	"  version INTEGER NOT NULL, uid INTEGER NOT NULL, author BLOB NOT NULL,"                  \
	"  text BLOB NOT NULL, PRIMARY KEY(room, key)) WITHOUT ROWID;"

#define SCHEMA_DROPPED "CREATE TABLE dropped(room INTEGER PRIMARY KEY);"

#define SCHEMA_CLOCK                                                                               \
	"CREATE TABLE clock(one INTEGER PRIMARY KEY CHECK(one = 1), age INTEGER NOT NULL,"         \
	"  wall INTEGER NOT NULL, crc INTEGER);"

/* The tables and columns that each format adds to the one before it. */
static const char *const upgrades[] = {
	[FORMAT_VALUE] =
		SCHEMA_VALUE "ALTER TABLE segment ADD COLUMN last INTEGER NOT NULL DEFAULT 0;",
	[FORMAT_DROPPED] = SCHEMA_DROPPED
	"ALTER TABLE journal ADD COLUMN state INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE journal ADD COLUMN incarnation INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE room ADD COLUMN crc INTEGER; ALTER TABLE segment ADD COLUMN crc INTEGER;"
	"ALTER TABLE publisher ADD COLUMN crc INTEGER; ALTER TABLE mark ADD COLUMN crc INTEGER;"
	"ALTER TABLE value ADD COLUMN crc INTEGER; ALTER TABLE name ADD COLUMN crc INTEGER;"
	"ALTER TABLE journal ADD COLUMN crc INTEGER;",
	[FORMAT_CLOCK] = SCHEMA_CLOCK,
};
_Static_assert(ARRAY_LEN(upgrades) == FORMAT + 1, "every format has its upgrade");

static const char *const schema =
	"CREATE TABLE room("
	"  id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, target_len INTEGER NOT NULL,"
	"  owner INTEGER NOT NULL, party_a INTEGER NOT NULL, party_b INTEGER NOT NULL,"
	"  next INTEGER NOT NULL, last_time INTEGER NOT NULL, number INTEGER NOT NULL,"
	"  crc INTEGER);"
	"CREATE TABLE segment("
	"  room INTEGER NOT NULL REFERENCES room ON DELETE CASCADE, number INTEGER NOT NULL,"
	"  size INTEGER NOT NULL, used INTEGER NOT NULL, first INTEGER NOT NULL,"
	"  next INTEGER NOT NULL, time INTEGER NOT NULL, last INTEGER NOT NULL, crc INTEGER,"
	"  PRIMARY KEY(room, number)) WITHOUT ROWID;"
	"CREATE TABLE publisher("
	"  room INTEGER NOT NULL REFERENCES room ON DELETE CASCADE, label INTEGER NOT NULL,"
	"  uid INTEGER NOT NULL, id INTEGER NOT NULL, seq INTEGER NOT NULL, crc INTEGER,"
	"  PRIMARY KEY(room, label, uid)) WITHOUT ROWID;"
	"CREATE TABLE mark("
	"  room INTEGER NOT NULL REFERENCES room ON DELETE CASCADE, uid INTEGER NOT NULL,"
	"  seq INTEGER NOT NULL, crc INTEGER, PRIMARY KEY(room, uid)) WITHOUT ROWID;"
	"CREATE TABLE value("
	"  room INTEGER NOT NULL REFERENCES room ON DELETE CASCADE, key BLOB NOT NULL,"
	"  version INTEGER NOT NULL, uid INTEGER NOT NULL, author BLOB NOT NULL,"
	"  text BLOB NOT NULL, crc INTEGER, PRIMARY KEY(room, key)) WITHOUT ROWID;"
	"CREATE TABLE name("
	"  name BLOB PRIMARY KEY, uid INTEGER NOT NULL, used_at INTEGER NOT NULL, crc INTEGER)"
	"  WITHOUT ROWID;"
	"CREATE TABLE journal("
	"  one INTEGER PRIMARY KEY CHECK(one = 1), generation INTEGER NOT NULL,"
	"  state INTEGER NOT NULL, incarnation INTEGER NOT NULL, crc INTEGER);"
	"INSERT INTO journal VALUES(1, 1, 0, 0, NULL);" SCHEMA_DROPPED SCHEMA_CLOCK;

static const char *const statements[] = {
	[CATALOG_PUT_ROOM] = "INSERT INTO room VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10)"
			     " ON CONFLICT(id) DO UPDATE SET key=?2, target_len=?3, owner=?4,"
			     " party_a=?5, party_b=?6, next=?7, last_time=?8, number=?9, crc=?10",
	[CATALOG_PUT_SEGMENT] = "INSERT OR REPLACE INTO segment VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9)",
	[CATALOG_DROP_SEGMENTS] = "DELETE FROM segment WHERE room=?1 AND number<?2",
	[CATALOG_PUT_PUBLISHER] = "INSERT OR REPLACE INTO publisher VALUES(?1,?2,?3,?4,?5,?6)",
	[CATALOG_DROP_PUBLISHERS] = "DELETE FROM publisher WHERE room=?1 AND seq<?2",
	[CATALOG_PUT_MARK] = "INSERT OR REPLACE INTO mark VALUES(?1,?2,?3,?4)",
	[CATALOG_DROP_ROOM] = "DELETE FROM room WHERE id=?1",
	[CATALOG_DROP_KEY] = "DELETE FROM room WHERE key=?1",
	[CATALOG_NOTE_DROPPED] = "INSERT OR IGNORE INTO dropped VALUES(?1)",
	[CATALOG_CLEAR_DROPPED] = "DELETE FROM dropped",
	[CATALOG_DROP_NAMES] = "DELETE FROM name",
	[CATALOG_PUT_NAME] = "INSERT OR REPLACE INTO name VALUES(?1,?2,?3,?4)",
	[CATALOG_DROP_VALUES] = "DELETE FROM value WHERE room=?1",
	[CATALOG_PUT_VALUE] = "INSERT OR REPLACE INTO value VALUES(?1,?2,?3,?4,?5,?6,?7)",
	[CATALOG_SET_JOURNAL] = "INSERT OR REPLACE INTO journal VALUES(?1,?2,?3,?4,?5)",
	[CATALOG_SET_CLOCK] = "INSERT OR REPLACE INTO clock VALUES(?1,?2,?3,?4)",
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

/* Bring the tables from format FROM to this one, 0: there are none. */
static int catalog_upgrade(struct catalog *catalog, int64_t from)
{
	sqlite3 *db = catalog->db;
	char sql[128];

	snprintf(sql, sizeof sql, "PRAGMA application_id=%d; PRAGMA user_version=%d;",
		APPLICATION_ID, FORMAT);
	if (sqlite3_exec(db, "BEGIN", NULL, NULL, NULL) || sqlite3_exec(db, sql, NULL, NULL, NULL))
		return -1;
	if (from == 0 && sqlite3_exec(db, schema, NULL, NULL, NULL))
		return -1;
	for (int64_t format = from + 1; from > 0 && format <= FORMAT; format++)
		if (sqlite3_exec(db, upgrades[format], NULL, NULL, NULL))
			return -1;
	return sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
}

/* One without tables gets them, an older one those that are new; another must be ours. */
static int catalog_settle(
	struct catalog *catalog, enum catalog_mode mode, char why[static CATALOG_WHY_MAX])
{
	int64_t application, format, n_tables;

	if (pragma_read(catalog, "PRAGMA application_id", &application) ||
		pragma_read(catalog, "PRAGMA user_version", &format) ||
		pragma_read(catalog, "SELECT count(*) FROM sqlite_schema", &n_tables))
		return catalog_fail(catalog, why);
	if (n_tables == 0 && mode != CATALOG_CREATE) {
		snprintf(why, CATALOG_WHY_MAX, CATALOG_NAME " is empty");
		return CATALOG_E_ABSENT;
	}
	if (n_tables > 0 &&
		(application != APPLICATION_ID || format < FORMAT_OLDEST || format > FORMAT)) {
		snprintf(why, CATALOG_WHY_MAX, CATALOG_NAME " is %s",
			application == APPLICATION_ID ? "of another version of chat-broker"
						      : "not a file of chat-broker");
		return CATALOG_E_FORMAT;
	}
	catalog->format = format;
	if (format == FORMAT || mode == CATALOG_INSPECT)
		return 0;
	catalog->format = FORMAT;
	return catalog_upgrade(catalog, n_tables > 0 ? format : 0) ? catalog_fail(catalog, why) : 0;
}

/* ---- one that is only looked at ---- */

static int copy_file(const char *from, const char *to)
{
	char buffer[1 << 16];
	int in = open(from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), out, r = 0;
	ssize_t n;

	if (in < 0)
		return -errno;
	out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (out < 0)
		r = -errno;
	while (r == 0 && (n = read(in, buffer, sizeof buffer)) != 0)
		if (n < 0 || write(out, buffer, (size_t)n) != n)
			r = n < 0 ? -errno : -EIO;
	close(in);
	if (out >= 0 && close(out) < 0 && r == 0)
		r = -errno;
	return r;
}

/* The files that SQLite has for a database at PATH. */
static const char *const suffixes[] = { "", "-journal" };

/* A transaction was cut off, and SQLite would take it back in the file itself: do that in a copy,
 * whose path goes to PATH. Returns 0 or -errno. */
static int catalog_copy(struct catalog *catalog, char path[static PATH_MAX])
{
	const char *top = secure_getenv("TMPDIR");
	char from[PATH_MAX + 16], to[PATH_MAX + 16];
	struct stat statbuf;
	int n, r = 0;

	if (stat(path, &statbuf) < 0)
		return 0; /* the opening says so */
	snprintf(from, sizeof from, "%s-journal", path);
	if (stat(from, &statbuf) < 0 || statbuf.st_size == 0)
		return 0;
	n = snprintf(
		catalog->copy, sizeof catalog->copy, "%s/chat-broker.XXXXXX", top ? top : "/tmp");
	if (n >= (int)sizeof catalog->copy || !mkdtemp(catalog->copy)) {
		catalog->copy[0] = '\0';
		return n >= (int)sizeof catalog->copy ? -ENAMETOOLONG : -errno;
	}
	for (size_t i = 0; i < ARRAY_LEN(suffixes) && r == 0; i++) {
		snprintf(from, sizeof from, "%s%s", path, suffixes[i]);
		snprintf(to, sizeof to, "%s/" CATALOG_NAME "%s", catalog->copy, suffixes[i]);
		r = copy_file(from, to);
	}
	snprintf(path, PATH_MAX, "%s/" CATALOG_NAME, catalog->copy);
	return r;
}

static void catalog_remove_copy(struct catalog *catalog)
{
	char path[PATH_MAX];

	if (!catalog->copy[0])
		return;
	for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
		snprintf(path, sizeof path, "%s/" CATALOG_NAME "%s", catalog->copy, suffixes[i]);
		(void)unlink(path);
	}
	(void)rmdir(catalog->copy);
	catalog->copy[0] = '\0';
}

/* ---- opening ---- */

/* Open the file at PATH, which is ours alone: its mode is 0600, whatever it was made with. */
static int catalog_connect(struct catalog *catalog, const char *path, enum catalog_mode mode,
	char why[static CATALOG_WHY_MAX])
{
	int flags = mode == CATALOG_CREATE ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE
		    : mode == CATALOG_WRITE || catalog->copy[0] ? SQLITE_OPEN_READWRITE
								: SQLITE_OPEN_READONLY;
	struct stat statbuf;
	bool is_there = stat(path, &statbuf) == 0;

	if (!is_there && mode != CATALOG_CREATE) {
		snprintf(why, CATALOG_WHY_MAX, CATALOG_NAME ": %s",
			errno == ENOENT ? "missing" : strerror(errno));
		return errno == ENOENT ? CATALOG_E_ABSENT : CATALOG_E_SQLITE;
	}
	if (is_there && mode != CATALOG_INSPECT && (statbuf.st_mode & 07777) != 0600)
		(void)chmod(path, 0600);
	if (sqlite3_open_v2(path, &catalog->db, flags, NULL) != SQLITE_OK)
		return catalog_fail(catalog, why);
	sqlite3_busy_timeout(catalog->db, CATALOG_BUSY_MS);
	if (sqlite3_exec(catalog->db, "PRAGMA foreign_keys=ON", NULL, NULL, NULL) != SQLITE_OK)
		return catalog_fail(catalog, why);
	if (mode != CATALOG_INSPECT &&
		sqlite3_exec(catalog->db,
			"PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=TRUNCATE;"
			"PRAGMA synchronous=EXTRA;",
			NULL, NULL, NULL) != SQLITE_OK)
		return catalog_fail(catalog, why);
	return 0;
}

int catalog_open_as(struct catalog *catalog, const char *directory, const char *name,
	enum catalog_mode mode, char why[static CATALOG_WHY_MAX])
{
	char path[PATH_MAX];
	int r = 0;

	*catalog = (struct catalog){ .db = NULL };
	if (snprintf(path, sizeof path, "%s/%s", directory, name) >= (int)sizeof path) {
		snprintf(why, CATALOG_WHY_MAX, CATALOG_NAME ": %s", strerror(ENAMETOOLONG));
		r = CATALOG_E_SQLITE;
	}
	if (r == 0 && mode == CATALOG_INSPECT)
		r = catalog_copy(catalog, path);
	if (r < 0) {
		snprintf(why, CATALOG_WHY_MAX,
			"cannot copy " CATALOG_NAME " to look at it: %s; set TMPDIR", strerror(-r));
		r = CATALOG_E_COPY;
	}
	if (r == 0)
		r = catalog_connect(catalog, path, mode, why);
	if (r == 0)
		r = catalog_settle(catalog, mode, why);
	for (unsigned i = 0; r == 0 && mode != CATALOG_INSPECT && i < CATALOG_STATEMENTS; i++)
		if (sqlite3_prepare_v2(catalog->db, statements[i], -1, &catalog->statements[i],
			    NULL) != SQLITE_OK)
			r = catalog_fail(catalog, why);
	if (r)
		catalog_close(catalog);
	return r;
}

int catalog_open(struct catalog *catalog, const char *directory, enum catalog_mode mode,
	char why[static CATALOG_WHY_MAX])
{
	return catalog_open_as(catalog, directory, CATALOG_NAME, mode, why);
}

void catalog_close(struct catalog *catalog)
{
	for (unsigned i = 0; i < CATALOG_STATEMENTS; i++)
		sqlite3_finalize(catalog->statements[i]);
	sqlite3_close(catalog->db);
	catalog_remove_copy(catalog);
	*catalog = (struct catalog){ .db = NULL };
}

int catalog_copy_to(const char *directory, const char *target, char why[static CATALOG_WHY_MAX])
{
	struct catalog catalog = { .db = NULL };
	sqlite3_stmt *statement = NULL;
	char path[PATH_MAX], to[PATH_MAX];
	int step, r;

	snprintf(path, sizeof path, "%s/" CATALOG_NAME, directory);
	snprintf(to, sizeof to, "%s/" CATALOG_NAME, target);
	/* without a transaction that was cut off SQLite can say what is there */
	r = catalog_connect(&catalog, path, CATALOG_INSPECT, why);
	if (r == 0 && sqlite3_exec(catalog.db, "SELECT count(*) FROM sqlite_schema", NULL, NULL,
			      NULL) != SQLITE_OK) {
		catalog_close(&catalog);
		r = catalog_open(&catalog, directory, CATALOG_INSPECT, why);
	}
	if (r)
		return r;
	if (sqlite3_prepare_v2(catalog.db, "VACUUM INTO ?1", -1, &statement, NULL) != SQLITE_OK) {
		r = catalog_fail(&catalog, why);
	} else {
		sqlite3_bind_text(statement, 1, to, -1, SQLITE_STATIC);
		step = sqlite3_step(statement);
		if (step != SQLITE_DONE)
			r = catalog_fail(&catalog, why);
	}
	sqlite3_finalize(statement);
	catalog_close(&catalog);
	return r;
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

/* A cell of a row: a number, or a blob if its data is not NULL. */
struct cell {
	uint64_t number;
	struct text blob;
};
#define NUMBER(n) ((struct cell){ .number = (n) })
#define BLOB(b)   ((struct cell){ .blob = (b) })

static uint32_t cells_crc(const struct cell *cells, size_t n)
{
	uint32_t crc = 0;

	for (size_t i = 0; i < n; i++) {
		const struct cell *cell = &cells[i];
		uint64_t number = cell->blob.data ? cell->blob.len : cell->number;

		crc = record_crc32c(crc, &number, sizeof number);
		if (cell->blob.data)
			crc = record_crc32c(crc, cell->blob.data, cell->blob.len);
	}
	return crc;
}

#define CELLS_MAX 16

/* Is it as it was written? Its last column is the CRC of the others. */
static bool row_is_good(sqlite3_stmt *row)
{
	int n = sqlite3_column_count(row) - 1;
	struct cell cells[CELLS_MAX];

	if (n < 0 || n > CELLS_MAX)
		return false;
	if (sqlite3_column_type(row, n) == SQLITE_NULL)
		return true;
	for (int i = 0; i < n; i++)
		cells[i] = sqlite3_column_type(row, i) == SQLITE_BLOB
				   ? BLOB(column_text(row, i))
				   : NUMBER((uint64_t)column(row, i));
	return (uint32_t)column(row, n) == cells_crc(cells, (size_t)n);
}

typedef int row_fn(const struct catalog_reader *reader, void *userdata, sqlite3_stmt *row);

static int clock_row(const struct catalog_reader *reader, void *userdata, sqlite3_stmt *row)
{
	return reader->clock(userdata, (uint64_t)column(row, 1), (uint64_t)column(row, 2));
}

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

static int dropped_row(const struct catalog_reader *reader, void *userdata, sqlite3_stmt *row)
{
	return reader->dropped(userdata, (uint64_t)column(row, 0));
}

static int row_broken(char why[static CATALOG_WHY_MAX])
{
	snprintf(why, CATALOG_WHY_MAX, CATALOG_NAME ": a row is damaged");
	return CATALOG_E_DAMAGED;
}

static int table_read(struct catalog *catalog, const char *sql, row_fn *function,
	const struct catalog_reader *reader, void *userdata, char why[static CATALOG_WHY_MAX])
{
	/* before this format the last column is another */
	bool is_checked = catalog->format >= FORMAT_DROPPED && function != dropped_row;
	sqlite3_stmt *statement;
	int step, r = 0;

	if (sqlite3_prepare_v2(catalog->db, sql, -1, &statement, NULL) != SQLITE_OK)
		return catalog_fail(catalog, why);
	while ((step = sqlite3_step(statement)) == SQLITE_ROW && r == 0)
		r = is_checked && !row_is_good(statement) ? row_broken(why)
							  : function(reader, userdata, statement);
	if (r == 0 && step != SQLITE_DONE)
		r = catalog_fail(catalog, why);
	sqlite3_finalize(statement);
	return r;
}

int catalog_read(struct catalog *catalog, const struct catalog_reader *reader, void *userdata,
	char why[static CATALOG_WHY_MAX])
{
	const struct {
		const char *sql;
		row_fn *function;
		bool is_wanted;
		int since; /* this format */
	} tables[] = {
		{ "SELECT * FROM clock", clock_row, reader->clock, FORMAT_CLOCK },
		{ "SELECT * FROM room", room_row, reader->room },
		{ "SELECT * FROM segment ORDER BY room, number", segment_row, reader->segment },
		{ "SELECT * FROM publisher ORDER BY room, seq", publisher_row, reader->publisher },
		{ "SELECT * FROM mark", mark_row, reader->mark },
		{ "SELECT * FROM value ORDER BY room, version", value_row, reader->value,
			FORMAT_VALUE },
		{ "SELECT * FROM name", name_row, reader->name },
		{ "SELECT * FROM dropped", dropped_row, reader->dropped, FORMAT_DROPPED },
	};
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(tables) && r == 0; i++)
		if (tables[i].is_wanted && catalog->format >= tables[i].since)
			r = table_read(
				catalog, tables[i].sql, tables[i].function, reader, userdata, why);
	return r;
}

int catalog_read_journal(struct catalog *catalog, struct catalog_journal *ret_journal,
	char why[static CATALOG_WHY_MAX])
{
	bool is_whole = catalog->format >= FORMAT_DROPPED;
	sqlite3_stmt *row;
	int r = 0;

	if (sqlite3_prepare_v2(catalog->db, "SELECT * FROM journal", -1, &row, NULL) != SQLITE_OK)
		return catalog_fail(catalog, why);
	if (sqlite3_step(row) != SQLITE_ROW || (is_whole && !row_is_good(row)))
		r = row_broken(why);
	else
		*ret_journal = (struct catalog_journal){ .generation = (uint64_t)column(row, 1) };
	if (r == 0 && is_whole) {
		ret_journal->state = (enum catalog_journal_state)column(row, 2);
		ret_journal->incarnation = (uint64_t)column(row, 3);
	}
	sqlite3_finalize(row);
	return r;
}

int catalog_check(struct catalog *catalog, char why[static CATALOG_WHY_MAX])
{
	sqlite3_stmt *row;
	const char *text;
	int r = 0;

	if (sqlite3_prepare_v2(catalog->db, "PRAGMA quick_check(1)", -1, &row, NULL) != SQLITE_OK)
		return catalog_fail(catalog, why);
	text = sqlite3_step(row) == SQLITE_ROW ? (const char *)sqlite3_column_text(row, 0) : NULL;
	if (!text || strcmp(text, "ok") != 0) {
		snprintf(why, CATALOG_WHY_MAX, CATALOG_NAME ": %s", text ? text : "damaged");
		r = CATALOG_E_DAMAGED;
	}
	sqlite3_finalize(row);
	return r;
}

/* ---- writing ---- */

static int catalog_exec(struct catalog *catalog, const char *sql)
{
	int r = sqlite3_exec(catalog->db, sql, NULL, NULL, NULL);

	return r == SQLITE_OK ? 0 : (r & 0xff) == SQLITE_FULL ? CATALOG_E_FULL : CATALOG_E_SQLITE;
}

static int catalog_step(sqlite3_stmt *statement)
{
	int r = sqlite3_step(statement);

	sqlite3_reset(statement);
	return r == SQLITE_DONE ? 0 : (r & 0xff) == SQLITE_FULL ? CATALOG_E_FULL : CATALOG_E_SQLITE;
}

/* Run a statement with these cells. */
static int catalog_run_with(struct catalog *catalog, enum catalog_statement which,
	const struct cell *cells, size_t n, bool has_crc)
{
	sqlite3_stmt *statement = catalog->statements[which];
	int r;

	for (size_t i = 0; i < n; i++)
		if (cells[i].blob.data)
			sqlite3_bind_blob(statement, (int)i + 1, cells[i].blob.data,
				(int)cells[i].blob.len, SQLITE_STATIC);
		else
			sqlite3_bind_int64(statement, (int)i + 1, (int64_t)cells[i].number);
	if (has_crc)
		sqlite3_bind_int64(statement, (int)n + 1, cells_crc(cells, n));
	r = catalog_step(statement);
	sqlite3_clear_bindings(statement);
	return r;
}
#define CELLS(...)                                                                                 \
	(const struct cell[]){ __VA_ARGS__ }, ARRAY_LEN(((const struct cell[]){ __VA_ARGS__ }))
/* A row, with its CRC; and another statement. */
#define catalog_put(catalog, which, ...) catalog_run_with(catalog, which, CELLS(__VA_ARGS__), true)
#define catalog_run(catalog, which, ...) catalog_run_with(catalog, which, CELLS(__VA_ARGS__), false)

int catalog_begin(struct catalog *catalog)
{
	return catalog_exec(catalog, "BEGIN IMMEDIATE");
}

int catalog_put_room(struct catalog *catalog, const struct catalog_room *room)
{
	return catalog_put(catalog, CATALOG_PUT_ROOM, NUMBER(room->id), BLOB(room->key),
		NUMBER(room->target_len), NUMBER(room->owner), NUMBER(room->party[0]),
		NUMBER(room->party[1]), NUMBER(room->next), NUMBER(room->last_time),
		NUMBER(room->number));
}

int catalog_put_segment(struct catalog *catalog, uint64_t room, const struct segment_image *image)
{
	return catalog_put(catalog, CATALOG_PUT_SEGMENT, NUMBER(room), NUMBER(image->number),
		NUMBER(image->size), NUMBER(image->used), NUMBER(image->first), NUMBER(image->next),
		NUMBER(image->time), NUMBER(image->last));
}

int catalog_drop_segments(struct catalog *catalog, uint64_t room, uint32_t before)
{
	return catalog_run(catalog, CATALOG_DROP_SEGMENTS, NUMBER(room), NUMBER(before));
}

int catalog_put_publisher(
	struct catalog *catalog, uint64_t room, const struct catalog_publisher *publisher)
{
	return catalog_put(catalog, CATALOG_PUT_PUBLISHER, NUMBER(room), NUMBER(publisher->label),
		NUMBER(publisher->uid), NUMBER(publisher->id), NUMBER(publisher->seq));
}

int catalog_drop_publishers(struct catalog *catalog, uint64_t room, uint64_t seq)
{
	return catalog_run(catalog, CATALOG_DROP_PUBLISHERS, NUMBER(room), NUMBER(seq));
}

int catalog_put_mark(struct catalog *catalog, uint64_t room, uid_t uid, uint64_t seq)
{
	return catalog_put(catalog, CATALOG_PUT_MARK, NUMBER(room), NUMBER(uid), NUMBER(seq));
}

int catalog_drop_room(struct catalog *catalog, uint64_t room)
{
	int r = catalog_run(catalog, CATALOG_NOTE_DROPPED, NUMBER(room));

	return r ? r : catalog_run(catalog, CATALOG_DROP_ROOM, NUMBER(room));
}

int catalog_clear_dropped(struct catalog *catalog)
{
	return catalog_step(catalog->statements[CATALOG_CLEAR_DROPPED]);
}

int catalog_drop_key(struct catalog *catalog, struct text key)
{
	return catalog_run(catalog, CATALOG_DROP_KEY, BLOB(key));
}

int catalog_drop_names(struct catalog *catalog)
{
	return catalog_step(catalog->statements[CATALOG_DROP_NAMES]);
}

int catalog_drop_values(struct catalog *catalog, uint64_t room)
{
	return catalog_run(catalog, CATALOG_DROP_VALUES, NUMBER(room));
}

int catalog_put_value(struct catalog *catalog, uint64_t room, const struct catalog_value *value)
{
	return catalog_put(catalog, CATALOG_PUT_VALUE, NUMBER(room), BLOB(value->key),
		NUMBER(value->version), NUMBER(value->uid), BLOB(value->author), BLOB(value->text));
}

int catalog_put_name(struct catalog *catalog, struct text name, uid_t uid, uint64_t used_at)
{
	return catalog_put(catalog, CATALOG_PUT_NAME, BLOB(name), NUMBER(uid), NUMBER(used_at));
}

int catalog_set_journal(struct catalog *catalog, const struct catalog_journal *journal)
{
	return catalog_put(catalog, CATALOG_SET_JOURNAL, NUMBER(1), NUMBER(journal->generation),
		NUMBER(journal->state), NUMBER(journal->incarnation));
}

int catalog_set_clock(struct catalog *catalog, uint64_t age, uint64_t wall)
{
	return catalog_put(catalog, CATALOG_SET_CLOCK, NUMBER(1), NUMBER(age), NUMBER(wall));
}

int catalog_commit(struct catalog *catalog)
{
	return catalog_exec(catalog, "COMMIT");
}
