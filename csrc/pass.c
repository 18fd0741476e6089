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

#include "threads.h"
#include "transform.h"

enum { CHUNK = 96, MIN_POSITIONS = 128, MAX_CODE_SIDE = 1 << 22, HEAD_SIDE = 4, KNOWN_CODES = 16 };

/* What one worker needs for itself: a chunk of up to CHUNK positions between two steps. */
typedef struct {
    int32_t busy;
    int16_t *inputs; /* [CHUNK][wide + inputs]: of the exit; of entrance and mixture, narrower, as well */
    int32_t *sums;   /* [CHUNK][what the widest affine map gives] */
    int16_t *latents; /* [CHUNK][channels] */
    int8_t *operand, *wide; /* [CHUNK][wide] and [CHUNK][2 wide] */
} scratch;

struct cwic_pass {
    const cwic_transform *t;
    int32_t rate, rows, columns, height, width; /* rows and columns of positions */
    int32_t band_rows, bands, stages;
    const uint8_t *samples;
    const int16_t *codes;
    uint8_t *pixels;
    int16_t *latents, *levels;

    int32_t *gain, *norm_rate;    /* at T, [channels] */
    int16_t *known;               /* latents of codes from -KNOWN_CODES on: [channels][2 KNOWN_CODES] */
    int16_t *multiplier, *offset; /* at T, [wide] */
    int32_t *zeros;               /* [192]: where sums of the mixture start */

    int32_t stream_rows; /* row y of what follows lies in place y modulo stream_rows */
    int16_t *stream;     /* x: [stream_rows][columns][wide] */
    int16_t *kept;       /* y of a synthesis, for its exit: [stream_rows][columns][channels] */
    int32_t active_rows, head_rows;
    int8_t *active;      /* h: [blocks][active_rows][columns + 2][wide], with zeros at either side */
    int8_t *no_row;      /* h above and below the picture: [columns + 2][wide] zeros */
    int16_t *head_in;    /* p: [head_rows][columns + 2][wide], likewise, and behind it a row of zeros */
    int32_t head_next;   /* next row of levels */

    cwic_lock lock; /* guards what follows */
    int32_t locked; /* whether it was made */
    int32_t next_band, cancelled;
    int32_t *done; /* [stages]: bands that a stage has finished */
    int32_t workers;
    scratch *scratches; /* [workers] */
};

/* ---- rows and their places --------------------------------------------------------------------------------- */

static int16_t *stream_row(const cwic_pass *p, int32_t y)
{
    return p->stream + (size_t)(y % p->stream_rows) * p->columns * p->t->shape.wide;
}

static int16_t *kept_row(const cwic_pass *p, int32_t y)
{
    return p->kept + (size_t)(y % p->stream_rows) * p->columns * p->t->shape.channels;
}

/* h of block b in row y, at the position before the first. */
static int8_t *active_row(const cwic_pass *p, int32_t b, int32_t y)
{
    const size_t line = ((size_t)p->columns + 2) * p->t->shape.wide;
    if (y < 0 || y >= p->rows)
        return p->no_row;
    return p->active + ((size_t)b * p->active_rows + y % p->active_rows) * line;
}

/* p in row y, at the position before the first; zeros outside the picture. */
static int16_t *head_row(const cwic_pass *p, int32_t y)
{
    const size_t place = (size_t)(y < 0 || y >= p->rows ? p->head_rows : y % p->head_rows);
    return p->head_in + place * ((size_t)p->columns + 2) * p->t->shape.wide;
}

static void affine(const cwic_pass *p, const cwic_affine *a, const int16_t *inputs, size_t step, const int32_t *bias,
                   int32_t *sums, int32_t count)
{
    static const int32_t origin[1] = {0};
    p->t->dense(a, inputs, origin, step, bias, 0, sums, count);
}

/* ---- entrance and exit ------------------------------------------------------------------------------------- */

/* Expands latents in place: each by the energy of its position. */
static void expand(const cwic_pass *p, scratch *w, int16_t *y, int32_t count)
{
    const cwic_transform *t = p->t;
    const int32_t channels = t->shape.channels, half = 1 << t->r >> 1, pitch = t->mixture.outputs;
    int32_t k, c;
    for (k = 0; k < count * channels; k++) {
        const int32_t e = (y[k] * y[k] + half) >> t->r;
        w->inputs[k] = (int16_t)(e < 32767 ? e : 32767);
    }
    affine(p, &t->mixture, w->inputs, (size_t)channels, p->zeros, w->sums, count);
    for (k = 0; k < count; k++, y += channels)
        for (c = 0; c < channels; c++) {
            const uint64_t energy = ((uint64_t)w->sums[k * pitch + c] * (uint64_t)p->norm_rate[c]) >> t->s;
            const uint64_t f = (uint64_t)t->floor[c] + energy;
            const int64_t root = cwic_root(f < 0xffffffffu ? f : 0xffffffffu);
            const int64_t x = (y[c] * root + 1024) >> 11; /* below 2^13 * 2^16 */
            y[c] = (int16_t)(x < -CWIC_LATENT_LIMIT ? -CWIC_LATENT_LIMIT : x > CWIC_LATENT_LIMIT ? CWIC_LATENT_LIMIT : x);
        }
}

/* The same towards the encoder's side: l of one position and its energies, section 6.8. */
static void compress(const cwic_pass *p, scratch *w, int16_t *l, int32_t count)
{
    const cwic_transform *t = p->t;
    const int32_t channels = t->shape.channels, half = 1 << t->r >> 1, pitch = t->mixture.outputs;
    const int64_t round = (int64_t)1 << t->n >> 1;
    int32_t k, c;
    for (k = 0; k < count * channels; k++) {
        const int64_t e = ((int64_t)l[k] * l[k] + half) >> t->r;
        w->inputs[k] = (int16_t)(e < 32767 ? e : 32767);
    }
    affine(p, &t->mixture, w->inputs, (size_t)channels, p->zeros, w->sums, count);
    for (k = 0; k < count; k++, l += channels)
        for (c = 0; c < channels; c++) {
            const uint64_t most = (uint64_t)1 << 44, floor = (uint64_t)t->floor[c];
            uint64_t g = ((uint64_t)w->sums[k * pitch + c] * (uint64_t)p->norm_rate[c]) >> t->s;
            int64_t scaled;
            g = g < most ? g : most; /* floor^2 + g 2^18 stays below 2^63 */
            scaled = (int64_t)l[c] * cwic_root(((uint64_t)1 << 47) / (floor + cwic_root(floor * floor + (g << 18))));
            scaled = (scaled + round) >> t->n;
            l[c] = (int16_t)(scaled < -32768 ? -32768 : scaled > 32767 ? 32767 : scaled);
        }
}

/* The latent of a code, with a gain of up to 2^31. */
static int16_t latent(int32_t code, int32_t gain)
{
    const int64_t v = (code * (int64_t)gain + 32768) >> 16;
    return (int16_t)(v < -CWIC_LATENT_LIMIT ? -CWIC_LATENT_LIMIT : v > CWIC_LATENT_LIMIT ? CWIC_LATENT_LIMIT : v);
}

/* Latents of codes, `count` positions of row y from column x on: [count][channels]. */
static void latents_of(const cwic_pass *p, scratch *w, int32_t y, int32_t x, int16_t *out, int32_t count)
{
    const int32_t channels = p->t->shape.channels;
    const size_t plane = (size_t)p->rows * p->columns;
    const int16_t *codes = p->codes + (size_t)y * p->columns + x;
    int32_t c, k;
    memset(out, 0, (size_t)count * channels * sizeof *out); /* as most codes are */
    for (c = 0; c < channels; c++, codes += plane) {
        const int16_t *known = p->known + (size_t)c * 2 * KNOWN_CODES + KNOWN_CODES;
        for (k = 0; k < count; k++) {
            const int32_t code = codes[k];
            uint64_t four;
            if (count - k >= 4 && (memcpy(&four, codes + k, sizeof four), !four)) {
                k += 3;
                continue;
            }
            if (code)
                out[(size_t)k * channels + c] =
                    code >= -KNOWN_CODES && code < KNOWN_CODES ? known[code] : latent(code, p->gain[c]);
        }
    }
    if (p->t->shape.normalised)
        expand(p, w, out, count);
}

/* Samples less 128 of the padded picture's blocks, `step` apart; beyond its edges the last row and column repeat. */
static void blocks_of(const cwic_pass *p, int32_t y, int32_t x, int16_t *out, size_t step, int32_t count)
{
    int32_t row, column, k;
    for (k = 0; k < count; k++, out += step) {
        if (8 * y + 8 <= p->height && 8 * (x + k) + 8 <= p->width) {
            const size_t pitch = (size_t)p->width * 3;
            p->t->rows->take(p->samples + 8 * (size_t)y * pitch + 24 * (size_t)(x + k), pitch, out);
            continue;
        }
        for (row = 0; row < 8; row++) {
            const int32_t from = 8 * y + row < p->height ? 8 * y + row : p->height - 1;
            const uint8_t *line = p->samples + (size_t)from * p->width * 3;
            for (column = 0; column < 8; column++) {
                const int32_t at = 8 * (x + k) + column;
                const uint8_t *sample = line + 3 * (size_t)(at < p->width ? at : p->width - 1);
                out[8 * row + column] = (int16_t)(sample[0] - 128);
                out[64 + 8 * row + column] = (int16_t)(sample[1] - 128);
                out[128 + 8 * row + column] = (int16_t)(sample[2] - 128);
            }
        }
    }
}

static void enter(const cwic_pass *p, scratch *w, int32_t y)
{
    const cwic_transform *t = p->t;
    const int32_t wide = t->shape.wide, inputs = t->inputs;
    int32_t x;
    for (x = 0; x < p->columns; x += CHUNK) {
        const int32_t count = p->columns - x < CHUNK ? p->columns - x : CHUNK;
        int16_t *stream = stream_row(p, y) + (size_t)x * wide, *in = w->inputs;
        if (t->synthesis) {
            in = kept_row(p, y) + (size_t)x * inputs;
            latents_of(p, w, y, x, in, count);
        } else {
            blocks_of(p, y, x, in, (size_t)inputs, count);
        }
        affine(p, &t->enter, in, (size_t)inputs, t->enter_bias, w->sums, count);
        t->rows->enter(w->sums, t->enter_shift, p->multiplier, p->offset, stream, wide, count);
    }
}

/* One row of sums, [count][192], to samples. */
static void show(const cwic_pass *p, const int32_t *sums, int32_t y, int32_t x, int32_t count)
{
    const int32_t shift = p->t->exit_shift, rows = p->height - 8 * y < 8 ? p->height - 8 * y : 8;
    int32_t k, row, column;
    for (k = 0; k < count; k++, sums += CWIC_BLOCK_VALUES) {
        const int32_t left = p->width - 8 * (x + k), columns = left < 8 ? left : 8;
        uint8_t value[CWIC_BLOCK_VALUES];
        if (rows == 8 && columns == 8) {
            const size_t pitch = (size_t)p->width * 3;
            p->t->rows->show(sums, shift, p->pixels + 8 * (size_t)y * pitch + 24 * (size_t)(x + k), pitch);
            continue;
        }
        for (column = 0; column < CWIC_BLOCK_VALUES; column++)
            value[column] = (uint8_t)cwic_clamp(sums[column] >> shift, 0, 255);
        for (row = 0; row < rows; row++) {
            uint8_t *out = p->pixels + ((size_t)(8 * y + row) * p->width + 8 * (size_t)(x + k)) * 3;
            for (column = 0; column < columns; column++, out += 3) {
                out[0] = value[8 * row + column];
                out[1] = value[64 + 8 * row + column];
                out[2] = value[128 + 8 * row + column];
            }
        }
    }
}

/* One row of sums, [count][channels], to latents. */
static void keep(const cwic_pass *p, scratch *w, int32_t y, int32_t x, int32_t count)
{
    const cwic_transform *t = p->t;
    const int32_t channels = t->shape.channels, pitch = t->exit.outputs;
    const size_t plane = (size_t)p->rows * p->columns;
    int16_t *l = w->latents;
    int32_t k, c;
    for (k = 0; k < count; k++)
        for (c = 0; c < channels; c++)
            l[k * channels + c] = (int16_t)cwic_sat(w->sums[k * pitch + c] >> t->exit_shift);
    if (t->shape.normalised)
        compress(p, w, l, count);
    for (c = 0; c < channels; c++) {
        int16_t *out = p->latents + c * plane + (size_t)y * p->columns + x;
        for (k = 0; k < count; k++)
            out[k] = l[k * channels + c];
    }
}

/* Levels of the map in row i, from rows 2 i - 1 to 2 i + 2 of p. */
static void head(const cwic_pass *p, scratch *w, int32_t i)
{
    const cwic_transform *t = p->t;
    const int32_t wide = t->shape.wide, features = t->shape.features, pitch = t->head.outputs;
    const int32_t columns = p->columns / 2;
    int32_t offsets[HEAD_SIDE], k, x, f, n;
    for (k = 0; k < HEAD_SIDE; k++)
        offsets[k] = k * wide;
    for (x = 0; x < columns; x += CHUNK) {
        const int32_t count = columns - x < CHUNK ? columns - x : CHUNK;
        cwic_affine row = t->head; /* a row of taps at a time: rows may lie further apart than offsets reach */
        row.taps = HEAD_SIDE;
        for (k = 0; k < HEAD_SIDE; k++, row.weights += (size_t)HEAD_SIDE * row.inputs * row.outputs)
            t->dense(&row, head_row(p, 2 * i - 1 + k) + (size_t)2 * x * wide, offsets, 2 * (size_t)wide,
                     k ? w->sums : t->head_bias, k ? (size_t)pitch : 0, w->sums, count);
        for (k = 0; k < count; k++) {
            int32_t z = t->out_bias, level = 0;
            for (f = 0; f < features; f++)
                z += t->head_out[f] * cwic_clamp(w->sums[k * pitch + f] >> t->head_shift, 0, CWIC_OPERAND_LIMIT);
            for (n = 0; n < t->shape.levels - 1; n++)
                level += z >= t->thresholds[n];
            p->levels[(size_t)i * columns + x + k] = (int16_t)level;
        }
    }
}

static void leave(cwic_pass *p, scratch *w, int32_t y)
{
    const cwic_transform *t = p->t;
    const int32_t wide = t->shape.wide, step = wide + t->inputs;
    int32_t x, k;
    for (x = 0; x < p->columns; x += CHUNK) {
        const int32_t count = p->columns - x < CHUNK ? p->columns - x : CHUNK;
        const int16_t *stream = stream_row(p, y) + (size_t)x * wide;
        t->rows->operand(stream, t->operand, w->inputs, (size_t)step, wide, count);
        if (t->synthesis) {
            const int16_t *kept = kept_row(p, y) + (size_t)x * t->inputs;
            for (k = 0; k < count; k++, kept += t->inputs)
                memcpy(w->inputs + (size_t)k * step + wide, kept, (size_t)t->inputs * sizeof *kept);
        } else {
            int16_t *line = head_row(p, y) + ((size_t)x + 1) * wide;
            blocks_of(p, y, x, w->inputs + wide, (size_t)step, count);
            for (k = 0; k < count; k++)
                memcpy(line + (size_t)k * wide, w->inputs + (size_t)k * step, (size_t)wide * sizeof *line);
        }
        affine(p, &t->exit, w->inputs, (size_t)step, t->exit_bias, w->sums, count);
        if (t->synthesis)
            show(p, w->sums, y, x, count);
        else
            keep(p, w, y, x, count);
    }
    if (t->synthesis)
        return;
    while (2 * p->head_next < p->rows && (2 * p->head_next + 2 <= y || y + 1 == p->rows))
        head(p, w, p->head_next++);
}

/* ---- blocks ------------------------------------------------------------------------------------------------ */

/* h of a block in row y. */
static void activate(const cwic_pass *p, scratch *w, int32_t b, int32_t y)
{
    const cwic_block *block = &p->t->blocks[b];
    const int32_t wide = p->t->shape.wide;
    int32_t x;
    for (x = 0; x < p->columns; x += CHUNK) {
        const int32_t count = p->columns - x < CHUNK ? p->columns - x : CHUNK;
        p->t->kernels->operand(stream_row(p, y) + (size_t)x * wide, block->operand1, w->operand, wide, count);
        p->t->kernels->relu(&block->before, w->operand, active_row(p, b, y) + ((size_t)x + 1) * wide, count);
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
        kernels->space(active_row(p, b, y - 1) + at, active_row(p, b, y) + at, active_row(p, b, y + 1) + at, block->space,
                       block->space_bias, block->space_m, w->operand, wide, count);
        kernels->add(&block->after, w->operand, stream, count);
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
            enter(p, w, y);
        else if (s <= blocks)
            mix(p, w, s - 1, y);
        else
            leave(p, w, y);
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
            p->known[(2 * k + 1) * KNOWN_CODES + code] = latent(code, p->gain[k]);
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
    p->active = cwic_zeros((size_t)t->shape.blocks, (size_t)p->active_rows, line, 1);
    p->no_row = cwic_zeros(1, 1, line, 1);
    if (t->synthesis)
        p->kept = cwic_zeros((size_t)p->stream_rows, columns, (size_t)t->shape.channels, sizeof *p->kept);
    else
        p->head_in = cwic_zeros((size_t)(p->head_rows + 1), 1, line, sizeof *p->head_in);
    return p->stream && p->active && p->no_row && (p->kept || p->head_in);
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

cwic_pass *cwic_synthesis_pass(const cwic_transform *transform, int32_t rate, const int16_t *codes, uint8_t *pixels,
                               int32_t height, int32_t width, int32_t workers, int32_t *result)
{
    cwic_pass *p = pass_new(transform, 1, rate, height, width, workers, result);
    if (p) {
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
