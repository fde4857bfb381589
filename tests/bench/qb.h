/* qb.h - what qb_broker.c and peer_qb.c say to each other. */
#pragma once

#include <qb/qbipcc.h>

/* Followed by the body. A subscription is answered with a bare response header; a
 * message comes as an event, a response header and the body. */
struct qb_request {
	struct qb_ipc_request_header header;
	char op; /* 'S' subscribe, 'P' publish */
	char topic;
	char padding[6];
};
