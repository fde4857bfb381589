/* complete.c - see complete.h.
 *
 * The broker is asked at each Tab: it is local and answers at once. Its words are
 * taken only if they fit the grammar of names, as they will stand in the line.
 */
#include "client/complete.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <readline/readline.h>

#include "client/ask.h"
#include "client/command.h"
#include "client/shell.h"

/* More than this on one Tab helps nobody. */
#define CHOICES_MAX 1000

#define ANSWER_TIMEOUT_MS 500

struct choices {
	const struct shell *shell;
	const char *prefix; /* the word so far */
	const char *mark;   /* put before a name: "@" or "" */
	char **words;       /* [0] is left for what they have in common */
	size_t n;
};

static void choices_add(struct choices *choices, const char *mark, struct text word)
{
	char *whole;
	char **words;

	if (choices->n == CHOICES_MAX ||
		asprintf(&whole, "%s%.*s", mark, (int)word.len, word.data) < 0)
		return;
	for (size_t i = 1; i <= choices->n; i++)
		if (strcmp(choices->words[i], whole) == 0)
			goto unwanted;
	if (strncmp(whole, choices->prefix, strlen(choices->prefix)) != 0)
		goto unwanted;
	words = reallocarray(choices->words, choices->n + 3, sizeof(*words));
	if (!words)
		goto unwanted;
	choices->words = words;
	words[++choices->n] = whole;
	words[choices->n + 1] = NULL;
	return;
unwanted:
	free(whole);
}

static void room_row(void *userdata, const char *row, size_t len)
{
	struct choices *choices = userdata;
	struct text rest = { row, len }, word = row_word(&rest), a, b;

	if (text_is_room(word))
		choices_add(choices, "", word);
	else if (*choices->mark && text_is_conversation(word, &a, &b))
		choices_add(choices, "@",
			text_equal(a, text_of(chat_name(choices->shell->chat))) ? b : a);
}

static void name_row(void *userdata, const char *row, size_t len)
{
	struct choices *choices = userdata;
	struct text rest = { row, len }, word = row_word(&rest);

	if (text_is_name(word) && !text_equal(word, text_of(chat_name(choices->shell->chat))))
		choices_add(choices, choices->mark, word);
}

static void choices_ask(struct choices *choices, const char *request, chat_row_fn *row)
{
	const char *answer = "";

	ask_pages(choices->shell->chat, request, ANSWER_TIMEOUT_MS, row, choices, &answer);
}

static void choices_collect(struct choices *choices, enum completion what)
{
	const struct shell *shell = choices->shell;

	switch (what) {
	case COMPLETE_NOTHING:
		break;
	case COMPLETE_COMMAND:
		for (size_t i = 0; i < n_slash_commands; i++)
			choices_add(choices, "/", text_of(slash_commands[i].name));
		break;
	case COMPLETE_ROOM:
		choices_ask(choices, "ROOMS", room_row);
		break;
	case COMPLETE_NAME:
		choices_ask(choices, "WHO", name_row);
		break;
	case COMPLETE_TARGET:
		choices->mark = "@";
		if (choices->prefix[0] != '@')
			choices_ask(choices, "ROOMS", room_row);
		if (choices->prefix[0] == '@' || choices->n == 0)
			choices_ask(choices, "WHO", name_row);
		break;
	case COMPLETE_JOINED:
		for (size_t i = 0; i < shell->n_rooms; i++)
			choices_add(choices, "", text_of(shell->rooms[i]));
		if (choices->prefix[0] == '@') {
			choices->mark = "@";
			choices_ask(choices, "WHO", name_row);
		}
		break;
	}
}

/* What the word after BEFORE can be: a command at the left edge, its argument, or
 * a name in what is being said. */
static enum completion kind_of(const char *text, const char *before)
{
	size_t len = strcspn(before, " ");
	const struct slash_command *command;

	if (!*before)
		return *text == '/' ? COMPLETE_COMMAND : COMPLETE_NAME;
	if (before[0] != '/' || before[1] == '/')
		return COMPLETE_NAME;
	command = slash_command_find((struct text){ before + 1, len - 1 });
	if (!command)
		return COMPLETE_NOTHING;
	if (before[len + strspn(before + len, " ")] == '\0')
		return command->first_word;
	return strcmp(command->name, "msg") == 0 ? COMPLETE_NAME : COMPLETE_NOTHING;
}

/* The beginning that all WORDS share. */
static char *in_common(char **words, size_t n)
{
	size_t len = strlen(words[1]);

	for (size_t i = 2; i <= n; i++)
		for (size_t k = 0; k < len; k++)
			if (words[i][k] != words[1][k])
				len = k;
	return strndup(words[1], len);
}

char **complete_word(void *userdata, const char *text, const char *before)
{
	struct choices choices = { .shell = userdata, .prefix = text, .mark = "" };
	enum completion what = kind_of(text, before);

	/* Every name there is, for an empty word in a sentence, is no help. */
	if (what == COMPLETE_NAME && !*text && before[0] != '/')
		return NULL;
	choices_collect(&choices, what);
	if (choices.n == 0)
		return NULL;
	/* readline takes a list of one from its first place alone */
	if (choices.n == 1) {
		choices.words[0] = choices.words[1];
		choices.words[1] = NULL;
		return choices.words;
	}
	choices.words[0] = in_common(choices.words, choices.n);
	if (choices.words[0])
		return choices.words;
	for (size_t i = 1; i <= choices.n; i++)
		free(choices.words[i]);
	free(choices.words);
	return NULL;
}
