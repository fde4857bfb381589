/* harness.h - a broker in a directory of its own, and clients that speak to it packet
 * by packet, so that a test reads like a script:
 *
 *	struct broker *broker = broker_start(NULL);
 *	struct raw *alice = raw_join(broker, "name=al1ce", "lobby");
 *
 *	raw_send(alice, "#1 SAY lobby\nhello");
 *	raw_expect(alice, "#1 * 1");
 *	raw_expect(alice, "MSG lobby 1 ~ al1ce %u of=~\nhello", getuid());
 *	broker_stop(broker);
 *
 * In a pattern ~ stands for any bytes, also none. Every wait is for an event and has
 * DEADLINE_MS; what does not come fails the test. What a test leaves behind, also when
 * it fails half-way, harness_teardown() closes, ends by its process id, and removes.
 *
 * A test speaks under names like al1ce and b0b: those of people may be Unix users
 * where it runs, and then they are theirs alone.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <cmocka.h>

#include "protocol/base.h"
#include "protocol/limits.h"
#include "protocol/text.h"

#define DEADLINE_MS 20000

#define TEST(function) cmocka_unit_test_setup_teardown(function, harness_setup, harness_teardown)

#if defined(__SANITIZE_ADDRESS__)
#define HARNESS_HAS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HARNESS_HAS_ASAN 1
#endif
#endif
#ifndef HARNESS_HAS_ASAN
#define HARNESS_HAS_ASAN 0
#endif

int harness_setup(void **state);
int harness_teardown(void **state);

/* Skip the test, saying why. */
#define SKIP(why)                                                                                  \
	do {                                                                                       \
		print_message("skipped: %s\n", (why));                                             \
		skip();                                                                            \
	} while (0)

/* Monotonic, ms. */
uint64_t clock_ms(void);
/* Wait until FD is ready for EVENTS or UNTIL has passed: then false. */
bool wait_fd(int fd, short events, uint64_t until);

/* ---- brokers ---- */

struct broker {
	pid_t pid;           /* 0: not running */
	int diagnostics;     /* the read end of its stderr */
	uid_t uid;           /* whom it runs as; this process's own by default */
	const char *uid_map; /* of a user namespace of its own; NULL: it is in that of the test */
	unsigned n_descriptors_max; /* its RLIMIT_NOFILE, soft and hard; 0: as it is here */
	unsigned file_len_max;      /* its RLIMIT_FSIZE, which is soft; 0: as it is here */
	const char *log;            /* its stderr goes to this file, borrowed; NULL: to us */
	const char *environment[4]; /* "NAME=VALUE" each, borrowed */
	char dir[48];               /* its own, removed in the end */
	char socket[64], ctl[64];
	char *text; /* all its diagnostics; owned */
	size_t text_len, text_at;
};

/* A directory and the paths in it; nothing runs yet. */
struct broker *broker_new(void);

/* PATH in its directory; the answer is good for eight calls more. */
const char *broker_path(const struct broker *broker, const char *name);

/* Run chat-broker with exactly these options, up to NULL, in the directory. */
void broker_spawn(struct broker *broker, const char *const options[]);

/* Run it with --socket and --ctl in the directory, and OPTIONS, up to NULL; without --state it is
 * --ephemeral. */
void broker_spawn_with(struct broker *broker, const char *const options[]);
#define broker_spawn_here(broker, ...)                                                             \
	broker_spawn_with(broker, (const char *const[]){ __VA_ARGS__, NULL })
void broker_wait_ready(struct broker *broker);

/* All of that: a new one with these options, ready. NULL: with none. */
struct broker *broker_start_with(const char *const options[]);
#define broker_start(...) broker_start_with((const char *const[]){ __VA_ARGS__, NULL })

/* SIGTERM, and it must exit with 0 and leave nothing behind. */
void broker_stop(struct broker *broker);
void broker_signal(struct broker *broker, int number);
void broker_kill9(struct broker *broker);
/* Wait for its end; it must exit with STATUS. */
void broker_expect_exit(struct broker *broker, int status);
/* The same, and the diagnostics are exactly one line, which contains PATTERN. */
void broker_expect_refusal(struct broker *broker, int status, const char *pattern);

/* Wait for a line of the diagnostics that contains PATTERN, after the last one that
 * was waited for. Returns it. */
_printf_(2, 3) const char *broker_expect(struct broker *broker, const char *pattern, ...);
/* How many lines contain PATTERN, of those that are there. */
unsigned broker_count(struct broker *broker, const char *pattern);

/* Write to the FIFO: one line, or exactly these bytes. */
_printf_(2, 3) void broker_ctl(struct broker *broker, const char *format, ...);
void broker_ctl_bytes(struct broker *broker, const void *bytes, size_t len);

/* Of /proc. */
unsigned broker_descriptors(const struct broker *broker);
size_t broker_memory(const struct broker *broker);
/* What its threads have done so far: CPU time, ns, and context switches of any kind. */
uint64_t broker_cpu_ns(const struct broker *broker);
uint64_t broker_switches(const struct broker *broker);

/* One counter of STATS, asked by RAW. */
struct raw;
uint64_t raw_counter(struct raw *raw, const char *name);
/* Wait until it is VALUE. */
void raw_await_counter(struct raw *raw, const char *name, uint64_t value);

/* ---- clients ---- */

struct raw {
	int fd;
	char *packet;         /* the last one received; owned */
	const char *at, *end; /* what is left of a batch */
	int fds[4];           /* that came with that packet; owned */
	size_t n_fds;
};

/* Connect; the second form as another user, which only root can. */
struct raw *raw_open(const struct broker *broker);
struct raw *raw_open_as(const struct broker *broker, uid_t uid);
/* Connect to PATH. Returns NULL when that is refused. */
struct raw *raw_open_path(const char *path);
/* Open, and say HELLO 1 with WORDS. */
struct raw *raw_hello(const struct broker *broker, const char *words);
struct raw *raw_hello_as(const struct broker *broker, uid_t uid, const char *words);
/* Open, say HELLO and JOIN room, all of it answered. */
struct raw *raw_join(const struct broker *broker, const char *words, const char *target);
void raw_close(struct raw *raw);
void raw_close_all(void);

_printf_(2, 3) void raw_send(struct raw *raw, const char *format, ...);
void raw_send_bytes(struct raw *raw, const void *bytes, size_t len);
/* The same, with descriptors, which stay the caller's. */
_printf_(4, 5) void raw_send_fds(
	struct raw *raw, const int *fds, size_t n_fds, const char *format, ...);
/* Send if there is room. Returns false when the socket is full. */
bool raw_try_send(struct raw *raw, const void *bytes, size_t len);
/* Send these frames as one batch. */
void raw_send_batch_of(struct raw *raw, const char *const frames[]);
#define raw_send_batch(raw, ...) raw_send_batch_of(raw, (const char *const[]){ __VA_ARGS__, NULL })

/* The next frame, out of a batch or not; borrowed until the next call. */
struct text raw_next(struct raw *raw);
/* The same, when there may be none within TIMEOUT_MS: data is NULL then. */
struct text raw_next_within(struct raw *raw, int timeout_ms);
/* The next frame must be of this form. Returns it, terminated, until the next call. */
_printf_(2, 3) const char *raw_expect(struct raw *raw, const char *pattern, ...);
/* Frames are passed over until one of this form. */
_printf_(2, 3) const char *raw_await(struct raw *raw, const char *pattern, ...);
/* Nothing came that was not expected: the next frame is the answer to a PING. */
void raw_expect_quiet(struct raw *raw);
/* Nothing comes for so long, which is waited for: for what is said about a while. */
void raw_expect_silence(struct raw *raw, int ms);
void raw_expect_close(struct raw *raw);

bool pattern_matches(const char *pattern, struct text text);

/* ---- other processes ---- */

/* A new child of this process: returns 0 in it. It dies with us; its end is awaited
 * with child_expect_exit(). */
pid_t child_fork(void);
void child_expect_exit(pid_t pid, int status);
/* The same when it was killed. */
void child_expect_kill(pid_t pid);
/* Its exit status, whatever it is. */
int child_end(pid_t pid);
/* Wait for its end, by a signal or not. */
void child_end_anyhow(pid_t pid);
/* Has it not ended yet? */
bool child_runs(pid_t pid);
/* Wait until it has stopped itself with SIGSTOP. */
void child_expect_stopped(pid_t pid);
/* Run a program, up to NULL; its output goes nowhere. */
pid_t child_run(const char *dir, const char *const argv[]);

/* Of the files: make one, read one, is it there. */
void file_write(const char *path, const char *text);
const char *file_read(const char *path);
bool file_exists(const char *path);
/* Wait until it is there. */
void file_await(const char *path);
unsigned directory_count(const char *path);
