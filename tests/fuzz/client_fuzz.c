/* client_fuzz.c - whatever a broker does, libchat and chat-client stay whole, say nothing
 * malformed, and come back from each call in time.
 *
 * An input is a script of two sides: hostile.c has the steps of the broker, and these are the
 * steps of the program:
 *
 *	o FLAGS              open a chat: 1 direct, 2 once, 4 poll its descriptor
 *	c                    close it
 *	j ROOM FLAGS FROM    join; ROOM is a digit, FLAGS and FROM as in chat.h
 *	p ROOM, k ROOM N     leave; tell that it was read
 *	s ROOM FLAGS N       say N * N bytes
 *	S N                  say N short messages that share packets
 *	e N                  receive N events
 *	l N                  flush, waiting N * 10 ms
 *	q TEXT NUL           ask
 *	C N                  run the subcommand N of chat-client, see commands
 *	/ TEXT NUL           a /command of the terminal
 *	T TEXT NUL           Tab behind that
 *	E N                  show N events on the terminal
 *	t N                  N * 100 ms go by
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client/ask.h"
#include "client/chat.h"
#include "client/command.h"
#include "client/complete.h"
#include "client/screen.h"
#include "client/shell.h"
#include "client/slash.h"
#include "client/top.h"
#include "protocol/base.h"
#include "protocol/limits.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/hostile.h"

#define NS_PER_MS  UINT64_C(1000000)
#define ROOMS_MAX  4
#define FDS_MAX    256
#define SLACK_MS   1500 /* a call may look at the clock only so often */
#define MEMORY_MAX (128u << 20)

/* Descriptors that the broker passes must not use up those of the program. */
#define DESCRIPTORS_MAX 128

size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

static struct {
	struct script script;
	struct chat *chat;
	struct shell shell;
	FILE *null, *out, *err;
	int timeout_ms; /* of open, join and request */
} fuzz;

static const char *const targets[] = { "lobby", "room", "build.ci", "@bob", "@alice", "wall" };

static const char *pick_target(void)
{
	return targets[script_byte(&fuzz.script) % ARRAY_LEN(targets)];
}

/* ---- what holds after each step ---- */

static unsigned count_fds(void)
{
	unsigned n = 0;

	for (int fd = 3; fd < FDS_MAX; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* Descriptors that a thread closes are closed soon. */
static void expect_fds(unsigned n)
{
	time_t end = time(NULL) + 20;

	while (count_fds() != n) {
		EXPECT(time(NULL) < end);
		sched_yield();
	}
}

/* A call that began at START may have waited so long. */
static void expect_within(uint64_t start, uint64_t ms)
{
	EXPECT(hostile_now() - start <= (ms + SLACK_MS) * NS_PER_MS);
	EXPECT(count_fds() < DESCRIPTORS_MAX);
	if (__sanitizer_get_current_allocated_bytes)
		EXPECT(__sanitizer_get_current_allocated_bytes() < MEMORY_MAX);
}

static volatile char sum_read;

/* A sanitizer sees whether each byte may be read. */
static void read_all(const char *bytes, size_t len)
{
	char sum = 0;

	for (size_t i = 0; i < len; i++)
		sum ^= bytes[i];
	sum_read = sum;
}

static void expect_string(const char *string)
{
	EXPECT(!string || strlen(string) < 2048);
}

static void expect_event(const struct chat_event *event)
{
	read_all(event->body, event->len);
	expect_string(event->name);
	expect_string(event->of);
	expect_string(event->code);
	expect_string(event->text);
	expect_string(event->target);
	EXPECT(event->target || event->type == CHAT_DOWN || event->type == CHAT_UP);
	EXPECT(event->type != CHAT_MESSAGE || (event->name && event->len <= BODY_LEN_MAX));
	EXPECT((event->type != CHAT_REFUSED && event->type != CHAT_DOWN) ||
		(event->code && event->text));
	EXPECT((event->type != CHAT_GAP && event->type != CHAT_SET) || event->text);
}

/* ---- libchat ---- */

static void step_open(void)
{
	unsigned flags = script_byte(&fuzz.script);
	struct chat_config config = {
		.socket = "@hostile", .name = "alice", .direct = flags & 1, .once = flags & 2
	};
	uint64_t start = hostile_now();

	if (fuzz.chat)
		return;
	if (chat_open(&fuzz.chat, &config) < 0)
		expect_string(chat_error(fuzz.chat));
	expect_within(start, 5000);
	EXPECT(fuzz.chat);
	if (flags & 4)
		(void)chat_fd(fuzz.chat);
	fuzz.shell.chat = fuzz.chat;
}

static void step_close(void)
{
	uint64_t start = hostile_now();

	fuzz.chat = fuzz.shell.chat = chat_close(fuzz.chat);
	expect_within(start, 0);
	fuzz.shell.n_rooms = 0;
	fuzz.shell.target[0] = '\0';
}

static void step_join(void)
{
	const char *target = pick_target();
	unsigned flags = script_byte(&fuzz.script) & (CHAT_PRESENCE | CHAT_FAST | CHAT_EPHEMERAL);
	unsigned from = script_byte(&fuzz.script) % 5;
	uint64_t start = hostile_now(), next;

	(void)chat_join(fuzz.chat, target, (enum chat_from)from, from, flags, &next);
	expect_within(start, 5000);
}

static void step_send(void)
{
	static char body[65536];
	const char *target = pick_target();
	unsigned flags = script_byte(&fuzz.script), n = script_byte(&fuzz.script);

	flags &= CHAT_MORE | CHAT_FAST | CHAT_EPHEMERAL;
	(void)chat_send(fuzz.chat, target, body, n * n, flags | CHAT_NONBLOCK);
}

static void step_receive(void)
{
	unsigned n = script_byte(&fuzz.script);
	struct chat_event event;
	uint64_t start;

	for (; n > 0; n--) {
		start = hostile_now();
		if (chat_receive(fuzz.chat, &event, (int)(n % 2 * 50)) != 1)
			continue;
		expect_within(start, n % 2 * 50);
		expect_event(&event);
	}
}

static void ask_row(void *userdata, const char *row, size_t len)
{
	read_all(row, len);
}

static void step_ask(void)
{
	char request[256];
	const char *answer;
	uint64_t start = hostile_now();

	script_text(&fuzz.script, request, sizeof request);
	if (chat_request(fuzz.chat, request, NULL, 0, 2000, ask_row, NULL, &answer) >= 0)
		expect_string(answer);
	expect_within(start, 2000);
}

/* ---- chat-client ---- */

/* The command opens a chat of its own; the broker serves the chat that was opened last. */
static void step_command(void)
{
	static const char *const lines[] = {
		"who",
		"who room",
		"rooms",
		"unread",
		"history room",
		"find room text",
		"stats",
		"stats rings",
		"room room",
		"room room topic",
		"time",
		"ping",
		"ctl STATS",
		"listen room lobby",
		"say room text",
		"top",
	};
	unsigned number = script_byte(&fuzz.script);
	struct settings settings = { .socket = "@hostile",
		.name = "alice",
		.json = number & 64,
		.fast = number & 128,
		.once = true,
		.has_count = true,
		.count = 4,
		.timeout_ms = 3000 };
	char line[32], *at = line, *words[4];
	const struct subcommand *command;
	uint64_t start;
	int n = 0;

	if (fuzz.chat)
		step_close();
	strcpy(line, lines[number % ARRAY_LEN(lines)]);
	while (at)
		words[n++] = strsep(&at, " ");
	command = subcommand_find(words[0]);
	settings.has_timeout = strcmp(words[0], "listen") == 0;
	settings.has_since = number & 32 && strcmp(words[0], "history") == 0;
	start = hostile_now();
	stdout = fuzz.null;
	stderr = fuzz.null;
	(void)command->run(&settings, n - 1, words + 1);
	stdout = fuzz.out;
	stderr = fuzz.err;
	expect_within(start, 15 * 60 * 1000); /* lists and flushes have a time as a whole */
}

static void step_slash(void)
{
	char line[256] = "/";
	uint64_t start = hostile_now();

	script_text(&fuzz.script, line + 1, sizeof line - 1);
	slash_run(&fuzz.shell, line);
	expect_within(start, 120 * 1000);
}

static void step_tab(void)
{
	char line[256], *word;
	uint64_t start = hostile_now();
	char **matches;

	script_text(&fuzz.script, line, sizeof line);
	word = strrchr(line, ' ');
	if (word)
		*word++ = '\0';
	matches = complete_word(&fuzz.shell, word ? word : line, word ? line : "");
	for (char **match = matches; match && *match; match++)
		free(*match);
	free(matches);
	expect_within(start, 1000);
}

static void step_show(void)
{
	unsigned n = script_byte(&fuzz.script);
	struct chat_event event;

	while (n-- > 0 && chat_receive(fuzz.chat, &event, 0) == 1) {
		expect_event(&event);
		shell_render(&fuzz.shell, &event);
	}
}

/* ---- in the place of the terminal ---- */

FILE *__wrap_screen_out(void);
void __wrap_screen_flush(void);
bool __wrap_screen_has_colour(void);
void __wrap_screen_set_prompt(const char *target);

FILE *__wrap_screen_out(void)
{
	return fuzz.null;
}

void __wrap_screen_flush(void)
{
}

bool __wrap_screen_has_colour(void)
{
	return true;
}

void __wrap_screen_set_prompt(const char *target)
{
}

/* ---- scripts ---- */

static void step_chat(unsigned step)
{
	uint64_t start = hostile_now();
	const char *target;
	unsigned n;

	switch (step) {
	case 'c':
		step_close();
		break;
	case 'j':
		step_join();
		break;
	case 'p':
		(void)chat_part(fuzz.chat, pick_target());
		expect_within(start, 5000);
		break;
	case 'k':
		target = pick_target();
		(void)chat_seen(fuzz.chat, target, script_byte(&fuzz.script));
		break;
	case 's':
		step_send();
		break;
	case 'S':
		for (n = script_byte(&fuzz.script); n > 0; n--)
			(void)chat_send(fuzz.chat, "room", "short", 5, CHAT_MORE | CHAT_NONBLOCK);
		break;
	case 'e':
		step_receive();
		break;
	case 'l':
		n = script_byte(&fuzz.script) * 10;
		(void)chat_flush(fuzz.chat, (int)n);
		expect_within(start, n);
		break;
	case 'q':
		step_ask();
		break;
	case '/':
		step_slash();
		break;
	case 'T':
		step_tab();
		break;
	case 'E':
		step_show();
		break;
	}
}

static void step_run(void)
{
	unsigned step;

	if (hostile_step())
		return;
	step = script_byte(&fuzz.script);
	if (step == 'o')
		step_open();
	else if (step == 'C')
		step_command();
	else if (step == 't')
		hostile_add_time(script_byte(&fuzz.script) * 100 * NS_PER_MS);
	else if (fuzz.chat)
		step_chat(step);
}

static void set_up(void)
{
	fuzz.null = fopen("/dev/null", "w");
	EXPECT(fuzz.null);
	fuzz.out = stdout;
	fuzz.err = stderr;
	setenv("CHAT_LOOK", "0", 1);
	unsetenv("CHAT_NO_SHM");
	setenv("TERM", "dumb", 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	unsigned n_before;

	if (!fuzz.null)
		set_up();
	fuzz.script = (struct script){ data, data + len };
	hostile_init(&fuzz.script);
	fuzz.shell = (struct shell){ .day = -1 };
	n_before = count_fds();
	while (fuzz.script.at < fuzz.script.end)
		step_run();
	if (fuzz.chat)
		step_close();
	free(fuzz.shell.rooms);
	hostile_deinit();
	expect_fds(n_before);
	return 0;
}
