/*
 * host.h - what the bench has of a kernel: threads that stand for CPUs, and an end.
 */
#ifndef BENCH_COMMON_HOST_H
#define BENCH_COMMON_HOST_H

/* The calling thread is CPU `cpu` from now on; at first 0. */
void host_cpu_set(unsigned cpu);

/* Say what went wrong and end the program with status 1. */
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
