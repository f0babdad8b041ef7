/*
 * test_pmm_set.c - sets of chunks, compared with one byte for each member.
 */
#include "fixture.h"

/* Just below, at and above where a level is added: 64, 64^2, 64^3. */
static const uint32_t size[] = {1, 2, 63, 64, 65, 100, 4095, 4096, 4097, 262143, 262144, 262145};
#define SIZES (sizeof size / sizeof size[0])

static struct mm_pmm_sets sets;
static uint64_t *words;

static void begin(uint32_t chunks)
{
    uint64_t count = mm_sets_words(chunks);

    free(words);
    words = calloc(count, sizeof *words); /* the sanitizer sees one word too far */
    CHECK(words != NULL);
    mm_sets_init(&sets, words, chunks);
    CHECK_EQ((uint64_t)sets.words * MM_SETS, count);
    CHECK(mm_sets_are_sound(&sets));
}

TEST(sets_have_a_level_for_each_power_of_64)
{
    static const uint32_t levels[SIZES] = {1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 4};

    for (size_t i = 0; i < SIZES; i++) {
        mm_test_row("size", size[i]);
        begin(size[i]);
        CHECK_EQ(sets.levels, levels[i]);
        CHECK_EQ(sets.not_empty, 0);
    }
    CHECK_EQ(mm_sets_words(64), MM_SETS);
    CHECK_EQ(mm_sets_words(65), 3 * MM_SETS);
    CHECK_EQ(mm_sets_words(UINT64_C(1) << 30), /* 2 PiB */
             (UINT64_C(0x1000000) + 0x40000 + 0x1000 + 0x40 + 1) * MM_SETS);
}

/* One member at a time, at the ends of words and of the set. */
TEST(sets_find_a_lone_member_from_everywhere)
{
    for (size_t i = 0; i < SIZES; i++)
        for (uint32_t member = 0; member < size[i];
             member += member % 64 == 62 || member % 64 == 63 || size[i] < 70 ? 1 : 4033) {
            if (member == 0)
                begin(size[i]);
            mm_test_row("member", member);
            mm_set_add(&sets, 3, member);
            CHECK_EQ(sets.not_empty, 1u << 3);
            CHECK(mm_set_has(&sets, 3, member) && !mm_set_has(&sets, 4, member));
            CHECK_EQ(mm_set_first(&sets, 3), member);
            CHECK_EQ(mm_set_next(&sets, 3, 0), member);
            CHECK_EQ(mm_set_next(&sets, 3, member), member);
            CHECK_EQ(mm_set_next(&sets, 3, member + 1), MM_CHUNK_NONE);
            CHECK_EQ(mm_set_next(&sets, 3, size[i]), MM_CHUNK_NONE);
            CHECK_EQ(mm_set_next(&sets, 3, UINT32_MAX), MM_CHUNK_NONE);
            CHECK_EQ(mm_set_next(&sets, 2, 0), MM_CHUNK_NONE);
            CHECK_EQ(mm_set_gap(&sets, 3, member, size[i]), member + 1);
            CHECK(mm_sets_are_sound(&sets));
            mm_set_remove(&sets, 3, member);
            CHECK_EQ(sets.not_empty, 0);
            CHECK_EQ(mm_set_next(&sets, 3, 0), MM_CHUNK_NONE);
            if (member % 64 == 63)
                CHECK(mm_sets_are_sound(&sets));
        }
    CHECK(mm_sets_are_sound(&sets));
}

TEST(sets_add_ranges_as_member_by_member)
{
    for (size_t i = 0; i < SIZES; i++) {
        uint32_t most = size[i];

        for (unsigned round = 0; round < 20; round++) {
            uint32_t from = (uint32_t)mm_test_below(most);
            uint32_t count = (uint32_t)mm_test_below(most - from + 1);

            if (round == 0) {
                from = 0;
                count = most;
            }
            mm_test_row("range", (uint64_t)from << 32 | count);
            begin(most);
            mm_set_add_range(&sets, 12, from, count);
            CHECK(mm_sets_are_sound(&sets));
            CHECK_EQ(sets.not_empty, count != 0 ? 1u << 12 : 0);
            if (count == 0)
                continue;
            CHECK_EQ(mm_set_first(&sets, 12), from);
            CHECK_EQ(mm_set_gap(&sets, 12, from, most), from + count);
            CHECK_EQ(mm_set_next(&sets, 12, from + count), MM_CHUNK_NONE);
            CHECK(from == 0 || !mm_set_has(&sets, 12, from - 1));
            CHECK(mm_set_has(&sets, 12, from + count - 1));
            CHECK(from + count == most || !mm_set_has(&sets, 12, from + count));
        }
    }
}

TEST(sets_gaps_end_where_they_are_told)
{
    begin(300);
    mm_set_add_range(&sets, 0, 10, 200); /* 10 to 209 */
    CHECK_EQ(mm_set_gap(&sets, 0, 10, 300), 210);
    CHECK_EQ(mm_set_gap(&sets, 0, 10, 210), 210);
    CHECK_EQ(mm_set_gap(&sets, 0, 10, 100), 100);
    CHECK_EQ(mm_set_gap(&sets, 0, 63, 64), 64);
    CHECK_EQ(mm_set_gap(&sets, 0, 64, 128), 128);
    CHECK_EQ(mm_set_gap(&sets, 0, 9, 300), 9);
    CHECK_EQ(mm_set_gap(&sets, 0, 210, 300), 210);
    CHECK_EQ(mm_set_gap(&sets, 0, 299, 300), 299);
    CHECK_EQ(mm_set_gap(&sets, 0, 50, 50), 50);
}

/* A model of one byte each, for two sets. */
static uint8_t *model[2];

static uint32_t model_next(unsigned which, uint32_t from, uint32_t chunks, uint8_t value)
{
    while (from < chunks && model[which][from] != value)
        from++;
    return from;
}

static void one_step(uint32_t chunks)
{
    unsigned which = (unsigned)mm_test_below(2);
    unsigned set = which == 0 ? 0 : MM_SETS - 1;
    uint32_t near = (uint32_t)mm_test_below(8) * 64;
    uint32_t member =
        (uint32_t)mm_test_below(mm_test_below(3) == 0 ? chunks : mm_min_u64(chunks, 200));
    uint32_t count = (uint32_t)mm_test_below(mm_min_u64(chunks - member, 150) + 1);
    uint32_t expected;

    switch (mm_test_below(6)) {
    case 0:
    case 1:
        if (model[which][member] != 0)
            mm_set_remove(&sets, set, member);
        else
            mm_set_add(&sets, set, member);
        model[which][member] ^= 1;
        break;
    case 2:
        mm_set_add_range(&sets, set, member, count);
        memset(&model[which][member], 1, count);
        break;
    case 3: /* empty what is left in a stretch */
        for (uint32_t i = member; i < member + count; i++)
            if (model[which][i] != 0) {
                mm_set_remove(&sets, set, i);
                model[which][i] = 0;
            }
        break;
    case 4:
        expected = model_next(which, member, chunks, 1);
        CHECK_EQ(mm_set_next(&sets, set, member), expected < chunks ? expected : MM_CHUNK_NONE);
        break;
    default:
        expected = (uint32_t)mm_min_u64(chunks, member + near + 1);
        CHECK_EQ(mm_set_gap(&sets, set, member, expected),
                 mm_min_u64(expected, model_next(which, member, chunks, 0)));
        break;
    }
    CHECK_EQ(mm_set_has(&sets, set, member), model[which][member]);
    expected = model_next(which, 0, chunks, 1);
    CHECK_EQ(sets.not_empty >> set & 1, expected < chunks);
    if (expected < chunks)
        CHECK_EQ(mm_set_first(&sets, set), expected);
}

TEST(sets_agree_with_a_naive_model_whatever_is_done)
{
    for (size_t i = 0; i < SIZES; i++) {
        unsigned steps = size[i] > 5000 ? 300 : 3000;

        begin(size[i]);
        for (unsigned which = 0; which < 2; which++) {
            free(model[which]);
            model[which] = calloc(size[i], 1);
            CHECK(model[which] != NULL);
        }
        for (unsigned step = 0; step < steps; step++) {
            mm_test_row("step", (uint64_t)size[i] << 32 | step);
            one_step(size[i]);
            if (step % 50 == 0)
                CHECK(mm_sets_are_sound(&sets));
        }
        CHECK(mm_sets_are_sound(&sets));
    }
}

TEST(sets_with_a_wrong_bit_anywhere_are_not_sound)
{
    static const uint32_t chunks[] = {40, 70, 4100};

    for (size_t i = 0; i < 3; i++) {
        begin(chunks[i]);
        mm_set_add(&sets, 1, 3);
        mm_set_add_range(&sets, 2, 0, chunks[i]);
        mm_set_add(&sets, 5, chunks[i] - 1);
        mm_set_remove(&sets, 2, 20);
        CHECK(mm_sets_are_sound(&sets));
        /* a member that is not one, alone in its word, changes the summary; in words that have
         * others it is for the chunk's record to tell */
        for (uint64_t word = 0; word < mm_sets_words(chunks[i]); word++)
            for (unsigned bit = 0; bit < 64; bit++) {
                uint64_t in_set = word % sets.words;
                bool leaf =
                    in_set * 64 + bit < chunks[i] && in_set < (sets.levels > 1 ? sets.start[1] : 1);
                uint64_t before = words[word];

                mm_test_row("bit", word * 64 + bit);
                words[word] ^= UINT64_C(1) << bit;
                if (!leaf || ((before == 0) != (words[word] == 0)))
                    CHECK(!mm_sets_are_sound(&sets));
                words[word] = before;
            }
        CHECK(mm_sets_are_sound(&sets));
    }
}
