/* The pixel coder's part of the fuzz target: streams out of the input; pictures made from it, there and back again; and
 * counts of repeated pixels against plain ones. What is no coded pixel must stay as it was, and count for nothing. */

#include "cwic.h"
#include "target.h"

enum { MAX_SIDE = 40, UNTOUCHED = 0xA5, BIT = 256 }; /* as `exactly` leaves bytes; a bit, as `bits` counts */

static uint32_t state;

static uint32_t any(uint32_t count) /* 0 .. count - 1, from a linear congruential generator */
{
    state = state * 1664525u + 1013904223u;
    return (state >> 8) % count;
}

/* ---- rectangles -------------------------------------------------------------------------------------------- */

typedef struct {
    int32_t height, width, channels;
    size_t stride, size, block_count; /* bytes, up to the last pixel's; blocks also if all are coded */
    uint8_t *blocks;                  /* NULL for all */
    uint8_t *coded;                   /* of each byte, whether it is of a pixel that is coded */
} shape;

static size_t block_of(const shape *s, int32_t y, int32_t x)
{
    return (size_t)(y / CWIC_BLOCK) * (size_t)((s->width + CWIC_BLOCK - 1) / CWIC_BLOCK) + (size_t)(x / CWIC_BLOCK);
}

static int32_t side(input *in) /* mostly of one block or two */
{
    const uint32_t value = byte(in);
    return 1 + (int32_t)(value < 192 ? value % (CWIC_BLOCK + 4) : value % MAX_SIDE);
}

static shape shape_of(input *in)
{
    const uint32_t how = byte(in); /* bits 0, 1: channels; 2: with blocks; 3 .. 7: bytes between rows, the last one many */
    shape s;
    size_t line, i;
    int32_t y, x;
    s.width = side(in);
    s.height = side(in);
    s.channels = 1 + (int32_t)(how & 3);
    line = (size_t)s.width * (size_t)s.channels;
    s.stride = line + (how >> 3 == 31 ? 300 : how >> 3);
    s.size = s.stride * (size_t)(s.height - 1) + line;
    s.block_count = 1 + block_of(&s, s.height - 1, s.width - 1);
    s.blocks = NULL;
    if (how & 4) {
        const uint32_t chosen = word(in);
        s.blocks = exactly(s.block_count);
        for (i = 0; i < s.block_count; i++)
            s.blocks[i] = (uint8_t)(chosen >> i & 1 ? 1 + 31 * i : 0);
    }
    s.coded = exactly(s.size);
    memset(s.coded, 0, s.size);
    for (y = 0; y < s.height; y++)
        for (x = 0; x < s.width; x++)
            memset(s.coded + (size_t)y * s.stride + (size_t)(x * s.channels), !s.blocks || s.blocks[block_of(&s, y, x)],
                   (size_t)s.channels);
    return s;
}

static void drop_shape(shape *s)
{
    free(s->blocks);
    free(s->coded);
}

/* Pixels that are not coded, and the bytes between rows. */
static void fill_others(const shape *s, uint8_t *pixels, uint8_t value)
{
    size_t i;
    for (i = 0; i < s->size; i++)
        if (!s->coded[i])
            pixels[i] = value;
}

static void require_others_untouched(const shape *s, const uint8_t *pixels)
{
    size_t i;
    for (i = 0; i < s->size; i++)
        REQUIRE(s->coded[i] || pixels[i] == UNTOUCHED);
}

/* Pixels as photographs, screens and masks have them, from bytes of the input and, when it has ended, made up. */
static uint8_t *picture_of(input *in, const shape *s)
{
    enum { NOISE, FEW, REPEATED, SMOOTH, KINDS };
    const uint32_t how = byte(in), kind = how % KINDS, span = 1 + how / KINDS;
    uint8_t *pixels = exactly(s->size);
    size_t y, x, c, back = span % (size_t)s->width;
    state = word(in);
    for (y = 0; y < (size_t)s->height; y++)
        for (x = 0; x < (size_t)s->width; x++) {
            uint8_t *p = pixels + y * s->stride + x * (size_t)s->channels;
            const uint32_t given = in->at < in->end, value = given ? byte(in) : any(256);
            const uint8_t *like = x >= back ? p - back * (size_t)s->channels : y > 0 ? p - s->stride : NULL;
            for (c = 0; c < (size_t)s->channels; c++)
                if (kind == NOISE)
                    p[c] = (uint8_t)(given ? value * (1 + c) : any(256));
                else if (kind == FEW)
                    p[c] = (uint8_t)((given ? value : any(span)) % span * (37 + c));
                else if (kind == REPEATED && like && (!given || value & 15))
                    p[c] = like[c];
                else
                    p[c] = (uint8_t)(x * span / 8 + y * c + value % (1 + span / 4));
        }
    fill_others(s, pixels, UNTOUCHED);
    return pixels;
}

/* ---- coding ------------------------------------------------------------------------------------------------ */

/* All rows, in calls as `steps` says, and the end; the result is the first that is not CWIC_OK. */
static int32_t code(cwic_pixels *p, const shape *s, uint32_t steps, size_t *written)
{
    int32_t left = s->height, result = CWIC_OK, end;
    REQUIRE(p != NULL);
    while (left > 0 && result == CWIC_OK) {
        const int32_t count = steps % 4 ? (int32_t)(steps % 7 * steps % ((uint32_t)left + 1)) : left;
        result = cwic_pixels_rows(p, count);
        left -= count;
        steps = steps * 5 + 3;
    }
    if (result != CWIC_OK)
        REQUIRE(cwic_pixels_rows(p, left) != CWIC_OK);
    end = cwic_pixels_finish(p, written);
    REQUIRE(result == CWIC_OK || end == result); /* which the wrapper in Python builds upon */
    cwic_pixels_free(p);
    return end;
}

static int32_t encode(const shape *s, const uint8_t *pixels, uint32_t *bits, uint8_t *out, size_t capacity,
                      uint32_t steps, size_t *written)
{
    int32_t result = 1;
    cwic_pixels *p = cwic_pixels_encoder(pixels, s->height, s->width, s->channels, s->stride, s->blocks, bits, out,
                                         capacity, &result);
    result = code(p, s, steps, written);
    REQUIRE(*written <= capacity);
    return result;
}

/* Into memory of its own. */
static uint8_t *decode(const shape *s, const uint8_t *data, size_t length, uint32_t steps, int32_t *result)
{
    uint8_t *pixels = exactly(s->size);
    cwic_pixels *p = cwic_pixels_decoder(data, length, pixels, s->height, s->width, s->channels, s->stride, s->blocks,
                                         result);
    *result = code(p, s, steps, NULL);
    REQUIRE(*result == CWIC_OK || *result == CWIC_ERROR_SHORT || *result == CWIC_ERROR_LONG);
    require_others_untouched(s, pixels);
    return pixels;
}

/* What the start of a stream tells for sure is what all of it does, whose pixels are given. */
static void require_settled(const shape *s, const uint8_t *data, size_t length, const uint8_t *pixels)
{
    uint8_t *start = exactly(length), *found = exactly(s->size);
    int32_t result, row = 0;
    cwic_pixels *p;
    memcpy(start, data, length);
    p = cwic_pixels_decoder(start, length, found, s->height, s->width, s->channels, s->stride, s->blocks, &result);
    REQUIRE(p != NULL);
    while (row < s->height && cwic_pixels_rows(p, 1) == CWIC_OK && cwic_pixels_settled(p))
        row++;
    REQUIRE(row == 0 || memcmp(found, pixels, s->stride * (size_t)(row - 1) + (size_t)(s->width * s->channels)) == 0);
    cwic_pixels_free(p);
    free(start);
    free(found);
}

/* One argument of many that are refused, before anything is read or written. */
static void refuse(const shape *s, uint32_t which, uint8_t *none)
{
    static const int32_t SIDES[4] = {0, -1, CWIC_PIXELS_SIDE + 1, INT32_MIN}, CHANNELS[4] = {0, 5, -1, INT32_MAX};
    const uint32_t field = which % 4, value = which / 4 % 4;
    const int32_t height = field == 0 ? SIDES[value] : s->height, width = field == 1 ? SIDES[value] : s->width;
    const int32_t channels = field == 2 ? CHANNELS[value] : s->channels;
    const size_t line = (size_t)s->width * (size_t)s->channels;
    const size_t stride = field == 3 ? (value ? line - 1 : 0) : field == 1 ? (size_t)1 << 40 : s->stride;
    int32_t result = CWIC_OK;
    REQUIRE(cwic_pixels_encoder(none, height, width, channels, stride, s->blocks, NULL, none, 0, &result) == NULL);
    REQUIRE(result == CWIC_ERROR_ARGUMENT);
    result = CWIC_OK;
    REQUIRE(cwic_pixels_decoder(none, 0, none, height, width, channels, stride, s->blocks, &result) == NULL);
    REQUIRE(result == CWIC_ERROR_ARGUMENT);
}

/* Too many rows, less than none, or the end before all are coded. */
static void refuse_rows(const shape *s, uint32_t which, const uint8_t *data, size_t length)
{
    const int32_t done = (int32_t)(which / 4 % (uint32_t)s->height);
    uint8_t *pixels = exactly(s->size);
    int32_t result;
    cwic_pixels *p = cwic_pixels_decoder(data, length, pixels, s->height, s->width, s->channels, s->stride, s->blocks,
                                         &result);
    REQUIRE(p && result == CWIC_OK);
    if (cwic_pixels_rows(p, done) == CWIC_OK) {
        if (which % 4 == 3)
            result = cwic_pixels_finish(p, NULL);
        else
            result = cwic_pixels_rows(p, which % 4 == 0 ? s->height - done + 1 : which % 4 == 1 ? -1 : INT32_MAX);
        REQUIRE(result == CWIC_ERROR_ARGUMENT);
    }
    cwic_pixels_free(p);
    require_others_untouched(s, pixels);
    free(pixels);
}

/* ---- kinds of inputs --------------------------------------------------------------------------------------- */

/* A hostile stream. */
static void streams(input *in)
{
    shape s = shape_of(in);
    const uint32_t steps = byte(in), wrong = byte(in);
    size_t length;
    uint8_t *stream = part(in, (size_t)-1, &length), *pixels, *again;
    int32_t result, other;
    if (wrong >= 128)
        refuse(&s, wrong, stream);
    if (wrong >= 224) {
        refuse_rows(&s, wrong, stream, length);
    } else {
        pixels = decode(&s, stream, length, steps, &result);
        if (result == CWIC_OK) {
            again = decode(&s, stream, length, steps / 2 + 1, &other);
            REQUIRE(other == CWIC_OK && memcmp(pixels, again, s.size) == 0);
            free(again);
        }
        require_settled(&s, stream, length - length / (2 + wrong % 8), pixels);
        free(pixels);
    }
    free(stream);
    drop_shape(&s);
}

/* All that the blocks took must be about the stream, of which the last 32 bits are pending, and the first few tell how
 * it is coded. */
static void require_sums(const shape *s, const uint32_t *bits, uint32_t start, size_t written)
{
    int64_t sum = 0, whole = (int64_t)written * 8 * BIT;
    size_t i;
    for (i = 0; i < s->block_count; i++) {
        const uint32_t took = bits[i] - start; /* what a sum begins with may be anything */
        REQUIRE(took < 1u << 31 && (!s->blocks || s->blocks[i] || took == 0));
        sum += took;
    }
    REQUIRE(sum <= whole + 33 * BIT && whole <= sum + 16 * BIT);
}

/* A stream that was right, with something done to it. */
static void damage(input *in, const shape *s, const uint8_t *stream, size_t length, const uint8_t *pixels)
{
    const uint32_t how = byte(in), more = how & 1 ? how >> 4 : 0;
    const size_t cut = how & 2 && length ? word(in) % length : 0, size = length - cut + more;
    uint8_t *data = exactly(size), *found;
    int32_t result;
    memcpy(data, stream, length - cut);
    memset(data + length - cut, 0, more);
    if (how & 4 && size) {
        const size_t place = word(in) % size;
        data[place] ^= (uint8_t)(1 + byte(in) % 255);
    }
    found = decode(s, data, size, how >> 3, &result);
    if (!(how & 4))
        require_settled(s, stream, length - cut, pixels);
    if (!(how & 4) && !cut) { /* the same, and zeros behind it */
        REQUIRE(memcmp(found, pixels, s->size) == 0);
        REQUIRE((result == CWIC_OK && more <= 8) || (result == CWIC_ERROR_LONG && more > 0));
    }
    free(data);
    free(found);
}

/* A picture there and back again, and then one thing more. */
static void pictures(input *in)
{
    shape s = shape_of(in);
    const uint32_t how = byte(in), steps = byte(in), start = 0xFFFFFF00u * (how & 1);
    uint8_t *pixels = picture_of(in, &s), *copy = exactly(s.size), *out, *stream, *back;
    const size_t capacity = 64 * (size_t)(s.width * s.height * s.channels) + 64, most = s.block_count * sizeof(uint32_t);
    uint32_t *bits = how & 2 ? exactly(most) : NULL;
    size_t written = 0, again = 0, i;
    int32_t result;
    memcpy(copy, pixels, s.size);
    out = exactly(capacity);
    for (i = 0; bits && i < s.block_count; i++)
        bits[i] = start;
    REQUIRE(encode(&s, pixels, bits, out, capacity, steps, &written) == CWIC_OK);
    REQUIRE(memcmp(copy, pixels, s.size) == 0);
    if (bits)
        require_sums(&s, bits, start, written);
    stream = exactly(written);
    memcpy(stream, out, written);
    free(out);
    back = decode(&s, stream, written, steps / 3, &result);
    REQUIRE(result == CWIC_OK && memcmp(back, pixels, s.size) == 0);
    switch (how >> 2 & 3) {
    case 0: /* what is not coded matters to nobody, nor in how many calls it is done, and there is just enough room */
        fill_others(&s, copy, (uint8_t)how);
        out = exactly(written);
        REQUIRE(encode(&s, copy, NULL, out, written, steps + 1, &again) == CWIC_OK);
        REQUIRE(again == written && memcmp(out, stream, written) == 0);
        free(out);
        break;
    case 1: /* too little room */
        if (written) {
            const size_t room = how & 16 ? written - 1 : (how >> 4 | steps << 4) % written;
            out = exactly(room);
            REQUIRE(encode(&s, pixels, bits, out, room, steps, &again) == CWIC_ERROR_SPACE);
            free(out);
        }
        break;
    case 2: damage(in, &s, stream, written, pixels); break;
    default: break;
    }
    free(bits);
    free(pixels);
    free(copy);
    free(stream);
    free(back);
    drop_shape(&s);
}

static int step_between(const uint8_t *a, const uint8_t *b, int32_t channels)
{
    int most = 0, c;
    for (c = 0; c < channels; c++)
        most = abs(a[c] - b[c]) > most ? abs(a[c] - b[c]) : most;
    return most;
}

static void repeats(input *in)
{
    enum { NEAR = 6 };
    shape s = shape_of(in);
    uint8_t *pixels = picture_of(in, &s);
    uint16_t *equal = exactly(2 * s.block_count), *near = exactly(2 * s.block_count);
    uint16_t plain[2][MAX_SIDE] = {{0}};
    int32_t y, x;
    cwic_repeats(pixels, s.height, s.width, s.channels, s.stride, equal, near);
    for (y = 0; y < s.height; y++)
        for (x = 1; x < s.width; x++) {
            const uint8_t *p = pixels + (size_t)y * s.stride + (size_t)(x * s.channels);
            const int first = step_between(p, p - s.channels, s.channels);
            const int second = x > 1 ? step_between(p, p - 2 * s.channels, s.channels) : 255;
            plain[0][block_of(&s, y, x)] += first == 0 || second == 0;
            plain[1][block_of(&s, y, x)] += first > 0 && first <= NEAR;
        }
    REQUIRE(memcmp(equal, plain[0], 2 * s.block_count) == 0);
    REQUIRE(memcmp(near, plain[1], 2 * s.block_count) == 0);
    free(pixels);
    free(equal);
    free(near);
    drop_shape(&s);
}

void fuzz_pixels(input *in, int kind)
{
    if (kind == 0)
        streams(in);
    else if (kind == 1)
        pictures(in);
    else
        repeats(in);
}
