/* admin.c - see admin.h.
 *
 * The FIFO is opened for reading and writing, so that it never reports an end when
 * the last writer goes (fifo(7)). It has no sender: its mode is its authority.
 */
#include "broker/admin.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "broker/broker.h"
#include "broker/fastpath.h"
#include "broker/session.h"
#include "broker/trace.h"
#include "protocol/number.h"
#include "protocol/uid.h"

/* ---- commands ---- */

struct call {
	struct broker *broker;
	struct text argument; /* what follows the verb */
	uid_t uid;
	admin_output_fn *output;
	void *userdata;
	const char *why;
};

static int call_refuse(struct call *call, const char *why)
{
	call->why = why;
	return ADMIN_E_REFUSED;
}

_printf_(2, 3) static void call_say(struct call *call, const char *format, ...)
{
	char line[LINE_LEN_MAX];
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(line, sizeof line, format, ap);
	va_end(ap);
	call->output(call->userdata, (struct text){ line, MIN((size_t)n, sizeof line - 1) });
}

/* The first word of the argument; the rest stays in it. */
static struct text call_word(struct call *call)
{
	const char *space = memchr(call->argument.data, ' ', call->argument.len);
	struct text word = call->argument;

	if (space) {
		word.len = (size_t)(space - word.data);
		call->argument.data += word.len + 1;
		call->argument.len -= word.len + 1;
	} else {
		call->argument.data += word.len;
		call->argument.len = 0;
	}
	return word;
}

static int command_stop(struct call *call)
{
	broker_stop(call->broker, call->argument, call->uid);
	call_say(call, "stopping");
	return 0;
}

static int command_stats(struct call *call)
{
	broker_stats(call->broker, call->output, call->userdata);
	return 0;
}

static int command_rooms(struct call *call)
{
	char row[BROKER_ROW_MAX];

	list_for_each (link, &call->broker->rooms.all)
		call->output(
			call->userdata, broker_room_row(call->broker,
						container_of(link, struct room, rooms_link), row));
	return 0;
}

static int command_who(struct call *call)
{
	list_for_each (link, &call->broker->sessions) {
		struct session *session = container_of(link, struct session, sessions_link);

		char nobody[16];
		struct text author = session->author.name;

		if (!session->person) /* connected, and silent so far */
			author = (struct text){ nobody, (size_t)snprintf(nobody, sizeof nobody,
								"- %u", session->user->uid) };
		call_say(call, "%.*s pid=%d since=%lu", (int)author.len, author.data, session->pid,
			(unsigned long)((call->broker->users.now - session->opened_at) /
					1000000000));
	}
	return 0;
}

static int call_say_in(struct call *call, struct text room_name, struct text body)
{
	struct broker *broker = call->broker;
	char name[32];
	struct author author = { .uid = broker->users.self };
	struct room *room;
	struct user *user;
	uint64_t seq;
	int r;

	if (body.len == 0)
		return call_refuse(call, "a text is missing");
	author.name = (struct text){ name,
		(size_t)snprintf(name, sizeof name, "broker %u", broker->users.self) };
	r = users_get(&broker->users, broker->users.self, &user);
	if (r < 0)
		return r;
	r = rooms_get(&broker->rooms, room_name, user, &room);
	users_put(&broker->users, user);
	if (r == ROOM_E_QUOTA)
		return call_refuse(call, "rooms: the broker's user is at its limit");
	if (r < 0)
		return r;
	rooms_take_up(&broker->rooms, broker_now(broker));
	r = room_append(&broker->rooms, room, &author, (struct text){ "", 0 }, 0, body, &seq);
	if (r < 0) {
		rooms_release(&broker->rooms, room);
		return r;
	}
	call_say(call, "%.*s %lu", (int)room_name.len, room_name.data, (unsigned long)seq);
	return 0;
}

static int command_say(struct call *call)
{
	struct text room = call_word(call);

	if (!text_is_room(room))
		return call_refuse(call, "not a room name");
	return call_say_in(call, room, call->argument);
}

static int command_wall(struct call *call)
{
	return call_say_in(call, TEXT("wall"), call->argument);
}

static int command_kick(struct call *call)
{
	struct text name = call_word(call);
	char actor[BROKER_ACTOR_MAX];
	unsigned n_kicked = 0;

	if (name.len == 0)
		return call_refuse(call, "a name is missing");
	list_for_each (link, &call->broker->sessions) {
		struct session *session = container_of(link, struct session, sessions_link);

		if (!session->person || !text_equal(text_of(session->person->name), name))
			continue;
		fast_revoke(session);
		session_close(session, false, 0, "KICKED", "%.*s", (int)call->argument.len,
			call->argument.data);
		n_kicked++;
	}
	if (n_kicked == 0)
		return call_refuse(call, "nobody of this name is here");
	call->broker->n_kicked += n_kicked;
	trace_shared(&call->broker->admin.lines, TRACE_WARNING,
		"kicked name=%.*s sessions=%u by=%s reason=\"%.*s\"", (int)name.len, name.data,
		n_kicked, broker_actor(call->uid, actor), (int)call->argument.len,
		call->argument.data);
	call_say(call, "%u sessions", n_kicked);
	return 0;
}

static int command_loglevel(struct call *call)
{
	enum trace_level level;

	if (!trace_find_level(call->argument, &level))
		return call_refuse(call, "the level is one of error, warning, info, debug");
	trace_set_level(level);
	call_say(call, "log level %.*s", (int)call->argument.len, call->argument.data);
	return 0;
}

struct command {
	const char *verb;
	const char *usage;
	int (*run)(struct call *call);
};

static const struct command commands[] = {
	{ "STOP", "STOP [reason]", command_stop },
	{ "STATS", "STATS", command_stats },
	{ "ROOMS", "ROOMS", command_rooms },
	{ "WHO", "WHO", command_who },
	{ "SAY", "SAY room text", command_say },
	{ "WALL", "WALL text", command_wall },
	{ "KICK", "KICK name [reason]", command_kick },
	{ "LOGLEVEL", "LOGLEVEL level", command_loglevel },
};

const char *admin_usage(unsigned i)
{
	return i < ARRAY_LEN(commands) ? commands[i].usage : NULL;
}

static const struct command *command_find(struct text verb)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (text_equal(verb, text_of(commands[i].verb)))
			return &commands[i];
	return NULL;
}

int admin_command(struct broker *broker, struct text line, uid_t uid, admin_output_fn *output,
	void *userdata, const char **ret_why)
{
	struct call call = { broker, line, uid, output, userdata, "" };
	const struct command *command;
	struct text verb;
	int r;

	if (!text_is_utf8(line)) {
		*ret_why = "not UTF-8";
		return ADMIN_E_REFUSED;
	}
	verb = call_word(&call);
	command = command_find(verb);
	if (!command) {
		*ret_why =
			"unknown command; there are STOP, STATS, ROOMS, WHO, SAY, WALL, KICK and "
			"LOGLEVEL";
		return ADMIN_E_REFUSED;
	}
	r = command->run(&call);
	*ret_why = call.why;
	return r;
}

/* ---- the status file ---- */

/* The result of a command that came through the FIFO, as PATH.status shows it: the
 * whole of it or the one before, never half. */
struct status {
	struct trace_share *lines; /* borrowed */
	FILE *file;
	unsigned n_lines;
};

/* Lines of a result that the diagnostics repeat; the status file has them all. */
#define STATUS_TRACED 40

static void status_line(void *userdata, struct text line)
{
	struct status *status = userdata;

	if (status->file)
		fprintf(status->file, "%.*s\n", (int)line.len, line.data);
	if (status->n_lines++ < STATUS_TRACED)
		trace_shared(status->lines, TRACE_INFO, "ctl %.*s", (int)line.len, line.data);
}

static FILE *status_open(const struct admin *admin, char *temporary, size_t size)
{
	char why[NODE_WHY_MAX];
	int r, fd;

	snprintf(temporary, size, "%s.new", admin->status_path);
	r = node_check(admin->status_path, S_IFREG, why);
	if (r && r != NODE_E_ABSENT)
		return NULL;
	r = node_check(temporary, S_IFREG, why);
	if (r == 0)
		unlink(temporary);
	else if (r != NODE_E_ABSENT)
		return NULL;
	fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	return fd < 0 ? NULL : fdopen(fd, "w");
}

static void status_finish(struct admin *admin, FILE *file, const char *temporary)
{
	bool failed = ferror(file) != 0;

	if (fclose(file) != 0 || failed || rename(temporary, admin->status_path) < 0) {
		trace_shared(&admin->lines, TRACE_WARNING,
			"status not written path=%s reason=\"%s\"", admin->status_path,
			strerror(errno));
		unlink(temporary);
	}
}

/* ---- the FIFO ---- */

static void admin_line(void *userdata, struct text line)
{
	struct broker *broker = userdata;
	struct admin *admin = &broker->admin;
	char temporary[4096];
	struct status status = { .lines = &admin->lines };
	const char *why = "";
	int r;

	if (line.len == 0)
		return;
	status.file = status_open(admin, temporary, sizeof temporary);
	trace_shared(&admin->lines, TRACE_INFO, "ctl command=\"%.*s\"",
		(int)MIN(line.len, (size_t)256), line.data);
	r = admin_command(broker, line, (uid_t)-1, status_line, &status, &why);
	if (r) {
		char text[256];
		int n = snprintf(text, sizeof text, "refused: %s", r < 0 ? strerror(-r) : why);

		status_line(&status, (struct text){ text, (size_t)n });
	}
	if (status.file)
		status_finish(admin, status.file, temporary);
}

/* Returns whether there was anything to read. */
static bool admin_read(struct admin *admin, struct broker *broker)
{
	char buffer[LINE_CAP];
	unsigned n_dropped;
	ssize_t n;

	n = read(admin->watch.fd, buffer, sizeof buffer);
	if (n <= 0)
		return false;
	n_dropped = line_feed(&admin->reader, buffer, (size_t)n, admin_line, broker);
	if (n_dropped > 0)
		trace_shared(&admin->lines, TRACE_WARNING,
			"ctl lines dropped count=%u reason=\"longer than %d bytes\"", n_dropped,
			LINE_CAP);
	admin->partial_since = broker->users.now;
	return true;
}

static void admin_ready(struct watch *watch, uint32_t events)
{
	struct admin *admin = container_of(watch, struct admin, watch);

	(void)admin_read(admin, container_of(admin, struct broker, admin));
}

/* What "echo STOP >" leaves behind while no broker runs: one short line that is a
 * command. Any other file is somebody's work, and stays. */
static bool file_is_command(const char *path)
{
	char why[NODE_WHY_MAX], buffer[LINE_CAP];
	struct text line = { buffer, 0 };
	const char *space;
	ssize_t n;
	int fd;

	if (node_check(path, S_IFREG, why))
		return false;
	fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, buffer, sizeof buffer);
	close(fd);
	if (n <= 0 || (size_t)n == sizeof buffer)
		return n == 0;
	line.len = (size_t)n;
	line = text_chomp(line);
	if (memchr(line.data, '\n', line.len))
		return false;
	space = memchr(line.data, ' ', line.len);
	if (space)
		line.len = (size_t)(space - line.data);
	return command_find(line) != NULL;
}

/* Is the FIFO read by another process? To ask has a price: a reader that waits for its first
 * writer takes this for one. Returns 0, NODE_E_HELD with WHY filled in, or -errno. */
static int fifo_check_reader(const char *path, char why[static NODE_WHY_MAX])
{
	int fd = open(path, O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return errno == ENXIO ? 0 : -errno;
	close(fd);
	snprintf(why, NODE_WHY_MAX, "another process reads %s", path);
	return NODE_E_HELD;
}

/* Open the FIFO, and give it its mode. *RET_IS_WIDE: others could write to it before. */
static int fifo_open(struct admin *admin, int *ret_fd, bool *ret_is_wide)
{
	bool has_group = admin->group != (gid_t)-1;
	mode_t mode = has_group ? 0620 : 0600;
	int fd = open(admin->path, O_RDWR | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC), r = 0;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &admin->node) < 0) {
		r = -errno;
	} else if (!S_ISFIFO(admin->node.st_mode) || !uid_owns(fd, &admin->node)) {
		r = -EPERM; /* somebody was quicker than the look */
	} else {
		*ret_is_wide = (admin->node.st_mode & 07777 & ~mode) ||
			       (admin->node.st_mode & 020 && admin->node.st_gid != admin->group);
		if ((has_group && fchown(fd, (uid_t)-1, admin->group) < 0) || fchmod(fd, mode) < 0)
			r = -errno;
	}
	if (r < 0) {
		close(fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

/* Take the FIFO that is there: a writer that waits since a broker was killed goes on. A FIFO
 * that more users could write to than may command is removed when its writers were woken.
 * Returns 0, an outcome as of node_check(), or -errno. */
static int fifo_take(struct admin *admin, int *ret_fd, char why[static NODE_WHY_MAX])
{
	bool is_wide = false;
	int r = node_check(admin->path, S_IFIFO, why), fd;

	if (r == NODE_E_FOREIGN && file_is_command(admin->path))
		return unlink(admin->path) < 0 && errno != ENOENT ? -errno : NODE_E_ABSENT;
	if (r == 0)
		r = fifo_check_reader(admin->path, why);
	if (r == 0)
		r = fifo_open(admin, &fd, &is_wide);
	if (r == -EACCES) /* its mode keeps everybody out, so nobody waits */
		return unlink(admin->path) < 0 && errno != ENOENT ? -errno : NODE_E_ABSENT;
	if (r)
		return r == -ENOENT ? NODE_E_ABSENT : r;
	if (!is_wide) {
		*ret_fd = fd;
		return 0;
	}
	r = unlink(admin->path) < 0 && errno != ENOENT ? -errno : NODE_E_ABSENT;
	close(fd);
	return r;
}

static int fifo_make(struct admin *admin, int *ret_fd)
{
	mode_t old = umask(077);
	int r = mkfifo(admin->path, 0600) < 0 ? -errno : 0;
	bool is_wide;

	umask(old);
	return r < 0 ? r : fifo_open(admin, ret_fd, &is_wide);
}

static int admin_start(struct admin *admin, struct broker *broker, char why[static NODE_WHY_MAX])
{
	int fd = -1, r = fifo_take(admin, &fd, why);

	if (r == NODE_E_ABSENT)
		r = fifo_make(admin, &fd);
	if (r)
		return r;
	admin->watch.fd = fd;
	r = loop_add(&broker->loop, &admin->watch, EPOLLIN);
	if (r < 0) {
		admin->watch.fd = -1;
		unlink(admin->path);
		close(fd);
	}
	return r;
}

int admin_open(struct admin *admin, struct broker *broker, const char *path, gid_t group,
	char why[static NODE_WHY_MAX])
{
	int r;

	admin->watch.ready = admin_ready;
	admin->path = path;
	admin->group = group;
	if (asprintf(&admin->status_path, "%s.status", path) < 0) {
		admin->status_path = NULL;
		return -ENOMEM;
	}
	r = node_lock(&admin->lock, path, why);
	if (r == 0)
		r = admin_start(admin, broker, why);
	admin->is_open = r == 0;
	if (r)
		admin_deinit(admin);
	return r;
}

/* Let the FIFO go; its name goes first, so that nobody opens what nobody will read. Returns its
 * descriptor, for the caller to close, or -1. */
static int admin_end(struct admin *admin, struct broker *broker)
{
	int fd = admin->watch.fd;

	if (fd < 0)
		return -1;
	if (node_is_same(admin->path, &admin->node))
		unlink(admin->path);
	loop_remove(&broker->loop, &admin->watch);
	admin->watch.fd = -1;
	return fd;
}

void admin_close(struct admin *admin, struct broker *broker)
{
	char why[NODE_WHY_MAX];

	if (!admin->is_open)
		return;
	admin->is_open = false;
	admin->lost = 0;
	admin->closing = admin_end(admin, broker);
	if (node_check(admin->status_path, S_IFREG, why) == 0)
		unlink(admin->status_path);
}

void admin_deinit(struct admin *admin)
{
	if (admin->closing >= 0)
		close(admin->closing);
	admin->closing = -1;
	node_unlock(&admin->lock);
	free(admin->status_path);
	admin->status_path = NULL;
}

static int admin_make_again(
	struct admin *admin, struct broker *broker, char why[static NODE_WHY_MAX])
{
	int r = node_lock_again(&admin->lock, admin->path, why), fd;

	if (r || (admin->watch.fd >= 0 && node_is_same(admin->path, &admin->node)))
		return r;
	/* read commands from before the FIFO vanished; a pipe usually holds 16 pages */
	for (int i = 0; admin->watch.fd >= 0 && i < 16; i++)
		if (!admin_read(admin, broker))
			break;
	line_drop(&admin->reader);
	fd = admin_end(admin, broker);
	if (fd >= 0)
		close(fd);
	r = admin_start(admin, broker, why);
	if (r == NODE_E_HELD && lstat(admin->path, &admin->node) == 0)
		admin->retry_at = broker->users.now + ADMIN_HELD_NS;
	return r;
}

bool admin_check(struct admin *admin, struct broker *broker)
{
	char why[NODE_WHY_MAX] = "";
	bool is_there;
	int r;

	if (!admin->is_open)
		return false;
	if (broker->users.now < admin->retry_at && node_is_same(admin->path, &admin->node))
		return false; /* another process reads it */
	admin->retry_at = 0;
	is_there = admin->watch.fd >= 0 && node_is_same(admin->path, &admin->node);
	if (is_there && node_lock_is_there(&admin->lock)) {
		admin->lost = 0; /* its directory was moved away and back */
		return false;
	}
	r = admin_make_again(admin, broker, why);
	if (r && r != admin->lost)
		trace(TRACE_ERROR, "ctl %slost path=%s reason=\"%s\"; the broker tries again",
			is_there ? "lock " : "", admin->path, r < 0 ? strerror(-r) : why);
	else if (r == 0)
		trace(TRACE_WARNING, "ctl %svanished path=%s; made again", is_there ? "lock " : "",
			admin->path);
	admin->lost = r;
	return r == 0;
}

uint64_t admin_expire(struct admin *admin, uint64_t now)
{
	if (admin->watch.fd < 0 || !line_is_partial(&admin->reader))
		return UINT64_MAX;
	if (now - admin->partial_since < ADMIN_PARTIAL_NS)
		return ADMIN_PARTIAL_NS - (now - admin->partial_since);
	trace_shared(
		&admin->lines, TRACE_WARNING, "ctl line dropped reason=\"its end did not come\"");
	line_drop(&admin->reader);
	return UINT64_MAX;
}
