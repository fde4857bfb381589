/* script.c - the subcommands that speak and listen, see script.h.
 *
 * Both go on through a loss of the broker, as libchat does; saying is done when
 * everything is acknowledged, listening when it was asked to end.
 */
#include "client/script.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client/ask.h"
#include "client/lines.h"
#include "client/render.h"
#include "protocol/number.h"

/* Enough for a broker to be started again, or a full disk to be noticed. */
#define FLUSH_TIMEOUT_MS 30000

#define SEEN_TIMEOUT_MS 5000

/* Events that are taken before standard input and the clock are looked at again. */
#define EVENTS_MAX 1024

struct say {
	struct chat *chat;
	const char *target;
	unsigned flags;          /* of chat_send() */
	int status;              /* the first failure that did not end it */
	uint64_t n_said, n_back; /* messages, and those of them that came back */
	uint64_t said;           /* the number of the last one of these */
	uint64_t seen;           /* up to where the other side has read */
	bool has_missed;         /* the connection was lost: so far as is known */
};

int script_check_target(const char *target)
{
	struct text text = text_of(target), a, b;

	if (text_is_room(text) || text_is_direct(text) || text_is_conversation(text, &a, &b))
		return STATUS_OK;
	return complain_usage(
		"'%s' is no room name (a-z 0-9 _ - and single dots) and no @NAME", target);
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* The flags of chat_send() and chat_join() that SETTINGS ask for. */
static unsigned script_flags(const struct settings *settings)
{
	return (settings->fast ? CHAT_FAST : 0) | (settings->ephemeral ? CHAT_EPHEMERAL : 0);
}

static void say_failed(struct say *say, int status)
{
	if (!say->status)
		say->status = status;
}

/* Tell of GAP, DOWN and the like on standard error, as one escaped line. */
static void tell(const struct chat_event *event)
{
	fputs("chat-client: ", stderr);
	render_notice(stderr, event);
	fputc('\n', stderr);
}

static void say_events(struct say *say)
{
	struct chat_event event;

	for (int n = 0; n < EVENTS_MAX && chat_receive(say->chat, &event, 0) > 0; n++) {
		if (event.type == CHAT_MESSAGE) {
			say->said = event.own ? event.seq : say->said;
			say->n_back += event.own;
			continue;
		}
		if (event.type == CHAT_JOINED || event.type == CHAT_PARTED)
			continue;
		say->has_missed |= event.type == CHAT_UP;
		if (event.type == CHAT_SEEN) {
			if (strcmp(event.name, say->target + 1) == 0)
				say->seen = MAX(say->seen, event.seq);
			continue;
		}
		tell(&event);
		if (event.type == CHAT_REFUSED)
			say_failed(say, status_of_code(text_of(event.code)));
		if (event_is_deletion(&event)) /* nobody can read it any more */
			say_failed(say, STATUS_REFUSED);
	}
}

static int say_text(struct say *say, struct text text, unsigned flags)
{
	int r = chat_send(say->chat, say->target, text.data, text.len, say->flags | flags);

	say->n_said += r == 0;
	return r < 0 ? chat_failed(say->chat, r) : STATUS_OK;
}

/* Wait for the acknowledgements; returns the exit status of it all. */
static int say_finish(struct say *say)
{
	int r = chat_flush(say->chat, FLUSH_TIMEOUT_MS);

	say_events(say);
	if (r < 0) {
		say_failed(say, chat_failed(say->chat, r));
	} else if (r > 0) {
		say_failed(say, STATUS_REFUSED);
	}
	return say->status;
}

/* The next line that can be said; complains about those that can not. */
static bool say_next(struct say *say, struct lines *lines, struct text *ret_line)
{
	int r;

	while ((r = lines_next(lines, ret_line)) == LINES_LONG)
		say_failed(say, complain_usage("line %" PRIu64 " is longer than %d bytes: not said",
					lines->number, BODY_LEN_MAX));
	return r == 0;
}

/* Say all lines that are at hand: those that another one follows may share its
 * packet, the last one goes at once. The flush waits for nothing, it asks to have
 * them acknowledged: the next lines may be an hour away, and what is known to have
 * arrived is not said again to a broker that was started anew meanwhile. */
static int say_lines(struct say *say, struct lines *lines)
{
	struct text line, following = { "", 0 };
	bool more = say_next(say, lines, &line);

	while (more) {
		int r;

		more = say_next(say, lines, &following);
		r = say_text(say, line, more ? CHAT_MORE : 0);
		if (r)
			return r;
		line = following;
	}
	chat_flush(say->chat, 0);
	return STATUS_OK;
}

static int say_input(struct say *say)
{
	static struct lines lines;
	int r;

	lines_init(&lines, STDIN_FILENO);
	while (!lines.eof) {
		struct pollfd fds[] = {
			{ .fd = STDIN_FILENO, .events = POLLIN },
			{ .fd = chat_fd(say->chat), .events = POLLIN },
		};

		if (poll(fds, ARRAY_LEN(fds), -1) < 0 && errno != EINTR)
			return STATUS_SYSTEM;
		if (fds[1].revents)
			say_events(say);
		if (!fds[0].revents)
			continue;
		r = lines_fill(&lines);
		if (r < 0) {
			complain("standard input: %s", strerror(-r));
			return STATUS_SYSTEM;
		}
		r = say_lines(say, &lines);
		if (r)
			return r;
	}
	return STATUS_OK;
}

char *script_join_words(int argc, char **argv)
{
	char *text, *end;
	size_t size = 1;

	for (int i = 0; i < argc; i++)
		size += strlen(argv[i]) + 1;
	text = end = malloc(size);
	if (!text) {
		complain("out of memory");
		return NULL;
	}
	*end = '\0';
	for (int i = 0; i < argc; i++)
		end += sprintf(end, "%s%s", i > 0 ? " " : "", argv[i]);
	return text;
}

/* The words as they stood on the command line. */
static int say_words(struct say *say, int argc, char **argv)
{
	char *text = script_join_words(argc, argv);
	int r;

	if (!text)
		return STATUS_SYSTEM;
	r = say_text(say, text_of(text), 0);
	free(text);
	return r;
}

/* To hear of what is said here, and read there. */
static int say_join(struct say *say)
{
	int r = chat_join(say->chat, say->target, CHAT_NEW, 0, CHAT_PRESENCE, NULL);

	if (r < 0) {
		complain("%s: %s", say->target, chat_error(say->chat));
		return status_of_error(r);
	}
	return STATUS_OK;
}

/* It may have been read while nobody could tell. */
static void say_ask_seen(struct say *say)
{
	char request[16 + TARGET_LEN_MAX];
	const char *answer = "";
	uint64_t seen;

	snprintf(request, sizeof request, "SEEN %s", say->target);
	if (chat_request(say->chat, request, NULL, 0, SEEN_TIMEOUT_MS, NULL, NULL, &answer) == 0 &&
		number_parse(row_value(text_of(answer), "other="), &seen)) {
		say->seen = MAX(say->seen, seen);
		say->has_missed = false;
	}
}

/* Wait until what was said is read. */
static int say_await_seen(struct say *say, const struct settings *settings)
{
	uint64_t deadline = now_ms() + settings->timeout_ms;

	while (say->seen < say->said || say->n_back < say->n_said) {
		struct pollfd fd = { .fd = chat_fd(say->chat), .events = POLLIN };
		uint64_t now = now_ms();

		if (settings->has_timeout && now >= deadline)
			return STATUS_TIMED_OUT;
		(void)poll(&fd, 1, settings->has_timeout ? (int)(deadline - now) : -1);
		say_events(say);
		if (say->has_missed)
			say_ask_seen(say);
		if (say->status)
			return say->status;
	}
	return STATUS_OK;
}

static int say(const struct settings *settings, const char *target, int argc, char **argv)
{
	struct say say = { .target = target, .flags = script_flags(settings) };
	int r = script_check_target(target);

	if (r)
		return r;
	if (settings->ephemeral && !settings->fast)
		return complain_usage("--ephemeral goes with --fast");
	if (settings->until_seen && !text_is_direct(text_of(target)))
		return complain_usage("--until-seen is for @NAME");
	if (settings->has_timeout && !settings->until_seen)
		return complain_usage("--timeout is for --until-seen here");
	r = connect_open(&say.chat, settings, false);
	if (r)
		return r;
	if (settings->until_seen)
		r = say_join(&say);
	if (r) {
		chat_close(say.chat);
		return r;
	}
	r = argc > 0 ? say_words(&say, argc, argv) : say_input(&say);
	if (r)
		say_failed(&say, r);
	/* Also after an error: what was said before it shall arrive. */
	r = say_finish(&say);
	if (!r && settings->until_seen)
		r = say_await_seen(&say, settings);
	chat_close(say.chat);
	return r;
}

int script_say(const struct settings *settings, int argc, char **argv)
{
	if (argc == 0)
		return complain_usage("say takes a ROOM, and the TEXT or standard input");
	/* getopt(3) stopped at ROOM: a "--" after it is not text. */
	if (argc > 1 && strcmp(argv[1], "--") == 0) {
		if (argc == 2)
			return complain_usage("no TEXT after --");
		argv[1] = argv[0];
		return say(settings, argv[1], argc - 2, argv + 2);
	}
	return say(settings, argv[0], argc - 1, argv + 1);
}

int script_pipe(const struct settings *settings, const char *room)
{
	return say(settings, room, 0, NULL);
}

struct listen {
	const struct settings *settings;
	struct chat *chat;
	uint64_t deadline_ms, n_messages;
	unsigned n_rooms; /* that are listened to */
	bool is_refused;
	int status;
};

/* Milliseconds left; -1 when there is no limit. */
static int listen_left(const struct listen *listen)
{
	uint64_t now;

	if (!listen->settings->has_timeout)
		return -1;
	now = now_ms();
	return now < listen->deadline_ms ? (int)(listen->deadline_ms - now) : 0;
}

static int listen_join(struct listen *listen, const char *target)
{
	const struct settings *settings = listen->settings;
	enum chat_from from = settings->has_since  ? CHAT_TIME
			      : settings->has_last ? CHAT_LAST
						   : CHAT_NEW;
	uint64_t next;
	int r = chat_join(listen->chat, target, from,
		settings->has_since ? settings->since : settings->last, script_flags(settings),
		&next);

	if (r < 0) {
		complain("%s: %s", target, chat_error(listen->chat));
		return status_of_error(r);
	}
	fputs("listening ", stderr);
	render_text(stderr, text_of(target));
	fprintf(stderr, " from %" PRIu64 "\n", next);
	return STATUS_OK;
}

static void listen_show(struct listen *listen, const struct chat_event *event)
{
	if (listen->settings->json)
		render_json(stdout, event);
	else if (event->type != CHAT_MESSAGE)
		tell(event);
	else if (listen->settings->raw)
		render_raw(stdout, event);
	else
		render_plain(stdout, event);
	if (event->type == CHAT_MESSAGE)
		listen->n_messages++;
	/* After a reconnect a room is closed to us: do not wait in vain. */
	if (event->type == CHAT_REFUSED) {
		listen->status = status_of_code(text_of(event->code));
		listen->is_refused = true;
	}
	if (event_is_deletion(event) && --listen->n_rooms == 0) {
		listen->status = STATUS_REFUSED;
		listen->is_refused = true;
	}
}

/* False when standard output takes no more. That the reader of a pipe has gone is
 * no error: it has had enough. */
static bool listen_flush(struct listen *listen)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return true;
	if (errno != EPIPE) {
		complain("standard output: %s", strerror(errno));
		listen->status = STATUS_OUTPUT;
	}
	return false;
}

/* Wait for the broker, the time-out, or the other end of the pipe to close: that
 * would else be noticed with the next message only. False: it has closed. */
static bool listen_wait(struct listen *listen)
{
	struct pollfd fds[] = {
		{ .fd = chat_fd(listen->chat), .events = POLLIN },
		{ .fd = STDOUT_FILENO, .events = 0 },
	};

	if (poll(fds, ARRAY_LEN(fds), listen_left(listen)) <= 0)
		return true;
	return !(fds[1].revents & (POLLERR | POLLHUP | POLLNVAL));
}

static bool listen_has_enough(const struct listen *listen)
{
	if (listen->is_refused)
		return true;
	return listen->settings->has_count && listen->n_messages == listen->settings->count;
}

/* Show what is there. Returns as chat_receive() when there is no more, or 0. */
static int listen_drain(struct listen *listen)
{
	struct chat_event event;
	int r;

	while ((r = chat_receive(listen->chat, &event, 0)) > 0) {
		listen_show(listen, &event);
		if (listen_has_enough(listen) || ferror(stdout) || listen_left(listen) == 0)
			return 0;
	}
	return r;
}

static int listen_run(struct listen *listen)
{
	for (;;) {
		int r = listen_drain(listen);

		/* One write for all of a burst. */
		if (!listen_flush(listen) || listen_has_enough(listen))
			return listen->status;
		if (r < 0)
			return chat_failed(listen->chat, r);
		if (listen_left(listen) == 0)
			return listen->settings->has_count ? STATUS_TIMED_OUT : STATUS_OK;
		if (!listen_wait(listen))
			return STATUS_OK;
	}
}

static bool is_one_of(const char *word, char **words, int n_words)
{
	for (int i = 0; i < n_words; i++)
		if (strcmp(words[i], word) == 0)
			return true;
	return false;
}

int script_listen(const struct settings *settings, int argc, char **argv)
{
	struct listen listen = { .settings = settings };
	int r = STATUS_OK;

	if (argc == 0)
		return complain_usage("listen takes a ROOM or more");
	if (settings->json && settings->raw)
		return complain_usage("--json and --raw exclude each other");
	if (settings->has_last && settings->has_since)
		return complain_usage("--last and --since exclude each other");
	if (settings->ephemeral && !settings->fast)
		return complain_usage("--ephemeral goes with --fast");
	for (int i = 0; i < argc && !r; i++)
		r = script_check_target(argv[i]);
	if (r)
		return r;
	listen.deadline_ms = now_ms() + settings->timeout_ms;
	r = connect_open(&listen.chat, settings, false);
	if (r)
		return r;
	for (int i = 0; i < argc && !r; i++)
		r = listen_join(&listen, argv[i]);
	for (int i = 0; i < argc; i++)
		listen.n_rooms += !is_one_of(argv[i], argv, i);
	if (!r)
		r = listen_run(&listen);
	chat_close(listen.chat);
	return r;
}
