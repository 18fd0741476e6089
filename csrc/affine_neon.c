/* Affine maps with NEON, which every 64-bit ARM processor has. Same sums as affine.c. */

#include "affine.h"

#if defined(__aarch64__) && defined(__ARM_NEON) && !defined(__ARM_BIG_ENDIAN)

#include <arm_neon.h>

/* Eight outputs at P positions. P is a constant, so the sums stay in registers. */
#define NEON_BLOCK(P)                                                                                                 \
    do {                                                                                                              \
        int32x4_t low[P], high[P];                                                                                    \
        for (i = 0; i < P; i++) {                                                                                     \
            low[i] = vld1q_s32(start + (p + i) * start_step + b);                                                     \
            high[i] = vld1q_s32(start + (p + i) * start_step + b + 4);                                                \
        }                                                                                                             \
        for (tap = 0; tap < a->taps; tap++) {                                                                         \
            const int16_t *x = input + offsets[tap] + (ptrdiff_t)((size_t)p * step);                                  \
            const int16_t *w = a->weights + ((size_t)tap * pairs * outputs + b) * 2;                                  \
            for (pair = 0; pair < pairs; pair++, w += 2 * outputs) {                                                  \
                const int16x8x2_t both = vld2q_s16(w); /* of each output the first weight, and the second */          \
                for (i = 0; i < P; i++) {                                                                             \
                    const int16_t first = x[(size_t)i * step + 2 * pair], second = x[(size_t)i * step + 2 * pair + 1];\
                    low[i] = vmlal_n_s16(low[i], vget_low_s16(both.val[0]), first);                                   \
                    high[i] = vmlal_high_n_s16(high[i], both.val[0], first);                                          \
                    low[i] = vmlal_n_s16(low[i], vget_low_s16(both.val[1]), second);                                  \
                    high[i] = vmlal_high_n_s16(high[i], both.val[1], second);                                         \
                }                                                                                                     \
            }                                                                                                         \
        }                                                                                                             \
        for (i = 0; i < P; i++) {                                                                                     \
            vst1q_s32(out + (size_t)(p + i) * outputs + b, low[i]);                                                   \
            vst1q_s32(out + (size_t)(p + i) * outputs + b + 4, high[i]);                                              \
        }                                                                                                             \
    } while (0)

static void affine_neon(const cwic_affine *a, const int16_t *input, const int32_t *offsets, size_t step,
                       const int32_t *start, size_t start_step, int32_t *out, int32_t count)
{
    const int32_t outputs = a->outputs, pairs = a->inputs / 2;
    int32_t p, b, tap, pair, i;
    for (b = 0; b < outputs; b += 8) {
        for (p = 0; p + 8 <= count; p += 8)
            NEON_BLOCK(8);
        for (; p < count; p++)
            NEON_BLOCK(1);
    }
}

cwic_affine_function *cwic_affine_neon(int32_t simd)
{
    return simd == 1 ? affine_neon : NULL;
}

#else

cwic_affine_function *cwic_affine_neon(int32_t simd)
{
    (void)simd;
    return NULL;
}

#endif
