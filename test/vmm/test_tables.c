/*
 * test_tables.c - where tables come from and how they are counted: sources that call back, sources
 * without tags, limits met while others use them up.
 */
#include "vmm_fixture.h"

/* ---- a source that uses the space it is asked for ---- */

struct calling {
    struct mm_frame_source inner;
    unsigned calls;
    unsigned depth;
    enum mm_err (*act)(void);
};

static struct calling calling;

static enum mm_err calling_alloc(void *context, mm_phys_t *out)
{
    struct calling *c = context;

    c->calls++;
    if (c->depth++ == 0)
        CHECK_OK(c->act());
    c->depth--;
    return c->inner.alloc(c->inner.context, out);
}

static void calling_free(void *context, mm_phys_t frame)
{
    struct calling *c = context;

    c->inner.free(c->inner.context, frame);
}

static enum mm_err calling_tag(void *context, mm_phys_t frame, uint16_t **out)
{
    struct calling *c = context;

    return c->inner.tag(c->inner.context, frame, out);
}

static void source_calls(enum mm_err (*act)(void))
{
    struct mm_frame_source source = {
        .alloc = calling_alloc, .free = calling_free, .tag = calling_tag, .context = &calling};

    calling = (struct calling){.inner = mm_test_frame_source(&fx.frames), .act = act, .depth = 1};
    mm_vmm_set_sources(&fx.vmm, &source, NULL); /* takes one, to see */
    calling.depth = 0;
    calling.calls = 0;
}

static enum mm_err map_elsewhere(void)
{
    return map(&fx.kernel, LOW + (100 + calling.calls) * GIB, DATA, K4, MM_PROT_RW);
}

/* A source may run the kernel's low-memory code, which maps and unmaps where it likes. */
TEST(source_of_tables_is_called_without_a_lock)
{
    fixture_start(4, true, 1);
    source_calls(map_elsewhere);
    CHECK_OK(map(&fx.kernel, LOW, DATA, K4, MM_PROT_RW));
    CHECK(calling.calls > 3);
    CHECK_OK(map(&fx.kernel, LOW + 4 * M2, 4 * GIB, GIB, MM_PROT_RW));
    CHECK_OK(unmap(&fx.kernel, LOW + 4 * M2 + K4, K4)); /* a split */
    fixture_sound(&fx.kernel);
}

static enum mm_err unmap_neighbour(void)
{
    return calling.calls == 1 ? unmap(&fx.kernel, LOW + K4, K4) : MM_OK;
}

/* The table that was there when the call counted is gone when it has its tables. */
TEST(tables_that_go_while_others_are_taken_are_taken_too)
{
    fixture_start(4, true, 1);
    CHECK_OK(map(&fx.kernel, LOW + K4, DATA, K4, MM_PROT_RW));
    source_calls(unmap_neighbour);
    CHECK_OK(map(&fx.kernel, LOW + 511 * K4, DATA, 2 * K4, MM_PROT_RW));
    CHECK(calling.calls >= 4);
    fixture_sound(&fx.kernel);
}

static enum mm_err map_the_same(void)
{
    return calling.calls == 1 ? map(&fx.kernel, LOW, DATA + M2, K4, MM_PROT_READ) : MM_OK;
}

TEST(what_was_mapped_while_tables_were_taken_is_a_conflict)
{
    struct mm_map_request request = request_of(LOW, DATA, M2 + K4, MM_PROT_RW);
    struct mm_space_fail why;

    fixture_start(4, true, 1);
    request.flags = MM_MAP_SMALL;
    source_calls(map_the_same);
    CHECK_ERR(mm_space_map(&fx.kernel, &request, &why), MM_ERR_EXISTS);
    CHECK_EQ(why.virt.raw, LOW);
    CHECK_EQ(fx.frames.used, 6); /* those of the page that was faster, and of the kernel area */
    fixture_sound(&fx.kernel);
}

static struct mm_space user;

static enum mm_err destroy_user(void)
{
    CHECK_ERR(mm_space_destroy(&user), MM_ERR_BUSY);
    return MM_OK;
}

TEST(space_is_not_destroyed_while_a_map_takes_tables)
{
    user = (struct mm_space)MM_ZERO;
    fixture_start(4, true, 1);
    CHECK_OK(mm_space_create(&fx.vmm, &user, 0));
    source_calls(destroy_user);
    CHECK_OK(map(&user, LOW, DATA, K4, MM_PROT_RW | MM_PROT_USER));
    CHECK_OK(mm_space_destroy(&user));
    fixture_sound(&fx.kernel);
}

static enum mm_err use_up_the_limit(void)
{
    return calling.calls == 1 ? map(&fx.kernel, LOW + 300 * GIB, DATA, K4, MM_PROT_RW) : MM_OK;
}

TEST(limit_that_is_used_up_while_tables_are_taken_holds)
{
    struct mm_space_stats stats;
    uint32_t used;

    fixture_start(4, true, 1);
    mm_space_get_stats(&fx.kernel, &stats);
    CHECK_OK(mm_space_set_limit(&fx.kernel, stats.tables + 4));
    used = fx.frames.used;
    source_calls(use_up_the_limit);
    CHECK_ERR(map(&fx.kernel, LOW, DATA, K4, MM_PROT_RW), MM_ERR_LIMIT);
    CHECK_EQ(fx.frames.used, used + 3);
    fixture_sound(&fx.kernel);
}

/* ---- sources without tags ---- */

static void use_a_bit(struct mm_space *space)
{
    CHECK_OK(map(space, LOW, DATA, 3 * K4, MM_PROT_RW));
    CHECK_OK(map(space, LOW + 511 * K4, DATA + M2, 2 * K4, MM_PROT_RW));
    CHECK_OK(map(space, LOW + GIB, 4 * GIB, GIB, MM_PROT_RW));
    CHECK_OK(unmap(space, LOW + GIB + 5 * M2 + K4, K4));
    CHECK_OK(protect(space, LOW + GIB, 5 * M2, MM_PROT_READ));
    CHECK_OK(unmap(space, LOW + K4, K4));
    CHECK_EQ(space_faults(space), 0);
}

static void drop_all(struct mm_space *space)
{
    CHECK_OK(mm_space_unmap(space, mm_virt(LOW), 2 * GIB, MM_RANGE_HOLES, NULL, NULL));
}

TEST(tables_without_tags_are_searched_and_freed_all_the_same)
{
    fixture_machine(4, true, 2);
    fx.frames.untagged = true;
    fixture_vmm(NULL);
    for (unsigned i = 0; i < 2; i++)
        fixture_cpu_init(i);
    fake_cpu_set(0);
    CHECK_OK(mm_space_create(&fx.vmm, &fx.kernel, MM_SPACE_KERNEL));
    fixture_activate(0, &fx.kernel);
    fixture_activate(1, &fx.kernel);
    use_a_bit(&fx.kernel);
    drop_all(&fx.kernel);
    CHECK_EQ(fx.frames.used, 3);
    fixture_sound(&fx.kernel);
}

/* Only one frame has a tag, or all but one: as if some lay in memory that the PMM has no tags for. */
static mm_phys_t odd_one;
static bool odd_has_tag;

static enum mm_err odd_tag(void *context, mm_phys_t frame, uint16_t **out)
{
    struct mm_frame_source inner = mm_test_frame_source(&fx.frames);

    if ((frame.raw == odd_one.raw) != odd_has_tag)
        return MM_ERR_NOT_FOUND;
    return inner.tag(context, frame, out);
}

static void odd_source(unsigned frames_before, bool has_tag)
{
    struct mm_frame_source source = mm_test_frame_source(&fx.frames);

    source.tag = odd_tag;
    odd_one = mm_phys(RAM_START + frames_before * K4);
    odd_has_tag = has_tag;
    mm_vmm_set_sources(&fx.vmm, &source, NULL);
}

/* The tables of the kernel area would have no locks, and the root one of its own. */
TEST(kernel_space_whose_tables_have_no_tags_below_a_root_with_one_is_refused)
{
    fixture_machine(4, true, 1);
    fixture_vmm(NULL);
    fixture_cpu_init(0);
    odd_source(0, true);
    CHECK_ERR(mm_space_create(&fx.vmm, &fx.kernel, MM_SPACE_KERNEL), MM_ERR_UNSUPPORTED);
    CHECK_EQ(fx.frames.used, 0);
    CHECK(fx.vmm.kernel == NULL);
    odd_source(1, false);
    CHECK_ERR(mm_space_create(&fx.vmm, &fx.kernel, MM_SPACE_KERNEL), MM_ERR_UNSUPPORTED);
    CHECK_EQ(fx.frames.used, 0);

    fx.frames.untagged = true; /* what was found before is no rule for other frames */
    CHECK_OK(mm_space_create(&fx.vmm, &fx.kernel, MM_SPACE_KERNEL));
    CHECK_EQ(fx.kernel.one_lock, 1);
    fixture_activate(0, &fx.kernel);
    use_a_bit(&fx.kernel);
    drop_all(&fx.kernel);
    fixture_sound(&fx.kernel);
}

/* There nothing has locks of its own, whatever tags are below. */
TEST(kernel_space_whose_root_has_no_tag_takes_tables_with_tags)
{
    fixture_machine(4, true, 1);
    fixture_vmm(NULL);
    fixture_cpu_init(0);
    odd_source(0, false);
    CHECK_OK(mm_space_create(&fx.vmm, &fx.kernel, MM_SPACE_KERNEL));
    CHECK_EQ(fx.kernel.one_lock, 1);
    fixture_activate(0, &fx.kernel);
    use_a_bit(&fx.kernel);
    drop_all(&fx.kernel);
    CHECK_EQ(fx.frames.used, 3);
    fixture_sound(&fx.kernel);
}

/* The next kernel space is made by what its own root has. */
TEST(kernel_space_without_tags_follows_one_with_tags)
{
    fixture_start(4, true, 1);
    fake_cpu(0)->root_loaded = false;
    CHECK_OK(mm_cpu_exit(&fx.vmm, 0));
    CHECK_OK(mm_space_destroy(&fx.kernel));
    fx.frames.untagged = true;
    fixture_cpu_init(0);
    CHECK_OK(mm_space_create(&fx.vmm, &fx.kernel, MM_SPACE_KERNEL));
    CHECK_EQ(fx.kernel.one_lock, 1);
    use_a_bit(&fx.kernel);
    fixture_sound(&fx.kernel);
}

/* Tables from before the PMM have no tags, those after have; both are emptied and freed. */
TEST(tables_of_an_untagged_source_live_on_under_a_tagged_one)
{
    struct mm_frame_source tagged, plain;

    fixture_start(4, true, 2);
    tagged = plain = mm_test_frame_source(&fx.frames);
    plain.tag = NULL;
    drop_all(&fx.kernel);
    mm_vmm_set_sources(&fx.vmm, &plain, NULL);
    CHECK_OK(map(&fx.kernel, LOW, DATA, 600 * K4, MM_PROT_RW));
    mm_vmm_set_sources(&fx.vmm, &tagged, NULL);
    CHECK_EQ(space_faults(&fx.kernel), 0);
    CHECK_OK(map(&fx.kernel, LOW + 600 * K4, DATA, 600 * K4, MM_PROT_RW));
    CHECK_OK(unmap(&fx.kernel, LOW + 5 * K4, 1000 * K4));
    CHECK_EQ(space_faults(&fx.kernel), 0);
    drop_all(&fx.kernel);
    CHECK_EQ(fx.frames.used, 3);
    fixture_sound(&fx.kernel);
}

/* ---- the table that was used last ---- */

TEST(last_table_is_not_used_when_it_is_gone)
{
    fixture_start(4, true, 2);
    for (unsigned i = 0; i < 20; i++) {
        mm_test_row("round", i);
        CHECK_OK(map(&fx.kernel, LOW, DATA, K4, MM_PROT_RW)); /* remembered */
        CHECK_OK(map(&fx.kernel, LOW + 9 * K4, DATA, K4, MM_PROT_RW));
        if (i % 4 == 0)
            CHECK_OK(unmap(&fx.kernel, LOW + 9 * K4, K4));
        if (i % 4 == 1)
            CHECK_OK(mm_space_unmap(&fx.kernel, mm_virt(LOW), M2, MM_RANGE_HOLES, NULL, NULL));
        if (i % 4 == 2)
            CHECK_OK(mm_space_unmap(&fx.kernel, mm_virt(LOW), GIB, MM_RANGE_HOLES, NULL, NULL));
        CHECK_OK(map(&fx.kernel, LOW + GIB, DATA, K4, MM_PROT_RW)); /* takes the frames */
        CHECK_OK(map(&fx.kernel, LOW + 20 * K4, DATA + K4, K4, MM_PROT_RW));
        CHECK_EQ(space_faults(&fx.kernel), 0);
        CHECK_EQ(fake_read64(mm_virt(LOW + 20 * K4)).phys.raw, DATA + K4);
        drop_all(&fx.kernel);
    }
    fixture_sound(&fx.kernel);
}
