/* target.c - see target.h. */
#include "client/target.h"

#include "protocol/base.h"

bool target_is_valid(struct text target)
{
	struct text a, b;

	return text_is_room(target) || text_is_direct(target) ||
	       text_is_conversation(target, &a, &b);
}

struct text target_put_conversation(struct text own, struct text other, char *dst)
{
	struct text first = own, second = other;
	int order = memcmp(own.data, other.data, MIN(own.len, other.len));

	if (order > 0 || (order == 0 && own.len > other.len)) {
		first = other;
		second = own;
	}
	dst[0] = '@';
	memcpy(dst + 1, first.data, first.len);
	dst[1 + first.len] = '+';
	memcpy(dst + 2 + first.len, second.data, second.len);
	return (struct text){ dst, 2 + first.len + second.len };
}

void target_show(struct text own, struct text target, char *dst)
{
	struct text a, b, shown = target;

	if (text_is_conversation(target, &a, &b)) {
		shown = text_equal(a, own) ? b : a;
		*dst++ = '@';
	}
	shown.len = MIN(shown.len, (size_t)TARGET_LEN_MAX - 1);
	memcpy(dst, shown.data, shown.len);
	dst[shown.len] = '\0';
}
