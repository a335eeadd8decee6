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
        Floats sums[GROUP];
        if (key + AHEAD_KEYS < count)
            ask_for_token(heads * head_size, scratch->tokens[key + AHEAD_KEYS] + offset, value_offset);
        for (int head = 0; head < GROUP; head++) {
            sums[head] = zero16();
            for (int chunk = 0; head < heads && chunk < chunks; chunk++) {
                int at = head * head_size + chunk * 2 * LANES, left = head_size - chunk * 2 * LANES;
                sums[head] = add_pairs16(sums[head], query + at, token + at, left);
            }
        }
        _mm_storeu_ps(scratch->weights + key * GROUP, _mm_mul_ps(four_sums16(sums), scale));
    }
}

/* Scores to e^(score - most) in place; returns what a head's weighted sum must be multiplied with. */
INLINE Floats powers(float *weights, size_t count)
{
    const Floats least = set16(-__builtin_inff());
    Floats most = least, sum = zero16();
    for (size_t at = 0; at < count * GROUP; at += LANES)
        most = max16(most, load16_or(least, first_lanes(count * GROUP - at), weights + at));
    most = largest_of_quarters16(most);
    for (size_t at = 0; at < count * GROUP; at += LANES) {
        Mask mask = first_lanes(count * GROUP - at);
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
    Floats sums[GROUP][MAX_CHUNKS];
    float share[LANES];
    for (int head = 0; head < heads; head++)
        for (int chunk = 0; chunk < chunks; chunk++)
            sums[head][chunk] = zero16();
    for (size_t key = 0; key < count; key++) {
        const bf16 *token = scratch->tokens[key] + offset;
        for (int head = 0; head < heads; head++) {
            Floats weight = set16(scratch->weights[key * GROUP + head]);
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
    if (head_size == 64 && heads == GROUP)
        some_heads(GROUP, 64, query, scratch, count, head * head_size, hidden, out);
    else
        some_heads((int)heads, (int)head_size, query, scratch, count, head * head_size, hidden, out);
}

#endif
