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

INLINE void filtered(int32_t *sums, int32_t shift, const int8_t *post)
{
    static const int32_t unit[FEATURES] = {512, 1, 4, 4, 2, 8, 8, 16, 16, 16, 4, 16, 16};
    int32_t yuv[3][COLOUR], f[COLOUR], d[OUTPUTS][COLOUR], k, o, n;
    int32_t *red = sums, *green = sums + COLOUR, *blue = sums + 2 * COLOUR;
    for (k = 0; k < CWIC_BLOCK_VALUES; k++)
        sums[k] = cwic_clamp(sums[k] >> (shift - CWIC_POST_BITS), LOW, HIGH) - MIDDLE;
    for (k = 0; k < COLOUR; k++) {
        yuv[0][k] = (77 * red[k] + 150 * green[k] + 29 * blue[k]) >> 8;
        yuv[1][k] = red[k] - green[k];
        yuv[2][k] = blue[k] - green[k];
    }
    for (o = 0; o < OUTPUTS; o++)
        for (k = 0; k < COLOUR; k++)
            d[o][k] = 128 + unit[0] * post[o * FEATURES];
    for (n = 1; n < FEATURES; n++) {
        static const int32_t first[] = {0, 0, 0, 1, 1, 2}, second[] = {0, 1, 2, 1, 2, 2};
        if (!post[n] && !post[FEATURES + n] && !post[2 * FEATURES + n])
            continue;
        if (n < 4)
            for (k = 0; k < COLOUR; k++)
                f[k] = yuv[n - 1][k];
        else if (n < 10)
            for (k = 0; k < COLOUR; k++)
                f[k] = (yuv[first[n - 4]][k] * yuv[second[n - 4]][k]) >> 11;
        else
            differences(yuv[n - 10], f);
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

static void filter_plain(int32_t *sums, int32_t shift, const int8_t *post) { filtered(sums, shift, post); }

#ifdef CWIC_X86

AVX2 static void filter_avx2(int32_t *sums, int32_t shift, const int8_t *post) { filtered(sums, shift, post); }

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
