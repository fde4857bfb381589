/* record_fuzz.c - any bytes are a batch of records or broken; nothing outside is read. */
#include <string.h>

#include "protocol/base.h"
#include "protocol/record.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const char *start = (const char *)data, *end = start + len, *at = start, *record = start;
	struct text frame;
	int r;

	while ((r = record_next(&at, end, &frame)) == 0) {
		size_t size = record_size(frame.len);
		char *copy;

		EXPECT(frame.data == record + RECORD_HEADER_LEN);
		EXPECT(at == record + size && at <= end);
		(void)record_check(record);
		/* what is sealed again is the same, but for the CRC and the padding */
		copy = malloc(size);
		EXPECT(copy);
		memcpy(copy + RECORD_HEADER_LEN, frame.data, frame.len);
		record_close(copy, frame.len);
		record_seal(copy);
		EXPECT(record_check(copy) == 0);
		EXPECT(memcmp(copy, record, 4) == 0);
		free(copy);
		record = at;
	}
	EXPECT(r == RECORD_E_END || r == RECORD_E_BROKEN);
	EXPECT(at == record && (r == RECORD_E_BROKEN || at == end));
	return 0;
}
