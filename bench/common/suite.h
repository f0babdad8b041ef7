/*
 * suite.h - what the programs of the bench have in common: options, a table of cases, the order of
 * things.
 */
#ifndef BENCH_COMMON_SUITE_H
#define BENCH_COMMON_SUITE_H

#include <stdbool.h>

struct settings; /* how much to do: each suite has its own */

struct suite_case {
    const char *name; /* how its figures are called */
    void (*run)(const struct settings *settings, const char *name, unsigned number);
    unsigned number;
};

struct suite {
    const char *name; /* bench_`name` is the program */
    const struct suite_case *cases;
    unsigned case_count;
    const char *data; /* directory with traces; NULL = the suite has none */
};

struct options {
    bool quick;          /* see that everything runs; the figures mean little */
    const char *json;    /* file; NULL = none */
    const char *pattern; /* of the cases to run; NULL = all */
    const char *data;    /* directory with traces */
};

/* Read the command line. --help is answered, and ends the program, as does what is unknown. */
struct options suite_options(const struct suite *suite, int argc, char **argv);

/* The first line of the output: processor, system, compiler. */
void suite_print_machine(void);

/* Run the cases, sum up, write the JSON. Ends the program if no case has figures. */
void suite_run(const struct suite *suite, const struct options *options,
               const struct settings *settings);

#endif
