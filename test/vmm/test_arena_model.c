/*
 * test_arena_model.c - the arena against a model that has one number per page.
 *
 * Problem     A balanced tree has cases that nobody thinks of, and quarantine, cuts and growth
 *             meet in orders that nobody writes down.
 * Idea        Random calls. The model tries every place from below; what it says must come out,
 *             addresses and errors, quarantine included. For a third of the time there is no frame
 *             for more spans: then the call fails and has changed nothing. (With a quarantine it
 *             ends a part of that instead: test_arena_quarantine.c.) Often, all pages are looked
 *             up, all spans walked, and the arena checks itself.
 */
#include "arena_model.h"

/* ---- calls ---- */

static void call_take(bool exact)
{
    uint64_t align = UINT64_C(1) << mm_test_below(6);
    struct model_want want = {
        .pages = 1 + mm_test_below(mm_test_below(20) == 0 ? 300 : 12),
        .before = mm_test_below(3),
        .after = mm_test_below(3),
        .align = exact ? 1 : align,
        .phase = exact ? 0 : mm_test_below(align),
        .cookie = mm_test_random(),
    };
    uint64_t total = want.before + want.pages + want.after, first = mm_test_below(PAGES);
    struct mm_arena_request request = {
        .bytes = want.pages * PAGE - mm_test_below(PAGE),
        .align_bytes = want.align * PAGE,
        .phase_bytes = want.phase * PAGE,
        .cookie = want.cookie,
        .guard_before_frames = (uint32_t)want.before,
        .guard_after_frames = (uint32_t)want.after,
        .flags = exact ? MM_ARENA_EXACT : 0,
    };
    mm_virt_t virt = mm_virt(42);
    enum mm_err err;

    if (exact && first + total > PAGES)
        return; /* the ends are in test_arena.c */
    request.at = mm_virt(exact ? address(first + want.before) : mm_test_random());
    err = exact ? model_clear(first, first + total) : model_take_lowest(&want, &first);
    if (err == MM_OK)
        err = model_needs(true);
    CHECK_ERR(mm_arena_take(&t.arena, &request, &virt), err);
    CHECK_EQ(virt.raw, err == MM_OK ? address(first + want.before) : 42);
    if (err != MM_OK)
        return;
    model.taken += total;
    (void)model_new((struct model_span){TAKEN, first, total, want.before, want.after, want.cookie});
}

static void call_give(void)
{
    struct model_span *span = model_any(TAKEN);

    if (span == NULL)
        return;
    CHECK_OK(mm_arena_give(&t.arena, mm_virt(model_user(span))));
    model_retire((uint16_t)(span - model.span));
}

static void call_grow(void)
{
    struct model_span *span = model_any(TAKEN);
    uint64_t more = 1 + mm_test_below(6);
    enum mm_err err;

    if (span == NULL)
        return;
    err = model_clear(span->first + span->pages, span->first + span->pages + more);
    CHECK_ERR(mm_arena_grow(&t.arena, mm_virt(model_user(span)), more * PAGE - mm_test_below(PAGE)),
              err);
    if (err != MM_OK)
        return;
    model_mark(span->first + span->pages, more, FREE, (uint16_t)(span - model.span + 1));
    span->pages += more;
    model.taken += more;
}

static void call_cut(void)
{
    struct model_span *span = model_any(TAKEN), old, piece;
    uint64_t from, pages;
    enum mm_err err;
    uint16_t i, kept;

    if (span == NULL)
        return;
    i = (uint16_t)(span - model.span);
    old = *span;
    from = mm_test_below(3) == 0 ? 0 : mm_test_below(model_user_pages(span));
    pages = mm_test_below(3) == 0 ? model_user_pages(span) - from
                                  : 1 + mm_test_below(model_user_pages(span) - from);
    err = model_needs(from != 0 && from + pages != model_user_pages(span));
    CHECK_ERR(mm_arena_cut(&t.arena, mm_virt(model_user(span) + from * PAGE), pages * PAGE), err);
    if (err != MM_OK)
        return;
    if (pages == model_user_pages(&old)) {
        model_retire(i);
        return;
    }
    model_free(i);
    model.taken -= pages;
    piece = (struct model_span){TAKEN, old.first + old.before + from, pages, 0, 0, old.cookie};
    if (from == 0)
        piece.first -= old.before;
    else if (from + pages == model_user_pages(&old))
        piece.first += old.after;
    if (piece.first > old.first)
        (void)model_new((struct model_span){
            TAKEN, old.first, piece.first - old.first, old.before,
            piece.first + pages == old.first + old.pages ? old.after : 0, old.cookie});
    if (piece.first + pages < old.first + old.pages)
        (void)model_new((struct model_span){
            TAKEN, piece.first + pages, old.first + old.pages - piece.first - pages,
            piece.first == old.first ? old.before : 0, old.after, old.cookie});
    if (model.limit == 0)
        return;
    kept = model_new(piece);
    model_push(kept);
}

/* Is the page below, or above, outside of the arena? */
static bool model_out_below(uint64_t page)
{
    return page == 0 ? model.base != 0 : model.page[page - 1] == OUT;
}

static bool model_out_above(uint64_t page)
{
    return page == PAGES - 1 || model.page[page + 1] == OUT;
}

static void call_add(void)
{
    uint64_t first = mm_test_below(PAGES), pages = 1 + mm_test_below(40);
    enum mm_err err = MM_OK;

    if (first + pages > PAGES)
        return;
    for (uint64_t i = first; i < first + pages; i++)
        if (model.page[i] != OUT)
            err = MM_ERR_EXISTS;
    if (err == MM_OK)
        err = model_needs(model_out_below(first) && model_out_above(first + pages - 1));
    CHECK_ERR(mm_arena_add(&t.arena, (struct mm_virt_range){mm_virt(address(first)), pages * PAGE}),
              err);
    if (err == MM_OK)
        model_mark(first, pages, OUT, FREE);
}

static void call_wrong(void)
{
    uint64_t page = mm_test_below(PAGES);
    uint16_t there = model.page[page];
    bool start = there != FREE && there != OUT && model.span[there - 1].state == TAKEN &&
                 model_user(&model.span[there - 1]) == address(page);

    if (start)
        return;
    CHECK_ERR(mm_arena_give(&t.arena, mm_virt(address(page))), MM_ERR_MISUSE);
    check_reported("address is not the start of a span", address(page));
    CHECK_ERR(mm_arena_grow(&t.arena, mm_virt(address(page)), PAGE), MM_ERR_MISUSE);
    check_reported("address is not the start of a span", address(page));
}

static void call_any(void)
{
    unsigned what = (unsigned)mm_test_below(1000);

    if (what < 450)
        call_take(false);
    else if (what < 500)
        call_take(true);
    else if (what < 830)
        call_give();
    else if (what < 880)
        call_grow();
    else if (what < 950)
        call_cut();
    else if (what < 960)
        call_add();
    else if (what < 999)
        call_wrong();
    else {
        mm_arena_drain(&t.arena);
        while (model.head != model.tail)
            model_pop();
    }
}

/* ---- comparing ---- */

static void compare_stats(void)
{
    uint64_t largest = 0, run = 0, inside = 0, taken = 0, quarantined = 0;
    struct mm_arena_stats stats;

    for (unsigned i = 0; i < PAGES; i++) {
        run = model.page[i] == FREE ? run + 1 : 0;
        largest = run > largest ? run : largest;
        inside += model.page[i] != OUT;
    }
    for (unsigned i = 0; i < SPANS; i++) {
        taken += model.span[i].state == TAKEN;
        quarantined += model.span[i].state == QUARANTINED;
    }
    mm_arena_get_stats(&t.arena, &stats);
    CHECK_EQ(stats.spans, taken);
    CHECK_EQ(stats.taken_bytes, model.taken * PAGE);
    CHECK_EQ(stats.quarantined_spans, quarantined);
    CHECK_EQ(stats.quarantined_bytes, model.quarantined * PAGE);
    CHECK_EQ(stats.free_bytes, (inside - model.taken - model.quarantined) * PAGE);
    CHECK_EQ(stats.largest_free_bytes, largest * PAGE);
    CHECK_EQ(stats.bookkeeping_bytes, t.frames.used * PAGE);
}

static void compare_info(const struct mm_arena_info *info, const struct model_span *span)
{
    CHECK_EQ(info->start.raw, model_user(span));
    CHECK_EQ(info->bytes, model_user_pages(span) * PAGE);
    CHECK_EQ(info->cookie, span->cookie);
    CHECK_EQ(info->state, span->state == TAKEN ? MM_ARENA_TAKEN : MM_ARENA_QUARANTINED);
    CHECK_EQ(info->guard_before_frames, span->before);
    CHECK_EQ(info->guard_after_frames, span->after);
}

/* Each page, through find. */
static void compare_pages(void)
{
    for (uint64_t page = 0; page < PAGES; page++) {
        uint16_t there = model.page[page];
        const struct model_span *span;
        struct mm_arena_info info;
        enum mm_err err =
            mm_arena_find(&t.arena, mm_virt(address(page) + mm_test_below(PAGE)), &info);

        CHECK_ERR(err, there == FREE || there == OUT ? MM_ERR_NOT_FOUND : MM_OK);
        if (err != MM_OK)
            continue;
        span = &model.span[there - 1];
        compare_info(&info, span);
        CHECK_EQ(info.guard, page < span->first + span->before ||
                                 page >= span->first + span->pages - span->after);
    }
}

/* Each span, in order. */
static void compare_walk(void)
{
    struct mm_arena_cursor cursor = MM_ZERO;
    struct mm_arena_info info;

    for (uint64_t page = 0; page < PAGES;) {
        uint16_t there = model.page[page];

        if (there == FREE || there == OUT) {
            page++;
            continue;
        }
        CHECK_OK(mm_arena_walk(&t.arena, &cursor, &info));
        compare_info(&info, &model.span[there - 1]);
        page += model.span[there - 1].pages;
    }
    CHECK_ERR(mm_arena_walk(&t.arena, &cursor, &info), MM_ERR_NOT_FOUND);
    CHECK_ERR(mm_arena_walk(&t.arena, &cursor, &info), MM_ERR_NOT_FOUND);
}

/* ---- runs ---- */

/* Half of the pages are in the arena from the start, and from time to time one begins anew. */
static void run(uint64_t base, uint64_t limit, unsigned steps)
{
    unsigned failures = 0;

    for (unsigned i = 0; i < steps; i++) {
        mm_test_row("step", i);
        if (i % 1000 == 0) {
            failures += model.failures;
            model = (struct model){.base = base, .limit = limit};
            for (unsigned k = 0; k < PAGES; k++)
                model.page[k] = k < PAGES / 4 || k >= PAGES * 3 / 4 ? OUT : FREE;
            fixture_grow(&t, address(PAGES / 4), PAGES / 2, (uint32_t)mm_test_below(9), limit);
        }
        t.frames.empty = limit == 0 && i % 1000 < 300;
        model.starved = t.frames.empty && t.arena.spare_count == 0;
        call_any();
        compare_stats();
        if (i % 32 == 0)
            CHECK_EQ(mm_arena_check(&t.arena, NULL), 0);
        if (i % 256 == 0) {
            compare_pages();
            compare_walk();
        }
    }
    CHECK_EQ(mm_arena_check(&t.arena, NULL), 0);
    CHECK(failures > 1000 || limit != 0);
}

TEST(arena_agrees_with_a_model)
{
    run(UINT64_C(0xffffe00000000000), 0, 60000);
}

TEST(arena_that_ends_at_the_top_agrees_with_a_model)
{
    run(TOP_BASE, 0, 60000);
}

TEST(arena_that_starts_at_zero_agrees_with_a_model)
{
    run(0, 0, 60000);
}

TEST(arena_with_a_small_quarantine_agrees_with_a_model)
{
    run(TOP_BASE, 60, 60000);
}

TEST(arena_with_a_quarantine_larger_than_itself_agrees_with_a_model)
{
    run(0, PAGES * 2, 60000);
}
