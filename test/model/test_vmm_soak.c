/*
 * test_vmm_soak.c - a million random operations on random machines, judged by the model.
 *
 *     MM_SOAK_OPS=20000000 test_model_vmm_soak    the long run
 *     MM_SEED=... MM_SOAK_ROUND=... MM_SOAK_OPS=... test_model_vmm_soak
 *                                                 what a failure prints: the same again
 *     MM_SOAK_SKIP=FILE                           operations to leave out, one number in each line
 *     MM_SOAK_TELL=1                              each operation in words as it is done
 *
 * A round that fails is made small by itself, where processes can be forked: operations are left out as
 * long as it still fails, and those that remain are told. MM_SOAK_SMALL= is the number of tries, 0 none.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mm_test.h"
#include "vmm_ops.h"

#define OPS       1000000u
#define ROUND_OPS 4000u
#define TRIES     600u /* runs of the round to make a failure small, a tenth of a second each */
#define TOLD_MAX  200u /* operations; of more only the last ones are */

/* Of the sanitizers' runtime, if there is one. */
extern void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static uint64_t round_number;
static uint8_t skip[ROUND_OPS / 8];

static uint64_t number_of(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text != NULL ? strtoull(text, NULL, 0) : otherwise;
}

static uint64_t round_seed(void)
{
    return mm_test_seed() * UINT64_C(0xd1342543de82ef95) + (round_number << 32);
}

static void skip_read(void)
{
    const char *path = getenv("MM_SOAK_SKIP");
    FILE *file = path != NULL ? fopen(path, "r") : NULL;
    unsigned long n;

    if (file == NULL)
        return;
    while (fscanf(file, "%lu", &n) == 1)
        if (n < ROUND_OPS)
            skip[n / 8] |= (uint8_t)(1u << n % 8);
    fclose(file);
}

/* ---- smaller ---- */

static void child_failed(const char *file, int line, const char *what)
{
    (void)file, (void)line, (void)what;
    _exit(1);
}

static void child_machine_failed(const char *what)
{
    (void)what;
    _exit(1);
}

/* Does the round still fail without what is in `skip`? */
static bool fails(uint64_t ops)
{
    struct vmm_ops_result result = {.ops = 0};
    int status = 0;
    pid_t child;

    fflush(NULL);
    child = fork();
    if (child < 0)
        return false;
    if (child == 0) {
        if (freopen("/dev/null", "w", stderr) == NULL)
            _exit(0);
        fake_set_failure(child_machine_failed);
        if (setjmp(*mm_test_panic_expect()) != 0)
            _exit(1);
        vmm_ops_round(round_seed(), ops, skip, &result, child_failed);
        _exit(0);
    }
    return waitpid(child, &status, 0) == child && status != 0;
}

/* Leave out whole stretches first, then single operations. */
static unsigned make_small(uint64_t ops)
{
    uint64_t left = number_of("MM_SOAK_SMALL", TRIES);
    unsigned kept = 0;

    for (uint64_t stretch = ops / 2; stretch > 0 && left > 0; stretch /= 2) {
        for (uint64_t at = 0; at < ops && left > 0; at += stretch) {
            uint8_t before[sizeof skip];

            memcpy(before, skip, sizeof skip);
            for (uint64_t i = at; i < at + stretch && i < ops; i++)
                skip[i / 8] |= (uint8_t)(1u << i % 8);
            if (memcmp(before, skip, sizeof skip) == 0)
                continue;
            left--;
            if (!fails(ops))
                memcpy(skip, before, sizeof skip);
        }
    }
    for (uint64_t i = 0; i < ops; i++)
        kept += (skip[i / 8] >> i % 8 & 1) == 0 ? 1 : 0;
    fprintf(stderr, "it still fails with %u of %llu operations:\n", kept, (unsigned long long)ops);
    return kept;
}

/* ---- the test ---- */

static uint64_t round_ops;

static void told(void)
{
    static bool once;

    if (once)
        return;
    once = true;
    fprintf(stderr, "again: MM_SEED=%#llx MM_SOAK_ROUND=%llu MM_SOAK_OPS=%llu\n",
            (unsigned long long)mm_test_seed(), (unsigned long long)round_number,
            (unsigned long long)round_ops);
}

static void last_failed(const char *file, int line, const char *what)
{
    mm_test_failed(file, line, what);
}

static void again(void)
{
    struct vmm_ops_result result = {.ops = 0};

    if (number_of("MM_SOAK_SMALL", 1) == 0 || number_of("MM_SOAK_TELL", 0) != 0)
        return;
    fprintf(stderr, "made smaller: a minute or two\n");
    vmm_ops_verbose(make_small(round_ops) <= TOLD_MAX);
    if (setjmp(*mm_test_machine_expect()) != 0) {
        vmm_ops_tell();
        mm_test_failed(__FILE__, __LINE__, mm_test_machine());
    }
    vmm_ops_round(round_seed(), round_ops, skip, &result, last_failed);
}

static void failed(const char *file, int line, const char *what)
{
    told();
    again();
    mm_test_failed(file, line, what);
}

/* Each round is a new machine, and depends on the seed and its own number only. */
static void round_run(uint64_t ops, struct vmm_ops_result *result)
{
    char line[300];

    round_ops = ops;
    if (setjmp(*mm_test_panic_expect()) != 0) {
        told();
        vmm_ops_tell();
        (void)mm_report_format(line, sizeof line, mm_test_panic());
        failed(__FILE__, __LINE__, line);
    }
    if (setjmp(*mm_test_machine_expect()) != 0) {
        told();
        vmm_ops_tell();
        (void)snprintf(line, sizeof line, "%s", mm_test_machine());
        fprintf(stderr, "%s\n", line);
        failed(__FILE__, __LINE__, line);
    }
    vmm_ops_round(round_seed(), ops, skip, result, failed);
}

TEST(vmm_answers_a_million_random_calls_as_a_list_of_pieces_does)
{
    uint64_t ops = number_of("MM_SOAK_OPS", OPS);
    struct vmm_ops_result result = {.ops = 0};

    if (__sanitizer_set_death_callback != NULL)
        __sanitizer_set_death_callback(vmm_ops_tell);
    mm_test_cpus(FAKE_CPUS_MAX); /* they answer the PMM, which asks for what they have in stock */
    skip_read();
    vmm_ops_verbose(number_of("MM_SOAK_TELL", 0) != 0);
    round_number = number_of("MM_SOAK_ROUND", 0);
    while (result.ops < ops) {
        uint64_t left = ops - result.ops;

        round_run(left < ROUND_OPS ? left : ROUND_OPS, &result);
        round_number++;
    }
    printf("%llu operations on %llu machines: %llu changed something, %llu found no memory, %llu "
           "met a limit, %llu were refused; %llu frames populated, %llu accesses, %llu of them "
           "faults, %llu whole comparisons\n",
           (unsigned long long)result.ops, (unsigned long long)round_number,
           (unsigned long long)result.done, (unsigned long long)result.no_memory,
           (unsigned long long)result.limited, (unsigned long long)result.refused,
           (unsigned long long)result.populated, (unsigned long long)result.accesses,
           (unsigned long long)result.faults, (unsigned long long)result.compared);
    /* a soak that soaked nothing */
    CHECK(ops < OPS ||
          (result.done > ops / 5 && result.no_memory > ops / 400 && result.limited > ops / 1000 &&
           result.refused > ops / 20 && result.populated > ops / 20 && result.faults > ops / 50));
}
