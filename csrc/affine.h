/* Affine maps of 16-bit inputs, exact in 32 bits, in several implementations with the same results. */
#ifndef CWIC_AFFINE_H
#define CWIC_AFFINE_H

#include "common.h"

/* An affine map from `taps` neighbours of `inputs` int16 each to `outputs` int32. */
typedef struct {
    int32_t taps, inputs, outputs; /* inputs even, outputs a multiple of 16: padded with zeros */
    int16_t *weights;              /* [taps][inputs / 2][outputs][2] */
} cwic_affine;

/* Makes an affine map of zeros; returns 0 without memory. The caller frees its weights. */
int cwic_affine_shape(cwic_affine *a, int32_t taps, int32_t inputs, int32_t outputs);

/* For each of `count` positions, out[p][o] = start[p][o] + sum over taps and inputs of weight * input, where the
 * inputs of tap k at position p are at input + offsets[k] + p * step. start may be out, or a row of biases with
 * start_step 0. Integer sums that cannot overflow: every implementation gives the same result. */
typedef void cwic_affine_function(const cwic_affine *a, const int16_t *input, const int32_t *offsets, size_t step,
                                 const int32_t *start, size_t start_step, int32_t *out, int32_t count);

cwic_affine_function cwic_affine_plain;
/* The best implementation up to `simd`; writes which one. */
cwic_affine_function *cwic_affine_choose(int32_t simd, int32_t *chosen);
/* NULL where the compiler or the processor lacks it. */
cwic_affine_function *cwic_affine_x86(int32_t simd);
cwic_affine_function *cwic_affine_neon(int32_t simd);
cwic_affine_function *cwic_affine_wasm(int32_t simd);

#endif
