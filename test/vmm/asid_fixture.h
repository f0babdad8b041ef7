/*
 * asid_fixture.h - two user spaces on CPUs with address-space ids, and what a load keeps of them.
 */
#ifndef ASID_FIXTURE_H
#define ASID_FIXTURE_H

#include "vmm_fixture.h"

#include "mm_mmu.h"

#define AREA MM_PORT_KERNEL_AREA

static struct mm_space user, other;

static inline void ids(unsigned cpus)
{
    for (unsigned i = 0; i < cpus; i++)
        fake_cpu(i)->has_asid = true;
    user = other = (struct mm_space)MM_ZERO;
}

/* Two user spaces, with two pages each at LOW, and two pages of the kernel. */
static inline void spaces_start(unsigned cpus)
{
    ids(cpus);
    fixture_start(4, true, cpus);
    CHECK(fake_cpu(0)->asid_on);
    CHECK_OK(map(&fx.kernel, AREA, DATA, 2 * K4, MM_PROT_RW));
    CHECK_OK(mm_space_create(&fx.vmm, &user, 0));
    CHECK_OK(mm_space_create(&fx.vmm, &other, 0));
    CHECK_OK(map(&user, LOW, DATA + M2, 2 * K4, MM_PROT_RW));
    CHECK_OK(map(&other, LOW, DATA + 2 * M2, 2 * K4, MM_PROT_RW));
}

static inline void spaces_end(void)
{
    for (unsigned i = 0; i < fx.cpus; i++)
        fixture_activate(i, &fx.kernel);
    if (user.state != 0)
        CHECK_OK(mm_space_destroy(&user));
    if (other.state != 0)
        CHECK_OK(mm_space_destroy(&other));
    fixture_sound(&fx.kernel);
}

/* What CPU `cpu` finds at `virt`. */
static inline struct fake_access reads(unsigned cpu, uint64_t virt)
{
    unsigned before = fake_cpu_current();
    struct fake_access got;

    fake_cpu_set(cpu);
    got = fake_read64(mm_virt(virt));
    fake_cpu_set(before);
    return got;
}

/* Load the space on the CPU: does it keep what is cached of it? Nothing may be stale then. */
static inline bool keeps(unsigned cpu, struct mm_space *space)
{
    uint64_t kept = fake_cpu_counts(cpu).roots_kept;

    fixture_activate(cpu, space);
    CHECK_EQ(fake_stale_entries(), 0);
    return fake_cpu_counts(cpu).roots_kept != kept;
}

/* The space was used on the CPU, which has the kernel space now. */
static inline void used_and_left(unsigned cpu, struct mm_space *space, uint64_t virt)
{
    fixture_activate(cpu, space);
    CHECK_EQ(reads(cpu, virt).fault, FAKE_OK);
    fixture_activate(cpu, &fx.kernel);
}

#endif
