/* shell.c - see shell.h.
 *
 * One loop over the keyboard, the broker and the signals. Whatever the broker has
 * sent is drained before the loop waits, and shown at once.
 */
#include "client/shell.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client/ask.h"
#include "client/brokers.h"
#include "client/complete.h"
#include "client/render.h"
#include "client/room.h"
#include "client/screen.h"
#include "client/slash.h"

/* Lines that are shown with one redraw: bounded, so that keys are still heard
 * while a room is flooded. */
#define BURST_LINES_MAX 200

/* What was said last shall arrive, but nobody waits long to leave. */
#define LEAVE_TIMEOUT_MS 2000

/* Events that are looked through for refusals then. */
#define LEAVE_EVENTS_MAX 10000

#define NS_PER_S 1000000000u

void shell_show(const char *format, ...)
{
	char *words = NULL;
	va_list args;
	int n;

	va_start(args, format);
	n = vasprintf(&words, format, args);
	va_end(args);
	if (n < 0)
		return;
	fputs("-- ", screen_out());
	render_text(screen_out(), text_of(words));
	fputc('\n', screen_out());
	free(words);
}

void shell_refused(struct shell *shell, int r, const char *answer, const char *about)
{
	size_t code_len = strcspn(answer, " ");

	if (r < 0)
		shell_show("%s", chat_error(shell->chat));
	else
		shell_show("refused: %s%s%s (%.*s)", answer[code_len] ? answer + code_len + 1 : "",
			about ? ": " : "", about ? about : "", (int)code_len, answer);
}

void shell_leave(struct shell *shell, int status)
{
	shell->leaving = true;
	shell->status = status;
}

static size_t room_index(const struct shell *shell, const char *target)
{
	size_t i = 0;

	while (i < shell->n_rooms && strcmp(shell->rooms[i], target) != 0)
		i++;
	return i;
}

bool shell_has(const struct shell *shell, const char *target)
{
	return room_index(shell, target) < shell->n_rooms;
}

static void shell_forget(struct shell *shell, const char *target)
{
	size_t i = room_index(shell, target);

	if (i == shell->n_rooms)
		return;
	shell->n_rooms--;
	memmove(shell->rooms + i, shell->rooms + i + 1,
		(shell->n_rooms - i) * sizeof(*shell->rooms));
}

/* Whether, how much and for how long it is kept. */
static void shell_describe(struct shell *shell, const char *target)
{
	char words[ROOM_WORDS_MAX];
	struct room_about about;
	const char *answer;

	if (room_ask(shell->chat, target, SHELL_ANSWER_TIMEOUT_MS, &about, &answer) != 0 ||
		!about.is_there)
		return;
	room_describe(&about, words);
	shell_show("%s: %s", target, words);
}

bool shell_join(struct shell *shell, const char *target, uint64_t last)
{
	char(*rooms)[TARGET_LEN_MAX + 1];
	int r;

	r = chat_join(shell->chat, target, CHAT_LAST, last, CHAT_PRESENCE, NULL);
	if (r < 0) {
		shell_show("%s: %s", target, chat_error(shell->chat));
		return false;
	}
	shell_describe(shell, target);
	if (shell_has(shell, target))
		return true;
	rooms = reallocarray(shell->rooms, shell->n_rooms + 1, sizeof(*rooms));
	if (!rooms) {
		chat_part(shell->chat, target);
		shell_show("out of memory");
		return false;
	}
	shell->rooms = rooms;
	snprintf(rooms[shell->n_rooms++], sizeof(*rooms), "%s", target);
	return true;
}

bool shell_part(struct shell *shell, const char *target)
{
	int r;

	if (!shell_has(shell, target)) {
		shell_show("you are not in %s", target);
		return false;
	}
	r = chat_part(shell->chat, target);
	if (r < 0) {
		shell_show("%s", chat_error(shell->chat));
		return false;
	}
	shell_forget(shell, target);
	return true;
}

static void shell_prompt(const struct shell *shell)
{
	screen_set_prompt(shell->is_asked_to_stop ? "stop it? [y/N]" : shell->target);
}

void shell_switch(struct shell *shell, const char *target)
{
	if (strcmp(shell->target, target) == 0)
		return;
	snprintf(shell->target, sizeof(shell->target), "%s", target);
	/* Lines above this one have no room before them that now would have one. */
	if (*target)
		shell_show("talking %s %s", target[0] == '@' ? "to" : "in", target);
	else
		shell_show("you are in no room; /join one");
}

void shell_say(struct shell *shell, const char *target, const char *text)
{
	int r;

	if (!*target) {
		shell_show("you are in no room; /join one");
		return;
	}
	r = chat_send(shell->chat, target, text, strlen(text), CHAT_NONBLOCK);
	if (r == -EAGAIN)
		shell_show("not said: too much is waiting for the broker");
	else if (r == -EMSGSIZE)
		shell_show("not said: longer than %d bytes", BODY_LEN_MAX);
	else if (r < 0)
		shell_show("not said: %s", chat_error(shell->chat));
	else
		chat_flush(shell->chat, 0); /* ask to have it acknowledged; wait for nothing */
	if (r >= 0 && !chat_is_up(shell->chat))
		shell_show("not connected; it is said when the broker is back");
}

static void count_row(void *userdata, const char *row, size_t len)
{
	++*(size_t *)userdata;
}

static void shell_stop(struct shell *shell)
{
	const char *answer = "";
	int r = chat_request(
		shell->chat, "STOP", NULL, 0, SHELL_ANSWER_TIMEOUT_MS, NULL, NULL, &answer);

	if (r) {
		shell_refused(shell, r, answer, NULL);
		return;
	}
	shell_show("the broker stops");
	shell_leave(shell, STATUS_OK);
}

/* The line STOP. Who stops a broker under others shall know it. */
static void shell_ask_to_stop(struct shell *shell)
{
	const char *answer = "";
	size_t n_sessions = 0;
	int r = chat_request(shell->chat, "CTL", "STATS", strlen("STATS"), SHELL_ANSWER_TIMEOUT_MS,
		NULL, NULL, &answer); /* who may not do this may not stop it either */

	if (!r)
		r = ask_pages(shell->chat, "WHO", SHELL_ANSWER_TIMEOUT_MS, count_row, &n_sessions,
			&answer);
	if (r) {
		shell_refused(shell, r, answer, NULL);
	} else if (n_sessions <= 1) {
		shell_stop(shell);
	} else {
		shell_show("%zu other session%s connected; stop the broker for all of them?",
			n_sessions - 1, n_sessions == 2 ? " is" : "s are");
		shell->is_asked_to_stop = true;
	}
}

static void shell_answer_stop(struct shell *shell, const char *line)
{
	shell->is_asked_to_stop = false;
	if (strcmp(line, "y") == 0 || strcmp(line, "yes") == 0)
		shell_stop(shell);
	else if (!*line || strcmp(line, "n") == 0 || strcmp(line, "no") == 0)
		shell_show("not stopped");
	else
		shell_show("not stopped; that was no y, and was not said: %s", line);
}

/* Is LINE nothing but WORD? Blanks behind it are not seen by who types them. */
static bool line_is(const char *line, const char *word)
{
	size_t len = strlen(word);

	return strncmp(line, word, len) == 0 && line[len + strspn(line + len, " \t")] == '\0';
}

/* One typed line: a command, or something to say. */
static void shell_line(struct shell *shell, char *line)
{
	if (shell->is_asked_to_stop)
		shell_answer_stop(shell, line);
	else if (!*line)
		return;
	else if (line_is(line, "QUIT"))
		shell_leave(shell, STATUS_OK);
	else if (line_is(line, "STOP"))
		shell_ask_to_stop(shell);
	else if (line[0] == '/' && line[1] != '/')
		slash_run(shell, line);
	else
		shell_say(shell, shell->target, line[0] == '/' ? line + 1 : line);
}

/* Several lines at once were pasted: all of it is text, nothing a command. */
static void shell_paste(struct shell *shell, char *text)
{
	char *line;

	while ((line = strsep(&text, "\n")))
		if (*line)
			shell_say(shell, shell->target, line);
}

static void shell_enter(void *userdata, char *text)
{
	struct shell *shell = userdata;
	size_t len;

	if (!text) {
		shell_leave(shell, STATUS_OK);
		return;
	}
	for (char *c = text; *c; c++)
		if (*c == '\r')
			*c = '\n';
	for (len = strlen(text); len > 0 && text[len - 1] == '\n'; len--)
		text[len - 1] = '\0';
	if (strchr(text, '\n') && !shell->is_asked_to_stop)
		shell_paste(shell, text);
	else
		shell_line(shell, text);
}

/* A line with the date where it is not that of the line before. */
static void show_day(struct shell *shell, int64_t seconds)
{
	time_t when = (time_t)seconds;
	char shown[64] = "";
	struct tm tm;
	int day;

	if (!localtime_r(&when, &tm))
		return;
	day = tm.tm_year * 366 + tm.tm_yday;
	if (day == shell->day)
		return;
	if (shell->day >= 0) {
		strftime(shown, sizeof(shown), "%A, %-d %B %Y", &tm);
		shell_show("%s", shown);
	}
	shell->day = day;
}

/* Is EVENT one of those that tell this user nothing? */
static bool is_noise(struct shell *shell, const struct chat_event *event)
{
	bool was_lost = shell->lost;

	switch (event->type) {
	case CHAT_DOWN:
		shell->lost = true;
		return was_lost && !event->ended;
	case CHAT_UP:
		shell->lost = false;
		return !was_lost;
	case CHAT_JOINED:
	case CHAT_PARTED:
		return event->target[0] == '@' || strcmp(event->name, chat_name(shell->chat)) == 0;
	case CHAT_SEEN:
		return true;
	case CHAT_GAP: /* wall is read from now on: nothing of it is missed */
		return event->to == 0 && strcmp(event->target, "wall") == 0;
	default:
		return false;
	}
}

void shell_render(struct shell *shell, const struct chat_event *event)
{
	struct render_screen how = {
		.current = shell->target,
		.colour = screen_has_colour(),
		.now = time(NULL),
	};

	show_day(shell, event->type == CHAT_MESSAGE ? (int64_t)(event->time / NS_PER_S) : how.now);
	render_screen(screen_out(), &how, event);
}

static void shell_value(void *userdata, const char *row, size_t len)
{
	const char *key = userdata, *lf = memchr(row, '\n', len);

	if (lf)
		shell_show("%s: %.*s", key, (int)(row + len - lf - 1), lf + 1);
}

/* What it is now. The event is of the chat, and is gone when that is asked. */
static void shell_show_value(struct shell *shell, const struct chat_event *event)
{
	char target[TARGET_LEN_MAX + 1], key[NAME_LEN_MAX + 1];
	const char *answer;

	snprintf(target, sizeof target, "%s", event->target);
	snprintf(key, sizeof key, "%s", event->text);
	if (strcmp(key, "mode") == 0 || strcmp(key, "retain-bytes") == 0 ||
		strcmp(key, "retain-age") == 0)
		shell_describe(shell, target);
	else
		(void)room_get(shell->chat, target, key, SHELL_ANSWER_TIMEOUT_MS, shell_value, key,
			&answer);
}

/* Join the room where administrators write to everybody; be quiet if there is none. */
static void shell_watch_wall(struct shell *shell)
{
	chat_join(shell->chat, "wall", CHAT_NEW, 0, 0, NULL);
}

/* A line that is typed now would make the room again: the user is to choose. A conversation is one
 * that comes by itself when something is said. */
static void shell_lose_room(struct shell *shell, const char *target)
{
	char lost[TARGET_LEN_MAX + 1];

	snprintf(lost, sizeof lost, "%s", target);
	shell_forget(shell, lost);
	if (lost[0] != '@' && strcmp(lost, shell->target) == 0)
		shell_switch(shell, shell->n_rooms > 0 ? shell->rooms[0] : "");
}

static void shell_event(struct shell *shell, const struct chat_event *event)
{
	if (event_is_deletion(event) && strcmp(event->target, "wall") == 0 &&
		!shell_has(shell, "wall")) {
		shell_watch_wall(shell);
		return;
	}
	if (is_noise(shell, event))
		return;
	shell_render(shell, event);
	if (event->type == CHAT_SET) {
		shell_show_value(shell, event);
		return;
	}
	if (event->type == CHAT_REFUSED && event->id == 0)
		shell_forget(shell, event->target); /* its cursor is gone */
	if (event_is_deletion(event))
		shell_lose_room(shell, event->target);
	if (event->type == CHAT_DOWN && event->ended)
		shell_leave(shell, STATUS_NO_BROKER);
}

/* What was shown stands on the terminal: it is read. */
static void shell_tell_seen(struct shell *shell)
{
	screen_flush();
	for (size_t i = 0; i < shell->n_seen; i++)
		(void)chat_seen(shell->chat, shell->seen[i].target, shell->seen[i].seq);
	shell->n_seen = 0;
}

static void shell_note_seen(struct shell *shell, const struct chat_event *event)
{
	size_t i = 0;

	while (i < shell->n_seen && strcmp(shell->seen[i].target, event->target) != 0)
		i++;
	if (i == SHELL_SEEN_MAX)
		return; /* the next one of that room will do */
	snprintf(shell->seen[i].target, sizeof shell->seen[i].target, "%s", event->target);
	shell->seen[i].seq = event->seq;
	shell->n_seen = MAX(shell->n_seen, i + 1);
}

/* Returns true when there may be more. */
static bool shell_events(struct shell *shell)
{
	struct chat_event event;
	int n, r = 1;

	for (n = 0; n < BURST_LINES_MAX && !shell->leaving; n++) {
		r = chat_receive(shell->chat, &event, 0);
		if (r <= 0)
			break;
		shell_event(shell, &event);
		if (event.type == CHAT_MESSAGE)
			shell_note_seen(shell, &event);
	}
	if (r < 0 && !shell->leaving) {
		shell_show("%s", chat_error(shell->chat));
		shell_leave(shell, status_of_error(r));
	}
	return r > 0;
}

static void shell_interrupt(struct shell *shell)
{
	if (screen_clear_typed() || shell->is_asked_to_stop) {
		shell->is_asked_to_stop = false;
		shell->interrupted = false;
	} else if (shell->interrupted) {
		shell_leave(shell, STATUS_OK);
	} else {
		shell_show("Ctrl-C once more leaves");
		shell->interrupted = true;
	}
}

static void shell_signal(struct shell *shell)
{
	int number = screen_signal();

	if (number == SIGINT)
		shell_interrupt(shell);
	else if (number > 0)
		shell_leave(shell, STATUS_SIGNAL + number);
}

static void shell_wait(struct shell *shell, bool more)
{
	struct pollfd fds[] = {
		{ .fd = STDIN_FILENO, .events = POLLIN },
		{ .fd = chat_fd(shell->chat), .events = POLLIN },
		{ .fd = screen_signal_fd(), .events = POLLIN },
	};

	if (poll(fds, ARRAY_LEN(fds), more ? 0 : -1) <= 0)
		return;
	if (fds[2].revents)
		shell_signal(shell);
	if (shell->leaving)
		return;
	if (fds[0].revents & POLLIN) {
		shell->interrupted = false;
		screen_key();
	} else if (fds[0].revents) {
		shell_leave(shell, STATUS_SIGNAL + SIGHUP); /* the terminal is gone */
	}
}

static void shell_loop(struct shell *shell)
{
	while (!shell->leaving) {
		bool more = shell_events(shell);

		shell_tell_seen(shell);
		shell_prompt(shell);
		if (!shell->leaving)
			shell_wait(shell, more);
	}
}

/* ROOMS lists the direct conversations of one's own name: name the others. */
struct waiting {
	struct shell *shell;
	char names[256];
	size_t len, n;
};

static void waiting_row(void *userdata, const char *row, size_t len)
{
	struct waiting *waiting = userdata;
	struct text rest = { row, len }, a, b, own = text_of(chat_name(waiting->shell->chat));
	uint64_t n_unread = row_unread(rest);
	char unread[40] = "";
	int n;

	if (!text_is_conversation(row_word(&rest), &a, &b))
		return;
	if (text_equal(a, own))
		a = b;
	if (n_unread > 0)
		snprintf(unread, sizeof unread, " (%" PRIu64 " unread)", n_unread);
	n = snprintf(waiting->names + waiting->len, sizeof(waiting->names) - waiting->len,
		"%s@%.*s%s", waiting->len ? ", " : "", (int)a.len, a.data, unread);
	if (n > 0 && (size_t)n < sizeof(waiting->names) - waiting->len)
		waiting->len += (size_t)n;
	else
		waiting->names[waiting->len] = '\0';
	waiting->n++;
}

static void shell_greet(struct shell *shell)
{
	struct waiting waiting = { .shell = shell };
	const char *answer = "";

	shell_show("you are %s, at %s; /help lists the commands", chat_name(shell->chat),
		chat_socket(shell->chat));
	if (ask_pages(shell->chat, "ROOMS", SHELL_ANSWER_TIMEOUT_MS, waiting_row, &waiting,
		    &answer) == 0 &&
		waiting.len > 0)
		shell_show("conversations: %s%s; /join @NAME shows one", waiting.names,
			strlen(waiting.names) < waiting.len ? ", ..." : "");
}

/* Asked before the screen is open, on the bare terminal. Later, after a
 * reconnect, only a broker that is remembered is taken: start anew to be asked. */
static bool shell_trust(void *userdata, const char *path, uid_t uid)
{
	const struct shell *shell = userdata;
	char name[64], answer[16];
	int r;

	if (brokers_is_known(path, uid))
		return true;
	user_name(name, sizeof(name), uid);
	if (!shell->may_ask) {
		if (screen_out())
			shell_show("the broker at %s is now one of %s%suid %lu, which is not "
				   "trusted; leave and start chat-client anew to be asked",
				path, name, *name ? ", " : "", (unsigned long)uid);
		return false;
	}
	fputs("broker of ", stdout);
	render_text(stdout, text_of(name));
	printf("%suid %lu, at ", *name ? ", " : "", (unsigned long)uid);
	render_text(stdout, text_of(path));
	fputs("\nIt is not yours: its user can read and change what is said. "
	      "Go on, and remember it? [y/N] ",
		stdout);
	fflush(stdout);
	if (!fgets(answer, sizeof(answer), stdin)) {
		putchar('\n'); /* Ctrl-D left the cursor behind the question */
		fflush(stdout);
		return false;
	}
	if (answer[0] != 'y' && answer[0] != 'Y')
		return false;
	r = brokers_remember(path, uid);
	if (r)
		complain("it can not be remembered: %s", strerror(-r));
	return true;
}

/* What is still on its way when the user leaves: wait a little, and say what is left. */
static void shell_see_off(struct shell *shell)
{
	int timeout_ms = chat_is_up(shell->chat) ? LEAVE_TIMEOUT_MS : 0;
	struct chat_event event;
	int r = chat_flush(shell->chat, timeout_ms);

	if (r == -ESHUTDOWN)
		return; /* that the session is over was said */
	if (r < 0) {
		complain("some of your lines were not sent");
		if (shell->status < STATUS_SIGNAL)
			shell->status = STATUS_AGAIN;
	}
	if (r == 0)
		return;
	for (int n = 0; n < LEAVE_EVENTS_MAX; n++) {
		if (chat_receive(shell->chat, &event, 0) <= 0)
			break;
		if (event.type != CHAT_REFUSED)
			continue;
		fputs("chat-client: ", stderr);
		render_notice(stderr, &event);
		fputc('\n', stderr);
		if (!shell->status)
			shell->status = status_of_code(text_of(event.code));
	}
}

static int shell_start(struct shell *shell, int n, char **rooms)
{
	const struct screen_config config = {
		.enter = shell_enter,
		.complete = complete_word,
		.userdata = shell,
	};
	int r = screen_open(&config);

	if (r) {
		complain("the terminal can not be used: %s", strerror(-r));
		return STATUS_SYSTEM;
	}
	shell_greet(shell);
	for (int i = 0; i < n; i++)
		shell_join(shell, rooms[i], SHELL_LAST);
	if (shell->n_rooms > 0)
		snprintf(shell->target, sizeof(shell->target), "%s", shell->rooms[0]);
	if (!shell_has(shell, "wall"))
		shell_watch_wall(shell);
	return STATUS_OK;
}

int shell_run(const struct settings *settings, int n, char **rooms)
{
	struct shell shell = { .day = -1, .may_ask = true };
	int r;

	r = connect_ask(&shell.chat, settings, shell_trust, &shell);
	if (r)
		return r;
	shell.may_ask = false;
	shell.status = shell_start(&shell, n, rooms);
	if (!shell.status)
		shell_loop(&shell);
	screen_close();
	shell_see_off(&shell);
	chat_close(shell.chat);
	free(shell.rooms);
	return shell.status;
}
