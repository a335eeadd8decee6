/* Bytes, exponents and mantissas, and bfloat16, for lanes256.h. */
#ifndef RUDOLPH_FORMATS256_H
#define RUDOLPH_FORMATS256_H

/* ---- bytes ----------------------------------------------------------------------------------------------
 */

#define INT8_BYTES 2 /* that a value of a row takes: AVX2 multiplies 16 bits without overflow */
#define UINT8_MAX_VALUE 255
#define EVEN_FIRST _MM_SHUFFLE(3, 1, 2, 0)

INLINE __m128i even_first(__m128i numbers)
{
    return _mm_shufflehi_epi16(_mm_shufflelo_epi16(numbers, EVEN_FIRST), EVEN_FIRST);
}

/* Stores values of a row from index `at` on, saturated to a byte; of each four the even indices first. */
INLINE void store_uint8_16(void *row, size_t at, Words words)
{
    const __m128i most = _mm_set1_epi16(UINT8_MAX_VALUE);
    __m128i *to = (__m128i *)((uint16_t *)row + at);
    _mm_storeu_si128(to, even_first(_mm_min_epu16(saturate8(words.low), most)));
    _mm_storeu_si128(to + 1, even_first(_mm_min_epu16(saturate8(words.high), most)));
}

/* Four values of a row from index `at` on, for all lanes: those at even and at odd indices. */
typedef struct {
    __m256i even, odd;
} Quads;

INLINE Quads load_quads16(const void *row, size_t at)
{
    int pairs[2];
    memcpy(pairs, (const uint16_t *)row + at, sizeof pairs);
    return (Quads){_mm256_set1_epi32(pairs[0]), _mm256_set1_epi32(pairs[1])};
}

INLINE __m256i add_quads8(__m256i sum, Quads numbers, __m256i weights)
{
    __m256i even = _mm256_srai_epi16(_mm256_slli_epi16(weights, 8), 8), odd = _mm256_srai_epi16(weights, 8);
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(numbers.even, even));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(numbers.odd, odd));
}

/* sum + the products of four values of a row with the four signed bytes of each lane. */
INLINE Words add_quads16(Words sum, Quads numbers, Words weights)
{
    return (Words){add_quads8(sum.low, numbers, weights.low), add_quads8(sum.high, numbers, weights.high)};
}

/* ---- parts of a float ---------------------------------------------------------------------------------- */

#define EXPONENT_BITS 23
#define EXPONENT_ZERO 127

INLINE __m256 power_of_two8(__m256 exponent)
{
    __m256i biased = _mm256_add_epi32(_mm256_cvtps_epi32(exponent), _mm256_set1_epi32(EXPONENT_ZERO));
    return _mm256_castsi256_ps(_mm256_slli_epi32(biased, EXPONENT_BITS));
}

/* a 2^b by two factors, each of which is a normal number; b an integer from -252 to 254. */
INLINE __m256 scale8(__m256 a, __m256 b)
{
    __m256 first = _mm256_floor_ps(_mm256_mul_ps(b, _mm256_set1_ps(0.5f)));
    return _mm256_mul_ps(_mm256_mul_ps(a, power_of_two8(first)), power_of_two8(_mm256_sub_ps(b, first)));
}

INLINE Floats scale16(Floats a, Floats b)
{
    return (Floats){scale8(a.low, b.low), scale8(a.high, b.high)};
}

/* Of positive normal numbers: the power of two at or below each. */
INLINE __m256 exponent8(__m256 x)
{
    __m256i biased = _mm256_srli_epi32(_mm256_castps_si256(x), EXPONENT_BITS);
    return _mm256_cvtepi32_ps(_mm256_sub_epi32(biased, _mm256_set1_epi32(EXPONENT_ZERO)));
}

INLINE Floats exponent16(Floats x)
{
    return (Floats){exponent8(x.low), exponent8(x.high)};
}

/* The mantissa, from 1 to 2. */
INLINE __m256 mantissa8(__m256 x)
{
    const __m256 one = _mm256_set1_ps(1.0f);
    const __m256 bits = _mm256_castsi256_ps(_mm256_set1_epi32((1 << EXPONENT_BITS) - 1));
    return _mm256_or_ps(_mm256_and_ps(x, bits), one);
}

INLINE Floats mantissa16(Floats x)
{
    return (Floats){mantissa8(x.low), mantissa8(x.high)};
}

/* ---- bfloat16 ------------------------------------------------------------------------------------------ */

#define BF16_BITS 16

/* The values at odd and at even indices of sixteen, as floats. */
INLINE __m256 odd8(__m256i pairs)
{
    return _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32((int)0xffff0000u)));
}

INLINE __m256 even8(__m256i pairs)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(pairs, BF16_BITS));
}

INLINE Floats odd16(Words pairs)
{
    return (Floats){odd8(pairs.low), odd8(pairs.high)};
}

INLINE Floats even16(Words pairs)
{
    return (Floats){even8(pairs.low), even8(pairs.high)};
}

/* Returns `address` such that the compiler loads from it again, after `after` is computed: there are too few
 * registers to keep what was loaded. */
INLINE const char *reload_address(const char *address, Floats after)
{
    __asm__("" : "+r"(address) : "x"(after.low), "x"(after.high));
    return address;
}

INLINE __m256 wide8(__m128i eight)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(eight), BF16_BITS));
}

INLINE Floats load_all_bf16(const bf16 *from)
{
    return (Floats){wide8(_mm_loadu_si128((const __m128i *)from)),
                    wide8(_mm_loadu_si128((const __m128i *)(from + EIGHT)))};
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

/* Rounds to the nearest, ties to even; NaN stays NaN. The result is in the lower half of each word. */
INLINE __m256i rounded8(__m256 x)
{
    const __m256i bits = _mm256_castps_si256(x), skip = _mm256_set1_epi32(0x7fc0);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, BF16_BITS), _mm256_set1_epi32(1));
    __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(bits, odd), _mm256_set1_epi32(0x7fff));
    __m256 none = _mm256_cmp_ps(x, x, _CMP_UNORD_Q);
    return _mm256_blendv_epi8(_mm256_srli_epi32(rounded, BF16_BITS), skip, _mm256_castps_si256(none));
}

INLINE void store_bf16(bf16 *to, Mask mask, Floats value)
{
    bf16 lanes[LANES];
    bf16 *all = mask == 0xffff ? to : lanes;
    _mm_storeu_si128((__m128i *)all, saturate8(rounded8(value.low)));
    _mm_storeu_si128((__m128i *)(all + EIGHT), saturate8(rounded8(value.high)));
    for (unsigned left = mask == 0xffff ? 0 : mask; left; left &= left - 1)
        to[__builtin_ctz(left)] = lanes[__builtin_ctz(left)];
}

INLINE __m256 dot_bf16_8(__m256 sum, const bf16 *a, const bf16 *b)
{
    __m256i mine = _mm256_loadu_si256((const __m256i *)a), its = _mm256_loadu_si256((const __m256i *)b);
    sum = _mm256_fmadd_ps(odd8(mine), odd8(its), sum);
    return _mm256_fmadd_ps(even8(mine), even8(its), sum);
}

/* sum + a b of pairs: lane n adds the products at 2 n + 1 and 2 n, in this order; `count` values in all. */
INLINE Floats dot_bf16_16(Floats sum, const bf16 *a, const bf16 *b, int count)
{
    bf16 mine[2 * LANES] = {0}, its[2 * LANES] = {0};
    if (count < 2 * LANES) {
        memcpy(mine, a, (size_t)count * sizeof *a);
        memcpy(its, b, (size_t)count * sizeof *b);
        a = mine, b = its;
    }
    return (Floats){dot_bf16_8(sum.low, a, b), dot_bf16_8(sum.high, a + LANES, b + LANES)};
}

#endif
