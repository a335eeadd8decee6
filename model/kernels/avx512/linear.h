/* x W' + b for few rows and for many, with the weights read once, in order; in bfloat16 or in whole numbers.
 *
 * Weights lie in panels of 32 outputs, in each panel the inputs that one instruction takes together: shape =
 * (outputs / 32, inputs / 2, 32, 2) of bfloat16 or (outputs / 32, inputs / 4, 32, 4) of int8, the last panel
 * filled up with zeros. A result is one chain of sums over the inputs whatever rows stand beside it, so batch
 * mates change no bit.
 */
#ifndef RUDOLPH_LINEAR_H
#define RUDOLPH_LINEAR_H

#include "vectors.h"

/* Outputs that lie together. */
#define PANEL 32
/* Sixteen sums, and room to read ahead; larger tiles were slower at 12 and 24 rows. */
#define MAX_TILE_ROWS 8
/* Many rows are shared among threads too. */
#define BLOCK_ROWS 96
#define INT8_MAX_VALUE 127.0f
/* Zero of the rows in whole numbers: the instruction takes unsigned ones on one side. */
#define MIDDLE 128
/* A row of zeros must not be divided by zero. */
#define SMALLEST 1e-30f

/* Bias, scales and starts are as long as the panels are wide together. */
typedef struct {
    const void *weight;
    const float *bias;
    const float *scales;   /* of int8 weights, one an output; null: the weights are bfloat16 */
    const int32_t *starts; /* where sums of whole numbers begin, so that MIDDLE counts as zero */
    size_t inputs, outputs;
    int gelu;
} Linear;

/* Rows of bfloat16, or of whole numbers around MIDDLE with a scale each. */
typedef struct {
    const void *rows;
    const float *scales;
} Input;

/* Where results go: float32, or bfloat16 where `narrow` is not null; `stride` values a row. */
typedef struct {
    float *wide;
    bf16 *narrow;
    size_t stride;
} Output;

/* One row of bfloat16 in whole numbers; returns its scale. `size` is a multiple of 16. */
static float quantise_row(const bf16 *x, size_t size, uint8_t *out)
{
    __m512 most = _mm512_setzero_ps();
    for (size_t i = 0; i < size; i += LANES)
        most = _mm512_max_ps(most, _mm512_abs_ps(load_bf16(x + i, 0xffff)));
    float largest = _mm512_reduce_max_ps(most);
    float scale = (largest > SMALLEST ? largest : SMALLEST) / INT8_MAX_VALUE;
    __m512 inverse = _mm512_set1_ps(1.0f / scale);
    for (size_t i = 0; i < size; i += LANES) {
        __m512i whole = _mm512_cvtps_epi32(_mm512_mul_ps(load_bf16(x + i, 0xffff), inverse));
        whole = _mm512_add_epi32(whole, _mm512_set1_epi32(MIDDLE));
        _mm_storeu_si128((__m128i *)(out + i), _mm512_cvtusepi32_epi8(whole));
    }
    return scale;
}

/* Sums of a tile in whole numbers, multiplied out. */
INLINE void whole_sums(const int rows, const Input *x, const Linear *linear, size_t column, size_t row,
                       __m512 sums[][2])
{
    const size_t inputs = linear->inputs;
    const int8_t *weight = (const int8_t *)linear->weight + column * inputs;
    const uint8_t *from = (const uint8_t *)x->rows + row * inputs;
    __m512i whole[MAX_TILE_ROWS][2];
    for (int r = 0; r < rows; r++)
        for (int half = 0; half < 2; half++)
            whole[r][half] = _mm512_loadu_si512(linear->starts + column + half * LANES);
    for (size_t k = 0; k < inputs; k += 4, weight += 4 * PANEL) {
        __m512i low = _mm512_loadu_si512(weight), high = _mm512_loadu_si512(weight + 2 * PANEL);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            int four;
            memcpy(&four, from + r * inputs + k, sizeof four);
            __m512i all = _mm512_set1_epi32(four);
            whole[r][0] = _mm512_dpbusd_epi32(whole[r][0], all, low);
            whole[r][1] = _mm512_dpbusd_epi32(whole[r][1], all, high);
        }
    }
    for (int r = 0; r < rows; r++)
        for (int half = 0; half < 2; half++) {
            __m512 scale = _mm512_loadu_ps(linear->scales + column + half * LANES);
            scale = _mm512_mul_ps(scale, _mm512_set1_ps(x->scales[row + r]));
            sums[r][half] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(whole[r][half]), scale,
                                            _mm512_loadu_ps(linear->bias + column + half * LANES));
        }
}

/* Sums of a tile in bfloat16. */
INLINE void half_sums(const int rows, const Input *x, const Linear *linear, size_t column, size_t row,
                      __m512 sums[][2])
{
    const size_t inputs = linear->inputs;
    const bf16 *weight = (const bf16 *)linear->weight + column * inputs,
               *from = (const bf16 *)x->rows + row * inputs;
    for (int r = 0; r < rows; r++)
        for (int half = 0; half < 2; half++)
            sums[r][half] = _mm512_loadu_ps(linear->bias + column + half * LANES);
    for (size_t k = 0; k < inputs; k += 2, weight += 2 * PANEL) {
        __m512bh low = (__m512bh)_mm512_loadu_si512(weight);
        __m512bh high = (__m512bh)_mm512_loadu_si512(weight + PANEL);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            int pair;
            memcpy(&pair, from + r * inputs + k, sizeof pair);
            __m512bh both = (__m512bh)_mm512_set1_epi32(pair);
            sums[r][0] = _mm512_dpbf16_ps(sums[r][0], both, low);
            sums[r][1] = _mm512_dpbf16_ps(sums[r][1], both, high);
        }
    }
}

INLINE void tile(const int rows, const Input *x, const Linear *linear, size_t panel, size_t row,
                 const Output *out)
{
    const size_t column = panel * PANEL;
    __m512 sums[MAX_TILE_ROWS][2];
    if (linear->scales)
        whole_sums(rows, x, linear, column, row, sums);
    else
        half_sums(rows, x, linear, column, row, sums);
    for (int r = 0; r < rows; r++)
        for (size_t half = 0; half < 2 && column + half * LANES < linear->outputs; half++) {
            size_t first = column + half * LANES, at = (row + r) * out->stride + first;
            __mmask16 mask = first_lanes(linear->outputs - first);
            __m512 value = linear->gelu ? gelu16(sums[r][half]) : sums[r][half];
            if (out->narrow)
                store_bf16(out->narrow + at, mask, value);
            else
                _mm512_mask_storeu_ps(out->wide + at, mask, value);
        }
}

static void few_rows(size_t rows, const Input *x, const Linear *linear, size_t panel, size_t row,
                     const Output *out)
{
#define CASE(n)                                                                                              \
    case n:                                                                                                  \
        tile(n, x, linear, panel, row, out);                                                                 \
        break
    switch (rows) {
        CASE(1);
        CASE(2);
        CASE(3);
        CASE(4);
        CASE(5);
        CASE(6);
        CASE(7);
        CASE(8);
    }
#undef CASE
}

/* One thread's part of the product. */
static void multiply(const Input *x, size_t rows, const Linear *linear, const Output *out, size_t thread,
                     size_t threads)
{
    size_t panels = (linear->outputs + PANEL - 1) / PANEL, blocks = (rows + BLOCK_ROWS - 1) / BLOCK_ROWS;
    size_t begin, end;
    share(panels * blocks, thread, threads, &begin, &end);
    for (size_t part = begin; part < end; part++) {
        size_t panel = part / blocks, first = part % blocks * BLOCK_ROWS;
        size_t count = rows - first < BLOCK_ROWS ? rows - first : BLOCK_ROWS;
        size_t tiles = (count + MAX_TILE_ROWS - 1) / MAX_TILE_ROWS;
        for (size_t t = 0; t < tiles; t++) {
            size_t from, to;
            share(count, t, tiles, &from, &to);
            few_rows(to - from, x, linear, panel, first + from, out);
        }
    }
}

#endif
