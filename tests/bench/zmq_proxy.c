/* zmq_proxy.c - XSUB and XPUB between publishers and subscribers of ZeroMQ.
 *
 *	zmq-proxy PUBLISH_ADDRESS SUBSCRIBE_ADDRESS HWM NODROP BACKLOG
 */
#include <stdio.h>
#include <stdlib.h>
#include <zmq.h>

int main(int argc, char **argv)
{
	void *context, *in, *out;
	int mark, nodrop, backlog;

	if (argc != 6)
		return 64;
	mark = atoi(argv[3]);
	nodrop = atoi(argv[4]);
	backlog = atoi(argv[5]);
	context = zmq_ctx_new();
	in = zmq_socket(context, ZMQ_XSUB);
	out = zmq_socket(context, ZMQ_XPUB);
	zmq_setsockopt(in, ZMQ_RCVHWM, &mark, sizeof mark);
	zmq_setsockopt(out, ZMQ_SNDHWM, &mark, sizeof mark);
	zmq_setsockopt(out, ZMQ_XPUB_NODROP, &nodrop, sizeof nodrop);
	zmq_setsockopt(out, ZMQ_BACKLOG, &backlog, sizeof backlog);
	if (zmq_bind(in, argv[1]) < 0 || zmq_bind(out, argv[2]) < 0) {
		perror("zmq-proxy");
		return 71;
	}
	fprintf(stderr, "ready\n");
	return zmq_proxy(in, out, NULL) < 0 ? 71 : 0;
}
