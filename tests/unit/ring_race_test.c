/* ring_race_test.c - a writer and three readers at the same time, and who sleeps is woken:
 * chat-ring(7), ORDER and WAKING. Built with the thread sanitizer, in which payloads are
 * copied in atomic words and each fence has its equivalent (protocol/shared.h): a report of
 * it is a failure.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "protocol/base.h"
#include "protocol/ring.h"
#include "protocol/shared.h"
#include "protocol/waker.h"

#define LEN (RING_HEADER_LEN + RING_CAPACITY_MIN)

#define N_READERS 3
#define N_PUT     60000

static struct ring_writer writer;
static char *memory;
static uint64_t gate;
static int is_over;

static char pattern(uint64_t seq, size_t i)
{
	return (char)(seq * 31 + i * 7 + 1);
}

static size_t put_len(uint64_t seq)
{
	return seq % 211 == 0 ? 20000 : seq % 300;
}

static void put_next(void)
{
	char payload[20000];
	size_t len = put_len(writer.seq);

	for (size_t i = 0; i < len; i++)
		payload[i] = pattern(writer.seq, i);
	while (ring_put(&writer, writer.seq, writer.seq * 2, payload, len) != 0)
		sched_yield();
}

static void prove(const struct ring_message *message)
{
	bool good = message->len == put_len(message->seq) && message->time == message->seq &&
		    message->ref == message->seq * 2;

	for (size_t i = 0; good && i < message->len; i++)
		good = message->payload[i] == pattern(message->seq, i);
	if (!good) {
		fprintf(stderr, "message %lu is not what was put\n", (unsigned long)message->seq);
		abort();
	}
}

struct tally {
	uint64_t n_read, n_laps, last;
	unsigned n_max;
	bool is_archive; /* the gate follows it */
};

static void *read_all(void *argument)
{
	static _Thread_local _Alignas(64) char buffer[RING_BUFFER_MIN];
	struct tally *tally = argument;
	struct ring_message message;
	struct ring_reader reader;
	struct ring_batch batch;
	int r;

	if (ring_reader_init(&reader, memory, LEN, 0, 1))
		abort();
	for (;;) {
		bool over = __atomic_load_n(&is_over, __ATOMIC_ACQUIRE);

		r = ring_get(&reader, buffer, sizeof buffer, tally->n_max, &batch);
		if (r == RING_E_BAD)
			abort();
		if (r == RING_E_LAPPED) {
			tally->n_laps++;
			if (ring_reader_seek(&reader))
				abort();
		}
		if (r == RING_E_EMPTY && over)
			return NULL;
		while (r == 0 && ring_batch_next(&batch, &message)) {
			if (message.seq <= tally->last)
				abort();
			prove(&message);
			tally->last = message.seq;
			tally->n_read++;
		}
		if (tally->is_archive)
			shared_release64(&gate, reader.pos);
		if (r == RING_E_EMPTY)
			sched_yield();
	}
}

static void setup_ring(void)
{
	memory = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(memory, MAP_FAILED);
	ring_writer_init(&writer, memory, RING_CAPACITY_MIN, 1);
	gate = 0;
	is_over = 0;
}

static void run(struct tally *tallies)
{
	pthread_t threads[N_READERS];

	for (int i = 0; i < N_READERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, read_all, &tallies[i]), 0);
	for (int n = 0; n < N_PUT; n++)
		put_next();
	__atomic_store_n(&is_over, 1, __ATOMIC_RELEASE);
	for (int i = 0; i < N_READERS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	munmap(memory, LEN);
}

/* Nobody holds the writer up. */
static void test_ungated(void **state)
{
	struct tally tallies[N_READERS] = { { .n_max = 1 }, { .n_max = 16 }, { .n_max = 1000 } };

	setup_ring();
	run(tallies);
	for (int i = 0; i < N_READERS; i++) {
		assert_int_equal(tallies[i].last, N_PUT);
		assert_true(tallies[i].n_read == N_PUT || tallies[i].n_laps > 0);
	}
}

/* The archive does, and misses nothing. */
static void test_gated(void **state)
{
	struct tally tallies[N_READERS] = { { .n_max = 64, .is_archive = true }, { .n_max = 1 },
		{ .n_max = 1000 } };

	setup_ring();
	writer.gate = &gate;
	run(tallies);
	assert_int_equal(tallies[0].n_read, N_PUT);
	assert_int_equal(tallies[0].n_laps, 0);
}

/* ---- waking ---- */

#define N_WAKES 3000

/* A sleep of so long was not ended by a wake-up. */
#define LOST_MS 900

struct side {
	struct sleeper sleeper;
	struct waker waker; /* of the other one */
	struct ring_writer writer;
	struct ring_reader reader; /* of the other one's ring */
	char *memory;
};

static struct side sides[2];

static uint64_t clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void side_sleep(struct side *side)
{
	struct pollfd poll_fd = { .fd = side->sleeper.fd, .events = POLLIN };
	uint64_t start = clock_ms();

	sleeper_begin(&side->sleeper);
	if (!ring_is_ready(&side->reader)) {
		if (side->sleeper.semaphore)
			(void)sleeper_wait(&side->sleeper, UINT64_MAX);
		else
			(void)poll(&poll_fd, 1, LOST_MS + 100);
	}
	sleeper_end(&side->sleeper);
	if (clock_ms() - start >= LOST_MS) {
		fprintf(stderr, "a wake-up was lost\n");
		abort();
	}
}

static void side_take(struct side *side)
{
	static _Thread_local _Alignas(64) char buffer[RING_BUFFER_MIN];
	struct ring_batch batch;
	int r;

	while ((r = ring_get(&side->reader, buffer, sizeof buffer, 1, &batch)) == RING_E_EMPTY)
		side_sleep(side);
	if (r)
		abort();
}

static void side_put(struct side *side)
{
	if (ring_put(&side->writer, 0, 1, "x", 1))
		abort();
	shared_fence();
	waker_wake(&side->waker);
}

/* Whoever answers puts after it took; the other one the other way round. */
static void *answer(void *argument)
{
	for (int n = 0; n < N_WAKES; n++) {
		side_take(argument);
		side_put(argument);
	}
	return NULL;
}

static void side_open(struct side *side)
{
	side->memory = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(side->memory, MAP_FAILED);
	ring_writer_init(&side->writer, side->memory, RING_CAPACITY_MIN, 1);
}

static void play(void)
{
	pthread_t thread;

	for (int i = 0; i < 2; i++)
		assert_int_equal(
			ring_reader_init(&sides[i].reader, sides[1 - i].memory, LEN, 0, 1), 0);
	assert_int_equal(pthread_create(&thread, NULL, answer, &sides[1]), 0);
	for (int n = 0; n < N_WAKES; n++) {
		side_put(&sides[0]);
		side_take(&sides[0]);
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	for (int i = 0; i < 2; i++) {
		sleeper_close(&sides[i].sleeper);
		waker_close(&sides[i].waker);
		munmap(sides[i].memory, LEN);
	}
}

static void test_semaphore(void **state)
{
	char name[WAKER_NAME_MAX];
	struct waker maker;

	for (int i = 0; i < 2; i++) {
		side_open(&sides[i]);
		snprintf(name, sizeof name, "/chat-ring-race.%d.%d", getpid(), i);
		assert_int_equal(waker_create(&maker, name), 0);
		assert_int_equal(waker_create(&sides[1 - i].waker, name), -EEXIST);
		assert_int_equal(waker_open(&sides[1 - i].waker, name), 0);
		assert_int_equal(sleeper_open(&sides[i].sleeper, name), 0);
		waker_close(&maker);
		assert_int_equal(sem_unlink(name), 0);
		assert_int_equal(waker_open(&maker, name), -ENOENT);
	}
	play();
}

static void test_eventfd(void **state)
{
	for (int i = 0; i < 2; i++) {
		struct sleeper *sleeper = &sides[i].sleeper;

		side_open(&sides[i]);
		assert_int_equal(sleeper_create(sleeper), 0);
		assert_int_equal(waker_take(&sides[1 - i].waker, dup(sleeper->fd),
					 dup(sleeper->page.fd), geteuid()),
			0);
	}
	play();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ungated),
		cmocka_unit_test(test_gated),
		cmocka_unit_test(test_semaphore),
		cmocka_unit_test(test_eventfd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
