/* Residuals of mixed predictions; part of pixels_colour.h. */
#ifndef CWIC_PIXELS_RESIDUAL_H
#define CWIC_PIXELS_RESIDUAL_H

typedef struct {
    uint32_t *group[COLOUR_CONTEXTS];
    int16_t *wa, *wb;
    uint32_t (*final)[CWIC_FINALS];
    uint32_t (*digits)[16]; /* slots by power of two */
    int act;
} surroundings;

/* The decision `node` of a residual. */
INLINE int decide(coder *s, const surroundings *a, int node, int bit, const int contexts, int decoding)
{
    const int lanes = contexts > 7 ? 16 : 8;
    uint32_t *slots[COLOUR_CONTEXTS];
    int i;
    for (i = 0; i < contexts; i++)
        slots[i] = a->group[i] + node;
    return cwic_mix_under(&s->mixer, slots, contexts, a->wa + node * lanes, a->wb + node * lanes, CWIC_WEIGHT_START,
                          a->final[node], bit, 255, contexts > 7 ? 28 : 20, contexts > 7, decoding);
}

/* A residual r, -centre .. 255 - centre (on damaged streams within +-511): is it 0, is it negative, between which
 * powers of two is its magnitude, and where there: the first two digits under plain slots, the rest as they are. */
INLINE int code_residual(coder *s, const surroundings *a, int r, int centre, const int contexts, int decoding)
{
    int sign, limit, m, bucket = 0, k, digits = 0;
    if (decide(s, a, 0, r == 0, contexts, decoding))
        return 0;
    if (centre == 0 || centre == 255)
        sign = centre == 255;
    else
        sign = decide(s, a, 1, r < 0, contexts, decoding);
    limit = sign ? centre : 255 - centre;
    m = abs(r); /* 1 .. limit */
    while (bucket < 8 && limit > 1 << bucket &&
           decide(s, a, 2 + 7 * sign + (bucket < 6 ? bucket : 6), m > 1 << bucket, contexts, decoding))
        bucket++;
    if (bucket < 2) {
        m = bucket + 1;
    } else {
        int first = (1 << (bucket - 1)) + 1; /* of 2^(bucket - 1) */
        for (k = bucket - 2; k >= 0; k--) {
            int bit = (m - first) >> k & 1;
            if (k == bucket - 2)
                bit = cwic_slot_code(&s->mixer, a->digits[bucket - 1] + (a->act >> 1), bit, 255, decoding);
            else if (k == bucket - 3)
                bit = cwic_slot_code(&s->mixer, a->digits[bucket - 1] + 8 + digits, bit, 255, decoding);
            else
                bit = cwic_mix_code(&s->mixer, bit, 32768, decoding);
            digits = 2 * digits + bit;
        }
        m = digits + first;
    }
    return sign ? -m : m;
}

/* One channel of a pixel none of whose candidates was right; `now` holds the channels before. */
INLINE int code_channel(coder *s, around *a, int32_t x, int c, uint32_t now, int value, uint64_t key,
                        int16_t goals[FILTERS][4][2], const int contexts, int decoding)
{
    const uint32_t *r0 = s->row[0] + x, *r1 = s->row[1] + x;
    trace *t0 = s->trace[0] + x, *t1 = s->trace[1] + x;
    int32_t W = at(r0, -1, c), N = at(r1, 0, c), p[PREDICTORS], i, k, total = 0, mean = 0, centre, r;
    int32_t cross = 0, cross2 = 0, qa, qg, sc, fraction;
    uint32_t h[NEAR_CONTEXTS];
    uint64_t inverse, here, exact = (uint64_t)now * mul[4], l[COLOUR_CONTEXTS];
    surroundings g;
    if (c > 0) { /* the two differences that come late */
        int32_t late = 2 * channel_of(now, c - 1) - a->base[c - 1];
        int32_t later = c > 1 ? 2 * channel_of(now, c - 2) - a->base[c - 2] : 0;
        a->v[7][c][0] = (int16_t)late;
        a->v[7][c][1] = (int16_t)later;
        a->norm[c] += late * late + later * later;
        for (k = 0; k < FILTERS; k++)
            a->sums[k][c] += late * s->taps[k][7][c][0] + later * s->taps[k][7][c][1];
        cross = t0[0].error[c - 1];
        cross2 = c > 1 ? t0[0].error[c - 2] : 0;
    }
    inverse = (1u << 24) / (uint32_t)a->norm[c];
    /* |differences| <= 510 and |taps| <= 2^15: 16 products are below 2^28 */
    p[0] = cwic_clamp(8 * a->base[c] + (a->sums[0][c] >> 10), 0, 255 * 16);
    p[4] = cwic_clamp(8 * a->base[c] + (a->sums[1][c] >> 10), 0, 255 * 16);
    if (c == 0) {
        int32_t NE = at(r1, 1, 0);
        p[1] = 16 * a->median[0];
        p[2] = 16 * cwic_clamp(W + NE - N, 0, 255);
        p[3] = 8 * (W + NE);
    } else {
        int32_t first = channel_of(now, 0);
        p[1] = 16 * cwic_clamp(first + a->median_difference[c], 0, 255);
        p[2] = 16 * cwic_clamp(first + a->plane_difference[c], 0, 255);
        p[3] = cwic_clamp(16 * first + 8 * a->mean_difference[c], 0, 255 * 16);
    }
    for (i = 0; i < PREDICTORS; i++) {
        int32_t weight = s->blend[a->wrong[c][i]] << (i == 0);
        total += weight;
        mean += weight * p[i]; /* six times 2^13 * 2^12 at most */
    }
    mean = (int32_t)((uint32_t)mean / (uint32_t)total);
    centre = (mean + 8) >> 4;
    fraction = ((mean + 8) & 15) >> 2;
    qa = log_of(s, a->act[c] >> 4);
    qg = log_of(s, a->grad[c] >> 1);
    sc = signed_log(s, cross);
    h[0] = (uint32_t)((qa * 16 + sc) * 4 + fraction);
    h[1] = (uint32_t)((signed_log(s, p[3] - mean) * 16 + signed_log(s, p[1] - mean)) * 16 +
                      signed_log(s, p[2] - mean));
    h[2] = (uint32_t)((signed_log(s, (W * 16 - mean) >> 3) * 16 + signed_log(s, (N * 16 - mean) >> 3)) * 8 +
                      (qa >> 1));
    h[3] = (uint32_t)((signed_log(s, t0[-1].error[c] >> 3) * 16 + signed_log(s, t1[0].error[c] >> 3)) * 16 +
                      signed_log(s, t1[1].error[c] >> 3));
    h[4] = (uint32_t)((sc * 16 + signed_log(s, cross2)) * 16 + qg);
    for (i = 0; i < NEAR_CONTEXTS; i++) {
        uint32_t line = ((h[i] + 1) << 2 | (uint32_t)c) * 0x9e3779b1u >> (32 - s->colour_bits);
        g.group[i] = s->colours + (size_t)NODES * (line | (uint32_t)i << s->colour_bits);
    }
    /* Beside the very channels before: of the colours there are, few where they were made of those of another space. */
    here = ((uint64_t)(c + 1) << 40) + (uint64_t)centre;
    l[5] = here + (contexts == RICH_CONTEXTS ? exact : (uint64_t)now * mul[3] + key);
    l[6] = here + exact + (uint64_t)r0[-1] * mul[2];
    l[7] = here + exact + (uint64_t)r1[0] * mul[2];
    l[8] = here + exact;
    for (i = NEAR_CONTEXTS; i < contexts; i++)
        g.group[i] = s->values + 16 * (size_t)slot_index(l[i], i, s->value_bits);
    k = contexts > 7 ? 16 : 8;
    g.wa = s->colour_weights[0][c][NODES * k / CWIC_MIX_LANES * qa].w; /* in halves if there are 8 */
    g.wb = s->colour_weights[1][c][NODES * k / CWIC_MIX_LANES * (c ? sc : qg)].w;
    g.final = s->colour_final[c][qa >> 1];
    g.digits = s->digits[c];
    g.act = qa;
    r = code_residual(s, &g, value - centre, centre, contexts, decoding);
    value = (centre + r) & 255; /* beyond only on damaged streams */
    t0[0].error[c] = (int16_t)(16 * value - mean);
    for (i = 0; i < PREDICTORS; i++) {
        int32_t wrong = abs(16 * value - p[i]) >> 2;
        t0[0].wrong[c][i] = (uint8_t)(wrong > 255 ? 255 : wrong);
    }
    for (k = 0; k < FILTERS; k++) { /* |error| < 2^12, steps < 2^7 and inverse <= 2^18: below 2^37 */
        int32_t error = (16 * value - p[4 * k]) * steps[k];
        int64_t goal = (int64_t)error * (int64_t)inverse >> 16;
        goals[k][c][0] = goals[k][c][1] = (int16_t)(goal < -32767 ? -32767 : goal > 32767 ? 32767 : goal);
    }
    return value;
}

/* The channels of a pixel as residuals. */
INLINE uint32_t code_residuals(coder *s, int32_t x, uint32_t pixel, uint64_t key, const int contexts, int decoding)
{
    ALIGNED around a;
    ALIGNED int16_t goals[FILTERS][4][2];
    uint32_t now = 0;
    int c;
    memset(goals, 0, sizeof goals);
    memset(a.v[7], 0, sizeof a.v[7]);
    look_around(s, x, &a);
    for (c = 0; c < s->channels; c++)
        now |= (uint32_t)code_channel(s, &a, x, c, now, channel_of(pixel, c), key, goals, contexts, decoding) << 8 * c;
    learn_taps(s, &a, (const int16_t(*)[4][2])goals);
    return now;
}

#endif
