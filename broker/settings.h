/* settings.h - the limits an administrator sets, from --limit and the limits file.
 *
 * A line of the file, or the value of --limit, is NAME=VALUE or USER:NAME=VALUE;
 * USER is a Unix user's name or uid, VALUE a number above 0 with an optional k, M
 * or G (1024). chat-broker(8), section LIMITS.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "broker/quota.h"
#include "protocol/text.h"

/* Of LIMIT_ROOM_DISK_AGE, s: for ever. */
#define AGE_FOREVER 1000000000

/* All limits: what each user may hold, which are the kinds of quota; what it may do in a
 * second, and in one room; and those of the broker as a whole. */
enum limit {
	LIMIT_RATE = QUOTA_KINDS, /* messages that a user says */
	LIMIT_CONNECTS,           /* connections that it opens */
	LIMIT_ROOM_RINGS,         /* rings that it publishes in one room */
	LIMIT_USER_COUNT,         /* those before it are of each user */

	LIMIT_ROOM_BYTES = LIMIT_USER_COUNT, /* kept of one room */
	LIMIT_LOG_BYTES,                     /* kept of all rooms */
	LIMIT_ROOM_IDLE,                     /* seconds until a room nobody reads is forgotten */
	LIMIT_SEND_BUFFER,                   /* that a connection asks of the kernel */
	LIMIT_JOURNAL_BYTES,                 /* after which there is a checkpoint */
	LIMIT_ROOM_DISK_BYTES,               /* stored of one room */
	LIMIT_DISK_BYTES,                    /* stored of all rooms */
	LIMIT_ROOM_DISK_AGE,                 /* seconds that a message is stored */
	LIMIT_COUNT,
};

/* A limit that is set for one user only. */
struct override {
	char user[33];
	unsigned limit; /* below LIMIT_USER_COUNT */
	uint64_t value;
};

#define OVERRIDES_MAX    1024
#define SETTINGS_LEN_MAX (64 * 1024)

struct settings {
	uint64_t limit[LIMIT_COUNT];
	struct override *overrides; /* owned */
	size_t n_overrides;
};

/* The defaults. */
void settings_init(struct settings *settings);
void settings_deinit(struct settings *settings);

/* A copy with everything owned anew. Returns 0 or -ENOMEM. */
int settings_copy(struct settings *ret_settings, const struct settings *settings);

enum {
	SETTINGS_E_SYNTAX = 1,
	SETTINGS_E_NAME,
	SETTINGS_E_VALUE,
	SETTINGS_E_FULL,
};

/* Set one limit. Returns 0 or an outcome, or -ENOMEM. */
int settings_set(struct settings *settings, struct text line);

/* Say an outcome in words. */
const char *settings_strerror(int outcome);

/* Read PATH, a regular file of lines; '#' starts a comment. On an outcome *ret_line
 * is the number of the line. Returns 0, an outcome, or -errno (-EFBIG, -EINVAL not
 * a regular file). SETTINGS may be half changed after a failure. */
int settings_read(struct settings *settings, const char *path, unsigned *ret_line);

/* "room-bytes", ... of every limit. */
const char *limit_name(unsigned limit);

/* The least and the largest value that it takes. */
void limit_bounds(unsigned limit, uint64_t *ret_min, uint64_t *ret_max);

/* A LIMIT below LIMIT_USER_COUNT of this user; NAME is the Unix user's name, "" if
 * unknown. */
uint64_t settings_of_user(
	const struct settings *settings, unsigned limit, uid_t uid, const char *name);
