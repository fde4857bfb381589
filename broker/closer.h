/* closer.h - closing the descriptors that clients passed.
 *
 * The last close of a file can wait for its owner: a socket that lingers, a file of FUSE or NFS. So
 * the loop closes none that a client passed, and no socket of a client that may have some queued.
 * The loop gives them to a thread of the account that is charged for them until they are closed. A
 * close that is stuck so costs its user, whose other descriptors wait behind it.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "broker/list.h"
#include "protocol/packet.h"

struct quota_account;
struct user;
struct users;

/* Threads at once. The descriptors of further accounts wait for one of them to end. */
#define CLOSER_THREADS_MAX 32

/* A user whose oldest descriptor waits for so long, ns, is to pass no more. */
#define CLOSER_STUCK_NS (UINT64_C(1) * 1000000000)

/* When a thread could not be started, another attempt is made after so long, ns. */
#define CLOSER_RETRY_NS (UINT64_C(100) * 1000000)

/* Descriptors that came together. */
struct closing {
	struct list link;         /* in closer.queue, pool.done or closers.waiting */
	struct list closers_link; /* in closers.all */
	struct list account_link; /* in account.closing, oldest first */
	struct user *user;        /* a reference; NULL: nobody is charged */
	struct quota_account *account;
	uint64_t since; /* users.now */
	bool is_socket; /* of the broker's own */
	size_t n;
	int fds[PACKET_RIGHTS_MAX];
};

struct closer_pool;

struct closers {
	int fd;              /* polls readable when closers_dispatch() is due */
	struct users *users; /* borrowed */
	struct closer_pool *pool;
	struct closing *spare; /* so that what was received finds a place */
	struct list all, waiting;
	uint64_t n_held; /* descriptors that are not closed yet */
};

/* USERS is borrowed. Returns 0 or -errno. */
int closers_init(struct closers *closers, struct users *users);

/* Give the threads a moment. Takes closers that were never opened. Returns 0, or -EBUSY when a
 * thread is stuck: its memory then stays until the process exits. Nothing is charged any more. */
int closers_deinit(struct closers *closers);

/* Have memory for the next closers_add(), which does not fail then. Returns 0 or -ENOMEM. */
int closers_reserve(struct closers *closers);

/* Close FDS, N of them (consumed on success), in a thread of USER's account, which is charged. With
 * NULL nobody is charged. Returns 0 or -ENOMEM. */
int closers_add(struct closers *closers, struct user *user, const int *fds, size_t n);

/* Close FD (consumed on success), the broker's own socket, whose client may have passed descriptors
 * that nobody received. The client sees the end at once. The broker discards unread data, or the
 * client would receive ECONNRESET instead of the broker's last lines. A thread is needed only when
 * there are descriptors, or much data to discard. Returns 0 or -ENOMEM. */
int closers_add_socket(struct closers *closers, struct user *user, int fd);

/* Some were closed: discharge them. */
void closers_dispatch(struct closers *closers);

/* Has the account descriptors that cannot be closed? */
bool closers_are_stuck(const struct quota_account *account, uint64_t now);

/* For how long the loop may sleep, ns. UINT64_MAX: nothing is to be tried again. */
uint64_t closers_patience(struct closers *closers);
