/* What the parts of the self-test share. */
#ifndef CWIC_SELFTEST_H
#define CWIC_SELFTEST_H

#include <stddef.h>
#include <stdint.h>

/* Counts and names a failure. */
void selftest_check(int good, const char *what);
/* Prints a hash and fails if it is another than the one that every machine gives. */
void selftest_pinned(const char *what, uint32_t hash, uint32_t expected);
void selftest_missing(int32_t simd);
/* FNV-1a over numbers as two bytes each, low byte first. */
uint32_t selftest_hash16(uint32_t h, const int16_t *values, size_t count);

void selftest_transform(void);
void selftest_postfilter(void);
void selftest_pixels(void);

#endif
