/* storm_test.c - thousands of connections, which come, stay and go: each is answered,
 * others are served meanwhile, and what they took is given back.
 *
 * It prints what it measures; what it demands leaves room for a slow machine.
 */
#include "tests/integration/crowd.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "protocol/packet.h"

#define STRANGER 65534

/* Sanitizers make everything slower and larger. */
#define SLOWNESS (HARNESS_HAS_ASAN ? 5 : 1)

/* What a round trip may take in the worst weather. */
#define ECHO_MS_MAX (1000 * SLOWNESS)

#define CROWD      (HARNESS_HAS_ASAN ? 2000 : 10000)
#define N_HOMES    4 /* processes that the crowd comes from */
#define N_VISITS   6 /* of a crowd */
#define JOIN_MS    (3000 * SLOWNESS)
#define MEMBER_MAX 1280 /* bytes that a member takes */

/* Connections of a storm that wait to be accepted, perhaps closed already. */
#define BACKLOG 256

#define N_STORMERS 4
#define N_GUSTS    1500 /* connections of each */

static struct broker *start_large(void)
{
	struct broker *broker = broker_new();

	broker->environment[0] = "ASAN_OPTIONS=quarantine_size_mb=1:malloc_context_size=0";
	broker_spawn_here(broker, "--limit", "connections=20000", "--limit", "cursors=20000",
		"--limit", "room-bytes=256k");
	broker_wait_ready(broker);
	return broker;
}

/* ---- two who talk meanwhile ---- */

struct pair {
	struct raw *alice, *bob;
	unsigned n_echoes;
	uint64_t worst_ms;
};

static struct pair pair_start(struct broker *broker)
{
	return (struct pair){ raw_hello(broker, "name=al1ce"), raw_join(broker, "name=b0b", "pair"),
		0, 0 };
}

static void pair_echo(struct pair *pair)
{
	uint64_t start = clock_ms();

	raw_send(pair->alice, "SAY pair\n%u", pair->n_echoes);
	raw_expect(pair->bob, "MSG pair ~\n%u", pair->n_echoes);
	pair->n_echoes++;
	pair->worst_ms = MAX(pair->worst_ms, clock_ms() - start);
}

static void pair_expect_served(const struct pair *pair, unsigned n_echoes_min)
{
	print_message("%u round trips meanwhile, at most %lu ms\n", pair->n_echoes,
		(unsigned long)pair->worst_ms);
	assert_in_range(pair->n_echoes, n_echoes_min, UINT32_MAX);
	assert_in_range(pair->worst_ms, 0, ECHO_MS_MAX);
}

/* ---- what a broker has taken ---- */

struct toll {
	unsigned n_descriptors;
	size_t memory;
};

static struct toll toll_take(const struct broker *broker)
{
	return (struct toll){ broker_descriptors(broker), broker_memory(broker) };
}

/* All of it came back but MORE bytes, once they who left are seen off. */
static void toll_expect_back(
	const struct toll *toll, struct broker *broker, struct raw *raw, size_t more)
{
	size_t memory;

	raw_await_counter(raw, "sessions", 2);
	memory = broker_memory(broker);
	print_message("%zu KiB, %zu KiB in the end\n", toll->memory >> 10, memory >> 10);
	assert_int_equal(broker_descriptors(broker), toll->n_descriptors);
	assert_in_range(memory, 0, toll->memory + more * SLOWNESS);
}

/* ---- a storm of connections ---- */

enum gust {
	GUST_HANG_UP,
	GUST_JUNK,
	GUST_HELLO, /* and gone before the answer */
	GUST_ASK,   /* for an answer, which must come */
	GUSTS,
};

/* In the child. Returns its exit status. */
static int gust(const struct sockaddr_un *address, socklen_t len, enum gust kind)
{
	static const char junk[] = "#\0BATCH\n\xff\xff\xff\x7f#1 #2 HELLO \x80\n\n JOIN";
	char answer[PACKET_LEN_MAX];
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (const struct sockaddr *)address, len) < 0)
		return 1;
	if (kind == GUST_JUNK)
		(void)!send(fd, junk, sizeof junk, MSG_NOSIGNAL);
	if (kind == GUST_HELLO || kind == GUST_ASK)
		(void)!send(fd, "#1 HELLO 1", 10, MSG_NOSIGNAL);
	if (kind == GUST_ASK) {
		if (!wait_fd(fd, POLLIN, clock_ms() + DEADLINE_MS))
			return 2;
		if (recv(fd, answer, sizeof answer, 0) < 5)
			return 3;
		if (strncmp(answer, "#1 * ", 5) != 0 && strncmp(answer, "BYE QUOTA ", 10) != 0 &&
			strncmp(answer, "BYE AGAIN ", 10) != 0)
			return 4;
	}
	close(fd);
	return 0;
}

static pid_t storm_from(const struct broker *broker, uid_t uid)
{
	struct sockaddr_un address;
	pid_t pid = child_fork();
	socklen_t len;
	int r = 0;

	if (pid > 0)
		return pid;
	if (packet_address(broker->socket, &address, &len) < 0 || setuid(uid) < 0)
		_exit(9);
	for (unsigned i = 0; i < N_GUSTS && r == 0; i++)
		r = gust(&address, len, (enum gust)(i % GUSTS));
	_exit(r);
}

static void test_storm(void **state)
{
	struct broker *broker = start_large();
	struct pair pair = pair_start(broker);
	struct toll toll = toll_take(broker);
	pid_t stormers[N_STORMERS];

	for (unsigned i = 0; i < N_STORMERS; i++)
		stormers[i] = storm_from(broker, geteuid() == 0 && i % 2 ? STRANGER : geteuid());
	while (child_runs(stormers[0]) || child_runs(stormers[1]))
		pair_echo(&pair);
	for (unsigned i = 0; i < N_STORMERS; i++)
		child_expect_exit(stormers[i], 0);
	pair_expect_served(&pair, 10);
	raw_await_counter(pair.alice, "accepted", N_STORMERS * N_GUSTS + 2);
	/* as many again as wait may be in the allocator's hands */
	toll_expect_back(&toll, broker, pair.alice, 2 * BACKLOG * MEMBER_MAX);
	broker_stop(broker);
}

/* ---- a crowd in one room ---- */

static void report(int fd)
{
	if (write(fd, "", 1) != 1)
		_exit(1);
}

/* A process with N members of "room": reports when they are in, and when each has
 * received a message. It stays until it is killed. */
static pid_t home_start(const struct broker *broker, unsigned n, int reports)
{
	pid_t pid = child_fork();
	struct crowd *crowd;

	if (pid > 0)
		return pid;
	setenv("CMOCKA_TEST_ABORT", "1", 1); /* a failure here must not run on as the parent */
	crowd = crowd_open(broker, n);
	crowd_send(crowd, "#h HELLO 1");
	crowd_send(crowd, "#j JOIN room");
	crowd_await(crowd, "#j * ~");
	report(reports);
	crowd_await(crowd, "MSG room ~");
	report(reports);
	for (;;)
		pause();
}

/* The pair talks until all homes have reported. */
static void homes_await(int reports, struct pair *pair)
{
	uint64_t until = clock_ms() + DEADLINE_MS;
	char byte;

	for (unsigned n = 0; n < N_HOMES;) {
		if (clock_ms() > until)
			fail_msg("%u of %u have reported", n, N_HOMES);
		pair_echo(pair);
		while (wait_fd(reports, POLLIN, 0) && read(reports, &byte, 1) == 1)
			n++;
	}
}

/* The crowd comes, is told something, and is gone at once. */
static void crowd_visit(struct broker *broker, struct pair *pair)
{
	size_t before = broker_memory(broker), each;
	pid_t homes[N_HOMES];
	uint64_t start = clock_ms(), ms;
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	for (unsigned i = 0; i < N_HOMES; i++)
		homes[i] = home_start(broker, CROWD / N_HOMES, ends[1]);
	homes_await(ends[0], pair);
	ms = clock_ms() - start;
	each = (broker_memory(broker) - before) / CROWD;
	print_message(
		"%d came and joined in %lu ms, %zu bytes each\n", CROWD, (unsigned long)ms, each);
	assert_in_range(ms, 0, JOIN_MS);
	if (!HARNESS_HAS_ASAN)
		assert_in_range(each, 0, MEMBER_MAX);
	assert_int_equal(raw_counter(pair->alice, "cursors"), CROWD + 1);

	start = clock_ms();
	raw_send(pair->alice, "SAY room\nhear, hear");
	homes_await(ends[0], pair);
	print_message("one message to all in %lu ms\n", (unsigned long)(clock_ms() - start));

	start = clock_ms();
	for (unsigned i = 0; i < N_HOMES; i++)
		kill(homes[i], SIGKILL);
	do
		pair_echo(pair);
	while (raw_counter(pair->alice, "sessions") > 2);
	print_message("all are gone after %lu ms\n", (unsigned long)(clock_ms() - start));
	for (unsigned i = 0; i < N_HOMES; i++)
		child_expect_kill(homes[i]);
	close(ends[0]);
	close(ends[1]);
}

/* Again and again: what the allocator keeps of one crowd is what the next one takes. */
static void test_crowd(void **state)
{
	struct broker *broker;
	struct pair pair;
	struct toll toll;

	crowd_need(CROWD + 100);
	broker = start_large();
	pair = pair_start(broker);
	toll = toll_take(broker);
	for (int i = 0; i < N_VISITS; i++)
		crowd_visit(broker, &pair);
	toll_expect_back(&toll, broker, pair.alice, CROWD * MEMBER_MAX);
	pair_expect_served(&pair, 10);
	broker_stop(broker);
}

/* ---- a crowd that does nothing ---- */

static void test_idle(void **state)
{
	struct broker *broker;
	struct raw *raw;
	struct crowd *plain, *full;
	uint64_t cpu, switches;

	crowd_need(1200);
	broker = start_large();
	raw = raw_join(broker, "", "room");
	plain = crowd_open(broker, 500);
	full = crowd_open(broker, 500);
	crowd_send(full, "#h HELLO 1 batch");
	crowd_send(full, "#j JOIN room last=1 presence");
	crowd_await(full, "~#j * ~");
	crowd_send(plain, "hello");
	crowd_await(plain, "*");
	raw_expect_quiet(raw);
	raw_expect_silence(raw, 100);

	cpu = broker_cpu_ns(broker);
	switches = broker_switches(broker);
	raw_expect_silence(raw, 300);
	assert_int_equal(broker_cpu_ns(broker) - cpu, 0);
	assert_int_equal(broker_switches(broker) - switches, 0);
	broker_stop(broker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_storm),
		TEST(test_crowd),
		TEST(test_idle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
