/* The transforms' part of the fuzz target: weights out of the input; pictures and codes under weights that are sound.
 * Each result must be the same with another instruction set, and in another number of threads. */

#include <pthread.h>

#include "target.h"
#include "transform.h"

enum { SIMD = 5, WIDE = 32, BLOCKS = 2, CHANNELS = 10, MAX_SIDE = 90, WORKERS = 4, GROUPS = 3 };

static uint32_t state;

static int32_t within(int32_t low, int32_t high) /* low .. high, from a linear congruential generator */
{
    state = state * 1664525u + 1013904223u;
    return low + (int32_t)((state >> 4) % ((uint32_t)(high - low) + 1));
}

/* ---- arrays ------------------------------------------------------------------------------------------------ */

typedef struct {
    int32_t *words;
    int16_t *halves;
    int8_t *bytes;
    size_t word_count, half_count, byte_count;
} arrays;

/* The arrays' lengths, of FORMAT.md sections 6.7 and 6.8. */
static void measure(const cwic_shape *s, int synthesis, arrays *a)
{
    const size_t n = (size_t)s->wide, b = (size_t)s->blocks, c = (size_t)s->channels, k = (size_t)s->features;
    const size_t inputs = synthesis ? c : 192, outputs = synthesis ? 192 : c;
    a->word_count = 2 + 4 * b + (s->normalised ? (synthesis ? 2 : 3) + 34 * c : 0) + 129 * c + n + 5 * n * b + outputs +
                    (synthesis ? 0 : 1 + k + (size_t)s->levels);
    a->half_count = inputs * n + 66 * n + 9 * n * b + n + (n + inputs) * outputs + (synthesis ? 0 : 16 * n * k + k) +
                    (s->normalised ? c * c : 0);
    a->byte_count = b * (6 * n * n + 9 * n);
}

static int32_t *words(arrays *a, size_t count, int32_t low, int32_t high)
{
    int32_t *first = a->words + a->word_count;
    for (; count; count--)
        a->words[a->word_count++] = within(low, high);
    return first;
}

static void halves(arrays *a, size_t count, int32_t low, int32_t high)
{
    for (; count; count--)
        a->halves[a->half_count++] = (int16_t)within(low, high);
}

static void octets(arrays *a, size_t count, int32_t reach)
{
    for (; count; count--)
        a->bytes[a->byte_count++] = (int8_t)within(-reach, reach);
}

/* Arrays that a transform accepts. */
static arrays sound(const cwic_shape *s, int synthesis)
{
    const size_t n = (size_t)s->wide, c = (size_t)s->channels, k = (size_t)s->features;
    const size_t inputs = synthesis ? c : 192, outputs = synthesis ? 192 : c;
    arrays a;
    size_t b;
    measure(s, synthesis, &a);
    a.words = exactly(a.word_count * sizeof *a.words);
    a.halves = exactly(a.half_count * sizeof *a.halves);
    a.bytes = exactly(a.byte_count);
    a.word_count = a.half_count = a.byte_count = 0;
    words(&a, 1 + 4 * (size_t)s->blocks, 0, 9);
    words(&a, 1, 9, 14);
    if (!synthesis)
        words(&a, 1, 8, 16);
    if (s->normalised) {
        words(&a, 1, 3, 10);
        words(&a, synthesis ? 1 : 2, 10, 20);
    }
    words(&a, 129 * c, 0, within(1, INT32_MAX - 1));
    words(&a, n + 5 * n * (size_t)s->blocks + outputs, -30000, 30000);
    if (!synthesis)
        words(&a, k + (size_t)s->levels, -900000, 900000);
    if (s->normalised) {
        words(&a, c, 1, 1 << 24);
        words(&a, 33 * c, 0, within(1, INT32_MAX - 1));
    }
    halves(&a, inputs * n, -1000, 1000);
    halves(&a, 33 * n, -32767, 32767);
    halves(&a, 33 * n, -32768, 32767);
    for (b = 0; b < (size_t)s->blocks; b++) {
        halves(&a, 2 * n, 0, 32767);
        if (synthesis && (int32_t)b < s->fine)
            halves(&a, n, -32768, 32767);
        else
            halves(&a, n, -3000, 3000);
        halves(&a, 6 * n, 0, 32767);
    }
    halves(&a, n, 0, 32767);
    halves(&a, (n + inputs) * outputs, -700, 700);
    if (!synthesis)
        halves(&a, 16 * n * k + k, -200, 200);
    if (s->normalised)
        halves(&a, c * c, 0, 5000);
    for (b = 0; b < (size_t)s->blocks; b++) {
        octets(&a, n * n, 127);
        octets(&a, 9 * n, synthesis && (int32_t)b < s->fine ? 127 : 25);
        octets(&a, 5 * n * n, 127);
    }
    return a;
}

static void drop(arrays *a)
{
    free(a->words);
    free(a->halves);
    free(a->bytes);
}

static cwic_transform *transform_of(const cwic_shape *s, const arrays *a, int synthesis, int32_t simd, int32_t *result)
{
    cwic_arrays given;
    given.words = a->words;
    given.halves = a->halves;
    given.bytes = a->bytes;
    given.word_count = a->word_count;
    given.half_count = a->half_count;
    given.byte_count = a->byte_count;
    cwic_shape coarse = *s; /* an analysis has no fine blocks */
    coarse.fine = 0;
    return synthesis ? cwic_synthesis_new(s, &given, simd, result) : cwic_analysis_new(&coarse, &given, simd, result);
}

/* ---- passes ------------------------------------------------------------------------------------------------ */

static void *carry(void *pass)
{
    int32_t result;
    while ((result = cwic_pass_band(pass)) == 1)
        ;
    REQUIRE(result == CWIC_OK);
    return NULL;
}

/* A picture's sides and everything about it that a transform reads and writes, in buffers of just the size. */
typedef struct {
    int32_t height, width, rate;
    size_t positions, values, codes;
    uint8_t *pixels;
    int16_t *latents, *levels; /* latents, or codes */
    int posts;                 /* whether there is a post-filter */
    int8_t post[CWIC_POST];
} picture;

static picture picture_of(int32_t height, int32_t width, int32_t rate, int32_t channels)
{
    picture p;
    p.height = height;
    p.width = width;
    p.rate = rate;
    p.positions = 4 * (size_t)((height + 15) / 16) * (size_t)((width + 15) / 16);
    p.values = 3 * (size_t)height * (size_t)width;
    p.codes = p.positions * (size_t)channels;
    p.pixels = exactly(p.values);
    p.latents = exactly(p.codes * sizeof *p.latents);
    p.levels = exactly(p.positions / 4 * sizeof *p.levels);
    p.posts = 0;
    memset(p.post, 0, sizeof p.post);
    return p;
}

static void drop_picture(picture *p)
{
    free(p->pixels);
    free(p->latents);
    free(p->levels);
}

static cwic_pass *begin(const cwic_transform *t, int synthesis, picture *p, int32_t workers)
{
    int32_t result;
    cwic_pass *pass;
    if (synthesis) {
        int8_t *post = exactly(sizeof p->post); /* which the pass copies */
        memcpy(post, p->post, sizeof p->post);
        pass = cwic_synthesis_pass(t, p->rate, p->latents, p->posts ? post : NULL, p->pixels, p->height, p->width,
                                   workers, &result);
        free(post);
    } else {
        pass = cwic_analysis_pass(t, p->rate, p->pixels, p->height, p->width, p->latents, p->levels, workers, &result);
    }
    REQUIRE(result == CWIC_OK && pass);
    REQUIRE(cwic_pass_workers(pass) >= 1 && cwic_pass_workers(pass) <= workers);
    return pass;
}

static void run(const cwic_transform *t, int synthesis, picture *p, int32_t workers)
{
    cwic_pass *pass = begin(t, synthesis, p, workers);
    pthread_t thread[WORKERS];
    int32_t k, begun = 0;
    for (k = 1; k < cwic_pass_workers(pass); k++)
        begun += pthread_create(&thread[begun], NULL, carry, pass) == 0;
    carry(pass);
    for (k = 0; k < begun; k++)
        REQUIRE(pthread_join(thread[k], NULL) == 0);
    REQUIRE(cwic_pass_band(pass) == CWIC_OK);
    cwic_pass_free(pass);
}

/* Both transforms see the same, and must make the same of it. */
static void compare(const cwic_transform *a, const cwic_transform *b, int synthesis, picture *p, int32_t channels,
                    int32_t levels, int32_t workers)
{
    picture q = picture_of(p->height, p->width, p->rate, channels);
    size_t i;
    q.posts = p->posts;
    memcpy(q.post, p->post, sizeof q.post);
    if (synthesis)
        memcpy(q.latents, p->latents, p->codes * sizeof *p->latents);
    else
        memcpy(q.pixels, p->pixels, p->values);
    run(a, synthesis, p, 1);
    run(b, synthesis, &q, workers);
    REQUIRE(memcmp(p->pixels, q.pixels, p->values) == 0);
    REQUIRE(memcmp(p->latents, q.latents, p->codes * sizeof *p->latents) == 0);
    for (i = 0; !synthesis && i < p->positions / 4; i++)
        REQUIRE(p->levels[i] == q.levels[i] && p->levels[i] >= 0 && p->levels[i] < levels);
    drop_picture(&q);
}

static void cancelled(const cwic_transform *t, int synthesis, picture *p, uint32_t bands)
{
    cwic_pass *pass = begin(t, synthesis, p, WORKERS);
    while (bands-- && cwic_pass_band(pass) == 1)
        ;
    cwic_pass_cancel(pass);
    REQUIRE(cwic_pass_band(pass) == CWIC_CANCELLED);
    cwic_pass_free(pass);
}

/* ---- sound weights ----------------------------------------------------------------------------------------- */

static const cwic_shape SHAPES[2] = {{WIDE, BLOCKS, CHANNELS, 0, 5, 4, 1}, {2 * WIDE, 1, CHANNELS, 1, 17, 1, 0}};
static cwic_transform *sound_transforms[2][2][SIMD];

static void make_transforms(void)
{
    int32_t shape, synthesis, simd, result;
    for (shape = 0; shape < 2; shape++)
        for (synthesis = 0; synthesis < 2; synthesis++) {
            arrays a;
            state = 7 + (uint32_t)(2 * shape + synthesis);
            a = sound(&SHAPES[shape], synthesis);
            for (simd = 0; simd < SIMD; simd++) {
                sound_transforms[shape][synthesis][simd] = transform_of(&SHAPES[shape], &a, synthesis, simd, &result);
                REQUIRE(result == CWIC_OK && cwic_transform_simd(sound_transforms[shape][synthesis][simd]) <= simd);
            }
            drop(&a);
        }
}

/* The encoder's arithmetic on anything that 16 bits hold. */
static void weigh(input *in, const cwic_transform *analysis, picture *p)
{
    static const int32_t GROUP[GROUPS] = {2, 2, CHANNELS - 4};
    int16_t *exact = exactly(p->codes * sizeof *exact);
    int32_t *cost = exactly(CWIC_COSTS * sizeof *cost);
    const int32_t rows = (p->height + 15) / 16, columns = (p->width + 15) / 16, step = (int32_t)word(in);
    size_t i;
    cwic_exact_codes(analysis, p->rate, p->latents, p->positions, exact);
    for (i = 0; i < p->codes; i++)
        REQUIRE(exact[i] >= -CWIC_EXACT_LIMIT && exact[i] <= CWIC_EXACT_LIMIT);
    for (i = 0; i < CWIC_COSTS; i++)
        cost[i] = within(0, 65535);
    for (i = 0; i < p->positions / 4; i++)
        p->levels[i] = (int16_t)(byte(in) % (GROUPS + 1));
    cwic_useful_levels(step % 2 ? exact : p->latents, 2 * rows, 2 * columns, GROUP, GROUPS, cost, step, p->levels);
    for (i = 0; i < p->positions / 4; i++)
        REQUIRE(p->levels[i] >= 0 && p->levels[i] <= GROUPS);
    free(exact);
    free(cost);
}

static void pictures(input *in)
{
    const uint32_t how = byte(in), which = how >> 1 & 1, simd = byte(in);
    const int synthesis = (int)(how & 1);
    const int32_t height = 1 + (int32_t)(byte(in) % MAX_SIDE), width = 1 + (int32_t)(byte(in) % MAX_SIDE);
    cwic_transform *const *t = sound_transforms[which][synthesis];
    const uint32_t high = how & 4 ? word(in) : 0, low = word(in);
    picture p = picture_of(height, width, how & 4 ? (int32_t)(high << 16 | low) : (int16_t)low, CHANNELS);
    const int32_t reach = how & 8 ? 32768 : 40;
    size_t i;
    state = word(in);
    p.posts = synthesis && simd >= SIMD * SIMD;
    for (i = 0; p.posts && i < CWIC_POST; i++) /* in seven steps from none to any */
        p.post[i] = (int8_t)((int8_t)(in->at < in->end ? (int32_t)byte(in) : within(0, 255)) / (1 << simd % 7));
    for (i = 0; i < p.codes; i++) /* what the input holds, then small numbers or any */
        p.latents[i] = (int16_t)(in->at < in->end && i % 3 ? (int32_t)word(in) : within(-reach, reach));
    for (i = 0; i < p.values; i++)
        p.pixels[i] = (uint8_t)(how & 16 ? within(0, 1) * 255 : within(0, 255));
    if ((how & 0xe0) == 0xe0)
        cancelled(t[simd % SIMD], synthesis, &p, how >> 2 & 7);
    compare(t[simd % SIMD], t[simd / SIMD % SIMD], synthesis, &p, CHANNELS, SHAPES[which].levels,
            1 + (int32_t)(how >> 5) % WORKERS);
    weigh(in, sound_transforms[which][0][0], &p);
    drop_picture(&p);
}

/* ---- hostile weights --------------------------------------------------------------------------------------- */

/* Sound weights with the input's values at the input's places, or nothing but the input over and over. */
static void hostile_weights(input *in)
{
    static const int32_t LARGE[8] = {0, 1, -1, INT32_MAX, INT32_MIN, 1 << 30, 1024, 34};
    const uint32_t how = byte(in), off = byte(in); /* off: of the lengths, 3 in 4 times nothing */
    const int synthesis = (int)(how & 1);
    cwic_shape s, wrong;
    arrays a;
    int32_t result = 0, simd = (int32_t)(byte(in) % SIMD);
    cwic_transform *t, *plain;
    size_t left;
    s.normalised = (int32_t)(how >> 1 & 1);
    s.wide = how & 4 ? 2 * WIDE : WIDE;
    s.blocks = (int32_t)(byte(in) % 3);
    s.fine = s.blocks && synthesis ? (int32_t)(how >> 5) % (s.blocks + 1) : 0;
    s.channels = 2 * (1 + (int32_t)(byte(in) % 6));
    s.features = 1 + (int32_t)(byte(in) % 20);
    s.levels = 1 + (int32_t)(byte(in) % 32);
    state = word(in);
    a = sound(&s, synthesis);
    wrong = s;
    if (how & 8) {
        int32_t *fields[] = {&wrong.wide, &wrong.blocks, &wrong.channels, &wrong.features, &wrong.levels,
                             &wrong.fine};
        const uint32_t which = byte(in);
        *fields[which % 6] = LARGE[which / 6 % 8];
    }
    left = (size_t)(in->end - in->at);
    if (how & 16 && left > 3) { /* nothing else */
        uint8_t *raw = part(in, left, &left);
        size_t i;
        for (i = 0; i < a.word_count; i++)
            memcpy(&a.words[i], raw + i % (left - 3), 4);
        for (i = 0; i < a.half_count; i++)
            memcpy(&a.halves[i], raw + i % (left - 1), 2);
        for (i = 0; i < a.byte_count; i++)
            a.bytes[i] = (int8_t)raw[i % left];
        free(raw);
    }
    while (in->at < in->end) {
        const uint32_t kind = byte(in), place = word(in) << 2 | kind >> 6, value = word(in);
        if (kind % 3 == 0)
            a.words[place % a.word_count] = (int32_t)(kind & 4 ? value << 16 | value : (uint32_t)(int16_t)value);
        else if (kind % 3 == 1)
            a.halves[place % a.half_count] = (int16_t)value;
        else if (a.byte_count)
            a.bytes[place % a.byte_count] = (int8_t)value;
    }
    if (off % 4 == 0 && off) {
        size_t *lengths[] = {&a.word_count, &a.half_count, &a.byte_count};
        *lengths[off / 4 % 3] -= *lengths[off / 4 % 3] > 0; /* so that no one may read the last */
    }
    t = transform_of(&wrong, &a, synthesis, simd, &result);
    REQUIRE(result == CWIC_OK || result == CWIC_ERROR_WEIGHTS);
    REQUIRE((t != NULL) == (result == CWIC_OK));
    plain = transform_of(&wrong, &a, synthesis, 0, &result);
    REQUIRE((t != NULL) == (plain != NULL));
    drop(&a);
    if (t) { /* LARGE may hold what an array of this length allows, too */
        picture p = picture_of(1 + (int32_t)(off % 40), 1 + (int32_t)(how % 50), (int32_t)(off * 16) - 2048, wrong.channels);
        size_t i;
        for (i = 0; i < p.codes; i++)
            p.latents[i] = (int16_t)within(-511, 511);
        for (i = 0; i < p.values; i++)
            p.pixels[i] = (uint8_t)within(0, 255);
        for (i = 0; i < CWIC_POST; i++)
            p.post[i] = (int8_t)within(-127, 127);
        p.posts = synthesis && t->exit_shift >= CWIC_POST_BITS;
        if (synthesis && !p.posts) {
            REQUIRE(!cwic_synthesis_pass(t, 0, p.latents, p.post, p.pixels, p.height, p.width, 1, &result));
            REQUIRE(result == CWIC_ERROR_WEIGHTS);
        }
        compare(plain, t, synthesis, &p, wrong.channels, wrong.levels, 1 + (int32_t)(how >> 6));
        drop_picture(&p);
    }
    cwic_transform_free(t);
    cwic_transform_free(plain);
}

/* ---- the post-filter's payload ----------------------------------------------------------------------------- */

/* An error, or coefficients that no other payload holds: written again they are the same bits. */
void fuzz_post(input *in)
{
    size_t length, at = 0;
    uint8_t *data = part(in, (size_t)-1, &length), *again = exactly(length);
    int8_t *post = exactly(CWIC_POST);
    const int32_t result = cwic_post_read(data, length, post);
    int32_t k, b, i;
    REQUIRE(result == CWIC_OK || result == CWIC_ERROR_SHORT || result == CWIC_ERROR_LONG);
    memset(again, 0, length);
    for (k = 0; result == CWIC_OK && k < CWIC_POST; k++) {
        const int32_t n = post[k] > 0 ? 2 * post[k] : 1 - 2 * post[k];
        REQUIRE(post[k] >= -127);
        for (b = 0; n >> (b + 1); b++)
            ;
        for (i = 0; i < b + (b < 7) + b; i++, at++) { /* ones, a zero, digits */
            const int32_t bit = i < b ? 1 : i < b + (b < 7) ? 0 : n >> (2 * b + (b < 7) - 1 - i) & 1;
            REQUIRE(at < 8 * length);
            again[at >> 3] |= (uint8_t)(bit << (7 - (at & 7)));
        }
    }
    REQUIRE(result != CWIC_OK || memcmp(data, again, length) == 0);
    free(data);
    free(again);
    free(post);
}

void fuzz_transforms(input *in, int hostile)
{
    if (!sound_transforms[0][0][0])
        make_transforms();
    if (hostile)
        hostile_weights(in);
    else
        pictures(in);
}
