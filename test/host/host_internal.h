/*
 * host_internal.h - what the files of test/host share.
 */
#ifndef MM_TEST_HOST_INTERNAL_H
#define MM_TEST_HOST_INTERNAL_H

#include "mm_test.h"

void mm_test_host_reset(void);
bool mm_test_reports_unseen(void); /* prints them */
_Noreturn void mm_test_machine_failed(const char *what);

#endif
