/* The post-filter, FORMAT.md section 6.9. Plain C alone: compilers find the vectors, with AVX2 where it is allowed. */

#include "postfilter.h"
#include "x86.h"

enum { COLOUR = CWIC_SIDE * CWIC_SIDE, OUTPUTS = 3, FEATURES = CWIC_POST / OUTPUTS };
enum { MIDDLE = 2048, LOW = -1024, HIGH = 5119, LONGEST = 7 };

int32_t cwic_post_read(const uint8_t *data, size_t length, int8_t *post)
{
    size_t at = 0, end = 8 * length;
    int32_t k, b, n;
    for (k = 0; k < CWIC_POST; k++) {
        for (b = 0; b < LONGEST && at < end && (data[at >> 3] << (at & 7) & 128); b++)
            at++;
        at += b < LONGEST;
        if (at + (size_t)b > end)
            return CWIC_ERROR_SHORT;
        for (n = 1; b; b--, at++)
            n = 2 * n + (data[at >> 3] >> (7 - (at & 7)) & 1);
        post[k] = (int8_t)(n & 1 ? -(n >> 1) : n >> 1);
    }
    if ((at + 7) >> 3 != length)
        return CWIC_ERROR_LONG;
    for (; at < end; at++)
        if (data[at >> 3] << (at & 7) & 128)
            return CWIC_ERROR_LONG;
    return CWIC_OK;
}

/* What the neighbours within the position are more, together. */
INLINE void differences(const int32_t *x, int32_t *out)
{
    int32_t k, row, column;
    for (k = 0; k < COLOUR; k++)
        out[k] = 0;
    for (k = 0; k < COLOUR - CWIC_SIDE; k++) {
        const int32_t d = x[k + CWIC_SIDE] - x[k];
        out[k] += d;
        out[k + CWIC_SIDE] -= d;
    }
    for (row = 0; row < COLOUR; row += CWIC_SIDE)
        for (column = row; column < row + CWIC_SIDE - 1; column++) {
            const int32_t d = x[column + 1] - x[column];
            out[column] += d;
            out[column + 1] -= d;
        }
}

/* Red, green and blue less MIDDLE, 64 of each, to luma, red - green and blue - green. */
INLINE void separate(const int32_t *samples, int32_t yuv[3][COLOUR])
{
    const int32_t *red = samples, *green = samples + COLOUR, *blue = samples + 2 * COLOUR;
    int32_t k;
    for (k = 0; k < COLOUR; k++) {
        yuv[0][k] = (77 * red[k] + 150 * green[k] + 29 * blue[k]) >> 8;
        yuv[1][k] = red[k] - green[k];
        yuv[2][k] = blue[k] - green[k];
    }
}

/* Feature n without its unit; one of the differences is below 2^15 in magnitude, all others are below 2^14. */
INLINE void feature(int32_t yuv[3][COLOUR], int32_t n, int32_t *f)
{
    static const int32_t first[] = {0, 0, 0, 1, 1, 2}, second[] = {0, 1, 2, 1, 2, 2};
    int32_t k;
    if (n == 0)
        for (k = 0; k < COLOUR; k++)
            f[k] = 1;
    else if (n < 4)
        for (k = 0; k < COLOUR; k++)
            f[k] = yuv[n - 1][k];
    else if (n < 10)
        for (k = 0; k < COLOUR; k++)
            f[k] = (yuv[first[n - 4]][k] * yuv[second[n - 4]][k]) >> 11;
    else
        differences(yuv[n - 10], f);
}

INLINE void filtered(int32_t *sums, int32_t shift, const int8_t *post)
{
    static const int32_t unit[FEATURES] = {512, 1, 4, 4, 2, 8, 8, 16, 16, 16, 4, 16, 16};
    int32_t yuv[3][COLOUR], f[COLOUR], d[OUTPUTS][COLOUR], k, o, n;
    int32_t *red = sums, *green = sums + COLOUR, *blue = sums + 2 * COLOUR;
    for (k = 0; k < CWIC_BLOCK_VALUES; k++)
        sums[k] = cwic_clamp(sums[k] >> (shift - CWIC_POST_BITS), LOW, HIGH) - MIDDLE;
    separate(sums, yuv);
    for (o = 0; o < OUTPUTS; o++)
        for (k = 0; k < COLOUR; k++)
            d[o][k] = 128 + unit[0] * post[o * FEATURES];
    for (n = 1; n < FEATURES; n++) {
        if (!post[n] && !post[FEATURES + n] && !post[2 * FEATURES + n])
            continue;
        feature(yuv, n, f);
        for (o = 0; o < OUTPUTS; o++) {
            const int32_t c = unit[n] * post[o * FEATURES + n];
            if (c)
                for (k = 0; k < COLOUR; k++)
                    d[o][k] += c * f[k];
        }
    }
    for (k = 0; k < COLOUR; k++) {
        const int32_t u = d[1][k] >> 8, v = d[2][k] >> 8, g = (d[0][k] >> 8) - ((77 * u + 29 * v + 128) >> 8) + MIDDLE;
        red[k] += g + u;
        green[k] += g;
        blue[k] += g + v;
    }
}

/* Products of two, over the 64 places. Below 2^15 each, so that a product fits 31 bits, and their sum 37. */
INLINE int64_t product(const int32_t *a, const int32_t *b)
{
    int64_t sum = 0;
    int32_t k;
    for (k = 0; k < COLOUR; k++)
        sum += a[k] * b[k];
    return sum;
}

/* One position of cwic_post_sums. */
INLINE void summed(const uint8_t *shown, const uint8_t *original, ptrdiff_t pitch, int64_t *squares, int64_t *wanted)
{
    int32_t samples[CWIC_BLOCK_VALUES], errors[OUTPUTS][COLOUR], yuv[3][COLOUR], f[FEATURES][COLOUR], k, n, o;
    for (k = 0; k < COLOUR; k++)
        for (o = 0; o < OUTPUTS; o++) {
            const ptrdiff_t at = k / CWIC_SIDE * pitch + 3 * (k % CWIC_SIDE) + o;
            samples[o * COLOUR + k] = 16 * shown[at] + 8 - MIDDLE;
            errors[o][k] = 16 * (original[at] - shown[at]);
        }
    separate(samples, yuv);
    for (n = 0; n < FEATURES; n++) {
        feature(yuv, n, f[n]);
        for (k = 0; k <= n; k++)
            squares[FEATURES * n + k] += product(f[n], f[k]);
        for (o = 0; o < OUTPUTS; o++)
            wanted[OUTPUTS * n + o] += product(f[n], errors[o]);
    }
}

INLINE void sums_of(const uint8_t *shown, const uint8_t *original, int32_t columns, const int32_t *places,
                    int32_t count, int64_t *squares, int64_t *wanted)
{
    const ptrdiff_t pitch = (ptrdiff_t)3 * CWIC_SIDE * columns;
    int32_t k;
    for (k = 0; k < count; k++) {
        const ptrdiff_t at = places[k] / columns * CWIC_SIDE * pitch + places[k] % columns * (ptrdiff_t)(3 * CWIC_SIDE);
        summed(shown + at, original + at, pitch, squares, wanted);
    }
}

static void filter_plain(int32_t *sums, int32_t shift, const int8_t *post) { filtered(sums, shift, post); }

#ifdef CWIC_X86

AVX2 static void filter_avx2(int32_t *sums, int32_t shift, const int8_t *post) { filtered(sums, shift, post); }

AVX2 static void sums_avx2(const uint8_t *shown, const uint8_t *original, int32_t columns, const int32_t *places,
                           int32_t count, int64_t *squares, int64_t *wanted)
{
    sums_of(shown, original, columns, places, count, squares, wanted);
}

cwic_filter *cwic_filter_choose(int32_t simd)
{
    return simd >= 1 && __builtin_cpu_supports("avx2") ? filter_avx2 : filter_plain;
}

#else

cwic_filter *cwic_filter_choose(int32_t simd)
{
    (void)simd;
    return filter_plain;
}

#endif

void cwic_post_sums(const uint8_t *shown, const uint8_t *original, int32_t columns, const int32_t *places, int32_t count,
                    int32_t simd, int64_t *squares, int64_t *wanted)
{
    (void)simd;
#ifdef CWIC_X86
    if (simd >= 1 && __builtin_cpu_supports("avx2")) {
        sums_avx2(shown, original, columns, places, count, squares, wanted);
        return;
    }
#endif
    sums_of(shown, original, columns, places, count, squares, wanted);
}
