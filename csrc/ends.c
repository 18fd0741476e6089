/* Entrance and exit of a transform, and the map's head: FORMAT.md sections 6.2, 6.3, 6.5, 6.8 and 6.9. */

#include <string.h>

#include "pass.h"

enum { HEAD_SIDE = 4 };

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
int16_t cwic_latent(int32_t code, int32_t gain)
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
                    code >= -KNOWN_CODES && code < KNOWN_CODES ? known[code] : cwic_latent(code, p->gain[c]);
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

void cwic_enter(const cwic_pass *p, scratch *w, int32_t y)
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
static void show(const cwic_pass *p, int32_t *sums, int32_t y, int32_t x, int32_t count)
{
    const int32_t shift = p->posts ? CWIC_POST_BITS : p->t->exit_shift;
    const int32_t rows = p->height - 8 * y < 8 ? p->height - 8 * y : 8;
    int32_t k, row, column;
    for (k = 0; k < count; k++, sums += CWIC_BLOCK_VALUES) {
        const int32_t left = p->width - 8 * (x + k), columns = left < 8 ? left : 8;
        uint8_t value[CWIC_BLOCK_VALUES];
        if (p->posts)
            p->t->filter(sums, p->t->exit_shift, p->post);
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

void cwic_leave(cwic_pass *p, scratch *w, int32_t y)
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
