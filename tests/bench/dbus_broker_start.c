/* dbus_broker_start.c - run dbus-broker without systemd.
 *
 *	dbus-broker-start PATH COMMAND [ARGUMENT...]
 *
 * COMMAND is dbus-broker with all its options but the controller's descriptor, which
 * is added. This process becomes it; a child is its controller, which hands it one
 * listening socket and the policy that everything is allowed, says that it is ready,
 * and ends with it.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include "protocol/base.h"
#include "protocol/packet.h"

#define BATCH  "bta(btbs)a(btssssuutt)a(btssssuutt)"
#define POLICY "a(u(" BATCH "))a(buu(" BATCH "))a(ss)bs"

#define CONTROLLER_FD 100 /* not one of the socket pair's own: dup2() drops close-on-exec */

static void check(int r, const char *what)
{
	if (r < 0) {
		fprintf(stderr, "dbus-broker-start: %s: %s\n", what, strerror(-r));
		exit(71);
	}
}

/* For every user: may connect, may own any name, may send and receive anything. */
static void put_policy(sd_bus_message *m)
{
	check(sd_bus_message_open_container(m, 'v', "(" POLICY ")"), "variant");
	check(sd_bus_message_open_container(m, 'r', POLICY), "policy");
	check(sd_bus_message_open_container(m, 'a', "(u(" BATCH "))"), "uids");
	check(sd_bus_message_open_container(m, 'r', "u(" BATCH ")"), "uid");
	check(sd_bus_message_append(m, "u", (uint32_t)-1), "uid");
	check(sd_bus_message_open_container(m, 'r', BATCH), "batch");
	check(sd_bus_message_append(m, "bt", 1, (uint64_t)1), "connect");
	check(sd_bus_message_append(m, "a(btbs)", 1, 1, (uint64_t)1, 1, ""), "own");
	for (int i = 0; i < 2; i++) /* send, receive */
		check(sd_bus_message_append(m, "a(btssssuutt)", 1, 1, (uint64_t)1, "", "", "", "",
			      0, 0, (uint64_t)0, UINT64_MAX),
			"messages");
	for (int i = 0; i < 3; i++)
		check(sd_bus_message_close_container(m), "close");
	check(sd_bus_message_append(m, "a(buu(" BATCH "))", 0), "gids");
	check(sd_bus_message_append(m, "a(ss)", 0), "selinux");
	check(sd_bus_message_append(m, "bs", 0, "session"), "type");
	for (int i = 0; i < 2; i++)
		check(sd_bus_message_close_container(m), "close");
}

static void control(int fd, int listener)
{
	sd_bus_message *m, *reply;
	sd_bus *bus;
	int r;

	check(sd_bus_new(&bus), "bus");
	check(sd_bus_set_fd(bus, fd, fd), "fd");
	check(sd_bus_start(bus), "start");
	check(sd_bus_message_new_method_call(bus, &m, NULL, "/org/bus1/DBus/Broker",
		      "org.bus1.DBus.Broker", "AddListener"),
		"call");
	check(sd_bus_message_append(m, "oh", "/org/bus1/DBus/Listener/0", listener), "listener");
	put_policy(m);
	check(sd_bus_call(bus, m, 0, NULL, &reply), "AddListener");
	fprintf(stderr, "ready\n");
	do
		r = sd_bus_process(bus, NULL);
	while (r > 0 || (r == 0 && sd_bus_wait(bus, UINT64_MAX) >= 0));
}

int main(int argc, char **argv)
{
	char *command[64] = { NULL }, option[] = "--controller", controller[16];
	struct sockaddr_un address;
	int pair[2], listener;
	socklen_t len;

	if (argc < 3 || argc + 2 > (int)ARRAY_LEN(command) ||
		packet_address(argv[1], &address, &len) < 0)
		return 64;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		check(-errno, "socketpair");
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (listener < 0 || bind(listener, (void *)&address, len) < 0 ||
		listen(listener, SOMAXCONN) < 0)
		check(-errno, argv[1]);
	switch (fork()) {
	case -1:
		check(-errno, "fork");
		break;
	case 0:
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(pair[1]);
		control(pair[0], listener);
		return 0;
	}
	memcpy(command, argv + 2, (size_t)(argc - 2) * sizeof *command);
	snprintf(controller, sizeof controller, "%d", CONTROLLER_FD);
	command[argc - 2] = option;
	command[argc - 1] = controller;
	if (dup2(pair[1], CONTROLLER_FD) < 0)
		check(-errno, "dup2");
	execvp(command[0], command);
	check(-errno, command[0]);
}
