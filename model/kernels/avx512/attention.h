/* One query of each row over the keys that it sees, read where they lie.
 *
 * A key and its value lie side by side: shape = (2, heads, head_size) a token. Four heads go together, so
 * that what is read of a token is one stretch and a vector holds the scores of four keys. A row's arithmetic
 * does not depend on the rows beside it.
 */
#ifndef RUDOLPH_ATTENTION_H
#define RUDOLPH_ATTENTION_H

#include "vectors.h"

#define GROUP 4 /* heads */
#define MAX_HEAD_SIZE 128
/* How far ahead tokens are asked for. */
#define AHEAD_KEYS 4
#define MAX_CHUNKS (MAX_HEAD_SIZE / LANES)

/* What a thread needs while it works on a row: a place for each key it may see, and GROUP numbers. */
typedef struct {
    const bf16 **tokens;
    float *weights; /* shape = (keys, GROUP) */
} Scratch;

/* The sums of four vectors, each over its lanes. */
INLINE __m128 four_sums(const __m512 vectors[GROUP])
{
    __m512 low =
        _mm512_add_ps(_mm512_unpacklo_ps(vectors[0], vectors[1]), _mm512_unpackhi_ps(vectors[0], vectors[1]));
    __m512 high =
        _mm512_add_ps(_mm512_unpacklo_ps(vectors[2], vectors[3]), _mm512_unpackhi_ps(vectors[2], vectors[3]));
    __m512 all = _mm512_add_ps(_mm512_shuffle_ps(low, high, 0x44), _mm512_shuffle_ps(low, high, 0xee));
    __m256 half = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
    return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}

/* Asks for a part of a key, and for that of its value, which is read after all keys. */
INLINE void ask_for_token(const int size, const bf16 *key, size_t value_offset)
{
    for (int at = 0; at < size; at += LINE_BYTES / (int)sizeof(bf16)) {
        _mm_prefetch(key + at, _MM_HINT_T0);
        _mm_prefetch(key + value_offset + at, _MM_HINT_T1);
    }
}

/* Scores at `count` tokens, 0 for heads that are not there. query, and a token from `offset` on: (heads,
 * head_size); its value lies `value_offset` behind its key. */
INLINE void scores(const int heads, const int head_size, const bf16 *query, const Scratch *scratch,
                   size_t count, size_t offset, size_t value_offset)
{
    const int chunks = (head_size + 2 * LANES - 1) / (2 * LANES);
    const __m128 scale = _mm_set1_ps(1.0f / __builtin_sqrtf((float)head_size));
    for (size_t key = 0; key < count; key++) {
        const bf16 *token = scratch->tokens[key] + offset;
        __m512 sums[GROUP];
        if (key + AHEAD_KEYS < count)
            ask_for_token(heads * head_size, scratch->tokens[key + AHEAD_KEYS] + offset, value_offset);
        for (int head = 0; head < GROUP; head++) {
            sums[head] = _mm512_setzero_ps();
            for (int chunk = 0; head < heads && chunk < chunks; chunk++) {
                int at = head * head_size + chunk * 2 * LANES, left = head_size - chunk * 2 * LANES;
                __mmask32 mask = left >= 2 * LANES ? 0xffffffffu : (1u << left) - 1;
                __m512bh mine = (__m512bh)_mm512_maskz_loadu_epi16(mask, query + at);
                __m512bh its = (__m512bh)_mm512_maskz_loadu_epi16(mask, token + at);
                sums[head] = _mm512_dpbf16_ps(sums[head], mine, its);
            }
        }
        _mm_storeu_ps(scratch->weights + key * GROUP, _mm_mul_ps(four_sums(sums), scale));
    }
}

/* One number a head from lanes that hold four keys of four heads each, in every such quarter. */
#define OVER_KEYS(operation, lanes)                                                                          \
    lanes = operation(lanes, _mm512_shuffle_f32x4(lanes, lanes, 0x4e));                                      \
    lanes = operation(lanes, _mm512_shuffle_f32x4(lanes, lanes, 0xb1))

/* Scores to e^(score - most) in place; returns what a head's weighted sum must be multiplied with. */
INLINE __m512 powers(float *weights, size_t count)
{
    const __m512 least = _mm512_set1_ps(-__builtin_inff());
    __m512 most = least, sum = _mm512_setzero_ps();
    for (size_t at = 0; at < count * GROUP; at += LANES)
        most =
            _mm512_max_ps(most, _mm512_mask_loadu_ps(least, first_lanes(count * GROUP - at), weights + at));
    OVER_KEYS(_mm512_max_ps, most);
    for (size_t at = 0; at < count * GROUP; at += LANES) {
        __mmask16 mask = first_lanes(count * GROUP - at);
        __m512 power = exp16(_mm512_sub_ps(_mm512_maskz_loadu_ps(mask, weights + at), most));
        sum = _mm512_mask_add_ps(sum, mask, sum, power);
        _mm512_mask_storeu_ps(weights + at, mask, power);
    }
    OVER_KEYS(_mm512_add_ps, sum);
    return _mm512_div_ps(_mm512_set1_ps(1.0f), sum);
}

/* Weighted sums of values, which begin at `offset` within a token. */
INLINE void context(const int heads, const int head_size, const Scratch *scratch, size_t count, size_t offset,
                    __m512 shares, bf16 *out)
{
    const int chunks = (head_size + LANES - 1) / LANES;
    __m512 sums[GROUP][MAX_CHUNKS];
    float share[LANES];
    for (int head = 0; head < heads; head++)
        for (int chunk = 0; chunk < chunks; chunk++)
            sums[head][chunk] = _mm512_setzero_ps();
    for (size_t key = 0; key < count; key++) {
        const bf16 *token = scratch->tokens[key] + offset;
        for (int head = 0; head < heads; head++) {
            __m512 weight = _mm512_set1_ps(scratch->weights[key * GROUP + head]);
            for (int chunk = 0; chunk < chunks; chunk++) {
                __mmask16 mask = first_lanes(head_size - chunk * LANES);
                __m512 value = load_bf16(token + head * head_size + chunk * LANES, mask);
                sums[head][chunk] = _mm512_fmadd_ps(weight, value, sums[head][chunk]);
            }
        }
    }
    _mm512_storeu_ps(share, shares);
    for (int head = 0; head < heads; head++)
        for (int chunk = 0; chunk < chunks; chunk++) {
            __m512 mean = _mm512_mul_ps(sums[head][chunk], _mm512_set1_ps(share[head]));
            store_bf16(out + head * head_size + chunk * LANES, first_lanes(head_size - chunk * LANES), mean);
        }
}

/* `heads` heads of one row, whose numbers begin at `first` in a query, a key, a value and `out`. */
INLINE void some_heads(const int heads, const int head_size, const bf16 *query, const Scratch *scratch,
                       size_t count, size_t first, size_t hidden, bf16 *out)
{
    scores(heads, head_size, query + first, scratch, count, first, hidden);
    __m512 shares = powers(scratch->weights, count);
    context(heads, head_size, scratch, count, hidden + first, shares, out + first);
}

/* Heads [head, head + heads) of one row; query, out: shape = (hidden). The usual sizes have loops of known
 * length. */
static void attend_heads(size_t heads, size_t head_size, const bf16 *query, const Scratch *scratch,
                         size_t count, size_t head, size_t hidden, bf16 *out)
{
    if (head_size == 64 && heads == GROUP)
        some_heads(GROUP, 64, query, scratch, count, head * head_size, hidden, out);
    else
        some_heads((int)heads, (int)head_size, query, scratch, count, head * head_size, hidden, out);
}

#endif
