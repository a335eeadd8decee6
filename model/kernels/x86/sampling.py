"""Drawing tokens without a sort.

Knows logits and the settings of rows; the measure is `sample` in model/sampler.py, which says what is drawn.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from model.sampler import SamplingRows


def draw(logits: Tensor, rows: "SamplingRows") -> Tensor:
    """One token a row, int64, shape = (rows,); logits: shape = (rows, vocab), −∞ where none may be drawn.

    Sums of weights are float32 in another order than the plain filter's, so the last kept id may differ where
    top_p falls within a rounding error of an edge.
    """
    from model.kernels.x86 import _kernels

    scores = logits.float().contiguous()
    num_rows, vocab = scores.shape
    settings = (rows.temperature, rows.top_p, rows.top_k, rows.seeds, rows.positions)
    temperature, top_p, top_k, seeds, positions = (each.contiguous() for each in settings)
    drawn = torch.empty(num_rows, dtype=torch.int64)
    threads = torch.get_num_threads()
    scratch = torch.empty(_kernels.sample_bytes(vocab, threads), dtype=torch.uint8)
    addresses = (
        temperature.data_ptr(), top_p.data_ptr(), top_k.data_ptr(), seeds.data_ptr(), positions.data_ptr(),
    )  # fmt: skip
    _kernels.sample(
        scores.data_ptr(), num_rows, vocab, addresses, drawn.data_ptr(), scratch.data_ptr(), threads
    )
    return drawn
