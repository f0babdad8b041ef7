/*
 * tables.h - mappings of every kind, for somebody who reads the page tables from outside.
 */
#ifndef TABLES_H
#define TABLES_H

/* Makes the mappings, changes and removes them; after each stage prints what libmm says is mapped and
 * waits for Enter. Panics if libmm refuses anything. Interrupts are on. */
void tables_run(void);

#endif
