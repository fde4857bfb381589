/* admin_test.c - the admin FIFO, and CTL: chat-broker(8), ADMINISTRATION. */
#include "tests/integration/harness.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STRANGER 65534

#define WRITERS      20
#define WRITER_LINES 50

/* A line of the FIFO has been obeyed: the status file is that of this command. */
static const char *ctl_status(struct broker *broker, struct raw *raw, const char *line)
{
	broker_ctl(broker, "%s", line);
	broker_expect(broker, "ctl command=\"%s\"", line);
	raw_expect_quiet(raw); /* the loop went on behind it */
	return file_read(broker_path(broker, "broker.ctl.status"));
}

static void test_commands(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_hello(broker, "name=t3ster");
	struct raw *wall = raw_join(broker, "name=reader", "wall");
	struct raw *room = raw_join(broker, "name=reader", "room"), *silent;
	char wanted[128];
	const char *status;

	status = ctl_status(broker, raw, "STATS");
	assert_non_null(strstr(status, "\nsessions 3\n"));
	snprintf(wanted, sizeof wanted, "pid %d\n", broker->pid);
	assert_non_null(strstr(status, wanted));

	status = ctl_status(broker, raw, "ROOMS");
	snprintf(wanted, sizeof wanted,
		"wall readers=1 first=1 next=1 bytes=0 owner=%u rate=0 retain-bytes=", getuid());
	assert_non_null(strstr(status, wanted));
	assert_non_null(strstr(status, "\nroom readers=1 "));

	silent = raw_open(broker);
	raw_send(silent, "HELLO");
	raw_expect(silent, "*");
	status = ctl_status(broker, raw, "WHO");
	snprintf(wanted, sizeof wanted, "t3ster %u ", getuid());
	assert_ptr_equal(strstr(status, wanted), status);
	snprintf(wanted, sizeof wanted, " pid=%d since=", getpid());
	assert_non_null(strstr(status, wanted));

	assert_string_equal(ctl_status(broker, raw, "SAY room two words"), "room 1\n");
	raw_expect(room, "MSG room 1 ~ broker %u\ntwo words", getuid());
	assert_string_equal(ctl_status(broker, raw, "WALL to all of you"), "wall 1\n");
	raw_expect(wall, "MSG wall 1 ~ broker %u\nto all of you", getuid());
	assert_non_null(strstr(ctl_status(broker, raw, "LOGLEVEL debug"), "debug"));
	assert_non_null(strstr(ctl_status(broker, raw, "LOGLEVEL info"), "info"));

	assert_string_equal(ctl_status(broker, raw, "KICK reader be quiet"), "2 sessions\n");
	raw_expect(wall, "BYE KICKED be quiet");
	raw_expect_close(wall);
	raw_expect(room, "BYE KICKED be quiet");
	raw_expect_close(room);
	broker_expect(broker, "kicked name=reader sessions=2");
	raw_expect_quiet(raw);
	broker_stop(broker);
}

static void test_commands_that_are_refused(void **state)
{
	static const char *const lines[] = { "stats", "FOO", "SAY", "SAY room", "SAY Room text",
		"SAY room ", "WALL", "KICK", "KICK nobody.has.this", "LOGLEVEL", "LOGLEVEL loud",
		" STATS", "HELLO 1", "\xff" };
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_hello(broker, "name=t3ster");

	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		const char *status;

		broker_ctl(broker, "%s", lines[i]);
		broker_expect(broker, "ctl refused: ");
		raw_expect_quiet(raw);
		status = file_read(broker_path(broker, "broker.ctl.status"));
		if (strncmp(status, "refused: ", 9) != 0)
			fail_msg("%s: %s", lines[i], status);
	}
	broker_stop(broker);
}

/* Commands come in whatever pieces they like. */
static void test_lines(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_join(broker, "name=t3ster", "room");
	static char line[8192];

	broker_ctl_bytes(broker, "SAY room one\nSAY room two\r\n\n\nSAY ro", 35);
	raw_expect(raw, "MSG room 1 ~\none");
	raw_expect(raw, "MSG room 2 ~\ntwo");
	broker_ctl_bytes(broker, "om th", 5);
	broker_ctl_bytes(broker, "ree\n", 4);
	raw_expect(raw, "MSG room 3 ~\nthree");

	/* 4096 bytes are a line, one more is none; the next is not harmed */
	memset(line, 'x', sizeof line);
	memcpy(line, "SAY room ", 9);
	line[4096] = '\n';
	broker_ctl_bytes(broker, line, 4097);
	assert_int_equal(strlen(strchr(raw_expect(raw, "MSG room 4 ~"), '\n') + 1), 4096 - 9);
	line[4096] = 'x';
	line[4097] = '\n';
	broker_ctl_bytes(broker, line, 4098);
	broker_expect(broker, "warning: ctl lines dropped count=1 ");
	line[4097] = 'x';
	line[8191] = '\n';
	broker_ctl_bytes(broker, line, 8192);
	broker_expect(broker, "warning: ctl lines dropped count=1 ");
	broker_ctl(broker, "SAY room five");
	raw_expect(raw, "MSG room 5 ~\nfive");
	raw_expect_quiet(raw);
	broker_stop(broker);
}

static void test_half_a_line(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_join(broker, "name=t3ster", "room");
	uint64_t start = clock_ms();

	broker_ctl_bytes(broker, "SAY room half", 13);
	raw_expect_quiet(raw);
	broker_expect(broker, "warning: ctl line dropped reason=\"its end did not come\"");
	assert_true(clock_ms() - start >= 2000);
	broker_ctl_bytes(broker, " a line\nSAY room whole\n", 23);
	broker_expect(broker, "ctl refused: ");
	raw_expect(raw, "MSG room 1 ~\nwhole");
	raw_expect_quiet(raw);
	broker_stop(broker);
}

static void test_junk(void **state)
{
	static unsigned char junk[1 << 16];
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_join(broker, "name=t3ster", "room");
	unsigned seed = 1;

	for (size_t i = 0; i < sizeof junk; i++)
		junk[i] = (unsigned char)((seed = seed * 1103515245 + 12345) >> 16);
	broker_ctl_bytes(broker, junk, sizeof junk);
	memset(junk, 0, sizeof junk);
	broker_ctl_bytes(broker, junk, sizeof junk);
	broker_ctl(broker, "\nSAY room still there");
	raw_expect(raw, "MSG room 1 ~\nstill there");
	broker_stop(broker);
}

static void write_lines(const struct broker *broker, int writer)
{
	int fd = open(broker->ctl, O_WRONLY);

	for (int i = 0; i < WRITER_LINES; i++) {
		char line[512];
		int n = snprintf(line, sizeof line, "SAY room %d %d %0400d\n", writer, i, 7);

		if (write(fd, line, (size_t)n) != n)
			_exit(1);
	}
	_exit(0);
}

static void test_many_writers(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_join(broker, "name=t3ster", "room");
	int next[WRITERS] = { 0 };
	pid_t writers[WRITERS];

	for (int i = 0; i < WRITERS; i++) {
		writers[i] = child_fork();
		if (writers[i] == 0)
			write_lines(broker, i);
	}
	for (int i = 1; i <= WRITERS * WRITER_LINES; i++) {
		const char *body = strchr(raw_expect(raw, "MSG room %d ~", i), '\n') + 1;
		int writer, line, seven;

		assert_int_equal(sscanf(body, "%d %d %d", &writer, &line, &seven), 3);
		assert_true(writer >= 0 && writer < WRITERS && seven == 7);
		assert_int_equal(line, next[writer]++);
	}
	for (int i = 0; i < WRITERS; i++)
		child_expect_exit(writers[i], 0);
	raw_expect_quiet(raw);
	broker_stop(broker);
}

static void test_fifo_is_made_again(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_join(broker, "name=t3ster", "room");
	unsigned n_descriptors = broker_descriptors(broker);
	struct stat st;

	for (int i = 1; i <= 5; i++) {
		if (i == 3)
			rename(broker->ctl, broker_path(broker, "moved"));
		else
			unlink(broker->ctl);
		broker_expect(broker, "warning: ctl vanished path=%s", broker->ctl);
		assert_int_equal(lstat(broker->ctl, &st), 0);
		assert_true(S_ISFIFO(st.st_mode));
		assert_int_equal(st.st_mode & 07777, 0600);
		broker_ctl(broker, "SAY room %d", i);
		raw_expect(raw, "MSG room %d ~\n%d", i, i);
	}
	assert_int_equal(broker_descriptors(broker), n_descriptors);
	broker_stop(broker);
}

/* What was written before it vanished is obeyed. */
static void test_written_and_removed(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_join(broker, "name=t3ster", "room");

	broker_signal(broker, SIGSTOP);
	broker_ctl(broker, "SAY room before");
	unlink(broker->ctl);
	broker_signal(broker, SIGCONT);
	broker_expect(broker, "ctl vanished");
	broker_ctl(broker, "SAY room after");
	raw_expect(raw, "MSG room 1 ~\nbefore");
	raw_expect(raw, "MSG room 2 ~\nafter");
	broker_stop(broker);
}

static void test_without_fifo(void **state)
{
	struct broker *broker = broker_new();
	const char *const options[] = { "--socket", broker->socket, "--ctl", "none", "--ephemeral",
		NULL };
	struct raw *raw;

	broker_spawn(broker, options);
	broker_expect(broker, "ready socket=%s ctl=- ", broker->socket);
	assert_int_equal(directory_count(broker->dir), 2);
	raw = raw_hello(broker, "name=t3ster");
	raw_send(raw, "#1 CTL LOGLEVEL info");
	raw_expect(raw, "#1 + ~");
	raw_expect(raw, "#1 *");
	broker_stop(broker);
}

/* A status file of another user, or a link, is not written through. */
static void test_status_is_squatted(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_hello(broker, "name=t3ster");
	const char *victim = broker_path(broker, "victim");
	const char *status = broker_path(broker, "broker.ctl.status");

	file_write(victim, "precious");
	assert_int_equal(symlink(victim, status), 0);
	broker_ctl(broker, "STATS");
	broker_expect(broker, "ctl command=\"STATS\"");
	raw_expect_quiet(raw);
	assert_string_equal(file_read(victim), "precious");
	unlink(status);
	status = broker_path(broker, "broker.ctl.status.new");
	assert_int_equal(symlink(victim, status), 0);
	broker_ctl(broker, "STATS");
	broker_expect(broker, "ctl command=\"STATS\"");
	raw_expect_quiet(raw);
	assert_string_equal(file_read(victim), "precious");
	unlink(status);
	broker_stop(broker);
}

static void test_ctl_requests(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_hello(broker, "name=t3ster");
	struct raw *room = raw_join(broker, "name=reader", "room");

	raw_send(raw, "#1 CTL STATS");
	while (strcmp(raw_expect(raw, "#1 ~"), "#1 *") != 0)
		;
	raw_send(raw, "#2 CTL ROOMS");
	raw_expect(raw, "#2 + room readers=1 first=1 next=1 bytes=0 owner=%u rate=0 ~", getuid());
	raw_expect(raw, "#2 *");
	raw_send(raw, "#3 CTL WHO");
	raw_expect(raw, "#3 + t3ster %u ~pid=%d since=~", getuid(), getpid());
	raw_expect(raw, "#3 + reader %u ~pid=%d since=~", getuid(), getpid());
	raw_expect(raw, "#3 *");
	raw_send(raw, "#4 CTL SAY room two words");
	raw_expect(raw, "#4 + room 1");
	raw_expect(raw, "#4 *");
	raw_expect(room, "MSG room 1 ~ broker %u\ntwo words", getuid());
	raw_send(raw, "#5 CTL WALL hello");
	raw_expect(raw, "#5 + wall 1");
	raw_expect(raw, "#5 *");
	raw_send(raw, "#6 CTL KICK reader");
	raw_expect(raw, "#6 + 1 sessions");
	raw_expect(raw, "#6 *");
	raw_expect(room, "BYE KICKED");
	raw_expect_close(room);
	raw_send(raw, "#7 CTL KICK reader");
	raw_expect(raw, "#7 ! ARGS ~");
	raw_send(raw, "CTL LOGLEVEL loud");
	raw_expect(raw, "! ARGS CTL LOGLEVEL ~");
	assert_false(file_exists(broker_path(broker, "broker.ctl.status")));
	raw_send(raw, "#8 CTL KICK t3ster that is me");
	raw_await(raw, "BYE KICKED that is me");
	raw_expect_close(raw);
	broker_stop(broker);
}

static void test_others_may_not(void **state)
{
	struct broker *broker;
	struct raw *raw;

	if (geteuid() != 0)
		SKIP("only root has two users");
	broker = broker_start(NULL);
	raw = raw_hello_as(broker, STRANGER, "name=stranger");
	raw_send(raw, "#1 CTL STATS");
	raw_expect(raw, "#1 ! DENIED ~");
	broker_expect(broker, "denied uid=%u pid=%d what=CTL", STRANGER, getpid());
	raw_send(raw, "CTL STOP");
	raw_expect(raw, "! DENIED CTL STOP ~");
	raw_send(raw, "#2 STOP");
	raw_expect(raw, "#2 ! DENIED ~");
	raw_send(raw, "#3 SAY wall\nI am somebody");
	raw_expect(raw, "#3 ! DENIED ~");
	raw_send(raw, "#4 JOIN wall");
	raw_expect(raw, "#4 * 1 ~");
	broker_ctl(broker, "WALL to all");
	raw_expect(raw, "MSG wall 1 ~ broker 0\nto all");
	raw_send(raw, "SAY wall\nme, too"); /* now that it was spoken in */
	raw_expect(raw, "! DENIED SAY wall ~");
	raw_expect_quiet(raw);
	broker_stop(broker);

	/* root may, also where the broker is somebody else's */
	broker = broker_new();
	broker->uid = STRANGER;
	broker_spawn_here(broker, NULL);
	broker_wait_ready(broker);
	raw = raw_hello_as(broker, 1, "");
	raw_send(raw, "#1 CTL STATS");
	raw_expect(raw, "#1 ! DENIED ~");
	raw = raw_hello_as(broker, STRANGER, "");
	raw_send(raw, "#1 CTL LOGLEVEL info");
	raw_expect(raw, "#1 + ~");
	raw_expect(raw, "#1 *");
	raw = raw_hello(broker, "");
	raw_send(raw, "#1 STOP");
	raw_expect(raw, "#1 *");
	broker_expect_exit(broker, 0);
	assert_int_equal(directory_count(broker->dir), 0);
}

/* A user who is refused again and again fills no log, and hides nobody else's lines. */
static void test_refusals_are_counted(void **state)
{
	struct broker *broker;
	struct raw *raw, *other;
	unsigned long n_left_out;
	const char *line;
	unsigned n;

	if (geteuid() != 0)
		SKIP("only root has two users");
	broker = broker_start(NULL);
	other = raw_hello_as(broker, 1, "");
	raw = raw_hello_as(broker, STRANGER, "");
	for (unsigned i = 0; i < 3000; i++) {
		raw_send(raw, "#1 CTL STATS");
		raw_expect(raw, "#1 ! DENIED ~");
	}
	raw_send(other, "#1 CTL STATS");
	raw_expect(other, "#1 ! DENIED ~");
	broker_expect(broker, "warning: denied uid=1 pid=%d what=CTL", getpid());
	/* none follows, and they are counted all the same */
	line = strstr(
		broker_expect(broker, "warning: uid=%u: ~ lines were left out", STRANGER), "uid=");
	assert_int_equal(sscanf(line, "uid=65534: %lu", &n_left_out), 1);
	n = broker_count(broker, "denied uid=65534 ~");
	assert_in_range(n, 10, 100);
	/* of some more lines, with the next one */
	if (n + n_left_out != 3000)
		assert_true(broker_count(broker, "uid=65534: ~ lines were left out") > 1);
	broker_stop(broker);
}

/* Nor do those who may write to the FIFO hide what users cause. */
static void test_commands_are_counted(void **state)
{
	struct broker *broker;
	struct raw *raw;

	if (geteuid() != 0)
		SKIP("only root has two users");
	broker = broker_start(NULL);
	raw = raw_hello_as(broker, STRANGER, "");
	for (unsigned i = 0; i < 500; i++)
		broker_ctl(broker, "NONSENSE");
	broker_ctl(broker, "SAY lobby done");
	raw_send(raw, "#j JOIN lobby last=1");
	while (!pattern_matches("MSG lobby 1 ~\ndone", raw_next(raw)))
		;
	raw_send(raw, "#1 CTL STATS");
	raw_expect(raw, "#1 ! DENIED ~");
	broker_expect(broker, "denied uid=%u pid=%d what=CTL", STRANGER, getpid());
	broker_expect(broker, "warning: ctl: ~ lines were left out");
	assert_true(broker_count(broker, "ctl command=~NONSENSE~") < 300);
	broker_stop(broker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_commands),
		TEST(test_commands_that_are_refused),
		TEST(test_lines),
		TEST(test_half_a_line),
		TEST(test_junk),
		TEST(test_many_writers),
		TEST(test_fifo_is_made_again),
		TEST(test_written_and_removed),
		TEST(test_without_fifo),
		TEST(test_status_is_squatted),
		TEST(test_refusals_are_counted),
		TEST(test_commands_are_counted),
		TEST(test_ctl_requests),
		TEST(test_others_may_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
