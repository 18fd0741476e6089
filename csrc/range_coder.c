/* Binary range coder with 16-bit probabilities and a 64-bit state: FORMAT.md section 3. */

#include "range_coder.h"

void cwic_encoder_init(cwic_encoder *e, uint8_t *out, size_t capacity)
{
    e->low = 0;
    e->range = UINT64_MAX;
    e->out = out;
    e->capacity = capacity;
    e->length = 0;
    e->failed = 0;
}

/* Adds 1 to the number written so far. The interval lies below 1, so a carry never leaves the first byte: the loop
 * ends at a byte below 255. */
void cwic_encoder_carry(cwic_encoder *e)
{
    size_t i = e->length;
    while (i > 0 && ++e->out[--i] == 0)
        ;
}

static void put(cwic_encoder *e, uint64_t top, int bytes)
{
    int i;
    if (e->failed || e->capacity - e->length < (size_t)bytes) {
        e->failed = 1;
        return;
    }
    for (i = 0; i < bytes; i++)
        e->out[e->length++] = (uint8_t)(top >> (56 - 8 * i));
}

/* range < 2^32: moves the top four bytes of low out. range >= 2^16 here (see cwic_encode), so range >= 2^48 after. */
void cwic_encoder_shift(cwic_encoder *e)
{
    put(e, e->low, 4);
    e->low <<= 32;
    e->range <<= 32;
}

/* Writes the fewest bytes that, followed by zeros, lie inside [low, low + range). range >= 2^32, so four suffice. */
int32_t cwic_encoder_finish(cwic_encoder *e)
{
    int bytes;
    for (bytes = 0; bytes <= 4; bytes++) {
        uint64_t below = bytes == 0 ? UINT64_MAX : UINT64_MAX >> (8 * bytes);
        uint64_t value = (e->low + below) & ~below;
        int carry = value < e->low; /* low + below passed 2^64 */
        if (value - e->low >= e->range)
            continue;
        if (carry)
            cwic_encoder_carry(e);
        put(e, value, bytes);
        break;
    }
    return e->failed ? CWIC_ERROR_SPACE : CWIC_OK;
}

void cwic_decoder_init(cwic_decoder *d, const uint8_t *data, size_t length)
{
    d->next = data;
    d->end = data + length;
    d->past = 0;
    d->range = UINT64_MAX;
    d->dif = (uint64_t)cwic_decoder_fetch_slow(d) << 32;
    d->dif |= cwic_decoder_fetch_slow(d);
}

/* Four bytes, zeros past the end. */
uint32_t cwic_decoder_fetch_slow(cwic_decoder *d)
{
    uint32_t word = 0;
    int i;
    for (i = 0; i < 4; i++) {
        word <<= 8;
        if (d->next < d->end)
            word |= *d->next++;
        else
            d->past++;
    }
    return word;
}

/* The encoder writes four bytes a shift and at most four at the end; the decoder fetches four a shift and eight at
 * the start. So an intact stream is fetched whole and at most eight bytes past its end. */
int32_t cwic_decoder_short(const cwic_decoder *d) { return d->past > 8 ? CWIC_ERROR_SHORT : CWIC_OK; }

/* Values of the interval, and no others, give the decisions that led to it. The missing bytes, the last `past` ones
 * fetched, would add up to 2^(8 past) - 1 to dif; range < 2^64, so that eight of them are too many. */
int cwic_decoder_settled(const cwic_decoder *d)
{
    return d->past < 8 && d->dif < d->range && (d->range - d->dif) >> (8 * d->past) > 0;
}

int32_t cwic_decoder_finish(const cwic_decoder *d)
{
    if (cwic_decoder_short(d) != CWIC_OK)
        return CWIC_ERROR_SHORT;
    return d->next < d->end ? CWIC_ERROR_LONG : CWIC_OK;
}

int32_t cwic_encode_bits(const uint8_t *bits, const uint16_t *probabilities, size_t count, uint8_t *out,
                         size_t capacity, size_t *written)
{
    cwic_encoder e;
    size_t i;
    int32_t result;
    cwic_encoder_init(&e, out, capacity);
    for (i = 0; i < count; i++) {
        if (probabilities[i] == 0)
            return CWIC_ERROR_ARGUMENT;
        cwic_encode(&e, bits[i] != 0, probabilities[i]);
    }
    result = cwic_encoder_finish(&e);
    *written = e.length;
    return result;
}

int32_t cwic_decode_bits(const uint8_t *data, size_t length, const uint16_t *probabilities, size_t count,
                         uint8_t *bits)
{
    cwic_decoder d;
    size_t i;
    cwic_decoder_init(&d, data, length);
    for (i = 0; i < count; i++) {
        if (probabilities[i] == 0)
            return CWIC_ERROR_ARGUMENT;
        bits[i] = (uint8_t)cwic_decode(&d, probabilities[i]);
    }
    return cwic_decoder_finish(&d);
}
