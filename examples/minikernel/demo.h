/*
 * demo.h - the classic first steps of a kernel with memory management.
 */
#ifndef DEMO_H
#define DEMO_H

#include <stdbool.h>

/* Takes a frame, maps it, uses it, uses the heap, gives all back; says what it sees. Returns
 * whether everything was as it should be. */
bool demo_run(void);

/* Writes to a page that is mapped read-only, to show the report of a page fault. Does not return. */
_Noreturn void demo_fault(void);

#endif
