/* slash.c - see slash.h. */
#include "client/slash.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/ask.h"
#include "client/command.h"
#include "client/past.h"
#include "client/render.h"
#include "client/screen.h"
#include "client/when.h"
#include "protocol/number.h"

/* Take the first word off *ARGUMENTS; "" when there is none. */
static char *next_word(char **arguments)
{
	char *word = *arguments + strspn(*arguments, " ");
	size_t len = strcspn(word, " ");
	char *rest = word + len;

	if (*rest) {
		*rest++ = '\0';
		rest += strspn(rest, " ");
	}
	*arguments = rest;
	return word;
}

static void show_usage(const char *name)
{
	const struct slash_command *command = slash_command_find(text_of(name));

	shell_show("usage: /%s %s", command->name, command->usage);
}

/* Rooms and "@name"; says so if TARGET is neither. */
static bool check_target(const char *target)
{
	if (text_is_room(text_of(target)) || text_is_direct(text_of(target)))
		return true;
	shell_show("'%s' is no room name (a-z 0-9 _ - and single dots) and no @NAME", target);
	return false;
}

void slash_join(struct shell *shell, char *arguments)
{
	const char *target = next_word(&arguments), *number = next_word(&arguments);
	uint64_t last = SHELL_LAST;

	if (!*target || *arguments || (*number && !number_parse(text_of(number), &last))) {
		show_usage("join");
		return;
	}
	if (check_target(target) && shell_join(shell, target, last))
		shell_switch(shell, target);
}

void slash_part(struct shell *shell, char *arguments)
{
	const char *word = next_word(&arguments);
	char target[TARGET_LEN_MAX + 1];

	if (*arguments || (!*word && !*shell->target)) {
		show_usage("part");
		return;
	}
	snprintf(target, sizeof(target), "%s", *word ? word : shell->target);
	/* A direct conversation comes by itself: there may be no cursor to take away. */
	if ((target[0] != '@' || shell_has(shell, target)) && !shell_part(shell, target))
		return;
	shell_show("you left %s", target);
	if (strcmp(target, shell->target) == 0)
		shell_switch(shell, shell->n_rooms > 0 ? shell->rooms[0] : "");
}

void slash_switch(struct shell *shell, char *arguments)
{
	const char *target = next_word(&arguments);

	if (!*target || *arguments) {
		show_usage("switch");
		return;
	}
	if (!check_target(target))
		return;
	if (target[0] != '@' && !shell_has(shell, target)) {
		shell_show("you are not in %s; /join it", target);
		return;
	}
	shell_switch(shell, target);
}

struct search {
	struct text name;
	bool found;
};

static void search_row(void *userdata, const char *row, size_t len)
{
	struct search *search = userdata;
	struct text rest = { row, len };

	if (text_equal(row_word(&rest), search->name))
		search->found = true;
}

/* Something was said to NAME; tell if nobody is there to see it now. The answer comes
 * behind a refusal of the message, which is then told instead. */
static void tell_if_away(struct shell *shell, const char *name)
{
	struct search search = { .name = text_of(name) };
	const char *answer = "";

	if (chat_is_up(shell->chat) &&
		ask_pages(shell->chat, "WHO", SHELL_ANSWER_TIMEOUT_MS, search_row, &search,
			&answer) == 0 &&
		!search.found && chat_flush(shell->chat, SHELL_ANSWER_TIMEOUT_MS) == 0)
		shell_show("%s is not here now; it is kept for later", name);
}

void slash_msg(struct shell *shell, char *arguments)
{
	const char *name = next_word(&arguments);
	char target[NAME_LEN_MAX + 2];

	name += *name == '@';
	if (!*name || !*arguments) {
		show_usage("msg");
		return;
	}
	if (!text_is_name(text_of(name))) {
		shell_show("'%s' is no name", name);
		return;
	}
	target[0] = '@';
	strcpy(target + 1, name); /* a name fits */
	shell_say(shell, target, arguments);
	tell_if_away(shell, name);
}

static int compare_strings(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

#define NAMES_MAX 65536

/* Several sessions of one person are one person: shown once. */
struct names {
	char **names;
	size_t n;
};

static void names_row(void *userdata, const char *row, size_t len)
{
	struct names *names = userdata;
	struct text rest = { row, len }, name = row_word(&rest), of = row_value(rest, "of=");
	char **bigger, *shown;
	int r;

	if (names->n == NAMES_MAX || !text_is_name(name) || (of.len > 0 && !text_is_name(of)))
		return;
	bigger = reallocarray(names->names, names->n + 1, sizeof(*bigger));
	if (!bigger)
		return;
	names->names = bigger;
	if (of.len > 0)
		r = asprintf(&shown, "%.*s(%.*s)", (int)name.len, name.data, (int)of.len, of.data);
	else
		r = asprintf(&shown, "%.*s", (int)name.len, name.data);
	if (r >= 0)
		names->names[names->n++] = shown;
}

static void names_show(struct names *names, const char *where)
{
	FILE *out = screen_out();

	if (names->n > 0)
		qsort(names->names, names->n, sizeof(*names->names), compare_strings);
	fprintf(out, "-- %s: ", where);
	for (size_t i = 0; i < names->n; i++) {
		if (i > 0 && strcmp(names->names[i - 1], names->names[i]) == 0)
			continue;
		if (i > 0)
			fputs(", ", out);
		render_text(out, text_of(names->names[i]));
	}
	fputs(names->n == 0 ? "nobody\n" : "\n", out);
}

void slash_who(struct shell *shell, char *arguments)
{
	const char *word = next_word(&arguments), *answer = "";
	const char *room = *word ? word : shell->target;
	struct names names = { 0 };
	char request[16 + TARGET_LEN_MAX];
	bool all = !*room || room[0] == '@'; /* a conversation has no members to list */
	int r;

	if (*arguments) {
		show_usage("who");
		return;
	}
	if (!all && !check_target(room))
		return;
	snprintf(request, sizeof(request), all ? "WHO" : "WHO %s", room);
	r = ask_pages(shell->chat, request, SHELL_ANSWER_TIMEOUT_MS, names_row, &names, &answer);
	if (r)
		shell_refused(shell, r, answer, all ? NULL : room);
	else
		names_show(&names, all ? "connected" : room);
	for (size_t i = 0; i < names.n; i++)
		free(names.names[i]);
	free(names.names);
}

static uint64_t row_number(struct text row, const char *key)
{
	uint64_t value = 0;

	number_parse(row_value(row, key), &value);
	return value;
}

/* A conversation is called after the other side, as everywhere in this shell. */
static void show_room(void *userdata, const char *row, size_t len)
{
	const struct shell *shell = userdata;
	struct text rest = { row, len }, room = row_word(&rest), a, b;
	uint64_t first = row_number(rest, "first="), next = row_number(rest, "next=");
	uint64_t n_kept = next > first ? next - first : 0;
	char name[TARGET_LEN_MAX + 1];

	if (text_is_conversation(room, &a, &b))
		snprintf(name, sizeof(name), "@%.*s",
			text_equal(a, text_of(chat_name(shell->chat))) ? (int)b.len : (int)a.len,
			text_equal(a, text_of(chat_name(shell->chat))) ? b.data : a.data);
	else
		snprintf(name, sizeof(name), "%.*s", (int)room.len, room.data);
	shell_show("%s %s: %" PRIu64 " here, %" PRIu64 " message%s",
		shell_has(shell, name) ? "*" : " ", name, row_number(rest, "readers="), n_kept,
		n_kept == 1 ? "" : "s");
}

void slash_rooms(struct shell *shell, char *arguments)
{
	const char *answer = "";
	int r = ask_pages(shell->chat, "ROOMS", SHELL_ANSWER_TIMEOUT_MS, show_room, shell, &answer);

	if (r)
		shell_refused(shell, r, answer, NULL);
}

/* ---- what was said ---- */

struct recall {
	struct shell *shell;
	uint64_t n_shown;
};

static void recall_tell(void *userdata, const struct chat_event *event)
{
	struct recall *recall = userdata;

	recall->n_shown++;
	shell_render(recall->shell, event);
}

static void recall_end(const struct recall *recall, int r, const char *answer, const char *what)
{
	if (r)
		shell_refused(recall->shell, r, answer, recall->shell->target);
	else
		shell_show("%" PRIu64 " message%s %s", recall->n_shown,
			recall->n_shown == 1 ? "" : "s", what);
}

void slash_history(struct shell *shell, char *arguments)
{
	struct past_range range = { .has_last = true, .last = SHELL_LAST };
	struct recall recall = { .shell = shell };
	const char *answer = "";
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (*arguments && !number_parse(text_of(arguments), &range.last)) {
		range = (struct past_range){ .has_since = true };
		if (!when_parse(arguments,
			    (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec,
			    &range.since)) {
			shell_show("'%s' is no number and no time " WHEN_FORMS, arguments);
			return;
		}
	}
	if (!*shell->target) {
		show_usage("history");
		return;
	}
	recall_end(&recall,
		past_read(shell->chat, shell->target, &range, SHELL_ANSWER_TIMEOUT_MS, recall_tell,
			&recall, &answer),
		answer, range.has_since ? "since then" : "before this");
}

void slash_find(struct shell *shell, char *arguments)
{
	struct recall recall = { .shell = shell };
	const char *answer = "";

	if (!*arguments || !*shell->target) {
		show_usage("find");
		return;
	}
	recall_end(&recall,
		past_find(shell->chat, shell->target, arguments, SHELL_FIND_LAST,
			SHELL_ANSWER_TIMEOUT_MS, recall_tell, &recall, &answer),
		answer, "with that in it");
}

void slash_help(struct shell *shell, char *arguments)
{
	FILE *out = screen_out();

	for (size_t i = 0; i < n_slash_commands; i++) {
		const struct slash_command *command = &slash_commands[i];
		char left[32];

		snprintf(left, sizeof(left), "/%s %s", command->name, command->usage);
		fprintf(out, "-- %-16s %s\n", left, command->help);
	}
	fputs("-- Anything else is said; a line that begins with // with one / less.\n"
	      "-- Tab completes. QUIT alone leaves, STOP alone stops the broker.\n"
	      "-- The manual is chat-client(1).\n",
		out);
}

void slash_quit(struct shell *shell, char *arguments)
{
	shell_leave(shell, STATUS_OK);
}

void slash_run(struct shell *shell, char *line)
{
	char *arguments = line + 1, *name = next_word(&arguments);
	const struct slash_command *command = slash_command_find(text_of(name));

	if (command)
		command->run(shell, arguments);
	else
		shell_show("there is no /%s; /help lists the commands", name);
}
