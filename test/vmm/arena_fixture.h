/*
 * arena_fixture.h - an arena, the spans that it is lent, and frames for more.
 */
#ifndef ARENA_FIXTURE_H
#define ARENA_FIXTURE_H

#include "mm_test.h"

#include "frames.h"
#include "mm/arena.h"

#define PAGE MM_FRAME_BYTES
#define MAX  UINT64_MAX

#define FIXTURE_SPANS  64u
#define FIXTURE_FRAMES 32u

struct arena_fixture {
    struct mm_arena arena;
    struct mm_arena_span span[FIXTURE_SPANS];
    struct mm_test_frames frames;
};

/* `pages` from `base`; `spans` are lent, and there are no others. */
static inline void fixture_lend(struct arena_fixture *t, uint64_t base, uint64_t pages,
                                uint32_t spans)
{
    struct mm_arena_config config = {
        .range = {mm_virt(base), pages * PAGE},
        .span = t->span,
        .span_count = spans,
    };

    CHECK_OK(mm_arena_init(&t->arena, &config));
}

/* The same with FIXTURE_FRAMES frames for more spans, and a quarantine. */
static inline void fixture_grow(struct arena_fixture *t, uint64_t base, uint64_t pages,
                                uint32_t spans, uint64_t quarantine_pages)
{
    struct mm_arena_config config = {
        .range = {mm_virt(base), pages * PAGE},
        .span = spans != 0 ? t->span : NULL,
        .span_count = spans,
        .window = fake_window(),
        .quarantine_bytes = quarantine_pages * PAGE,
    };

    fake_reset();
    fake_ram_add(mm_phys(0x100000), FIXTURE_FRAMES * PAGE);
    mm_test_frames_init(&t->frames, mm_phys(0x100000), FIXTURE_FRAMES);
    config.frames = mm_test_frame_source(&t->frames);
    CHECK_OK(mm_arena_init(&t->arena, &config));
}

/* Lowest fit; *out is untouched on error. */
static inline enum mm_err take(struct arena_fixture *t, uint64_t pages, uint64_t *out)
{
    struct mm_arena_request request = {.bytes = pages * PAGE};
    mm_virt_t virt = mm_virt(*out);
    enum mm_err err = mm_arena_take(&t->arena, &request, &virt);

    *out = virt.raw;
    return err;
}

static inline enum mm_err take_at(struct arena_fixture *t, uint64_t at, uint64_t pages)
{
    struct mm_arena_request request = {
        .bytes = pages * PAGE, .at = mm_virt(at), .flags = MM_ARENA_EXACT};
    mm_virt_t virt = mm_virt(42);
    enum mm_err err = mm_arena_take(&t->arena, &request, &virt);

    CHECK_EQ(virt.raw, err == MM_OK ? at : 42);
    return err;
}

static inline void check_reported(const char *what, uint64_t address)
{
    CHECK_EQ(mm_test_report_count(), 1);
    CHECK_TEXT(mm_test_report(0)->what, what);
    CHECK_EQ(mm_test_report(0)->address, address);
    CHECK(mm_test_report(0)->caller != NULL);
    mm_test_reports_clear();
}

#endif
