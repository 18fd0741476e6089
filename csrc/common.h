/* What all C files share; not part of the API. */
#ifndef CWIC_COMMON_H
#define CWIC_COMMON_H

#include <stdlib.h>

#include "cwic.h"

/* Fails to compile unless the condition, a constant, holds. Declares, again and again, a function that is not there. */
#define CWIC_CHECK(condition) void cwic_check(char (*)[(condition) ? 1 : -1])

/* Before a loop: all of it in a row, so that what it counts through may stay in registers. */
#if defined(__clang__)
#define UNROLLED _Pragma("clang loop unroll(full)")
#else
#define UNROLLED _Pragma("GCC unroll 16")
#endif
#define INLINE __attribute__((always_inline)) static inline /* where constants of the caller decide */

/* The format shifts negative numbers right and means floor; every compiler we know does so. */
CWIC_CHECK(((-3) >> 1) == -2);

/* Limits of the format that several files share, FORMAT.md sections 2, 5 and 6. */
enum { CWIC_MAX_GROUPS = 63, CWIC_MAX_LEVELS = 32, CWIC_CODE_LIMIT = 511 };
enum { CWIC_ACTIVATION_MAX = 2047 }; /* of the hidden units of context models */
enum { CWIC_BEST_SIMD = 4 };         /* as in cwic_model_new */

/* Zeros for a * b * c elements of so many bytes, at least one; NULL without memory, or if no object can be that large. */
static inline void *cwic_zeros(size_t a, size_t b, size_t c, size_t size)
{
    const size_t most = PTRDIFF_MAX / size;
    if ((b && a > most / b) || (c && a * b > most / c))
        return NULL;
    return a * b * c > 0 ? calloc(a * b * c, size) : calloc(1, 1);
}

static inline int32_t cwic_clamp(int32_t x, int32_t low, int32_t high) { return x < low ? low : x > high ? high : x; }
static inline int32_t cwic_sat(int32_t x) { return cwic_clamp(x, -32768, 32767); }
/* |x| <= 2^15 and |m| < 2^15, so that the sum stays within 2^30 + 2^14, the result within 16 bits. */
static inline int32_t cwic_mul(int32_t x, int32_t m) { return (x * m + 16384) >> 15; }

#endif
