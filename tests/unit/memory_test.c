/* memory_test.c - each allocation of the broker fails once, and nothing else does.
 *
 * A script with every kind of request runs as often as it allocates; in run K the Kth
 * allocation fails, or it and all that follow. What the clients receive is checked as
 * the fuzzer does (tests/fuzz/peer.c), the books too, and at the end all is given back.
 * Who is closed is told, and when there is memory again everything works for who is left
 * and who comes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "protocol/base.h"
#include "protocol/record.h"
#include "tests/fuzz/peer.h"
#include "tests/fuzz/rig.h"

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_reallocarray(void *old, size_t n, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_reallocarray(void *old, size_t n, size_t size);
_printf_(2, 3) int __wrap_asprintf(char **ret_text, const char *format, ...);

/* Allocations until the one that fails; 0: none will. */
static unsigned long countdown;
static bool fails_on; /* and then all that follow */
static bool has_failed;

static bool allocation_fails(void)
{
	if (countdown == 0 || --countdown > 0)
		return false;
	has_failed = true;
	countdown = fails_on;
	return true;
}

void *__wrap_malloc(size_t size)
{
	return allocation_fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return allocation_fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *old, size_t size)
{
	return allocation_fails() ? NULL : __real_realloc(old, size);
}

void *__wrap_reallocarray(void *old, size_t n, size_t size)
{
	return allocation_fails() ? NULL : __real_reallocarray(old, n, size);
}

int __wrap_asprintf(char **ret_text, const char *format, ...)
{
	va_list ap;
	int n;

	if (allocation_fails())
		return -1;
	va_start(ap, format);
	n = vasprintf(ret_text, format, ap);
	va_end(ap);
	return n;
}

/* What each does, in this order; NULL text: connect. A '{' starts a batch of frames with
 * '|' between them. */
static const struct {
	unsigned peer; /* and rig_uids[peer % RIG_USERS] */
	const char *text;
} script[] = {
	{ 1, NULL },
	{ 1, "a plain line" },
	{ 1, "#1 HELLO 1 name=nick pub=1f batch direct" },
	{ 1, "#2 JOIN lobby last=10 presence" },
	{ 3, NULL },
	{ 3, "#1 HELLO 1 direct" },
	{ 3, "#2 JOIN lobby presence" },
	{ 3, "#3 SAY @nick\npsst" },
	{ 1, "#3 SAY lobby id=1\nhello" },
	{ 1, "#4 SAY lobby id=1\nhello" },
	{ 1, "{#5 SAY r id=2\na|SAY r id=3\nb|#6 SAY @u54321\nc|#7 PAST r|#8 WHO|#9 ROOMS|#10 "
	     "STATS" },
	{ 0, NULL },
	{ 0, "#1 HELLO 1 name=admin" },
	{ 0, "#2 CTL WHO" },
	{ 0, "#3 CTL SAY lobby words" },
	{ 0, "#4 CTL WALL words" },
	{ 0, "#5 JOIN wall since=1 log=1" },
	{ 5, NULL },
	{ 5, "#1 HELLO 1" },
	{ 5, "#2 JOIN lobby" },
	{ 1, "+" },
	{ 5, "#3 SAY @carol\nx" },
	{ 5, "#4 PART lobby" },
	{ 5, "#5 STATS sessions" },
	{ 5, "#6 STATS users" },
	{ 0, "#6 CTL WHO" },
	{ 0, "#7 CTL KICK nick enough" },
	{ 5, "not a verb" },
	{ 5, "QUIT" },
	{ 0, "#8 CTL WHO" },
	{ 0, "#9 STOP done" },
};

#define PEERS_MAX 8

static void send_batch(struct peer *peer, struct text text)
{
	static char batch[PACKET_LEN_MAX];
	size_t len = BATCH_START_LEN;

	memcpy(batch, BATCH_START, BATCH_START_LEN);
	while (text.len > 0) {
		const char *cut = memchr(text.data, '|', text.len);
		size_t n = cut ? (size_t)(cut - text.data) : text.len;

		memcpy(batch + len + RECORD_HEADER_LEN, text.data, n);
		record_close(batch + len, n);
		len += record_size(n);
		text.data += n + (cut != NULL);
		text.len -= n + (cut != NULL);
	}
	peer_send(peer, (struct text){ batch, len });
}

/* More than a room keeps, so that segments are taken and used again. */
static void say_much(struct rig *rig, struct peer *peer)
{
	static char packet[10 + 60000];

	memset(packet, 'm', sizeof packet);
	memcpy(packet, "SAY lobby\n", 10);
	for (int i = 0; i < 8; i++) {
		peer_send(peer, (struct text){ packet, sizeof packet });
		rig_settle(rig);
	}
}

static void step(struct rig *rig, struct peer *peer, unsigned user, const char *text)
{
	int fd;

	if (!text) {
		fd = rig_connect(rig, user);
		if (fd >= 0)
			peer_open(peer, fd);
	} else if (text[0] == '{') {
		send_batch(peer, text_of(text + 1));
	} else if (text[0] == '+') {
		say_much(rig, peer);
	} else {
		peer_send(peer, text_of(text));
	}
}

/* There is memory again. */
static void expect_recovered(struct rig *rig, struct peer *peers)
{
	struct peer *newcomer = &peers[PEERS_MAX - 1];
	int fd = rig_connect(rig, 1);

	assert_true(fd >= 0);
	peer_open(newcomer, fd);
	peer_send(newcomer, TEXT("#1 HELLO 1"));
	for (size_t i = 0; i < PEERS_MAX; i++)
		peer_send(&peers[i], TEXT("#2 SAY again\nthere is memory"));
	rig_settle(rig);
	rig_audit(rig);
	for (size_t i = 0; i < PEERS_MAX; i++) {
		(void)peer_receive(&peers[i], ~0u);
		/* a plain session is told by its answers only */
		assert_false(peers[i].is_lost && peers[i].is_full);
	}
	assert_true(newcomer->is_full && !newcomer->is_over);
	assert_non_null(rooms_find(&rig->broker.rooms, TEXT("again")));
}

/* Returns whether the Kth allocation was reached. */
static bool run(unsigned long k, bool on)
{
	static struct rig rig;
	struct peer peers[PEERS_MAX];
	bool is_up;

	for (size_t i = 0; i < PEERS_MAX; i++)
		peers[i] = (struct peer){ .fd = -1 };
	has_failed = false;
	fails_on = on;
	countdown = k;
	is_up = rig_init(&rig, true) == 0;
	for (size_t i = 0; is_up && i < ARRAY_LEN(script); i++) {
		struct peer *peer = &peers[script[i].peer];

		step(&rig, peer, script[i].peer % RIG_USERS, script[i].text);
		rig_settle(&rig);
		rig_audit(&rig);
		(void)peer_receive(peer, ~0u);
		if (has_failed && i == ARRAY_LEN(script) - 2) { /* before the STOP */
			countdown = 0;
			expect_recovered(&rig, peers);
		}
	}
	for (unsigned n = 1; is_up && n > 0;) {
		rig_settle(&rig);
		n = 0;
		for (size_t i = 0; i < PEERS_MAX; i++)
			n += peer_receive(&peers[i], ~0u);
	}
	rig_deinit(&rig);
	countdown = 0;
	for (size_t i = 0; i < PEERS_MAX; i++)
		peer_close(&peers[i]);
	return has_failed;
}

static void test_one_fails(void **state)
{
	unsigned long k = 1;

	while (run(k, false))
		k++;
	print_message("%lu allocations\n", k - 1);
	assert_true(k > 60); /* the script still does what it is for */
}

static void test_all_fail_from_one_on(void **state)
{
	for (unsigned long k = 1; run(k, true); k++)
		;
}

/* A room that is above a limit lowered since gives its old segments up, and then gets no
 * new one: what it gave up is off the books all the same. */
static void test_no_segment(void **state)
{
	static struct rig rig;
	struct peer peer;

	has_failed = fails_on = false;
	assert_int_equal(rig_init(&rig, false), 0);
	peer_open(&peer, rig_connect(&rig, 1));
	peer_send(&peer, TEXT("#1 HELLO 1"));
	rig_settle(&rig);
	for (int i = 0; i < 4; i++)
		say_much(&rig, &peer);
	rig_audit(&rig);
	rig.broker.settings.limit[LIMIT_ROOM_BYTES] = 256 << 10;
	for (int i = 0; i < 20 && !has_failed; i++) {
		countdown = 1;
		say_much(&rig, &peer);
		countdown = 0;
		(void)peer_receive(&peer, ~0u);
	}
	assert_true(has_failed);
	rig_audit(&rig);
	peer_close(&peer);
	rig_deinit(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_fails),
		cmocka_unit_test(test_all_fail_from_one_on),
		cmocka_unit_test(test_no_segment),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
