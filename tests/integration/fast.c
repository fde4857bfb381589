/* fast.c - see fast.h. */
#include "tests/integration/fast.h"

#include <string.h>
#include <unistd.h>

#include "protocol/control.h"

int fast_open(struct raw *raw)
{
	raw_send(raw, "#f FAST");
	raw_expect(raw, "#f *");
	raw_expect(raw, "PAGE wake=~");
	assert_int_equal(raw->n_fds, 1);
	raw_send(raw, "#t TOOK");
	return raw->fds[0];
}

static void map_page(struct raw *raw, uid_t broker, struct sealed *ret_control)
{
	int fd = dup(fast_open(raw));

	raw_expect(raw, "#t *");
	assert_int_equal(sealed_map(ret_control, fd, broker, 4096, 4096), 0);
}

void fast_make_ring(struct sealed *ret_memory, struct ring_writer *ret_writer)
{
	assert_int_equal(sealed_create(ret_memory, "test-ring", FAST_RING_LEN), 0);
	ring_writer_init(ret_writer, ret_memory->at, RING_CAPACITY_MIN, 7);
}

void publisher_open_user(struct publisher *publisher, const struct broker *broker, uid_t uid,
	const char *room, const char *words)
{
	uid_t own = geteuid();

	*publisher = (struct publisher){ .raw = raw_hello_as(broker, uid, words) };
	map_page(publisher->raw, broker->uid, &publisher->control);
	assert_int_equal(seteuid(uid), 0); /* whose file it is */
	fast_make_ring(&publisher->memory, &publisher->writer);
	assert_int_equal(seteuid(own), 0);
	raw_send_fds(publisher->raw, &publisher->memory.fd, 1, "#g RING %s nonce=7", room);
	raw_expect(publisher->raw, "#g * slot=0");
	publisher->writer.gate =
		&((const struct control_page *)publisher->control.at)->slots[0].gate;
}

void publisher_open_as(struct publisher *publisher, const struct broker *broker, const char *room,
	const char *words)
{
	publisher_open_user(publisher, broker, geteuid(), room, words);
}

void publisher_open(struct publisher *publisher, const struct broker *broker, const char *room)
{
	publisher_open_as(publisher, broker, room, "name=sp3aker batch pub=abc");
}

void publisher_close(struct publisher *publisher)
{
	sealed_close(&publisher->control);
	sealed_close(&publisher->memory);
	raw_close(publisher->raw);
}

void publisher_again(struct publisher *publisher, const struct broker *broker)
{
	publisher->raw = raw_hello(broker, "name=sp3aker batch pub=abc");
	fast_open(publisher->raw);
	raw_expect(publisher->raw, "#t *");
}

void publisher_put(struct publisher *publisher, uint64_t number, const char *body)
{
	assert_int_equal(ring_put(&publisher->writer, 1, number, body, strlen(body)), 0);
}

struct raw *fast_join(const struct broker *broker, uid_t uid, const char *room)
{
	struct raw *raw = raw_hello_as(broker, uid, "name=r3ader batch pub=def");

	fast_open(raw);
	raw_expect(raw, "#t *");
	raw_send(raw, "#j JOIN %s ring", room);
	raw_expect(raw, "#j * ~");
	return raw;
}

void fast_await_row(struct raw *raw, const char *pattern)
{
	uint64_t until = clock_ms() + DEADLINE_MS;
	bool is_there = false;

	while (!is_there && clock_ms() < until) {
		struct text frame;

		raw_send(raw, "#r STATS rings");
		while (!pattern_matches("#r *~", frame = raw_next(raw)))
			is_there |= pattern_matches(pattern, frame);
		is_there |= pattern_matches(pattern, frame);
	}
	if (!is_there)
		fail_msg("no ring is like %s", pattern);
}
