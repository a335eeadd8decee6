/* Attention of one query a row over the keys that it sees, read in place.
 *
 * A token's key and value are adjacent: shape = (2, heads, head_size). Four heads are computed together: what
 * is read of a token is then contiguous, and a vector holds the scores of four keys. The arithmetic of a row
 * does not depend on the other rows.
 */
#ifndef RUDOLPH_ATTENTION_H
#define RUDOLPH_ATTENTION_H

#include "math16.h"

#define HEAD_GROUP 4 /* heads */
#define MAX_HEAD_SIZE 128
/* Tokens between a prefetch and its use. */
#define PREFETCH_KEYS 4
#define MAX_CHUNKS (MAX_HEAD_SIZE / LANES)

/* Scratch of a thread for one row: the address of each visible token, and its HEAD_GROUP weights. */
typedef struct {
    const bf16 **tokens;
    float *weights; /* shape = (keys, HEAD_GROUP) */
} Scratch;

/* Prefetches a part of a key, and that of its value, which is read after all keys. */
INLINE void prefetch_token(const int size, const bf16 *key, size_t value_offset)
{
    for (int at = 0; at < size; at += LINE_BYTES / (int)sizeof(bf16)) {
        _mm_prefetch(key + at, _MM_HINT_T0);
        _mm_prefetch(key + value_offset + at, _MM_HINT_T1);
    }
}

/* Scores at `count` tokens, 0 for heads that are not there. query, and a token from `offset` on: (heads,
 * head_size); its value is `value_offset` after its key. */
INLINE void scores(const int heads, const int head_size, const bf16 *query, const Scratch *scratch,
                   size_t count, size_t offset, size_t value_offset)
{
    const int chunks = (head_size + 2 * LANES - 1) / (2 * LANES);
    const __m128 scale = _mm_set1_ps(1.0f / __builtin_sqrtf((float)head_size));
    for (size_t key = 0; key < count; key++) {
        const bf16 *token = scratch->tokens[key] + offset;
        Floats sums[HEAD_GROUP];
        if (key + PREFETCH_KEYS < count)
            prefetch_token(heads * head_size, scratch->tokens[key + PREFETCH_KEYS] + offset, value_offset);
        for (int head = 0; head < HEAD_GROUP; head++) {
            sums[head] = zero16();
            for (int chunk = 0; head < heads && chunk < chunks; chunk++) {
                int at = head * head_size + chunk * 2 * LANES, left = head_size - chunk * 2 * LANES;
                sums[head] = dot_bf16_16(sums[head], query + at, token + at, left);
            }
        }
        _mm_storeu_ps(scratch->weights + key * HEAD_GROUP, _mm_mul_ps(four_sums16(sums), scale));
    }
}

/* Turns scores into e^(score - most) in place; returns 1 / sum for each head. */
INLINE Floats powers(float *weights, size_t count)
{
    const Floats least = set16(-__builtin_inff());
    Floats most = least, sum = zero16();
    for (size_t at = 0; at < count * HEAD_GROUP; at += LANES)
        most = max16(most, load16_or(least, first_lanes(count * HEAD_GROUP - at), weights + at));
    most = largest_of_quarters16(most);
    for (size_t at = 0; at < count * HEAD_GROUP; at += LANES) {
        Mask mask = first_lanes(count * HEAD_GROUP - at);
        Floats power = exp16(sub16(load16_where(mask, weights + at), most));
        sum = add16_or(sum, mask, sum, power);
        store16_where(weights + at, mask, power);
    }
    sum = sum_of_quarters16(sum);
    return div16(set16(1.0f), sum);
}

/* Weighted sums of values, which begin at `offset` within a token. */
INLINE void context(const int heads, const int head_size, const Scratch *scratch, size_t count, size_t offset,
                    Floats shares, bf16 *out)
{
    const int chunks = (head_size + LANES - 1) / LANES;
    Floats sums[HEAD_GROUP][MAX_CHUNKS];
    float share[LANES];
    for (int head = 0; head < heads; head++)
        for (int chunk = 0; chunk < chunks; chunk++)
            sums[head][chunk] = zero16();
    for (size_t key = 0; key < count; key++) {
        const bf16 *token = scratch->tokens[key] + offset;
        for (int head = 0; head < heads; head++) {
            Floats weight = set16(scratch->weights[key * HEAD_GROUP + head]);
            for (int chunk = 0; chunk < chunks; chunk++) {
                Mask mask = first_lanes(head_size - chunk * LANES);
                Floats value = load_bf16(token + head * head_size + chunk * LANES, mask);
                sums[head][chunk] = fma16(weight, value, sums[head][chunk]);
            }
        }
    }
    store16(share, shares);
    for (int head = 0; head < heads; head++)
        for (int chunk = 0; chunk < chunks; chunk++) {
            Floats mean = mul16(sums[head][chunk], set16(share[head]));
            store_bf16(out + head * head_size + chunk * LANES, first_lanes(head_size - chunk * LANES), mean);
        }
}

/* `heads` heads of one row, whose numbers begin at `first` in a query, a key, a value and `out`. */
INLINE void some_heads(const int heads, const int head_size, const bf16 *query, const Scratch *scratch,
                       size_t count, size_t first, size_t hidden, bf16 *out)
{
    scores(heads, head_size, query + first, scratch, count, first, hidden);
    Floats shares = powers(scratch->weights, count);
    context(heads, head_size, scratch, count, hidden + first, shares, out + first);
}

/* Heads [head, head + heads) of one row; query, out: shape = (hidden). The usual sizes have loops of known
 * length. */
static void attend_heads(size_t heads, size_t head_size, const bf16 *query, const Scratch *scratch,
                         size_t count, size_t head, size_t hidden, bf16 *out)
{
    if (head_size == 64 && heads == HEAD_GROUP)
        some_heads(HEAD_GROUP, 64, query, scratch, count, head * head_size, hidden, out);
    else
        some_heads((int)heads, (int)head_size, query, scratch, count, head * head_size, hidden, out);
}

#endif
