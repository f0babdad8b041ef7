/*
 * test_one_lock.c - which locks a space whose tables have tags takes: a bit in each tag, or with
 * MM_VMM_ONE_LOCK one for all of them. MM_TEST_ONE_LOCK says what the library here was built with.
 */
#include "vmm_fixture.h"

#ifndef MM_TEST_ONE_LOCK
#define MM_TEST_ONE_LOCK 0
#endif

#define LOCK_BIT 1024u /* of a tag: behind 0 to 512 entries */

TEST(space_has_one_lock_only_where_the_build_says_so)
{
    struct mm_frame_source source;
    struct mm_space user = MM_ZERO;

    fixture_start(4, true, 1);
    CHECK_EQ(fx.kernel.one_lock, MM_TEST_ONE_LOCK);
    CHECK_OK(mm_space_create(&fx.vmm, &user, 0));
    CHECK_EQ(user.one_lock, MM_TEST_ONE_LOCK);
    CHECK_OK(mm_space_destroy(&user));
    source = mm_test_frame_source(&fx.frames);
    mm_vmm_set_sources(&fx.vmm, &source, NULL);
    CHECK_EQ(fx.kernel.one_lock, MM_TEST_ONE_LOCK);
    fixture_sound(&fx.kernel);
}

/* ---- what is locked whenever a tag is asked for ---- */

static struct {
    bool watching;
    unsigned asked; /* in sections */
    unsigned space_locked;
    unsigned tables_locked; /* at most, at one time */
} seen;

static unsigned tables_locked(const struct mm_frame_source *inner)
{
    unsigned locked = 0;

    for (uint32_t i = 0; i < fx.frames.count; i++) {
        mm_phys_t frame = mm_phys(RAM_START + i * K4);
        uint16_t *tag;

        if (fake_frame_out(&fx.frames, frame))
            locked += inner->tag(inner->context, frame, &tag) == MM_OK && (*tag & LOCK_BIT) != 0;
    }
    return locked;
}

static enum mm_err watching_tag(void *context, mm_phys_t frame, uint16_t **out)
{
    struct mm_frame_source inner = mm_test_frame_source(&fx.frames);

    if (seen.watching && fx.cpu[0].section != 0) {
        unsigned locked = tables_locked(&inner);

        seen.asked++;
        seen.space_locked += fx.kernel.lock.owner != 0 ? 1 : 0;
        seen.tables_locked = locked > seen.tables_locked ? locked : seen.tables_locked;
    }
    return inner.tag(context, frame, out);
}

TEST(calls_lock_tables_or_the_space_and_never_both)
{
    struct mm_frame_source source;

    fixture_start(4, true, 1);
    source = mm_test_frame_source(&fx.frames);
    source.tag = watching_tag;
    mm_vmm_set_sources(&fx.vmm, &source, NULL);
    memset(&seen, 0, sizeof seen);
    seen.watching = true;
    CHECK_OK(map(&fx.kernel, LOW, DATA, 600 * K4, MM_PROT_RW));
    CHECK_OK(protect(&fx.kernel, LOW + 500 * K4, 30 * K4, MM_PROT_READ));
    CHECK_OK(unmap(&fx.kernel, LOW + 3 * K4, 590 * K4));
    CHECK_OK(mm_space_unmap(&fx.kernel, mm_virt(LOW), GIB, MM_RANGE_HOLES, NULL, NULL));
    seen.watching = false;
    CHECK(seen.asked > 10);
    CHECK_EQ(seen.space_locked, MM_TEST_ONE_LOCK ? seen.asked : 0);
    if (MM_TEST_ONE_LOCK)
        CHECK_EQ(seen.tables_locked, 0);
    else
        CHECK(seen.tables_locked >= 2);
    fixture_sound(&fx.kernel);
}
