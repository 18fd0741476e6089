/* Affine maps in plain C, and the choice among implementations. */

#include "affine.h"

int cwic_affine_shape(cwic_affine *a, int32_t taps, int32_t inputs, int32_t outputs)
{
    a->taps = taps;
    a->inputs = (inputs + 1) / 2 * 2;
    a->outputs = (outputs + 15) / 16 * 16;
    a->weights = cwic_zeros((size_t)taps, (size_t)a->inputs, (size_t)a->outputs, sizeof *a->weights);
    return a->weights != NULL;
}

void cwic_affine_plain(const cwic_affine *a, const int16_t *input, const int32_t *offsets, size_t step,
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

cwic_affine_function *cwic_affine_choose(int32_t simd, int32_t *chosen)
{
    for (*chosen = simd < CWIC_BEST_SIMD ? simd : CWIC_BEST_SIMD; *chosen > 0; --*chosen) {
        cwic_affine_function *found = cwic_affine_x86(*chosen);
        if (!found)
            found = cwic_affine_neon(*chosen);
        if (!found)
            found = cwic_affine_wasm(*chosen);
        if (found)
            return found;
    }
    *chosen = 0;
    return cwic_affine_plain;
}
