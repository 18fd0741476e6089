/* The post-filter of FORMAT.md section 6.9: the colours of one picture brought nearer to its original's. */
#ifndef CWIC_POSTFILTER_H
#define CWIC_POSTFILTER_H

#include "rows.h"

enum { CWIC_POST_BITS = 4 }; /* a filtered sample is in 1/16 */

/* One position's sums, 64 of each colour, whose samples are sums >> shift, in place to those whose samples are
 * sums >> CWIC_POST_BITS; shift: CWIC_POST_BITS or more. */
typedef void cwic_filter(int32_t *sums, int32_t shift, const int8_t *post);

/* The best implementation up to `simd`. */
cwic_filter *cwic_filter_choose(int32_t simd);

#endif
