/* A transform over one picture, in bands of rows.
 *
 * The transform is a chain of stages: entrance, blocks, exit. A block's 3x3 sums see one row further than what it
 * changes, so stage s works on a band's rows less s: band k covers rows [k R - s, (k + 1) R - s), and what a stage needs
 * from above was left by the band before in the line buffers. Nothing is computed twice, and memory holds some rows of
 * each stage alone.
 *
 * Each band is carried through all stages by one worker. Stage s of band k begins when that of band k - 1 is done, so
 * that workers follow each other down the chain. A worker only ever waits for an earlier band, whose worker waits for
 * one earlier still, and the earliest waits for none: any number of workers finishes. */

#include <stdlib.h>
#include <string.h>

#include "pass.h"

enum { MIN_POSITIONS = 128, MAX_CODE_SIDE = 1 << 22 };

/* ---- blocks ------------------------------------------------------------------------------------------------ */

/* h of a block in row y. */
static void activate(const cwic_pass *p, scratch *w, int32_t b, int32_t y)
{
    const cwic_block *block = &p->t->blocks[b];
    const int32_t wide = p->t->shape.wide;
    int32_t x;
    for (x = 0; x < p->columns; x += CHUNK) {
        const int32_t count = p->columns - x < CHUNK ? p->columns - x : CHUNK;
        const int16_t *stream = stream_row(p, y) + (size_t)x * wide;
        if (b < p->t->shape.fine) {
            p->t->rows->operand(stream, block->operand1, w->inputs, (size_t)wide, wide, count);
            affine(p, &block->fine_before, w->inputs, (size_t)wide, block->before_bias, w->sums, count);
            p->t->rows->relu(w->sums, block->before.shift, block->before.multiplier,
                             fine_row(p, b, y) + ((size_t)x + 1) * wide, wide, count);
        } else {
            p->t->kernels->operand(stream, block->operand1, w->operand, wide, count);
            p->t->kernels->relu(&block->before, w->operand, active_row(p, b, y) + ((size_t)x + 1) * wide, count);
        }
    }
}

/* The rest of a block in row y, for which h is there in the rows around. */
static void mix(const cwic_pass *p, scratch *w, int32_t b, int32_t y)
{
    const cwic_block *block = &p->t->blocks[b];
    const cwic_blocks *kernels = p->t->kernels;
    const int32_t wide = p->t->shape.wide;
    int32_t x;
    for (x = 0; x < p->columns; x += CHUNK) {
        const int32_t count = p->columns - x < CHUNK ? p->columns - x : CHUNK;
        const size_t at = (size_t)x * wide;
        int16_t *stream = stream_row(p, y) + at;
        if (b < p->t->shape.fine) {
            p->t->rows->space(fine_row(p, b, y - 1) + at, fine_row(p, b, y) + at, fine_row(p, b, y + 1) + at, block->space,
                              block->space_bias, block->space_m, w->inputs, wide, count);
            affine(p, &block->fine_after, w->inputs, (size_t)wide, block->after_bias, w->sums, count);
            p->t->rows->add(w->sums, block->after.shift, block->after.multiplier, stream, wide, count);
        } else {
            kernels->space(active_row(p, b, y - 1) + at, active_row(p, b, y) + at, active_row(p, b, y + 1) + at,
                           block->space, block->space_bias, block->space_m, w->operand, wide, count);
            kernels->add(&block->after, w->operand, stream, count);
        }
        kernels->operand(stream, block->operand2, w->operand, wide, count);
        kernels->relu(&block->widen, w->operand, w->wide, count);
        kernels->add(&block->narrow, w->wide, stream, count);
    }
}

/* Stage s of band k: entrance, blocks, exit. */
static void stage(cwic_pass *p, scratch *w, int32_t s, int32_t k)
{
    const int32_t blocks = p->t->shape.blocks, lag = s > blocks ? blocks : s;
    const int32_t first = k * p->band_rows - lag, last = first + p->band_rows;
    int32_t y;
    if (s >= 1 && s <= blocks)
        for (y = first + 1; y <= last; y++)
            if (y >= 0 && y < p->rows)
                activate(p, w, s - 1, y);
    for (y = first < 0 ? 0 : first; y < last && y < p->rows; y++) {
        if (s == 0)
            cwic_enter(p, w, y);
        else if (s <= blocks)
            mix(p, w, s - 1, y);
        else
            cwic_leave(p, w, y);
    }
}

/* ---- passes ------------------------------------------------------------------------------------------------ */

static int make_scratches(cwic_pass *p)
{
    const cwic_transform *t = p->t;
    const size_t wide = (size_t)t->shape.wide;
    size_t sums = (size_t)t->enter.outputs;
    int32_t k;
    sums = sums < (size_t)t->exit.outputs ? (size_t)t->exit.outputs : sums;
    sums = sums < (size_t)t->head.outputs ? (size_t)t->head.outputs : sums;
    sums = sums < (size_t)t->mixture.outputs ? (size_t)t->mixture.outputs : sums;
    p->scratches = calloc((size_t)p->workers, sizeof *p->scratches);
    for (k = 0; p->scratches && k < p->workers; k++) {
        scratch *w = &p->scratches[k];
        w->inputs = calloc(CHUNK * (wide + (size_t)t->inputs), sizeof *w->inputs);
        w->sums = calloc(CHUNK * sums, sizeof *w->sums);
        w->latents = calloc(CHUNK * (size_t)t->shape.channels, sizeof *w->latents);
        w->operand = calloc(CHUNK * wide, 1);
        w->wide = calloc(CHUNK * 2 * wide, 1);
        if (!w->inputs || !w->sums || !w->latents || !w->operand || !w->wide)
            return 0;
    }
    return p->scratches != NULL;
}

/* Tables at T. */
static int make_tables(cwic_pass *p)
{
    const cwic_transform *t = p->t;
    const int32_t channels = t->shape.channels, wide = t->shape.wide;
    int32_t k, code;
    p->gain = calloc((size_t)channels, sizeof *p->gain);
    p->known = calloc((size_t)channels * 2 * KNOWN_CODES, sizeof *p->known);
    p->norm_rate = calloc((size_t)channels, sizeof *p->norm_rate);
    p->multiplier = calloc((size_t)wide, sizeof *p->multiplier);
    p->offset = calloc((size_t)wide, sizeof *p->offset);
    p->zeros = calloc(CWIC_BLOCK_VALUES, sizeof *p->zeros);
    if (!p->gain || !p->known || !p->norm_rate || !p->multiplier || !p->offset || !p->zeros)
        return 0;
    for (k = 0; k < channels; k++) {
        p->gain[k] = cwic_at(t->gain, CWIC_GAIN_ENTRIES, channels, p->rate, k);
        for (code = -KNOWN_CODES; code < KNOWN_CODES; code++)
            p->known[(2 * k + 1) * KNOWN_CODES + code] = cwic_latent(code, p->gain[k]);
        if (t->shape.normalised)
            p->norm_rate[k] = cwic_at(t->rate, CWIC_RATE_ENTRIES, channels, p->rate, k);
    }
    for (k = 0; k < wide; k++) {
        p->multiplier[k] = (int16_t)cwic_at16(t->multiplier, wide, p->rate, k);
        p->offset[k] = (int16_t)cwic_at16(t->offset, wide, p->rate, k);
    }
    return 1;
}

static int make_rows(cwic_pass *p)
{
    const cwic_transform *t = p->t;
    const size_t wide = (size_t)t->shape.wide, columns = (size_t)p->columns, line = (columns + 2) * wide; /* < 2^32 */
    p->stream = cwic_zeros((size_t)p->stream_rows, columns, wide, sizeof *p->stream);
    p->active = cwic_zeros((size_t)(t->shape.blocks - t->shape.fine), (size_t)p->active_rows, line, 1);
    p->fine = cwic_zeros((size_t)t->shape.fine, (size_t)p->active_rows, line, sizeof *p->fine);
    p->no_row = cwic_zeros(1, 1, line, sizeof *p->no_row);
    if (t->synthesis)
        p->kept = cwic_zeros((size_t)p->stream_rows, columns, (size_t)t->shape.channels, sizeof *p->kept);
    else
        p->head_in = cwic_zeros((size_t)(p->head_rows + 1), 1, line, sizeof *p->head_in);
    return p->stream && p->active && p->fine && p->no_row && (p->kept || p->head_in);
}

static cwic_pass *pass_new(const cwic_transform *t, int32_t synthesis, int32_t rate, int32_t height, int32_t width,
                           int32_t workers, int32_t *result)
{
    cwic_pass *p;
    *result = CWIC_ERROR_ARGUMENT;
    if (t->synthesis != synthesis || height < 1 || width < 1 || height > 8 * MAX_CODE_SIDE - 16 ||
        width > 8 * MAX_CODE_SIDE - 16 || workers < 1)
        return NULL;
    *result = CWIC_ERROR_MEMORY;
    p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->t = t;
    p->rate = rate;
    p->height = height;
    p->width = width;
    p->rows = (height + 15) / 16 * 2;
    p->columns = (width + 15) / 16 * 2;
    p->band_rows = (MIN_POSITIONS + p->columns - 1) / p->columns;
    p->band_rows = p->band_rows < p->rows ? p->band_rows : p->rows;
    p->bands = (p->rows + t->shape.blocks + p->band_rows - 1) / p->band_rows;
    p->stages = t->shape.blocks + 2;
    p->workers = p->bands < p->stages ? p->bands : p->stages; /* no two bands are in one stage at once */
    p->workers = workers < p->workers ? workers : p->workers;
    /* Of the bands under way, at most one a worker, the latest has entered up to (k + 1) R, and the earliest still needs
     * the row above its last stage's, (k - workers + 1) R - blocks - 1. */
    p->stream_rows = p->workers * p->band_rows + t->shape.blocks + 2;
    p->stream_rows = p->stream_rows < p->rows ? p->stream_rows : p->rows;
    /* A band writes band_rows of them, and sees two, or in the head three, of those before. */
    p->active_rows = p->band_rows + 2 < p->rows ? p->band_rows + 2 : p->rows;
    p->head_rows = p->band_rows + 4 < p->rows ? p->band_rows + 4 : p->rows;
    p->locked = cwic_lock_init(&p->lock);
    p->done = calloc((size_t)p->stages, sizeof *p->done);
    if (!p->locked || !p->done || !make_tables(p) || !make_rows(p) || !make_scratches(p)) {
        cwic_pass_free(p);
        return NULL;
    }
    *result = CWIC_OK;
    return p;
}

cwic_pass *cwic_analysis_pass(const cwic_transform *transform, int32_t rate, const uint8_t *pixels, int32_t height,
                              int32_t width, int16_t *latents, int16_t *levels, int32_t workers, int32_t *result)
{
    cwic_pass *p = pass_new(transform, 0, rate, height, width, workers, result);
    if (p) {
        p->samples = pixels;
        p->latents = latents;
        p->levels = levels;
    }
    return p;
}

cwic_pass *cwic_synthesis_pass(const cwic_transform *transform, int32_t rate, const int16_t *codes, const int8_t *post,
                               uint8_t *pixels, int32_t height, int32_t width, int32_t workers, int32_t *result)
{
    cwic_pass *p = pass_new(transform, 1, rate, height, width, workers, result);
    if (p && post && transform->exit_shift < CWIC_POST_BITS) {
        cwic_pass_free(p);
        *result = CWIC_ERROR_WEIGHTS;
        return NULL;
    }
    if (p) {
        if ((p->posts = post != NULL))
            memcpy(p->post, post, sizeof p->post);
        p->codes = codes;
        p->pixels = pixels;
    }
    return p;
}

void cwic_pass_free(cwic_pass *p)
{
    int32_t k;
    if (!p)
        return;
    for (k = 0; p->scratches && k < p->workers; k++) {
        free(p->scratches[k].inputs);
        free(p->scratches[k].sums);
        free(p->scratches[k].latents);
        free(p->scratches[k].operand);
        free(p->scratches[k].wide);
    }
    if (p->locked)
        cwic_lock_destroy(&p->lock);
    free(p->scratches);
    free(p->done);
    free(p->gain);
    free(p->known);
    free(p->norm_rate);
    free(p->multiplier);
    free(p->offset);
    free(p->zeros);
    free(p->stream);
    free(p->kept);
    free(p->active);
    free(p->fine);
    free(p->no_row);
    free(p->head_in);
    free(p);
}

/* A band and a scratch for it: the band's number, or -1 with the result to return. */
static int32_t claim(cwic_pass *p, scratch **w, int32_t *result)
{
    int32_t k, band = -1;
    cwic_lock_take(&p->lock);
    for (k = 0; k < p->workers && p->scratches[k].busy; k++)
        ;
    if (p->cancelled) {
        *result = CWIC_CANCELLED;
    } else if (p->next_band == p->bands) {
        *result = CWIC_OK;
    } else if (k == p->workers) {
        *result = CWIC_ERROR_ARGUMENT; /* more callers than workers */
    } else {
        *w = &p->scratches[k];
        (*w)->busy = 1;
        band = p->next_band++;
    }
    cwic_lock_give(&p->lock);
    return band;
}

/* Waits until a stage has finished the bands before k; 0 if the pass was cancelled. */
static int may_begin(cwic_pass *p, int32_t s, int32_t k)
{
    int go;
    cwic_lock_take(&p->lock);
    while (!p->cancelled && p->done[s] < k)
        cwic_lock_wait(&p->lock);
    go = !p->cancelled;
    cwic_lock_give(&p->lock);
    return go;
}

int32_t cwic_pass_band(cwic_pass *pass)
{
    scratch *w = NULL;
    int32_t s, go = 1, result = CWIC_OK, band = claim(pass, &w, &result);
    if (band < 0)
        return result;
    for (s = 0; s < pass->stages && (go = may_begin(pass, s, band)); s++) {
        stage(pass, w, s, band);
        cwic_lock_take(&pass->lock);
        pass->done[s] = band + 1;
        cwic_lock_wake(&pass->lock);
        cwic_lock_give(&pass->lock);
    }
    cwic_lock_take(&pass->lock);
    w->busy = 0;
    result = !go || pass->cancelled ? CWIC_CANCELLED : pass->next_band < pass->bands;
    cwic_lock_give(&pass->lock);
    return result;
}

void cwic_pass_cancel(cwic_pass *pass)
{
    cwic_lock_take(&pass->lock);
    pass->cancelled = 1;
    cwic_lock_wake(&pass->lock);
    cwic_lock_give(&pass->lock);
}

int32_t cwic_pass_workers(const cwic_pass *pass) { return pass->workers; }
