/* Binary decisions under several adaptive contexts, whose log odds are mixed; part of the pixel coder. */
#ifndef CWIC_MIXING_H
#define CWIC_MIXING_H

#include "decisions.h"

#if defined(__SSE2__) && defined(__GNUC__)
#define CWIC_SSE2
#include <emmintrin.h>
#elif defined(__wasm_simd128__)
#define CWIC_SSE2
#include "sse2_wasm.h"
#endif

enum {
    CWIC_MIX_LANES = 16,    /* inputs at most, with the constant one */
    CWIC_SLOT_LIMIT = 1023, /* of a slot's count */
    CWIC_STRETCH = 4096,
    CWIC_STRETCH_MAX = 2047,
    CWIC_WEIGHT_START = 16384 * 3 / 28,
    CWIC_FINALS = 48
};

/* A slot is a probability of 1 in 2^-22 (high 22 bits), less one half modulo 1, and how often it was used (low 10
 * bits), so that zeros are where slots start. */

typedef struct {
    int16_t w[CWIC_MIX_LANES]; /* in 2^-14, less where weights start */
} cwic_weights;

typedef struct {
    cwic_encoder *e; /* one of the two */
    cwic_decoder *d;
    int16_t stretch[CWIC_STRETCH]; /* log odds in 1/256 of probabilities, in 2^-12 from one half on, within +-2047 */
    int silent; /* decisions are only learnt from: nothing is coded */
    int32_t spent; /* bits in 1/256 */
    int16_t cost[4096]; /* of an outcome by its probability in 2^-12 */
    int32_t rate[CWIC_SLOT_LIMIT + 1]; /* 2^16 / (n + 2) */
    uint32_t final[CWIC_FINALS]; /* what final slots are stored less, so that zeros are where they start */
} cwic_mixer;

void cwic_mixer_init(cwic_mixer *m, cwic_encoder *e, cwic_decoder *d);

/* The step is below 2^22 * 2^16 in magnitude, and leaves the probability within +-2^21, since the rate is below 1
 * and the goal is. The count does not carry, as limit <= 1023. */
INLINE uint32_t cwic_slot_next(const cwic_mixer *m, uint32_t slot, int bit, uint32_t limit)
{
    const uint32_t n = slot & 1023;
    const int32_t p = (int32_t)slot >> 10, goal = bit * ((1 << 22) - 1) - (1 << 21);
    const int32_t step = (int32_t)((int64_t)(goal - p) * m->rate[n] >> 16);
    return slot + ((uint32_t)step << 10) + (n < limit);
}

INLINE void cwic_slot_learn(const cwic_mixer *m, uint32_t *slot, int bit, uint32_t limit)
{
    *slot = cwic_slot_next(m, *slot, bit, limit);
}

INLINE int cwic_mix_code(cwic_mixer *m, int bit, uint32_t p, int decoding)
{
    if (m->silent)
        ;
    else if (decoding)
        bit = cwic_decode(m->d, p);
    else
        cwic_encode(m->e, bit, p);
    m->spent += m->cost[(bit ? p : 65536 - p) >> 4];
    return bit;
}

/* A decision under one slot. */
INLINE int cwic_slot_code(cwic_mixer *m, uint32_t *slot, int bit, uint32_t limit, int decoding)
{
    uint32_t p = (*slot ^ 1u << 31) >> 16;
    p = p < 1 ? 1 : p;
    bit = cwic_mix_code(m, bit, p, decoding);
    cwic_slot_learn(m, slot, bit, limit);
    return bit;
}

/* A decision under n slots, at most 14, mixed under the sum of two sets of weights of 8 lanes (n < 8) or 16; the sum
 * starts at `start`. `counted`: m->silent and m->spent matter. */
INLINE int cwic_mix_under(cwic_mixer *m, uint32_t *const *slots, const int n, int16_t *wa, int16_t *wb,
                          const int start, uint32_t *final, int bit, uint32_t limit, int32_t rate, const int counted,
                          int decoding)
{
    const int lanes = n < 8 ? 8 : 16;
    int32_t z, p, q, i, part, error, at;
    uint32_t s[CWIC_MIX_LANES], f0, f1;
#ifdef CWIC_SSE2
    __m128i x[2], a, b, sum, e, one;
#else
    int16_t x[CWIC_MIX_LANES];
#endif
    for (i = 0; i < n; i++)
        s[i] = *slots[i];
#define X(i) (i < n ? m->stretch[s[i < n ? i : 0] >> 20] : i == n ? 256 : 0)
    /* |x| <= 2047, the constant 256, |w| <= 2^15 and start < 2^11: (14 * 2047 + 256) * (2 * 2^15 + 2^11) < 2^31. */
#ifdef CWIC_SSE2
    x[0] = _mm_set_epi16(X(7), X(6), X(5), X(4), X(3), X(2), X(1), X(0));
    sum = _mm_madd_epi16(x[0], _mm_set1_epi16((int16_t)start));
    sum = _mm_add_epi32(sum, _mm_madd_epi16(x[0], _mm_loadu_si128((const __m128i *)wa)));
    sum = _mm_add_epi32(sum, _mm_madd_epi16(x[0], _mm_loadu_si128((const __m128i *)wb)));
    if (lanes > 8) {
        x[1] = _mm_set_epi16(X(15), X(14), X(13), X(12), X(11), X(10), X(9), X(8));
        sum = _mm_add_epi32(sum, _mm_madd_epi16(x[1], _mm_set1_epi16((int16_t)start)));
        sum = _mm_add_epi32(sum, _mm_madd_epi16(x[1], _mm_loadu_si128((const __m128i *)(wa + 8))));
        sum = _mm_add_epi32(sum, _mm_madd_epi16(x[1], _mm_loadu_si128((const __m128i *)(wb + 8))));
    }
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1));
    z = _mm_cvtsi128_si32(sum);
#else
    z = 0;
    for (i = 0; i < lanes; i++) {
        x[i] = (int16_t)X(i);
        z += x[i] * wa[i] + x[i] * wb[i] + x[i] * start;
    }
#endif
#undef X
    z = cwic_clamp(z >> 14, 1 - CWIC_LOG_ODDS, CWIC_LOG_ODDS - 1) + CWIC_LOG_ODDS;
    p = cwic_probabilities[z >> 1];
    error = p;
    at = z >> 7; /* 44 buckets */
    part = z & 127;
    f0 = final[at] ^ m->final[at];
    f1 = final[at + 1] ^ m->final[at + 1];
    q = ((((int32_t)f0 >> 16) * (128 - part) + ((int32_t)f1 >> 16) * part) >> 7) + 32768;
    p = cwic_clamp((3 * q + p) >> 2, 1, 65535);
    if (counted)
        bit = cwic_mix_code(m, bit, (uint32_t)p, decoding);
    else if (decoding)
        bit = cwic_decode(m->d, (uint32_t)p);
    else
        cwic_encode(m->e, bit, (uint32_t)p);
    /* |error| < 2^16 and rate < 64, so this is within 2^15. */
    error = (((bit << 16) - error) * rate) >> 7;
#ifdef CWIC_SSE2
    e = _mm_set1_epi16((int16_t)error);
    for (i = 0; i < lanes; i += 8) {
        one = _mm_add_epi16(_mm_mulhi_epi16(x[i / 8], e), _mm_srli_epi16(_mm_mullo_epi16(x[i / 8], e), 15));
        a = _mm_adds_epi16(_mm_loadu_si128((const __m128i *)(wa + i)), one);
        b = _mm_adds_epi16(_mm_loadu_si128((const __m128i *)(wb + i)), one);
        _mm_storeu_si128((__m128i *)(wa + i), a);
        _mm_storeu_si128((__m128i *)(wb + i), b);
    }
#else
    for (i = 0; i < lanes; i++) {
        int32_t one = (x[i] * error + (1 << 15)) >> 16;
        wa[i] = (int16_t)cwic_sat(wa[i] + one);
        wb[i] = (int16_t)cwic_sat(wb[i] + one);
    }
#endif
    for (i = 0; i < n; i++)
        *slots[i] = cwic_slot_next(m, s[i], bit, limit);
    at = (z + 64) >> 7; /* the nearer one */
    final[at] = cwic_slot_next(m, final[at] ^ m->final[at], bit, CWIC_SLOT_LIMIT) ^ m->final[at];
    return bit;
}

INLINE int cwic_mix(cwic_mixer *m, uint32_t *const *slots, const int n, cwic_weights *wa, cwic_weights *wb,
                    uint32_t *final, int bit, uint32_t limit, int32_t rate, int decoding)
{
    return cwic_mix_under(m, slots, n, wa->w, wb->w, CWIC_WEIGHT_START, final, bit, limit, rate, 1, decoding);
}

#endif
