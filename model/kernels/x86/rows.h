/* Rows of bfloat16 as the arithmetics of a product take them. */
#ifndef RUDOLPH_ROWS_H
#define RUDOLPH_ROWS_H

#include "tiles.h"

/* One row of bfloat16 in whole numbers; returns its scale. `size` is a multiple of 16. */
static float quantise_row(const bf16 *x, size_t size, void *out)
{
    Floats most = zero16();
    for (size_t i = 0; i < size; i += LANES)
        most = max16(most, abs16(load_bf16(x + i, 0xffff)));
    float largest = largest_of16(most);
    float scale = (largest > SMALLEST ? largest : SMALLEST) / INT8_MAX_VALUE;
    Floats inverse = set16(1.0f / scale);
    for (size_t i = 0; i < size; i += LANES) {
        Words whole = to_words16(mul16(load_bf16(x + i, 0xffff), inverse));
        whole = add_words16(whole, set_words16(MIDDLE));
        store_whole16(out, i, whole);
    }
    return scale;
}

/* One row of bfloat16 in float32. */
static void spread_row(const bf16 *x, size_t size, float *out)
{
    for (size_t i = 0; i < size; i += LANES) {
        Mask mask = first_lanes(size - i);
        store16_where(out + i, mask, load_bf16(x + i, mask));
    }
}

/* One row as the arithmetic takes it, to its place among `ready` ones; returns its scale. */
static float make_ready(const bf16 *x, const Linear *linear, size_t row, float *ready)
{
    const size_t inputs = linear->inputs;
    float *place = ready + row * (inputs + SPREAD_GAP);
    if (linear->arithmetic == WHOLE)
        return quantise_row(x, inputs, (char *)ready + row * inputs * WHOLE_BYTES);
#ifdef __AVX512F__
    if (linear->arithmetic == HALF)
        return rudolph_half_row(x, inputs, (uint32_t *)place);
#endif
    spread_row(x, inputs, place);
    return 1.0f;
}

#endif
