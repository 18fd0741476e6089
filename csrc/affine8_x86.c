/* The transforms' blocks with AVX-VNNI and AVX-512 VNNI, chosen at run time. Same results as affine8.c. */

#include "affine8_x86.h"

#ifdef CWIC_X86

#include <cpuid.h>

#define VNNI512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))
/* sum += products of four bytes without and four with sign. As an intrinsic, gcc 12 copies every sum to and fro. */
#define DOT(sum, x, w) __asm__("vpdpbusd {%2, %1, %0|%0, %1, %2}" : "+v"(sum) : "v"(x), "v"(w))
#if __GNUC__ >= 11 || (defined(__clang__) && __clang_major__ >= 13)
#define DOT256(sum, x, w) __asm__("%{vex%} vpdpbusd {%2, %1, %0|%0, %1, %2}" : "+x"(sum) : "x"(x), "x"(w))
#endif

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

/* ---- AVX-VNNI ---- */

#ifdef DOT256
/* 16 outputs from b on at `many` positions from p on, into out, or else added to x, but for the first `done`
 * positions. `many` and whether there is an `out` are constants where this is inlined: the sums stay in registers. */
AVX2 INLINE void part_dots(const cwic_affine8 *a, const int8_t *in, int8_t *out, int16_t *x, int32_t p, int32_t b,
                           const int32_t many, int32_t done)
{
    const __m128i shift = _mm_cvtsi32_si128(a->shift);
    const int32_t *biases = packed_biases(a);
    const size_t n = (size_t)a->inputs;
    const int8_t *w = (const int8_t *)(biases + a->outputs) + n * b;
    const __m256i m = load256(a->multiplier + b);
    size_t i;
    int32_t j, k;
    __m256i sum[6][2], row[2];
    in += n * p;
    UNROLLED for (j = 0; j < many; j++)
        UNROLLED for (k = 0; k < 2; k++)
            sum[j][k] = load256(biases + b + 8 * k);
    for (i = 0; i < n; i += 4, w += 64) {
        UNROLLED for (k = 0; k < 2; k++)
            row[k] = load256(w + 32 * k);
        UNROLLED for (j = 0; j < many; j++) {
            const __m256i v = _mm256_set1_epi32(quad_at(in + j * n + i));
            UNROLLED for (k = 0; k < 2; k++)
                DOT256(sum[j][k], v, row[k]);
        }
    }
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
AVX2 INLINE void product_dots(const cwic_affine8 *a, const int8_t *in, int8_t *out, int16_t *x, int32_t count)
{
    const int32_t many = 6;
    int32_t p, b;
    for (b = 0; b < a->outputs; b += 16) {
        for (p = 0; p + many <= count; p += many)
            part_dots(a, in, out, x, p, b, many, 0);
        if (count < many)
            for (; p < count; p++)
                part_dots(a, in, out, x, p, b, 1, 0);
        else if (p < count)
            part_dots(a, in, out, x, count - many, b, many, p - (count - many));
    }
}

AVX2 static void relu_avxvnni(const cwic_affine8 *a, const int8_t *in, int8_t *out, int32_t count)
{
    product_dots(a, in, out, NULL, count);
}

AVX2 static void add_avxvnni(const cwic_affine8 *a, const int8_t *in, int16_t *x, int32_t count)
{
    product_dots(a, in, NULL, x, count);
}

static int pack_avxvnni(cwic_affine8 *a, const int8_t *weights, const int32_t *biases)
{
    return pack_quads(a, weights, biases, 8, 16);
}

static const cwic_blocks blocks_avxvnni = {2, pack_avxvnni, cwic_operand_avx2,
                                           relu_avxvnni, add_avxvnni, cwic_space_avx2};

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

/* As cwic_space_avx2_32, for 64 channels. */
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
        cwic_space_avx2_32(above + c, here + c, below + c, weights + c, bias + c, m + c, g + c, channels, count);
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
        return &cwic_blocks_avx2;
    return NULL;
}

#else

const cwic_blocks *cwic_blocks_x86(int32_t simd)
{
    (void)simd;
    return NULL;
}

#endif
