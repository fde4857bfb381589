/* text.h - bytes that belong to somebody else, names, and text made safe to show.
 *
 * chat-protocol(7), section Names; the escaping is that of chat-client(1).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "protocol/limits.h"

/* Borrowed bytes, not terminated. */
struct text {
	const char *data;
	size_t len;
};

#define TEXT(literal) ((struct text){ (literal), sizeof(literal) - 1 })

static inline struct text text_of(const char *string)
{
	return (struct text){ string, strlen(string) };
}

static inline bool text_equal(struct text a, struct text b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* Take one trailing LF, CR LF or NUL off: what line-minded writers leave. */
struct text text_chomp(struct text text);

/* Decode the first character of TEXT, by the rules of text_is_utf8(). Returns the length of its
 * bytes, or 0 when TEXT does not begin with a character. */
size_t text_decode(struct text text, uint32_t *ret_char);

/* Well-formed UTF-8 (Unicode 15, table 3-7): no overlong forms, no surrogates. */
bool text_is_utf8(struct text text);

/* Has it a control character of C1, U+0080 to U+009F? TEXT is UTF-8. */
bool text_has_c1(struct text text);

/* [a-z0-9_][a-z0-9_.-]{0,31} */
bool text_is_name(struct text text);

/* [a-z0-9_-]+ parts joined by single dots, at most ROOM_LEN_MAX bytes. */
bool text_is_room(struct text text);

/* "@name" */
bool text_is_direct(struct text text);

/* "@a+b" with a <= b, both names; the two are put in *ret_a and *ret_b. */
bool text_is_conversation(struct text text, struct text *ret_a, struct text *ret_b);

/* The bytes that text_escape() needs for LEN bytes, at the most. */
#define TEXT_ESCAPED_MAX(len) ((len)*4)

/* Write TEXT so that it can not disturb a terminal and stays on one line: C0,
 * DEL, C1, bidirectional controls, line and paragraph separators and bytes that
 * are not UTF-8 become \n, \t or \xHH for each of their bytes; a backslash
 * becomes two. DST must hold TEXT_ESCAPED_MAX(text.len) bytes; it is not
 * terminated. Returns the bytes written. */
size_t text_escape(char *dst, struct text text);
