/* admin.h - the admin channel: the FIFO, and the commands it shares with CTL.
 *
 * chat-broker(8), section ADMINISTRATION.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "broker/line.h"
#include "broker/loop.h"
#include "broker/node.h"
#include "broker/trace.h"

struct broker;

struct admin {
	struct watch watch; /* fd -1: there is no FIFO now */
	const char *path;   /* borrowed */
	char *status_path;  /* owned */
	gid_t group;        /* that may write, too; (gid_t)-1: none */
	struct node_lock lock;
	struct stat node;
	bool is_open;      /* from admin_open() to admin_close(), also while it is lost */
	int lost;          /* why it cannot be made again, as of admin_open(); 0: it is there */
	uint64_t retry_at; /* not before then, while another process reads what is NODE now */
	int closing;       /* the FIFO that was closed, until admin_deinit(); -1 */
	struct line_reader reader;
	struct trace_share lines; /* of diagnostics, that commands cause */
	uint64_t partial_since;
};

/* Lines of diagnostics at once, which are the results of some commands, and a second. */
#define ADMIN_LINES_BURST 200
#define ADMIN_LINES_PER_S 20

/* How long half a line is waited for, ns: its writer is gone. */
#define ADMIN_PARTIAL_NS (UINT64_C(2000000000))

/* How long until the broker looks again whether another process still reads the FIFO, ns. */
#define ADMIN_HELD_NS (UINT64_C(10000000000))

/* Make the FIFO, under its lock, or take the one of ours that is there: the commands of
 * writers that wait for a reader are then carried out. Returns 0, NODE_E_FOREIGN, or NODE_E_HELD
 * when another broker has the lock or another process reads the FIFO, with WHY filled in, or
 * -errno: the broker then goes on without it. */
int admin_open(struct admin *admin, struct broker *broker, const char *path, gid_t group,
	char why[static NODE_WHY_MAX]);

/* Remove the FIFO and the status file. The lock stays until admin_deinit(), and so does the
 * descriptor: a writer that opens the FIFO meanwhile does not wait for a reader. */
void admin_close(struct admin *admin, struct broker *broker);
void admin_deinit(struct admin *admin);

/* Make the FIFO again, under the lock, if it or its lock has vanished. A failure is reported once,
 * and a later call tries again. Returns whether something was made. */
bool admin_check(struct admin *admin, struct broker *broker);

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
