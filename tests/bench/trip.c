/* trip.c - a message there and back, between two processes on two processors:
 *
 *	trip SIZE polls|sleeps|looks     how long it takes
 *	calls SIZE                       in how many of them, polled, there is a system call
 *
 * System calls are counted by the kernel's own means: it gives those of a process to the
 * process itself, as a signal, while a byte says so (PR_SET_SYSCALL_USER_DISPATCH). After
 * the first one of a trip the byte is cleared until the next trip begins.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "tests/bench/harness.h"
#include "tests/bench/lane.h"
#include "tests/bench/works.h"

#define WARM_TRIPS  2000
#define TRIPS       20000
#define CALLS_TRIPS 100000
#define PATIENCE_NS (10 * NS_PER_S)
#define LOOKS       (1 << 20) /* between two at the clock */

static struct lane_plan plan = { .is_trip = true, .n_readers = 1 };
static bool counts_calls;

static struct stage {
	_Atomic uint32_t ready;
	_Atomic uint32_t is_counting;
	_Atomic uint64_t n_trips_with_calls[2];
} * stage;

/* ---- system calls ---- */

static volatile char selector;
static volatile uint64_t n_calls;

#if defined(PR_SET_SYSCALL_USER_DISPATCH) && defined(__x86_64__)

static void take_call(int number, siginfo_t *info, void *context)
{
	greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
	long result;

	selector = SYSCALL_DISPATCH_FILTER_ALLOW;
	n_calls++;
	result = syscall(info->si_syscall, r[REG_RDI], r[REG_RSI], r[REG_RDX], r[REG_R10],
		r[REG_R8], r[REG_R9]);
	r[REG_RAX] = result < 0 ? -errno : result;
}

static void count_begin(void)
{
	struct sigaction action = { .sa_sigaction = take_call, .sa_flags = SA_SIGINFO };

	sigaction(SIGSYS, &action, NULL);
	if (prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, 0, 0, &selector) < 0)
		die("this kernel does not tell system calls");
}

static void count_arm(bool is_on)
{
	selector = is_on ? SYSCALL_DISPATCH_FILTER_BLOCK : SYSCALL_DISPATCH_FILTER_ALLOW;
}

#else

static void count_begin(void)
{
	die("system calls can not be told on this machine");
}

static void count_arm(bool is_on)
{
}

#endif

/* ---- the two sides ---- */

/* The next message, which must be number SERIAL. */
static const void *await(struct lane *lane, uint64_t serial)
{
	struct lane_losses losses = { 0 };
	uint64_t got, until = 0;
	const void *body;

	for (uint64_t n = 1; !(body = lane_get(lane, &losses)); n++) {
		if (n % LOOKS != 0)
			continue;
		until = until ? until : now_ns() + PATIENCE_NS;
		if (now_ns() > until)
			die("message %" PRIu64 " did not come", serial);
	}
	memcpy(&got, body, sizeof got);
	if (got != serial || losses.n_lost > 0)
		die("message %" PRIu64 " instead of %" PRIu64 ", %" PRIu64 " are lost", got, serial,
			losses.n_lost);
	/* behind the first ones everything is to go through shared memory */
	if (losses.n_detours > 0 && serial > WARM_TRIPS)
		die("message %" PRIu64 " came through the broker", serial);
	return body;
}

static struct lane *open_side(int side)
{
	struct lane *lane;

	lane = lane_open(side, 1 - side, 0);
	pin(side); /* now: who opens may want to know how many processors there are */
	if (counts_calls)
		count_begin();
	word_raise(&stage->ready);
	word_await(&stage->ready, 2);
	lane_meet(lane);
	return lane;
}

static void answer(int number)
{
	struct lane *lane = open_side(1);

	for (uint64_t serial = 1;; serial++) {
		const void *body;

		if (counts_calls)
			count_arm(stage->is_counting);
		body = await(lane, serial);
		lane_put(lane, body, false);
		if (n_calls > 0) {
			stage->n_trips_with_calls[1]++;
			n_calls = 0;
		}
	}
}

static void trip(struct lane *lane, uint64_t serial)
{
	memcpy(harness_body, &serial, sizeof serial);
	lane_put(lane, harness_body, false);
	memcpy(harness_body, await(lane, serial), plan.len);
}

static void count_trips(struct lane *lane, uint64_t serial)
{
	stage->is_counting = true;
	for (int i = 0; i < CALLS_TRIPS; i++) {
		count_arm(true);
		trip(lane, serial + (uint64_t)i);
		count_arm(false);
		if (n_calls > 0)
			stage->n_trips_with_calls[0]++;
		n_calls = 0;
	}
	stage->is_counting = false;
	trip(lane, serial + CALLS_TRIPS);
}

static void run(void)
{
	static uint64_t times[TRIPS];
	struct lane *lane;
	uint64_t serial = 1;
	pid_t pid;

	stage = share(sizeof *stage);
	lanes_plan(&plan);
	pid = spawn(answer, 1);
	lane = open_side(0);
	while (serial <= WARM_TRIPS)
		trip(lane, serial++);
	if (counts_calls) {
		count_trips(lane, serial);
	} else {
		for (int i = 0; i < TRIPS; i++) {
			uint64_t start = now_ns();

			trip(lane, serial++);
			times[i] = now_ns() - start;
		}
	}
	end(pid);
	if (counts_calls) {
		printf("trips_with_calls %" PRIu64 "\n",
			stage->n_trips_with_calls[0] + stage->n_trips_with_calls[1]);
		return;
	}
	sort_ns(times, TRIPS);
	printf("p50_us %.4f\np99_us %.4f\np999_us %.4f\n", percentile_us(times, TRIPS, 0.5),
		percentile_us(times, TRIPS, 0.99), percentile_us(times, TRIPS, 0.999));
}

void work_trip(int argc, char **argv)
{
	static const char *const waits[] = { "polls", "sleeps", "looks" };

	if (argc != 2)
		die("usage: trip SIZE polls|sleeps|looks");
	plan.len = number_of(argv[0], sizeof(uint64_t), BODY_MAX);
	for (size_t i = 0; i < ARRAY_LEN(waits); i++)
		if (strcmp(argv[1], waits[i]) == 0)
			plan.wait = (enum lane_wait)i;
	run();
}

void work_calls(int argc, char **argv)
{
	if (argc != 1)
		die("usage: calls SIZE");
	plan.len = number_of(argv[0], sizeof(uint64_t), BODY_MAX);
	counts_calls = true;
	run();
}
