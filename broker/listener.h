/* listener.h - the socket clients connect to: bind, accept, replace.
 *
 * chat-broker(8), sections OPTIONS and FILES.
 */
#pragma once

#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "broker/loop.h"
#include "broker/node.h"
#include "broker/trace.h"

struct broker;

struct listener {
	struct watch watch;
	const char *path; /* borrowed; "@name" is abstract */
	mode_t mode;
	gid_t group; /* (gid_t)-1: unchanged */
	struct node_lock lock;
	struct stat node; /* what was bound */
	bool is_open;     /* from listener_open() to listener_close(), also while it is lost */
	int lost;         /* why it cannot be made again, as of listener_open(); 0: it is there */
	int spare;        /* a descriptor to give up when there are none left */
	bool refuses_rights; /* its clients cannot pass descriptors until they are allowed to */
	struct trace_share lines; /* of diagnostics: connections that belong to nobody yet */
	bool is_paused;
	uint64_t resume_at;
};

/* Connections that wait to be accepted. The kernel has one line of them for all users: each
 * connection of one user in that line delays the others by some 12 us. When it is full, a client
 * that does not wait in connect(2) is refused. */
#define LISTENER_BACKLOG 256

/* Connections accepted in one round, at the most, and the time after which others are served,
 * ns. */
#define LISTENER_TURN    64
#define LISTENER_TURN_NS (UINT64_C(500) * 1000)

/* Lines of diagnostics about connections that belong to nobody yet: at once, and a second. */
#define LISTENER_LINES_BURST 100
#define LISTENER_LINES_PER_S 1

/* Bind, under the lock. Returns 0, NODE_E_FOREIGN or NODE_E_HELD with WHY filled in,
 * or -errno. PATH is borrowed. On failure nothing is left. */
int listener_open(struct listener *listener, struct broker *broker, const char *path, mode_t mode,
	gid_t group, char why[static NODE_WHY_MAX]);

/* Stop listening and remove the socket; the lock stays. */
void listener_close(struct listener *listener, struct broker *broker);

/* Release the lock, too. Takes a listener that was never opened. */
void listener_deinit(struct listener *listener);

/* Bind again, under the lock, if the socket or its lock has vanished. A failure is reported once,
 * and the next call tries again. Returns whether something was made. */
bool listener_check(struct listener *listener, struct broker *broker);

/* Accept again after a pause. */
void listener_resume(struct listener *listener, struct broker *broker);
