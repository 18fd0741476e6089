/* What stands around the products of 16-bit values, those of entrance, exit and fine blocks of the transforms, FORMAT.md
 * sections 6.2 to 6.5, for some positions of a row: one function for each step, in implementations with the same
 * results. All arrays are [count][wide], multipliers and biases [wide]; wide is a multiple of 32. */
#ifndef CWIC_ROWS_H
#define CWIC_ROWS_H

#include "common.h"

enum { CWIC_SIDE = 8, CWIC_BLOCK_VALUES = 3 * CWIC_SIDE * CWIC_SIDE }; /* pixels of a position, and their samples */
enum { CWIC_OPERAND_LIMIT = 4095, CWIC_FINE_BITS = 5 };

typedef struct {
    /* stream = sat(mul(sat(sums >> shift), m) + offset) */
    void (*enter)(const int32_t *sums, int32_t shift, const int16_t *m, const int16_t *offset, int16_t *stream,
                  int32_t wide, int32_t count);
    /* out = clamp(mul(stream, m), -4095, 4095), positions of out `step` apart */
    void (*operand)(const int16_t *stream, const int16_t *m, int16_t *out, size_t step, int32_t wide, int32_t count);
    /* One position's sums, 64 of each colour, to samples of 8 rows `pitch` apart: clamp(sums >> shift, 0, 255) */
    void (*show)(const int32_t *sums, int32_t shift, uint8_t *pixels, size_t pitch);
    /* And back: samples less 128, 64 of each colour */
    void (*take)(const uint8_t *pixels, size_t pitch, int16_t *values);
    /* h = clamp(mul(sat(sums >> shift), m), 0, 4095) */
    void (*relu)(const int32_t *sums, int32_t shift, const int16_t *m, int16_t *h, int32_t wide, int32_t count);
    /* stream = sat(stream + mul(sat(sums >> shift), m)) */
    void (*add)(const int32_t *sums, int32_t shift, const int16_t *m, int16_t *stream, int32_t wide, int32_t count);
    /* g = clamp(mul(sat((32 bias + 16 + sum over 3x3 of weight * h) >> 5), m), -4095, 4095); above, here and below as in
     * cwic_blocks, weights [3][3][wide] */
    void (*space)(const int16_t *above, const int16_t *here, const int16_t *below, const int8_t *weights,
                  const int16_t *bias, const int16_t *m, int16_t *g, int32_t wide, int32_t count);
} cwic_rows;

/* The best implementation up to `simd`. */
const cwic_rows *cwic_rows_choose(int32_t simd);

#endif
