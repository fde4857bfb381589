/* manual_test.c - what EXAMPLES of chat-protocol(7) shows is what happens: the
 * transcript is replayed, the program compiled and run, the line of shell typed in. */
#include "tests/integration/harness.h"
#include "tests/integration/page.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_IN_PAGE "/tmp/broker.sock"

/* What differs from run to run: times, identities, users, the version. */
static bool is_variable(const char *at, const char *line)
{
	static const char *const keys[] = { "log=", "broker=", "uid=" };

	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		if (at - line >= (long)strlen(keys[i]) &&
			!strncmp(at - strlen(keys[i]), keys[i], strlen(keys[i])))
			return true;
	return at[-1] == ' ' && strspn(at, "0123456789") >= 4;
}

static void pattern_of(char *dst, const char *line)
{
	const char *at = line;

	while (*at) {
		if (at > line && is_variable(at, line)) {
			*dst++ = '~';
			at += strcspn(at, " |");
		} else {
			*dst++ = *at == '|' ? '\n' : *at;
			at++;
		}
	}
	*dst = '\0';
}

static void test_transcript(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_open(broker);
	char *text = page_display(CHAT_PROTOCOL_PAGE, "> "), *save, wanted[512];
	unsigned n_sent = 0, n_received = 0;

	text = page_adapt(text, "alice", "al1ce"); /* see harness.h */
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		pattern_of(wanted, line + 2);
		if (!strncmp(line, "> ", 2)) {
			for (char *p = line; (p = strchr(p, '|'));)
				*p = '\n';
			raw_send(raw, "%s", line + 2);
			n_sent++;
		} else if (!strncmp(line, "< ", 2)) {
			raw_expect(raw, "%s", wanted);
			n_received++;
		} else {
			fail_msg("neither sent nor received: %s", line);
		}
	}
	free(text);
	assert_true(n_sent >= 5 && n_received >= 5);
	raw_expect_close(raw);
	broker_stop(broker);
}

static void test_ten_line_program(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *reader = raw_join(broker, "name=reader", "lobby");
	char *text = page_display(CHAT_PROTOCOL_PAGE, "#include <sys/socket.h>");
	const char *const compile[] = { "cc", "-o", "ten", "ten.c", NULL };
	const char *const run[] = { "./ten", NULL };

	text = page_adapt(text, PATH_IN_PAGE, broker->socket);
	file_write(broker_path(broker, "ten.c"), text);
	free(text);
	child_expect_exit(child_run(broker->dir, compile), 0);
	child_expect_exit(child_run(broker->dir, run), 0);
	raw_expect(reader, "MSG lobby 1 ~\nhello");
	broker_stop(broker);
	/* and without a broker it says so */
	child_expect_exit(child_run(broker->dir, run), 1);
}

static void test_line_of_shell(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *reader = raw_join(broker, "name=reader", "lobby");
	char *text = page_adapt(
		page_display(CHAT_PROTOCOL_PAGE, "printf "), PATH_IN_PAGE, broker->socket);
	const char *const run[] = { "sh", "-c", text, NULL };
	const char *const find[] = { "sh", "-c", "command -v socat", NULL };

	if (child_end(child_run(broker->dir, find)) != 0)
		SKIP("there is no socat");
	child_expect_exit(child_run(broker->dir, run), 0);
	free(text);
	raw_expect(reader, "MSG lobby 1 ~\nhello");
	broker_stop(broker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_transcript),
		TEST(test_ten_line_program),
		TEST(test_line_of_shell),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
