/* x W' + b for few rows and for many; the weights are read once, in order.
 *
 * Three arithmetics: the processor's own instruction for bfloat16 (BF16_DOT), the same by way of float32
 * (FP32_FMA), and int8 (INT8_DOT).
 * Weights are stored in panels of 16 outputs, and in each panel by the inputs that one instruction
 * takes together: shape = (outputs / 16, inputs / 2, 16, 2) of bfloat16, for BF16_DOT in twelve bits
 * (packed12.h), or (outputs / 16, inputs / 4, 16, 4) of int8, padded with zeros to a multiple of
 * OUTPUT_MULTIPLE. A result is one chain of sums over the inputs, independent of
 * the other rows: a row has the same bits alone and in a batch.
 */
#ifndef RUDOLPH_LINEAR_H
#define RUDOLPH_LINEAR_H

#include "packed12.h"

/* Sums of a tile in int8, with the scales and the bias applied. */
INLINE void int8_dot_sums(const int rows, const int panels, const Input *x, const Linear *linear,
                          const Tile *tile, Floats sums[][MAX_TILE_PANELS])
{
    const size_t inputs = linear->inputs, bytes = inputs * LANES, inverse = INVERSE(tile);
    const char *weight = (const char *)linear->weight + tile->column * inputs;
    const char *from = (const char *)x->rows + tile->row * inputs * INT8_BYTES;
    Words integers[MAX_TILE_ROWS][MAX_TILE_PANELS];
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++)
        for (int panel = 0; panel < panels; panel++)
            integers[r][panel] = load_words16(linear->starts + tile->column + panel * LANES);
    for (size_t line = 0; line < inputs / 4; line++) {
        Words weights[MAX_TILE_PANELS];
        for (int panel = 0; panel < panels; panel++) {
            if (prefetches(tile, line))
                prefetch_weights(weight + panel * bytes, panels * bytes, line,
                                 NEXT_LINE(tile, line, inputs / 4, inverse));
            weights[panel] = load_words16(weight + panel * bytes + line * LINE_BYTES);
        }
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++) {
            Quads four = load_quads16(from + r * inputs * INT8_BYTES, line * 4);
            for (int panel = 0; panel < panels; panel++)
                integers[r][panel] = add_quads16(integers[r][panel], four, weights[panel]);
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++)
        for (int panel = 0; panel < panels; panel++) {
            Floats scale = load16(linear->scales + tile->column + panel * LANES);
            scale = mul16(scale, set16(x->scales[tile->row + (size_t)r]));
            sums[r][panel] = fma16(to_floats16(integers[r][panel]), scale,
                                   load16(linear->bias + tile->column + panel * LANES));
        }
}

INLINE void start_sums(const int rows, const int panels, const Linear *linear, const Tile *tile,
                       Floats sums[][MAX_TILE_PANELS])
{
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++)
        for (int panel = 0; panel < panels; panel++)
            sums[r][panel] = load16(linear->bias + tile->column + panel * LANES);
}

#ifdef __AVX512BF16__
/* Adds the products of two inputs; `from`: the inputs of the tile's first row. */
INLINE void add_bf16_pair(const int rows, const int panels, const bf16 *from, size_t inputs,
                          const __m512bh weights[], Floats sums[][MAX_TILE_PANELS])
{
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++) {
        int pair;
        memcpy(&pair, from + r * inputs, sizeof pair);
        __m512bh both = (__m512bh)_mm512_set1_epi32(pair);
        for (int panel = 0; panel < panels; panel++)
            sums[r][panel] = _mm512_dpbf16_ps(sums[r][panel], both, weights[panel]);
    }
}

/* Sums of a tile by the dot product instruction for bfloat16. */
INLINE void bf16_dot_sums(const int rows, const int panels, const Input *x, const Linear *linear,
                          const Tile *tile, Floats sums[][MAX_TILE_PANELS])
{
    const size_t inputs = linear->inputs, bytes = packed12_bytes(inputs);
    const size_t weight_blocks = inputs / PACKED12_INPUTS, inverse = INVERSE(tile);
    const char *weight = (const char *)linear->weight + tile->column / LANES * bytes;
    const bf16 *from = (const bf16 *)x->rows + tile->row * inputs;
    __m512i highs[MAX_TILE_PANELS];
    for (int panel = 0; panel < panels; panel++)
        highs[panel] = _mm512_loadu_si512(weight + panel * bytes);
    weight += LINE_BYTES;
    start_sums(rows, panels, linear, tile, sums);
    for (size_t block = 0; block < weight_blocks; block++) {
        const size_t next = NEXT_LINE(tile, block, weight_blocks, inverse);
        for (int panel = 0; panel < panels; panel++)
            for (size_t line = 0; line < PACKED12_LINES; line++)
                prefetch_weights(weight + panel * bytes, panels * bytes, block * PACKED12_LINES + line,
                                 next * PACKED12_LINES + line);
        for (int half = 0; half < 2; half++) {
            __m512bh first[MAX_TILE_PANELS], second[MAX_TILE_PANELS];
            for (int panel = 0; panel < panels; panel++)
                unpack12(weight + panel * bytes + block * PACKED12_LINES * LINE_BYTES, half, highs[panel],
                         &first[panel], &second[panel]);
            add_bf16_pair(rows, panels, from, inputs, first, sums);
            add_bf16_pair(rows, panels, from + 2, inputs, second, sums);
            from += PACKED12_INPUTS / 2;
        }
    }
}
#endif

/* The same sums in float32, whose upper half is a bfloat16. The instruction for bfloat16 adds the odd product
 * first, then the even one, and rounds each sum to float32; so does this. */
INLINE void fp32_fma_sums(const int rows, const int panels, const Input *x, const Linear *linear,
                          const Tile *tile, Floats sums[][MAX_TILE_PANELS])
{
    const size_t inputs = linear->inputs, bytes = inputs * LANES * sizeof(bf16), inverse = INVERSE(tile);
    const size_t stride = inputs + ROW_GAP;
    const char *weight = (const char *)linear->weight + tile->column * inputs * sizeof(bf16);
    const float *from = (const float *)x->rows + tile->row * stride;
    start_sums(rows, panels, linear, tile, sums);
    for (size_t line = 0; line < inputs / 2; line++) {
        Floats odd[MAX_TILE_PANELS], even[MAX_TILE_PANELS];
        for (int panel = 0; panel < panels; panel++) {
            if (prefetches(tile, line))
                prefetch_weights(weight + panel * bytes, panels * bytes, line,
                                 NEXT_LINE(tile, line, inputs / 2, inverse));
            Words both = load_words16(weight + panel * bytes + line * LINE_BYTES);
            odd[panel] = odd16(both);
        }
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++) {
            Floats all = set16(from[(size_t)r * stride + line * 2 + 1]);
            for (int panel = 0; panel < panels; panel++)
                sums[r][panel] = fma16(all, odd[panel], sums[r][panel]);
        }
        const char *again = reload_address(weight + line * LINE_BYTES, sums[rows - 1][panels - 1]);
        for (int panel = 0; panel < panels; panel++)
            even[panel] = even16(load_words16(again + panel * bytes));
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++) {
            Floats all = set16(from[(size_t)r * stride + line * 2]);
            for (int panel = 0; panel < panels; panel++)
                sums[r][panel] = fma16(all, even[panel], sums[r][panel]);
        }
    }
}

/* 16 results of one row, from output `column` on. */
INLINE void store_result(Floats value, const Linear *linear, const Output *out, size_t row, size_t column)
{
    const size_t at = row * out->stride + column;
    const Mask mask = first_lanes(linear->outputs - column);
    if (linear->gelu)
        value = gelu16(value);
    if (out->as_bf16)
        store_bf16(out->as_bf16 + at, mask, value);
    else
        store16_where(out->as_float + at, mask, value);
}

INLINE void fill_tile(const int rows, const int panels, const Input *x, const Linear *linear,
                      const Tile *tile, const Output *out)
{
    Floats sums[MAX_TILE_ROWS][MAX_TILE_PANELS];
    if (linear->arithmetic == INT8_DOT)
        int8_dot_sums(rows, panels, x, linear, tile, sums);
#ifdef __AVX512BF16__
    else if (linear->arithmetic == BF16_DOT)
        bf16_dot_sums(rows, panels, x, linear, tile, sums);
#endif
    else
        fp32_fma_sums(rows, panels, x, linear, tile, sums);
    for (int r = 0; r < rows; r++)
        for (int panel = 0; panel < panels; panel++) {
            const size_t column = tile->column + (size_t)panel * LANES;
            if (column < linear->outputs)
                store_result(sums[r][panel], linear, out, tile->row + (size_t)r, column);
        }
}

/* Panels of a tile in a product of `rows` rows. */
static size_t tile_panels(const Linear *linear, size_t rows)
{
    (void)linear;
    return rows >= ONE_PANEL_ROWS ? 1 : MAX_TILE_PANELS;
}

/* Runs a tile with constant numbers of rows and panels. */
static void run_tile(size_t rows, size_t panels, const Input *x, const Linear *linear, const Tile *tile,
                     const Output *out)
{
#ifdef __AVX512F__
    (void)panels;
    EACH_ROW_COUNT(rows, fill_tile, MAX_TILE_PANELS, x, linear, tile, out)
#else
    if (panels > 1)
        EACH_ROW_COUNT(rows, fill_tile, MAX_TILE_PANELS, x, linear, tile, out)
    else
        EACH_ROW_COUNT(rows, fill_tile, 1, x, linear, tile, out)
#endif
}

/* One thread's part of a product; returns when all threads are done. Guided scheduling leaves more work to
 * the other threads when one of them is slowed down by other processes. */
static void multiply(const Input *x, size_t rows, const Linear *linear, const Output *out)
{
    const size_t panels = tile_panels(linear, rows), outputs = panels * LANES;
    const size_t columns = (linear->outputs + outputs - 1) / outputs;
    const size_t blocks = (rows + BLOCK_ROWS - 1) / BLOCK_ROWS;
    const int dots = linear->arithmetic == BF16_DOT || linear->arithmetic == INT8_DOT;
    const size_t most = dots ? MAX_DOT_TILE_ROWS : MAX_TILE_ROWS;
#pragma omp for schedule(guided)
    for (size_t part = 0; part < columns * blocks; part++) {
        size_t first, last;
        split(rows, part % blocks, blocks, &first, &last);
        const size_t tiles = (last - first + most - 1) / most;
        Tile tile = {part / blocks * outputs, 0, 0, tiles, prefetch_mask(tiles)};
        for (; tile.number < tiles; tile.number++) {
            size_t from, to;
            split(last - first, tile.number, tiles, &from, &to);
            tile.row = first + from;
            run_tile(to - from, panels, x, linear, &tile, out);
        }
    }
}

#endif
