/* text.c - see text.h. Everything here is pure and linear in its input. */
#include "protocol/text.h"

#include <stdint.h>

struct text text_chomp(struct text text)
{
	if (text.len > 0 && text.data[text.len - 1] == '\0') {
		text.len--;
	} else if (text.len > 0 && text.data[text.len - 1] == '\n') {
		text.len--;
		if (text.len > 0 && text.data[text.len - 1] == '\r')
			text.len--;
	}
	return text;
}

size_t text_decode(struct text text, uint32_t *ret_char)
{
	static const uint32_t min[] = { 0, 0, 0x80, 0x800, 0x10000 };
	const unsigned char *p = (const unsigned char *)text.data;
	uint32_t c;
	size_t need;

	if (text.len == 0)
		return 0;
	if (p[0] < 0x80) {
		*ret_char = p[0];
		return 1;
	}
	if ((p[0] & 0xe0) == 0xc0) {
		need = 2;
		c = p[0] & 0x1f;
	} else if ((p[0] & 0xf0) == 0xe0) {
		need = 3;
		c = p[0] & 0x0f;
	} else if ((p[0] & 0xf8) == 0xf0) {
		need = 4;
		c = p[0] & 0x07;
	} else {
		return 0;
	}
	if (text.len < need)
		return 0;
	for (size_t i = 1; i < need; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	if (c < min[need] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	*ret_char = c;
	return need;
}

bool text_is_utf8(struct text text)
{
	uint32_t c;

	for (size_t i = 0; i < text.len;) {
		size_t n = text_decode((struct text){ text.data + i, text.len - i }, &c);

		if (n == 0)
			return false;
		i += n;
	}
	return true;
}

bool text_has_c1(struct text text)
{
	const unsigned char *p = (const unsigned char *)text.data;

	for (size_t i = 0; i + 1 < text.len; i++)
		if (p[i] == 0xc2 && p[i + 1] < 0xa0)
			return true;
	return false;
}

static bool is_lower_digit(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool text_is_name(struct text text)
{
	if (text.len < 1 || text.len > NAME_LEN_MAX)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		char c = text.data[i];

		if (!is_lower_digit(c) && c != '_' && (i == 0 || (c != '.' && c != '-')))
			return false;
	}
	return true;
}

bool text_is_room(struct text text)
{
	bool part = false;

	if (text.len < 1 || text.len > ROOM_LEN_MAX)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		char c = text.data[i];

		if (c == '.') {
			if (!part)
				return false;
			part = false;
		} else if (is_lower_digit(c) || c == '_' || c == '-') {
			part = true;
		} else {
			return false;
		}
	}
	return part;
}

bool text_is_direct(struct text text)
{
	return text.len > 1 && text.data[0] == '@' &&
	       text_is_name((struct text){ text.data + 1, text.len - 1 });
}

bool text_is_conversation(struct text text, struct text *ret_a, struct text *ret_b)
{
	struct text a, b;
	const char *plus;
	int order;

	if (text.len < 4 || text.data[0] != '@')
		return false;
	plus = memchr(text.data, '+', text.len);
	if (!plus)
		return false;
	a = (struct text){ text.data + 1, (size_t)(plus - text.data) - 1 };
	b = (struct text){ plus + 1, text.len - a.len - 2 };
	if (!text_is_name(a) || !text_is_name(b))
		return false;
	order = memcmp(a.data, b.data, a.len < b.len ? a.len : b.len);
	if (order > 0 || (order == 0 && a.len > b.len))
		return false;
	*ret_a = a;
	*ret_b = b;
	return true;
}

/* Characters that move, hide or reorder other text. */
static bool is_disturbing(uint32_t c)
{
	return c < 0x20 || c == 0x7f || (c >= 0x80 && c < 0xa0) || /* C0, DEL, C1 */
	       c == 0x061c || c == 0x200e || c == 0x200f ||        /* bidi marks */
	       (c >= 0x2028 && c <= 0x202e) ||                     /* separators, overrides */
	       (c >= 0x2066 && c <= 0x206f) ||                     /* isolates */
	       c == 0xfeff || (c >= 0xfff9 && c <= 0xfffb) ||      /* annotations */
	       (c >= 0xe0000 && c <= 0xe007f);                     /* tags */
}

size_t text_escape(char *dst, struct text text)
{
	static const char hex[] = "0123456789abcdef";
	const unsigned char *p = (const unsigned char *)text.data;
	size_t out = 0;
	uint32_t c = 0;

	for (size_t i = 0; i < text.len;) {
		size_t n = text_decode((struct text){ text.data + i, text.len - i }, &c);

		if (n > 0 && c == '\\') {
			dst[out++] = '\\';
			dst[out++] = '\\';
		} else if (n > 0 && (c == '\n' || c == '\t')) {
			dst[out++] = '\\';
			dst[out++] = c == '\n' ? 'n' : 't';
		} else if (n > 0 && !is_disturbing(c)) {
			memcpy(dst + out, p + i, n);
			out += n;
		} else {
			for (size_t k = 0; k < (n > 0 ? n : 1); k++) {
				dst[out++] = '\\';
				dst[out++] = 'x';
				dst[out++] = hex[p[i + k] >> 4];
				dst[out++] = hex[p[i + k] & 15];
			}
		}
		i += n > 0 ? n : 1;
	}
	return out;
}
