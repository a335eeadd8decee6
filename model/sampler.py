"""Drawing the next token: temperature, top-k, top-p, guidance, and noise that depends on the row alone.

Knows logits and per-row settings; no sequences. A row's draw is a function of its own logits, settings, seed
and position: neither batch mates nor the batch size change it, and nothing here waits for the device.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from model.kernels.x86 import is_available
from model.kernels.x86.sampling import draw

_GOLDEN = 0x9E3779B9
_NO_LOGIT = float("-inf")


@dataclass(frozen=True)
class Guidance:
    """Which rows are mixed: rows of one guided sequence stand in pairs, prompted and unprompted.

    All of shape (rows,). `unprompted`: int64, the row whose probabilities are mixed in (without guidance the
    row itself); `weight`: float32, their share, 0 … 1; `prompted`: int64, the row whose draw this row takes
    (an unprompted row names its partner, any other row itself).
    """

    unprompted: Tensor
    weight: Tensor
    prompted: Tensor


@dataclass(frozen=True)
class SamplingRows:
    """Settings of every row of a batch; tensors of shape (rows,) on the device of the logits.

    `temperature`: float32, > 0; `top_k`: int64, 0 keeps all, 1 is greedy; `top_p`: float32, 1 keeps all;
    `seeds`: int64, 63 bits; `positions`: int64, place of the drawn token in its sequence;
    `max_top_k`: the largest top_k as a host number, 0 if any row keeps all;
    `filters_p`: whether any top_p is below 1.
    """

    temperature: Tensor
    top_k: Tensor
    top_p: Tensor
    seeds: Tensor
    positions: Tensor
    max_top_k: int = 0
    filters_p: bool = True
    guidance: Guidance | None = None

    @classmethod
    def of(
        cls,
        *,
        temperature: list[float],
        top_k: list[int],
        top_p: list[float],
        seeds: list[int],
        positions: list[int],
        guidance: Guidance | None = None,
        device: torch.device | str = "cpu",
    ) -> "SamplingRows":
        """From host lists of one value a row."""
        return cls(
            temperature=torch.tensor(temperature, dtype=torch.float32, device=device),
            top_k=torch.tensor(top_k, dtype=torch.int64, device=device),
            top_p=torch.tensor(top_p, dtype=torch.float32, device=device),
            seeds=torch.tensor(seeds, dtype=torch.int64, device=device),
            positions=torch.tensor(positions, dtype=torch.int64, device=device),
            max_top_k=0 if min(top_k) <= 0 else max(top_k),
            filters_p=min(top_p) < 1,
            guidance=guidance,
        )


def filter_probabilities(
    logits: Tensor,
    temperature: Tensor,
    top_k: Tensor,
    top_p: Tensor,
    *,
    max_top_k: int = 0,
    filters_p: bool = True,
) -> Tensor:
    """Probabilities after temperature, top-k, then top-p on the renormalised rest.

    logits: shape = (rows, vocab); temperature, top_k, top_p: shape = (rows,); returns float32 (rows, vocab).
    As `transformers.top_k_top_p_filtering`: top-k drops what is below the k-th largest logit (ties with it
    stay); top-p keeps, in descending order, up to and with the token that crosses p. Among equal logits at
    that edge the lowest ids are kept. `max_top_k` (0: unknown) only saves work: no top_k may exceed it.
    """
    scores = logits.float() / temperature[:, None]
    return torch.softmax(_filtered(scores, top_k, top_p, max_top_k, filters_p=filters_p), dim=1)


def _filtered(scores: Tensor, top_k: Tensor, top_p: Tensor, max_top_k: int, *, filters_p: bool) -> Tensor:
    """Scores (logits over temperature), with −∞ in place of what top-k and top-p drop."""
    vocab = scores.shape[1]
    depth = min(max_top_k, vocab) if max_top_k > 0 else vocab
    ranked = torch.topk(scores, depth, dim=1).values
    kth = ranked.gather(1, (top_k[:, None] - 1).clamp(0, depth - 1))
    kth = torch.where(top_k[:, None] > 0, kth, _NO_LOGIT)
    kept = scores >= kth
    if filters_p:
        weights = torch.exp(scores - ranked[:, :1]).masked_fill_(~kept, 0.0)
        kept &= _within_top_p(scores, weights.sum(dim=1, keepdim=True), ranked, kth, top_p[:, None])
    return scores.masked_fill(~kept, _NO_LOGIT)


def _within_top_p(scores: Tensor, total: Tensor, ranked: Tensor, kth: Tensor, top_p: Tensor) -> Tensor:
    """Which logits stand, in descending order (equal ones by id), at or before the token that crosses p.

    scores: shape = (rows, vocab); total: summed weight of all logits ≥ kth, where the largest weighs 1;
    ranked: the largest logits, descending, shape = (rows, depth); the others (rows, 1). Works on the sorted
    values alone, so that the order in which a device sorts equal logits plays no part.
    """
    shares = torch.where(ranked >= kth, torch.exp(ranked - ranked[:, :1]) / total, 0.0)
    before = shares.cumsum(dim=1) - shares
    # A token stays when what stands before it has not crossed p; the first always stays.
    stays = (shares.cumsum(dim=1).roll(1, dims=1) <= top_p) & (ranked >= kth)
    stays[:, 0] = True
    num_kept = stays.sum(dim=1, keepdim=True)
    edge = ranked.gather(1, num_kept - 1)
    above = scores > edge
    ties = scores == edge
    # Ties with the k-th logit may go on beyond `ranked`; then p decides how many more of them stay.
    share = shares.gather(1, num_kept - 1)
    place = (ranked > edge).sum(dim=1, keepdim=True)
    first = before.gather(1, place)
    num_ties = torch.floor((top_p - first) / share) + 1
    beyond = (num_kept == ranked.shape[1]) & (num_ties > num_kept - place)
    allowed = torch.where(beyond, num_ties, (num_kept - place).float())
    return (above | (ties & (ties.cumsum(dim=1, dtype=torch.int32) <= allowed))) | (top_p >= 1)


def _mix(x: Tensor) -> Tensor:
    """A bijective 32-bit hash in wrapping int32 arithmetic (xor-shift-multiply, constants by C. Wellons).

    Shifts are made logical by masking, so that a kernel in uint32 gives the same bits.
    """
    x = (x ^ ((x >> 16) & 0xFFFF)) * 0x7FEB352D
    x = (x ^ ((x >> 15) & 0x1FFFF)) * _signed(0x846CA68B)
    return x ^ ((x >> 16) & 0xFFFF)


def _signed(word: int) -> int:
    """A 32-bit word as the int32 of the same bits."""
    return word - (1 << 32) if word >> 31 else word


def random_bits(seeds: Tensor, positions: Tensor, vocab: int) -> Tensor:
    """32 random bits for every (row seed, position, token), as int32, shape = (rows, vocab).

    seeds, positions: int64, shape = (rows,). A pure function of the three numbers. The row's words are
    `a = mix(low(seed) + g)`, `b = mix(high(seed) ^ a)`, `key0 = mix(position ^ b)` and
    `key1 = mix(key0 ^ a) + g`; the token's bits are `mix(mix(token ^ key0) + key1)`, with mix a bijection of
    32-bit words, all sums mod 2³² and g = 0x9E3779B9.
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
    """Standard Gumbel noise, float32, shape = (rows, vocab): a pure function of (seed, position, token).

    −log(−log(1 − v)) with v = (31 random bits + ½) / 2³¹: the half that decides a draw, small v, has the full
    precision of a float.
    """
    bits = (random_bits(seeds, positions, vocab) >> 1) & 0x7FFFFFFF
    uniform = (bits.float() + 0.5) * 2.0**-31
    # Rounding may bring the largest values to 1; the clamp keeps the noise finite.
    return -torch.log(-torch.log1p(-uniform.clamp_(max=1 - 2.0**-24)))


def sample(logits: Tensor, rows: SamplingRows, allowed: Tensor | None = None) -> Tensor:
    """Draw one token a row, int64, shape = (rows,).

    logits: shape = (rows, vocab); `allowed`: bool, shape (vocab,) or (rows, vocab), the ids that may be drawn
    (None: all). A row with top_k = 1 takes its largest logit, of equal ones the lowest id. The draw is the
    argmax of log p + Gumbel noise, which follows p exactly (the Gumbel-max trick).
    """
    if allowed is not None:
        logits = logits.masked_fill(~allowed, _NO_LOGIT)
    if logits.device.type == "cpu" and rows.guidance is None and is_available():
        return draw(logits, rows)
    return sample_plainly(logits, rows)


def sample_plainly(logits: Tensor, rows: SamplingRows) -> Tensor:
    """`sample` in torch's operations, on any device; the measure of the kernels."""
    best = logits.argmax(dim=1)
    if rows.max_top_k == 1 and rows.guidance is None:
        return best
    scores = _row_scores(logits, rows)
    gumbel = noise(rows.seeds, rows.positions, logits.shape[1])
    guidance = rows.guidance
    if guidance is None:
        return torch.where(rows.top_k == 1, best, (scores + gumbel).argmax(dim=1))
    # A row that is not guided draws from its own scores, to the last bit as if it had no guided mates.
    mixed = torch.log(_mixed(scores, best, rows.top_k, guidance))
    is_guided = guidance.weight > 0
    draws = (torch.where(is_guided[:, None], mixed, scores) + gumbel).argmax(dim=1)
    return torch.where((rows.top_k == 1) & ~is_guided, best, draws)[guidance.prompted]


def row_probabilities(logits: Tensor, rows: SamplingRows, best: Tensor) -> Tensor:
    """What `sample` draws from: filtered, and with guidance mixed; shape = (rows, vocab).

    `best`: int64, shape = (rows,), the id that a greedy row takes alone.
    """
    scores = _row_scores(logits, rows)
    if rows.guidance is None:
        return _probabilities(scores, best, rows.top_k)
    return _mixed(scores, best, rows.top_k, rows.guidance)


def _row_scores(logits: Tensor, rows: SamplingRows) -> Tensor:
    scores = logits.float() / rows.temperature[:, None]
    return _filtered(scores, rows.top_k, rows.top_p, rows.max_top_k, filters_p=rows.filters_p)


def _probabilities(scores: Tensor, best: Tensor, top_k: Tensor) -> Tensor:
    """Softmax; a greedy row's whole weight is on its best id, whatever equals it."""
    probabilities = torch.softmax(scores, dim=1)
    token = torch.arange(scores.shape[1], device=scores.device)
    alone = (token[None, :] == best[:, None]).float()
    return torch.where(top_k[:, None] == 1, alone, probabilities)


def _mixed(scores: Tensor, best: Tensor, top_k: Tensor, guidance: Guidance) -> Tensor:
    """(1 − w) of the row's own probabilities and w of its unprompted row's."""
    probabilities = _probabilities(scores, best, top_k)
    weight = guidance.weight[:, None]
    return (1 - weight) * probabilities + weight * probabilities[guidance.unprompted]
