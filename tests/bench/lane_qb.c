/* lane_qb.c - the ring of libqb by itself, between two processes: without a broker, and
 * without the socket of its connections. The reader is told by a semaphore, as always. */
#include <errno.h>
#include <qb/qbrb.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/bench/harness.h"
#include "tests/bench/lane.h"

#define LANES        2
#define SIZE_DEFAULT (4u << 20)

const bool lane_is_lossy = false;

static struct lane_plan plan;
static qb_ringbuffer_t *rings[LANES];

struct lane {
	qb_ringbuffer_t *writes, *reads;
	char *body;
};

/* What is left in /dev/shm when this ends by a signal, peers.py removes. */
static void close_rings(void)
{
	for (int i = 0; i < LANES; i++)
		if (rings[i])
			qb_rb_close(rings[i]);
}

void lanes_plan(const struct lane_plan *given)
{
	char name[64];

	plan = *given;
	if (plan.n_readers > 1 || plan.wait == LANE_LOOKS)
		die("this can not do that");
	for (int i = 0; i < (plan.is_trip ? LANES : 1); i++) {
		snprintf(name, sizeof name, "chat-bench-%d-%d", getpid(), i);
		rings[i] = qb_rb_open(name, plan.capacity ? plan.capacity : SIZE_DEFAULT,
			QB_RB_FLAG_CREATE | QB_RB_FLAG_SHARED_PROCESS, 0);
		if (!rings[i])
			die("ring");
	}
	atexit(close_rings); /* children leave by _exit() */
}

struct lane *lane_open(int writes, int reads, unsigned number)
{
	struct lane *lane = calloc(1, sizeof *lane);

	if (!lane || !(lane->body = aligned_alloc(64, BODY_MAX)))
		die("no memory");
	lane->writes = writes >= 0 ? rings[writes] : NULL;
	lane->reads = reads >= 0 ? rings[reads] : NULL;
	return lane;
}

void lane_meet(struct lane *lane)
{
	/* it is all there */
}

void lane_put(struct lane *lane, const void *body, bool more)
{
	ssize_t n;

	while ((n = qb_rb_chunk_write(lane->writes, body, plan.len)) == -EAGAIN)
		__builtin_ia32_pause();
	if (n < 0) {
		errno = (int)-n;
		die("write");
	}
}

const void *lane_get(struct lane *lane, struct lane_losses *losses)
{
	ssize_t n = qb_rb_chunk_read(
		lane->reads, lane->body, BODY_MAX, plan.wait == LANE_SLEEPS ? -1 : 0);

	if (n == -ETIMEDOUT || n == -EAGAIN || n == 0)
		return NULL;
	if (n < 0) {
		errno = (int)-n;
		die("read");
	}
	return lane->body;
}
