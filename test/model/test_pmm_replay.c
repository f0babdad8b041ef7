/*
 * test_pmm_replay.c - streams of operations that once showed something, or stand for what must not
 * break: test/data/ops/NAME.ops.
 *
 * A file is text: pairs of hexadecimal digits, '#' begins a comment; or, with a byte that text has
 * not, the bytes themselves, as the fuzzer and MM_SOAK_KEEP write them. MM_REPLAY=FILE replays that
 * one alone and tells each operation.
 */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "pmm_test_host.h"

#define FILES_MIN 5u
#define BYTES_MAX (1u << 22)

static uint8_t raw[BYTES_MAX], bytes[BYTES_MAX];
static char path[4096];

static bool is_text(size_t count)
{
    for (size_t i = 0; i < count; i++)
        if ((raw[i] < ' ' && raw[i] != '\n' && raw[i] != '\t') || raw[i] > '~')
            return false;
    return true;
}

static int digit_of(uint8_t c)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = c != 0 ? strchr(digits, c) : NULL;

    return at != NULL ? (int)(at - digits) : -1;
}

/* The bytes that a text names. A digit without a partner, or anything else, is no such text. */
static size_t text_decode(size_t count)
{
    size_t out = 0;

    for (size_t i = 0; i < count; i++) {
        if (raw[i] == '#') {
            while (i < count && raw[i] != '\n')
                i++;
        } else if (raw[i] > ' ') {
            CHECK(i + 1 < count && digit_of(raw[i]) >= 0 && digit_of(raw[i + 1]) >= 0);
            bytes[out++] = (uint8_t)(digit_of(raw[i]) * 16 + digit_of(raw[i + 1]));
            i++;
        }
    }
    return out;
}

static void told(void)
{
    fprintf(stderr, "replay of %s\n", path);
}

static void failed(const char *file, int line, const char *what)
{
    told();
    mm_test_failed(file, line, what);
}

static void replay(void)
{
    struct ops_host host = test_host;
    struct ops_result result = {.ops = 0};
    struct ops_source source = {.data = bytes};
    FILE *file = fopen(path, "rb");
    size_t count;

    host.failed = failed;
    if (file == NULL)
        mm_test_failed(__FILE__, __LINE__, path);
    count = fread(raw, 1, sizeof raw, file);
    fclose(file);
    if (is_text(count))
        source.bytes = text_decode(count);
    else
        source.bytes = (size_t)((uint8_t *)memcpy(bytes, raw, count) - bytes) + count;
    test_ops_run(&source, UINT64_MAX, &host, &result, told);
    printf("%s: %llu operations\n", path, (unsigned long long)result.ops);
    CHECK(result.ops > 0);
}

static unsigned replay_all(void)
{
    DIR *dir = opendir("data/ops");
    struct dirent *entry;
    unsigned files = 0;

    CHECK(dir != NULL);
    while ((entry = readdir(dir)) != NULL) {
        size_t length = strlen(entry->d_name);

        if (length < 4 || strcmp(entry->d_name + length - 4, ".ops") != 0)
            continue;
        snprintf(path, sizeof path, "data/ops/%s", entry->d_name);
        replay();
        files++;
    }
    closedir(dir);
    return files;
}

TEST(pmm_replays_what_once_went_wrong)
{
    const char *one = getenv("MM_REPLAY");

    if (one == NULL) {
        CHECK(replay_all() >= FILES_MIN);
        return;
    }
    pmm_ops_verbose(true);
    snprintf(path, sizeof path, "%s", one);
    replay();
}
