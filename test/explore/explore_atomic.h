/*
 * explore_atomic.h - mm_atomic.h's functions as steps of the explorer.
 *
 * Problem     The real code must run under the explorer unchanged.
 * Idea        The same names; each call is one step with an address, a value and an order.
 * Invariants  None.
 * Locking     None.
 * Cost        A function call, and a switch of threads.
 * Rejected    Intercepting the compiler's own atomics: the orders of a library for threads are not
 *             passed on by all compilers.
 */
#ifndef EXPLORE_ATOMIC_H
#define EXPLORE_ATOMIC_H

#include "explore_port.h"

#define MM_ATOMIC_OPS(suffix, type)                                                      \
    static inline type mm_load_relaxed_##suffix(const type *p)                           \
    {                                                                                    \
        return (type)explore_load(p, sizeof(type), EXPLORE_RELAXED);                     \
    }                                                                                    \
    static inline type mm_load_acquire_##suffix(const type *p)                           \
    {                                                                                    \
        return (type)explore_load(p, sizeof(type), EXPLORE_ACQUIRE);                     \
    }                                                                                    \
    static inline void mm_store_relaxed_##suffix(type *p, type v)                        \
    {                                                                                    \
        explore_store(p, sizeof(type), v, EXPLORE_RELAXED);                              \
    }                                                                                    \
    static inline void mm_store_release_##suffix(type *p, type v)                        \
    {                                                                                    \
        explore_store(p, sizeof(type), v, EXPLORE_RELEASE);                              \
    }                                                                                    \
    static inline type mm_exchange_acq_rel_##suffix(type *p, type v)                     \
    {                                                                                    \
        return (type)explore_rmw(p, sizeof(type), EXPLORE_EXCHANGE, v, EXPLORE_ACQ_REL); \
    }                                                                                    \
    /* Weaker than mm_atomic.h has it: for mutants only. */                              \
    static inline type mm_exchange_relaxed_##suffix(type *p, type v)                     \
    {                                                                                    \
        return (type)explore_rmw(p, sizeof(type), EXPLORE_EXCHANGE, v, EXPLORE_RELAXED); \
    }                                                                                    \
    static inline bool explore_compare_swap_##suffix(type *p, type *expected, type v,    \
                                                     enum explore_order order)           \
    {                                                                                    \
        uint64_t old = *expected;                                                        \
        bool done = explore_compare_swap(p, sizeof(type), &old, v, order);               \
                                                                                         \
        *expected = (type)old;                                                           \
        return done;                                                                     \
    }                                                                                    \
    static inline bool mm_compare_swap_acq_rel_##suffix(type *p, type *expected, type v) \
    {                                                                                    \
        return explore_compare_swap_##suffix(p, expected, v, EXPLORE_ACQ_REL);           \
    }                                                                                    \
    static inline bool mm_compare_swap_acquire_##suffix(type *p, type *expected, type v) \
    {                                                                                    \
        return explore_compare_swap_##suffix(p, expected, v, EXPLORE_ACQUIRE);           \
    }                                                                                    \
    static inline bool mm_compare_swap_relaxed_##suffix(type *p, type *expected, type v) \
    {                                                                                    \
        return explore_compare_swap_##suffix(p, expected, v, EXPLORE_RELAXED);           \
    }                                                                                    \
    static inline type mm_fetch_add_relaxed_##suffix(type *p, type v)                    \
    {                                                                                    \
        return (type)explore_rmw(p, sizeof(type), EXPLORE_ADD, v, EXPLORE_RELAXED);      \
    }                                                                                    \
    static inline type mm_fetch_add_release_##suffix(type *p, type v)                    \
    {                                                                                    \
        return (type)explore_rmw(p, sizeof(type), EXPLORE_ADD, v, EXPLORE_RELEASE);      \
    }                                                                                    \
    static inline type mm_fetch_add_acq_rel_##suffix(type *p, type v)                    \
    {                                                                                    \
        return (type)explore_rmw(p, sizeof(type), EXPLORE_ADD, v, EXPLORE_ACQ_REL);      \
    }                                                                                    \
    static inline type mm_fetch_or_acq_rel_##suffix(type *p, type v)                     \
    {                                                                                    \
        return (type)explore_rmw(p, sizeof(type), EXPLORE_OR, v, EXPLORE_ACQ_REL);       \
    }                                                                                    \
    static inline type mm_fetch_and_acq_rel_##suffix(type *p, type v)                    \
    {                                                                                    \
        return (type)explore_rmw(p, sizeof(type), EXPLORE_AND, v, EXPLORE_ACQ_REL);      \
    }

MM_ATOMIC_OPS(u8, uint8_t)
MM_ATOMIC_OPS(u16, uint16_t)
MM_ATOMIC_OPS(u32, uint32_t)
MM_ATOMIC_OPS(u64, uint64_t)

static inline void mm_fence_full(void)
{
    explore_fence();
}

/* Two steps, as where it is two instructions. An exchange as on x86_64, because it goes on with a release
 * that this CPU stored there before; in C11 a relaxed store does so too (5.1.2.4, 10), here it does not:
 * C++20 has given that up. */
static inline void mm_store_fence_u64(uint64_t *p, uint64_t v)
{
    (void)mm_exchange_relaxed_u64(p, v);
    mm_fence_full();
}

static inline uint64_t mm_fetch_add_fence_u64(uint64_t *p, uint64_t v)
{
    uint64_t before = (uint64_t)explore_rmw(p, sizeof *p, EXPLORE_ADD, v, EXPLORE_ACQ_REL);

    mm_fence_full();
    return before;
}

/* A CPU sees its own steps in their order: nothing to model. */
static inline void mm_fence_signal(void)
{
}

#define MM_RACE_READ(pointer, bytes)  explore_plain((pointer), (bytes), false)
#define MM_RACE_WRITE(pointer, bytes) explore_plain((pointer), (bytes), true)

#endif
