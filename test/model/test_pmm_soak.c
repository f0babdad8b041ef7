/*
 * test_pmm_soak.c - millions of random operations on random machines, judged by the model.
 *
 *     MM_SOAK_OPS=100000000 test_model_pmm_soak     the long run
 *     MM_SEED=... MM_SOAK_OPS=... [MM_SOAK_ROUND=...] test_model_pmm_soak
 *                                                   what a failure prints: the same again
 *     MM_SOAK_KEEP=FILE                             the bytes of the failing round go to FILE, for
 *                                                   test_model_pmm_replay and the fuzzer
 */
#include <stdlib.h>

#include "pmm_test_host.h"

#define OPS       5000000u
#define ROUND_OPS 20000u
#define KEPT_MAX  (ROUND_OPS * 16u)

static struct ops_source source;
static uint64_t round_number;
static uint8_t kept[KEPT_MAX];

static uint64_t number_of(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text != NULL ? strtoull(text, NULL, 0) : otherwise;
}

static void keep(void)
{
    const char *path = getenv("MM_SOAK_KEEP");
    FILE *file = path != NULL ? fopen(path, "wb") : NULL;

    if (file == NULL)
        return;
    fwrite(kept, 1, source.kept_bytes, file);
    fclose(file);
    fprintf(stderr, "%zu bytes kept in %s\n", source.kept_bytes, path);
}

static void told(void)
{
    static bool once;

    if (once)
        return;
    once = true;
    fprintf(stderr, "again: MM_SEED=%#llx MM_SOAK_ROUND=%llu MM_SOAK_OPS=%u\n",
            (unsigned long long)mm_test_seed(), (unsigned long long)round_number, ROUND_OPS);
    keep();
}

static void failed(const char *file, int line, const char *what)
{
    told();
    mm_test_failed(file, line, what);
}

/* Each round is a new machine, and depends on the seed and its own number only. */
static void round_run(uint64_t ops, struct ops_result *result)
{
    struct ops_host host = test_host;

    host.failed = failed;
    source = (struct ops_source){.random = mm_test_seed() * UINT64_C(0xd1342543de82ef95) +
                                           (round_number << 32),
                                 .kept = kept,
                                 .kept_max = getenv("MM_SOAK_KEEP") != NULL ? KEPT_MAX : 0};
    test_ops_run(&source, ops, &host, result, told);
}

TEST(pmm_answers_millions_of_random_calls_as_a_naive_model_does)
{
    uint64_t ops = number_of("MM_SOAK_OPS", OPS);
    struct ops_result result = {.ops = 0};

    round_number = number_of("MM_SOAK_ROUND", 0);
    while (result.ops < ops) {
        uint64_t left = ops - result.ops;

        round_run(left < ROUND_OPS ? left : ROUND_OPS, &result);
        round_number++;
    }
    printf("%llu operations on %llu machines: %llu took memory, %llu found none, %llu wrong frees, "
           "%llu interrupted, %llu changes of level, %llu whole comparisons\n",
           (unsigned long long)result.ops, (unsigned long long)round_number,
           (unsigned long long)result.allocated, (unsigned long long)result.no_memory,
           (unsigned long long)result.misuses, (unsigned long long)result.interrupted,
           (unsigned long long)result.level_changes, (unsigned long long)result.compared);
    /* a soak that soaked nothing */
    CHECK(ops < OPS || (result.allocated > ops / 10 && result.no_memory > ops / 1000 &&
                        result.misuses > ops / 1000 && result.interrupted > ops / 1000));
}
