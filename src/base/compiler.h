/*
 * compiler.h - where functions go.
 *
 * Problem     The compiler does not know which calls are rare, nor that a function with a level as
 *             its parameter is meant to be made anew for each level.
 * Idea        Words before a function.
 * Invariants  None changes what a program does.
 * Locking     None.
 * Cost        MM_COLD: a few more instructions when it is called.
 * Rejected    Profiles: users compile libmm with their own compilers.
 */
#ifndef MM_BASE_COMPILER_H
#define MM_BASE_COMPILER_H

/* Rarely called: out of the way of the others, and for size. */
#define MM_COLD __attribute__((noinline, cold))

/* Never a part of its caller: a loop that wants all registers. */
#define MM_APART __attribute__((noinline))

/* A part of its callers, whatever its size. */
#define MM_INLINE static inline __attribute__((always_inline))

#endif
