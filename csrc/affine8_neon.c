/* The transforms' blocks with NEON, which every 64-bit ARM processor has, and with its dot product. Same results as
 * affine8.c. Operands are kept as they are. */

#define _GNU_SOURCE
#include "affine8.h"

#if defined(__aarch64__) && defined(__ARM_NEON) && defined(__GNUC__) && !defined(__ARM_BIG_ENDIAN)

#include <arm_neon.h>
#include <stdlib.h>
#include <string.h>
#ifdef __linux__
#include <sys/auxv.h>
#endif

#ifdef __clang__
#define DOTPROD __attribute__((target("dotprod")))
#else
#define DOTPROD __attribute__((target("arch=armv8.2-a+dotprod")))
#endif
/* sum += for each of four outputs, four weights times the four inputs in one lane of x. No intrinsic, since headers of
 * older compilers have it only where the whole file is compiled for such processors. */
#define DOT(sum, w, x, lane) __asm__("sdot %0.4s, %1.16b, %2.4b[" #lane "]" : "+w"(sum) : "w"(w), "w"(x))

/* packed: biases, then weights in blocks of eight outputs. With the dot product, four inputs of each of them, the next
 * four ..; else the first two inputs of each, the next two .. */
static int pack_blocks(cwic_affine8 *a, const int8_t *weights, const int32_t *biases, int32_t group)
{
    const size_t head = (size_t)a->outputs * sizeof *biases, size = (size_t)a->inputs * a->outputs;
    int32_t i, o;
    a->packed = malloc(head + size);
    if (!a->packed)
        return 0;
    memcpy(a->packed, biases, head);
    for (o = 0; o < a->outputs; o++) {
        int8_t *block = (int8_t *)a->packed + head + (size_t)(o / 8) * 8 * a->inputs;
        for (i = 0; i < a->inputs; i++)
            block[(i / group * 8 + o % 8) * group + i % group] = weights[(size_t)i * a->outputs + o];
    }
    return 1;
}

static int pack_pairs(cwic_affine8 *a, const int8_t *weights, const int32_t *biases)
{
    return pack_blocks(a, weights, biases, 2);
}

static int pack_quads(cwic_affine8 *a, const int8_t *weights, const int32_t *biases)
{
    return pack_blocks(a, weights, biases, 4);
}

/* vqrdmulh is (2 * x * m + 2^15) >> 16. */
INLINE int8x8_t operand8(int16x8_t x, int16x8_t m)
{
    return vmax_s8(vqmovn_s16(vqrdmulhq_s16(x, m)), vdup_n_s8(-127));
}

static void operand_neon(const int16_t *x, const int16_t *m, int8_t *q, int32_t channels, int32_t count)
{
    int32_t p, c;
    for (p = 0; p < count; p++, x += channels, q += channels)
        for (c = 0; c < channels; c += 8)
            vst1_s8(q + c, operand8(vld1q_s16(x + c), vld1q_s16(m + c)));
}

/* Sums of any of the terms stay within 16 bits, since those of their magnitudes do. */
static void space_neon(const int8_t *above, const int8_t *here, const int8_t *below, const int8_t *weights,
                       const int16_t *bias, const int16_t *m, int8_t *g, int32_t channels, int32_t count)
{
    const size_t n = (size_t)channels;
    int32_t p, i;
    size_t c;
    for (c = 0; c < n; c += 16) {
        const int16x8_t bias_low = vld1q_s16(bias + c), bias_high = vld1q_s16(bias + c + 8);
        const int16x8_t m_low = vld1q_s16(m + c), m_high = vld1q_s16(m + c + 8);
        int8x16_t w[9];
        UNROLLED for (i = 0; i < 9; i++)
            w[i] = vld1q_s8(weights + i * n + c);
        for (p = 0; p < count; p++) {
            const size_t at = p * n + c;
            int16x8_t low = bias_low, high = bias_high;
            UNROLLED for (i = 0; i < 9; i++) {
                const int8x16_t h = vld1q_s8((i < 3 ? above : i < 6 ? here : below) + at + i % 3 * n);
                low = vmlal_s8(low, vget_low_s8(h), vget_low_s8(w[i]));
                high = vmlal_high_s8(high, h, w[i]);
            }
            vst1q_s8(g + at, vcombine_s8(operand8(low, m_low), operand8(high, m_high)));
        }
    }
}

/* Two inputs, eight times. */
INLINE int8x16_t pair_at(const int8_t *x)
{
    int16_t both;
    memcpy(&both, x, 2);
    return vreinterpretq_s8_s16(vdupq_n_s16(both));
}

/* The sums of eight outputs of a position from b on: into out if there is one, else added to x. */
INLINE void finish(const cwic_affine8 *a, int32x4_t low, int32x4_t high, int8_t *out, int16_t *x, size_t to, int32_t b)
{
    const int32x4_t shift = vdupq_n_s32(-a->shift);
    const int16x8_t sum = vqmovn_high_s32(vqmovn_s32(vshlq_s32(low, shift)), vshlq_s32(high, shift));
    const int16x8_t y = vqrdmulhq_s16(sum, vld1q_s16(a->multiplier + b));
    if (out)
        vst1_s8(out + to, vqmovn_s16(vmaxq_s16(y, vdupq_n_s16(0))));
    else
        vst1q_s16(x + to, vqaddq_s16(vld1q_s16(x + to), y));
}

/* Eight outputs from b on, at `many` positions from p on; many, a constant where this is inlined, is 8 at most, so that
 * the sums stay in registers. The first `done` positions have been written before. */
INLINE void part_neon(const cwic_affine8 *a, const int8_t *in, int8_t *out, int16_t *x, int32_t p, int32_t b,
                      const int32_t many, int32_t done)
{
    const int32_t *biases = (const int32_t *)a->packed;
    const size_t n = (size_t)a->inputs;
    const int8_t *w = (const int8_t *)(biases + a->outputs) + b * n;
    int32x4_t low[8], high[8];
    int32_t j;
    size_t i;
    in += p * n;
    UNROLLED for (j = 0; j < many; j++)
        low[j] = vld1q_s32(biases + b), high[j] = vld1q_s32(biases + b + 4);
    for (i = 0; i < n; i += 4, w += 32) {
        const int8x16_t w0 = vld1q_s8(w), w1 = vld1q_s8(w + 16);
        UNROLLED for (j = 0; j < many; j++) {
            const int8x16_t x0 = pair_at(in + j * n + i), x1 = pair_at(in + j * n + i + 2);
            /* Two products of at most 127 * 128 fit 16 bits. */
            int16x8_t both = vmull_s8(vget_low_s8(x0), vget_low_s8(w0));
            both = vmlal_s8(both, vget_low_s8(x1), vget_low_s8(w1));
            low[j] = vpadalq_s16(low[j], both);
            both = vmull_high_s8(x0, w0);
            both = vmlal_high_s8(both, x1, w1);
            high[j] = vpadalq_s16(high[j], both);
        }
    }
    UNROLLED for (j = 0; j < many; j++)
        if (j >= done)
            finish(a, low[j], high[j], out, x, (size_t)(p + j) * a->outputs + b, b);
}

DOTPROD INLINE void part_dot(const cwic_affine8 *a, const int8_t *in, int8_t *out, int16_t *x, int32_t p, int32_t b,
                             const int32_t many, int32_t done)
{
    const int32_t *biases = (const int32_t *)a->packed;
    const size_t n = (size_t)a->inputs;
    const int8_t *w = (const int8_t *)(biases + a->outputs) + b * n;
    int32x4_t low[8], high[8];
    int8x16_t v[8];
    int32_t j;
    size_t i;
    in += p * n;
    UNROLLED for (j = 0; j < many; j++)
        low[j] = vld1q_s32(biases + b), high[j] = vld1q_s32(biases + b + 4);
    for (i = 0; i < n; i += 16, w += 128) {
        UNROLLED for (j = 0; j < many; j++)
            v[j] = vld1q_s8(in + j * n + i);
#define DOTS(lane)                                                                                                    \
    do {                                                                                                              \
        const int8x16_t w0 = vld1q_s8(w + 32 * lane), w1 = vld1q_s8(w + 32 * lane + 16);                              \
        UNROLLED for (j = 0; j < many; j++) {                                                                         \
            DOT(low[j], w0, v[j], lane);                                                                              \
            DOT(high[j], w1, v[j], lane);                                                                             \
        }                                                                                                             \
    } while (0)
        DOTS(0);
        DOTS(1);
        DOTS(2);
        DOTS(3);
    }
    UNROLLED for (j = 0; j < many; j++)
        if (j >= done)
            finish(a, low[j], high[j], out, x, (size_t)(p + j) * a->outputs + b, b);
}

/* The last positions are computed with some before them, once more. */
#define PRODUCT(PART)                                                                                                 \
    do {                                                                                                              \
        int32_t p, b;                                                                                                 \
        for (b = 0; b < a->outputs; b += 8) {                                                                         \
            for (p = 0; p + 8 <= count; p += 8)                                                                       \
                PART(a, in, out, x, p, b, 8, 0);                                                                      \
            if (count < 8)                                                                                            \
                for (; p < count; p++)                                                                                \
                    PART(a, in, out, x, p, b, 1, 0);                                                                  \
            else if (p < count)                                                                                       \
                PART(a, in, out, x, count - 8, b, 8, p - (count - 8));                                                \
        }                                                                                                             \
    } while (0)

static void relu_neon(const cwic_affine8 *a, const int8_t *in, int8_t *out, int32_t count)
{
    int16_t *x = NULL;
    PRODUCT(part_neon);
}

static void add_neon(const cwic_affine8 *a, const int8_t *in, int16_t *x, int32_t count)
{
    int8_t *out = NULL;
    PRODUCT(part_neon);
}

DOTPROD static void relu_dot(const cwic_affine8 *a, const int8_t *in, int8_t *out, int32_t count)
{
    int16_t *x = NULL;
    PRODUCT(part_dot);
}

DOTPROD static void add_dot(const cwic_affine8 *a, const int8_t *in, int16_t *x, int32_t count)
{
    int8_t *out = NULL;
    PRODUCT(part_dot);
}

static const cwic_blocks blocks_neon = {1, pack_pairs, operand_neon, relu_neon, add_neon, space_neon};
static const cwic_blocks blocks_dot = {2, pack_quads, operand_neon, relu_dot, add_dot, space_neon};

static int has_dot(void)
{
#if defined(__ARM_FEATURE_DOTPROD) || defined(__APPLE__)
    return 1;
#elif defined(__linux__)
    return (getauxval(AT_HWCAP) >> 20 & 1) != 0; /* HWCAP_ASIMDDP */
#else
    return 0;
#endif
}

const cwic_blocks *cwic_blocks_neon(int32_t simd)
{
    return simd == 1 ? &blocks_neon : simd == 2 && has_dot() ? &blocks_dot : NULL;
}

#else

const cwic_blocks *cwic_blocks_neon(int32_t simd)
{
    (void)simd;
    return NULL;
}

#endif
