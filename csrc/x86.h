/* What the files with AVX2 and later instruction sets share; they hold nothing elsewhere. */
#ifndef CWIC_X86_H
#define CWIC_X86_H

#include "common.h"

#if (defined(__x86_64__) || defined(__i386__)) && defined(__GNUC__)
#define CWIC_X86

#include <immintrin.h>
#include <string.h>

#define AVX2 __attribute__((target("avx2")))

AVX2 static inline __m256i load256(const void *x) { return _mm256_loadu_si256((const __m256i *)x); }
AVX2 static inline __m128i load128(const void *x) { return _mm_loadu_si128((const __m128i *)x); }
AVX2 static inline void store128(void *x, __m128i v) { _mm_storeu_si128((__m128i *)x, v); }
AVX2 static inline void store64(void *x, __m128i v) { _mm_storel_epi64((__m128i *)x, v); }
AVX2 static inline void store256(void *x, __m256i v) { _mm256_storeu_si256((__m256i *)x, v); }

/* Four bytes, as one number to broadcast. */
static inline int32_t quad_at(const void *x)
{
    int32_t all;
    memcpy(&all, x, 4);
    return all;
}

#endif
#endif
