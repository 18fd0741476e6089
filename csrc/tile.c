/* Coding the layers of one tile: the context model and the range coder put together. FORMAT.md sections 2 to 5. */

#include <stdlib.h>
#include <string.h>

#include "internal.h"

enum { MAX_SIDE = 2048, CONTEXT_CLIP = 127, CODE_UNIT = 16, LEVEL_UNIT = 64, ACTIVATION_MAX = 2047 };

struct cwic_tile {
    const cwic_model *model;
    int32_t u, v;          /* rate inputs */
    int32_t height, width; /* in levels */
    int32_t layer;         /* the next one; -1 after a failure */
    int32_t start;         /* channels coded so far */
    uint8_t *level;        /* [height][width] */
    int16_t *levels_in;    /* the map network's inputs: [height + 2][width + 4][2], zeros around and in place 1 */
    int16_t *codes_in;     /* the layers' inputs: [2 height + 3][2 width + 4][2 + channels], zeros around;
                              place 0 is the side plane, place 1 stays zero */
    int16_t *active;       /* act() of the dense part: [2 height + 2][2 width + 2][hidden], zeros around */
    int32_t *sums;         /* one row: [2 width][hidden] */
    cwic_correction *channels; /* of the layer's symbols, by channel */
    cwic_correction around[9]; /* and by neighbourhood */
    uint8_t *coded;        /* one flag a row: whether any position of it is coded */
};

/* What one layer works on. */
typedef struct {
    const cwic_network *network;
    int32_t rows, columns, channels;
    int16_t *inputs; /* place 0 of position (0, 0) */
    int32_t step;    /* from one position to the next; also the number of places */
    int32_t pitch;   /* from one row to the next */
    int32_t place;   /* of the layer's first channel */
    int32_t low, high; /* range of the symbols */
} cwic_view;

static int32_t clamp(int32_t x, int32_t low, int32_t high) { return x < low ? low : x > high ? high : x; }

static void activate(const int32_t *sums, int16_t *out, int32_t count)
{
    int32_t i;
    for (i = 0; i < count; i++)
        out[i] = (int16_t)clamp((sums[i] + 2048) >> 12, 0, ACTIVATION_MAX);
}

cwic_tile *cwic_tile_new(const cwic_model *model, int32_t rate, int32_t height, int32_t width, int32_t *result)
{
    cwic_tile *t;
    size_t h, w;
    *result = CWIC_ERROR_ARGUMENT;
    if (height < 1 || height > MAX_SIDE || width < 1 || width > MAX_SIDE)
        return NULL;
    h = (size_t)height;
    w = (size_t)width;
    *result = CWIC_ERROR_MEMORY;
    t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->model = model;
    t->u = (clamp(rate, -512, 512) + 4) >> 3;
    t->v = (t->u * t->u + 32) >> 6;
    t->height = height;
    t->width = width;
    t->level = calloc(h * w, 1);
    t->levels_in = calloc((h + 2) * (w + 4) * 2, sizeof *t->levels_in);
    t->codes_in = calloc((2 * h + 3) * (2 * w + 4) * (2 + (size_t)model->channels), sizeof *t->codes_in);
    t->active = calloc((2 * h + 2) * (2 * w + 2) * (size_t)model->hidden, sizeof *t->active);
    t->sums = calloc(2 * w * (size_t)model->hidden, sizeof *t->sums);
    t->coded = calloc(2 * h, 1);
    t->channels = calloc((size_t)model->channels, sizeof *t->channels);
    if (!t->channels || !t->level || !t->levels_in || !t->codes_in || !t->active || !t->sums || !t->coded) {
        cwic_tile_free(t);
        return NULL;
    }
    *result = CWIC_OK;
    return t;
}

void cwic_tile_free(cwic_tile *tile)
{
    if (!tile)
        return;
    free(tile->level);
    free(tile->levels_in);
    free(tile->codes_in);
    free(tile->active);
    free(tile->sums);
    free(tile->coded);
    free(tile->channels);
    free(tile);
}

static cwic_view view(const cwic_tile *t)
{
    const cwic_model *m = t->model;
    cwic_view v;
    int map = t->layer == 0;
    v.network = &m->networks[t->layer];
    v.rows = map ? t->height : 2 * t->height;
    v.columns = map ? t->width : 2 * t->width;
    v.channels = v.network->channels;
    v.step = map ? 2 : 2 + m->channels;
    v.pitch = (v.columns + 4) * v.step;
    v.inputs = (map ? t->levels_in : t->codes_in) + 2 * v.pitch + 2 * v.step;
    v.place = map ? 0 : 2 + t->start;
    v.low = map ? 0 : -CWIC_CODE_LIMIT;
    v.high = map ? m->levels - 1 : CWIC_CODE_LIMIT;
    return v;
}

static int is_coded(const cwic_tile *t, int32_t y, int32_t x)
{
    return t->layer == 0 || t->level[(size_t)(y >> 1) * t->width + (x >> 1)] >= t->layer - 1;
}

/* Which rows have a coded position. */
static void find_coded(cwic_tile *t, const cwic_view *v)
{
    int32_t y, x;
    for (y = 0; y < v->rows; y++) {
        t->coded[y] = 0;
        for (x = 0; x < v->columns; x++)
            t->coded[y] |= (uint8_t)is_coded(t, y, x);
    }
}

/* act() of the dense part in one row, if a coded position can reach it. */
static void dense_row(cwic_tile *t, const cwic_view *v, const int32_t *rate, int32_t y)
{
    const cwic_network *n = v->network;
    const int32_t hidden = n->hidden, pitch = (v->columns + 2) * hidden;
    int32_t offsets[9], k;
    if (y >= v->rows || (!t->coded[y] && !(y > 0 && t->coded[y - 1]) && !(y + 1 < v->rows && t->coded[y + 1])))
        return;
    for (k = 0; k < 9; k++)
        offsets[k] = (k / 3 - 1) * v->pitch + (k % 3 - 1) * v->step;
    t->model->dense(&n->dense, v->inputs + (ptrdiff_t)y * v->pitch, offsets, (size_t)v->step, rate, 0, t->sums, v->columns);
    activate(t->sums, t->active + (ptrdiff_t)(y + 1) * pitch + hidden, v->columns * hidden);
}

/* What an encoder works on; a decoder has none. */
typedef struct {
    cwic_encoder coder;
    const int16_t *exact;    /* as in cwic_tile_encode; same layout as the symbols */
    const uint16_t *weights; /* and a plane of them */
} cwic_writer;

/* Which of the nine neighbourhoods a symbol is in: magnitudes to the left and above, counted up to 2. */
static int32_t neighbourhood(const cwic_view *v, const int16_t *symbol)
{
    int32_t left = abs(symbol[-v->step]), above = abs(symbol[-v->pitch]);
    return 3 * (left > 2 * CODE_UNIT ? 2 : left / CODE_UNIT) + (above > 2 * CODE_UNIT ? 2 : above / CODE_UNIT);
}

/* Codes the symbols of one position, numbered in its plane; sums: the affine part of b without the two taps to the left. */
static int32_t code_position(cwic_tile *t, const cwic_view *v, cwic_writer *e, cwic_decoder *d, int16_t *at,
                             const int32_t *sums, int16_t *symbols, size_t position, size_t plane)
{
    static const int32_t origin[1] = {0};
    const cwic_network *n = v->network;
    const int32_t left[2] = {-2 * v->step, -v->step};
    int16_t hidden[256];
    int32_t wide[2048];
    int32_t j;
    t->model->dense(&n->left, at + v->place, left, 0, sums, 0, wide, 1);
    activate(wide, hidden, n->hidden);
    t->model->dense(&n->inner, hidden, origin, 0, n->inner_bias, 0, wide, 1);
    activate(wide, hidden, n->hidden);
    t->model->dense(&n->out, hidden, origin, 0, n->out_bias, 0, wide, 1);
    for (j = 0; j < v->channels; j++) {
        int32_t mean = clamp((wide[j] + 8192) >> 14, 16 * v->low, 16 * v->high);
        int32_t scale = clamp(((wide[v->channels + j] + 16384) >> 15) + 26, 0, 63);
        const size_t place = position + (size_t)j * plane;
        int16_t *symbol = symbols + place;
        const cwic_corrections k = {&t->channels[j], &t->around[neighbourhood(v, at + v->place + j)]};
        int32_t c;
        if (e) {
            if (*symbol < v->low || *symbol > v->high)
                return CWIC_ERROR_ARGUMENT;
            c = *symbol;
            if (e->exact)
                c = cwic_choose_symbol(&k, c, e->exact[place], e->weights[position], mean, scale);
            c = cwic_encode_symbol(&e->coder, &k, c, mean, scale);
        } else {
            c = cwic_decode_symbol(d, &k, mean, scale);
            if (c < v->low || c > v->high)
                return CWIC_ERROR_SYMBOL;
        }
        *symbol = (int16_t)c;
        at[v->place + j] = (int16_t)(CODE_UNIT * clamp(c, -CONTEXT_CLIP, CONTEXT_CLIP));
    }
    return CWIC_OK;
}

/* Codes the next layer with the encoder or, if that is NULL, the decoder. */
static int32_t code_layer(cwic_tile *t, cwic_writer *e, cwic_decoder *d, int16_t *symbols)
{
    const cwic_view v = view(t);
    const cwic_network *n = v.network;
    const int32_t hidden = n->hidden, map = t->layer == 0, pitch = (v.columns + 2) * hidden;
    const size_t plane = (size_t)v.rows * v.columns;
    int32_t rate[256], base[256], above[10], around[9], y, x, k, result;

    memset(t->channels, 0, (size_t)v.channels * sizeof *t->channels);
    memset(t->around, 0, sizeof t->around);
    for (k = 0; k < hidden; k++)
        rate[k] = n->rate_bias[k] + n->rate[2 * k] * t->u + n->rate[2 * k + 1] * t->v;
    if (map) { /* no dense inputs: a(n) and the mix are the same everywhere */
        static const int32_t origin[1] = {0};
        int16_t active[256];
        activate(rate, active, hidden);
        t->model->dense(&n->mix, active, origin, 0, n->mix_bias, 0, base, 1);
    } else {
        find_coded(t, &v);
        dense_row(t, &v, rate, 0);
    }
    for (k = 0; k < 10; k++)
        above[k] = (k / 5 - 2) * v.pitch + (k % 5 - 2) * v.step + v.place;
    for (k = 0; k < 9; k++)
        around[k] = (k / 3 - 1) * pitch + (k % 3 - 1) * hidden;

    for (y = 0; y < v.rows; y++) {
        int16_t *row = v.inputs + (ptrdiff_t)y * v.pitch;
        int16_t *out = symbols + (size_t)y * v.columns;
        if (!map)
            dense_row(t, &v, rate, y + 1); /* not all at once: the stream may end before */
        if (!map && !t->coded[y]) {
            for (k = 0; k < v.channels; k++)
                memset(out + (size_t)k * plane, 0, (size_t)v.columns * sizeof *out);
            continue;
        }
        if (map) {
            t->model->dense(&n->own, row, above, (size_t)v.step, base, 0, t->sums, v.columns);
        } else {
            t->model->dense(&n->mix, t->active + (ptrdiff_t)(y + 1) * pitch + hidden, around, (size_t)hidden,
                            n->mix_bias, 0, t->sums, v.columns);
            t->model->dense(&n->own, row, above, (size_t)v.step, t->sums, (size_t)hidden, t->sums, v.columns);
        }
        for (x = 0; x < v.columns; x++) {
            if (!is_coded(t, y, x)) {
                for (k = 0; k < v.channels; k++)
                    out[(size_t)k * plane + x] = 0;
                continue;
            }
            result = code_position(t, &v, e, d, row + (ptrdiff_t)x * v.step, t->sums + (size_t)x * hidden, symbols,
                                   (size_t)y * v.columns + x, plane);
            if (result == CWIC_OK && d)
                result = cwic_decoder_short(d);
            if (result != CWIC_OK)
                return result;
        }
    }
    return CWIC_OK;
}

/* After the map: the levels themselves, and the side plane of the layers. */
static void keep_levels(cwic_tile *t, const int16_t *symbols)
{
    const int32_t step = 2 + t->model->channels, pitch = (2 * t->width + 4) * step;
    int32_t y, x;
    for (y = 0; y < t->height * t->width; y++)
        t->level[y] = (uint8_t)symbols[y];
    for (y = 0; y < 2 * t->height; y++)
        for (x = 0; x < 2 * t->width; x++)
            t->codes_in[(ptrdiff_t)(y + 2) * pitch + (ptrdiff_t)(x + 2) * step] =
                (int16_t)(LEVEL_UNIT * (t->level[(size_t)(y >> 1) * t->width + (x >> 1)] - (t->model->levels - 1)));
}

static int32_t next_layer(cwic_tile *t, cwic_writer *e, cwic_decoder *d, int16_t *symbols)
{
    int32_t result;
    if (t->layer < 0 || t->layer >= t->model->layers)
        return CWIC_ERROR_ARGUMENT;
    result = code_layer(t, e, d, symbols);
    if (result == CWIC_OK)
        result = e ? cwic_encoder_finish(&e->coder) : cwic_decoder_finish(d);
    if (result != CWIC_OK) {
        t->layer = -1;
        return result;
    }
    if (t->layer == 0)
        keep_levels(t, symbols);
    else
        t->start += t->model->networks[t->layer].channels;
    t->layer++;
    return CWIC_OK;
}

int32_t cwic_tile_encode(cwic_tile *tile, int16_t *symbols, const int16_t *exact, const uint16_t *weights,
                         uint8_t *out, size_t capacity, size_t *written)
{
    cwic_writer e;
    int32_t result;
    if (exact && !weights)
        return CWIC_ERROR_ARGUMENT;
    cwic_encoder_init(&e.coder, out, capacity);
    e.exact = exact;
    e.weights = weights;
    result = next_layer(tile, &e, NULL, symbols);
    *written = e.coder.length;
    return result;
}

int32_t cwic_tile_decode(cwic_tile *tile, const uint8_t *data, size_t length, int16_t *symbols)
{
    cwic_decoder d;
    cwic_decoder_init(&d, data, length);
    return next_layer(tile, NULL, &d, symbols);
}
