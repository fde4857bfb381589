/* timed.c - a time service: requests and answers through shared memory.
 *
 * It shows how a service is asked through libchat's fast path, and how long that takes. With
 * a broker running, such as the one that ./chat starts:
 *
 *	cc timed.c $(pkg-config --cflags --libs chat) -o timed
 *	./timed serve clock &
 *	./timed ask clock 1000
 *
 * Who asks says "time? ID" in the room and waits for "time ID NS", where NS is the time in
 * nanoseconds since the epoch. All in the room hear both, so the ID says whose answer it
 * is. Ctrl-C, or kill, ends the service. */
#include <chat.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#define FAST   (CHAT_FAST | CHAT_EPHEMERAL) /* and nothing of it is kept */
#define ID_MAX 40
#define N_MAX  100000

static volatile sig_atomic_t is_ending;

static void end(int number)
{
	(void)number;
	is_ending = 1;
}

static long long now_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static int say(struct chat *chat, const char *room, const char *body)
{
	return chat_send(chat, room, body, strlen(body), FAST);
}

/* Get the next message of somebody else, terminated: 1, or 0 within the time; what else
 * happens is told. */
static int hear(struct chat *chat, char body[80], bool *ret_is_shared, int timeout_ms)
{
	struct chat_event event;
	int r = chat_receive(chat, &event, timeout_ms);

	if (r != 1)
		return r;
	if (event.type == CHAT_GAP || event.type == CHAT_DOWN || event.type == CHAT_REFUSED)
		fprintf(stderr, "timed: %s: %s\n",
			event.type == CHAT_GAP    ? "messages are gone"
			: event.type == CHAT_DOWN ? "connection lost"
						  : "refused",
			event.text);
	if (event.type != CHAT_MESSAGE || event.own || event.len >= 80)
		return 0;
	snprintf(body, 80, "%.*s", (int)event.len, event.body);
	*ret_is_shared = event.seq == 0; /* what has no number came past the broker */
	return 1;
}

static int serve(struct chat *chat, const char *room)
{
	struct sigaction action = { .sa_handler = end }; /* without SA_RESTART */
	unsigned long n = 0;
	char body[80], answer[80], id[ID_MAX + 1];
	bool is_shared;
	int r = 0;

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	printf("serving %s\n", room);
	fflush(stdout);
	while (r == 0 && !is_ending) {
		/* A signal ends the wait; not so if it comes just before, hence the limit. */
		r = hear(chat, body, &is_shared, 1000);
		if (r < 1)
			continue;
		r = 0;
		if (sscanf(body, "time? %40s", id) != 1)
			continue;
		snprintf(answer, sizeof answer, "time %s %lld", id, now_ns(CLOCK_REALTIME));
		r = say(chat, room, answer);
		n++;
	}
	if (r == 0)
		r = chat_flush(chat, 5000);
	printf("%lu answers\n", n);
	return r;
}

/* Ask once and wait. Returns 1 with an answer, 0 if there is none in time. */
static int ask_once(
	struct chat *chat, const char *room, const char *id, int timeout_ms, bool *ret_is_shared)
{
	long long until = now_ns(CLOCK_MONOTONIC) + timeout_ms * 1000000LL, left, ns;
	char body[80], whose[ID_MAX + 1];
	int r;

	snprintf(body, sizeof body, "time? %s", id);
	r = say(chat, room, body);
	while (r >= 0 && (left = until - now_ns(CLOCK_MONOTONIC)) > 0) {
		r = hear(chat, body, ret_is_shared, (int)(left / 1000000) + 1);
		if (r < 1 || sscanf(body, "time %40s %lld", whose, &ns) != 2 ||
			strcmp(whose, id) != 0)
			continue; /* somebody else's */
		printf("%lld\n", ns);
		return 1;
	}
	return r < 0 ? r : 0;
}

static int compare(const void *a, const void *b)
{
	long long x = *(const long long *)a, y = *(const long long *)b;

	return (x > y) - (x < y);
}

static int ask(struct chat *chat, const char *room, unsigned long n, int timeout_ms)
{
	static long long trips[N_MAX];
	unsigned long n_shared = 0;
	char id[ID_MAX];
	int r = 1;

	for (unsigned long i = 0; r == 1 && i < n; i++) {
		long long start = now_ns(CLOCK_MONOTONIC);
		bool is_shared = false;

		snprintf(id, sizeof id, "%ld.%lu", (long)getpid(), i + 1);
		r = ask_once(chat, room, id, timeout_ms, &is_shared);
		trips[i] = now_ns(CLOCK_MONOTONIC) - start;
		n_shared += is_shared;
	}
	if (r == 0)
		fprintf(stderr, "timed: no answer: is anybody serving %s?\n", room);
	if (r == 1) {
		qsort(trips, n, sizeof *trips, compare);
		printf("round trip us: min %.1f median %.1f max %.1f\n", trips[0] / 1e3,
			trips[n / 2] / 1e3, trips[n - 1] / 1e3);
		printf("%lu of %lu answers came through shared memory\n", n_shared, n);
	}
	return r == 1 ? 0 : r < 0 ? r : 1;
}

int main(int argc, char **argv)
{
	unsigned long n = 10;
	double timeout_s = 5;
	struct chat *chat;
	bool serves, asks;
	int option, r;

	while ((option = getopt(argc, argv, "+t:")) == 't')
		timeout_s = atof(optarg);
	argc -= optind;
	argv += optind;
	serves = argc == 2 && strcmp(argv[0], "serve") == 0;
	asks = (argc == 2 || argc == 3) && strcmp(argv[0], "ask") == 0;
	if (argc == 3)
		n = strtoul(argv[2], NULL, 10);
	if (option != -1 || !(serves || asks) || n < 1 || n > N_MAX ||
		!(timeout_s > 0 && timeout_s < 1e6)) {
		fprintf(stderr, "usage: timed serve ROOM\n"
				"       timed [-t SECONDS] ask ROOM [N]\n");
		return EX_USAGE;
	}

	r = chat_open(&chat, NULL);
	if (r == 0)
		r = chat_join(chat, argv[1], CHAT_NEW, 0, FAST, NULL);
	if (r == 0)
		r = serves ? serve(chat, argv[1]) : ask(chat, argv[1], n, (int)(timeout_s * 1000));
	if (r < 0)
		fprintf(stderr, "timed: %s\n", chat_error(chat));
	chat_close(chat);
	return r == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
