/* facility_test.c - what the kernel may lack, or may have run out of, and a broker can do
 * without: it starts, serves, and warns once. chat-broker(8), DIAGNOSTICS.
 *
 * trouble_shim.c, loaded in front of the broker, is the kernel that refuses.
 */
#include "tests/integration/program.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct broker *troubled_new(void)
{
	static char directory[128];
	struct broker *broker = broker_new();

	snprintf(directory, sizeof directory, "CHAT_TROUBLE=%s", broker->dir);
	broker->environment[0] = "LD_PRELOAD=" CHAT_TROUBLE_SHIM;
	broker->environment[1] = directory;
	return broker;
}

static void refuse(const struct broker *broker, const char *facility, int error)
{
	char text[16];

	snprintf(text, sizeof text, "%d\n", error);
	file_write(broker_path(broker, facility), text);
}

/* Say and hear through the socket, find what was said, and command. */
static void expect_service(struct broker *broker)
{
	struct raw *reader = raw_join(broker, "name=r3ader", "room");
	struct raw *raw = raw_hello(broker, "name=t3ster");

	raw_send(raw, "#1 SAY room\nhello");
	raw_expect(raw, "#1 * ~");
	raw_expect(reader, "MSG room ~\nhello");
	raw_send(raw, "#2 FIND room\nhello");
	raw_await(raw, "#2 * ~");
	broker_ctl(broker, "LOGLEVEL info");
	broker_expect(broker, "ctl command=\"LOGLEVEL info\"");
	raw_close(reader);
	raw_close(raw);
}

/* Programs that ask for shared memory get their messages, this way or that. */
static void expect_fast_service(struct broker *broker)
{
	struct program *listener = program_start(broker, "listen", "--fast", "fast");

	program_wait_err(listener, "listening fast ");
	program_check(broker, 0, "one\ntwo\n", "", "", "say", "--fast", "fast");
	program_wait_out(listener, ": one\n");
	program_wait_out(listener, ": two\n");
	kill(listener->pid, SIGTERM);
	child_end_anyhow(listener->pid);
}

static void test_each(void **state)
{
	static const struct {
		const char *facility;
		int error;
		const char *warning; /* NULL: none */
	} rows[] = {
		{ "inotify", EMFILE, "inotify does not watch the paths: " },
		{ "inotify", ENOSYS, "inotify does not watch the paths: " },
		{ "inotify-watch", ENOSPC, "inotify does not watch the paths: " },
		{ "memfd", ENOSYS, "no shared memory for fast paths: " },
		{ "memfd", EMFILE, "no shared memory for fast paths: " },
		{ "semaphore", ENOSYS, "no semaphore for fast paths: " },
		{ "semaphore", ENOSPC, "no semaphore for fast paths: " },
		{ "eventfd", ENOSYS, NULL },
		{ "close-range", ENOSYS, NULL },
		{ "close-range", EPERM, NULL },
		{ "priority", EACCES, NULL },
	};

	if (HARNESS_HAS_ASAN)
		SKIP("the sanitizer wants to be loaded first");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct broker *broker = troubled_new();

		print_message("%s: %s\n", rows[i].facility, strerror(rows[i].error));
		refuse(broker, rows[i].facility, rows[i].error);
		broker_spawn_here(broker, "--state", broker_path(broker, "state"));
		broker_wait_ready(broker);
		for (int k = 0; k < 2; k++) {
			expect_service(broker);
			expect_fast_service(broker);
		}
		assert_int_equal(broker_count(broker, "warning: "), rows[i].warning != NULL);
		if (rows[i].warning)
			assert_int_equal(broker_count(broker, rows[i].warning), 1);
		broker_stop(broker);
		program_teardown(state);
	}
}

/* Nothing of it is there. */
static void test_all(void **state)
{
	static const char *const facilities[] = { "inotify", "memfd", "semaphore", "eventfd",
		"close-range", "priority" };
	struct broker *broker;

	if (HARNESS_HAS_ASAN)
		SKIP("the sanitizer wants to be loaded first");
	broker = troubled_new();
	for (size_t i = 0; i < ARRAY_LEN(facilities); i++)
		refuse(broker, facilities[i], ENOSYS);
	broker_spawn_here(broker, NULL);
	broker_wait_ready(broker);
	expect_service(broker);
	expect_fast_service(broker);
	broker_stop(broker);
}

/* Without inotify the broker looks: files that vanish are made again, and inotify is used as
 * soon as there is one. */
static void test_vanished_without_inotify(void **state)
{
	static const char *const facilities[] = { "inotify", "inotify-watch" };

	if (HARNESS_HAS_ASAN)
		SKIP("the sanitizer wants to be loaded first");
	for (size_t i = 0; i < ARRAY_LEN(facilities); i++) {
		struct broker *broker = troubled_new();
		uint64_t switches;
		struct raw *raw;

		refuse(broker, facilities[i], ENOSPC);
		broker_spawn_here(broker, NULL);
		broker_wait_ready(broker);
		raw = raw_hello(broker, "name=t3ster");
		for (int k = 0; k < 2; k++) {
			assert_int_equal(unlink(broker->socket), 0);
			broker_expect(broker, "socket vanished path=%s", broker->socket);
			assert_int_equal(unlink(broker->ctl), 0);
			broker_expect(broker, "ctl vanished path=%s", broker->ctl);
			assert_int_equal(unlink(broker_path(broker, "broker.sock.lock")), 0);
			broker_expect(broker, "lock vanished path=%s", broker->socket);
			expect_service(broker);
		}
		assert_int_equal(unlink(broker_path(broker, facilities[i])), 0);
		raw_expect_silence(raw, 1500);
		switches = broker_switches(broker);
		raw_expect_silence(raw, 1500);
		assert_int_equal(broker_switches(broker) - switches, 0);
		broker_stop(broker);
		program_teardown(state);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PROGRAM_TEST(test_each),
		PROGRAM_TEST(test_all),
		PROGRAM_TEST(test_vanished_without_inotify),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
