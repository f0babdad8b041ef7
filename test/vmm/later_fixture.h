/*
 * later_fixture.h - a user space that two CPUs have loaded, frames of a PMM for it, and one deferred gather.
 */
#ifndef LATER_FIXTURE_H
#define LATER_FIXTURE_H

#include "vmm_fixture.h"

#include "mm/memmap.h"
#include "mm/pmm.h"

#define META (UINT64_C(64) << 10)

static struct mm_pmm pmm;
static struct mm_memmap memmap;
static struct mm_mem_range range[8];
static uint64_t meta[META / 8];
static uint64_t pmm_free;
static uint32_t tables_used; /* without what the user space has below its root */
static struct mm_space user;
static struct mm_gather late;

/* Both CPUs have the user space loaded. */
static inline void start(void)
{
    struct mm_pmm_config config = {.map = &memmap,
                                   .window = fake_window(),
                                   .cpu_count = 2,
                                   .meta = meta,
                                   .meta_bytes = sizeof meta};
    struct mm_frame_source tables;

    user = (struct mm_space)MM_ZERO;
    fixture_start(4, true, 2);
    fake_ram_add(mm_phys(256 * MIB), 16 * MIB);
    CHECK_OK(mm_memmap_init(&memmap, range, 8, 46));
    CHECK_OK(mm_memmap_add(&memmap, mm_phys(256 * MIB), 16 * MIB, MM_MEM_USABLE));
    CHECK_OK(mm_memmap_finish(&memmap));
    CHECK_OK(mm_pmm_init(&pmm, &config));
    tables = mm_test_frame_source(&fx.frames);
    mm_vmm_set_sources(&fx.vmm, &tables, &pmm);
    CHECK_OK(mm_space_create(&fx.vmm, &user, 0));
    fixture_activate(0, &user);
    fixture_activate(1, &user);
    tables_used = fx.frames.used;
    pmm_free = mm_pmm_free_frames(&pmm);
}

static inline void leave(void)
{
    fixture_activate(0, &fx.kernel);
    fixture_activate(1, &fx.kernel);
}

static inline void finish(void)
{
    CHECK_EQ(mm_reap(&fx.vmm), 0);
    CHECK_EQ(fx.frames.used, tables_used);
    CHECK_EQ(mm_pmm_free_frames(&pmm), pmm_free);
    leave();
    CHECK_OK(mm_space_destroy(&user));
    fixture_sound(&fx.kernel);
}

static inline void nothing_is_mapped(uint64_t virt, uint64_t bytes)
{
    struct mm_translation to;

    for (uint64_t at = virt; at < virt + bytes; at += K4)
        CHECK_ERR(mm_space_translate(&user, mm_virt(at), &to, NULL), MM_ERR_NOT_FOUND);
}

static inline void all_is_mapped(uint64_t virt, uint64_t bytes)
{
    struct mm_translation to;

    for (uint64_t at = virt; at < virt + bytes; at += K4)
        CHECK_OK(mm_space_translate(&user, mm_virt(at), &to, NULL));
}

static inline void late_begin(void)
{
    mm_gather_begin(&late, &user);
    mm_gather_defer(&late);
    CHECK(!mm_gather_is_done(&late));
}

static inline uint64_t flushes(const struct fake_counts *counts)
{
    return counts->flush_page + counts->flush_space + counts->flush_all + counts->ipis +
           counts->broadcasts;
}

#endif
