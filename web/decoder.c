/* The decoder as cwic.js calls it: one model and one tile at a time, which lie here, so that JavaScript holds no pointers
 * to them. Functions return a cwic_result unless said otherwise. Rows and columns are those of the map; a plane of codes
 * has twice as many each way. */

#include <string.h>

#include "common.h"

#define EXPORT(name) __attribute__((export_name(#name), visibility("default")))

/* A file of weights, as pillow_cwic/tools/web.py writes it: integers are little-endian, and so is
 * WebAssembly. */
enum { MAGIC = 16, MAX_VALUES = 1 << 28 };
typedef struct {
    int32_t wide, blocks, fine, normalised, levels, hidden, map_hidden, group_count;
    uint32_t words, halves, bytes, weights, biases; /* lengths of the arrays behind the groups, in this order */
} facts;

static cwic_model *context;
static cwic_transform *synthesis;
static cwic_tile *tile;
static int32_t layer; /* of the tile, the next one */
static int32_t tile_rows, tile_columns;
static int32_t groups[CWIC_MAX_GROUPS];
static facts shape;

/* Values of `size` bytes each of which all first bytes come first, then all second ones ..; NULL without memory. */
static void *joined(const uint8_t **at, size_t count, size_t size)
{
    uint8_t *values = cwic_zeros(count, size, 1, 1);
    size_t i, k;
    for (k = 0; values && k < size; k++)
        for (i = 0; i < count; i++)
            values[i * size + k] = *(*at)++;
    return values;
}

static int32_t read_arrays(const uint8_t *at)
{
    const cwic_shape s = {shape.wide, shape.blocks, 0, shape.normalised, 0, 0, shape.fine};
    cwic_shape whole = s;
    int32_t g, result = CWIC_ERROR_MEMORY;
    int32_t *words = joined(&at, shape.words, 4);
    int16_t *halves = joined(&at, shape.halves, 2);
    int8_t *bytes = joined(&at, shape.bytes, 1);
    int16_t *weights = joined(&at, shape.weights, 2);
    int32_t *biases = joined(&at, shape.biases, 4);
    const cwic_arrays arrays = {words, halves, bytes, shape.words, shape.halves, shape.bytes};
    for (g = 0; g < shape.group_count; g++)
        whole.channels += groups[g];
    if (words && halves && bytes && weights && biases)
        synthesis = cwic_synthesis_new(&whole, &arrays, CWIC_BEST_SIMD, &result);
    if (synthesis)
        context = cwic_model_new(weights, shape.weights, biases, shape.biases, groups, shape.group_count, shape.hidden,
                                 shape.map_hidden, shape.levels, CWIC_BEST_SIMD, &result);
    free(words);
    free(halves);
    free(bytes);
    free(weights);
    free(biases);
    return context ? CWIC_OK : result;
}

/* Takes a model out of a file of weights, once. */
EXPORT(model) int32_t web_model(const uint8_t *data, size_t length)
{
    uint64_t need = MAGIC + sizeof shape;
    int32_t g;
    if (context || synthesis)
        return CWIC_ERROR_ARGUMENT;
    if (length < need)
        return CWIC_ERROR_WEIGHTS;
    memcpy(&shape, data + MAGIC, sizeof shape);
    if (shape.group_count < 1 || shape.group_count > CWIC_MAX_GROUPS || shape.words > MAX_VALUES ||
        shape.halves > MAX_VALUES || shape.bytes > MAX_VALUES || shape.weights > MAX_VALUES || shape.biases > MAX_VALUES)
        return CWIC_ERROR_WEIGHTS;
    need += 4 * (uint64_t)shape.group_count;
    if (length != need + 4 * (uint64_t)shape.words + 2 * (uint64_t)shape.halves + shape.bytes +
                      2 * (uint64_t)shape.weights + 4 * (uint64_t)shape.biases)
        return CWIC_ERROR_WEIGHTS;
    memcpy(groups, data + MAGIC + sizeof shape, 4 * (size_t)shape.group_count);
    for (g = 0; g < shape.group_count; g++)
        if (groups[g] < 2 || groups[g] > 1024)
            return CWIC_ERROR_WEIGHTS;
    return read_arrays(data + need);
}

/* Channels of a layer, or how many layers there are for -1; 0 for one that is none. */
EXPORT(channels) int32_t web_channels(int32_t index)
{
    return index < 0 ? 1 + shape.group_count : index == 0 ? 1 : index <= shape.group_count ? groups[index - 1] : 0;
}

/* Begins a tile of so many levels; the one before is done with. */
EXPORT(tile) int32_t web_tile(int32_t rate, int32_t rows, int32_t columns)
{
    int32_t result;
    cwic_tile_free(tile);
    layer = 0;
    tile_rows = rows;
    tile_columns = columns;
    tile = context ? cwic_tile_new(context, rate, rows, columns, &result) : NULL;
    return tile ? CWIC_OK : context ? result : CWIC_ERROR_ARGUMENT;
}

EXPORT(tile_end) void web_tile_end(void)
{
    cwic_tile_free(tile);
    tile = NULL;
}

/* The tile's next layer, into planes of so many rows and columns (of levels or codes), of which the tile's first is at
 * `planes`; scratch: room for the layer's symbols, or NULL if the tile is the whole picture. */
EXPORT(layer) int32_t web_layer(const uint8_t *data, size_t length, int16_t *planes, int32_t rows, int32_t columns,
                                int16_t *scratch)
{
    const int32_t unit = layer ? 2 : 1, channels = web_channels(layer++);
    const size_t width = (size_t)tile_columns * (size_t)unit;
    int32_t result = tile ? cwic_tile_decode(tile, data, length, scratch ? scratch : planes) : CWIC_ERROR_ARGUMENT;
    int32_t c, y;
    if (result != CWIC_OK || !scratch)
        return result;
    for (c = 0; c < channels; c++, planes += (size_t)rows * (size_t)columns)
        for (y = 0; y < tile_rows * unit; y++, scratch += width)
            memcpy(planes + (size_t)y * (size_t)columns, scratch, width * sizeof *scratch);
    return CWIC_OK;
}

/* Whether these bytes are a payload of POST, as a cwic_result; a module older than POST lacks this. */
EXPORT(post) int32_t web_post(const uint8_t *data, size_t length)
{
    int8_t coefficients[CWIC_POST];
    return cwic_post_read(data, length, coefficients);
}

/* Codes [channels][rows][columns] to RGB pixels [height][width][3]; post: NULL, or the payload of POST. */
EXPORT(synthesis) int32_t web_synthesis(int32_t rate, const int16_t *codes, uint8_t *pixels, int32_t height,
                                        int32_t width, const uint8_t *post, size_t length)
{
    int8_t coefficients[CWIC_POST];
    int32_t result = post ? cwic_post_read(post, length, coefficients) : CWIC_OK;
    cwic_pass *pass;
    if (!synthesis)
        return CWIC_ERROR_ARGUMENT;
    if (result != CWIC_OK)
        return result;
    pass = cwic_synthesis_pass(synthesis, rate, codes, post ? coefficients : NULL, pixels, height, width, 1, &result);
    while (pass && (result = cwic_pass_band(pass)) == 1)
        ;
    cwic_pass_free(pass);
    return result;
}

/* A stream of pixels without loss: [height][width][channels] without gaps; blocks: NULL, or which are coded. */
EXPORT(pixels) int32_t web_pixels(const uint8_t *data, size_t length, uint8_t *pixels, int32_t height, int32_t width,
                                  int32_t channels, const uint8_t *blocks)
{
    int32_t result;
    cwic_pixels *p = cwic_pixels_decoder(data, length, pixels, height, width, channels, (size_t)width * (size_t)channels,
                                         blocks, &result);
    if (!p)
        return result;
    cwic_pixels_rows(p, height);
    result = cwic_pixels_finish(p, NULL); /* which says again what the rows said */
    cwic_pixels_free(p);
    return result;
}

/* The same of the start of a stream: how many rows are the same whatever its end was, or a cwic_result; others stay. */
EXPORT(rows) int32_t web_rows(const uint8_t *data, size_t length, uint8_t *pixels, int32_t height, int32_t width,
                              int32_t channels, const uint8_t *blocks)
{
    const size_t stride = (size_t)width * (size_t)channels;
    int32_t result, row;
    uint8_t *before = cwic_zeros(stride, 1, 1, 1);
    cwic_pixels *p = cwic_pixels_decoder(data, length, pixels, height, width, channels, stride, blocks, &result);
    for (row = 0; before && p && row < height; row++, pixels += stride) {
        memcpy(before, pixels, stride);
        cwic_pixels_rows(p, 1);
        if (!cwic_pixels_settled(p)) {
            memcpy(pixels, before, stride);
            break;
        }
    }
    result = !p ? result : before ? row : CWIC_ERROR_MEMORY;
    cwic_pixels_free(p);
    free(before);
    return result;
}
