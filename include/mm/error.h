/*
 * mm/error.h - how calls answer.
 *
 * Every call that can fail returns `enum mm_err` and writes its result through an out-parameter,
 * which it leaves alone on failure. Only heap allocation returns a pointer (NULL on failure).
 * On failure nothing has changed, unless the call's own comment says what is left.
 *
 * NULL for an object or an out-parameter, where a call's comment does not allow it: a call with a
 * status touches nothing and answers MM_ERR_BAD_ARG (frees report it too, since their answer needs
 * no check); a checker counts it as one fault; any other call does nothing, zeroes what it would
 * have filled, and returns 0, false or NULL.
 *
 * The numbers are part of the interface and never change.
 */
#ifndef MM_ERROR_H
#define MM_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

enum mm_err {
    MM_OK = 0,             /* done */
    MM_ERR_BAD_ARG = 1,    /* an argument is out of its domain: NULL, unaligned, empty, wraps */
    MM_ERR_MISUSE = 2,     /* the caller broke a rule (double free, foreign pointer); reported */
    MM_ERR_NO_MEMORY = 3,  /* no frame or heap memory fits the request */
    MM_ERR_NO_ADDRESS = 4, /* no free virtual range fits the request */
    MM_ERR_NO_ROOM = 5,    /* lent storage is full, a deferred gather's included */
    MM_ERR_EXISTS = 6,     /* something is there already: mapped page, taken range */
    MM_ERR_NOT_FOUND = 7,  /* nothing is there: unmapped page, free range, absent tag */
    MM_ERR_RANGE = 8,      /* beyond the physical width, non-canonical, or outside the object */
    MM_ERR_WINDOW = 9,     /* a frame lies outside the window through which libmm reaches memory */
    MM_ERR_LIMIT = 10,     /* a limit that the caller set is reached */
    MM_ERR_POLICY = 11,    /* refused by a policy of the space: W^X, null page, user/kernel half */
    MM_ERR_UNSUPPORTED = 12, /* this version, port or CPU cannot do it */
    MM_ERR_CPU = 13,         /* the CPU lacks, or has switched off, something required */
    MM_ERR_BUSY = 14,        /* in use, or would have to wait where waiting is forbidden */
    MM_ERR_AGAIN = 15,       /* the state changed under the call; look again */
    MM_ERR_GONE = 16,        /* the object is being destroyed */
    MM_ERR_TRUNCATED = 17,   /* boot data end before what they announce */
    MM_ERR_MALFORMED = 18,   /* boot data contradict their specification */
    MM_ERR_HOST = 19,        /* a hook of the host failed */
    MM_ERR_CORRUPT = 20      /* an invariant of libmm does not hold; reported */
};

/* "MM_ERR_NO_MEMORY" for the enumerator of that name; "MM_ERR_?" for a number that is none.
 * Returns a static string. Any context. O(1). */
const char *mm_err_name(enum mm_err err);

/* A short English sentence without a full stop, as in the comments above. Any context. O(1). */
const char *mm_err_text(enum mm_err err);

#ifdef __cplusplus
}
#endif

#endif
