/* Model cwic2018: bits of the map and of the codes, plane by plane, each predicted from the 5x5x4 cuboid of bits around
 * it. FORMAT.md section 7.
 *
 * Bits stand in one array, [row][column][place], as 64 (a one), -64 (a zero) or 0 (not there: outside, masked or not
 * yet coded). So the cuboid of a bit is the same 25 x 4 places wherever it lies, and what is not yet coded adds
 * nothing. The part of the sum that bits coded before this run of a row give is found for the whole run at once; the
 * bits of the run itself are added to the two positions on their right as they come. */

#include <stdlib.h>
#include <string.h>

#include "affine.h"
#include "decisions.h"

enum {
    MAX_SIDE = 4096, /* in levels: tiles of 2^15 pixels */
    MAX_CHANNELS = 128,
    HIDDEN = 16,
    DEPTH = 4,      /* planes of the cuboid: three before and the bit's own */
    WINDOW = 25,    /* places of one of them */
    CENTRE = 12,    /* the bit's own place; those before it are coded */
    CUBOID = (DEPTH - 1) * WINDOW + CENTRE, /* places that can be coded before the bit */
    WEIGHTS = CUBOID * HIDDEN + HIDDEN * HIDDEN + HIDDEN,
    BIASES = 2 * HIDDEN + 1,
    ONE = 64,
    LOG_ODDS_MAX = CWIC_LOG_ODDS - 1
};

/* Predictor of one plane. */
typedef struct {
    cwic_affine near, mix;                 /* near: [WINDOW][DEPTH]; places that are never coded have weight 0 */
    int32_t left[2][HIDDEN];               /* what a one adds to the position on its right, and to the one after */
    int32_t near_bias[HIDDEN], mix_bias[HIDDEN], out[HIDDEN], out_bias;
} cwic_predictor;

struct cwic_planes {
    int32_t channels, levels, level_planes, group_count;
    int32_t groups[CWIC_MAX_GROUPS];
    cwic_affine_function *dense;
    cwic_predictor *predictors; /* [level_planes + channels] */
};

struct cwic_stack {
    const cwic_planes *planes;
    int32_t height, width;
    int32_t layer;    /* the next one; -1 after a failure */
    int32_t start;    /* channels coded so far */
    uint8_t *level;   /* [height][width] */
    int16_t *map_in;  /* the map's bits: [height + 4][width + 4][level_planes + 3], zeros around and in three places */
    int16_t *code_in; /* the codes', likewise with channels */
    int32_t *sums;    /* one row: [width][HIDDEN] */
};

/* ---- weights ----------------------------------------------------------------------------------------------- */

/* Whether |bias| + sum |weight| * input_max < 2^31 - 2^15 for each of `outputs` columns of [inputs][outputs]: then no
 * order of summation overflows 32 bits, and adding half a unit to round does not either. The sum is at most
 * 87 * 2^15 * 2^11 < 2^33. Inputs are at most 64 in magnitude in `near` and at most 2047 behind an activation. */
static int fits(const int16_t *weights, int32_t inputs, int32_t outputs, int64_t input_max, const int32_t *bias)
{
    int32_t i, o;
    for (o = 0; o < outputs; o++) {
        int64_t sum = 0;
        for (i = 0; i < inputs; i++)
            sum += labs((long)weights[i * outputs + o]);
        if (llabs((long long)bias[o]) + sum * input_max >= ((int64_t)1 << 31) - 32768)
            return 0;
    }
    return 1;
}

/* The place of input k, output o of an affine map's tap. */
static int16_t *slot(cwic_affine *a, int32_t tap, int32_t k, int32_t o)
{
    return a->weights + (((size_t)tap * (a->inputs / 2) + k / 2) * a->outputs + o) * 2 + k % 2;
}

static int32_t build(cwic_predictor *p, const int16_t *weights, const int32_t *biases)
{
    const int16_t *mix = weights + CUBOID * HIDDEN, *out = mix + HIDDEN * HIDDEN;
    int32_t i, o;
    if (!fits(weights, CUBOID, HIDDEN, ONE, biases) || !fits(mix, HIDDEN, HIDDEN, CWIC_ACTIVATION_MAX + 1, biases + HIDDEN) ||
        !fits(out, HIDDEN, 1, CWIC_ACTIVATION_MAX + 1, biases + 2 * HIDDEN))
        return CWIC_ERROR_WEIGHTS;
    if (!cwic_affine_shape(&p->near, WINDOW, DEPTH, HIDDEN) || !cwic_affine_shape(&p->mix, 1, HIDDEN, HIDDEN))
        return CWIC_ERROR_MEMORY;
    for (o = 0; o < HIDDEN; o++) {
        for (i = 0; i < CUBOID; i++)
            *slot(&p->near, i % WINDOW, i / WINDOW, o) = weights[i * HIDDEN + o];
        for (i = 0; i < HIDDEN; i++)
            *slot(&p->mix, 0, i, o) = mix[i * HIDDEN + o];
        for (i = 0; i < 2; i++)
            p->left[i][o] = ONE * weights[(CUBOID - 1 - i) * HIDDEN + o];
        p->near_bias[o] = biases[o];
        p->mix_bias[o] = biases[HIDDEN + o];
        p->out[o] = out[o];
    }
    p->out_bias = biases[2 * HIDDEN];
    return CWIC_OK;
}

cwic_planes *cwic_planes_new(const int16_t *weights, size_t weight_count, const int32_t *biases, size_t bias_count,
                             const int32_t *groups, int32_t group_count, int32_t levels, int32_t simd,
                             int32_t *result)
{
    cwic_planes *m;
    int32_t g, k, chosen, count, channels = 0, level_planes = 0;

    *result = CWIC_ERROR_WEIGHTS;
    if (group_count < 1 || group_count > CWIC_MAX_GROUPS || levels < 2 || levels > CWIC_MAX_LEVELS || (levels & (levels - 1)))
        return NULL;
    for (g = 0; g < group_count; g++) {
        if (groups[g] < 1 || groups[g] > MAX_CHANNELS - channels)
            return NULL;
        channels += groups[g];
    }
    while (1 << level_planes < levels)
        level_planes++;
    count = level_planes + channels;
    if (channels % levels || weight_count != (size_t)count * WEIGHTS || bias_count != (size_t)count * BIASES)
        return NULL;

    *result = CWIC_ERROR_MEMORY;
    m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    m->channels = channels;
    m->levels = levels;
    m->level_planes = level_planes;
    m->group_count = group_count;
    memcpy(m->groups, groups, (size_t)group_count * sizeof *groups);
    m->dense = cwic_affine_choose(simd, &chosen);
    m->predictors = calloc((size_t)count, sizeof *m->predictors);
    if (m->predictors)
        *result = CWIC_OK;
    for (k = 0; k < count && *result == CWIC_OK; k++)
        *result = build(&m->predictors[k], weights + (size_t)k * WEIGHTS, biases + (size_t)k * BIASES);
    if (*result != CWIC_OK) {
        cwic_planes_free(m);
        return NULL;
    }
    return m;
}

void cwic_planes_free(cwic_planes *planes)
{
    int32_t k;
    if (!planes)
        return;
    for (k = 0; planes->predictors && k < planes->level_planes + planes->channels; k++) {
        free(planes->predictors[k].near.weights);
        free(planes->predictors[k].mix.weights);
    }
    free(planes->predictors);
    free(planes);
}

/* ---- one tile ---------------------------------------------------------------------------------------------- */

cwic_stack *cwic_stack_new(const cwic_planes *planes, int32_t height, int32_t width, int32_t *result)
{
    cwic_stack *s;
    size_t h, w;
    *result = CWIC_ERROR_ARGUMENT;
    if (height < 1 || height > MAX_SIDE || width < 1 || width > MAX_SIDE)
        return NULL;
    h = (size_t)height;
    w = (size_t)width;
    *result = CWIC_ERROR_MEMORY;
    s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->planes = planes;
    s->height = height;
    s->width = width;
    s->level = cwic_zeros(h, w, 1, sizeof *s->level);
    s->map_in = cwic_zeros(h + 4, w + 4, (size_t)(planes->level_planes + DEPTH - 1), sizeof *s->map_in);
    s->code_in = cwic_zeros(h + 4, w + 4, (size_t)(planes->channels + DEPTH - 1), sizeof *s->code_in);
    s->sums = cwic_zeros(w, HIDDEN, 1, sizeof *s->sums);
    if (!s->level || !s->map_in || !s->code_in || !s->sums) {
        cwic_stack_free(s);
        return NULL;
    }
    *result = CWIC_OK;
    return s;
}

void cwic_stack_free(cwic_stack *stack)
{
    if (!stack)
        return;
    free(stack->level);
    free(stack->map_in);
    free(stack->code_in);
    free(stack->sums);
    free(stack);
}

/* One plane while it is coded; exactly one of the coders is there. */
typedef struct {
    cwic_stack *stack;
    const cwic_predictor *predictor;
    cwic_encoder *encoder;
    cwic_decoder *decoder;
    int16_t *bits;   /* cuboid's first plane at position (0, 0); the bit itself is DEPTH - 1 places on */
    int32_t step;    /* from one position to the next */
    ptrdiff_t pitch; /* from one row to the next */
    int32_t offsets[WINDOW];
} cwic_plane;

static cwic_plane plane_of(cwic_stack *s, int map, int32_t k, cwic_encoder *e, cwic_decoder *d)
{
    cwic_plane p;
    int32_t i;
    p.stack = s;
    p.predictor = &s->planes->predictors[map ? k : s->planes->level_planes + k];
    p.encoder = e;
    p.decoder = d;
    p.step = (map ? s->planes->level_planes : s->planes->channels) + DEPTH - 1;
    p.pitch = (ptrdiff_t)(s->width + 4) * p.step;
    p.bits = (map ? s->map_in : s->code_in) + 2 * p.pitch + 2 * p.step + k;
    for (i = 0; i < WINDOW; i++)
        p.offsets[i] = (int32_t)((i / 5 - 2) * p.pitch) + (i % 5 - 2) * p.step; /* below 3 * 4100 * 131 */
    return p;
}

static void activate(const int32_t *sums, int16_t *out)
{
    int32_t i;
    for (i = 0; i < HIDDEN; i++) {
        int32_t x = (sums[i] + 2048) >> 12;
        out[i] = (int16_t)(x < 0 ? 0 : x > CWIC_ACTIVATION_MAX ? CWIC_ACTIVATION_MAX : x);
    }
}

/* Probability of a one, from the first layer's sums. */
static uint32_t predict(const cwic_plane *p, const int32_t *sums)
{
    static const int32_t origin[1] = {0};
    const cwic_predictor *n = p->predictor;
    int16_t hidden[HIDDEN];
    int32_t wide[HIDDEN], odds = n->out_bias, i;
    activate(sums, hidden);
    p->stack->planes->dense(&n->mix, hidden, origin, 0, n->mix_bias, 0, wide, 1);
    activate(wide, hidden);
    for (i = 0; i < HIDDEN; i++)
        odds += n->out[i] * hidden[i];
    odds = (odds + 512) >> 10;
    odds = odds < -LOG_ODDS_MAX ? -LOG_ODDS_MAX : odds > LOG_ODDS_MAX ? LOG_ODDS_MAX : odds;
    return cwic_probabilities[(odds + LOG_ODDS_MAX + 1) >> 1];
}

/* Codes the bits at columns from .. to - 1 of a row: those of value's bit `shift`, which a decoder sets. */
static void code_run(cwic_plane *p, int32_t y, int32_t from, int32_t to, int16_t *value, int shift)
{
    int16_t *at = p->bits + y * p->pitch + (ptrdiff_t)from * p->step;
    int32_t *sums = p->stack->sums, x, i, o;
    p->stack->planes->dense(&p->predictor->near, at, p->offsets, (size_t)p->step, p->predictor->near_bias, 0, sums,
                            to - from);
    for (x = from; x < to; x++, at += p->step, sums += HIDDEN) {
        uint32_t probability = predict(p, sums);
        int bit;
        if (p->encoder) {
            bit = value[x] >> shift & 1;
            cwic_encode(p->encoder, bit, probability);
        } else {
            bit = cwic_decode(p->decoder, probability);
            value[x] = (int16_t)(value[x] | bit << shift);
        }
        at[DEPTH - 1] = (int16_t)(bit ? ONE : -ONE);
        for (i = 0; i < 2 && x + 1 + i < to; i++)
            for (o = 0; o < HIDDEN; o++)
                sums[(1 + i) * HIDDEN + o] += bit ? p->predictor->left[i][o] : -p->predictor->left[i][o];
    }
}

/* ---- layers ------------------------------------------------------------------------------------------------ */

static int32_t code_map(cwic_stack *s, cwic_encoder *e, cwic_decoder *d, int16_t *levels)
{
    const int32_t planes = s->planes->level_planes, count = s->height * s->width;
    int32_t k, y, i;
    for (i = 0; i < count; i++) {
        if (d)
            levels[i] = 0;
        else if (levels[i] < 0 || levels[i] >= s->planes->levels)
            return CWIC_ERROR_ARGUMENT;
    }
    for (k = 0; k < planes; k++) {
        cwic_plane p = plane_of(s, 1, k, e, d);
        for (y = 0; y < s->height; y++) {
            code_run(&p, y, 0, s->width, levels + (ptrdiff_t)y * s->width, planes - 1 - k);
            if (d && cwic_decoder_short(d) != CWIC_OK)
                return CWIC_ERROR_SHORT;
        }
    }
    for (i = 0; i < count; i++)
        s->level[i] = (uint8_t)levels[i];
    return CWIC_OK;
}

static int32_t code_channel(cwic_stack *s, cwic_encoder *e, cwic_decoder *d, int32_t k, int16_t *bits)
{
    const int32_t needed = k / (s->planes->channels / s->planes->levels);
    cwic_plane p = plane_of(s, 0, k, e, d);
    int32_t y, x;
    for (y = 0; y < s->height; y++, bits += s->width) {
        const uint8_t *level = s->level + (ptrdiff_t)y * s->width;
        for (x = 0; x < s->width;) {
            int32_t from = x;
            for (; x < s->width && level[x] >= needed; x++) {
                if (d)
                    bits[x] = 0;
                else if (bits[x] < 0 || bits[x] > 1)
                    return CWIC_ERROR_ARGUMENT;
            }
            if (x > from)
                code_run(&p, y, from, x, bits, 0);
            for (; x < s->width && level[x] < needed; x++)
                bits[x] = 0;
        }
        if (d && cwic_decoder_short(d) != CWIC_OK)
            return CWIC_ERROR_SHORT;
    }
    return CWIC_OK;
}

static int32_t next_layer(cwic_stack *s, cwic_encoder *e, cwic_decoder *d, int16_t *symbols)
{
    int32_t i, count, result = CWIC_OK;
    if (s->layer < 0 || s->layer > s->planes->group_count)
        return CWIC_ERROR_ARGUMENT;
    if (s->layer == 0) {
        result = code_map(s, e, d, symbols);
    } else {
        count = s->planes->groups[s->layer - 1];
        for (i = 0; i < count && result == CWIC_OK; i++)
            result = code_channel(s, e, d, s->start + i, symbols + (size_t)i * s->height * s->width);
        s->start += count;
    }
    if (result == CWIC_OK)
        result = e ? cwic_encoder_finish(e) : cwic_decoder_finish(d);
    s->layer = result == CWIC_OK ? s->layer + 1 : -1;
    return result;
}

int32_t cwic_stack_encode(cwic_stack *stack, int16_t *symbols, uint8_t *out, size_t capacity, size_t *written)
{
    cwic_encoder e;
    int32_t result;
    cwic_encoder_init(&e, out, capacity);
    result = next_layer(stack, &e, NULL, symbols);
    *written = e.length;
    return result;
}

int32_t cwic_stack_decode(cwic_stack *stack, const uint8_t *data, size_t length, int16_t *symbols)
{
    cwic_decoder d;
    cwic_decoder_init(&d, data, length);
    return next_layer(stack, NULL, &d, symbols);
}
