/*
 * boot.S - from the boot loader's 32-bit entry to kernel_main() at -2 GiB.
 *
 * Problem     GRUB (Multiboot2) and `qemu -kernel` (PVH) both start a 64-bit ELF in 32-bit
 *             protected mode without paging; the kernel is linked 2 GiB below the top.
 * Idea        Both protocols leave a pointer in ebx, so one entry serves both. It maps the first
 *             GiB twice with 2 MiB pages, at 0 (where it runs) and at -2 GiB (where it goes),
 *             enters long mode and jumps up. Nothing uses the low half afterwards.
 * Invariants  The loader's information is not written to: tables and stack are in .bss.
 * Rejected    An entry per protocol: they differ by one register. A writable boot segment: the
 *             tables can live in .bss, since physical = virtual - KERNEL_OFFSET.
 */

#define KERNEL_OFFSET  0xffffffff80000000
#define PHYS(symbol)   ((symbol) - KERNEL_OFFSET)

#define MB2_HEADER     0xe85250d6
#define MB2_MAGIC      0x36d76289 /* eax when a Multiboot2 loader enters */
#define PVH_MAGIC      0x336ec578 /* first word of what ebx points to under PVH */
#define XEN_PHYS_ENTRY 18         /* ELF note type: 32-bit physical entry address */

#define PTE_TABLE      0x003 /* present, writable */
#define PTE_2M         0x083 /* present, writable, large page */
#define CR4_PAE        (1 << 5)
#define CR0_PG         (1 << 31)
#define MSR_EFER       0xc0000080
#define EFER_LME       (1 << 8)
#define CPUID_LM       (1 << 29)
#define EFLAGS_ID      (1 << 21)
#define CODE64         0x08
#define DATA64         0x10
#define COM1           0x3f8
#define DEBUG_EXIT     0xf4

    .section .boot.header, "a"
    .balign 8
multiboot2_header:
    .long MB2_HEADER
    .long 0 /* architecture: i386 protected mode */
    .long multiboot2_end - multiboot2_header
    .long 0x100000000 - (MB2_HEADER + 0 + (multiboot2_end - multiboot2_header))
    .balign 8
    .short 6, 0 /* modules on page boundaries */
    .long 8
    .balign 8
    .short 0, 0 /* end of tags */
    .long 8
multiboot2_end:

    .section .note.pvh, "a", @note
    .balign 4
    .long 2f - 1f
    .long 4
    .long XEN_PHYS_ENTRY
1:  .asciz "Xen"
2:  .balign 4
    .long start32

    .section .boot.text, "ax"
    .code32
    .globl start32
start32:
    cli
    cld
    movl $PHYS(boot_stack_top), %esp
    movl %ebx, %esi
    movl %eax, %edi
    cmpl $MB2_MAGIC, %edi
    je 1f
    /* eax means nothing under PVH; the magic is in the structure. */
    movl (%ebx), %edi
    cmpl $PVH_MAGIC, %edi
    je 1f
    xorl %edi, %edi
1:
    call check_long_mode
    call build_tables

    movl %cr4, %eax
    orl $CR4_PAE, %eax
    movl %eax, %cr4
    movl $PHYS(boot_pml4), %eax
    movl %eax, %cr3
    movl $MSR_EFER, %ecx
    rdmsr
    orl $EFER_LME, %eax
    wrmsr
    movl %cr0, %eax
    orl $CR0_PG, %eax
    movl %eax, %cr0
    lgdt boot_gdt_pointer
    ljmp $CODE64, $start64_low

/* Preserves esi and edi. */
check_long_mode:
    pushfl
    popl %eax
    movl %eax, %ecx
    xorl $EFLAGS_ID, %eax
    pushl %eax
    popfl
    pushfl
    popl %eax
    cmpl %ecx, %eax /* the bit did not move: no CPUID */
    je no_long_mode
    movl $0x80000000, %eax
    cpuid
    cmpl $0x80000001, %eax
    jb no_long_mode
    movl $0x80000001, %eax
    cpuid
    testl $CPUID_LM, %edx
    jz no_long_mode
    ret

/* One page directory for the first GiB, reached from slot 0 and from the slots of -2 GiB:
 * 0xffffffff80000000 is slot 511 of level 4 and slot 510 of level 3. */
build_tables:
    movl $PHYS(boot_pdpt_low) + PTE_TABLE, PHYS(boot_pml4)
    movl $PHYS(boot_pdpt_high) + PTE_TABLE, PHYS(boot_pml4) + 511 * 8
    movl $PHYS(boot_pd) + PTE_TABLE, PHYS(boot_pdpt_low)
    movl $PHYS(boot_pd) + PTE_TABLE, PHYS(boot_pdpt_high) + 510 * 8
    xorl %ecx, %ecx
1:  movl %ecx, %eax
    shll $21, %eax
    orl $PTE_2M, %eax
    movl %eax, PHYS(boot_pd)(, %ecx, 8)
    incl %ecx
    cmpl $512, %ecx
    jb 1b
    ret

/* Says why on the serial line; 0x13 makes the emulator exit with 39. */
no_long_mode:
    movl $no_long_mode_text, %esi
    movl $COM1, %edx
1:  lodsb
    testb %al, %al
    jz 2f
    outb %al, %dx
    jmp 1b
2:  movl $0x13, %eax
    outl %eax, $DEBUG_EXIT
3:  hlt
    jmp 3b

no_long_mode_text:
    .asciz "minikernel: this CPU has no 64-bit mode\n"

    .balign 8
boot_gdt:
    .quad 0
    .quad 0x00af9b000000ffff /* CODE64: long mode, present, accessed */
    .quad 0x00cf93000000ffff /* DATA64: flat, writable, accessed */
boot_gdt_pointer:
    .short . - boot_gdt - 1
    .long boot_gdt

    .code64
start64_low:
    movabsq $start64_high, %rax
    jmp *%rax

    .text
    .code64
start64_high:
    movw $DATA64, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    xorl %eax, %eax
    movw %ax, %fs
    movw %ax, %gs
    movq $boot_stack_top, %rsp
    xorl %ebp, %ebp
    movl %edi, %edi /* kernel_main(magic, info): clears what was above bit 31 */
    movl %esi, %esi
    call kernel_main
1:  hlt
    jmp 1b

    .section .bss.boot, "aw", @nobits
    .balign 4096
boot_pml4:
    .skip 4096
boot_pdpt_low:
    .skip 4096
boot_pdpt_high:
    .skip 4096
boot_pd:
    .skip 4096
    .globl boot_stack, boot_stack_top
boot_stack:
    .skip 64 * 1024
boot_stack_top:

    .section .note.GNU-stack, "", @progbits
