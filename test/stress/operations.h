/*
 * operations.h - what the operations of a thread share, and their names.
 */
#ifndef STRESS_OPERATIONS_H
#define STRESS_OPERATIONS_H

#include "stress.h"

#define BULK_MAX 200u

/* Only the thread itself stores. */
static inline void count(uint64_t *counter, uint64_t n)
{
    RELAXED_STORE(counter, RELAXED_LOAD(counter) + n);
}

/* ---- instant.c ---- */

struct instant {
    struct moved moved;
    struct changes changes;
    struct attendance attendance;
};
struct instant instant_now(void);

/* No memory joined or was retired between the two, nor was just about to. */
bool memory_was_constant(const struct instant *a, const struct instant *b);

/* All CPUs took calls all the time. */
bool all_answered(const struct attendance *a, const struct attendance *b);

/* The most that callers had at any instant between, and the least. */
uint64_t held_most(const struct instant *a, const struct instant *b);
uint64_t held_least(const struct instant *a, const struct instant *b);

/* ---- give.c ---- */

/* Any of those held; it must be put back, given or mailed. */
bool pick(struct worker *worker, struct held *out);
void put_back(struct worker *worker, const struct held *held);
void give(struct worker *worker, const struct held *held);
void tag_verify(const struct held *held);

void op_free(struct worker *worker);
void op_free_no_wait(struct worker *worker);
void op_free_bulk(struct worker *worker);
void op_send(struct worker *worker);
void op_receive(struct worker *worker);

/* ---- take.c ---- */

/* A call did not do what it was asked for; only for the reasons that there may be. */
void refused(struct worker *worker, enum mm_err err);

void op_alloc(struct worker *worker);
void op_alloc_zeroed(struct worker *worker);
void op_alloc_block(struct worker *worker);
void op_alloc_run(struct worker *worker);
void op_alloc_limited(struct worker *worker);
void op_alloc_hard(struct worker *worker);
void op_alloc_bulk(struct worker *worker);

/* ---- upkeep.c ---- */

void op_drain(struct worker *worker);
void op_drain_wait(struct worker *worker);
void op_park(struct worker *worker);
void op_nap(struct worker *worker);
void op_serve(struct worker *worker);
void op_zero_ahead(struct worker *worker);
void op_tag(struct worker *worker);
void op_retire(struct worker *worker);
void op_add(struct worker *worker);
void op_watermark(struct worker *worker);
void op_stats(struct worker *worker);
void op_blocks(struct worker *worker);

#endif
