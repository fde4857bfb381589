/* listener.c - see listener.h.
 *
 * The socket is made with its final mode before anybody can connect: bind(2) takes
 * the mode of the socket's own inode, less the umask.
 */
#include "broker/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "broker/broker.h"
#include "broker/descriptors.h"
#include "broker/session.h"
#include "broker/trace.h"
#include "protocol/packet.h"
#include "protocol/uid.h"

#define PAUSE_NS (UINT64_C(100) * 1000000)

static bool listener_is_abstract(const struct listener *listener)
{
	return listener->path[0] == '@';
}

/* A socket file whose lock was taken away may still have its broker. */
static bool is_answered(const struct sockaddr_un *address, socklen_t len)
{
	int fd = packet_socket(), r;

	if (fd < 0)
		return false;
	r = connect(fd, (const struct sockaddr *)address, len);
	r = r == 0 || errno == EAGAIN;
	close(fd);
	return r;
}

static int listener_remove_old(struct listener *listener, const struct sockaddr_un *address,
	socklen_t len, char why[static NODE_WHY_MAX])
{
	int r = node_check(listener->path, S_IFSOCK, why);

	if (r == NODE_E_ABSENT)
		return 0;
	if (r)
		return r;
	if (is_answered(address, len)) {
		snprintf(why, NODE_WHY_MAX, "another broker answers on %s", listener->path);
		return NODE_E_HELD;
	}
	return unlink(listener->path) < 0 && errno != ENOENT ? -errno : 0;
}

/* Make the file, with its mode and group, and listen. */
static int listener_bind(
	struct listener *listener, int fd, const struct sockaddr_un *address, socklen_t len)
{
	bool has_group = listener->group != (gid_t)-1;
	mode_t old;
	int r = 0;

	if (fchmod(fd, has_group ? 0600 : listener->mode) < 0)
		return -errno;
	old = umask(0);
	if (bind(fd, (const struct sockaddr *)address, len) < 0)
		r = -errno;
	umask(old);
	if (r == 0 && !listener_is_abstract(listener)) {
		if (has_group && (lchown(listener->path, (uid_t)-1, listener->group) < 0 ||
					 fchmodat(AT_FDCWD, listener->path, listener->mode,
						 AT_SYMLINK_NOFOLLOW) < 0))
			r = -errno;
		if (r == 0 && lstat(listener->path, &listener->node) < 0)
			r = -errno;
		if (r < 0)
			unlink(listener->path);
	}
	if (r == 0 && listen(fd, LISTENER_BACKLOG) < 0)
		r = -errno;
	return r;
}

/* Close FD, a listener or a connection that is not let in. */
static void listener_release(struct broker *broker, int fd)
{
	if (broker->listener.refuses_rights) {
		close(fd);
		return;
	}
	if (closers_add_socket(&broker->closers, NULL, fd) < 0)
		close(fd); /* the memory was reserved, unless this is the end of the broker */
}

static int listener_start(
	struct listener *listener, struct broker *broker, char why[static NODE_WHY_MAX])
{
	struct sockaddr_un address;
	socklen_t len;
	int r, fd;

	r = packet_address(listener->path, &address, &len);
	if (r < 0)
		return r;
	if (!listener_is_abstract(listener)) {
		r = listener_remove_old(listener, &address, len, why);
		if (r)
			return r;
	}
	fd = packet_socket();
	if (fd < 0)
		return fd;
	listener->refuses_rights = packet_allow_rights(fd, false) == 0;
	r = listener_bind(listener, fd, &address, len);
	if (r == -EADDRINUSE) {
		snprintf(why, NODE_WHY_MAX, "another process listens on %s", listener->path);
		r = NODE_E_HELD;
	}
	if (r == 0) {
		listener->watch.fd = fd;
		r = loop_add(&broker->loop, &listener->watch, EPOLLIN);
	}
	if (r) {
		listener->watch.fd = -1;
		listener_release(broker, fd);
		return r;
	}
	return 0;
}

/* Say why not, and close. What was sent already is taken off the socket first, or the
 * kernel would say ECONNRESET instead. */
static void turn_away(struct broker *broker, int fd, const char *code, const char *why)
{
	char bye[SESSION_WHY_MAX + 16];
	int n = snprintf(bye, sizeof bye, "BYE %s %s", code, why);

	if (send(fd, bye, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL) == n &&
		broker->listener.refuses_rights) {
		shutdown(fd, SHUT_RD);
		while (recv(fd, bye, sizeof bye, MSG_DONTWAIT) > 0)
			;
	}
	listener_release(broker, fd);
}

static void listener_pause(struct listener *listener, struct broker *broker, int error)
{
	trace_shared(
		&listener->lines, TRACE_WARNING, "accept paused reason=\"%s\"", strerror(error));
	loop_change(&broker->loop, &listener->watch, 0);
	listener->is_paused = true;
	listener->resume_at = broker->users.now + PAUSE_NS;
}

void listener_resume(struct listener *listener, struct broker *broker)
{
	if (!listener->is_paused || broker->users.now < listener->resume_at)
		return;
	listener->is_paused = false;
	if (listener->spare < 0) /* there was none left even for it */
		listener->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
	loop_change(&broker->loop, &listener->watch, EPOLLIN);
}

/* Users without an id here are seen as one, who would read what another of them wrote: all that it
 * asks is refused. */
static void listener_note_unmapped(struct broker *broker, uid_t uid)
{
	char why[UID_WHY_MAX];

	if (!uid_is_unmapped(uid))
		return;
	uid_why(uid, why);
	broker->n_turned_away++;
	trace_shared(&broker->listener.lines, TRACE_WARNING, "accept refused reason=\"%s\"", why);
}

static void listener_greet(struct broker *broker, int fd)
{
	char why[SESSION_WHY_MAX];
	uid_t uid;
	gid_t gid;
	pid_t pid;
	int r;

	r = packet_peer(fd, &uid, &gid, &pid);
	if (r == 0 && !session_may_come(broker, uid, why)) {
		broker->n_accepted++;
		turn_away(broker, fd, "QUOTA", why);
		return;
	}
	if (r == 0)
		r = session_new(broker, fd, uid, pid);
	if (r == 0)
		listener_note_unmapped(broker, uid);
	if (r < 0) {
		trace_shared(&broker->listener.lines, TRACE_WARNING, "accept failed reason=\"%s\"",
			strerror(-r));
		turn_away(broker, fd, "AGAIN", "the broker is out of memory");
	}
}

/* FD is one of the last there are: if somebody who is stuck goes, there is room again,
 * else who came is told. */
static void listener_squeeze(struct broker *broker, int fd)
{
	if (descriptors_free_one(broker)) {
		listener_greet(broker, fd);
		return;
	}
	broker->n_turned_away++;
	trace_shared(&broker->listener.lines, TRACE_WARNING,
		"accept refused reason=\"out of descriptors\"");
	turn_away(broker, fd, "AGAIN", "the broker is out of descriptors");
}

/* There is not even one to say so: give the spare one up. Returns 0, -EAGAIN when nobody
 * was there (the kernel looks for a descriptor first), or another -errno. */
static int listener_use_spare(struct listener *listener, struct broker *broker)
{
	int fd, r;

	close(listener->spare);
	fd = accept4(listener->watch.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	r = fd < 0 ? -errno : 0;
	if (fd >= 0)
		listener_squeeze(broker, fd);
	listener->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return r;
}

/* Accept what a turn allows. Returns whether more may be waiting: then the loop does not sleep. */
static bool listener_accept(struct listener *listener, struct broker *broker)
{
	uint64_t end = broker_clock() + LISTENER_TURN_NS;

	for (int i = 0; i < LISTENER_TURN && (i == 0 || broker_clock() < end); i++) {
		int fd, r;

		/* one that is turned away may have to be handed over */
		if (!listener->refuses_rights && closers_reserve(&broker->closers) < 0) {
			listener_pause(listener, broker, ENOMEM);
			return false;
		}
		fd = accept4(listener->watch.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		r = fd < 0 ? -errno : 0;
		if (fd >= 0 && descriptors_left(broker) == 0) {
			listener_squeeze(broker, fd);
			continue;
		}
		if (fd >= 0) {
			listener_greet(broker, fd);
			continue;
		}
		if (r == -EMFILE && listener->spare >= 0)
			r = listener_use_spare(listener, broker);
		if (r == -EAGAIN)
			return false;
		if (r == 0 || r == -EINTR || r == -ECONNABORTED)
			continue;
		listener_pause(listener, broker, -r);
		return false;
	}
	return true;
}

static void listener_ready(struct watch *watch, uint32_t events)
{
	struct listener *listener = container_of(watch, struct listener, watch);

	listener_accept(listener, container_of(listener, struct broker, listener));
}

int listener_open(struct listener *listener, struct broker *broker, const char *path, mode_t mode,
	gid_t group, char why[static NODE_WHY_MAX])
{
	int r;

	listener->watch.ready = listener_ready;
	listener->path = path;
	listener->mode = mode;
	listener->group = group;
	if (!listener_is_abstract(listener)) {
		struct sockaddr_un address;
		socklen_t len;

		/* before a lock file is left for a path that can not be */
		r = packet_address(path, &address, &len);
		if (r == 0)
			r = node_lock(&listener->lock, path, why);
		if (r)
			return r;
	}
	listener->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
	r = listener_start(listener, broker, why);
	listener->is_open = r == 0;
	if (r)
		listener_deinit(listener);
	return r;
}

static void listener_end(struct listener *listener, struct broker *broker)
{
	if (listener->watch.fd < 0)
		return;
	loop_remove(&broker->loop, &listener->watch);
	listener_release(broker, listener->watch.fd);
	listener->watch.fd = -1;
	listener->is_paused = false; /* nothing is left to resume */
	if (!listener_is_abstract(listener) && node_is_same(listener->path, &listener->node))
		unlink(listener->path);
}

void listener_close(struct listener *listener, struct broker *broker)
{
	listener_end(listener, broker);
	listener->is_open = false;
	listener->lost = 0;
}

void listener_deinit(struct listener *listener)
{
	node_unlock(&listener->lock);
	if (listener->spare >= 0)
		close(listener->spare);
	listener->spare = -1;
}

/* The lock comes first: another broker may have the path by now. Until it is known that the
 * path can be had, who still finds the old socket, in a directory that was renamed, is let in. */
static int listener_make_again(
	struct listener *listener, struct broker *broker, char why[static NODE_WHY_MAX])
{
	int r = node_lock_again(&listener->lock, listener->path, why);

	if (r || (listener->watch.fd >= 0 && node_is_same(listener->path, &listener->node)))
		return r;
	/* whoever connected before it vanished is let in first */
	for (int i = 0; listener->watch.fd >= 0 && i < SOMAXCONN; i++)
		if (!listener_accept(listener, broker))
			break;
	listener_end(listener, broker);
	return listener_start(listener, broker, why);
}

bool listener_check(struct listener *listener, struct broker *broker)
{
	char why[NODE_WHY_MAX] = "";
	bool is_there;
	int r;

	if (!listener->is_open || listener_is_abstract(listener))
		return false;
	is_there = listener->watch.fd >= 0 && node_is_same(listener->path, &listener->node);
	if (is_there && node_lock_is_there(&listener->lock)) {
		listener->lost = 0; /* its directory was moved away and back */
		return false;
	}
	r = listener_make_again(listener, broker, why);
	if (r && r != listener->lost)
		trace(TRACE_ERROR, "%s lost path=%s reason=\"%s\"; the broker tries again%s",
			is_there ? "lock" : "socket", listener->path, r < 0 ? strerror(-r) : why,
			is_there ? "" : ", and new clients cannot connect until then");
	else if (r == 0)
		trace(TRACE_WARNING, "%s vanished path=%s; made again",
			is_there ? "lock" : "socket", listener->path);
	listener->lost = r;
	return r == 0;
}
