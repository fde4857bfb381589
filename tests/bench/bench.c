/* bench.c - the measuring half of bench-chat and bench-relay.
 *
 *	bench-X PATH BROKER_PID flow PUBLISHERS SUBSCRIBERS SIZE [WINDOW]
 *	bench-X PATH BROKER_PID echo SIZE
 *
 * flow: each publisher is a process, the subscribers are connections of one. Flow
 * control is the same for whatever is measured and outside it: publishers take
 * credits from a window of undelivered messages in shared memory, the subscriber
 * gives them back. 0.3 s of warm-up, 1 s measured, counted at the subscriber.
 * echo: round trips between two processes, one at a time.
 *
 * Prints "METRIC VALUE" lines.
 */
#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/peer.h"

#define PUBLISHERS_MAX 64
#define SIZE_MAX_BYTES 64000
#define WARM_NS        UINT64_C(300000000)
#define RUN_NS         UINT64_C(1000000000)

struct shared {
	_Alignas(128) _Atomic uint64_t sent;     /* credits taken by the publishers */
	_Alignas(128) _Atomic uint64_t received; /* by every subscriber, on average */
	_Alignas(128) _Atomic uint32_t wake;     /* futex: credits came back */
	_Atomic uint32_t waiters;
	_Alignas(128) _Atomic uint32_t ready; /* futex: processes that are set up */
	_Atomic uint32_t go;                  /* futex */
};

static struct shared *shared;
static const char *path;
static pid_t broker_pid;
static uint64_t window;
static size_t size;
static char body[SIZE_MAX_BYTES];

void die(const char *format, ...)
{
	va_list ap;

	fprintf(stderr, "bench: ");
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fprintf(stderr, " (%s)\n", strerror(errno));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static double cpu_s(pid_t pid)
{
	struct timespec ts;
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &ts))
		return 0;
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void futex_wait(_Atomic uint32_t *word, uint32_t value)
{
	struct timespec timeout = { 5, 0 };

	if (syscall(SYS_futex, word, FUTEX_WAIT, value, &timeout, NULL, 0) < 0 &&
		errno == ETIMEDOUT)
		die("nothing moves");
}

static void futex_wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, 1 << 30, NULL, NULL, 0);
}

static void set_ready(void)
{
	shared->ready++;
	futex_wake(&shared->ready);
}

static void wait_for(_Atomic uint32_t *word, uint32_t wanted)
{
	uint32_t value;

	while ((value = *word) < wanted)
		futex_wait(word, value);
}

static pid_t spawn(void (*run)(void))
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		run();
		_exit(0);
	}
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* ---- flow ---- */

static uint64_t take_credits(uint64_t chunk)
{
	for (;;) {
		uint64_t sent = shared->sent, out = sent - shared->received;
		uint32_t wake = shared->wake;

		if (out < window) {
			uint64_t n = MIN(window - out, chunk);

			if (atomic_compare_exchange_strong(&shared->sent, &sent, sent + n))
				return n;
			continue;
		}
		shared->waiters = 1;
		if (shared->sent - shared->received >= window)
			futex_wait(&shared->wake, wake);
	}
}

static void give_credits(uint64_t received)
{
	atomic_store_explicit(&shared->received, received, memory_order_seq_cst);
	if (shared->waiters && shared->sent - received <= window / 2) {
		shared->waiters = 0;
		shared->wake++;
		futex_wake(&shared->wake);
	}
}

static uint64_t chunk_of_publisher;

static void publish(void)
{
	struct peer *peer = peer_connect(path);

	set_ready();
	wait_for(&shared->go, 1);
	for (;;) {
		uint64_t n = take_credits(chunk_of_publisher);

		for (uint64_t i = 0; i < n; i++)
			peer_publish(peer, "t1", body, size);
		peer_flush(peer);
	}
}

static uint64_t n_received;

static void count(void *userdata, const void *data, size_t len)
{
	if (len != size)
		die("%zu bytes, not %zu", len, size);
	n_received++;
}

static void receive_some(struct peer **peers, int n_peers, int ep)
{
	struct epoll_event events[128];
	int n;

	if (n_peers == 1) {
		peer_input(peers[0], 100, count, NULL);
		return;
	}
	n = epoll_wait(ep, events, 128, 100);
	for (int i = 0; i < n; i++)
		peer_input(events[i].data.ptr, 0, count, NULL);
}

static void measure_flow(int n_publishers, int n_subscribers)
{
	struct peer **peers = calloc((size_t)n_subscribers, sizeof *peers);
	pid_t publishers[PUBLISHERS_MAX];
	int ep = epoll_create1(EPOLL_CLOEXEC);
	uint64_t start, from = 0, counted = 0, t;
	double broker_s = 0, seconds;

	chunk_of_publisher =
		MAX(window / (n_publishers > 1 ? (uint64_t)n_publishers * 2 : 4), UINT64_C(1));
	for (int i = 0; i < n_publishers; i++)
		publishers[i] = spawn(publish);
	for (int i = 0; i < n_subscribers; i++) {
		struct epoll_event event = { .events = EPOLLIN };

		peers[i] = peer_connect(path);
		peer_subscribe(peers[i], "t1");
		event.data.ptr = peers[i];
		epoll_ctl(ep, EPOLL_CTL_ADD, peer_fd(peers[i]), &event);
	}
	wait_for(&shared->ready, (uint32_t)n_publishers);
	shared->go = 1;
	futex_wake(&shared->go);
	start = now_ns();
	do {
		receive_some(peers, n_subscribers, ep);
		give_credits(n_received / (uint64_t)n_subscribers);
		t = now_ns();
		if (!from && t - start > WARM_NS) {
			from = t;
			counted = n_received;
			broker_s = cpu_s(broker_pid);
		}
	} while (!from || t - from < RUN_NS);
	seconds = (double)(t - from) / 1e9;
	counted = n_received - counted;
	printf("deliveries_s %.0f\n", (double)counted / seconds);
	printf("broker_cpu_s_per_m %.4f\n", (cpu_s(broker_pid) - broker_s) / (double)counted * 1e6);
	for (int i = 0; i < n_publishers; i++)
		end(publishers[i]);
	free(peers);
}

/* ---- echo ---- */

static void echo_back(void *userdata, const void *data, size_t len)
{
	peer_publish(userdata, "t2", data, len);
}

static void echo(void)
{
	struct peer *peer = peer_connect(path);

	peer_subscribe(peer, "t1");
	set_ready();
	for (;;) {
		peer_input(peer, 100, echo_back, peer);
		peer_flush(peer);
	}
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void measure_echo(void)
{
	enum { WARM = 2000, N = 20000 };
	static uint64_t times[N];
	struct peer *peer = peer_connect(path);
	pid_t other = spawn(echo);

	peer_subscribe(peer, "t2");
	wait_for(&shared->ready, 1);
	for (int i = -WARM; i < N; i++) {
		uint64_t start = now_ns(), before = n_received;

		peer_publish(peer, "t1", body, size);
		peer_flush(peer);
		while (n_received == before)
			peer_input(peer, 100, count, NULL);
		if (i >= 0)
			times[i] = now_ns() - start;
	}
	qsort(times, N, sizeof times[0], compare);
	printf("p50_us %.1f\np99_us %.1f\n", (double)times[N / 2] / 1e3,
		(double)times[N / 100 * 99] / 1e3);
	end(other);
}

int main(int argc, char **argv)
{
	struct rlimit limit;

	if (argc < 5)
		die("usage: %s PATH BROKER_PID flow PUBLISHERS SUBSCRIBERS SIZE [WINDOW] | echo "
		    "SIZE",
			argv[0]);
	signal(SIGPIPE, SIG_IGN);
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	path = argv[1];
	broker_pid = atoi(argv[2]);
	memset(body, 'x', sizeof body);
	shared = mmap(
		NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		die("mmap");
	if (!strcmp(argv[3], "echo")) {
		size = (size_t)atoi(argv[4]);
		measure_echo();
	} else if (argc >= 7) {
		int n_publishers = atoi(argv[4]), n_subscribers = atoi(argv[5]);

		size = (size_t)atoi(argv[6]);
		window = n_subscribers > 32 ? 128 : n_subscribers > 1 ? 512 : 1024;
		if (size > 4096)
			window = 128;
		if (argc > 7)
			window = strtoull(argv[7], NULL, 10);
		if (n_publishers > PUBLISHERS_MAX || size > sizeof body)
			die("too many publishers, or too large");
		measure_flow(n_publishers, n_subscribers);
	} else {
		die("unknown measurement");
	}
	return 0;
}
