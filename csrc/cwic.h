/* The integer part of the CWIC codec: range coder, context model, layers. docs/FORMAT.md specifies all of it.
 *
 * No result depends on floating point (a square root starts from one and is then made exact), and nothing depends on
 * the order of threads: the same bytes give the same symbols on every machine. No function keeps state outside the
 * objects it is given. */
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
    CWIC_ERROR_WEIGHTS = -7,  /* the weights do not fit the shape, or could overflow 32 bits */
    CWIC_CANCELLED = -8       /* cwic_pass_cancel was called */
};

/* Context model with its weights, read-only once made; any number of tiles and threads may share it. */
typedef struct cwic_model cwic_model;

/* weights and biases: the arrays of FORMAT.md section 5.1, copied. groups: channels of each group, even numbers.
 * simd: highest instruction set to use: 0 plain C, 1 AVX2, NEON or the vectors of WebAssembly, 2 AVX-VNNI or NEON with
 * dot product, 3 AVX-512 VNNI, 4 AMX; the best present one up to it is taken. On failure returns NULL and sets *result. */
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

/* Transforms of model cwic1 with their weights, FORMAT.md section 6; read-only once made, any number of passes and
 * threads may share them. */
typedef struct cwic_transform cwic_transform;
typedef struct {
    int32_t wide, blocks, channels, normalised;
    int32_t features, levels; /* of the map's head; an analysis transform has one */
    int32_t fine;             /* how many of the first blocks are fine; of a synthesis transform, else 0 */
} cwic_shape;
/* The three arrays of a transform in the weights file, copied, with their lengths. */
typedef struct {
    const int32_t *words;
    const int16_t *halves;
    const int8_t *bytes;
    size_t word_count, half_count, byte_count;
} cwic_arrays;

/* simd, NULL and *result: as in cwic_model_new. */
cwic_transform *cwic_analysis_new(const cwic_shape *shape, const cwic_arrays *arrays, int32_t simd, int32_t *result);
cwic_transform *cwic_synthesis_new(const cwic_shape *shape, const cwic_arrays *arrays, int32_t simd, int32_t *result);
void cwic_transform_free(cwic_transform *transform);
/* The instruction set in use, as in simd above. */
int32_t cwic_transform_simd(const cwic_transform *transform);

/* A transform on its way over one picture, in bands of rows that pass through its layers one behind the other; memory
 * does not grow with the picture's height. Up to `workers` threads may call cwic_pass_band at once, and any number
 * finishes the work. Pictures are [height][width][3], and padded as FORMAT.md section 2 says: with m = ceil(height / 16)
 * and n = ceil(width / 16) there are m x n levels and 2 m x 2 n codes and latents a channel. The caller's arrays are
 * read and written until the pass is freed. */
typedef struct cwic_pass cwic_pass;

/* rate: T. latents: [channels][2 m][2 n]; levels: [m][n]. */
cwic_pass *cwic_analysis_pass(const cwic_transform *transform, int32_t rate, const uint8_t *pixels, int32_t height,
                              int32_t width, int16_t *latents, int16_t *levels, int32_t workers, int32_t *result);
/* codes: [channels][2 m][2 n]; post: NULL, or the post-filter's coefficients, [3][13], which are copied. */
enum { CWIC_POST = 39 };
cwic_pass *cwic_synthesis_pass(const cwic_transform *transform, int32_t rate, const int16_t *codes, const int8_t *post,
                               uint8_t *pixels, int32_t height, int32_t width, int32_t workers, int32_t *result);
/* Those of the payload of POST, FORMAT.md section 6.9. */
int32_t cwic_post_read(const uint8_t *data, size_t length, int8_t *post);
/* What a post-filter is fitted to: adds to squares[13][13], on and left of its diagonal, the products of features, and to
 * wanted[13][3] those with the errors of red, green, blue in 1/16, over positions `places` of two pictures of so many
 * columns of positions, [..][8 columns][3]. Features are of what is shown, samples in 1/16 from the middle of each. */
void cwic_post_sums(const uint8_t *shown, const uint8_t *original, int32_t columns, const int32_t *places, int32_t count,
                    int32_t simd, int64_t *squares, int64_t *wanted);
/* Carries one band through all layers. Returns 1 if another was left to begin, CWIC_OK if none, or an error. The pass
 * is finished when every call has returned and the last one returned CWIC_OK. */
int32_t cwic_pass_band(cwic_pass *pass);
/* Makes calls under way return CWIC_CANCELLED within a layer of a band, and later ones at once. */
void cwic_pass_cancel(cwic_pass *pass);
/* How many threads there is work for, at most those asked for. */
int32_t cwic_pass_workers(const cwic_pass *pass);
void cwic_pass_free(cwic_pass *pass);

/* Codes of latents at rate T before they are rounded, in 1/32, both [channels][positions]; of an analysis transform. */
void cwic_exact_codes(const cwic_transform *transform, int32_t rate, const int16_t *latents, size_t positions,
                      int16_t *exact);
/* Raises levels, [rows / 2][columns / 2], to those that pay for their bits: where the squared errors that the codes of a
 * cell save, times `step_bits`, less what the codes cost, sum up highest. exact: [channels][rows][columns] in 1/32;
 * cost: bits of codes by magnitude, 0 .. CWIC_COSTS - 1; both kinds of bits in 1/256. */
enum { CWIC_COSTS = 1001 };
void cwic_useful_levels(const int16_t *exact, int32_t rows, int32_t columns, const int32_t *groups, int32_t group_count,
                        const int32_t *cost, int32_t step_bits, int16_t *levels);

/* Pixels without loss, FORMAT.md section 8: a rectangle of `channels` (1 to 4) interleaved channels of 8 bits, whose rows
 * are `stride` bytes apart, at least width * channels; sides are at most CWIC_PIXELS_SIDE. blocks: NULL, or for each
 * block of CWIC_BLOCK pixels a side, in raster order, whether it is coded; pixels of others are neither read nor
 * written. The caller's arrays are read and written until it is freed. NULL and *result on failure. */
typedef struct cwic_pixels cwic_pixels;
enum { CWIC_PIXELS_SIDE = 16777215, CWIC_BLOCK = 16 };

/* bits: NULL, or sums to which what each block takes is added, in bits / 256. */
cwic_pixels *cwic_pixels_encoder(const uint8_t *pixels, int32_t height, int32_t width, int32_t channels, size_t stride,
                                 const uint8_t *blocks, uint32_t *bits, uint8_t *out, size_t capacity,
                                 int32_t *result);
cwic_pixels *cwic_pixels_decoder(const uint8_t *data, size_t length, uint8_t *pixels, int32_t height, int32_t width,
                                 int32_t channels, size_t stride, const uint8_t *blocks, int32_t *result);
/* Codes so many rows more, at most those that are left. A failed call leaves it unusable. */
int32_t cwic_pixels_rows(cwic_pixels *pixels, int32_t count);
/* Of a decoder, whose data may be the start of a stream: 1 if the rows so far are the same whatever follows, else 0. */
int32_t cwic_pixels_settled(const cwic_pixels *pixels);
/* After all rows; written: bytes produced, may be NULL. */
int32_t cwic_pixels_finish(cwic_pixels *pixels, size_t *written);
void cwic_pixels_free(cwic_pixels *pixels);

/* How many pixels of each block of CWIC_BLOCK pixels a side, in raster order, equal one of the two at their left, and how
 * many are near the first of them without being equal: by at most 6 in any channel. */
void cwic_repeats(const uint8_t *pixels, int32_t height, int32_t width, int32_t channels, size_t stride,
                  uint16_t *equal, uint16_t *near);

/* Decisions with given probabilities of 1 (16-bit, 1 to 65535): the range coder alone. */
int32_t cwic_encode_bits(const uint8_t *bits, const uint16_t *probabilities, size_t count, uint8_t *out,
                         size_t capacity, size_t *written);
int32_t cwic_decode_bits(const uint8_t *data, size_t length, const uint16_t *probabilities, size_t count,
                         uint8_t *bits);

/* cffi end */

#endif
