/* hostile.h - a broker that means harm, in the process of its victim.
 *
 * The other end of every connection of libchat is here, and so are the clock and all that
 * the library could wait for: whenever it waits, the script goes on. One input is one order
 * of events, whatever the machine does meanwhile. Linked with the --wrap options that
 * tests/fuzz/meson.build names.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/text.h"

struct script {
	const uint8_t *at, *end;
};

unsigned script_byte(struct script *script);

/* Up to the next NUL, which is taken, too; terminated in DST of SIZE bytes. */
struct text script_text(struct script *script, char *dst, size_t size);

/* Begin with SCRIPT, which the victim's steps are taken from as well. */
void hostile_init(struct script *script);
void hostile_deinit(void);

/* Is the next step of the script one of the broker's? Then take it. */
bool hostile_step(void);

/* Nanoseconds that the clock went on since hostile_init(). */
uint64_t hostile_now(void);

/* Let the clock go on. */
void hostile_add_time(uint64_t ns);
