/* errand.h - what is to be read from the disk, or looked through, for somebody: one thread does it,
 * and the users take turns, whoever asks for how much.
 */
#pragma once

#include <stdbool.h>

#include "broker/list.h"
#include "broker/users.h"
#include "broker/worker.h"

/* Embedded in what it is about, which stays until end(). */
struct errand {
	struct list link;  /* in its account's line, then in errands.running */
	struct job job;    /* what the thread does */
	struct user *user; /* for whom; a reference */
	bool is_done;      /* by the thread, and not only given up at the end of all */
	/* In the loop: it is its turn (may be NULL); it was done, or will not be, and may be freed.
	 */
	void (*begin)(struct errand *errand);
	void (*end)(struct errand *errand);
};

struct errands {
	struct worker worker;
	struct users *users;
	struct list accounts; /* that have some in line: their quota_account.errands */
	struct list running;
	unsigned n_running;
};

/* Start the thread. Returns 0 or -errno. */
int errands_init(struct errands *errands, struct users *users);

/* No more come, and those that are left end. What the thread has in hand longer than TIMEOUT_NS
 * stays until the exit. */
void errands_deinit(struct errands *errands, uint64_t timeout_ns);

/* ERRAND, whose job, begin and end are set, is to be run for USER. */
void errands_add(struct errands *errands, struct errand *errand, struct user *user);

/* Some are done. Call when worker.fd is readable. */
void errands_dispatch(struct errands *errands);
