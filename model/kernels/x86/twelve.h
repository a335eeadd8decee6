/* Weights of bfloat16 in twelve bits: what is read is a quarter less, and what is multiplied the same
 * numbers.
 *
 * The upper byte of a bfloat16 is its sign and all of its exponent but the last bit. A panel has seven of
 * these exponents, from its largest weight's downwards, and an eighth for zero: four bits with the sign, by
 * which a table at the panel's head gives the byte. Weights below the seventh, less than 2^-12 of the
 * largest, go to zero or to the smallest that is left, whichever is nearer. The lower byte stays what it is.
 *
 * shape of a panel: LINE_BYTES of table, then inputs / 8 stretches of three lines: lower bytes of two lines
 * of bfloat16 and of the next two, and all their indices, the second two's in the upper halves. Bytes lie as
 * the processor's unpacking wants them: in each sixteen eight of the first line, then eight of the second.
 */
#ifndef RUDOLPH_TWELVE_H
#define RUDOLPH_TWELVE_H

#include "tiles.h"

#define STRETCH_LINES 3
#define STRETCH_INPUTS 8
#define NUM_EXPONENTS 7
#define WORD_SIGN 0x8000u
/* Half of the smallest weight with exponent e << 8, taken from it as one from its exponent. */
#define HALVED 0x80u

static size_t twelve_bytes(size_t inputs)
{
    return LINE_BYTES + inputs / STRETCH_INPUTS * STRETCH_LINES * LINE_BYTES;
}

/* One panel, as linear.py lays it out for PAIRS, in twelve bits. */
static void narrow_panel(const bf16 *words, size_t inputs, uint8_t *out)
{
    uint32_t top = 0;
    for (size_t i = 0; i < inputs * LANES; i++) {
        const uint32_t exponent = (words[i] & ~WORD_SIGN) >> 8;
        top = exponent > top ? exponent : top;
    }
    const uint32_t least = (top >= NUM_EXPONENTS ? top - NUM_EXPONENTS + 1 : 1) << 8;
    for (uint32_t i = 0; i < LINE_BYTES; i++) {
        const uint32_t index = i % 8, high = index < NUM_EXPONENTS && index < top ? top - index : 0;
        out[i] = (uint8_t)(high | (i & 8) << 4);
    }
    out += LINE_BYTES;
    for (size_t stretch = 0; stretch < inputs / STRETCH_INPUTS; stretch++) {
        uint8_t *indices = out + 2 * LINE_BYTES;
        for (size_t half = 0; half < 2; half++) {
            for (size_t i = 0; i < LINE_BYTES; i++) {
                const bf16 word = words[i % 16 / 8 * 32 + i / 16 * 8 + i % 8];
                uint32_t size = word & ~WORD_SIGN;
                if (size < least)
                    size = size >= least - HALVED ? least : 0;
                const uint32_t index = (size ? top - (size >> 8) : NUM_EXPONENTS) | (word & WORD_SIGN) >> 12;
                out[half * LINE_BYTES + i] = (uint8_t)size;
                indices[i] = (uint8_t)(half ? indices[i] | index << 4 : index);
            }
            words += 2 * LINE_BYTES / sizeof *words;
        }
        out += STRETCH_LINES * LINE_BYTES;
    }
}

#ifdef __AVX512BF16__
/* The first or the second two lines of bfloat16 from a stretch; `highs`: its panel's table. */
INLINE void widen(const char *stretch, int half, __m512i highs, __m512bh lines[2])
{
    const __m512i both = _mm512_loadu_si512(stretch + 2 * LINE_BYTES);
    const __m512i low = _mm512_loadu_si512(stretch + half * LINE_BYTES);
    const __m512i index = _mm512_and_si512(half ? _mm512_srli_epi16(both, 4) : both, _mm512_set1_epi8(0x0f));
    const __m512i high = _mm512_shuffle_epi8(highs, index);
    lines[0] = (__m512bh)_mm512_unpacklo_epi8(low, high);
    lines[1] = (__m512bh)_mm512_unpackhi_epi8(low, high);
}
#endif

#endif
