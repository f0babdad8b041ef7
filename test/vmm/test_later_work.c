/*
 * test_later_work.c - spaces that are destroyed later, and work of the caller's own.
 */
#include "later_fixture.h"

#include <pthread.h>
#include <sched.h>

/* ---- a space that is destroyed later ---- */

static void handler_destroys(void *arg)
{
    struct fake_counts before = fake_counts(), after;
    uint32_t used = fx.frames.used;

    CHECK_OK(mm_space_destroy_later(arg));
    CHECK_ERR(mm_space_destroy_later(arg), MM_ERR_GONE);
    CHECK_ERR(mm_space_destroy(arg), MM_ERR_GONE);
    after = fake_counts();
    CHECK_EQ(flushes(&after), flushes(&before));
    CHECK_EQ(fx.frames.used, used);
}

TEST(a_space_that_is_destroyed_in_an_interrupt_handler_is_gone_at_once)
{
    struct mm_space other = MM_ZERO;
    uint32_t used;

    start();
    used = fx.frames.used;
    CHECK_OK(mm_space_create(&fx.vmm, &other, 0));
    CHECK_OK(map(&other, LOW, DATA, 600 * K4, MM_PROT_RW));
    CHECK_OK(mm_space_populate(&other, mm_virt(2 * LOW), 70 * K4, MM_PROT_RW, 0, NULL));
    fixture_activate(1, &other);
    fake_cpu_set(1);
    CHECK_EQ(fake_read64(mm_virt(LOW)).fault, FAKE_OK);
    fake_cpu_set(0);
    fixture_activate(1, &user);
    fake_interrupt_once(handler_destroys, &other, 2);
    CHECK_OK(map(&user, LOW, DATA, K4, MM_PROT_RW));
    CHECK(!fake_interrupt_pending());
    CHECK_ERR(map(&other, LOW + GIB, DATA, K4, MM_PROT_RW), MM_ERR_GONE);
    CHECK_ERR(mm_space_activate(&other), MM_ERR_GONE);
    CHECK_ERR(mm_space_create(&fx.vmm, &other, 0), MM_ERR_EXISTS);
    CHECK_EQ(mm_pmm_free_frames(&pmm), pmm_free - 70);
    CHECK(!mm_space_is_destroyed(&other)); /* the struct is in the queue */
    CHECK_EQ(mm_reap(&fx.vmm), 1);
    CHECK(mm_space_is_destroyed(&other));
    CHECK_EQ(mm_pmm_free_frames(&pmm), pmm_free);
    CHECK_OK(unmap(&user, LOW, K4));
    CHECK_EQ(fx.frames.used, used);
    CHECK_ERR(map(&other, LOW, DATA, K4, MM_PROT_RW), MM_ERR_GONE);
    CHECK_OK(mm_space_create(&fx.vmm, &other, 0));
    CHECK(!mm_space_is_destroyed(&other));
    CHECK_OK(mm_space_destroy(&other));
    CHECK(mm_space_is_destroyed(&other) && !mm_space_is_destroyed(NULL));
    finish();
}

/* ---- the struct while tables are freed ---- */

static struct {
    struct mm_frame_source source;
    struct mm_space *space;
    bool tried;
} frees;

static void free_and_create(void *context, mm_phys_t frame)
{
    if (frees.space != NULL) {
        frees.tried = true;
        CHECK_ERR(mm_space_create(&fx.vmm, frees.space, 0), MM_ERR_EXISTS);
    }
    frees.source.free(context, frame);
}

TEST(the_struct_of_a_space_is_in_use_until_its_last_table_is_free)
{
    struct mm_frame_source source;
    struct mm_space other = MM_ZERO;

    start();
    source = frees.source = mm_test_frame_source(&fx.frames);
    source.free = free_and_create;
    frees.space = NULL;
    frees.tried = false;
    mm_vmm_set_sources(&fx.vmm, &source, &pmm);
    CHECK_OK(mm_space_create(&fx.vmm, &other, 0));
    CHECK_OK(map(&other, LOW, DATA, K4, MM_PROT_RW));
    CHECK_OK(mm_space_destroy_later(&other));
    frees.space = &other;
    CHECK_EQ(mm_reap(&fx.vmm), 1);
    frees.space = NULL;
    CHECK(frees.tried);
    CHECK_OK(mm_space_create(&fx.vmm, &other, 0));
    CHECK_OK(mm_space_destroy(&other));
    finish();
}

TEST(a_space_that_is_needed_is_not_destroyed_later_either)
{
    struct mm_cursor cursor;
    uint32_t used;

    start();
    used = fx.frames.used;
    CHECK_ERR(mm_space_destroy_later(&user), MM_ERR_BUSY); /* loaded */
    CHECK_ERR(mm_space_destroy_later(&fx.kernel), MM_ERR_BUSY);
    leave();
    late_begin();
    CHECK_ERR(mm_space_destroy_later(&user), MM_ERR_BUSY);
    mm_gather_end(&late);
    CHECK_ERR(mm_space_destroy_later(&user), MM_ERR_BUSY); /* until the reap */
    CHECK_EQ(mm_reap(&fx.vmm), 1);
    CHECK_OK(mm_cursor_begin(&cursor, &fx.kernel, MM_PROT_RW, MM_MEMTYPE_WB, 0, NULL));
    CHECK_ERR(mm_space_destroy_later(&user), MM_ERR_BUSY);
    mm_cursor_end(&cursor);
    CHECK_EQ(mm_reap(&fx.vmm), 0);
    CHECK_EQ(fx.frames.used, used);
    CHECK_OK(map(&user, LOW, DATA, K4, MM_PROT_RW)); /* it lives */
    CHECK_OK(mm_space_destroy_later(&user));
    CHECK_EQ(mm_reap(&fx.vmm), 1);
    CHECK_EQ(fx.frames.used, used - 1);
    fixture_sound(&fx.kernel);
}

/* A call that was inside the space may still read its tables. */
#define LONG 20000u /* points for an interrupt: more than a teardown has */
static unsigned waited;

static void section_ends(void *arg)
{
    (void)arg;
    CHECK(waited >= LONG || fx.frames.used == tables_used + 3);
    if (++waited == LONG)
        fx.cpu[1].section = 0;
}

TEST(a_space_that_is_destroyed_later_waits_for_calls_that_have_begun)
{
    start();
    CHECK_OK(map(&user, LOW, DATA, K4, MM_PROT_RW));
    leave();
    waited = 0;
    fx.cpu[1].section = fx.vmm.epoch; /* as if it were in the middle of a walk */
    CHECK_OK(mm_space_destroy_later(&user));
    fake_interrupt_set(section_ends, NULL);
    CHECK_EQ(mm_reap(&fx.vmm), 1);
    fake_interrupt_set(NULL, NULL);
    CHECK(waited >= LONG);
    CHECK_EQ(fx.frames.used, tables_used - 1);
    fixture_sound(&fx.kernel);
}

TEST(the_kernel_space_is_destroyed_later)
{
    fixture_machine(4, true, 1);
    fixture_vmm(NULL);
    fixture_cpu_init(0);
    CHECK_OK(mm_space_create(&fx.vmm, &fx.kernel, MM_SPACE_KERNEL));
    CHECK_OK(map(&fx.kernel, HIGH, DATA, K4, MM_PROT_RW));
    CHECK_OK(mm_space_destroy_later(&fx.kernel));
    CHECK_ERR(mm_space_create(&fx.vmm, &user, 0), MM_ERR_NOT_FOUND);
    CHECK_ERR(mm_space_create(&fx.vmm, &user, MM_SPACE_KERNEL), MM_ERR_EXISTS);
    CHECK_EQ(mm_reap(&fx.vmm), 1);
    CHECK_EQ(fx.frames.used, 0);
    CHECK_OK(mm_space_create(&fx.vmm, &fx.kernel, MM_SPACE_KERNEL));
    fixture_sound(&fx.kernel);
}

/* ---- the caller's own work ---- */

struct work {
    struct mm_later later; /* first */
    unsigned number;
    struct work *more;
};

static unsigned worked[16], works;

static void work(struct mm_later *later)
{
    struct work *w = (struct work *)later;

    worked[works++] = w->number;
    if (w->more != NULL)
        mm_later_add(&fx.vmm, &w->more->later);
    memset(w, 0x55, sizeof *w); /* it may be anything now */
}

TEST(work_is_done_in_the_order_in_which_it_came)
{
    struct work w[6], more = {.later = {.run = work}, .number = 100};

    start();
    works = 0;
    for (unsigned i = 0; i < 6; i++) {
        w[i] = (struct work){.later = {.run = work}, .number = i};
        w[i].more = i == 2 ? &more : NULL;
        mm_later_add(&fx.vmm, &w[i].later);
        if (i != 3)
            continue;
        late_begin();
        mm_gather_end(&late);
    }
    CHECK_EQ(works, 0);
    CHECK_EQ(mm_reap(&fx.vmm), 7);
    CHECK_EQ(works, 6);
    for (unsigned i = 0; i < 6; i++)
        CHECK_EQ(worked[i], i);
    CHECK_EQ(mm_reap(&fx.vmm), 1); /* what was added meanwhile */
    CHECK_EQ(worked[6], 100);
    finish();
}

TEST(work_that_is_none_is_reported_and_nothing_is_reaped)
{
    struct work w = {.later = {.run = NULL}};
    struct mm_vmm zeroed = MM_ZERO;

    start();
    mm_later_add(&fx.vmm, &w.later);
    mm_later_add(&fx.vmm, NULL);
    w.later.run = work;
    mm_later_add(NULL, &w.later);
    mm_later_add(&zeroed, &w.later);
    CHECK_EQ(mm_test_report_count(), 4);
    CHECK_TEXT(mm_test_report(0)->what, "nothing to do later");
    CHECK_TEXT(mm_test_report(0)->where, "mm_later_add");
    mm_test_reports_clear();
    CHECK_EQ(mm_reap(NULL), 0);
    CHECK_EQ(mm_reap(&zeroed), 0);
    finish();
}

/* ---- several CPUs at once ---- */

#define ADDERS  3u
#define REAPERS 2u
#define EACH    20000u

static struct counted {
    struct mm_later later;
    uint32_t ran;
} counted[ADDERS][EACH];
static uint32_t adders_left;
static pthread_barrier_t all_there;
static uint64_t reaped;

static void count_one(struct mm_later *later)
{
    __atomic_fetch_add(&((struct counted *)later)->ran, 1, __ATOMIC_RELAXED);
}

static void *adder(void *arg)
{
    struct counted *mine = arg;

    (void)pthread_barrier_wait(&all_there);
    for (unsigned i = 0; i < EACH; i++) {
        mine[i] = (struct counted){.later = {.run = count_one}};
        mm_later_add(&fx.vmm, &mine[i].later);
        if (i % 16 == 0)
            sched_yield(); /* the host may have few CPUs */
    }
    __atomic_fetch_sub(&adders_left, 1, __ATOMIC_RELEASE);
    return NULL;
}

static void *reaper(void *arg)
{
    size_t count;
    bool last;

    (void)pthread_barrier_wait(&all_there);
    do {
        last = __atomic_load_n(&adders_left, __ATOMIC_ACQUIRE) == 0;
        count = mm_reap(&fx.vmm);
        __atomic_fetch_add(&reaped, count, __ATOMIC_RELAXED);
        if (count == 0)
            sched_yield();
    } while (!last);
    return arg;
}

TEST(work_from_several_cpus_is_done_once_each)
{
    pthread_t thread[ADDERS + REAPERS];

    fixture_start(4, true, 1);
    adders_left = ADDERS;
    reaped = 0;
    CHECK_EQ(pthread_barrier_init(&all_there, NULL, ADDERS + REAPERS), 0);
    for (unsigned i = 0; i < ADDERS + REAPERS; i++)
        CHECK_EQ(pthread_create(&thread[i], NULL, i < ADDERS ? adder : reaper,
                                i < ADDERS ? counted[i] : NULL),
                 0);
    for (unsigned i = 0; i < ADDERS + REAPERS; i++)
        CHECK_EQ(pthread_join(thread[i], NULL), 0);
    CHECK_EQ(pthread_barrier_destroy(&all_there), 0);
    CHECK_EQ(reaped, ADDERS * EACH);
    for (unsigned i = 0; i < ADDERS * EACH; i++)
        CHECK_EQ(counted[i / EACH][i % EACH].ran, 1);
    fixture_sound(&fx.kernel);
}
