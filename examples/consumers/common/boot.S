/*
 * boot.S - from a boot loader's 32-bit entry to kernel_main() at -2 GiB.
 *
 * Problem     GRUB (Multiboot2) and `qemu -kernel` (PVH) start a 64-bit ELF in 32-bit protected mode
 *             without paging; mm_start() wants long mode, a stack and a GDT inside the image.
 * Idea        Both leave a pointer in ebx, so one entry serves both. The first GiB is mapped twice
 *             with 2 MiB pages, at 0 (where this runs) and at -2 GiB (where the kernel is linked).
 * Invariants  The loader's information is not written to: tables and stack are in .bss.
 * Rejected    Checks that the CPU has long mode: the minikernel has them, a first kernel can wait.
 */

#define KERNEL_OFFSET  0xffffffff80000000
#define PHYS(symbol)   ((symbol) - KERNEL_OFFSET)
#define MB2_HEADER     0xe85250d6
#define XEN_PHYS_ENTRY 18    /* ELF note type: 32-bit physical entry address */
#define PTE_TABLE      0x003 /* present, writable */
#define PTE_2M         0x083 /* present, writable, large page */
#define MSR_EFER       0xc0000080
#define CODE64         0x08
#define DATA64         0x10

    .section .boot.header, "a"
    .balign 8
multiboot2_header:
    .long MB2_HEADER
    .long 0 /* architecture: i386 protected mode */
    .long multiboot2_end - multiboot2_header
    .long 0x100000000 - (MB2_HEADER + 0 + (multiboot2_end - multiboot2_header))
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
    movl %eax, %edi /* kernel_main(magic, info) */
    movl %ebx, %esi

    /* One directory for the first GiB: entry 0 of level 4 leads to it, and 0xffffffff80000000,
     * which is entry 511 of level 4 and 510 of level 3. */
    movl $PHYS(boot_low) + PTE_TABLE, PHYS(boot_root)
    movl $PHYS(boot_high) + PTE_TABLE, PHYS(boot_root) + 511 * 8
    movl $PHYS(boot_directory) + PTE_TABLE, PHYS(boot_low)
    movl $PHYS(boot_directory) + PTE_TABLE, PHYS(boot_high) + 510 * 8
    xorl %ecx, %ecx
1:  movl %ecx, %eax
    shll $21, %eax
    orl $PTE_2M, %eax
    movl %eax, PHYS(boot_directory)(, %ecx, 8)
    incl %ecx
    cmpl $512, %ecx
    jb 1b

    movl %cr4, %eax
    orl $1 << 5, %eax /* PAE */
    movl %eax, %cr4
    movl $PHYS(boot_root), %eax
    movl %eax, %cr3
    movl $MSR_EFER, %ecx
    rdmsr
    orl $1 << 8, %eax /* LME */
    wrmsr
    movl %cr0, %eax
    orl $1 << 31, %eax /* PG */
    movl %eax, %cr0
    lgdt PHYS(gdt_pointer_low)
    ljmp $CODE64, $start64_low

    .code64
start64_low:
    movabsq $start64, %rax
    jmp *%rax

    .text
    .code64
start64:
    lgdt gdt_pointer /* where it stays, too, when the low addresses are gone */
    lidt no_idt      /* limit 0: mm_start() knows that there is none */
    movw $DATA64, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movq $boot_stack_top, %rsp
    xorl %ebp, %ebp
    movl %edi, %edi /* clears what was above bit 31 */
    movl %esi, %esi
    call kernel_main
1:  hlt
    jmp 1b

    .data
    .balign 8
gdt:
    .quad 0
    .quad 0x00af9b000000ffff /* CODE64: long mode, present, accessed */
    .quad 0x00cf93000000ffff /* DATA64: flat, writable, accessed */
gdt_pointer_low:
    .short . - gdt - 1
    .long PHYS(gdt)
gdt_pointer:
    .short gdt_pointer_low - gdt - 1
    .quad gdt
no_idt:
    .short 0
    .quad 0

    .section .bss.boot, "aw", @nobits
    .balign 4096
boot_root:
    .skip 4096
boot_low:
    .skip 4096
boot_high:
    .skip 4096
boot_directory:
    .skip 4096
    .skip 16384
boot_stack_top:

    .section .note.GNU-stack, "", @progbits
