/*
 * prompt_alloc.c - memory that a person takes and gives back.
 *
 * Problem     Memory given back by hand can be the wrong memory, and then the kernel's own.
 * Idea        Remember what `alloc` gave. What it did not give and what is in use belongs to the
 *             kernel and is not given back. The rest goes to libmm, which refuses and reports it: so
 *             a double free, a wrong address and a pointer into a block can be tried out.
 * Invariants  A grant is a live allocation.
 * Locking     None.
 * Cost        One look at each grant.
 * Rejected    Freeing whatever is typed: one digit less and the page tables are gone.
 */
#include <stddef.h>

#include <mm/names.h>

#include "host.h"
#include "print.h"
#include "prompt_commands.h"

#define GRANTS 32u

static struct grant grants[GRANTS];

static struct grant *find(uint64_t address, bool frames)
{
    for (size_t i = 0; i < GRANTS; i++) {
        struct grant *grant = &grants[i];

        if (grant->count && grant->frames == frames && address - grant->at < grant->bytes)
            return grant;
    }
    return NULL;
}

const struct grant *grant_find(uint64_t address, bool frames)
{
    return find(address, frames);
}

static struct grant *unused_grant(void)
{
    for (size_t i = 0; i < GRANTS; i++) {
        if (!grants[i].count)
            return &grants[i];
    }
    return NULL;
}

static void alloc_heap(struct grant *grant, uint64_t bytes)
{
    void *pointer = mm_heap_alloc(&mm_default.heap, bytes);

    if (!pointer) {
        kprintf("no memory\n");
        return;
    }
    *grant = (struct grant){.at = mm_virt_of(pointer).raw, .count = bytes};
    grant->bytes = mm_heap_usable(&mm_default.heap, pointer);
    kprintf("heap block of %lu byte%s at %016lx, %lu usable\n", bytes, words_plural(bytes),
            grant->at, grant->bytes);
}

static void alloc_frames(struct grant *grant, uint64_t frames)
{
    struct mm_frame_request request = {.count_frames = frames};
    mm_phys_t first;
    enum mm_err err = mm_pmm_alloc(&mm_default.pmm, &request, &first);

    if (err != MM_OK) {
        kprintf("%s\n", mm_err_text(err));
        return;
    }
    *grant = (struct grant){first.raw, frames, frames * MM_FRAME_BYTES, true};
    kprintf("%lu frame%s at %lx, direct map %016lx\n", frames, words_plural(frames), first.raw,
            mm_virt_of(mm_phys_pointer(&mm_default, first)).raw);
}

void command_alloc(const struct words *words)
{
    const char *from = words->count > 2 ? words->at[2] : "heap";
    struct grant *grant = unused_grant();
    uint64_t count;

    if (words->count < 2)
        kprintf("alloc: how many?\n");
    else if (!words_number(words->at[1], &count) || count == 0)
        kprintf("alloc: '%s' is no number of bytes or frames\n", words->at[1]);
    else if (!grant)
        kprintf("alloc: %u at a time are enough; free one\n", GRANTS);
    else if (words_equal(from, "heap"))
        alloc_heap(grant, count);
    else if (words_equal(from, "frames"))
        alloc_frames(grant, count);
    else
        kprintf("alloc: '%s' is neither heap nor frames\n", from);
}

/* In use, but not by alloc? */
static bool is_kernels(uint64_t address, bool frames)
{
    struct mm_frame_info info;

    if (!frames)
        return mm_heap_owns(&mm_default.heap, mm_virt_pointer(mm_virt(address)));
    mm_pmm_query(&mm_default.pmm, mm_phys(address), &info);
    return info.state == MM_FRAME_ALLOCATED && !find(address, true);
}

/* An address inside a grant is passed on too: libmm refuses it. */
static enum mm_err give_back(uint64_t address, bool frames, uint64_t count)
{
    if (frames)
        return mm_pmm_free(&mm_default.pmm, mm_phys(address), count);
    return mm_heap_free(&mm_default.heap, mm_virt_pointer(mm_virt(address)));
}

static void print_refusal(const struct mm_report *report)
{
    char line[200];

    (void)mm_report_format(line, sizeof(line), report);
    kprintf("libmm refuses: %s\n", line);
}

void command_free(const struct words *words)
{
    struct mm_report report;
    struct grant *grant;
    uint64_t address;
    bool frames;

    if (!words_address(words, 1, &address))
        return;
    frames = address >> 63 == 0; /* physical; the heap lies in the kernel's half */
    grant = find(address, frames);
    if (!grant && is_kernels(address, frames)) {
        kprintf("free: that is the kernel's own\n");
        return;
    }
    reports_begin();
    if (give_back(address, frames, grant ? grant->count : 1) == MM_OK)
        kprintf("free: done\n");
    if (reports_end(&report))
        print_refusal(&report);
    else if (grant)
        *grant = (struct grant){0};
}
