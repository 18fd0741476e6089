/* The dense part of the context model in plain C, and the choice among implementations. */

#include "internal.h"

void cwic_dense_plain(const cwic_affine *a, const int16_t *input, const int32_t *offsets, size_t step,
                      const int32_t *start, size_t start_step, int32_t *out, int32_t count)
{
    const int32_t outputs = a->outputs, pairs = a->inputs / 2;
    int32_t p, o, tap, pair, b;
    for (p = 0; p < count; p++) {
        for (b = 0; b < outputs; b += 16) {
            int32_t sum[16];
            for (o = 0; o < 16; o++)
                sum[o] = start[p * start_step + b + o];
            for (tap = 0; tap < a->taps; tap++) {
                const int16_t *x = input + offsets[tap] + (ptrdiff_t)(p * step);
                const int16_t *w = a->weights + ((size_t)tap * pairs * outputs + b) * 2;
                for (pair = 0; pair < pairs; pair++, w += 2 * outputs)
                    for (o = 0; o < 16; o++)
                        sum[o] += w[2 * o] * x[2 * pair] + w[2 * o + 1] * x[2 * pair + 1];
            }
            for (o = 0; o < 16; o++)
                out[(size_t)p * outputs + b + o] = sum[o];
        }
    }
}

cwic_dense_function *cwic_dense_choose(int32_t simd, int32_t *chosen)
{
    for (*chosen = simd; *chosen > 0; --*chosen) {
        cwic_dense_function *found = cwic_dense_x86(*chosen);
        if (!found)
            found = cwic_dense_neon(*chosen);
        if (found)
            return found;
    }
    *chosen = 0;
    return cwic_dense_plain;
}
