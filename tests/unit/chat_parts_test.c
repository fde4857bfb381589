/* chat_parts_test.c - the parts of libchat: messages, outbox, publishers seen, origin. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/message.h"
#include "client/origin.h"
#include "client/outbox.h"
#include "client/seen.h"
#include "protocol/base.h"
#include "protocol/record.h"

static void test_outbox(void **state)
{
	struct outbox outbox = { 0 };
	struct text slice;
	char body[60000];
	uint64_t id = 0;
	int r, n = 0;

	memset(body, 'x', sizeof body);
	while ((r = outbox_say(&outbox, TEXT("a"), ++id, body, sizeof body)) != OUTBOX_E_FULL) {
		/* a barrier of its own accord behind so many bytes */
		assert_int_equal(r, ++n % 3 ? 0 : OUTBOX_E_MARKED);
		assert_int_equal(outbox.n_barriers, n / 3);
	}
	assert_int_equal(n, 17);
	for (uint64_t i = 1; i <= 300; i++) { /* the buffer is used again and again */
		slice = outbox_slice(&outbox);
		assert_in_range(slice.len, 60000, BATCH_LEN_MAX);
		outbox_advance(&outbox, slice.len);
		if (i % 3)
			continue;
		outbox_acknowledge(&outbox, i / 3);
		for (int k = 0; k < 3; k++)
			assert_true(outbox_say(&outbox, TEXT("a"), ++id, body, sizeof body) !=
				    OUTBOX_E_FULL);
	}
	assert_true(outbox.size <= 4 * OUTBOX_LEN_MAX);
	slice = outbox_slice(&outbox);
	outbox_acknowledge(&outbox, 1); /* once more, and one never given */
	outbox_acknowledge(&outbox, 12345);
	assert_int_equal(outbox_slice(&outbox).len, slice.len);
	assert_int_equal(outbox_mark(&outbox), 0);
	while ((slice = outbox_slice(&outbox)).len > 0)
		outbox_advance(&outbox, slice.len);
	outbox_acknowledge(&outbox, outbox.n_barriers);
	assert_true(outbox_is_empty(&outbox));
	assert_int_equal(outbox_mark(&outbox), 0);
	assert_true(outbox_is_empty(&outbox)); /* nothing to mark */
	outbox_deinit(&outbox);
}

static void test_seen(void **state)
{
	struct seen seen = { 0 };

	assert_false(seen_has(&seen, 1, 1, 1));
	for (uint64_t label = 0; label < 2 * PUBLISHERS_MAX; label++) {
		seen_add(&seen, 1, label, 10);
		seen_add(&seen, 1, 0, label); /* always recent: never forgotten */
	}
	assert_true(seen_has(&seen, 1, 0, 2 * PUBLISHERS_MAX - 1));
	assert_false(seen_has(&seen, 1, 0, 2 * PUBLISHERS_MAX));
	assert_true(seen_has(&seen, 1, 2 * PUBLISHERS_MAX - 1, 10));
	assert_false(seen_has(&seen, 2, 2 * PUBLISHERS_MAX - 1, 10));
	assert_int_equal(seen.size, PUBLISHERS_MAX);
	seen_add(&seen, 1, 0, 3); /* lower: nothing changes */
	assert_true(seen_has(&seen, 1, 0, 2 * PUBLISHERS_MAX - 1));
	seen_deinit(&seen);
}

/* What is remembered of the last message changes nothing about the next one. */
static void test_message_memo(void **state)
{
	static const char *const lines[] = {
		"MSG a 1 1234567890123456789 bob 7 p=0123456789abcdef:5\nx",
		"MSG a 2 1234567890123456789 bob 7 p=0123456789abcdef:6\ny",
		"MSG a 2 1234567890123456789 bob 7 p=0123456789abcdef:6 q\ny",
		"MSG a 2 1234567890123456789 bob 7 p=0123456789abcdef:6 p=1:7\ny",
		"MSG a 2 1234567890123456789 bob 7 p=0123456789abcdef:6 path=x:7\ny",
		"MSG a 3 1234567890123456790 bob 7 p=0123456789abcdef:\ny",
		"MSG a 3 1234567890123456790 bob 7 p=0123456789abcdef:6x\ny",
		"MSG a 3 1234567890123456790 bob 7 p=0123456789abcdee:7\ny",
		"MSG a 4 1234567890123456790 bo 7 p=0123456789abcdee:7\n",
		"MSG a 4 1234567890123456790 bobb 7 p=0123456789abcdee:7\n",
		"MSG a 4 1234567890123456790 bob 8 p=0123456789abcdee:7\n",
		"MSG a 4 1234567890123456790 bob 8 of=robert p=0123456789abcdee:7\n",
		"MSG a 4 1234567890123456790 bob 8 of=robert p=0123456789abcdee:8\n",
		"MSG a 4 1234567890123456790 bob 8 of=robert\np=0123456789abcdee:8\n",
		"MSG a 4 1234567890123456790 bob 8\n",
		/* what would come next, and what nearly would */
		"MSG a 9 1234567890123456790 bob 8 of=robert p=0123456789abcdee:8\nz",
		"MSG a 10 1234567890123456790 bob 8 of=robert p=0123456789abcdee:9\nz",
		"MSG a 11 1234567890123456790 bob 8 of=robert p=0123456789abcdee:10\nz",
		"MSG a 11 1234567890123456790 bob 8 of=robert p=0123456789abcdee:0010\nz",
		"MSG a 12 1234567890123456790 bob 8 of=robert p=0123456789abcdee:0011\nz",
		"MSG a 12 1234567890123456790 bob 8 p=1:5 p=0123456789abcdeg:7\nz",
		"MSG a 13 1234567890123456790 bob 8 p=1:6 p=0123456789abcdeg:8\nz",
		"MSG a 5 1234567890123456790 bob 8 p=0123456789abcdee:9999999999999999999\nz",
		"MSG a 6 1234567890123456790 bob 8 p=0123456789abcdee:10000000000000000000\nz",
		"MSG a 6 1234567890123456790 bob 8 p=0123456789abcdee:18446744073709551615\nz",
		"MSG a 7 1234567890123456790 bob 8 p=0123456789abcdee:18446744073709551616\nz",
		"MSG a 8 1234567890123456790 bob 8 p=0123456789abcdee:99\nz",
		"MSG a 9 1234567890123456790 bob 8 p=0123456789abcdee:00\nz",
	};

	for (size_t i = 0; i < ARRAY_LEN(lines) * ARRAY_LEN(lines); i++) {
		struct message_memo memo = { 0 }, none = { 0 };
		struct message message, wanted;
		struct text before = text_of(lines[i / ARRAY_LEN(lines)]);
		struct text line = text_of(lines[i % ARRAY_LEN(lines)]);

		assert_int_equal(message_parse(&message, before, &memo), 0);
		assert_int_equal(message_parse(&message, line, &memo), 0);
		assert_int_equal(message_parse(&wanted, line, &none), 0);
		assert_int_equal(message.seq, wanted.seq);
		assert_int_equal(message.time, wanted.time);
		assert_int_equal(message.uid, wanted.uid);
		assert_true(text_equal(message.name, wanted.name));
		assert_true(text_equal(message.of, wanted.of));
		assert_true(text_equal(message.body, wanted.body));
		assert_int_equal(message.has_publisher, wanted.has_publisher);
		if (wanted.has_publisher) {
			assert_int_equal(message.label, wanted.label);
			assert_int_equal(message.n, wanted.n);
		}
	}
}

/* A run of one publisher, in which nothing but the two numbers changes. */
static void test_message_run(void **state)
{
	struct message_memo memo = { 0 };
	struct message message;
	char line[128];

	for (unsigned i = 1; i < 1200; i++) {
		snprintf(line, sizeof line,
			"MSG a %u 1234567890123456790 bob 8 of=robert p=0123456789abcdee:%u\n%u", i,
			i + 95, i);
		assert_int_equal(message_parse(&message, text_of(line), &memo), 0);
		assert_int_equal(message.seq, i);
		assert_int_equal(message.n, i + 95);
		assert_int_equal(message.label, 0x0123456789abcdee);
		assert_int_equal(message.uid, 8);
		assert_true(text_equal(message.target, TEXT("a")));
		assert_true(text_equal(message.name, TEXT("bob")));
		assert_true(text_equal(message.of, TEXT("robert")));
		assert_true(text_equal(message.body, text_of(strchr(line, '\n') + 1)));
	}
}

static void test_message(void **state)
{
	static const char frame[] = "MSG @a+b 12 345 bob 7 x=y of=robert p=0aF:99 q\nbo\ndy";
	struct message message;
	struct message_memo memo = { 0 };

	assert_true(message_is(TEXT("MSG a")));
	assert_false(message_is(TEXT("MSG ")));
	assert_int_equal(message_parse(&message, TEXT(frame), &memo), 0);
	assert_true(text_equal(message.target, TEXT("@a+b")));
	assert_int_equal(message.seq, 12);
	assert_int_equal(message.time, 345);
	assert_true(text_equal(message.name, TEXT("bob")));
	assert_true(text_equal(message.of, TEXT("robert")));
	assert_true(message.has_publisher);
	assert_int_equal(message.label, 0xaf);
	assert_int_equal(message.n, 99);
	assert_true(text_equal(message.body, TEXT("bo\ndy")));
	for (uint64_t number = 1, n = 1; n <= 19; n++) { /* digits */
		char line[128];

		snprintf(line, sizeof line, "MSG a %llu %llu b 1 p=1:%llu\n",
			(unsigned long long)number, (unsigned long long)number,
			(unsigned long long)number);
		assert_int_equal(message_parse(&message, text_of(line), &memo), 0);
		assert_true(message.seq == number && message.time == number && message.n == number);
		number = number * 10 + n % 10;
	}
	assert_int_equal(
		message_parse(&message, TEXT("MSG a 1 1 b 1 p=1:18446744073709551615\n"), &memo),
		0);
	assert_true(message.has_publisher && message.n == UINT64_MAX);
	assert_int_equal(message_parse(&message, TEXT("MSG a 1 1 b 1 p=1:1x of=c\n"), &memo), 0);
	assert_false(message.has_publisher);
	for (size_t len = 5; len < sizeof frame - 1; len++) { /* every cut, in a buffer as long */
		char *cut = malloc(len);

		assert_non_null(cut);
		memcpy(cut, frame, len);
		assert_int_equal(message_parse(&message, (struct text){ cut, len }, &memo) == 0,
			memchr(frame, '\n', len) != NULL);
		free(cut);
	}
}

/* With the page that the kernel wipes, and without it. */
static void test_origin(void **state)
{
	struct origin marked, unmarked;
	int status;
	pid_t pid;

	origin_init(&marked);
	origin_init(&unmarked);
	origin_deinit(&unmarked);
	assert_null(unmarked.mark);
	assert_true(origin_is_here(&marked) && origin_is_here(&unmarked));
	pid = fork();
	if (pid == 0)
		_exit(origin_is_here(&marked) || origin_is_here(&unmarked));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_true(origin_is_here(&marked) && origin_is_here(&unmarked));
	origin_deinit(&marked);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_outbox),
		cmocka_unit_test(test_seen),
		cmocka_unit_test(test_message),
		cmocka_unit_test(test_message_memo),
		cmocka_unit_test(test_message_run),
		cmocka_unit_test(test_origin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
