/*
 * samples.h - one figure measured several times.
 */
#ifndef BENCH_COMMON_SAMPLES_H
#define BENCH_COMMON_SAMPLES_H

#define SAMPLES_MAX 64u

/* Zero-initialised is empty. */
struct samples {
    double value[SAMPLES_MAX];
    unsigned count;
};

void samples_add(struct samples *samples, double value);

/* The middle one; of an even number the mean of the middle two. Ends the program if empty. */
double samples_median(const struct samples *samples);
double samples_min(const struct samples *samples);

/* (max - min) / median. */
double samples_spread(const struct samples *samples);

/* Each sample is the quotient of two that were measured in the same round. */
struct samples samples_quotient(const struct samples *a, const struct samples *b);

#endif
