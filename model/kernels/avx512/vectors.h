/* Sixteen floats at a time: bfloat16 in and out, exp, GELU, and how threads share work.
 *
 * Everything that includes this is compiled for AVX512-BF16; module.c asks the processor first.
 */
#ifndef RUDOLPH_VECTORS_H
#define RUDOLPH_VECTORS_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define LANES 16
#define LINE_BYTES 64 /* of memory, and a vector's */
#define INLINE static inline __attribute__((always_inline))

typedef uint16_t bf16;

/* The part [*begin, *end) of `count` things that falls to one thread. */
INLINE void share(size_t count, size_t thread, size_t threads, size_t *begin, size_t *end)
{
    *begin = count * thread / threads;
    *end = count * (thread + 1) / threads;
}

INLINE __m512 load_bf16(const bf16 *from, __mmask16 mask)
{
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

INLINE void store_bf16(bf16 *to, __mmask16 mask, __m512 value)
{
    _mm256_mask_storeu_epi16(to, mask, (__m256i)_mm512_cvtneps_pbh(value));
}

/* Mask of the first `count` lanes; all of them from 16 on. */
INLINE __mmask16 first_lanes(size_t count)
{
    return count >= LANES ? 0xffff : (__mmask16)((1u << count) - 1);
}

/* e^x by Cephes' expf: n = round(x / ln 2), then a polynomial of the rest; off by 2 units in the last place,
 * and infinite from 89 on. */
INLINE __m512 exp16(__m512 x)
{
    x = _mm512_min_ps(_mm512_max_ps(x, _mm512_set1_ps(-104.0f)), _mm512_set1_ps(89.0f));
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504089f)),
                                    _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 rest = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
    rest = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), rest);
    __m512 sum = _mm512_set1_ps(1.9875691500e-4f);
    sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(1.3981999507e-3f));
    sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(8.3334519073e-3f));
    sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(4.1665795894e-2f));
    sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(1.6666665459e-1f));
    sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(5.0000001201e-1f));
    sum = _mm512_fmadd_ps(_mm512_mul_ps(sum, rest), rest, _mm512_add_ps(rest, _mm512_set1_ps(1.0f)));
    return _mm512_scalef_ps(sum, n);
}

/* x (1 + tanh u) / 2 = x / (1 + e^(-2 u)), u = sqrt(2 / pi) (x + 0.044715 x^3): arXiv 1606.08415. */
INLINE __m512 gelu16(__m512 x)
{
    __m512 cube = _mm512_mul_ps(_mm512_mul_ps(x, x), x);
    __m512 inner = _mm512_fmadd_ps(cube, _mm512_set1_ps(0.044715f), x);
    __m512 power = exp16(_mm512_mul_ps(inner, _mm512_set1_ps(-1.5957691216057308f)));
    return _mm512_div_ps(x, _mm512_add_ps(_mm512_set1_ps(1.0f), power));
}

#endif
