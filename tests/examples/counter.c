/* counter.c - programs that take turns at one counter, and all see every turn.
 *
 * It shows what goes through libchat's fast path, shared memory, and how little that asks of
 * a program: CHAT_FAST where it joins and where it sends. With a broker running, such as
 * the one that ./chat starts, in two terminals:
 *
 *	cc counter.c $(pkg-config --cflags --libs chat) -o counter
 *	./counter table ann 1000 ann bob
 *	./counter table bob 1000 ann bob
 *
 * Everybody is given the same writers in the same order; number V is said by writer V - 1
 * modulo how many there are. Who has heard a number knows that everybody before had
 * their turn, and that nobody else may speak now, so nothing else is needed to agree.
 * What one writer says comes in order; what another answers may overtake it, for a moment,
 * while rings take over from the sockets: chat-ring(7), section ARCHIVE. So a number that
 * comes early waits for the one before it. */
#include <chat.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#define FAST        (CHAT_FAST | CHAT_EPHEMERAL) /* and nothing of it is kept */
#define WRITERS_MAX 16

struct game {
	struct chat *chat;
	const char *room;
	char **writers;
	unsigned n_writers, me;
	unsigned n_heard, n_ready; /* of the writers; see hear_here() */
	bool is_heard[WRITERS_MAX], is_ready[WRITERS_MAX];
	bool is_early[WRITERS_MAX];  /* their next turn was heard before others' */
	unsigned long rounds, value; /* the counter, as it was heard last */
	unsigned long n_shared;      /* how many turns came through shared memory */
	long timeout_ms, until_ms;   /* for the next turn */
};

/* What comes of an event, beside an error of libchat, which is less than 0. */
enum { GOES_ON, OVER, FAILED };

static long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000L + now.tv_nsec / 1000000;
}

static unsigned find_writer(const struct game *game, const char *name)
{
	unsigned i = 0;

	while (i < game->n_writers && strcmp(game->writers[i], name) != 0)
		i++;
	return i;
}

static int say(struct game *game, const char *format, unsigned long number)
{
	char body[32];
	int len = snprintf(body, sizeof body, format, number);

	game->until_ms = now_ms() + game->timeout_ms;
	return chat_send(game->chat, game->room, body, (size_t)len, FAST);
}

static int take_turn(struct game *game)
{
	bool is_mine = game->value % game->n_writers == game->me;

	return is_mine ? say(game, "%lu", game->value + 1) : 0;
}

/* Each says "here N" when it has joined, and again with each writer that it hears for the
 * first time, itself too: so who came late hears of all, and N is how many it has heard.
 * The first begins when everybody has heard everybody. */
static int hear_here(struct game *game, unsigned writer, unsigned long n)
{
	int r = 0;

	if (!game->is_heard[writer]) {
		game->is_heard[writer] = true;
		r = say(game, "here %lu", ++game->n_heard);
	}
	if (r == 0 && n == game->n_writers && !game->is_ready[writer]) {
		game->is_ready[writer] = true;
		if (++game->n_ready == game->n_writers && game->value == 0)
			r = take_turn(game);
	}
	return r;
}

static int hear_turn(
	struct game *game, const struct chat_event *event, unsigned writer, unsigned long value)
{
	unsigned long before = game->value;

	if (value <= game->value || value - game->value > game->n_writers ||
		writer != (value - 1) % game->n_writers) {
		fprintf(stderr, "counter: %s said %lu after %lu\n", event->name, value,
			game->value);
		return FAILED;
	}
	game->n_shared += event->seq == 0; /* it has no number: it came past the broker */
	game->is_early[writer] = true;
	while (game->is_early[writer = game->value % game->n_writers]) {
		game->is_early[writer] = false;
		game->value++;
		game->until_ms = now_ms() + game->timeout_ms;
		printf("%s %lu\n", game->writers[writer], game->value);
		if (game->value == game->rounds)
			return OVER;
	}
	return game->value > before ? take_turn(game) : GOES_ON;
}

static int hear(struct game *game, const struct chat_event *event)
{
	unsigned long number;
	unsigned writer;
	char body[32];

	switch (event->type) {
	case CHAT_MESSAGE:
		writer = find_writer(game, event->name);
		snprintf(body, sizeof body, "%.*s", (int)event->len, event->body);
		if (writer < game->n_writers && sscanf(body, "here %lu", &number) == 1)
			return hear_here(game, writer, number);
		if (writer < game->n_writers && sscanf(body, "%lu", &number) == 1)
			return hear_turn(game, event, writer, number);
		return GOES_ON; /* anybody may say anything in a room */
	case CHAT_REFUSED:
		fprintf(stderr, "counter: refused: %s\n", event->text);
		return FAILED;
	case CHAT_GAP: /* if a turn is gone with it, the next one will show that */
		fprintf(stderr, "counter: messages are gone: %s\n", event->text);
		return GOES_ON;
	case CHAT_DOWN: /* libchat connects again */
		fprintf(stderr, "counter: connection lost: %s\n", event->text);
		return GOES_ON;
	default:
		return GOES_ON;
	}
}

static int play(struct game *game)
{
	struct chat_event event;
	int r = say(game, "here %lu", 0);
	long left_ms;

	while (r == GOES_ON && (left_ms = game->until_ms - now_ms()) > 0) {
		r = chat_receive(game->chat, &event, (int)left_ms);
		if (r > 0)
			r = hear(game, &event);
	}
	if (r != GOES_ON)
		return r;
	if (game->value == 0 && game->n_heard < game->n_writers)
		fprintf(stderr, "counter: not everybody came\n");
	else
		fprintf(stderr, "counter: waited in vain for the turn of %s\n",
			game->writers[game->value % game->n_writers]);
	return FAILED;
}

int main(int argc, char **argv)
{
	struct game game = { 0 };
	double timeout_s = 10;
	int option, r;

	while ((option = getopt(argc, argv, "+t:")) == 't')
		timeout_s = atof(optarg);
	argc -= optind;
	argv += optind;
	if (option == -1 && argc >= 5 && argc <= 3 + WRITERS_MAX) {
		game = (struct game){ .room = argv[0], .writers = argv + 3 };
		game.n_writers = (unsigned)argc - 3;
		game.me = find_writer(&game, argv[1]);
		game.rounds = strtoul(argv[2], NULL, 10);
		game.timeout_ms = (long)(timeout_s * 1000);
	}
	if (game.rounds == 0 || game.me == game.n_writers || !(timeout_s > 0 && timeout_s < 1e6)) {
		fprintf(stderr, "usage: counter [-t SECONDS] ROOM NAME ROUNDS WRITER WRITER...\n"
				"NAME is one of the writers, who are the same for all of them.\n");
		return EX_USAGE;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);

	r = chat_open(&game.chat, &(struct chat_config){ .name = argv[1] });
	if (r == 0)
		r = chat_join(game.chat, game.room, CHAT_NEW, 0, FAST, NULL);
	if (r == 0)
		r = play(&game);
	if (r == OVER) {
		r = chat_flush(game.chat, 5000); /* the others want the last turn, too */
		fprintf(stderr, "%lu of %lu turns came through shared memory\n", game.n_shared,
			game.value);
	}
	if (r < 0)
		fprintf(stderr, "counter: %s\n", chat_error(game.chat));
	chat_close(game.chat);
	return r == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
