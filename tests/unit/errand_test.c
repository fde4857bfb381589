/* errand_test.c - users take turns, whoever asks for how much; what is left at the end ends. */
#include <poll.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "broker/errand.h"
#include "protocol/base.h"

#define MANY 20

struct thing {
	struct errand errand;
	struct house *house;
	bool was_begun, was_worked;
	unsigned ended; /* as which; 0: it was not */
};

struct house {
	struct settings settings;
	struct users users;
	struct errands errands;
	struct user *user[3];
	struct thing things[MANY];
	unsigned n_ended, n_done;
	sem_t may_work, works;
};

static void thing_begin(struct errand *errand)
{
	container_of(errand, struct thing, errand)->was_begun = true;
}

static void thing_work(struct job *job)
{
	struct thing *thing = container_of(job, struct thing, errand.job);

	sem_post(&thing->house->works);
	sem_wait(&thing->house->may_work);
	thing->was_worked = true;
}

static void thing_end(struct errand *errand)
{
	struct thing *thing = container_of(errand, struct thing, errand);

	assert_int_equal(thing->ended, 0);
	thing->ended = ++thing->house->n_ended;
	thing->house->n_done += errand->is_done;
}

static int house_setup(void **state)
{
	struct house *house = calloc(1, sizeof *house);

	assert_non_null(house);
	settings_init(&house->settings);
	assert_int_equal(users_init(&house->users, &house->settings), 0);
	for (size_t i = 0; i < ARRAY_LEN(house->user); i++)
		assert_int_equal(users_get(&house->users, (uid_t)(1000 + i), &house->user[i]), 0);
	assert_int_equal(errands_init(&house->errands, &house->users), 0);
	sem_init(&house->may_work, 0, 0);
	sem_init(&house->works, 0, 0);
	for (size_t i = 0; i < MANY; i++)
		house->things[i] = (struct thing){ .house = house,
			.errand = {
				.job.work = thing_work, .begin = thing_begin, .end = thing_end } };
	*state = house;
	return 0;
}

static int house_teardown(void **state)
{
	struct house *house = *state;

	for (size_t i = 0; i < ARRAY_LEN(house->user); i++)
		users_put(&house->users, house->user[i]);
	assert_int_equal(users_deinit(&house->users), 0);
	settings_deinit(&house->settings);
	sem_destroy(&house->may_work);
	sem_destroy(&house->works);
	free(house);
	return 0;
}

static void run_all(struct house *house, unsigned n)
{
	struct pollfd poll_fd = { house->errands.worker.fd, POLLIN, 0 };

	while (house->n_ended < n) {
		assert_int_equal(poll(&poll_fd, 1, 20000), 1);
		errands_dispatch(&house->errands);
	}
}

static void test_turns(void **state)
{
	struct house *house = *state;

	/* one wants much, and the others come later */
	for (size_t i = 0; i < MANY - 3; i++)
		errands_add(&house->errands, &house->things[i].errand, house->user[0]);
	errands_add(&house->errands, &house->things[MANY - 3].errand, house->user[1]);
	errands_add(&house->errands, &house->things[MANY - 2].errand, house->user[1]);
	errands_add(&house->errands, &house->things[MANY - 1].errand, house->user[2]);
	assert_true(house->things[0].was_begun);
	assert_false(house->things[5].was_begun); /* it is not its turn */
	for (int i = 0; i < MANY; i++)
		sem_post(&house->may_work);
	run_all(house, MANY);
	/* two were in hand; then it is each one's turn */
	assert_int_equal(house->things[0].ended, 1);
	assert_int_equal(house->things[1].ended, 2);
	assert_int_equal(house->things[MANY - 3].ended, 4);
	assert_int_equal(house->things[MANY - 1].ended, 5);
	assert_int_equal(house->things[MANY - 2].ended, 7);
	for (size_t i = 0; i < MANY - 3; i++) {
		assert_true(house->things[i].was_begun && house->things[i].was_worked);
		assert_true(i == 0 || house->things[i].ended > house->things[i - 1].ended);
	}
	assert_int_equal(house->n_done, MANY);
	errands_deinit(&house->errands, UINT64_C(20000000000));
}

/* At the end each ends, also one that is done and was not looked at; what the thread is at is
 * left behind. */
static void test_end(void **state)
{
	struct house *house = *state;

	for (size_t i = 0; i < 5; i++)
		errands_add(&house->errands, &house->things[i].errand, house->user[0]);
	sem_wait(&house->works);
	errands_deinit(&house->errands, 1000000);
	assert_int_equal(house->n_ended, 3); /* those that nobody began */
	assert_int_equal(house->n_done, 0);
	assert_int_equal(house->things[0].ended, 0);
	for (int i = 0; i < 5; i++)
		sem_post(&house->may_work);
	errands_deinit(&house->errands, UINT64_C(20000000000));
	assert_int_equal(house->n_ended, 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_turns, house_setup, house_teardown),
		cmocka_unit_test_setup_teardown(test_end, house_setup, house_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
