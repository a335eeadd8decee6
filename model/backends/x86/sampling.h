/* Sampling: top-k, top-p, min-p and Gumbel noise for one row, without a sort.
 *
 * model/network/sampler.py defines what is drawn. Thresholds are found by bisection over ordered bit
 * patterns. The tokens that top-k keeps are packed, so that the rest of the work is done for them only.
 */
#ifndef RUDOLPH_SAMPLING_H
#define RUDOLPH_SAMPLING_H

#include "math16.h"

typedef struct {
    float temperature, top_p, min_p;
    int64_t top_k, seed, position;
} Settings;

/* Tokens of a row that are still candidates: scores, weights and ids. */
typedef struct {
    float *scores, *weights;
    int32_t *ids;
} Candidates;

/* Natural logarithm of positive normal numbers by Cephes' logf; the error is at most 2 units in the
 * last place. */
INLINE Floats log16(Floats x)
{
    Floats exponent = add16(exponent16(x), set16(1.0f));
    Floats part = mul16(mantissa16(x), set16(0.5f));
    Mask small = less16(part, set16(0.707106781186547524f));
    exponent = sub16_or(exponent, small, exponent, set16(1.0f));
    part = sub16(add16_or(part, small, part, part), set16(1.0f));
    Floats square = mul16(part, part), sum = set16(7.0376836292e-2f);
    const float terms[] = {-1.1514610310e-1f, 1.1676998740e-1f, -1.2420140846e-1f, 1.4249322787e-1f,
                           -1.6668057665e-1f, 2.0000714765e-1f, -2.4999993993e-1f, 3.3333331174e-1f};
    for (size_t term = 0; term < sizeof terms / sizeof *terms; term++)
        sum = fma16(sum, part, set16(terms[term]));
    sum = mul16(mul16(sum, part), square);
    sum = fma16(exponent, set16(-2.12194440e-4f), sum);
    sum = fnma16(square, set16(0.5f), sum);
    return fma16(exponent, set16(0.693359375f), add16(part, sum));
}

/* The hash of model/network/sampler.py, on one word and on sixteen. */
INLINE uint32_t mix(uint32_t x)
{
    x = (x ^ x >> 16) * 0x7FEB352Du;
    x = (x ^ x >> 15) * 0x846CA68Bu;
    return x ^ x >> 16;
}

INLINE Words mix16(Words x)
{
    x = mul_words16(xor16(x, shift_right16(x, 16)), set_words16(0x7FEB352D));
    x = mul_words16(xor16(x, shift_right16(x, 15)), set_words16((int)0x846CA68Bu));
    return xor16(x, shift_right16(x, 16));
}

/* Gumbel noise -log(-log(1 - u)) of sixteen tokens; log(1 - u) keeps its precision for small u, as log1p
 * does. */
INLINE Floats gumbel16(Words ids, uint32_t first_key, uint32_t second_key)
{
    const Floats one = set16(1.0f);
    Words bits = mix16(xor16(ids, set_words16((int)first_key)));
    bits = mix16(add_words16(bits, set_words16((int)second_key)));
    Floats uniform = add16(to_floats16(shift_right16(bits, 1)), set16(0.5f));
    uniform = min16(mul16(uniform, set16(0x1p-31f)), set16(1.0f - 0x1p-24f));
    Floats rest = sub16(one, uniform), lost = sub16(one, rest);
    Mask tiny = equal16(lost, zero16());
    Floats negative = div16(mul16(log16(rest), uniform), lost);
    negative = sub16_or(negative, tiny, zero16(), uniform);
    return sub16(zero16(), log16(sub16(zero16(), negative)));
}

/* Maps a float to an integer of the same order, and back. */
INLINE uint32_t ordered(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

INLINE float from_ordered(uint32_t order)
{
    uint32_t bits = order & 0x80000000u ? order & 0x7fffffffu : ~order;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The threshold that `count_kept` scores reach; more of them where there are ties. */
static float kth_largest(const float *scores, size_t count, size_t count_kept, float least, float most)
{
    uint32_t low = ordered(least), high = ordered(most); /* low: at least `count_kept` are not below it */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2 + 1;
        Floats threshold = set16(from_ordered(middle));
        size_t above = 0;
        for (size_t at = 0; at < count; at += LANES)
            above += (size_t)__builtin_popcount(at_least16_where(
                first_lanes(count - at), load16_where(first_lanes(count - at), scores + at), threshold));
        if (above >= count_kept)
            low = middle;
        else
            high = middle - 1;
        if (above == count_kept)
            break;
    }
    return from_ordered(low);
}

/* Packs the tokens whose score is not below `threshold`, in order; returns their number. */
static size_t pack_candidates(const Candidates *all, size_t count, float threshold)
{
    size_t kept = 0;
    for (size_t at = 0; at < count; at += LANES) {
        Mask lanes = first_lanes(count - at);
        Floats scores = load16_where(lanes, all->scores + at);
        Words ids = load_words16_where(lanes, all->ids + at);
        lanes = at_least16_where(lanes, scores, set16(threshold));
        pack16(all->scores + kept, lanes, scores);
        pack_words16(all->ids + kept, lanes, ids);
        kept += (size_t)__builtin_popcount(lanes);
    }
    return kept;
}

/* Sum of the weights of scores above `threshold`. */
static float weight_above(const Candidates *all, size_t count, float threshold)
{
    Floats sum = zero16();
    for (size_t at = 0; at < count; at += LANES) {
        Mask lanes = first_lanes(count - at);
        Floats scores = load16_where(lanes, all->scores + at);
        lanes = above16_where(lanes, scores, set16(threshold));
        sum = add16(sum, load16_where(lanes, all->weights + at));
    }
    return sum_of16(sum);
}

/* Keeps the tokens up to and with the one that crosses p, in descending order and equal ones by id. */
static size_t keep_top_p(const Candidates *all, size_t count, float most, float top_p)
{
    Floats sum = zero16();
    for (size_t at = 0; at < count; at += LANES) {
        Mask lanes = first_lanes(count - at);
        Floats off = sub16(load16_where(lanes, all->scores + at), set16(most));
        Floats weight = exp16(off);
        sum = add16_or(sum, lanes, sum, weight);
        store16_where(all->weights + at, lanes, weight);
    }
    const float allowed = top_p * sum_of16(sum);
    uint32_t low = ordered(-__builtin_inff()),
             high = ordered(most); /* high: what is above it does not cross p */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (weight_above(all, count, from_ordered(middle)) <= allowed)
            high = middle;
        else
            low = middle + 1;
    }
    const float edge = from_ordered(high), each = first_of16(exp16(set16(edge - most)));
    const float room =
        each > 0 ? __builtin_floorf((allowed - weight_above(all, count, edge)) / each) + 1 : (float)count;
    size_t kept = 0;
    float ties = 0;
    for (size_t at = 0; at < count; at += LANES) {
        Mask lanes = first_lanes(count - at);
        Floats scores = load16_where(lanes, all->scores + at);
        Words ids = load_words16_where(lanes, all->ids + at);
        unsigned equal = equal16_where(lanes, scores, set16(edge));
        while (equal && ties + (float)__builtin_popcount(equal) > room)
            equal &= ~(1u << (31 - __builtin_clz(equal)));
        ties += (float)__builtin_popcount(equal);
        lanes = above16_where(lanes, scores, set16(edge)) | (Mask)equal;
        pack16(all->scores + kept, lanes, scores);
        pack_words16(all->ids + kept, lanes, ids);
        kept += (size_t)__builtin_popcount(lanes);
    }
    return kept;
}

/* The id with the largest sum of score and noise; of equal ones the lowest. */
static int64_t largest_with_noise(const Candidates *all, size_t count, int64_t seed, int64_t position)
{
    const uint32_t golden = 0x9E3779B9u, a = mix((uint32_t)seed + golden),
                   b = mix((uint32_t)((uint64_t)seed >> 32) ^ a);
    const uint32_t first_key = mix((uint32_t)position ^ b), second_key = mix(first_key ^ a) + golden;
    float best = -__builtin_inff();
    int64_t drawn = count ? all->ids[0] : 0;
    for (size_t at = 0; at < count; at += LANES) {
        Mask lanes = first_lanes(count - at);
        Floats noise = gumbel16(load_words16_where(lanes, all->ids + at), first_key, second_key);
        Floats total = add16(load16_where(lanes, all->scores + at), noise);
        float largest = largest_of16_where(lanes, total);
        if (largest > best) {
            Mask equal = equal16_where(lanes, total, set16(largest));
            best = largest;
            drawn = all->ids[at + (size_t)__builtin_ctz(equal)];
        }
    }
    return drawn;
}

/* Draws one token; logits: -infinity where a token must not be drawn. */
static int64_t draw(const float *logits, size_t count, const Settings *settings, const Candidates *all)
{
    Floats most = set16(-__builtin_inff()), least = set16(__builtin_inff());
    for (size_t at = 0; at < count; at += LANES) {
        Mask lanes = first_lanes(count - at);
        Floats values = load16_where(lanes, logits + at);
        most = max16_or(most, lanes, most, values);
        least = min16_or(least, lanes, least, values);
        store16_where(all->scores + at, lanes, div16(values, set16(settings->temperature)));
        Words ids = count_words16();
        store_words16_where(all->ids + at, lanes, add_words16(ids, set_words16((int)at)));
    }
    const float largest = largest_of16(most), lowest = smallest_of16(least);
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
    if (settings->min_p > 0) {
        /* p < min_p max p, as a threshold of scores. */
        const float gap = first_of16(log16(set16(settings->min_p)));
        count = pack_candidates(all, count, largest / settings->temperature + gap);
    }
    return largest_with_noise(all, count, settings->seed, settings->position);
}

#endif
