/* health_test.c - a broker that cannot store says so: in STATS, to the service manager, and to who
 * asks with PING deep. chat-broker(8), COUNTERS; chat-client(1), ping.
 */
#include "tests/integration/disk.h"
#include "tests/integration/program.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void expect_storage(struct raw *raw, const char *row)
{
	raw_send(raw, "#s STATS");
	raw_await(raw, "#s + %s", row);
	raw_await(raw, "#s * ~");
}

static void test_failing(void **state)
{
	struct broker *broker = shimmed_start();
	struct raw *raw = raw_hello(broker, "name=t3ster");
	char text[16];

	expect_storage(raw, "storage=ok disk_bytes=~ disk_bytes_limit=4294967296");
	raw_send(raw, "#1 PING deep");
	raw_expect(raw, "#1 *");
	program_check(broker, 0, "", "~ us\n", "", "ping", "--deep");
	snprintf(text, sizeof text, "%d", ENOSPC);
	file_write(broker_path(broker, "write"), text);
	/* requests before and after the deep PING are answered in order */
	raw_send(raw, "#2 SAY room\nlost");
	raw_send(raw, "#3 PING deep");
	raw_send(raw, "#4 PING");
	raw_expect(raw, "#2 ! NOSPACE ~");
	raw_expect(raw, "#3 ! NOSPACE ~");
	raw_expect(raw, "#4 *");
	expect_storage(raw, "storage=failing reason=\"No space left on device\" since=~");
	program_check(broker, 75, "", "", "~No space left~", "ping", "--deep");
	program_check(broker, 0, "", "~ us\n", "", "ping");
	disk_heal(broker, "write");
	program_check(broker, 0, "", "~ us\n", "", "ping", "--deep");
	expect_storage(raw, "storage=ok ~");
	broker_stop(broker);
}

/* Checkpoints that fail are no healthy storage, either: the catalog is not made again under a
 * broker that runs, for a new one would not know the rooms. */
static void test_checkpoints_fail(void **state)
{
	struct broker *broker = broker_new();
	struct raw *raw;
	char catalog[112], aside[128];

	stored_spawn(broker, "--limit", "journal-bytes=64k");
	raw = raw_hello(broker, "name=t3ster");
	snprintf(catalog, sizeof catalog, "%s", broker_path(broker, "state/state.db"));
	snprintf(aside, sizeof aside, "%s.aside", catalog);
	assert_int_equal(rename(catalog, aside), 0);
	for (unsigned i = 1; i <= 20; i++) {
		static char body[8000];

		memset(body, 'x', sizeof body - 1);
		raw_send(raw, "#1 SAY room\n%s", body);
		raw_expect(raw, "#1 * %u", i);
	}
	broker_expect(broker, "checkpoint failed reason=\"state.db: missing\"");
	expect_storage(raw, "storage=failing reason=~ since=~");
	assert_int_equal(access(catalog, F_OK), -1);
	assert_int_equal(rename(aside, catalog), 0);
	broker_expect(broker, "checkpoints work again");
	expect_storage(raw, "storage=ok ~");
	broker_stop(broker);
}

static void test_stores_nothing(void **state)
{
	struct broker *broker = broker_new();
	struct raw *raw;

	broker_spawn_here(broker, "--ephemeral");
	broker_wait_ready(broker);
	raw = raw_hello(broker, "name=t3ster");
	expect_storage(raw, "storage=none");
	raw_send(raw, "#1 PING deep");
	raw_expect(raw, "#1 ! STATE this broker stores nothing");
	program_check(broker, 77, "", "", "~stores nothing~", "ping", "--deep");
	program_check(broker, 64, "", "", "~", "ping", "deep");
	broker_stop(broker);
}

/* A probe is as much for the disk as a message: it counts for the rate. */
static void test_rate(void **state)
{
	struct broker *broker = broker_new();
	struct raw *raw, *other;

	if (geteuid() != 0)
		SKIP("the broker's own user has no rate");
	broker_spawn_here(broker, "--state", broker_path(broker, "state"), "--limit", "rate=1");
	broker_wait_ready(broker);
	raw = raw_hello_as(broker, 65534, "name=t3ster");
	for (unsigned i = 0; i < 20; i++)
		raw_send(raw, "#%u PING deep", i);
	raw_expect(raw, "#0 *");
	other = raw_hello(broker, "name=0ther");
	raw_send(other, "#w STATS sessions");
	raw_await(other, "#w + t3ster ~ waits=rate~");
	broker_stop(broker);
}

/* The service manager's status follows. */
static void test_status(void **state)
{
	struct broker *broker = broker_new();
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	char environment[160], got[512];
	struct timeval patience = { .tv_sec = DEADLINE_MS / 1000 };
	ssize_t n;

	snprintf(address.sun_path, sizeof address.sun_path, "%s", broker_path(broker, "notify"));
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
	snprintf(environment, sizeof environment, "NOTIFY_SOCKET=%s", address.sun_path);
	broker->environment[0] = environment;
	stored_spawn(broker, NULL, NULL);
	n = recv(fd, got, sizeof got - 1, 0);
	assert_true(n > 0);
	got[n] = '\0';
	assert_ptr_equal(strstr(got, "READY=1\nSTATUS=serving; storage=ok disk_bytes="), got);
	broker_stop(broker);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PROGRAM_TEST(test_failing),
		PROGRAM_TEST(test_checkpoints_fail),
		PROGRAM_TEST(test_stores_nothing),
		PROGRAM_TEST(test_rate),
		PROGRAM_TEST(test_status),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
