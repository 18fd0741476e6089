/* Lossless coding of pixels: is a pixel one of those that neighbours or places like this one suggest, and if not, its
 * channels by mixed prediction. Encoder and decoder run the same code; `decoding` is a constant where it is used. */

#include <string.h>

#include "pixels_colour.h"

/* What the encoder has written, in bits / 256, but for a constant; between powers of two a straight line. */
static uint32_t written(const cwic_encoder *e)
{
    const uint32_t top = (uint32_t)(e->range >> 32); /* 1 or more */
    uint32_t log = 0;
    while (top >> log > 1)
        log++;
    return (uint32_t)(e->length * 2048) - (log << 8) - ((log > 8 ? top >> (log - 8) : top << (8 - log)) & 255);
}

/* Where all neighbours are the same: is the pixel as well? Counts how often it was in a row. */
INLINE int code_flat(coder *s, int more, int right, int decoding)
{
    const uint32_t run = s->run;
    const int bucket = run < 4 ? (int)run : 4 + (run >= 8) + (run >= 16) + (run >= 64) + (run >= 512) + (run >= 4096);
    right = cwic_slot_code(&s->mixer, s->flat + bucket * 4 + more, right, 1023, decoding);
    s->run = right ? run + 1 : 0;
    return right;
}

INLINE int neighbours_agree(const coder *s, int32_t x)
{
    const uint32_t *r0 = s->row[0] + x, *r1 = s->row[1] + x, *r2 = s->row[2] + x, W = r0[-1];
    return r1[0] == W && r1[-1] == W && r1[1] == W && r0[-2] == W && r2[0] == W && r2[1] == W && r1[2] == W &&
           r1[-2] == W && r2[-1] == W;
}

INLINE int more_agree(const coder *s, int32_t x)
{
    const uint32_t W = s->row[0][x - 1];
    return (s->row[0][x - 3] == W) | (s->row[2][x + 2] == W) << 1;
}

/* The pixel at x of the present row, of a photograph. */
INLINE uint32_t code_rich_pixel(coder *s, int32_t x, uint32_t pixel, int decoding)
{
    const uint32_t W = s->row[0][x - 1];
    if (neighbours_agree(s, x) && code_flat(s, more_agree(s, x), pixel == W, decoding)) {
        memset(s->trace[0] + x, 0, sizeof(trace));
        return W;
    }
    return code_residuals(s, x, pixel, 0, RICH_CONTEXTS, decoding);
}

/* How many of the four neighbours coded last none of their candidates gave. */
INLINE int count_misses(const coder *s, int32_t x)
{
    const uint8_t *kind0 = s->kind[0] + x, *kind1 = s->kind[1] + x;
    return (kind0[-1] == MISS) + (kind1[0] == MISS) + (kind1[1] == MISS) + (kind1[-1] == MISS);
}

/* A pixel that no candidate gave: as residuals or as values, by which cost less lately in places like this one. The
 * other way is learnt as well, silently, where it is not far off, and every fourth time. */
INLINE uint32_t code_colours(coder *s, int32_t x, uint32_t pixel, uint64_t key, int decoding)
{
    const uint32_t *r0 = s->row[0] + x, *r1 = s->row[1] + x;
    const uint32_t W = r0[-1], N = r1[0], NW = r1[-1], NE = r1[1], WW = r0[-2], NN = s->row[2][x];
    const int equal = (W == N) + (W == NW) + (N == NW) + (N == NE) + (W == WW) + (N == NN);
    int c, i, grad = 0, mode, both;
    uint32_t now = 0, coded = 0;
    way *choice;
    for (c = 0; c < s->channels && c < 3; c++)
        grad += abs(at(r0, -1, c) - at(r1, -1, c)) + abs(at(r1, 0, c) - at(r1, -1, c)) +
                abs(at(r1, 0, c) - at(r1, 1, c));
    choice = s->ways + ((equal > 2 ? 2 : equal) * 8 + log_of(s, grad) / 2) * 5 + count_misses(s, x);
    mode = choice->spent[1] < choice->spent[0];
    both = (choice->uses++ & 3) == 0 || 2 * choice->spent[!mode] < 3 * choice->spent[mode];
    for (i = 0; i <= both; i++) {
        const uint32_t known = i ? coded : pixel;
        s->mixer.silent = i;
        s->mixer.spent = 0;
        if (mode) {
            if (!both)
                memset(s->trace[0] + x, 0, sizeof(trace));
            now = 0;
            for (c = 0; c < s->channels; c++)
                now |= (uint32_t)code_value(s, x, c, now, channel_of(known, c), decoding) << 8 * c;
        } else {
            now = code_residuals(s, x, known, key, COLOUR_CONTEXTS, decoding);
        }
        if (i == 0)
            coded = now;
        choice->spent[mode] += (s->mixer.spent - choice->spent[mode]) / 6;
        mode = !mode;
    }
    s->mixer.silent = 0;
    return coded;
}

/* 0 for a place never seen, else 1 .. 5. */
INLINE int trust(const memory *m, uint16_t check)
{
    return m->check == check ? 1 + (m->hits > 0) + (m->hits > 2) + (m->hits > 7) + (m->hits > 30) : 0;
}

INLINE void remember(memory *m, int seen, uint16_t check, uint32_t pixel)
{
    if (seen && m->pixel == pixel) {
        m->hits = (uint8_t)(m->hits < 255 ? m->hits + 1 : 255);
    } else {
        m->hits = seen ? m->hits / 4 : 0;
        m->pixel = pixel;
        m->check = check;
    }
}

/* The same of anything. */
INLINE uint32_t code_pixel(coder *s, int32_t x, uint32_t pixel, int decoding)
{
    const uint32_t *r0 = s->row[0] + x, *r1 = s->row[1] + x, *r2 = s->row[2] + x;
    uint32_t W = r0[-1], N = r1[0], NW = r1[-1], NE = r1[1], WW = r0[-2], NN = r2[0];
    uint32_t NNE = r2[1], NEE = r1[2], NWW = r1[-2], NNW = r2[-1], WWW = r0[-3], NNEE = r2[2];
    uint32_t candidate[SOURCES], mask[SOURCES], from[SOURCES], excluded = 0, any = 0;
    int count = 0, i, k, sources = 0, hit, q1, q2, quiet;
    uint64_t h1, h2;
    memory *near, *far;
    uint8_t *kind0 = s->kind[0] + x;
    const uint8_t *kind1 = s->kind[1] + x;
    if (neighbours_agree(s, x)) {
        if (code_flat(s, more_agree(s, x), pixel == W, decoding)) {
            memset(s->trace[0] + x, 0, sizeof(trace));
            kind0[0] = FIRST_HIT;
            return W;
        }
        any = 1;
        excluded = W;
    }
    h1 = W * mul[0] + N * mul[1] + NW * mul[2] + NE * mul[3] + WW * mul[4] + NN * mul[5];
    h2 = h1 + NNE * mul[6] + NEE * mul[7] + NWW * mul[8] + NNW * mul[9] + WWW * mul[10] + NNEE * mul[11];
    h1 = (h1 ^ h1 >> 32) * mul[12];
    h2 = (h2 ^ h2 >> 32) * mul[13];
    near = s->near + (h1 >> (64 - s->near_bits));
    far = s->far + (h2 >> (64 - s->near_bits));
    q2 = trust(far, (uint16_t)(h2 >> 16));
    q1 = trust(near, (uint16_t)(h1 >> 16));
    if (q2)
        from[sources] = far->pixel, sources++;
    if (q1)
        from[sources] = near->pixel, sources++;
    from[sources++] = W;
    from[sources++] = N;
    from[sources++] = NE;
    from[sources++] = NW;
    from[sources++] = WW;
    from[sources++] = NN;
    for (i = 0; i < sources; i++) {
        uint32_t flag = 1u << (i + SOURCES - sources), c = from[i];
        if (!q1 && q2 && i == 0)
            flag = 1;
        if (any && c == excluded)
            continue;
        for (k = 0; k < count; k++)
            if (candidate[k] == c)
                break;
        if (k == count) {
            candidate[count] = c;
            mask[count++] = 0;
        }
        mask[k] |= flag;
    }
    hit = -1;
    quiet = !q1 && !q2 && !any && count_misses(s, x) == 4 && count == 6;
    if (quiet) {
        k = 0;
        if (!decoding)
            for (i = 0; i < count; i++)
                k |= candidate[i] == pixel;
        quiet = !cwic_slot_code(&s->mixer, s->quiet, k, 255, decoding);
    }
    if (count > 0 && !quiet) {
        uint32_t equal = (uint32_t)((W == N) | (W == NW) << 1 | (N == NW) << 2 | (N == NE) << 3 | (W == WW) << 4 |
                                    (N == NN) << 5 | (NE == NEE) << 6);
        uint32_t kinds = (uint32_t)(kind0[-1] | kind0[-2] << 2 | kind1[0] << 4 | kind1[1] << 6 | kind1[-1] << 8);
        const uint32_t misses = (uint32_t)count_misses(s, x);
        for (k = -1; k < count; k++) { /* first the best, then whether any other, then which */
            int at = k < 0 ? 0 : k, stage = k < 0 ? 0 : k == 0 ? 1 : 2, bit, right;
            uint32_t *slots[PIXEL_CONTEXTS], one = mask[at], c = k == 0 ? 0 : candidate[at], set;
            uint64_t h[PIXEL_CONTEXTS];
            if (k == 0) {
                one = 0;
                for (i = 1; i < count; i++)
                    one |= mask[i];
                if (count == 1)
                    break;
                right = 0;
                if (!decoding)
                    for (i = 1; i < count; i++)
                        right |= candidate[i] == pixel;
            } else {
                right = !decoding && candidate[at] == pixel;
            }
            if (k > 0 && k == count - 1) { /* the only one left */
                hit = k;
                break;
            }
            h[0] = (one << 8 | (uint32_t)q2 << 4 | (uint32_t)q1) + (uint64_t)any * mul[1];
            h[1] = equal << 12 | (one & 3) << 10 | (s->history & 255);
            h[2] = c * mul[1] + W * mul[2] + N * mul[3];
            h[3] = h1 + c * mul[4];
            h[4] = kinds << 8 | (uint32_t)q2 << 4 | (uint32_t)q1;
            h[5] = (uint64_t)one << 32 | equal << 8 | (kinds & 0x33);
            h[6] = c * mul[1] + W * mul[2] + N * mul[3] + NW * mul[4] + NE * mul[5];
            for (i = 0; i < PIXEL_CONTEXTS; i++)
                slots[i] = s->hits + slot_index(h[i], i + 16 * (stage + k), s->hit_bits);
            set = (uint32_t)(q2 * 6 + q1) * 5 + misses;
            bit = cwic_mix(&s->mixer, slots, PIXEL_CONTEXTS, s->pixel_weights[0][stage] + (one & 255),
                           s->pixel_weights[1][stage] + set, s->pixel_final[stage][q2 * 8 + q1], right, 127, 28,
                           decoding);
            if (k == 0 && !bit)
                break;
            if (k != 0 && bit) {
                hit = at;
                break;
            }
        }
    }
    if (hit >= 0) {
        pixel = candidate[hit];
        kind0[0] = hit ? OTHER_HIT : FIRST_HIT;
        memset(s->trace[0] + x, 0, sizeof(trace));
    } else {
        pixel = code_colours(s, x, pixel, h1, decoding);
        kind0[0] = MISS;
    }
    s->history = s->history << 1 | (hit != 0);
    remember(far, q2, (uint16_t)(h2 >> 16), pixel);
    remember(near, q1, (uint16_t)(h1 >> 16), pixel);
    return pixel;
}

/* Colours are coded in the order green, red, blue, since green says most of the others. */
static const uint8_t order[4][4] = {{0}, {0, 1}, {1, 0, 2}, {1, 0, 2, 3}};

/* Pixels from x to `end` that are not coded: those around see them as the last one before, or the one above. */
static void skip(coder *s, int32_t x, int32_t end)
{
    const uint32_t pixel = x > 0 ? s->row[0][x - 1] : s->row[1][0];
    memset(s->kind[0] + x, FIRST_HIT, (size_t)(end - x));
    memset(s->trace[0] + x, 0, (size_t)(end - x) * sizeof(trace));
    for (; x < end; x++)
        s->row[0][x] = pixel;
}

/* Rows of the picture, the first of which is at `pixels`. */
INLINE int32_t code_rows(coder *s, uint8_t *pixels, int32_t count, size_t stride, const int rich, int decoding)
{
    const uint8_t *to = order[s->channels - 1];
    int32_t x, y, k;
    for (y = 0; y < count; y++) {
        uint8_t *p = pixels + stride * (size_t)y;
        uint32_t *row = s->row[ROWS - 1];
        uint8_t *kind = s->kind[1];
        trace *t = s->trace[1];
        uint32_t *spent = NULL, before = 0;
        for (k = ROWS - 1; k > 0; k--)
            s->row[k] = s->row[k - 1];
        s->row[0] = row;
        s->kind[1] = s->kind[0];
        s->kind[0] = kind;
        s->trace[1] = s->trace[0];
        s->trace[0] = t;
        for (k = 1; k <= MARGIN; k++)
            row[-k] = s->row[1][0];
        if (decoding && cwic_decoder_short(s->mixer.d) != CWIC_OK)
            return CWIC_ERROR_SHORT;
        if (!decoding && s->mixer.e->failed)
            return CWIC_ERROR_SPACE;
        for (x = 0; x < s->width; x++) {
            uint32_t pixel = 0;
            if ((s->blocks || s->bits) && x % CWIC_BLOCK == 0) {
                const size_t at = (size_t)(s->y / CWIC_BLOCK) * (size_t)s->across + (size_t)(x / CWIC_BLOCK);
                if (!decoding && s->bits) {
                    const uint32_t now = written(s->mixer.e);
                    if (spent)
                        *spent += now - before;
                    spent = s->bits + at;
                    before = now;
                }
                if (s->blocks && !s->blocks[at]) {
                    const int32_t end = x + CWIC_BLOCK < s->width ? x + CWIC_BLOCK : s->width;
                    skip(s, x, end);
                    p += s->channels * (end - x);
                    x = end - 1;
                    continue;
                }
            }
            if (!decoding)
                for (k = 0; k < s->channels; k++)
                    pixel |= (uint32_t)p[to[k]] << 8 * k;
            pixel = rich ? code_rich_pixel(s, x, pixel, decoding) : code_pixel(s, x, pixel, decoding);
            row[x] = pixel;
            if (decoding)
                for (k = 0; k < s->channels; k++)
                    p[to[k]] = (uint8_t)(pixel >> 8 * k);
            p += s->channels;
        }
        if (!decoding && spent)
            *spent += written(s->mixer.e) - before;
        s->y++;
        for (k = 0; k < MARGIN; k++)
            row[s->width + k] = row[s->width - 1];
    }
    return CWIC_OK;
}

/* Whether at least 9 pixels of 20 are none of their four neighbours before, and most of those near them nevertheless; a
 * guess at which way does better. */
static int looks_rich(const uint8_t *pixels, int32_t width, int32_t height, int32_t channels, size_t stride)
{
    const size_t n = (size_t)channels;
    size_t other = 0, near = 0;
    int32_t x, y;
    for (y = 1; y < height; y++) {
        const uint8_t *p = pixels + stride * (size_t)y + n;
        for (x = 1; x < width - 1; x++, p += n) {
            const uint8_t *up = p - stride;
            if (!memcmp(p, p - n, n) || !memcmp(p, up, n) || !memcmp(p, up - n, n) || !memcmp(p, up + n, n))
                continue;
            other++;
            near += abs(p[0] - median(*(p - n), *up, *(up - n))) <= 24;
        }
    }
    return other > 0 && other * 20 > (size_t)(height - 1) * (size_t)(width - 2) * 9 && 2 * near > other;
}

/* Tables in proportion to the pixels, up to 2^18 of them: then 11 MB in rich tiles and 8.3 MB in others. 0 without
 * memory; cwic_pixels_free frees what there is. */
static int new_tables(coder *s, int rich)
{
    const int m = s->memory_bits;
    s->colour_bits = m - 2 < 12 + rich ? m - 2 : 12 + rich;
    s->value_bits = rich ? m - 1 : m - 2;
    s->colours = cwic_zeros((size_t)NEAR_CONTEXTS << s->colour_bits, NODES, 1, sizeof(uint32_t));
    s->values = cwic_zeros((size_t)1 << s->value_bits, 16, 1, sizeof(uint32_t));
    if (rich)
        return s->colours && s->values;
    s->near_bits = m < 17 ? m : 17;
    s->hit_bits = m;
    s->near = cwic_zeros((size_t)1 << s->near_bits, 1, 1, sizeof(memory));
    s->far = cwic_zeros((size_t)1 << s->near_bits, 1, 1, sizeof(memory));
    s->hits = cwic_zeros((size_t)1 << s->hit_bits, 1, 1, sizeof(uint32_t));
    return s->colours && s->near && s->far && s->hits && s->values;
}

struct cwic_pixels {
    coder s; /* first, as it is aligned */
    cwic_encoder e;
    cwic_decoder d;
    uint8_t *pixels;
    size_t stride;
    int32_t height, row; /* the next one */
    int32_t decoding, rich;
    int32_t result; /* sticky */
    uint32_t *rows;
    uint8_t *kinds;
    trace *traces;
};

void cwic_pixels_free(cwic_pixels *p)
{
    if (!p)
        return;
    free(p->s.near);
    free(p->s.far);
    free(p->s.hits);
    free(p->s.colours);
    free(p->s.values);
    free(p->rows);
    free(p->kinds);
    free(p->traces);
    free(p);
}

/* Where the taps of both filters start, in 2^-9: about where those of 24 photographs end. */
static const int16_t first_taps[8][4][2] = {
    {{41, -42}, {38, -58}, {20, -40}, {0, 0}},
    {{39, -49}, {39, -17}, {27, -8}, {0, 0}},
    {{-52, -28}, {-17, -15}, {-11, -6}, {0, 0}},
    {{35, 7}, {11, 2}, {6, 2}, {0, 0}},
    {{21, 0}, {7, -28}, {5, -16}, {0, 0}},
    {{0, 0}, {49, -32}, {22, -18}, {0, 0}},
    {{0, 0}, {0, 0}, {3, 14}, {0, 0}},
    {{0, 0}, {198, 0}, {54, 146}, {0, 0}},
};

static void prepare(cwic_pixels *p)
{
    coder *s = &p->s;
    const size_t span = (size_t)s->width + 2 * MARGIN;
    size_t i;
    int32_t k;
    for (i = 0; i < ROWS; i++)
        s->row[i] = p->rows + span * i + MARGIN;
    for (i = 0; i < 2; i++) {
        s->kind[i] = p->kinds + span * i + MARGIN;
        s->trace[i] = p->traces + span * i + MARGIN;
    }
    for (i = 0; i < FILTERS * 64; i++)
        s->taps[i / 64][i / 8 % 8][i / 2 % 4][i % 2] = (int16_t)(32 * first_taps[i / 8 % 8][i / 2 % 4][i % 2]);
    for (i = 0; i < WAYS; i++)
        s->ways[i].spent[i < 40] = 16 * 256;
    for (k = 0; k < 1024; k++) { /* 2 log2(k + 1), to 15 */
        int32_t n = 0;
        while ((k + 1) * (k + 1) >> (n + 1))
            n++;
        s->logs[k] = (uint8_t)(n > 15 ? 15 : n);
        n = (s->logs[k] + 1) / 2;
        n = n > 7 ? 7 : n;
        s->signs[1024 + k] = (uint8_t)(7 + n);
        s->signs[1024 - k] = (uint8_t)(7 - n);
        s->blend[k] = (1 << 18) / (k * k + 64) + 1;
    }
}

static cwic_pixels *begin(uint8_t *pixels, int32_t height, int32_t width, int32_t channels, size_t stride,
                          const uint8_t *blocks, int32_t *result)
{
    const size_t span = (size_t)width + 2 * MARGIN;
    cwic_pixels *p;
    *result = CWIC_ERROR_ARGUMENT;
    if (width < 1 || height < 1 || width > CWIC_PIXELS_SIDE || height > CWIC_PIXELS_SIDE || channels < 1 ||
        channels > 4 || stride < (size_t)width * (size_t)channels)
        return NULL;
    *result = CWIC_ERROR_MEMORY;
    p = cwic_zeros(1, 1, 1, sizeof *p);
    if (!p)
        return NULL;
    p->rows = cwic_zeros(ROWS, span, 1, sizeof *p->rows);
    p->kinds = cwic_zeros(2, span, 1, 1);
    p->traces = cwic_zeros(2, span, 1, sizeof *p->traces);
    if (!p->rows || !p->kinds || !p->traces) {
        cwic_pixels_free(p);
        return NULL;
    }
    *result = CWIC_OK;
    p->pixels = pixels;
    p->stride = stride;
    p->height = height;
    p->s.width = width;
    p->s.channels = channels;
    p->s.blocks = blocks;
    p->s.across = (width + CWIC_BLOCK - 1) / CWIC_BLOCK;
    p->s.memory_bits = 8;
    while (p->s.memory_bits < 18 && (int64_t)1 << p->s.memory_bits < (int64_t)width * height)
        p->s.memory_bits++;
    prepare(p);
    return p;
}

/* What is left to do once the kind of the picture is known. */
static cwic_pixels *begun(cwic_pixels *p, int rich, int32_t *result)
{
    p->rich = cwic_mix_code(&p->s.mixer, rich, 32768, p->decoding);
    if (new_tables(&p->s, p->rich))
        return p;
    *result = CWIC_ERROR_MEMORY;
    cwic_pixels_free(p);
    return NULL;
}

cwic_pixels *cwic_pixels_encoder(const uint8_t *pixels, int32_t height, int32_t width, int32_t channels, size_t stride,
                                 const uint8_t *blocks, uint32_t *bits, uint8_t *out, size_t capacity,
                                 int32_t *result)
{
    /* nothing is written there: `decoding` is 0 */
    cwic_pixels *p = begin((uint8_t *)(uintptr_t)pixels, height, width, channels, stride, blocks, result);
    if (!p)
        return NULL;
    p->s.bits = bits;
    cwic_encoder_init(&p->e, out, capacity);
    cwic_mixer_init(&p->s.mixer, &p->e, NULL);
    return begun(p, !blocks && looks_rich(pixels, width, height, channels, stride), result);
}

cwic_pixels *cwic_pixels_decoder(const uint8_t *data, size_t length, uint8_t *pixels, int32_t height, int32_t width,
                                 int32_t channels, size_t stride, const uint8_t *blocks, int32_t *result)
{
    cwic_pixels *p = begin(pixels, height, width, channels, stride, blocks, result);
    if (!p)
        return NULL;
    p->decoding = 1;
    cwic_decoder_init(&p->d, data, length);
    cwic_mixer_init(&p->s.mixer, NULL, &p->d);
    return begun(p, 0, result);
}

int32_t cwic_pixels_rows(cwic_pixels *p, int32_t count)
{
    uint8_t *at;
    if (p->result != CWIC_OK)
        return p->result;
    if (count < 0 || count > p->height - p->row)
        return CWIC_ERROR_ARGUMENT;
    if (count == 0)
        return CWIC_OK;
    at = p->pixels + p->stride * (size_t)p->row;
    if (p->decoding)
        p->result = p->rich ? code_rows(&p->s, at, count, p->stride, 1, 1)
                            : code_rows(&p->s, at, count, p->stride, 0, 1);
    else
        p->result = p->rich ? code_rows(&p->s, at, count, p->stride, 1, 0)
                            : code_rows(&p->s, at, count, p->stride, 0, 0);
    p->row += count;
    return p->result;
}

int32_t cwic_pixels_settled(const cwic_pixels *p) { return cwic_decoder_settled(&p->d); }

int32_t cwic_pixels_finish(cwic_pixels *p, size_t *written_bytes)
{
    int32_t result = p->result;
    if (result == CWIC_OK && p->row < p->height)
        return CWIC_ERROR_ARGUMENT;
    if (result == CWIC_OK)
        p->result = p->decoding ? cwic_decoder_finish(&p->d) : cwic_encoder_finish(&p->e);
    if (written_bytes)
        *written_bytes = p->e.length;
    return p->result;
}
