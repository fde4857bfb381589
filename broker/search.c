/* search.c - see search.h.
 *
 * A text that is chosen to have much to compare is looked through byte by byte, each once.
 *
 * Where both the first and the last byte are as they should be, the rest is compared: 16
 * places at once, in the compiler's own vectors, which every machine has in some way.
 */
#include "broker/search.h"

#include <string.h>

/* Bytes that may be compared in vain, beside as many as the text has. */
#define WORK_FREE 4096

typedef unsigned char lanes __attribute__((vector_size(16)));
typedef uint64_t halves __attribute__((vector_size(16)));

static bool is_letter(unsigned char c)
{
	return (unsigned char)((c | 0x20) - 'a') < 26;
}

/* Two bytes are the same when they take the same: letters in either case. */
static void search_prepare(struct search *search)
{
	const unsigned char *text = search->text, *fold = search->fold;
	size_t n = 0;

	search->back[0] = 0;
	for (size_t i = 1; i < search->len; i++) {
		search->back[i] = (unsigned char)n;
		while (n > 0 && (text[i] != text[n] || fold[i] != fold[n]))
			n = search->back[n];
		n += text[i] == text[n] && fold[i] == fold[n];
	}
}

bool search_init(struct search *search, struct text needle)
{
	if (needle.len == 0 || needle.len > SEARCH_LEN_MAX)
		return false;
	search->len = needle.len;
	for (size_t i = 0; i < needle.len; i++) {
		unsigned char c = (unsigned char)needle.data[i];

		search->fold[i] = is_letter(c) ? 0x20 : 0;
		search->text[i] = c | search->fold[i];
	}
	search_prepare(search);
	return true;
}

/* Does byte C of a text fit byte I? */
static bool search_fits(const struct search *search, unsigned char c, size_t i)
{
	return (c | search->fold[i]) == search->text[i];
}

/* Knuth, Morris and Pratt: no byte is looked at more than twice. */
static bool search_slowly(
	const struct search *search, const unsigned char *at, const unsigned char *end)
{
	size_t n = 0;

	for (; at < end; at++) {
		while (n > 0 && !search_fits(search, *at, n))
			n = search->back[n];
		n += search_fits(search, *at, n);
		if (n == search->len)
			return true;
	}
	return false;
}

static bool search_is_at(const struct search *search, const unsigned char *at, size_t *work)
{
	for (size_t i = 0; i < search->len; i++)
		if (!search_fits(search, at[i], i)) {
			*work += i;
			return false;
		}
	return true;
}

static lanes lanes_of(unsigned char byte)
{
	return (lanes){ 0 } + byte;
}

/* Is one of 16 places from AT on, each with all its bytes there, the right one? */
static bool search_is_near(const struct search *search, const unsigned char *at, size_t *work)
{
	size_t end = search->len - 1;
	lanes first, last;
	halves hits;

	memcpy(&first, at, sizeof first);
	memcpy(&last, at + end, sizeof last);
	hits = (halves)(((first | lanes_of(search->fold[0])) == lanes_of(search->text[0])) &
			((last | lanes_of(search->fold[end])) == lanes_of(search->text[end])));
	if ((hits[0] | hits[1]) == 0)
		return false;
	for (size_t i = 0; i < sizeof first; i++)
		if (((lanes)hits)[i] && search_is_at(search, at + i, work))
			return true;
	return false;
}

bool search_finds(const struct search *search, struct text text)
{
	const unsigned char *at = (const unsigned char *)text.data, *end;
	size_t work = 0, much = text.len + WORK_FREE;

	if (text.len < search->len)
		return false;
	end = at + (text.len - search->len); /* the last place */
	for (; end - at >= (ptrdiff_t)sizeof(lanes) - 1; at += sizeof(lanes)) {
		if (search_is_near(search, at, &work))
			return true;
		if (work > much)
			return search_slowly(search, at + sizeof(lanes), end + search->len);
	}
	for (; at <= end; at++)
		if (search_is_at(search, at, &work))
			return true;
	return false;
}
