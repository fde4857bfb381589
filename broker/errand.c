/* errand.c - see errand.h. */
#include "broker/errand.h"

/* The thread's next one is at hand when it is done with one; more would not take turns. */
#define RUNNING_MAX 2

static struct errand *errands_next(struct errands *errands)
{
	struct list *first = list_first(&errands->accounts);
	struct errand *errand;
	struct turns *turns;

	if (!first)
		return NULL;
	turns = container_of(first, struct turns, link);
	errand = container_of(list_first(&turns->sessions), struct errand, link);
	list_unlink(&errand->link);
	list_unlink(&turns->link);
	if (!list_is_empty(&turns->sessions))
		list_append(&errands->accounts, &turns->link);
	return errand;
}

static void errands_run(struct errands *errands)
{
	while (errands->n_running < RUNNING_MAX) {
		struct errand *errand = errands_next(errands);

		if (!errand)
			return;
		list_append(&errands->running, &errand->link);
		errands->n_running++;
		if (errand->begin)
			errand->begin(errand);
		worker_add(&errands->worker, &errand->job, false);
	}
}

static void errand_end(struct errands *errands, struct errand *errand)
{
	struct user *user = errand->user; /* also until it has ended */

	list_unlink(&errand->link);
	errand->end(errand);
	if (user)
		users_put(errands->users, user);
}

void errands_add(struct errands *errands, struct errand *errand, struct user *user)
{
	errand->user = user_ref(user);
	turns_add(&errands->accounts, &user->account->errands, &errand->link);
	errands_run(errands);
}

void errands_dispatch(struct errands *errands)
{
	struct job *job;

	while ((job = worker_take(&errands->worker))) {
		struct errand *errand = container_of(job, struct errand, job);

		errands->n_running--;
		errand->is_done = true;
		errand_end(errands, errand);
	}
	errands_run(errands);
}

int errands_init(struct errands *errands, struct users *users)
{
	*errands = (struct errands){ .users = users };
	list_init(&errands->accounts);
	list_init(&errands->running);
	return worker_init_patient(&errands->worker, "fetch");
}

void errands_deinit(struct errands *errands, uint64_t timeout_ns)
{
	struct errand *errand;

	if (!errands->users)
		return;
	while ((errand = errands_next(errands)))
		errand_end(errands, errand);
	if (worker_deinit(&errands->worker, timeout_ns) < 0) {
		list_for_each (link, &errands->running) {
			errand = container_of(link, struct errand, link);
			if (errand->user)
				users_put(errands->users, TAKE(errand->user));
		}
		return;
	}
	list_for_each (link, &errands->running)
		errand_end(errands, container_of(link, struct errand, link));
}
