/*
 * gdt.c - segments and the stack for faults that cannot trust the current one.
 *
 * Problem     The boot table lies at a low address that the kernel's own page tables do not map,
 *             and a double fault caused by a bad stack needs another stack.
 * Idea        Flat 64-bit code and data, and one task state segment, of which long mode uses only
 *             the stack pointers (Intel SDM vol. 3A, 8.7).
 * Invariants  Selectors equal those of boot.S, so the code segment stays valid across lgdt.
 * Locking     None: called once, before interrupts.
 * Cost        40 bytes of table, 8 KiB of stack.
 * Rejected    A far return to reload CS: the descriptor in use is the same.
 */
#include "gdt.h"

#include <stdint.h>

#define FAULT_STACK_BYTES 8192u

struct tss {
    uint32_t reserved0;
    uint64_t rsp[3];
    uint64_t reserved1;
    uint64_t ist[7];
    uint64_t reserved2;
    uint16_t reserved3;
    uint16_t io_map;
} __attribute__((packed));

struct table_pointer {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed));

_Static_assert(sizeof(struct tss) == 104, "Intel SDM vol. 3A, figure 8-11");

static _Alignas(16) uint8_t fault_stack[FAULT_STACK_BYTES];
static struct tss tss;
static uint64_t gdt[5] = {
    0, UINT64_C(0x00af9b000000ffff), /* code: long mode, present, accessed */
    UINT64_C(0x00cf93000000ffff),    /* data: writable, present, accessed */
};

/* A system descriptor takes two slots: the base is 64 bits wide. Type 9 is an available TSS. */
static void set_tss_descriptor(void)
{
    uint64_t base = (uint64_t)(uintptr_t)&tss;

    gdt[3] = (sizeof(tss) - 1) | (base & 0xffffff) << 16 | UINT64_C(0x89) << 40 |
             (base >> 24 & 0xff) << 56;
    gdt[4] = base >> 32;
}

void gdt_init(void)
{
    struct table_pointer pointer = {sizeof(gdt) - 1, (uint64_t)(uintptr_t)gdt};

    tss.ist[IST_FAULT - 1] = (uint64_t)(uintptr_t)(fault_stack + sizeof(fault_stack));
    tss.io_map = sizeof(tss); /* no I/O permission map */
    set_tss_descriptor();
    __asm__ volatile("lgdt %0" : : "m"(pointer));
    __asm__ volatile("ltr %0" : : "r"((uint16_t)SELECTOR_TSS));
}
