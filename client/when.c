/* when.c - see when.h. */
#include "client/when.h"

#include <string.h>
#include <time.h>

#include "protocol/number.h"

#define NS_PER_S   UINT64_C(1000000000)
#define DAY_S      (24 * 3600)
#define NUMBER_MAX 4000000000u /* of anything: beyond that nobody means it */

static bool parse_ago(struct text word, uint64_t now, uint64_t *ret_ns)
{
	static const struct {
		char unit;
		uint64_t s;
	} units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', DAY_S } };
	uint64_t n, ns;

	for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
		if (word.len < 2 || word.data[word.len - 1] != units[i].unit ||
			!number_parse((struct text){ word.data, word.len - 1 }, &n) ||
			n > NUMBER_MAX)
			continue;
		ns = n * units[i].s * NS_PER_S;
		*ret_ns = n <= NUMBER_MAX / DAY_S && ns < now ? now - ns : 0;
		return true;
	}
	return false;
}

/* The local time TM in ns; false when the calendar has no such time. */
static bool tm_ns(const struct tm *tm, uint64_t *ret_ns)
{
	struct tm normal = *tm;
	time_t s;

	normal.tm_isdst = -1;
	s = mktime(&normal);
	if (s < 0 || normal.tm_mday != tm->tm_mday || normal.tm_mon != tm->tm_mon)
		return false;
	*ret_ns = (uint64_t)s * NS_PER_S;
	return true;
}

/* HH:MM[:SS], all of TEXT. */
static bool parse_clock(const char *text, struct tm *tm)
{
	const char *end;

	tm->tm_sec = 0;
	end = strptime(text, "%H:%M:%S", tm);
	if (!end || *end) {
		tm->tm_sec = 0;
		end = strptime(text, "%H:%M", tm);
	}
	return end && !*end && tm->tm_sec < 60;
}

bool when_parse(const char *word, uint64_t now, uint64_t *ret_ns)
{
	time_t now_s = (time_t)(now / NS_PER_S);
	struct tm tm;
	const char *end;

	if (word[0] == '@')
		return number_parse(text_of(word + 1), ret_ns);
	if (parse_ago(text_of(word), now, ret_ns))
		return true;
	if (!localtime_r(&now_s, &tm))
		return false;
	if (parse_clock(word, &tm)) {
		if (!tm_ns(&tm, ret_ns))
			return false;
		if (*ret_ns > now) { /* it was yesterday */
			tm.tm_mday--;
			tm.tm_isdst = -1;
			*ret_ns = (uint64_t)mktime(&tm) * NS_PER_S;
		}
		return true;
	}
	memset(&tm, 0, sizeof tm);
	end = strptime(word, "%Y-%m-%d", &tm);
	if (!end || (*end && *end != ' ' && *end != 'T') || (*end && !parse_clock(end + 1, &tm)))
		return false;
	return tm_ns(&tm, ret_ns);
}
