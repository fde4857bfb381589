/* harness.c - see harness.h. */
#include "tests/bench/harness.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define AWAIT_S 60 /* nobody takes longer to get ready */

const char *harness_address;
pid_t harness_broker;
char harness_body[BODY_MAX];

void die(const char *format, ...)
{
	int error = errno;
	va_list ap;

	fprintf(stderr, "bench: ");
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fprintf(stderr, " (%s)\n", strerror(error));
	exit(1);
}

uint64_t number_of(const char *argument, uint64_t min, uint64_t max)
{
	char *end_of_number;
	uint64_t value;

	errno = 0;
	value = strtoull(argument, &end_of_number, 10);
	if (errno || *end_of_number || value < min || value > max)
		die("%s: not a number from %lu to %lu", argument, (unsigned long)min,
			(unsigned long)max);
	return value;
}

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

double cpu_s(pid_t pid)
{
	struct timespec ts;
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &ts))
		die("no processor time of %d", pid);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

void sort_ns(uint64_t *values, size_t n)
{
	qsort(values, n, sizeof values[0], compare);
}

double percentile_us(const uint64_t *sorted, size_t n, double p)
{
	return n ? (double)sorted[(size_t)(p * (double)(n - 1))] / 1e3 : 0;
}

/* ---- shared memory ---- */

void *share(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		die("mmap");
	return memory;
}

/* Returns false when the time ran out. */
static bool word_wait(_Atomic uint32_t *word, uint32_t value, uint64_t ns)
{
	struct timespec timeout = { (time_t)(ns / NS_PER_S), (long)(ns % NS_PER_S) };

	return syscall(SYS_futex, word, FUTEX_WAIT, value, &timeout, NULL, 0) == 0 ||
	       errno != ETIMEDOUT;
}

static void word_wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, 1 << 30, NULL, NULL, 0);
}

void word_raise(_Atomic uint32_t *word)
{
	(*word)++;
	word_wake(word);
}

void word_await(_Atomic uint32_t *word, uint32_t wanted)
{
	uint32_t value;

	while ((value = *word) < wanted)
		if (!word_wait(word, value, AWAIT_S * NS_PER_S))
			die("%u of %u are ready after %d s", value, wanted, AWAIT_S);
}

void pass_ms(unsigned n)
{
	_Atomic uint32_t never = 0;
	uint64_t until = now_ns() + n * NS_PER_MS, now;

	while ((now = now_ns()) < until)
		word_wait(&never, 0, until - now);
}

/* A process that was not ended has said why; without it nothing can be measured. */
static void take_end(int number)
{
	_exit(1);
}

pid_t spawn(void (*run)(int number), int number)
{
	struct sigaction action = { .sa_handler = take_end, .sa_flags = SA_NOCLDSTOP };
	pid_t parent = getpid(), pid;

	fflush(stdout);
	sigaction(SIGCHLD, &action, NULL);
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		signal(SIGCHLD, SIG_DFL);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() == parent)
			run(number);
		fflush(stdout);
		_exit(0);
	}
	return pid;
}

void end(pid_t pid)
{
	signal(SIGCHLD, SIG_DFL);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

void pin(unsigned n)
{
	static cpu_set_t all;
	cpu_set_t one;

	if (CPU_COUNT(&all) == 0 && sched_getaffinity(0, sizeof all, &all) < 0)
		die("affinity");
	if (n >= (unsigned)CPU_COUNT(&all))
		die("this takes %u processors", n + 1);
	for (int cpu = 0;; cpu++) {
		if (!CPU_ISSET(cpu, &all) || n-- > 0)
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		break;
	}
	if (sched_setaffinity(0, sizeof one, &one) < 0)
		die("affinity");
}

/* ---- the window ---- */

uint64_t window_take(struct window *window, uint64_t chunk)
{
	while (!window->is_over) {
		/* in this order: received never seems ahead of sent */
		uint32_t wake = window->wake;
		uint64_t received = window->received, sent = window->sent;

		if (sent - received < window->size) {
			uint64_t n = MIN(window->size - (sent - received), chunk);

			if (atomic_compare_exchange_strong(&window->sent, &sent, sent + n))
				return n;
			continue;
		}
		window->waiters = 1;
		if (window->sent - window->received >= window->size && !window->is_over)
			word_wait(&window->wake, wake, NS_PER_S);
	}
	return 0;
}

void window_give(struct window *window, uint64_t received)
{
	window->received = received;
	if (window->waiters && window->sent - received <= window->size / 2) {
		window->waiters = 0;
		word_raise(&window->wake);
	}
}

void window_close(struct window *window)
{
	window->is_over = 1;
	word_raise(&window->wake);
}
