/*
 * power.h - how the kernel ends.
 */
#ifndef POWER_H
#define POWER_H

#include <stdbool.h>

/* Ends the run. QEMU with isa-debug-exit leaves with 33 if `passed`, else with 35. */
_Noreturn void power_exit(bool passed);

/* Prints "panic: ..." and ends the run; QEMU leaves with 37. */
_Noreturn void panic(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
