/* fake.h - a scripted broker for tests of libchat: a thread that speaks raw packets
 * on a socket in a private directory, and the words of the program's side.
 *
 * Nothing sleeps: both sides wait for what must come, with a deadline. A script that
 * is not followed ends the process, saying what it wanted.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>

#include "client/chat.h"
#include "protocol/base.h"
#include "protocol/limits.h"

#define DEADLINE_MS 20000
#define LOG_A       "00000000000000aa"
#define LOG_B       "00000000000000bb"

struct fake {
	char directory[64], path[96];
	int listener, fd;
	pthread_t thread;
	void (*script)(struct fake *fake);
	char packet[PACKET_LEN_MAX + 1]; /* received, being taken apart */
	const char *at, *end;
	char frame[PACKET_LEN_MAX + 1]; /* the last one, terminated */
	char tag[TAG_LEN_MAX + 1];
	char batch[PACKET_LEN_MAX]; /* being put together */
	size_t batch_len;
	char name[33]; /* the label of the client: pub= */
};

/* ---- for scripts ---- */

_Noreturn void fake_fail(const struct fake *fake, const char *wanted);

/* Accept a connection; FAKE_GREET also answers its HELLO, as alice. */
void fake_accept(struct fake *fake);
void fake_greet(struct fake *fake);

/* The next frame, out of a batch or not; false at the end of the connection. */
bool fake_next(struct fake *fake, const char *wanted);

/* It must be exactly "[#tag ]WANTED", or start so when WANTED ends in "~". */
_printf_(2, 3) void fake_expect(struct fake *fake, const char *format, ...);

/* Send one packet; words under the tag of the last frame. */
void fake_send_bytes(struct fake *fake, const void *data, size_t len);
_printf_(2, 3) void fake_send(struct fake *fake, const char *format, ...);
void fake_answer(struct fake *fake, const char *words);

/* Put a frame into the batch; full ones go out. */
_printf_(2, 3) void fake_add(struct fake *fake, const char *format, ...);
void fake_flush(struct fake *fake);

/* Expect a JOIN, and answer it. */
void fake_join(struct fake *fake, const char *request, const char *answer);

/* Close; or expect that nothing more is said until the client closes. */
void fake_hang_up(struct fake *fake);
void fake_end(struct fake *fake);

/* ---- for tests ---- */

/* Listen, and run SCRIPT in a thread, unless NULL. */
struct fake *fake_start(void (*script)(struct fake *fake));
void *fake_main(void *fake);

/* Wait for the end of the script. */
void fake_stop(struct fake *fake);

struct chat *open_chat(const struct fake *fake, bool direct, bool once);
struct chat_event receive(struct chat *chat, enum chat_type type);
void receive_message(struct chat *chat, uint64_t seq, const char *body);
void receive_gap(struct chat *chat, uint64_t from, uint64_t to, const char *reason);
void receive_nothing(struct chat *chat);
