/* world.c - the broker of the simulation, and time and chance.
 *
 * One process and one thread: whatever waits, waits in look_wait() or sem_clockwait(),
 * which the linker replaces by a step of the broker (and of others, meanwhile()). The
 * clock is that of tests/fuzz/rig.c; it goes by looks, and faster while nothing happens,
 * so no timeout is ever slept. Random bytes come from the seed, too: a seed is a run.
 *
 * A broker that is killed writes nothing more into any page and sends nothing, and its
 * names stay behind. broker_deinit() must still free its memory, so before that its
 * control pages are put aside, its semaphores forgotten and its socket moved out of the way.
 */
#include <dirent.h>
#include <errno.h>
#include <semaphore.h>
#include <signal.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "broker/fastpath.h"
#include "broker/ipc.h"
#include "broker/session.h"
#include "broker/trace.h"
#include "tests/fuzz/rig.h"
#include "tests/simulator/simulator.h"

/* No call of a chat may need more rounds of the broker. */
#define ROUNDS_MAX 6000

#define NS_PER_MS UINT64_C(1000000)

#define HISTORY_LINES 120
#define HISTORY_LEN   120

struct world world;

static uint64_t world_seed, chance_state;
static uint64_t nap_ns; /* the last wait in which nothing happened */
static unsigned n_descriptors;
static char history[HISTORY_LINES][HISTORY_LEN];
static unsigned n_history;

/* ---- failing ---- */

static void print_history(void)
{
	unsigned n = MIN(n_history, HISTORY_LINES);
	char path[96];

	fprintf(stderr, "seed %lu, the last steps:\n", (unsigned long)world_seed);
	for (unsigned i = n_history - n; i < n_history; i++)
		fprintf(stderr, "%6u %s\n", i, history[i % HISTORY_LINES]);
	/* nothing is left behind, by a run that fails either */
	(void)ipc_clean(world.path);
	snprintf(path, sizeof path, "%s.lock", world.path);
	unlink(path);
	unlink(world.path);
	unlink(world.aside);
	rmdir(world.dir);
}

void fail(const char *format, ...)
{
	va_list ap;

	print_history();
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fputc('\n', stderr);
	_exit(1);
}

void note(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(history[n_history++ % HISTORY_LINES], HISTORY_LEN, format, ap);
	va_end(ap);
}

/* An assertion of the broker, or a sanitizer. */
static void died(void)
{
	print_history();
}

static void aborted(int number)
{
	print_history();
	signal(SIGABRT, SIG_DFL);
}

void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

/* ---- chance ---- */

static uint64_t splitmix(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

uint32_t chance(uint32_t n)
{
	return (uint32_t)(splitmix(&chance_state) >> 32) % n;
}

static uint64_t bytes_state;

static const char *bytes_name(void)
{
	return "seed";
}

static uint32_t bytes_random(void)
{
	return (uint32_t)splitmix(&bytes_state);
}

static void bytes_fill(void *buffer, size_t len)
{
	for (size_t i = 0; i < len; i++)
		((unsigned char *)buffer)[i] = (unsigned char)bytes_random();
}

static struct randombytes_implementation bytes = {
	.implementation_name = bytes_name,
	.random = bytes_random,
	.buf = bytes_fill,
};

/* ---- in the place of waiting, timers and diagnostics ---- */

int __wrap_look_wait(struct look *look, int epoll, struct epoll_event *events, int n_max, int ms);
int __wrap_sem_clockwait(sem_t *semaphore, clockid_t clock, const struct timespec *until);
int __wrap_timerfd_settime(
	int fd, int flags, const struct itimerspec *when, struct itimerspec *ret_old);
int __real_sealed_create(struct sealed *ret_sealed, const char *name, size_t len);
int __wrap_sealed_create(struct sealed *ret_sealed, const char *name, size_t len);
int __real_sealed_map(
	struct sealed *ret_sealed, int fd, uid_t owner, size_t len_min, size_t len_max);
int __wrap_sealed_map(
	struct sealed *ret_sealed, int fd, uid_t owner, size_t len_min, size_t len_max);
void __wrap_trace(enum trace_level level, const char *format, ...);

static uint64_t clock_now(void)
{
	return broker_clock();
}

static void world_round(void)
{
	if (++world.n_rounds > ROUNDS_MAX)
		fail("this step needs more than %d rounds", ROUNDS_MAX);
	if (world.is_up)
		broker_round(&world.broker, 0);
}

static uint64_t world_count(void)
{
	const struct broker *broker = &world.broker;

	return broker->n_packets + broker->n_delivered + broker->rooms.n_records +
	       broker->n_sessions + world.epoch;
}

/* Somebody waits, for LIMIT_NS at most. */
static void world_wait(uint64_t limit_ns)
{
	uint64_t before = world_count();

	world_round();
	meanwhile();
	nap_ns = world_count() != before ? 0 : MIN(nap_ns * 2 + 100000, 50 * NS_PER_MS);
	rig_add_time(MIN(nap_ns, limit_ns));
}

int __wrap_look_wait(struct look *look, int epoll, struct epoll_event *events, int n_max, int ms)
{
	if (look != &world.broker.loop.look && ms != 0)
		world_wait(ms < 0 ? UINT64_MAX : (uint64_t)ms * NS_PER_MS);
	return epoll_wait(epoll, events, n_max, 0);
}

int __wrap_sem_clockwait(sem_t *semaphore, clockid_t clock, const struct timespec *until)
{
	uint64_t until_ns = (uint64_t)until->tv_sec * 1000000000 + (uint64_t)until->tv_nsec;

	while (sem_trywait(semaphore) != 0) {
		uint64_t now = clock_now();

		if (now >= until_ns) {
			errno = ETIMEDOUT;
			return -1;
		}
		world_wait(until_ns - now);
	}
	return 0;
}

/* The time that it names is not of the kernel's clock; who waits looks at its own. */
int __wrap_timerfd_settime(
	int fd, int flags, const struct itimerspec *when, struct itimerspec *ret_old)
{
	return 0;
}

/* In some runs now and then there is no descriptor or memory for what is shared. */
static bool is_exhausted(void)
{
	return world.is_short && chance(20) == 0;
}

int __wrap_sealed_create(struct sealed *ret_sealed, const char *name, size_t len)
{
	return is_exhausted() ? -EMFILE : __real_sealed_create(ret_sealed, name, len);
}

int __wrap_sealed_map(
	struct sealed *ret_sealed, int fd, uid_t owner, size_t len_min, size_t len_max)
{
	return is_exhausted() ? -ENOMEM
			      : __real_sealed_map(ret_sealed, fd, owner, len_min, len_max);
}

void __wrap_trace(enum trace_level level, const char *format, ...)
{
	char line[256];
	va_list ap;

	if (level > TRACE_ERROR && strncmp(format, "ring uid", 8) != 0 &&
		strncmp(format, "framing ", 8) != 0)
		return;
	va_start(ap, format);
	vsnprintf(line, sizeof line, format, ap);
	va_end(ap);
	fail("the broker says: %s", line);
}

/* ---- the broker ---- */

void world_start(void)
{
	sigset_t mask;
	int r;

	sigprocmask(SIG_SETMASK, NULL, &mask);
	r = broker_init(&world.broker, &world.config);
	sigprocmask(SIG_SETMASK, &mask, NULL); /* ^C is the tester's */
	if (r)
		fail("the broker does not start: %d", r);
	if (world.is_strange)
		world.broker.users.self = geteuid() + 1;
	world.is_up = true;
	world.epoch++;
}

/* From now on nobody sees what is written into its page, and its semaphore stays. */
static void fast_put_aside(struct fast *fast)
{
	if (fast->control.at &&
		mmap(fast->control.at, fast->control.len, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		fail("mmap: %m");
	if (fast->waker.fd >= 0)
		fast_hold(fast, -2);
	waker_close(&fast->waker);
	if (fast->held >= 0) {
		close(fast->held);
		fast_hold(fast, -1);
	}
	fast->held = -1;
	fast->semaphore[0] = '\0';
}

static void world_kill(void)
{
	list_for_each (link, &world.broker.sessions) {
		struct session *session = container_of(link, struct session, sessions_link);

		if (session->fast)
			fast_put_aside(session->fast);
	}
	if (rename(world.path, world.aside) != 0)
		fail("rename: %m");
	broker_deinit(&world.broker);
	if (rename(world.aside, world.path) != 0)
		fail("rename back: %m");
}

void world_end(bool is_killed)
{
	if (!is_killed) {
		broker_stop(&world.broker, TEXT("over"), (uid_t)-1);
		do {
			world_round();
			rig_add_time(NS_PER_MS);
		} while (!world.broker.is_stopping || world.broker.n_sessions > 0);
	}
	oracle_broker_ends();
	world.is_up = false;
	if (is_killed)
		world_kill();
	else
		broker_deinit(&world.broker);
}

void world_rounds(unsigned n, unsigned step_us)
{
	while (n-- > 0) {
		world_round();
		rig_add_time((uint64_t)chance(step_us + 1) * 1000);
	}
}

void world_step(void)
{
	world.n_rounds = 0;
}

bool world_has_ring(uint64_t nonce)
{
	if (!world.is_up)
		return false;
	list_for_each (link, &world.broker.feeds) {
		const struct feed *feed = container_of(link, struct feed, feeds_link);

		if (feed->nonce == nonce && !feed->is_ending && feed->fast->session)
			return true;
	}
	return false;
}

/* ---- begin and end ---- */

static unsigned count_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	if (!dir)
		fail("/proc/self/fd: %m");
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void count_own(void *userdata, const char *name, bool is_of_socket)
{
	*(unsigned *)userdata += is_of_socket;
}

void world_init(uint64_t seed, bool has_cuts)
{
	static bool is_prepared;

	if (!is_prepared) {
		is_prepared = true;
		randombytes_set_implementation(&bytes);
		setenv("CHAT_LOOK", "0", 1);
		unsetenv("CHAT_NO_SHM");
		unsetenv("CHAT_SEND_BUFFER");
		signal(SIGABRT, aborted);
		if (__sanitizer_set_death_callback)
			__sanitizer_set_death_callback(died);
	}
	world_seed = chance_state = bytes_state = seed;
	n_history = 0;
	n_descriptors = count_descriptors();
	world = (struct world){ .has_cuts = has_cuts };
	strcpy(world.dir, "/tmp/simulator.XXXXXX");
	if (!mkdtemp(world.dir))
		fail("mkdtemp: %m");
	snprintf(world.path, sizeof world.path, "%s/broker", world.dir);
	snprintf(world.aside, sizeof world.aside, "%s/aside", world.dir);
	world.config = (struct broker_config){
		.socket = world.path, .mode = 0600, .group = (gid_t)-1, .admin_group = (gid_t)-1
	};
	settings_init(&world.config.settings);
	world.config.settings.limit[QUOTA_NAMES] = 1000;
	world.config.settings.limit[QUOTA_RINGS] = UINT64_C(1) << 30;
	world.config.settings.limit[LIMIT_ROOM_BYTES] = UINT64_C(96) << 20;
	world.is_strange = chance(4) == 0;
	world.is_short = chance(4) == 0;
	rig_add_time(5000 * NS_PER_MS); /* soon after the machine came up, or a little later */
	world_start();
}

void world_audit(void)
{
	if (world.broker.n_sessions != 0 || world.broker.n_passed != 0 ||
		!list_is_empty(&world.broker.feeds) || !list_is_empty(&world.broker.resting))
		fail("the broker has %lu sessions, %lu descriptors or a ring left",
			(unsigned long)world.broker.n_sessions,
			(unsigned long)world.broker.n_passed);
}

void world_deinit(void)
{
	unsigned n = 0;

	broker_deinit(&world.broker);
	settings_deinit(&world.config.settings);
	(void)ipc_list(world.path, count_own, &n);
	if (n > 0)
		fail("%u semaphores are left", n);
	if (rmdir(world.dir) != 0)
		fail("%s: %m", world.dir);
	n = count_descriptors();
	if (n != n_descriptors)
		fail("%u descriptors were open, and %u are", n_descriptors, n);
}
