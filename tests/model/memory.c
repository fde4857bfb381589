/* memory.c - see memory.h. */
#include "tests/model/memory.h"

#include <string.h>

#include "protocol/base.h"

struct store {
	uint64_t value;
	struct model_view view;
	uint64_t hash;
};

struct model_state model;
unsigned model_running;
unsigned model_guarded = MODEL_THREADS;
unsigned model_deviations = 1;
uint64_t model_n_steps;
bool model_has_stored;

static struct store stores[MODEL_WORDS][MODEL_STORES_MAX];
static const char *data_at;
static const void *single_at[MODEL_WORDS - MODEL_DATA_WORDS];
static unsigned n_singles;

void model_init(const void *data, const void *const *singles, unsigned n)
{
	memset(&model, 0, sizeof model);
	memset(stores, 0, sizeof stores);
	memset(model.n_stores, 1, sizeof model.n_stores);
	data_at = data;
	n_singles = n;
	memcpy(single_at, singles, n * sizeof *singles);
}

/* ---- words ---- */

static unsigned word_of(const void *at)
{
	ptrdiff_t offset = (const char *)at - data_at;

	if (offset >= 0 && offset < MODEL_DATA_LEN && offset % 4 == 0)
		return (unsigned)offset / 4;
	for (unsigned i = 0; i < n_singles; i++)
		if (single_at[i] == at)
			return MODEL_DATA_WORDS + i;
	model_fail("an access at %p, where no shared word begins", at);
}

static void view_join(struct model_view *view, const struct model_view *other)
{
	uint8_t *to = view->store;
	const uint8_t *from = other->store;

	for (size_t i = 0; i < sizeof *view; i++)
		to[i] = MAX(to[i], from[i]);
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
	hash = (hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);
	return hash ^ hash >> 29;
}

static struct model_thread *running(void)
{
	return &model.threads[model_running];
}

static uint64_t word_read(unsigned word, unsigned number, enum model_order order)
{
	const struct store *store = &stores[word][number];
	struct model_thread *thread = running();

	thread->now.store[word] = (uint8_t)number;
	view_join(&thread->acquired, &store->view);
	thread->acquired.store[word] = MAX(thread->acquired.store[word], (uint8_t)number);
	if (order == MODEL_ACQUIRE)
		view_join(&thread->now, &store->view);
	return store->value;
}

static uint64_t word_load(unsigned word, enum model_order order)
{
	unsigned newest = model.n_stores[word] - 1, oldest = running()->now.store[word];

	model_n_steps++;
	if (model_running > 0 && model.owner[word] > 1)
		model_fail("a reader reads what a reader writes");
	return word_read(word, newest - model_choose(newest - oldest + 1), order);
}

/* Leave of a view what can make a difference to who gets it. Thread 0 writes all words but
 * the gate, which it alone reads (word_load() checks that): so readers have use for the
 * words of thread 0 only, and thread 0 for all but those. */
static void view_strip(struct model_view *view, bool is_for_readers)
{
	for (unsigned i = 0; i < MODEL_WORDS; i++)
		if ((model.owner[i] == 1) != is_for_readers)
			view->store[i] = 0;
	if (is_for_readers)
		memset(view->clock, 0, sizeof view->clock);
}

static uint64_t hash_bytes(uint64_t hash, const void *data, size_t len)
{
	for (size_t at = 0; at < len; at += sizeof hash) {
		uint64_t part = 0;

		memcpy(&part, (const char *)data + at, MIN(len - at, sizeof part));
		hash = mix(hash, part);
	}
	return hash;
}

uint64_t model_hash_of(unsigned thread)
{
	struct model_thread stripped = model.threads[thread];
	uint64_t hash = model.hash[0];

	view_strip(&stripped.now, thread > 0);
	view_strip(&stripped.acquired, thread > 0);
	view_strip(&stripped.released, thread == 0); /* is sent */
	return hash_bytes(hash, &stripped, sizeof stripped);
}

uint64_t model_hash(void)
{
	uint64_t hash = hash_bytes(0, model.hash, sizeof model.hash);

	for (unsigned i = 0; i < MODEL_THREADS; i++)
		hash = mix(hash, model_hash_of(i));
	return hash_bytes(hash, model.read_at, sizeof model.read_at);
}

/* Whoever must not be raced read this: did the writer hear that it has finished? */
static void check_race(unsigned word)
{
	if (model_guarded < MODEL_THREADS && model_running != model_guarded &&
		model.read_at[word] > running()->now.clock[model_guarded])
		model_fail("word %u is written while the gated reader may still read it", word);
}

static void word_store(unsigned word, uint64_t value, enum model_order order)
{
	struct model_thread *thread = running();
	unsigned number = model.n_stores[word]++;
	struct store *store = &stores[word][number];
	struct model_view seen;

	model_n_steps++;
	if (number >= MODEL_STORES_MAX)
		model_fail("word %u is stored into too often for this model", word);
	if (model.owner[word] != 0 && model.owner[word] != model_running + 1)
		model_fail("word %u has two writers", word);
	check_race(word);
	model.owner[word] = (uint8_t)(model_running + 1);
	thread->now.store[word] = thread->acquired.store[word] = (uint8_t)number;
	store->value = value;
	store->view = order == MODEL_RELEASE ? thread->now : thread->released;
	store->view.store[word] = (uint8_t)number;
	seen = store->view;
	view_strip(&seen, model_running == 0);
	store->hash = hash_bytes(mix(mix(word + 1, number), value), &seen, sizeof seen);
	model.hash[model_running] += store->hash;
}

static uint64_t word_newest(unsigned word)
{
	return stores[word][model.n_stores[word] - 1].value;
}

/* ---- accesses ---- */

uint64_t model_load(const void *at, size_t size, enum model_order order)
{
	unsigned word = word_of(at);
	uint64_t low;

	if (model_running == 0 && model_has_stored)
		model_fail("a step of the writer reads what is shared after it wrote");
	low = word_load(word, order);
	if (size == 4 || word >= MODEL_DATA_WORDS)
		return low;
	return low | word_load(word + 1, order) << 32;
}

void model_store(void *at, size_t size, uint64_t value, enum model_order order)
{
	unsigned word = word_of(at);

	model_has_stored = true;
	if (size == 4 || word >= MODEL_DATA_WORDS) {
		word_store(word, value, order);
		return;
	}
	if (order != MODEL_RELAXED)
		model_fail("a 64-bit release into the data is not a thing the ring does");
	word_store(word, value & UINT32_MAX, order);
	word_store(word + 1, value >> 32, order);
}

void model_fence(enum model_order order)
{
	struct model_thread *thread = running();

	model_n_steps++;
	if (order != MODEL_RELEASE)
		thread->now = thread->acquired;
	if (order == MODEL_FULL) {
		view_join(&thread->now, &model.full);
		model.full = thread->now;
		view_join(&thread->acquired, &thread->now);
	}
	if (order != MODEL_ACQUIRE)
		thread->released = thread->now;
}

/* A copy of N words has 2^N outcomes once it is overtaken. It is enough to try those in
 * which each word is the oldest possible, but for one (model_deviations; more in the long
 * form, as a check of this argument). For let a copy with several newer words be accepted,
 * or be found BAD: because of one word that is wrong. The same copy with only that word
 * newer has seen less, so every load after it has the same choices and more, and it ends
 * in the same error. */
void model_copy_out(void *dst, const void *at, size_t len)
{
	unsigned first = word_of(at), left = model_deviations;

	if (len % 4 != 0 || first + len / 4 > MODEL_DATA_WORDS)
		model_fail("a copy of %zu bytes from word %u leaves the data", len, first);
	for (unsigned i = 0; i < len / 4; i++) {
		unsigned word = first + i, number = running()->now.store[word];
		unsigned n_newer = model.n_stores[word] - 1u - number, newer = 0;
		uint32_t value;

		model_n_steps++;
		if (n_newer > 0 && left > 0)
			newer = model_choose(n_newer + 1);
		left -= newer > 0;
		value = (uint32_t)word_read(word, number + newer, MODEL_RELAXED);
		memcpy((char *)dst + 4 * i, &value, 4);
		if (model_running == model_guarded)
			model.read_at[word] = (uint8_t)(running()->now.clock[model_running] + 1);
	}
}

void model_copy_in(void *at, const void *src, size_t len)
{
	unsigned first = word_of(at);

	for (size_t done = 0; done < len; done += 4) {
		unsigned word = first + (unsigned)done / 4;
		uint32_t value;

		if (word >= MODEL_DATA_WORDS)
			model_fail("a copy of %zu bytes to word %u leaves the data", len, first);
		value = (uint32_t)word_newest(word); /* its own: the rest of it stays */
		memcpy(&value, (const char *)src + done, MIN(len - done, (size_t)4));
		word_store(word, value, MODEL_RELAXED);
	}
}

/* ---- what a test asks and does ---- */

void model_tick(void)
{
	struct model_thread *thread = running();

	thread->now.clock[model_running]++;
	thread->acquired.clock[model_running]++;
}

void model_join(unsigned thread, unsigned other)
{
	view_join(&model.threads[thread].now, &model.threads[other].now);
	view_join(&model.threads[thread].acquired, &model.threads[other].now);
}

bool model_has_seen(unsigned thread, const void *at, unsigned number)
{
	return model.threads[thread].now.store[word_of(at)] >= number;
}

unsigned model_n_stores(const void *at)
{
	return model.n_stores[word_of(at)];
}
