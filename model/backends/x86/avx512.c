/* The kernels for processors with AVX512-BF16. */
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16")

#include "network.h"

const Kernels rudolph_avx512 = KERNELS;
