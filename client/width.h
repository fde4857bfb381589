/* width.h - the columns that a character takes on a terminal.
 *
 * Terminals disagree, and the C library's answer depends on the locale. These answers depend on
 * the character alone and are upper bounds: text that is measured here is never wider on the
 * screen than was counted. A character that some terminals show wide counts as wide.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Flags that describe the terminal. */
#define WIDTH_CJK     1u /* characters of ambiguous width are wide there */
#define WIDTH_NO_MARK 2u /* every character takes a column, as on the Linux console */

/* Does C stand on or join the character before it? */
bool width_is_mark(uint32_t c);

/* The columns of C, a character that can be shown: 0, 1 or 2. */
unsigned width_of(uint32_t c, unsigned flags);
