/*
 * break.h - faults that can be built in on purpose.
 *
 * Problem     A test that cannot fail proves nothing.
 * Idea        Each word is 0, and the compiler drops the code; a build with -DMM_BREAK_x=1 has that
 *             one fault, and the tests must notice. tools/breaks.txt lists them, and
 *             `scripts/run --break NAME` builds and boots one.
 * Invariants  All are 0 in every archive that is installed.
 * Locking     None.
 * Cost        None.
 * Rejected    Patching sources in tests: the patch rots.
 */
#ifndef MM_BASE_BREAK_H
#define MM_BASE_BREAK_H

/* Entries are changed but no translation is flushed. */
#ifndef MM_BREAK_DROP_FLUSH
#define MM_BREAK_DROP_FLUSH 0
#endif

/* Every 16th freed frame is forgotten: neither free nor allocated any more. */
#ifndef MM_BREAK_LEAK_FRAME
#define MM_BREAK_LEAK_FRAME 0
#endif

/* Reservations are accepted and not noted. */
#ifndef MM_BREAK_IGNORE_RESERVATION
#define MM_BREAK_IGNORE_RESERVATION 0
#endif

/* Tables go back to their source before the flush that makes them unreachable. */
#ifndef MM_BREAK_FREE_BEFORE_FLUSH
#define MM_BREAK_FREE_BEFORE_FLUSH 0
#endif

#endif
