/* ask.c - see ask.h; and the subcommands that are a question and its answer, see
 * script.h. */
#include "client/ask.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/past.h"
#include "client/render.h"
#include "client/script.h"
#include "protocol/number.h"

#define ANSWER_TIMEOUT_MS 10000

/* All pages of an answer that is printed: the reader of a pipe may be slow. */
#define LIST_TIMEOUT_MS 600000

/* Messages that are shown unless another number is asked for. */
#define HISTORY_LAST 20
#define FIND_LAST    100

struct text row_word(struct text *row)
{
	const char *space = memchr(row->data, ' ', row->len);
	struct text word = { row->data, space ? (size_t)(space - row->data) : row->len };
	size_t taken = word.len + (space ? 1 : 0);

	row->data += taken;
	row->len -= taken;
	return word;
}

struct text row_value(struct text row, const char *key)
{
	size_t len = strlen(key);

	while (row.len > 0) {
		struct text word = row_word(&row);

		if (word.len >= len && memcmp(word.data, key, len) == 0)
			return (struct text){ word.data + len, word.len - len };
	}
	return (struct text){ "", 0 };
}

uint64_t row_unread(struct text row)
{
	struct text seen_word = row_value(row, "seen=");
	uint64_t first, next, seen = 0;

	if (!number_parse(row_value(row, "first="), &first) ||
		!number_parse(row_value(row, "next="), &next) || next <= first ||
		(seen_word.len == 0 && row.data[0] != '@') ||
		(seen_word.len > 0 && !number_parse(seen_word, &seen)))
		return 0;
	return next > seen + 1 ? next - MAX(seen + 1, first) : 0;
}

uint64_t ask_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

int ask_left_ms(uint64_t until_ms)
{
	uint64_t now = ask_now_ms();

	return now < until_ms ? (int)MIN(until_ms - now, (uint64_t)INT_MAX) : 0;
}

/* A broker that means harm has pages without end: the time is bounded as a whole, and a page
 * that leads nowhere is the last. */
int ask_pages(struct chat *chat, const char *request, int timeout_ms, chat_row_fn *row,
	void *userdata, const char **ret_answer)
{
	uint64_t until = ask_now_ms() + (uint64_t)timeout_ms, next, after = 0;
	char page[LINE_LEN_MAX];
	int left, r;

	snprintf(page, sizeof(page), "%s", request);
	for (;;) {
		left = ask_left_ms(until);
		r = chat_request(chat, page, NULL, 0, MIN(left, ANSWER_TIMEOUT_MS), row, userdata,
			ret_answer);
		if (r || left == 0 ||
			!number_parse(row_value(text_of(*ret_answer), "next="), &next))
			return r;
		if (next <= after)
			return 0;
		after = next;
		snprintf(page, sizeof(page), "%s after=%" PRIu64, request, next);
	}
}

int refused(const char *answer, const char *about)
{
	size_t len = strcspn(answer, " ");

	complain("%s%s%s (%.*s)", answer[len] ? answer + len + 1 : "refused", about ? ": " : "",
		about ? about : "", (int)len, answer);
	return status_of_code((struct text){ answer, len });
}

/* Open, ask, and leave the session to the caller, for the sake of *ret_answer. */
static int ask(const struct settings *settings, struct chat **ret_chat, const char *request,
	const char *body, chat_row_fn *row, const char **ret_answer)
{
	int r = connect_open(ret_chat, settings, true);

	if (r)
		return r;
	r = chat_request(*ret_chat, request, body, body ? strlen(body) : 0, ANSWER_TIMEOUT_MS, row,
		NULL, ret_answer);
	if (r < 0)
		return chat_failed(*ret_chat, r);
	return r > 0 ? refused(*ret_answer, NULL) : STATUS_OK;
}

static void print_row(void *userdata, const char *row, size_t len)
{
	render_text(stdout, (struct text){ row, len });
	putchar('\n');
}

int finish(struct chat *chat, int status)
{
	chat_close(chat);
	if ((fflush(stdout) < 0 || ferror(stdout)) && errno != EPIPE && !status) {
		complain("standard output: %s", strerror(errno));
		return STATUS_OUTPUT;
	}
	return status;
}

/* Nothing but rows: every page of REQUEST, which is about ROOM unless that is NULL. */
static int list(const struct settings *settings, const char *request, const char *room)
{
	struct chat *chat = NULL;
	const char *answer = "";
	int r = connect_open(&chat, settings, true);

	if (r)
		return r;
	r = ask_pages(chat, request, LIST_TIMEOUT_MS, print_row, NULL, &answer);
	if (r < 0)
		return finish(chat, chat_failed(chat, r));
	return finish(chat, r > 0 ? refused(answer, room) : STATUS_OK);
}

/* ---- what was said ---- */

struct recall {
	const struct settings *settings;
	uint64_t n_told;
};

static void recall_tell(void *userdata, const struct chat_event *event)
{
	struct recall *recall = userdata;

	recall->n_told++;
	(recall->settings->json ? render_json : render_dated)(stdout, event);
}

/* The exit status when past_*() returned R. */
static int recall_end(struct chat *chat, int r, const char *answer, const char *target)
{
	if (r < 0)
		return finish(chat, chat_failed(chat, r));
	return finish(chat, r > 0 ? refused(answer, target) : STATUS_OK);
}

int script_history(const struct settings *settings, int argc, char **argv)
{
	struct past_range range = {
		.has_last = settings->has_last || !settings->has_since,
		.has_since = settings->has_since,
		.last = settings->has_last ? settings->last : HISTORY_LAST,
		.since = settings->since,
	};
	struct recall recall = { .settings = settings };
	struct settings follow = *settings;
	struct chat *chat = NULL;
	const char *answer = "";
	int r;

	if (argc != 1)
		return complain_usage("history takes one ROOM");
	if (settings->has_last && settings->has_since)
		return complain_usage("--last and --since exclude each other");
	if (settings->follow) {
		follow.has_last = range.has_last;
		follow.last = range.last;
		return script_listen(&follow, argc, argv);
	}
	r = script_check_target(argv[0]);
	if (!r)
		r = connect_open(&chat, settings, true);
	if (r)
		return r;
	r = past_read(chat, argv[0], &range, ANSWER_TIMEOUT_MS, recall_tell, &recall, &answer);
	return recall_end(chat, r, answer, argv[0]);
}

int script_find(const struct settings *settings, int argc, char **argv)
{
	struct recall recall = { .settings = settings };
	struct chat *chat = NULL;
	const char *answer = "";
	char *text;
	int r;

	/* getopt(3) stopped at ROOM: a "--" after it is not text */
	if (argc > 2 && strcmp(argv[1], "--") == 0) {
		argv[1] = argv[0];
		argc--;
		argv++;
	}
	if (argc < 2)
		return complain_usage("find takes a ROOM and the TEXT");
	if (settings->has_last && settings->last == 0)
		return complain_usage("--last takes a number from 1 here");
	r = script_check_target(argv[0]);
	if (r)
		return r;
	text = script_join_words(argc - 1, argv + 1);
	if (!text)
		return STATUS_SYSTEM;
	r = connect_open(&chat, settings, true);
	if (!r) {
		r = past_find(chat, argv[0], text, settings->has_last ? settings->last : FIND_LAST,
			ANSWER_TIMEOUT_MS, recall_tell, &recall, &answer);
		r = recall_end(chat, r, answer, argv[0]);
	}
	free(text);
	return r == STATUS_OK && recall.n_told == 0 ? STATUS_NONE : r;
}

/* ---- lists ---- */

int script_who(const struct settings *settings, int argc, char **argv)
{
	char request[16 + ROOM_LEN_MAX] = "WHO";

	if (argc > 1)
		return complain_usage("who takes one ROOM at most");
	if (argc == 1) {
		if (!text_is_room(text_of(argv[0])))
			return complain_usage("'%s' is no room name", argv[0]);
		snprintf(request, sizeof(request), "WHO %s", argv[0]);
	}
	return list(settings, request, argc == 1 ? argv[0] : NULL);
}

int script_rooms(const struct settings *settings, int argc, char **argv)
{
	if (argc > 0)
		return complain_usage("rooms takes no argument");
	return list(settings, "ROOMS", NULL);
}

struct unread {
	const struct settings *settings;
	const char *own;
	uint64_t n_rooms;
};

static void unread_row(void *userdata, const char *row, size_t len)
{
	struct unread *unread = userdata;
	struct text rest = { row, len }, room = row_word(&rest), a, b;
	uint64_t n = row_unread((struct text){ row, len });
	const char *at = "";

	if (n == 0)
		return;
	if (text_is_conversation(room, &a, &b)) {
		at = "@";
		room = text_equal(a, text_of(unread->own)) ? b : a;
	}
	if (unread->settings->brief)
		printf("%s%s%.*s:%" PRIu64, unread->n_rooms > 0 ? " " : "", at, (int)room.len,
			room.data, n);
	else
		printf("%s%.*s %" PRIu64 "\n", at, (int)room.len, room.data, n);
	unread->n_rooms++;
}

int script_unread(const struct settings *settings, int argc, char **argv)
{
	struct unread unread = { .settings = settings };
	struct chat *chat = NULL;
	const char *answer = "";
	int r;

	if (argc > 0)
		return complain_usage("unread takes no argument");
	r = connect_open(&chat, settings, true);
	if (r)
		return r;
	unread.own = chat_name(chat);
	r = ask_pages(chat, "ROOMS", LIST_TIMEOUT_MS, unread_row, &unread, &answer);
	if (r < 0)
		return finish(chat, chat_failed(chat, r));
	if (r > 0)
		return finish(chat, refused(answer, NULL));
	if (settings->brief && unread.n_rooms > 0)
		putchar('\n');
	return finish(chat, unread.n_rooms > 0 ? STATUS_OK : STATUS_NONE);
}

int script_rings(const struct settings *settings, int argc, char **argv)
{
	if (argc > 0)
		return complain_usage("rings takes no argument");
	return list(settings, "STATS rings", NULL);
}

int script_stats(const struct settings *settings, int argc, char **argv)
{
	char request[16] = "STATS";

	if (argc > 1 || (argc == 1 && strcmp(argv[0], "sessions") && strcmp(argv[0], "users") &&
				strcmp(argv[0], "rings")))
		return complain_usage("stats takes nothing, or sessions, users or rings");
	if (argc == 1)
		snprintf(request, sizeof(request), "STATS %s", argv[0]);
	return list(settings, request, NULL);
}

int script_time(const struct settings *settings, int argc, char **argv)
{
	struct chat *chat = NULL;
	const char *answer = "";
	uint64_t ns;
	int r;

	if (argc > 0)
		return complain_usage("time takes no argument");
	r = ask(settings, &chat, "TIME", NULL, NULL, &answer);
	if (r)
		return finish(chat, r);
	if (!number_parse((struct text){ answer, strcspn(answer, " ") }, &ns)) {
		complain("the broker's answer is no time: %s", answer);
		return finish(chat, STATUS_SYSTEM);
	}
	render_time(stdout, ns);
	putchar('\n');
	return finish(chat, STATUS_OK);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int script_ping(const struct settings *settings, int argc, char **argv)
{
	struct chat *chat = NULL;
	const char *answer = "";
	uint64_t before;
	int r;

	if (argc > 0)
		return complain_usage("ping takes no argument");
	/* The first round trip warms both sides up; the second one is timed. */
	r = ask(settings, &chat, "PING", NULL, NULL, &answer);
	if (r)
		return finish(chat, r);
	before = now_ns();
	r = chat_request(chat, settings->deep ? "PING deep" : "PING", NULL, 0, ANSWER_TIMEOUT_MS,
		NULL, NULL, &answer);
	if (r < 0)
		return finish(chat, chat_failed(chat, r));
	if (r > 0)
		return finish(chat, refused(answer, NULL));
	printf("%" PRIu64 " us\n", (now_ns() - before + 500) / 1000);
	return finish(chat, STATUS_OK);
}

int script_ctl(const struct settings *settings, int argc, char **argv)
{
	char command[LINE_LEN_MAX] = "";
	struct chat *chat = NULL;
	const char *answer = "";
	size_t len = 0;
	int r;

	if (argc == 0)
		return complain_usage("ctl takes a COMMAND; see chat-broker(8)");
	for (int i = 0; i < argc; i++) {
		int n = snprintf(
			command + len, sizeof(command) - len, "%s%s", i > 0 ? " " : "", argv[i]);

		if (n < 0 || (size_t)n >= sizeof(command) - len)
			return complain_usage(
				"the command is longer than %zu bytes", sizeof(command) - 1);
		len += (size_t)n;
	}
	r = ask(settings, &chat, "CTL", command, print_row, &answer);
	return finish(chat, r);
}
