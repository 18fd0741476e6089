/* What the parts of the fuzz target share. */
#ifndef FUZZ_TARGET_H
#define FUZZ_TARGET_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct {
    const uint8_t *at, *end;
} input;

#define REQUIRE(good)                                                                                                 \
    do {                                                                                                              \
        if (!(good)) {                                                                                                \
            fprintf(stderr, "%s:%d: required: %s\n", __FILE__, __LINE__, #good);                                      \
            abort();                                                                                                  \
        }                                                                                                             \
    } while (0)

static inline uint32_t byte(input *in) { return in->at < in->end ? *in->at++ : 0; }

static inline uint32_t word(input *in)
{
    uint32_t high = byte(in);
    return high << 8 | byte(in);
}

/* A buffer of exactly this many bytes; of one, which nobody may touch, for none. */
static inline void *exactly(size_t bytes)
{
    void *p = malloc(bytes ? bytes : 1);
    REQUIRE(p != NULL);
    memset(p, 0xA5, bytes);
    return p;
}

/* The next bytes, at most so many, in a buffer of their own. */
static inline uint8_t *part(input *in, size_t most, size_t *length)
{
    size_t left = (size_t)(in->end - in->at);
    uint8_t *copy;
    *length = most < left ? most : left;
    copy = exactly(*length);
    memcpy(copy, in->at, *length);
    in->at += *length;
    return copy;
}

/* An input to the transforms: hostile weights, or else pictures and codes. */
void fuzz_transforms(input *in, int hostile);
/* A payload of POST. */
void fuzz_post(input *in);
/* An input to the pixel coder: 0 a hostile stream, 1 a picture, 2 a picture whose repeated pixels are counted. */
void fuzz_pixels(input *in, int kind);

#endif
