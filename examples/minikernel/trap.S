/*
 * trap.S - entry stubs of traps, and the two places where a run of C code can be left early.
 *
 * Problem     The CPU enters a handler with nothing saved and with or without an error code; a
 *             test must be able to survive its own fault and to give up in a helper.
 * Idea        A stub makes both kinds of trap look alike (struct trap_frame in idt.h). A probe
 *             stores where to resume before it touches the address; the fault handler goes there.
 * Invariants  A stub is 16 bytes (idt.c computes its address). The stack is 16-byte aligned at
 *             every call: the CPU aligns it, then 5 + 2 + 15 words are pushed.
 */

#define VECTORS 48

    .text
    .balign 16
    .globl trap_stubs
trap_stubs:
    .set vector, 0
    .rept VECTORS
    .balign 16
    /* 8, 10 to 14, 17, 21, 29 and 30 come with an error code (Intel SDM vol. 3A, table 6-1). */
    .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30)
    pushq $0
    .endif
    pushq $vector
    jmp trap_common
    .set vector, vector + 1
    .endr

trap_common:
    pushq %rax
    pushq %rcx
    pushq %rdx
    pushq %rbx
    pushq %rbp
    pushq %rsi
    pushq %rdi
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    cld
    movq %rsp, %rdi
    call trap_dispatch
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rdi
    popq %rsi
    popq %rbp
    popq %rbx
    popq %rdx
    popq %rcx
    popq %rax
    addq $16, %rsp /* vector and error code */
    iretq

/* uint64_t probe_{read,write,fetch}_at(uint64_t address, uint64_t value, struct probe_resume *r)
 * store {rip, rsp} in *r, touch the address, and arrive at 9 with or without a fault in between.
 * A fetch calls the address, where the test has put a `ret`. */
    .globl probe_read_at, probe_write_at, probe_fetch_at
probe_read_at:
    leaq 9f(%rip), %rax
    movq %rax, 0(%rdx)
    movq %rsp, 8(%rdx)
    xorl %eax, %eax
    movq (%rdi), %rax
9:  ret

probe_write_at:
    leaq 9f(%rip), %rax
    movq %rax, 0(%rdx)
    movq %rsp, 8(%rdx)
    movq %rsi, (%rdi)
9:  ret

probe_fetch_at:
    leaq 9f(%rip), %rax
    movq %rax, 0(%rdx)
    movq %rsp, 8(%rdx)
    call *%rdi
9:  ret

/* bool call_guarded(void (*fn)(void), uint64_t *saved_rsp): true when fn returned, false when it
 * was left by call_abandon(*saved_rsp), from whatever depth. */
    .globl call_guarded, call_abandon
call_guarded:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    subq $8, %rsp
    movq %rsp, (%rsi)
    call *%rdi
    movl $1, %eax
1:  addq $8, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
call_abandon:
    movq %rdi, %rsp
    xorl %eax, %eax
    jmp 1b

    .section .note.GNU-stack, "", @progbits
