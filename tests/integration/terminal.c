/* terminal.c - see terminal.h. */
#include "tests/integration/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <utmp.h>

#define TERMINALS_MAX 8
#define ARGUMENTS_MAX 16
#define READ_LEN      65536

static struct terminal *terminals[TERMINALS_MAX];
static size_t n_terminals;

/* ---- the program ---- */

static void terminal_set_environment(
	const struct broker *broker, const struct terminal_config *config)
{
	static const char *const unwanted[] = { "NO_COLOR", "CHAT_NAME", "CHAT_BROKER_UID", "LANG",
		"LC_CTYPE", "ENV", "COLUMNS", "LINES" };

	for (size_t i = 0; i < ARRAY_LEN(unwanted); i++)
		unsetenv(unwanted[i]);
	setenv("CHAT_SOCKET", broker->socket, 1);
	setenv("HOME", broker->dir, 1);
	setenv("XDG_STATE_HOME", broker_path(broker, "state"), 1);
	setenv("INPUTRC", "/dev/null", 1);
	setenv("LC_ALL", "C.UTF-8", 1);
	setenv("PS1", "sh$ ", 1);
	setenv("TERM", "xterm", 1);
	setenv("TZ", "UTC", 1);
	for (size_t i = 0; i < ARRAY_LEN(config->environment); i++)
		if (config->environment[i])
			putenv((char *)config->environment[i]);
}

static void terminal_exec(const struct terminal *terminal, const struct broker *broker,
	const struct terminal_config *config, const char *const arguments[])
{
	const char *argv[ARGUMENTS_MAX + 2] = { getenv("CHAT_CLIENT") };

	if (config->shell) {
		argv[0] = "/bin/sh";
		argv[1] = "-i";
	} else {
		for (size_t i = 0; i < ARGUMENTS_MAX && arguments[i]; i++)
			argv[i + 1] = arguments[i];
	}
	terminal_set_environment(broker, config);
	signal(SIGPIPE, SIG_DFL);
	close(terminal->master);
	if (chdir(broker->dir) == 0 && login_tty(terminal->slave) == 0)
		execv(argv[0], (char **)argv);
	_exit(127);
}

struct terminal *terminal_start_with(const struct broker *broker,
	const struct terminal_config *config, const char *const arguments[])
{
	struct winsize size = {
		.ws_col = (unsigned short)(config->columns ? config->columns : 80),
		.ws_row = (unsigned short)(config->rows ? config->rows : TERMINAL_ROWS),
	};
	static const struct winsize no_size;
	struct terminal *terminal = calloc(1, sizeof *terminal);

	if (!getenv("CHAT_CLIENT"))
		fail_msg("CHAT_CLIENT is not set: meson test sets it");
	assert_non_null(terminal);
	assert_true(n_terminals < TERMINALS_MAX);
	assert_true(size.ws_col <= COLUMNS_MAX && size.ws_row <= ROWS_MAX);
	if (openpty(&terminal->master, &terminal->slave, NULL, NULL,
		    config->hides_size ? &no_size : &size) < 0)
		fail_msg("openpty: %s", strerror(errno));
	terminals[n_terminals++] = terminal;
	fcntl(terminal->master, F_SETFD, FD_CLOEXEC);
	fcntl(terminal->slave, F_SETFD, FD_CLOEXEC);
	fcntl(terminal->master, F_SETFL, O_NONBLOCK);
	emulator_init(&terminal->emulator, size.ws_col, size.ws_row, config->reflows);
	tcgetattr(terminal->slave, &terminal->before);
	terminal->pid = child_fork();
	if (terminal->pid == 0)
		terminal_exec(terminal, broker, config, arguments);
	return terminal;
}

void terminal_hang_up(struct terminal *terminal)
{
	close(terminal->slave);
	close(terminal->master);
	terminal->master = terminal->slave = -1;
}

static void terminal_free(struct terminal *terminal)
{
	if (terminal->master >= 0)
		terminal_hang_up(terminal);
	emulator_deinit(&terminal->emulator);
	free(terminal->bytes);
	free(terminal);
}

int terminal_setup(void **state)
{
	setlocale(LC_ALL, "C.UTF-8"); /* the widths of characters */
	return harness_setup(state);
}

int terminal_teardown(void **state)
{
	int r = harness_teardown(state);

	while (n_terminals > 0)
		terminal_free(terminals[--n_terminals]);
	return r;
}

/* ---- the screen ---- */

#define terminal_fail(terminal, format, ...)                                                       \
	do {                                                                                       \
		print_error("--- the screen\n%s---\n", emulator_screen(&(terminal)->emulator));    \
		fail_msg(format, __VA_ARGS__);                                                     \
	} while (0)

/* Show what has come. */
static void terminal_take(struct terminal *terminal)
{
	ssize_t n;

	do {
		if (terminal->bytes_size - terminal->bytes_len < READ_LEN) {
			terminal->bytes_size = terminal->bytes_size * 2 + READ_LEN;
			terminal->bytes = realloc(terminal->bytes, terminal->bytes_size);
			assert_non_null(terminal->bytes);
		}
		n = read(terminal->master, terminal->bytes + terminal->bytes_len, READ_LEN);
		if (n > 0) {
			emulator_put(&terminal->emulator, terminal->bytes + terminal->bytes_len,
				(size_t)n);
			terminal->bytes_len += (size_t)n;
		}
	} while (n > 0);
	if (terminal->emulator.unknown[0])
		terminal_fail(terminal, "the program sent %s", terminal->emulator.unknown);
}

static bool terminal_pump(struct terminal *terminal, uint64_t until)
{
	if (!wait_fd(terminal->master, POLLIN, until))
		return false;
	terminal_take(terminal);
	return true;
}

void terminal_type_bytes(struct terminal *terminal, const char *bytes, size_t len)
{
	uint64_t until = clock_ms() + DEADLINE_MS;

	while (len > 0) {
		ssize_t n = write(terminal->master, bytes, len);

		if (n > 0) {
			bytes += n;
			len -= (size_t)n;
		} else if (errno != EAGAIN || !wait_fd(terminal->master, POLLIN | POLLOUT, until)) {
			terminal_fail(terminal, "the keyboard is not read: %s", strerror(errno));
		} else {
			terminal_take(terminal);
		}
	}
}

void terminal_type(struct terminal *terminal, const char *format, ...)
{
	char typed[8192];
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(typed, sizeof typed, format, ap);
	va_end(ap);
	assert_true((size_t)n < sizeof typed);
	terminal_type_bytes(terminal, typed, (size_t)n);
}

void terminal_resize(struct terminal *terminal, unsigned columns, unsigned rows)
{
	struct winsize size = { .ws_col = (unsigned short)columns, .ws_row = (unsigned short)rows };

	terminal_take(terminal);
	emulator_resize(&terminal->emulator, columns, rows);
	assert_int_equal(ioctl(terminal->master, TIOCSWINSZ, &size), 0); /* it sends SIGWINCH */
}

void terminal_wait(struct terminal *terminal, const char *text, ...)
{
	uint64_t until = clock_ms() + DEADLINE_MS;
	char wanted[4096];
	va_list ap;

	va_start(ap, text);
	vsnprintf(wanted, sizeof wanted, text, ap);
	va_end(ap);
	terminal_take(terminal);
	while (!strstr(emulator_screen(&terminal->emulator), wanted))
		if (!terminal_pump(terminal, until))
			terminal_fail(terminal, "not shown: %s", wanted);
}

char *terminal_grep(struct terminal *terminal, const char *text)
{
	const char *line, *end;
	char *found = NULL;
	size_t len;
	FILE *out = open_memstream(&found, &len);

	for (line = emulator_text(&terminal->emulator); *line; line = end + 1) {
		const char *at = strstr(line, text);

		end = strchr(line, '\n');
		if (!end)
			break;
		if (at && at < end)
			fprintf(out, "%.*s\n", (int)(end - at), at);
	}
	fclose(out);
	return found;
}

unsigned terminal_count(struct terminal *terminal, const char *text)
{
	char *found = terminal_grep(terminal, text);
	unsigned n = 0;

	for (const char *at = found; (at = strchr(at, '\n')); at++)
		n++;
	free(found);
	return n;
}

void terminal_wait_count(struct terminal *terminal, const char *text, unsigned n)
{
	uint64_t until = clock_ms() + DEADLINE_MS;

	terminal_take(terminal);
	while (terminal_count(terminal, text) != n)
		if (!terminal_pump(terminal, until))
			terminal_fail(terminal, "%u lines, not %u, contain %s",
				terminal_count(terminal, text), n, text);
}

static char *without_blanks(const char *text)
{
	char *copy = strdup(text), *end = copy;

	assert_non_null(copy);
	for (; *text; text++)
		if (*text != ' ' && *text != '\n')
			*end++ = *text;
	*end = '\0';
	return copy;
}

static unsigned count_wrapped(struct terminal *terminal, const char *wanted)
{
	char *shown = without_blanks(emulator_text(&terminal->emulator));
	unsigned n = 0;

	for (const char *at = shown; (at = strstr(at, wanted)); at += strlen(wanted))
		n++;
	free(shown);
	return n;
}

void terminal_wait_wrapped(struct terminal *terminal, const char *text, unsigned n)
{
	uint64_t until = clock_ms() + DEADLINE_MS;
	char *wanted = without_blanks(text);

	terminal_take(terminal);
	while (count_wrapped(terminal, wanted) != n)
		if (!terminal_pump(terminal, until))
			terminal_fail(terminal, "shown %u times, not %u: %s",
				count_wrapped(terminal, wanted), n, text);
	free(wanted);
}

bool terminal_was_sent(const struct terminal *terminal, const void *bytes, size_t len)
{
	return memmem(terminal->bytes, terminal->bytes_len, bytes, len) != NULL;
}

void terminal_wait_bytes(struct terminal *terminal, const char *bytes)
{
	uint64_t until = clock_ms() + DEADLINE_MS;

	terminal_take(terminal);
	while (!terminal_was_sent(terminal, bytes, strlen(bytes)))
		if (!terminal_pump(terminal, until))
			terminal_fail(terminal, "%s was not sent", bytes);
}

/* The line has one column for each character. */
static bool terminal_shows_typing(struct terminal *terminal, const char *line, unsigned at)
{
	struct emulator *emulator = &terminal->emulator;
	unsigned width = emulator->columns, above = at / width, y;
	size_t len = strlen(line);

	/* behind the last column the cursor may wait in it */
	if (emulator->is_wrapping && emulator->x == width - 1 && at % width == 0)
		above--;
	else if (emulator->x != at % width)
		return false;
	if (emulator->y < above)
		return false;
	y = emulator->y - above;
	for (size_t from = 0; from == 0 || from < len; from += width, y++) {
		char wanted[COLUMNS_MAX + 1];
		size_t n;

		snprintf(wanted, sizeof wanted, "%.*s", (int)width, line + from);
		for (n = strlen(wanted); n > 0 && wanted[n - 1] == ' ';)
			wanted[--n] = '\0';
		if (y >= emulator->rows || strcmp(emulator_row(emulator, y), wanted) != 0)
			return false;
	}
	for (; y < emulator->rows; y++)
		if (*emulator_row(emulator, y))
			return false;
	return true;
}

void terminal_expect_typing(struct terminal *terminal, const char *line, unsigned at)
{
	uint64_t until = clock_ms() + DEADLINE_MS;

	terminal_take(terminal);
	while (!terminal_shows_typing(terminal, line, at))
		if (!terminal_pump(terminal, until))
			terminal_fail(terminal,
				"the cursor is at column %u of row %u, not at %u of: %s",
				terminal->emulator.x, terminal->emulator.y, at, line);
}

/* ---- the end ---- */

bool terminal_is_restored(const struct terminal *terminal)
{
	struct termios now;

	return tcgetattr(terminal->slave, &now) == 0 && now.c_iflag == terminal->before.c_iflag &&
	       now.c_oflag == terminal->before.c_oflag && now.c_cflag == terminal->before.c_cflag &&
	       now.c_lflag == terminal->before.c_lflag &&
	       memcmp(now.c_cc, terminal->before.c_cc, sizeof now.c_cc) == 0;
}

void terminal_expect_exit(struct terminal *terminal, int status)
{
	uint64_t until = clock_ms() + DEADLINE_MS;
	int fd = (int)syscall(SYS_pidfd_open, terminal->pid, 0), got;
	struct pollfd fds[] = {
		{ .fd = fd, .events = POLLIN },
		{ .fd = terminal->master, .events = POLLIN },
	};

	/* what it still has to say must not hold it up */
	while (!fds[0].revents && clock_ms() < until) {
		poll(fds, ARRAY_LEN(fds), 100);
		if (terminal->master >= 0)
			terminal_take(terminal);
	}
	close(fd);
	if (!fds[0].revents)
		terminal_fail(terminal, "process %d does not end", terminal->pid);
	got = child_end(terminal->pid);
	if (terminal->master >= 0)
		terminal_take(terminal);
	if (got != status)
		terminal_fail(terminal, "exit status %d, expected %d", got, status);
	if (terminal->master < 0)
		return;
	if (!terminal_is_restored(terminal))
		terminal_fail(terminal, "the terminal's settings are not those %s", "from before");
	if (terminal->emulator.pastes || terminal->emulator.x != 0)
		terminal_fail(terminal, "bracketed paste is %s, the cursor in column %u",
			terminal->emulator.pastes ? "on" : "off", terminal->emulator.x);
}

struct terminal *terminal_start_named(const struct broker *broker, const char *name)
{
	struct terminal *terminal = terminal_start(broker, 80, "--name", name);

	terminal_expect_typing(terminal, "lobby> ", 7);
	return terminal;
}
