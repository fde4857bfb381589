/* kills.c - kills KILLS: publishers and readers on the fast path, and their broker, are
 * killed with SIGKILL at points nobody chose, one after the other.
 *
 *	publishers	put numbered messages into their rings, in one room
 *	readers		follow the rings: each number of each publisher, once, in order
 *	a listener	reads the same room by the socket
 *
 * After each kill everybody who is left must go on within HANG_MS; every message that a
 * killed publisher had put before it was killed must come; nothing may be missing when the
 * broker was. In the end no semaphore is left.
 *
 * 200 takes seconds; the long form is 10000.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "client/chat.h"
#include "protocol/ring.h"
#include "tests/integration/harness.h"

#define N_PUBLISHERS 2
#define N_READERS    3 /* the last one is the listener */

/* Everything that is not there after so long hangs. */
#define HANG_MS 2000

/* Put by a publisher and not had by every reader: half a ring. */
#define WINDOW (RING_CAPACITY_DEFAULT / 2 / 512)

#define ROOM "kills"

/* Said until the ring is there: it is asked for with the first and offered with the second. */
#define WARM_UP    "up"
#define N_WARM_UPS 4

struct message {
	uint32_t publisher, life;
	uint64_t number; /* in this life, from 1 */
	char filler[400];
};

/* Lies in memory that all processes map. Each member has one writer at a time. */
static struct shared {
	struct {
		_Atomic uint32_t life;    /* counts up */
		_Atomic uint64_t started; /* ns, before its first message */
		_Atomic uint64_t put;     /* in this life */
	} publishers[N_PUBLISHERS];
	struct {
		_Atomic bool is_coming; /* publishers wait for it */
		_Atomic bool is_in;     /* it stands in the room */
		/* of each publisher: the life in the upper bits, and the number in it, that
		 * was heard last, or was the last when it came in */
		_Atomic uint64_t had[N_PUBLISHERS];
	} readers[N_READERS];
} * shared;

#define NUMBER_BITS 40
#define NUMBER_MASK ((UINT64_C(1) << NUMBER_BITS) - 1)

static uint64_t place(uint32_t life, uint64_t number)
{
	return (uint64_t)life << NUMBER_BITS | number;
}

static const char *who;
static unsigned n_kills = 200;

static _Noreturn void die(const char *format, ...)
{
	va_list ap;

	fprintf(stderr, "kills: %s: ", who);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fputc('\n', stderr);
	_exit(1);
}

static uint64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static struct chat *open_chat(const struct broker *broker)
{
	uint64_t until = clock_ms() + HANG_MS;
	struct chat *chat;
	int r;

	for (;;) {
		r = chat_open(&chat, &(struct chat_config){ .socket = broker->socket });
		if (r == 0)
			return chat;
		if (r != -ECONNREFUSED || clock_ms() > until)
			die("%s", chat_error(chat));
		chat_close(chat);
	}
}

/* ---- who puts ---- */

/* The least that a reader has of what is said in LIFE; UINT64_MAX when there is none. */
static uint64_t slowest(unsigned i, uint32_t life)
{
	uint64_t least = UINT64_MAX;

	for (unsigned k = 0; k < N_READERS; k++) {
		uint64_t had = shared->readers[k].had[i];

		if (shared->readers[k].is_coming)
			least = MIN(least, had >> NUMBER_BITS == life ? had & NUMBER_MASK : 0);
	}
	return least;
}

static _Noreturn void publish(const struct broker *broker, unsigned i)
{
	struct message message = { .publisher = i, .life = ++shared->publishers[i].life };
	struct chat *chat = open_chat(broker);
	struct chat_event event;

	/* what goes through the socket is lost with the broker that acknowledged it: it is
	 * the ring that keeps what is put */
	for (int n = 0; n < N_WARM_UPS; n++)
		if (chat_send(chat, ROOM, WARM_UP, strlen(WARM_UP), CHAT_FAST) ||
			chat_flush(chat, HANG_MS))
			die("warming up: %s", chat_error(chat));
	shared->publishers[i].started = clock_ns();
	for (message.number = 1;; message.number++) {
		size_t len = offsetof(struct message, filler) + message.number * 37 % 400;
		uint64_t least;
		int r = chat_send(chat, ROOM, &message, len,
			CHAT_FAST | (message.number % 5 ? CHAT_MORE : 0));

		if (r)
			die("chat_send: %s", chat_error(chat));
		shared->publishers[i].put = message.number;
		while ((least = slowest(i, message.life)) != UINT64_MAX &&
			least + WINDOW < message.number)
			(void)chat_receive(chat, &event, 1);
	}
}

/* ---- who reads ---- */

/* What it has of each publisher; 0: nothing yet. What was the last before it came in. */
static uint64_t heard[N_PUBLISHERS], before[N_PUBLISHERS];

static void check(unsigned k, const struct chat_event *event, uint64_t joined)
{
	struct message message = { 0 };
	uint64_t had_life, had_number;
	unsigned i;

	if (event->len == strlen(WARM_UP))
		return;
	if (event->len < offsetof(struct message, filler) || event->len > sizeof message)
		die("a message of %zu bytes", event->len);
	memcpy(&message, event->body, event->len);
	i = message.publisher;
	if (i >= N_PUBLISHERS)
		die("of publisher %u", i);
	had_life = heard[i] >> NUMBER_BITS;
	had_number = heard[i] & NUMBER_MASK;
	if (message.life < had_life ||
		(message.life == had_life && message.number != had_number + 1))
		die("publisher %u said %lu in life %u after %lu in life %lu", i,
			(unsigned long)message.number, message.life, (unsigned long)had_number,
			(unsigned long)had_life);
	/* who was there before it began has its first one */
	if (message.life > had_life && message.number != 1 &&
		joined < shared->publishers[i].started &&
		shared->publishers[i].life == message.life)
		die("publisher %u begins with %lu in life %u, after %lu in life %lu", i,
			(unsigned long)message.number, message.life, (unsigned long)had_number,
			(unsigned long)had_life);
	/* to begin now is not to begin long ago */
	if (had_life == 0 && message.life == before[i] >> NUMBER_BITS &&
		message.number + 4 * WINDOW < (before[i] & NUMBER_MASK))
		die("publisher %u begins with %lu, %lu was said before", i,
			(unsigned long)message.number, (unsigned long)(before[i] & NUMBER_MASK));
	before[i] = 0;
	heard[i] = place(message.life, message.number);
	shared->readers[k].had[i] = heard[i];
}

/* What was put up to now need not come. */
static void begin(unsigned k)
{
	for (unsigned i = 0; i < N_PUBLISHERS; i++)
		shared->readers[k].had[i] =
			place(shared->publishers[i].life, shared->publishers[i].put);
}

static _Noreturn void receive(const struct broker *broker, unsigned k)
{
	struct chat *chat = open_chat(broker);
	struct chat_event event;
	uint64_t joined;
	int r;

	/* from here on publishers wait for it */
	for (unsigned i = 0; i < N_PUBLISHERS; i++)
		before[i] = place(shared->publishers[i].life, shared->publishers[i].put);
	begin(k);
	shared->readers[k].is_coming = true;
	if (chat_join(chat, ROOM, CHAT_NEW, 0, k < N_READERS - 1 ? CHAT_FAST : 0, NULL))
		die("chat_join: %s", chat_error(chat));
	joined = clock_ns();
	begin(k); /* or who waits for what was put meanwhile would wait for ever */
	shared->readers[k].is_in = true;
	for (;;) {
		r = chat_receive(chat, &event, -1);
		if (r < 0)
			die("chat_receive: %s", chat_error(chat));
		if (r == 1 && event.type == CHAT_MESSAGE)
			check(k, &event, joined);
		else if (r == 1 && event.type == CHAT_GAP && strcmp(event.text, "reset") != 0)
			die("a gap, %s: %lu to %lu, having %lx and %lx", event.text,
				(unsigned long)event.from, (unsigned long)event.to,
				(unsigned long)shared->readers[k].had[0],
				(unsigned long)shared->readers[k].had[1]);
	}
}

/* ---- who kills ---- */

struct kills {
	struct broker *broker;
	pid_t publishers[N_PUBLISHERS], readers[N_READERS];
	unsigned n_broker, n_publisher, n_reader;
	uint64_t slowest_ms; /* from a kill until everybody went on */
};

static void start_publisher(struct kills *kills, unsigned i)
{
	uint32_t life = shared->publishers[i].life;
	uint64_t until = clock_ms() + HANG_MS;

	shared->publishers[i].put = 0; /* before its life begins */
	kills->publishers[i] = child_fork();
	if (kills->publishers[i] == 0) {
		who = "publisher";
		publish(kills->broker, i);
	}
	while (shared->publishers[i].life == life || shared->publishers[i].put == 0) {
		sched_yield();
		if (clock_ms() > until || !child_runs(kills->publishers[i]))
			fail_msg("publisher %u does not begin", i);
	}
}

static void start_reader(struct kills *kills, unsigned k)
{
	uint64_t until = clock_ms() + HANG_MS;

	kills->readers[k] = child_fork();
	if (kills->readers[k] == 0) {
		who = k < N_READERS - 1 ? "reader" : "listener";
		receive(kills->broker, k);
	}
	while (!shared->readers[k].is_in) {
		sched_yield();
		if (clock_ms() > until || !child_runs(kills->readers[k]))
			fail_msg("reader %u does not come in", k);
	}
}

/* Every reader must come to have message TO of publisher I. */
static void await_readers(struct kills *kills, unsigned i, uint64_t to)
{
	uint64_t start = clock_ms();

	for (unsigned k = 0; k < N_READERS; k++)
		while (shared->readers[k].had[i] < to) {
			sched_yield();
			if (!child_runs(kills->readers[k]))
				fail_msg("reader %u ended", k);
			if (clock_ms() - start > HANG_MS)
				fail_msg("reader %u hangs at %lx, publisher %u is at %lx", k,
					(unsigned long)shared->readers[k].had[i], i,
					(unsigned long)to);
		}
	kills->slowest_ms = MAX(kills->slowest_ms, clock_ms() - start);
}

static void await_progress(struct kills *kills, unsigned n)
{
	for (unsigned i = 0; i < N_PUBLISHERS; i++)
		await_readers(
			kills, i, place(shared->publishers[i].life, shared->publishers[i].put + n));
}

static void kill_process(pid_t pid)
{
	if (!child_runs(pid))
		fail_msg("somebody ended by itself");
	kill(pid, SIGKILL);
	child_expect_kill(pid);
}

static void kill_publisher(struct kills *kills, unsigned i)
{
	kill_process(kills->publishers[i]);
	kills->n_publisher++;
	/* all that it had put comes, before anybody of its name begins anew */
	await_readers(kills, i, place(shared->publishers[i].life, shared->publishers[i].put));
	start_publisher(kills, i);
}

static void kill_reader(struct kills *kills, unsigned k)
{
	shared->readers[k].is_in = shared->readers[k].is_coming = false;
	kill_process(kills->readers[k]);
	kills->n_reader++;
	start_reader(kills, k);
}

static void kill_broker(struct kills *kills)
{
	broker_kill9(kills->broker);
	kills->n_broker++;
	broker_spawn_here(kills->broker, NULL);
	broker_wait_ready(kills->broker);
}

/* Semaphores of that broker, as it lists them itself. */
static unsigned count_left(const struct broker *broker)
{
	char command[512], line[256];
	unsigned n = 0;
	FILE *list;

	snprintf(command, sizeof command, "%s --list-ipc --socket %s", getenv("CHAT_BROKER"),
		broker->socket);
	list = popen(command, "r");
	assert_non_null(list);
	while (fgets(line, sizeof line, list))
		n += strstr(line, broker->socket) != NULL;
	assert_int_equal(pclose(list), 0);
	return n;
}

static void test_kills(void **state)
{
	struct kills kills = { .broker = broker_start(NULL) };
	uint64_t start = clock_ms();

	shared = mmap(
		NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(shared, MAP_FAILED);
	for (unsigned k = 0; k < N_READERS; k++)
		start_reader(&kills, k);
	for (unsigned i = 0; i < N_PUBLISHERS; i++)
		start_publisher(&kills, i);
	for (unsigned n = 0; n < n_kills; n++) {
		unsigned any = (unsigned)rand();

		await_progress(&kills, any / 256 % 300);
		switch (any % 16) {
		case 0: /* who has lost it often comes back after up to half a second */
			kill_broker(&kills);
			break;
		case 1:
		case 2:
		case 3:
		case 4:
		case 5:
			kill_reader(&kills, any / 16 % N_READERS);
			break;
		default:
			kill_publisher(&kills, any / 16 % N_PUBLISHERS);
			break;
		}
	}
	await_progress(&kills, 100);
	for (unsigned i = 0; i < N_PUBLISHERS; i++)
		kill_process(kills.publishers[i]);
	for (unsigned k = 0; k < N_READERS; k++)
		kill_process(kills.readers[k]);
	broker_kill9(kills.broker);
	broker_spawn_here(kills.broker, NULL);
	broker_wait_ready(kills.broker);
	assert_int_equal(count_left(kills.broker), 0);
	broker_stop(kills.broker);
	munmap(shared, sizeof *shared);
	print_message("%u kills in %lu s: broker %u, publishers %u, readers %u; nobody waited more "
		      "than %lu ms\n",
		n_kills, (unsigned long)(clock_ms() - start) / 1000, kills.n_broker,
		kills.n_publisher, kills.n_reader, (unsigned long)kills.slowest_ms);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_kills),
	};

	if (argc > 1)
		n_kills = (unsigned)atoi(argv[1]);
	srand((unsigned)(argc > 2 ? atoi(argv[2]) : getpid()));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
