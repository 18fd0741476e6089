/* The synthesis and analysis transforms' blocks, FORMAT.md section 6.4: products of 8-bit matrices and what stands
 * between them, one function for each step, in several implementations with the same results.
 *
 * Arrays of positions are [count][channels] without gaps. What an implementation writes as int8 for itself, between
 * `operand`, `space` and the products, may be in a form of its own (with an offset, say), as long as its own products
 * read it: callers never look inside, but for `relu`, whose output is plain, since `space` needs zeros around it. */
#ifndef CWIC_AFFINE8_H
#define CWIC_AFFINE8_H

#include "common.h"

enum { CWIC_MAX_INPUTS = 1024 };

/* A layer. inputs and outputs are multiples of 32, at most CWIC_MAX_INPUTS. */
typedef struct {
    int32_t inputs, outputs;
    int32_t positive;    /* whether inputs are those of `relu`, 0 .. 127; else -127 .. 127 of `operand` or `space` */
    int32_t shift;       /* 0 .. 24 */
    const int16_t *multiplier; /* [outputs], 0 .. 32767, in plain order; outlives this */
    void *packed;        /* weights and biases as the implementation wants them; freed by free() */
} cwic_affine8;

typedef struct {
    int32_t simd; /* see cwic_model_new */
    /* Fills a->packed from weights [inputs][outputs] and biases [outputs], after the other fields are set.
     * Returns 0 without memory. |bias| + 127 * sum |weight| < 2^24. */
    int (*pack)(cwic_affine8 *a, const int8_t *weights, const int32_t *biases);
    /* q = clamp(mul(x, m), -127, 127); m [channels], 0 .. 32767 */
    void (*operand)(const int16_t *x, const int16_t *m, int8_t *q, int32_t channels, int32_t count);
    /* out = clamp(mul(sat((bias + sum) >> shift), multiplier), 0, 127), as plain int8 */
    void (*relu)(const cwic_affine8 *a, const int8_t *in, int8_t *out, int32_t count);
    /* x = sat(x + mul(sat((bias + sum) >> shift), multiplier)) */
    void (*add)(const cwic_affine8 *a, const int8_t *in, int16_t *x, int32_t count);
    /* g = clamp(mul(bias + sum over 3x3 of weight * h, m), -127, 127) for `count` positions of one row.
     * above, here and below point at the position before the first one, so that position p has its neighbours at p,
     * p + 1 and p + 2 of each; h is 0 .. 127. weights [3][3][channels]; sums fit 16 bits: |bias| + 127 * sum |w| < 2^15.
     * channels is a multiple of 32. */
    void (*space)(const int8_t *above, const int8_t *here, const int8_t *below, const int8_t *weights,
                  const int16_t *bias, const int16_t *m, int8_t *g, int32_t channels, int32_t count);
} cwic_blocks;

extern const cwic_blocks cwic_blocks_plain;
/* Begins a->packed for weights of 16 bits: copies the biases, and returns the room behind them; NULL without memory. */
int16_t *cwic_pack_biases(cwic_affine8 *a, const int32_t *biases);
/* The best implementation up to `simd`. */
const cwic_blocks *cwic_blocks_choose(int32_t simd);
/* NULL where the compiler or the processor lacks it. */
const cwic_blocks *cwic_blocks_x86(int32_t simd);
const cwic_blocks *cwic_blocks_amx(int32_t simd);
const cwic_blocks *cwic_blocks_neon(int32_t simd);
const cwic_blocks *cwic_blocks_wasm(int32_t simd);

#endif
