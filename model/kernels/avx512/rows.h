/* Rows of bfloat16 as the arithmetics of a product take them. */
#ifndef RUDOLPH_ROWS_H
#define RUDOLPH_ROWS_H

#include "tiles.h"

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

/* One row of bfloat16 in float16, each number twice; returns what undoes its scale. That is a power of two,
 * which brings the largest number to 2^HALF_POWER or twice that at most, so nothing is lost but what is
 * smaller by five powers of ten. */
static float halve_row(const bf16 *x, size_t size, uint32_t *out)
{
    __m512 most = _mm512_setzero_ps();
    for (size_t i = 0; i < size; i += LANES)
        most = _mm512_max_ps(most, _mm512_abs_ps(load_bf16(x + i, first_lanes(size - i))));
    const float largest = _mm512_reduce_max_ps(most);
    const __m512 exponent = _mm512_getexp_ps(_mm512_set1_ps(largest > SMALLEST ? largest : 1.0f));
    const __m512 power = _mm512_sub_ps(_mm512_set1_ps(HALF_POWER), exponent);
    for (size_t i = 0; i < size; i += LANES) {
        const __mmask16 mask = first_lanes(size - i);
        __m512 scaled = _mm512_scalef_ps(load_bf16(x + i, mask), power);
        __m512i half = _mm512_cvtepu16_epi32(_mm512_cvtps_ph(scaled, _MM_FROUND_TO_NEAREST_INT));
        _mm512_mask_storeu_epi32(out + i, mask, _mm512_or_si512(half, _mm512_slli_epi32(half, 16)));
    }
    return _mm512_cvtss_f32(
        _mm512_scalef_ps(_mm512_set1_ps(1.0f), _mm512_sub_ps(_mm512_setzero_ps(), power)));
}

/* One row as the arithmetic takes it, to its place among `ready` ones; returns its scale. */
static float make_ready(const bf16 *x, const Linear *linear, size_t row, float *ready)
{
    const size_t inputs = linear->inputs;
    float *place = ready + row * (inputs + SPREAD_GAP);
    if (linear->arithmetic == WHOLE)
        return quantise_row(x, inputs, (uint8_t *)ready + row * inputs);
    if (linear->arithmetic == HALF)
        return halve_row(x, inputs, (uint32_t *)place);
    spread_row(x, inputs, place);
    return 1.0f;
}

#endif
