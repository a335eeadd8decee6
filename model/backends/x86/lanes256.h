/* The sixteen lanes of lanes.h in two vectors of AVX2, with FMA. Names that end in 8 are of one of them. */
#ifndef RUDOLPH_LANES256_H
#define RUDOLPH_LANES256_H

#define EIGHT 8

typedef struct {
    __m256 low, high;
} Floats;
typedef struct {
    __m256i low, high;
} Words;
typedef uint16_t Mask;

/* ---- masks --------------------------------------------------------------------------------------------- */

/* All bits of the eight lanes whose bit in the mask's lower half is 1. */
INLINE __m256i mask8(unsigned mask)
{
    const __m256i bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    return _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32((int)mask), bits), bits);
}

INLINE Mask joined_masks(__m256 low, __m256 high)
{
    return (Mask)(_mm256_movemask_ps(low) | _mm256_movemask_ps(high) << EIGHT);
}

/* ---- floats -------------------------------------------------------------------------------------------- */

INLINE Floats set16(float x)
{
    return (Floats){_mm256_set1_ps(x), _mm256_set1_ps(x)};
}

INLINE Floats zero16(void)
{
    return (Floats){_mm256_setzero_ps(), _mm256_setzero_ps()};
}

INLINE Floats load16(const float *from)
{
    return (Floats){_mm256_loadu_ps(from), _mm256_loadu_ps(from + EIGHT)};
}

INLINE void store16(float *to, Floats x)
{
    _mm256_storeu_ps(to, x.low);
    _mm256_storeu_ps(to + EIGHT, x.high);
}

/* `yes` where the mask is 1, `no` elsewhere. */
INLINE Floats choose16(Mask mask, Floats yes, Floats no)
{
    return (Floats){
        _mm256_blendv_ps(no.low, yes.low, _mm256_castsi256_ps(mask8(mask))),
        _mm256_blendv_ps(no.high, yes.high, _mm256_castsi256_ps(mask8(mask >> EIGHT))),
    };
}

INLINE Floats load16_where(Mask mask, const float *from)
{
    if (mask == 0xffff)
        return load16(from);
    return (Floats){_mm256_maskload_ps(from, mask8(mask)),
                    _mm256_maskload_ps(from + EIGHT, mask8(mask >> EIGHT))};
}

INLINE Floats load16_or(Floats other, Mask mask, const float *from)
{
    return choose16(mask, load16_where(mask, from), other);
}

INLINE void store16_where(float *to, Mask mask, Floats x)
{
    if (mask == 0xffff) {
        store16(to, x);
        return;
    }
    _mm256_maskstore_ps(to, mask8(mask), x.low);
    _mm256_maskstore_ps(to + EIGHT, mask8(mask >> EIGHT), x.high);
}

#define OF_TWO(type, name, instruction)                                                                      \
    INLINE type name(type a, type b)                                                                         \
    {                                                                                                        \
        return (type){instruction(a.low, b.low), instruction(a.high, b.high)};                               \
    }
OF_TWO(Floats, add16, _mm256_add_ps)
OF_TWO(Floats, sub16, _mm256_sub_ps)
OF_TWO(Floats, mul16, _mm256_mul_ps)
OF_TWO(Floats, div16, _mm256_div_ps)
OF_TWO(Floats, min16, _mm256_min_ps)
OF_TWO(Floats, max16, _mm256_max_ps)

#define TWO_FLOATS_OR(name, operation)                                                                       \
    INLINE Floats name(Floats other, Mask mask, Floats a, Floats b)                                          \
    {                                                                                                        \
        return choose16(mask, operation(a, b), other);                                                       \
    }
TWO_FLOATS_OR(add16_or, add16)
TWO_FLOATS_OR(sub16_or, sub16)
TWO_FLOATS_OR(min16_or, min16)
TWO_FLOATS_OR(max16_or, max16)
#undef TWO_FLOATS_OR

#define THREE_FLOATS(name, instruction)                                                                      \
    INLINE Floats name(Floats a, Floats b, Floats c)                                                         \
    {                                                                                                        \
        return (Floats){instruction(a.low, b.low, c.low), instruction(a.high, b.high, c.high)};              \
    }
THREE_FLOATS(fma16, _mm256_fmadd_ps)
THREE_FLOATS(fnma16, _mm256_fnmadd_ps)
#undef THREE_FLOATS

#define COMPARE(name, operator)                                                                              \
    INLINE Mask name(Floats a, Floats b)                                                                     \
    {                                                                                                        \
        return joined_masks(_mm256_cmp_ps(a.low, b.low, operator), _mm256_cmp_ps(a.high, b.high, operator)); \
    }                                                                                                        \
    INLINE Mask name##_where(Mask mask, Floats a, Floats b)                                                  \
    {                                                                                                        \
        return mask & name(a, b);                                                                            \
    }
COMPARE(less16, _CMP_LT_OQ)
COMPARE(equal16, _CMP_EQ_OQ)
COMPARE(above16, _CMP_GT_OQ)
COMPARE(at_least16, _CMP_GE_OQ)
#undef COMPARE

INLINE Floats abs16(Floats x)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return (Floats){_mm256_andnot_ps(sign, x.low), _mm256_andnot_ps(sign, x.high)};
}

INLINE Floats round16(Floats x)
{
    return (Floats){_mm256_round_ps(x.low, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
                    _mm256_round_ps(x.high, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}

/* Stores the lanes of the mask, contiguous. */
INLINE void pack16(float *to, Mask mask, Floats x)
{
    float lanes[LANES];
    store16(lanes, x);
    for (unsigned left = mask; left; left &= left - 1)
        *to++ = lanes[__builtin_ctz(left)];
}

INLINE float first_of16(Floats x)
{
    return _mm256_cvtss_f32(x.low);
}

/* The reductions combine halves in the order of those of AVX-512. */
#define REDUCE(name, instruction)                                                                            \
    INLINE float name(Floats x)                                                                              \
    {                                                                                                        \
        __m256 eight = _mm256_##instruction(x.low, x.high);                                                  \
        __m128 four = _mm_##instruction(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));     \
        four = _mm_##instruction(four, _mm_movehl_ps(four, four));                                           \
        return _mm_cvtss_f32(_mm_##instruction(four, _mm_shuffle_ps(four, four, 1)));                        \
    }
REDUCE(sum_of16, add_ps)
REDUCE(largest_of16, max_ps)
REDUCE(smallest_of16, min_ps)
#undef REDUCE

INLINE float largest_of16_where(Mask mask, Floats x)
{
    return largest_of16(choose16(mask, x, set16(-__builtin_inff())));
}

/* ---- words --------------------------------------------------------------------------------------------- */

INLINE Words set_words16(int x)
{
    return (Words){_mm256_set1_epi32(x), _mm256_set1_epi32(x)};
}

INLINE Words load_words16(const void *from)
{
    const __m256i *halves = from;
    return (Words){_mm256_loadu_si256(halves), _mm256_loadu_si256(halves + 1)};
}

INLINE Words count_words16(void)
{
    return (Words){_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
                   _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15)};
}

INLINE Words load_words16_where(Mask mask, const int32_t *from)
{
    return (Words){_mm256_maskload_epi32(from, mask8(mask)),
                   _mm256_maskload_epi32(from + EIGHT, mask8(mask >> EIGHT))};
}

INLINE void store_words16_where(int32_t *to, Mask mask, Words x)
{
    _mm256_maskstore_epi32(to, mask8(mask), x.low);
    _mm256_maskstore_epi32(to + EIGHT, mask8(mask >> EIGHT), x.high);
}

INLINE void pack_words16(int32_t *to, Mask mask, Words x)
{
    int32_t lanes[LANES];
    store_words16_where(lanes, 0xffff, x);
    for (unsigned left = mask; left; left &= left - 1)
        *to++ = lanes[__builtin_ctz(left)];
}

OF_TWO(Words, add_words16, _mm256_add_epi32)
OF_TWO(Words, mul_words16, _mm256_mullo_epi32)
OF_TWO(Words, xor16, _mm256_xor_si256)
#undef OF_TWO

INLINE Words shift_right16(Words x, int bits)
{
    return (Words){_mm256_srli_epi32(x.low, bits), _mm256_srli_epi32(x.high, bits)};
}

INLINE Floats to_floats16(Words x)
{
    return (Floats){_mm256_cvtepi32_ps(x.low), _mm256_cvtepi32_ps(x.high)};
}

INLINE Words to_words16(Floats x)
{
    return (Words){_mm256_cvtps_epi32(x.low), _mm256_cvtps_epi32(x.high)};
}

/* Saturates eight words to 16 bits each. */
INLINE __m128i saturate8(__m256i words)
{
    return _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}

/* ---- across lanes -------------------------------------------------------------------------------------- */

INLINE __m256 four_sums8(__m256 a, __m256 b, __m256 c, __m256 d)
{
    __m256 low = _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
    __m256 high = _mm256_add_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
    return _mm256_add_ps(_mm256_shuffle_ps(low, high, 0x44), _mm256_shuffle_ps(low, high, 0xee));
}

/* The sums of four vectors, each over its lanes. */
INLINE __m128 four_sums16(const Floats vectors[4])
{
    __m256 low = four_sums8(vectors[0].low, vectors[1].low, vectors[2].low, vectors[3].low);
    __m256 high = four_sums8(vectors[0].high, vectors[1].high, vectors[2].high, vectors[3].high);
    __m256 half = _mm256_add_ps(low, high);
    return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}

#define OVER_QUARTERS(name, instruction)                                                                     \
    INLINE Floats name(Floats x)                                                                             \
    {                                                                                                        \
        __m256 half = instruction(x.low, x.high);                                                            \
        half = instruction(half, _mm256_permute2f128_ps(half, half, 1));                                     \
        return (Floats){half, half};                                                                         \
    }
OVER_QUARTERS(largest_of_quarters16, _mm256_max_ps)
OVER_QUARTERS(sum_of_quarters16, _mm256_add_ps)
#undef OVER_QUARTERS

#include "formats256.h"

#endif
