/* Affine maps with the 128-bit vectors of WebAssembly. Same sums as affine.c. */

#include "affine.h"

#ifdef __wasm_simd128__

#include <wasm_simd128.h>

/* 4 * `quads` outputs from b on, at `many` positions from p on; both are constants where this is inlined, so that the
 * sums stay in registers. */
INLINE void part(const cwic_affine *a, const int16_t *input, const int32_t *offsets, size_t step, const int32_t *start,
                 size_t start_step, int32_t *out, int32_t p, int32_t b, const int32_t many, const int32_t quads)
{
    const size_t outputs = (size_t)a->outputs, pairs = (size_t)a->inputs / 2;
    v128_t sum[4][4], w[4];
    int32_t tap, i, k;
    size_t pair;
    UNROLLED for (i = 0; i < many; i++)
        UNROLLED for (k = 0; k < quads; k++)
            sum[i][k] = wasm_v128_load(start + (size_t)(p + i) * start_step + b + 4 * k);
    for (tap = 0; tap < a->taps; tap++) {
        const int16_t *x = input + offsets[tap] + (ptrdiff_t)((size_t)p * step);
        const int16_t *from = a->weights + ((size_t)tap * pairs * outputs + (size_t)b) * 2;
        for (pair = 0; pair < pairs; pair++, from += 2 * outputs) {
            UNROLLED for (k = 0; k < quads; k++)
                w[k] = wasm_v128_load(from + 8 * k); /* two weights of each output */
            UNROLLED for (i = 0; i < many; i++) {
                const v128_t two = wasm_v128_load32_splat(x + (size_t)i * step + 2 * pair);
                UNROLLED for (k = 0; k < quads; k++)
                    sum[i][k] = wasm_i32x4_add(sum[i][k], wasm_i32x4_dot_i16x8(w[k], two));
            }
        }
    }
    UNROLLED for (i = 0; i < many; i++)
        UNROLLED for (k = 0; k < quads; k++)
            wasm_v128_store(out + (size_t)(p + i) * outputs + b + 4 * k, sum[i][k]);
}

static void affine_wasm(const cwic_affine *a, const int16_t *input, const int32_t *offsets, size_t step,
                        const int32_t *start, size_t start_step, int32_t *out, int32_t count)
{
    int32_t p, b;
    for (b = 0; b < a->outputs; b += 8)
        for (p = 0; p + 4 <= count; p += 4)
            part(a, input, offsets, step, start, start_step, out, p, b, 4, 2);
    for (p = count / 4 * 4; p < count; p++)
        for (b = 0; b < a->outputs; b += 16)
            part(a, input, offsets, step, start, start_step, out, p, b, 1, 4);
}

cwic_affine_function *cwic_affine_wasm(int32_t simd) { return simd == 1 ? affine_wasm : NULL; }

#else

cwic_affine_function *cwic_affine_wasm(int32_t simd)
{
    (void)simd;
    return NULL;
}

#endif
