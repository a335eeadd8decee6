/* Sixteen floats, or whole numbers of 32 bits, at a time: what all kernels are written in.
 *
 * lanes512.h and lanes256.h say it in the instructions of a processor, with the same sums in the same order,
 * so that results are the same to the bit. Names end in 16; `_where` leaves out lanes whose bit in the mask
 * is 0 (they are read as 0 and not written), `_or` gives their lanes of the first argument instead.
 */
#ifndef RUDOLPH_LANES_H
#define RUDOLPH_LANES_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define LANES 16
#define LINE_BYTES 64 /* of memory, and of sixteen lanes */
#define INLINE static inline __attribute__((always_inline))

typedef uint16_t bf16;

#ifdef __AVX512F__
#include "lanes512.h"
#else
#include "lanes256.h"
#endif

/* Mask of the first `count` lanes; all of them from 16 on. */
INLINE Mask first_lanes(size_t count)
{
    return count >= LANES ? 0xffff : (Mask)((1u << count) - 1);
}

#endif
