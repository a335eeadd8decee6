/* The kernels for processors with AVX2 and FMA: what lacks AVX512-BF16, from 2013 on. */
#pragma GCC target("avx2,fma")

#include "network.h"

const Kernels rudolph_avx2 = KERNELS;
