/* shell_test.c - commands, keys, ways out, and what becomes of a talk when the broker
 * goes, in real terminals: chat-client(1). */
#include "tests/integration/terminal.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOBODY 65534

/* ---- commands ---- */

static void test_rooms(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct terminal *alice = terminal_start_named(broker, "al1ce");
	struct raw *bob = raw_join(broker, "name=b0b", "build.ci");

	raw_send(bob, "SAY build.ci\nearlier");
	raw_expect(bob, "MSG build.ci 1 ~");
	terminal_type(alice, "/join build.ci\r");
	terminal_wait(alice, "-- talking in build.ci");
	terminal_wait(alice, ": earlier");
	terminal_expect_typing(alice, "build.ci> ", 10);
	terminal_type(alice, "here I am\r");
	raw_expect(bob, "MSG build.ci 2 ~ al1ce ~\nhere I am");

	/* both rooms are heard, the other one with its name before it */
	raw_send(bob, "SAY lobby\nin the lobby");
	terminal_wait(alice, " [lobby] b0b");
	raw_send(bob, "SAY build.ci\nin the room");
	terminal_wait(alice, ": in the room");
	assert_int_equal(terminal_count(alice, "[build.ci]"), 0);

	terminal_type(alice, "/switch lobby\r");
	terminal_expect_typing(alice, "lobby> ", 7);
	terminal_type(alice, "back again\r");
	terminal_wait_count(alice, ": back again", 1);
	terminal_type(alice, "/rooms\r");
	terminal_wait(alice, "-- * build.ci: 2 here, 3 messages");
	terminal_wait(alice, "-- * lobby: 1 here, 2 messages");
	terminal_type(alice, "/who build.ci\r");
	terminal_wait(alice, "-- build.ci: al1ce");
	terminal_type(alice, "/part build.ci\r");
	terminal_wait(alice, "-- you left build.ci");
	raw_send(bob, "SAY build.ci\nnot for al1ce");
	raw_send(bob, "SAY lobby\nfor al1ce");
	terminal_wait(alice, ": for al1ce");
	assert_int_equal(terminal_count(alice, "not for al1ce"), 0);
	terminal_type(alice, "/switch build.ci\r");
	terminal_wait(alice, "-- you are not in build.ci; /join it");

	/* what was said before */
	terminal_type(alice, "/join build.ci 0\r");
	terminal_expect_typing(alice, "build.ci> ", 10);
	terminal_type(alice, "/find FOR AL1CE\r");
	terminal_wait(alice, ": not for al1ce");
	terminal_wait(alice, "-- 1 message with that in it");
	terminal_type(alice, "/history 3\r");
	terminal_wait(alice, "-- 3 messages before this");
	terminal_wait_count(alice, ": not for al1ce", 2);
	terminal_wait_count(alice, ": in the room", 2);
	terminal_type(alice, "/history 1h\r");
	terminal_wait(alice, "-- 4 messages since then");
	terminal_type(alice, "/part\r");

	/* of the last room, and then there is none */
	terminal_type(alice, "/part\r");
	terminal_wait(alice, "-- you are in no room; /join one");
	terminal_type(alice, "to nobody\r");
	terminal_wait_count(alice, "-- you are in no room; /join one", 2);
	terminal_type(alice, "/join build.ci 2\r");
	terminal_wait_count(alice, "not for al1ce", 4);
	terminal_wait_count(alice, ": in the room", 4);
	terminal_type(alice, "/part\r");
	terminal_wait_count(alice, "-- you are in no room; /join one", 3);
	terminal_type(alice, "/history\r");
	terminal_wait(alice, "usage: /history [N | TIME]");
	broker_stop(broker);
}

/* What a terminal has shown is read, on any terminal of this user. */
/* The user of a deleted room is told, and leaves it: typing a line does not make the room again. */
static void test_room_is_deleted(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct terminal *alice = terminal_start_named(broker, "al1ce");
	struct raw *bob = raw_join(broker, "name=b0b", "build.ci");

	terminal_type(alice, "/join build.ci\r");
	terminal_expect_typing(alice, "build.ci> ", 10);
	raw_send(bob, "DELETE build.ci");
	terminal_wait(alice, "-- build.ci was deleted, with all messages in it");
	terminal_wait(alice, "-- talking in lobby");
	terminal_expect_typing(alice, "lobby> ", 7);
	/* the administrators' room is looked at again */
	raw_send(bob, "DELETE wall");
	raw_await(bob, "GAP build.ci 1 0 deleted");
	raw_expect_quiet(bob);
	do
		raw_send(bob, "#r ROOMS wall");
	while (strncmp(raw_next(bob).data, "#r !", 4) == 0);
	raw_send(bob, "SAY wall\nto everybody");
	terminal_wait(alice, "to everybody");
	assert_int_equal(terminal_count(alice, "wall was deleted"), 0);
	raw_send(bob, "DELETE lobby");
	terminal_wait(alice, "-- you are in no room; /join one");
	broker_stop(broker);
}

static void test_unread(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct terminal *alice, *again;
	struct raw *own, *bob;

	if (geteuid() != 0)
		SKIP("only root has two users");
	bob = raw_hello_as(broker, 65534, "name=b0b");
	own = raw_hello(broker, "name=al1ce");
	raw_send(bob, "#s SAY @al1ce\none");
	raw_expect(bob, "#s * 1");
	raw_send(bob, "#s SAY @al1ce\ntwo");
	raw_expect(bob, "#s * 2");
	alice = terminal_start_named(broker, "al1ce");
	terminal_wait(alice, "-- conversations: @b0b (2 unread); /join @NAME shows one");
	raw_send(own, "#s SEEN @b0b");
	raw_expect(own, "#s * 0 other=2");
	raw_send(bob, "#j JOIN @al1ce presence");
	raw_expect(bob, "#j * 3 ~");
	terminal_type(alice, "/join @b0b\r");
	terminal_wait(alice, ": two");
	raw_await(bob, "SEEN @al1ce+b0b al1ce 0 ~ seq=2");
	again = terminal_start_named(broker, "al1ce");
	terminal_wait(again, "-- conversations: @b0b; /join @NAME shows one");
	/* as it comes */
	raw_send(bob, "SAY @al1ce\nthree");
	raw_await(bob, "MSG ~\nthree");
	raw_await(bob, "SEEN @al1ce+b0b al1ce 0 ~ seq=3");
	broker_stop(broker);
}

static void test_wrong_commands(void **state)
{
	static const struct {
		const char *typed, *shown;
	} rows[] = {
		{ "/nonsense", "there is no /nonsense; /help lists the commands" },
		{ "/", "there is no /; /help lists the commands" },
		{ "/join", "usage: /join ROOM [N]" },
		{ "/join a b c", "usage: /join ROOM [N]" },
		{ "/join UPPER", "'UPPER' is no room name" },
		{ "/join ../etc", "'../etc' is no room name" },
		{ "/join @nobody.there", "no" },
		{ "/part nowhere", "you are not in nowhere" },
		{ "/msg", "usage: /msg NAME TEXT" },
		{ "/msg b0b", "usage: /msg NAME TEXT" },
		{ "/msg b@b hi", "'b@b' is no name" },
		{ "/msg nobody.there hi", "@nobody.there: not taken" },
		{ "/who a b", "usage: /who [ROOM]" },
		{ "/who nowhere", "refused: " },
		{ "/switch", "usage: /switch ROOM" },
		{ "/find", "usage: /find TEXT" },
		{ "/find x.y.z", "-- 0 messages with that in it" },
		{ "/history soon", "'soon' is no number and no time" },
	};
	struct broker *broker = broker_start(NULL);
	struct terminal *alice = terminal_start_named(broker, "al1ce");

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		terminal_type(alice, "%s\r", rows[i].typed);
		terminal_wait(alice, "%s", rows[i].shown);
	}
	terminal_expect_typing(alice, "lobby> ", 7);
	terminal_type(alice, "/help\r");
	terminal_wait(alice, "-- /quit");
	terminal_type(alice, "//etc is full\r");
	terminal_wait(alice, ": /etc is full");
	terminal_type(alice, " QUIT\r");
	terminal_wait(alice, ":  QUIT");
	terminal_type(alice, "QUIT it\r");
	terminal_wait(alice, ": QUIT it");
	terminal_type(alice, "/quit\r");
	terminal_expect_exit(alice, 0);
	broker_stop(broker);
}

static void test_direct_and_wall(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct terminal *alice = terminal_start_named(broker, "al1ce");
	struct terminal *bob = terminal_start_named(broker, "b0b"), *again;

	terminal_type(alice, "/msg b0b psst\r");
	terminal_wait_count(bob, "[@al1ce] al1ce", 1);
	terminal_wait_count(bob, ": psst", 1);
	terminal_wait_count(alice, "[@b0b] al1ce", 1);
	terminal_type(bob, "/join @al1ce\r");
	terminal_expect_typing(bob, "@al1ce> ", 8);
	terminal_type(bob, "what?\r");
	terminal_wait_count(alice, ": what?", 1);
	terminal_wait_count(alice, "[@b0b] b0b", 1);
	terminal_type(alice, "/switch @b0b\r");
	terminal_expect_typing(alice, "@b0b> ", 6);
	terminal_type(alice, "nothing\r");
	terminal_wait_count(bob, ": nothing", 1);
	broker_ctl(broker, "WALL the disk is full");
	terminal_wait_count(alice, "[wall] broker: the disk is full", 1);
	terminal_wait_count(bob, "[wall] broker: the disk is full", 1);

	/* a conversation is named to who comes back */
	terminal_type(bob, "QUIT\r");
	terminal_expect_exit(bob, 0);
	again = terminal_start_named(broker, "b0b");
	terminal_wait(again, "-- conversations: @al1ce; /join @NAME shows one");
	terminal_type(again, "/join @al1ce\r");
	terminal_wait_count(again, ": nothing", 1);
	broker_stop(broker);
}

static void test_completion(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *bob = raw_join(broker, "name=b0b-the-builder", "build.ci.nightly");
	struct terminal *alice = terminal_start_named(broker, "al1ce");

	terminal_type(alice, "/jo\t");
	terminal_expect_typing(alice, "lobby> /join ", 13);
	terminal_type(alice, "bui\t");
	terminal_expect_typing(alice, "lobby> /join build.ci.nightly ", 30);
	terminal_type(alice, "\r");
	terminal_expect_typing(alice, "build.ci.nightly> ", 18);
	terminal_type(alice, "hello b0b\t");
	terminal_expect_typing(alice, "build.ci.nightly> hello b0b-the-builder ", 40);
	terminal_type(alice, "\r");
	raw_expect(bob, "MSG build.ci.nightly 1 ~ al1ce ~\nhello b0b-the-builder ");
	terminal_type(alice, "/msg b0b\thi\r");
	raw_send(bob, "JOIN @al1ce last=1");
	raw_await(bob, "MSG @al1ce+b0b-the-builder 1 ~\nhi");
	terminal_type(alice, "/switch lo\t\r");
	terminal_expect_typing(alice, "lobby> ", 7);
	terminal_type(alice, "/who bu\t\r");
	terminal_wait(alice, "-- build.ci.nightly: al1ce");

	/* several: a list, and the line is below it */
	terminal_type(alice, "/\t");
	terminal_wait(alice, "/switch");
	terminal_expect_typing(alice, "lobby> /", 8);
	terminal_type(alice, "%c", CTRL('u'));
	terminal_expect_typing(alice, "lobby> ", 7);

	/* nothing fits */
	terminal_type(alice, "zzz\t\t");
	terminal_expect_typing(alice, "lobby> zzz", 10);
	broker_stop(broker);
}

static void test_editing_keys(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct terminal *alice = terminal_start_named(broker, "al1ce");

	terminal_type(alice, "first\r");
	terminal_wait_count(alice, ": first", 1);
	terminal_type(alice, "second\r");
	terminal_wait_count(alice, ": second", 1);
	terminal_type(alice, "\033[A\033[A");
	terminal_expect_typing(alice, "lobby> first", 12);
	terminal_type(alice, "\033[B");
	terminal_expect_typing(alice, "lobby> second", 13);
	terminal_type(alice, "%c%c", CTRL('a'), CTRL('k'));
	terminal_expect_typing(alice, "lobby> ", 7);
	terminal_type(alice, "one two three%c", CTRL('w'));
	terminal_expect_typing(alice, "lobby> one two ", 15);
	terminal_type(alice, "%c", CTRL('u'));
	terminal_expect_typing(alice, "lobby> ", 7);
	terminal_type(alice, "%cfir", CTRL('r'));
	terminal_wait(alice, "reverse-i-search");
	terminal_type(alice, "\r");
	terminal_wait_count(alice, ": first", 2);
	terminal_expect_typing(alice, "lobby> ", 7);
	terminal_wait_count(alice, "lobby> ", 0);
	broker_stop(broker);
}

static void test_stop(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct terminal *alice = terminal_start_named(broker, "al1ce");
	struct terminal *bob = terminal_start_named(broker, "b0b");

	terminal_type(alice, "STOP\r");
	terminal_wait(alice, "1 other session is connected");
	terminal_wait(alice, "stop it? [y/N]");
	terminal_type(alice, "n\r");
	terminal_wait(alice, "-- not stopped");
	terminal_expect_typing(alice, "lobby> ", 7);
	terminal_type(alice, "STOP\r");
	terminal_wait_count(alice, "1 other session is connected", 2);
	terminal_type(alice, "\r");
	terminal_wait_count(alice, "-- not stopped", 2);
	terminal_type(alice, "still there\r");
	terminal_wait_count(bob, ": still there", 1);

	terminal_type(alice, "STOP\r");
	terminal_wait_count(alice, "1 other session is connected", 3);
	terminal_type(alice, "y\r");
	terminal_expect_exit(alice, 0);
	broker_expect_exit(broker, 0);
	terminal_wait(bob, "the broker was stopped; trying again");
	terminal_type(bob, "QUIT\r");
	terminal_expect_exit(bob, 0);

	/* alone, nobody is asked */
	broker_spawn_here(broker, NULL);
	broker_wait_ready(broker);
	alice = terminal_start_named(broker, "al1ce");
	terminal_type(alice, "STOP\r");
	terminal_expect_exit(alice, 0);
	broker_expect_exit(broker, 0);
}

/* ---- ways out ---- */

static void test_ways_out(void **state)
{
	static const struct {
		const char *typed, *waits, *then;
		int signal, status;
	} ways[] = {
		{ .typed = "QUIT\r", .status = 0 },
		{ .typed = "/quit\r", .status = 0 },
		{ .typed = "\004", .status = 0 },
		{ .typed = "\003",
			.waits = "Ctrl-C once more leaves",
			.then = "\003",
			.status = 0 },
		{ .typed = "half a line", .signal = SIGTERM, .status = 128 + SIGTERM },
		{ .signal = SIGHUP, .status = 128 + SIGHUP },
		{ .signal = SIGQUIT, .status = 128 + SIGQUIT },
		{ .typed = "\034", .status = 128 + SIGQUIT },
		/* a paste that does not end */
		{ .typed = "\033[200~one\rtwo", .signal = SIGTERM, .status = 128 + SIGTERM },
		{ .typed = "\022sear", .signal = SIGTERM, .status = 128 + SIGTERM },
	};

	for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
		struct broker *broker = broker_start(NULL);
		struct terminal *alice = terminal_start_named(broker, "al1ce");

		assert_false(terminal_is_restored(alice));
		assert_true(alice->emulator.pastes);
		if (ways[i].typed)
			terminal_type(alice, "%s", ways[i].typed);
		if (ways[i].waits)
			terminal_wait(alice, "%s", ways[i].waits);
		if (ways[i].then)
			terminal_type(alice, "%s", ways[i].then);
		if (ways[i].signal)
			kill(alice->pid, ways[i].signal);
		terminal_expect_exit(alice, ways[i].status);
		broker_stop(broker);
		terminal_teardown(state);
	}
}

static void test_keys_that_do_not_leave(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct terminal *alice = terminal_start_named(broker, "al1ce");

	terminal_type(alice, "abc\033[D%c", CTRL('d')); /* with a line it deletes */
	terminal_expect_typing(alice, "lobby> ab", 9);
	terminal_type(alice, "\003");
	terminal_expect_typing(alice, "lobby> ", 7);
	terminal_type(alice, "\003");
	terminal_wait(alice, "Ctrl-C once more leaves");
	terminal_type(alice, "x");
	terminal_expect_typing(alice, "lobby> x", 8);
	terminal_type(alice, "\003");
	terminal_expect_typing(alice, "lobby> ", 7);
	/* also out of a paste that does not end */
	terminal_type(alice, "x");
	terminal_expect_typing(alice, "lobby> x", 8);
	terminal_type(alice, "\033[200~one\rtwo");
	terminal_type(alice, "\003");
	terminal_expect_typing(alice, "lobby> ", 7);
	/* nobody could continue it here, so the kernel does not stop it */
	terminal_type(alice, "half a line");
	terminal_expect_typing(alice, "lobby> half a line", 18);
	terminal_type(alice, "%c", CTRL('z'));
	terminal_type(alice, "!");
	terminal_expect_typing(alice, "lobby> half a line!", 19);
	assert_false(terminal_is_restored(alice));
	terminal_type(alice, "\003");
	terminal_expect_typing(alice, "lobby> ", 7);
	terminal_type(alice, "\003");
	terminal_wait_count(alice, "Ctrl-C once more leaves", 2);
	terminal_type(alice, "\003");
	terminal_expect_exit(alice, 0);
	broker_stop(broker);
}

static void test_kicked(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct terminal *alice = terminal_start_named(broker, "al1ce");

	terminal_type(alice, "half a line");
	terminal_wait(alice, "half a line");
	broker_ctl(broker, "KICK al1ce for nothing");
	terminal_expect_exit(alice, 69);
	terminal_wait(alice, "for nothing");
	broker_stop(broker);
}

static void test_window_is_closed(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct terminal *alice = terminal_start_named(broker, "al1ce");

	terminal_hang_up(alice);
	terminal_expect_exit(alice, 128 + SIGHUP);
	broker_stop(broker);
}

/* As a job of a shell that does not touch the settings of the terminal. */
static void test_stopped_and_continued(void **state)
{
	static const struct terminal_config config = { .shell = true };
	struct broker *broker = broker_start(NULL);
	struct terminal *shell = terminal_start_as(broker, &config, NULL);
	struct raw *bob = raw_hello(broker, "name=b0b");

	terminal_wait(shell, "sh$");
	terminal_type(shell, "%s --name al1ce\n", getenv("CHAT_CLIENT"));
	terminal_expect_typing(shell, "lobby> ", 7);
	for (unsigned i = 1; i <= 2; i++) {
		terminal_type(shell, "half a line");
		terminal_expect_typing(shell, "lobby> half a line", 18);
		terminal_type(shell, "%c", CTRL('z'));
		terminal_wait_count(shell, "Stopped", i);
		terminal_expect_typing(shell, "sh$ ", 4);
		assert_true(terminal_is_restored(shell));
		assert_false(shell->emulator.pastes);
		raw_send(bob, "SAY lobby\nmeanwhile %u", i);
		terminal_type(shell, "fg\n");
		terminal_wait_count(shell, "fg", i);
		terminal_wait(shell, ": meanwhile %u", i);
		terminal_expect_typing(shell, "lobby> half a line", 18);
		assert_false(terminal_is_restored(shell));
		assert_true(shell->emulator.pastes);
		terminal_type(shell, " %u\r", i);
		terminal_wait(shell, ": half a line %u", i);
		terminal_expect_typing(shell, "lobby> ", 7);
	}
	terminal_type(shell, "QUIT\r");
	terminal_expect_typing(shell, "sh$ ", 4);
	assert_true(terminal_is_restored(shell));
	broker_stop(broker);
	terminal_type(shell, "exit\n");
	terminal_expect_exit(shell, 0);
}

/* ---- the broker goes ---- */

static void test_broker_is_killed(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct terminal *alice = terminal_start_named(broker, "al1ce");
	struct terminal *bob = terminal_start_named(broker, "b0b");

	terminal_type(alice, "before\r");
	terminal_wait_count(bob, ": before", 1);
	for (unsigned i = 1; i <= 2; i++) {
		char text[32];

		terminal_type(bob, "half a line");
		terminal_wait(bob, "half a line");
		broker_kill9(broker);
		terminal_wait_count(alice, "connection lost", i);
		terminal_wait_count(bob, "connection lost", i);
		terminal_expect_typing(bob, "lobby> half a line", 18);
		terminal_type(alice, "meanwhile %u\r", i);
		terminal_type(alice, "and again %u\r", i);
		broker_spawn_here(broker, NULL);
		broker_wait_ready(broker);
		terminal_wait_count(alice, "-- back", i);
		terminal_wait_count(bob, "-- back", i);
		for (unsigned k = 0; k < 2; k++) {
			snprintf(text, sizeof text, "%s %u", k ? ": and again" : ": meanwhile", i);
			terminal_wait_count(bob, text, 1);
			terminal_wait_count(alice, text, 1);
		}
		terminal_expect_typing(bob, "lobby> half a line", 18);
		terminal_type(bob, " %u\r", i);
		snprintf(text, sizeof text, ": half a line %u", i);
		terminal_wait_count(alice, text, 1);
		terminal_wait_count(bob, text, 1);
	}
	assert_int_equal(terminal_count(bob, ": before"), 1);
	assert_int_equal(terminal_count(bob, ": meanwhile"), 2);
	terminal_wait_count(bob, "lobby: the log begins anew (reset)", 2);
	broker_stop(broker);
}

static void test_no_broker(void **state)
{
	struct broker *broker = broker_new();
	struct terminal *alice = terminal_start(broker, 80, "--name", "al1ce");

	terminal_expect_exit(alice, 69);
	terminal_wait(alice, "chat-client: no broker answers at %s", broker->socket);
}

/* ---- whose broker ---- */

/* Run chat-client with WORDS in the environment of TERMINAL's broker, without one. */
static int script_status(const struct broker *broker, const char *word)
{
	char line[512];
	const char *const argv[] = { "sh", "-c", line, NULL };

	snprintf(line, sizeof line, "XDG_STATE_HOME=%s '%s' --socket '%s' %s 2>/dev/null",
		broker_path(broker, "state"), getenv("CHAT_CLIENT"), broker->socket, word);
	return child_end(child_run(broker->dir, argv));
}

/* Give the directory of another user's broker to root: the files that root keeps below it must not
 * lie in a directory of another user. */
static void directory_take_back(const struct broker *broker)
{
	assert_int_equal(chown(broker->dir, 0, 0), 0);
	assert_int_equal(chmod(broker->dir, 0777), 0);
}

static void test_broker_of_another(void **state)
{
	struct broker *broker = broker_new();
	struct terminal *alice;
	struct stat st;

	if (geteuid() != 0)
		SKIP("only root can run a broker as somebody else");
	broker->uid = NOBODY;
	broker_spawn_here(broker, NULL);
	broker_wait_ready(broker);
	directory_take_back(broker);

	assert_int_equal(script_status(broker, "ping"), 77);
	assert_int_equal(script_status(broker, "say lobby secret"), 77);
	alice = terminal_start(broker, 80, "--name", "al1ce");
	terminal_wait(alice, "uid 65534");
	terminal_wait(alice, "[y/N]");
	terminal_type(alice, "n\n");
	terminal_expect_exit(alice, 77);
	assert_int_equal(script_status(broker, "ping"), 77);

	alice = terminal_start(broker, 80, "--name", "al1ce");
	terminal_wait(alice, "[y/N]");
	terminal_type(alice, "y\n");
	terminal_expect_typing(alice, "lobby> ", 7);
	terminal_type(alice, "QUIT\r");
	terminal_expect_exit(alice, 0);
	assert_int_equal(stat(broker_path(broker, "state/chat-client/brokers"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_non_null(
		strstr(file_read(broker_path(broker, "state/chat-client/brokers")), "65534 "));

	/* once is enough */
	alice = terminal_start_named(broker, "al1ce");
	assert_int_equal(terminal_count(alice, "[y/N]"), 0);
	assert_int_equal(script_status(broker, "ping"), 0);

	/* but not when somebody else could have written it */
	assert_int_equal(chmod(broker_path(broker, "state/chat-client/brokers"), 0666), 0);
	assert_int_equal(script_status(broker, "ping"), 77);
	assert_int_equal(unlink(broker_path(broker, "state/chat-client/brokers")), 0);
	assert_int_equal(script_status(broker, "ping"), 77);
	assert_int_equal(setenv("CHAT_BROKER_UID", "65534", 1), 0);
	assert_int_equal(script_status(broker, "ping"), 0);
	unsetenv("CHAT_BROKER_UID");

	/* and a broker of one's own takes its place: the one before is not waited for */
	broker_stop(broker);
	terminal_wait(alice, "the broker was stopped");
	broker->uid = geteuid();
	broker_spawn_here(broker, NULL);
	broker_wait_ready(broker);
	terminal_wait(alice, "-- back");

	/* the other way round it is said whose it is, and nothing is sent */
	broker_stop(broker);
	terminal_wait_count(alice, "the broker was stopped", 2);
	broker->uid = 65534;
	broker_spawn_here(broker, NULL);
	broker_wait_ready(broker);
	terminal_wait(alice, "is now one of");
	terminal_type(alice, "unsent\r");
	terminal_wait(alice, "-- not connected; it is said when the broker is back");
	terminal_type(alice, "\004");
	terminal_wait(alice, "chat-client: some of your lines were not sent");
	terminal_expect_exit(alice, 75);

	/* and a yes that is remembered counts then */
	alice = terminal_start(broker, 80, "--name", "al1ce");
	terminal_wait(alice, "[y/N]");
	terminal_type(alice, "y\n");
	terminal_expect_typing(alice, "lobby> ", 7);
	terminal_type(alice, "QUIT \r");
	terminal_expect_exit(alice, 0);
	broker_stop(broker);
	broker->uid = geteuid();
	broker_spawn_here(broker, NULL);
	broker_wait_ready(broker);
	alice = terminal_start_named(broker, "al1ce");
	broker_stop(broker);
	terminal_wait(alice, "the broker was stopped");
	broker->uid = 65534;
	broker_spawn_here(broker, NULL);
	broker_wait_ready(broker);
	terminal_wait(alice, "-- back");
	broker_stop(broker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TERMINAL_TEST(test_rooms),
		TERMINAL_TEST(test_room_is_deleted),
		TERMINAL_TEST(test_unread),
		TERMINAL_TEST(test_wrong_commands),
		TERMINAL_TEST(test_direct_and_wall),
		TERMINAL_TEST(test_completion),
		TERMINAL_TEST(test_editing_keys),
		TERMINAL_TEST(test_stop),
		TERMINAL_TEST(test_ways_out),
		TERMINAL_TEST(test_keys_that_do_not_leave),
		TERMINAL_TEST(test_kicked),
		TERMINAL_TEST(test_window_is_closed),
		TERMINAL_TEST(test_stopped_and_continued),
		TERMINAL_TEST(test_broker_is_killed),
		TERMINAL_TEST(test_no_broker),
		TERMINAL_TEST(test_broker_of_another),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
