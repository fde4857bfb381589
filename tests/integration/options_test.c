/* options_test.c - the command line: chat-broker(8), OPTIONS and EXIT STATUS. */
#include "tests/integration/harness.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define X10  "xxxxxxxxxx"
#define X100 X10 X10 X10 X10 X10 X10 X10 X10 X10 X10

static void test_wrong_options(void **state)
{
	static const char *const table[][6] = {
		{ "--nothing" },
		{ "-x" },
		{ "-s", "/tmp/x" },
		{ "word" },
		{ "--test", "word" },
		{ "--test=1" },
		{ "--socket" },
		{ "--socket", "" },
		{ "--socket", "@" },
		{ "--socket", "/tmp/" X100 "xxx" }, /* 108 bytes */
		{ "--socket", "/" X100 X100 X100 },
		{ "--state" },
		{ "--state", "" },
		{ "--state", "--ephemeral" },
		{ "--state", "x", "--ephemeral" },
		{ "--ctl" },
		{ "--ctl", "" },
		{ "--mode" },
		{ "--mode", "" },
		{ "--mode", "8" },
		{ "--mode", "0668" },
		{ "--mode", "1777" },
		{ "--mode", "-1" },
		{ "--mode", "+6" },
		{ "--mode", " 6" },
		{ "--mode", "rw" },
		{ "--mode", "7777777777777777777777777" },
		{ "--group" },
		{ "--group", "no.such.group" },
		{ "--group", "" },
		{ "--group", "99999999999" },
		{ "--group", "4294967295" },
		{ "--admin-group", "no.such.group" },
		{ "--look" },
		{ "--look", "" },
		{ "--look", "10001" },
		{ "--look", "-1" },
		{ "--look", "1ms" },
		{ "--limit", "send-buffer=65535" },
		{ "--limits" },
		{ "--limit" },
		{ "--limit", "" },
		{ "--limit", "connections" },
		{ "--limit", "=5" },
		{ "--limit", "connections=" },
		{ "--limit", "connections=0" },
		{ "--limit", "connections=-1" },
		{ "--limit", "connections=5x" },
		{ "--limit", "connections=k" },
		{ "--limit", "connections=5K" },
		{ "--limit", "connections=unlimited" },
		{ "--limit", "connections=99999999999999999999" },
		{ "--limit", "log-bytes=18446744073709551615G" },
		{ "--limit", "connections=1000001" },
		{ "--limit", "room-bytes=1" },
		{ "--limit", "nothing=5" },
		{ "--limit", "Connections=5" },
		{ "--limit", ":connections=5" },
		{ "--limit", "a:b:connections=5" },
		{ "--limit", "nobody:log-bytes=1M" },
		{ "--limit", "nobody:room-idle=1" },
		{ "--limit", "connections=5", "--limit", "cursors=0" },
		{ "--test", "--limit", "cursors=0" },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		struct broker *broker = broker_new();

		broker_spawn(broker, table[i]);
		if (child_end(broker->pid) != 64)
			fail_msg("not 64: %s %s", table[i][0], table[i][1] ? table[i][1] : "");
		broker->pid = 0;
		broker_expect(broker, "chat-broker: ~");
		assert_ptr_equal(strchr(broker->text, '\n'), broker->text + broker->text_len - 1);
		assert_int_equal(directory_count(broker->dir), 0);
		harness_teardown(state);
	}
}

static void test_good_options(void **state)
{
	static const char *const table[][7] = {
		{ "--test" },
		{ "--test", "--mode", "0" },
		{ "--test", "--mode", "0777", "--group", "root", "--admin-group", "0" },
		{ "--test", "--limit", "nobody:connections=512" },
		{ "--test", "--limit", "1000:cursors=1k", "--limit", "strangers:names=1" },
		{ "--test", "--limit", "log-bytes=1G", "--limit", "room-bytes=256k" },
		{ "--test", "--ctl", "none", "--socket", "@name" },
		{ "--test", "--socket", "/tmp/" X100 "xx" }, /* 107 bytes */
		{ "--help" },
		{ "--version" },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		struct broker *broker = broker_new();

		broker_spawn(broker, table[i]);
		if (child_end(broker->pid) != 0)
			fail_msg("not 0: row %zu", i);
		broker->pid = 0;
		assert_int_equal(broker_count(broker, ""), 0);
		harness_teardown(state);
	}
}

static void test_limits_file(void **state)
{
	static const struct {
		const char *content;
		unsigned line; /* that is wrong; 0: none is */
	} table[] = {
		{ "", 0 },
		{ "\n\n# nothing\n", 0 },
		{ "connections=5", 0 },
		{ "nobody:connections=5 # why\nroom-bytes=1M\n", 0 },
		{ "connections=5\nconnections=0\n", 2 },
		{ "x\n", 1 },
		{ "connections = 5\n", 0 },
		{ "con nections=5\n", 1 },
	};
	char limits[128];

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		struct broker *broker = broker_new();

		strcpy(limits, broker_path(broker, "limits"));
		file_write(limits, table[i].content);
		broker_spawn_here(broker, "--limits", limits, "--test");
		if (table[i].line) {
			char wanted[64];

			snprintf(wanted, sizeof wanted, "line %u: ", table[i].line);
			broker_expect_refusal(broker, 78, wanted);
			/* and in earnest */
			broker_spawn_here(broker, "--limits", limits);
			broker_expect_exit(broker, 78);
		} else {
			broker_expect_exit(broker, 0);
			broker_spawn_here(broker, "--limits", limits);
			broker_wait_ready(broker);
			broker_stop(broker);
		}
		harness_teardown(state);
	}
}

/* A file that is not there or none is as wrong as one with a wrong line. */
static void test_no_limits_file(void **state)
{
	static const char *const names[] = { "nothing", "." };

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct broker *broker = broker_new();

		broker_spawn_here(broker, "--limits", names[i], "--test");
		broker_expect_refusal(broker, 78, names[i]);
		broker_spawn_here(broker, "--limits", names[i]);
		broker_expect(broker, "limits file=%s", names[i]);
		broker_expect_exit(broker, 78);
		assert_int_equal(directory_count(broker->dir), 0);
		harness_teardown(state);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_wrong_options),
		TEST(test_good_options),
		TEST(test_limits_file),
		TEST(test_no_limits_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
