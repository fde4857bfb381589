/* quota.h - what each user may hold and do, and what it holds and does now.
 *
 * One account per uid; all users that the user data base does not know share one.
 * Everything that a client can make the broker keep is charged here before it is
 * kept, and discharged by whoever frees it. chat-broker(8), section LIMITS.
 */
#pragma once

#include <stdint.h>

#include "broker/list.h"
#include "broker/meter.h"
#include "broker/rate.h"
#include "broker/throttle.h"
#include "broker/trace.h"

enum quota_kind {
	QUOTA_CONNECTIONS,
	QUOTA_CURSORS,
	QUOTA_ROOMS,  /* that the user brought into being and that still exist */
	QUOTA_NAMES,  /* that are not its Unix name */
	QUOTA_BYTES,  /* of answers and requests held */
	QUOTA_RINGS,  /* bytes of rings that are published */
	QUOTA_VALUES, /* bytes of values that it has set; see value.h */
	QUOTA_KINDS,
};

enum {
	QUOTA_E_LIMIT = 1,
};

/* The sessions of an account that are in line for something, and its own place in the
 * line of the accounts: so time is shared by account, whoever has how many sessions. */
struct turns {
	struct list sessions; /* links that they own */
	struct list link; /* in the broker's line; an account without sessions may stand there */
};

struct quota_account {
	struct list accounts_link; /* in users.accounts, in order of number */
	uint64_t number;           /* counts up over all accounts */
	uint64_t used[QUOTA_KINDS];
	uint64_t max[QUOTA_KINDS];
	uint64_t n_passed;   /* descriptors of its clients, kept to be passed on or to be closed */
	struct list closing; /* of those, the latter; see closer.h */
	uint64_t log_bytes;  /* of the rooms it owns; the broker's ceiling takes from the largest */
	uint64_t held_bytes; /* of records in them that are not stored yet; see store.h */
	uint64_t disk_bytes; /* stored of them, or to be; see stored.h */
	struct list rooms;   /* that it owns */
	struct list publishers; /* that rooms remember of it, least recent first; see room.h */
	unsigned n_publishers;
	unsigned n_publishers_here; /* in the room that one of them is counted in */
	struct list marks; /* of how far it has read, least recently moved first; see mark.h */
	unsigned n_marks;
	struct meter said, said_bytes;
	struct throttle throttle; /* of what it says */
	struct rate connects;     /* of the connections it opens */
	uint64_t room_rings;      /* that it may publish in one room */
	uint64_t swept_at;        /* users.now of the round in which its rings were last swept */
	uint64_t swept_ns;        /* and what that took in others' turns; see feed.h */
	uint64_t told_at;         /* when the diagnostics were last told that it is over a rate */
	struct turns reading, sending; /* sessions with input, and with output */
	struct turns ringing;          /* fast paths whose rings are to be looked at */
	struct turns errands;          /* what is to be read from the disk; see errand.h */
	struct turns names;            /* names to be looked up; see nss.h */
	unsigned n_names_asked;        /* of them */
	struct turns cached;           /* segments that were read back for it; see cache.h */
	uint64_t cached_bytes;         /* of it */
	struct trace_share lines;      /* of diagnostics, that its clients cause */
};

/* Put the session link SESSION in the line of TURNS, and that in the line of ACCOUNTS. */
void turns_add(struct list *accounts, struct turns *turns, struct list *session);

void quota_init(struct quota_account *account);

/* Asserts that everything was discharged. */
void quota_deinit(struct quota_account *account);

/* Returns 0 or QUOTA_E_LIMIT, having charged nothing. */
int quota_charge(struct quota_account *account, enum quota_kind kind, uint64_t amount);
/* The same for what was there before: no limit keeps it away. */
void quota_charge_beyond(struct quota_account *account, enum quota_kind kind, uint64_t amount);
void quota_discharge(struct quota_account *account, enum quota_kind kind, uint64_t amount);

/* What FROM has is charged to ACCOUNT from now on, whatever its limits. Nobody of FROM is in line
 * for anything. */
void quota_take_over(struct quota_account *account, struct quota_account *from);

/* The limit's name as in --limit: "connections", ... */
const char *quota_name(enum quota_kind kind);
