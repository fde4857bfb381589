/* connect.h - how chat-client comes to a broker, and what it says and returns
 * when something does not work.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "client/chat.h"
#include "protocol/base.h"
#include "protocol/text.h"

/* Exit statuses: those of sysexits(3) where there is one, that of timeout(1). */
enum status {
	STATUS_OK = 0,
	STATUS_NONE = 1, /* nothing was found */
	STATUS_USAGE = 64,
	STATUS_NO_BROKER = 69,
	STATUS_SYSTEM = 71,
	STATUS_OUTPUT = 74,
	STATUS_AGAIN = 75,
	STATUS_REFUSED = 77,
	STATUS_TIMED_OUT = 124,
	STATUS_SIGNAL = 128, /* plus its number */
};

/* What the command line asks for. Strings are those of argv or the environment. */
struct settings {
	const char *socket, *name; /* NULL: as libchat finds them */
	bool json, raw, once, fast, ephemeral, follow, brief, until_seen, deep;
	bool has_last, has_since, has_count, has_timeout;
	uint64_t last, count, timeout_ms, interval_ms; /* interval_ms: 0 is the default */
	uint64_t since;                                /* ns since the epoch */
	const char *mode;                              /* of a room */
	bool has_retain_bytes, has_retain_age, has_if, is_deletion;
	uint64_t retain_bytes, retain_age; /* 0: the broker's own limits */
	uint64_t version;                  /* of --if */
};

/* Write "chat-client: WORDS" as one escaped line to standard error. */
void complain(const char *format, ...) _printf_(1, 2);

/* Complain about a usage error; returns STATUS_USAGE. */
int complain_usage(const char *format, ...) _printf_(1, 2);

/* The exit status for a negative errno of libchat, for a code of the broker's
 * "! CODE text". */
int status_of_error(int error);
int status_of_code(struct text code);

/* Complain in the words of CHAT and return the status that goes with ERROR. */
int chat_failed(const struct chat *chat, int error);

/* Put the name of user UID, or "" if there is none, in DST. */
void user_name(char *dst, size_t size, uid_t uid);

/* Open a session for a program: brokers of others are taken only if remembered,
 * and what goes wrong is complained about. ONCE as in struct chat_config. Returns
 * a status; *ret_chat is written on STATUS_OK only. */
int connect_open(struct chat **ret_chat, const struct settings *settings, bool once);

/* The same for people: TRUST is asked about brokers of others. */
int connect_ask(struct chat **ret_chat, const struct settings *settings, chat_trust_fn *trust,
	void *userdata);
