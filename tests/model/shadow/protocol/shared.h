/* shared.h - in place of protocol/shared.h: each access is a step of a model.
 *
 * First on the include path, it has protocol/ring.c compiled as it is against the memory
 * of memory.h. Bytes of the data are 32-bit words there: an access of 64 bits, and a copy,
 * is a sequence of them in order of their addresses, which is more than any compiler and
 * processor may do to them. Words of their own, as the horizon, are one access.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "tests/model/memory.h"

static inline uint32_t shared_get32(const uint32_t *p)
{
	return (uint32_t)model_load(p, sizeof *p, MODEL_RELAXED);
}

static inline uint64_t shared_get64(const uint64_t *p)
{
	return model_load(p, sizeof *p, MODEL_RELAXED);
}

static inline void shared_set32(uint32_t *p, uint32_t value)
{
	model_store(p, sizeof *p, value, MODEL_RELAXED);
}

static inline void shared_set64(uint64_t *p, uint64_t value)
{
	model_store(p, sizeof *p, value, MODEL_RELAXED);
}

static inline uint32_t shared_acquire32(const uint32_t *p)
{
	return (uint32_t)model_load(p, sizeof *p, MODEL_ACQUIRE);
}

static inline uint64_t shared_acquire64(const uint64_t *p)
{
	return model_load(p, sizeof *p, MODEL_ACQUIRE);
}

static inline void shared_release32(uint32_t *p, uint32_t value)
{
	model_store(p, sizeof *p, value, MODEL_RELEASE);
}

static inline void shared_release64(uint64_t *p, uint64_t value)
{
	model_store(p, sizeof *p, value, MODEL_RELEASE);
}

static inline void shared_fence_release(void)
{
	model_fence(MODEL_RELEASE);
}

static inline void shared_fence_acquire(void)
{
	model_fence(MODEL_ACQUIRE);
}

static inline void shared_fence(void)
{
	model_fence(MODEL_FULL);
}

static inline void shared_copy_out(void *dst, const void *shared, size_t len)
{
	model_copy_out(dst, shared, len);
}

static inline void shared_copy_in(void *shared, const void *src, size_t len)
{
	model_copy_in(shared, src, len);
}
