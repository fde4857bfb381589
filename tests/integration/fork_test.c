/* fork_test.c - a program forks with an open chat: calls of the child return -ECHILD and
 * cost the parent nothing. libchat(3), section Forking. */
#include "tests/integration/fast_talk.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* A CONDITION that is false ends the child. */
#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);    \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)

static void check_foreign(struct chat *chat, const char *room)
{
	struct chat_event event;
	uint64_t next;

	CHECK(chat_send(chat, room, "child", 5, 0) == -ECHILD);
	CHECK(chat_send(chat, room, "child", 5, CHAT_FAST | CHAT_MORE) == -ECHILD);
	CHECK(chat_send(chat, room, "child", 5, CHAT_NONBLOCK) == -ECHILD);
	CHECK(strstr(chat_error(chat), "parent process"));
	CHECK(chat_flush(chat, -1) == -ECHILD);
	CHECK(chat_receive(chat, &event, -1) == -ECHILD);
	CHECK(chat_receive(chat, &event, 0) == -ECHILD);
	CHECK(chat_join(chat, room, CHAT_NEW, 0, CHAT_FAST, &next) == -ECHILD);
	CHECK(chat_part(chat, room) == -ECHILD);
	CHECK(chat_seen(chat, room, 1) == -ECHILD);
	CHECK(chat_request(chat, "PING", NULL, 0, -1, NULL, NULL, NULL) == -ECHILD);
	CHECK(chat_fd(chat) == -ECHILD);
	CHECK(!chat_is_up(chat));
	CHECK(strlen(chat_name(chat)) > 0 && strlen(chat_socket(chat)) > 0);
}

static unsigned count_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	if (!dir)
		return 0;
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* Where this process has mapped the ring that it speaks through. */
static void *find_ring(size_t *ret_len)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned long start = 0, end = 0;
	char line[512];
	bool found = false;

	assert_non_null(maps);
	while (!found && fgets(line, sizeof line, maps))
		found = strstr(line, "chat-ring") && strstr(line, " rw-s ") &&
			sscanf(line, "%lx-%lx", &start, &end) == 2;
	fclose(maps);
	if (!found)
		return NULL;
	*ret_len = end - start;
	return (void *)start;
}

/* CHAT and READER in a child: each call, the close of both, a mapping in the place of the
 * ring, which is not mapped there, and a chat of the child's own. */
static void run_child(
	const struct broker *broker, struct chat *chat, struct chat *reader, unsigned flags)
{
	unsigned n_before = count_descriptors(), n_after;
	struct chat_config config = { .socket = broker->socket, .name = "ch1ld" };
	struct chat *own;
	size_t len = 0;
	void *ring = find_ring(&len), *here = NULL;
	pid_t pid;

	pid = child_fork();
	if (pid > 0) {
		child_expect_exit(pid, 0);
		return;
	}
	if (ring) {
		here = mmap(ring, len, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
		CHECK(here == ring);
	}
	check_foreign(chat, "room");
	check_foreign(reader, "room");
	CHECK(!chat_close(chat));
	CHECK(!chat_close(reader));
	n_after = count_descriptors();
	CHECK(n_after + 8 <= n_before); /* of each: epoll, timer, eventfd, socket */
	if (here)
		memset(here, 1, len);
	CHECK(chat_open(&own, &config) == 0);
	CHECK(chat_send(own, "room", "of the child", 12, flags) == 0);
	CHECK(chat_flush(own, DEADLINE_MS) == 0);
	chat_close(own);
	CHECK(count_descriptors() == n_after);
	_exit(0);
}

/* The answer of poll(2) in the parent is still true. */
static void expect_poll(struct chat *reader, bool is_readable)
{
	struct pollfd watch = { chat_fd(reader), POLLIN, 0 };

	assert_int_equal(poll(&watch, 1, is_readable ? DEADLINE_MS : 0), is_readable);
}

static void fork_with(unsigned flags, bool is_polled)
{
	struct broker *broker = broker_start(NULL);
	struct chat *chat = open_named(broker, "sp3aker"), *reader = open_named(broker, "r3ader");

	if (is_polled)
		assert_true(chat_fd(reader) >= 0);
	join_fast(reader, "room", flags);
	if (flags)
		warm_up(chat, reader, "room", flags);
	for (unsigned i = 0; i < 3; i++) {
		put(chat, "room", flags, "before");
		flush(chat);
		expect_body(reader, "before");
		run_child(broker, chat, reader, flags);
		expect_body(reader, "of the child");
		expect_nothing(reader);
		if (is_polled)
			expect_poll(reader, false);
		/* the wake-up works, and nothing is taken for what was said before */
		put(chat, "room", flags, "of the parent");
		flush(chat);
		if (is_polled)
			expect_poll(reader, true);
		expect_body(reader, "of the parent");
		expect_nothing(reader);
		assert_true(chat_is_up(chat) && chat_is_up(reader));
	}
	chat_close(chat);
	chat_close(reader);
	broker_stop(broker);
}

static void test_socket(void **state)
{
	fork_with(0, false);
	fork_with(0, true);
}

static void test_rings(void **state)
{
	fork_with(CHAT_FAST, false);
	fork_with(CHAT_FAST, true);
	fork_with(FREE, false);
	fork_with(FREE, true);
}

/* A reader that sleeps on its semaphore is woken though a child closed its copy. */
static void test_sleeper(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct chat *chat = open_named(broker, "sp3aker"), *reader = open_named(broker, "r3ader");
	pid_t pid;

	join_fast(reader, "room", FREE);
	warm_up(chat, reader, "room", FREE);
	run_child(broker, chat, reader, FREE);
	expect_body(reader, "of the child");
	pid = child_fork();
	if (pid == 0) {
		struct chat_config config = { .socket = broker->socket, .name = "w4ker" };
		struct chat *own;

		chat_close(reader);
		CHECK(chat_open(&own, &config) == 0);
		CHECK(chat_send(own, "room", "wake up", 7, FREE) == 0);
		CHECK(chat_flush(own, DEADLINE_MS) == 0);
		_exit(0);
	}
	expect_body(reader, "wake up");
	child_expect_exit(pid, 0);
	chat_close(chat);
	chat_close(reader);
	broker_stop(broker);
}

/* A chat that has ended, or was never open, is not the child's either. */
static void test_never_open(void **state)
{
	struct chat_config config = { .socket = "/tmp/chat-test-no-such-directory/s" };
	struct chat *chat;
	pid_t pid;

	assert_int_equal(chat_open(&chat, &config), -ECONNREFUSED);
	pid = child_fork();
	if (pid == 0) {
		CHECK(chat_send(chat, "room", "x", 1, 0) == -ECHILD);
		CHECK(!chat_close(chat));
		_exit(0);
	}
	child_expect_exit(pid, 0);
	assert_int_equal(chat_send(chat, "room", "x", 1, 0), -ESHUTDOWN);
	chat_close(chat);
}

/* The function of the program forks, and returns in the child, which it must not: the call
 * that goes on there reads nothing more of the parent's. */
static void fork_in_row(void *userdata, const char *row, size_t len)
{
	pid_t *child = userdata;

	if (*child < 0)
		*child = child_fork();
}

static void test_row(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct chat *chat = open_named(broker, "sp3aker");
	pid_t child = -1;
	int r;

	put(chat, "room", 0, "one");
	flush(chat);
	r = chat_request(chat, "PAST room from=1", NULL, 0, DEADLINE_MS, fork_in_row, &child, NULL);
	if (child == 0) {
		/* the answer came with the row, or is left to the parent */
		CHECK(r == -ECHILD || r == 0);
		CHECK(chat_send(chat, "room", "x", 1, 0) == -ECHILD);
		_exit(0);
	}
	assert_int_equal(r, 0);
	child_expect_exit(child, 0);
	expect_nothing(chat);
	chat_close(chat);
	broker_stop(broker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_socket),
		TEST(test_rings),
		TEST(test_sleeper),
		TEST(test_never_open),
		TEST(test_row),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
