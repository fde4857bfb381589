/* ring_test.c - rings packet by packet: what a broker takes, what it passes on, and what it
 * does not. chat-protocol(7); chat-ring(7). */
#include "tests/integration/fast.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/control.h"
#include "protocol/shared.h"
#include "protocol/waker.h"

#define NOBODY 65534

#define ALL_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL)

/* What is put is archived in the order in which it was put, with who it is of, and is
 * acknowledged by the gate. */
static void test_archive(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_join(broker, "name=t3ster", "room");
	struct publisher publisher;

	publisher_open(&publisher, broker, "room");
	publisher_put(&publisher, 5, "five");
	publisher_put(&publisher, 9, "nine");
	raw_send(publisher.raw, "#b BELL");
	raw_expect(publisher.raw, "#b *");
	assert_int_equal(*publisher.writer.gate, publisher.writer.pos);
	raw_expect(raw, "MSG room 1 ~ sp3aker %u ~p=0000000000000abc:5\nfive", getuid());
	raw_expect(raw, "MSG room 2 ~ sp3aker %u ~p=0000000000000abc:9\nnine", getuid());
	/* what it says by the socket is behind what it put */
	publisher_put(&publisher, 10, "ten");
	raw_send(publisher.raw, "#s SAY room\nby the socket");
	raw_expect(publisher.raw, "#s * 4");
	raw_expect(raw, "MSG room 3 ~\nten");
	raw_expect(raw, "MSG room 4 ~\nby the socket");
	/* once and only once */
	publisher_put(&publisher, 10, "again");
	publisher_put(&publisher, 12, "twelve");
	raw_send(publisher.raw, "BELL");
	raw_expect(raw, "MSG room 5 ~\ntwelve");
	publisher_close(&publisher);
	broker_stop(broker);
}

/* After a while the broker asks for the bell and sleeps; then it takes no time. */
static void test_bell(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_join(broker, "name=t3ster", "room");
	const struct control_page *page;
	struct publisher publisher;
	uint32_t bell;

	publisher_open(&publisher, broker, "room");
	page = publisher.control.at;
	for (unsigned i = 1; i <= 20; i++) {
		uint64_t until = clock_ms() + DEADLINE_MS;

		bell = shared_acquire32(&page->bell);
		publisher_put(&publisher, i, "x");
		raw_send(publisher.raw, "BELL");
		raw_expect(raw, "MSG room %u ~", i);
		while (shared_acquire32(&page->bell) == bell)
			assert_true(clock_ms() < until);
	}
	publisher_close(&publisher);
	broker_stop(broker);
}

/* The question, in one ring, is before the answer, in another, though the broker looks at
 * that one first; and before what is said by the socket. */
static void test_answer_is_behind(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_join(broker, "name=t3ster", "room");
	uint64_t until = clock_ms() + DEADLINE_MS;
	struct publisher asks, answers;

	publisher_open_as(&answers, broker, "room", "name=answers batch pub=1");
	publisher_open_as(&asks, broker, "room", "name=asks batch pub=2");
	assert_int_equal(ring_put(&asks.writer, 100, 1, "question", 8), 0);
	assert_int_equal(ring_put(&answers.writer, 200, 1, "answer", 6), 0);
	raw_send(answers.raw, "#b BELL");
	raw_expect(answers.raw, "#b *");
	raw_expect(raw, "MSG room 1 ~\nquestion");
	raw_expect(raw, "MSG room 2 ~\nanswer");
	/* but not what was put after it, though it is there already; this ring is not looked
	 * at before its bell */
	while (shared_acquire32(&((const struct control_page *)asks.control.at)->bell) == 0)
		assert_true(clock_ms() < until);
	assert_int_equal(ring_put(&answers.writer, 250, 2, "before", 6), 0);
	assert_int_equal(ring_put(&asks.writer, 240, 2, "before that", 11), 0);
	assert_int_equal(ring_put(&asks.writer, 260, 3, "after", 5), 0);
	raw_send(answers.raw, "#b BELL");
	raw_expect(answers.raw, "#b *");
	raw_send(asks.raw, "#b BELL");
	raw_expect(asks.raw, "#b *");
	raw_expect(raw, "MSG room 3 ~\nbefore that");
	raw_expect(raw, "MSG room 4 ~\nbefore");
	raw_expect(raw, "MSG room 5 ~\nafter");
	assert_int_equal(ring_put(&asks.writer, 300, 4, "another", 7), 0);
	raw_send(raw, "SAY room\nby socket");
	raw_expect(raw, "MSG room 6 ~\nanother");
	raw_expect(raw, "MSG room 7 ~\nby socket");
	publisher_close(&asks);
	publisher_close(&answers);
	broker_stop(broker);
}

/* What a reader is passed: it reads, and can do nothing else. */
static void test_reader_can_only_read(void **state)
{
	static const struct ring_record forged = { .commit = 1u << RING_KIND_SHIFT };
	struct broker *broker = broker_start(NULL);
	struct publisher publisher;
	char path[32], buffer[RING_BUFFER_MIN];
	struct ring_reader reader;
	struct ring_message message;
	struct ring_batch batch;
	struct sealed memory;
	struct raw *raw;
	uid_t own = geteuid();
	int fd;

	if (own != 0)
		SKIP("only root can be several users");
	publisher_open(&publisher, broker, "room");
	raw = raw_hello_as(broker, NOBODY, "name=r3ader batch pub=def");
	raw_send(raw, "#f FAST");
	raw_expect(raw, "#f *");
	raw_expect(raw, "PAGE wake=eventfd");
	assert_int_equal(seteuid(NOBODY), 0);
	fd = dup(raw->fds[0]);
	for (int i = 0; i < 2; i++) {
		void *at;

		at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		assert_ptr_equal(at, MAP_FAILED);
		assert_int_equal(ftruncate(fd, 0), -1);
		assert_int_equal(
			fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), -1);
		assert_int_equal(write(fd, &forged, sizeof forged), -1);
		assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
		assert_int_equal(fchmod(fd, 0666), -1);
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		assert_int_equal(open(path, O_RDWR | O_CLOEXEC), -1);
		at = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
		assert_ptr_not_equal(at, MAP_FAILED);
		assert_int_equal(mprotect(at, 4096, PROT_READ | PROT_WRITE), -1);
		assert_int_equal(madvise(at, 4096, MADV_REMOVE), -1);
		munmap(at, 4096);
		if (i == 1)
			break;
		/* the page was one, the ring is the other */
		close(fd);
		assert_int_equal(seteuid(own), 0);
		raw_send(raw, "#t TOOK");
		raw_expect(raw, "#t *");
		raw_send(raw, "#j JOIN room ring");
		raw_expect(raw, "#j * ~");
		{
			struct sleeper sleeper;
			int fds[2];

			assert_int_equal(seteuid(NOBODY), 0);
			assert_int_equal(sleeper_create(&sleeper), 0);
			assert_int_equal(seteuid(own), 0);
			fds[0] = sleeper.fd;
			fds[1] = sleeper.page.fd;
			raw_send_fds(raw, fds, 2, "#w WAKER");
			raw_expect(raw, "#w *");
			sleeper_close(&sleeper);
		}
		raw_expect(raw, "RING room sp3aker 0 ~p=0000000000000abc nonce=0000000000000007 "
				"at=0 seq=~");
		assert_int_equal(raw->n_fds, 1);
		fd = dup(raw->fds[0]);
		assert_int_equal(seteuid(NOBODY), 0);
	}
	assert_int_equal(seteuid(own), 0);
	publisher_put(&publisher, 1, "for everybody");
	assert_int_equal(sealed_map(&memory, fd, 0, FAST_RING_LEN, FAST_RING_LEN), 0);
	assert_int_equal(ring_reader_init(&reader, memory.at, memory.len, 0, 1), 0);
	assert_int_equal(ring_get(&reader, buffer, sizeof buffer, 1, &batch), 0);
	assert_true(ring_batch_next(&batch, &message));
	assert_memory_equal(message.payload, "for everybody", 13);
	sealed_close(&memory);
	publisher_close(&publisher);
	broker_stop(broker);
}

/* ---- descriptors that are not what they should be ---- */

static int seal(int fd, int seals)
{
	char path[32];
	int again;

	assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	again = open(path, O_RDONLY | O_CLOEXEC);
	close(fd);
	return again;
}

/* A ring in all but what a test makes of it. */
static int make_ring(size_t len, bool is_whole)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct ring_writer writer;
	void *at;

	assert_int_equal(ftruncate(fd, (off_t)len), 0);
	for (size_t page = 0; is_whole && page < len; page += 4096)
		assert_int_equal(pwrite(fd, "", 1, (off_t)page), 1);
	at = mmap(NULL, RING_HEADER_LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(at, MAP_FAILED);
	ring_writer_init(&writer, at, RING_CAPACITY_MIN, 1);
	munmap(at, RING_HEADER_LEN);
	return fd;
}

static int make_memfd(size_t len, int seals, bool is_whole)
{
	return seal(make_ring(len, is_whole), seals);
}

static int bad_unsealed(void)
{
	return make_memfd(FAST_RING_LEN, F_SEAL_SHRINK | F_SEAL_GROW, true);
}

static int bad_sealable(void)
{
	return make_memfd(FAST_RING_LEN, ALL_SEALS & ~F_SEAL_SEAL, true);
}

static int bad_sparse(void)
{
	return make_memfd(FAST_RING_LEN, ALL_SEALS, false);
}

/* As many blocks as if it were whole, but behind its end. */
static int bad_hole(void)
{
	int fd = make_ring(FAST_RING_LEN, false);

	assert_int_equal(fallocate(fd, FALLOC_FL_KEEP_SIZE, FAST_RING_LEN, 2 * FAST_RING_LEN), 0);
	return seal(fd, ALL_SEALS);
}

static int bad_tail(void)
{
	int fd = make_ring(FAST_RING_LEN, true);

	assert_int_equal(fallocate(fd, FALLOC_FL_KEEP_SIZE, FAST_RING_LEN, 16 << 20), 0);
	return seal(fd, ALL_SEALS);
}

static int bad_huge(void)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB);

	if (fd < 0) /* this kernel has none: then nobody can pass one */
		return bad_hole();
	assert_int_equal(ftruncate(fd, 2 << 20), 0);
	return seal(fd, ALL_SEALS);
}

/* Of another user. */
static int bad_foreign(void)
{
	uid_t own = geteuid();
	int fd;

	if (own != 0) /* only root can make one */
		return bad_hole();
	assert_int_equal(seteuid(NOBODY), 0);
	fd = make_memfd(FAST_RING_LEN, ALL_SEALS, true);
	assert_int_equal(seteuid(own), 0);
	return fd;
}

static int bad_small(void)
{
	return make_memfd(4096, ALL_SEALS, true);
}

static int bad_large(void)
{
	return make_memfd(RING_HEADER_LEN + RING_CAPACITY_MAX + 4096, ALL_SEALS, true);
}

static int bad_size(void)
{
	return make_memfd(FAST_RING_LEN + 64, ALL_SEALS, true);
}

static int bad_header(void)
{
	int fd = make_ring(FAST_RING_LEN, true);

	assert_int_equal(pwrite(fd, "", 1, 0), 1); /* of its magic */
	return seal(fd, ALL_SEALS);
}

static int bad_writable(void)
{
	int fd = make_ring(FAST_RING_LEN, true);

	assert_int_equal(fcntl(fd, F_ADD_SEALS, ALL_SEALS), 0);
	return fd;
}

static int bad_pipe(void)
{
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	close(fds[1]);
	return fds[0];
}

static int bad_file(void)
{
	return open("/dev/zero", O_RDONLY | O_CLOEXEC);
}

static int bad_directory(void)
{
	return open("/", O_PATH | O_CLOEXEC);
}

/* A thread closes what was passed. */
static void await_descriptors(const struct broker *broker, unsigned n)
{
	uint64_t until = clock_ms() + DEADLINE_MS;

	while (broker_descriptors(broker) != n)
		if (clock_ms() > until)
			fail_msg("%u descriptors", broker_descriptors(broker));
}

static void test_bad_rings(void **state)
{
	static const struct {
		const char *what;
		int (*make)(void);
	} table[] = {
		{ "unsealed", bad_unsealed },
		{ "not sealed against seals", bad_sealable },
		{ "sparse", bad_sparse },
		{ "with a hole and blocks behind its end", bad_hole },
		{ "with many blocks behind its end", bad_tail },
		{ "of huge pages", bad_huge },
		{ "of another user", bad_foreign },
		{ "small", bad_small },
		{ "large", bad_large },
		{ "of another size", bad_size },
		{ "without a header", bad_header },
		{ "writable", bad_writable },
		{ "a pipe", bad_pipe },
		{ "a device", bad_file },
		{ "a path", bad_directory },
	};
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_hello(broker, "name=t3ster batch pub=1");
	unsigned n_before;

	fast_open(raw);
	raw_expect(raw, "#t *");
	n_before = broker_descriptors(broker);
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		int fd = table[i].make();

		raw_send_fds(raw, &fd, 1, "#g RING room nonce=1");
		if (!pattern_matches("#g ! RING ~", raw_next(raw)))
			fail_msg("%s was taken", table[i].what);
		close(fd);
	}
	raw_send(raw, "#g RING room nonce=1");
	raw_expect(raw, "#g ! RING the descriptor: ~");
	raw_send(raw, "#g RING room");
	raw_expect(raw, "#g ! ARGS ~");
	raw_send(raw, "#g RING wall nonce=1");
	raw_expect(raw, "#g ! RING ~wall");
	raw_send(raw, "#g RING @t3ster nonce=1");
	raw_expect(raw, "#g ! ROOM ~");
	raw_send(raw, "#g RING room nonce=1 mode=loud");
	raw_expect(raw, "#g ! ARGS mode= ~");
	raw_send(raw, "#r STATS rings");
	raw_expect(raw, "#r * 0");
	await_descriptors(broker, n_before);
	/* and what is as it should be is taken */
	{
		int fd = make_memfd(FAST_RING_LEN, ALL_SEALS, true);

		raw_send_fds(raw, &fd, 1, "#g RING room nonce=1");
		raw_expect(raw, "#g * slot=0");
		close(fd);
	}
	broker_stop(broker);
}

/* More than belong to it, or to something that takes none. */
static void test_descriptors_nobody_asked_for(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_hello(broker, "name=t3ster batch pub=1"), *other;
	int fds[8];
	unsigned n_before;

	fast_open(raw);
	raw_expect(raw, "#t *");
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		fds[i] = bad_header();
	n_before = broker_descriptors(broker);
	raw_send_fds(raw, fds, 2, "#g RING room nonce=1");
	raw_expect(raw, "#g ! RING ~");
	raw_send_fds(raw, fds, 8, "#g RING room nonce=1");
	raw_expect(raw, "#g ! RING ~");
	raw_send_fds(raw, fds, 1, "#w WAKER");
	raw_expect(raw, "#w ! RING two ~");
	raw_send_fds(raw, fds, 2, "#w WAKER");
	raw_expect(raw, "#w ! RING not an eventfd ~");
	fds[0] = (close(fds[0]), eventfd(0, EFD_CLOEXEC));
	raw_send_fds(raw, fds, 2, "#w WAKER");
	raw_expect(raw, "#w ! RING not an eventfd ~");
	await_descriptors(broker, n_before);
	other = raw_hello(broker, "name=0ther batch pub=2");
	(void)fast_open(other);
	raw_expect(other, "#t *");
	raw_send_fds(other, fds, 1, "PING");
	raw_expect(other, "BYE FRAMING a file descriptor ~");
	raw_expect_close(other);
	raw_send(raw, "#p PING");
	raw_expect(raw, "#p *");
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		close(fds[i]);
	broker_stop(broker);
}

/* ---- requests out of turn ---- */

static void test_out_of_turn(void **state)
{
	struct broker *broker = broker_start(NULL);
	struct raw *raw = raw_hello(broker, "name=t3ster");

	raw_send(raw, "#1 FAST");
	raw_expect(raw, "#1 ! ARGS FAST needs batch and pub= in HELLO");
	raw_send(raw, "#1 BELL");
	raw_expect(raw, "#1 ! STATE ~");
	raw_send(raw, "#1 TOOK");
	raw_expect(raw, "#1 ! STATE ~");
	raw_send(raw, "#1 WAKER");
	raw_expect(raw, "#1 ! STATE ~");
	raw_send(raw, "#1 RING room nonce=1");
	raw_expect(raw, "#1 ! RING FAST was not said~");
	raw_send(raw, "#1 RESYNC room 0 p=abc after=0");
	raw_expect(raw, "#1 ! NOTIN ~");
	raw_send(raw, "#1 RESYNC room");
	raw_expect(raw, "#1 ! ARGS ~");
	raw_send(raw, "#1 JOIN room ring"); /* which it can not follow: as if it had not asked */
	raw_expect(raw, "#1 * ~");
	raw = raw_hello(broker, "name=t3ster batch pub=1");
	raw_send(raw, "#1 FAST");
	raw_expect(raw, "#1 *");
	raw_expect(raw, "PAGE wake=~");
	raw_send(raw, "#2 FAST");
	raw_expect(raw, "#2 ! STATE ~");
	raw_send(raw, "#3 RING room nonce=1");
	raw_expect(raw, "#3 ! RING FAST was not said, or its page was not taken");
	raw_send(raw, "#4 TOOK no");
	raw_expect(raw, "#4 *");
	raw_send(raw, "#5 TOOK");
	raw_expect(raw, "#5 ! STATE ~");
	broker_stop(broker);
}

static void test_limits(void **state)
{
	struct broker *broker = broker_start("--limit", "ring-bytes=4600k");
	struct raw *raw = raw_hello(broker, "name=t3ster batch pub=1"), *other;
	struct sealed memory[RINGS_MAX + 1];
	struct ring_writer writer;

	fast_open(raw);
	raw_expect(raw, "#t *");
	for (unsigned i = 0; i <= RINGS_MAX; i++) {
		fast_make_ring(&memory[i], &writer);
		raw_send_fds(raw, &memory[i].fd, 1, "#g RING room%u nonce=1", i);
		if (i < RINGS_MAX)
			raw_expect(raw, "#g * slot=%u", i);
	}
	raw_expect(raw, "#g ! RING this connection has as many rings as it can have");
	raw = raw_hello(broker, "name=t3ster batch pub=2");
	fast_open(raw);
	raw_expect(raw, "#t *");
	raw_send_fds(raw, &memory[0].fd, 1, "#g RING other nonce=1");
	raw_expect(raw, "#g * slot=0");
	raw_send_fds(raw, &memory[1].fd, 1, "#g RING other nonce=1");
	raw_expect(raw, "#g ! RING there is one already");
	/* nor by another connection under the same label */
	other = raw_hello(broker, "name=t3ster batch pub=2");
	(void)fast_open(other);
	raw_expect(other, "#t *");
	raw_send_fds(other, &memory[1].fd, 1, "#g RING other nonce=1");
	raw_expect(other, "#g ! RING there is one already");
	raw_send_fds(raw, &memory[1].fd, 1, "#g RING more nonce=1");
	raw_expect(raw, "#g ! QUOTA ring-bytes: at the limit of 4710400");
	for (unsigned i = 0; i <= RINGS_MAX; i++)
		sealed_close(&memory[i]);
	broker_stop(broker);
}

/* A user has up to room-rings rings in one room. Rings in another room, and in place of one that
 * ended, are still allowed. */
static void test_rings_of_a_room(void **state)
{
	struct broker *broker = broker_start("--limit", "room-rings=2");
	struct publisher a, b, c;
	struct raw *raw, *reader = fast_join(broker, geteuid(), "room");

	publisher_open_as(&a, broker, "room", "name=t3ster batch pub=1");
	raw_expect(reader, "RING room ~");
	raw_send(reader, "#t TOOK");
	raw_expect(reader, "#t *");
	publisher_open_as(&b, broker, "room", "name=t3ster batch pub=2");
	publisher_open_as(&c, broker, "other", "name=t3ster batch pub=3");
	raw_send_fds(c.raw, &c.memory.fd, 1, "#g RING room nonce=1");
	raw_expect(c.raw, "#g ! QUOTA room-rings: at the limit of 2");
	publisher_close(&a);
	raw = raw_hello(broker, "name=t4ster batch pub=4");
	/* the reader does not say that it took the end */
	fast_await_row(raw, "#r + room ~ ended ~");
	raw_send_fds(c.raw, &c.memory.fd, 1, "#g RING room nonce=1");
	raw_expect(c.raw, "#g * slot=1");
	(void)fast_open(raw);
	raw_expect(raw, "#t *");
	raw_send_fds(raw, &c.memory.fd, 1, "#g RING room nonce=1");
	raw_expect(raw, "#g ! QUOTA room-rings: at the limit of 2");
	publisher_close(&b);
	publisher_close(&c);
	broker_stop(broker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_archive),
		TEST(test_bell),
		TEST(test_answer_is_behind),
		TEST(test_reader_can_only_read),
		TEST(test_bad_rings),
		TEST(test_descriptors_nobody_asked_for),
		TEST(test_out_of_turn),
		TEST(test_limits),
		TEST(test_rings_of_a_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
