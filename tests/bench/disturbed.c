/* disturbed.c - what others do to those who do nothing wrong:
 *
 *	bench-disturbed PATH BROKER_PID UID OTHER_UID PAIRS
 *
 * A hundred readers of one process get timed messages at a steady rate. In every
 * second window one more reader is stopped and a publisher of another user floods
 * another room, which the stopped one reads, too. It is continued at the end of the
 * window; what it then receives and the gaps it is told of must be all that was sent.
 *
 * Started by root the flood is of OTHER_UID and all else of UID; by anybody else it
 * is all the same user's.
 */
#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "client/chat.h"
#include "tests/bench/harness.h"

#define READERS     100
#define PERIOD_NS   500000 /* 2000 messages a second */
#define FLOOD_BURST 256
#define SIZE        64
#define SETTLE_MS   300
#define RUN_MS      1000
#define PATIENCE_NS (30 * NS_PER_S)
#define SAMPLES_MAX (1 << 21)

enum window_kind {
	WINDOW_QUIET,
	WINDOW_DISTURBED,
	WINDOW_NONE, /* between them */
	WINDOW_COUNT,
};

enum room_kind {
	ROOM_TIMED,
	ROOM_FLOOD,
	ROOM_COUNT,
};

static const char *const room_names[ROOM_COUNT] = { "timed", "flood" };

struct stamp {
	uint64_t sent_at;
	uint64_t window;
};

static struct stage {
	_Atomic uint32_t ready;
	_Atomic uint32_t window; /* enum window_kind of what is sent now */
	_Atomic uint32_t is_over;
	_Atomic uint32_t flood;         /* odd: go; each change is a raise */
	_Atomic uint32_t flood_settled; /* how many floods are over and acknowledged */

	_Atomic uint64_t n_sent[ROOM_COUNT]; /* and acknowledged, when settled */
	_Atomic uint64_t n_stamped[WINDOW_COUNT];
	_Atomic uint32_t timed_settled;

	/* of the one that is stopped */
	_Atomic uint64_t n_received[ROOM_COUNT], n_gap[ROOM_COUNT], next[ROOM_COUNT];

	_Atomic uint64_t n_samples[WINDOW_COUNT];
	uint64_t samples[WINDOW_COUNT][SAMPLES_MAX];
} * stage;

static uid_t user, other_user;

/* The capability to become somebody else goes with it. */
static void become(uid_t uid)
{
	if (geteuid() != 0)
		return;
	if (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)
		die("user %u", uid);
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* which the change took away */
}

static struct chat *open_chat(void)
{
	struct chat_config config = { .socket = harness_address, .once = true };
	struct chat *chat;

	if (chat_open(&chat, &config) < 0)
		die("open: %s", chat_error(chat));
	return chat;
}

static void join(struct chat *chat, enum room_kind room)
{
	if (chat_join(chat, room_names[room], CHAT_NEW, 0, 0, NULL) < 0)
		die("join: %s", chat_error(chat));
}

static void flush(struct chat *chat)
{
	if (chat_flush(chat, -1) != 0)
		die("refused, or %s", chat_error(chat));
}

/* ---- the readers ---- */

static void take_timed(const struct chat_event *event)
{
	uint64_t now = now_ns(), n;
	struct stamp stamp;

	if (event->type != CHAT_MESSAGE || event->len != SIZE)
		die("a reader gets event %d", (int)event->type);
	memcpy(&stamp, event->body, sizeof stamp);
	n = stage->n_samples[stamp.window];
	if (n == SAMPLES_MAX)
		die("too many samples");
	stage->samples[stamp.window][n] = now - stamp.sent_at;
	if (stamp.window != WINDOW_NONE)
		stage->n_samples[stamp.window] = n + 1;
}

static void read_timed(int number)
{
	struct epoll_event events[READERS];
	struct chat *chats[READERS];
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	become(user);
	for (int i = 0; i < READERS; i++) {
		struct epoll_event event = { .events = EPOLLIN };

		chats[i] = open_chat();
		join(chats[i], ROOM_TIMED);
		event.data.ptr = chats[i];
		if (epoll_ctl(epoll, EPOLL_CTL_ADD, chat_fd(chats[i]), &event) < 0)
			die("epoll");
	}
	word_raise(&stage->ready);
	for (;;) {
		int n = epoll_wait(epoll, events, READERS, -1);

		for (int i = 0; i < n; i++) {
			struct chat_event event;
			int r;

			while ((r = chat_receive(events[i].data.ptr, &event, 0)) > 0)
				take_timed(&event);
			if (r < 0)
				die("receive: %s", chat_error(events[i].data.ptr));
		}
	}
}

/* ---- the timed publisher ---- */

static void send_timed(struct chat *chat)
{
	char body[SIZE] = { 0 };
	struct stamp stamp = { .window = stage->window };

	stage->n_stamped[stamp.window]++;
	stamp.sent_at = now_ns();
	memcpy(body, &stamp, sizeof stamp);
	if (chat_send(chat, room_names[ROOM_TIMED], body, sizeof body, 0) < 0)
		die("send: %s", chat_error(chat));
	stage->n_sent[ROOM_TIMED]++;
}

static void publish_timed(int number)
{
	struct itimerspec period = { { 0, PERIOD_NS }, { 0, PERIOD_NS } };
	int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	struct chat *chat;
	uint64_t n;

	become(user);
	chat = open_chat();
	word_raise(&stage->ready);
	if (timer < 0 || timerfd_settime(timer, 0, &period, NULL) < 0)
		die("timer");
	while (!stage->is_over) {
		if (read(timer, &n, sizeof n) != sizeof n)
			die("timer");
		while (n-- > 0)
			send_timed(chat);
	}
	flush(chat);
	word_raise(&stage->timed_settled);
	word_await(&stage->ready, UINT32_MAX);
}

/* ---- the flood ---- */

static void publish_flood(int number)
{
	char body[SIZE] = { 0 };
	struct chat *chat;
	uint32_t go = 0;

	become(other_user);
	chat = open_chat();
	word_raise(&stage->ready);
	for (;;) {
		word_await(&stage->flood, go + 1);
		go = stage->flood;
		while (stage->flood == go) {
			for (int i = 1; i <= FLOOD_BURST; i++)
				if (chat_send(chat, room_names[ROOM_FLOOD], body, sizeof body,
					    i < FLOOD_BURST ? CHAT_MORE : 0) < 0)
					die("flood: %s", chat_error(chat));
			stage->n_sent[ROOM_FLOOD] += FLOOD_BURST;
		}
		go = stage->flood;
		flush(chat);
		word_raise(&stage->flood_settled);
	}
}

/* ---- the one that is stopped ---- */

static void take_any(const struct chat_event *event)
{
	enum room_kind room =
		strcmp(event->target, room_names[ROOM_TIMED]) == 0 ? ROOM_TIMED : ROOM_FLOOD;
	uint64_t first = event->type == CHAT_GAP ? event->from : event->seq;
	uint64_t last = event->type == CHAT_GAP ? event->to : event->seq;

	if (event->type != CHAT_GAP && event->type != CHAT_MESSAGE)
		die("the stopped one gets event %d", (int)event->type);
	if (first != stage->next[room] || last < first)
		die("%s: %lu to %lu when %lu is next", room_names[room], (unsigned long)first,
			(unsigned long)last, (unsigned long)stage->next[room]);
	if (event->type == CHAT_GAP)
		stage->n_gap[room] += last - first + 1;
	else
		stage->n_received[room]++;
	stage->next[room] = last + 1;
}

static void read_all(int number)
{
	struct chat *chat;

	become(user);
	chat = open_chat();
	for (enum room_kind room = 0; room < ROOM_COUNT; room++) {
		stage->next[room] = 1;
		join(chat, room);
	}
	word_raise(&stage->ready);
	for (;;) {
		struct chat_event event;
		int r = chat_receive(chat, &event, -1);

		if (r < 0)
			die("receive: %s", chat_error(chat));
		if (r > 0)
			take_any(&event);
	}
}

/* ---- the windows ---- */

/* Wait until A is B, which both go on counting. */
static void await_equal(const _Atomic uint64_t *a, const _Atomic uint64_t *b, uint64_t factor)
{
	uint64_t deadline = now_ns() + PATIENCE_NS;

	while (*a < *b * factor) {
		if (now_ns() > deadline)
			die("%lu of %lu have come", (unsigned long)*a,
				(unsigned long)(*b * factor));
		pass_ms(10);
	}
}

static void await_all_read(enum room_kind room)
{
	_Atomic uint64_t next = stage->n_sent[room] + 1;

	await_equal(&stage->next[room], &next, 1);
}

static void run_window(enum window_kind kind, pid_t reader)
{
	static uint32_t n_floods;

	if (kind == WINDOW_DISTURBED) {
		kill(reader, SIGSTOP);
		word_raise(&stage->flood);
	}
	pass_ms(SETTLE_MS);
	stage->window = kind;
	pass_ms(RUN_MS);
	stage->window = WINDOW_NONE;
	if (kind == WINDOW_DISTURBED) {
		word_raise(&stage->flood);
		word_await(&stage->flood_settled, ++n_floods);
		kill(reader, SIGCONT);
		await_all_read(ROOM_FLOOD);
	}
}

static void report_window(enum window_kind kind, const char *name)
{
	uint64_t *samples = stage->samples[kind];
	size_t n;

	await_equal(&stage->n_samples[kind], &stage->n_stamped[kind], READERS);
	n = stage->n_samples[kind];
	sort_ns(samples, n);
	printf("%s_p50_us %.1f\n", name, percentile_us(samples, n, 0.5));
	printf("%s_p99_us %.1f\n", name, percentile_us(samples, n, 0.99));
}

static void report(unsigned n_pairs)
{
	uint64_t sent = 0, received = 0, gap = 0;

	report_window(WINDOW_QUIET, "quiet");
	report_window(WINDOW_DISTURBED, "disturbed");
	for (enum room_kind room = 0; room < ROOM_COUNT; room++) {
		await_all_read(room);
		sent += stage->n_sent[room];
		received += stage->n_received[room];
		gap += stage->n_gap[room];
	}
	printf("sent %lu\nreceived %lu\ngap %lu\n", (unsigned long)sent, (unsigned long)received,
		(unsigned long)gap);
	printf("unaccounted %ld\n", (long)(sent - received - gap));
	printf("flood_s %.0f\n",
		(double)stage->n_sent[ROOM_FLOOD] * 1e3 / (n_pairs * (SETTLE_MS + RUN_MS)));
	printf("other_user %d\n", geteuid() == 0);
}

int main(int argc, char **argv)
{
	enum { READER, STOPPED, TIMED, FLOOD, CHILDREN }; /* those who read first */
	static void (*const run[CHILDREN])(int) = {
		[READER] = read_timed,
		[TIMED] = publish_timed,
		[FLOOD] = publish_flood,
		[STOPPED] = read_all,
	};
	pid_t children[CHILDREN];
	unsigned n_pairs;

	if (argc != 6)
		die("usage: %s PATH BROKER_PID UID OTHER_UID PAIRS", argv[0]);
	signal(SIGPIPE, SIG_IGN);
	harness_address = argv[1];
	user = (uid_t)number_of(argv[3], 1, UINT32_MAX - 1);
	other_user = (uid_t)number_of(argv[4], 1, UINT32_MAX - 1);
	n_pairs = (unsigned)number_of(argv[5], 1, 9);
	setenv("CHAT_BROKER_UID", argv[3], 1);
	stage = share(sizeof *stage);
	stage->window = WINDOW_NONE;
	for (int i = 0; i < CHILDREN; i++) {
		children[i] = spawn(run[i], i);
		word_await(&stage->ready, (uint32_t)i + 1);
	}
	for (unsigned i = 0; i < n_pairs; i++) {
		run_window(i % 2 ? WINDOW_DISTURBED : WINDOW_QUIET, children[STOPPED]);
		run_window(i % 2 ? WINDOW_QUIET : WINDOW_DISTURBED, children[STOPPED]);
	}
	stage->is_over = 1;
	word_await(&stage->timed_settled, 1);
	report(n_pairs);
	for (int i = 0; i < CHILDREN; i++)
		end(children[i]);
	return 0;
}
