/* rate.c - one publisher, readers that poll, as fast as it goes:
 *
 *	rate SIZE BURST WINDOW CAPACITY
 *	readers SIZE READERS CAPACITY    what one reader costs the publisher, and READERS
 *
 * The publisher has processor 0, the readers share processor 1. It says of all but the
 * last of BURST messages that more follows. Where nobody waits for a slow reader, the
 * publisher does not have more than WINDOW bytes of records on their way, if that is not
 * 0: readers show their count in a line of their own now and then, and it looks there only
 * when its window is used up.
 *
 * What readers cost is the publisher's processor time. It is measured by two sets of a
 * publisher and its readers, which run by turns, for a machine may be several times as
 * fast in one moment as in the next.
 *
 * Every message that was sent must have been received, in order, or told to be lost.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/bench/harness.h"
#include "tests/bench/lane.h"
#include "tests/bench/works.h"

#define READERS_MAX 8
#define SETS        2
#define TURNS       32
#define TURN_MS     30
#define SETTLE_MS   10 /* of a turn, before it is measured */
#define SHOW        64 /* messages between two times that a count is shown */
#define RATE_MS     700
#define PATIENCE_NS (5 * NS_PER_S)
#define WARM_MS     (WARM_NS / NS_PER_MS)
#define RECORD_LEN  32 /* what a record takes beside its message */

static struct lane_plan plan;
static unsigned burst;
static uint64_t window; /* messages; 0: none */

struct reader {
	/* messages that were received or lost: what the window waits for */
	_Alignas(128) _Atomic uint64_t n_past;
	_Atomic uint64_t n_received;
	_Atomic uint64_t n_lost, n_detours;
	_Atomic uint32_t is_done;
};

static struct stage {
	_Atomic uint32_t ready, opened;
	_Alignas(128) _Atomic uint64_t n_sent; /* shown now and then */
	_Alignas(128) _Atomic uint32_t is_over;
	_Atomic uint64_t n_sent_all; /* when it sends no more; 0: not yet */
	struct reader readers[READERS_MAX];
} * stage; /* of the set that this process belongs to, or that is dealt with */

struct set {
	struct stage *stage;
	unsigned n_readers;
	pid_t pids[READERS_MAX + 1]; /* the last one publishes */
	uint64_t n_put;              /* in its turns, by the publisher */
	double s;
};

static void store(_Atomic uint64_t *word, uint64_t value)
{
	atomic_store_explicit(word, value, memory_order_release);
}

static uint64_t load(_Atomic uint64_t *word)
{
	return atomic_load_explicit(word, memory_order_acquire);
}

static void await_all(void)
{
	word_raise(&stage->opened);
	word_await(&stage->opened, plan.n_readers + 1);
}

/* ---- the publisher ---- */

/* How many every reader is past. */
static uint64_t slowest(void)
{
	uint64_t least = UINT64_MAX;

	for (unsigned i = 0; i < plan.n_readers; i++)
		least = MIN(least, load(&stage->readers[i].n_past));
	return least;
}

static void publish(int number)
{
	uint64_t n_sent = 0, past = 0;
	struct lane *lane;

	lane = lane_open(0, -1, 0);
	pin(0);
	await_all();
	lane_meet(lane);
	word_raise(&stage->ready);
	while (!atomic_load_explicit(&stage->is_over, memory_order_relaxed)) {
		for (unsigned i = 1; i <= burst; i++) {
			while (window > 0 && n_sent - past >= window)
				past = slowest();
			n_sent++;
			memcpy(harness_body, &n_sent, sizeof n_sent);
			lane_put(lane, harness_body, i < burst);
			if (n_sent % SHOW == 0)
				store(&stage->n_sent, n_sent);
		}
	}
	store(&stage->n_sent_all, n_sent);
	for (;;)
		pause();
}

/* ---- a reader ---- */

struct progress {
	uint64_t n_received, last; /* the serial number of the last one */
	struct lane_losses losses;
};

static void show(struct reader *reader, const struct progress *progress)
{
	store(&reader->n_received, progress->n_received);
	store(&reader->n_past, progress->n_received + progress->losses.n_lost);
}

static void take(struct progress *progress, const void *body)
{
	uint64_t serial;

	memcpy(&serial, body, sizeof serial);
	progress->n_received++;
	if (serial != progress->n_received + progress->losses.n_lost)
		die("message %" PRIu64 " follows %" PRIu64 "; %" PRIu64
		    " were received and %" PRIu64 " told to be lost",
			serial, progress->last, progress->n_received, progress->losses.n_lost);
	progress->last = serial;
}

/* All that was sent is accounted for. */
static bool is_complete(const struct progress *progress)
{
	uint64_t n_sent = load(&stage->n_sent_all);

	return n_sent > 0 && progress->n_received + progress->losses.n_lost == n_sent;
}

static void receive(int number)
{
	struct reader *reader = &stage->readers[number];
	struct progress progress = { 0 };
	const void *body;
	struct lane *lane;

	lane = lane_open(-1, 0, (unsigned)number);
	pin(1);
	await_all();
	lane_meet(lane);
	word_raise(&stage->ready);
	for (;;) {
		body = lane_get(lane, &progress.losses);
		if (body) {
			take(&progress, body);
			if (progress.n_received % SHOW == 0)
				show(reader, &progress);
			continue;
		}
		if (reader->n_past != progress.n_received + progress.losses.n_lost)
			show(reader, &progress);
		if (is_complete(&progress))
			break;
	}
	reader->n_lost = progress.losses.n_lost;
	reader->n_detours = progress.losses.n_detours;
	reader->is_done = true;
	for (;;)
		pause();
}

/* ---- the measurement ---- */

static void set_start(struct set *set, unsigned number)
{
	plan.set = number;
	plan.n_readers = set->n_readers;
	stage = set->stage = share(sizeof *stage);
	lanes_plan(&plan);
	set->pids[set->n_readers] = spawn(publish, 0);
	for (unsigned i = 0; i < set->n_readers; i++)
		set->pids[i] = spawn(receive, (int)i);
	word_await(&stage->ready, set->n_readers + 1);
}

static void set_signal(const struct set *set, int number)
{
	for (unsigned i = 0; i <= set->n_readers; i++)
		kill(set->pids[i], number);
}

/* Let everything arrive, and have it accounted for. */
static void set_await_end(const struct set *set)
{
	uint64_t until = now_ns() + PATIENCE_NS;

	set->stage->is_over = true;
	for (unsigned i = 0; i < set->n_readers; i++) {
		struct reader *reader = &set->stage->readers[i];

		while (!reader->is_done) {
			if (now_ns() > until)
				die("%" PRIu64 " sent, reader %u got %" PRIu64
				    " and is past %" PRIu64,
					load(&set->stage->n_sent_all), i, load(&reader->n_received),
					load(&reader->n_past));
			pass_ms(SETTLE_MS);
		}
	}
}

static void set_end(const struct set *set)
{
	for (unsigned i = 0; i <= set->n_readers; i++)
		end(set->pids[i]);
}

static void print_percent(const char *metric, double part, double whole)
{
	printf("%s %.4g\n", metric, 100 * part / whole);
}

void work_rate(int argc, char **argv)
{
	struct set set = { .n_readers = 1 };
	struct reader *reader;
	uint64_t start, sent, got;
	double s, cpu = 0;

	if (argc != 4)
		die("usage: rate SIZE BURST WINDOW CAPACITY");
	plan.len = number_of(argv[0], sizeof(uint64_t), BODY_MAX);
	burst = (unsigned)number_of(argv[1], 1, 1024);
	window = number_of(argv[2], 0, 1 << 24) / ((plan.len + RECORD_LEN + 63) & ~(size_t)63);
	plan.capacity = number_of(argv[3], 1 << 16, 1 << 24);
	if (!lane_is_lossy)
		window = 0;
	set_start(&set, 0);
	reader = &stage->readers[0];
	pass_ms(WARM_MS);
	start = now_ns();
	sent = load(&stage->n_sent);
	got = load(&reader->n_received);
	if (harness_broker)
		cpu = cpu_s(harness_broker);
	pass_ms(RATE_MS);
	s = (double)(now_ns() - start) / 1e9;
	sent = load(&stage->n_sent) - sent;
	got = load(&reader->n_received) - got;
	if (harness_broker)
		cpu = cpu_s(harness_broker) - cpu;
	set_await_end(&set);
	set_end(&set);
	if (got == 0)
		die("nothing was received in %d ms", RATE_MS);
	printf("deliveries_s %.0f\nsent_s %.0f\n", (double)got / s, (double)sent / s);
	print_percent("lost_percent", (double)reader->n_lost, (double)stage->n_sent_all);
	print_percent("detours_percent", (double)reader->n_detours, (double)stage->n_sent_all);
	print_percent("broker_percent", cpu, s);
}

/* One turn of SET; adds what its publisher put, and the processor time that it took. */
static void set_turn(struct set *set)
{
	pid_t publisher = set->pids[set->n_readers];
	uint64_t sent;
	double s;

	set_signal(set, SIGCONT);
	pass_ms(SETTLE_MS);
	s = cpu_s(publisher);
	sent = load(&set->stage->n_sent);
	pass_ms(TURN_MS);
	set->n_put += load(&set->stage->n_sent) - sent;
	set->s += cpu_s(publisher) - s;
	set_signal(set, SIGSTOP);
}

/* Nanoseconds for each message. */
static double set_cost(const struct set *set)
{
	if (set->n_put == 0)
		die("nothing was put");
	return set->s * 1e9 / (double)set->n_put;
}

void work_readers(int argc, char **argv)
{
	struct set sets[SETS] = { { .n_readers = 1 } };

	if (argc != 3)
		die("usage: readers SIZE READERS CAPACITY");
	plan.len = number_of(argv[0], sizeof(uint64_t), BODY_MAX);
	burst = 1;
	sets[1].n_readers = (unsigned)number_of(argv[1], 1, READERS_MAX);
	plan.capacity = number_of(argv[2], 1 << 16, 1 << 24);
	for (unsigned i = 0; i < SETS; i++) {
		set_start(&sets[i], i);
		pass_ms(SETTLE_MS);
		set_signal(&sets[i], SIGSTOP);
	}
	for (unsigned turn = 0; turn < TURNS; turn++)
		for (unsigned i = 0; i < SETS; i++)
			set_turn(&sets[(turn + i) % SETS]);
	for (unsigned i = 0; i < SETS; i++) {
		set_signal(&sets[i], SIGCONT);
		set_await_end(&sets[i]);
	}
	for (unsigned i = 0; i < SETS; i++)
		set_end(&sets[i]);
	printf("rate_ratio %.4f\none_ns %.2f\nmany_ns %.2f\n",
		set_cost(&sets[0]) / set_cost(&sets[1]), set_cost(&sets[0]), set_cost(&sets[1]));
}
