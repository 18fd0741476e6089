/* Entrance, exit and fine blocks of the transforms, beside their products, in plain C, with AVX2 and in WebAssembly. */

#include "rows.h"
#include "x86.h"

enum { COLOUR = CWIC_SIDE * CWIC_SIDE }; /* values of each colour */

static void enter_plain(const int32_t *sums, int32_t shift, const int16_t *m, const int16_t *offset, int16_t *stream,
                        int32_t wide, int32_t count)
{
    int32_t k, o;
    for (k = 0; k < count; k++, sums += wide, stream += wide)
        for (o = 0; o < wide; o++)
            stream[o] = (int16_t)cwic_sat(cwic_mul(cwic_sat(sums[o] >> shift), m[o]) + offset[o]);
}

static void operand_plain(const int16_t *stream, const int16_t *m, int16_t *out, size_t step, int32_t wide,
                          int32_t count)
{
    int32_t k, c;
    for (k = 0; k < count; k++, stream += wide, out += step)
        for (c = 0; c < wide; c++)
            out[c] = (int16_t)cwic_clamp(cwic_mul(stream[c], m[c]), -CWIC_OPERAND_LIMIT, CWIC_OPERAND_LIMIT);
}

static void show_plain(const int32_t *sums, int32_t shift, uint8_t *pixels, size_t pitch)
{
    int32_t row, column, colour;
    for (row = 0; row < CWIC_SIDE; row++, pixels += pitch)
        for (column = 0; column < CWIC_SIDE; column++)
            for (colour = 0; colour < 3; colour++)
                pixels[3 * column + colour] =
                    (uint8_t)cwic_clamp(sums[COLOUR * colour + CWIC_SIDE * row + column] >> shift, 0, 255);
}

static void take_plain(const uint8_t *pixels, size_t pitch, int16_t *values)
{
    int32_t row, column, colour;
    for (row = 0; row < CWIC_SIDE; row++, pixels += pitch)
        for (column = 0; column < CWIC_SIDE; column++)
            for (colour = 0; colour < 3; colour++)
                values[COLOUR * colour + CWIC_SIDE * row + column] = (int16_t)(pixels[3 * column + colour] - 128);
}

static void relu_plain(const int32_t *sums, int32_t shift, const int16_t *m, int16_t *h, int32_t wide, int32_t count)
{
    int32_t k, o;
    for (k = 0; k < count; k++, sums += wide, h += wide)
        for (o = 0; o < wide; o++)
            h[o] = (int16_t)cwic_clamp(cwic_mul(cwic_sat(sums[o] >> shift), m[o]), 0, CWIC_OPERAND_LIMIT);
}

static void add_plain(const int32_t *sums, int32_t shift, const int16_t *m, int16_t *stream, int32_t wide,
                      int32_t count)
{
    int32_t k, o;
    for (k = 0; k < count; k++, sums += wide, stream += wide)
        for (o = 0; o < wide; o++)
            stream[o] = (int16_t)cwic_sat(stream[o] + cwic_mul(cwic_sat(sums[o] >> shift), m[o]));
}

static void space_plain(const int16_t *above, const int16_t *here, const int16_t *below, const int8_t *weights,
                        const int16_t *bias, const int16_t *m, int16_t *g, int32_t wide, int32_t count)
{
    const int16_t *rows[3];
    int32_t p, c, k;
    for (p = 0; p < count; p++, g += wide) {
        rows[0] = above + (size_t)p * wide;
        rows[1] = here + (size_t)p * wide;
        rows[2] = below + (size_t)p * wide;
        for (c = 0; c < wide; c++) {
            int32_t sum = bias[c] * (1 << CWIC_FINE_BITS) + (1 << CWIC_FINE_BITS >> 1);
            for (k = 0; k < 9; k++)
                sum += weights[k * wide + c] * rows[k / 3][(k % 3) * wide + c];
            g[c] = (int16_t)cwic_clamp(cwic_mul(cwic_sat(sum >> CWIC_FINE_BITS), m[c]), -CWIC_OPERAND_LIMIT,
                                       CWIC_OPERAND_LIMIT);
        }
    }
}

static const cwic_rows plain = {enter_plain, operand_plain, show_plain, take_plain, relu_plain, add_plain, space_plain};

#ifdef CWIC_X86

AVX2 static inline __m128i load64(const void *x) { return _mm_loadl_epi64((const __m128i *)x); }

/* Sixteen sums, shifted, within 16 bits, times m. */
AVX2 static inline __m256i scaled_avx2(const int32_t *sums, __m128i by, const int16_t *m)
{
    const __m256i low = _mm256_sra_epi32(load256(sums), by), high = _mm256_sra_epi32(load256(sums + 8), by);
    return _mm256_mulhrs_epi16(_mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xd8), load256(m));
}

AVX2 static void enter_avx2(const int32_t *sums, int32_t shift, const int16_t *m, const int16_t *offset,
                            int16_t *stream, int32_t wide, int32_t count)
{
    const __m128i by = _mm_cvtsi32_si128(shift);
    int32_t k, o;
    for (k = 0; k < count; k++, sums += wide, stream += wide)
        for (o = 0; o < wide; o += 16)
            store256(stream + o, _mm256_adds_epi16(scaled_avx2(sums + o, by, m + o), load256(offset + o)));
}

AVX2 static void operand_avx2(const int16_t *stream, const int16_t *m, int16_t *out, size_t step, int32_t wide,
                              int32_t count)
{
    const __m256i most = _mm256_set1_epi16(CWIC_OPERAND_LIMIT), least = _mm256_set1_epi16(-CWIC_OPERAND_LIMIT);
    int32_t k, c;
    for (k = 0; k < count; k++, stream += wide, out += step)
        for (c = 0; c < wide; c += 16) {
            const __m256i x = _mm256_mulhrs_epi16(load256(stream + c), load256(m + c));
            store256(out + c, _mm256_max_epi16(_mm256_min_epi16(x, most), least));
        }
}

/* Where byte i of 24 interleaved ones comes from: colour i % 3 of pixel i / 3; in the first 16 bytes red and green of
 * eight pixels lie behind each other, blue elsewhere. */
#define NONE -128
AVX2 static void show_avx2(const int32_t *sums, int32_t shift, uint8_t *pixels, size_t pitch)
{
    const __m128i by = _mm_cvtsi32_si128(shift);
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m128i two = _mm_setr_epi8(0, 8, NONE, 1, 9, NONE, 2, 10, NONE, 3, 11, NONE, 4, 12, NONE, 5);
    const __m128i blue = _mm_setr_epi8(NONE, NONE, 0, NONE, NONE, 1, NONE, NONE, 2, NONE, NONE, 3, NONE, NONE, 4, NONE);
    const __m128i two_last =
        _mm_setr_epi8(13, NONE, 6, 14, NONE, 7, 15, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE);
    const __m128i blue_last =
        _mm_setr_epi8(NONE, 5, NONE, NONE, 6, NONE, NONE, 7, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE);
    uint8_t value[CWIC_BLOCK_VALUES];
    int32_t k;
    for (k = 0; k < CWIC_BLOCK_VALUES; k += 32) {
        const __m256i a = _mm256_sra_epi32(load256(sums + k), by), b = _mm256_sra_epi32(load256(sums + k + 8), by);
        const __m256i c = _mm256_sra_epi32(load256(sums + k + 16), by);
        const __m256i d = _mm256_sra_epi32(load256(sums + k + 24), by);
        const __m256i bytes = _mm256_packus_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
        store256(value + k, _mm256_permutevar8x32_epi32(bytes, order));
    }
    for (k = 0; k < COLOUR; k += CWIC_SIDE, pixels += pitch) {
        const __m128i rg = _mm_unpacklo_epi64(load64(value + k), load64(value + COLOUR + k));
        const __m128i b = load64(value + 2 * COLOUR + k);
        _mm_storeu_si128((__m128i *)(void *)pixels, _mm_or_si128(_mm_shuffle_epi8(rg, two), _mm_shuffle_epi8(b, blue)));
        _mm_storel_epi64((__m128i *)(void *)(pixels + 16),
                         _mm_or_si128(_mm_shuffle_epi8(rg, two_last), _mm_shuffle_epi8(b, blue_last)));
    }
}

AVX2 static void take_avx2(const uint8_t *pixels, size_t pitch, int16_t *values)
{
    const __m128i middle = _mm_set1_epi16(128);
    const __m128i first[3] = {
        _mm_setr_epi8(0, 3, 6, 9, 12, 15, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE),
        _mm_setr_epi8(1, 4, 7, 10, 13, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE),
        _mm_setr_epi8(2, 5, 8, 11, 14, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE),
    };
    const __m128i last[3] = {
        _mm_setr_epi8(NONE, NONE, NONE, NONE, NONE, NONE, 2, 5, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE),
        _mm_setr_epi8(NONE, NONE, NONE, NONE, NONE, 0, 3, 6, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE),
        _mm_setr_epi8(NONE, NONE, NONE, NONE, NONE, 1, 4, 7, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE),
    };
    int32_t row, colour;
    for (row = 0; row < CWIC_SIDE; row++, pixels += pitch) {
        const __m128i a = _mm_loadu_si128((const __m128i *)(const void *)pixels), b = load64(pixels + 16);
        for (colour = 0; colour < 3; colour++) {
            const __m128i bytes = _mm_or_si128(_mm_shuffle_epi8(a, first[colour]), _mm_shuffle_epi8(b, last[colour]));
            _mm_storeu_si128((__m128i *)(void *)(values + COLOUR * colour + CWIC_SIDE * row),
                             _mm_sub_epi16(_mm_cvtepu8_epi16(bytes), middle));
        }
    }
}

AVX2 static void relu_avx2(const int32_t *sums, int32_t shift, const int16_t *m, int16_t *h, int32_t wide,
                           int32_t count)
{
    const __m256i most = _mm256_set1_epi16(CWIC_OPERAND_LIMIT), least = _mm256_setzero_si256();
    const __m128i by = _mm_cvtsi32_si128(shift);
    int32_t k, o;
    for (k = 0; k < count; k++, sums += wide, h += wide)
        for (o = 0; o < wide; o += 16)
            store256(h + o, _mm256_max_epi16(_mm256_min_epi16(scaled_avx2(sums + o, by, m + o), most), least));
}

AVX2 static void add_avx2(const int32_t *sums, int32_t shift, const int16_t *m, int16_t *stream, int32_t wide,
                          int32_t count)
{
    const __m128i by = _mm_cvtsi32_si128(shift);
    int32_t k, o;
    for (k = 0; k < count; k++, sums += wide, stream += wide)
        for (o = 0; o < wide; o += 16)
            store256(stream + o, _mm256_adds_epi16(load256(stream + o), scaled_avx2(sums + o, by, m + o)));
}

AVX2 static inline __m256i widened(const int8_t *weights)
{
    return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)weights));
}

/* Channels 0 .. 3 and 8 .. 11 of sixteen are summed in one register, the others in another: as pairs interleave. */
AVX2 static void space_avx2(const int16_t *above, const int16_t *here, const int16_t *below, const int8_t *weights,
                            const int16_t *bias, const int16_t *m, int16_t *g, int32_t wide, int32_t count)
{
    const __m256i most = _mm256_set1_epi16(CWIC_OPERAND_LIMIT), least = _mm256_set1_epi16(-CWIC_OPERAND_LIMIT);
    const __m256i units = _mm256_set1_epi16(1 << CWIC_FINE_BITS), half = _mm256_set1_epi32(1 << CWIC_FINE_BITS >> 1);
    int32_t p, c, k;
    for (c = 0; c < wide; c += 16) {
        const __m256i more = load256(bias + c);
        __m256i low[5], high[5]; /* weights of two taps, the last one's of the bias beside it */
        for (k = 0; k < 5; k++) {
            const __m256i one = widened(weights + (size_t)(2 * k) * wide + c);
            const __m256i two = k < 4 ? widened(weights + (size_t)(2 * k + 1) * wide + c) : more;
            low[k] = _mm256_unpacklo_epi16(one, two);
            high[k] = _mm256_unpackhi_epi16(one, two);
        }
        for (p = 0; p < count; p++) {
            const size_t at = (size_t)p * wide + c;
            const int16_t *rows[3] = {above + at, here + at, below + at};
            __m256i a = half, b = half, x;
            for (k = 0; k < 5; k++) {
                const __m256i one = load256(rows[2 * k / 3] + (2 * k % 3) * wide);
                const __m256i two = k < 4 ? load256(rows[(2 * k + 1) / 3] + ((2 * k + 1) % 3) * wide) : units;
                a = _mm256_add_epi32(a, _mm256_madd_epi16(_mm256_unpacklo_epi16(one, two), low[k]));
                b = _mm256_add_epi32(b, _mm256_madd_epi16(_mm256_unpackhi_epi16(one, two), high[k]));
            }
            x = _mm256_packs_epi32(_mm256_srai_epi32(a, CWIC_FINE_BITS), _mm256_srai_epi32(b, CWIC_FINE_BITS));
            x = _mm256_mulhrs_epi16(x, load256(m + c));
            store256(g + at, _mm256_max_epi16(_mm256_min_epi16(x, most), least));
        }
    }
}

static const cwic_rows avx2 = {enter_avx2, operand_avx2, show_avx2, take_avx2, relu_avx2, add_avx2, space_avx2};

const cwic_rows *cwic_rows_choose(int32_t simd) { return simd >= 1 && __builtin_cpu_supports("avx2") ? &avx2 : &plain; }

#elif defined(__wasm_simd128__)

#include <wasm_simd128.h>

/* Eight sums, shifted, within 16 bits. */
INLINE v128_t shifted(const int32_t *sums, int32_t shift)
{
    return wasm_i16x8_narrow_i32x4(wasm_i32x4_shr(wasm_v128_load(sums), (uint32_t)shift),
                                   wasm_i32x4_shr(wasm_v128_load(sums + 4), (uint32_t)shift));
}

INLINE v128_t scaled_wasm(const int32_t *sums, int32_t shift, const int16_t *m)
{
    return wasm_i16x8_q15mulr_sat(shifted(sums, shift), wasm_v128_load(m));
}

INLINE v128_t within(v128_t x, int16_t least)
{
    return wasm_i16x8_max(wasm_i16x8_min(x, wasm_i16x8_splat(CWIC_OPERAND_LIMIT)), wasm_i16x8_splat(least));
}

static void enter_wasm(const int32_t *sums, int32_t shift, const int16_t *m, const int16_t *offset, int16_t *stream,
                       int32_t wide, int32_t count)
{
    int32_t k, o;
    for (k = 0; k < count; k++, sums += wide, stream += wide)
        for (o = 0; o < wide; o += 8)
            wasm_v128_store(stream + o,
                            wasm_i16x8_add_sat(scaled_wasm(sums + o, shift, m + o), wasm_v128_load(offset + o)));
}

static void operand_wasm(const int16_t *stream, const int16_t *m, int16_t *out, size_t step, int32_t wide,
                         int32_t count)
{
    int32_t k, c;
    for (k = 0; k < count; k++, stream += wide, out += step)
        for (c = 0; c < wide; c += 8) {
            const v128_t x = wasm_i16x8_q15mulr_sat(wasm_v128_load(stream + c), wasm_v128_load(m + c));
            wasm_v128_store(out + c, within(x, -CWIC_OPERAND_LIMIT));
        }
}

/* Byte i of 24 interleaved ones is colour i % 3 of pixel i / 3. */
static void show_wasm(const int32_t *sums, int32_t shift, uint8_t *pixels, size_t pitch)
{
    int32_t k;
    for (k = 0; k < COLOUR; k += CWIC_SIDE, pixels += pitch) {
        const v128_t rg = wasm_u8x16_narrow_i16x8(shifted(sums + k, shift), shifted(sums + COLOUR + k, shift));
        const v128_t blue = shifted(sums + 2 * COLOUR + k, shift), b = wasm_u8x16_narrow_i16x8(blue, blue);
        wasm_v128_store(pixels, wasm_i8x16_shuffle(rg, b, 0, 8, 16, 1, 9, 17, 2, 10, 18, 3, 11, 19, 4, 12, 20, 5));
        wasm_v128_store64_lane(pixels + 16, wasm_i8x16_shuffle(rg, b, 13, 21, 6, 14, 22, 7, 15, 23, 0, 0, 0, 0, 0, 0, 0, 0), 0);
    }
}

static void relu_wasm(const int32_t *sums, int32_t shift, const int16_t *m, int16_t *h, int32_t wide, int32_t count)
{
    int32_t k, o;
    for (k = 0; k < count; k++, sums += wide, h += wide)
        for (o = 0; o < wide; o += 8)
            wasm_v128_store(h + o, within(scaled_wasm(sums + o, shift, m + o), 0));
}

static void add_wasm(const int32_t *sums, int32_t shift, const int16_t *m, int16_t *stream, int32_t wide,
                     int32_t count)
{
    int32_t k, o;
    for (k = 0; k < count; k++, sums += wide, stream += wide)
        for (o = 0; o < wide; o += 8)
            wasm_v128_store(stream + o,
                            wasm_i16x8_add_sat(wasm_v128_load(stream + o), scaled_wasm(sums + o, shift, m + o)));
}

static void space_wasm(const int16_t *above, const int16_t *here, const int16_t *below, const int8_t *weights,
                       const int16_t *bias, const int16_t *m, int16_t *g, int32_t wide, int32_t count)
{
    int32_t p, c, k;
    for (c = 0; c < wide; c += 8) {
        const v128_t more = wasm_v128_load(bias + c), units = wasm_i16x8_splat(1 << CWIC_FINE_BITS);
        const v128_t half = wasm_i32x4_splat(1 << CWIC_FINE_BITS >> 1);
        const v128_t a0 = wasm_i32x4_add(half, wasm_i32x4_extmul_low_i16x8(more, units));
        const v128_t b0 = wasm_i32x4_add(half, wasm_i32x4_extmul_high_i16x8(more, units));
        v128_t weight[9];
        for (k = 0; k < 9; k++)
            weight[k] = wasm_i16x8_load8x8(weights + (size_t)k * wide + c);
        for (p = 0; p < count; p++) {
            const size_t at = (size_t)p * wide + c;
            const int16_t *rows[3] = {above + at, here + at, below + at};
            v128_t a = a0, b = b0, x;
            for (k = 0; k < 9; k++) {
                const v128_t h = wasm_v128_load(rows[k / 3] + (k % 3) * wide);
                a = wasm_i32x4_add(a, wasm_i32x4_extmul_low_i16x8(h, weight[k]));
                b = wasm_i32x4_add(b, wasm_i32x4_extmul_high_i16x8(h, weight[k]));
            }
            x = wasm_i16x8_narrow_i32x4(wasm_i32x4_shr(a, CWIC_FINE_BITS), wasm_i32x4_shr(b, CWIC_FINE_BITS));
            wasm_v128_store(g + at, within(wasm_i16x8_q15mulr_sat(x, wasm_v128_load(m + c)), -CWIC_OPERAND_LIMIT));
        }
    }
}

static const cwic_rows wasm = {enter_wasm, operand_wasm, show_wasm, take_plain, relu_wasm, add_wasm, space_wasm};

const cwic_rows *cwic_rows_choose(int32_t simd) { return simd >= 1 ? &wasm : &plain; }

#else

const cwic_rows *cwic_rows_choose(int32_t simd)
{
    (void)simd;
    return &plain;
}

#endif
