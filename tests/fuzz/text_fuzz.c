/* text_fuzz.c - whatever the bytes, what is shown is clean, and names are only names. */
#include <string.h>

#include "protocol/base.h"
#include "protocol/number.h"
#include "protocol/text.h"
#include "tests/fuzz/fuzz.h"

static void expect_clean(struct text text)
{
	EXPECT(text_is_utf8(text));
	for (size_t i = 0; i < text.len; i++) {
		unsigned char c = (unsigned char)text.data[i];

		EXPECT(c >= 0x20 && c != 0x7f);
		if (c == 0xc2) /* C1, in UTF-8 */
			EXPECT((unsigned char)text.data[i + 1] >= 0xa0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct text text = { (const char *)data, len }, chomped, a, b;
	char *escaped = malloc(TEXT_ESCAPED_MAX(len) + 1);
	char digits[NUMBER_DECIMAL_MAX], hex[NUMBER_HEX_LEN];
	uint64_t value, again;

	EXPECT(escaped);
	expect_clean((struct text){ escaped, text_escape(escaped, text) });
	free(escaped);

	chomped = text_chomp(text);
	EXPECT(chomped.data == text.data && text.len - chomped.len <= 2);
	if (text_is_name(text) || text_is_room(text) || text_is_direct(text))
		EXPECT(text_is_utf8(text) && text.len <= TARGET_LEN_MAX);
	if (text_is_conversation(text, &a, &b))
		EXPECT(text_is_name(a) && text_is_name(b) && a.len + b.len + 2 == text.len);

	if (number_parse(text, &value))
		EXPECT(number_parse((struct text){ digits, number_put(digits, value) }, &again) &&
			value == again);
	if (number_parse_hex(text, &value)) {
		number_put_hex(hex, value);
		EXPECT(number_parse_hex((struct text){ hex, sizeof hex }, &again) &&
			value == again);
	}
	return 0;
}
