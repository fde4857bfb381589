/* uid_test.c - names among several real users: chat-protocol(7), Names. */
#include "tests/integration/harness.h"

#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define NOBODY   65534
#define UNKNOWN  54321 /* without an account */
#define UNKNOWN2 54322

static struct broker *start_for_users(const char *option, const char *value)
{
	if (geteuid() != 0)
		SKIP("only root can be several users");
	if (!getpwuid(NOBODY) || strcmp(getpwuid(NOBODY)->pw_name, "nobody") != 0 ||
		getpwuid(UNKNOWN) || getpwuid(UNKNOWN2))
		SKIP("the accounts are not as expected");
	return broker_start(option, value);
}

static void test_names(void **state)
{
	static const struct {
		uid_t uid;
		const char *name; /* NULL: none asked for */
		const char *expect;
	} table[] = {
		{ 0, NULL, "* 1 name=root uid=0 ~" },
		{ NOBODY, NULL, "* 1 name=nobody uid=65534 ~" },
		{ UNKNOWN, NULL, "* 1 name=u54321 uid=54321 ~" },
		{ 0, "root", "* 1 name=root uid=0 ~" }, { NOBODY, "root", "! TAKEN ~" },
		{ UNKNOWN, "root", "! TAKEN ~" },
		/* a Unix user's name is that user's alone, root or not */
		{ NOBODY, "nobody", "* 1 name=nobody uid=65534 ~" },
		{ UNKNOWN, "nobody", "! TAKEN ~" }, { 0, "nobody", "! TAKEN ~" },
		{ UNKNOWN, "daemon", "! TAKEN ~" },
		/* uN belongs to N */
		{ UNKNOWN, "u54321", "* 1 name=u54321 uid=54321 ~" },
		{ NOBODY, "u65534", "* 1 name=u65534 uid=65534 ~" },
		{ 0, "u0", "* 1 name=u0 uid=0 ~" }, { UNKNOWN, "u54322", "! TAKEN ~" },
		{ NOBODY, "u0", "! TAKEN ~" }, { 0, "u54321", "! TAKEN ~" },
		{ NOBODY, "broker", "! TAKEN ~" }, { 0, "broker", "! TAKEN ~" },
		{ 0, "all", "! TAKEN ~" }, { 0, "here", "! TAKEN ~" },
		/* any other is whose it was first */
		{ NOBODY, "nick", "* 1 name=nick uid=65534 ~" }, { UNKNOWN, "nick", "! TAKEN ~" },
		{ 0, "nick", "! TAKEN ~" }, { NOBODY, "nick", "* 1 name=nick uid=65534 ~" },
		{ UNKNOWN, "u01", "* 1 name=u01 uid=54321 ~" }, /* no number is written so */
	};
	struct broker *broker = start_for_users(NULL, NULL);

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		struct raw *raw = raw_open_as(broker, table[i].uid);

		raw_send(raw, "#1 HELLO 1%s%s", table[i].name ? " name=" : "",
			table[i].name ? table[i].name : "");
		raw_expect(raw, "#1 %s", table[i].expect);
		raw_close(raw);
	}
	broker_stop(broker);
}

/* A nick is shown with the user behind it; one's own name needs no more. */
static void test_of(void **state)
{
	struct broker *broker = start_for_users(NULL, NULL);
	struct raw *reader = raw_join(broker, "name=reader", "room presence"), *raw;

	raw = raw_hello_as(broker, NOBODY, "name=nick");
	raw_send(raw, "JOIN room");
	raw_expect(reader, "JOINED room nick 65534 of=nobody");
	raw_send(raw, "SAY room\nx");
	raw_expect(reader, "MSG room 1 ~ nick 65534 of=nobody\nx");
	raw_send(reader, "#w WHO room");
	raw_expect(reader, "#w + reader 0 ~of=root~");
	raw_expect(reader, "#w + nick 65534 ~of=nobody~");
	raw_expect(reader, "#w * 2");
	raw_close(raw);
	raw_expect(reader, "PARTED room nick 65534 of=nobody");
	raw = raw_hello_as(broker, UNKNOWN, "name=other");
	raw_send(raw, "SAY room\nx");
	raw_expect(reader, "MSG room 2 ~ other 54321 of=u54321\nx");
	raw = raw_hello_as(broker, NOBODY, "");
	raw_send(raw, "SAY room\nx");
	raw_expect(reader, "MSG room 3 ~ nobody 65534\nx");
	raw = raw_hello_as(broker, NOBODY, "name=u65534");
	raw_send(raw, "SAY room\nx");
	raw_expect(reader, "MSG room 4 ~ u65534 65534 of=nobody\nx");
	raw = raw_open_as(broker, UNKNOWN);
	raw_send(raw, "plain");
	raw_expect(raw, "*");
	raw_send(reader, "#p PAST lobby");
	raw_expect(reader, "#p + MSG lobby 1 ~ u54321 54321\nplain");
	raw_expect(reader, "#p * 1");
	broker_stop(broker);
}

static void test_number_of_names(void **state)
{
	struct broker *broker = start_for_users(NULL, NULL);
	struct raw *raw;

	for (int i = 1; i <= 9; i++) {
		raw = raw_open_as(broker, NOBODY);
		raw_send(raw, "#1 HELLO 1 name=nick.%d", i);
		raw_expect(raw, i <= 8 ? "#1 * 1 name=nick.%d ~" : "#1 ! QUOTA names~", i);
	}
	/* those that he has, and his own, he has still; others have theirs */
	raw_hello_as(broker, NOBODY, "name=nick.3");
	raw_hello_as(broker, NOBODY, "name=nobody");
	raw_hello_as(broker, NOBODY, "name=u65534");
	raw_hello_as(broker, UNKNOWN, "name=nick.9");
	broker_stop(broker);
}

/* All users without an account are one account. */
static void test_strangers_share(void **state)
{
	struct broker *broker = start_for_users("--limit", "strangers:connections=3");
	struct raw *raw;

	raw_hello_as(broker, UNKNOWN, "");
	raw_hello_as(broker, UNKNOWN2, "");
	raw = raw_hello_as(broker, UNKNOWN2, "name=nick");
	raw_expect(raw_open_as(broker, UNKNOWN), "BYE QUOTA connections~");
	raw_expect(raw_open_as(broker, UNKNOWN2), "BYE QUOTA connections~");
	raw_expect(raw_open_as(broker, 54323), "BYE QUOTA connections~");
	raw_hello_as(broker, NOBODY, "");
	raw_hello(broker, "");
	/* they are not one person for that */
	raw_send(raw, "#1 CTL WHO");
	raw_expect(raw, "#1 ! DENIED ~");
	raw_send(raw, "QUIT");
	raw_expect(raw, "BYE QUIT");
	raw_expect_close(raw);
	raw = raw_hello_as(broker, UNKNOWN, "");
	raw = raw_open_as(broker, UNKNOWN);
	raw_expect(raw, "BYE QUOTA ~");
	broker_stop(broker);
}

/* Publishers with the same label are not the same when their users are not. */
static void test_labels_are_per_user(void **state)
{
	struct broker *broker = start_for_users(NULL, NULL);
	struct raw *a = raw_hello_as(broker, NOBODY, "pub=1");
	struct raw *b = raw_hello_as(broker, UNKNOWN, "pub=1");

	raw_send(a, "#1 SAY room id=7\nfirst");
	raw_expect(a, "#1 * 1");
	raw_send(b, "#1 SAY room id=7\nsecond");
	raw_expect(b, "#1 * 2");
	raw_send(b, "#2 SAY room id=8\nthird");
	raw_expect(b, "#2 * 3");
	raw_send(b, "#3 SAY room id=7\nsecond");
	raw_expect(b, "#3 * 2");
	raw_send(a, "#3 SAY room id=7\nfirst");
	raw_expect(a, "#3 * 1");
	broker_stop(broker);
}

/* The broker of another user: its user is its administrator, and its files are its. */
static void test_broker_of_another_user(void **state)
{
	struct broker *broker = start_for_users(NULL, NULL);
	struct raw *raw;

	broker_stop(broker);
	broker->uid = UNKNOWN;
	broker_spawn_here(broker, NULL);
	broker_wait_ready(broker);
	raw = raw_hello_as(broker, NOBODY, "");
	raw_send(raw, "SAY lobby\nx");
	raw_send(raw, "#r ROOMS");
	raw_expect(raw, "#r + lobby ~ owner=%u rate=~", UNKNOWN);
	raw_expect(raw, "#r * 1");
	raw_send(raw, "#s STOP");
	raw_expect(raw, "#s ! DENIED ~");
	raw = raw_open_as(broker, UNKNOWN);
	raw_send(raw, "STOP");
	raw_expect(raw, "*");
	broker_expect_exit(broker, 0);
	assert_int_equal(directory_count(broker->dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_names),
		TEST(test_of),
		TEST(test_number_of_names),
		TEST(test_strangers_share),
		TEST(test_labels_are_per_user),
		TEST(test_broker_of_another_user),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
