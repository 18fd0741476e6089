/* The encoder's codes before they are rounded, and which layers pay for their bits. */

#include "transform.h"

CWIC_CHECK(CWIC_COSTS == (CWIC_EXACT_LIMIT + 15) / 32 + 1); /* the largest code of an exact one, and zero */

void cwic_exact_codes(const cwic_transform *transform, int32_t rate, const int16_t *latents, size_t positions,
                      int16_t *exact)
{
    const int32_t channels = transform->shape.channels;
    int32_t c;
    size_t k;
    for (c = 0; c < channels; c++, latents += positions, exact += positions) {
        const int64_t gain = cwic_at(transform->gain, CWIC_GAIN_ENTRIES, channels, rate, c);
        for (k = 0; k < positions; k++) {
            const int64_t v = (latents[k] * gain + (1 << 23)) >> 24; /* the product stays below 2^46 */
            exact[k] = (int16_t)(v < -CWIC_EXACT_LIMIT ? -CWIC_EXACT_LIMIT : v > CWIC_EXACT_LIMIT ? CWIC_EXACT_LIMIT : v);
        }
    }
}

/* 256 times step_bits / 256 * (y^2 - (y - c)^2) less the cost, for y = exact / 32 rounded to c, halves towards zero, as
 * the cheaper code of two equally near ones is what an encoder takes. With |exact| <= 32000
 * |c| is at most 1000, the difference of squares times 1024 below 2^31, and all of it below 2^47. */
static int64_t saved(int32_t exact, const int32_t *cost, int32_t step_bits)
{
    const int32_t e = cwic_clamp(exact < 0 ? -exact : exact, 0, CWIC_EXACT_LIMIT), c = (e + 15) >> 5;
    return (int64_t)step_bits * (64 * e * c - 1024 * c * c) / 4 - 256 * (int64_t)cost[c];
}

void cwic_useful_levels(const int16_t *exact, int32_t rows, int32_t columns, const int32_t *groups, int32_t group_count,
                        const int32_t *cost, int32_t step_bits, int16_t *levels)
{
    const size_t plane = (size_t)rows * columns;
    int32_t y, x, g, k;
    for (y = 0; y + 1 < rows; y += 2)
        for (x = 0; x + 1 < columns; x += 2, levels++) {
            const int16_t *at = exact + (size_t)y * columns + x;
            int64_t sum = 0, best = 0;
            int32_t level = 0;
            for (g = 0; g < group_count; g++) {
                for (k = 0; k < groups[g]; k++, at += plane)
                    sum += saved(at[0], cost, step_bits) + saved(at[1], cost, step_bits) +
                           saved(at[columns], cost, step_bits) + saved(at[columns + 1], cost, step_bits);
                if (g == 0 || sum > best) {
                    best = sum;
                    level = g;
                }
            }
            if (*levels < level)
                *levels = (int16_t)level;
        }
}
