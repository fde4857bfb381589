/* harness.c - see harness.h.
 *
 * Everything that is opened is also in one of the lists of this file, because a test
 * that fails leaves by longjmp: harness_teardown() finds it there.
 */
#include "tests/integration/harness.h"

#include "tests/integration/crowd.h"
#include "tests/integration/namespace.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BROKERS_MAX  8
#define CHILDREN_MAX 64
#define OPTIONS_MAX  32
#define FILE_LEN_MAX (1 << 16)

static struct {
	struct broker *brokers[BROKERS_MAX];
	size_t n_brokers;
	pid_t children[CHILDREN_MAX];
	size_t n_children;
} live;

uint64_t clock_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

bool wait_fd(int fd, short events, uint64_t until)
{
	struct pollfd item = { .fd = fd, .events = events };

	for (;;) {
		uint64_t now = clock_ms();
		int r = poll(&item, 1, until > now ? (int)(until - now) : 0);

		if (r > 0)
			return true;
		if (r == 0)
			return false;
		if (errno != EINTR)
			fail_msg("poll: %s", strerror(errno));
	}
}

/* ---- other processes ---- */

pid_t child_fork(void)
{
	pid_t parent = getpid(), pid;

	fflush(NULL);
	pid = fork();
	if (pid < 0)
		fail_msg("fork: %s", strerror(errno));
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(125);
		return 0;
	}
	if (live.n_children == CHILDREN_MAX)
		fail_msg("too many children");
	live.children[live.n_children++] = pid;
	return pid;
}

/* Wait for the end of PID. Returns the status as of waitpid(2), -1 when it does not end. */
static int child_wait(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0), status = -1;

	if (fd < 0)
		fail_msg("pidfd_open: %s", strerror(errno));
	if (wait_fd(fd, POLLIN, clock_ms() + DEADLINE_MS))
		waitpid(pid, &status, 0);
	close(fd);
	if (status == -1)
		return -1;
	for (size_t i = 0; i < live.n_children; i++)
		if (live.children[i] == pid)
			live.children[i] = live.children[--live.n_children];
	return status;
}

int child_end(pid_t pid)
{
	int status = child_wait(pid);

	if (status == -1)
		fail_msg("process %d does not end", pid);
	if (WIFSIGNALED(status))
		fail_msg("process %d died of signal %d", pid, WTERMSIG(status));
	return WEXITSTATUS(status);
}

void child_expect_exit(pid_t pid, int status)
{
	int got = child_end(pid);

	if (got != status)
		fail_msg("exit status %d, expected %d", got, status);
}

void child_end_anyhow(pid_t pid)
{
	if (child_wait(pid) == -1)
		fail_msg("process %d does not end", pid);
}

bool child_runs(pid_t pid)
{
	siginfo_t info = { 0 };

	if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0)
		fail_msg("waitid: %s", strerror(errno));
	return info.si_pid == 0;
}

void child_expect_kill(pid_t pid)
{
	int status = child_wait(pid);

	if (status == -1 || !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		fail_msg("process %d was not killed: status %d", pid, status);
}

void child_expect_stopped(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, WUNTRACED) != pid || !WIFSTOPPED(status))
		fail_msg("process %d did not stop", pid);
}

pid_t child_run(const char *dir, const char *const argv[])
{
	pid_t pid = child_fork();
	int null;

	if (pid > 0)
		return pid;
	null = open("/dev/null", O_RDWR);
	dup2(null, 0);
	dup2(null, 1);
	if (chdir(dir) == 0)
		execvp(argv[0], (char **)argv);
	_exit(127);
}

/* ---- files ---- */

void file_write(const char *path, const char *text)
{
	FILE *file = fopen(path, "we");

	if (!file || fputs(text, file) < 0 || fclose(file))
		fail_msg("%s: %s", path, strerror(errno));
}

const char *file_read(const char *path)
{
	static char buffer[FILE_LEN_MAX];
	FILE *file = fopen(path, "re");
	size_t len;

	if (!file)
		fail_msg("%s: %s", path, strerror(errno));
	len = fread(buffer, 1, sizeof buffer - 1, file);
	buffer[len] = '\0';
	fclose(file);
	return buffer;
}

bool file_exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

void file_await(const char *path)
{
	int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	uint64_t until = clock_ms() + DEADLINE_MS;
	char dir[256], events[4096];

	snprintf(dir, sizeof dir, "%.*s", (int)(strrchr(path, '/') - path), path);
	if (fd < 0 || inotify_add_watch(fd, dir, IN_CREATE | IN_MOVED_TO) < 0)
		fail_msg("inotify %s: %s", dir, strerror(errno));
	while (!file_exists(path)) {
		if (!wait_fd(fd, POLLIN, until)) {
			close(fd);
			fail_msg("%s does not come", path);
		}
		while (read(fd, events, sizeof events) > 0)
			;
	}
	close(fd);
}

unsigned directory_count(const char *path)
{
	DIR *dir = opendir(path);
	unsigned n = 0;

	if (!dir)
		fail_msg("%s: %s", path, strerror(errno));
	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 2; /* . and .. */
}

static void directory_remove(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	char inside[512];

	while (dir && (entry = readdir(dir))) {
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		snprintf(inside, sizeof inside, "%s/%s", path, entry->d_name);
		if (unlink(inside) < 0 && errno == EISDIR)
			directory_remove(inside);
	}
	if (dir)
		closedir(dir);
	rmdir(path);
}

/* ---- brokers ---- */

struct broker *broker_new(void)
{
	struct broker *broker = calloc(1, sizeof *broker);

	if (!broker || live.n_brokers == BROKERS_MAX)
		fail_msg("too many brokers");
	broker->diagnostics = -1;
	broker->uid = geteuid();
	strcpy(broker->dir, "/tmp/chat-broker-test.XXXXXX");
	if (!mkdtemp(broker->dir))
		fail_msg("mkdtemp: %s", strerror(errno));
	live.brokers[live.n_brokers++] = broker;
	snprintf(broker->socket, sizeof broker->socket, "%s/broker.sock", broker->dir);
	snprintf(broker->ctl, sizeof broker->ctl, "%s/broker.ctl", broker->dir);
	chmod(broker->dir, 0755);
	return broker;
}

const char *broker_path(const struct broker *broker, const char *name)
{
	static char paths[8][256];
	static unsigned i;
	char *path = paths[i++ % ARRAY_LEN(paths)];

	snprintf(path, sizeof paths[0], "%s/%s", broker->dir, name);
	return path;
}

static void broker_exec(const struct broker *broker, const char *const options[], int diagnostics)
{
	const char *program = getenv("CHAT_BROKER"), *argv[OPTIONS_MAX + 2] = { program };
	int null = open("/dev/null", O_RDWR);

	for (size_t i = 0; i < OPTIONS_MAX && options[i]; i++)
		argv[i + 1] = options[i];
	for (size_t i = 0; i < ARRAY_LEN(broker->environment); i++)
		if (broker->environment[i])
			putenv((char *)broker->environment[i]);
	dup2(null, 0);
	dup2(null, 1);
	if (broker->log)
		diagnostics = open(broker->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	dup2(diagnostics, 2);
	if (broker->file_len_max > 0) {
		struct rlimit limit = { broker->file_len_max, RLIM_INFINITY };

		if (setrlimit(RLIMIT_FSIZE, &limit) < 0)
			_exit(126);
	}
	if (broker->n_descriptors_max > 0) {
		struct rlimit limit = { broker->n_descriptors_max, broker->n_descriptors_max };

		if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
			_exit(126);
	}
	if (broker->uid_map && !namespace_enter(broker->uid, broker->uid_map))
		_exit(126);
	if (!broker->uid_map && broker->uid != geteuid() &&
		setresuid(broker->uid, broker->uid, broker->uid) < 0)
		_exit(126);
	/* the change of user took it away */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (chdir(broker->dir) == 0)
		execv(program, (char **)argv);
	_exit(127);
}

void broker_spawn(struct broker *broker, const char *const options[])
{
	int ends[2];

	if (!getenv("CHAT_BROKER"))
		fail_msg("CHAT_BROKER is not set: meson test sets it");
	if (broker->uid != geteuid() && chown(broker->dir, broker->uid, (gid_t)-1) < 0)
		fail_msg("chown: %s", strerror(errno));
	if (broker->diagnostics >= 0)
		close(broker->diagnostics);
	if (pipe2(ends, O_CLOEXEC) < 0)
		fail_msg("pipe2: %s", strerror(errno));
	fcntl(ends[0], F_SETPIPE_SZ, 1 << 20);
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	broker->diagnostics = ends[0];
	broker->pid = child_fork();
	if (broker->pid == 0)
		broker_exec(broker, options, ends[1]);
	close(ends[1]);
}

void broker_spawn_with(struct broker *broker, const char *const options[])
{
	const char *all[OPTIONS_MAX] = { "--socket", broker->socket, "--ctl", broker->ctl };

	bool is_stored = false;
	size_t n;

	for (n = 0; options[n]; n++) {
		assert_true(n + 6 < OPTIONS_MAX);
		all[n + 4] = options[n];
		is_stored |= strcmp(options[n], "--state") == 0;
	}
	if (!is_stored)
		all[n + 4] = "--ephemeral";
	broker_spawn(broker, all);
}

void broker_wait_ready(struct broker *broker)
{
	broker_expect(broker, "chat-broker: ready socket=~ ctl=~ pid=%d", broker->pid);
}

struct broker *broker_start_with(const char *const options[])
{
	struct broker *broker = broker_new();

	broker_spawn_with(broker, options);
	broker_wait_ready(broker);
	return broker;
}

/* Take what is there of the diagnostics. False at the end. */
static bool broker_read(struct broker *broker)
{
	char buffer[4096];
	ssize_t n;

	while ((n = read(broker->diagnostics, buffer, sizeof buffer)) > 0) {
		char *grown = realloc(broker->text, broker->text_len + (size_t)n + 1);

		assert_non_null(grown);
		broker->text = grown;
		memcpy(grown + broker->text_len, buffer, (size_t)n);
		broker->text_len += (size_t)n;
		grown[broker->text_len] = '\0';
	}
	return n < 0;
}

void broker_signal(struct broker *broker, int number)
{
	if (kill(broker->pid, number) < 0)
		fail_msg("kill: %s", strerror(errno));
}

void broker_expect_exit(struct broker *broker, int status)
{
	child_expect_exit(broker->pid, status);
	broker->pid = 0;
}

void broker_expect_refusal(struct broker *broker, int status, const char *pattern)
{
	broker_expect(broker, "%s", pattern);
	broker_expect_exit(broker, status);
	broker_read(broker);
	if (strchr(broker->text, '\n') != broker->text + broker->text_len - 1)
		fail_msg("more than one line:\n%s", broker->text);
}

void broker_stop(struct broker *broker)
{
	static const char *const names[] = { "broker.sock", "broker.sock.lock", "broker.ctl",
		"broker.ctl.lock", "broker.ctl.status", "broker.ctl.status.new" };

	broker_signal(broker, SIGTERM);
	broker_expect_exit(broker, 0);
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (file_exists(broker_path(broker, names[i])))
			fail_msg("the broker left %s behind", names[i]);
}

void broker_kill9(struct broker *broker)
{
	broker_signal(broker, SIGKILL);
	if (child_wait(broker->pid) == -1)
		fail_msg("killed, and does not end");
	broker->pid = 0;
}

/* The next line that contains PATTERN, or NULL; text_at moves behind it. */
static const char *broker_find(struct broker *broker, const char *pattern)
{
	static char line[8192];
	const char *end;

	while (broker->text && (end = strchr(broker->text + broker->text_at, '\n'))) {
		const char *start = broker->text + broker->text_at;

		broker->text_at += (size_t)(end - start) + 1;
		snprintf(line, sizeof line, "%.*s", (int)(end - start), start);
		if (pattern_matches(pattern, text_of(line)))
			return line;
	}
	return NULL;
}

const char *broker_expect(struct broker *broker, const char *pattern, ...)
{
	uint64_t until = clock_ms() + DEADLINE_MS;
	size_t start = broker->text_at;
	char wanted[1024] = "~";
	const char *line;
	bool more = true;
	va_list ap;

	va_start(ap, pattern);
	vsnprintf(wanted + 1, sizeof wanted - 2, pattern, ap);
	va_end(ap);
	strcat(wanted, "~");
	while (!(line = broker_find(broker, wanted))) {
		if (!more || !wait_fd(broker->diagnostics, POLLIN, until)) {
			broker->text_at = start;
			fail_msg("no diagnostic line with: %s", wanted);
		}
		more = broker_read(broker);
	}
	return line;
}

unsigned broker_count(struct broker *broker, const char *pattern)
{
	size_t at = broker->text_at;
	char wanted[1024];
	unsigned n = 0;

	broker_read(broker);
	snprintf(wanted, sizeof wanted, "~%s~", pattern);
	broker->text_at = 0;
	while (broker_find(broker, wanted))
		n++;
	broker->text_at = at;
	return n;
}

void broker_ctl_bytes(struct broker *broker, const void *bytes, size_t len)
{
	int fd = open(broker->ctl, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	uint64_t until = clock_ms() + DEADLINE_MS;
	const char *at = bytes;

	if (fd < 0)
		fail_msg("%s: %s", broker->ctl, strerror(errno));
	while (len > 0) {
		ssize_t n = write(fd, at, len);

		if (n > 0) {
			at += n;
			len -= (size_t)n;
		} else if (errno != EAGAIN || !wait_fd(fd, POLLOUT, until)) {
			close(fd);
			fail_msg("the FIFO is not read");
		}
	}
	close(fd);
}

void broker_ctl(struct broker *broker, const char *format, ...)
{
	char line[PACKET_LEN_MAX];
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(line, sizeof line - 1, format, ap);
	va_end(ap);
	line[n++] = '\n';
	broker_ctl_bytes(broker, line, (size_t)n);
}

unsigned broker_descriptors(const struct broker *broker)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/fd", broker->pid);
	return directory_count(path);
}

size_t broker_memory(const struct broker *broker)
{
	unsigned long total, resident;
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/statm", broker->pid);
	if (sscanf(file_read(path), "%lu %lu", &total, &resident) != 2)
		fail_msg("%s", path);
	return resident * (size_t)sysconf(_SC_PAGESIZE);
}

uint64_t broker_cpu_ns(const struct broker *broker)
{
	struct timespec ts;
	clockid_t clock;

	if (clock_getcpuclockid(broker->pid, &clock) || clock_gettime(clock, &ts) < 0)
		fail_msg("no CPU clock of process %d", broker->pid);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

uint64_t broker_switches(const struct broker *broker)
{
	unsigned long voluntary, involuntary;
	uint64_t sum = 0;
	struct dirent *entry;
	char path[64 + sizeof entry->d_name];
	const char *at;
	DIR *dir;

	snprintf(path, sizeof path, "/proc/%d/task", broker->pid);
	dir = opendir(path);
	if (!dir)
		fail_msg("%s: %s", path, strerror(errno));
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof path, "/proc/%d/task/%s/status", broker->pid, entry->d_name);
		at = strstr(file_read(path), "\nvoluntary_ctxt_switches:");
		if (!at ||
			sscanf(at, " voluntary_ctxt_switches: %lu nonvoluntary_ctxt_switches: %lu",
				&voluntary, &involuntary) != 2)
			fail_msg("%s: no context switches", path);
		sum += voluntary + involuntary;
	}
	closedir(dir);
	return sum;
}

/* ---- before and after ---- */

int harness_setup(void **state)
{
	signal(SIGPIPE, SIG_IGN);
	return 0;
}

static void broker_free(struct broker *broker)
{
	if (broker->diagnostics >= 0) {
		broker_read(broker);
		/* the test did not get as far as broker_stop(): it has failed */
		if (broker->pid && broker->text)
			print_error("--- diagnostics of the broker in %s\n%.*s---\n", broker->dir,
				(int)MIN(broker->text_len, (size_t)8000),
				broker->text + broker->text_len -
					MIN(broker->text_len, (size_t)8000));
		close(broker->diagnostics);
	}
	directory_remove(broker->dir);
	free(broker->text);
	free(broker);
}

int harness_teardown(void **state)
{
	raw_close_all();
	crowd_close_all();
	for (size_t i = 0; i < live.n_children; i++) {
		kill(live.children[i], SIGCONT);
		kill(live.children[i], SIGKILL);
		waitpid(live.children[i], NULL, 0);
	}
	live.n_children = 0;
	while (live.n_brokers > 0)
		broker_free(live.brokers[--live.n_brokers]);
	return 0;
}
