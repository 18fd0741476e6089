/* Codes as nested decisions "c > k" around their predicted mean: FORMAT.md section 4. */

#include "decisions.h"

enum {
    STEPS = 16,   /* decisions on either side of the mean before the rest is an Exp-Golomb code */
    MAX_DIGITS = 10,
    CERTAIN = 2129, /* a decision whose log odds are beyond this, 1 in 4096, is not written */
    HALF = 32768
};

CWIC_CHECK((int)CERTAIN < (int)CWIC_LOG_ODDS);

enum { FIRST, UP, DOWN }; /* kinds of decisions */

static inline int32_t within(int32_t x, int32_t limit) { return cwic_clamp(x, -limit, limit); }

/* The tables' entries are below CWIC_LOG_ODDS in magnitude and 2^16 + slope is at most 3 * 2^15, so the product is below 2^29. */
static inline uint32_t probability(const cwic_corrections *k, int kind, int32_t odds)
{
    int32_t z = ((65536 + k->channel->slope[kind]) * odds >> 16) +
                ((k->channel->bias[kind] + k->around->bias[kind]) >> 8);
    return cwic_probabilities[(within(z, CWIC_LOG_ODDS - 1) + CWIC_LOG_ODDS) >> 1];
}

/* One step down the gradient of the code length: e is below 2^16 in magnitude, e * odds below 2^28. */
static inline void learn(const cwic_corrections *k, int kind, int32_t odds, int bit, uint32_t p)
{
    int32_t e = (bit ? 65536 : 0) - (int32_t)p, step = (5 * e + 128) >> 8;
    k->channel->slope[kind] = within(k->channel->slope[kind] + ((e * odds + 16384) >> 15), 1 << 15);
    k->channel->bias[kind] = within(k->channel->bias[kind] + step, 1 << 19);
    k->around->bias[kind] = within(k->around->bias[kind] + step, 1 << 19);
}

/* Returns the decision as the decoder will see it: `bit`, or the certain outcome. */
static inline int put(cwic_encoder *e, const cwic_corrections *k, int kind, int32_t odds, int bit)
{
    uint32_t p;
    if (odds < -CERTAIN)
        return 0;
    if (odds > CERTAIN)
        return 1;
    p = probability(k, kind, odds);
    cwic_encode(e, bit, p);
    learn(k, kind, odds, bit, p);
    return bit;
}

static inline int get(cwic_decoder *d, const cwic_corrections *k, int kind, int32_t odds)
{
    uint32_t p;
    int bit;
    if (odds < -CERTAIN)
        return 0;
    if (odds > CERTAIN)
        return 1;
    p = probability(k, kind, odds);
    bit = cwic_decode(d, p);
    learn(k, kind, odds, bit, p);
    return bit;
}

CWIC_CHECK(2 * CWIC_CODE_LIMIT - STEPS < (1 << MAX_DIGITS) - 1);

/* Exp-Golomb code of order 0; r is at most 2 * CWIC_CODE_LIMIT - STEPS. */
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

/* A forced outcome always shortens the walk (no entry of STEP is above CERTAIN, which the self-test checks), so what is
 * written lies between the mean and c, and the rest of a walk of STEPS is never negative. */
int32_t cwic_encode_symbol(cwic_encoder *e, const cwic_corrections *k, int32_t c, int32_t m, int32_t i)
{
    const int16_t *step = cwic_step[i];
    int32_t low = m >> 4, f = m & 15, n;
    if (put(e, k, FIRST, cwic_first[i][f], c > low)) {
        for (n = 1; n <= STEPS; n++)
            if (!put(e, k, UP, step[16 * n - f], c > low + n))
                return low + n;
        put_rest(e, (uint32_t)(c - low - (STEPS + 1)));
        return c;
    }
    for (n = 1; n <= STEPS; n++)
        if (put(e, k, DOWN, -step[16 * n - 16 + f], c > low - n))
            return low - n + 1;
    put_rest(e, (uint32_t)(low - STEPS - c));
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

/* Cost of a decision; one that would be certain is taken at what it would cost if it were written. */
static int32_t cost_of(const cwic_corrections *k, int kind, int32_t odds, int bit)
{
    uint32_t p = probability(k, kind, odds);
    return decision_cost(bit ? p : 65536u - p);
}

/* Bits of symbol c in 1/256; what the coder writes for certain decisions and far symbols is only estimated. */
static int32_t symbol_cost(const cwic_corrections *k, int32_t c, int32_t m, int32_t i)
{
    const int16_t *step = cwic_step[i];
    int32_t low = m >> 4, f = m & 15, n, cost = cost_of(k, FIRST, cwic_first[i][f], c > low);
    if (c > low) {
        for (n = 1; n <= STEPS && c > low + n; n++)
            cost += cost_of(k, UP, step[16 * n - f], 1);
        return n <= STEPS ? cost + cost_of(k, UP, step[16 * n - f], 0) : cost;
    }
    for (n = 1; n <= STEPS && c <= low - n; n++)
        cost += cost_of(k, DOWN, -step[16 * n - 16 + f], 0);
    return n <= STEPS ? cost + cost_of(k, DOWN, -step[16 * n - 16 + f], 1) : cost;
}

int32_t cwic_choose_symbol(const cwic_corrections *k, int32_t c, int32_t exact, int32_t weight, int32_t m, int32_t i)
{
    int32_t near = (m + 8) >> 4, towards = c < near ? 1 : -1, cost, error = exact - 32 * c;
    if (c == near)
        return c;
    cost = symbol_cost(k, c, m, i);
    while (c != near) {
        int32_t next = symbol_cost(k, c + towards, m, i), farther = error - 32 * towards;
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

int32_t cwic_decode_symbol(cwic_decoder *d, const cwic_corrections *k, int32_t m, int32_t i)
{
    const int16_t *step = cwic_step[i];
    int32_t low = m >> 4, f = m & 15, n;
    if (get(d, k, FIRST, cwic_first[i][f])) {
        for (n = 1; n <= STEPS; n++)
            if (!get(d, k, UP, step[16 * n - f]))
                return low + n;
        return low + (STEPS + 1) + get_rest(d);
    }
    for (n = 1; n <= STEPS; n++)
        if (get(d, k, DOWN, -step[16 * n - 16 + f]))
            return low - n + 1;
    return low - STEPS - get_rest(d);
}
