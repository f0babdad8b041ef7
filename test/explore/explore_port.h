/*
 * explore_port.h - what the explorer's headers call: atomics, interrupt flag, waiting.
 *
 * Scenarios use explore.h. Everything here acts at once outside of an execution (set_up, check).
 */
#ifndef EXPLORE_PORT_H
#define EXPLORE_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum explore_order {
    EXPLORE_RELAXED = 0,
    EXPLORE_ACQUIRE = 1,
    EXPLORE_RELEASE = 2,
    EXPLORE_ACQ_REL = 3
};

uint64_t explore_load(const void *p, unsigned bytes, enum explore_order order);
void explore_store(void *p, unsigned bytes, uint64_t value, enum explore_order order);

/* A read-modify-write; returns the value before. */
enum explore_rmw {
    EXPLORE_EXCHANGE,
    EXPLORE_ADD,
    EXPLORE_OR,
    EXPLORE_AND
};
uint64_t explore_rmw(void *p, unsigned bytes, enum explore_rmw what, uint64_t operand,
                     enum explore_order order);

/* `order` when it succeeds; acquire or relaxed accordingly when it fails. */
bool explore_compare_swap(void *p, unsigned bytes, uint64_t *expected, uint64_t value,
                          enum explore_order order);
void explore_fence(void);

/* The interrupt flag of this CPU; guard returns how it was. */
bool explore_guard(void);
void explore_unguard(bool on);
bool explore_interrupts_on(void);

/* Nothing will change until another CPU writes one of the locations read since the last call. */
void explore_relax(void);

unsigned explore_cpu(void);
void explore_preempt_off(void);
void explore_preempt_on(void);
void explore_plain(const void *start, size_t bytes, bool write);

#endif
