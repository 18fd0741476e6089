/* The integer part of the CWIC codec: range coder, context model, layers. docs/FORMAT.md specifies all of it.
 *
 * Nothing here uses floating point, and nothing depends on the order of threads: the same bytes give the same
 * symbols on every machine. No function keeps state outside the objects it is given. */
#ifndef CWIC_H
#define CWIC_H

#include <stddef.h>
#include <stdint.h>

/* cffi begin */

/* Results: 0 is success, all errors are negative. */
enum cwic_result {
    CWIC_OK = 0,
    CWIC_ERROR_MEMORY = -1,   /* malloc failed */
    CWIC_ERROR_ARGUMENT = -2, /* an argument is out of its range */
    CWIC_ERROR_SPACE = -3,    /* the output buffer is too small */
    CWIC_ERROR_SHORT = -4,    /* the stream ended before its last symbol */
    CWIC_ERROR_LONG = -5,     /* bytes of the stream are left over */
    CWIC_ERROR_SYMBOL = -6,   /* a decoded symbol is out of its range */
    CWIC_ERROR_WEIGHTS = -7   /* the weights do not fit the shape, or could overflow 32 bits */
};

/* Context model with its weights, read-only once made; any number of tiles and threads may share it. */
typedef struct cwic_model cwic_model;

/* weights and biases: the arrays of FORMAT.md section 5.1, copied. groups: channels of each group, even numbers.
 * simd: highest instruction set to use: 0 plain C, 1 AVX2 or NEON, 2 AVX-512 VNNI; the best present one up to it is
 * taken. On failure returns NULL and sets *result. */
cwic_model *cwic_model_new(const int16_t *weights, size_t weight_count, const int32_t *biases, size_t bias_count,
                           const int32_t *groups, int32_t group_count, int32_t hidden, int32_t map_hidden,
                           int32_t levels, int32_t simd, int32_t *result);
void cwic_model_free(cwic_model *model);
/* The instruction set in use, as in simd above. */
int32_t cwic_model_simd(const cwic_model *model);

/* One tile while it is coded: height x width levels, 2*height x 2*width codes a channel. */
typedef struct cwic_tile cwic_tile;

cwic_tile *cwic_tile_new(const cwic_model *model, int32_t rate, int32_t height, int32_t width, int32_t *result);
void cwic_tile_free(cwic_tile *tile);

/* Layers are coded in order: each call codes the next one, layer 0 (the map) first.
 * symbols: the layer's symbols, [channels][rows][columns]; encoding changes those that the format forces to their
 * prediction, decoding writes all. written: bytes produced. A failed call leaves the tile unusable.
 * exact: NULL, or the unrounded values of the symbols in units of 1/32; then each symbol moves from the value towards
 * its prediction while that lowers bits + weight / 256 * (exact - symbol)^2, with the weight of its position out of
 * weights, [rows][columns]. */
int32_t cwic_tile_encode(cwic_tile *tile, int16_t *symbols, const int16_t *exact, const uint16_t *weights,
                         uint8_t *out, size_t capacity, size_t *written);
int32_t cwic_tile_decode(cwic_tile *tile, const uint8_t *data, size_t length, int16_t *symbols);

/* The same in bands of rows, so that the layers of a tile can be under way at once, each in its own thread. They begin
 * in order, the second after the first, the map, is finished. Before a layer's rows up to `end`, the caller sees to it
 * that those of the layer before are coded to end + CWIC_ROWS_AHEAD, or all; else symbols are wrong, no more.
 * Arguments are as above, and stay the caller's until the layer is freed. NULL and *result on failure. */
typedef struct cwic_layer cwic_layer;
enum { CWIC_ROWS_AHEAD = 2 };

cwic_layer *cwic_layer_encoder(cwic_tile *tile, int16_t *symbols, const int16_t *exact, const uint16_t *weights,
                               uint8_t *out, size_t capacity, int32_t *result);
cwic_layer *cwic_layer_decoder(cwic_tile *tile, const uint8_t *data, size_t length, int16_t *symbols,
                               int32_t *result);
/* Codes on until `end` rows are done. */
int32_t cwic_layer_rows(cwic_layer *layer, int32_t end);
/* After all rows; written: bytes produced, may be NULL. */
int32_t cwic_layer_finish(cwic_layer *layer, size_t *written);
void cwic_layer_free(cwic_layer *layer);

/* Predictors of model cwic2018 with their weights, read-only once made; any number of stacks and threads may share
 * them. weights and biases: the arrays of FORMAT.md section 7.3, copied. groups: channels of each layer, at most 128
 * together, a multiple of levels; levels: a power of two, 2 to 32. simd, NULL and *result: as in cwic_model_new. */
typedef struct cwic_planes cwic_planes;

cwic_planes *cwic_planes_new(const int16_t *weights, size_t weight_count, const int32_t *biases, size_t bias_count,
                             const int32_t *groups, int32_t group_count, int32_t levels, int32_t simd,
                             int32_t *result);
void cwic_planes_free(cwic_planes *planes);

/* One tile of cwic2018 while it is coded: height x width levels, and as many codes a channel. */
typedef struct cwic_stack cwic_stack;

cwic_stack *cwic_stack_new(const cwic_planes *planes, int32_t height, int32_t width, int32_t *result);
void cwic_stack_free(cwic_stack *stack);

/* Layers in order, as in cwic_tile_encode: levels 0 .. levels - 1, then bits. Encoding makes masked bits 0. */
int32_t cwic_stack_encode(cwic_stack *stack, int16_t *symbols, uint8_t *out, size_t capacity, size_t *written);
int32_t cwic_stack_decode(cwic_stack *stack, const uint8_t *data, size_t length, int16_t *symbols);

/* Decisions with given probabilities of 1 (16-bit, 1 to 65535): the range coder alone. */
int32_t cwic_encode_bits(const uint8_t *bits, const uint16_t *probabilities, size_t count, uint8_t *out,
                         size_t capacity, size_t *written);
int32_t cwic_decode_bits(const uint8_t *data, size_t length, const uint16_t *probabilities, size_t count,
                         uint8_t *bits);

/* cffi end */

#endif
