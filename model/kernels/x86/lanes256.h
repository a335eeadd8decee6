/* The sixteen lanes of lanes.h in two vectors of AVX2, with FMA. */
#ifndef RUDOLPH_LANES256_H
#define RUDOLPH_LANES256_H

#define HALF_LANES 8

typedef struct {
    __m256 low, high;
} Floats;
typedef struct {
    __m256i low, high;
} Words;
typedef uint16_t Mask;

/* ---- masks --------------------------------------------------------------------------------------------- */

/* All bits of the lanes whose bit in the mask's lower half is 1. */
INLINE __m256i half_mask(unsigned mask)
{
    const __m256i bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    return _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32((int)mask), bits), bits);
}

INLINE Mask joined_masks(__m256 low, __m256 high)
{
    return (Mask)(_mm256_movemask_ps(low) | _mm256_movemask_ps(high) << HALF_LANES);
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
    return (Floats){_mm256_loadu_ps(from), _mm256_loadu_ps(from + HALF_LANES)};
}

INLINE void store16(float *to, Floats x)
{
    _mm256_storeu_ps(to, x.low);
    _mm256_storeu_ps(to + HALF_LANES, x.high);
}

/* `yes` where the mask is 1, `no` elsewhere. */
INLINE Floats choose16(Mask mask, Floats yes, Floats no)
{
    return (Floats){
        _mm256_blendv_ps(no.low, yes.low, _mm256_castsi256_ps(half_mask(mask))),
        _mm256_blendv_ps(no.high, yes.high, _mm256_castsi256_ps(half_mask(mask >> HALF_LANES))),
    };
}

INLINE Floats load16_where(Mask mask, const float *from)
{
    if (mask == 0xffff)
        return load16(from);
    return (Floats){_mm256_maskload_ps(from, half_mask(mask)),
                    _mm256_maskload_ps(from + HALF_LANES, half_mask(mask >> HALF_LANES))};
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
    _mm256_maskstore_ps(to, half_mask(mask), x.low);
    _mm256_maskstore_ps(to + HALF_LANES, half_mask(mask >> HALF_LANES), x.high);
}

#define TWO_FLOATS(name, instruction)                                                                        \
    INLINE Floats name(Floats a, Floats b)                                                                   \
    {                                                                                                        \
        return (Floats){instruction(a.low, b.low), instruction(a.high, b.high)};                             \
    }
TWO_FLOATS(add16, _mm256_add_ps)
TWO_FLOATS(sub16, _mm256_sub_ps)
TWO_FLOATS(mul16, _mm256_mul_ps)
TWO_FLOATS(div16, _mm256_div_ps)
TWO_FLOATS(min16, _mm256_min_ps)
TWO_FLOATS(max16, _mm256_max_ps)
#undef TWO_FLOATS

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

/* The lanes of the mask, side by side. */
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

/* The reductions take halves together, as GCC does for AVX-512. */
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
    return (Words){_mm256_maskload_epi32(from, half_mask(mask)),
                   _mm256_maskload_epi32(from + HALF_LANES, half_mask(mask >> HALF_LANES))};
}

INLINE void store_words16_where(int32_t *to, Mask mask, Words x)
{
    _mm256_maskstore_epi32(to, half_mask(mask), x.low);
    _mm256_maskstore_epi32(to + HALF_LANES, half_mask(mask >> HALF_LANES), x.high);
}

INLINE void pack_words16(int32_t *to, Mask mask, Words x)
{
    int32_t lanes[LANES];
    store_words16_where(lanes, 0xffff, x);
    for (unsigned left = mask; left; left &= left - 1)
        *to++ = lanes[__builtin_ctz(left)];
}

#define TWO_WORDS(name, instruction)                                                                         \
    INLINE Words name(Words a, Words b)                                                                      \
    {                                                                                                        \
        return (Words){instruction(a.low, b.low), instruction(a.high, b.high)};                              \
    }
TWO_WORDS(add_words16, _mm256_add_epi32)
TWO_WORDS(mul_words16, _mm256_mullo_epi32)
TWO_WORDS(xor16, _mm256_xor_si256)
#undef TWO_WORDS

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

/* Eight words as four of 16 bits from `low`'s first half on, what does not fit at its end. */
INLINE __m128i narrowed(__m256i words)
{
    return _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}

/* ---- whole numbers of 8 bits ----------------------------------------------------------------------------
 */

#define WHOLE_BYTES 2 /* that one of a row takes: AVX2 multiplies 16 bits without losing any */
#define WHOLE_MAX 255
#define EVEN_FIRST _MM_SHUFFLE(3, 1, 2, 0)

INLINE __m128i even_first(__m128i numbers)
{
    return _mm_shufflehi_epi16(_mm_shufflelo_epi16(numbers, EVEN_FIRST), EVEN_FIRST);
}

/* Numbers from 0 on of a row, from place `at` on, of each four the even places first; what does not fit in a
 * byte becomes the largest. */
INLINE void store_whole16(void *row, size_t at, Words words)
{
    const __m128i most = _mm_set1_epi16(WHOLE_MAX);
    __m128i *to = (__m128i *)((uint16_t *)row + at);
    _mm_storeu_si128(to, even_first(_mm_min_epu16(narrowed(words.low), most)));
    _mm_storeu_si128(to + 1, even_first(_mm_min_epu16(narrowed(words.high), most)));
}

/* Four numbers of a row, from place `at` on, for all lanes: those at even and at odd places. */
typedef struct {
    __m256i even, odd;
} Fours;

INLINE Fours load_fours16(const void *row, size_t at)
{
    int pairs[2];
    memcpy(pairs, (const uint16_t *)row + at, sizeof pairs);
    return (Fours){_mm256_set1_epi32(pairs[0]), _mm256_set1_epi32(pairs[1])};
}

INLINE __m256i half_add_fours(__m256i sum, Fours numbers, __m256i weights)
{
    __m256i even = _mm256_srai_epi16(_mm256_slli_epi16(weights, 8), 8), odd = _mm256_srai_epi16(weights, 8);
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(numbers.even, even));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(numbers.odd, odd));
}

/* sum + the products of four numbers of a row with the four signed bytes of each lane. */
INLINE Words add_fours16(Words sum, Fours numbers, Words weights)
{
    return (Words){half_add_fours(sum.low, numbers, weights.low),
                   half_add_fours(sum.high, numbers, weights.high)};
}

/* ---- parts of a float ---------------------------------------------------------------------------------- */

#define EXPONENT_BITS 23
#define EXPONENT_ZERO 127

INLINE __m256 power_of_two(__m256 exponent)
{
    __m256i biased = _mm256_add_epi32(_mm256_cvtps_epi32(exponent), _mm256_set1_epi32(EXPONENT_ZERO));
    return _mm256_castsi256_ps(_mm256_slli_epi32(biased, EXPONENT_BITS));
}

/* a 2^b by two factors, each of which is a normal number; b whole, from -252 to 254. */
INLINE __m256 half_scale(__m256 a, __m256 b)
{
    __m256 first = _mm256_floor_ps(_mm256_mul_ps(b, _mm256_set1_ps(0.5f)));
    return _mm256_mul_ps(_mm256_mul_ps(a, power_of_two(first)), power_of_two(_mm256_sub_ps(b, first)));
}

INLINE Floats scale16(Floats a, Floats b)
{
    return (Floats){half_scale(a.low, b.low), half_scale(a.high, b.high)};
}

/* Of positive normal numbers: the power of two at or below each. */
INLINE __m256 half_exponent(__m256 x)
{
    __m256i biased = _mm256_srli_epi32(_mm256_castps_si256(x), EXPONENT_BITS);
    return _mm256_cvtepi32_ps(_mm256_sub_epi32(biased, _mm256_set1_epi32(EXPONENT_ZERO)));
}

INLINE Floats exponent16(Floats x)
{
    return (Floats){half_exponent(x.low), half_exponent(x.high)};
}

/* What stands before that power: from 1 to 2. */
INLINE __m256 half_mantissa(__m256 x)
{
    const __m256 one = _mm256_set1_ps(1.0f);
    const __m256 bits = _mm256_castsi256_ps(_mm256_set1_epi32((1 << EXPONENT_BITS) - 1));
    return _mm256_or_ps(_mm256_and_ps(x, bits), one);
}

INLINE Floats mantissa16(Floats x)
{
    return (Floats){half_mantissa(x.low), half_mantissa(x.high)};
}

/* ---- bfloat16 ------------------------------------------------------------------------------------------ */

#define BF16_BITS 16

/* The numbers at odd and at even places of sixteen, as floats. */
INLINE __m256 odd_bf16(__m256i pairs)
{
    return _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32((int)0xffff0000u)));
}

INLINE __m256 even_bf16(__m256i pairs)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(pairs, BF16_BITS));
}

INLINE Floats odd16(Words pairs)
{
    return (Floats){odd_bf16(pairs.low), odd_bf16(pairs.high)};
}

INLINE Floats even16(Words pairs)
{
    return (Floats){even_bf16(pairs.low), even_bf16(pairs.high)};
}

/* `place`, hidden from the compiler, and not before `behind` is known: what was loaded from it may leave its
 * registers and is loaded again. */
INLINE const char *load_again(const char *place, Floats behind)
{
    __asm__("" : "+r"(place) : "x"(behind.low), "x"(behind.high));
    return place;
}

INLINE __m256 wide_bf16(__m128i eight)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(eight), BF16_BITS));
}

INLINE Floats load_all_bf16(const bf16 *from)
{
    return (Floats){wide_bf16(_mm_loadu_si128((const __m128i *)from)),
                    wide_bf16(_mm_loadu_si128((const __m128i *)(from + HALF_LANES)))};
}

INLINE Floats load_bf16(const bf16 *from, Mask mask)
{
    bf16 lanes[LANES] = {0};
    if (mask == 0xffff)
        return load_all_bf16(from);
    for (unsigned left = mask; left; left &= left - 1)
        lanes[__builtin_ctz(left)] = from[__builtin_ctz(left)];
    return load_all_bf16(lanes);
}

/* Rounded to the nearest, of two as near to the even one; NaN stays NaN. In the lower half of each word. */
INLINE __m256i rounded_bf16(__m256 x)
{
    const __m256i bits = _mm256_castps_si256(x), quiet = _mm256_set1_epi32(0x7fc0);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, BF16_BITS), _mm256_set1_epi32(1));
    __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(bits, odd), _mm256_set1_epi32(0x7fff));
    __m256 none = _mm256_cmp_ps(x, x, _CMP_UNORD_Q);
    return _mm256_blendv_epi8(_mm256_srli_epi32(rounded, BF16_BITS), quiet, _mm256_castps_si256(none));
}

INLINE void store_bf16(bf16 *to, Mask mask, Floats value)
{
    bf16 lanes[LANES];
    bf16 *place = mask == 0xffff ? to : lanes;
    _mm_storeu_si128((__m128i *)place, narrowed(rounded_bf16(value.low)));
    _mm_storeu_si128((__m128i *)(place + HALF_LANES), narrowed(rounded_bf16(value.high)));
    for (unsigned left = mask == 0xffff ? 0 : mask; left; left &= left - 1)
        to[__builtin_ctz(left)] = lanes[__builtin_ctz(left)];
}

INLINE __m256 half_add_pairs(__m256 sum, const bf16 *a, const bf16 *b)
{
    __m256i mine = _mm256_loadu_si256((const __m256i *)a), its = _mm256_loadu_si256((const __m256i *)b);
    sum = _mm256_fmadd_ps(odd_bf16(mine), odd_bf16(its), sum);
    return _mm256_fmadd_ps(even_bf16(mine), even_bf16(its), sum);
}

/* sum + a b of pairs: lane n adds the products of the numbers 2 n + 1 and 2 n, in this order, as far as there
 * are `count`. */
INLINE Floats add_pairs16(Floats sum, const bf16 *a, const bf16 *b, int count)
{
    bf16 mine[2 * LANES] = {0}, its[2 * LANES] = {0};
    if (count < 2 * LANES) {
        memcpy(mine, a, (size_t)count * sizeof *a);
        memcpy(its, b, (size_t)count * sizeof *b);
        a = mine, b = its;
    }
    return (Floats){half_add_pairs(sum.low, a, b), half_add_pairs(sum.high, a + LANES, b + LANES)};
}

/* ---- across lanes -------------------------------------------------------------------------------------- */

INLINE __m256 half_four_sums(__m256 a, __m256 b, __m256 c, __m256 d)
{
    __m256 low = _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
    __m256 high = _mm256_add_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
    return _mm256_add_ps(_mm256_shuffle_ps(low, high, 0x44), _mm256_shuffle_ps(low, high, 0xee));
}

/* The sums of four vectors, each over its lanes. */
INLINE __m128 four_sums16(const Floats vectors[4])
{
    __m256 low = half_four_sums(vectors[0].low, vectors[1].low, vectors[2].low, vectors[3].low);
    __m256 high = half_four_sums(vectors[0].high, vectors[1].high, vectors[2].high, vectors[3].high);
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

#endif
