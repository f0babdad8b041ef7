/*
 * samples.c - one figure measured several times.
 *
 * Problem     One run says little on a machine that does other things as well.
 * Idea        Allocators take turns, round after round; what is shown is the median over the rounds
 *             and how far they lie apart.
 * Invariants  value[0 .. count) are in the order in which they were measured.
 * Locking     None.
 * Cost        O(n^2), n at most 64.
 * Rejected    Means: one interrupted round moves them. Minima: an allocator that is fast once in a
 *             while would look fast.
 */
#include "samples.h"

#include "host.h"

void samples_add(struct samples *samples, double value)
{
    if (samples->count == SAMPLES_MAX)
        die("more than %u samples of one figure", SAMPLES_MAX);
    samples->value[samples->count++] = value;
}

static struct samples sorted(const struct samples *samples)
{
    struct samples out = *samples;

    if (out.count == 0)
        die("a figure without a sample");
    for (unsigned i = 1; i < out.count; i++)
        for (unsigned k = i; k > 0 && out.value[k - 1] > out.value[k]; k--) {
            double swap = out.value[k];

            out.value[k] = out.value[k - 1];
            out.value[k - 1] = swap;
        }
    return out;
}

double samples_median(const struct samples *samples)
{
    struct samples s = sorted(samples);

    return (s.value[(s.count - 1) / 2] + s.value[s.count / 2]) / 2;
}

double samples_min(const struct samples *samples)
{
    return sorted(samples).value[0];
}

double samples_spread(const struct samples *samples)
{
    struct samples s = sorted(samples);
    double median = samples_median(samples);

    return median == 0 ? 0 : (s.value[s.count - 1] - s.value[0]) / median;
}

struct samples samples_quotient(const struct samples *a, const struct samples *b)
{
    struct samples out = {.count = 0};

    for (unsigned i = 0; i < a->count && i < b->count; i++)
        samples_add(&out, a->value[i] / b->value[i]);
    return out;
}
