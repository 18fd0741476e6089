/* Self-test of the pixel coder: what comes out is what went in, and bad streams end early. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "selftest.h"

/* Pinned: a change of it is a change of the format. */
#define EXPECTED_PIXELS_HASH 0x43f5565cu

/* All rows of a coder in two calls, then its end. */
static int32_t run(cwic_pixels *p, int32_t height, int32_t result, size_t *written)
{
    if (!p)
        return result;
    if (cwic_pixels_rows(p, height / 3) == CWIC_OK)
        (void)cwic_pixels_rows(p, height - height / 3);
    result = cwic_pixels_finish(p, written);
    cwic_pixels_free(p);
    return result;
}

static int32_t encode(const uint8_t *pixels, int32_t width, int32_t height, int32_t channels, size_t stride,
                      uint8_t *out, size_t capacity, size_t *written)
{
    int32_t result = 0;
    cwic_pixels *p = cwic_pixels_encoder(pixels, height, width, channels, stride, NULL, NULL, out, capacity, &result);
    return run(p, height, result, written);
}

static int32_t decode(const uint8_t *data, size_t length, uint8_t *pixels, int32_t width, int32_t height,
                      int32_t channels, size_t stride)
{
    int32_t result = 0;
    cwic_pixels *p = cwic_pixels_decoder(data, length, pixels, height, width, channels, stride, NULL, &result);
    return run(p, height, result, NULL);
}

enum { RANDOM, FLAT, TEXT, GRADIENT, PHOTOGRAPH, FEW, KINDS };

static uint32_t state = 1;

static uint32_t random32(void)
{
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

/* Text is words of the same eight glyphs, a photograph a plane with noise; a few colours are strewn at random. */
static uint8_t sample(int kind, int x, int y, int c)
{
    switch (kind) {
    case FLAT:
        return (uint8_t)(200 + c);
    case TEXT: {
        int glyph = (x / 6 * 7 + y / 9 * 3) & 7, u = x % 6, v = y % 9;
        return (uint8_t)(u < 5 && v < 7 && (0x2f35b46dul >> ((u * 7 + v * 3 + glyph * 5) & 31) & 1) ? 20 + 30 * c : 255);
    }
    case GRADIENT:
        return (uint8_t)(x + (c + 1) * y / 2);
    case PHOTOGRAPH:
        return (uint8_t)(128 + (x * 5 + y * (c + 2)) / 16 % 64 + (int)(random32() % 5));
    case FEW:
        return (uint8_t)((random32() & 3) * (unsigned)(40 + c));
    default:
        return (uint8_t)(random32() >> 24);
    }
}

/* Codes and decodes rows that lie apart; returns the bytes and one, or 0 if anything differs. */
static size_t round_trip(int kind, int width, int height, int channels, uint32_t *hash)
{
    size_t line = (size_t)width * (size_t)channels, stride = line + 3, size = stride * (size_t)height, written = 0, i;
    size_t capacity = 2 * size + 64, shorter;
    uint8_t *pixels = malloc(size), *back = malloc(size), *out = malloc(capacity);
    int x, y, c, good;
    memset(pixels, 77, size);
    memset(back, 77, size);
    for (y = 0; y < height; y++)
        for (x = 0; x < width; x++)
            for (c = 0; c < channels; c++)
                pixels[stride * (size_t)y + (size_t)(x * channels + c)] = sample(kind, x, y, c);
    good = encode(pixels, width, height, channels, stride, out, capacity, &written) == CWIC_OK;
    good &= decode(out, written, back, width, height, channels, stride) == CWIC_OK;
    good &= memcmp(pixels, back, size) == 0;
    for (i = 0; i < written; i++)
        *hash = (*hash ^ out[i]) * 16777619u;
    memset(out + written, 0, 16);
    good &= decode(out, written + 16, back, width, height, channels, stride) == CWIC_ERROR_LONG;
    if (written > 0)
        good &= encode(pixels, width, height, channels, stride, out, written - 1, &shorter) == CWIC_ERROR_SPACE;
    free(pixels);
    free(back);
    free(out);
    return good ? written + 1 : 0; /* few pixels may take no bytes */
}

static void test_round_trips(void)
{
    static const int sizes[][2] = {{1, 1}, {1, 37}, {37, 1}, {2, 2}, {5, 3}, {130, 70}};
    static const char *const names[KINDS] = {"random", "flat", "text-like", "gradient", "photograph-like", "few colours"};
    uint32_t hash = 2166136261u;
    int kind, channels, i;
    for (kind = 0; kind < KINDS; kind++) {
        int good = 1;
        size_t bytes = 0;
        for (channels = 1; channels <= 4; channels++)
            for (i = 0; i < (int)(sizeof sizes / sizeof *sizes); i++) {
                bytes = round_trip(kind, sizes[i][0], sizes[i][1], channels, &hash);
                good &= bytes > 0;
            }
        printf("     pixels, %s: %u bytes of 130x70x4\n", names[kind], (unsigned)bytes - 1);
        selftest_check(good, "pixels come back");
        selftest_check(kind != FLAT || bytes < 40, "flat pixels cost next to nothing");
        selftest_check(kind != RANDOM || bytes < 130 * 70 * 4 * 21 / 20, "random pixels cost little more than they are");
    }
    selftest_pinned("streams of pixels", hash, EXPECTED_PIXELS_HASH);
}

/* How many rows of 4 channels the start of a stream tells for sure; -1 if one of them is not as in `whole`. */
static int32_t settled(const uint8_t *data, size_t length, uint8_t *pixels, const uint8_t *whole, int32_t width,
                       int32_t height)
{
    const size_t stride = (size_t)width * 4;
    int32_t result = 0, row = 0;
    cwic_pixels *p = cwic_pixels_decoder(data, length, pixels, height, width, 4, stride, NULL, &result);
    while (p && row < height && cwic_pixels_rows(p, 1) == CWIC_OK && cwic_pixels_settled(p))
        row++;
    cwic_pixels_free(p);
    return memcmp(pixels, whole, stride * (size_t)row) ? -1 : row;
}

/* Rubbish gives an error or pixels, and nothing is read or written beyond (which sanitizers see). */
static void test_rubbish(void)
{
    enum { WIDTH = 61, HEIGHT = 43, SIZE = WIDTH * HEIGHT * 4 };
    uint8_t *data = malloc(SIZE), *pixels = malloc(SIZE), *out = malloc(2 * SIZE);
    size_t written = 0, length;
    int i, k, good = 1;
    for (i = 0; i < 60; i++) {
        int32_t result;
        length = random32() % SIZE;
        for (k = 0; k < (int)length; k++)
            data[k] = i % 4 == 0 ? 0 : i % 4 == 1 ? 255 : (uint8_t)(random32() >> 24);
        result = decode(data, length, pixels, WIDTH, HEIGHT, 1 + i % 4, WIDTH * 4);
        good &= result == CWIC_OK || result == CWIC_ERROR_SHORT || result == CWIC_ERROR_LONG;
    }
    selftest_check(good, "rubbish decodes to pixels or errors");
    for (k = 0; k < SIZE; k++)
        data[k] = sample(PHOTOGRAPH, k / 4 % WIDTH, k / 4 / WIDTH, k & 3);
    good = encode(data, WIDTH, HEIGHT, 4, WIDTH * 4, out, 2 * SIZE, &written) == CWIC_OK;
    for (length = 977; length < written / 2; length += 977)
        good &= decode(out, length, pixels, WIDTH, HEIGHT, 4, WIDTH * 4) == CWIC_ERROR_SHORT;
    selftest_check(good, "cut streams are short");
    good = settled(out, written, pixels, data, WIDTH, HEIGHT) == HEIGHT - 1;
    for (length = 0, i = 0; length < written; length += 577) {
        const int32_t rows = settled(out, length, pixels, data, WIDTH, HEIGHT);
        good &= rows >= i && rows < HEIGHT && rows * (written / HEIGHT) <= length + written / 8;
        i = rows;
    }
    selftest_check(good && i > HEIGHT * 3 / 4, "rows before a cut come back");
    for (i = 0; i < 30; i++) {
        uint8_t *at = out + random32() % written;
        *at ^= (uint8_t)(1 + random32() % 255);
        (void)decode(out, written, pixels, WIDTH, HEIGHT, 4, WIDTH * 4);
    }
    free(data);
    free(pixels);
    free(out);
}

static void test_arguments(void)
{
    uint8_t pixels[8] = {0}, out[64];
    size_t n;
    static const int bad[][4] = {{0, 1, 1, 8}, {1, 0, 1, 8}, {1, 1, 0, 8}, {1, 1, 5, 8}, {2, 1, 4, 7},
                                 {CWIC_PIXELS_SIDE + 1, 1, 1, CWIC_PIXELS_SIDE + 1}, {-1, 1, 1, 8}};
    int good = 1, i;
    for (i = 0; i < (int)(sizeof bad / sizeof *bad); i++) {
        const int *b = bad[i];
        good &= encode(pixels, b[0], b[1], b[2], (size_t)b[3], out, 64, &n) == CWIC_ERROR_ARGUMENT;
        good &= decode(out, 8, pixels, b[0], b[1], b[2], (size_t)b[3]) == CWIC_ERROR_ARGUMENT;
    }
    selftest_check(good, "arguments out of range are refused");
}

void selftest_pixels(void)
{
    test_round_trips();
    test_rubbish();
    test_arguments();
}
