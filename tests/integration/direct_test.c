/* direct_test.c - direct conversations: chat-protocol(7), Names, HELLO direct, CURSOR. */
#include "tests/integration/harness.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define STRANGER 65534
#define UNKNOWN  54321

static void test_two_people(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *alice = raw_hello(broker, "name=al1ce direct");
	struct raw *bob = raw_hello(broker, "name=b0b direct");

	/* the cursor is placed before the message, so that nothing is missed */
	raw_send(alice, "#1 SAY @b0b\nhello b0b");
	raw_expect(bob, "CURSOR @al1ce+b0b 1 first=1 log=~");
	raw_expect(bob, "MSG @al1ce+b0b 1 ~ al1ce ~\nhello b0b");
	raw_expect(alice, "CURSOR @al1ce+b0b 1 first=1 log=~");
	raw_expect(alice, "#1 * 1");
	raw_expect(alice, "MSG @al1ce+b0b 1 ~ al1ce ~\nhello b0b");
	/* from now on it is there; the sorted form is the same */
	raw_send(bob, "#2 SAY @al1ce\nhello al1ce");
	raw_expect(bob, "#2 * 2");
	raw_expect(bob, "MSG @al1ce+b0b 2 ~ b0b ~\nhello al1ce");
	raw_expect(alice, "MSG @al1ce+b0b 2 ~ b0b ~\nhello al1ce");
	raw_send(bob, "#3 SAY @al1ce+b0b\nsorted");
	raw_expect(bob, "#3 * 3");
	raw_expect(bob, "MSG @al1ce+b0b 3 ~ b0b ~\nsorted");
	raw_expect(alice, "MSG @al1ce+b0b 3 ~");
	raw_send(bob, "#4 SAY @b0b+al1ce\nnot sorted");
	raw_expect(bob, "#4 ! ROOM ~");
	raw_send(bob, "#5 PAST @al1ce");
	for (int i = 1; i <= 3; i++)
		raw_expect(bob, "#5 + MSG @al1ce+b0b %d ~", i);
	raw_expect(bob, "#5 * 3");
	raw_send(alice, "#6 PAST @al1ce+b0b from=3");
	raw_expect(alice, "#6 + MSG @al1ce+b0b 3 ~");
	raw_expect(alice, "#6 * 1");
	raw_send(alice, "#7 PART @b0b");
	raw_expect(alice, "#7 *");
	raw_send(bob, "#8 SAY @al1ce\nagain");
	raw_expect(bob, "#8 * 4");
	raw_expect(bob, "MSG @al1ce+b0b 4 ~");
	/* who parted is asked again by the next message: it is one's own name's */
	raw_expect(alice, "CURSOR @al1ce+b0b 4 first=1 log=~");
	raw_expect(alice, "MSG @al1ce+b0b 4 ~");
	raw_expect_quiet(alice);
	raw_expect_quiet(bob);
	broker_stop(broker);
}

static void test_without_direct(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *alice = raw_hello(broker, "name=al1ce");
	struct raw *bob = raw_hello(broker, "name=b0b");

	raw_send(alice, "#1 SAY @b0b\none");
	raw_expect(alice, "#1 * 1");
	raw_send(alice, "#2 SAY @b0b\ntwo");
	raw_expect(alice, "#2 * 2");
	raw_expect_quiet(alice);
	raw_expect_quiet(bob);
	/* what came while one did not look is there */
	raw_send(bob, "#3 ROOMS");
	raw_expect(
		bob, "#3 + @al1ce+b0b readers=0 first=1 next=3 bytes=~ owner=%u rate=~", getuid());
	raw_expect(bob, "#3 * 1");
	raw_send(bob, "#4 JOIN @al1ce last=1");
	raw_expect(bob, "#4 * 2 first=1 log=~");
	raw_expect(bob, "MSG @al1ce+b0b 2 ~\ntwo");
	raw_send(bob, "#5 JOIN @al1ce+b0b since=1");
	raw_expect(bob, "#5 * 1 first=1 log=~");
	raw_expect(bob, "MSG @al1ce+b0b 1 ~\none");
	raw_expect(bob, "MSG @al1ce+b0b 2 ~\ntwo");
	raw_expect_quiet(bob);
	broker_stop(broker);
}

static void test_nobody_else_sees_it(void **state)
{
	static const char *const requests[] = { "JOIN @al1ce+b0b", "PAST @al1ce+b0b",
		"PART @al1ce+b0b", "SAY @al1ce+b0b\nI was here" };
	struct broker *broker = broker_start(NULL);
	struct raw *alice = raw_hello(broker, "name=al1ce");
	struct raw *bob = raw_hello(broker, "name=b0b direct");
	struct raw *carol = raw_hello(broker, "name=car0l direct");

	raw_send(alice, "#1 SAY @b0b\nsecret");
	raw_expect(alice, "#1 * 1");
	raw_expect(bob, "CURSOR @al1ce+b0b 1 ~");
	raw_expect(bob, "MSG @al1ce+b0b 1 ~\nsecret");
	raw_expect_quiet(carol);
	for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
		raw_send(carol, "#2 %s", requests[i]);
		raw_expect(carol, "#2 ! ROOM ~");
	}
	/* nor by the key under which the broker keeps it, just when it was spoken in; a SAY
	 * without a tag takes the short way */
	raw_send(alice, "#2 SAY @b0b\nmore");
	raw_expect(alice, "#2 * 2");
	raw_expect(bob, "MSG @al1ce+b0b 2 ~\nmore");
	raw_send(carol, "SAY @al1ce+b0b:%u:%u\nI was here", geteuid(), geteuid());
	raw_expect(carol, "! ROOM SAY ~");
	raw_send(carol, "#3 ROOMS");
	raw_expect(carol, "#3 * 0");
	/* @bob is hers and bob's: another log */
	raw_send(carol, "#4 PAST @b0b");
	raw_expect(carol, "#4 ! NOROOM ~");
	raw_send(carol, "#5 SAY @b0b\nmine");
	raw_expect(carol, "CURSOR @b0b+car0l 1 ~");
	raw_expect(carol, "#5 * 1");
	raw_expect(carol, "MSG @b0b+car0l 1 ~ car0l ~\nmine");
	raw_expect(bob, "CURSOR @b0b+car0l 1 ~");
	raw_expect(bob, "MSG @b0b+car0l 1 ~\nmine");
	raw_expect_quiet(bob);
	raw_expect_quiet(alice);
	broker_stop(broker);
}

static void test_one_person_two_terminals(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *alice[2] = { raw_hello(broker, "name=al1ce direct"),
		raw_hello(broker, "name=al1ce direct batch") };
	struct raw *bob = raw_hello(broker, "name=b0b");

	raw_send(bob, "#1 SAY @al1ce\nto both");
	raw_expect(bob, "#1 * 1");
	for (int i = 0; i < 2; i++) {
		raw_expect(alice[i], "CURSOR @al1ce+b0b 1 ~");
		raw_expect(alice[i], "MSG @al1ce+b0b 1 ~\nto both");
	}
	/* what one terminal says, the other sees */
	raw_send(alice[0], "SAY @b0b\nfrom one");
	for (int i = 0; i < 2; i++)
		raw_expect(alice[i], "MSG @al1ce+b0b 2 ~ al1ce ~\nfrom one");
	/* to oneself: a conversation of one */
	raw_send(alice[0], "#2 SAY @al1ce\nnote");
	raw_expect(alice[0], "CURSOR @al1ce+al1ce 1 ~");
	raw_expect(alice[0], "#2 * 1");
	raw_expect(alice[0], "MSG @al1ce+al1ce 1 ~\nnote");
	raw_expect(alice[1], "CURSOR @al1ce+al1ce 1 ~");
	raw_expect(alice[1], "MSG @al1ce+al1ce 1 ~\nnote");
	raw_expect_quiet(alice[0]);
	raw_expect_quiet(alice[1]);
	raw_expect_quiet(bob);
	broker_stop(broker);
}

static void test_absent(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *alice = raw_hello(broker, "name=al1ce");
	struct raw *bob = raw_hello(broker, "name=b0b");

	raw_send(alice, "#1 SAY @nobody.has.this\nx");
	raw_expect(alice, "#1 ! NONAME ~");
	raw_close(bob);
	while (raw_counter(alice, "sessions") > 1)
		;
	/* the name is still his */
	raw_send(alice, "#2 SAY @b0b\nfor later");
	raw_expect(alice, "#2 * 1");
	bob = raw_hello(broker, "name=b0b direct");
	raw_expect_quiet(bob);
	raw_send(bob, "#3 PAST @al1ce");
	raw_expect(bob, "#3 + MSG @al1ce+b0b 1 ~\nfor later");
	raw_expect(bob, "#3 * 1");
	raw_send(alice, "#4 SAY @root\nfor root");
	raw_expect(alice, "#4 * 1");
	raw_send(alice, "#5 SAY @u12345\nfor whoever that is");
	raw_expect(alice, "#5 * 1");
	broker_stop(broker);
}

/* A conversation is bound to the users: a name that somebody else has now inherits
 * nothing. Across brokers, for within one nobody loses a name so soon. */
static void test_the_same_name_of_another_user(void **state)
{
	struct broker *broker;
	struct raw *alice, *bob, *other;

	if (geteuid() != 0)
		SKIP("only root has two users");
	broker = broker_start(NULL);
	alice = raw_hello(broker, "name=al1ce direct");
	bob = raw_hello_as(broker, STRANGER, "name=b0b direct");
	raw_send(alice, "#1 SAY @b0b\nfor uid 65534");
	raw_await(alice, "MSG @al1ce+b0b 1 ~ al1ce 0 of=root\nfor uid 65534");
	raw_expect(bob, "CURSOR @al1ce+b0b 1 ~");
	raw_expect(bob, "MSG @al1ce+b0b 1 ~ al1ce 0 of=root\nfor uid 65534");
	/* the other way round, sorted by name all the same */
	raw_send(bob, "#2 SAY @root\nto the person root");
	raw_await(bob, "MSG @b0b+root 1 ~ b0b 65534 of=nobody\nto the person root");
	raw_expect_quiet(alice);
	/* uN is a name of its own: not alice's conversation, though the same user's */
	other = raw_hello(broker, "name=u0 direct");
	raw_send(other, "#3 PAST @b0b");
	raw_expect(other, "#3 ! NOROOM ~");
	raw_send(other, "#4 ROOMS");
	raw_expect(other, "#4 * 0");
	/* who has it is who is meant: nobody else can take it meanwhile */
	other = raw_open_as(broker, UNKNOWN);
	raw_send(other, "#5 HELLO 1 name=b0b");
	raw_expect(other, "#5 ! TAKEN ~");
	raw_send(other, "#6 HELLO 1 name=al1ce");
	raw_expect(other, "#6 ! TAKEN ~");
	broker_stop(broker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_two_people),
		TEST(test_without_direct),
		TEST(test_nobody_else_sees_it),
		TEST(test_one_person_two_terminals),
		TEST(test_absent),
		TEST(test_the_same_name_of_another_user),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
