/* broker.h - the root object: one loop that owns everything.
 *
 *	round:  wait; each account's sessions with input have their turns; each cursor
 *		that fell behind is put in line; each account's sessions are sent what
 *		they are owed
 *
 * Nothing in a round blocks. What may block, the user data base, has a thread of
 * its own (nss.h).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "broker/admin.h"
#include "broker/closer.h"
#include "broker/list.h"
#include "broker/listener.h"
#include "broker/loop.h"
#include "broker/errand.h"
#include "broker/guard.h"
#include "broker/room.h"
#include "broker/settings.h"
#include "broker/storage_status.h"
#include "broker/store.h"
#include "broker/users.h"
#include "protocol/limits.h"
#include "protocol/packet.h"

struct broker_config {
	const char *socket;
	const char *ctl; /* NULL: no FIFO */
	mode_t mode;
	gid_t group, admin_group; /* (gid_t)-1: none */
	const char *limits_path;  /* NULL: none */
	const char *state;        /* the directory of what is stored; NULL: nothing is */
	uint64_t look_us;         /* see protocol/look.h; 0: none */
	struct settings settings; /* from --limit, over the defaults; owned by the caller */
};

/* Descriptors that came with a packet. Code that takes them over sets N to 0. */
struct passed {
	int fds[PACKET_RIGHTS_MAX];
	size_t n;
	bool is_asked_for; /* the request may have some */
};

struct broker {
	const struct broker_config *config;
	struct settings settings;
	struct loop loop;
	struct watch signals, names; /* names: nss.worker.fd */
	struct guard guard;
	struct closers closers;
	struct watch closed; /* closers.fd */
	struct listener listener;
	struct admin admin;
	struct users users;
	struct rooms rooms;
	struct store store;
	struct storage_status storage;
	struct errands errands;
	struct watch writer, keeper, fetcher; /* descriptors of their workers */

	struct list sessions, closing, gone;
	struct list reading, ringing, sending; /* turns of the accounts that have any */
	struct list resting;                   /* fast paths; see fastpath.h */
	struct list found;                     /* searches that were done, see find.h */
	struct list feeds, ended;              /* rings, all of them and those to be freed */
	uint64_t next_session, n_sessions;

	bool stop_requested, is_stopping;
	char stop_reason[LINE_LEN_MAX];
	uint64_t started_at, stop_at;
	uint64_t map_until; /* by then some user must have an id here; 0: some have */
	bool is_useless;    /* none had */

	uint64_t n_descriptors; /* that it needs itself */
	uint64_t n_accepted, n_turned_away, n_cut, n_packets, n_refused, n_framing, n_kicked;
	uint64_t n_delivered, n_delivered_bytes, n_gap_records;
	struct meter appended, delivered; /* of all, as they were when the second began */

	struct passed passed; /* with the packet in hand */
	uint64_t n_revoked;   /* times that rings were taken from readers */
	uint64_t n_passed;    /* descriptors that are kept to be passed on */
	uint64_t n_rings;     /* that were taken, since the start */
	bool has_warned_fast; /* of what fast paths lack here */

	uint64_t turn_end; /* broker_clock() at which the turn in hand is over */
	const struct quota_account *turn_account; /* whose turn it is; NULL: nobody's */
	bool is_calm; /* one message came in the last round: its sender waits for the answer, so the
		       * broker answers before it looks for another packet */
	char input[PACKET_LEN_MAX];
};

/* Clients are given this to take what they are owed at a stop, ns: with everything
 * else a stop stays within 2 s. */
#define BROKER_STOP_NS (UINT64_C(1500000000))

/* A user namespace gets its map after its first process has started, as from newuidmap(1). A broker
 * waits for it for so long, ns: without one it cannot tell any user from another. */
#define BROKER_MAP_NS (UINT64_C(3) * 1000000000)

/* What the sessions of one account may take of a round together, ns, to be read and to be
 * sent what they are owed: a request costs what it walks over, so neither packets nor
 * connections measure it. A packet of a thousand messages, or a slice to fifty readers;
 * nobody feels so much of somebody else's flood. */
#define BROKER_READ_NS (UINT64_C(100000))
#define BROKER_SEND_NS (UINT64_C(200000))

/* Time of a round, ns, in which the rings of one account may be swept in the turns of others:
 * feed.h. */
#define BROKER_SWEEP_NS (UINT64_C(100000))

/* What a packet in hand may take beyond it before the rest of it is put aside, which costs
 * a copy. */
#define BROKER_PACKET_NS (UINT64_C(400000))

/* One row of ROOMS. */
#define BROKER_ROW_MAX 384

enum {
	BROKER_E_FOREIGN = 1, /* a path that it needs is somebody else's */
	BROKER_E_HELD,        /* another broker serves it */
	BROKER_E_SETTINGS,    /* the limits file is wrong */
	BROKER_E_STATE,       /* what was stored can not be used */
	BROKER_E_USELESS,     /* no user has an id in its user namespace */
};

/* Open everything; what fails is said in the diagnostics. CONFIG is borrowed.
 * Returns 0, an outcome, or -errno. broker_deinit() is due in any case. */
int broker_init(struct broker *broker, const struct broker_config *config);
void broker_deinit(struct broker *broker);

/* Serve until a stop is done. Returns 0, or BROKER_E_USELESS if no user could be served. */
int broker_run(struct broker *broker);

/* One round, waiting at most TIMEOUT_NS: what broker_run() repeats. */
void broker_round(struct broker *broker, uint64_t timeout_ns);

/* Who asked, for the diagnostics: a uid, or "broker" for (uid_t)-1, which is the FIFO
 * or a signal: they have no sender and speak as the broker. */
#define BROKER_ACTOR_MAX 16
const char *broker_actor(uid_t uid, char buffer[static BROKER_ACTOR_MAX]);

/* Begin to stop at the end of this round. REASON is copied; UID is who asked,
 * (uid_t)-1 for the FIFO or a signal. */
void broker_stop(struct broker *broker, struct text reason, uid_t uid);

/* CLOCK_REALTIME, ns. */
uint64_t broker_now(const struct broker *broker);

/* CLOCK_MONOTONIC, ns: now, where users.now is when the round began. */
uint64_t broker_clock(void);

/* Each counter as "name value". Returns how many. */
unsigned broker_stats(const struct broker *broker, admin_output_fn *output, void *userdata);

/* "ROOM readers= ..." into ROW, which holds BROKER_ROW_MAX bytes. */
struct text broker_room_row(const struct broker *broker, const struct room *room, char *row);
