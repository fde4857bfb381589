/* examples_test.c - what EXAMPLES of chat-client(1), chat-broker(8) and libchat(3) shows
 * works as it stands there. For those of chat-protocol(7) see manual_test.c.
 *
 * Where a page means the usual paths, the shell that runs the example finds programs
 * of that name which go to the test's own. */
#include "tests/integration/page.h"
#include "tests/integration/program.h"
#include "tests/integration/terminal.h"

#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CLIENT_PAGE  CHAT_ROOT "/man/chat-client.1"
#define BROKER_PAGE  CHAT_ROOT "/man/chat-broker.8"
#define LIBRARY_PAGE CHAT_ROOT "/man/libchat.3"

static int examples_setup(void **state)
{
	return terminal_setup(state) || program_setup(state);
}

static int examples_teardown(void **state)
{
	return program_teardown(state) || terminal_teardown(state);
}

/* ---- a shell ---- */

/* Make BIN/NAME run PROGRAM with ARGUMENTS before its own. */
static void bin_add(
	const struct broker *broker, const char *name, const char *program, const char *arguments)
{
	char path[128], text[512];

	snprintf(path, sizeof path, "%s/%s", broker_path(broker, "bin"), name);
	snprintf(text, sizeof text, "#!/bin/sh\nexec '%s' %s \"$@\"\n", program, arguments);
	file_write(path, text);
	assert_int_equal(chmod(path, 0755), 0);
}

static struct program *shell_start(const struct broker *broker, const char *text)
{
	static char path[1024], uninstalled[512], library[512], home[160];
	char arguments[160];
	const struct program_config config = {
		.path = "sh",
		.environment = { path, uninstalled, library, home },
	};

	snprintf(path, sizeof path, "PATH=%s:%s", broker_path(broker, "bin"), getenv("PATH"));
	snprintf(uninstalled, sizeof uninstalled,
		"PKG_CONFIG_PATH=" CHAT_BUILD "/meson-uninstalled");
	snprintf(library, sizeof library, "LD_LIBRARY_PATH=" CHAT_BUILD "/client");
	/* where brokers store that are not told where */
	snprintf(home, sizeof home, "XDG_STATE_HOME=%s", broker->dir);
	if (mkdir(broker_path(broker, "bin"), 0755) < 0 && errno != EEXIST)
		fail_msg("mkdir: %s", strerror(errno));
	snprintf(arguments, sizeof arguments, "--socket '%s' --ctl '%s'", broker->socket,
		broker->ctl);
	bin_add(broker, "chat-broker", getenv("CHAT_BROKER"), arguments);
	bin_add(broker, "own-broker", getenv("CHAT_BROKER"), "");
	bin_add(broker, "chat-client", getenv("CHAT_CLIENT"), "");
	return program_start_as(broker, &config, "-euc", text);
}

/* Run it; it must exit with 0, say nothing on standard error but ERR, and print OUT. */
static void shell_check(const struct broker *broker, char *text, const char *out, const char *err)
{
	struct program *shell = shell_start(broker, text);

	program_put_end(shell);
	program_expect_exit(shell, 0);
	if (!pattern_matches(out, text_of(shell->out.text)))
		fail_msg("%sprinted: %s", text, shell->out.text);
	if (!pattern_matches(err, text_of(shell->err.text)))
		fail_msg("%scomplained: %s", text, shell->err.text);
	free(text);
}

/* A page has these examples, and no others: a new one wants a test. */
static void check_displays(const char *page, const char *const starts[], size_t n)
{
	char *displays[DISPLAYS_MAX];
	size_t n_displays = page_displays(page, displays);

	for (size_t i = 0; i < n_displays; i++) {
		if (i >= n || strncmp(displays[i], starts[i], strlen(starts[i])) != 0)
			fail_msg("%s: no test of this example: %s", page, displays[i]);
		free(displays[i]);
	}
	assert_int_equal(n_displays, n);
}

static void test_all_are_tested(void **state)
{
	static const char *const client[] = { "chat-client lobby", "chat-client say lobby", "uname",
		"chat-client listen lobby --last", "chat-client listen build.ci",
		"chat-client listen lobby --json", "chat-client ping" };
	static const char *const broker[] = { "chat-broker &", "chat-broker --socket",
		"chat-broker --mode", "chat-broker --state", "chat-broker --verify",
		"chat-broker --limits" };
	static const char *const library[] = { "#include", "#include" };

	check_displays(CLIENT_PAGE, client, ARRAY_LEN(client));
	check_displays(BROKER_PAGE, broker, ARRAY_LEN(broker));
	check_displays(LIBRARY_PAGE, library, ARRAY_LEN(library));
}

/* ---- chat-client(1) ---- */

static void test_talk(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *bob = raw_hello(broker, "name=b0b");
	char *text = page_display(CLIENT_PAGE, "chat-client lobby"), *save;
	const char *words[8] = { NULL };
	struct terminal *terminal;
	size_t n = 0;

	strtok_r(text, " \n", &save);
	while (n < ARRAY_LEN(words) - 1 && (words[n] = strtok_r(NULL, " \n", &save)))
		n++;
	terminal = terminal_start_with(broker, &(struct terminal_config){ 0 }, words);
	terminal_expect_typing(terminal, "lobby> ", 7);
	raw_send(bob, "SAY build.ci\n1041 tests, all well");
	terminal_wait(terminal, " [build.ci] b0b");
	terminal_type(terminal, "QUIT\r");
	terminal_expect_exit(terminal, 0);
	free(text);
	broker_stop(broker);
}

static void test_say(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *lobby = raw_join(broker, "name=lobby-reader", "lobby");
	struct raw *build = raw_join(broker, "name=build-reader", "build.ci");

	shell_check(broker, page_display(CLIENT_PAGE, "chat-client say lobby"), "", "");
	raw_expect(lobby, "MSG lobby 1 ~\nlunch in five minutes");
	raw_expect(lobby, "MSG lobby 2 ~\n-5 degrees outside");
	shell_check(broker, page_display(CLIENT_PAGE, "uname"), "", "");
	raw_expect(build, "MSG build.ci 1 ~\nLinux ~");
	raw_expect(lobby, "MSG lobby 3 ~\n~20~");
	raw_expect_quiet(lobby);
	broker_stop(broker);
}

static void test_listen(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *bob = raw_hello(broker, "name=b0b");
	char *text = page_display(CLIENT_PAGE, "chat-client listen build.ci");
	struct program *shell;

	for (int i = 1; i <= 12; i++)
		raw_send(bob, "SAY lobby\nmessage %d", i);
	raw_expect_quiet(bob);
	shell_check(broker, page_display(CLIENT_PAGE, "chat-client listen lobby --last"),
		"~ lobby b0b~: message 3\n~ lobby b0b~: message 12\n", "listening lobby from 3\n");
	shell_check(broker, page_display(CLIENT_PAGE, "chat-client listen lobby --json"),
		"{~message 10~}\n{~message 11~}\n{~message 12~}\n", "listening lobby from 10\n");

	shell = shell_start(broker, text);
	program_wait_err(shell, "listening build.ci from 1\n");
	raw_send(bob, "SAY build.ci\ndone");
	program_expect_exit(shell, 0);
	if (!pattern_matches("~ build.ci b0b~: done\n", text_of(shell->out.text)))
		fail_msg("printed: %s", shell->out.text);
	/* nobody wants to wait so long for nothing */
	shell_check(broker, page_adapt(text, "--timeout 5", "--timeout 0.1"), "silence: 124\n",
		"listening build.ci from 2\n");
	broker_stop(broker);
}

static void test_questions(void **state)
{
	struct broker *broker = broker_start(NULL);

	/* a room that nobody has been in is none */
	(void)raw_join(broker, "name=b0b", "lobby");
	shell_check(broker, page_display(CLIENT_PAGE, "chat-client ping"),
		"~ us\nb0b ~ since=~\n~lobby readers=1~\n20~Z\n", "");
	broker_stop(broker);
}

/* ---- chat-broker(8) ---- */

/* Run a broker of the page in a shell; what comes after is up to the caller. */
static struct program *start_broker(const struct broker *broker, const char *text)
{
	struct program *shell = shell_start(broker, text);

	program_wait_err(shell, "chat-broker: ready ");
	return shell;
}

/* The two lines are typed by a person, who sees that it is ready before the second. */
static void test_serve_and_stop(void **state)
{
	struct broker *broker = broker_new();
	char *text = page_adapt(
		page_display(BROKER_PAGE, "chat-broker &"), "/tmp/broker.ctl", broker->ctl);
	char *second = strchr(text, '\n') + 1, *amp = strstr(text, " &\n");
	struct program *first;

	assert_ptr_equal(amp + 3, second);
	*amp = '\0';
	first = start_broker(broker, text);
	shell_check(broker, strdup(second), "", "");
	program_expect_exit(first, 0);
	assert_false(file_exists(broker->ctl));
	free(text);
}

/* Run one that does not end by itself; returns it, ready. It is the shell's process. */
static void check_broker(const struct broker *broker, const char *text, const char *socket)
{
	char line[512];
	struct program *shell;

	snprintf(line, sizeof line, "exec %s", text);
	shell = start_broker(broker, line);
	program_check(broker, 0, "", "~ us\n", "", "--socket", socket, "ping");
	assert_int_equal(kill(shell->pid, SIGTERM), 0);
	program_expect_exit(shell, 0);
	assert_false(file_exists(socket));
}

static void test_broker_of_ones_own(void **state)
{
	struct broker *broker = broker_new();
	char *text = page_adapt(
		page_display(BROKER_PAGE, "chat-broker --socket"), "chat-broker", "own-broker");

	check_broker(broker, text, broker_path(broker, "test.sock"));
	free(text);
}

static void test_broker_of_a_group(void **state)
{
	struct broker *broker = broker_new();
	struct group *group = getgrgid(getegid());
	char *text = page_display(BROKER_PAGE, "chat-broker --mode");
	char user[32];

	/* a group that this user may give files to, and a user that there is */
	if (!group)
		SKIP("this process's group has no name");
	text = page_adapt(text, "--group staff", "--group \"$(id -gn)\"");
	snprintf(user, sizeof user, "%u:", geteuid());
	text = page_adapt(text, "monitor:", user);
	check_broker(broker, text, broker->socket);
	free(text);
}

static void test_stored(void **state)
{
	struct broker *broker = broker_new();
	const char *path = broker_path(broker, "state");
	char *text = page_adapt(
		page_display(BROKER_PAGE, "chat-broker --state"), "/var/lib/chat-broker", path);
	struct program *shell;
	char line[512];

	snprintf(line, sizeof line, "exec %s", text);
	shell = start_broker(broker, line);
	program_check(broker, 0, "", "", "", "say", "lobby", "kept");
	assert_int_equal(kill(shell->pid, SIGTERM), 0);
	program_expect_exit(shell, 0);
	free(text);
	text = page_adapt(
		page_display(BROKER_PAGE, "chat-broker --verify"), "/var/lib/chat-broker", path);
	shell_check(broker, text,
		"lobby first=1 next=2 bytes=~\ngood: rooms=1 records=1\nMSG lobby 1 ~\tkept\n", "");
}

static void test_limits_file(void **state)
{
	struct broker *broker = broker_new();
	char *text = page_display(BROKER_PAGE, "chat-broker --limits");
	const char *path = broker_path(broker, "limits");

	file_write(path, "connections=64\n");
	broker_spawn_here(broker, "--limits", path, NULL);
	broker_wait_ready(broker);
	text = page_adapt(text, "/etc/chat-broker.limits", path);
	text = page_adapt(text, "/tmp/broker.sock", broker->socket);
	shell_check(broker, strdup(text), "~", "~");
	broker_expect(broker, "limits read file=%s", path);

	/* a wrong one is not read */
	file_write(path, "nonsense\n");
	text = page_adapt(text, "&&", "2>/dev/null || echo \"wrong: $?\" #");
	shell_check(broker, text, "wrong: 78\n", "");
	broker_stop(broker);
	assert_int_equal(broker_count(broker, "limits read"), 1);
}

/* ---- libchat(3) ---- */

/* Compile the display that has WORD in it, as the page says. */
static void compile(const struct broker *broker, const char *word)
{
	char *displays[DISPLAYS_MAX], text[512];
	size_t n = page_displays(LIBRARY_PAGE, displays);
	unsigned n_found = 0;

	for (size_t i = 0; i < n; i++) {
		if (strstr(displays[i], word)) {
			file_write(broker_path(broker, "x.c"), displays[i]);
			n_found++;
		}
		free(displays[i]);
	}
	assert_int_equal(n_found, 1);
	assert_non_null(
		strstr(file_read(LIBRARY_PAGE), "cc x.c $(pkg-config --cflags --libs chat)"));
	snprintf(text, sizeof text,
		CHAT_CC " -Wall -Wextra -Werror -std=c99 -pedantic -fsanitize=%s "
			"x.c $(pkg-config --cflags --libs chat) -o x",
		CHAT_SANITIZE);
	if (strcmp(CHAT_SANITIZE, "none") == 0)
		snprintf(text, sizeof text,
			CHAT_CC " -Wall -Wextra -Werror -std=c99 -pedantic "
				"x.c $(pkg-config --cflags --libs chat) -o x");
	shell_check(broker, strdup(text), "", "");
}

static void test_program_that_listens(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *bob = raw_hello(broker, "name=b0b");
	struct program *program;

	compile(broker, "chat_receive");
	for (int i = 1; i <= 12; i++)
		raw_send(bob, "SAY build.ci\nmessage %d", i);
	raw_expect_quiet(bob);
	program = shell_start(broker, "exec ./x build.ci");
	program_wait_out(program, "b0b: message 12\n");
	assert_ptr_equal(strstr(program->out.text, "b0b: "), program->out.text);
	assert_non_null(strstr(program->out.text, "b0b: message 3\n"));
	assert_null(strstr(program->out.text, "b0b: message 2\n"));
	raw_send(bob, "SAY build.ci\nat once");
	program_wait_out(program, "b0b: at once\n");
	broker_kill9(broker);
	broker_spawn_here(broker, NULL);
	broker_wait_ready(broker);
	program_wait_out(program, "some messages are gone: reset\n");
	kill(program->pid, SIGKILL);

	/* and where there is no broker */
	broker_stop(broker);
	program = shell_start(broker, "./x || echo \"status $?\"");
	program_wait_err(program, "no broker answers at ");
	program_wait_out(program, "status 1\n");
}

static void test_program_that_says(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *reader = raw_join(broker, "name=reader", "lobby");
	struct program *program;

	compile(broker, "chat_flush");
	program = shell_start(broker, "./x");
	program_put(program, "one\ntwo\n", 8);
	program_put_end(program);
	program_expect_exit(program, 0);
	raw_expect(reader, "MSG lobby 1 ~\none");
	raw_expect(reader, "MSG lobby 2 ~\ntwo");
	program = shell_start(broker, "./x @nobody.there || echo \"status $?\"");
	program_put(program, "one\ntwo\n", 8);
	program_put_end(program);
	program_expect_exit(program, 0);
	assert_string_equal(program->out.text, "status 1\n");
	assert_string_equal(program->err.text, "2 lines were refused\n");
	broker_stop(broker);
}

int main(void)
{
#define EXAMPLES_TEST(function)                                                                    \
	cmocka_unit_test_setup_teardown(function, examples_setup, examples_teardown)
	const struct CMUnitTest tests[] = {
		EXAMPLES_TEST(test_all_are_tested),
		EXAMPLES_TEST(test_talk),
		EXAMPLES_TEST(test_say),
		EXAMPLES_TEST(test_listen),
		EXAMPLES_TEST(test_questions),
		EXAMPLES_TEST(test_serve_and_stop),
		EXAMPLES_TEST(test_broker_of_ones_own),
		EXAMPLES_TEST(test_broker_of_a_group),
		EXAMPLES_TEST(test_stored),
		EXAMPLES_TEST(test_limits_file),
		EXAMPLES_TEST(test_program_that_listens),
		EXAMPLES_TEST(test_program_that_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
