/* lane_ring.c - protocol/ring.h by itself, without a broker: the writer's and the reader's
 * part of it as libchat has them, and nothing else. In the environment:
 *
 *	LANE_TIME=1      the writer takes the time of every message
 *	LANE_SILENT=1    the writer never asks whether somebody is to be woken
 */
#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "protocol/ring.h"
#include "protocol/shared.h"
#include "protocol/waker.h"
#include "tests/bench/harness.h"
#include "tests/bench/lane.h"

#define LANES       2
#define READERS_MAX 8

const bool lane_is_lossy = true;

static struct lane_plan plan;
static bool takes_time, is_silent;
static struct ring_writer writers[LANES];
static struct sleeper sleepers[LANES][READERS_MAX];
static struct waker wakers[LANES][READERS_MAX];

struct lane {
	int writes;
	struct ring_writer writer;
	struct waker wakers[READERS_MAX];
	uint64_t n_written;

	struct ring_reader reader;
	struct sleeper sleeper;
	struct ring_batch batch;
	uint64_t expect; /* after it was overtaken: the record that would have been next */
	char *buffer;
};

static void plan_lane(int i)
{
	size_t capacity = plan.capacity ? plan.capacity : RING_CAPACITY_DEFAULT;
	void *memory = share(RING_HEADER_LEN + capacity);
	char name[WAKER_NAME_MAX];

	memset(memory, 0, RING_HEADER_LEN + capacity); /* have it there */
	ring_writer_init(&writers[i], memory, capacity, 1);
	for (unsigned k = 0; k < plan.n_readers; k++) {
		snprintf(name, sizeof name, "/chat-bench.%d.%u.%d.%u", getpid(), plan.set, i, k);
		if (waker_create(&wakers[i][k], name) < 0 ||
			sleeper_open(&sleepers[i][k], name) < 0)
			die("semaphore");
		sem_unlink(name);
	}
}

void lanes_plan(const struct lane_plan *given)
{
	plan = *given;
	takes_time = getenv("LANE_TIME");
	is_silent = getenv("LANE_SILENT");
	if (plan.n_readers > READERS_MAX || plan.wait == LANE_LOOKS)
		die("this can not do that");
	for (int i = 0; i < (plan.is_trip ? LANES : 1); i++)
		plan_lane(i);
}

struct lane *lane_open(int writes, int reads, unsigned number)
{
	struct lane *lane = calloc(1, sizeof *lane);

	if (!lane || !(lane->buffer = aligned_alloc(64, RING_BUFFER_MIN)))
		die("no memory");
	lane->writes = writes;
	if (writes >= 0) {
		lane->writer = writers[writes];
		memcpy(lane->wakers, wakers[writes], sizeof lane->wakers);
	}
	if (reads >= 0) {
		struct ring_writer *writer = &writers[reads];

		lane->sleeper = sleepers[reads][number];
		if (ring_reader_init(&lane->reader, writer->header,
			    RING_HEADER_LEN + writer->capacity, 0, 1))
			die("ring");
	}
	return lane;
}

void lane_meet(struct lane *lane)
{
	/* it is all there */
}

void lane_put(struct lane *lane, const void *body, bool more)
{
	struct timespec now = { 0 };

	if (takes_time)
		clock_gettime(CLOCK_REALTIME, &now);
	lane->n_written++;
	if (ring_put(&lane->writer, (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec,
		    lane->n_written, body, plan.len))
		die("put");
	if (more || is_silent)
		return;
	shared_fence();
	for (unsigned i = 0; i < plan.n_readers; i++)
		waker_wake(&lane->wakers[i]);
}

/* It was overtaken: go on where the writer is. */
static void seek(struct lane *lane)
{
	if (lane->reader.seq > 0)
		lane->expect = lane->reader.seq;
	if (ring_reader_seek(&lane->reader))
		die("the ring is bad");
}

const void *lane_get(struct lane *lane, struct lane_losses *losses)
{
	struct ring_message message;
	int r;

	if (ring_batch_next(&lane->batch, &message))
		return message.payload;
	while ((r = ring_get(&lane->reader, lane->buffer, RING_BUFFER_MIN, UINT32_MAX,
			&lane->batch)) == RING_E_LAPPED)
		seek(lane);
	if (r == RING_E_EMPTY) {
		if (plan.wait == LANE_SLEEPS) {
			sleeper_begin(&lane->sleeper);
			if (!ring_is_ready(&lane->reader))
				sleeper_wait(&lane->sleeper, UINT64_MAX);
			sleeper_end(&lane->sleeper);
		}
		return NULL;
	}
	if (r)
		die("the ring is bad");
	ring_batch_next(&lane->batch, &message);
	if (lane->expect > 0)
		losses->n_lost += message.seq - lane->expect;
	lane->expect = 0;
	return message.payload;
}
