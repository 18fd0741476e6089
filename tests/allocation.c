/* Makes every allocation of the C code fail in turn: each must give a clean error, and nothing may leak.
 *
 *     cc -std=c99 -Icsrc -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=free tests/allocation.c \
 *         csrc/[!s]*.c -pthread -lm
 *
 * Prints one line for each part: how many allocations it makes, and how many failures were told. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cwic.h"

static long countdown = -1, held, asked; /* the allocation that fails, -1 for none; blocks not freed; all requests */

void *__real_calloc(size_t n, size_t size);
void *__real_malloc(size_t size);
void *__real_realloc(void *old, size_t size);
void __real_free(void *p);

static int fails(void)
{
    asked++;
    return countdown >= 0 && countdown-- == 0;
}

void *__wrap_calloc(size_t n, size_t size)
{
    void *p = fails() ? NULL : __real_calloc(n, size);
    held += p != NULL;
    return p;
}

void *__wrap_malloc(size_t size)
{
    void *p = fails() ? NULL : __real_malloc(size);
    held += p != NULL;
    return p;
}

void *__wrap_realloc(void *old, size_t size)
{
    void *p = fails() ? NULL : __real_realloc(old, size);
    held += p != NULL && old == NULL;
    return p;
}

void __wrap_free(void *p)
{
    held -= p != NULL;
    __real_free(p);
}

enum { HEIGHT = 3, WIDTH = 4, LEVELS = 2, HIDDEN = 16, WEIGHTS = 20000, BIASES = 2000 };

static int16_t weights[WEIGHTS], symbols[64 * HEIGHT * WIDTH];
static int32_t biases[BIASES];
static uint8_t out[1 << 16];

/* A model, a tile, all its layers written and read. Returns the first error. */
static int32_t layers(void)
{
    static const int32_t groups[2] = {2, 4};
    const size_t w = 2 * 16 + 16 * 16 + 12 * 16 + 16 * 16 + 16 * 2 + 2 * (2 * 16 + 9 * 16 * 16 + 16 * 16) + 9 * 16 * (1 + 3) +
                     (12 * 16 + 32) * (2 + 4);
    const size_t b = 3 * 16 + 2 + 2 * 3 * 16 + 2 * (2 + 4);
    int32_t result, g;
    size_t written;
    cwic_model *model = cwic_model_new(weights, w, biases, b, groups, 2, HIDDEN, HIDDEN, LEVELS, 2, &result);
    cwic_tile *tile;
    if (!model)
        return result;
    tile = cwic_tile_new(model, 0, HEIGHT, WIDTH, &result);
    for (g = 0; g < 3 && tile && result == CWIC_OK; g++)
        result = cwic_tile_encode(tile, symbols, NULL, NULL, out, sizeof out, &written);
    cwic_tile_free(tile);
    cwic_model_free(model);
    return result;
}

static int32_t planes(void)
{
    static const int32_t groups[2] = {2, 2};
    enum { PLANES = 1 + 4 };
    int32_t result, g;
    size_t written;
    cwic_planes *model = cwic_planes_new(weights, PLANES * 1664, biases, PLANES * 33, groups, 2, LEVELS, 2, &result);
    cwic_stack *stack;
    if (!model)
        return result;
    stack = cwic_stack_new(model, HEIGHT, WIDTH, &result);
    for (g = 0; g < 3 && stack && result == CWIC_OK; g++)
        result = cwic_stack_encode(stack, symbols, out, sizeof out, &written);
    cwic_stack_free(stack);
    cwic_planes_free(model);
    return result;
}

/* Both transforms with weights of zeros, and a pass of each; the synthesis with a fine block, and without, and with a
 * post-filter. */
static int32_t transforms(void)
{
    enum { WIDE = 32, BLOCKS = 2, CHANNELS = 4, FEATURES = 3 };
    enum { WORDS = 2 + 4 * BLOCKS + 163 * CHANNELS + WIDE + 5 * WIDE * BLOCKS };
    enum { HALVES = 67 * WIDE + 9 * WIDE * BLOCKS + CHANNELS * CHANNELS };
    static const int32_t words_of[2] = {WORDS + 1 + 3 + CHANNELS + FEATURES + LEVELS, WORDS + 2 + 192};
    static const int32_t halves_of[2] = {HALVES + 192 * WIDE + (WIDE + 192) * CHANNELS + 16 * WIDE * FEATURES + FEATURES,
                                         HALVES + CHANNELS * WIDE + (WIDE + CHANNELS) * 192};
    cwic_shape shape = {WIDE, BLOCKS, CHANNELS, 1, FEATURES, LEVELS, 0};
    static int32_t words[2000];
    static int16_t halves[20000], codes[CHANNELS * 16], levels[4];
    static int8_t bytes[BLOCKS * (6 * WIDE * WIDE + 9 * WIDE)];
    static const int8_t post[CWIC_POST];
    static uint8_t pixels[32 * 32 * 3];
    int32_t result = CWIC_OK, n, simd;
    words[1 + 4 * BLOCKS] = 4; /* the exit shift that a post-filter wants */
    for (simd = 0; simd <= 4; simd++)
        for (n = 0; n < 4 && result == CWIC_OK; n++) {
            const int32_t k = n > 0, floor = words_of[k] - 34 * CHANNELS;
            const cwic_arrays arrays = {words, halves, bytes, (size_t)words_of[k], (size_t)halves_of[k], sizeof bytes};
            cwic_transform *t;
            cwic_pass *pass;
            int32_t c;
            for (c = 0; c < CHANNELS; c++)
                words[floor + c] = 1;
            shape.fine = n == 2;
            t = k ? cwic_synthesis_new(&shape, &arrays, simd, &result) : cwic_analysis_new(&shape, &arrays, simd, &result);
            for (c = 0; c < CHANNELS; c++)
                words[floor + c] = 0;
            if (!t)
                break;
            pass = k ? cwic_synthesis_pass(t, 0, codes, n == 3 ? post : NULL, pixels, 31, 32, 3, &result)
                     : cwic_analysis_pass(t, 0, pixels, 31, 32, codes, levels, 3, &result);
            while (pass && (result = cwic_pass_band(pass)) == 1)
                ;
            cwic_pass_free(pass);
            cwic_transform_free(t);
        }
    return result;
}

/* A picture written and read, all of it and one block in two. */
static int32_t pixels(void)
{
    enum { SIDE = 20, CHANNELS = 3, LINE = SIDE * CHANNELS };
    static const uint8_t blocks[4] = {1, 0, 0, 1};
    static uint8_t picture[SIDE * LINE];
    int32_t result = CWIC_OK, k;
    size_t written = 0, i;
    for (i = 0; i < sizeof picture; i++)
        picture[i] = (uint8_t)(i * i >> 3);
    for (k = 0; k < 4 && result == CWIC_OK; k++) {
        const uint8_t *chosen = k / 2 ? blocks : NULL;
        cwic_pixels *p = k % 2 ? cwic_pixels_decoder(out, written, picture, SIDE, SIDE, CHANNELS, LINE, chosen, &result)
                               : cwic_pixels_encoder(picture, SIDE, SIDE, CHANNELS, LINE, chosen, NULL, out, sizeof out,
                                                     &result);
        if (!p)
            break;
        for (i = 0; i < SIDE / 5 && result == CWIC_OK; i++)
            result = cwic_pixels_rows(p, 5);
        if (result == CWIC_OK)
            result = cwic_pixels_finish(p, &written);
        cwic_pixels_free(p);
    }
    return result;
}

static int run(const char *name, int32_t (*part)(void))
{
    long total, n, told = 0;
    int good;
    asked = 0;
    countdown = -1;
    good = part() == CWIC_OK && held == 0;
    total = asked;
    for (n = 0; n < total; n++) {
        countdown = n;
        told += part() == CWIC_ERROR_MEMORY && held == 0;
    }
    countdown = -1;
    printf("%s: %ld allocations, %ld failures told\n", name, total, told);
    return good && total > 0 && told == total;
}

int main(void)
{
    int good = run("cwic1", layers);
    good &= run("cwic2018", planes);
    good &= run("transforms", transforms);
    good &= run("pixels", pixels);
    return !good;
}
