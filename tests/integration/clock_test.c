/* clock_test.c - the wall clock is a label: one that is set wrong, and right again, hides nothing,
 * takes nothing and gives nothing away. chat-broker(8), STORAGE. */
#include "tests/integration/disk.h"
#include "tests/integration/program.h"
#include "tests/integration/terminal.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DAY    86400
#define NOBODY 65534

static void clock_set(const struct broker *broker, const char *clock, long seconds)
{
	char now[256], later[264], text[24];

	/* as a whole: a broker reads it all the time */
	snprintf(now, sizeof now, "%s", broker_path(broker, clock));
	snprintf(later, sizeof later, "%s.new", now);
	snprintf(text, sizeof text, "%ld", seconds);
	file_write(later, text);
	assert_int_equal(rename(later, now), 0);
}

/* Time passes, for everybody. */
static void clock_pass(const struct broker *broker, long wall, long seconds)
{
	clock_set(broker, "wall", wall + seconds);
	clock_set(broker, "monotonic", seconds);
	clock_set(broker, "boot", seconds);
}

static struct broker *clock_start(void)
{
	static char directory[128];
	struct broker *broker = broker_new();

	snprintf(directory, sizeof directory, "CHAT_CLOCK=%s", broker->dir);
	broker->environment[0] = "LD_PRELOAD=" CHAT_CLOCK_SHIM;
	broker->environment[1] = directory;
	/* the sanitizer wants to be loaded first, but can do without */
	broker->environment[2] = "ASAN_OPTIONS=verify_asan_link_order=0";
	stored_spawn(broker, NULL, NULL);
	return broker;
}

static void say(struct raw *raw, const char *text)
{
	raw_send(raw, "#s SAY room\n%s", text);
	raw_expect(raw, "#s * ~");
}

static void retain_for(struct raw *raw, const char *seconds)
{
	raw_send(raw, "#r SET room retain-age\n%s", seconds);
	raw_expect(raw, "#r * ~");
}

static void expect_kept(struct raw *raw, unsigned n)
{
	uint64_t until = clock_ms() + DEADLINE_MS;
	char wanted[16];

	snprintf(wanted, sizeof wanted, "#p * %u", n);
	for (;;) {
		struct text frame;

		raw_send(raw, "#p PAST room");
		while (pattern_matches("#p + ~", frame = raw_next(raw)))
			;
		if (pattern_matches(wanted, frame))
			return;
		if (clock_ms() > until)
			fail_msg("not %u, but %.*s", n, (int)frame.len, frame.data);
	}
}

/* The broker took notice: a second, of the clock that counts them, has passed. */
static void await_tick(struct raw *raw)
{
	uint64_t second = raw_counter(raw, "uptime_s"), until = clock_ms() + DEADLINE_MS;

	while (raw_counter(raw, "uptime_s") < second + 2)
		assert_true(clock_ms() < until);
}

/* One message is said while the clock is a day ahead. Later messages are kept, and all of them go
 * when they are old. */
static void test_ahead(void **state)
{
	struct broker *broker = clock_start();
	struct raw *raw = raw_hello(broker, "name=t3ster");

	say(raw, "before");
	retain_for(raw, "60");
	clock_set(broker, "wall", DAY);
	say(raw, "ahead");
	await_tick(raw);
	broker_expect(broker, "clock jumped seconds=86~");
	clock_set(broker, "wall", 0);
	say(raw, "after");
	await_tick(raw);
	broker_expect(broker, "clock jumped seconds=-86~");
	program_check(broker, 0, "", "~before\n~ahead\n~after\n", "", "history", "room");
	program_check(broker, 0, "", "~ahead\n~after\n", "", "history", "--last", "2", "room");
	program_check(
		broker, 0, "", "~before\n~ahead\n~after\n", "", "history", "--since", "1h", "room");
	expect_kept(raw, 3);
	clock_pass(broker, 0, 120);
	expect_kept(raw, 0);
	broker_stop(broker);
}

/* Setting the wall clock removes no message, and is reported once. Ages follow the kernel's count,
 * also while the host is suspended, and not the wall clock. */
static void test_set(void **state)
{
	struct broker *broker = clock_start();
	struct raw *raw = raw_hello(broker, "name=t3ster");

	retain_for(raw, "3600");
	say(raw, "x");
	clock_set(broker, "wall", 100L * DAY);
	await_tick(raw);
	broker_expect(broker, "clock jumped seconds=86~");
	clock_pass(broker, 100L * DAY, 1800);
	await_tick(raw);
	expect_kept(raw, 1);
	say(raw, "y");
	clock_set(broker, "wall", 100L * DAY + 1800 + 3000); /* suspended */
	clock_set(broker, "boot", 1800 + 3000);
	await_tick(raw);
	clock_set(broker, "monotonic", 1800 + 61); /* ages are looked at each minute */
	expect_kept(raw, 1);
	raw_send(raw, "#p PAST room last=1");
	raw_expect(raw, "#p + MSG room 2 ~\ny");
	raw_expect(raw, "#p * 1");
	broker_stop(broker);
}

/* Brokers have said that so often at their start. */
static void expect_jumps(const struct broker *broker, unsigned n)
{
	static const char line[] = " since the last broker: no age counts it";
	unsigned found = 0;

	for (const char *at = broker->text; (at = strstr(at, line)); at += strlen(line))
		found++;
	assert_int_equal(found, n);
}

/* Nor does one that is ahead when a broker starts: a night without one counts, a hundred days
 * do not. */
static void test_start(void **state)
{
	struct broker *broker = clock_start();
	struct raw *raw = raw_hello(broker, "name=t3ster");

	retain_for(raw, "36000");
	say(raw, "x");
	broker_stop(broker);
	for (int i = 0; i < 2; i++) {
		clock_set(broker, "wall", 100L * DAY);
		stored_spawn(broker, NULL, NULL);
		expect_jumps(broker, 1);
		raw = raw_hello(broker, "name=t3ster");
		await_tick(raw);
		expect_kept(raw, 1);
		if (i == 0) /* which knows of the jump */
			raw_await_counter(raw, "checkpoints", 1);
		broker_stop(broker);
	}
	clock_set(broker, "wall", 0);
	stored_spawn(broker, NULL, NULL);
	expect_jumps(broker, 2);
	raw = raw_hello(broker, "name=t3ster");
	raw_await_counter(raw, "checkpoints", 1);
	broker_stop(broker);
	clock_set(broker, "wall", 8 * 3600);
	stored_spawn(broker, NULL, NULL);
	raw = raw_hello(broker, "name=t3ster");
	expect_kept(raw, 1);
	say(raw, "y");
	broker_kill9(broker);
	clock_set(broker, "wall", 16 * 3600);
	stored_spawn(broker, NULL, NULL);
	expect_jumps(broker, 2);
	raw = raw_hello(broker, "name=t3ster");
	expect_kept(raw, 1);
	raw_send(raw, "#p PAST room last=1");
	raw_expect(raw, "#p + MSG room 2 ~\ny");
	raw_expect(raw, "#p * 1");
	/* which is as old as it was said, not as it was found in the journal */
	broker_stop(broker);
	clock_set(broker, "wall", 19 * 3600);
	stored_spawn(broker, NULL, NULL);
	raw = raw_hello(broker, "name=t3ster");
	expect_kept(raw, 0);
	broker_stop(broker);
}

/* A name is its owner's until nobody used it for 90 days that were seen. */
static void test_names(void **state)
{
	struct broker *broker;

	if (geteuid() != 0)
		SKIP("only root has two users");
	broker = clock_start();
	(void)raw_hello_as(broker, NOBODY, "name=bu1ld");
	broker_stop(broker);
	for (int i = 0; i < 2; i++) {
		struct raw *raw;

		clock_set(broker, "wall", i == 0 ? 100L * DAY : 0);
		stored_spawn(broker, NULL, NULL);
		raw = raw_open(broker);
		raw_send(raw, "#h HELLO 1 name=bu1ld");
		raw_expect(raw, "#h ! TAKEN ~");
		broker_stop(broker);
	}
	stored_spawn(broker, NULL, NULL);
	clock_pass(broker, 0, 91L * DAY);
	(void)raw_hello(broker, "name=bu1ld");
	broker_stop(broker);
}

/* A client that came while the clock was ahead shows a conversation that began while the client was
 * disconnected. */
static void test_away(void **state)
{
	struct broker *broker = clock_start();
	struct terminal_config config = { .environment = { broker->environment[0],
						  broker->environment[1],
						  broker->environment[2] } };
	struct terminal *terminal;
	struct raw *raw;

	clock_set(broker, "wall", DAY);
	terminal = terminal_start_as(broker, &config, "--name", "b0b");
	terminal_expect_typing(terminal, "lobby> ", 7);
	clock_set(broker, "wall", 0);
	assert_int_equal(kill(terminal->pid, SIGSTOP), 0);
	restart(broker);
	raw = raw_hello(broker, "name=t3ster");
	raw_send(raw, "#s SAY @b0b\nwhile you were away");
	raw_expect(raw, "#s * 1");
	assert_int_equal(kill(terminal->pid, SIGCONT), 0);
	terminal_wait(terminal, "while you were away");
	terminal_type(terminal, "QUIT\r");
	terminal_expect_exit(terminal, 0);
	broker_stop(broker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PROGRAM_TEST(test_ahead),
		TERMINAL_TEST(test_away),
		TEST(test_set),
		TEST(test_start),
		TEST(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
