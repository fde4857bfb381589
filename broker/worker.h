/* worker.h - a thread for what may block: jobs go in, and come back done.
 *
 * The loop must not wait for a disk or for the user data base, so it gives such work away.
 * A job belongs to the worker from worker_add() until worker_take() gives it back; the
 * worker's descriptor polls readable meanwhile when one is done.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "broker/list.h"

/* Embedded in what is to be done. */
struct job {
	struct list job_link;
	void (*work)(struct job *job); /* on the thread */
};

struct worker {
	int fd;
	int write_fd; /* FD, an eventfd; or the other end of a pipe */
	pthread_t thread;
	pthread_mutex_t mutex;
	pthread_cond_t wake;
	struct list urgent, queue; /* the latter is begun when there is nothing urgent */
	struct list done;
	bool stop, is_running;
	bool is_patient;  /* others go first; see worker_init() */
	uint64_t look_ns; /* behind a job, look so long for the next one; see protocol/look.h */
	_Atomic unsigned n_added; /* of jobs, counting: what is looked at */
};

/* Start the thread; NAME, of up to 15 bytes, is for people. LOOK_NS: it looks so long for the
 * next job before it sleeps, as the loop does for packets; 0: it does not. Returns 0 or
 * -errno. */
int worker_init(struct worker *worker, const char *name, uint64_t look_ns);

/* The same for a worker that takes a processor for long: whoever answers somebody goes first. */
int worker_init_patient(struct worker *worker, const char *name);

/* Stop it behind the job in hand; those that wait are left alone. Safe after a failed init.
 * Returns 0, or -EBUSY when that job is not done within TIMEOUT_NS: then the worker and its
 * jobs must stay until the process exits. */
int worker_deinit(struct worker *worker, uint64_t timeout_ns);

/* Two descriptors, which may be one: *ret_fd polls readable when the other was written to. Returns
 * 0 or -errno. */
int worker_open_event(int *ret_fd, int *ret_write_fd);

/* Queue JOB, which stays where it is. */
void worker_add(struct worker *worker, struct job *job, bool is_urgent);

/* Take one that is done, or NULL; clears the readiness of worker.fd when there is none. */
struct job *worker_take(struct worker *worker);
