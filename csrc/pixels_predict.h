/* Predictions of all channels of a pixel from its neighbourhood; part of pixels_colour.h. Two filters learn from 16
 * differences each, of which two need the channels before and join late. Channels are lanes of vectors. */
#ifndef CWIC_PIXELS_PREDICT_H
#define CWIC_PIXELS_PREDICT_H

typedef struct {
    int16_t v[8][4][2];   /* differences, in pairs, by channel; within +-510 */
    int32_t sums[FILTERS][4], norm[4];
    uint16_t wrong[4][8]; /* of predictors, in 1/4, at most 4 * 255 */
    int16_t base[4];      /* W + N */
    int16_t median[4], median_difference[4], plane_difference[4], mean_difference[4]; /* see below; within +-1020 */
    int16_t grad[4]; /* at most 3 * 255 */
    int16_t act[4];  /* of errors, at most 7 * 4080 */
} around;

INLINE int32_t median(int32_t w, int32_t n, int32_t nw)
{
    int32_t low = w < n ? w : n, high = w < n ? n : w;
    return nw >= high ? low : nw <= low ? high : w + n - nw;
}

#ifdef CWIC_SSE2

INLINE __m128i channels_at(uint32_t pixel)
{
    return _mm_unpacklo_epi8(_mm_cvtsi32_si128((int32_t)pixel), _mm_setzero_si128());
}

INLINE __m128i abs16(__m128i x) { return _mm_max_epi16(x, _mm_sub_epi16(_mm_setzero_si128(), x)); }

INLINE __m128i median16(__m128i w, __m128i n, __m128i nw)
{
    __m128i low = _mm_min_epi16(w, n), high = _mm_max_epi16(w, n), both = _mm_sub_epi16(_mm_add_epi16(w, n), nw);
    return _mm_max_epi16(low, _mm_min_epi16(high, both));
}

INLINE void look_around(const coder *s, int32_t x, around *a)
{
    const uint32_t *r0 = s->row[0] + x, *r1 = s->row[1] + x, *r2 = s->row[2] + x;
    const trace *t0 = s->trace[0] + x, *t1 = s->trace[1] + x;
    __m128i W = channels_at(r0[-1]), WW = channels_at(r0[-2]), N = channels_at(r1[0]), NW = channels_at(r1[-1]);
    __m128i NE = channels_at(r1[1]), NEE = channels_at(r1[2]), NWW = channels_at(r1[-2]);
    __m128i NN = channels_at(r2[0]), NNE = channels_at(r2[1]), NNW = channels_at(r2[-1]);
    __m128i base = _mm_add_epi16(W, N), d = _mm_sub_epi16(W, N), sum, zero = _mm_setzero_si128(), dW, dN, dNW, dNE;
    __m128i e = _mm_sub_epi16(_mm_add_epi16(NW, NW), base), f = _mm_sub_epi16(_mm_add_epi16(NE, NE), base);
    __m128i *v = (__m128i *)(void *)a->v;
    int i, k;
    _mm_store_si128(v + 0, _mm_unpacklo_epi16(d, e));
    _mm_store_si128(v + 1, _mm_unpacklo_epi16(f, _mm_sub_epi16(WW, W)));
    _mm_store_si128(v + 2, _mm_unpacklo_epi16(_mm_sub_epi16(NN, N), _mm_sub_epi16(NNE, NE)));
    _mm_store_si128(v + 3, _mm_unpacklo_epi16(_mm_sub_epi16(NEE, NE), _mm_sub_epi16(NWW, NW)));
    _mm_store_si128(v + 4, _mm_unpacklo_epi16(_mm_sub_epi16(NNW, NW), _mm_slli_epi64(d, 16)));
    _mm_store_si128(v + 5, _mm_unpacklo_epi16(_mm_slli_epi64(e, 16), _mm_slli_epi64(f, 16)));
    _mm_store_si128(v + 6, _mm_unpacklo_epi16(_mm_slli_epi64(d, 32), _mm_slli_epi64(e, 32)));
    for (k = 0; k < FILTERS; k++) {
        const __m128i *t = (const __m128i *)(const void *)s->taps[k];
        sum = _mm_madd_epi16(v[0], t[0]);
        for (i = 1; i < 7; i++)
            sum = _mm_add_epi32(sum, _mm_madd_epi16(v[i], t[i]));
        _mm_store_si128((__m128i *)(void *)a->sums[k], sum);
    }
    sum = _mm_set1_epi32(64);
    for (i = 0; i < 7; i++)
        sum = _mm_add_epi32(sum, _mm_madd_epi16(v[i], v[i]));
    _mm_store_si128((__m128i *)(void *)a->norm, sum);
    for (i = 0; i < 2; i++) { /* two channels each */
        __m128i p = _mm_loadu_si128((const __m128i *)(const void *)t0[-1].wrong[2 * i]);
        __m128i q = _mm_loadu_si128((const __m128i *)(const void *)t1[0].wrong[2 * i]);
        __m128i r = _mm_loadu_si128((const __m128i *)(const void *)t1[-1].wrong[2 * i]);
        __m128i o = _mm_loadu_si128((const __m128i *)(const void *)t1[1].wrong[2 * i]);
        _mm_store_si128((__m128i *)(void *)a->wrong[2 * i],
                        _mm_add_epi16(_mm_add_epi16(_mm_unpacklo_epi8(p, zero), _mm_unpacklo_epi8(q, zero)),
                                      _mm_add_epi16(_mm_unpacklo_epi8(r, zero), _mm_unpacklo_epi8(o, zero))));
        _mm_store_si128((__m128i *)(void *)a->wrong[2 * i + 1],
                        _mm_add_epi16(_mm_add_epi16(_mm_unpackhi_epi8(p, zero), _mm_unpackhi_epi8(q, zero)),
                                      _mm_add_epi16(_mm_unpackhi_epi8(r, zero), _mm_unpackhi_epi8(o, zero))));
    }
#define FIRST(x) _mm_sub_epi16(x, _mm_shufflelo_epi16(x, 0)) /* less the first channel */
#define STORE(to, x) _mm_storel_epi64((__m128i *)(void *)a->to, x)
    dW = FIRST(W);
    dN = FIRST(N);
    dNW = FIRST(NW);
    dNE = FIRST(NE);
    STORE(base, base);
    STORE(median, median16(W, N, NW));
    STORE(median_difference, median16(dW, dN, dNW));
    STORE(plane_difference, _mm_sub_epi16(_mm_add_epi16(dW, dNE), dN));
    STORE(mean_difference, _mm_add_epi16(dW, dN));
    STORE(grad, _mm_add_epi16(_mm_add_epi16(abs16(_mm_sub_epi16(W, NW)), abs16(_mm_sub_epi16(N, NW))),
                              abs16(_mm_sub_epi16(N, NE))));
#define ERRORS(t) abs16(_mm_loadl_epi64((const __m128i *)(const void *)(t).error))
    sum = _mm_add_epi16(ERRORS(t0[-1]), ERRORS(t1[0]));
    sum = _mm_add_epi16(_mm_add_epi16(sum, sum), _mm_add_epi16(ERRORS(t1[-1]), ERRORS(t1[1])));
    STORE(act, _mm_add_epi16(sum, ERRORS(t0[-2])));
#undef ERRORS
#undef FIRST
#undef STORE
}

/* Taps learn: goals are factors of the differences, in 2^-24. |64 * v| < 2^15 and |goals| < 2^15: products fit. */
INLINE void learn_taps(coder *s, const around *a, const int16_t goals[FILTERS][4][2])
{
    const __m128i *v = (const __m128i *)(const void *)a->v;
    int i, k;
    for (k = 0; k < FILTERS; k++) {
        __m128i g = _mm_load_si128((const __m128i *)(const void *)goals[k]), *t = (__m128i *)(void *)s->taps[k];
        for (i = 0; i < 8; i++) {
            __m128i d = _mm_slli_epi16(v[i], 6);
            d = _mm_add_epi16(_mm_mulhi_epi16(d, g), _mm_srli_epi16(_mm_mullo_epi16(d, g), 15));
            t[i] = _mm_adds_epi16(t[i], d);
        }
    }
}

#else

INLINE void look_around(const coder *s, int32_t x, around *a)
{
    const uint32_t *r0 = s->row[0] + x, *r1 = s->row[1] + x, *r2 = s->row[2] + x;
    const trace *t0 = s->trace[0] + x, *t1 = s->trace[1] + x;
    int c, i, k;
    for (c = 0; c < 4; c++) {
        int W = channel_of(r0[-1], c), WW = channel_of(r0[-2], c), N = channel_of(r1[0], c), NW = channel_of(r1[-1], c);
        int NE = channel_of(r1[1], c), NEE = channel_of(r1[2], c), NWW = channel_of(r1[-2], c);
        int NN = channel_of(r2[0], c), NNE = channel_of(r2[1], c), NNW = channel_of(r2[-1], c);
        int base = W + N, gW = channel_of(r0[-1], 0), gN = channel_of(r1[0], 0);
        int gNW = channel_of(r1[-1], 0), gNE = channel_of(r1[1], 0);
        const int16_t own[9] = {(int16_t)(W - N), (int16_t)(2 * NW - base), (int16_t)(2 * NE - base),
                                (int16_t)(WW - W), (int16_t)(NN - N), (int16_t)(NNE - NE), (int16_t)(NEE - NE),
                                (int16_t)(NWW - NW), (int16_t)(NNW - NW)};
        for (i = 0; i < 9; i++)
            a->v[i / 2][c][i % 2] = own[i];
        for (i = 0; i < 3; i++) /* the same of the channel before */
            a->v[(9 + i) / 2][c][(9 + i) % 2] = (int16_t)(c > 0 ? a->v[i / 2][c - 1][i % 2] : 0);
        for (i = 0; i < 2; i++) /* and of the one before that */
            a->v[6][c][i] = (int16_t)(c > 1 ? a->v[0][c - 2][i] : 0);
        for (k = 0; k < FILTERS; k++) {
            a->sums[k][c] = 0;
            for (i = 0; i < 14; i++)
                a->sums[k][c] += a->v[i / 2][c][i % 2] * s->taps[k][i / 2][c][i % 2];
        }
        a->norm[c] = 64;
        for (i = 0; i < 14; i++)
            a->norm[c] += a->v[i / 2][c][i % 2] * a->v[i / 2][c][i % 2];
        for (i = 0; i < 8; i++)
            a->wrong[c][i] =
                (uint16_t)(t0[-1].wrong[c][i] + t1[0].wrong[c][i] + t1[-1].wrong[c][i] + t1[1].wrong[c][i]);
        a->base[c] = (int16_t)base;
        a->median[c] = (int16_t)median(W, N, NW);
        a->median_difference[c] = (int16_t)median(W - gW, N - gN, NW - gNW);
        a->plane_difference[c] = (int16_t)(W - gW + NE - gNE - (N - gN));
        a->mean_difference[c] = (int16_t)(W - gW + N - gN);
        a->grad[c] = (int16_t)(abs(W - NW) + abs(N - NW) + abs(N - NE));
        a->act[c] = (int16_t)(2 * abs(t0[-1].error[c]) + 2 * abs(t1[0].error[c]) + abs(t1[-1].error[c]) +
                              abs(t1[1].error[c]) + abs(t0[-2].error[c]));
    }
}

INLINE void learn_taps(coder *s, const around *a, const int16_t goals[FILTERS][4][2])
{
    int i, k, c;
    for (k = 0; k < FILTERS; k++)
        for (c = 0; c < 4; c++)
            for (i = 0; i < 16; i++) {
                int16_t *t = &s->taps[k][i / 2][c][i % 2];
                *t = (int16_t)cwic_sat(*t + ((64 * a->v[i / 2][c][i % 2] * goals[k][c][0] + (1 << 15)) >> 16));
            }
}

#endif
#endif
