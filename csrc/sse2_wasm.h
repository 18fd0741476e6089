/* Those instructions of SSE2 that the pixel coder uses, in WebAssembly's vectors: the names are those of emmintrin.h. */
#ifndef CWIC_SSE2_WASM_H
#define CWIC_SSE2_WASM_H

#include <wasm_simd128.h>

typedef v128_t __m128i;

#define _mm_setzero_si128() wasm_i64x2_splat(0)
#define _mm_set1_epi16 wasm_i16x8_splat
#define _mm_set1_epi32 wasm_i32x4_splat
#define _mm_set_epi16(h, g, f, e, d, c, b, a) wasm_i16x8_make(a, b, c, d, e, f, g, h)
#define _mm_cvtsi32_si128(x) wasm_i32x4_make(x, 0, 0, 0)
#define _mm_cvtsi128_si32(x) wasm_i32x4_extract_lane(x, 0)
#define _mm_load_si128 wasm_v128_load
#define _mm_loadu_si128 wasm_v128_load
#define _mm_loadl_epi64 wasm_v128_load64_zero
#define _mm_store_si128 wasm_v128_store
#define _mm_storeu_si128 wasm_v128_store
#define _mm_storel_epi64(to, x) wasm_v128_store64_lane(to, x, 0)
#define _mm_add_epi16 wasm_i16x8_add
#define _mm_sub_epi16 wasm_i16x8_sub
#define _mm_add_epi32 wasm_i32x4_add
#define _mm_adds_epi16 wasm_i16x8_add_sat
#define _mm_min_epi16 wasm_i16x8_min
#define _mm_max_epi16 wasm_i16x8_max
#define _mm_madd_epi16 wasm_i32x4_dot_i16x8
#define _mm_mullo_epi16 wasm_i16x8_mul
#define _mm_slli_epi16 wasm_i16x8_shl
#define _mm_srli_epi16 wasm_u16x8_shr
#define _mm_slli_epi64 wasm_i64x2_shl
#define _mm_shuffle_epi32(x, i) wasm_i32x4_shuffle(x, x, (i) & 3, (i) >> 2 & 3, (i) >> 4 & 3, (i) >> 6 & 3)
#define _mm_shufflelo_epi16(x, i) \
    wasm_i16x8_shuffle(x, x, (i) & 3, (i) >> 2 & 3, (i) >> 4 & 3, (i) >> 6 & 3, 4, 5, 6, 7)

static inline v128_t _mm_mulhi_epi16(v128_t a, v128_t b)
{
    return wasm_i16x8_shuffle(wasm_i32x4_extmul_low_i16x8(a, b), wasm_i32x4_extmul_high_i16x8(a, b), 1, 3, 5, 7, 9, 11, 13,
                              15);
}
static inline v128_t _mm_unpacklo_epi8(v128_t a, v128_t b)
{
    return wasm_i8x16_shuffle(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
static inline v128_t _mm_unpackhi_epi8(v128_t a, v128_t b)
{
    return wasm_i8x16_shuffle(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}
static inline v128_t _mm_unpacklo_epi16(v128_t a, v128_t b)
{
    return wasm_i16x8_shuffle(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
}

#endif
