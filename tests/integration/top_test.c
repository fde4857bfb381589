/* top_test.c - chat-client top and stats: chat-client(1), TOP, in a terminal and without. */
#include "tests/integration/program.h"
#include "tests/integration/terminal.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int top_setup(void **state)
{
	return terminal_setup(state) || program_setup(state);
}

static int top_teardown(void **state)
{
	return program_teardown(state) || terminal_teardown(state);
}

#define TOP_TEST(function) cmocka_unit_test_setup_teardown(function, top_setup, top_teardown)

/* Somebody who speaks, and somebody who does not read. */
static struct raw *make_traffic(struct broker *broker)
{
	struct raw *slow = raw_join(broker, "name=sl0w batch", "busy");
	struct raw *raw = raw_hello(broker, "name=t3ster");
	char text[1024];

	memset(text, 'x', sizeof text);
	memcpy(text, "SAY busy\n", 9);
	for (int i = 0; i < 2000; i++)
		raw_send_bytes(raw, text, sizeof text);
	raw_expect_quiet(raw);
	return slow;
}

static void test_once(void **state)
{
	struct broker *broker = broker_start(NULL);
	unsigned uid = getuid();
	char pattern[512];

	make_traffic(broker);
	program_check(broker, 0, "",
		"~ messages/s, ~ deliveries/s, 3 sessions of 3 people\n"
		"logs ~ of 256M (~%), 1 rooms, 1 cursors, up ~\n"
		"\nUSER ~MSG/S SLOWED ~\n~ 2000 ~\n"
		"\nSESSION ~BEHIND IN ~\nsl0w(~) #1 ~ busy ~\n~#3 ~\n"
		"\nROOM ~BYTES ~\nbusy ~ 2000 ~\n",
		"", "top", "--once");
	snprintf(pattern, sizeof pattern,
		"{\"counters\":{\"pid\":~},\"users\":[{\"name\":~,\"uid\":%u,\"connections\":3,"
		"\"connections_limit\":128,~}],\"sessions\":[{\"name\":\"sl0w\",\"uid\":%u,~"
		"\"behind\":~,\"room\":\"busy\",~}],\"rooms\":[{\"room\":\"busy\",\"readers\":1,~}"
		"]}\n",
		uid, uid);
	program_check(broker, 0, "", pattern, "", "top", "--once", "--json");
	broker_stop(broker);
	program_check(broker, 69, "", "", "chat-client: ~\n", "top", "--once");
}

static void test_stats(void **state)
{
	struct broker *broker = broker_start(NULL);

	program_check(broker, 0, "", "storage=~\npid ~\nsessions 1\n~kicked 0\n", "", "stats");
	program_check(broker, 0, "", "~ connections=1/128 ~ slowed=0\n", "", "stats", "users");
	program_check(broker, 0, "", "~ number=3 since=0 pid=~\n", "", "stats", "sessions");
	program_check(broker, 64, "", "", "~sessions, users or rings\n", "stats", "words");
	program_check(broker, 64, "", "", "~sessions, users or rings\n", "stats", "users", "users");
	broker_stop(broker);
}

static void test_usage(void **state)
{
	struct broker *broker = broker_start(NULL);

	program_check(broker, 64, "", "", "~top needs a terminal, or --once\n", "top");
	program_check(broker, 64, "", "", "~--json goes with --once\n", "top", "--json");
	program_check(broker, 64, "", "", "~top takes no argument\n", "top", "--once", "x");
	program_check(broker, 64, "", "", "~--interval takes seconds ~", "top", "--interval", "0");
	program_check(
		broker, 64, "", "", "~--interval takes seconds ~", "top", "--interval", "0.09");
	program_check(broker, 64, "", "", "~--interval goes after top~", "--interval", "1", "top");
	program_check(broker, 64, "", "", "~--once goes after top~", "listen", "--once", "lobby");
	broker_stop(broker);
}

static struct terminal *start_top(struct broker *broker, unsigned columns, unsigned rows)
{
	const struct terminal_config config = { .columns = columns, .rows = rows };

	return terminal_start_as(broker, &config, "top", "--interval", "0.1");
}

/* Live: what changes is seen, and nothing scrolls. */
/* Speak until it shows that somebody does: a rate is that of the last whole second. */
static void await_rate(const struct broker *broker, struct terminal *top)
{
	uint64_t until = clock_ms() + DEADLINE_MS;
	struct raw *raw = raw_hello(broker, "name=t3ster");

	do {
		raw_send(raw, "#s SAY lobby\nx");
		raw_expect(raw, "#s * ~");
		terminal_type(top, " ");
		terminal_wait(top, "broker at");
		assert_true(clock_ms() < until);
	} while (strstr(emulator_screen(&top->emulator), "\n0 messages/s"));
	raw_close(raw);
}

static void test_live(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct terminal *top = start_top(broker, 80, 24);
	struct raw *slow;

	terminal_wait(top, "broker at %s (q quits)\n", broker->socket);
	terminal_wait(top, "1 sessions of 1 people\n");
	terminal_wait(top, "\nSESSION        BEHIND IN ");
	slow = make_traffic(broker);
	terminal_wait(top, "3 sessions of 3 people\n");
	terminal_wait(top, "\nsl0w(");
	terminal_wait(top, " busy ");
	await_rate(broker, top);
	terminal_wait(top, "\n0 messages/s");
	raw_close(slow);
	terminal_wait(top, "2 sessions of 2 people\n");
	assert_int_equal(terminal_count(top, "broker at "), 1);
	terminal_type(top, "q");
	terminal_expect_exit(top, 0);
	terminal_wait(top, "\nbusy "); /* it stays */
	broker_stop(broker);
}

/* The rows of the screen that are written to. */
static unsigned rows_used(struct terminal *terminal)
{
	unsigned n = 0;

	for (unsigned y = 0; y < terminal->emulator.rows; y++)
		if (*emulator_row(&terminal->emulator, y))
			n = y + 1;
	return n;
}

/* It fits any size, also one that it gets later. */
static void test_sizes(void **state)
{
	static const struct {
		unsigned columns, rows;
		const char *shown, *not_shown;
	} table[] = {
		{ 120, 40, " SAID", NULL },
		{ 60, 30, " BLOCKED", " PID" },
		{ 40, 12, "\nROOM ", " HELD CONNS" },
		{ 30, 6, "\nUSER ", "\nSESSION" },
		{ 200, 60, "\nroom15 ", NULL },
		{ 80, 24, "\nSESSION ", NULL },
	};
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_hello(broker, "name=t3ster");
	struct terminal *top = start_top(broker, 80, 24);

	for (int i = 0; i < 50; i++)
		raw_send(raw, "SAY room%d\nx", i);
	for (int i = 0; i < 30; i++)
		raw_hello(broker, "name=f1ller");
	terminal_wait(top, "32 sessions");
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		const char *screen;

		terminal_resize(top, table[i].columns, table[i].rows);
		terminal_wait(top, "%s", table[i].shown);
		/* and what was there before is erased */
		do {
			terminal_wait(top, "broker at");
			terminal_type(top, " ");
			screen = emulator_screen(&top->emulator);
		} while (table[i].not_shown && strstr(screen, table[i].not_shown));
		assert_true(rows_used(top) <= table[i].rows);
	}
	terminal_type(top, "\003");
	terminal_expect_exit(top, 0);
	broker_stop(broker);
}

/* The broker goes and comes back, and so does top. */
static void test_broker_goes(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct terminal *top = start_top(broker, 80, 24);

	terminal_wait(top, "1 sessions of 1 people\n");
	broker_stop(broker);
	terminal_wait(top, "the broker was stopped: ended by a signal; trying again\n");
	terminal_wait(top, "1 sessions of 1 people\n"); /* as it was seen last */
	broker_spawn_here(broker, NULL);
	broker_wait_ready(broker);
	raw_hello(broker, "name=t3ster");
	terminal_wait(top, "2 sessions of 2 people\n");
	terminal_wait(top, "broker at %s", broker->socket);
	broker_ctl(broker, "KICK %s go", "root");
	if (geteuid() == 0) {
		terminal_expect_exit(top, 69);
		terminal_wait(top, "chat-client: ");
	} else {
		terminal_type(top, "q");
		terminal_expect_exit(top, 0);
	}
	broker_stop(broker);
}

/* Signals end it, and give the terminal back; a stop and its end as well. */
static void test_signals(void **state)
{
	static const int numbers[] = { SIGTERM, SIGHUP, SIGQUIT };
	struct broker *broker = broker_start(NULL);
	struct terminal *top;

	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		top = start_top(broker, 80, 24);
		terminal_wait(top, "1 sessions of 1 people\n");
		kill(top->pid, numbers[i]);
		terminal_expect_exit(top, 128 + numbers[i]);
	}
	top = start_top(broker, 80, 24);
	terminal_wait(top, "1 sessions of 1 people\n");
	terminal_hang_up(top);
	terminal_expect_exit(top, 128 + SIGHUP);
	broker_stop(broker);
}

static void test_stop_and_continue(void **state)
{
	const struct terminal_config config = { .shell = true };
	struct broker *broker = broker_start(NULL);
	struct terminal *shell = terminal_start_as(broker, &config, NULL);

	terminal_wait(shell, "sh$");
	terminal_type(shell, "'%s' top --interval 0.1\n", getenv("CHAT_CLIENT"));
	terminal_wait(shell, "1 sessions of 1 people\n");
	terminal_type(shell, "\032");
	terminal_wait(shell, "\nsh$");
	assert_true(terminal_is_restored(shell));
	raw_hello(broker, "name=t3ster");
	terminal_type(shell, "fg\n");
	terminal_wait(shell, "2 sessions of 2 people\n");
	terminal_type(shell, "q");
	terminal_wait(shell, "\nsh$");
	terminal_type(shell, "exit\n");
	terminal_expect_exit(shell, 0);
	broker_stop(broker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TOP_TEST(test_once),
		TOP_TEST(test_stats),
		TOP_TEST(test_usage),
		TOP_TEST(test_live),
		TOP_TEST(test_sizes),
		TOP_TEST(test_broker_goes),
		TOP_TEST(test_signals),
		TOP_TEST(test_stop_and_continue),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
