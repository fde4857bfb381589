/* offline_test.c - who was away has missed nothing, whatever became of the broker meanwhile.
 * chat-client(1), chat-broker(8), STORAGE. */
#include "tests/integration/disk.h"
#include "tests/integration/program.h"
#include "tests/integration/terminal.h"

#include <unistd.h>

#define NOBODY 65534

/* One is away, the other writes to them, the broker is killed and started again: at their next
 * terminal they are told what is unread, read it, and at another one it is read. */
static void test_away(void **state)
{
	struct broker *broker;
	struct terminal *alice, *again;
	struct raw *bob;

	if (geteuid() != 0)
		SKIP("only root has two users");
	broker = stored_start();
	alice = terminal_start_named(broker, "al1ce");
	terminal_type(alice, "QUIT\r");
	terminal_expect_exit(alice, 0);
	bob = raw_hello_as(broker, NOBODY, "name=b0b");
	raw_send(bob, "#s SAY @al1ce\nthe train is late");
	raw_expect(bob, "#s * 1");
	raw_send(bob, "#s SAY @al1ce\nstart without me");
	raw_expect(bob, "#s * 2");
	restart(broker);
	program_check(broker, 0, "", "@b0b 2\n", "", "--name", "al1ce", "unread");
	alice = terminal_start_named(broker, "al1ce");
	terminal_wait(alice, "-- conversations: @b0b (2 unread); /join @NAME shows one");
	terminal_type(alice, "/join @b0b\r");
	terminal_wait(alice, ": the train is late");
	terminal_wait(alice, ": start without me");
	/* which is known when they stand there, and the broker was told */
	bob = raw_hello_as(broker, NOBODY, "name=b0b direct");
	do
		raw_send(bob, "#s SEEN @al1ce");
	while (!pattern_matches("#s * ~ other=2", raw_next(bob)));
	again = terminal_start_named(broker, "al1ce");
	terminal_wait(again, "-- conversations: @b0b; /join @NAME shows one");
	program_check(broker, 1, "", "", "", "--name", "al1ce", "unread");
	/* and stays so */
	restart(broker);
	program_check(broker, 1, "", "", "", "--name", "al1ce", "unread");
	/* the terminals are back by themselves, and the other is answered */
	bob = raw_hello_as(broker, NOBODY, "name=b0b direct");
	terminal_type(alice, "too late, we have begun\r");
	raw_await(bob, "MSG @al1ce+b0b 3 ~\ntoo late, we have begun");
	broker_stop(broker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TERMINAL_TEST(test_away),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
