/* top.c - see top.h.
 *
 * The table is written over itself: the cursor goes home, each line erases what was
 * behind it, the last one what was below. There is no other screen to come back from, so
 * what was shown last stays when it ends. Signals are blocked and read from a
 * descriptor; keys come one by one and are not echoed.
 */
#include "client/top.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "client/ask.h"
#include "client/board.h"
#include "client/output.h"
#include "client/wrap.h"

#define INTERVAL_MS       1000
#define ANSWER_TIMEOUT_MS 2000

/* Where there is no terminal to fit. */
#define ONCE_COLUMNS 100
#define ONCE_LINES   60

/* The line that says whose table it is. */
#define HEADER_LINES 1

static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT, SIGWINCH };

struct top {
	struct chat *chat;
	const struct settings *settings;
	struct board board; /* as it was seen last */
	struct board next;  /* while it is asked for */
	char trouble[128];  /* why the table is old; "" when it is not */
	bool is_leaving;
	int status;
	int signal_fd;
	uint64_t next_ms; /* when to ask again */
};

/* There is one terminal; it is given back at exit(3), too. */
static struct {
	bool is_taken;
	struct termios before;
} terminal;

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- asking ---- */

static void count_row(void *userdata, const char *row, size_t len)
{
	board_count(userdata, (struct text){ row, len });
}

static void user_row(void *userdata, const char *row, size_t len)
{
	board_add(userdata, BOARD_USERS, (struct text){ row, len });
}

static void session_row(void *userdata, const char *row, size_t len)
{
	board_add(userdata, BOARD_SESSIONS, (struct text){ row, len });
}

static void room_row(void *userdata, const char *row, size_t len)
{
	board_add(userdata, BOARD_ROOMS, (struct text){ row, len });
}

/* Returns as chat_request(); a broker that does not know a request refuses it. */
static int top_ask(struct top *top, const char **ret_answer)
{
	static const struct {
		const char *request;
		chat_row_fn *row;
	} requests[] = {
		{ "STATS", count_row },
		{ "STATS users", user_row },
		{ "STATS sessions", session_row },
		{ "ROOMS", room_row },
	};
	int r = 0;

	board_clear(&top->next);
	for (size_t i = 0; i < ARRAY_LEN(requests) && r == 0; i++)
		r = ask_pages(top->chat, requests[i].request, ANSWER_TIMEOUT_MS, requests[i].row,
			&top->next, ret_answer);
	if (r == 0)
		top->board = top->next;
	return r;
}

/* ---- the screen ---- */

static bool has_colour(void)
{
	const char *no_color = getenv("NO_COLOR");

	return !(no_color && *no_color);
}

/* Can it be written over, and is somebody at its keys? */
static bool is_terminal(void)
{
	const char *term = getenv("TERM");

	return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && term && *term &&
	       strcmp(term, "dumb") != 0;
}

static void terminal_give_back(void)
{
	if (!terminal.is_taken)
		return;
	terminal.is_taken = false;
	fputc('\n', stdout);
	fflush(stdout);
	(void)tcsetattr(STDIN_FILENO, TCSADRAIN, &terminal.before);
}

/* Keys one by one, not echoed; Ctrl-C and Ctrl-Z stay what they are. Also after a
 * SIGSTOP, when nothing could be given back in time. */
static int terminal_take(void)
{
	struct termios mode;

	if (!terminal.is_taken && tcgetattr(STDIN_FILENO, &terminal.before) < 0)
		return -errno;
	mode = terminal.before;
	mode.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	/* Ctrl-C would throw away what was written, and a pseudo-terminal does not wake who waits
	 * to write more then; the signal does not, either, for it is taken from a descriptor */
	mode.c_lflag |= NOFLSH;
	mode.c_cc[VMIN] = 1;
	mode.c_cc[VTIME] = 0;
	if (tcsetattr(STDIN_FILENO, TCSADRAIN, &mode) < 0)
		return -errno;
	terminal.is_taken = true;
	return 0;
}

static void terminal_size(unsigned *ret_columns, unsigned *ret_lines)
{
	struct winsize size;

	*ret_columns = isatty(STDOUT_FILENO) ? output_columns(STDOUT_FILENO) : ONCE_COLUMNS;
	*ret_lines = ONCE_LINES;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0)
		*ret_lines = size.ws_row;
}

/* Draw all of it, in one write. */
static void top_draw(struct top *top)
{
	unsigned n_columns, n_lines;
	char *text = NULL, header[256];
	char shown[TEXT_ESCAPED_MAX(sizeof header)];
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return; /* the next time, perhaps */
	terminal_size(&n_columns, &n_lines);
	snprintf(header, sizeof header, "%s%s%s", top->trouble[0] ? "" : "broker at ",
		top->trouble[0] ? top->trouble : chat_socket(top->chat),
		top->trouble[0] ? "" : " (q quits)");
	fputs("\033[H", out);
	/* a reason to stop is the words of somebody else */
	wrap_put_row(out, n_columns, output_flags(),
		(struct text){ shown, text_escape(shown, text_of(header)) });
	fputs("\033[K\n", out);
	board_print(out, &top->board, n_columns, n_lines - HEADER_LINES, "\033[K\n", has_colour());
	fputs("\033[K\033[J", out);
	if (fclose(out) == 0) {
		fwrite(text, 1, len, stdout);
		fflush(stdout);
	}
	free(text);
}

/* ---- events ---- */

static void top_leave(struct top *top, int status)
{
	top->is_leaving = true;
	top->status = status;
}

static void top_refresh(struct top *top)
{
	uint64_t interval = top->settings->interval_ms ? top->settings->interval_ms : INTERVAL_MS;
	const char *answer = "";
	int r;

	top->next_ms = now_ms() + interval;
	if (!chat_is_up(top->chat))
		return;
	r = top_ask(top, &answer);
	if (r == 0)
		top->trouble[0] = '\0';
	else
		snprintf(top->trouble, sizeof top->trouble, "%s",
			r > 0 ? answer : chat_error(top->chat));
}

/* The connection was lost, is back, or is over for good. */
static void top_events(struct top *top)
{
	struct chat_event event;
	int r;

	while ((r = chat_receive(top->chat, &event, 0)) > 0) {
		if (event.type == CHAT_UP) {
			top->trouble[0] = '\0';
			top->next_ms = 0;
		}
		if (event.type != CHAT_DOWN)
			continue;
		snprintf(top->trouble, sizeof top->trouble, "%s%s%s%s",
			strcmp(event.code, "STOP") == 0 ? "the broker was stopped"
							: "the connection is lost",
			*event.text ? ": " : "", event.text, event.ended ? "" : "; trying again");
	}
	if (r < 0)
		top_leave(top, status_of_error(r));
}

/* Stop as if the signal had not been blocked. */
static void top_stop(void)
{
	sigset_t stop;

	terminal_give_back();
	raise(SIGTSTP);
	sigemptyset(&stop);
	sigaddset(&stop, SIGTSTP);
	sigprocmask(SIG_UNBLOCK, &stop, NULL);
	sigprocmask(SIG_BLOCK, &stop, NULL);
	/* the kernel does not stop a program that no shell could continue */
	(void)terminal_take();
}

static void top_signal(struct top *top)
{
	struct signalfd_siginfo info;

	if (read(top->signal_fd, &info, sizeof info) != sizeof info)
		return;
	switch (info.ssi_signo) {
	case SIGINT:
		top_leave(top, STATUS_OK);
		break;
	case SIGTSTP:
		top_stop();
		break;
	case SIGCONT:
		(void)terminal_take();
		break;
	case SIGWINCH:
		break;
	default:
		top_leave(top, STATUS_SIGNAL + (int)info.ssi_signo);
	}
}

static void top_key(struct top *top)
{
	char keys[256]; /* one that is held down is one look */
	ssize_t n = read(STDIN_FILENO, keys, sizeof keys);

	if (n <= 0)
		top_leave(top, STATUS_SIGNAL + SIGHUP); /* the terminal is gone */
	else
		top->next_ms = 0; /* any: show it now */
	for (ssize_t i = 0; i < n; i++)
		if (keys[i] == 'q' || keys[i] == 'Q' || keys[i] == 'D' - '@')
			top_leave(top, STATUS_OK);
}

static void top_wait(struct top *top)
{
	struct pollfd fds[] = {
		{ .fd = STDIN_FILENO, .events = POLLIN },
		{ .fd = chat_fd(top->chat), .events = POLLIN },
		{ .fd = top->signal_fd, .events = POLLIN },
	};
	uint64_t now = now_ms();

	if (poll(fds, ARRAY_LEN(fds), top->next_ms > now ? (int)(top->next_ms - now) : 0) <= 0)
		return;
	if (fds[2].revents)
		top_signal(top);
	if (!top->is_leaving && fds[0].revents)
		top_key(top);
	if (!top->is_leaving && fds[1].revents)
		top_events(top);
}

static int signals_take(sigset_t *ret_before)
{
	sigset_t mask;
	int fd;

	sigemptyset(&mask);
	for (size_t i = 0; i < ARRAY_LEN(signals); i++)
		sigaddset(&mask, signals[i]);
	fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	sigprocmask(SIG_BLOCK, &mask, ret_before);
	return fd;
}

static int top_live(struct top *top)
{
	sigset_t before;
	int r;

	top->signal_fd = signals_take(&before);
	r = top->signal_fd < 0 ? top->signal_fd : terminal_take();
	if (r < 0) {
		complain("the terminal can not be used: %s", strerror(-r));
		return STATUS_SYSTEM;
	}
	atexit(terminal_give_back);
	while (!top->is_leaving) {
		if (now_ms() >= top->next_ms)
			top_refresh(top);
		top_draw(top);
		top_wait(top);
	}
	terminal_give_back();
	close(top->signal_fd);
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (top->status == STATUS_NO_BROKER)
		complain("%s", top->trouble);
	return top->status;
}

static int top_once(struct top *top)
{
	unsigned n_columns, n_lines;
	const char *answer = "";
	int r = top_ask(top, &answer);

	if (r < 0)
		return chat_failed(top->chat, r);
	if (r > 0) {
		complain("%s", answer);
		return status_of_code((struct text){ answer, strcspn(answer, " ") });
	}
	if (top->settings->json) {
		board_print_json(stdout, &top->board);
	} else {
		terminal_size(&n_columns, &n_lines);
		board_print(stdout, &top->board, n_columns, ONCE_LINES, "\n", false);
		putchar('\n');
	}
	if ((fflush(stdout) < 0 || ferror(stdout)) && errno != EPIPE) {
		complain("standard output: %s", strerror(errno));
		return STATUS_OUTPUT;
	}
	return STATUS_OK;
}

int top_run(const struct settings *settings, int argc, char **argv)
{
	static struct top top;
	int r;

	if (argc > 0)
		return complain_usage("top takes no argument");
	if (settings->json && !settings->once)
		return complain_usage("--json goes with --once");
	if (!settings->once && !is_terminal())
		return complain_usage("top needs a terminal, or --once");
	top = (struct top){ .settings = settings };
	r = connect_open(&top.chat, settings, settings->once);
	if (r)
		return r;
	r = settings->once ? top_once(&top) : top_live(&top);
	chat_close(top.chat);
	return r;
}
