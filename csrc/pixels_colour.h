/* The colours of pixels that no candidate gives, and the state of the pixel coder; part of pixels.c alone.
 *
 * A channel is coded in one of two ways: as a residual of mixed predictions, or as a value under hashes of the pixels
 * around. `decoding` and `contexts` are constants where these functions are used. */
#ifndef CWIC_PIXELS_COLOUR_H
#define CWIC_PIXELS_COLOUR_H

#include "mixing.h"

enum {
    MARGIN = 4,     /* pixels on either side of a row */
    ROWS = 3,       /* of history, this one included */
    SOURCES = 8,    /* of candidates */
    PIXEL_CONTEXTS = 7,
    NEAR_CONTEXTS = 5,   /* of residuals, of how large and how sure neighbours' are */
    RICH_CONTEXTS = 6,   /* in photographs, with the very values of the channels before */
    COLOUR_CONTEXTS = 9, /* elsewhere, with those and pixels around */
    VALUE_CONTEXTS = 6,
    NODES = 16, /* mixed decisions of a channel's residual: one cache line of slots */
    FILTERS = 2, /* adaptive predictors */
    PREDICTORS = 5,
    WAYS = 120 /* kinds of places that choose between residuals and values */
};

#ifdef __GNUC__
#define ALIGNED __attribute__((aligned(16)))
#else
#define ALIGNED
#endif

enum { FIRST_HIT, OTHER_HIT, MISS }; /* what became of a pixel */

/* What a hash of a neighbourhood saw last. */
typedef struct {
    uint32_t pixel;
    uint16_t check;
    uint8_t hits, spare;
} memory;

typedef struct {
    int16_t error[4];
    uint8_t wrong[4][8]; /* of predictors, in 1/4, at most 255 */
} trace;

/* What the two ways of coding a pixel, residuals and values, cost lately, in 1/256 bit. */
typedef struct {
    int32_t spent[2];
    uint32_t uses;
} way;

typedef struct {
    int16_t taps[FILTERS][8][4][2]; /* in 2^-14; first, as vectors are aligned */
    cwic_mixer mixer;
    int32_t width, channels, across, y;
    const uint8_t *blocks; /* which are coded, NULL for all */
    uint32_t *bits;        /* what each block took, NULL if nobody asks */
    uint32_t *row[ROWS];  /* pixels of this row and those above, from x = 0 */
    uint8_t *kind[2];     /* what became of them */
    trace *trace[2];
    memory *near, *far;
    uint32_t *hits;       /* slots of decisions about candidates */
    uint32_t *colours;    /* slots of residuals, in groups of NODES */
    uint32_t *values;     /* slots of values, in groups of 16 */
    int memory_bits, near_bits, hit_bits, value_bits, colour_bits;
    uint32_t run, history;
    uint32_t flat[64], quiet[1];
    cwic_weights pixel_weights[2][3][256];
    uint32_t pixel_final[3][64][CWIC_FINALS];
    cwic_weights colour_weights[2][4][NODES * 16];
    cwic_weights value_weights[2][4][256];
    uint32_t value_final[4][256][CWIC_FINALS];
    uint32_t colour_final[4][8][NODES][CWIC_FINALS]; /* by activity */
    uint32_t digits[4][8][16]; /* slots by channel and power of two: by activity, by the first digit */
    int32_t blend[1024]; /* weights of predictors by what they were wrong */
    way ways[WAYS];
    uint8_t logs[1024], signs[2048];
} coder;

static const uint64_t mul[16] = {
    0x9e3779b97f4a7c15u, 0xc2b2ae3d27d4eb4fu, 0x165667b19e3779f9u, 0x85ebca77c2b2ae63u,
    0x27d4eb2f165667c5u, 0xd6e8feb86659fd93u, 0xa0761d6478bd642fu, 0xe7037ed1a0b428dbu,
    0x8ebc6af09c88c6e3u, 0x589965cc75374cc3u, 0x1d8e4e27c47d124fu, 0xeb44accab455d165u,
    0x9fb21c651e98df25u, 0xb492b66fbe98f273u, 0xcbf29ce484222325u, 0x94d049bb133111ebu};

static const int32_t steps[FILTERS] = {120, 20}; /* of adaptive predictors, in 2^-12 */

INLINE uint32_t slot_index(uint64_t h, int tag, int bits)
{
    h = (h + (uint64_t)(tag + 1) * mul[14]) * mul[15];
    h ^= h >> 29;
    return (uint32_t)(h * mul[0] >> (64 - bits));
}

INLINE int channel_of(uint32_t pixel, int c) { return (int)(pixel >> 8 * c & 255); }

INLINE int log_of(const coder *s, int32_t x) { return s->logs[x > 1023 ? 1023 : x]; }

INLINE int signed_log(const coder *s, int32_t x) /* -7 .. 7 as 0 .. 14 */
{
    return s->signs[cwic_clamp(x, -1023, 1023) + 1024];
}

/* Channel c of the pixel at x. */
INLINE int at(const uint32_t *row, int32_t x, int c)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return ((const uint8_t *)(row + x))[c];
#else
    return channel_of(row[x], c);
#endif
}

#include "pixels_predict.h"
#include "pixels_residual.h"

/* A channel of a pixel where neighbours are the same or far apart: the value itself, four bits and four bits, under
 * hashes of whole pixels. */
INLINE int code_value(coder *s, int32_t x, int c, uint32_t now, int value, int decoding)
{
    const uint32_t *r0 = s->row[0] + x, *r1 = s->row[1] + x;
    const uint64_t W = r0[-1], N = r1[0], NE = r1[1], WW = r0[-2], start = (uint64_t)(c + 1) * mul[0];
    const uint64_t base = start + now * mul[1];
    int i, k, half, node = 1, centre = median(at(r0, -1, c), at(r1, 0, c), at(r1, -1, c));
    uint64_t h[VALUE_CONTEXTS];
    if (c > 0)
        centre = cwic_clamp(centre + channel_of(now, 0) - median(at(r0, -1, 0), at(r1, 0, 0), at(r1, -1, 0)), 0, 255);
    h[0] = base;
    h[1] = base + W * mul[2];
    h[2] = base + N * mul[3];
    h[3] = start + (uint64_t)centre * mul[7];
    h[4] = base + W * mul[2] + WW * mul[8];
    h[5] = base + N * mul[3] + NE * mul[5];
    for (half = 0; half < 2; half++) {
        uint32_t *group[VALUE_CONTEXTS], *slots[VALUE_CONTEXTS];
        int low = 1;
        for (i = 0; i < VALUE_CONTEXTS; i++)
            group[i] = s->values + 16 * (size_t)slot_index(h[i] + (uint64_t)node * mul[10], i, s->value_bits);
        for (k = 4 * half; k < 4 * half + 4; k++) {
            int seen = 0, bit;
            for (i = 0; i < VALUE_CONTEXTS; i++) {
                slots[i] = group[i] + low;
                if (i == 0 || i > 2)
                    seen = seen << 1 | ((*slots[i] & CWIC_SLOT_LIMIT) > 0);
            }
            bit = cwic_mix(&s->mixer, slots, VALUE_CONTEXTS, s->value_weights[0][c] + 16 * k + seen,
                           s->value_weights[1][c] + node, s->value_final[c][node], value >> (7 - k) & 1, 127, 60,
                           decoding);
            node = 2 * node + bit;
            low = 2 * low + bit;
        }
    }
    return node & 255;
}

#endif
