/* The context model's weights: checked, repacked for the affine maps. FORMAT.md section 5. */

#include <stdlib.h>

#include "context.h"

enum { INPUT_MAX = CWIC_ACTIVATION_MAX + 1 };

/* A reader over the two flat arrays; counts were checked before, so it cannot run past them. */
typedef struct {
    const int16_t *weights;
    const int32_t *biases;
} cwic_source;

/* Copies [taps][inputs][outputs]; input k goes to place k, or past a gap after the first input. */
static void fill(cwic_affine *a, cwic_source *from, int32_t inputs, int32_t outputs, int32_t gap)
{
    int32_t tap, k, o;
    for (tap = 0; tap < a->taps; tap++)
        for (k = 0; k < inputs; k++)
            for (o = 0; o < outputs; o++) {
                int32_t place = k > 0 ? k + gap : 0;
                size_t pair = (size_t)tap * (a->inputs / 2) + place / 2;
                a->weights[(pair * a->outputs + o) * 2 + place % 2] = *from->weights++;
            }
}

static int32_t *biases(cwic_source *from, int32_t count)
{
    int32_t i, *copy = calloc(((size_t)count + 15) / 16 * 16, sizeof *copy);
    for (i = 0; copy && i < count; i++)
        copy[i] = from->biases[i];
    from->biases += count;
    return copy;
}

/* Adds the largest magnitude that output o of a can reach. At most 9 * 1026 * 2^15 * 2^11 < 2^50. */
static int64_t reach(const cwic_affine *a, int32_t o)
{
    int64_t sum = 0;
    int32_t i, half;
    for (i = 0; a->weights && i < a->taps * (a->inputs / 2); i++)
        for (half = 0; half < 2; half++)
            sum += labs((long)a->weights[((size_t)i * a->outputs + o) * 2 + half]);
    return sum * INPUT_MAX;
}

/* The proof that 32 bits suffice: for every sum, in any order, |bias| + sum |weight| * 2048 < 2^31 - 2^15, the last
 * term being room for rounding. Inputs are below 2048 in magnitude: activations by their clamp, codes since
 * 16 * 127 = 2032, the side plane since 64 * 31 = 1984 bounds it for up to 32 levels, rate inputs by 64. */
static int fits(const cwic_network *n)
{
    const int64_t limit = ((int64_t)1 << 31) - 32768;
    int32_t o;
    for (o = 0; o < n->hidden; o++) {
        int64_t rate = (labs((long)n->rate[2 * o]) + labs((long)n->rate[2 * o + 1])) * (int64_t)INPUT_MAX;
        if (llabs((long long)n->rate_bias[o]) + rate + reach(&n->dense, o) >= limit ||
            llabs((long long)n->mix_bias[o]) + reach(&n->mix, o) + reach(&n->own, o) + reach(&n->left, o) >= limit ||
            llabs((long long)n->inner_bias[o]) + reach(&n->inner, o) >= limit)
            return 0;
    }
    for (o = 0; o < 2 * n->channels; o++)
        if (llabs((long long)n->out_bias[o]) + reach(&n->out, o) >= limit)
            return 0;
    return 1;
}

static int32_t build(cwic_network *n, cwic_source *from, int32_t hidden, int32_t channels, int32_t earlier, int map)
{
    int32_t i, mix_taps = map ? 1 : 9;
    n->hidden = hidden;
    n->channels = channels;
    n->earlier = map ? 0 : earlier + 2;
    n->rate = calloc((size_t)hidden * 2, sizeof *n->rate);
    if (!n->rate || !cwic_affine_shape(&n->mix, mix_taps, hidden, hidden) || !cwic_affine_shape(&n->own, 10, channels, hidden) ||
        !cwic_affine_shape(&n->left, 2, channels, hidden) || !cwic_affine_shape(&n->inner, 1, hidden, hidden) ||
        !cwic_affine_shape(&n->out, 1, hidden, 2 * channels) || (!map && !cwic_affine_shape(&n->dense, 9, earlier + 2, hidden)))
        return CWIC_ERROR_MEMORY;
    for (i = 0; i < 2 * hidden; i++)
        n->rate[i] = *from->weights++;
    if (!map)
        fill(&n->dense, from, earlier + 1, hidden, 1);
    fill(&n->mix, from, hidden, hidden, 0);
    fill(&n->own, from, channels, hidden, 0);
    fill(&n->left, from, channels, hidden, 0);
    fill(&n->inner, from, hidden, hidden, 0);
    fill(&n->out, from, hidden, 2 * channels, 0);
    n->rate_bias = biases(from, hidden);
    n->mix_bias = biases(from, hidden);
    n->inner_bias = biases(from, hidden);
    n->out_bias = biases(from, 2 * channels);
    if (!n->rate_bias || !n->mix_bias || !n->inner_bias || !n->out_bias)
        return CWIC_ERROR_MEMORY;
    return fits(n) ? CWIC_OK : CWIC_ERROR_WEIGHTS;
}

/* Numbers of weights and biases of one network, as in FORMAT.md section 5.1. */
static void count(int32_t hidden, int32_t channels, int32_t earlier, int map, size_t *weights, size_t *bias)
{
    size_t n = (size_t)hidden, c = (size_t)channels;
    *weights += 2 * n + (map ? n * n : 9 * (1 + (size_t)earlier) * n + 9 * n * n) + 12 * c * n + n * n + n * 2 * c;
    *bias += 3 * n + 2 * c;
}

cwic_model *cwic_model_new(const int16_t *weights, size_t weight_count, const int32_t *bias_values, size_t bias_count,
                           const int32_t *groups, int32_t group_count, int32_t hidden, int32_t map_hidden,
                           int32_t levels, int32_t simd, int32_t *result)
{
    cwic_model *m;
    cwic_source from;
    int32_t g, channels = 0;
    size_t need_weights = 0, need_biases = 0;

    *result = CWIC_ERROR_WEIGHTS;
    if (group_count < 1 || group_count > CWIC_MAX_GROUPS || hidden < 2 || hidden > CWIC_MAX_HIDDEN || hidden % 16 ||
        map_hidden < 2 || map_hidden > CWIC_MAX_HIDDEN || map_hidden % 16 || levels < 1 || levels > CWIC_MAX_LEVELS)
        return NULL;
    count(map_hidden, 1, 0, 1, &need_weights, &need_biases);
    for (g = 0; g < group_count; g++) {
        if (groups[g] < 2 || groups[g] > CWIC_MAX_CHANNELS || groups[g] % 2 || channels + groups[g] > CWIC_MAX_CHANNELS)
            return NULL;
        count(hidden, groups[g], channels, 0, &need_weights, &need_biases);
        channels += groups[g];
    }
    if (need_weights != weight_count || need_biases != bias_count)
        return NULL;

    *result = CWIC_ERROR_MEMORY;
    m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    m->layers = group_count + 1;
    m->channels = channels;
    m->levels = levels;
    m->hidden = hidden > map_hidden ? hidden : map_hidden;
    m->dense = cwic_affine_choose(simd, &m->simd);
    m->networks = calloc((size_t)m->layers, sizeof *m->networks);
    if (!m->networks) {
        cwic_model_free(m);
        return NULL;
    }
    from.weights = weights;
    from.biases = bias_values;
    *result = build(&m->networks[0], &from, map_hidden, 1, 0, 1);
    for (g = channels = 0; g < group_count && *result == CWIC_OK; channels += groups[g++])
        *result = build(&m->networks[1 + g], &from, hidden, groups[g], channels, 0);
    if (*result != CWIC_OK) {
        cwic_model_free(m);
        return NULL;
    }
    return m;
}

void cwic_model_free(cwic_model *model)
{
    int32_t i;
    if (!model)
        return;
    for (i = 0; model->networks && i < model->layers; i++) {
        cwic_network *n = &model->networks[i];
        free(n->dense.weights);
        free(n->mix.weights);
        free(n->own.weights);
        free(n->left.weights);
        free(n->inner.weights);
        free(n->out.weights);
        free(n->rate);
        free(n->rate_bias);
        free(n->mix_bias);
        free(n->inner_bias);
        free(n->out_bias);
    }
    free(model->networks);
    free(model);
}

int32_t cwic_model_simd(const cwic_model *model) { return model->simd; }
