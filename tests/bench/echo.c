/* echo.c - round trips between two processes through the broker, one at a time: SIZE
 */
#include <stdio.h>
#include <string.h>

#include "tests/bench/peer.h"
#include "tests/bench/works.h"

#define ECHO_WARM   2000
#define ECHO_N      20000
#define SETTLE_MS   100
#define DEADLINE_NS (60 * NS_PER_S)

static _Atomic uint32_t *ready;

static void answer(void *userdata, const void *body, size_t len)
{
	/* what was received is gone with the next call; harness_body is this process's own */
	memcpy(harness_body, body, MIN(len, sizeof harness_body));
	peer_publish(userdata, "t2", harness_body, len);
}

static void respond(int number)
{
	struct peer *peer = peer_connect(harness_address);

	peer_subscribe(peer, "t1");
	peer_await(peer);
	word_raise(ready);
	for (;;) {
		peer_input(peer, INPUT_MS, answer, peer);
		peer_flush(peer);
	}
}

static void count(void *userdata, const void *body, size_t len)
{
	++*(unsigned *)userdata;
}

void work_echo(int argc, char **argv)
{
	static uint64_t times[ECHO_N];
	uint64_t deadline = now_ns() + DEADLINE_NS;
	double broker_s = 0;
	struct peer *peer;
	unsigned n = 0;
	size_t size;
	pid_t other;

	if (argc != 1)
		die("echo SIZE");
	size = number_of(argv[0], 1, BODY_MAX);
	ready = share(sizeof *ready);
	other = spawn(respond, 0);
	peer = peer_connect(harness_address);
	peer_subscribe(peer, "t2");
	peer_await(peer);
	word_await(ready, 1);
	pass_ms(SETTLE_MS);
	for (int i = -ECHO_WARM; i < ECHO_N; i++) {
		uint64_t start = now_ns();

		if (i == 0)
			broker_s = cpu_s(harness_broker);
		n = 0;
		peer_publish(peer, "t1", harness_body, size);
		peer_flush(peer);
		while (n == 0) {
			peer_input(peer, INPUT_MS, count, &n);
			if (now_ns() > deadline)
				die("no answer");
		}
		if (i >= 0)
			times[i] = now_ns() - start;
	}
	broker_s = cpu_s(harness_broker) - broker_s;
	sort_ns(times, ECHO_N);
	printf("p50_us %.1f\n", percentile_us(times, ECHO_N, 0.5));
	printf("p99_us %.1f\n", percentile_us(times, ECHO_N, 0.99));
	printf("p999_us %.1f\n", percentile_us(times, ECHO_N, 0.999));
	printf("broker_cpu_us %.2f\n", broker_s * 1e6 / ECHO_N);
	end(other);
}
