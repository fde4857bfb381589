/* screen.h - the terminal: one line being typed at the bottom, whole lines above.
 *
 * This is the only part of chat-client that writes to a terminal interactively.
 * There is one screen per process, as there is one readline. What is to be shown
 * is written to screen_out() and appears with screen_flush(): one clear, one
 * write, one redraw, however much it is.
 */
#pragma once

#include <stdbool.h>
#include <stdio.h>

/* A line was entered: TEXT is borrowed, may be written to, and may hold line feeds
 * (they were pasted). NULL: Ctrl-D on an empty line. */
typedef void screen_enter_fn(void *userdata, char *text);

/* Completions of the word TEXT, whose line up to it is BEFORE: NULL-terminated,
 * each allocated, or NULL. The first is what all have in common: as readline's. */
typedef char **screen_complete_fn(void *userdata, const char *text, const char *before);

struct screen_config {
	screen_enter_fn *enter;
	screen_complete_fn *complete;
	void *userdata;
};

/* Take the terminal and the signals. It is given back by screen_close(), which
 * also runs at exit(3). CONFIG is copied. Errors: those of signalfd(2); -ENOMEM. */
int screen_open(const struct screen_config *config);
void screen_close(void);

/* Are escape sequences for colours wanted? NO_COLOR, TERM. */
bool screen_has_colour(void);

/* Where lines are collected, each ended by LF and made safe by render.h. They are shown in rows
 * that fit the terminal, see wrap.h. */
FILE *screen_out(void);
void screen_flush(void);

/* Show "TARGET> " before the line, or a question "TARGET " that ends in ']'; it is
 * shortened where the screen is narrow. */
void screen_set_prompt(const char *target);

/* Standard input is readable: take one key. */
void screen_key(void);

/* Readable when screen_signal() has something to do. */
int screen_signal_fd(void);

/* Handle one signal. A new size, a stop and its end are seen to here. Returns 0, or
 * the number of one that the caller decides upon: SIGINT or one that ends us. */
int screen_signal(void);

/* Drop what is being typed. Returns false if there was nothing. */
bool screen_clear_typed(void);
