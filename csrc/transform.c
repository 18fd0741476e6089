/* The transforms' weights: checked, repacked. FORMAT.md sections 6.6 to 6.8. */

#include <stdlib.h>
#include <string.h>

#include "transform.h"

enum { MAX_WIDE = 512, MAX_BLOCKS = 64, MAX_CHANNELS = CWIC_BLOCK_VALUES, MAX_FEATURES = 1024, MAX_SHIFT = 24 };
CWIC_CHECK(2 * MAX_WIDE <= CWIC_MAX_INPUTS);

/* ---- the arrays, in order ---------------------------------------------------------------------------------- */

/* A reader over the three arrays; their lengths were checked before, so it cannot run past them. */
typedef struct {
    const int32_t *words;
    const int16_t *halves;
    const int8_t *bytes;
} cursor;

static const int32_t *take_words(cursor *c, size_t n) { return (c->words += n) - n; }
static const int16_t *take_halves(cursor *c, size_t n) { return (c->halves += n) - n; }
static const int8_t *take_bytes(cursor *c, size_t n) { return (c->bytes += n) - n; }

static int shape_is_valid(const cwic_shape *s, int synthesis)
{
    return s->wide >= 32 && s->wide <= MAX_WIDE && s->wide % 32 == 0 && s->blocks >= 0 && s->blocks <= MAX_BLOCKS &&
           s->fine >= 0 && s->fine <= (synthesis ? s->blocks : 0) &&
           s->channels >= 2 && s->channels <= MAX_CHANNELS && s->channels % 2 == 0 &&
           (synthesis || (s->features >= 1 && s->features <= MAX_FEATURES && s->levels >= 1 && s->levels <= CWIC_MAX_LEVELS));
}

/* With the largest shape some 10^8 in all, so that no size overflows 32 bits. */
static int lengths_fit(const cwic_shape *s, int synthesis, const cwic_arrays *a)
{
    const size_t n = (size_t)s->wide, b = (size_t)s->blocks, c = (size_t)s->channels, v = CWIC_BLOCK_VALUES;
    const size_t k = (size_t)s->features, inputs = synthesis ? c : v, outputs = synthesis ? v : c;
    size_t words = 2 + 4 * b + CWIC_GAIN_ENTRIES * c + n + 5 * n * b + outputs;
    size_t halves = inputs * n + 2 * CWIC_RATE_ENTRIES * n + 9 * n * b + n + (n + inputs) * outputs;
    if (!synthesis) {
        words += 1 + k + 1 + (size_t)s->levels - 1;
        halves += CWIC_HEAD_TAPS * n * k + k;
    }
    if (s->normalised) {
        words += (synthesis ? 2 : 3) + c + CWIC_RATE_ENTRIES * c;
        halves += c * c;
    }
    return a->word_count == words && a->half_count == halves && a->byte_count == b * (6 * n * n + 9 * n);
}

/* ---- the proof that sums fit, section 6.6 ------------------------------------------------------------------ */

static int are_within(const int16_t *values, size_t count, int32_t low)
{
    size_t i;
    for (i = 0; i < count; i++)
        if (values[i] < low || values[i] == -32768)
            return 0;
    return 1;
}

static int are_at_least(const int32_t *values, size_t count, int32_t low)
{
    size_t i;
    for (i = 0; i < count; i++)
        if (values[i] < low)
            return 0;
    return 1;
}

/* Adds reach * |weight| of every input to each output's bound; weights [inputs][outputs]. */
static void add16(int64_t *bound, const int16_t *weights, int32_t inputs, int32_t outputs, int64_t reach)
{
    int32_t i, o;
    for (i = 0; i < inputs; i++)
        for (o = 0; o < outputs; o++)
            bound[o] += reach * labs((long)*weights++);
}

static void add8(int64_t *bound, const int8_t *weights, int32_t inputs, int32_t outputs, int64_t reach)
{
    int32_t i, o;
    for (i = 0; i < inputs; i++)
        for (o = 0; o < outputs; o++)
            bound[o] += reach * abs(*weights++);
}

/* Whether |bias| and the bounds stay below the limit; the bounds are zeros again after. */
static int stay_below(int64_t *bound, const int32_t *bias, int32_t outputs, int64_t limit)
{
    int32_t o, fits = 1;
    for (o = 0; o < outputs; o++) {
        fits &= bound[o] + (bias ? llabs((long long)bias[o]) : 0) < limit;
        bound[o] = 0;
    }
    return fits;
}

/* ---- building ---------------------------------------------------------------------------------------------- */

static int16_t *weight_of(cwic_affine *a, int32_t tap, int32_t input, int32_t output)
{
    return a->weights + (((size_t)tap * (a->inputs / 2) + input / 2) * a->outputs + output) * 2 + input % 2;
}

/* Weights [inputs][outputs] of one tap become those of an affine map's inputs from `first` on. */
static void put(cwic_affine *a, int32_t tap, int32_t first, const int16_t *weights, int32_t inputs, int32_t outputs)
{
    int32_t i, o;
    for (i = first; i < first + inputs; i++)
        for (o = 0; o < outputs; o++)
            *weight_of(a, tap, i, o) = *weights++;
}

static int32_t *padded_bias(const cwic_affine *a, const int32_t *bias, int32_t count)
{
    int32_t *copy = calloc((size_t)a->outputs, sizeof *copy);
    if (copy && bias)
        memcpy(copy, bias, (size_t)count * sizeof *copy);
    return copy;
}

static int shift_is_valid(int32_t shift) { return shift >= 0 && shift <= MAX_SHIFT; }

/* One product of a block; its multipliers are checked by the caller. */
static int32_t product(const cwic_transform *t, cwic_affine8 *a, int32_t inputs, int32_t outputs, int32_t positive,
                       int32_t shift, const int8_t *weights, const int32_t *bias, const int16_t *multiplier,
                       int64_t *bound)
{
    a->inputs = inputs;
    a->outputs = outputs;
    a->positive = positive;
    a->shift = shift;
    a->multiplier = multiplier;
    add8(bound, weights, inputs, outputs, 127);
    if (!stay_below(bound, bias, outputs, (int64_t)1 << 24) || !shift_is_valid(shift))
        return CWIC_ERROR_WEIGHTS;
    return t->kernels->pack(a, weights, bias) ? CWIC_OK : CWIC_ERROR_MEMORY;
}

/* One product of a fine block's upper half, whose multipliers are checked by the caller. */
static int32_t fine_product(cwic_affine8 *a, cwic_affine *fine, int32_t wide, int32_t shift, const int8_t *weights,
                            const int32_t *bias, const int16_t *multiplier, int64_t *bound)
{
    int32_t i, o;
    a->shift = shift;
    a->multiplier = multiplier;
    add8(bound, weights, wide, wide, CWIC_OPERAND_LIMIT);
    if (!stay_below(bound, bias, wide, (int64_t)1 << 31) || !shift_is_valid(shift))
        return CWIC_ERROR_WEIGHTS;
    if (!cwic_affine_shape(fine, 1, wide, wide))
        return CWIC_ERROR_MEMORY;
    for (i = 0; i < wide; i++)
        for (o = 0; o < wide; o++)
            *weight_of(fine, 0, i, o) = *weights++;
    return CWIC_OK;
}

static int32_t build_block(cwic_transform *t, cwic_block *b, int32_t fine, cursor *c, const int32_t *shifts, int64_t *bound)
{
    const int32_t n = t->shape.wide;
    const size_t square = (size_t)n * n;
    const int32_t *biases = take_words(c, 5 * (size_t)n);
    const int16_t *halves = take_halves(c, 9 * (size_t)n);
    const int8_t *bytes = take_bytes(c, 6 * square + 9 * (size_t)n), *after;
    int32_t result, k, bias32[MAX_WIDE];
    b->operand1 = halves;
    b->space_bias = halves + 2 * n;
    b->space_m = halves + 3 * n;
    b->operand2 = halves + 5 * n;
    b->space = bytes + square;
    if (!are_within(halves, 2 * (size_t)n, 0) || !are_within(halves + 3 * n, 6 * (size_t)n, 0))
        return CWIC_ERROR_WEIGHTS;
    b->before_bias = biases;
    b->after_bias = biases + n;
    after = b->space + 9 * (size_t)n;
    if (fine) {
        result = fine_product(&b->before, &b->fine_before, n, shifts[0], bytes, biases, halves + n, bound);
        if (result == CWIC_OK)
            result = fine_product(&b->after, &b->fine_after, n, shifts[1], after, biases + n, halves + 4 * n, bound);
    } else {
        for (k = 0; k < n; k++)
            bias32[k] = b->space_bias[k];
        add8(bound, b->space, 9, n, 127);
        if (!stay_below(bound, bias32, n, 1 << 15))
            return CWIC_ERROR_WEIGHTS;
        result = product(t, &b->before, n, n, 0, shifts[0], bytes, biases, halves + n, bound);
        if (result == CWIC_OK)
            result = product(t, &b->after, n, n, 0, shifts[1], after, biases + n, halves + 4 * n, bound);
    }
    bytes = after;
    if (result == CWIC_OK)
        result = product(t, &b->widen, n, 2 * n, 0, shifts[2], bytes + square, biases + 2 * n, halves + 6 * n, bound);
    if (result == CWIC_OK)
        result = product(t, &b->narrow, 2 * n, n, 1, shifts[3], bytes + 3 * square, biases + 4 * n, halves + 8 * n, bound);
    return result;
}

/* The map's head: its biases and thresholds lie behind the exit's in words, its weights behind the exit's in halves. */
static int32_t build_head(cwic_transform *t, cursor *c, int64_t *bound)
{
    const int32_t n = t->shape.wide, k = t->shape.features;
    const int32_t *bias = take_words(c, (size_t)k), *out_bias = take_words(c, 1);
    const int16_t *weights = take_halves(c, CWIC_HEAD_TAPS * (size_t)n * k);
    int32_t tap;
    t->out_bias = *out_bias;
    t->thresholds = take_words(c, (size_t)t->shape.levels - 1);
    t->head_out = take_halves(c, (size_t)k);
    add16(bound, weights, CWIC_HEAD_TAPS * n, k, CWIC_OPERAND_LIMIT);
    if (!stay_below(bound, bias, k, (int64_t)1 << 31))
        return CWIC_ERROR_WEIGHTS;
    add16(bound, t->head_out, k, 1, CWIC_OPERAND_LIMIT);
    if (!stay_below(bound, out_bias, 1, (int64_t)1 << 31) || !shift_is_valid(t->head_shift))
        return CWIC_ERROR_WEIGHTS;
    if (!cwic_affine_shape(&t->head, CWIC_HEAD_TAPS, n, k) || !(t->head_bias = padded_bias(&t->head, bias, k)))
        return CWIC_ERROR_MEMORY;
    for (tap = 0; tap < CWIC_HEAD_TAPS; tap++)
        put(&t->head, tap, 0, weights + (size_t)tap * n * k, n, k);
    return CWIC_OK;
}

static int32_t build_normalisation(cwic_transform *t, cursor *c, int64_t *bound)
{
    const int32_t channels = t->shape.channels;
    const int16_t *mixture = take_halves(c, (size_t)channels * channels);
    int32_t k;
    t->floor = take_words(c, (size_t)channels);
    t->rate = take_words(c, CWIC_RATE_ENTRIES * (size_t)channels);
    add16(bound, mixture, channels, channels, 32767);
    if (!stay_below(bound, NULL, channels, (int64_t)1 << 31) || !are_within(mixture, (size_t)channels * channels, 0) ||
        !are_at_least(t->floor, (size_t)channels, t->synthesis ? 0 : 1) || !shift_is_valid(t->r) ||
        !are_at_least(t->rate, CWIC_RATE_ENTRIES * (size_t)channels, 0) || !shift_is_valid(t->s) || !shift_is_valid(t->n))
        return CWIC_ERROR_WEIGHTS;
    for (k = 0; !t->synthesis && k < channels; k++)
        if (t->floor[k] > 1 << 24)
            return CWIC_ERROR_WEIGHTS;
    if (!cwic_affine_shape(&t->mixture, 1, channels, channels))
        return CWIC_ERROR_MEMORY;
    put(&t->mixture, 0, 0, mixture, channels, channels);
    return CWIC_OK;
}

/* All parts, in the order of the arrays. */
static int32_t build(cwic_transform *t)
{
    const cwic_shape *s = &t->shape;
    const int32_t n = s->wide, in = t->inputs, out = t->outputs;
    cursor c = {t->words, t->halves, t->bytes};
    int64_t bound[MAX_FEATURES] = {0};
    const int32_t *shifts = take_words(&c, 2 + 4 * (size_t)s->blocks), *bias, *exit_bias;
    const int16_t *weights, *leave, *linear;
    int32_t b, result = CWIC_OK;

    t->enter_shift = shifts[0];
    t->exit_shift = shifts[1 + 4 * s->blocks];
    if (!t->synthesis)
        t->head_shift = *take_words(&c, 1);
    if (s->normalised) {
        t->r = *take_words(&c, 1);
        t->s = *take_words(&c, 1);
        t->n = t->synthesis ? 0 : *take_words(&c, 1);
    }
    t->gain = take_words(&c, CWIC_GAIN_ENTRIES * (size_t)s->channels);
    bias = take_words(&c, (size_t)n);
    weights = take_halves(&c, (size_t)in * n);
    t->multiplier = take_halves(&c, CWIC_RATE_ENTRIES * (size_t)n);
    t->offset = take_halves(&c, CWIC_RATE_ENTRIES * (size_t)n);
    add16(bound, weights, in, n, t->synthesis ? CWIC_LATENT_LIMIT : 128);
    if (!stay_below(bound, bias, n, (int64_t)1 << 31) || !shift_is_valid(t->enter_shift) || !shift_is_valid(t->exit_shift) ||
        !are_within(t->multiplier, CWIC_RATE_ENTRIES * (size_t)n, -32767) ||
        !are_at_least(t->gain, CWIC_GAIN_ENTRIES * (size_t)s->channels, 0))
        return CWIC_ERROR_WEIGHTS;
    if (!cwic_affine_shape(&t->enter, 1, in, n) || !(t->enter_bias = padded_bias(&t->enter, bias, n)))
        return CWIC_ERROR_MEMORY;
    put(&t->enter, 0, 0, weights, in, n);

    for (b = 0; b < s->blocks && result == CWIC_OK; b++)
        result = build_block(t, &t->blocks[b], b < s->fine, &c, shifts + 1 + 4 * b, bound);
    if (result != CWIC_OK)
        return result;

    exit_bias = take_words(&c, (size_t)out);
    t->operand = take_halves(&c, (size_t)n);
    leave = take_halves(&c, (size_t)n * out);
    linear = take_halves(&c, (size_t)in * out);
    add16(bound, leave, n, out, CWIC_OPERAND_LIMIT);
    add16(bound, linear, in, out, t->synthesis ? CWIC_LATENT_LIMIT : 128);
    if (!stay_below(bound, exit_bias, out, (int64_t)1 << 31) || !are_within(t->operand, (size_t)n, 0))
        return CWIC_ERROR_WEIGHTS;
    if (!cwic_affine_shape(&t->exit, 1, n + in, out) || !(t->exit_bias = padded_bias(&t->exit, exit_bias, out)))
        return CWIC_ERROR_MEMORY;
    put(&t->exit, 0, 0, leave, n, out);
    put(&t->exit, 0, n, linear, in, out);

    if (!t->synthesis)
        result = build_head(t, &c, bound);
    if (result == CWIC_OK && s->normalised)
        result = build_normalisation(t, &c, bound);
    return result;
}

static void *copy_of(const void *from, size_t size)
{
    void *copy = malloc(size ? size : 1);
    if (copy && size)
        memcpy(copy, from, size);
    return copy;
}

static cwic_transform *transform_new(int32_t synthesis, const cwic_shape *shape, const cwic_arrays *a, int32_t simd,
                                     int32_t *result)
{
    int32_t chosen;
    cwic_transform *t;
    *result = CWIC_ERROR_WEIGHTS;
    if (!shape_is_valid(shape, synthesis) || !lengths_fit(shape, synthesis, a))
        return NULL;
    *result = CWIC_ERROR_MEMORY;
    t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->synthesis = synthesis;
    t->shape = *shape;
    t->inputs = synthesis ? shape->channels : CWIC_BLOCK_VALUES;
    t->outputs = synthesis ? CWIC_BLOCK_VALUES : shape->channels;
    t->kernels = cwic_blocks_choose(simd);
    t->dense = cwic_affine_choose(simd, &chosen);
    t->rows = cwic_rows_choose(simd);
    t->filter = cwic_filter_choose(simd);
    t->words = copy_of(a->words, a->word_count * sizeof *t->words);
    t->halves = copy_of(a->halves, a->half_count * sizeof *t->halves);
    t->bytes = copy_of(a->bytes, a->byte_count);
    t->blocks = calloc((size_t)shape->blocks + 1, sizeof *t->blocks);
    if (t->words && t->halves && t->bytes && t->blocks)
        *result = build(t);
    if (*result != CWIC_OK) {
        cwic_transform_free(t);
        return NULL;
    }
    return t;
}

cwic_transform *cwic_analysis_new(const cwic_shape *shape, const cwic_arrays *arrays, int32_t simd, int32_t *result)
{
    return transform_new(0, shape, arrays, simd, result);
}

cwic_transform *cwic_synthesis_new(const cwic_shape *shape, const cwic_arrays *arrays, int32_t simd, int32_t *result)
{
    return transform_new(1, shape, arrays, simd, result);
}

void cwic_transform_free(cwic_transform *t)
{
    int32_t b;
    if (!t)
        return;
    for (b = 0; t->blocks && b < t->shape.blocks; b++) {
        free(t->blocks[b].before.packed);
        free(t->blocks[b].after.packed);
        free(t->blocks[b].widen.packed);
        free(t->blocks[b].narrow.packed);
        free(t->blocks[b].fine_before.weights);
        free(t->blocks[b].fine_after.weights);
    }
    free(t->blocks);
    free(t->enter.weights);
    free(t->exit.weights);
    free(t->mixture.weights);
    free(t->head.weights);
    free(t->enter_bias);
    free(t->exit_bias);
    free(t->head_bias);
    free(t->words);
    free(t->halves);
    free(t->bytes);
    free(t);
}

int32_t cwic_transform_simd(const cwic_transform *transform) { return transform->kernels->simd; }
