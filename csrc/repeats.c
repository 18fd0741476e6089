/* What tells graphics from photographs, for the encoder alone: flat runs, and steps where there are none. */

#include <string.h>

#include "common.h"

enum { NEAR = 6 }; /* steps up to this are those of a gradient */

INLINE void row_of(const uint8_t *row, int32_t width, const int channels, uint16_t *equal, uint16_t *near)
{
    int32_t x, c;
    for (x = 1; x < width; x++) {
        const uint8_t *p = row + channels * x;
        int most = 0, second = x < 2; /* from the second pixel to the left */
        for (c = 0; c < channels; c++) {
            int step = p[c] - p[c - channels];
            step = step < 0 ? -step : step;
            most = step > most ? step : most;
            if (x > 1)
                second |= p[c] ^ p[c - 2 * channels];
        }
        equal[x / CWIC_BLOCK] = (uint16_t)(equal[x / CWIC_BLOCK] + (most == 0 || second == 0));
        near[x / CWIC_BLOCK] = (uint16_t)(near[x / CWIC_BLOCK] + (most > 0 && most <= NEAR));
    }
}

void cwic_repeats(const uint8_t *pixels, int32_t height, int32_t width, int32_t channels, size_t stride,
                  uint16_t *equal, uint16_t *near)
{
    const size_t across = ((size_t)width + CWIC_BLOCK - 1) / CWIC_BLOCK;
    const size_t count = across * (((size_t)height + CWIC_BLOCK - 1) / CWIC_BLOCK);
    int32_t y;
    memset(equal, 0, count * sizeof *equal);
    memset(near, 0, count * sizeof *near);
    for (y = 0; y < height; y++) {
        const uint8_t *row = pixels + stride * (size_t)y;
        const size_t at = across * (size_t)(y / CWIC_BLOCK);
        if (channels == 1)
            row_of(row, width, 1, equal + at, near + at);
        else if (channels == 3)
            row_of(row, width, 3, equal + at, near + at);
        else
            row_of(row, width, channels, equal + at, near + at);
    }
}
