/* x W' + b for few rows and for many, with the weights read once, in order.
 *
 * Three arithmetics: the processor's own instruction for bfloat16 (PAIRS), the same by way of float32
 * (SPREAD), which is twice as fast on processors whose instruction for bfloat16 is slow, and whole numbers
 * (WHOLE). Weights lie in panels of 16 outputs, in each panel the inputs that one instruction takes together:
 * shape = (outputs / 16, inputs / 2, 16, 2) of bfloat16 or (outputs / 16, inputs / 4, 16, 4) of int8, the
 * last panels filled up with zeros to a whole number of TILE_PANELS. A result is one chain of sums over the
 * inputs whatever rows stand beside it, so batch mates change no bit.
 */
#ifndef RUDOLPH_LINEAR_H
#define RUDOLPH_LINEAR_H

#include "vectors.h"

/* Panels that a tile takes together: so many streams of weights at once, and rows are read half as often. */
#define TILE_PANELS 2
#define TILE_OUTPUTS (TILE_PANELS * LANES)
/* Rows of a tile. Larger ones were slower with PAIRS at 12 and 24 rows. */
#define MAX_TILE_ROWS 12
#define MAX_PAIRS_ROWS 8
/* Many rows are shared among threads too; so many, spread, stay in a core's own cache. */
#define BLOCK_ROWS 72
/* Weights are asked for so far ahead in a panel, and again a whole panel ahead while there is more to compute
 * than to read. */
#define AHEAD_BYTES 1024
/* Spread rows lie one line further apart than they are long: at powers of two they would share a cache set.
 */
#define SPREAD_GAP LANES
#define INT8_MAX_VALUE 127.0f
/* Zero of the rows in whole numbers: the instruction takes unsigned ones on one side. */
#define MIDDLE 128
/* A row of zeros must not be divided by zero. */
#define SMALLEST 1e-30f

typedef enum { PAIRS, SPREAD, WHOLE } Arithmetic;

/* Bias, scales and starts are as long as the panels are wide together. */
typedef struct {
    const void *weight;
    const float *bias;
    const float *scales;   /* of int8 weights, one an output */
    const int32_t *starts; /* where sums of whole numbers begin, so that MIDDLE counts as zero */
    size_t inputs, outputs;
    int gelu;
    Arithmetic arithmetic;
} Linear;

/* Rows as the arithmetic takes them: bfloat16, float32, or whole numbers around MIDDLE with a scale each. */
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

/* A tile's first output and row, and which of the `tiles` it is that read the same panels. */
typedef struct {
    size_t column, row, number, tiles;
} Tile;

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

/* One row of bfloat16 in float32. */
static void spread_row(const bf16 *x, size_t size, float *out)
{
    for (size_t i = 0; i < size; i += LANES) {
        __mmask16 mask = first_lanes(size - i);
        _mm512_mask_storeu_ps(out + i, mask, load_bf16(x + i, mask));
    }
}

/* Asks for what is read later. `line` counts the lines of a panel; tiles that read the same panels ask for
 * the next ones together, each for its part, so that memory is busy all the time. */
INLINE void ask_ahead(const char *panel, size_t panel_bytes, size_t line, size_t next_line)
{
    _mm_prefetch(panel + line * LINE_BYTES + AHEAD_BYTES, _MM_HINT_T0);
    _mm_prefetch(panel + TILE_PANELS * panel_bytes + next_line * LINE_BYTES, _MM_HINT_T1);
}

/* Lines of the next panels that `tile` has asked for by its own line `line` of `lines`: a fraction of 2^16.
 */
#define NEXT_LINE(tile, line, lines, inverse) (((tile)->number * (lines) + (line)) * (inverse) >> 16)
#define INVERSE(tile) ((1u << 16) / (tile)->tiles)

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
        for (size_t panel = 0; panel < TILE_PANELS && tile->column + panel * LANES < linear->outputs;
             panel++) {
            size_t first = tile->column + panel * LANES, at = (tile->row + (size_t)r) * out->stride + first;
            __mmask16 mask = first_lanes(linear->outputs - first);
            __m512 value = linear->gelu ? gelu16(sums[r][panel]) : sums[r][panel];
            if (out->narrow)
                store_bf16(out->narrow + at, mask, value);
            else
                _mm512_mask_storeu_ps(out->wide + at, mask, value);
        }
}

static void few_rows(size_t rows, const Input *x, const Linear *linear, const Tile *tile, const Output *out)
{
#define CASE(n)                                                                                              \
    case n:                                                                                                  \
        fill_tile(n, x, linear, tile, out);                                                                  \
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
        CASE(9);
        CASE(10);
        CASE(11);
        CASE(12);
    }
#undef CASE
}

/* One thread's part of the product. */
static void multiply(const Input *x, size_t rows, const Linear *linear, const Output *out, size_t thread,
                     size_t threads)
{
    const size_t columns = (linear->outputs + TILE_OUTPUTS - 1) / TILE_OUTPUTS;
    const size_t blocks = (rows + BLOCK_ROWS - 1) / BLOCK_ROWS;
    const size_t most = linear->arithmetic == PAIRS ? MAX_PAIRS_ROWS : MAX_TILE_ROWS;
    size_t begin, end;
    share(columns * blocks, thread, threads, &begin, &end);
    for (size_t part = begin; part < end; part++) {
        size_t first, last;
        share(rows, part % blocks, blocks, &first, &last);
        Tile tile = {part / blocks * TILE_OUTPUTS, 0, 0, (last - first + most - 1) / most};
        for (; tile.number < tile.tiles; tile.number++) {
            size_t from, to;
            share(last - first, tile.number, tile.tiles, &from, &to);
            tile.row = first + from;
            few_rows(to - from, x, linear, &tile, out);
        }
    }
}

#endif
