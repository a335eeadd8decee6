/* Drawing one token of a row: top-k, top-p and Gumbel noise, without a sort.
 *
 * What is drawn is defined in model/sampler.py. Thresholds are found by halving the range of ordered bit
 * patterns; what top-k leaves is packed together, so that the rest of the work is done for those tokens only.
 */
#ifndef RUDOLPH_SAMPLING_H
#define RUDOLPH_SAMPLING_H

#include "vectors.h"

typedef struct {
    float temperature, top_p;
    int64_t top_k, seed, position;
} Settings;

/* Room for a row's tokens: their scores, weights and ids. */
typedef struct {
    float *scores, *weights;
    int32_t *ids;
} Candidates;

/* Natural logarithm of positive normal numbers by Cephes' logf; off by 2 units in the last place. */
INLINE __m512 log16(__m512 x)
{
    __m512 exponent = _mm512_add_ps(_mm512_getexp_ps(x), _mm512_set1_ps(1.0f));
    __m512 part =
        _mm512_mul_ps(_mm512_getmant_ps(x, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_zero), _mm512_set1_ps(0.5f));
    __mmask16 small = _mm512_cmp_ps_mask(part, _mm512_set1_ps(0.707106781186547524f), _CMP_LT_OQ);
    exponent = _mm512_mask_sub_ps(exponent, small, exponent, _mm512_set1_ps(1.0f));
    part = _mm512_sub_ps(_mm512_mask_add_ps(part, small, part, part), _mm512_set1_ps(1.0f));
    __m512 square = _mm512_mul_ps(part, part), sum = _mm512_set1_ps(7.0376836292e-2f);
    const float terms[] = {-1.1514610310e-1f, 1.1676998740e-1f, -1.2420140846e-1f, 1.4249322787e-1f,
                           -1.6668057665e-1f, 2.0000714765e-1f, -2.4999993993e-1f, 3.3333331174e-1f};
    for (size_t term = 0; term < sizeof terms / sizeof *terms; term++)
        sum = _mm512_fmadd_ps(sum, part, _mm512_set1_ps(terms[term]));
    sum = _mm512_mul_ps(_mm512_mul_ps(sum, part), square);
    sum = _mm512_fmadd_ps(exponent, _mm512_set1_ps(-2.12194440e-4f), sum);
    sum = _mm512_fnmadd_ps(square, _mm512_set1_ps(0.5f), sum);
    return _mm512_fmadd_ps(exponent, _mm512_set1_ps(0.693359375f), _mm512_add_ps(part, sum));
}

/* The hash of model/sampler.py, on one word and on sixteen. */
INLINE uint32_t mix(uint32_t x)
{
    x = (x ^ x >> 16) * 0x7FEB352Du;
    x = (x ^ x >> 15) * 0x846CA68Bu;
    return x ^ x >> 16;
}

INLINE __m512i mix16(__m512i x)
{
    x = _mm512_mullo_epi32(_mm512_xor_si512(x, _mm512_srli_epi32(x, 16)), _mm512_set1_epi32(0x7FEB352D));
    x = _mm512_mullo_epi32(_mm512_xor_si512(x, _mm512_srli_epi32(x, 15)),
                           _mm512_set1_epi32((int)0x846CA68Bu));
    return _mm512_xor_si512(x, _mm512_srli_epi32(x, 16));
}

/* Gumbel noise -log(-log(1 - u)) of sixteen tokens; log(1 - u) keeps its precision for small u, as log1p
 * does. */
INLINE __m512 gumbel16(__m512i ids, uint32_t first_key, uint32_t second_key)
{
    const __m512 one = _mm512_set1_ps(1.0f);
    __m512i bits = mix16(_mm512_xor_si512(ids, _mm512_set1_epi32((int)first_key)));
    bits = mix16(_mm512_add_epi32(bits, _mm512_set1_epi32((int)second_key)));
    __m512 uniform = _mm512_add_ps(_mm512_cvtepi32_ps(_mm512_srli_epi32(bits, 1)), _mm512_set1_ps(0.5f));
    uniform =
        _mm512_min_ps(_mm512_mul_ps(uniform, _mm512_set1_ps(0x1p-31f)), _mm512_set1_ps(1.0f - 0x1p-24f));
    __m512 rest = _mm512_sub_ps(one, uniform), lost = _mm512_sub_ps(one, rest);
    __mmask16 tiny = _mm512_cmp_ps_mask(lost, _mm512_setzero_ps(), _CMP_EQ_OQ);
    __m512 negative = _mm512_div_ps(_mm512_mul_ps(log16(rest), uniform), lost);
    negative = _mm512_mask_sub_ps(negative, tiny, _mm512_setzero_ps(), uniform);
    return _mm512_sub_ps(_mm512_setzero_ps(), log16(_mm512_sub_ps(_mm512_setzero_ps(), negative)));
}

/* Numbers in the order of the floats: a bijection of bit patterns, and back. */
INLINE uint32_t ordered(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

INLINE float from_ordered(uint32_t place)
{
    uint32_t bits = place & 0x80000000u ? place & 0x7fffffffu : ~place;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* A threshold with exactly `wanted` scores from it on, or the one at which ties make them more. */
static float kth_largest(const float *scores, size_t count, size_t wanted, float least, float most)
{
    uint32_t low = ordered(least), high = ordered(most); /* low: at least `wanted` are not below it */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2 + 1;
        __m512 threshold = _mm512_set1_ps(from_ordered(middle));
        size_t above = 0;
        for (size_t at = 0; at < count; at += LANES)
            above += (size_t)__builtin_popcount(_mm512_mask_cmp_ps_mask(
                first_lanes(count - at), _mm512_maskz_loadu_ps(first_lanes(count - at), scores + at),
                threshold, _CMP_GE_OQ));
        if (above >= wanted)
            low = middle;
        else
            high = middle - 1;
        if (above == wanted)
            break;
    }
    return from_ordered(low);
}

/* Packs the tokens together whose score is not below `threshold`; returns how many. Their order stays. */
static size_t pack_candidates(const Candidates *all, size_t count, float threshold)
{
    size_t kept = 0;
    for (size_t at = 0; at < count; at += LANES) {
        __mmask16 lanes = first_lanes(count - at);
        __m512 scores = _mm512_maskz_loadu_ps(lanes, all->scores + at);
        __m512i ids = _mm512_maskz_loadu_epi32(lanes, all->ids + at);
        lanes = _mm512_mask_cmp_ps_mask(lanes, scores, _mm512_set1_ps(threshold), _CMP_GE_OQ);
        _mm512_mask_compressstoreu_ps(all->scores + kept, lanes, scores);
        _mm512_mask_compressstoreu_epi32(all->ids + kept, lanes, ids);
        kept += (size_t)__builtin_popcount(lanes);
    }
    return kept;
}

/* Sum of the weights of scores above `threshold`. */
static float weight_above(const Candidates *all, size_t count, float threshold)
{
    __m512 sum = _mm512_setzero_ps();
    for (size_t at = 0; at < count; at += LANES) {
        __mmask16 lanes = first_lanes(count - at);
        __m512 scores = _mm512_maskz_loadu_ps(lanes, all->scores + at);
        lanes = _mm512_mask_cmp_ps_mask(lanes, scores, _mm512_set1_ps(threshold), _CMP_GT_OQ);
        sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(lanes, all->weights + at));
    }
    return _mm512_reduce_add_ps(sum);
}

/* Keeps what stands, in descending order and equal ones by id, at or before the token that crosses p. */
static size_t keep_top_p(const Candidates *all, size_t count, float most, float top_p)
{
    __m512 sum = _mm512_setzero_ps();
    for (size_t at = 0; at < count; at += LANES) {
        __mmask16 lanes = first_lanes(count - at);
        __m512 off = _mm512_sub_ps(_mm512_maskz_loadu_ps(lanes, all->scores + at), _mm512_set1_ps(most));
        __m512 weight = exp16(off);
        sum = _mm512_mask_add_ps(sum, lanes, sum, weight);
        _mm512_mask_storeu_ps(all->weights + at, lanes, weight);
    }
    const float allowed = top_p * _mm512_reduce_add_ps(sum);
    uint32_t low = ordered(-__builtin_inff()),
             high = ordered(most); /* high: what is above it does not cross p */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (weight_above(all, count, from_ordered(middle)) <= allowed)
            high = middle;
        else
            low = middle + 1;
    }
    const float edge = from_ordered(high), each = _mm512_cvtss_f32(exp16(_mm512_set1_ps(edge - most)));
    const float room =
        each > 0 ? __builtin_floorf((allowed - weight_above(all, count, edge)) / each) + 1 : (float)count;
    size_t kept = 0;
    float ties = 0;
    for (size_t at = 0; at < count; at += LANES) {
        __mmask16 lanes = first_lanes(count - at);
        __m512 scores = _mm512_maskz_loadu_ps(lanes, all->scores + at);
        __m512i ids = _mm512_maskz_loadu_epi32(lanes, all->ids + at);
        unsigned equal = _mm512_mask_cmp_ps_mask(lanes, scores, _mm512_set1_ps(edge), _CMP_EQ_OQ);
        while (equal && ties + (float)__builtin_popcount(equal) > room)
            equal &= ~(1u << (31 - __builtin_clz(equal)));
        ties += (float)__builtin_popcount(equal);
        lanes = _mm512_mask_cmp_ps_mask(lanes, scores, _mm512_set1_ps(edge), _CMP_GT_OQ) | (__mmask16)equal;
        _mm512_mask_compressstoreu_ps(all->scores + kept, lanes, scores);
        _mm512_mask_compressstoreu_epi32(all->ids + kept, lanes, ids);
        kept += (size_t)__builtin_popcount(lanes);
    }
    return kept;
}

/* The id whose score with its noise is largest; of equal ones the lowest. */
static int64_t largest_with_noise(const Candidates *all, size_t count, int64_t seed, int64_t position)
{
    const uint32_t golden = 0x9E3779B9u, a = mix((uint32_t)seed + golden),
                   b = mix((uint32_t)((uint64_t)seed >> 32) ^ a);
    const uint32_t first_key = mix((uint32_t)position ^ b), second_key = mix(first_key ^ a) + golden;
    float best = -__builtin_inff();
    int64_t drawn = count ? all->ids[0] : 0;
    for (size_t at = 0; at < count; at += LANES) {
        __mmask16 lanes = first_lanes(count - at);
        __m512 noise = gumbel16(_mm512_maskz_loadu_epi32(lanes, all->ids + at), first_key, second_key);
        __m512 total = _mm512_add_ps(_mm512_maskz_loadu_ps(lanes, all->scores + at), noise);
        float largest = _mm512_mask_reduce_max_ps(lanes, total);
        if (largest > best) {
            __mmask16 place = _mm512_mask_cmp_ps_mask(lanes, total, _mm512_set1_ps(largest), _CMP_EQ_OQ);
            best = largest;
            drawn = all->ids[at + (size_t)__builtin_ctz(place)];
        }
    }
    return drawn;
}

/* One draw of a row; logits: -infinity where a token must not be drawn. */
static int64_t draw(const float *logits, size_t count, const Settings *settings, const Candidates *all)
{
    __m512 most = _mm512_set1_ps(-__builtin_inff()), least = _mm512_set1_ps(__builtin_inff());
    for (size_t at = 0; at < count; at += LANES) {
        __mmask16 lanes = first_lanes(count - at);
        __m512 values = _mm512_maskz_loadu_ps(lanes, logits + at);
        most = _mm512_mask_max_ps(most, lanes, most, values);
        least = _mm512_mask_min_ps(least, lanes, least, values);
        _mm512_mask_storeu_ps(all->scores + at, lanes,
                              _mm512_div_ps(values, _mm512_set1_ps(settings->temperature)));
        __m512i ids = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        _mm512_mask_storeu_epi32(all->ids + at, lanes, _mm512_add_epi32(ids, _mm512_set1_epi32((int)at)));
    }
    const float largest = _mm512_reduce_max_ps(most), lowest = _mm512_reduce_min_ps(least);
    for (size_t at = 0; settings->top_k == 1 && at < count; at++)
        if (logits[at] == largest)
            return (int64_t)at;
    if (settings->top_k > 0 && (size_t)settings->top_k < count) {
        float edge = kth_largest(all->scores, count, (size_t)settings->top_k, lowest / settings->temperature,
                                 largest / settings->temperature);
        count = pack_candidates(all, count, edge);
    }
    if (settings->top_p < 1)
        count = keep_top_p(all, count, largest / settings->temperature, settings->top_p);
    return largest_with_noise(all, count, settings->seed, settings->position);
}

#endif
