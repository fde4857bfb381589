/* chat_test.c - libchat against a scripted broker: opening, listening, speaking. */
#include "tests/unit/fake.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* The most conversations that the library takes from the broker. */
#define CONVERSATIONS 65536

/* ---- open ---- */

static void script_named(struct fake *fake)
{
	fake_accept(fake);
	fake_expect(fake, "HELLO 1 pub=~");
	if (!strstr(fake->frame, " batch name=bob direct"))
		fake_fail(fake, "batch name=bob direct");
	fake_send(fake, "#h * 1 name=bob uid=7 broker=0 max=65536 batch direct future=1");
	fake_end(fake);
}

static void test_open(void **state)
{
	struct fake *fake = fake_start(script_named);
	struct chat_config config = { .socket = fake->path, .name = "bob", .direct = true };
	struct chat *chat;

	assert_int_equal(chat_open(&chat, &config), 0);
	assert_string_equal(chat_name(chat), "bob");
	assert_string_equal(chat_socket(chat), fake->path);
	assert_null(chat_close(chat));
	fake_stop(fake);
}

static void refuse(struct fake *fake, const char *words)
{
	fake_accept(fake);
	fake_expect(fake, "HELLO 1 ~");
	fake_send(fake, "%s", words);
	fake_end(fake);
}

static void script_taken(struct fake *fake)
{
	refuse(fake, "#h ! TAKEN alice belongs to another user");
}

static void script_plain(struct fake *fake)
{
	refuse(fake, "#h * 1 name=alice uid=1");
}

static void script_gone(struct fake *fake)
{
	fake_accept(fake);
	fake_hang_up(fake);
}

static void script_quota(struct fake *fake)
{
	fake_accept(fake);
	fake_expect(fake, "HELLO 1 ~");
	fake_send(fake, "BYE QUOTA 128 connections");
	fake_hang_up(fake);
}

static void test_open_refused(void **state)
{
	static const struct {
		void (*script)(struct fake *fake);
		int error;
		const char *text;
	} cases[] = {
		{ script_taken, -EACCES, "alice belongs to another user (TAKEN)" },
		{ script_quota, -EAGAIN, "128 connections (QUOTA)" },
		{ script_plain, -ECONNREFUSED, "the broker can not do batches" },
		{ script_gone, -ECONNREFUSED, "the broker closed the connection" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct fake *fake = fake_start(cases[i].script);
		struct chat_config config = { .socket = fake->path };
		struct chat_event event;
		struct chat *chat;

		assert_int_equal(chat_open(&chat, &config), cases[i].error);
		assert_string_equal(chat_error(chat), cases[i].text);
		assert_int_equal(chat_receive(chat, &event, 0), -ESHUTDOWN);
		assert_int_equal(chat_send(chat, "lobby", "x", 1, 0), -ESHUTDOWN);
		chat_close(chat);
		fake_stop(fake);
	}
}

static void test_open_nobody(void **state)
{
	struct chat_config config = { .socket = "/tmp/chat-test-no-such-directory/s" };
	struct chat *chat;

	assert_int_equal(chat_open(&chat, &config), -ECONNREFUSED);
	assert_non_null(strstr(chat_error(chat), config.socket));
	chat_close(chat);
	config.name = "No Name";
	assert_int_equal(chat_open(&chat, &config), -EINVAL);
	chat_close(chat);
	config.name = NULL;
	config.socket = "@";
	assert_int_equal(chat_open(&chat, &config), -EINVAL);
	chat_close(chat);
	chat_close(NULL);
	assert_non_null(chat_error(NULL));
}

static void script_greet(struct fake *fake)
{
	fake_greet(fake);
	fake_end(fake);
}

static bool agree(void *userdata, const char *path, uid_t uid)
{
	assert_int_equal(uid, 65534);
	++*(int *)userdata;
	return true;
}

/* A broker of another user: only root can make one. */
static void test_trust(void **state)
{
	struct fake *fake = fake_start(NULL);
	struct chat_config config = { .socket = fake->path };
	int n_asked = 0, status;
	struct chat *chat;
	pid_t child;

	if (geteuid() != 0) {
		fake_stop(fake);
		skip();
	}
	child = fork();
	if (child == 0) {
		if (setegid(65534) || seteuid(65534) || listen(fake->listener, 8))
			_exit(1);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(chat_open(&chat, &config), -EPERM);
	assert_non_null(strstr(chat_error(chat), "uid 65534, at"));
	assert_non_null(strstr(chat_error(chat), "CHAT_BROKER_UID=65534"));
	chat_close(chat);
	fake_accept(fake); /* the one above: not a byte was sent */
	if (fake_next(fake, "the end"))
		fake_fail(fake, "no bytes");
	close(fake->fd);
	fake->script = script_greet;
	assert_int_equal(pthread_create(&fake->thread, NULL, fake_main, fake), 0);
	config.trust = agree;
	config.userdata = &n_asked;
	assert_int_equal(chat_open(&chat, &config), 0);
	assert_int_equal(n_asked, 1);
	chat_close(chat);
	pthread_join(fake->thread, NULL);
	assert_int_equal(pthread_create(&fake->thread, NULL, fake_main, fake), 0);
	setenv("CHAT_BROKER_UID", "65534", 1);
	config.trust = NULL;
	assert_int_equal(chat_open(&chat, &config), 0);
	chat_close(chat);
	unsetenv("CHAT_BROKER_UID");
	fake_stop(fake);
}

/* What the environment tunes is refused by name when it is wrong. */
static void test_environment(void **state)
{
	static const struct {
		const char *variable, *value;
	} table[] = {
		{ "CHAT_LOOK", "10001" },
		{ "CHAT_LOOK", "soon" },
		{ "CHAT_SEND_BUFFER", "65535" },
		{ "CHAT_SEND_BUFFER", "1G" },
	};
	struct chat_config config = { .socket = "/nowhere" };
	struct chat *chat;

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		setenv(table[i].variable, table[i].value, 1);
		assert_int_equal(chat_open(&chat, &config), -EINVAL);
		assert_non_null(strstr(chat_error(chat), table[i].variable));
		chat_close(chat);
		unsetenv(table[i].variable);
	}
}

/* ---- listening ---- */

static void script_messages(struct fake *fake)
{
	fake_greet(fake);
	fake_join(fake, "lobby last=3 presence", "* 5 first=1 log=" LOG_A);
	fake_add(fake, "MSG lobby 5 1000 bob 7 of=robert\nfirst");
	fake_add(fake, "JOINED lobby carol 8 of=caroline");
	fake_add(fake, "MSG lobby 6 1001 alice %u p=%s:1\nown", (unsigned)geteuid(), fake->name);
	fake_add(fake, "MSG lobby 7 1002 mallory 66 p=%s:1 new=word\nnot own", fake->name);
	fake_add(fake, "MSG elsewhere 1 1002 bob 7\nnot joined");
	fake_add(fake, "MSG lobby 8 1003 bob 7 p=zz:99999999999999999999999\n");
	fake_flush(fake);
	fake_send_bytes(fake, "MSG lobby 9 1004 bob 7\na\0\n\nb", 28);
	fake_send(fake, "PARTED lobby carol 8");
	fake_send(fake, "FUTURE verb");
	fake_send(fake, "MSG lobby 12 1005 bob 7\nafter a hole");
	fake_send(fake, "MSG lobby 12 1005 bob 7\ntwice");
	fake_send(fake, "GAP lobby 13 20 retention");
	fake_send(fake, "MSG lobby 21 1006 bob 7\nlast");
	fake_end(fake);
}

static void test_messages(void **state)
{
	struct fake *fake = fake_start(script_messages);
	struct chat *chat = open_chat(fake, false, false);
	struct chat_event event;
	uint64_t next;

	assert_int_equal(chat_join(chat, "lobby", CHAT_LAST, 3, CHAT_PRESENCE, &next), 0);
	assert_int_equal(next, 5);
	event = receive(chat, CHAT_MESSAGE);
	assert_string_equal(event.target, "lobby");
	assert_int_equal(event.seq, 5);
	assert_int_equal(event.time, 1000);
	assert_string_equal(event.name, "bob");
	assert_int_equal(event.uid, 7);
	assert_string_equal(event.of, "robert");
	assert_false(event.own);
	event = receive(chat, CHAT_JOINED);
	assert_string_equal(event.name, "carol");
	assert_string_equal(event.of, "caroline");
	event = receive(chat, CHAT_MESSAGE);
	assert_true(event.own);
	event = receive(chat, CHAT_MESSAGE);
	assert_false(event.own);
	assert_null(event.of);
	receive_message(chat, 8, "");
	event = receive(chat, CHAT_MESSAGE);
	assert_int_equal(event.len, 5);
	assert_memory_equal(event.body, "a\0\n\nb", 5);
	event = receive(chat, CHAT_PARTED);
	assert_string_equal(event.name, "carol");
	event = receive(chat, CHAT_GAP);
	assert_int_equal(event.from, 10);
	assert_int_equal(event.to, 11);
	assert_string_equal(event.text, "skipped");
	receive_message(chat, 12, "after a hole");
	event = receive(chat, CHAT_GAP);
	assert_int_equal(event.from, 13);
	assert_int_equal(event.to, 20);
	assert_string_equal(event.text, "retention");
	receive_message(chat, 21, "last");
	receive_nothing(chat);
	chat_close(chat);
	fake_stop(fake);
}

/* What was asked for and is not kept any more is told, also without a GAP. */
static void script_since(struct fake *fake)
{
	fake_greet(fake);
	fake_join(fake, "a since=3", "* 8 first=8 log=" LOG_A);
	fake_send(fake, "GAP a 3 7 retention");
	fake_send(fake, "MSG a 8 1 bob 7\nx");
	fake_join(fake, "b since=3", "* 8 first=8 log=" LOG_A);
	fake_send(fake, "MSG b 8 1 bob 7\nx");
	fake_join(fake, "c since=@77", "* 8 first=8 log=" LOG_A);
	fake_send(fake, "MSG c 8 1 bob 7\nx");
	fake_join(fake, "a new", "* 20 first=8 log=" LOG_A);
	fake_send(fake, "MSG a 20 1 bob 7\nx");
	fake_join(fake, "d new", "! DENIED not yours");
	fake_expect(fake, "PART a");
	fake_answer(fake, "*");
	fake_send(fake, "MSG a 21 1 bob 7\nx");
	fake_send(fake, "MSG c 9 1 bob 7\nx");
	fake_end(fake);
}

static void test_join(void **state)
{
	struct fake *fake = fake_start(script_since);
	struct chat *chat = open_chat(fake, false, false);

	assert_int_equal(chat_join(chat, "a", CHAT_SINCE, 3, 0, NULL), 0);
	receive_gap(chat, 3, 7, "retention");
	receive_message(chat, 8, "x");
	assert_int_equal(chat_join(chat, "b", CHAT_SINCE, 3, 0, NULL), 0);
	receive_gap(chat, 3, 7, "skipped");
	receive_message(chat, 8, "x");
	assert_int_equal(chat_join(chat, "c", CHAT_TIME, 77, 0, NULL), 0);
	receive_message(chat, 8, "x");
	assert_int_equal(chat_join(chat, "a", CHAT_NEW, 0, 0, NULL), 0);
	receive_message(chat, 20, "x");
	assert_int_equal(chat_join(chat, "d", CHAT_NEW, 0, 0, NULL), -EACCES);
	assert_string_equal(chat_error(chat), "not yours (DENIED)");
	assert_int_equal(chat_join(chat, "No", CHAT_NEW, 0, 0, NULL), -EINVAL);
	assert_int_equal(chat_join(chat, "no..no", CHAT_NEW, 0, 0, NULL), -EINVAL);
	assert_int_equal(chat_part(chat, "d"), -ENOENT);
	assert_int_equal(chat_part(chat, "a"), 0);
	receive_message(chat, 9, "x");
	chat_close(chat);
	fake_stop(fake);
}

/* Packets that come while a call waits are kept, in order, with the cursor's moves. */
static void script_stored(struct fake *fake)
{
	fake_greet(fake);
	fake_join(fake, "a new", "* 1 first=1 log=" LOG_A);
	fake_add(fake, "MSG a 1 1 bob 7\none");
	fake_add(fake, "MSG a 2 1 bob 7\ntwo");
	fake_flush(fake);
	fake_expect(fake, "WHO a");
	fake_send(fake, "MSG a 3 1 bob 7\nthree");
	fake_send(fake, "#%s + alice 1 since=0", fake->tag);
	fake_add(fake, "#%s + bob 7 since=1", fake->tag);
	fake_add(fake, "MSG a 4 1 bob 7\nfour");
	fake_add(fake, "#%s * 2", fake->tag);
	fake_add(fake, "MSG a 5 1 bob 7\nfive");
	fake_flush(fake);
	fake_expect(fake, "JOIN a last=2");
	fake_add(fake, "MSG a 6 1 bob 7\nsix");
	fake_add(fake, "#%s * 5 first=1 log=" LOG_A, fake->tag);
	fake_add(fake, "MSG a 5 1 bob 7\nfive again");
	fake_flush(fake);
	fake_expect(fake, "STATS\nbody");
	fake_answer(fake, "! DENIED no");
	fake_end(fake);
}

static void add_row(void *userdata, const char *row, size_t len)
{
	char *rows = userdata;

	strncat(rows, row, len);
	strcat(rows, ";");
}

static bool is_readable(int fd)
{
	struct pollfd watch = { fd, POLLIN, 0 };

	return poll(&watch, 1, 0) == 1;
}

static void test_stored(void **state)
{
	struct fake *fake = fake_start(script_stored);
	struct chat *chat = open_chat(fake, false, false);
	char rows[256] = "";
	const char *answer;
	int fd = chat_fd(chat);

	assert_int_equal(chat_join(chat, "a", CHAT_NEW, 0, 0, NULL), 0);
	receive_message(chat, 1, "one"); /* the packet is half delivered */
	assert_int_equal(
		chat_request(chat, "WHO a", NULL, 0, DEADLINE_MS, add_row, rows, &answer), 0);
	assert_string_equal(rows, "alice 1 since=0;bob 7 since=1;");
	assert_string_equal(answer, "2");
	assert_true(is_readable(fd));
	assert_int_equal(chat_join(chat, "a", CHAT_LAST, 2, 0, NULL), 0);
	assert_int_equal(
		chat_request(chat, "STATS", "body", 4, DEADLINE_MS, NULL, NULL, &answer), 1);
	assert_string_equal(answer, "DENIED no");
	assert_string_equal(chat_error(chat), "no (DENIED)");
	assert_true(is_readable(fd));
	receive_message(chat, 2, "two");
	receive_message(chat, 3, "three");
	receive_message(chat, 4, "four");
	assert_true(is_readable(fd));
	receive_message(chat, 5, "five");
	receive_message(chat, 6, "six");
	receive_message(chat, 5, "five again");
	receive_nothing(chat);
	assert_false(is_readable(fd));
	assert_int_equal(chat_request(chat, "HELLO 1", NULL, 0, 0, NULL, NULL, NULL), -EINVAL);
	assert_int_equal(chat_request(chat, "#x TIME", NULL, 0, 0, NULL, NULL, NULL), -EINVAL);
	assert_int_equal(chat_request(chat, "TIME\nx", NULL, 0, 0, NULL, NULL, NULL), -EINVAL);
	chat_close(chat);
	fake_stop(fake);
}

static void script_direct(struct fake *fake)
{
	fake_greet(fake);
	fake_send(fake, "CURSOR @alice+bob 4 first=1 log=" LOG_A);
	fake_send(fake, "MSG @alice+bob 4 1 bob 7\npsst");
	fake_join(fake, "@aaron+alice new", "* 1 first=1 log=" LOG_A);
	fake_send(fake, "MSG @aaron+alice 1 1 aaron 7\nhey");
	fake_expect(fake, "SAY @bob id=1\nyes?");
	fake_send(fake, "! NONAME SAY @bob id=1 nobody has this name");
	fake_hang_up(fake);
	fake_greet(fake);
	/* news before the cursor is resumed must not hide what came before them */
	fake_send(fake, "CURSOR @alice+bob 7 first=1 log=" LOG_A);
	fake_send(fake, "MSG @alice+bob 7 1 bob 7\nseven");
	fake_join(fake, "@alice+bob since=5 log=" LOG_A, "* 5 first=1 log=" LOG_A);
	fake_join(fake, "@aaron+alice since=2 log=" LOG_A, "! DENIED gone");
	fake_send(fake, "MSG @alice+bob 5 1 bob 7\nfive");
	fake_send(fake, "MSG @alice+bob 6 1 bob 7\nsix");
	fake_send(fake, "MSG @alice+bob 7 1 bob 7\nseven");
	fake_expect(fake, "PING\n~"); /* what was refused is void */
	fake_end(fake);
}

static void test_direct(void **state)
{
	struct fake *fake = fake_start(script_direct);
	struct chat *chat = open_chat(fake, true, false);
	struct chat_event event = receive(chat, CHAT_MESSAGE);

	assert_string_equal(event.target, "@bob");
	assert_int_equal(chat_join(chat, "@aaron", CHAT_NEW, 0, 0, NULL), 0);
	event = receive(chat, CHAT_MESSAGE);
	assert_string_equal(event.target, "@aaron");
	assert_int_equal(chat_send(chat, "@bob", "yes?", 4, 0), 0);
	event = receive(chat, CHAT_REFUSED);
	assert_string_equal(event.target, "@bob");
	assert_string_equal(event.code, "NONAME");
	assert_string_equal(event.text, "nobody has this name");
	assert_int_equal(event.id, 1);
	receive(chat, CHAT_DOWN);
	event = receive(chat, CHAT_REFUSED);
	assert_string_equal(event.target, "@aaron");
	assert_int_equal(event.id, 0);
	assert_string_equal(event.code, "DENIED");
	receive(chat, CHAT_UP);
	receive_message(chat, 5, "five");
	receive_message(chat, 6, "six");
	receive_message(chat, 7, "seven");
	receive_nothing(chat);
	chat_close(chat);
	fake_stop(fake);
}

/* ---- speaking ---- */

static void script_say(struct fake *fake)
{
	fake_greet(fake);
	fake_expect(fake, "SAY lobby id=1\nhello");
	fake_expect(fake, "SAY lobby id=2\n");
	fake_expect(fake, "PING");
	fake_send(fake, "! QUOTA SAY lobby id=2 too fast, rate=1");
	fake_answer(fake, "*");
	fake_expect(fake, "SAY lobby id=3\nmore");
	fake_expect(fake, "SAY @bob id=4\nless");
	fake_expect(fake, "PING");
	fake_answer(fake, "*");
	fake_expect(fake, "SAY lobby id=5\ncorked");
	fake_expect(fake, "TIME"); /* after what was said before it */
	fake_answer(fake, "* 77");
	fake_expect(fake, "PING");
	fake_answer(fake, "*");
	fake_end(fake);
}

static void test_say(void **state)
{
	struct fake *fake = fake_start(script_say);
	struct chat *chat = open_chat(fake, false, false);
	struct chat_event event;
	char big[64001];

	memset(big, 'x', sizeof big);
	assert_int_equal(chat_send(chat, "lobby", "hello", 5, 0), 0);
	assert_int_equal(chat_send(chat, "lobby", NULL, 0, 0), 0);
	assert_int_equal(chat_flush(chat, DEADLINE_MS), 1);
	assert_int_equal(chat_send(chat, "lobby", "more", 4, CHAT_MORE), 0);
	assert_int_equal(chat_send(chat, "@bob", "less", 4, 0), 0);
	assert_int_equal(chat_flush(chat, DEADLINE_MS), 0);
	assert_int_equal(chat_send(chat, "lobby", "corked", 6, CHAT_MORE), 0);
	assert_true(is_readable(chat_fd(chat))); /* or it would stay there */
	assert_int_equal(chat_request(chat, "TIME", NULL, 0, DEADLINE_MS, NULL, NULL, NULL), 0);
	assert_int_equal(chat_flush(chat, DEADLINE_MS), 0);
	assert_int_equal(chat_flush(chat, 0), 0);
	event = receive(chat, CHAT_REFUSED);
	assert_string_equal(event.target, "lobby");
	assert_int_equal(event.id, 2);
	assert_string_equal(event.code, "QUOTA");
	assert_string_equal(event.text, "too fast, rate=1");
	assert_int_equal(chat_send(chat, "lobby", big, 64001, 0), -EMSGSIZE);
	assert_int_equal(chat_send(chat, "..", big, 1, 0), -EINVAL);
	assert_int_equal(chat_send(chat, "", big, 1, 0), -EINVAL);
	chat_close(chat);
	fake_stop(fake);
}

#define MANY 20000

/* Reads only after the client said that it is stuck, by closing this pipe's end. */
static int stuck[2];

static void script_slow(struct fake *fake)
{
	char byte;

	fake_greet(fake);
	if (read(stuck[0], &byte, 1) != 1)
		fake_fail(fake, "the signal");
	for (unsigned id = 1; id <= MANY;) {
		if (!fake_next(fake, "SAY"))
			fake_fail(fake, "SAY");
		if (fake->frame[0] == '#') {
			*strchr(fake->frame, ' ') = '\0';
			fake_send(fake, "%s *", fake->frame);
			continue;
		}
		if ((unsigned)atoi(strstr(fake->frame, "id=") + 3) != id)
			fake_fail(fake, "the next id");
		id++;
	}
	fake_expect(fake, "PING");
	fake_answer(fake, "*");
	fake_end(fake);
}

static void test_backpressure(void **state)
{
	struct fake *fake;
	struct chat *chat;
	char body[200];
	int n = 0, r;

	assert_int_equal(pipe(stuck), 0);
	fake = fake_start(script_slow);
	chat = open_chat(fake, false, false);
	memset(body, 'x', sizeof body);
	for (;; n++) {
		r = chat_send(
			chat, "lobby", body, sizeof body, CHAT_NONBLOCK | (n % 3 ? CHAT_MORE : 0));
		if (r)
			break;
	}
	assert_int_equal(r, -EAGAIN);
	assert_in_range(n, 1024 * 1024 / 300, MANY);
	assert_int_equal(write(stuck[1], "x", 1), 1);
	for (; n < MANY; n++)
		assert_int_equal(chat_send(chat, "lobby", body, sizeof body, CHAT_MORE), 0);
	assert_int_equal(chat_flush(chat, DEADLINE_MS), 0);
	chat_close(chat);
	fake_stop(fake);
	close(stuck[0]);
	close(stuck[1]);
}

/* Conversations without end do not fill the memory. */
static void script_conversations(struct fake *fake)
{
	fake_greet(fake);
	for (unsigned i = 0; i <= CONVERSATIONS; i++)
		fake_add(fake, "CURSOR @alice+b%u 1 first=1 log=" LOG_A, i);
	fake_flush(fake);
	fake_end(fake);
}

static void test_conversations(void **state)
{
	struct fake *fake = fake_start(script_conversations);
	struct chat *chat = open_chat(fake, true, false);
	struct chat_event event = receive(chat, CHAT_DOWN);

	assert_string_equal(event.text, "the broker sent a CURSOR that has no place");
	assert_false(event.ended);
	chat_close(chat);
	fake_stop(fake);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_open),
		cmocka_unit_test(test_open_refused),
		cmocka_unit_test(test_open_nobody),
		cmocka_unit_test(test_environment),
		cmocka_unit_test(test_trust),
		cmocka_unit_test(test_messages),
		cmocka_unit_test(test_join),
		cmocka_unit_test(test_stored),
		cmocka_unit_test(test_direct),
		cmocka_unit_test(test_say),
		cmocka_unit_test(test_backpressure),
		cmocka_unit_test(test_conversations),
	};

	alarm(120);
	unsetenv("CHAT_NAME");
	unsetenv("CHAT_SOCKET");
	unsetenv("CHAT_BROKER_UID");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
