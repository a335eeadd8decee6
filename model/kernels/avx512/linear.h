/* x W' + b for few rows and for many, with the weights read once, in order.
 *
 * Four arithmetics: the processor's own instruction for bfloat16 (PAIRS), the same by way of float32
 * (SPREAD), float16 with sums of at most HALF_CHUNK products (HALF, in half.c), and whole numbers (WHOLE).
 * The weights lie in panels of as many outputs as a vector takes, in each panel the inputs that one
 * instruction takes together: shape = (outputs / 16, inputs / 2, 16, 2) of bfloat16, (outputs / 32, inputs,
 * 32) of float16 or (outputs / 16, inputs / 4, 16, 4) of int8, filled up with zeros to a multiple of
 * MOST_OUTPUTS. A result is one chain of sums over the inputs whatever rows stand beside it, so batch mates
 * change no bit.
 */
#ifndef RUDOLPH_LINEAR_H
#define RUDOLPH_LINEAR_H

#include "tiles.h"

/* Sums of a tile in whole numbers, multiplied out. */
INLINE void whole_sums(const int rows, const Input *x, const Linear *linear, const Tile *tile,
                       __m512 sums[][TILE_PANELS])
{
    const size_t inputs = linear->inputs, bytes = inputs * LANES, inverse = INVERSE(tile);
    const char *weight = (const char *)linear->weight + tile->column * inputs;
    const uint8_t *from = (const uint8_t *)x->rows + tile->row * inputs;
    __m512i whole[MAX_TILE_ROWS][TILE_PANELS];
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++)
        for (int panel = 0; panel < TILE_PANELS; panel++)
            whole[r][panel] = _mm512_loadu_si512(linear->starts + tile->column + panel * LANES);
    for (size_t line = 0; line < inputs / 4; line++) {
        __m512i weights[TILE_PANELS];
        for (int panel = 0; panel < TILE_PANELS; panel++) {
            ask_ahead(weight + panel * bytes, bytes, line, NEXT_LINE(tile, line, inputs / 4, inverse));
            weights[panel] = _mm512_loadu_si512(weight + panel * bytes + line * LINE_BYTES);
        }
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++) {
            int four;
            memcpy(&four, from + r * inputs + line * 4, sizeof four);
            __m512i all = _mm512_set1_epi32(four);
            for (int panel = 0; panel < TILE_PANELS; panel++)
                whole[r][panel] = _mm512_dpbusd_epi32(whole[r][panel], all, weights[panel]);
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++)
        for (int panel = 0; panel < TILE_PANELS; panel++) {
            __m512 scale = _mm512_loadu_ps(linear->scales + tile->column + panel * LANES);
            scale = _mm512_mul_ps(scale, _mm512_set1_ps(x->scales[tile->row + (size_t)r]));
            sums[r][panel] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(whole[r][panel]), scale,
                                             _mm512_loadu_ps(linear->bias + tile->column + panel * LANES));
        }
}

INLINE void start_sums(const int rows, const Linear *linear, const Tile *tile, __m512 sums[][TILE_PANELS])
{
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++)
        for (int panel = 0; panel < TILE_PANELS; panel++)
            sums[r][panel] = _mm512_loadu_ps(linear->bias + tile->column + panel * LANES);
}

/* Sums of a tile by the instruction for bfloat16. */
INLINE void pair_sums(const int rows, const Input *x, const Linear *linear, const Tile *tile,
                      __m512 sums[][TILE_PANELS])
{
    const size_t inputs = linear->inputs, bytes = inputs * LANES * sizeof(bf16), inverse = INVERSE(tile);
    const char *weight = (const char *)linear->weight + tile->column * inputs * sizeof(bf16);
    const bf16 *from = (const bf16 *)x->rows + tile->row * inputs;
    start_sums(rows, linear, tile, sums);
    for (size_t line = 0; line < inputs / 2; line++) {
        __m512bh weights[TILE_PANELS];
        for (int panel = 0; panel < TILE_PANELS; panel++) {
            ask_ahead(weight + panel * bytes, bytes, line, NEXT_LINE(tile, line, inputs / 2, inverse));
            weights[panel] = (__m512bh)_mm512_loadu_si512(weight + panel * bytes + line * LINE_BYTES);
        }
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++) {
            int pair;
            memcpy(&pair, from + r * inputs + line * 2, sizeof pair);
            __m512bh both = (__m512bh)_mm512_set1_epi32(pair);
            for (int panel = 0; panel < TILE_PANELS; panel++)
                sums[r][panel] = _mm512_dpbf16_ps(sums[r][panel], both, weights[panel]);
        }
    }
}

/* The same sums by way of float32, of which bfloat16 is the upper half. The instruction for bfloat16 adds the
 * odd product first, then the even one, each sum rounded to float32; so does this. */
INLINE void spread_sums(const int rows, const Input *x, const Linear *linear, const Tile *tile,
                        __m512 sums[][TILE_PANELS])
{
    const size_t inputs = linear->inputs, bytes = inputs * LANES * sizeof(bf16), inverse = INVERSE(tile);
    const size_t stride = inputs + SPREAD_GAP;
    const char *weight = (const char *)linear->weight + tile->column * inputs * sizeof(bf16);
    const float *from = (const float *)x->rows + tile->row * stride;
    const __m512i upper = _mm512_set1_epi32((int)0xffff0000u);
    start_sums(rows, linear, tile, sums);
    for (size_t line = 0; line < inputs / 2; line++) {
        __m512 odd[TILE_PANELS], even[TILE_PANELS];
        for (int panel = 0; panel < TILE_PANELS; panel++) {
            ask_ahead(weight + panel * bytes, bytes, line, NEXT_LINE(tile, line, inputs / 2, inverse));
            __m512i both = _mm512_loadu_si512(weight + panel * bytes + line * LINE_BYTES);
            odd[panel] = _mm512_castsi512_ps(_mm512_and_si512(both, upper));
            even[panel] = _mm512_castsi512_ps(_mm512_slli_epi32(both, 16));
        }
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++) {
            __m512 all = _mm512_set1_ps(from[(size_t)r * stride + line * 2 + 1]);
            for (int panel = 0; panel < TILE_PANELS; panel++)
                sums[r][panel] = _mm512_fmadd_ps(all, odd[panel], sums[r][panel]);
        }
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++) {
            __m512 all = _mm512_set1_ps(from[(size_t)r * stride + line * 2]);
            for (int panel = 0; panel < TILE_PANELS; panel++)
                sums[r][panel] = _mm512_fmadd_ps(all, even[panel], sums[r][panel]);
        }
    }
}

/* 16 results of one row, from output `column` on. */
INLINE void put(__m512 value, const Linear *linear, const Output *out, size_t row, size_t column)
{
    const size_t at = row * out->stride + column;
    const __mmask16 mask = first_lanes(linear->outputs - column);
    if (linear->gelu)
        value = gelu16(value);
    if (out->narrow)
        store_bf16(out->narrow + at, mask, value);
    else
        _mm512_mask_storeu_ps(out->wide + at, mask, value);
}

INLINE void fill_tile(const int rows, const Input *x, const Linear *linear, const Tile *tile,
                      const Output *out)
{
    __m512 sums[MAX_TILE_ROWS][TILE_PANELS];
    if (linear->arithmetic == WHOLE)
        whole_sums(rows, x, linear, tile, sums);
    else if (linear->arithmetic == SPREAD)
        spread_sums(rows, x, linear, tile, sums);
    else
        pair_sums(rows, x, linear, tile, sums);
    for (int r = 0; r < rows; r++)
        for (size_t panel = 0; panel < TILE_PANELS && tile->column + panel * LANES < linear->outputs; panel++)
            put(sums[r][panel], linear, out, tile->row + (size_t)r, tile->column + panel * LANES);
}

static void fill_half_tile(size_t rows, const Input *x, const Linear *linear, const Tile *tile,
                           const Output *out)
{
    float sums[MAX_TILE_ROWS * HALF_OUTPUTS];
    rudolph_half_sums(rows, x, linear, tile, sums);
    for (size_t r = 0; r < rows; r++)
        for (size_t at = 0; at < HALF_OUTPUTS && tile->column + at < linear->outputs; at += LANES) {
            __m512 scale = _mm512_set1_ps(x->scales[tile->row + r]);
            __m512 bias = _mm512_loadu_ps(linear->bias + tile->column + at);
            put(_mm512_fmadd_ps(_mm512_loadu_ps(sums + r * HALF_OUTPUTS + at), scale, bias), linear, out,
                tile->row + r, tile->column + at);
        }
}

static void few_rows(size_t rows, const Input *x, const Linear *linear, const Tile *tile, const Output *out)
{
    EACH_ROW_COUNT(rows, fill_tile, x, linear, tile, out)
}

/* One thread's part of the product. */
static void multiply(const Input *x, size_t rows, const Linear *linear, const Output *out, size_t thread,
                     size_t threads)
{
    const size_t outputs = linear->arithmetic == HALF ? HALF_OUTPUTS : TILE_OUTPUTS;
    const size_t columns = (linear->outputs + outputs - 1) / outputs;
    const size_t blocks = (rows + BLOCK_ROWS - 1) / BLOCK_ROWS;
    const size_t most = linear->arithmetic == PAIRS ? MAX_PAIRS_ROWS : MAX_TILE_ROWS;
    size_t begin, end;
    share(columns * blocks, thread, threads, &begin, &end);
    for (size_t part = begin; part < end; part++) {
        size_t first, last;
        share(rows, part % blocks, blocks, &first, &last);
        Tile tile = {part / blocks * outputs, 0, 0, (last - first + most - 1) / most};
        for (; tile.number < tile.tiles; tile.number++) {
            size_t from, to;
            share(last - first, tile.number, tile.tiles, &from, &to);
            tile.row = first + from;
            if (linear->arithmetic == HALF)
                fill_half_tile(to - from, x, linear, &tile, out);
            else
                few_rows(to - from, x, linear, &tile, out);
        }
    }
}

#endif
