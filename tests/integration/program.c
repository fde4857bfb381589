/* program.c - see program.h. */
#include "tests/integration/program.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/integration/namespace.h"

#define PROGRAMS_MAX  256
#define ARGUMENTS_MAX 24
#define READ_LEN      65536

static struct program *programs[PROGRAMS_MAX];
static size_t n_programs;

static void program_exec(const struct broker *broker, const struct program_config *config,
	const char *const arguments[], const int fds[3])
{
	static const char *const unwanted[] = { "CHAT_NAME", "CHAT_BROKER_UID", "NO_COLOR" };
	const char *argv[ARGUMENTS_MAX + 2] = {
		config->path ? config->path : getenv("CHAT_CLIENT"),
	};

	for (size_t i = 0; i < ARGUMENTS_MAX && arguments[i]; i++)
		argv[i + 1] = arguments[i];
	for (size_t i = 0; i < ARRAY_LEN(unwanted); i++)
		unsetenv(unwanted[i]);
	setenv("CHAT_SOCKET", broker->socket, 1);
	setenv("XDG_STATE_HOME", broker_path(broker, "state"), 1);
	setenv("LC_ALL", "C.UTF-8", 1);
	setenv("TZ", "UTC", 1);
	setenv("TERM", "xterm", 1);
	for (size_t i = 0; i < ARRAY_LEN(config->environment); i++)
		if (config->environment[i])
			putenv((char *)config->environment[i]);
	signal(SIGPIPE, SIG_DFL);
	for (int i = 0; i < 3; i++)
		dup2(fds[i], i);
	if (config->uid_map && !namespace_enter(config->uid, config->uid_map))
		_exit(126);
	if (chdir(broker->dir) == 0)
		execvp(argv[0], (char **)argv);
	_exit(127);
}

struct program *program_start_with(const struct broker *broker, const struct program_config *config,
	const char *const arguments[])
{
	struct program *program = calloc(1, sizeof *program);
	int in[2], out[2], err[2];

	if (!getenv("CHAT_CLIENT"))
		fail_msg("CHAT_CLIENT is not set: meson test sets it");
	assert_non_null(program);
	assert_true(n_programs < PROGRAMS_MAX);
	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
		fail_msg("pipe2: %s", strerror(errno));
	if (config->out) {
		close(out[1]);
		out[1] = open(config->out, O_WRONLY | O_CLOEXEC);
		if (out[1] < 0)
			fail_msg("%s: %s", config->out, strerror(errno));
	}
	*program = (struct program){
		.in = in[1],
		.out = { .fd = out[0], .text = calloc(1, 1) },
		.err = { .fd = err[0], .text = calloc(1, 1) },
	};
	programs[n_programs++] = program;
	fcntl(in[1], F_SETFL, O_NONBLOCK);
	fcntl(out[0], F_SETFL, O_NONBLOCK);
	fcntl(err[0], F_SETFL, O_NONBLOCK);
	program->pid = child_fork();
	if (program->pid == 0)
		program_exec(broker, config, arguments, (const int[]){ in[0], out[1], err[1] });
	close(in[0]);
	close(out[1]);
	close(err[1]);
	return program;
}

static void stream_close(struct stream *stream)
{
	if (stream->fd >= 0)
		close(stream->fd);
	stream->fd = -1;
}

int program_setup(void **state)
{
	return harness_setup(state);
}

int program_teardown(void **state)
{
	int r = harness_teardown(state);

	while (n_programs > 0) {
		struct program *program = programs[--n_programs];

		stream_close(&program->out);
		stream_close(&program->err);
		if (program->in >= 0)
			close(program->in);
		free(program->out.text);
		free(program->err.text);
		free(program);
	}
	return r;
}

static void stream_take(struct stream *stream)
{
	ssize_t n = 1;

	while (stream->fd >= 0 && n > 0) {
		stream->text = realloc(stream->text, stream->len + READ_LEN + 1);
		assert_non_null(stream->text);
		n = read(stream->fd, stream->text + stream->len, READ_LEN);
		if (n > 0)
			stream->len += (size_t)n;
		stream->text[stream->len] = '\0';
		if (n == 0 || (n < 0 && errno != EAGAIN))
			stream_close(stream);
	}
}

#define program_fail(program, format, ...)                                                         \
	do {                                                                                       \
		print_error(                                                                       \
			"--- output (its end)\n%s", (program)->out.text + (program)->out.len -     \
							    MIN((program)->out.len, (size_t)900)); \
		print_error("--- errors\n%.900s---\n", (program)->err.text);                       \
		fail_msg(format, __VA_ARGS__);                                                     \
	} while (0)

/* Take output; also stop waiting when WRITES and there is room for input. False: too late,
 * or there is nothing to wait for. */
static bool program_pump(struct program *program, bool writes, uint64_t until)
{
	struct pollfd fds[] = {
		{ .fd = program->out.fd, .events = POLLIN },
		{ .fd = program->err.fd, .events = POLLIN },
		{ .fd = writes ? program->in : -1, .events = POLLOUT },
	};
	uint64_t now = clock_ms();

	if (fds[0].fd < 0 && fds[1].fd < 0 && fds[2].fd < 0)
		return false;
	if (now >= until || poll(fds, ARRAY_LEN(fds), (int)(until - now)) == 0)
		return false;
	stream_take(&program->out);
	stream_take(&program->err);
	return true;
}

void program_put(struct program *program, const char *bytes, size_t len)
{
	uint64_t until = clock_ms() + DEADLINE_MS;

	while (len > 0) {
		ssize_t n = write(program->in, bytes, len);

		if (n > 0) {
			bytes += n;
			len -= (size_t)n;
		} else if (errno != EAGAIN) {
			program_fail(program, "its input: %s", strerror(errno));
		} else if (!program_pump(program, true, until)) {
			program_fail(program, "%zu bytes of input are not read", len);
		}
	}
}

void program_put_end(struct program *program)
{
	close(program->in);
	program->in = -1;
}

void program_close_out(struct program *program)
{
	stream_close(&program->out);
}

void program_wait_out(struct program *program, const char *text)
{
	uint64_t until = clock_ms() + DEADLINE_MS;

	while (!strstr(program->out.text, text))
		if (!program_pump(program, false, until))
			program_fail(program, "not printed: %s", text);
}

void program_wait_err(struct program *program, const char *text)
{
	uint64_t until = clock_ms() + DEADLINE_MS;

	while (!strstr(program->err.text, text))
		if (!program_pump(program, false, until))
			program_fail(program, "not complained: %s", text);
}

static unsigned stream_count(const struct stream *stream)
{
	unsigned n = 0;

	for (const char *at = stream->text; (at = strchr(at, '\n')); at++)
		n++;
	return n;
}

void program_wait_lines(struct program *program, unsigned n)
{
	uint64_t until = clock_ms() + 3 * DEADLINE_MS;

	while (stream_count(&program->out) < n)
		if (!program_pump(program, false, until))
			program_fail(program, "%u lines, not %u", stream_count(&program->out), n);
}

void program_expect_exit(struct program *program, int status)
{
	uint64_t until = clock_ms() + 3 * DEADLINE_MS;
	int got;

	while (program->out.fd >= 0 || program->err.fd >= 0)
		if (!program_pump(program, false, until))
			program_fail(program, "process %d does not end", program->pid);
	got = child_end(program->pid);
	if (got != status)
		program_fail(program, "exit status %d, expected %d", got, status);
}

struct program *program_check_with(const struct broker *broker, const struct program_config *config,
	int status, const char *input, const char *out, const char *err,
	const char *const arguments[])
{
	struct program *program = program_start_with(broker, config, arguments);

	if (*input)
		program_put(program, input, strlen(input));
	program_put_end(program);
	program_expect_exit(program, status);
	if (!pattern_matches(out, (struct text){ program->out.text, program->out.len }))
		program_fail(program, "expected to be printed: %s", out);
	if (!pattern_matches(err, (struct text){ program->err.text, program->err.len }))
		program_fail(program, "expected on standard error: %s", err);
	return program;
}
