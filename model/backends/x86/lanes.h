/* Vectors of sixteen floats or 32-bit integers (words), which all kernels are written in.
 *
 * lanes512.h implements them with AVX-512, lanes256.h with AVX2: the same sums in the same order, so that
 * results have the same bits. Names end in 16. With `_where` lanes whose mask bit is 0 are read as 0 and not
 * written; with `_or` they are taken from the first argument.
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
