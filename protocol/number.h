/* number.h - decimal and hexadecimal numbers as they stand in frames. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/text.h"

#define NUMBER_DECIMAL_MAX 20 /* digits of 2^64-1 */
#define NUMBER_HEX_LEN     16

/* 1 to 20 digits and nothing else, at most 2^64-1. */
bool number_parse(struct text text, uint64_t *ret_value);

/* The same, from MIN to MAX. */
bool number_parse_within(struct text text, uint64_t min, uint64_t max, uint64_t *ret_value);

/* 1 to 16 hexadecimal digits, of either case. */
bool number_parse_hex(struct text text, uint64_t *ret_value);

/* Write VALUE in decimal, not terminated. DST holds NUMBER_DECIMAL_MAX bytes.
 * Returns the bytes written. */
size_t number_put(char *dst, uint64_t value);

/* Count a number that stands as LEN decimal digits up by one, in place. False when it
 * needs one digit more: all are '0' then. */
bool number_count(char *digits, size_t len);

/* Write VALUE as 16 lower-case hexadecimal digits, not terminated. */
void number_put_hex(char *dst, uint64_t value);
