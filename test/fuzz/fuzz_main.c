/*
 * fuzz_main.c - runs a fuzz target over files, where there is no libFuzzer.
 *
 * Problem     What a fuzzer once found must stay found, with any compiler.
 * Idea        Each file named on the command line, and each file in a directory named there, is one
 *             input, in memory of exactly its size. Each is also run cut at some lengths: what is
 *             truncated is the commonest fault, and costs no file.
 * Invariants  No file at all is a failure.
 * Locking     One thread.
 * Cost        Milliseconds for a corpus.
 * Rejected    Linking libFuzzer always: gcc has none.
 */
#include "fuzz.h"

#include <dirent.h>
#include <stdio.h>

#define CUTS 16u

static unsigned inputs;

static void run(const uint8_t *data, size_t bytes)
{
    uint8_t *copy = malloc(bytes > 0 ? bytes : 1);

    FUZZ_CHECK(copy != NULL);
    if (bytes > 0)
        memcpy(copy, data, bytes);
    (void)LLVMFuzzerTestOneInput(copy, bytes);
    free(copy);
    inputs++;
}

static void run_file(const char *path)
{
    static uint8_t data[1 << 20];
    FILE *file = fopen(path, "rb");
    size_t bytes;

    if (file == NULL) {
        perror(path);
        exit(1);
    }
    bytes = fread(data, 1, sizeof data, file);
    fclose(file);
    fprintf(stderr, "%s\n", path);
    run(data, bytes);
    for (size_t cut = 0; cut < CUTS; cut++)
        run(data, bytes * cut / CUTS);
}

static void run_path(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    char name[4096];

    if (dir == NULL) {
        run_file(path);
        return;
    }
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        run_file(name);
    }
    closedir(dir);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        run_path(argv[i]);
    printf("%u inputs\n", inputs);
    return inputs > 0 ? 0 : 1;
}
