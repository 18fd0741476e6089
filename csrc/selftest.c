/* Self-test without Python: compile all C files of this folder together and run. Exit status 1 on a failure.
 * selftest_transform.c, selftest_postfilter.c and selftest_pixels.c are parts of it. */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "affine.h"
#include "decisions.h"
#include "selftest.h"

/* Pinned: a change of it is a change of the format. */
#define EXPECTED_PLANES_HASH 0xed9a2387u
#define EXPECTED_HASH 0xa5ab7b0cu

enum { MAX_SIMD = 3 }; /* of affine maps */

static int failures;

static void check(int good, const char *what)
{
    printf("%-4s %s\n", good ? "ok" : "FAIL", what);
    failures += !good;
}

void selftest_check(int good, const char *what) { check(good, what); }

void selftest_pinned(const char *what, uint32_t hash, uint32_t expected)
{
    printf("     %s: hash %08x\n", what, (unsigned)hash);
    check(hash == expected, "the hash that every machine gives");
}

void selftest_missing(int32_t simd) { printf("     instruction set %d is not here\n", (int)simd); }

static uint32_t random_state = 1;

static uint32_t random32(void) /* xorshift32 */
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state;
}

/* FNV-1a over bytes. */
static uint32_t hash(uint32_t h, const void *data, size_t n)
{
    const uint8_t *b = data;
    while (n--)
        h = (h ^ *b++) * 16777619u;
    return h;
}

uint32_t selftest_hash16(uint32_t h, const int16_t *values, size_t count)
{
    size_t i;
    for (i = 0; i < count; i++) {
        uint8_t bytes[2];
        bytes[0] = (uint8_t)values[i];
        bytes[1] = (uint8_t)((uint16_t)values[i] >> 8);
        h = hash(h, bytes, 2);
    }
    return h;
}

/* Codes `count` decisions whose probabilities are spread around 2^-skew; returns bytes over the ideal, in percent. */
static double round_trip(size_t count, int skew, const char *what)
{
    uint16_t *p = malloc(count * sizeof *p);
    uint8_t *bits = malloc(count), *back = malloc(count), *out = malloc(2 * count + 16);
    size_t i, written = 0;
    double ideal = 0;
    int32_t result;
    for (i = 0; i < count; i++) {
        uint32_t q = random32() >> 16;
        if (skew)
            q >>= random32() % (unsigned)skew;
        p[i] = (uint16_t)(q < 1 ? 1 : q);
        if (skew && random32() & 1)
            p[i] = (uint16_t)(65536 - p[i]);
        bits[i] = (random32() >> 16) < p[i];
        ideal -= log2((bits[i] ? p[i] : 65536 - p[i]) / 65536.0);
    }
    result = cwic_encode_bits(bits, p, count, out, 2 * count + 16, &written);
    check(result == CWIC_OK, what);
    result = cwic_decode_bits(out, written, p, count, back);
    check(result == CWIC_OK && memcmp(bits, back, count) == 0, what);
    check(written == 0 || cwic_decode_bits(out, written / 2, p, count, back) == CWIC_ERROR_SHORT, "half a stream");
    out[written] = 1;
    for (i = 1; i < 9; i++)
        out[written + i] = 1;
    check(cwic_decode_bits(out, written + 9, p, count, back) == CWIC_ERROR_LONG, "a stream with bytes left over");
    check(written < 4 || cwic_encode_bits(bits, p, count, out, written - 1, &i) == CWIC_ERROR_SPACE, "no space");
    free(p);
    free(bits);
    free(back);
    free(out);
    return 100 * (8.0 * (double)written / ideal - 1);
}

static void test_coder(void)
{
    double even = round_trip(1000000, 0, "1 M decisions, random probabilities");
    double skewed = round_trip(1000000, 15, "1 M decisions, skewed probabilities");
    printf("     loss over the ideal code length: %.5f %%, skewed %.5f %%\n", even, skewed);
    check(even < 0.1 && skewed < 0.1, "loss at most 0.1 %");
}

/* Streams that make carries run through many bytes: a long run of the less likely half. */
static void test_carry(void)
{
    enum { COUNT = 4096 };
    static uint16_t p[COUNT];
    static uint8_t bits[COUNT], back[COUNT], out[2 * COUNT + 16];
    int seed, good = 1;
    for (seed = 0; seed < 2000; seed++) {
        size_t n = 1 + random32() % COUNT, i, written;
        for (i = 0; i < n; i++) {
            p[i] = (uint16_t)(random32() % 3 ? 1 + random32() % 3 : 65535);
            bits[i] = (uint8_t)(random32() % 64 == 0 ? p[i] > 3 : p[i] <= 3 && random32() % 512 == 0);
        }
        good &= cwic_encode_bits(bits, p, n, out, sizeof out, &written) == CWIC_OK;
        good &= cwic_decode_bits(out, written, p, n, back) == CWIC_OK && memcmp(bits, back, n) == 0;
    }
    check(good, "carries and near-certain decisions");
}

static void test_tables(void)
{
    int i, f, good = 1;
    for (i = 0; i < 64; i++) {
        for (f = 0; f < 16; f++)
            good &= abs(cwic_first[i][f]) < 2816;
        for (f = 0; f < 257; f++)
            good &= cwic_step[i][f] > -2816 && cwic_step[i][f] <= 2129;
    }
    for (i = 1; i < 2816; i++)
        good &= cwic_probabilities[i] >= cwic_probabilities[i - 1];
    good &= cwic_probabilities[0] >= 1;
    check(good, "tables: no step is certain to go on");
}

static int32_t clamp_to(int32_t c) { return c < -511 ? -511 : c > 511 ? 511 : c; }

static void test_symbols(void)
{
    static uint8_t out[1 << 16];
    int32_t i, k, good = 1;
    for (i = 0; i < 64; i++)
        for (k = 0; k < 300; k++) {
            int32_t m = (int32_t)(random32() % 16353) - 8176, c[50], j;
            cwic_correction zero[2], learned[2]; /* of the encoder, then of the decoder */
            cwic_corrections both;
            cwic_encoder e;
            cwic_decoder d;
            memset(zero, 0, sizeof zero);
            memcpy(learned, zero, sizeof learned);
            both.channel = &learned[0];
            both.around = &learned[1];
            cwic_encoder_init(&e, out, sizeof out);
            for (j = 0; j < 50; j++) {
                c[j] = j % 2 ? (int32_t)(random32() % 1023) - 511 : clamp_to((m >> 4) + (int32_t)(random32() % 7) - 3);
                c[j] = cwic_encode_symbol(&e, &both, c[j], m, i);
                good &= c[j] >= -511 && c[j] <= 511;
            }
            good &= cwic_encoder_finish(&e) == CWIC_OK;
            cwic_decoder_init(&d, out, e.length);
            memcpy(learned, zero, sizeof learned);
            for (j = 0; j < 50; j++)
                good &= cwic_decode_symbol(&d, &both, m, i) == c[j];
            good &= cwic_decoder_finish(&d) == CWIC_OK;
        }
    check(good, "symbols near and far from their mean");
}

/* With a large weight the rounding stays, with none the prediction wins, and in between bits are weighed. */
static void test_choice(void)
{
    cwic_correction none[2];
    const cwic_corrections k = {&none[0], &none[1]};
    int32_t i, c, good = 1, steps = 0;
    memset(none, 0, sizeof none);
    for (i = 0; i < 64; i++)
        for (c = -40; c <= 40; c++) {
            int32_t m = (int32_t)(random32() % 321) - 160, exact = 32 * c + (int32_t)(random32() % 24) - 12;
            int32_t near = (m + 8) >> 4, some = cwic_choose_symbol(&k, c, exact, 2000, m, i);
            good &= cwic_choose_symbol(&k, c, exact, 65536, m, i) == c;
            good &= (c <= some && some <= near) || (near <= some && some <= c);
            steps += some != c;
        }
    check(good && steps > 0, "choice between a symbol and its prediction");
}

/* A model with made-up weights: encodes and decodes a made-up tile with every implementation of the dense part. The
 * hash of streams and symbols is the same on every machine. */
static void test_tile(void)
{
    static const int32_t groups[3] = {2, 4, 6};
    enum { HEIGHT = 5, WIDTH = 7, LEVELS = 3, HIDDEN = 32, MAP_HIDDEN = 16, CODES = 4 * HEIGHT * WIDTH };
    static int16_t weights[100000], symbols[4][6 * CODES], back[6 * CODES];
    static int32_t biases[1000];
    static uint8_t out[4][1 << 16];
    size_t weight_count = 2 * 16 + 16 * 16 + 12 * 16 + 16 * 16 + 16 * 2, bias_count = 3 * 16 + 2, length[4], i;
    uint32_t first_hash = 0;
    int32_t g, simd, result, earlier = 0;
    for (g = 0; g < 3; earlier += groups[g++]) {
        weight_count += (size_t)(2 * 32 + 9 * (1 + earlier) * 32 + 9 * 1024 + 12 * groups[g] * 32 + 1024 + 64 * groups[g]);
        bias_count += (size_t)(3 * 32 + 2 * groups[g]);
    }
    for (simd = 0; simd <= MAX_SIMD; simd++) {
        cwic_model *model;
        cwic_tile *tile;
        uint32_t h = 2166136261u;
        random_state = 7;
        for (i = 0; i < weight_count; i++)
            weights[i] = (int16_t)((int32_t)(random32() % 2001) - 1000);
        for (i = 0; i < bias_count; i++)
            biases[i] = (int32_t)(random32() % 200001) - 100000;
        model = cwic_model_new(weights, weight_count, biases, bias_count, groups, 3, HIDDEN, MAP_HIDDEN, LEVELS, simd,
                               &result);
        check(model != NULL && result == CWIC_OK, "a model");
        if (!model)
            return;
        if (cwic_model_simd(model) != simd) {
            cwic_model_free(model);
            printf("     instruction set %d is not here\n", simd);
            continue;
        }
        tile = cwic_tile_new(model, 100, HEIGHT, WIDTH, &result);
        for (g = 0; g < 4 && tile; g++) {
            size_t n = g ? (size_t)groups[g - 1] * CODES : HEIGHT * WIDTH;
            for (i = 0; i < n; i++)
                symbols[g][i] = (int16_t)(g ? (int32_t)(random32() % 9) - 4 : (int32_t)(random32() % LEVELS));
            result = cwic_tile_encode(tile, symbols[g], NULL, NULL, out[g], sizeof out[g], &length[g]);
            check(result == CWIC_OK, "a layer written");
            h = hash(h, out[g], length[g]);
            h = selftest_hash16(h, symbols[g], n);
        }
        check(tile && cwic_tile_encode(tile, symbols[0], NULL, NULL, out[0], 9, &i) == CWIC_ERROR_ARGUMENT, "no fifth layer");
        cwic_tile_free(tile);
        tile = cwic_tile_new(model, 100, HEIGHT, WIDTH, &result);
        for (g = 0; g < 4 && tile; g++) {
            size_t n = g ? (size_t)groups[g - 1] * CODES : HEIGHT * WIDTH;
            result = cwic_tile_decode(tile, out[g], length[g], back);
            check(result == CWIC_OK && memcmp(back, symbols[g], 2 * n) == 0, "a layer read back");
        }
        cwic_tile_free(tile);
        cwic_model_free(model);
        if (simd == 0)
            first_hash = h;
        check(h == first_hash, "the same bytes with every instruction set");
    }
    printf("     symbol and stream hash %08x\n", (unsigned)first_hash);
    check(first_hash == EXPECTED_HASH, "the hash that every machine gives");
    weights[0] = 0;
    for (i = 2 * 16; i < weight_count; i++)
        weights[i] = 32767;
    check(cwic_model_new(weights, weight_count, biases, bias_count, groups, 3, HIDDEN, MAP_HIDDEN, LEVELS, 0, &result) ==
                  NULL && result == CWIC_ERROR_WEIGHTS,
          "weights that could overflow are refused");
}

/* The same for cwic2018: made-up predictors, a made-up map and bits, with every implementation of the dense part. */
static void test_planes(void)
{
    static const int32_t groups[2] = {3, 5};
    enum { HEIGHT = 6, WIDTH = 9, SIZE = HEIGHT * WIDTH, LEVELS = 4, PLANES = 2 + 8, WEIGHTS = 1664, BIASES = 33 };
    static int16_t weights[PLANES * WEIGHTS], symbols[3][5 * SIZE], back[5 * SIZE];
    static int32_t biases[PLANES * BIASES];
    static uint8_t out[3][4096];
    const size_t counts[3] = {SIZE, 3 * SIZE, 5 * SIZE};
    size_t length[3], i;
    uint32_t first_hash = 0;
    int32_t g, simd, result;
    for (simd = 0; simd <= MAX_SIMD; simd++) {
        cwic_planes *model;
        cwic_stack *stack;
        uint32_t h = 2166136261u;
        int good = 1;
        random_state = 11;
        for (i = 0; i < PLANES * WEIGHTS; i++)
            weights[i] = (int16_t)((int32_t)(random32() % 8001) - 4000);
        for (i = 0; i < PLANES * BIASES; i++)
            biases[i] = (int32_t)(random32() % 200001) - 100000;
        model = cwic_planes_new(weights, PLANES * WEIGHTS, biases, PLANES * BIASES, groups, 2, LEVELS, simd, &result);
        check(model != NULL && result == CWIC_OK, "predictors");
        if (!model)
            return;
        stack = cwic_stack_new(model, HEIGHT, WIDTH, &result);
        for (g = 0; g < 3 && stack; g++) {
            for (i = 0; i < counts[g]; i++)
                symbols[g][i] = (int16_t)(random32() % (g ? 2 : LEVELS));
            good &= cwic_stack_encode(stack, symbols[g], out[g], sizeof out[g], &length[g]) == CWIC_OK;
            h = hash(h, out[g], length[g]);
            for (i = 0; i < counts[g]; i++) {
                uint8_t byte = (uint8_t)symbols[g][i];
                h = hash(h, &byte, 1);
            }
        }
        good &= stack && cwic_stack_encode(stack, symbols[0], out[0], 9, &i) == CWIC_ERROR_ARGUMENT;
        cwic_stack_free(stack);
        stack = cwic_stack_new(model, HEIGHT, WIDTH, &result);
        for (g = 0; g < 3 && stack; g++)
            good &= cwic_stack_decode(stack, out[g], length[g], back) == CWIC_OK &&
                    memcmp(back, symbols[g], 2 * counts[g]) == 0;
        cwic_stack_free(stack);
        stack = cwic_stack_new(model, HEIGHT, WIDTH, &result);
        check(stack && cwic_stack_decode(stack, out[0], 0, back) == CWIC_ERROR_SHORT, "planes: an empty stream");
        cwic_stack_free(stack);
        cwic_planes_free(model);
        check(good, "planes: layers written and read back");
        if (simd == 0)
            first_hash = h;
        check(h == first_hash, "planes: the same bytes with every instruction set");
    }
    printf("     planes: symbol and stream hash %08x\n", (unsigned)first_hash);
    check(first_hash == EXPECTED_PLANES_HASH, "planes: the hash that every machine gives");
    for (i = 0; i < PLANES * BIASES; i++)
        biases[i] = INT32_MAX;
    check(cwic_planes_new(weights, PLANES * WEIGHTS, biases, PLANES * BIASES, groups, 2, LEVELS, 0, &result) == NULL &&
              result == CWIC_ERROR_WEIGHTS,
          "planes: biases that could overflow are refused");
}

/* ---- vectors: files taken apart by benchmarks/reliability/platforms.py ------------------------------------------- */

static const uint8_t *cursor, *limit; /* what is left of the vector */

/* The next n bytes as a big-endian number, two's complement; 0 past the end. */
static int32_t number(int n)
{
    uint32_t value = 0;
    int i;
    for (i = 0; i < n; i++)
        value = value << 8 | (cursor < limit ? *cursor++ : 0);
    return n == 2 ? (int16_t)value : (int32_t)value;
}

/* Decodes all layers with every instruction set that is here; prints the hash of the symbols.
 * Numbers of 4 bytes: 0 for cwic1, 1 for cwic2018; rate, height and width in levels, hidden, map_hidden, levels; the
 * counts of weights, biases and groups. Then the weights of 2 bytes, the biases and the groups of 4; then for each
 * layer the count of its symbols and of its bytes, and these. */
static void decode_vector(const uint8_t *data, size_t size)
{
    uint32_t first_hash = 0;
    int32_t simd, head[10], groups[64], result, i, g;
    for (simd = 0; simd <= MAX_SIMD; simd++) {
        int16_t *weights, *symbols;
        int32_t *biases;
        uint32_t h = 2166136261u;
        cwic_model *model = NULL;
        cwic_planes *planes = NULL;
        cwic_tile *tile = NULL;
        cwic_stack *stack = NULL;
        cursor = data;
        limit = data + size;
        for (i = 0; i < 10; i++)
            head[i] = number(4);
        if (head[7] < 1 || head[8] < 1 || head[9] < 1 || head[9] > 63 || (size_t)head[7] > size || (size_t)head[8] > size) {
            check(0, "a vector's head");
            return;
        }
        weights = calloc((size_t)head[7], sizeof *weights);
        biases = calloc((size_t)head[8], sizeof *biases);
        for (i = 0; weights && i < head[7]; i++)
            weights[i] = (int16_t)number(2);
        for (i = 0; biases && i < head[8]; i++)
            biases[i] = number(4);
        for (i = 0; i < head[9]; i++)
            groups[i] = number(4);
        if (weights && biases && head[0]) {
            planes = cwic_planes_new(weights, (size_t)head[7], biases, (size_t)head[8], groups, head[9], head[6], simd, &result);
            stack = planes ? cwic_stack_new(planes, head[2], head[3], &result) : NULL;
        } else if (weights && biases) {
            model = cwic_model_new(weights, (size_t)head[7], biases, (size_t)head[8], groups, head[9], head[4], head[5],
                                   head[6], simd, &result);
            tile = model ? cwic_tile_new(model, head[1], head[2], head[3], &result) : NULL;
        }
        check(tile || stack, "a vector's model");
        for (g = 0; g <= head[9] && (tile || stack); g++) {
            int32_t count = number(4), length = number(4);
            symbols = calloc((size_t)count, sizeof *symbols);
            if (!symbols || length < 0 || length > limit - cursor) {
                check(0, "a vector's layer");
                return;
            }
            result = tile ? cwic_tile_decode(tile, cursor, (size_t)length, symbols)
                          : cwic_stack_decode(stack, cursor, (size_t)length, symbols);
            check(result == CWIC_OK, "a vector's layer");
            cursor += length;
            h = selftest_hash16(h, symbols, (size_t)count);
            free(symbols);
        }
        if (simd == 0)
            first_hash = h;
        check(h == first_hash, "a vector's symbols with every instruction set");
        cwic_tile_free(tile);
        cwic_stack_free(stack);
        cwic_model_free(model);
        cwic_planes_free(planes);
        free(weights);
        free(biases);
    }
    printf("     vector: symbol hash %08x\n", (unsigned)first_hash);
}

static void test_vector(const char *path)
{
    static uint8_t data[1 << 22];
    FILE *file = fopen(path, "rb");
    check(file != NULL, path);
    if (!file)
        return;
    decode_vector(data, fread(data, 1, sizeof data, file));
    fclose(file);
}

/* Without arguments everything that needs no file; else the vectors named. */
int main(int argc, char **argv)
{
    int i;
    for (i = 1; i < argc; i++)
        test_vector(argv[i]);
    if (argc == 1) {
        test_coder();
        test_carry();
        test_tables();
        test_symbols();
        test_choice();
        test_tile();
        test_planes();
        selftest_transform();
        selftest_postfilter();
        selftest_pixels();
    }
    printf(failures ? "%d FAILED\n" : "self-test passed\n", failures);
    return failures != 0;
}
