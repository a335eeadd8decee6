"""Sampling of the next token: temperature, top-k, top-p, min-p, guidance, and seeded noise.

The definition of what is drawn; every backend's sampler is tested against it. The order is that of the logits
warpers of transformers: temperature, top-k, top-p on the renormalized rest, then min-p. Min-p compares with
the largest probability, which the two before it keep. With guidance each of the two distributions is filtered
first, then they are mixed.

A draw is a function of the sequence's own logits, parameters, seed and position: the rest of the batch and
its size never change it. Nothing here waits for the device.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B9
_NO_LOGIT = float("-inf")


@dataclass(frozen=True)
class Guidance:
    """Pairs of sequences whose probabilities are mixed (classifier-free guidance); shape = (sequences,).

    `uncond_index`: int64, the unconditional sequence that is mixed in; without guidance the sequence itself.
    `weight`: float32, its share, 0 … 1. `cond_index`: int64, the sequence whose draw this one takes: an
    unconditional sequence names its partner, any other itself.
    """

    uncond_index: Tensor
    weight: Tensor
    cond_index: Tensor


@dataclass(frozen=True)
class SamplingBatch:
    """Sampling parameters of a batch; tensors of shape (sequences,) on the device of the logits.

    `temperature`: float32, > 0; `top_k`: int64, 0 keeps all, 1 is greedy; `top_p`: float32, 1 keeps all;
    `min_p`: float32, 0 keeps all; `seeds`: int64, 63 bits; `positions`: int64, positions of the drawn tokens.
    Host values that only save work: `max_top_k`, the largest top_k (0 if any sequence keeps all);
    `filters_p`, whether any top_p is below 1; `filters_min_p`, whether any min_p is above 0.
    """

    temperature: Tensor
    top_k: Tensor
    top_p: Tensor
    min_p: Tensor
    seeds: Tensor
    positions: Tensor
    max_top_k: int = 0
    filters_p: bool = True
    filters_min_p: bool = True
    guidance: Guidance | None = None

    @classmethod
    def of(
        cls,
        *,
        temperature: Sequence[float],
        top_k: Sequence[int],
        top_p: Sequence[float],
        seeds: Sequence[int],
        positions: Sequence[int],
        min_p: Sequence[float] = (),
        guidance: Guidance | None = None,
        device: torch.device | str = "cpu",
    ) -> "SamplingBatch":
        """Build from host lists of one value a sequence; without `min_p` it is off."""
        min_p = min_p or [0.0] * len(seeds)

        def floats(values: Sequence[float]) -> Tensor:
            return torch.tensor(values, dtype=torch.float32, device=device)

        def integers(values: Sequence[int]) -> Tensor:
            return torch.tensor(values, dtype=torch.int64, device=device)

        return cls(
            temperature=floats(temperature),
            top_k=integers(top_k),
            top_p=floats(top_p),
            min_p=floats(min_p),
            seeds=integers(seeds),
            positions=integers(positions),
            max_top_k=0 if min(top_k) <= 0 else max(top_k),
            filters_p=min(top_p) < 1,
            filters_min_p=max(min_p) > 0,
            guidance=guidance,
        )


def filter_scores(logits: Tensor, batch: SamplingBatch) -> Tensor:
    """Return logits over temperature, float32, with −∞ for every token that a filter drops.

    logits: shape = (sequences, vocab). Top-k drops what is below the k-th largest logit (ties with it stay).
    Top-p keeps, in descending order, up to and with the token that crosses p; among equal logits at that edge
    the lowest ids are kept. Min-p drops what is below min_p times the largest probability. As the warpers of
    transformers, in their order.
    """
    scores = logits.float() / batch.temperature[:, None]
    vocab = scores.shape[1]
    depth = min(batch.max_top_k, vocab) if batch.max_top_k > 0 else vocab
    ranked = torch.topk(scores, depth, dim=1).values
    top_k = batch.top_k[:, None]
    kth = ranked.gather(1, (top_k - 1).clamp(0, depth - 1))
    kth = torch.where(top_k > 0, kth, _NO_LOGIT)
    kept = scores >= kth
    if batch.filters_p:
        weights = torch.exp(scores - ranked[:, :1]).masked_fill_(~kept, 0.0)
        total = weights.sum(dim=1, keepdim=True)
        kept &= _within_top_p(scores, total, ranked, kth, batch.top_p[:, None])
    if batch.filters_min_p:
        kept &= scores >= ranked[:, :1] + torch.log(batch.min_p[:, None])
    return scores.masked_fill(~kept, _NO_LOGIT)


def _within_top_p(scores: Tensor, total: Tensor, ranked: Tensor, kth: Tensor, top_p: Tensor) -> Tensor:
    """Return which logits are, in descending order (equal ones by id), at or before the token that crosses p.

    scores: shape = (sequences, vocab); total: summed weight of all logits ≥ kth, where the largest weighs 1;
    ranked: the largest logits, descending, shape = (sequences, depth); the others (sequences, 1). Uses the
    sorted values alone, so the order in which a device sorts equal logits does not matter.
    """
    shares = torch.where(ranked >= kth, torch.exp(ranked - ranked[:, :1]) / total, 0.0)
    before = shares.cumsum(dim=1) - shares
    # A token stays while the tokens before it have not crossed p; the first always stays.
    stays = (shares.cumsum(dim=1).roll(1, dims=1) <= top_p) & (ranked >= kth)
    stays[:, 0] = True
    num_kept = stays.sum(dim=1, keepdim=True)
    edge = ranked.gather(1, num_kept - 1)
    above = scores > edge
    ties = scores == edge
    # Ties with the k-th logit may continue beyond `ranked`; then p decides how many of them stay.
    share = shares.gather(1, num_kept - 1)
    num_above = (ranked > edge).sum(dim=1, keepdim=True)
    first = before.gather(1, num_above)
    num_ties = torch.floor((top_p - first) / share) + 1
    beyond = (num_kept == ranked.shape[1]) & (num_ties > num_kept - num_above)
    allowed = torch.where(beyond, num_ties, (num_kept - num_above).float())
    return (above | (ties & (ties.cumsum(dim=1, dtype=torch.int32) <= allowed))) | (top_p >= 1)


def _mix(x: Tensor) -> Tensor:
    """Hash 32 bits bijectively in wrapping int32 arithmetic (xor-shift-multiply, constants by C. Wellons).

    Shifts are made logical by masking, so that a kernel in uint32 gives the same bits.
    """
    x = (x ^ ((x >> 16) & 0xFFFF)) * 0x7FEB352D
    x = (x ^ ((x >> 15) & 0x1FFFF)) * _signed(0x846CA68B)
    return x ^ ((x >> 16) & 0xFFFF)


def _signed(word: int) -> int:
    """Return the int32 with the bits of a 32-bit word."""
    return word - (1 << 32) if word >> 31 else word


def random_bits(seeds: Tensor, positions: Tensor, vocab: int) -> Tensor:
    """Return 32 random bits for every (seed, position, token), as int32, shape = (sequences, vocab).

    seeds, positions: int64, shape = (sequences,). A pure function of the three numbers. With the words
    `a = mix(low(seed) + g)`, `b = mix(high(seed) ^ a)`, `key0 = mix(position ^ b)` and
    `key1 = mix(key0 ^ a) + g` a token has `mix(mix(token ^ key0) + key1)`, with mix a bijection of 32-bit
    words, all sums mod 2³² and g = 0x9E3779B9.
    """
    golden = _signed(_GOLDEN)
    low = (seeds << 32 >> 32).to(torch.int32)
    high = (seeds >> 32).to(torch.int32)
    a = _mix(low + golden)
    b = _mix(high ^ a)
    key0 = _mix(positions.to(torch.int32) ^ b)
    key1 = _mix(key0 ^ a) + golden
    token = torch.arange(vocab, dtype=torch.int32, device=seeds.device)
    return _mix(_mix(token[None, :] ^ key0[:, None]) + key1[:, None])


def noise(seeds: Tensor, positions: Tensor, vocab: int) -> Tensor:
    """Return standard Gumbel noise for every (seed, position, token), float32, shape = (sequences, vocab).

    −log(−log(1 − v)) with v = (31 random bits + ½) / 2³¹: small v, which decides a draw, has the full
    precision of a float.
    """
    bits = (random_bits(seeds, positions, vocab) >> 1) & 0x7FFFFFFF
    uniform = (bits.float() + 0.5) * 2.0**-31
    # Rounding may bring the largest values to 1; the clamp keeps the noise finite.
    return -torch.log(-torch.log1p(-uniform.clamp_(max=1 - 2.0**-24)))


def sample(logits: Tensor, batch: SamplingBatch, allowed: Tensor | None = None) -> Tensor:
    """Draw one token a sequence, int64, shape = (sequences,).

    logits: shape = (sequences, vocab); `allowed`: bool, shape (vocab,) or (sequences, vocab), the ids that
    may be drawn (None: all). A sequence with top_k 1 takes its largest logit, of equal ones the lowest id.
    The draw is the argmax of log p + Gumbel noise, which follows p exactly (the Gumbel-max trick).
    """
    if allowed is not None:
        logits = logits.masked_fill(~allowed, _NO_LOGIT)
    best = logits.argmax(dim=1)
    guidance = batch.guidance
    if batch.max_top_k == 1 and guidance is None:
        return best
    scores = filter_scores(logits, batch)
    gumbel = noise(batch.seeds, batch.positions, logits.shape[1])
    if guidance is None:
        return torch.where(batch.top_k == 1, best, (scores + gumbel).argmax(dim=1))
    # A sequence without guidance draws from its own scores, to the last bit as in a batch without guidance.
    mixed = torch.log(_mixed(scores, best, batch.top_k, guidance))
    is_guided = guidance.weight > 0
    draws = (torch.where(is_guided[:, None], mixed, scores) + gumbel).argmax(dim=1)
    return torch.where((batch.top_k == 1) & ~is_guided, best, draws)[guidance.cond_index]


def sampled_probabilities(logits: Tensor, batch: SamplingBatch) -> Tensor:
    """Return what `sample` draws from: filtered, with guidance mixed; shape = (sequences, vocab)."""
    scores, best = filter_scores(logits, batch), logits.argmax(dim=1)
    if batch.guidance is None:
        return _probabilities(scores, best, batch.top_k)
    return _mixed(scores, best, batch.top_k, batch.guidance)


def _probabilities(scores: Tensor, best: Tensor, top_k: Tensor) -> Tensor:
    """Return the softmax; a greedy sequence has its whole weight on its best id, even among equal logits."""
    probabilities = torch.softmax(scores, dim=1)
    token = torch.arange(scores.shape[1], device=scores.device)
    alone = (token[None, :] == best[:, None]).float()
    return torch.where(top_k[:, None] == 1, alone, probabilities)


def _mixed(scores: Tensor, best: Tensor, top_k: Tensor, guidance: Guidance) -> Tensor:
    """Return (1 − w) of a sequence's probabilities plus w of those of its unconditional sequence."""
    probabilities = _probabilities(scores, best, top_k)
    weight = guidance.weight[:, None]
    return (1 - weight) * probabilities + weight * probabilities[guidance.uncond_index]
