/* room.c - see room.h; and chat-client room, see script.h. */
#include "client/room.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/ask.h"
#include "client/render.h"
#include "client/script.h"
#include "protocol/number.h"

#define ANSWER_TIMEOUT_MS 10000

/* ---- words ---- */

struct unit {
	const char *name; /* as it is shown */
	char letter;      /* as it is written; 0: it is not */
	uint64_t size;
};

static const struct unit bytes_units[] = {
	{ "GiB", 'G', UINT64_C(1) << 30 },
	{ "MiB", 'M', UINT64_C(1) << 20 },
	{ "KiB", 'k', UINT64_C(1) << 10 },
	{ "byte", 0, 1 },
};

static const struct unit time_units[] = {
	{ "day", 'd', 24 * 3600 },
	{ "hour", 'h', 3600 },
	{ "minute", 'm', 60 },
	{ "second", 's', 1 },
};

/* "1 GiB": in the largest unit that it is a multiple of. */
static int put_measure(
	char *dst, size_t size, uint64_t value, const struct unit *units, size_t n_units)
{
	size_t i = 0;

	while (i < n_units - 1 && (value < units[i].size || value % units[i].size != 0))
		i++;
	value /= units[i].size;
	return snprintf(dst, size, "%" PRIu64 " %s%s", value, units[i].name,
		value == 1 || strstr(units[i].name, "iB") ? "" : "s");
}

static bool measure_parse(
	const char *word, const struct unit *units, size_t n_units, uint64_t *ret_value)
{
	struct text text = text_of(word);
	uint64_t unit = 0;

	for (size_t i = 0; i < n_units && text.len > 0; i++)
		if (text.data[text.len - 1] == units[i].letter)
			unit = units[i].size;
	text.len -= unit > 0;
	unit = MAX(unit, (uint64_t)1);
	if (!number_parse(text, ret_value) || *ret_value > UINT64_MAX / unit)
		return false;
	*ret_value *= unit;
	return true;
}

bool bytes_parse(const char *word, uint64_t *ret_bytes)
{
	return measure_parse(word, bytes_units, ARRAY_LEN(bytes_units), ret_bytes);
}

bool seconds_parse(const char *word, uint64_t *ret_seconds)
{
	return measure_parse(word, time_units, ARRAY_LEN(time_units), ret_seconds);
}

void room_describe(const struct room_about *about, char words[static ROOM_WORDS_MAX])
{
	int n;

	n = snprintf(words, ROOM_WORDS_MAX, "%s, up to ",
		strcmp(about->mode, "durable") == 0 ? "stored" : "kept in memory");
	n += put_measure(words + n, ROOM_WORDS_MAX - (size_t)n, about->retain_bytes, bytes_units,
		ARRAY_LEN(bytes_units));
	if (about->retain_age == 0)
		return;
	n += snprintf(words + n, ROOM_WORDS_MAX - (size_t)n, ", for ");
	put_measure(words + n, ROOM_WORDS_MAX - (size_t)n, about->retain_age, time_units,
		ARRAY_LEN(time_units));
}

/* ---- what the broker says ---- */

/* A row of ROOMS. */
static void about_row(void *userdata, const char *row, size_t len)
{
	struct room_about *about = userdata;
	struct text text = { row, len }, mode = row_value(text, "mode=");
	uint64_t owner = 0;

	about->is_there = true;
	snprintf(about->mode, sizeof about->mode, "%.*s", (int)mode.len, mode.data);
	(void)number_parse(row_value(text, "retain-bytes="), &about->retain_bytes);
	(void)number_parse(row_value(text, "retain-age="), &about->retain_age);
	(void)number_parse(row_value(text, "owner="), &owner);
	about->owner = (uid_t)owner;
}

int room_ask(struct chat *chat, const char *target, int timeout_ms, struct room_about *ret_about,
	const char **ret_answer)
{
	char request[16 + TARGET_LEN_MAX];

	*ret_about = (struct room_about){ .is_there = false };
	snprintf(request, sizeof request, "ROOMS %s", target);
	return chat_request(chat, request, NULL, 0, timeout_ms, about_row, ret_about, ret_answer);
}

int room_get(struct chat *chat, const char *target, const char *key, int timeout_ms,
	chat_row_fn *row, void *userdata, const char **ret_answer)
{
	char request[16 + TARGET_LEN_MAX + NAME_LEN_MAX];

	snprintf(request, sizeof request, "GET %s%s%s", target, key ? " " : "", key ? key : "");
	return chat_request(chat, request, NULL, 0, timeout_ms, row, userdata, ret_answer);
}

/* ---- chat-client room ---- */

struct ask_room {
	struct chat *chat;
	const char *target;
	const char *key; /* NULL: all of them */
	unsigned n_values;
};

/* "SET target NAME UID [of=USER] key=KEY version=V LF value" */
static void value_row(void *userdata, const char *row, size_t len)
{
	struct ask_room *ask = userdata;
	const char *lf = memchr(row, '\n', len);
	struct text line = { row, lf ? (size_t)(lf - row) : len };
	struct text value = { lf ? lf + 1 : row + len, lf ? len - line.len - 1 : 0 };
	struct text key = row_value(line, "key="), version = row_value(line, "version=");

	ask->n_values++;
	if (ask->key) {
		render_text(stdout, value);
	} else {
		render_text(stdout, key);
		fputs(" = ", stdout);
		render_text(stdout, value);
		fputs("  (", stdout);
		(void)row_word(&line); /* SET target */
		(void)row_word(&line);
		render_text(stdout, row_word(&line));
		printf(", version %.*s)", (int)version.len, version.data);
	}
	putchar('\n');
}

static int room_failed(struct ask_room *ask, int r, const char *answer)
{
	return r < 0 ? chat_failed(ask->chat, r) : refused(answer, ask->target);
}

static int room_print(struct ask_room *ask)
{
	char user[64];
	struct room_about about;
	const char *answer = "";
	int r;

	r = room_ask(ask->chat, ask->target, ANSWER_TIMEOUT_MS, &about, &answer);
	if (r)
		return room_failed(ask, r, answer);
	if (!ask->key) {
		char words[ROOM_WORDS_MAX];

		room_describe(&about, words);
		user_name(user, sizeof user, about.owner);
		printf("%s: %s; owner %s %u\n", ask->target, words, user, about.owner);
	}
	r = room_get(ask->chat, ask->target, ask->key, ANSWER_TIMEOUT_MS, value_row, ask, &answer);
	if (r)
		return room_failed(ask, r, answer);
	return ask->key && ask->n_values == 0 ? STATUS_NONE : STATUS_OK;
}

static int room_set(
	struct ask_room *ask, const struct settings *settings, const char *key, const char *value)
{
	char request[32 + TARGET_LEN_MAX + NAME_LEN_MAX], condition[32] = "";
	const char *answer = "";
	int r;

	if (settings->has_if)
		snprintf(condition, sizeof condition, " if=%" PRIu64, settings->version);
	snprintf(request, sizeof request, "SET %s %s%s", ask->target, key, condition);
	r = chat_request(
		ask->chat, request, value, strlen(value), ANSWER_TIMEOUT_MS, NULL, NULL, &answer);
	return r ? room_failed(ask, r, answer) : STATUS_OK;
}

/* "default" is no number: there is none of the room's own any more. */
static int room_set_number(
	struct ask_room *ask, const struct settings *settings, const char *key, uint64_t number)
{
	char value[NUMBER_DECIMAL_MAX + 1] = "";

	if (number > 0)
		snprintf(value, sizeof value, "%" PRIu64, number);
	return room_set(ask, settings, key, value);
}

static int room_change(struct ask_room *ask, const struct settings *settings, const char *value)
{
	int r = STATUS_OK;

	if (settings->mode)
		r = room_set(ask, settings, "mode", settings->mode);
	if (r == STATUS_OK && settings->has_retain_bytes)
		r = room_set_number(ask, settings, "retain-bytes", settings->retain_bytes);
	if (r == STATUS_OK && settings->has_retain_age)
		r = room_set_number(ask, settings, "retain-age", settings->retain_age);
	if (r == STATUS_OK && value)
		r = room_set(ask, settings, ask->key, value);
	return r;
}

static int room_remove(struct ask_room *ask)
{
	char request[16 + TARGET_LEN_MAX];
	const char *answer = "";
	int r;

	snprintf(request, sizeof request, "DELETE %s", ask->target);
	r = chat_request(ask->chat, request, NULL, 0, ANSWER_TIMEOUT_MS, NULL, NULL, &answer);
	return r ? room_failed(ask, r, answer) : STATUS_OK;
}

static int room_do(struct ask_room *ask, const struct settings *settings, const char *value)
{
	if (settings->is_deletion)
		return room_remove(ask);
	if (value || settings->mode || settings->has_retain_bytes || settings->has_retain_age)
		return room_change(ask, settings, value);
	return room_print(ask);
}

int script_room(const struct settings *settings, int argc, char **argv)
{
	bool is_change = settings->mode || settings->has_retain_bytes || settings->has_retain_age;
	struct ask_room ask = { .target = argc > 0 ? argv[0] : "" };
	char *value = NULL;
	int r;

	if (argc == 0)
		return complain_usage("room takes a ROOM, and a KEY and its VALUE");
	if (argc > 1 && is_change)
		return complain_usage(
			"--mode, --retain-bytes and --retain-age go with a ROOM alone");
	if (settings->is_deletion && (argc > 1 || is_change))
		return complain_usage("--delete goes with a ROOM alone and no other option");
	if (settings->has_if && argc < 3)
		return complain_usage("--if goes with a KEY and a VALUE");
	if (argc > 1 && !text_is_name(text_of(argv[1])))
		return complain_usage("'%s' is no key (a-z 0-9 _ . -, 32 at the most)", argv[1]);
	r = script_check_target(argv[0]);
	if (r)
		return r;
	ask.key = argc > 1 ? argv[1] : NULL;
	if (argc > 2) {
		value = script_join_words(argc - 2, argv + 2);
		if (!value)
			return STATUS_SYSTEM;
	}
	r = connect_open(&ask.chat, settings, true);
	if (!r) {
		r = room_do(&ask, settings, value);
		r = finish(ask.chat, r);
	}
	free(value);
	return r;
}
