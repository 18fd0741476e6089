/* The transforms' blocks with the 128-bit vectors of WebAssembly. Same results as affine8.c. Operands are kept as they
 * are. */

#include "affine8.h"

#ifdef __wasm_simd128__

#include <wasm_simd128.h>

enum { MANY = 24 }; /* positions whose inputs are widened at once */

/* packed: biases, then weights as 16 bits in blocks of eight outputs: the first two inputs of each, the next two .. */
static int pack_wasm(cwic_affine8 *a, const int8_t *weights, const int32_t *biases)
{
    const size_t outputs = (size_t)a->outputs, inputs = (size_t)a->inputs;
    int16_t *w = cwic_pack_biases(a, biases);
    size_t i, o;
    if (!w)
        return 0;
    for (i = 0; i < inputs; i++)
        for (o = 0; o < outputs; o++)
            w[o / 8 * 8 * inputs + (i / 2 * 8 + o % 8) * 2 + i % 2] = *weights++;
    return 1;
}

/* q15mulr is (x * m + 2^14) >> 15. */
INLINE v128_t operand16(v128_t x, v128_t m)
{
    const v128_t most = wasm_i16x8_splat(127), least = wasm_i16x8_splat(-127);
    return wasm_i16x8_max(wasm_i16x8_min(wasm_i16x8_q15mulr_sat(x, m), most), least);
}

static void operand_wasm(const int16_t *x, const int16_t *m, int8_t *q, int32_t channels, int32_t count)
{
    int32_t p, c;
    for (p = 0; p < count; p++, x += channels, q += channels)
        for (c = 0; c < channels; c += 16)
            wasm_v128_store(q + c, wasm_i8x16_narrow_i16x8(
                                       operand16(wasm_v128_load(x + c), wasm_v128_load(m + c)),
                                       operand16(wasm_v128_load(x + c + 8), wasm_v128_load(m + c + 8))));
}

/* Sums of any of the terms stay within 16 bits, since those of their magnitudes do. */
static void space_wasm(const int8_t *above, const int8_t *here, const int8_t *below, const int8_t *weights,
                       const int16_t *bias, const int16_t *m, int8_t *g, int32_t channels, int32_t count)
{
    const size_t n = (size_t)channels;
    int32_t p, i;
    size_t c;
    for (c = 0; c < n; c += 8) {
        const v128_t start = wasm_v128_load(bias + c), multiplier = wasm_v128_load(m + c);
        v128_t w[9];
        UNROLLED for (i = 0; i < 9; i++)
            w[i] = wasm_i16x8_load8x8(weights + i * n + c);
        for (p = 0; p < count; p++) {
            const size_t at = (size_t)p * n + c;
            v128_t sum = start;
            UNROLLED for (i = 0; i < 9; i++) {
                const v128_t h = wasm_i16x8_load8x8((i < 3 ? above : i < 6 ? here : below) + at + i % 3 * n);
                sum = wasm_i16x8_add(sum, wasm_i16x8_mul(h, w[i]));
            }
            sum = operand16(sum, multiplier);
            wasm_v128_store64_lane(g + at, wasm_i8x16_narrow_i16x8(sum, sum), 0);
        }
    }
}

/* The sums of eight outputs of a position from b on: into out if there is one, else added to x. */
INLINE void finish(const cwic_affine8 *a, v128_t low, v128_t high, int8_t *out, int16_t *x, size_t to, int32_t b)
{
    const v128_t sum = wasm_i16x8_narrow_i32x4(wasm_i32x4_shr(low, (uint32_t)a->shift),
                                               wasm_i32x4_shr(high, (uint32_t)a->shift));
    const v128_t y = wasm_i16x8_q15mulr_sat(sum, wasm_v128_load(a->multiplier + b));
    if (out) {
        const v128_t h = wasm_i16x8_max(y, wasm_i16x8_splat(0));
        wasm_v128_store64_lane(out + to, wasm_i8x16_narrow_i16x8(h, h), 0);
    } else {
        wasm_v128_store(x + to, wasm_i16x8_add_sat(wasm_v128_load(x + to), y));
    }
}

/* Eight outputs from b on, at `many` positions from p on, whose inputs are at `in` as 16 bits; many is a constant where
 * this is inlined, so that the sums stay in registers. */
INLINE void part(const cwic_affine8 *a, const int16_t *in, int8_t *out, int16_t *x, int32_t p, int32_t b,
                 const int32_t many)
{
    const int32_t *biases = (const int32_t *)a->packed;
    const size_t n = (size_t)a->inputs;
    const int16_t *w = (const int16_t *)(biases + a->outputs) + (size_t)b * n;
    v128_t low[8], high[8];
    int32_t j;
    size_t i;
    UNROLLED for (j = 0; j < many; j++)
        low[j] = wasm_v128_load(biases + b), high[j] = wasm_v128_load(biases + b + 4);
    for (i = 0; i < n; i += 2, w += 16) {
        const v128_t w0 = wasm_v128_load(w), w1 = wasm_v128_load(w + 8);
        UNROLLED for (j = 0; j < many; j++) {
            const v128_t two = wasm_v128_load32_splat(in + (size_t)j * n + i);
            low[j] = wasm_i32x4_add(low[j], wasm_i32x4_dot_i16x8(two, w0));
            high[j] = wasm_i32x4_add(high[j], wasm_i32x4_dot_i16x8(two, w1));
        }
    }
    UNROLLED for (j = 0; j < many; j++)
        finish(a, low[j], high[j], out, x, (size_t)(p + j) * (size_t)a->outputs + (size_t)b, b);
}

INLINE void product(const cwic_affine8 *a, const int8_t *in, int8_t *out, int16_t *x, int32_t count)
{
    int16_t wide[MANY * CWIC_MAX_INPUTS];
    const int32_t n = a->inputs;
    int32_t first, p, b, i;
    for (first = 0; first < count; first += MANY) {
        const int32_t end = first + MANY < count ? first + MANY : count;
        for (i = 0; i < (end - first) * n; i += 8)
            wasm_v128_store(wide + i, wasm_i16x8_load8x8(in + (size_t)first * n + i));
        for (b = 0; b < a->outputs; b += 8) {
            for (p = first; p + 4 <= end; p += 4)
                part(a, wide + (p - first) * n, out, x, p, b, 4);
            for (; p < end; p++)
                part(a, wide + (p - first) * n, out, x, p, b, 1);
        }
    }
}

static void relu_wasm(const cwic_affine8 *a, const int8_t *in, int8_t *out, int32_t count)
{
    product(a, in, out, NULL, count);
}

static void add_wasm(const cwic_affine8 *a, const int8_t *in, int16_t *x, int32_t count)
{
    product(a, in, NULL, x, count);
}

static const cwic_blocks blocks_wasm = {1, pack_wasm, operand_wasm, relu_wasm, add_wasm, space_wasm};

const cwic_blocks *cwic_blocks_wasm(int32_t simd) { return simd == 1 ? &blocks_wasm : NULL; }

#else

const cwic_blocks *cwic_blocks_wasm(int32_t simd)
{
    (void)simd;
    return NULL;
}

#endif
