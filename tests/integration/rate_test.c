/* rate_test.c - who says more than its rate is slowed, and nothing is lost: chat-broker(8),
 * LIMITS. The broker's own user has no rate, so a publisher is another one: only root can
 * be that. */
#include "tests/integration/harness.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NOBODY 65534
#define OTHER  1

static struct broker *start(const char *limit)
{
	if (geteuid() != 0)
		SKIP("only root has two users");
	return broker_start("--limit", limit);
}

/* Round trips of somebody else meanwhile, ms: none may take long. */
static void expect_undisturbed(struct raw *raw, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		uint64_t before = clock_ms();

		raw_send(raw, "#u SAY undisturbed\nhello");
		raw_expect(raw, "#u * ~");
		assert_true(clock_ms() - before < 1000);
	}
}

/* All of it comes, in order, at its rate; what stands behind it waits; others do not. */
static void test_slowed(void **state)
{
	struct broker *broker = start("nobody:rate=50");
	struct raw *reader = raw_join(broker, "name=reader", "room");
	struct raw *other = raw_hello_as(broker, OTHER, "");
	struct raw *flood = raw_hello_as(broker, NOBODY, "");
	uint64_t before = clock_ms();

	for (int i = 1; i <= 120; i++)
		raw_send(flood, "SAY room\nmessage %d", i);
	raw_send(flood, "#p PING");
	expect_undisturbed(other, 200);
	for (int i = 1; i <= 120; i++)
		raw_expect(reader, "MSG room %d ~\nmessage %d", i, i);
	raw_expect(flood, "#p *"); /* not before, or it had been the next */
	/* 50 at once, and 70 more */
	assert_in_range(clock_ms() - before, 1390, 5000);
	assert_non_null(
		strstr(broker_expect(broker, "quota uid=%u ", NOBODY), "what=rate limit=50"));
	assert_int_equal(broker_count(broker, "what=rate"), 1);
	broker_stop(broker);
}

/* The rest of a batch is kept, and a plain line; both go on where they stood. */
static void test_batch_and_plain(void **state)
{
	struct broker *broker = start("nobody:rate=10");
	struct raw *reader = raw_join(broker, "name=reader", "lobby");
	struct raw *flood = raw_hello_as(broker, NOBODY, "batch"), *plain;
	uint64_t before = clock_ms();
	const char *frames[17];
	char text[16][32];

	for (int i = 0; i < 16; i++) {
		snprintf(text[i], sizeof text[i], i == 14 ? "#%d PING" : "#%d SAY lobby\n%d", i, i);
		frames[i] = text[i];
	}
	frames[16] = NULL;
	raw_send_batch_of(flood, frames);
	raw_send(flood, "#z SAY lobby\n16");
	for (int i = 0; i < 16; i++)
		raw_expect(flood, i == 14 ? "#%d *" : "#%d * ~", i);
	raw_expect(flood, "#z * 16");
	plain = raw_open_as(broker, NOBODY);
	raw_send(plain, "plain");
	raw_expect(plain, "*");
	for (int i = 0; i <= 16; i++)
		if (i != 14)
			raw_expect(reader, "MSG lobby ~\n%d", i);
	raw_expect(reader, "MSG lobby 17 ~\nplain");
	assert_in_range(clock_ms() - before, 690, 5000);
	broker_stop(broker);
}

/* Many connections of one user share its rate, first come, first served; what was sent
 * is said though its sender has gone. */
static void test_many_share_one_rate(void **state)
{
	struct broker *broker = start("nobody:rate=100");
	struct raw *reader = raw_join(broker, "name=reader", "room"), *flood[20];
	struct raw *other = raw_hello_as(broker, OTHER, "");
	unsigned next[ARRAY_LEN(flood)] = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(flood); i++)
		flood[i] = raw_hello_as(broker, NOBODY, "");
	for (size_t i = 0; i < ARRAY_LEN(flood); i++)
		for (unsigned k = 0; k < 12; k++)
			raw_send(flood[i], "SAY room\n%zu %u.", i, k);
	for (size_t i = 0; i < ARRAY_LEN(flood); i += 2)
		raw_close(flood[i]);
	expect_undisturbed(other, 100);
	for (size_t n = 0; n < 12 * ARRAY_LEN(flood); n++) {
		const char *body = strchr(raw_expect(reader, "MSG room %zu ~", n + 1), '\n');
		unsigned i, k;

		assert_int_equal(sscanf(body, "\n%u %u.", &i, &k), 2);
		assert_true(i < ARRAY_LEN(flood));
		assert_int_equal(k, next[i]++);
	}
	broker_stop(broker);
}

/* What is refused, or was said before, is no message; what does not say is not slowed. */
static void test_what_counts(void **state)
{
	struct broker *broker = start("nobody:rate=3");
	struct raw *raw = raw_hello_as(broker, NOBODY, "pub=1");
	uint64_t before = clock_ms();

	for (int i = 0; i < 20; i++) {
		raw_send(raw, "#1 SAY wall\nno");
		raw_expect(raw, "#1 ! DENIED ~");
		raw_send(raw, "#2 SAY room id=1\nonce");
		raw_expect(raw, "#2 * 1");
		raw_send(raw, "#3 JOIN room%d", i);
		raw_expect(raw, "#3 * ~");
	}
	raw_send(raw, "SAY room\ntwo");
	raw_send(raw, "SAY room\nthree");
	raw_expect_quiet(raw);
	assert_true(clock_ms() - before < 300);
	for (int i = 0; i < 4; i++)
		raw_send(raw, "SAY room\nmore");
	raw_expect_quiet(raw);
	/* 3 were there at first, 3 have come since */
	assert_in_range(clock_ms() - before, 990, 5000);
	broker_stop(broker);
}

/* KICK, STOP and an end do not wait for a slowed one. */
static void test_ends(void **state)
{
	struct broker *broker = start("nobody:rate=1");
	struct raw *flood[3], *reader = raw_join(broker, "name=reader", "room");

	for (size_t i = 0; i < ARRAY_LEN(flood); i++) {
		char words[16];

		snprintf(words, sizeof words, "name=fl00d%zu", i);
		flood[i] = raw_hello_as(broker, NOBODY, words);
		raw_send(flood[i], "SAY room\nfirst");
		raw_send(flood[i], "SAY room\nsecond");
	}
	raw_expect(reader, "MSG room 1 ~\nfirst");
	broker_ctl(broker, "KICK fl00d0 enough");
	raw_expect(flood[0], "BYE KICKED enough");
	raw_close(flood[1]);
	raw_expect_quiet(reader);
	broker_stop(broker);
	raw_expect(flood[2], "BYE STOP ~");
}

/* A limits file that is read again changes it for those who wait. */
static void test_reload(void **state)
{
	struct broker *broker;
	struct raw *flood, *reader;
	uint64_t before;

	if (geteuid() != 0)
		SKIP("only root has two users");
	broker = broker_new();
	file_write(broker_path(broker, "limits"), "rate=1\n");
	broker_spawn_here(broker, "--limits", broker_path(broker, "limits"));
	broker_wait_ready(broker);
	reader = raw_join(broker, "name=reader", "room");
	flood = raw_hello_as(broker, NOBODY, "");
	for (int i = 1; i <= 100; i++)
		raw_send(flood, "SAY room\n%d", i);
	raw_expect(reader, "MSG room 1 ~");
	before = clock_ms();
	file_write(broker_path(broker, "limits"), "rate=1\nnobody:rate=500\n");
	broker_signal(broker, SIGHUP);
	for (int i = 2; i <= 100; i++)
		raw_expect(reader, "MSG room %d ~\n%d", i, i);
	assert_true(clock_ms() - before < 5000);
	raw_send(flood, "#s STATS users");
	raw_await(flood, "#s + nobody ~ rate=~/500 slowed=~");
	raw_await(flood, "#s * ~");
	unlink(broker_path(broker, "limits"));
	broker_stop(broker);
}

static void test_connects(void **state)
{
	struct broker *broker = start("connects=5");
	struct raw *other = raw_hello_as(broker, OTHER, ""), *raw;
	unsigned n_quota = 0;

	for (int i = 0; i < 40; i++) {
		raw = raw_open_as(broker, NOBODY);
		(void)!write(raw->fd, "hello", 5); /* it may be closed already */
		if (pattern_matches("BYE QUOTA connects: ~ 5 a second", raw_next(raw))) {
			raw_expect_close(raw);
			n_quota++;
		}
		raw_close(raw);
	}
	assert_in_range(n_quota, 10, 35);
	assert_non_null(
		strstr(broker_expect(broker, "quota uid=%u ", NOBODY), "what=connects limit=5"));
	assert_int_equal(broker_count(broker, "what=connects"), 1);
	expect_undisturbed(other, 10);
	/* the broker's own user has none */
	for (int i = 0; i < 20; i++)
		raw_close(raw_hello(broker, ""));
	/* and it comes back with the time */
	for (;;) {
		raw = raw_open_as(broker, NOBODY);
		(void)!write(raw->fd, "hello", 5);
		if (!pattern_matches("BYE QUOTA ~", raw_next(raw)))
			break;
		raw_close(raw);
	}
	broker_stop(broker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_slowed),
		TEST(test_batch_and_plain),
		TEST(test_many_share_one_rate),
		TEST(test_what_counts),
		TEST(test_ends),
		TEST(test_reload),
		TEST(test_connects),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
