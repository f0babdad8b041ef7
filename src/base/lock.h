/*
 * lock.h - the lock of libmm: a ticket lock that keeps interrupts off.
 *
 * Problem     An interrupt that allocates while the code under it holds the allocator's lock hangs
 *             the machine; so does a lock taken twice by one CPU, silently.
 * Idea        Take = interrupts off, then a ticket; release = next ticket, then interrupts as they
 *             were. The holder's CPU is noted, so that taking a lock again on the same CPU is an
 *             assertion with the lock's address instead of a hang.
 * Invariants  I1 while a lock is held its CPU's interrupts are off
 *             I2 owner is the holder's CPU index + 1, or 0
 * Locking     Ranks and order: docs/locking.md. No host hook is called while a lock is held, except
 *             panic.
 * Cost        One locked add, about 10 ns with interrupts off and on; fair between CPUs.
 * Rejected    Test-and-set: unfair. Leaving interrupts to the caller: the commonest deadlock of
 *             all.
 */
#ifndef MM_BASE_LOCK_H
#define MM_BASE_LOCK_H

#include "assert.h"
#include "mm/types.h"
#include "mm_atomic.h"
#include "mm_cpu.h"

/* What unlocking restores. */
typedef struct {
    mm_guard_t interrupts;
} mm_lock_guard_t;

static inline mm_lock_guard_t mm_lock_take(struct mm_lock *lock)
{
    mm_lock_guard_t guard = {mm_cpu_guard()};
    uint32_t self = mm_cpu_index() + 1;
    uint32_t ticket;

    MM_ASSERT2(mm_load_relaxed_u32(&lock->owner) != self, (uintptr_t)lock, self - 1);
    ticket = mm_fetch_add_relaxed_u32(&lock->ticket, 1);
    while (mm_load_acquire_u32(&lock->serving) != ticket) /* pairs with mm_lock_release() */
        mm_cpu_relax();
    mm_store_relaxed_u32(&lock->owner, self);
    return guard;
}

/* Take it if that needs no waiting: for NMI, which may have interrupted the holder. */
static inline bool mm_lock_try(struct mm_lock *lock, mm_lock_guard_t *out)
{
    mm_lock_guard_t guard = {mm_cpu_guard()};
    uint32_t serving = mm_load_acquire_u32(&lock->serving); /* pairs with mm_lock_release() */

    if (!mm_compare_swap_acq_rel_u32(&lock->ticket, &serving, serving + 1)) {
        mm_cpu_unguard(guard.interrupts);
        return false;
    }
    mm_store_relaxed_u32(&lock->owner, mm_cpu_index() + 1);
    *out = guard;
    return true;
}

static inline void mm_lock_release(struct mm_lock *lock, mm_lock_guard_t guard)
{
    uint32_t next = mm_load_relaxed_u32(&lock->serving) + 1;

    mm_store_relaxed_u32(&lock->owner, 0);
    mm_store_release_u32(&lock->serving, next); /* pairs with mm_lock_take() */
    mm_cpu_unguard(guard.interrupts);
}

static inline bool mm_lock_is_mine(const struct mm_lock *lock)
{
    return mm_load_relaxed_u32(&lock->owner) == mm_cpu_index() + 1;
}

/* First line of every function that needs the lock held. */
#define MM_ASSERT_LOCKED(lock) MM_ASSERT_DEBUG(mm_lock_is_mine(lock))

#endif
