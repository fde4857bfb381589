/* memory.h - shared memory as C11 has it, with every freedom it leaves taken in turn.
 *
 * Each word remembers all that was ever stored into it, in order. A thread has a view: of
 * each word, the oldest store that it may still read. It may read any from there on, and
 * which one is a choice; a search (search.h) tries them all. A store carries a view as
 * well, that of its thread if it is a release, else that of the thread's last release
 * fence; an acquire takes over the view of the store that it reads, and an acquire fence
 * those of all that were read. This is RC11, the repaired C11, without loads that run
 * ahead of stores before them: those would need a value out of thin air here, or the race
 * that model_reads() looks for.
 *
 * Every word has one writer, which is checked: so a new store is always the last one, and
 * all words together are as good as their number of stores, to go back to.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* 512 bytes of data, and the gate and the words of the header. */
#define MODEL_DATA_LEN   512
#define MODEL_DATA_WORDS (MODEL_DATA_LEN / 4)
#define MODEL_WORDS      (MODEL_DATA_WORDS + 12)
#define MODEL_THREADS    3
#define MODEL_STORES_MAX 32 /* into one word */

enum model_order {
	MODEL_RELAXED,
	MODEL_ACQUIRE,
	MODEL_RELEASE,
	MODEL_FULL,
};

/* Of each word the number of a store; of each thread, how often it said model_tick(). */
struct model_view {
	uint8_t store[MODEL_WORDS];
	uint8_t clock[MODEL_THREADS];
};

struct model_thread {
	struct model_view now;
	struct model_view acquired; /* what an acquire fence adds */
	struct model_view released; /* at the last release fence */
};

/* All that changes: copied to come back to it. */
struct model_state {
	uint8_t n_stores[MODEL_WORDS];
	uint8_t owner[MODEL_WORDS];   /* thread + 1 that stores into it */
	uint8_t read_at[MODEL_WORDS]; /* clock of the reader that must not be raced */
	struct model_view full;       /* what full fences hand on */
	struct model_thread threads[MODEL_THREADS];
	uint64_t hash[MODEL_THREADS]; /* of all stores of each */
};

extern struct model_state model;
extern unsigned model_running;    /* the thread whose steps these are */
extern unsigned model_guarded;    /* the thread whose reads must not be raced; or none */
extern unsigned model_deviations; /* words of one copy that are not the oldest possible */
extern uint64_t model_n_steps;
extern bool model_has_stored; /* the running step, set to false where it begins */

/* Forget everything. DATA are MODEL_DATA_LEN bytes that stand for those of the ring; of
 * words that are single accesses there are N. All are 0. */
void model_init(const void *data, const void *const *singles, unsigned n);

uint64_t model_load(const void *at, size_t size, enum model_order order);
void model_store(void *at, size_t size, uint64_t value, enum model_order order);
void model_fence(enum model_order order);
void model_copy_out(void *dst, const void *at, size_t len);
void model_copy_in(void *at, const void *src, size_t len);

/* Another moment of the running thread begins. */
void model_tick(void);

/* THREAD has heard of everything that OTHER did. */
void model_join(unsigned thread, unsigned other);

/* Would THREAD, at AT, have to read store NUMBER or a newer one? */
bool model_has_seen(unsigned thread, const void *at, unsigned number);

/* How often AT was stored into. */
unsigned model_n_stores(const void *at);

/* Of all this. What can not make a difference is left out. */
uint64_t model_hash(void);

/* The same, of what THREAD can still find out, of what thread 0 stored. */
uint64_t model_hash_of(unsigned thread);

/* One of N, 0 to N - 1: the search's. */
unsigned model_choose(unsigned n);

/* The program under test, or the model, is wrong. Does not return. */
_Noreturn void model_fail(const char *format, ...) __attribute__((__format__(__printf__, 1, 2)));
