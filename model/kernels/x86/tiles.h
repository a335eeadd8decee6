/* What all products share: how weights lie, what a tile is, and what it asks memory for. */
#ifndef RUDOLPH_TILES_H
#define RUDOLPH_TILES_H

#include "vectors.h"

/* Panels that a tile takes together at most: so many streams of weights at once, and rows are read half as
 * often. */
#define MAX_TILE_PANELS 2
#define HALF_OUTPUTS (2 * MAX_TILE_PANELS * LANES)
/* Weights are filled up to a multiple of these; linear.py does it. */
#define MOST_OUTPUTS HALF_OUTPUTS
/* Rows of a tile, as many as leave its sums in registers. From NARROW_ROWS on a tile has one panel. */
#ifdef __AVX512F__
#define MAX_TILE_ROWS 12
#define NARROW_ROWS SIZE_MAX
/* By instructions that add several products (PAIRS, WHOLE): larger tiles of theirs were never faster, and
 * with PAIRS slower at 12 and 24 rows. */
#define MAX_DOT_ROWS 8
#else
#define MAX_TILE_ROWS 5
#define NARROW_ROWS 3
#define MAX_DOT_ROWS MAX_TILE_ROWS
#endif
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
/* Products that are summed in float16 before the sum goes on in float32, and the power of two that rows are
 * scaled to: with weights up to HALF_MAX_WEIGHT of linear.py no sum reaches what float16 holds. */
#define HALF_CHUNK 32
#define HALF_POWER 3
/* A row of zeros must not be divided by zero. */
#define SMALLEST 1e-30f

typedef enum { PAIRS, SPREAD, WHOLE, HALF } Arithmetic;

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

/* Rows as the arithmetic takes them: bfloat16; float32; whole numbers around MIDDLE; pairs of one float16.
 * The last two with what their sums must be multiplied by. */
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

/* A tile's first output and row, and which of the `tiles` it is that read the same panels. `quiet`: with
 * AVX2, a mask of the lines at which it does not ask memory for anything. */
typedef struct {
    size_t column, row, number, tiles, quiet;
} Tile;

/* Lines of the next panels that `tile` has asked for by its own line `line` of `lines`: a fraction of 2^16.
 */
#define NEXT_LINE(tile, line, lines, inverse) (((tile)->number * (lines) + (line)) * (inverse) >> 16)
#define INVERSE(tile) ((1u << 16) / (tile)->tiles)

/* Asks for what is read later. `line` counts the lines of a panel; tiles that read the same panels ask for
 * the next ones together, each for its part, so that memory is busy all the time. With AVX2 asking takes a
 * larger share of a tile's time, so what the processor sees coming is left to it. */
INLINE void ask_ahead(const char *panel, size_t next_panel, size_t line, size_t next_line)
{
#ifdef __AVX512F__
    _mm_prefetch(panel + line * LINE_BYTES + AHEAD_BYTES, _MM_HINT_T0);
#else
    (void)line;
#endif
    _mm_prefetch(panel + next_panel + next_line * LINE_BYTES, _MM_HINT_T1);
}

/* Whether `tile` asks at `line`: with AVX2 not for the same lines again. */
INLINE int asks(const Tile *tile, size_t line)
{
#ifdef __AVX512F__
    (void)tile, (void)line;
    return 1;
#else
    return !(line & tile->quiet);
#endif
}

/* The longest stretch of lines, less than two for each tile, that is a mask: each asks for one of its own. */
INLINE size_t quiet_lines(size_t tiles)
{
    size_t every = 1;
    while (2 * every <= tiles)
        every *= 2;
    return every - 1;
}

/* Calls `function` with a number of rows that the compiler knows. */
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

/* Of half.c: one row in pairs of one float16, shape = (size, 2), and what undoes its scale. */
float rudolph_half_row(const bf16 *x, size_t size, uint32_t *out);

/* Of half.c: sums of a tile of HALF_OUTPUTS outputs, without bias and scale; shape = (rows, HALF_OUTPUTS). */
void rudolph_half_sums(size_t rows, const Input *x, const Linear *linear, const Tile *tile, float *sums);

#endif
