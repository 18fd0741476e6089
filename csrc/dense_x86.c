/* The dense part of the context model with AVX2 and AVX-512 VNNI, chosen at run time. Same sums as dense.c. */

#include "internal.h"

#if (defined(__x86_64__) || defined(__i386__)) && defined(__GNUC__)

#include <immintrin.h>
#include <string.h>

static inline int32_t pair_at(const int16_t *x)
{
    int32_t both;
    memcpy(&both, x, 4);
    return both;
}

/* One block of 16 outputs at P positions. P is a constant, so the sums stay in registers. */
#define AVX2_BLOCK(P)                                                                                                 \
    do {                                                                                                              \
        __m256i low[P], high[P];                                                                                      \
        for (i = 0; i < P; i++) {                                                                                     \
            low[i] = _mm256_loadu_si256((const __m256i *)(const void *)(start + (p + i) * start_step + b));           \
            high[i] = _mm256_loadu_si256((const __m256i *)(const void *)(start + (p + i) * start_step + b + 8));      \
        }                                                                                                             \
        for (tap = 0; tap < a->taps; tap++) {                                                                         \
            const int16_t *x = input + offsets[tap] + (ptrdiff_t)((size_t)p * step);                                  \
            const int16_t *w = a->weights + ((size_t)tap * pairs * outputs + b) * 2;                                  \
            for (pair = 0; pair < pairs; pair++, w += 2 * outputs) {                                                  \
                const __m256i w0 = _mm256_loadu_si256((const __m256i *)(const void *)w);                              \
                const __m256i w1 = _mm256_loadu_si256((const __m256i *)(const void *)(w + 16));                       \
                for (i = 0; i < P; i++) {                                                                             \
                    const __m256i v = _mm256_set1_epi32(pair_at(x + (size_t)i * step + 2 * pair));                    \
                    low[i] = _mm256_add_epi32(low[i], _mm256_madd_epi16(w0, v));                                      \
                    high[i] = _mm256_add_epi32(high[i], _mm256_madd_epi16(w1, v));                                    \
                }                                                                                                     \
            }                                                                                                         \
        }                                                                                                             \
        for (i = 0; i < P; i++) {                                                                                     \
            _mm256_storeu_si256((__m256i *)(void *)(out + (size_t)(p + i) * outputs + b), low[i]);                    \
            _mm256_storeu_si256((__m256i *)(void *)(out + (size_t)(p + i) * outputs + b + 8), high[i]);               \
        }                                                                                                             \
    } while (0)

__attribute__((target("avx2"))) static void dense_avx2(const cwic_affine *a, const int16_t *input,
                                                       const int32_t *offsets, size_t step, const int32_t *start,
                                                       size_t start_step, int32_t *out, int32_t count)
{
    const int32_t outputs = a->outputs, pairs = a->inputs / 2;
    int32_t p, b, tap, pair, i;
    for (b = 0; b < outputs; b += 16) {
        for (p = 0; p + 4 <= count; p += 4)
            AVX2_BLOCK(4);
        for (; p < count; p++)
            AVX2_BLOCK(1);
    }
}

#define AVX512_BLOCK(P)                                                                                               \
    do {                                                                                                              \
        __m512i sum[P];                                                                                               \
        for (i = 0; i < P; i++)                                                                                       \
            sum[i] = _mm512_loadu_si512(start + (p + i) * start_step + b);                                            \
        for (tap = 0; tap < a->taps; tap++) {                                                                         \
            const int16_t *x = input + offsets[tap] + (ptrdiff_t)((size_t)p * step);                                  \
            const int16_t *w = a->weights + ((size_t)tap * pairs * outputs + b) * 2;                                  \
            for (pair = 0; pair < pairs; pair++, w += 2 * outputs) {                                                  \
                const __m512i w0 = _mm512_loadu_si512(w);                                                             \
                for (i = 0; i < P; i++)                                                                               \
                    sum[i] = _mm512_dpwssd_epi32(sum[i], w0,                                                          \
                                                 _mm512_set1_epi32(pair_at(x + (size_t)i * step + 2 * pair)));        \
            }                                                                                                         \
        }                                                                                                             \
        for (i = 0; i < P; i++)                                                                                       \
            _mm512_storeu_si512(out + (size_t)(p + i) * outputs + b, sum[i]);                                         \
    } while (0)

__attribute__((target("avx512f,avx512bw,avx512vnni"))) static void
dense_avx512(const cwic_affine *a, const int16_t *input, const int32_t *offsets, size_t step, const int32_t *start,
             size_t start_step, int32_t *out, int32_t count)
{
    const int32_t outputs = a->outputs, pairs = a->inputs / 2;
    int32_t p, b, tap, pair, i;
    for (b = 0; b < outputs; b += 16) {
        for (p = 0; p + 8 <= count; p += 8)
            AVX512_BLOCK(8);
        for (; p < count; p++)
            AVX512_BLOCK(1);
    }
}

cwic_dense_function *cwic_dense_x86(int32_t simd)
{
    if (simd >= 2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vnni"))
        return dense_avx512;
    if (simd == 1 && __builtin_cpu_supports("avx2"))
        return dense_avx2;
    return NULL;
}

#else

cwic_dense_function *cwic_dense_x86(int32_t simd)
{
    (void)simd;
    return NULL;
}

#endif
