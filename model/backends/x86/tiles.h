/* What all products share: the layout of weights, tiles, and prefetching. */
#ifndef RUDOLPH_TILES_H
#define RUDOLPH_TILES_H

#include "math16.h"

/* Panels of a tile at most. With two, each row of the input is read half as often; with more, there are
 * more streams of weights than the processor prefetches well. */
#define MAX_TILE_PANELS 2
/* Weights are padded to a multiple of these; linear.py does it. */
#define OUTPUT_MULTIPLE (MAX_TILE_PANELS * LANES)
/* Rows of a tile: as many as keep all sums in registers. From ONE_PANEL_ROWS on a tile has one panel. */
#ifdef __AVX512F__
#define MAX_TILE_ROWS 12
#define ONE_PANEL_ROWS SIZE_MAX
/* For BF16_DOT and INT8_DOT: larger tiles were never faster, and with BF16_DOT slower at 12 and 24 rows. */
#define MAX_DOT_TILE_ROWS 8
#else
#define MAX_TILE_ROWS 5
#define ONE_PANEL_ROWS 3
#define MAX_DOT_TILE_ROWS MAX_TILE_ROWS
#endif
/* Many rows are split among threads too; a block of this many float32 rows stays in a core's L2 cache. */
#define BLOCK_ROWS 72
/* Weights are prefetched this far ahead in a panel, and again a whole panel ahead, which keeps memory busy
 * while there is more to compute than to read. */
#define PREFETCH_BYTES 1024
/* Float32 rows are padded by one cache line: rows a power of two apart would share a cache set. */
#define ROW_GAP LANES
#define INT8_MAX_VALUE 127.0f
/* Zero of int8 rows, which are stored unsigned: the instruction takes unsigned bytes on one side. */
#define ZERO_POINT 128
/* Avoids a division by zero for a row of zeros. */
#define SMALLEST 1e-30f

typedef enum { BF16_DOT, FP32_FMA, INT8_DOT } Arithmetic;

/* One linear layer. Bias, scales and starts have one value for each padded output. */
typedef struct {
    const void *weight;
    const float *bias;
    const float *scales;   /* of int8 weights, one an output */
    const int32_t *starts; /* initial sums of int8, so that ZERO_POINT counts as zero */
    size_t inputs, outputs;
    int gelu;
    Arithmetic arithmetic;
} Linear;

/* Input rows in the format of the arithmetic: bfloat16, float32, or bytes around ZERO_POINT with one scale a
 * row. */
typedef struct {
    const void *rows;
    const float *scales;
} Input;

/* Where results go: to `as_bf16` if it is not null, else to `as_float`; `stride` values a row. */
typedef struct {
    float *as_float;
    bf16 *as_bf16;
    size_t stride;
} Output;

/* A tile: its first output and row, and its number among the `tiles` that read the same panels. `skip`: with
 * AVX2, a mask of the lines at which nothing is prefetched. */
typedef struct {
    size_t column, row, number, tiles, skip;
} Tile;

/* Lines of the next panels that `tile` has prefetched at its own line `line` of `lines`; `inverse` is a
 * fraction of 2^16. */
#define NEXT_LINE(tile, line, lines, inverse) (((tile)->number * (lines) + (line)) * (inverse) >> 16)
#define INVERSE(tile) ((1u << 16) / (tile)->tiles)

/* Prefetches what is read later. `line` counts the lines of a panel. Tiles that read the same panels prefetch
 * the next ones together, each its part, so that memory is busy all the time. With AVX2 a prefetch takes a
 * larger share of a tile's time, so the near lines are left to the hardware prefetcher. */
INLINE void prefetch_weights(const char *panel, size_t next_panel, size_t line, size_t next_line)
{
#ifdef __AVX512F__
    _mm_prefetch(panel + line * LINE_BYTES + PREFETCH_BYTES, _MM_HINT_T0);
#else
    (void)line;
#endif
    _mm_prefetch(panel + next_panel + next_line * LINE_BYTES, _MM_HINT_T1);
}

/* Whether `tile` prefetches at `line`: with AVX2 no line is prefetched twice. */
INLINE int prefetches(const Tile *tile, size_t line)
{
#ifdef __AVX512F__
    (void)tile, (void)line;
    return 1;
#else
    return !(line & tile->skip);
#endif
}

/* The largest mask of line numbers below the number of tiles: each tile prefetches an equal part. */
INLINE size_t prefetch_mask(size_t tiles)
{
    size_t every = 1;
    while (2 * every <= tiles)
        every *= 2;
    return every - 1;
}

/* Calls `function` with a constant number of rows, so that the compiler unrolls its loops. */
#define FIVE_ROW_COUNTS(function, ...)                                                                       \
    ROW_COUNT(1, function, __VA_ARGS__)                                                                      \
    ROW_COUNT(2, function, __VA_ARGS__)                                                                      \
    ROW_COUNT(3, function, __VA_ARGS__)                                                                      \
    ROW_COUNT(4, function, __VA_ARGS__)                                                                      \
    ROW_COUNT(5, function, __VA_ARGS__)
#if MAX_TILE_ROWS == 5
#define EACH_ROW_COUNT(rows, function, ...)                                                                  \
    switch (rows) {                                                                                          \
        FIVE_ROW_COUNTS(function, __VA_ARGS__)                                                               \
    }
#else
#define EACH_ROW_COUNT(rows, function, ...)                                                                  \
    switch (rows) {                                                                                          \
        FIVE_ROW_COUNTS(function, __VA_ARGS__)                                                               \
        ROW_COUNT(6, function, __VA_ARGS__)                                                                  \
        ROW_COUNT(7, function, __VA_ARGS__)                                                                  \
        ROW_COUNT(8, function, __VA_ARGS__)                                                                  \
        ROW_COUNT(9, function, __VA_ARGS__)                                                                  \
        ROW_COUNT(10, function, __VA_ARGS__)                                                                 \
        ROW_COUNT(11, function, __VA_ARGS__)                                                                 \
        ROW_COUNT(12, function, __VA_ARGS__)                                                                 \
    }
#endif
#define ROW_COUNT(n, function, ...)                                                                          \
    case n:                                                                                                  \
        function(n, __VA_ARGS__);                                                                            \
        break;

#endif
