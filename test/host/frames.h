/*
 * frames.h - the frame source of unit tests: the hostile one of the simulated machine.
 */
#ifndef MM_TEST_FRAMES_H
#define MM_TEST_FRAMES_H

#include "fake_frames.h"

#define MM_TEST_FRAMES_MAX 4096u

#define mm_test_frames       fake_frames
#define mm_test_frames_init  fake_frames_init
#define mm_test_frame_source fake_frame_source
#define mm_test_frame_out    fake_frame_out

#endif
