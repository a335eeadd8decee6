/* LayerNorm of float32 rows, to float32 or bfloat16. `size` is a multiple of 16. */
#ifndef RUDOLPH_NORM_H
#define RUDOLPH_NORM_H

#include "math16.h"

#define EPSILON 1e-5f
#define FLOAT16_MAX 65504.0f /* the reference clamps the attention output to the range of float16 */

typedef struct {
    const float *weight, *bias;
} Norm;

/* Mean, and 1 / standard deviation, of one row. */
INLINE void moments(const float *x, size_t size, float *mean, float *scale)
{
    Floats sum = zero16(), squares = zero16();
    for (size_t i = 0; i < size; i += LANES)
        sum = add16(sum, load16(x + i));
    *mean = sum_of16(sum) / (float)size;
    for (size_t i = 0; i < size; i += LANES) {
        Floats off = sub16(load16(x + i), set16(*mean));
        squares = fma16(off, off, squares);
    }
    *scale = 1.0f / __builtin_sqrtf(sum_of16(squares) / (float)size + EPSILON);
}

INLINE Floats normed16(const float *x, size_t i, const Norm *norm, float mean, float scale)
{
    Floats off = sub16(load16(x + i), set16(mean));
    Floats unit = mul16(off, set16(scale));
    return fma16(unit, load16(norm->weight + i), load16(norm->bias + i));
}

/* Writes LN x in bfloat16, for the next product. */
static void norm_row(const float *x, size_t size, const Norm *norm, bf16 *out)
{
    float mean, scale;
    moments(x, size, &mean, &scale);
    for (size_t i = 0; i < size; i += LANES)
        store_bf16(out + i, 0xffff, normed16(x, i, norm, mean, scale));
}

/* Adds LN branch to x; with `clamp` the branch is clamped first, in place. */
static void add_normed_row(float *x, float *branch, size_t size, const Norm *norm, int clamp)
{
    float mean, scale;
    if (clamp)
        for (size_t i = 0; i < size; i += LANES) {
            Floats value = min16(set16(FLOAT16_MAX), load16(branch + i));
            store16(branch + i, max16(set16(-FLOAT16_MAX), value));
        }
    moments(branch, size, &mean, &scale);
    for (size_t i = 0; i < size; i += LANES)
        store16(x + i, add16(load16(x + i), normed16(branch, i, norm, mean, scale)));
}

#endif
