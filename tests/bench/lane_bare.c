/* lane_bare.c - what this machine allows, without any broker, log or safety.
 *
 * A trip: a word and a payload for each direction, that nobody else writes; asleep, a named
 * semaphore that is posted and waited for each time. A stream: a ring of bytes with two
 * counters, in which the writer waits for the reader. LANE_CAPACITY in the environment is
 * another size for it.
 */
#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/bench/harness.h"
#include "tests/bench/lane.h"

#define LANES       2
#define ALIGN       8
#define LENGTH_SIZE 8 /* before each message in the ring */

const bool lane_is_lossy = false;

struct word {
	_Alignas(128) _Atomic uint32_t serial;
	char payload[BODY_MAX];
};

struct ring {
	_Alignas(128) _Atomic uint64_t tail; /* of the writer */
	_Alignas(128) _Atomic uint64_t head; /* of the reader */
	_Alignas(128) char data[];
};

static struct lane_plan plan;
static struct word *words[LANES];
static sem_t *semaphores[LANES];
static struct ring *ring;

struct lane {
	int writes, reads;
	uint32_t n_written, n_read;
	uint64_t tail, head; /* as the writer and the reader know them */
	uint64_t shown;      /* what the writer was told of head */
	char *body;
};

static sem_t *open_semaphore(int number)
{
	char name[64];
	sem_t *semaphore;

	snprintf(name, sizeof name, "/chat-bench.%d.%d", getpid(), number);
	semaphore = sem_open(name, O_CREAT | O_EXCL, 0600, 0);
	if (semaphore == SEM_FAILED)
		die("semaphore");
	sem_unlink(name);
	return semaphore;
}

void lanes_plan(const struct lane_plan *given)
{
	const char *capacity = getenv("LANE_CAPACITY");

	plan = *given;
	if (plan.n_readers > 1 || plan.wait == LANE_LOOKS)
		die("this can not do that");
	if (plan.is_trip) {
		for (int i = 0; i < LANES; i++) {
			words[i] = share(sizeof *words[i]);
			semaphores[i] = open_semaphore(i);
		}
		return;
	}
	if (capacity)
		plan.capacity = number_of(capacity, 1 << 16, 1 << 24);
	ring = share(sizeof *ring + plan.capacity);
	memset(ring->data, 0, plan.capacity);
}

struct lane *lane_open(int writes, int reads, unsigned number)
{
	struct lane *lane = calloc(1, sizeof *lane);

	if (!lane || !(lane->body = aligned_alloc(64, (plan.len + 63) & ~(size_t)63)))
		die("no memory");
	lane->writes = writes;
	lane->reads = reads;
	return lane;
}

void lane_meet(struct lane *lane)
{
	/* it is all there */
}

/* ---- a trip ---- */

static void word_put(struct lane *lane, const void *body)
{
	struct word *word = words[lane->writes];

	memcpy(word->payload, body, plan.len);
	atomic_store_explicit(&word->serial, ++lane->n_written, memory_order_release);
	if (plan.wait == LANE_SLEEPS)
		sem_post(semaphores[lane->writes]);
}

static const void *word_get(struct lane *lane)
{
	struct word *word = words[lane->reads];

	while (atomic_load_explicit(&word->serial, memory_order_acquire) == lane->n_read)
		if (plan.wait == LANE_SLEEPS)
			sem_wait(semaphores[lane->reads]);
	lane->n_read++;
	memcpy(lane->body, word->payload, plan.len);
	return lane->body;
}

/* ---- a stream ---- */

static size_t record_size(void)
{
	return (LENGTH_SIZE + plan.len + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

/* Bytes at the end of the ring at POSITION that are left out. */
static size_t pad_at(uint64_t position)
{
	size_t left = plan.capacity - (position & (plan.capacity - 1));

	return left < record_size() ? left : 0;
}

static void ring_put(struct lane *lane, const void *body, bool more)
{
	size_t need = record_size() + pad_at(lane->tail);
	uint64_t length = plan.len;
	char *at;

	while (lane->tail + need - lane->head > plan.capacity) {
		uint64_t head = atomic_load_explicit(&ring->head, memory_order_acquire);

		if (head == lane->head) { /* show all there is, and wait */
			atomic_store_explicit(&ring->tail, lane->tail, memory_order_release);
			__builtin_ia32_pause();
		}
		lane->head = head;
	}
	lane->tail += pad_at(lane->tail);
	at = ring->data + (lane->tail & (plan.capacity - 1));
	memcpy(at, &length, sizeof length);
	memcpy(at + LENGTH_SIZE, body, plan.len);
	lane->tail += record_size();
	if (!more)
		atomic_store_explicit(&ring->tail, lane->tail, memory_order_release);
}

static const void *ring_get(struct lane *lane)
{
	const char *at;
	uint64_t length;

	if (lane->head == lane->tail) {
		if (lane->shown != lane->head)
			atomic_store_explicit(&ring->head, lane->head, memory_order_release);
		lane->shown = lane->head;
		lane->tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
		if (lane->head == lane->tail) {
			__builtin_ia32_pause();
			return NULL;
		}
	}
	lane->head += pad_at(lane->head);
	at = ring->data + (lane->head & (plan.capacity - 1));
	memcpy(&length, at, sizeof length);
	memcpy(lane->body, at + LENGTH_SIZE, length);
	lane->head += record_size();
	if (lane->head - lane->shown > plan.capacity / 4) { /* in big steps */
		atomic_store_explicit(&ring->head, lane->head, memory_order_release);
		lane->shown = lane->head;
	}
	return lane->body;
}

void lane_put(struct lane *lane, const void *body, bool more)
{
	if (plan.is_trip)
		word_put(lane, body);
	else
		ring_put(lane, body, more);
}

const void *lane_get(struct lane *lane, struct lane_losses *losses)
{
	return plan.is_trip ? word_get(lane) : ring_get(lane);
}
