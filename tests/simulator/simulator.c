/* simulator.c - publishers and readers of real chats, a real broker, and chance: what goes
 * through the hand-over between socket, ring and log comes out once, in order, and whole.
 *
 *	simulator [--cuts] [SEED [STEPS]]
 *	simulator [--cuts] --seeds FIRST COUNT STEPS
 *
 * Each step is one call of one chat, or something that happens to the broker. Calls that
 * wait let the others act meanwhile. A run that goes wrong prints its seed and what
 * happened last, and is the same again with that seed.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/admin.h"
#include "broker/session.h"
#include "tests/simulator/simulator.h"

#define PUBLISHERS 3
#define READERS    5

/* What is said in the room that is kept, while one broker lives: below its limit, with
 * what is offered to a broker again, so that retention takes nothing. */
#define KEPT_BYTES_MAX (16u << 20)

/* More than a ring holds. */
#define FLOOD_MESSAGES 330

enum step {
	STEP_SAY,
	STEP_FLOOD,
	STEP_FLUSH,
	STEP_PUBLISHER, /* opens, or closes */
	STEP_TICK,      /* a publisher looks at its socket */
	STEP_HEAR,
	STEP_AWAIT, /* the same, and it may sleep */
	STEP_SLOW,  /* a reader does nothing for a while */
	STEP_JOIN,
	STEP_PART,
	STEP_READER,
	STEP_KICK,
	STEP_CUT, /* a connection is lost */
	STEP_ROUNDS,
	STEP_LIMIT,
	STEP_BROKER, /* ends, or starts */
	STEPS,
};

static const unsigned usual_weights[STEPS] = {
	[STEP_SAY] = 60,
	[STEP_FLOOD] = 1,
	[STEP_FLUSH] = 6,
	[STEP_PUBLISHER] = 2,
	[STEP_TICK] = 6,
	[STEP_HEAR] = 60,
	[STEP_AWAIT] = 4,
	[STEP_SLOW] = 3,
	[STEP_JOIN] = 10,
	[STEP_PART] = 3,
	[STEP_READER] = 5,
	[STEP_KICK] = 2,
	[STEP_CUT] = 2,
	[STEP_ROUNDS] = 50,
	[STEP_LIMIT] = 1,
	[STEP_BROKER] = 2,
};

struct publisher_actor {
	struct chat *chat;
	bool is_busy;
	uint32_t voice;
	unsigned fast_of_8; /* of eight messages so many ask for the ring */
	char body[BODY_MAX + 32];
};

static struct publisher_actor publishers[PUBLISHERS];
static struct reader readers[READERS];
static unsigned slow_for[READERS]; /* steps */
static unsigned weights[STEPS], n_names, kept_bytes, kept_epoch;
static bool is_ending;

/* ---- chats ---- */

static struct chat *open_chat(char *ret_name, char kind)
{
	struct chat_config config = { .socket = world.path, .name = ret_name };
	struct chat *chat;

	sprintf(ret_name, "%c%u", kind, ++n_names);
	note("%s opens", ret_name);
	if (chat_open(&chat, &config) == 0) {
		if (chance(5) == 0)
			(void)chat_fd(chat);
		return chat;
	}
	note("%s: %s", ret_name, chat_error(chat));
	chat_close(chat);
	return NULL;
}

static void publisher_open(struct publisher_actor *publisher)
{
	char name[24];

	if (!world.is_up)
		return;
	publisher->is_busy = true;
	publisher->chat = open_chat(name, 'p');
	publisher->is_busy = false;
	if (!publisher->chat)
		return;
	publisher->voice = voice_new(name);
	publisher->fast_of_8 = chance(9);
	if (publisher->voice == VOICE_UNKNOWN)
		publisher->chat = chat_close(publisher->chat);
	else
		voice_set_chat(publisher->voice, publisher->chat);
}

static void publisher_close(struct publisher_actor *publisher)
{
	note("%s closes", chat_name(publisher->chat));
	voice_closed(publisher->voice);
	publisher->chat = chat_close(publisher->chat);
}

static void reader_open(struct reader *reader)
{
	if (!world.is_up)
		return;
	*reader = (struct reader){ .is_busy = true };
	reader->chat = open_chat(reader->name, 'r');
	reader->is_busy = false;
}

static void reader_close(struct reader *reader)
{
	note("%s closes", reader->name);
	chat_close(reader->chat);
	*reader = (struct reader){ 0 };
}

/* A call returned R: is the reader still there? */
static bool reader_is_well(struct reader *reader, int r, const char *what)
{
	if (r >= 0)
		return true;
	note("%s: %s: %s", reader->name, what, chat_error(reader->chat));
	if (r == -ESHUTDOWN && reader->is_kicked)
		reader_close(reader);
	else if (r != -ENOTCONN)
		fail("%s: %s: %s", reader->name, what, chat_error(reader->chat));
	return false;
}

/* ---- steps of publishers ---- */

static bool publisher_say(
	struct publisher_actor *publisher, unsigned room, size_t size, unsigned flags)
{
	size_t len = voice_begin(publisher->voice, room, size, publisher->body);
	int r = chat_send(publisher->chat, room_names[room], publisher->body, len, flags);

	if (r != 0 && (r != -EAGAIN || !(flags & CHAT_NONBLOCK)))
		fail("%s: chat_send: %s", chat_name(publisher->chat), chat_error(publisher->chat));
	voice_end(publisher->voice, room, r == 0);
	if (room == ROOM_KEPT)
		kept_bytes += (unsigned)len;
	return r == 0;
}

static void step_say(
	struct publisher_actor *publisher, unsigned n, uint32_t size_min, uint32_t size_max)
{
	unsigned room = chance(ROOMS), i;

	if (kept_epoch != world.epoch) {
		kept_epoch = world.epoch;
		kept_bytes = 0;
	}
	if (room == ROOM_KEPT && kept_bytes > KEPT_BYTES_MAX)
		return;
	note("%s says %u in %s, up to %u bytes", chat_name(publisher->chat), n, room_names[room],
		size_max);
	publisher->is_busy = true;
	for (i = 0; i < n; i++) {
		unsigned flags = 0;

		if (chance(8) < publisher->fast_of_8)
			flags |= CHAT_FAST | (room == ROOM_FREE ? CHAT_EPHEMERAL : 0);
		if (i + 1 < n && chance(3) > 0)
			flags |= CHAT_MORE;
		if (chance(8) == 0)
			flags |= CHAT_NONBLOCK;
		if (!publisher_say(
			    publisher, room, size_min + chance(size_max - size_min + 1), flags))
			break;
	}
	publisher->is_busy = false;
}

static void step_flush(struct publisher_actor *publisher)
{
	int r;

	note("%s flushes", chat_name(publisher->chat));
	publisher->is_busy = true;
	r = chat_flush(publisher->chat, -1);
	publisher->is_busy = false;
	if (r != 0)
		fail("%s: chat_flush: %d %s", chat_name(publisher->chat), r,
			chat_error(publisher->chat));
	voice_flushed(publisher->voice);
}

static void step_tick(struct publisher_actor *publisher)
{
	struct chat_event event;

	if (!is_ending)
		note("%s looks", chat_name(publisher->chat));
	for (unsigned i = 0; i < 4 && chat_receive(publisher->chat, &event, 0) > 0; i++)
		if (event.type != CHAT_DOWN && event.type != CHAT_UP)
			fail("%s: an event of type %d: %s", chat_name(publisher->chat),
				(int)event.type, event.text);
}

/* ---- steps of readers ---- */

/* Returns how many events there were. */
static unsigned step_hear(struct reader *reader, unsigned n_max, int timeout_ms)
{
	struct chat_event event;
	unsigned n = 0;
	int r = 0;

	reader->is_busy = true;
	while (n < n_max && (r = chat_receive(reader->chat, &event, timeout_ms)) > 0) {
		reader_heard(reader, &event);
		n++;
	}
	reader->is_busy = false;
	if (n > 0)
		note("%s heard %u", reader->name, n);
	(void)reader_is_well(reader, r, "chat_receive");
	return n;
}

static bool reader_part(struct reader *reader, unsigned room)
{
	int r;

	note("%s parts %s", reader->name, room_names[room]);
	reader->is_busy = true;
	r = chat_part(reader->chat, room_names[room]);
	reader->is_busy = false;
	return reader_is_well(reader, r == -ENOENT ? 0 : r, "chat_part");
}

static bool reader_join(
	struct reader *reader, unsigned room, bool is_fast, enum chat_from from, uint64_t position)
{
	unsigned flags = (is_fast ? CHAT_FAST : 0) | (room == ROOM_FREE ? CHAT_EPHEMERAL : 0);
	int r;

	note("%s joins %s%s, %s%lu", reader->name, room_names[room], is_fast ? " fast" : "",
		from == CHAT_NEW ? "new " : "since=", (unsigned long)position);
	reader->is_busy = true;
	r = chat_join(reader->chat, room_names[room], from, position, flags, NULL);
	reader->is_busy = false;
	if (reader_is_well(reader, r, "chat_join"))
		return true;
	if (reader->chat && reader_part(reader, room))
		reader_leave(reader, room);
	return false;
}

static void step_join(struct reader *reader)
{
	unsigned room = chance(ROOMS), epoch = world.epoch;
	struct seat *seat = &reader->seats[room];
	bool is_fast = chance(4) > 0, is_new = chance(2) == 0;

	if (!seat->is_joined) {
		if (!reader_join(
			    reader, room, is_fast, is_new ? CHAT_NEW : CHAT_SINCE, is_new ? 0 : 1))
			return;
		reader_seat(reader, room, is_fast, is_new ? SEAT_NEW : SEAT_START);
		seat->epoch = epoch;
	} else if (room == ROOM_KEPT && !seat->is_fast && seat->seq > 0 && seat->epoch == epoch &&
		   chance(2)) {
		/* it goes on behind what it had, from another kind of place */
		if (!reader_part(reader, room))
			return;
		if (!reader_join(reader, room, is_fast, CHAT_SINCE, seat->seq + 1))
			return;
		if (epoch == world.epoch) {
			reader_seat(reader, room, is_fast, SEAT_LATE);
		} else if (reader_part(reader, room)) {
			reader_leave(reader, room);
		}
	} else if (chance(2)) {
		is_new |= seat->is_late;
		/* without parting: what it had it does not get again */
		if (!reader_join(
			    reader, room, true, is_new ? CHAT_NEW : CHAT_SINCE, is_new ? 0 : 1))
			return;
		epoch = seat->epoch;
		reader_seat(reader, room, true, is_new ? SEAT_NEW : SEAT_BEHIND);
		seat->epoch = epoch;
	}
}

static void step_part(struct reader *reader)
{
	unsigned room = chance(ROOMS);

	if (reader->seats[room].is_joined && reader_part(reader, room))
		reader_leave(reader, room);
}

static void kick_line(void *userdata, struct text line)
{
}

static void step_kick(struct reader *reader)
{
	char line[64];
	const char *why;

	if (!world.is_up || reader->is_kicked)
		return;
	snprintf(line, sizeof line, "KICK %s", reader->name);
	if (admin_command(&world.broker, text_of(line), 0, kick_line, NULL, &why) != 0)
		return;
	note("%s is kicked", reader->name);
	reader_kicked(reader);
}

/* ---- steps of the broker ---- */

static void step_cut(void)
{
	uint64_t i = world.is_up && world.broker.n_sessions > 0
			     ? chance((uint32_t)world.broker.n_sessions)
			     : UINT64_MAX;

	list_for_each (link, &world.broker.sessions) {
		struct session *session = container_of(link, struct session, sessions_link);

		if (i-- > 0)
			continue;
		if (session->state == SESSION_CLOSING) /* it would not hear why */
			return;
		note("%s is cut", session_name(session));
		session_end(session);
		return;
	}
}

static void step_limit(void)
{
	uint64_t limit = chance(2) ? UINT64_C(1) << 30 : UINT64_C(5) << 20;

	note("ring-bytes=%lu", (unsigned long)limit);
	world.config.settings.limit[QUOTA_RINGS] = limit;
	world.broker.settings.limit[QUOTA_RINGS] = limit;
	if (world.is_up)
		users_apply_settings(&world.broker.users);
}

static void step_broker(void)
{
	if (!world.is_up) {
		note("a broker starts");
		world_start();
		return;
	}
	/* or they could come back */
	for (unsigned i = 0; i < READERS; i++)
		if (readers[i].is_kicked) {
			if (readers[i].is_busy)
				return;
			reader_close(&readers[i]);
		}
	if (chance(4) == 0) {
		note("the broker stops");
		world_end(false);
	} else {
		note("the broker is killed");
		world_end(true);
	}
}

/* ---- chance ---- */

static struct publisher_actor *some_publisher(void)
{
	struct publisher_actor *publisher = &publishers[chance(PUBLISHERS)];

	return publisher->is_busy || !publisher->chat ? NULL : publisher;
}

static struct reader *some_reader(void)
{
	unsigned i = chance(READERS);

	return readers[i].is_busy || !readers[i].chat || slow_for[i] > 0 ? NULL : &readers[i];
}

static void step_someone(enum step step)
{
	struct publisher_actor *publisher = some_publisher();
	struct reader *reader = some_reader();
	unsigned i, n;

	switch (step) {
	case STEP_SAY:
		n = 1 + chance(chance(8) ? 4 : 60);
		if (publisher)
			step_say(publisher, n, 1, chance(6) ? 100 : BODY_MAX);
		break;
	case STEP_FLOOD:
		if (publisher)
			step_say(publisher, FLOOD_MESSAGES, BODY_MAX / 4 * 3, BODY_MAX);
		break;
	case STEP_FLUSH:
		if (publisher)
			step_flush(publisher);
		break;
	case STEP_TICK:
		if (publisher)
			step_tick(publisher);
		break;
	case STEP_PUBLISHER:
		i = chance(PUBLISHERS);
		if (!publishers[i].chat && !publishers[i].is_busy)
			publisher_open(&publishers[i]);
		else if (publisher && chance(4) == 0)
			publisher_close(publisher);
		break;
	case STEP_HEAR:
		if (reader)
			(void)step_hear(reader, 1 + chance(chance(4) ? 10 : 400), 0);
		break;
	case STEP_AWAIT:
		n = 1 + chance(3);
		if (reader)
			(void)step_hear(reader, n, 1 + (int)chance(40));
		break;
	case STEP_SLOW:
		i = chance(READERS);
		slow_for[i] = chance(200);
		break;
	case STEP_JOIN:
		if (reader)
			step_join(reader);
		break;
	case STEP_PART:
		if (reader)
			step_part(reader);
		break;
	case STEP_READER:
		i = chance(READERS);
		if (!readers[i].chat && !readers[i].is_busy)
			reader_open(&readers[i]);
		else if (reader && chance(6) == 0)
			reader_close(reader);
		break;
	case STEP_KICK:
		if (reader)
			step_kick(reader);
		break;
	case STEP_CUT:
		step_cut();
		break;
	case STEP_ROUNDS:
		i = 1 + chance(4);
		note("%u rounds", i);
		world_rounds(i, chance(4) ? 1000 : 10000);
		break;
	case STEP_LIMIT:
		step_limit();
		break;
	default:
		step_broker();
		break;
	}
}

void meanwhile(void)
{
	static const enum step steps[] = { STEP_SAY, STEP_HEAR, STEP_SAY, STEP_HEAR, STEP_TICK };
	static unsigned depth;

	if (!world.is_up && chance(8) == 0)
		step_broker();
	if (is_ending || depth > 0 || chance(4) > 0)
		return;
	depth++;
	if (world.is_up && chance(200) == 0)
		step_broker();
	else
		step_someone(steps[chance(ARRAY_LEN(steps))]);
	depth--;
}

static void step_any(void)
{
	unsigned sum = 0, at, step = 0;

	for (unsigned i = 0; i < STEPS; i++)
		sum += weights[i];
	for (at = chance(sum); at >= weights[step]; step++)
		at -= weights[step];
	world_step();
	for (unsigned i = 0; i < READERS; i++)
		slow_for[i] -= slow_for[i] > 0;
	step_someone(step);
	oracle_settle();
}

/* ---- a run ---- */

/* Until everybody is connected and has heard everything. */
static void drain(void)
{
	for (unsigned n_quiet = 0, n = 0; n_quiet < 150; n++) {
		bool is_quiet = true;

		if (n > 4000)
			fail("it does not come to rest");
		world_step();
		for (unsigned i = 0; i < READERS; i++)
			if (readers[i].chat &&
				(step_hear(&readers[i], UINT32_MAX, 0) > 0 ||
					(readers[i].chat && !chat_is_up(readers[i].chat))))
				is_quiet = false;
		for (unsigned i = 0; i < PUBLISHERS; i++)
			if (publishers[i].chat) {
				step_tick(&publishers[i]);
				is_quiet &= chat_is_up(publishers[i].chat);
			}
		world_rounds(4, 2000);
		oracle_settle();
		n_quiet = is_quiet ? n_quiet + 1 : 0;
	}
}

/* One that comes at the end reads what is in the log. */
static void judge(struct reader *reader)
{
	if (reader->chat)
		reader_close(reader);
	reader_open(reader);
	if (!reader->chat || !reader_join(reader, ROOM_KEPT, false, CHAT_SINCE, 1))
		fail("the judge does not come in");
	reader_seat(reader, ROOM_KEPT, false, SEAT_START);
}

static void finish(void)
{
	is_ending = true;
	world_step();
	if (!world.is_up)
		world_start();
	for (unsigned i = 0; i < PUBLISHERS; i++) {
		world_step();
		if (publishers[i].chat)
			step_flush(&publishers[i]);
		oracle_settle();
	}
	drain();
	judge(&readers[0]);
	drain();
	for (unsigned i = 0; i < READERS; i++)
		if (readers[i].chat && !readers[i].is_kicked)
			reader_check(&readers[i]);
	for (unsigned i = 0; i < READERS; i++)
		if (readers[i].chat)
			reader_close(&readers[i]);
	for (unsigned i = 0; i < PUBLISHERS; i++)
		if (publishers[i].chat)
			publisher_close(&publishers[i]);
	world_step();
	world_rounds(200, 1000);
	world_audit();
}

static void run(uint64_t seed, unsigned n_steps, bool has_cuts)
{
	world_init(seed, has_cuts);
	oracle_init();
	is_ending = false;
	n_names = kept_bytes = kept_epoch = 0;
	memset(slow_for, 0, sizeof slow_for);
	for (unsigned i = 0; i < STEPS; i++)
		weights[i] = usual_weights[i] * (1 + chance(4));
	if (chance(3) == 0)
		weights[STEP_BROKER] = 0;
	if (!world.has_cuts)
		weights[STEP_CUT] = 0;
	for (unsigned i = 0; i < READERS; i++)
		reader_open(&readers[i]);
	for (unsigned i = 0; i < PUBLISHERS; i++)
		publisher_open(&publishers[i]);
	for (unsigned i = 0; i < n_steps; i++)
		step_any();
	finish();
	oracle_deinit();
	world_deinit();
}

int main(int argc, char **argv)
{
	unsigned long first = 1, n_seeds = 1, n_steps = 1000;
	bool has_cuts = false;

	if (argc > 1 && strcmp(argv[1], "--cuts") == 0) {
		has_cuts = true;
		argc--;
		argv++;
	}
	if (argc == 5 && strcmp(argv[1], "--seeds") == 0) {
		first = strtoul(argv[2], NULL, 10);
		n_seeds = strtoul(argv[3], NULL, 10);
		n_steps = strtoul(argv[4], NULL, 10);
	} else if (argc <= 3) {
		first = argc > 1 ? strtoul(argv[1], NULL, 10) : first;
		n_steps = argc > 2 ? strtoul(argv[2], NULL, 10) : n_steps;
	} else {
		fprintf(stderr, "usage: simulator [--cuts] [SEED [STEPS]]\n"
				"       simulator [--cuts] --seeds FIRST COUNT STEPS\n");
		return 2;
	}
	for (unsigned long seed = first; seed < first + n_seeds; seed++)
		run(seed, (unsigned)n_steps, has_cuts);
	printf("%lu seeds of %lu steps\n", n_seeds, n_steps);
	return 0;
}
