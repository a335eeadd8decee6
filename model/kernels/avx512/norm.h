/* LayerNorm of float32 rows, its result in float32 or bfloat16. `size` is a multiple of 16. */
#ifndef RUDOLPH_NORM_H
#define RUDOLPH_NORM_H

#include "vectors.h"

#define EPSILON 1e-5f
#define HALF_MAX 65504.0f /* the reference clamps what attention returns to what float16 holds */

typedef struct {
    const float *weight, *bias;
} Norm;

/* Mean, and 1 / standard deviation, of one row. */
INLINE void moments(const float *x, size_t size, float *mean, float *scale)
{
    __m512 sum = _mm512_setzero_ps(), squares = _mm512_setzero_ps();
    for (size_t i = 0; i < size; i += LANES)
        sum = _mm512_add_ps(sum, _mm512_loadu_ps(x + i));
    *mean = _mm512_reduce_add_ps(sum) / (float)size;
    for (size_t i = 0; i < size; i += LANES) {
        __m512 off = _mm512_sub_ps(_mm512_loadu_ps(x + i), _mm512_set1_ps(*mean));
        squares = _mm512_fmadd_ps(off, off, squares);
    }
    *scale = 1.0f / __builtin_sqrtf(_mm512_reduce_add_ps(squares) / (float)size + EPSILON);
}

INLINE __m512 normed16(const float *x, size_t i, const Norm *norm, float mean, float scale)
{
    __m512 off = _mm512_sub_ps(_mm512_loadu_ps(x + i), _mm512_set1_ps(mean));
    __m512 unit = _mm512_mul_ps(off, _mm512_set1_ps(scale));
    return _mm512_fmadd_ps(unit, _mm512_loadu_ps(norm->weight + i), _mm512_loadu_ps(norm->bias + i));
}

/* LN x, as the next product takes it. */
static void norm_row(const float *x, size_t size, const Norm *norm, bf16 *out)
{
    float mean, scale;
    moments(x, size, &mean, &scale);
    for (size_t i = 0; i < size; i += LANES)
        store_bf16(out + i, 0xffff, normed16(x, i, norm, mean, scale));
}

/* x + LN branch into x; where `clamp`, of the branch clamped to what float16 holds. Changes the branch. */
static void add_normed_row(float *x, float *branch, size_t size, const Norm *norm, int clamp)
{
    float mean, scale;
    if (clamp)
        for (size_t i = 0; i < size; i += LANES) {
            __m512 value = _mm512_min_ps(_mm512_set1_ps(HALF_MAX), _mm512_loadu_ps(branch + i));
            _mm512_storeu_ps(branch + i, _mm512_max_ps(_mm512_set1_ps(-HALF_MAX), value));
        }
    moments(branch, size, &mean, &scale);
    for (size_t i = 0; i < size; i += LANES)
        _mm512_storeu_ps(x + i,
                         _mm512_add_ps(_mm512_loadu_ps(x + i), normed16(branch, i, norm, mean, scale)));
}

#endif
