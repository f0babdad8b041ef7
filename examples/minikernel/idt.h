/*
 * idt.h - traps: the 32 exceptions of the CPU and the 16 lines of the interrupt controller.
 */
#ifndef IDT_H
#define IDT_H

#include <stdint.h>

#define VECTOR_DEBUG         1
#define VECTOR_NMI           2
#define VECTOR_BREAKPOINT    3
#define VECTOR_DOUBLE_FAULT  8
#define VECTOR_PROTECTION    13
#define VECTOR_PAGE_FAULT    14
#define VECTOR_MACHINE_CHECK 18
#define VECTOR_IRQ           32 /* the controller's line 0 */
#define VECTORS              48

/* What trap.S and the CPU have pushed, lowest address first. */
struct trap_frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8;
    uint64_t rdi, rsi, rbp, rbx, rdx, rcx, rax;
    uint64_t vector;
    uint64_t error; /* 0 when the CPU pushes none */
    uint64_t rip, cs, rflags, rsp, ss;
};

/* Interrupts are off while a handler runs; changes to the frame take effect on return. */
typedef void trap_handler(struct trap_frame *frame);

void idt_init(void);

/* Replaces the handler of a vector; a vector without one ends in panic(). */
void idt_set_handler(unsigned vector, trap_handler *handler);

/* The general report: vector in words and all registers, then panic(). */
_Noreturn void trap_panic(const struct trap_frame *frame);

#endif
