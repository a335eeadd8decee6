/* x W' + b for few rows and for many, with the weights read once, in order.
 *
 * Weights lie in panels of 32 outputs, in each panel pairs of inputs: shape = (outputs / 32, inputs / 2, 32, 2),
 * the last panel filled up with zeros. A result is one chain of sums over the inputs whatever rows stand beside
 * it, so batch mates change no bit.
 */
#ifndef RUDOLPH_LINEAR_H
#define RUDOLPH_LINEAR_H

#include "vectors.h"

#define PANEL 32
#define MAX_TILE_ROWS 8 /* sixteen sums, and room to read ahead; larger tiles were slower at 12 and 24 rows */
#define BLOCK_ROWS 96    /* many rows are shared among threads too */

typedef struct {
    const bf16 *weight;
    const float *bias; /* as long as the panels are wide together */
    size_t inputs, outputs;
    int gelu;
} Linear;

/* Where results go: float32, or bfloat16 where `narrow` is not null; `stride` values a row. */
typedef struct {
    float *wide;
    bf16 *narrow;
    size_t stride;
} Output;

INLINE void tile(const int rows, const bf16 *x, const Linear *linear, size_t panel, size_t row, const Output *out)
{
    const size_t inputs = linear->inputs, column = panel * PANEL;
    const bf16 *weight = linear->weight + column * inputs;
    __m512 sums[MAX_TILE_ROWS][2];
    __m512 bias[2] = {_mm512_loadu_ps(linear->bias + column), _mm512_loadu_ps(linear->bias + column + LANES)};
    for (int r = 0; r < rows; r++) {
        sums[r][0] = bias[0];
        sums[r][1] = bias[1];
    }
    for (size_t k = 0; k < inputs; k += 2, weight += 2 * PANEL) {
        __m512bh low = (__m512bh)_mm512_loadu_si512(weight);
        __m512bh high = (__m512bh)_mm512_loadu_si512(weight + PANEL);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            int pair;
            memcpy(&pair, x + r * inputs + k, sizeof pair);
            __m512bh both = (__m512bh)_mm512_set1_epi32(pair);
            sums[r][0] = _mm512_dpbf16_ps(sums[r][0], both, low);
            sums[r][1] = _mm512_dpbf16_ps(sums[r][1], both, high);
        }
    }
    for (int r = 0; r < rows; r++) {
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
}

static void few_rows(size_t rows, const bf16 *x, const Linear *linear, size_t panel, size_t row, const Output *out)
{
#define CASE(n) case n: tile(n, x, linear, panel, row, out); break
    switch (rows) {
        CASE(1); CASE(2); CASE(3); CASE(4); CASE(5); CASE(6);
        CASE(7); CASE(8);
    }
#undef CASE
}

/* One thread's part of the product. x: shape = (rows, inputs). */
static void multiply(const bf16 *x, size_t rows, const Linear *linear, const Output *out, size_t thread,
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
            few_rows(to - from, x + (first + from) * linear->inputs, linear, panel, first + from, out);
        }
    }
}

#endif
