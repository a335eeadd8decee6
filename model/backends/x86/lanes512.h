/* The sixteen lanes of lanes.h in one vector of AVX-512. */
#ifndef RUDOLPH_LANES512_H
#define RUDOLPH_LANES512_H

typedef __m512 Floats;
typedef __m512i Words;
typedef __mmask16 Mask;

/* ---- floats -------------------------------------------------------------------------------------------- */

#define zero16 _mm512_setzero_ps
#define set16 _mm512_set1_ps
#define load16 _mm512_loadu_ps
#define load16_where _mm512_maskz_loadu_ps
#define load16_or _mm512_mask_loadu_ps
#define store16 _mm512_storeu_ps
#define store16_where _mm512_mask_storeu_ps
#define pack16 _mm512_mask_compressstoreu_ps /* the lanes of the mask, contiguous */

#define add16 _mm512_add_ps
#define add16_or _mm512_mask_add_ps
#define sub16 _mm512_sub_ps
#define sub16_or _mm512_mask_sub_ps
#define mul16 _mm512_mul_ps
#define div16 _mm512_div_ps
#define fma16 _mm512_fmadd_ps   /* a b + c */
#define fnma16 _mm512_fnmadd_ps /* c - a b */
#define min16 _mm512_min_ps
#define min16_or _mm512_mask_min_ps
#define max16 _mm512_max_ps
#define max16_or _mm512_mask_max_ps
#define abs16 _mm512_abs_ps
#define scale16 _mm512_scalef_ps    /* a 2^b; b an integer */
#define exponent16 _mm512_getexp_ps /* of positive normal numbers: the power of two at or below each */

#define sum_of16 _mm512_reduce_add_ps
#define largest_of16 _mm512_reduce_max_ps
#define largest_of16_where _mm512_mask_reduce_max_ps
#define smallest_of16 _mm512_reduce_min_ps
#define first_of16 _mm512_cvtss_f32

/* The mantissa of positive normal numbers, from 1 to 2. */
INLINE Floats mantissa16(Floats x)
{
    return _mm512_getmant_ps(x, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_zero);
}

INLINE Floats round16(Floats x)
{
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

INLINE Mask less16(Floats a, Floats b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ);
}

INLINE Mask equal16(Floats a, Floats b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ);
}

INLINE Mask equal16_where(Mask mask, Floats a, Floats b)
{
    return _mm512_mask_cmp_ps_mask(mask, a, b, _CMP_EQ_OQ);
}

INLINE Mask above16_where(Mask mask, Floats a, Floats b)
{
    return _mm512_mask_cmp_ps_mask(mask, a, b, _CMP_GT_OQ);
}

INLINE Mask at_least16_where(Mask mask, Floats a, Floats b)
{
    return _mm512_mask_cmp_ps_mask(mask, a, b, _CMP_GE_OQ);
}

/* ---- words --------------------------------------------------------------------------------------------- */

#define set_words16 _mm512_set1_epi32
#define load_words16 _mm512_loadu_si512
#define load_words16_where _mm512_maskz_loadu_epi32
#define store_words16_where _mm512_mask_storeu_epi32
#define pack_words16 _mm512_mask_compressstoreu_epi32
#define add_words16 _mm512_add_epi32
#define mul_words16 _mm512_mullo_epi32
#define xor16 _mm512_xor_si512
#define shift_right16 _mm512_srli_epi32
#define to_floats16 _mm512_cvtepi32_ps
#define to_words16 _mm512_cvtps_epi32

INLINE Words count_words16(void)
{
    return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}

/* ---- bytes ----------------------------------------------------------------------------------------------
 */

#define INT8_BYTES 1 /* that a value of a row takes */

/* Stores values of a row from index `at` on, saturated to a byte. */
INLINE void store_uint8_16(void *row, size_t at, Words words)
{
    _mm_storeu_si128((__m128i *)((uint8_t *)row + at), _mm512_cvtusepi32_epi8(words));
}

/* Four values of a row from index `at` on, for all lanes. */
typedef Words Quads;

INLINE Quads load_quads16(const void *row, size_t at)
{
    int four;
    memcpy(&four, (const uint8_t *)row + at, sizeof four);
    return _mm512_set1_epi32(four);
}

/* sum + the products of four values of a row with the four signed bytes of each lane. Assembly, because GCC
 * 12 copies every sum twice for the intrinsic. */
INLINE Words add_quads16(Words sum, Quads numbers, Words weights)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(numbers), "v"(weights));
    return sum;
}

/* ---- bfloat16 ------------------------------------------------------------------------------------------ */

INLINE Floats load_bf16(const bf16 *from, Mask mask)
{
    Words wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

INLINE void store_bf16(bf16 *to, Mask mask, Floats value)
{
    _mm256_mask_storeu_epi16(to, mask, (__m256i)_mm512_cvtneps_pbh(value));
}

/* The values at odd and at even indices: the upper and the lower half of each word. */
INLINE Floats odd16(Words pairs)
{
    return _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32((int)0xffff0000u)));
}

INLINE Floats even16(Words pairs)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16));
}

/* Returns `address`: there are registers enough to keep what was loaded. */
INLINE const char *reload_address(const char *address, Floats after)
{
    (void)after;
    return address;
}

/* sum + a b of pairs: lane n adds the products at 2 n + 1 and 2 n, in this order; `count` values in all. */
INLINE Floats dot_bf16_16(Floats sum, const bf16 *a, const bf16 *b, int count)
{
    __mmask32 mask = count >= 2 * LANES ? 0xffffffffu : (1u << count) - 1;
    __m512bh mine = (__m512bh)_mm512_maskz_loadu_epi16(mask, a);
    __m512bh its = (__m512bh)_mm512_maskz_loadu_epi16(mask, b);
    return _mm512_dpbf16_ps(sum, mine, its);
}

/* ---- across lanes -------------------------------------------------------------------------------------- */

/* The sums of four vectors, each over its lanes. */
INLINE __m128 four_sums16(const Floats vectors[4])
{
    Floats low =
        add16(_mm512_unpacklo_ps(vectors[0], vectors[1]), _mm512_unpackhi_ps(vectors[0], vectors[1]));
    Floats high =
        add16(_mm512_unpacklo_ps(vectors[2], vectors[3]), _mm512_unpackhi_ps(vectors[2], vectors[3]));
    Floats all = add16(_mm512_shuffle_ps(low, high, 0x44), _mm512_shuffle_ps(low, high, 0xee));
    __m256 half = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
    return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}

INLINE Floats largest_of_quarters16(Floats x)
{
    x = max16(x, _mm512_shuffle_f32x4(x, x, 0x4e));
    return max16(x, _mm512_shuffle_f32x4(x, x, 0xb1));
}

INLINE Floats sum_of_quarters16(Floats x)
{
    x = add16(x, _mm512_shuffle_f32x4(x, x, 0x4e));
    return add16(x, _mm512_shuffle_f32x4(x, x, 0xb1));
}

#endif
