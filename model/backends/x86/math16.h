/* exp and GELU of sixteen floats, and the split of work among threads. */
#ifndef RUDOLPH_MATH16_H
#define RUDOLPH_MATH16_H

#include "lanes.h"

/* The part [*begin, *end) of `count` items that one thread does. */
INLINE void split(size_t count, size_t thread, size_t threads, size_t *begin, size_t *end)
{
    *begin = count * thread / threads;
    *end = count * (thread + 1) / threads;
}

/* e^x by Cephes' expf: n = round(x / ln 2), then a polynomial of the rest; the error is
 * at most 2 units in the last place; infinite from 89 on. */
INLINE Floats exp16(Floats x)
{
    x = min16(max16(x, set16(-104.0f)), set16(89.0f));
    Floats n = round16(mul16(x, set16(1.44269504089f)));
    Floats rest = fnma16(n, set16(0.693359375f), x);
    rest = fnma16(n, set16(-2.12194440e-4f), rest);
    Floats sum = set16(1.9875691500e-4f);
    sum = fma16(sum, rest, set16(1.3981999507e-3f));
    sum = fma16(sum, rest, set16(8.3334519073e-3f));
    sum = fma16(sum, rest, set16(4.1665795894e-2f));
    sum = fma16(sum, rest, set16(1.6666665459e-1f));
    sum = fma16(sum, rest, set16(5.0000001201e-1f));
    sum = fma16(mul16(sum, rest), rest, add16(rest, set16(1.0f)));
    return scale16(sum, n);
}

/* x (1 + tanh u) / 2 = x / (1 + e^(-2 u)), u = sqrt(2 / pi) (x + 0.044715 x^3): arXiv 1606.08415. */
INLINE Floats gelu16(Floats x)
{
    Floats cube = mul16(mul16(x, x), x);
    Floats inner = fma16(cube, set16(0.044715f), x);
    Floats power = exp16(mul16(inner, set16(-1.5957691216057308f)));
    return div16(x, add16(set16(1.0f), power));
}

#endif
