"""Greedy texts of a network in training, for validation. Serving uses the engine instead."""

from collections.abc import Sequence

import torch
from torch import Tensor

from model.config import EOS_ID
from model.network.cache import KeyValueCache
from model.network.layout import StepLayout
from model.network.transformer import Transformer
from model.tasks import Prompts, caption_slice
from training.sequences import Rows


@torch.inference_mode()
def greedy_texts(transformer: Transformer, prompts: Prompts, rows: Rows, num_opened: int) -> list[str]:
    """Return the likeliest text of each sequence, token by token.

    rows: left text, codes and right text; the first `num_opened` ids of the right text are given.
    """
    config = transformer.config
    device = transformer.text_embeddings.weight.device
    assert rows.codes is not None
    assert rows.right is not None
    count = len(rows.left)
    opened = rows.right[:, :num_opened]
    ids = torch.cat([rows.left, rows.codes, opened], dim=1).to(device)
    cache = KeyValueCache(config, count, count, device, transformer.hidden_dtype)
    slots = torch.arange(count, device=device)
    hidden = transformer.prefill(ids, cache, slots, slots)[:, -1]
    written: list[list[int]] = [[] for _ in range(count)]
    for position in range(config.right_start + num_opened, config.total_length):
        chosen = _next(transformer, hidden)
        for text, token in zip(written, chosen.tolist(), strict=True):
            text.append(token)
        if all(EOS_ID in text for text in written):
            break
        layout = StepLayout.of(config, [position] * count)
        positions = torch.full((count,), position, device=device)
        hidden = transformer.decode(chosen, positions, cache, slots, slots, layout=layout)
    return [prompts.text_of(text) for text in written]


def _next(transformer: Transformer, hidden: Tensor) -> Tensor:
    """Return the likeliest ids; ids that mean the end become eos."""
    allowed = caption_slice(transformer.config)
    chosen = transformer.text_logits(hidden, allowed.width).argmax(-1)
    return torch.where(chosen >= allowed.eos_from, EOS_ID, chosen)


def exact_matches(found: Sequence[str], expected: Sequence[str]) -> float:
    """Return the share of texts that equal the expected ones, in lower case."""
    pairs = zip(found, expected, strict=True)
    return sum(text == right.strip().lower() for text, right in pairs) / max(1, len(found))
