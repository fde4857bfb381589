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
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <readline/history.h>
#include <readline/readline.h>

#include "protocol/base.h"
#include "protocol/limits.h"

/* Lines that the up key goes back to; in memory only, they are nobody's business. */
#define HISTORY_LINES_MAX 500

/* Columns that are left for typing, whatever the target is called. */
#define TYPING_COLUMNS_MIN 10

static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT, SIGWINCH };

static struct {
	struct screen_config config;
	bool open, colour;
	bool at_eof; /* Ctrl-D: readline is done, there is no line any more */
	int signal_fd;
	sigset_t mask_before;
	FILE *out; /* writes to text */
	char *text;
	size_t text_len;
	char target[TARGET_LEN_MAX + 1];
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

static void readline_set_up(void)
{
	rl_readline_name = "chat-client";
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
	for (size_t i = 0; i < ARRAY_LEN(signals); i++)
		sigaddset(&mask, signals[i]);
	screen.signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	if (screen.signal_fd < 0)
		return -errno;
	sigprocmask(SIG_BLOCK, &mask, &screen.mask_before);
	return 0;
}

static bool wants_colour(void)
{
	const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");

	return !(no_color && *no_color) && term && *term && strcmp(term, "dumb") != 0;
}

int screen_open(const struct screen_config *config)
{
	static bool at_exit;
	int r;

	screen.config = *config;
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
	fclose(TAKE(screen.out));
	free(TAKE(screen.text));
	close(screen.signal_fd);
	sigprocmask(SIG_SETMASK, &screen.mask_before, NULL);
}

bool screen_has_colour(void)
{
	return screen.colour;
}

FILE *screen_out(void)
{
	return screen.out;
}

static void screen_redraw(void)
{
	rl_on_new_line();
	rl_redisplay();
	fflush(stdout);
}

void screen_flush(void)
{
	fflush(screen.out);
	if (screen.text_len == 0)
		return;
	if (!screen.at_eof)
		rl_clear_visible_line();
	fwrite(screen.text, 1, screen.text_len, stdout);
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
	char prompt[TARGET_LEN_MAX + 32];
	int rows, columns;

	rl_get_screen_size(&rows, &columns);
	snprintf(prompt, sizeof(prompt),
		screen.colour ? "\001\033[1m\002%s\001\033[0m\002> " : "%s> ",
		fit(screen.target, columns));
	rl_set_prompt(prompt);
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
	rl_callback_read_char();
	fflush(stdout);
}

int screen_signal_fd(void)
{
	return screen.signal_fd;
}

/* Stop as if the signal had not been blocked; SIGCONT takes the terminal again. */
static void screen_stop(void)
{
	sigset_t stop;

	rl_clear_visible_line();
	rl_deprep_terminal();
	fflush(stdout);
	raise(SIGTSTP);
	sigemptyset(&stop);
	sigaddset(&stop, SIGTSTP);
	sigprocmask(SIG_UNBLOCK, &stop, NULL);
	sigprocmask(SIG_BLOCK, &stop, NULL);
}

/* Also after a SIGSTOP, when nothing could be given back in time. */
static void screen_continue(void)
{
	rl_deprep_terminal();
	rl_prep_terminal(1);
	rl_resize_terminal();
	screen_redraw();
}

static void screen_resize(void)
{
	rl_resize_terminal();
	rl_clear_visible_line();
	screen_put_prompt();
	screen_redraw();
}

int screen_signal(void)
{
	struct signalfd_siginfo info;

	if (read(screen.signal_fd, &info, sizeof(info)) != sizeof(info))
		return 0;
	switch (info.ssi_signo) {
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
