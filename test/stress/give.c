/*
 * give.c - operations that give frames back, or pass them on.
 *
 * Problem     Frames are freed by other threads than took them; in bulk, in blocks, without waiting.
 * Idea        What goes was verified, and has no owner, before the call; mail brings frames to
 *             another thread, which gives them back there.
 * Invariants  moved: give_begun before the call, given after it
 *             What is in the mail is nobody's in `held`, but has its owner's byte
 * Locking     A slot of mail belongs to who swapped its state.
 * Cost        About 1 us each without sanitizers.
 * Rejected    Freeing twice on purpose: test/pmm does; here a report is a failure.
 */
#include "operations.h"

enum mail_state {
    MAIL_EMPTY,
    MAIL_WRITING,
    MAIL_FULL,
    MAIL_READING
};

void tag_verify(const struct held *held)
{
    uint16_t *tag;

    if (!held->tagged)
        return;
    if (mm_pmm_tag(&machine.pmm, mm_frame_phys(held->first), false, &tag) != MM_OK ||
        *tag != (uint16_t)held->stamp)
        stress_failed("the tag of frame 0x%llx is lost", (unsigned long long)held->first);
}

/* Any of those held; it must be put back, given or mailed. */
bool pick(struct worker *worker, struct held *out)
{
    uint32_t at;

    if (worker->held_count == 0)
        return false;
    at = random_below(&worker->random, worker->held_count);
    *out = worker->held[at];
    worker->held[at] = worker->held[--worker->held_count];
    worker->held_frames -= out->count;
    return true;
}

void put_back(struct worker *worker, const struct held *held)
{
    worker->held[worker->held_count++] = *held;
    worker->held_frames += held->count;
}

static void give_begins(struct worker *worker, const struct held *held)
{
    tag_verify(held);
    held_verify(held);
    held_give(held);
    count(&worker->moved.give_begun, held->count);
}

void give(struct worker *worker, const struct held *held)
{
    mm_phys_t first = mm_frame_phys(held->first);
    enum mm_err err;

    give_begins(worker, held);
    if (held->count == 1 && random_below(&worker->random, 4) != 0)
        err = mm_pmm_free_frame(&machine.pmm, first);
    else
        err = mm_pmm_free(&machine.pmm, first, held->count);
    if (err != MM_OK)
        stress_failed("a free is refused: %s", mm_err_name(err));
    count(&worker->moved.given, held->count);
}

void op_free(struct worker *worker)
{
    struct held held;

    if (pick(worker, &held))
        give(worker, &held);
}

/* Either order: the frame counts as given back before, and is taken up again if it was not. */
void op_free_no_wait(struct worker *worker)
{
    struct held held;
    enum mm_err err;

    if (!pick(worker, &held))
        return;
    if (held.count != 1) {
        put_back(worker, &held);
        return;
    }
    give_begins(worker, &held);
    err = mm_pmm_free_no_wait(&machine.pmm, mm_frame_phys(held.first));
    if (err == MM_OK) {
        count(&worker->moved.given, 1);
        return;
    }
    if (err != MM_ERR_BUSY)
        stress_failed("a free without waiting is refused: %s", mm_err_name(err));
    count(&worker->moved.take_begun, 1);
    count(&worker->moved.taken, 1);
    count(&worker->moved.given, 1);
    held_keep(&held);
    put_back(worker, &held);
    worker->refused[worker->kind]++;
}

void op_free_bulk(struct worker *worker)
{
    uint32_t most = 1 + random_below(&worker->random, BULK_MAX);
    mm_phys_t frame[BULK_MAX];
    struct held held;
    uint32_t n = 0;

    while (n < most && pick(worker, &held)) {
        if (held.count != 1) {
            put_back(worker, &held);
            break;
        }
        give_begins(worker, &held);
        frame[n++] = mm_frame_phys(held.first);
    }
    if (mm_pmm_free_bulk(&machine.pmm, frame, n) != MM_OK)
        stress_failed("a bulk free is refused");
    count(&worker->moved.given, n);
}

static bool mail_swap(struct mail *mail, uint32_t from, uint32_t to)
{
    return __atomic_compare_exchange_n(&mail->state, &from, to, false, __ATOMIC_ACQUIRE,
                                       __ATOMIC_RELAXED);
}

void op_send(struct worker *worker)
{
    struct worker *to = &workers.worker[random_below(&worker->random, workers.count)];
    struct mail *mail = &to->mail[random_below(&worker->random, MAIL_MAX)];
    bool sent;

    if (!mail_swap(mail, MAIL_EMPTY, MAIL_WRITING))
        return;
    sent = pick(worker, &mail->held);
    __atomic_store_n(&mail->state, sent ? MAIL_FULL : MAIL_EMPTY, __ATOMIC_RELEASE);
}

void op_receive(struct worker *worker)
{
    for (unsigned i = 0; i < MAIL_MAX; i++) {
        struct mail *mail = &worker->mail[i];
        struct held held;

        if (RELAXED_LOAD(&mail->state) != MAIL_FULL || !mail_swap(mail, MAIL_FULL, MAIL_READING))
            continue;
        held = mail->held;
        __atomic_store_n(&mail->state, MAIL_EMPTY, __ATOMIC_RELEASE);
        give(worker, &held);
    }
}
