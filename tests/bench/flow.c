/* flow.c - as many messages as will go: PUBLISHERS SUBSCRIBERS SIZE WINDOW [ROOMS TURN]
 *
 * Each publisher is a process; the subscribers are connections of one. With several
 * rooms every subscriber is in all of them and every publisher goes round them, with
 * TURN messages to each. A publisher sends bursts of a quarter of the window, or of half
 * its share when there are several, and flushes after each. 0.3 s of warm-up, 1 s
 * measured, counted at the subscribers. In the end everything must have arrived.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "tests/bench/peer.h"
#include "tests/bench/works.h"

#define PUBLISHERS_MAX  64
#define SUBSCRIBERS_MAX 20000
#define ROOMS_MAX       20000
#define SETTLE_MS       100 /* for subscriptions that nobody acknowledges */
#define PATIENCE_NS     (2 * NS_PER_S)

struct flow {
	struct window window;
	_Alignas(128) _Atomic uint32_t ready; /* publishers that are set up */
	_Alignas(128) _Atomic uint32_t go;
	_Atomic uint32_t done; /* publishers that have sent all they took credits for */
};

static struct flow *flow;
static int n_publishers, n_subscribers;
static size_t size;
static unsigned n_rooms = 1, turn = 1;
static char (*rooms)[16];
static uint64_t n_received;

static void rooms_name(void)
{
	rooms = calloc(n_rooms, sizeof *rooms);
	if (!rooms)
		die("no memory");
	for (unsigned i = 0; i < n_rooms; i++)
		snprintf(rooms[i], sizeof rooms[i], n_rooms == 1 ? "t1" : "r%u", i);
}

static void publish(int number)
{
	uint64_t share = n_publishers == 1 ? 4 : (uint64_t)n_publishers * 2;
	uint64_t chunk = MAX(flow->window.size / share, UINT64_C(1)), n, n_said = 0;
	unsigned room = (unsigned)number * n_rooms / (unsigned)n_publishers;
	struct peer *peer = peer_connect(harness_address);

	word_raise(&flow->ready);
	word_await(&flow->go, 1);
	while ((n = window_take(&flow->window, chunk)) > 0) {
		while (n-- > 0) {
			peer_publish(peer, rooms[room], harness_body, size);
			if (++n_said % turn == 0)
				room = (room + 1) % n_rooms;
		}
		peer_flush(peer);
	}
	word_raise(&flow->done);
	word_await(&flow->go, 2); /* which never comes: a library may still be sending */
}

static void count(void *userdata, const void *data, size_t len)
{
	if (len != size)
		die("%zu bytes, not %zu", len, size);
	n_received++;
}

static struct peer **subscribe(int *ret_epoll)
{
	struct peer **peers = calloc((size_t)n_subscribers, sizeof *peers);
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	if (!peers || epoll < 0)
		die("no memory");
	for (int i = 0; i < n_subscribers; i++) {
		peers[i] = peer_connect(harness_address);
		for (unsigned room = 0; room < n_rooms; room++)
			peer_subscribe(peers[i], rooms[room]);
	}
	for (int i = 0; i < n_subscribers; i++) {
		struct epoll_event event = { .events = EPOLLIN, .data.ptr = peers[i] };

		peer_await(peers[i]);
		if (n_subscribers > 1 &&
			epoll_ctl(epoll, EPOLL_CTL_ADD, peer_fd(peers[i]), &event) < 0)
			die("epoll");
	}
	*ret_epoll = epoll;
	return peers;
}

static void receive_some(struct peer **peers, int epoll)
{
	struct epoll_event events[128];
	int n;

	if (n_subscribers == 1) {
		peer_input(peers[0], INPUT_MS, count, NULL);
		return;
	}
	n = epoll_wait(epoll, events, ARRAY_LEN(events), INPUT_MS);
	for (int i = 0; i < n; i++)
		peer_input(events[i].data.ptr, 0, count, NULL);
}

/* Processor time: of the broker, the publishers, and this process. */
struct usage {
	double broker_s, publishers_s, subscriber_s;
};

static struct usage usage_get(const pid_t *publishers)
{
	struct usage usage = { .broker_s = cpu_s(harness_broker), .subscriber_s = cpu_s(getpid()) };

	for (int i = 0; i < n_publishers; i++)
		usage.publishers_s += cpu_s(publishers[i]);
	return usage;
}

/* What was sent and has not come after all. */
static uint64_t drain(struct peer **peers, int epoll)
{
	uint64_t moved_at = now_ns(), seen = n_received, wanted;

	window_close(&flow->window);
	for (;;) {
		wanted = flow->window.sent * (uint64_t)n_subscribers;
		if (flow->done == (uint32_t)n_publishers && n_received >= wanted)
			return 0;
		receive_some(peers, epoll);
		if (n_received != seen)
			moved_at = now_ns();
		else if (now_ns() - moved_at > PATIENCE_NS)
			return wanted - n_received;
		seen = n_received;
	}
}

static void report(uint64_t n, uint64_t ns, const struct usage *from, const struct usage *to)
{
	double millions = (double)n / 1e6;

	printf("deliveries_s %.0f\n", (double)n / ((double)ns / 1e9));
	printf("broker_cpu_s_per_m %.4f\n", (to->broker_s - from->broker_s) / millions);
	printf("publisher_cpu_s_per_m %.4f\n", (to->publishers_s - from->publishers_s) / millions);
	printf("subscriber_cpu_s_per_m %.4f\n", (to->subscriber_s - from->subscriber_s) / millions);
}

static void measure(struct peer **peers, int epoll, const pid_t *publishers)
{
	uint64_t start = now_ns(), from = 0, counted = 0, t;
	struct usage before = { 0 }, after;

	do {
		receive_some(peers, epoll);
		window_give(&flow->window, n_received / (uint64_t)n_subscribers);
		t = now_ns();
		if (!from && t - start > WARM_NS) {
			from = t;
			counted = n_received;
			before = usage_get(publishers);
		}
	} while (!from || t - from < RUN_NS);
	after = usage_get(publishers);
	if (n_received == counted)
		die("nothing arrived");
	report(n_received - counted, t - from, &before, &after);
	printf("lost %lu\n", (unsigned long)drain(peers, epoll));
}

void work_flow(int argc, char **argv)
{
	pid_t publishers[PUBLISHERS_MAX];
	struct peer **peers;
	int epoll;

	if (argc != 4 && argc != 6)
		die("flow PUBLISHERS SUBSCRIBERS SIZE WINDOW [ROOMS TURN]");
	n_publishers = (int)number_of(argv[0], 1, PUBLISHERS_MAX);
	n_subscribers = (int)number_of(argv[1], 1, SUBSCRIBERS_MAX);
	size = number_of(argv[2], 1, BODY_MAX);
	flow = share(sizeof *flow);
	flow->window.size = number_of(argv[3], 1, UINT32_MAX);
	if (argc == 6) {
		n_rooms = (unsigned)number_of(argv[4], 1, ROOMS_MAX);
		turn = (unsigned)number_of(argv[5], 1, UINT32_MAX);
	}
	rooms_name();
	/* first, so that they inherit no descriptor and no thread of the library */
	for (int i = 0; i < n_publishers; i++)
		publishers[i] = spawn(publish, i);
	peers = subscribe(&epoll);
	word_await(&flow->ready, (uint32_t)n_publishers);
	pass_ms(SETTLE_MS);
	word_raise(&flow->go);
	measure(peers, epoll, publishers);
	for (int i = 0; i < n_publishers; i++)
		end(publishers[i]);
}
