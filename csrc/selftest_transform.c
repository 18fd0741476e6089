/* Self-test of the transforms; part of selftest.c. */

#include <stdlib.h>
#include <string.h>

#include "selftest.h"
#include "threads.h"
#include "transform.h"

#if defined(CWIC_NO_THREADS) || defined(__wasm__) || defined(_WIN32)
#define WITHOUT_THREADS
#endif

/* Pinned: a change of it is a change of the format. */
#define EXPECTED_TRANSFORM_HASH 0x03af90dbu
#define EXPECTED_FILTERED_HASH 0x9760fcdbu

enum { WIDE = 64, BLOCKS = 2, CHANNELS = 12, FEATURES = 10, LEVELS = 6, MAX_WORKERS = 7 };
enum { ROWS = 2 * 9, COLUMNS = 2 * 11, PIXELS = 64 * ROWS * COLUMNS * 3, CODES = ROWS * COLUMNS * CHANNELS };

static uint32_t state;

static int32_t any(int32_t reach) /* -reach .. reach, from a linear congruential generator */
{
    state = state * 1664525u + 1013904223u;
    return (int32_t)((state >> 8) % (2 * (uint32_t)reach + 1)) - reach;
}

/* ---- arrays ------------------------------------------------------------------------------------------------ */

/* Room for the largest transform here, and how much of it is filled. */
typedef struct {
    int32_t words[32 + CWIC_GAIN_ENTRIES * CHANNELS + WIDE + 5 * WIDE * BLOCKS + 192 + FEATURES + 1 + LEVELS +
                  (1 + CWIC_RATE_ENTRIES) * CHANNELS];
    int16_t halves[192 * WIDE + 2 * CWIC_RATE_ENTRIES * WIDE + 9 * WIDE * BLOCKS + WIDE + (WIDE + 192) * 192 +
                   16 * WIDE * FEATURES + FEATURES + CHANNELS * CHANNELS];
    int8_t bytes[BLOCKS * (6 * WIDE * WIDE + 9 * WIDE)];
    size_t word_count, half_count, byte_count;
} arrays;

static int32_t *words(arrays *a, size_t count, int32_t low, int32_t high)
{
    int32_t *first = a->words + a->word_count, middle = low + (high - low) / 2;
    for (; count; count--)
        a->words[a->word_count++] = middle + any((high - low) / 2);
    return first;
}

static int16_t *halves(arrays *a, size_t count, int32_t low, int32_t high)
{
    int16_t *first = a->halves + a->half_count;
    for (; count; count--)
        a->halves[a->half_count++] = (int16_t)((low + high) / 2 + any((high - low) / 2));
    return first;
}

static void octets(arrays *a, size_t count, int32_t reach)
{
    for (; count; count--)
        a->bytes[a->byte_count++] = (int8_t)any(reach);
}

/* 3x3 sums of the first block that are saturated, as they may be in a fine one. */
static void stretch(arrays *a)
{
    const size_t bias = CHANNELS * WIDE + 2 * CWIC_RATE_ENTRIES * WIDE + 2 * WIDE;
    int32_t k;
    for (k = 0; k < WIDE; k++)
        a->halves[bias + (size_t)k] = (int16_t)any(32767);
    for (k = 0; k < 9 * WIDE; k++)
        a->bytes[WIDE * WIDE + k] = (int8_t)any(127);
}

/* Weights whose activations use their range, in the order of FORMAT.md section 6.7. */
static void fill(arrays *a, int32_t synthesis, int32_t normalised)
{
    const int32_t inputs = synthesis ? CHANNELS : 192, outputs = synthesis ? 192 : CHANNELS;
    int32_t b, k, *first;
    state = 1 + 2 * (uint32_t)synthesis + (uint32_t)normalised;
    a->word_count = a->half_count = a->byte_count = 0;
    words(a, 1, 9, 9);
    for (b = 0; b < BLOCKS; b++) {
        first = words(a, 4, 1, 3);
        first[3] = 2;
    }
    words(a, 1, synthesis ? 14 : 11, synthesis ? 14 : 11);
    if (!synthesis)
        words(a, 1, 12, 12);
    if (normalised) {
        words(a, 1, 7, 7);
        words(a, 1, 18, 18);
        if (!synthesis)
            words(a, 1, 13, 13);
    }
    words(a, CWIC_GAIN_ENTRIES * CHANNELS, 1 << 14, 1 << 21);
    words(a, WIDE + 5 * WIDE * BLOCKS, -20000, 20000);
    words(a, (size_t)outputs, -20000, 20000);
    if (!synthesis) {
        words(a, FEATURES + 1, -20000, 20000);
        first = words(a, LEVELS - 1, -900000, 900000);
        for (k = 0; k < LEVELS - 1; k++)
            first[k] = 150000 * (2 * k - LEVELS) + 3;
    }
    if (normalised) {
        words(a, CHANNELS, 1 << 12, 1 << 23);
        words(a, CWIC_RATE_ENTRIES * CHANNELS, 1, 1 << 20);
    }
    halves(a, (size_t)inputs * WIDE, -300, 300);
    halves(a, CWIC_RATE_ENTRIES * WIDE, -32767, 32767);
    halves(a, CWIC_RATE_ENTRIES * WIDE, -3000, 3000);
    for (b = 0; b < BLOCKS; b++) {
        halves(a, 2 * WIDE, 0, 32767);      /* operand1, before_m */
        halves(a, WIDE, -3000, 3000);       /* space_bias */
        halves(a, 6 * WIDE, 0, 32767);      /* space_m, after_m, operand2, widen_m, narrow_m */
    }
    halves(a, WIDE, 0, 32767);
    halves(a, (size_t)WIDE * outputs, -300, 300);
    halves(a, (size_t)inputs * outputs, -300, 300);
    if (!synthesis)
        halves(a, 16 * WIDE * FEATURES + FEATURES, -60, 60);
    if (normalised)
        halves(a, CHANNELS * CHANNELS, 0, 500);
    for (b = 0; b < BLOCKS; b++) {
        octets(a, WIDE * WIDE, 128 - 1);
        octets(a, 9 * WIDE, 25);
        octets(a, 5 * WIDE * WIDE, 128 - 1);
    }
}

static cwic_transform *transform_of(const arrays *a, int32_t synthesis, cwic_shape shape, int32_t simd, int32_t *result)
{
    cwic_arrays given;
    given.words = a->words;
    given.halves = a->halves;
    given.bytes = a->bytes;
    given.word_count = a->word_count;
    given.half_count = a->half_count;
    given.byte_count = a->byte_count;
    return synthesis ? cwic_synthesis_new(&shape, &given, simd, result) : cwic_analysis_new(&shape, &given, simd, result);
}

static cwic_shape shape_of(int32_t normalised)
{
    const cwic_shape shape = {WIDE, BLOCKS, CHANNELS, normalised, FEATURES, LEVELS, 0};
    return shape;
}

static cwic_shape fine_shape(int32_t fine)
{
    cwic_shape shape = shape_of(1);
    shape.fine = fine;
    return shape;
}

/* ---- passes ------------------------------------------------------------------------------------------------ */

static void *carry(void *pass)
{
    int32_t result;
    while ((result = cwic_pass_band(pass)) == 1)
        ;
    return result == CWIC_OK ? pass : NULL;
}

/* Finishes a pass that was made for so many workers, and frees it. */
static int finish(cwic_pass *pass, int32_t workers)
{
    int good = pass != NULL;
#ifndef WITHOUT_THREADS
    pthread_t thread[MAX_WORKERS];
    int32_t k, begun = 0;
    for (k = 1; pass && k < workers && k < cwic_pass_workers(pass); k++)
        begun += pthread_create(&thread[begun], NULL, carry, pass) == 0;
    good = pass && carry(pass);
    for (k = 0; k < begun; k++) {
        void *carried = NULL;
        good &= pthread_join(thread[k], &carried) == 0 && carried;
    }
#else
    (void)workers;
    good = pass && carry(pass);
#endif
    cwic_pass_free(pass);
    return good;
}

typedef struct {
    uint8_t pixels[PIXELS];
    int16_t latents[CODES], levels[ROWS / 2 * (COLUMNS / 2)], exact[CODES];
} picture;

/* Hash of everything that both transforms make of made-up pictures in several sizes at several T; 0 on an error. */
static uint32_t hash_of(cwic_transform *const *pair, int32_t workers)
{
    static const int32_t sizes[][2] = {{137, 171}, {1, 1}, {16, 17}, {144, 5}, {3, 176}};
    static const int32_t rates[] = {-2048, -511, 77, 2047, 0, INT32_MIN, INT32_MAX, 30000};
    static const int32_t groups[2] = {4, 8}, group_count = 2;
    static int32_t cost[CWIC_COSTS];
    static picture p;
    uint32_t h = 2166136261u;
    size_t i, n;
    int32_t k, result;
    for (i = 0; i < CWIC_COSTS; i++)
        cost[i] = (int32_t)(i ? 1300 + i : 8);
    state = 99;
    for (k = 0; k < 8; k++) {
        const int32_t height = sizes[k % 5][0], width = sizes[k % 5][1];
        const int32_t rows = (height + 15) / 16, columns = (width + 15) / 16;
        const size_t positions = 4 * (size_t)rows * columns;
        for (i = 0; i < PIXELS; i++)
            p.pixels[i] = (uint8_t)any(255);
        if (!finish(cwic_analysis_pass(pair[0], rates[k], p.pixels, height, width, p.latents, p.levels, workers, &result),
                    workers))
            return 0;
        h = selftest_hash16(h, p.levels, positions / 4);
        cwic_exact_codes(pair[0], rates[k], p.latents, positions, p.exact);
        cwic_useful_levels(p.exact, 2 * rows, 2 * columns, groups, group_count, cost, 3072, p.levels);
        h = selftest_hash16(h, p.latents, CHANNELS * positions);
        h = selftest_hash16(h, p.exact, CHANNELS * positions);
        h = selftest_hash16(h, p.levels, positions / 4);
        for (i = 0; i < CHANNELS * positions; i++)
            p.latents[i] = (int16_t)(any(3) ? any(6) : any(511));
        if (!finish(cwic_synthesis_pass(pair[1], rates[k], p.latents, NULL, p.pixels, height, width, workers, &result), workers))
            return 0;
        for (n = (size_t)height * width * 3, i = 0; i < n; i++)
            h = (h ^ p.pixels[i]) * 16777619u;
    }
    return h ? h : 1;
}

/* Hash of pictures that pass post-filters, large and small, of which a pass keeps a copy; 0 on an error. */
static uint32_t filtered_hash_of(const cwic_transform *t, int32_t workers)
{
    static const int32_t sizes[][2] = {{70, 91}, {1, 1}, {33, 16}, {5, 144}}, reaches[] = {0, 3, 30, 127};
    static picture p;
    static uint8_t plain[PIXELS];
    uint32_t h = 2166136261u;
    int32_t k, result;
    size_t i;
    state = 44;
    for (k = 0; k < 8; k++) {
        const int32_t height = sizes[k % 4][0], width = sizes[k % 4][1], reach = reaches[k / 2];
        const size_t values = (size_t)height * width * 3;
        int8_t post[CWIC_POST];
        cwic_pass *pass;
        int same;
        for (i = 0; i < CODES; i++)
            p.latents[i] = (int16_t)(any(2) ? 0 : any(4));
        for (i = 0; i < CWIC_POST; i++)
            post[i] = (int8_t)any(reach);
        if (!finish(cwic_synthesis_pass(t, 300 * k, p.latents, NULL, plain, height, width, workers, &result), workers))
            return 0;
        pass = cwic_synthesis_pass(t, 300 * k, p.latents, post, p.pixels, height, width, workers, &result);
        memset(post, 99, sizeof post);
        if (!finish(pass, workers))
            return 0;
        same = memcmp(plain, p.pixels, values) == 0;
        if (reach ? same && values > 3 : !same)
            return 0;
        for (i = 0; i < values; i++)
            h = (h ^ p.pixels[i]) * 16777619u;
    }
    return h ? h : 1;
}

static void test_everywhere(arrays *a)
{
    uint32_t first = 0, filtered = 0, all = 2166136261u, all_filtered = 2166136261u;
    int32_t kind, simd, workers, result, k;
    for (kind = 0; kind < 3; kind++) {
        const int32_t normalised = kind > 0;
        int good = 1;
        first = filtered = 0;
        for (simd = 0; simd <= CWIC_BEST_SIMD; simd++) {
            cwic_transform *pair[2];
            for (k = 0; k < 2; k++) {
                fill(a, k, normalised);
                if (kind == 2 && k)
                    stretch(a);
                pair[k] = transform_of(a, k, kind == 2 && k ? fine_shape(1) : shape_of(normalised), simd, &result);
                selftest_check(pair[k] && result == CWIC_OK, "a transform");
            }
            if (pair[0] && pair[1] && cwic_transform_simd(pair[1]) != simd)
                selftest_missing(simd);
            for (workers = 1; pair[0] && pair[1] && workers <= MAX_WORKERS; workers += workers < 3 ? 1 : 4) {
                const uint32_t h = hash_of(pair, workers), f = filtered_hash_of(pair[1], workers);
                first = first ? first : h;
                filtered = filtered ? filtered : f;
                good &= h == first && h && f == filtered && f;
            }
            cwic_transform_free(pair[0]);
            cwic_transform_free(pair[1]);
        }
        selftest_check(good, "transforms: the same with every instruction set, in any number of threads");
        all = (all ^ first) * 16777619u;
        all_filtered = (all_filtered ^ filtered) * 16777619u;
    }
    selftest_pinned("transforms", all, EXPECTED_TRANSFORM_HASH);
    selftest_pinned("transforms with post-filters", all_filtered, EXPECTED_FILTERED_HASH);
}

/* ---- what is refused --------------------------------------------------------------------------------------- */

static int refused(const arrays *a, int32_t synthesis, cwic_shape shape)
{
    int32_t result = 0;
    cwic_transform *t = transform_of(a, synthesis, shape, 0, &result);
    cwic_transform_free(t);
    return !t && result == CWIC_ERROR_WEIGHTS;
}

static void test_shapes(arrays *a)
{
    const int32_t wrong[][2] = {{0, 0},  {0, 33}, {0, 544}, {0, -32}, {0, INT32_MAX}, {1, -1},       {1, 65},
                                {2, 0},  {2, 13}, {2, 194}, {2, -2},  {2, INT32_MIN}, {1, INT32_MAX}};
    size_t *counts[3];
    size_t i;
    int32_t synthesis, good = 1;
    cwic_shape shape;
    for (synthesis = 0; synthesis < 2; synthesis++) {
        fill(a, synthesis, 1);
        for (i = 0; i < sizeof wrong / sizeof *wrong; i++) {
            shape = shape_of(1);
            (wrong[i][0] == 0 ? &shape.wide : wrong[i][0] == 1 ? &shape.blocks : &shape.channels)[0] = wrong[i][1];
            good &= refused(a, synthesis, shape);
        }
        counts[0] = &a->word_count;
        counts[1] = &a->half_count;
        counts[2] = &a->byte_count;
        for (i = 0; i < 3; i++) {
            ++*counts[i];
            good &= refused(a, synthesis, shape_of(1));
            *counts[i] -= 2;
            good &= refused(a, synthesis, shape_of(1));
            ++*counts[i];
        }
        good &= refused(a, synthesis, shape_of(0)) && refused(a, !synthesis, shape_of(1));
    }
    fill(a, 1, 1);
    good &= !refused(a, 1, fine_shape(BLOCKS)) && refused(a, 1, fine_shape(BLOCKS + 1)) && refused(a, 1, fine_shape(-1));
    fill(a, 0, 1);
    good &= refused(a, 0, fine_shape(1));
    fill(a, 0, 0);
    for (i = 0; i < 4; i++) {
        shape = shape_of(0);
        *(i % 2 ? &shape.features : &shape.levels) = i < 2 ? 0 : i % 2 ? 1025 : 33;
        good &= refused(a, 0, shape);
    }
    selftest_check(good, "transforms: shapes and lengths that do not fit are refused");
}

/* Puts a value in and back: refused with it, and with one less towards zero accepted, if `edge` says so. */
static int word_refused(arrays *a, int32_t synthesis, int32_t normalised, size_t at, int32_t value, int edge)
{
    const int32_t before = a->words[at];
    int good;
    a->words[at] = value;
    good = refused(a, synthesis, shape_of(normalised));
    if (edge) {
        a->words[at] = value > 0 ? value - 1 : value + 1;
        good &= !refused(a, synthesis, shape_of(normalised));
    }
    a->words[at] = before;
    return good;
}

static int half_refused(arrays *a, int32_t synthesis, int32_t normalised, size_t at, size_t step, size_t count,
                        int32_t value)
{
    static int16_t before[16 * WIDE];
    size_t i;
    int good;
    for (i = 0; i < count; i++) {
        before[i] = a->halves[at + i * step];
        a->halves[at + i * step] = (int16_t)value;
    }
    good = refused(a, synthesis, shape_of(normalised));
    for (i = 0; i < count; i++)
        a->halves[at + i * step] = before[i];
    return good;
}

/* Each check of FORMAT.md section 6.6, in both transforms. */
static void test_overflow(arrays *a)
{
    int32_t synthesis, k, b, good = 1;
    for (synthesis = 0; synthesis < 2; synthesis++) {
        const int32_t inputs = synthesis ? CHANNELS : 192, outputs = synthesis ? 192 : CHANNELS;
        const int32_t shifts = 2 + 4 * BLOCKS + (synthesis ? 2 : 4);
        const size_t gain = (size_t)shifts, enter_bias = gain + CWIC_GAIN_ENTRIES * CHANNELS, blocks = enter_bias + WIDE;
        const size_t exit_bias = blocks + 5 * WIDE * BLOCKS, head = exit_bias + (size_t)outputs;
        const size_t floor = head + (synthesis ? 0 : FEATURES + LEVELS), rate = floor + CHANNELS;
        const size_t tables = (size_t)inputs * WIDE, small = tables + 2 * CWIC_RATE_ENTRIES * WIDE;
        const size_t operand = small + 9 * WIDE * BLOCKS, linear = operand + WIDE + (size_t)WIDE * outputs;
        const size_t behind = linear + (size_t)inputs * outputs;
        const size_t mixture = behind + (synthesis ? 0 : 16 * WIDE * FEATURES + FEATURES);
        fill(a, synthesis, 1);
        good &= !refused(a, synthesis, shape_of(1));
        for (k = 0; k < shifts - (synthesis ? 0 : 1); k++) {
            good &= word_refused(a, synthesis, 1, (size_t)k, 25, 1) && word_refused(a, synthesis, 1, (size_t)k, -1, 1);
            good &= word_refused(a, synthesis, 1, (size_t)k, INT32_MIN, 0);
        }
        good &= word_refused(a, synthesis, 1, gain + 7, -1, 1) && word_refused(a, synthesis, 1, rate + 9, -1, 1);
        good &= word_refused(a, synthesis, 1, floor + 2, synthesis ? -1 : 0, 0);
        if (!synthesis)
            good &= word_refused(a, 0, 1, floor + 2, (1 << 24) + 1, 1);
        good &= word_refused(a, synthesis, 1, enter_bias + 5, INT32_MIN, 0);
        good &= word_refused(a, synthesis, 1, enter_bias + 5, INT32_MAX, 0);
        for (k = 0; k < 5 * BLOCKS; k++)
            good &= word_refused(a, synthesis, 1, blocks + (size_t)k * WIDE + 1, 1 << 24, 0) &&
                    word_refused(a, synthesis, 1, blocks + (size_t)k * WIDE + 1, -(1 << 24), 0) &&
                    word_refused(a, synthesis, 1, blocks + (size_t)k * WIDE + 1, INT32_MIN, 0);
        good &= word_refused(a, synthesis, 1, exit_bias + 3, INT32_MIN, 0);
        if (!synthesis) {
            good &= word_refused(a, 0, 1, head + 1, INT32_MAX, 0) && word_refused(a, 0, 1, head + FEATURES, INT32_MIN, 0);
            good &= half_refused(a, 0, 1, behind + 2, FEATURES, 16 * WIDE, 32767);
        }
        if (!synthesis) /* 128 * 192 * 32768 does not reach 2^31 */
            good &= word_refused(a, 0, 1, enter_bias, INT32_MAX - 1000, 0);
        else
            good &= half_refused(a, 1, 1, 3, WIDE, CHANNELS, -32768);
        good &= half_refused(a, synthesis, 1, tables + 100, 1, 1, -32768);
        for (b = 0; b < BLOCKS; b++)
            for (k = 0; k < 9; k++) {
                const size_t at = small + (size_t)(9 * b + k) * WIDE + 2;
                good &= half_refused(a, synthesis, 1, at, 1, 1, k == 2 ? -32768 : -1);
                good &= k != 2 || half_refused(a, synthesis, 1, at, 1, 1, 32767);
            }
        good &= half_refused(a, synthesis, 1, operand + 4, 1, 1, -1);
        good &= half_refused(a, synthesis, 1, operand + WIDE + 4, (size_t)outputs, WIDE, 32767);
        good &= half_refused(a, synthesis, 1, mixture + 5, 1, 1, -1);
        good &= half_refused(a, synthesis, 1, mixture + 5, CHANNELS, CHANNELS, 32767);
        for (b = 0; b < 9; b++) /* of the depthwise sums: 127 * 9 * 127 alone reaches 2^15 */
            a->bytes[WIDE * WIDE + b * WIDE + 6] = -128;
        good &= refused(a, synthesis, shape_of(1));
    }
    selftest_check(good, "transforms: weights that could overflow are refused, whichever they are");
}

/* The sums of a fine block have 31 bits, those of its upper half, and 3x3 sums fit whatever they are. */
static void test_fine(arrays *a)
{
    const size_t biases = 2 + 4 * BLOCKS + 2 + CWIC_GAIN_ENTRIES * CHANNELS + WIDE;
    int32_t k, good = 1;
    fill(a, 1, 1);
    for (k = 0; k < 4; k++) {
        int32_t *bias = a->words + biases + (size_t)(k == 3 ? 4 : k) * WIDE + 3, before = *bias;
        *bias = 1 << 24;
        good &= refused(a, 1, fine_shape(1)) == (k >= 2);
        *bias = INT32_MAX;
        good &= refused(a, 1, fine_shape(1));
        *bias = INT32_MIN;
        good &= refused(a, 1, fine_shape(1));
        *bias = before;
    }
    memset(a->bytes + WIDE * WIDE, -128, 9 * WIDE);
    good &= !refused(a, 1, fine_shape(1)) && refused(a, 1, fine_shape(0));
    for (k = 0; k < 2; k++) { /* shifts of both halves */
        a->words[1 + 2 * k] = 25;
        good &= refused(a, 1, fine_shape(1));
        a->words[1 + 2 * k] = 2;
    }
    good &= !refused(a, 1, fine_shape(1));
    selftest_check(good, "transforms: what fine blocks may hold");
}

static void test_passes(arrays *a)
{
    static uint8_t pixels[3 * 16 * 16 * 40];
    static int16_t codes[CHANNELS * 4 * 40], levels[40];
    const int32_t wrong[][2] = {{0, 9}, {9, 0}, {-1, 9}, {INT32_MIN, 9}, {9, INT32_MAX}, {INT32_MAX, 9}};
    cwic_transform *pair[2];
    cwic_pass *p;
    size_t i;
    int32_t k, result, good = 1;
    for (k = 0; k < 2; k++) {
        fill(a, k, 1);
        pair[k] = transform_of(a, k, shape_of(1), CWIC_BEST_SIMD, &result);
    }
    for (i = 0; pair[0] && pair[1] && i < sizeof wrong / sizeof *wrong; i++) {
        good &= !cwic_analysis_pass(pair[0], 0, pixels, wrong[i][0], wrong[i][1], codes, levels, 1, &result);
        good &= result == CWIC_ERROR_ARGUMENT;
        good &= !cwic_synthesis_pass(pair[1], 0, codes, NULL, pixels, wrong[i][0], wrong[i][1], 1, &result);
        good &= result == CWIC_ERROR_ARGUMENT;
    }
    good &= pair[0] && pair[1] && !cwic_synthesis_pass(pair[0], 0, codes, NULL, pixels, 9, 9, 1, &result) &&
            result == CWIC_ERROR_ARGUMENT;
    good &= pair[0] && pair[1] && !cwic_analysis_pass(pair[1], 0, pixels, 9, 9, codes, levels, 1, &result) &&
            result == CWIC_ERROR_ARGUMENT;
    good &= pair[1] && !cwic_synthesis_pass(pair[1], 0, codes, NULL, pixels, 9, 9, 0, &result) && result == CWIC_ERROR_ARGUMENT;
    selftest_check(good, "transforms: sizes and workers out of range are refused");
    p = pair[1] ? cwic_synthesis_pass(pair[1], 0, codes, NULL, pixels, 16 * 40, 16, INT32_MAX, &result) : NULL;
    good = p && cwic_pass_workers(p) == 2 && cwic_pass_band(p) == 1;
    if (p)
        cwic_pass_cancel(p);
    good &= p && cwic_pass_band(p) == CWIC_CANCELLED && cwic_pass_band(p) == CWIC_CANCELLED;
    selftest_check(good, "transforms: a pass that is cancelled says so");
    cwic_pass_free(p);
    cwic_pass_free(NULL);
    cwic_transform_free(pair[0]);
    cwic_transform_free(pair[1]);
}

/* A filtered sample is in 1/16, and so must the exit's sums be at least. */
static void test_exit_shifts(arrays *a)
{
    static uint8_t pixels[3 * 9 * 9];
    static int16_t codes[CHANNELS * 4];
    static const int8_t post[CWIC_POST];
    int32_t shift, result, good = 1;
    fill(a, 1, 1);
    for (shift = 0; shift < 7; shift++) {
        cwic_transform *t;
        cwic_pass *p;
        a->words[1 + 4 * BLOCKS] = shift;
        t = transform_of(a, 1, shape_of(1), CWIC_BEST_SIMD, &result);
        p = t ? cwic_synthesis_pass(t, 0, codes, post, pixels, 9, 9, 1, &result) : NULL;
        good &= t && (p != NULL) == (shift >= 4) && result == (p ? CWIC_OK : CWIC_ERROR_WEIGHTS);
        cwic_pass_free(p);
        good &= t && finish(cwic_synthesis_pass(t, 0, codes, NULL, pixels, 9, 9, 1, &result), 1);
        cwic_transform_free(t);
    }
    selftest_check(good, "transforms: a post-filter wants an exit shift of 4 or more");
}

static void test_root(void)
{
    int32_t k, good = 1;
    state = 5;
    for (k = 0; k < 200000; k++) {
        const uint64_t r = (uint32_t)any(INT32_MAX / 2) % 3037000499u, v = r * r;
        good &= cwic_root(v) == r && (v == 0 || cwic_root(v - 1) == r - 1) && (r == 0 || cwic_root(v + 2 * r) == r);
    }
    good &= cwic_root(((uint64_t)1 << 63) - 1) == 3037000499u;
    selftest_check(good, "transforms: square roots");
}

void selftest_transform(void)
{
    static arrays a;
    test_root();
    test_everywhere(&a);
    test_shapes(&a);
    test_overflow(&a);
    test_fine(&a);
    test_passes(&a);
    test_exit_shifts(&a);
}
