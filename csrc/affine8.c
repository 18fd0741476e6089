/* The transforms' blocks in plain C, and the choice among implementations. */

#include <stdlib.h>
#include <string.h>

#include "affine8.h"

int16_t *cwic_pack_biases(cwic_affine8 *a, const int32_t *biases)
{
    const size_t outputs = (size_t)a->outputs;
    a->packed = malloc(outputs * sizeof *biases + outputs * (size_t)a->inputs * sizeof(int16_t));
    if (!a->packed)
        return NULL;
    memcpy(a->packed, biases, outputs * sizeof *biases);
    return (int16_t *)((int32_t *)a->packed + outputs);
}

/* packed: biases, then weights as 16 bits, [outputs][inputs], so that a sum runs over neighbours: that is the shape in
 * which compilers know their processors' products of pairs. */
static int plain_pack(cwic_affine8 *a, const int8_t *weights, const int32_t *biases)
{
    const size_t outputs = (size_t)a->outputs, inputs = (size_t)a->inputs;
    int16_t *w = cwic_pack_biases(a, biases);
    size_t i, o;
    if (!w)
        return 0;
    for (i = 0; i < inputs; i++)
        for (o = 0; o < outputs; o++)
            w[o * inputs + i] = *weights++;
    return 1;
}

static void plain_operand(const int16_t *x, const int16_t *m, int8_t *q, int32_t channels, int32_t count)
{
    int32_t p, c;
    for (p = 0; p < count; p++, x += channels, q += channels)
        for (c = 0; c < channels; c++)
            q[c] = (int8_t)cwic_clamp(cwic_mul(x[c], m[c]), -127, 127);
}

/* One output of one position, multiplied. */
static int32_t product(const cwic_affine8 *a, const int16_t *x, int32_t o)
{
    const int32_t *bias = a->packed;
    const int16_t *w = (const int16_t *)(bias + a->outputs) + (size_t)o * a->inputs;
    int32_t i, sum = 0;
    for (i = 0; i < a->inputs; i++)
        sum += w[i] * x[i];
    return cwic_mul(cwic_sat((bias[o] + sum) >> a->shift), a->multiplier[o]);
}

static void widen(const int8_t *in, int16_t *x, int32_t count)
{
    int32_t i;
    for (i = 0; i < count; i++)
        x[i] = in[i];
}

static void plain_relu(const cwic_affine8 *a, const int8_t *in, int8_t *out, int32_t count)
{
    int16_t x[CWIC_MAX_INPUTS];
    int32_t p, o;
    for (p = 0; p < count; p++, in += a->inputs, out += a->outputs) {
        widen(in, x, a->inputs);
        for (o = 0; o < a->outputs; o++)
            out[o] = (int8_t)cwic_clamp(product(a, x, o), 0, 127);
    }
}

static void plain_add(const cwic_affine8 *a, const int8_t *in, int16_t *out, int32_t count)
{
    int16_t x[CWIC_MAX_INPUTS];
    int32_t p, o;
    for (p = 0; p < count; p++, in += a->inputs, out += a->outputs) {
        widen(in, x, a->inputs);
        for (o = 0; o < a->outputs; o++)
            out[o] = (int16_t)cwic_sat(out[o] + product(a, x, o));
    }
}

static void plain_space(const int8_t *above, const int8_t *here, const int8_t *below, const int8_t *weights,
                        const int16_t *bias, const int16_t *m, int8_t *g, int32_t channels, int32_t count)
{
    const int8_t *rows[3];
    int32_t p, c, k;
    for (p = 0; p < count; p++, g += channels) {
        rows[0] = above + (size_t)p * channels;
        rows[1] = here + (size_t)p * channels;
        rows[2] = below + (size_t)p * channels;
        for (c = 0; c < channels; c++) {
            int32_t sum = bias[c];
            for (k = 0; k < 9; k++)
                sum += weights[k * channels + c] * rows[k / 3][(k % 3) * channels + c];
            g[c] = (int8_t)cwic_clamp(cwic_mul(sum, m[c]), -127, 127);
        }
    }
}

const cwic_blocks cwic_blocks_plain = {0, plain_pack, plain_operand, plain_relu, plain_add, plain_space};

const cwic_blocks *cwic_blocks_choose(int32_t simd)
{
    for (simd = simd < CWIC_BEST_SIMD ? simd : CWIC_BEST_SIMD; simd > 0; simd--) {
        const cwic_blocks *found = cwic_blocks_amx(simd);
        if (!found)
            found = cwic_blocks_x86(simd);
        if (!found)
            found = cwic_blocks_neon(simd);
        if (!found)
            found = cwic_blocks_wasm(simd);
        if (found)
            return found;
    }
    return &cwic_blocks_plain;
}
