/* page.c - see page.h. */
#include "broker/page.h"

#include <string.h>

#include "broker/answer.h"
#include "protocol/limits.h"
#include "protocol/number.h"

bool page_open(struct page *page, struct session *session, const struct frame *frame)
{
	struct text after = frame_get(frame, 1, "after");

	*page = (struct page){ .session = session, .frame = frame };
	if (frame->n_words > 1 && !memchr(frame->word[1].data, '=', frame->word[1].len))
		page->what = frame->word[1];
	if (!after.data || number_parse(after, &page->after))
		return page->what.data || answer_has_rows(frame);
	answer_refuse(session, frame, CODE_ARGS, "after= is malformed");
	return false;
}

bool page_put(struct page *page, uint64_t number, struct text row)
{
	page->is_full = page->n_rows == ANSWER_ROWS_MAX || page->len + row.len > ANSWER_LEN_MAX;
	if (page->is_full)
		return false;
	answer_row(page->session, page->frame, row);
	page->after = number;
	page->len += row.len;
	page->n_rows++;
	return true;
}

void page_close(const struct page *page)
{
	if (page->is_full)
		answer_done(page->session, page->frame, "%u next=%lu", page->n_rows,
			(unsigned long)page->after);
	else
		answer_done(page->session, page->frame, "%u", page->n_rows);
}
