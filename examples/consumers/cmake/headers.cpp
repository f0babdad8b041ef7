/*
 * headers.cpp - the public headers as C++17.
 */
#include <mm/mm.h>
#include <mm/names.h>

static_assert(sizeof(mm_phys_t) == 8, "an address is one register in C++ as well");

extern "C" bool same_frame(mm_phys_t a, mm_phys_t b)
{
    return mm_frame_of(a) == mm_frame_of(b);
}
