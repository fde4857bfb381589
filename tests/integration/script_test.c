/* script_test.c - chat-client as the tool of scripts: what goes in, what comes out, the
 * exit status. chat-client(1). */
#include "tests/integration/program.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NOBODY 65534

/* ---- say ---- */

static void test_say_words(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *reader = raw_join(broker, "name=reader", "lobby");

	program_check(broker, 0, "", "", "", "say", "lobby", "hello");
	raw_expect(reader, "MSG lobby 1 ~ p=~\nhello");
	program_check(broker, 0, "", "", "", "say", "lobby", "lunch", "in  five", "minutes");
	raw_expect(reader, "MSG lobby 2 ~\nlunch in  five minutes");
	program_check(broker, 0, "", "", "", "say", "lobby", "-5", "degrees", "--help", "--", "-x");
	raw_expect(reader, "MSG lobby 3 ~\n-5 degrees --help -- -x");
	program_check(broker, 0, "", "", "", "say", "lobby", "--", "--", "QUIT");
	raw_expect(reader, "MSG lobby 4 ~\n-- QUIT");
	program_check(broker, 0, "", "", "", "say", "lobby", "QUIT");
	raw_expect(reader, "MSG lobby 5 ~\nQUIT");
	program_check(broker, 0, "", "", "", "say", "lobby", "STOP");
	raw_expect(reader, "MSG lobby 6 ~\nSTOP");
	program_check(broker, 0, "", "", "", "say", "lobby", "/quit");
	raw_expect(reader, "MSG lobby 7 ~\n/quit");
	program_check(broker, 0, "", "", "", "say", "lobby", "");
	raw_expect(reader, "MSG lobby 8 ~\n");
	program_check(broker, 0, "", "", "", "say", "lobby", "two\nlines");
	raw_expect(reader, "MSG lobby 9 ~\ntwo\nlines");
	program_check(broker, 0, "", "", "", "say", "--name", "nick", "lobby", "named");
	raw_expect(reader, "MSG lobby 10 ~ nick ~\nnamed");
	program_check(broker, 0, "", "", "", "--name", "nick", "say", "lobby", "named");
	raw_expect(reader, "MSG lobby 11 ~ nick ~\nnamed");
	program_check(broker, 0, "", "", "", "say", "@reader", "alone");
	raw_expect_quiet(reader);
	broker_stop(broker);
}

static void test_say_lines(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *reader = raw_join(broker, "name=reader", "lobby");
	struct program *say;

	program_check(
		broker, 0, "one\nQUIT\nSTOP\n/quit\n-x\n\ncr\r\nlast", "", "", "say", "lobby");
	raw_expect(reader, "MSG lobby 1 ~\none");
	raw_expect(reader, "MSG lobby 2 ~\nQUIT");
	raw_expect(reader, "MSG lobby 3 ~\nSTOP");
	raw_expect(reader, "MSG lobby 4 ~\n/quit");
	raw_expect(reader, "MSG lobby 5 ~\n-x");
	raw_expect(reader, "MSG lobby 6 ~\n");
	raw_expect(reader, "MSG lobby 7 ~\ncr");
	raw_expect(reader, "MSG lobby 8 ~\nlast");
	program_check(broker, 0, "", "", "", "say", "lobby");
	raw_expect_quiet(reader);

	/* without a command: standard input is no terminal */
	program_check(broker, 0, "piped\n", "", "", NULL);
	raw_expect(reader, "MSG lobby 9 ~\npiped");
	program_check(broker, 0, "piped\n", "", "", "lobby");
	raw_expect(reader, "MSG lobby 10 ~\npiped");
	program_check(broker, 0, "in a room\n", "", "", "--", "time");
	program_check(broker, 64, "two rooms\n", "", "chat-client: ~", "lobby", "build");
	program_check(broker, 0, "", "~ time ~: in a room\n", "listening time from 1\n", "listen",
		"--last", "1", "--timeout", "0.2", "time");

	/* a line is said when it is there, not when the pipe is closed */
	say = program_start(broker, "say", "lobby");
	program_put(say, "now\n", 4);
	raw_expect(reader, "MSG lobby 11 ~\nnow");
	program_put(say, "ha", 2);
	program_put(say, "lf\n", 3);
	raw_expect(reader, "MSG lobby 12 ~\nhalf");
	program_put_end(say);
	program_expect_exit(say, 0);
	raw_expect_quiet(reader);
	broker_stop(broker);
}

static void test_say_long_lines(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *reader = raw_join(broker, "name=reader", "lobby");
	char *input = malloc(400000);
	size_t len;
	char *at = input;

	/* line 2 has one byte too much, line 4 many */
	at = mempcpy(at, "one\n", 4);
	memset(at, 'x', 64001);
	at += 64001;
	at = mempcpy(at, "\nthree\n", 7);
	memset(at, 'y', 200000);
	at += 200000;
	*at++ = '\n';
	memset(at, 'z', 64000);
	at += 64000;
	at = mempcpy(at, "\nsix\n", 6);
	len = (size_t)(at - input);
	input[len - 1] = '\0';
	program_check(broker, 64, input, "",
		"chat-client: line 2 is longer than 64000 bytes: not said\n"
		"chat-client: line 4 is longer than 64000 bytes: not said\n",
		"say", "lobby");
	free(input);
	raw_expect(reader, "MSG lobby 1 ~\none");
	raw_expect(reader, "MSG lobby 2 ~\nthree");
	assert_int_equal(
		text_of(strchr(raw_expect(reader, "MSG lobby 3 ~\nzzz~"), '\n')).len, 64001);
	raw_expect(reader, "MSG lobby 4 ~\nsix");
	broker_stop(broker);
}

/* ---- listen ---- */

static void test_listen(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *bob = raw_hello(broker, "name=b0b");
	struct program *listener = program_start(broker, "listen", "lobby", "build.ci");

	program_wait_err(listener, "listening lobby from 1\n");
	program_wait_err(listener, "listening build.ci from 1\n");
	raw_send(bob, "SAY lobby\none");
	program_wait_out(listener, "one\n"); /* at once, though it is a pipe */
	raw_send(bob, "SAY build.ci\ntwo\n\033[2J\302\233\\");
	program_wait_out(listener, "two\\n\\x1b[2J\\xc2\\x9b\\\\\n");
	raw_send(bob, "SAY nowhere\nnot heard");
	raw_send(bob, "SAY lobby\nthree");
	program_wait_out(listener, "three\n");
	if (!pattern_matches(
		    "~:~:~ lobby b0b(~): one\n~ build.ci b0b(~): two~\n~ lobby b0b~three\n",
		    (struct text){ listener->out.text, listener->out.len }))
		fail_msg("printed:\n%s", listener->out.text);
	assert_null(strchr(listener->out.text, '\033'));
	assert_null(strstr(listener->out.text, "not heard"));
	assert_int_equal(kill(listener->pid, SIGINT), 0);
	broker_stop(broker);
}

static void test_listen_options(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *bob = raw_hello(broker, "name=b0b");

	for (int i = 1; i <= 9; i++)
		raw_send(bob, "SAY lobby\nm%d", i);
	raw_expect_quiet(bob);
	program_check(broker, 0, "", "~: m8\n~: m9\n", "listening lobby from 8\n", "listen",
		"--last", "2", "--count", "2", "lobby");
	program_check(broker, 0, "", "~: m7\n~: m8\n", "listening lobby from 7\n", "listen",
		"lobby", "--last", "3", "--count", "2");
	program_check(broker, 0, "", "~: m9\n", "listening lobby from 9\n", "listen", "--last", "1",
		"--timeout", "0.2", "lobby");
	program_check(broker, 0, "", "", "listening lobby from 10\n", "listen", "--timeout", "0.1",
		"lobby");
	program_check(broker, 124, "", "", "listening lobby from 10\n", "listen", "--timeout",
		"0.1", "--count", "1", "lobby");
	program_check(broker, 124, "", "~: m8\n~: m9\n", "listening lobby from 8\n", "listen",
		"--timeout", "0.2", "--count", "3", "--last", "2", "lobby");
	program_check(broker, 0, "", "~: m1\n~m9\n", "listening lobby from 1\n", "listen", "--last",
		"1000", "--count", "9", "lobby");
	program_check(broker, 0, "", "", "listening lobby from 10\n", "listen", "--timeout", "0",
		"lobby");
	program_check(broker, 0, "", "m8\nm9\n", "listening lobby from 8\n", "listen", "--raw",
		"--last", "2", "--count", "2", "lobby");
	raw_send(bob, "SAY bytes\n\033[2J\377\nx");
	program_check(broker, 0, "", "\033[2J\377\nx\n", "listening bytes from 1\n", "listen",
		"--raw", "--last", "1", "--count", "1", "bytes");
	broker_stop(broker);
}

static void test_reader_goes(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *bob = raw_hello(broker, "name=b0b");
	struct program *listener = program_start(broker, "listen", "lobby");

	/* with nothing to be written, and in the middle of it */
	program_wait_err(listener, "listening lobby from 1\n");
	program_close_out(listener);
	program_expect_exit(listener, 0);
	listener = program_start(broker, "listen", "lobby");
	program_wait_err(listener, "listening lobby from 1\n");
	raw_send(bob, "SAY lobby\none");
	program_wait_out(listener, "one\n");
	program_close_out(listener);
	raw_send(bob, "SAY lobby\ntwo");
	program_expect_exit(listener, 0);
	program_check(
		broker, 0, "", "~: two\n", "~", "listen", "--last", "1", "--count", "1", "lobby");
	broker_stop(broker);
}

static void test_full_disk(void **state)
{
	static const struct program_config full = { .out = "/dev/full" };
	struct broker *broker = broker_start(NULL);

	program_check(broker, 0, "", "", "", "say", "lobby", "hello");
	program_check_as(broker, &full, 74, "", "",
		"listening lobby from 1\nchat-client: standard output: No space left on device\n",
		"listen", "--last", "1", "lobby");
	program_check_as(broker, &full, 74, "", "", "chat-client: ~No space~\n", "time");
	program_check_as(broker, &full, 74, "", "", "chat-client: ~No space~\n", "rooms");
	program_check_as(broker, &full, 74, "", "", "~", "--help");
	program_check_as(broker, &full, 74, "", "", "~", "--version");
	program_check_as(broker, &full, 0, "", "", "", "say", "lobby", "nothing is printed");
	broker_stop(broker);
}

/* ---- questions ---- */

static void test_questions(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *bob = raw_join(broker, "name=b0b", "build.ci");

	raw_send(bob, "SAY build.ci\nhello");
	raw_expect(bob, "MSG build.ci 1 ~");
	program_check(broker, 0, "", "~ us\n", "", "ping");
	program_check(broker, 0, "", "20~-~-~T~:~:~.~Z\n", "", "time");
	program_check(broker, 0, "", "b0b ~ since=~\n", "", "who", "build.ci");
	program_check(broker, 0, "", "~b0b ~ since=~\n", "", "who");
	program_check(broker, 0, "", "~build.ci readers=1 first=1 next=2 bytes=~ owner=~ rate=~\n",
		"", "rooms");
	program_check(broker, 0, "", "~build.ci ~\n", "", "ctl", "ROOMS");
	program_check(broker, 0, "", "~", "", "ctl", "SAY", "build.ci", "-x", "--help");
	raw_expect(bob, "MSG build.ci 2 ~ broker ~\n-x --help");
	program_check(broker, 64, "", "", "chat-client: ~\n", "ctl", "NONSENSE");
	program_check(broker, 77, "", "", "chat-client: ~\n", "who", "nowhere");
	program_check(broker, 0, "", "stopping\n", "", "ctl", "STOP", "for", "the", "test");
	raw_expect(bob, "BYE STOP for the test");
	broker_expect_exit(broker, 0);
}

static void test_room(void **state)
{
	struct broker *broker = broker_new();

	broker_spawn_here(broker, "--state", broker_path(broker, "state"));
	broker_wait_ready(broker);
	program_check(broker, 77, "", "", "~no such room: room (NOROOM)\n", "room", "room");
	program_check(broker, 0, "", "", "", "room", "room", "topic", "so", "much", "\033[1m");
	program_check(broker, 0, "", "so much \\x1b[1m\n", "", "room", "room", "topic");
	program_check(broker, 1, "", "", "", "room", "room", "another");
	program_check(broker, 0, "",
		"room: stored, up to 1 GiB; owner ~\ntopic = so much ~  (~, version ~)\n", "",
		"room", "room");
	program_check(broker, 0, "", "", "", "room", "room", "--retain-bytes", "20M",
		"--retain-age", "30d");
	program_check(broker, 0, "", "room: stored, up to 20 MiB, for 30 days; owner ~", "", "room",
		"room");
	program_check(broker, 0, "", "", "", "room", "--mode", "ephemeral", "--retain-age", "90m",
		"room");
	program_check(broker, 0, "",
		"room: kept in memory, up to 20 MiB, for 90 minutes; ~"
		"mode = ephemeral~",
		"", "room", "room");
	program_check(broker, 0, "", "", "", "room", "room", "--retain-bytes", "default",
		"--retain-age", "default");
	program_check(
		broker, 0, "", "room: kept in memory, up to 32 MiB; owner ~", "", "room", "room");
	/* only what is as one knows it */
	program_check(broker, 77, "", "", "~its version is ~: room (CHANGED)\n", "room", "--if",
		"0", "room", "topic", "x");
	program_check(broker, 0, "", "", "", "room", "--if", "0", "room", "new", "--", "-x");
	program_check(broker, 0, "", "-x\n", "", "room", "room", "new");
	program_check(broker, 0, "", "", "", "room", "room", "new", "");
	program_check(broker, 1, "", "", "", "room", "room", "new");
	program_check(broker, 64, "", "", "~retain-age is ~: room (ARGS)\n", "room", "room",
		"retain-age", "59");
	program_check(broker, 0, "", "", "", "room", "room", "--mode", "default");
	program_check(broker, 0, "", "room: stored, up to 1 GiB; owner ~", "", "room", "room");
	broker_stop(broker);
}

/* A room goes at once, without a question, and who listens there only is told and ends. */
static void test_room_is_deleted(void **state)
{
	struct broker *broker = broker_new();
	struct program *one, *two, *json;
	struct raw *bob;

	broker_spawn_here(broker, "--state", broker_path(broker, "state"));
	broker_wait_ready(broker);
	bob = raw_hello(broker, "name=b0b");
	raw_send(bob, "SAY room\nhello");
	raw_send(bob, "#1 SAY other\nhello");
	raw_await(bob, "#1 * 1");
	one = program_start(broker, "listen", "room");
	two = program_start(broker, "listen", "room", "other", "room");
	json = program_start(broker, "listen", "--json", "room");
	program_wait_err(one, "listening room from 2\n");
	program_wait_err(two, "listening other from 2\n");
	program_wait_err(json, "listening room from 2\n");
	program_check(broker, 64, "", "", "~alone~\n", "room", "--delete", "room", "topic");
	program_check(
		broker, 64, "", "", "~alone~\n", "room", "--delete", "--mode", "ephemeral", "room");
	program_check(broker, 64, "", "", "chat-client: ~\n", "room", "--delete");
	program_check(broker, 0, "", "", "", "room", "room", "--delete");
	program_wait_err(one, "chat-client: room was deleted, with all messages in it\n");
	program_expect_exit(one, 77);
	program_wait_out(json, "{\"type\":\"gap\",\"target\":\"room\",\"from\":2,\"to\":0,"
			       "\"reason\":\"deleted\"}\n");
	program_expect_exit(json, 77);
	program_wait_err(two, "chat-client: room was deleted");
	program_check(
		broker, 77, "", "", "~no such room: room (NOROOM)\n", "room", "--delete", "room");
	raw_send(bob, "SAY other\nstill there");
	program_wait_out(two, "still there\n");
	program_check(broker, 0, "", "", "", "room", "--delete", "other");
	program_expect_exit(two, 77);
	program_check(broker, 77, "", "", "~no such room: room (NOROOM)\n", "history", "room");
	broker_stop(broker);
}

/* Nobody reads any more what waits to be read. */
static void test_conversation_is_deleted(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct program *waits =
		program_start(broker, "--name", "al1ce", "say", "--until-seen", "@b0b", "hello");
	struct raw *bob = raw_hello(broker, "name=b0b direct=@1");

	raw_await(bob, "MSG @al1ce+b0b 1 ~\nhello");
	raw_send(bob, "DELETE @al1ce");
	program_wait_err(waits, "chat-client: @b0b was deleted");
	program_expect_exit(waits, 77);
	broker_stop(broker);
}

static void test_history(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *bob = raw_hello(broker, "name=b0b");

	for (int i = 1; i <= 700; i++)
		raw_send(bob, "SAY lobby\nm%d%s", i, i % 100 == 0 ? " Full\033" : "");
	raw_expect_quiet(bob);
	program_check(broker, 0, "", "20~-~-~ ~:~:~ lobby b0b(~): m699\n~: m700 Full\\x1b\n", "",
		"history", "--last", "2", "lobby");
	program_check(broker, 0, "", "~ b0b(~): m681\n~ m700 Full\\x1b\n", "", "history", "lobby");
	program_check(broker, 0, "", "~ b0b(~): m1\n~: m300 Full~\n~: m700 Full\\x1b\n", "",
		"history", "lobby", "--last", "9999");
	program_check(broker, 0, "", "~ b0b(~): m1\n~: m700 Full\\x1b\n", "", "history", "--since",
		"1h", "lobby");
	program_check(broker, 0, "", "", "", "history", "--since", "@9000000000000000000", "lobby");
	program_check(broker, 0, "", "{\"type\":\"message\",~\"seq\":700,~\n", "", "history",
		"--json", "--last", "1", "lobby");
	program_check(
		broker, 77, "", "", "~no such room: nowhere (NOROOM)\n", "history", "nowhere");
	program_check(broker, 0, "", "~: m1\n", "listening lobby from 1\n", "listen", "--since",
		"1h", "--count", "1", "lobby");
	/* the newest that match, the oldest of these first */
	program_check(broker, 0, "", "~: m600 Full\\x1b\n~: m700 Full\\x1b\n", "", "find", "--last",
		"2", "lobby", "FULL");
	program_check(broker, 0, "", "~ b0b(~): m100 Full~: m700 Full\\x1b\n", "", "find", "lobby",
		"0", "full");
	program_check(broker, 0, "", "{~\"seq\":42,~\n{~\"seq\":142,~\n~", "", "find", "--json",
		"lobby", "--", "42");
	program_check(broker, 1, "", "", "", "find", "lobby", "--", "-x");
	program_check(
		broker, 77, "", "", "~no such room: nowhere (NOROOM)\n", "find", "nowhere", "x");
	broker_stop(broker);
}

/* What was said, and then what is said. */
static void test_history_follows(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *bob = raw_hello(broker, "name=b0b");
	struct program *program;

	raw_send(bob, "SAY lobby\nbefore");
	raw_send(bob, "SAY lobby\njust before");
	raw_expect_quiet(bob);
	program = program_start(broker, "history", "--follow", "--last", "1", "lobby");
	program_wait_out(program, "just before\n");
	raw_send(bob, "SAY lobby\nnow");
	program_wait_out(program, "now\n");
	assert_null(strstr(program->out.text, ": before"));
	assert_int_equal(kill(program->pid, SIGINT), 0);
	broker_stop(broker);
}

static void test_unread(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *own = raw_hello(broker, "name=me"), *bob;
	struct program *program;

	program_check(broker, 1, "", "", "", "--name", "me", "unread");
	for (int i = 1; i <= 7; i++)
		raw_send(own, "SAY lobby\n%d", i);
	raw_expect_quiet(own);
	program_check(broker, 1, "", "", "", "--name", "me", "unread"); /* never read there */
	raw_send(own, "#s SEEN lobby 2");
	raw_expect(own, "#s * 2");
	program_check(broker, 0, "", "lobby 5\n", "", "--name", "me", "unread");
	raw_send(own, "#s SEEN lobby 7");
	raw_expect(own, "#s * 7");
	program_check(broker, 1, "", "", "", "--name", "me", "unread", "--short");
	if (geteuid() != 0)
		SKIP("only root has two users");
	bob = raw_hello_as(broker, 65534, "name=b0b");
	raw_send(bob, "#s SAY @me\none");
	raw_expect(bob, "#s * 1");
	raw_send(bob, "#s SAY @me\ntwo");
	raw_expect(bob, "#s * 2");
	raw_send(bob, "#s SAY lobby\nthree");
	raw_expect(bob, "#s * 8");
	program_check(broker, 0, "", "lobby 1\n@b0b 2\n", "", "--name", "me", "unread");
	program_check(broker, 0, "", "lobby:1 @b0b:2\n", "", "--name", "me", "unread", "--short");

	program_check(broker, 124, "", "", "", "--name", "me", "say", "--until-seen", "--timeout",
		"0.2", "@b0b", "are you there?");
	program = program_start(broker, "--name", "me", "say", "--until-seen", "@b0b", "and now?");
	raw_send(bob, "#j JOIN @me last=1");
	raw_await(bob, "MSG ~\nand now?");
	raw_send(bob, "#s SEEN @me 3");
	raw_expect(bob, "#s * 3 other=0");
	assert_true(child_runs(program->pid)); /* that was the one before */
	raw_send(bob, "#s SEEN @me 4");
	raw_expect(bob, "#s * 4 other=0");
	program_expect_exit(program, 0);
	assert_int_equal(program->err.len, 0);
	/* what needs no waiting */
	program_check(broker, 0, "", "", "", "--name", "me", "say", "--until-seen", "@b0b");
	broker_stop(broker);
}

static void test_wrong_usage(void **state)
{
	static const char *const lines[][6] = {
		{ "say" },
		{ "say", "UPPER", "x" },
		{ "say", "a..b", "x" },
		{ "say", "@", "x" },
		{ "listen" },
		{ "listen", "--json", "--raw", "lobby" },
		{ "listen", "--last", "1", "--since", "1h", "lobby" },
		{ "listen", "--since", "ten", "lobby" },
		{ "history" },
		{ "history", "lobby", "lobby" },
		{ "history", "UPPER" },
		{ "history", "--last", "1", "--since", "1h", "lobby" },
		{ "find" },
		{ "say", "--ephemeral", "lobby", "x" },
		{ "listen", "--ephemeral", "lobby" },
		{ "unread", "lobby" },
		{ "say", "--until-seen", "lobby", "x" },
		{ "say", "--timeout", "1", "@bob", "x" },
		{ "find", "lobby" },
		{ "find", "UPPER", "x" },
		{ "find", "--last", "0", "lobby", "x" },
		{ "listen", "--count", "0", "lobby" },
		{ "listen", "--count", "x", "lobby" },
		{ "listen", "--last", "-1", "lobby" },
		{ "listen", "--timeout", "1.2345", "lobby" },
		{ "listen", "--timeout", "", "lobby" },
		{ "listen", "--nonsense", "lobby" },
		{ "--nonsense" },
		{ "--name" },
		{ "--name", "UPPER", "ping" },
		{ "who", "a", "b" },
		{ "rooms", "x" },
		{ "room" },
		{ "room", "UPPER" },
		{ "room", "lobby", "--mode", "loud" },
		{ "room", "lobby", "--retain-bytes", "1T" },
		{ "room", "lobby", "--retain-bytes", "63k" },
		{ "room", "lobby", "--retain-age", "1w" },
		{ "room", "lobby", "--retain-age", "" },
		{ "room", "lobby", "--retain-age", "59s" },
		{ "room", "lobby", "--retain-age", "99999d" },
		{ "room", "lobby", "topic", "--mode", "durable" },
		{ "room", "lobby", "--if", "1" },
		{ "room", "lobby", "topic", "x", "--if", "x" },
		{ "room", "lobby", "Topic" },
		{ "time", "x" },
		{ "ping", "x" },
		{ "ctl" },
		{ "--last", "3" },
	};
	struct broker *broker = broker_start(NULL);

	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		struct program *program =
			program_start_with(broker, &(const struct program_config){ 0 }, lines[i]);

		program_put_end(program);
		program_expect_exit(program, 64);
		if (program->out.len > 0 || program->err.len == 0 ||
			strncmp(program->err.text, "chat-client: ", 13) != 0 ||
			strchr(program->err.text, '\n') != program->err.text + program->err.len - 1)
			fail_msg("%s %s: printed %s, complained %s", lines[i][0],
				lines[i][1] ? lines[i][1] : "", program->out.text,
				program->err.text);
	}
	program_check(broker, 0, "", "usage: ~", "", "--help");
	program_check(broker, 0, "", "chat-client ~\n", "", "--version");
	broker_stop(broker);
}

static void test_no_broker(void **state)
{
	struct broker *broker = broker_new(), *other = broker_start(NULL);
	const struct program_config nowhere = { .environment = { "CHAT_SOCKET=/nonexistent" } };
	char expected[256];

	snprintf(expected, sizeof expected, "chat-client: no broker answers at %s\n",
		broker->socket);
	program_check(broker, 69, "", "", expected, "ping");
	program_check(broker, 69, "lost\n", "", expected, "say", "lobby");
	program_check(broker, 69, "", "", expected, "listen", "lobby");
	program_check(broker, 69, "", "", expected, NULL);
	/* --socket goes before CHAT_SOCKET */
	program_check(broker, 0, "", "~ us\n", "", "--socket", other->socket, "ping");
	program_check(broker, 0, "", "~ us\n", "", "ping", "--socket", other->socket);
	program_check(other, 69, "", "", expected, "--socket", broker->socket, "ping");
	program_check_as(other, &nowhere, 69, "", "", "chat-client: ~/nonexistent\n", "ping");
	/* what a broker that was killed leaves behind */
	broker_kill9(other);
	program_check(other, 69, "", "", "chat-client: no broker answers at ~\n", "ping");
}

static void test_abstract_socket(void **state)
{
	struct broker *broker = broker_new();
	char name[64];

	snprintf(name, sizeof name, "@chat-broker-test.%d", getpid());
	broker_spawn(broker,
		(const char *const[]){ "--socket", name, "--ctl", "none", "--ephemeral", NULL });
	broker_wait_ready(broker);
	program_check(broker, 0, "", "~ us\n", "", "--socket", name, "ping");
	snprintf(broker->socket, sizeof broker->socket, "%s", name);
	program_check(broker, 0, "", "~ us\n", "", "ping");
	broker_signal(broker, SIGTERM);
	broker_expect_exit(broker, 0);
}

static void test_refusals(void **state)
{
	struct broker *broker = broker_start("--limit", "connections=4");
	struct raw *raws[4];
	unsigned n = 0;

	program_check(broker, 77, "", "", "chat-client: ~NONAME~\n", "say", "@nobody.there", "x");
	program_check(broker, 77, "", "", "chat-client: ~\n", "--name", "broker", "ping");
	for (; n < 4; n++) {
		raws[n] = raw_open(broker);
		raw_send(raws[n], "#h HELLO 1");
		raw_expect(raws[n], "#h * ~");
	}
	program_check(broker, 75, "", "", "chat-client: ~\n", "ping");
	broker_stop(broker);
}

static void test_broker_of_another(void **state)
{
	struct broker *broker = broker_new();
	const struct program_config trusting = { .environment = { "CHAT_BROKER_UID=65534" } };

	if (geteuid() != 0)
		SKIP("only root can run a broker as somebody else");
	broker->uid = NOBODY;
	broker_spawn_here(broker, NULL);
	broker_wait_ready(broker);
	program_check(
		broker, 77, "", "", "chat-client: ~uid 65534, which is not trusted~\n", "ping");
	program_check(broker, 77, "secret\n", "", "chat-client: ~uid 65534~\n", "say", "lobby");
	program_check_as(broker, &trusting, 0, "", "~ us\n", "", "ping");
	broker_stop(broker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PROGRAM_TEST(test_say_words),
		PROGRAM_TEST(test_say_lines),
		PROGRAM_TEST(test_say_long_lines),
		PROGRAM_TEST(test_listen),
		PROGRAM_TEST(test_listen_options),
		PROGRAM_TEST(test_reader_goes),
		PROGRAM_TEST(test_full_disk),
		PROGRAM_TEST(test_questions),
		PROGRAM_TEST(test_room),
		PROGRAM_TEST(test_room_is_deleted),
		PROGRAM_TEST(test_conversation_is_deleted),
		PROGRAM_TEST(test_history),
		PROGRAM_TEST(test_history_follows),
		PROGRAM_TEST(test_unread),
		PROGRAM_TEST(test_wrong_usage),
		PROGRAM_TEST(test_no_broker),
		PROGRAM_TEST(test_abstract_socket),
		PROGRAM_TEST(test_refusals),
		PROGRAM_TEST(test_broker_of_another),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
