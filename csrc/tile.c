/* Coding the layers of one tile: the context model and the range coder put together. FORMAT.md sections 2 to 5. */

#include <stdlib.h>
#include <string.h>

#include "context.h"
#include "decisions.h"

enum { MAX_SIDE = 2048, CONTEXT_CLIP = 127, CODE_UNIT = 16, LEVEL_UNIT = 64 };

struct cwic_tile {
    const cwic_model *model;
    int32_t u, v;          /* rate inputs */
    int32_t height, width; /* in levels */
    int32_t layer;         /* the next one to begin; -1 after a failure of one coded whole */
    int32_t start;         /* channels of the layers begun so far */
    int mapped;            /* whether the map is finished */
    uint8_t *level;        /* [height][width] */
    int16_t *levels_in;    /* the map network's inputs: [height + 2][width + 4][2], zeros around and in place 1 */
    int16_t *codes_in;     /* the layers' inputs: [2 height + 3][2 width + 4][2 + channels], zeros around;
                              place 0 is the side plane, place 1 stays zero */
};

/* What an encoder works on. */
typedef struct {
    cwic_encoder coder;
    const int16_t *exact;    /* as in cwic_layer_encoder; same layout as the symbols */
    const uint16_t *weights; /* and a plane of them */
} cwic_writer;

struct cwic_layer {
    cwic_tile *tile;
    const cwic_network *network;
    int32_t index, rows, columns, channels;
    int16_t *inputs;   /* place 0 of position (0, 0) */
    int32_t done;      /* rows coded; -1 after a failure */
    int32_t step;      /* from one position to the next; also the number of places */
    int32_t pitch;     /* from one row to the next */
    int32_t place;     /* of the layer's first channel */
    int32_t low, high; /* range of the symbols */
    int16_t *symbols;  /* the caller's */
    int encodes;       /* whether the writer is in use or the decoder */
    cwic_writer writer;
    cwic_decoder decoder;
    int32_t rate[CWIC_MAX_HIDDEN]; /* start of the dense part's sums */
    int32_t mixed[CWIC_MAX_HIDDEN]; /* of the map: the mix, which is the same everywhere */
    int16_t *active;   /* act() of the dense part in three rows, row y in place y modulo 3: [3][columns + 2][hidden] */
    int32_t *sums;     /* one row: [columns][hidden] */
    uint8_t *coded;    /* one flag a row: whether any position of it is coded */
    cwic_correction *corrections; /* of the symbols, by channel */
    cwic_correction around[9];    /* and by neighbourhood */
};


static void activate(const int32_t *sums, int16_t *out, int32_t count)
{
    int32_t i;
    for (i = 0; i < count; i++)
        out[i] = (int16_t)cwic_clamp((sums[i] + 2048) >> 12, 0, CWIC_ACTIVATION_MAX);
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
    t->u = (cwic_clamp(rate, -512, 512) + 4) >> 3;
    t->v = (t->u * t->u + 32) >> 6;
    t->height = height;
    t->width = width;
    t->level = calloc(h * w, 1);
    t->levels_in = calloc((h + 2) * (w + 4) * 2, sizeof *t->levels_in);
    t->codes_in = cwic_zeros(2 * h + 3, 2 * w + 4, 2 + (size_t)model->channels, sizeof *t->codes_in);
    if (!t->level || !t->levels_in || !t->codes_in) {
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
    free(tile);
}

/* ---- one layer --------------------------------------------------------------------------------------------- */

static int is_coded(const cwic_layer *l, int32_t y, int32_t x)
{
    return l->index == 0 || l->tile->level[(size_t)(y >> 1) * l->tile->width + (x >> 1)] >= l->index - 1;
}

/* Whether a position within `reach`, 0 or 1, of this one is coded. */
static int is_near_coded(const cwic_layer *l, int32_t y, int32_t x, int32_t reach)
{
    const int32_t top = y > 0 ? y - reach : 0, bottom = y + reach < l->rows ? y + reach : y;
    const int32_t left = x > 0 ? x - reach : 0, right = x + reach < l->columns ? x + reach : x;
    return is_coded(l, top, left) || is_coded(l, top, right) || is_coded(l, bottom, left) || is_coded(l, bottom, right);
}

/* The next columns of row y, from `from` on, that are within `reach` of a coded position: *begin to the result. */
static int32_t next_run(const cwic_layer *l, int32_t y, int32_t reach, int32_t from, int32_t *begin)
{
    while (from < l->columns && !is_near_coded(l, y, from, reach))
        from++;
    *begin = from;
    while (from < l->columns && is_near_coded(l, y, from, reach))
        from++;
    return from;
}

/* act() of the dense part in row y, at column 0. */
static int16_t *active_row(const cwic_layer *l, int32_t y)
{
    const int32_t hidden = l->network->hidden;
    return l->active + (ptrdiff_t)((y + 3) % 3) * (l->columns + 2) * hidden + hidden;
}

/* act() of the dense part in one row, where a coded position reaches it; zeros below the last row. */
static void dense_row(cwic_layer *l, int32_t y)
{
    const cwic_network *n = l->network;
    const int32_t hidden = n->hidden;
    int32_t offsets[9], k, begin, end;
    if (y >= l->rows) {
        memset(active_row(l, y), 0, (size_t)l->columns * hidden * sizeof *l->active);
        return;
    }
    for (k = 0; k < 9; k++)
        offsets[k] = (k / 3 - 1) * l->pitch + (k % 3 - 1) * l->step;
    for (end = 0; (end = next_run(l, y, 1, end, &begin)) > begin;) {
        l->tile->model->dense(&n->dense, l->inputs + (ptrdiff_t)y * l->pitch + (ptrdiff_t)begin * l->step, offsets,
                              (size_t)l->step, l->rate, 0, l->sums, end - begin);
        activate(l->sums, active_row(l, y) + (ptrdiff_t)begin * hidden, (end - begin) * hidden);
    }
}

/* Which of the nine neighbourhoods a symbol is in: magnitudes to the left and above, counted up to 2. */
static int32_t neighbourhood(const cwic_layer *l, const int16_t *symbol)
{
    int32_t left = abs(symbol[-l->step]), above = abs(symbol[-l->pitch]);
    return 3 * (left > 2 * CODE_UNIT ? 2 : left / CODE_UNIT) + (above > 2 * CODE_UNIT ? 2 : above / CODE_UNIT);
}

/* Codes the symbols of one position, numbered in its plane; sums: the affine part of b without the two taps to the left. */
static int32_t code_position(cwic_layer *l, int16_t *at, const int32_t *sums, size_t position, size_t plane)
{
    static const int32_t origin[1] = {0};
    const cwic_network *n = l->network;
    cwic_affine_function *const dense = l->tile->model->dense;
    const int32_t left[2] = {-2 * l->step, -l->step};
    int16_t hidden[CWIC_MAX_HIDDEN];
    int32_t wide[2 * CWIC_MAX_CHANNELS]; /* means, then scales */
    int32_t j;
    dense(&n->left, at + l->place, left, 0, sums, 0, wide, 1);
    activate(wide, hidden, n->hidden);
    dense(&n->inner, hidden, origin, 0, n->inner_bias, 0, wide, 1);
    activate(wide, hidden, n->hidden);
    dense(&n->out, hidden, origin, 0, n->out_bias, 0, wide, 1);
    for (j = 0; j < l->channels; j++) {
        int32_t mean = cwic_clamp((wide[j] + 8192) >> 14, 16 * l->low, 16 * l->high);
        int32_t scale = cwic_clamp(((wide[l->channels + j] + 16384) >> 15) + 26, 0, 63);
        const size_t place = position + (size_t)j * plane;
        int16_t *symbol = l->symbols + place;
        const cwic_corrections k = {&l->corrections[j], &l->around[neighbourhood(l, at + l->place + j)]};
        int32_t c;
        if (l->encodes) {
            cwic_writer *e = &l->writer;
            if (*symbol < l->low || *symbol > l->high)
                return CWIC_ERROR_ARGUMENT;
            c = *symbol;
            if (e->exact)
                c = cwic_choose_symbol(&k, c, e->exact[place], e->weights[position], mean, scale);
            c = cwic_encode_symbol(&e->coder, &k, c, mean, scale);
        } else {
            c = cwic_decode_symbol(&l->decoder, &k, mean, scale);
            if (c < l->low || c > l->high)
                return CWIC_ERROR_SYMBOL;
        }
        *symbol = (int16_t)c;
        at[l->place + j] = (int16_t)(CODE_UNIT * cwic_clamp(c, -CONTEXT_CLIP, CONTEXT_CLIP));
    }
    return l->encodes ? CWIC_OK : cwic_decoder_short(&l->decoder);
}

static int32_t code_row(cwic_layer *l, int32_t y)
{
    const cwic_network *n = l->network;
    cwic_affine_function *const dense = l->tile->model->dense;
    const int32_t hidden = n->hidden;
    const size_t plane = (size_t)l->rows * l->columns;
    int16_t *row = l->inputs + (ptrdiff_t)y * l->pitch;
    int16_t *out = l->symbols + (size_t)y * l->columns;
    int32_t above[10], around[9], k, x, begin, end, result = CWIC_OK;

    if (l->index)
        dense_row(l, y + 1); /* not all at once: the stream may end before */
    if (l->index && !l->coded[y]) {
        for (k = 0; k < l->channels; k++)
            memset(out + (size_t)k * plane, 0, (size_t)l->columns * sizeof *out);
        return CWIC_OK;
    }
    for (k = 0; k < 10; k++)
        above[k] = (k / 5 - 2) * l->pitch + (k % 5 - 2) * l->step + l->place;
    for (k = 0; l->index && k < 9; k++)
        around[k] = (int32_t)(active_row(l, y + k / 3 - 1) - active_row(l, y)) + (k % 3 - 1) * hidden;
    for (end = 0; (end = next_run(l, y, 0, end, &begin)) > begin;) {
        const int16_t *from = row + (ptrdiff_t)begin * l->step;
        int32_t *sums = l->sums + (size_t)begin * hidden;
        if (l->index) {
            dense(&n->mix, active_row(l, y) + (ptrdiff_t)begin * hidden, around, (size_t)hidden, n->mix_bias, 0, sums,
                  end - begin);
            dense(&n->own, from, above, (size_t)l->step, sums, (size_t)hidden, sums, end - begin);
        } else {
            dense(&n->own, from, above, (size_t)l->step, l->mixed, 0, sums, end - begin);
        }
    }
    for (x = 0; x < l->columns && result == CWIC_OK; x++) {
        if (is_coded(l, y, x)) {
            result = code_position(l, row + (ptrdiff_t)x * l->step, l->sums + (size_t)x * hidden,
                                   (size_t)y * l->columns + x, plane);
            continue;
        }
        for (k = 0; k < l->channels; k++)
            out[(size_t)k * plane + x] = 0;
    }
    return result;
}

/* What holds for the whole layer: rate inputs, rows with a coded position, and the first row of the dense part. */
static void prepare(cwic_layer *l)
{
    static const int32_t origin[1] = {0};
    const cwic_network *n = l->network;
    int32_t k, y, x;
    for (k = 0; k < n->hidden; k++)
        l->rate[k] = n->rate_bias[k] + n->rate[2 * k] * l->tile->u + n->rate[2 * k + 1] * l->tile->v;
    if (l->index == 0) { /* no dense inputs */
        int16_t active[CWIC_MAX_HIDDEN];
        activate(l->rate, active, n->hidden);
        l->tile->model->dense(&n->mix, active, origin, 0, n->mix_bias, 0, l->mixed, 1);
        return;
    }
    for (y = 0; y < l->rows; y++)
        for (x = 0; x < l->columns; x++)
            l->coded[y] |= (uint8_t)is_coded(l, y, x);
}

/* The next layer, without its coder. */
static cwic_layer *begin(cwic_tile *t, int16_t *symbols, int32_t *result)
{
    const cwic_model *m = t->model;
    const int32_t map = t->layer == 0;
    cwic_layer *l;
    *result = CWIC_ERROR_ARGUMENT;
    if (t->layer < 0 || t->layer >= m->layers || (!map && !t->mapped))
        return NULL;
    *result = CWIC_ERROR_MEMORY;
    l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    l->tile = t;
    l->index = t->layer;
    l->network = &m->networks[l->index];
    l->rows = map ? t->height : 2 * t->height;
    l->columns = map ? t->width : 2 * t->width;
    l->channels = l->network->channels;
    l->step = map ? 2 : 2 + m->channels;
    l->pitch = (l->columns + 4) * l->step;
    l->inputs = (map ? t->levels_in : t->codes_in) + 2 * l->pitch + 2 * l->step;
    l->place = map ? 0 : 2 + t->start;
    l->low = map ? 0 : -CWIC_CODE_LIMIT;
    l->high = map ? m->levels - 1 : CWIC_CODE_LIMIT;
    l->symbols = symbols;
    l->active = calloc(3 * ((size_t)l->columns + 2) * (size_t)l->network->hidden, sizeof *l->active);
    l->sums = calloc((size_t)l->columns * (size_t)l->network->hidden, sizeof *l->sums);
    l->coded = calloc((size_t)l->rows, 1);
    l->corrections = calloc((size_t)l->channels, sizeof *l->corrections);
    if (!l->active || !l->sums || !l->coded || !l->corrections) {
        cwic_layer_free(l);
        return NULL;
    }
    prepare(l);
    t->layer++;
    t->start += map ? 0 : l->channels;
    *result = CWIC_OK;
    return l;
}

cwic_layer *cwic_layer_encoder(cwic_tile *tile, int16_t *symbols, const int16_t *exact, const uint16_t *weights,
                               uint8_t *out, size_t capacity, int32_t *result)
{
    cwic_layer *l;
    *result = CWIC_ERROR_ARGUMENT;
    if (exact && !weights)
        return NULL;
    l = begin(tile, symbols, result);
    if (!l)
        return NULL;
    l->encodes = 1;
    l->writer.exact = exact;
    l->writer.weights = weights;
    cwic_encoder_init(&l->writer.coder, out, capacity);
    return l;
}

cwic_layer *cwic_layer_decoder(cwic_tile *tile, const uint8_t *data, size_t length, int16_t *symbols, int32_t *result)
{
    cwic_layer *l = begin(tile, symbols, result);
    if (l)
        cwic_decoder_init(&l->decoder, data, length);
    return l;
}

void cwic_layer_free(cwic_layer *layer)
{
    if (!layer)
        return;
    free(layer->active);
    free(layer->sums);
    free(layer->coded);
    free(layer->corrections);
    free(layer);
}

int32_t cwic_layer_rows(cwic_layer *layer, int32_t end)
{
    int32_t y = layer->done, result = CWIC_OK;
    if (y < 0 || end < y || end > layer->rows)
        return CWIC_ERROR_ARGUMENT;
    if (layer->index && y == 0)
        dense_row(layer, 0);
    for (; y < end && result == CWIC_OK; y++)
        result = code_row(layer, y);
    layer->done = result == CWIC_OK ? end : -1;
    return result;
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
    t->mapped = 1;
}

int32_t cwic_layer_finish(cwic_layer *layer, size_t *written)
{
    int32_t result;
    if (layer->done < layer->rows)
        return CWIC_ERROR_ARGUMENT;
    result = layer->encodes ? cwic_encoder_finish(&layer->writer.coder) : cwic_decoder_finish(&layer->decoder);
    if (written)
        *written = layer->writer.coder.length;
    if (result == CWIC_OK && layer->index == 0)
        keep_levels(layer->tile, layer->symbols);
    return result;
}

/* Codes all of a layer, if it could begin, and frees it. */
static int32_t whole(cwic_tile *t, cwic_layer *l, int32_t result, size_t *written)
{
    if (!l)
        return result;
    result = cwic_layer_rows(l, l->rows);
    if (result == CWIC_OK)
        result = cwic_layer_finish(l, written);
    if (result != CWIC_OK)
        t->layer = -1;
    cwic_layer_free(l);
    return result;
}

int32_t cwic_tile_encode(cwic_tile *tile, int16_t *symbols, const int16_t *exact, const uint16_t *weights,
                         uint8_t *out, size_t capacity, size_t *written)
{
    int32_t result;
    cwic_layer *l = cwic_layer_encoder(tile, symbols, exact, weights, out, capacity, &result);
    *written = 0;
    return whole(tile, l, result, written);
}

int32_t cwic_tile_decode(cwic_tile *tile, const uint8_t *data, size_t length, int16_t *symbols)
{
    int32_t result;
    cwic_layer *l = cwic_layer_decoder(tile, data, length, symbols, &result);
    return whole(tile, l, result, NULL);
}
