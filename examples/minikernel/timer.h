/*
 * timer.h - a tick 1000 times a second, for interrupting and for giving up.
 */
#ifndef TIMER_H
#define TIMER_H

#include <stdint.h>

#define TIMER_HZ 1000u

/* Starts the ticks; the caller turns interrupts on. */
void timer_start(void);

/* Ticks since timer_start(). */
uint64_t timer_ticks(void);

/* Called in each tick with interrupts off; NULL for none. */
typedef void timer_hook(void);
void timer_set_hook(timer_hook *hook);

/* After `seconds` of ticks from now the kernel panics: a hang with interrupts on ends by itself.
 * 0 = no such limit. */
void timer_watchdog(unsigned seconds);

#endif
