/* soak.c - soak MESSAGES: mixed load in which everything that is said is checked.
 *
 *	publishers	say MESSAGES together, mostly 64 bytes, in bursts and alone
 *	verifiers	read all of it: in order, once and only once, nothing missing
 *	tourists	join, leave, and come back to where they were; are killed and
 *			started again; fall behind within what is kept
 *	victims		speak and read until they are killed
 *	a sleeper	misses more than is kept, and is told exactly what
 *	talkers		conversations, requests, presence, plain sessions
 *
 * Beside that, the broker's memory and descriptors must be flat: after logs were filled,
 * the most that is seen in the second half of the run is at most GROWTH_MAX and
 * DESCRIPTORS_GROWTH_MAX above the most that was seen in the first; in the end all
 * sessions, cursors and descriptors are given back.
 *
 * 1000000 takes seconds; the long form is 100000000.
 */
#include "tests/soak/soak.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "tests/integration/harness.h"

#define GROWTH_MAX             ((size_t)2 << 20)
#define DESCRIPTORS_GROWTH_MAX 4

#define TICK_MS     50 /* somebody is killed */
#define PROGRESS_MS 5000

/* Nothing was verified for so long. */
#define STALL_MS 30000

struct shared *shared;
const char *soak_socket;

static const char *soak_part;
static uint64_t n_messages = 1000000;

void die(const char *format, ...)
{
	va_list ap;

	fprintf(stderr, "soak: %s: ", soak_part);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fputc('\n', stderr);
	_exit(1);
}

void soak_stand(int stood)
{
	if (write(stood, "", 1) != 1)
		die("%s", strerror(errno));
}

uint64_t clock_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

const char *room_name(unsigned room)
{
	static const char *const names[] = { "soak.north", "soak.east", "soak.south", "soak.west" };

	return names[room];
}
_Static_assert(N_ROOMS == 4, "each room has a name");

/* ---- the processes ---- */

struct soak {
	struct broker *broker;
	struct raw *raw; /* for the counters */
	pid_t publishers[N_PUBLISHERS], verifiers[N_VERIFIERS], tourists[N_TOURISTS];
	pid_t victim, sleeper, talker;
	int stood[2]; /* a byte for each who is ready */
	int never[2]; /* closed in the end */
	uint64_t n_kills;
	unsigned n_descriptors;
	uint64_t start_us;
	/* the most of the first and the second half */
	size_t memory[2];
	unsigned descriptors[2];
};

#define start(pid, part)                                                                           \
	do {                                                                                       \
		*(pid) = child_fork();                                                             \
		if (*(pid) == 0) {                                                                 \
			soak_part = #part;                                                         \
			part;                                                                      \
			_exit(0);                                                                  \
		}                                                                                  \
	} while (0)

/* Each room keeps all that it may: from here on memory does not grow. */
static void fill(struct soak *soak, const char *room)
{
	static char packet[60000];
	int len = snprintf(packet, sizeof packet, "#f SAY %s\n", room);

	memset(packet + len, 'f', sizeof packet - (size_t)len);
	for (int i = 0; i < 150; i++) {
		raw_send_bytes(soak->raw, packet, sizeof packet);
		raw_expect(soak->raw, "#f * ~");
	}
}

/* Wait until N more are ready. */
static void await_stood(struct soak *soak, unsigned n)
{
	char byte;

	while (n-- > 0) {
		if (!wait_fd(soak->stood[0], POLLIN, clock_ms() + DEADLINE_MS))
			fail_msg("a verifier or the talker does not stand");
		assert_int_equal(read(soak->stood[0], &byte, 1), 1);
	}
}

static void soak_start(struct soak *soak)
{
	*soak = (struct soak){ .broker = broker_new() };
	soak->broker->environment[0] = "ASAN_OPTIONS=quarantine_size_mb=1:malloc_context_size=0";
	broker_spawn_here(
		soak->broker, "--limit", "room-bytes=" ROOM_BYTES, "--limit", "names=100");
	broker_wait_ready(soak->broker);
	soak_socket = soak->broker->socket;
	soak->raw = raw_hello(soak->broker, "");
	soak->n_descriptors = broker_descriptors(soak->broker);
	shared = mmap(
		NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(shared, MAP_FAILED);
	for (unsigned i = 0; i < N_TOURISTS; i++)
		for (unsigned k = 0; k < N_ROOMS; k++)
			track_forget(&shared->tours[i][k].tracks[0]);
	assert_int_equal(pipe(soak->stood), 0);
	assert_int_equal(pipe(soak->never), 0);
	for (unsigned i = 0; i < N_ROOMS; i++)
		fill(soak, room_name(i));
	fill(soak, "lobby");
	fill(soak, "soak.deep");

	for (unsigned i = 0; i < N_VERIFIERS; i++)
		start(&soak->verifiers[i], play_verifier(i, soak->stood[1]));
	await_stood(soak, N_VERIFIERS);
	/* it asks for them */
	start(&soak->talker, play_talker(soak->stood[1]));
	await_stood(soak, 1);

	soak->start_us = clock_us();
	for (unsigned i = 0; i < N_PUBLISHERS; i++)
		start(&soak->publishers[i],
			play_publisher(
				i, n_messages / N_PUBLISHERS + (i < n_messages % N_PUBLISHERS)));
	for (unsigned i = 0; i < N_TOURISTS; i++)
		start(&soak->tourists[i], play_tourist(i, soak->never[0]));
	start(&soak->victim, play_victim(++shared->n_victims));
	start(&soak->sleeper, play_sleeper());
}

/* Whoever has ended by itself has ended well. */
static bool has_ended(pid_t *pid)
{
	if (*pid == 0)
		return true;
	if (child_runs(*pid))
		return false;
	child_expect_exit(*pid, 0);
	*pid = 0;
	return true;
}

static void kill_one(struct soak *soak, pid_t *pid)
{
	if (has_ended(pid))
		fail_msg("somebody ended before its time");
	kill(*pid, SIGKILL);
	child_expect_kill(*pid);
	soak->n_kills++;
}

static void soak_kill(struct soak *soak, unsigned tick)
{
	unsigned i = tick / 2 % N_TOURISTS;

	if (tick % 2) {
		kill_one(soak, &soak->victim);
		start(&soak->victim, play_victim(++shared->n_victims));
	} else {
		kill_one(soak, &soak->tourists[i]);
		start(&soak->tourists[i], play_tourist(i, soak->never[0]));
	}
}

/* ---- what is measured ---- */

static uint64_t soak_verified(void)
{
	uint64_t least = UINT64_MAX;

	for (unsigned i = 0; i < N_VERIFIERS; i++)
		least = MIN(least, shared->n_verified[i]);
	return least;
}

static void soak_sample(struct soak *soak)
{
	int half = soak_verified() > n_messages / 2;

	soak->memory[half] = MAX(soak->memory[half], broker_memory(soak->broker));
	soak->descriptors[half] = MAX(soak->descriptors[half], broker_descriptors(soak->broker));
}

static void soak_progress(struct soak *soak)
{
	double s = (double)(clock_us() - soak->start_us) / 1e6;
	uint64_t n = soak_verified();

	print_message("%6.1f s  %5.1f%%  %11lu messages  %8.0f/s  %6zu KiB  %3u descriptors  "
		      "%6lu us worst talk\n",
		s, 100.0 * (double)n / (double)n_messages, (unsigned long)n, (double)n / s,
		broker_memory(soak->broker) >> 10, broker_descriptors(soak->broker),
		(unsigned long)shared->worst_echo_us);
	fflush(stdout);
}

/* Until everything is said and verified. */
static void soak_watch(struct soak *soak)
{
	uint64_t progress_at = clock_ms() + PROGRESS_MS, moved_at = clock_ms(), before = 0;

	for (unsigned tick = 0;; tick++) {
		bool is_over = true;

		(void)wait_fd(soak->never[0], POLLIN, clock_ms() + TICK_MS);
		soak_sample(soak);
		soak_kill(soak, tick);
		for (unsigned i = 0; i < N_PUBLISHERS; i++)
			is_over &= has_ended(&soak->publishers[i]);
		for (unsigned i = 0; i < N_VERIFIERS; i++)
			if (has_ended(&soak->verifiers[i]))
				fail_msg("a verifier ended before its time");
		(void)has_ended(&soak->sleeper);
		if (has_ended(&soak->talker))
			fail_msg("the talker ended before its time");
		if (soak_verified() != before)
			moved_at = clock_ms();
		before = soak_verified();
		if (clock_ms() - moved_at > STALL_MS)
			fail_msg("nothing moves after %lu messages", (unsigned long)before);
		if (clock_ms() > progress_at) {
			soak_progress(soak);
			progress_at += PROGRESS_MS;
		}
		if (is_over && before == n_messages)
			return;
	}
}

/* The number of the last message of each room: what the tourists read up to. */
static void soak_end(struct soak *soak)
{
	kill_one(soak, &soak->victim);
	for (unsigned i = 0; i < N_ROOMS; i++) {
		unsigned long seq;

		raw_send(soak->raw, "#e SAY %s\nthe end", room_name(i));
		assert_int_equal(sscanf(raw_expect(soak->raw, "#e * ~"), "#e * %lu", &seq), 1);
		shared->last_seq[i] = seq;
	}
	shared->is_over = true;
	close(soak->never[1]);
	for (unsigned i = 0; i < N_VERIFIERS; i++)
		child_expect_exit(soak->verifiers[i], 0);
	for (unsigned i = 0; i < N_TOURISTS; i++)
		child_expect_exit(soak->tourists[i], 0);
	child_expect_exit(soak->talker, 0);
	if (soak->sleeper)
		child_expect_exit(soak->sleeper, 0);
}

static uint64_t sum(const _Atomic uint64_t *numbers, unsigned n)
{
	uint64_t total = 0;

	for (unsigned i = 0; i < n; i++)
		total += numbers[i];
	return total;
}

static void soak_judge(struct soak *soak)
{
	for (unsigned i = 0; i < N_VERIFIERS; i++)
		assert_int_equal(shared->n_verified[i], n_messages);
	print_message(
		"%lu messages, each verified %d times\n", (unsigned long)n_messages, N_VERIFIERS);
	print_message("tourists: %lu visits, %lu messages, missed and told %lu; %lu killed\n",
		(unsigned long)sum(shared->n_rejoined, N_TOURISTS),
		(unsigned long)sum(shared->n_toured, N_TOURISTS),
		(unsigned long)sum(shared->n_missed, N_TOURISTS), (unsigned long)soak->n_kills);
	print_message("sleeper: received %lu, missed and told %lu\n",
		(unsigned long)shared->n_slept, (unsigned long)shared->n_slept_over);
	print_message(
		"talkers: %lu round trips, at most %lu us; %lu requests, %lu plain sessions\n",
		(unsigned long)shared->n_echoes, (unsigned long)shared->worst_echo_us,
		(unsigned long)shared->n_requests, (unsigned long)shared->n_plain);
	print_message("memory: %zu KiB, then %zu KiB; descriptors: %u, then %u\n",
		soak->memory[0] >> 10, soak->memory[1] >> 10, soak->descriptors[0],
		soak->descriptors[1]);
	assert_true(shared->n_slept > 0 && shared->n_slept_over > 0);
	assert_true(shared->n_echoes > 0);
	assert_in_range(
		soak->memory[1], 0, soak->memory[0] + GROWTH_MAX * (HARNESS_HAS_ASAN ? 4 : 1));
	assert_in_range(soak->descriptors[1], 0, soak->descriptors[0] + DESCRIPTORS_GROWTH_MAX);
	raw_await_counter(soak->raw, "sessions", 1);
	assert_int_equal(raw_counter(soak->raw, "cursors"), 0);
	assert_int_equal(broker_descriptors(soak->broker), soak->n_descriptors);
	assert_int_equal(raw_counter(soak->raw, "framing"), 0);
	broker_stop(soak->broker);
}

static void test_soak(void **state)
{
	struct soak soak;

	soak_start(&soak);
	soak_watch(&soak);
	soak_progress(&soak);
	soak_end(&soak);
	soak_judge(&soak);
	close(soak.stood[0]);
	close(soak.stood[1]);
	close(soak.never[0]);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_soak),
	};

	if (argc > 1)
		n_messages = strtoul(argv[1], NULL, 10);
	if (argc > 2 || n_messages < 1000) {
		fprintf(stderr, "usage: soak [MESSAGES]   (at least 1000)\n");
		return 64;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
