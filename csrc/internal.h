/* Shared by the C files; not part of the API. */
#ifndef CWIC_INTERNAL_H
#define CWIC_INTERNAL_H

#include <stdlib.h>

#include "cwic.h"

/* The format shifts negative numbers right and means floor; every compiler we know does so. */
typedef char cwic_needs_arithmetic_shift[((-3) >> 1) == -2 ? 1 : -1];

/* Zeros for a * b * c elements of so many bytes, at least one; NULL without memory, or if size_t cannot hold the size. */
static inline void *cwic_zeros(size_t a, size_t b, size_t c, size_t size)
{
    const size_t most = (size_t)-1;
    if ((b && a > most / b) || (c && a * b > most / c))
        return NULL;
    return a * b * c > 0 ? calloc(a * b * c, size) : calloc(1, 1);
}

/* ---- range coder: range_coder.c ---------------------------------------------------------------------------- */

typedef struct {
    uint64_t low;   /* lower end of the interval, less the bytes written; carries go into those */
    uint64_t range; /* its width; between calls 2^32 <= range < 2^64 */
    uint8_t *out;
    size_t capacity, length; /* length <= capacity */
    int failed;              /* sticky: the buffer was too small; nothing more is written */
} cwic_encoder;

typedef struct {
    uint64_t dif;   /* the stream's position within the interval; dif < range on undamaged streams */
    uint64_t range; /* as in the encoder */
    const uint8_t *next, *end;
    size_t past; /* bytes fetched past the end, read as zeros */
} cwic_decoder;

void cwic_encoder_init(cwic_encoder *e, uint8_t *out, size_t capacity);
/* Appends the last bytes. Returns CWIC_OK or CWIC_ERROR_SPACE. */
int32_t cwic_encoder_finish(cwic_encoder *e);
void cwic_encoder_carry(cwic_encoder *e);
void cwic_encoder_shift(cwic_encoder *e);

void cwic_decoder_init(cwic_decoder *d, const uint8_t *data, size_t length);
/* Returns CWIC_OK, CWIC_ERROR_SHORT or CWIC_ERROR_LONG. */
int32_t cwic_decoder_finish(const cwic_decoder *d);
/* Returns CWIC_ERROR_SHORT once the stream has ended too early, so that nobody decodes a picture out of nothing. */
int32_t cwic_decoder_short(const cwic_decoder *d);
uint32_t cwic_decoder_fetch_slow(cwic_decoder *d);

/* Writes one decision; p is the probability of 1, 1 <= p <= 65535.
 * range >= 2^32, so range >> 16 >= 2^16 and 2^16 <= bound < range: both halves are non-empty. The halves differ
 * from the exact ones by less than 2^16 in 2^32, so the loss is below 2^-16 of a bit even there. The product stays
 * below 2^48 * 2^16 = 2^64. */
static inline void cwic_encode(cwic_encoder *e, int bit, uint32_t p)
{
    uint64_t bound = (e->range >> 16) * p;
    if (bit) {
        e->range = bound;
    } else {
        e->low += bound;
        if (e->low < bound)
            cwic_encoder_carry(e);
        e->range -= bound;
    }
    if (e->range < ((uint64_t)1 << 32))
        cwic_encoder_shift(e);
}

/* Reads one decision. Intact streams keep dif < range. On a damaged one dif may pass range; all of this is unsigned
 * arithmetic on values of any size, so it stays defined and merely gives other decisions. */
static inline int cwic_decode(cwic_decoder *d, uint32_t p)
{
    uint64_t bound = (d->range >> 16) * p;
    int bit = d->dif < bound;
    uint64_t zero = (uint64_t)bit - 1; /* all ones where the bit is 0 */
    d->dif -= bound & zero;
    d->range = bound + ((d->range - 2 * bound) & zero); /* modulo 2^64 */
    if (d->range < ((uint64_t)1 << 32)) {
        uint32_t word;
        if (d->end - d->next >= 4) {
            const uint8_t *b = d->next;
            word = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
            d->next += 4;
        } else {
            word = cwic_decoder_fetch_slow(d);
        }
        d->dif = d->dif << 32 | word;
        d->range <<= 32;
    }
    return bit;
}

/* ---- codes as decisions: symbols.c ------------------------------------------------------------------------- */

extern const int16_t cwic_first[64][16]; /* log odds in 1/256 */
extern const int16_t cwic_step[64][257];
extern const uint16_t cwic_probabilities[2816];

enum { CWIC_CODE_LIMIT = 511 };

/* What the decisions coded so far say of those to come, by kind: first, upwards, downwards. Starts at zero. */
typedef struct {
    int32_t slope[3]; /* in 2^-16, within +-2^15 */
    int32_t bias[3];  /* of the log odds, in 2^-16, within +-2^19 */
} cwic_correction;

/* The corrections that hold for one symbol: its channel's, and (biases alone) that of its neighbourhood. */
typedef struct {
    cwic_correction *channel, *around;
} cwic_corrections;

/* Writes symbol c with mean m / 16 and scale index i; returns the symbol as the decoder will see it. */
int32_t cwic_encode_symbol(cwic_encoder *e, const cwic_corrections *k, int32_t c, int32_t m, int32_t i);
/* The symbol to write for a value of exact / 32: the first symbol on the way from c, its rounding, to the prediction
 * whose next one does not lower bits + weight / 256 * (exact / 32 - symbol)^2. weight is at most 2^16. */
int32_t cwic_choose_symbol(const cwic_corrections *k, int32_t c, int32_t exact, int32_t weight, int32_t m, int32_t i);
/* Reads a symbol; on damaged streams it may be anything within +-4096. */
int32_t cwic_decode_symbol(cwic_decoder *d, const cwic_corrections *k, int32_t m, int32_t i);

/* ---- dense layers: dense*.c -------------------------------------------------------------------------------- */

/* An affine map from `taps` neighbours of `inputs` int16 each to `outputs` int32. */
typedef struct {
    int32_t taps, inputs, outputs; /* inputs even, outputs a multiple of 16: padded with zeros */
    int16_t *weights;              /* [taps][inputs / 2][outputs][2] */
} cwic_affine;

/* Makes an affine map of zeros; returns 0 without memory. The caller frees its weights. */
int cwic_affine_shape(cwic_affine *a, int32_t taps, int32_t inputs, int32_t outputs);

/* For each of `count` positions, out[p][o] = start[p][o] + sum over taps and inputs of weight * input, where the
 * inputs of tap k at position p are at input + offsets[k] + p * step. start may be out, or a row of biases with
 * start_step 0. Integer sums that cannot overflow: every implementation gives the same result. */
typedef void cwic_dense_function(const cwic_affine *a, const int16_t *input, const int32_t *offsets, size_t step,
                                 const int32_t *start, size_t start_step, int32_t *out, int32_t count);

cwic_dense_function cwic_dense_plain;
/* The best implementation up to `simd`; writes which one. */
cwic_dense_function *cwic_dense_choose(int32_t simd, int32_t *chosen);
/* NULL where the compiler or the processor lacks it. */
cwic_dense_function *cwic_dense_x86(int32_t simd);
cwic_dense_function *cwic_dense_neon(int32_t simd);

/* ---- context model: model.c -------------------------------------------------------------------------------- */

/* Network of one layer; names as in FORMAT.md section 5. Outputs are padded to multiples of 16. */
typedef struct {
    int32_t channels, hidden;
    int32_t earlier; /* dense inputs: side plane, a zero, earlier channels; 0 for the map */
    cwic_affine dense, mix, own, left, inner, out; /* own: the ten taps above; left: the two to the left */
    int32_t *rate, *rate_bias, *mix_bias, *inner_bias, *out_bias;
} cwic_network;

struct cwic_model {
    int32_t layers; /* 1 + groups */
    int32_t channels, levels, hidden;
    int32_t simd;
    cwic_dense_function *dense;
    cwic_network *networks; /* [layers] */
};

#endif
