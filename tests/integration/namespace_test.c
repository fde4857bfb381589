/* namespace_test.c - user namespaces, where some users have no id: chat-protocol(7), BYE. */
#include "tests/integration/program.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/integration/namespace.h"

#define OWN     54321 /* none of these has an account */
#define OTHER   54322
#define ANOTHER 54323

#define OWN_IS_ROOT "0 54321 1\n"
#define NO_MAP      ""

/* A broker that would run as OWN in a namespace with this map, and does not yet. */
static struct broker *broker_in(const char *uid_map)
{
	struct broker *broker;

	if (geteuid() != 0)
		SKIP("only root can be several users");
	if (!namespace_is_allowed(OWN))
		SKIP("the kernel refuses user namespaces to users");
	broker = broker_new();
	broker->uid = OWN;
	broker->uid_map = uid_map;
	return broker;
}

/* All that it asks is refused with the reason, and then its session closes; a plain line, too. */
static void expect_unmapped(struct broker *broker, uid_t uid)
{
	struct raw *raw = raw_open_as(broker, uid);

	raw_send(raw, "a line for the lobby");
	raw_expect(raw, "!UNMAPPED");
	raw_send(raw, "#1 HELLO 1");
	raw_expect(raw, "#1 ! UNMAPPED uid 65534 may be any user ~");
	raw_send(raw, "#2 CTL STOP");
	raw_expect(raw, "#2 ! UNMAPPED ~");
	raw_send(raw, "STOP");
	raw_expect(raw, "~UNMAPPED ~");
	raw_close(raw);
}

/* Users without an id there are no one person: nobody reads what another of them wrote. */
static void test_users_without_an_id(void **state)
{
	struct broker *broker = broker_in(OWN_IS_ROOT);
	struct raw *raw;

	broker_spawn_here(broker, "--state", broker_path(broker, "state"));
	broker_wait_ready(broker);
	expect_unmapped(broker, OTHER);
	broker_expect(broker, "accept refused reason=\"uid 65534 may be any user ~\"");
	expect_unmapped(broker, ANOTHER);
	expect_unmapped(broker, 0);
	raw = raw_open_as(broker, OWN);
	raw_send(raw, "#1 HELLO 1");
	raw_expect(raw, "#1 * 1 name=root uid=0 ~");
	assert_int_equal(raw_counter(raw, "turned_away"), 3);
	raw_send(raw, "#2 SAY lobby\nstored");
	raw_expect(raw, "#2 * 1");
	/* a request that comes with the connection does not change that */
	raw_close(raw_open_as(broker, OTHER));
	raw_send(raw, "#3 STOP");
	raw_expect(raw, "#3 *");
	broker_expect_exit(broker, 0);
}

/* Without a map the broker's own user has no id either: it is no administrator, whoever
 * comes. */
static void test_broker_without_an_id(void **state)
{
	struct broker *broker = broker_in(NO_MAP);

	broker_spawn_here(broker, NULL);
	broker_expect(broker, "warning: the broker's user has no id in this user namespace~");
	broker_wait_ready(broker);
	expect_unmapped(broker, OWN);
	expect_unmapped(broker, OTHER);
	expect_unmapped(broker, 0);
	/* nobody could be served, and no map was written */
	broker_expect(broker, "no user has an id in this user namespace~");
	broker_expect_exit(broker, 78);
}

/* The directory is ours if the kernel says so, not because its owner has no id, as we. */
static void test_state_without_an_id(void **state)
{
	struct broker *broker = broker_in(NO_MAP);
	const char *own = broker_path(broker, "own"), *others = broker_path(broker, "others");

	assert_int_equal(mkdir(others, 0755), 0);
	assert_int_equal(chown(others, OTHER, (gid_t)-1), 0);
	broker_spawn_here(broker, "--state", others);
	broker_expect(broker,
		"cannot use the state in %s: it belongs to uid 65534, which may be anybody here",
		others);
	broker_expect_exit(broker, 73);
	for (int i = 0; i < 2; i++) {
		broker_spawn_here(broker, "--state", own);
		broker_wait_ready(broker);
		broker_signal(broker, SIGTERM);
		broker_expect_exit(broker, 0);
	}
}

/* A broker does not take a file at its path for its own. */
static void test_files_without_an_id(void **state)
{
	struct broker *broker = broker_in(NO_MAP);

	file_write(broker_path(broker, "broker.ctl"), "STOP\n");
	assert_int_equal(chown(broker_path(broker, "broker.ctl"), OTHER, (gid_t)-1), 0);
	broker_spawn_here(broker, NULL);
	broker_expect(broker, "WITHOUT ADMIN FIFO~(uid 65534, which may be anybody here)");
	broker_wait_ready(broker);
	broker_signal(broker, SIGTERM);
	broker_expect_exit(broker, 0);
	assert_true(file_exists(broker_path(broker, "broker.ctl")));
}

/* A broker whose user has no id where the client runs may be anybody's. */
static void test_client_without_ids(void **state)
{
	struct program_config config = { .uid = OTHER, .uid_map = NO_MAP };
	struct broker *broker = broker_in(NULL);

	broker_spawn_here(broker, NULL);
	broker_wait_ready(broker);
	program_check_as(broker, &config, 77, "", "",
		"chat-client: broker of uid 65534 at ~ is not trusted: ~\n", "say", "lobby", "x");
	/* also the client's own user's, which it cannot tell from the others */
	config.uid = OWN;
	program_check_as(broker, &config, 77, "", "", "~ is not trusted: ~\n", "say", "lobby", "x");
	/* and nobody can say otherwise */
	config.environment[0] = "CHAT_BROKER_UID=65534";
	program_check_as(broker, &config, 77, "", "", "~ is not trusted: ~\n", "say", "lobby", "x");
	config = (struct program_config){ .uid = OWN, .uid_map = OWN_IS_ROOT };
	program_check_as(broker, &config, 0, "", "", "", "say", "lobby", "x");
	broker_stop(broker);
}

/* A client that the broker turns away is told why, and does not try again. */
static void test_client_is_turned_away(void **state)
{
	struct broker *broker = broker_in(NULL);
	struct program_config config = { .environment = { "CHAT_BROKER_UID=54321" } };
	struct program *listener;

	broker_spawn_here(broker, NULL);
	broker_wait_ready(broker);
	listener = program_start_as(broker, &config, "listen", "lobby");
	program_wait_err(listener, "listening lobby from 1\n");
	broker_stop(broker);
	broker->uid_map = OWN_IS_ROOT;
	broker_spawn_here(broker, NULL);
	broker_wait_ready(broker);
	program_expect_exit(listener, 69);
	program_check_as(broker, &config, 77, "", "", "chat-client: uid 65534 may be any user ~\n",
		"say", "lobby", "x");
	broker_stop(broker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PROGRAM_TEST(test_users_without_an_id),
		PROGRAM_TEST(test_broker_without_an_id),
		PROGRAM_TEST(test_state_without_an_id),
		PROGRAM_TEST(test_files_without_an_id),
		PROGRAM_TEST(test_client_without_ids),
		PROGRAM_TEST(test_client_is_turned_away),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
