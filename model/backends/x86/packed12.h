/* Bfloat16 weights in 12 bits: a quarter less to read from memory, which bounds a step of few rows.
 *
 * The upper byte of a bfloat16 is its sign and all of its exponent but the last bit. A panel keeps seven of
 * these exponents, from that of its largest weight downwards, and an eighth for zero: with the sign four
 * bits, which index a table at the start of the panel. Weights below the seventh exponent, less than 2^-12 of
 * the largest, are rounded to zero or to the smallest that is kept. All other weights keep every bit.
 *
 * Layout of a panel: LINE_BYTES of table, then inputs / 8 blocks of three lines: the lower bytes of two
 * lines of bfloat16, those of the next two, and all their indices, the second two's in the upper four bits.
 * Bytes are in the order of the unpack instructions: in each sixteen eight of the first line, then eight of
 * the second.
 */
#ifndef RUDOLPH_PACKED12_H
#define RUDOLPH_PACKED12_H

#include "tiles.h"

#define PACKED12_LINES 3
#define PACKED12_INPUTS 8
#define LINE_WORDS (LINE_BYTES / 2)
#define NUM_EXPONENTS 7
/* Subtracted from a number's bits: half of the number. */
#define HALF_EXPONENT 0x80

#ifdef __AVX512BF16__
static size_t packed12_bytes(size_t inputs)
{
    return LINE_BYTES + inputs / PACKED12_INPUTS * PACKED12_LINES * LINE_BYTES;
}

/* Packs two lines of bfloat16 into half a block: stores the lower bytes, returns the indices. `top`: the
 * panel's largest exponent, in bytes; `least`: its smallest weight but zero, in words. */
INLINE __m512i pack12_lines(const bf16 *words, __m512i top, __m512i least, void *low)
{
    const __m512i half_of_least = _mm512_sub_epi16(least, _mm512_set1_epi16(HALF_EXPONENT));
    __m512i lows[2], highs[2], signs[2];
    for (int line = 0; line < 2; line++) {
        const __m512i word = _mm512_loadu_si512(words + line * LINE_WORDS);
        const __m512i size = _mm512_and_si512(word, _mm512_set1_epi16(0x7fff));
        const __m512i nearer = _mm512_maskz_mov_epi16(_mm512_cmpge_epu16_mask(size, half_of_least), least);
        const __m512i kept = _mm512_mask_mov_epi16(size, _mm512_cmplt_epu16_mask(size, least), nearer);
        lows[line] = _mm512_and_si512(kept, _mm512_set1_epi16(0xff));
        highs[line] = _mm512_srli_epi16(kept, 8);
        signs[line] = _mm512_slli_epi16(_mm512_srli_epi16(word, 15), 3);
    }
    const __m512i high = _mm512_packus_epi16(highs[0], highs[1]);
    const __m512i index =
        _mm512_mask_sub_epi8(_mm512_set1_epi8(NUM_EXPONENTS), _mm512_test_epi8_mask(high, high), top, high);
    _mm512_storeu_si512(low, _mm512_packus_epi16(lows[0], lows[1]));
    return _mm512_or_si512(index, _mm512_packus_epi16(signs[0], signs[1]));
}

/* Packs one panel of bfloat16, in the layout of linear.py. */
static void pack12_panel(const bf16 *words, size_t inputs, uint8_t *out)
{
    uint32_t top = 0;
    for (size_t i = 0; i < inputs * LANES; i++) {
        const uint32_t exponent = (words[i] & 0x7fffu) >> 8;
        top = exponent > top ? exponent : top;
    }
    const uint32_t last = top >= NUM_EXPONENTS ? top - NUM_EXPONENTS + 1 : 1;
    const __m512i tops = _mm512_set1_epi8((char)top), least = _mm512_set1_epi16((short)(last << 8));
    for (uint32_t i = 0; i < LINE_BYTES; i++) {
        const uint32_t index = i % 8, high = index < NUM_EXPONENTS && index < top ? top - index : 0;
        out[i] = (uint8_t)(high | (i & 8) << 4);
    }
    out += LINE_BYTES;
    for (size_t block = 0; block < inputs / PACKED12_INPUTS; block++) {
        const __m512i first = pack12_lines(words, tops, least, out);
        const __m512i second = pack12_lines(words + 2 * LINE_WORDS, tops, least, out + LINE_BYTES);
        _mm512_storeu_si512(out + 2 * LINE_BYTES, _mm512_or_si512(first, _mm512_slli_epi16(second, 4)));
        words += 4 * LINE_WORDS;
        out += PACKED12_LINES * LINE_BYTES;
    }
}

static void pack12_panels(const void *panels, size_t count, size_t inputs, void *out, int threads)
{
#pragma omp parallel for num_threads(threads)
    for (size_t panel = 0; panel < count; panel++)
        pack12_panel((const bf16 *)panels + panel * inputs * LANES, inputs,
                     (uint8_t *)out + panel * packed12_bytes(inputs));
}
#define PACK12 pack12_panels

/* Unpacks the first or the second two lines of bfloat16 of a block; `highs`: the table of its panel. */
INLINE void unpack12(const char *block, int half, __m512i highs, __m512bh *first, __m512bh *second)
{
    const __m512i both = _mm512_loadu_si512(block + 2 * LINE_BYTES);
    const __m512i low = _mm512_loadu_si512(block + half * LINE_BYTES);
    const __m512i index = _mm512_and_si512(half ? _mm512_srli_epi16(both, 4) : both, _mm512_set1_epi8(0x0f));
    const __m512i high = _mm512_shuffle_epi8(highs, index);
    *first = (__m512bh)_mm512_unpacklo_epi8(low, high);
    *second = (__m512bh)_mm512_unpackhi_epi8(low, high);
}
#else
#define PACK12 NULL
#endif

#endif
