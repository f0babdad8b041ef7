/*
 * mm/host.h - what the kernel must define. A missing function is a link error.
 *
 * A kernel that runs one CPU needs none of this: it writes #include <mm/host_single.h> in one .c
 * file. Besides these, libmm.a refers to memcpy, memmove, memset and memcmp, which compilers
 * expect of every freestanding environment.
 */
#ifndef MM_HOST_H
#define MM_HOST_H

#include "report.h"
#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Something is wrong, but libmm has refused it and its state is sound. Print it, count it, or
 * stop; returning goes on.
 *
 * Context  the context of the call that found it: any CPU, perhaps an interrupt, NMI if you free
 *          there; no lock of libmm is held, so calling back into libmm is allowed as far as that
 *          context may, but a report inside a report is yours to stop
 */
void mm_host_report(const struct mm_report *report);

/*
 * An invariant does not hold; going on would destroy data. Must not return: if it does, libmm
 * stops the CPU with a trap instruction.
 *
 * Context  any, locks of libmm may be held: call nothing of libmm but mm_report_format() and
 *          mm_err_name()
 */
void mm_host_panic(const struct mm_report *report);

/*
 * Run `serve(request)` on each CPU of `cpus` and return when all have finished. Only CPUs that
 * called mm_cpu_init() are named. One that has called mm_cpu_exit() since may still be: wait for it
 * only while it answers (see there). The set may name the CPU that makes the call, if the thread was
 * moved meanwhile: run serve there too. Usually: store the pointers, send an inter-processor
 * interrupt, wait for the acknowledgements. Several CPUs may be in here at once: while waiting,
 * serve what others ask of you.
 *
 * serve takes no lock, calls no hook but mm_host_cpu(), and may run in any context, NMI included.
 * What the caller stored before must be seen by serve (release/acquire, or the interrupt itself).
 *
 * Context  thread, interrupts on, no lock of libmm held (see the calls that "may wait")
 * Cost     yours; libmm calls it once per batch, and not at all if no other CPU is concerned
 */
void mm_host_shootdown(const struct mm_cpuset *cpus, void (*serve)(const void *request),
                       const void *request);

/*
 * Run `fn(arg)` once on `cpu`, which may be the caller's own, and return when it has finished. The
 * PMM asks so for the frames that other CPUs have in stock: MM_FRAME_TRY_HARD, mm_pmm_drain() with
 * MM_DRAIN_WAIT, mm_pmm_retire(). Usually an inter-processor interrupt whose handler calls fn.
 * Several CPUs may be in here at once, and may want each other: serve what others ask of you while
 * waiting. What the caller stored before must be seen by fn, and the reverse afterwards.
 *
 * fn takes locks of libmm with interrupts off, and may report. It waits for no CPU, and it must run
 * on `cpu` itself: in an interrupt handler or a thread that stays there, not in NMI.
 *
 * Returns  MM_OK | MM_ERR_HOST (no such CPU, or it does not answer): those frames then stay where
 *          they are, and the call that wanted them may fail
 * Context  thread, interrupts on, no lock of libmm held
 * Cost     yours; once for each CPU that uses the PMM, is not parked and has not answered by itself
 */
MM_NODISCARD enum mm_err mm_host_run_on(unsigned cpu, void (*fn)(void *arg), void *arg);

/*
 * The index of this CPU: 0 to cpu_count - 1, dense, the same for the life of the kernel. It must
 * work before the first call on a PMM, space, arena or heap. Called in any context, NMI included;
 * with interrupts off, or where the PMM's pin (enum mm_pin) lets the thread stay or does not mind.
 * Costs every operation, so make it short (one gs-relative load), or inline it into the archive:
 * MM_CPU_HEADER names a header of yours, seen by libmm's sources. With MM_HOST_PREEMPT it has
 * mm_host_preempt_off() and mm_host_preempt_on() as well, for MM_PIN_PREEMPT.
 */
#ifndef MM_CPU_HEADER
unsigned mm_host_cpu(void);
#endif

#ifdef __cplusplus
}
#endif

#endif
