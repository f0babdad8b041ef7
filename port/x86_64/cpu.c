/*
 * cpu.c (x86_64) - what paging needs of a CPU, checked and set.
 *
 * Problem     Without EFER.NXE the no-execute bit is a reserved bit and every data access faults;
 *             without CR0.WP the kernel writes through read-only pages; a PAT left by firmware
 *             turns device mappings into cached ones.
 * Idea        One function sets the few bits, after asking CPUID for each; another describes the
 *             paging mode. Bits that a CPU does not have are never written (QEMU hangs on
 *             reserved CR4 bits instead of faulting).
 * Invariants  Writes only EFER.NXE, CR0.WP, CR4.PGE, CR4.PCIDE, IA32_PAT, and bits 3 and 4 of CR3; all
 *             else stays.
 * Locking     None: the state of the calling CPU, interrupts off.
 * Cost        A few microseconds (CPUID may trap in virtual machines).
 * Rejected    Switching on SMEP, SMAP, LA57 here: policy of the kernel, or too late.
 * Source      Intel SDM vol. 3A 2.2.1 (EFER), 2.5 (CR0, CR4), 4.10.1 (PCIDs), 11.12 (PAT); vol. 2 CPUID.
 */
#include "mm_cpu.h"

#include "mm_mmu.h"
#include "mm_pte.h"

#define MSR_EFER     0xc0000080u
#define MSR_PAT      0x277u
#define EFER_LMA     (UINT64_C(1) << 10)
#define EFER_NXE     (UINT64_C(1) << 11)
#define CR0_WP       (UINT64_C(1) << 16)
#define CR4_PGE      (UINT64_C(1) << 7)
#define CR4_LA57     (UINT64_C(1) << 12)
#define CR4_PCIDE    (UINT64_C(1) << 17)
#define CPUID1_PCID  (1u << 17)  /* leaf 1, ECX */
#define INTEL_EBX    0x756e6547u /* leaf 0, "Genu" */
#define CPUID1_PGE   (1u << 13)  /* leaf 1, EDX */
#define CPUID1_PAT   (1u << 16)
#define CPUID_NX     (1u << 20) /* leaf 0x80000001, EDX */
#define CPUID_PAGE1G (1u << 26)

struct cpuid {
    uint32_t eax, ebx, ecx, edx;
};

static struct cpuid cpuid(uint32_t leaf)
{
    struct cpuid r;

    __asm__ volatile("cpuid"
                     : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
                     : "a"(leaf), "c"(0));
    return r;
}

static uint64_t read_msr(uint32_t msr)
{
    uint32_t low, high;

    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return (uint64_t)high << 32 | low;
}

static void write_msr(uint32_t msr, uint64_t value)
{
    __asm__ volatile("wrmsr"
                     :
                     : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
                     : "memory");
}

static uint64_t read_cr4(void)
{
    uint64_t cr4;

    __asm__ volatile("movq %%cr4, %0" : "=r"(cr4));
    return cr4;
}

static uint32_t extended_edx(void)
{
    return cpuid(0x80000000u).eax >= 0x80000001u ? cpuid(0x80000001u).edx : 0;
}

/* MAXPHYADDR; 36 where CPUID does not tell (SDM vol. 3A, 4.1.4). */
static uint32_t phys_bits(void)
{
    if (cpuid(0x80000000u).eax < 0x80000008u)
        return 36;
    return cpuid(0x80000008u).eax & 0xff;
}

void mm_port_cpu_paging(struct mm_paging *out)
{
    uint32_t extended = extended_edx();
    uint64_t cr4 = read_cr4();

    out->levels = (cr4 & CR4_LA57) != 0 ? 5 : 4;
    out->phys_bits = phys_bits();
    out->leaf_levels = 1u << 1 | 1u << 2 | ((extended & CPUID_PAGE1G) != 0 ? 1u << 3 : 0);
    out->flags = 0;
    if ((read_msr(MSR_EFER) & EFER_NXE) != 0)
        out->flags |= MM_PAGING_NX;
    if ((cr4 & CR4_PGE) != 0)
        out->flags |= MM_PAGING_GLOBAL;
    if ((cr4 & CR4_PCIDE) != 0)
        out->flags |= MM_PAGING_ASIDS;
    if ((cpuid(1).edx & CPUID1_PAT) != 0 && read_msr(MSR_PAT) == MM_PAT_VALUE)
        out->flags |= MM_PAGING_WC;
}

/* Global pages, too: mm_mmu_flush_all() counts on them. */
static bool has_asids(const struct cpuid *basic)
{
    bool intel = cpuid(0).ebx == INTEL_EBX;

    return (basic->ecx & CPUID1_PCID) != 0 && (basic->edx & CPUID1_PGE) != 0 &&
           !(intel && mm_invlpg_misses_globals(basic->eax));
}

/* CR4.PCIDE can be set only while bits 0 to 11 of CR3 are 0: afterwards they are the id. Who left it on
 * where it does no good has it cleared. */
static void asids_switch(bool on)
{
    uint64_t cr4 = read_cr4();

    if (((cr4 & CR4_PCIDE) != 0) == on)
        return;
    mm_mmu_load_root(mm_mmu_root());
    __asm__ volatile("movq %0, %%cr4" : : "r"(cr4 ^ CR4_PCIDE) : "memory");
}

enum mm_err mm_port_cpu_init(struct mm_paging *out, uint32_t wanted)
{
    struct cpuid basic = cpuid(1);
    uint64_t cr0;

    if ((read_msr(MSR_EFER) & EFER_LMA) == 0 || (extended_edx() & CPUID_NX) == 0)
        return MM_ERR_CPU;
    write_msr(MSR_EFER, read_msr(MSR_EFER) | EFER_NXE);
    __asm__ volatile("movq %%cr0, %0" : "=r"(cr0));
    __asm__ volatile("movq %0, %%cr0" : : "r"(cr0 | CR0_WP) : "memory");
    if ((basic.edx & CPUID1_PGE) != 0)
        __asm__ volatile("movq %0, %%cr4" : : "r"(read_cr4() | CR4_PGE) : "memory");
    if ((basic.edx & CPUID1_PAT) != 0)
        write_msr(MSR_PAT, MM_PAT_VALUE);
    asids_switch((wanted & MM_PAGING_ASIDS) != 0 && has_asids(&basic));
    mm_port_cpu_paging(out);
    return MM_OK;
}

struct table_register {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed));

static struct mm_virt_range around(uint64_t address, uint64_t bytes)
{
    return (struct mm_virt_range){mm_virt(address), bytes};
}

unsigned mm_port_cpu_anchors(struct mm_virt_range *out)
{
    struct table_register gdt, idt;
    uint64_t stack;
    unsigned count = 0;

    __asm__ volatile("sgdt %0" : "=m"(gdt));
    __asm__ volatile("sidt %0" : "=m"(idt));
    __asm__ volatile("movq %%rsp, %0" : "=r"(stack));
    out[count++] = around((uintptr_t)&mm_port_cpu_anchors, 1);
    out[count++] = around(stack, 8);
    out[count++] = around(gdt.base, (uint64_t)gdt.limit + 1);
    if (idt.base != 0 && idt.limit != 0)
        out[count++] = around(idt.base, (uint64_t)idt.limit + 1);
    return count;
}
