/*
 * upkeep.c - operations that neither take nor give: drains, idling, tags, memory that comes and goes.
 *
 * Problem     What a kernel does now and then must fit between what it does all the time.
 * Idea        One operation for each call, checked as far as can be while others run.
 * Invariants  None.
 * Locking     mm_pmm_set_watermark() is thread 0's.
 * Cost        Drains and statistics look at each CPU.
 * Rejected    Query, walk and check: they look at stock of other CPUs, so all must stand still
 *             (machine.c).
 */
#include "operations.h"

void op_drain(struct worker *worker)
{
    if (mm_pmm_drain(&machine.pmm, 0) != MM_OK)
        worker->refused[worker->kind]++;
}

void op_drain_wait(struct worker *worker)
{
    struct attendance before = cpus_attendance();
    struct attendance after;

    if (mm_pmm_drain(&machine.pmm, MM_DRAIN_WAIT) == MM_OK)
        return;
    worker->refused[worker->kind]++;
    after = cpus_attendance();
    if (all_answered(&before, &after))
        stress_failed("a drain does not succeed, though each CPU answers");
}

void op_park(struct worker *worker)
{
    (void)worker;
    mm_pmm_park(&machine.pmm);
}

/* Idle: parked, and deaf. Mostly short: while a CPU is away less can be judged. */
void op_nap(struct worker *worker)
{
    uint32_t most = random_below(&worker->random, 16) == 0 ? 300 : 20;

    mm_pmm_park(&machine.pmm);
    cpu_go();
    for (uint32_t i = random_below(&worker->random, most); i > 0; i--)
        stress_relax();
    cpu_come();
}

void op_serve(struct worker *worker)
{
    (void)worker;
    mm_pmm_serve(&machine.pmm);
}

void op_zero_ahead(struct worker *worker)
{
    for (uint32_t i = random_below(&worker->random, 8); i > 0; i--) {
        enum mm_err err = mm_pmm_zero_ahead(&machine.pmm);

        if (err == MM_ERR_EXISTS)
            return;
        if (err != MM_OK) {
            refused(worker, err);
            return;
        }
    }
}

void op_tag(struct worker *worker)
{
    struct held held;
    uint16_t *tag;
    enum mm_err err;

    if (!pick(worker, &held))
        return;
    tag_verify(&held);
    err = mm_pmm_tag(&machine.pmm, mm_frame_phys(held.first), true, &tag);
    if (err == MM_OK) {
        *tag = (uint16_t)held.stamp;
        held.tagged = true;
    } else {
        refused(worker, err);
    }
    put_back(worker, &held);
}

void op_retire(struct worker *worker)
{
    machine_retire_some(&worker->random);
}

void op_add(struct worker *worker)
{
    if (!machine_add_some())
        worker->refused[worker->kind]++;
}

static void watermark_crossed(void *arg, enum mm_zone zone, enum mm_memory_level level,
                              uint64_t free_frames)
{
    struct worker *worker = &workers.worker[stress_cpu.self];

    (void)arg, (void)zone, (void)level, (void)free_frames;
    if (stress_cpu.depth != 0)
        stress_failed("a watermark is told with interrupts off");
    if (stress_cpu.self >= workers.count || worker->in_callback)
        return;
    worker->in_callback = true;
    op_alloc(worker);
    if (worker->held_count != 0)
        op_free(worker);
    worker->in_callback = false;
}

/* "Serialised with itself": one thread does it. */
void op_watermark(struct worker *worker)
{
    static const enum mm_zone zone[] = {MM_ZONE_DMA, MM_ZONE_DMA32, MM_ZONE_HIGH};
    struct mm_pmm_watermark mark = {.fn = watermark_crossed, .arg = worker};
    bool watch = random_below(&worker->random, 4) != 0;

    if (worker->number != 0)
        return;
    mark.min_frames = random_below(&worker->random, 1000);
    mark.low_frames = mark.min_frames + random_below(&worker->random, 1000);
    mark.high_frames = mark.low_frames + random_below(&worker->random, 1000);
    if (mm_pmm_set_watermark(&machine.pmm, zone[random_below(&worker->random, 3)],
                             watch ? &mark : NULL) != MM_OK)
        stress_failed("a watermark is refused");
}

/* Off by at most what moved meanwhile. */
void op_stats(struct worker *worker)
{
    struct instant before = instant_now();
    struct instant after;
    struct mm_pmm_stats stats;
    uint64_t moved, most, least, managed, free;

    (void)mm_pmm_free_frames(&machine.pmm);
    mm_pmm_get_stats(&machine.pmm, &stats);
    after = instant_now();
    mm_pmm_get_node_stats(&machine.pmm, worker->number % 2, &managed, &free);
    if (!memory_was_constant(&before, &after))
        return;
    moved = after.moved.take_begun - before.moved.taken - before.moved.not_taken +
            after.moved.give_begun - before.moved.given;
    most = held_most(&before, &after) + moved + 3 * (uint64_t)workers.count + stats.side_frames;
    least = held_least(&before, &after);
    least = least > moved ? least - moved : 0;
    if (stats.free_frames + most < stats.managed_frames ||
        stats.free_frames + least > stats.managed_frames)
        stress_failed("%llu frames free of %llu, though others have %llu to %llu",
                      (unsigned long long)stats.free_frames,
                      (unsigned long long)stats.managed_frames, (unsigned long long)least,
                      (unsigned long long)most);
}

void op_blocks(struct worker *worker)
{
    struct mm_pmm_blocks blocks;

    (void)worker;
    mm_pmm_get_blocks(&machine.pmm, &blocks);
}
