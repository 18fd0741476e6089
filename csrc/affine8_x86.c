/* The transforms' blocks with AVX2, AVX-VNNI and AVX-512 VNNI, chosen at run time. Same results as affine8.c. */

#include "affine8.h"

#if (defined(__x86_64__) || defined(__i386__)) && defined(__GNUC__)

#include <cpuid.h>
#include <immintrin.h>
#include <stdlib.h>
#include <string.h>

#ifdef __clang__
#define UNROLLED _Pragma("clang loop unroll(full)")
#else
#define UNROLLED _Pragma("GCC unroll 16")
#endif
#define AVX2 __attribute__((target("avx2")))
#define VNNI512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))
/* sum += products of four bytes without and four with sign. As an intrinsic, gcc 12 copies every sum to and fro. */
#define DOT(sum, x, w) __asm__("vpdpbusd {%2, %1, %0|%0, %1, %2}" : "+v"(sum) : "v"(x), "v"(w))
#if __GNUC__ >= 11 || (defined(__clang__) && __clang_major__ >= 13)
#define DOT256(sum, x, w) __asm__("%{vex%} vpdpbusd {%2, %1, %0|%0, %1, %2}" : "+x"(sum) : "x"(x), "x"(w))
#endif
#define INLINE __attribute__((always_inline)) static inline

/* Operands of the products that have a sign are kept as q + 128, 1 .. 255: the instructions want one side without sign.
 * The biases in `packed` have 128 * sum of weights taken off for that. With |bias| < 2^24, weights within 128 and no
 * more than 1024 inputs, sums stay within 2^24 + 2^24 + 255 * 128 * 1024 < 2^31 on the way, in any order. */

/* packed: on a 64-byte boundary biases, then weights. */
static inline int32_t *packed_biases(const cwic_affine8 *a)
{
    return (int32_t *)(void *)(((uintptr_t)a->packed + 63) & ~(uintptr_t)63);
}

/* Where packs_epi32 of two vectors leaves outputs in order: in each 128-bit lane four of the first, four of the second.
 * That is for output o of a pair of vectors of `lanes` each, of those in memory order. */
static inline int32_t shuffled(int32_t o, int32_t lanes)
{
    const int32_t lane = o % lanes, second = o / lanes % 2;
    return o / (2 * lanes) * (2 * lanes) + lane / 4 * 8 + second * 4 + lane % 4;
}

/* Outputs in blocks of `widest`, or 32 where fewer are left; in each four inputs of all outputs, the next four .. */
static int pack_quads(cwic_affine8 *a, const int8_t *weights, const int32_t *biases, int32_t lanes, int32_t widest)
{
    const int32_t outputs = a->outputs;
    int32_t b, o, i, width, *bias;
    int8_t *w;
    a->packed = malloc(63 + (size_t)outputs * sizeof *biases + (size_t)a->inputs * outputs);
    if (!a->packed)
        return 0;
    bias = packed_biases(a);
    w = (int8_t *)(bias + outputs);
    for (b = 0; b < outputs; b += width) {
        width = outputs - b < widest ? 32 : widest;
        for (o = 0; o < width; o++) {
            const int32_t source = b + shuffled(o, lanes);
            int32_t sum = 0;
            for (i = 0; i < a->inputs; i++) {
                const int8_t weight = weights[(size_t)i * outputs + source];
                w[(size_t)b * a->inputs + (size_t)(i / 4) * 4 * width + 4 * o + i % 4] = weight;
                sum += weight;
            }
            bias[b + o] = biases[source] - (a->positive ? 0 : 128 * sum);
        }
    }
    return 1;
}

static inline int32_t quad_at(const void *x)
{
    int32_t all;
    memcpy(&all, x, 4);
    return all;
}

/* ---- AVX2 ---- */

AVX2 static inline __m256i load256(const void *x) { return _mm256_loadu_si256((const __m256i *)x); }
AVX2 static inline void store256(void *x, __m256i v) { _mm256_storeu_si256((__m256i *)x, v); }

#define WIDE 16384                            /* 16-bit inputs at once, 32 KiB; a position has 1024 at most */
#define STARTS(outputs) (((outputs) / 16 + 16) / 16 * 16) /* room for outputs / 16 + 1 in whole lines */

/* Whether sums of products of eight inputs, 0 .. 127, in pairs two by two, stay within 16 bits for all 16 outputs. */
static int together(const int8_t *weights, const int32_t outputs)
{
    int32_t o, pair, i;
    for (o = 0; o < 16; o++)
        for (pair = 0; pair < 4; pair += 2) {
            int32_t low = 0, high = 0;
            for (i = 0; i < 4; i++) {
                const int32_t weight = weights[(size_t)(pair + i % 2 + i / 2 * 4) * outputs + o];
                *(weight < 0 ? &low : &high) += weight;
            }
            if (127 * low < -32768 || 127 * high > 32767)
                return 0;
        }
    return 1;
}

/* For inputs of 0 .. 127: blocks of 16 outputs are lists of steps, each eight inputs from an offset on: four of all
 * outputs, the next four. In 16 bits go products of two inputs of the first four and two of the others; where they
 * could pass 16 bits, which two alone cannot, there are two steps instead, each with one four, and zeros for the other.
 * After the biases come the blocks' first steps, the steps' weights, and their offsets. */
static int pack_steps(cwic_affine8 *a, const int8_t *weights, const int32_t *biases)
{
    const int32_t outputs = a->outputs;
    int32_t b, i, j, o, half, all = 0, *bias, *starts, *offsets;
    int8_t *w;
    for (b = 0; b < outputs; b += 16)
        for (i = 0; i < a->inputs; i += 8)
            all += together(weights + (size_t)i * outputs + b, outputs) ? 1 : 2;
    a->packed = calloc(1, 63 + ((size_t)outputs + STARTS(outputs) + all) * sizeof *biases + (size_t)all * 128);
    if (!a->packed)
        return 0;
    bias = packed_biases(a);
    starts = bias + outputs;
    w = (int8_t *)(starts + STARTS(outputs));
    offsets = (int32_t *)(void *)(w + (size_t)all * 128);
    for (o = 0; o < outputs; o++)
        bias[o] = biases[shuffled(o, 8)];
    for (all = b = 0; b < outputs; b += 16) {
        for (i = 0; i < a->inputs; i += 8) {
            const int split = !together(weights + (size_t)i * outputs + b, outputs);
            for (half = 0; half < 2; half++) {
                for (o = 0; o < 16; o++)
                    for (j = 0; j < 4; j++)
                        w[64 * half + 4 * o + j] = weights[(size_t)(i + 4 * half + j) * outputs + b + shuffled(o, 8)];
                if (half || split) {
                    *offsets++ = i;
                    w += 128;
                    all++;
                }
            }
        }
        starts[b / 16 + 1] = all;
    }
    return 1;
}

/* For inputs with a sign: weights of 16 bits in blocks of 16 outputs, two inputs of all, the next two .. */
static int pack_pairs(cwic_affine8 *a, const int8_t *weights, const int32_t *biases)
{
    const int32_t outputs = a->outputs;
    int32_t i, o, *bias;
    int16_t *w;
    a->packed = malloc(63 + (size_t)outputs * sizeof *biases + (size_t)a->inputs * outputs * sizeof *w);
    if (!a->packed)
        return 0;
    bias = packed_biases(a);
    w = (int16_t *)(bias + outputs);
    for (o = 0; o < outputs; o++) {
        const int32_t source = shuffled(o, 8);
        int32_t sum = 0;
        for (i = 0; i < a->inputs; i++) {
            const int8_t weight = weights[(size_t)i * outputs + source];
            w[(size_t)(o / 16) * 16 * a->inputs + i / 2 * 32 + o % 16 * 2 + i % 2] = weight;
            sum += weight;
        }
        bias[o] = biases[source] - 128 * sum;
    }
    return 1;
}

static int pack_avx2(cwic_affine8 *a, const int8_t *weights, const int32_t *biases)
{
    return a->positive ? pack_steps(a, weights, biases) : pack_pairs(a, weights, biases);
}

AVX2 static void operand_avx2(const int16_t *x, const int16_t *m, int8_t *q, int32_t channels, int32_t count)
{
    const __m256i flip = _mm256_set1_epi8(-128), one = _mm256_set1_epi8(1);
    int32_t p, c;
    for (p = 0; p < count; p++, x += channels, q += channels)
        for (c = 0; c < channels; c += 32) {
            const __m256i low = _mm256_mulhrs_epi16(load256(x + c), load256(m + c));
            const __m256i high = _mm256_mulhrs_epi16(load256(x + c + 16), load256(m + c + 16));
            const __m256i both = _mm256_permute4x64_epi64(_mm256_packs_epi16(low, high), 0xd8);
            store256(q + c, _mm256_max_epu8(_mm256_xor_si256(both, flip), one));
        }
}

/* 32 channels of `space`. Bytes of two taps are interleaved, so that an instruction sums the products of both: above
 * and here for each dx, once for the three positions that see it; below with its right neighbour. A sum of any of the
 * terms stays within 16 bits, since that of their magnitudes does. */
AVX2 static void space_avx2_32(const int8_t *above, const int8_t *here, const int8_t *below, const int8_t *weights,
                               const int16_t *bias, const int16_t *m, int8_t *g, int32_t channels, int32_t count)
{
    const __m256i flip = _mm256_set1_epi8(-128), one = _mm256_set1_epi8(1), zero = _mm256_setzero_si256();
    const size_t n = (size_t)channels;
    __m256i w[5][2], b[2], k[2], v[3][2], u[2][2], s[2], x, y;
    int32_t p, i, j;
#define PAIR256(to, x, y) ((to)[0] = _mm256_unpacklo_epi8(x, y), (to)[1] = _mm256_unpackhi_epi8(x, y))
#define HALVES256(to, x) ((to)[0] = _mm256_permute2x128_si256(load256(x), load256((x) + 16), 0x20), \
                          (to)[1] = _mm256_permute2x128_si256(load256(x), load256((x) + 16), 0x31))
    UNROLLED for (i = 0; i < 3; i++)
        PAIR256(w[i], load256(weights + i * n), load256(weights + (i + 3) * n));
    PAIR256(w[3], load256(weights + 6 * n), load256(weights + 7 * n));
    PAIR256(w[4], zero, load256(weights + 8 * n));
    HALVES256(b, bias);
    HALVES256(k, m);
    UNROLLED for (i = 0; i < 2; i++)
        PAIR256(v[i + 1], load256(above + i * n), load256(here + i * n));
    x = load256(below + n);
    PAIR256(u[1], load256(below), x);
    for (p = 0; p < count; p++, g += n) {
        above += n, here += n, below += n;
        UNROLLED for (j = 0; j < 2; j++)
            v[0][j] = v[1][j], v[1][j] = v[2][j], u[0][j] = u[1][j];
        PAIR256(v[2], load256(above + n), load256(here + n));
        y = load256(below + n);
        PAIR256(u[1], x, y);
        x = y;
        UNROLLED for (j = 0; j < 2; j++) {
            s[j] = _mm256_add_epi16(b[j], _mm256_maddubs_epi16(v[0][j], w[0][j]));
            s[j] = _mm256_add_epi16(s[j], _mm256_maddubs_epi16(v[1][j], w[1][j]));
            s[j] = _mm256_add_epi16(s[j], _mm256_maddubs_epi16(v[2][j], w[2][j]));
            s[j] = _mm256_add_epi16(s[j], _mm256_maddubs_epi16(u[0][j], w[3][j]));
            s[j] = _mm256_add_epi16(s[j], _mm256_maddubs_epi16(u[1][j], w[4][j]));
            s[j] = _mm256_mulhrs_epi16(s[j], k[j]);
        }
        store256(g, _mm256_max_epu8(_mm256_xor_si256(_mm256_packs_epi16(s[0], s[1]), flip), one));
    }
}

AVX2 static void space_avx2(const int8_t *above, const int8_t *here, const int8_t *below, const int8_t *weights,
                            const int16_t *bias, const int16_t *m, int8_t *g, int32_t channels, int32_t count)
{
    int32_t c;
    for (c = 0; c < channels; c += 32)
        space_avx2_32(above + c, here + c, below + c, weights + c, bias + c, m + c, g + c, channels, count);
}

/* Products without VNNI have three forms, of 16 outputs from b on at `many` positions from p on. */
enum {
    PAIRS, /* 16 bits by 16 bits, two inputs at once, for inputs with a sign, which `in` has widened */
    STEPS, /* 8 bits by 8 bits, eight inputs at once; see pack_steps */
    DOTS   /* AVX-VNNI, four inputs at once */
};

/* Kind, many and whether there is an `out` are constants where this is inlined, so that the sums stay in registers.
 * Into out, or else added to x, but for the first `done` positions. */
AVX2 INLINE void part_256(const cwic_affine8 *a, const int32_t kind, const void *in, int8_t *out, int16_t *x, int32_t p,
                          int32_t b, const int32_t many, int32_t done)
{
    const __m128i shift = _mm_cvtsi32_si128(a->shift);
    const int32_t *biases = packed_biases(a);
    const size_t n = (size_t)a->inputs;
    const __m256i m = load256(a->multiplier + b);
    size_t i;
    int32_t j, k;
    __m256i sum[6][2], row[2][2];
    UNROLLED for (j = 0; j < many; j++)
        UNROLLED for (k = 0; k < 2; k++)
            sum[j][k] = load256(biases + b + 8 * k);
    if (kind == PAIRS) {
        const int16_t *w = (const int16_t *)(biases + a->outputs) + n * b, *from = (const int16_t *)in + n * p;
        for (i = 0; i < n; i += 2, w += 32) {
            UNROLLED for (k = 0; k < 2; k++)
                row[0][k] = load256(w + 16 * k);
            UNROLLED for (j = 0; j < many; j++) {
                const __m256i v = _mm256_set1_epi32(quad_at(from + j * n + i));
                UNROLLED for (k = 0; k < 2; k++)
                    sum[j][k] = _mm256_add_epi32(sum[j][k], _mm256_madd_epi16(v, row[0][k]));
            }
        }
    }
    if (kind == STEPS) {
        const int32_t *starts = biases + a->outputs, all = starts[a->outputs / 16];
        const int8_t *weights = (const int8_t *)(starts + STARTS(a->outputs)), *from = (const int8_t *)in + n * p;
        const int32_t *offsets = (const int32_t *)(const void *)(weights + (size_t)128 * all), end = starts[b / 16 + 1];
        const __m256i ones = _mm256_set1_epi16(1);
        int32_t step;
        for (step = starts[b / 16]; step < end; step++) {
            const int8_t *w = weights + (size_t)128 * step;
            const size_t at = (size_t)offsets[step];
            UNROLLED for (k = 0; k < 2; k++)
                row[0][k] = load256(w + 32 * k), row[1][k] = load256(w + 64 + 32 * k);
            UNROLLED for (j = 0; j < many; j++) {
                const __m256i v = _mm256_set1_epi32(quad_at(from + j * n + at));
                const __m256i u = _mm256_set1_epi32(quad_at(from + j * n + at + 4));
                UNROLLED for (k = 0; k < 2; k++) {
                    const __m256i both = _mm256_add_epi16(_mm256_maddubs_epi16(v, row[0][k]),
                                                          _mm256_maddubs_epi16(u, row[1][k]));
                    sum[j][k] = _mm256_add_epi32(sum[j][k], _mm256_madd_epi16(both, ones));
                }
            }
        }
    }
#ifdef DOT256
    if (kind == DOTS) {
        const int8_t *w = (const int8_t *)(biases + a->outputs) + n * b, *from = (const int8_t *)in + n * p;
        for (i = 0; i < n; i += 4, w += 64) {
            UNROLLED for (k = 0; k < 2; k++)
                row[0][k] = load256(w + 32 * k);
            UNROLLED for (j = 0; j < many; j++) {
                const __m256i v = _mm256_set1_epi32(quad_at(from + j * n + i));
                UNROLLED for (k = 0; k < 2; k++)
                    DOT256(sum[j][k], v, row[0][k]);
            }
        }
    }
#endif
    UNROLLED for (j = 0; j < many; j++)
        if (j >= done) {
            const size_t to = (size_t)(p + j) * a->outputs + b;
            __m256i y = _mm256_packs_epi32(_mm256_sra_epi32(sum[j][0], shift), _mm256_sra_epi32(sum[j][1], shift));
            y = _mm256_mulhrs_epi16(y, m);
            if (out) {
                const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(y), _mm256_extracti128_si256(y, 1));
                _mm_storeu_si128((__m128i *)(void *)(out + to), _mm_max_epi8(bytes, _mm_setzero_si128()));
            } else
                store256(x + to, _mm256_adds_epi16(load256(x + to), y));
        }
}

/* The last positions are computed with some before them, once more. */
AVX2 INLINE void product_256(const cwic_affine8 *a, const int32_t kind, const int32_t many, const void *in, int8_t *out,
                             int16_t *x, int32_t count)
{
    int32_t p, b;
    for (b = 0; b < a->outputs; b += 16) {
        for (p = 0; p + many <= count; p += many)
            part_256(a, kind, in, out, x, p, b, many, 0);
        if (count < many)
            for (; p < count; p++)
                part_256(a, kind, in, out, x, p, b, 1, 0);
        else if (p < count)
            part_256(a, kind, in, out, x, count - many, b, many, p - (count - many));
    }
}

AVX2 INLINE void product_avx2(const cwic_affine8 *a, const int8_t *in, int8_t *out, int16_t *x, int32_t count)
{
    int16_t wide[WIDE];
    const size_t n = (size_t)a->inputs, outputs = (size_t)a->outputs;
    int32_t p, now;
    size_t i;
    if (a->positive) {
        product_256(a, STEPS, 4, in, out, x, count);
        return;
    }
    for (p = 0; p < count; p += now) {
        const int32_t rest = count - p, most = (int32_t)(WIDE / n), parts = (rest + most - 1) / most;
        now = (rest + parts - 1) / parts;
        for (i = 0; i < now * n; i += 16)
            store256(wide + i, _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(in + p * n + i))));
        product_256(a, PAIRS, 6, wide, out ? out + p * outputs : NULL, out ? NULL : x + p * outputs, now);
    }
}

AVX2 static void relu_avx2(const cwic_affine8 *a, const int8_t *in, int8_t *out, int32_t count)
{
    product_avx2(a, in, out, NULL, count);
}

AVX2 static void add_avx2(const cwic_affine8 *a, const int8_t *in, int16_t *x, int32_t count)
{
    product_avx2(a, in, NULL, x, count);
}

static const cwic_blocks blocks_avx2 = {1, pack_avx2, operand_avx2, relu_avx2, add_avx2, space_avx2};

#ifdef DOT256
AVX2 static void relu_avxvnni(const cwic_affine8 *a, const int8_t *in, int8_t *out, int32_t count)
{
    product_256(a, DOTS, 6, in, out, NULL, count);
}

AVX2 static void add_avxvnni(const cwic_affine8 *a, const int8_t *in, int16_t *x, int32_t count)
{
    product_256(a, DOTS, 6, in, NULL, x, count);
}

static int pack_avxvnni(cwic_affine8 *a, const int8_t *weights, const int32_t *biases)
{
    return pack_quads(a, weights, biases, 8, 16);
}

static const cwic_blocks blocks_avxvnni = {2, pack_avxvnni, operand_avx2, relu_avxvnni, add_avxvnni, space_avx2};

static int has_avxvnni(void)
{
    uint32_t a, b, c, d;
    return __builtin_cpu_supports("avx2") && __get_cpuid_count(7, 1, &a, &b, &c, &d) && a >> 4 & 1;
}
#endif

/* ---- AVX-512 VNNI ---- */

VNNI512 static void operand_avx512(const int16_t *x, const int16_t *m, int8_t *q, int32_t channels, int32_t count)
{
    const __m512i flip = _mm512_set1_epi8(-128), one = _mm512_set1_epi8(1);
    const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
    int32_t p, c;
    for (p = 0; p < count; p++, x += channels, q += channels) {
        for (c = 0; c + 64 <= channels; c += 64) {
            const __m512i low = _mm512_mulhrs_epi16(_mm512_loadu_si512(x + c), _mm512_loadu_si512(m + c));
            const __m512i high = _mm512_mulhrs_epi16(_mm512_loadu_si512(x + c + 32), _mm512_loadu_si512(m + c + 32));
            const __m512i both = _mm512_permutexvar_epi64(order, _mm512_packs_epi16(low, high));
            _mm512_storeu_si512(q + c, _mm512_max_epu8(_mm512_xor_si512(both, flip), one));
        }
        if (c < channels) {
            const __m512i low = _mm512_mulhrs_epi16(_mm512_loadu_si512(x + c), _mm512_loadu_si512(m + c));
            const __m256i half = _mm256_xor_si256(_mm512_cvtsepi16_epi8(low), _mm512_castsi512_si256(flip));
            store256(q + c, _mm256_max_epu8(half, _mm512_castsi512_si256(one)));
        }
    }
}

/* As space_avx2_32, for 64 channels. */
VNNI512 static void space_avx512_64(const int8_t *above, const int8_t *here, const int8_t *below, const int8_t *weights,
                                    const int16_t *bias, const int16_t *m, int8_t *g, int32_t channels, int32_t count)
{
    const __m512i flip = _mm512_set1_epi8(-128), one = _mm512_set1_epi8(1), zero = _mm512_setzero_si512();
    const __m512i even = _mm512_setr_epi64(0, 1, 4, 5, 8, 9, 12, 13);
    const __m512i odd = _mm512_setr_epi64(2, 3, 6, 7, 10, 11, 14, 15);
    const size_t n = (size_t)channels;
    __m512i w[5][2], b[2], k[2], v[3][2], u[2][2], s[2], x, y;
    int32_t p, i, j;
#define PAIR512(to, x, y) ((to)[0] = _mm512_unpacklo_epi8(x, y), (to)[1] = _mm512_unpackhi_epi8(x, y))
#define HALVES512(to, x) \
    ((to)[0] = _mm512_permutex2var_epi64(_mm512_loadu_si512(x), even, _mm512_loadu_si512((x) + 32)), \
     (to)[1] = _mm512_permutex2var_epi64(_mm512_loadu_si512(x), odd, _mm512_loadu_si512((x) + 32)))
    UNROLLED for (i = 0; i < 3; i++)
        PAIR512(w[i], _mm512_loadu_si512(weights + i * n), _mm512_loadu_si512(weights + (i + 3) * n));
    PAIR512(w[3], _mm512_loadu_si512(weights + 6 * n), _mm512_loadu_si512(weights + 7 * n));
    PAIR512(w[4], zero, _mm512_loadu_si512(weights + 8 * n));
    HALVES512(b, bias);
    HALVES512(k, m);
    UNROLLED for (i = 0; i < 2; i++)
        PAIR512(v[i + 1], _mm512_loadu_si512(above + i * n), _mm512_loadu_si512(here + i * n));
    x = _mm512_loadu_si512(below + n);
    PAIR512(u[1], _mm512_loadu_si512(below), x);
    for (p = 0; p < count; p++, g += n) {
        above += n, here += n, below += n;
        UNROLLED for (j = 0; j < 2; j++)
            v[0][j] = v[1][j], v[1][j] = v[2][j], u[0][j] = u[1][j];
        PAIR512(v[2], _mm512_loadu_si512(above + n), _mm512_loadu_si512(here + n));
        y = _mm512_loadu_si512(below + n);
        PAIR512(u[1], x, y);
        x = y;
        UNROLLED for (j = 0; j < 2; j++) {
            s[j] = _mm512_add_epi16(b[j], _mm512_maddubs_epi16(v[0][j], w[0][j]));
            s[j] = _mm512_add_epi16(s[j], _mm512_maddubs_epi16(v[1][j], w[1][j]));
            s[j] = _mm512_add_epi16(s[j], _mm512_maddubs_epi16(v[2][j], w[2][j]));
            s[j] = _mm512_add_epi16(s[j], _mm512_maddubs_epi16(u[0][j], w[3][j]));
            s[j] = _mm512_add_epi16(s[j], _mm512_maddubs_epi16(u[1][j], w[4][j]));
            s[j] = _mm512_mulhrs_epi16(s[j], k[j]);
        }
        _mm512_storeu_si512(g, _mm512_max_epu8(_mm512_xor_si512(_mm512_packs_epi16(s[0], s[1]), flip), one));
    }
}

VNNI512 static void space_avx512(const int8_t *above, const int8_t *here, const int8_t *below, const int8_t *weights,
                                 const int16_t *bias, const int16_t *m, int8_t *g, int32_t channels, int32_t count)
{
    int32_t c;
    for (c = 0; c + 64 <= channels; c += 64)
        space_avx512_64(above + c, here + c, below + c, weights + c, bias + c, m + c, g + c, channels, count);
    if (c < channels)
        space_avx2_32(above + c, here + c, below + c, weights + c, bias + c, m + c, g + c, channels, count);
}

/* `pairs` times 32 outputs from b on, at `many` positions from p on; both are constants where this is inlined, so that
 * the sums, 24 at most, stay in registers. Into out, or else added to x, but for the first `done` positions. */
VNNI512 INLINE void part_avx512(const cwic_affine8 *a, const int8_t *in, int8_t *out, int16_t *x, int32_t p, int32_t b,
                                const int32_t many, const int32_t pairs, int32_t done)
{
    const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), zero = _mm512_setzero_si512();
    const __m128i shift = _mm_cvtsi32_si128(a->shift);
    const int32_t *biases = packed_biases(a);
    const int8_t *w = (const int8_t *)(biases + a->outputs) + (size_t)b * a->inputs;
    const size_t n = (size_t)a->inputs, step = (size_t)a->outputs;
    size_t i;
    int32_t j, k;
    __m512i sum[12][4], m[2], row[4];
    in += (size_t)p * n;
    UNROLLED for (j = 0; j < many; j++)
        UNROLLED for (k = 0; k < 2 * pairs; k++)
            sum[j][k] = _mm512_loadu_si512(biases + b + 16 * k);
    for (i = 0; i < n; i += 4, w += 128 * pairs) {
        UNROLLED for (k = 0; k < 2 * pairs; k++)
            row[k] = _mm512_loadu_si512(w + 64 * k);
        UNROLLED for (j = 0; j < many; j++) {
            const __m512i v = _mm512_set1_epi32(quad_at(in + j * n + i));
            UNROLLED for (k = 0; k < 2 * pairs; k++)
                DOT(sum[j][k], v, row[k]);
        }
    }
    UNROLLED for (k = 0; k < pairs; k++)
        m[k] = _mm512_loadu_si512(a->multiplier + b + 32 * k);
    UNROLLED for (j = 0; j < many; j++)
        if (j >= done) {
            const size_t to = (size_t)(p + j) * step + b;
            __m512i y[2];
            UNROLLED for (k = 0; k < pairs; k++) {
                const __m512i low = _mm512_sra_epi32(sum[j][2 * k], shift);
                const __m512i high = _mm512_sra_epi32(sum[j][2 * k + 1], shift);
                y[k] = _mm512_mulhrs_epi16(_mm512_packs_epi32(low, high), m[k]);
            }
            if (!out)
                UNROLLED for (k = 0; k < pairs; k++)
                    _mm512_storeu_si512(x + to + 32 * k, _mm512_adds_epi16(_mm512_loadu_si512(x + to + 32 * k), y[k]));
            else if (pairs == 2) {
                const __m512i both = _mm512_max_epi8(_mm512_packs_epi16(y[0], y[1]), zero);
                _mm512_storeu_si512(out + to, _mm512_permutexvar_epi64(order, both));
            } else
                store256(out + to, _mm512_cvtsepi16_epi8(_mm512_max_epi16(y[0], zero)));
        }
}

/* The last positions are computed with some before them, once more. */
#define ROWS_AVX512(MANY, PAIRS)                                                                                      \
    do {                                                                                                              \
        for (p = 0; p + MANY <= count; p += MANY)                                                                     \
            part_avx512(a, in, out, x, p, b, MANY, PAIRS, 0);                                                         \
        if (count < MANY)                                                                                             \
            for (; p < count; p++)                                                                                    \
                part_avx512(a, in, out, x, p, b, 1, PAIRS, 0);                                                        \
        else if (p < count)                                                                                           \
            part_avx512(a, in, out, x, count - MANY, b, MANY, PAIRS, p - (count - MANY));                             \
    } while (0)

VNNI512 INLINE void product_avx512(const cwic_affine8 *a, const int8_t *in, int8_t *out, int16_t *x, int32_t count)
{
    int32_t p, b;
    for (b = 0; b + 64 <= a->outputs; b += 64)
        ROWS_AVX512(6, 2);
    if (b < a->outputs)
        ROWS_AVX512(12, 1);
}

VNNI512 static void relu_avx512(const cwic_affine8 *a, const int8_t *in, int8_t *out, int32_t count)
{
    product_avx512(a, in, out, NULL, count);
}

VNNI512 static void add_avx512(const cwic_affine8 *a, const int8_t *in, int16_t *x, int32_t count)
{
    product_avx512(a, in, NULL, x, count);
}

static int pack_avx512(cwic_affine8 *a, const int8_t *weights, const int32_t *biases)
{
    return pack_quads(a, weights, biases, 16, 64);
}

static const cwic_blocks blocks_avx512 = {3, pack_avx512, operand_avx512, relu_avx512, add_avx512, space_avx512};

const cwic_blocks *cwic_blocks_x86(int32_t simd)
{
    if (simd == 3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni"))
        return &blocks_avx512;
#ifdef DOT256
    if (simd == 2 && has_avxvnni())
        return &blocks_avxvnni;
#endif
    if (simd == 1 && __builtin_cpu_supports("avx2"))
        return &blocks_avx2;
    return NULL;
}

#else

const cwic_blocks *cwic_blocks_x86(int32_t simd)
{
    (void)simd;
    return NULL;
}

#endif
