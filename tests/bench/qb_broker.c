/* qb_broker.c - a message broker made of libqb's IPC: rings in shared memory between
 * it and each client.
 *
 *	qb-broker NAME BUFFER_BYTES
 */
#include <qb/qbdefs.h>
#include <qb/qbipcs.h>
#include <qb/qbloop.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/base.h"
#include "tests/bench/qb.h"

#define SUBSCRIBERS_MAX 4096

static struct {
	int n;
	qb_ipcs_connection_t *connection[SUBSCRIBERS_MAX];
} topics[256];
static qb_loop_t *loop;

static int32_t take_accept(qb_ipcs_connection_t *connection, uid_t uid, gid_t gid)
{
	return 0;
}

static int32_t take_close(qb_ipcs_connection_t *connection)
{
	for (size_t t = 0; t < ARRAY_LEN(topics); t++)
		for (int i = 0; i < topics[t].n; i++)
			if (topics[t].connection[i] == connection)
				topics[t].connection[i--] = topics[t].connection[--topics[t].n];
	return 0;
}

static int32_t take_request(qb_ipcs_connection_t *connection, void *data, size_t size)
{
	struct qb_request *request = data;
	struct qb_ipc_response_header header = { .id = 1, .size = sizeof header };
	uint8_t topic = (uint8_t)request->topic;
	size_t len = (size_t)request->header.size - sizeof *request;
	struct iovec parts[] = { { &header, sizeof header }, { request + 1, len } };

	if (request->op == 'S') {
		if (topics[topic].n < SUBSCRIBERS_MAX)
			topics[topic].connection[topics[topic].n++] = connection;
		qb_ipcs_response_send(connection, &header, sizeof header);
		return 0;
	}
	header.size = (int32_t)(sizeof header + len);
	for (int i = 0; i < topics[topic].n; i++)
		(void)qb_ipcs_event_sendv(topics[topic].connection[i], parts, ARRAY_LEN(parts));
	return 0;
}

static int32_t add_job(enum qb_loop_priority priority, void *data, qb_loop_job_dispatch_fn run)
{
	return qb_loop_job_add(loop, priority, data, run);
}

static int32_t add_fd(enum qb_loop_priority priority, int32_t fd, int32_t events, void *data,
	qb_ipcs_dispatch_fn_t run)
{
	return qb_loop_poll_add(loop, priority, fd, events, data, run);
}

static int32_t change_fd(enum qb_loop_priority priority, int32_t fd, int32_t events, void *data,
	qb_ipcs_dispatch_fn_t run)
{
	return qb_loop_poll_mod(loop, priority, fd, events, data, run);
}

static int32_t remove_fd(int32_t fd)
{
	return qb_loop_poll_del(loop, fd);
}

int main(int argc, char **argv)
{
	struct qb_ipcs_service_handlers handlers = {
		.connection_accept = take_accept,
		.connection_closed = take_close,
		.msg_process = take_request,
	};
	struct qb_ipcs_poll_handlers poll_handlers = {
		.job_add = add_job,
		.dispatch_add = add_fd,
		.dispatch_mod = change_fd,
		.dispatch_del = remove_fd,
	};
	qb_ipcs_service_t *service;
	int r;

	if (argc != 3)
		return 64;
	loop = qb_loop_create();
	service = qb_ipcs_create(argv[1], 0, QB_IPC_SHM, &handlers);
	qb_ipcs_enforce_buffer_size(service, (uint32_t)atoi(argv[2]));
	qb_ipcs_poll_handlers_set(service, &poll_handlers);
	r = qb_ipcs_run(service);
	if (r) {
		fprintf(stderr, "qb-broker: %s\n", strerror(-r));
		return 71;
	}
	qb_ipcs_request_rate_limit(service, QB_IPCS_RATE_FAST);
	fprintf(stderr, "ready\n");
	qb_loop_run(loop);
	return 0;
}
