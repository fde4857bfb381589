/* parts.c - see soak.h: those who publish and those who read. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/soak/soak.h"

/* Nothing comes for so long: something is lost. */
#define PATIENCE_MS 20000

/* What a room keeps and more, as messages of the sleeper's. */
#define SLEEPER_MESSAGES 300
#define SLEEPER_LEN      60000

static struct chat *open_as(const char *name, bool direct)
{
	struct chat_config config = { .socket = soak_socket, .name = name, .direct = direct };
	struct chat *chat;

	if (chat_open(&chat, &config) < 0)
		die("%s: open: %s", name, chat_error(chat));
	return chat;
}

static uint64_t join(struct chat *chat, const char *room, enum chat_from from, uint64_t position)
{
	uint64_t next;

	if (chat_join(chat, room, from, position, 0, &next) < 0)
		die("join %s: %s", room, chat_error(chat));
	return next;
}

/* The next event. Returns false without one. */
static bool receive(struct chat *chat, struct chat_event *event, int timeout_ms)
{
	int r = chat_receive(chat, event, timeout_ms);

	if (r < 0)
		die("receive: %s", chat_error(chat));
	if (r == 1 && event->type == CHAT_DOWN)
		die("the connection is lost: %s", event->text);
	return r == 1;
}

static unsigned room_of(const char *target)
{
	for (unsigned i = 0; i < N_ROOMS; i++)
		if (strcmp(target, room_name(i)) == 0)
			return i;
	die("an event of %s", target);
}

/* ---- publishers ---- */

static uint64_t in_flight(unsigned publisher)
{
	uint64_t sent = shared->sent_bytes[publisher], least = UINT64_MAX;

	for (unsigned i = 0; i < N_VERIFIERS; i++)
		least = MIN(least, shared->got_bytes[i][publisher]);
	return sent - least;
}

static void wait_for_window(struct chat *chat, unsigned publisher)
{
	struct chat_event event;
	uint64_t until = clock_us() + PATIENCE_MS * UINT64_C(1000);

	while (in_flight(publisher) > WINDOW) {
		if (receive(chat, &event, 1))
			die("event %d, %s", event.type, event.text ? event.text : "");
		if (clock_us() > until)
			die("nobody reads");
	}
}

static void say(struct chat *chat, unsigned publisher, unsigned room, unsigned flags)
{
	static char body[BODY_LEN_MAX];
	uint64_t n = shared->sent[publisher][room];
	size_t len = body_make(body, publisher, room, n);

	if (chat_send(chat, room_name(room), body, len, flags) < 0)
		die("%s", chat_error(chat));
	shared->sent[publisher][room] = n + 1;
	shared->sent_bytes[publisher] += len + MESSAGE_OVERHEAD;
}

void play_publisher(unsigned publisher, uint64_t n_messages)
{
	struct chat *chat;
	char name[16];
	int r;

	snprintf(name, sizeof name, "soak.p%u", publisher);
	chat = open_as(name, false);
	srandom(publisher + 1);
	while (n_messages > 0) {
		unsigned room = (unsigned)random() % N_ROOMS;
		uint64_t n = (uint64_t)random() % 2000 + 1;

		n = MIN(n, n_messages);
		n_messages -= n;
		while (n-- > 0) {
			say(chat, publisher, room, n > 0 ? CHAT_MORE : 0);
			if (n % 64 == 0)
				wait_for_window(chat, publisher);
		}
		/* now and then one alone, and nothing until it is acknowledged */
		if (random() % 64 == 0 && n_messages > 0) {
			n_messages--;
			say(chat, publisher, room, 0);
			if (chat_flush(chat, PATIENCE_MS) != 0)
				die("flush: %s", chat_error(chat));
		}
	}
	r = chat_flush(chat, PATIENCE_MS);
	if (r != 0)
		die("flush: %d, %s", r, chat_error(chat));
	chat_close(chat);
}

void play_victim(uint64_t victim)
{
	struct chat *chat = open_as("soak.victim", false);
	uint64_t said[2] = { victim, 0 };
	struct chat_event event;

	join(chat, room_name(0), CHAT_LAST, 1000);
	while (!shared->is_over) {
		for (unsigned i = 0; i < 100; i++) {
			if (chat_send(chat, room_name(0), said, sizeof said, CHAT_MORE) < 0)
				die("%s", chat_error(chat));
			said[1]++;
		}
		for (unsigned i = 0; i < 2000 && receive(chat, &event, 5); i++)
			;
	}
	chat_close(chat);
}

/* ---- readers ---- */

static bool verifier_is_done(const struct track *tracks)
{
	if (!shared->is_over)
		return false;
	for (unsigned room = 0; room < N_ROOMS; room++)
		for (unsigned i = 0; i < N_PUBLISHERS; i++)
			if (tracks[room].next[i] != shared->sent[i][room])
				return false;
	return true;
}

void play_verifier(unsigned verifier, int stood)
{
	struct track tracks[N_ROOMS] = { 0 };
	struct chat_event event;
	struct chat *chat;
	uint64_t heard_at = clock_us();
	char name[16];

	snprintf(name, sizeof name, "soak.v%u", verifier);
	chat = open_as(name, false);
	for (unsigned i = 0; i < N_ROOMS; i++)
		tracks[i].seq = join(chat, room_name(i), CHAT_NEW, 0);
	soak_stand(stood);
	while (!verifier_is_done(tracks)) {
		unsigned room;
		int publisher;

		if (!receive(chat, &event, 100)) {
			if (shared->is_over && clock_us() - heard_at > PATIENCE_MS * UINT64_C(1000))
				die("something is missing");
			continue;
		}
		heard_at = clock_us();
		if (event.type != CHAT_MESSAGE)
			die("event %d, %s", event.type, event.text ? event.text : "");
		room = room_of(event.target);
		publisher = track_take(&tracks[room], room, &event);
		if (publisher < 0)
			continue;
		shared->got_bytes[verifier][publisher] += event.len + MESSAGE_OVERHEAD;
		shared->n_verified[verifier]++;
	}
	chat_close(chat);
}

static struct track *tour_track(struct tour *tour)
{
	return &tour->tracks[tour->now];
}

/* One more event was taken: TRACK is where the tourist stands now. */
static void tour_note(struct tour *tour, const struct track *track)
{
	unsigned other = !tour->now;

	tour->tracks[other] = *track;
	tour->now = other;
}

static void tour_take(
	struct tour *tour, unsigned tourist, unsigned room, const struct chat_event *event)
{
	struct track track = *tour_track(tour);

	if (event->type == CHAT_GAP && strcmp(event->text, "retention") == 0) {
		track_skip(&track, event->from, event->to);
		shared->n_missed[tourist] += event->to - event->from + 1;
	} else if (event->type == CHAT_MESSAGE) {
		(void)track_take(&track, room, event);
		shared->n_toured[tourist]++;
	} else {
		die("event %d, %s", event->type, event->text ? event->text : "");
	}
	tour_note(tour, &track);
}

/* Read up to N events of ROOM, all there are if the last one was said. */
static void tour_read(struct chat *chat, unsigned tourist, unsigned room, uint64_t n)
{
	struct tour *tour = &shared->tours[tourist][room];
	struct chat_event event;

	while (n-- > 0 && (!shared->is_over || tour_track(tour)->seq <= shared->last_seq[room])) {
		bool is_over = shared->is_over;

		if (!receive(chat, &event, is_over ? PATIENCE_MS : 20)) {
			if (is_over)
				die("something is missing in %s", room_name(room));
			return;
		}
		tour_take(tour, tourist, room, &event);
	}
}

static void tour_join(struct chat *chat, unsigned tourist, unsigned room)
{
	struct tour *tour = &shared->tours[tourist][room];
	struct track track = *tour_track(tour);

	if (track.seq == 0) {
		track.seq = join(chat, room_name(room), CHAT_NEW, 0);
		tour_note(tour, &track);
	} else if (join(chat, room_name(room), CHAT_SINCE, track.seq) != track.seq) {
		die("it does not stand in %s where it wants", room_name(room));
	}
	shared->n_rejoined[tourist]++;
}

/* Nothing is lost between two visits, nor between two lives. */
void play_tourist(unsigned tourist, int never)
{
	struct pollfd idle = { .fd = never, .events = POLLIN };
	struct chat *chat = NULL;
	char name[16];

	snprintf(name, sizeof name, "soak.t%u", tourist);
	srandom((unsigned)getpid());
	for (unsigned visits = 0, left = N_ROOMS; left > 0; visits++) {
		/* in the end, all rooms to their ends */
		bool is_over = shared->is_over;
		unsigned room = is_over ? --left : (unsigned)random() % N_ROOMS;

		if (!chat)
			chat = open_as(name, false);
		tour_join(chat, tourist, room);
		if (visits % 8 == 7 && !is_over)
			(void)poll(&idle, 1, 30); /* falls behind */
		tour_read(chat, tourist, room, is_over ? UINT64_MAX : (uint64_t)random() % 30000);
		if (visits % 3 == 0)
			chat = chat_close(chat);
		else if (chat_part(chat, room_name(room)) < 0)
			die("part: %s", chat_error(chat));
	}
	chat_close(chat);
}

static void note_first(void *userdata, const char *row, size_t len)
{
	unsigned long *first = userdata;
	char text[64];

	snprintf(text, sizeof text, "%.*s", (int)len, row);
	if (*first == 0 && sscanf(text, "MSG soak.deep %lu ", first) != 1)
		die("PAST: %s", text);
}

/* The oldest message that is kept. */
static uint64_t sleeper_first(struct chat *chat)
{
	unsigned long first = 0;

	if (chat_request(chat, "PAST soak.deep", NULL, 0, PATIENCE_MS, note_first, &first, NULL) !=
		0)
		die("PAST: %s", chat_error(chat));
	return first;
}

/* Does not read until everything is said. */
static void sleeper_read(struct chat *chat, uint64_t next, uint64_t last, uint64_t first)
{
	struct chat_event event;

	while (next <= last) {
		if (!receive(chat, &event, PATIENCE_MS))
			die("nothing comes");
		if (event.type == CHAT_GAP) {
			if (event.from != next || event.to + 1 != first ||
				strcmp(event.text, "retention") != 0)
				die("a gap from %lu to %lu, %s; expected from %lu to %lu",
					(unsigned long)event.from, (unsigned long)event.to,
					event.text, (unsigned long)next, (unsigned long)first - 1);
			shared->n_slept_over += event.to - event.from + 1;
			next = event.to + 1;
		} else if (event.type == CHAT_MESSAGE) {
			if (event.seq != next || event.len != SLEEPER_LEN)
				die("%lu comes, expected %lu", (unsigned long)event.seq,
					(unsigned long)next);
			shared->n_slept++;
			next++;
		}
	}
}

void play_sleeper(void)
{
	static char body[SLEEPER_LEN];
	struct chat *reader = open_as("soak.sleeper", false);
	struct chat *writer = open_as("soak.sleeper", false);
	uint64_t next;

	next = join(reader, "soak.deep", CHAT_NEW, 0);
	for (unsigned i = 0; i < SLEEPER_MESSAGES; i++)
		if (chat_send(writer, "soak.deep", body, sizeof body, 0) < 0)
			die("%s", chat_error(writer));
	if (chat_flush(writer, PATIENCE_MS) != 0)
		die("%s", chat_error(writer));
	sleeper_read(reader, next, next + SLEEPER_MESSAGES - 1, sleeper_first(writer));
	chat_close(reader);
	chat_close(writer);
}
