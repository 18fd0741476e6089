/* The transforms' blocks with AVX2 alone, chosen at run time. Same results as affine8.c. */

#include "affine8_x86.h"

#ifdef CWIC_X86

/* Inputs are permuted, in each 16 of them, and weights are in blocks of 8 outputs, in each of which they are a list of
 * steps, each with 32 bytes and an offset into the inputs:
 *
 * EIGHT and TWICE, so many steps: four inputs by 8 bits each; products of two inputs of each are added in 16 bits
 * QUAD: four inputs by 8 bits, products of two are added in 16 bits
 * PAIR: two inputs by 16 bits
 *
 * Eight bits are faster, and the more so the more is added in 16, but exact only if nothing passes those: if, of the
 * weights whose products are added, neither those above 0 nor those below sum up to more than a limit, 32767 / 255 for
 * inputs with a sign and 32767 / 127 for others. The former have no EIGHT, the latter no PAIR. Packed are biases,
 * weights, where each block's kinds of steps start, offsets, and the order of inputs.
 */
enum { EIGHT, TWICE, QUAD, PAIR, KINDS, MOST = 1024 /* inputs */ };

/* Room for the steps of all blocks. */
static inline size_t most_steps(const cwic_affine8 *a)
{
    return (size_t)a->outputs / 8 * a->inputs / (a->positive ? 4 : 2);
}

/* In how many blocks two inputs cannot be neighbours. */
AVX2 static int32_t conflicts(const int8_t *one, const int8_t *other, int32_t outputs)
{
    const __m256i zero = _mm256_setzero_si256(), limit = _mm256_set1_epi8((char)(32767 / 255));
    int32_t o, count = outputs / 8;
    for (o = 0; o < outputs; o += 32) {
        const __m256i x = load256(one + o), y = load256(other + o);
        __m256i above = _mm256_adds_epu8(_mm256_max_epi8(x, zero), _mm256_max_epi8(y, zero));
        __m256i below = _mm256_sub_epi8(zero, _mm256_min_epi8(x, zero));
        below = _mm256_adds_epu8(below, _mm256_sub_epi8(zero, _mm256_min_epi8(y, zero)));
        above = _mm256_subs_epu8(_mm256_max_epu8(above, below), limit);
        above = _mm256_cmpeq_epi64(above, zero);
        count -= __builtin_popcount((unsigned)_mm256_movemask_pd(_mm256_castsi256_pd(above)));
    }
    return count;
}

/* An order of 16 inputs in which neighbours have few conflicts: pairs exchange inputs as long as that helps. */
static void order_inputs(const int8_t *weights, int32_t outputs, uint8_t *order)
{
    int32_t cost[16][16], i, j, better = 1;
    for (i = 0; i < 16; i++)
        for (order[i] = (uint8_t)i, j = 0; j < i; j++)
            cost[i][j] = cost[j][i] = conflicts(weights + (size_t)i * outputs, weights + (size_t)j * outputs, outputs);
#define COST(i) cost[order[i]][order[(i) ^ 1]]
    while (better)
        for (better = i = 0; i < 16; i++)
            for (j = (i | 1) + 1; j < 16; j++)
                if (cost[order[i]][order[j ^ 1]] + cost[order[j]][order[i ^ 1]] < COST(i) + COST(j)) {
                    const uint8_t swapped = order[i];
                    order[i] = order[j];
                    order[j] = swapped;
                    better = 1;
                }
#undef COST
}

/* Sums of weights of four inputs: for one pair and the other, of 8 outputs each, those above 0, then those below. */
typedef struct {
    __m256i pair[2];
} sums;

AVX2 static sums add_sums(sums a, const int16_t *b)
{
    a.pair[0] = _mm256_add_epi16(a.pair[0], load256(b));
    a.pair[1] = _mm256_add_epi16(a.pair[1], load256(b + 16));
    return a;
}

AVX2 static int fit(sums a, int16_t limit)
{
    const __m256i beyond = _mm256_cmpgt_epi16(_mm256_max_epi16(a.pair[0], a.pair[1]), _mm256_set1_epi16(limit));
    return _mm256_testz_si256(beyond, beyond);
}

/* Of `count` numbers of pairs where four inputs begin, the first and the next ones that fit with it: up to `size`, whose
 * places in the list go into `places`. Returns how many. */
AVX2 static int32_t gather(int16_t (*of)[16], const int32_t *quads, int32_t count, int32_t size, int16_t limit,
                           int32_t *places)
{
    sums total = {{load256(of[quads[0]]), load256(of[quads[0] + 1])}};
    int32_t i, found = 1;
    places[0] = 0;
    for (i = 1; i < count && found < size; i++) {
        const sums more = add_sums(total, of[quads[i]]);
        if (fit(more, limit)) {
            total = more;
            places[found++] = i;
        }
    }
    return found;
}

/* Lists where four inputs begin that fit, by number of pair; those with the largest sums, which fit few others, first.
 * Returns how many. */
AVX2 static int32_t list_quads(int16_t (*of)[16], int32_t pairs, int16_t limit, int32_t *quads)
{
    int32_t i, j, k, count = 0, most[MOST / 4];
    for (i = 0; i + 1 < pairs; i++) {
        const sums own = {{load256(of[i]), load256(of[i + 1])}};
        int32_t largest = 0;
        if (!fit(own, limit))
            continue;
        for (k = 0; k < 32; k++)
            largest = of[i + k / 16][k % 16] > largest ? of[i + k / 16][k % 16] : largest;
        for (j = count++; j > 0 && most[j - 1] < largest; j--) {
            most[j] = most[j - 1];
            quads[j] = quads[j - 1];
        }
        most[j] = largest;
        quads[j] = i++;
    }
    return count;
}

/* Where a block's steps go, and what they are made of. */
typedef struct {
    const int8_t *weights; /* of the block's first output */
    const int32_t *sources;
    int32_t outputs, step, *offsets;
    int8_t *to;
} packer;

/* The next step, with weights for 8 outputs and `count` inputs, 4 by 8 bits or 2 by 16. */
static void put_step(packer *p, int32_t input, int32_t count)
{
    int8_t *to = p->to + (size_t)32 * p->step;
    int32_t o, i;
    for (o = 0; o < 8; o++)
        for (i = 0; i < count; i++) {
            const int16_t weight = p->weights[(size_t)p->sources[input + i] * p->outputs + o];
            if (count == 4)
                to[4 * o + i] = (int8_t)weight;
            else
                memcpy(to + 4 * o + 2 * i, &weight, 2);
        }
    p->offsets[p->step++] = input;
}

/* Steps of `size` each, of quads that fit one another; the others stay in the list. Returns how many. */
AVX2 static int32_t put_groups(packer *p, int16_t (*of)[16], int32_t *quads, int32_t count, int32_t size, int16_t limit)
{
    int32_t kept = 0, places[8], i, k, rest;
    while (kept < count) {
        if (gather(of, quads + kept, count - kept, size, limit, places) < size) {
            kept++;
            continue;
        }
        for (i = rest = kept, k = 0; i < count; i++)
            if (k < size && kept + places[k] == i) {
                put_step(p, 2 * quads[i], 4);
                k++;
            } else
                quads[rest++] = quads[i];
        count = rest;
    }
    return kept;
}

AVX2 static int pack_avx2(cwic_affine8 *a, const int8_t *weights, const int32_t *biases)
{
    static const int32_t sizes[] = {8, 2, 1};
    const int32_t outputs = a->outputs, inputs = a->inputs, limit = 32767 / (a->positive ? 127 : 255);
    const size_t most = most_steps(a), count_starts = (size_t)outputs / 8 * KINDS + 1;
    int16_t of[MOST / 2][16]; /* of each pair of inputs and 8 outputs, sums of weights above 0, and of those below */
    int32_t sources[MOST], quads[MOST / 4], b, i, k, o, count, *bias, *starts;
    packer p = {weights, sources, outputs, 0, NULL, NULL};
    uint8_t *order;
    a->packed = malloc(63 + (outputs + most + count_starts) * sizeof *biases + most * 32 + (size_t)inputs);
    if (!a->packed)
        return 0;
    bias = packed_biases(a);
    p.to = (int8_t *)(bias + outputs);
    starts = (int32_t *)(void *)(p.to + most * 32);
    p.offsets = starts + count_starts;
    order = (uint8_t *)(p.offsets + most);
    for (i = 0; i < inputs; i++)
        order[i] = (uint8_t)(i % 16);
    for (i = 0; i < inputs && !a->positive; i += 16)
        order_inputs(weights + (size_t)i * outputs, outputs, order + i);
    for (i = 0; i < inputs; i++)
        sources[i] = i / 16 * 16 + order[i];
    for (o = 0; o < outputs; o++) {
        int32_t sum = 0;
        for (i = 0; i < inputs; i++)
            sum += weights[(size_t)i * outputs + o];
        bias[o] = biases[o] - (a->positive ? 0 : 128 * sum);
    }
    for (b = 0; b < outputs; b += 8, p.weights += 8) {
        memset(of, 0, sizeof of);
        for (i = 0; i < inputs; i++)
            for (o = 0; o < 8; o++) {
                const int32_t weight = p.weights[(size_t)sources[i] * outputs + o];
                of[i / 2][weight < 0 ? 8 + o : o] += (int16_t)abs(weight);
            }
        count = list_quads(of, inputs / 2, (int16_t)limit, quads);
        for (k = EIGHT; k < PAIR; k++) {
            *starts++ = p.step;
            if (k > EIGHT || a->positive)
                count = put_groups(&p, of, quads, count, sizes[k], (int16_t)limit);
        }
        *starts++ = p.step;
        for (i = 0; i < inputs / 2; i++)
            if (i + 1 < inputs / 2 && fit((sums){{load256(of[i]), load256(of[i + 1])}}, (int16_t)limit))
                i++;
            else
                put_step(&p, 2 * i, 2);
    }
    *starts = p.step;
    return 1;
}

AVX2 void cwic_operand_avx2(const int16_t *x, const int16_t *m, int8_t *q, int32_t channels, int32_t count)
{
    const __m256i flip = _mm256_set1_epi8(-128), one = _mm256_set1_epi8(1);
    int32_t p, c;
    for (p = 0; p < count; p++, x += channels, q += channels)
        for (c = 0; c < channels; c += 32) {
            const __m256i low = _mm256_mulhrs_epi16(load256(x + c), load256(m + c));
            const __m256i high = _mm256_mulhrs_epi16(load256(x + c + 16), load256(m + c + 16));
            const __m256i both = _mm256_permute4x64_epi64(_mm256_packs_epi16(low, high), 0xd8);
            store256(q + c, _mm256_max_epu8(_mm256_xor_si256(both, flip), one));
        }
}

/* 32 channels of `space`. Bytes of two taps are interleaved, so that an instruction sums the products of both: above
 * and here for each dx, once for the three positions that see it; below with its right neighbour. A sum of any of the
 * terms stays within 16 bits, since that of their magnitudes does. */
AVX2 void cwic_space_avx2_32(const int8_t *above, const int8_t *here, const int8_t *below, const int8_t *weights,
                             const int16_t *bias, const int16_t *m, int8_t *g, int32_t channels, int32_t count)
{
    const __m256i flip = _mm256_set1_epi8(-128), one = _mm256_set1_epi8(1), zero = _mm256_setzero_si256();
    const size_t n = (size_t)channels;
    __m256i w[5][2], b[2], k[2], v[3][2], u[2][2], s[2], x, y;
    int32_t p, i, j;
#define PAIR256(to, x, y) ((to)[0] = _mm256_unpacklo_epi8(x, y), (to)[1] = _mm256_unpackhi_epi8(x, y))
#define HALVES256(to, x) ((to)[0] = _mm256_permute2x128_si256(load256(x), load256((x) + 16), 0x20), \
                          (to)[1] = _mm256_permute2x128_si256(load256(x), load256((x) + 16), 0x31))
    UNROLLED for (i = 0; i < 3; i++)
        PAIR256(w[i], load256(weights + i * n), load256(weights + (i + 3) * n));
    PAIR256(w[3], load256(weights + 6 * n), load256(weights + 7 * n));
    PAIR256(w[4], zero, load256(weights + 8 * n));
    HALVES256(b, bias);
    HALVES256(k, m);
    UNROLLED for (i = 0; i < 2; i++)
        PAIR256(v[i + 1], load256(above + i * n), load256(here + i * n));
    x = load256(below + n);
    PAIR256(u[1], load256(below), x);
    for (p = 0; p < count; p++, g += n) {
        above += n, here += n, below += n;
        UNROLLED for (j = 0; j < 2; j++)
            v[0][j] = v[1][j], v[1][j] = v[2][j], u[0][j] = u[1][j];
        PAIR256(v[2], load256(above + n), load256(here + n));
        y = load256(below + n);
        PAIR256(u[1], x, y);
        x = y;
        UNROLLED for (j = 0; j < 2; j++) {
            s[j] = _mm256_add_epi16(b[j], _mm256_maddubs_epi16(v[0][j], w[0][j]));
            s[j] = _mm256_add_epi16(s[j], _mm256_maddubs_epi16(v[1][j], w[1][j]));
            s[j] = _mm256_add_epi16(s[j], _mm256_maddubs_epi16(v[2][j], w[2][j]));
            s[j] = _mm256_add_epi16(s[j], _mm256_maddubs_epi16(u[0][j], w[3][j]));
            s[j] = _mm256_add_epi16(s[j], _mm256_maddubs_epi16(u[1][j], w[4][j]));
            s[j] = _mm256_mulhrs_epi16(s[j], k[j]);
        }
        store256(g, _mm256_max_epu8(_mm256_xor_si256(_mm256_packs_epi16(s[0], s[1]), flip), one));
    }
}

AVX2 void cwic_space_avx2(const int8_t *above, const int8_t *here, const int8_t *below, const int8_t *weights,
                          const int16_t *bias, const int16_t *m, int8_t *g, int32_t channels, int32_t count)
{
    int32_t c;
    for (c = 0; c < channels; c += 32)
        cwic_space_avx2_32(above + c, here + c, below + c, weights + c, bias + c, m + c, g + c, channels, count);
}

#define ROOM 16384 /* inputs at once, of at least MANY positions */
#define MANY 12

/* Two positions' sums, shifted and to 16 bits: the first four outputs of either, then the others. */
AVX2 INLINE __m256i shifted(const __m256i *sum, __m128i shift)
{
    return _mm256_packs_epi32(_mm256_sra_epi32(sum[0], shift), _mm256_sra_epi32(sum[1], shift));
}

/* Puts what came of 8 outputs from b on at MANY positions from p on into out, without what is below 0, for positions
 * from `first` to before `last`. */
AVX2 INLINE void put_relu(const cwic_affine8 *a, const __m256i *sum, int8_t *out, int32_t b, int32_t p, int32_t first,
                          int32_t last)
{
    const __m256i m = _mm256_permute4x64_epi64(_mm256_castsi128_si256(load128(a->multiplier + b)), 0x50);
    const __m256i places = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7), zero = _mm256_setzero_si256();
    const __m128i shift = _mm_cvtsi32_si128(a->shift);
    int32_t j, k;
    UNROLLED for (j = 0; j < MANY; j += 4) {
        __m256i u = _mm256_mulhrs_epi16(shifted(sum + j, shift), m);
        u = _mm256_packs_epi16(u, _mm256_mulhrs_epi16(shifted(sum + j + 2, shift), m));
        u = _mm256_permutevar8x32_epi32(_mm256_max_epi8(u, zero), places);
        UNROLLED for (k = 0; k < 4; k++)
            if (p + j + k >= first && p + j + k < last) {
                const __m128i two = k < 2 ? _mm256_castsi256_si128(u) : _mm256_extracti128_si256(u, 1);
                store64(out + (size_t)(p + j + k) * a->outputs + b, k % 2 ? _mm_unpackhi_epi64(two, two) : two);
            }
    }
}

/* Adds to x what came of 8 outputs from b on at MANY positions from p on, for positions from `first` to before `last`. */
AVX2 INLINE void put_sum(const cwic_affine8 *a, const __m256i *sum, int16_t *x, int32_t b, int32_t p, int32_t first,
                         int32_t last)
{
    const __m256i m = _mm256_broadcastsi128_si256(load128(a->multiplier + b));
    const __m128i shift = _mm_cvtsi32_si128(a->shift);
    int32_t j, k;
    UNROLLED for (j = 0; j < MANY; j += 2) {
        const __m256i u = _mm256_mulhrs_epi16(_mm256_permute4x64_epi64(shifted(sum + j, shift), 0xd8), m);
        UNROLLED for (k = j; k < j + 2; k++)
            if (p + k >= first && p + k < last) {
                int16_t *to = x + (size_t)(p + k) * a->outputs + b;
                const __m128i half = k > j ? _mm256_extracti128_si256(u, 1) : _mm256_castsi256_si128(u);
                store128(to, _mm_adds_epi16(half, load128(to)));
            }
    }
}

#define PUT(FIRST, LAST) (out ? put_relu(a, sum, out, b, p, FIRST, LAST) : put_sum(a, sum, x, b, p, FIRST, LAST))

/* 8 outputs from b on at MANY positions from p on, into out, or else added to x, for positions from `first` to before
 * `last`. n, the inputs, and whether there is an `out` are constants where this is inlined. `wide` is `in` with 16
 * bits, where there are steps for that. */
AVX2 INLINE void part_avx2(const cwic_affine8 *a, const int8_t *in, const int16_t *wide, int8_t *out, int16_t *x,
                           const size_t n, int32_t b, int32_t p, int32_t first, int32_t last)
{
    const __m256i ones = _mm256_set1_epi16(1);
    const int32_t *biases = packed_biases(a);
    const int8_t *w = (const int8_t *)(biases + a->outputs);
    const int32_t *starts = (const int32_t *)(const void *)(w + most_steps(a) * 32);
    const int32_t *offset = starts + a->outputs / 8 * KINDS + 1, *end;
    int32_t j, k;
    __m256i sum[MANY], u, v;
    in += n * p, wide += n * p, starts += b / 8 * KINDS;
    w += (size_t)32 * starts[EIGHT];
    UNROLLED for (j = 0; j < MANY; j++)
        sum[j] = load256(biases + b);
    for (end = offset + starts[TWICE], offset += starts[EIGHT]; offset < end; offset += 8, w += 256)
        UNROLLED for (j = 0; j < MANY; j++) {
            u = _mm256_maddubs_epi16(_mm256_set1_epi32(quad_at(in + offset[0] + j * n)), load256(w));
            UNROLLED for (k = 1; k < 8; k++) {
                v = _mm256_maddubs_epi16(_mm256_set1_epi32(quad_at(in + offset[k] + j * n)), load256(w + 32 * k));
                u = _mm256_add_epi16(u, v);
            }
            sum[j] = _mm256_add_epi32(sum[j], _mm256_madd_epi16(u, ones));
        }
    for (end += starts[QUAD] - starts[TWICE]; offset < end; offset += 2, w += 64) {
        const int8_t *one = in + offset[0], *other = in + offset[1];
        UNROLLED for (j = 0; j < MANY; j++) {
            u = _mm256_maddubs_epi16(_mm256_set1_epi32(quad_at(one + j * n)), load256(w));
            v = _mm256_maddubs_epi16(_mm256_set1_epi32(quad_at(other + j * n)), load256(w + 32));
            sum[j] = _mm256_add_epi32(sum[j], _mm256_madd_epi16(_mm256_add_epi16(u, v), ones));
        }
    }
    for (end += starts[PAIR] - starts[QUAD]; offset < end; offset++, w += 32)
        UNROLLED for (j = 0; j < MANY; j++) {
            u = _mm256_maddubs_epi16(_mm256_set1_epi32(quad_at(in + *offset + j * n)), load256(w));
            sum[j] = _mm256_add_epi32(sum[j], _mm256_madd_epi16(u, ones));
        }
    for (end += starts[KINDS] - starts[PAIR]; offset < end; offset++, w += 32)
        UNROLLED for (j = 0; j < MANY; j++) {
            u = _mm256_set1_epi32(quad_at(wide + *offset + j * n));
            sum[j] = _mm256_add_epi32(sum[j], _mm256_madd_epi16(u, load256(w)));
        }
    if (p >= first && p + MANY <= last)
        PUT(p, p + MANY);
    else
        PUT(first, last);
}

/* The last positions are computed with some before them, once more. */
AVX2 INLINE void product_of(const cwic_affine8 *a, const int8_t *in, int8_t *out, int16_t *x, const size_t n,
                            int32_t count)
{
    const size_t outputs = (size_t)a->outputs, steps = most_steps(a);
    const int8_t *order = (const int8_t *)(packed_biases(a) + outputs + outputs / 8 * KINDS + 1 + steps) + steps * 32;
    int8_t ordered[ROOM];
    int16_t wide[ROOM];
    int32_t p, b, now;
    size_t i, c;
    for (; count; count -= now, in += now * n) {
        const int32_t most = (int32_t)(ROOM / n) / MANY * MANY;
        now = count < most ? count : most;
        for (i = 0; i < now * n; i += n)
            for (c = 0; c < n; c += 16) {
                const __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(in + i + c));
                const __m128i s = _mm_loadu_si128((const __m128i *)(const void *)(order + c));
                _mm_storeu_si128((__m128i *)(void *)(ordered + i + c), _mm_shuffle_epi8(v, s));
                if (!a->positive)
                    store256(wide + i + c, _mm256_cvtepu8_epi16(_mm_shuffle_epi8(v, s)));
            }
        if (now < MANY) {
            memset(ordered + i, 0, MANY * n - i);
            memset(wide + i, 0, (MANY * n - i) * sizeof *wide);
        }
        for (b = 0; b < a->outputs; b += 8)
            for (p = 0; p < now; p += MANY) {
                const int32_t from = p + MANY <= now || now < MANY ? p : now - MANY;
                part_avx2(a, ordered, wide, out, x, n, b, from, p, now);
            }
        if (out)
            out += now * outputs;
        else
            x += now * outputs;
    }
}

AVX2 INLINE void product_avx2(const cwic_affine8 *a, const int8_t *in, int8_t *out, int16_t *x, int32_t count)
{
    if (a->inputs == 160)
        product_of(a, in, out, x, 160, count);
    else if (a->inputs == 320)
        product_of(a, in, out, x, 320, count);
    else
        product_of(a, in, out, x, (size_t)a->inputs, count);
}

AVX2 static void relu_avx2(const cwic_affine8 *a, const int8_t *in, int8_t *out, int32_t count)
{
    product_avx2(a, in, out, NULL, count);
}

AVX2 static void add_avx2(const cwic_affine8 *a, const int8_t *in, int16_t *x, int32_t count)
{
    product_avx2(a, in, NULL, x, count);
}

const cwic_blocks cwic_blocks_avx2 = {1, pack_avx2, cwic_operand_avx2, relu_avx2, add_avx2, cwic_space_avx2};

#endif
