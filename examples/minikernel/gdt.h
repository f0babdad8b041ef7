/*
 * gdt.h - segments and the stack for faults that cannot trust the current one.
 */
#ifndef GDT_H
#define GDT_H

#define SELECTOR_CODE 0x08
#define SELECTOR_DATA 0x10
#define SELECTOR_TSS  0x18

#define IST_FAULT 1 /* interrupt stack of NMI, double fault and machine check */

/* Loads the kernel's own table in place of boot.S's, which lies in the low half. */
void gdt_init(void);

#endif
