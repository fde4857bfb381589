/* shared.h - memory that another process writes or reads at the same time.
 *
 * Every access to it goes through these, so that each names the order it needs. Payloads
 * are copied as they are: what a writer overtakes is found out afterwards and thrown away
 * (ring.h), and until then nobody looks at it. The thread sanitizer can neither know that
 * nor does it know fences; in its build payloads are copied in atomic words, and each
 * fence has its equivalent: what stands after a release fence is stored with release,
 * what stands before an acquire fence is loaded with acquire, and a full fence is a
 * read-modify-write of one word that all share.
 *
 * tests/model has another file of this name: there each access is a step of a model.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__SANITIZE_THREAD__)
#define SHARED_IS_CHECKED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SHARED_IS_CHECKED 1
#endif
#endif

#ifdef SHARED_IS_CHECKED
#define SHARED_LOAD  __ATOMIC_ACQUIRE
#define SHARED_STORE __ATOMIC_RELEASE
#else
#define SHARED_LOAD  __ATOMIC_RELAXED
#define SHARED_STORE __ATOMIC_RELAXED
#endif

static inline uint32_t shared_get32(const uint32_t *p)
{
	return __atomic_load_n(p, SHARED_LOAD);
}

static inline uint64_t shared_get64(const uint64_t *p)
{
	return __atomic_load_n(p, SHARED_LOAD);
}

static inline void shared_set32(uint32_t *p, uint32_t value)
{
	__atomic_store_n(p, value, SHARED_STORE);
}

static inline void shared_set64(uint64_t *p, uint64_t value)
{
	__atomic_store_n(p, value, SHARED_STORE);
}

static inline uint32_t shared_acquire32(const uint32_t *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static inline uint64_t shared_acquire64(const uint64_t *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static inline void shared_release32(uint32_t *p, uint32_t value)
{
	__atomic_store_n(p, value, __ATOMIC_RELEASE);
}

static inline void shared_release64(uint64_t *p, uint64_t value)
{
	__atomic_store_n(p, value, __ATOMIC_RELEASE);
}

#ifdef SHARED_IS_CHECKED

static inline void shared_fence_release(void)
{
}

static inline void shared_fence_acquire(void)
{
}

static inline void shared_fence(void)
{
	extern uint32_t shared_fence_word; /* ring.c */

	__atomic_fetch_add(&shared_fence_word, 1, __ATOMIC_SEQ_CST);
}

/* LEN is a multiple of 8, both are aligned to it. */
static inline void shared_copy_out(void *dst, const void *shared, size_t len)
{
	uint64_t *to = dst;

	for (size_t i = 0; i < len / 8; i++)
		to[i] = shared_get64((const uint64_t *)shared + i);
}

/* SHARED is aligned to 8 and has room for LEN rounded up to it. */
static inline void shared_copy_in(void *shared, const void *src, size_t len)
{
	for (size_t at = 0; at < len; at += 8) {
		uint64_t word = 0;

		memcpy(&word, (const char *)src + at, len - at < 8 ? len - at : 8);
		shared_set64((uint64_t *)((char *)shared + at), word);
	}
}

#else

static inline void shared_fence_release(void)
{
	__atomic_thread_fence(__ATOMIC_RELEASE);
}

static inline void shared_fence_acquire(void)
{
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
}

static inline void shared_fence(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static inline void shared_copy_out(void *dst, const void *shared, size_t len)
{
	memcpy(dst, shared, len);
}

static inline void shared_copy_in(void *shared, const void *src, size_t len)
{
	memcpy(shared, src, len);
}

#endif
