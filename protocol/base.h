/* base.h - the few macros every file may use. */
#pragma once

#include <stddef.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#define container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

/* Take a pointer out of a variable and leave NULL there: ownership moves on. */
#define TAKE(pointer)                                                                              \
	({                                                                                         \
		typeof(pointer) *take_from = &(pointer);                                           \
		typeof(pointer) take_value = *take_from;                                           \
		*take_from = NULL;                                                                 \
		take_value;                                                                        \
	})

#define _cleanup_(function)     __attribute__((__cleanup__(function)))
#define _printf_(format, first) __attribute__((__format__(__printf__, format, first)))

/* Arguments are evaluated twice. */
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
