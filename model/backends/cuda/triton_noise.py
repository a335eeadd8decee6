"""Noise of a draw in Triton: the integer hash of the reference sampler, and Gumbel numbers of it."""

# pyright: basic
# Triton's language is an untyped dialect of Python; the callers of the wrappers are checked strictly.

import triton
import triton.language as tl


@triton.jit
def _mix(x):
    """`model.network.sampler._mix` in uint32."""
    x = (x ^ (x >> 16)) * 0x7FEB352D
    x = (x ^ (x >> 15)) * 0x846CA68B
    return x ^ (x >> 16)


@triton.jit
def random_bits(seed, position, tokens):
    """`model.network.sampler.random_bits`, uint32. seed: int64, position: integer, tokens: integers."""
    golden = tl.full([], 0x9E3779B9, tl.uint32)
    low = (seed & 0xFFFFFFFF).to(tl.uint32)
    high = (seed >> 32).to(tl.uint32)
    a = _mix(low + golden)
    b = _mix(high ^ a)
    key0 = _mix(position.to(tl.uint32) ^ b)
    key1 = _mix(key0 ^ a) + golden
    return _mix(_mix(tokens.to(tl.uint32) ^ key0) + key1)


@triton.jit
def gumbel(bits):
    """`sampler.noise` of 32 random bits; log1p(−u) = −log(y) · u / (1 − y) with y = 1 − u rounded."""
    uniform = ((bits >> 1).to(tl.int32).to(tl.float32) + 0.5) * (1.0 / 2147483648.0)
    uniform = tl.minimum(uniform, 1.0 - 1.0 / 16777216.0)
    rest = 1.0 - uniform
    moved = tl.where(rest == 1.0, 1.0, 1.0 - rest)
    exponential = tl.where(rest == 1.0, uniform, -tl.log(rest) * (uniform / moved))
    return -tl.log(exponential)


@triton.jit
def noisy(chances, seed, position, lanes):
    """log p plus noise; no id of probability 0 is ever the largest."""
    # The least normal float: the logarithm of 0 is not asked for.
    values = tl.log(tl.maximum(chances, 1.1754943508222875e-38))
    values += gumbel(random_bits(seed, position, lanes))
    return tl.where(chances > 0.0, values, float("-inf"))
