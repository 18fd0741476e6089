/* What the files of the transforms' blocks with AVX2 and AVX-512 share. */
#ifndef CWIC_AFFINE8_X86_H
#define CWIC_AFFINE8_X86_H

#include "affine8.h"
#include "x86.h"

#ifdef CWIC_X86

/* Operands of the products that have a sign are kept as q + 128, 1 .. 255: the instructions want one side without sign.
 * The biases in `packed` have 128 * sum of weights taken off for that. With |bias| < 2^24, weights within 128 and no
 * more than 1024 inputs, sums stay within 2^24 + 2^24 + 255 * 128 * 1024 < 2^31 on the way, in any order. */

/* packed: on a 64-byte boundary biases, then weights. */
static inline int32_t *packed_biases(const cwic_affine8 *a)
{
    return (int32_t *)(void *)(((uintptr_t)a->packed + 63) & ~(uintptr_t)63);
}

/* Of affine8_avx2.c, for the others as well. */
extern const cwic_blocks cwic_blocks_avx2;
void cwic_operand_avx2(const int16_t *x, const int16_t *m, int8_t *q, int32_t channels, int32_t count);
void cwic_space_avx2(const int8_t *above, const int8_t *here, const int8_t *below, const int8_t *weights,
                     const int16_t *bias, const int16_t *m, int8_t *g, int32_t channels, int32_t count);
/* 32 of the channels. */
void cwic_space_avx2_32(const int8_t *above, const int8_t *here, const int8_t *below, const int8_t *weights,
                        const int16_t *bias, const int16_t *m, int8_t *g, int32_t channels, int32_t count);

#endif
#endif
