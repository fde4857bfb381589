/* ring_model.c - put and get, in every way in which they can meet.
 *
 * ring_model [long] runs these, and prints what each took:
 *
 *	ungated   one writer that waits for nobody, one reader. The writer reads nothing
 *	          that is shared, so it may as well be done before the reader begins: the
 *	          reader may read old stores as if they were the newest. Readers write
 *	          nothing: two of them are twice one of them.
 *	copies    the same, but any two words of a copy may be newer (memory.c); long only
 *	gated     one writer, and one reader that sets the gate; any order of their steps
 *	two       that, and one more reader that nobody waits for
 *	hostile   one ring_get() while a writer that keeps no rule writes
 *
 * A step is a ring_put() or a ring_get(). Finer steps add nothing: what a reader could
 * read in the middle of another's step it can still read, as an old store, after it. That
 * needs a put not to read when it has written already, and a get to set the gate last;
 * the former is checked, the latter is how step_get() is written.
 *
 * After each step the state is compared with all before: equal ones go on equally. So
 * readers may try again for ever here, and no bound is on what they do; only on what is
 * put. In each state, the reader is also told of all that was put: it must get there.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "protocol/base.h"
#include "tests/model/memory.h"
#include "tests/model/script.h"
#include "tests/model/search.h"

/* Who reads must come to an end, whatever was written. */
#define HOSTILE_S 50

struct snapshot {
	struct model_state model;
	struct script_state script;
};

static uint64_t n_messages;
static unsigned n_readers;
static uint64_t n_steps; /* ring_put() and ring_get() */
static uint64_t n_full, n_lapped;

static void snapshot_take(struct snapshot *snapshot)
{
	snapshot->model = model;
	snapshot->script = script;
}

static void snapshot_restore(const struct snapshot *snapshot)
{
	model = snapshot->model;
	script = snapshot->script;
}

static bool state_is_new(void)
{
	uint64_t hash = model_hash_of(2);

	/* alone from here on */
	if (script.has_begun[2]) {
		hash = search_hash(hash, &script.readers[2], sizeof script.readers[2]);
		hash = search_hash(hash, &script.last[2], sizeof script.last[2]);
		hash = search_hash(hash, &script.is_lapped[2], sizeof script.is_lapped[2]);
		return search_is_new(hash);
	}
	return search_is_new(search_hash(model_hash(), &script, sizeof script));
}

/* ---- steps ---- */

static void step_put(void)
{
	const struct ring_reader *gated = &script.readers[1];

	if (script_put() == 0)
		return;
	n_full++;
	if (gated->pos == script.writer.pos &&
		model_has_seen(0, &script_memory.gate, model_n_stores(&script_memory.gate) - 1))
		model_fail("the ring is FULL and will remain so: all was read");
}

static void step_get(unsigned thread)
{
	int r = script_get(thread, !script.is_lapped[thread] && model_choose(2) ? 8 : 1);

	n_lapped += script.is_lapped[thread];
	if (r == 0 && thread == model_guarded)
		script_set_gate(thread);
}

/* Threads: 0 puts, the others get. Not every order of steps is needed. Who sets the gate
 * can wait with that until it is read: where the writer needs another block. Who sets
 * nothing can wait until the writer is done, and of two that read then, each is alone. */
static bool step_is_possible(unsigned thread)
{
	bool is_done = script.n_put == n_messages;

	if (thread == 0)
		return !is_done;
	if (thread == model_guarded)
		return is_done ? !script.has_begun[2] : script_is_at_border();
	return thread <= n_readers && is_done;
}

static void explore(void)
{
	struct snapshot *here = malloc(sizeof *here);
	struct search search;

	if (!here)
		abort();
	snapshot_take(here);
	if (script.n_put == n_messages)
		for (unsigned thread = 1; thread <= n_readers; thread++) {
			script_finish(thread);
			snapshot_restore(here);
		}
	for (unsigned thread = 0; thread <= n_readers; thread++) {
		if (!step_is_possible(thread))
			continue;
		search_begin(&search);
		do {
			snapshot_restore(here);
			if (thread == 0)
				step_put();
			else
				step_get(thread);
			n_steps++;
			if (state_is_new())
				explore();
		} while (search_next(&search));
		snapshot_restore(here);
	}
	free(here);
}

/* ---- runs ---- */

struct run {
	const char *name;
	bool is_gated;
	unsigned n_readers, n_messages, n_messages_long, deviations;
};

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void run(const struct run *run, bool is_long)
{
	double start = seconds();

	if (!is_long && run->n_messages == 0)
		return;
	n_readers = run->n_readers;
	n_messages = is_long ? run->n_messages_long : run->n_messages;
	n_steps = n_full = n_lapped = model_n_steps = 0;
	model_guarded = run->is_gated ? 1 : MODEL_THREADS;
	model_deviations = run->deviations;
	script_init(run->is_gated, n_messages);
	search_forget();
	/* nothing that it would read */
	while (!run->is_gated && script.n_put < n_messages)
		(void)script_put();
	explore();
	printf("%s: %lu messages, %lu states, %lu steps of %lu accesses, FULL %lu, LAPPED %lu; "
	       "%.1f s\n",
		run->name, (unsigned long)n_messages, (unsigned long)search_n_states,
		(unsigned long)n_steps, (unsigned long)model_n_steps, (unsigned long)n_full,
		(unsigned long)n_lapped, seconds() - start);
	fflush(stdout);
	/* a model in which nothing of it happens shows nothing */
	if (run->is_gated ? n_full == 0 : n_lapped == 0)
		model_fail("%s: nobody had to wait, or nobody was overtaken", run->name);
}

/* Words of a copy are newer than when they were looked at, up to two. */
static void run_hostile(void)
{
	struct snapshot here;
	struct search search;
	double start = seconds();

	n_steps = model_n_steps = 0;
	model_guarded = MODEL_THREADS;
	model_deviations = 2;
	alarm(HOSTILE_S);
	for (uint64_t seq = 0; seq < 2; seq++) {
		script_init(false, 0);
		script_be_hostile(1, seq);
		snapshot_take(&here);
		search_begin(&search);
		do {
			snapshot_restore(&here);
			script_get_hostile(1, model_choose(2) ? 8 : 1);
			n_steps++;
		} while (search_next(&search));
	}
	alarm(0);
	script_init(false, 0);
	script_check_headers(1);
	printf("hostile: %lu steps of %lu accesses; %.1f s\n", (unsigned long)n_steps,
		(unsigned long)model_n_steps, seconds() - start);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	static const struct run runs[] = {
		{ "ungated", false, 1, 12, 15, 1 },
		{ "copies", false, 1, 0, 9, 2 },
		{ "gated", true, 1, 14, 22, 1 },
		{ "two", true, 2, 10, 13, 1 },
	};
	bool is_long = argc > 1 && strcmp(argv[1], "long") == 0;
	const char *only = argc > 2 ? argv[2] : NULL;

	for (size_t i = 0; i < ARRAY_LEN(runs); i++)
		if (!only || strcmp(only, runs[i].name) == 0)
			run(&runs[i], is_long);
	if (!only || strcmp(only, "hostile") == 0)
		run_hostile();
	return 0;
}
