/* The range coder, FORMAT.md section 3. */
#ifndef CWIC_RANGE_CODER_H
#define CWIC_RANGE_CODER_H

#include "common.h"

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
/* Whether all decisions so far stay the same, whatever bytes follow those that there are, of a stream that was cut. */
int cwic_decoder_settled(const cwic_decoder *d);
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

#endif
