/*
 * mm_atomic.h - the only atomic operations in libmm.
 *
 * Problem     Atomics must be swappable: the compiler's for use, an explorer's that runs every
 *             interleaving, plain loads and stores for provers that know no atomics.
 * Idea        Functions named by operation and order over plain integers. This file is the C11
 *             backend: the compiler's __atomic builtins have exactly the C11 memory model. Another
 *             backend is another header of the same names, chosen by MM_ATOMIC_HEADER.
 * Invariants  An object that is accessed here is accessed nowhere else, except before it is shared.
 * Locking     None.
 * Cost        x86_64: loads and stores are plain; exchange, add and compare are locked (about 20
 *             plain stores each).
 * Rejected    _Atomic in structs: public headers must compile as C++17, and provers refuse it.
 */
#ifndef MM_BASE_ATOMIC_H
#define MM_BASE_ATOMIC_H

#include <stdbool.h>
#include <stdint.h>

#ifdef MM_ATOMIC_HEADER
#include MM_ATOMIC_HEADER
#else

#define MM_ATOMIC_OPS(suffix, type)                                                      \
    static inline type mm_load_relaxed_##suffix(const type *p)                           \
    {                                                                                    \
        return __atomic_load_n(p, __ATOMIC_RELAXED);                                     \
    }                                                                                    \
    static inline type mm_load_acquire_##suffix(const type *p)                           \
    {                                                                                    \
        return __atomic_load_n(p, __ATOMIC_ACQUIRE);                                     \
    }                                                                                    \
    static inline void mm_store_relaxed_##suffix(type *p, type v)                        \
    {                                                                                    \
        __atomic_store_n(p, v, __ATOMIC_RELAXED);                                        \
    }                                                                                    \
    static inline void mm_store_release_##suffix(type *p, type v)                        \
    {                                                                                    \
        __atomic_store_n(p, v, __ATOMIC_RELEASE);                                        \
    }                                                                                    \
    /* The next three return the value before. */                                        \
    static inline type mm_exchange_acq_rel_##suffix(type *p, type v)                     \
    {                                                                                    \
        return __atomic_exchange_n(p, v, __ATOMIC_ACQ_REL);                              \
    }                                                                                    \
    static inline bool mm_compare_swap_acq_rel_##suffix(type *p, type *expected, type v) \
    {                                                                                    \
        return __atomic_compare_exchange_n(p, expected, v, false, __ATOMIC_ACQ_REL,      \
                                           __ATOMIC_ACQUIRE);                            \
    }

MM_ATOMIC_OPS(u8, uint8_t)
MM_ATOMIC_OPS(u16, uint16_t)
MM_ATOMIC_OPS(u32, uint32_t)
MM_ATOMIC_OPS(u64, uint64_t)

static inline uint32_t mm_fetch_add_relaxed_u32(uint32_t *p, uint32_t v)
{
    return __atomic_fetch_add(p, v, __ATOMIC_RELAXED);
}

static inline uint64_t mm_fetch_add_relaxed_u64(uint64_t *p, uint64_t v)
{
    return __atomic_fetch_add(p, v, __ATOMIC_RELAXED);
}

/* Publishes earlier stores of this CPU to whoever reads the sum by an acquiring load. */
static inline uint32_t mm_fetch_add_release_u32(uint32_t *p, uint32_t v)
{
    return __atomic_fetch_add(p, v, __ATOMIC_RELEASE);
}

static inline uint64_t mm_fetch_add_release_u64(uint64_t *p, uint64_t v)
{
    return __atomic_fetch_add(p, v, __ATOMIC_RELEASE);
}

static inline uint64_t mm_fetch_or_acq_rel_u64(uint64_t *p, uint64_t v)
{
    return __atomic_fetch_or(p, v, __ATOMIC_ACQ_REL);
}

static inline uint64_t mm_fetch_and_acq_rel_u64(uint64_t *p, uint64_t v)
{
    return __atomic_fetch_and(p, v, __ATOMIC_ACQ_REL);
}

/* Orders all earlier accesses of this CPU before all later ones, for every other CPU. */
static inline void mm_fence_full(void)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* Store `v`, then a full fence. */
static inline void mm_store_fence_u64(uint64_t *p, uint64_t v)
{
#if defined(__x86_64__)
    (void)__atomic_exchange_n(p, v, __ATOMIC_SEQ_CST); /* a locked instruction is both */
#else
    __atomic_store_n(p, v, __ATOMIC_RELEASE); /* whoever reads it has seen what was done before */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

/* Add `v`, with a full fence before later accesses; earlier ones come before both. Returns the value
 * before. */
static inline uint64_t mm_fetch_add_fence_u64(uint64_t *p, uint64_t v)
{
    uint64_t before = __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST);

#if !defined(__x86_64__) /* there, a locked instruction is both */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
    return before;
}

/* Orders accesses of this CPU as its own interrupt handlers see them: no instruction, but the
 * compiler moves nothing across. */
static inline void mm_fence_signal(void)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* Plain accesses to what several CPUs use in turn; an explorer checks that they never race. */
#define MM_RACE_READ(pointer, bytes)  ((void)0)
#define MM_RACE_WRITE(pointer, bytes) ((void)0)

#endif

#endif
