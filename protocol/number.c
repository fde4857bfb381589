/* number.c - see number.h. number_put() is on the path of every message. */
#include "protocol/number.h"

#include <string.h>

bool number_parse(struct text text, uint64_t *ret_value)
{
	uint64_t value = 0;

	if (text.len < 1 || text.len > NUMBER_DECIMAL_MAX)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		unsigned digit = (unsigned)(unsigned char)text.data[i] - '0';

		if (digit > 9)
			return false;
		if (i == NUMBER_DECIMAL_MAX - 1 &&
			(value > UINT64_MAX / 10 ||
				(value == UINT64_MAX / 10 && digit > UINT64_MAX % 10)))
			return false;
		value = value * 10 + digit;
	}
	*ret_value = value;
	return true;
}

bool number_parse_within(struct text text, uint64_t min, uint64_t max, uint64_t *ret_value)
{
	return number_parse(text, ret_value) && *ret_value >= min && *ret_value <= max;
}

bool number_parse_hex(struct text text, uint64_t *ret_value)
{
	uint64_t value = 0;

	if (text.len < 1 || text.len > NUMBER_HEX_LEN)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		char c = text.data[i];
		unsigned digit;

		if (c >= '0' && c <= '9')
			digit = (unsigned)(c - '0');
		else if (c >= 'a' && c <= 'f')
			digit = (unsigned)(c - 'a') + 10;
		else if (c >= 'A' && c <= 'F')
			digit = (unsigned)(c - 'A') + 10;
		else
			return false;
		value = value << 4 | digit;
	}
	*ret_value = value;
	return true;
}

/* "00" to "99": two digits per division. */
static const char pairs[] =
	"00010203040506070809101112131415161718192021222324252627282930313233343536373839"
	"40414243444546474849505152535455565758596061626364656667686970717273747576777879"
	"8081828384858687888990919293949596979899";

size_t number_put(char *dst, uint64_t value)
{
	char digits[NUMBER_DECIMAL_MAX];
	size_t at = sizeof digits;

	while (value >= 100) {
		at -= 2;
		memcpy(digits + at, pairs + 2 * (value % 100), 2);
		value /= 100;
	}
	if (value >= 10) {
		at -= 2;
		memcpy(digits + at, pairs + 2 * value, 2);
	} else {
		digits[--at] = (char)('0' + value);
	}
	memcpy(dst, digits + at, sizeof digits - at);
	return sizeof digits - at;
}

bool number_count(char *digits, size_t len)
{
	while (len > 0 && digits[len - 1] == '9')
		digits[--len] = '0';
	if (len == 0)
		return false;
	digits[len - 1]++;
	return true;
}

void number_put_hex(char *dst, uint64_t value)
{
	static const char hex[] = "0123456789abcdef";

	for (int i = NUMBER_HEX_LEN - 1; i >= 0; i--) {
		dst[i] = hex[value & 15];
		value >>= 4;
	}
}
