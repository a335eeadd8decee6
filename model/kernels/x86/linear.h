/* x W' + b for few rows and for many, with the weights read once, in order.
 *
 * Four arithmetics: the processor's own instruction for bfloat16 (PAIRS), the same by way of float32
 * (SPREAD), float16 with sums of at most HALF_CHUNK products (HALF, in half.c), and whole numbers (WHOLE).
 * The weights lie in panels of as many outputs as a vector takes, in each panel the inputs that one
 * instruction takes together: shape = (outputs / 16, inputs / 2, 16, 2) of bfloat16, for PAIRS in twelve bits
 * (twelve.h), (outputs / 32, inputs, 32) of float16 or (outputs / 16, inputs / 4, 16, 4) of int8, filled up
 * with zeros to a multiple of MOST_OUTPUTS. A result is one chain of sums over the inputs whatever rows stand
 * beside it, so batch mates change no bit.
 */
#ifndef RUDOLPH_LINEAR_H
#define RUDOLPH_LINEAR_H

#include "twelve.h"

/* Sums of a tile in whole numbers, multiplied out. */
INLINE void whole_sums(const int rows, const int panels, const Input *x, const Linear *linear,
                       const Tile *tile, Floats sums[][MAX_TILE_PANELS])
{
    const size_t inputs = linear->inputs, bytes = inputs * LANES, inverse = INVERSE(tile);
    const char *weight = (const char *)linear->weight + tile->column * inputs;
    const char *from = (const char *)x->rows + tile->row * inputs * WHOLE_BYTES;
    Words whole[MAX_TILE_ROWS][MAX_TILE_PANELS];
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++)
        for (int panel = 0; panel < panels; panel++)
            whole[r][panel] = load_words16(linear->starts + tile->column + panel * LANES);
    for (size_t line = 0; line < inputs / 4; line++) {
        Words weights[MAX_TILE_PANELS];
        for (int panel = 0; panel < panels; panel++) {
            if (asks(tile, line))
                ask_ahead(weight + panel * bytes, panels * bytes, line,
                          NEXT_LINE(tile, line, inputs / 4, inverse));
            weights[panel] = load_words16(weight + panel * bytes + line * LINE_BYTES);
        }
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++) {
            Fours four = load_fours16(from + r * inputs * WHOLE_BYTES, line * 4);
            for (int panel = 0; panel < panels; panel++)
                whole[r][panel] = add_fours16(whole[r][panel], four, weights[panel]);
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++)
        for (int panel = 0; panel < panels; panel++) {
            Floats scale = load16(linear->scales + tile->column + panel * LANES);
            scale = mul16(scale, set16(x->scales[tile->row + (size_t)r]));
            sums[r][panel] = fma16(to_floats16(whole[r][panel]), scale,
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
/* Adds the products of two inputs; `from`: those of the tile's first row. */
INLINE void add_pair(const int rows, const int panels, const bf16 *from, size_t inputs,
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

/* Sums of a tile by the instruction for bfloat16. */
INLINE void pair_sums(const int rows, const int panels, const Input *x, const Linear *linear,
                      const Tile *tile, Floats sums[][MAX_TILE_PANELS])
{
    const size_t inputs = linear->inputs, bytes = twelve_bytes(inputs);
    const size_t stretches = inputs / STRETCH_INPUTS, inverse = INVERSE(tile);
    const char *weight = (const char *)linear->weight + tile->column / LANES * bytes;
    const bf16 *from = (const bf16 *)x->rows + tile->row * inputs;
    __m512i highs[MAX_TILE_PANELS];
    for (int panel = 0; panel < panels; panel++)
        highs[panel] = _mm512_loadu_si512(weight + panel * bytes);
    weight += LINE_BYTES;
    start_sums(rows, panels, linear, tile, sums);
    for (size_t stretch = 0; stretch < stretches; stretch++) {
        const size_t next = NEXT_LINE(tile, stretch, stretches, inverse);
        for (int panel = 0; panel < panels; panel++)
            for (size_t line = 0; line < STRETCH_LINES; line++)
                ask_ahead(weight + panel * bytes, panels * bytes, stretch * STRETCH_LINES + line,
                          next * STRETCH_LINES + line);
        for (int half = 0; half < 2; half++) {
            __m512bh first[MAX_TILE_PANELS], second[MAX_TILE_PANELS];
            for (int panel = 0; panel < panels; panel++)
                widen(weight + panel * bytes + stretch * STRETCH_LINES * LINE_BYTES, half, highs[panel],
                      &first[panel], &second[panel]);
            add_pair(rows, panels, from, inputs, first, sums);
            add_pair(rows, panels, from + 2, inputs, second, sums);
            from += STRETCH_INPUTS / 2;
        }
    }
}
#endif

/* The same sums by way of float32, of which bfloat16 is the upper half. The instruction for bfloat16 adds the
 * odd product first, then the even one, each sum rounded to float32; so does this. */
INLINE void spread_sums(const int rows, const int panels, const Input *x, const Linear *linear,
                        const Tile *tile, Floats sums[][MAX_TILE_PANELS])
{
    const size_t inputs = linear->inputs, bytes = inputs * LANES * sizeof(bf16), inverse = INVERSE(tile);
    const size_t stride = inputs + SPREAD_GAP;
    const char *weight = (const char *)linear->weight + tile->column * inputs * sizeof(bf16);
    const float *from = (const float *)x->rows + tile->row * stride;
    start_sums(rows, panels, linear, tile, sums);
    for (size_t line = 0; line < inputs / 2; line++) {
        Floats odd[MAX_TILE_PANELS], even[MAX_TILE_PANELS];
        for (int panel = 0; panel < panels; panel++) {
            if (asks(tile, line))
                ask_ahead(weight + panel * bytes, panels * bytes, line,
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
        const char *again = load_again(weight + line * LINE_BYTES, sums[rows - 1][panels - 1]);
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
INLINE void put(Floats value, const Linear *linear, const Output *out, size_t row, size_t column)
{
    const size_t at = row * out->stride + column;
    const Mask mask = first_lanes(linear->outputs - column);
    if (linear->gelu)
        value = gelu16(value);
    if (out->narrow)
        store_bf16(out->narrow + at, mask, value);
    else
        store16_where(out->wide + at, mask, value);
}

INLINE void fill_tile(const int rows, const int panels, const Input *x, const Linear *linear,
                      const Tile *tile, const Output *out)
{
    Floats sums[MAX_TILE_ROWS][MAX_TILE_PANELS];
    if (linear->arithmetic == WHOLE)
        whole_sums(rows, panels, x, linear, tile, sums);
#ifdef __AVX512BF16__
    else if (linear->arithmetic == PAIRS)
        pair_sums(rows, panels, x, linear, tile, sums);
#endif
    else
        spread_sums(rows, panels, x, linear, tile, sums);
    for (int r = 0; r < rows; r++)
        for (int panel = 0; panel < panels; panel++) {
            const size_t column = tile->column + (size_t)panel * LANES;
            if (column < linear->outputs)
                put(sums[r][panel], linear, out, tile->row + (size_t)r, column);
        }
}

#ifdef __AVX512F__
static void fill_half_tile(size_t rows, const Input *x, const Linear *linear, const Tile *tile,
                           const Output *out)
{
    float sums[MAX_TILE_ROWS * HALF_OUTPUTS];
    rudolph_half_sums(rows, x, linear, tile, sums);
    for (size_t r = 0; r < rows; r++)
        for (size_t at = 0; at < HALF_OUTPUTS && tile->column + at < linear->outputs; at += LANES) {
            Floats scale = set16(x->scales[tile->row + r]);
            Floats bias = load16(linear->bias + tile->column + at);
            put(fma16(load16(sums + r * HALF_OUTPUTS + at), scale, bias), linear, out, tile->row + r,
                tile->column + at);
        }
}
#endif

/* Panels that a tile takes together where a product has so many rows. */
static size_t tile_panels(const Linear *linear, size_t rows)
{
    if (linear->arithmetic == HALF)
        return HALF_OUTPUTS / LANES;
    return rows >= NARROW_ROWS ? 1 : MAX_TILE_PANELS;
}

/* Works on a tile with numbers of rows and panels that the compiler knows. */
static void work_on_tile(size_t rows, size_t panels, const Input *x, const Linear *linear, const Tile *tile,
                         const Output *out)
{
#ifdef __AVX512F__
    (void)panels;
    if (linear->arithmetic == HALF)
        fill_half_tile(rows, x, linear, tile, out);
    else
        EACH_ROW_COUNT(rows, fill_tile, MAX_TILE_PANELS, x, linear, tile, out)
#else
    if (panels > 1)
        EACH_ROW_COUNT(rows, fill_tile, MAX_TILE_PANELS, x, linear, tile, out)
    else
        EACH_ROW_COUNT(rows, fill_tile, 1, x, linear, tile, out)
#endif
}

/* One thread's part of the product; returns when all are done. A thread that is slowed down, by others on its
 * core, leaves more of it to the rest. */
static void multiply(const Input *x, size_t rows, const Linear *linear, const Output *out)
{
    const size_t panels = tile_panels(linear, rows), outputs = panels * LANES;
    const size_t columns = (linear->outputs + outputs - 1) / outputs;
    const size_t blocks = (rows + BLOCK_ROWS - 1) / BLOCK_ROWS;
    const int dots = linear->arithmetic == PAIRS || linear->arithmetic == WHOLE;
    const size_t most = dots ? MAX_DOT_ROWS : MAX_TILE_ROWS;
#pragma omp for schedule(guided)
    for (size_t part = 0; part < columns * blocks; part++) {
        size_t first, last;
        share(rows, part % blocks, blocks, &first, &last);
        const size_t tiles = (last - first + most - 1) / most;
        Tile tile = {part / blocks * outputs, 0, 0, tiles, quiet_lines(tiles)};
        for (; tile.number < tiles; tile.number++) {
            size_t from, to;
            share(last - first, tile.number, tiles, &from, &to);
            tile.row = first + from;
            work_on_tile(to - from, panels, x, linear, &tile, out);
        }
    }
}

#endif
