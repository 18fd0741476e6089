/* Starting values of the mixing stage. */

#include "mixing.h"

/* The inverse of cwic_probabilities: of each entry's probability the log odds in the middle of those that give it. */
void cwic_mixer_init(cwic_mixer *m, cwic_encoder *e, cwic_decoder *d)
{
    int32_t i, z = 0;
    m->e = e;
    m->d = d;
    for (i = 0; i < CWIC_STRETCH; i++) {
        int32_t p = 16 * i + 8;
        while (z < CWIC_LOG_ODDS - 1 && cwic_probabilities[z] < p)
            z++;
        m->stretch[i ^ 2048] = (int16_t)cwic_clamp(2 * z - CWIC_LOG_ODDS + 1, -CWIC_STRETCH_MAX, CWIC_STRETCH_MAX);
    }
    for (i = 0; i < 4096; i++) { /* 12 bits less log2 by repeated squaring */
        uint32_t x = 2 * (uint32_t)i + 1, k; /* the middle, in 2^-13, times 8 below */
        int32_t log = 17 * 256;
        x <<= 3;
        while (x < 32768) {
            x <<= 1;
            log -= 256;
        }
        for (k = 128; k > 0; k >>= 1) {
            x = x * x >> 15;
            if (x >= 65536) {
                x >>= 1;
                log += (int32_t)k;
            }
        }
        m->cost[i] = (int16_t)(18 * 256 - log);
    }
    for (i = 0; i <= CWIC_SLOT_LIMIT; i++)
        m->rate[i] = 65536 / (i + 2);
    for (i = 0; i < CWIC_FINALS; i++) /* at the identity */
        m->final[i] = (uint32_t)cwic_probabilities[cwic_clamp(64 * i, 0, CWIC_LOG_ODDS - 1)] << 16 ^ (1u << 31 | 16);
}

