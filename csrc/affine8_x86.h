/* What the files of the transforms' blocks with AVX2 and AVX-512 share. */
#ifndef CWIC_AFFINE8_X86_H
#define CWIC_AFFINE8_X86_H

#include "affine8.h"

#if (defined(__x86_64__) || defined(__i386__)) && defined(__GNUC__)
#define CWIC_X86

#include <immintrin.h>
#include <stdlib.h>
#include <string.h>

#ifdef __clang__
#define UNROLLED _Pragma("clang loop unroll(full)")
#else
#define UNROLLED _Pragma("GCC unroll 16")
#endif
#define AVX2 __attribute__((target("avx2")))
#define INLINE __attribute__((always_inline)) static inline

/* Operands of the products that have a sign are kept as q + 128, 1 .. 255: the instructions want one side without sign.
 * The biases in `packed` have 128 * sum of weights taken off for that. With |bias| < 2^24, weights within 128 and no
 * more than 1024 inputs, sums stay within 2^24 + 2^24 + 255 * 128 * 1024 < 2^31 on the way, in any order. */

/* packed: on a 64-byte boundary biases, then weights. */
static inline int32_t *packed_biases(const cwic_affine8 *a)
{
    return (int32_t *)(void *)(((uintptr_t)a->packed + 63) & ~(uintptr_t)63);
}

static inline int32_t quad_at(const void *x)
{
    int32_t all;
    memcpy(&all, x, 4);
    return all;
}

AVX2 static inline __m256i load256(const void *x) { return _mm256_loadu_si256((const __m256i *)x); }
AVX2 static inline void store256(void *x, __m256i v) { _mm256_storeu_si256((__m256i *)x, v); }

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
