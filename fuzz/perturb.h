/* Included before everything else in csrc/: a decoder in which one decision is read with a wrong probability.
 * Nothing of the coder itself knows of it. Not for threads. */
#ifndef CWIC_PERTURB_H
#define CWIC_PERTURB_H

#include "decisions.h"

extern int64_t cwic_perturb_count; /* decisions read so far */
extern int64_t cwic_perturb_at;    /* the one to read wrongly */
extern int32_t cwic_perturb_by;    /* how far its probability is moved, 1 to 65534, around at 65535 */

static inline uint32_t cwic_perturbed(uint32_t p)
{
    return cwic_perturb_count++ == cwic_perturb_at ? 1 + (p - 1 + (uint32_t)cwic_perturb_by) % 65535 : p;
}

#define cwic_decode(d, p) cwic_decode((d), cwic_perturbed(p))

#endif
