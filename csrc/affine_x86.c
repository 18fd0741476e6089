/* Affine maps with AVX2 and AVX-512 VNNI, chosen at run time. Same sums as affine.c. */

#include "affine.h"
#include "x86.h"

#ifdef CWIC_X86

#define VNNI "avx512f,avx512bw,avx512vnni"

/* `vectors` times 8 outputs from b on, at `many` positions from p on; both are constants where this is inlined, so that
 * the sums, 12 at most, stay in registers. */
AVX2 INLINE void
avx2_part(const cwic_affine *a, const int16_t *input, const int32_t *offsets, size_t step, const int32_t *start,
          size_t start_step, int32_t *out, int32_t p, int32_t b, const int32_t many, const int32_t vectors)
{
    const int32_t outputs = a->outputs, pairs = a->inputs / 2;
    int32_t tap, pair, i, k;
    __m256i sum[6][8];
    UNROLLED for (i = 0; i < many; i++)
        UNROLLED for (k = 0; k < vectors; k++)
            sum[i][k] = _mm256_loadu_si256((const __m256i *)(const void *)(start + (p + i) * start_step + b + 8 * k));
    for (tap = 0; tap < a->taps; tap++) {
        const int16_t *x = input + offsets[tap] + (ptrdiff_t)((size_t)p * step);
        const int16_t *w = a->weights + ((size_t)tap * pairs * outputs + b) * 2;
        for (pair = 0; pair < pairs; pair++, w += 2 * outputs) {
            __m256i row[8];
            UNROLLED for (k = 0; k < vectors; k++)
                row[k] = _mm256_loadu_si256((const __m256i *)(const void *)(w + 16 * k));
            UNROLLED for (i = 0; i < many; i++) {
                const __m256i v = _mm256_set1_epi32(quad_at(x + (size_t)i * step + 2 * pair));
                UNROLLED for (k = 0; k < vectors; k++)
                    sum[i][k] = _mm256_add_epi32(sum[i][k], _mm256_madd_epi16(v, row[k]));
            }
        }
    }
    UNROLLED for (i = 0; i < many; i++)
        UNROLLED for (k = 0; k < vectors; k++)
            _mm256_storeu_si256((__m256i *)(void *)(out + (size_t)(p + i) * outputs + b + 8 * k), sum[i][k]);
}

#define AVX2_PART(MANY, VECTORS) avx2_part(a, input, offsets, step, start, start_step, out, p, b, MANY, VECTORS)

AVX2 static void affine_avx2(const cwic_affine *a, const int16_t *input,
                                                       const int32_t *offsets, size_t step, const int32_t *start,
                                                       size_t start_step, int32_t *out, int32_t count)
{
    const int32_t outputs = a->outputs, rest = count % 6, full = count - rest;
    int32_t p, b;
    for (b = 0; b < outputs; b += 16) {
        for (p = 0; p < full; p += 6)
            AVX2_PART(6, 2);
        for (; p + 3 <= count; p += 3)
            AVX2_PART(3, 2);
    }
    for (p = count - rest % 3; p < count; p++) {
        for (b = 0; b + 64 <= outputs; b += 64)
            AVX2_PART(1, 8);
        for (; b + 32 <= outputs; b += 32)
            AVX2_PART(1, 4);
        for (; b < outputs; b += 16)
            AVX2_PART(1, 2);
    }
}

/* `blocks` times 16 outputs from b on, at `many` positions from p on; both are constants where this is inlined, so that
 * the sums, 24 at most, stay in registers. Each input that is broadcast serves all blocks, each row of weights all
 * positions: loads, two a cycle, are what the loop waits for. */
__attribute__((target(VNNI), always_inline)) static inline void
avx512_part(const cwic_affine *a, const int16_t *input, const int32_t *offsets, size_t step, const int32_t *start,
            size_t start_step, int32_t *out, int32_t p, int32_t b, const int32_t many, const int32_t blocks)
{
    const int32_t outputs = a->outputs, pairs = a->inputs / 2;
    int32_t tap, pair, i, k;
    __m512i sum[6][4];
    UNROLLED for (i = 0; i < many; i++)
        UNROLLED for (k = 0; k < blocks; k++)
            sum[i][k] = _mm512_loadu_si512(start + (p + i) * start_step + b + 16 * k);
    for (tap = 0; tap < a->taps; tap++) {
        const int16_t *x = input + offsets[tap] + (ptrdiff_t)((size_t)p * step);
        const int16_t *w = a->weights + ((size_t)tap * pairs * outputs + b) * 2;
        for (pair = 0; pair < pairs; pair++, w += 2 * outputs) {
            __m512i row[4];
            UNROLLED for (k = 0; k < blocks; k++)
                row[k] = _mm512_loadu_si512(w + 32 * k);
            UNROLLED for (i = 0; i < many; i++) {
                const __m512i v = _mm512_set1_epi32(quad_at(x + (size_t)i * step + 2 * pair));
                UNROLLED for (k = 0; k < blocks; k++)
                    sum[i][k] = _mm512_dpwssd_epi32(sum[i][k], row[k], v);
            }
        }
    }
    UNROLLED for (i = 0; i < many; i++)
        UNROLLED for (k = 0; k < blocks; k++)
            _mm512_storeu_si512(out + (size_t)(p + i) * outputs + b + 16 * k, sum[i][k]);
}

#define AVX512_ROW(BLOCKS)                                                                                            \
    do {                                                                                                              \
        for (p = 0; p + 6 <= count; p += 6)                                                                           \
            avx512_part(a, input, offsets, step, start, start_step, out, p, b, 6, BLOCKS);                            \
        for (; p + 2 <= count; p += 2)                                                                                \
            avx512_part(a, input, offsets, step, start, start_step, out, p, b, 2, BLOCKS);                            \
        if (p < count)                                                                                                \
            avx512_part(a, input, offsets, step, start, start_step, out, p, b, 1, BLOCKS);                            \
    } while (0)

__attribute__((target(VNNI))) static void affine_avx512(const cwic_affine *a, const int16_t *input,
                                                       const int32_t *offsets, size_t step, const int32_t *start,
                                                       size_t start_step, int32_t *out, int32_t count)
{
    int32_t p, b = 0;
    for (; b + 64 <= a->outputs; b += 64)
        AVX512_ROW(4);
    for (; b + 32 <= a->outputs; b += 32)
        AVX512_ROW(2);
    for (; b < a->outputs; b += 16)
        AVX512_ROW(1);
}

cwic_affine_function *cwic_affine_x86(int32_t simd)
{
    if (simd == 3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vnni"))
        return affine_avx512;
    if (simd == 1 && __builtin_cpu_supports("avx2"))
        return affine_avx2;
    return NULL;
}

#else

cwic_affine_function *cwic_affine_x86(int32_t simd)
{
    (void)simd;
    return NULL;
}

#endif
