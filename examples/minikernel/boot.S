/*
 * boot.S - from the boot loader's 32-bit entry to kernel_main() at -2 GiB.
 *
 * Problem     GRUB (Multiboot2) and `qemu -kernel` (PVH) both start a 64-bit ELF in 32-bit
 *             protected mode without paging; the kernel is linked 2 GiB below the top.
 * Idea        Both protocols leave a pointer in ebx, so one entry serves both. It maps the first
 *             GiB twice with 2 MiB pages, at 0 (where it runs) and at -2 GiB (where it goes),
 *             enters long mode and jumps up. Nothing uses the low half afterwards. The number of
 *             levels is settled here or never: CR4.LA57 cannot be changed in long mode (Intel SDM
 *             vol. 3A, 2.5; 4.1.1 and 4.5 for what it does). The word levels=5 of the command line
 *             asks for five.
 * Invariants  The loader's information is not written to: tables and stack are in .bss. With
 *             levels=5 there are five levels, or the kernel does not start.
 * Rejected    An entry per protocol: they differ by one register. A writable boot segment: the
 *             tables can live in .bss, since physical = virtual - KERNEL_OFFSET. Five levels
 *             wherever the CPU has them: then nobody can run four levels on such a CPU, where a
 *             library that asks CPUID instead of CR4 is wrong. Changing over later, through 32-bit
 *             code with paging off: the same instructions, and a trampoline below 4 GiB.
 */

#define KERNEL_OFFSET  0xffffffff80000000
#define PHYS(symbol)   ((symbol) - KERNEL_OFFSET)

#define MB2_HEADER     0xe85250d6
#define MB2_MAGIC      0x36d76289 /* eax when a Multiboot2 loader enters */
#define PVH_MAGIC      0x336ec578 /* first word of what ebx points to under PVH */
#define XEN_PHYS_ENTRY 18         /* ELF note type: 32-bit physical entry address */

/* Where the command line is. Multiboot2: tags {type, bytes, ...} on 8-byte boundaries behind the
 * total size and a reserved word. PVH: physical address in hvm_start_info, 64 bits. */
#define MB2_TAGS       8
#define MB2_TAG_END    0
#define MB2_TAG_TEXT   1 /* type of the command line, whose text is behind these two words */
#define MB2_TAG_HEAD   8
#define PVH_TEXT       24

#define PTE_TABLE      0x003 /* present, writable */
#define PTE_2M         0x083 /* present, writable, large page */
#define CR4_PAE        (1 << 5)
#define CR4_LA57       (1 << 12)
#define CR0_PG         (1 << 31)
#define MSR_EFER       0xc0000080
#define EFER_LME       (1 << 8)
#define CPUID_LM       (1 << 29)
#define CPUID_LA57     (1 << 16) /* leaf 7, subleaf 0, ECX */
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
    call choose_levels
    call build_tables

    /* A loader that ran with five levels may have left LA57 set: it goes off as well as on. A CPU
     * without it has a zero there, and is never told to set it. */
    movl %cr4, %eax
    andl $~CR4_LA57, %eax
    orl $CR4_PAE, %eax
    orl %ebp, %eax
    movl %eax, %cr4
    movl $PHYS(boot_pml4), %eax
    testl %ebp, %ebp
    jz 1f
    movl $PHYS(boot_pml5), %eax
1:  movl %eax, %cr3
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

/* ebp: CR4_LA57 if the command line has the word levels=5, else 0. Preserves esi and edi. */
choose_levels:
    xorl %ebp, %ebp
    call find_command_line
    call has_levels_word
    jne 1f
    xorl %eax, %eax
    cpuid
    cmpl $7, %eax
    jb no_five_levels
    movl $7, %eax
    xorl %ecx, %ecx
    cpuid
    testl $CPUID_LA57, %ecx
    jz no_five_levels
    movl $CR4_LA57, %ebp
1:  ret

/* ebx: the command line, an empty text if there is none. Looks at no tag outside of the information,
 * and passes none that claims to be shorter than its own head. */
find_command_line:
    movl $no_text, %ebx
    cmpl $PVH_MAGIC, %edi
    je 3f
    cmpl $MB2_MAGIC, %edi
    jne 4f
    movl (%esi), %edx
    addl %esi, %edx /* end of the information */
    leal MB2_TAGS(%esi), %eax
1:  leal MB2_TAG_HEAD(%eax), %ecx
    cmpl %edx, %ecx
    ja 4f
    cmpl $MB2_TAG_TEXT, (%eax)
    je 2f
    cmpl $MB2_TAG_END, (%eax)
    je 4f
    movl 4(%eax), %ecx
    cmpl $MB2_TAG_HEAD, %ecx
    jb 4f
    leal 7(%eax, %ecx), %eax
    andl $~7, %eax
    jmp 1b
2:  movl %ecx, %ebx
    ret
3:  cmpl $0, PVH_TEXT + 4(%esi) /* beyond what 32 bits reach */
    jne 4f
    movl PVH_TEXT(%esi), %ecx
    testl %ecx, %ecx
    jz 4f
    movl %ecx, %ebx
4:  ret

/* Is levels_word among the words of the text at ebx? Equal (ZF) if so. */
has_levels_word:
1:  movl %ebx, %edx
    movl $levels_word, %ecx
2:  movb (%ecx), %al
    testb %al, %al
    jz 4f
    cmpb %al, (%edx)
    jne 3f
    incl %ecx
    incl %edx
    jmp 2b
3:  movb (%ebx), %al /* on to what follows the next blank */
    incl %ebx
    cmpb $' ', %al
    je 1b
    testb %al, %al
    jnz 3b
    incl %eax /* the end: unequal, since al is 0 */
    ret
4:  cmpb $0, (%edx)
    je 5f
    cmpb $' ', (%edx)
    jne 3b
5:  ret

/* One page directory for the first GiB, reached from slot 0 and from the slots of -2 GiB:
 * 0xffffffff80000000 is slot 511 of levels 5 and 4 and slot 510 of level 3. With five levels the low
 * half has a table of level 4 of its own: a root that is adopted has each of the two halves once. */
build_tables:
    movl $PHYS(boot_pml4_low) + PTE_TABLE, PHYS(boot_pml5)
    movl $PHYS(boot_pml4) + PTE_TABLE, PHYS(boot_pml5) + 511 * 8
    movl $PHYS(boot_pdpt_low) + PTE_TABLE, PHYS(boot_pml4_low)
    testl %ebp, %ebp
    jnz 1f
    movl $PHYS(boot_pdpt_low) + PTE_TABLE, PHYS(boot_pml4)
1:  movl $PHYS(boot_pdpt_high) + PTE_TABLE, PHYS(boot_pml4) + 511 * 8
    movl $PHYS(boot_pd) + PTE_TABLE, PHYS(boot_pdpt_low)
    movl $PHYS(boot_pd) + PTE_TABLE, PHYS(boot_pdpt_high) + 510 * 8
    xorl %ecx, %ecx
2:  movl %ecx, %eax
    shll $21, %eax
    orl $PTE_2M, %eax
    movl %eax, PHYS(boot_pd)(, %ecx, 8)
    incl %ecx
    cmpl $512, %ecx
    jb 2b
    ret

/* Says why on the serial line; 0x13 makes the emulator exit with 39. */
no_five_levels:
    movl $no_five_levels_text, %esi
    jmp refuse
no_long_mode:
    movl $no_long_mode_text, %esi
refuse:
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
no_five_levels_text:
    .asciz "minikernel: this CPU has no page tables of five levels\n"
levels_word:
    .asciz "levels=5"
no_text:
    .asciz ""

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
boot_pml5: /* loaded only with five levels */
    .skip 4096
boot_pml4_low:
    .skip 4096
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
