/* harness.h - what the works share: clocks, processes that wait for each other, and
 * the window of undelivered messages, which is the same for every broker and outside
 * it.
 *
 * A work is one measurement, main.c has the table of them. It prints "METRIC VALUE"
 * lines; on any error the process ends with a message.
 */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "protocol/base.h"

#define NS_PER_S  UINT64_C(1000000000)
#define NS_PER_MS UINT64_C(1000000)

#define WARM_NS (300 * NS_PER_MS) /* before a window is measured */
#define RUN_NS  NS_PER_S          /* measured */

#define BODY_MAX 64000

/* What is measured, from the command line. */
extern const char *harness_address;
extern pid_t harness_broker;
extern char harness_body[BODY_MAX];

_printf_(1, 2) __attribute__((noreturn)) void die(const char *format, ...);

/* ARGUMENT as a number from MIN to MAX, or the end. */
uint64_t number_of(const char *argument, uint64_t min, uint64_t max);

uint64_t now_ns(void);

/* Processor time that PID has used, all its threads. */
double cpu_s(pid_t pid);

/* Sort N values; value P (0 to 1) of the way through them, in microseconds. */
void sort_ns(uint64_t *values, size_t n);
double percentile_us(const uint64_t *sorted, size_t n, double p);

/* ---- memory that all processes of a work share ---- */

void *share(size_t size);

/* Words to wait for, see futex(2): wait until *WORD is at least WANTED. */
void word_raise(_Atomic uint32_t *word);
void word_await(_Atomic uint32_t *word, uint32_t wanted);

/* Let N milliseconds pass. */
void pass_ms(unsigned n);

/* Run a process that ends with this one, and this one with it. */
pid_t spawn(void (*run)(int number), int number);
void end(pid_t pid);

/* Run on one processor only: number N, from 0, of those that this process may use. */
void pin(unsigned n);

/* ---- the window ---- */

/* At most SIZE messages are on their way; whoever publishes takes credits for some,
 * whoever receives gives them back. */
struct window {
	uint64_t size;
	_Alignas(128) _Atomic uint64_t sent;     /* credits taken */
	_Alignas(128) _Atomic uint64_t received; /* by every subscriber, on average */
	_Alignas(128) _Atomic uint32_t wake;     /* futex: credits came back */
	_Atomic uint32_t waiters;
	_Atomic uint32_t is_over; /* no more credits */
};

/* Credits for 1 to CHUNK messages, when there are some; 0 when it is over. */
uint64_t window_take(struct window *window, uint64_t chunk);
void window_give(struct window *window, uint64_t received);
void window_close(struct window *window);
