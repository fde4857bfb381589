/* admin.h - the admin channel: the FIFO, and the commands it shares with CTL.
 *
 * chat-broker(8), section ADMINISTRATION.
 */
#pragma once

#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "broker/line.h"
#include "broker/loop.h"
#include "broker/node.h"

struct broker;

struct admin {
	struct watch watch; /* fd -1: there is no FIFO */
	const char *path;   /* borrowed */
	char *status_path;  /* owned */
	gid_t group;        /* that may write, too; (gid_t)-1: none */
	struct node_lock lock;
	struct stat node;
	int guard;
	struct line_reader reader;
	uint64_t partial_since;
};

/* How long half a line is waited for, ns: its writer is gone. */
#define ADMIN_PARTIAL_NS (UINT64_C(2000000000))

/* Make the FIFO, under its lock. Returns 0, NODE_E_FOREIGN or NODE_E_HELD with WHY
 * filled in, or -errno: the broker then goes on without it. */
int admin_open(struct admin *admin, struct broker *broker, const char *path, gid_t group,
	char why[static NODE_WHY_MAX]);

/* Remove the FIFO and the status file; the lock stays until admin_deinit(). */
void admin_close(struct admin *admin, struct broker *broker);
void admin_deinit(struct admin *admin);

/* Something happened to the file: make it again if it is gone. */
void admin_check(struct admin *admin, struct broker *broker);

/* Drop half a line that has waited too long. Returns ns until that, UINT64_MAX when
 * there is none. */
uint64_t admin_expire(struct admin *admin, uint64_t now);

enum {
	ADMIN_E_REFUSED = 1,
};

/* One line of a command's output. */
typedef void admin_output_fn(void *userdata, struct text line);

/* Run one command for UID ((uid_t)-1: whoever may write the FIFO). Returns 0,
 * ADMIN_E_REFUSED with *ret_why, or -ENOMEM. */
int admin_command(struct broker *broker, struct text line, uid_t uid, admin_output_fn *output,
	void *userdata, const char **ret_why);

/* "STOP [reason]", ... the usage of command I, NULL behind the last. */
const char *admin_usage(unsigned i);
