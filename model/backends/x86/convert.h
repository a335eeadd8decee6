/* Input rows from bfloat16 to the format of the arithmetic. */
#ifndef RUDOLPH_CONVERT_H
#define RUDOLPH_CONVERT_H

#include "tiles.h"

/* Quantizes one row to bytes around ZERO_POINT; returns its scale. `size` is a multiple of 16. */
static float quantize_row(const bf16 *x, size_t size, void *out)
{
    Floats most = zero16();
    for (size_t i = 0; i < size; i += LANES)
        most = max16(most, abs16(load_bf16(x + i, 0xffff)));
    float largest = largest_of16(most);
    float scale = (largest > SMALLEST ? largest : SMALLEST) / INT8_MAX_VALUE;
    Floats inverse = set16(1.0f / scale);
    for (size_t i = 0; i < size; i += LANES) {
        Words integers = to_words16(mul16(load_bf16(x + i, 0xffff), inverse));
        integers = add_words16(integers, set_words16(ZERO_POINT));
        store_uint8_16(out, i, integers);
    }
    return scale;
}

/* Converts one row to float32. */
static void float_row(const bf16 *x, size_t size, float *out)
{
    for (size_t i = 0; i < size; i += LANES) {
        Mask mask = first_lanes(size - i);
        store16_where(out + i, mask, load_bf16(x + i, mask));
    }
}

/* Converts one row for the arithmetic, into `converted`; returns its scale. */
static float convert_row(const bf16 *x, const Linear *linear, size_t row, float *converted)
{
    const size_t inputs = linear->inputs;
    float *to = converted + row * (inputs + ROW_GAP);
    if (linear->arithmetic == INT8_DOT)
        return quantize_row(x, inputs, (char *)converted + row * inputs * INT8_BYTES);
    float_row(x, inputs, to);
    return 1.0f;
}

#endif
