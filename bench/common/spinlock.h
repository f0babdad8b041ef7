/*
 * spinlock.h - the lock of the baselines: test, then test-and-set; pause while it is taken.
 *
 * It is their guard against other CPUs, as the state byte and its request check are libmm's.
 * Neither side switches interrupts off: a process cannot, and a kernel pays it on both sides alike.
 */
#ifndef BENCH_COMMON_SPINLOCK_H
#define BENCH_COMMON_SPINLOCK_H

#include <stdint.h>

struct spinlock {
    uint32_t taken;
    uint32_t unused[15]; /* a cache line of its own */
};

static inline void spinlock_take(struct spinlock *lock)
{
    while (__atomic_load_n(&lock->taken, __ATOMIC_RELAXED) != 0 ||
           __atomic_exchange_n(&lock->taken, 1, __ATOMIC_ACQUIRE) != 0)
        __builtin_ia32_pause();
}

static inline void spinlock_release(struct spinlock *lock)
{
    __atomic_store_n(&lock->taken, 0, __ATOMIC_RELEASE);
}

#endif
