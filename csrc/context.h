/* The context model of cwic1, FORMAT.md section 5: what its weights (context.c) and tiles (tile.c) share. */
#ifndef CWIC_CONTEXT_H
#define CWIC_CONTEXT_H

#include "affine.h"

enum { CWIC_MAX_CHANNELS = 1024, CWIC_MAX_HIDDEN = 256 }; /* of a model */

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
    cwic_affine_function *dense;
    cwic_network *networks; /* [layers] */
};

#endif
