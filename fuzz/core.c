/* Fuzz target for all of csrc/: libFuzzer, AFL++ (which links the same entry point) and fuzz/replay.c run it.
 *
 * An input's first byte chooses what is called, the next ones its arguments, and the rest is data: streams to decode,
 * symbols to encode, weights; what goes to the transforms and the post-filter is in transforms.c, what to the pixel
 * coder in lossless.c.
 * Besides what the sanitizers see, it is an error if decoded symbols lie outside their range, if what was encoded does
 * not come back, or if a result is none of those that a function may give. Every buffer is as large as the API asks for
 * and no larger, so that a step outside it is seen. */

#include <string.h>

#include "decisions.h"
#include "target.h"

enum { MAX_HEIGHT = 2, MAX_WIDTH = 5, MODELS = 3, SIMD = 4, WEIGHTS_MAX = 1 << 16, BIASES_MAX = 2000 };
/* First bytes: modulo KINDS, but 32 from TRANSFORMS on are the transforms', 24 from PIXELS on the pixel coder's, and 4
 * from POSTS on the post-filter's. */
enum { KINDS = 8, TRANSFORMS = 160, PIXELS = 224, POSTS = 248 };

static uint32_t state;

static int32_t any(int32_t reach) /* -reach .. reach */
{
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return (int32_t)(state % (2 * (uint32_t)reach + 1)) - reach;
}

/* ---- models ------------------------------------------------------------------------------------------------ */

typedef struct {
    int32_t groups[3], group_count, hidden, map_hidden, levels; /* hidden is 0 for cwic2018 */
    int32_t weights, biases;                                    /* how large their entries are */
} shape;

static const shape SHAPES[MODELS] = {
    {{2, 4, 0}, 2, 16, 16, 3, 1000, 100000}, /* predictions about right */
    {{6, 2, 2}, 3, 16, 32, 32, 3000, 1 << 28}, /* means and scales at their limits */
    {{2, 0, 0}, 1, 32, 16, 1, 30, 1000},       /* next to none */
};
static const shape PLANES[MODELS] = {
    {{1, 3, 0}, 2, 0, 0, 4, 4000, 100000},
    {{2, 0, 0}, 1, 0, 0, 2, 30000, 1 << 30},
    {{20, 12, 0}, 2, 0, 0, 32, 300, 1000},
};

static void counts(const shape *s, size_t *weights, size_t *biases)
{
    size_t n = (size_t)s->hidden, m = (size_t)s->map_hidden, earlier = 0;
    int32_t g, planes = 0;
    if (!n) {
        for (g = 0; g < s->group_count; g++)
            planes += s->groups[g];
        for (g = s->levels; g > 1; g >>= 1)
            planes++;
        *weights = 1664 * (size_t)planes;
        *biases = 33 * (size_t)planes;
        return;
    }
    *weights = 2 * m + m * m + 12 * m + m * m + 2 * m;
    *biases = 3 * m + 2;
    for (g = 0; g < s->group_count; earlier += (size_t)s->groups[g++]) {
        size_t c = (size_t)s->groups[g];
        *weights += 2 * n + 9 * (1 + earlier) * n + 9 * n * n + 12 * c * n + n * n + 2 * c * n;
        *biases += 3 * n + 2 * c;
    }
}

static cwic_model *tile_models[MODELS][SIMD];
static cwic_planes *plane_models[MODELS][SIMD];

static void make_models(void)
{
    static int16_t weights[WEIGHTS_MAX];
    static int32_t biases[BIASES_MAX];
    size_t weight_count, bias_count, i;
    int32_t m, simd, result, kind;
    for (kind = 0; kind < 2; kind++)
        for (m = 0; m < MODELS; m++) {
            const shape *s = kind ? &PLANES[m] : &SHAPES[m];
            counts(s, &weight_count, &bias_count);
            REQUIRE(weight_count <= WEIGHTS_MAX && bias_count <= BIASES_MAX);
            state = 1 + (uint32_t)m;
            for (i = 0; i < weight_count; i++)
                weights[i] = (int16_t)any(s->weights);
            for (i = 0; i < bias_count; i++)
                biases[i] = any(s->biases);
            for (simd = 0; simd < SIMD; simd++) {
                if (kind)
                    plane_models[m][simd] = cwic_planes_new(weights, weight_count, biases, bias_count, s->groups,
                                                            s->group_count, s->levels, simd, &result);
                else
                    tile_models[m][simd] = cwic_model_new(weights, weight_count, biases, bias_count, s->groups,
                                                          s->group_count, s->hidden, s->map_hidden, s->levels, simd,
                                                          &result);
                REQUIRE(result == CWIC_OK);
                REQUIRE(kind || cwic_model_simd(tile_models[m][simd]) <= simd);
            }
        }
}

/* ---- one tile of either family ------------------------------------------------------------------------------ */

/* cwic_tile and cwic_stack under one roof. */
typedef struct {
    const shape *shape;
    cwic_tile *tile;
    cwic_stack *stack;
    int32_t height, width;
    int failed_in_bands; /* such a tile does not know of it */
} coder;

static coder open_coder(const shape *s, const cwic_model *model, const cwic_planes *planes, int32_t rate,
                        int32_t height, int32_t width)
{
    coder c;
    int32_t result = 0;
    memset(&c, 0, sizeof c);
    c.shape = s;
    c.height = height;
    c.width = width;
    if (model)
        c.tile = cwic_tile_new(model, rate, height, width, &result);
    else
        c.stack = cwic_stack_new(planes, height, width, &result);
    REQUIRE(result == (height < 1 || width < 1 ? CWIC_ERROR_ARGUMENT : CWIC_OK));
    REQUIRE((c.tile || c.stack) == (result == CWIC_OK));
    return c;
}

static void close_coder(coder *c)
{
    cwic_tile_free(c->tile);
    cwic_stack_free(c->stack);
}

/* Positions of a layer's plane. */
static size_t area(const coder *c, int32_t layer)
{
    return (size_t)c->height * (size_t)c->width * (c->tile && layer ? 4 : 1);
}

static size_t symbols_of(const coder *c, int32_t layer)
{
    return area(c, layer) * (size_t)(layer ? c->shape->groups[layer - 1] : 1);
}

/* As cwic_tile_decode, in bands of rows, and rows beyond the last refused. */
static int32_t decode_bands(cwic_tile *tile, const uint8_t *data, size_t length, int32_t rows, int16_t *symbols)
{
    int32_t result, end = 0;
    cwic_layer *layer = cwic_layer_decoder(tile, data, length, symbols, &result);
    REQUIRE(layer && result == CWIC_OK);
    while (result == CWIC_OK && end < rows) {
        REQUIRE(cwic_layer_finish(layer, NULL) == CWIC_ERROR_ARGUMENT);
        REQUIRE(cwic_layer_rows(layer, end - 1) == CWIC_ERROR_ARGUMENT);
        end += 1 + (int32_t)(length % 3);
        result = cwic_layer_rows(layer, end < rows ? end : rows);
    }
    REQUIRE(cwic_layer_rows(layer, rows + 1) == CWIC_ERROR_ARGUMENT);
    if (result == CWIC_OK)
        result = cwic_layer_finish(layer, NULL);
    cwic_layer_free(layer);
    return result;
}

static int32_t decode(coder *c, const uint8_t *data, size_t length, int32_t layer, int16_t *symbols)
{
    int32_t low = 0, high = layer ? 1 : c->shape->levels - 1;
    const int32_t rows = (int32_t)(layer ? 2 * c->height : c->height);
    int32_t result = !c->tile           ? cwic_stack_decode(c->stack, data, length, symbols)
                     : length % 2       ? decode_bands(c->tile, data, length, rows, symbols)
                                        : cwic_tile_decode(c->tile, data, length, symbols);
    size_t i;
    c->failed_in_bands = length % 2 && result != CWIC_OK;
    REQUIRE(result == CWIC_OK || result == CWIC_ERROR_SHORT || result == CWIC_ERROR_LONG ||
            (c->tile && result == CWIC_ERROR_SYMBOL));
    if (c->tile && layer) {
        low = -CWIC_CODE_LIMIT;
        high = CWIC_CODE_LIMIT;
    }
    for (i = 0; result == CWIC_OK && i < symbols_of(c, layer); i++)
        REQUIRE(symbols[i] >= low && symbols[i] <= high);
    return result;
}

/* Hostile streams, a layer each, until one is refused. A tile that failed must go on to say so. */
static void decode_all(coder *c, input *in)
{
    int32_t layer, result = CWIC_OK;
    for (layer = 0; layer <= c->shape->group_count && result == CWIC_OK; layer++) {
        size_t length;
        uint8_t *stream = part(in, layer == c->shape->group_count ? (size_t)-1 : byte(in), &length);
        int16_t *symbols = exactly(2 * symbols_of(c, layer));
        result = decode(c, stream, length, layer, symbols);
        free(stream);
        free(symbols);
    }
    if (c->stack || !c->failed_in_bands)
        REQUIRE((c->tile ? cwic_tile_decode(c->tile, in->at, 0, NULL)
                         : cwic_stack_decode(c->stack, in->at, 0, NULL)) == CWIC_ERROR_ARGUMENT);
}

/* Symbols of all kinds; what was written must come back from another coder of the same model. */
static void encode_all(coder *c, coder *back, input *in)
{
    const uint32_t how = byte(in); /* bit 0: with exact values; bit 1: keep in range; bit 2: scarce room */
    int32_t layer;
    for (layer = 0; layer <= c->shape->group_count; layer++) {
        const size_t count = symbols_of(c, layer), plane = area(c, layer);
        const size_t capacity = how & 4 ? byte(in) : 29 * count + 16;
        int16_t *symbols = exactly(2 * count), *exact = exactly(2 * count), *again = exactly(2 * count);
        uint16_t *weights = exactly(2 * plane);
        uint8_t *out = exactly(capacity);
        size_t i, written = 0;
        int32_t result, limit = layer == 0 ? c->shape->levels : c->tile ? 512 : 2;
        for (i = 0; i < count; i++) {
            int32_t wide = (int16_t)word(in);
            symbols[i] = (int16_t)(how & 2 ? (c->tile && layer ? wide % limit : abs(wide) % limit) : wide);
            exact[i] = (int16_t)(32 * (symbols[i] % 512) + (int32_t)(byte(in) % 33) - 16);
        }
        for (i = 0; i < plane; i++)
            weights[i] = (uint16_t)word(in);
        if (c->tile) {
            if (how & 1)
                REQUIRE(cwic_tile_encode(c->tile, symbols, exact, NULL, out, capacity, &written) ==
                        CWIC_ERROR_ARGUMENT);
            result = cwic_tile_encode(c->tile, symbols, how & 1 ? exact : NULL, weights, out, capacity, &written);
        } else {
            result = cwic_stack_encode(c->stack, symbols, out, capacity, &written);
        }
        REQUIRE(written <= capacity);
        REQUIRE(result == CWIC_OK || (result == CWIC_ERROR_ARGUMENT && !(how & 2)) ||
                (result == CWIC_ERROR_SPACE && how & 4));
        if (result == CWIC_OK) {
            uint8_t *stream = exactly(written);
            memcpy(stream, out, written);
            REQUIRE(decode(back, stream, written, layer, again) == CWIC_OK);
            REQUIRE(memcmp(again, symbols, 2 * count) == 0);
            free(stream);
        }
        free(symbols);
        free(exact);
        free(again);
        free(weights);
        free(out);
        if (result != CWIC_OK)
            break;
    }
}

static void code(input *in, int planes, int encode)
{
    const uint32_t choice = byte(in), m = choice % MODELS, simd = choice / MODELS % SIMD;
    const shape *s = planes ? &PLANES[m] : &SHAPES[m];
    const cwic_model *model = planes ? NULL : tile_models[m][simd];
    const int32_t rate = (int16_t)word(in), sides = (int32_t)byte(in);
    const int32_t height = sides % (MAX_HEIGHT + 1), width = sides / (MAX_HEIGHT + 1) % (MAX_WIDTH + 1);
    coder c = open_coder(s, model, plane_models[m][simd], rate, height, width);
    if (c.tile || c.stack) {
        if (encode) { /* written by one instruction set, read by the next */
            const uint32_t next = (simd + 1) % SIMD;
            coder back = open_coder(s, planes ? NULL : tile_models[m][next], plane_models[m][next], rate, height, width);
            encode_all(&c, &back, in);
            close_coder(&back);
        } else {
            decode_all(&c, in);
        }
    }
    close_coder(&c);
}

/* ---- hostile weights ---------------------------------------------------------------------------------------- */

/* A shape and weights out of the input; where they are accepted, a tile is decoded with them. */
static void hostile_weights(input *in, int planes)
{
    static const int32_t LARGE[8] = {0, 1, -1, INT32_MAX, INT32_MIN, 1 << 30, 1024, 4096};
    const uint32_t how = byte(in); /* bits 0, 1: counts off by one; bit 2: a number of the shape from LARGE */
    shape s;
    size_t weight_count = 0, bias_count = 0, length, i;
    int32_t result = 0, *biases, g, simd = (int32_t)(how >> 6);
    int16_t *weights;
    uint8_t *bytes;
    cwic_model *model = NULL;
    cwic_planes *stack = NULL;
    memset(&s, 0, sizeof s);
    s.group_count = 1 + (int32_t)(byte(in) % 3);
    for (g = 0; g < 3; g++)
        s.groups[g] = planes ? 1 + (int32_t)(byte(in) % 4) : 2 * (int32_t)(byte(in) % 3);
    s.hidden = planes ? 0 : 16 * (1 + (int32_t)(byte(in) % 2));
    s.map_hidden = 16;
    s.levels = planes ? 1 << byte(in) % 6 : (int32_t)(byte(in) % 34);
    counts(&s, &weight_count, &bias_count);
    if (how & 4) {
        int32_t *fields[] = {&s.groups[0], &s.group_count, &s.hidden, &s.map_hidden, &s.levels, &s.groups[1]};
        uint32_t which = byte(in);
        if (which % 6 != 1 || LARGE[which / 6 % 8] < 4) /* group_count says how many there are to be read */
            *fields[which % 6] = LARGE[which / 6 % 8];
        else
            s.group_count = 64;
    }
    weight_count -= how & 1;
    bias_count += how >> 1 & 1;
    bytes = part(in, 4096, &length);
    weights = exactly(2 * weight_count);
    biases = exactly(4 * bias_count);
    for (i = 0; i < weight_count; i++)
        weights[i] = (int16_t)(length > 1 ? (bytes[2 * i % length] << 8 | bytes[(2 * i + 1) % length]) : 0);
    for (i = 0; i < bias_count; i++)
        biases[i] = length > 3 ? (int32_t)((uint32_t)bytes[4 * i % length] << 24 | bytes[(4 * i + 1) % length]) : 0;
    if (planes)
        stack = cwic_planes_new(weights, weight_count, biases, bias_count, s.groups, s.group_count, s.levels, simd,
                                &result);
    else
        model = cwic_model_new(weights, weight_count, biases, bias_count, s.groups, s.group_count, s.hidden,
                               s.map_hidden, s.levels, simd, &result);
    free(weights);
    free(biases);
    REQUIRE(result == CWIC_OK || result == CWIC_ERROR_WEIGHTS);
    REQUIRE((model || stack) == (result == CWIC_OK));
    if (model || stack) {
        input again = {bytes, bytes + length};
        coder c = open_coder(&s, model, stack, (int32_t)how - 128, 1, 2);
        decode_all(&c, &again);
        close_coder(&c);
    }
    free(bytes);
    cwic_model_free(model);
    cwic_planes_free(stack);
}

/* ---- the range coder alone ---------------------------------------------------------------------------------- */

static void bits(input *in, int encode)
{
    const size_t count = byte(in), room = encode ? byte(in) : 0, capacity = room == 255 ? 2 * count + 16 : room;
    uint16_t *probabilities = exactly(2 * count);
    uint8_t *values = exactly(count), *again = exactly(count), *out = exactly(capacity);
    size_t i, written = 0, length;
    int32_t result;
    for (i = 0; i < count; i++)
        probabilities[i] = (uint16_t)word(in);
    if (encode) {
        for (i = 0; i < count; i++)
            values[i] = (uint8_t)(byte(in) & 1);
        result = cwic_encode_bits(values, probabilities, count, out, capacity, &written);
        REQUIRE(result == CWIC_OK || result == CWIC_ERROR_ARGUMENT ||
                (result == CWIC_ERROR_SPACE && capacity < 2 * count + 16));
        if (result == CWIC_OK) {
            REQUIRE(written <= capacity);
            REQUIRE(cwic_decode_bits(out, written, probabilities, count, again) == CWIC_OK);
            REQUIRE(memcmp(values, again, count) == 0);
        }
    } else {
        uint8_t *stream = part(in, (size_t)-1, &length);
        result = cwic_decode_bits(stream, length, probabilities, count, values);
        REQUIRE(result == CWIC_OK || result == CWIC_ERROR_ARGUMENT || result == CWIC_ERROR_SHORT ||
                result == CWIC_ERROR_LONG);
        for (i = 0; result == CWIC_OK && i < count; i++)
            REQUIRE(values[i] <= 1);
        free(stream);
    }
    free(probabilities);
    free(values);
    free(again);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input in = {data, data + size};
    uint32_t kind = byte(&in);
    if (!tile_models[0][0])
        make_models();
    if (kind >= TRANSFORMS && kind < TRANSFORMS + 32)
        return fuzz_transforms(&in, (int)kind % 2), 0;
    if (kind >= PIXELS && kind < PIXELS + 24)
        return fuzz_pixels(&in, (int)(kind - PIXELS) % 3), 0;
    if (kind >= POSTS && kind < POSTS + 4)
        return fuzz_post(&in), 0;
    switch (kind % KINDS) {
    case 0: bits(&in, 0); break;
    case 1: bits(&in, 1); break;
    case 2: code(&in, 0, 0); break;
    case 3: code(&in, 0, 1); break;
    case 4: code(&in, 1, 0); break;
    case 5: code(&in, 1, 1); break;
    case 6: hostile_weights(&in, 0); break;
    default: hostile_weights(&in, 1); break;
    }
    return 0;
}
