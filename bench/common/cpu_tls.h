/*
 * cpu_tls.h - MM_CPU_HEADER of the bench: the index of the CPU that a thread stands for.
 *
 * One load relative to fs, as a kernel's per-CPU load relative to gs.
 */
#ifndef BENCH_COMMON_CPU_TLS_H
#define BENCH_COMMON_CPU_TLS_H

extern _Thread_local unsigned bench_cpu __attribute__((tls_model("initial-exec")));

static inline unsigned mm_host_cpu(void)
{
    return bench_cpu;
}

#endif
