"""The sampler in C, without a sort. `sample` in model/network/sampler.py defines what is drawn."""

import torch
from torch import Tensor

from model.network.sampler import SamplingBatch


def draw(logits: Tensor, batch: SamplingBatch) -> Tensor:
    """Draw one token per sequence, int64, shape = (sequences,); guidance is not supported.

    logits: shape = (sequences, vocab), −∞ where none may be drawn. Sums of weights are float32 in another
    order than the reference's, so the last kept id may differ where top_p is within a rounding error of it.
    """
    from model.backends.x86 import _kernels

    scores = logits.float().contiguous()
    count, vocab = scores.shape
    fields = (batch.temperature, batch.top_p, batch.min_p, batch.top_k, batch.seeds, batch.positions)
    temperature, top_p, min_p, top_k, seeds, positions = (each.contiguous() for each in fields)
    drawn = torch.empty(count, dtype=torch.int64)
    threads = torch.get_num_threads()
    scratch = torch.empty(_kernels.sample_bytes(vocab, threads), dtype=torch.uint8)
    addresses = (
        temperature.data_ptr(), top_p.data_ptr(), min_p.data_ptr(), top_k.data_ptr(), seeds.data_ptr(),
        positions.data_ptr(),
    )  # fmt: skip
    _kernels.sample(scores.data_ptr(), count, vocab, addresses, drawn.data_ptr(), scratch.data_ptr(), threads)
    return drawn
