/* output.h - what chat-client knows of its terminals, and its lines on them. */
#pragma once

#include <stdio.h>

/* Learn from the environment what terminal this is. Call it before the locale is set. */
void output_init(void);

/* The columns of the terminal at FD now: those that the kernel knows, those of $COLUMNS, or 80. */
unsigned output_columns(int fd);

/* WIDTH_ flags of the terminal. */
unsigned output_flags(void);

/* If *STREAM, stdout or stderr, is a terminal, put a stream before it that breaks each line into
 * rows, see wrap.h. A line is measured by the size that the terminal has when the line is written.
 * Each stream once. Error: -ENOMEM. */
int output_wrap(FILE **stream);

/* The terminal's stream below STREAM, or STREAM if it is not wrapped. Borrowed. */
FILE *output_bare(FILE *stream);
