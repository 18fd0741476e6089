/* The products of the transforms' blocks with AMX, chosen at run time. Same results as affine8.c; operands are kept as
 * affine8_x86.c keeps them with AVX-512, whose other functions serve here too. */

#include "affine8.h"

#if defined(__linux__) && defined(__x86_64__) && (__GNUC__ >= 11 || (defined(__clang__) && __clang_major__ >= 12))

#include <cpuid.h>
#include <immintrin.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

long syscall(long number, ...); /* of unistd.h, which hides it from strict C99 */

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl")))
#define AMX __attribute__((target("avx512f,avx512bw,avx512vl,amx-tile,amx-int8")))
/* gcc's intrinsics do not say that they read memory. */
#define MEMORY_WRITTEN() __asm__ volatile("" ::: "memory")

#define MOST 1024 /* inputs */

/* All eight tiles have 16 rows of 64 bytes: 0 to 3 are sums of two times 16 positions and two times 16 outputs, 4 and 5
 * hold 64 inputs of 16 positions each, 6 and 7 the weights of 64 inputs for 16 outputs each, in rows of four inputs. */
static const struct {
    uint8_t palette, start, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} shapes = {1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};

/* packed: on a 64-byte boundary biases, then for each 32 outputs, for each 64 inputs, two tiles of weights. Of each 32
 * outputs the first 16 are those of which packs_epi32 leaves four in the lower half of every 128-bit lane. */
static inline int32_t *packed_biases(const cwic_affine8 *a)
{
    return (int32_t *)(void *)(((uintptr_t)a->packed + 63) & ~(uintptr_t)63);
}

static inline int32_t shuffled(int32_t o) { return o / 32 * 32 + o % 16 / 4 * 8 + o / 16 % 2 * 4 + o % 4; }

/* Where inputs are no multiple of 64, the last step sees the last 64 all the same, with zeros as weights of those that
 * the step before it has seen. Rows of 32 inputs are copied into rows of 64. */
static inline int32_t step_start(int32_t step, int32_t inputs)
{
    return inputs < 64 || 64 * step + 64 <= inputs ? 64 * step : inputs - 64;
}

static int amx_pack(cwic_affine8 *a, const int8_t *weights, const int32_t *biases)
{
    const int32_t outputs = a->outputs, steps = (a->inputs + 63) / 64;
    const size_t head = (size_t)outputs * sizeof *biases, size = (size_t)steps * 64 * outputs;
    int32_t o, i, step, *bias;
    int8_t *w;
    a->packed = calloc(1, 63 + head + size);
    if (!a->packed)
        return 0;
    bias = packed_biases(a);
    w = (int8_t *)(bias + outputs);
    for (o = 0; o < outputs; o++) {
        const int32_t source = shuffled(o);
        int8_t *tile = w + ((size_t)(o / 32 * steps) * 2 + o / 16 % 2) * 1024 + o % 16 * 4;
        int32_t sum = 0;
        for (i = 0; i < a->inputs; i++) {
            const int32_t weight = weights[(size_t)i * outputs + source];
            step = i / 64;
            tile[(size_t)step * 2048 + (i - step_start(step, a->inputs)) / 4 * 64 + i % 4] = (int8_t)weight;
            sum += weight;
        }
        bias[o] = biases[source] - (a->positive ? 0 : 128 * sum); /* inputs with a sign come as q + 128 */
    }
    return 1;
}

/* Sums [32][32] of which `done` to `end` are wanted, at outputs b on, for positions from p on. */
typedef struct {
    const int32_t *sums;
    int32_t p, b, done, end;
} finished;

AVX512 INLINE __m512i narrowed(const int32_t *sums, __m128i shift, __m512i m)
{
    const __m512i low = _mm512_sra_epi32(_mm512_load_si512(sums), shift);
    const __m512i high = _mm512_sra_epi32(_mm512_load_si512(sums + 16), shift);
    return _mm512_mulhrs_epi16(_mm512_packs_epi32(low, high), m);
}

/* Those of positions from .. to - 1, even numbers. */
AVX512 INLINE void finish(const cwic_affine8 *a, finished f, int8_t *out, int16_t *x, int32_t from, int32_t to)
{
    const __m128i shift = _mm_cvtsi32_si128(a->shift);
    const __m512i m = _mm512_loadu_si512(a->multiplier + f.b), zero = _mm512_setzero_si512();
    const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
    const size_t step = (size_t)a->outputs;
    const int32_t end = to < f.end ? to : f.end;
    int32_t j = from > f.done ? from : f.done;
    if (j >= end)
        return;
    if (out) {
        out += (size_t)(f.p + j) * step + f.b;
        for (; j + 2 <= end; j += 2, out += 2 * step) {
            const __m512i first = narrowed(f.sums + 32 * j, shift, m);
            const __m512i second = narrowed(f.sums + 32 * j + 32, shift, m);
            __m512i both = _mm512_max_epi8(_mm512_packs_epi16(first, second), zero);
            both = _mm512_permutexvar_epi64(order, both);
            _mm256_storeu_si256((__m256i *)(void *)out, _mm512_castsi512_si256(both));
            _mm256_storeu_si256((__m256i *)(void *)(out + step), _mm512_extracti64x4_epi64(both, 1));
        }
        if (j < end)
            _mm256_storeu_si256((__m256i *)(void *)out, _mm512_cvtsepi16_epi8(_mm512_max_epi16(
                                                            narrowed(f.sums + 32 * j, shift, m), zero)));
    } else {
        x += (size_t)(f.p + j) * step + f.b;
        for (; j < end; j++, x += step)
            _mm512_storeu_si512(x, _mm512_adds_epi16(_mm512_loadu_si512(x), narrowed(f.sums + 32 * j, shift, m)));
    }
}

/* 32 positions and 32 outputs at a time. While the tiles work, the sums before are finished, a share after each step:
 * the processor does not look far enough ahead to find them by itself. */
AMX INLINE void product(const cwic_affine8 *a, const int8_t *in, int8_t *out, int16_t *x, int32_t count)
{
    int32_t sums[2][32 * 32] __attribute__((aligned(64)));
    int8_t few[32 * MOST] __attribute__((aligned(64)));
    const int32_t *biases = packed_biases(a);
    const int32_t steps = (a->inputs + 63) / 64;
    finished before = {NULL, 0, 0, 0, 0};
    int32_t p, b, j, step, turn = 0, from;
    _tile_loadconfig(&shapes);
    for (p = 0; p < count; p += 32) {
        const int32_t rest = count - p < 32 ? count - p : 32;
        const int8_t *rows;
        size_t stride = (size_t)a->inputs;
        from = count < 32 ? 0 : p + rest - 32; /* the last positions come with some before them, once more */
        rows = in + from * stride;
        if (count < 32 || stride < 64) {
            const size_t row = stride;
            stride = row < 64 ? 64 : row;
            memset(few, 0, 32 * stride);
            for (j = 0; j < 32 && from + j < count; j++)
                memcpy(few + j * stride, rows + j * row, row);
            rows = few;
            MEMORY_WRITTEN();
        }
        for (b = 0; b < a->outputs; b += 32) {
            const int8_t *w = (const int8_t *)(biases + a->outputs) + (size_t)b * steps * 64;
            finished now = {sums[turn], from, b, p - from, p - from + rest};
            _tile_loadd(0, biases + b, 0); /* 16 times the same row */
            _tile_loadd(1, biases + b + 16, 0);
            _tile_loadd(2, biases + b, 0);
            _tile_loadd(3, biases + b + 16, 0);
            for (step = 0; step < steps; step++, w += 2048) {
                const int8_t *at = rows + step_start(step, a->inputs);
                _tile_loadd(4, at, stride);
                _tile_loadd(6, w, 64);
                _tile_dpbusd(0, 4, 6);
                _tile_loadd(7, w + 1024, 64);
                _tile_dpbusd(1, 4, 7);
                _tile_loadd(5, at + 16 * stride, stride);
                _tile_dpbusd(2, 5, 6);
                _tile_dpbusd(3, 5, 7);
                finish(a, before, out, x, step * 16 / steps * 2, (step + 1) * 16 / steps * 2);
            }
            _tile_stored(0, sums[turn], 128);
            _tile_stored(1, sums[turn] + 16, 128);
            _tile_stored(2, sums[turn] + 512, 128);
            _tile_stored(3, sums[turn] + 528, 128);
            before = now;
            turn = !turn;
        }
    }
    finish(a, before, out, x, 0, 32);
    _tile_release();
}

AMX static void amx_relu(const cwic_affine8 *a, const int8_t *in, int8_t *out, int32_t count)
{
    product(a, in, out, NULL, count);
}

AMX static void amx_add(const cwic_affine8 *a, const int8_t *in, int16_t *x, int32_t count)
{
    product(a, in, NULL, x, count);
}

static void amx_operand(const int16_t *x, const int16_t *m, int8_t *q, int32_t channels, int32_t count)
{
    cwic_blocks_x86(3)->operand(x, m, q, channels, count);
}

static void amx_space(const int8_t *above, const int8_t *here, const int8_t *below, const int8_t *weights,
                      const int16_t *bias, const int16_t *m, int8_t *g, int32_t channels, int32_t count)
{
    cwic_blocks_x86(3)->space(above, here, below, weights, bias, m, g, channels, count);
}

static const cwic_blocks blocks_amx = {4, amx_pack, amx_operand, amx_relu, amx_add, amx_space};

/* Linux lets a process use the tiles once it has asked for their state, ARCH_REQ_XCOMP_PERM; threads that it starts
 * afterwards may as well. */
const cwic_blocks *cwic_blocks_amx(int32_t simd)
{
    const unsigned tile = 1u << 24, int8 = 1u << 25;
    unsigned eax, ebx, ecx, edx;
    if (simd != 4 || !cwic_blocks_x86(3) || !__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx))
        return NULL;
    if ((edx & tile) == 0 || (edx & int8) == 0 || syscall(SYS_arch_prctl, 0x1023, 18) != 0)
        return NULL;
    return &blocks_amx;
}

#else

const cwic_blocks *cwic_blocks_amx(int32_t simd)
{
    (void)simd;
    return NULL;
}

#endif
