/* Codes as nested decisions "c > k" around their predicted mean: FORMAT.md section 4. */

#include "internal.h"

enum {
    STEPS = 16,   /* decisions on either side of the mean before the rest is an Exp-Golomb code */
    MAX_DIGITS = 10,
    CERTAIN = 16, /* a decision whose unlikely outcome has a smaller probability is not written */
    HALF = 32768
};

/* Returns the decision as the decoder will see it: `bit`, or the certain outcome. */
static inline int put(cwic_encoder *e, int bit, uint32_t p)
{
    if (p < CERTAIN)
        return 0;
    if (p > 65536 - CERTAIN)
        return 1;
    cwic_encode(e, bit, p);
    return bit;
}

static inline int get(cwic_decoder *d, uint32_t p)
{
    if (p < CERTAIN)
        return 0;
    if (p > 65536 - CERTAIN)
        return 1;
    return cwic_decode(d, p);
}

/* Exp-Golomb code of order 0; r is at most 2 * (CWIC_CODE_LIMIT + 255), far below 2^MAX_DIGITS. */
static void put_rest(cwic_encoder *e, uint32_t r)
{
    int digits = 0, i;
    while ((r + 1) >> (digits + 1))
        digits++;
    for (i = 0; i < digits; i++)
        cwic_encode(e, 1, HALF);
    if (digits < MAX_DIGITS)
        cwic_encode(e, 0, HALF);
    for (i = digits - 1; i >= 0; i--)
        cwic_encode(e, (int)((r + 1) >> i & 1), HALF);
}

static int32_t get_rest(cwic_decoder *d)
{
    int digits = 0, i;
    int32_t r = 1;
    while (digits < MAX_DIGITS && cwic_decode(d, HALF))
        digits++;
    for (i = 0; i < digits; i++)
        r = 2 * r + cwic_decode(d, HALF);
    return r - 1; /* at most 2^11 - 2 */
}

/* A forced outcome always shortens the walk (no entry of STEP is above 65520, which the self-test checks), so what is
 * written lies between the mean and c, and the rest of a walk of STEPS is never negative. */
int32_t cwic_encode_symbol(cwic_encoder *e, int32_t c, int32_t m, int32_t i)
{
    const uint16_t *step = cwic_step[i];
    int32_t k = m >> 4, f = m & 15, n;
    if (put(e, c > k, cwic_first[i][f])) {
        for (n = 1; n <= STEPS; n++)
            if (!put(e, c > k + n, step[16 * n - f]))
                return k + n;
        put_rest(e, (uint32_t)(c - k - (STEPS + 1)));
        return c;
    }
    for (n = 1; n <= STEPS; n++)
        if (put(e, c > k - n, 65536u - step[16 * n - 16 + f]))
            return k - n + 1;
    put_rest(e, (uint32_t)(k - STEPS - c));
    return c;
}

int32_t cwic_decode_symbol(cwic_decoder *d, int32_t m, int32_t i)
{
    const uint16_t *step = cwic_step[i];
    int32_t k = m >> 4, f = m & 15, n;
    if (get(d, cwic_first[i][f])) {
        for (n = 1; n <= STEPS; n++)
            if (!get(d, step[16 * n - f]))
                return k + n;
        return k + (STEPS + 1) + get_rest(d);
    }
    for (n = 1; n <= STEPS; n++)
        if (get(d, 65536u - step[16 * n - 16 + f]))
            return k - n + 1;
    return k - STEPS - get_rest(d);
}
