/* command.c - see command.h. */
#include "client/command.h"

#include <string.h>
#include <time.h>

#include "client/room.h"
#include "client/script.h"
#include "client/slash.h"
#include "client/top.h"
#include "client/when.h"
#include "protocol/base.h"
#include "protocol/number.h"

/* 24 days, so that milliseconds fit an int. */
#define TIMEOUT_S_MAX 2073600u

/* What a room can have: chat-protocol(7), SET. */
#define RETAIN_BYTES_MIN (64 << 10)
#define RETAIN_AGE_MIN_S 60
#define RETAIN_AGE_MAX_S 1000000000

/* What is asked for ten times a second is seen to change at once. */
#define INTERVAL_MS_MIN 100

static int set_socket(struct settings *settings, const char *argument)
{
	settings->socket = argument;
	return STATUS_OK;
}

static int set_name(struct settings *settings, const char *argument)
{
	settings->name = argument;
	return STATUS_OK;
}

static int set_last(struct settings *settings, const char *argument)
{
	if (!number_parse(text_of(argument), &settings->last))
		return complain_usage("--last takes a number, not '%s'", argument);
	settings->has_last = true;
	return STATUS_OK;
}

static int set_since(struct settings *settings, const char *argument)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (!when_parse(argument, (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec,
		    &settings->since))
		return complain_usage("--since takes a time " WHEN_FORMS ", not '%s'", argument);
	settings->has_since = true;
	return STATUS_OK;
}

static int set_short(struct settings *settings, const char *argument)
{
	settings->brief = true;
	return STATUS_OK;
}

static int set_deep(struct settings *settings, const char *argument)
{
	settings->deep = true;
	return STATUS_OK;
}

static int set_until_seen(struct settings *settings, const char *argument)
{
	settings->until_seen = true;
	return STATUS_OK;
}

static int set_follow(struct settings *settings, const char *argument)
{
	settings->follow = true;
	return STATUS_OK;
}

static int set_count(struct settings *settings, const char *argument)
{
	if (!number_parse(text_of(argument), &settings->count) || settings->count == 0)
		return complain_usage("--count takes a number from 1, not '%s'", argument);
	settings->has_count = true;
	return STATUS_OK;
}

/* Seconds, with at most three digits after a point. */
static bool timeout_parse(const char *argument, uint64_t *ret_ms)
{
	struct text whole = text_of(argument), part = TEXT("0");
	const char *point = strchr(argument, '.');
	uint64_t s, ms;

	if (point) {
		whole.len = (size_t)(point - argument);
		part = text_of(point + 1);
	}
	if (part.len > 3 || !number_parse(whole, &s) || !number_parse(part, &ms) ||
		s > TIMEOUT_S_MAX)
		return false;
	for (size_t i = part.len; i < 3; i++)
		ms *= 10;
	*ret_ms = s * 1000 + ms;
	return true;
}

static int set_timeout(struct settings *settings, const char *argument)
{
	if (!timeout_parse(argument, &settings->timeout_ms))
		return complain_usage(
			"--timeout takes seconds, like 5 or 0.25, not '%s'", argument);
	settings->has_timeout = true;
	return STATUS_OK;
}

static int set_interval(struct settings *settings, const char *argument)
{
	if (!timeout_parse(argument, &settings->interval_ms) ||
		settings->interval_ms < INTERVAL_MS_MIN)
		return complain_usage(
			"--interval takes seconds from 0.1, like 5 or 0.5, not '%s'", argument);
	return STATUS_OK;
}

static bool is_default(const char *argument)
{
	return strcmp(argument, "default") == 0;
}

static int set_mode(struct settings *settings, const char *argument)
{
	if (strcmp(argument, "durable") != 0 && strcmp(argument, "ephemeral") != 0 &&
		!is_default(argument))
		return complain_usage(
			"--mode takes durable, ephemeral or default, not '%s'", argument);
	settings->mode = is_default(argument) ? "" : argument;
	return STATUS_OK;
}

static int set_retain_bytes(struct settings *settings, const char *argument)
{
	settings->has_retain_bytes = true;
	if (!is_default(argument) &&
		(!bytes_parse(argument, &settings->retain_bytes) || settings->retain_bytes == 0))
		return complain_usage(
			"--retain-bytes takes a number like 500k, 20M or 1G, or default, not '%s'",
			argument);
	return STATUS_OK;
}

static int set_retain_age(struct settings *settings, const char *argument)
{
	settings->has_retain_age = true;
	if (!is_default(argument) &&
		(!seconds_parse(argument, &settings->retain_age) || settings->retain_age == 0))
		return complain_usage(
			"--retain-age takes a time like 10m, 2h or 30d, or default, not '%s'",
			argument);
	return STATUS_OK;
}

static int set_delete(struct settings *settings, const char *argument)
{
	settings->is_deletion = true;
	return STATUS_OK;
}

static int set_if(struct settings *settings, const char *argument)
{
	if (!number_parse(text_of(argument), &settings->version))
		return complain_usage("--if takes a version, not '%s'", argument);
	settings->has_if = true;
	return STATUS_OK;
}

static int set_once(struct settings *settings, const char *argument)
{
	settings->once = true;
	return STATUS_OK;
}

static int set_json(struct settings *settings, const char *argument)
{
	settings->json = true;
	return STATUS_OK;
}

static int set_raw(struct settings *settings, const char *argument)
{
	settings->raw = true;
	return STATUS_OK;
}

static int set_fast(struct settings *settings, const char *argument)
{
	settings->fast = true;
	return STATUS_OK;
}

static int set_ephemeral(struct settings *settings, const char *argument)
{
	settings->ephemeral = true;
	return STATUS_OK;
}

const struct option_row option_rows[] = {
	{ .name = "socket",
		.argument = "PATH",
		.help = "the broker's socket, or @NAME of an abstract one",
		.set = set_socket },
	{ .name = "name", .argument = "NAME", .help = "speak under this name", .set = set_name },
	{ .name = "help", .help = "show this and exit" },
	{ .name = "version", .help = "show the version and exit" },
	{ .name = "last",
		.argument = "N",
		.help = "the last N messages of each room",
		.where = OPTION_LISTEN | OPTION_PAST | OPTION_FIND,
		.set = set_last },
	{ .name = "since",
		.argument = "TIME",
		.help = "all since TIME: 10m, 2h, 3d, 09:30, 2026-01-31",
		.where = OPTION_LISTEN | OPTION_PAST,
		.set = set_since },
	{ .name = "follow",
		.help = "and what is said from then on",
		.where = OPTION_PAST,
		.set = set_follow },
	{ .name = "count",
		.argument = "N",
		.help = "end after N messages",
		.where = OPTION_LISTEN,
		.set = set_count },
	{ .name = "timeout",
		.argument = "S",
		.help = "end after S seconds",
		.where = OPTION_LISTEN | OPTION_SAY,
		.set = set_timeout },
	{ .name = "json",
		.help = "one JSON object a line",
		.where = OPTION_LISTEN | OPTION_TOP | OPTION_PAST | OPTION_FIND,
		.set = set_json },
	{ .name = "raw",
		.help = "the bytes of each message as they are",
		.where = OPTION_LISTEN,
		.set = set_raw },
	{ .name = "until-seen",
		.help = "to @NAME: end when NAME has read it",
		.where = OPTION_SAY,
		.set = set_until_seen },
	{ .name = "short",
		.help = "all on one line, for a prompt",
		.where = OPTION_UNREAD,
		.set = set_short },
	{ .name = "deep",
		.help = "after the broker wrote to its disk",
		.where = OPTION_PING,
		.set = set_deep },
	{ .name = "fast",
		.help = "through shared memory, where it can be",
		.where = OPTION_LISTEN | OPTION_SAY,
		.set = set_fast },
	{ .name = "ephemeral",
		.help = "if this makes the room, keep nothing of what goes that way",
		.where = OPTION_LISTEN | OPTION_SAY,
		.set = set_ephemeral },
	{ .name = "mode",
		.argument = "MODE",
		.help = "durable: it is stored; or ephemeral: in memory only",
		.where = OPTION_ROOM,
		.set = set_mode },
	{ .name = "retain-bytes",
		.argument = "N",
		.help = "keep so much at the most: 500k, 20M, 1G, default",
		.where = OPTION_ROOM,
		.set = set_retain_bytes },
	{ .name = "retain-age",
		.argument = "T",
		.help = "keep it for so long: 10m, 2h, 30d, default",
		.where = OPTION_ROOM,
		.set = set_retain_age },
	{ .name = "delete",
		.help = "delete the room with all its messages; asks nothing",
		.where = OPTION_ROOM,
		.set = set_delete },
	{ .name = "if",
		.argument = "V",
		.help = "only if this is its version; 0: if there is none",
		.where = OPTION_ROOM,
		.set = set_if },
	{ .name = "interval",
		.argument = "S",
		.help = "show it anew every S seconds (1)",
		.where = OPTION_TOP,
		.set = set_interval },
	{ .name = "once", .help = "show it once and end", .where = OPTION_TOP, .set = set_once },
};
const size_t n_option_rows = ARRAY_LEN(option_rows);

const struct subcommand subcommands[] = {
	{ .name = "say",
		.usage = "ROOM [TEXT...]",
		.help = "say TEXT, or each line of standard input",
		.options = OPTION_SAY,
		.text = true,
		.run = script_say },
	{ .name = "listen",
		.usage = "ROOM...",
		.help = "print messages as they come",
		.options = OPTION_LISTEN,
		.run = script_listen },
	{ .name = "history",
		.usage = "ROOM",
		.help = "print what was said",
		.options = OPTION_PAST,
		.run = script_history },
	{ .name = "find",
		.usage = "ROOM TEXT...",
		.help = "print what was said with TEXT in it",
		.options = OPTION_FIND,
		.text = true,
		.run = script_find },
	{ .name = "unread",
		.usage = "",
		.help = "list where there is something that you have not read",
		.options = OPTION_UNREAD,
		.run = script_unread },
	{ .name = "who",
		.usage = "[ROOM]",
		.help = "list who is in ROOM, or connected at all",
		.run = script_who },
	{ .name = "rooms", .usage = "", .help = "list the rooms", .run = script_rooms },
	{ .name = "room",
		.usage = "ROOM [KEY [VALUE]]",
		.help = "print or set what a room is and keeps, or delete it",
		.options = OPTION_ROOM,
		.run = script_room },
	{ .name = "stats",
		.usage = "[sessions | users]",
		.help = "print the broker's counters, or rows of each",
		.run = script_stats },
	{ .name = "rings",
		.usage = "",
		.help = "list the shared-memory rings, and how they stand",
		.run = script_rings },
	{ .name = "top",
		.usage = "",
		.help = "watch who floods, who is slow, who fills what",
		.options = OPTION_TOP,
		.draws = true,
		.run = top_run },
	{ .name = "time", .usage = "", .help = "print the broker's clock", .run = script_time },
	{ .name = "ping",
		.usage = "",
		.help = "print the round-trip time",
		.options = OPTION_PING,
		.run = script_ping },
	{ .name = "ctl",
		.usage = "COMMAND...",
		.help = "send the broker an administrator's command",
		.text = true,
		.run = script_ctl },
};
const size_t n_subcommands = ARRAY_LEN(subcommands);

const struct slash_command slash_commands[] = {
	{ .name = "join",
		.usage = "ROOM [N]",
		.help = "go into a room, or to @NAME; see N messages (20)",
		.first_word = COMPLETE_TARGET,
		.run = slash_join },
	{ .name = "part",
		.usage = "[ROOM]",
		.help = "leave the room",
		.first_word = COMPLETE_JOINED,
		.run = slash_part },
	{ .name = "switch",
		.usage = "ROOM",
		.help = "talk to another room that you are in, or to @NAME",
		.first_word = COMPLETE_JOINED,
		.run = slash_switch },
	{ .name = "msg",
		.usage = "NAME TEXT",
		.help = "say TEXT to NAME alone",
		.first_word = COMPLETE_NAME,
		.run = slash_msg },
	{ .name = "who",
		.usage = "[ROOM]",
		.help = "list who is in the room",
		.first_word = COMPLETE_ROOM,
		.run = slash_who },
	{ .name = "rooms", .usage = "", .help = "list the rooms", .run = slash_rooms },
	{ .name = "history",
		.usage = "[N | TIME]",
		.help = "show the last N messages (20), or those since TIME",
		.run = slash_history },
	{ .name = "find",
		.usage = "TEXT",
		.help = "show what was said with TEXT in it",
		.run = slash_find },
	{ .name = "help", .usage = "", .help = "show these commands", .run = slash_help },
	{ .name = "quit", .usage = "", .help = "leave, as QUIT and Ctrl-D do", .run = slash_quit },
};
const size_t n_slash_commands = ARRAY_LEN(slash_commands);

const struct subcommand *subcommand_find(const char *name)
{
	for (size_t i = 0; i < n_subcommands; i++)
		if (strcmp(subcommands[i].name, name) == 0)
			return &subcommands[i];
	return NULL;
}

const struct slash_command *slash_command_find(struct text name)
{
	for (size_t i = 0; i < n_slash_commands; i++)
		if (text_equal(text_of(slash_commands[i].name), name))
			return &slash_commands[i];
	return NULL;
}

static void help_options(FILE *out, unsigned where)
{
	for (size_t i = 0; i < n_option_rows; i++) {
		const struct option_row *row = &option_rows[i];
		char left[40];

		if (where == OPTION_ALWAYS ? row->where != where : !(row->where & where))
			continue;
		snprintf(left, sizeof(left), "--%s %s", row->name,
			row->argument ? row->argument : "");
		fprintf(out, "  %-22s %s\n", left, row->help);
	}
}

void command_help(FILE *out)
{
	fputs("usage: chat-client [options] [ROOM...]\n"
	      "       chat-client [options] COMMAND [argument...]\n\n"
	      "Talk in ROOM (lobby); with standard input piped in, say each of its lines there.\n"
	      "A ROOM may be @NAME, the conversation with NAME alone.\n\n"
	      "commands:\n",
		out);
	for (size_t i = 0; i < n_subcommands; i++) {
		char left[40];

		snprintf(left, sizeof(left), "%s %s", subcommands[i].name, subcommands[i].usage);
		fprintf(out, "  %-22s %s\n", left, subcommands[i].help);
	}
	fputs("\noptions, before or after the command:\n", out);
	help_options(out, OPTION_ALWAYS);
	fputs("\noptions of say:\n", out);
	help_options(out, OPTION_SAY);
	fputs("\noptions of listen:\n", out);
	help_options(out, OPTION_LISTEN);
	fputs("\noptions of history:\n", out);
	help_options(out, OPTION_PAST);
	fputs("\noptions of find:\n", out);
	help_options(out, OPTION_FIND);
	fputs("\noptions of unread:\n", out);
	help_options(out, OPTION_UNREAD);
	fputs("\noptions of room:\n", out);
	help_options(out, OPTION_ROOM);
	fputs("\noptions of ping:\n", out);
	help_options(out, OPTION_PING);
	fputs("\noptions of top:\n", out);
	help_options(out, OPTION_TOP);
	fputs("\nThe manual is chat-client(1). While you talk, /help lists more commands.\n", out);
}
