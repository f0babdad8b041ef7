/*
 * cpus.c - the CPUs of bench_vmm: threads, and what they would have flushed.
 *
 * Problem     A process cannot interrupt a CPU, nor flush one; what an interrupt costs, some
 *             microseconds, would hide what libmm costs.
 * Idea        Flushes and interrupts are counted. What another CPU does when it is interrupted is
 *             done here and now, as that CPU: its own bookkeeping must follow, or later calls would
 *             wait for it.
 * Invariants  The thread is the CPU again that it was.
 * Locking     None: two threads may be in here for each other; what they then do as the other CPU is
 *             as little ordered as with an interrupt that comes late.
 * Cost        A function call for each CPU.
 * Rejected    Signals: they cost more than the interrupts that they would stand for.
 */
#include "cpus.h"

#include "../common/host.h"
#include "mm/host.h"

_Thread_local struct flushes bench_flushes __attribute__((tls_model("initial-exec")));

struct flushes flushes_since(const struct flushes *before)
{
    const struct flushes *now = &bench_flushes;

    return (struct flushes){
        .page = now->page - before->page,
        .full = now->full - before->full,
        .load = now->load - before->load,
        .ipi = now->ipi - before->ipi,
        .ipi_page = now->ipi_page - before->ipi_page,
        .ipi_full = now->ipi_full - before->ipi_full,
    };
}

/* What `cpu` does when it is interrupted. Its root is not known here; nobody asks for it. */
static void serve_as(unsigned cpu, void (*serve)(const void *request), const void *request)
{
    struct flushes own = bench_flushes;
    struct flushes its;
    unsigned self = mm_host_cpu();

    host_cpu_set(cpu);
    serve(request);
    host_cpu_set(self);
    its = flushes_since(&own);
    bench_flushes = own;
    bench_flushes.ipi++;
    bench_flushes.ipi_page += its.page;
    bench_flushes.ipi_full += its.full;
}

void mm_host_shootdown(const struct mm_cpuset *cpus, void (*serve)(const void *request),
                       const void *request)
{
    for (unsigned word = 0; word < MM_CPUS_MAX / 64; word++)
        for (uint64_t bits = cpus->bits[word]; bits != 0; bits &= bits - 1)
            serve_as(word * 64 + (unsigned)__builtin_ctzll(bits), serve, request);
}
