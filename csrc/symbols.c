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

/* Exp-Golomb code of order 0; r is at most 2 * CWIC_CODE_LIMIT - 16, below 2^MAX_DIGITS - 1. */
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

/* -log2(p / 2^16) in 1/256 bits, within 1/64 bit: the fraction of log2 by repeated squaring. */
static int32_t decision_cost(uint32_t p)
{
    uint32_t x = p, i;
    int32_t log = 15 * 256;
    while (x < 32768) {
        x <<= 1;
        log -= 256;
    }
    for (i = 128; i >= 4; i >>= 1) { /* x / 2^15 in [1, 2) */
        x = x * x >> 15;
        if (x >= 65536) {
            x >>= 1;
            log += (int32_t)i;
        }
    }
    return 16 * 256 - log;
}

/* Bits of symbol c in 1/256; what the coder writes for certain decisions and far symbols is only estimated. */
static int32_t symbol_cost(int32_t c, int32_t m, int32_t i)
{
    const uint16_t *step = cwic_step[i];
    int32_t k = m >> 4, f = m & 15, n, cost;
    uint32_t p;
    if (c > k) {
        cost = decision_cost(cwic_first[i][f]);
        for (n = 1; n <= STEPS && c > k + n; n++)
            cost += decision_cost(step[16 * n - f]);
        if (n <= STEPS)
            cost += decision_cost(65536u - step[16 * n - f]);
        return cost;
    }
    cost = decision_cost(65536u - cwic_first[i][f]);
    for (n = 1; n <= STEPS && c <= k - n; n++)
        cost += decision_cost(step[16 * n - 16 + f]);
    p = n <= STEPS ? 65536u - step[16 * n - 16 + f] : 65535u;
    return cost + decision_cost(p);
}

int32_t cwic_choose_symbol(int32_t c, int32_t exact, int32_t weight, int32_t m, int32_t i)
{
    int32_t near = (m + 8) >> 4, towards = c < near ? 1 : -1, cost, error = exact - 32 * c;
    if (c == near)
        return c;
    cost = symbol_cost(c, m, i);
    while (c != near) {
        int32_t next = symbol_cost(c + towards, m, i), farther = error - 32 * towards;
        /* Errors are below 2^15 in magnitude, so squares are below 2^30 and the product fits 64 bits. */
        int64_t loss = ((int64_t)weight * ((int64_t)farther * farther - (int64_t)error * error)) >> 10;
        if (loss + next >= cost)
            break;
        c += towards;
        cost = next;
        error = farther;
    }
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
