/* Codes as decisions, FORMAT.md section 4. */
#ifndef CWIC_DECISIONS_H
#define CWIC_DECISIONS_H

#include "range_coder.h"

extern const int16_t cwic_first[64][16]; /* log odds in 1/256 */
extern const int16_t cwic_step[64][257];
/* of log odds from -CWIC_LOG_ODDS on, every second one: they are brought below it in magnitude */
enum { CWIC_LOG_ODDS = 2816 };
extern const uint16_t cwic_probabilities[CWIC_LOG_ODDS];

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

#endif
