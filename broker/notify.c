/* notify.c - see notify.h. */
#include "broker/notify.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "protocol/packet.h"

void notify(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address;
	socklen_t len;
	int fd;

	if (!path || (path[0] != '/' && path[0] != '@') || packet_address(path, &address, &len) < 0)
		return;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	(void)!sendto(fd, state, strlen(state), MSG_DONTWAIT | MSG_NOSIGNAL,
		(struct sockaddr *)&address, len);
	close(fd);
}
