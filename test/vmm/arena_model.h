/*
 * arena_model.h - what an arena should do, with one number per page.
 *
 * It tries every place from below, and keeps its quarantine in a ring. Nothing in it is clever.
 */
#ifndef ARENA_MODEL_H
#define ARENA_MODEL_H

#include "arena_fixture.h"

#define PAGES    768u
#define SPANS    500u
#define FREE     0u
#define OUT      UINT16_MAX /* outside of the ranges */
#define TOP_BASE (UINT64_C(0) - PAGES * PAGE)

/* As mm/arena.h says, and arena_quarantine.c: gaps that are looked at before the longer one is asked
 * for; spans that may end their quarantine at once; at each give. */
#define GAPS        64u
#define LET_GO      64u
#define LET_GO_GIVE 4u

enum state {
    NONE,
    TAKEN,
    QUARANTINED
};

struct model_span {
    enum state state;
    uint64_t first, pages, before, after, cookie; /* pages: guards included */
};

struct model_want {
    uint64_t pages, before, after, align, phase, cookie;
};

static struct arena_fixture t;

static struct model {
    uint64_t base, limit; /* of quarantine, in pages */
    uint16_t page[PAGES]; /* FREE, OUT, or 1 + which span */
    struct model_span span[SPANS];
    uint16_t queue[4 * SPANS]; /* 1 + span, or 0 = spent */
    unsigned head, tail;
    uint64_t taken, quarantined; /* pages */
    bool starved;                /* this call gets no other span */
    unsigned failures;           /* calls that failed for that */
} model;

static inline void model_mark(uint64_t first, uint64_t pages, uint16_t from, uint16_t to)
{
    for (uint64_t i = first; i < first + pages; i++) {
        CHECK_EQ(model.page[i], from);
        model.page[i] = to;
    }
}

static inline uint16_t model_new(struct model_span span)
{
    uint16_t i = 0;
    while (i < SPANS && model.span[i].state != NONE)
        i++;
    CHECK(i < SPANS);
    model.span[i] = span;
    model_mark(span.first, span.pages, FREE, (uint16_t)(i + 1));
    return i;
}

static inline void model_free(uint16_t i)
{
    model_mark(model.span[i].first, model.span[i].pages, (uint16_t)(i + 1), FREE);
    model.span[i].state = NONE;
}

static inline struct model_span *model_any(enum state state)
{
    unsigned from = (unsigned)mm_test_below(SPANS);

    for (unsigned i = 0; i < SPANS; i++) {
        struct model_span *span = &model.span[(from + i) % SPANS];

        if (span->state == state)
            return span;
    }
    return NULL;
}

static inline uint64_t address(uint64_t page)
{
    return model.base + page * PAGE;
}

static inline uint64_t model_user(const struct model_span *span)
{
    return address(span->first + span->before);
}

static inline uint64_t model_user_pages(const struct model_span *span)
{
    return span->pages - span->before - span->after;
}

/* What a call answers that would succeed and needs a span more, or not. */
static inline enum mm_err model_needs(bool span)
{
    if (!span || !model.starved)
        return MM_OK;
    model.failures++;
    return MM_ERR_NO_MEMORY;
}

/* ---- quarantine ---- */

static inline void model_pop(void)
{
    uint16_t i = model.queue[model.head++ % (4 * SPANS)];

    if (i == 0)
        return;
    model.quarantined -= model.span[i - 1].pages;
    model_free((uint16_t)(i - 1));
}

/* Of a span that is TAKEN no more. */
static inline void model_push(uint16_t i)
{
    model.span[i].state = QUARANTINED;
    model.quarantined += model.span[i].pages;
    model.queue[model.tail++ % (4 * SPANS)] = (uint16_t)(i + 1);
    CHECK(model.tail - model.head < 4 * SPANS);
    for (unsigned n = 0; n < LET_GO_GIVE && model.head != model.tail; n++) {
        uint16_t oldest = model.queue[model.head % (4 * SPANS)];

        if (oldest != 0 && model.quarantined - model.span[oldest - 1].pages < model.limit)
            break;
        model_pop();
    }
}

static inline void model_retire(uint16_t i)
{
    model.taken -= model.span[i].pages;
    if (model.limit == 0)
        model_free(i);
    else
        model_push(i);
}

/* ---- places ---- */

/* The lowest start in the pages [first, end) that are free, or `end`. */
static inline uint64_t gap_fit(uint64_t first, uint64_t end, const struct model_want *want)
{
    for (uint64_t user = first + want->before; user + want->pages + want->after <= end; user++)
        if (address(user) % (want->align * PAGE) == want->phase * PAGE)
            return user - want->before;
    return end;
}

/* PAGES = none. */
static inline uint64_t model_place(const struct model_want *want)
{
    uint64_t total = want->before + want->pages + want->after, lowest = PAGES;
    unsigned gaps = 0;

    for (uint64_t first = 0, end; first < PAGES; first = end + 1) {
        uint64_t fit;

        for (end = first; end < PAGES && model.page[end] == FREE; end++)
            ;
        if (end - first < total)
            continue;
        fit = gap_fit(first, end, want);
        if (gaps++ < GAPS) {
            if (fit != end)
                return fit;
        } else if (end - first >= total + want->align - 1) {
            return fit;
        } else if (fit != end && lowest == PAGES) {
            lowest = fit;
        }
    }
    return lowest;
}

static inline enum mm_err model_take_lowest(const struct model_want *want, uint64_t *first)
{
    uint64_t total = want->before + want->pages + want->after, inside = 0;

    for (unsigned i = 0; i < PAGES; i++)
        inside += model.page[i] != OUT;
    if (total > inside - model.taken)
        return MM_ERR_NO_ADDRESS;
    for (;;) {
        *first = model_place(want);
        if (*first != PAGES)
            return MM_OK;
        if (model.head == model.tail)
            return MM_ERR_NO_ADDRESS;
        for (unsigned i = 0; i < LET_GO && model.head != model.tail; i++)
            model_pop();
    }
}

/* End the quarantine of what is in the way; what is lowest decides. */
static inline enum mm_err model_clear(uint64_t first, uint64_t end)
{
    for (uint64_t i = first; i < end; i++) {
        uint16_t there = i < PAGES ? model.page[i] : OUT;

        if (there == FREE)
            continue;
        if (there == OUT)
            return MM_ERR_NO_ADDRESS;
        if (model.span[there - 1].state == TAKEN)
            return MM_ERR_EXISTS;
        for (unsigned k = model.head; k != model.tail; k++)
            if (model.queue[k % (4 * SPANS)] == there)
                model.queue[k % (4 * SPANS)] = 0;
        model.quarantined -= model.span[there - 1].pages;
        model_free((uint16_t)(there - 1));
    }
    return MM_OK;
}

#endif
