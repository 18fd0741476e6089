/* Self-test of the post-filter; part of selftest.c. */

#include <string.h>

#include "selftest.h"
#include "transform.h"

/* Pinned: a change of it is a change of the format. */
#define EXPECTED_POST_HASH 0x019b9637u

enum { ROOM = (14 * CWIC_POST + 7) / 8 + 1 }; /* of the longest payload, and a byte more */

static uint32_t state;

static int32_t any(int32_t reach) /* -reach .. reach, from a linear congruential generator */
{
    state = state * 1664525u + 1013904223u;
    return (int32_t)((state >> 8) % (2 * (uint32_t)reach + 1)) - reach;
}

/* Bits behind those that are there. */
static size_t put(uint8_t *data, size_t at, int32_t bits, int32_t count)
{
    for (; count--; at++)
        data[at >> 3] |= (uint8_t)((bits >> count & 1) << (7 - (at & 7)));
    return at;
}

/* The payload of these coefficients, in how many bits. */
static size_t post_write(const int8_t *post, uint8_t *data)
{
    size_t at = 0;
    int32_t k, b;
    memset(data, 0, ROOM);
    for (k = 0; k < CWIC_POST; k++) {
        const int32_t n = post[k] > 0 ? 2 * post[k] : 1 - 2 * post[k];
        for (b = 0; n >> (b + 1); b++)
            at = put(data, at, 1, 1);
        at = put(data, at, 0, b < 7);
        at = put(data, at, n, b);
    }
    return at;
}

static void test_payloads(void)
{
    static const int32_t reaches[] = {0, 1, 2, 7, 63, 64, 127};
    uint8_t data[ROOM];
    int8_t post[CWIC_POST], back[CWIC_POST];
    int32_t k, n, good = 1;
    size_t length, bits, end;
    state = 3;
    for (n = 0; n < 700; n++) {
        const int32_t reach = reaches[n % 7];
        for (k = 0; k < CWIC_POST; k++) /* any, or all at one end */
            post[k] = (int8_t)(n < 14 ? n < 7 ? reach : -reach : any(reach));
        bits = post_write(post, data);
        end = (bits + 7) / 8;
        good &= cwic_post_read(data, end, back) == CWIC_OK && memcmp(post, back, sizeof post) == 0;
        for (length = 0; length < end; length++)
            good &= cwic_post_read(data, length, back) == CWIC_ERROR_SHORT;
        good &= cwic_post_read(data, end + 1, back) == CWIC_ERROR_LONG;
        for (; bits < 8 * end; bits++) {
            put(data, bits, 1, 1);
            good &= cwic_post_read(data, end, back) == CWIC_ERROR_LONG;
            data[bits >> 3] ^= (uint8_t)(128 >> (bits & 7));
        }
    }
    good &= cwic_post_read(NULL, 0, back) == CWIC_ERROR_SHORT;
    memset(data, 255, ROOM); /* all ones: 39 of -127, and too many */
    good &= cwic_post_read(data, ROOM, back) == CWIC_ERROR_LONG && cwic_post_read(data, 68, back) == CWIC_ERROR_SHORT;
    for (n = 0; n < 20000; n++) { /* rubbish: an error, or the only payload of its coefficients */
        uint8_t again[ROOM];
        length = (size_t)(n % ROOM);
        for (k = 0; k < ROOM; k++)
            data[k] = (uint8_t)(n % 3 ? any(255) & any(255) & any(255) : any(255));
        if (cwic_post_read(data, length, back) == CWIC_OK)
            good &= (post_write(back, again) + 7) / 8 == length && memcmp(data, again, length) == 0;
    }
    selftest_check(good, "post-filter: payloads are read, and no others");
}

/* Any sums at any shift, by each implementation. */
static void test_filters(void)
{
    static const int32_t reaches[] = {40, 3000, 9000, 1 << 22}; /* in 1/16, the last at any shift */
    static const int32_t ends[] = {INT32_MIN, INT32_MAX, 0, -1};
    uint32_t h = 2166136261u;
    int32_t n, k, simd, good = 1;
    state = 11;
    for (n = 0; n < 4000; n++) {
        const int32_t shift = CWIC_POST_BITS + n % 21, reach = reaches[n / 2 % 4];
        const int32_t scale = reach < 1 << 22 ? 1 << (shift - CWIC_POST_BITS) : 512;
        const int32_t least = n % 4 ? 1 : 127 - n % 126, most = 1 + n % 127;
        int32_t sums[CWIC_BLOCK_VALUES], plain[CWIC_BLOCK_VALUES], made[CWIC_BLOCK_VALUES];
        int8_t post[CWIC_POST];
        for (k = 0; k < CWIC_BLOCK_VALUES; k++) {
            const int64_t sum = (int64_t)(any(reach) + 2048) * scale + any(scale / 2);
            sums[k] = n % 97 == 0       ? ends[k % 4]
                      : sum > INT32_MAX ? INT32_MAX
                      : sum < INT32_MIN ? INT32_MIN
                                        : (int32_t)sum;
        }
        for (k = 0; k < CWIC_POST; k++) /* one in `least` is none; some are all at an end */
            post[k] = (int8_t)(n % 5 == 0 ? (any(1) < 0 ? -127 : 127) : k % least == 0 ? any(most) : 0);
        memcpy(plain, sums, sizeof sums);
        cwic_filter_choose(0)(plain, shift, post);
        for (simd = 1; simd <= CWIC_BEST_SIMD; simd++) {
            memcpy(made, sums, sizeof sums);
            cwic_filter_choose(simd)(made, shift, post);
            good &= memcmp(made, plain, sizeof made) == 0;
        }
        for (k = 0; k < CWIC_BLOCK_VALUES; k++)
            h = (h ^ (uint32_t)plain[k]) * 16777619u;
        memset(post, 0, sizeof post);
        cwic_filter_choose(CWIC_BEST_SIMD)(sums, shift, post);
        for (k = 0; k < CWIC_BLOCK_VALUES; k++)
            good &= sums[k] >= -1024 && sums[k] <= 5119;
    }
    selftest_check(good, "post-filter: the same with every instruction set");
    selftest_pinned("post-filter", h, EXPECTED_POST_HASH);
}

void selftest_postfilter(void)
{
    test_payloads();
    test_filters();
}
