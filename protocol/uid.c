/* uid.c - see uid.h.
 *
 * The maps are kept once read: a lack of descriptors must not turn an account away. The maps hold
 * for one user namespace, which is compared each time by its inode, since a program can call
 * unshare(2) later. A map that is empty may still be written, once.
 */
#include "protocol/uid.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/number.h"

/* As many as there can be: (uid_t)-1 is none. */
#define UIDS UINT64_C(4294967295)

#define OVERFLOW_UID 65534

/* 340 lines of a map at most; see user_namespaces(7). */
#define MAP_LEN_MAX (340 * 36)

enum map_state {
	MAP_UNKNOWN,
	MAP_PARTIAL,
	MAP_WHOLE,
};

/* Of each thread: a library may be asked by several. */
static _Thread_local struct {
	bool has_overflow;
	uid_t overflow;
	enum map_state map;
	dev_t namespace_device;
	ino_t namespace_inode;
} known;

/* Returns 0 or -errno. */
static int file_read(const char *path, char *buffer, size_t size, size_t *ret_len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), r = 0;
	size_t len = 0;
	ssize_t n;

	if (fd < 0)
		return -errno;
	while (len < size && (n = read(fd, buffer + len, size - len)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			r = -errno;
			break;
		}
		len += (size_t)n;
	}
	close(fd);
	*ret_len = len;
	return r;
}

static struct text text_next_word(struct text *text)
{
	struct text word;

	while (text->len > 0 && (*text->data == ' ' || *text->data == '\n')) {
		text->data++;
		text->len--;
	}
	word = (struct text){ text->data, 0 };
	while (word.len < text->len && word.data[word.len] != ' ' && word.data[word.len] != '\n')
		word.len++;
	text->data += word.len;
	text->len -= word.len;
	return word;
}

bool uid_map_is_whole(struct text map)
{
	uint64_t total = 0, inside, outside, n;

	/* ranges do not overlap, inside or outside: the kernel sees to it */
	for (;;) {
		struct text word = text_next_word(&map);

		if (word.len == 0)
			return total == UIDS;
		if (!number_parse(word, &inside) || !number_parse(text_next_word(&map), &outside) ||
			!number_parse(text_next_word(&map), &n) || n > UIDS - total)
			return false;
		total += n;
	}
}

static uid_t overflow_uid(void)
{
	char buffer[32];
	uint64_t value;
	size_t len = 0;

	if (known.has_overflow)
		return known.overflow;
	if (file_read("/proc/sys/kernel/overflowuid", buffer, sizeof buffer, &len) < 0 ||
		!number_parse(text_chomp((struct text){ buffer, len }), &value) || value > UIDS)
		return OVERFLOW_UID; /* as it is nearly everywhere; it is looked for again */
	known.has_overflow = true;
	known.overflow = (uid_t)value;
	return known.overflow;
}

/* Is what is known of the namespace that this process is in? Without /proc that cannot be told,
 * and only what was read before is known. */
static bool namespace_is_known(struct stat *ret_namespace)
{
	if (stat("/proc/self/ns/user", ret_namespace) < 0) {
		*ret_namespace = (struct stat){ 0 };
		return known.map != MAP_UNKNOWN;
	}
	return known.map != MAP_UNKNOWN && known.namespace_device == ret_namespace->st_dev &&
	       known.namespace_inode == ret_namespace->st_ino;
}

static int map_read(const struct stat *namespace)
{
	char map[MAP_LEN_MAX];
	size_t len = 0;
	int r = file_read("/proc/self/uid_map", map, sizeof map, &len);

	known.map = MAP_UNKNOWN;
	if (r < 0)
		return r;
	if (uid_map_is_whole((struct text){ map, len }))
		known.map = MAP_WHOLE;
	else if (len == 0)
		return UID_E_UNMAPPED; /* it may be written still */
	else
		known.map = MAP_PARTIAL;
	known.namespace_device = namespace->st_dev;
	known.namespace_inode = namespace->st_ino;
	return 0;
}

int uid_check(uid_t uid)
{
	struct stat namespace;
	int r;

	if (uid != overflow_uid())
		return 0;
	if (!namespace_is_known(&namespace)) {
		r = map_read(&namespace);
		if (r)
			return r;
	}
	return known.map == MAP_WHOLE ? 0 : UID_E_UNMAPPED;
}

void uid_why(uid_t uid, char why[static UID_WHY_MAX])
{
	int r = uid_check(uid);

	if (r < 0)
		snprintf(why, UID_WHY_MAX,
			"uid %u may be any user: the broker cannot read /proc/self/uid_map: %s",
			uid, strerror(-r));
	else
		snprintf(why, UID_WHY_MAX,
			"uid %u may be any user that has no id in the broker's user namespace; run "
			"the broker where your user has one",
			uid);
}

bool uid_map_is_empty(void)
{
	size_t len = 0;
	char byte;

	return file_read("/proc/self/uid_map", &byte, sizeof byte, &len) == 0 && len == 0;
}

void uid_learn(void)
{
	(void)uid_check(overflow_uid());
}

bool uid_is_unmapped(uid_t uid)
{
	return uid_check(uid) != 0;
}

bool uid_self_is_unmapped(void)
{
	return uid_is_unmapped(geteuid());
}

bool uid_owns(int fd, const struct stat *statbuf)
{
	int flags;

	if (statbuf->st_uid != geteuid())
		return false;
	if (statbuf->st_uid != overflow_uid())
		return true;
	/* also where all users have ids a mount may not have one for the owner. Only the owner of
	 * a file may set this flag: see fcntl(2) */
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NOATIME) < 0)
		return false;
	(void)fcntl(fd, F_SETFL, flags);
	return true;
}

bool uid_owns_closed(const struct stat *statbuf)
{
	return statbuf->st_uid == geteuid() && !uid_is_unmapped(statbuf->st_uid);
}
