/* The transforms of model cwic1, FORMAT.md section 6: what their weights (transform.c) and passes (pass.c) share. */
#ifndef CWIC_TRANSFORM_H
#define CWIC_TRANSFORM_H

#include <math.h>

#include "affine.h"
#include "affine8.h"
#include "postfilter.h"
#include "rows.h"

enum { CWIC_GAIN_ENTRIES = 129, CWIC_RATE_ENTRIES = 33, CWIC_HEAD_TAPS = 16 };
enum { CWIC_LATENT_LIMIT = 8191, CWIC_EXACT_LIMIT = 32000 };

/* Of a fine block's `before` and `after` the shift and multiplier are set, and no more. */
typedef struct {
    cwic_affine8 before, after, widen, narrow;
    cwic_affine fine_before, fine_after; /* own, of a fine block */
    const int32_t *before_bias, *after_bias;
    const int16_t *operand1, *space_bias, *space_m, *operand2;
    const int8_t *space; /* [3][3][wide] */
} cwic_block;

/* Names as in FORMAT.md section 6; pointers without a comment point into words, halves and bytes. */
struct cwic_transform {
    int32_t synthesis; /* whether it makes samples of codes; else latents and levels of samples */
    cwic_shape shape;
    int32_t inputs, outputs;
    const cwic_blocks *kernels;
    cwic_affine_function *dense;
    const cwic_rows *rows;
    cwic_filter *filter;
    int32_t *words;
    int16_t *halves;
    int8_t *bytes; /* own copies of the arrays */
    int32_t enter_shift, exit_shift, head_shift, r, s, n;
    const int32_t *gain;
    cwic_affine enter, exit, mixture, head;       /* own */
    int32_t *enter_bias, *exit_bias, *head_bias;  /* own, padded as the affine maps' outputs are */
    const int16_t *multiplier, *offset;           /* [33][wide] */
    cwic_block *blocks;                           /* own */
    const int16_t *operand, *head_out;
    const int32_t *thresholds, *floor, *rate;
    int32_t out_bias;
};

/* Entry of a table [entries][count] over T, between its entries; T is clamped to the table's ends. */
static inline int32_t cwic_at(const int32_t *table, int32_t entries, int32_t count, int32_t rate, int32_t k)
{
    const int32_t reach = (entries - 1) * 16, d = cwic_clamp(rate, -reach, reach) + reach, i = d >> 5, f = d & 31;
    const int64_t here = table[(size_t)i * count + k];
    return (int32_t)(f ? (here * (32 - f) + (int64_t)table[(size_t)(i + 1) * count + k] * f + 16) >> 5 : here);
}

static inline int32_t cwic_at16(const int16_t *table, int32_t count, int32_t rate, int32_t k)
{
    const int32_t d = cwic_clamp(rate, -512, 512) + 512, i = d >> 5, f = d & 31;
    const int32_t here = table[(size_t)i * count + k];
    return f ? (here * (32 - f) + table[(size_t)(i + 1) * count + k] * f + 16) >> 5 : here;
}

/* The largest integer whose square is at most v, v < 2^63. The double may be off by one; the loops make it right. */
static inline uint32_t cwic_root(uint64_t v)
{
    uint64_t r = (uint64_t)sqrt((double)v);
    while (r * r > v)
        r--;
    while ((r + 1) * (r + 1) <= v)
        r++;
    return (uint32_t)r;
}

#endif
