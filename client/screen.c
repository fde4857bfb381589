/* screen.c - see screen.h.
 *
 * Readline runs through its callback interface. Enter is bound to screen_enter()
 * instead of readline's accept-line: that would leave the typed line on the
 * screen, where it is to be shown once, when the broker sends it back. The signals
 * are blocked and read from a descriptor, so that nothing of this runs in a
 * handler, and readline's own handlers are off.
 */
#include "client/screen.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>
#include <wchar.h>
#include <wctype.h>

#include <readline/history.h>
#include <readline/readline.h>

#include "client/output.h"
#include "client/wrap.h"
#include "protocol/base.h"
#include "protocol/limits.h"

/* Lines that the up key goes back to; in memory only, they are nobody's business. */
#define HISTORY_LINES_MAX 500

/* The most bytes of output that are collected before they are shown. */
#define OUT_LEN_MAX (1 << 20)

/* Columns that are left for typing, whatever the target is called. */
#define TYPING_COLUMNS_MIN 10

static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT, SIGWINCH };

/* Of these, the first so many end what readline waits for. */
#define N_SIGNALS_URGENT 5

static struct {
	struct screen_config config;
	bool open, colour;
	bool can_move; /* the terminal knows how to move the cursor up, and to erase */
	bool at_eof;   /* Ctrl-D: readline is done, there is no line any more */
	int signal_fd;
	int urgent_fd;  /* only looked at; they are read from signal_fd */
	size_t n_ended; /* bytes of an end of paste that was made up */
	sigset_t mask_before;
	FILE *out;    /* writes to text */
	FILE *errors; /* stderr as it was: readline rings the bell there */
	char *text;
	size_t text_len;
	char target[TARGET_LEN_MAX + 1];
	int prompt_width, columns; /* when the prompt was last set */
} screen;

static void screen_accept(char *text)
{
	static char *last;

	if (*text && (!last || strcmp(last, text) != 0)) {
		add_history(text);
		free(last);
		last = strdup(text);
	}
	screen.config.enter(screen.config.userdata, text);
}

/* Bound to Enter. The line is taken off the screen before it is acted upon. */
static int screen_enter(int count, int key)
{
	char *text = rl_copy_text(0, rl_end);

	rl_clear_visible_line();
	rl_replace_line("", 1);
	rl_on_new_line();
	using_history();
	if (text)
		screen_accept(text);
	free(text);
	return 0;
}

/* Readline's own accept-line, from a key of ~/.inputrc, and Ctrl-D. */
static void screen_line(char *line)
{
	if (line) {
		screen_accept(line);
		free(line);
		return;
	}
	screen.at_eof = true;
	rl_callback_handler_remove(); /* or it would show the prompt once more */
	screen.config.enter(screen.config.userdata, NULL);
}

/* In the middle of a paste readline waits for the end of it, which may never come; an
 * end of file there makes readline 8.2 use bytes it has not read. So when a signal
 * comes, or the terminal goes, the paste is ended here. */
static int screen_getc(FILE *stream)
{
	static const char paste_end[] = "\033[201~";
	struct pollfd fds[] = {
		{ .fd = fileno(stream), .events = POLLIN },
		{ .fd = screen.urgent_fd, .events = POLLIN },
	};
	unsigned char c;

	while (poll(fds, ARRAY_LEN(fds), -1) < 0)
		;
	if (fds[0].revents && screen.n_ended == 0 && read(fds[0].fd, &c, 1) == 1)
		return c;
	if (RL_ISSTATE(RL_STATE_MOREINPUT) && screen.n_ended < sizeof(paste_end) - 1)
		return (unsigned char)paste_end[screen.n_ended++];
	return RL_ISSTATE(RL_STATE_READCMD) ? READERR : EOF;
}

static char **screen_complete(const char *text, int start, int end)
{
	char *before = strndup(rl_line_buffer, (size_t)start);
	char **matches = NULL;

	rl_attempted_completion_over = 1; /* no file names */
	if (before)
		matches = screen.config.complete(screen.config.userdata, text, before);
	free(before);
	return matches;
}

static void bind_enter(Keymap map)
{
	rl_bind_key_in_map('\r', screen_enter, map);
	rl_bind_key_in_map('\n', screen_enter, map);
}

/* At Ctrl-C the kernel throws away what was typed, which is wanted, and what we wrote
 * and the terminal has not read yet, which leaves the screen other than readline
 * believes. So it throws away nothing, and screen_signal() takes the first part. */
static void screen_prepare(int meta)
{
	struct termios mode;

	rl_prep_terminal(meta);
	if (tcgetattr(STDIN_FILENO, &mode) == 0 && !(mode.c_lflag & NOFLSH)) {
		mode.c_lflag |= NOFLSH;
		(void)tcsetattr(STDIN_FILENO, TCSADRAIN, &mode);
	}
}

static void readline_set_up(void)
{
	rl_readline_name = "chat-client";
	rl_prep_term_function = screen_prepare;
	rl_getc_function = screen_getc;
	rl_catch_signals = 0;
	rl_catch_sigwinch = 0;
	rl_attempted_completion_function = screen_complete;
	rl_completer_word_break_characters = (char *)" \t\n";
	rl_completer_quote_characters = NULL;
	/* No question and no pager in the middle of other people's messages. */
	rl_completion_query_items = 0;
	stifle_history(HISTORY_LINES_MAX);
	rl_variable_bind("show-all-if-ambiguous", "on");
	rl_initialize(); /* reads ~/.inputrc; what must hold comes after it */
	rl_variable_bind("page-completions", "off");
	rl_variable_bind("horizontal-scroll-mode", "off");
	rl_variable_bind("mark-modified-lines", "off");
	bind_enter(rl_get_keymap_by_name("emacs-standard"));
	bind_enter(rl_get_keymap_by_name("vi-insert"));
	bind_enter(rl_get_keymap_by_name("vi-command"));
}

static int signals_take(void)
{
	sigset_t mask;

	sigemptyset(&mask);
	for (size_t i = 0; i < N_SIGNALS_URGENT; i++)
		sigaddset(&mask, signals[i]);
	screen.urgent_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	if (screen.urgent_fd < 0)
		return -errno;
	for (size_t i = N_SIGNALS_URGENT; i < ARRAY_LEN(signals); i++)
		sigaddset(&mask, signals[i]);
	screen.signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	if (screen.signal_fd < 0) {
		int r = -errno;

		close(screen.urgent_fd);
		return r;
	}
	sigprocmask(SIG_BLOCK, &mask, &screen.mask_before);
	return 0;
}

static bool knows_sequences(void)
{
	const char *term = getenv("TERM");

	return term && *term && strcmp(term, "dumb") != 0;
}

static bool wants_colour(void)
{
	const char *no_color = getenv("NO_COLOR");

	return screen.can_move && !(no_color && *no_color);
}

int screen_open(const struct screen_config *config)
{
	static bool at_exit;
	int r;

	screen.config = *config;
	screen.can_move = knows_sequences();
	screen.colour = wants_colour();
	screen.out = open_memstream(&screen.text, &screen.text_len);
	if (!screen.out)
		return -ENOMEM;
	r = signals_take();
	if (r) {
		fclose(TAKE(screen.out));
		free(TAKE(screen.text));
		return r;
	}
	if (!at_exit)
		atexit(screen_close);
	at_exit = true;
	screen.open = true;
	screen.errors = stderr;
	stderr = output_bare(stderr);
	readline_set_up();
	rl_callback_handler_install("> ", screen_line);
	return 0;
}

/* The line goes, so that what comes next begins at the left edge. */
void screen_close(void)
{
	if (!screen.open)
		return;
	screen_flush();
	screen.open = false;
	if (!screen.at_eof) {
		rl_clear_visible_line();
		rl_callback_handler_remove();
	}
	fflush(stdout);
	stderr = screen.errors;
	fclose(TAKE(screen.out));
	free(TAKE(screen.text));
	close(screen.signal_fd);
	close(screen.urgent_fd);
	sigprocmask(SIG_SETMASK, &screen.mask_before, NULL);
}

bool screen_has_colour(void)
{
	return screen.colour;
}

static void screen_redraw(void)
{
	rl_on_new_line();
	rl_redisplay();
	fflush(stdout);
}

/* Lines are wrapped here and not by the terminal, which would begin a row with others' text. */
static void screen_put_text(void)
{
	struct wrap wrap;

	wrap_init(&wrap, stdout, output_columns(STDOUT_FILENO), output_flags());
	wrap_put(&wrap, (struct text){ screen.text, screen.text_len });
}

/* Is much collected, and are all of it whole lines? */
static bool screen_is_due(void)
{
	if (!screen.out || ftello(screen.out) <= OUT_LEN_MAX)
		return false;
	fflush(screen.out);
	return screen.text[screen.text_len - 1] == '\n';
}

/* Long output is shown in parts, because the buffer is bounded. */
FILE *screen_out(void)
{
	if (screen_is_due())
		screen_flush();
	return screen.out;
}

void screen_flush(void)
{
	fflush(screen.out);
	if (screen.text_len == 0)
		return;
	if (!screen.at_eof)
		rl_clear_visible_line();
	screen_put_text();
	rewind(screen.out);
	if (!screen.at_eof)
		screen_redraw();
}

/* The end of a name tells more than its beginning: build.ci.nightly. */
static const char *fit(const char *target, int columns)
{
	size_t len = strlen(target), room;

	if (columns <= 0)
		return target;
	room = columns > TYPING_COLUMNS_MIN + 4 ? (size_t)columns - TYPING_COLUMNS_MIN - 2 : 2;
	return len > room ? target + len - room : target;
}

static void screen_put_prompt(void)
{
	size_t len = strlen(screen.target);
	const char *mark = len > 0 && screen.target[len - 1] == ']' ? " " : "> ";
	char prompt[TARGET_LEN_MAX + 32];
	int rows, columns;

	rl_get_screen_size(&rows, &columns);
	snprintf(prompt, sizeof(prompt),
		screen.colour ? "\001\033[1m\002%s\001\033[0m\002%s" : "%s%s",
		fit(screen.target, columns), mark);
	rl_set_prompt(prompt);
	screen.prompt_width = (int)(strlen(fit(screen.target, columns)) + strlen(mark));
	screen.columns = columns;
}

void screen_set_prompt(const char *target)
{
	if (screen.at_eof || strcmp(target, screen.target) == 0)
		return;
	rl_clear_visible_line();
	snprintf(screen.target, sizeof(screen.target), "%s", target);
	screen_put_prompt();
	screen_redraw();
}

void screen_key(void)
{
	screen.n_ended = 0;
	rl_callback_read_char();
	fflush(stdout);
}

int screen_signal_fd(void)
{
	return screen.signal_fd;
}

/* Take the terminal back, and draw the line: after a stop, also after a SIGSTOP, when
 * nothing could be given back in time. */
static void screen_continue(void)
{
	rl_deprep_terminal();
	screen_prepare(1);
	rl_reset_screen_size();
	rl_clear_visible_line();
	screen_put_prompt();
	screen_redraw();
}

/* Stop as if the signal had not been blocked. The kernel does not stop a program that
 * no shell could continue: then this goes on at once. */
static void screen_stop(void)
{
	sigset_t stop;

	rl_clear_visible_line();
	rl_on_new_line(); /* there is nothing to be cleared any more */
	rl_deprep_terminal();
	fflush(stdout);
	raise(SIGTSTP);
	sigemptyset(&stop);
	sigaddset(&stop, SIGTSTP);
	sigprocmask(SIG_UNBLOCK, &stop, NULL);
	sigprocmask(SIG_BLOCK, &stop, NULL);
	screen_continue();
}

/* How many rows the line takes above that of the cursor, COLUMNS wide; not more than
 * it really does. */
static int rows_above(int columns)
{
	int x = screen.prompt_width, rows = 0, width;
	mbstate_t state = { 0 };
	wchar_t c;

	if (columns <= 0 || RL_ISSTATE(RL_STATE_ISEARCH | RL_STATE_NSEARCH))
		return 0; /* the prompt is another one */
	for (int i = 0; i < rl_point; x += width) {
		size_t n = mbrtowc(&c, rl_line_buffer + i, (size_t)(rl_end - i), &state);

		if (n == 0 || n > (size_t)(rl_end - i))
			return rows;
		i += (int)n;
		if (c == L'\n') {
			rows++;
			x = width = 0;
			continue;
		}
		/* a tab is at least one column, a control character is shown as ^X */
		width = c == L'\t' ? 1 : iswcntrl((wint_t)c) ? 2 : MAX(wcwidth(c), 0);
		if (x + width > columns) {
			rows++;
			x = 0;
		}
	}
	return x >= columns ? rows + 1 : rows;
}

/* Some terminals break lines anew at another width, others do not, and nothing tells
 * which. Going up by the rows that the line took would then be into the messages above
 * it and delete them: rather a rest of the line stays there. */
static void screen_resize(void)
{
	int rows, columns, up;

	if (!screen.can_move) {
		rl_resize_terminal();
		return;
	}
	rl_reset_screen_size();
	rl_get_screen_size(&rows, &columns);
	up = MIN(rows_above(screen.columns), rows_above(columns));
	fputs("\r\033[J", stdout);
	if (up > 0)
		printf("\033[%dA\033[J", up);
	screen_put_prompt();
	screen_redraw();
}

int screen_signal(void)
{
	struct signalfd_siginfo info;

	if (read(screen.signal_fd, &info, sizeof(info)) != sizeof(info))
		return 0;
	switch (info.ssi_signo) {
	case SIGINT:
	case SIGQUIT:
		(void)tcflush(STDIN_FILENO, TCIFLUSH);
		return (int)info.ssi_signo;
	case SIGWINCH:
		screen_resize();
		return 0;
	case SIGTSTP:
		screen_stop();
		return 0;
	case SIGCONT:
		screen_continue();
		return 0;
	default:
		return (int)info.ssi_signo;
	}
}

bool screen_clear_typed(void)
{
	bool typed = rl_end > 0 || RL_ISSTATE(RL_STATE_ISEARCH | RL_STATE_NSEARCH);

	rl_callback_sigcleanup(); /* a search ends, and gives the prompt back */
	rl_clear_visible_line();
	rl_replace_line("", 1);
	screen_redraw();
	return typed;
}
